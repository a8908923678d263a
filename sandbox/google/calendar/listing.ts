import { createHash, randomBytes } from "node:crypto";
import { GoogleError } from "../errors.ts";
import { findCopy } from "./changes.ts";
import { occurrencesOf } from "./recurrence.ts";
import type { Calendar, Copy, Listed, Store } from "./store.ts";
import { instantOf } from "./times.ts";
import { type Resource, resourceOf, tombstoneOf } from "./view.ts";

const yearMs = 365 * 86_400_000;

/** What of events.list has to be the same from page to page, and from a full read to its increments. */
export type Shape = {
  singleEvents: boolean;
  showDeleted: boolean;
  eventTypes: string[];
  maxAttendees: number | null;
  timeZone: string | null;
};

/** What only a first read may ask for. */
export type Filter = {
  timeMin: number | null;
  timeMax: number | null;
  updatedMin: number | null;
  iCalUID: string | null;
  q: string | null;
  orderBy: "startTime" | "updated" | null;
};

export type ListRequest = {
  shape: Shape;
  filter: Filter;
  syncToken: string | null;
  pageToken: string | null;
  maxResults: number;
};

export type ListSettings = {
  /** Pages end after so many items, whatever was asked for. */
  pageSizeCap: number;
  /** Every read begins with a page that has nothing on it. */
  emptyPages: boolean;
};

/** A read in progress: its items were chosen when it began; what changes meanwhile comes with the next increment. */
type Reading = {
  items: (() => Resource | unknown)[];
  offset: number;
  change: number;
  calendar: Calendar;
  key: string;
};

export type Listing = {
  list(
    listed: Listed,
    request: ListRequest,
  ): { items: unknown[]; nextPageToken?: string; nextSyncToken?: string };
  /** Makes page tokens and sync tokens worthless. */
  forget(): void;
};

export function openListing(store: Store, settings: ListSettings): Listing {
  const readings = new Map<string, Reading>();
  return {
    forget: () => readings.clear(),
    list: (listed, request) => {
      const key = shapeKey(request.shape);
      const reading = request.pageToken
        ? takeReading(readings, request.pageToken, listed.calendar)
        : begin(store, listed, request, key);
      const size = Math.min(request.maxResults, settings.pageSizeCap);
      const isEmptyPage = settings.emptyPages && !request.pageToken;
      const end = isEmptyPage ? reading.offset : reading.offset + size;
      const items = reading.items.slice(reading.offset, end).map((make) => make());
      if (end < reading.items.length || isEmptyPage) {
        const nextPageToken = randomBytes(18).toString("base64url");
        readings.set(nextPageToken, { ...reading, offset: end });
        return { items, nextPageToken };
      }
      if (request.filter.orderBy || request.filter.q || request.filter.iCalUID) return { items };
      return { items, nextSyncToken: syncTokenOf(store, reading) };
    },
  };
}

function begin(store: Store, listed: Listed, request: ListRequest, key: string): Reading {
  const { calendar } = listed;
  const since = request.syncToken ? changeOf(store, request.syncToken, calendar, key) : null;
  const items =
    since === null
      ? everything(store, listed, request)
      : changesSince(store, listed, request, since);
  return { items, offset: 0, change: store.change, calendar, key };
}

function takeReading(readings: Map<string, Reading>, token: string, calendar: Calendar): Reading {
  const reading = readings.get(token);
  if (!reading || reading.calendar !== calendar) {
    throw new GoogleError(400, "invalid", "Invalid page token value.", {
      location: { type: "parameter", name: "pageToken" },
    });
  }
  return reading;
}

function shapeKey(shape: Shape): string {
  return createHash("sha256").update(JSON.stringify(shape)).digest("base64url").slice(0, 10);
}

function syncTokenOf(store: Store, { change, calendar, key }: Reading): string {
  return Buffer.from(JSON.stringify([store.epoch, calendar.id, change, key])).toString("base64url");
}

function changeOf(store: Store, token: string, calendar: Calendar, key: string): number {
  let parts: unknown;
  try {
    parts = JSON.parse(Buffer.from(token, "base64url").toString());
  } catch {
    parts = null;
  }
  const [epoch, id, change, shape] = Array.isArray(parts) ? parts : [];
  if (epoch !== store.epoch || id !== calendar.id || shape !== key || typeof change !== "number") {
    throw new GoogleError(410, "fullSyncRequired", undefined, {
      location: { type: "parameter", name: "syncToken" },
    });
  }
  return change;
}

type Item = { at: number; updated: number; make: () => Resource };

function everything(
  store: Store,
  listed: Listed,
  { shape, filter }: ListRequest,
): Reading["items"] {
  const { calendar } = listed;
  const horizon = Math.min(
    filter.timeMax ?? Number.POSITIVE_INFINITY,
    store.state.clock.now().getTime() + 2 * yearMs,
  );
  const items: Item[] = [];
  for (const copy of calendar.copies.values()) {
    if (!isOfType(copy, shape) || !matches(copy, filter)) continue;
    if (copy.isGone) {
      if (
        shape.showDeleted ||
        filter.updatedMin !== null ||
        isLiveSeriesHole(calendar, copy, shape)
      ) {
        items.push(goneItem(copy));
      }
      continue;
    }
    items.push(...itemsOf(store, listed, copy, { isExpanded: shape.singleEvents, until: horizon }));
  }
  const inWindow = items.filter(({ at }) => filter.timeMax === null || at < filter.timeMax);
  if (filter.orderBy === "startTime") inWindow.sort((one, other) => one.at - other.at);
  if (filter.orderBy === "updated") inWindow.sort((one, other) => one.updated - other.updated);
  const malformed = calendar.malformed.map(
    ({ item }) =>
      () =>
        item,
  );
  return [
    ...inWindow.filter((item) => endsAfter(item, filter.timeMin)).map(({ make }) => make),
    ...malformed,
  ];
}

function changesSince(
  store: Store,
  listed: Listed,
  { shape }: ListRequest,
  since: number,
): Reading["items"] {
  const { calendar } = listed;
  const horizon = store.state.clock.now().getTime() + 2 * yearMs;
  const items: (() => unknown)[] = [];
  for (const copy of calendar.copies.values()) {
    if (copy.change <= since || !isOfType(copy, shape)) continue;
    if (!copy.isGone) {
      items.push(
        ...itemsOf(store, listed, copy, { isExpanded: shape.singleEvents, until: horizon }).map(
          ({ make }) => make,
        ),
      );
    } else if (!(shape.singleEvents && copy.isSeries)) items.push(goneItem(copy).make);
  }
  if (shape.singleEvents) {
    for (const [id, { change, seriesId, start }] of calendar.gone) {
      const isBack = findCopy(store, calendar, id)?.copy.isGone === false;
      if (change > since && !isBack) items.push(() => tombstoneOf(id, { seriesId, start }));
    }
  }
  for (const { item, change } of calendar.malformed) if (change > since) items.push(() => item);
  return items;
}

type Ended = Item & { endsAt: number };

function endsAfter(item: Item, timeMin: number | null): boolean {
  return timeMin === null || (item as Ended).endsAt > timeMin;
}

function itemsOf(
  store: Store,
  listed: Listed,
  { event }: Copy,
  { isExpanded, until }: { isExpanded: boolean; until: number },
): Ended[] {
  const { calendar } = listed;
  const { content } = event;
  const updated = event.updated.getTime();
  if (!isExpanded || !content.recurrence) {
    const at = instantOf(content.start, calendar.timeZone);
    const endsAt = instantOf(content.end, calendar.timeZone);
    return [{ at, endsAt, updated, make: () => resourceOf(store, listed, event) }];
  }
  const series = { start: content.start, end: content.end, recurrence: content.recurrence };
  return occurrencesOf(series, calendar.timeZone, until)
    .filter(({ stamp }) => !calendar.copies.has(`${content.id}_${stamp}`))
    .map((occurrence) => ({
      at: occurrence.at,
      endsAt: occurrence.endsAt,
      updated,
      make: () => resourceOf(store, listed, event, occurrence),
    }));
}

function goneItem({ event }: Copy): Ended {
  const { id, recurringEventId, originalStartTime } = event.content;
  const series =
    recurringEventId && originalStartTime
      ? { seriesId: recurringEventId, start: originalStartTime }
      : undefined;
  // Deleted entries are not held to the window.
  return {
    at: 0,
    endsAt: Number.POSITIVE_INFINITY,
    updated: event.updated.getTime(),
    make: () => tombstoneOf(id, series),
  };
}

// With series given whole, the holes in those that live are given too: they mean "not on this day".
function isLiveSeriesHole(calendar: Calendar, { event }: Copy, shape: Shape): boolean {
  const { recurringEventId } = event.content;
  if (shape.singleEvents || !recurringEventId) return false;
  return calendar.copies.get(recurringEventId)?.isGone === false;
}

function isOfType({ event }: Copy, { eventTypes }: Shape): boolean {
  return (
    eventTypes.length === 0 || eventTypes.includes(String(event.content.eventType ?? "default"))
  );
}

function matches({ event }: Copy, { iCalUID, q, updatedMin }: Filter): boolean {
  if (iCalUID !== null && event.content.iCalUID !== iCalUID) return false;
  if (updatedMin !== null && event.updated.getTime() < updatedMin) return false;
  if (q === null) return true;
  const text = [event.content.summary, event.content.description, event.content.location].join(" ");
  return text.toLowerCase().includes(q.toLowerCase());
}
