import { isDeepStrictEqual } from "node:util";
import { sql } from "kysely";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import type { ProviderBot } from "../providers/attendee.ts";
import { enqueue } from "../queue/queue.ts";
import { decideBots } from "./bot-plans.ts";
import {
  type BotStatus,
  isWorthRetrying,
  type Notice,
  noticeOf,
  statusAfter,
  usualJoinMs,
  waitingToBeLetIn,
} from "./bot-words.ts";
import {
  type BotRow,
  isStillOn,
  lockWithMeetings,
  noteEvent,
  tellSharers,
  tendJob,
} from "./bots.ts";

type Part = Pick<App, "db" | "clock" | "queue">;

const mostRetries = 1;

/**
 * Notes what the provider says of a bot: its state, and every event once. An answer that is older than what we know
 * changes nothing. A bot that failed on the provider's side, while the meeting runs, is sent once more.
 */
export async function applySnapshot(
  app: Part,
  botId: string,
  snapshot: ProviderBot,
): Promise<BotRow> {
  return withBot(app, botId, async (tx, bot) => {
    const isOver = ["ended", "fatal_error", "data_deleted"].includes(snapshot.state);
    // Nothing comes after the end, however little of its history is told with it.
    const isEnd = isOver && !bot.is_over;
    const isOld = snapshot.events.length < bot.event_count && !isEnd;
    if (isOld || snapshot.id !== bot.provider_bot_id) return bot;
    const now = app.clock.now();
    await keepEvents(tx, bot, snapshot);
    if (bot.meeting_url === null && snapshot.meeting_url)
      await keepLink(tx, bot, snapshot.meeting_url);
    const last = lastOf(snapshot);
    const isFailed = snapshot.state === "fatal_error";
    if (
      isFailed &&
      bot.wish === "attend" &&
      isStillOn(bot, now) &&
      bot.retries < mostRetries &&
      isWorthRetrying(last.subType)
    ) {
      return again(app, tx, bot, last.subType ?? "fatal_error");
    }
    const status = isFailed ? "failed" : statusAfter(bot.status, snapshot.state);
    // What was said at the end still holds.
    const notice = (bot.is_over ? bot.notice : null) ?? noticeAt(snapshot, now);
    const hasJoined = snapshot.events.some(({ type }) => type === "joined_meeting");
    if (hasJoined) await keepMeetings(tx, bot.id);
    const next: BotRow = {
      ...bot,
      status,
      state: snapshot.state,
      recording_state: snapshot.recording_state,
      transcription_state: snapshot.transcription_state,
      event_count: snapshot.events.length,
      notice,
      is_over: isOver,
      over_at: isOver ? (bot.over_at ?? last.at ?? now) : null,
      // What never came in has heard nothing.
      transcript_state:
        isOver && !hasJoined && !mayHaveHeard(bot, snapshot) ? "final" : bot.transcript_state,
    };
    await sql`
      update bots set status = ${next.status}, state = ${next.state}, recording_state = ${next.recording_state},
        transcription_state = ${next.transcription_state}, event_count = ${next.event_count},
        notice = ${jsonOrNull(notice)}::jsonb, is_over = ${isOver}, over_at = ${next.over_at},
        transcript_state = ${next.transcript_state}, is_active = ${!isOver}, updated_at = ${now},
        -- What is over is nobody else's: whoever comes now gets a bot of their own.
        occurrence_key = case when ${isOver} then null else occurrence_key end
      where id = ${bot.id}
    `.execute(tx);
    const isNews =
      bot.state !== next.state || bot.status !== status || !isDeepStrictEqual(bot.notice, notice);
    if (isNews) await tellStatus(tx, next, now);
    if (isOver && !bot.is_over) await decideAnew(tx, bot.id, now);
    return next;
  });
}

/** Whether an answer says nothing that the row does not say. */
export function isKnown(bot: BotRow, snapshot: ProviderBot, now: Date): boolean {
  return (
    snapshot.id === bot.provider_bot_id &&
    snapshot.state === bot.state &&
    snapshot.events.length === bot.event_count &&
    snapshot.recording_state === bot.recording_state &&
    snapshot.transcription_state === bot.transcription_state &&
    bot.meeting_url !== null &&
    (bot.is_over || isDeepStrictEqual(bot.notice, noticeAt(snapshot, now)))
  );
}

/** Ends a bot that the provider has none of, or none any longer. `code` says what went wrong, if anything did. */
export async function giveUp(
  app: Part,
  botId: string,
  code: string | null,
  text?: string,
): Promise<void> {
  await withBot(app, botId, async (tx, bot) => {
    const now = app.clock.now();
    const known: Record<string, Omit<Notice, "code">> = {
      too_late: {
        text: bot.last_error
          ? `The meeting was over before a bot could be sent: ${bot.last_error}`
          : "The meeting was over before a bot could be sent",
        cure: null,
        fault: "attendee",
      },
      unreachable: {
        text: `Attendee says nothing of the bot: ${text ?? "no answer"}`,
        cure: "What was kept until then is all there is.",
        fault: "attendee",
      },
      unexpected: {
        text: "Daybook could not follow the bot any longer",
        cure: "What was kept until then is all there is. The log of Daybook says why.",
        fault: "operator",
      },
      refused: {
        text: text ?? "Attendee refused the bot",
        cure: "Check the meeting's link and the bot's settings.",
        fault: "settings",
      },
    };
    const notice = code === null ? null : { code, ...(known[code] ?? noticeOf(code, code)) };
    const hasHeard = bot.transcript_state !== "none";
    const status: BotStatus = notice ? (hasHeard ? "completed" : "failed") : bot.status;
    const next = { ...bot, status, notice, is_over: true };
    await sql`
      update bots set status = ${status}, notice = ${jsonOrNull(notice)}::jsonb, is_over = true, is_active = false,
        occurrence_key = null, over_at = ${now}, updated_at = ${now},
        -- What was heard before is still to become a document.
        transcript_state = case when transcript_state = 'none' and earlier_bot_ids = '{}' then 'final' else transcript_state end
      where id = ${bot.id}
    `.execute(tx);
    await noteEvent(tx, bot.id, code ?? "ended_before_it_came", now);
    await tellStatus(tx, next, now);
    await decideAnew(tx, bot.id, now);
  });
}

/** Forgets the provider's bot, so that another is made in its place. */
export async function startAgain(app: Part, botId: string, why: string): Promise<void> {
  await withBot(app, botId, (tx, bot) => again(app, tx, bot, why));
}

/** What {@link startAgain} does, in the caller's transaction, which has locked the bot's meetings and the bot. */
export async function again(
  app: Pick<App, "clock" | "queue">,
  tx: Tx,
  bot: BotRow,
  why: string,
): Promise<BotRow> {
  const now = app.clock.now();
  const earlier =
    bot.event_count > 0 && bot.provider_bot_id
      ? [...new Set([...bot.earlier_bot_ids, bot.provider_bot_id])]
      : bot.earlier_bot_ids;
  const isMoved = why === "moved" || why === "asked_again";
  const next: BotRow = {
    ...bot,
    attempt: bot.attempt + 1,
    retries: isMoved ? bot.retries : bot.retries + 1,
    provider_bot_id: null,
    earlier_bot_ids: earlier,
    asked_at: null,
    sent: null,
    state: null,
    status: "pending",
    event_count: 0,
    notice: isMoved
      ? null
      : { ...noticeOf("fatal_error", why), cure: "Another one is on its way." },
    is_over: false,
  };
  await sql`
    update bots set attempt = ${next.attempt}, retries = ${next.retries}, provider_bot_id = null, earlier_bot_ids = ${earlier}, asked_at = null,
      sent = null, state = null, status = 'pending', event_count = 0, notice = ${jsonOrNull(next.notice)}::jsonb,
      is_over = false, over_at = null, is_active = true, contents_read_at = null,
      transcript_state = case transcript_state when 'final' then 'growing' else transcript_state end,
      due_at = ${now}, wanted_again = true, updated_at = ${now}
    where id = ${bot.id}
  `.execute(tx);
  await noteEvent(tx, bot.id, why === "moved" ? "moved" : "sent_again", now);
  await tellStatus(tx, next, now);
  await enqueue(app, tx, tendJob(bot.id));
  return next;
}

async function withBot<Result>(
  app: Pick<App, "db">,
  botId: string,
  act: (tx: Tx, bot: BotRow) => Promise<Result>,
): Promise<Result> {
  return app.db.transaction().execute(async (tx) => {
    const locked = await lockWithMeetings(tx, botId);
    if (!locked) throw new Error(`Bot ${botId} was deleted`);
    return act(tx, locked.bot);
  });
}

/** Whoever had it there gets what it heard. */
export async function keepMeetings(tx: Tx, botId: string): Promise<void> {
  await sql`
    insert into bot_meetings (bot_id, meeting_id) select bot_id, id from meetings where bot_id = ${botId}
    on conflict do nothing
  `.execute(tx);
}

// A bot of the older product that was sent by a link alone.
async function keepLink(tx: Tx, bot: BotRow, link: string): Promise<void> {
  await sql`update bots set meeting_url = ${link} where id = ${bot.id}`.execute(tx);
  await sql`
    update meetings set meeting_url = ${link}, bot_link = ${link} where bot_id = ${bot.id} and meeting_url is null
  `.execute(tx);
}

async function decideAnew(tx: Tx, botId: string, now: Date): Promise<void> {
  const rows = await tx.selectFrom("meetings").select("id").where("bot_id", "=", botId).execute();
  const ids = rows.map(({ id }) => id);
  await decideBots(tx, ids, now);
}

async function tellStatus(tx: Tx, bot: BotRow, now: Date): Promise<void> {
  await sql`
    update meetings set bot_status = ${bot.status}, updated_at = ${now}
    where bot_id = ${bot.id} and bot_status is distinct from ${bot.status}
  `.execute(tx);
  await tellSharers(tx, bot.id, { state: bot.state, status: bot.status });
}

async function keepEvents(tx: Tx, bot: BotRow, { id, events }: ProviderBot): Promise<void> {
  if (events.length <= bot.event_count) return;
  const rows = events.map(({ type, sub_type, created_at }) => {
    return { type, sub_type: sub_type ?? "", happened_at: created_at };
  });
  await sql`
    insert into bot_events (bot_id, provider_bot_id, type, sub_type, happened_at)
    select ${bot.id}::uuid, ${id}::text, type, sub_type, happened_at
    from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) as event (type text, sub_type text, happened_at timestamptz)
    on conflict do nothing
  `.execute(tx);
}

function jsonOrNull(value: unknown): string | null {
  return value === null ? null : JSON.stringify(value);
}

function lastOf({ events }: ProviderBot): {
  type: string;
  subType: string | null;
  at: Date | null;
} {
  const last = events.at(-1);
  return { type: last?.type ?? "", subType: last?.sub_type ?? null, at: last?.created_at ?? null };
}

// A history can be cut short, or not be told at all: then what was seen and heard before counts, and how it ended.
function mayHaveHeard(bot: BotRow, { state, events }: ProviderBot): boolean {
  const wasIn = /^joined_|breakout/.test(bot.state ?? "") || bot.transcript_state !== "none";
  return wasIn || bot.earlier_bot_ids.length > 0 || (events.length === 0 && state === "ended");
}

function noticeAt(snapshot: ProviderBot, now: Date): Notice | null {
  const { state, events } = snapshot;
  const { type, subType, at } = lastOf(snapshot);
  if (state === "fatal_error") return noticeOf(type, subType);
  if (state === "waiting_room") return waitingToBeLetIn;
  const isSlow = state === "joining" && at !== null && now.getTime() - at.getTime() > usualJoinMs;
  if (isSlow) return waitingToBeLetIn;
  if (state === "joined_recording_permission_denied") return noticeOf(type, subType);
  const left = events.findLast((event) => event.type === "leave_requested")?.sub_type;
  return left === "auto_leave_could_not_enable_closed_captions" ? noticeOf(type, left) : null;
}
