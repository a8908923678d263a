import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { sql } from "kysely";
import { openSession } from "../../src/accounts/sessions.ts";
import { openUserEvents } from "../../src/sync/user-events.ts";
import { eventIn } from "../calendars.ts";
import { openTestApp } from "../harness.ts";
import { listen } from "../listen.ts";
import { until } from "../timing.ts";

describe("server-sent events", () => {
  test("tell a user's pages of a change within a second of its commit, and nobody else's", async () => {
    await using t = await openTestApp({ push: true });
    const ana = await t.signIn("ana@example.com");
    const priya = await t.signIn("priya@example.com");
    await t.idle();
    const [anas, priyas] = [await listen(t, ana), await listen(t, priya)];
    await new Promise((resolve) => setTimeout(resolve, 300));
    t.google.calendar.addEvent("ana@example.com", eventIn(t, 1));
    await until(() => anas.told.length > 0);
    const { rows } = await sql<{ ms: number }>`
      select extract(epoch from now() - created_at) * 1000 as ms from user_events order by id desc limit 1`.execute(
      t.app.db,
    );
    assert.ok(rows[0]!.ms < 1_000, `${rows[0]!.ms} ms after the commit`);
    assert.deepEqual([anas.told[0]!.event, anas.told[0]!.data.created], ["calendar.changed", 1]);
    assert.deepEqual(priyas.told, []);
    await Promise.all([anas.leave(), priyas.leave()]);
  });

  test("cannot be asked for without their body, which would hold a connection for nothing", async () => {
    await using t = await openTestApp({ workers: false });
    const { cookie } = await t.signIn("ana@example.com");
    const signal = AbortSignal.timeout(2_000);
    const init = { method: "HEAD", headers: { cookie }, signal };
    assert.equal((await fetch(`${t.url}/api/v1/events`, init)).status, 404);
  });

  test("end with the next heartbeat after their session does", async (context) => {
    await using opened = new AsyncDisposableStack();
    const t = opened.use(await openTestApp({ workers: false }));
    const ana = await t.signIn("ana@example.com");
    const { token } = await openSession(t.app, ana.userId);
    context.mock.timers.enable({ apis: ["setInterval"] });
    opened.defer(() => context.mock.timers.reset());
    const read = async (headers: Record<string, string>) => {
      const answer = await fetch(`${t.url}/api/v1/events`, { headers });
      return answer.body!.pipeThrough(new TextDecoderStream()).getReader();
    };
    const signedOut = await read({ cookie: ana.cookie });
    const other = await read({ authorization: `Bearer ${token}` });
    for (const stream of [signedOut, other]) {
      assert.match((await stream.read()).value ?? "", /^retry/);
    }
    context.mock.timers.tick(15_000);
    assert.match((await signedOut.read()).value ?? "", /still here/);
    assert.equal((await ana.call("DELETE", "/api/v1/auth/session")).status, 204);
    context.mock.timers.tick(15_000);
    assert.deepEqual(await signedOut.read(), { done: true, value: undefined });
    assert.match((await other.read()).value ?? "", /still here/);
    await other.cancel();
  });

  test("tell nothing more to whoever has gone, however much they missed", async () => {
    await using t = await openTestApp({ workers: false });
    const ana = await t.signIn("ana@example.com");
    await sql`
      insert into user_events (user_id, type, payload)
      select ${ana.userId}, 'test', '{}' from generate_series(1, 1200)
    `.execute(t.app.db);
    await using userEvents = openUserEvents(t.app);
    const told: string[] = [];
    const subscription = userEvents.subscribe(ana.userId, "0", ({ id }) => {
      told.push(id);
      subscription.unsubscribe();
    });
    await until(() => told.length > 0);
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(told.length, 1);
  });

  test("go on after the last event that a page has seen, in order and without a gap", async () => {
    await using t = await openTestApp({ push: true });
    const ana = await t.signIn("ana@example.com");
    await t.idle();
    const first = await listen(t, ana);
    await new Promise((resolve) => setTimeout(resolve, 300));
    t.google.calendar.addEvent("ana@example.com", eventIn(t, 1));
    await until(() => first.told.length > 0);
    await first.leave();
    const insert = (from: number, until: number) =>
      sql`
        insert into user_events (user_id, type, payload)
        select ${ana.userId}, 'test', jsonb_build_object('number', number)
        from generate_series(${from}::integer, ${until - 1}) as number
      `.execute(t.app.db);
    await insert(0, 1_200);
    const second = await listen(t, ana, first.told.at(-1)!.id);
    await until(() => second.told.length >= 1_200);
    await Promise.all(
      Array.from({ length: 50 }, (_, number) => insert(1_200 + number, 1_201 + number)),
    );
    await until(() => second.told.length >= 1_250);
    const ids = second.told.map(({ id }) => Number(id));
    assert.deepEqual(
      ids,
      [...ids].sort((one, other) => one - other),
    );
    assert.equal(new Set(second.told.map(({ data }) => data.number)).size, 1_250);
    await second.leave();
  });

  test("come back by themselves when the database connection that hears of them breaks", async () => {
    await using t = await openTestApp({ push: true });
    const ana = await t.signIn("ana@example.com");
    await t.idle();
    const stream = await listen(t, ana);
    await new Promise((resolve) => setTimeout(resolve, 300));
    await sql`select pg_terminate_backend(pid) from pg_stat_activity
      where application_name = 'daybook events' and datname = current_database()`.execute(t.app.db);
    t.google.calendar.addEvent("ana@example.com", eventIn(t, 1));
    await until(() => stream.told.length > 0);
    await stream.leave();
  });
});
