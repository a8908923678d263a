import { sql } from "kysely";
import { z } from "zod";
import type { App } from "../app.ts";
import { AppError, ProviderError } from "../lib/errors.ts";
import { inParallel } from "../lib/parallel.ts";
import {
  type AttendeeAccess,
  type ChatTo,
  getBot,
  getRecording,
  listParticipants,
  pauseRecording,
  resumeRecording,
  sendChatMessage,
} from "../providers/attendee.ts";
import { enqueue } from "../queue/queue.ts";
import { assignBot } from "./bot-assignment.ts";
import { decideBots, sharersOf } from "./bot-plans.ts";
import { again, applySnapshot } from "./bot-states.ts";
import { attendeeAccess, tendBotNow } from "./bot-tending.ts";
import { type BotRow, lockBot, lockMeetings, noteEvent, tendJob } from "./bots.ts";
import { isAttendeeJoinable, isSameMeeting, normaliseMeetingUrl } from "./meeting-url.ts";

type Part = Pick<App, "db" | "clock" | "queue" | "config" | "log">;

/** A bot with the caller's meeting. */
export type OwnBot = BotRow & { meeting_id: string; meeting_title: string };

/** What a person wants a bot for. Without `meetingId` the meeting is found by its link, or made. */
export type BotRequest = {
  meetingUrl?: string | undefined;
  meetingId?: string | undefined;
  name?: string | undefined;
  greeting?: string | undefined;
  /** When it comes; without it two minutes before the start, or at once. */
  joinAt?: Date | undefined;
  /** One that is over while its meeting goes on is sent once more. */
  isAgain?: boolean | undefined;
};

const usualLengthMs = 3_600_000;
const earliestMs = 15 * 60_000;
const earlierMs = 60 * 60_000;
const latestMs = 12 * 60 * 60_000;

/** A bot by our id or the provider's, if one of the user's meetings has it. @throws {AppError} `not_found` */
export async function getOwnBot(
  app: Pick<App, "db">,
  userId: string,
  botId: string,
): Promise<OwnBot> {
  const ownId = z.guid().safeParse(botId).data ?? null;
  const { rows } = await sql<OwnBot>`
    select bots.*, meetings.id as meeting_id, meetings.title as meeting_title
    from bots join meetings on meetings.bot_id = bots.id
      or meetings.id in (select meeting_id from bot_meetings where bot_meetings.bot_id = bots.id)
    where (bots.id = ${ownId}::uuid or bots.provider_bot_id = ${botId}) and meetings.user_id = ${userId}
    order by meetings.bot_id = bots.id desc nulls last, meetings.start_time desc limit 1
  `.execute(app.db);
  if (!rows[0]) throw new AppError("not_found", `No bot ${botId}`);
  return rows[0];
}

/**
 * Sends a bot into a meeting, now or at its time. The same meeting again is the same bot.
 *
 * @throws {AppError} `unavailable` without a key for Attendee; `invalid` for a link that no bot can follow or a time that
 *   is past; `not_found` for a meeting that is not theirs; `conflict` for one that gets none.
 */
export async function sendBot(
  app: Part,
  userId: string,
  request: BotRequest,
): Promise<{ bot: OwnBot; isNew: boolean }> {
  const now = app.clock.now();
  const { joinAt } = request;
  if (joinAt && joinAt.getTime() < now.getTime() - 60_000) {
    throw invalid("join_at", "is past");
  }
  const { meetingId, isNew } = await app.db.transaction().execute(async (tx) => {
    await sql`select pg_advisory_xact_lock(hashtextextended(${`send bot:${userId}`}, 0))`.execute(
      tx,
    );
    const id = request.meetingId
      ? await requireMeeting(tx, userId, request.meetingId, joinAt)
      : await meetingAt(tx, userId, request, now);
    requireAccess(app);
    if (joinAt || request.name || request.greeting) await requireOwn(tx, id);
    const revived = request.isAgain ? await sendAgain(app, tx, id) : false;
    const { rows } = await sql<{ had: boolean }>`
      update meetings set wants_bot = true, updated_at = ${now},
        bot_name = coalesce(${request.name ?? null}, bot_name),
        bot_chat_message = coalesce(${request.greeting ?? null}, bot_chat_message),
        bot_configuration = case when ${joinAt ?? null}::timestamptz is null then bot_configuration
          else coalesce(bot_configuration, '{}') || jsonb_build_object('minutes_early',
            round(extract(epoch from start_time - ${joinAt ?? null}::timestamptz) / 60, 3)) end
      where id = ${id}
      returning exists (select from bots where bots.id = bot_id) as had
    `.execute(tx);
    await enqueue(app, tx, await assignBot(app, tx, id));
    return { meetingId: id, isNew: revived || rows[0]?.had !== true };
  });
  const bot = await botOfMeeting(app, userId, meetingId);
  if (!bot) throw new AppError("conflict", await whyNone(app, meetingId));
  await tendBotNow(app, bot.id);
  return { bot: await getOwnBot(app, userId, bot.id), isNew };
}

// What others share cannot be otherwise for one of them.
async function requireOwn(tx: Tx, meetingId: string): Promise<void> {
  const { rows } = await sql<{ bot_id: string }>`
    select bot_id from meetings join bots on bots.id = bot_id where meetings.id = ${meetingId} and not is_over
  `.execute(tx);
  const sharers = rows[0] ? await sharersOf(tx, rows[0].bot_id) : [];
  if (sharers.some((id) => id !== meetingId)) {
    throw new AppError(
      "conflict",
      "Others here share this bot: ask for one of your own, by share: false in the meeting's bot_configuration",
    );
  }
}

// The same row goes on, with what it heard before.
async function sendAgain(app: Part, tx: Tx, meetingId: string): Promise<boolean> {
  const { rows } = await sql<{ bot_id: string; end_time: Date }>`
    select bot_id, end_time from meetings where id = ${meetingId} and bot_id is not null
  `.execute(tx);
  if (!rows[0]) return false;
  const { bot_id: botId, end_time } = rows[0];
  await lockMeetings(tx, botId);
  const bot = await lockBot(tx, botId);
  if (!bot) return false;
  if (!bot.is_over) {
    if (bot.wish !== "leave" && !/^(leaving|post_processing)$/.test(bot.state ?? "")) return false;
    throw new AppError("conflict", "The bot is still leaving: try again in a moment");
  }
  if (end_time <= app.clock.now()) throw new AppError("conflict", "The meeting is over");
  const ends = bot.ends_at && bot.ends_at > end_time ? bot.ends_at : end_time;
  await sql`update bots set wish = 'attend', retries = 0, ends_at = ${ends} where id = ${botId}`.execute(
    tx,
  );
  await again(app, tx, { ...bot, wish: "attend", retries: 0, ends_at: ends }, "asked_again");
  return true;
}

/** Has every coming meeting of a user that should have a bot and has none get one. Says what became of each. */
export async function autoSchedule(app: Part, userId: string) {
  requireAccess(app);
  const now = app.clock.now();
  const { rows } = await sql<{ id: string; title: string; end_time: Date }>`
    select id, title from meetings where user_id = ${userId} and bot_id is null and end_time > ${now}
      and cancelled_at is null and meeting_url is not null
    order by start_time limit 500
  `.execute(app.db);
  const results = await inParallel(rows, 8, async ({ id: meetingId, title }) => {
    await app.db.transaction().execute(async (tx) => {
      await enqueue(app, tx, await assignBot(app, tx, meetingId));
    });
    const bot = await botOfMeeting(app, userId, meetingId);
    if (!bot) return [];
    await tendBotNow(app, bot.id);
    const { joins_at, last_error, provider_bot_id } = await getOwnBot(app, userId, bot.id);
    return {
      meetingId,
      title,
      botId: bot.id,
      joinAt: joins_at,
      error: provider_bot_id ? null : last_error,
    };
  });
  return results.flat();
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
    for (const id of asking) await enqueue(app, tx, await assignBot(app, tx, id));
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
  if (!bot.provider_bot_id || bot.is_over) {
    throw new AppError("conflict", "The bot is not in the meeting");
  }
  return { access, bot, providerId: bot.provider_bot_id };
}

function requireAccess(app: Pick<App, "config">): AttendeeAccess {
  const access = attendeeAccess(app.config);
  if (access) return access;
  throw new AppError("unavailable", "No bots can be sent: MASTER_ATTENDEE_API_KEY is not set");
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
      ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
    });
  }
}

type Tx = Parameters<typeof assignBot>[1];

async function requireMeeting(
  tx: Tx,
  userId: string,
  id: string,
  joinAt: Date | undefined,
): Promise<string> {
  const { rows } = await sql<{ start_time: Date; end_time: Date }>`
    select start_time, end_time from meetings where id = ${id} and user_id = ${userId}
  `.execute(tx);
  if (!rows[0]) throw new AppError("not_found", `No meeting ${id}`);
  const { start_time, end_time } = rows[0];
  const lateMs = joinAt ? joinAt.getTime() - start_time.getTime() : 0;
  if (joinAt && (joinAt >= end_time || lateMs < -earlierMs || lateMs > latestMs)) {
    throw invalid("join_at", "lies outside of the meeting, or more than an hour before it begins");
  }
  return id;
}

// The meeting that a link leads to at that time, if the person has it; otherwise one that stands in no calendar.
async function meetingAt(tx: Tx, userId: string, request: BotRequest, now: Date): Promise<string> {
  const link = normaliseMeetingUrl(request.meetingUrl ?? "");
  if (!link || !isAttendeeJoinable(link.url)) {
    throw invalid("meeting_url", "leads to no meeting that a bot can join");
  }
  const at = request.joinAt ?? now;
  const { rows } = await sql<{ id: string; meeting_url: string }>`
    select id, meeting_url from meetings
    where user_id = ${userId} and meeting_url is not null and cancelled_at is null and end_time > ${at}
      and start_time <= ${new Date(at.getTime() + (request.joinAt ? earlierMs : earliestMs))}
    order by start_time limit 200
  `.execute(tx);
  const same = rows.find(({ meeting_url }) => isSameMeeting(meeting_url, link.url));
  if (same) return same.id;
  // A bot comes two minutes before the start. Where one is there already, it is the same meeting.
  const there = await placeAt(tx, link.url, at);
  const start = there?.starts_at ?? (request.joinAt ? new Date(at.getTime() + 120_000) : at);
  const end = there?.ends_at ?? new Date(start.getTime() + usualLengthMs);
  const { rows: made } = await sql<{ id: string }>`
    insert into meetings (user_id, title, meeting_url, start_time, end_time, event_status, bot_status, created_at, updated_at)
    values (${userId}, 'Meeting', ${link.url}, ${start}, ${end}, 'accepted',
      'pending', ${now}, ${now})
    returning id
  `.execute(tx);
  const id = made[0]?.id ?? "";
  await decideBots(tx, [id], now);
  return id;
}

async function placeAt(tx: Tx, link: string, at: Date) {
  const { rows } = await sql<{ meeting_url: string; starts_at: Date; ends_at: Date }>`
    select meeting_url, starts_at, ends_at from bots
    where wish = 'attend' and not is_over and occurrence_key is not null and meeting_url is not null
      and starts_at <= ${new Date(at.getTime() + earliestMs)} and ends_at > ${at}
    order by starts_at limit 2000
  `.execute(tx);
  return rows.find(({ meeting_url }) => isSameMeeting(meeting_url, link)) ?? null;
}

async function botOfMeeting(app: Part, userId: string, meetingId: string) {
  const { rows } = await sql<{ id: string }>`
    select bot_id as id from meetings
    where id = ${meetingId} and user_id = ${userId} and bot_id is not null
  `.execute(app.db);
  return rows[0] ?? null;
}

async function whyNone(app: Part, meetingId: string): Promise<string> {
  const plan = await app.db
    .selectFrom("bot_plans")
    .select("reason")
    .where("meeting_id", "=", meetingId)
    .executeTakeFirst();
  return `This meeting gets no bot: ${plan?.reason ?? "nothing was decided"}`;
}

function invalid(path: string, message: string): AppError {
  return new AppError("invalid", "The request cannot be followed", {
    fields: [{ path, message }],
  });
}
