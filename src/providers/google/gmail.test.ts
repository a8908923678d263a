import assert from "node:assert/strict";
import { test } from "node:test";
import { ProviderError } from "../../lib/errors.ts";
import { getHead } from "./gmail.ts";

const read = (message: object) => getHead(async () => message, "m1");

test("a mail that names no time of its arrival counts by its own date, and is unusable without", async () => {
  const headers = [{ name: "DATE", value: "Mon, 21 Sep 2026 10:00:00 +0200" }];
  const written = await read({ id: "m1", payload: { headers } });
  assert.deepEqual(written?.receivedAt, new Date("2026-09-21T08:00:00Z"));
  const given = await read({ id: "m1", internalDate: "1789977600000", payload: { headers } });
  assert.deepEqual(given?.receivedAt, new Date(1_789_977_600_000));
  for (const none of [{ payload: {} }, { payload: { headers: [{ name: "Date", value: "x" }] } }]) {
    const isUnusable = (error: unknown) =>
      error instanceof ProviderError && error.reason === "unusable_answer";
    await assert.rejects(read({ id: "m1", ...none }), isUnusable);
  }
});

test("the beginning of a mail is read as it was written", async () => {
  const snippet = "Don&#39;t &amp; &lt;b&gt; &amp;amp; ?a=1&copy=2 &#0;";
  const head = await read({ id: "m1", internalDate: "1", snippet, payload: {} });
  assert.equal(head?.snippet, "Don't & <b> &amp; ?a=1&copy=2 \ufffd");
});
