import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, test } from "node:test";
import { sql } from "kysely";
import { addFault } from "../../sandbox/google/faults.ts";
import { openApp } from "../../src/app.ts";
import { handlers } from "../../src/jobs.ts";
import { skipWaiting } from "../../src/queue/test-queue.ts";
import { startWorkers } from "../../src/queue/workers.ts";
import { openWatch } from "../../src/sync/watches.ts";
import { assertSameAsGoogle, eventIn, keptEvents } from "../calendars.ts";
import { untilItWaits } from "../database.ts";
import { openTestApp, type TestApp, type Visitor } from "../harness.ts";
import { fastestMs, until } from "../timing.ts";

const ana = "ana@example.com";
const hourMs = 3_600_000;

async function pushed(options: Parameters<typeof openTestApp>[0] = {}) {
  const t = await openTestApp({ push: true, ...options });
  const visitor = await t.signIn(ana);
  await t.idle();
  return { t, visitor, [Symbol.asyncDispose]: () => t[Symbol.asyncDispose]() };
}

/** The channel of the primary calendar as Google has it. */
function channelOf(t: TestApp) {
  const channel = t.google.calendar
    .channels()
    .find(({ watched }) => "calendar" in watched && watched.calendar.id === ana);
  assert.ok(channel, "a channel is open");
  return channel;
}

function notify(t: TestApp, headers: Record<string, string>, path = "/api/v1/webhooks/calendar") {
  return fetch(t.url + path, { method: "POST", headers });
}

function headersOf(t: TestApp, more: Record<string, string> = {}) {
  const { id, token, resourceId, resourceUri } = channelOf(t);
  return {
    "x-goog-channel-id": id,
    "x-goog-channel-token": token ?? "",
    "x-goog-resource-id": resourceId,
    "x-goog-resource-uri": resourceUri,
    "x-goog-resource-state": "exists",
    "x-goog-message-number": "1000",
    ...more,
  };
}

const watchesOf = (t: TestApp) =>
  t.app.db
    .selectFrom("watches")
    .innerJoin("feeds", "feeds.id", "watches.feed_id")
    .selectAll("watches")
    .where("feeds.resource", "=", ana)
    .orderBy("watches.requested_at")
    .execute();

/** Another calendar, followed and with a channel. */
async function addTeam({ t, visitor }: Awaited<ReturnType<typeof pushed>>) {
  const id = t.google.calendar.addCalendar(ana, { title: "Team" });
  await t.idle();
  const { body } = await visitor.call("GET", "/api/v1/sync/feeds");
  const feed = body.items.find((one: { title: string }) => one.title === "Team");
  assert.equal(openAt(t, id).length, 1);
  return { id, feedId: feed.id as string };
}

const openAt = (t: TestApp, calendarId: string) =>
  t.google.calendar
    .channels()
    .filter(({ watched }) => "calendar" in watched && watched.calendar.id === calendarId);

const statesOf = async (t: TestApp, feedId: string) =>
  (
    await t.app.db
      .selectFrom("watches")
      .select("state")
      .where("feed_id", "=", feedId)
      .orderBy("requested_at")
      .execute()
  ).map(({ state }) => state);

const runsOf = async (t: TestApp) =>
  (
    await sql<{
      count: number;
    }>`select count(*)::int from sync_runs join feeds on feeds.id = feed_id where resource = ${ana}`.execute(
      t.app.db,
    )
  ).rows[0]!.count;

// How an account goes.
const ends = {
  "turned off": (visitor: Visitor) => visitor.call("DELETE", "/api/v1/calendar/watch"),
  unticked: (visitor: Visitor, feedId: string) =>
    visitor.call("PATCH", `/api/v1/sync/feeds/${feedId}`, { is_wanted: false }),
};

const endsOfAccount = {
  disconnected: async (visitor: Visitor) => {
    const { body } = await visitor.call("GET", "/api/v1/me");
    const [{ id }] = body.connections;
    return visitor.call("POST", "/api/v1/auth/google/token/revoke", { connection_id: id });
  },
  deleted: (visitor: Visitor) => visitor.call("DELETE", "/api/v1/me"),
};

describe("push", () => {
  test("is on after signing in, for each calendar and the list, and brings a change within two seconds", async () => {
    await using story = await pushed();
    const { t, visitor } = story;
    assert.equal(t.google.calendar.channels().length, 2);
    const [watch] = await watchesOf(t);
    assert.ok(watch?.state === "open" && watch.confirmed_at, "Google's first message confirms it");
    const ms = await fastestMs(t, 2_000, {
      act: () => t.google.calendar.addEvent(ana, eventIn(t, 1, { summary: "Pushed" })),
      hasArrived: async (count) => (await keptEvents(t, visitor.userId)).length === count,
    });
    assert.ok(ms < 2_000, `${ms} ms`);
    await t.idle();
    const { rows } =
      await sql`select service, webhook_type, is_active from webhook_activity_tracking
        where service = 'calendar'`.execute(t.app.db);
    assert.deepEqual(rows, [{ service: "calendar", webhook_type: "push", is_active: true }]);
    const mirrored = await t.app.db
      .selectFrom("calendar_webhooks")
      .selectAll()
      .executeTakeFirstOrThrow();
    assert.deepEqual(
      [
        mirrored.google_calendar_id,
        mirrored.is_active,
        mirrored.webhook_id,
        mirrored.last_webhook_received !== null,
      ],
      ["primary", true, watch.id, true],
    );
  });

  test("opens with the new calendar as soon as somebody has one", async () => {
    await using story = await pushed();
    const { t, visitor } = story;
    const id = t.google.calendar.addCalendar(ana, { title: "New" });
    t.google.calendar.addEvent(ana, eventIn(t, 1), { calendarId: id });
    await t.idle();
    assert.equal((await keptEvents(t, visitor.userId, id)).length, 1);
    assert.equal(t.google.calendar.channels().length, 3);
  });

  test("works when the first message is faster than the answer that opens the channel", async () => {
    await using t = await openTestApp({ push: true });
    t.google.calendar.push.isSyncFirst = true;
    await t.signIn(ana);
    await t.idle();
    const watches = await watchesOf(t);
    assert.deepEqual(
      watches.map(({ state, confirmed_at }) => [state, confirmed_at !== null]),
      [["open", true]],
    );
  });

  test("twice, late, or in the wrong order does nothing more than once", async () => {
    await using story = await pushed();
    const { t, visitor } = story;
    Object.assign(t.google.calendar.push, { doubleShare: 1, jitterMs: 200 });
    for (let index = 0; index < 5; index += 1) {
      t.google.calendar.addEvent(ana, eventIn(t, index, { summary: `Event ${index}` }));
      await new Promise((resolve) => setTimeout(resolve, 60));
    }
    await t.idle();
    await assertSameAsGoogle(t, ana, visitor.userId);
    const before = await runsOf(t);
    const statuses = [];
    for (const number of ["5000", "5000", "4999", "5000"]) {
      statuses.push((await notify(t, headersOf(t, { "x-goog-message-number": number }))).status);
    }
    await t.idle();
    assert.deepEqual(statuses, [204, 204, 204, 204]);
    const after = await runsOf(t);
    assert.ok(after - before <= 2, `${after - before} runs`);
    const { rows } =
      await sql`select count(*)::int from notifications where message_number in (4999, 5000)`.execute(
        t.app.db,
      );
    assert.deepEqual(rows, [{ count: 2 }]);
  });

  test("that is lost costs time, never a change; a channel that loses too much is replaced", async () => {
    await using story = await pushed();
    const { t, visitor } = story;
    const first = channelOf(t).id;
    t.google.calendar.push.dropShare = 1;
    for (let time = 0; time < 3; time += 1) {
      t.google.calendar.addEvent(ana, eventIn(t, time + 1));
      t.clock.advance(7 * hourMs);
      await t.idle();
    }
    await assertSameAsGoogle(t, ana, visitor.userId);
    const [old] = await watchesOf(t);
    assert.deepEqual(
      [old!.id, old!.missed, old!.state, old!.close_reason],
      [first, 2, "closed", "missed"],
    );
    assert.notEqual(channelOf(t).id, first);
  });

  test("that is lost now and then among much that comes does not cost the channel", async () => {
    await using story = await pushed();
    const { t } = story;
    const first = channelOf(t).id;
    for (let time = 0; time < 4; time += 1) {
      for (let told = 0; told < 5; told += 1) {
        t.google.calendar.addEvent(ana, eventIn(t, told + 1));
        await t.idle();
      }
      t.google.calendar.push.dropShare = 1;
      t.google.calendar.addEvent(ana, eventIn(t, time + 6));
      await t.idle();
      t.google.calendar.push.dropShare = 0;
      t.clock.advance(7 * hourMs);
      await t.idle();
    }
    const [only, ...others] = await watchesOf(t);
    assert.deepEqual([only!.id, only!.missed, only!.state, others], [first, 4, "open", []]);
  });

  test("that tells of nothing new still shows that the channel lives", async () => {
    await using story = await pushed();
    const { t } = story;
    const aliveOf = async () => {
      const { rows } = await sql<{ alive: number }>`
        select (cadence->'channel'->>'alive')::float8 as alive from feeds where resource = ${ana}`.execute(
        t.app.db,
      );
      return rows[0]!.alive;
    };
    t.clock.advance(hourMs);
    await t.idle();
    await sql`update feeds set cadence = jsonb_set(cadence, '{channel,alive}', '0.5')`.execute(
      t.app.db,
    );
    await notify(t, headersOf(t));
    await t.idle();
    assert.ok((await aliveOf()) > 0.99);
  });

  test("that never comes has channels replaced ever more seldom, and is polled for", async () => {
    await using story = await pushed();
    const { t, visitor } = story;
    t.google.calendar.push.dropShare = 1;
    for (let half = 0; half < 44; half += 1) {
      t.google.calendar.addEvent(ana, eventIn(t, half + 1));
      t.clock.advance(hourMs / 2);
      await t.idle();
    }
    const opened = (await watchesOf(t)).map(({ opened_at }) => opened_at!.getTime() / hourMs);
    const waits = opened.slice(1).map((at, index) => at - opened[index]!);
    assert.ok(waits.length >= 3 && waits.length <= 5, waits.join(" "));
    assert.ok(waits.at(-1)! >= 4, waits.join(" "));
    t.clock.advance(hourMs);
    await t.idle();
    await assertSameAsGoogle(t, ana, visitor.userId);
  });

  test("counts each time where it has no number, as in a call of the older product", async () => {
    await using story = await pushed();
    const { t, visitor } = story;
    t.google.calendar.push.dropShare = 1;
    const { "x-goog-message-number": _, ...unnumbered } = headersOf(t);
    for (const path of [
      "/api/v1/webhooks/calendar",
      "/functions/v1/google-calendar-webhook/notify",
    ]) {
      t.google.calendar.addEvent(ana, eventIn(t, 1));
      const delivered = (await watchesOf(t))[0]!.delivered;
      assert.equal((await notify(t, unnumbered, path)).ok, true);
      await t.idle();
      assert.equal((await watchesOf(t))[0]!.delivered, delivered + 1);
      await assertSameAsGoogle(t, ana, visitor.userId);
    }
  });

  test("is believed only with the channel's own secret, and never by somebody's word", async () => {
    await using story = await pushed();
    const { t } = story;
    const before = await runsOf(t);
    const statusOf = async (headers: Record<string, string>) => (await notify(t, headers)).status;
    assert.equal(await statusOf(headersOf(t, { "x-goog-channel-token": "guessed" })), 401);
    assert.equal(await statusOf(headersOf(t, { "x-goog-channel-token": "" })), 401);
    assert.equal(await statusOf(headersOf(t, { "x-goog-resource-id": "of-another" })), 401);
    assert.equal(await statusOf(headersOf(t, { "x-goog-channel-id": randomUUID() })), 404);
    assert.equal(await statusOf(headersOf(t, { "x-goog-message-number": "first" })), 400);
    assert.equal(await statusOf({}), 400);
    await t.idle();
    assert.equal(await runsOf(t), before);
    assert.equal(await statusOf(headersOf(t)), 204);
    assert.equal((await notify(t, headersOf(t), "/api/v1/webhooks/google-calendar")).status, 204);
  });

  test("of a channel that nobody here knows is answered with 404, and the channel is stopped", async () => {
    await using story = await pushed();
    const { t } = story;
    const { id } = channelOf(t);
    await t.app.db.deleteFrom("watches").where("id", "=", id).execute();
    t.google.calendar.addEvent(ana, eventIn(t, 1));
    await t.idle();
    await skipWaiting(t.app);
    await t.idle();
    assert.ok(!t.google.calendar.channels().some((channel) => channel.id === id));
  });

  test("that somebody makes up, of whatever channels, costs the calendar's owner one call a minute at most", async () => {
    await using story = await pushed();
    const { t } = story;
    const calls = () =>
      t.google.state.requests.filter(({ endpoint }) => endpoint === "calendar.channels.stop");
    const uri = (id: string) =>
      `https://www.googleapis.com/calendar/v3/calendars/${encodeURIComponent(id)}/events?alt=json`;
    for (const calendar of [ana, "nobody@example.com"]) {
      for (let number = 0; number < 20; number += 1) {
        const made = { "x-goog-channel-id": randomUUID(), "x-goog-resource-uri": uri(calendar) };
        assert.equal((await notify(t, headersOf(t, made))).status, 404);
      }
    }
    await t.idle();
    assert.equal(calls().length, 0);
    await skipWaiting(t.app);
    await t.idle();
    assert.equal(calls().length, 1);
  });

  test("is renewed at half the channel's life without a gap, the old channel being heard until it expires", async () => {
    await using story = await pushed();
    const { t, visitor } = story;
    const old = headersOf(t);
    t.clock.advance(4.2 * 24 * hourMs);
    await t.idle();
    const watches = await watchesOf(t);
    assert.deepEqual(
      watches.map(({ state, close_reason }) => [state, close_reason]),
      [
        ["closed", "renewal"],
        ["open", null],
      ],
    );
    assert.ok(watches[1]!.opened_at! > watches[0]!.opened_at!);
    assert.equal((await notify(t, old)).status, 204);
    t.google.calendar.addEvent(ana, eventIn(t, 1));
    await t.idle();
    await assertSameAsGoogle(t, ana, visitor.userId);
    t.clock.advance(4 * 24 * hourMs);
    assert.equal((await notify(t, { ...old, "x-goog-message-number": "2000" })).status, 404);
  });

  test("that cannot be opened is tried again from a minute on, while polling goes on", async () => {
    await using t = await openTestApp({ push: true });
    const fault = { endpoint: "calendar.events.watch", status: 500, times: 2 };
    await fetch(`${t.google.url}/_control/faults`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(fault),
    });
    const visitor = await t.signIn(ana);
    await t.idle();
    for (const minutes of [2, 4]) {
      assert.equal((await watchesOf(t)).filter(({ state }) => state === "open").length, 0);
      t.clock.advance(minutes * 60_000);
      await t.idle();
    }
    assert.deepEqual(
      (await watchesOf(t)).map(({ state }) => state),
      ["failed", "failed", "open"],
    );
    await assertSameAsGoogle(t, ana, visitor.userId);
  });

  test("that Google does not offer for a calendar is no failure: it is polled", async () => {
    await using t = await openTestApp({ push: true });
    t.google.calendar.addCalendar(ana, { id: "holidays", title: "Holidays", kind: "holiday" });
    const visitor = await t.signIn(ana);
    await t.idle();
    const { body } = await visitor.call("GET", "/api/v1/sync/feeds");
    const feed = body.items.find((one: { resource: string }) => one.resource === "holidays");
    assert.deepEqual([feed.push.state, feed.failures, feed.state], ["not_offered", 0, "active"]);
    assert.ok(feed.next_at);
  });

  test("ends with the connection: channels are stopped before the grant is revoked", async () => {
    await using story = await pushed();
    const { t, visitor } = story;
    const { body } = await visitor.call("GET", "/api/v1/me");
    await visitor.call("POST", "/api/v1/auth/google/token/revoke", {
      connection_id: body.connections[0].id,
    });
    await t.idle();
    assert.deepEqual(t.google.calendar.channels(), []);
    assert.deepEqual(await keptEvents(t, visitor.userId), []);
    const asked = t.google.state.requests.map(({ endpoint }) => endpoint);
    assert.ok(asked.lastIndexOf("calendar.channels.stop") < asked.lastIndexOf("oauth.revoke"));
  });

  test("can be turned off and on by its owner", async () => {
    await using story = await pushed();
    const { t, visitor } = story;
    assert.equal((await visitor.call("DELETE", "/api/v1/calendar/watch")).status, 204);
    await t.idle();
    assert.deepEqual(t.google.calendar.channels(), []);
    await visitor.call("POST", `/api/v1/calendar/sync/${visitor.userId}?wait=true`);
    await t.idle();
    assert.deepEqual(t.google.calendar.channels(), []);
    const opened = await visitor.call("POST", "/api/v1/calendar/watch");
    assert.deepEqual([opened.status, opened.body.watches.length], [200, 2]);
    const again = await visitor.call("POST", "/api/v1/calendar/watch");
    assert.deepEqual(again.body, opened.body);
  });

  test("that ends while a channel is being opened has that channel closed too", async () => {
    for (const [how, end] of Object.entries(ends)) {
      await using story = await pushed();
      const { t, visitor } = story;
      const team = await addTeam(story);
      addFault(t.google.state, { endpoint: "calendar.events.watch", delayMs: 1_000 });
      const opening = openWatch(t.app, { feedId: team.feedId, reason: "person" });
      await until(async () => (await statesOf(t, team.feedId)).includes("opening"));
      await end(visitor, team.feedId);
      assert.equal(await opening, null, how);
      await t.idle();
      assert.deepEqual(openAt(t, team.id), [], how);
      assert.deepEqual(await statesOf(t, team.feedId), ["closed", "closed"], how);
    }
  });

  test("that ends with its account while a channel is being opened has that channel closed before the grant ends", async () => {
    for (const [how, end] of Object.entries(endsOfAccount)) {
      await using story = await pushed();
      const { t, visitor } = story;
      const { feedId } = await addTeam(story);
      const before = t.google.calendar.channels().length;
      // What the channel says first would name it before the answer does.
      t.google.calendar.push.dropShare = 1;
      addFault(t.google.state, { endpoint: "calendar.events.watch", holdMs: 1_000 });
      const opening = openWatch(t.app, { feedId, reason: "person" });
      await until(() => t.google.calendar.channels().length > before);
      await end(visitor);
      assert.equal(await opening, null, how);
      await t.idle();
      await skipWaiting(t.app);
      await t.idle();
      assert.deepEqual(t.google.calendar.channels(), [], how);
      assert.equal(t.google.state.grants.size, 0, how);
    }
  });

  test("that ends just as a channel begins to be opened waits for that before the grant ends", async () => {
    for (const [how, end] of Object.entries(endsOfAccount)) {
      await using story = await pushed();
      const { t, visitor } = story;
      const { feedId } = await addTeam(story);
      const now = t.clock.now();
      const { ending } = await t.app.db.transaction().execute(async (tx) => {
        await sql`select from feeds where id = ${feedId} for update`.execute(tx);
        const ending = end(visitor);
        await untilItWaits(t.app.db, ending);
        await sql`
          insert into watches (id, feed_id, user_id, secret_hash, requested_at, expires_at)
          select gen_random_uuid(), id, user_id, '', ${now}::timestamptz, ${now}::timestamptz + interval '1 day'
          from feeds where id = ${feedId}
        `.execute(tx);
        return { ending };
      });
      await ending;
      await t.idle();
      assert.equal(t.google.state.grants.size, 1, how);
      await skipWaiting(t.app);
      await t.idle();
      assert.equal(t.google.state.grants.size, 0, how);
    }
  });

  test("that ended before a channel was asked for opens none", async () => {
    await using story = await pushed();
    const { t } = story;
    const { id, feedId } = await addTeam(story);
    // Whoever holds the row is turning push off; who opens a channel has read it before.
    const held = await t.app.db.transaction().execute(async (tx) => {
      await sql`update feeds set is_push_wanted = false where id = ${feedId}`.execute(tx);
      const opening = openWatch(t.app, { feedId, reason: "person" });
      await new Promise((resolve) => setTimeout(resolve, 300));
      return { opening };
    });
    assert.equal(await held.opening, null);
    assert.equal(openAt(t, id).length, 1);
  });

  test("that ends after whoever opened a channel was killed has it closed once the channel has spoken", async () => {
    await using story = await pushed();
    const { t, visitor } = story;
    const { id, token, resourceId } = channelOf(t);
    // What the killed one leaves behind, before Google's first message is there.
    await sql`
      update watches set state = 'opening', resource_id = null, confirmed_at = null, requested_at = ${t.clock.now()}
      where id = ${id}
    `.execute(t.app.db);
    await visitor.call("DELETE", "/api/v1/calendar/watch");
    await t.idle();
    assert.deepEqual(
      t.google.calendar.channels().map((channel) => channel.id),
      [id],
    );
    const { status } = await notify(t, {
      "x-goog-channel-id": id,
      "x-goog-channel-token": token ?? "",
      "x-goog-resource-id": resourceId,
      "x-goog-resource-state": "sync",
      "x-goog-message-number": "1",
    });
    assert.equal(status, 204);
    t.clock.advance(150_000);
    await t.idle();
    assert.deepEqual(t.google.calendar.channels(), []);
    assert.deepEqual(
      (await watchesOf(t)).map(({ state }) => state),
      ["closed"],
    );
  });

  test("of one feed at two workers makes one run at a time, and exactly one more for what came meanwhile", async () => {
    await using story = await pushed();
    const { t, visitor } = story;
    await using second = await openApp(t.app.config, { clock: t.clock, log: t.app.log });
    await using _workers = await startWorkers(second, handlers);
    const slow = { endpoint: "calendar.events.list", delayMs: 2_500, times: 1 };
    await fetch(`${t.google.url}/_control/faults`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(slow),
    });
    const before = await runsOf(t);
    t.google.calendar.addEvent(ana, eventIn(t, 1));
    await new Promise((resolve) => setTimeout(resolve, 200));
    for (let number = 1; number <= 10; number += 1) {
      await notify(t, headersOf(t, { "x-goog-message-number": String(9000 + number) }));
    }
    await t.idle();
    assert.equal((await runsOf(t)) - before, 2);
    await assertSameAsGoogle(t, ana, visitor.userId);
  });

  test("of a burst while looks are dear shares one look, within a minute of the first, or as soon as somebody asks or comes", async () => {
    await using story = await pushed();
    const { t, visitor } = story;
    // A look that came while another was on its way may still wait to take its place.
    await skipWaiting(t.app);
    await t.idle();
    await sql`
      insert into look_prices (api, price, calls, budget, adjusted_at)
      values ('calendar', 60000, 0, 0, ${t.clock.now()}::timestamptz + interval '1 day')
      on conflict (api) do update set price = excluded.price, adjusted_at = excluded.adjusted_at
    `.execute(t.app.db);
    const waiting = async () => {
      const { rows } = await sql<{ in_seconds: number }>`
        select extract(epoch from start_after - now())::float8 as in_seconds from pgboss.job_common
        where name = 'feeds.sync' and state = 'created' and start_after > now()
      `.execute(t.app.db);
      return rows.map(({ in_seconds }) => in_seconds);
    };
    const burst = async () => {
      for (let count = 0; count < 5; count += 1) {
        t.google.calendar.addEvent(ana, eventIn(t, count));
        t.clock.advance(1_000);
        await t.idle();
      }
    };
    const before = await runsOf(t);
    await burst();
    const [inSeconds, ...others] = await waiting();
    assert.ok(inSeconds! > 50 && inSeconds! <= 60, `${inSeconds} s`);
    assert.deepEqual(others, []);
    assert.equal(await runsOf(t), before);
    await visitor.call("POST", `/api/v1/calendar/sync/${visitor.userId}?wait=true`);
    await t.idle();
    assert.equal((await keptEvents(t, visitor.userId)).length, 5);
    assert.equal(await runsOf(t), before + 1);

    await burst();
    assert.equal(await runsOf(t), before + 1);
    await visitor.call("POST", "/api/v1/sync/record-activity", { activity_type: "app_load" });
    await t.idle();
    assert.equal((await keptEvents(t, visitor.userId)).length, 10);
    assert.deepEqual(await waiting(), []);
  });

  test("and polling both end while a grant is dead, and are back by signing in again", async () => {
    await using story = await pushed();
    const { t, visitor } = story;
    await fetch(`${t.google.url}/_control/people/${ana}/revoke`, { method: "POST" });
    t.google.calendar.addEvent(ana, eventIn(t, 1));
    t.clock.advance(2 * hourMs);
    await t.idle();
    const { rows } = await sql`select distinct state, state_reason, due_at from feeds`.execute(
      t.app.db,
    );
    assert.deepEqual(rows, [{ state: "paused", state_reason: "reconnect_needed", due_at: null }]);
    const again = await t.signIn(ana, { consent: true } as never);
    await t.idle();
    assert.equal(again.userId, visitor.userId);
    await assertSameAsGoogle(t, ana, visitor.userId);
    const { rows: states } = await sql`select distinct state from feeds`.execute(t.app.db);
    assert.deepEqual(states, [{ state: "active" }]);
  });

  test("and polling go on when somebody signs in again while Google still refuses the dead grant", async () => {
    await using story = await pushed();
    const { t } = story;
    await fetch(`${t.google.url}/_control/people/${ana}/revoke`, { method: "POST" });
    addFault(t.google.state, {
      endpoint: "oauth.token.refresh",
      status: 400,
      reason: "invalid_grant",
      delayMs: 1_500,
    });
    t.google.state.requests.length = 0;
    t.clock.advance(2 * hourMs);
    const polled = t.asService("POST", "/api/v1/cron/drive-polling");
    await until(() =>
      t.google.state.requests.some(({ endpoint }) => endpoint === "oauth.token.refresh"),
    );
    await t.signIn(ana, { consent: true } as never);
    await polled;
    await t.idle();
    const { rows } = await sql`select distinct state, state_reason from feeds`.execute(t.app.db);
    assert.deepEqual(rows, [{ state: "active", state_reason: null }]);
  });

  test("and polling survive a clock that jumps, forwards and backwards", async () => {
    await using story = await pushed();
    const { t, visitor } = story;
    for (const jumpMs of [30 * 24 * hourMs, -29 * 24 * hourMs, 40 * 24 * hourMs]) {
      t.clock.advance(jumpMs);
      t.google.calendar.addEvent(ana, eventIn(t, 1));
      await t.asService("POST", `/api/v1/calendar/sync/${visitor.userId}?wait=true`);
      await t.idle();
      await assertSameAsGoogle(t, ana, visitor.userId);
    }
  });
});
