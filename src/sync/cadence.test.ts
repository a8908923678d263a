import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { kinds, Looks, play, start, steady, usual } from "../../test/looks.ts";
import { computingMs } from "../../test/timing.ts";
import { bestInterval } from "./best-wait.ts";
import {
  afterLook,
  type CadenceState,
  initialCadence,
  isChannelDoubted,
  nextLook,
  nextPrice,
  personalPrior,
  priorOf,
  rememberedCadence,
  usualPrior,
} from "./cadence.ts";
import { frailty, looked, noChannel, usualPushPrior, withChannel } from "./channel-trust.ts";
import { levelPerDay, outlook } from "./intensity.ts";

const dayMs = 86_400_000;
const nothing = { changes: 0, announced: 0, hasChannel: false };

/** Numbers from 0 to 1 that look random. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 4_294_967_296;
  };
}

function sumOf(values: number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function exponential(random: () => number, perDay: number): number {
  return (-Math.log(1 - random()) * dayMs) / perDay;
}

function siblingOf(kind: (typeof kinds)[number], state: CadenceState) {
  return { kind, state, prior: usualPrior };
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
    const acrossTheHour = [
      { ...nothing, afterS: 86_507 },
      { ...nothing, afterS: 86_068, changes: 11 },
      { ...nothing, afterS: 187_066 },
      { ...nothing, afterS: 113_462 },
      { ...nothing, afterS: 99_679, changes: 12 },
      { ...nothing, afterS: 184_426, changes: 16 },
      { ...nothing, afterS: 52_625 },
    ];
    const share = fc.double({ min: 0, max: 1, noNaN: true });
    fc.assert(
      fc.property(
        fc.constantFrom(...kinds),
        Looks,
        fc.integer({ min: 1, max: 100_000 }),
        fc.record({ afterS: fc.integer({ min: 1, max: 100_000 }), changes: fc.array(share) }),
        share,
        fc.array(Looks, { maxLength: 3 }),
        fc.array(fc.tuple(fc.constantFrom(...kinds), Looks), { maxLength: 2 }),
        (kind, looks, price, last, more, others, siblings) => {
          const ofKind = priorOf(
            kind,
            others.map((one) => play(kind, one)),
          );
          const before = play(kind, looks);
          const prior = personalPrior(
            kind,
            ofKind,
            siblings.map(([one, its]) => siblingOf(one, play(one, its))),
            new Date(before.intensity.at),
          );
          const at = (part: number) => new Date(before.intensity.at + part * last.afterS * 1000);
          const after = (shares: number[]) => {
            const look = {
              at: at(1),
              changedAt: shares.map(at),
              hasSpoken: false,
              announced: 0,
              missed: 0,
              channel: null,
            };
            const state = afterLook(kind, before, look, { ...usual, prior });
            return nextLook(kind, state, { ...usual, price, prior }, steady).intervalMs;
          };
          assert.ok(after([...last.changes, more]) <= after(last.changes));
        },
      ),
      {
        examples: [
          ["drive", acrossTheHour, 60, { afterS: 3_600, changes: [0.2, 0.5, 0.9] }, 0, [], []],
        ],
        numRuns: 1_000,
      },
    );
  });

  test("goes on from what an earlier version remembered, which counted all changes alike and knew one speed of bursts", () => {
    const looks = Array.from({ length: 40 }, () => ({ ...nothing, afterS: 3_600, changes: 2 }));
    const { intensity, channel } = play("drive", looks);
    const { total, latest, excitations, likelihoods, ...earlier } = intensity;
    const changes = intensity.changes.map((count) => (count * total) / sumOf(intensity.changes));
    const { silent, ...known } = channel;
    const state = rememberedCadence({
      intensity: { ...earlier, changes, excitation: 0.001 },
      channel: known,
    });
    assert.equal(state.intensity.excitations[2], 0.001);
    const perDay = levelPerDay("drive", state.intensity);
    assert.ok(Math.abs(perDay / levelPerDay("drive", intensity) - 1) < 1e-9);
    const look = {
      at: new Date(intensity.at + 60_000),
      hasSpoken: false,
      announced: 0,
      missed: 0,
      channel: null,
    };
    const after = afterLook("drive", state, { ...look, changedAt: [look.at] }, usual);
    assert.deepEqual(Object.keys(after.intensity).sort(), Object.keys(intensity).sort());
    assert.deepEqual(after.channel, { ...channel, silent });
    assert.ok(nextLook("drive", after, usual, steady).intervalMs < 3_600_000);
  });

  test("learns from all feeds how fast changes follow each other", () => {
    const burstsOf = (gapS: number) => {
      const gaps = Array.from({ length: 6 }, () => ({ ...nothing, afterS: gapS, changes: 1 }));
      const night = { ...nothing, afterS: 86_400 };
      return Array.from({ length: 10 }, () =>
        play(
          "drive",
          Array(8)
            .fill([...gaps, night])
            .flat(),
        ),
      );
    };
    const [fast, usually, slow] = [15, 240, 1_500].map((gapS) => priorOf("drive", burstsOf(gapS)));
    assert.equal(fast?.speed, 4);
    assert.equal(usually?.speed, 1);
    assert.ok(slow && slow.speed < 1);
    const after = play("drive", [
      { ...nothing, afterS: 86_400 },
      { ...nothing, afterS: 20, changes: 3 },
    ]);
    const waitWith = (prior = usualPrior) =>
      nextLook("drive", after, { ...usual, prior }, steady).intervalMs;
    assert.ok(waitWith({ ...usualPrior, speed: 4 }) < waitWith());
  });

  test("takes the hours of a feed from what its person's others have shown, and from none of them alone", () => {
    // Four hours at a time, from nine in the morning on.
    const shift = (kind: (typeof kinds)[number], parts: number[], changes: number) => {
      const looks = Array.from({ length: 21 * 6 }, (_, part) => ({
        ...nothing,
        afterS: 4 * 3_600,
        changes: parts.includes(part % 6) ? changes : 0,
      }));
      return siblingOf(kind, play(kind, looks));
    };
    const [byDay, byNight] = [
      [0, 1],
      [3, 4],
    ];
    const waitAt = (hour: number, siblings: ReturnType<typeof siblingOf>[]) => {
      const at = new Date(start + (hour - 9 + 21 * 24) * 3_600_000);
      const prior = personalPrior("drive", usualPrior, siblings, at);
      return nextLook("drive", initialCadence(at), { ...usual, prior }, steady).intervalMs;
    };
    assert.ok(waitAt(10, []) < waitAt(2, []));
    const night = [shift("gmail", byNight, 20)];
    assert.ok(waitAt(2, night) < waitAt(2, []) && waitAt(10, night) > waitAt(10, []));
    assert.ok(waitAt(2, night) < waitAt(10, night));
    const day = shift("calendar", byDay, 20);
    const loud = shift("gmail", byNight, 2_000);
    assert.ok(waitAt(10, [loud, day]) < 1.2 * waitAt(10, [...night, day]));
  });

  test("a day off in one feed is one in the person's others, and a rush one too, for some hours", () => {
    const month = Array.from({ length: 21 * 24 }, () => ({
      ...nothing,
      afterS: 3_600,
      changes: 4,
    }));
    const morning = { ...nothing, afterS: 3 * 3_600 };
    const gmail = (changes: number) => play("gmail", [...month, { ...morning, changes }]);
    const nowAndThen = month.map((one, hour) => ({ ...one, changes: hour % 3 === 0 ? 1 : 0 }));
    const drive = play("drive", [...nowAndThen, morning]);
    const waitAfter = (changes: number, hours = 0) => {
      const at = new Date(drive.intensity.at + hours * 3_600_000);
      const prior = personalPrior("drive", usualPrior, [siblingOf("gmail", gmail(changes))], at);
      return nextLook("drive", drive, { ...usual, prior }, steady).intervalMs;
    };
    const [off, usually, rush] = [waitAfter(0), waitAfter(12), waitAfter(60)];
    assert.ok(off > 1.15 * usually && rush < 0.9 * usually, `${off}, ${usually}, ${rush} ms`);
    const dayAfter = waitAfter(0, 24) / waitAfter(12, 24);
    assert.ok(dayAfter < 1.02, String(dayAfter));
  });

  test("believes in a day off where much was expected and nothing came, in none before, and in ever less for what comes", () => {
    const amount = fc.double({ min: 0, max: 300, noNaN: true });
    for (const kind of kinds) {
      const { intensity } = initialCadence(new Date(start));
      const perSecond = (seen: number, expected: number) =>
        outlook(kind, { ...intensity, seen, expected }, { offsetMs: 0, ...usualPrior }).perSecond(
          3_000,
        );
      const moodAfter = (seen: number, expected: number) =>
        perSecond(seen, expected) / perSecond(0, 0);
      assert.ok(moodAfter(0, 8) < 0.12, `${kind} ${moodAfter(0, 8)}`);
      assert.ok(moodAfter(8, 8) > 0.9 && moodAfter(24, 8) > 2);
      fc.assert(
        fc.property(amount, amount, amount, (seen, expected, more) => {
          const mood = moodAfter(seen, expected);
          assert.ok(moodAfter(seen + more, expected) >= mood * (1 - 1e-9));
          assert.ok(moodAfter(seen, expected + more) <= mood * (1 + 1e-9));
        }),
      );
    }
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
    assert.ok(isChannelDoubted(dead));
    assert.ok(nextLook("calendar", dead, usual, steady).intervalMs < 3_600_000);
  });

  test("follows the square-root law where push is surely dead, and is in less of a hurry where it lives", () => {
    fc.assert(
      fc.property(
        fc.double({ min: 1, max: 500, noNaN: true }),
        fc.double({ min: 10, max: 1_000, noNaN: true }),
        fc.double({ min: 1e-6, max: 0.9999, noNaN: true }),
        (perDay, price, doubted) => {
          const rate = perDay / 86_400;
          const ahead = { until: (u: number) => rate * u, perSecond: () => rate };
          const limit = 90 * 86_400;
          const waitAt = (alive: number) => {
            const channel = { ...noChannel, id: "a", alive };
            return bestInterval(ahead, channel, { price, pushPrior: usualPushPrior, limit });
          };
          const law = Math.sqrt((2 * price) / rate);
          assert.ok(Math.abs(waitAt(1e-6) / law - 1) < 0.01, `${waitAt(1e-6)} s, not ${law} s`);
          assert.ok(waitAt(doubted) > 0.85 * law);
          assert.ok(waitAt(0.9999) > 2 * law);
        },
      ),
    );
  });

  test("learns how long channels live, though it sees them dead only when there was something to tell of", () => {
    for (const deathsPerDay of [0.05, 0.5, 1.5]) {
      const random = randomOf(7);
      const daysUntil = (perDay: number) => exponential(random, perDay) / dayMs;
      let trust = noChannel;
      for (let channel = 1; channel <= 400; channel += 1) {
        trust = withChannel(trust, String(channel));
        const diesAt = daysUntil(deathsPerDay);
        for (let day = 0; !isChannelDoubted({ channel: trust }) && day < 3.5; ) {
          const quiet = daysUntil(2);
          day += quiet;
          const hasSpoken = day < diesAt;
          const [announced, missed] = hasSpoken ? [1, 0] : [0, 1];
          trust = looked(trust, { seconds: quiet * 86_400, hasSpoken, announced, missed });
        }
      }
      const found = frailty(trust).deathRate * 86_400;
      assert.ok(Math.abs(found / deathsPerDay - 1) < 0.25, `${found} deaths a day`);
    }
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
      { offsetMs: 3_600_000, ...usualPrior },
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

  test("comes to know the rate of a feed, however irregularly it is looked at", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...kinds),
        fc.double({ min: 0.5, max: 400, noNaN: true }),
        fc.integer({ min: 60, max: 43_200 }),
        fc.nat(),
        (kind, perDay, longestS, seed) => {
          const random = randomOf(seed);
          let state = initialCadence(new Date(start));
          let change = start + exponential(random, perDay);
          for (let now = start; now < start + 56 * dayMs; ) {
            now += 1_000 * (60 + random() * (longestS - 60));
            const changedAt: Date[] = [];
            for (; change <= now; change += exponential(random, perDay))
              changedAt.push(new Date(change));
            const look = {
              at: new Date(now),
              changedAt,
              hasSpoken: false,
              announced: 0,
              missed: 0,
              channel: null,
            };
            state = afterLook(kind, state, look, usual);
          }
          // What is remembered is worth some twenty days: so many changes, and as much chance in their number.
          const found = levelPerDay(kind, state.intensity);
          const chance = 4.5 / Math.sqrt(perDay * 20);
          assert.ok(
            Math.abs(found / perDay - 1) < 0.1 + chance + 2 / perDay,
            `${found} of ${perDay}`,
          );
        },
      ),
      { numRuns: 20 },
    );
  });

  test("finds what a dead channel does not tell within its bound, and doubts it by the fourth", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...kinds),
        fc.double({ min: 1, max: 300, noNaN: true }),
        fc.constantFrom(10, 60, 300),
        fc.nat(),
        (kind, perDay, price, seed) => {
          const random = randomOf(seed);
          const circumstances = { ...usual, price };
          let state = initialCadence(new Date(start));
          const look = (now: number, changedAt: Date[], announced: number) => {
            const missed = changedAt.length - announced;
            const found = {
              at: new Date(now),
              changedAt,
              hasSpoken: announced > 0,
              announced,
              missed,
              channel: { id: "a", openedAt: new Date(start) },
            };
            state = afterLook(kind, state, found, circumstances);
            return nextLook(kind, state, circumstances, random);
          };
          const diesAt = start + 14 * dayMs;
          let change = start + exponential(random, perDay);
          let due = look(start, [], 0);
          while (Math.min(change, due.dueAt.getTime()) < diesAt) {
            if (change < due.dueAt.getTime()) {
              due = look(change, [new Date(change)], 1);
              change += exponential(random, perDay);
            } else due = look(due.dueAt.getTime(), [], 0);
          }
          let missed = 0;
          while (!isChannelDoubted(state)) {
            assert.ok(missed < 4, `${missed} changes were missed`);
            assert.ok(due.intervalMs <= 6 * 3_600_000);
            const now = due.dueAt.getTime();
            const changedAt: Date[] = [];
            for (; change <= now; change += exponential(random, perDay))
              changedAt.push(new Date(change));
            missed += changedAt.length;
            due = look(now, changedAt, 0);
          }
          assert.ok(due.intervalMs <= 3_600_000);
          const renewed = afterLook(
            kind,
            state,
            {
              at: due.dueAt,
              changedAt: [],
              hasSpoken: false,
              announced: 0,
              missed: 0,
              channel: { id: "b", openedAt: due.dueAt },
            },
            circumstances,
          );
          assert.ok(!isChannelDoubted(renewed), "another channel begins anew");
        },
      ),
      { numRuns: 40 },
    );
  });

  test("decides quickly", async () => {
    const state = play("calendar", [
      { afterS: 90_000, changes: 7, announced: 5, hasChannel: true },
    ]);
    const decide = () => {
      for (let count = 0; count < 2_000; count += 1) nextLook("calendar", state, usual, steady);
    };
    decide();
    const microseconds = ((await computingMs(decide)) / 2_000) * 1_000;
    assert.ok(microseconds < 500, `${microseconds.toFixed(0)} µs`);
  });
});
