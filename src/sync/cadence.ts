import { bestInterval, noticeWait, usualPrice } from "./best-wait.ts";
import {
  type ChannelTrust,
  looked,
  noChannel,
  type PushPrior,
  pushPriorOf,
  rememberedChannel,
  usualPushPrior,
  withChannel,
} from "./channel-trust.ts";
import {
  beginIntensity,
  type Common,
  commonOf,
  type Intensity,
  type LearntKind,
  levelPerDay,
  ofPerson,
  outlook,
  rememberedIntensity,
  usualCommon,
  watched,
} from "./intensity.ts";

/** What is remembered of a feed: plain JSON, under 2 kB. */
export type CadenceState = { intensity: Intensity; channel: ChannelTrust };

/**
 * What one look showed. `announced` of its changes were told of by push, `missed` were not and should have been; of others,
 * older than the channel or just made, nobody can say. Push may also have spoken of what was found before.
 */
export type Look = {
  at: Date;
  changedAt: Date[];
  hasSpoken: boolean;
  announced: number;
  missed: number;
  channel: { id: string; openedAt: Date } | null;
};

/** What is assumed of a feed as far as it has not shown it: what its push is worth, and what others show of it. */
export type Prior = Common & { push: PushPrior };

/** What weighs besides what the feed does. */
export type Circumstances = {
  /** How far the user's clocks are ahead of UTC. */
  offsetMs: number;
  /** What one look may cost, in change-seconds of waiting. */
  price: number;
  /** The user is here, a meeting is about to start, a virtual mail has come: waiting weighs more. */
  isActive: boolean;
  isPressing: boolean;
  prior?: Prior;
};

/** When to look next, and why, in words and numbers. */
export type NextLook = { dueAt: Date; intervalMs: number; reason: Reason };

export type Reason = {
  rule:
    | "rate"
    | "push_trusted"
    | "push_doubted"
    | "user_active"
    | "pressing"
    | "upper_bound"
    | "lower_bound";
  text: string;
  changesPerDay: number;
  /** The probability that push is alive; null without a channel. */
  pushAlive: number | null;
  price: number;
  upperBoundMs: number;
};

/** What is assumed before any feed has shown anything. */
export const usualPrior: Prior = { push: usualPushPrior, ...usualCommon };

const [secondMs, hourMs] = [1_000, 3_600_000];
// How soon a feed of a kind may be looked at again, and how late at the latest: while its user is active, without push that is
// trusted, and with it. What is promised whatever the estimates say. Source: the maths of the cadence, alike for all kinds so far.
const boundsMs: Record<
  LearntKind,
  { lower: number; active: number; polling: number; trusted: number }
> = {
  calendar: { lower: 5 * secondMs, active: 60 * secondMs, polling: hourMs, trusted: 6 * hourMs },
  gmail: { lower: 5 * secondMs, active: 60 * secondMs, polling: hourMs, trusted: 6 * hourMs },
  drive: { lower: 5 * secondMs, active: 60 * secondMs, polling: hourMs, trusted: 6 * hourMs },
};
// How much more waiting weighs while somebody would notice.
const activeWeight = 10;
const trusted = 0.5;
// How likely a channel that is kept lives at least: after what it missed, and after silence alone.
const keptWhile = { missed: 0.1, silent: 0.7 };

/** What is assumed of a feed that was never looked at. */
export function initialCadence(at: Date): CadenceState {
  return { intensity: beginIntensity(at.getTime()), channel: noChannel };
}

/** What a row remembers of its feed, also one that an earlier version wrote, which did not know all of it. */
export function rememberedCadence(row: unknown): CadenceState {
  const { intensity, channel } = row as CadenceState;
  return { intensity: rememberedIntensity(intensity), channel: rememberedChannel(channel) };
}

/** What feeds of one kind have shown together, for those that have shown little. */
export function priorOf(kind: LearntKind, feeds: readonly CadenceState[]): Prior {
  return {
    push: pushPriorOf(feeds.map(({ channel }) => channel)),
    ...commonOf(
      kind,
      feeds.map(({ intensity }) => intensity),
    ),
  };
}

/**
 * What is assumed of one person's feed at `at`, by what their other feeds, each of another kind, have shown; as without them
 * of a mailbox, which shows more in a day than they do in a week.
 */
export function personalPrior(
  kind: LearntKind,
  prior: Prior,
  siblings: readonly { kind: LearntKind; state: CadenceState; prior: Prior }[],
  at: Date,
): Prior {
  if (kind === "gmail" || siblings.length === 0) return prior;
  const shown = siblings.map(({ kind, state: { intensity }, prior: { week } }) => ({
    kind,
    intensity,
    week,
  }));
  return { push: prior.push, ...ofPerson(kind, prior, shown, at.getTime()) };
}

/** What is known after a look. */
export function afterLook(
  kind: LearntKind,
  state: CadenceState,
  look: Look,
  { offsetMs, prior = usualPrior }: Pick<Circumstances, "offsetMs" | "prior">,
): CadenceState {
  const now = Math.max(look.at.getTime(), state.intensity.at);
  const changedAt = look.changedAt.map((at) => at.getTime()).sort((one, other) => one - other);
  const { hasSpoken, announced, missed } = look;
  // What was told of, the channel told that is there now, since it was opened.
  const channel = withChannel(state.channel, look.channel?.id ?? null);
  const since = Math.max(state.intensity.at, look.channel?.openedAt.getTime() ?? 0);
  const seconds = Math.max(0, now - since) / 1000;
  return {
    intensity: watched(kind, state.intensity, { now, changedAt }, { offsetMs, ...prior }),
    channel: looked(channel, { seconds, hasSpoken, announced, missed }, prior.push),
  };
}

/**
 * When to look next: where one more moment of waiting would cost as much as a look does on average. The rule is the
 * square-root law for a steady feed without push, and follows habits, bursts and the silence of a channel without
 * special cases. Always between the bounds of its kind.
 */
export function nextLook(
  kind: LearntKind,
  state: CadenceState,
  circumstances: Circumstances,
  random: () => number = Math.random,
): NextLook {
  const { isActive, isPressing, offsetMs, prior = usualPrior } = circumstances;
  const { push, week } = prior;
  const isTrusted = state.channel.id !== null && state.channel.alive > trusted;
  const bounds = boundsMs[kind];
  const upperBoundMs = bounds[isActive ? "active" : isTrusted ? "trusted" : "polling"];
  const price = circumstances.price / (isActive || isPressing ? activeWeight : 1);
  const ahead = outlook(kind, state.intensity, { offsetMs, ...prior });
  const wishedMs =
    1000 *
    bestInterval(ahead, state.channel, { price, pushPrior: push, limit: upperBoundMs / 1000 });
  // Feeds at the bound would otherwise march in step.
  const latestMs = upperBoundMs * (1 - 0.15 * random());
  const intervalMs = Math.round(Math.max(Math.min(wishedMs, latestMs), bounds.lower));
  const changesPerDay = levelPerDay(kind, state.intensity, week);
  const rule = ruleOf({
    isActive,
    isPressing,
    isTrusted,
    isAtBound: wishedMs >= latestMs,
    hasChannel: state.channel.id !== null,
    isAtFloor: wishedMs <= bounds.lower,
  });
  return {
    dueAt: new Date(state.intensity.at + intervalMs),
    intervalMs,
    reason: {
      rule,
      text: textOf(rule, changesPerDay),
      changesPerDay: Number(changesPerDay.toPrecision(3)),
      pushAlive: state.channel.id === null ? null : Number(state.channel.alive.toFixed(4)),
      price: circumstances.price,
      upperBoundMs,
    },
  };
}

/**
 * Whether the channel of push should be replaced. Of one that has missed something it is worth to be sure: otherwise nobody
 * would learn whether it lost that or had died. After silence alone another one soon costs less, at three calls, than the
 * looks that make up for doubt.
 */
export function isChannelDoubted({ channel }: Pick<CadenceState, "channel">): boolean {
  return channel.id !== null && channel.alive < keptWhile[channel.untold > 0 ? "missed" : "silent"];
}

/** How lively a feed is, in the older product's three words. */
export function changeFrequency(kind: LearntKind, state: CadenceState): "low" | "medium" | "high" {
  const perDay = levelPerDay(kind, state.intensity);
  if (perDay >= 30) return "high";
  return perDay >= 3 ? "medium" : "low";
}

/**
 * The price for the next minute: it rises in proportion to what was asked for beyond nine tenths of the budget, and falls
 * back slowly while there is room, so that no queue builds up and the budget is spent where it matters most.
 */
export function nextPrice(price: number, looksLastMinute: number, budgetPerMinute: number): number {
  const excess = looksLastMinute / (0.9 * Math.max(budgetPerMinute, 1)) - 1;
  const factor = excess > 0 ? 1 + Math.min(excess, 1) : 0.9;
  return Math.min(Math.max(price * factor, usualPrice), usualPrice * 10_000);
}

/**
 * When to look for what push has told of since the last look, the latest of it just now. At once, as long as looks are
 * cheap for what comes: a change on its own never waits. In a burst it may be worth a moment's wait that further changes
 * share the look: five seconds after the first of them it is over at the usual price, and a minute where looks are dear. Of
 * more changes none is looked at later. While somebody would notice, the price is a tenth, and a wait so much rarer.
 */
export function noticedAt(
  kind: LearntKind,
  state: CadenceState,
  toldAt: readonly Date[],
  { offsetMs, price, isActive, isPressing, prior = usualPrior }: Circumstances,
): Date {
  const clocks = { offsetMs, ...prior };
  const changedAt = toldAt.map((at) => at.getTime());
  const now = changedAt.at(-1) ?? state.intensity.at;
  const lookedAt = state.intensity.at;
  const until = Math.max(now, lookedAt);
  // It says nothing of habits until it is looked at: the first change of a new feed would pass for a rush.
  const { excitations } = watched(kind, state.intensity, { now: until, changedAt }, clocks);
  const habits = watched(kind, state.intensity, { now: until, changedAt: [] }, clocks);
  const pending = changedAt.map((at) => Math.max(0, at - lookedAt) / 1000);
  const weighed = price / (isActive || isPressing ? activeWeight : 1);
  const ahead = outlook(kind, { ...habits, excitations }, clocks);
  return new Date(now + 1000 * noticeWait(ahead, pending, weighed));
}

type Facts = {
  isActive: boolean;
  isPressing: boolean;
  isTrusted: boolean;
  isAtBound: boolean;
  isAtFloor: boolean;
  hasChannel: boolean;
};

function ruleOf(facts: Facts): Reason["rule"] {
  if (facts.isAtFloor) return "lower_bound";
  if (facts.isActive) return "user_active";
  if (facts.isPressing) return "pressing";
  if (facts.isTrusted) return "push_trusted";
  if (facts.hasChannel) return "push_doubted";
  return facts.isAtBound ? "upper_bound" : "rate";
}

const texts: Record<Reason["rule"], string> = {
  rate: "It is looked at as often as it changes calls for",
  push_trusted: "Push tells of changes; this look makes sure",
  push_doubted: "Push has missed changes lately, so it is looked at as if there were none",
  user_active: "Somebody is here to see it, so it is looked at more often",
  pressing: "Something is about to happen, so it is looked at more often",
  upper_bound: "It changes seldom; it is looked at as often as is promised",
  lower_bound: "It changes all the time; it is looked at as often as may be",
};

function textOf(rule: Reason["rule"], changesPerDay: number): string {
  const shown = changesPerDay < 10 ? changesPerDay.toFixed(1) : changesPerDay.toFixed(0);
  return `${texts[rule]}. About ${shown} changes a day are expected`;
}
