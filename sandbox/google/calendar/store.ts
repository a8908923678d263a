import { randomBytes } from "node:crypto";
import { GoogleError } from "../errors.ts";
import { findPerson, type Person } from "../people.ts";
import type { State } from "../state.ts";
import type { EventTime } from "./times.ts";

/** Somebody who is invited, as Google's `attendees[]` has it, without `self`: that depends on who looks. */
export type Attendee = {
  email: string;
  displayName?: string;
  responseStatus: string;
  organizer?: boolean;
  optional?: boolean;
  resource?: boolean;
};

/** What all copies of an event share. Fields that the sandbox has no rules for are kept and given back as they came. */
export type Content = Record<string, unknown> & {
  id: string;
  iCalUID: string;
  start: EventTime;
  end: EventTime;
  recurrence?: string[];
  recurringEventId?: string;
  originalStartTime?: EventTime;
  attendees?: Attendee[];
};

/** An event, in as many calendars as show it. */
export type Event = {
  content: Content;
  /** The calendar of whoever organises it. */
  home: Calendar;
  creator: Person;
  isCancelled: boolean;
  created: Date;
  updated: Date;
  sequence: number;
};

/** One calendar's copy of an event, and the change that it last took part in. */
/** `isSeries`: whether it was one when it last changed here. An event that has left goes on elsewhere. */
export type Copy = { event: Event; isGone: boolean; isSeries: boolean; change: number };

export type Calendar = {
  id: string;
  title: string;
  timeZone: string;
  kind: "primary" | "secondary" | "holiday";
  owner: Person;
  copies: Map<string, Copy>;
  /** Occurrences that a series no longer has, with the change that took them away. */
  gone: Map<string, { change: number; seriesId: string; start: EventTime }>;
  /** Anything at all, given out in lists among the events. */
  malformed: { item: unknown; change: number }[];
};

/** A calendar in somebody's list. */
export type Listed = {
  calendar: Calendar;
  accessRole: "freeBusyReader" | "reader" | "writer" | "owner";
  isSelected: boolean;
  isHidden: boolean;
  isRemoved: boolean;
  title: string | null;
  change: number;
};

/** Everything in the calendars of the sandbox's people. */
export type Store = {
  state: State;
  calendars: Map<string, Calendar>;
  lists: Map<string, Map<string, Listed>>;
  /** Rises with every change of anything. Tokens are places in it. */
  change: number;
  /** Tokens of an earlier epoch are no longer known. */
  epoch: string;
  /** Called after each change, once for each calendar, or list, that it touched. */
  onChange: ((touched: { calendar: Calendar } | { listOf: Person }) => void)[];
};

export function openStore(state: State): Store {
  return {
    state,
    calendars: new Map(),
    lists: new Map(),
    change: 1,
    epoch: newEpoch(),
    onChange: [],
  };
}

export function newEpoch(): string {
  return randomBytes(6).toString("base64url");
}

/** Whose list of calendars; everybody has a primary one from the beginning. */
export function listOf(store: Store, person: Person): Map<string, Listed> {
  const found = store.lists.get(person.sub);
  if (found) return found;
  const list = new Map<string, Listed>();
  store.lists.set(person.sub, list);
  const calendar = makeCalendar(store, person, {
    id: person.email,
    title: person.email,
    timeZone: "Europe/Berlin",
    kind: "primary",
  });
  addToList(store, person, calendar, { accessRole: "owner", isSelected: true });
  return list;
}

export function makeCalendar(
  store: Store,
  owner: Person,
  settings: Pick<Calendar, "id" | "title" | "timeZone" | "kind">,
): Calendar {
  const calendar: Calendar = {
    ...settings,
    owner,
    copies: new Map(),
    gone: new Map(),
    malformed: [],
  };
  store.calendars.set(settings.id, calendar);
  return calendar;
}

export function addToList(
  store: Store,
  person: Person,
  calendar: Calendar,
  settings: Pick<Listed, "accessRole" | "isSelected">,
): Listed {
  const listed: Listed = {
    calendar,
    ...settings,
    isHidden: false,
    isRemoved: false,
    title: null,
    change: nextChange(store),
  };
  listOf(store, person).set(calendar.id, listed);
  for (const tell of store.onChange) tell({ listOf: person });
  return listed;
}

/** A calendar that somebody can read. `primary` is their own. @throws {GoogleError} 404 */
export function getListed(store: Store, person: Person | null, calendarId: string): Listed {
  if (!person) throw new GoogleError(404, "notFound");
  const list = listOf(store, person);
  const id = calendarId === "primary" ? person.email : calendarId;
  const listed = list.get(id);
  if (!listed || listed.isRemoved) throw new GoogleError(404, "notFound");
  return listed;
}

export function primaryOf(store: Store, person: Person): Calendar {
  return getListed(store, person, "primary").calendar;
}

export function nextChange(store: Store): number {
  store.change += 1;
  return store.change;
}

/**
 * Brings an event into every calendar that has to show it: its home, and the primary calendars of those invited, and
 * takes it from those that are no longer. Every copy has then changed.
 */
export function spread(store: Store, event: Event): void {
  const change = nextChange(store);
  const invited = (event.content.attendees ?? []).flatMap(
    ({ email }) => findPerson(store.state, email) ?? [],
  );
  const showing = new Set([event.home, ...invited.map((person) => primaryOf(store, person))]);
  const { id } = event.content;
  for (const calendar of store.calendars.values()) {
    const copy = calendar.copies.get(id);
    if (copy && copy.event !== event) continue;
    const isShown = showing.has(calendar) && !event.isCancelled;
    if (!copy && !isShown) continue;
    // Who has deleted their copy is not asked again, unless the event comes anew.
    const isGone = !isShown || (copy?.isGone === true && calendar !== event.home);
    if (copy?.isGone && isGone) continue;
    const isSeries = event.content.recurrence !== undefined;
    calendar.copies.set(id, { event, isGone, isSeries, change });
    for (const tell of store.onChange) tell({ calendar });
  }
}
