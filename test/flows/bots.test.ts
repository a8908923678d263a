import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { hours, minutes, seconds } from "../../sandbox/google/clock.ts";
import {
  ana,
  forgetBots,
  liveBots,
  newLink,
  openStage,
  pass,
  signInWithAssistant,
} from "../bots.ts";
import { eventIn } from "../calendars.ts";
import { openTestApp, type TestApp, type Visitor } from "../harness.ts";
import { listen } from "../listen.ts";

const meet = "https://meet.google.com/abc-defg-hij";

test("an invited assistant comes by itself, is followed by webhooks, and its transcript becomes a document", async () => {
  await using t = await openTestApp({ bots: "told", push: true });
  t.attendee.settings.speed = 40;
  const visitor = await signInWithAssistant(t);
  const stream = await listen(t, visitor);
  inviteAssistant(t, 10 * minutes);
  const meeting = await until(t, async () => {
    const [found] = await meetings(visitor);
    return found?.bot_status === "bot_scheduled" ? found : null;
  });
  assert.equal(meeting.has_bot, true);
  assert.equal(t.attendee.bots.size, 1);
  const [bot] = [...t.attendee.bots.values()];
  assert.equal(bot?.joinAt?.getTime(), Date.parse(meeting.start_time) - 2 * minutes);
  t.clock.advance(8 * minutes);
  const done = await until(t, async () => {
    const [found] = await meetings(visitor);
    return found?.has_transcript ? found : null;
  });
  assert.equal(done.bot_status, "completed");
  await t.idle();
  await stream.leave();
  const told = stream.told.filter(({ event }) => event === "bot.changed").map(({ data }) => data);
  assert.deepEqual(
    [...new Set(told.map(({ status }) => status))].filter((status) => status !== undefined),
    ["pending", "bot_scheduled", "bot_joined", "transcribing", "completed"].filter((status) =>
      told.some((one) => one.status === status),
    ),
    "each state is told of, in its order",
  );
  assert.ok(
    ["bot_scheduled", "completed"].every((one) => told.some(({ status }) => status === one)),
  );
  const { body: documents } = await visitor.call(
    "GET",
    "/api/v1/documents?type=meeting_transcript",
  );
  assert.equal(documents.items.length, 1);
  assert.equal(documents.items[0].author, "Meeting Attendee Bot");
  assert.equal(documents.items[0].source_id, done.id);
});

describe("a meeting's bot", () => {
  let t: TestApp;
  let visitor: Visitor;
  let stage: ReturnType<typeof openStage>;
  before(async () => {
    t = await openTestApp({ bots: "polled", push: true });
    visitor = await signInWithAssistant(t);
    stage = openStage(t, visitor);
  });
  after(() => t[Symbol.asyncDispose]());
  beforeEach(async () => {
    await forgetBots(t);
  });

  test("moves with its meeting, by the provider's own row, and takes the new link", async () => {
    const event = await stage.invite(5 * hours);
    const [before] = liveBots(t);
    const at = eventIn(t, 7);
    t.google.calendar.patchEvent(ana, event, { start: at.start, end: at.end, location: newLink() });
    await t.idle();
    const [moved, ...others] = liveBots(t);
    assert.deepEqual([moved?.id, others.length], [before?.id, 0]);
    assert.equal(moved?.joinAt?.getTime(), Date.parse(at.start.dateTime) - 2 * minutes);
    assert.notEqual(moved?.meetingUrl, "https://meet.google.com/abc-defg-hij");
  });

  test("is called off when its event is cancelled or declined, or a person says so, and comes back when asked", async () => {
    const event = await stage.invite(5 * hours);
    assert.equal(liveBots(t).length, 1);
    const { id } = await stage.meetingOf(event);
    await visitor.call("PATCH", `/api/v1/meetings/${id}`, { wants_bot: false });
    await t.idle();
    assert.equal(liveBots(t).length, 0);
    await visitor.call("PATCH", `/api/v1/meetings/${id}`, { wants_bot: null });
    await t.idle();
    assert.equal(liveBots(t).length, 1);
    const answer = async (responseStatus: string) => {
      const attendees = [{ email: ana, responseStatus }, { email: "ai+ana@example.com" }];
      t.google.calendar.patchEvent(ana, event, { attendees });
      await t.idle();
    };
    await answer("declined");
    assert.deepEqual([liveBots(t).length, (await stage.why(event)).rule], [0, "declined"]);
    await answer("accepted");
    assert.equal(liveBots(t).length, 1);
    t.google.calendar.deleteEvent(ana, event);
    await t.idle();
    assert.equal(liveBots(t).length, 0);
  });

  test("comes at once to one that runs, and not at all to one that is over", async () => {
    // It is still there when it is looked for.
    t.attendee.settings.speed = 0.1;
    await stage.invite(-10 * minutes);
    assert.deepEqual(
      liveBots(t).map(({ joinAt }) => joinAt),
      [null],
    );
    t.attendee.bots.clear();
    await stage.invite(-3 * hours);
    assert.equal(liveBots(t).length, 0);
  });

  test("that has set out leaves when its meeting moves far, and another comes for the new time", async () => {
    const event = await stage.invite(10 * minutes);
    await pass(t, 4 * minutes, minutes);
    assert.equal(liveBots(t)[0]?.state, "staged");
    const at = eventIn(t, 4);
    t.google.calendar.patchEvent(ana, event, { start: at.start, end: at.end });
    await t.idle();
    assert.equal(liveBots(t).length, 2, "the old one hears nothing yet");
    await pass(t, 6 * minutes);
    const [left] = liveBots(t);
    assert.deepEqual([liveBots(t).length, left?.state], [1, "scheduled"]);
    assert.equal(left?.joinAt?.getTime(), Date.parse(at.start.dateTime) - 2 * minutes);
  });

  test("is one for two people in the same meeting, and both get its transcript", async () => {
    const priya = await signInWithAssistant(t, "priya@example.com");
    const location = newLink();
    await stage.invite(10 * minutes, { location });
    t.google.calendar.addEvent("priya@example.com", {
      ...eventIn(t, 10 / 60, { location }),
      attendees: [{ email: "priya@example.com" }, { email: "ai+priya@example.com" }],
    });
    await t.idle();
    assert.equal(liveBots(t).length, 1);
    await pass(t, 14 * minutes);
    assert.equal(t.attendee.bots.size, 1);
    for (const one of [visitor, priya]) {
      const { body } = await one.call("GET", "/api/v1/documents?type=meeting_transcript");
      assert.equal(body.items.length, 1);
    }
  });

  test("is not doubled when the answer to its making is lost", async () => {
    t.attendee.settings.cutNext = 1;
    const event = await stage.invite(3 * hours);
    await pass(t, 2 * minutes);
    assert.equal(t.attendee.bots.size, 1);
    const [made] = liveBots(t);
    assert.equal((await stage.botOf(event)).provider_bot_id, made?.id);
  });

  for (const [fate, code, fault] of [
    ["denied", "request_to_join_denied", "host"],
    ["not_found", "meeting_not_found", "organiser"],
  ] as const) {
    test(`says whose turn it is when it is ${fate}, and does not try again`, async () => {
      t.attendee.settings.fates = [["meet.google.com", fate]];
      const event = await stage.invite(6 * minutes);
      await pass(t, 8 * minutes);
      const bot = await stage.botOf(event);
      assert.deepEqual(
        [bot.status, bot.notice.code, bot.notice.fault, bot.attempt],
        ["failed", code, fault, 1],
      );
      assert.ok(bot.notice.cure);
      assert.equal((await stage.meetingOf(event)).bot_status, "failed");
    });
  }

  test("that breaks down is sent once more, and what both heard is one transcript", async () => {
    t.attendee.settings.fates = [["meet.google.com", "crashes"]];
    const event = await stage.invite(6 * minutes);
    t.attendee.settings.speed = 1;
    await pass(t, 3 * minutes);
    while (liveBots(t).length > 0) {
      t.clock.advance(seconds);
      t.attendee.run();
    }
    t.attendee.settings.fates = [];
    t.attendee.settings.speed = 20;
    await pass(t, 5 * minutes);
    const bot = await stage.botOf(event);
    assert.deepEqual([bot.status, bot.attempt], ["completed", 2]);
    const { body } = await visitor.call("GET", `/api/v1/attendee/transcript/${bot.id}`);
    assert.equal(
      body.segments.filter(({ text }: { text: string }) => text.startsWith("Good morning")).length,
      2,
    );
    assert.equal(
      bot.events.filter(({ type }: { type: string }) => type === "sent_again").length,
      1,
    );
  });

  test("that is removed while people are still there says so, and keeps what it heard", async () => {
    t.attendee.settings.fates = [["meet.google.com", "removed"]];
    const event = await stage.invite(6 * minutes);
    await pass(t, 8 * minutes);
    const bot = await stage.botOf(event);
    assert.deepEqual(
      [bot.status, bot.notice.code, bot.notice.fault],
      ["completed", "removed", "host"],
    );
    assert.match(bot.notice.text, /while .* still there$/);
  });

  test("that does not obey at once is believed when it obeys after all", async () => {
    t.attendee.settings.speed = 0.1;
    const event = await stage.invite(-1 * minutes);
    await pass(t, minutes);
    const { id } = await stage.botOf(event);
    t.attendee.settings.stubbornNext = 1;
    const act = (name: string) =>
      visitor.call("POST", `/api/v1/attendee/${name}-recording`, { bot_id: id });
    assert.equal((await act("pause")).status, 409);
    await pass(t, 3 * minutes);
    assert.equal((await stage.botOf(event)).is_recording_paused, true);
    assert.equal((await act("resume")).body.is_recording_paused, false);
  });

  test("that waits says so while it can still be let in", async () => {
    t.attendee.settings.fates = [["meet.google.com", "waits"]];
    t.attendee.settings.admitAfter = 20 * 240;
    const event = await stage.invite(4 * minutes);
    await pass(t, 3 * minutes);
    assert.equal((await stage.botOf(event)).notice.code, "waiting_to_be_let_in");
    t.attendee.settings.admitAfter = 5;
    await pass(t, 6 * minutes);
    assert.equal((await stage.botOf(event)).notice, null);
  });

  test("has a transcript that is final once the provider is done, however late, in four formats", async () => {
    t.attendee.settings.transcriptLate = 20 * 600;
    const event = await stage.invite(6 * minutes);
    await pass(t, 9 * minutes);
    const { id } = await stage.botOf(event);
    const transcript = (query = "") =>
      visitor.call("GET", `/api/v1/attendee/transcript/${id}${query}`);
    const early = (await transcript()).body;
    assert.deepEqual([early.final, early.segments.length], [false, 1]);
    await pass(t, 12 * minutes, minutes);
    const { body } = await transcript();
    assert.deepEqual([body.final, body.segments.length], [true, 5]);
    assert.deepEqual(body.speakers, ["Robin Miller", "Kim Sørensen", "Ada Okafor"]);
    assert.equal((await fetch(body.recording_url)).status, 200);
    assert.match(
      (await transcript("?format=vtt")).body,
      /^WEBVTT\n\n00:00:00\.000 --> .*\n<v Robin Miller>Good morning/,
    );
    assert.match((await transcript("?format=srt")).body, /^1\n00:00:00,000 --> /);
    assert.match((await transcript("?format=text")).body, /^\[20.*\] Robin Miller: Good morning/);
    assert.equal((await transcript("?format=pdf")).status, 422);
  });

  test("has its transcript in the project that its meeting was put into, whatever classification says", async () => {
    const event = await stage.invite(30 * minutes);
    const { id } = await stage.meetingOf(event);
    const project = await visitor.call("POST", "/api/v1/projects", { name: "Zebra" });
    const wish = { project_id: project.body.id };
    assert.equal((await visitor.call("PATCH", `/api/v1/meetings/${id}`, wish)).status, 200);
    await pass(t, 120 * minutes, minutes);
    const { body } = await visitor.call("GET", `/api/v1/documents?project_id=${wish.project_id}`);
    assert.partialDeepStrictEqual(body.items, [
      { meeting_id: id, is_project_chosen: true, classification_status: "classified" },
    ]);
  });

  test("in which nobody spoke says so, and makes no document", async () => {
    t.attendee.settings.fates = [["meet.google.com", "silent"]];
    const event = await stage.invite(6 * minutes);
    await pass(t, 9 * minutes);
    const bot = await stage.botOf(event);
    assert.deepEqual([bot.status, bot.notice.code], ["completed", "empty"]);
    const { body } = await visitor.call("GET", `/api/v1/attendee/transcript/${bot.id}`);
    assert.deepEqual([body.final, body.is_empty], [true, true]);
  });

  test("can be paused, spoken through and sent away, by its owner alone", async () => {
    t.attendee.settings.speed = 0.1;
    const event = await stage.invite(-1 * minutes);
    await pass(t, minutes);
    const { id } = await stage.botOf(event);
    const act = (name: string, body: Record<string, unknown> = {}) =>
      visitor.call("POST", `/api/v1/attendee/${name}`, { bot_id: id, ...body });
    assert.equal((await act("pause-recording")).body.is_recording_paused, true);
    assert.equal((await act("pause-recording")).status, 200, "the second click changes nothing");
    assert.equal((await act("resume-recording")).body.is_recording_paused, false);
    assert.equal((await act("send-chat", { message: "Hello" })).status, 202);
    assert.equal((await act("send-chat", { message: "Hello 👋" })).status, 422);
    assert.equal((await act("send-chat", { message: "Hello", to: "nobody" })).status, 422);
    const { body: people } = await visitor.call("GET", `/api/v1/attendee/participant-events/${id}`);
    assert.ok(people.items.length >= 2);
    const [kim] = people.items.filter((one: { is_host: boolean }) => !one.is_host);
    assert.equal((await act("send-chat", { message: "For the host", to: "host" })).status, 202);
    const one = { bot_id: id, message: "For Kim", to: kim.participant_uuid };
    for (const _ of ["first", "repeat"]) {
      const { status } = await visitor.call("POST", "/api/v1/attendee/send-chat", one, {
        "idempotency-key": "kim",
      });
      assert.equal(status, 202);
    }
    const written = t.attendee.asked
      .filter(({ path }) => path.endsWith("/send_chat_message"))
      .map(({ body }) => body as { to: string; to_user_uuid?: string });
    const host = people.items.find((other: { is_host: boolean }) => other.is_host);
    assert.deepEqual(
      written.map(({ to, to_user_uuid }) => [to, to_user_uuid ?? null]),
      [
        ["everyone", null],
        ["specific_user", host.participant_uuid],
        ["specific_user", kim.participant_uuid],
      ],
    );
    await pass(t, 2 * minutes);
    const { body: chat } = await visitor.call("GET", `/api/v1/attendee/chat-messages/${id}`);
    assert.ok(chat.items.some(({ text }: { text: string }) => text === "Hello"));
    const priya = await t.signIn("priya@example.com");
    const foreign = await priya.call("POST", "/api/v1/attendee/leave", { bot_id: id });
    assert.equal(foreign.status, 404);
    assert.equal((await act("leave")).body.left, true);
    t.attendee.settings.speed = 20;
    await pass(t, 2 * minutes);
    assert.deepEqual([(await stage.botOf(event)).status, liveBots(t).length], ["completed", 0]);
    assert.equal((await act("send-chat", { message: "Hello" })).status, 409);
  });

  test("comes to all meetings of somebody who wants that, but not to private ones and not where nobody else is", async () => {
    const others = [{ email: ana }, { email: "kim@example.org" }];
    const ordinary = await stage.invite(30 * hours, { attendees: others });
    const hidden = await stage.invite(31 * hours, { attendees: others, visibility: "private" });
    const alone = await stage.invite(32 * hours, { attendees: [] });
    const room = { email: "room-1@resource.calendar.example.com", resource: true };
    const inRoom = await stage.invite(33 * hours, { attendees: [{ email: ana }, room] });
    assert.equal(liveBots(t).length, 0);
    const wanted = {
      all_meetings: true,
      bot_name: "Minutes",
      greeting: "",
      language: null,
      recording: "audio",
    };
    assert.equal((await visitor.call("PUT", "/api/v1/attendee/preferences", wanted)).status, 200);
    await t.idle();
    assert.deepEqual(
      liveBots(t).map(({ name, greeting, recordingFormat }) => [name, greeting, recordingFormat]),
      [["Minutes", null, "mp3"]],
    );
    const why = async (event: string) => (await stage.why(event)).rule;
    assert.deepEqual(await Promise.all([ordinary, hidden, alone, inRoom].map(why)), [
      "served",
      "private",
      "alone",
      "alone",
    ]);
    await visitor.call("PUT", "/api/v1/attendee/preferences", { ...wanted, all_meetings: false });
    await t.idle();
    assert.equal(liveBots(t).length, 0);
  });
});

test("a bot is made once its meeting is within what the provider takes, three years ahead", async () => {
  await using t = await openTestApp({ bots: "polled", push: true });
  await signInWithAssistant(t);
  inviteAssistant(t, 1_100 * 24 * hours);
  await t.idle();
  assert.equal(liveBots(t).length, 0);
  t.clock.advance(150 * 24 * hours);
  await pass(t, 2 * hours, hours);
  assert.deepEqual(
    liveBots(t).map(({ state }) => state),
    ["scheduled"],
  );
});

test("a webhook of Attendee's is believed only by its signature, which holds for Python's floats; twice it does nothing", async () => {
  await using t = await openTestApp({ bots: "told", push: true });
  t.attendee.settings.speed = 40;
  t.attendee.settings.times = 2;
  t.attendee.settings.loseNext = 2;
  const visitor = await signInWithAssistant(t);
  const { body: bot } = await visitor.call("POST", "/api/v1/attendee/send-bot", {
    meeting_url: meet,
  });
  await until(t, async () => {
    const { body } = await visitor.call("GET", `/api/v1/attendee/bot-status/${bot.id}`);
    return body.status === "completed" ? body : null;
  });
  await t.idle();
  assert.ok(t.attendee.delivered.some(({ body }) => body.includes('"credits_consumed": 1.0')));
  assert.deepEqual([...new Set(t.attendee.delivered.map(({ status }) => status))], [204]);
  const [known] = t.attendee.delivered;
  const forge = (signature?: string, body = known?.body ?? "") =>
    fetch(`${t.url}/api/v1/webhooks/attendee`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        ...(signature ? { "x-webhook-signature": signature } : {}),
      },
      body,
    });
  assert.equal((await forge()).status, 401);
  assert.equal((await forge("c2lnbmVk")).status, 401);
  const signed = (body: string) =>
    createHmac("sha256", Buffer.from(t.attendee.webhookSecret, "base64"))
      .update(body)
      .digest("base64");
  assert.equal((await forge(signed('{"a":1}'), '{"a":1}')).status, 400);
  assert.equal((await forge(signed("[]"), "[]")).status, 400);
  assert.equal((await forge("c2lnbmVk", '{"a":1}')).status, 401);
  assert.equal((await forge("c2lnbmVk", "{")).status, 400);
});

function inviteAssistant(t: TestApp, inMs: number, more: Record<string, unknown> = {}): string {
  const event = eventIn(t, inMs / hours, {
    summary: "Launch",
    location: meet,
    attendees: [{ email: ana }, { email: "ai+ana@example.com" }],
    ...more,
  });
  return t.google.calendar.addEvent(ana, event).id;
}

// biome-ignore lint/suspicious/noExplicitAny: what a route answers is what its test asserts.
async function meetings(visitor: Visitor): Promise<any[]> {
  return (await visitor.call("GET", "/api/v1/meetings")).body.items;
}

async function until<Found>(t: TestApp, look: () => Promise<Found | null>): Promise<Found> {
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; await sleep(50)) {
    t.attendee.run();
    const found = await look();
    if (found) return found;
  }
  throw new Error("It did not come to that within 60 seconds");
}
