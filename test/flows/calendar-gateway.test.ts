import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { openSession } from "../../src/accounts/sessions.ts";
import { eventIn, keptEvents } from "../calendars.ts";
import { openTestApp, type TestApp, type Visitor } from "../harness.ts";

const ana = "ana@example.com";

describe("the old addresses of the calendar functions", () => {
  let t: TestApp;
  let visitor: Visitor;
  let bearer: Record<string, string>;
  before(async () => {
    t = await openTestApp({ push: true });
    visitor = await t.signIn(ana);
    await t.idle();
    const { token } = await openSession(t.app, visitor.userId);
    bearer = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  });
  after(() => t[Symbol.asyncDispose]());

  const post = async (path: string, headers: Record<string, string>, body?: unknown) => {
    const answer = await fetch(`${t.url}/functions/v1/${path}`, {
      method: "POST",
      headers,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    const isJson = answer.headers.get("content-type")?.includes("json");
    return { status: answer.status, body: isJson ? JSON.parse(text) : text };
  };
  const service = () => ({
    authorization: `Bearer ${t.app.config.serviceKey.reveal()}`,
    "content-type": "application/json",
  });
  const quietly = async (act: () => void) => {
    // What the test before told of would have it read.
    await t.idle();
    t.google.calendar.push.isOn = false;
    act();
    t.google.calendar.push.isOn = true;
    await t.idle();
  };
  const channelHeaders = (number: number, state = "exists") => {
    const [channel] = t.google.calendar.channels().filter(({ watched }) => "calendar" in watched);
    return {
      "x-goog-channel-id": channel!.id,
      "x-goog-channel-token": channel!.token ?? "",
      "x-goog-resource-id": channel!.resourceId,
      "x-goog-resource-state": state,
      "x-goog-message-number": String(number),
    };
  };

  test("poll one user, and say when push makes it needless", async () => {
    await quietly(() => t.google.calendar.addEvent(ana, eventIn(t, 1)));
    const { userId } = visitor;
    const polled = await post("calendar-polling-service", service(), { userId });
    assert.deepEqual(polled, {
      status: 200,
      body: {
        success: true,
        message: `Calendar polling completed for user ${userId}`,
        processed: 1,
        created: 1,
        updated: 0,
        deleted: 0,
        skipped: false,
      },
    });
    t.google.calendar.addEvent(ana, eventIn(t, 2));
    await t.idle();
    const missing = await post("calendar-polling-service", service(), {});
    assert.deepEqual(missing, { status: 400, body: { error: "Missing userId" } });
    const foreign = await post("calendar-polling-service", bearer, { userId: crypto.randomUUID() });
    assert.deepEqual([foreign.status, typeof foreign.body.error], [404, "string"]);
  });

  test("poll everybody, for the service alone", async () => {
    await quietly(() => t.google.calendar.addEvent(ana, eventIn(t, 3)));
    t.clock.advance(7 * 3_600_000);
    const { status, body } = await post("calendar-polling-cron", service());
    assert.deepEqual(
      [status, body.success, body.message],
      [200, true, "Calendar polling completed for 1 users"],
    );
    assert.deepEqual(body.results, [
      {
        user_id: visitor.userId,
        processed: body.total_processed,
        created: 1,
        updated: 0,
        deleted: 0,
        skipped: false,
      },
    ]);
    assert.equal(body.total_skipped, 0);
    await t.idle();
    assert.equal((await keptEvents(t, visitor.userId)).length, 3);
    assert.equal((await post("calendar-polling-cron", bearer)).status, 403);
  });

  for (const name of ["google-calendar-webhook", "calendar-webhook-public"]) {
    test(`${name} hears Google's proven word and nobody else's`, async () => {
      const number = name.length * 1000;
      assert.deepEqual(await post(`${name}/notify`, channelHeaders(number, "sync")), {
        status: 200,
        body: "OK",
      });
      const heard = await post(
        `${name}/notify?userId=${crypto.randomUUID()}`,
        channelHeaders(number + 1),
      );
      assert.deepEqual([heard.status, heard.body.ok], [200, true]);
      const forged = { ...channelHeaders(number + 2), "x-goog-channel-token": "guessed" };
      const refused = { status: 401, body: { error: "Invalid webhook channel" } };
      assert.deepEqual(await post(`${name}/notify`, forged), refused);
      assert.deepEqual(await post(`${name}/notify?userId=${visitor.userId}`, {}), refused);
      const verified = await fetch(`${t.url}/functions/v1/${name}/verify?challenge=abc-123`);
      assert.deepEqual([verified.status, await verified.text()], [200, "abc-123"]);
      const hostile = await fetch(`${t.url}/functions/v1/${name}/verify?challenge=<script>`);
      assert.equal(hostile.status, 400);
    });
  }

  test("a manual sync works with the user's own token, and with nobody else's", async () => {
    await quietly(() => t.google.calendar.addEvent(ana, eventIn(t, 4)));
    const wish = { state: "sync", userId: visitor.userId, resourceId: "manual-trigger" };
    const synced = await post("google-calendar-webhook/notify", bearer, wish);
    assert.deepEqual(synced.body, {
      ok: true,
      processed: 1,
      created: 1,
      updated: 0,
      deleted: 0,
      errors: 0,
    });
    const cookie = { cookie: visitor.cookie, "content-type": "application/json" };
    assert.equal((await post("google-calendar-webhook/notify", cookie, wish)).status, 401);
    const tested = await post("google-calendar-webhook/notify", bearer, {
      state: "test",
      userId: visitor.userId,
    });
    assert.equal(tested.body.message, "Test webhook received successfully");
    for (const other of [[1], "x", 1]) {
      const { status } = await post("google-calendar-webhook/notify", service(), other);
      assert.equal(status, 400, JSON.stringify(other));
    }
  });

  test("what a relay passes on counts by the service key, whatever of Google's headers it bears", async () => {
    const path = "google-calendar-webhook/notify";
    const { "x-goog-channel-token": secret, ...headers } = channelHeaders(77_000);
    const { "x-goog-message-number": _, ...four } = headers;
    const wish = { state: "google_webhook", channelId: headers["x-goog-channel-id"] };
    const told = [{}, four, headers, { ...headers, "x-goog-channel-token": secret }];
    for (const [index, borne] of told.entries()) {
      await quietly(() => t.google.calendar.addEvent(ana, eventIn(t, 5 + index)));
      const kept = (await keptEvents(t, visitor.userId)).length;
      const { status, body } = await post(path, { ...service(), ...borne }, wish);
      assert.deepEqual([status, body.ok], [200, true], JSON.stringify(borne));
      await t.idle();
      assert.equal((await keptEvents(t, visitor.userId)).length, kept + 1);
      const own = await post(path, { ...service(), ...borne }, { ...wish, state: "test" });
      assert.equal(own.status, 400);
    }
    for (const borne of [{}, four, headers])
      assert.equal((await post(path, { ...bearer, ...borne }, wish)).status, 401);
  });

  test("set-up, renewal and repair answer as before", async () => {
    const made = await post("google-calendar-webhook/setup", bearer, { userId: visitor.userId });
    assert.deepEqual(Object.keys(made.body).sort(), [
      "expiration",
      "ok",
      "resource_id",
      "webhook_id",
    ]);
    assert.match(made.body.expiration, /^\d{13}$/);
    const renewed = await post("renew-calendar-webhooks/renew", bearer, { userId: visitor.userId });
    assert.deepEqual(
      [renewed.body.ok, renewed.body.message],
      [true, "Webhook renewed successfully"],
    );
    const repaired = await post("renew-calendar-webhooks/auto-renew", service());
    assert.deepEqual(repaired.body, { ok: true, renewed: 0, message: "No webhooks need renewal" });
  });

  test("a renewal counts channels that need nothing, and says that there are none only where there are none", async () => {
    // Channels that the tests before have replaced are stopped first.
    await t.idle();
    const { body } = await post("renew-calendar-watches", service());
    const open = t.google.calendar.channels().length;
    assert.deepEqual(
      [body.renewed, body.failed, body.total, body.message],
      [open, 0, open, `Renewed ${open} watches, 0 failed`],
    );
    const { results } = body;
    assert.ok(open > 0 && results.length === open);
    assert.ok(
      results.every(
        (one: Record<string, unknown>) => one.renewed && one.user_id === visitor.userId,
      ),
    );
    await visitor.call("DELETE", "/api/v1/calendar/watch");
    const none = await post("renew-calendar-watches", service());
    assert.deepEqual(none.body, { renewed: 0, failed: 0, message: "No active webhooks found" });
    const again = await post("renew-calendar-webhooks/renew", bearer, { userId: visitor.userId });
    assert.deepEqual([again.status, again.body.ok], [200, true], "whoever asks wants one");
    await t.idle();
    assert.ok(t.google.calendar.channels().some(({ id }) => id === again.body.webhook_id));
  });

  test("google-calendar syncs, lists, and puts new meetings into the caller's own project alone", async () => {
    const old = (path: string) => visitor.call("GET", `/functions/v1/google-calendar/${path}`);
    const { body: project } = await visitor.call("POST", "/api/v1/projects", { name: "Launch" });
    const before = (await old("events")).body;
    assert.deepEqual([before.ok, before.new_meetings, before.deleted_meetings], [true, 0, 0]);
    t.google.calendar.push.isOn = false;
    const link = "https://meet.google.com/abc-defg-hij";
    t.google.calendar.addEvent(ana, eventIn(t, 26, { summary: "With a link", location: link }));
    t.google.calendar.addEvent(ana, eventIn(t, 27, { summary: "Without" }));
    t.google.calendar.push.isOn = true;
    const foreign = await old(`events?project_id=${crypto.randomUUID()}`);
    assert.equal(foreign.status, 404);
    const { body } = await old(`events?days_future=50&project_id=${project.id}`);
    assert.deepEqual(
      [body.ok, body.new_meetings, body.total_events],
      [true, 1, before.total_events + 2],
    );
    assert.equal(body.meetings_with_urls, body.meetings.length);
    const made = body.meetings.find((one: { title: string }) => one.title === "With a link");
    assert.deepEqual([made.project_id, made.user_id], [project.id, visitor.userId]);
    assert.ok(body.skipped_reasons.includes("Without: no video link"));
    assert.deepEqual([body.sync_range.days_past, body.sync_range.days_future], [30, 50]);
    const ofProject = (await old(`meetings?project_id=${project.id}`)).body;
    assert.deepEqual(
      [ofProject.ok, ofProject.meetings.map(({ id }: { id: string }) => id)],
      [true, [made.id]],
    );
    const raw = (await old("raw-events")).body;
    assert.equal(raw.events_with_urls_only.length, raw.events_with_urls);
    const shown = raw.events.find((one: { summary: string }) => one.summary === "With a link");
    assert.deepEqual(
      [shown.id, shown.meeting_url, shown.start.dateTime],
      [made.google_calendar_event_id, link, made.start_time],
    );
    assert.equal((await old("events?days_past=x")).status, 422);
    const empty = (await old("events?days_past=&days_future=&project_id=")).body;
    assert.deepEqual([empty.sync_range?.days_past, empty.sync_range?.days_future], [30, 60]);
    assert.equal((await old("meetings?project_id=")).body.ok, true);
    const stranger = await t.signIn("priya@example.com");
    const others = await stranger.call("GET", "/functions/v1/google-calendar/meetings");
    assert.deepEqual(others.body, { ok: true, meetings: [] });
    const nobody = await fetch(`${t.url}/functions/v1/google-calendar/events`);
    assert.equal(nobody.status, 401);
  });

  test("google-calendar tells a failure of Google's as one, without Google's own words", async () => {
    const faults = (method: string, body?: unknown) =>
      fetch(`${t.google.url}/_control/faults`, {
        method,
        ...(body ? { headers: { "content-type": "application/json" } } : {}),
        ...(body ? { body: JSON.stringify(body) } : {}),
      });
    await faults("POST", { endpoint: "calendar.events.list", status: 403, times: 50 });
    const { status, body } = await visitor.call("GET", "/functions/v1/google-calendar/events");
    await faults("DELETE");
    assert.deepEqual([status, body.ok, typeof body.error], [502, false, "string"]);
    await post("google-calendar-webhook/notify", bearer, { state: "sync", resourceId: "again" });
  });

  test("manage-calendar-webhook stops, recreates, verifies and tests the caller's channels", async () => {
    const manage = (action: string) => post(`manage-calendar-webhook?action=${action}`, bearer);
    const isOpen = async (id: string) => {
      await t.idle();
      return t.google.calendar.channels().some((channel) => channel.id === id);
    };
    const recreated = (await manage("recreate")).body;
    assert.deepEqual(
      [recreated.success, recreated.message],
      [true, "Webhook recreated successfully"],
    );
    assert.ok(Date.parse(recreated.expiration) > t.clock.now().getTime());
    assert.ok(await isOpen(recreated.webhook_id));
    const tested = (await manage("test")).body;
    assert.deepEqual(
      [tested.success, tested.webhook_id, new URL(tested.webhook_url).pathname],
      [true, recreated.webhook_id, "/api/v1/webhooks/calendar"],
    );
    const verified = (await manage("verify")).body;
    assert.equal(verified.message, "Webhook verified and refreshed");
    assert.ok(await isOpen(verified.webhook_id));
    assert.ok(!(await isOpen(recreated.webhook_id)));
    const { body: stopped } = await manage("stop");
    assert.deepEqual(stopped, {
      success: true,
      message: "Webhook stopped successfully",
      webhook_id: verified.webhook_id,
    });
    assert.ok(!(await isOpen(verified.webhook_id)));
    const none = { status: 404, body: { success: false, error: "No active webhook found" } };
    for (const action of ["stop", "verify", "test"]) assert.deepEqual(await manage(action), none);
    assert.ok(await isOpen((await manage("recreate")).body.webhook_id));
    assert.equal((await manage("burn")).status, 400);
    assert.equal((await post("manage-calendar-webhook?action=stop", service())).status, 403);
  });

  test("pages of any origin may ask, without cookies", async () => {
    const preflight = await fetch(`${t.url}/functions/v1/google-calendar-webhook/notify`, {
      method: "OPTIONS",
      headers: { origin: "https://app.example.net", "access-control-request-method": "POST" },
    });
    assert.equal(preflight.status, 200);
    assert.equal(preflight.headers.get("access-control-allow-origin"), "*");
    assert.equal(preflight.headers.get("access-control-allow-credentials"), null);
  });
});
