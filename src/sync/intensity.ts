/** Kinds of feeds that differ in how often they change. */
export type FeedKind = "calendar" | "gmail" | "drive" | "attendee";

/** How often a feed changes, as far as looks have shown. Plain JSON; counts fade, so that the past weighs less and less. */
export type Intensity = {
  /** Changes seen and hours watched, in 24 hours of a weekday and 24 of a weekend day. */
  changes: number[];
  hours: number[];
  /** The last hours against what was expected of them. */
  seen: number;
  expected: number;
  /** What the latest changes add, in changes a second, at `at`. */
  excitation: number;
  /** The end of what was watched, in milliseconds since 1970. */
  at: number;
};

/** The changes to come: how many until `u` seconds from now. */
export type Outlook = { until(u: number): number; perSecond: number };

const hourMs = 3_600_000;
const daySeconds = 86_400;
const hoursPerDay = 24;

// Source of the numbers below: the maths of the cadence, from a simulation of 200 users over 28 days.
const priorPerDay: Record<FeedKind, number> = { calendar: 5, gmail: 60, drive: 5, attendee: 20 };
const followUps: Record<FeedKind, number> = {
  calendar: 0.5,
  gmail: 0.3,
  drive: 0.75,
  attendee: 0.5,
};
const decayPerSecond: Record<FeedKind, number> = {
  calendar: 1 / 300,
  gmail: 1 / 500,
  drive: 1 / 300,
  attendee: 1 / 300,
};
const halfLifeHours = 14 * hoursPerDay;
const moodHalfLifeHours = 3;
const moodWeight = 6;
const shapeWeight = 6;
const longestGapHours = 28 * hoursPerDay;

const weekday = Array.from({ length: hoursPerDay }, (_, hour) => {
  if (hour < 6) return 0.15;
  if (hour < 8) return 0.7;
  if (hour < 19) return 2.1;
  return hour < 22 ? 0.7 : 0.3;
});
const weekend = weekday.map((weight) => Math.min(weight, 0.45));
const meanWeight = (5 * sum(weekday) + 2 * sum(weekend)) / (7 * hoursPerDay);
const priorWeek = [...weekday, ...weekend].map((weight) => weight / meanWeight);

/** Nothing was watched yet. */
export function beginIntensity(at: number): Intensity {
  const zeros = () => Array.from({ length: 2 * hoursPerDay }, () => 0);
  return { changes: zeros(), hours: zeros(), seen: 0, expected: 0, excitation: 0, at };
}

/** Changes a second in an hour of the week, by level and habit, without mood or bursts. */
export function habit(kind: FeedKind, state: Intensity, bin: number): number {
  return habits(kind, state)(bin);
}

/** Changes a day, over the whole week. */
export function levelPerDay(kind: FeedKind, state: Intensity): number {
  return levelPerHour(kind, state) * hoursPerDay;
}

// The level is the same for all hours, and summed up once.
function habits(kind: FeedKind, { changes, hours }: Intensity): (bin: number) => number {
  const level = levelPerHour(kind, { changes, hours });
  return (bin) => {
    const usual = level * (priorWeek[bin] ?? 1);
    return (shapeWeight + (changes[bin] ?? 0)) / (shapeWeight / usual + (hours[bin] ?? 0)) / 3600;
  };
}

function levelPerHour(kind: FeedKind, state: Pick<Intensity, "changes" | "hours">): number {
  let seen = 0;
  let watched = 0;
  // Hours of a week weigh by what is usual in them: a silent night says little.
  for (let bin = 0; bin < priorWeek.length; bin += 1) {
    seen += state.changes[bin] ?? 0;
    watched += (state.hours[bin] ?? 0) * (priorWeek[bin] ?? 1);
  }
  return (1 + seen) / (hoursPerDay / priorPerDay[kind] + watched);
}

/** Takes in what was seen between the last look and `now`: changes by the provider's own times, in ascending order. */
export function watched(
  kind: FeedKind,
  state: Intensity,
  seen: { now: number; changedAt: number[]; offsetMs: number },
): Intensity {
  const { now, offsetMs } = seen;
  const gapHours = Math.max(0, (now - state.at) / hourMs);
  const fade = 2 ** (-gapHours / halfLifeHours);
  const changes = state.changes.map((count) => count * fade);
  const hours = state.hours.map((count) => count * fade);
  const usual = habits(kind, state);
  let expected = 0;
  const start = Math.max(state.at, now - longestGapHours * hourMs);
  for (let at = start; at < now; ) {
    const next = Math.min(now, (Math.floor((at + offsetMs) / hourMs) + 1) * hourMs - offsetMs);
    const bin = binOf(at, offsetMs);
    const span = (next - at) / hourMs;
    hours[bin] = (hours[bin] ?? 0) + span;
    expected += usual(bin) * span * 3600;
    at = next;
  }
  // What happened long before the last look was of another time.
  const fresh = seen.changedAt.filter((at) => at > start - hourMs && at <= now + hourMs);
  for (const at of fresh) {
    const bin = binOf(Math.min(at, now), offsetMs);
    changes[bin] = (changes[bin] ?? 0) + 1;
  }
  const moodFade = 2 ** (-gapHours / moodHalfLifeHours);
  return {
    changes: changes.map(rounded),
    hours: hours.map(rounded),
    seen: rounded(state.seen * moodFade + fresh.length),
    expected: rounded(state.expected * moodFade + expected),
    excitation: excitationAt(kind, state, fresh, now),
    at: now,
  };
}

function excitationAt(kind: FeedKind, state: Intensity, changedAt: number[], now: number): number {
  const decay = decayPerSecond[kind];
  const jump = followUps[kind] * decay;
  const since = (from: number) => Math.exp((-decay * Math.max(0, now - from)) / 1000);
  return changedAt.reduce(
    (total, at) => total + jump * since(at),
    state.excitation * since(state.at),
  );
}

/**
 * What is to come, from `state.at` on. Right after a change more is likely; right after silence, less than on average,
 * since part of what comes in an hour follows something that has not come yet.
 */
export function outlook(kind: FeedKind, state: Intensity, offsetMs: number): Outlook {
  const mood = (moodWeight + state.seen) / (moodWeight + state.expected);
  const usual = habits(kind, state);
  const relax = decayPerSecond[kind] * (1 - followUps[kind]);
  const now = usual(binOf(state.at, offsetMs)) * mood;
  // Of the usual intensity, this share comes by itself; the rest follows changes.
  const own = now * (1 - followUps[kind]);
  const surplus = own + state.excitation - now;
  const toNextHour = hourMs - ((((state.at + offsetMs) % hourMs) + hourMs) % hourMs);
  // Sums of the whole hours ahead, made as they are asked for.
  const ends = [toNextHour / 1000];
  const sums = [0, (now * toNextHour) / 1000];
  const rates = [now];
  const extend = () => {
    const end = ends.at(-1) ?? 0;
    const rate = usual(binOf(state.at + end * 1000 + 1, offsetMs)) * mood;
    rates.push(rate);
    ends.push(end + 3600);
    sums.push((sums.at(-1) ?? 0) + rate * 3600);
  };
  return {
    perSecond: Math.max(own + state.excitation, 0),
    until: (u) => {
      while ((ends.at(-1) ?? 0) < u) extend();
      const hour = u <= (ends[0] ?? 0) ? 0 : 1 + Math.floor((u - (ends[0] ?? 0)) / 3600);
      const begin = hour === 0 ? 0 : (ends[hour - 1] ?? 0);
      const steady = (sums[hour] ?? 0) + (rates[hour] ?? now) * (u - begin);
      return Math.max(0, steady + (surplus * (1 - Math.exp(-relax * u))) / relax);
    },
  };
}

/** The hour of a weekday, or of a weekend day, on the user's clocks. */
export function binOf(at: number, offsetMs: number): number {
  const hour = Math.floor((at + offsetMs) / hourMs);
  // 1 January 1970 was a Thursday.
  const dayOfWeek = (((Math.floor(hour / hoursPerDay) + 4) % 7) + 7) % 7;
  const hourOfDay = ((hour % hoursPerDay) + hoursPerDay) % hoursPerDay;
  return (dayOfWeek === 0 || dayOfWeek === 6 ? hoursPerDay : 0) + hourOfDay;
}

/** Seconds in a day, for rates that people read. */
export const secondsPerDay = daySeconds;

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

// Kept in a row as text. A look after five seconds adds a thousandth of an hour, and takes away a millionth of the past:
// fewer digits would lose both.
function rounded(value: number): number {
  return Math.round(value * 1e6) / 1e6;
}
