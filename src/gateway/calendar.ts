import type { FastifyReply, FastifyRequest } from "fastify";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { targetUser, userOrNull } from "../api/session.ts";
import { Challenge, ChannelHeaders, messageOf, PlainText } from "../api/webhooks.ts";
import type { App } from "../app.ts";
import { AppError } from "../lib/errors.ts";
import { inParallel } from "../lib/parallel.ts";
import { enqueue } from "../queue/queue.ts";
import { type Feed, findFeedOfWatch, listFeeds, listFeedsOf, syncJob } from "../sync/feeds.ts";
import { acceptNotification } from "../sync/notifications.ts";
import { pollIfDue } from "../sync/polling.ts";
import { openPush } from "../sync/push.ts";
import { listFreshWatches, renewOf, renewWatches, repairWatches } from "../sync/renewal.ts";
import { requestSync, waitForRuns } from "../sync/waiting.ts";
import { answerCron } from "./crons.ts";
import { oldAddress, oldPost } from "./old-address.ts";

/**
 * The old addresses of the calendar functions: same fields, same shapes. What they left open is closed: a notification
 * counts with the channel's secret, a user acts for itself, and everybody else needs the service key.
 */
export const calendarGateway: FastifyPluginAsyncZod<{ app: App }> = async (server, { app }) => {
  server.post(
    "/calendar-polling-service",
    { config: { who: "user_or_service" }, schema: oldPost("poll a user's calendars") },
    async (request, reply) => {
      const userId = namedUser(request);
      if (!userId) return reply.code(400).send({ error: "Missing userId" });
      const { polled } = await pollIfDue(app, await calendarsOf(app, userId));
      const { processed, created, updated, deleted } = await waitForRuns(app, polled);
      return {
        success: true,
        message: `Calendar polling completed for user ${userId}`,
        ...{ processed, created, updated, deleted },
        skipped: polled.length === 0,
      };
    },
  );

  answerCron(
    server,
    { name: "calendar-polling-cron", summary: "poll everybody's calendars" },
    async () => {
      const feeds = await listFeedsOf(app, ["calendar_list", "calendar"]);
      const { polled } = await pollIfDue(app, feeds);
      const counts = await waitForRuns(app, polled, { timeoutMs: 120_000 });
      const totals = {
        total_processed: counts.processed,
        total_created: counts.created,
        total_updated: counts.updated,
        total_deleted: counts.deleted,
      };
      if (feeds.length === 0) {
        return { success: true, message: "No active calendar webhooks found", ...totals };
      }
      const users = [...new Set(feeds.map(({ user_id }) => user_id))];
      const results = await inParallel(users, 8, async (user_id) => {
        const own = polled.filter((feed) => feed.user_id === user_id);
        const { processed, created, updated, deleted, error } = await waitForRuns(app, own, {
          timeoutMs: 0,
        });
        if (error) return { user_id, error };
        const skipped = own.length === 0;
        return { user_id, processed, created, updated, deleted, skipped };
      });
      return {
        success: true,
        message: `Calendar polling completed for ${users.length} users`,
        ...totals,
        total_skipped: results.filter(({ skipped }) => skipped).length,
        results,
      };
    },
  );

  for (const name of ["calendar-webhook-public", "google-calendar-webhook"]) {
    server.get(
      `/${name}/verify`,
      {
        config: { who: "public", anonymous: true },
        schema: {
          summary: "Old address: echo a challenge",
          tags: ["gateway"],
          querystring: z.looseObject({
            challenge: z.string().optional().describe("The text to echo"),
          }),
          response: { 200: PlainText, "4xx": { ...PlainText, description: "No challenge" } },
        },
      },
      async (request, reply) => {
        const challenge = Challenge.safeParse(request.query.challenge);
        reply.type("text/plain; charset=utf-8");
        return challenge.success ? challenge.data : reply.code(400).send("No challenge provided");
      },
    );

    server.post(
      `/${name}/notify`,
      {
        config: { who: "public" },
        schema: {
          summary: "Old address: a notification, or a wish to sync",
          tags: ["gateway"],
          body: z.unknown().optional(),
          querystring: z.looseObject({
            userId: z
              .string()
              .optional()
              .describe("Whose calendars to sync; the caller's own may be left out"),
          }),
          response: { "2xx": z.unknown(), "4xx": z.looseObject({ error: z.string().optional() }) },
        },
      },
      (request, reply) => notify(app, request, reply),
    );
  }

  server.post(
    "/google-calendar-webhook/setup",
    { config: { who: "user_or_service" }, schema: oldPost("open a push channel") },
    async (request, reply) => {
      const userId = namedUser(request);
      if (!userId) return reply.code(400).send({ error: "Missing userId" });
      const [channel] = await openPush(app, await calendarsOf(app, userId));
      return {
        ok: true,
        webhook_id: channel?.channel_id,
        resource_id: channel?.resource_id,
        expiration: String(channel?.expires_at.getTime()),
      };
    },
  );

  server.post(
    "/renew-calendar-watches",
    { config: { who: "service" }, schema: oldAddress("renew push channels near their end", {}) },
    async () => {
      const tried = (await renewWatches(app, ["calendar", "calendar_list"])).results;
      const failures = tried.filter((one) => "error" in one);
      // Channels that needed nothing counted as renewed, and still do.
      const fresh = await listFreshWatches(app, ["calendar", "calendar_list"]);
      const results = [...fresh.map((one) => ({ ...one, renewed: true })), ...failures];
      const counts = { renewed: fresh.length, failed: failures.length };
      if (results.length === 0) return { ...counts, message: "No active webhooks found" };
      const message = `Renewed ${counts.renewed} watches, ${counts.failed} failed`;
      return { ...counts, total: results.length, results, message };
    },
  );

  server.post(
    "/renew-calendar-webhooks/renew",
    { config: { who: "user_or_service" }, schema: oldPost("replace a user's push channels") },
    async (request, reply) => {
      const userId = namedUser(request);
      if (!userId) return reply.code(400).send({ error: "Missing userId" });
      const { webhook_id } = await reopen(app, await calendarsOf(app, userId));
      if (!webhook_id)
        return reply.code(502).send({ ok: false, error: "Google opened no channel" });
      return { ok: true, webhook_id, message: "Webhook renewed successfully" };
    },
  );

  server.post(
    "/renew-calendar-webhooks/auto-renew",
    { config: { who: "service" }, schema: oldAddress("repair everybody's push channels", {}) },
    async () => {
      const { renewed, failed, total, results } = await repairWatches(app);
      if (total === 0) return { ok: true, renewed: 0, message: "No webhooks need renewal" };
      return { ok: true, renewed, failed, total, results };
    },
  );
};

const none = { processed: 0, created: 0, updated: 0, deleted: 0 };

// What came by which way is told by the headers, then by the body. Google's own messages prove themselves; a wish needs
// somebody who may wish, and not by cookie, which a stranger's page could send.
async function notify(app: App, request: FastifyRequest, reply: FastifyReply) {
  const { who } = request;
  const { state, channelId, resourceId } = Wish.catch({}).parse(request.body ?? {});
  const headers = ChannelHeaders.safeParse(request.headers);
  // What a relay passes on bears Google's headers without the secret, which it never had.
  const isPassedOn = who?.type === "service" && state !== undefined;
  if (headers.success && !isPassedOn) {
    try {
      await acceptNotification(app, messageOf(headers.data), "calendar");
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      return reply.code(401).send({ error: "Invalid webhook channel" });
    }
    const isHandshake = headers.data["x-goog-resource-state"] === "sync";
    return isHandshake ? reply.type("text/plain").send("OK") : { ok: true, ...none };
  }
  if (!who || (who.type === "user" && who.via === "cookie")) {
    return reply.code(401).send({ error: "Invalid webhook channel" });
  }
  if (state === "google_webhook") {
    if (who.type !== "service")
      return reply.code(401).send({ error: "Invalid authorization token" });
    const feed = channelId ? await findFeedOfWatch(app, channelId) : null;
    if (!feed) return reply.code(401).send({ error: "Invalid webhook channel" });
    await enqueue(app, app.db, syncJob(feed.id, "push"));
    return { ok: true, ...none };
  }
  const userId = namedUser(request);
  if (state === "test") {
    if (!userId) return reply.code(400).send({ error: "Missing userId" });
    const timestamp = app.clock.now().toISOString();
    return { ok: true, message: "Test webhook received successfully", timestamp };
  }
  if (!userId || (state === "sync" && !resourceId)) {
    return reply.code(400).send({ error: "Missing userId or resourceId" });
  }
  const feeds = await calendarsOf(app, userId);
  await requestSync(app, feeds);
  const { processed, created, updated, deleted, error } = await waitForRuns(app, feeds);
  return { ok: true, processed, created, updated, deleted, errors: error === null ? 0 : 1 };
}

const Wish = z.looseObject({
  state: z.string().optional().catch(undefined),
  channelId: z.string().optional().catch(undefined),
  resourceId: z.string().optional().catch(undefined),
});

const Named = z.looseObject({ userId: z.guid().optional().catch(undefined) });

// A user may leave out the name, but may name nobody else.
function namedUser(request: FastifyRequest): string | null {
  const inBody = Named.catch({}).parse(request.body ?? {}).userId;
  const inQuery = Named.catch({}).parse(request.query ?? {}).userId;
  const named = inBody ?? inQuery;
  if (named === undefined) return userOrNull(request);
  return targetUser(request, named);
}

/** Replaces the channels that are open, then opens those that are missing or were stopped. */
export async function reopen(app: App, feeds: Feed[]) {
  await renewOf(app, feeds);
  const [channel] = await openPush(app, feeds);
  return {
    webhook_id: channel?.channel_id,
    resource_id: channel?.resource_id,
    expiration: channel?.expires_at.toISOString(),
  };
}

/** The feeds of a user's calendars. @throws {AppError} `not_found` where no account with any is connected. */
export async function calendarsOf(app: App, userId: string): Promise<Feed[]> {
  const feeds = await listFeeds(app, userId, ["calendar_list", "calendar"]);
  if (feeds.length === 0) throw new AppError("not_found", "Google credentials not found");
  return feeds;
}
