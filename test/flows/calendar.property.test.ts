import { test } from "node:test";
import fc from "fast-check";
import { assertSameAsGoogle, eventIn } from "../calendars.ts";
import { openTestApp, type TestApp } from "../harness.ts";

const ana = "ana@example.com";
const hourMs = 3_600_000;

/** Anything that can happen to a calendar, to Google, or to us. Numbers choose among what is there. */
const Happening = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("add" as const),
      hours: fc.integer({ min: -100, max: 8000 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("series" as const),
      rule: fc.constantFrom(
        "FREQ=DAILY;COUNT=5",
        "FREQ=WEEKLY",
        "FREQ=WEEKLY;BYDAY=MO,WE;UNTIL=20270301T000000Z",
        "FREQ=MONTHLY;COUNT=6",
      ),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("whole day" as const),
      day: fc.integer({ min: 1, max: 28 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("rename" as const), which: fc.nat() }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("reschedule" as const),
      which: fc.nat(),
      hours: fc.integer({ min: 0, max: 3000 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("delete" as const), which: fc.nat() }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("delete series" as const), which: fc.nat() }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("make recurring" as const),
      which: fc.nat(),
      rule: fc.constantFrom("FREQ=DAILY;COUNT=9", "FREQ=WEEKLY"),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("make single" as const), which: fc.nat() }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("split" as const), which: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("move" as const), which: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("forget" as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("lose" as const),
      messages: fc.integer({ min: 1, max: 5 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("fail" as const),
      status: fc.constantFrom(500, 503, 403, 429),
      times: fc.integer({ min: 1, max: 3 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("break" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("empty pages" as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("wait" as const),
      hours: fc.integer({ min: 1, max: 400 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("sync" as const) }) },
);

type Happening = typeof Happening extends fc.Arbitrary<infer One> ? One : never;

const runs = Number(process.env.PROPERTY_RUNS ?? 12);

test("whatever happens, our tables end equal to the provider's", {
  timeout: runs * 20_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(Happening, { minLength: 5, maxLength: 25 }), async (happenings) => {
      await using t = await openTestApp({ push: true });
      const team = t.google.calendar.addCalendar(ana, {
        title: "Team",
        timeZone: "America/New_York",
      });
      t.google.calendar.pages.pageSizeCap = 7;
      const { userId } = await t.signIn(ana);
      await t.idle();
      for (const happening of happenings) await happen(t, happening, { team, userId });
      await fetch(`${t.google.url}/_control/faults`, { method: "DELETE" });
      // Whoever failed tries again within hours; whoever was not told looks within hours.
      t.clock.advance(7 * hourMs);
      await t.idle();
      await assertSameAsGoogle(t, ana, userId);
    }),
    { numRuns: runs, endOnFailure: true },
  );
});

async function happen(
  t: TestApp,
  one: Happening,
  { team, userId }: { team: string; userId: string },
) {
  const { calendar } = t.google;
  const everything = [undefined, team].flatMap((calendarId) =>
    calendar
      .listEvents(ana, {
        ...(calendarId ? { calendarId } : {}),
        timeMin: new Date(t.clock.now().getTime() - 100 * hourMs),
      })
      .map((event) => ({ event, where: calendarId ? { calendarId } : {} })),
  );
  const pick = (which: number) => everything[which % Math.max(1, everything.length)];
  const masters = everything.filter(({ event }) => event.recurringEventId);
  const master = (which: number) => masters[which % Math.max(1, masters.length)];
  switch (one.do) {
    case "add":
      return void calendar.addEvent(ana, eventIn(t, one.hours, { summary: "Single" }));
    case "series":
      return void calendar.addEvent(
        ana,
        eventIn(t, 5, { summary: "Series", recurrence: [`RRULE:${one.rule}`] }),
      );
    case "whole day": {
      const date = (day: number) => ({ date: `2027-02-${String(day).padStart(2, "0")}` });
      return void calendar.addEvent(
        ana,
        {
          summary: "Whole day",
          start: date(one.day),
          end: { date: one.day === 28 ? "2027-03-01" : date(one.day + 1).date },
        },
        { calendarId: team },
      );
    }
    case "rename": {
      const found = pick(one.which);
      return (
        found &&
        void calendar.patchEvent(
          ana,
          found.event.id,
          { summary: `Renamed ${one.which}` },
          found.where,
        )
      );
    }
    case "reschedule": {
      const found = pick(one.which);
      const { start, end } = eventIn(t, one.hours);
      return found && void calendar.patchEvent(ana, found.event.id, { start, end }, found.where);
    }
    case "delete": {
      const found = pick(one.which);
      return found && calendar.deleteEvent(ana, found.event.id, found.where);
    }
    case "delete series": {
      const found = master(one.which);
      return found && calendar.deleteEvent(ana, String(found.event.recurringEventId), found.where);
    }
    case "make recurring": {
      // Of what a series far ahead loses Google tells nothing, nor of its end.
      const soon = t.clock.now().getTime() + 100 * 24 * hourMs;
      const singles = everything.filter(({ event }) => {
        const { dateTime } = event.start as { dateTime?: string };
        return !event.recurringEventId && dateTime && Date.parse(dateTime) < soon;
      });
      const found = singles[one.which % Math.max(1, singles.length)];
      const change = { recurrence: [`RRULE:${one.rule}`] };
      return found && void calendar.patchEvent(ana, found.event.id, change, found.where);
    }
    case "make single": {
      const found = master(one.which);
      const id = String(found?.event.recurringEventId);
      return found && void calendar.patchEvent(ana, id, { recurrence: [] }, found.where);
    }
    case "split": {
      const found = master(one.which);
      const from = (found?.event.originalStartTime ?? {}) as { dateTime?: string };
      const isWhole = !from.dateTime;
      if (!found || isWhole) return;
      return void calendar.splitSeries(
        ana,
        String(found.event.recurringEventId),
        new Date(from.dateTime!),
        { summary: "Split" },
        found.where,
      );
    }
    case "move": {
      const found = pick(one.which);
      if (!found || found.event.recurringEventId) return;
      const [from, to] = found.where.calendarId ? [team, "primary"] : ["primary", team];
      return void calendar.moveEvent(ana, found.event.id, { from, to });
    }
    case "forget":
      return calendar.expireSyncTokens();
    case "lose":
      calendar.push.dropNext += one.messages;
      return;
    case "fail": {
      const fault = { endpoint: "calendar.events.list", status: one.status, times: one.times };
      await fetch(`${t.google.url}/_control/faults`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(fault),
      });
      return;
    }
    case "break":
      return calendar.injectMalformed(ana, { id: "broken", start: 7 });
    case "empty pages":
      calendar.pages.emptyPages = !calendar.pages.emptyPages;
      return;
    case "wait":
      t.clock.advance(one.hours * hourMs);
      return t.idle();
    case "sync":
      await t.asService("POST", `/api/v1/calendar/sync/${userId}?wait=true`);
      return t.idle();
  }
}
