import { z } from "zod";
import { type EventChange, eventChangeOf } from "./calendar-events.ts";
import { type Channel, type NewChannel, openChannel, stopChannelOf } from "./channels.ts";
import { flag, id, orNull, text, textOrNull } from "./lenient.ts";
import { expectAnswer, type GoogleRequest } from "./request.ts";

export type EventsPage = {
  changes: EventChange[];
  /** More pages follow: ask again for the same, with this token added. */
  nextPageToken: string | null;
  /** Only on the last page, and not even there when Google has none to give. */
  nextSyncToken: string | null;
  timeZone: string | null;
};

/** A calendar in a person's list. Google names the time zone of most, not of all. */
export type Calendar = z.infer<typeof Calendar>;

export type CalendarsPage = {
  changes: ({ type: "upsert"; calendar: Calendar } | { type: "delete"; id: string })[];
  nextPageToken: string | null;
  nextSyncToken: string | null;
};

type EventsQuery = {
  calendarId: string;
  /** Since a sync token, or all that ends after `timeMin` and begins before `timeMax`. */
  from: { syncToken: string } | { timeMin?: Date; timeMax?: Date };
  pageToken?: string | undefined;
  maxResults?: number;
  signal?: AbortSignal | undefined;
};

/**
 * Lists events, or what changed since a sync token: one page. A page may be empty and not be the last.
 *
 * @throws {ProviderError} `start_over` when Google refuses the token: list again without one.
 */
export async function listEvents(google: GoogleRequest, query: EventsQuery): Promise<EventsPage> {
  const { from, pageToken, maxResults = 2500, signal } = query;
  const since =
    "syncToken" in from
      ? { syncToken: from.syncToken }
      : { timeMin: from.timeMin?.toISOString(), timeMax: from.timeMax?.toISOString() };
  const carriesToken = "syncToken" in from || pageToken !== undefined;
  const purpose = "list events";
  const answer = await google({
    purpose,
    api: "calendar",
    path: `${pathOf(query.calendarId)}/events`,
    query: {
      ...since,
      pageToken,
      maxResults: String(maxResults),
      // Occurrences in place of their series: part of what a sync token is bound to. Beside one, deletions come anyway.
      singleEvents: "true",
    },
    startOverOn: carriesToken ? [400, 410] : [],
    signal,
  });
  const { items, ...page } = expectAnswer(EventsAnswer, answer, purpose);
  return { ...page, changes: items.map(eventChangeOf) };
}

/**
 * Lists the calendars of a person, hidden ones too, or what changed since a sync token: one page.
 *
 * @throws {ProviderError} `start_over` when Google refuses the token.
 */
export async function listCalendars(
  google: GoogleRequest,
  query: {
    syncToken?: string | undefined;
    pageToken?: string | undefined;
    signal?: AbortSignal | undefined;
  } = {},
): Promise<CalendarsPage> {
  const { syncToken, pageToken, signal } = query;
  const purpose = "list calendars";
  const answer = await google({
    purpose,
    api: "calendar",
    path: "/calendar/v3/users/me/calendarList",
    // Both must be true beside a sync token, and a token is bound to what it was issued for.
    query: { syncToken, pageToken, maxResults: "250", showDeleted: "true", showHidden: "true" },
    startOverOn: syncToken || pageToken ? [400, 410] : [],
    signal,
  });
  const { items, nextPageToken, nextSyncToken } = expectAnswer(CalendarsAnswer, answer, purpose);
  const changes = items.flatMap((item): CalendarsPage["changes"] => {
    const calendar = Calendar.safeParse(item).data;
    if (!calendar) return [];
    const { deleted, id } = calendar;
    return [deleted ? { type: "delete", id } : { type: "upsert", calendar }];
  });
  return { changes, nextPageToken, nextSyncToken };
}

/**
 * Has a calendar's changes told, or those of the list. {@link openChannel}
 *
 * @throws {ProviderError} with reason `pushNotSupportedForRequestedResource` for calendars that can only be polled.
 */
export async function watch(
  google: GoogleRequest,
  target: { calendarId: string } | "calendar list",
  channel: NewChannel,
): Promise<Channel> {
  const watched =
    target === "calendar list"
      ? "/calendar/v3/users/me/calendarList"
      : `${pathOf(target.calendarId)}/events`;
  return openChannel(google, { api: "calendar", path: `${watched}/watch` }, channel);
}

/** Stops a channel. @throws {ProviderError} `not_found` when it has ended already. */
export async function stopChannel(
  google: GoogleRequest,
  channel: { channelId: string; resourceId: string; signal?: AbortSignal | undefined },
): Promise<void> {
  await stopChannelOf(google, { api: "calendar", path: "/calendar/v3/channels/stop" }, channel);
}

function pathOf(calendarId: string): string {
  return `/calendar/v3/calendars/${encodeURIComponent(calendarId)}`;
}

const tokens = { nextPageToken: orNull(z.string()), nextSyncToken: orNull(z.string()) };
const items = z.array(z.unknown()).default([]);
// As an empty list, an answer that says nothing would delete everything.
const List = z
  .looseObject({})
  .refine((answer) => ["items", ...Object.keys(tokens)].some((name) => name in answer), {
    path: ["items"],
  });
const EventsAnswer = List.pipe(z.object({ items, ...tokens, timeZone: textOrNull }));
const CalendarsAnswer = List.pipe(z.object({ items, ...tokens }));

const Calendar = z
  .object({
    id,
    deleted: flag,
    primary: flag,
    selected: flag,
    hidden: flag,
    accessRole: text.catch("freeBusyReader"),
    summary: textOrNull,
    summaryOverride: textOrNull,
    timeZone: textOrNull,
  })
  .transform(({ summary, summaryOverride, ...calendar }) => ({
    ...calendar,
    title: summaryOverride ?? summary ?? calendar.id,
  }));
