import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { hours } from "../../sandbox/google/clock.ts";
import { endGrantsOf } from "../../sandbox/google/grants.ts";
import { findPerson } from "../../sandbox/google/people.ts";
import type { TestApp } from "../harness.ts";
import { ana, anasAssistant, anasMail, documentsOf } from "../mails.ts";

// Pages of the older product ask these tables, and no function.
const readTables = async ({ app: { db } }: TestApp) => {
  const push = await db.selectFrom("calendar_webhooks").selectAll().executeTakeFirstOrThrow();
  const mailbox = await db.selectFrom("gmail_watches").selectAll().executeTakeFirstOrThrow();
  return { push, mailbox, isActive: [push.is_active, mailbox.is_active] };
};

describe("the tables that the older product's pages read", () => {
  test("say that push was stopped, and that it is back", async () => {
    await using story = await anasMail({ push: true });
    const { t, visitor } = story;
    const mind = (action: string) =>
      visitor.call("POST", `/functions/v1/manage-calendar-webhook?action=${action}`);
    const before = await readTables(t);
    assert.deepEqual(before.isActive, [true, true]);
    assert.equal((await mind("stop")).body.webhook_id, before.push.webhook_id);
    assert.deepEqual((await readTables(t)).isActive, [false, true]);
    const { body } = await mind("recreate");
    await t.idle();
    const { push } = await readTables(t);
    assert.deepEqual([push.is_active, push.webhook_id], [true, body.webhook_id]);
  });

  test("say that an account was disconnected, whose mailbox goes on where it stood once it is back", async () => {
    await using story = await anasMail({ push: true });
    const { t, visitor } = story;
    const { body } = await visitor.call("POST", "/functions/v1/disconnect-google");
    assert.equal(body.email, ana);
    assert.deepEqual((await readTables(t)).isActive, [false, false]);
    await t.google.gmail.send({ from: ana, to: [anasAssistant], subject: "Between", text: "x" });
    await t.idle();
    await visitor.connect(ana);
    await t.idle();
    assert.deepEqual((await readTables(t)).isActive, [true, true]);
    assert.deepEqual(
      (await documentsOf(visitor)).map(({ title }) => title),
      ["Between"],
    );
  });

  test("do not show a mailbox as expired that is polled", async () => {
    await using story = await anasMail();
    const { t, visitor } = story;
    const { mailbox } = await readTables(t);
    assert.deepEqual([mailbox.is_active, mailbox.watch_type], [true, "polling"]);
    assert.ok(mailbox.expiration.getTime() > t.clock.now().getTime() + 6 * 24 * hours);
    const setUp = { userEmail: ana };
    const { body } = await visitor.call("POST", "/functions/v1/setup-gmail-watch", setUp);
    assert.ok(Math.abs(Date.parse(body.expiration) - mailbox.expiration.getTime()) < hours);
  });

  test("say that a grant has ended", async () => {
    await using story = await anasMail({ push: true });
    const { t } = story;
    endGrantsOf(t.google.state, findPerson(t.google.state, ana)!);
    t.clock.advance(24 * hours);
    await t.idle();
    assert.deepEqual((await readTables(t)).isActive, [false, false]);
  });
});
