import { z } from "zod";
import { ProviderError } from "../../lib/errors.ts";
import { type Channel, type NewChannel, openChannel, stopChannelOf } from "./channels.ts";
import { flag, id as Id, listOf, orNull, text as Text, textOrNull } from "./lenient.ts";
import { expectAnswer, type GoogleRequest } from "./request.ts";

/** A file or folder as an account sees it. */
export type DriveFile = {
  id: string;
  name: string;
  mimeType: string;
  /** In bytes; null for what editors made, and for folders. */
  size: number | null;
  /** Of the content; null where Google names none, as for what editors made. */
  md5: string | null;
  revision: string | null;
  /** Grows with every change, also those that nobody sees. */
  version: string | null;
  modifiedAt: Date | null;
  /** By itself, or with a folder above. */
  isTrashed: boolean;
  parents: string[];
  /** The shared drive that it lies in. */
  driveId: string | null;
  /** Null in shared drives. */
  owner: string | null;
  isOwn: boolean;
  /** Addresses, where this account may know. */
  sharedWith: string[];
  canDownload: boolean;
  url: string | null;
  /** Of a shortcut. */
  targetId: string | null;
  /** Whether the account's log of changes tells of it; of a file that is open to whoever has its link it does not. */
  isLogged: boolean;
};

/** What a log of changes, or a list of files, tells of one. */
export type FileChange =
  | { type: "file"; file: DriveFile; at: Date | null }
  /** Deleted for good, or no longer shared: Google does not say which. One answer of "not found" alone is not certain. */
  | { type: "removed"; fileId: string; at: Date | null; isCertain: boolean }
  | { type: "malformed"; id: string | null; problem: string };

/** What a log of changes tells of: files, and in that of an account also shared drives that it came to, lost or sees change. */
export type Change = FileChange | { type: "drive"; driveId: string };

export type FilesPage = {
  changes: FileChange[];
  nextPageToken: string | null;
  /** Whether Google searched everything. */
  isComplete: boolean;
};

export type ChangesPage = {
  changes: Change[];
  nextPageToken: string | null;
  /** Only on the last page. */
  newStartPageToken: string | null;
};

type Signal = { signal?: AbortSignal | undefined };

export const folderType = "application/vnd.google-apps.folder";
export const shortcutType = "application/vnd.google-apps.shortcut";

// Without it, files of shared drives are "not found".
const allDrives = { supportsAllDrives: "true" };
const itemsOfAllDrives = { ...allDrives, includeItemsFromAllDrives: "true" };
const fields =
  "id,name,mimeType,size,md5Checksum,headRevisionId,version,modifiedTime,trashed,parents,driveId,ownedByMe,sharedWithMeTime,owners(emailAddress),permissions(emailAddress,deleted),capabilities(canDownload),webViewLink,shortcutDetails(targetId)";
// Units of Drive's quota. Source: Drive API, "Usage limits", as of May 2026; that of a channel is not listed by name.
const costs = { read: 5, list: 100, download: 200, channel: 5 };

/** One file. @throws {ProviderError} `not_found` when it was deleted, or this account may not see it. */
export async function getFile(
  google: GoogleRequest,
  fileId: string,
  { signal }: Signal = {},
): Promise<DriveFile> {
  const purpose = "read a file's metadata";
  const answer = await google({
    purpose,
    api: "drive",
    path: pathOf(fileId),
    query: { fields, ...allDrives },
    cost: costs.read,
    signal,
  });
  return expectAnswer(File, answer, purpose);
}

/** What a shared drive is called. @throws {ProviderError} `not_found` where this account is no member of it. */
export async function getDriveName(google: GoogleRequest, driveId: string): Promise<string> {
  const purpose = "read a shared drive's name";
  const path = `/drive/v3/drives/${encodeURIComponent(driveId)}`;
  const answer = await google({
    purpose,
    api: "drive",
    path,
    query: { fields: "name" },
    cost: costs.read,
  });
  return expectAnswer(z.object({ name: Text }), answer, purpose).name;
}

/**
 * A page of the files that an account sees, those of shared drives and the trash included.
 *
 * @throws {ProviderError} `start_over` when Google refuses the page token, which lives for hours only.
 */
export async function listFiles(
  google: GoogleRequest,
  query: { q?: string; pageToken: string | null; pageSize: number } & Signal,
): Promise<FilesPage> {
  const purpose = "list files";
  const answer = await google({
    purpose,
    api: "drive",
    path: "/drive/v3/files",
    query: {
      q: query.q,
      pageToken: query.pageToken ?? undefined,
      pageSize: String(query.pageSize),
      corpora: "allDrives",
      spaces: "drive",
      fields: `nextPageToken,incompleteSearch,files(${fields})`,
      ...itemsOfAllDrives,
    },
    startOverOn: query.pageToken === null ? [] : [400, 410],
    cost: costs.list,
    signal: query.signal,
  });
  const page = expectAnswer(Files, answer, purpose);
  return {
    changes: page.files.map((file) => fileChangeOf(file, null)),
    nextPageToken: page.nextPageToken,
    isComplete: !page.incompleteSearch,
  };
}

/** Whose log of changes: that of a shared drive, or without one the account's own. */
type Log = { driveId?: string | null };

const logOf = ({ driveId }: Log) => ({ driveId: driveId ?? undefined });

/**
 * Where a log of changes stands now. To be taken before the files are listed.
 *
 * @throws {ProviderError} `not_found` for a shared drive that this account is no member of.
 */
export async function getStartPageToken(
  google: GoogleRequest,
  { signal, ...log }: Log & Signal = {},
): Promise<string> {
  const purpose = "begin a log of changes";
  const answer = await google({
    purpose,
    api: "drive",
    path: "/drive/v3/changes/startPageToken",
    query: { ...logOf(log), ...allDrives },
    cost: costs.read,
    signal,
  });
  return expectAnswer(z.object({ startPageToken: z.string().min(1) }), answer, purpose)
    .startPageToken;
}

/**
 * A page of what changed for an account, or in a shared drive, since a token, each file once, as it is now. What happens to
 * files of a shared drive is in the log of the drive, and need not be in that of its members; who is no member but sees a
 * file is told by their own. Source: Drive API, "Track changes for users and shared drives".
 *
 * @throws {ProviderError} `start_over` when Google refuses the token.
 */
export async function listChanges(
  google: GoogleRequest,
  query: { pageToken: string; pageSize: number } & Log & Signal,
): Promise<ChangesPage> {
  const purpose = "list changes";
  const answer = await google({
    purpose,
    api: "drive",
    path: "/drive/v3/changes",
    query: {
      ...logOf(query),
      pageToken: query.pageToken,
      pageSize: String(query.pageSize),
      includeRemoved: "true",
      spaces: "drive",
      fields: `nextPageToken,newStartPageToken,changes(changeType,removed,fileId,driveId,time,file(${fields}))`,
      ...itemsOfAllDrives,
    },
    // Tokens do not expire, by the documentation; others have seen it otherwise.
    startOverOn: [400, 404, 410],
    cost: costs.list,
    signal: query.signal,
  });
  const page = expectAnswer(Changes, answer, purpose);
  return {
    changes: page.changes.flatMap((change) => changeOf(change)),
    nextPageToken: page.nextPageToken,
    newStartPageToken: page.newStartPageToken,
  };
}

/** Opens a channel for one file, or for all that a log tells after a token. Google caps their lives: a day, and a week. */
export async function watchDrive(
  google: GoogleRequest,
  watched: { fileId: string } | ({ pageToken: string } & Log),
  channel: NewChannel,
): Promise<Channel> {
  const target =
    "fileId" in watched
      ? { path: `${pathOf(watched.fileId)}/watch`, query: allDrives }
      : {
          path: "/drive/v3/changes/watch",
          query: { ...logOf(watched), pageToken: watched.pageToken, ...itemsOfAllDrives },
        };
  return openChannel(google, { api: "drive", cost: costs.channel, ...target }, channel);
}

/** Stops a channel. @throws {ProviderError} `not_found` when it has ended already. */
export async function stopDriveChannel(
  google: GoogleRequest,
  channel: { channelId: string; resourceId: string } & Signal,
): Promise<void> {
  const path = "/drive/v3/channels/stop";
  await stopChannelOf(google, { api: "drive", cost: costs.channel, path }, channel);
}

/**
 * A file's content: as it is, or of what editors made in another type.
 *
 * @throws {ProviderError} `give_up` with the reason `answer_too_large` over `maxBytes`, `exportSizeLimitExceeded` over
 *   Google's own 10 MB, `cannotDownloadFile` where the owner forbids it.
 */
export async function readContent(
  google: GoogleRequest,
  {
    fileId,
    exportAs,
    maxBytes,
    signal,
  }: {
    fileId: string;
    exportAs: string | null;
    maxBytes: number;
  } & Signal,
): Promise<Buffer> {
  const purpose = exportAs ? "export a file" : "download a file";
  const content = await google({
    purpose,
    api: "drive",
    path: exportAs ? `${pathOf(fileId)}/export` : pathOf(fileId),
    query: exportAs ? { mimeType: exportAs } : { alt: "media", ...allDrives },
    isContent: true,
    maxBytes,
    cost: costs.download,
    signal,
  });
  if (Buffer.isBuffer(content)) return content;
  throw new ProviderError("retry", `Google's answer to ${purpose} is no content`, {
    reason: "unusable_answer",
  });
}

function pathOf(fileId: string): string {
  return `/drive/v3/files/${encodeURIComponent(fileId)}`;
}

const instant = orNull(z.iso.datetime({ offset: true }).transform((text) => new Date(text)));
const size = orNull(
  z
    .string()
    .regex(/^\d{1,18}$/)
    .transform(Number),
);

const File = z
  .object({
    id: Id,
    name: Text.catch(""),
    mimeType: Text,
    size,
    md5Checksum: textOrNull,
    headRevisionId: textOrNull,
    version: orNull(z.string().regex(/^\d{1,19}$/)),
    modifiedTime: instant,
    trashed: flag,
    parents: listOf(Text),
    driveId: textOrNull,
    ownedByMe: flag,
    sharedWithMeTime: textOrNull,
    owners: listOf(z.object({ emailAddress: Text })),
    permissions: listOf(z.object({ emailAddress: Text, deleted: flag })),
    capabilities: orNull(z.object({ canDownload: orNull(z.boolean()) })),
    webViewLink: textOrNull,
    shortcutDetails: orNull(z.object({ targetId: Text })),
  })
  .transform(
    (file): DriveFile => ({
      id: file.id,
      name: file.name,
      mimeType: file.mimeType,
      size: file.size,
      md5: file.md5Checksum,
      revision: file.headRevisionId,
      version: file.version,
      modifiedAt: file.modifiedTime,
      isTrashed: file.trashed,
      parents: file.parents,
      driveId: file.driveId,
      owner: file.owners[0]?.emailAddress ?? null,
      isOwn: file.ownedByMe,
      sharedWith: file.permissions.flatMap(({ emailAddress, deleted }) =>
        deleted ? [] : [emailAddress.toLowerCase()],
      ),
      canDownload: file.capabilities?.canDownload ?? true,
      url: file.webViewLink,
      targetId: file.shortcutDetails?.targetId ?? null,
      isLogged: file.ownedByMe || file.driveId !== null || file.sharedWithMeTime !== null,
    }),
  );

const Files = z.object({
  files: z.array(z.unknown()).default([]),
  nextPageToken: textOrNull,
  incompleteSearch: flag,
});
const Changes = z.object({
  changes: z.array(z.unknown()).default([]),
  nextPageToken: textOrNull,
  newStartPageToken: textOrNull,
});
const Entry = z.looseObject({
  changeType: orNull(z.string()),
  removed: flag,
  fileId: orNull(Id),
  driveId: orNull(Id),
  time: instant,
  file: z.unknown().optional(),
});
function changeOf(item: unknown): Change[] {
  const { data } = Entry.safeParse(item);
  if (data?.changeType === "drive")
    return data.driveId ? [{ type: "drive", driveId: data.driveId }] : [];
  if (data?.removed && data.fileId)
    return [{ type: "removed", fileId: data.fileId, at: data.time, isCertain: true }];
  const change = fileChangeOf(data?.file, data?.time ?? null);
  return [
    change.type === "malformed" ? { ...change, id: change.id ?? data?.fileId ?? null } : change,
  ];
}

function fileChangeOf(item: unknown, at: Date | null): FileChange {
  const file = File.safeParse(item);
  if (file.success) return { type: "file", file: file.data, at };
  const named = z.looseObject({ id: Id }).safeParse(item);
  const problem = file.error.issues.map(({ path, message }) => `${path.join(".")} ${message}`);
  return {
    type: "malformed",
    id: named.data?.id ?? null,
    problem: problem.join("; ").slice(0, 300),
  };
}
