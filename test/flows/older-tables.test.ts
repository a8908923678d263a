import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, test } from "node:test";
import { SignJWT } from "jose";
import { sql } from "kysely";
import { consent } from "../../sandbox/google/browser.ts";
import { hours } from "../../sandbox/google/clock.ts";
import { endGrantsOf } from "../../sandbox/google/grants.ts";
import { findPerson } from "../../sandbox/google/people.ts";
import { eventIn, keptEvents } from "../calendars.ts";
import { openTestApp, type TestApp } from "../harness.ts";
import { ana, anasAssistant, anasMail, documentsOf, jonas } from "../mails.ts";

// Pages of the older product ask these tables, and no function.
const readTables = async ({ app: { db } }: TestApp) => {
  const push = await db.selectFrom("calendar_webhooks").selectAll().executeTakeFirstOrThrow();
  const mailbox = await db.selectFrom("gmail_watches").selectAll().executeTakeFirstOrThrow();
  return { push, mailbox, isActive: [push.is_active, mailbox.is_active] };
};

// As the older product's own page got it from Google.
async function codeOf(t: TestApp, person: string): Promise<string | null> {
  const url = new URL(`${t.google.url}/o/oauth2/v2/auth`);
  const scope = (name: string) => `https://www.googleapis.com/auth/${name}`;
  url.search = String(
    new URLSearchParams({
      client_id: t.google.client.id,
      redirect_uri: t.app.config.google.redirectUri,
      response_type: "code",
      scope: `openid email profile ${scope("calendar.readonly")}`,
      access_type: "offline",
      prompt: "consent",
    }),
  );
  return (await consent(url, { person })).searchParams.get("code");
}

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

  test("know the calendar of the first account as `primary`, and of another once it is signed in with", async () => {
    const secret = "a-secret-of-the-older-sign-in-that-is-long";
    await using t = await openTestApp({ push: true, environment: { SUPABASE_JWT_SECRET: secret } });
    const userId = randomUUID();
    const token = await new SignJWT({ sub: userId, email: ana, aud: "authenticated" })
      .setProtectedHeader({ alg: "HS256" })
      .setExpirationTime(new Date(t.clock.now().getTime() + hours))
      .sign(new TextEncoder().encode(secret));
    for (const person of [jonas, ana]) {
      const answer = await fetch(`${t.url}/functions/v1/exchange-google-token`, {
        method: "POST",
        headers: { authorization: `Bearer ${token}` },
        body: JSON.stringify({ code: await codeOf(t, person) }),
      });
      const { expires_at, ...body } = (await answer.json()) as Record<string, string>;
      assert.ok(Date.parse(String(expires_at)) > t.clock.now().getTime());
      assert.match(String(body.picture), /\/avatars\/\d+$/);
      assert.partialDeepStrictEqual(body, {
        success: true,
        email: person,
        message: "Google account connected successfully",
      });
    }
    await t.idle();
    const names = async () => {
      const { rows } = await sql<{ name: string; calendar: string }>`
        select google_calendar_id as name, feeds.resource as calendar
        from calendar_webhooks join watches on watches.id::text = webhook_id join feeds on feeds.id = feed_id
        where is_active order by calendar
      `.execute(t.app.db);
      return rows.map(({ name, calendar }) => [calendar, name]);
    };
    assert.deepEqual(await names(), [
      [ana, ana],
      [jonas, "primary"],
    ]);
    assert.equal((await t.signIn(ana)).userId, userId);
    for (const person of [ana, jonas]) t.google.calendar.addEvent(person, eventIn(t, 1));
    await t.idle();
    assert.deepEqual(await names(), [
      [ana, "primary"],
      [jonas, jonas],
    ]);
    assert.equal((await keptEvents(t, userId)).length, 2);
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
