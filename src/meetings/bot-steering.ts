import { createHash } from "node:crypto";
import { sql } from "kysely";
import type { App } from "../app.ts";
import { ProviderError } from "../lib/errors.ts";
import {
  type AttendeeAccess,
  createBot,
  deleteBot,
  findBots,
  getBot,
  leaveMeeting,
  liveStates,
  moveBot,
  type NewBot,
  type ProviderBot,
  webhookTriggers,
} from "../providers/attendee.ts";
import { enqueue } from "../queue/queue.ts";
import { type BotSettings, settingsOf } from "./bot-settings.ts";
import { applySnapshot, giveUp, startAgain } from "./bot-states.ts";
import {
  type BotRow,
  isStillOn,
  lockWithMeetings,
  noteEvent,
  type Sent,
  tellSharers,
  tendJob,
} from "./bots.ts";
import { isSameMeeting } from "./meeting-url.ts";

type Part = Pick<App, "db" | "clock" | "queue" | "config">;

/** Whoever holds a bot's lease works with these. */
export type Work = {
  app: Part;
  access: AttendeeAccess;
  signal: AbortSignal | undefined;
  /** Of the lease. */
  owner: string;
};

// The provider takes a bot for a time from now on, or says that it is past.
const soonMs = 5_000;
// Its scheduler looks each minute, and misses what is older than five.
const missedMs = 6 * 60_000;
// One that we did not hear of is there by then, or will never be.
const unsureMs = 2 * 60_000;
// Bots can be made for three years ahead.
const windowMs = 1_000 * 86_400_000;

const deduplicationKey = (bot: BotRow) => `daybook-${bot.id}-${bot.attempt}`;

/** Makes the provider's bot, or finds the one that was made when we did not hear the answer. */
export async function bring(work: Work, bot: BotRow): Promise<ProviderBot | null> {
  const { app } = work;
  const now = app.clock.now();
  if (bot.asked_at) {
    const found = await findOurs(work, bot);
    if (found) return adopt(work, bot, found, sentTo(found));
  }
  if (bot.wish === "leave") {
    // What was asked for a moment ago may still be made.
    const isUnsure = bot.asked_at && now.getTime() - bot.asked_at.getTime() < unsureMs;
    if (!isUnsure) await giveUp(app, bot.id, null);
    return null;
  }
  if (!isStillOn(bot, now)) {
    await giveUp(app, bot.id, "too_late");
    return null;
  }
  if ((bot.joins_at?.getTime() ?? 0) > now.getTime() + windowMs) return null;
  const asked = newBotOf(app, bot, now);
  // From here on it may exist, whether or not we live to hear of it.
  const { numAffectedRows } = await sql`
    update bots set asked_at = ${now} where id = ${bot.id} and wish = 'attend' and provider_bot_id is null
  `.execute(app.db);
  if (numAffectedRows === 0n) return null;
  try {
    return await adopt(work, bot, await create(work, asked), sentOf(asked));
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    const found = error.reason === "duplicate_key" ? await findOurs(work, bot) : null;
    if (found) return adopt(work, bot, found, sentTo(found));
    const isFinal = error.failure === "give_up" && error.reason !== "unauthorised";
    if (!isFinal || (bot.joins_at && bot.joins_at > now)) throw error;
    await giveUp(app, bot.id, "refused", error.message);
    return null;
  }
}

// A language that the provider does not know must not cost the transcript: the meeting's own is better than none. And a
// time that was ahead when it was told may be past when it arrives.
async function create({ access, signal }: Work, asked: NewBot): Promise<ProviderBot> {
  try {
    return await createBot(access, asked, signal);
  } catch (error) {
    const isRefused = error instanceof ProviderError && error.reason === "refused";
    const part = (["transcription_settings", "join_at"] as const).find(
      (name) => isRefused && asked[name] !== undefined && error.message.includes(name),
    );
    if (!part) throw error;
    const { [part]: _, ...rest } = asked;
    return createBot(access, rest, signal);
  }
}

async function findOurs({ access, signal }: Work, bot: BotRow): Promise<ProviderBot | null> {
  const found = await findBots(access, deduplicationKey(bot), signal);
  return found.at(-1) ?? null;
}

// Whoever has lost the lease meanwhile leaves it to the one who has it, who finds it by its key.
async function adopt(
  { app, owner }: Work,
  bot: BotRow,
  found: ProviderBot,
  sent: Sent,
): Promise<ProviderBot | null> {
  const { numAffectedRows } = await sql`
    update bots set provider_bot_id = ${found.id}, sent = ${JSON.stringify(sent)}::jsonb, notice = null,
      settings = coalesce(settings, '{}') || jsonb_build_object('attendee_bot_id', ${found.id}::text)
    where id = ${bot.id} and lease_owner = ${owner}
  `.execute(app.db);
  return numAffectedRows === 1n ? found : null;
}

function sentOf({ meeting_url, join_at, bot_name, metadata }: NewBot): Sent {
  return {
    meeting_url,
    join_at: join_at ?? null,
    name: bot_name,
    made: metadata.daybook_made ?? null,
  };
}

// Which of several askings made it, and for when and where, only the provider knows; by which name, nobody says.
function sentTo({ meeting_url, join_at, metadata }: ProviderBot): Sent {
  const made = metadata?.daybook_made;
  return {
    meeting_url: meeting_url ?? "",
    join_at: join_at?.toISOString() ?? null,
    name: null,
    made: typeof made === "string" ? made : null,
  };
}

function newBotOf(app: Part, bot: BotRow, now: Date): NewBot {
  const { publicUrl, attendee } = app.config;
  const settings = settingsOf(bot.settings?.configuration);
  const isAhead = bot.joins_at !== null && bot.joins_at.getTime() > now.getTime() + soonMs;
  const formats = { video: "mp4", audio: "mp3", none: "none" };
  // One of its own keeps the project's webhooks from being used; and one that we cannot check would be refused.
  const isHeard = publicUrl?.startsWith("https://") && attendee.webhookSecret;
  return {
    meeting_url: bot.meeting_url ?? "",
    bot_name: bot.name,
    ...(isAhead && bot.joins_at ? { join_at: bot.joins_at.toISOString() } : {}),
    deduplication_key: deduplicationKey(bot),
    metadata: {
      daybook_bot: bot.id,
      daybook_attempt: String(bot.attempt),
      daybook_made: madeOf(settings),
    },
    ...(settings.greeting
      ? { bot_chat_message: { to: "everyone" as const, message: settings.greeting } }
      : {}),
    ...(isHeard
      ? { webhooks: [{ url: `${publicUrl}/api/v1/webhooks/attendee`, triggers: webhookTriggers }] }
      : {}),
    ...(settings.language
      ? { transcription_settings: transcriptionIn(settings.language, bot.meeting_url ?? "") }
      : {}),
    ...(settings.recording === "video"
      ? {}
      : { recording_settings: { format: formats[settings.recording] } }),
  };
}

/** What a bot is made with and keeps: to have it otherwise, it is made anew. */
function madeOf({ greeting, language, recording }: BotSettings): string {
  const text = JSON.stringify([greeting, language, recording]);
  return createHash("sha256").update(text).digest("base64url").slice(0, 16);
}

// Zoom's captions are not for bots by default. Source: Attendee, "Transcription".
function transcriptionIn(language: string, link: string): Record<string, unknown> {
  if (/^https:\/\/[^/]*zoom\./.test(link)) return { deepgram: { language } };
  return {
    meeting_closed_captions: {
      google_meet_language: language,
      teams_language: language.toLowerCase(),
    },
  };
}

// Before it joins it hears nothing, and afterwards it goes by itself.
const leavable = liveStates.filter(
  (state) => !["scheduled", "staged", "leaving", "post_processing"].includes(state),
);

/** Makes the provider's bot do what is wanted of ours. Returns what it became, where something was done. */
export async function steer(work: Work, bot: BotRow): Promise<ProviderBot | null> {
  const { app, access, signal } = work;
  const id = bot.provider_bot_id;
  if (!id || bot.is_over || !bot.state) return null;
  if (bot.wish === "leave") return sendAway(work, bot, id);
  const now = app.clock.now();
  if (bot.state !== "scheduled") {
    if (isMisplaced(bot, now)) await replace(app, bot.id);
    return null;
  }
  const joinsAt = bot.joins_at?.getTime() ?? 0;
  const isMissed =
    bot.sent?.join_at != null && now.getTime() - Date.parse(bot.sent.join_at) > missedMs;
  const isOtherwise =
    bot.sent?.made != null && bot.sent.made !== madeOf(settingsOf(bot.settings?.configuration));
  const isChanged =
    bot.sent?.meeting_url !== bot.meeting_url ||
    bot.sent?.name !== bot.name ||
    Date.parse(bot.sent?.join_at ?? "") !== joinsAt;
  if (!isChanged && !isMissed && !isOtherwise) return null;
  try {
    // A time that is past cannot be told: it is sent anew, at once.
    if (isMissed || isOtherwise || joinsAt <= now.getTime() + soonMs) {
      await deleteBot(access, id, signal);
      await startAgain(app, bot.id, isMissed ? "bot_not_launched" : "moved");
      return null;
    }
    const change = { meeting_url: bot.meeting_url ?? "", join_at: new Date(joinsAt).toISOString() };
    const moved = await moveBot(access, id, { ...change, bot_name: bot.name }, signal);
    await sql`
      update bots set sent = ${JSON.stringify({ made: null, ...bot.sent, ...change, name: bot.name })}::jsonb where id = ${bot.id}
    `.execute(app.db);
    return moved;
  } catch (error) {
    if (!(error instanceof ProviderError) || error.reason !== "state") throw error;
    // It has set out meanwhile.
    const seen = await applySnapshot(app, bot.id, await getBot(access, id, signal));
    if (isMisplaced(seen, app.clock.now())) await replace(app, bot.id);
    return null;
  }
}

async function sendAway(
  { app, access, signal }: Work,
  bot: BotRow,
  id: string,
): Promise<ProviderBot | null> {
  try {
    if (bot.state === "scheduled") {
      await deleteBot(access, id, signal);
      await giveUp(app, bot.id, null);
      return null;
    }
    // Staged it hears nothing: it is told to leave when it joins.
    const canHear = leavable.some((state) => state === bot.state);
    return canHear ? await leaveMeeting(access, id, signal) : null;
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    if (error.failure === "not_found") {
      await giveUp(app, bot.id, null);
      return null;
    }
    if (error.reason !== "state") throw error;
    return getBot(access, id, signal);
  }
}

/** Whether a bot that has set out goes to where, or when, nobody waits for it. */
function isMisplaced(bot: BotRow, now: Date): boolean {
  if (!bot.sent || !bot.joins_at || bot.is_over) return false;
  if (!isSameMeeting(bot.sent.meeting_url, bot.meeting_url ?? "")) return true;
  const isTime = bot.joins_at.getTime() - now.getTime() < 8 * 60_000;
  const sentAt = bot.sent.join_at ? Date.parse(bot.sent.join_at) : null;
  return sentAt !== null && sentAt !== bot.joins_at.getTime() && !isTime;
}

/** Another bot takes the place of one that cannot be moved any longer, which is to leave. */
async function replace(app: Part, botId: string): Promise<void> {
  const now = app.clock.now();
  await app.db.transaction().execute(async (tx) => {
    const locked = await lockWithMeetings(tx, botId);
    if (locked?.bot.wish !== "attend" || !isMisplaced(locked.bot, now)) return;
    const { bot, meetingIds } = locked;
    await sql`
      update bots set wish = 'leave', occurrence_key = null, due_at = ${now} where id = ${botId}
    `.execute(tx);
    const { rows } = await sql<{ id: string }>`
      insert into bots (user_id, name, description, provider, wish, settings, meeting_url, starts_at, ends_at, joins_at,
        due_at, occurrence_key)
      select user_id, name, description, provider, 'attend', settings, meeting_url, starts_at, ends_at, joins_at,
        ${now}, ${bot.occurrence_key}::text
      from bots where id = ${botId}
      returning id
    `.execute(tx);
    const id = rows[0]?.id ?? "";
    await sql`
      update meetings set bot_id = ${id}, bot_status = 'pending', updated_at = ${now}
      where id = any(${meetingIds}::uuid[])
    `.execute(tx);
    await noteEvent(tx, botId, "replaced", now);
    await noteEvent(tx, id, "planned", now);
    await tellSharers(tx, id, {});
    await enqueue(app, tx, [tendJob(id), tendJob(botId)]);
  });
}
