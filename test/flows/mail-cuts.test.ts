import assert from "node:assert/strict";
import { test } from "node:test";
import { ana, anasAssistant, anasMail, documentsOf, readMail, sendAndRead } from "../mails.ts";

test("a mail whose subject and sender are cut within a character keeps no other from being read", async () => {
  await using story = await anasMail();
  const { t, visitor } = story;
  const raw = (subject: string, id: string) =>
    `From: ${"b".repeat(499)}😀 <x@example.net>\nTo: ${ana}\nCc: ${anasAssistant}\nSubject: ${subject}\nMessage-ID: <${id}@example.net>\n\nhello`;
  t.google.gmail.inject(ana, { raw: raw(`${"a".repeat(999)}😀`, "cut") });
  t.google.gmail.inject(ana, { raw: raw("After it", "after") });
  await readMail(t);
  assert.deepEqual((await documentsOf(visitor)).map(({ title }) => title).sort(), [
    "After it",
    "a".repeat(999),
  ]);
});

test("an attachment whose name is cut within a character does not cost the mail", async () => {
  await using story = await anasMail();
  const { t, visitor } = story;
  await sendAndRead(t, {
    from: "Jonas <jonas.weber@example.com>",
    to: ana,
    cc: anasAssistant,
    subject: "File",
    text: "x",
    attachments: [{ filename: `${"a".repeat(299)}😀.pdf`, content: "%PDF" }],
  });
  assert.equal((await documentsOf(visitor)).length, 1);
});
