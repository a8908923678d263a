import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import type { App } from "../app.ts";
import { AppError } from "../lib/errors.ts";
import { listDeadLetters, resendDeadLetters } from "../queue/dead-letters.ts";
import { listScheduleRuns, runSchedule, type Schedules } from "../queue/schedule-runs.ts";
import { listOf, listQuery, pageOf, readCursor } from "./lists.ts";
import { Time, TimeKey } from "./times.ts";

const Counts = z.record(z.string(), z.number());

/** Schedules started by hand and looked back on, and the jobs that were given up. For operators. */
export const jobRoutes: FastifyPluginAsyncZod<{ app: App; schedules: Schedules<App> }> = async (
  server,
  { app, schedules },
) => {
  server.post(
    "/cron/:name",
    {
      config: { who: "service" },
      schema: {
        summary: "Run a schedule now",
        description: `One of: ${Object.keys(schedules).join(", ")}.`,
        tags: ["operations"],
        params: z.strictObject({ name: z.string().max(100).describe("Which schedule") }),
        response: {
          200: z.object({
            name: z.string().describe("The schedule"),
            duration_ms: z.int(),
            counts: Counts,
          }),
        },
      },
    },
    async (request) => {
      const startedAt = performance.now();
      const { name } = request.params;
      if (!Object.hasOwn(schedules, name)) throw new AppError("not_found", `No schedule ${name}`);
      const counts = await runSchedule(
        app,
        schedules,
        name,
        AbortSignal.timeout(300_000),
        "person",
      );
      return { name, duration_ms: Math.round(performance.now() - startedAt), counts };
    },
  );

  server.get(
    "/cron/runs",
    {
      config: { who: "service" },
      schema: {
        summary: "What the schedules did, latest first",
        tags: ["operations"],
        querystring: z.strictObject({
          ...listQuery,
          name: z.string().max(100).optional().describe("Only the runs of this schedule"),
        }),
        response: {
          200: listOf(
            z.object({
              id: z.guid().describe("The run"),
              name: z.string().describe("The schedule"),
              started_at: Time,
              finished_at: Time.nullable(),
              duration_ms: z.int().nullable(),
              counts: Counts.nullable(),
              error: z.string().nullable(),
            }),
          ),
        },
      },
    },
    async (request) => {
      const { limit, cursor, name } = request.query;
      const after = readCursor(TimeKey, cursor);
      const rows = await listScheduleRuns(app, { name, after, limit: limit + 1 });
      const runs = rows.map((row) => ({
        ...row,
        started_at: row.started_at.toISOString(),
        finished_at: row.finished_at?.toISOString() ?? null,
        counts: row.counts as Record<string, number> | null,
      }));
      return pageOf(runs, limit, (run) => [run.started_at, run.id]);
    },
  );

  server.get(
    "/jobs/dead-letters",
    {
      config: { who: "service" },
      schema: {
        summary: "The latest jobs that were given up, with their payload and error",
        tags: ["operations"],
        querystring: z.strictObject({ limit: listQuery.limit }),
        response: {
          200: z.object({
            items: z.array(
              z.object({
                id: z.guid().describe("The job, as `ids` of `resend` takes it"),
                name: z.string().describe("Which kind of work"),
                key: z
                  .string()
                  .nullable()
                  .describe("Of one key only one job of a kind waits; null where any number may"),
                payload: z.unknown(),
                error: z.string(),
                attempts: z.int(),
                failed_at: Time,
              }),
            ),
          }),
        },
      },
    },
    async (request) => {
      const letters = await listDeadLetters(app.queue, request.query.limit);
      const items = letters.map(({ failedAt, createdAt: _, ...letter }) => ({
        ...letter,
        failed_at: failedAt.toISOString(),
      }));
      return { items };
    },
  );

  server.post(
    "/jobs/dead-letters/resend",
    {
      config: { who: "service", idempotent: true },
      schema: {
        summary: "Send jobs that were given up again: the named ones, or all",
        tags: ["operations"],
        body: z.strictObject({ ids: z.array(z.guid()).min(1).max(1000).optional() }).optional(),
        response: { 200: z.object({ resent: z.int() }) },
      },
    },
    async (request) => ({ resent: await resendDeadLetters(app.queue, request.body?.ids) }),
  );
};
