import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import { minutes } from "../../sandbox/google/clock.ts";
import { liveBots, pass, signInWithAssistant } from "../bots.ts";
import { openTestApp } from "../harness.ts";

const count = 1_000;

test("a thousand meetings that begin at the same minute each get one bot in time, by little more than a call each", {
  timeout: 400_000,
}, async () => {
  await using t = await openTestApp({ bots: "polled" });
  const { userId } = await signInWithAssistant(t);
  t.clock.advance(minutes - (t.clock.now().getTime() % minutes));
  const start = new Date(t.clock.now().getTime() + 20 * minutes);
  await sql`
    with made as (
      insert into meetings (user_id, title, meeting_url, start_time, end_time, wants_bot)
      select ${userId}, 'Meeting ' || n,
        'https://meet.google.com/aaa-' || translate(lpad(n::text, 4, '0'), '0123456789', 'abcdefghij') || '-aaa',
        ${start}, ${new Date(start.getTime() + 60 * minutes)}, true
      from generate_series(1, ${count}) as n
      returning id
    )
    insert into bot_plans (meeting_id, decision, rule, reason, inputs, decided_at)
    select id, 'send', 'undecided', 'Not decided yet', '{}', ${new Date(0)} from made
  `.execute(t.app.db);
  await t.asService("POST", "/api/v1/attendee/poll-all");
  for (const deadline = Date.now() + 240_000; liveBots(t).length < count; await sleep(200)) {
    assert.ok(Date.now() < deadline, `${liveBots(t).length} bots within 240 seconds`);
  }
  await t.idle();
  assert.equal(liveBots(t).length, count);
  assert.equal(new Set(liveBots(t).map(({ meetingUrl }) => meetingUrl)).size, count);
  assert.ok(liveBots(t).every(({ joinAt }) => joinAt?.getTime() === start.getTime() - 2 * minutes));
  const asked = () => t.attendee.asked.splice(0).length / count;
  assert.ok(asked() < 1.2, "one call makes each");
  await pass(t, 12 * minutes, 6 * minutes);
  assert.ok(asked() < 0.3, "what is only looked at is looked at as a list");
  for (let passed = 0; passed < 7; passed += 1) {
    t.clock.advance(minutes);
    t.attendee.run();
  }
  const asksOf = ({ events }: { events: { type: string; created_at: string }[] }) =>
    events.filter(({ type }) => type === "join_requested").map(({ created_at }) => created_at);
  const expected = [new Date(start.getTime() - 2 * minutes).getTime()];
  for (const bot of t.attendee.bots.values()) {
    assert.deepEqual(asksOf(bot).map(Date.parse), expected);
  }
  assert.equal(t.attendee.bots.size, count);
});
