import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { getUser } from "../accounts/users.ts";
import type { App } from "../app.ts";
import { activityTypes, recordActivity } from "../sync/activity.ts";
import { pushHealth } from "../sync/push-health.ts";
import { feedsOf, type ServiceResult, services, syncAll, syncService } from "../sync/services.ts";
import { SyncAnswer, syncAnswer, UserId, WaitsAnyway } from "./runs.ts";
import { targetUser, userOf } from "./session.ts";
import { Time } from "./times.ts";

const Service = z.enum(services);
const Activity = z.enum(activityTypes);
const Result = SyncAnswer.extend({ is_skipped: z.boolean() });

/** Everything of a user at once: syncing it, saying that somebody is here, and when what is looked at next. */
export const syncRoutes: FastifyPluginAsyncZod<{ app: App }> = async (server, { app }) => {
  server.post(
    "/sync/sync-all/:user_id",
    {
      config: { who: "user_or_service" },
      schema: {
        summary: "Sync every service of a user at once",
        description:
          "Without `force`, what push keeps current is left alone. A failing service does not hide the others.",
        tags: ["sync"],
        params: UserId,
        querystring: WaitsAnyway,
        body: z
          .strictObject({ force: z.boolean().optional(), activity_type: Activity.optional() })
          .optional(),
        response: {
          200: z.object({
            results: z.array(Result).describe("One for each service"),
            next_sync_in_ms: z.int().nullable(),
          }),
        },
      },
    },
    async (request) => {
      const userId = await knownUser(app, targetUser(request, request.params.user_id));
      const { force = false, activity_type } = request.body ?? {};
      if (activity_type) await recordActivity(app, userId, activity_type);
      const results = await syncAll(app, userId, { force });
      const next = results.flatMap(({ nextSyncInMs }) => nextSyncInMs ?? []);
      return {
        results: results.map(resultAnswer),
        next_sync_in_ms: next.length > 0 ? Math.round(Math.min(...next)) : null,
      };
    },
  );

  server.post(
    "/sync/:service/:user_id",
    {
      config: { who: "user_or_service" },
      schema: {
        summary: "Sync one service of a user",
        tags: ["sync"],
        params: UserId.extend({ service: Service.describe("Which") }),
        querystring: WaitsAnyway,
        body: z.strictObject({ force: z.boolean().optional() }).optional(),
        response: { 200: Result },
      },
    },
    async (request) => {
      const { service, user_id } = request.params;
      const userId = await knownUser(app, targetUser(request, user_id));
      return resultAnswer(
        await syncService(app, userId, service, { force: request.body?.force ?? false }),
      );
    },
  );

  server.post(
    "/sync/record-activity",
    {
      config: { who: "user" },
      schema: {
        summary: "Say that the caller is here: what they may see is looked at more often",
        tags: ["sync"],
        body: z.strictObject({ activity_type: Activity }),
        response: { 200: z.object({ recorded: z.literal(true), brought_forward: z.int() }) },
      },
    },
    async (request) => {
      const { broughtForward } = await recordActivity(
        app,
        userOf(request),
        request.body.activity_type,
      );
      return { recorded: true as const, brought_forward: broughtForward };
    },
  );

  const Next = z.object({
    feed_id: z.guid(),
    kind: z.enum(["calendar_list", "calendar", "gmail", "drive"]).describe("What it follows"),
    title: z.string().nullable(),
    due_at: Time.nullable(),
    interval_ms: z.int().nullable(),
    why: z
      .looseObject({})
      .describe("Why then: `rule` for programs, `text` in words, and what they were reckoned from"),
  });

  server.get(
    "/sync/next-sync/:user_id",
    {
      config: { who: "user_or_service" },
      schema: {
        summary: "When each feed of a user is looked at next, and why then",
        tags: ["sync"],
        params: UserId,
        response: {
          200: z.object({
            services: z
              .record(Service, z.array(Next))
              .describe("The active feeds of each service; bots have none"),
          }),
        },
      },
    },
    async (request) => {
      const userId = await knownUser(app, targetUser(request, request.params.user_id));
      const entries = await Promise.all(
        services.map(async (service) => {
          const feeds = await feedsOf(app, userId, service);
          const next = feeds
            .filter(({ state }) => state === "active")
            .map(({ id, kind, title, due_at, due_reason }) => {
              const { intervalMs, ...why } = DueReason.parse(due_reason ?? {});
              return {
                feed_id: id,
                kind,
                title,
                due_at: due_at?.toISOString() ?? null,
                interval_ms: intervalMs === undefined ? null : Math.round(intervalMs),
                why,
              };
            });
          return [service, next] as const;
        }),
      );
      return {
        services: Object.fromEntries(entries) as Record<
          (typeof services)[number],
          z.input<typeof Next>[]
        >,
      };
    },
  );

  const Status = z.object({
    service: Service,
    is_connected: z.boolean(),
    feeds: z.int(),
    last_success_at: Time.nullable().describe(
      "When the feed that was read longest ago was read to the end; null where one never was",
    ),
    staleness_seconds: z.int().nullable(),
    failures: z.int().describe("How many runs have failed since one succeeded, over all feeds"),
    last_error: z.string().nullable(),
    channels: z.int(),
    channel_expires_at: Time.nullable(),
  });

  server.get(
    "/sync/status",
    {
      config: { who: "user" },
      schema: {
        summary: "How current each service of the caller is",
        tags: ["sync"],
        response: { 200: z.object({ services: z.array(Status).describe("One for each service") }) },
      },
    },
    async (request) => {
      const userId = userOf(request);
      const now = app.clock.now().getTime();
      const answers = services.map(async (service) => {
        const feeds = (await feedsOf(app, userId, service)).filter(
          ({ state }) => state !== "stopped",
        );
        const push = await pushHealth(app, feeds);
        const channels = feeds.map(push).flatMap(({ expires_at }) => expires_at ?? []);
        // A service is as current as the feed that was read longest ago.
        const successes = feeds.map(({ last_success_at }) => last_success_at?.getTime() ?? 0);
        const oldest = successes.length > 0 ? Math.min(...successes) : 0;
        return {
          service,
          is_connected: feeds.some(({ state }) => state === "active"),
          feeds: feeds.length,
          last_success_at: oldest > 0 ? new Date(oldest).toISOString() : null,
          staleness_seconds: oldest > 0 ? Math.max(0, Math.round((now - oldest) / 1000)) : null,
          failures: feeds.reduce((total, { failures }) => total + failures, 0),
          last_error: feeds.find(({ last_error }) => last_error !== null)?.last_error ?? null,
          channels: channels.length,
          channel_expires_at:
            channels.length > 0
              ? new Date(Math.min(...channels.map((at) => at.getTime()))).toISOString()
              : null,
        };
      });
      return { services: await Promise.all(answers) };
    },
  );
};

const DueReason = z.looseObject({ intervalMs: z.number().optional() });

async function knownUser(app: App, userId: string): Promise<string> {
  return (await getUser(app, userId)).id;
}

function resultAnswer(result: ServiceResult): z.input<typeof Result> {
  const { service, isSkipped, nextSyncInMs } = result;
  return { ...syncAnswer(service, result, nextSyncInMs), is_skipped: isSkipped };
}
