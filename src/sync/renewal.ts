import { inParallel } from "../lib/parallel.ts";
import { type Feed, type FeedKind, findFeed } from "./feeds.ts";
import { pushedKinds } from "./sources.ts";
import type { SyncApp } from "./sync.ts";
import { believedChannel, isDoubted, openWatch, patienceWith } from "./watches.ts";

const hourMs = 60 * 60_000;

type Wish = Parameters<typeof openWatch>[1];
/** What became of one watch, in the old functions' words. */
export type RenewalResult =
  | { user_id: string; webhook_id: string; renewed: true }
  | { user_id: string; error: string };

export type Renewed = { renewed: number; failed: number; total: number; results: RenewalResult[] };

/** Renews the watches that have come to the half of their life; those that end within a day are among them. */
export async function renewWatches(app: SyncApp, kinds: FeedKind[]): Promise<Renewed> {
  const now = app.clock.now();
  const due = await app.db
    .selectFrom("watches")
    .innerJoin("feeds", "feeds.id", "watches.feed_id")
    .select("feeds.id")
    .where("feeds.state", "=", "active")
    .where("feeds.kind", "in", kinds)
    .where("watches.state", "=", "open")
    .where("watches.renew_at", "<=", now)
    .distinct()
    .execute();
  return openAll(
    app,
    due.map(({ id }) => ({ feedId: id, reason: "renewal" })),
  );
}

/** The open watches that are not due for renewal: those that have time left, and those that were just opened. */
export async function listFreshWatches(
  app: Pick<SyncApp, "db" | "clock">,
  kinds: FeedKind[],
): Promise<{ user_id: string; webhook_id: string }[]> {
  return app.db
    .selectFrom("watches")
    .innerJoin("feeds", "feeds.id", "watches.feed_id")
    .select(["feeds.user_id", "watches.id as webhook_id"])
    .where("feeds.state", "=", "active")
    .where("feeds.kind", "in", kinds)
    .where("watches.state", "=", "open")
    .where("watches.renew_at", ">", app.clock.now())
    .orderBy("watches.opened_at")
    .execute();
}

/** Repairs push: opens the watches that are missing or failed, never said a word, or missed what they should have told. */
export async function repairWatches(app: SyncApp): Promise<Renewed> {
  if (!app.config.pushUrl) return openAll(app, []);
  const now = app.clock.now();
  const feeds = await app.db
    .selectFrom("feeds")
    .leftJoin("watches", (join) =>
      join
        .onRef("watches.feed_id", "=", "feeds.id")
        .on("watches.state", "=", "open")
        .on("watches.expires_at", ">", now),
    )
    .select([
      "feeds.id",
      "feeds.kind",
      "watches.id as watch_id",
      "watches.missed",
      "watches.confirmed_at",
      "watches.opened_at",
      believedChannel,
    ])
    .where("feeds.state", "=", "active")
    .where("feeds.kind", "in", ["calendar", "calendar_list"])
    .where("feeds.is_push_refused", "=", false)
    .where("feeds.is_push_wanted", "=", true)
    .where("feeds.last_success_at", "is not", null)
    .execute();
  const broken: Wish[] = [];
  for (const { id, kind, watch_id, missed, channel, confirmed_at, opened_at } of feeds) {
    const ageMs = now.getTime() - (opened_at?.getTime() ?? 0);
    if (watch_id === null) broken.push({ feedId: id, reason: "missing" });
    else if (isDoubted({ id: watch_id, missed: missed ?? 0, channel })) {
      if (ageMs >= (await patienceWith(app.db, { id, kind })))
        broken.push({ feedId: id, reason: "missed" });
    } else if (confirmed_at === null && ageMs > hourMs)
      broken.push({ feedId: id, reason: "silent" });
  }
  return openAll(app, broken);
}

/** Replaces the watches of these feeds, whatever their state. */
export async function renewOf(app: SyncApp, feeds: Feed[]): Promise<Renewed> {
  const active = feeds.filter(({ state }) => state === "active");
  return openAll(
    app,
    active.map(({ id }) => ({ feedId: id, reason: "person" })),
  );
}

async function openAll(app: SyncApp, wishes: Wish[]): Promise<Renewed> {
  if (pushedKinds(app.config).length === 0) return { renewed: 0, failed: 0, total: 0, results: [] };
  const results = await inParallel(wishes, 8, async (wish): Promise<RenewalResult> => {
    const watchId = await openWatch(app, wish);
    const feed = await findFeed(app, wish.feedId);
    const user_id = feed?.user_id ?? "";
    return watchId
      ? { user_id, webhook_id: watchId, renewed: true }
      : { user_id, error: "No channel was opened; it is tried again by itself" };
  });
  const renewed = results.filter((one) => "renewed" in one).length;
  return { renewed, failed: results.length - renewed, total: results.length, results };
}
