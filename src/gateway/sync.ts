import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { sql } from "kysely";
import { z } from "zod";
import { getUser, virtualAddress } from "../accounts/users.ts";
import { targetUser } from "../api/session.ts";
import type { App } from "../app.ts";
import { AppError } from "../lib/errors.ts";
import { activityTypes, recordActivity } from "../sync/activity.ts";
import { listFeeds } from "../sync/feeds.ts";
import { applyMailIn } from "../sync/mailboxes.ts";
import { type ServiceResult, services, syncAll, syncService } from "../sync/services.ts";
import { oldPost } from "./old-address.ts";

const Wish = z.looseObject({
  userId: z.guid(),
  service: z.string().optional().catch(undefined),
  activityType: z.enum(activityTypes).optional().catch(undefined),
  forceSync: z.boolean().optional().catch(undefined),
  virtualEmailDetection: z
    .looseObject({ emailAddress: z.string().max(320), messageId: z.string().min(1).max(200) })
    .optional()
    .catch(undefined),
});

// When the older product's pages ask next, where nothing says it better.
const usualNextMs = 900_000;

/** The old address of the adaptive sync: same fields, same shapes; it really syncs now, and only for its caller. */
export const syncGateway: FastifyPluginAsyncZod<{ app: App }> = async (server, { app }) => {
  server.post(
    "/enhanced-adaptive-sync-service",
    {
      config: { who: "user_or_service" },
      schema: oldPost("sync a user's services, and say when to ask next"),
    },
    async (request, reply) => {
      const wish = Wish.safeParse(request.body);
      if (!wish.success) return reply.code(400).send({ error: "userId is required" });
      const { service, activityType, forceSync: force = false } = wish.data;
      const userId = targetUser(request, wish.data.userId);
      const user = await getUser(app, userId);
      if (activityType) await recordActivity(app, userId, activityType);
      if (wish.data.virtualEmailDetection) {
        await takeDetection(app, userId, wish.data.virtualEmailDetection.messageId);
      }
      const results = await sync(app, userId, service, force);
      const next = results.flatMap(({ nextSyncInMs }) => nextSyncInMs ?? []);
      return {
        success: true,
        results: results.map(resultOf),
        nextSyncIn: next.length > 0 ? Math.round(Math.max(5_000, Math.min(...next))) : usualNextMs,
        virtualEmailActivity: await activityOf(app, userId, user.username),
      };
    },
  );
};

async function sync(
  app: App,
  userId: string,
  wanted: string | undefined,
  force: boolean,
): Promise<ServiceResult[]> {
  if (wanted === "all") return syncAll(app, userId, { force });
  const service = services.find((one) => one === wanted);
  return service ? [await syncService(app, userId, service, { force })] : [];
}

function resultOf(result: ServiceResult) {
  const { service: type, error, isComplete, isSkipped: skipped } = result;
  const { processed, created, updated, deleted, autoScheduledMeetings } = result;
  const trouble = error ?? (isComplete ? null : "It is still going on");
  return {
    success: trouble === null || skipped,
    type,
    ...{ processed, created, updated, deleted, skipped, autoScheduledMeetings },
    virtualEmailsDetected: result.virtualEmails,
    ...(trouble && !skipped ? { error: trouble } : {}),
    ...(result.nextSyncInMs === null ? {} : { nextSyncIn: Math.round(result.nextSyncInMs) }),
  };
}

// The caller's word is only a hint: the mail itself, in one of the user's own mailboxes, says whom it is for.
async function takeDetection(app: App, userId: string, messageId: string): Promise<void> {
  try {
    await applyMailIn(app, await listFeeds(app, userId, ["gmail"]), messageId);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
  }
}

async function activityOf(app: App, userId: string, username: string | null) {
  const virtualEmail = virtualAddress(app, username);
  if (!virtualEmail) return null;
  const now = app.clock.now();
  const { rows } = await sql<{ last: Date | null; count: number; scheduled: number }>`
    select
      (select max(detected_at) from virtual_email_detections where user_id = ${userId}) as last,
      (select count(*) from virtual_email_detections
        where user_id = ${userId} and detected_at > ${now}::timestamptz - interval '24 hours')::int as count,
      (select count(*) from meetings where user_id = ${userId} and auto_scheduled_via_email
        and created_at > ${now}::timestamptz - interval '7 days')::int as scheduled
  `.execute(app.db);
  const { last = null, count = 0, scheduled = 0 } = rows[0] ?? {};
  return {
    userId,
    virtualEmail,
    lastDetected: (last ?? new Date(0)).toISOString(),
    detectionCount: count,
    recentActivity: last ? now.getTime() - last.getTime() < 30 * 60_000 : null,
    autoScheduledMeetings: scheduled,
  };
}
