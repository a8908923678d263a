import { bestInterval } from "../../src/sync/best-wait.ts";
import { noChannel, usualPushPrior } from "../../src/sync/channel-trust.ts";
import { binOf } from "../../src/sync/week.ts";
import type { Policy } from "./policies.ts";
import {
  drawMood,
  epochMs,
  excitationOf,
  hoursOf,
  meanMoodOf,
  openRandom,
  outlookOf,
  type Population,
  type Random,
  type World,
  weekOf,
} from "./world.ts";

const daySeconds = 86_400;
const people = 200;
// Whims of an hour are taken to be one of nine, as likely as the normal distribution has them (Gauss-Hermite quadrature).
const whims = [
  [-4.512745863, 2.2346e-5],
  [-3.205429003, 2.789141e-3],
  [-2.076847979, 0.049916406],
  [-1.023255664, 0.244097503],
  [0, 0.406349206],
  [1.023255664, 0.244097503],
  [2.076847979, 0.049916406],
  [3.205429003, 2.789141e-3],
  [4.512745863, 2.2346e-5],
] as const;

/** Somebody whom a feed may belong to. */
type Person = {
  /** Bursts a second, in an hour of the week without whims, in the usual mood. */
  rates: number[];
  mood: number;
  /** Each hour's whims, how likely they are by now. */
  whims: Float64Array;
  logWeight: number;
};

/**
 * Knows how the feeds of a population differ (levels, hours, whims, moods, bursts), not what this one is like, and infers it by
 * Bayes from all that looks have shown: of a crowd of people those whom it fits weigh more, and multiply (a particle filter;
 * whims are summed out). About the best that anybody can do who sees nothing but this feed.
 */
export function bayesian(
  world: World,
  population: Population,
  price: number,
  seed: number,
): Policy {
  const { kind, followUps, decay } = world;
  const random = openRandom(seed);
  const sigma = population.shapeSigma[kind];
  const factors = whims.map(([z]) => Math.exp(sigma * z));
  const bursts = excitationOf(world);
  let crowd = Array.from({ length: people }, () => meet(world, population, random));
  let last = 0;
  // Each whim of a person, and the person, weigh by how likely they make what happened.
  const learn = (bin: number, likelihood: (rate: number) => number) => {
    for (const person of crowd) {
      const rate = (person.rates[bin] ?? 0) * person.mood;
      let total = 0;
      for (const [whim, factor] of factors.entries()) {
        const at = bin * factors.length + whim;
        const believed = (person.whims[at] ?? 0) * likelihood(rate * factor);
        person.whims[at] = believed;
        total += believed;
      }
      for (let at = bin * factors.length; at < (bin + 1) * factors.length; at += 1)
        person.whims[at] = (person.whims[at] ?? 0) / total;
      person.logWeight += Math.log(total);
    }
  };
  const watch = (until: number) => {
    while (last < until) {
      const next = Math.min(until, (Math.floor(last / 3600) + 1) * 3600);
      const seconds = next - last;
      learn(binAt(last), (rate) => Math.exp(-rate * seconds));
      last = next;
      if (last % daySeconds !== 0) continue;
      crowd = multiplied(crowd, random);
      for (const person of crowd) person.mood = drawMood(population, kind, random);
    }
  };
  const meanMood = meanMoodOf(population);
  const rateAt = (t: number) => {
    const bin = binAt(t);
    const isToday = Math.floor(t / daySeconds) === Math.floor(last / daySeconds);
    const rate = meanBy(crowd, (person) => {
      const whim = factors.reduce(
        (sum, factor, index) => sum + factor * (person.whims[bin * factors.length + index] ?? 0),
        0,
      );
      return (person.rates[bin] ?? 0) * (isToday ? person.mood : meanMood) * whim;
    });
    return rate / (1 - followUps);
  };
  return {
    next: ({ at, changes }) => {
      for (const change of changes) {
        watch(change);
        const excitation = bursts.after(change, []);
        learn(binAt(change), (rate) => rate + excitation);
        bursts.take(change, [change]);
      }
      watch(at);
      bursts.take(at, []);
      crowd = multiplied(crowd, random);
      const ahead = outlookOf({ followUps, decay, rateAt }, at, bursts.after(at, []));
      const prices = { price, pushPrior: usualPushPrior, limit: 3_600 };
      return Math.max(bestInterval(ahead, noChannel, prices), 5);
    },
    doubtsChannel: () => false,
  };
}

function binAt(t: number): number {
  return binOf(epochMs + t * 1000, 0);
}

function meet({ kind, followUps }: World, population: Population, random: Random): Person {
  const hours = hoursOf(random);
  const week = weekOf(random, hours, 0);
  const sigma = population.shapeSigma[kind];
  // Whims raise and lower the mean of a week, which is the level.
  const mean =
    week.reduce(
      (sum, weight, bin) => sum + weight * Math.exp(sigma * random.normal()) * (bin < 24 ? 5 : 2),
      0,
    ) /
    (7 * 24);
  const perDay = population.medianPerDay[kind] * Math.exp(population.sigma[kind] * random.normal());
  const level = (perDay * (1 - followUps)) / daySeconds / meanMoodOf(population) / mean;
  return {
    rates: week.map((weight) => level * weight),
    mood: drawMood(population, kind, random),
    whims: Float64Array.from(week.flatMap(() => whims.map(([, weight]) => weight))),
    logWeight: 0,
  };
}

// Once few of the crowd carry most of the weight: as many again, of each as many as it weighs.
function multiplied(crowd: Person[], random: Random): Person[] {
  const weights = weightsOf(crowd);
  const effective = 1 / weights.reduce((sum, weight) => sum + weight ** 2, 0);
  if (effective > crowd.length / 2) return crowd;
  const next: Person[] = [];
  let reached = random.uniform() / crowd.length;
  let sum = 0;
  for (const [index, person] of crowd.entries()) {
    sum += weights[index] ?? 0;
    for (; reached < sum; reached += 1 / crowd.length) {
      // A little apart, or all would be one person before long.
      const apart = Math.exp(0.05 * random.normal());
      const rates = person.rates.map((rate) => rate * apart);
      next.push({ ...person, rates, whims: person.whims.slice(), logWeight: 0 });
    }
  }
  return next;
}

function meanBy(crowd: Person[], of: (person: Person) => number): number {
  const weights = weightsOf(crowd);
  return crowd.reduce((sum, person, index) => sum + (weights[index] ?? 0) * of(person), 0);
}

function weightsOf(crowd: Person[]): number[] {
  const most = crowd.reduce((max, { logWeight }) => Math.max(max, logWeight), -Infinity);
  const weights = crowd.map(({ logWeight }) => Math.exp(logWeight - most));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}
