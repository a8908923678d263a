import { createHash } from "node:crypto";
import { sql } from "kysely";
import { type GoogleAccess, openGoogleAccess } from "../accounts/google-access.ts";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import { ProviderError } from "../lib/errors.ts";
import {
  type FileChange,
  folderType,
  getFile,
  listFiles,
  readContent,
} from "../providers/google/drive.ts";
import { enqueue, type NewJob } from "../queue/queue.ts";
import { startClassification, tellOwner } from "./classification.ts";
import { startDeliveries } from "./deliveries.ts";
import type { WatchedFile } from "./file-news.ts";
import { type FileText, largestFile, planOf, textOf } from "./file-text.ts";
import {
  addWatched,
  deepest,
  listFolderJob,
  mostInFolder,
  readJob,
  recordFileChanges,
} from "./watched-files.ts";

export type FilesApp = Pick<
  App,
  "db" | "clock" | "config" | "googleOAuth" | "queue" | "log" | "providerLimits"
>;

type Followed = WatchedFile & { connection_id: string; account: string };

const minuteMs = 60_000;
const dayMs = 24 * 60 * minuteMs;

/**
 * Reads the content of a file that is followed, and keeps its text. A first text is classified; another one is handed
 * to the workflow; the same again causes nothing. What fails is kept with the file, and tried again apart from all
 * others, in the end once a day.
 */
export async function readFile(
  app: FilesApp,
  { watchedFileId }: { watchedFileId: string },
  { signal }: { signal: AbortSignal },
): Promise<{ read: number }> {
  const file = await findFollowed(app, watchedFileId);
  if (file?.state !== "active" || file.is_folder || file.read_key === file.content_key) {
    return { read: 0 };
  }
  try {
    const google = openGoogleAccess(app, file.connection_id);
    const text = await readText(google, file, signal);
    await app.db.transaction().execute((tx) => keepText(app, tx, file, text));
    return { read: 1 };
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof ProviderError)) throw error;
    await keepFailure(app, file, error);
    return { read: 0 };
  }
}

async function findFollowed(app: FilesApp, id: string): Promise<Followed | null> {
  const file = await app.db
    .selectFrom("watched_files")
    .innerJoin("feeds", "feeds.id", "watched_files.feed_id")
    .innerJoin("connections", "connections.id", "feeds.connection_id")
    .selectAll("watched_files")
    .select(["feeds.connection_id", "connections.email as account"])
    .where("watched_files.id", "=", id)
    .executeTakeFirst();
  return file ? { ...file, account: file.account ?? "Daybook" } : null;
}

async function readText(
  { request }: GoogleAccess,
  file: Followed,
  signal: AbortSignal,
): Promise<FileText> {
  const size = file.size === null ? null : Number(file.size);
  const plan = planOf({ mimetype: file.mimetype, name: file.name, size });
  if (typeof plan === "string") return { text: null, cut: plan };
  try {
    const content = await readContent(request, {
      fileId: file.file_id,
      exportAs: plan.exportAs,
      maxBytes: largestFile,
      signal,
    });
    return await textOf(content, plan.kind, { signal });
  } catch (error) {
    const why = error instanceof ProviderError ? refusals[error.reason] : undefined;
    if (why === undefined) throw error;
    return { text: null, cut: why };
  }
}

// What Google does not give, and will not give at another time either. Source: Drive API, "Resolve errors".
const refusals: Record<string, string> = {
  exportSizeLimitExceeded: "It is larger than the 10 MB that Google exports",
  answer_too_large: `It is larger than ${largestFile / 1_000_000} MB`,
  cannotDownloadFile: "Its owner does not let it be downloaded",
  cannotExportFile: "Its owner does not let it be exported",
  fileNotDownloadable: "Google gives no content of a file of this kind",
  fileNotExportable: "Google does not export a file of this kind",
};

async function keepText(
  app: FilesApp,
  tx: Tx,
  { id, content_key: key }: Followed,
  { text, cut }: FileText,
): Promise<void> {
  const file = await tx
    .selectFrom("watched_files")
    .selectAll()
    .where("id", "=", id)
    .forNoKeyUpdate()
    .executeTakeFirst();
  if (file?.state !== "active" || file.read_key === key || !file.document_id) return;
  // It changed while it was read: what was read may be of either.
  if (file.content_key !== key) {
    await enqueue(app, tx, readJob(id));
    return;
  }
  const now = app.clock.now();
  const documentId = file.document_id;
  // Where there is no text, another content is told by Google's own word.
  const hash = createHash("sha256")
    .update(text ?? key ?? "")
    .digest("hex");
  const before = await tx
    .selectFrom("document_texts")
    .select(["hash"])
    .where("document_id", "=", documentId)
    .executeTakeFirst();
  await tx
    .updateTable("watched_files")
    .set({
      read_key: key,
      read_at: now,
      read_failures: 0,
      read_retry_at: null,
      read_error: null,
      updated_at: now,
    })
    .where("id", "=", id)
    .execute();
  if (before?.hash === hash) return;
  const isFirst = before === undefined;
  const kept = { text: text ?? "", cut, hash };
  await tx
    .insertInto("document_texts")
    .values({ document_id: documentId, ...kept })
    .onConflict((conflict) => conflict.column("document_id").doUpdateSet(kept))
    .execute();
  await tx
    .updateTable("documents")
    .set({
      summary: text?.slice(0, 300).replace(/\s+/g, " ").trim() || null,
      last_synced_at: now,
      updated_at: now,
      ...(isFirst ? {} : { status: "updated" as const }),
    })
    .where("id", "=", documentId)
    .execute();
  const jobs = isFirst
    ? await classifyFirst(app, tx, file)
    : await startDeliveries(app, tx, [
        {
          kind: "drive_sync",
          userId: file.user_id,
          documentId,
          // The same content may come back: the version tells one change from another.
          fact: `content ${id} ${file.version ?? now.toISOString()} ${hash}`,
          details: { action: "updated", changed: ["content"], file_id: file.file_id },
        },
      ]);
  await enqueue(app, tx, jobs);
  await tellOwner(tx, file.user_id, documentId);
}

// A document that somebody had before its file was followed has its project, or none, already.
async function classifyFirst(app: FilesApp, tx: Tx, file: WatchedFile) {
  if (file.origin === "subscribed" || !file.document_id) return [];
  const { document_id: documentId, user_id: userId } = file;
  return startClassification(app, tx, { documentId, userId, fact: "followed" });
}

async function keepFailure(app: FilesApp, file: Followed, error: ProviderError): Promise<void> {
  const now = app.clock.now();
  // Only the person helps, and then it is read at once (`unreadFiles`): the file has not failed.
  const isGrants = error.failure === "reauthorise" || error.failure === "scope_missing";
  const failures = file.read_failures + (isGrants ? 0 : 1);
  const usualMs = isGrants ? dayMs : Math.min(10_000 * 2 ** file.read_failures, dayMs);
  const waitMs = Math.max(
    usualMs * (0.75 + Math.random() / 2),
    (error.retryAfterSeconds ?? 0) * 1_000,
  );
  const retryAt = new Date(now.getTime() + waitMs);
  await app.db.transaction().execute(async (tx) => {
    await tx
      .updateTable("watched_files")
      .set({
        read_failures: failures,
        read_retry_at: retryAt,
        read_error: error.message.slice(0, 500),
        updated_at: now,
      })
      .where("id", "=", file.id)
      .execute();
    await enqueue(app, tx, readJob(file.id, retryAt));
  });
}

/** The jobs for files of a connection whose present text is not read, as where its grant was dead. They start afresh. */
export async function unreadFiles(tx: Tx, connectionId: string): Promise<NewJob[]> {
  const { rows } = await sql<{ id: string }>`
    with unread as (
      select file.id from watched_files as file join feeds on feeds.id = file.feed_id
      where feeds.connection_id = ${connectionId} and feeds.state = 'active' and file.state = 'active'
        and not file.is_folder and file.read_key is distinct from file.content_key
      -- What is more than that has its own next try.
      order by file.modified_at desc nulls last limit 1000
    ),
    -- A run that writes to some just now takes its feed after them: nobody waits for it here.
    free as (
      select id from watched_files where id in (select id from unread) for update skip locked
    ),
    reset as (
      update watched_files set read_failures = 0, read_retry_at = null, read_error = null
      from free where watched_files.id = free.id
    )
    select id from unread
  `.execute(tx);
  return rows.map(({ id }) => readJob(id));
}

/**
 * Looks at one file by itself, and takes what it says as the log of changes would. A file that is not found was deleted,
 * or is no longer shared, which is certain where a list of all files did not name it, or an earlier look did not find it
 * either (`isMissing`).
 *
 * @throws {ProviderError} where Google does not answer.
 */
export async function checkFile(
  app: FilesApp,
  { watchedFileId }: { watchedFileId: string },
  { signal, isMissing = true }: { signal?: AbortSignal; isMissing?: boolean } = {},
): Promise<{ checked: number }> {
  const file = await findFollowed(app, watchedFileId);
  if (!file || file.state === "stopped") return { checked: 0 };
  const { request } = openGoogleAccess(app, file.connection_id);
  const change = await getFile(request, file.file_id, { signal }).then(
    (found): FileChange => ({ type: "file", file: found, at: null }),
    (error: unknown): FileChange => {
      if (!(error instanceof ProviderError) || error.failure !== "not_found") throw error;
      return { type: "removed", fileId: file.file_id, at: null, isCertain: isMissing };
    },
  );
  await app.db.transaction().execute(async (tx) => {
    const account = {
      feedId: file.feed_id,
      userId: file.user_id,
      account: file.account,
    };
    const { jobs, told } = await recordFileChanges(app, tx, account, [change], 0);
    await enqueue(app, tx, jobs);
    for (const [userId, ids] of told) for (const id of ids) await tellOwner(tx, userId, id);
  });
  return { checked: 1 };
}

/** Follows what lies in a watched folder already, page by page, as deep and as much as the limits let. */
export async function listFolder(
  app: FilesApp,
  { watchedFileId }: { watchedFileId: string },
  { signal }: { signal: AbortSignal },
): Promise<{ followed: number }> {
  const folder = await findFollowed(app, watchedFileId);
  if (folder?.state !== "active" || !folder.is_folder || folder.depth >= deepest) {
    return { followed: 0 };
  }
  const { request } = openGoogleAccess(app, folder.connection_id);
  const q = `'${folder.file_id.replace(/[\\']/g, "\\$&")}' in parents and trashed = false`;
  let followed = 0;
  for (let pageToken: string | null = null; ; ) {
    const page = await listFiles(request, { q, pageToken, pageSize: 1_000, signal });
    const files = page.changes.flatMap((change) => (change.type === "file" ? [change.file] : []));
    const count = await app.db.transaction().execute(async (tx) => {
      if (!(await holdActive(tx, folder))) return null;
      const left = await leftIn(tx, folder);
      const wanted = files
        .filter(({ isTrashed, targetId }) => !isTrashed && targetId === null)
        // Folders first: what is cut off are files of the last of them.
        .sort(
          (one, other) =>
            Number(other.mimeType === folderType) - Number(one.mimeType === folderType),
        )
        .slice(0, Math.max(0, left))
        .map((file) => ({
          file,
          userId: folder.user_id,
          origin: "folder" as const,
          folderId: folder.id,
          depth: folder.depth + 1,
        }));
      if (wanted.length < files.length && left < files.length) await noteFull(tx, folder);
      const added = await addWatched(app, tx, folder.feed_id, wanted);
      await enqueue(
        app,
        tx,
        added.map(({ id, isFolder }) => (isFolder ? listFolderJob(id) : readJob(id))),
      );
      return added.length;
    });
    followed += count ?? 0;
    pageToken = page.nextPageToken;
    if (pageToken === null || count === null) return { followed };
  }
}

// Until the transaction ends nobody stops following it, nor writes what another listing of it found.
async function holdActive(tx: Tx, { id }: Followed): Promise<boolean> {
  const held = await tx
    .selectFrom("watched_files")
    .select("id")
    .where("id", "=", id)
    .where("state", "=", "active")
    .forNoKeyUpdate()
    .executeTakeFirst();
  return held !== undefined;
}

// How many more the folder that was asked for takes, with all below it.
async function leftIn(tx: Tx, { id }: Followed): Promise<number> {
  const { rows } = await sql<{ count: string }>`
    with recursive top as (
      select id, folder_id from watched_files where id = ${id}
      union all
      select above.id, above.folder_id from top join watched_files as above on above.id = top.folder_id
    ),
    tree as (
      select id from top where folder_id is null
      union all
      select below.id from tree join watched_files as below on below.folder_id = tree.id
    )
    select count(*) from tree
  `.execute(tx);
  // The folder itself does not count.
  return mostInFolder + 1 - Number(rows[0]?.count ?? 0);
}

async function noteFull(tx: Tx, folder: Followed): Promise<void> {
  await tx
    .updateTable("watched_files")
    .set({ state_reason: `Only the first ${mostInFolder} files in it and below are followed` })
    .where("id", "=", folder.id)
    .execute();
}
