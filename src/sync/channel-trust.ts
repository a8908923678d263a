/** What is believed of a feed's push channel. Plain JSON. */
export type ChannelTrust = {
  /** Which channel; null while there is none. */
  id: string | null;
  /** The probability that it lived at the last look. */
  alive: number;
  /** Notifications that came, and that did not come while it lived. */
  told: number;
  lost: number;
  /** How often a channel of this feed died, in how many days that they lived. */
  deaths: number;
  days: number;
  /** The days since it last spoke: nobody knows yet whether it lived through them. */
  silent: number;
};

/** What is assumed of a channel: the share of its messages that is lost, and how often such channels die a day. */
export type PushPrior = { loss: number; deathsPerDay: number };

export const usualPushPrior: PushPrior = { loss: 0.02, deathsPerDay: 1 / 30 };

// However little is noticed: a lost message that another one follows, and a death just before a renewal, are not.
const leastPushPrior: PushPrior = { loss: 0.01, deathsPerDay: 1 / 60 };

/** What channels of one kind show together: half of what is usual, or more. */
export function pushPriorOf(channels: readonly ChannelTrust[]): PushPrior {
  const sum = (of: (channel: ChannelTrust) => number) =>
    channels.reduce((total, channel) => total + of(channel), 0);
  const [messages, listened] = [100, 10];
  const lost = sum((channel) => channel.lost);
  const told = sum((channel) => channel.told);
  const deaths = sum((channel) => channel.deaths);
  const loss = (usualPushPrior.loss * messages + lost) / (messages + told + lost);
  const deathsPerDay =
    (usualPushPrior.deathsPerDay * listened + deaths) / (listened + sum(daysLived));
  return {
    loss: Math.max(loss, leastPushPrior.loss),
    deathsPerDay: Math.max(deathsPerDay, leastPushPrior.deathsPerDay),
  };
}

const priorMessages = 30;
const priorDays = 10;
// Of a channel that has just been opened, or has just spoken.
const livesForSure = 0.9999;

export const noChannel: ChannelTrust = {
  id: null,
  alive: 0,
  told: 0,
  lost: 0,
  deaths: 0,
  days: 0,
  silent: 0,
};

/** How many days its channels have lived: through all of a silence as far as it still lives, and through half if it died. */
export function daysLived({ days, silent, alive }: ChannelTrust): number {
  return days + (silent * (1 + alive)) / 2;
}

/** A channel is opened, or another one in its place, or it is no longer there. What was learnt of its like stays. */
export function withChannel(trust: ChannelTrust, id: string | null): ChannelTrust {
  if (id === trust.id) return trust;
  return {
    ...trust,
    id,
    alive: id === null ? 0 : livesForSure,
    days: daysLived(trust),
    silent: 0,
  };
}

/** The probability that one message is lost, and that a channel dies within a second. */
export function frailty(
  trust: ChannelTrust,
  prior: PushPrior = usualPushPrior,
): { loss: number; deathRate: number } {
  const loss =
    (prior.loss * priorMessages + trust.lost) / (priorMessages + trust.told + trust.lost);
  const perDay = (prior.deathsPerDay * priorDays + trust.deaths) / (priorDays + daysLived(trust));
  return { loss: Math.min(Math.max(loss, leastPushPrior.loss), 0.9), deathRate: perDay / 86_400 };
}

/**
 * What a look teaches: changes that were announced, and changes that were not. A channel that spoke lived until then;
 * each change that it did not tell of makes its death likelier (Bayes).
 */
export function looked(
  trust: ChannelTrust,
  seen: { seconds: number; announced: number; missed: number },
  prior: PushPrior = usualPushPrior,
): ChannelTrust {
  if (trust.id === null) return trust;
  const { loss, deathRate } = frailty(trust, prior);
  const { seconds, announced, missed } = seen;
  const survival = Math.exp(-deathRate * seconds);
  const before = announced > 0 ? Math.max(trust.alive, livesForSure) : trust.alive * survival;
  const likelihood = loss ** missed;
  const alive = (before * likelihood) / (before * likelihood + (1 - before));
  const silent = trust.silent + seconds / 86_400;
  return {
    ...trust,
    alive: clamp(alive),
    told: trust.told + announced,
    lost: trust.lost + missed * alive,
    // A death counts as far as it is believed: what a later message disproves is taken back.
    deaths: Math.max(0, trust.deaths + trust.alive - alive),
    ...(announced > 0 ? { days: trust.days + silent, silent: 0 } : { silent }),
  };
}

// Neither certainty can ever be unlearnt.
function clamp(probability: number): number {
  return Math.min(Math.max(probability, 1e-6), 1 - 1e-6);
}
