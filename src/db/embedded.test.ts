import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";
import { openLog } from "../lib/log.ts";
import { openDatabase } from "./connection.ts";
import { startEmbedded } from "./embedded.ts";

const log = openLog("silent");
const settings = { fsync: "off" };

test("a start makes a private folder without an open port, and the next one finds the data again", async (t) => {
  const folder = temporaryFolder(t);
  {
    await using server = await startEmbedded(folder, log, { settings });
    await ask(server.url, "create table kept as select 'a row' as word");
    assert.deepEqual(await ask(server.url, "show listen_addresses"), [{ listen_addresses: "" }]);
    assert.match(server.psql, /^psql 'postgresql:/);
  }
  assert.equal(statSync(folder).mode & 0o777, 0o700);
  assert.equal(isRunning(folder), false);
  await using server = await startEmbedded(folder, log, { settings });
  assert.deepEqual(await ask(server.url, "select word from kept"), [{ word: "a row" }]);
});

test("processes that start at once share one server, which only the last to leave stops", async (t) => {
  const folder = temporaryFolder(t);
  const processes = await Promise.all([
    startElsewhere(t, folder),
    startElsewhere(t, folder),
    startElsewhere(t, folder),
  ]);
  const server = pidOf(folder);
  for (const { leave } of processes.slice(1)) {
    await leave();
    assert.equal(pidOf(folder), server);
  }
  await processes[0]!.leave();
  assert.equal(isRunning(folder), false);
});

test("the server of a process that was killed is joined, and stopped by who joined it", async (t) => {
  const folder = temporaryFolder(t);
  const killed = await startElsewhere(t, folder);
  const server = pidOf(folder);
  await killed.kill();
  {
    await using joined = await startEmbedded(folder, log, { settings });
    assert.equal(pidOf(folder), server);
    await ask(joined.url, "select 1");
  }
  assert.equal(isRunning(folder), false);
});

test("a process killed while it makes the database leaves nothing that hinders the next", async (t) => {
  const folder = temporaryFolder(t);
  const starting = spawnStart(t, folder);
  while (!readdirSync(folder).some((name) => name.startsWith("postgres.new-"))) await sleep(5);
  await sleep(100);
  starting.kill("SIGKILL");
  await once(starting, "exit");
  await using server = await startEmbedded(folder, log, { settings });
  await ask(server.url, "select 1");
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith("postgres.new-")),
    [],
  );
});

for (const transport of ["socket", "loopback"] as const) {
  test(`a server that is killed under us comes back at the same address, by ${transport}`, async (t) => {
    const folder = temporaryFolder(t);
    await using server = await startEmbedded(folder, log, { settings, transport });
    await using database = openDatabase(server.url);
    await database.pool.query("create table kept as select 1 as number");
    process.kill(pidOf(folder), "SIGKILL");
    const rows = await eventually(() => ask(server.url, "select number from kept"));
    assert.deepEqual(rows, [{ number: 1 }]);
    assert.equal(
      (await eventually(() => database.pool.query("select number from kept"))).rowCount,
      1,
    );
  });
}

test("leaving while the server is gone ends all the same", async (t) => {
  const folder = temporaryFolder(t);
  const server = await startEmbedded(folder, log, { settings });
  process.kill(pidOf(folder), "SIGKILL");
  await server[Symbol.asyncDispose]();
  // The killed process is there until its parent has heard of it.
  await eventually(async () => assert.equal(isRunning(folder), false));
});

test("on the loopback address the password is asked for, and shown nowhere", async (t) => {
  const folder = temporaryFolder(t);
  await using server = await startEmbedded(folder, log, { settings, transport: "loopback" });
  const { password } = new URL(server.url);
  assert.equal(password.length, 48);
  await assert.rejects(
    ask(server.url.replace(password, "wrong"), "select 1"),
    /password authentication failed/,
  );
  assert.ok(!server.psql.includes(password));
  assert.equal(statSync(join(folder, "postgres.password")).mode & 0o777, 0o600);
});

test("a folder too deep for a socket is served by a private one elsewhere", async (t) => {
  const folder = join(temporaryFolder(t), "deep".repeat(30));
  await using server = await startEmbedded(folder, log, { settings });
  await ask(server.url, "select 1");
  const socketFolder = new URL(server.url).searchParams.get("host") ?? "";
  t.after(() => rmSync(socketFolder, { recursive: true, force: true }));
  assert.equal(statSync(socketFolder).mode & 0o777, 0o700);
});

test("what a query got wrong is not kept in the server's log", async (t) => {
  const folder = temporaryFolder(t);
  await using server = await startEmbedded(folder, log, { settings });
  await assert.rejects(ask(server.url, "select 'someone@example.com'::integer"));
  assert.ok(!readFileSync(join(folder, "postgres.log"), "utf8").includes("example.com"));
});

test("a folder that is not ours is refused in words, and left as it is", async (t) => {
  const refused = async (files: Record<string, string>, message: RegExp) => {
    const folder = temporaryFolder(t);
    mkdirSync(join(folder, "postgres"));
    if (!Object.keys(files).some((name) => name.startsWith("postgres/")))
      rmSync(join(folder, "postgres"), { recursive: true });
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
    const before = statSync(folder);
    await assert.rejects(startEmbedded(folder, log), { name: "EmbeddedError", message });
    assert.deepEqual([statSync(folder).mode, statSync(folder).uid], [before.mode, before.uid]);
  };
  await refused({ PG_VERSION: "15\n" }, /is itself the data folder of a PostgreSQL server/);
  await refused({ "notes.txt": "mine" }, /holds other things \(notes\.txt\)/);
  await refused({ "postgres/PG_VERSION": "17\n" }, /made by PostgreSQL 17/);
  await refused({ "postgres/notes.txt": "mine" }, /is not a PostgreSQL data folder/);
  const file = join(temporaryFolder(t), "file");
  writeFileSync(file, "");
  await assert.rejects(startEmbedded(file, log), { name: "EmbeddedError", message: /is a file/ });
});

test("a server that cannot start says why", async (t) => {
  const folder = temporaryFolder(t);
  await assert.rejects(startEmbedded(folder, log, { settings: { shared_buffers: "many" } }), {
    name: "EmbeddedError",
    message: /invalid value for parameter "shared_buffers"/,
  });
});

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "daybook-test-"));
  t.after(() => rmSync(folder, { recursive: true, force: true, maxRetries: 10 }));
  return folder;
}

async function ask(url: string, query: string): Promise<unknown[]> {
  const client = new Client({ connectionString: url });
  client.on("error", () => {});
  try {
    await client.connect();
    return (await client.query(query)).rows;
  } finally {
    await client.end().catch(() => {});
  }
}

async function eventually<Result>(act: () => Promise<Result>): Promise<Result> {
  for (const deadline = Date.now() + 20_000; ; ) {
    try {
      return await act();
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await sleep(50);
    }
  }
}

function pidOf(folder: string): number {
  return Number(readFileSync(join(folder, "postgres", "postmaster.pid"), "utf8").split("\n")[0]);
}

function isRunning(folder: string): boolean {
  try {
    return process.kill(pidOf(folder), 0);
  } catch {
    return false;
  }
}

// A Daybook process of its own: it starts, says so, and leaves when its input ends.
function spawnStart(t: TestContext, folder: string): ChildProcess {
  const script = `
    const { startEmbedded } = await import(${JSON.stringify(import.meta.resolve("./embedded.ts"))});
    const { openLog } = await import(${JSON.stringify(import.meta.resolve("../lib/log.ts"))});
    const server = await startEmbedded(${JSON.stringify(folder)}, openLog("silent"), { settings: { fsync: "off" } });
    process.stdout.write("ready");
    process.stdin.resume().on("end", () => server[Symbol.asyncDispose]());`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  t.after(() => child.kill("SIGKILL"));
  return child;
}

async function startElsewhere(
  t: TestContext,
  folder: string,
): Promise<{ leave(): Promise<void>; kill(): Promise<void> }> {
  const child = spawnStart(t, folder);
  const ended = once(child, "exit");
  await Promise.race([
    once(child.stdout!, "data"),
    ended.then(() => assert.fail("it did not start")),
  ]);
  return {
    leave: async () => {
      child.stdin!.end();
      assert.deepEqual(await ended, [0, null]);
    },
    kill: async () => {
      child.kill("SIGKILL");
      await ended;
    },
  };
}
