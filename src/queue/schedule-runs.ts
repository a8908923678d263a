import { type Selectable, sql } from "kysely";
import type { Db } from "../db/connection.ts";
import type { Tables } from "../db/tables.ts";
import type { Clock } from "../lib/clock.ts";
import { AppError } from "../lib/errors.ts";

/** Something that the clock starts: how often, and what it does. */
export type ScheduledWork<Part> = {
  everySeconds: number;
  run: (app: Part, signal: AbortSignal, by: StartedBy) => Promise<Record<string, number>>;
};

/** The clock starts what is due; a person who starts a schedule wants it done whether due or not. */
export type StartedBy = "clock" | "person";

/** By the name under which `POST /cron/{name}` starts it too. */
export type Schedules<Part> = Record<string, ScheduledWork<Part>>;

/** Runs one schedule and records when, for how long, with what counts or error. @throws {AppError} `not_found` */
export async function runSchedule<Part extends { db: Db; clock: Clock }>(
  app: Part,
  schedules: Schedules<Part>,
  name: string,
  signal: AbortSignal,
  by: StartedBy = "clock",
): Promise<Record<string, number>> {
  const schedule = Object.hasOwn(schedules, name) ? schedules[name] : undefined;
  if (!schedule) throw new AppError("not_found", `No schedule ${name}`);
  const { id } = await app.db
    .insertInto("schedule_runs")
    .values({ name, started_at: app.clock.now() })
    .returning("id")
    .executeTakeFirstOrThrow();
  const finish = (outcome: { counts?: string; error?: string }) =>
    app.db
      .updateTable("schedule_runs")
      .set({
        ...outcome,
        finished_at: app.clock.now(),
        duration_ms: sql<number>`(extract(epoch from ${app.clock.now()}::timestamptz - started_at) * 1000)::int`,
      })
      .where("id", "=", id)
      .execute();
  try {
    const counts = await schedule.run(app, signal, by);
    await finish({ counts: JSON.stringify(counts) });
    return counts;
  } catch (error) {
    await finish({ error: error instanceof Error ? error.message : String(error) });
    throw error;
  }
}

/** What the schedules did, latest first. `after` is the sort key of the row before. */
export async function listScheduleRuns(
  app: { db: Db },
  {
    name,
    after,
    limit,
  }: { name?: string | undefined; after: [string, string] | null; limit: number },
): Promise<Selectable<Tables["schedule_runs"]>[]> {
  let query = app.db.selectFrom("schedule_runs").selectAll();
  if (name) query = query.where("name", "=", name);
  if (after) {
    const [startedAt, id] = after;
    query = query.where(sql<boolean>`(started_at, id) < (${startedAt}::timestamptz, ${id}::uuid)`);
  }
  return query.orderBy("started_at", "desc").orderBy("id", "desc").limit(limit).execute();
}
