import { sql } from "kysely";
import { hours, minutes, seconds } from "../sandbox/google/clock.ts";
import { eventIn } from "./calendars.ts";
import type { TestApp, Visitor } from "./harness.ts";

export const ana = "ana@example.com";

/** Somebody who has an assistant, `ai+name@example.com`, and whose calendar was read. */
export async function signInWithAssistant(t: TestApp, person = ana): Promise<Visitor> {
  const visitor = await t.signIn(person);
  const [username] = person.split(/[.@]/);
  await visitor.call("POST", "/api/v1/user/username", { username });
  await t.idle();
  return visitor;
}

let links = 0;

/** A meeting that nobody else is in. */
export function newLink(): string {
  const letters = [...(links++).toString(26).padStart(3, "0")].map((digit) =>
    String.fromCharCode(97 + Number.parseInt(digit, 26)),
  );
  return `https://meet.google.com/aaa-bbbb-${letters.join("")}`;
}

/** What tests of bots do and look at, for one person. */
export function openStage(t: TestApp, visitor: Visitor, person = ana) {
  const [username] = person.split(/[.@]/);
  // biome-ignore lint/suspicious/noExplicitAny: what a route answers is what its test asserts.
  const meetingOf = async (eventId: string): Promise<any> => {
    const all = (await visitor.call("GET", "/api/v1/meetings?limit=200")).body.items;
    return all.find(
      (one: { google_calendar_event_id: string }) => one.google_calendar_event_id === eventId,
    );
  };
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  const why = async (eventId: string): Promise<any> =>
    (await visitor.call("GET", `/api/v1/meetings/${(await meetingOf(eventId)).id}/why`)).body;
  return {
    meetingOf,
    why,
    /** Invites the assistant to a meeting of an hour that begins in so many milliseconds. @returns the event's id. */
    invite: async (inMs: number, more: Record<string, unknown> = {}): Promise<string> => {
      const event = eventIn(t, inMs / hours, {
        summary: "Launch",
        location: newLink(),
        attendees: [{ email: person }, { email: `ai+${username}@example.com` }],
        ...more,
      });
      const { id } = t.google.calendar.addEvent(person, event);
      await t.idle();
      return id;
    },
    // biome-ignore lint/suspicious/noExplicitAny: as above.
    botOf: async (eventId: string): Promise<any> => {
      const { bot_id } = await why(eventId);
      return bot_id && (await visitor.call("GET", `/api/v1/attendee/bot-status/${bot_id}`)).body;
    },
  };
}

/** The provider's bots that are not over. */
export function liveBots(t: TestApp) {
  return [...t.attendee.bots.values()].filter(
    ({ state }) => !["ended", "fatal_error", "data_deleted"].includes(state),
  );
}

/** Lets time pass in steps, looking at the bots that are due as the schedule does. */
export async function pass(t: TestApp, ms: number, stepMs = 30 * seconds): Promise<void> {
  for (let passed = 0; passed < ms; passed += stepMs) {
    t.clock.advance(stepMs);
    t.attendee.run();
    await t.asService("POST", "/api/v1/attendee/poll-all");
    await t.idle();
  }
}

/** Those of earlier stories are not followed any longer. What is invited next begins at the same minute. */
export async function forgetBots(t: TestApp): Promise<void> {
  t.clock.advance(minutes - (t.clock.now().getTime() % minutes));
  await sql`update bots set wish = null, due_at = null`.execute(t.app.db);
  t.attendee.bots.clear();
  t.attendee.asked.length = 0;
  Object.assign(t.attendee.settings, {
    fates: [],
    transcriptLate: 0,
    speed: 20,
    admitAfter: 5,
    failNext: [],
    cutNext: 0,
  });
}
