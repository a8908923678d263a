import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { sql } from "kysely";
import { addFault, clearFaults } from "../../sandbox/google/faults.ts";
import { openGoogleAccess } from "../../src/accounts/google-access.ts";
import { openApp } from "../../src/app.ts";
import { ProviderError } from "../../src/lib/errors.ts";
import { assertSameAsGoogle, eventIn, keptEvents } from "../calendars.ts";
import { openTestApp, type TestApp } from "../harness.ts";
import { until } from "../timing.ts";

const ana = "ana@example.com";
const priya = "priya@example.com";

const fault = (t: TestApp, settings: object) =>
  fetch(`${t.google.url}/_control/faults`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(settings),
  });

describe("limits towards Google", () => {
  test("are shared by all processes: what one has used, another has not", async () => {
    // Four fifths of this are given out.
    const environment = { GOOGLE_CALENDAR_USER_QUOTA: "20" };
    await using t = await openTestApp({ workers: false, environment });
    await t.signIn(ana);
    const { id } = await t.app.db.selectFrom("connections").select("id").executeTakeFirstOrThrow();
    await using second = await openApp(t.app.config, { clock: t.clock, log: t.app.log });
    const call = {
      purpose: "list calendars",
      api: "calendar",
      path: "/calendar/v3/users/me/calendarList",
    } as const;
    const outcomes = [];
    for (let index = 0; index < 20; index += 1) {
      const { request } = openGoogleAccess(index % 2 === 0 ? t.app : second, id);
      outcomes.push(
        await request(call).then(
          () => "answered",
          (error) => error,
        ),
      );
    }
    assert.equal(outcomes.filter((one) => one === "answered").length, 16);
    const refused = outcomes.at(-1);
    assert.ok(refused instanceof ProviderError && refused.failure === "wait");
    assert.ok((refused.retryAfterSeconds ?? 0) > 0);
    assert.equal(
      t.google.state.requests.filter(({ endpoint }) => endpoint === "calendar.calendarList.list")
        .length,
      16,
    );
  });

  test("Google's own pause is kept, for that account alone, and the change is there afterwards", async () => {
    await using t = await openTestApp();
    const [first, second] = [await t.signIn(ana), await t.signIn(priya)];
    await t.idle();
    await fault(t, {
      endpoint: "calendar.events.list",
      person: ana,
      status: 403,
      reason: "userRateLimitExceeded",
      retryAfter: 2,
      times: 1,
    });
    t.google.calendar.addEvent(ana, eventIn(t, 1));
    t.google.calendar.addEvent(priya, eventIn(t, 1));
    await t.asService("POST", "/api/v1/cron/calendar-polling");
    assert.deepEqual(
      [(await keptEvents(t, first.userId)).length, (await keptEvents(t, second.userId)).length],
      [0, 1],
    );
    const { rows } = await sql<{ last_error: string; seconds: number }>`
      select last_error, extract(epoch from retry_at - last_run_at)::float8 as seconds from feeds where failures > 0`.execute(
      t.app.db,
    );
    // The pause is the account's: its list of calendars may meet it too.
    assert.ok(rows.length >= 1);
    for (const { last_error, seconds } of rows) {
      assert.match(last_error, /asked for a pause/);
      assert.ok(seconds >= 1);
    }
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    t.clock.advance(60_000);
    await t.idle();
    await assertSameAsGoogle(t, ana, first.userId);
  });

  test("a page that is larger than we take is asked for in smaller pieces the next time", async () => {
    await using t = await openTestApp();
    addFault(t.google.state, { endpoint: "calendar.events.list", paddingBytes: 64_000_001 });
    t.google.calendar.addEvent(ana, eventIn(t, 1));
    const { userId } = await t.signIn(ana);
    await t.idle();
    const failed = await t.app.db
      .selectFrom("feeds")
      .select(["last_error_reason", "details"])
      .where("failures", ">", 0)
      .executeTakeFirstOrThrow();
    assert.equal(failed.last_error_reason, "answer_too_large");
    assert.equal(failed.details.pageSize, 625);
    t.clock.advance(30 * 60_000);
    await t.idle();
    await assertSameAsGoogle(t, ana, userId);
  });

  test("somebody whose calendars are slow or failing does not delay the others", async () => {
    await using t = await openTestApp();
    for (let index = 0; index < 20; index += 1)
      t.google.calendar.addCalendar(ana, { title: `Slow ${index}` });
    await t.signIn(ana);
    const other = await t.signIn(priya);
    await t.idle();
    const calls = { endpoint: "calendar.events.list", person: ana, times: null };
    const slow = addFault(t.google.state, { ...calls, delayMs: 10_000 });
    const polling = t.asService("POST", "/api/v1/cron/calendar-polling");
    await until(() => slow.hits >= 3);
    t.google.calendar.addEvent(priya, eventIn(t, 1));
    const startedAt = performance.now();
    await t.asService("POST", `/api/v1/calendar/sync/${other.userId}?wait=true`);
    const ms = performance.now() - startedAt;
    assert.equal((await keptEvents(t, other.userId)).length, 1);
    // Whoever had to wait for one of the slow calls would be later than a busy machine is.
    assert.ok(ms < 8_000, `${Math.round(ms)} ms`);
    clearFaults(t.google.state);
    await polling;
  });
});
