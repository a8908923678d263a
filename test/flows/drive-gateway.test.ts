import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { openTestApp, type TestApp, type Visitor } from "../harness.ts";
import { ana } from "../mails.ts";

describe("the old addresses of the Drive functions", () => {
  let t: TestApp;
  let visitor: Visitor;
  let fileId: string;
  let documentId: string;
  before(async () => {
    t = await openTestApp({ push: true, workflow: true });
    visitor = await t.signIn(ana);
    fileId = t.google.drive.addFile(ana, { name: "Plan.txt", content: "one" });
    await t.idle();
    const { id } = await t.app.db
      .insertInto("documents")
      .values({ created_by: visitor.userId, title: "Plan", source: "upload" })
      .returning("id")
      .executeTakeFirstOrThrow();
    documentId = id;
  });
  after(() => t[Symbol.asyncDispose]());

  const call = (who: Visitor, name: string, body: object) =>
    who.call("POST", `/functions/v1/${name}`, body);

  test("polling without a file that is followed says so", async () => {
    const { body } = await t.asService("POST", "/functions/v1/drive-polling-cron", {});
    assert.partialDeepStrictEqual(body, {
      success: true,
      message: "No active drive file watches found",
      total_processed: 0,
    });
  });

  test("subscribe-to-drive-file follows a file of the caller's own document, in both spellings", async () => {
    const inAnothersName = await call(visitor, "subscribe-to-drive-file", {
      document_id: documentId,
      file_id: fileId,
      user_id: crypto.randomUUID(),
    });
    assert.deepEqual(
      [inAnothersName.status, inAnothersName.body],
      [400, { success: false, message: "Document not found" }],
    );
    const { status, body } = await call(visitor, "subscribe-to-drive-file", {
      document_id: documentId,
      file_id: fileId,
      user_id: visitor.userId.toUpperCase(),
    });
    assert.equal(status, 200, JSON.stringify(body));
    assert.partialDeepStrictEqual(body, {
      success: true,
      message: "Successfully subscribed to Google Drive file changes",
    });
    assert.ok(Number(body.expiration) > Date.now());
    await t.idle();
    const again = await call(visitor, "subscribe-to-drive-file", { documentId, fileId });
    assert.deepEqual(
      [again.status, again.body],
      [400, { success: false, message: "Watch already exists for this file" }],
    );
    const missing = await call(visitor, "subscribe-to-drive-file", {});
    assert.equal(missing.body.message, "Missing required parameters: document_id, file_id");
    for (const wrong of [
      { documentId, fileId: 7 },
      { document_id: "x", file_id: fileId },
    ]) {
      const refused = await call(visitor, "subscribe-to-drive-file", wrong);
      assert.deepEqual([refused.status, refused.body.success], [400, false]);
    }
    const priya = await t.signIn("priya@example.com");
    const stranger = await call(priya, "subscribe-to-drive-file", { documentId, fileId });
    assert.deepEqual([stranger.status, stranger.body.message], [400, "Document not found"]);
    await t.idle();
  });

  test("drive-polling-service looks at one file, and skips it while push is healthy", async () => {
    const poll = (body: object, who = visitor) => call(who, "drive-polling-service", body);
    t.google.drive.push.isOn = false;
    t.google.drive.edit(fileId, "two");
    const { body } = await poll({ fileId, documentId });
    assert.deepEqual(body, {
      success: true,
      message: `Drive polling completed for file ${fileId}`,
      processed: true,
      skipped: false,
      action: "updated",
    });
    await t.idle();
    t.google.drive.push.isOn = true;
    t.google.drive.edit(fileId, "three");
    await t.idle();
    assert.partialDeepStrictEqual((await poll({ fileId, documentId })).body, {
      processed: false,
      skipped: true,
    });
    assert.equal((await poll({ fileId })).status, 400);
    const priya = await t.signIn("priya@example.com");
    assert.equal((await poll({ fileId, documentId }, priya)).status, 404);
  });

  test("drive-polling-cron counts files, for the service alone", async () => {
    t.google.drive.push.isOn = false;
    t.clock.advance(7 * 3_600_000);
    t.google.drive.rename(fileId, "Renamed.txt");
    const { body } = await t.asService("POST", "/functions/v1/drive-polling-cron", {});
    assert.partialDeepStrictEqual(body, {
      success: true,
      message: "Drive polling completed for 1 files",
      total_processed: 1,
      total_actions: 1,
      total_skipped: 0,
      results: [{ file_id: fileId, document_id: documentId, action: "updated" }],
    });
    assert.equal((await call(visitor, "drive-polling-cron", {})).status, 403);
    t.google.drive.push.isOn = true;
    await t.idle();
  });

  test("drive-webhook-handler takes what a channel proves, in every state, and nothing else", async () => {
    const [channel] = t.google.drive.channels();
    assert.ok(channel);
    const numbers = Array.from({ length: 100 }, (_, index) => 1_000 + index);
    const notify = (
      headers: Record<string, string>,
      path = "/functions/v1/drive-webhook-handler",
    ) =>
      fetch(t.url + path, {
        method: "POST",
        headers: {
          "x-goog-channel-id": channel.id,
          "x-goog-channel-token": channel.token ?? "",
          "x-goog-resource-state": "change",
          "x-goog-message-number": String(numbers.shift()),
          ...headers,
        },
      });
    const states = ["sync", "add", "update", "trash", "untrash", "remove", "change", "changed"];
    for (const state of states) {
      const headers = { "x-goog-resource-state": state, "x-goog-changed": "content, parents" };
      assert.equal((await notify(headers)).status, 200, state);
      assert.equal((await notify(headers, "/api/v1/webhooks/drive")).status, 204, state);
    }
    assert.equal((await notify({ "x-goog-channel-token": "guessed" })).status, 401);
    assert.equal((await notify({ "x-goog-channel-id": documentId })).status, 404);
    const drive = "/api/v1/webhooks/drive";
    assert.equal((await notify({ "x-goog-channel-token": "guessed" }, drive)).status, 401);
    const [calendar] = t.google.calendar.channels();
    const foreign = {
      "x-goog-channel-id": calendar?.id ?? "",
      "x-goog-channel-token": calendar?.token ?? "",
    };
    assert.equal((await notify(foreign, drive)).status, 404);
    const bare = await fetch(`${t.url}/functions/v1/drive-webhook-handler`, { method: "POST" });
    assert.equal(((await bare.json()) as { success: boolean }).success, false);
    await t.idle();
  });
});
