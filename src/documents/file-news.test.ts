import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { DriveFile } from "../providers/google/drive.ts";
import { contentKeyOf, newsOf, statusOf, type WatchedFile } from "./file-news.ts";

const file: DriveFile = {
  id: "f",
  name: "Plan",
  mimeType: "text/plain",
  size: 3,
  md5: "one",
  revision: "r1",
  version: "5",
  modifiedAt: new Date("2026-01-01"),
  isTrashed: false,
  parents: ["p"],
  driveId: null,
  owner: "ana@example.com",
  isOwn: true,
  sharedWith: [],
  canDownload: true,
  url: null,
  targetId: null,
  isLogged: true,
};
const known = {
  state: "active",
  name: "Plan",
  parents: ["p"],
  owner: "ana@example.com",
  is_own: true,
  is_folder: false,
  version: "5",
  content_key: contentKeyOf(file),
  read_key: contentKeyOf(file),
  read_retry_at: null,
} as WatchedFile;

const changed = (change: Partial<DriveFile>, before: Partial<WatchedFile> = {}) => {
  const now = { ...file, version: "6", ...change };
  return newsOf({ ...known, ...before }, { type: "file", file: now, at: null }, "ana@example.com");
};
const removed = (before: Partial<WatchedFile> = {}, isCertain = true) =>
  newsOf(
    { ...known, ...before },
    { type: "removed", fileId: "f", at: null, isCertain },
    "ana@example.com",
  );
const brief = (news: ReturnType<typeof changed>) =>
  news && [news.state, news.action, news.changed.join(), news.readsContent, statusOf(news)];

describe("what a change means for a followed file", () => {
  const cases: [what: string, news: ReturnType<typeof changed>, is: unknown][] = [
    ["nothing that we show", changed({}), null],
    ["another time of the same content", changed({ modifiedAt: new Date() }), null],
    ["another content", changed({ md5: "two" }), ["active", null, "", true, null]],
    [
      "another content of what has no checksum",
      changed({ md5: null, modifiedAt: new Date("2026-02-01") }),
      ["active", null, "", true, null],
    ],
    ["another name", changed({ name: "New" }), ["active", "updated", "name", false, "updated"]],
    [
      "another folder and owner",
      changed({ parents: ["q"], owner: "jonas@example.com" }),
      ["active", "updated", "parents,owner", false, "updated"],
    ],
    ["an older version", changed({ name: "Old", version: "4" }), null],
    ["the trash", changed({ isTrashed: true }), ["trashed", "deleted", "", false, "deleted"]],
    ["the trash again", changed({ isTrashed: true }, { state: "trashed" }), null],
    [
      "back from the trash",
      changed({}, { state: "trashed" }),
      ["active", "restored", "", false, "active"],
    ],
    [
      "back with another content",
      changed({ md5: "two" }, { state: "lost" }),
      ["active", "restored", "", true, "active"],
    ],
    ["one's own is gone", removed(), ["removed", "deleted", "", false, "deleted"]],
    ["one's own is not found", removed({}, false), ["lost", null, "", false, "error"]],
    ["one's own is not found again", removed({ state: "lost" }, false), null],
    [
      "one's own that was not found is gone",
      removed({ state: "lost" }),
      ["removed", "deleted", "", false, "deleted"],
    ],
    [
      "gone out of the trash",
      removed({ state: "trashed" }),
      ["removed", null, "", false, "deleted"],
    ],
    ["somebody's is gone", removed({ is_own: false }), ["lost", null, "", false, "error"]],
    ["gone again", removed({ state: "lost", is_own: false }), null],
    ["what is stopped", changed({ name: "New" }, { state: "stopped" }), null],
    [
      "what waits for its next try to be read",
      changed({ name: "New" }, { read_key: null, read_retry_at: new Date() }),
      ["active", "updated", "name", false, "updated"],
    ],
    [
      "what waits, and is another content now",
      changed({ md5: "two" }, { read_key: null, read_retry_at: new Date() }),
      ["active", null, "", true, null],
    ],
  ];
  for (const [what, news, is] of cases) {
    test(what, () => assert.deepEqual(brief(news), is));
  }
});
