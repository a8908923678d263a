import { randomUUID } from "node:crypto";
import { type RawBuilder, type Selectable, sql } from "kysely";
import { z } from "zod";
import { endOlderWatches } from "../accounts/older-watches.ts";
import type { App } from "../app.ts";
import type { Db, Tx } from "../db/connection.ts";
import type { Tables } from "../db/tables.ts";
import { unreadFiles } from "../documents/file-reading.ts";
import { lockLeftMails, moveMails, unreadMails } from "../documents/mail.ts";
import { seekLinksAgain } from "../documents/mail-links.ts";
import { AppError } from "../lib/errors.ts";
import { capabilities } from "../providers/google/scopes.ts";
import { enqueue, type NewJob } from "../queue/queue.ts";

/** One stream of changes that we follow, with the account that it is read through. */
export type Feed = Selectable<Tables["feeds"]> & {
  account_email: string | null;
  user_zone: string | null;
  user_role: string | null;
};

export type FeedKind = Feed["kind"];

type Part = Pick<App, "db" | "clock" | "queue" | "config">;

// A run holds its feed for this long and says every few seconds that it lives. A process that dies lets go of it then.
const leaseSeconds = 20;
const heartbeatMs = 5_000;
// One account with many calendars must not keep all workers busy.
const runsPerConnection = 3;

/** A feed of this user. @throws {AppError} `not_found` */
export async function getFeed(app: { db: Db }, userId: string, feedId: string): Promise<Feed> {
  const feed = await selectFeeds(app.db)
    .where("feeds.id", "=", feedId)
    .where("feeds.user_id", "=", userId)
    .executeTakeFirst();
  if (!feed) throw new AppError("not_found", `No feed ${feedId}`);
  return feed;
}

/** A feed of whomever. */
export async function findFeed(app: { db: Db }, feedId: string): Promise<Feed | null> {
  return (await selectFeeds(app.db).where("feeds.id", "=", feedId).executeTakeFirst()) ?? null;
}

/** The feed that a watch is for. */
export async function findFeedOfWatch(app: { db: Db }, watchId: string): Promise<Feed | null> {
  if (!z.guid().safeParse(watchId).success) return null;
  const found = await selectFeeds(app.db)
    .innerJoin("watches", "watches.feed_id", "feeds.id")
    .where("watches.id", "=", watchId)
    .executeTakeFirst();
  return found ?? null;
}

/** All feeds of a user, or those of some kinds, those of the account that signs in first. */
export async function listFeeds(
  app: { db: Db },
  userId: string,
  kinds?: FeedKind[],
): Promise<Feed[]> {
  let query = selectFeeds(app.db).where("feeds.user_id", "=", userId);
  if (kinds) query = query.where("feeds.kind", "in", kinds);
  return query
    .orderBy("connections.is_sign_in", "desc")
    .orderBy("feeds.connection_id")
    .orderBy("feeds.kind")
    .orderBy("feeds.is_primary", "desc")
    .orderBy("feeds.title")
    .orderBy("feeds.id")
    .execute();
}

/** How many feeds are active, and how many of them failed last, by service. */
export async function countFollowed(app: {
  db: Db;
}): Promise<{ service: string; active: number; failing: number }[]> {
  const { rows } = await sql<{ service: string; active: number; failing: number }>`
    select case when kind = 'calendar_list' then 'calendar' else kind end as service, count(*)::int as active,
      (count(*) filter (where failures > 0))::int as failing
    from feeds where state = 'active' group by 1
  `.execute(app.db);
  return rows;
}

/** Everybody's active feeds of some kinds. */
export async function listFeedsOf(app: { db: Db }, kinds: FeedKind[]): Promise<Feed[]> {
  return selectFeeds(app.db)
    .where("kind", "in", kinds)
    .where("feeds.state", "=", "active")
    .execute();
}

/** Everybody's feeds of a kind that are read through an account, whatever the case of its address. */
export async function listFeedsOfAccount(
  app: { db: Db },
  kind: FeedKind,
  email: string,
): Promise<Feed[]> {
  return selectFeeds(app.db)
    .where("feeds.kind", "=", kind)
    .where(sql<string>`lower(connections.email)`, "=", email.toLowerCase())
    .orderBy("feeds.id")
    .execute();
}

/** What became of the wish to run a feed. */
export type Lease =
  | { outcome: "taken"; feed: Feed; owner: string }
  /** Another run is on it, and will be followed by one more. Should it die, it lets go after `waitMs`. */
  | { outcome: "running"; waitMs: number }
  /** The account has as many runs as it may have at once; the next of them to end calls this feed. */
  | { outcome: "crowded"; waitMs: number }
  /** It is not followed, or no longer there. */
  | { outcome: "idle" };

/**
 * Takes a feed for one run, across all processes. Where another run holds it, that run is asked, in the same statement,
 * to be followed by one more: however many ask, it is one. A feed that failed is left alone until its next try, unless
 * `now` is null: somebody cannot wait.
 */
export async function takeLease(app: { db: Db }, feedId: string, now: Date | null): Promise<Lease> {
  const owner = randomUUID();
  const { rows } = await sql<{ is_taken: boolean; is_crowded: boolean; held_ms: number }>`
    with wanted as (
      select id, lease_until > now() as is_held,
        (select count(*) from feeds as other where other.connection_id = feeds.connection_id
          and other.lease_until > now()) >= ${runsPerConnection} as is_crowded
      from feeds where id = ${feedId} and state = 'active'
        and (retry_at is null or ${now}::timestamptz is null or retry_at <= ${now}::timestamptz)
      for update
    )
    update feeds set
      wanted_again = coalesce(wanted.is_held, false),
      lease_owner = case when wanted.is_held or wanted.is_crowded then lease_owner else ${owner}::uuid end,
      lease_until = case when wanted.is_held or wanted.is_crowded then lease_until
        else now() + make_interval(secs => ${leaseSeconds}) end,
      crowded_out_at = case when wanted.is_crowded and not coalesce(wanted.is_held, false) then now() end,
      runs_started = runs_started + case when wanted.is_held or wanted.is_crowded then 0 else 1 end
    from wanted where feeds.id = wanted.id
    returning coalesce(lease_owner = ${owner}::uuid, false) as is_taken,
      not coalesce(wanted.is_held, false) and wanted.is_crowded as is_crowded,
      coalesce(extract(epoch from lease_until - now()) * 1000, 0)::float8 as held_ms
  `.execute(app.db);
  const [row] = rows;
  if (!row) return { outcome: "idle" };
  if (row.is_crowded) return { outcome: "crowded", waitMs: 5_000 };
  if (!row.is_taken) return { outcome: "running", waitMs: row.held_ms + 1000 };
  const feed = await selectFeeds(app.db).where("feeds.id", "=", feedId).executeTakeFirst();
  return feed ? { outcome: "taken", feed, owner } : { outcome: "idle" };
}

/** Holds the feed for as long as the run lives, however long the provider takes to answer. */
export function keepLease(app: { db: Db }, lease: { feedId: string; owner: string }): Disposable {
  const beat = () =>
    app.db
      .updateTable("feeds")
      .set({ lease_until: sql<Date>`now() + make_interval(secs => ${leaseSeconds})` })
      .where("id", "=", lease.feedId)
      .where("lease_owner", "=", lease.owner)
      .execute()
      // A beat that is missed is no harm; the next one, or the fence of the next page, decides.
      .catch(() => {});
  const timer = setInterval(beat, heartbeatMs);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** What a run writes about its feed in one of its transactions. `details` are merged into what is there. */
export type FeedPatch = Partial<
  Omit<
    Feed,
    | "id"
    | "user_id"
    | "connection_id"
    | "kind"
    | "resource"
    | "lease_owner"
    | "lease_until"
    | "wanted_again"
  >
>;

/** The feed as it is after a patch. */
export function patched(feed: Feed, patch: FeedPatch): Feed {
  return { ...feed, ...patch, details: { ...feed.details, ...patch.details } };
}

/**
 * Writes to the feed as the run that holds it, and holds it for longer, or lets go of it. Returns whether one more run
 * was asked for. The row stays locked until the transaction ends, so that nobody asks in between.
 *
 * @throws {LeaseLostError} when another run has taken over, or the feed is no longer followed.
 */
export async function updateUnderLease(
  tx: Tx,
  lease: { feedId: string; owner: string },
  patch: FeedPatch,
  end: "hold" | "release",
): Promise<{ isWantedAgain: boolean }> {
  const { details, reading, due_reason, cadence, ...plain } = patch;
  const updated = await tx
    .with("held", (db) =>
      db
        .selectFrom("feeds")
        .select(["id", "wanted_again"])
        .where("id", "=", lease.feedId)
        .where("lease_owner", "=", lease.owner)
        .forUpdate(),
    )
    .updateTable("feeds")
    .from("held")
    .set({
      ...plain,
      ...(details === undefined
        ? {}
        : { details: sql<string>`details || ${JSON.stringify(details)}::jsonb` }),
      ...(reading === undefined ? {} : { reading: reading && JSON.stringify(reading) }),
      ...(due_reason === undefined ? {} : { due_reason: due_reason && JSON.stringify(due_reason) }),
      ...(cadence === undefined ? {} : { cadence: cadence && JSON.stringify(cadence) }),
      updated_at: sql<Date>`now()`,
      ...(end === "hold"
        ? { lease_until: sql<Date>`now() + make_interval(secs => ${leaseSeconds})` }
        : {
            lease_owner: null,
            lease_until: null,
            wanted_again: false,
            runs_finished: sql<string>`runs_started`,
          }),
    })
    .whereRef("feeds.id", "=", "held.id")
    .returning("held.wanted_again")
    .executeTakeFirst();
  if (!updated) throw new LeaseLostError(lease.feedId);
  return { isWantedAgain: updated.wanted_again };
}

/**
 * Holds a feed's row until the transaction ends. Whoever writes to a feed and to what hangs on it, its watches, a
 * calendar's events and the older product's copies, takes the feed first, and tells its user last: in any other order two
 * of them could wait for each other for ever. Files and mails alone come before the feed that they hang on, as for whoever
 * follows one.
 */
export async function lockFeed(tx: Tx, id: string): Promise<void> {
  await tx.selectFrom("feeds").select("id").where("id", "=", id).forUpdate().execute();
}

/**
 * Holds the rows of several feeds. Whoever needs more than one takes them in this order: calendars first, which a reading
 * holds before their events, and their list last, as a reading of it comes to them before its own; else by their ids.
 */
export async function lockFeeds(tx: Tx, ids: string[]): Promise<void> {
  await sql`
    select from feeds where id = any(${ids}) order by kind <> 'calendar', kind = 'calendar_list', id for update
  `.execute(tx);
}

/** The feed of the same account that has waited longest for its turn, as a wish to run it. */
export async function nextInLine(tx: Tx, connectionId: string): Promise<NewJob[]> {
  const waiting = await tx
    .selectFrom("feeds")
    .select(["id", "last_success_at"])
    .where("connection_id", "=", connectionId)
    .where("state", "=", "active")
    .where("crowded_out_at", "is not", null)
    .orderBy("crowded_out_at")
    .executeTakeFirst();
  return waiting ? [syncJob(waiting.id, waiting.last_success_at ? "poll" : "start")] : [];
}

/** Another run has taken the feed over, or it is no longer followed. What was committed stays. */
export class LeaseLostError extends Error {
  override readonly name = "LeaseLostError";
  constructor(feedId: string) {
    super(`The run of feed ${feedId} was overtaken`);
  }
}

/**
 * Follows what a connection allows: makes its feeds, wakes those that waited for it, and puts to rest those that its
 * scopes no longer allow. Safe to repeat; signing in again does.
 */
export async function startFeeds(app: Part, connectionId: string): Promise<{ started: number }> {
  return app.db.transaction().execute(async (tx) => {
    const connection = await tx
      .selectFrom("connections")
      .select(["id", "user_id", "email", "subject", "scopes", "state"])
      .where("id", "=", connectionId)
      // Not its key: a reading of the calendars may make feeds of it meanwhile, with others in its hands.
      .forNoKeyUpdate()
      .executeTakeFirst();
    if (!connection) return { started: 0 };
    const leftMails = await lockLeftMails(tx, connection);
    const feeds = await tx
      .selectFrom("feeds")
      .select("id")
      .where("connection_id", "=", connectionId)
      .execute();
    await lockFeeds(
      tx,
      feeds.map(({ id }) => id),
    );
    const granted = new Set(
      capabilities(connection.scopes).flatMap((one) => (one.granted ? [one.name] : [])),
    );
    const kinds: readonly { kind: FeedKind; covers: readonly FeedKind[] }[] = rootKinds.filter(
      ({ kind, needs }) =>
        connection.state === "active" &&
        granted.has(needs) &&
        // Without an address of the assistant there is nothing to look for in a mailbox.
        (kind !== "gmail" || app.config.virtualEmailAddress !== null),
    );
    const now = app.clock.now();
    const rested = await restFeeds(tx, connectionId, {
      except: kinds.flatMap(({ covers }) => covers),
      reason: connection.state === "active" ? "scope_missing" : "reconnect_needed",
    });
    await endOlderWatches(tx, rested, now);
    for (const { kind } of kinds) {
      await tx
        .insertInto("feeds")
        .values({
          user_id: connection.user_id,
          connection_id: connectionId,
          kind,
          resource: "",
          due_at: now,
          ...(kind === "gmail" ? await mailboxStart(app, tx, connection.email) : {}),
        })
        .onConflict((conflict) =>
          conflict.columns(["connection_id", "kind", "resource"]).doNothing(),
        )
        .execute();
    }
    const woken = await wakeFeeds(
      tx,
      connectionId,
      kinds.flatMap(({ covers }) => covers),
      now,
    );
    const isDriveWoken = woken.some(({ kind }) => kind === "drive");
    const follows = new Set(kinds.map(({ kind }) => kind));
    await moveMails(tx, leftMails, connectionId);
    await enqueue(app, tx, [
      ...woken.map(({ id }) => syncJob(id, "start")),
      ...(isDriveWoken ? await seekLinksAgain(app, tx, connection.user_id) : []),
      ...(follows.has("gmail") ? await unreadMails(tx, connectionId) : []),
      ...(follows.has("drive") ? await unreadFiles(tx, connectionId) : []),
    ]);
    return { started: woken.length };
  });
}

// A mailbox that was followed before, by the older product or until it was disconnected, goes on from where that stood.
async function mailboxStart(app: Part, tx: Tx, email: string | null) {
  const watch = await tx
    .selectFrom("gmail_watches")
    .select(["history_id", "last_poll_at", "updated_at"])
    .where(sql<string>`lower(user_email)`, "=", (email ?? "").toLowerCase())
    .executeTakeFirst();
  const isKnown = watch !== undefined && /^\d{1,20}$/.test(watch.history_id);
  const missedSince = isKnown ? (watch.last_poll_at ?? watch.updated_at) : null;
  return {
    title: email,
    details: JSON.stringify({
      assistant: app.config.virtualEmailAddress?.split("@")[0],
      ...(missedSince ? { missedSince: missedSince.toISOString() } : {}),
    }),
    ...(isKnown ? { cursor: watch.history_id, cursor_shape: gmailShape } : {}),
  };
}

/** The parameters that a mailbox's cursor is bound to. */
export const gmailShape = "history v1";

/** What a connection has one of, and the kinds that come with it. */
const rootKinds = [
  { kind: "calendar_list", needs: "calendar", covers: ["calendar_list", "calendar"] },
  { kind: "gmail", needs: "gmail", covers: ["gmail"] },
  { kind: "drive", needs: "drive", covers: ["drive"] },
] as const satisfies { kind: FeedKind; needs: string; covers: FeedKind[] }[];

// Until the connection is renewed. What was read stays. Returns the ids of those that rest.
async function restFeeds(
  tx: Tx,
  connectionId: string,
  { except, reason }: { except: readonly FeedKind[]; reason: string },
): Promise<string[]> {
  let query = tx
    .updateTable("feeds")
    .set({
      state: "paused",
      state_reason: reason,
      due_at: null,
      watch_due_at: null,
      // A run that is on it must not write any more.
      lease_owner: null,
      lease_until: null,
    })
    .where("connection_id", "=", connectionId)
    .where("state", "!=", "stopped");
  if (except.length > 0) query = query.where("kind", "not in", except);
  return (await query.returning("id").execute()).map(({ id }) => id);
}

async function wakeFeeds(
  tx: Tx,
  connectionId: string,
  kinds: FeedKind[],
  now: Date,
): Promise<Pick<Feed, "id" | "kind">[]> {
  if (kinds.length === 0) return [];
  return tx
    .updateTable("feeds")
    .set({
      state: "active",
      state_reason: null,
      due_at: now,
      failures: 0,
      retry_at: null,
      last_error: null,
      last_error_reason: null,
    })
    .where("connection_id", "=", connectionId)
    .where("kind", "in", kinds)
    .where((row) => row.or([row("state", "=", "paused"), row("last_success_at", "is", null)]))
    .where("state", "!=", "stopped")
    .returning(["id", "kind"])
    .execute();
}

/** A wish to run a feed. Of those that wait for the same feed there is one; people come before the clock. */
export function syncJob(feedId: string, reason: "start" | "poll" | "push" | "person"): NewJob {
  const priority = { person: 3, start: 2, push: 1, poll: 0 }[reason];
  return { name: "feeds.sync", payload: { feedId, reason }, key: feedId, priority };
}

/**
 * Asks for a run of every feed that is due, in batches, whoever else does the same: each is claimed by one. Its due
 * time moves on at once, so that a wish that is lost is made again. Of a user with very many the first few of a batch
 * are run in their turn, the others after everybody's.
 *
 * @returns how many were due.
 */
export async function dispatchDueFeeds(app: Part): Promise<number> {
  let dispatched = 0;
  for (;;) {
    const count = await app.db.transaction().execute(async (tx) => {
      const now = app.clock.now();
      const { rows } = await sql<{ id: string; user_id: string }>`
        with due as (
          select id, due_at from feeds where ${isFeedDue(app)}
          order by due_at limit ${batch} for update skip locked
        ),
        claimed as (
          update feeds set due_at = ${new Date(now.getTime() + claimMs)}
          from due where feeds.id = due.id
          returning feeds.id, feeds.user_id, due.due_at
        )
        select id, user_id from claimed order by due_at
      `.execute(tx);
      await enqueue(app, tx, inTurn(rows));
      return rows.length;
    });
    dispatched += count;
    if (count < batch) return dispatched;
  }
}

/** As a condition on feeds. */
export function isFeedDue(app: Pick<App, "clock">): RawBuilder<boolean> {
  return sql`state = 'active' and due_at <= ${app.clock.now()}`;
}

const batch = 500;
const claimMs = 10 * 60_000;
const firstOfUser = 5;
const afterEverybody = -1;

// Jobs start by priority, then by age.
function inTurn(feeds: { id: string; user_id: string }[]): NewJob[] {
  const turns = new Map<string, number>();
  return feeds.map(({ id, user_id }) => {
    const turn = (turns.get(user_id) ?? 0) + 1;
    turns.set(user_id, turn);
    const job = syncJob(id, "poll");
    return turn <= firstOfUser ? job : { ...job, priority: afterEverybody };
  });
}

function selectFeeds(db: Db | Tx) {
  return db
    .selectFrom("feeds")
    .innerJoin("connections", "connections.id", "feeds.connection_id")
    .innerJoin("users", "users.id", "feeds.user_id")
    .selectAll("feeds")
    .select([
      "connections.email as account_email",
      "users.time_zone as user_zone",
      "users.role as user_role",
    ]);
}
