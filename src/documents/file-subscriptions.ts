import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import { openGoogleAccess } from "../accounts/google-access.ts";
import type { App } from "../app.ts";
import { type Tx, transactAnew } from "../db/connection.ts";
import { AppError, ProviderError } from "../lib/errors.ts";
import { type DriveFile, folderType, getFile } from "../providers/google/drive.ts";
import { enqueue } from "../queue/queue.ts";
import { tellOwner } from "./classification.ts";
import { startDeliveries, targetOf } from "./deliveries.ts";
import { columnsOf, type WatchedFile } from "./file-news.ts";
import type { FilesApp } from "./file-reading.ts";
import { followedBefore, mirrorWatches } from "./older-watches.ts";
import {
  addWatched,
  type DriveAccount,
  drivesJob,
  listFolderJob,
  readJob,
} from "./watched-files.ts";

/** An account whose log of changes is followed, and the connection that it is read with. */
export type DriveReader = DriveAccount & {
  connectionId: string;
  /** It sees files of many people, and shows each only those that are theirs. */
  isService: boolean;
};

/** Makes a feed for one file alone, within a transaction. */
export type FollowAlone = (
  tx: Tx,
  owner: { userId: string; connectionId: string },
  file: { fileId: string; name: string },
) => Promise<string>;

/** Which file is to be followed, and how. */
export type FileWish = {
  fileId: string;
  documentId: string | null;
  isAlone?: boolean;
  /** Who asks for it: a person, who is told where it is followed already, or a mail that links to it. */
  origin?: "subscribed" | "linked";
};

/**
 * Follows a file, or a folder with what is in it, through the first of the accounts that sees it. A document that is
 * named becomes the file's; without one, the file gets its own. A shortcut stands for what it leads to. Where no log of
 * changes tells of the file, or `isAlone` is wished, it is followed by a feed of its own. A link is no reason to follow
 * again what somebody stopped following.
 *
 * @throws {AppError} `not_found` for a document that is not the user's, and a file that none of the accounts sees;
 *   `conflict` where the file is followed already, and a person asks for it.
 */
export async function subscribeFile(
  app: FilesApp,
  userId: string,
  { readers, followAlone }: { readers: DriveReader[]; followAlone: FollowAlone },
  { fileId, documentId, isAlone = false, origin = "subscribed" }: FileWish,
): Promise<WatchedFile> {
  if (documentId) await requireDocument(app, userId, documentId);
  const { reader: seeing, file } = await findReader(app, userId, readers, fileId);
  const id = await app.db.transaction().execute(async (tx) => {
    const known = await tx
      .selectFrom("watched_files")
      .select(["id", "state", "document_id"])
      .where("user_id", "=", userId)
      .where("file_id", "=", file.id)
      .forNoKeyUpdate()
      .executeTakeFirst();
    const isFollowed = known?.state === "active" || known?.state === "trashed";
    if (known && origin === "linked" && (isFollowed || known.state === "stopped")) return known.id;
    if (isFollowed) throw new AppError("conflict", "This file is followed already");
    const isFolder = file.mimeType === folderType;
    const { connectionId } = seeing;
    const owner = { userId: seeing.userId, connectionId };
    const feedId =
      !isFolder && (isAlone || !file.isLogged)
        ? await followAlone(tx, owner, { fileId: file.id, name: file.name })
        : seeing.feedId;
    const reader = { ...seeing, feedId };
    const watchedId = known
      ? await followAgain(app, tx, known, { reader, file, documentId, origin })
      : await followFirst(app, tx, { userId, reader, file, documentId, origin });
    if (!watchedId) throw new AppError("conflict", "This file is followed already");
    const document = documentId ?? known?.document_id ?? null;
    if (document) await markFollowed(app, tx, document, file);
    await mirrorWatches(app, tx, [watchedId]);
    await enqueue(app, tx, [
      isFolder ? listFolderJob(watchedId) : readJob(watchedId),
      ...(file.driveId === null ? [] : [drivesJob(seeing.feedId)]),
    ]);
    return watchedId;
  });
  return getWatchedFile(app, userId, { id });
}

async function requireDocument(app: FilesApp, userId: string, id: string): Promise<void> {
  const document = await app.db
    .selectFrom("documents")
    .select("id")
    .where("id", "=", id)
    .where("created_by", "=", userId)
    .executeTakeFirst();
  if (!document) throw new AppError("not_found", `No document ${id}`);
}

async function findReader(
  app: FilesApp,
  userId: string,
  readers: DriveReader[],
  fileId: string,
): Promise<{ reader: DriveReader; file: DriveFile }> {
  const own = await addressesOf(app, userId);
  let refusal: ProviderError | null = null;
  for (const reader of readers) {
    try {
      const { request } = openGoogleAccess(app, reader.connectionId);
      const file = await getFile(request, fileId);
      const meant = file.targetId ? await getFile(request, file.targetId) : file;
      if (!reader.isService || isTheirs(meant, own)) return { reader, file: meant };
    } catch (error) {
      if (!(error instanceof ProviderError)) throw error;
      if (error.failure !== "not_found") refusal = error;
    }
  }
  if (refusal) {
    throw new AppError("unavailable", "Google does not answer for this file at the moment", {
      retryAfterSeconds: refusal.retryAfterSeconds ?? 10,
      cause: refusal,
    });
  }
  const text =
    readers.length === 0
      ? "Google Drive is not connected"
      : "None of your accounts sees this file: share it with one of them first";
  throw new AppError("not_found", text);
}

async function addressesOf(app: FilesApp, userId: string): Promise<Set<string>> {
  const { rows } = await sql<{ email: string }>`
    select lower(email) as email from connections where user_id = ${userId} and email is not null
    union select lower(email) from users where id = ${userId} and is_email_proven
  `.execute(app.db);
  return new Set(rows.map(({ email }) => email));
}

// The service account sees what many people shared with it: whoever knows an id is not therefore let in.
function isTheirs({ owner, sharedWith }: DriveFile, own: Set<string>): boolean {
  return own.has(owner?.toLowerCase() ?? "") || sharedWith.some((email) => own.has(email));
}

type Following = {
  reader: DriveReader;
  file: DriveFile;
  documentId: string | null;
  origin: "subscribed" | "linked";
};

// Null where somebody else was first.
async function followFirst(
  app: FilesApp,
  tx: Tx,
  first: Following & { userId: string },
): Promise<string | null> {
  const { userId, reader, file, origin } = first;
  const documentId =
    first.documentId ?? (await followedBefore(tx, userId, [file])).get(file.id) ?? null;
  const wanted = documentId
    ? { file, userId, origin: "subscribed" as const, documentId }
    : { file, userId, origin };
  const [added] = await addWatched(app, tx, reader.feedId, [wanted]);
  return added?.id ?? null;
}

async function followAgain(
  app: FilesApp,
  tx: Tx,
  known: { id: string },
  { reader, file, documentId, origin }: Following,
): Promise<string> {
  const now = app.clock.now();
  await tx
    .updateTable("watched_files")
    .set({
      feed_id: reader.feedId,
      state: file.isTrashed ? "trashed" : "active",
      state_reason: file.isTrashed ? "It is in the trash" : null,
      origin,
      ...columnsOf(file),
      read_failures: 0,
      read_retry_at: null,
      read_error: null,
      updated_at: now,
      ...(documentId ? { document_id: documentId, read_key: null } : {}),
    })
    .where("id", "=", known.id)
    .execute();
  return known.id;
}

async function markFollowed(
  app: FilesApp,
  tx: Tx,
  documentId: string,
  file: DriveFile,
): Promise<void> {
  await tx
    .updateTable("documents")
    .set({
      file_id: file.id,
      watch_active: true,
      status: file.isTrashed ? "deleted" : "active",
      last_synced_at: app.clock.now(),
      updated_at: app.clock.now(),
    })
    .where("id", "=", documentId)
    .execute();
}

/** A followed file of this user, by our id, by Google's, or by its document. @throws {AppError} `not_found` */
export async function getWatchedFile(
  app: Pick<App, "db">,
  userId: string | null,
  by: { id: string } | { fileId: string; documentId?: string },
): Promise<WatchedFile> {
  let query = app.db.selectFrom("watched_files").selectAll();
  if (userId !== null) query = query.where("user_id", "=", userId);
  if ("id" in by) query = query.where("id", "=", by.id);
  else {
    query = query.where("file_id", "=", by.fileId).where("state", "!=", "stopped");
    if (by.documentId) query = query.where("document_id", "=", by.documentId);
  }
  const file = await query.orderBy("created_at").executeTakeFirst();
  if (!file) throw new AppError("not_found", "This file is not followed");
  return file;
}

/** Stops following a file, or a folder with all that it brought. Documents stay. @throws {AppError} `not_found` */
export async function unsubscribeFile(
  app: FilesApp,
  userId: string,
  fileId: string,
): Promise<void> {
  // What came in meanwhile is taken after the rest, whatever its id.
  await transactAnew(app, async (tx) => {
    const rows = await stopFollowing(app, tx, userId, fileId);
    if (rows.length === 0) throw new AppError("not_found", "This file is not followed");
    const logs = new Set(rows.flatMap((row) => (row.drive_id === null ? [] : [row.feed_id])));
    await enqueue(
      app,
      tx,
      [...logs].map((feedId) => drivesJob(feedId)),
    );
    const documents = rows.flatMap(({ document_id }) => document_id ?? []);
    if (documents.length === 0) return;
    await tx
      .updateTable("documents")
      .set({ watch_active: false, updated_at: app.clock.now() })
      .where("id", "in", documents)
      .execute();
    await tx
      .updateTable("drive_file_watches")
      .set({ is_active: false, updated_at: app.clock.now() })
      .where("document_id", "in", documents)
      .where("is_active", "=", true)
      .execute();
    for (const id of documents.slice(0, 50)) await tellOwner(tx, userId, id);
  });
}

type Stopped = {
  id: string;
  document_id: string | null;
  feed_id: string;
  drive_id: string | null;
};

// What came into a folder until it was ours is there for the next look: who lists it, or reads the log, holds it till then.
async function stopFollowing(
  app: FilesApp,
  tx: Tx,
  userId: string,
  fileId: string,
): Promise<Stopped[]> {
  const stopped: Stopped[] = [];
  for (;;) {
    const { rows } = await sql<Stopped>`
      with recursive stopping as (
        select id from watched_files
        where state <> 'stopped'
          and (user_id = ${userId} and file_id = ${fileId} or folder_id = any(${stopped.map(({ id }) => id)}))
        union all
        select below.id from stopping join watched_files as below on below.folder_id = stopping.id
        where below.state <> 'stopped'
      ),
      -- By their ids, as a page of the log takes them.
      held as (
        select id from watched_files where id in (select id from stopping) order by id for no key update
      )
      update watched_files set state = 'stopped', state_reason = 'Its owner stopped following it',
        read_retry_at = null, updated_at = ${app.clock.now()}
      where id in (select id from held)
      returning id, document_id, feed_id, drive_id
    `.execute(tx);
    if (rows.length === 0) return stopped;
    stopped.push(...rows);
  }
}

/** Hands what is known of a file to the workflow once more. @throws {AppError} `not_found`; `conflict` without a workflow */
export async function resendFile(
  app: FilesApp,
  userId: string | null,
  { documentId, fileId, action }: { documentId: string; fileId: string; action: string },
): Promise<{ queued: number }> {
  if (targetOf(app.config, "drive_sync") === null) {
    throw new AppError("conflict", "No workflow is configured: set N8N_DRIVESYNC_WEBHOOK_URL");
  }
  const file = await getWatchedFile(app, userId, { fileId, documentId });
  return app.db.transaction().execute(async (tx) => {
    const jobs = await startDeliveries(app, tx, [
      {
        kind: "drive_sync",
        userId: file.user_id,
        documentId,
        fact: `asked ${randomUUID()}`,
        details: { action, changed: [], file_id: fileId },
      },
    ]);
    await enqueue(app, tx, jobs);
    return { queued: jobs.length };
  });
}

/** A page of what a user follows, the latest first, with the state of each. */
export async function listWatchedFiles(
  app: Pick<App, "db" | "clock">,
  userId: string,
  {
    id,
    before,
    state,
    limit,
  }: {
    id?: string;
    before?: { at: string; id: string } | undefined;
    state?: WatchedFile["state"] | undefined;
    limit: number;
  },
) {
  let query = app.db
    .selectFrom("watched_files")
    .innerJoin("feeds", "feeds.id", "watched_files.feed_id")
    .leftJoin("connections", "connections.id", "feeds.connection_id")
    .leftJoin("documents", "documents.id", "watched_files.document_id")
    .selectAll("watched_files")
    .select(["connections.email as account", "documents.title", "documents.status"])
    .select(["documents.project_id", "feeds.last_success_at", "feeds.state as feed_state"])
    .select((row) =>
      row
        .exists(
          row
            .selectFrom("watches")
            .select("watches.id")
            .whereRef("watches.feed_id", "=", "feeds.id")
            .where("watches.state", "=", "open")
            .where("watches.expires_at", ">", app.clock.now()),
        )
        .as("is_pushed"),
    )
    .select(
      sql<string>`to_char(watched_files.created_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`.as(
        "cursor_at",
      ),
    )
    .where("watched_files.user_id", "=", userId);
  if (id) query = query.where("watched_files.id", "=", id);
  if (state) query = query.where("watched_files.state", "=", state);
  else query = query.where("watched_files.state", "!=", "stopped");
  if (before) {
    query = query.where(
      sql<boolean>`(watched_files.created_at, watched_files.id) < (${before.at}::timestamptz, ${before.id}::uuid)`,
    );
  }
  return query
    .orderBy("watched_files.created_at", "desc")
    .orderBy("watched_files.id", "desc")
    .limit(limit)
    .execute();
}
