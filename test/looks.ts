import fc from "fast-check";
import { afterLook, type CadenceState, initialCadence } from "../src/sync/cadence.ts";
import type { LearntKind } from "../src/sync/intensity.ts";

/** When what is played begins: a Monday morning. */
export const start = Date.parse("2026-11-02T09:00:00Z");
export const usual = { offsetMs: 0, price: 60, isActive: false, isPressing: false };
export const kinds: LearntKind[] = ["calendar", "gmail", "drive"];
/** In place of chance. */
export const steady = () => 0.5;

/** Any looks, one after the other. */
export const Looks = fc.array(
  fc.record({
    afterS: fc.integer({ min: 1, max: 200_000 }),
    changes: fc.integer({ min: 0, max: 20 }),
    announced: fc.integer({ min: 0, max: 20 }),
    hasChannel: fc.boolean(),
  }),
  { maxLength: 40 },
);

/** What is known of a feed after some looks; what changed in between did so evenly. */
export function play(
  kind: LearntKind,
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
        hasSpoken: Math.min(announced, changes) > 0,
        announced: Math.min(announced, changes),
        missed: Math.max(0, changes - announced),
        channel: hasChannel ? { id: "a", openedAt: new Date(start) } : null,
      },
      usual,
    );
  }
  return state;
}
