import { sql } from "kysely";
import type { Tx } from "../db/connection.ts";

/** Says in `calendar_webhooks`, where the older product's pages read it, that no push comes for some feeds any longer. */
export async function endOlderPush(tx: Tx, feedIds: string[], now: Date): Promise<void> {
  await sql`
    update calendar_webhooks set is_active = false, updated_at = ${now}::timestamptz
    from watches
    where watches.feed_id = any(${feedIds}::uuid[]) and calendar_webhooks.webhook_id = watches.id::text
      and calendar_webhooks.is_active
  `.execute(tx);
}

/** The same, and in `gmail_watches` that a mailbox is not read any longer, where nobody else's feed reads it. */
export async function endOlderWatches(tx: Tx, feedIds: string[], now: Date): Promise<void> {
  await endOlderPush(tx, feedIds, now);
  await sql`
    with ended as (
      select lower(connections.email) as email from feeds join connections on connections.id = feeds.connection_id
      where feeds.id = any(${feedIds}::uuid[]) and feeds.kind = 'gmail'
    )
    update gmail_watches set is_active = false, updated_at = ${now}::timestamptz
    from ended
    where lower(user_email) = ended.email and is_active and not exists (
      select from feeds join connections on connections.id = feeds.connection_id
      where feeds.kind = 'gmail' and feeds.state = 'active' and lower(connections.email) = ended.email
        and feeds.id <> all(${feedIds}::uuid[]))
  `.execute(tx);
}
