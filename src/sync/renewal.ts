import { inParallel } from "../lib/parallel.ts";
import type { SyncApp } from "./sync.ts";
import { openWatch } from "./watches.ts";

type Renewed = { renewed: number; failed: number; total: number };

const dayMs = 86_400_000;

/** Renews the channels that end within a day, or have come to the half of their life. */
export async function renewWatches(app: SyncApp): Promise<Renewed> {
  const now = app.clock.now();
  const due = await app.db
    .selectFrom("watches")
    .innerJoin("feeds", "feeds.id", "watches.feed_id")
    .select("feeds.id")
    .where("feeds.state", "=", "active")
    .where("feeds.kind", "in", ["calendar", "calendar_list"])
    .where("watches.state", "=", "open")
    .where((row) =>
      row.or([
        row("watches.expires_at", "<", new Date(now.getTime() + dayMs)),
        row("watches.renew_at", "<=", now),
      ]),
    )
    .distinct()
    .execute();
  return openAll(
    app,
    due.map(({ id }) => id),
    "renewal",
  );
}

/** Repairs push: opens the channels that are missing, failed, never confirmed, or missed what they should have told. */
export async function repairWatches(app: SyncApp): Promise<Renewed> {
  const now = app.clock.now();
  const broken = await app.db
    .selectFrom("feeds")
    .select("feeds.id")
    .where("state", "=", "active")
    .where("kind", "in", ["calendar", "calendar_list"])
    .where("is_push_refused", "=", false)
    .where("last_success_at", "is not", null)
    .where((row) =>
      row.not(
        row.exists(
          row
            .selectFrom("watches")
            .select("watches.id")
            .whereRef("watches.feed_id", "=", "feeds.id")
            .where("watches.state", "=", "open")
            .where("watches.expires_at", ">", now)
            .where("watches.missed", "<", 3)
            .where((watch) =>
              watch.or([
                watch("watches.confirmed_at", "is not", null),
                watch("watches.opened_at", ">", new Date(now.getTime() - 60 * 60_000)),
              ]),
            ),
        ),
      ),
    )
    .execute();
  return openAll(
    app,
    broken.map(({ id }) => id),
    "repair",
  );
}

async function openAll(app: SyncApp, feedIds: string[], reason: string): Promise<Renewed> {
  if (!app.config.pushUrl) return { renewed: 0, failed: 0, total: 0 };
  const opened = await inParallel(feedIds, 8, (feedId) => openWatch(app, { feedId, reason }));
  const renewed = opened.filter(Boolean).length;
  return { renewed, failed: feedIds.length - renewed, total: feedIds.length };
}
