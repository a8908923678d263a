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

/** A file, or for a member a shared drive, where it changed last. */
export type Change = { sequence: number; at: Date } & ({ fileId: string } | { driveId: string });

/** All files, and for each account and each shared drive the log of what changed for it. */
export type Store = {
  state: State;
  files: Map<string, File>;
  drives: Map<string, SharedDrive>;
  /** By address, or by the id of a shared drive. */
  logs: Map<string, Change[]>;
  sequence: number;
  /** Tokens from before this are refused. */
  oldestSequence: number;
  /** Who is told, with the names of the logs that note it. */
  onChange: ((file: File | null, logs: string[], happened: Happened) => void)[];
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

export function isMember(store: Store, account: string, driveId: string | null): boolean {
  return driveId !== null && Boolean(store.drives.get(driveId)?.members.has(account));
}

/** Whether an account may read a file: its own, shared with it or with a folder above, or in a drive that it is in. */
export function sees(store: Store, account: string, file: File): boolean {
  if (store.files.get(file.id) !== file) return false;
  return (
    isMember(store, account, file.driveId) ||
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

/**
 * Changes a file, and notes it for everybody who sees it before or afterwards: for the members of a shared drive in the log
 * of the drive alone. Google may tell them by their own too, "based on usage", and says not to go by it.
 */
export function changeFile(store: Store, file: File, happened: Happened, change: () => void): void {
  const accounts = accountsOf(store);
  const concerned = happened.state === "add" ? [file] : [file, ...below(store, file)];
  const logsOf = (one: File) => [
    ...accounts.filter(
      (account) => sees(store, account, one) && !isMember(store, account, one.driveId),
    ),
    ...(one.driveId === null ? [] : [one.driveId]),
  ];
  const before = concerned.map(logsOf);
  change();
  file.version += 1;
  for (const [index, one] of concerned.entries()) {
    const logs = [...new Set([...(before[index] ?? []), ...logsOf(one)])];
    for (const log of logs) note(store, log, { fileId: one.id });
    for (const tell of store.onChange) tell(one, logs, happened);
  }
}

/** Lets accounts into a shared drive, and others out. Each is told of the drive, and of no file in it. */
export function changeMembers(store: Store, driveId: string, members: string[]): void {
  const drive = store.drives.get(driveId);
  if (!drive) throw driveNotFound(driveId);
  const before = drive.members;
  drive.members = new Set(members);
  const changed = accountsOf(store).filter(
    (account) => before.has(account) !== drive.members.has(account),
  );
  for (const account of changed) note(store, account, { driveId });
  for (const tell of store.onChange) tell(null, changed, { state: "update" });
}

/** A shared drive, for a member. @throws {GoogleError} 404 */
export function findDrive(store: Store, account: string, driveId: string): SharedDrive {
  const drive = store.drives.get(driveId);
  if (!drive?.members.has(account)) throw driveNotFound(driveId);
  return drive;
}

/** Whose log is meant: the account's own, or that of a shared drive that it is a member of. @throws {GoogleError} 404 */
export function logOf(store: Store, account: string, driveId: string | undefined): string {
  return driveId === undefined ? account : findDrive(store, account, driveId).id;
}

function driveNotFound(id: string): GoogleError {
  return new GoogleError(404, "notFound", `Shared drive not found: ${id}`, {
    location: { type: "parameter", name: "driveId" },
  });
}

// What is done to a folder may show in all that lies in it.
function below(store: Store, file: File): File[] {
  if (file.mimeType !== folderType) return [];
  return [...store.files.values()].filter((one) => above(store, one).includes(file));
}

function note(store: Store, name: string, what: { fileId: string } | { driveId: string }): void {
  store.sequence += 1;
  const log = (store.logs.get(name) ?? []).filter((one) => idOf(one) !== idOf(what));
  log.push({ sequence: store.sequence, at: store.state.clock.now(), ...what });
  store.logs.set(name, log);
}

const idOf = (what: { fileId: string } | { driveId: string }) =>
  "fileId" in what ? what.fileId : what.driveId;

export function newRevision(): string {
  return `0B${randomBytes(20).toString("base64url")}`;
}

export function md5Of(content: Buffer): string {
  return createHash("md5").update(content).digest("hex");
}
