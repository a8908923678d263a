import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { addFault } from "../../sandbox/google/faults.ts";
import { openTestApp, type TestApp } from "../harness.ts";
import { ana, jonas } from "../mails.ts";

const which = fc.nat(5);
/** Anything that can happen to files, to Google, or to us. Numbers choose among what is there. */
const Happening = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant("edit" as const), which, to: fc.nat(3) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("touch" as const), which }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("rename" as const), which, to: fc.nat(3) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("trash" as const), which }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("restore" as const), which }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("remove" as const), which }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("unshare" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("share" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("lose" as const), messages: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("double" as const), share: fc.nat(1) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("forget" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("small pages" as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("fail" as const),
      endpoint: fc.constantFrom("drive.changes.list", "drive.files.download", "drive.*"),
      fault: fc.constantFrom(
        { status: 500 },
        { status: 403 },
        { status: 429 },
        { reset: "before" as const },
        { reset: "after" as const },
        { reset: "mid-body" as const },
      ),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("refuse delivery" as const), status: fc.constant(500) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("wait" as const), minutes: fc.nat(300) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("poll" as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("settle" as const) }) },
);

type Happening = typeof Happening extends fc.Arbitrary<infer One> ? One : never;

const runs = Number(process.env.PROPERTY_RUNS ?? 8);

test("whatever happens to files, in the end each document says what its file says, and each change of content was told once", {
  timeout: runs * 30_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(Happening, { minLength: 5, maxLength: 25 }), async (happenings) => {
      await using t = await openTestApp({ push: true, workflow: true });
      const visitor = await t.signIn(ana);
      await t.idle();
      const { drive } = t.google;
      const ids = ["a", "b", "c", "d", "e"].map((name) =>
        drive.addFile(ana, { name, content: `${name} 0` }),
      );
      const theirs = drive.addFile(jonas, { name: "theirs", content: "theirs 0" });
      drive.share(theirs, ana);
      ids.push(theirs);
      for (const file_id of ids) await visitor.call("POST", "/api/v1/drive/subscribe", { file_id });
      await t.idle();
      const edits = new Map(ids.map((id) => [id, 0]));
      for (const happening of happenings) await happen(t, happening, ids, theirs, edits);
      await fetch(`${t.google.url}/_control/faults`, { method: "DELETE" });
      for (let time = 0; time < 5; time += 1) {
        t.clock.advance(7 * 3_600_000);
        await t.hurry("files.read", "files.check", "deliveries.send");
        await t.idle();
      }
      await agree(t, ids, edits);
    }),
    { numRuns: runs, endOnFailure: true },
  );
});

async function happen(
  t: TestApp,
  one: Happening,
  ids: string[],
  theirs: string,
  edits: Map<string, number>,
): Promise<void> {
  const { drive } = t.google;
  const id = "which" in one ? (ids[one.which] ?? "") : "";
  const file = drive.store.files.get(id);
  switch (one.do) {
    case "edit": {
      const content = `${file?.name} ${one.to}`;
      if (!file || file.content.toString() === content) return;
      drive.edit(id, content);
      edits.set(id, (edits.get(id) ?? 0) + 1);
      return;
    }
    case "touch":
      if (file) drive.touch(id);
      return;
    case "rename":
      if (file) drive.rename(id, `name ${one.to}`);
      return;
    case "trash":
      if (file) drive.trash(id);
      return;
    case "restore":
      if (file) drive.restore(id);
      return;
    case "remove":
      if (file) drive.remove(id);
      return;
    case "unshare":
      if (drive.store.files.has(theirs)) drive.unshare(theirs, ana);
      return;
    case "share":
      if (drive.store.files.has(theirs)) drive.share(theirs, ana);
      return;
    case "lose":
      drive.push.dropNext += one.messages;
      return;
    case "double":
      drive.push.doubleShare = one.share;
      return;
    case "forget":
      drive.expirePageTokens();
      return;
    case "small pages":
      drive.pages.pageSizeCap = 2;
      return;
    case "fail":
      addFault(t.google.state, { endpoint: one.endpoint, ...one.fault });
      return;
    case "refuse delivery":
      t.n8n.settings.failNext.push(one.status);
      return;
    case "wait":
      t.clock.advance(one.minutes * 60_000);
      return;
    case "poll":
      await t.asService("POST", "/api/v1/cron/drive-polling");
      return;
    case "settle":
      await t.idle();
  }
}

async function agree(t: TestApp, ids: string[], edits: Map<string, number>): Promise<void> {
  const rows = await t.app.db
    .selectFrom("watched_files")
    .innerJoin("documents", "documents.id", "watched_files.document_id")
    .leftJoin("document_texts", "document_texts.document_id", "documents.id")
    .select(["watched_files.file_id", "watched_files.state", "documents.status"])
    .select(["documents.title", "document_texts.text"])
    .execute();
  assert.equal(rows.length, ids.length);
  const seen = t.google.drive.files(ana);
  for (const row of rows) {
    const file = seen.find(({ id }) => id === row.file_id);
    if (!file) {
      assert.ok(["removed", "lost"].includes(row.state), JSON.stringify(row));
      assert.ok(["deleted", "error"].includes(row.status ?? ""), JSON.stringify(row));
      continue;
    }
    assert.equal(row.title, file.name);
    assert.equal(row.state, file.isTrashed ? "trashed" : "active", JSON.stringify(row));
    if (!file.isTrashed) assert.equal(row.text, file.content.toString());
  }
  assert.equal(new Set(t.n8n.runs).size, t.n8n.runs.length);
  const told = t.n8n.received.filter(
    ({ path, status, body }) =>
      status === 200 && path.includes("drive-sync") && body.changed.includes("content"),
  );
  for (const id of ids) {
    const last = told.filter(({ body }) => body.file_id === id).at(-1)?.body.content_hash;
    const row = rows.find((one) => one.file_id === id);
    // What the workflow heard last is what the document says.
    if (last)
      assert.equal(
        last,
        createHash("sha256")
          .update(row?.text ?? "")
          .digest("hex"),
      );
    const events = new Set(
      told.flatMap(({ body }) => (body.file_id === id ? [body.event_id] : [])),
    );
    assert.ok(events.size <= (edits.get(id) ?? 0), `${id} was told of ${events.size} times`);
  }
  const waiting = await t.app.db
    .selectFrom("deliveries")
    .select("id")
    .where("state", "!=", "delivered")
    .execute();
  assert.deepEqual(waiting, []);
}
