import { randomUUID } from "node:crypto";
import { type RawBuilder, sql } from "kysely";
import { PgBoss } from "pg-boss";
import type { Database, Db, Tx } from "../db/connection.ts";
import type { Clock } from "../lib/clock.ts";
import type { Log } from "../lib/log.ts";
import { catalog, type JobName, type JobPayload, jobNames, parsePayload } from "./catalog.ts";
import { type DueRow, insertDue, insertOrMerge, type JobRow } from "./insert.ts";

/** An open queue. What it holds is for this folder; others pass it on. */
export type Queue = {
  db: Db;
  boss: PgBoss;
  clock: Clock;
  closing: AbortSignal;
  [Symbol.asyncDispose](): Promise<void>;
};

/**
 * A job to be done. Of the jobs with the same name and `key` at most one waits: a further one is merged into it, and
 * the newer payload, the higher priority and the earlier start win. `startAfter` is a time of the app's clock. Jobs
 * of the same name start by priority, the highest first, then by age.
 */
export type NewJob = {
  [Name in JobName]: {
    name: Name;
    payload: JobPayload<Name>;
    key?: string;
    priority?: number;
    startAfter?: Date;
  };
}[JobName];

/** A job that the clock starts, once in each period of `everySeconds`: a day at most. */
export type Schedule = { name: string; everySeconds: number; job: NewJob };

/** The queue in numbers. `waiting` are those that are due and have not started, `later` those that are not due yet. */
export type QueueHealth = {
  waiting: number;
  later: number;
  running: number;
  dead: number;
  oldestWaitingSeconds: number;
};

/** The name under which jobs lie that were given up. */
export const deadLetters = "dead-letters";

// A worker that dies lets go of its jobs after this, and another finds them at its next supervision.
const leaseSeconds = 30;
const supervisionSeconds = 15;
// Work waits for however long no worker runs.
const retentionSeconds = 365 * 86_400;
// A schedule's latest run must outlast its period.
const deleteAfterSeconds = 2 * 86_400;
const scheduleCheckMs = 5_000;

/**
 * Opens the queue in the tables of pg-boss, which it makes or brings up to date. Several processes may do so at once.
 *
 * @throws when the database cannot be reached; nothing is left open then.
 */
export async function openQueue(parts: {
  database: Database;
  log: Log;
  clock: Clock;
}): Promise<Queue> {
  const { database, log, clock } = parts;
  const boss = new PgBoss({
    connectionString: database.url,
    application_name: "daybook-queue",
    max: 4,
    schedule: false,
    registerInstance: false,
    superviseIntervalSeconds: supervisionSeconds,
    monitorIntervalSeconds: supervisionSeconds,
    maintenanceIntervalSeconds: 3_600,
    flowIntervalSeconds: 3_600,
  });
  boss.on(
    "error",
    atMostEvery(10_000, (error: Error) => log.warn({ error }, "queue error")),
  );
  boss.on("warning", ({ message }) => log.warn({ reason: message }, "queue warning"));
  const closing = new AbortController();
  const close = async () => {
    closing.abort();
    await boss.stop({ graceful: false });
  };
  try {
    await boss.start();
    await ensureQueues(boss);
  } catch (error) {
    await close().catch(() => {});
    throw error;
  }
  return { db: database.db, boss, clock, closing: closing.signal, [Symbol.asyncDispose]: close };
}

/**
 * Adds jobs in the caller's transaction, all of them in one statement: they exist, and workers hear of them, when it
 * commits. A waiting job that one is merged into does not start before that either, so that it sees what this
 * transaction wrote.
 *
 * @returns each job's id, null where it was merged into one that waits.
 * @throws {ZodError} when a payload is not what the catalog says.
 */
export async function enqueue(
  app: { queue: Queue },
  tx: Db | Tx,
  job: NewJob,
): Promise<string | null>;
export async function enqueue(
  app: { queue: Queue },
  tx: Db | Tx,
  jobs: NewJob[],
): Promise<(string | null)[]>;
export async function enqueue(
  app: { queue: Queue },
  tx: Db | Tx,
  jobs: NewJob | NewJob[],
): Promise<string | null | (string | null)[]> {
  const rows = [jobs].flat().map((job) => rowOf(job, app.queue.clock));
  const added = await insertOrMerge(tx, rows);
  const ids = rows.map(({ id }) => (added.has(id) ? id : null));
  return Array.isArray(jobs) ? ids : (ids[0] ?? null);
}

/**
 * Starts what the schedules say, from now until the queue is closed: once in each period, however many processes do
 * this. What was missed while none did is due at once, and once. A run that still waits is not joined by another.
 */
export async function ensureSchedules(queue: Queue, schedules: Schedule[]): Promise<void> {
  if (schedules.length === 0) return;
  const check = () => insertDue(queue.db, schedules.map(dueRowOf));
  await check();
  const timer = setInterval(() => {
    check().catch((error) => queue.boss.emit("error", error));
  }, scheduleCheckMs);
  queue.closing.addEventListener("abort", () => clearInterval(timer));
}

/** Whether a job of that name waits or runs, as a condition on rows that have its key as their column. */
export function hasJob(name: JobName, keyColumn: string): RawBuilder<boolean> {
  return sql<boolean>`exists (
    select from pgboss.job_common
    where name = ${name} and singleton_key = ${sql.ref(keyColumn)}::text and state < 'completed'
  )`;
}

/** Counts what waits, runs and was given up. */
export async function queueHealth(queue: Queue): Promise<QueueHealth> {
  const { rows } = await sql<QueueHealth>`
    select
      (count(*) filter (where not is_dead and state < 'active' and start_after <= now()))::int as waiting,
      (count(*) filter (where not is_dead and state < 'active' and start_after > now()))::int as later,
      (count(*) filter (where state = 'active'))::int as running,
      (count(*) filter (where is_dead))::int as dead,
      coalesce(extract(epoch from now() - min(start_after) filter (
        where not is_dead and state < 'active' and start_after <= now())), 0)::float8 as "oldestWaitingSeconds"
    from (
      select state, start_after, name = ${deadLetters} as is_dead
      from pgboss.job_common where state in ('created', 'retry', 'active')
    ) as job
  `.execute(queue.db);
  return rows[0] ?? { waiting: 0, later: 0, running: 0, dead: 0, oldestWaitingSeconds: 0 };
}

function rowOf({ name, payload, key, priority, startAfter }: NewJob, clock: Clock): JobRow {
  const delayMs = startAfter ? startAfter.getTime() - clock.now().getTime() : 0;
  return {
    id: randomUUID(),
    name,
    data: parsePayload(name, payload),
    key: key ?? null,
    priority: priority ?? 0,
    delaySeconds: Math.max(0, delayMs / 1000),
  };
}

function dueRowOf({ name, everySeconds, job }: Schedule): DueRow {
  return {
    id: randomUUID(),
    name: job.name,
    data: parsePayload(job.name, job.payload),
    key: job.key ?? `schedule:${name}`,
    priority: job.priority ?? 0,
    everySeconds,
  };
}

async function ensureQueues(boss: PgBoss): Promise<void> {
  const wanted = [
    { name: deadLetters, options: { retentionSeconds } },
    ...jobNames.map((name) => ({ name, options: optionsOf(name) })),
  ];
  const found = new Map((await boss.getQueues()).map((queue) => [queue.name, queue]));
  for (const { name, options } of wanted) {
    const queue = found.get(name);
    if (!queue) await boss.createQueue(name, options);
    else if (!hasOptions(queue, options)) await boss.updateQueue(name, options);
  }
}

// Workers settle their jobs themselves; the retry options here are for the jobs of a worker that died.
function optionsOf(name: JobName) {
  const { settings } = catalog[name];
  return {
    deadLetter: deadLetters,
    notify: true,
    retryLimit: settings.retryLimit,
    retryDelay: settings.retryDelaySeconds,
    retryBackoff: true,
    retryDelayMax: settings.retryDelayMaxSeconds,
    // The signal of an attempt comes first. This ends those that do not listen to it.
    expireInSeconds: settings.expireSeconds + 15,
    heartbeatSeconds: leaseSeconds,
    retentionSeconds,
    deleteAfterSeconds,
  };
}

function hasOptions(queue: object, options: object): boolean {
  const found = new Map(Object.entries(queue));
  return Object.entries(options).every(([option, value]) => found.get(option) === value);
}

// While the database is away every worker complains; one of them is enough.
function atMostEvery<Item>(ms: number, act: (item: Item) => void): (item: Item) => void {
  let quietUntil = 0;
  return (item) => {
    if (Date.now() < quietUntil) return;
    quietUntil = Date.now() + ms;
    act(item);
  };
}
