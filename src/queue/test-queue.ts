import { setTimeout as delay } from "node:timers/promises";
import { sql } from "kysely";
import { createTestDatabase } from "../../test/database.ts";
import type { Database } from "../db/connection.ts";
import { systemClock } from "../lib/clock.ts";
import { type Log, openLog } from "../lib/log.ts";
import type { Counts, Handlers, JobContext, JobName } from "./catalog.ts";
import { openQueue, type Queue } from "./queue.ts";

/** What the tests of the queue work with: an open one, what it logged, and its rows. */
export type TestQueue = {
  queue: Queue;
  log: Log;
  database: Database;
  lines: Record<string, unknown>[];
  [Symbol.asyncDispose](): Promise<void>;
};

type App = { queue: Queue; log: Log };

/** Opens a queue in a database of its own. */
export async function openTestQueue(): Promise<TestQueue> {
  await using opened = new AsyncDisposableStack();
  const database = opened.use(await createTestDatabase());
  const lines: TestQueue["lines"] = [];
  const log = openLog("info", { write: (line: string) => void lines.push(JSON.parse(line)) });
  const queue = opened.use(await openQueue({ database, log, clock: systemClock }));
  const kept = opened.move();
  return { queue, log, database, lines, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** A job for the handler that `handlersOf` makes. */
export function run(name: string, key?: string) {
  return { name: "schedule.run", payload: { name }, ...(key && { key }) } as const;
}

/** A handler for the jobs made by `run`, which says that it did `counts`. */
export function handlersOf(
  act: (name: string, job: JobContext) => Promise<unknown>,
  counts: Counts = {},
): Partial<Handlers<App>> {
  return {
    "schedule.run": async (_app, { name }, job) => {
      await act(name, job);
      return counts;
    },
  };
}

/** The jobs that have not ended, by age. */
export async function listJobs({ database }: TestQueue) {
  const { rows } = await sql<{
    id: string;
    state: string;
    data: unknown;
    priority: number;
    inSeconds: number;
  }>`
    select id, state, data, priority, extract(epoch from start_after - now())::float8 as "inSeconds"
    from pgboss.job_common
    where state in ('created', 'retry', 'active') and name <> 'dead-letters'
    order by created_on, id
  `.execute(database.db);
  return rows;
}

/** Where a job is. `failed` means given up, after `attempts`; it then lies among the dead letters. */
export type JobState = {
  state: "waiting" | "running" | "done" | "failed";
  attempts: number;
  /** What the handler returned, or the error of the latest attempt. */
  output: unknown;
  createdAt: Date;
  finishedAt: Date | null;
};

/** Finds a job for as long as it is remembered: two days after its end. */
export async function findJobState(
  queue: Queue,
  name: JobName,
  id: string,
): Promise<JobState | null> {
  const { rows } = await sql<JobState>`
    select
      case when state < 'active' then 'waiting' when state = 'active' then 'running'
        when state = 'completed' then 'done' else 'failed' end as state,
      case when started_on is null then 0 else retry_count + 1 end as attempts,
      output, created_on as "createdAt", completed_on as "finishedAt"
    from pgboss.job_common where name = ${name} and id = ${id}
  `.execute(queue.db);
  return rows[0] ?? null;
}

/** Makes what waits due. */
export async function skipWaiting({ database }: Pick<TestQueue, "database">): Promise<void> {
  await sql`update pgboss.job_common set start_after = now() where state < 'active'`.execute(
    database.db,
  );
}

/** Lets the time pass that a worker may be silent, and looks after the jobs of those that were. */
export async function letLeasesRunOut({
  database,
  queue,
}: Pick<TestQueue, "database" | "queue">): Promise<void> {
  await sql`update pgboss.job_common set heartbeat_on = heartbeat_on - interval '1 hour'`.execute(
    database.db,
  );
  await sql`update pgboss.queue set monitor_claim_on = null, monitor_on = null`.execute(
    database.db,
  );
  await queue.boss.supervise();
}

/** Waits until something is true, for ten seconds at most. */
export async function until(isTrue: () => boolean | Promise<boolean>, everyMs = 20): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!(await isTrue())) {
    if (performance.now() > deadline) throw new Error(`Never true: ${isTrue}`);
    await delay(everyMs);
  }
}

export function inAnHour(): Date {
  return new Date(Date.now() + 3_600_000);
}
