/** What is believed of a feed's push channel. Plain JSON. */
export type ChannelTrust = {
  /** Which channel; null while there is none. */
  id: string | null;
  /** The probability that it lived at the last look. */
  alive: number;
  /** Notifications that came, and that did not come while it lived. */
  told: number;
  lost: number;
  /** How often a channel of this feed died, how many days they surely lived, and how long the silences were in which they died. */
  deaths: number;
  days: number;
  fatalSilence: number;
  /** The days since it last spoke, and the changes that it did not tell of since. */
  silent: number;
  untold: number;
};

/** What is assumed of a channel: the share of its messages that is lost, and how often such channels die a day. */
export type PushPrior = { loss: number; deathsPerDay: number };

export const usualPushPrior: PushPrior = { loss: 0.02, deathsPerDay: 1 / 30 };

// However little is noticed: a lost message that another one follows, and a death just before a renewal, are not.
const leastPushPrior: PushPrior = { loss: 0.01, deathsPerDay: 1 / 60 };

/** What channels of one kind show together: half of what is usual, or more. */
export function pushPriorOf(channels: readonly ChannelTrust[]): PushPrior {
  const sum = (of: (channel: Life & ChannelTrust) => number) =>
    channels.reduce((total, channel) => total + of({ ...channel, ...lifeOf(channel) }), 0);
  const messages = 100;
  const lost = sum((channel) => channel.lost);
  const told = sum((channel) => channel.told);
  const shown = {
    deaths: sum(({ deaths }) => deaths),
    days: sum(({ days }) => days),
    fatalSilence: sum(({ fatalSilence }) => fatalSilence),
  };
  const loss = (usualPushPrior.loss * messages + lost) / (messages + told + lost);
  return {
    loss: Math.max(loss, leastPushPrior.loss),
    deathsPerDay: Math.max(
      deathsPerDayOf(shown, usualPushPrior.deathsPerDay),
      leastPushPrior.deathsPerDay,
    ),
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
  fatalSilence: 0,
  silent: 0,
  untold: 0,
};

type Life = Pick<ChannelTrust, "deaths" | "days" | "fatalSilence">;

// A silence shows nothing until there was something to tell of; then it counts by how likely it is that the channel lives.
function lifeOf({ deaths, days, fatalSilence, silent, untold, alive }: ChannelTrust): Life {
  if (untold === 0) return { deaths, days, fatalSilence };
  return {
    deaths: deaths + 1 - alive,
    days: days + silent * alive,
    fatalSilence: fatalSilence + silent * (1 - alive),
  };
}

// The likeliest rate, and what was assumed beforehand. How much of a silence a channel lived in which it died follows from
// the rate itself (Dempster, Laird and Rubin 1977), silences being taken to vary as those between events at a steady rate.
function deathsPerDayOf({ deaths, days, fatalSilence }: Life, assumed: number): number {
  const silence = fatalSilence / Math.max(deaths, 1e-9);
  let perDay = assumed;
  for (let step = 0; step < 8; step += 1) {
    const ratio = perDay * silence;
    const lived = (2 * silence) / (ratio + 2 + Math.sqrt(ratio ** 2 + 4));
    perDay = (assumed * priorDays + deaths) / (priorDays + days + deaths * lived);
  }
  return perDay;
}

/** A channel is opened, or another one in its place, or it is no longer there. What was learnt of its like stays. */
export function withChannel(trust: ChannelTrust, id: string | null): ChannelTrust {
  if (id === trust.id) return trust;
  return {
    ...trust,
    id,
    alive: id === null ? 0 : livesForSure,
    ...lifeOf(trust),
    silent: 0,
    untold: 0,
  };
}

/** The probability that one message is lost, and that a channel dies within a second. */
export function frailty(
  trust: ChannelTrust,
  prior: PushPrior = usualPushPrior,
): { loss: number; deathRate: number } {
  const loss =
    (prior.loss * priorMessages + trust.lost) / (priorMessages + trust.told + trust.lost);
  const perDay = deathsPerDayOf(lifeOf(trust), prior.deathsPerDay);
  return { loss: Math.min(Math.max(loss, leastPushPrior.loss), 0.9), deathRate: perDay / 86_400 };
}

/**
 * What a look teaches: changes that were announced, and changes that were not. A channel that spoke lived until then,
 * whatever it spoke of; each change that it did not tell of makes its death likelier (Bayes).
 */
export function looked(
  trust: ChannelTrust,
  seen: { seconds: number; hasSpoken: boolean; announced: number; missed: number },
  prior: PushPrior = usualPushPrior,
): ChannelTrust {
  if (trust.id === null) return trust;
  const { loss, deathRate } = frailty(trust, prior);
  const { seconds, hasSpoken, announced, missed } = seen;
  const survival = Math.exp(-deathRate * seconds);
  const before = hasSpoken ? Math.max(trust.alive, livesForSure) : trust.alive * survival;
  const likelihood = loss ** missed;
  const alive = (before * likelihood) / (before * likelihood + (1 - before));
  const silent = trust.silent + seconds / 86_400;
  return {
    ...trust,
    alive: clamp(alive),
    told: trust.told + announced,
    lost: trust.lost + missed * alive,
    ...(hasSpoken
      ? { days: trust.days + silent, silent: 0, untold: missed }
      : { silent, untold: trust.untold + missed }),
  };
}

// Neither certainty can ever be unlearnt.
function clamp(probability: number): number {
  return Math.min(Math.max(probability, 1e-6), 1 - 1e-6);
}
