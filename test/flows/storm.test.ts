import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import { assertSameAsGoogle, eventIn, keptEvents } from "../calendars.ts";
import { openTestApp, type TestApp } from "../harness.ts";
import { killWorker, startWorker } from "../workers.ts";

const ana = "ana@example.com";
const kills = 50;

test("two workers killed at 50 instants of a storm of changes lose nothing and double nothing", {
  timeout: 180_000,
}, async (context) => {
  await using t = await openTestApp({ workers: false, push: true });
  const visitor = await t.signIn(ana);
  const { calendar } = t.google;
  const workers = [startWorker(t), startWorker(t)];
  context.after(() => Promise.all(workers.map(killWorker)));
  await sql`insert into usernames (username, user_id) values ('ana', ${visitor.userId})`.execute(
    t.app.db,
  );

  let isOver = false;
  let added = 0;
  const storm = (async () => {
    while (!isOver) {
      const event = calendar.addEvent(
        ana,
        eventIn(t, added % 900, {
          summary: `Event ${added}`,
          location: "https://meet.google.com/abc-defg-hij",
          ...(added % 5 === 0
            ? { attendees: [{ email: ana }, { email: "ai+ana@example.com" }] }
            : {}),
        }),
      );
      if (added % 3 === 0)
        calendar.patchEvent(ana, event.id, { summary: `Event ${added}, changed` });
      added += 1;
      await sleep(Math.random() * 30);
    }
  })();
  for (let count = 0; count < kills; count += 1) {
    await sleep(150 + Math.random() * 350);
    const [victim] = workers.splice(count % 2, 1);
    await killWorker(victim!);
    workers.push(startWorker(t));
  }
  isOver = true;
  await storm;
  await settled(t, visitor.userId, added);
  await assertSameAsGoogle(t, ana, visitor.userId);

  const kept = await keptEvents(t, visitor.userId);
  assert.equal(new Set(kept.map(({ id }) => id)).size, added);
  const { rows: told } = await sql<{ created: number }>`
    select sum((payload ->> 'created')::int)::int as created from user_events where type = 'calendar.changed'`.execute(
    t.app.db,
  );
  assert.equal(told[0]!.created, added, "each new event was told of once");
  const { rows: plans } = await sql<{ sends: number }>`
    select count(*)::int as sends from bot_plans where rule = 'invited' and decision = 'send'`.execute(
    t.app.db,
  );
  const { rows: marked } = await sql<{ count: number }>`
    select count(*)::int from meetings where auto_scheduled_via_email and end_time > now()`.execute(
    t.app.db,
  );
  assert.equal(
    plans[0]!.sends,
    marked[0]!.count,
    "each invitation of the assistant was decided once",
  );
  assert.ok(marked[0]!.count >= Math.floor(added / 5) - 1);
});

// The last to die may hold a feed for a moment yet.
async function settled(t: TestApp, userId: string, expected: number): Promise<void> {
  for (const deadline = Date.now() + 90_000; Date.now() < deadline; await sleep(200)) {
    const titles = (await keptEvents(t, userId)).map(({ title }) => title);
    const changed = titles.filter((title) => title.endsWith("changed")).length;
    if (titles.length === expected && changed === Math.ceil(expected / 3)) return;
  }
}
