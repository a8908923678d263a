import { z } from "zod";
import type { App } from "../app.ts";
import type { Feed } from "../sync/feeds.ts";
import { nextSyncIn, type ServiceName, services } from "../sync/services.ts";
import type { SyncResult } from "../sync/waiting.ts";

/** Whose feeds a route is about. */
export const UserId = z.strictObject({
  user_id: z.guid().describe("Whose; a user may name only itself"),
});

/** Whether a caller waits for what it asked for. */
export const Wait = z.strictObject({
  wait: z.stringbool().default(false).describe("Wait up to 30 seconds for the result"),
});

/** Work that goes on: the jobs to ask about. */
export const JobsAnswer = z.object({
  job_id: z.string().nullable().describe("The first of `job_ids`; null where there is none"),
  job_ids: z.array(z.string()),
});

/** For calls that wait in any case: who asks for it is not refused. */
export const WaitsAnyway = z.strictObject({
  wait: z
    .stringbool()
    .optional()
    .describe("The result is waited for in any case, up to 30 seconds"),
});

/** What a sync did, in the old functions' words. */
export const SyncAnswer = z.object({
  service: z.enum(services),
  processed: z.int(),
  created: z.int(),
  updated: z.int(),
  deleted: z.int().describe("How many are gone here"),
  skipped: z.int(),
  virtual_emails_detected: z.int(),
  auto_scheduled_meetings: z.int(),
  duration_ms: z.int(),
  next_sync_in_ms: z.int().nullable(),
  error: z.string().optional(),
});

/** Says what runs of a service did, and when the next is due. */
export function syncAnswer(
  service: ServiceName,
  result: SyncResult,
  nextSyncInMs: number | null,
): z.input<typeof SyncAnswer> {
  const error = result.error ?? (result.isComplete ? null : "It is still going on");
  return {
    service,
    processed: result.processed,
    created: result.created,
    updated: result.updated,
    deleted: result.deleted,
    skipped: result.skipped,
    virtual_emails_detected: result.virtualEmails,
    auto_scheduled_meetings: result.autoScheduledMeetings,
    duration_ms: result.durationMs,
    next_sync_in_ms: nextSyncInMs === null ? null : Math.round(nextSyncInMs),
    ...(error ? { error } : {}),
  };
}

/** The same for runs of one user's feeds. */
export async function feedsAnswer(
  app: App,
  service: "calendar" | "gmail",
  feeds: Feed[],
  result: SyncResult,
): Promise<z.input<typeof SyncAnswer>> {
  const next = feeds[0] ? await nextSyncIn(app, feeds[0].user_id, service) : null;
  return syncAnswer(service, result, next);
}
