import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { sql } from "kysely";
import { deriveForUser } from "../../src/meetings/meetings.ts";
import { eventIn, keptMeetings } from "../calendars.ts";
import { untilItWaits } from "../database.ts";
import { openTestApp, type TestApp, type Visitor } from "../harness.ts";

const ana = "ana@example.com";
const meet = "https://meet.google.com/abc-defg-hij";
const zoom = "https://us02web.zoom.us/j/89012345678?pwd=abc123";

describe("meetings", () => {
  let t: TestApp;
  let visitor: Visitor;
  before(async () => {
    t = await openTestApp({ push: true });
    visitor = await t.signIn(ana);
    await t.idle();
    await sql`insert into usernames (username, user_id) values ('ana', ${visitor.userId})`.execute(
      t.app.db,
    );
  });
  after(() => t[Symbol.asyncDispose]());

  const add = async (hours: number, more: Record<string, unknown>) => {
    const event = t.google.calendar.addEvent(ana, eventIn(t, hours, more));
    await t.idle();
    return event.id;
  };
  const meetingOf = async (eventId: string) =>
    (await keptMeetings(t, visitor.userId)).find((one) => one.google_calendar_event_id === eventId);
  const planOf = async (eventId: string) => {
    const meeting = await meetingOf(eventId);
    return (await visitor.call("GET", `/api/v1/meetings/${meeting!.id}/why`)).body;
  };

  test("are the events with a link, wherever it stands", async () => {
    const inText = await add(1, { description: `<a href="${zoom}">Join</a>`, summary: "Zoom" });
    const inPlace = await add(2, { location: meet });
    const without = await add(3, { location: "Room 5" });
    assert.equal((await meetingOf(inText))?.meeting_url, zoom);
    assert.equal((await meetingOf(inPlace))?.meeting_url, meet);
    assert.equal(await meetingOf(without), undefined);
  });

  test("can be read anew while their owner says what is wanted of all bots", async () => {
    const eventIds = [await add(70, { location: meet }), await add(71, { location: meet })].sort();
    const [first, second] = eventIds;
    // By their ids they come the other way round than by their events.
    await sql`delete from bot_plans`.execute(t.app.db);
    await sql`
      update meetings set id = case google_calendar_event_id
        when ${second} then '00000000-0000-4000-8000-000000000000'::uuid
        else 'ffffffff-ffff-4fff-8fff-ffffffffffff'::uuid end
      where google_calendar_event_id in (${first}, ${second})
    `.execute(t.app.db);
    const { both } = await t.app.db.transaction().execute(async (tx) => {
      await sql`select from meetings where google_calendar_event_id = ${second} for update`.execute(
        tx,
      );
      const set = visitor.call("PUT", "/api/v1/attendee/preferences", {
        all_meetings: false,
        bot_name: null,
        greeting: null,
        language: null,
        recording: null,
      });
      await untilItWaits(t.app.db, set);
      const derived = deriveForUser(t.app, { userId: visitor.userId, eventIds });
      const both = Promise.all([set, derived]);
      await untilItWaits(t.app.db, both, 2);
      return { both };
    });
    const [{ status, body }] = await both;
    assert.equal(status, 200, JSON.stringify(body));
    await t.idle();
  });

  test("move with their event, and call for their bot to move, while what people set stays", async () => {
    const eventId = await add(20, { location: meet });
    const { id } = (await meetingOf(eventId))!;
    const { rows } = await sql<{ id: string }>`
      insert into projects (name, created_by) values ('Launch', ${visitor.userId}) returning id`.execute(
      t.app.db,
    );
    const project = rows[0]!.id;
    const edited = await visitor.call("PATCH", `/api/v1/meetings/${id}`, {
      project_id: project,
      wants_bot: true,
      bot_configuration: { language: "de" },
    });
    assert.deepEqual(
      [edited.status, edited.body.project_id, edited.body.wants_bot],
      [200, project, true],
    );
    assert.equal((await planOf(eventId)).decision, "send");
    t.google.calendar.patchEvent(ana, eventId, { ...eventIn(t, 22), location: zoom });
    await t.idle();
    const moved = (await meetingOf(eventId))!;
    assert.deepEqual(
      [moved.id, moved.meeting_url, moved.project_id, moved.wants_bot, moved.bot_configuration],
      [id, zoom, project, true, { language: "de" }],
    );
    const plan = await planOf(eventId);
    assert.deepEqual([plan.rule, plan.inputs.meetingUrl], ["asked", zoom]);
  });

  test("whose event is cancelled are deleted, unless somebody's work is in them", async () => {
    const plain = await add(30, { location: meet });
    const worked = await add(31, { location: meet });
    await sql`update meetings set transcript = 'Hello' where google_calendar_event_id = ${worked}`.execute(
      t.app.db,
    );
    t.google.calendar.deleteEvent(ana, plain);
    t.google.calendar.deleteEvent(ana, worked);
    await t.idle();
    assert.equal(await meetingOf(plain), undefined);
    const kept = (await meetingOf(worked))!;
    assert.deepEqual(
      [kept.event_status, kept.bot_status, kept.cancelled_at !== null],
      ["declined", "failed", true],
    );
    assert.equal((await planOf(worked)).rule, "cancelled");
  });

  test("that lose their link are no meetings any more, and are again when it comes back", async () => {
    const eventId = await add(33, { location: meet });
    t.google.calendar.patchEvent(ana, eventId, { location: "Room 5" });
    await t.idle();
    assert.equal(await meetingOf(eventId), undefined);
    t.google.calendar.patchEvent(ana, eventId, { location: meet });
    await t.idle();
    assert.equal((await meetingOf(eventId))?.cancelled_at, null);
  });

  test("to which the assistant is invited are marked for its user, once, until it is invited no more", async () => {
    const eventId = await add(40, {
      location: meet,
      attendees: [{ email: ana }, { email: "AI+Ana@Example.com", displayName: "The, assistant" }],
    });
    const marked = (await meetingOf(eventId))!;
    assert.deepEqual(
      [
        marked.auto_scheduled_via_email,
        marked.virtual_email_attendee,
        marked.bot_deployment_method,
      ],
      [true, "ai+ana@example.com", "scheduled"],
    );
    assert.deepEqual(
      [(await planOf(eventId)).decision, (await planOf(eventId)).rule],
      ["send", "invited"],
    );
    t.google.calendar.patchEvent(ana, eventId, { summary: "Renamed" });
    await t.idle();
    const { rows } = await sql<{
      total: number;
    }>`select sum(auto_scheduled)::int as total from sync_runs`.execute(t.app.db);
    assert.deepEqual(rows, [{ total: 1 }]);
    t.google.calendar.patchEvent(ana, eventId, { attendees: [{ email: ana }] });
    await t.idle();
    assert.equal((await meetingOf(eventId))?.auto_scheduled_via_email, false);
    assert.equal((await planOf(eventId)).rule, "not_asked");
  });

  test("of somebody else are marked for the user whom their event names, where it is that user's meeting too", async () => {
    const priya = await t.signIn("priya@example.com");
    await t.idle();
    const event = t.google.calendar.addEvent(
      "priya@example.com",
      eventIn(t, 50, {
        location: meet,
        attendees: [
          { email: "priya@example.com" },
          { email: ana },
          { email: "ai+ana@example.com" },
        ],
      }),
    );
    const other = t.google.calendar.addEvent(
      "priya@example.com",
      eventIn(t, 52, { location: meet, attendees: [{ email: "ai+ana@example.com" }] }),
    );
    await t.idle();
    assert.equal((await meetingOf(event.id))?.auto_scheduled_via_email, true);
    assert.equal(await meetingOf(other.id), undefined);
    for (const meeting of await keptMeetings(t, priya.userId)) {
      assert.equal(meeting.auto_scheduled_via_email, false);
    }
  });

  const undone = {
    "is read again": (shared: TestApp, { userId }: Visitor) =>
      shared.asService("POST", `/api/v1/sync/calendar/${userId}?wait=true`, { force: true }),
    "is read whole": (shared: TestApp, { userId }: Visitor) =>
      shared.asService("POST", `/api/v1/calendar/sync/${userId}?wait=true`, { full: true }),
    "loses the event": (shared: TestApp, { userId }: Visitor, event_id: string) =>
      shared.asService("POST", "/api/v1/calendar/handle-deletion", { user_id: userId, event_id }),
    "is disconnected": (_: TestApp, organiser: Visitor) =>
      organiser.call("POST", "/api/v1/auth/google/token/revoke", {}),
    "is deleted with its owner": (_: TestApp, organiser: Visitor) =>
      organiser.call("DELETE", "/api/v1/me"),
  };
  for (const [what, undo] of Object.entries(undone)) {
    test(`from which the assistant was taken lose their bot once the organiser's calendar ${what}, the guest's having been read before`, async () => {
      await using shared = await openTestApp();
      const guest = await shared.signIn(ana);
      await guest.call("POST", "/api/v1/user/username", { username: "ana" });
      const organiser = await shared.signIn("priya@example.com");
      await shared.idle();
      const read = async (who: Visitor) => {
        await undone["is read again"](shared, who);
        await shared.idle();
      };
      const guests = [{ email: "priya@example.com" }, { email: ana }];
      const attendees = [...guests, { email: "ai+ana@example.com" }];
      const event = shared.google.calendar.addEvent(
        "priya@example.com",
        eventIn(shared, 50, { location: meet, attendees }),
      );
      const decided = async () => {
        const { id } = (await keptMeetings(shared, guest.userId)).find(
          (one) => one.google_calendar_event_id === event.id,
        )!;
        return (await guest.call("GET", `/api/v1/meetings/${id}/why`)).body.rule;
      };
      for (const who of [organiser, guest]) await read(who);
      assert.equal(await decided(), "invited");
      shared.google.calendar.patchEvent("priya@example.com", event.id, { attendees: guests });
      await read(guest);
      assert.equal(await decided(), "invited", "the organiser's copy still names it");
      await undo(shared, organiser, event.id);
      await shared.idle();
      assert.equal(await decided(), "not_asked");
    });
  }

  test("are listed page by page, by time, state and bot, each to its owner alone", async () => {
    const first = await visitor.call("GET", "/api/v1/meetings?limit=2");
    assert.equal(first.body.items.length, 2);
    const rest = await visitor.call(
      "GET",
      `/api/v1/meetings?limit=200&cursor=${first.body.next_cursor}`,
    );
    const all = [...first.body.items, ...rest.body.items];
    assert.equal(all.length, (await keptMeetings(t, visitor.userId)).length);
    assert.equal(new Set(all.map(({ id }) => id)).size, all.length);
    const latest = await visitor.call("GET", "/api/v1/meetings?order=desc&limit=2");
    const earlier = await visitor.call(
      "GET",
      `/api/v1/meetings?order=desc&limit=200&cursor=${latest.body.next_cursor}`,
    );
    assert.deepEqual([...latest.body.items, ...earlier.body.items].reverse(), all);
    const cancelled = await visitor.call("GET", "/api/v1/meetings?status=cancelled");
    assert.ok(
      cancelled.body.items.every(({ status }: { status: string }) => status === "cancelled"),
    );
    assert.equal(cancelled.body.items.length, 1);
    await sql`update meetings set bot_status = 'bot_scheduled' where id = ${all[0].id}`.execute(
      t.app.db,
    );
    const withBot = await visitor.call("GET", "/api/v1/meetings?has_bot=true");
    assert.deepEqual(
      withBot.body.items.map(({ id }: { id: string }) => id),
      [all[0].id],
    );
    // One that is to come counts as well, in either list.
    await sql`update meetings set bot_status = 'pending', attendee_bot_id = null where id = ${all[0].id}`.execute(
      t.app.db,
    );
    await sql`
      with planned as (
        insert into bots (user_id, name, provider) values (${visitor.userId}, 'AI Assistant', 'attendee') returning id
      )
      update meetings set bot_id = planned.id from planned where meetings.id = ${all[0].id}
    `.execute(t.app.db);
    const events = await visitor.call("GET", "/api/v1/calendar/events?has_bot=true");
    assert.deepEqual(
      events.body.items.map(({ meeting_id }: { meeting_id: string }) => meeting_id),
      [all[0].id],
    );
    const jonas = await t.signIn("jonas.weber@example.com");
    for (const [method, body] of [["GET"], ["PATCH", { wants_bot: true }]] as const) {
      assert.equal((await jonas.call(method, `/api/v1/meetings/${all[0].id}`, body)).status, 404);
    }
  });

  test("follow one event that a program hands over, as a sync would", async () => {
    const event = {
      id: "handed1",
      status: "confirmed",
      ...eventIn(t, 60, { summary: "Handed over", location: meet }),
    };
    const body = { user_id: visitor.userId, event };
    const made = await t.asService("POST", "/api/v1/calendar/process-event", body);
    assert.deepEqual(
      [made.status, made.body.action, made.body.meeting_ids.length],
      [200, "created", 1],
    );
    assert.equal(
      (await t.asService("POST", "/api/v1/calendar/process-event", body)).body.action,
      "none",
    );
    const gone = await t.asService("POST", "/api/v1/calendar/handle-deletion", {
      user_id: visitor.userId,
      event_id: "handed1",
    });
    assert.equal(gone.body.action, "deleted");
    assert.equal(await meetingOf("handed1"), undefined);
    const broken = { user_id: visitor.userId, event: { id: "x", start: { dateTime: "soon" } } };
    assert.equal((await t.asService("POST", "/api/v1/calendar/process-event", broken)).status, 422);
  });
});
