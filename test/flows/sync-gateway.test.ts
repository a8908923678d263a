import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { eventIn } from "../calendars.ts";
import type { TestApp, Visitor } from "../harness.ts";
import { ana, anasAssistant, anasMail, documentsOf, jonas } from "../mails.ts";

describe("the old address of the adaptive sync", () => {
  let story: Awaited<ReturnType<typeof anasMail>>;
  let t: TestApp;
  let visitor: Visitor;
  before(async () => {
    story = await anasMail();
    ({ t, visitor } = story);
  });
  after(() => story[Symbol.asyncDispose]());

  const call = (body: object, who = visitor) =>
    who.call("POST", "/functions/v1/enhanced-adaptive-sync-service", body);

  test("syncs every service in the old shape, and says when to ask next", async () => {
    t.google.calendar.addEvent(ana, eventIn(t, 1));
    const { status, body } = await call({
      userId: visitor.userId,
      service: "all",
      activityType: "app_load",
      forceSync: true,
    });
    assert.equal(status, 200, JSON.stringify(body));
    assert.deepEqual(
      body.results.map(({ type, success }: { type: string; success: boolean }) => [type, success]),
      [
        ["calendar", true],
        ["drive", true],
        ["gmail", true],
        ["attendee", true],
      ],
    );
    assert.partialDeepStrictEqual(body.results[0], { created: 1, skipped: false });
    assert.equal(body.results[3].skipped, true);
    assert.ok(body.nextSyncIn >= 5_000 && body.nextSyncIn <= 6 * 3_600_000);
    assert.deepEqual(body.virtualEmailActivity, {
      userId: visitor.userId,
      virtualEmail: anasAssistant,
      lastDetected: "1970-01-01T00:00:00.000Z",
      detectionCount: 0,
      recentActivity: null,
      autoScheduledMeetings: 0,
    });
    const activity = await t.app.db
      .selectFrom("user_activity_logs")
      .select("activity_type")
      .execute();
    assert.deepEqual(activity, [{ activity_type: "app_load" }]);
  });

  test("takes a detection only for what the mail itself says", async () => {
    const { ids } = await t.google.gmail.send({
      from: jonas,
      to: [ana, anasAssistant],
      subject: "Detected",
      text: "x",
    });
    const { ids: others } = await t.google.gmail.send({ from: jonas, to: ana, text: "private" });
    const detect = (messageId: string | undefined) =>
      call({
        userId: visitor.userId,
        service: "none",
        virtualEmailDetection: { emailAddress: anasAssistant, messageId, type: "to" },
      });
    const { body } = await detect(ids[ana]);
    assert.deepEqual([body.success, body.results], [true, []]);
    assert.deepEqual(
      [body.virtualEmailActivity.detectionCount, body.virtualEmailActivity.recentActivity],
      [1, true],
    );
    await detect(ids[ana]);
    await detect(others[ana]);
    await detect("unknown");
    await t.idle();
    assert.deepEqual(
      (await documentsOf(visitor)).map(({ title }) => title),
      ["Detected"],
    );
  });

  test("is for its caller alone, or the service", async () => {
    assert.deepEqual((await call({})).body, { error: "userId is required" });
    const priya = await t.signIn("priya@example.com");
    assert.equal((await call({ userId: visitor.userId, service: "all" }, priya)).status, 404);
    const { status, body } = await t.asService(
      "POST",
      "/functions/v1/enhanced-adaptive-sync-service",
      { userId: visitor.userId, service: "calendar" },
    );
    assert.deepEqual([status, body.results.length], [200, 1]);
    const unknown = await t.asService("POST", "/functions/v1/enhanced-adaptive-sync-service", {
      userId: crypto.randomUUID(),
      service: "all",
    });
    assert.equal(unknown.status, 404);
  });
});
