import { execFileSync, spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import autocannon from "autocannon";
import { fastify } from "fastify";
import { sql } from "kysely";
import { digest } from "../src/lib/secrets.ts";
import { eventIn, keptEvents } from "../test/calendars.ts";
import { openTestApp, type TestApp, testEnvironment } from "../test/harness.ts";

// `npm run bench:calendar`: what the calendar feed does in a second, as ratios to a bare route or a bare statement of the
// same run; the memory of a large first read; and what a change costs in calls, with push and without.

const seconds = Number(process.env.BENCH_SECONDS ?? 5);
const ana = "ana@example.com";

await notifications();
await pages();
await firstRead();
await callsPerChange();
process.exit();

/** Notifications accepted a second, each proven, recorded, deduplicated, enqueued and committed before it is answered. */
async function notifications(): Promise<void> {
  await using t = await openTestApp({ push: true, workers: false });
  await t.signIn(ana);
  const token = "bench";
  const watchIds = await Promise.all(
    Array.from({ length: 200 }, (_, index) => openBenchWatch(t, index, token)),
  );
  const bare = fastify();
  bare.post("/", async (_request, reply) => reply.code(204).send());
  const bareUrl = await bare.listen({ host: "127.0.0.1", port: 0 });
  let sent = 0;
  const headers = () => {
    sent += 1;
    return {
      "x-goog-channel-id": watchIds[sent % watchIds.length] ?? "",
      "x-goog-channel-token": token,
      "x-goog-resource-state": "exists",
      "x-goog-message-number": String(sent),
    };
  };
  const load = { connections: 20, duration: seconds };
  const base = await autocannon({ url: bareUrl, method: "POST", ...load });
  const heard = await autocannon({
    url: `${t.url}/api/v1/webhooks/calendar`,
    ...load,
    requests: [
      {
        method: "POST",
        setupRequest: (request) => ({ ...request, headers: { ...request.headers, ...headers() } }),
      },
    ],
  });
  const rate = heard.requests.average;
  const { p50, p99 } = heard.latency;
  const ratio = (rate / base.requests.average).toFixed(3);
  const details = `p50 ${p50} ms, p99 ${p99} ms, ${heard.non2xx} refused, ${ratio} of a bare route`;
  say("notifications accepted", `${Math.round(rate)} a second`, details);
  await bare.close();
}

async function openBenchWatch(t: TestApp, index: number, token: string): Promise<string> {
  const connection = await t.app.db
    .selectFrom("connections")
    .select(["id", "user_id"])
    .executeTakeFirstOrThrow();
  const owner = { user_id: connection.user_id };
  const feed = await t.app.db
    .insertInto("feeds")
    .values({
      ...owner,
      connection_id: connection.id,
      kind: "calendar",
      resource: `bench ${index}`,
    })
    .returning("id")
    .executeTakeFirstOrThrow();
  const { id } = await t.app.db
    .insertInto("watches")
    .values({
      ...owner,
      feed_id: feed.id,
      secret_hash: digest(t.app.config.sessionSecret, token),
      requested_at: t.clock.now(),
      expires_at: new Date(t.clock.now().getTime() + 86_400_000),
      state: "open",
    })
    .returning("id")
    .executeTakeFirstOrThrow();
  return id;
}

/** Pages of 2,500 events applied a second: rows, meetings, news and cursor in one transaction each. */
async function pages(): Promise<void> {
  await using t = await openTestApp({ workers: true });
  t.google.calendar.addEvents(
    ana,
    Array.from({ length: 10_000 }, (_, index) => meetingIn(t, index)),
  );
  await t.signIn(ana);
  await t.idle();
  const runs = async () =>
    (
      await sql<{ pages: number; ms: number }>`
      select sum(pages)::int as pages, sum(duration_ms)::int as ms from sync_runs where mode = 'full' and pages > 3`.execute(
        t.app.db,
      )
    ).rows[0];
  const first = await runs();
  const bareMs = await timed(() =>
    sql`create table bench_rows as select gs as id, repeat('x', 1000) as text from generate_series(1, 2500) gs`.execute(
      t.app.db,
    ),
  );
  const pageMs = (first?.ms ?? 0) / (first?.pages ?? 1);
  say(
    "pages of 2,500 events applied",
    `${(1000 / pageMs).toFixed(1)} a second`,
    `${Math.round(pageMs)} ms each, reading included; ${(pageMs / bareMs).toFixed(0)} times a bare insert of 2,500 rows`,
  );
}

/** Memory of a worker while it reads a calendar for the first time: pages are streamed, so it stays flat. */
async function firstRead(): Promise<void> {
  const peaks: number[] = [];
  for (const count of [5_000, 20_000]) {
    await using t = await openTestApp({ workers: false });
    t.google.calendar.addEvents(
      ana,
      Array.from({ length: count }, (_, index) => meetingIn(t, index)),
    );
    const worker = spawn(process.execPath, ["src/main.ts", "worker"], {
      env: {
        ...process.env,
        ...testEnvironment(t.google, { url: t.url, port: 4400, database: t.database }),
      },
      stdio: ["ignore", "ignore", "inherit"],
    });
    await sleep(3_000);
    const before = residentOf(worker.pid);
    let peak = before;
    const { userId } = await t.signIn(ana);
    const ms = await timed(async () => {
      while ((await keptEvents(t, userId)).length < count) {
        await sleep(50);
        peak = Math.max(peak, residentOf(worker.pid));
      }
    });
    worker.kill("SIGKILL");
    peaks.push(peak - before);
    const grown = Math.round((peak - before) / 1024);
    say(`first read of ${count} events`, `${Math.round(ms)} ms`, `the worker grew by ${grown} MiB`);
  }
  const [small = 1, large = 0] = peaks;
  const ratio = (large / small).toFixed(1);
  say("growth for four times the events", `${ratio} times`, "1 is flat");
}

/** Kibibytes in memory. */
function residentOf(pid: number | undefined): number {
  return Number(execFileSync("ps", ["-o", "rss=", "-p", String(pid)]).toString());
}

/** Calls to Google for each change, for 1,000 feeds in an hour of the clock, with push and without. */
async function callsPerChange(): Promise<void> {
  const feedCount = Number(process.env.BENCH_FEEDS ?? 1000);
  for (const push of [true, false]) {
    await using t = await openTestApp({
      push,
      environment: {
        GOOGLE_CALENDAR_USER_QUOTA: "1000000",
        GOOGLE_CALENDAR_PROJECT_QUOTA: "1000000",
      },
    });
    const ids = Array.from({ length: feedCount - 1 }, (_, index) =>
      t.google.calendar.addCalendar(ana, { title: `Calendar ${index}` }),
    );
    await t.signIn(ana);
    await t.idle();
    const { requests } = t.google.state;
    requests.length = 0;
    let calls = 0;
    // Five changes a day and calendar, spread over the hour.
    const changes = Math.round((feedCount * 5) / 24);
    for (let minute = 0; minute < 60; minute += 1) {
      for (let change = 0; change < changes / 60; change += 1) {
        const calendarId = ids[(minute * 7919 + change * 104_729) % ids.length];
        t.google.calendar.addEvent(ana, eventIn(t, 1), calendarId ? { calendarId } : {});
      }
      t.clock.advance(60_000);
      await t.idle();
      calls += requests.filter(({ endpoint }) => endpoint.startsWith("calendar.")).length;
      requests.length = 0;
    }
    say(
      `an hour of ${feedCount} feeds, push ${push ? "on" : "off"}`,
      `${(calls / changes).toFixed(1)} calls a change`,
      `${calls} calls for ${changes} changes`,
    );
  }
}

function meetingIn(t: TestApp, index: number) {
  return eventIn(t, index * 0.5 - 100, {
    summary: `Event ${index}`,
    description: "An agenda of some length. ".repeat(20),
    ...(index % 2 === 0 ? { location: "https://meet.google.com/abc-defg-hij" } : {}),
  });
}

async function timed(act: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await act();
  return performance.now() - startedAt;
}

function say(what: string, figure: string, details: string): void {
  process.stdout.write(`| ${what} | ${figure} | ${details} |\n`);
}
