import type { SandboxCalendar } from "./calendar.ts";
import { instantAt, wallTimeOf } from "./times.ts";

const zone = "Europe/Berlin";
const dayMs = 86_400_000;
const meet = (code: string) => ({ location: `https://meet.google.com/${code}` });

/** Gives the made-up people calendars as people have them: this week and the weeks around it, the same each time. */
export function seedCalendars(calendar: SandboxCalendar): void {
  const monday = mondayOf(calendar.store.state.clock.now().getTime());
  const at = (day: number, time: string, minutes: number) => {
    const [hours = 0, rest = 0] = time.split(":").map(Number);
    const start = instantAt(monday + day * dayMs + (hours * 60 + rest) * 60_000, zone);
    const moment = (ms: number) => ({ dateTime: new Date(ms).toISOString(), timeZone: zone });
    return { start: moment(start), end: moment(start + minutes * 60_000) };
  };
  const date = (day: number) => ({
    date: new Date(monday + day * dayMs).toISOString().slice(0, 10),
  });
  const [ana, jonas, priya, zoe] = [
    "ana@example.com",
    "jonas.weber@example.com",
    "priya@example.com",
    "zoe.lindqvist@example.org",
  ];
  const invited = (...people: string[]) => ({ attendees: people.map((email) => ({ email })) });
  const weekly = { recurrence: ["RRULE:FREQ=WEEKLY"] };
  const workdays = { recurrence: ["RRULE:FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR"] };

  const standup = calendar.addEvent(ana, {
    ...at(0, "09:30", 15),
    ...workdays,
    ...meet("stu-pxyz-dai"),
    ...invited(ana, jonas, priya),
    summary: "Stand-up",
  });
  const occurrences = calendar.listEvents(ana).filter((one) => one.recurringEventId === standup.id);
  const [, second, , fourth] = occurrences;
  if (second)
    calendar.patchEvent(ana, second.id, {
      ...at(1, "10:00", 15),
      summary: "Stand-up (later today)",
    });
  if (fourth) calendar.deleteEvent(ana, fourth.id);

  calendar.addEvent(ana, {
    ...at(1, "14:00", 60),
    ...weekly,
    ...invited(ana, priya, "client@example.net"),
    summary: "Launch planning",
    description:
      'Agenda: <a href="https://us02web.zoom.us/j/89012345678?pwd=abc123">Join Zoom Meeting</a><br>Passcode: 654321',
  });
  calendar.addEvent(ana, {
    ...at(2, "11:00", 45),
    ...invited(ana, jonas),
    ...meet("rev-iewm-eet"),
    summary: "Design review",
  });
  calendar.addEvent(ana, {
    ...at(3, "16:00", 30),
    ...meet("one-onon-one"),
    ...invited(ana, jonas),
    summary: "1:1 Jonas",
  });
  calendar.addEvent(ana, {
    ...at(2, "12:30", 60),
    summary: "Lunch with Mira",
    location: "Canteen",
  });
  calendar.addEvent(ana, { ...at(4, "15:00", 60), summary: "Dentist", visibility: "private" });
  calendar.addEvent(ana, {
    ...at(5, "14:00", 120),
    ...weekly,
    summary: "Football",
    location: "Park",
  });
  calendar.addEvent(ana, { ...at(6, "11:00", 90), ...weekly, summary: "Brunch with Zoe" });
  calendar.addEvent(ana, {
    ...at(6, "18:00", 30),
    ...weekly,
    ...meet("fam-ilyc-all"),
    summary: "Call with the family",
  });
  calendar.addEvent(ana, { ...at(0, "13:00", 120), summary: "Focus time", eventType: "focusTime" });
  calendar.addEvent(ana, {
    start: date(1),
    end: date(2),
    summary: "Home",
    eventType: "workingLocation",
    transparency: "transparent",
  });
  calendar.addEvent(ana, { start: date(9), end: date(12), summary: "Off-site" });
  calendar.addEvent(ana, {
    start: date(3),
    end: date(4),
    summary: "Mira's birthday",
    eventType: "birthday",
    recurrence: ["RRULE:FREQ=YEARLY"],
    transparency: "transparent",
  });
  calendar.addEvent(ana, { ...at(540, "10:00", 60), summary: "Contract renewal" });

  const team = calendar.addCalendar(ana, { title: "Product team", timeZone: zone });
  calendar.addEvent(
    ana,
    { ...at(4, "10:00", 60), ...weekly, ...meet("dem-oday-abc"), summary: "Demo" },
    { calendarId: team },
  );
  calendar.addCalendar(priya, { id: team, accessRole: "reader" });
  const holidays = {
    id: "de.holidays@group.example.com",
    title: "Holidays in Germany",
    kind: "holiday" as const,
  };
  calendar.addCalendar(ana, { ...holidays, accessRole: "owner" });
  calendar.addEvent(
    ana,
    { start: { date: "2027-01-01" }, end: { date: "2027-01-02" }, summary: "New Year's Day" },
    { calendarId: holidays.id },
  );
  calendar.addCalendar(ana, holidays);
  calendar.addCalendar(ana, { title: "Football", isSelected: false });

  calendar.addEvent(jonas, {
    ...at(1, "16:30", 60),
    ...invited(jonas, ana),
    summary: "Budget",
    conferenceData: {
      conferenceId: "19:meeting",
      conferenceSolution: { key: { type: "addOn" }, name: "Microsoft Teams Meeting" },
      entryPoints: [
        {
          entryPointType: "video",
          uri: "https://teams.microsoft.com/l/meetup-join/19%3ameeting_abc%40thread.v2/0?context=%7b%22Tid%22%3a%221%22%7d",
        },
      ],
    },
  });
  const declined = calendar.addEvent(jonas, {
    ...at(3, "08:00", 30),
    ...weekly,
    ...invited(jonas, ana, priya),
    ...meet("ear-lybi-rds"),
    summary: "Early birds",
  });
  calendar.patchEvent(ana, declined.id, {
    attendees: [{ email: ana, responseStatus: "declined" }],
  });
  calendar.addEvent(priya, {
    ...at(2, "09:00", 30),
    ...workdays,
    ...meet("sup-port-rot"),
    summary: "Support rota",
  });
  calendar.addEvent(priya, {
    ...at(2, "15:00", 60),
    ...invited(priya, "ai+priya@example.com", ana),
    ...meet("ass-ista-ntt"),
    summary: "Interview with the assistant",
  });
  calendar.addEvent(zoe, { ...at(5, "11:00", 90), summary: "Market" });
}

// The clocks of the seeds' zone show midnight.
function mondayOf(now: number): number {
  const today = Math.floor(wallTimeOf(now, zone) / dayMs) * dayMs;
  const weekday = (new Date(today).getUTCDay() + 6) % 7;
  return today - weekday * dayMs;
}
