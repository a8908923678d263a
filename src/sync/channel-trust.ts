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

/** What channels of one kind show together: half of what is usual, or more. None of them counts for much more than others. */
export function pushPriorOf(channels: readonly ChannelTrust[]): PushPrior {
  const shown = channels.map(settled).map(bounded);
  const sum = (of: (channel: Shown) => number) =>
    shown.reduce((total, channel) => total + of(channel), 0);
  const [messages, listenedDays] = [100, 3];
  const lost = sum((channel) => channel.lost);
  const told = sum((channel) => channel.told);
  const life = {
    deaths: sum(({ deaths }) => deaths),
    days: sum(({ days }) => days),
    fatalSilence: sum(({ fatalSilence }) => fatalSilence),
  };
  const loss = (usualPushPrior.loss * messages + lost) / (messages + told + lost);
  const deathsPerDay = deathsPerDayOf(life, usualPushPrior.deathsPerDay, listenedDays);
  return {
    loss: Math.max(loss, leastPushPrior.loss),
    deathsPerDay: Math.max(deathsPerDay, leastPushPrior.deathsPerDay),
  };
}

// What one feed's channels are heard for, of what they have shown.
const most = { messages: 100, days: 30, deaths: 10 };

function bounded({ told, lost, deaths, days, fatalSilence }: Shown): Shown {
  const ofMessages = Math.min(1, most.messages / (told + lost));
  const ofLife = Math.min(1, most.days / (days + fatalSilence), most.deaths / deaths);
  return {
    told: told * ofMessages,
    lost: lost * ofMessages,
    deaths: deaths * ofLife,
    days: days * ofLife,
    fatalSilence: fatalSilence * ofLife,
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

/** What was remembered, by whichever version: one counted deaths as far as they were believed, while nobody knew yet. */
export function rememberedChannel(row: Omit<ChannelTrust, "untold"> | ChannelTrust): ChannelTrust {
  const isSettled = "untold" in row || row.id === null;
  const deaths = isSettled ? row.deaths : Math.max(0, row.deaths - (1 - row.alive));
  return { ...noChannel, ...row, deaths };
}

type Life = Pick<ChannelTrust, "deaths" | "days" | "fatalSilence">;
type Shown = Life & Pick<ChannelTrust, "told" | "lost">;

// A silence shows nothing until there was something to tell of. Then it counts by how likely it is that the channel lives, and
// lost what it did not tell of, or has died.
function settled(trust: ChannelTrust): Shown {
  const { told, lost, deaths, days, fatalSilence, silent, untold, alive } = trust;
  if (untold === 0) return { told, lost, deaths, days, fatalSilence };
  return {
    told,
    lost: lost + untold * alive,
    deaths: deaths + 1 - alive,
    days: days + silent * alive,
    fatalSilence: fatalSilence + silent * (1 - alive),
  };
}

// The likeliest rate, and what was assumed beforehand, as if it had been seen in so many days. How much of a silence a channel
// lived in which it died follows from the rate itself (Dempster, Laird and Rubin 1977), silences being taken to vary as those
// between events at a steady rate.
function deathsPerDayOf(
  { deaths, days, fatalSilence }: Life,
  assumed: number,
  inDays: number,
): number {
  const silence = fatalSilence / Math.max(deaths, 1e-9);
  let perDay = assumed;
  for (let step = 0; step < 8; step += 1) {
    const ratio = perDay * silence;
    const lived = (2 * silence) / (ratio + 2 + Math.sqrt(ratio ** 2 + 4));
    perDay = (assumed * inDays + deaths) / (inDays + days + deaths * lived);
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
    ...settled(trust),
    silent: 0,
    untold: 0,
  };
}

/** The probability that one message is lost, and that a channel dies within a second. */
export function frailty(
  trust: ChannelTrust,
  prior: PushPrior = usualPushPrior,
): { loss: number; deathRate: number } {
  const { told, lost, ...life } = settled(trust);
  const loss = (prior.loss * priorMessages + lost) / (priorMessages + told + lost);
  const perDay = deathsPerDayOf(life, prior.deathsPerDay, priorDays);
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
    // Who speaks again was alive all along, and only lost what it did not tell of.
    ...(hasSpoken
      ? { lost: trust.lost + trust.untold, days: trust.days + silent, silent: 0, untold: missed }
      : { silent, untold: trust.untold + missed }),
  };
}

// Neither certainty can ever be unlearnt.
function clamp(probability: number): number {
  return Math.min(Math.max(probability, 1e-6), 1 - 1e-6);
}
