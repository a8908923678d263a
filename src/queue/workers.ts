import { setTimeout as delay } from "node:timers/promises";
import { sql } from "kysely";
import type { JobWithMetadata } from "pg-boss";
import type { Log } from "../lib/log.ts";
import { attemptJob, type Shift } from "./attempt.ts";
import { catalog, type Handler, type Handlers, type JobName, jobNames } from "./catalog.ts";
import { channel } from "./insert.ts";
import type { Queue } from "./queue.ts";

/** Workers at work. Closing them takes no further job, and finishes or hands back those under way. */
export type Workers = AsyncDisposable;

/** The workers of one job name, none until there is work, and as many as it takes. */
type Crew = {
  /** Lets one of them look for a job. Whoever finds one wakes the next, so that a single job costs two looks. */
  wake(): void;
};

// Workers hear of new jobs by NOTIFY. What becomes due later, or was announced while the connection was away, one query
// for all of them finds, at once and at this pace. pg-boss's own polling, a query for each, is only the last resort.
const dueCheckMs = 1_000;
const pollingIntervalSeconds = 60;
// How long a handler that was asked to end may take to do so.
const interruptedMs = 500;

/**
 * Starts working on the jobs that `handlers` names; others wait. Closing takes about `stopWithinMs` at most: what has
 * not finished shortly before is interrupted, and then handed back to run again, here or elsewhere.
 */
export async function startWorkers<App extends { queue: Queue; log: Log }>(
  app: App,
  handlers: Partial<Handlers<App>>,
  { stopWithinMs = 4_000 }: { stopWithinMs?: number } = {},
): Promise<Workers> {
  const { queue } = app;
  const shift: Shift = { isOver: false, underWay: new Set() };
  const crews = new Map<JobName, Crew>();
  for (const name of jobNames) {
    const handler: Handler<App, typeof name> | undefined = handlers[name];
    if (handler) crews.set(name, openCrew(app, { name, handler, shift }));
  }
  const wake = (name: string) => crews.get(name as JobName)?.wake();
  const wakeThoseDue = () =>
    void listDueNames(queue, [...crews.keys()])
      .then((names) => names.map(wake))
      .catch((error) => queue.boss.emit("error", error));
  const listening = queue.boss.getDb().listen?.(channel, wake, wakeThoseDue);
  // Without it, as behind a pooler that keeps no sessions, jobs are found all the same, within a second.
  const listener = await listening?.catch((error) => void queue.boss.emit("error", error));
  wakeThoseDue();
  const timer = setInterval(wakeThoseDue, dueCheckMs);
  const close = async () => {
    clearInterval(timer);
    shift.isOver = true;
    await listener?.close();
    const drained = Promise.all(
      [...crews.keys()].map((name) => queue.boss.offWork(name, { wait: true })),
    );
    await endAttempts(drained, shift, stopWithinMs);
  };
  return { [Symbol.asyncDispose]: close };
}

function openCrew<App extends { queue: Queue; log: Log }, Name extends JobName>(
  app: App,
  options: { name: Name; handler: Handler<App, Name>; shift: Shift },
): Crew {
  const { boss } = app.queue;
  const { shift, name } = options;
  const pace = { includeMetadata: true, perJobResults: true, pollingIntervalSeconds } as const;
  const resting = new Set<string>();
  let count = 0;
  let isCalledFor = false;
  const wake = () => {
    if (shift.isOver) return;
    const [worker] = resting;
    if (worker) {
      // The next to be woken is another one, lest all wait for a look that hangs.
      resting.delete(worker);
      resting.add(worker);
      boss.notifyWorker(worker);
    } else if (count < catalog[name].settings.concurrency) {
      count += 1;
      hire().catch((error) => {
        count -= 1;
        boss.emit("error", error);
      });
    } else {
      isCalledFor = true;
    }
  };
  // Each worker is one of its own to pg-boss, so that it can be woken alone. It looks at once.
  const hire = async () => {
    const work = async (jobs: JobWithMetadata<unknown>[]) => {
      resting.delete(worker);
      wake();
      try {
        return await Promise.all(jobs.map((job) => attemptJob(app, job, options)));
      } finally {
        resting.add(worker);
        // pg-boss rests after a job. What came while all were at work would lie until the next check.
        if (isCalledFor) {
          isCalledFor = false;
          wake();
        }
      }
    };
    const worker = await boss.work<unknown, void, typeof pace>(name, pace, work);
    resting.add(worker);
  };
  return { wake };
}

async function listDueNames(queue: Queue, names: JobName[]): Promise<JobName[]> {
  const { rows } = await sql<{ name: JobName }>`
    select name from unnest(${names}::text[]) as name
    where exists (
      select from pgboss.job_common as job
      where job.name = name.name and job.state = 'created' and not job.blocked and job.start_after <= now()
    ) or exists (
      select from pgboss.job_common as job
      where job.name = name.name and job.state = 'retry' and not job.blocked and job.start_after <= now()
    )
  `.execute(queue.db);
  return rows.map(({ name }) => name);
}

// Finish, or end when asked to, or be handed back.
async function endAttempts(
  drained: Promise<unknown>,
  shift: Shift,
  withinMs: number,
): Promise<void> {
  if (await isDone(drained, Math.max(0, withinMs - interruptedMs))) return;
  for (const attempt of shift.underWay) attempt.interrupt();
  if (await isDone(drained, interruptedMs)) return;
  for (const attempt of shift.underWay) attempt.abandon();
  await drained;
}

async function isDone(work: Promise<unknown>, withinMs: number): Promise<boolean> {
  const controller = new AbortController();
  const { signal } = controller;
  const timeout = delay(withinMs, false, { signal }).catch(() => false);
  const result = await Promise.race([work.then(() => true), timeout]);
  controller.abort();
  return result;
}
