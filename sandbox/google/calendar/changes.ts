import { randomBytes } from "node:crypto";
import { z } from "zod";
import { GoogleError } from "../errors.ts";
import type { Person } from "../people.ts";
import { isReadable, type Occurrence, occurrencesOf } from "./recurrence.ts";
import {
  type Attendee,
  type Calendar,
  type Content,
  type Copy,
  type Event,
  type Listed,
  nextChange,
  type Store,
  spread,
} from "./store.ts";
import { instantOf, isKnownZone } from "./times.ts";
import { etagOf } from "./view.ts";

const Time = z
  .looseObject({
    date: z.iso.date().optional(),
    dateTime: z
      .string()
      .refine((text) => !Number.isNaN(Date.parse(text)))
      .optional(),
    timeZone: z.string().refine(isKnownZone, "Invalid time zone definition").optional(),
  })
  .transform(({ date, dateTime, timeZone }) => ({
    ...(date ? { date } : {}),
    ...(dateTime ? { dateTime } : {}),
    ...(timeZone ? { timeZone } : {}),
  }))
  .refine(
    (time) => (time.date === undefined) !== (time.dateTime === undefined),
    "Missing or ambiguous time",
  );

/** What a writer may say about an event. What the sandbox has no rules for is kept as it is. */
export const EventInput = z.looseObject({
  id: z
    .string()
    .regex(/^[a-v0-9]{5,1024}$/, "Invalid resource id value")
    .optional(),
  start: Time.optional(),
  end: Time.optional(),
  recurrence: z.array(z.string().refine(isReadable, "Invalid recurrence rule")).optional(),
  attendees: z
    .array(z.looseObject({ email: z.string().min(1), responseStatus: z.string().optional() }))
    .optional(),
});

export type EventInput = z.input<typeof EventInput>;

// What Google decides itself, whatever a writer says.
const ownFields = [
  "kind",
  "etag",
  "htmlLink",
  "created",
  "updated",
  "creator",
  "organizer",
  "sequence",
  "hangoutLink",
];

/** Puts a new event into a calendar, and into those of the invited. @throws {GoogleError} */
export function insertEvent(
  store: Store,
  listed: Listed,
  person: Person,
  given: EventInput,
): Event {
  requireWriter(listed);
  const input = EventInput.parse(given);
  const { calendar } = listed;
  if (!input.start || !input.end)
    throw new GoogleError(400, "required", "Missing start or end time.");
  if (input.recurrence && input.start.dateTime && !input.start.timeZone) {
    throw new GoogleError(400, "required", "Missing time zone definition for start time.");
  }
  const id = input.id ?? randomBytes(13).toString("hex");
  if (calendar.copies.has(id)) throw new GoogleError(409, "duplicate");
  const now = store.state.clock.now();
  const content = Object.assign(written(input), {
    id,
    iCalUID: typeof input.iCalUID === "string" ? input.iCalUID : `${id}@google.com`,
    start: input.start,
    end: input.end,
  });
  requireOrder(content, calendar);
  const hangoutLink = meetLinkOf(given, id);
  const event: Event = {
    content: { ...content, ...hangoutLink, ...attendeesOf(input.attendees, calendar) },
    home: calendar,
    creator: person,
    isCancelled: false,
    created: now,
    updated: now,
    sequence: 0,
  };
  spread(store, event);
  return event;
}

/** Changes an event: a patch leaves alone what it does not name, an update takes it away. @throws {GoogleError} */
export function changeEvent(
  store: Store,
  listed: Listed,
  person: Person,
  change: { id: string; input: EventInput; isWhole: boolean; ifMatch?: string | undefined },
): Event {
  const event = getWritable(store, listed, change.id);
  requireMatch(event, change.id, change.ifMatch);
  const input = EventInput.parse(change.input);
  if (event.home !== listed.calendar) return answer(store, event, person, input);
  requireWriter(listed);
  const before = occurrencesByCalendar(store, event);
  const { attendees: _attendees, ...rest } = event.content;
  const kept = change.isWhole
    ? {
        id: rest.id,
        iCalUID: rest.iCalUID,
        start: rest.start,
        end: rest.end,
        ...seriesFields(rest),
      }
    : event.content;
  const { recurrence, ...fields } = { ...kept, ...written(input) };
  const content = {
    ...fields,
    id: rest.id,
    iCalUID: rest.iCalUID,
    ...(input.start ? { start: input.start } : { start: rest.start }),
    ...(input.end ? { end: input.end } : { end: rest.end }),
    ...(recurrence && recurrence.length > 0 ? { recurrence } : {}),
    ...(input.attendees ? attendeesOf(input.attendees, event.home) : {}),
  };
  requireOrder(content, event.home);
  event.content = withoutNulls(content);
  event.updated = store.state.clock.now();
  event.sequence += 1;
  if (input.status === "cancelled") event.isCancelled = true;
  spread(store, event);
  noteGone(store, event, before);
  if (before.size > 0 && !event.content.recurrence) cancelExceptions(store, event);
  return event;
}

/** Deletes an event: from the organiser's calendar everywhere, from a guest's only there. @throws {GoogleError} */
export function deleteEvent(
  store: Store,
  listed: Listed,
  person: Person,
  id: string,
  ifMatch?: string,
): void {
  requireWriter(listed);
  const { calendar } = listed;
  if (calendar.copies.get(id)?.isGone) throw new GoogleError(410, "deleted");
  const event = getWritable(store, listed, id);
  requireMatch(event, id, ifMatch);
  if (event.home !== calendar) {
    setResponse(event, person.email, "declined");
    spread(store, event);
    const copy = calendar.copies.get(id);
    if (copy) calendar.copies.set(id, { ...copy, isGone: true, change: nextChange(store) });
    for (const tell of store.onChange) tell({ calendar });
    return;
  }
  cancel(store, event);
}

/** Moves an event to another calendar of the same person. @throws {GoogleError} */
export function moveEvent(store: Store, from: Listed, to: Listed, id: string): Event {
  requireWriter(from);
  requireWriter(to);
  const event = getWritable(store, from, id);
  if (event.home !== from.calendar) throw new GoogleError(403, "forbiddenForNonOrganizer");
  if (event.content.recurringEventId) throw new GoogleError(400, "cannotChangeOrganizerOfInstance");
  const before = occurrencesByCalendar(store, event);
  event.home = to.calendar;
  event.updated = store.state.clock.now();
  spread(store, event);
  noteGone(store, event, before);
  return event;
}

/** What a calendar's copy of an event is, for reading. An occurrence of a series has an event behind it. */
export function findCopy(
  store: Store,
  calendar: Calendar,
  id: string,
): { copy: Copy; occurrence?: Occurrence } | null {
  const copy = calendar.copies.get(id);
  if (copy) return { copy };
  const [, seriesId = "", stamp = ""] = /^(.+)_(\d{8}(?:T\d{6}Z)?)$/.exec(id) ?? [];
  const series = calendar.copies.get(seriesId);
  if (!series || series.isGone) return null;
  const occurrence = occurrencesIn(store, series.event, calendar).find(
    (one) => one.stamp === stamp,
  );
  return occurrence ? { copy: series, occurrence } : null;
}

// Writing to an occurrence makes an event of its own of it.
function getWritable(store: Store, { calendar }: Listed, id: string): Event {
  const found = findCopy(store, calendar, id);
  if (!found) throw new GoogleError(404, "notFound");
  const { copy, occurrence } = found;
  if (!occurrence) return copy.event;
  const { recurrence: _recurrence, ...content } = copy.event.content;
  const now = store.state.clock.now();
  const event: Event = {
    ...copy.event,
    content: {
      ...content,
      id,
      start: occurrence.start,
      end: occurrence.end,
      recurringEventId: content.id,
      originalStartTime: occurrence.start,
    },
    created: now,
    updated: now,
  };
  return event;
}

function cancel(store: Store, event: Event): void {
  const before = occurrencesByCalendar(store, event);
  event.isCancelled = true;
  event.updated = store.state.clock.now();
  spread(store, event);
  if (event.content.recurringEventId) markHole(store, event);
  noteGone(store, event, before);
  cancelExceptions(store, event);
}

// The exceptions of a series go with it.
function cancelExceptions(store: Store, { home, content }: Event): void {
  for (const { event } of [...home.copies.values()]) {
    if (event.content.recurringEventId === content.id && !event.isCancelled) cancel(store, event);
  }
}

// A cancelled occurrence that was never changed before has no copies yet that could be marked as gone.
function markHole(store: Store, event: Event): void {
  const change = nextChange(store);
  const seriesId = event.content.recurringEventId ?? "";
  for (const calendar of store.calendars.values()) {
    if (!calendar.copies.get(seriesId)) continue;
    if (calendar.copies.get(event.content.id)?.event === event) continue;
    calendar.copies.set(event.content.id, { event, isGone: true, isSeries: false, change });
    for (const tell of store.onChange) tell({ calendar });
  }
}

const halfYearMs = 183 * 86_400_000;

// Google tells of the occurrences that a series lost for about half a year around now, and not of those further off.
function noteGone(store: Store, event: Event, before: Map<Calendar, Occurrence[]>): void {
  const now = store.state.clock.now().getTime();
  const change = nextChange(store);
  for (const [calendar, occurrences] of before) {
    const copy = calendar.copies.get(event.content.id);
    const left = new Set(
      copy && !copy.isGone ? occurrencesIn(store, event, calendar).map(({ stamp }) => stamp) : [],
    );
    for (const { stamp, start, at } of occurrences) {
      const id = `${event.content.id}_${stamp}`;
      if (left.has(stamp) || Math.abs(at - now) > halfYearMs) continue;
      calendar.gone.set(id, { change, seriesId: event.content.id, start });
    }
    for (const { stamp } of occurrences)
      if (left.has(stamp)) calendar.gone.delete(`${event.content.id}_${stamp}`);
  }
}

function occurrencesByCalendar(store: Store, event: Event): Map<Calendar, Occurrence[]> {
  if (!event.content.recurrence) return new Map();
  const holding = [...store.calendars.values()].filter(
    (calendar) => calendar.copies.get(event.content.id)?.isGone === false,
  );
  return new Map(holding.map((calendar) => [calendar, occurrencesIn(store, event, calendar)]));
}

function occurrencesIn(store: Store, { content }: Event, calendar: Calendar): Occurrence[] {
  if (!content.recurrence) return [];
  const until = store.state.clock.now().getTime() + 2 * 365 * 86_400_000;
  return occurrencesOf(
    { start: content.start, end: content.end, recurrence: content.recurrence },
    calendar.timeZone,
    until,
  );
}

// A guest changes nothing but their own answer.
function answer(
  store: Store,
  event: Event,
  person: Person,
  input: z.output<typeof EventInput>,
): Event {
  const { attendees, ...others } = input;
  const isShared = ["summary", "start", "end", "location", "description", "recurrence"].some(
    (name) => name in others,
  );
  if (isShared)
    throw new GoogleError(
      403,
      "forbiddenForNonOrganizer",
      "Shared properties can only be changed by the organizer of the event.",
    );
  const own = attendees?.find(({ email }) => email.toLowerCase() === person.email.toLowerCase());
  if (own?.responseStatus) setResponse(event, person.email, own.responseStatus);
  event.updated = store.state.clock.now();
  spread(store, event);
  return event;
}

function setResponse(event: Event, email: string, responseStatus: string): void {
  const attendees = event.content.attendees?.map((one) =>
    one.email.toLowerCase() === email.toLowerCase() ? { ...one, responseStatus } : one,
  );
  if (attendees) event.content = { ...event.content, attendees };
}

function attendeesOf(
  given: { email: string; responseStatus?: string | undefined }[] | undefined,
  home: Calendar,
) {
  if (!given) return {};
  const attendees: Attendee[] = given.map(
    ({
      self: _self,
      ...one
    }: Record<string, unknown> & { email: string; responseStatus?: string | undefined }) => ({
      ...one,
      email: one.email,
      responseStatus:
        one.responseStatus ??
        (one.email.toLowerCase() === home.owner.email.toLowerCase() ? "accepted" : "needsAction"),
    }),
  );
  return attendees.length > 0 ? { attendees } : {};
}

function written(
  input: z.output<typeof EventInput>,
): Record<string, unknown> & { recurrence?: string[] } {
  const { attendees: _attendees, start: _start, end: _end, id: _id, ...fields } = input;
  const own = new Set(ownFields);
  return Object.fromEntries(Object.entries(fields).filter(([name]) => !own.has(name)));
}

function seriesFields({ recurringEventId, originalStartTime }: Partial<Content>) {
  return recurringEventId && originalStartTime ? { recurringEventId, originalStartTime } : {};
}

function meetLinkOf(given: EventInput, id: string) {
  if (typeof given.hangoutLink === "string") return { hangoutLink: given.hangoutLink };
  const asked = z.looseObject({ createRequest: z.looseObject({}) }).safeParse(given.conferenceData);
  if (!asked.success) return {};
  const letters = [...id]
    .map((sign) => String.fromCharCode(97 + (sign.charCodeAt(0) % 26)))
    .join("");
  const uri = `https://meet.google.com/${letters.slice(0, 3)}-${letters.slice(3, 7)}-${letters.slice(7, 10)}`;
  return {
    hangoutLink: uri,
    conferenceData: {
      conferenceId: uri.split("/").at(-1),
      conferenceSolution: { key: { type: "hangoutsMeet" }, name: "Google Meet" },
      entryPoints: [{ entryPointType: "video", uri, label: uri.replace("https://", "") }],
    },
  };
}

function withoutNulls<Value extends Record<string, unknown>>(value: Value): Value {
  for (const key of Object.keys(value)) if (value[key] === null) delete value[key];
  return value;
}

function requireWriter({ accessRole }: Listed): void {
  if (!["owner", "writer"].includes(accessRole)) {
    throw new GoogleError(
      403,
      "requiredAccessLevel",
      "You need to have writer access to this calendar.",
    );
  }
}

function requireOrder({ start, end }: Pick<Content, "start" | "end">, calendar: Calendar): void {
  const isMixed = (start.date === undefined) !== (end.date === undefined);
  if (isMixed || instantOf(end, calendar.timeZone) < instantOf(start, calendar.timeZone)) {
    throw new GoogleError(400, "timeRangeEmpty", "The specified time range is empty.");
  }
}

function requireMatch(event: Event, id: string, ifMatch: string | undefined): void {
  if (ifMatch && ifMatch !== "*" && ifMatch !== etagOf(event, id))
    throw new GoogleError(412, "conditionNotMet");
}
