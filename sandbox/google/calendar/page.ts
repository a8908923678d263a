import type { FastifyInstance, FastifyReply } from "fastify";
import { z } from "zod";
import { type Html, html, isFromHere, page, pageHeaders } from "../pages.ts";
import { findPerson } from "../people.ts";
import type { SandboxCalendar } from "./calendar.ts";
import { instantOf } from "./times.ts";
import type { Resource } from "./view.ts";

const dayMs = 86_400_000;
const shownDays = 14;

const Adding = z.object({
  person: z.string(),
  summary: z.string().trim().min(1).max(200),
  start: z.string().regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d/),
  when: z.literal("now").optional(),
  minutes: z.coerce.number().int().min(1).max(1440),
  link: z.string().max(2000).default(""),
  invite: z.string().max(2000).default(""),
});
const Event = z.object({ person: z.string(), id: z.string() });

/** The page on which a person adds, moves, cancels and answers events, and takes push away. Plain forms, no scripts. */
export function addCalendarPage(server: FastifyInstance, calendar: SandboxCalendar): void {
  const { state } = calendar.store;
  const act = (path: string, run: (body: unknown) => string | null) =>
    server.post(`/calendar/${path}`, (request, reply) => {
      if (!isFromHere(request))
        return reply.code(403).send("Only pages of the sandbox may do this");
      const person = run(request.body);
      const query = person ? `?person=${encodeURIComponent(person)}` : "";
      return reply.redirect(`${state.baseUrl()}/calendar${query}`, 303);
    });

  server.get("/calendar", (request, reply: FastifyReply) => {
    const { person } = z.object({ person: z.string().optional() }).parse(request.query);
    return reply.headers(pageHeaders).send(render(calendar, person));
  });
  act("add", (body) => {
    const { person, summary, start, when, minutes, link, invite } = Adding.parse(body);
    const startsAt =
      when === "now"
        ? calendar.store.state.clock.now().getTime()
        : instantOf({ dateTime: start.slice(0, 16).concat(":00") }, "Europe/Berlin");
    const moment = (ms: number) => ({
      dateTime: new Date(ms).toISOString(),
      timeZone: "Europe/Berlin",
    });
    const guests = invite.split(/[\s,;]+/).filter((email) => email.includes("@"));
    calendar.addEvent(person, {
      summary,
      start: moment(startsAt),
      end: moment(startsAt + minutes * 60_000),
      ...(link ? { location: link } : {}),
      ...(guests.length > 0 ? { attendees: [person, ...guests].map((email) => ({ email })) } : {}),
    });
    return person;
  });
  act("later", (body) => {
    const { person, id } = Event.parse(body);
    const event = calendar.listEvents(person).find((one) => one.id === id);
    if (event)
      calendar.patchEvent(person, id, { start: later(event.start), end: later(event.end) });
    return person;
  });
  act("cancel", (body) => {
    const { person, id } = Event.parse(body);
    calendar.deleteEvent(person, id);
    return person;
  });
  act("answer", (body) => {
    const { person, id, answer } = Event.extend({ answer: z.string() }).parse(body);
    const own = findPerson(state, person)?.email ?? person;
    calendar.patchEvent(person, id, { attendees: [{ email: own, responseStatus: answer }] });
    return person;
  });
  act("push", (body) => {
    const { person, wish } = z.object({ person: z.string(), wish: z.string() }).parse(body);
    if (wish === "lose") calendar.push.dropNext += 1;
    else calendar.push.isOn = wish === "on";
    return person;
  });
}

function render(calendar: SandboxCalendar, wanted: string | undefined): string {
  const { state } = calendar.store;
  const base = state.baseUrl();
  const person = findPerson(state, wanted ?? "") ?? state.people[0];
  if (!person) return page("Calendar", html`<h1>Nobody is here</h1>`);
  const { email } = person;
  const now = state.clock.now().getTime();
  const today = new Date(Math.floor(now / dayMs) * dayMs);
  const events = calendar
    .listEvents(email, { timeMin: today, timeMax: new Date(today.getTime() + shownDays * dayMs) })
    .map((event) => ({ event, at: instantOf(event.start as object, "Europe/Berlin") }))
    .sort((one, other) => one.at - other.at);
  const who = html`<input type="hidden" name="person" value="${email}">`;
  const people = state.people.map(
    (one) => html`<a href="${base}/calendar?person=${one.email}">${one.name}</a> `,
  );
  const { push } = calendar;
  return page(
    `${person.name}'s calendar`,
    html`<h1>${person.name}’s calendar</h1>
<p class="soft">The sandbox’s Google Calendar. Change something, and watch Daybook follow. ${people}</p>
<h2>Add an event</h2>
<form method="post" action="${base}/calendar/add" class="choice">${who}
<label>Title<br><input name="summary" required value="Quick call"></label>
<label>Starts<br><input type="datetime-local" name="start" required value="${localTime(now + 3_600_000)}"></label>
<label>Minutes<br><input type="number" name="minutes" min="1" value="30"></label>
<label>Link<br><input name="link" value="https://meet.google.com/abc-defg-hij"></label>
<label>Invite<br><input name="invite" placeholder="ai+name@example.com"></label>
<button class="main">Add</button><button name="when" value="now">Add, beginning now</button></form>
<h2>Push</h2>
<form method="post" action="${base}/calendar/push" class="choice">${who}
<span>Push is ${push.isOn ? "on" : "off"}; ${calendar.channels().length} channels are open${push.dropNext > 0 ? `; the next ${push.dropNext} messages are lost` : ""}.</span>
<button name="wish" value="${push.isOn ? "off" : "on"}">Turn it ${push.isOn ? "off" : "on"}</button>
<button name="wish" value="lose">Lose the next message</button></form>
<h2>The coming two weeks</h2>
<div class="scroll"><table><thead><tr><th scope="col">When</th><th scope="col">What</th><th scope="col">Do</th></tr></thead>
<tbody>${events.map(({ event, at }) => row(base, email, event, at))}</tbody></table></div>`,
    "wide",
  );
}

function row(base: string, email: string, event: Resource, at: number): Html {
  const hidden = html`<input type="hidden" name="person" value="${email}"><input type="hidden" name="id" value="${event.id}">`;
  const own = z
    .array(z.looseObject({ self: z.boolean().optional(), responseStatus: z.string() }))
    .catch([])
    .parse(event.attendees)
    .find(({ self }) => self);
  const isHome = z.looseObject({ self: z.literal(true) }).safeParse(event.organizer).success;
  const isWholeDay = z.looseObject({ date: z.string() }).safeParse(event.start).success;
  const place = typeof event.location === "string" ? event.location : "";
  return html`<tr><td>${isWholeDay ? localTime(at).slice(0, 10) : localTime(at).replace("T", " ")}</td>
<td>${String(event.summary ?? "Busy")}<br><span class="soft small">${place}${own ? ` ${own.responseStatus}` : ""}</span></td>
<td>${
    isHome
      ? html`<form method="post" action="${base}/calendar/later" class="choice">${hidden}<button>An hour later</button>
<button formaction="${base}/calendar/cancel">Cancel</button></form>`
      : html`<form method="post" action="${base}/calendar/answer" class="choice">${hidden}
<button name="answer" value="accepted">Accept</button><button name="answer" value="declined">Decline</button></form>`
  }</td></tr>`;
}

const Moment = z.looseObject({
  date: z.string().optional(),
  dateTime: z.string().optional(),
  timeZone: z.string().optional(),
});

function later(moment: unknown) {
  const { date, dateTime, timeZone } = Moment.parse(moment);
  if (date) return { date: new Date(Date.parse(date) + dayMs).toISOString().slice(0, 10) };
  const at = new Date(Date.parse(dateTime ?? "") + 3_600_000).toISOString();
  return { dateTime: at, ...(timeZone ? { timeZone } : {}) };
}

function localTime(instant: number): string {
  const text = new Date(instant).toLocaleString("sv-SE", { timeZone: "Europe/Berlin" });
  return text.slice(0, 16).replace(" ", "T");
}
