import type { Policy, Push } from "./policies.ts";
import { openRandom, type World } from "./world.ts";

/** What a policy did in a world, from a day on: how many looks, and how long each change waited for one. */
export type Outcome = { looks: number; waits: number[]; days: number };

const daySeconds = 86_400;
const lateSeconds = 60;
const renewSeconds = 3.5 * daySeconds;
const reopenSeconds = 15 * 60;

type Channel = { id: string; openedAt: number; diesAt: number };

/**
 * Runs a policy through a world. With push, each change is told of after a moment, unless the message is lost or the
 * channel has died unnoticed; a message is followed by a look at once. Channels are replaced at half their week, or
 * when the policy doubts them.
 */
export function simulate(
  world: World,
  policy: Policy,
  {
    push,
    seed,
    fromDay = 0,
    untilDay = world.days,
  }: {
    push: Push | null;
    seed: number;
    fromDay?: number;
    untilDay?: number;
  },
): Outcome {
  const random = openRandom(seed ^ 0x9e3779b9);
  const end = Math.min(untilDay, world.days) * daySeconds;
  const outcome: Outcome = { looks: 0, waits: [], days: untilDay - fromDay };
  const open = (at: number): Channel | null =>
    push && {
      id: String(at),
      openedAt: at,
      diesAt: at + random.exponential(push.deathsPerDay / daySeconds),
    };
  let channel = open(0);
  let doubtedAt: number | null = null;
  // Messages on their way, the next first; changes come in order, and so nearly do their messages.
  const messages: number[] = [];
  let lastTold = -1;
  let seen = 0;
  let told = 0;
  let due = 0;
  for (;;) {
    // What comes before the next look may be told of.
    while (told < world.arrivals.length && (world.arrivals[told] ?? 0) <= due) {
      const at = world.arrivals[told] ?? 0;
      told += 1;
      if (!push || !channel || at > channel.diesAt || random.uniform() < push.loss) continue;
      messages.push(at + random.exponential(1 / push.delaySeconds));
      messages.sort((one, other) => one - other);
      due = Math.min(due, messages[0] ?? due);
    }
    const at = Math.min(due, messages[0] ?? due);
    if (at >= end) return outcome;
    const isPushed = messages.length > 0 && (messages[0] ?? 0) <= at;
    while ((messages[0] ?? at + 1) <= at) lastTold = messages.shift() ?? lastTold;
    const first = seen;
    while (seen < world.arrivals.length && (world.arrivals[seen] ?? 0) <= at) seen += 1;
    const changes = world.arrivals.slice(first, seen);
    if (at >= fromDay * daySeconds) {
      outcome.looks += 1;
      outcome.waits.push(...changes.map((change) => at - change));
    }
    const opened = channel?.openedAt ?? at;
    const missed =
      isPushed || !channel
        ? 0
        : changes.filter(
            (change) => change > opened && change < at - lateSeconds && change > lastTold,
          ).length;
    const announced = channel ? changes.length - missed : 0;
    const interval = policy.next({ at, changes, announced, channel: channel?.id ?? null });
    due = at + Math.max(interval, 1);
    if (channel && policy.doubtsChannel()) doubtedAt ??= at;
    else doubtedAt = null;
    const isOld = channel !== null && at - channel.openedAt > renewSeconds;
    const isGivenUp = doubtedAt !== null && at - doubtedAt >= reopenSeconds;
    if (push && (isOld || isGivenUp || doubtedAt === at)) channel = open(at);
  }
}

// Of the mails, those to the assistant, after which the old rule came back in a minute.
const virtualShare = 0.02;

/**
 * The older product's rule: all of a user's feeds together, a minute after a mail to the assistant, five after any
 * change, else every quarter of an hour. With push, each message brings a look at its own feed besides.
 */
export function simulateOldRule(
  worlds: World[],
  { push, seed, fromDay }: { push: Push | null; seed: number; fromDay: number },
): Outcome[] {
  const random = openRandom(seed ^ 0x51ed270b);
  const days = worlds[0]?.days ?? 0;
  const ticks: number[] = [];
  const next = worlds.map(() => 0);
  for (let at = 0; at < days * daySeconds; ) {
    ticks.push(at);
    let wait = 900;
    for (const [index, world] of worlds.entries()) {
      for (
        ;
        (world.arrivals[next[index] ?? 0] ?? Infinity) <= at;
        next[index] = (next[index] ?? 0) + 1
      ) {
        const isVirtual = world.kind === "gmail" && random.uniform() < virtualShare;
        wait = Math.min(wait, isVirtual ? 60 : 300);
      }
    }
    at += wait;
  }
  const from = fromDay * daySeconds;
  return worlds.map((world) => {
    let tick = 0;
    let looks = ticks.filter((at) => at >= from).length;
    let diesAt = push ? random.exponential(push.deathsPerDay / daySeconds) : 0;
    let renewAt = renewSeconds;
    const waits = world.arrivals.flatMap((at) => {
      while ((ticks[tick] ?? Infinity) < at) tick += 1;
      for (; push && renewAt <= at; renewAt += renewSeconds)
        diesAt = renewAt + random.exponential(push.deathsPerDay / daySeconds);
      const polled = (ticks[tick] ?? days * daySeconds) - at;
      const isTold = push !== null && at < diesAt && random.uniform() >= push.loss;
      if (at < from) return [];
      if (!isTold) return [polled];
      looks += 1;
      return [Math.min(polled, random.exponential(1 / push.delaySeconds))];
    });
    return { looks, waits, days: days - fromDay };
  });
}

/** Both together. */
export function together(outcomes: Outcome[]): Outcome {
  return {
    looks: outcomes.reduce((sum, { looks }) => sum + looks, 0),
    waits: outcomes.flatMap(({ waits }) => waits),
    days: outcomes.reduce((sum, { days }) => sum + days, 0),
  };
}

/** What the looks and the waiting cost, a day. */
export function costOf({ looks, waits, days }: Outcome, price: number): number {
  return (price * looks + waits.reduce((sum, wait) => sum + wait, 0)) / days;
}

export function shareOf(waits: number[], share: number): number {
  const sorted = waits.toSorted((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

export function meanOf(values: number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}
