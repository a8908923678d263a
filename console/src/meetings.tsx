import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useContext, useState } from "react";
import {
  fetchMeetings,
  fetchProjects,
  type Meeting,
  type MeetingStatus,
  moveMeeting,
} from "./api.ts";
import { BotChoice } from "./bot-choice.tsx";
import { botWords } from "./bot-words.ts";
import { dayOf, nameOf, timeOf } from "./days.ts";
import { Join } from "./join.tsx";
import { MeetingPage } from "./meeting.tsx";
import { Say } from "./message.tsx";
import { Paged } from "./paged.tsx";
import { Link, show, useQueryString } from "./router.tsx";
import { Failure } from "./waiting.tsx";
import { ShortWhy } from "./why.tsx";

const views: { value: MeetingStatus; name: string }[] = [
  { value: "coming", name: "Coming" },
  { value: "over", name: "Past" },
  { value: "cancelled", name: "Cancelled" },
];

const botFilters = [
  { value: "", name: "All" },
  { value: "true", name: "With a bot" },
  { value: "false", name: "Without a bot" },
];

/** Meetings by day: link, who is invited, whether the assistant comes along, and why. */
export function Meetings() {
  const id = useQueryString().get("id");
  return id ? <MeetingPage id={id} /> : <MeetingList />;
}

function MeetingList() {
  const query = useQueryString();
  const view = views.find(({ value }) => value === query.get("show"))?.value ?? "coming";
  const hasBot = botFilters.find(({ value }) => value === query.get("bot"))?.value ?? "";
  const meetings = useInfiniteQuery({
    queryKey: ["meetings", view, hasBot],
    queryFn: ({ pageParam }) => fetchMeetings({ status: view, hasBot }, pageParam),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });
  const found = (meetings.data?.pages ?? []).flatMap(({ items }) => items);
  return (
    <>
      <div className="title">
        <h1>Meetings</h1>
        <fieldset className="actions" aria-label="Which meetings">
          {views.map(({ value, name }) => (
            <button
              key={value}
              type="button"
              aria-pressed={value === view}
              onClick={() => show(addressOf(value, hasBot))}
            >
              {name}
            </button>
          ))}
          <select
            aria-label="With or without a bot"
            value={hasBot}
            onChange={({ target }) => show(addressOf(view, target.value))}
          >
            {botFilters.map(({ value, name }) => (
              <option key={value} value={value}>
                {name}
              </option>
            ))}
          </select>
        </fieldset>
      </div>
      <Failure query={meetings} />
      {meetings.isPending && <div className="skeleton card" aria-busy="true" />}
      {meetings.isSuccess && found.length === 0 && (
        <p className="empty">
          {view === "coming" && hasBot === ""
            ? "No meetings ahead. An event with a link, wherever it stands, appears here."
            : "There are none."}
        </p>
      )}
      <Paged query={meetings}>
        {byDay(found).map(([day, ofDay]) => (
          <section key={day} className="day" aria-labelledby={`day-${day}`}>
            <h2 id={`day-${day}`}>{nameOf(day)}</h2>
            <ul className="agenda">
              {ofDay.map((meeting) => (
                <Entry key={meeting.id} meeting={meeting} />
              ))}
            </ul>
          </section>
        ))}
      </Paged>
    </>
  );
}

function Entry({ meeting }: { meeting: Meeting }) {
  const [isAsking, setAsking] = useState(false);
  const { status, title, attendees } = meeting;
  const isOpen = status === "upcoming" || status === "running";
  return (
    <li className={status === "cancelled" ? "over declined" : status}>
      <p className="time">
        <time dateTime={meeting.start_time}>{timeOf(meeting.start_time)}</time>
        <span>{timeOf(meeting.end_time)}</span>
      </p>
      <div>
        <h3>
          <Link href={`/meetings?id=${meeting.id}`}>{title}</Link>
        </h3>
        <p className="faint">
          {status === "running" && <strong className="now">now</strong>}
          {status === "cancelled" && <span className="badge">cancelled</span>}
          {meeting.event_status === "declined" && status !== "cancelled" && (
            <span className="badge">declined</span>
          )}
          {meeting.bot_id && (
            <span className={`badge ${meeting.bot_status === "failed" ? "warn" : ""}`}>
              bot {botWords[meeting.bot_status ?? "pending"]}
            </span>
          )}
          {meeting.auto_scheduled_via_email && <span className="badge">assistant invited</span>}
          {attendees.length > 0 && (
            <span title={attendees.map(labelOf).join("\n")}>{guestsOf(attendees)}</span>
          )}
        </p>
        <div className="bot">
          <ProjectChoice meeting={meeting} />
          {isOpen && (
            <>
              <BotChoice meeting={meeting} />
              <button
                type="button"
                className="quiet"
                aria-expanded={isAsking}
                onClick={() => setAsking(!isAsking)}
              >
                Why?
              </button>
              {isAsking && <ShortWhy meetingId={meeting.id} />}
            </>
          )}
        </div>
      </div>
      {isOpen && meeting.meeting_url && (
        <Join
          url={meeting.meeting_url}
          provider={meeting.meeting_provider}
          title={title}
          isPrimary={status === "running"}
        />
      )}
    </li>
  );
}

function ProjectChoice({ meeting }: { meeting: Meeting }) {
  const queries = useQueryClient();
  const say = useContext(Say);
  const projects = useQuery({ queryKey: ["projects"], queryFn: fetchProjects });
  const moving = useMutation({
    mutationFn: (projectId: string | null) => moveMeeting(meeting.id, projectId),
    onSuccess: () => queries.invalidateQueries({ queryKey: ["meetings"] }),
    onError: (error) => say({ tone: "warn", text: `Nothing was changed. ${error.message}` }),
  });
  const current = moving.isPending ? moving.variables : meeting.project_id;
  const known = projects.data ?? [];
  if (known.length === 0 && current === null) return null;
  return (
    <select
      aria-label={`Project of ${meeting.title}`}
      value={current ?? ""}
      aria-disabled={moving.isPending}
      onChange={({ target }) => !moving.isPending && moving.mutate(target.value || null)}
    >
      <option value="">In no project</option>
      {current !== null && !known.some(({ id }) => id === current) && (
        <option value={current}>An archived project</option>
      )}
      {known.map(({ id, name }) => (
        <option key={id} value={id}>
          {name}
        </option>
      ))}
    </select>
  );
}

function addressOf(view: MeetingStatus, hasBot: string): string {
  const query = new URLSearchParams();
  if (view !== "coming") query.set("show", view);
  if (hasBot) query.set("bot", hasBot);
  return query.size > 0 ? `/meetings?${query}` : "/meetings";
}

function byDay(meetings: Meeting[]): [string, Meeting[]][] {
  return Object.entries(Object.groupBy(meetings, ({ start_time }) => dayOf(start_time))).map(
    ([day, ofDay = []]) => [day, ofDay],
  );
}

function labelOf({ displayName, email }: Meeting["attendees"][number]): string {
  return displayName ?? email ?? "somebody";
}

function guestsOf(attendees: Meeting["attendees"]): string {
  const others = attendees.filter(({ self }) => !self).map(labelOf);
  if (others.length === 0) return "Only you";
  const named = others.slice(0, 2).join(", ");
  return others.length > 2 ? `${named} and ${others.length - 2} more` : named;
}
