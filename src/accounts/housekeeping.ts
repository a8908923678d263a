import { sql } from "kysely";
import type { App } from "../app.ts";

const dayMs = 86_400_000;

/** Deletes what nobody can use any more: ended sessions, old attempts, answers kept for repeats, old records. */
export async function deleteExpiredRows(
  app: Pick<App, "db" | "clock">,
): Promise<Record<string, number>> {
  const now = app.clock.now();
  const before = (days: number) => new Date(now.getTime() - days * dayMs);
  const { db } = app;
  const [
    sessions,
    attempts,
    repeats,
    runs,
    deaths,
    events,
    activity,
    notifications,
    syncRuns,
    metrics,
    syncLogs,
    watches,
    told,
  ] = await Promise.all([
    db
      .deleteFrom("sessions")
      .where((row) => row.or([row("expires_at", "<", now), row("revoked_at", "<", before(1))]))
      .executeTakeFirst(),
    db.deleteFrom("sign_in_attempts").where("expires_at", "<", before(1)).executeTakeFirst(),
    db.deleteFrom("idempotency_keys").where("expires_at", "<", now).executeTakeFirst(),
    db.deleteFrom("schedule_runs").where("started_at", "<", before(30)).executeTakeFirst(),
    db.deleteFrom("grant_deaths").where("died_at", "<", before(90)).executeTakeFirst(),
    db.deleteFrom("user_events").where("created_at", "<", before(2)).executeTakeFirst(),
    db.deleteFrom("user_activity_logs").where("timestamp", "<", before(90)).executeTakeFirst(),
    db.deleteFrom("notifications").where("received_at", "<", before(8)).executeTakeFirst(),
    db.deleteFrom("sync_runs").where("started_at", "<", before(30)).executeTakeFirst(),
    db
      .deleteFrom("sync_performance_metrics")
      .where("timestamp", "<", before(90))
      .executeTakeFirst(),
    db.deleteFrom("calendar_sync_logs").where("created_at", "<", before(90)).executeTakeFirst(),
    db
      .deleteFrom("watches")
      .where("state", "in", ["closed", "failed"])
      .where("expires_at", "<", before(30))
      .executeTakeFirst(),
    sql`delete from bot_notifications where received_at < ${before(8)}`.execute(db),
    // Called off before they came; what has been in a meeting stays with it.
    sql`
      delete from bots where is_over and wish is not null and not is_orphaned and updated_at < ${before(30)}
        and not exists (select from meetings where bot_id = bots.id)
        and not exists (select from bot_meetings where bot_id = bots.id)
    `.execute(db),
  ]);
  const count = (result: { numDeletedRows: bigint }) => Number(result.numDeletedRows);
  return {
    sessions: count(sessions),
    sign_in_attempts: count(attempts),
    idempotency_keys: count(repeats),
    schedule_runs: count(runs),
    grant_deaths: count(deaths),
    user_events: count(events),
    user_activity_logs: count(activity),
    notifications: count(notifications),
    sync_runs: count(syncRuns),
    sync_performance_metrics: count(metrics),
    calendar_sync_logs: count(syncLogs),
    watches: count(watches),
    bot_notifications: Number(told.numAffectedRows ?? 0n),
  };
}
