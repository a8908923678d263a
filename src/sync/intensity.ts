import {
  binOf,
  habitsOf,
  hourOf,
  personalWeek,
  type Shown,
  sharedWeek,
  usualWeek,
  type Week,
} from "./week.ts";

/** Kinds of feeds that differ in how often they change. */
export type LearntKind = "calendar" | "gmail" | "drive";

/** How often a feed changes, as far as looks have shown. Plain JSON; counts fade, so that the past weighs less and less. */
export type Intensity = {
  /** All changes seen. */
  total: number;
  /** Changes with bursts evened out, and hours watched, in 24 hours of a weekday and 24 of a weekend day. */
  changes: number[];
  hours: number[];
  /** The hour of the latest change, in hours since 1970 on the user's clocks, and how many changes it has shown. */
  latest: { hour: number; changes: number };
  /** The last hours, bursts evened out, against what was expected of them. */
  seen: number;
  expected: number;
  /** For each speed that bursts may have: what the latest changes add, in changes a second, at `at`. */
  excitations: number[];
  /** How likely each of these speeds makes what was seen, by logarithm, the likeliest 0. */
  likelihoods: number[];
  /** The end of what was watched, in milliseconds since 1970. */
  at: number;
};

/**
 * What others show of a feed, as far as it does not itself: which week it keeps, how much faster than usual changes follow
 * each other, and, where the same person has others, what the last hours have seen there and were expected to.
 */
export type Common = { week: Week; speed: number; lately?: Pick<Intensity, "seen" | "expected"> };

/** How far the user's clocks are ahead of UTC, and what others show. */
export type Clocks = Common & { offsetMs: number };

/** Another feed of the same person, and the week that feeds of its kind keep. */
export type Sibling = { kind: LearntKind; intensity: Intensity; week: Week };

/** The changes to come: how many until `u` seconds from now, and how many a second then. */
export type Outlook = { until(u: number): number; perSecond(u: number): number };

const hourMs = 3_600_000;
const hoursPerDay = 24;

// Source of the numbers below: the maths of the cadence, from a simulation of 200 users over 28 days.
const priorPerDay: Record<LearntKind, number> = { calendar: 5, gmail: 60, drive: 5 };
const followUps: Record<LearntKind, number> = {
  calendar: 0.5,
  gmail: 0.3,
  drive: 0.75,
};
const decayPerSecond: Record<LearntKind, number> = {
  calendar: 1 / 300,
  gmail: 1 / 500,
  drive: 1 / 300,
};
// How fast bursts may be, against the above, and how many times as likely the usual is taken to be.
const speeds = [0.25, 0.5, 1, 2, 4];
const usualSpeed = speeds.indexOf(1);
const usualIsLikelier = 1_000;
// So many changes of a feed are heard for how fast bursts of its kind are.
const mostChangesHeard = 100;
const halfLifeHours = 14 * hoursPerDay;
const moodHalfLifeHours = 3;
// One day in ten, or so, is off, and has about a twentieth of what others have. Those have so much more that the mean is 1.
const [offShare, offRate] = [0.1, 0.05];
const workRate = 1 / (1 - offShare * (1 - offRate));
// What another feed of the same person shows of an hour of the week, or of the last hours, counts for so many times as much
// at most as what is assumed.
const mostOfSibling = 4;
// How much is assumed before it is seen: one change that nothing else brought about, with all that follows one on average.
const priorWeight = perKind((kind) => 1 / (1 - followUps[kind]));
// What a burst counts as, whose changes are those of one hour: as many as there are to a burst in the simulation.
const perBurst: Record<LearntKind, number> = { calendar: 1.9, gmail: 1.65, drive: 3 };
const longestGapHours = 28 * hoursPerDay;

function perKind(of: (kind: LearntKind) => number): Record<LearntKind, number> {
  return {
    calendar: of("calendar"),
    gmail: of("gmail"),
    drive: of("drive"),
  };
}

/** Nothing was watched yet. */
export function beginIntensity(at: number): Intensity {
  const zeros = () => Array.from({ length: 2 * hoursPerDay }, () => 0);
  return {
    total: 0,
    changes: zeros(),
    hours: zeros(),
    latest: { hour: 0, changes: 0 },
    seen: 0,
    expected: 0,
    excitations: speeds.map(() => 0),
    likelihoods: speeds.map(() => 0),
    at,
  };
}

/** What was remembered, by whichever version: one counted all changes alike, and knew one speed of bursts. */
export function rememberedIntensity(
  row: Partial<Intensity & { excitation: number }> & Pick<Intensity, "changes" | "at">,
): Intensity {
  const begun = beginIntensity(row.at);
  const { excitation = 0, ...rest } = row;
  const excitations = speeds.map((speed) => excitation * speed);
  return { ...begun, total: sum(row.changes), excitations, ...rest };
}

/** Changes a day, over the whole week. */
export function levelPerDay(kind: LearntKind, state: Intensity, week: Week = usualWeek): number {
  return levelPerHour(kind, state, week) * hoursPerDay;
}

/** What is assumed before any feed has shown anything. */
export const usualCommon: Common = { week: usualWeek, speed: 1 };

/** What feeds of a kind have in common, as far as they have shown it. */
export function commonOf(kind: LearntKind, feeds: readonly Intensity[]): Common {
  const shown = feeds.map((intensity) => shownBy({ kind, intensity, week: usualWeek }));
  return { week: sharedWeek(shown, priorWeight[kind]), speed: likeliestSpeed(feeds) };
}

/**
 * What others show of a person's feed at `at` (milliseconds since 1970), once this person's other feeds are among them. Who
 * keeps late hours keeps them everywhere, and on a day off all is quiet; but each of them says only so much, however much it
 * has shown, since feeds of one person differ too.
 */
export function ofPerson(
  kind: LearntKind,
  { week, speed }: Common,
  siblings: readonly Sibling[],
  at: number,
): Common {
  const weight = priorWeight[kind];
  const lately = { seen: 0, expected: 0 };
  const most = mostOfSibling * weight;
  for (const { intensity } of siblings) {
    const fade = 2 ** (-Math.max(0, at - intensity.at) / hourMs / moodHalfLifeHours);
    const [seen, expected] = [intensity.seen * fade, intensity.expected * fade];
    const share = most / (most + Math.max(seen, expected));
    lately.seen += share * seen;
    lately.expected += share * expected;
  }
  const shown = siblings.map(shownBy);
  return { week: personalWeek(shown, { usual: week, weight, most }), speed, lately };
}

function shownBy({ kind, intensity, week }: Sibling): Shown {
  const { changes, hours } = intensity;
  return { changes, hours, week, level: levelPerHour(kind, intensity, week) };
}

// A feed does not choose its own: one more change could then mean a later look.
function likeliestSpeed(feeds: readonly Intensity[]): number {
  const likelihoodOf = (index: number) =>
    feeds.reduce(
      (sum, { likelihoods, total }) =>
        sum + (likelihoods[index] ?? 0) * Math.min(1, mostChangesHeard / total),
      index === usualSpeed ? Math.log(usualIsLikelier) : 0,
    );
  const found = speeds.map((_, index) => likelihoodOf(index));
  return speeds[found.indexOf(Math.max(...found))] ?? 1;
}

// Changes an hour in an hour of the week, by level and habit, without mood or bursts.
function habits(kind: LearntKind, state: Intensity, week: Week): (bin: number) => number {
  const level = levelPerHour(kind, state, week);
  return habitsOf(state, { level, week, weight: priorWeight[kind] });
}

function levelPerHour(kind: LearntKind, { total, hours }: Intensity, week: Week): number {
  // Hours of a week weigh by what is usual in them: a silent night says little.
  const watched = hours.reduce((total, count, bin) => total + count * (week[bin] ?? 1), 0);
  const weight = priorWeight[kind];
  return (weight + total) / ((weight * hoursPerDay) / priorPerDay[kind] + watched);
}

/** Takes in what was seen between the last look and `now`: changes by the provider's own times, in ascending order. */
export function watched(
  kind: LearntKind,
  state: Intensity,
  seen: { now: number; changedAt: number[] },
  { offsetMs, week }: Pick<Clocks, "offsetMs" | "week">,
): Intensity {
  const { now } = seen;
  const gapHours = Math.max(0, (now - state.at) / hourMs);
  const fade = 2 ** (-gapHours / halfLifeHours);
  const hours = state.hours.map((count) => count * fade);
  const usual = habits(kind, state, week);
  let expected = 0;
  const start = Math.max(state.at, now - longestGapHours * hourMs);
  for (let at = start; at < now; ) {
    const next = Math.min(now, (Math.floor((at + offsetMs) / hourMs) + 1) * hourMs - offsetMs);
    const bin = binOf(at, offsetMs);
    const span = (next - at) / hourMs;
    hours[bin] = (hours[bin] ?? 0) + span;
    expected += usual(bin) * span;
    at = next;
  }
  // What happened long before the last look was of another time.
  const changedAt = seen.changedAt
    .filter((at) => at > start - hourMs && at <= now + hourMs)
    .map((at) => Math.min(at, now));
  const changes = state.changes.map((count) => count * fade);
  const { counts, latest } = evenedOut(kind, state.latest, { changedAt, offsetMs, usual });
  for (const { bin, count } of counts) changes[bin] = (changes[bin] ?? 0) + count;
  const moodFade = 2 ** (-gapHours / moodHalfLifeHours);
  return {
    total: rounded(state.total * fade + changedAt.length),
    changes: changes.map(rounded),
    hours: hours.map(rounded),
    latest,
    seen: rounded(state.seen * moodFade + sum(counts.map(({ count }) => count))),
    expected: rounded(state.expected * moodFade + expected),
    ...followed(kind, state, { changedAt, now, fade, usual, offsetMs }),
    at: now,
  };
}

// Most changes of a burst follow its first, and say little of how many bursts there will be. Where r bursts are expected in
// an hour that has shown n changes, the next begins another with a probability of r / (r + n) (as tables are taken in the
// Chinese restaurant process; Pitman 2006), and counts for so much of a burst. Of more changes, none makes for a smaller sum.
function evenedOut(
  kind: LearntKind,
  latest: Intensity["latest"],
  {
    changedAt,
    offsetMs,
    usual,
  }: { changedAt: number[]; offsetMs: number; usual: (bin: number) => number },
): { counts: { bin: number; count: number }[]; latest: Intensity["latest"] } {
  const shown = new Map([[latest.hour, latest.changes]]);
  const counts = changedAt.map((at) => {
    const [hour, bin] = [hourOf(at, offsetMs), binOf(at, offsetMs)];
    const before = shown.get(hour) ?? 0;
    shown.set(hour, before + 1);
    const bursts = usual(bin) * (1 - followUps[kind]);
    return { bin, count: (perBurst[kind] * bursts) / (bursts + before) };
  });
  const hour = Math.max(...shown.keys());
  return { counts, latest: { hour, changes: shown.get(hour) ?? 0 } };
}

// Each change is likely by what comes by itself and by what those before it add, which for all speeds is the same in number.
function followed(
  kind: LearntKind,
  state: Intensity,
  seen: {
    changedAt: number[];
    now: number;
    fade: number;
    usual: (bin: number) => number;
    offsetMs: number;
  },
): Pick<Intensity, "excitations" | "likelihoods"> {
  const { changedAt, now, fade, usual, offsetMs } = seen;
  const alone = changedAt.map((at) => (usual(binOf(at, offsetMs)) * (1 - followUps[kind])) / 3600);
  const bySpeed = speeds.map((speed, index) => {
    const decay = decayPerSecond[kind] * speed;
    const jump = followUps[kind] * decay;
    let [excitation, last] = [state.excitations[index] ?? 0, state.at];
    let likelihood = (state.likelihoods[index] ?? 0) * fade;
    const wait = (until: number) => {
      const before = excitation;
      excitation *= Math.exp((-decay * Math.max(0, until - last)) / 1000);
      likelihood -= (before - excitation) / decay;
      last = Math.max(last, until);
    };
    for (const [change, at] of changedAt.entries()) {
      wait(at);
      likelihood += Math.log((alone[change] ?? 0) + excitation);
      excitation += jump * Math.exp((-decay * (last - at)) / 1000);
    }
    wait(now);
    return { excitation, likelihood };
  });
  const most = Math.max(...bySpeed.map(({ likelihood }) => likelihood));
  return {
    excitations: bySpeed.map(({ excitation }) => excitation),
    likelihoods: bySpeed.map(({ likelihood }) => rounded(likelihood - most)),
  };
}

/**
 * What is to come, from `state.at` on. Right after a change more is likely; right after silence, less than on average,
 * since part of what comes in an hour follows something that has not come yet. One more change, now or in any hour of
 * the week, never means that less is to come.
 */
export function outlook(kind: LearntKind, state: Intensity, clocks: Clocks): Outlook {
  const { offsetMs, week, speed, lately = { seen: 0, expected: 0 } } = clocks;
  const weight = priorWeight[kind];
  const mood = moodOf(weight, state.seen + lately.seen, state.expected + lately.expected);
  const usual = habits(kind, state, week);
  const toNextHour = hourMs - ((((state.at + offsetMs) % hourMs) + hourMs) % hourMs);
  return hourly({
    followUps: followUps[kind],
    decay: decayPerSecond[kind] * speed,
    excitation: state.excitations[speeds.indexOf(speed)] ?? 0,
    firstHour: toNextHour / 1000,
    rateAfter: (seconds) => (usual(binOf(state.at + seconds * 1000 + 1, offsetMs)) * mood) / 3600,
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

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

// Kept in a row as text. A look after five seconds adds a thousandth of an hour, and takes away a millionth of the past:
// fewer digits would lose both.
function rounded(value: number): number {
  return Math.round(value * 1e6) / 1e6;
}

// How the last hours went against the usual, by Bayes from what was seen where so much was expected: how days at work differ is
// taken for a gamma distribution, and any day may be off. Having seen more never lowers it, having expected more never raises it.
function moodOf(weight: number, seen: number, expected: number): number {
  const atWork = workRate * expected;
  const lnLikelyAtWork =
    lnGamma(weight + seen) -
    lnGamma(weight) +
    weight * Math.log(weight) -
    (weight + seen) * Math.log(weight + atWork);
  const lnLikelyOff = seen * Math.log(offRate) - offRate * atWork;
  const odds = (offShare / (1 - offShare)) * Math.exp(lnLikelyOff - lnLikelyAtWork);
  return (workRate * ((weight + seen) / (weight + atWork) + odds * offRate)) / (1 + odds);
}

// The logarithm of the gamma function, by Stirling's series (Abramowitz and Stegun, 6.1.41).
function lnGamma(of: number): number {
  let [at, above] = [of, 0];
  for (; at < 7; at += 1) above += Math.log(at);
  const series = 1 / (12 * at) - 1 / (360 * at ** 3);
  return (at - 0.5) * Math.log(at) - at + Math.log(2 * Math.PI) / 2 + series - above;
}
