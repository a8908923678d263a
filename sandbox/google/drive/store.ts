import { createHash, randomBytes } from "node:crypto";
import { GoogleError } from "../errors.ts";
import type { State } from "../state.ts";

/** A file, folder or shortcut, as all of its readers share it. */
export type File = {
  id: string;
  name: string;
  mimeType: string;
  parentId: string | null;
  /** The shared drive that it lies in; such files have no owner. */
  driveId: string | null;
  owner: string | null;
  /** Address to role, of those whom it was shared with. */
  permissions: Map<string, Role>;
  content: Buffer;
  revision: string;
  version: number;
  createdAt: Date;
  modifiedAt: Date;
  modifiedBy: string;
  isTrashed: boolean;
  canDownload: boolean;
  /** Whoever has its link may read it; it is in nobody's list for that. */
  isOpenByLink: boolean;
  targetId: string | null;
  /** What is answered in the place of its metadata. */
  malformed?: unknown;
};

export type Role = "reader" | "commenter" | "writer" | "owner";
export type SharedDrive = { id: string; name: string; members: Set<string> };

/** What happened to a file: how a channel of it is told. */
export type Happened = {
  state: "add" | "update" | "trash" | "untrash" | "remove";
  changed?: string;
};

/** All files, and for each account the log of what changed for it. */
export type Store = {
  state: State;
  files: Map<string, File>;
  drives: Map<string, SharedDrive>;
  /** By address: the ids of files, each where it changed last. */
  logs: Map<string, { sequence: number; fileId: string; at: Date }[]>;
  sequence: number;
  /** Tokens from before this are refused. */
  oldestSequence: number;
  onChange: ((file: File, seenBy: string[], happened: Happened) => void)[];
};

export const folderType = "application/vnd.google-apps.folder";
export const isEditorType = (type: string) => type.startsWith("application/vnd.google-apps.");

export function openStore(state: State): Store {
  return {
    state,
    files: new Map(),
    drives: new Map(),
    logs: new Map(),
    sequence: 1_000,
    oldestSequence: 0,
    onChange: [],
  };
}

/** Every address that has a Drive: people, and service accounts. */
function accountsOf({ state }: Store): string[] {
  return [...state.people, ...state.serviceAccounts].map(({ email }) => email);
}

export function findFile(store: Store, id: string): File {
  const file = store.files.get(id);
  if (!file) throw notFound(id);
  return file;
}

export function notFound(id: string): GoogleError {
  return new GoogleError(404, "notFound", `File not found: ${id}.`, {
    location: { type: "parameter", name: "fileId" },
  });
}

/** Whether an account may read a file: its own, shared with it or with a folder above, or in a drive that it is in. */
export function sees(store: Store, account: string, file: File): boolean {
  if (store.files.get(file.id) !== file) return false;
  const isMember = file.driveId && store.drives.get(file.driveId)?.members.has(account);
  return (
    Boolean(isMember) ||
    [file, ...above(store, file)].some(
      ({ owner, permissions }) => owner === account || permissions.has(account),
    )
  );
}

/** The folders that a file lies in, the nearest first. */
function above(store: Store, file: File): File[] {
  const folders: File[] = [];
  for (let at = file.parentId; at; at = folders.at(-1)?.parentId ?? null) {
    const folder = store.files.get(at);
    if (!folder || folders.includes(folder)) break;
    folders.push(folder);
  }
  return folders;
}

export function isInTrash(store: Store, file: File): boolean {
  return [file, ...above(store, file)].some(({ isTrashed }) => isTrashed);
}

export function makeFile(
  store: Store,
  given: Partial<File> & Pick<File, "name" | "mimeType">,
): File {
  const now = store.state.clock.now();
  const file: File = {
    id: `1${randomBytes(24).toString("base64url")}`,
    parentId: null,
    driveId: null,
    owner: null,
    permissions: new Map(),
    content: Buffer.alloc(0),
    revision: newRevision(),
    version: 1,
    createdAt: now,
    modifiedAt: now,
    modifiedBy: given.owner ?? "",
    isTrashed: false,
    canDownload: true,
    isOpenByLink: false,
    targetId: null,
    ...given,
  };
  store.files.set(file.id, file);
  return file;
}

/** Changes a file, and notes it for everybody who sees it before or afterwards. */
export function changeFile(store: Store, file: File, happened: Happened, change: () => void): void {
  const accounts = accountsOf(store);
  const concerned = happened.state === "add" ? [file] : [file, ...below(store, file)];
  const before = concerned.map((one) => accounts.filter((account) => sees(store, account, one)));
  change();
  file.version += 1;
  for (const [index, one] of concerned.entries()) {
    const seenBy = accounts.filter(
      (account) => before[index]?.includes(account) || sees(store, account, one),
    );
    for (const account of seenBy) note(store, account, one);
    for (const tell of store.onChange) tell(one, seenBy, happened);
  }
}

// What is done to a folder may show in all that lies in it.
function below(store: Store, file: File): File[] {
  if (file.mimeType !== folderType) return [];
  return [...store.files.values()].filter((one) => above(store, one).includes(file));
}

function note(store: Store, account: string, file: File): void {
  store.sequence += 1;
  const log = (store.logs.get(account) ?? []).filter(({ fileId }) => fileId !== file.id);
  log.push({ sequence: store.sequence, fileId: file.id, at: store.state.clock.now() });
  store.logs.set(account, log);
}

export function newRevision(): string {
  return `0B${randomBytes(20).toString("base64url")}`;
}

export function md5Of(content: Buffer): string {
  return createHash("md5").update(content).digest("hex");
}
