import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { kinds, Looks, play, start, usual } from "../../test/looks.ts";
import { afterLook, initialCadence, noticedAt } from "./cadence.ts";

const Notices = fc.record({
  kind: fc.constantFrom(...kinds),
  looks: Looks,
  price: fc.integer({ min: 1, max: 100_000 }),
  isActive: fc.boolean(),
  gaps: fc.array(fc.integer({ min: 0, max: 40_000 }), { minLength: 1, maxLength: 12 }),
});
const timesOf = (from: number, gaps: number[]) => {
  let at = from;
  return gaps.map((gap) => {
    at += gap;
    return new Date(at);
  });
};

describe("what push tells of", () => {
  test("a notification waits for others five seconds at most, a minute where looks are dear, and never into the past", () => {
    fc.assert(
      fc.property(Notices, ({ kind, looks, price, isActive, gaps }) => {
        const state = play(kind, looks);
        const told = timesOf(state.intensity.at, gaps);
        const [first, now] = [told[0]!.getTime(), told.at(-1)!.getTime()];
        const at = noticedAt(kind, state, told, { ...usual, price, isActive }).getTime();
        const patienceMs = price <= 60 ? 5_000 : 60_000;
        assert.ok(at >= now && at <= Math.max(now, first + patienceMs));
      }),
    );
  });

  test("a notification on its own is looked at at once: after a pause as long as the price, whatever the rate", () => {
    fc.assert(
      fc.property(Notices, ({ kind, looks, price, isActive }) => {
        const state = play(kind, looks);
        const told = new Date(state.intensity.at + price * 1000);
        assert.deepEqual(noticedAt(kind, state, [told], { ...usual, price, isActive }), told);
      }),
    );
    for (const kind of kinds) {
      const quiet = play(kind, [{ afterS: 7_200, changes: 0, announced: 0, hasChannel: true }]);
      const soon = new Date(quiet.intensity.at + 1);
      assert.deepEqual(noticedAt(kind, quiet, [soon], usual), soon);
    }
  });

  test("the first that a new feed tells of is looked at at once, at any hour of the week", () => {
    for (const kind of kinds) {
      for (let hour = 0; hour < 7 * 24; hour += 1) {
        const at = new Date(start + hour * 3_600_000);
        const state = initialCadence(at);
        assert.deepEqual(noticedAt(kind, state, [at], { ...usual, price: 60 }), at);
      }
    }
  });

  test("of more notifications none is looked at later, and none for somebody who is here", () => {
    fc.assert(
      fc.property(
        Notices,
        fc.integer({ min: 0, max: 11 }),
        ({ kind, looks, price, gaps }, which) => {
          const state = play(kind, looks);
          const told = timesOf(state.intensity.at, gaps);
          const at = (toldAt: Date[], isActive = false) =>
            noticedAt(kind, state, toldAt, { ...usual, price, isActive }).getTime();
          const doubled = told.toSpliced(which % told.length, 0, told[which % told.length]!);
          assert.ok(at(told, true) <= at(told));
          assert.ok(at(doubled) <= at(told) + 1_000, "but for the second that it is counted in");
        },
      ),
    );
  });

  test("a burst shares looks: of a hundred changes within a minute, few make one of their own", () => {
    for (const [price, most] of [
      [60, 45],
      [600, 15],
    ] as const) {
      let state = play("calendar", [{ afterS: 7_200, changes: 1, announced: 1, hasChannel: true }]);
      let pending: Date[] = [];
      let dueAt = Number.POSITIVE_INFINITY;
      let looks = 0;
      const look = () => {
        const announced = pending.length;
        const at = new Date(dueAt);
        state = afterLook(
          "calendar",
          state,
          {
            at,
            changedAt: pending,
            hasSpoken: announced > 0,
            announced,
            missed: 0,
            channel: { id: "a", openedAt: new Date(start) },
          },
          usual,
        );
        [pending, dueAt, looks] = [[], Number.POSITIVE_INFINITY, looks + 1];
      };
      for (let count = 1; count <= 100; count += 1) {
        const at = new Date(start + 7_200_000 + count * 600);
        if (dueAt <= at.getTime()) look();
        pending = [...pending, at];
        const wished = noticedAt("calendar", state, pending, { ...usual, price }).getTime();
        dueAt = Math.min(dueAt, wished);
        if (dueAt <= at.getTime()) look();
      }
      assert.ok(looks <= most, `${looks} looks at a price of ${price}`);
    }
  });
});
