import { randomUUID } from "node:crypto";
import { type RawBuilder, sql } from "kysely";
import { findGrant, openingMs, type SealedGrant, stopJob } from "../accounts/disconnect.ts";
import { openGoogleAccess } from "../accounts/google-access.ts";
import type { App } from "../app.ts";
import type { Db, Tx } from "../db/connection.ts";
import { ProviderError } from "../lib/errors.ts";
import { digest, randomToken } from "../lib/secrets.ts";
import type { JobPayload } from "../queue/catalog.ts";
import { enqueue, type NewJob } from "../queue/queue.ts";
import { isChannelDoubted, rememberedCadence } from "./cadence.ts";
import type { ChannelTrust } from "./channel-trust.ts";
import { closeJob } from "./closing.ts";
import { type Feed, findFeed, lockFeed, syncJob } from "./feeds.ts";
import { pushedKinds, sourceOf } from "./sources.ts";
import type { Run, SyncApp } from "./sync.ts";

const minuteMs = 60_000;
// Google's messages are late at times; what is older than this and was not told of was missed.
const lateMs = minuteMs;
// Of what has no cadence to judge by, a watch that missed as many changes is replaced.
const missesAllowed = 3;
// How old a watch is at least that is replaced for what it missed, and how many of its like make that longer.
const shortestPatienceMs = 15 * minuteMs;
const patienceGrowsFor = 3;

type WatchReason = JobPayload<"watches.open">["reason"];

/**
 * Opens a watch for a feed, and closes those that it replaces only after it works, so that there is no gap. It is a row
 * before Google is asked for its channel: the first message can be faster than the answer. Google renews nothing; each
 * has an id and a secret of its own. Where nothing can reach us there is no push, and nothing is done. One that was opened
 * for an account that was disconnected meanwhile is stopped.
 *
 * @returns the id of the watch, null where none was opened. What Google refuses is kept in the feed's row, with the
 *   time of the next try.
 */
export async function openWatch(
  app: SyncApp,
  { feedId, reason }: { feedId: string; reason: WatchReason },
): Promise<string | null> {
  const feed = await findFeed(app, feedId);
  if (feed?.state !== "active" || !isPushed(app, feed)) return null;
  const { channel } = sourceOf(feed.kind);
  const target = channel.targetOf(app.config);
  if (!target) return null;
  const token = randomToken();
  const expiresAt = new Date(app.clock.now().getTime() + channel.lifeMs);
  const watchId = await beginWatch(app, feed, { reason, token, expiresAt });
  if (!watchId) return null;
  const grant = await findGrant(app.db, feed.connection_id);
  const google = openGoogleAccess(app, feed.connection_id).request;
  try {
    const opened = await channel.open(google, feed, {
      channelId: watchId,
      token,
      target,
      expiresAt,
    });
    const asked = { reason, grant, asked: expiresAt };
    const isKept = await keepOpened(app, feed, { watchId, ...asked, ...opened });
    return isKept ? watchId : null;
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    await keepRefused(app, feed, watchId, error);
    return null;
  }
}

// One at a time for each feed, and none in place of one that serves: the feed's row decides.
async function beginWatch(
  app: SyncApp,
  feed: Feed,
  { reason, token, expiresAt }: { reason: WatchReason; token: string; expiresAt: Date },
): Promise<string | null> {
  const now = app.clock.now();
  return app.db.transaction().execute(async (tx) => {
    const wanting = await lockWanting(tx, feed.id);
    if (!wanting) return null;
    const { watch_failures: failures, watch_due_at: dueAt, channel } = wanting;
    // Whoever noticed that there is none did so before the last try failed; the next one has its time.
    if (reason === "missing" && failures > 0 && dueAt !== null && dueAt > now) return null;
    const watches = await tx
      .selectFrom("watches")
      .selectAll()
      .where("feed_id", "=", feed.id)
      .where("state", "in", ["opening", "open"])
      .execute();
    const patience = reason === "missed" ? await patienceWith(tx, feed) : 0;
    const ageOf = (at: Date | null) => now.getTime() - (at?.getTime() ?? 0);
    const isServed = watches.some(
      (watch) =>
        (watch.state === "opening" && ageOf(watch.requested_at) < openingMs) ||
        (watch.state === "open" &&
          watch.expires_at > now &&
          (ageOf(watch.opened_at) < patience || !callsFor(reason, { ...watch, channel }, now))),
    );
    if (isServed) return null;
    const id = randomUUID();
    await tx
      .insertInto("watches")
      .values({
        id,
        feed_id: feed.id,
        user_id: feed.user_id,
        secret_hash: digest(app.config.sessionSecret, token),
        requested_at: now,
        expires_at: expiresAt,
      })
      .execute();
    return id;
  });
}

// Holds the feed's row, as lockFeed does. Undefined where nobody listens to its watches any longer.
async function lockWanting(tx: Tx, feedId: string) {
  const feed = await tx
    .selectFrom("feeds")
    .select(["state", "is_push_wanted", "watch_failures", "watch_due_at", believedChannel])
    .where("id", "=", feedId)
    .forUpdate()
    .executeTakeFirst();
  return feed?.state === "active" && feed.is_push_wanted ? feed : undefined;
}

/** What a feed's cadence believes of its channel, null where nothing is known of the feed. */
export const believedChannel = sql<ChannelTrust | null>`feeds.cadence->'channel'`.as("channel");

type Missing = { id: string; missed: number; channel: ChannelTrust | null };

/** Whether a watch is to be replaced for what it did not tell of. */
export function isDoubted({ id, missed, channel }: Missing): boolean {
  return channel?.id === id ? isChannelDoubted({ channel }) : missed >= missesAllowed;
}

/**
 * Milliseconds for which a watch is kept, however much it is doubted: a quarter of an hour, and four times as long after each
 * before it in a row that had something to tell of and told of nothing.
 */
export async function patienceWith(db: Db | Tx, feed: Pick<Feed, "id" | "kind">): Promise<number> {
  // Gmail speaks of a mailbox as soon as it is watched (the Gmail API's push guide).
  const greetings = sourceOf(feed.kind).channel.isSole ? 1 : 0;
  const latest = await db
    .selectFrom("watches")
    .select(["delivered", "missed"])
    .where("feed_id", "=", feed.id)
    .where("state", "in", ["open", "closing", "closed"])
    .orderBy("requested_at", "desc")
    .limit(patienceGrowsFor + 1)
    .execute();
  const silent = latest.findIndex(({ delivered, missed }) => delivered > greetings || missed === 0);
  return shortestPatienceMs * 4 ** Math.max(0, (silent === -1 ? latest.length : silent) - 1);
}

type Watch = Missing & { renew_at: Date | null; confirmed_at: Date | null };

// Whether the reason still holds for a watch that is open: another process may have acted on it already.
function callsFor(reason: WatchReason, watch: Watch, now: Date): boolean {
  const reasons: Record<WatchReason, boolean> = {
    missing: false,
    retry: false,
    renewal: watch.renew_at === null || watch.renew_at <= now,
    missed: isDoubted(watch),
    silent: watch.confirmed_at === null,
    person: true,
  };
  return reasons[reason];
}

// False where it was ended while Google was opening it, or nobody wants it any longer: then it is closed at Google.
async function keepOpened(
  app: SyncApp,
  feed: Feed,
  opened: {
    watchId: string;
    reason: string;
    grant: SealedGrant | null;
    resourceId: string;
    expiresAt: Date | null;
    asked: Date;
  },
): Promise<boolean> {
  const now = app.clock.now();
  const expiresAt = opened.expiresAt ?? opened.asked;
  const halfLifeMs = (expiresAt.getTime() - now.getTime()) / 2;
  const { renewAfterMs = halfLifeMs, isSole = false } = sourceOf(feed.kind).channel;
  const renewAt = new Date(now.getTime() + renewAfterMs * (0.9 + Math.random() / 10));
  return app.db.transaction().execute(async (tx) => {
    const isWanted = (await lockWanting(tx, feed.id)) !== undefined;
    const given = { resource_id: opened.resourceId, expires_at: expiresAt };
    const kept = await tx
      .updateTable("watches")
      .set({ ...given, state: "open", opened_at: now, renew_at: renewAt })
      .where("id", "=", opened.watchId)
      .where("state", "=", "opening")
      .where(sql.lit(isWanted))
      .returning("id")
      .executeTakeFirst();
    if (!kept) {
      const closing = await tx
        .updateTable("watches")
        .set((row) => ({
          ...given,
          state: "closing",
          close_reason: row.fn.coalesce("close_reason", row.val("not_wanted")),
          close_due_at: now,
        }))
        .where("id", "=", opened.watchId)
        .returning("id")
        .executeTakeFirst();
      if (closing) await enqueue(app, tx, closeJob(closing.id));
      // Its row went with its account.
      else if (opened.grant) await enqueue(app, tx, stopOpened(feed, opened.grant, opened));
      return false;
    }
    const replaced = await tx
      .updateTable("watches")
      .set({
        // Where the provider keeps only one, the new one has ended it already.
        state: isSole ? "closed" : "closing",
        close_reason: opened.reason,
        close_due_at: isSole ? null : now,
      })
      .where("feed_id", "=", feed.id)
      .where("id", "!=", opened.watchId)
      .where("state", "in", ["opening", "open"])
      .returning("id")
      .execute();
    await tx
      .updateTable("feeds")
      .set({ watch_due_at: renewAt, watch_failures: 0 })
      .where("id", "=", feed.id)
      .execute();
    // What happened before the channel listened is found by one more look.
    await enqueue(app, tx, [
      ...(isSole ? [] : replaced.map(({ id }) => closeJob(id))),
      syncJob(feed.id, "poll"),
    ]);
    return true;
  });
}

function stopOpened(
  { kind }: Feed,
  grant: SealedGrant,
  { watchId: channelId, resourceId }: { watchId: string; resourceId: string },
): NewJob {
  if (kind === "gmail") return stopJob(grant, { stopsMailbox: true });
  return stopJob(grant, { channels: [{ channelId, resourceId, isDrives: kind === "drive" }] });
}

async function keepRefused(
  app: SyncApp,
  feed: Feed,
  watchId: string,
  error: ProviderError,
): Promise<void> {
  // Calendars of holidays and the like can only be polled. That is no failure.
  const isRefused = error.reason === "pushNotSupportedForRequestedResource";
  const waitMs = Math.max(
    Math.min(minuteMs * 2 ** Math.min(feed.watch_failures, 12), 6 * 60 * minuteMs) *
      (0.75 + Math.random() / 2),
    (error.retryAfterSeconds ?? 0) * 1000,
  );
  await app.db.transaction().execute(async (tx) => {
    await lockFeed(tx, feed.id);
    await tx
      .updateTable("watches")
      .set({ state: "failed", close_reason: error.reason })
      .where("id", "=", watchId)
      .execute();
    await tx
      .updateTable("feeds")
      .set({
        is_push_refused: isRefused,
        watch_failures: feed.watch_failures + 1,
        watch_due_at: isRefused ? null : new Date(app.clock.now().getTime() + waitMs),
      })
      .where("id", "=", feed.id)
      .execute();
  });
}

/**
 * Closes a watch at Google. One that has ended already is closed. What fails is tried again until it expires. One that
 * is still being opened waits for what Google names it by: the answer brings it, or the channel's first message.
 */
export async function closeWatch(app: SyncApp, { watchId }: { watchId: string }): Promise<void> {
  const watch = await app.db
    .selectFrom("watches")
    .innerJoin("feeds", "feeds.id", "watches.feed_id")
    .select(["watches.id", "watches.resource_id", "watches.close_failures", "watches.expires_at"])
    .select(["watches.requested_at", "feeds.connection_id", "feeds.kind"])
    .where("watches.id", "=", watchId)
    .where("watches.state", "=", "closing")
    .executeTakeFirst();
  if (!watch) return;
  const { channel } = sourceOf(watch.kind);
  const now = app.clock.now();
  const openedBy = new Date(watch.requested_at.getTime() + openingMs);
  if (!watch.resource_id && openedBy > now) {
    await app.db
      .updateTable("watches")
      .set({ close_due_at: openedBy })
      .where("id", "=", watchId)
      .where("resource_id", "is", null)
      .execute();
    return;
  }
  try {
    const isMine = !channel.isSole || !(await isWatchedAnew(app, watch.connection_id, watch.kind));
    if (isMine && watch.resource_id && watch.expires_at > now) {
      const google = openGoogleAccess(app, watch.connection_id).request;
      await channel.close(google, { channelId: watch.id, resourceId: watch.resource_id });
    }
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    const isOver = ["not_found", "reauthorise", "scope_missing", "give_up"].includes(error.failure);
    if (!isOver) {
      const waitMs = Math.min(minuteMs * 2 ** Math.min(watch.close_failures, 8), 60 * minuteMs);
      await app.db
        .updateTable("watches")
        .set({
          close_failures: watch.close_failures + 1,
          close_due_at: new Date(now.getTime() + waitMs),
        })
        .where("id", "=", watchId)
        .execute();
      return;
    }
  }
  await app.db
    .updateTable("watches")
    .set({ state: "closed", close_due_at: null })
    .where("id", "=", watchId)
    // Of one that was named meanwhile, its job follows.
    .where("resource_id", watch.resource_id === null ? "is" : "=", watch.resource_id)
    .execute();
}

// Of what the provider keeps one for, another may have taken its place meanwhile, also in the name of another user.
async function isWatchedAnew(
  app: SyncApp,
  connectionId: string,
  kind: Feed["kind"],
): Promise<boolean> {
  const { rows } = await sql`
    select from connections as closing
    join connections as other on other.subject = closing.subject or other.id = closing.id
    join feeds on feeds.connection_id = other.id and feeds.kind = ${kind}
    join watches on watches.feed_id = feeds.id and watches.state in ('opening', 'open')
    where closing.id = ${connectionId} and watches.expires_at > ${app.clock.now()} limit 1
  `.execute(app.db);
  return rows.length > 0;
}

/** Stops a channel that we do not know, with the ids that its own notification brought, in the name of whose it may be. */
export async function stopUnknownChannel(
  app: SyncApp,
  unknown: { channelId: string; resourceId: string; resource: string },
): Promise<void> {
  const feeds = await app.db
    .selectFrom("feeds")
    .innerJoin("connections", "connections.id", "feeds.connection_id")
    .select(["feeds.connection_id", "feeds.kind"])
    .where("feeds.kind", "=", "calendar")
    .where("feeds.resource", "=", unknown.resource)
    .where("connections.state", "=", "active")
    .limit(5)
    .execute();
  for (const { connection_id, kind } of feeds) {
    const { channel } = sourceOf(kind);
    try {
      await channel.close(openGoogleAccess(app, connection_id).request, unknown);
      return;
    } catch (error) {
      // Only whoever opened a channel may stop it; the next account may be theirs.
      if (!(error instanceof ProviderError)) throw error;
    }
  }
}

/**
 * What a run shows about the feed's watch, null without one: whether it has spoken since the last run, and how many of the
 * news it told of, and how many it should have told of and did not.
 */
export type WatchJudgement = {
  watch: { id: string; openedAt: Date; missed: number } | null;
  hasSpoken: boolean;
  announced: number;
  missed: number;
};

/** Counts what a poll found and push should have told against the watch. */
export async function judgeWatch(
  app: Pick<App, "clock">,
  tx: Tx,
  run: Run,
): Promise<WatchJudgement> {
  const { feed, newsAt } = run;
  const watch = await tx
    .selectFrom("watches")
    .select(["id", "opened_at", "last_notified_at", "missed"])
    .where("feed_id", "=", feed.id)
    .where("state", "=", "open")
    .where("expires_at", ">", app.clock.now())
    .orderBy("opened_at", "desc")
    .executeTakeFirst();
  if (!watch) return { watch: null, hasSpoken: false, announced: 0, missed: 0 };
  const isPush = run.reason === "push";
  const openedAt = watch.opened_at ?? run.startedAt;
  const notifiedMs = watch.last_notified_at?.getTime() ?? 0;
  const lateFromMs = run.startedAt.getTime() - lateMs;
  // What was there before the channel proves nothing, and neither does what Google may tell of yet.
  const since = newsAt.map((at) => at.getTime()).filter((ms) => ms > openedAt.getTime());
  const isLate = (ms: number) => ms > notifiedMs && ms < lateFromMs;
  const missed = isPush ? 0 : since.filter(isLate).length;
  const announced = isPush ? since.length : since.filter((ms) => ms <= notifiedMs).length;
  const hasSpoken = notifiedMs > (feed.last_success_at?.getTime() ?? 0);
  if (missed > 0) {
    await tx
      .updateTable("watches")
      .set((row) => ({ missed: row("missed", "+", missed) }))
      .where("id", "=", watch.id)
      .execute();
  }
  return {
    watch: { id: watch.id, openedAt, missed: watch.missed + missed },
    hasSpoken,
    announced,
    missed,
  };
}

/** Calls for another watch where there should be one and is none, and where there is too little trust in this one. */
export function watchJobs(
  app: Pick<App, "clock" | "config">,
  feed: Feed,
  { watch }: WatchJudgement,
  cadence: unknown,
): NewJob[] {
  const channel = cadence ? rememberedCadence(cadence).channel : null;
  const now = app.clock.now().getTime();
  if (watch) {
    const isYoung = now - watch.openedAt.getTime() < shortestPatienceMs;
    return !isYoung && isDoubted({ ...watch, channel }) ? [openJob(feed.id, "missed")] : [];
  }
  const isDue = (feed.watch_due_at?.getTime() ?? 0) <= now;
  return isPushed(app, feed) && isDue ? [openJob(feed.id, "missing")] : [];
}

/** Whether a feed has a watch, or should have one. */
function isPushed(app: Pick<App, "config">, feed: Feed): boolean {
  const target = sourceOf(feed.kind).channel.targetOf(app.config);
  return target !== null && !feed.is_push_refused && feed.is_push_wanted;
}

/** Asks for the watches that are due: to be opened, renewed, or closed. Returns how many. */
export async function dispatchDueWatches(
  app: Pick<App, "db" | "clock" | "queue" | "config">,
): Promise<number> {
  const now = app.clock.now();
  const claimed = new Date(now.getTime() + 5 * minuteMs);
  return app.db.transaction().execute(async (tx) => {
    const opening = await sql<{ id: string; has_watch: boolean }>`
          update feeds set watch_due_at = ${claimed}
          where id in (
            select id from feeds where ${isOpeningDue(app)} order by watch_due_at limit 500 for update skip locked
          )
          returning id, exists (select from watches where feed_id = feeds.id and state = 'open') as has_watch
        `.execute(tx);
    const closing = await sql<{ id: string }>`
      update watches set close_due_at = ${claimed}
      where id in (
        select id from watches where ${isClosingDue(app)} limit 500 for update skip locked
      )
      returning id
    `.execute(tx);
    await enqueue(app, tx, [
      ...opening.rows.map(({ id, has_watch }) => openJob(id, has_watch ? "renewal" : "retry")),
      ...closing.rows.map(({ id }) => closeJob(id)),
    ]);
    return opening.rows.length + closing.rows.length;
  });
}

/** Whether a watch is to be opened or renewed, as a condition on feeds. */
export function isOpeningDue(app: Pick<App, "clock" | "config">): RawBuilder<boolean> {
  const kinds = pushedKinds(app.config);
  return sql`state = 'active' and is_push_wanted and watch_due_at <= ${app.clock.now()} and kind = any(${kinds})`;
}

/** As a condition on watches. */
export function isClosingDue(app: Pick<App, "clock">): RawBuilder<boolean> {
  return sql`state = 'closing' and close_due_at <= ${app.clock.now()}`;
}

function openJob(feedId: string, reason: WatchReason): NewJob {
  return { name: "watches.open", payload: { feedId, reason }, key: feedId };
}
