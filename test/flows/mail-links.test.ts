import assert from "node:assert/strict";
import { test } from "node:test";
import { addFault } from "../../sandbox/google/faults.ts";
import type { Outgoing } from "../../sandbox/google/gmail/deliver.ts";
import { followLinks, seekLinksAgain } from "../../src/documents/mail-links.ts";
import { AppError } from "../../src/lib/errors.ts";
import { enqueue } from "../../src/queue/queue.ts";
import { openTestApp, type TestApp, type Visitor } from "../harness.ts";
import {
  ana,
  anasAssistant,
  anasMail,
  chooseName,
  documentsOf,
  itemsOf,
  jonas,
  sendAndRead,
} from "../mails.ts";

const driveOnly = "https://www.googleapis.com/auth/drive.readonly";
const linkTo = (fileId: string) => `https://docs.google.com/document/d/${fileId}/edit?usp=sharing`;

/** Ana has connected mail and Drive, changes are told, and documents are handed to a workflow. */
const anasDesk = () => anasMail({ push: true, workflow: true, withAssistant: true });

const send = (t: TestApp, mail: Outgoing) =>
  sendAndRead(t, { from: ana, to: anasAssistant, ...mail });
// biome-ignore lint/suspicious/noExplicitAny: what a route answers is what its test asserts.
async function documentOf(visitor: Visitor, title: string): Promise<any> {
  const found = (await documentsOf(visitor)).filter((one) => one.title === title);
  assert.equal(found.length, 1, `${found.length} documents ${title}`);
  return (await visitor.call("GET", `/api/v1/documents/${found[0].id}`)).body;
}
const titlesOf = async (visitor: Visitor) =>
  (await documentsOf(visitor)).map(({ title }) => title).sort();

/** Looks for what a mail links to once more, as a queue does that was told nothing of the first time. */
async function followAgain(t: TestApp, documentId: string): Promise<void> {
  await enqueue(t.app, t.app.db, { name: "mail.links", payload: { documentId } });
  await t.idle();
}
async function hurry(t: TestApp): Promise<void> {
  await t.hurry("mail.links");
  await t.idle();
}

test("files that a mail links to, in its text or its HTML, become documents of their own and are classified", async () => {
  await using story = await anasDesk();
  const { t, visitor } = story;
  const { drive } = t.google;
  const [plan, budget] = ["Plan", "Budget"].map((name) =>
    drive.addFile(ana, { name: `${name}.txt`, content: `The ${name}` }),
  );
  await send(t, {
    subject: "Both",
    text: `See ${linkTo(plan!)}`,
    html: `<p>See <a href="${linkTo(plan!)}">the plan</a> and
      <a href="https://drive.google.com/open?usp=mail&amp;id=${budget}">the budget</a></p>`,
  });
  const mail = await documentOf(visitor, "Both");
  const theirs = [await documentOf(visitor, "Plan.txt"), await documentOf(visitor, "Budget.txt")];
  assert.deepEqual(
    theirs.map(({ text, source, project_id }) => [text, source, project_id]),
    [
      ["The Plan", "drive", null],
      ["The Budget", "drive", null],
    ],
  );
  const byId = (one: { file_id: string }, other: { file_id: string }) =>
    one.file_id < other.file_id ? -1 : 1;
  assert.deepEqual(
    mail.links,
    theirs
      .map(({ id, file_id, title }) => ({
        ...{ file_id, document_id: id, title },
        ...{ state: "followed", reason: null },
      }))
      .sort(byId),
  );
  assert.deepEqual(theirs[0].links, []);
  assert.deepEqual(
    (await itemsOf(visitor, "drive/files")).map(({ origin, is_pushed }) => [origin, is_pushed]),
    [
      ["linked", true],
      ["linked", true],
    ],
  );
  const classified = t.n8n.received.filter(({ path }) => !path.includes("drive-sync"));
  assert.deepEqual(
    classified.map(({ body }) => body.document_id).sort(),
    [mail, ...theirs].map(({ id }) => id).sort(),
  );
  drive.edit(plan!, "Another plan");
  await t.idle();
  assert.equal((await documentOf(visitor, "Plan.txt")).text, "Another plan");
});

test("a file that is not shared is said to be unseen, and followed by itself as soon as it is shared", async () => {
  await using story = await anasDesk();
  const { t, visitor } = story;
  const fileId = t.google.drive.addFile(jonas, { name: "Theirs.txt", content: "Read me" });
  await send(t, { subject: "First", text: linkTo(fileId) });
  await send(t, { subject: "Second", text: linkTo(fileId) });
  const [link] = (await documentOf(visitor, "First")).links;
  assert.partialDeepStrictEqual(link, { state: "unseen", document_id: null, title: null });
  assert.match(link.reason, /share it with one of them/);
  t.google.state.requests.length = 0;
  t.google.drive.share(fileId, ana);
  await t.idle();
  const { id, text } = await documentOf(visitor, "Theirs.txt");
  assert.equal(text, "Read me");
  for (const title of ["First", "Second"])
    assert.partialDeepStrictEqual((await documentOf(visitor, title)).links, [
      { state: "followed", reason: null, document_id: id, title: "Theirs.txt" },
    ]);
  const looked = t.google.state.requests.filter(({ endpoint }) => endpoint === "drive.files.get");
  assert.deepEqual(looked, [], "the log of changes tells all");
  t.google.drive.unshare(fileId, ana);
  await t.idle();
  const [lost] = (await documentOf(visitor, "First")).links;
  assert.deepEqual([lost.state, lost.document_id], ["unseen", id]);
  assert.match(lost.reason, /no longer shared/);
});

test("a file that two mails link to is one document, however often it is looked for", async () => {
  await using story = await anasDesk();
  const { t, visitor } = story;
  const fileId = t.google.drive.addFile(ana, { name: "Plan.txt", content: "The plan" });
  await send(t, { subject: "First", text: linkTo(fileId) });
  await send(t, { subject: "Second", text: `https://drive.google.com/file/d/${fileId}/view` });
  // As whoever dies between following a file and saying so leaves it.
  await t.app.db.updateTable("document_links").set({ state: "waiting" }).execute();
  const { id } = await documentOf(visitor, "First");
  await followAgain(t, id);
  await followAgain(t, id);
  assert.deepEqual(await titlesOf(visitor), ["First", "Plan.txt", "Second"]);
  for (const title of ["First", "Second"])
    assert.equal((await documentOf(visitor, title)).links[0].state, "followed");
});

test("a file that Google does not answer for is looked for later, and holds up none of the others", async () => {
  await using story = await anasDesk();
  const { t, visitor } = story;
  const ids = ["a.txt", "b.txt"].map((name) => t.google.drive.addFile(ana, { name }));
  // The log of changes has told of them: it would have them followed as well.
  await t.idle();
  addFault(t.google.state, { endpoint: "drive.files.get", status: 503, times: 1 });
  await send(t, { subject: "Both", text: ids.map(linkTo).join("\n") });
  const states = async () =>
    (await documentOf(visitor, "Both")).links.map(({ state }: { state: string }) => state).sort();
  assert.deepEqual(await states(), ["followed", "waiting"]);
  await hurry(t);
  assert.deepEqual(await states(), ["followed", "followed"]);
  assert.deepEqual(await titlesOf(visitor), ["Both", "a.txt", "b.txt"]);
});

test("a link of a mail that is held does nothing until its owner takes it", async () => {
  await using story = await anasDesk();
  const { t, visitor } = story;
  const fileId = t.google.drive.addFile(ana, { name: "Plan.txt" });
  await send(t, { from: "stranger@example.net", subject: "Offer", text: linkTo(fileId) });
  assert.deepEqual(await documentsOf(visitor), []);
  assert.deepEqual(await itemsOf(visitor, "drive/files"), []);
  const [held] = await itemsOf(visitor, "email/held");
  await visitor.call("POST", `/api/v1/email/held/${held.id}/accept`);
  await t.idle();
  assert.deepEqual(await titlesOf(visitor), ["Offer", "Plan.txt"]);
});

test("a file that somebody stopped following stays so, whoever links to it, until they follow it again", async () => {
  await using story = await anasDesk();
  const { t, visitor } = story;
  const fileId = t.google.drive.addFile(ana, { name: "Plan.txt", content: "One" });
  await send(t, { subject: "First", text: linkTo(fileId) });
  assert.equal((await visitor.call("DELETE", `/api/v1/drive/subscribe/${fileId}`)).status, 204);
  await send(t, { subject: "Second", text: linkTo(fileId) });
  for (const title of ["First", "Second"])
    assert.partialDeepStrictEqual((await documentOf(visitor, title)).links, [
      { state: "stopped", reason: "Its owner stopped following it" },
    ]);
  await visitor.call("POST", "/api/v1/drive/subscribe", { file_id: fileId });
  await t.idle();
  assert.equal((await documentOf(visitor, "Second")).links[0].state, "followed");
});

test("a folder is followed with what is in it, and a shortcut stands for what it leads to", async () => {
  await using story = await anasDesk();
  const { t, visitor } = story;
  const { drive } = t.google;
  const folder = drive.addFolder(ana, "Work");
  drive.addFile(ana, { name: "inside.txt", parentId: folder });
  const target = drive.addFile(ana, { name: "target.txt" });
  const mimeType = "application/vnd.google-apps.shortcut";
  const shortcut = drive.addFile(ana, { name: "Short", mimeType, targetId: target });
  await send(t, { subject: "Folder", text: `https://drive.google.com/drive/folders/${folder}` });
  await send(t, { subject: "Shortcut", text: `https://drive.google.com/open?id=${shortcut}` });
  assert.deepEqual(await titlesOf(visitor), ["Folder", "Shortcut", "inside.txt", "target.txt"]);
  assert.partialDeepStrictEqual((await documentOf(visitor, "Folder")).links, [
    { state: "followed", document_id: null, title: "Work" },
  ]);
  assert.partialDeepStrictEqual((await documentOf(visitor, "Shortcut")).links, [
    { state: "followed", title: "target.txt" },
  ]);
});

test("without Drive the links say so, and are followed once it is connected; those of others stay others'", async () => {
  await using opened = new AsyncDisposableStack();
  const t = opened.use(await openTestApp({ push: true }));
  const visitor = await t.signIn(ana, { untick: [driveOnly] });
  await chooseName(visitor, "ana");
  await t.idle();
  const fileId = t.google.drive.addFile(ana, { name: "Plan.txt", content: "The plan" });
  await send(t, { subject: "Notes", text: linkTo(fileId) });
  assert.partialDeepStrictEqual((await documentOf(visitor, "Notes")).links, [
    { state: "unseen", reason: "Google Drive is not connected" },
  ]);
  const other = await t.signIn(jonas);
  t.google.drive.share(fileId, jonas);
  await t.idle();
  assert.deepEqual(await documentsOf(other), []);
  await visitor.connect(ana);
  await t.idle();
  assert.equal((await documentOf(visitor, "Notes")).links[0].state, "followed");
  assert.equal((await documentOf(visitor, "Plan.txt")).text, "The plan");
  // Whoever goes and comes back finds the same document again, and no second one.
  const [{ id }] = (await visitor.call("GET", "/api/v1/me")).body.connections;
  await visitor.call("POST", "/api/v1/auth/google/token/revoke", { connection_id: id });
  await t.idle();
  const again = await t.signIn(ana);
  await t.idle();
  assert.deepEqual(await titlesOf(again), ["Notes", "Plan.txt"]);
  assert.equal((await documentOf(again, "Notes")).links[0].title, "Plan.txt");
});

test("a Drive that is connected while a link is looked for is not missed", async () => {
  await using opened = new AsyncDisposableStack();
  const t = opened.use(await openTestApp());
  const visitor = await t.signIn(ana, { untick: [driveOnly] });
  await chooseName(visitor, "ana");
  await t.idle();
  await send(t, { subject: "Notes", text: linkTo(t.google.drive.addFile(ana, { name: "a.txt" })) });
  const { id } = await documentOf(visitor, "Notes");
  const seekAgain = () =>
    t.app.db.transaction().execute((tx) => seekLinksAgain(t.app, tx, visitor.userId));
  await seekAgain();
  const follow = async () => {
    t.clock.advance(1_000);
    await seekAgain();
    throw new AppError("not_found", "Google Drive is not connected");
  };
  await followLinks(t.app, { documentId: id }, { follow, signal: AbortSignal.timeout(60_000) });
  assert.equal((await documentOf(visitor, "Notes")).links[0].state, "waiting");
});
