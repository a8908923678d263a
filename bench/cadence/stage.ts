import { usualPrice } from "../../src/sync/best-wait.ts";
import {
  type CadenceState,
  type Prior,
  personalPrior,
  priorOf,
  usualPrior,
} from "../../src/sync/cadence.ts";
import { oracle, type Policy, type Push, product } from "./policies.ts";
import { costOf, meanOf, type Outcome, simulate, simulateOldRule, together } from "./simulate.ts";
import {
  epochMs,
  makeSessions,
  makeWorld,
  type Population,
  populations,
  type SimulatedKind,
  type World,
} from "./world.ts";

export type Making = (world: World, user: number) => Policy;
export type Span = { fromDay?: number; untilDay?: number };

export const kinds: SimulatedKind[] = ["calendar", "gmail", "drive"];
/** By then every policy has settled. */
export const afterWarmUp = { fromDay: 7 };
const learnsEveryDays = 7;
const learnsEverySeconds = learnsEveryDays * 86_400;
const pageSeconds = 900;

/** A population at work, and what policies do in it. */
export type Stage = {
  population: Population;
  seed: number;
  users: number;
  days: number;
  worlds: Record<SimulatedKind, World[]>;
  /** All feeds of a kind under one policy. */
  run(kind: SimulatedKind, make: Making, push: Push | null, span?: Span): Outcome;
  /**
   * The product's own, which learns of all feeds of a kind, here once a week, in truth once an hour; and of a person's other
   * feeds, here as of the last quarter of an hour, each as it would have been looked at by itself at the usual price.
   */
  daybook(kind: SimulatedKind, price: number, push: Push | null): Making;
  /** All feeds of a kind under it. */
  ours(kind: SimulatedKind, price: number, push: Push | null, span?: Span): Outcome;
};

type PriorAt = (at: number) => Prior;
type Diary = (at: number) => CadenceState | undefined;
type Knowledge = Record<SimulatedKind, { priorAt: PriorAt; diaries: Diary[] }>;

/** Opens one; what is measured begins after a week. */
export function openStage(
  name: keyof typeof populations,
  { seed, users, days }: { seed: number; users: number; days: number },
): Stage {
  const population: Population = populations[name];
  const worldsOf = (kind: SimulatedKind) =>
    Array.from({ length: users }, (_, user) =>
      makeWorld(kind, seedOf(seed, user), { days, population, rank: (user + 0.5) / users }),
    );
  const worlds = perKind(worldsOf);
  const run: Stage["run"] = (kind, make, push, span = afterWarmUp) =>
    together(
      worlds[kind].flatMap((world, user) =>
        fatesOf(push, population.courses).map((fate) =>
          simulate(world, make(world, user), { push, seed: seedOf(seed, user) + fate, ...span }),
        ),
      ),
    );
  // What the feeds show by then, each of which knows what they showed before.
  const learn = (kind: SimulatedKind, push: Push | null): PriorAt => {
    const learnt = [usualPrior];
    const priorAt = (at: number) =>
      learnt[Math.min(Math.floor(at / learnsEverySeconds), learnt.length - 1)] ?? usualPrior;
    for (let day = learnsEveryDays; day < days; day += learnsEveryDays) {
      const states = worlds[kind].flatMap((world, user) => {
        const policy = product(world, usualPrice, priorAt);
        simulate(world, policy, { push, seed: seedOf(seed, user), untilDay: day });
        return policy.state?.() ?? [];
      });
      learnt.push(priorOf(kind, states));
    }
    return priorAt;
  };
  // What each feed of a person would have shown by then, looked at by itself at the usual price.
  const keepDiary = (world: World, user: number, push: Push | null, priorAt: PriorAt): Diary => {
    const pages: CadenceState[] = [];
    const policy = product(world, usualPrice, priorAt);
    const next: Policy["next"] = (seen) => {
      const wait = policy.next(seen);
      const state = policy.state?.();
      if (state) pages[Math.ceil(seen.at / pageSeconds)] = state;
      return wait;
    };
    simulate(world, { ...policy, next }, { push, seed: seedOf(seed, user) });
    return (at) => {
      let page = Math.min(Math.floor(at / pageSeconds), pages.length - 1);
      while (page >= 0 && !pages[page]) page -= 1;
      return pages[page];
    };
  };
  const learnAll = (push: Push | null): Knowledge =>
    perKind((kind) => {
      const priorAt = learn(kind, push);
      const diaries = worlds[kind].map((world, user) => keepDiary(world, user, push, priorAt));
      return { priorAt, diaries };
    });
  const knowledge = new Map<string, Knowledge>();
  const daybook: Stage["daybook"] = (kind, price, push) => {
    const known = knowledge.get(JSON.stringify(push)) ?? learnAll(push);
    knowledge.set(JSON.stringify(push), known);
    return (world, user) =>
      product(world, price, (at) => {
        const siblings = kinds.flatMap((one) => {
          const state = one === kind ? undefined : known[one].diaries[user]?.(at);
          return state ? [{ kind: one, state, prior: known[one].priorAt(at) }] : [];
        });
        const time = new Date(epochMs + at * 1000);
        return personalPrior(kind, known[kind].priorAt(at), siblings, time);
      });
  };
  const ours: Stage["ours"] = (kind, price, push, span) =>
    run(kind, daybook(kind, price, push), push, span);
  return { population, seed, users, days, worlds, run, daybook, ours };
}

/** What befalls a user of a stage. */
export function seedOf(seed: number, user: number): number {
  return seed * 1_000_003 + user * 7;
}

/** What the oracle pays a day. */
export function oraclesCost(
  stage: Stage,
  kind: SimulatedKind,
  price: number,
  push: Push | null,
  span: Span,
): number {
  return costOf(
    stage.run(kind, (world) => oracle(world, price, push), push, span),
    price,
  );
}

/** The price at which a rule's mean wait is what is wanted. */
export function priceFor(
  wanted: number,
  outcomeAt: (price: number) => Outcome,
): { price: number; outcome: Outcome } {
  let [low, high] = [10, 3_000];
  for (let step = 0; step < 9; step += 1) {
    const middle = Math.sqrt(low * high);
    if (meanOf(outcomeAt(middle).waits) < wanted) low = middle;
    else high = middle;
  }
  return { price: low, outcome: outcomeAt(low) };
}

/** The old rule for all feeds of each user together; with people at the screen, in one course of things. */
export function oldRules(
  { population, worlds, seed, users, days }: Stage,
  push: Push | null,
  withSessions = false,
): Record<SimulatedKind, Outcome> {
  const all = Array.from({ length: users }, (_, user) => {
    const sessions = withSessions ? makeSessions(seedOf(seed, user), days) : [];
    const ofUser = kinds.flatMap((kind) => worlds[kind][user] ?? []);
    return fatesOf(withSessions ? null : push, population.courses).map((fate) =>
      simulateOldRule(ofUser, {
        push,
        seed: seedOf(seed, user) + fate,
        ...afterWarmUp,
        sessions,
      }),
    );
  }).flat();
  const of = (index: number) => together(all.flatMap((ofUser) => ofUser[index] ?? []));
  return { calendar: of(0), gmail: of(1), drive: of(2) };
}

// Channels die so seldom that one course of things says little.
function fatesOf(push: Push | null, courses: number): number[] {
  return Array.from({ length: push ? courses : 1 }, (_, course) => course * 7_919);
}

function perKind<T>(of: (kind: SimulatedKind) => T): Record<SimulatedKind, T> {
  return { calendar: of("calendar"), gmail: of("gmail"), drive: of("drive") };
}
