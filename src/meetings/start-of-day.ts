/**
 * The instant at which a date begins in a time zone: midnight, or the first moment after it where a clock that is put
 * forward skips it. A zone that is not known counts as UTC.
 */
export function startOfDay(date: string, timeZone: string): Date {
  const midnight = Date.parse(`${date}T00:00:00Z`);
  const offsetAt = offsetsOf(timeZone);
  // No zone changes its clock twice within two days, so one of these two holds at midnight.
  const before = offsetAt(midnight - dayMs);
  const after = offsetAt(midnight + dayMs);
  const matching = [before, after].map((offset) => ({ instant: midnight - offset, offset }));
  const real = matching.filter(({ instant, offset }) => offsetAt(instant) === offset);
  // Where midnight comes twice, the day begins with the first.
  if (real.length > 0) return new Date(Math.min(...real.map(({ instant }) => instant)));
  return new Date(midnight - before);
}

/** How far the clocks of a time zone are ahead of UTC at an instant, in milliseconds. An unknown zone counts as UTC. */
export function offsetOf(timeZone: string, at: Date): number {
  return offsetsOf(timeZone)(at.getTime());
}

const dayMs = 86_400_000;

function offsetsOf(timeZone: string): (instant: number) => number {
  const formatter = formatterOf(timeZone);
  return (instant) => (formatter ? offsetIn(formatter.format(instant)) : 0);
}

// "GMT+02:00", "GMT-03:06:28", and "GMT" alone for none.
function offsetIn(formatted: string): number {
  const [, sign, hours, minutes, seconds = "0"] =
    /GMT([+-])(\d\d):(\d\d)(?::(\d\d))?/.exec(formatted) ?? [];
  if (!hours || !minutes) return 0;
  const size = (Number(hours) * 60 + Number(minutes)) * 60 + Number(seconds);
  return (sign === "-" ? -size : size) * 1000;
}

// Making a formatter costs a hundred times what using it does, and there are only some hundred zones.
const formatters = new Map<string, Intl.DateTimeFormat>();

function formatterOf(timeZone: string): Intl.DateTimeFormat | null {
  const kept = formatters.get(timeZone);
  if (kept) return kept;
  try {
    const made = new Intl.DateTimeFormat("en-US", { timeZone, timeZoneName: "longOffset" });
    formatters.set(timeZone, made);
    return made;
  } catch {
    return null;
  }
}
