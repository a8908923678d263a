import assert from "node:assert/strict";
import { sql } from "kysely";
import type { TestApp } from "./harness.ts";

const dayMs = 86_400_000;

/** An event of an hour, `hours` from now on the test's clock. */
export function eventIn(t: TestApp, hours: number, more: Record<string, unknown> = {}) {
  // Google knows no fractions of a second.
  const at = Math.floor(t.clock.now().getTime() / 60_000 + hours * 60) * 60_000;
  const moment = (ms: number) => ({
    dateTime: new Date(ms).toISOString(),
    timeZone: "Europe/Berlin",
  });
  return { summary: "Meeting", start: moment(at), end: moment(at + 3_600_000), ...more };
}

/** What we keep of a person's calendar: the fields that everybody would notice. */
export async function keptEvents(t: TestApp, userId: string, calendarId?: string) {
  const { rows } = await sql<{
    id: string;
    title: string;
    start: Date;
    end: Date;
    calendar: string;
  }>`
    select event_id as id, title, start_time as start, end_time as "end", calendar_id as calendar
    from calendar_events where user_id = ${userId}
    ${calendarId ? sql`and calendar_id = ${calendarId}` : sql``} order by event_id
  `.execute(t.app.db);
  return rows;
}

/** What is kept of a person's meetings, by event. */
export async function keptMeetings(t: TestApp, userId: string) {
  return t.app.db
    .selectFrom("meetings")
    .selectAll()
    .where("user_id", "=", userId)
    .orderBy("start_time")
    .orderBy("google_calendar_event_id")
    .execute();
}

/**
 * Compares our tables with what Google has, calendar by calendar: single events however far ahead, occurrences of series
 * up to what the horizon surely covers.
 */
export async function assertSameAsGoogle(
  t: TestApp,
  person: string,
  userId: string,
): Promise<void> {
  const feeds = await t.app.db
    .selectFrom("feeds")
    .select(["resource"])
    .where("user_id", "=", userId)
    .where("kind", "=", "calendar")
    .where("state", "!=", "stopped")
    .execute();
  const since = new Date(t.clock.now().getTime() - 6 * dayMs);
  const until = t.clock.now().getTime() + 110 * dayMs;
  for (const { resource } of feeds) {
    const theirs = t.google.calendar
      .listEvents(person, { calendarId: resource, timeMin: since })
      .flatMap((event) => {
        const { start, end, recurringEventId } = event as unknown as Times;
        const at = momentOf(start);
        if (recurringEventId && at >= until) return [];
        return [[event.id, String(event.summary ?? "(No title)"), at, momentOf(end)].join(" | ")];
      });
    const { rows } = await sql<{ line: string; start: Date; is_instance: boolean }>`
      select event_id || ' | ' || title as line, start_time as start, end_time as "end", all_day, start_date, end_date,
        recurring_event_id is not null as is_instance
      from calendar_events where user_id = ${userId} and calendar_id = ${resource} and end_time > ${since}
    `.execute(t.app.db);
    const ours = (rows as (Kept & { line: string })[]).flatMap((row) => {
      const at = row.all_day ? momentOf({ date: row.start_date }) : row.start.getTime();
      const endsAt = row.all_day ? momentOf({ date: row.end_date }) : row.end.getTime();
      return row.is_instance && at >= until ? [] : [[row.line, at, endsAt].join(" | ")];
    });
    assert.deepEqual(ours.sort(), theirs.sort(), `${person}'s calendar ${resource} differs`);
  }
}

type Times = {
  start: { date?: string; dateTime?: string };
  end: { date?: string; dateTime?: string };
  recurringEventId?: string;
};
type Kept = {
  start: Date;
  end: Date;
  all_day: boolean;
  start_date: string;
  end_date: string;
  is_instance: boolean;
};

function momentOf({ date, dateTime }: { date?: string; dateTime?: string }): number {
  return Date.parse(dateTime ?? `${date}T00:00:00Z`);
}
