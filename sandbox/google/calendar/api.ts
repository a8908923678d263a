import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { requireAccess } from "../access.ts";
import type { Channels } from "../channels.ts";
import { type Answer, addEndpoint } from "../endpoints.ts";
import { GoogleError } from "../errors.ts";
import type { Person } from "../people.ts";
import {
  changeEvent,
  deleteEvent,
  type EventInput,
  findCopy,
  insertEvent,
  moveEvent,
} from "./changes.ts";

import type { Filter, Listing, ListRequest, Shape } from "./listing.ts";
import type { CalendarLists } from "./lists.ts";
import { occurrencesOf } from "./recurrence.ts";
import { getListed, type Listed, listOf, primaryOf, type Store } from "./store.ts";
import { isKnownZone } from "./times.ts";
import { listEntryOf, resourceOf, tombstoneOf } from "./view.ts";
import type { CalendarWatched } from "./watching.ts";

const scope = (name: string) => `https://www.googleapis.com/auth/${name}`;
const readEvents = [
  "calendar",
  "calendar.readonly",
  "calendar.events",
  "calendar.events.readonly",
].map(scope);
const writeEvents = ["calendar", "calendar.events"].map(scope);
const readLists = [
  "calendar",
  "calendar.readonly",
  "calendar.calendarlist",
  "calendar.calendarlist.readonly",
].map(scope);
const writeLists = ["calendar", "calendar.calendarlist"].map(scope);

type Parts = {
  store: Store;
  listing: Listing;
  lists: CalendarLists;
  channels: Channels<CalendarWatched>;
};

/** Serves Calendar v3 as its discovery document has it. */
export function addCalendarApi(server: FastifyInstance, parts: Parts): void {
  const { store, listing, lists, channels } = parts;
  const { state } = store;
  const endpoint = (
    name: string,
    method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE",
    path: string,
    need: { scopes: string[]; answer: (call: Call) => Answer | Promise<Answer> },
  ) =>
    addEndpoint(server, state, {
      name: `calendar.${name}`,
      method,
      paths: [`/calendar/v3/${path}`],
      errors: "api",
      answer: (request) => {
        const access = requireAccess(state, request, {
          anyOf: need.scopes,
          method: `calendar.v3.${name}`,
        });
        return need.answer({ request, person: access.person, ...Params.parse(request.params) });
      },
    });
  const listed = ({ person, calendarId }: Call) => getListed(store, person, calendarId);
  const body = ({ request }: Call) => z.looseObject({}).catch({}).parse(request.body) as EventInput;
  const ok = (found: unknown): Answer => ({ body: found });

  endpoint("calendarList.list", "GET", "users/me/calendarList", {
    scopes: readLists,
    answer: ({ person, request }) => ok(lists.list(requirePerson(person), request.query)),
  });
  endpoint("calendarList.get", "GET", "users/me/calendarList/:calendarId", {
    scopes: readLists,
    answer: (call) => ok(listEntryOf(listed(call), primaryOf(store, requirePerson(call.person)))),
  });
  endpoint("calendarList.patch", "PATCH", "users/me/calendarList/:calendarId", {
    scopes: writeLists,
    answer: (call) => {
      const person = requirePerson(call.person);
      lists.change(person, call.calendarId, call.request.body);
      return ok(listEntryOf(listed(call), primaryOf(store, person)));
    },
  });
  endpoint("calendarList.watch", "POST", "users/me/calendarList/watch", {
    scopes: readLists,
    answer: async ({ person, request }) => {
      const owner = requirePerson(person);
      listOf(store, owner);
      return ok(await channels.open(owner.sub, { listOf: owner }, request.body));
    },
  });
  endpoint("calendars.get", "GET", "calendars/:calendarId", {
    scopes: [...readLists, ...readEvents],
    answer: (call) => {
      const { id, title, timeZone } = listed(call).calendar;
      return ok({ kind: "calendar#calendar", id, summary: title, timeZone });
    },
  });
  endpoint("events.list", "GET", "calendars/:calendarId/events", {
    scopes: readEvents,
    answer: (call) => {
      const found = listed(call);
      const page = listing.list(found, listRequestOf(call.request));
      return ok({ ...listHead(store, found), ...page });
    },
  });
  endpoint("events.insert", "POST", "calendars/:calendarId/events", {
    scopes: writeEvents,
    answer: (call) => {
      const found = listed(call);
      const event = insertEvent(store, found, requirePerson(call.person), body(call));
      return ok(resourceOf(store, found, event));
    },
  });
  endpoint("events.get", "GET", "calendars/:calendarId/events/:eventId", {
    scopes: readEvents,
    answer: (call) => {
      const found = listed(call);
      const { copy, occurrence } = findCopy(store, found.calendar, call.eventId) ?? {};
      if (!copy) throw new GoogleError(404, "notFound");
      return ok(
        copy.isGone ? tombstoneOf(call.eventId) : resourceOf(store, found, copy.event, occurrence),
      );
    },
  });
  for (const [name, method] of [
    ["update", "PUT"],
    ["patch", "PATCH"],
  ] as const) {
    endpoint(`events.${name}`, method, "calendars/:calendarId/events/:eventId", {
      scopes: writeEvents,
      answer: (call) => {
        const found = listed(call);
        const event = changeEvent(store, found, requirePerson(call.person), {
          id: call.eventId,
          input: body(call),
          isWhole: name === "update",
          ifMatch: call.request.headers["if-match"],
        });
        return ok(resourceOf(store, found, event));
      },
    });
  }
  endpoint("events.delete", "DELETE", "calendars/:calendarId/events/:eventId", {
    scopes: writeEvents,
    answer: (call) => {
      deleteEvent(
        store,
        listed(call),
        requirePerson(call.person),
        call.eventId,
        call.request.headers["if-match"],
      );
      return { status: 204 };
    },
  });
  endpoint("events.move", "POST", "calendars/:calendarId/events/:eventId/move", {
    scopes: writeEvents,
    answer: (call) => {
      const { destination } = z.looseObject({ destination: z.string() }).parse(call.request.query);
      const to = getListed(store, call.person, destination);
      return ok(resourceOf(store, to, moveEvent(store, listed(call), to, call.eventId)));
    },
  });
  endpoint("events.instances", "GET", "calendars/:calendarId/events/:eventId/instances", {
    scopes: readEvents,
    answer: (call) => {
      const found = listed(call);
      return ok({ ...listHead(store, found), items: instancesOf(store, found, call) });
    },
  });
  endpoint("events.watch", "POST", "calendars/:calendarId/events/watch", {
    scopes: readEvents,
    answer: async (call) => {
      const { calendar } = listed(call);
      if (calendar.kind === "holiday") {
        throw new GoogleError(
          400,
          "pushNotSupportedForRequestedResource",
          "Push notifications are not supported by this resource.",
        );
      }
      const { sub } = requirePerson(call.person);
      return ok(await channels.open(sub, { calendar }, call.request.body));
    },
  });
  endpoint("channels.stop", "POST", "channels/stop", {
    scopes: [...readEvents, ...readLists],
    answer: ({ person, request }) => {
      channels.stop(person?.sub ?? null, request.body);
      return { status: 204 };
    },
  });
}

type Call = { request: FastifyRequest; person: Person | null; calendarId: string; eventId: string };

const Params = z.object({
  calendarId: z.string().default("primary"),
  eventId: z.string().default(""),
});

function requirePerson(person: Person | null): Person {
  if (!person) throw new GoogleError(404, "notFound");
  return person;
}

function listHead(store: Store, { calendar, accessRole }: Listed) {
  return {
    kind: "calendar#events",
    etag: `"p${store.change}"`,
    summary: calendar.title,
    updated: store.state.clock.now().toISOString(),
    timeZone: calendar.timeZone,
    accessRole,
    defaultReminders: [],
  };
}

const moment = z
  .string()
  .regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i, "Bad Request")
  .transform((text) => Math.floor(Date.parse(text) / 1000) * 1000);
const flag = z.enum(["true", "false"]).transform((text) => text === "true");

const ListQuery = z.looseObject({
  maxResults: z.coerce.number().int().min(1).default(250),
  pageToken: z.string().optional(),
  syncToken: z.string().optional(),
  singleEvents: flag.default(false),
  showDeleted: flag.optional(),
  orderBy: z.enum(["startTime", "updated"]).optional(),
  timeMin: moment.optional(),
  timeMax: moment.optional(),
  updatedMin: moment.optional(),
  timeZone: z.string().refine(isKnownZone).optional(),
  maxAttendees: z.coerce.number().int().min(1).optional(),
  eventTypes: z.union([z.string(), z.array(z.string())]).optional(),
  iCalUID: z.string().optional(),
  q: z.string().optional(),
  privateExtendedProperty: z.unknown().optional(),
  sharedExtendedProperty: z.unknown().optional(),
});

// Source: `syncToken` of calendar.events.list in the discovery document.
const forbiddenBesideToken = [
  "iCalUID",
  "orderBy",
  "privateExtendedProperty",
  "q",
  "sharedExtendedProperty",
  "timeMin",
  "timeMax",
  "updatedMin",
] as const;

function listRequestOf(request: FastifyRequest): ListRequest {
  const query = ListQuery.parse(request.query);
  if (query.syncToken !== undefined) {
    const wrong = forbiddenBesideToken.find((name) => query[name] !== undefined);
    if (wrong || query.showDeleted === false) {
      throw new GoogleError(
        400,
        "invalid",
        `Sync token cannot be used with ${wrong ?? "showDeleted=false"}.`,
        {
          location: { type: "parameter", name: wrong ?? "showDeleted" },
        },
      );
    }
  }
  if (query.orderBy === "startTime" && !query.singleEvents) {
    throw new GoogleError(
      400,
      "badRequest",
      "The requested ordering is not available for the particular query.",
    );
  }
  if (
    query.timeMin !== undefined &&
    query.timeMax !== undefined &&
    query.timeMax <= query.timeMin
  ) {
    throw new GoogleError(400, "timeRangeEmpty", "The specified time range is empty.");
  }
  const shape: Shape = {
    singleEvents: query.singleEvents,
    // Deletions are always among the increments, whatever this said.
    showDeleted: query.syncToken === undefined && (query.showDeleted ?? false),
    eventTypes: [query.eventTypes ?? []].flat(),
    maxAttendees: query.maxAttendees ?? null,
    timeZone: query.timeZone ?? null,
  };
  const filter: Filter = {
    timeMin: query.timeMin ?? null,
    timeMax: query.timeMax ?? null,
    updatedMin: query.updatedMin ?? null,
    iCalUID: query.iCalUID ?? null,
    q: query.q ?? null,
    orderBy: query.orderBy ?? null,
  };
  return {
    shape,
    filter,
    syncToken: query.syncToken ?? null,
    pageToken: query.pageToken ?? null,
    maxResults: Math.min(query.maxResults, 2500),
  };
}

function instancesOf(store: Store, listed: Listed, { eventId, request }: Call) {
  const { calendar } = listed;
  const copy = calendar.copies.get(eventId);
  if (!copy || copy.isGone) throw new GoogleError(404, "notFound");
  const { start, end, recurrence } = copy.event.content;
  if (!recurrence) throw new GoogleError(400, "invalid", "The event is not recurring.");
  const { timeMin, timeMax } = ListQuery.parse(request.query);
  const until = timeMax ?? store.state.clock.now().getTime() + 730 * 86_400_000;
  return occurrencesOf({ start, end, recurrence }, calendar.timeZone, until)
    .filter(({ endsAt }) => timeMin === undefined || endsAt > timeMin)
    .flatMap((occurrence) => {
      const own = calendar.copies.get(`${eventId}_${occurrence.stamp}`);
      if (own?.isGone) return [];
      return [
        own
          ? resourceOf(store, listed, own.event)
          : resourceOf(store, listed, copy.event, occurrence),
      ];
    });
}
