import assert from "node:assert/strict";
import { test } from "node:test";
import { addFault, clearFaults } from "../../sandbox/google/faults.ts";
import { ana, anasAssistant, anasMail, documentsOf, jonas, sendAndRead } from "../mails.ts";

test("a mail that was taken, and not read before the grant died, is read once its owner has signed in again", async () => {
  await using story = await anasMail();
  const { t, visitor } = story;
  addFault(t.google.state, { endpoint: "gmail.messages.get.full", status: 503, times: null });
  await sendAndRead(t, { from: jonas, to: [ana, anasAssistant], subject: "Notes", text: "x" });
  clearFaults(t.google.state);
  await fetch(`${t.google.url}/_control/people/${ana}/revoke`, { method: "POST" });
  t.clock.advance(2 * 3_600_000);
  await t.hurry("mail.take");
  await t.idle();
  assert.deepEqual(await documentsOf(visitor), []);
  const again = await t.signIn(ana, { consent: true } as never);
  await t.idle();
  assert.deepEqual(
    (await documentsOf(again)).map(({ title }) => title),
    ["Notes"],
  );
});
