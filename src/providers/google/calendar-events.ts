import { z } from "zod";
import { flag, id, listOf, orNull, text, textOrNull } from "./lenient.ts";

/** A moment of a calendar: a date, which floats with the reader's zone, or an instant. */
export type EventTime = { date: string } | { at: Date; timeZone: string | null };

/** An event, or one occurrence of a series, that takes place. */
export type CalendarEvent = z.infer<typeof CalendarEvent>;

/**
 * One entry of a calendar's feed. A cancelled event often carries nothing but its id. An entry that cannot be read says
 * where it is wrong, and costs only itself.
 */
export type EventChange =
  | { type: "upsert"; event: CalendarEvent }
  | { type: "delete"; id: string; recurringEventId: string | null }
  | { type: "malformed"; id: string | null; problem: string };

/** Reads one item of a list, or the answer to a request for one event. Never throws. */
export function eventChangeOf(item: unknown): EventChange {
  const { data: known } = Known.safeParse(item);
  if (known?.status === "cancelled") {
    return { type: "delete", id: known.id, recurringEventId: known.recurringEventId };
  }
  const { data: event, error } = CalendarEvent.safeParse(item);
  if (event) return { type: "upsert", event };
  // Names of fields and kinds of values, never the values: they may be somebody's words.
  const problem = error.issues
    .map(({ path, message }) => `${path.join(".") || "event"}: ${message}`)
    .join("; ");
  return {
    type: "malformed",
    id: known?.id ?? null,
    problem: problem.slice(0, 500),
  };
}

// Years that JavaScript and PostgreSQL write alike.
const inReach = (date: string) => /^[1-9]\d{3}-/.test(date) && !date.startsWith("9999");
const EventTime: z.ZodType<EventTime> = z.union(
  [
    z
      .object({ dateTime: z.iso.datetime({ offset: true }).refine(inReach), timeZone: textOrNull })
      .transform(({ dateTime, timeZone }) => ({ at: new Date(dateTime), timeZone })),
    z.object({ date: z.iso.date().refine(inReach) }),
  ],
  "neither a date nor a time with an offset",
);

const Person = z.object({ email: textOrNull, displayName: textOrNull, self: flag });

const Attendee = z.object({
  email: textOrNull,
  displayName: textOrNull,
  self: flag,
  organizer: flag,
  resource: flag,
  optional: flag,
  responseStatus: z
    .enum(["needsAction", "declined", "tentative", "accepted"])
    .default("needsAction")
    .catch("needsAction"),
});

const EntryPoint = z.object({
  entryPointType: z.string(),
  uri: text,
  label: textOrNull,
  meetingCode: textOrNull,
  passcode: textOrNull,
  password: textOrNull,
  pin: textOrNull,
  accessCode: textOrNull,
});

const Conference = z.object({
  conferenceId: textOrNull,
  conferenceSolution: orNull(
    z.object({ name: textOrNull, key: orNull(z.object({ type: textOrNull })) }),
  ),
  entryPoints: listOf(EntryPoint),
});

const Attachment = z.object({
  fileUrl: text,
  title: textOrNull,
  mimeType: textOrNull,
  fileId: textOrNull,
});

const CalendarEvent = z.object({
  id,
  // Optional, by Google's reference; what names none is confirmed.
  status: z.enum(["confirmed", "tentative"]).default("confirmed"),
  etag: textOrNull,
  iCalUID: textOrNull,
  sequence: z.int32().default(0).catch(0),
  updated: orNull(
    z.iso
      .datetime({ offset: true })
      .refine(inReach)
      .transform((moment) => new Date(moment)),
  ),
  eventType: text.default("default").catch("default"),
  summary: textOrNull,
  description: textOrNull,
  location: textOrNull,
  htmlLink: textOrNull,
  hangoutLink: textOrNull,
  start: EventTime,
  end: orNull(EventTime),
  recurringEventId: textOrNull,
  originalStartTime: orNull(EventTime),
  organizer: orNull(Person),
  creator: orNull(Person),
  attendees: listOf(Attendee),
  // What we do not know is kept from view.
  visibility: z
    .enum(["default", "public", "private", "confidential"])
    .default("default")
    .catch("private"),
  transparency: z.enum(["opaque", "transparent"]).default("opaque").catch("opaque"),
  conferenceData: orNull(Conference),
  attachments: listOf(Attachment),
});

// All that a cancelled event is sure to have.
const Known = z.object({ id, status: z.unknown().optional(), recurringEventId: textOrNull });
