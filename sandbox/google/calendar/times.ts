/** A moment of an event as Google writes it: a date, or an instant with an offset. */
export type EventTime = { date?: string; dateTime?: string; timeZone?: string };

/** What a clock on the wall shows: milliseconds since 1970 as if it were in UTC. */
export type WallTime = number;

/** The instant of an event's moment; a date begins in the zone of its calendar. */
export function instantOf(time: EventTime, calendarZone: string): number {
  if (time.dateTime !== undefined) {
    const hasOffset = /(Z|[+-]\d\d:\d\d)$/i.test(time.dateTime);
    if (hasOffset) return Date.parse(time.dateTime);
    return instantAt(Date.parse(`${time.dateTime}Z`), time.timeZone ?? calendarZone);
  }
  return instantAt(Date.parse(`${time.date}T00:00:00Z`), calendarZone);
}

/** The instant at which clocks of a zone show a time; where they skip it, as much later. */
export function instantAt(wall: WallTime, zone: string): number {
  const guesses = [
    wall - offsetAt(wall - 86_400_000, zone),
    wall - offsetAt(wall + 86_400_000, zone),
  ];
  return guesses.find((guess) => guess + offsetAt(guess, zone) === wall) ?? guesses[0] ?? wall;
}

/** What clocks of a zone show at an instant. */
export function wallTimeOf(instant: number, zone: string): WallTime {
  return instant + offsetAt(instant, zone);
}

/** An instant with the offset of a zone, as Google writes it. */
export function withOffset(instant: number, zone: string): string {
  const offset = offsetAt(instant, zone);
  const wall = new Date(instant + offset).toISOString().slice(0, 19);
  if (offset === 0) return `${wall}Z`;
  const minutes = Math.abs(offset) / 60_000;
  const two = (value: number) => String(Math.floor(value)).padStart(2, "0");
  return `${wall}${offset < 0 ? "-" : "+"}${two(minutes / 60)}:${two(minutes % 60)}`;
}

export function isKnownZone(zone: string): boolean {
  return formatterOf(zone) !== null;
}

const formatters = new Map<string, Intl.DateTimeFormat | null>();

function formatterOf(zone: string): Intl.DateTimeFormat | null {
  const kept = formatters.get(zone);
  if (kept !== undefined) return kept;
  let made: Intl.DateTimeFormat | null = null;
  try {
    made = new Intl.DateTimeFormat("en-US", { timeZone: zone, timeZoneName: "longOffset" });
  } catch {
    made = null;
  }
  formatters.set(zone, made);
  return made;
}

function offsetAt(instant: number, zone: string): number {
  if (zone === "UTC") return 0;
  const text = formatterOf(zone)?.format(instant) ?? "";
  const [, sign, hours = "0", minutes = "0"] = /GMT([+-])(\d\d):(\d\d)/.exec(text) ?? [];
  const size = (Number(hours) * 60 + Number(minutes)) * 60_000;
  return sign === "-" ? -size : size;
}
