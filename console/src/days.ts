import type { CalendarEvent } from "./api.ts";

const date = { weekday: "long", day: "numeric", month: "long" } as const;
const ofThisYear = new Intl.DateTimeFormat("en", date);
const ofAnother = new Intl.DateTimeFormat("en", { ...date, year: "numeric" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });

/** A day on the reader's clocks, as 2026-11-23. */
export type Day = string;

export function dayOf(moment: Date | string): Day {
  const at = new Date(moment);
  const two = (value: number) => String(value).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

/** Midnight on the reader's clocks. */
export function startOf(day: Day): Date {
  const [year = 1970, month = 1, date = 1] = day.split("-").map(Number);
  return new Date(year, month - 1, date);
}

export function dayAfter(day: Day, days = 1): Day {
  const [year = 1970, month = 1, date = 1] = day.split("-").map(Number);
  return dayOf(new Date(year, month - 1, date + days));
}

/** "Today", "Tomorrow", or the weekday and date, with the year where it is another one. */
export function nameOf(day: Day, today: Day = dayOf(new Date())): string {
  const words = day.slice(0, 4) === today.slice(0, 4) ? ofThisYear : ofAnother;
  const name = words.format(startOf(day));
  if (day === today) return `Today, ${name}`;
  if (day === dayAfter(today)) return `Tomorrow, ${name}`;
  if (day === dayAfter(today, -1)) return `Yesterday, ${name}`;
  return name;
}

export function timeOf(moment: string): string {
  return clock.format(new Date(moment));
}

/** Whether an event is on a day: whole days are of the calendar, whatever the reader's zone. */
export function isOn(event: CalendarEvent, day: Day): boolean {
  if (event.all_day && event.start_date && event.end_date) {
    return event.start_date <= day && day < event.end_date;
  }
  return dayOf(event.start_time) <= day && new Date(event.end_time) > startOf(day);
}
