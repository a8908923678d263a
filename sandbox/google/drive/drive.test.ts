import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import { after, before, beforeEach, describe, test } from "node:test";
import { type drive_v3, drive as officialClient } from "@googleapis/drive";
import { OAuth2Client } from "google-auth-library";
import { openSandboxGoogle, type SandboxGoogle } from "../server.ts";
import { redirectUri, signIn } from "../test-client.ts";

const ana = "ana@example.com";
const jonas = "jonas.weber@example.com";
const readonly = "https://www.googleapis.com/auth/drive.readonly";
const editor = "application/vnd.google-apps";
const allDrives = { supportsAllDrives: true, includeItemsFromAllDrives: true };

describe("the sandbox's Drive", () => {
  let google: SandboxGoogle;
  let anas: drive_v3.Drive;
  before(async () => {
    google = await openSandboxGoogle({ redirectUris: [redirectUri] });
    await google.listen();
  });
  after(() => google[Symbol.asyncDispose]());
  beforeEach(async () => {
    google.state.reset();
    const auth = new OAuth2Client();
    const asked = { scope: ["openid", readonly] };
    auth.setCredentials(await signIn(google, { person: ana }, asked));
    anas = officialClient({ version: "v3", auth, rootUrl: `${google.url}/`, retry: false });
  });

  const refusalOf = (call: Promise<unknown>) =>
    call.then(
      () => assert.fail("it was not refused"),
      ({ response }) => [response.status, response.data.error.errors[0].reason],
    );
  const start = async () => (await anas.changes.getStartPageToken()).data.startPageToken!;
  const changes = async (pageToken: string, more = {}) =>
    (await anas.changes.list({ pageToken, fields: "*", ...allDrives, ...more })).data;

  test("gives only what `fields` asks for, and little without it", async () => {
    const id = google.drive.addFile(ana, { name: "Plan.txt", content: "one" });
    const bare = await anas.files.get({ fileId: id });
    assert.deepEqual(Object.keys(bare.data).sort(), ["id", "kind", "mimeType", "name"]);
    const { data } = await anas.files.get({
      fileId: id,
      fields: "id,size,md5Checksum,owners(emailAddress),trashed",
    });
    assert.deepEqual(data, {
      id,
      size: "3",
      md5Checksum: "f97c5d29941bfb1b2fdab0874906ab82",
      owners: [{ emailAddress: ana }],
      trashed: false,
    });
    assert.deepEqual(await refusalOf(anas.files.get({ fileId: id, fields: "id,(" })), [
      400,
      "invalidParameter",
    ]);
    assert.deepEqual(await refusalOf(anas.files.get({ fileId: "none" })), [404, "notFound"]);
  });

  test("lists in pages, with trashed files unless they are filtered, and those in a folder", async () => {
    const folder = google.drive.addFolder(ana, "Work");
    const ids = google.drive.addFiles(
      ana,
      Array.from({ length: 5 }, (_, index) => ({ name: `${index}`, parentId: folder })),
    );
    google.drive.trash(ids[0]!);
    google.drive.addFile(jonas, { name: "Private" });
    const listed: string[] = [];
    let pageToken: string | undefined;
    do {
      const { data } = await anas.files.list({
        q: `'${folder}' in parents and trashed = false`,
        pageSize: 2,
        ...(pageToken ? { pageToken } : {}),
      });
      listed.push(...data.files!.map(({ id }) => id!));
      pageToken = data.nextPageToken ?? undefined;
    } while (pageToken);
    assert.deepEqual(listed.sort(), ids.slice(1).sort());
    assert.equal((await anas.files.list()).data.files?.length, 6);
    assert.deepEqual(await refusalOf(anas.files.list({ q: "name ~ 'x'" })), [400, "invalid"]);
  });

  test("logs each changed file once, as it is now, in pages that end with a new start token", async () => {
    const [one, other] = google.drive.addFiles(ana, [{ name: "one" }, { name: "other" }]);
    const from = await start();
    google.drive.edit(one!, "1");
    google.drive.edit(other!, "2");
    google.drive.rename(one!, "uno");
    const first = await changes(from, { pageSize: 1 });
    assert.deepEqual([first.changes?.[0]?.fileId, first.newStartPageToken], [other, undefined]);
    const second = await changes(first.nextPageToken!, { pageSize: 1 });
    assert.equal(second.changes?.[0]?.file?.name, "uno");
    assert.equal((await changes(second.newStartPageToken!)).changes?.length, 0);
  });

  test("tells trash from removal, and removal from nothing: deleted and unshared look the same", async () => {
    const [deleted] = google.drive.addFiles(ana, [{ name: "deleted" }]);
    const [shared] = google.drive.addFiles(jonas, [{ name: "shared" }]);
    google.drive.share(shared!, ana);
    const from = await start();
    google.drive.trash(deleted!);
    assert.equal((await changes(from)).changes?.[0]?.file?.explicitlyTrashed, true);
    google.drive.remove(deleted!);
    google.drive.unshare(shared!, ana);
    const { changes: found } = await changes(from);
    assert.deepEqual(
      found?.map(({ removed, file }) => [removed, file]),
      [
        [true, undefined],
        [true, undefined],
      ],
    );
  });

  test("hides files of shared drives from whoever does not say that they are supported", async () => {
    const driveId = google.drive.addSharedDrive("Team", [ana]);
    const id = google.drive.addFile(ana, { name: "Team plan", driveId });
    assert.deepEqual(await refusalOf(anas.files.get({ fileId: id })), [404, "notFound"]);
    const { data } = await anas.files.get({ fileId: id, supportsAllDrives: true, fields: "*" });
    assert.deepEqual([data.driveId, data.owners], [driveId, undefined]);
    assert.equal((await anas.files.list()).data.files?.length, 0);
    assert.equal((await anas.files.list(allDrives)).data.files?.length, 1);
  });

  test("tells of a shared drive's files in the drive's own log, to members; and members of the drive alone", async () => {
    const driveId = google.drive.addSharedDrive("Team", [ana]);
    const from = await start();
    const id = google.drive.addFile(ana, { name: "Team plan", driveId });
    const inDrive = { ...allDrives, driveId, pageToken: from };
    const { data } = await anas.changes.list(inDrive);
    assert.deepEqual(
      data.changes?.map(({ fileId }) => fileId),
      [id],
    );
    assert.deepEqual((await anas.changes.list({ ...allDrives, pageToken: from })).data.changes, []);
    google.drive.changeMembers(driveId, []);
    const told = await anas.changes.list({ ...allDrives, pageToken: from, fields: "*" });
    assert.deepEqual(
      told.data.changes?.map((one) => [one.changeType, one.removed, one.driveId]),
      [["drive", true, driveId]],
    );
    assert.deepEqual(await refusalOf(anas.changes.list(inDrive)), [404, "notFound"]);
    google.drive.share(id, ana);
    const own = await anas.changes.list({ ...allDrives, pageToken: from });
    assert.ok(own.data.changes?.some(({ fileId }) => fileId === id));
  });

  test("exports what editors made, downloads all else, and refuses the other way round", async () => {
    const doc = google.drive.addFile(ana, {
      name: "Doc",
      mimeType: `${editor}.document`,
      content: "# Plan",
    });
    const text = google.drive.addFile(ana, { name: "a.txt", content: "plain" });
    const { data } = await anas.files.export({ fileId: doc, mimeType: "text/markdown" });
    assert.equal(data, "# Plan");
    const media = await anas.files.get({ fileId: text, alt: "media" });
    assert.equal(media.data, "plain");
    assert.deepEqual(
      [
        await refusalOf(anas.files.get({ fileId: doc, alt: "media" })),
        await refusalOf(anas.files.export({ fileId: text, mimeType: "text/plain" })),
        await refusalOf(anas.files.export({ fileId: doc, mimeType: "image/png" })),
      ],
      [
        [403, "fileNotDownloadable"],
        [403, "fileNotExportable"],
        [400, "badRequest"],
      ],
    );
    google.drive.edit(doc, "x".repeat(10 * 1024 * 1024 + 1));
    const tooLarge = anas.files.export({ fileId: doc, mimeType: "text/plain" });
    assert.deepEqual(await refusalOf(tooLarge), [403, "exportSizeLimitExceeded"]);
    google.drive.forbidDownload(text);
    const forbidden = anas.files.get({ fileId: text, alt: "media" });
    assert.deepEqual(await refusalOf(forbidden), [403, "cannotDownloadFile"]);
  });

  test("refuses page tokens that it has forgotten, and those that are none", async () => {
    const from = await start();
    google.drive.expirePageTokens();
    assert.deepEqual(await refusalOf(changes(from)), [410, "pageTokenExpired"]);
    assert.deepEqual(await refusalOf(changes("soon")), [400, "invalid"]);
  });

  test("tells channels of a file and of all changes, each in its own words, for a day and for a week", async () => {
    const heard: IncomingHttpHeaders[] = [];
    const server = createServer((request, response) => {
      heard.push(request.headers);
      response.end();
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" && address ? address.port : 0;
    const channel = (id: string) => ({
      id,
      type: "web_hook",
      address: `http://127.0.0.1:${port}`,
      token: "t",
      expiration: String(google.clock.now().getTime() + 90 * 86_400_000),
    });
    const id = google.drive.addFile(ana, { name: "Watched" });
    const file = await anas.files.watch({ fileId: id, requestBody: channel("file") });
    const all = await anas.changes.watch({ pageToken: await start(), requestBody: channel("all") });
    const days = (expiration: string) =>
      Math.round((Number(expiration) - google.clock.now().getTime()) / 86_400_000);
    assert.deepEqual([days(file.data.expiration!), days(all.data.expiration!)], [1, 7]);
    google.drive.edit(id, "new");
    await google.drive.settled();
    google.drive.trash(id);
    await google.drive.settled();
    const told = (channelId: string) =>
      heard
        .filter((headers) => headers["x-goog-channel-id"] === channelId)
        .map((headers) => [headers["x-goog-resource-state"], headers["x-goog-changed"]]);
    assert.deepEqual(told("file"), [
      ["sync", undefined],
      ["update", "content,properties"],
      ["trash", undefined],
    ]);
    assert.deepEqual(told("all"), [
      ["sync", undefined],
      ["change", undefined],
      ["change", undefined],
    ]);
    await anas.channels.stop({ requestBody: { id: "all", resourceId: all.data.resourceId! } });
    assert.equal(google.drive.channels().length, 1);
    server.close();
  });
});
