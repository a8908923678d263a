import { sql } from "kysely";
import type { App } from "../app.ts";
import type { StartedBy } from "../queue/schedule-runs.ts";
import { dispatchDueFeeds, type Feed, type FeedKind, listFeedsOf } from "./feeds.ts";
import { requestSync, waitForRuns } from "./waiting.ts";

type Part = Pick<App, "db" | "clock" | "queue" | "config">;

const healthyForMs = 6 * 3_600_000;

/**
 * Polls the feeds that are due. Started by a person it polls all of some kinds, but for those whose watch proved itself
 * within the last six hours, and waits for what it finds.
 */
export async function pollFeeds(
  app: Part,
  kinds: FeedKind[],
  by: StartedBy,
): Promise<Record<string, number>> {
  if (by === "clock") return { due: await dispatchDueFeeds(app) };
  const feeds = await listFeedsOf(app, kinds);
  const { polled } = await pollIfDue(app, feeds);
  const result = await waitForRuns(app, polled, { timeoutMs: 120_000 });
  return {
    users: new Set(feeds.map(({ user_id }) => user_id)).size,
    polled: polled.length,
    skipped: feeds.length - polled.length,
    processed: result.processed,
    created: result.created,
    updated: result.updated,
    deleted: result.deleted,
    virtual_emails: result.virtualEmails,
  };
}

/**
 * Asks for a run of those feeds whose push has not proved itself lately, and that are not waiting for their next try
 * after a failure. Says which, and why.
 */
export async function pollIfDue(
  app: Part,
  feeds: Feed[],
): Promise<{ polled: Feed[]; reason: string }> {
  const active = feeds.filter(({ state }) => state === "active");
  if (active.length === 0) return { polled: [], reason: "Nothing is followed at the moment" };
  const now = app.clock.now();
  const ready = active.filter(({ retry_at }) => !retry_at || retry_at <= now);
  if (ready.length === 0) {
    const next = Math.min(...active.map(({ retry_at }) => retry_at?.getTime() ?? 0));
    const reason = `The last try failed; the next is made after ${new Date(next).toISOString()}`;
    return { polled: [], reason };
  }
  const healthy = new Set(await listHealthy(app, ready, new Date(now.getTime() - healthyForMs)));
  const polled = ready.filter(({ id }) => !healthy.has(id));
  await requestSync(app, polled, { reason: "poll" });
  const reason =
    polled.length === 0
      ? "Push told of changes within the last six hours; nothing is polled"
      : `${polled.length} of ${active.length} feeds are not kept current by push`;
  return { polled, reason };
}

/** Those whose watch is open, told of something since then, and missed nothing. */
async function listHealthy(
  app: Pick<App, "db" | "clock">,
  feeds: Feed[],
  since: Date,
): Promise<string[]> {
  const rows = await app.db
    .selectFrom("watches")
    .innerJoin("feeds", "feeds.id", "watches.feed_id")
    .select("feeds.id")
    .where(sql<boolean>`feeds.id = any(${feeds.map(({ id }) => id)}::uuid[])`)
    .where("watches.state", "=", "open")
    .where("watches.expires_at", ">", app.clock.now())
    .where("watches.missed", "=", 0)
    .where("watches.last_notified_at", ">", since)
    .where("feeds.failures", "=", 0)
    .execute();
  return rows.map(({ id }) => id);
}
