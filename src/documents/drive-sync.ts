import { sql } from "kysely";
import type { Ended, Payload } from "./deliveries.ts";

/** What the workflow is told of a file: the body that the old functions sent, with the text and its hash besides. */
export const driveSyncPayload: Payload = async (app, delivery) => {
  const document = await app.db
    .selectFrom("documents")
    .leftJoin("document_texts", "document_texts.document_id", "documents.id")
    .leftJoin("watched_files", (join) =>
      join
        .onRef("watched_files.document_id", "=", "documents.id")
        .onRef("watched_files.user_id", "=", "documents.created_by"),
    )
    .select(["documents.id", "documents.project_id", "documents.file_id", "documents.title"])
    .select(["documents.mimetype", "documents.source_url", "documents.status"])
    .select(["document_texts.text", "document_texts.cut", "document_texts.hash"])
    .select(["watched_files.modified_at", "watched_files.version"])
    .where("documents.id", "=", delivery.document_id)
    .executeTakeFirst();
  if (!document) return null;
  const { action, changed, file_id } = delivery.details;
  return {
    document_id: document.id,
    project_id: document.project_id,
    file_id: file_id ?? document.file_id,
    action,
    // The old functions' word, whichever way the change was found.
    source: "drive_polling",
    timestamp: app.clock.now().toISOString(),
    user_id: delivery.user_id,
    changed: changed ?? [],
    title: document.title,
    mimetype: document.mimetype,
    source_url: document.source_url,
    status: document.status,
    version: document.version,
    modified_at: document.modified_at?.toISOString() ?? null,
    content: action === "deleted" ? null : document.text,
    content_cut: document.cut,
    content_hash: document.hash,
  };
};

/** The end of a delivery goes into the log that the older product's pages read. */
export const driveSyncEnded: Ended = async (tx, delivery, { outcome, isOver, error }) => {
  if (!isOver) return;
  const isAccepted = outcome === "accepted";
  await sql`
    insert into drive_webhook_logs (document_id, project_id, file_id, channel_id, resource_id, resource_state,
      webhook_received_at, n8n_webhook_sent, n8n_webhook_response, n8n_webhook_sent_at, error_message)
    select documents.id, documents.project_id, coalesce(${String(delivery.details.file_id ?? "")}, documents.file_id, ''),
      coalesce(watch.id::text, 'polling'), coalesce(watch.resource_id, ''), ${String(delivery.details.action)},
      ${delivery.occurred_at}::timestamptz, ${isAccepted}, ${isAccepted ? "success" : "failed"},
      ${isAccepted ? sql`now()` : null}, ${error}
    from documents
    left join watched_files on watched_files.document_id = documents.id and watched_files.user_id = documents.created_by
    left join lateral (
      select id, resource_id from watches where feed_id = watched_files.feed_id and state = 'open'
      order by opened_at desc limit 1
    ) as watch on true
    where documents.id = ${delivery.document_id}
  `.execute(tx);
};
