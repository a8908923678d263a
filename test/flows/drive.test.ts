import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { sql } from "kysely";
import { addFault, clearFaults } from "../../sandbox/google/faults.ts";
import { openGoogleAccess } from "../../src/accounts/google-access.ts";
import { addWatched } from "../../src/documents/watched-files.ts";
import { getFile } from "../../src/providers/google/drive.ts";
import { driveSource } from "../../src/sync/drive.ts";
import { getFeed, lockFeed } from "../../src/sync/feeds.ts";
import { untilItWaits } from "../database.ts";
import { delta, openTestApp, type TestApp, type Visitor } from "../harness.ts";
import { ana, chooseName, documentsOf, itemsOf, jonas } from "../mails.ts";
import { until } from "../timing.ts";

const editor = "application/vnd.google-apps";
const docType = `${editor}.document`;

/** Ana has connected her Drive, and nothing in it is followed yet. */
async function anasDrive(options: Parameters<typeof openTestApp>[0] = {}) {
  await using opened = new AsyncDisposableStack();
  const t = opened.use(await openTestApp({ push: true, workflow: true, ...options }));
  const visitor = await t.signIn(ana);
  await chooseName(visitor, "ana");
  await t.idle();
  const kept = opened.move();
  return { t, visitor, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

const follow = async (visitor: Visitor, fileId: string, documentId?: string) => {
  const { status, body } = await visitor.call("POST", "/api/v1/drive/subscribe", {
    file_id: fileId,
    ...(documentId ? { document_id: documentId } : {}),
  });
  assert.equal(status, 201, JSON.stringify(body));
  return body;
};
const filesOf = (visitor: Visitor) => itemsOf(visitor, "drive/files");
const fileOf = async (visitor: Visitor, fileId: string) =>
  (await filesOf(visitor)).find(({ file_id }) => file_id === fileId);
const documentOf = async (visitor: Visitor, fileId: string) => {
  const { document_id } = await fileOf(visitor, fileId);
  return (await visitor.call("GET", `/api/v1/documents/${document_id}`)).body;
};
/** What the workflow was told of a file, in order. */
const toldOf = (t: TestApp, fileId: string) =>
  t.n8n.received
    .filter(
      ({ path, body, status }) =>
        path.includes("drive-sync") && body.file_id === fileId && status === 200,
    )
    .map(({ body }) => body);

describe("a file that is followed", () => {
  let story: Awaited<ReturnType<typeof anasDrive>>;
  let t: TestApp;
  let visitor: Visitor;
  let fileId: string;
  before(async () => {
    story = await anasDrive();
    ({ t, visitor } = story);
  });
  after(() => story[Symbol.asyncDispose]());
  beforeEach(async () => {
    fileId = t.google.drive.addFile(ana, { name: "Plan", mimeType: docType, content: "# One" });
    await follow(visitor, fileId);
    await t.idle();
  });

  test("becomes a document with its text, its link and its watch", async () => {
    const document = await documentOf(visitor, fileId);
    assert.partialDeepStrictEqual(document, {
      title: "Plan",
      source: "drive",
      type: "document",
      text: "# One",
      status: "active",
      file_id: fileId,
    });
    assert.match(document.source_url, /drive\.example\.com/);
    const file = await fileOf(visitor, fileId);
    assert.partialDeepStrictEqual(file, {
      state: "active",
      is_pushed: true,
      account: ana,
      origin: "subscribed",
      read_error: null,
    });
    const mirrored = await t.app.db
      .selectFrom("drive_file_watches")
      .selectAll()
      .where("file_id", "=", fileId)
      .executeTakeFirstOrThrow();
    assert.deepEqual([mirrored.is_active, mirrored.document_id], [true, document.id]);
  });

  test("is not said to be pushed by a channel that has expired, though nobody closed it yet", async () => {
    const expireIn = (minutes: number) =>
      sql`update watches set expires_at = ${t.clock.now()}::timestamptz + make_interval(mins => ${minutes})`.execute(
        t.app.db,
      );
    await expireIn(-1);
    assert.equal((await fileOf(visitor, fileId)).is_pushed, false);
    await expireIn(60);
    assert.equal((await fileOf(visitor, fileId)).is_pushed, true);
  });

  test("that was edited is read again and told to the workflow once, within seconds", async () => {
    t.google.drive.edit(fileId, "# Two");
    await t.idle();
    assert.partialDeepStrictEqual(await documentOf(visitor, fileId), {
      text: "# Two",
      status: "updated",
    });
    const [told, ...more] = toldOf(t, fileId);
    assert.deepEqual(more, []);
    assert.partialDeepStrictEqual(told, {
      action: "updated",
      changed: ["content"],
      content: "# Two",
      source: "drive_polling",
      project_id: null,
    });
    assert.match(told.content_hash, /^[0-9a-f]{64}$/);
    const log = await t.app.db
      .selectFrom("drive_webhook_logs")
      .selectAll()
      .where("file_id", "=", fileId)
      .execute();
    assert.deepEqual(
      log.map((row) => [row.resource_state, row.n8n_webhook_sent, row.n8n_webhook_response]),
      [["updated", true, "success"]],
    );
  });

  test("that is changed to and fro is told each time", async () => {
    for (const content of ["# Two", "# One", "# Two", "# One"]) {
      t.google.drive.edit(fileId, content);
      await t.idle();
    }
    assert.deepEqual(
      toldOf(t, fileId).map(({ content }) => content),
      ["# Two", "# One", "# Two", "# One"],
    );
  });

  test("whose checksum comes back is told each time as well", async () => {
    const plain = t.google.drive.addFile(ana, { name: "a.txt", content: "A" });
    await follow(visitor, plain);
    await t.idle();
    for (const content of ["B", "A", "B"]) {
      t.google.drive.edit(plain, content);
      await t.idle();
    }
    assert.deepEqual(
      toldOf(t, plain).map(({ content }) => content),
      ["B", "A", "B"],
    );
  });

  test("whose time changed and not its text causes nothing", async () => {
    t.google.drive.touch(fileId);
    await t.idle();
    assert.deepEqual(toldOf(t, fileId), []);
    assert.equal((await documentOf(visitor, fileId)).status, "active");
  });

  test("that was renamed, moved, or given to somebody else says so", async () => {
    const folder = t.google.drive.addFolder(ana, "Elsewhere");
    t.google.drive.rename(fileId, "The plan");
    await t.idle();
    t.google.drive.move(fileId, folder);
    await t.idle();
    t.google.drive.transfer(fileId, jonas);
    await t.idle();
    const document = await documentOf(visitor, fileId);
    assert.deepEqual([document.title, document.status], ["The plan", "updated"]);
    assert.deepEqual(
      toldOf(t, fileId).map(({ action, changed }) => [action, changed]),
      [
        ["updated", ["name"]],
        ["updated", ["parents"]],
        ["updated", ["owner"]],
      ],
    );
    assert.equal((await fileOf(visitor, fileId)).owner, jonas);
  });

  test("goes to the trash, comes back, and is deleted for good", async () => {
    t.google.drive.trash(fileId);
    await t.idle();
    assert.equal((await documentOf(visitor, fileId)).status, "deleted");
    assert.equal((await fileOf(visitor, fileId)).state, "trashed");
    t.google.drive.edit(fileId, "# Edited in the trash");
    t.google.drive.restore(fileId);
    await t.idle();
    const back = await documentOf(visitor, fileId);
    assert.deepEqual([back.status, back.text], ["updated", "# Edited in the trash"]);
    t.google.drive.trash(fileId);
    await t.idle();
    t.google.drive.remove(fileId);
    await t.idle();
    assert.deepEqual(
      toldOf(t, fileId).map(({ action, changed }) => [action, changed]),
      [
        ["deleted", []],
        ["restored", []],
        ["updated", ["content"]],
        ["deleted", []],
      ],
    );
    const gone = await fileOf(visitor, fileId);
    assert.deepEqual([gone.state, gone.state_reason], ["removed", "It was deleted for good"]);
    const mirrored = await t.app.db
      .selectFrom("drive_file_watches")
      .select("is_active")
      .where("file_id", "=", fileId)
      .execute();
    assert.deepEqual(mirrored, [{ is_active: false }]);
  });

  test("leaves nothing to search by while it is in the trash, and is watched again when it is back", async () => {
    const { id } = await documentOf(visitor, fileId);
    const keptOf = async () => {
      const { rows } = await sql`
        select watch_active, (select count(*)::int from document_chunks where document_id = documents.id) as chunks
        from documents where id = ${id}
      `.execute(t.app.db);
      return rows[0];
    };
    await sql`insert into document_chunks (document_id, text) values (${id}, 'a part')`.execute(
      t.app.db,
    );
    t.google.drive.rename(fileId, "Renamed");
    await t.idle();
    assert.deepEqual(await keptOf(), { watch_active: true, chunks: 1 });
    t.google.drive.trash(fileId);
    await t.idle();
    assert.deepEqual(await keptOf(), { watch_active: false, chunks: 0 });
    t.google.drive.restore(fileId);
    await t.idle();
    assert.deepEqual(await keptOf(), { watch_active: true, chunks: 0 });
  });

  test("of somebody else's that is no longer shared is in error, and nothing of it is deleted", async () => {
    const theirs = t.google.drive.addFile(jonas, {
      name: "Theirs",
      mimeType: docType,
      content: "x",
    });
    t.google.drive.share(theirs, ana);
    await follow(visitor, theirs);
    await t.idle();
    t.google.drive.unshare(theirs, ana);
    await t.idle();
    const document = await documentOf(visitor, theirs);
    assert.deepEqual([document.status, document.text], ["error", "x"]);
    const { state, state_reason } = await fileOf(visitor, theirs);
    assert.equal(state, "lost");
    assert.match(state_reason, /no longer shared with ana@example\.com/);
    t.google.drive.share(theirs, ana);
    await t.idle();
    assert.equal((await documentOf(visitor, theirs)).status, "active");
    assert.deepEqual(
      toldOf(t, theirs).map(({ action }) => action),
      ["restored"],
    );
  });

  test("is no longer followed when its owner says so, keeps its document, and can be followed anew", async () => {
    const { document_id } = await fileOf(visitor, fileId);
    assert.equal((await visitor.call("DELETE", `/api/v1/drive/subscribe/${fileId}`)).status, 204);
    assert.equal((await visitor.call("DELETE", `/api/v1/drive/subscribe/${fileId}`)).status, 404);
    t.google.drive.edit(fileId, "# Unseen");
    await t.idle();
    assert.equal(await fileOf(visitor, fileId), undefined);
    for (const path of [`poll/${fileId}`, `check-changes/${fileId}`]) {
      assert.equal((await visitor.call("POST", `/api/v1/drive/${path}`)).status, 404, path);
    }
    const { body: kept } = await visitor.call("GET", `/api/v1/documents/${document_id}`);
    assert.equal(kept.text, "# One");
    await follow(visitor, fileId);
    await t.idle();
    assert.equal((await documentOf(visitor, fileId)).text, "# Unseen");
    assert.equal((await documentOf(visitor, fileId)).id, document_id);
  });

  test("can be looked at now, and says what has become of it", async () => {
    t.google.drive.push.isOn = false;
    const check = async () =>
      (await visitor.call("POST", `/api/v1/drive/check-changes/${fileId}`)).body;
    assert.partialDeepStrictEqual(await check(), { changed: false, action: "none" });
    t.google.drive.edit(fileId, "# Three");
    assert.partialDeepStrictEqual(await check(), { changed: true, action: "updated" });
    t.google.drive.trash(fileId);
    assert.partialDeepStrictEqual(await check(), { action: "deleted" });
    t.google.drive.restore(fileId);
    assert.partialDeepStrictEqual(await check(), {
      action: "restored",
      metadata: { state: "active" },
    });
    // What a single look does not find may be there again.
    addFault(t.google.state, { endpoint: "drive.files.get", status: 404, times: 1 });
    assert.partialDeepStrictEqual(await check(), { action: "none", metadata: { state: "lost" } });
    assert.partialDeepStrictEqual(await check(), { action: "restored" });
    await t.idle();
    t.google.drive.rename(fileId, "Polled");
    const { file_id, document_id } = await fileOf(visitor, fileId);
    const deletion = await t.asService("POST", "/api/v1/drive/handle-deletion", {
      file_id,
      document_id,
    });
    assert.deepEqual([deletion.status, deletion.body.deleted], [200, false]);
    t.google.drive.push.isOn = true;
  });

  test("is handed to the workflow again when somebody asks", async () => {
    const { document_id } = await fileOf(visitor, fileId);
    const ask = (who = visitor) =>
      who.call("POST", "/api/v1/drive/n8n-webhook", { document_id, file_id: fileId });
    assert.equal((await ask()).status, 202);
    await t.idle();
    assert.deepEqual(
      toldOf(t, fileId).map(({ action, content }) => [action, content]),
      [["sync", "# One"]],
    );
    const stranger = await t.signIn("priya@example.com");
    assert.equal((await ask(stranger)).status, 404);
  });

  test("stands in a list that is walked page by page without gap or repeat", async () => {
    for (const name of ["Another", "A third"]) {
      await follow(visitor, t.google.drive.addFile(ana, { name, mimeType: docType }));
    }
    const whole = (await filesOf(visitor)).map(({ id }) => id);
    const seen: string[] = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const query: string = `limit=1${cursor && `&cursor=${cursor}`}`;
      const { status, body } = await visitor.call("GET", `/api/v1/drive/files?${query}`);
      assert.equal(status, 200, JSON.stringify(body));
      seen.push(...body.items.map(({ id }: { id: string }) => id));
      cursor = body.next_cursor;
    }
    assert.deepEqual(seen, whole);
  });

  test("is followed once, by whoever it belongs to, and only where an account sees it", async () => {
    const subscribe = (body: object, who = visitor) =>
      who.call("POST", "/api/v1/drive/subscribe", body);
    assert.equal((await subscribe({ file_id: fileId })).status, 409);
    const hidden = t.google.drive.addFile(jonas, { name: "Hidden" });
    const refused = await subscribe({ file_id: hidden });
    assert.deepEqual([refused.status, /share it/.test(refused.body.detail)], [404, true]);
    assert.equal((await subscribe({ file_id: "../etc" })).status, 422);
    const { document_id } = await fileOf(visitor, fileId);
    const priya = await t.signIn("priya@example.com");
    await t.idle();
    assert.equal((await subscribe({ file_id: fileId, document_id }, priya)).status, 404);
    for (const [method, path] of [
      ["POST", `poll/${fileId}`],
      ["POST", `check-changes/${fileId}`],
      ["DELETE", `subscribe/${fileId}`],
    ] as const)
      assert.equal((await priya.call(method, `/api/v1/drive/${path}`)).status, 404, path);
    assert.deepEqual(await filesOf(priya), []);
  });
});

/** A file of Ana's that is followed by a feed of its own. */
async function ownChannelOf({ t, visitor }: Awaited<ReturnType<typeof anasDrive>>) {
  const own = t.google.drive.addFile(ana, { name: "Own", content: "1" });
  const wish = { file_id: own, own_channel: true };
  assert.equal((await visitor.call("POST", "/api/v1/drive/subscribe", wish)).status, 201);
  await t.idle();
  return own;
}

// What the log that tells of what is followed says of some files, as its feed is given it.
async function pageOf({ t, visitor }: Awaited<ReturnType<typeof anasDrive>>, ids: string[]) {
  const { feed_id } = await t.app.db
    .selectFrom("watched_files")
    .select("feed_id")
    .executeTakeFirstOrThrow();
  const feed = await getFeed(t.app, visitor.userId, feed_id);
  const { request } = openGoogleAccess(t.app, feed.connection_id);
  const changes = await Promise.all(
    ids.map(async (id) => {
      return { type: "file" as const, file: await getFile(request, id), at: null };
    }),
  );
  return { feed, changes };
}

describe("what else Drive brings", () => {
  test("a folder is followed with what is in it, what comes into it, and no deeper than said", async () => {
    await using story = await anasDrive();
    const { t, visitor } = story;
    const { drive } = t.google;
    const folder = drive.addFolder(ana, "Work");
    const inner = drive.addFolder(ana, "Inner", folder);
    drive.addFile(ana, { name: "first.txt", content: "first", parentId: folder });
    drive.addFile(ana, { name: "deep.txt", content: "deep", parentId: inner });
    let deepest = inner;
    for (let depth = 0; depth < 6; depth += 1)
      deepest = drive.addFolder(ana, `Level ${depth}`, deepest);
    drive.addFile(ana, { name: "too deep.txt", parentId: deepest });
    await follow(visitor, folder);
    await t.idle();
    const titles = async () => (await documentsOf(visitor)).map(({ title }) => title).sort();
    assert.deepEqual(await titles(), ["deep.txt", "first.txt"]);
    drive.addFile(ana, { name: "second.txt", content: "second", parentId: inner });
    await t.idle();
    assert.deepEqual(await titles(), ["deep.txt", "first.txt", "second.txt"]);
    // What is new is classified, and no change of an older one.
    assert.equal(t.n8n.received.filter(({ path }) => !path.includes("drive-sync")).length, 3);
    await visitor.call("DELETE", `/api/v1/drive/subscribe/${folder}`);
    drive.addFile(ana, { name: "third.txt", parentId: folder });
    await t.idle();
    assert.equal((await documentsOf(visitor)).length, 3);
    assert.deepEqual(await filesOf(visitor), []);
  });

  test("a file that is shared with the assistant's address becomes a document by itself, of its owner alone", async () => {
    await using story = await anasDrive();
    const { t, visitor } = story;
    const other = await t.signIn(jonas);
    await t.idle();
    const fileId = t.google.drive.addFile(ana, { name: "For you", content: "Read me" });
    t.google.drive.share(fileId, jonas);
    await t.idle();
    assert.deepEqual(await documentsOf(visitor), []);
    t.google.drive.share(fileId, "ai+ana@example.com");
    await t.idle();
    const [document] = await documentsOf(visitor);
    assert.equal(document.title, "For you");
    assert.equal((await fileOf(visitor, fileId)).origin, "shared");
    assert.deepEqual(await documentsOf(other), []);
  });

  test("a token that Google refuses means one list of everything, and nothing is lost or doubled", async () => {
    await using story = await anasDrive();
    const { t, visitor } = story;
    const { drive } = t.google;
    const [edited, trashed, gone] = ["edited", "trashed", "gone"].map((name) =>
      drive.addFile(ana, { name, content: "1" }),
    );
    for (const id of [edited!, trashed!, gone!]) await follow(visitor, id);
    await t.idle();
    drive.push.isOn = false;
    drive.edit(edited!, "2");
    drive.trash(trashed!);
    drive.remove(gone!);
    const look = await visitor.call("POST", `/api/v1/drive/check-changes/${gone}`);
    assert.equal(look.body.metadata.state, "lost");
    drive.expirePageTokens();
    t.clock.advance(20 * 60_000);
    await visitor.call("POST", `/api/v1/sync/drive/${visitor.userId}`, { force: true });
    await t.idle();
    assert.deepEqual(
      [edited!, trashed!, gone!].map((id) => toldOf(t, id).map(({ action }) => action)),
      [["updated"], ["deleted"], ["deleted"]],
    );
    assert.equal((await documentOf(visitor, edited!)).text, "2");
    assert.equal((await fileOf(visitor, gone!)).state, "removed");
  });

  test("one bad file holds nobody up: its errors are kept with it, counted, and it is tried again", async () => {
    await using story = await anasDrive();
    const { t, visitor } = story;
    const { drive } = t.google;
    const bad = drive.addFile(ana, { name: "bad.txt", content: "bad" });
    const good = drive.addFile(ana, { name: "good.txt", content: "good" });
    // News of a followed file may have it read once more while it is being read.
    await t.idle();
    addFault(t.google.state, { endpoint: "drive.files.download", status: 500, times: 1 });
    await follow(visitor, bad);
    await t.idle();
    await follow(visitor, good);
    await t.idle();
    const file = await fileOf(visitor, bad);
    assert.equal(file.read_failures, 1);
    assert.match(file.read_error, /500/);
    assert.equal((await documentOf(visitor, good)).text, "good");
    t.clock.advance(60_000);
    await t.hurry("files.read");
    await t.idle();
    assert.deepEqual(
      [(await fileOf(visitor, bad)).read_failures, (await documentOf(visitor, bad)).text],
      [0, "bad"],
    );
    const odd = drive.addFile(ana, { name: "odd" });
    drive.makeMalformed(odd, { id: odd, name: 7 });
    drive.edit(good, "better");
    await t.idle();
    assert.equal((await documentOf(visitor, good)).text, "better");
  });

  describe("whose new content could not be read", () => {
    const readAgain = async ({ t }: Awaited<ReturnType<typeof anasDrive>>, ms: number) => {
      t.clock.advance(ms);
      await t.hurry("files.read");
      await t.idle();
    };
    const edited = async (story: Awaited<ReturnType<typeof anasDrive>>) => {
      const { t, visitor } = story;
      const id = t.google.drive.addFile(ana, { name: "a.txt", content: "one" });
      await follow(visitor, id);
      await t.idle();
      addFault(t.google.state, { endpoint: "drive.files.download", status: 503, times: null });
      t.google.drive.edit(id, "two");
      await t.idle();
      assert.equal((await fileOf(visitor, id)).read_failures, 1);
      return id;
    };
    const hours = 3_600_000;

    test("before the grant died, is read once its owner has signed in again, however late", async () => {
      await using story = await anasDrive();
      const { t, visitor } = story;
      const id = await edited(story);
      clearFaults(t.google.state);
      await fetch(`${t.google.url}/_control/people/${ana}/revoke`, { method: "POST" });
      for (let time = 0; time < 14; time += 1) await readAgain(story, 30 * hours);
      const waiting = await fileOf(visitor, id);
      assert.equal(waiting.read_failures, 1, "a grant that is dead is no failure of the file");
      assert.equal((await documentOf(visitor, id)).text, "one");
      const again = await t.signIn(ana, { consent: true } as never);
      await t.idle();
      assert.equal((await documentOf(again, id)).text, "two");
      assert.partialDeepStrictEqual(await fileOf(again, id), {
        read_failures: 0,
        read_retry_at: null,
        read_error: null,
      });
      assert.deepEqual(
        toldOf(t, id).map(({ changed }) => changed),
        [["content"]],
      );
    });

    test("in weeks of trouble, is read once that is over, at most a day later", async () => {
      await using story = await anasDrive();
      const { t, visitor } = story;
      const id = await edited(story);
      for (let time = 0; time < 14; time += 1) await readAgain(story, 30 * hours);
      const { read_failures, read_retry_at } = await fileOf(visitor, id);
      assert.equal(read_failures, 15);
      const waitMs = Date.parse(read_retry_at) - t.clock.now().getTime();
      assert.ok(waitMs > 17 * hours && waitMs < 31 * hours, `${waitMs / hours} hours`);
      clearFaults(t.google.state);
      await readAgain(story, 30 * hours);
      assert.equal((await documentOf(visitor, id)).text, "two");
    });
  });

  test("what has no text, may not be read, or is too large is known by its name, and says why", async () => {
    await using story = await anasDrive();
    const { t, visitor } = story;
    const { drive } = t.google;
    const image = drive.addFile(ana, { name: "a.png", mimeType: "image/png", content: "png" });
    const closed = drive.addFile(jonas, { name: "closed.txt", content: "secret" });
    drive.share(closed, ana);
    drive.forbidDownload(closed);
    const huge = drive.addFile(ana, {
      name: "huge.pdf",
      mimeType: "application/pdf",
      content: Buffer.alloc(100_000_000, "%PDF"),
    });
    const long = drive.addFile(ana, {
      name: "Long",
      mimeType: docType,
      content: "x".repeat(10 * 1024 * 1024 + 1),
    });
    const cuts: string[] = [];
    for (const id of [image, closed, huge, long]) {
      await follow(visitor, id);
      await t.idle();
      cuts.push((await documentOf(visitor, id)).cut);
    }
    assert.deepEqual(cuts, [
      "Files of this kind are known by their name alone",
      "Its owner does not let it be downloaded",
      "It is larger than 50 MB",
      "It is larger than the 10 MB that Google exports",
    ]);
    drive.edit(image, "another png");
    await t.idle();
    assert.deepEqual(
      toldOf(t, image).map(({ changed, content }) => [changed, content]),
      [[["content"], ""]],
    );
  });

  describe("a file of a shared drive", () => {
    const teams = async ({ push = true, members = [ana] } = {}) => {
      const story = await anasDrive({ push });
      const { t, visitor } = story;
      const driveId = t.google.drive.addSharedDrive("Team", members);
      const fileId = t.google.drive.addFile(jonas, { name: "Plan", content: "1", driveId });
      if (!members.includes(ana)) t.google.drive.share(fileId, ana);
      await follow(visitor, fileId);
      await t.idle();
      return Object.assign(story, { driveId, fileId });
    };
    type Story = Awaited<ReturnType<typeof teams>>;
    const feedOf = ({ t, driveId }: Story) =>
      t.app.db
        .selectFrom("feeds")
        .select(["state", "state_reason", "title"])
        .where("resource", "=", `drives/${driveId}`)
        .executeTakeFirst();
    const textOf = async ({ visitor, fileId }: Story) => (await documentOf(visitor, fileId)).text;
    const stateOf = async ({ visitor, fileId }: Story) => (await fileOf(visitor, fileId)).state;

    test("is current by the log of the drive, of which the account's own says nothing", async () => {
      await using story = await teams();
      const { t, fileId } = story;
      t.google.drive.edit(fileId, "2");
      await t.idle();
      assert.equal(await textOf(story), "2");
      const { state, title } = (await feedOf(story))!;
      assert.deepEqual([state, title], ["active", "Team"]);
    });

    test("is so without push, by looking at the drive's log", async () => {
      await using story = await teams({ push: false });
      const { t, visitor, fileId } = story;
      t.google.drive.edit(fileId, "2");
      await visitor.call("POST", `/api/v1/sync/drive/${visitor.userId}`, { force: true });
      await t.idle();
      assert.equal(await textOf(story), "2");
    });

    test("that comes into a followed folder is followed", async () => {
      await using story = await teams();
      const { t, visitor, driveId } = story;
      const folder = t.google.drive.addFile(jonas, {
        name: "Folder",
        mimeType: `${editor}.folder`,
        driveId,
      });
      await follow(visitor, folder);
      await t.idle();
      const id = t.google.drive.addFile(jonas, {
        name: "New",
        content: "x",
        parentId: folder,
        driveId,
      });
      await t.idle();
      assert.equal((await documentOf(visitor, id)).text, "x");
    });

    test("is looked at by itself where the drive's token is refused", async () => {
      await using story = await teams();
      const { t, fileId } = story;
      t.google.drive.push.isOn = false;
      t.google.drive.edit(fileId, "2");
      t.google.drive.expirePageTokens();
      t.clock.advance(7 * 3_600_000);
      await t.idle();
      t.clock.advance(20 * 60_000);
      await t.idle();
      assert.equal(await textOf(story), "2");
      t.google.drive.push.isOn = true;
      t.google.drive.edit(fileId, "3");
      await t.idle();
      assert.equal(await textOf(story), "3");
    });

    test("that is deleted is said to be gone, and one that moved to another drive goes on", async () => {
      await using story = await teams();
      const { t, fileId } = story;
      const other = t.google.drive.addSharedDrive("Other", [ana]);
      t.google.drive.move(fileId, null, other);
      await t.idle();
      t.google.drive.edit(fileId, "2");
      await t.idle();
      assert.deepEqual([await stateOf(story), await textOf(story)], ["active", "2"]);
      assert.equal((await feedOf(story))?.state, "stopped");
      assert.equal((await feedOf({ ...story, driveId: other }))?.state, "active");
      t.google.drive.remove(fileId);
      await t.idle();
      assert.equal(await stateOf(story), "lost");
    });

    test("that was shared with somebody who is no member is current by their own log", async () => {
      await using story = await teams({ members: [jonas] });
      const { t, fileId } = story;
      const { state, state_reason } = (await feedOf(story))!;
      assert.deepEqual([state, state_reason], ["stopped", "no_member"]);
      t.google.drive.edit(fileId, "2");
      await t.idle();
      assert.equal(await textOf(story), "2");
    });

    test("is lost to who leaves the drive, and current again when they come back", async () => {
      await using story = await teams();
      const { t, driveId, fileId } = story;
      t.google.drive.changeMembers(driveId, [jonas]);
      await t.idle();
      assert.deepEqual([await stateOf(story), (await feedOf(story))?.state], ["lost", "stopped"]);
      t.google.drive.edit(fileId, "2");
      t.google.drive.changeMembers(driveId, [ana, jonas]);
      await t.idle();
      assert.deepEqual([await stateOf(story), await textOf(story)], ["active", "2"]);
    });

    test("has its drive followed for as long as one there is followed, and no channel longer", async () => {
      await using story = await teams();
      const { t, visitor, fileId, driveId } = story;
      const inDrive = () =>
        t.google.drive
          .channels()
          .filter(({ watched }) => "log" in watched && watched.log === driveId);
      assert.equal(inDrive().length, 1);
      const second = t.google.drive.addFile(jonas, { name: "Second", content: "1", driveId });
      await follow(visitor, second);
      await visitor.call("DELETE", `/api/v1/drive/subscribe/${fileId}`);
      await t.idle();
      assert.equal(inDrive().length, 1);
      await visitor.call("DELETE", `/api/v1/drive/subscribe/${second}`);
      await t.idle();
      assert.deepEqual([inDrive().length, (await feedOf(story))?.state], [0, "stopped"]);
      t.google.drive.edit(fileId, "2");
      await follow(visitor, fileId);
      await t.idle();
      t.google.drive.edit(fileId, "3");
      await t.idle();
      assert.equal(await textOf(story), "3");
    });

    test("that was followed before drives were is current after the next look", async () => {
      await using story = await teams();
      const { t, fileId } = story;
      // What the version before leaves behind.
      await sql`delete from feeds where resource like 'drives/%'`.execute(t.app.db);
      await sql`update watched_files set drive_id = null`.execute(t.app.db);
      await sql`
        update feeds set is_full_wanted = true, due_at = ${t.clock.now()} where kind = 'drive' and resource = ''
      `.execute(t.app.db);
      t.google.drive.edit(fileId, "2");
      await t.idle();
      assert.equal(await textOf(story), "2");
      assert.equal((await feedOf(story))?.state, "active");
    });
  });

  test("500 followed files cost one call to look at, whatever changed", async () => {
    await using story = await anasDrive({ push: false });
    const { t, visitor } = story;
    const folder = t.google.drive.addFolder(ana, "Many");
    const ids = t.google.drive.addFiles(
      ana,
      Array.from({ length: 500 }, (_, index) => ({
        name: `${index}.png`,
        mimeType: "image/png",
        parentId: folder,
      })),
    );
    await follow(visitor, folder);
    await t.idle();
    assert.equal((await itemsOf(visitor, "drive/files?limit=200")).length, 200);
    t.google.state.requests.length = 0;
    for (const id of ids.slice(0, 50)) t.google.drive.rename(id, `renamed ${id}`);
    await visitor.call("POST", `/api/v1/sync/drive/${visitor.userId}`, { force: true });
    await t.idle();
    const asked = t.google.state.requests.filter(({ endpoint }) => endpoint.startsWith("drive."));
    assert.deepEqual(
      asked.map(({ endpoint }) => endpoint),
      ["drive.changes.list"],
    );
    const renamed = await t.app.db
      .selectFrom("documents")
      .select("id")
      .where("title", "like", "renamed%")
      .execute();
    assert.equal(renamed.length, 50);
  });

  test("a first list of very many files is shown as it goes, and goes on where it was interrupted", async () => {
    await using opened = new AsyncDisposableStack();
    const t = opened.use(await openTestApp());
    t.google.drive.addFiles(
      ana,
      Array.from({ length: 2_500 }, (_, index) => ({ name: `${index}` })),
    );
    // The third page fails.
    addFault(t.google.state, { endpoint: "drive.files.list", status: 500, times: 1, skip: 2 });
    const visitor = await t.signIn(ana);
    await t.idle();
    const feed = async () =>
      (await itemsOf(visitor, "sync/feeds")).find(({ kind }) => kind === "drive");
    assert.deepEqual((await feed()).reading, { name: "all files", seen: 2_000 });
    t.clock.advance(60_000);
    await t.idle();
    const { reading, last_full_count } = await feed();
    assert.deepEqual([reading, last_full_count], [null, 2_500]);
    const lists = t.google.state.requests.filter(({ endpoint }) => endpoint === "drive.files.list");
    assert.equal(lists.length, 4);
  });

  test("what the older product followed goes on being followed, with its document", async () => {
    await using opened = new AsyncDisposableStack();
    const t = opened.use(await openTestApp({ workflow: true }));
    const fileId = t.google.drive.addFile(ana, { name: "Old", content: "old" });
    const visitor = await t.signIn(ana);
    await t.idle();
    const { id } = await t.app.db
      .insertInto("documents")
      .values({ created_by: visitor.userId, title: "Old", source: "drive" })
      .returning("id")
      .executeTakeFirstOrThrow();
    await t.app.db
      .insertInto("drive_file_watches")
      .values({
        document_id: id,
        file_id: fileId,
        channel_id: id,
        resource_id: "x",
        expiration: new Date(0),
      })
      .execute();
    const [feed] = (await itemsOf(visitor, "sync/feeds")).filter(({ kind }) => kind === "drive");
    await visitor.call("POST", `/api/v1/sync/feeds/${feed.id}/sync?wait=true`, { full: true });
    await t.idle();
    assert.partialDeepStrictEqual(await fileOf(visitor, fileId), {
      document_id: id,
      origin: "subscribed",
    });
  });

  test("disconnecting stops the channel and keeps the documents; whoever comes back has them followed again", async () => {
    await using story = await anasDrive();
    const { t, visitor } = story;
    const { drive } = t.google;
    const fileId = drive.addFile(ana, { name: "Kept", content: "1" });
    const { document_id } = await follow(visitor, fileId);
    await t.idle();
    const [connection] = (await visitor.call("GET", "/api/v1/me")).body.connections;
    await visitor.call("POST", "/api/v1/auth/google/token/revoke", {
      connection_id: connection.id,
    });
    await t.idle();
    assert.deepEqual(drive.channels(), []);
    assert.deepEqual(await filesOf(visitor), []);
    drive.edit(fileId, "2");
    const again = await t.signIn(ana);
    await t.idle();
    const document = await documentOf(again, fileId);
    assert.deepEqual([document.id, document.text], [document_id, "2"]);
    assert.deepEqual(
      toldOf(t, fileId).map(({ action, changed }) => [action, changed]),
      [["updated", ["content"]]],
    );
  });

  test("a folder can be left alone while a page of the log tells of it and of what is in it", async () => {
    await using story = await anasDrive();
    const { t, visitor } = story;
    const folder = t.google.drive.addFolder(ana, "All");
    const inside = t.google.drive.addFile(ana, { name: "Plan", content: "1", parentId: folder });
    await follow(visitor, folder);
    await t.idle();
    // The folder comes first by its id, and last where the rows lie.
    const low = "00000000-0000-4000-8000-000000000000";
    const high = "ffffffff-ffff-4fff-8fff-ffffffffffff";
    await sql`
      update watched_files set id = case when is_folder then ${low}::uuid else ${high}::uuid end,
        folder_id = case when not is_folder then ${low}::uuid end
    `.execute(t.app.db);
    await sql`update watched_files set depth = depth where id = ${low}`.execute(t.app.db);
    const { feed, changes } = await pageOf(story, [folder, inside]);
    const { both } = await t.app.db.transaction().execute(async (tx) => {
      await sql`select from watched_files where id = ${low} for update`.execute(tx);
      const written = t.app.db
        .transaction()
        .execute((page) => driveSource.apply(t.app, page, feed, { changes, position: delta }));
      await untilItWaits(t.app.db, written);
      const left = visitor.call("DELETE", `/api/v1/drive/subscribe/${folder}`);
      const both = Promise.all([left, written]);
      await untilItWaits(t.app.db, both, 2);
      return { both };
    });
    const [{ status }] = await both;
    assert.equal(status, 204);
  });

  test("a folder can be listed while a page of the log tells of it and of what came into it", async () => {
    await using story = await anasDrive();
    const { t, visitor } = story;
    const folder = t.google.drive.addFolder(ana, "All");
    await follow(visitor, folder);
    await t.idle();
    t.google.drive.push.isOn = false;
    const inside = t.google.drive.addFile(ana, { name: "Plan", content: "1", parentId: folder });
    const { id: folderId } = await fileOf(visitor, folder);
    const { feed, changes } = await pageOf(story, [folder, inside]);
    // PostgreSQL checks that the folder is there after all that was listed is written.
    const { written } = await t.app.db.transaction().execute(async (tx) => {
      const { file } = changes[1]!;
      const { userId } = visitor;
      await addWatched(t.app, tx, feed.id, [{ file, userId, origin: "folder", depth: 1 }]);
      const written = t.app.db
        .transaction()
        .execute((page) => driveSource.apply(t.app, page, feed, { changes, position: delta }));
      await untilItWaits(t.app.db, written);
      await sql`update watched_files set folder_id = ${folderId} where id <> ${folderId}`.execute(
        tx,
      );
      return { written };
    });
    await written;
    assert.equal((await filesOf(visitor)).length, 2);
  });

  test("a folder that is left alone while it is listed brings nothing more", async () => {
    await using story = await anasDrive();
    const { t, visitor } = story;
    const { drive, state } = t.google;
    const folder = drive.addFolder(ana, "All");
    drive.addFile(ana, { name: "Plan", content: "1", parentId: folder });
    addFault(state, { endpoint: "drive.files.list", holdMs: 1_000 });
    await follow(visitor, folder);
    await until(() => state.faults.length === 0);
    await visitor.call("DELETE", `/api/v1/drive/subscribe/${folder}`);
    await t.idle();
    assert.deepEqual(await documentsOf(visitor), []);
  });

  test("a folder that is left alone while what is in it is written leaves that alone too", async () => {
    await using story = await anasDrive();
    const { t, visitor } = story;
    const folder = t.google.drive.addFolder(ana, "All");
    await follow(visitor, folder);
    await t.idle();
    t.google.drive.push.isOn = false;
    const inside = t.google.drive.addFile(ana, { name: "Plan", content: "1", parentId: folder });
    const { feed, changes } = await pageOf(story, [inside]);
    const { left } = await t.app.db.transaction().execute(async (tx) => {
      await driveSource.apply(t.app, tx, feed, { changes, position: delta });
      const left = visitor.call("DELETE", `/api/v1/drive/subscribe/${folder}`);
      await untilItWaits(t.app.db, left);
      return { left };
    });
    assert.equal((await left).status, 204);
    assert.deepEqual(await filesOf(visitor), []);
  });

  test("an account can be disconnected while a page of its log is written", async () => {
    await using story = await anasDrive();
    const { t, visitor } = story;
    const fileId = t.google.drive.addFile(ana, { name: "Plan", content: "1" });
    await follow(visitor, fileId);
    await t.idle();
    const { id } = await t.app.db
      .selectFrom("feeds")
      .select("id")
      .where("kind", "=", "drive")
      .executeTakeFirstOrThrow();
    const feed = await getFeed(t.app, visitor.userId, id);
    const { request } = openGoogleAccess(t.app, feed.connection_id);
    const file = await getFile(request, fileId);
    const page = { changes: [{ type: "file" as const, file, at: null }], position: delta };
    const { answer } = await t.app.db.transaction().execute(async (tx) => {
      await driveSource.apply(t.app, tx, feed, page);
      const answer = visitor.call("POST", "/api/v1/auth/google/token/revoke", {});
      await untilItWaits(t.app.db, answer);
      await lockFeed(tx, id);
      return { answer };
    });
    assert.equal((await answer).status, 200);
  });

  test("a file that no log tells of, or that is wished to, has a feed and a channel of its own, for a day", async () => {
    await using story = await anasDrive();
    const { t, visitor } = story;
    const { drive } = t.google;
    const linked = drive.addFile(jonas, { name: "Linked", content: "1" });
    drive.openByLink(linked);
    const own = drive.addFile(ana, { name: "Own", content: "1" });
    await follow(visitor, linked);
    const { status } = await visitor.call("POST", "/api/v1/drive/subscribe", {
      file_id: own,
      own_channel: true,
    });
    assert.equal(status, 201);
    await t.idle();
    const channelsOf = () =>
      drive.channels().flatMap(({ watched }) => ("file" in watched ? [watched.file.id] : []));
    assert.deepEqual(channelsOf().sort(), [linked, own].sort());
    for (const id of [linked, own]) drive.edit(id, "2");
    await t.idle();
    for (const id of [linked, own]) {
      assert.equal((await documentOf(visitor, id)).text, "2");
      assert.equal(toldOf(t, id).length, 1);
    }
    const before = drive.channels().map(({ id }) => id);
    t.clock.advance(13 * 3_600_000);
    await t.asService("POST", "/api/v1/cron/renew-drive-watches");
    await t.idle();
    const after = drive.channels().filter(({ watched }) => "file" in watched);
    assert.equal(after.length, 2);
    assert.ok(after.every(({ id }) => !before.includes(id)));
    drive.remove(own);
    drive.openByLink(linked, false);
    await t.idle();
    assert.equal((await fileOf(visitor, own)).state, "lost", "it may be there again");
    await t.hurry("files.check");
    await t.idle();
    assert.equal((await fileOf(visitor, own)).state, "removed");
    assert.equal((await fileOf(visitor, linked)).state, "lost");
    await visitor.call("POST", `/api/v1/sync/drive/${visitor.userId}`, { force: true });
    await t.idle();
    assert.deepEqual(channelsOf(), [linked]);
    for (const id of [linked, own]) await visitor.call("DELETE", `/api/v1/drive/subscribe/${id}`);
    await t.idle();
    assert.deepEqual(channelsOf(), []);
    const left = await t.app.db
      .selectFrom("feeds")
      .select("id")
      .where("kind", "=", "drive")
      .where("resource", "!=", "")
      .where("state", "=", "active")
      .execute();
    assert.deepEqual(left, []);
  });

  test("a file with a feed of its own that Google does not find once is not taken for deleted", async () => {
    await using story = await anasDrive();
    const { t, visitor } = story;
    const own = await ownChannelOf(story);
    addFault(t.google.state, { endpoint: "drive.files.get", status: 404, times: 1 });
    await visitor.call("POST", `/api/v1/sync/drive/${visitor.userId}`, { force: true });
    await t.idle();
    assert.equal((await fileOf(visitor, own)).state, "lost");
    assert.deepEqual(toldOf(t, own), []);
    await t.hurry("files.check");
    await t.idle();
    assert.equal((await fileOf(visitor, own)).state, "active");
  });

  test("a file with a feed of its own is looked at a second time though the job for that was lost", async () => {
    await using story = await anasDrive();
    const { t, visitor } = story;
    const own = await ownChannelOf(story);
    addFault(t.google.state, { endpoint: "drive.files.get", status: 404, times: null });
    const look = async () => {
      await visitor.call("POST", `/api/v1/sync/drive/${visitor.userId}`, { force: true });
      await t.idle();
    };
    await look();
    await sql`delete from pgboss.job_common where name = 'files.check'`.execute(t.app.db);
    await look();
    assert.equal((await fileOf(visitor, own)).state, "lost");
    await t.hurry("files.check");
    await t.idle();
    assert.equal((await fileOf(visitor, own)).state, "removed");
  });

  test("a file that only the service account sees is followed through it, for whoever it belongs to", async () => {
    await using opened = new AsyncDisposableStack();
    const t = opened.use(await openTestApp({ push: true, workflow: true }));
    const { drive, serviceAccount } = t.google;
    const readonly = "https://www.googleapis.com/auth/drive.readonly";
    const owner = await t.signIn(jonas, { untick: [readonly] });
    const stranger = await t.signIn(ana);
    await t.idle();
    const fileId = drive.addFile(jonas, { name: "For the service", content: "1" });
    const subscribe = (who: Visitor) =>
      who.call("POST", "/api/v1/drive/subscribe", { file_id: fileId });
    assert.equal((await subscribe(owner)).status, 404);
    drive.share(fileId, serviceAccount.email);
    assert.equal((await subscribe(stranger)).status, 404);
    assert.equal((await subscribe(owner)).status, 201);
    await t.idle();
    drive.edit(fileId, "2");
    await t.idle();
    assert.equal((await documentOf(owner, fileId)).text, "2");
    assert.equal(toldOf(t, fileId).length, 1);
    assert.deepEqual(await documentsOf(stranger), []);
  });
});
