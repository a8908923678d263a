import { sql } from "kysely";
import type { Tx } from "../db/connection.ts";
import type { CalendarEventRow } from "./calendar-event.ts";

/** The calendar that events are kept for, as a feed. */
export type CalendarFeed = { id: string; userId: string };

/** An event with the usernames that the assistant's address among its attendees names. */
export type SavedEvent = CalendarEventRow & { virtual_usernames: string[] };

export type SavedEvents = { created: string[]; updated: string[] };

/**
 * Writes events in one statement: new ones, and those that say something else than we have. Each is marked with the
 * generation of the read that saw it, unchanged ones too. Returns the provider's ids of what is new and what changed.
 */
export async function saveEvents(
  tx: Tx,
  feed: CalendarFeed,
  events: SavedEvent[],
  generation: number,
): Promise<SavedEvents> {
  if (events.length === 0) return { created: [], updated: [] };
  const { rows } = await sql<{ event_id: string; is_new: boolean }>`
    with given as materialized (
      select * from jsonb_to_recordset(${JSON.stringify(events)}::jsonb) as event (
        calendar_id text, event_id text, recurring_event_id text, original_start text, ical_uid text, status text,
        event_type text, visibility text, title text, description text, location text, all_day boolean,
        start_date date, end_date date, start_time timestamptz, end_time timestamptz, time_zone text,
        organiser jsonb, attendees jsonb, response_status text, transparency text, conference jsonb,
        attachments jsonb, html_link text, meeting_url text, meeting_provider text, meeting_key text,
        rival_meeting_url text, is_meeting boolean, virtual_usernames text[], etag text, sequence integer,
        updated_at_provider timestamptz, content_hash text
      )
    ),
    seen as (
      update calendar_events set generation = ${generation}
      from given
      where calendar_events.feed_id = ${feed.id} and calendar_events.event_id = given.event_id
        and calendar_events.content_hash = given.content_hash and generation <> ${generation}::integer
    ),
    saved as (
      insert into calendar_events as kept (
        feed_id, user_id, generation, calendar_id, event_id, recurring_event_id, original_start, ical_uid, status,
        event_type, visibility, title, description, location, all_day, start_date, end_date, start_time, end_time,
        time_zone, organiser, attendees, response_status, transparency, conference, attachments, html_link,
        meeting_url, meeting_provider, meeting_key, rival_meeting_url, is_meeting, virtual_usernames, etag, sequence,
        updated_at_provider, content_hash
      )
      select ${feed.id}::uuid, ${feed.userId}::uuid, ${generation}::integer, given.*
      from (
        select calendar_id, event_id, recurring_event_id, original_start, ical_uid, status, event_type, visibility,
          title, description, location, all_day, start_date, end_date, start_time, end_time, time_zone, organiser,
          attendees, response_status, transparency, conference, attachments, html_link, meeting_url, meeting_provider,
          meeting_key, rival_meeting_url, is_meeting, virtual_usernames, etag, sequence, updated_at_provider,
          content_hash
        from given
      ) as given
      on conflict (feed_id, event_id) do update set
        (generation, calendar_id, recurring_event_id, original_start, ical_uid, status, event_type, visibility, title,
          description, location, all_day, start_date, end_date, start_time, end_time, time_zone, organiser, attendees,
          response_status, transparency, conference, attachments, html_link, meeting_url, meeting_provider,
          meeting_key, rival_meeting_url, is_meeting, virtual_usernames, etag, sequence, updated_at_provider,
          content_hash, updated_at)
        = (excluded.generation, excluded.calendar_id, excluded.recurring_event_id, excluded.original_start,
          excluded.ical_uid, excluded.status, excluded.event_type, excluded.visibility, excluded.title,
          excluded.description, excluded.location, excluded.all_day, excluded.start_date, excluded.end_date,
          excluded.start_time, excluded.end_time, excluded.time_zone, excluded.organiser, excluded.attendees,
          excluded.response_status, excluded.transparency, excluded.conference, excluded.attachments,
          excluded.html_link, excluded.meeting_url, excluded.meeting_provider, excluded.meeting_key,
          excluded.rival_meeting_url, excluded.is_meeting, excluded.virtual_usernames, excluded.etag,
          excluded.sequence, excluded.updated_at_provider, excluded.content_hash, now())
      where kept.content_hash is distinct from excluded.content_hash
      returning kept.event_id, kept.xmax = 0 as is_new
    )
    select event_id, is_new from saved
  `.execute(tx);
  return {
    created: rows.filter(({ is_new }) => is_new).map(({ event_id }) => event_id),
    updated: rows.filter(({ is_new }) => !is_new).map(({ event_id }) => event_id),
  };
}

/** Deletes events by the provider's ids, and the occurrences of those series. Returns what was there. */
export async function deleteEvents(
  tx: Tx,
  feed: CalendarFeed,
  { ids, seriesIds }: { ids: string[]; seriesIds: string[] },
): Promise<string[]> {
  if (ids.length + seriesIds.length === 0) return [];
  const { rows } = await sql<{ event_id: string }>`
    delete from calendar_events
    where feed_id = ${feed.id} and (event_id = any(${ids}) or recurring_event_id = any(${seriesIds}))
    returning event_id
  `.execute(tx);
  return rows.map(({ event_id }) => event_id);
}

/** Whether one of these ids is kept as an event, or one of those series by its occurrences, that ends after `since`. */
export async function keepsAnyOf(
  tx: Tx,
  feed: CalendarFeed,
  { ids, seriesIds, since }: { ids: string[]; seriesIds: string[]; since: Date },
): Promise<boolean> {
  if (ids.length + seriesIds.length === 0) return false;
  const { rows } = await sql`
    select from calendar_events
    where feed_id = ${feed.id} and (event_id = any(${ids}) or recurring_event_id = any(${seriesIds}))
      and end_time > ${since}
    limit 1
  `.execute(tx);
  return rows.length > 0;
}

/**
 * Deletes what a complete read from `since` on did not see. What ended before that it could not have seen; a day's
 * grace covers whole days, whose bounds depend on whose zone they are read in.
 */
export async function sweepEvents(
  tx: Tx,
  feed: CalendarFeed,
  { generation, since }: { generation: number; since: Date },
): Promise<string[]> {
  const { rows } = await sql<{ event_id: string }>`
    delete from calendar_events
    where feed_id = ${feed.id} and generation < ${generation}
      and end_time > ${since}::timestamptz + case when all_day then interval '1 day' else interval '0' end
    returning event_id
  `.execute(tx);
  return rows.map(({ event_id }) => event_id);
}

/** Takes over the events that the older product kept for this calendar: they had no feed. */
export async function adoptEvents(
  tx: Tx,
  feed: CalendarFeed,
  calendarIds: string[],
): Promise<void> {
  await sql`
    update calendar_events as kept set feed_id = ${feed.id}
    where user_id = ${feed.userId} and feed_id is null and calendar_id = any(${calendarIds})
      and not exists (
        select from calendar_events as twin where twin.feed_id = ${feed.id} and twin.event_id = kept.event_id)
  `.execute(tx);
}
