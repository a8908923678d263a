import { join, resolve } from "node:path";
import type { Log } from "../lib/log.ts";
import { EmbeddedError, prepareFolder, type Transport } from "./embedded-folder.ts";
import { announcePresence } from "./embedded-presence.ts";
import { ensureRunning, psqlCommandOf, urlOf } from "./embedded-server.ts";
import { withFileLock } from "./file-lock.ts";

/** A PostgreSQL server of our own. Closing it leaves it; the last Daybook process to leave stops it. */
export type Embedded = {
  url: string;
  /** A command line that opens psql on it. */
  psql: string;
  [Symbol.asyncDispose](): Promise<void>;
};

type Options = {
  /** Further server settings, such as those that make tests fast. */
  settings?: Record<string, string>;
  /** Where Unix sockets cannot be had: a port on the loopback address, with a password. */
  transport?: Transport;
  /** Told where none runs yet. */
  onStarting?: () => void;
};

/**
 * Starts the server in `dataDir`, or joins the one that already runs there: left behind by a process that was killed, or
 * in use by another. The first start takes about a second, later ones a tenth. Should the server end under us, it is
 * started again.
 *
 * @throws {EmbeddedError} when the folder is not ours, is of another version, or the disk is full.
 */
export async function startEmbedded(
  dataDir: string,
  log: Log,
  options: Options = {},
): Promise<Embedded> {
  const { settings = {}, transport = process.platform === "win32" ? "loopback" : "socket" } =
    options;
  const { onStarting = () => {} } = options;
  try {
    const place = prepareFolder(resolve(dataDir), { settings, transport });
    const lock = join(place.dataDir, "start.lock");
    const presence = await announcePresence(place, {
      ensureRunning: () => withFileLock(lock, () => ensureRunning(place, onStarting)),
      log,
    });
    return {
      url: urlOf(place),
      psql: psqlCommandOf(place),
      [Symbol.asyncDispose]: () => presence.leave(),
    };
  } catch (error) {
    throw explain(dataDir, error);
  }
}

const cures: Record<string, string> = {
  ENOSPC: "the disk is full. Make room, or point DATA_DIR elsewhere.",
  EDQUOT: "the quota of this disk is used up. Make room, or point DATA_DIR elsewhere.",
  EROFS: "it cannot be written to. Point DATA_DIR elsewhere.",
  EACCES: "it belongs to another user. Start Daybook as that user, or point DATA_DIR elsewhere.",
  EPERM: "it belongs to another user. Start Daybook as that user, or point DATA_DIR elsewhere.",
  ENOTDIR: "it is a file, not a folder. Point DATA_DIR elsewhere.",
  EEXIST: "it is a file, not a folder. Point DATA_DIR elsewhere.",
};

function explain(dataDir: string, error: unknown): unknown {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const cure = cures[code];
  return cure
    ? new EmbeddedError(`The data folder ${resolve(dataDir)} cannot be used: ${cure}`, {
        cause: error,
      })
    : error;
}
