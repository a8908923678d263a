import type { App } from "../app.ts";
import type { Feed } from "./feeds.ts";
import { sourceOf } from "./sources.ts";

/** How push stands for a feed, in a word and in a sentence. */
export type PushHealth = {
  state: "open" | "unconfirmed" | "none" | "not_offered" | "not_wanted" | "not_configured";
  text: string;
  expires_at: Date | null;
  last_notified_at: Date | null;
  delivered: number;
  missed: number;
};

const texts: Record<PushHealth["state"], string> = {
  open: "Push is on",
  unconfirmed: "A channel was opened, and has said nothing yet",
  none: "No channel is open; polling finds changes until one is",
  not_offered: "The provider offers no push for this; it is polled",
  not_wanted: "Push was turned off; it is polled",
  not_configured:
    "Push is not set up here (PUBLIC_URL, and for mail a Pub/Sub topic); it is polled",
};

const silent = { expires_at: null, last_notified_at: null, delivered: 0, missed: 0 };

/** Looks up the watches of some feeds in one statement. */
export async function pushHealth(
  app: Pick<App, "db" | "config" | "clock">,
  feeds: Feed[],
): Promise<(feed: Feed) => PushHealth> {
  const ids = feeds.map(({ id }) => id);
  const watches = await app.db
    .selectFrom("watches")
    .selectAll()
    .where("feed_id", "in", ids.length > 0 ? ids : [nobody])
    .where("state", "=", "open")
    .where("expires_at", ">", app.clock.now())
    .orderBy("opened_at")
    .execute();
  // Of several the newest counts.
  const byFeed = new Map(watches.map((watch) => [watch.feed_id, watch]));
  const say = (state: PushHealth["state"], rest: Omit<PushHealth, "state" | "text"> = silent) => ({
    state,
    text: texts[state],
    ...rest,
  });
  return (feed) => {
    const { channel } = sourceOf(feed.kind);
    if (feed.is_push_refused) return say("not_offered");
    if (!feed.is_push_wanted) return say("not_wanted");
    if (!channel.targetOf(app.config)) return say("not_configured");
    const watch = byFeed.get(feed.id);
    if (!watch) return say("none");
    const { expires_at, last_notified_at, delivered, missed, confirmed_at } = watch;
    return say(confirmed_at ? "open" : "unconfirmed", {
      expires_at,
      last_notified_at,
      delivered,
      missed,
    });
  };
}

const nobody = "00000000-0000-0000-0000-000000000000";
