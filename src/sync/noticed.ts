import { sql } from "kysely";
import type { App } from "../app.ts";
import type { Db, Tx } from "../db/connection.ts";
import type { NewJob } from "../queue/queue.ts";
import { noticedAt, rememberedCadence } from "./cadence.ts";
import { type Feed, syncJob } from "./feeds.ts";
import { circumstancesOf } from "./look.ts";

// What is more than this in one burst waits no longer for it.
const mostCounted = 100;

/**
 * A wish to look at a feed that was just told of: at once, or a little later, so that a burst shares the look. Of two
 * that wait the earlier start wins, and whoever asks meanwhile starts it at once.
 */
export async function noticedJob(
  app: Pick<App, "clock">,
  tx: Tx,
  feed: Pick<Feed, "id" | "user_id" | "connection_id" | "kind" | "cadence">,
): Promise<NewJob> {
  const job = syncJob(feed.id, "push");
  const { kind } = feed;
  if (kind === "calendar_list" || !feed.cadence) return job;
  const now = app.clock.now();
  const cadence = rememberedCadence(feed.cadence);
  const earlier = await listTold(tx, feed.id, new Date(cadence.intensity.at));
  const toldAt = [...earlier.filter((at) => at < now), now];
  const circumstances = await circumstancesOf(tx, feed, kind, now);
  const startAfter = noticedAt(kind, cadence, toldAt, circumstances);
  return startAfter > now ? { ...job, startAfter } : job;
}

async function listTold(tx: Tx, feedId: string, since: Date): Promise<Date[]> {
  const rows = await tx
    .selectFrom("notifications")
    .innerJoin("watches", "watches.id", "notifications.watch_id")
    .select("notifications.received_at")
    .where("watches.feed_id", "=", feedId)
    .where("notifications.received_at", ">", since)
    .orderBy("notifications.received_at", "desc")
    .limit(mostCounted)
    .execute();
  return rows.map(({ received_at }) => received_at).reverse();
}

/** The feeds of a user that push has told of since they were looked at. */
export async function listUnanswered(db: Db, userId: string): Promise<Set<string>> {
  const { rows } = await sql<{ id: string }>`
    select id from feeds
    where user_id = ${userId} and state = 'active' and exists (
      select from watches join notifications on notifications.watch_id = watches.id
      where watches.feed_id = feeds.id
        and notifications.received_at > to_timestamp((feeds.cadence->'intensity'->>'at')::float8 / 1000))
  `.execute(db);
  return new Set(rows.map(({ id }) => id));
}
