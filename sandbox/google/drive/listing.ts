import { z } from "zod";
import { GoogleError } from "../errors.ts";
import { type File, isInTrash, isMember, logOf, type Store, sees } from "./store.ts";
import { resourceOf } from "./view.ts";

export type Pages = { pageSizeCap: number; emptyPages: boolean };

const flag = z.enum(["true", "false"]).transform((text) => text === "true");
const Query = z.looseObject({
  q: z.string().optional(),
  pageSize: z.coerce.number().int().min(1).max(1000).default(100),
  pageToken: z.string().optional(),
  supportsAllDrives: flag.default(false),
  includeItemsFromAllDrives: flag.default(false),
  corpora: z.enum(["user", "drive", "domain", "allDrives"]).default("user"),
});

/** A page of `files.list`. The token names the file that the page before ended with. */
export function listFiles(store: Store, pages: Pages, account: string, query: unknown) {
  const { q, pageSize, pageToken, ...flags } = Query.parse(query);
  const hasDrives = flags.supportsAllDrives && flags.includeItemsFromAllDrives;
  const fits = filterOf(store, q ?? "");
  const all = [...store.files.values()]
    .filter((file) => sees(store, account, file) && (hasDrives || !file.driveId) && fits(file))
    .sort((one, other) => (one.id < other.id ? -1 : 1));
  const { page, next } = pageOf(all, pages, { pageSize, pageToken }, ({ id }) => id);
  return {
    kind: "drive#fileList",
    incompleteSearch: false,
    files: page.map((file) => file.malformed ?? resourceOf(store, account, file)),
    ...(next ? { nextPageToken: next } : {}),
  };
}

// The terms that the real one knows and clients use most, joined by `and`.
function filterOf(store: Store, q: string): (file: File) => boolean {
  const terms = q.split(/\s+and\s+/i).filter(Boolean);
  const filters = terms.map((term): ((file: File) => boolean) => {
    const trashed = /^trashed\s*=\s*(true|false)$/.exec(term)?.[1];
    if (trashed) return (file) => isInTrash(store, file) === (trashed === "true");
    const parent = /^'((?:[^'\\]|\\.)*)' in parents$/.exec(term)?.[1];
    if (parent !== undefined) return (file) => file.parentId === unescaped(parent);
    const reader = /^'((?:[^'\\]|\\.)*)' in (?:readers|writers)$/.exec(term)?.[1];
    if (reader !== undefined)
      return (file) => file.owner === reader || file.permissions.has(unescaped(reader));
    throw new GoogleError(400, "invalid", "Invalid Value", {
      location: { type: "parameter", name: "q" },
    });
  });
  return (file) => filters.every((fits) => fits(file));
}

const unescaped = (text: string) => text.replace(/\\(.)/g, "$1");

const ChangesQuery = Query.extend({
  pageToken: z.string(),
  includeRemoved: flag.default(true),
  restrictToMyDrive: flag.default(false),
  driveId: z.string().optional(),
});

/** A page of `changes.list`: each file once, where it changed last, as it is now. */
export function listChanges(store: Store, pages: Pages, account: string, query: unknown) {
  const { pageSize, pageToken, includeRemoved, driveId, ...flags } = ChangesQuery.parse(query);
  const since = sequenceOf(store, pageToken);
  const hasDrives = flags.supportsAllDrives && flags.includeItemsFromAllDrives;
  const name = logOf(store, account, driveId);
  const log = (store.logs.get(name) ?? []).filter(({ sequence }) => sequence > since);
  const size = Math.min(pageSize, pages.pageSizeCap);
  const isEmpty = pages.emptyPages && !pageToken.endsWith("e") && log.length > 0;
  const page = isEmpty ? [] : log.slice(0, size);
  const changes = page.flatMap((change): Record<string, unknown>[] => {
    const time = change.at.toISOString();
    if ("driveId" in change) {
      const removed = !isMember(store, account, change.driveId);
      const told = { kind: "drive#change", changeType: "drive", time, removed };
      return hasDrives ? [{ ...told, driveId: change.driveId }] : [];
    }
    const { fileId } = change;
    const file = store.files.get(fileId);
    const isThere = driveId === undefined || file?.driveId === driveId;
    const shown = file && isThere && sees(store, account, file) ? file : null;
    if (shown?.driveId && !hasDrives) return [];
    if (!shown && !includeRemoved) return [];
    const content = shown ? { file: shown.malformed ?? resourceOf(store, account, shown) } : {};
    return [
      { kind: "drive#change", changeType: "file", time, removed: !shown, fileId, ...content },
    ];
  });
  const last = page.at(-1)?.sequence ?? since;
  const isOver = !isEmpty && page.length === log.length;
  return {
    kind: "drive#changeList",
    changes,
    ...(isOver
      ? { newStartPageToken: String(Math.max(last, store.sequence)) }
      : { nextPageToken: isEmpty ? `${since}e` : String(last) }),
  };
}

/** The change that a token stands for. @throws {GoogleError} for one that is none, or is forgotten. */
export function sequenceOf(store: Store, token: string): number {
  const sequence = Number(/^(\d+)e?$/.exec(token)?.[1] ?? Number.NaN);
  if (Number.isNaN(sequence) || sequence > store.sequence) {
    throw new GoogleError(400, "invalid", "Invalid Value", {
      location: { type: "parameter", name: "pageToken" },
    });
  }
  if (sequence < store.oldestSequence) {
    throw new GoogleError(410, "pageTokenExpired", "The page token has expired.");
  }
  return sequence;
}

function pageOf<Item>(
  all: Item[],
  { pageSizeCap, emptyPages }: Pages,
  { pageSize, pageToken }: { pageSize: number; pageToken: string | undefined },
  keyOf: (item: Item) => string,
): { page: Item[]; next: string | null } {
  const [after = "", wasEmpty] = pageToken ? readToken(pageToken) : [];
  const rest = all.filter((item) => keyOf(item) > after);
  const token = (key: string, isEmpty: boolean) =>
    Buffer.from(JSON.stringify([key, isEmpty])).toString("base64url");
  if (emptyPages && !wasEmpty && rest.length > 0) return { page: [], next: token(after, true) };
  const page = rest.slice(0, Math.min(pageSize, pageSizeCap));
  const last = page.at(-1);
  return { page, next: last && page.length < rest.length ? token(keyOf(last), false) : null };
}

function readToken(token: string): [string, boolean] {
  try {
    return z
      .tuple([z.string(), z.boolean()])
      .parse(JSON.parse(Buffer.from(token, "base64url").toString()));
  } catch {
    throw new GoogleError(400, "invalid", "Invalid Value", {
      location: { type: "parameter", name: "pageToken" },
    });
  }
}
