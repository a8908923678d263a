import { type RawBuilder, sql } from "kysely";
import { tellUser } from "../accounts/tell-user.ts";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import { AppError } from "../lib/errors.ts";
import { requireProject } from "../projects/projects.ts";
import { enqueue } from "../queue/queue.ts";
import { decideBots, reconcileJob } from "./bot-plans.ts";
import type { ResponseStatus } from "./calendar-event.ts";

/** A meeting as its owner sees it, with what the calendar says of its event. */
export type Meeting = {
  id: string;
  title: string;
  description: string | null;
  meeting_url: string | null;
  meeting_provider: string | null;
  start_time: Date;
  end_time: Date;
  time_zone: string | null;
  all_day: boolean;
  event_status: ResponseStatus | null;
  cancelled_at: Date | null;
  google_calendar_event_id: string | null;
  project_id: string | null;
  wants_bot: boolean | null;
  bot_id: string | null;
  bot_status: string | null;
  bot_name: string | null;
  bot_chat_message: string | null;
  bot_configuration: Record<string, unknown> | null;
  bot_deployment_method: string | null;
  auto_scheduled_via_email: boolean;
  virtual_email_attendee: string | null;
  has_bot: boolean;
  has_transcript: boolean;
  attendees: unknown[];
  organiser: Record<string, unknown> | null;
  html_link: string | null;
  created_at: Date | null;
  updated_at: Date | null;
};

/** Where in time, and which. All bounds are optional; `after` is the sort key of the row before. */
export type MeetingFilter = {
  from?: Date | undefined;
  to?: Date | undefined;
  status?: "upcoming" | "running" | "over" | "cancelled" | undefined;
  hasBot?: boolean | undefined;
  projectId?: string | undefined;
  order?: "asc" | "desc" | undefined;
  after?: { startTime: Date; id: string } | undefined;
  limit: number;
};

/** Whether a meeting, by its name in a statement, has a bot: one that is to come, is there, or was. */
export function hasBot(meeting: "meetings" | "meeting") {
  const its = (column: string) => sql.ref(`${meeting}.${column}`);
  return sql<boolean>`(${its("bot_id")} is not null or ${its("attendee_bot_id")} is not null
    or coalesce(${its("bot_status")}, 'pending') not in ('pending', 'failed'))`;
}

/**
 * A user's meetings by start, the earliest first unless asked otherwise; one is in a span of time when any part of it is.
 *
 * @throws {AppError} `not_found` for a project that is not theirs.
 */
export async function listMeetings(
  app: Pick<App, "db" | "clock">,
  userId: string,
  filter: MeetingFilter,
): Promise<Meeting[]> {
  const now = app.clock.now();
  const { from, to, after, status, projectId, order = "asc" } = filter;
  const beyond = order === "asc" ? sql`>` : sql`<`;
  if (projectId) await requireProject(app.db, userId, projectId);
  const conditions = [
    sql`meetings.user_id = ${userId}`,
    ...(from ? [sql`meetings.end_time > ${from}`] : []),
    ...(to ? [sql`meetings.start_time < ${to}`] : []),
    ...(status ? [statusIs(status, now)] : []),
    ...(filter.hasBot === undefined ? [] : [sql`${hasBot("meetings")} = ${filter.hasBot}`]),
    ...(projectId ? [sql`meetings.project_id = ${projectId}`] : []),
    ...(after
      ? [sql`(meetings.start_time, meetings.id) ${beyond} (${after.startTime}, ${after.id}::uuid)`]
      : []),
  ];
  return selectMeetings(app, sql.join(conditions, sql` and `), { order, limit: filter.limit });
}

/** One meeting of this user. @throws {AppError} `not_found` */
export async function getMeeting(
  app: Pick<App, "db">,
  userId: string,
  id: string,
): Promise<Meeting> {
  const [meeting] = await selectMeetings(
    app,
    sql`meetings.user_id = ${userId} and meetings.id = ${id}`,
    { order: "asc", limit: 1 },
  );
  if (!meeting) throw new AppError("not_found", `No meeting ${id}`);
  return meeting;
}

/** What a person says about a meeting. What is left out stays. */
export type MeetingEdit = {
  project_id?: string | null | undefined;
  wants_bot?: boolean | null | undefined;
  bot_name?: string | undefined;
  bot_chat_message?: string | undefined;
  bot_configuration?: Record<string, unknown> | null | undefined;
};

/**
 * Keeps what a person says about a meeting; no sync overwrites it. Whether it gets a bot is decided anew.
 *
 * @throws {AppError} `not_found` for a meeting or a project that is not theirs.
 */
export async function editMeeting(
  app: Pick<App, "db" | "clock" | "queue">,
  userId: string,
  id: string,
  edit: MeetingEdit,
): Promise<Meeting> {
  await app.db.transaction().execute(async (tx) => {
    await lockMeetings(tx, userId, [id]);
    if (edit.project_id) await requireProject(tx, userId, edit.project_id);
    const { bot_configuration: configuration, ...plain } = edit;
    const changed = await tx
      .updateTable("meetings")
      .set({
        ...Object.fromEntries(Object.entries(plain).filter(([, value]) => value !== undefined)),
        ...(configuration === undefined
          ? {}
          : { bot_configuration: configuration && JSON.stringify(configuration) }),
        updated_at: app.clock.now(),
      })
      .where("id", "=", id)
      .where("user_id", "=", userId)
      .executeTakeFirst();
    if (changed.numUpdatedRows === 0n) throw new AppError("not_found", `No meeting ${id}`);
    await decideBots(tx, [id], app.clock.now());
    // Even one that has its bot may want it by another name now.
    await enqueue(app, tx, reconcileJob({ meeting_id: id }));
    await tellUser(tx, userId, [{ type: "meeting.changed", payload: { meeting_ids: [id] } }]);
  });
  return getMeeting(app, userId, id);
}

/**
 * Puts meetings of a user into a project of theirs, unless they are in one already.
 *
 * @throws {AppError} `not_found` for a project that is not theirs.
 */
export async function putIntoProject(
  app: Pick<App, "db" | "clock">,
  userId: string,
  { ids, projectId }: { ids: string[]; projectId: string },
): Promise<void> {
  if (ids.length === 0) return;
  await app.db.transaction().execute(async (tx) => {
    await lockMeetings(tx, userId, ids);
    await requireProject(tx, userId, projectId);
    const { rows } = await sql<{ id: string }>`
      update meetings set project_id = ${projectId}, updated_at = ${app.clock.now()}
      where id = any(${ids}) and user_id = ${userId} and project_id is null
      returning id
    `.execute(tx);
    const payload = { meeting_ids: rows.map(({ id }) => id) };
    if (rows.length > 0) await tellUser(tx, userId, [{ type: "meeting.changed", payload }]);
  });
}

// Before the project that they come into, as whoever deletes that does.
async function lockMeetings(tx: Tx, userId: string, ids: string[]): Promise<void> {
  await sql`
    select from meetings where id = any(${ids}::uuid[]) and user_id = ${userId} order by id for update
  `.execute(tx);
}

function statusIs(status: NonNullable<MeetingFilter["status"]>, now: Date): RawBuilder<unknown> {
  if (status === "cancelled") return sql`meetings.cancelled_at is not null`;
  const time = {
    upcoming: sql`meetings.start_time > ${now}`,
    running: sql`meetings.start_time <= ${now} and meetings.end_time > ${now}`,
    over: sql`meetings.end_time <= ${now}`,
  };
  return sql`meetings.cancelled_at is null and ${time[status]}`;
}

async function selectMeetings(
  app: Pick<App, "db">,
  condition: RawBuilder<unknown>,
  { order, limit }: { order: "asc" | "desc"; limit: number },
): Promise<Meeting[]> {
  const direction = order === "asc" ? sql`asc` : sql`desc`;
  const byStart = sql`meetings.start_time ${direction}, meetings.id ${direction}`;
  const { rows } = await sql<Meeting>`
    select meetings.id, meetings.title, meetings.description, meetings.meeting_url, event.meeting_provider,
      meetings.start_time, meetings.end_time, meetings.time_zone, meetings.all_day, meetings.event_status,
      meetings.cancelled_at, meetings.google_calendar_event_id, meetings.project_id, meetings.wants_bot,
      meetings.bot_id, meetings.bot_status, meetings.bot_name, meetings.bot_chat_message, meetings.bot_configuration,
      meetings.bot_deployment_method, coalesce(meetings.auto_scheduled_via_email, false) as auto_scheduled_via_email,
      meetings.virtual_email_attendee, ${hasBot("meetings")} as has_bot, coalesce(meetings.transcript, '') <> '' as has_transcript,
      coalesce(event.attendees, '[]') as attendees, event.organiser, event.html_link,
      meetings.created_at, meetings.updated_at
    from (
      select * from meetings where ${condition} order by ${byStart} limit ${limit}
    ) as meetings
    left join lateral (
      select meeting_provider, attendees, organiser, html_link from calendar_events
      where calendar_events.user_id = meetings.user_id
        and calendar_events.event_id = meetings.google_calendar_event_id
      limit 1
    ) as event on true
    order by ${byStart}
  `.execute(app.db);
  return rows;
}
