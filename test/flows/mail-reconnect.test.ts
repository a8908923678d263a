import assert from "node:assert/strict";
import { test } from "node:test";
import { sql } from "kysely";
import { addFault, clearFaults } from "../../sandbox/google/faults.ts";
import { openGoogleAccess } from "../../src/accounts/google-access.ts";
import { getHead } from "../../src/providers/google/gmail.ts";
import { getFeed, lockFeed } from "../../src/sync/feeds.ts";
import { gmailSource } from "../../src/sync/gmail.ts";
import { untilItWaits } from "../database.ts";
import { openTestApp, type Visitor } from "../harness.ts";
import {
  ana,
  anasAssistant,
  anasMail,
  documentsOf,
  itemsOf,
  jonas,
  onlyDocument,
  sendAndRead,
} from "../mails.ts";

const zoe = "zoe.lindqvist@example.org";

async function disconnect(visitor: Visitor, account: string): Promise<void> {
  const { body } = await visitor.call("GET", "/api/v1/me");
  const { id } = body.connections.find((one: { email: string }) => one.email === account);
  const path = "/api/v1/auth/google/token/revoke";
  assert.equal((await visitor.call("POST", path, { connection_id: id })).status, 200);
}

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

test("a mail that was taken, and not read before its mailbox was disconnected, is logged as such", async () => {
  await using story = await anasMail();
  const { t, visitor } = story;
  addFault(t.google.state, { endpoint: "gmail.messages.get.full", status: 503, times: null });
  await sendAndRead(t, { from: jonas, to: [ana, anasAssistant], subject: "Notes", text: "x" });
  clearFaults(t.google.state);
  await visitor.call("POST", "/api/v1/auth/google/token/revoke", {});
  await t.hurry("mail.take");
  await t.idle();
  const log = await t.app.db
    .selectFrom("email_processing_logs")
    .selectAll()
    .executeTakeFirstOrThrow();
  assert.equal(log.status, "failed");
  assert.match(log.error_message ?? "", /disconnected before it could be read/);
});

for (const account of [ana, zoe]) {
  test(`a mail that was taken, and not read before its mailbox was disconnected, is read once ${account} is connected again`, async () => {
    await using story = await anasMail();
    const { t, visitor } = story;
    await visitor.connect(zoe);
    await t.idle();
    addFault(t.google.state, { endpoint: "gmail.messages.get.full", status: 503, times: null });
    await sendAndRead(t, {
      from: jonas,
      to: [account, anasAssistant],
      subject: "Notes",
      text: "x",
    });
    clearFaults(t.google.state);
    await disconnect(visitor, account);
    await t.hurry("mail.take");
    await t.idle();
    assert.deepEqual(await documentsOf(visitor), []);
    await visitor.connect(account);
    await t.idle();
    assert.equal((await onlyDocument(visitor)).title, "Notes");
  });
}

test("a mail that is held can be taken once the mailbox that it was found in is connected again", async () => {
  await using story = await anasMail();
  const { t, visitor } = story;
  const other = await t.signIn(jonas);
  await t.idle();
  await sendAndRead(t, { from: zoe, to: [jonas, anasAssistant], subject: "Offer", text: "x" });
  const [held] = await itemsOf(visitor, "email/held");
  const accept = () => visitor.call("POST", `/api/v1/email/held/${held.id}/accept`);
  await disconnect(other, jonas);
  assert.equal((await accept()).status, 409);
  await other.connect(jonas);
  await t.idle();
  assert.equal((await accept()).status, 200);
  await t.idle();
  assert.equal((await onlyDocument(visitor)).title, "Offer");
});

test("an account that has no mailbox is asked for it again only once it is connected again", async () => {
  await using t = await openTestApp();
  const faults = { endpoint: "gmail.*", status: 400, reason: "failedPrecondition", times: null };
  addFault(t.google.state, faults);
  const visitor = await t.signIn(ana);
  await t.idle();
  const mailbox = async () => {
    const { items } = (await visitor.call("GET", "/api/v1/sync/feeds")).body;
    return items.find(({ kind }: { kind: string }) => kind === "gmail");
  };
  const { state, state_reason, last_error } = await mailbox();
  assert.deepEqual([state, state_reason], ["paused", "no_mailbox"]);
  assert.equal(last_error, "This Google account has no mailbox");
  clearFaults(t.google.state);
  t.clock.advance(24 * 3_600_000);
  await t.idle();
  assert.equal((await mailbox()).state, "paused");
  await t.signIn(ana);
  await t.idle();
  assert.deepEqual([(await mailbox()).state, (await mailbox()).last_error], ["active", null]);
});

test("whose mailbox a mail lay in is in no export of its owner's, and goes with whom it is of", async () => {
  await using story = await anasMail();
  const { t, visitor } = story;
  const other = await t.signIn(jonas);
  await t.idle();
  await sendAndRead(t, { from: zoe, to: [jonas, anasAssistant], subject: "Offer", text: "x" });
  await disconnect(other, jonas);
  const left = async () =>
    (
      await sql<{ left_subject: string | null }>`select left_subject from mail_decisions`.execute(
        t.app.db,
      )
    ).rows.map(({ left_subject }) => left_subject);
  const [subject] = await left();
  assert.ok(subject);
  const exported = String((await visitor.call("GET", "/api/v1/me/export")).body);
  assert.match(exported, /"subject":"Offer"/);
  assert.equal(exported.includes(`"${subject}"`), false);
  await other.call("DELETE", "/api/v1/me");
  assert.deepEqual(await left(), [null]);
});

test("a mailbox that was read before, and is not there for a time, is asked for by itself", async () => {
  await using story = await anasMail();
  const { t, visitor } = story;
  const faults = { endpoint: "gmail.*", status: 400, reason: "failedPrecondition", times: null };
  addFault(t.google.state, faults);
  await sendAndRead(t, { from: jonas, to: [ana, anasAssistant], subject: "Notes", text: "x" });
  const mailbox = async () => {
    const { items } = (await visitor.call("GET", "/api/v1/sync/feeds")).body;
    return items.find(({ kind }: { kind: string }) => kind === "gmail");
  };
  const { state, last_error } = await mailbox();
  assert.deepEqual([state, last_error], ["active", "This Google account has no mailbox"]);
  clearFaults(t.google.state);
  t.clock.advance(30 * 60_000);
  await t.asService("POST", "/api/v1/cron/gmail-polling");
  await t.idle();
  assert.equal((await mailbox()).last_error, null);
});

test("a mailbox can be disconnected while a page of it is written that was read before", async () => {
  await using story = await anasMail();
  const { t, visitor } = story;
  await sendAndRead(t, { from: jonas, to: [ana, anasAssistant], subject: "Notes", text: "x" });
  const { feed_id, gmail_message_id } = await t.app.db
    .selectFrom("mail_decisions")
    .select(["feed_id", "gmail_message_id"])
    .executeTakeFirstOrThrow();
  const feed = await getFeed(t.app, visitor.userId, feed_id ?? "");
  const { request } = openGoogleAccess(t.app, feed.connection_id);
  const head = await getHead(request, gmail_message_id);
  assert.ok(head);
  const reading = { mode: "delta" as const, name: "changes", from: { cursor: "any" } };
  const position = { ...reading, pageToken: null, generation: 1, seen: 0 };
  const { answer } = await t.app.db.transaction().execute(async (tx) => {
    await gmailSource.apply(t.app, tx, feed, { changes: [{ type: "head", head }], position });
    const answer = visitor.call("POST", "/api/v1/auth/google/token/revoke", {});
    await untilItWaits(t.app.db, answer);
    await lockFeed(tx, feed.id);
    return { answer };
  });
  assert.equal((await answer).status, 200);
});
