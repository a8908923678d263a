import { sql } from "kysely";
import { minutes } from "../sandbox/google/clock.ts";
import { openTestApp } from "../test/harness.ts";

// `npm run bench:bots`: meetings that all start at the same minute. How many bots are sent and followed a second, and how many
// calls to the provider that takes, as ratios to the meetings.

const count = Number(process.env.BENCH_MEETINGS ?? 1_000);

await using t = await openTestApp({ bots: "polled" });
const { userId } = await t.signIn("ana@example.com");
await t.idle();
const start = new Date(t.clock.now().getTime() + 30 * minutes);
const { rows } = await sql<{ id: string }>`
  insert into meetings (user_id, title, meeting_url, start_time, end_time, wants_bot)
  select ${userId}, 'Meeting ' || n,
    'https://meet.google.com/aaa-' || translate(lpad(n::text, 4, '0'), '0123456789', 'abcdefghij') || '-aaa',
    ${start}, ${new Date(start.getTime() + 30 * minutes)}, true
  from generate_series(1, ${count}) as n
  returning id
`.execute(t.app.db);

const sentAt = performance.now();
const { enqueue } = await import("../src/queue/queue.ts");
await t.app.db.transaction().execute((tx) =>
  enqueue(
    t.app,
    tx,
    rows.map(({ id }) => ({
      name: "bots.reconcile" as const,
      payload: { meetingId: id },
      key: id,
    })),
  ),
);
while (t.attendee.bots.size < count) await new Promise((resolve) => setTimeout(resolve, 50));
await t.idle();
report("sent", sentAt);
t.attendee.settings.speed = 60;
t.clock.advance(24 * minutes);
t.attendee.run();
await look("looked at, as they are being started");
t.clock.advance(5 * minutes);
t.attendee.run();
await look("looked at, with what was said");
const { rows: states } = await sql`
  select status, count(*)::int as count from bots group by status
`.execute(t.app.db);
process.stdout.write(`${JSON.stringify(states)}\n`);
process.exit();

async function look(what: string): Promise<void> {
  t.attendee.asked.length = 0;
  const startedAt = performance.now();
  await t.asService("POST", "/api/v1/attendee/poll-all");
  report(what, startedAt);
}

function report(what: string, startedAt: number): void {
  const seconds = (performance.now() - startedAt) / 1000;
  const calls = (t.attendee.asked.length / count).toFixed(2);
  process.stdout.write(
    `${count} bots ${what}: ${seconds.toFixed(1)} s, ${Math.round(count / seconds)} a second, ${calls} calls each\n`,
  );
}
