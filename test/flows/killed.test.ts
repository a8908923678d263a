import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import { openBrowser } from "../../sandbox/google/browser.ts";
import { accessToken } from "../../src/accounts/google-tokens.ts";
import { openTestApp, type TestApp, testEnvironment } from "../harness.ts";

const person = "zoe.lindqvist@example.org";

/** A server process of its own at the address that the sandbox sends people back to. */
async function startServer(t: TestApp, context: TestContext): Promise<ChildProcess> {
  const { port } = new URL(t.url);
  // Its limits are the usual ones: what other tests have counted must not count here.
  const environment = { REDIS_URL: "" };
  const place = { url: t.url, port: Number(port), database: t.database, environment };
  const child = spawn(process.execPath, ["src/main.ts", "serve", "--role", "api"], {
    env: {
      PATH: process.env.PATH,
      ...testEnvironment(t.google, place),
      HOST: "127.0.0.1",
      LOG_LEVEL: "error",
    },
    stdio: ["ignore", "ignore", "inherit"],
  });
  context.after(() => child.kill("SIGKILL"));
  while (!(await fetch(`${t.url}/live`).catch(() => null))?.ok) {
    assert.ok(isRunning(child), "the server ended before it was killed");
    await sleep(20);
  }
  return child;
}

function isRunning({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode === null && signalCode === null;
}

async function kill(child: ChildProcess): Promise<void> {
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}

async function delayToken(t: TestApp, delayMs: number): Promise<void> {
  await fetch(`${t.google.url}/_control/faults`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ endpoint: "oauth.token*", delayMs, times: 1 }),
  });
}

/** Begins a sign-in and answers how to come back from Google with it. */
async function beginSignIn(t: TestApp) {
  const begun = await fetch(`${t.url}/api/v1/auth/google/login`, { redirect: "manual" });
  const cookie = cookiesOf(begun);
  const back = await openBrowser().consent(begun.headers.get("location") ?? "", { person });
  return () => fetch(back, { headers: { cookie }, redirect: "manual" });
}

/** Signs in, and asks Google once more where Daybook wants that: an earlier consent may have died with its refresh token. */
async function signIn(t: TestApp): Promise<string | null> {
  const begun = await fetch(`${t.url}/api/v1/auth/google/login`, { redirect: "manual" });
  let cookie = cookiesOf(begun);
  let next = begun.headers.get("location") ?? "";
  while (next.startsWith(t.google.url)) {
    const back = await openBrowser().consent(next, { person });
    const answer = await fetch(back, { headers: { cookie }, redirect: "manual" });
    cookie = cookiesOf(answer) || cookie;
    next = answer.headers.get("location") ?? "";
  }
  return next;
}

function cookiesOf(answer: Response): string {
  return answer.headers
    .getSetCookie()
    .map((one) => one.split(";")[0])
    .join("; ");
}

test("a server killed at any moment of a sign-in leaves a person whole or not at all, and signing in again works", {
  timeout: 400_000,
}, async (context) => {
  await using t = await openTestApp({ workers: false });
  await t.server.close();
  for (const afterMs of [0, 60, 140, 160, 180, 200, 240]) {
    const server = await startServer(t, context);
    const comeBack = await beginSignIn(t);
    await delayToken(t, 150);
    const answer = comeBack().catch(() => null);
    await sleep(afterMs);
    await kill(server);
    await answer;
    const { rows } = await sql<{ users: number; connections: number; halves: number }>`
      select (select count(*)::int from users) as users, (select count(*)::int from connections) as connections,
        (select count(*)::int from connections where state = 'active' and refresh_token is null) as halves
    `.execute(t.app.db);
    assert.ok(rows[0]!.users <= 1);
    assert.deepEqual(
      [rows[0]!.connections, rows[0]!.halves],
      [rows[0]!.users, 0],
      `killed after ${afterMs} ms`,
    );
  }
  const server = await startServer(t, context);
  try {
    assert.equal(await signIn(t), "/");
    const { rows } = await sql`select state from connections`.execute(t.app.db);
    assert.deepEqual(rows, [{ state: "active" }]);
  } finally {
    await kill(server);
  }
});

test("a process killed in the middle of a refresh delays the next one by its lease, and no more", async (context) => {
  await using t = await openTestApp({ workers: false });
  const ana = await t.signIn("ana@example.com");
  const { id } = await t.app.db.selectFrom("connections").select("id").executeTakeFirstOrThrow();
  await sql`update connections set access_expires_at = now()`.execute(t.app.db);
  // It is killed before it is answered, however late the lease is seen.
  await delayToken(t, 60_000);
  const place = { url: t.url, port: 4400, database: t.database };
  const caller = spawn(process.execPath, ["src/main.ts", "worker"], {
    env: { PATH: process.env.PATH, ...testEnvironment(t.google, place), LOG_LEVEL: "error" },
    stdio: ["ignore", "ignore", "inherit"],
  });
  context.after(() => caller.kill("SIGKILL"));
  const isLeased = async () =>
    (
      await t.app.db
        .selectFrom("connections")
        .select("refresh_lease_owner")
        .executeTakeFirstOrThrow()
    ).refresh_lease_owner !== null;
  while (!(await isLeased())) {
    assert.ok(isRunning(caller), "the worker ended before it was killed");
    await sleep(5);
  }
  await kill(caller);
  assert.equal(await isLeased(), true, "it died holding the lease");
  // The lease ends by the database's clock; a test need not wait for it.
  await sql`update connections set refresh_lease_until = now()`.execute(t.app.db);
  assert.ok(await accessToken(t.app, id));
  assert.equal((await ana.call("GET", "/api/v1/me")).body.connections[0].state, "active");
});
