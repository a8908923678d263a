import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { sql } from "kysely";
import { hours, minutes } from "../../sandbox/google/clock.ts";
import type { Database } from "../../src/db/connection.ts";
import { migrate } from "../../src/db/migrate.ts";
import { openLog } from "../../src/lib/log.ts";
import { sealingKey } from "../../src/lib/secrets.ts";
import { liveBots } from "../bots.ts";
import { createEmptyDatabase, installQueue } from "../database.ts";
import { openTestApp, type TestApp } from "../harness.ts";

const legacy = readFileSync(new URL("../legacy-schema.sql", import.meta.url), "utf8");
const [first = "", second = "", third = ""] = legacy.split(/^-- === PART [23]$/m);
const log = openLog("silent");
const keyring = { current: sealingKey("an-encryption-key-for-tests"), previous: [] };
const link = (n: number) => `https://meet.google.com/abc-defg-hi${"jklmnopq"[n]}`;
const owner = randomUUID();

test("bots of the older product keep their time, are followed whatever it thought of them, and none is sent beside them", async () => {
  await using database = await createEmptyDatabase();
  await database.pool.query(first);
  await addOwner(database);
  const ids = [randomUUID(), randomUUID(), randomUUID(), randomUUID()];
  for (const [index, id] of ids.entries()) {
    await database.pool.query(
      "insert into bots (id, user_id, name, provider, provider_bot_id, settings) values ($1, $2, 'Sunny', 'attendee', $3, $4)",
      [id, owner, `to be told ${index}`, JSON.stringify({ created_via: "auto_scheduling" })],
    );
  }
  const meeting = (title: string, startsInMs: number, botId: string | null, status: string) =>
    addMeeting(database, { title, startsInMs, botId, status, url: link(title.length % 8) });
  await meeting("ahead", 50 * hours, ids[0] ?? null, "bot_scheduled");
  await meeting("thought failed", -5 * minutes, ids[1] ?? null, "failed");
  await meeting("done long ago", -20 * 24 * hours, ids[2] ?? null, "completed");
  // The last was sent by a link alone.
  await finish(database);
  await using t = await openTestApp({ database, bots: "polled" });
  t.attendee.settings.speed = 0.1;
  const ahead = await send(t, link(5), 50 * hours - 2 * minutes);
  const running = await send(t, link(6));
  const lone = await send(t, link(7));
  for (const [index, made] of [ahead, running, "bot_of_long_ago", lone].entries()) {
    await sql`update bots set provider_bot_id = ${made} where id = ${ids[index]}`.execute(t.app.db);
  }
  for (let count = 0; count < 3; count += 1) {
    await t.asService("POST", "/api/v1/attendee/poll-all");
    await t.idle();
    t.clock.advance(minutes);
    t.attendee.run();
  }
  assert.deepEqual(
    liveBots(t)
      .map(({ id }) => id)
      .sort(),
    [ahead, running, lone].sort(),
  );
  assert.equal(t.attendee.bots.get(ahead)?.state, "scheduled");
  const { rows } = await sql<{ title: string; bot_status: string; meeting_url: string }>`
    select title, bot_status, meeting_url from meetings order by start_time
  `.execute(t.app.db);
  assert.deepEqual(
    rows.map(({ title, bot_status }) => [title, bot_status]),
    [
      ["done long ago", "completed"],
      ["thought failed", "transcribing"],
      ["Sunny", "transcribing"],
      ["ahead", "bot_scheduled"],
    ],
  );
  assert.equal(rows[2]?.meeting_url, link(7), "the link is told by the provider");
});

test("where the older product kept only the provider's id, its bot is found by that", async () => {
  await using database = await createEmptyDatabase();
  await database.pool.query(first + second + third.replaceAll(/^--later /gm, ""));
  await addOwner(database);
  await database.pool.query(
    "insert into meeting_bots (bot_id, user_id, meeting_url, bot_name) values ('to be told', $1, $2, 'Sunny')",
    [owner, link(0)],
  );
  await addMeeting(database, {
    title: "ahead",
    startsInMs: 3 * hours,
    botId: "to be told",
    status: "bot_scheduled",
    url: link(0),
  });
  await finish(database);
  await using t = await openTestApp({ database, bots: "polled", workers: false });
  const made = await send(t, link(0), 3 * hours - 2 * minutes);
  await sql`update bots set provider_bot_id = ${made}`.execute(t.app.db);
  await t.asService("POST", "/api/v1/attendee/poll-all");
  assert.deepEqual([...t.attendee.bots.keys()], [made]);
  const { rows } = await sql<{ attendee_bot_id: string; state: string }>`
    select attendee_bot_id, bots.state from meetings join bots on bots.id = meetings.bot_id
  `.execute(t.app.db);
  assert.deepEqual(rows, [{ attendee_bot_id: "to be told", state: "scheduled" }]);
});

async function addOwner({ pool }: Database): Promise<void> {
  await pool.query("insert into auth.users (id, email) values ($1, 'older@example.com')", [owner]);
  await pool.query(
    "insert into users (id, email) values ($1, 'older@example.com') on conflict do nothing",
    [owner],
  );
}

async function addMeeting(
  { pool }: Database,
  meeting: { title: string; startsInMs: number; botId: string | null; status: string; url: string },
): Promise<void> {
  const start = new Date(Date.now() + meeting.startsInMs);
  await pool.query(
    `insert into meetings (user_id, title, meeting_url, start_time, end_time, attendee_bot_id, bot_status)
     values ($1, $2, $3, $4, $5, $6, $7)`,
    [
      owner,
      meeting.title,
      meeting.url,
      start,
      new Date(start.getTime() + hours),
      meeting.botId,
      meeting.status,
    ],
  );
}

async function finish(database: Database): Promise<void> {
  await migrate(database, { keyring, log });
  await installQueue(database, log);
}

// As the older product sent them.
async function send(t: TestApp, meetingUrl: string, inMs?: number): Promise<string> {
  const answer = await fetch(`${t.attendee.url}/bots`, {
    method: "POST",
    headers: { authorization: `Token ${t.attendee.key}`, "content-type": "application/json" },
    body: JSON.stringify({
      meeting_url: meetingUrl,
      bot_name: "Sunny",
      ...(inMs ? { join_at: new Date(t.clock.now().getTime() + inMs).toISOString() } : {}),
    }),
  });
  return ((await answer.json()) as { id: string }).id;
}
