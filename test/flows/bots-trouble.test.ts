import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { sql } from "kysely";
import { hours, minutes } from "../../sandbox/google/clock.ts";
import { tendBot } from "../../src/meetings/bot-tending.ts";
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
import { createTestDatabase, untilItWaits } from "../database.ts";
import { openTestApp, type TestApp, type Visitor } from "../harness.ts";

describe("what goes wrong around a bot", () => {
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
  const documents = async () =>
    (await visitor.call("GET", "/api/v1/documents?type=meeting_transcript&limit=200")).body.items;
  const transcriptOf = async (botId: string) =>
    (await visitor.call("GET", `/api/v1/attendee/transcript/${botId}`)).body;

  test("is not that it is gone, where something in between answers 404", async () => {
    const event = await stage.invite(3 * hours);
    const [made] = liveBots(t);
    t.attendee.settings.failNext = [404, 404, 404];
    await pass(t, 20 * minutes, 5 * minutes);
    assert.deepEqual(
      [...t.attendee.bots.keys()],
      [made?.id],
      "neither a second one nor another in its place",
    );
    t.attendee.settings.failNext = [404];
    const { id } = await stage.meetingOf(event);
    await visitor.call("PATCH", `/api/v1/meetings/${id}`, { wants_bot: false });
    await pass(t, 5 * minutes, minutes);
    assert.equal(t.attendee.bots.size, 0, "one that is called off does not come all the same");
  });

  test("is that somebody deleted it: another takes its place", async () => {
    const event = await stage.invite(3 * hours);
    t.attendee.bots.clear();
    await pass(t, 20 * minutes, 5 * minutes);
    assert.equal(liveBots(t).length, 1);
    assert.equal((await stage.botOf(event)).provider_bot_id, liveBots(t)[0]?.id);
  });

  test("loses nothing of a meeting that is put off while the bot is in it", async () => {
    t.attendee.settings.speed = 0.1;
    const event = await stage.invite(-1 * minutes);
    await pass(t, 4 * minutes);
    const first = await stage.botOf(event);
    assert.ok((await transcriptOf(first.id)).segments.length > 0);
    const before = await documents();
    const { start, end } = eventIn(t, 26);
    t.google.calendar.patchEvent(ana, event, { start, end });
    await t.idle();
    t.attendee.settings.speed = 20;
    await pass(t, 6 * minutes);
    const second = await stage.botOf(event);
    assert.notEqual(second.id, first.id);
    assert.equal(second.state, "scheduled");
    const earlier = await visitor.call("POST", "/api/v1/attendee/send-chat", {
      bot_id: first.id,
      message: "Still here",
    });
    assert.equal(earlier.status, 409, "what it heard is theirs; to steer it is not");
    assert.ok((await transcriptOf(first.id)).segments.length > 0);
    const after = await documents();
    assert.equal(after.length, before.length + 1);
    assert.equal(after[0].source_id, (await stage.meetingOf(event)).id);
  });

  test("keeps the first transcript of a meeting that is held a second time", async () => {
    const event = await stage.invite(-1 * minutes);
    const before = (await documents()).length;
    await pass(t, 3 * minutes);
    assert.equal((await documents()).length, before + 1);
    const { start, end } = eventIn(t, 2);
    t.google.calendar.patchEvent(ana, event, { start, end });
    await t.idle();
    await pass(t, 2 * hours + 5 * minutes, 5 * minutes);
    await pass(t, 3 * minutes);
    assert.equal((await documents()).length, before + 2);
  });

  test("keeps what was heard before it broke down, when it is sent away before it is back", async () => {
    t.attendee.settings.speed = 1;
    t.attendee.settings.fates = [["meet.google.com", "crashes"]];
    const event = await stage.invite(-1 * minutes);
    while (liveBots(t).length > 0) {
      t.clock.advance(1_000);
      t.attendee.run();
    }
    t.attendee.settings.fates = [["meet.google.com", "waits"]];
    t.attendee.settings.admitAfter = 100_000;
    const before = (await documents()).length;
    await pass(t, 3 * minutes);
    const bot = await stage.botOf(event);
    assert.deepEqual([bot.attempt, bot.state], [2, "waiting_room"]);
    await visitor.call("POST", "/api/v1/attendee/leave", { bot_id: bot.id });
    await pass(t, 5 * minutes);
    assert.equal((await documents()).length, before + 1);
    assert.equal((await stage.botOf(event)).id, bot.id);
  });

  test("does not cost what was heard, when the second bot never comes", async () => {
    t.attendee.settings.speed = 1;
    t.attendee.settings.fates = [["meet.google.com", "crashes"]];
    const event = await stage.invite(-55 * minutes);
    while (liveBots(t).length > 0) {
      t.clock.advance(1_000);
      t.attendee.run();
    }
    const before = (await documents()).length;
    t.attendee.settings.failNext = [];
    t.attendee.settings.mostConcurrent = 0;
    await pass(t, 12 * minutes);
    t.attendee.settings.mostConcurrent = 2_500;
    const bot = await stage.botOf(event);
    assert.deepEqual([bot.is_over, bot.notice.code], [true, "too_late"]);
    assert.equal((await documents()).length, before + 1);
  });

  test("that never came is no reason for none to come once the meeting is moved to when it was given up", async () => {
    t.attendee.settings.mostConcurrent = 0;
    const event = await stage.invite(-55 * minutes);
    await pass(t, 12 * minutes);
    t.attendee.settings.mostConcurrent = 2_500;
    assert.equal((await stage.botOf(event)).notice.code, "too_late");
    const at = (inMs: number) => ({
      dateTime: new Date(t.clock.now().getTime() + inMs).toISOString(),
    });
    const moved = { start: at(-20 * minutes), end: at(40 * minutes) };
    t.google.calendar.patchEvent(ana, event, moved);
    await t.idle();
    assert.equal((await stage.why(event)).rule, "served");
    assert.equal(liveBots(t).length, 1);
  });

  test("does not cost what was heard, when somebody deletes the bot that is over", async () => {
    t.attendee.settings.transcriptLate = 20 * 3_600;
    const event = await stage.invite(-1 * minutes);
    await pass(t, 4 * minutes);
    const bot = await stage.botOf(event);
    assert.equal((await transcriptOf(bot.id)).final, false);
    const before = (await documents()).length;
    t.attendee.bots.delete(bot.provider_bot_id);
    await pass(t, 3 * minutes, minutes);
    assert.equal((await transcriptOf(bot.id)).final, true);
    assert.equal((await documents()).length, before + 1);
  });

  test("is not what somebody who comes later has to bear: they get a bot of their own, and nothing of what was said", async () => {
    const priya = await signInWithAssistant(t, "priya@example.com");
    const theirs = openStage(t, priya, "priya@example.com");
    const location = newLink();
    const mine = await stage.invite(-1 * minutes, { location });
    await pass(t, 4 * minutes);
    assert.equal((await stage.botOf(mine)).status, "completed");
    const late = await theirs.invite(-5 * minutes, { location });
    const own = await theirs.botOf(late);
    assert.notEqual(own.id, (await stage.botOf(mine)).id);
    const foreign = await priya.call(
      "GET",
      `/api/v1/attendee/transcript/${(await stage.botOf(mine)).id}`,
    );
    assert.equal(foreign.status, 404);
  });

  test("may be mended until the meeting begins: what is refused is asked for again", async () => {
    t.attendee.settings.failNext = [400];
    const event = await stage.invite(30 * hours);
    const refused = await stage.botOf(event);
    assert.deepEqual([refused.status, refused.is_over], ["pending", false]);
    assert.match(refused.last_error, /^Attendee refused/);
    await pass(t, 7 * hours, hours);
    assert.deepEqual((await stage.botOf(event)).state, "scheduled");
  });

  test("of one bot is not the others'", async () => {
    t.attendee.settings.speed = 0.1;
    const events = [await stage.invite(-1 * minutes), await stage.invite(-1 * minutes)];
    await pass(t, minutes);
    const broken = await stage.botOf(events[0]!);
    await sql`update bots set sent = '{"meeting_url": 5}' where id = ${broken.id}`.execute(
      t.app.db,
    );
    await pass(t, 2 * minutes);
    assert.equal((await stage.botOf(events[0]!)).last_error, "Something unexpected");
    assert.equal((await stage.botOf(events[1]!)).last_error, null);
    await pass(t, 10 * minutes);
    assert.equal((await stage.botOf(events[1]!)).status, "completed");
  });

  test("is given up days after its meeting, with what was heard until then", async () => {
    t.attendee.settings.speed = 0.1;
    const event = await stage.invite(-1 * minutes);
    await pass(t, 4 * minutes);
    const bot = await stage.botOf(event);
    const before = (await documents()).length;
    t.attendee.settings.failNext = Array.from({ length: 100 }, () => 503);
    t.clock.advance(4 * 24 * hours);
    await pass(t, 10 * minutes, 5 * minutes);
    assert.equal((await stage.botOf(event)).is_over, false, "not at the first trouble");
    await sql`update bots set failures = 40 where id = ${bot.id}`.execute(t.app.db);
    await pass(t, 10 * minutes, 5 * minutes);
    const end = await stage.botOf(event);
    assert.deepEqual(
      [end.is_over, end.status, end.notice.code],
      [true, "completed", "unreachable"],
    );
    assert.equal((await documents()).length, before + 1);
    assert.equal((await transcriptOf(bot.id)).final, true);
  });

  test("is given up then too where it is ours, with what was heard until then", async () => {
    t.attendee.settings.speed = 0.1;
    const event = await stage.invite(-1 * minutes);
    await pass(t, 4 * minutes);
    const bot = await stage.botOf(event);
    const before = (await documents()).length;
    for (const made of liveBots(t)) made.plan = [];
    await sql`update bots set sent = '{"meeting_url": 5}', failures = 40 where id = ${bot.id}`.execute(
      t.app.db,
    );
    t.clock.advance(4 * 24 * hours);
    await pass(t, 10 * minutes, 5 * minutes);
    const end = await stage.botOf(event);
    assert.deepEqual([end.is_over, end.status, end.notice.code], [true, "completed", "unexpected"]);
    assert.equal((await documents()).length, before + 1);
    const quiet = t.attendee.asked.length;
    await pass(t, 30 * minutes, 10 * minutes);
    assert.equal(t.attendee.asked.length, quiet);
  });

  test("is given up then also where what was heard cannot be kept", async () => {
    const event = await stage.invite(-1 * minutes);
    const bot = await stage.botOf(event);
    await sql`
      insert into bot_utterances values (${bot.id}, 'another', 'odd', '{"timestamp_ms": "noon"}')
    `.execute(t.app.db);
    await pass(t, 4 * minutes);
    assert.equal((await stage.botOf(event)).last_error, "Something unexpected");
    await sql`update bots set failures = 40 where id = ${bot.id}`.execute(t.app.db);
    t.clock.advance(4 * 24 * hours);
    await pass(t, 10 * minutes, 5 * minutes);
    assert.equal((await stage.botOf(event)).notice.code, "unexpected");
    const quiet = t.attendee.asked.length;
    await pass(t, 30 * minutes, 10 * minutes);
    assert.equal(t.attendee.asked.length, quiet);
  });

  test("does not cost what was heard, where a time that was told is wild", async () => {
    t.attendee.settings.speed = 1;
    const event = await stage.invite(-1 * minutes);
    const [made] = liveBots(t);
    while (made?.utterances.length === 0) {
      t.clock.advance(1_000);
      t.attendee.run();
    }
    const [first] = made?.utterances ?? [];
    assert.ok(first);
    const wild = { timestamp_ms: first.timestamp_ms * 1_000, duration_ms: 1e18 };
    made?.utterances.push({ ...first, ...wild, speaker_uuid: "of a clock that is wrong" });
    const before = (await documents()).length;
    t.attendee.settings.speed = 20;
    await pass(t, 8 * minutes, minutes);
    const bot = await stage.botOf(event);
    assert.deepEqual([bot.status, bot.last_error], ["completed", null]);
    assert.equal((await documents()).length, before + 1);
  });

  test("is not the end of a reading of many pages: the next one goes on where it was", async () => {
    t.attendee.settings.speed = 1;
    const event = await stage.invite(-1 * minutes);
    const [made] = liveBots(t);
    while (made?.participantEvents.length === 0) {
      t.clock.advance(1_000);
      t.attendee.run();
    }
    const [first] = made?.participantEvents ?? [];
    assert.ok(first);
    for (let guest = 0; guest < 500; guest += 1) {
      const { id, participant_uuid } = first;
      made?.participantEvents.push({
        ...first,
        id: `${id}${guest}`,
        participant_uuid: `${participant_uuid}${guest}`,
      });
    }
    t.attendee.settings.speed = 50;
    let asked = 0;
    // A provider that never answers ten times in a row.
    t.attendee.settings.failNext = Object.assign([], {
      shift: () => {
        asked += 1;
        return asked % 10 === 0 ? 503 : undefined;
      },
    });
    await pass(t, 20 * minutes, minutes);
    const bot = await stage.botOf(event);
    assert.deepEqual([bot.status, (await transcriptOf(bot.id)).final], ["completed", true]);
    const { rows } = await sql<{ people: number; reading: unknown }>`
      select (select count(*)::int from bot_participant_events where bot_id = bots.id) as people,
        settings -> 'reading' as reading
      from bots where id = ${bot.id}
    `.execute(t.app.db);
    assert.deepEqual(rows, [{ people: made?.participantEvents.length, reading: null }]);
  });

  for (const isSeen of [true, false]) {
    test(`does not cost what was heard, where its history is not told and it is ${isSeen ? "seen" : "not seen"} in the meeting`, async () => {
      const event = await stage.invite(3 * hours);
      const meeting = await stage.meetingOf(event);
      // A recording that is missing would be looked for, and what was said found on the way.
      const bot_configuration = { recording: "none" };
      await visitor.call("PATCH", `/api/v1/meetings/${meeting.id}`, { bot_configuration });
      await t.idle();
      const [made] = liveBots(t);
      t.clock.advance(2 * hours + 50 * minutes);
      Object.assign(made ?? {}, { events: Object.assign([], { push: () => 0 }) });
      const before = (await documents()).length;
      if (isSeen) await pass(t, 20 * minutes);
      else {
        for (let minute = 0; minute < 90; minute += 1) {
          t.clock.advance(minutes);
          t.attendee.run();
        }
      }
      await pass(t, 60 * minutes, minutes);
      const { id, status } = await stage.botOf(event);
      assert.deepEqual([status, (await transcriptOf(id)).final], ["completed", true]);
      assert.equal((await documents()).length, before + 1);
    });
  }

  test("is over where it is said to be, also by an answer that leaves out what was before", async () => {
    t.attendee.settings.speed = 0.1;
    const event = await stage.invite(-1 * minutes);
    const [made] = liveBots(t);
    await pass(t, 4 * minutes);
    t.attendee.settings.speed = 20;
    const before = await stage.botOf(event);
    assert.equal(before.status, "transcribing");
    const events = made?.events.slice(-1) ?? [];
    const push = (event: (typeof events)[number]) => events.splice(0, 1, event).length;
    Object.assign(made ?? {}, { events: Object.assign(events, { push }) });
    await pass(t, 80 * minutes, minutes);
    const { id, status, state } = await stage.botOf(event);
    assert.deepEqual([status, state, (await transcriptOf(id)).final], ["completed", "ended", true]);
    assert.notEqual((await transcriptOf(id)).document_id, null);
  });

  test("is not that whoever works on it lets go just as another comes: then that one does", async () => {
    const event = await stage.invite(3 * hours);
    const { id } = await stage.botOf(event);
    const until = new Date(t.clock.now().getTime() + minutes);
    await sql`
      update bots set lease_owner = gen_random_uuid(), lease_until = ${until} where id = ${id}
    `.execute(t.app.db);
    const tx = await t.app.db.startTransaction().execute();
    await sql`update bots set lease_owner = null, lease_until = null where id = ${id}`.execute(tx);
    const comes = tendBot(t.app, { botId: id });
    await untilItWaits(t.app.db, comes);
    await tx.commit().execute();
    assert.deepEqual(await comes, { tended: 1 });
  });

  test("is told to whoever asks by a link that no bot can join", async () => {
    const event = await stage.invite(3 * hours, { location: "https://acme.webex.com/meet/ana" });
    assert.equal((await stage.why(event)).rule, "not_joinable");
    for (const meeting_url of [
      "https://acme.webex.com/meet/ana",
      "https://example.com",
      "room 4",
    ]) {
      const { status, body } = await visitor.call("POST", "/api/v1/attendee/send-bot", {
        meeting_url,
      });
      assert.deepEqual([status, body.errors?.[0].path], [422, "meeting_url"], meeting_url);
    }
  });

  test("that is not the link of the meeting named with it is refused; that meeting's, however written, is not", async () => {
    const location = newLink();
    const event = await stage.invite(3 * hours, { location, attendees: [] });
    const { id: meeting_id } = await stage.meetingOf(event);
    const send = (meeting_url: string) =>
      visitor.call("POST", "/api/v1/attendee/send-bot", { meeting_id, meeting_url });
    const { status, body } = await send(newLink());
    assert.deepEqual([status, body.errors?.[0].path], [422, "meeting_url"]);
    assert.equal(await stage.botOf(event), null);
    assert.equal((await send(`${location}?authuser=1`)).status, 201);
  });
});

test("without a key no bots are sent, and that is said; with one they are, also to what was decided before", async () => {
  await using database = await createTestDatabase();
  {
    await using t = await openTestApp({ push: true, database });
    const visitor = await signInWithAssistant(t);
    const stage = openStage(t, visitor);
    const event = await stage.invite(3 * hours);
    const why = await stage.why(event);
    assert.deepEqual([why.decision, why.rule, why.bot_id], ["send", "invited", null]);
    assert.match(why.reason, /MASTER_ATTENDEE_API_KEY is not set/);
    const { id } = await stage.meetingOf(event);
    const sent = await visitor.call("POST", "/api/v1/attendee/send-bot", { meeting_id: id });
    assert.equal(sent.status, 503);
  }
  await using later = await openTestApp({ database, bots: "polled" });
  later.clock.advance(2 * minutes);
  await later.asService("POST", "/api/v1/attendee/poll-all");
  await later.idle();
  assert.equal(liveBots(later).length, 1);
});

test("whoever asks for it has every coming meeting that should have a bot given one, and is told of each", async () => {
  await using database = await createTestDatabase();
  {
    await using t = await openTestApp({ push: true, database });
    const stage = openStage(t, await signInWithAssistant(t));
    for (const ahead of [3, 5]) await stage.invite(ahead * hours);
    await stage.invite(7 * hours, { attendees: [] });
  }
  await using t = await openTestApp({ database, bots: "polled", workers: false });
  const visitor = await t.signIn(ana);
  const ask = async () =>
    (await visitor.call("POST", "/api/v1/attendee/auto-schedule")).body.results;
  const results = await ask();
  assert.deepEqual(
    results.map(({ success, error }: { success: boolean; error: string }) => [success, error]),
    [
      [true, null],
      [true, null],
    ],
  );
  assert.equal(liveBots(t).length, 2);
  assert.deepEqual(await ask(), [], "what has its bot needs none");
});
