import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import { virtualAttendees } from "../accounts/virtual-address.ts";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import {
  type DriveFile,
  type FileChange,
  folderType,
  shortcutType,
} from "../providers/google/drive.ts";
import type { NewJob } from "../queue/queue.ts";
import { type Fact, startDeliveries } from "./deliveries.ts";
import {
  columnsOf,
  contentKeyOf,
  documentTypeOf,
  type FileNews,
  newsOf,
  statusOf,
  type WatchedFile,
} from "./file-news.ts";
import { followedBefore, mirrorWatches } from "./older-watches.ts";

/** An account whose files are followed: the feed of its own log of changes, its user, and its address. */
export type DriveAccount = { feedId: string; userId: string; account: string };

/** What changes meant for the files that are followed. */
export type RecordedFiles = {
  created: number;
  updated: number;
  deleted: number;
  changedAt: Date[];
  jobs: NewJob[];
  /** The documents that were touched, by the user whose they are. */
  told: Map<string, string[]>;
};

type Part = Pick<App, "clock" | "config">;

const secondLookMs = 5 * 60_000;

/** Of a watched folder, what lies deeper is not followed. */
export const deepest = 5;
/** Nor is more than this, in one folder that was asked for and all below it. */
export const mostInFolder = 1_000;

/**
 * Takes what Google says of files: of those that are followed, what is new is kept, their documents follow, and what is
 * to be told or read is on its way. A file that came into a watched folder, was shared with its owner's assistant, or is
 * seen at last and a mail links to it, is followed from now on. A handful of statements, however many files.
 */
export async function recordFileChanges(
  app: Part,
  tx: Tx,
  account: DriveAccount,
  changes: FileChange[],
  generation: number,
): Promise<RecordedFiles> {
  const usable = changes.filter((change) => change.type !== "malformed");
  const ids = usable.map((change) => (change.type === "file" ? change.file.id : change.fileId));
  const parents = usable.flatMap((change) => (change.type === "file" ? change.file.parents : []));
  const known = await tx
    .selectFrom("watched_files")
    .selectAll()
    .where("feed_id", "=", account.feedId)
    .where("file_id", "=", sql<string>`any(${[...new Set([...ids, ...parents])]})`)
    .orderBy("id")
    // Nobody stops following one of these folders meanwhile. Whoever lists it may name it in what is found there.
    .forNoKeyUpdate()
    .execute();
  const changeById = new Map(
    usable.map((change) => [change.type === "file" ? change.file.id : change.fileId, change]),
  );
  const rows = known.flatMap((row): Changed[] => {
    const change = changeById.get(row.file_id);
    if (!change) return [];
    const file = change.type === "file" ? change.file : null;
    return [{ row, file, at: change.at, news: newsOf(row, change, account.account) }];
  });
  await keepSeen(app, tx, rows, generation);
  const changed = rows.filter((one): one is News => one.news !== null);
  await keepNews(app, tx, changed);
  const followed = new Set(known.map(({ file_id }) => file_id));
  const strangers = usable.flatMap((change) =>
    change.type === "file" && !followed.has(change.file.id) ? [change.file] : [],
  );
  const added = await followNew(app, tx, account, { files: strangers, known });
  const facts = changed.flatMap(factOf);
  const secondLookAt = new Date(app.clock.now().getTime() + secondLookMs);
  const isElsewhere =
    rows.some(({ row, file }) => file && file.driveId !== row.drive_id) ||
    (added.length > 0 && strangers.some(({ driveId }) => driveId !== null));
  return {
    created: added.length,
    updated: changed.filter(({ news }) => news.state === "active").length,
    deleted: changed.filter(({ news }) => news.state !== "active").length,
    changedAt: changed.map(({ at, file }) => at ?? file?.modifiedAt ?? app.clock.now()),
    jobs: [
      ...(await startDeliveries(app, tx, facts)),
      ...(isElsewhere ? [drivesJob(account.feedId)] : []),
      ...changed.flatMap(({ row, news }) => (news.readsContent ? [readJob(row.id)] : [])),
      // One's own is deleted where a second look does not find it either. It is called for each time, since it may be lost.
      ...rows.flatMap(({ row, file, news }) =>
        !file && row.is_own && (news ?? row).state === "lost"
          ? [{ ...checkJob(row.id), startAfter: secondLookAt }]
          : [],
      ),
      ...added.map(({ id, isFolder }) => (isFolder ? listFolderJob(id) : readJob(id))),
    ],
    told: toldOf([
      ...changed.map(({ row }) => row),
      ...added.flatMap(({ documentId, userId, linkedFrom }) =>
        [documentId, ...linkedFrom].map((id) => ({ document_id: id, user_id: userId })),
      ),
    ]),
  };
}

type Changed = { row: WatchedFile; file: DriveFile | null; at: Date | null; news: FileNews | null };
type News = Changed & { news: FileNews };

// What a full read has seen is marked, and the version is noted, also where nothing that we show has changed.
async function keepSeen(app: Part, tx: Tx, rows: Changed[], generation: number): Promise<void> {
  if (rows.length === 0) return;
  const seen = rows.map(({ row, file }) => ({
    id: row.id,
    version: file?.version ?? row.version,
    drive_id: file ? file.driveId : row.drive_id,
  }));
  await sql`
    update watched_files set generation = greatest(generation, ${generation}), last_checked_at = ${app.clock.now()},
      version = greatest(watched_files.version, seen.version), drive_id = seen.drive_id
    from jsonb_to_recordset(${JSON.stringify(seen)}::jsonb) as seen (id uuid, version bigint, drive_id text)
    where watched_files.id = seen.id
  `.execute(tx);
}

async function keepNews(app: Part, tx: Tx, changed: News[]): Promise<void> {
  if (changed.length === 0) return;
  const now = app.clock.now();
  const files = changed.map(({ row, file, news, at }) => ({
    id: row.id,
    state: news.state,
    state_reason: news.stateReason,
    last_changed_at: (at ?? now).toISOString(),
    name: file?.name ?? row.name,
    mimetype: file?.mimeType ?? row.mimetype,
    url: file?.url ?? row.url,
    size: file ? file.size : row.size,
    owner: file ? file.owner : row.owner,
    is_own: file?.isOwn ?? row.is_own,
    parents: file?.parents ?? row.parents,
    modified_at: file?.modifiedAt?.toISOString() ?? row.modified_at,
    content_key: file ? contentKeyOf(file) : row.content_key,
  }));
  await sql`
    update watched_files as kept set state = news.state, state_reason = news.state_reason,
      last_changed_at = news.last_changed_at, name = news.name, mimetype = news.mimetype, url = news.url,
      size = news.size, owner = news.owner, is_own = news.is_own, parents = news.parents,
      modified_at = news.modified_at, content_key = news.content_key,
      read_failures = case when kept.content_key = news.content_key then read_failures else 0 end,
      read_retry_at = case when kept.content_key = news.content_key then read_retry_at end, updated_at = ${now}
    from jsonb_to_recordset(${JSON.stringify(files)}::jsonb) as news (id uuid, state text, state_reason text,
      last_changed_at timestamptz, name text, mimetype text, url text, size bigint, owner text, is_own boolean,
      parents text[], modified_at timestamptz, content_key text)
    where kept.id = news.id
  `.execute(tx);
  const documents = changed.flatMap(({ row, file, news }) =>
    row.document_id
      ? [
          {
            id: row.document_id,
            title: news.changed.includes("name") ? (file?.name ?? null) : null,
            status: statusOf(news),
            is_current: news.state === "active",
            // What is in the trash may come back, and is waited for.
            is_followed: news.state === "active" || news.state === "trashed",
          },
        ]
      : [],
  );
  const given = JSON.stringify(documents);
  await sql`
    update documents set title = coalesce(news.title, documents.title), status = coalesce(news.status, documents.status),
      watch_active = news.is_current, last_synced_at = ${now}::timestamptz, updated_at = ${now}::timestamptz
    from jsonb_to_recordset(${given}::jsonb) as news (id uuid, title text, status text, is_current boolean)
    where documents.id = news.id
  `.execute(tx);
  // What the workflow made of its text to search by. It is told, and makes it anew should the file come back.
  await sql`
    delete from document_chunks using jsonb_to_recordset(${given}::jsonb) as news (id uuid, status text)
    where document_id = news.id and news.status = 'deleted'
  `.execute(tx);
  await sql`
    update drive_file_watches set is_active = news.is_followed, updated_at = ${now}::timestamptz
    from jsonb_to_recordset(${given}::jsonb) as news (id uuid, is_followed boolean)
    where document_id = news.id and is_active is distinct from news.is_followed and not news.is_followed
  `.execute(tx);
}

function factOf({ row, file, news }: News): Fact[] {
  const { document_id: documentId, user_id: userId } = row;
  if (!documentId || !news.action) return [];
  const since = file?.version ?? `${row.version} ${news.state}`;
  return [
    {
      kind: "drive_sync",
      userId,
      documentId,
      fact: `${news.action} ${row.id} ${since}`,
      details: { action: news.action, changed: news.changed, file_id: row.file_id },
    },
  ];
}

type Added = {
  id: string;
  documentId: string | null;
  userId: string;
  isFolder: boolean;
  /** The documents that link to it, which had not found it before. */
  linkedFrom: string[];
};

// What came into a watched folder, what was shared with its owner's own assistant, and what their mails link to.
async function followNew(
  app: Part,
  tx: Tx,
  account: DriveAccount,
  { files, known }: { files: DriveFile[]; known: WatchedFile[] },
): Promise<Added[]> {
  const there = files.filter(({ isTrashed, mimeType }) => !isTrashed && mimeType !== shortcutType);
  if (there.length === 0) return [];
  const folders = await foldersOf(tx, there, known);
  const shared = await sharedWithAssistant(app, tx, account, there);
  const legacy = await followedBefore(tx, account.userId, there);
  const linked = await soughtByLinks(tx, account, there);
  const wanted = there.flatMap((file): Wanted[] => {
    const before = legacy.get(file.id);
    if (before) return [{ file, userId: account.userId, origin: "subscribed", documentId: before }];
    if (shared.has(file.id)) return [{ file, userId: account.userId, origin: "shared" }];
    if (linked.has(file.id)) return [{ file, userId: account.userId, origin: "linked" }];
    const folder = file.parents.flatMap((parent) => folders.get(parent) ?? [])[0];
    if (!folder || folder.left <= 0) return [];
    folder.left -= 1;
    const { id: folderId, depth, user_id: userId } = folder;
    return [{ file, userId, origin: "folder", folderId, depth: depth + 1 }];
  });
  const added = await addWatched(app, tx, account.feedId, wanted);
  const asked = added.filter(({ linkedFrom }) => linkedFrom.length > 0);
  await mirrorWatches(
    app,
    tx,
    asked.map(({ id }) => id),
  );
  return added;
}

/** A file that is to be followed. Without a document of its own it gets one. */
export type Wanted = {
  file: DriveFile;
  userId: string;
  origin: WatchedFile["origin"];
  documentId?: string;
  folderId?: string;
  depth?: number;
};

/**
 * Follows files from now on; the links that sought them have found them. Those that their user follows already stay as
 * they are.
 */
export async function addWatched(
  app: Part,
  tx: Tx,
  feedId: string,
  wanted: Wanted[],
): Promise<Added[]> {
  if (wanted.length === 0) return [];
  const now = app.clock.now();
  const rows = wanted.map(({ file, userId, origin, documentId, folderId, depth = 0 }) => {
    const isFolder = file.mimeType === folderType;
    return {
      id: randomUUID(),
      user_id: userId,
      feed_id: feedId,
      file_id: file.id,
      document_id: documentId ?? null,
      // A folder that came with another is followed, and no document.
      new_document: documentId || isFolder ? null : randomUUID(),
      origin,
      folder_id: folderId ?? null,
      depth,
      is_folder: isFolder,
      ...columnsOf(file),
      type: documentTypeOf(file.mimeType),
    };
  });
  const { rows: added } = await sql<{
    id: string;
    user_id: string;
    document_id: string | null;
    is_folder: boolean;
    linked_from: string[];
  }>`
    with given as (
      select * from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) as given (id uuid, user_id uuid, feed_id uuid,
        file_id text, drive_id text, document_id uuid, new_document uuid, origin text, folder_id uuid, depth int,
        is_folder boolean, name text, mimetype text, url text, size bigint, owner text, is_own boolean, parents text[],
        version bigint, modified_at timestamptz, content_key text, type text)
    ),
    added as (
      insert into watched_files (id, user_id, feed_id, file_id, drive_id, document_id, origin, folder_id, depth, is_folder,
        name, mimetype, url, size, owner, is_own, parents, version, modified_at, content_key, last_checked_at, created_at,
        updated_at)
      select id, user_id, feed_id, file_id, drive_id, coalesce(document_id, new_document), origin, folder_id, depth,
        is_folder, name, mimetype, url, size, owner, is_own, parents, version, modified_at, content_key,
        ${now}::timestamptz, ${now}::timestamptz, ${now}::timestamptz
      from given
      -- Whoever lists a folder and whoever reads the log may find the same files at the same time.
      order by user_id, file_id
      on conflict (user_id, file_id) do nothing
      returning id, user_id, document_id, is_folder
    ),
    made as (
      insert into documents (id, created_by, type, source, source_id, source_url, file_id, title, author, mimetype,
        file_size, status, watch_active, classification_source, received_at, created_at, updated_at)
      select new_document, given.user_id, type, 'drive', file_id, url, file_id, name, owner, mimetype, size::text,
        'active', true, 'system', modified_at at time zone 'UTC', ${now}::timestamptz at time zone 'UTC',
        ${now}::timestamptz
      from given join added on added.id = given.id where new_document is not null
    ),
    taken_over as (
      update documents set watch_active = true, file_id = given.file_id
      from given join added on added.id = given.id
      where documents.id = given.document_id and given.new_document is null
    ),
    linked as (
      update document_links as link set state = 'found', reason = null, updated_at = ${now}::timestamptz
      from given join added on added.id = given.id
      where link.user_id = given.user_id and link.file_id = given.file_id and link.state <> 'found'
      returning added.id, link.document_id
    )
    select id, user_id, document_id, is_folder,
      array(select document_id from linked where linked.id = added.id) as linked_from
    from added
  `.execute(tx);
  return added.map(({ id, user_id, document_id, is_folder, linked_from }) => ({
    id,
    userId: user_id,
    documentId: document_id,
    isFolder: is_folder,
    linkedFrom: linked_from,
  }));
}

type Folder = { id: string; file_id: string; user_id: string; depth: number; left: number };

// The watched folders that files lie in, each with how many more it takes; of those that are ours until the transaction
// ends. What lies in one that has come since is found when that is listed.
async function foldersOf(
  tx: Tx,
  files: DriveFile[],
  held: WatchedFile[],
): Promise<Map<string, Folder>> {
  const parents = [...new Set(files.flatMap(({ parents }) => parents))];
  if (parents.length === 0) return new Map();
  const { rows } = await sql<Folder>`
    with recursive root as (
      select id as leaf, id, folder_id from watched_files
      where id = any(${held.map(({ id }) => id)}) and is_folder and state = 'active' and depth < ${deepest}
        and file_id = any(${parents})
      union all
      select root.leaf, above.id, above.folder_id from root join watched_files as above on above.id = root.folder_id
    ),
    tops as (select leaf, id as top from root where folder_id is null),
    tree as (
      select top, id from (select distinct top, top as id from tops) as top
      union all
      select tree.top, below.id from tree join watched_files as below on below.folder_id = tree.id
    )
    select folder.id, folder.file_id, folder.user_id, folder.depth,
      (${mostInFolder} + 1 - (select count(*) from tree where tree.top = tops.top))::int as left
    from tops join watched_files as folder on folder.id = tops.leaf
  `.execute(tx);
  return new Map(rows.map((folder) => [folder.file_id, folder]));
}

async function sharedWithAssistant(
  app: Part,
  tx: Tx,
  { userId }: DriveAccount,
  files: DriveFile[],
): Promise<Set<string>> {
  const assistant = app.config.virtualEmailAddress;
  const named = assistant
    ? files.filter(
        ({ sharedWith }) =>
          virtualAttendees(
            sharedWith.map((email) => ({ email })),
            assistant,
          ).length > 0,
      )
    : [];
  if (!assistant || named.length === 0) return new Set();
  const own = await tx
    .selectFrom("usernames")
    .select("username")
    .where("user_id", "=", userId)
    .executeTakeFirst();
  const isOwn = ({ sharedWith }: DriveFile) =>
    own !== undefined &&
    virtualAttendees(
      sharedWith.map((email) => ({ email })),
      assistant,
    ).includes(own.username);
  return new Set(named.filter(isOwn).map(({ id }) => id));
}

async function soughtByLinks(
  tx: Tx,
  { userId }: DriveAccount,
  files: DriveFile[],
): Promise<Set<string>> {
  const rows = await tx
    .selectFrom("document_links")
    .select("file_id")
    .where("user_id", "=", userId)
    .where("state", "!=", "found")
    .where(
      "file_id",
      "in",
      files.map(({ id }) => id),
    )
    .execute();
  return new Set(rows.map(({ file_id }) => file_id));
}

function toldOf(rows: { user_id: string; document_id: string | null }[]): Map<string, string[]> {
  const told = new Map<string, string[]>();
  for (const { user_id, document_id } of rows)
    if (document_id) told.set(user_id, [...(told.get(user_id) ?? []), document_id]);
  return told;
}

/** A wish to read a file's content. */
export function readJob(fileId: string, startAfter?: Date): NewJob {
  return {
    name: "files.read",
    payload: { watchedFileId: fileId },
    key: fileId,
    ...(startAfter ? { startAfter } : {}),
  };
}

export function listFolderJob(fileId: string): NewJob {
  return { name: "files.list_folder", payload: { watchedFileId: fileId }, key: fileId };
}

/** A wish to look at a file by itself, apart from the log of changes. */
export function checkJob(fileId: string): NewJob {
  return { name: "files.check", payload: { watchedFileId: fileId }, key: fileId };
}

/** A wish to bring the feeds of shared drives in line with the files that are followed; those that were `told` of begin anew. */
export function drivesJob(feedId: string, told: string[] = []): NewJob {
  return { name: "feeds.follow_drives", payload: { feedId, told } };
}
