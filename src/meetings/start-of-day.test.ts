import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { startOfDay } from "./start-of-day.ts";

test("a day begins at midnight of its zone, or at the first moment that its clock shows", () => {
  const cases: [date: string, zone: string, instant: string][] = [
    ["2026-09-11", "UTC", "2026-09-11T00:00:00.000Z"],
    ["2026-09-11", "Europe/Berlin", "2026-09-10T22:00:00.000Z"],
    ["2026-01-11", "Europe/Berlin", "2026-01-10T23:00:00.000Z"],
    ["2026-09-11", "America/Los_Angeles", "2026-09-11T07:00:00.000Z"],
    ["2026-09-11", "Pacific/Kiritimati", "2026-09-10T10:00:00.000Z"],
    ["2026-09-11", "Asia/Kathmandu", "2026-09-10T18:15:00.000Z"],
    // The days of a change begin before it.
    ["2026-03-29", "Europe/Berlin", "2026-03-28T23:00:00.000Z"],
    ["2026-10-25", "Europe/Berlin", "2026-10-24T22:00:00.000Z"],
    ["2026-03-30", "Europe/Berlin", "2026-03-29T22:00:00.000Z"],
    // Clocks that skip midnight.
    ["2018-11-04", "America/Sao_Paulo", "2018-11-04T03:00:00.000Z"],
    ["2024-04-26", "Africa/Cairo", "2024-04-25T22:00:00.000Z"],
    // Midnight comes twice.
    ["2026-11-01", "America/Havana", "2026-11-01T04:00:00.000Z"],
    // A day that a zone left out begins with the next.
    ["2011-12-30", "Pacific/Apia", "2011-12-30T10:00:00.000Z"],
    // Offsets that had seconds.
    ["1970-01-01", "Africa/Monrovia", "1970-01-01T00:44:30.000Z"],
    ["2026-09-11", "Mars/Olympus", "2026-09-11T00:00:00.000Z"],
    ["2026-09-11", "", "2026-09-11T00:00:00.000Z"],
  ];
  for (const [date, zone, instant] of cases) {
    assert.equal(startOfDay(date, zone).toISOString(), instant, `${date} in ${zone}`);
  }
});

test("in no zone does a clock show an earlier date at that instant, or the same date a second before", () => {
  const zones = Intl.supportedValuesOf("timeZone");
  const day = fc.date({
    min: new Date("1972-01-01"),
    max: new Date("2037-12-31"),
    noInvalidDate: true,
  });
  fc.assert(
    fc.property(fc.constantFrom(...zones), day, (zone, moment) => {
      const date = moment.toISOString().slice(0, 10);
      const shown = new Intl.DateTimeFormat("sv-SE", { timeZone: zone, dateStyle: "short" });
      const start = startOfDay(date, zone);
      assert.ok(shown.format(start) >= date, `${date} in ${zone}`);
      assert.ok(shown.format(start.getTime() - 1000) < date, `a second before ${date} in ${zone}`);
    }),
    { numRuns: 400 },
  );
});
