import { globSync, mkdtempSync, rmSync, statfsSync, statSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import { run } from "node:test";
import { spec as Spec } from "node:test/reporters";
import { parseArgs } from "node:util";
import { Client } from "pg";
import { openDatabase } from "../src/db/connection.ts";
import { startEmbedded } from "../src/db/embedded.ts";
import { migrate } from "../src/db/migrate.ts";
import { openLog } from "../src/lib/log.ts";
import { sealingKey } from "../src/lib/secrets.ts";
import { installQueue, templateName, urlOfDatabase } from "./database.ts";

// `node test/run.ts [--external] [--name=PATTERN] [files]`: one PostgreSQL and one migrated template database for the
// whole run; each test file clones it. Without `--external` the server is our embedded one, in a temporary folder. With it,
// what asks no server is left out: it comes out the same whichever there is. Temporary folders are in memory where there is
// room.

const { values: wish, positionals: files } = parseArgs({
  options: { external: { type: "boolean", default: false }, name: { type: "string" } },
  allowPositionals: true,
});
// test/architecture.test.ts holds each file to its list.
const askServers = ["src/{api,db,queue}/**/*.test.ts", "test/*.test.ts", "test/flows/**/*.test.ts"];
const askNone = [
  "src/*.test.ts",
  "src/!(api|db|queue)/**/*.test.ts",
  "src/db/embedded.test.ts",
  "sandbox/**/*.test.ts",
  "bench/**/*.test.ts",
];
const memory = "/dev/shm";
const log = openLog("warn");

async function main(): Promise<void> {
  await using opened = new AsyncDisposableStack();
  const folder = mkdtempSync(join(isRoomy(memory) ? memory : tmpdir(), "daybook-test-"));
  opened.defer(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  const server = wish.external ? await externalServer() : await embeddedServer(folder, opened);
  const redisUrl = wish.external ? await externalRedis() : "";
  await makeTemplate(server);
  opened.defer(() => dropTemplate(server));
  Object.assign(process.env, {
    TMPDIR: folder,
    TEST_SERVER_URL: server,
    TEST_REDIS_URL: redisUrl,
    // Hundreds of processes load the same modules, which need compiling only once.
    NODE_COMPILE_CACHE: resolve("node_modules", ".cache", "daybook-tests"),
  });
  const patterns = wish.external ? askServers : [...askServers, ...askNone];
  const wanted = files.length > 0 ? files : patterns;
  const chosen = [...new Set(wanted.flatMap((pattern) => globSync(pattern)))];
  const missing = files.filter((file) => globSync(file).length === 0);
  if (missing.length > 0) throw new Error(`There is no ${missing.join(", ")}`);
  await runTests(chosen);
}

function isRoomy(folder: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize > 4_000_000_000;
  } catch {
    return false;
  }
}

async function embeddedServer(folder: string, opened: AsyncDisposableStack): Promise<string> {
  // A test database need not survive the machine.
  const settings = { fsync: "off", synchronous_commit: "off", full_page_writes: "off" };
  return opened.use(await startEmbedded(join(folder, "server"), log, { settings })).url;
}

async function externalServer(): Promise<string> {
  const url = process.env.TEST_DATABASE_URL ?? "postgresql://postgres@127.0.0.1:5432/postgres";
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  try {
    await client.connect();
    const { rows } = await client.query<{ version: string }>("select version()");
    process.stdout.write(`External server: ${rows[0]?.version}\n`);
  } catch (error) {
    throw new Error(
      `No PostgreSQL at TEST_DATABASE_URL (${url}): ${error instanceof Error ? error.message : error}`,
    );
  } finally {
    await client.end().catch(() => {});
  }
  return url;
}

async function externalRedis(): Promise<string> {
  const url = process.env.TEST_REDIS_URL ?? "redis://127.0.0.1:6379";
  const { hostname, port } = new URL(url);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = connect(Number(port || 6379), hostname, () => resolve());
  socket.on("error", () => reject(new Error(`No Redis at TEST_REDIS_URL (${url})`)));
  await promise.finally(() => socket.destroy());
  return url;
}

async function makeTemplate(server: string): Promise<void> {
  await dropTemplate(server);
  await withClient(server, (client) => client.query(`create database ${templateName}`));
  await using database = openDatabase(urlOfDatabase(server, templateName));
  const key = sealingKey("the key of the template database");
  await migrate(database, { keyring: { current: key, previous: [] }, log });
  await installQueue(database, log);
}

async function dropTemplate(server: string): Promise<void> {
  await withClient(server, (client) =>
    client.query(`drop database if exists ${templateName} with (force)`),
  );
}

async function withClient(url: string, act: (client: Client) => Promise<unknown>): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  await act(client).finally(() => client.end());
}

async function runTests(chosen: string[]): Promise<void> {
  const stopping = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stopping.abort());
  const tests = run({
    // The largest first: they take longest, and the last would run alone.
    files: chosen.toSorted((one, other) => statSync(other).size - statSync(one).size),
    concurrency: 3,
    timeout: 300_000,
    signal: stopping.signal,
    ...(wish.name === undefined ? {} : { testNamePatterns: wish.name }),
  });
  let count = 0;
  tests.on("test:pass", () => {
    count += 1;
  });
  tests.on("test:fail", () => {
    count += 1;
    process.exitCode = 1;
  });
  await pipeline(tests, new Spec(), process.stdout, { end: false });
  if (count === 0) throw new Error("No test ran");
}

await main();
// Whatever a test that was stopped still does.
process.exit();
