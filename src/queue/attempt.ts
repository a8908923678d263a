import { sql } from "kysely";
import type { JobResult, JobWithMetadata } from "pg-boss";
import type { Db } from "../db/connection.ts";
import { AppError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { type Counts, catalog, type Handler, type JobName, parsePayload } from "./catalog.ts";
import type { Queue } from "./queue.ts";
import { keptError, secondsUntilRetry } from "./retry.ts";

/** The attempts that end together. Once the shift is over none begins. */
export type Shift = { isOver: boolean; underWay: Set<Attempt> };

type ClaimedJob = JobWithMetadata<unknown>;

type Attempt = {
  signal: AbortSignal;
  /** Asks the handler to end. If it then fails, that is not held against the job. */
  interrupt(): void;
  isInterrupted(): boolean;
  /** Settles `abandoned`: the handler is not waited for any longer. */
  abandon(): void;
  abandoned: Promise<Outcome>;
  [Symbol.dispose](): void;
};

type Outcome =
  | { outcome: "done"; counts: Counts | undefined }
  | { outcome: "retry"; error: unknown; retryInSeconds: number }
  | { outcome: "given up"; error: unknown }
  | { outcome: "handed back" }
  // The lease had run out, and the job is somebody else's.
  | { outcome: "lost" };

const levels = {
  done: "info",
  retry: "warn",
  "given up": "error",
  "handed back": "info",
  lost: "warn",
} as const;

/**
 * Makes one attempt at a job that pg-boss claimed, settles it where pg-boss does not, and logs one line about it.
 *
 * @throws when the database is away. The job is found again when its lease has run out.
 */
export async function attemptJob<App extends { queue: Queue; log: Log }, Name extends JobName>(
  app: App,
  job: ClaimedJob,
  options: { name: Name; handler: Handler<App, Name>; shift: Shift },
): Promise<JobResult> {
  const startedAt = performance.now();
  const result = await outcomeOf(app, job, options);
  const line = {
    job: options.name,
    id: job.id,
    attempt: attemptOf(job),
    waitedMs: Math.max(0, job.startedOn.getTime() - job.startAfter.getTime()),
    ms: Math.round(performance.now() - startedAt),
    ...result,
  };
  const settled = await settle(app.queue.db, job, result);
  app.log[levels[result.outcome]](line, "job");
  return settled;
}

async function outcomeOf<App, Name extends JobName>(
  app: App,
  job: ClaimedJob,
  { name, handler, shift }: { name: Name; handler: Handler<App, Name>; shift: Shift },
): Promise<Outcome> {
  if (shift.isOver) return { outcome: "handed back" };
  using attempt = openAttempt(job, catalog[name].settings.expireSeconds, shift);
  const outcomeAfter = (error: unknown): Outcome => {
    if (attempt.isInterrupted()) return { outcome: "handed back" };
    return job.signal.aborted ? { outcome: "lost" } : afterFailure(name, job, error);
  };
  const run = async (): Promise<Outcome> => {
    const payload = readPayload(name, job.data);
    const counts = await handler(app, payload, {
      id: job.id,
      attempt: attemptOf(job),
      signal: attempt.signal,
      isGivenUpBy: (error) => outcomeAfter(error).outcome === "given up",
    });
    return { outcome: "done", counts: counts ?? undefined };
  };
  try {
    return await Promise.race([run(), attempt.abandoned]);
  } catch (error) {
    return outcomeAfter(error);
  }
}

function openAttempt(job: ClaimedJob, expireSeconds: number, shift: Shift): Attempt {
  const ending = new AbortController();
  const interruption = new AppError("unavailable", "The worker stops");
  const overdue = new AppError("internal", `Not finished within ${expireSeconds} s`);
  const timer = setTimeout(() => ending.abort(overdue), expireSeconds * 1000);
  const { promise: abandoned, resolve } = Promise.withResolvers<Outcome>();
  const attempt: Attempt = {
    signal: AbortSignal.any([job.signal, ending.signal]),
    interrupt: () => ending.abort(interruption),
    isInterrupted: () => ending.signal.reason === interruption,
    abandon: () => resolve({ outcome: "handed back" }),
    abandoned,
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      shift.underWay.delete(attempt);
    },
  };
  shift.underWay.add(attempt);
  return attempt;
}

function readPayload<Name extends JobName>(name: Name, data: unknown) {
  try {
    return parsePayload(name, data);
  } catch (cause) {
    throw new AppError("invalid", `Malformed payload of a job ${name}`, { cause });
  }
}

function afterFailure(name: JobName, job: ClaimedJob, error: unknown): Outcome {
  const { retryDelaySeconds, retryDelayMaxSeconds } = catalog[name].settings;
  // The limit is the row's own, which a job that was handed back has more of.
  const limits = { retryLimit: job.retryLimit, retryDelaySeconds, retryDelayMaxSeconds };
  const retryInSeconds = secondsUntilRetry(error, attemptOf(job), limits);
  return retryInSeconds === null
    ? { outcome: "given up", error }
    : { outcome: "retry", error, retryInSeconds };
}

async function settle(db: Db, job: ClaimedJob, result: Outcome): Promise<JobResult> {
  const { id } = job;
  switch (result.outcome) {
    case "done":
      return { id, status: "completed", output: result.counts };
    case "given up":
      return { id, status: "deadletter", output: keptError(result.error) };
    case "retry":
      await putBack(db, job, { inSeconds: result.retryInSeconds, error: keptError(result.error) });
      break;
    case "handed back":
      await putBack(db, job, { inSeconds: 0 });
      break;
    case "lost":
      break;
  }
  // The job is no longer ours, so that this says nothing to pg-boss: it settles what a claim still holds.
  return { id, status: "failed" };
}

// One that waits under the same key gives way, and hands its payload over: a key has one waiting job, and the failed one
// knows how often it failed. Our own row is locked first, so that nothing gives way to a job that is not ours any more.
async function putBack(
  db: Db,
  job: ClaimedJob,
  { inSeconds, error }: { inSeconds: number; error?: Record<string, string> },
): Promise<void> {
  await sql`
    with mine as materialized (
      select id from pgboss.job_common
      where name = ${job.name} and id = ${job.id} and state = 'active' and retry_count = ${job.retryCount}
      for update
    ),
    gone as (
      delete from pgboss.job_common
      where name = ${job.name} and singleton_key = ${job.singletonKey} and state in ('created', 'retry')
        and exists (select from mine)
      returning data, priority
    )
    update pgboss.job_common as job
    set state = 'retry',
      start_after = now() + make_interval(secs => ${inSeconds}),
      -- Handed back is not failed.
      retry_limit = retry_limit + ${error ? 0 : 1},
      output = ${error ? JSON.stringify(error) : null}::jsonb,
      heartbeat_on = null,
      data = coalesce((select data from gone limit 1), job.data),
      priority = greatest(job.priority, (select max(priority) from gone))
    from mine
    where job.name = ${job.name} and job.id = mine.id
  `.execute(db);
}

function attemptOf(job: ClaimedJob): number {
  return job.retryCount + 1;
}
