import { sql } from "kysely";
import type { App } from "../app.ts";
import { offsetOf } from "../meetings/start-of-day.ts";
import { nextLook, rememberedCadence } from "./cadence.ts";
import { listFeeds, lockFeeds } from "./feeds.ts";
import { listUnanswered } from "./noticed.ts";
import { findTerms } from "./priors.ts";

export const activityTypes = [
  "app_load",
  "calendar_view",
  "meeting_create",
  "virtual_email_detected",
  "general",
] as const;
export type ActivityType = (typeof activityTypes)[number];

/**
 * Remembers that a user is here, and brings forward what is worth looking at while they are: waiting weighs more then,
 * and what push has told of waits for nothing else. Returns how many feeds are looked at earlier.
 */
export async function recordActivity(
  app: Pick<App, "db" | "clock">,
  userId: string,
  activityType: ActivityType,
): Promise<{ broughtForward: number }> {
  const now = app.clock.now();
  const feeds = await listFeeds(app, userId);
  const termsOf = await findTerms(app.db, [...new Set(feeds.map((feed) => feed.connection_id))]);
  const unanswered = await listUnanswered(app.db, userId);
  const earlier = feeds.flatMap((feed) => {
    const { id, kind, state, cadence, due_at, retry_at, user_zone } = feed;
    // One that failed has its next try; asked before, it would not look, and be claimed past that.
    if (retry_at && retry_at > now) return [];
    if (state !== "active" || kind === "calendar_list" || !cadence || !due_at) return [];
    const circumstances = {
      offsetMs: offsetOf(user_zone ?? "UTC", now),
      ...termsOf(feed, kind, now),
      isActive: true,
      isPressing: activityType === "virtual_email_detected",
    };
    const { dueAt, reason, intervalMs } = nextLook(kind, rememberedCadence(cadence), circumstances);
    const sooner = dueAt < now || unanswered.has(id) ? now : dueAt;
    return sooner < due_at ? [{ id, due_at: sooner, due_reason: { ...reason, intervalMs } }] : [];
  });
  await app.db.transaction().execute(async (tx) => {
    await lockFeeds(
      tx,
      earlier.map(({ id }) => id),
    );
    await sql`
      update feeds set due_at = earlier.due_at, due_reason = earlier.due_reason
      from jsonb_to_recordset(${JSON.stringify(earlier)}::jsonb) as earlier (id uuid, due_at timestamptz, due_reason jsonb)
      where feeds.id = earlier.id and feeds.due_at > earlier.due_at and (feeds.retry_at is null or feeds.retry_at <= ${now})
    `.execute(tx);
    await tx
      .insertInto("user_activity_logs")
      .values({ user_id: userId, activity_type: activityType, timestamp: now })
      .execute();
    await tx.updateTable("users").set({ last_active_at: now }).where("id", "=", userId).execute();
  });
  return { broughtForward: earlier.length };
}
