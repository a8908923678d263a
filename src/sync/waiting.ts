import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import type { App } from "../app.ts";
import { enqueue } from "../queue/queue.ts";
import { type Feed, lockFeeds, syncJob } from "./feeds.ts";

type Part = Pick<App, "db" | "clock" | "queue">;

/** What runs of some feeds did together. */
export type SyncResult = {
  processed: number;
  created: number;
  updated: number;
  deleted: number;
  skipped: number;
  autoScheduledMeetings: number;
  virtualEmails: number;
  durationMs: number;
  /** The first that went wrong, in words. */
  error: string | null;
  /** Whether all of them ended in time. */
  isComplete: boolean;
};

const pauseMs = 50;

/**
 * Asks for a run of each feed now. `full` forgets how far it was read. A person is served also where a feed waits for its
 * next try after a failure. Returns the ids of the jobs that were added.
 */
export async function requestSync(
  app: Part,
  feeds: Feed[],
  { full = false, reason = "person" }: { full?: boolean; reason?: "person" | "poll" } = {},
): Promise<string[]> {
  const active = feeds.filter(({ state }) => state === "active");
  if (active.length === 0) return [];
  const feedIds = active.map(({ id }) => id);
  return app.db.transaction().execute(async (tx) => {
    if (full || reason === "person") await lockFeeds(tx, feedIds);
    if (full) {
      await tx
        .updateTable("feeds")
        .set({ is_full_wanted: true })
        .where("id", "in", feedIds)
        .execute();
    }
    // A notification may take over the waiting job and its reason; that somebody cannot wait stays in the row.
    if (reason === "person") {
      await tx
        .updateTable("feeds")
        .set({ retry_at: null })
        .where("id", "in", feedIds)
        .where("retry_at", "is not", null)
        .execute();
    }
    const ids = await enqueue(
      app,
      tx,
      feedIds.map((id) => syncJob(id, reason)),
    );
    return ids.flatMap((id) => id ?? []);
  });
}

/**
 * Waits for the runs that begin after `feeds` were read, and sums up what they did. A feed whose run failed meanwhile
 * is left alone until its next try, and not waited for.
 */
export async function waitForRuns(
  app: Part,
  feeds: Feed[],
  { timeoutMs = 30_000 }: { timeoutMs?: number } = {},
): Promise<SyncResult> {
  const startedMs = performance.now();
  const before = feeds
    .filter(({ state }) => state === "active")
    .map(({ id, runs_started, retry_at }) => ({ id, runs: runs_started, retry_at }));
  for (;;) {
    const result = await sumRuns(app, before);
    const durationMs = Math.round(performance.now() - startedMs);
    if (result.isComplete || durationMs >= timeoutMs) {
      return { ...result, durationMs };
    }
    await sleep(pauseMs);
  }
}

async function sumRuns(
  app: Part,
  before: { id: string; runs: string; retry_at: Date | null }[],
): Promise<Omit<SyncResult, "durationMs">> {
  const { rows } = await sql<Omit<SyncResult, "durationMs">>`
    with asked as (
      select asked.*, feeds.last_error, feeds.state = 'active' and feeds.runs_finished <= asked.runs as is_awaited,
        feeds.retry_at > ${app.clock.now()} and feeds.retry_at is distinct from asked.retry_at as is_paused
      from jsonb_to_recordset(${JSON.stringify(before)}::jsonb) as asked (id uuid, runs bigint, retry_at timestamptz)
      join feeds using (id)
    )
    select
      coalesce(sum(run.processed), 0)::int as processed, coalesce(sum(run.created), 0)::int as created,
      coalesce(sum(run.updated), 0)::int as updated, coalesce(sum(run.deleted), 0)::int as deleted,
      coalesce(sum(run.skipped), 0)::int as skipped,
      coalesce(sum(run.auto_scheduled), 0)::int as "autoScheduledMeetings",
      coalesce(sum(run.virtual_mails), 0)::int as "virtualEmails",
      coalesce(
        min(run.error) filter (where run.outcome = 'failed'),
        (select min(last_error) from asked where is_awaited and is_paused)
      ) as error,
      not exists (select from asked where is_awaited and is_paused is not true) as "isComplete"
    from asked join sync_runs as run on run.feed_id = asked.id and run.run_number > asked.runs
  `.execute(app.db);
  const [row] = rows;
  if (!row) throw new Error("An aggregate without a row");
  return row;
}
