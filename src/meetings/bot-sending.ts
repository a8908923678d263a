import { sql } from "kysely";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import { AppError } from "../lib/errors.ts";
import { inParallel } from "../lib/parallel.ts";
import { enqueue } from "../queue/queue.ts";
import { getOwnBot, invalid, type OwnBot, requireAccess } from "./bot-actions.ts";
import { assignBots } from "./bot-assignment.ts";
import { decideBots, sharersOf } from "./bot-plans.ts";
import { again } from "./bot-states.ts";
import { tendBotNow } from "./bot-tending.ts";
import { lockWithMeetings } from "./bots.ts";
import { isAttendeeJoinable, isSameMeeting, normaliseMeetingUrl, placeOf } from "./meeting-url.ts";

type Part = Pick<App, "db" | "clock" | "queue" | "config" | "log">;

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

/**
 * Sends a bot into a meeting, now or at its time. The same meeting again is the same bot.
 *
 * @throws {AppError} `unavailable` without a key for Attendee; `invalid` for a link that no bot can follow or that is
 *   not the meeting's, or a time that is past; `not_found` for a meeting that is not theirs; `conflict` for one that gets
 *   none.
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
    // Of several who ask for a bot at one place the second finds the first one's. Nobody else waits here with a row locked.
    const place = placeOf((await linkOf(tx, userId, request)) ?? "");
    await sql`select pg_advisory_xact_lock(hashtextextended(${`send bot:${place}`}, 0))`.execute(
      tx,
    );
    const id = request.meetingId
      ? await requireMeeting(tx, userId, request.meetingId, request)
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
    await enqueue(app, tx, await assignBots(app, tx, [id]));
    return { meetingId: id, isNew: revived || rows[0]?.had !== true };
  });
  const bot = await botOfMeeting(app, userId, meetingId);
  if (!bot) throw new AppError("conflict", await whyNone(app, meetingId));
  await tendBotNow(app, bot.id);
  return { bot: await getOwnBot(app, userId, bot.id), isNew };
}

async function linkOf(tx: Tx, userId: string, { meetingId, meetingUrl }: BotRequest) {
  if (!meetingId) return meetingUrl;
  const { rows } = await sql<{ meeting_url: string | null }>`
    select meeting_url from meetings where id = ${meetingId} and user_id = ${userId}
  `.execute(tx);
  return rows[0]?.meeting_url;
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
  const bot = (await lockWithMeetings(tx, botId))?.bot;
  if (!bot) return false;
  if (!bot.is_over) {
    if (bot.wish !== "leave" && !/^(leaving|post_processing)$/.test(bot.state ?? "")) return false;
    throw new AppError("conflict", "The bot is still leaving: try again in a moment");
  }
  if (end_time <= app.clock.now()) throw new AppError("conflict", "The meeting is over");
  const ends = bot.ends_at && bot.ends_at > end_time ? bot.ends_at : end_time;
  const wanted = { wish: "attend" as const, retries: 0, ends_at: ends };
  await tx.updateTable("bots").set(wanted).where("id", "=", botId).execute();
  await again(app, tx, { ...bot, ...wanted }, "asked_again");
  return true;
}

/** Has every coming meeting of a user that should have a bot and has none get one. Says what became of each. */
export async function autoSchedule(app: Part, userId: string) {
  requireAccess(app);
  const now = app.clock.now();
  const { rows } = await sql<{ id: string; title: string }>`
    select id, title from meetings where user_id = ${userId} and bot_id is null and end_time > ${now}
      and cancelled_at is null and meeting_url is not null
    order by start_time limit 500
  `.execute(app.db);
  const results = await inParallel(rows, 8, async ({ id: meetingId, title }) => {
    await app.db.transaction().execute(async (tx) => {
      await enqueue(app, tx, await assignBots(app, tx, [meetingId]));
    });
    const bot = await botOfMeeting(app, userId, meetingId);
    if (!bot) return [];
    await tendBotNow(app, bot.id);
    const { joins_at, last_error, notice, provider_bot_id } = await getOwnBot(app, userId, bot.id);
    return {
      meetingId,
      title,
      botId: bot.id,
      joinAt: joins_at,
      error: provider_bot_id ? null : (notice?.text ?? last_error),
    };
  });
  return results.flat();
}

async function requireMeeting(
  tx: Tx,
  userId: string,
  id: string,
  { meetingUrl, joinAt }: BotRequest,
): Promise<string> {
  const { rows } = await sql<{ meeting_url: string | null; start_time: Date; end_time: Date }>`
    select meeting_url, start_time, end_time from meetings where id = ${id} and user_id = ${userId}
  `.execute(tx);
  if (!rows[0]) throw new AppError("not_found", `No meeting ${id}`);
  const { meeting_url, start_time, end_time } = rows[0];
  if (meetingUrl && !isSameMeeting(meeting_url ?? "", meetingUrl)) {
    throw invalid("meeting_url", "is not the link of that meeting: leave out one of the two");
  }
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
  const { id } = await tx
    .insertInto("meetings")
    .values({
      user_id: userId,
      title: "Meeting",
      meeting_url: link.url,
      start_time: start,
      end_time: end,
      event_status: "accepted",
      bot_status: "pending",
      created_at: now,
      updated_at: now,
    })
    .returning("id")
    .executeTakeFirstOrThrow();
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
