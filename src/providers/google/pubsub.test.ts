import assert from "node:assert/strict";
import { test } from "node:test";
import { readMailboxMessage } from "./pubsub.ts";

const historyIdOf = (historyId: string) => {
  const text = `{"emailAddress":"ana@example.com","historyId":${historyId}}`;
  const data = Buffer.from(text).toString("base64url");
  return readMailboxMessage({ data, messageId: "1" })?.historyId;
};

test("a mailbox's history id is read as text and as a number, however large", () => {
  assert.equal(historyIdOf('"18446744073709551615"'), "18446744073709551615");
  assert.equal(historyIdOf("585184"), "585184");
  assert.equal(historyIdOf("9007199254740992000"), "9007199254740992000");
  for (const none of ["-1", "1.5", "1e99", "null", '"x"'])
    assert.equal(historyIdOf(none), undefined);
});
