import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import { minutes } from "../../sandbox/google/clock.ts";
import { handlers } from "../../src/jobs.ts";
import { letLeasesRunOut, skipWaiting } from "../../src/queue/test-queue.ts";
import { startWorkers } from "../../src/queue/workers.ts";
import { startDispatcher } from "../../src/sync/dispatcher.ts";
import { ana, liveBots, pass } from "../bots.ts";
import { eventIn } from "../calendars.ts";
import { openTestApp } from "../harness.ts";
import { killWorker, startWorker } from "../workers.ts";

const kills = 15;

test("two workers killed at 15 instants while meetings come, move and go leave each wanted one exactly one bot", {
  timeout: 180_000,
}, async (context) => {
  await using t = await openTestApp({ workers: false, push: true, bots: "told" });
  t.attendee.settings.retryMs = 50;
  const visitor = await t.signIn(ana);
  await sql`insert into usernames (username, user_id) values ('ana', ${visitor.userId})`.execute(
    t.app.db,
  );
  const workers = [startWorker(t, t.environment), startWorker(t, t.environment)];
  context.after(() => Promise.all(workers.map(killWorker)));

  let isOver = false;
  let added = 0;
  const link = (n: number) =>
    `https://meet.google.com/aaa-bbbb-${[n / 676, n / 26, n].map((part) => String.fromCharCode(97 + (Math.floor(part) % 26))).join("")}`;
  const storm = (async () => {
    const ids: string[] = [];
    for (; !isOver; added += 1) {
      const event = eventIn(t, 2 + (added % 300), {
        location: link(added),
        attendees: [{ email: ana }, { email: "ai+ana@example.com" }],
      });
      ids.push(t.google.calendar.addEvent(ana, event).id);
      const earlier = ids[Math.floor(ids.length / 2)] ?? "";
      const { start, end } = eventIn(t, 400 + added);
      if (added % 4 === 1) t.google.calendar.patchEvent(ana, earlier, { start, end });
      if (added % 4 === 2) t.google.calendar.deleteEvent(ana, ids.splice(0, 1)[0] ?? "");
      if (added % 4 === 3)
        t.google.calendar.patchEvent(ana, earlier, { location: link(5_000 + added) });
      if (added % 10 === 0) t.attendee.settings.cutNext = 1;
      if (added % 10 === 5) t.attendee.settings.failNext = [500, 404, 503];
      await sleep(60);
    }
  })();
  for (let count = 0; count < kills; count += 1) {
    await sleep(250 + Math.random() * 350);
    const [victim] = workers.splice(count % 2, 1);
    await killWorker(victim!);
    workers.push(startWorker(t, t.environment));
  }
  isOver = true;
  await storm;
  await Promise.all(workers.splice(0).map(killWorker));

  // What the dead held they would hold for up to three quarters of a minute, and it is tried again some seconds later.
  t.clock.advance(5 * minutes);
  await letLeasesRunOut(t.app);
  await sql`update feeds set lease_until = now() where lease_until > now()`.execute(t.app.db);
  await skipWaiting(t.app);
  await using _workers = await startWorkers(t.app, handlers);
  await using _dispatcher = startDispatcher(t.app, 100);
  await t.idle();
  await pass(t, 10 * minutes, 2 * minutes);

  const { rows } = await sql<{ wanted: string }>`
    select meeting_url || ' ' || to_char(start_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') as wanted
    from meetings where cancelled_at is null and end_time > ${t.clock.now()}
  `.execute(t.app.db);
  const there = liveBots(t).map(({ meetingUrl, joinAt }) => {
    const start = new Date((joinAt?.getTime() ?? 0) + 2 * minutes);
    return `${meetingUrl} ${start.toISOString().slice(0, 19)}`;
  });
  assert.ok(rows.length > 20, `${rows.length} meetings`);
  assert.deepEqual(there.sort(), rows.map(({ wanted }) => wanted).sort());
});
