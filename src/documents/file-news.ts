import type { Selectable } from "kysely";
import type { Tables } from "../db/tables.ts";
import type { DriveFile, FileChange } from "../providers/google/drive.ts";

/** A file or folder that is followed, with what is known of it. */
export type WatchedFile = Selectable<Tables["watched_files"]>;

/** What a change means for a followed file. */
export type FileNews = {
  state: WatchedFile["state"];
  stateReason: string | null;
  /** What the workflow is told at once; of content it hears when the text is read. */
  action: "updated" | "deleted" | "restored" | null;
  /** What of it is another now, besides its content. */
  changed: ("name" | "parents" | "owner")[];
  readsContent: boolean;
};

/**
 * What is another when the content is: Google's checksum, or for what editors made, which has none, the time of the last
 * change. `version` grows with changes that nobody sees.
 */
export function contentKeyOf({ md5, revision, modifiedAt, version }: DriveFile): string {
  if (md5) return `md5 ${md5}`;
  if (modifiedAt) return `time ${modifiedAt.toISOString()}`;
  return revision ? `revision ${revision}` : `version ${version}`;
}

/** What the row of a followed file keeps of what Google says of it. */
export function columnsOf(file: DriveFile) {
  return {
    name: file.name,
    mimetype: file.mimeType,
    url: file.url,
    size: file.size === null ? null : String(file.size),
    owner: file.owner,
    is_own: file.isOwn,
    parents: file.parents,
    drive_id: file.driveId,
    version: file.version,
    modified_at: file.modifiedAt,
    content_key: contentKeyOf(file),
  };
}

/** Compares what is known of a file with what Google says of it now; null when it says nothing new. */
export function newsOf(
  known: WatchedFile,
  change: Exclude<FileChange, { type: "malformed" }>,
  account: string,
): FileNews | null {
  if (known.state === "stopped") return null;
  if (change.type === "removed") return newsOfRemoval(known, account, change);
  const { file } = change;
  // The log and a look at the file itself may overtake each other.
  if (known.version && file.version && BigInt(file.version) < BigInt(known.version)) return null;
  const changed = changedOf(known, file);
  if (file.isTrashed) {
    const isNew = known.state === "active" || known.state === "lost";
    const news = {
      state: "trashed" as const,
      stateReason: "It is in the trash",
      readsContent: false,
    };
    if (!isNew && changed.length === 0) return null;
    return { ...news, action: isNew ? "deleted" : null, changed };
  }
  const isBack = known.state !== "active";
  const key = contentKeyOf(file);
  // What could not be read has its own time for the next try, unless it is another content now.
  const waits = key === known.content_key && known.read_retry_at !== null;
  const readsContent = !known.is_folder && key !== known.read_key && !waits;
  if (!isBack && changed.length === 0 && !readsContent) return null;
  const action = isBack ? "restored" : changed.length > 0 ? "updated" : null;
  return { state: "active", stateReason: null, action, changed, readsContent };
}

// Google says the same of what was deleted and of what is no longer shared. Only its owner can delete a file, and nobody
// can take it from its owner; but what a look does not find may be there again.
function newsOfRemoval(
  known: WatchedFile,
  account: string,
  { isCertain }: { isCertain: boolean },
): FileNews | null {
  const nothing = { changed: [], readsContent: false };
  const isDeletion = known.state === "trashed" || (known.is_own && isCertain);
  if (known.state === "removed" || (known.state === "lost" && !isDeletion)) return null;
  if (isDeletion) {
    const action = known.state === "trashed" ? null : ("deleted" as const);
    return { state: "removed", stateReason: "It was deleted for good", action, ...nothing };
  }
  const stateReason = known.is_own
    ? "Google does not find it at the moment"
    : `It is no longer shared with ${account}, or its owner deleted it`;
  return { state: "lost", stateReason, action: null, ...nothing };
}

function changedOf(known: WatchedFile, file: DriveFile): FileNews["changed"] {
  const changed: FileNews["changed"] = [];
  if (file.name !== known.name) changed.push("name");
  if (file.parents.toSorted().join() !== known.parents.toSorted().join()) changed.push("parents");
  if (file.owner !== known.owner) changed.push("owner");
  return changed;
}

/** The document's type for a file's. */
export function documentTypeOf(mimeType: string): string {
  if (mimeType.startsWith("image/")) return "image";
  if (/folder$/.test(mimeType)) return "folder";
  if (/spreadsheet|excel|csv/.test(mimeType)) return "spreadsheet";
  return /presentation|powerpoint/.test(mimeType) ? "presentation" : "document";
}

/** The document's status for a file's state. */
export function statusOf({
  state,
  action,
  changed,
}: FileNews): "active" | "updated" | "deleted" | "error" | null {
  if (state === "trashed" || state === "removed") return "deleted";
  if (state === "lost") return "error";
  if (action === "restored") return "active";
  return changed.length > 0 ? "updated" : null;
}
