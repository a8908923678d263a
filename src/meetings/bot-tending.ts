import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import type { App } from "../app.ts";
import type { Config } from "../config.ts";
import { ProviderError } from "../lib/errors.ts";
import { type AttendeeAccess, getBot, type ProviderBot } from "../providers/attendee.ts";
import { enqueue } from "../queue/queue.ts";
import { fetchContents, keepContents, nothingMore } from "./bot-contents.ts";
import { nextLook } from "./bot-pace.ts";
import { applySnapshot, giveUp, isKnown, startAgain } from "./bot-states.ts";
import { bring, steer, type Work } from "./bot-steering.ts";
import { type BotRow, isStillOn, lockWithMeetings, tendJob } from "./bots.ts";

type Part = Pick<App, "db" | "clock" | "queue" | "config" | "log">;

// Nobody works on a bot for longer than the lease lasts.
const leaseMs = 60_000;
const workMs = 50_000;
const waitMs = 15_000;
// A bot of which the provider says nothing sensible so often, and so long after its meeting, is given up.
const hopelessMs = 3 * 86_400_000;
const mostFailures = 30;
const mostGone = 2;

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
  const deadline = AbortSignal.timeout(workMs);
  const until = signal ? AbortSignal.any([signal, deadline]) : deadline;
  try {
    await tend({ app, access, signal: until, owner }, bot, snapshot);
    await letGo(app, bot, { owner });
  } catch (caught) {
    // Whoever stops us has somebody else go on.
    if (signal?.aborted) {
      await letGo(app, bot, { owner, isAgain: true });
      throw caught;
    }
    const error = deadline.aborted ? tooSlow(caught) : caught;
    if (isHopeless(bot, app.clock.now())) await keepWhatThereIs(app, bot, error);
    await letGo(app, bot, { owner, error });
    if (!(error instanceof ProviderError)) throw error;
  }
  return { tended: 1 };
}

function tooSlow(cause: unknown): ProviderError {
  return new ProviderError("retry", "Attendee takes too long", { reason: "timeout", cause });
}

/** Tends a bot now, or once whoever does so has finished; not for longer than people wait. */
export async function tendBotNow(app: Part, botId: string): Promise<void> {
  if (!attendeeAccess(app.config)) return;
  for (const deadline = Date.now() + waitMs; Date.now() < deadline; await sleep(100)) {
    if ((await tendBot(app, { botId })).tended > 0) return;
    const { rows } = await sql`select from bots where id = ${botId} and wish is not null`.execute(
      app.db,
    );
    if (rows.length === 0) return;
  }
}

function isHopeless(bot: BotRow, now: Date): boolean {
  const isLongOver = bot.ends_at !== null && bot.ends_at.getTime() + hopelessMs < now.getTime();
  return isLongOver && bot.failures >= mostFailures;
}

async function keepWhatThereIs(app: Part, bot: BotRow, error: unknown): Promise<void> {
  if (error instanceof ProviderError) await giveUp(app, bot.id, "unreachable", error.message);
  else await giveUp(app, bot.id, "unexpected");
  try {
    await keepContents(app, { ...bot, status: "completed" }, nothingMore(app.clock.now()));
  } catch (caught) {
    // What cannot be kept today cannot be tomorrow either: it is followed no longer.
    app.log.error({ bot_id: bot.id, error: caught }, "what a bot heard could not be kept");
    await sql`
      update bots set transcript_state = 'final', wish = null, due_at = null where id = ${bot.id}
    `.execute(app.db);
  }
}

/** How to reach Attendee; null where no key is set. */
export function attendeeAccess({ attendee }: Pick<Config, "attendee">): AttendeeAccess | null {
  const { apiKey, apiUrl } = attendee;
  return apiKey && { apiKey, apiUrl: apiUrl ?? "https://app.attendee.dev/api/v1" };
}

// Whoever finds somebody at work leaves word in the same statement: that one may be letting go at this very moment, and
// would be gone before a second one.
async function takeLease(app: Part, botId: string, owner: string): Promise<BotRow | null> {
  const now = app.clock.now();
  const { rows } = await sql<BotRow>`
    with wanted as (
      select id, coalesce(lease_until > ${now}, false) as is_held
      from bots where id = ${botId} and wish is not null
      for update
    )
    update bots set
      wanted_again = is_held,
      due_at = case when is_held then ${now}::timestamptz else due_at end,
      lease_owner = case when is_held then lease_owner else ${owner}::uuid end,
      lease_until = case when is_held then lease_until else ${new Date(now.getTime() + leaseMs)} end
    from wanted where bots.id = wanted.id
    returning bots.*
  `.execute(app.db);
  return rows.find(({ lease_owner }) => lease_owner === owner) ?? null;
}

type End = { owner: string; error?: unknown; isAgain?: boolean };

async function letGo(app: Part, before: BotRow, { owner, error, isAgain }: End): Promise<void> {
  const now = app.clock.now();
  await app.db.transaction().execute(async (tx) => {
    const bot = (await lockWithMeetings(tx, before.id))?.bot;
    if (bot?.lease_owner !== owner) return;
    const failures = error ? bot.failures + 1 : isAgain ? bot.failures : 0;
    const text =
      error instanceof ProviderError ? error.message : error ? "Something unexpected" : null;
    // A wish that came while we worked is not put off.
    const isNew = bot.due_at !== null && before.due_at?.getTime() !== bot.due_at.getTime();
    const isNow = isAgain || bot.wanted_again || (!error && isNew && (bot.due_at ?? now) <= now);
    const usual = nextLook(bot, now);
    const due = isNow ? now : error && usual ? retryAt(bot, error, now) : usual;
    await tx
      .updateTable("bots")
      .set({ lease_owner: null, lease_until: null, wanted_again: false, failures })
      .set({ last_error: text, due_at: due, last_polled_at: now })
      .where("id", "=", bot.id)
      .execute();
    await sql`
      update meetings set last_polled_at = ${now}, next_poll_time = ${due} where bot_id = ${bot.id}
    `.execute(tx);
    if (isNow) await enqueue(app, tx, tendJob(bot.id));
    else if (error && due) await enqueue(app, tx, { ...tendJob(bot.id), startAfter: due });
  });
}

function retryAt(bot: BotRow, error: unknown, now: Date): Date {
  const asked = error instanceof ProviderError ? error.retryAfterSeconds : undefined;
  const aheadMs = (bot.joins_at ?? now).getTime() - now.getTime();
  // What is refused may be mended until the meeting begins; nobody needs to be asked all the time.
  if (error instanceof ProviderError && error.reason === "refused" && aheadMs > 0) {
    return new Date(now.getTime() + Math.min(Math.max(aheadMs / 2, 60_000), 6 * 3_600_000));
  }
  const failures = Math.min(bot.failures + 1, 9);
  const seconds = asked ?? Math.min(300, 2 ** failures * (1 + Math.random()));
  return new Date(now.getTime() + seconds * 1000);
}

async function tend(work: Work, given: BotRow, snapshot?: ProviderBot): Promise<void> {
  const { app } = work;
  let bot = given;
  const now = () => app.clock.now();
  if (bot.is_over) {
    if (nextLook(bot, now()) === null) return;
    // What it heard may still be worked on.
    const seen = bot.provider_bot_id && (await look(work, bot, snapshot));
    if (seen) bot = await note(work, bot, seen);
    else bot = { ...bot, provider_bot_id: null };
  } else {
    const seen = bot.provider_bot_id ? await look(work, bot, snapshot) : await bring(work, bot);
    if (!seen) return;
    bot = await note(work, bot, seen);
    const moved = await steer(work, bot);
    if (moved) bot = await note(work, bot, moved);
    if (!bot.provider_bot_id) return;
  }
  if (bot.is_over && nextLook(bot, now()) === null) return;
  const contents = await fetchContents(work, bot);
  if (contents) await keepContents(app, bot, contents);
}

async function note({ app }: Work, bot: BotRow, snapshot: ProviderBot): Promise<BotRow> {
  return isKnown(bot, snapshot, app.clock.now()) ? bot : applySnapshot(app, bot.id, snapshot);
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
    if (bot.is_over) return null;
    if (bot.wish === "attend" && bot.retries < mostGone && isStillOn(bot, app.clock.now())) {
      await startAgain(app, bot.id, "gone");
    } else await giveUp(app, bot.id, bot.wish === "leave" ? null : "gone");
    return null;
  }
}
