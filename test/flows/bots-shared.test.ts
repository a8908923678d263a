import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { sql } from "kysely";
import { hours, minutes, seconds } from "../../sandbox/google/clock.ts";
import type { Tx } from "../../src/db/connection.ts";
import { startAgain } from "../../src/meetings/bot-states.ts";
import { lockBot } from "../../src/meetings/bots.ts";
import { placeOf } from "../../src/meetings/meeting-url.ts";
import { forgetBots, liveBots, newLink, openStage, pass, signInWithAssistant } from "../bots.ts";
import { untilItWaits } from "../database.ts";
import { openTestApp, type TestApp, type Visitor } from "../harness.ts";

describe("two people in the same meeting", () => {
  let t: TestApp;
  let ana: Visitor;
  let priya: Visitor;
  let hers: ReturnType<typeof openStage>;
  let theirs: ReturnType<typeof openStage>;
  before(async () => {
    t = await openTestApp({ bots: "polled", push: true });
    ana = await signInWithAssistant(t);
    priya = await signInWithAssistant(t, "priya@example.com");
    hers = openStage(t, ana);
    theirs = openStage(t, priya, "priya@example.com");
  });
  after(() => t[Symbol.asyncDispose]());
  beforeEach(() => forgetBots(t));
  const both = async (inMs: number) => {
    const location = newLink();
    return [
      await hers.invite(inMs, { location }),
      await theirs.invite(inMs, { location }),
    ] as const;
  };
  const wish = async (visitor: Visitor, id: string, change: Record<string, unknown>) => {
    const { status } = await visitor.call("PATCH", `/api/v1/meetings/${id}`, change);
    assert.equal(status, 200);
    await t.idle();
  };

  test("have one bot, which stays for the other when one calls it off, and goes with the last", async () => {
    const [mine, other] = await both(3 * hours);
    assert.equal(liveBots(t).length, 1);
    await wish(ana, (await hers.meetingOf(mine)).id, { wants_bot: false });
    assert.equal(liveBots(t).length, 1);
    assert.equal(await hers.botOf(mine), null);
    assert.equal((await theirs.botOf(other)).state, "scheduled");
    await wish(priya, (await theirs.meetingOf(other)).id, { wants_bot: false });
    assert.equal(liveBots(t).length, 0);
  });

  test("are each asked before it leaves a meeting that it is in, and what is said then is not for who did not want it", async () => {
    t.attendee.settings.speed = 0.1;
    const [mine, other] = await both(-1 * minutes);
    await pass(t, minutes);
    const bot = await hers.botOf(mine);
    assert.equal(bot.status, "transcribing");
    const leave = (who: Visitor) => who.call("POST", "/api/v1/attendee/leave", { bot_id: bot.id });
    assert.deepEqual((await leave(ana)).body, { left: true, bot: null });
    assert.equal((await leave(ana)).status, 404, "the second click finds none");
    await pass(t, minutes);
    assert.equal(liveBots(t)[0]?.state.startsWith("joined_"), true);
    assert.equal((await hers.why(mine)).rule, "refused");
    assert.equal((await ana.call("GET", `/api/v1/attendee/transcript/${bot.id}`)).status, 404);
    assert.equal((await leave(priya)).status, 200);
    t.attendee.settings.speed = 20;
    await pass(t, 2 * minutes);
    assert.equal(liveBots(t).length, 0);
    assert.equal((await theirs.botOf(other)).status, "completed");
  });

  test("both send it away at the same moment, and neither is refused", async () => {
    t.attendee.settings.speed = 0.1;
    const [mine] = await both(-1 * minutes);
    await pass(t, minutes);
    const bot = await hers.botOf(mine);
    // Each has noted its wish before either goes on.
    await sql`create function dawdle() returns trigger language plpgsql
      as $$ begin perform pg_sleep(0.5); return null; end $$`.execute(t.app.db);
    await sql`create trigger zz_slow after insert on bot_events
      for each row when (new.type = 'asked_to_leave') execute function dawdle()`.execute(t.app.db);
    const answers = await Promise.all(
      [ana, priya].map((who) => who.call("POST", "/api/v1/attendee/leave", { bot_id: bot.id })),
    );
    await sql`drop trigger zz_slow on bot_events`.execute(t.app.db);
    assert.deepEqual(
      answers.map(({ status }) => status),
      [200, 200],
    );
    t.attendee.settings.speed = 20;
    await pass(t, 2 * minutes);
    assert.equal(liveBots(t).length, 0);
  });

  test("send it away from two meetings, one of which has moved elsewhere, and wait in no order of their own", async () => {
    const [elsewhere, location] = [newLink(), newLink()];
    const events = [
      await hers.invite(3 * hours, { location }),
      await hers.invite(3 * hours, { location }),
    ];
    const bot = await hers.botOf(events[0] ?? "");
    const ids = await Promise.all(events.map(async (event) => (await hers.meetingOf(event)).id));
    await sql`
      update meetings set meeting_url = ${elsewhere} where id = ${ids.sort()[1]}
    `.execute(t.app.db);
    const lockPlace = (tx: Tx, link: string) =>
      sql`select pg_advisory_xact_lock(hashtextextended(${`bot:${placeOf(link)}`}, 0))`.execute(tx);
    const { leaves } = await t.app.db.transaction().execute(async (tx) => {
      await lockPlace(tx, elsewhere);
      const leaves = ana.call("POST", "/api/v1/attendee/leave", { bot_id: bot.id });
      await untilItWaits(t.app.db, leaves);
      await lockPlace(tx, location);
      return { leaves };
    });
    const { status, body } = await leaves;
    assert.equal(status, 200, JSON.stringify(body));
    await t.idle();
    assert.equal(liveBots(t).length, 0);
  });

  test("keep it when one of them is taken off the event while it is there, and it goes with the other", async () => {
    t.attendee.settings.speed = 0.1;
    const [mine, other] = await both(-1 * minutes);
    await pass(t, minutes);
    t.google.calendar.deleteEvent("ana@example.com", mine);
    await t.idle();
    assert.equal(liveBots(t).length, 1);
    const { start, end } = moved(t, 6 * hours);
    t.google.calendar.patchEvent("priya@example.com", other, { start, end });
    await t.idle();
    t.attendee.settings.speed = 20;
    await pass(t, 5 * minutes);
    assert.deepEqual(
      liveBots(t).map(({ state }) => state),
      ["scheduled"],
    );
  });

  test("are not in its way where one comes to it while it is waited for, and leaves at once", async () => {
    const bot = await hers.botOf(await hers.invite(3 * hours));
    const { id } = await theirs.meetingOf(await theirs.invite(3 * hours));
    const { db } = t.app;
    const holds = await db.startTransaction().execute();
    await lockBot(holds, bot.id);
    const changes = startAgain(t.app, bot.id, "moved");
    await untilItWaits(db, changes);
    await sql`update meetings set bot_id = ${bot.id} where id = ${id}`.execute(db);
    const leaves = db.transaction().execute(async (tx) => {
      await sql`select from meetings where id = ${id} for update`.execute(tx);
      await lockBot(tx, bot.id);
    });
    await untilItWaits(db, leaves, 2);
    await holds.commit().execute();
    await Promise.all([changes, leaves]);
    await t.idle();
  });

  test("keep it through a breakdown when one of them leaves before it is back", async () => {
    t.attendee.settings.speed = 1;
    t.attendee.settings.fates = [["meet.google.com", "crashes"]];
    const [mine, other] = await both(-1 * minutes);
    while (liveBots(t).length > 0) {
      t.clock.advance(1_000);
      t.attendee.run();
    }
    Object.assign(t.attendee.settings, {
      fates: [["meet.google.com", "waits"]],
      admitAfter: 100_000,
    });
    await pass(t, 3 * minutes);
    const bot = await hers.botOf(mine);
    assert.deepEqual([bot.attempt, bot.state], [2, "waiting_room"]);
    await ana.call("POST", "/api/v1/attendee/leave", { bot_id: bot.id });
    await pass(t, minutes);
    assert.equal((await theirs.botOf(other)).wish, "attend");
    assert.equal(liveBots(t)[0]?.state, "waiting_room");
  });

  test("keep it when a running meeting is moved by a few minutes", async () => {
    t.attendee.settings.speed = 0.1;
    const [mine, other] = await both(-10 * minutes);
    await pass(t, minutes);
    const bot = await hers.botOf(mine);
    const { start, end } = moved(t, -4 * minutes);
    t.google.calendar.patchEvent("ana@example.com", mine, { start, end });
    t.google.calendar.patchEvent("priya@example.com", other, { start, end });
    await t.idle();
    await pass(t, 2 * minutes);
    assert.equal(t.attendee.bots.size, 1);
    assert.equal((await hers.botOf(mine)).id, bot.id);
    assert.equal((await theirs.botOf(other)).id, bot.id);
  });

  test("who paste its link at about the same time have one bot, and none can make it otherwise for both", async () => {
    t.attendee.settings.speed = 0.1;
    const meeting_url = newLink();
    const send = (who: Visitor, more: Record<string, unknown> = {}) =>
      who.call("POST", "/api/v1/attendee/send-bot", { meeting_url, ...more });
    const first = await send(ana);
    t.clock.advance(3_000);
    const second = await send(priya);
    assert.deepEqual([second.status, second.body.id], [201, first.body.id]);
    const otherwise = await send(priya, { bot_name: "Mine" });
    assert.equal(otherwise.status, 409);
    assert.match(otherwise.body.detail, /share: false/);
    assert.equal(t.attendee.bots.size, 1);
  });

  test("who paste its link at the same instant have one bot", async () => {
    t.attendee.settings.speed = 0.1;
    for (let pair = 0; pair < 4; pair += 1) {
      const meeting_url = newLink();
      const other = `${meeting_url}?authuser=1`;
      const [first, second] = await Promise.all([
        ana.call("POST", "/api/v1/attendee/send-bot", { meeting_url }),
        priya.call("POST", "/api/v1/attendee/send-bot", { meeting_url: other }),
      ]);
      assert.deepEqual([first.status, second.status], [201, 201]);
      assert.equal(first.body.id, second.body.id);
    }
    assert.equal(t.attendee.bots.size, 4);
  });

  test("who come to one call by meetings that overlap have one bot in it, planned ahead for both", async () => {
    t.attendee.settings.speed = 0.01;
    const location = newLink();
    const early = await hers.invite(hours, { location });
    const late = await hers.invite(1.5 * hours, { location });
    const another = await theirs.invite(1.5 * hours, { location: `${location}?authuser=1` });
    assert.equal(liveBots(t).length, 2, "either may be called off until then");
    await pass(t, 95 * minutes, minutes);
    const inCall = liveBots(t).map(({ state }) => state);
    assert.deepEqual(inCall, ["joined_recording"]);
    const bot = await hers.botOf(early);
    assert.equal((await hers.botOf(late)).id, bot.id);
    assert.equal((await theirs.botOf(another)).id, bot.id);
    for (const why of [await hers.why(early), await hers.why(late), await theirs.why(another)]) {
      assert.deepEqual([why.decision, why.rule], ["none", "served"]);
    }
    const came = [...t.attendee.bots.values()].filter(({ events }) => events.length > 0);
    assert.equal(came.length, 1, "nobody saw the other");
  });

  test("who come to one call minutes apart have one bot there in the end", async () => {
    t.attendee.settings.speed = 0.02;
    const location = newLink();
    const early = await hers.invite(30 * minutes, { location });
    const late = await theirs.invite(32 * minutes, { location });
    await pass(t, 36 * minutes, 30 * seconds);
    assert.equal((await theirs.botOf(late)).id, (await hers.botOf(early)).id);
    assert.equal(liveBots(t).filter(({ state }) => state.startsWith("joined_")).length, 1);
  });

  test("who come by another's time do not hurry a bot while the provider does not answer", async () => {
    t.attendee.settings.failNext = Array.from({ length: 1_000 }, () => 503);
    const location = newLink();
    const early = await hers.invite(30 * minutes, { location });
    const late = await theirs.invite(32 * minutes, { location });
    t.clock.advance(29 * minutes);
    t.attendee.asked.length = 0;
    for (let looks = 0; looks < 4; looks += 1) {
      t.clock.advance(30 * seconds);
      await t.asService("POST", "/api/v1/attendee/poll-all");
      await t.idle();
    }
    assert.equal((await theirs.botOf(late)).id, (await hers.botOf(early)).id);
    assert.ok(t.attendee.asked.length < 40, `${t.attendee.asked.length} calls`);
  });

  test("have one each by one link where one meeting is over when the other begins", async () => {
    const location = newLink();
    const early = await hers.invite(hours, { location });
    const late = await hers.invite(2 * hours, { location });
    await pass(t, 130 * minutes, minutes);
    assert.notEqual((await hers.botOf(late)).id, (await hers.botOf(early)).id);
  });

  const askedFor = async (share: boolean, isAtOnce = false) => {
    t.attendee.settings.speed = 0.1;
    const location = newLink();
    const mine = await hers.invite(-5 * minutes, {
      location,
      attendees: [{ email: "ana@example.com" }],
    });
    const { id: meeting_id } = await hers.meetingOf(mine);
    await wish(ana, meeting_id, { bot_configuration: { share } });
    const paste = () => priya.call("POST", "/api/v1/attendee/send-bot", { meeting_url: location });
    const ask = () => ana.call("POST", "/api/v1/attendee/send-bot", { meeting_id });
    if (isAtOnce) {
      const [pasted, asked] = await Promise.all([paste(), ask()]);
      return { mine, pasted, asked };
    }
    const pasted = await paste();
    t.clock.advance(2 * minutes);
    return { mine, pasted, asked: await ask() };
  };

  for (const isAtOnce of [false, true]) {
    test(`who know of its time differently have one bot while it runs, asked for ${isAtOnce ? "at once" : "one after the other"}`, async () => {
      const { mine, pasted, asked } = await askedFor(true, isAtOnce);
      assert.deepEqual([pasted.status, asked.status], [201, 201]);
      assert.equal(asked.body.id, pasted.body.id);
      await pass(t, 2 * minutes, minutes);
      assert.equal((await hers.why(mine)).rule, "served");
      await pass(t, 10 * minutes, minutes);
      assert.equal((await hers.botOf(mine)).is_over, true);
      assert.equal((await hers.why(mine)).rule, "had_bot");
      assert.equal(t.attendee.bots.size, 1);
    });
  }

  test("who know of its time differently have one bot for as long as it is there", async () => {
    const { mine, pasted } = await askedFor(true);
    for (const made of liveBots(t)) made.plan = [];
    await pass(t, 60 * minutes, 10 * minutes);
    const { id, end_time } = await hers.meetingOf(mine);
    assert.ok(Date.parse(end_time) < t.clock.now().getTime());
    await wish(ana, id, { bot_configuration: { language: "de" } });
    assert.equal((await hers.botOf(mine)).id, pasted.body.id);
    assert.equal(t.attendee.bots.size, 1);
  });

  test("who know of its time differently have one each where one of them wants that", async () => {
    const { pasted, asked } = await askedFor(false);
    assert.notEqual(asked.body.id, pasted.body.id);
    assert.equal(liveBots(t).length, 2);
  });

  test("have one each where one of them wants that, and one again when it is shared again", async () => {
    const [mine, other] = await both(3 * hours);
    const { id } = await hers.meetingOf(mine);
    await wish(ana, id, { bot_configuration: { share: false, bot_name: "Only mine" } });
    assert.deepEqual(
      liveBots(t)
        .map(({ name }) => name)
        .sort(),
      ["AI Assistant", "Only mine"],
    );
    assert.notEqual((await hers.botOf(mine)).id, (await theirs.botOf(other)).id);
    await wish(ana, id, { bot_configuration: null });
    assert.equal(liveBots(t).length, 1);
    assert.equal((await hers.botOf(mine)).id, (await theirs.botOf(other)).id);
  });

  test("part ways when the meeting moves for one of them only", async () => {
    const [mine, other] = await both(3 * hours);
    const { start, end } = moved(t, 6 * hours);
    t.google.calendar.patchEvent("ana@example.com", mine, { start, end });
    await t.idle();
    assert.equal(liveBots(t).length, 2);
    assert.equal(
      Date.parse((await hers.botOf(mine)).join_at),
      Date.parse(start.dateTime) - 2 * minutes,
    );
    assert.notEqual((await theirs.botOf(other)).id, (await hers.botOf(mine)).id);
  });

  test("who write its link differently have one bot all the same, and nothing is decided again and again", async () => {
    const location = newLink();
    const mine = await hers.invite(3 * hours, { location });
    const other = await theirs.invite(3 * hours, { location: `${location}?authuser=1` });
    await pass(t, 3 * minutes, minutes);
    assert.equal(t.attendee.bots.size, 1);
    for (const why of [await hers.why(mine), await theirs.why(other)]) {
      assert.deepEqual([why.decision, why.rule], ["none", "served"]);
    }
  });

  test("lose nothing when one of them leaves for good: what the last one leaves behind is deleted at Attendee too", async () => {
    const zoe = await signInWithAssistant(t, "zoe.lindqvist@example.org");
    const location = newLink();
    const last = openStage(t, zoe, "zoe.lindqvist@example.org");
    const alone = await last.invite(-1 * minutes);
    const shared = await last.invite(-1 * minutes, { location });
    const mine = await hers.invite(-1 * minutes, { location });
    await pass(t, 3 * minutes);
    const ownId = (await last.botOf(alone)).provider_bot_id;
    const sharedId = (await last.botOf(shared)).provider_bot_id;
    assert.equal((await zoe.call("DELETE", "/api/v1/me")).status, 204);
    await pass(t, 4 * minutes, minutes);
    assert.equal(t.attendee.bots.get(ownId)?.state, "data_deleted");
    assert.equal(t.attendee.bots.get(sharedId)?.state, "ended");
    assert.equal((await hers.botOf(mine)).provider_bot_id, sharedId);
    const { rows } = await sql`select from bots where provider_bot_id = ${ownId}`.execute(t.app.db);
    assert.equal(rows.length, 0);
  });
});

function moved(t: TestApp, inMs: number) {
  const at = Math.floor((t.clock.now().getTime() + inMs) / minutes) * minutes;
  const moment = (ms: number) => ({ dateTime: new Date(ms).toISOString(), timeZone: "UTC" });
  return { start: moment(at), end: moment(at + hours) };
}
