import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import {
  afterLook,
  type CadenceState,
  initialCadence,
  isChannelDead,
  nextLook,
  nextPrice,
  noticedAt,
} from "./cadence.ts";
import { type FeedKind, levelPerDay, outlook } from "./intensity.ts";

const start = Date.parse("2026-11-02T09:00:00Z");
const usual = { offsetMs: 0, price: 60, isActive: false, isPressing: false };
const kinds: FeedKind[] = ["calendar", "gmail", "drive"];
const steady = () => 0.5;

const Looks = fc.array(
  fc.record({
    afterS: fc.integer({ min: 1, max: 200_000 }),
    changes: fc.integer({ min: 0, max: 20 }),
    announced: fc.integer({ min: 0, max: 20 }),
    hasChannel: fc.boolean(),
  }),
  { maxLength: 40 },
);

function play(
  kind: FeedKind,
  looks: { afterS: number; changes: number; announced: number; hasChannel: boolean }[],
): CadenceState {
  let state = initialCadence(new Date(start));
  let now = start;
  for (const { afterS, changes, announced, hasChannel } of looks) {
    const changedAt = Array.from(
      { length: changes },
      (_, index) => new Date(now + (afterS * 1000 * (index + 1)) / (changes + 1)),
    );
    now += afterS * 1000;
    state = afterLook(
      kind,
      state,
      {
        at: new Date(now),
        changedAt,
        announced: Math.min(announced, changes),
        channelId: hasChannel ? "a" : null,
      },
      usual,
    );
  }
  return state;
}

describe("the cadence", () => {
  test("looks within its bounds, whatever happened, and never forgets what it is", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...kinds),
        Looks,
        fc.boolean(),
        fc.integer({ min: 1, max: 100_000 }),
        (kind, looks, isActive, price) => {
          const state = play(kind, looks);
          const { intervalMs, reason } = nextLook(kind, state, { ...usual, isActive, price });
          assert.ok(
            Number.isFinite(intervalMs) && intervalMs >= 5_000 && intervalMs <= reason.upperBoundMs,
          );
          assert.ok(JSON.stringify(state).length < 2_048, `${JSON.stringify(state).length} bytes`);
        },
      ),
    );
  });

  test("never looks later for one more change, all else equal", () => {
    const nothing = { changes: 0, announced: 0, hasChannel: false };
    const acrossTheHour = [
      { ...nothing, afterS: 86_507 },
      { ...nothing, afterS: 86_068, changes: 11 },
      { ...nothing, afterS: 187_066 },
      { ...nothing, afterS: 113_462 },
      { ...nothing, afterS: 99_679, changes: 12 },
      { ...nothing, afterS: 184_426, changes: 16 },
      { ...nothing, afterS: 52_625 },
    ];
    fc.assert(
      fc.property(
        fc.constantFrom(...kinds),
        Looks,
        fc.double({ min: 0, max: 1, noNaN: true }),
        (kind, looks, share) => {
          const before = play(kind, looks);
          const now = before.intensity.at + 3_600_000;
          const at = (part: number) => new Date(before.intensity.at + part * 3_600_000);
          const times = [0.2, 0.5, 0.9].map(at);
          const after = (changedAt: Date[]) => {
            const look = { at: new Date(now), changedAt, announced: 0, channelId: null };
            return nextLook(kind, afterLook(kind, before, look, usual), usual, steady).intervalMs;
          };
          // The state is kept with six digits.
          assert.ok(after([...times, at(share)]) <= after(times) * 1.005);
        },
      ),
      { examples: [["drive", acrossTheHour, 0]], numRuns: 1_000 },
    );
  });

  test("finds the rate of a feed, and follows the square-root law for a steady one", () => {
    for (const perHour of [1, 4, 20]) {
      const looks = Array.from({ length: 24 * 28 }, () => ({
        afterS: 3600,
        changes: perHour,
        announced: 0,
        hasChannel: false,
      }));
      const state = play("gmail", looks);
      const perDay = levelPerDay("gmail", state.intensity);
      assert.ok(Math.abs(perDay / (perHour * 24) - 1) < 0.15, `${perDay} a day of ${perHour * 24}`);
    }
  });

  test("looks seldom while push proves itself, and soon notices when it is dead", () => {
    const looks = (count: number, announced: number) =>
      Array.from({ length: count }, () => ({
        afterS: 3 * 3600,
        changes: 3,
        announced,
        hasChannel: true,
      }));
    const alive = play("calendar", looks(40, 3));
    const { intervalMs, reason } = nextLook("calendar", alive, usual, steady);
    assert.equal(reason.rule, "push_trusted");
    assert.ok(intervalMs > 3_600_000, `${intervalMs / 60_000} minutes`);
    const dead = play("calendar", [...looks(40, 3), ...looks(1, 0)]);
    assert.ok(isChannelDead(dead));
    assert.ok(nextLook("calendar", dead, usual, steady).intervalMs < 3_600_000);
  });

  test("looks more often while somebody is there, and after a burst", () => {
    const state = play("drive", [{ afterS: 86_400, changes: 1, announced: 0, hasChannel: false }]);
    const quiet = nextLook("drive", state, usual, steady).intervalMs;
    assert.ok(nextLook("drive", state, { ...usual, isActive: true }, steady).intervalMs <= 60_000);
    const burst = play("drive", [
      { afterS: 86_400, changes: 1, announced: 0, hasChannel: false },
      { afterS: 20, changes: 4, announced: 0, hasChannel: false },
    ]);
    assert.ok(nextLook("drive", burst, usual, steady).intervalMs < quiet / 2);
  });

  test("expects as many changes in any two parts as in the whole", () => {
    const ahead = outlook(
      "calendar",
      play("calendar", [{ afterS: 90_000, changes: 7, announced: 0, hasChannel: false }]).intensity,
      3_600_000,
    );
    let before = 0;
    for (let u = 0; u < 30 * 3600; u += 97) {
      const until = ahead.until(u);
      assert.ok(until >= before - 1e-9);
      before = until;
    }
  });

  test("the price rises with what is asked for beyond the budget, and falls back when there is room", () => {
    assert.ok(nextPrice(60, 2_000, 1_000) > 60);
    assert.ok(nextPrice(600, 100, 1_000) < 600);
    assert.equal(nextPrice(60, 0, 1_000), 60);
  });

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

  test("a notification waits for others a minute after the first at most, and never into the past", () => {
    fc.assert(
      fc.property(Notices, ({ kind, looks, price, isActive, gaps }) => {
        const state = play(kind, looks);
        const told = timesOf(state.intensity.at, gaps);
        const [first, now] = [told[0]!.getTime(), told.at(-1)!.getTime()];
        const at = noticedAt(kind, state, told, { ...usual, price, isActive }).getTime();
        assert.ok(at >= now && at <= Math.max(now, first + 60_000));
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
          { at, changedAt: pending, announced, channelId: "a" },
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

  test("decides quickly", () => {
    const state = play("calendar", [
      { afterS: 90_000, changes: 7, announced: 5, hasChannel: true },
    ]);
    for (let warm = 0; warm < 2_000; warm += 1) nextLook("calendar", state, usual, steady);
    const startedAt = performance.now();
    for (let count = 0; count < 2_000; count += 1) nextLook("calendar", state, usual, steady);
    const microseconds = ((performance.now() - startedAt) / 2_000) * 1_000;
    assert.ok(microseconds < 500, `${microseconds.toFixed(0)} µs`);
  });
});
