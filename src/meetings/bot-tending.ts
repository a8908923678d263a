import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import type { App } from "../app.ts";
import type { Config } from "../config.ts";
import { ProviderError } from "../lib/errors.ts";
import {
  type AttendeeAccess,
  type BotState,
  createBot,
  deleteBot,
  findBots,
  getBot,
  leaveMeeting,
  moveBot,
  type NewBot,
  type ProviderBot,
  webhookTriggers,
} from "../providers/attendee.ts";
import { enqueue } from "../queue/queue.ts";
import { fetchContents, keepContents } from "./bot-contents.ts";
import { nextLook } from "./bot-pace.ts";
import { applySnapshot, giveUp, startAgain } from "./bot-states.ts";
import { type BotRow, lockMeetings, noteEvent, tellSharers, tendJob } from "./bots.ts";
import { isSameMeeting } from "./meeting-url.ts";

type Part = Pick<App, "db" | "clock" | "queue" | "config" | "log">;

const leaseMs = 120_000;
const waitMs = 15_000;
// The provider takes a bot for a time from now on, or says that it is past.
const soonMs = 5_000;
// Its scheduler looks each minute, and misses what is older than five.
const missedMs = 6 * 60_000;
// Bots can be made for three years ahead.
const windowMs = 1_000 * 86_400_000;
const mostAttempts = 3;

/**
 * Brings a bot at the provider in line with what is wanted of it, and our tables in line with what became of it. Whatever
 * asks for that (the clock, a webhook, a changed meeting, a button) ends here. Of several at once one works, and looks
 * again afterwards. What fails waits in the row.
 */
export async function tendBot(
  app: Part,
  { botId }: { botId: string },
  { signal, snapshot }: { signal?: AbortSignal; snapshot?: ProviderBot | undefined } = {},
): Promise<{ tended: number }> {
  const access = attendeeAccess(app.config);
  const owner = randomUUID();
  const bot = access && (await takeLease(app, botId, owner));
  if (!access || !bot) return { tended: 0 };
  try {
    await tend({ app, access, signal }, bot, snapshot);
    await letGo(app, bot, owner, null);
  } catch (error) {
    await letGo(app, bot, owner, error);
    if (!(error instanceof ProviderError)) throw error;
  }
  return { tended: 1 };
}

/** Tends a bot now, or once whoever does so has finished; not for longer than people wait. */
export async function tendBotNow(app: Part, botId: string): Promise<void> {
  if (!attendeeAccess(app.config)) return;
  for (const deadline = Date.now() + waitMs; Date.now() < deadline; await sleep(50)) {
    if ((await tendBot(app, { botId })).tended > 0) return;
  }
}

/** How to reach Attendee; null where no key is set. */
export function attendeeAccess({ attendee }: Pick<Config, "attendee">): AttendeeAccess | null {
  const { apiKey, apiUrl } = attendee;
  return apiKey && { apiKey, apiUrl: apiUrl ?? "https://app.attendee.dev/api/v1" };
}

async function takeLease(app: Part, botId: string, owner: string): Promise<BotRow | null> {
  const now = app.clock.now();
  const { rows } = await sql<BotRow>`
    update bots set lease_owner = ${owner}, lease_until = ${new Date(now.getTime() + leaseMs)}, wanted_again = false
    where id = ${botId} and wish is not null and (lease_until is null or lease_until <= ${now})
    returning *
  `.execute(app.db);
  if (rows[0]) return rows[0];
  await sql`update bots set wanted_again = true, due_at = ${now} where id = ${botId} and wish is not null`.execute(
    app.db,
  );
  return null;
}

async function letGo(app: Part, before: BotRow, owner: string, error: unknown): Promise<void> {
  const now = app.clock.now();
  await app.db.transaction().execute(async (tx) => {
    const { rows } = await sql<BotRow & { wanted_again: boolean }>`
      select * from bots where id = ${before.id} and lease_owner = ${owner} for update
    `.execute(tx);
    const [bot] = rows;
    if (!bot) return;
    const failures = error ? bot.failures + 1 : 0;
    const text =
      error instanceof ProviderError ? error.message : error ? "Something unexpected" : null;
    // A wish that came while we worked is not put off.
    const isAgain =
      bot.wanted_again ||
      (!error &&
        bot.due_at &&
        before.due_at?.getTime() !== bot.due_at.getTime() &&
        bot.due_at <= now);
    const due = isAgain ? now : error ? retryAt(error, failures, now) : nextLook(bot, now);
    await sql`
      update bots set lease_owner = null, lease_until = null, wanted_again = false, failures = ${failures},
        last_error = ${text}, due_at = ${due}, last_polled_at = ${now}
      where id = ${bot.id}
    `.execute(tx);
    await sql`
      update meetings set last_polled_at = ${now}, next_poll_time = ${due} where bot_id = ${bot.id}
    `.execute(tx);
    if (isAgain) await enqueue(app, tx, tendJob(bot.id));
    else if (error && due) await enqueue(app, tx, { ...tendJob(bot.id), startAfter: due });
  });
}

function retryAt(error: unknown, failures: number, now: Date): Date {
  const asked = error instanceof ProviderError ? error.retryAfterSeconds : undefined;
  const seconds = asked ?? Math.min(300, 2 ** Math.min(failures, 9) * (1 + Math.random()));
  return new Date(now.getTime() + seconds * 1000);
}

type Work = { app: Part; access: AttendeeAccess; signal: AbortSignal | undefined };

async function tend(work: Work, given: BotRow, snapshot?: ProviderBot): Promise<void> {
  const { app, access, signal } = work;
  let bot = given;
  const now = () => app.clock.now();
  if (bot.is_over) {
    // What it heard may still be worked on.
    const seen = bot.provider_bot_id && nextLook(bot, now()) && (await look(work, bot, snapshot));
    if (!seen) return;
    bot = await note(work, bot, seen);
  } else {
    const seen = bot.provider_bot_id ? await look(work, bot, snapshot) : await bring(work, bot);
    if (!seen) return;
    bot = await note(work, bot, seen);
    const moved = await steer(work, bot);
    if (moved) bot = await note(work, bot, moved);
  }
  if (!bot.provider_bot_id || (bot.is_over && nextLook(bot, now()) === null)) return;
  const contents = await fetchContents(access, bot, now(), signal);
  if (contents) await keepContents(app, bot, contents);
}

async function note({ app }: Work, bot: BotRow, snapshot: ProviderBot): Promise<BotRow> {
  return applySnapshot(app, bot.id, snapshot);
}

// A bot that is not there any longer, though nobody called it off, is made anew.
async function look(
  { app, access, signal }: Work,
  bot: BotRow,
  snapshot?: ProviderBot,
): Promise<ProviderBot | null> {
  const id = bot.provider_bot_id ?? "";
  if (snapshot?.id === id) return snapshot;
  try {
    return await getBot(access, id, signal);
  } catch (error) {
    if (!(error instanceof ProviderError) || error.failure !== "not_found") throw error;
    if (bot.is_over) {
      await sql`update bots set transcript_state = 'final' where id = ${bot.id}`.execute(app.db);
      return null;
    }
    if (bot.wish === "attend" && bot.attempt < mostAttempts && isStillOn(bot, app.clock.now())) {
      await startAgain(app, bot.id, "gone");
    } else await giveUp(app, bot.id, bot.wish === "leave" ? null : "gone");
    return null;
  }
}

const isStillOn = (bot: BotRow, now: Date) => bot.ends_at !== null && now < bot.ends_at;

const deduplicationKey = (bot: BotRow) => `daybook-${bot.id}-${bot.attempt}`;

/** Makes the provider's bot, or finds the one that was made when we did not hear the answer. */
async function bring(work: Work, bot: BotRow): Promise<ProviderBot | null> {
  const { app, access, signal } = work;
  const now = app.clock.now();
  if (bot.asked_at) {
    const found = await findOurs(work, bot);
    if (found) return adopt(app, bot, found, sentTo(found));
  }
  if (bot.wish === "leave") {
    await giveUp(app, bot.id, null);
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
    return await adopt(app, bot, await createBot(access, asked, signal), sentOf(asked));
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    const found = error.reason === "duplicate_key" ? await findOurs(work, bot) : null;
    if (found) return adopt(app, bot, found, sentTo(found));
    if (error.failure !== "give_up" || error.reason === "unauthorised") throw error;
    await giveUp(app, bot.id, "refused", error.message);
    return null;
  }
}

async function findOurs({ access, signal }: Work, bot: BotRow): Promise<ProviderBot | null> {
  const found = await findBots(access, deduplicationKey(bot), signal);
  return found.at(-1) ?? null;
}

async function adopt(app: Part, bot: BotRow, found: ProviderBot, sent: Sent): Promise<ProviderBot> {
  await sql`
    update bots set provider_bot_id = ${found.id}, sent = ${JSON.stringify(sent)}::jsonb, notice = null
    where id = ${bot.id}
  `.execute(app.db);
  return found;
}

type Sent = NonNullable<BotRow["sent"]>;

function sentOf({ meeting_url, join_at, bot_name }: NewBot): Sent {
  return { meeting_url, join_at: join_at ?? null, name: bot_name };
}

// Which of several askings made it, and for when and where, only the provider knows; by which name, nobody says.
function sentTo({ meeting_url, join_at }: ProviderBot): Sent {
  return { meeting_url: meeting_url ?? "", join_at: join_at?.toISOString() ?? null, name: null };
}

function newBotOf(app: Part, bot: BotRow, now: Date): NewBot {
  const { publicUrl, attendee } = app.config;
  const { settings } = bot;
  const isAhead = bot.joins_at !== null && bot.joins_at.getTime() > now.getTime() + soonMs;
  const language = settings?.language;
  const formats = { video: "mp4", audio: "mp3", none: "none" };
  // One of its own keeps the project's webhooks from being used; and one that we cannot check would be refused.
  const isHeard = publicUrl?.startsWith("https://") && attendee.webhookSecret;
  return {
    meeting_url: bot.meeting_url ?? "",
    bot_name: bot.name,
    ...(isAhead && bot.joins_at ? { join_at: bot.joins_at.toISOString() } : {}),
    deduplication_key: deduplicationKey(bot),
    metadata: { daybook_bot: bot.id, daybook_attempt: String(bot.attempt) },
    ...(settings?.greeting
      ? { bot_chat_message: { to: "everyone" as const, message: settings.greeting } }
      : {}),
    ...(isHeard
      ? { webhooks: [{ url: `${publicUrl}/api/v1/webhooks/attendee`, triggers: webhookTriggers }] }
      : {}),
    ...(language
      ? {
          transcription_settings: {
            meeting_closed_captions: {
              google_meet_language: language,
              teams_language: language.toLowerCase(),
            },
          },
        }
      : {}),
    ...(settings && settings.recording !== "video"
      ? { recording_settings: { format: formats[settings.recording] } }
      : {}),
  };
}

const leavable: BotState[] = [
  "joining",
  "waiting_room",
  "joined_not_recording",
  "joined_recording",
  "joined_recording_paused",
  "joined_recording_permission_denied",
  "joining_breakout_room",
  "leaving_breakout_room",
];

/** Makes the provider's bot do what is wanted of ours. Returns what it became, where something was done. */
async function steer(work: Work, bot: BotRow): Promise<ProviderBot | null> {
  const { app, access, signal } = work;
  const id = bot.provider_bot_id;
  if (!id || bot.is_over || !bot.state) return null;
  if (bot.wish === "leave") return sendAway(work, bot, id);
  const now = app.clock.now();
  if (bot.state !== "scheduled") {
    if (isMisplaced(bot, now)) await replace(app, bot);
    return null;
  }
  const isMissed =
    bot.sent?.join_at != null && now.getTime() - Date.parse(bot.sent.join_at) > missedMs;
  const joinsAt = bot.joins_at?.getTime() ?? 0;
  const isChanged =
    bot.sent?.meeting_url !== bot.meeting_url ||
    bot.sent?.name !== bot.name ||
    Date.parse(bot.sent?.join_at ?? "") !== joinsAt;
  if (!isChanged && !isMissed) return null;
  try {
    // A time that is past cannot be told: it is sent anew, at once.
    if (isMissed || joinsAt <= now.getTime() + soonMs) {
      await deleteBot(access, id, signal);
      await startAgain(app, bot.id, isMissed ? "bot_not_launched" : "moved");
      return null;
    }
    const change = { meeting_url: bot.meeting_url ?? "", join_at: new Date(joinsAt).toISOString() };
    const moved = await moveBot(access, id, { ...change, bot_name: bot.name }, signal);
    await sql`
      update bots set sent = ${JSON.stringify({ ...change, name: bot.name })}::jsonb where id = ${bot.id}
    `.execute(app.db);
    return moved;
  } catch (error) {
    if (!(error instanceof ProviderError) || error.reason !== "state") throw error;
    // It has set out meanwhile.
    const seen = await note(work, bot, await getBot(access, id, signal));
    if (isMisplaced(seen, app.clock.now())) await replace(app, seen);
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
async function replace(app: Part, bot: BotRow): Promise<void> {
  const now = app.clock.now();
  await app.db.transaction().execute(async (tx) => {
    const meetings = await lockMeetings(tx, bot.id);
    const { rows } = await sql<{ id: string }>`
      with old as (
        select * from bots where id = ${bot.id} and wish = 'attend' and not is_over for update
      ), freed as (
        update bots set wish = 'leave', occurrence_key = null, due_at = ${now} from old where bots.id = old.id
      )
      select id from old
    `.execute(tx);
    if (!rows[0]) return;
    const { rows: made } = await sql<{ id: string }>`
      insert into bots (user_id, name, provider, wish, settings, meeting_url, starts_at, ends_at, joins_at, due_at,
        occurrence_key)
      values (null, ${bot.name}, 'attendee', 'attend', ${JSON.stringify(bot.settings)}::jsonb, ${bot.meeting_url},
        ${bot.starts_at}, ${bot.ends_at}, ${bot.joins_at}, ${now}, ${bot.occurrence_key})
      returning id
    `.execute(tx);
    const id = made[0]?.id ?? "";
    await sql`
      update bots set user_id = (select user_id from bots where id = ${bot.id}) where id = ${id}
    `.execute(tx);
    await sql`
      update meetings set bot_id = ${id}, bot_status = 'pending', updated_at = ${now}
      where id = any(${meetings}::uuid[])
    `.execute(tx);
    await noteEvent(tx, bot.id, "replaced", now);
    await noteEvent(tx, id, "planned", now);
    await tellSharers(tx, id, {});
    await enqueue(app, tx, [tendJob(id), tendJob(bot.id)]);
  });
}
