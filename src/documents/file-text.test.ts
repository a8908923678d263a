import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { deflateSync } from "node:zlib";
import { ZipFile } from "yazl";
import { planOf, textOf } from "./file-text.ts";

const { signal } = new AbortController();
const word = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";

/** A Word file with a text, and whatever else is to lie in it. */
async function docx(text: string, filler?: { bytes: number }): Promise<Buffer> {
  const zip = new ZipFile();
  const types =
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>';
  const rels =
    '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>';
  const body = `<?xml version="1.0"?><w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r><w:t>${text}</w:t></w:r></w:p>${" ".repeat(filler?.bytes ?? 0)}</w:body></w:document>`;
  zip.addBuffer(Buffer.from(types), "[Content_Types].xml");
  zip.addBuffer(Buffer.from(rels), "_rels/.rels");
  zip.addBuffer(Buffer.from(body), "word/document.xml");
  zip.end();
  return Buffer.concat(await Array.fromAsync(zip.outputStream as AsyncIterable<Buffer>));
}

/** A PDF of one page, whose content is deflated as often as is said. */
function pdf(content: Buffer<ArrayBuffer>, times = 1): Buffer {
  let stream = content;
  for (let time = 0; time < times; time += 1) stream = deflateSync(stream, { level: 9 });
  const filters = "/FlateDecode ".repeat(times);
  const objects = [
    "<</Type/Catalog/Pages 2 0 R>>",
    "<</Type/Pages/Kids[3 0 R]/Count 1>>",
    "<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>",
    null,
    "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
  ];
  const parts = [Buffer.from("%PDF-1.4\n")];
  for (const [index, object] of objects.entries()) {
    parts.push(Buffer.from(`${index + 1} 0 obj\n`));
    if (object !== null) parts.push(Buffer.from(object));
    else {
      parts.push(Buffer.from(`<</Length ${stream.length}/Filter[${filters}]>>stream\n`));
      parts.push(stream, Buffer.from("\nendstream"));
    }
    parts.push(Buffer.from("\nendobj\n"));
  }
  parts.push(Buffer.from("trailer<</Root 1 0 R/Size 6>>\n%%EOF"));
  return Buffer.concat(parts);
}

describe("the text of a file", () => {
  test("is exported of what editors made, read from what can be read, and not tried of all else", () => {
    const of = (mimetype: string, name = "a", size: number | null = 10) =>
      planOf({ mimetype, name, size });
    const editor = "application/vnd.google-apps";
    assert.deepEqual(
      ["document", "spreadsheet", "presentation"].map((kind) => of(`${editor}.${kind}`, "a", null)),
      ["text/markdown", "text/csv", "text/plain"].map((exportAs) => ({ exportAs, kind: "plain" })),
    );
    assert.deepEqual(of("application/pdf"), { exportAs: null, kind: "pdf" });
    assert.deepEqual(of(word), { exportAs: null, kind: "docx" });
    assert.deepEqual(of("application/octet-stream", "Plan.PDF"), { exportAs: null, kind: "pdf" });
    for (const strange of [`${editor}.form`, "video/mp4", "application/octet-stream"])
      assert.equal(typeof of(strange), "string");
    assert.equal(typeof of("application/octet-stream", "x.constructor"), "string");
    assert.equal(of("application/pdf", "a", 100_000_000), "It is larger than 50 MB");
  });

  test("is read from plain text in each encoding, HTML, Word and PDF", async () => {
    const read = async (content: Buffer, kind: Parameters<typeof textOf>[1]) =>
      (await textOf(content, kind, { signal })).text;
    assert.equal(await read(Buffer.from("Grüße\r\nan alle\0"), "plain"), "Grüße\nan alle");
    assert.equal(await read(Buffer.from("\uFEFFGrüße", "utf16le"), "plain"), "Grüße");
    assert.equal(
      await read(Buffer.from("<h1>Plan</h1><script>no()</script><p>one</p>"), "html"),
      "PLAN\n\none",
    );
    assert.equal(await read(Buffer.from("Grüße aus Köln", "latin1"), "plain"), "Grüße aus Köln");
    const torn = Buffer.concat([Buffer.from("Grüße "), Buffer.of(0xff)]);
    assert.equal(await read(torn, "plain"), "Grüße \ufffd");
    for (const charset of ['<meta charset="iso-8859-1">', ""])
      assert.equal(await read(Buffer.from(`${charset}<p>Grüße</p>`, "latin1"), "html"), "Grüße");
    assert.equal(await read(await docx("The plan"), "docx"), "The plan");
    const page = "BT /F 12 Tf 10 100 Td (The plan) Tj ET";
    assert.equal(await read(pdf(Buffer.from(page)), "pdf"), "The plan");
  });

  test("is cut where it is very long, and says so", async () => {
    const { text, cut } = await textOf(Buffer.from("x".repeat(1_000_001)), "plain", { signal });
    assert.deepEqual(
      [text?.length, cut],
      [1_000_000, "Only its first 1000000 characters are kept"],
    );
  });

  test("of damaged files is none, with the reason", async () => {
    for (const kind of ["docx", "pdf"] as const) {
      const { text, cut } = await textOf(Buffer.from("not what it says"), kind, { signal });
      assert.deepEqual([text, cut], [null, "It is damaged, or protected by a password"]);
    }
  });

  test("of a zip bomb is none, and nothing else suffers", async () => {
    const bomb = await docx("x", { bytes: 250_000_000 });
    assert.ok(bomb.length < 1_000_000);
    const before = process.memoryUsage().rss;
    const { text, cut } = await textOf(bomb, "docx", { signal });
    assert.deepEqual([text, cut], [null, "It unpacks to more than can be read"]);
    assert.ok(process.memoryUsage().rss - before < 200_000_000);
  });

  test("of a PDF that unpacks to gigabytes is none either", async () => {
    const { text, cut } = await textOf(pdf(Buffer.alloc(300_000_000, " "), 2), "pdf", { signal });
    assert.ok(text === null || text === "", text?.slice(0, 100));
    assert.ok(text === "" || cut);
  });

  test("that nobody waits for any more is given up", async () => {
    const stop = new AbortController();
    const reading = textOf(pdf(Buffer.from("BT ET")), "pdf", { signal: stop.signal });
    stop.abort();
    await assert.rejects(reading);
  });
});
