import {
  afterLook,
  bestInterval,
  initialCadence,
  isChannelDead,
  nextLook,
} from "../../src/sync/cadence.ts";
import { type ChannelTrust, looked, noChannel, withChannel } from "../../src/sync/channel-trust.ts";
import { hourly, type Outlook } from "../../src/sync/intensity.ts";
import { epochMs, type World } from "./world.ts";

/** What a look at second `at` found: when the changes came, and what push had told of. */
export type Seen = { at: number; changes: number[]; announced: number; channel: string | null };

/** Decides when to look next. Everything that it knows comes by `seen`. */
export type Policy = {
  name: string;
  /** Seconds until the next look. */
  next(seen: Seen): number;
  /** Whether the channel should be replaced. */
  doubtsChannel(): boolean;
};

/** How push behaves in truth. */
export type Push = { loss: number; deathsPerDay: number; delaySeconds: number };

const no = () => false;

/** A look every so many minutes. */
export function every(minutes: number): Policy {
  return { name: `every ${minutes} min`, next: () => minutes * 60, doubtsChannel: no };
}

/** The older product's rule: soon after a change, else every quarter of an hour. */
export function oldRule(kind: World["kind"]): Policy {
  const soon = kind === "gmail" ? 60 : 300;
  return {
    name: "old 1/5/15 rule",
    next: ({ changes }) => (changes.length > 0 ? soon : 900),
    doubtsChannel: no,
  };
}

/** Twice as long after each look in vain. */
export function backOff(): Policy {
  let wait = 60;
  return {
    name: "exponential back-off",
    next: ({ changes }) => {
      wait = changes.length > 0 ? 60 : Math.min(wait * 2, 3_600);
      return wait;
    },
    doubtsChannel: no,
  };
}

/** The product's own function. */
export function product({ kind }: World, price: number): Policy {
  const usual = { offsetMs: 0, price, isActive: false, isPressing: false };
  let state = initialCadence(new Date(epochMs));
  return {
    name: "Daybook",
    next: ({ at, changes, announced, channel }) => {
      const look = {
        at: new Date(epochMs + at * 1000),
        changedAt: changes.map((change) => new Date(epochMs + change * 1000)),
        announced,
        channelId: channel,
      };
      state = afterLook(kind, state, look, usual);
      return nextLook(kind, state, usual, () => 0.5).intervalMs / 1000;
    },
    doubtsChannel: () => isChannelDead(state),
  };
}

/** Knows the true intensity, hour by hour, and how push behaves; not the future. The same rule decides. */
export function oracle(world: World, price: number, push: Push | null): Policy {
  let excitation = 0;
  let last = 0;
  let trust: ChannelTrust = noChannel;
  const pushPrior = { loss: push?.loss ?? 0.01, deathsPerDay: push?.deathsPerDay ?? 0 };
  const { decay, followUps } = world;
  return {
    name: "oracle",
    next: ({ at, changes, announced, channel }) => {
      const fade = Math.exp(-decay * (at - last));
      excitation = changes.reduce(
        (sum, change) => sum + followUps * decay * Math.exp(-decay * (at - change)),
        excitation * fade,
      );
      const seconds = at - last;
      last = at;
      const missed = changes.length - announced;
      trust = withChannel(looked(trust, { seconds, announced, missed }, pushPrior), channel);
      // It has nothing to learn.
      trust = { ...trust, told: 0, lost: 0, deaths: 0, days: 0 };
      const limit = trust.id !== null && trust.alive > 0.5 ? 6 * 3_600 : 3_600;
      const wish = bestInterval(outlookOf(world, at, excitation), trust, {
        price,
        pushPrior,
        limit,
      });
      return Math.max(wish, 5);
    },
    doubtsChannel: () => trust.id !== null && trust.alive < 0.1,
  };
}

function outlookOf({ followUps, decay, rateAt }: World, from: number, excitation: number): Outlook {
  return hourly({
    followUps,
    decay,
    excitation,
    firstHour: (Math.floor(from / 3600) + 1) * 3600 - from,
    rateAfter: (seconds) => rateAt(from + seconds + 1e-3),
  });
}
