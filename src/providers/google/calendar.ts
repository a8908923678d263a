import { z } from "zod";
import { type EventChange, eventChangeOf } from "./calendar-events.ts";
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

/** What Google has opened. Its `expiresAt` alone counts, whatever was asked for; null where it names none. */
export type Channel = { resourceId: string; expiresAt: Date | null };

type EventsQuery = {
  calendarId: string;
  /** Since a sync token, or all that ends after `timeMin` and begins before `timeMax`. */
  from: { syncToken: string } | { timeMin?: Date; timeMax?: Date };
  pageToken?: string | undefined;
  maxResults?: number;
  /** Occurrences in place of their series. Part of what a sync token is bound to, as is `showDeleted`. */
  singleEvents?: boolean;
  showDeleted?: boolean;
  signal?: AbortSignal | undefined;
};

/**
 * Lists events, or what changed since a sync token: one page. A page may be empty and not be the last.
 *
 * @throws {ProviderError} `start_over` when Google refuses the token: list again without one.
 */
export async function listEvents(google: GoogleRequest, query: EventsQuery): Promise<EventsPage> {
  const { from, pageToken, maxResults = 2500, singleEvents = true, showDeleted, signal } = query;
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
      singleEvents: String(singleEvents),
      // Absent, not false: beside a sync token Google forbids false, and sends deletions anyway.
      showDeleted: showDeleted ? "true" : undefined,
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
 * Opens a channel that tells `address` of changes. Its first notification can be faster than this answer, so `channelId`
 * and `token` must be known before. Nothing is renewed: open another under a new id, then stop this one.
 *
 * @throws {ProviderError} with reason `pushNotSupportedForRequestedResource` for calendars that can only be polled.
 */
export async function watch(
  google: GoogleRequest,
  target: { calendarId: string } | "calendar list",
  channel: {
    channelId: string;
    token: string;
    address: string;
    expiresAt: Date;
    signal?: AbortSignal | undefined;
  },
): Promise<Channel> {
  const { channelId, token, address, expiresAt, signal } = channel;
  const watched =
    target === "calendar list"
      ? "/calendar/v3/users/me/calendarList"
      : `${pathOf(target.calendarId)}/events`;
  const purpose = "open a channel";
  const answer = await google({
    purpose,
    api: "calendar",
    method: "POST",
    path: `${watched}/watch`,
    // Without an expiration the life of a channel is anybody's guess.
    body: {
      id: channelId,
      type: "web_hook",
      address,
      token,
      expiration: String(expiresAt.getTime()),
    },
    signal,
  });
  const { resourceId, expiration } = expectAnswer(ChannelAnswer, answer, purpose);
  return { resourceId, expiresAt: expiration };
}

/** Stops a channel. @throws {ProviderError} `not_found` when it has ended already. */
export async function stopChannel(
  google: GoogleRequest,
  channel: { channelId: string; resourceId: string; signal?: AbortSignal | undefined },
): Promise<void> {
  const { channelId, resourceId, signal } = channel;
  await google({
    purpose: "stop a channel",
    api: "calendar",
    method: "POST",
    path: "/calendar/v3/channels/stop",
    body: { id: channelId, resourceId },
    signal,
  });
}

function pathOf(calendarId: string): string {
  return `/calendar/v3/calendars/${encodeURIComponent(calendarId)}`;
}

const tokens = { nextPageToken: orNull(z.string()), nextSyncToken: orNull(z.string()) };
const items = z.array(z.unknown()).default([]);
const EventsAnswer = z.object({ items, ...tokens, timeZone: textOrNull });
const CalendarsAnswer = z.object({ items, ...tokens });

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

const ChannelAnswer = z.object({
  resourceId: z.string().min(1),
  // Milliseconds, as text like every 64-bit number of Google's.
  expiration: orNull(
    z.coerce
      .number()
      .int()
      .positive()
      .max(8.64e15)
      .transform((ms) => new Date(ms)),
  ),
});
