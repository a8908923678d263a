import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { sql } from "kysely";
import { hours, minutes, seconds } from "../../sandbox/google/clock.ts";
import { handlers } from "../../src/jobs.ts";
import { startWorkers } from "../../src/queue/workers.ts";
import { eventIn } from "../calendars.ts";
import { openTestApp } from "../harness.ts";

const ana = "ana@example.com";
const link = (n: number) => `https://meet.google.com/aaa-bbbb-cc${"cdefghij"[n]}`;

/** Something that happens to a meeting, to what we hear of its bot, or to a process. */
type Step =
  | { does: "move"; meeting: number; hours: number }
  | { does: "relink"; meeting: number; to: number }
  | { does: "decline" | "accept" | "delete" | "refuse" | "ask"; meeting: number }
  | { does: "lose" | "double" | "cut" | "fail" | "forget leases" }
  | { does: "pass"; minutes: number };

const meeting = fc.nat({ max: 2 });
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    does: fc.constant("move" as const),
    meeting,
    hours: fc.integer({ min: 1, max: 40 }),
  }),
  fc.record({ does: fc.constant("relink" as const), meeting, to: fc.nat({ max: 7 }) }),
  fc.record({ does: fc.constantFrom("decline", "accept", "delete", "refuse", "ask"), meeting }),
  fc.record({ does: fc.constantFrom("lose", "double", "cut", "fail", "forget leases") }),
  fc.record({ does: fc.constant("pass" as const), minutes: fc.integer({ min: 1, max: 20 }) }),
) as fc.Arbitrary<Step>;

test("at any end each wanted meeting has exactly one bot at the right time, and each unwanted none", async () => {
  await using t = await openTestApp({ bots: "told", push: true });
  // A second worker beside the first.
  await using _second = await startWorkers(t.app, handlers);
  t.attendee.settings.speed = 20;
  t.attendee.settings.retryMs = 20;
  const visitor = await t.signIn(ana);
  await visitor.call("POST", "/api/v1/user/username", { username: "ana" });
  await t.idle();

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
      const guests = (answer: string) => [
        { email: ana, responseStatus: answer },
        { email: "ai+ana@example.com" },
      ];
      const events = [2, 5, 9].map((ahead, n) =>
        t.google.calendar.addEvent(
          ana,
          eventIn(t, ahead, { location: link(n), attendees: guests("accepted") }),
        ),
      );
      const gone = new Set<number>();
      const act = async (one: Step) => {
        const { settings } = t.attendee;
        if (one.does === "lose") settings.loseNext = 2;
        if (one.does === "double") settings.times = 2;
        if (one.does === "cut") settings.cutNext = 1;
        if (one.does === "fail") settings.failNext = [500, 429];
        // As though whoever had them had died.
        if (one.does === "forget leases")
          await sql`update bots set lease_until = null`.execute(t.app.db);
        if (one.does === "pass") {
          t.clock.advance(one.minutes * minutes);
          await look();
        }
        if (!("meeting" in one) || gone.has(one.meeting)) return;
        const { id } = events[one.meeting]!;
        const patch = (change: Record<string, unknown>) =>
          t.google.calendar.patchEvent(ana, id, change);
        if (one.does === "move") {
          const { start, end } = eventIn(t, one.hours);
          patch({ start, end });
        }
        if (one.does === "relink") patch({ location: link(one.to) });
        if (one.does === "decline") patch({ attendees: guests("declined") });
        if (one.does === "accept") patch({ attendees: guests("accepted") });
        if (one.does === "delete") {
          gone.add(one.meeting);
          t.google.calendar.deleteEvent(ana, id);
        }
        if (one.does === "refuse" || one.does === "ask") {
          await sql`update meetings set wants_bot = ${one.does === "ask"} where google_calendar_event_id = ${id}`.execute(
            t.app.db,
          );
          patch({ summary: `Changed by ${Math.random()}` });
        }
      };
      for (const one of steps) await act(one);
      t.attendee.settings.times = 1;
      // Long enough for whatever was put off, not for a bot to come that is not to be there.
      for (let count = 0; count < 26; count += 1) {
        await look();
        t.clock.advance(30 * seconds);
      }
      await look();
      await assertOneEach();
    }),
    { numRuns: Number(process.env.RUNS ?? 12) },
  );

  async function assertOneEach(): Promise<void> {
    const now = t.clock.now();
    const { rows } = await sql<{
      start_time: Date;
      end_time: Date;
      meeting_url: string;
      is_wanted: boolean;
      had: boolean;
    }>`
      select start_time, end_time, meetings.meeting_url, coalesce(bots.is_over, false) as had,
        meetings.cancelled_at is null and event_status <> 'declined' and wants_bot is distinct from false as is_wanted
      from meetings left join bots on bots.id = meetings.bot_id
    `.execute(t.app.db);
    const wanted = rows
      .filter(({ is_wanted, had, end_time }) => is_wanted && !had && end_time > now)
      .map((one) => `${one.meeting_url} ${one.start_time.toISOString()}`);
    const there = [...t.attendee.bots.values()]
      .filter(({ state }) => !["ended", "fatal_error"].includes(state))
      .map(({ meetingUrl, joinAt, events }) => {
        const start = joinAt ? new Date(joinAt.getTime() + 2 * minutes) : null;
        return start
          ? `${meetingUrl} ${start.toISOString()}`
          : (wanted.find((one) => one.startsWith(meetingUrl)) ??
              `${meetingUrl} at ${events[0]?.created_at}`);
      });
    assert.deepEqual(there.sort(), [...new Set(wanted)].sort());
    assert.ok(now.getTime() > hours);
  }
});
