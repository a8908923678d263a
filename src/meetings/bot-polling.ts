import { isDeepStrictEqual } from "node:util";
import { sql } from "kysely";
import type { App } from "../app.ts";
import { ProviderError } from "../lib/errors.ts";
import { inParallel } from "../lib/parallel.ts";
import {
  type AttendeeAccess,
  deleteBotData,
  getBot,
  listLiveBots,
  type ProviderBot,
} from "../providers/attendee.ts";
import { enqueue } from "../queue/queue.ts";
import { listForestalled } from "./bot-assignment.ts";
import { reconcileJob } from "./bot-plans.ts";
import { attendeeAccess, tendBot } from "./bot-tending.ts";
import type { BotStatus } from "./bot-words.ts";
import { tendJob } from "./bots.ts";

type Part = Pick<App, "db" | "clock" | "queue" | "config" | "log">;

const portion = 500;
// Attendee lists so many bots a call.
const perPage = 25;

/** One bot that was looked at. */
export type Polled = {
  bot_id: string;
  meeting_ids: string[];
  status: BotStatus;
  state: string | null;
  has_transcript: boolean;
  /** Something was new. */
  changed: boolean;
  error: string | null;
};

/** Looks at every bot that is due, and at what no job took care of. Says what became of each. */
export async function pollBots(
  app: Part,
  { signal, userId }: { signal?: AbortSignal; userId?: string } = {},
): Promise<Polled[]> {
  const access = attendeeAccess(app.config);
  if (!access) return [];
  if (!userId) {
    await sweep(app);
    await eraseOrphans(app, access);
  }
  const before = new Map<string, Claimed>();
  let seen: Map<string, ProviderBot> | null = null;
  while (!signal?.aborted) {
    const due = await claimDue(app, userId);
    if (due.length === 0) break;
    if (!seen && due.length > 1 + (await countLive(app)) / perPage) {
      seen = await listLive(access, signal);
    }
    const snapshots = seen;
    await inParallel(due, 8, async ({ id, provider_bot_id }) => {
      const snapshot = snapshots?.get(provider_bot_id ?? "");
      try {
        await tendBot(app, { botId: id }, { ...(signal ? { signal } : {}), snapshot });
      } catch (error) {
        // One bot's trouble is not the others'; it waits in its row.
        if (!signal?.aborted) app.log.error({ bot_id: id, error }, "a bot could not be looked at");
      }
    });
    for (const bot of due) before.set(bot.id, before.get(bot.id) ?? bot);
  }
  return resultsOf(app, before);
}

/** The same in numbers, as a schedule reports it. */
export async function pollBotsByClock(
  app: Part,
  signal: AbortSignal,
): Promise<Record<string, number>> {
  const polled = await pollBots(app, { signal });
  return { polled: polled.length, failed: polled.filter(({ error }) => error !== null).length };
}

type Claimed = {
  id: string;
  provider_bot_id: string | null;
  status: BotStatus;
  state: string | null;
  event_count: number;
  transcript_state: string;
};

// Whoever claims one puts it off, so that nobody else takes it; should they die, it is due again after that.
async function claimDue(app: Part, userId: string | undefined): Promise<Claimed[]> {
  const now = app.clock.now();
  const { rows } = await sql<Claimed>`
    update bots set due_at = ${new Date(now.getTime() + 120_000)}
    where id in (
      select id from bots where due_at <= ${now} and wish is not null and (lease_until is null or lease_until <= ${now})
        and (${userId ?? null}::uuid is null
          or exists (select from meetings where bot_id = bots.id and user_id = ${userId ?? null}::uuid))
      order by due_at limit ${portion} for update skip locked
    )
    returning id, provider_bot_id, status, state, event_count, transcript_state
  `.execute(app.db);
  return rows;
}

// A list of all costs less than asking for each once enough of all are due. Bots that others send by the same project
// are in it too, which we cannot count.
async function countLive(app: Part): Promise<number> {
  const { rows } = await sql<{ live: number }>`
    select count(*)::int as live from bots where due_at is not null and not is_over and provider_bot_id is not null
  `.execute(app.db);
  return rows[0]?.live ?? 0;
}

async function listLive(
  access: AttendeeAccess,
  signal: AbortSignal | undefined,
): Promise<Map<string, ProviderBot>> {
  try {
    return new Map((await listLiveBots(access, signal)).map((bot) => [bot.id, bot]));
  } catch (error) {
    // Whoever is in no hurry asks for each, or not at all.
    if (!(error instanceof ProviderError) && !signal?.aborted) throw error;
    return new Map();
  }
}

// What a lost job, an added key or an account's end left behind, and who would come to a call that has a bot.
async function sweep(app: Part): Promise<void> {
  const now = app.clock.now();
  await app.db.transaction().execute(async (tx) => {
    // Locked first, looked at afterwards: somebody may be giving one of them to a meeting.
    const { rows: alone } = await sql<{ id: string }>`
      select id from bots where wish = 'attend' and not is_over and created_at < now() - interval '1 minute'
        and (select id from meetings where bot_id = bots.id limit 1) is null
      order by id limit 1000 for update skip locked
    `.execute(tx);
    const { rows: orphans } = await sql<{ id: string }>`
      update bots set wish = 'leave', occurrence_key = null, due_at = ${now}
      where id = any(${alone.map(({ id }) => id)}::uuid[]) and not exists (select from meetings where bot_id = bots.id)
      returning id
    `.execute(tx);
    const { rows: waiting } = await sql<{ meeting_id: string }>`
      select meeting_id from bot_plans join meetings on meetings.id = meeting_id
      where decision <> 'none' and meetings.end_time > ${now} and decided_at < ${new Date(now.getTime() - 60_000)}
      order by meetings.start_time limit 1000
    `.execute(tx);
    const forestalled = await listForestalled(tx, now);
    await enqueue(app, tx, [
      ...orphans.map(({ id }) => tendJob(id)),
      ...waiting.map(reconcileJob),
      ...forestalled.map((meeting_id) => reconcileJob({ meeting_id })),
    ]);
  });
}

// Whoever deletes their account takes along what their bots heard, unless somebody else has it too.
async function eraseOrphans(app: Part, access: AttendeeAccess): Promise<void> {
  const { rows } = await sql<{ id: string; provider_ids: string[] }>`
    select id, array_remove(earlier_bot_ids || provider_bot_id, null) as provider_ids from bots
    where is_orphaned and (is_over or wish is null) and provider = 'attendee'
      and not exists (select from meetings where bot_id = bots.id)
      and not exists (select from bot_meetings where bot_id = bots.id)
    limit 50
  `.execute(app.db);
  await inParallel(rows, 4, async ({ id, provider_ids }) => {
    try {
      for (const providerId of provider_ids) await erase(access, providerId);
      await sql`delete from bots where id = ${id} and is_orphaned`.execute(app.db);
    } catch (error) {
      // It is tried again with the next look.
      if (!(error instanceof ProviderError)) throw error;
      app.log.warn({ bot_id: id, error: error.message }, "a bot's data could not be deleted yet");
    }
  });
}

async function erase(access: AttendeeAccess, providerId: string): Promise<void> {
  try {
    await deleteBotData(access, providerId);
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    if (error.failure === "not_found") return;
    const isDeleted =
      error.reason === "state" && (await getBot(access, providerId)).state === "data_deleted";
    if (!isDeleted) throw error;
  }
}

async function resultsOf(app: Part, before: Map<string, Claimed>): Promise<Polled[]> {
  const ids = [...before.keys()];
  if (ids.length === 0) return [];
  const { rows } = await sql<Polled & Claimed>`
    select bots.id, bots.id as bot_id, provider_bot_id, status, state, event_count, transcript_state,
      transcript_state = 'final' as has_transcript, last_error as error,
      array(select id from meetings where bot_id = bots.id order by id) as meeting_ids
    from bots where id = any(${ids}::uuid[]) order by id
  `.execute(app.db);
  return rows.map((bot) => {
    const { bot_id, meeting_ids, status, state, has_transcript, error } = bot;
    const changed = !isDeepStrictEqual(claimedOf(bot), before.get(bot_id));
    return { bot_id, meeting_ids, status, state, has_transcript, changed, error };
  });
}

function claimedOf({
  id,
  provider_bot_id,
  status,
  state,
  event_count,
  transcript_state,
}: Claimed): Claimed {
  return { id, provider_bot_id, status, state, event_count, transcript_state };
}
