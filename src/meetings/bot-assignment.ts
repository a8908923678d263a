import { createHash } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { sql } from "kysely";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import { enqueue, type NewJob } from "../queue/queue.ts";
import { decideBots, nearMs, sharersOf, wantsBot } from "./bot-plans.ts";
import { type BotSettings, type BotWishes, configurationOf, settingsOf } from "./bot-settings.ts";
import type { BotStatus } from "./bot-words.ts";
import { type BotRow, isYetToJoin, lockBot, noteEvent, tendJob } from "./bots.ts";
import { isSameMeeting, normaliseMeetingUrl, placeOf } from "./meeting-url.ts";

type Part = Pick<App, "db" | "clock" | "queue" | "config">;

/** Gives one meeting the bot that it should have, as rows; what the provider must do for that is a job. Repeating it changes nothing. */
export async function reconcileBot(app: Part, { meetingId }: { meetingId: string }): Promise<void> {
  await app.db.transaction().execute(async (tx) => {
    await enqueue(app, tx, await assignBots(app, tx, [meetingId]));
  });
}

/**
 * What {@link reconcileBot} does, for some meetings by their ids and in the caller's transaction. Returns the jobs that
 * make it so at the provider.
 */
export async function assignBots(
  app: Pick<App, "clock" | "config">,
  tx: Tx,
  meetingIds: string[],
): Promise<NewJob[]> {
  const places = new Set<string>();
  for (const id of meetingIds) {
    const seen = await readMeeting(tx, id);
    // By link, not by occurrence: who comes to it at another time may share a bot that is there.
    for (const link of [seen?.bot_place, seen?.meeting_url]) if (link) places.add(placeOf(link));
  }
  for (const place of [...places].sort()) {
    await sql`select pg_advisory_xact_lock(hashtextextended(${`bot:${place}`}, 0))`.execute(tx);
  }
  const jobs: NewJob[] = [];
  for (const id of meetingIds) jobs.push(...(await assignBot(app, tx, id)));
  return jobs;
}

// Within the locks of the places that are concerned.
async function assignBot(
  app: Pick<App, "clock" | "config">,
  tx: Tx,
  meetingId: string,
): Promise<NewJob[]> {
  const now = app.clock.now();
  const meeting = await readMeeting(tx, meetingId);
  const [plan] = await decideBots(tx, [meetingId], now);
  if (!meeting || !plan) return [];
  const current = meeting.bot_id ? await lockBot(tx, meeting.bot_id) : null;
  if (plan.decision === "cancel") return current ? callOff(tx, meeting, current, now) : [];
  if (plan.decision === "none") {
    if (!current || current.is_over) return [];
    const isWrong =
      isForAnother(current, meeting) || (await isForestalled(tx, meeting, current, now));
    if (!isWrong) return refresh(tx, meeting, current, now);
  }
  // Without a key nobody can be sent; the plan says that one is wanted, and is found again once there is one.
  return app.config.attendee.apiKey ? give(tx, meeting, current, now) : [];
}

type MeetingRow = BotWishes & {
  id: string;
  user_id: string;
  title: string;
  meeting_url: string | null;
  start_time: Date;
  end_time: Date;
  bot_id: string | null;
  bot_link: string | null;
  bot_place: string | null;
  bot_configuration: unknown;
  auto_scheduled_via_email: boolean | null;
};

async function readMeeting(tx: Tx, id: string): Promise<MeetingRow | null> {
  const { rows } = await sql<MeetingRow>`
    select meetings.id, meetings.user_id, meetings.title, meetings.meeting_url, meetings.start_time, meetings.end_time,
      meetings.bot_id, meetings.bot_link, bots.meeting_url as bot_place, meetings.bot_name, meetings.bot_chat_message,
      meetings.bot_configuration, meetings.auto_scheduled_via_email, wanted.bot_name as preferred_name,
      wanted.greeting as preferred_greeting, wanted.language as preferred_language,
      wanted.recording as preferred_recording
    from meetings
    left join bots on bots.id = meetings.bot_id
    left join bot_preferences as wanted on wanted.user_id = meetings.user_id
    where meetings.id = ${id}
    for update of meetings
  `.execute(tx);
  return rows[0] ?? null;
}

// Everybody in the same meeting at the same time comes to the same key, unless they want a bot of their own.
function occurrenceOf(meeting: MeetingRow): string | null {
  if (!meeting.meeting_url) return null;
  const link = normaliseMeetingUrl(meeting.meeting_url);
  const parts = [
    link ? [link.provider, link.key] : meeting.meeting_url,
    meeting.start_time.toISOString(),
    wantedSettings(meeting).isShared ? null : meeting.id,
  ];
  return createHash("sha256").update(JSON.stringify(parts)).digest("base64url");
}

const wantedSettings = (meeting: MeetingRow) => settingsOf(meeting.bot_configuration, meeting);

const isEarly = ({ state }: BotRow) => state === null || state === "scheduled";

// Whether to share was said anew, before it set out.
function isForAnother(bot: BotRow, meeting: MeetingRow): boolean {
  return bot.wish === "attend" && isEarly(bot) && bot.occurrence_key !== occurrenceOf(meeting);
}

// Another meeting by the same link, which began earlier, has its bot in the call.
async function isForestalled(
  tx: Tx,
  meeting: MeetingRow,
  bot: BotRow,
  now: Date,
): Promise<boolean> {
  if (bot.wish !== "attend" || !isYetToJoin(bot)) return false;
  const running = await runningBot(tx, meeting, now);
  return running !== null && running.id !== bot.id;
}

async function give(
  tx: Tx,
  meeting: MeetingRow,
  current: BotRow | null,
  now: Date,
): Promise<NewJob[]> {
  const bot = await botFor(tx, meeting, current, now);
  const method = meeting.auto_scheduled_via_email ? "automatic" : "manual";
  await sql`
    update meetings as meeting set bot_id = ${bot.id}, bot_link = meeting_url, bot_status = ${bot.status},
      wants_bot = ${wantsBot}, bot_deployment_method = ${method}, updated_at = ${now}
    where id = ${meeting.id}
  `.execute(tx);
  await decideBots(tx, [meeting.id], now);
  const isLeft = current !== null && current.id !== bot.id;
  return [tendJob(bot.id), ...(isLeft ? await letGo(tx, current, now) : [])];
}

// The bot of the meeting's occurrence: the one that is there for it, the meeting's own one moved, or a new one. Where one is
// in the same call already, by another meeting's time, it is that.
async function botFor(
  tx: Tx,
  meeting: MeetingRow,
  current: BotRow | null,
  now: Date,
): Promise<{ id: string; status: BotStatus }> {
  const key = occurrenceOf(meeting);
  const there = await tx
    .selectFrom("bots")
    .select(["id", "status", "state"])
    .where("occurrence_key", "=", key)
    .forNoKeyUpdate()
    .executeTakeFirst();
  const running = there && !isYetToJoin(there) ? null : await runningBot(tx, meeting, now);
  const found = running && running.id !== current?.id ? running : (there ?? running);
  const isTheirs = found !== null && found.id !== current?.id;
  if (isTheirs) {
    await sql`
      update bots set ends_at = greatest(ends_at, ${meeting.end_time}), due_at = ${now}, updated_at = ${now}
      where id = ${found.id}
    `.execute(tx);
    return found;
  }
  // Come to at another time than its own, it is not moved while others have it.
  if (found && !there && (await isShared(tx, found, meeting))) return found;
  const isOwn = current !== null && !current.is_over && current.wish === "attend";
  // One that is sent once more has given up its place, and takes it again.
  const isBack = isOwn && current.occurrence_key === null;
  const isSame = isOwn && (isBack || there?.id === current.id);
  if (isSame || (isOwn && isEarly(current) && !(await isShared(tx, current, meeting)))) {
    await place(tx, current, meeting, now);
    if (!isBack) await noteEvent(tx, current.id, "moved", now);
    return current;
  }
  const { id } = await tx
    .insertInto("bots")
    .values({
      user_id: meeting.user_id,
      name: "",
      description: "Basic auto-created bot for meeting transcription",
      provider: "attendee",
      wish: "attend",
    })
    .returning("id")
    .executeTakeFirstOrThrow();
  await place(tx, { id, settings: null }, meeting, now);
  await noteEvent(tx, id, "planned", now);
  return { id, status: "pending" };
}

// A meeting that runs, or is about to, and may share: the bot that is in it already, or sets out now, for others.
async function runningBot(tx: Tx, meeting: MeetingRow, now: Date): Promise<BotRow | null> {
  const { meeting_url: link, start_time, end_time } = meeting;
  const isNear = start_time.getTime() < now.getTime() + nearMs && end_time > now;
  if (!link || !isNear || !wantedSettings(meeting).isShared) return null;
  const { rows } = await sql<Pick<BotRow, "id" | "meeting_url" | "settings">>`
    select id, meeting_url, settings from bots
    where wish = 'attend' and not is_over and occurrence_key is not null and meeting_url is not null
      and starts_at < ${end_time} and ends_at > ${start_time > now ? start_time : now}
      and ${isThereOrSetsOut(now)}
    order by starts_at limit 2000
  `.execute(tx);
  const found = rows.find(
    ({ meeting_url, settings }) =>
      isSameMeeting(meeting_url ?? "", link) && settingsOf(settings?.configuration).isShared,
  );
  const bot = found ? await lockBot(tx, found.id) : null;
  // It may have ended while we waited for it.
  return bot?.wish === "attend" && !bot.is_over ? bot : null;
}

const isThereOrSetsOut = (now: Date) => sql`(state <> 'scheduled' or joins_at <= ${now})`;

/**
 * The meetings that are near while another by the same link, which overlaps them, has its bot in the call: theirs is not to
 * join it. All in one look, since most have no other and need none of their own.
 */
export async function listForestalled(tx: Tx, now: Date): Promise<string[]> {
  const { rows } = await sql<
    Pick<BotRow, "id" | "state"> & {
      meeting_url: string;
      starts_at: Date;
      ends_at: Date;
      is_there: boolean;
    }
  >`
    select id, state, meeting_url, starts_at, ends_at, ${isThereOrSetsOut(now)} is true as is_there from bots
    where wish = 'attend' and not is_over and occurrence_key is not null and meeting_url is not null
      and starts_at < ${new Date(now.getTime() + nearMs)} and ends_at > ${now}
      and settings -> 'configuration' -> 'share' is distinct from 'false'
    order by starts_at limit 5000
  `.execute(tx);
  const byPlace = Map.groupBy(rows, ({ meeting_url }) => placeOf(meeting_url));
  const forestalled = [...byPlace.values()].flatMap((bots) =>
    bots.filter((bot) => {
      const first = bots.find(
        (one) => one.is_there && one.starts_at < bot.ends_at && one.ends_at > bot.starts_at,
      );
      return first !== undefined && first !== bot && isYetToJoin(bot);
    }),
  );
  if (forestalled.length === 0) return [];
  const meetings = await tx
    .selectFrom("meetings")
    .select("id")
    .where(
      "bot_id",
      "in",
      forestalled.map(({ id }) => id),
    )
    .execute();
  return meetings.map(({ id }) => id);
}

/** Says where, when and as what a bot is to come. */
async function place(
  tx: Tx,
  bot: Pick<BotRow, "id" | "settings">,
  meeting: MeetingRow,
  now: Date,
): Promise<void> {
  const settings = wantedSettings(meeting);
  const joinsAt = joinsAtOf(meeting, settings);
  const kept = {
    created_via: meeting.auto_scheduled_via_email ? "auto_scheduling" : "manual_deployment",
    meeting_id: meeting.id,
    ...bot.settings,
    configuration: configurationOf(settings),
    join_at: joinsAt.toISOString(),
    meeting_start_time: meeting.start_time.toISOString(),
  };
  await sql`
    update bots set occurrence_key = ${occurrenceOf(meeting)}, meeting_url = ${meeting.meeting_url},
      starts_at = ${meeting.start_time}, ends_at = ${meeting.end_time}, joins_at = ${joinsAt}, name = ${settings.name},
      settings = ${JSON.stringify(kept)}::jsonb, due_at = ${now}, updated_at = ${now}
    where id = ${bot.id}
  `.execute(tx);
}

function joinsAtOf({ start_time }: MeetingRow, { minutesEarly }: BotSettings): Date {
  return new Date(start_time.getTime() - minutesEarly * 60_000);
}

async function isShared(tx: Tx, bot: Pick<BotRow, "id">, { id }: MeetingRow): Promise<boolean> {
  return (await sharersOf(tx, bot.id)).some((other) => other !== id);
}

// A meeting that lasts longer, or a bot that is to be otherwise, before it has set out.
async function refresh(tx: Tx, meeting: MeetingRow, bot: BotRow, now: Date): Promise<NewJob[]> {
  await sql`
    update bots set ends_at = wanted.ends_at
    from (select max(end_time) as ends_at from meetings where bot_id = ${bot.id}) as wanted
    where bots.id = ${bot.id} and bots.ends_at is distinct from wanted.ends_at
  `.execute(tx);
  const isSteady = isDeepStrictEqual(
    wantedSettings(meeting),
    settingsOf(bot.settings?.configuration),
  );
  if (isSteady || !isEarly(bot) || bot.wish !== "attend" || (await isShared(tx, bot, meeting))) {
    return [];
  }
  await place(tx, bot, meeting, now);
  return [tendJob(bot.id)];
}

// Others who want it keep it. The last one's, if it has been in the meeting, stays the meeting's with all that it heard.
async function callOff(tx: Tx, meeting: MeetingRow, bot: BotRow, now: Date): Promise<NewJob[]> {
  const isThere = bot.status === "bot_joined" || bot.status === "transcribing";
  const hasHeard = bot.transcript_state !== "none" || bot.earlier_bot_ids.length > 0;
  if ((isThere || hasHeard) && !(await isShared(tx, bot, meeting))) {
    await sql`
      update bots set wish = 'leave', occurrence_key = null, due_at = ${now} where id = ${bot.id} and wish = 'attend'
    `.execute(tx);
    return [tendJob(bot.id)];
  }
  // What is said from now on is not for them.
  await sql`delete from bot_meetings where bot_id = ${bot.id} and meeting_id = ${meeting.id}`.execute(
    tx,
  );
  await sql`
    update meetings set bot_id = null, bot_link = null, updated_at = ${now},
      bot_status = case when cancelled_at is null then 'pending' else 'failed' end
    where id = ${meeting.id}
  `.execute(tx);
  await decideBots(tx, [meeting.id], now);
  return letGo(tx, bot, now);
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
