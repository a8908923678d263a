/** Kinds of feeds that differ in how often they change. */
export type FeedKind = "calendar" | "gmail" | "drive" | "attendee";

/** What is remembered of a feed. Plain JSON. */
export type CadenceState = {
  /** Changes seen and seconds watched, both fading with a half-life. */
  changes: number;
  watchedSeconds: number;
  lastLookAt: string;
  /** Whether a channel is open, and how much it is trusted: from 0 to 1. */
  isChannelOpen: boolean;
  pushAlive: number;
};

/** What one look, or a notification, showed. */
export type Observation =
  | {
      type: "look";
      at: Date;
      changedAt: Date[];
      announced: number | null;
      reason: "poll" | "push" | "person";
    }
  | { type: "notification"; at: Date }
  | { type: "channel"; at: Date; isOpen: boolean };

/** What weighs besides. `price` is what one look may cost, in change-seconds of waiting. */
export type Circumstances = {
  timeZone: string;
  price: number;
  activeUntil: Date | null;
  boost: "meeting_soon" | "virtual_mail" | null;
};

/** When to look next, and why, in words and numbers. */
export type Look = {
  dueAt: Date;
  intervalMs: number;
  reason: {
    rule: string;
    text: string;
    ratePerDay: number;
    pushAlive: number | null;
    price: number;
    upperBoundMs: number;
  };
};

const daySeconds = 86_400;
const halfLifeSeconds = 14 * daySeconds;
const priorPerDay: Record<FeedKind, number> = { calendar: 5, gmail: 60, drive: 5, attendee: 20 };
const lowerBoundMs = 5_000;

/** What is assumed of a feed that was never looked at. */
export function initialCadence(kind: FeedKind, at: Date): CadenceState {
  return {
    changes: 1,
    watchedSeconds: daySeconds / priorPerDay[kind],
    lastLookAt: at.toISOString(),
    isChannelOpen: false,
    pushAlive: 0.5,
  };
}

/** What is known after an observation. */
export function observe(
  _kind: FeedKind,
  state: CadenceState,
  seen: Observation,
  _circumstances: Circumstances,
): CadenceState {
  if (seen.type === "notification") return { ...state, pushAlive: 0.99 };
  if (seen.type === "channel")
    return { ...state, isChannelOpen: seen.isOpen, pushAlive: seen.isOpen ? 0.9 : 0 };
  const seconds = Math.max(0, (seen.at.getTime() - Date.parse(state.lastLookAt)) / 1000);
  const fade = 2 ** (-seconds / halfLifeSeconds);
  const missed = seen.announced === null ? 0 : seen.changedAt.length - seen.announced;
  return {
    changes: state.changes * fade + seen.changedAt.length,
    watchedSeconds: state.watchedSeconds * fade + seconds,
    lastLookAt: seen.at.toISOString(),
    isChannelOpen: seen.announced !== null,
    pushAlive:
      missed > 0 ? state.pushAlive / 10 : seen.changedAt.length > 0 ? 0.99 : state.pushAlive,
  };
}

/** When to look next: the square-root law, within bounds. */
export function nextLook(
  kind: FeedKind,
  state: CadenceState,
  at: Date,
  circumstances: Circumstances,
  random: () => number = Math.random,
): Look {
  const ratePerSecond = Math.max(state.changes / Math.max(state.watchedSeconds, 60), 1e-7);
  const isActive = circumstances.activeUntil !== null && circumstances.activeUntil > at;
  const isTrusted = state.isChannelOpen && state.pushAlive > 0.5;
  const price = circumstances.price / (isActive || circumstances.boost ? 10 : 1);
  const unseenRate = isTrusted ? ratePerSecond * 0.02 : ratePerSecond;
  const upperBoundMs = isActive ? 60_000 : isTrusted ? 6 * 3_600_000 : 3_600_000;
  const wishedMs = Math.sqrt((2 * price) / unseenRate) * 1000;
  const boundedMs = Math.min(Math.max(wishedMs, lowerBoundMs), upperBoundMs);
  const intervalMs = boundedMs === upperBoundMs ? boundedMs * (1 - 0.15 * random()) : boundedMs;
  const ratePerDay = ratePerSecond * daySeconds;
  const rule = isActive
    ? "user_active"
    : isTrusted
      ? "push_trusted"
      : wishedMs > upperBoundMs
        ? "upper_bound"
        : "rate";
  return {
    dueAt: new Date(at.getTime() + intervalMs),
    intervalMs,
    reason: {
      rule,
      text: `About ${ratePerDay.toFixed(1)} changes a day are expected of this ${kind}`,
      ratePerDay,
      pushAlive: state.isChannelOpen ? state.pushAlive : null,
      price: circumstances.price,
      upperBoundMs,
    },
  };
}
