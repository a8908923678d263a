import { hourly, type LearntKind, type Outlook } from "../../src/sync/intensity.ts";
import { binOf } from "../../src/sync/week.ts";

/** Numbers that look random and are the same for the same seed. */
export type Random = {
  uniform(): number;
  exponential(rate: number): number;
  normal(): number;
  poisson(mean: number): number;
};

export function openRandom(seed: number): Random {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
  const exponential = (rate: number) => -Math.log(1 - uniform()) / rate;
  return {
    uniform,
    exponential,
    normal: () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()),
    poisson: (mean) => {
      let count = 0;
      for (let left = mean - exponential(1); left > 0; left -= exponential(1)) count += 1;
      return count;
    },
  };
}

type PerKind = Record<"calendar" | "gmail" | "drive", number>;

/** How a population of feeds behaves. */
export type Population = {
  /** Changes a day of the median user; users differ by a log-normal with this sigma. */
  medianPerDay: PerKind;
  sigma: PerKind;
  /** Follow-ups of each change, and how fast they come. */
  followUps: PerKind;
  decay: PerKind;
  /** How much hours of a week differ from user to user, and days from each other. */
  shapeSigma: PerKind;
  moodSigma: PerKind;
  dayOffShare: number;
  /** How far whims and moods are the person's, the same in all of their feeds, from 0 to 1: their correlation. */
  likeness: number;
  /** How many courses of what befalls push are played: the less happens, the more it takes to tell chance from rule. */
  courses: number;
};

/** Median users as they were measured. Tails, hours and moods are such that each rule needs about the calls that it did. */
const usual: Population = {
  medianPerDay: { calendar: 5.7, gmail: 93, drive: 11 },
  sigma: { calendar: 1.5, gmail: 0.4, drive: 1.25 },
  followUps: { calendar: 0.5, gmail: 0.3, drive: 0.75 },
  decay: { calendar: 1 / 300, gmail: 1 / 500, drive: 1 / 300 },
  shapeSigma: { calendar: 0.6, gmail: 0.3, drive: 1.1 },
  moodSigma: { calendar: 0.45, gmail: 0.45, drive: 0.45 },
  dayOffShare: 0.08,
  likeness: 0.5,
  courses: 8,
};

// The others are told nothing of by the measurements: few changes and many days off, many changes of all moods, bursts that
// are over five times as fast, and feeds of which none says how a person's others are.
export const populations = {
  usual,
  quiet: {
    ...usual,
    medianPerDay: { calendar: 2, gmail: 25, drive: 3 },
    sigma: { calendar: 1, gmail: 0.8, drive: 1 },
    moodSigma: { calendar: 0.3, gmail: 0.3, drive: 0.3 },
    dayOffShare: 0.15,
    courses: 20,
  },
  busy: {
    ...usual,
    medianPerDay: { calendar: 20, gmail: 300, drive: 40 },
    sigma: { calendar: 0.8, gmail: 0.5, drive: 0.8 },
    followUps: { calendar: 0.6, gmail: 0.4, drive: 0.7 },
    shapeSigma: { calendar: 0.5, gmail: 0.5, drive: 0.5 },
    moodSigma: { calendar: 0.6, gmail: 0.6, drive: 0.6 },
    courses: 4,
  },
  swift: { ...usual, decay: { calendar: 1 / 60, gmail: 1 / 100, drive: 1 / 60 }, courses: 4 },
  unlike: { ...usual, likeness: 0, courses: 4 },
} satisfies Record<string, Population>;

export type SimulatedKind = keyof Population["medianPerDay"] & LearntKind;

/** What happens to a feed, in seconds from a Monday's midnight, and what an oracle knows of it. */
export type World = {
  kind: SimulatedKind;
  days: number;
  arrivals: number[];
  /** Changes a second that are to be expected in the hour of `t`, follow-ups included. */
  rateAt(t: number): number;
  followUps: number;
  decay: number;
};

/** Somebody at the screen, who looks at it at these moments. */
export type Session = { views: number[] };

/** Where the worlds begin: a Monday, midnight in UTC. */
export const epochMs = Date.parse("2026-01-05T00:00:00Z");
const daySeconds = 86_400;
const offDay = 0.05;
// What makes one feed of a person another than the others.
const salts: PerKind = { calendar: 0x1b873593, gmail: 0x5bd1e995, drive: 0x27d4eb2f };

/**
 * One feed of a population. Feeds of the same seed are one person's, who works at the same hours in all of them. `rank` says
 * how lively this person is among all, from 0 to 1: so that seeds differ in what happens, and not in who is there.
 */
export function makeWorld(
  kind: SimulatedKind,
  seed: number,
  { days, population, rank }: { days: number; population: Population; rank: number },
): World {
  const random = openRandom(seed);
  const { followUps, decay } = population;
  const hours = hoursOf(random);
  const perDay = population.medianPerDay[kind] * Math.exp(population.sigma[kind] * normalAt(rank));
  const own = openRandom(seed ^ salts[kind]);
  const [ofPerson, ofFeed] = [population.likeness, 1 - population.likeness].map(Math.sqrt);
  const alike = {
    uniform: random.uniform,
    normal: () => (ofPerson ?? 0) * random.normal() + (ofFeed ?? 0) * own.normal(),
  };
  const week = weekOf(alike, hours, population.shapeSigma[kind]);
  const moods = Array.from({ length: days + 1 }, () => drawMood(population, kind, alike));
  const meanMood = meanMoodOf(population);
  const rateAt = (t: number) =>
    ((perDay / daySeconds) *
      (week[binOf(epochMs + t * 1000, 0)] ?? 1) *
      (moods[Math.floor(t / daySeconds)] ?? 1)) /
    meanMood;
  const n = followUps[kind];
  const arrivals: number[] = [];
  for (let hour = 0; hour < days * 24; hour += 1) {
    const begin = hour * 3600;
    const own = rateAt(begin) * (1 - n) * 3600;
    const count = random.poisson(own);
    for (let one = 0; one < count; one += 1) {
      const family = [begin + random.uniform() * 3600];
      for (let at = family.pop(); at !== undefined; at = family.pop()) {
        if (at < days * daySeconds) arrivals.push(at);
        for (let more = random.poisson(n); more > 0; more -= 1)
          family.push(at + random.exponential(decay[kind]));
      }
    }
  }
  arrivals.sort((one, other) => one - other);
  return { kind, days, arrivals, rateAt, followUps: n, decay: decay[kind] };
}

/** When the person of a seed sits at the screen: some six times on a weekday, a quarter of an hour each. */
export function makeSessions(seed: number, days: number): Session[] {
  const { from, until } = hoursOf(openRandom(seed));
  const random = openRandom(seed ^ 0x2545f491);
  return Array.from({ length: days }, (_, day) => {
    const count = random.poisson(day % 7 < 5 ? 6 : 1);
    return Array.from({ length: count }, () => {
      const begin = day * daySeconds + (from + (until - from) * random.uniform()) * 3600;
      const end = begin + random.exponential(1 / 900);
      const views = [begin];
      for (let at = begin; at < end; at += random.exponential(1 / 90))
        if (at > begin) views.push(at);
      return { views };
    });
  })
    .flat()
    .sort((one, other) => (one.views[0] ?? 0) - (other.views[0] ?? 0));
}

/** A feed that always changes at the same rate: what closed forms are known for. */
export function steadyWorld(perDay: number, seed: number, days: number): World {
  const random = openRandom(seed);
  const rate = perDay / daySeconds;
  const arrivals: number[] = [];
  for (let at = random.exponential(rate); at < days * daySeconds; at += random.exponential(rate))
    arrivals.push(at);
  const always = () => rate;
  return {
    kind: "calendar",
    days,
    arrivals,
    rateAt: always,
    followUps: 0,
    decay: 1 / 300,
  };
}

/** What the latest changes add to the rate. */
export function excitationOf({ decay, followUps }: Pick<World, "decay" | "followUps">): {
  after(at: number, changes: number[]): number;
  take(at: number, changes: number[]): void;
} {
  let [excitation, last] = [0, 0];
  const after = (at: number, changes: number[]) =>
    changes.reduce(
      (sum, change) => sum + followUps * decay * Math.exp(-decay * (at - change)),
      excitation * Math.exp(-decay * (at - last)),
    );
  return {
    after,
    take: (at, changes) => {
      [excitation, last] = [after(at, changes), at];
    },
  };
}

/** What is to come from second `from` on, by the true rate or by what is taken for it. */
export function outlookOf(
  { followUps, decay, rateAt }: Pick<World, "followUps" | "decay" | "rateAt">,
  from: number,
  excitation: number,
): Outlook {
  return hourly({
    followUps,
    decay,
    excitation,
    firstHour: (Math.floor(from / 3600) + 1) * 3600 - from,
    rateAfter: (seconds) => rateAt(from + seconds + 1e-3),
  });
}

// The normal distribution's quantile, by bisection of its distribution function (Abramowitz and Stegun, 7.1.26).
function normalAt(rank: number): number {
  const below = (z: number) => {
    const t = 1 / (1 + (0.3275911 * Math.abs(z)) / Math.SQRT2);
    const series =
      ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) *
      t;
    const tail = (series * Math.exp((-z * z) / 2)) / 2;
    return z > 0 ? 1 - tail : tail;
  };
  let [low, high] = [-6, 6];
  for (let step = 0; step < 40; step += 1) {
    const middle = (low + high) / 2;
    if (below(middle) < rank) low = middle;
    else high = middle;
  }
  return low;
}

type Hours = { from: number; until: number; weekend: number };

/** How much of what is usual a day has: little on a day off. */
export function drawMood(
  { dayOffShare, moodSigma }: Population,
  kind: SimulatedKind,
  random: Pick<Random, "uniform" | "normal">,
): number {
  const isOff = random.uniform() < dayOffShare;
  const sigma = moodSigma[kind];
  return isOff ? offDay : Math.exp(sigma * random.normal() - sigma ** 2 / 2);
}

/** What a day has on average. */
export function meanMoodOf({ dayOffShare }: Population): number {
  return 1 - dayOffShare * (1 - offDay);
}

/** Somebody's own hours: when they begin, how long they work, how they keep weekends. */
export function hoursOf(random: Random): Hours {
  const from = 7 + 3 * random.uniform();
  return { from, until: from + 8 + 3 * random.uniform(), weekend: 0.1 + 0.4 * random.uniform() };
}

/** How much the hours of a week have, by somebody's own hours and whims of single ones; 1 on average. */
export function weekOf(
  random: Pick<Random, "normal">,
  { from, until, weekend }: Hours,
  sigma: number,
): number[] {
  const bins = Array.from({ length: 48 }, (_, bin) => {
    const hour = bin % 24;
    const isWork = hour >= from && hour < until;
    const usualWeight = isWork ? 2.1 : hour >= from - 2 && hour < until + 3 ? 0.5 : 0.05;
    return usualWeight * (bin >= 24 ? weekend : 1) * Math.exp(sigma * random.normal());
  });
  const mean =
    bins.reduce((total, weight, bin) => total + weight * (bin < 24 ? 5 : 2), 0) / (7 * 24);
  return bins.map((weight) => weight / mean);
}
