import { type Selectable, sql } from "kysely";
import type { Db, Tx } from "../db/connection.ts";
import type { Tables } from "../db/tables.ts";
import { apiOf } from "./prices.ts";
import type { Run, RunEnd } from "./sync.ts";

type Outcome = RunEnd & {
  finishedAt: Date;
  outcome: "succeeded" | "failed" | "interrupted";
  error: string | null;
};

// The older product's words for how pressing a sync was.
const pressing = {
  person: "immediate",
  push: "fast",
  start: "normal",
  poll: "background",
} as const;

/** Keeps what a run did: for the feed's own history, and in the tables that the older product's pages read. */
export async function recordRun(tx: Tx, run: Run, end: Outcome): Promise<void> {
  const { feed, reason, total, mode } = run;
  const counts = {
    processed: Math.max(total.examined, total.created + total.updated + total.deleted),
    created: total.created,
    updated: total.updated,
    deleted: total.deleted,
  };
  await tx
    .with("kept", (db) =>
      db.insertInto("sync_runs").values({
        feed_id: feed.id,
        user_id: feed.user_id,
        run_number: feed.runs_started,
        reason,
        mode,
        started_at: run.startedAt,
        finished_at: end.finishedAt,
        duration_ms: end.durationMs,
        outcome: end.outcome,
        ...counts,
        skipped: total.skipped,
        pages: run.pages,
        auto_scheduled: total.meetings.autoScheduled,
        virtual_mails: total.virtualMails,
        provider_calls: end.providerCalls,
        error: end.error,
      }),
    )
    .insertInto("sync_performance_metrics")
    .values({
      user_id: feed.user_id,
      service_type: apiOf[feed.kind],
      sync_type: pressing[reason],
      total_processed: counts.processed,
      total_created: counts.created,
      total_updated: counts.updated,
      total_deleted: counts.deleted,
      auto_scheduled_meetings: total.meetings.autoScheduled,
      virtual_emails_detected: total.virtualMails,
      sync_duration_ms: end.durationMs,
      processed_count: counts.processed,
      created_count: counts.created,
      updated_count: counts.updated,
      deleted_count: counts.deleted,
      duration_ms: end.durationMs,
      success: end.outcome === "succeeded",
      error_message: end.error,
      timestamp: end.finishedAt,
    })
    .execute();
  if (feed.kind === "gmail") await mirrorMailbox(tx, run, end);
  if (feed.kind !== "calendar") return;
  await tx
    .insertInto("calendar_sync_logs")
    .values({
      user_id: feed.user_id,
      sync_type: logTypeOf(run),
      status: end.outcome === "succeeded" ? "completed" : "failed",
      events_processed: counts.processed,
      meetings_created: total.meetings.created,
      meetings_updated: total.meetings.updated,
      meetings_deleted: total.meetings.deleted,
      error_message: end.error,
      sync_range_start: run.range && new Date(run.range.since),
      sync_range_end: run.range?.until ? new Date(run.range.until) : null,
      duration_ms: end.durationMs,
      created_at: end.finishedAt,
    })
    .execute();
  await mirrorWebhook(tx, run, end);
}

/** What the runs of a feed did, latest first; those with a number below `before`. */
export async function listRuns(
  app: { db: Db },
  feedId: string,
  { before, limit }: { before?: string | undefined; limit: number },
): Promise<Selectable<Tables["sync_runs"]>[]> {
  let query = app.db.selectFrom("sync_runs").selectAll().where("feed_id", "=", feedId);
  if (before) query = query.where("run_number", "<", before);
  return query.orderBy("run_number", "desc").limit(limit).execute();
}

function logTypeOf({ reason, mode }: Run): "initial" | "incremental" | "webhook" | "manual" {
  if (reason === "person") return "manual";
  if (reason === "push") return "webhook";
  return mode === "full" ? "initial" : "incremental";
}

// Pages of the older product read a mailbox's state from `gmail_watches`, and take one whose time is up for dead. Without
// push nothing ends: like the older function they are given a week from each look.
async function mirrorMailbox(tx: Tx, { feed }: Run, { finishedAt }: Outcome): Promise<void> {
  if (!feed.account_email) return;
  await sql`
    insert into gmail_watches as kept (user_email, history_id, expiration, is_active, watch_type, last_poll_at,
      created_at, updated_at)
    select ${feed.account_email}, feeds.cursor, coalesce(watch.expires_at, ${finishedAt}::timestamptz + interval '7 days'), true,
      case when watch.expires_at is null then 'polling' else 'hybrid' end, ${finishedAt}::timestamptz,
      ${finishedAt}::timestamptz, ${finishedAt}::timestamptz
    from feeds left join lateral (
      select expires_at from watches where feed_id = feeds.id and state = 'open' order by opened_at desc limit 1
    ) as watch on true
    where feeds.id = ${feed.id} and feeds.cursor is not null
    on conflict (user_email) do update
    set history_id = excluded.history_id, expiration = excluded.expiration, is_active = true,
      watch_type = excluded.watch_type, last_poll_at = excluded.last_poll_at, updated_at = excluded.updated_at
  `.execute(tx);
}

// Pages of the older product read push and progress from `calendar_webhooks`.
async function mirrorWebhook(tx: Tx, { feed }: Run, { finishedAt }: Outcome): Promise<void> {
  const name = await olderNameOf(tx, feed);
  // Signing in with another account can change the name, and no two rows may have one channel.
  await sql`
    delete from calendar_webhooks where user_id = ${feed.user_id} and google_calendar_id <> ${name}
      and webhook_id in (select id::text from watches where feed_id = ${feed.id})
  `.execute(tx);
  await sql`
    insert into calendar_webhooks as kept (user_id, google_calendar_id, webhook_id, resource_id, expiration_time,
      sync_token, is_active, last_poll_at, created_at, updated_at)
    select feeds.user_id, ${name}, watch.id::text, watch.resource_id, watch.expires_at, feeds.cursor, watch.id is not null,
      ${finishedAt}::timestamptz, ${finishedAt}::timestamptz, ${finishedAt}::timestamptz
    from feeds left join lateral (
      select id, resource_id, expires_at from watches
      where feed_id = feeds.id and state = 'open' order by opened_at desc limit 1
    ) as watch on true
    where feeds.id = ${feed.id}
    on conflict (user_id, google_calendar_id) do update
    set webhook_id = excluded.webhook_id, resource_id = excluded.resource_id,
      expiration_time = excluded.expiration_time, sync_token = excluded.sync_token,
      is_active = excluded.is_active, last_poll_at = excluded.last_poll_at, updated_at = excluded.updated_at
  `.execute(tx);
}

// The main calendar of the account that somebody signs in with, or else connected first, is the one that the older product knew.
async function olderNameOf(tx: Tx, { id, user_id, resource }: Run["feed"]): Promise<string> {
  const main = await tx
    .selectFrom("feeds")
    .innerJoin("connections", "connections.id", "feeds.connection_id")
    .select("feeds.id")
    .where("feeds.user_id", "=", user_id)
    .where("feeds.kind", "=", "calendar")
    .where("feeds.is_primary", "=", true)
    .orderBy("connections.is_sign_in", "desc")
    .orderBy("connections.created_at")
    .orderBy("connections.id")
    .executeTakeFirst();
  return main?.id === id ? "primary" : resource;
}
