import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { minutes } from "../../sandbox/google/clock.ts";
import { eventIn } from "../calendars.ts";
import { openTestApp, type TestApp, type Visitor } from "../harness.ts";

const ana = "ana@example.com";
const meet = "https://meet.google.com/abc-defg-hij";

describe("the bot functions' old addresses", () => {
  let t: TestApp;
  let visitor: Visitor;
  let botId = "";
  before(async () => {
    t = await openTestApp({ bots: "polled", push: true });
    // A meeting ends only when the clock is moved.
    t.attendee.settings.speed = 1;
    visitor = await t.signIn(ana);
    await t.idle();
    await visitor.call("POST", "/api/v1/user/username", { username: "ana" });
  });
  after(() => t[Symbol.asyncDispose]());
  const old = (method: string, path: string, body?: unknown) =>
    visitor.call(method, `/functions/v1/${path}`, body);

  test("send a bot, once, under the old field names", async () => {
    const missing = await old("POST", "attendee-service/send-bot", {});
    assert.deepEqual([missing.status, missing.body.error], [400, "Missing meeting_url"]);
    const first = await old("POST", "attendee-service/send-bot", { meeting_url: meet });
    assert.equal(first.body.success, true);
    assert.match(first.body.result.attendeeBotId, /^bot_/);
    const second = await old("POST", "attendee-service/send-bot", { meeting_url: meet });
    assert.deepEqual(second.body, first.body);
    assert.equal(t.attendee.bots.size, 1);
    botId = first.body.result.attendeeBotId;
  });

  test("say how it is doing, and hand out what it heard", async () => {
    const pending = await old("GET", "attendee-polling-service/get-pending");
    assert.equal(pending.body.meetings.length, 1);
    const [{ id: meetingId }] = pending.body.meetings;
    t.clock.advance(5 * minutes);
    t.attendee.run();
    const polled = await old("POST", "attendee-polling-service/poll-meeting", { meetingId });
    assert.equal(polled.body.result.status, "completed");
    assert.equal(polled.body.result.transcript_retrieved, true);
    assert.match(polled.body.result.transcript_summary, /^Robin Miller: Good morning/);
    const status = await old("GET", `attendee-service/bot-status?bot_id=${botId}`);
    assert.deepEqual(
      [status.body.result.status, status.body.result.data.state],
      ["completed", "ended"],
    );
    const { body } = await old("GET", `attendee-service/transcript?bot_id=${botId}`);
    assert.deepEqual(body.result.speakers, ["Robin Miller", "Kim Sørensen", "Ada Okafor"]);
    assert.equal((await fetch(body.result.recording_url)).status, 200);
    const chat = await old("GET", `attendee-service/chat-messages?bot_id=${botId}`);
    assert.ok(chat.body.result.results.length >= 2);
    const people = await old("GET", `attendee-service/participant-events?bot_id=${botId}`);
    assert.equal(people.body.result.results[0].event_type, "join");
  });

  test("refuse what is somebody else's, and what only the service may", async () => {
    const stranger = await t.signIn("priya@example.com");
    const other = await stranger.call(
      "GET",
      `/functions/v1/attendee-service/bot-status?bot_id=${botId}`,
    );
    assert.equal(other.status, 404);
    assert.equal((await old("POST", "attendee-service/poll-all")).status, 403);
    assert.equal((await old("POST", "attendee-polling-cron")).status, 403);
    const none = await old("GET", "attendee-service/bot-status");
    assert.deepEqual([none.status, none.body.error], [400, "Missing bot_id"]);
  });

  test("send bots ahead of coming meetings, and poll nothing where nothing is due", async () => {
    const event = eventIn(t, 5, {
      location: "https://meet.google.com/xyz-abcd-efg",
      attendees: [{ email: ana }, { email: "ai+ana@example.com" }],
    });
    t.google.calendar.addEvent(ana, event);
    await t.idle();
    const { body } = await old("POST", "auto-schedule-bots/schedule");
    assert.equal(body.result.failedDeployments, 0);
    assert.deepEqual((await old("GET", "auto-schedule-bots/pending")).body.meetings, []);
    const scheduled = [...t.attendee.bots.values()].filter(({ state }) => state === "scheduled");
    assert.equal(scheduled.length, 1);
    await t.asService("POST", "/functions/v1/attendee-service/poll-all");
    const cron = await t.asService("POST", "/functions/v1/attendee-polling-cron");
    assert.deepEqual(cron.body, { message: "No meetings need polling", count: 0 });
  });

  test("start a schedule by any method, wherever below its name, with the service key alone", async () => {
    for (const name of ["attendee", "calendar", "drive", "gmail"]) {
      for (const method of ["GET", "POST", "PUT", "PATCH", "DELETE"]) {
        for (const path of [`${name}-polling-cron`, `${name}-polling-cron/run/now`]) {
          const { status, body } = await t.asService(method, `/functions/v1/${path}`);
          assert.equal(status, 200, `${method} ${path}`);
          assert.equal(typeof body.message, "string", `${method} ${path}`);
          assert.equal((await old(method, path)).status, 403, `${method} ${path}`);
        }
      }
    }
  });
});
