import type { Db } from "../db/connection.ts";
import { AppError } from "../lib/errors.ts";
import { inParallel } from "../lib/parallel.ts";
import { enqueue } from "../queue/queue.ts";
import { endWatchesOf } from "./closing.ts";
import { type Feed, type FeedKind, listFeeds, lockFeeds } from "./feeds.ts";
import { sourceOf } from "./sources.ts";
import type { SyncApp } from "./sync.ts";
import { openWatch } from "./watches.ts";

export type OpenChannel = {
  feed_id: string;
  calendar_id: string;
  channel_id: string;
  resource_id: string | null;
  expires_at: Date;
};

/**
 * Opens the watches that are missing, at a person's wish. @throws {AppError} `conflict` without a public https
 * address; `provider_failed` when Google opens none.
 */
export async function openPush(app: SyncApp, feeds: Feed[]): Promise<OpenChannel[]> {
  const active = feeds.filter(({ state }) => state === "active");
  if (active.length === 0) throw new AppError("conflict", "Nothing is followed at the moment");
  if (!active.some(({ kind }) => sourceOf(kind).channel.targetOf(app.config))) {
    throw new AppError(
      "conflict",
      "Push is not set up here: it needs PUBLIC_URL to be an https address, and for mail a Pub/Sub topic. Polling goes on",
    );
  }
  const ids = active.map(({ id }) => id);
  await app.db.transaction().execute(async (tx) => {
    await lockFeeds(tx, ids);
    await tx
      .updateTable("feeds")
      .set({ is_push_wanted: true, watch_due_at: null })
      .where("id", "in", ids)
      .execute();
  });
  const open = new Set((await listOpenChannels(app, ids)).map(({ feed_id }) => feed_id));
  const missing = ids.filter((id) => !open.has(id));
  await inParallel(missing, 4, (feedId) => openWatch(app, { feedId, reason: "missing" }));
  const channels = await listOpenChannels(app, ids);
  if (channels.length === 0) {
    throw new AppError("provider_failed", "Google opened no channel; it is tried again by itself");
  }
  return channels;
}

/** Closes a user's watches, and opens none until they ask for it again. */
export async function closePush(app: SyncApp, userId: string, kinds: FeedKind[]): Promise<void> {
  await app.db.transaction().execute(async (tx) => {
    const ids = (await listFeeds({ db: tx }, userId, kinds)).map(({ id }) => id);
    if (ids.length === 0) return;
    await lockFeeds(tx, ids);
    await tx
      .updateTable("feeds")
      .set({ is_push_wanted: false, watch_due_at: null })
      .where("id", "in", ids)
      .execute();
    const end = { reason: "person", now: app.clock.now() };
    await enqueue(app, tx, await endWatchesOf(tx, ids, end));
  });
}

/** The watches of some feeds that are open, the main calendar's first. */
export async function listOpenChannels(app: { db: Db }, feedIds: string[]): Promise<OpenChannel[]> {
  return app.db
    .selectFrom("watches")
    .innerJoin("feeds", "feeds.id", "watches.feed_id")
    .select(["feeds.id as feed_id", "feeds.resource as calendar_id", "watches.id as channel_id"])
    .select(["watches.resource_id", "watches.expires_at"])
    .where("feeds.id", "in", feedIds)
    .where("watches.state", "=", "open")
    .orderBy("feeds.is_primary", "desc")
    .orderBy("feeds.id")
    .execute();
}
