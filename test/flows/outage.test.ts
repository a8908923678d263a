import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";
import { assertSameAsGoogle, eventIn } from "../calendars.ts";
import { openTestApp, type TestApp } from "../harness.ts";

/** Lets nobody into the test's database, and throws out who is in, until it is disposed of. */
async function closeDatabase(t: TestApp): Promise<AsyncDisposable> {
  const name = new URL(t.database.url).pathname.slice(1);
  const client = new Client({ connectionString: process.env.TEST_SERVER_URL });
  await client.connect();
  await client.query(`alter database ${name} with allow_connections false`);
  await client.query("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", [
    name,
  ]);
  return {
    [Symbol.asyncDispose]: async () => {
      await client.query(`alter database ${name} with allow_connections true`);
      await client.end();
    },
  };
}

test("a database that is away for a while is answered with 503, and everything goes on by itself when it is back", async () => {
  await using t = await openTestApp({ push: true });
  const ana = await t.signIn("ana@example.com");
  await t.idle();
  {
    await using _closed = await closeDatabase(t);
    t.google.calendar.addEvent("ana@example.com", eventIn(t, 1));
    const me = await ana.call("GET", "/api/v1/me");
    assert.deepEqual(
      [me.status, me.headers.get("content-type")?.split(";")[0]],
      [503, "application/problem+json"],
    );
    assert.ok(Number(me.headers.get("retry-after")) > 0);
    assert.equal((await ana.call("GET", "/ready")).status, 503);
    assert.equal((await ana.call("GET", "/live")).status, 200);
    const health = await ana.call("GET", "/health");
    assert.deepEqual([health.status, health.body.services.database.status], [503, "failing"]);
    await sleep(1_500);
  }
  for (
    const deadline = Date.now() + 30_000;
    (await ana.call("GET", "/ready")).status !== 200;
    await sleep(100)
  ) {
    assert.ok(Date.now() < deadline);
  }
  assert.equal((await ana.call("GET", "/api/v1/me")).status, 200);
  for (const deadline = Date.now() + 60_000; ; await sleep(250)) {
    const same = await assertSameAsGoogle(t, "ana@example.com", ana.userId).then(
      () => true,
      () => false,
    );
    if (same) break;
    assert.ok(Date.now() < deadline, "the change that came meanwhile is there");
  }
});
