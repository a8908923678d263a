import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { calendar as officialClient } from "@googleapis/calendar";
import { systemClock } from "../../lib/clock.ts";
import { ProviderError } from "../../lib/errors.ts";
import { listCalendars, listEvents, stopChannel, watch } from "./calendar.ts";
import { eventChangeOf } from "./calendar-events.ts";
import { type GoogleCall, openGoogleRequest } from "./request.ts";

/** Answers every call with `answer` and keeps what was asked. */
function answering(answer: unknown) {
  const calls: GoogleCall[] = [];
  const google = async (call: GoogleCall) => {
    calls.push(call);
    return answer;
  };
  return { google, calls };
}

const lastPage = {
  kind: "calendar#events",
  timeZone: "Europe/Berlin",
  accessRole: "owner",
  defaultReminders: [],
  nextSyncToken: "CPDAlvWDx70CEPDAlvWDx70CGAU=",
  items: [
    {
      id: "series_20260922T080000Z",
      status: "confirmed",
      summary: "Weekly",
      start: { dateTime: "2026-09-22T10:00:00+02:00", timeZone: "Europe/Berlin" },
      end: { dateTime: "2026-09-22T10:30:00+02:00", timeZone: "Europe/Berlin" },
      recurringEventId: "series",
      originalStartTime: { dateTime: "2026-09-22T10:00:00+02:00" },
      attendees: [
        { email: "bob@example.com", responseStatus: "accepted" },
        "nobody",
        { displayName: "No address" },
      ],
      conferenceData: {
        entryPoints: [
          { entryPointType: "video", uri: "https://zoom.us/j/123" },
          { entryPointType: "phone" },
        ],
      },
      aFieldOfTheFuture: [1],
    },
    {
      id: "allday1",
      status: "confirmed",
      start: { date: "2026-09-11" },
      end: { date: "2026-09-12" },
    },
    {
      id: "series_20260929T080000Z",
      status: "cancelled",
      recurringEventId: "series",
      originalStartTime: { dateTime: "2026-09-29T10:00:00+02:00" },
    },
    { id: "gone1", status: "cancelled" },
  ],
};

test("a page is read as changes: events, and cancelled ones that have nothing but their id", async () => {
  const { google } = answering(lastPage);
  const page = await listEvents(google, { calendarId: "primary", from: {} });
  const [weekly, allDay, ...cancelled] = page.changes;
  assert.ok(weekly?.type === "upsert" && allDay?.type === "upsert");
  assert.deepEqual(weekly.event.start, {
    at: new Date("2026-09-22T08:00:00Z"),
    timeZone: "Europe/Berlin",
  });
  assert.deepEqual(
    weekly.event.attendees.map(({ email }) => email),
    ["bob@example.com", null],
  );
  assert.deepEqual(
    weekly.event.conferenceData?.entryPoints.map(({ uri }) => uri),
    ["https://zoom.us/j/123"],
  );
  assert.deepEqual(allDay.event.start, { date: "2026-09-11" });
  assert.deepEqual(cancelled, [
    { type: "delete", id: "series_20260929T080000Z", recurringEventId: "series" },
    { type: "delete", id: "gone1", recurringEventId: null },
  ]);
  const { nextPageToken, nextSyncToken, timeZone } = page;
  assert.deepEqual(
    [nextPageToken, nextSyncToken, timeZone],
    [null, "CPDAlvWDx70CEPDAlvWDx70CGAU=", "Europe/Berlin"],
  );
});

test("an event that cannot be read costs only itself, and its words are not repeated", async () => {
  const good = { id: "good", status: "confirmed", start: { date: "2026-09-11" } };
  const bad: [item: unknown, id: string | null, problem: RegExp][] = [
    [{ ...good, id: "a", start: undefined }, "a", /^start: neither a date nor a time/],
    [{ ...good, id: "b", start: { date: "2026-02-30" } }, "b", /^start/],
    [{ ...good, id: "c", start: { dateTime: "2026-09-22T10:00:00" } }, "c", /^start/],
    [{ ...good, id: "d", start: { dateTime: "tomorrow with Bob" } }, "d", /^start/],
    [{ ...good, id: "e", start: { date: "0000-01-01" } }, "e", /^start/],
    [{ ...good, id: "f", status: "postponed" }, "f", /^status: /],
    [{ id: "g", summary: "Bob" }, "g", /^start: /],
    [{ ...good, id: "" }, null, /^id: /],
    [{ ...good, id: 7 }, null, /^id: /],
    [{ status: "cancelled" }, null, /^id: /],
    ["an event", null, /^event: /],
    [null, null, /^event: /],
  ];
  const { google } = answering({ items: [...bad.map(([item]) => item), good], nextSyncToken: "s" });
  const { changes } = await listEvents(google, { calendarId: "primary", from: {} });
  assert.equal(changes.at(-1)?.type, "upsert");
  for (const [index, [item, id, problem]] of bad.entries()) {
    const change = changes[index];
    assert.ok(change?.type === "malformed", JSON.stringify(item));
    assert.equal(change.id, id);
    assert.match(change.problem, problem);
    assert.doesNotMatch(change.problem, /Bob/);
  }
});

test("an event that names no status is confirmed", () => {
  const change = eventChangeOf({ id: "plain", start: { date: "2026-09-11" } });
  assert.ok(change.type === "upsert");
  assert.equal(change.event.status, "confirmed");
});

test("what an event can do without may have any shape", () => {
  const odd = Object.fromEntries(
    "etag iCalUID sequence updated eventType summary description location htmlLink hangoutLink end recurringEventId originalStartTime organizer creator attendees transparency conferenceData attachments"
      .split(" ")
      .map((name) => [name, { odd: true }]),
  );
  const start = { date: "2026-09-11" };
  const change = eventChangeOf({ ...odd, id: "odd", status: "confirmed", start });
  assert.ok(change.type === "upsert");
  assert.deepEqual(
    [change.event.summary, change.event.attendees, change.event.eventType],
    [null, [], "default"],
  );
});

test("a page may be empty and have another one after it", async () => {
  const { google } = answering({ nextPageToken: "p2" });
  const page = await listEvents(google, { calendarId: "primary", from: {} });
  assert.deepEqual(page, { changes: [], nextPageToken: "p2", nextSyncToken: null, timeZone: null });
});

test("an answer that has neither items nor a token is no empty page", async () => {
  const nothing = answering({ kind: "calendar#events" }).google;
  const isRetry = (error: unknown) =>
    error instanceof ProviderError &&
    error.failure === "retry" &&
    error.reason === "unusable_answer";
  await assert.rejects(listEvents(nothing, { calendarId: "primary", from: {} }), isRetry);
  await assert.rejects(listCalendars(nothing), isRetry);
  const empty = answering({ items: [] }).google;
  assert.deepEqual((await listEvents(empty, { calendarId: "primary", from: {} })).changes, []);
  const last = answering({ nextSyncToken: "s" }).google;
  assert.deepEqual((await listCalendars(last)).changes, []);
});

test("a token and a window are never sent together, all else is the same for both", async () => {
  const { google, calls } = answering({ items: [] });
  const window = {
    timeMin: new Date("2026-09-14T00:00:00Z"),
    timeMax: new Date("2026-11-20T00:00:00Z"),
  };
  await listEvents(google, { calendarId: "a#b@example.com", from: window });
  await listEvents(google, {
    calendarId: "a#b@example.com",
    from: { syncToken: "s=" },
    pageToken: "p",
  });
  const [full, delta] = calls.map(({ query, startOverOn }) => ({
    query: JSON.parse(JSON.stringify(query)),
    startOverOn,
  }));
  const both = { maxResults: "2500", singleEvents: "true" };
  assert.deepEqual(full, {
    query: { ...both, timeMin: "2026-09-14T00:00:00.000Z", timeMax: "2026-11-20T00:00:00.000Z" },
    startOverOn: [],
  });
  assert.deepEqual(delta, {
    query: { ...both, syncToken: "s=", pageToken: "p" },
    startOverOn: [400, 410],
  });
});

test("calendars are listed with the name their reader gave them, deleted ones as deletes", async () => {
  const { google } = answering({
    nextSyncToken: "s",
    items: [
      {
        id: "ana@example.com",
        summary: "ana@example.com",
        summaryOverride: "Mine",
        primary: true,
        selected: true,
        accessRole: "owner",
        timeZone: "Europe/Berlin",
      },
      { id: "team@example.com", summary: "Team", hidden: true },
      { id: "gone@example.com", deleted: true },
      { summary: "Nothing to know it by" },
    ],
  });
  const flags = { deleted: false, primary: false, selected: false, hidden: false };
  const { changes } = await listCalendars(google);
  assert.deepEqual(changes, [
    {
      type: "upsert",
      calendar: {
        ...flags,
        id: "ana@example.com",
        title: "Mine",
        primary: true,
        selected: true,
        accessRole: "owner",
        timeZone: "Europe/Berlin",
      },
    },
    {
      type: "upsert",
      calendar: {
        ...flags,
        id: "team@example.com",
        title: "Team",
        hidden: true,
        accessRole: "freeBusyReader",
        timeZone: null,
      },
    },
    { type: "delete", id: "gone@example.com" },
  ]);
});

test("of a channel's life only what Google answers counts", async () => {
  const channel = {
    channelId: "c1",
    token: "t",
    address: "https://daybook.example.com/hook",
    expiresAt: new Date(1_790_000_000_000),
  };
  const cases: [answer: object, expiresAt: Date | null][] = [
    [{ resourceId: "r", expiration: "1789000000000" }, new Date(1_789_000_000_000)],
    [{ resourceId: "r", expiration: 1789000000000 }, new Date(1_789_000_000_000)],
    [{ resourceId: "r", expiration: "9".repeat(20) }, null],
    [{ resourceId: "r" }, null],
  ];
  for (const [answer, expiresAt] of cases) {
    const opened = await watch(answering(answer).google, { calendarId: "primary" }, channel);
    assert.deepEqual(opened, { resourceId: "r", expiresAt });
  }
  await assert.rejects(watch(answering({}).google, "calendar list", channel), ProviderError);
});

test("what is asked is what Google's own client asks", async (t) => {
  const { origin, asked } = await recordRequests(t);
  const google = openGoogleRequest({
    apiUrl: origin,
    accessToken: async () => "t",
    renewAccessToken: async () => assert.fail(),
    clock: systemClock,
  });
  const official = officialClient({
    version: "v3",
    rootUrl: `${origin}/`,
    headers: { authorization: "Bearer t" },
    retry: false,
  });
  const calendarId = "a#b/c@group.calendar.example.com";
  const expiresAt = new Date(1_790_000_000_000);
  const channel = { channelId: "c1", token: "t", address: "https://daybook.example.com/hook" };
  const requestBody = {
    id: "c1",
    token: "t",
    address: channel.address,
    type: "web_hook",
    expiration: "1790000000000",
  };

  const pairs: [ours: () => Promise<unknown>, theirs: () => Promise<unknown>][] = [
    [
      () =>
        listEvents(google, {
          calendarId,
          from: { syncToken: "s=/+" },
          pageToken: "p",
        }),
      () =>
        official.events.list({
          calendarId,
          syncToken: "s=/+",
          pageToken: "p",
          maxResults: 2500,
          singleEvents: true,
        }),
    ],
    [
      () =>
        listEvents(google, { calendarId: "primary", from: { timeMin: expiresAt }, maxResults: 50 }),
      () =>
        official.events.list({
          calendarId: "primary",
          timeMin: expiresAt.toISOString(),
          maxResults: 50,
          singleEvents: true,
        }),
    ],
    [
      () => listCalendars(google, { syncToken: "s" }),
      () =>
        official.calendarList.list({
          syncToken: "s",
          maxResults: 250,
          showDeleted: true,
          showHidden: true,
        }),
    ],
    [
      () => watch(google, { calendarId }, { ...channel, expiresAt }),
      () => official.events.watch({ calendarId, requestBody }),
    ],
    [
      () => watch(google, "calendar list", { ...channel, expiresAt }),
      () => official.calendarList.watch({ requestBody }),
    ],
    [
      () => stopChannel(google, { channelId: "c1", resourceId: "r" }),
      () => official.channels.stop({ requestBody: { id: "c1", resourceId: "r" } }),
    ],
  ];
  for (const [ours, theirs] of pairs) {
    await ours();
    await theirs();
    const [first, second] = asked.splice(0);
    assert.deepEqual(first, second);
  }
});

async function recordRequests(t: TestContext) {
  const asked: unknown[] = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    const { pathname, searchParams } = new URL(request.url ?? "", "http://localhost");
    const query = [...searchParams].sort(([a], [b]) => (a < b ? -1 : 1));
    const { authorization } = request.headers;
    asked.push({
      method: request.method,
      pathname,
      query,
      authorization,
      body: body && JSON.parse(body),
    });
    response
      .writeHead(200, { "content-type": "application/json" })
      .end('{"id":"x","resourceId":"r","items":[]}');
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}
