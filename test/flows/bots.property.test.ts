import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { sql } from "kysely";
import { minutes, seconds } from "../../sandbox/google/clock.ts";
import { handlers } from "../../src/jobs.ts";
import { startWorkers } from "../../src/queue/workers.ts";
import { signInWithAssistant } from "../bots.ts";
import { eventIn } from "../calendars.ts";
import { openTestApp } from "../harness.ts";

const people = ["ana@example.com", "priya@example.com"] as const;
const link = (n: number) => `https://meet.google.com/aaa-bbbb-cc${"cdefghij"[n]}`;

/** Something that happens to a person's meeting, to what we hear of its bot, or to a process. */
type Step =
  | { does: "move"; whose: number; meeting: number; hours: number }
  | { does: "relink"; whose: number; meeting: number; to: number }
  | {
      does: "decline" | "accept" | "delete" | "refuse" | "ask" | "alone" | "together";
      whose: number;
      meeting: number;
    }
  | { does: "lose" | "double" | "cut" | "fail" | "die" }
  | { does: "pass"; minutes: number };

const whose = fc.nat({ max: 1 });
const meeting = fc.nat({ max: 2 });
const step = fc.oneof(
  fc.record({
    does: fc.constant("move" as const),
    whose,
    meeting,
    hours: fc.integer({ min: 1, max: 40 }),
  }),
  fc.record({ does: fc.constant("relink" as const), whose, meeting, to: fc.nat({ max: 7 }) }),
  fc.record({
    does: fc.constantFrom(
      ...(["decline", "accept", "delete", "refuse", "ask", "alone", "together"] as const),
    ),
    whose,
    meeting,
  }),
  fc.record({ does: fc.constantFrom(...(["lose", "double", "cut", "fail", "die"] as const)) }),
  fc.record({ does: fc.constant("pass" as const), minutes: fc.integer({ min: 1, max: 20 }) }),
) satisfies fc.Arbitrary<Step>;

const runs = Number(process.env.PROPERTY_RUNS ?? 12);

test("at any end each wanted meeting has exactly one bot at the right time, and each unwanted none", {
  timeout: runs * 30_000,
}, async () => {
  await using t = await openTestApp({ bots: "told", push: true });
  // A second worker beside the first.
  await using _second = await startWorkers(t.app, handlers);
  // Meetings go on for as long as this takes, and bots that are told to leave do so within minutes.
  t.attendee.settings.speed = 0.005;
  t.attendee.settings.retryMs = 20;
  const visitors = [
    await signInWithAssistant(t, people[0]),
    await signInWithAssistant(t, people[1]),
  ] as const;

  const look = async () => {
    t.attendee.run();
    await t.asService("POST", "/api/v1/attendee/poll-all");
    await t.idle();
  };
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 9 }), async (steps) => {
      await sql`delete from meetings`.execute(t.app.db);
      await sql`delete from bots`.execute(t.app.db);
      t.attendee.bots.clear();
      Object.assign(t.attendee.settings, { loseNext: 0, times: 1, cutNext: 0, failNext: [] });
      const guests = (person: string, answer: string) => [
        { email: person, responseStatus: answer },
        { email: `ai+${person.split("@")[0]}@example.com` },
      ];
      // The first and the last meeting of each are the same; the first runs.
      const events = people.map((person, who) =>
        [-0.25, 5, 9].map((ahead, n) =>
          t.google.calendar.addEvent(
            person,
            eventIn(t, ahead, {
              location: link(n === 1 ? 1 + 2 * who : n),
              attendees: guests(person, "accepted"),
              ...(n === 0 ? { end: eventIn(t, 5).end } : {}),
            }),
          ),
        ),
      );
      await t.idle();
      const gone = new Set<string>();
      const act = async (one: Step) => {
        const { settings } = t.attendee;
        if (one.does === "lose") settings.loseNext = 2;
        if (one.does === "double") settings.times = 2;
        if (one.does === "cut") settings.cutNext = 1;
        if (one.does === "fail") settings.failNext = [500, 404, 429];
        // As though whoever had them had died.
        if (one.does === "die") await sql`update bots set lease_until = null`.execute(t.app.db);
        if (one.does === "pass") {
          t.clock.advance(one.minutes * minutes);
          await look();
        }
        if (!("meeting" in one)) return;
        const person = people[one.whose] ?? people[0];
        const { id } = events[one.whose]![one.meeting]!;
        if (gone.has(id + person)) return;
        const patch = (change: Record<string, unknown>) =>
          t.google.calendar.patchEvent(person, id, change);
        const say = async (change: Record<string, unknown>) => {
          await t.idle();
          const { rows } = await sql<{ id: string }>`
            select id from meetings where google_calendar_event_id = ${id} and user_id = ${visitors[one.whose]!.userId}
          `.execute(t.app.db);
          await visitors[one.whose]!.call("PATCH", `/api/v1/meetings/${rows[0]?.id}`, change);
        };
        if (one.does === "move") {
          const { start, end } = eventIn(t, one.hours);
          patch({ start, end });
        }
        if (one.does === "relink") patch({ location: link(one.to) });
        if (one.does === "decline") patch({ attendees: guests(person, "declined") });
        if (one.does === "accept") patch({ attendees: guests(person, "accepted") });
        if (one.does === "delete") {
          gone.add(id + person);
          t.google.calendar.deleteEvent(person, id);
        }
        if (one.does === "refuse" || one.does === "ask")
          await say({ wants_bot: one.does === "ask" });
        // Whether to share is asked before a bot sets out.
        if (one.meeting > 0 && (one.does === "alone" || one.does === "together")) {
          await say({ bot_configuration: { share: one.does === "together" } });
        }
      };
      for (const one of steps) await act(one);
      t.attendee.settings.times = 1;
      // Long enough for whatever was put off.
      for (let count = 0; count < 26; count += 1) {
        await look();
        t.clock.advance(30 * seconds);
      }
      await look();
      await assertOneEach();
    }),
    { numRuns: runs, endOnFailure: true },
  );

  async function assertOneEach(): Promise<void> {
    const now = t.clock.now();
    const { rows } = await sql<{
      start_time: Date;
      end_time: Date;
      meeting_url: string;
      is_wanted: boolean;
      is_alone: boolean;
      id: string;
      bot_id: string | null;
      provider_bot_id: string | null;
      bot_starts_at: Date | null;
      bot_ends_at: Date | null;
    }>`
      select meetings.id, start_time, end_time, meetings.meeting_url, bots.id as bot_id, bots.provider_bot_id,
        bots.starts_at as bot_starts_at, bots.ends_at as bot_ends_at,
        coalesce(bot_configuration ->> 'share', 'true') = 'false' as is_alone,
        meetings.cancelled_at is null and event_status <> 'declined' and wants_bot is distinct from false as is_wanted
      from meetings left join bots on bots.id = meetings.bot_id
    `.execute(t.app.db);
    const key = (url: string, start: Date, own: string) => `${url} ${start.toISOString()} ${own}`;
    const all = [...t.attendee.bots.values()];
    const isOver = (state: string) => ["ended", "fatal_error"].includes(state);
    // Its bot came and stayed to the end: for that meeting there is no other.
    const isServed = (providerId: string | null) => {
      const bot = all.find(({ id }) => id === providerId);
      return bot?.state === "ended" && bot.events.some(({ type }) => type === "joined_meeting");
    };
    // One that is near has the bot that is in its call already.
    const beginningOf = ({ start_time, bot_starts_at, bot_ends_at }: (typeof rows)[number]) => {
      const isNear = start_time.getTime() <= now.getTime() + 10 * minutes;
      const isThere = bot_starts_at && bot_starts_at < start_time && bot_ends_at! > start_time;
      return isNear && isThere ? bot_starts_at : start_time;
    };
    const wanted = rows
      .filter((one) => one.is_wanted && one.end_time > now && !isServed(one.provider_bot_id))
      .map((one) => key(one.meeting_url, beginningOf(one), one.is_alone ? one.id : ""));
    const { rows: ours } = await sql<{ provider_bot_id: string; starts_at: Date; owner: string }>`
      select provider_bot_id, starts_at, coalesce((select min(meetings.id::text) from meetings
        where bot_id = bots.id and bot_configuration ->> 'share' = 'false'), '') as owner
      from bots where provider_bot_id is not null
    `.execute(t.app.db);
    const there = all
      .filter(({ state }) => !isOver(state))
      .map(({ id, meetingUrl, joinAt, state }) => {
        const own = ours.find(({ provider_bot_id }) => provider_bot_id === id);
        // One without a time came to a meeting that runs.
        const start = joinAt ? new Date(joinAt.getTime() + 2 * minutes) : own?.starts_at;
        assert.ok(start && (joinAt || start <= now || state !== "scheduled"));
        return key(meetingUrl, start, own?.owner ?? "nobody's");
      });
    assert.deepEqual(there.sort(), [...new Set(wanted)].sort());
  }
});
