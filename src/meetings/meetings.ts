import { sql } from "kysely";
import { tellUser } from "../accounts/tell-user.ts";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import { enqueue, type NewJob } from "../queue/queue.ts";
import { planBots } from "./bot-plans.ts";
import { type CalendarEventRow, meetingOf } from "./calendar-event.ts";

/** What became of the meetings behind some events. `jobs` are what the changes call for. */
export type DerivedMeetings = {
  created: number;
  updated: number;
  deleted: number;
  /** How many are newly marked for the assistant. */
  autoScheduled: number;
  meetingIds: string[];
  jobs: NewJob[];
};

type Context = { userId: string; eventIds: string[]; virtualAddress: string | null; now: Date };

/**
 * Brings a person's meetings in line with their events: one for each event with a link, however many calendars show
 * it. What people and bots have added stays: project, bot and transcript are never written here. A meeting whose event
 * or link has gone is deleted, unless it has any of these; then it stays, marked as cancelled.
 *
 * Repeating it changes nothing. Two at once for the same person wait for each other.
 */
export async function deriveMeetings(tx: Tx, context: Context): Promise<DerivedMeetings> {
  const { userId, eventIds } = context;
  if (eventIds.length === 0) return nothing;
  await oneAtATime(tx, userId);
  await lockMeetings(tx, userId, eventIds);
  const events = await listMeetingEvents(tx, userId, eventIds);
  const wanted = events.flatMap((event) => {
    const values = meetingOf(event);
    return values ? [{ ...values, ...placeOf(event) }] : [];
  });
  const kept = new Set(wanted.map(({ google_calendar_event_id }) => google_calendar_event_id));
  const gone = eventIds.filter((id) => !kept.has(id));
  const saved = await saveMeetings(tx, context, wanted);
  const removed = await removeMeetings(tx, context, gone);
  const changed = [...saved, ...removed.filter(({ is_kept }) => is_kept)].map(({ id }) => id);
  return {
    created: saved.filter(({ is_new }) => is_new).length,
    updated: saved.filter(({ is_new }) => !is_new).length,
    deleted: removed.length,
    autoScheduled: saved.filter(({ is_newly_marked }) => is_newly_marked).length,
    meetingIds: changed,
    jobs: [...(await planBots(tx, changed, context.now)), ...(await marksForOthers(tx, context))],
  };
}

/** Brings one person's meetings in line with some events that changed in somebody else's calendar. */
export async function deriveForUser(
  app: Pick<App, "db" | "clock" | "config" | "queue">,
  { userId, eventIds }: { userId: string; eventIds: string[] },
): Promise<void> {
  const virtualAddress = app.config.virtualEmailAddress;
  await app.db.transaction().execute(async (tx) => {
    const context = { userId, eventIds, virtualAddress, now: app.clock.now() };
    const { jobs, meetingIds } = await deriveMeetings(tx, context);
    await enqueue(app, tx, jobs);
    if (meetingIds.length === 0) return;
    const payload = { feed_id: null, meeting_ids: meetingIds };
    await tellUser(tx, userId, [{ type: "calendar.changed", payload }]);
  });
}

/**
 * Has a person's meetings brought in line with the events, in anybody's calendar, that name their assistant: who has only
 * now chosen its name was a stranger when these were read.
 */
export async function deriveNamed(
  app: Pick<App, "db" | "queue">,
  { userId }: { userId: string },
): Promise<{ events: number }> {
  return app.db.transaction().execute(async (tx) => {
    // A page of events that was derived without the name is seen here once it is committed.
    await oneAtATime(tx, userId);
    const { rows } = await sql<{ event_id: string }>`
      select distinct own.event_id from calendar_events as own, usernames
      where own.user_id = ${userId} and own.is_meeting and usernames.user_id = own.user_id
        and exists (select from calendar_events as event where event.event_id = own.event_id
          and event.virtual_usernames <> '{}' and usernames.username = any(event.virtual_usernames))
    `.execute(tx);
    const ids = rows.map(({ event_id }) => event_id);
    const portions = Array.from({ length: Math.ceil(ids.length / portionSize) }, (_, index) =>
      ids.slice(index * portionSize, (index + 1) * portionSize),
    );
    const jobs = portions.map((eventIds) => ({
      name: "meetings.derive" as const,
      payload: { userId, eventIds },
    }));
    await enqueue(app, tx, jobs);
    return { events: ids.length };
  });
}

const portionSize = 1_000;

async function oneAtATime(tx: Tx, userId: string): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtextextended(${`meetings:${userId}`}, 0))`.execute(tx);
}

// Whoever needs several meetings takes them by their ids: those of a bot, of a person, or of a page of events.
async function lockMeetings(tx: Tx, userId: string, eventIds: string[]): Promise<void> {
  await sql`
    select from meetings where user_id = ${userId} and google_calendar_event_id = any(${eventIds})
    order by id for update
  `.execute(tx);
}

const nothing: DerivedMeetings = {
  created: 0,
  updated: 0,
  deleted: 0,
  autoScheduled: 0,
  meetingIds: [],
  jobs: [],
};

// Of several calendars that show an event, a primary one speaks for it, and the account that signs in before others.
async function listMeetingEvents(
  tx: Tx,
  userId: string,
  eventIds: string[],
): Promise<CalendarEventRow[]> {
  const { rows } = await sql<CalendarEventRow>`
    select distinct on (event.event_id)
      event.event_id, event.title, event.description, event.meeting_url, event.start_time, event.end_time,
      event.response_status, event.is_meeting, event.time_zone, event.all_day
    from calendar_events as event
    join feeds on feeds.id = event.feed_id
    join connections on connections.id = feeds.connection_id
    where event.user_id = ${userId} and event.event_id = any(${eventIds}) and event.is_meeting
    order by event.event_id, feeds.is_primary desc, connections.is_sign_in desc, feeds.created_at, feeds.id
  `.execute(tx);
  return rows;
}

function placeOf({ time_zone, all_day }: CalendarEventRow) {
  return { time_zone, all_day };
}

type WantedMeeting = NonNullable<ReturnType<typeof meetingOf>> & ReturnType<typeof placeOf>;

async function saveMeetings(tx: Tx, { userId, now, ...context }: Context, wanted: WantedMeeting[]) {
  if (wanted.length === 0) return [];
  const address = context.virtualAddress?.split("@") ?? [];
  const { rows } = await sql<{ id: string; is_new: boolean; is_newly_marked: boolean }>`
    with own as (select username from usernames where user_id = ${userId}),
    marked as (
      select distinct event.event_id from calendar_events as event, own
      where event.event_id = any(${wanted.map((one) => one.google_calendar_event_id)})
        and event.virtual_usernames <> '{}' and own.username = any(event.virtual_usernames)
    ),
    given as materialized (
      select meeting.*, marked.event_id is not null as is_marked,
        case when marked.event_id is not null
          then ${address[0] ?? ""}::text || '+' || (select username from own) || '@' || ${address[1] ?? ""}::text end as attendee
      from jsonb_to_recordset(${JSON.stringify(wanted)}::jsonb) as meeting (
        google_calendar_event_id text, title text, description text, meeting_url text, start_time timestamptz,
        end_time timestamptz, event_status text, time_zone text, all_day boolean)
      left join marked on marked.event_id = meeting.google_calendar_event_id
    ),
    earlier as (
      select google_calendar_event_id, auto_scheduled_via_email from meetings
      where user_id = ${userId} and google_calendar_event_id in (select google_calendar_event_id from given)
    ),
    saved as (
      insert into meetings as kept (user_id, google_calendar_event_id, title, description, meeting_url, start_time,
        end_time, event_status, time_zone, all_day, auto_scheduled_via_email, virtual_email_attendee,
        bot_deployment_method, created_at, updated_at)
      select ${userId}::uuid, google_calendar_event_id, title, description, meeting_url, start_time, end_time, event_status,
        time_zone, all_day, is_marked, attendee, case when is_marked then 'scheduled' else 'manual' end,
        ${now}::timestamptz, ${now}::timestamptz
      from given
      on conflict (google_calendar_event_id, user_id) do update set
        title = excluded.title, description = excluded.description, meeting_url = excluded.meeting_url,
        start_time = excluded.start_time, end_time = excluded.end_time, event_status = excluded.event_status,
        time_zone = excluded.time_zone, all_day = excluded.all_day,
        auto_scheduled_via_email = excluded.auto_scheduled_via_email,
        virtual_email_attendee = excluded.virtual_email_attendee,
        -- A mark that came of the invitation goes with it; what became of it since stays.
        bot_deployment_method = case
          when excluded.auto_scheduled_via_email and not coalesce(kept.auto_scheduled_via_email, false) and kept.bot_id is null
            then 'scheduled'
          when coalesce(kept.auto_scheduled_via_email, false) and not excluded.auto_scheduled_via_email
            and kept.bot_deployment_method = 'scheduled' then 'manual'
          else kept.bot_deployment_method end,
        -- Only what was given up with its cancelled event is taken up again with it.
        bot_status = case when kept.cancelled_at is not null and kept.bot_status = 'failed' and kept.attendee_bot_id is null and kept.bot_id is null
          then 'pending' else kept.bot_status end,
        cancelled_at = null, updated_at = ${now}
      where (kept.title, kept.description, kept.meeting_url, kept.start_time, kept.end_time, kept.event_status,
          kept.time_zone, kept.all_day, kept.cancelled_at, coalesce(kept.auto_scheduled_via_email, false),
          kept.virtual_email_attendee)
        is distinct from (excluded.title, excluded.description, excluded.meeting_url, excluded.start_time,
          excluded.end_time, excluded.event_status, excluded.time_zone, excluded.all_day, null::timestamptz,
          excluded.auto_scheduled_via_email, excluded.virtual_email_attendee)
      returning kept.id, kept.google_calendar_event_id, kept.auto_scheduled_via_email as is_marked, kept.xmax = 0 as is_new
    )
    select saved.id, saved.is_new,
      saved.is_marked and not coalesce(earlier.auto_scheduled_via_email, false) as is_newly_marked
    from saved left join earlier using (google_calendar_event_id)
  `.execute(tx);
  return rows;
}

// One that has become more than an entry of a calendar is somebody's work: it stays.
async function removeMeetings(tx: Tx, { userId, now }: Context, eventIds: string[]) {
  if (eventIds.length === 0) return [];
  const { rows } = await sql<{ id: string; is_kept: boolean }>`
    with gone as materialized (
      select id, cancelled_at, bot_status,
        coalesce(bot_status, 'pending') <> 'pending' or project_id is not null or transcript is not null
          or attendee_bot_id is not null or bot_id is not null or wants_bot is not null
          or exists (select from documents where documents.meeting_id = meetings.id) as is_kept
      from meetings where user_id = ${userId} and google_calendar_event_id = any(${eventIds})
    ),
    deleted as (
      delete from meetings using gone where meetings.id = gone.id and not gone.is_kept returning meetings.id
    ),
    cancelled as (
      update meetings set event_status = 'declined', cancelled_at = ${now}, updated_at = ${now},
        bot_status = case when coalesce(meetings.bot_status, 'pending') = 'pending' then 'failed' else meetings.bot_status end
      from gone where meetings.id = gone.id and gone.is_kept and meetings.cancelled_at is null
      returning meetings.id
    )
    select id, false as is_kept from deleted union all select id, true from cancelled
  `.execute(tx);
  return rows;
}

// The assistant may stand among the guests in somebody else's copy of the event alone: what this one says now can give a
// mark to others, and take it from them. Only who still has a copy of their own is asked to look again.
async function marksForOthers(tx: Tx, { userId, eventIds }: Context): Promise<NewJob[]> {
  const { rows } = await sql<{ user_id: string; event_ids: string[] }>`
    select meeting.user_id, array_agg(meeting.google_calendar_event_id) as event_ids
    from meetings as meeting
    where meeting.google_calendar_event_id = any(${eventIds}) and meeting.user_id <> ${userId}
      and meeting.cancelled_at is null
      and coalesce(meeting.auto_scheduled_via_email, false) is distinct from exists (
        select from calendar_events as event join usernames on usernames.username = any(event.virtual_usernames)
        where event.event_id = meeting.google_calendar_event_id and event.virtual_usernames <> '{}'
          and usernames.user_id = meeting.user_id)
      and exists (select from calendar_events as own where own.user_id = meeting.user_id
        and own.event_id = meeting.google_calendar_event_id and own.is_meeting)
    group by meeting.user_id
  `.execute(tx);
  return rows.map(({ user_id, event_ids }) => ({
    name: "meetings.derive",
    payload: { userId: user_id, eventIds: event_ids },
  }));
}
