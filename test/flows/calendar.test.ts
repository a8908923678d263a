import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { sql } from "kysely";
import type { Tx } from "../../src/db/connection.ts";
import { eventChangeOf } from "../../src/providers/google/calendar-events.ts";
import { enqueue } from "../../src/queue/queue.ts";
import { calendarSource } from "../../src/sync/calendar.ts";
import { getFeed, syncJob } from "../../src/sync/feeds.ts";
import { assertSameAsGoogle, eventIn, keptEvents, keptMeetings } from "../calendars.ts";
import { delta, openTestApp, type TestApp, type Visitor } from "../harness.ts";
import { until, waitingFor } from "../timing.ts";

const meet = { location: "https://meet.google.com/abc-defg-hij" };
const ana = "ana@example.com";

async function syncNow(t: TestApp, visitor: Visitor, body?: unknown) {
  const path = `/api/v1/calendar/sync/${visitor.userId}?wait=true`;
  const { status, body: result } = await t.asService("POST", path, body);
  assert.equal(status, 200, JSON.stringify(result));
  await t.idle();
  return result;
}

async function signedIn(options: Parameters<typeof openTestApp>[0] = {}) {
  const t = await openTestApp(options);
  const visitor = await t.signIn(ana);
  await t.idle();
  return { t, visitor, [Symbol.asyncDispose]: () => t[Symbol.asyncDispose]() };
}

/** Another calendar that is followed, with a meeting in it. */
async function addCalendar({ t, visitor }: Awaited<ReturnType<typeof signedIn>>, title: string) {
  const id = t.google.calendar.addCalendar(ana, { title });
  const event = t.google.calendar.addEvent(ana, eventIn(t, 3, meet), { calendarId: id });
  await syncNow(t, visitor);
  const { body } = await visitor.call("GET", "/api/v1/sync/feeds");
  const feed = body.items.find((one: { title: string }) => one.title === title);
  assert.equal((await keptEvents(t, visitor.userId, id)).length, 1);
  return { id, eventId: event.id, feedId: feed.id as string };
}

/** What writes a person's meetings waits until this transaction ends. */
const lockMeetings = (tx: Tx, userId: string) =>
  sql`select pg_advisory_xact_lock(hashtextextended(${`meetings:${userId}`}, 0))`.execute(tx);

describe("a calendar", () => {
  test("is there in full after signing in, and follows what is added, changed and deleted", async () => {
    await using story = await signedIn();
    const { t, visitor } = story;
    const { calendar } = t.google;
    const lunch = calendar.addEvent(ana, eventIn(t, 3, { summary: "Lunch" }));
    const far = calendar.addEvent(ana, eventIn(t, 24 * 550, { summary: "In 18 months" }));
    const first = await syncNow(t, visitor);
    assert.deepEqual([first.created, first.updated, first.deleted], [2, 0, 0]);
    calendar.patchEvent(ana, lunch.id, { summary: "Late lunch" });
    calendar.deleteEvent(ana, far.id);
    const second = await syncNow(t, visitor);
    assert.deepEqual([second.created, second.updated, second.deleted], [0, 1, 1]);
    assert.deepEqual(
      (await keptEvents(t, visitor.userId)).map(({ title }) => title),
      ["Late lunch"],
    );
    const third = await syncNow(t, visitor);
    assert.equal(third.processed, 0);
    await assertSameAsGoogle(t, ana, visitor.userId);
  });

  test("has in the older product's log which days were read, and none where only changes were", async () => {
    await using story = await signedIn();
    const { t, visitor } = story;
    const now = t.clock.now().getTime();
    await syncNow(t, visitor);
    const logs = await t.app.db
      .selectFrom("calendar_sync_logs")
      .select(["sync_type", "sync_range_start", "sync_range_end"])
      .where("sync_type", "in", ["initial", "manual"])
      .orderBy("created_at")
      .execute();
    const daysOf = (at: Date | null) => at && Math.round((at.getTime() - now) / (24 * 3_600_000));
    const ranges = logs.map((log) => [
      log.sync_type,
      daysOf(log.sync_range_start),
      daysOf(log.sync_range_end),
    ]);
    assert.deepEqual(ranges, [
      ["initial", -7, 120],
      ["manual", null, null],
    ]);
  });

  test("keeps series with moved, edited and cancelled occurrences, and the rest when one is split", async () => {
    await using story = await signedIn();
    const { t, visitor } = story;
    const { calendar } = t.google;
    const weekly = calendar.addEvent(
      ana,
      eventIn(t, 2, { summary: "Weekly", recurrence: ["RRULE:FREQ=WEEKLY"] }),
    );
    const daily = calendar.addEvent(
      ana,
      eventIn(t, 5, { summary: "Standup", recurrence: ["RRULE:FREQ=DAILY;COUNT=10"] }),
    );
    await syncNow(t, visitor);
    await assertSameAsGoogle(t, ana, visitor.userId);
    const occurrences = calendar
      .listEvents(ana)
      .filter((one) => one.recurringEventId === weekly.id);
    calendar.patchEvent(ana, occurrences[1]!.id, eventIn(t, 200, { summary: "Weekly, moved" }));
    calendar.patchEvent(ana, occurrences[2]!.id, { summary: "Weekly, renamed" });
    calendar.deleteEvent(ana, occurrences[3]!.id);
    await syncNow(t, visitor);
    await assertSameAsGoogle(t, ana, visitor.userId);
    const from = occurrences[5] as unknown as { start: { dateTime: string } };
    calendar.splitSeries(ana, weekly.id, new Date(from.start.dateTime), { summary: "Weekly, new" });
    calendar.deleteEvent(ana, daily.id);
    await syncNow(t, visitor);
    await assertSameAsGoogle(t, ana, visitor.userId);
    const titles = new Set((await keptEvents(t, visitor.userId)).map(({ title }) => title));
    assert.deepEqual([...titles].sort(), [
      "Weekly",
      "Weekly, moved",
      "Weekly, new",
      "Weekly, renamed",
    ]);
  });

  test("keeps an event that is made recurring, or single again, only as what it is now", async () => {
    await using story = await signedIn();
    const { t, visitor } = story;
    const { calendar } = t.google;
    const weekly = { recurrence: ["RRULE:FREQ=WEEKLY;COUNT=3"] };
    const once = calendar.addEvent(ana, eventIn(t, 3, { summary: "Once", ...meet }));
    const agree = async (count: number) => {
      await syncNow(t, visitor);
      await assertSameAsGoogle(t, ana, visitor.userId);
      assert.equal((await keptMeetings(t, visitor.userId)).length, count);
    };
    await agree(1);
    calendar.patchEvent(ana, once.id, weekly);
    await agree(3);
    calendar.patchEvent(ana, once.id, { recurrence: [], ...eventIn(t, 30) });
    await agree(1);
    calendar.patchEvent(ana, once.id, weekly);
    calendar.deleteEvent(ana, once.id);
    await agree(0);
  });

  test("keeps a series whose single event Google calls cancelled, on the same page or a later one", async () => {
    for (const pageSizeCap of [50, 2]) {
      await using story = await signedIn();
      const { t, visitor } = story;
      const { calendar } = t.google;
      calendar.pages.pageSizeCap = pageSizeCap;
      const once = calendar.addEvent(ana, eventIn(t, 3, { summary: "Once", ...meet }));
      await syncNow(t, visitor);
      calendar.patchEvent(ana, once.id, { recurrence: ["RRULE:FREQ=WEEKLY;COUNT=3"] });
      calendar.injectMalformed(ana, { id: once.id, status: "cancelled" });
      await syncNow(t, visitor);
      await assertSameAsGoogle(t, ana, visitor.userId);
      assert.equal((await keptMeetings(t, visitor.userId)).length, 3);
    }
  });

  test("does not flood the tables with a series without end, whose occurrences appear as time moves on", async () => {
    await using story = await signedIn();
    const { t, visitor } = story;
    t.google.calendar.addEvent(ana, eventIn(t, 1, { recurrence: ["RRULE:FREQ=DAILY"] }));
    await syncNow(t, visitor);
    const before = await keptEvents(t, visitor.userId);
    assert.ok(before.length >= 115 && before.length <= 125, `${before.length} occurrences`);
    t.clock.advance(30 * 86_400_000);
    await t.idle();
    await syncNow(t, visitor);
    const after = await keptEvents(t, visitor.userId);
    assert.ok(after.length >= before.length + 25, `${after.length} occurrences`);
    await assertSameAsGoogle(t, ana, visitor.userId);
  });

  test("keeps whole days as dates, whatever the zone, and the kinds of Google's entries apart", async () => {
    await using story = await signedIn();
    const { t, visitor } = story;
    const { calendar } = t.google;
    calendar.addEvent(ana, {
      summary: "Trip",
      start: { date: "2027-03-27" },
      end: { date: "2027-03-30" },
    });
    calendar.addEvent(ana, eventIn(t, 4, { summary: "Focus", eventType: "focusTime", ...meet }));
    await syncNow(t, visitor);
    const { body } = await visitor.call("GET", "/api/v1/calendar/events?from=2027-03-01T00:00:00Z");
    const [trip] = body.items;
    assert.deepEqual(
      [trip.all_day, trip.start_date, trip.end_date, trip.start_time, trip.end_time],
      // Berlin puts its clocks forward on the 28th.
      [true, "2027-03-27", "2027-03-30", "2027-03-26T23:00:00.000Z", "2027-03-29T22:00:00.000Z"],
    );
    const { rows } =
      await sql`select event_type, is_meeting from calendar_events where title = 'Focus'`.execute(
        t.app.db,
      );
    assert.deepEqual(rows, [{ event_type: "focusTime", is_meeting: false }]);
    assert.equal((await keptMeetings(t, visitor.userId)).length, 0);
  });

  test("moves its whole days when its zone is changed, and has its new name within a day", async () => {
    await using story = await signedIn();
    const { t, visitor } = story;
    const { calendar } = t.google;
    const whole = { start: { date: "2027-03-27" }, end: { date: "2027-03-30" } };
    calendar.addEvent(ana, { summary: "Trip", ...whole });
    const team = await addCalendar(story, "Team");
    // Google's list tells of neither.
    const ofGoogle = calendar.store.calendars;
    Object.assign(ofGoogle.get(ana)!, { timeZone: "America/New_York" });
    Object.assign(ofGoogle.get(team.id)!, { title: "Team, renamed" });
    const starts = async () => {
      const { body } = await visitor.call(
        "GET",
        "/api/v1/calendar/events?from=2027-03-01T00:00:00Z",
      );
      return body.items.map((one: { start_time: string }) => one.start_time);
    };
    assert.deepEqual(await starts(), ["2027-03-26T23:00:00.000Z"]);
    await syncNow(t, visitor);
    assert.deepEqual(await starts(), ["2027-03-27T04:00:00.000Z"]);
    const reads = () =>
      t.google.state.requests.filter(({ endpoint }) => endpoint === "calendar.events.list").length;
    const before = reads();
    await syncNow(t, visitor);
    assert.equal(reads() - before, 2, "one increment of each calendar");
    const titles = async () => {
      const { body } = await visitor.call("GET", "/api/v1/sync/feeds");
      return body.items.map(({ title }: { title: string }) => title);
    };
    assert.ok((await titles()).includes("Team"));
    t.clock.advance(25 * 3_600_000);
    await t.idle();
    assert.ok((await titles()).includes("Team, renamed"));
    await assertSameAsGoogle(t, ana, visitor.userId);
  });

  test("is read again in full when Google forgot the cursor, also finding what was deleted meanwhile", async () => {
    await using story = await signedIn();
    const { t, visitor } = story;
    const { calendar } = t.google;
    const events = [1, 2, 3, 4].map((hours) =>
      calendar.addEvent(ana, eventIn(t, hours, { ...meet, summary: `E${hours}` })),
    );
    await syncNow(t, visitor);
    const before = await keptMeetings(t, visitor.userId);
    t.clock.advance(20 * 60_000);
    calendar.expireSyncTokens();
    calendar.deleteEvent(ana, events[1]!.id);
    calendar.addEvent(ana, eventIn(t, 5, { summary: "E5" }));
    await syncNow(t, visitor);
    await assertSameAsGoogle(t, ana, visitor.userId);
    const after = await keptMeetings(t, visitor.userId);
    assert.deepEqual(
      after.map(({ id, updated_at }) => [id, updated_at]),
      before.filter(({ title }) => title !== "E2").map(({ id, updated_at }) => [id, updated_at]),
      "what was known already is left alone",
    );
  });

  test("read in full once more, after a full reading that was interrupted, also misses what that one had seen", async () => {
    await using story = await signedIn();
    const { t, visitor } = story;
    const { calendar } = t.google;
    const events = [1, 2, 3, 4].map((hours) =>
      calendar.addEvent(ana, eventIn(t, hours, { ...meet, summary: `E${hours}` })),
    );
    await syncNow(t, visitor);
    calendar.pages.pageSizeCap = 2;
    await fetch(`${t.google.url}/_control/faults`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ endpoint: "calendar.events.list", status: 503, skip: 1 }),
    });
    await syncNow(t, visitor, { full: true });
    for (const { id } of events.slice(0, 2)) calendar.deleteEvent(ana, id);
    await syncNow(t, visitor, { full: true });
    await assertSameAsGoogle(t, ana, visitor.userId);
    assert.equal((await keptMeetings(t, visitor.userId)).length, 2);
  });

  test("is read again at once when Google forgot the cursor right after the first reading", async () => {
    await using story = await signedIn();
    const { t, visitor } = story;
    const { calendar } = t.google;
    const { id } = calendar.addEvent(ana, eventIn(t, 1, meet));
    await syncNow(t, visitor);
    calendar.expireSyncTokens();
    calendar.deleteEvent(ana, id);
    calendar.addEvent(ana, eventIn(t, 2, meet));
    const { error } = await syncNow(t, visitor);
    assert.equal(error, undefined);
    await assertSameAsGoogle(t, ana, visitor.userId);
  });

  test("is not read in full again and again when its cursor is always refused", async () => {
    await using story = await signedIn();
    const { t, visitor } = story;
    const { calendar } = t.google;
    t.clock.advance(20 * 60_000);
    calendar.expireSyncTokens();
    await syncNow(t, visitor);
    calendar.expireSyncTokens();
    calendar.addEvent(ana, eventIn(t, 1));
    await syncNow(t, visitor);
    t.google.state.requests.length = 0;
    const { id } = await t.app.db
      .selectFrom("feeds")
      .select("id")
      .where("kind", "=", "calendar")
      .where("failures", "=", 1)
      .executeTakeFirstOrThrow();
    for (let time = 0; time < 3; time += 1) {
      await enqueue(t.app, t.app.db, syncJob(id, "push"));
      await t.idle();
    }
    assert.equal(t.google.state.requests.length, 0);
    t.clock.advance(20 * 60_000);
    await t.idle();
    await assertSameAsGoogle(t, ana, visitor.userId);
  });

  test("records and skips an entry that is no event, and goes on with the rest", async () => {
    await using story = await signedIn();
    const { t, visitor } = story;
    const { calendar } = t.google;
    calendar.injectMalformed(ana, {
      id: "broken1",
      status: "confirmed",
      start: { dateTime: "soon" },
    });
    calendar.injectMalformed(ana, "not even an object");
    calendar.addEvent(ana, eventIn(t, 1, { summary: "Fine", somethingNew: { nested: [1] } }));
    const result = await syncNow(t, visitor);
    assert.deepEqual([result.created, result.skipped], [1, 2]);
    const skipped = await t.app.db
      .selectFrom("skipped_changes")
      .select("item")
      .orderBy("item")
      .execute();
    assert.deepEqual(skipped, [{ item: "broken1" }, { item: "unnamed" }]);
  });

  test("follows events between a person's calendars, and calendars as they are ticked and unticked", async () => {
    await using story = await signedIn();
    const { t, visitor } = story;
    const { calendar } = t.google;
    const team = calendar.addCalendar(ana, { title: "Team" });
    calendar.addCalendar(ana, { title: "Unticked", isSelected: false });
    const event = calendar.addEvent(ana, eventIn(t, 2, { summary: "Wanders", ...meet }));
    await syncNow(t, visitor);
    const [meeting] = await keptMeetings(t, visitor.userId);
    await visitor.call("PATCH", `/api/v1/meetings/${meeting!.id}`, { wants_bot: true });
    calendar.moveEvent(ana, event.id, { to: team });
    await syncNow(t, visitor);
    await assertSameAsGoogle(t, ana, visitor.userId);
    assert.deepEqual(
      (await keptEvents(t, visitor.userId)).map((one) => one.calendar),
      [team],
    );
    const [moved] = await keptMeetings(t, visitor.userId);
    assert.deepEqual([moved!.id, moved!.wants_bot, moved!.cancelled_at], [meeting!.id, true, null]);
    calendar.changeCalendar(ana, team, { selected: false });
    await syncNow(t, visitor);
    assert.deepEqual(await keptEvents(t, visitor.userId), []);
    const { body } = await visitor.call("GET", "/api/v1/sync/feeds");
    const feed = body.items.find((one: { title: string }) => one.title === "Team");
    assert.equal(feed.state, "stopped");
    const chosen = await visitor.call("PATCH", `/api/v1/sync/feeds/${feed.id}`, {
      is_wanted: true,
    });
    assert.equal(chosen.body.state, "active");
    await t.idle();
    assert.deepEqual(
      (await keptEvents(t, visitor.userId)).map((one) => one.title),
      ["Wanders"],
    );
  });

  test("that is no longer shared goes with its events and meetings, although Google's list tells of no change", async () => {
    await using story = await signedIn();
    const { t, visitor } = story;
    const { calendar } = t.google;
    const shared = calendar.addCalendar(ana, { title: "Shared", accessRole: "writer" });
    calendar.addEvent(ana, eventIn(t, 30, meet), { calendarId: shared });
    await syncNow(t, visitor);
    assert.equal((await keptMeetings(t, visitor.userId)).length, 1);
    // Without a change of its own it is in no increment.
    for (const list of calendar.store.lists.values()) {
      const listed = list.get(shared);
      if (listed) listed.isRemoved = true;
    }
    await syncNow(t, visitor);
    assert.deepEqual(await keptEvents(t, visitor.userId, shared), []);
    assert.deepEqual(await keptMeetings(t, visitor.userId), []);
    const feed = await t.app.db
      .selectFrom("feeds")
      .select(["state", "state_reason"])
      .where("resource", "=", shared)
      .executeTakeFirst();
    assert.deepEqual(feed, { state: "stopped", state_reason: "gone" });
  });

  test("can be unticked while a page of it is written", async () => {
    await using story = await signedIn();
    const { t, visitor } = story;
    const team = await addCalendar(story, "Team");
    t.google.calendar.patchEvent(ana, team.eventId, { summary: "New" }, { calendarId: team.id });
    const { answer } = await t.app.db.transaction().execute(async (tx) => {
      await lockMeetings(tx, visitor.userId);
      await visitor.call("POST", `/api/v1/sync/feeds/${team.feedId}/sync`, {});
      await until(async () => (await waitingFor(t)).length >= 1);
      const answer = visitor.call("PATCH", `/api/v1/sync/feeds/${team.feedId}`, {
        is_wanted: false,
      });
      await until(async () => (await waitingFor(t)).length >= 2);
      return { answer };
    });
    const { status, body } = await answer;
    assert.deepEqual([status, body.state], [200, "stopped"]);
    await t.idle();
    assert.deepEqual(await keptEvents(t, visitor.userId, team.id), []);
    assert.ok(!t.logged.some((line) => line.includes("deadlock")));
  });

  test("can go from the list, with another that is unticked there, while a page of it is written", async () => {
    await using story = await signedIn();
    const { t, visitor } = story;
    const unticked = await addCalendar(story, "Unticked");
    const gone = await addCalendar(story, "Gone");
    const { calendar } = t.google;
    calendar.patchEvent(ana, gone.eventId, { summary: "New" }, { calendarId: gone.id });
    const [event] = calendar.listEvents(ana, { calendarId: gone.id });
    const page = { changes: [eventChangeOf(event)], position: delta };
    calendar.changeCalendar(ana, unticked.id, { selected: false });
    calendar.removeCalendar(ana, gone.id);
    const list = await t.app.db
      .selectFrom("feeds")
      .select("id")
      .where("kind", "=", "calendar_list")
      .executeTakeFirstOrThrow();
    const feed = await getFeed(t.app, visitor.userId, gone.feedId);
    const { written } = await t.app.db.transaction().execute(async (tx) => {
      await sql`
        select from meetings where google_calendar_event_id = ${unticked.eventId} for update
      `.execute(tx);
      await visitor.call("POST", `/api/v1/sync/feeds/${list.id}/sync`, {});
      await until(async () => (await waitingFor(t)).length >= 1);
      const written = t.app.db
        .transaction()
        .execute((other) => calendarSource.apply(t.app, other, feed, page));
      await until(async () => (await waitingFor(t)).length >= 2);
      return { written };
    });
    await written;
    await t.idle();
    assert.ok(!t.logged.some((line) => line.includes("deadlock")));
  });

  test("of somebody with 30 calendars is there whole, each with its own cursor", async () => {
    await using t = await openTestApp();
    for (let index = 0; index < 29; index += 1) {
      const id = t.google.calendar.addCalendar(ana, { title: `Calendar ${index}` });
      t.google.calendar.addEvent(ana, eventIn(t, index + 1), { calendarId: id });
    }
    const visitor = await t.signIn(ana);
    await t.idle();
    const { rows } = await sql<{ count: number }>`
      select count(*)::int from feeds where kind = 'calendar' and cursor is not null and failures = 0`.execute(
      t.app.db,
    );
    assert.deepEqual(rows, [{ count: 30 }]);
    await assertSameAsGoogle(t, ana, visitor.userId);
  });

  test("shows today within two seconds of signing in, with 20,000 events to read", async () => {
    await using t = await openTestApp();
    const events = Array.from({ length: 20_000 }, (_, index) =>
      eventIn(t, index * 0.5 - 100, { summary: `Event ${index}` }),
    );
    t.google.calendar.addEvents(ana, events);
    const visitor = await t.signIn(ana);
    const startedAt = performance.now();
    let today = 0;
    while (today === 0 && performance.now() - startedAt < 20_000) {
      const now = t.clock.now();
      const to = new Date(now.getTime() + 12 * 3_600_000).toISOString();
      const { body } = await visitor.call(
        "GET",
        `/api/v1/calendar/events?from=${now.toISOString()}&to=${to}`,
      );
      today = body.items.length;
    }
    const todayMs = performance.now() - startedAt;
    await t.idle();
    assert.ok(today > 20);
    assert.ok(todayMs < 5_000, `${todayMs} ms`);
    await assertSameAsGoogle(t, ana, visitor.userId);
    const run = await t.app.db
      .selectFrom("sync_runs")
      .selectAll()
      .where("mode", "=", "full")
      .orderBy("processed", "desc")
      .executeTakeFirstOrThrow();
    assert.ok(run.pages >= 8, "read page by page");
  });
});
