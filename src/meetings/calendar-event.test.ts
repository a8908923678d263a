import assert from "node:assert/strict";
import { test } from "node:test";
import { eventChangeOf } from "../providers/google/calendar-events.ts";
import {
  type CalendarEventRow,
  type CalendarOfEvent,
  calendarEventRow,
  meetingOf,
} from "./calendar-event.ts";
import type { PreferredLink } from "./meeting-url.ts";

const calendar: CalendarOfEvent = {
  id: "ana@example.com",
  timeZone: "Europe/Berlin",
  accessRole: "owner",
  accountEmail: "ana@example.com",
};
const zoom = "https://us02web.zoom.us/j/89012345678?pwd=abc123";
const timed = {
  id: "event1",
  status: "confirmed",
  start: { dateTime: "2026-09-22T10:00:00+02:00", timeZone: "Europe/Berlin" },
  end: { dateTime: "2026-09-22T10:30:00+02:00", timeZone: "Europe/Berlin" },
};

function rowOf(
  item: object,
  of: Partial<CalendarOfEvent> = {},
  prefer: PreferredLink = "structured",
): CalendarEventRow {
  const change = eventChangeOf({ ...timed, ...item });
  assert.ok(change.type === "upsert", JSON.stringify(change));
  return calendarEventRow(change.event, { ...calendar, ...of }, prefer);
}

function assertHolds(row: object, expected: object, what: string): void {
  const held = Object.fromEntries(
    Object.keys(expected).map((name) => [name, Reflect.get(row, name)]),
  );
  assert.deepEqual(held, expected, what);
}

test("an occurrence with a Zoom add-on is kept with all that Google says of it", () => {
  const organizer = { email: "bob@example.com", displayName: null, self: false };
  const guest = {
    displayName: null,
    self: false,
    organizer: false,
    resource: false,
    optional: false,
  };
  const row = rowOf({
    id: "series_20260922T080000Z",
    etag: '"33"',
    htmlLink: "https://www.google.com/calendar/event?eid=x",
    updated: "2026-09-21T07:59:00.123Z",
    summary: " Weekly ",
    organizer: { email: "bob@example.com" },
    recurringEventId: "series",
    originalStartTime: { dateTime: "2026-09-22T09:00:00+02:00" },
    iCalUID: "series@example.com",
    sequence: 1,
    attendees: [
      { email: "bob@example.com", organizer: true, responseStatus: "accepted" },
      { email: "ana@example.com", self: true, responseStatus: "tentative" },
      { email: "room@example.com", resource: true, responseStatus: "accepted" },
    ],
    conferenceData: {
      entryPoints: [{ entryPointType: "video", uri: zoom, passcode: "654321" }],
      conferenceSolution: {
        key: { type: "addOn" },
        name: "Zoom Meeting",
        iconUri: "https://example.com/i",
      },
      conferenceId: "890 1234 5678",
    },
    unknownField: { of: "the future" },
  });
  const { conference, content_hash: hash, ...rest } = row;
  assert.match(hash, /^[\w-]{43}$/);
  assert.equal(conference?.entryPoints[0]?.passcode, "654321");
  assert.deepEqual(rest, {
    calendar_id: "ana@example.com",
    event_id: "series_20260922T080000Z",
    recurring_event_id: "series",
    original_start: "2026-09-22T07:00:00.000Z",
    ical_uid: "series@example.com",
    status: "confirmed",
    event_type: "default",
    visibility: "default",
    title: "Weekly",
    description: null,
    location: null,
    all_day: false,
    start_date: null,
    end_date: null,
    start_time: new Date("2026-09-22T08:00:00Z"),
    end_time: new Date("2026-09-22T08:30:00Z"),
    time_zone: "Europe/Berlin",
    organiser: organizer,
    attendees: [
      { ...guest, email: "bob@example.com", organizer: true, responseStatus: "accepted" },
      { ...guest, email: "ana@example.com", self: true, responseStatus: "tentative" },
      { ...guest, email: "room@example.com", resource: true, responseStatus: "accepted" },
    ],
    response_status: "tentative",
    transparency: "opaque",
    attachments: [],
    html_link: "https://www.google.com/calendar/event?eid=x",
    meeting_url: zoom,
    meeting_provider: "zoom",
    meeting_key: "zoom:89012345678",
    rival_meeting_url: null,
    is_meeting: true,
    etag: '"33"',
    sequence: 1,
    updated_at_provider: new Date("2026-09-21T07:59:00.123Z"),
  });
});

test("times are instants, dates stay dates, and an end is always there", () => {
  const cases: [
    what: string,
    item: object,
    zone: string,
    start: string,
    end: string,
    dates?: [string, string],
  ][] = [
    ["an offset", {}, "UTC", "2026-09-22T08:00:00.000Z", "2026-09-22T08:30:00.000Z"],
    ["no end", { end: undefined }, "UTC", "2026-09-22T08:00:00.000Z", "2026-09-22T09:00:00.000Z"],
    [
      "an end that cannot be read",
      { end: { dateTime: "soon" } },
      "UTC",
      "2026-09-22T08:00:00.000Z",
      "2026-09-22T09:00:00.000Z",
    ],
    [
      "an end before the start",
      { end: { dateTime: "2026-09-22T07:00:00Z" } },
      "UTC",
      "2026-09-22T08:00:00.000Z",
      "2026-09-22T09:00:00.000Z",
    ],
    [
      "no length",
      { end: timed.start },
      "UTC",
      "2026-09-22T08:00:00.000Z",
      "2026-09-22T08:00:00.000Z",
    ],
    [
      "over a change of clocks",
      {
        start: { dateTime: "2026-03-29T01:30:00+01:00" },
        end: { dateTime: "2026-03-29T03:30:00+02:00" },
      },
      "Europe/Berlin",
      "2026-03-29T00:30:00.000Z",
      "2026-03-29T01:30:00.000Z",
    ],
    [
      "one day",
      { start: { date: "2026-09-11" }, end: { date: "2026-09-12" } },
      "Europe/Berlin",
      "2026-09-10T22:00:00.000Z",
      "2026-09-11T22:00:00.000Z",
      ["2026-09-11", "2026-09-12"],
    ],
    [
      "one day in the west",
      { start: { date: "2026-09-11" }, end: { date: "2026-09-12" } },
      "America/Los_Angeles",
      "2026-09-11T07:00:00.000Z",
      "2026-09-12T07:00:00.000Z",
      ["2026-09-11", "2026-09-12"],
    ],
    [
      "the day of 23 hours",
      { start: { date: "2026-03-29" }, end: { date: "2026-03-30" } },
      "Europe/Berlin",
      "2026-03-28T23:00:00.000Z",
      "2026-03-29T22:00:00.000Z",
      ["2026-03-29", "2026-03-30"],
    ],
    [
      "the day of 25 hours",
      { start: { date: "2026-10-25" }, end: { date: "2026-10-26" } },
      "Europe/Berlin",
      "2026-10-24T22:00:00.000Z",
      "2026-10-25T23:00:00.000Z",
      ["2026-10-25", "2026-10-26"],
    ],
    [
      "a day without midnight",
      { start: { date: "2024-04-26" }, end: { date: "2024-04-27" } },
      "Africa/Cairo",
      "2024-04-25T22:00:00.000Z",
      "2024-04-26T21:00:00.000Z",
      ["2024-04-26", "2024-04-27"],
    ],
    [
      "several days, over the end of a year",
      { start: { date: "2026-12-30" }, end: { date: "2027-01-02" } },
      "UTC",
      "2026-12-30T00:00:00.000Z",
      "2027-01-02T00:00:00.000Z",
      ["2026-12-30", "2027-01-02"],
    ],
    [
      "a day without end",
      { start: { date: "2028-02-29" }, end: undefined },
      "UTC",
      "2028-02-29T00:00:00.000Z",
      "2028-03-01T00:00:00.000Z",
      ["2028-02-29", "2028-03-01"],
    ],
    [
      "a day that ends as it begins",
      { start: { date: "2026-09-11" }, end: { date: "2026-09-11" } },
      "UTC",
      "2026-09-11T00:00:00.000Z",
      "2026-09-12T00:00:00.000Z",
      ["2026-09-11", "2026-09-12"],
    ],
    [
      "a zone unknown to us",
      { start: { date: "2026-09-11" }, end: { date: "2026-09-12" } },
      "Mars/Olympus",
      "2026-09-11T00:00:00.000Z",
      "2026-09-12T00:00:00.000Z",
      ["2026-09-11", "2026-09-12"],
    ],
  ];
  for (const [what, item, timeZone, start, end, dates] of cases) {
    const row = rowOf(item, { timeZone });
    const times = { start_time: new Date(start), end_time: new Date(end) };
    const [start_date = null, end_date = null] = dates ?? [];
    assertHolds(row, { ...times, start_date, end_date, all_day: dates !== undefined }, what);
  }
});

test("an occurrence is known by when it was meant to be, as a date where it was one", () => {
  const original = (originalStartTime: object) =>
    rowOf({ recurringEventId: "s", originalStartTime }).original_start;
  assert.equal(original({ dateTime: "2026-09-22T10:00:00+02:00" }), "2026-09-22T08:00:00.000Z");
  assert.equal(original({ date: "2026-09-22" }), "2026-09-22");
  assert.equal(rowOf({}).original_start, null);
});

test("what Google keeps from a reader is shown as busy, what it gives is shown", () => {
  const cases: [item: object, accessRole: string, title: string][] = [
    [{ summary: "Doctor", visibility: "private" }, "owner", "Doctor"],
    [{ visibility: "private" }, "reader", "Busy"],
    [{ visibility: "confidential", summary: " " }, "reader", "Busy"],
    [{ visibility: "something new" }, "reader", "Busy"],
    [{}, "freeBusyReader", "Busy"],
    [{}, "owner", "(No title)"],
    [{ summary: "a\0b\ud800c" }, "owner", "ab\ufffdc"],
  ];
  for (const [item, accessRole, title] of cases) {
    assert.equal(rowOf(item, { accessRole }).title, title, JSON.stringify(item));
  }
});

test("the answer is that of the person's own entry, or that of who made an event without guests", () => {
  const me = { email: "ana@example.com", self: true };
  const bob = { email: "bob@example.com", responseStatus: "accepted" };
  const cases: [item: object, status: string][] = [
    [{ attendees: [bob, { ...me, responseStatus: "declined" }] }, "declined"],
    [{ attendees: [{ ...me, responseStatus: "perhaps" }] }, "needsAction"],
    [{ attendees: [bob], organizer: me }, "needsAction"],
    [{ organizer: me }, "accepted"],
    [{ creator: { email: "Ana@Example.com" } }, "accepted"],
    [{ creator: bob, organizer: bob }, "needsAction"],
    [{}, "needsAction"],
  ];
  for (const [item, status] of cases) {
    assert.equal(rowOf(item).response_status, status, JSON.stringify(item));
  }
});

test("the hash changes with what a reader could notice, and with nothing else", () => {
  const hash = (item: object) => rowOf({ summary: "A", ...item }).content_hash;
  assert.equal(
    hash({}),
    hash({ etag: '"2"', sequence: 9, updated: "2026-09-21T08:00:00Z", reminders: {} }),
  );
  const changes = [
    { summary: "B" },
    { location: "Room" },
    { status: "tentative" },
    { end: { dateTime: "2026-09-22T11:00:00+02:00" } },
    { attendees: [{ email: "bob@example.com" }] },
    { attachments: [{ fileUrl: "https://example.com/f" }] },
    { hangoutLink: "https://meet.google.com/abc-defg-hij" },
  ];
  assert.equal(new Set([hash({}), ...changes.map(hash)]).size, changes.length + 1);
});

test("an event with a link is a meeting, with its description as plain text", () => {
  const description = `<p>Agenda&nbsp;&amp; notes</p><ul><li>a &lt; b</li></ul>\n<a href="${zoom}">Join</a>`;
  const row = rowOf({
    summary: "Weekly",
    description,
    attendees: [{ self: true, responseStatus: "accepted" }],
  });
  assert.deepEqual(meetingOf(row), {
    google_calendar_event_id: "event1",
    title: "Weekly",
    description: "Agenda & notes a < b Join",
    meeting_url: zoom,
    start_time: new Date("2026-09-22T08:00:00Z"),
    end_time: new Date("2026-09-22T08:30:00Z"),
    event_status: "accepted",
  });
});

test("what a meeting lacks has a default, and what is no meeting is none", () => {
  assertHolds(
    meetingOf(rowOf({ location: zoom }))!,
    { title: "Untitled Meeting", description: null },
    "nothing but a link",
  );
  const day = { start: { date: "2026-09-11" }, end: { date: "2026-09-12" }, location: zoom };
  assertHolds(meetingOf(rowOf(day))!, { start_time: new Date("2026-09-10T22:00:00Z") }, "all day");
  assert.ok(meetingOf(rowOf({ eventType: "fromGmail", location: zoom })));
  assert.equal(meetingOf(rowOf({ location: "Room 4" })), null);
  for (const eventType of [
    "workingLocation",
    "focusTime",
    "outOfOffice",
    "birthday",
    "something new",
  ]) {
    assert.equal(meetingOf(rowOf({ eventType, location: zoom })), null, eventType);
  }
});

test("a Meet link that competes with a link in the text is kept beside it", () => {
  const meet = "https://meet.google.com/abc-defg-hij";
  const row = rowOf({ hangoutLink: meet, description: zoom });
  assertHolds(row, { meeting_url: meet, rival_meeting_url: zoom }, "Google's own link wins");
  const other = rowOf({ hangoutLink: meet, description: zoom }, {}, "text");
  assertHolds(other, { meeting_url: zoom, rival_meeting_url: meet }, "where text is preferred");
  assert.notDeepEqual(other.content_hash, row.content_hash);
});
