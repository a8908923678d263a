import { bestInterval, noticeWait } from "../../src/sync/best-wait.ts";
import {
  afterLook,
  type CadenceState,
  initialCadence,
  isChannelDoubted,
  nextLook,
  noticedAt,
  type Prior,
  usualPrior,
} from "../../src/sync/cadence.ts";
import { type ChannelTrust, looked, noChannel, withChannel } from "../../src/sync/channel-trust.ts";
import { epochMs, excitationOf, openRandom, outlookOf, type World } from "./world.ts";

/** What a look at second `at` found: when the changes came, and how many push had told of, or should have. */
export type Seen = {
  at: number;
  changes: number[];
  hasSpoken: boolean;
  announced: number;
  missed: number;
  channel: { id: string; openedAt: number } | null;
  isActive: boolean;
};

/** Decides when to look next. Everything that it knows comes by its arguments. */
export type Policy = {
  /** Seconds until the next look. */
  next(seen: Seen): number;
  /** Whether the channel should be replaced. */
  doubtsChannel(): boolean;
  /** When to look for what push has told of since the last look, the latest of it now; at once without this. */
  noticed?(toldAt: number[], isActive: boolean): number;
  /** When to look since somebody has come to the screen. */
  greet?(at: number): number;
  /** What is remembered. */
  state?(): CadenceState;
};

/** How push behaves in truth. */
export type Push = { loss: number; deathsPerDay: number; delaySeconds: number };

const no = () => false;

/** A look every so many minutes. */
export function every(minutes: number): Policy {
  return { next: () => minutes * 60, doubtsChannel: no };
}

/** The older product's rule, each feed for itself: five minutes after a change, else every quarter of an hour. */
export function oldRule(): Policy {
  return {
    next: ({ changes }) => (changes.length > 0 ? 300 : 900),
    doubtsChannel: no,
  };
}

/** Twice as long after each look in vain. */
export function backOff(): Policy {
  let wait = 60;
  return {
    next: ({ changes }) => {
      wait = changes.length > 0 ? 60 : Math.min(wait * 2, 3_600);
      return wait;
    },
    doubtsChannel: no,
  };
}

/** The product's own function, and what it has learnt of all feeds by the second of a look. */
export function product(
  { kind, arrivals }: World,
  price: number,
  priorAt: (at: number) => Prior = () => usualPrior,
): Policy {
  const known = { offsetMs: 0, price, isActive: false, isPressing: false };
  const timeOf = (at: number) => new Date(epochMs + at * 1000);
  const secondOf = (at: Date) => (at.getTime() - epochMs) / 1000;
  const { uniform } = openRandom(arrivals.length);
  let state = initialCadence(new Date(epochMs));
  return {
    next: ({ at, changes, hasSpoken, announced, missed, channel, isActive }) => {
      const usual = { ...known, prior: priorAt(at) };
      const changedAt = changes.map(timeOf);
      const watched = channel && { id: channel.id, openedAt: timeOf(channel.openedAt) };
      const look = { at: timeOf(at), changedAt, hasSpoken, announced, missed, channel: watched };
      state = afterLook(kind, state, look, usual);
      return nextLook(kind, state, { ...usual, isActive }, uniform).intervalMs / 1000;
    },
    doubtsChannel: () => isChannelDoubted(state),
    noticed: (toldAt, isActive) => {
      const circumstances = { ...known, prior: priorAt(toldAt.at(-1) ?? 0), isActive };
      return secondOf(noticedAt(kind, state, toldAt.map(timeOf), circumstances));
    },
    state: () => state,
    greet: (at) => {
      const circumstances = { ...known, prior: priorAt(at), isActive: true };
      return secondOf(nextLook(kind, state, circumstances, uniform).dueAt);
    },
  };
}

/**
 * Knows the true intensity, hour by hour, and how push behaves; not the future. The same rules decide.
 */
export function oracle(world: World, price: number, push: Push | null): Policy {
  const bursts = excitationOf(world);
  let last = 0;
  let [trust, untold]: [ChannelTrust, number] = [noChannel, 0];
  const pushPrior = { loss: push?.loss ?? 0.01, deathsPerDay: push?.deathsPerDay ?? 0 };
  return {
    next: ({ at, changes, channel, ...told }) => {
      bursts.take(at, changes);
      const id = channel?.id ?? null;
      const isNew = id !== trust.id;
      const seconds = at - Math.max(last, channel?.openedAt ?? 0);
      last = at;
      trust = looked(withChannel(trust, id), { seconds, ...told }, pushPrior);
      untold = told.missed + (told.hasSpoken || isNew ? 0 : untold);
      // It has nothing to learn.
      trust = { ...noChannel, id: trust.id, alive: trust.alive };
      const limit = trust.id !== null && trust.alive > 0.5 ? 6 * 3_600 : 3_600;
      const ahead = outlookOf(world, at, bursts.after(at, []));
      return Math.max(bestInterval(ahead, trust, { price, pushPrior, limit }), 5);
    },
    doubtsChannel: () => isChannelDoubted({ channel: { ...trust, untold } }),
    noticed: (toldAt) => {
      const now = toldAt.at(-1) ?? last;
      const ahead = outlookOf(world, now, bursts.after(now, toldAt));
      const pending = toldAt.map((at) => at - last);
      return now + noticeWait(ahead, pending, price);
    },
  };
}
