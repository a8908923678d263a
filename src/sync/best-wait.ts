import { type ChannelTrust, frailty, type PushPrior } from "./channel-trust.ts";
import type { Outlook } from "./intensity.ts";

const firstStep = 4;
const stepGrowth = 1.06;
const longestStep = 300;

/**
 * The best interval in seconds. With S the probability of the silence so far, U the changes expected to wait unseen in it
 * and H the chance in a second that push breaks it, it ends where M(t) * integral of S - integral of U reaches
 * price * (S + H / S * integral of S), M being U / S: a look that push brings is paid for in any case, and while one may
 * come, to wait may spare ours. That is the price alone while push surely lives, and less once silence speaks for its death.
 * Without a channel S is 1, H is 0, and U all that comes.
 */
export function bestInterval(
  ahead: Outlook,
  channel: ChannelTrust,
  { price, pushPrior, limit }: { price: number; pushPrior: PushPrior; limit: number },
): number {
  const alive = channel.id === null ? 0 : channel.alive;
  const { loss, deathRate } = frailty(channel, pushPrior);
  let at = 0;
  let step = firstStep;
  let [silence, unseen, untold] = [1, 0, 1];
  let [areaOfSilence, areaOfUnseen] = [0, 0];
  // Channels that died on the way, and how many changes they had told of until then.
  let [newlyDead, toldBefore] = [0, 0];
  let gain = 0;
  while (at < limit) {
    const end = Math.min(at + step, limit);
    const middle = (at + end) / 2;
    const width = end - at;
    const untilMiddle = ahead.until(middle);
    const dying =
      alive * deathRate * Math.exp(-deathRate * middle - (1 - loss) * untilMiddle) * width;
    newlyDead += dying;
    toldBefore += dying * (1 - loss) * untilMiddle;
    const changes = ahead.until(end);
    const notTold = Math.exp(-(1 - loss) * changes);
    const told = alive * Math.exp(-deathRate * middle) * (untold - notTold);
    const living = alive * Math.exp(-deathRate * end) * notTold;
    const nextSilence = living + newlyDead + (1 - alive);
    const nextUnseen =
      living * loss * changes + newlyDead * changes - toldBefore + (1 - alive) * changes;
    areaOfSilence += ((silence + nextSilence) / 2) * width;
    areaOfUnseen += ((unseen + nextUnseen) / 2) * width;
    [silence, unseen, untold] = [Math.max(nextSilence, 1e-12), Math.max(nextUnseen, 0), notTold];
    const payable = silence + (told / width / silence) * areaOfSilence;
    const nextGain = ((unseen / silence) * areaOfSilence - areaOfUnseen) / payable;
    if (nextGain >= price) {
      const share = (price - gain) / Math.max(nextGain - gain, 1e-12);
      return at + width * Math.min(Math.max(share, 0), 1);
    }
    gain = Math.max(gain, nextGain);
    at = end;
    step = Math.min(step * stepGrowth, longestStep);
  }
  return limit;
}

// The longest that a notification waits for others to share its look: a few seconds while looks cost the usual, which is
// as good as a minute then, and up to a minute as they become dear.
const shortestPatience = 5;
const longestPatience = 60;
/** What one look may cost while there is room, in change-seconds of waiting. */
export const usualPrice = 60;
const dearPrice = 300;

function patienceAt(price: number): number {
  const dearness = Math.min(Math.max((price - usualPrice) / (dearPrice - usualPrice), 0), 1);
  return shortestPatience + dearness * (longestPatience - shortestPatience);
}

/**
 * How many seconds from now a look is worth its price, `pending` being how long after the last look each of the changes
 * was told of that wait for it, the latest now. Either is enough: that a look pays by how long it is since the last,
 * M(t) * t - integral of M, to which each change adds its own time; or that those which wait cost more than what the next
 * one would save by sharing their look. At a steady rate it is best to look at the n-th change, where n (n + 1) / 2
 * reaches price * rate.
 */
export function noticeWait(ahead: Outlook, pending: number[], price: number): number {
  const [first = 0, now = 0] = [pending[0], pending.at(-1)];
  const count = pending.length;
  const longest = Math.max(0, first + patienceAt(price) - now);
  let gain = pending.reduce((sum, at) => sum + at, 0);
  for (let wait = 0; wait < longest; wait += 1) {
    if (gain >= price || (count * (count + 1)) / 2 >= price * ahead.perSecond(wait)) return wait;
    gain += (now + wait + 0.5) * (ahead.until(wait + 1) - ahead.until(wait));
  }
  return longest;
}
