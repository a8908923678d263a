import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { sql } from "kysely";
import { deleteUser } from "../../src/accounts/disconnect.ts";
import { classifyHere } from "../../src/documents/built-in-classifier.ts";
import { applyClassification } from "../../src/documents/classification.ts";
import { conclude } from "../../src/meetings/bot-transcripts.ts";
import { lockWithMeetings } from "../../src/meetings/bots.ts";
import { transcriptOf } from "../../src/meetings/transcript.ts";
import { lockProject } from "../../src/projects/projects.ts";
import { eventIn } from "../calendars.ts";
import { untilItWaits } from "../database.ts";
import type { TestApp, Visitor } from "../harness.ts";
import { ana, anasAssistant, anasMail, documentsOf, itemsOf, sendAndRead } from "../mails.ts";

const form = {
  project_name: "Autumn Film",
  overview: "A film for the launch of the new bikes, for Acme (acme.example). Code AF-2027.",
  keywords: ["Product Launch", "bikes"],
  deliverables: "one launch film, three social cutdowns",
  contacts: { internal_lead: "Ana Moreno", agency_lead: "Jonas Weber", client_lead: "Mira Okafor" },
  shoot_date: "",
  location: "Lisbon",
};

describe("projects", () => {
  let story: Awaited<ReturnType<typeof anasMail>>;
  let t: TestApp;
  let visitor: Visitor;
  before(async () => {
    story = await anasMail();
    ({ t, visitor } = story);
  });
  after(() => story[Symbol.asyncDispose]());

  const create = async (body: object) => {
    const answer = await visitor.call("POST", "/api/v1/projects", body);
    assert.equal(answer.status, 201, JSON.stringify(answer.body));
    return answer.body;
  };
  const send = (method: string, id: string, body?: object, who = visitor) =>
    who.call(method, `/api/v1/projects/${id}`, body);
  const find = (documentId: string, projectId: string) =>
    applyClassification(t.app, {
      ...{ documentId, projectId, confidence: 1, tags: [], reason: null },
      classifiedAt: t.clock.now(),
    });

  test("with the longest names are listed in pages too", async () => {
    const names = ["日".repeat(200), '"'.repeat(200), "\u0001".repeat(200)];
    const ids: string[] = [];
    for (const name of names) ids.push((await create({ name })).id);
    for (let cursor = ""; ; ) {
      const { status, body } = await visitor.call("GET", `/api/v1/projects?limit=1${cursor}`);
      assert.equal(status, 200, JSON.stringify(body));
      if (!body.next_cursor) break;
      cursor = `&cursor=${body.next_cursor}`;
    }
    for (const id of ids) assert.equal((await send("DELETE", id)).status, 204);
  });

  test("are created, listed by name in pages, changed, and archived out of the list", async () => {
    for (const name of ["Beta", "alpha", "Gamma"]) await create({ name });
    const names: string[] = [];
    for (let cursor = ""; ; ) {
      const { body } = await visitor.call("GET", `/api/v1/projects?limit=2${cursor}`);
      names.push(...body.items.map(({ name }: { name: string }) => name));
      if (!body.next_cursor) break;
      cursor = `&cursor=${body.next_cursor}`;
    }
    assert.deepEqual(names.toSorted(), ["Beta", "Gamma", "alpha"]);
    const [first] = await itemsOf(visitor, "projects");
    const changed = await send("PATCH", first.id, { status: "archived", description: "Over" });
    assert.partialDeepStrictEqual(changed.body, { status: "archived", description: "Over" });
    assert.equal((await itemsOf(visitor, "projects")).length, 2);
    assert.deepEqual(
      (await itemsOf(visitor, "projects?status=archived")).map(({ id }) => id),
      [first.id],
    );
  });

  test("are their owner's alone, and what is no project is refused by field", async () => {
    const { id } = await create({ name: "Mine" });
    const priya = await t.signIn("priya@example.com");
    for (const method of ["GET", "PATCH", "DELETE"]) {
      const body = method === "PATCH" ? { name: "Hers" } : undefined;
      assert.equal((await send(method, id, body, priya)).status, 404);
    }
    assert.deepEqual(await itemsOf(priya, "projects"), []);
    for (const body of [
      {},
      { name: "" },
      { name: "x".repeat(201) },
      { name: "x", status: "done" },
      { name: "x", created_by: priya.userId },
      { name: "x", normalized_tags: "tag" },
    ]) {
      assert.equal((await visitor.call("POST", "/api/v1/projects", body)).status, 422);
    }
    assert.equal((await send("PATCH", id, {})).status, 422);
    assert.equal((await send("GET", "7")).status, 422);
  });

  test("that are changed by hand change their copy in project_metadata too", async () => {
    const { id } = await create({ name: "Copied" });
    await t.app.db.insertInto("project_metadata").values({ project_id: id }).execute();
    await send("PATCH", id, { normalized_tags: ["launch"], notes: "By hand" });
    const copy = await t.app.db
      .selectFrom("project_metadata")
      .selectAll()
      .where("project_id", "=", id)
      .executeTakeFirstOrThrow();
    assert.deepEqual([copy.normalized_tags, copy.notes], [["launch"], "By hand"]);
  });

  test("can be deleted while one of their documents is found to belong to them once more", async () => {
    const { id } = await create({ name: "Short-lived" });
    await sendAndRead(t, { from: ana, to: anasAssistant, subject: "Twice", text: "x" });
    const [document] = await documentsOf(visitor);
    assert.equal(await find(document.id, id), "applied");
    const { both } = await t.app.db.transaction().execute(async (tx) => {
      await lockProject(tx, visitor.userId, id);
      const deleted = send("DELETE", id);
      await untilItWaits(t.app.db, deleted);
      const found = find(document.id, id).catch((error: Error) => error.message);
      const both = Promise.all([deleted, found]);
      await untilItWaits(t.app.db, both, 2);
      return { both };
    });
    const [{ status, body }, found] = await both;
    assert.deepEqual([status, found], [204, "No such project"], JSON.stringify(body));
    assert.equal((await documentsOf(visitor))[0].project_id, null);
  });

  const meetingIn = async (projectId: string) => {
    const { rows } = await sql<{ id: string }>`
      insert into meetings (user_id, title, start_time, end_time, project_id)
      values (${visitor.userId}, 'Talk', now(), now(), ${projectId}) returning id
    `.execute(t.app.db);
    return rows[0]?.id ?? "";
  };

  test("can be deleted while what was said in one of their meetings becomes a document", async () => {
    const { id } = await create({ name: "Talked about" });
    const meetingId = await meetingIn(id);
    const { rows } = await sql<{ id: string }>`
      insert into bots (user_id, name, description, provider) values (${visitor.userId}, 'Bot', '', 'attendee')
      returning id
    `.execute(t.app.db);
    const botId = rows[0]?.id ?? "";
    await sql`update meetings set bot_id = ${botId} where id = ${meetingId}`.execute(t.app.db);
    const transcript = transcriptOf([
      {
        speaker_name: "Ana",
        speaker_uuid: "ana",
        timestamp_ms: t.clock.now().getTime(),
        duration_ms: 1_000,
        transcription: { transcript: "Hello", language: null },
      },
    ]);
    const { deleted } = await t.app.db.transaction().execute(async (tx) => {
      const bot = (await lockWithMeetings(tx, botId))?.bot;
      assert.ok(bot);
      const deleted = send("DELETE", id);
      await untilItWaits(t.app.db, deleted);
      await conclude(t.app, tx, bot, transcript);
      return { deleted };
    });
    assert.equal((await deleted).status, 204);
    const document = (await documentsOf(visitor)).find(({ type }) => type === "meeting_transcript");
    assert.equal(document.project_id, null);
  });

  test("can be deleted while a meeting is put into them", async () => {
    const { id } = await create({ name: "Put into" });
    const meetingId = await meetingIn(id);
    const { put } = await t.app.db.transaction().execute(async (tx) => {
      await sql`select from meetings where id = ${meetingId} for update`.execute(tx);
      const put = visitor.call("PATCH", `/api/v1/meetings/${meetingId}`, { project_id: id });
      await untilItWaits(t.app.db, put);
      await lockProject(tx, visitor.userId, id);
      return { put };
    });
    assert.equal((await put).status, 200);
    assert.equal((await send("DELETE", id)).status, 204);
  });

  test("that are being deleted take nothing more", async () => {
    const { id } = await create({ name: "Going" });
    const { rows } = await sql<{ id: string }>`
      insert into documents (created_by, type, source, title) values (${visitor.userId}, 'email', 'gmail', 'Late')
      returning id
    `.execute(t.app.db);
    const { all } = await t.app.db.transaction().execute(async (tx) => {
      await lockProject(tx, visitor.userId, id);
      const deleted = send("DELETE", id);
      await untilItWaits(t.app.db, deleted);
      const moved = visitor.call("PATCH", `/api/v1/documents/${rows[0]?.id}`, { project_id: id });
      const all = Promise.all([deleted, moved]);
      await untilItWaits(t.app.db, all, 2);
      return { all };
    });
    const [deleted, moved] = await all;
    assert.deepEqual([deleted.status, moved.status], [204, 422], JSON.stringify(moved.body));
  });

  test("go with their owner, also while a document is found to belong to one of them", async () => {
    const zoe = await t.signIn("zoe.lindqvist@example.org");
    await t.idle();
    const { body: project } = await zoe.call("POST", "/api/v1/projects", { name: "Hers" });
    const { rows } = await sql<{ id: string }>`
      insert into documents (created_by, type, source, title) values (${zoe.userId}, 'email', 'gmail', 'Hers')
      returning id
    `.execute(t.app.db);
    const documentId = rows[0]?.id ?? "";
    const { both } = await t.app.db.transaction().execute(async (tx) => {
      await sql`select from documents where id = ${documentId} for update`.execute(tx);
      const deleted = deleteUser(t.app, zoe.userId);
      await untilItWaits(t.app.db, deleted);
      const found = find(documentId, project.id).catch((error: Error) => error.message);
      const both = Promise.all([deleted, found]);
      await untilItWaits(t.app.db, both, 2);
      return { both };
    });
    assert.equal((await both)[1], `No document ${documentId}`);
    await t.idle();
  });

  test("that are deleted leave their documents and meetings behind, in no project", async () => {
    const { id } = await create({ name: "Short-lived" });
    await sendAndRead(t, { from: ana, to: anasAssistant, subject: "Kept", text: "x" });
    const [document] = await documentsOf(visitor);
    await visitor.call("PATCH", `/api/v1/documents/${document.id}`, { project_id: id });
    t.google.calendar.addEvent(
      ana,
      eventIn(t, 1, { location: "https://meet.google.com/abc-defg-hij" }),
    );
    await visitor.call("POST", `/api/v1/calendar/sync/${visitor.userId}?wait=true`);
    const [meeting] = await itemsOf(visitor, "meetings");
    await visitor.call("PATCH", `/api/v1/meetings/${meeting.id}`, { project_id: id });
    assert.equal((await itemsOf(visitor, `documents?project_id=${id}`)).length, 1);
    assert.equal((await itemsOf(visitor, `meetings?project_id=${id}`)).length, 1);

    assert.equal((await send("DELETE", id)).status, 204);
    assert.equal((await send("DELETE", id)).status, 404);
    assert.equal((await documentsOf(visitor))[0].project_id, null);
    assert.equal((await itemsOf(visitor, "meetings"))[0].project_id, null);
  });
});

describe("the built-in classifier, where there is no workflow", () => {
  test("puts a mail into the project that a form described, says why, and leaves a person's choice alone", async () => {
    await using story = await anasMail({ model: true });
    const { t, visitor } = story;
    const post = (path: string, body: object) => visitor.call("POST", `/api/v1/${path}`, body);
    const other = (await post("projects", { name: "Shop relaunch" })).body;
    const film = (await post("projects", { name: "New" })).body;
    const onboarded = await post("ai/project-onboarding?wait=true", {
      project_id: film.id,
      summary: form,
    });
    assert.equal(onboarded.status, 200, JSON.stringify(onboarded.body));

    await sendAndRead(t, {
      from: "Mira Okafor <mira@acme.example>",
      to: [ana, anasAssistant],
      subject: "Budget",
      text: "For the product launch: here is the budget.",
    });
    const [filed] = await documentsOf(visitor);
    assert.partialDeepStrictEqual(filed, {
      project_id: film.id,
      project_name: "Autumn Film",
      tags: ["product_launch"],
      classification_status: "classified",
    });
    const why = await visitor.call("GET", `/api/v1/documents/${filed.id}/why`);
    assert.match(why.body.project.reason, /^Because: domain acme\.example, .*tag product_launch/);

    await visitor.call("PATCH", `/api/v1/documents/${filed.id}`, { project_id: other.id });
    assert.deepEqual(await classifyHere(t.app, { documentId: filed.id }), { classified: 0 });
    assert.equal((await documentsOf(visitor))[0].project_id, other.id);

    await visitor.call("PATCH", `/api/v1/projects/${film.id}`, { status: "archived" });
    await sendAndRead(t, {
      from: "mira@acme.example",
      to: [ana, anasAssistant],
      subject: "AF-2027 once more",
      text: "x",
    });
    const late = (await documentsOf(visitor)).find(({ title }) => title === "AF-2027 once more");
    assert.deepEqual([late.project_id, late.classification_status], [null, "unclassified"]);
  });

  test("is off where a workflow is configured", async () => {
    await using story = await anasMail({ workflow: true });
    const { t, visitor } = story;
    await visitor.call("POST", "/api/v1/projects", { name: "Autumn Film" });
    t.n8n.settings.answers = false;
    await sendAndRead(t, { from: ana, to: anasAssistant, subject: "Autumn Film", text: "x" });
    const [document] = await documentsOf(visitor);
    assert.deepEqual([document.project_id, document.classification_status], [null, "sent_to_n8n"]);
    assert.equal(t.n8n.runs.length, 1);
  });
});
