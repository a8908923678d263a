import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { hours, minutes, seconds } from "../../sandbox/google/clock.ts";
import { ana, forgetBots, liveBots, openStage, pass, signInWithAssistant } from "../bots.ts";
import { eventIn } from "../calendars.ts";
import { openTestApp, type TestApp, type Visitor } from "../harness.ts";

describe("what is changed about a bot", () => {
  let t: TestApp;
  let visitor: Visitor;
  let stage: ReturnType<typeof openStage>;
  before(async () => {
    t = await openTestApp({ bots: "polled", push: true });
    visitor = await signInWithAssistant(t);
    stage = openStage(t, visitor);
  });
  after(() => t[Symbol.asyncDispose]());
  beforeEach(() => forgetBots(t));
  const configure = async (event: string, bot_configuration: Record<string, unknown>) => {
    const { id } = await stage.meetingOf(event);
    const answer = await visitor.call("PATCH", `/api/v1/meetings/${id}`, { bot_configuration });
    await t.idle();
    return answer;
  };
  const send = async (event: string, more: Record<string, unknown>) =>
    visitor.call("POST", "/api/v1/attendee/send-bot", {
      meeting_id: (await stage.meetingOf(event)).id,
      ...more,
    });
  const asked = (method: string, part = "") =>
    t.attendee.asked.filter((one) => one.method === method && one.path.includes(part));

  test("reaches the provider: by a change where that can be made, by another bot where it cannot", async () => {
    const event = await stage.invite(3 * hours);
    const [first] = liveBots(t);
    await configure(event, { bot_name: "Minutes of Ana" });
    assert.deepEqual(
      liveBots(t).map(({ id, name }) => [id, name]),
      [[first?.id, "Minutes of Ana"]],
    );
    await configure(event, { bot_name: "Minutes of Ana", bot_chat_message: "Hello all" });
    const [second, ...others] = liveBots(t);
    assert.deepEqual(
      [second?.greeting, second?.name, others.length],
      ["Hello all", "Minutes of Ana", 0],
    );
    assert.notEqual(second?.id, first?.id);
    await configure(event, {
      bot_chat_message: { to: "everyone", message: "Hello all" },
      recording: "none",
      language: "de-DE",
    });
    const made = asked("POST", "/bots").at(-1)?.body as Record<string, unknown>;
    assert.deepEqual(made.recording_settings, { format: "none" });
    assert.deepEqual(made.transcription_settings, {
      meeting_closed_captions: { google_meet_language: "de-DE", teams_language: "de-de" },
    });
    assert.equal(liveBots(t).length, 1);
    const before = t.attendee.asked.length;
    await configure(event, {
      bot_chat_message: { to: "everyone", message: "Hello all" },
      recording: "none",
      language: "de-DE",
    });
    assert.equal(asked("POST", "/bots").length, 3, "the same once more changes nothing");
    assert.ok(t.attendee.asked.length - before <= 1);
  });

  test("is refused, field by field, where no meeting would take it", async () => {
    const event = await stage.invite(3 * hours);
    for (const [path, value] of [
      ["bot_name", "Robot 🤖"],
      ["language", "German"],
      ["recording", "hologram"],
      ["minutes_early", 600],
      ["share", "yes"],
    ] as const) {
      const { status, body } = await configure(event, { [path]: value });
      assert.equal(status, 422, path);
      assert.equal(body.errors[0].path, `body.bot_configuration.${path}`);
    }
    assert.equal(liveBots(t).length, 1);
  });

  test("may be when it comes: by hand, and from then on with its meeting", async () => {
    const event = await stage.invite(3 * hours);
    const start = Date.parse((await stage.meetingOf(event)).start_time);
    const at = (early: number) => new Date(start - early).toISOString();
    const { status, body } = await send(event, { join_at: at(10 * minutes) });
    assert.deepEqual([status, body.join_at], [200, at(10 * minutes)]);
    assert.equal(liveBots(t)[0]?.joinAt?.toISOString(), at(10 * minutes));
    assert.equal((await send(event, { join_at: at(2 * hours) })).status, 422);
    const { start: moved, end } = eventIn(t, 7);
    t.google.calendar.patchEvent(ana, event, { start: moved, end });
    await t.idle();
    assert.equal(liveBots(t)[0]?.joinAt?.getTime(), Date.parse(moved.dateTime) - 10 * minutes);
    assert.equal(t.attendee.bots.size, 1);
  });

  test("may be the password of its link, which leads to the same meeting", async () => {
    const link = (password: string) => `https://us02web.zoom.us/j/86530011223?pwd=${password}`;
    const event = await stage.invite(3 * hours, { location: link("first") });
    const [bot] = liveBots(t);
    t.google.calendar.patchEvent(ana, event, { location: link("second") });
    await t.idle();
    assert.deepEqual(
      liveBots(t).map(({ id, meetingUrl }) => [id, meetingUrl]),
      [[bot?.id, link("second")]],
    );
    assert.equal((await stage.why(event)).rule, "served");
  });

  test("is each occurrence's own: one that is cancelled loses its bot, the others keep theirs", async () => {
    const first = eventIn(t, 4);
    const series = await stage.invite(4 * hours, {
      ...first,
      recurrence: ["RRULE:FREQ=DAILY;COUNT=3"],
    });
    assert.equal(liveBots(t).length, 3);
    const occurrences = (await visitor.call("GET", "/api/v1/meetings?limit=200")).body.items.filter(
      (one: { google_calendar_event_id: string }) =>
        one.google_calendar_event_id.startsWith(`${series}_`),
    );
    assert.equal(new Set(occurrences.map((one: { bot_id: string }) => one.bot_id)).size, 3);
    const [, second] = occurrences;
    t.google.calendar.deleteEvent(ana, second.google_calendar_event_id);
    await t.idle();
    const left = liveBots(t).map(({ joinAt }) => joinAt?.getTime());
    assert.deepEqual(
      left.sort(),
      [occurrences[0], occurrences[2]].map(
        (one: { start_time: string }) => Date.parse(one.start_time) - 2 * minutes,
      ),
    );
  });

  test("that was refused can be sent once more by hand while the meeting goes on, and only then", async () => {
    t.attendee.settings.fates = [["meet.google.com", "denied"]];
    const event = await stage.invite(-1 * minutes);
    await pass(t, minutes);
    const refused = await stage.botOf(event);
    assert.deepEqual([refused.status, refused.notice.code], ["failed", "request_to_join_denied"]);
    const { notice, bot_status } = await stage.why(event);
    assert.deepEqual([bot_status, notice.fault], ["failed", "host"]);
    const same = await send(event, {});
    assert.deepEqual([same.status, same.body.id, same.body.status], [200, refused.id, "failed"]);
    t.attendee.settings.fates = [];
    const again = await send(event, { again: true });
    assert.deepEqual([again.status, again.body.id, again.body.attempt], [201, refused.id, 2]);
    await pass(t, 3 * minutes);
    const done = await stage.botOf(event);
    assert.deepEqual([done.status, done.notice], ["completed", null]);
    await pass(t, 70 * minutes, 10 * minutes);
    const late = await send(event, { again: true });
    assert.deepEqual([late.status, late.body.detail], [409, "The meeting is over"]);
  });

  test("may be that it is wanted again while it leaves: that is said, and it is sent once it has left", async () => {
    t.attendee.settings.speed = 0.1;
    const event = await stage.invite(-1 * minutes);
    await pass(t, minutes);
    const { id } = await stage.meetingOf(event);
    // It takes a minute to leave, and is not gone before somebody has looked.
    t.attendee.settings.speed = 0.005;
    await visitor.call("PATCH", `/api/v1/meetings/${id}`, { wants_bot: false });
    await t.idle();
    await visitor.call("PATCH", `/api/v1/meetings/${id}`, { wants_bot: true });
    await t.idle();
    assert.equal((await stage.why(event)).rule, "leaving");
    assert.equal((await send(event, { again: true })).status, 409);
    t.attendee.settings.speed = 20;
    await pass(t, 2 * minutes);
    assert.equal((await stage.why(event)).rule, "had_bot");
    // The next one is still there when it is looked for.
    t.attendee.settings.speed = 0.1;
    assert.equal((await send(event, { again: true })).status, 201);
    assert.equal(liveBots(t).length, 1);
  });

  test("that breaks down after its meeting was made longer is still sent once more", async () => {
    t.attendee.settings.speed = 1;
    t.attendee.settings.fates = [["meet.google.com", "crashes"]];
    const event = await stage.invite(-50 * minutes);
    const end = { dateTime: new Date(t.clock.now().getTime() + 2 * hours).toISOString() };
    t.google.calendar.patchEvent(ana, event, { end });
    await t.idle();
    t.attendee.settings.fates = [];
    t.clock.advance(20 * minutes);
    t.attendee.run();
    await pass(t, minutes);
    assert.equal((await stage.botOf(event)).attempt, 2);
  });

  test("shows in what was heard: only news is fetched while the meeting runs, and all that may have changed at the end", async () => {
    t.attendee.settings.speed = 0.1;
    const event = await stage.invite(-1 * minutes);
    await pass(t, 4 * minutes, 20 * seconds);
    const { id } = await stage.botOf(event);
    const transcript = async () =>
      (await visitor.call("GET", `/api/v1/attendee/transcript/${id}`)).body;
    const early = await transcript();
    assert.equal(early.final, false);
    assert.ok(early.segments.length >= 2);
    const reads = asked("GET", "/transcript");
    assert.deepEqual(
      reads.map(({ path }) => path.includes("updated_after=")),
      [false, ...reads.slice(1).map(() => true)],
    );
    assert.ok(asked("GET", "/chat_messages").at(-1)?.path.includes("updated_after="));
    t.attendee.settings.speed = 20;
    await pass(t, 8 * minutes, minutes);
    const final = await transcript();
    assert.deepEqual([final.final, final.segments.length], [true, 5]);
    assert.match(final.segments[1].text, /the film is not\.$/);
    const last = (part: string) => asked("GET", part).at(-1)?.path;
    assert.match(last("/transcript") ?? "", /\/transcript$/);
    assert.match(last("/chat_messages") ?? "", /\/chat_messages$/, "messages are edited");
    assert.match(last("/participant_events") ?? "", /\?after=/);
    const quiet = t.attendee.asked.length;
    await pass(t, 30 * minutes, 5 * minutes);
    assert.equal(t.attendee.asked.length, quiet, "one that is over and heard is not asked about");
  });

  test("has a recording whose link is fetched anew once it may have expired", async () => {
    const event = await stage.invite(-1 * minutes);
    await pass(t, 3 * minutes);
    const { id } = await stage.botOf(event);
    const link = async () =>
      (await visitor.call("GET", `/api/v1/attendee/transcript/${id}`)).body.recording_url;
    const first = await link();
    assert.equal(await link(), first);
    t.clock.advance(26 * minutes);
    const second = await link();
    assert.ok(second);
    assert.notEqual(second, first);
  });

  test("keeps what it heard where somebody deletes the data at the provider", async () => {
    t.attendee.settings.transcriptLate = 20 * 600;
    const event = await stage.invite(-1 * minutes);
    await pass(t, 3 * minutes);
    const bot = await stage.botOf(event);
    t.attendee.settings.speed = 1;
    const kept = (await visitor.call("GET", `/api/v1/attendee/transcript/${bot.id}`)).body;
    assert.deepEqual([kept.final, kept.segments.length > 0], [false, true]);
    const there = t.attendee.bots.get(bot.provider_bot_id);
    assert.ok(there);
    await fetch(`${t.attendee.url}/bots/${there.id}/delete_data`, {
      method: "POST",
      headers: { authorization: `Token ${t.attendee.key}` },
    });
    await pass(t, 3 * minutes, minutes);
    const { body } = await visitor.call("GET", `/api/v1/attendee/transcript/${bot.id}`);
    assert.deepEqual([body.final, body.segments], [true, kept.segments]);
    assert.equal((await stage.botOf(event)).status, "completed");
  });

  test("waits while the provider is crowded, out of reach or asks for a pause, and says so", async () => {
    t.attendee.settings.mostConcurrent = 0;
    const event = await stage.invite(-1 * minutes);
    const waiting = await stage.botOf(event);
    assert.equal(waiting.status, "pending");
    assert.match(waiting.last_error, /maximum number of concurrent bots/);
    t.attendee.settings.mostConcurrent = 2_500;
    t.attendee.settings.failNext = [503, 429];
    await pass(t, 5 * minutes);
    const done = await stage.botOf(event);
    assert.deepEqual([done.status, done.last_error, t.attendee.bots.size], ["completed", null, 1]);
  });
});

test("what a bot hears after it was sent once more is handed on too, once", async () => {
  await using t = await openTestApp({ bots: "polled", push: true, workflow: true });
  const visitor = await signInWithAssistant(t);
  const stage = openStage(t, visitor);
  t.attendee.settings.speed = 20;
  const event = await stage.invite(-1 * minutes);
  await pass(t, 4 * minutes);
  const handedOn = () => t.n8n.received.map(({ body }) => body.content.split("\n").length - 1);
  const [first] = handedOn();
  const { id: meeting_id } = await stage.meetingOf(event);
  const again = await visitor.call("POST", "/api/v1/attendee/send-bot", {
    meeting_id,
    again: true,
  });
  assert.equal(again.status, 201);
  await pass(t, 6 * minutes);
  assert.deepEqual(handedOn(), [first, 2 * (first ?? 0)]);
  const ids = t.n8n.received.map(({ body }) => body.document_id);
  assert.equal(new Set(ids).size, 1);
  await pass(t, 20 * minutes, 5 * minutes);
  assert.equal(handedOn().length, 2, "the same words are no news");
});
