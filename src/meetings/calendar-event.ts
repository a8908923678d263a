import { createHash } from "node:crypto";
import type { CalendarEvent, EventTime } from "../providers/google/calendar-events.ts";
import { plainText } from "./html.ts";
import { findMeetingUrl, type PreferredLink } from "./meeting-url.ts";
import { startOfDay } from "./start-of-day.ts";

/** What a row needs to know of the calendar that the event is in. */
export type CalendarOfEvent = {
  id: string;
  timeZone: string;
  accessRole: string;
  /** The address of the account that reads it. */
  accountEmail: string;
};

/** The values of a row of `calendar_events`, but for its id, its user and when it was written. */
export type CalendarEventRow = ReturnType<typeof calendarEventRow>;

/** The values of a row of `meetings` that come from the calendar, and only these; the rest is people's and bots'. */
export type MeetingValues = {
  google_calendar_event_id: string;
  title: string;
  description: string | null;
  meeting_url: string;
  start_time: Date;
  end_time: Date;
  event_status: ResponseStatus;
};

export type ResponseStatus = CalendarEvent["attendees"][number]["responseStatus"];

/** What an event is called that has no title, here and in Google's own calendar. */
const untitled = "(No title)";
const untitledMeeting = "Untitled Meeting";

const defaultLengthMs = 60 * 60_000;

// Birthdays, out of office, focus time and working location are of a day, not meetings.
const meetingTypes = new Set(["default", "fromGmail"]);

/**
 * An event as we keep it. Dates of all-day events stay dates, `end_date` being the day after the last; beside them stand
 * the instants at which they begin and end in the calendar's zone. `content_hash` changes with all that a reader could
 * notice, and not with Google's own counters.
 */
export function calendarEventRow(
  event: CalendarEvent,
  calendar: CalendarOfEvent,
  prefer: PreferredLink,
) {
  const link = findMeetingUrl(
    { ...event, entryPoints: event.conferenceData?.entryPoints ?? null },
    prefer,
  );
  const content = {
    calendar_id: calendar.id,
    event_id: event.id,
    recurring_event_id: event.recurringEventId,
    original_start: event.originalStartTime && momentText(event.originalStartTime),
    ical_uid: event.iCalUID,
    status: event.status,
    event_type: event.eventType,
    visibility: event.visibility,
    title: titleOf(event, calendar),
    description: event.description,
    location: event.location,
    ...timesOf(event, calendar.timeZone),
    organiser: event.organizer,
    attendees: event.attendees,
    response_status: responseStatusOf(event, calendar),
    transparency: event.transparency,
    conference: event.conferenceData,
    attachments: event.attachments,
    html_link: event.htmlLink,
    meeting_url: link?.url ?? null,
    meeting_provider: link?.provider ?? null,
    meeting_key: link?.key ?? null,
    rival_meeting_url: link?.rival ?? null,
    is_meeting: link !== null && meetingTypes.has(event.eventType),
  };
  return {
    ...content,
    etag: event.etag,
    sequence: event.sequence,
    updated_at_provider: event.updated,
    content_hash: createHash("sha256").update(JSON.stringify(content)).digest("base64url"),
  };
}

/** The meeting that an event is; null for one without a link, and for what stands in a calendar but is no meeting. */
export function meetingOf(row: CalendarEventRow): MeetingValues | null {
  if (!row.is_meeting || row.meeting_url === null) return null;
  return {
    google_calendar_event_id: row.event_id,
    title: row.title === untitled ? untitledMeeting : row.title,
    description: plainText(row.description ?? "") || null,
    meeting_url: row.meeting_url,
    start_time: row.start_time,
    end_time: row.end_time,
    event_status: row.response_status,
  };
}

// Google leaves out the title of what a reader may not see, and its own calendar says "Busy" there.
function titleOf({ summary, visibility }: CalendarEvent, { accessRole }: CalendarOfEvent): string {
  const isHidden =
    accessRole === "freeBusyReader" || visibility === "private" || visibility === "confidential";
  return summary?.trim() || (isHidden ? "Busy" : untitled);
}

function timesOf({ start, end }: CalendarEvent, zone: string) {
  if ("date" in start) {
    const next = dayAfter(start.date);
    const endDate = end && "date" in end && end.date > start.date ? end.date : next;
    return {
      all_day: true,
      start_date: start.date,
      end_date: endDate,
      start_time: startOfDay(start.date, zone),
      end_time: startOfDay(endDate, zone),
      time_zone: zone,
    };
  }
  const isLater = end && "at" in end && end.at >= start.at;
  return {
    all_day: false,
    start_date: null,
    end_date: null,
    start_time: start.at,
    end_time: isLater ? end.at : new Date(start.at.getTime() + defaultLengthMs),
    time_zone: start.timeZone ?? zone,
  };
}

function dayAfter(date: string): string {
  return new Date(Date.parse(`${date}T00:00:00Z`) + 86_400_000).toISOString().slice(0, 10);
}

// An occurrence is known by when it was meant to be; as text, dates stay dates there too.
function momentText(moment: EventTime): string {
  return "date" in moment ? moment.date : moment.at.toISOString();
}

// Who put an event without guests into the calendar goes to it.
function responseStatusOf(event: CalendarEvent, { accountEmail }: CalendarOfEvent): ResponseStatus {
  const own = event.attendees.find(({ self }) => self);
  if (own) return own.responseStatus;
  const { creator, organizer } = event;
  const isOwn =
    organizer?.self ||
    creator?.self ||
    creator?.email?.toLowerCase() === accountEmail.toLowerCase();
  return event.attendees.length === 0 && isOwn ? "accepted" : "needsAction";
}
