import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { type CalendarEvent, fetchEvents, type Me } from "./api.ts";
import { type Day, dayAfter, dayOf, isOn, nameOf, startOf, timeOf } from "./days.ts";
import { Join } from "./join.tsx";
import { Link, useQueryString } from "./router.tsx";
import { Failure } from "./waiting.tsx";

/** One day: what is in all calendars, in order, with the way into each meeting. */
export function Today({ me }: { me: Me }) {
  const now = useNow();
  const today = dayOf(now);
  const asked = useQueryString().get("day") ?? "";
  const day = /^\d{4}-\d\d-\d\d$/.test(asked) ? asked : today;
  const events = useQuery({ queryKey: ["events", day], queryFn: () => fetchEvents(boundsOf(day)) });
  const shown = (events.data ?? []).filter((event) => isOn(event, day));
  const wholeDay = shown.filter((event) => event.all_day);
  const timed = shown.filter((event) => !event.all_day);
  return (
    <>
      <div className="title">
        <h1>{nameOf(day, today)}</h1>
        <nav aria-label="Days" className="actions">
          <Link className="button" href={addressOf(dayAfter(day, -1), today)}>
            Day before
          </Link>
          {day !== today && (
            <Link className="button" href="/today">
              Today
            </Link>
          )}
          <Link className="button" href={addressOf(dayAfter(day), today)}>
            Day after
          </Link>
        </nav>
      </div>
      <Failure query={events} />
      {events.isPending && <div className="skeleton card" aria-busy="true" />}
      {events.isSuccess && shown.length === 0 && <Nothing me={me} />}
      {wholeDay.length > 0 && (
        <ul className="whole-day" aria-label="All day">
          {wholeDay.map((event) => (
            <li key={event.id}>
              {event.title} <Kind event={event} />
            </li>
          ))}
        </ul>
      )}
      {timed.length > 0 && (
        <ol className="agenda">
          {timed.map((event) => (
            <Entry key={event.id} event={event} now={now} />
          ))}
        </ol>
      )}
    </>
  );
}

function Entry({ event, now }: { event: CalendarEvent; now: Date }) {
  const isOver = new Date(event.end_time) <= now;
  const isRunning = !isOver && new Date(event.start_time) <= now;
  const isDeclined = event.response_status === "declined";
  const state = isRunning ? "running" : isOver ? "over" : "coming";
  return (
    <li
      className={`${state} ${isDeclined ? "declined" : ""}`}
      aria-current={isRunning ? "time" : undefined}
    >
      <p className="time">
        <time dateTime={event.start_time}>{timeOf(event.start_time)}</time>
        <span>{timeOf(event.end_time)}</span>
      </p>
      <div>
        <h2>{event.title}</h2>
        <p className="faint">
          {isRunning && <strong className="now">now</strong>}
          {isDeclined && <span className="badge">declined</span>}
          {event.status === "tentative" && <span className="badge">tentative</span>}
          <Kind event={event} />
          {event.location && !event.meeting_url && <span>{event.location}</span>}
          {event.attendees.length > 1 && <span>{event.attendees.length} people</span>}
          <span>{event.calendar_title}</span>
        </p>
      </div>
      {event.meeting_url && !isOver && !isDeclined && (
        <Join
          url={event.meeting_url}
          provider={event.meeting_provider}
          title={event.title}
          isPrimary={isRunning}
        />
      )}
    </li>
  );
}

const kinds: Record<string, string> = {
  focusTime: "focus time",
  outOfOffice: "out of office",
  workingLocation: "working location",
  birthday: "birthday",
};

function Kind({ event }: { event: CalendarEvent }) {
  const kind = kinds[event.event_type];
  return kind ? <span className="badge">{kind}</span> : null;
}

function Nothing({ me }: { me: Me }) {
  const hasCalendar = me.connections.some(
    ({ state, capabilities }) =>
      state === "active" &&
      capabilities.some(({ name, granted }) => name === "calendar" && granted),
  );
  return (
    <p className="empty">
      {hasCalendar ? (
        "Nothing is in your calendars on this day."
      ) : (
        <>
          No calendar is connected. Go to <Link href="/connections">Connections</Link> to connect
          one.
        </>
      )}
    </p>
  );
}

// A day more on both sides: whole days begin by the calendar's zone, not by the reader's.
function boundsOf(day: Day) {
  return { from: startOf(dayAfter(day, -1)), to: startOf(dayAfter(day, 2)) };
}

function addressOf(day: Day, today: Day): string {
  return day === today ? "/today" : `/today?day=${day}`;
}

function useNow(): Date {
  const [now, setNow] = useState(() => new Date());
  useEffect(() => {
    const timer = setInterval(() => setNow(new Date()), 15_000);
    return () => clearInterval(timer);
  }, []);
  return now;
}
