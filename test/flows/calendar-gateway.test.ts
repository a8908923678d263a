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
    await visitor.call("POST", "/api/v1/calendar/watch");
    await t.idle();
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
