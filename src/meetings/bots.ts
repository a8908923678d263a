import { createHash } from "node:crypto";
import { sql } from "kysely";
import { z } from "zod";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import { enqueue, type NewJob } from "../queue/queue.ts";
import { decideBots } from "./bot-plans.ts";
import type { BotStatus } from "./bot-words.ts";
import { normaliseMeetingUrl } from "./meeting-url.ts";

type Part = Pick<App, "db" | "clock" | "queue" | "config">;

/** A bot of ours: what is wanted of it, and what we know of the provider's. */
export type BotRow = {
  id: string;
  name: string;
  provider_bot_id: string | null;
  settings: BotSettings | null;
  meeting_url: string | null;
  starts_at: Date | null;
  ends_at: Date | null;
  joins_at: Date | null;
  occurrence_key: string | null;
  wish: "attend" | "leave" | null;
  attempt: number;
  asked_at: Date | null;
  sent: { meeting_url: string; join_at: string | null; name: string | null } | null;
  earlier_bot_ids: string[];
  state: string | null;
  status: BotStatus;
  recording_state: string | null;
  transcription_state: string | null;
  transcript_state: "none" | "growing" | "final";
  event_count: number;
  notice: unknown;
  is_over: boolean;
  over_at: Date | null;
  recording_url: string | null;
  recording_url_at: Date | null;
  due_at: Date | null;
  failures: number;
  last_error: string | null;
  last_polled_at: Date | null;
};

/** How a bot behaves in its meeting. */
export type BotSettings = {
  name: string;
  /** What it writes into the chat when it comes; null for nothing. */
  greeting: string | null;
  language: string | null;
  recording: "video" | "audio" | "none";
  /** One bot serves everybody here who is in the meeting. */
  isShared: boolean;
};

/** Bots come this long before a meeting begins. */
export const earlyMs = 2 * 60_000;

/** Gives one meeting the bot that it should have, as rows; what the provider must do for that is a job. Repeating it changes nothing. */
export async function reconcileBot(app: Part, { meetingId }: { meetingId: string }): Promise<void> {
  await app.db.transaction().execute(async (tx) => {
    await enqueue(app, tx, await assignBot(app, tx, meetingId));
  });
}

/** What {@link reconcileBot} does, in the caller's transaction. Returns the jobs that make it so at the provider. */
export async function assignBot(
  app: Pick<App, "clock" | "config">,
  tx: Tx,
  meetingId: string,
): Promise<NewJob[]> {
  const now = app.clock.now();
  const seen = await readMeeting(tx, meetingId);
  if (!seen) return [];
  const keys = [seen.occurrence_key, occurrenceOf(seen)].flatMap((key) => key ?? []).sort();
  for (const key of new Set(keys)) {
    await sql`select pg_advisory_xact_lock(hashtextextended(${`bot:${key}`}, 0))`.execute(tx);
  }
  const meeting = await readMeeting(tx, meetingId);
  const [plan] = await decideBots(tx, [meetingId], now);
  if (!meeting || !plan) return [];
  const current = meeting.bot_id ? await lockBot(tx, meeting.bot_id) : null;
  if (plan.decision === "cancel" && current) return callOff(tx, meeting, current, now);
  if (plan.decision === "none" && current && !current.is_over) {
    return changeSettings(tx, meeting, current, now);
  }
  // Without a key nobody can be sent; the plan says that one is wanted, and is found again once there is one.
  if (plan.decision === "none" || plan.decision === "cancel" || !app.config.attendee.apiKey) {
    return [];
  }
  const bot = await botFor(tx, meeting, current, now);
  await sql`
    update meetings set bot_id = ${bot.id}, bot_status = ${bot.status},
      bot_deployment_method = case when auto_scheduled_via_email then 'automatic' else 'manual' end, updated_at = ${now}
    where id = ${meetingId}
  `.execute(tx);
  await decideBots(tx, [meetingId], now);
  if (current && current.id !== bot.id) {
    return [tendJob(bot.id), ...(await letGo(tx, current, now))];
  }
  return [tendJob(bot.id)];
}

/** Has what is wanted of a bot made so, and what became of it noted. */
export function tendJob(botId: string): NewJob {
  return { name: "bots.tend", payload: { botId }, key: botId, priority: 1 };
}

/** Tells the open pages of everybody who shares a bot that something about it changed. */
export async function tellSharers(
  tx: Tx,
  botId: string,
  news: Record<string, unknown>,
): Promise<void> {
  await sql`
    insert into user_events (user_id, type, payload)
    select user_id, 'bot.changed', ${JSON.stringify({ bot_id: botId, ...news })}::jsonb
      || jsonb_build_object('meeting_ids', jsonb_agg(id))
    from meetings where bot_id = ${botId} group by user_id
  `.execute(tx);
}

type MeetingRow = {
  id: string;
  user_id: string;
  title: string;
  meeting_url: string | null;
  start_time: Date;
  end_time: Date;
  bot_id: string | null;
  occurrence_key: string | null;
  bot_name: string | null;
  bot_chat_message: string | null;
  bot_configuration: unknown;
  preferred_name: string | null;
  preferred_greeting: string | null;
  preferred_language: string | null;
  preferred_recording: string | null;
};

async function readMeeting(tx: Tx, id: string): Promise<MeetingRow | null> {
  const { rows } = await sql<MeetingRow>`
    select meetings.id, meetings.user_id, meetings.title, meetings.meeting_url, meetings.start_time, meetings.end_time,
      meetings.bot_id, bots.occurrence_key, meetings.bot_name, meetings.bot_chat_message,
      meetings.bot_configuration, wanted.bot_name as preferred_name, wanted.greeting as preferred_greeting,
      wanted.language as preferred_language, wanted.recording as preferred_recording
    from meetings
    left join bots on bots.id = meetings.bot_id
    left join bot_preferences as wanted on wanted.user_id = meetings.user_id
    where meetings.id = ${id}
    for update of meetings
  `.execute(tx);
  return rows[0] ?? null;
}

async function lockBot(tx: Tx, id: string): Promise<BotRow | null> {
  const { rows } = await sql<BotRow>`select * from bots where id = ${id} for update`.execute(tx);
  return rows[0] ?? null;
}

// Everybody in the same meeting at the same time comes to the same key, unless they want a bot of their own.
function occurrenceOf(meeting: MeetingRow): string | null {
  if (!meeting.meeting_url) return null;
  const link = normaliseMeetingUrl(meeting.meeting_url);
  const parts = [
    link ? [link.provider, link.key] : meeting.meeting_url,
    meeting.start_time.toISOString(),
    settingsOf(meeting).isShared ? null : meeting.id,
  ];
  return createHash("sha256").update(JSON.stringify(parts)).digest("base64url");
}

// The bot of the meeting's occurrence: the one that is there for it, the meeting's own one moved, or a new one.
async function botFor(
  tx: Tx,
  meeting: MeetingRow,
  current: BotRow | null,
  now: Date,
): Promise<{ id: string; status: BotStatus }> {
  const settings = settingsOf(meeting);
  const wanted = sql`
    occurrence_key = ${occurrenceOf(meeting)}, meeting_url = ${meeting.meeting_url}, starts_at = ${meeting.start_time},
    ends_at = ${meeting.end_time}, joins_at = ${new Date(meeting.start_time.getTime() - earlyMs)},
    settings = ${JSON.stringify(settings)}::jsonb, name = ${settings.name}, due_at = ${now}, updated_at = ${now}`;
  const { rows: there } = await sql<{ id: string; status: BotStatus }>`
    update bots set ends_at = greatest(ends_at, ${meeting.end_time}), updated_at = ${now},
      -- Whoever comes late is given what was said so far.
      transcript_state = case when transcript_state = 'final' then 'growing' else transcript_state end,
      due_at = ${now}
    where occurrence_key = ${occurrenceOf(meeting)} returning id, status
  `.execute(tx);
  if (there[0]) return there[0];
  const isOwn = current && !current.is_over && current.wish === "attend";
  if (
    current &&
    isOwn &&
    canMove(current, meeting, now) &&
    !(await hasOthers(tx, current, meeting))
  ) {
    await sql`update bots set ${wanted} where id = ${current.id}`.execute(tx);
    await noteEvent(tx, current.id, "moved", now);
    return current;
  }
  const { rows } = await sql<{ id: string }>`
    insert into bots (user_id, name, provider, wish) values (${meeting.user_id}, ${settings.name}, 'attendee', 'attend')
    returning id
  `.execute(tx);
  const id = rows[0]?.id ?? "";
  await sql`update bots set ${wanted} where id = ${id}`.execute(tx);
  await noteEvent(tx, id, "planned", now);
  return { id, status: "pending" };
}

// A bot that is on its way is not moved, but leaves and comes anew; unless it is where it should be anyway.
function canMove(bot: BotRow, meeting: MeetingRow, now: Date): boolean {
  if (bot.state === null || bot.state === "scheduled") return true;
  const isThere = bot.meeting_url === meeting.meeting_url;
  return (
    isThere && meeting.start_time.getTime() - now.getTime() < 5 * earlyMs && now < meeting.end_time
  );
}

async function hasOthers(tx: Tx, bot: BotRow, { id }: { id: string }): Promise<boolean> {
  const { rows } = await sql<{ has: boolean }>`
    select exists (select from meetings where bot_id = ${bot.id} and id <> ${id}
      and cancelled_at is null and wants_bot is distinct from false
      and event_status is distinct from 'declined') as has
  `.execute(tx);
  return rows[0]?.has === true;
}

async function changeSettings(
  tx: Tx,
  meeting: MeetingRow,
  bot: BotRow,
  now: Date,
): Promise<NewJob[]> {
  const settings = settingsOf(meeting);
  const isChanged = JSON.stringify(settings) !== JSON.stringify(bot.settings);
  const isEarly = bot.state === null || bot.state === "scheduled";
  if (!isChanged || !isEarly || bot.wish !== "attend" || (await hasOthers(tx, bot, meeting))) {
    return [];
  }
  await sql`
    update bots set settings = ${JSON.stringify(settings)}::jsonb, name = ${settings.name},
      occurrence_key = ${occurrenceOf(meeting)}, due_at = ${now} where id = ${bot.id}
  `.execute(tx);
  return [tendJob(bot.id)];
}

// One that has been in the meeting stays the meeting's, with all that it heard.
async function callOff(tx: Tx, meeting: MeetingRow, bot: BotRow, now: Date): Promise<NewJob[]> {
  const wasThere = bot.status === "bot_joined" || bot.status === "transcribing";
  if (!wasThere) {
    await sql`
      update meetings set bot_id = null, updated_at = ${now},
        bot_status = case when cancelled_at is null then 'pending' else 'failed' end
      where id = ${meeting.id}
    `.execute(tx);
    await decideBots(tx, [meeting.id], now);
    return letGo(tx, bot, now);
  }
  if (await hasOthers(tx, bot, meeting)) return [];
  await sql`update bots set wish = 'leave', due_at = ${now} where id = ${bot.id} and wish = 'attend'`.execute(
    tx,
  );
  return [tendJob(bot.id)];
}

/** A bot that no meeting has any longer is not to come, and leaves the place to another. */
async function letGo(tx: Tx, bot: { id: string }, now: Date): Promise<NewJob[]> {
  const { rows } = await sql<{ id: string }>`
    update bots set wish = 'leave', occurrence_key = null, due_at = ${now}, updated_at = ${now}
    where id = ${bot.id} and wish = 'attend' and not is_over
      and not exists (select from meetings where bot_id = bots.id)
    returning id
  `.execute(tx);
  for (const { id } of rows) await noteEvent(tx, id, "called_off", now);
  return rows.map(({ id }) => tendJob(id));
}

/** Locks the meetings of a bot, which everybody locks before the bot itself. */
export async function lockMeetings(tx: Tx, botId: string): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select id from meetings where bot_id = ${botId} order by id for update
  `.execute(tx);
  return rows.map(({ id }) => id);
}

/** Keeps what we did ourselves among a bot's events. */
export async function noteEvent(tx: Tx, botId: string, type: string, at: Date): Promise<void> {
  await sql`
    insert into bot_events (bot_id, type, happened_at) values (${botId}, ${type}, ${at}) on conflict do nothing
  `.execute(tx);
}

// People's own words, and the older product's form of them. What cannot be read counts as not said.
const Words = z.string().trim().max(10_000).optional().catch(undefined);
const Configuration = z
  .looseObject({
    bot_name: Words,
    bot_chat_message: z
      .union([
        z.string(),
        z.looseObject({ message: z.string() }).transform(({ message }) => message),
      ])
      .optional()
      .catch(undefined),
    language: Words,
    transcription_language: Words,
    recording: z.enum(["video", "audio", "none"]).optional().catch(undefined),
    recording_enabled: z.boolean().optional().catch(undefined),
    share: z.boolean().optional().catch(undefined),
  })
  .catch({});

export const usualName = "AI Assistant";
// What the column says where nobody said anything.
const columnName = "Kirit Notetaker";
const columnGreeting = "Hi, I'm here to transcribe this meeting!";

function settingsOf(meeting: MeetingRow): BotSettings {
  const said = Configuration.parse(meeting.bot_configuration ?? {});
  const own = <Value>(value: Value | null, usual: Value) => (value === usual ? null : value);
  const greeting =
    said.bot_chat_message ??
    own(meeting.bot_chat_message, columnGreeting) ??
    meeting.preferred_greeting ??
    columnGreeting;
  const recording = said.recording ?? (said.recording_enabled === false ? "none" : undefined);
  const preferred = (["video", "audio", "none"] as const).find(
    (one) => one === meeting.preferred_recording,
  );
  return {
    name: basicText(
      said.bot_name || own(meeting.bot_name, columnName) || meeting.preferred_name || usualName,
      255,
      usualName,
    ),
    greeting: greeting.trim() === "" ? null : basicText(greeting, 10_000, columnGreeting),
    language: said.language || said.transcription_language || meeting.preferred_language || null,
    recording: recording ?? preferred ?? "video",
    isShared: said.share !== false,
  };
}

// Attendee refuses what is outside the basic plane: emoji, mostly.
function basicText(text: string, longest: number, fallback: string): string {
  return (
    text
      .replace(/[\u{10000}-\u{10ffff}]/gu, "")
      .trim()
      .slice(0, longest) || fallback
  );
}
