import { createHash } from "node:crypto";
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Account, accountOf, ownAccount } from "./embedded-account.ts";

/** Where an embedded server lives, whom it runs as, and how it is reached. */
export type Place = {
  dataDir: string;
  cluster: string;
  logFile: string;
  passwordFile: string;
  /** The system user of the server; null when it runs as we do. */
  account: Account | null;
  endpoint: { kind: "socket"; folder: string } | { kind: "loopback" };
  settings: Record<string, string>;
};

export type Transport = Place["endpoint"]["kind"];

/** Something about the data folder that only a person can mend. The message says what. */
export class EmbeddedError extends Error {
  override readonly name = "EmbeddedError";
}

/** The PostgreSQL that Daybook brings: a data folder belongs to one major version. */
const majorVersion = "18";
// sun_path holds 107 bytes and a closing zero on Linux, 103 on macOS; PostgreSQL adds the name of the socket.
const longestSocketFolder = 103 - "/.s.PGSQL.5432".length;
const ourNames =
  /^(secrets\.json.*|postgres.*|socket|sandbox|start\.lock|lost\+found|\.gitignore|\.gitkeep|\.DS_Store)$/;

/**
 * Makes the data folder (mode 700) and what the server needs around its own files.
 *
 * @throws {EmbeddedError} when the folder holds anything that is not ours, which is then left as it is.
 */
export function prepareFolder(
  dataDir: string,
  { settings, transport }: { settings: Record<string, string>; transport: Transport },
): Place {
  const cluster = join(dataDir, "postgres");
  refuseForeignFolder(dataDir);
  refuseForeignCluster(cluster);
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  // The server refuses files of another user: made as one user and started by root, it goes on as that user.
  const account = (existsSync(cluster) ? accountOf(cluster) : null) ?? ownAccount();
  keepPrivate(dataDir, account);
  const endpoint: Place["endpoint"] =
    transport === "loopback"
      ? { kind: "loopback" }
      : { kind: "socket", folder: prepareSocketFolder(dataDir, account) };
  const [logFile, passwordFile] = [
    join(dataDir, "postgres.log"),
    join(dataDir, "postgres.password"),
  ];
  return { dataDir, cluster, logFile, passwordFile, account, endpoint, settings };
}

function keepPrivate(folder: string, account: Account | null): void {
  if (account) chownSync(folder, account.uid, account.gid);
  chmodSync(folder, 0o700);
}

// What follows changes the folder's owner and mode, which must never happen to somebody's home or project.
function refuseForeignFolder(dataDir: string): void {
  if (!existsSync(dataDir)) return;
  const names = readdirSync(dataDir);
  if (names.includes("PG_VERSION")) {
    throw new EmbeddedError(
      `${dataDir} is itself the data folder of a PostgreSQL server. Point DATA_DIR at an empty folder, or set DATABASE_URL to that server.`,
    );
  }
  const foreign = names.filter((name) => !ourNames.test(name));
  if (foreign.length > 0 && !names.includes("postgres")) {
    throw new EmbeddedError(
      `${dataDir} holds other things (${foreign.slice(0, 3).join(", ")}). Point DATA_DIR at a folder of its own.`,
    );
  }
}

function refuseForeignCluster(cluster: string): void {
  if (!existsSync(cluster)) return;
  const versionFile = join(cluster, "PG_VERSION");
  if (!existsSync(versionFile)) {
    throw new EmbeddedError(
      `${cluster} exists and is not a PostgreSQL data folder. Move it away, or choose another DATA_DIR.`,
    );
  }
  const version = readFileSync(versionFile, "utf8").trim();
  if (version !== majorVersion) {
    throw new EmbeddedError(
      `${cluster} was made by PostgreSQL ${version}, and Daybook brings PostgreSQL ${majorVersion}. Dump it with pg_dump ${version} and load the dump through DATABASE_URL, or choose another DATA_DIR.`,
    );
  }
}

function prepareSocketFolder(dataDir: string, account: Account | null): string {
  const inside = join(dataDir, "socket");
  const isInside = Buffer.byteLength(inside) <= longestSocketFolder;
  const folder = isInside ? inside : join(tmpdir(), `daybook-${shortHash(dataDir)}`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  // Among everybody's temporary files, somebody else may have made it first.
  const { uid } = lstatSync(folder);
  const isOurs =
    lstatSync(folder).isDirectory() && [process.getuid?.(), account?.uid].includes(uid);
  if (!isInside && process.platform !== "win32" && !isOurs) {
    throw new EmbeddedError(
      `${folder} belongs to somebody else. Choose a DATA_DIR with a shorter path.`,
    );
  }
  keepPrivate(folder, account);
  return folder;
}

function shortHash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 12);
}
