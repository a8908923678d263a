import assert from "node:assert/strict";
import { test } from "node:test";
import type { MailPart } from "../providers/google/mail-part.ts";
import { readMailTextApart } from "./mail-reading.ts";

function partOf(mimeType: string, text: string): MailPart {
  const data = Buffer.from(text);
  const plain = {
    filename: "",
    charset: "utf-8",
    isAttached: false,
    attachmentId: null,
    parts: [],
  };
  return { ...plain, mimeType, size: data.length, data };
}

const read = (mimeType: string, text: string, seconds = 5) =>
  readMailTextApart(partOf(mimeType, text), new Map(), {
    signal: AbortSignal.timeout(60_000),
    seconds,
  });

test("a mail is read apart as it would be here", async () => {
  const text = "Let us meet.\n\n-- \nJonas\n\nOn Monday Ana wrote:\n> Shall we?";
  const { quoted, signature, ...rest } = await read("text/plain", text);
  assert.partialDeepStrictEqual(rest, { text: "Let us meet.", cut: null });
  assert.match(quoted ?? "", /Shall we/);
  assert.match(signature ?? "", /Jonas/);
});

test("a mail that is written to be slow keeps its text, and keeps nobody else waiting", async () => {
  const slow = `${"1".repeat(1_000)}${"from".repeat(250)}${"<".repeat(1_000)}${">".repeat(1_000)}`;
  let [ticks, last, longest] = [0, performance.now(), 0];
  const ticking = setInterval(() => {
    const now = performance.now();
    [ticks, last, longest] = [ticks + 1, now, Math.max(longest, now - last)];
  }, 20);
  const { text } = await read("text/plain", slow, 1.5);
  clearInterval(ticking);
  assert.equal(text, slow);
  assert.ok(ticks > 0 && longest < 1_500, `nothing else went on for ${longest} ms`);
});

test("two megabytes of blanks, and of an invitation's beginnings, are read in a moment", async () => {
  const blanks = await read("text/plain", `${" ".repeat(1_900_000)}x`);
  assert.equal(blanks.text, "x");
  const calendar = await read("text/calendar", "SUMMARY;\n".repeat(200_000));
  assert.deepEqual([calendar.text, calendar.cut], ["", null]);
});

test("HTML that is nested without end costs its text, not the mail", async () => {
  const mail = await read("text/html", "<i>".repeat(660_000), 1);
  assert.equal(mail.text, "");
});
