import { type RawBuilder, sql } from "kysely";
import { z } from "zod";
import type { App } from "../app.ts";
import { AppError, ProviderError } from "../lib/errors.ts";
import {
  type AttendeeAccess,
  type ChatTo,
  deleteBotData,
  getBot,
  getRecording,
  listParticipants,
  type Output,
  pauseRecording,
  presentOutput,
  resumeRecording,
  sendChatMessage,
} from "../providers/attendee.ts";
import { enqueue } from "../queue/queue.ts";
import { assignBots } from "./bot-assignment.ts";
import { decideBots } from "./bot-plans.ts";
import { applySnapshot } from "./bot-states.ts";
import { attendeeAccess, tendBotNow } from "./bot-tending.ts";
import { type BotRow, noteEvent, tendJob } from "./bots.ts";

type Part = Pick<App, "db" | "clock" | "queue" | "config" | "log">;

/** A bot with the caller's meeting. */
export type OwnBot = BotRow & {
  meeting_id: string;
  meeting_title: string;
  /** The meeting has this bot now; it had others before, where it was moved. */
  is_current: boolean;
};

/**
 * A bot by our id or the provider's, if one of the user's meetings has it. Who holds the provider's id of an attempt before
 * the last one means the same bot. @throws {AppError} `not_found`
 */
export async function getOwnBot(
  app: Pick<App, "db">,
  userId: string,
  botId: string,
): Promise<OwnBot> {
  const ownId = z.guid().safeParse(botId).data ?? null;
  const isNamed = sql`(bots.id = ${ownId}::uuid or bots.provider_bot_id = ${botId})`;
  const wasNamed = sql`${botId} = any(bots.earlier_bot_ids) and bots.id in (
    select bot_id from meetings where user_id = ${userId} union
    select had.bot_id from bot_meetings as had join meetings on meetings.id = had.meeting_id where user_id = ${userId})`;
  const bot =
    (await selectOwn(app, userId, isNamed))[0] ?? (await selectOwn(app, userId, wasNamed))[0];
  if (!bot) throw new AppError("not_found", `No bot ${botId}`);
  return bot;
}

/** The bots that a user's meetings have or had, the latest meeting's first. */
export function listOwnBots(app: Pick<App, "db">, userId: string): Promise<OwnBot[]> {
  return selectOwn(app, userId, sql`bots.provider_bot_id is not null`);
}

// Each once, with the meeting that has it now, else the latest that had it.
async function selectOwn(
  app: Pick<App, "db">,
  userId: string,
  condition: RawBuilder<unknown>,
): Promise<OwnBot[]> {
  const { rows } = await sql<OwnBot>`
    select * from (
      select distinct on (bots.id) bots.*, meetings.id as meeting_id, meetings.title as meeting_title,
        coalesce(meetings.bot_id = bots.id, false) as is_current, meetings.start_time as meeting_start
      from bots join meetings on meetings.bot_id = bots.id
        or meetings.id in (select meeting_id from bot_meetings where bot_meetings.bot_id = bots.id)
      where ${condition} and meetings.user_id = ${userId}
      order by bots.id, is_current desc, meetings.start_time desc
    ) as own
    order by is_current desc, meeting_start desc limit 500
  `.execute(app.db);
  return rows;
}

/** Has a bot leave, or one that is not there yet not come. Others who share it keep it. The second click changes nothing. */
export async function leave(app: Part, userId: string, botId: string): Promise<OwnBot | null> {
  requireAccess(app);
  const bot = await getOwnBot(app, userId, botId);
  await app.db.transaction().execute(async (tx) => {
    const now = app.clock.now();
    // Meetings before the bot, as everybody locks them; of two of theirs in one place both give it up.
    const { rows } = await sql<{ id: string; wants_bot: boolean | null }>`
      select id, wants_bot from meetings where user_id = ${userId} and bot_id = ${bot.id} order by id for update
    `.execute(tx);
    const asking = rows.filter(({ wants_bot }) => wants_bot !== false).map(({ id }) => id);
    if (bot.is_over || asking.length === 0) return;
    await sql`
      update meetings set wants_bot = false, updated_at = ${now} where id = any(${asking}::uuid[])
    `.execute(tx);
    await decideBots(tx, asking, now);
    await noteEvent(tx, bot.id, "asked_to_leave", now);
    await enqueue(app, tx, await assignBots(app, tx, asking));
  });
  await tendBotNow(app, bot.id);
  return getOwnBot(app, userId, bot.id).catch((error: unknown) => {
    if (error instanceof AppError && error.code === "not_found") return null;
    throw error;
  });
}

/** Pauses or resumes the recording. Doing it again changes nothing. @throws {AppError} `conflict` where it does not record. */
export async function setRecording(
  app: Part,
  userId: string,
  botId: string,
  wish: "paused" | "running",
): Promise<OwnBot> {
  const { access, bot, providerId } = await reachBot(app, userId, botId);
  const goal = wish === "paused" ? "joined_recording_paused" : "joined_recording";
  const ask = wish === "paused" ? pauseRecording : resumeRecording;
  // What it was told before it may have done since.
  const seen = await told(getBot(access, providerId));
  await applySnapshot(app, bot.id, seen);
  if (seen.state !== goal) {
    // One that does not obey within a second is asked how it is doing a moment later: it may have obeyed by then.
    const startAfter = new Date(app.clock.now().getTime() + 2_000);
    await app.db.transaction().execute(async (tx) => {
      await sql`update bots set due_at = least(due_at, ${startAfter}) where id = ${bot.id}`.execute(
        tx,
      );
      await enqueue(app, tx, { ...tendJob(bot.id), startAfter });
    });
    await applySnapshot(app, bot.id, await told(ask(access, providerId)));
  }
  return getOwnBot(app, userId, bot.id);
}

/** Writes into the meeting's chat: to everyone, to all but the host, to the host, or to one participant by uuid. */
export async function sendChat(
  app: Part,
  userId: string,
  botId: string,
  { message, to }: { message: string; to: string },
): Promise<void> {
  const { access, bot, providerId } = await reachBot(app, userId, botId);
  await told(
    sendChatMessage(access, providerId, { message, ...(await addressOf(access, providerId, to)) }),
  );
  await app.db
    .transaction()
    .execute((tx) => noteEvent(tx, bot.id, "wrote_into_chat", app.clock.now()));
}

/** Has a bot that is in its meeting say or show something to everybody there. */
export async function present(
  app: Part,
  userId: string,
  botId: string,
  output: Output,
): Promise<null> {
  const { access, providerId } = await reachBot(app, userId, botId);
  await told(presentOutput(access, providerId, output));
  return null;
}

/**
 * Deletes at the provider what a bot that is over has heard and recorded; what is kept here stays.
 *
 * @throws {AppError} `conflict` before it is all kept here, and where others have it too.
 */
export async function deleteHeard(app: Part, userId: string, botId: string): Promise<OwnBot> {
  const access = requireAccess(app);
  const bot = await getOwnBot(app, userId, botId);
  if (!bot.provider_bot_id || !bot.is_over || bot.transcript_state !== "final") {
    throw new AppError("conflict", "What the bot heard is not all here yet");
  }
  const { rows: others } = await sql`
    select from meetings where user_id <> ${userId} and (bot_id = ${bot.id}
      or id in (select meeting_id from bot_meetings where bot_meetings.bot_id = ${bot.id})) limit 1
  `.execute(app.db);
  if (others.length > 0) throw new AppError("conflict", "Others have what this bot heard, too");
  await applySnapshot(app, bot.id, await told(deleteBotData(access, bot.provider_bot_id)));
  return getOwnBot(app, userId, bot.id);
}

/** A link to the recording that opens for 20 minutes at least. Null while there is none. */
export async function recordingLink(app: Part, bot: OwnBot): Promise<string | null> {
  const access = attendeeAccess(app.config);
  const ageMs = app.clock.now().getTime() - (bot.recording_url_at?.getTime() ?? 0);
  const isFresh = bot.recording_url !== null && ageMs < 10 * 60_000;
  if (isFresh || !access || !bot.provider_bot_id || !bot.is_over) return bot.recording_url;
  try {
    const recording = await getRecording(access, bot.provider_bot_id);
    if (!recording) return null;
    await sql`
      update bots set recording_url = ${recording.url}, recording_url_at = ${app.clock.now()} where id = ${bot.id}
    `.execute(app.db);
    return recording.url;
  } catch (error) {
    // An old link is worse than none.
    if (error instanceof ProviderError) return null;
    throw error;
  }
}

/** @throws {AppError} `unavailable` without a key for Attendee. */
export function requireAccess(app: Pick<App, "config">): AttendeeAccess {
  const access = attendeeAccess(app.config);
  if (access) return access;
  throw new AppError("unavailable", "No bots can be sent: MASTER_ATTENDEE_API_KEY is not set");
}

/** What is wrong with one field of a request. */
export function invalid(path: string, message: string): AppError {
  return new AppError("invalid", "The request cannot be followed", {
    fields: [{ path, message }],
  });
}

async function addressOf(access: AttendeeAccess, providerId: string, to: string): Promise<ChatTo> {
  if (to === "everyone" || to === "everyone_but_host") return { to };
  const people = await told(listParticipants(access, providerId));
  const one = people.find(({ uuid, is_host }) => (to === "host" ? is_host : uuid === to));
  if (!one) throw invalid("to", "is nobody who is in the meeting");
  return { to: "specific_user", to_user_uuid: one.uuid };
}

async function reachBot(app: Part, userId: string, botId: string) {
  const access = requireAccess(app);
  const bot = await getOwnBot(app, userId, botId);
  if (!bot.provider_bot_id || bot.is_over || !bot.is_current) {
    throw new AppError("conflict", "The bot is not in the meeting");
  }
  return { access, bot, providerId: bot.provider_bot_id };
}

// A refusal is the caller's to mend, everything else the provider's.
async function told<Result>(answer: Promise<Result>): Promise<Result> {
  try {
    return await answer;
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    const { failure, reason, message, retryAfterSeconds } = error;
    if (reason === "state") throw new AppError("conflict", message, { cause: error });
    if (failure === "give_up" && reason === "refused")
      throw new AppError("invalid", message, { cause: error });
    if (failure === "not_found")
      throw new AppError("conflict", "The bot is gone", { cause: error });
    throw new AppError(failure === "wait" ? "unavailable" : "provider_failed", message, {
      cause: error,
      retryAfterSeconds,
    });
  }
}
