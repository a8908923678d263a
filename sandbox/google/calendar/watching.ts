import { type Channels, openChannels } from "../channels.ts";
import type { Person } from "../people.ts";
import type { Calendar, Store } from "./store.ts";

const dayMs = 86_400_000;

/** What of calendars can be watched: the events of one, or which ones a person has. */
export type CalendarWatched = { calendar: Calendar } | { listOf: Person };

/** Push for calendars. */
export function openCalendarChannels(store: Store): Channels<CalendarWatched> {
  const channels = openChannels<CalendarWatched>(store.state, (watched) => {
    const path =
      "calendar" in watched
        ? `calendars/${encodeURIComponent(watched.calendar.id)}/events`
        : "users/me/calendarList";
    return {
      target: "calendar" in watched ? watched.calendar : watched.listOf,
      uri: `/calendar/v3/${path}?alt=json`,
      longestMs: 30 * dayMs,
      usualMs: 7 * dayMs,
    };
  });
  store.onChange.push((touched) =>
    channels.announce((watched) => {
      const isMeant =
        "calendar" in touched
          ? "calendar" in watched && watched.calendar === touched.calendar
          : "listOf" in watched && watched.listOf === touched.listOf;
      return isMeant ? { state: "exists" } : null;
    }),
  );
  return channels;
}
