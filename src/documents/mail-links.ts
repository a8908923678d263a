import { sql } from "kysely";
import type { App } from "../app.ts";
import type { Db, Tx } from "../db/connection.ts";
import { AppError } from "../lib/errors.ts";
import type { NewJob } from "../queue/queue.ts";
import { tellOwner } from "./classification.ts";
import type { WatchedFile } from "./file-news.ts";
import type { FileWish } from "./file-subscriptions.ts";

/** A file of Google Drive that a mail links to, and how it stands. */
export type MailLink = {
  file_id: string;
  /** `unseen`: none of its user's accounts sees it. `stopped`: somebody no longer wants to follow it. */
  state: "waiting" | "followed" | "unseen" | "stopped";
  reason: string | null;
  /** The file's own; folders have none. */
  document_id: string | null;
  title: string | null;
};

/** Notes the files that a mail links to, and no others. Returns the job that follows them. */
export async function keepLinks(
  app: Pick<App, "clock">,
  tx: Tx,
  { documentId, userId, fileIds }: { documentId: string; userId: string; fileIds: string[] },
): Promise<NewJob[]> {
  await tx.deleteFrom("document_links").where("document_id", "=", documentId).execute();
  if (fileIds.length === 0) return [];
  const now = app.clock.now();
  await tx
    .insertInto("document_links")
    .values(
      fileIds.map((file_id) => ({
        document_id: documentId,
        user_id: userId,
        file_id,
        created_at: now,
        updated_at: now,
      })),
    )
    .execute();
  return [linksJob(documentId)];
}

type Follow = (userId: string, wish: FileWish) => Promise<WatchedFile>;
type Waiting = { document_id: string; user_id: string; file_id: string; updated_at: Date };
type Outcome = { state: "found" | "unseen"; target_id: string | null; reason: string | null };

/**
 * Follows the files that a mail links to and that were not looked for yet. What none of its user's accounts sees is
 * followed once one does (`addWatched`).
 *
 * @throws {AppError} when one could not be looked for at the moment; the others were.
 */
export async function followLinks(
  app: Pick<App, "db" | "clock">,
  { documentId }: { documentId: string },
  { follow, signal }: { follow: Follow; signal: AbortSignal },
): Promise<Record<Outcome["state"], number>> {
  const links = await app.db
    .selectFrom("document_links")
    .select(["document_id", "user_id", "file_id", "updated_at"])
    .where("document_id", "=", documentId)
    .where("state", "=", "waiting")
    .execute();
  const counts = { found: 0, unseen: 0 };
  let refusal: AppError | null = null;
  for (const link of links) {
    signal.throwIfAborted();
    try {
      const outcome = await lookFor(follow, link);
      await keepOutcome(app, link, outcome);
      counts[outcome.state] += 1;
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      refusal = error;
    }
  }
  if (refusal) throw refusal;
  return counts;
}

async function lookFor(follow: Follow, { user_id, file_id }: Waiting): Promise<Outcome> {
  try {
    const file = await follow(user_id, { fileId: file_id, documentId: null, origin: "linked" });
    return { state: "found", target_id: file.file_id, reason: null };
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== "not_found") throw error;
    return { state: "unseen", target_id: null, reason: error.message };
  }
}

async function keepOutcome(
  app: Pick<App, "db" | "clock">,
  { document_id, user_id, file_id, updated_at }: Waiting,
  outcome: Outcome,
): Promise<void> {
  await app.db.transaction().execute(async (tx) => {
    await tx
      .updateTable("document_links")
      .set({ ...outcome, updated_at: app.clock.now() })
      .where("document_id", "=", document_id)
      .where("file_id", "=", file_id)
      // A Drive that was connected since may see it, and its job looks once more.
      .$if(outcome.state === "unseen", (query) => query.where("updated_at", "=", updated_at))
      .execute();
    await tellOwner(tx, user_id, document_id);
  });
}

/** The jobs that look for linked files once more, since a Drive was connected that may see them. */
export async function seekLinksAgain(
  app: Pick<App, "clock">,
  tx: Tx,
  userId: string,
): Promise<NewJob[]> {
  const { rows } = await sql<{ document_id: string }>`
    update document_links set state = 'waiting', reason = null, updated_at = ${app.clock.now()}
    where document_id in (
      select document_id from document_links where user_id = ${userId} and state <> 'found'
      order by created_at desc limit 500
    ) and state <> 'found'
    returning document_id
  `.execute(tx);
  return [...new Set(rows.map(({ document_id }) => document_id))].map(linksJob);
}

/** What a document links to. What is known of a file itself goes before what was found when it was looked for. */
export async function listLinks(app: { db: Db }, documentId: string): Promise<MailLink[]> {
  const { rows } = await sql<MailLink>`
    select link.file_id, file.document_id, coalesce(documents.title, file.name) as title,
      case when file.state = 'stopped' then 'stopped' when file.state in ('active', 'trashed') then 'followed'
        when link.state = 'waiting' then 'waiting' else 'unseen' end as state,
      case when file.id is not null then file.state_reason
        when link.state = 'found' then 'The account that saw it is no longer connected' else link.reason end as reason
    from document_links as link
    left join watched_files as file
      on file.user_id = link.user_id and file.file_id = coalesce(link.target_id, link.file_id)
    left join documents on documents.id = file.document_id
    where link.document_id = ${documentId}
    order by link.created_at, link.file_id
  `.execute(app.db);
  return rows;
}

function linksJob(documentId: string): NewJob {
  return { name: "mail.links", payload: { documentId }, key: documentId };
}
