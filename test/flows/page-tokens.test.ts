import assert from "node:assert/strict";
import { test } from "node:test";
import { addFault } from "../../sandbox/google/faults.ts";
import { anasAssistant, anasMail, documentsOf, jonas, readMail } from "../mails.ts";

type Story = Awaited<ReturnType<typeof anasMail>>;

const feedOf = ({ t }: Story, kind: "gmail" | "drive") =>
  t.app.db
    .selectFrom("feeds")
    .selectAll()
    .where("kind", "=", kind)
    .where("resource", "=", "")
    .executeTakeFirstOrThrow();

/** Interrupts a reading after its first page, and makes the token of its next one worthless. */
async function spoilPage(story: Story, kind: "gmail" | "drive", spoil: (token: string) => string) {
  const { reading } = await feedOf(story, kind);
  const position = reading as { pageToken: string; seen: number } | null;
  assert.equal(position?.seen, 1, "interrupted after the first page");
  const spoilt = JSON.stringify({ ...position, pageToken: spoil(position.pageToken) });
  await story.t.app.db
    .updateTable("feeds")
    .set({ reading: spoilt })
    .where("kind", "=", kind)
    .execute();
}

const inside = (text: string) => JSON.stringify({ ...JSON.parse(text), token: "worthless" });

test("a mailbox whose reading was interrupted goes on from its cursor when the page's token has expired", async () => {
  await using story = await anasMail();
  const { t, visitor } = story;
  t.google.gmail.pages.pageSizeCap = 1;
  for (const subject of ["One", "Two", "Three"])
    await t.google.gmail.send({
      from: jonas,
      to: [anasAssistant, "ana@example.com"],
      subject,
      text: "x",
    });
  addFault(t.google.state, { endpoint: "gmail.history.list", status: 503, skip: 1 });
  await readMail(t);
  await spoilPage(story, "gmail", () => "worthless");
  t.clock.advance(3_600_000);
  await t.idle();
  assert.equal((await documentsOf(visitor)).length, 3);
  assert.equal((await feedOf(story, "gmail")).failures, 0);
  const asked = t.google.state.requests.map(({ endpoint }) => endpoint);
  assert.ok(!asked.slice(asked.indexOf("gmail.history.list")).includes("gmail.messages.list"));
});

test("so does a search for what a mailbox has missed, from its beginning", async () => {
  await using story = await anasMail();
  const { t, visitor } = story;
  t.google.gmail.pages.pageSizeCap = 1;
  for (const subject of ["One", "Two", "Three"])
    await t.google.gmail.send({
      from: jonas,
      to: [anasAssistant, "ana@example.com"],
      subject,
      text: "x",
    });
  t.google.gmail.forgetHistory("ana@example.com");
  addFault(t.google.state, { endpoint: "gmail.messages.list", status: 503, skip: 1 });
  t.clock.advance(20 * 60_000);
  await readMail(t);
  await spoilPage(story, "gmail", inside);
  t.clock.advance(3_600_000);
  await t.idle();
  assert.equal((await documentsOf(visitor)).length, 3);
  assert.equal((await feedOf(story, "gmail")).failures, 0);
});

test("so does a list of all files", async () => {
  await using story = await anasMail();
  const { t } = story;
  t.google.drive.pages.pageSizeCap = 1;
  for (const name of ["One", "Two", "Three"])
    t.google.drive.addFile("ana@example.com", { name, mimeType: "text/plain", content: "x" });
  addFault(t.google.state, { endpoint: "drive.files.list", status: 503, skip: 1 });
  await t.app.db
    .updateTable("feeds")
    .set({ is_full_wanted: true, due_at: t.clock.now() })
    .where("kind", "=", "drive")
    .execute();
  await t.idle();
  await spoilPage(story, "drive", inside);
  t.clock.advance(3_600_000);
  await t.idle();
  const { failures, cursor } = await feedOf(story, "drive");
  assert.deepEqual([failures, cursor === null], [0, false]);
});
