/** How much is usual in each of 24 hours of a weekday and 24 of a weekend day, on the user's clocks: 1 on average over a week. */
export type Week = readonly number[];

/** Changes in each of these hours, and how many of each were watched. */
export type WatchedHours = { changes: readonly number[]; hours: readonly number[] };

/** What a feed has shown, where an hour has `level` changes on average and its kind keeps this week. */
export type Shown = WatchedHours & { level: number; week: Week };

const hourMs = 3_600_000;
const hoursPerDay = 24;
// How far the hours before and after an hour speak for it.
const nearShares = [1, 1, 1, 0.5];
// How much is assumed of the hours of all feeds together before it is seen, against what is assumed of one.
const assumedOfAll = 3;
// The same of one person's feeds together.
const assumedOfOne = 0.3;

const weekday = Array.from({ length: hoursPerDay }, (_, hour) => {
  if (hour < 6) return 0.15;
  if (hour < 8) return 0.7;
  if (hour < 19) return 2.1;
  return hour < 22 ? 0.7 : 0.3;
});
const weekend = weekday.map((weight) => Math.min(weight, 0.45));

/** What is assumed of a week before anything is seen. Source: the maths of the cadence. */
export const usualWeek: Week = evened([...weekday, ...weekend]);

/**
 * Changes an hour in an hour of the week, where `level` is what an hour has on average. An hour is taken to be as usual,
 * then to be like those around it, on weekdays and weekends, until it has shown enough of its own: `weight` changes.
 */
export function habitsOf(
  { changes, hours }: WatchedHours,
  { level, week, weight }: { level: number; week: Week; weight: number },
): (bin: number) => number {
  return (bin) => {
    let [seen, expected] = [weight, weight];
    for (let away = 1 - nearShares.length; away < nearShares.length; away += 1) {
      const share = nearShares[Math.abs(away)] ?? 0;
      const hour = (bin + away + hoursPerDay) % hoursPerDay;
      for (const near of [hour, hour + hoursPerDay]) {
        seen += share * (changes[near] ?? 0);
        expected += share * level * (week[near] ?? 1) * (hours[near] ?? 0);
      }
    }
    const usual = level * (week[bin] ?? 1) * (seen / expected);
    return (weight + (changes[bin] ?? 0)) / (weight / usual + (hours[bin] ?? 0));
  };
}

/**
 * The week that many feeds keep on average: all of them are like one feed, in which each counts as if it had been watched
 * until at most `weight` changes were expected of an hour, since feeds differ from each other, however much each has shown.
 */
export function sharedWeek(feeds: readonly Shown[], weight: number): Week {
  return weekOf(feeds, { usual: usualWeek, weight: assumedOfAll * weight, most: weight });
}

/**
 * The week of somebody by some of their feeds: the `usual` one, until these have shown another. Each counts as if it had
 * been watched until at most `most` changes were expected of an hour.
 */
export function personalWeek(
  feeds: readonly Shown[],
  { usual, weight, most }: { usual: Week; weight: number; most: number },
): Week {
  return weekOf(feeds, { usual, weight: assumedOfOne * weight, most });
}

function weekOf(
  feeds: readonly Shown[],
  { usual, weight, most }: { usual: Week; weight: number; most: number },
): Week {
  const changes = usual.map(() => 0);
  const hours = usual.map(() => 0);
  for (const { level, week, ...shown } of feeds) {
    for (const [bin, ofUsual] of usual.entries()) {
      const expected = level * (week[bin] ?? 1) * (shown.hours[bin] ?? 0);
      const share = most / (most + expected);
      changes[bin] = (changes[bin] ?? 0) + share * (shown.changes[bin] ?? 0);
      hours[bin] = (hours[bin] ?? 0) + (share * expected) / ofUsual;
    }
  }
  const habit = habitsOf({ changes, hours }, { level: 1, week: usual, weight });
  return evened(usual.map((_, bin) => habit(bin)));
}

/** The hour of a weekday, or of a weekend day, on the user's clocks. */
export function binOf(at: number, offsetMs: number): number {
  const hour = hourOf(at, offsetMs);
  // 1 January 1970 was a Thursday.
  const dayOfWeek = (((Math.floor(hour / hoursPerDay) + 4) % 7) + 7) % 7;
  const hourOfDay = ((hour % hoursPerDay) + hoursPerDay) % hoursPerDay;
  return (dayOfWeek === 0 || dayOfWeek === 6 ? hoursPerDay : 0) + hourOfDay;
}

/** The hour since 1970, on the user's clocks. */
export function hourOf(at: number, offsetMs: number): number {
  return Math.floor((at + offsetMs) / hourMs);
}

// So that an hour of the week has 1 on average.
function evened(weights: number[]): number[] {
  const sum = weights.reduce(
    (total, weight, bin) => total + weight * (bin < hoursPerDay ? 5 : 2),
    0,
  );
  return weights.map((weight) => weight / (sum / (7 * hoursPerDay)));
}
