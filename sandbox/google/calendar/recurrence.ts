import ICAL from "ical.js";
import {
  type EventTime,
  instantAt,
  instantOf,
  type WallTime,
  wallTimeOf,
  withOffset,
} from "./times.ts";

/** One occurrence: when it was meant to be, and the sign that its id ends with. */
export type Occurrence = {
  start: EventTime;
  end: EventTime;
  at: number;
  endsAt: number;
  stamp: string;
};

type Series = { start: EventTime; end: EventTime; recurrence: string[] };

const most = 20_000;

/**
 * The occurrences of a series that begin before `until`, as RFC 5545 has them: on the clocks of the series' own zone, so
 * that a meeting at ten stays at ten. Its first occurrence is its start.
 */
export function occurrencesOf(series: Series, calendarZone: string, until: number): Occurrence[] {
  const isAllDay = series.start.date !== undefined;
  const zone = isAllDay ? calendarZone : (series.start.timeZone ?? calendarZone);
  const firstWall = wallOf(series.start, zone);
  const lengthMs = instantOf(series.end, calendarZone) - instantOf(series.start, calendarZone);
  const walls = new Set<WallTime>();
  for (const line of linesOf(series.recurrence, "RRULE")) {
    for (const wall of wallsOfRule(line, firstWall, { zone, isAllDay, until })) walls.add(wall);
  }
  for (const wall of listed(series.recurrence, "RDATE", zone)) walls.add(wall);
  walls.add(firstWall);
  for (const wall of listed(series.recurrence, "EXDATE", zone)) walls.delete(wall);
  return [...walls]
    .sort((one, other) => one - other)
    .map((wall) =>
      isAllDay ? wholeDay(wall, lengthMs, calendarZone) : timed(wall, lengthMs, zone),
    )
    .filter(({ at }) => at < until);
}

/** Cuts a series before an instant: what "this and following" does to the one that it leaves. */
export function cutBefore(recurrence: string[], instant: number, isAllDay: boolean): string[] {
  const sign = compact(new Date(instant - 1000).toISOString());
  const until = isAllDay ? sign.slice(0, 8) : sign;
  return recurrence.map((line) =>
    line.startsWith("RRULE") ? `${line.replace(/;(UNTIL|COUNT)=[^;]*/g, "")};UNTIL=${until}` : line,
  );
}

/** Whether a rule can be read at all. */
export function isReadable(line: string): boolean {
  if (!line.startsWith("RRULE:")) return /^(RDATE|EXDATE|EXRULE)[;:]/.test(line);
  try {
    return Boolean(ICAL.Recur.fromString(line.slice("RRULE:".length)));
  } catch {
    return false;
  }
}

function* wallsOfRule(
  line: string,
  firstWall: WallTime,
  { zone, isAllDay, until }: { zone: string; isAllDay: boolean; until: number },
): Generator<WallTime> {
  const rule = line.slice("RRULE:".length);
  const untilText = /(?:^|;)UNTIL=([^;]+)/.exec(rule)?.[1];
  const last = untilText ? instantOfSign(untilText, zone) : Number.POSITIVE_INFINITY;
  const recur = ICAL.Recur.fromString(rule.replace(/;?UNTIL=[^;]+/, "").replace(/^;/, ""));
  const iterator = recur.iterator(icalTime(firstWall, isAllDay));
  for (let count = 0; count < most; count += 1) {
    const next = iterator.next();
    if (!next) return;
    const wall = Date.UTC(next.year, next.month - 1, next.day, next.hour, next.minute, next.second);
    const at = instantAt(wall, zone);
    if (at >= until || at > last) return;
    yield wall;
  }
}

function icalTime(wall: WallTime, isDate: boolean) {
  const at = new Date(wall);
  return ICAL.Time.fromData({
    year: at.getUTCFullYear(),
    month: at.getUTCMonth() + 1,
    day: at.getUTCDate(),
    hour: at.getUTCHours(),
    minute: at.getUTCMinutes(),
    second: at.getUTCSeconds(),
    isDate,
  });
}

function timed(wall: WallTime, lengthMs: number, zone: string): Occurrence {
  const at = instantAt(wall, zone);
  const endsAt = at + lengthMs;
  return {
    start: { dateTime: withOffset(at, zone), timeZone: zone },
    end: { dateTime: withOffset(endsAt, zone), timeZone: zone },
    at,
    endsAt,
    stamp: compact(new Date(at).toISOString()),
  };
}

function wholeDay(wall: WallTime, lengthMs: number, calendarZone: string): Occurrence {
  const days = Math.max(1, Math.round(lengthMs / 86_400_000));
  const date = (offset: number) => new Date(wall + offset * 86_400_000).toISOString().slice(0, 10);
  return {
    start: { date: date(0) },
    end: { date: date(days) },
    at: instantAt(wall, calendarZone),
    endsAt: instantAt(wall + days * 86_400_000, calendarZone),
    stamp: date(0).replaceAll("-", ""),
  };
}

function wallOf(time: EventTime, zone: string): WallTime {
  if (time.date !== undefined) return Date.parse(`${time.date}T00:00:00Z`);
  // Rules count in whole seconds.
  return Math.floor(wallTimeOf(instantOf(time, zone), zone) / 1000) * 1000;
}

function linesOf(recurrence: string[], name: string): string[] {
  return recurrence.filter((line) => line.startsWith(`${name}:`) || line.startsWith(`${name};`));
}

function listed(recurrence: string[], name: string, zone: string): WallTime[] {
  return linesOf(recurrence, name).flatMap((line) => {
    const [head = "", values = ""] = line.split(/:(.*)/s);
    const own = /TZID=([^;:]+)/.exec(head)?.[1] ?? zone;
    return values.split(",").map((sign) => wallTimeOf(instantOfSign(sign, own), zone));
  });
}

// 20261201, 20261201T090000 or 20261201T090000Z. A date as a bound means all of that day.
function instantOfSign(sign: string, zone: string): number {
  const [, year, month, day, hour, minute, second, utc] =
    /^(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)(Z)?)?$/.exec(sign) ?? [];
  const wall = Date.UTC(
    Number(year),
    Number(month) - 1,
    Number(day),
    Number(hour ?? 0),
    Number(minute ?? 0),
    Number(second ?? 0),
  );
  return utc ? wall : instantAt(wall, zone);
}

function compact(iso: string): string {
  return iso.replace(/[-:]/g, "").replace(/\.\d+/, "");
}
