import { sql } from "kysely";
import type { Tx } from "../db/connection.ts";

/** Keeps which entries of a feed could not be read, and why. */
export async function recordSkipped(
  tx: Tx,
  feedId: string,
  items: { id: string | null; problem: string }[],
  now: Date,
): Promise<void> {
  if (items.length === 0) return;
  const byItem = new Map(items.map(({ id, problem }) => [id ?? "unnamed", problem]));
  const rows = [...byItem].map(([item, problem]) => ({ item: item.slice(0, 1024), problem }));
  await sql`
    insert into skipped_changes (feed_id, item, problem, first_seen_at, last_seen_at)
    select ${feedId}::uuid, item, problem, ${now}::timestamptz, ${now}::timestamptz
    from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) as skipped (item text, problem text)
    on conflict (feed_id, item) do update set problem = excluded.problem, last_seen_at = excluded.last_seen_at
  `.execute(tx);
}

/** What cannot be read is there all the same: a sweep must not take what we had of it. */
export async function markSeen(
  tx: Tx,
  feedId: string,
  eventIds: string[],
  generation: number,
): Promise<void> {
  if (eventIds.length === 0) return;
  await tx
    .updateTable("calendar_events")
    .set({ generation })
    .where("feed_id", "=", feedId)
    .where("event_id", "in", eventIds)
    .execute();
}
