import type { FastifyInstance } from "fastify";
import { type Channel, openChannels, type PushSettings } from "../channels.ts";
import type { State } from "../state.ts";
import { addDriveApi, type DriveWatched } from "./api.ts";
import type { Pages } from "./listing.ts";
import {
  changeFile,
  changeMembers,
  type File,
  findFile,
  folderType,
  isEditorType,
  makeFile,
  newRevision,
  openStore,
  type Role,
  type Store,
  sees,
} from "./store.ts";

export type NewFile = {
  name: string;
  mimeType?: string;
  content?: string | Buffer;
  parentId?: string | null;
  driveId?: string | null;
  targetId?: string | null;
  id?: string;
};

/** The sandbox's files, for those in the same process. Accounts are named by address; times go by the sandbox's clock. */
export type SandboxDrive = {
  store: Store;
  push: PushSettings;
  pages: Pages;
  addFile(owner: string, file: NewFile): string;
  /** Many at once, older than all changes. */
  addFiles(owner: string, files: NewFile[]): string[];
  addFolder(owner: string, name: string, parentId?: string): string;
  addSharedDrive(name: string, members: string[]): string;
  changeMembers(driveId: string, members: string[]): void;
  edit(id: string, content: string | Buffer, by?: string): void;
  rename(id: string, name: string): void;
  move(id: string, parentId: string | null, driveId?: string): void;
  trash(id: string): void;
  restore(id: string): void;
  /** For good. */
  remove(id: string): void;
  share(id: string, account: string, role?: Role): void;
  unshare(id: string, account: string): void;
  transfer(id: string, owner: string): void;
  /** A change that shows in nothing but the version and the time. */
  touch(id: string): void;
  forbidDownload(id: string): void;
  openByLink(id: string, isOpen?: boolean): void;
  makeMalformed(id: string, answer: unknown): void;
  /** Every page token so far is refused with 410. */
  expirePageTokens(): void;
  /** What an account sees. */
  files(account: string): File[];
  channels(): Channel<DriveWatched>[];
  /** Resolves when no message is on its way. */
  settled(): Promise<void>;
  close(): void;
};

const dayMs = 86_400_000;

/** Opens the Drives of the sandbox's accounts, all empty, and serves Drive v3 for them. */
export function openDrive(server: FastifyInstance, state: State): SandboxDrive {
  const store = openStore(state);
  const usualPages: Pages = { pageSizeCap: 1000, emptyPages: false };
  const pages = { ...usualPages };
  const resources = new Map<string, object>();
  const targetOf = (log: string) => {
    const target = resources.get(log) ?? {};
    resources.set(log, target);
    return target;
  };
  const channels = openChannels<DriveWatched>(state, (watched) =>
    "file" in watched
      ? {
          target: watched.file,
          uri: `/drive/v3/files/${watched.file.id}?alt=json`,
          longestMs: dayMs,
          usualMs: dayMs / 24,
        }
      : {
          target: targetOf(watched.log),
          uri: "/drive/v3/changes?alt=json",
          longestMs: 7 * dayMs,
          usualMs: dayMs / 24,
        },
  );
  store.onChange.push((file, logs, happened) =>
    channels.announce((watched) => {
      if ("file" in watched) return watched.file === file ? happened : null;
      return logs.includes(watched.log) ? { state: "change" } : null;
    }),
  );
  addDriveApi(server, { store, pages, channels });
  state.onReset.push(() => {
    for (const kept of [store.files, store.drives, store.logs]) kept.clear();
    Object.assign(pages, usualPages);
  });

  const entryOf = (owner: string, given: NewFile) => {
    const { content = "", mimeType = "text/plain", ...rest } = given;
    return {
      ...rest,
      mimeType,
      content: Buffer.from(content),
      owner: given.driveId ? null : owner,
      modifiedBy: owner,
    };
  };
  const add = (owner: string, given: NewFile): string => {
    const file = makeFile(store, entryOf(owner, given));
    changeFile(store, file, { state: "add" }, () => {});
    return file.id;
  };
  const changed = (id: string, what: string, change: (file: File) => void) => {
    const file = findFile(store, id);
    changeFile(store, file, { state: "update", changed: what }, () => change(file));
  };
  const now = () => state.clock.now();

  return {
    store,
    push: channels.settings,
    pages,
    addFile: add,
    addFiles: (owner, files) => files.map((file) => makeFile(store, entryOf(owner, file)).id),
    addFolder: (owner, name, parentId) =>
      add(owner, { name, mimeType: folderType, ...(parentId ? { parentId } : {}) }),
    addSharedDrive: (name, members) => {
      const id = `0A${name.replace(/\W/g, "")}${store.drives.size}`;
      store.drives.set(id, { id, name, members: new Set(members) });
      return id;
    },
    edit: (id, content, by) =>
      changed(id, "content,properties", (file) => {
        file.content = Buffer.from(content);
        if (!isEditorType(file.mimeType)) file.revision = newRevision();
        file.modifiedAt = now();
        file.modifiedBy = by ?? file.modifiedBy;
      }),
    rename: (id, name) =>
      changed(id, "properties", (file) => {
        file.name = name;
        file.modifiedAt = now();
      }),
    changeMembers: (driveId, members) => changeMembers(store, driveId, members),
    move: (id, parentId, driveId) =>
      changed(id, "parents", (file) => {
        file.parentId = parentId;
        file.driveId = driveId ?? file.driveId;
      }),
    trash: (id) => {
      const file = findFile(store, id);
      changeFile(store, file, { state: "trash" }, () => {
        file.isTrashed = true;
      });
    },
    restore: (id) => {
      const file = findFile(store, id);
      changeFile(store, file, { state: "untrash" }, () => {
        file.isTrashed = false;
      });
    },
    remove: (id) => {
      const file = findFile(store, id);
      changeFile(store, file, { state: "remove" }, () => {
        store.files.delete(id);
      });
    },
    share: (id, account, role = "reader") =>
      changed(id, "permissions", ({ permissions }) => permissions.set(account, role)),
    unshare: (id, account) =>
      changed(id, "permissions", ({ permissions }) => permissions.delete(account)),
    transfer: (id, owner) =>
      changed(id, "permissions", (file) => {
        if (file.owner) file.permissions.set(file.owner, "writer");
        file.permissions.delete(owner);
        file.owner = owner;
      }),
    touch: (id) =>
      changed(id, "properties", (file) => {
        file.modifiedAt = now();
      }),
    forbidDownload: (id) =>
      changed(id, "permissions", (file) => {
        file.canDownload = false;
      }),
    openByLink: (id, isOpen = true) =>
      changed(id, "permissions", (file) => {
        file.isOpenByLink = isOpen;
      }),
    makeMalformed: (id, answer) => {
      findFile(store, id).malformed = answer;
    },
    expirePageTokens: () => {
      store.sequence += 1;
      store.oldestSequence = store.sequence;
    },
    files: (account) => [...store.files.values()].filter((file) => sees(store, account, file)),
    channels: () => channels.list(),
    settled: () => channels.settled(),
    close: () => channels.close(),
  };
}
