import { sql } from "kysely";
import type { App } from "../app.ts";
import { hasBot } from "./meeting-list.ts";

/** An entry of a calendar as its owner sees it. */
export type ListedEvent = {
  id: string;
  event_id: string;
  calendar_id: string;
  feed_id: string | null;
  calendar_title: string | null;
  recurring_event_id: string | null;
  title: string;
  description: string | null;
  location: string | null;
  start_time: Date;
  end_time: Date;
  all_day: boolean;
  start_date: string | null;
  end_date: string | null;
  time_zone: string | null;
  status: string | null;
  event_type: string;
  visibility: string;
  transparency: string | null;
  response_status: string | null;
  organiser: Record<string, unknown> | null;
  attendees: unknown[];
  meeting_url: string | null;
  meeting_provider: string | null;
  html_link: string | null;
  meeting_id: string | null;
};

export type EventFilter = {
  from?: Date | undefined;
  to?: Date | undefined;
  status?: "confirmed" | "tentative" | undefined;
  hasBot?: boolean | undefined;
  calendarId?: string | undefined;
  after?: { startTime: Date; id: string } | undefined;
  limit: number;
};

/** A user's events of all their calendars by start; one is in a span of time when any part of it is. */
export async function listEvents(
  app: Pick<App, "db">,
  userId: string,
  filter: EventFilter,
): Promise<ListedEvent[]> {
  const { from, to, after, status, calendarId } = filter;
  const conditions = [
    sql`event.user_id = ${userId}`,
    sql`event.start_time is not null`,
    ...(from ? [sql`event.end_time > ${from}`] : []),
    ...(to ? [sql`event.start_time < ${to}`] : []),
    ...(status ? [sql`event.status = ${status}`] : []),
    ...(calendarId ? [sql`event.calendar_id = ${calendarId}`] : []),
    ...(filter.hasBot === undefined ? [] : [sql`${hasBot("meeting")} = ${filter.hasBot}`]),
    ...(after ? [sql`(event.start_time, event.id) > (${after.startTime}, ${after.id}::uuid)`] : []),
  ];
  const { rows } = await sql<ListedEvent>`
    select event.id, event.event_id, event.calendar_id, event.feed_id, feeds.title as calendar_title,
      event.recurring_event_id, event.title, event.description, event.location, event.start_time, event.end_time,
      event.all_day, event.start_date, event.end_date, event.time_zone, event.status, event.event_type,
      event.visibility, event.transparency, event.response_status, event.organiser,
      coalesce(event.attendees, '[]') as attendees, event.meeting_url, event.meeting_provider, event.html_link,
      meeting.id as meeting_id
    from calendar_events as event
    left join feeds on feeds.id = event.feed_id
    left join meetings as meeting
      on meeting.user_id = event.user_id and meeting.google_calendar_event_id = event.event_id
    where ${sql.join(conditions, sql` and `)}
    order by event.start_time, event.id
    limit ${filter.limit}
  `.execute(app.db);
  return rows;
}
