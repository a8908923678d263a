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

/** The changes to come: how many until `u` seconds from now, and how many a second then. */
export type Outlook = { until(u: number): number; perSecond(u: number): number };

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
// How much is assumed before it is seen, in changes that nothing else brought about: those that follow prove nothing.
const levelWeight = weights(1);
const moodWeight = weights(3);
const shapeWeight = weights(3);
// How far the hours before and after an hour speak for it, and how many changes it takes until they do.
const nearShares = [1, 1, 0.5];
const nearWeight = 4;
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

function weights(independent: number): Record<FeedKind, number> {
  const of = (kind: FeedKind) => independent / (1 - followUps[kind]);
  return {
    calendar: of("calendar"),
    gmail: of("gmail"),
    drive: of("drive"),
    attendee: of("attendee"),
  };
}

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

// The level is the same for all hours, and summed up once. An hour is taken to be like those around it, until it has shown
// enough of its own.
function habits(kind: FeedKind, { changes, hours }: Intensity): (bin: number) => number {
  const level = levelPerHour(kind, { changes, hours });
  const weight = shapeWeight[kind];
  return (bin) => {
    const day = bin - (bin % hoursPerDay);
    let [seen, expected] = [nearWeight, nearWeight];
    for (let away = 1 - nearShares.length; away < nearShares.length; away += 1) {
      const other = day + ((bin + away + 2 * hoursPerDay) % hoursPerDay);
      const share = nearShares[Math.abs(away)] ?? 0;
      seen += share * (changes[other] ?? 0);
      expected += share * level * (priorWeek[other] ?? 1) * (hours[other] ?? 0);
    }
    const usual = level * (priorWeek[bin] ?? 1) * (seen / expected);
    return (weight + (changes[bin] ?? 0)) / (weight / usual + (hours[bin] ?? 0)) / 3600;
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
  const weight = levelWeight[kind];
  return (weight + seen) / ((weight * hoursPerDay) / priorPerDay[kind] + watched);
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
 * since part of what comes in an hour follows something that has not come yet. One more change, now or in any hour of
 * the week, never means that less is to come.
 */
export function outlook(kind: FeedKind, state: Intensity, offsetMs: number): Outlook {
  const mood = (moodWeight[kind] + state.seen) / (moodWeight[kind] + state.expected);
  const usual = habits(kind, state);
  const toNextHour = hourMs - ((((state.at + offsetMs) % hourMs) + hourMs) % hourMs);
  return hourly({
    followUps: followUps[kind],
    decay: decayPerSecond[kind],
    excitation: state.excitation,
    firstHour: toNextHour / 1000,
    rateAfter: (seconds) => usual(binOf(state.at + seconds * 1000 + 1, offsetMs)) * mood,
  });
}

/**
 * What is to come where the rate differs from hour to hour, and each change is followed by others. Of an hour's rate
 * a share comes by itself; the rest follows changes, and what the latest of them add relaxes towards that rest.
 */
export function hourly(feed: {
  followUps: number;
  decay: number;
  excitation: number;
  /** The seconds until the hour ends, and the rate of the hour that begins after so many, follow-ups included. */
  firstHour: number;
  rateAfter: (seconds: number) => number;
}): Outlook {
  const { followUps: following, firstHour, rateAfter } = feed;
  const relax = feed.decay * (1 - following);
  const begins = [0];
  const rates = [rateAfter(0)];
  const excitations = [feed.excitation];
  const sums = [0];
  const inHour = (hour: number, seconds: number) => {
    const rate = rates[hour] ?? 0;
    const surplus = (excitations[hour] ?? 0) - following * rate;
    const left = Math.exp(-relax * seconds);
    return { count: rate * seconds + (surplus * (1 - left)) / relax, surplus: surplus * left };
  };
  // Whole hours are summed up once, as they are asked for.
  const reach = (u: number) => {
    for (let hour = begins.length - 1; firstHour + hour * 3600 < u; hour += 1) {
      const begin = firstHour + hour * 3600;
      const { count, surplus } = inHour(hour, begin - (begins[hour] ?? 0));
      excitations.push(following * (rates[hour] ?? 0) + surplus);
      sums.push((sums[hour] ?? 0) + count);
      rates.push(rateAfter(begin));
      begins.push(begin);
    }
  };
  const hourOf = (u: number) => (u <= firstHour ? 0 : Math.ceil((u - firstHour) / 3600));
  return {
    until: (u) => {
      reach(u);
      const hour = hourOf(u);
      return Math.max(0, (sums[hour] ?? 0) + inHour(hour, u - (begins[hour] ?? 0)).count);
    },
    perSecond: (u) => {
      reach(u);
      const hour = hourOf(u);
      return Math.max(0, (rates[hour] ?? 0) + inHour(hour, u - (begins[hour] ?? 0)).surplus);
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
