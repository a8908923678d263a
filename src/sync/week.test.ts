import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { kinds, Looks, play, start, steady, usual } from "../../test/looks.ts";
import { initialCadence, nextLook, personalPrior, priorOf, usualPrior } from "./cadence.ts";
import { sharedWeek, usualWeek } from "./week.ts";

const night = [1, 2, 3, 4];
const workday = [9, 10, 11, 12];
// Four weeks, in which `perDay` changes come in these hours alone.
const feedAt = (hours: number[], perDay: number) => ({
  level: perDay / 24,
  week: usualWeek,
  changes: usualWeek.map((_, bin) =>
    hours.includes(bin % 24) ? ((bin < 24 ? 20 : 8) * perDay) / hours.length : 0,
  ),
  hours: usualWeek.map((_, bin) => (bin < 24 ? 20 : 8)),
});
const times = <T>(count: number, one: T) => Array.from({ length: count }, () => one);

describe("the week that feeds keep", () => {
  test("is the usual one before any is seen, and 1 on average whatever they show", () => {
    for (const kind of kinds)
      for (const [bin, one] of priorOf(kind, []).week.entries())
        assert.ok(Math.abs(one - usualWeek[bin]!) < 1e-9);
    fc.assert(
      fc.property(fc.constantFrom(...kinds), fc.array(Looks, { maxLength: 5 }), (kind, feeds) => {
        const states = feeds.map((looks) => play(kind, looks));
        const shared = priorOf(kind, states);
        const siblings = states.map((state) => ({ kind, state, prior: shared }));
        const personal = personalPrior("drive", shared, siblings, new Date(start));
        for (const { week } of [shared, personal]) {
          const sum = week.reduce((total, one, bin) => total + one * (bin < 24 ? 5 : 2), 0);
          assert.ok(Math.abs(sum / 168 - 1) < 1e-9);
          assert.ok(week.every((one) => one > 0));
        }
      }),
    );
  });

  test("is theirs, once there are some: where all work at night, one more is looked at then", () => {
    const week = sharedWeek(times(30, feedAt(night, 5)), 2);
    for (const hour of night)
      for (const other of workday) assert.ok(week[hour]! > 10 * week[other]!, week.join(" "));
    const waitAt = (hour: number, prior = { ...usualPrior, week }) => {
      const state = initialCadence(new Date(start - 9 * 3_600_000 + hour * 3_600_000));
      return nextLook("drive", state, { ...usual, prior }, steady).intervalMs;
    };
    assert.ok(waitAt(1) < waitAt(10) / 2);
    assert.ok(waitAt(10, usualPrior) < waitAt(1, usualPrior) / 2);
  });

  test("is not that of one that changes a thousand times as often as the others", () => {
    const ordinary = times(20, feedAt(workday, 5));
    const withAnother = sharedWeek([...ordinary, feedAt(night, 5)], 2);
    const withLoud = sharedWeek([...ordinary, feedAt(night, 5_000)], 2);
    const shareOf = (week: readonly number[]) =>
      night.reduce((sum, hour) => sum + week[hour]!, 0) /
      workday.reduce((sum, hour) => sum + week[hour]!, 0);
    assert.ok(
      shareOf(withLoud) < 5 * shareOf(withAnother),
      `${shareOf(withAnother)}, ${shareOf(withLoud)}`,
    );
  });
});
