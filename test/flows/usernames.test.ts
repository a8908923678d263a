import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { liveBots, newLink, openStage } from "../bots.ts";
import { eventIn } from "../calendars.ts";
import { openTestApp, type TestApp, type Visitor } from "../harness.ts";

describe("a username", () => {
  let t: TestApp;
  let ana: Visitor;
  let jonas: Visitor;
  before(async () => {
    t = await openTestApp();
    [ana, jonas] = [await t.signIn("ana@example.com"), await t.signIn("jonas.weber@example.com")];
  });
  after(() => t[Symbol.asyncDispose]());

  const choose = (visitor: Visitor, username: unknown) =>
    visitor.call("POST", "/api/v1/user/username", { username });
  const available = async (username: string) =>
    (
      await ana.call(
        "GET",
        `/api/v1/user/username/available?username=${encodeURIComponent(username)}`,
      )
    ).body;

  for (const wrong of [
    "ab",
    "a".repeat(31),
    "1ana",
    "ana.m",
    "ana+m",
    "ana m",
    "anä",
    "ana\n",
    "",
    "<b>x</b>",
  ]) {
    test(`that is ${JSON.stringify(wrong).slice(0, 20)} is refused, with a reason`, async () => {
      const { available: isFree, reason } = await available(wrong);
      // What stands around a name is not part of it.
      if (wrong.trim() === "ana") return assert.equal(isFree, true);
      assert.equal(isFree, false);
      assert.ok(reason.length > 10);
      const { status, body } = await choose(ana, wrong);
      assert.equal(status, 422, JSON.stringify(body));
      assert.equal(body.errors[0].path, "username");
    });
  }

  test("that means somebody else is reserved, whatever its case", async () => {
    for (const name of ["admin", "Postmaster", "AI", "assistant", "NoReply"])
      assert.notEqual((await choose(ana, name)).status, 200, name);
    assert.match((await available("admin")).reason, /reserved/);
  });

  test("is chosen once, and the answer and the profile carry the address", async () => {
    assert.deepEqual(await available("AnaM"), { available: true, reason: null });
    const { status, body } = await choose(ana, "AnaM");
    assert.equal(status, 200);
    assert.equal(body.virtual_address.toLowerCase(), "ai+anam@example.com");
    assert.equal((await choose(ana, "other")).status, 409);
    const { body: me } = await ana.call("GET", "/api/v1/me");
    assert.equal(me.user.username, "AnaM");
  });

  test("is one person's, whatever the case, at the database too", async () => {
    assert.equal((await available("anaM")).available, false);
    assert.equal((await choose(jonas, "ANAM")).status, 409);
    await assert.rejects(
      t.app.db
        .insertInto("usernames")
        .values({ username: "anam", user_id: jonas.userId })
        .execute(),
      /unique|duplicate/,
    );
  });

  test("that two people choose at once is one person's, and the other is told", async () => {
    const priya = await t.signIn("priya@example.com");
    const answers = await Promise.all([choose(jonas, "wanted"), choose(priya, "Wanted")]);
    assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 409]);
  });
});

test("a username that is chosen after its assistant was invited brings the bots, whoever's calendar shows the invitation", async () => {
  await using t = await openTestApp({ bots: "polled" });
  const [ana, priya] = ["ana@example.com", "priya@example.com"];
  const visitor = await t.signIn(ana);
  const organiser = await t.signIn(priya);
  await t.idle();
  const invite = (person: string, guests: string[]) =>
    t.google.calendar.addEvent(
      person,
      eventIn(t, 5, {
        location: newLink(),
        attendees: guests.map((email) => ({ email })),
      }),
    ).id;
  const own = invite(ana, [ana, "ai+ana@example.com"]);
  const theirs = invite(priya, [priya, ana, "ai+ana@example.com"]);
  const without = invite(ana, [ana, "ai+jonas@example.com"]);
  for (const { userId } of [visitor, organiser]) {
    await t.asService("POST", `/api/v1/sync/calendar/${userId}?wait=true`, { force: true });
    await t.idle();
  }
  // Whose guests may not see each other have their own copy without the assistant.
  await t.app.db
    .updateTable("calendar_events")
    .set({ virtual_usernames: [] })
    .where("user_id", "=", visitor.userId)
    .where("event_id", "=", theirs)
    .execute();
  const { meetingOf } = openStage(t, visitor);
  const marks = async () => {
    const meetings = await Promise.all([own, theirs, without].map(meetingOf));
    return meetings.map((meeting) => meeting.auto_scheduled_via_email);
  };
  assert.deepEqual([await marks(), liveBots(t).length], [[false, false, false], 0]);
  await visitor.call("POST", "/api/v1/user/username", { username: "Ana" });
  await t.idle();
  assert.deepEqual([await marks(), liveBots(t).length], [[true, true, false], 2]);
});
