import { sql } from "kysely";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import type { DriveFile } from "../providers/google/drive.ts";

/**
 * Copies what is followed to `drive_file_watches`: the older product's pages read it there, and a Drive that is connected
 * once more is followed as it was by it.
 */
export async function mirrorWatches(
  app: Pick<App, "clock">,
  tx: Tx,
  watchedIds: string[],
): Promise<void> {
  if (watchedIds.length === 0) return;
  const now = app.clock.now();
  await sql`
    insert into drive_file_watches (document_id, project_id, file_id, channel_id, resource_id, expiration, is_active,
      created_at, updated_at)
    select watched.document_id, documents.project_id, watched.file_id, coalesce(watch.id, watched.feed_id)::text,
      coalesce(watch.resource_id, ''), coalesce(watch.expires_at, ${now}::timestamptz), true, ${now}::timestamptz,
      ${now}::timestamptz
    from watched_files as watched
    join documents on documents.id = watched.document_id
    left join lateral (
      select id, resource_id, expires_at from watches where feed_id = watched.feed_id and state = 'open'
      order by opened_at desc limit 1
    ) as watch on true
    where watched.id = any(${watchedIds})
    on conflict (document_id, file_id) where is_active do nothing
  `.execute(tx);
}

/** What the older product has followed goes on being followed, with its document. */
export async function followedBefore(
  tx: Tx,
  userId: string,
  files: DriveFile[],
): Promise<Map<string, string>> {
  const rows = await tx
    .selectFrom("drive_file_watches")
    .innerJoin("documents", "documents.id", "drive_file_watches.document_id")
    .select(["drive_file_watches.file_id", "documents.id"])
    .where("drive_file_watches.is_active", "=", true)
    .where("documents.created_by", "=", userId)
    .where(
      "drive_file_watches.file_id",
      "in",
      files.map(({ id }) => id),
    )
    .execute();
  return new Map(rows.map(({ file_id, id }) => [file_id, id]));
}
