import { createHash } from "node:crypto";
import type { Occurrence } from "./recurrence.ts";
import type { Calendar, Event, Listed, Store } from "./store.ts";
import type { EventTime } from "./times.ts";

/** An event as one reader of one calendar gets it. */
export type Resource = Record<string, unknown> & { id: string; status: string };

/** A whole event, or one occurrence of a series in place of it. */
export function resourceOf(
  store: Store,
  listed: Listed,
  event: Event,
  occurrence?: Occurrence,
): Resource {
  const { calendar, accessRole } = listed;
  const { content } = event;
  const { recurrence, ...single } = content;
  const id = occurrence ? `${content.id}_${occurrence.stamp}` : content.id;
  const place = occurrence
    ? {
        ...single,
        start: occurrence.start,
        end: occurrence.end,
        recurringEventId: content.id,
        originalStartTime: occurrence.start,
      }
    : { ...single, ...(recurrence ? { recurrence } : {}) };
  const base = {
    kind: "calendar#event",
    etag: etagOf(event, id),
    id,
    status: String(content.status ?? "confirmed"),
    htmlLink: `${store.state.baseUrl()}/calendar/event?eid=${Buffer.from(id).toString("base64url")}`,
    created: event.created.toISOString(),
    updated: event.updated.toISOString(),
  };
  if (accessRole === "freeBusyReader") {
    const { start, end, recurringEventId, originalStartTime, iCalUID } = place;
    return withoutUndefined({
      ...base,
      start,
      end,
      recurringEventId,
      originalStartTime,
      iCalUID,
      visibility: "private",
    });
  }
  const organizer = event.home.owner;
  const self = (person: { sub: string }) =>
    person.sub === calendar.owner.sub ? { self: true } : {};
  const attendees = content.attendees?.map((one) => ({
    ...one,
    ...(one.email.toLowerCase() === calendar.owner.email.toLowerCase() ? { self: true } : {}),
    ...(one.email.toLowerCase() === organizer.email.toLowerCase() ? { organizer: true } : {}),
  }));
  return withoutUndefined({
    ...base,
    ...place,
    id,
    status: base.status,
    creator: { email: event.creator.email, ...self(event.creator) },
    organizer:
      event.home.kind === "primary"
        ? { email: organizer.email, displayName: organizer.name, ...self(organizer) }
        : {
            email: event.home.id,
            displayName: event.home.title,
            ...(event.home === calendar ? { self: true } : {}),
          },
    ...(attendees ? { attendees } : {}),
    iCalUID: content.iCalUID,
    sequence: event.sequence,
    reminders: { useDefault: true },
    eventType: String(content.eventType ?? "default"),
  });
}

/** What is left of an event that was cancelled: little more than its id. */
export function tombstoneOf(id: string, series?: { seriesId: string; start: EventTime }): Resource {
  return {
    kind: "calendar#event",
    id,
    status: "cancelled",
    ...(series ? { recurringEventId: series.seriesId, originalStartTime: series.start } : {}),
  };
}

export function etagOf(event: Event, id: string): string {
  const digest = createHash("sha256").update(`${id} ${event.updated.getTime()} ${event.sequence}`);
  return `"${digest.digest("base64url").slice(0, 16)}"`;
}

/** A calendar as `calendarList` shows it. */
export function listEntryOf({ calendar, ...listed }: Listed, primary: Calendar): Resource {
  const base = { kind: "calendar#calendarListEntry", etag: `"${listed.change}"`, id: calendar.id };
  if (listed.isRemoved) return { ...base, deleted: true, status: "cancelled" };
  return withoutUndefined({
    ...base,
    status: "confirmed",
    summary: calendar.title,
    ...(listed.title ? { summaryOverride: listed.title } : {}),
    timeZone: calendar.timeZone,
    accessRole: listed.accessRole,
    ...(calendar === primary ? { primary: true } : {}),
    ...(listed.isSelected ? { selected: true } : {}),
    ...(listed.isHidden ? { hidden: true } : {}),
    conferenceProperties: { allowedConferenceSolutionTypes: ["hangoutsMeet"] },
  });
}

function withoutUndefined<Value extends Record<string, unknown>>(value: Value): Value {
  for (const key of Object.keys(value)) if (value[key] === undefined) delete value[key];
  return value;
}
