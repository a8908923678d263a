import { z } from "zod";
import { GoogleError } from "../errors.ts";
import type { Person } from "../people.ts";
import { getListed, listOf, nextChange, primaryOf, type Store } from "./store.ts";
import { listEntryOf } from "./view.ts";

const flag = z.enum(["true", "false"]).transform((text) => text === "true");

const ListQuery = z.looseObject({
  maxResults: z.coerce.number().int().min(1).default(100),
  pageToken: z.string().regex(/^\d+$/).optional(),
  syncToken: z.string().optional(),
  showDeleted: flag.default(false),
  showHidden: flag.default(false),
  minAccessRole: z.enum(["freeBusyReader", "reader", "writer", "owner"]).optional(),
});

const ListChange = z.looseObject({
  selected: z.boolean().optional(),
  hidden: z.boolean().optional(),
  summaryOverride: z.string().nullable().optional(),
});

const roles = ["freeBusyReader", "reader", "writer", "owner"];

/** People's lists of calendars. */
export type CalendarLists = {
  list(person: Person, query: unknown): Record<string, unknown>;
  change(person: Person, calendarId: string, body: unknown): void;
  remove(person: Person, calendarId: string): void;
};

export function openLists(store: Store): CalendarLists {
  const touch = (person: Person) => {
    for (const tell of store.onChange) tell({ listOf: person });
  };
  return {
    list: (person, query) => listCalendars(store, person, ListQuery.parse(query)),
    change: (person, calendarId, body) => {
      const { selected, hidden, summaryOverride } = ListChange.parse(body);
      const listed = getListed(store, person, calendarId);
      if (selected !== undefined) listed.isSelected = selected;
      if (hidden !== undefined) listed.isHidden = hidden;
      if (summaryOverride !== undefined) listed.title = summaryOverride;
      listed.change = nextChange(store);
      touch(person);
    },
    remove: (person, calendarId) => {
      const listed = getListed(store, person, calendarId);
      listed.isRemoved = true;
      listed.change = nextChange(store);
      touch(person);
    },
  };
}

function listCalendars(store: Store, person: Person, query: z.infer<typeof ListQuery>) {
  const primary = primaryOf(store, person);
  const since = query.syncToken === undefined ? null : changeOf(store, person, query);
  const wanted = [...listOf(store, person).values()].filter(
    (one) =>
      (since === null ? query.showDeleted || !one.isRemoved : one.change > since) &&
      (since !== null || query.showHidden || !one.isHidden) &&
      (!query.minAccessRole || roles.indexOf(one.accessRole) >= roles.indexOf(query.minAccessRole)),
  );
  const offset = Number(query.pageToken ?? 0);
  const end = offset + Math.min(query.maxResults, 250);
  const change = since === null ? store.change : Math.max(since, store.change);
  return {
    kind: "calendar#calendarList",
    etag: `"l${store.change}"`,
    items: wanted.slice(offset, end).map((listed) => listEntryOf(listed, primary)),
    ...(end < wanted.length
      ? { nextPageToken: String(end) }
      : {
          nextSyncToken: Buffer.from(JSON.stringify([store.epoch, person.sub, change])).toString(
            "base64url",
          ),
        }),
  };
}

function changeOf(store: Store, person: Person, query: z.infer<typeof ListQuery>): number {
  if (query.minAccessRole) {
    throw new GoogleError(400, "invalid", "Sync token cannot be used with minAccessRole.");
  }
  try {
    const parts: unknown = JSON.parse(Buffer.from(query.syncToken ?? "", "base64url").toString());
    const [epoch, sub, change] = Array.isArray(parts) ? parts : [];
    if (epoch === store.epoch && sub === person.sub && typeof change === "number") return change;
  } catch {
    // Not a token at all: told below.
  }
  throw new GoogleError(410, "fullSyncRequired", undefined, {
    location: { type: "parameter", name: "syncToken" },
  });
}
