import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { computingMs } from "../../test/timing.ts";
import { fileIdsIn } from "./drive-links.ts";

const id = "1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms";
const other = "0B7l10Bj_LprhQnpSRkpGMGV2eE0";

const links = [
  `https://docs.google.com/document/d/${id}/edit`,
  `https://docs.google.com/document/d/${id}`,
  `http://docs.google.com/document/d/${id}/edit?tab=t.0#heading=h.1`,
  `docs.google.com/document/d/${id}/view`,
  `https://docs.google.com/document/u/0/d/${id}/edit`,
  `https://docs.google.com/a/example.com/document/d/${id}/edit`,
  `https://docs.google.com/a/example.com/document/u/1/d/${id}/edit`,
  `https://docs.google.com/spreadsheets/d/${id}/edit#gid=0`,
  `https://docs.google.com/spreadsheets/u/2/d/${id}/edit?usp=sharing`,
  `https://docs.google.com/presentation/d/${id}/edit#slide=id.p`,
  `https://docs.google.com/drawings/d/${id}/edit`,
  `https://docs.google.com/file/d/${id}/edit`,
  `https://docs.google.com/open?id=${id}`,
  `https://docs.google.com/folder/d/${id}/edit`,
  `https://drive.google.com/file/d/${id}/view?usp=sharing`,
  `https://drive.google.com/file/u/0/d/${id}/view`,
  `https://drive.google.com/a/example.com/file/d/${id}/view`,
  `https://drive.google.com/open?id=${id}`,
  `https://drive.google.com/open?usp=drive_fs&id=${id}`,
  `https://drive.google.com/u/0/open?id=${id}&usp=drive_copy`,
  `https://drive.google.com/uc?id=${id}&export=download`,
  `https://drive.google.com/u/1/uc?export=download&id=${id}`,
  `https://drive.usercontent.google.com/download?id=${id}&export=download`,
  `https://drive.google.com/drive/folders/${id}`,
  `https://drive.google.com/drive/folders/${id}?usp=sharing`,
  `https://drive.google.com/drive/u/0/folders/${id}`,
  `https://drive.google.com/drive/u/0/mobile/folders/${id}`,
  `https://drive.google.com/a/example.com/folderview?id=${id}`,
  `HTTPS://Docs.Google.com/document/d/${id}`,
  `<https://drive.google.com/open?id=${id}>`,
  `(https://docs.google.com/document/d/${id}).`,
  `https://drive.google.com/open?id=${id}.`,
  `Look, ${id}: https://docs.google.com/document/d/${id}, please`,
  `<a href="https://docs.google.com/document/d/${id}/edit">The plan</a>`,
  `<a href='https://drive.google.com/open?usp=x&amp;id=${id}&amp;y=z'>The plan</a>`,
  `<a href=https://drive.google.com/open?id=${id}>The plan</a>`,
  `<a href="https:&#x2F;&#x2F;drive.google.com&#x2F;open?id&#x3D;${id}">The plan</a>`,
  `<a href="https://drive.google.com/open&#63;id&#61;${id}">The plan</a>`,
  `https://www.google.com/url?q=https://docs.google.com/document/d/${id}/edit&sa=D&source=x`,
  `https://www.google.com/url?sa=D&q=https%3A%2F%2Fdrive.google.com%2Fopen%3Fid%3D${id}%26usp%3Dx`,
  `https://a.example.com/?url=https%253A%252F%252Fdocs.google.com%252Fdocument%252Fd%252F${id}%252Fedit`,
];

const others = [
  "https://docs.google.com/document/d/e/2PACX-1vRJq2zXkqGzqkqGzqkqGzq/pub",
  "https://docs.google.com/spreadsheets/d/e/2PACX-1vRJq2zXkqGzqkqGzqkqGzq/pubhtml?gid=0",
  `https://docs.google.com/forms/d/${id}/viewform`,
  `https://docs.google.com/forms/d/e/${id}/viewform`,
  "https://drive.google.com/drive/my-drive",
  "https://drive.google.com/open",
  "https://docs.google.com/document/d/create",
  `https://docs.google.com.example.net/document/d/${id}/edit`,
  `https://docs.google.com@example.net/document/d/${id}/edit`,
  `https://my-docs.google.com/document/d/${id}/edit`,
  `https://example.com/document/d/${id}/edit`,
  `someone@docs.google.com/document/d/${id}`,
  `<img alt="" src="https://drive.google.com/uc?id=${id}" width=1>`,
  `https://docs.google.com/document/d/${"x".repeat(201)}`,
  "docs.google.com/",
];

describe("the files that a text links to", () => {
  test("are known by every form of link", () => {
    for (const link of links) assert.deepEqual(fileIdsIn(link), [id], link);
  });

  test("are not what is published, shown, filled in, or elsewhere", () => {
    for (const link of others) assert.deepEqual(fileIdsIn(link), [], link);
  });

  test("are told once each, in their order, and ten at most", () => {
    const link = (fileId: string) => `https://drive.google.com/open?id=${fileId}\n`;
    assert.deepEqual(fileIdsIn(link(other) + link(id) + link(other)), [other, id]);
    const many = Array.from({ length: 30 }, (_, index) => link(`${id}${index}`)).join("");
    assert.equal(fileIdsIn(many).length, 10);
  });

  test("are found in a moment, whatever two megabytes were written to be slow", async () => {
    for (const piece of [
      "<img ",
      "%25",
      "%",
      "&#",
      "docs.google.com/",
      "drive.google.com/open?id=&",
      "docs.google.com/a/b",
      "docs.google.com/u/1/a/1/",
      `https://drive.usercontent.google.com/${"/u/1".repeat(500)}`,
    ]) {
      const text = piece.repeat(2_000_000 / piece.length);
      const ms = await computingMs(() => assert.deepEqual(fileIdsIn(text), []));
      assert.ok(ms < 2_000, `${piece.slice(0, 40)}: ${ms} ms`);
    }
  });
});
