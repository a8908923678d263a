import type { Outlook } from "../../src/sync/intensity.ts";
import type { Policy, Push } from "./policies.ts";
import { excitationOf, openRandom, outlookOf, type Session, type World } from "./world.ts";

/** What a policy did in a world, from a day on: its calls of the provider, and how long each change waited for one. */
export type Outcome = {
  calls: number;
  waits: number[];
  /** The seconds that all changes waited; without push, those that were to be expected by the true rate: less is chance then. */
  waiting: number;
  days: number;
  /** How many looks fell into each minute. */
  minutes: Map<number, number>;
  /** How often somebody looked at the screen, and how often something there was no longer true. */
  views: number;
  staleViews: number;
};

const daySeconds = 86_400;
const lateSeconds = 60;
const renewSeconds = 3.5 * daySeconds;
const patienceSeconds = 15 * 60;
// To open a channel, to look for what came before it listened, and to stop the one before it.
const callsToReplace = 3;
// Somebody who was here is taken to be here for so long.
const activeSeconds = 10 * 60;

type Span = { fromDay?: number; untilDay?: number };

/**
 * Runs a policy through a world. With push, each change is told of after a moment, unless the message is lost or the
 * channel has died unnoticed. Channels are replaced at half their week, or when the policy doubts them, not sooner than
 * after a quarter of an hour. What befalls messages and channels is the same for every policy.
 */
export function simulate(
  world: World,
  policy: Policy,
  {
    push,
    seed,
    sessions = [],
    ...span
  }: Span & { push: Push | null; seed: number; sessions?: Session[] },
): Outcome {
  const { fromDay = 0, untilDay = world.days } = span;
  const [from, end] = [fromDay * daySeconds, Math.min(untilDay, world.days) * daySeconds];
  const outcome = emptyOutcome(untilDay - fromDay);
  const { arrivals } = world;
  const fate = push && fateOf(world, push, seed);
  const open = (at: number) => fate && { id: String(at), openedAt: at, diesAt: fate.diesAfter(at) };
  const visits = visitsOf(sessions);
  let channel = open(0);
  // Messages on their way, the next first; changes come in order, and so nearly do their messages.
  const messages: number[] = [];
  let pending: number[] = [];
  let [lastTold, lookedAt] = [-1, 0];
  let [seen, told, visit] = [0, 0, 0];
  let [due, noticedDue] = [0, Infinity];
  const bursts = excitationOf(world);
  let ahead = outlookOf(world, 0, 0);
  for (;;) {
    const planned = Math.min(due, noticedDue);
    const isHorizon = () =>
      (arrivals[told] ?? Infinity) > Math.min(planned, messages[0] ?? Infinity);
    for (; !isHorizon(); told += 1) {
      const at = arrivals[told] ?? 0;
      const message = fate && channel && at <= channel.diesAt ? fate.messages[told] : undefined;
      if (message !== undefined) {
        messages.push(message);
        messages.sort((one, other) => one - other);
      }
    }
    const [message = Infinity, { at: visitAt = Infinity, isFirst = false } = {}] = [
      messages[0],
      visits[visit],
    ];
    const at = Math.min(planned, message, visitAt);
    if (at >= end) return outcome;
    if (visitAt === at) {
      visit += 1;
      if (at >= from) {
        outcome.views += 1;
        outcome.staleViews += (arrivals[seen] ?? Infinity) <= at ? 1 : 0;
      }
      if (isFirst) due = Math.max(at, Math.min(due, policy.greet?.(at) ?? due));
      continue;
    }
    const isActive = at - (visits[visit - 1]?.at ?? -Infinity) < activeSeconds;
    if (message === at) {
      messages.shift();
      lastTold = at;
      pending.push(at);
      noticedDue = Math.max(at, Math.min(noticedDue, policy.noticed?.(pending, isActive) ?? at));
      continue;
    }
    const isPushed = noticedDue === at;
    const first = seen;
    while ((arrivals[seen] ?? Infinity) <= at) seen += 1;
    const changes = arrivals.slice(first, seen);
    if (at >= from) {
      outcome.calls += 1;
      const minute = Math.floor(at / 60);
      outcome.minutes.set(minute, (outcome.minutes.get(minute) ?? 0) + 1);
      const waits = changes.map((change) => at - change);
      outcome.waits.push(...waits);
      outcome.waiting += push ? sumOf(waits) : waitingIn(ahead, at - lookedAt);
    }
    bursts.take(at, changes);
    ahead = outlookOf(world, at, bursts.after(at, []));
    const opened = channel?.openedAt ?? at;
    const since = channel ? changes.filter((change) => change > opened) : [];
    const isTold = (change: number) => isPushed || change <= lastTold;
    const announced = since.filter(isTold).length;
    const missed = since.filter((change) => !isTold(change) && change < at - lateSeconds).length;
    const hasSpoken = channel !== null && lastTold > Math.max(opened, lookedAt);
    lookedAt = at;
    const interval = policy.next({
      at,
      changes,
      hasSpoken,
      announced,
      missed,
      channel,
      isActive,
    });
    due = at + Math.max(interval, 1);
    [pending, noticedDue] = [[], Infinity];
    const isOld = channel !== null && at - channel.openedAt > renewSeconds;
    const isPatient = channel !== null && at - channel.openedAt < patienceSeconds;
    if (isOld || (policy.doubtsChannel() && !isPatient)) {
      channel = open(at);
      if (at >= from) outcome.calls += callsToReplace;
    }
  }
}

// How long changes that are to come are expected to wait in all, to so many seconds from now.
function waitingIn(ahead: Outlook, seconds: number): number {
  let waiting = 0;
  for (let at = 0; at < seconds; ) {
    const step = Math.min(4 + at / 16, 300, seconds - at);
    waiting += ((ahead.until(at) + ahead.until(at + step)) / 2) * step;
    at += step;
  }
  return waiting;
}

function emptyOutcome(days: number): Outcome {
  return { calls: 0, waits: [], waiting: 0, days, minutes: new Map(), views: 0, staleViews: 0 };
}

// Which changes are told of and when, should their channel live; and when channels die that are open then.
function fateOf({ arrivals, days }: World, push: Push, seed: number) {
  const random = openRandom(seed ^ 0x9e3779b9);
  const messages = arrivals.map((at) => {
    const delay = random.exponential(1 / push.delaySeconds);
    return random.uniform() < push.loss ? undefined : at + delay;
  });
  const deaths: number[] = [];
  const rate = push.deathsPerDay / daySeconds;
  for (let at = random.exponential(rate); at < days * daySeconds; at += random.exponential(rate))
    deaths.push(at);
  const diesAfter = (opened: number) => deaths.find((at) => at > opened) ?? Infinity;
  return { messages, diesAfter };
}

function visitsOf(sessions: Session[]): { at: number; isFirst: boolean }[] {
  return sessions.flatMap(({ views }) => views.map((at, index) => ({ at, isFirst: index === 0 })));
}

// Of the mails, those to the assistant. The old rule counted those of the last hour, and came back in a minute for so long.
const virtualShare = 0.02;
const virtualSeconds = 3_600;

/**
 * The older product's rule: all of a user's feeds together, every minute for an hour after a mail to the assistant, five
 * minutes after any change, else every quarter of an hour. With push, each message brings a look at its own feed besides.
 */
export function simulateOldRule(
  worlds: World[],
  {
    push,
    seed,
    fromDay,
    sessions = [],
  }: { push: Push | null; seed: number; fromDay: number; sessions?: Session[] },
): Outcome[] {
  const random = openRandom(seed ^ 0x51ed270b);
  const days = worlds[0]?.days ?? 0;
  const ticks: number[] = [];
  const next = worlds.map(() => 0);
  let virtualAt = -Infinity;
  for (let at = 0; at < days * daySeconds; ) {
    ticks.push(at);
    let wait = 900;
    for (const [index, world] of worlds.entries()) {
      for (
        ;
        (world.arrivals[next[index] ?? 0] ?? Infinity) <= at;
        next[index] = (next[index] ?? 0) + 1
      ) {
        wait = 300;
        if (world.kind === "gmail" && random.uniform() < virtualShare) virtualAt = at;
      }
    }
    at += at - virtualAt < virtualSeconds ? 60 : wait;
  }
  const from = fromDay * daySeconds;
  return worlds.map((world) => {
    const fate = push && fateOf(world, push, seed);
    const told = world.arrivals.flatMap((at, index) => {
      const renewedAt = Math.floor(at / renewSeconds) * renewSeconds;
      return (fate && at <= fate.diesAfter(renewedAt) && fate.messages[index]) || [];
    });
    const looks = [...ticks, ...told].sort((one, other) => one - other);
    const outcome = outcomeOf(world, looks, from, sessions);
    const renewals = push ? Math.floor((days * daySeconds - from) / renewSeconds) : 0;
    return { ...outcome, calls: outcome.calls + renewals * callsToReplace };
  });
}

// What looks at these times find.
function outcomeOf(
  { arrivals, days }: World,
  looks: number[],
  from: number,
  sessions: Session[],
): Outcome {
  const outcome = emptyOutcome(days - from / daySeconds);
  let next = 0;
  const foundAt = arrivals.map((at) => {
    while ((looks[next] ?? Infinity) < at) next += 1;
    return looks[next] ?? days * daySeconds;
  });
  const counted = looks.filter((at) => at >= from);
  outcome.calls = counted.length;
  for (const at of counted) {
    const minute = Math.floor(at / 60);
    outcome.minutes.set(minute, (outcome.minutes.get(minute) ?? 0) + 1);
  }
  outcome.waits = arrivals.flatMap((at, index) => (at < from ? [] : [(foundAt[index] ?? at) - at]));
  outcome.waiting = sumOf(outcome.waits);
  for (const { at } of visitsOf(sessions).filter((visit) => visit.at >= from)) {
    outcome.views += 1;
    const latest = lastAtOrBefore(arrivals, at);
    if (latest >= 0 && (foundAt[latest] ?? 0) > at) outcome.staleViews += 1;
  }
  return outcome;
}

function lastAtOrBefore(sorted: number[], at: number): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] ?? Infinity) <= at) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** All of them together. */
export function together(outcomes: Outcome[]): Outcome {
  const sum = (of: (outcome: Outcome) => number) =>
    outcomes.reduce((total, outcome) => total + of(outcome), 0);
  const minutes = new Map<number, number>();
  for (const outcome of outcomes)
    for (const [minute, looks] of outcome.minutes)
      minutes.set(minute, (minutes.get(minute) ?? 0) + looks);
  return {
    calls: sum(({ calls }) => calls),
    waits: outcomes.flatMap(({ waits }) => waits),
    waiting: sum(({ waiting }) => waiting),
    days: sum(({ days }) => days),
    minutes,
    views: sum(({ views }) => views),
    staleViews: sum(({ staleViews }) => staleViews),
  };
}

/** What the calls and the waiting cost, a day. */
export function costOf({ calls, waiting, days }: Outcome, price: number): number {
  return (price * calls + waiting) / days;
}

/** The most looks within one minute. */
export function peakOf({ minutes }: Outcome): number {
  return minutes.values().reduce((most, looks) => Math.max(most, looks), 0);
}

export function shareOf(waits: number[], share: number): number {
  const sorted = waits.toSorted((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

export function meanOf(values: number[]): number {
  return values.length === 0 ? 0 : sumOf(values) / values.length;
}

function sumOf(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
