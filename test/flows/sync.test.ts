import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { sql } from "kysely";
import { handlers } from "../../src/jobs.ts";
import { enqueue } from "../../src/queue/queue.ts";
import { startWorkers } from "../../src/queue/workers.ts";
import { initialCadence } from "../../src/sync/cadence.ts";
import { dispatchDueFeeds, getFeed, listFeeds, startFeeds, syncJob } from "../../src/sync/feeds.ts";
import { adjustPrices } from "../../src/sync/prices.ts";
import { findTerms, learnPriors } from "../../src/sync/priors.ts";
import { eventIn } from "../calendars.ts";
import { openTestApp, type TestApp, type Visitor } from "../harness.ts";
import { until } from "../timing.ts";

const ana = "ana@example.com";

describe("everything of a user at once", () => {
  let t: TestApp;
  let visitor: Visitor;
  before(async () => {
    t = await openTestApp();
    visitor = await t.signIn(ana);
    await t.idle();
  });
  after(() => t[Symbol.asyncDispose]());

  test("is synced in one call, each service with its own result, and remembered", async () => {
    t.google.calendar.addEvent(ana, eventIn(t, 1));
    const { status, body } = await visitor.call("POST", `/api/v1/sync/sync-all/${visitor.userId}`, {
      force: true,
      activity_type: "app_load",
    });
    assert.equal(status, 200);
    const byService = new Map<string, { created: number; error?: string; is_skipped: boolean }>(
      body.results.map((one: { service: string }) => [one.service, one]),
    );
    assert.deepEqual([...byService.keys()], ["calendar", "drive", "gmail", "attendee"]);
    assert.deepEqual(
      [byService.get("calendar")?.created, byService.get("calendar")?.error],
      [1, undefined],
    );
    assert.deepEqual(
      [byService.get("gmail")?.is_skipped, byService.get("gmail")?.error],
      [false, undefined],
    );
    assert.deepEqual(
      [byService.get("drive")?.is_skipped, byService.get("drive")?.error],
      [false, undefined],
    );
    assert.deepEqual(
      [byService.get("attendee")?.is_skipped, byService.get("attendee")?.error],
      [true, "Not connected"],
    );
    assert.ok(body.next_sync_in_ms > 0);
    const state = await t.app.db
      .selectFrom("user_sync_states")
      .selectAll()
      .executeTakeFirstOrThrow();
    assert.deepEqual([state.user_id, state.change_frequency], [visitor.userId, "high"]);
  });

  test("one service alone may be synced, by its owner or the service key, and by nobody else", async () => {
    const path = `/api/v1/sync/calendar/${visitor.userId}`;
    assert.equal((await visitor.call("POST", path)).body.service, "calendar");
    assert.equal((await t.asService("POST", path)).status, 200);
    const inCapitals = `/api/v1/sync/calendar/${visitor.userId.toUpperCase()}`;
    assert.equal((await visitor.call("POST", inCapitals)).status, 200);
    const priya = await t.signIn("priya@example.com");
    assert.equal((await priya.call("POST", path)).status, 404);
    assert.equal(
      (await t.asService("POST", `/api/v1/sync/calendar/${crypto.randomUUID()}`)).status,
      404,
    );
    assert.equal(
      (await visitor.call("POST", `/api/v1/sync/contacts/${visitor.userId}`)).status,
      422,
    );
  });

  test("whoever asks to wait for what is waited for in any case is not refused", async () => {
    const { userId } = visitor;
    for (const path of [
      `sync/calendar/${userId}`,
      `sync/sync-all/${userId}`,
      `calendar/poll/${userId}`,
      `email/poll-gmail/${ana}`,
    ]) {
      const { status } = await visitor.call("POST", `/api/v1/${path}?wait=true`);
      assert.equal(status, 200, path);
    }
  });

  test("somebody who is here brings forward what they may see, and the reason is told", async () => {
    const nextOf = async () =>
      (
        await visitor.call("GET", `/api/v1/sync/next-sync/${visitor.userId}`)
      ).body.services.calendar.find((one: { kind: string }) => one.kind === "calendar");
    t.clock.advance(11 * 60_000);
    await visitor.call("POST", `/api/v1/sync/calendar/${visitor.userId}`, { force: true });
    await t.idle();
    const before = await nextOf();
    const { body } = await visitor.call("POST", "/api/v1/sync/record-activity", {
      activity_type: "calendar_view",
    });
    assert.ok(body.brought_forward >= 1);
    const after = await nextOf();
    assert.ok(after.due_at < before.due_at);
    assert.deepEqual([after.why.rule, after.interval_ms <= 60_000], ["user_active", true]);
    assert.match(after.why.text, /Somebody is here/);
  });

  test("a feed that waits for its next try is not polled, and nobody waits for it", {
    timeout: 30_000,
  }, async () => {
    const inAnHour = new Date(t.clock.now().getTime() + 3_600_000);
    await t.app.db.updateTable("feeds").set({ retry_at: inAnHour }).execute();
    const { body } = await visitor.call("POST", `/api/v1/calendar/poll/${visitor.userId}`);
    assert.match(body.reason, /last try failed/);
    assert.equal((await t.asService("POST", "/api/v1/cron/gmail-polling")).status, 200);
    await t.app.db.updateTable("feeds").set({ retry_at: null }).execute();
  });

  test("nor does somebody who comes put off that try", async () => {
    const inAMinute = new Date(t.clock.now().getTime() + 60_000);
    const next = { retry_at: inAMinute, due_at: inAMinute };
    await t.app.db.updateTable("feeds").set(next).execute();
    await visitor.call("POST", "/api/v1/sync/record-activity", { activity_type: "app_load" });
    await t.idle();
    const feeds = await t.app.db.selectFrom("feeds").select(["retry_at", "due_at"]).execute();
    for (const feed of feeds) assert.deepEqual(feed, next);
    t.clock.advance(61_000);
    await t.idle();
    const failed = await t.app.db
      .selectFrom("feeds")
      .select("id")
      .where("retry_at", "is not", null)
      .execute();
    assert.deepEqual(failed, []);
  });

  test("a meeting about to start is looked at more often", async () => {
    t.clock.advance(20 * 60_000);
    const start = new Date(t.clock.now().getTime() + 10 * 60_000);
    t.google.calendar.addEvent(ana, {
      summary: "Soon",
      location: "https://meet.google.com/abc-defg-hij",
      start: { dateTime: start.toISOString() },
      end: { dateTime: new Date(start.getTime() + 3_600_000).toISOString() },
    });
    await visitor.call("POST", `/api/v1/sync/calendar/${visitor.userId}`, { force: true });
    await t.idle();
    await visitor.call("POST", `/api/v1/sync/calendar/${visitor.userId}`, { force: true });
    const { body } = await visitor.call("GET", `/api/v1/sync/next-sync/${visitor.userId}`);
    const next = body.services.calendar.find((one: { kind: string }) => one.kind === "calendar");
    assert.equal(next.why.rule, "pressing", JSON.stringify(next));
  });

  test("looks cost more while the project's quota runs short, and less again when there is room", async () => {
    const price = async () => {
      t.clock.advance(61_000);
      await adjustPrices(t.app);
      const row = await t.app.db
        .selectFrom("look_prices")
        .selectAll()
        .where("api", "=", "calendar")
        .executeTakeFirstOrThrow();
      return row.price;
    };
    assert.equal(await price(), 60);
    const feed = await t.app.db
      .selectFrom("feeds")
      .select(["id", "user_id"])
      .where("kind", "=", "calendar")
      .executeTakeFirstOrThrow();
    // A run is known at its end, and may have taken longer than the minute that is counted.
    const at = new Date(t.clock.now().getTime() + 30_000);
    await t.app.db
      .insertInto("sync_runs")
      .values({
        feed_id: feed.id,
        user_id: feed.user_id,
        run_number: "9999",
        reason: "poll",
        mode: "delta",
        started_at: new Date(at.getTime() - 90_000),
        finished_at: at,
        duration_ms: 90_000,
        outcome: "succeeded",
        processed: 0,
        created: 0,
        updated: 0,
        deleted: 0,
        skipped: 0,
        pages: 1,
        auto_scheduled: 0,
        provider_calls: 20_000,
      })
      .execute();
    const dear = await price();
    assert.ok(dear >= 110, String(dear));
    assert.ok((await price()) < dear);
  });

  test("how current it is can be asked, in numbers and plain words", async () => {
    const { body } = await visitor.call("GET", "/api/v1/sync/status");
    const calendar = body.services.find((one: { service: string }) => one.service === "calendar");
    assert.deepEqual(
      [calendar.is_connected, calendar.feeds, calendar.failures, calendar.last_error],
      [true, 2, 0, null],
    );
    assert.ok(calendar.staleness_seconds >= 0);
  });

  test("what push is worth, and which week people keep, is learnt from all feeds of a kind, once an hour", async () => {
    const priorOf = () =>
      t.app.db
        .selectFrom("feed_priors")
        .selectAll()
        .where("kind", "=", "drive")
        .executeTakeFirstOrThrow();
    t.clock.advance(61 * 60_000);
    await learnPriors(t.app);
    const before = await priorOf();
    await sql`
      update feeds set cadence = jsonb_set(cadence, '{channel}',
        '{"id": null, "alive": 0, "told": 500, "lost": 100, "deaths": 90, "days": 90}') where kind = 'drive'
    `.execute(t.app.db);
    await sql`
      update feeds set cadence = jsonb_set(jsonb_set(cadence, '{intensity,changes,3}', '40'), '{intensity,hours,3}', '20')
      where kind = 'drive'
    `.execute(t.app.db);
    await learnPriors(t.app);
    assert.deepEqual(await priorOf(), before);
    t.clock.advance(61 * 60_000);
    await learnPriors(t.app);
    const after = await priorOf();
    assert.equal(after.feeds, 2);
    assert.ok(after.loss > 0.1 && after.deaths_per_day > 0.5, JSON.stringify(after));
    assert.ok(after.week[3]! > 2 * before.week[3]!, JSON.stringify(after.week));
    const termsOf = await findTerms(t.app.db, []);
    const drive = { id: randomUUID(), connection_id: randomUUID() };
    const { push, week, speed } = termsOf(drive, "drive", t.clock.now()).prior;
    assert.deepEqual(
      { loss: push.loss, deaths_per_day: push.deathsPerDay, week, burst_speed: speed },
      {
        loss: after.loss,
        deaths_per_day: after.deaths_per_day,
        week: after.week,
        burst_speed: after.burst_speed,
      },
    );
  });

  // Nothing is looked at but what a test asks for.
  const rest = async () => {
    await t.app.db.updateTable("feeds").set({ due_at: null }).execute();
    await t.idle();
  };

  test("what an account's own feeds have shown speaks for each other, and for nobody else's", async () => {
    await rest();
    const now = t.clock.now();
    const feeds = await t.app.db.selectFrom("feeds").selectAll().execute();
    const own = feeds.filter(({ user_id }) => user_id === visitor.userId);
    const [calendar, mailbox, drive] = (["calendar", "gmail", "drive"] as const).map((kind) => {
      const feed = own.find((one) => one.kind === kind);
      assert.ok(feed);
      return { id: feed.id, connection_id: feed.connection_id, kind };
    });
    assert.ok(calendar && mailbox && drive);
    const theirs = feeds.find((one) => one.kind === "drive" && one.user_id !== visitor.userId)!;
    const { connection_id } = drive;
    const team = { id: randomUUID(), connection_id, kind: "calendar" as const };
    const stranger = { id: theirs.id, connection_id: theirs.connection_id, kind: "drive" as const };
    // How much of a week each of them is taken to have at three in the morning.
    const atThree = async () => {
      const termsOf = await findTerms(t.app.db, [connection_id, theirs.connection_id]);
      const ask = (feed: typeof drive) => termsOf(feed, feed.kind, now).prior.week[3]!;
      return { ofDrive: ask(drive), others: [calendar, mailbox, team, stranger].map(ask) };
    };
    const update = (id: string, patch: { cadence?: string; state?: "active" | "paused" }) =>
      t.app.db.updateTable("feeds").set(patch).where("id", "=", id).execute();
    const { intensity, channel } = initialCadence(now);
    const nights = {
      ...intensity,
      total: 400,
      changes: intensity.changes.map((_, bin) => (bin % 24 < 4 ? 50 : 0)),
      hours: intensity.hours.map(() => 20),
    };
    const cadence = JSON.stringify({ intensity: nights, channel });
    const before = await atThree();

    await t.app.db
      .insertInto("feeds")
      .values({ ...team, user_id: visitor.userId, resource: "a team's", cadence })
      .execute();
    assert.deepEqual(await atThree(), before);
    await update(calendar.id, { cadence });
    const { ofDrive, others } = await atThree();
    assert.deepEqual(others, before.others);
    assert.ok(ofDrive > 3 * before.ofDrive);
    await update(calendar.id, { state: "paused" });
    assert.ok((await atThree()).ofDrive < ofDrive / 3);

    await update(calendar.id, { state: "active" });
    await t.app.db.deleteFrom("feeds").where("id", "=", team.id).execute();
  });

  test("a day off in the calendar makes the next look at the drive a later one", async () => {
    await rest();
    const feeds = await listFeeds(t.app, visitor.userId);
    const [calendar, drive] = (["calendar", "drive"] as const).map(
      (kind) => feeds.find((one) => one.kind === kind)!,
    );
    const waitAfter = async (seen: number, expected: number) => {
      const { intensity, channel } = initialCadence(t.clock.now());
      const [hours, changes] = [20, 40].map((each) => intensity.hours.map(() => each));
      const lively = { ...intensity, total: 1_920, hours, changes };
      for (const [{ id }, shown] of [
        [drive!, lively],
        [calendar!, { ...intensity, seen, expected }],
      ] as const) {
        const cadence = JSON.stringify({ intensity: shown, channel });
        await t.app.db.updateTable("feeds").set({ cadence }).where("id", "=", id).execute();
      }
      await visitor.call("POST", `/api/v1/sync/drive/${visitor.userId}`, { force: true });
      const { due_reason } = await getFeed(t.app, visitor.userId, drive!.id);
      return due_reason?.intervalMs as number;
    };
    const [rush, off] = [await waitAfter(50, 5), await waitAfter(0, 50)];
    assert.ok(rush < off / 1.5, `${rush} ms in a rush, ${off} ms on a day off`);
  });

  test("what people did is remembered for 90 days", async () => {
    const now = t.clock.now().getTime();
    const daysAgo = (days: number) => new Date(now - days * 86_400_000);
    await t.app.db
      .insertInto("user_activity_logs")
      .values(
        [89, 91].map((days) => ({
          user_id: visitor.userId,
          activity_type: "general" as const,
          timestamp: daysAgo(days),
        })),
      )
      .execute();
    await t.asService("POST", "/api/v1/cron/cleanup");
    const kept = await t.app.db
      .selectFrom("user_activity_logs")
      .select("timestamp")
      .where("timestamp", "<", daysAgo(2))
      .execute();
    assert.deepEqual(
      kept.map(({ timestamp }) => timestamp),
      [daysAgo(89)],
    );
  });

  test("and so is what each look found, in the older product's tables too; channels that ended for 30", async () => {
    const now = t.clock.now().getTime();
    const daysAgo = (days: number) => new Date(now - days * 86_400_000);
    const feed = await t.app.db.selectFrom("feeds").select("id").executeTakeFirstOrThrow();
    const user_id = visitor.userId;
    for (const days of [29, 31, 89, 91]) {
      const at = daysAgo(days);
      const metric = { user_id, service_type: "calendar", sync_type: "normal", timestamp: at };
      await t.app.db.insertInto("sync_performance_metrics").values(metric).execute();
      const log = { user_id, sync_type: "manual", status: "completed", created_at: at } as const;
      await t.app.db.insertInto("calendar_sync_logs").values(log).execute();
      for (const state of ["open", "closed"] as const) {
        const watch = { feed_id: feed.id, user_id, secret_hash: Buffer.alloc(1), state };
        await t.app.db
          .insertInto("watches")
          .values({ ...watch, requested_at: at, expires_at: at })
          .execute();
      }
    }
    const { body } = await t.asService("POST", "/api/v1/cron/cleanup");
    const { sync_performance_metrics, calendar_sync_logs, watches } = body.counts;
    assert.deepEqual([sync_performance_metrics, calendar_sync_logs, watches], [1, 1, 3]);
  });

  test("a service that fails does not hide what the others found", async () => {
    t.google.calendar.addEvent(ana, eventIn(t, 3));
    await t.idle();
    const askedAt = t.clock.now();
    await fetch(`${t.google.url}/_control/faults`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ endpoint: "calendar.events.list", status: 403, times: 50 }),
    });
    const { status, body } = await visitor.call("POST", `/api/v1/sync/sync-all/${visitor.userId}`, {
      force: true,
    });
    assert.equal(status, 200);
    const [calendar, drive, gmail] = body.results;
    assert.ok(calendar.error, JSON.stringify(calendar));
    for (const other of [drive, gmail])
      assert.deepEqual([other.error, other.is_skipped], [undefined, false]);
    const metrics = await t.app.db
      .selectFrom("sync_performance_metrics")
      .select(["service_type", "success", "sync_duration_ms", "duration_ms"])
      .where("user_id", "=", visitor.userId)
      .where("timestamp", ">=", askedAt)
      .execute();
    const failed = metrics.filter(({ success }) => !success);
    assert.deepEqual([...new Set(failed.map(({ service_type }) => service_type))], ["calendar"]);
    for (const { sync_duration_ms, duration_ms } of metrics)
      assert.ok(sync_duration_ms! > 0 && duration_ms === sync_duration_ms);
  });
});

test("who asks for a feed that waits for its next try is served, though a notification takes over the job", async () => {
  await using t = await openTestApp({ workers: false });
  const visitor = await t.signIn(ana);
  const account = await t.app.db.selectFrom("connections").select("id").executeTakeFirstOrThrow();
  await startFeeds(t.app, account.id);
  const now = t.clock.now();
  const inAnHour = new Date(now.getTime() + 3_600_000);
  const { id } = await t.app.db
    .updateTable("feeds")
    .set({ last_success_at: now, failures: 1, retry_at: inAnHour, due_at: inAnHour })
    .where("kind", "=", "drive")
    .returning("id")
    .executeTakeFirstOrThrow();
  assert.equal((await visitor.call("POST", `/api/v1/sync/feeds/${id}/sync`, {})).status, 202);
  await enqueue(t.app, t.app.db, syncJob(id, "push"));
  await using _workers = await startWorkers(t.app, handlers);
  await until(async () => {
    const feed = await t.app.db
      .selectFrom("feeds")
      .select(["runs_finished", "failures", "retry_at"])
      .where("id", "=", id)
      .executeTakeFirstOrThrow();
    return feed.runs_finished === "1" && feed.failures === 0 && feed.retry_at === null;
  }, 20_000);
});

describe("a user with very many feeds", () => {
  test("does not keep another's waiting", async () => {
    await using t = await openTestApp({ workers: false });
    const now = t.clock.now();
    const feedsOf = async (email: string, count: number, overdueMs: number) => {
      const { rows } = await sql<{ id: string }>`
        with person as (
          insert into users (id, email) values (gen_random_uuid(), ${email}) returning id
        ),
        account as (
          insert into connections (user_id, provider, subject, email, updated_at)
          select id, 'google', ${email}, ${email}, now() from person returning id, user_id
        )
        insert into feeds (user_id, connection_id, kind, resource, due_at)
        select user_id, id, 'calendar', one::text, ${new Date(now.getTime() - overdueMs)}::timestamptz
        from account cross join generate_series(1, ${count}::int) as one returning id
      `.execute(t.app.db);
      return rows.map(({ id }) => id);
    };
    await feedsOf("many@example.com", 10_000, 60_000);
    const [one] = await feedsOf("one@example.com", 1, 1_000);
    assert.equal(await dispatchDueFeeds(t.app), 10_001);
    const first = await t.app.queue.boss.fetch<{ feedId: string }>("feeds.sync", {
      batchSize: 200,
    });
    assert.ok(first.some(({ data }) => data.feedId === one));
    assert.equal(await dispatchDueFeeds(t.app), 0, "each is asked for once");
  });
});
