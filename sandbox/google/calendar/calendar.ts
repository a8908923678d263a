import type { FastifyInstance } from "fastify";
import type { Channel, PushSettings } from "../channels.ts";
import { findPerson, type Person } from "../people.ts";
import type { State } from "../state.ts";
import { addCalendarApi } from "./api.ts";
import { changeEvent, deleteEvent, type EventInput, insertEvent, moveEvent } from "./changes.ts";
import { openListing } from "./listing.ts";
import { openLists } from "./lists.ts";
import { cutBefore } from "./recurrence.ts";
import {
  addToList,
  getListed,
  type Listed,
  listOf,
  makeCalendar,
  newEpoch,
  nextChange,
  openStore,
  type Store,
} from "./store.ts";
import { instantOf } from "./times.ts";
import { type Resource, resourceOf } from "./view.ts";
import { type CalendarWatched, openCalendarChannels } from "./watching.ts";

type Where = { calendarId?: string };

/** The sandbox's calendars, for those in the same process. People are named by address; times go by the sandbox's clock. */
export type SandboxCalendar = {
  store: Store;
  push: PushSettings;
  pages: { pageSizeCap: number; emptyPages: boolean };
  addCalendar(
    person: string,
    settings: {
      id?: string;
      title?: string;
      timeZone?: string;
      kind?: "secondary" | "holiday";
      accessRole?: Listed["accessRole"];
      isSelected?: boolean;
    },
  ): string;
  changeCalendar(
    person: string,
    calendarId: string,
    change: { selected?: boolean; hidden?: boolean },
  ): void;
  removeCalendar(person: string, calendarId: string): void;
  addEvent(person: string, event: EventInput, where?: Where): Resource;
  /** Many at once, without a message for each. */
  addEvents(person: string, events: EventInput[], where?: Where): void;
  patchEvent(person: string, id: string, change: EventInput, where?: Where): Resource;
  deleteEvent(person: string, id: string, where?: Where): void;
  moveEvent(person: string, id: string, where: { from?: string; to: string }): Resource;
  /** Ends a series before an occurrence and goes on with another: "this and following". Returns the new one. */
  splitSeries(person: string, id: string, from: Date, change: EventInput, where?: Where): Resource;
  /** What is in a calendar, as `events.list` would give it: the truth to compare with. */
  listEvents(
    person: string,
    query?: Where & { singleEvents?: boolean; timeMin?: Date; timeMax?: Date },
  ): Resource[];
  /** Something among the events that is none. */
  injectMalformed(person: string, item: unknown, where?: Where): void;
  /** No sync token is known any more. */
  expireSyncTokens(): void;
  channels(): Channel<CalendarWatched>[];
  /** Resolves when no message is on its way. */
  settled(): Promise<void>;
  close(): void;
};

/** Opens the calendars of the sandbox's people, each with an empty primary one, and serves Calendar v3 for them. */
export function openCalendar(server: FastifyInstance, state: State): SandboxCalendar {
  const store = openStore(state);
  const pages = { pageSizeCap: 2500, emptyPages: false };
  const listing = openListing(store, pages);
  const lists = openLists(store);
  const channels = openCalendarChannels(store);
  addCalendarApi(server, { store, listing, lists, channels });
  state.onReset.push(() => {
    store.calendars.clear();
    store.lists.clear();
    store.epoch = newEpoch();
    listing.forget();
  });

  const personOf = (address: string): Person => {
    const person = findPerson(state, address);
    if (!person) throw new Error(`Nobody at the sandbox is ${address}`);
    return person;
  };
  const at = (address: string, calendarId = "primary") =>
    getListed(store, personOf(address), calendarId);

  return {
    store,
    push: channels.settings,
    pages,
    addCalendar: (address, settings) => {
      const owner = personOf(address);
      listOf(store, owner);
      const id = settings.id ?? `c_${nextChange(store)}@group.calendar.example.com`;
      const calendar =
        store.calendars.get(id) ??
        makeCalendar(store, owner, {
          id,
          title: settings.title ?? id,
          timeZone: settings.timeZone ?? "Europe/Berlin",
          kind: settings.kind ?? "secondary",
        });
      const accessRole = settings.accessRole ?? (settings.kind === "holiday" ? "reader" : "owner");
      addToList(store, owner, calendar, { accessRole, isSelected: settings.isSelected ?? true });
      return id;
    },
    changeCalendar: (address, calendarId, change) =>
      lists.change(personOf(address), calendarId, change),
    removeCalendar: (address, calendarId) => lists.remove(personOf(address), calendarId),
    addEvent: (address, event, { calendarId } = {}) => {
      const listed = at(address, calendarId);
      return resourceOf(store, listed, insertEvent(store, listed, personOf(address), event));
    },
    addEvents: (address, events, { calendarId } = {}) => {
      const listed = at(address, calendarId);
      const tell = store.onChange;
      store.onChange = [];
      for (const event of events) insertEvent(store, listed, personOf(address), event);
      store.onChange = tell;
      for (const one of tell) one({ calendar: listed.calendar });
    },
    patchEvent: (address, id, input, { calendarId } = {}) => {
      const listed = at(address, calendarId);
      const event = changeEvent(store, listed, personOf(address), { id, input, isWhole: false });
      return resourceOf(store, listed, event);
    },
    deleteEvent: (address, id, { calendarId } = {}) =>
      deleteEvent(store, at(address, calendarId), personOf(address), id),
    moveEvent: (address, id, { from, to }) => {
      const target = at(address, to);
      return resourceOf(store, target, moveEvent(store, at(address, from), target, id));
    },
    splitSeries: (address, id, from, change, { calendarId } = {}) => {
      const listed = at(address, calendarId);
      const person = personOf(address);
      const { start, end, recurrence = [], ...content } = seriesOf(listed, id);
      const isAllDay = start.date !== undefined;
      const lengthMs =
        instantOf(end, listed.calendar.timeZone) - instantOf(start, listed.calendar.timeZone);
      const input = { recurrence: cutBefore(recurrence, from.getTime(), isAllDay) };
      changeEvent(store, listed, person, { id, input, isWhole: false });
      const { id: _id, iCalUID: _uid, ...rest } = content;
      const zone = start.timeZone ? { timeZone: start.timeZone } : {};
      const next = insertEvent(store, listed, person, {
        ...rest,
        start: { dateTime: from.toISOString(), ...zone },
        end: { dateTime: new Date(from.getTime() + lengthMs).toISOString(), ...zone },
        recurrence: recurrence.map((line) => line.replace(/;(UNTIL|COUNT)=[^;]*/g, "")),
        ...change,
      });
      return resourceOf(store, listed, next);
    },
    listEvents: (address, { calendarId, singleEvents = true, timeMin, timeMax } = {}) => {
      const shape = {
        singleEvents,
        showDeleted: false,
        eventTypes: [],
        maxAttendees: null,
        timeZone: null,
      };
      const filter = {
        timeMin: timeMin?.getTime() ?? null,
        timeMax: timeMax?.getTime() ?? null,
        updatedMin: null,
        iCalUID: null,
        q: null,
        orderBy: null,
      };
      const whole = openListing(store, {
        pageSizeCap: Number.POSITIVE_INFINITY,
        emptyPages: false,
      });
      const request = {
        shape,
        filter,
        syncToken: null,
        pageToken: null,
        maxResults: Number.POSITIVE_INFINITY,
      };
      const listed = at(address, calendarId);
      const malformed = new Set(listed.calendar.malformed.map(({ item }) => item));
      const { items } = whole.list(listed, request);
      return items.filter((item): item is Resource => !malformed.has(item));
    },
    injectMalformed: (address, item, { calendarId } = {}) => {
      const { calendar } = at(address, calendarId);
      calendar.malformed.push({ item, change: nextChange(store) });
      for (const tell of store.onChange) tell({ calendar });
    },
    expireSyncTokens: () => {
      store.epoch = newEpoch();
    },
    channels: () => channels.list(),
    settled: () => channels.settled(),
    close: () => channels.close(),
  };
}

function seriesOf({ calendar }: Listed, id: string) {
  const copy = calendar.copies.get(id);
  if (!copy?.event.content.recurrence) throw new Error(`${id} is no series of ${calendar.id}`);
  return copy.event.content;
}
