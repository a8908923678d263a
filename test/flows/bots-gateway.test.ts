import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { hours, minutes } from "../../sandbox/google/clock.ts";
import { liveBots, newLink, pass, signInWithAssistant } from "../bots.ts";
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

  test("send a bot to what an older page has marked, and keep how it came to it", async () => {
    const { db } = t.app;
    const { id: event } = t.google.calendar.addEvent(ana, eventIn(t, 7, { location: newLink() }));
    await t.idle();
    const methodOf = async (id: string) =>
      db
        .selectFrom("meetings")
        .select(["id", "bot_deployment_method as method", "bot_status", "title"])
        .where("google_calendar_event_id", "=", id)
        .executeTakeFirstOrThrow();
    const { id } = await methodOf(event);
    const marked = { bot_deployment_method: "scheduled", bot_configuration: '{"bot_name":"Mine"}' };
    await db.updateTable("meetings").set(marked).where("id", "=", id).execute();
    const { results } = (await old("POST", "auto-schedule-bots/schedule")).body.result;
    assert.deepEqual(
      results.map((one: { meetingId: string; deploymentType: string; success: boolean }) => [
        one.meetingId,
        one.deploymentType,
        one.success,
      ]),
      [[id, "manual", true]],
    );
    assert.ok([...t.attendee.bots.values()].some(({ name }) => name === "Mine"));
    const guests = [{ email: ana }, { email: "ai+ana@example.com" }];
    const invited = t.google.calendar.addEvent(
      ana,
      eventIn(t, 9, { location: newLink(), attendees: guests }),
    );
    await t.idle();
    for (const one of [event, invited.id]) {
      t.google.calendar.patchEvent(ana, one, { summary: "Renamed" });
    }
    await t.idle();
    for (const [one, method] of [
      [event, "manual"],
      [invited.id, "automatic"],
    ] as const) {
      const { id: _, ...kept } = await methodOf(one);
      assert.deepEqual(kept, { method, bot_status: "bot_scheduled", title: "Renamed" });
    }
  });

  test("name a bot that Attendee does not know yet by our id, and say what it refused", async () => {
    const send = () => old("POST", "attendee-service/send-bot", { meeting_url: newLink() });
    t.attendee.settings.failNext = Array(10).fill(503);
    const { status, body } = await send();
    assert.equal(status, 200, JSON.stringify(body));
    const { botId, attendeeBotId } = body.result;
    assert.equal(attendeeBotId, botId);
    const asked = await old("GET", `attendee-service/bot-status?bot_id=${attendeeBotId}`);
    assert.deepEqual([asked.status, asked.body.result.data.id], [200, botId]);
    // Whoever else looks meanwhile is refused too.
    t.attendee.settings.failNext = Array(50).fill(400);
    const refused = await send();
    assert.deepEqual([refused.status, refused.body.error], [409, "Attendee refused: 400"]);
    const proxied = await old("POST", "attendee-proxy/send-bot", { meeting_url: newLink() });
    t.attendee.settings.failNext = [];
    assert.deepEqual([proxied.body.ok, proxied.body.error], [false, "Attendee refused: 400"]);
  });

  test("count as failed what Attendee refused", async () => {
    const { id } = t.google.calendar.addEvent(ana, eventIn(t, 8, { location: newLink() }));
    await t.idle();
    await t.app.db
      .updateTable("meetings")
      .set({ bot_deployment_method: "scheduled" })
      .where("google_calendar_event_id", "=", id)
      .execute();
    t.attendee.settings.failNext = Array(50).fill(400);
    const { result } = (await old("POST", "auto-schedule-bots/schedule")).body;
    t.attendee.settings.failNext = [];
    const { totalMeetings, successfulDeployments, failedDeployments, results } = result;
    assert.deepEqual([totalMeetings, successfulDeployments, failedDeployments], [1, 0, 1]);
    assert.deepEqual([results[0].success, results[0].error], [false, "Attendee refused: 400"]);
  });

  test("know a bot that was sent once more by the id that it was sent under first", async () => {
    t.attendee.settings.fates = [["meet.google.com", "crashes"]];
    const sent = await old("POST", "attendee-service/send-bot", { meeting_url: newLink() });
    const { botId, attendeeBotId } = sent.body.result;
    while (liveBots(t).some(({ id }) => id === attendeeBotId)) {
      t.clock.advance(1_000);
      t.attendee.run();
    }
    t.attendee.settings.fates = [];
    await pass(t, 3 * minutes);
    const now = await old("GET", `attendee-service/bot-status?bot_id=${botId}`);
    assert.notEqual(now.body.result.data.id, attendeeBotId);
    const by = await old("GET", `attendee-service/bot-status?bot_id=${attendeeBotId}`);
    assert.deepEqual(by.body, now.body);
    const stranger = await t.signIn("priya@example.com");
    const path = `/functions/v1/attendee-service/bot-status?bot_id=${attendeeBotId}`;
    assert.equal((await stranger.call("GET", path)).status, 404);
  });

  test("leave alone what was marked for an invitation that was taken back", async () => {
    const read = () =>
      t.app.db
        .selectFrom("meetings")
        .select(["bot_deployment_method as method", "bot_id"])
        .where("google_calendar_event_id", "=", id)
        .executeTakeFirstOrThrow();
    const attendees = [{ email: ana }, { email: "ai+ana@example.com" }];
    // Bots cannot join it, so it stays marked.
    const description = "https://discord.gg/abc123";
    const { id } = t.google.calendar.addEvent(ana, eventIn(t, 11, { description, attendees }));
    await t.idle();
    assert.deepEqual(await read(), { method: "scheduled", bot_id: null });
    t.google.calendar.patchEvent(ana, id, { attendees: [{ email: ana }] });
    await t.idle();
    assert.deepEqual(await read(), { method: "manual", bot_id: null });
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

describe("attendee-proxy", () => {
  let t: TestApp;
  let visitor: Visitor;
  let stranger: Visitor;
  before(async () => {
    t = await openTestApp({ bots: "polled", push: true });
    t.attendee.settings.speed = 0.1;
    visitor = await signInWithAssistant(t);
    stranger = await t.signIn("priya@example.com");
  });
  after(() => t[Symbol.asyncDispose]());
  const as = (who: Visitor) => (method: string, path: string, body?: unknown) =>
    who.call(method, `/functions/v1/attendee-proxy/${path}`, body);
  const own = (method: string, path: string, body?: unknown) => as(visitor)(method, path, body);

  test("does for a bot's owner what it passed on, in the provider's shapes", async () => {
    const wish = {
      meeting_url: newLink(),
      bot_name: "Scribe",
      bot_chat_message: { to: "everyone", message: "Hi" },
      webhooks: [{ url: "https://example.com/spy", triggers: ["bot.state_change"] }],
    };
    const { status, body } = await own("POST", "send-bot", wish);
    assert.deepEqual([status, body.ok, body.status], [201, true, 201]);
    const bot_id = body.data.id;
    const made = t.attendee.asked.find(({ method, path }) => method === "POST" && path === "/bots");
    assert.ok(made && !JSON.stringify(made).includes("spy"), "nothing is passed on");
    await pass(t, minutes);
    const details = await own("GET", `bot-details?bot_id=${bot_id}`);
    assert.deepEqual(
      [details.status, details.body.ok, details.body.data.id, details.body.data.state],
      [200, true, bot_id, "joined_recording"],
    );
    const paused = await own("POST", "pause-recording", { bot_id });
    assert.equal(paused.body.data.state, "joined_recording_paused");
    await own("POST", "resume-recording", { bot_id });
    const outputs: [string, Record<string, unknown>][] = [
      ["send-chat", { message: "Hello", to_user_uuid: null }],
      ["speech", { text: "Hello" }],
      ["output-audio", { type: "audio/mp3", data: "AAAA" }],
      ["output-image", { type: "image/png", data: "AAAA" }],
      ["output-video", { url: "https://example.com/a.mp4" }],
    ];
    for (const [path, more] of outputs) {
      const { status, body } = await own("POST", path, { bot_id, ...more });
      assert.deepEqual([status, body], [200, { ok: true, status: 200, data: null }], path);
      assert.equal((await own("POST", path, { bot_id })).status, 400, path);
    }
    await pass(t, 2 * minutes);
    const chat = (await own("GET", `chat-messages?bot_id=${bot_id}`)).body.data;
    assert.ok(chat.results.some(({ text }: { text: string }) => text === "Hello"));
    const people = (await own("GET", `participant-events?bot_id=${bot_id}`)).body.data;
    assert.equal(people.results[0].event_type, "join");
    const past = `participant-events?bot_id=${bot_id}&before=2000-01-01T00:00:00Z`;
    assert.deepEqual((await own("GET", past)).body.data.results, []);
    const early = await own("POST", "delete-data", { bot_id });
    assert.deepEqual([early.status, early.body.ok, early.body.status], [400, false, 400]);
    assert.equal((await own("POST", "leave-meeting", { bot_id })).body.ok, true);
    t.attendee.settings.speed = 20;
    await pass(t, 3 * minutes);
    const { data: spoken } = (await own("GET", `transcript?bot_id=${bot_id}`)).body;
    assert.ok(spoken[0].transcription.transcript);
    const { data: recording } = (await own("GET", `recording?bot_id=${bot_id}`)).body;
    assert.equal((await fetch(recording.url)).status, 200);
    const erased = await own("POST", "delete-data", { bot_id });
    assert.equal(erased.body.data.state, "data_deleted", JSON.stringify(erased.body));
    assert.deepEqual((await own("GET", `transcript?bot_id=${bot_id}`)).body.data, spoken);
  });

  test("moves, renames and calls off a bot that is to come", async () => {
    const join_at = new Date(t.clock.now().getTime() + 3 * hours).toISOString();
    const sent = await own("POST", "send-bot", { meeting_url: newLink(), join_at });
    const bot_id = sent.body.data.id;
    assert.equal(sent.body.data.state, "scheduled");
    const later = new Date(Date.parse(join_at) + 10 * minutes).toISOString();
    const updates = { join_at: later };
    const moved = await own("PATCH", "update-bot", { bot_id, updates });
    assert.equal(moved.status, 200, JSON.stringify(moved.body));
    assert.equal(Date.parse(moved.body.data.join_at), Date.parse(later));
    const elsewhere = { bot_id, updates: { meeting_url: newLink() } };
    assert.equal((await own("PATCH", "update-bot", elsewhere)).status, 400);
    const paused = await own("POST", "pause-recording", { bot_id });
    assert.deepEqual([paused.status, paused.body.ok, paused.body.status], [400, false, 400]);
    const nowhere = await own("POST", "send-bot", { meeting_url: "https://example.com/a" });
    assert.deepEqual([nowhere.status, nowhere.body.ok, nowhere.body.status], [400, false, 400]);
    const called = await own("DELETE", "delete-bot", { bot_id });
    assert.deepEqual(called.body, { ok: true, status: 200, data: null });
    assert.equal(t.attendee.bots.has(bot_id), false);
  });

  test("shows and gives nobody anything of somebody else's, and makes no bot to try the key", async () => {
    const { bots } = t.attendee;
    const sent = await own("POST", "send-bot", { meeting_url: newLink() });
    const bot_id = sent.body.data.id;
    const listed = (await own("GET", "list-bots")).body;
    assert.ok(listed.data.results.some(({ id }: { id: string }) => id === bot_id));
    const foreign = as(stranger);
    assert.deepEqual((await foreign("GET", "list-bots")).body.data.results, []);
    await t.idle();
    const before = t.attendee.asked.length;
    for (const path of ["bot-details", "transcript", "chat-messages", "recording"]) {
      const { status, body } = await foreign("GET", `${path}?bot_id=${bot_id}`);
      assert.deepEqual([status, body.ok, body.status], [404, false, 404], path);
    }
    const acts: [string, string, Record<string, unknown>][] = [
      ["POST", "leave-meeting", {}],
      ["DELETE", "delete-bot", {}],
      ["POST", "delete-data", {}],
      ["POST", "speech", { text: "x" }],
      ["PATCH", "update-bot", { updates: {} }],
    ];
    for (const [method, path, more] of acts) {
      const { status } = await foreign(method, path, { bot_id, ...more });
      assert.equal(status, 404, path);
    }
    assert.equal(t.attendee.asked.length, before, "the provider was not asked");
    const count = bots.size;
    const tried = await own("POST", "test-key");
    assert.deepEqual(tried.body, { ok: true, status: 200, body: "" });
    assert.equal(bots.size, count);
    assert.deepEqual((await own("GET", "bot-details")).body, {
      ok: false,
      error: "Missing bot_id",
    });
    const nobody = await fetch(`${t.url}/functions/v1/attendee-proxy/list-bots`);
    assert.equal(nobody.status, 401);
  });

  test("may be called by pages with all of its methods", async () => {
    const answer = await fetch(`${t.url}/functions/v1/attendee-proxy/update-bot`, {
      method: "OPTIONS",
      headers: { origin: "https://app.example.net", "access-control-request-method": "PATCH" },
    });
    assert.match(answer.headers.get("access-control-allow-methods") ?? "", /PATCH, DELETE/);
  });
});
