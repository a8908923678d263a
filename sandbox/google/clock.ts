import { type Clock, systemClock } from "../../src/lib/clock.ts";

/** A clock that runs on from wherever it is put. */
export type MovableClock = Clock & {
  set(time: Date): void;
  /** Forwards, or backwards by a negative number. */
  advance(ms: number): void;
  /** Back to the time of the clock underneath. */
  reset(): void;
};

/** Follows `base`, plus an offset that can be moved. */
export function openClock(base: Clock = systemClock): MovableClock {
  let offsetMs = 0;
  const now = () => new Date(base.now().getTime() + offsetMs);
  return {
    now,
    set: (time) => {
      offsetMs = time.getTime() - base.now().getTime();
    },
    advance: (ms) => {
      offsetMs += ms;
    },
    reset: () => {
      offsetMs = 0;
    },
  };
}

export const seconds = 1_000;
export const minutes = 60 * seconds;
export const hours = 60 * minutes;
export const days = 24 * hours;
