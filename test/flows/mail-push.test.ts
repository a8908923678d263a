import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { SignJWT } from "jose";
import { addFault } from "../../sandbox/google/faults.ts";
import { makeKeyPair, signIdToken, signingKeyOf } from "../../sandbox/google/keys.ts";
import { usualTopic } from "../../sandbox/google/pubsub.ts";
import type { TestApp } from "../harness.ts";
import {
  ana,
  anasAssistant,
  anasMail,
  documentsOf,
  jonas,
  onlyDocument,
  readMail,
} from "../mails.ts";
import { fastestMs, until } from "../timing.ts";

const mail = { from: jonas, to: [ana, anasAssistant], subject: "Pushed", text: "x" };
const path = "/api/v1/webhooks/gmail";
const dayMs = 86_400_000;

function push(t: TestApp, token: string | null, content: unknown, messageId = "1") {
  const data = Buffer.from(
    typeof content === "string" ? content : JSON.stringify(content),
  ).toString("base64url");
  return fetch(t.url + path, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      ...(token ? { authorization: `Bearer ${token}` } : {}),
    },
    body: JSON.stringify({
      message: { data, messageId },
      subscription: "projects/p/subscriptions/s",
    }),
  });
}

function goodToken(t: TestApp, claims = {}): Promise<string> {
  const { audience, serviceAccount } = t.app.config.google.pubsub;
  return signIdToken(t.google.state, {
    aud: audience!,
    email: serviceAccount!,
    email_verified: true,
    sub: "1",
    ...claims,
  });
}

/** How many readings of mailboxes push has caused. */
async function runsOf(t: TestApp): Promise<number> {
  const { count } = await t.app.db
    .selectFrom("sync_runs")
    .innerJoin("feeds", "feeds.id", "sync_runs.feed_id")
    .select((row) => row.fn.countAll<string>().as("count"))
    .where("feeds.kind", "=", "gmail")
    .where("sync_runs.reason", "=", "push")
    .executeTakeFirstOrThrow();
  return Number(count);
}

describe("Gmail's push", () => {
  test("is on after signing in, and brings a mail within two seconds", async () => {
    await using story = await anasMail({ push: true });
    const { t, visitor } = story;
    assert.equal(t.google.gmail.watches(ana).length, 1);
    const ms = await fastestMs(t, 2_000, {
      act: () => t.google.gmail.send(mail),
      hasArrived: async (count) => (await documentsOf(visitor)).length === count,
    });
    assert.ok(ms < 2_000, `${ms} ms`);
    await t.idle();
    const { body } = await visitor.call("GET", "/api/v1/email/watch");
    assert.equal(body.items[0].mailbox, ana);
    assert.ok(body.items[0].last_notified_at);
    const mirrored = await t.app.db
      .selectFrom("gmail_watches")
      .selectAll()
      .executeTakeFirstOrThrow();
    assert.equal(mirrored.user_email, ana);
    assert.ok(mirrored.last_webhook_received && mirrored.expiration);
  });

  test("is believed only with a token that Google signed for us", async () => {
    await using story = await anasMail({ push: true });
    const { t } = story;
    const news = { emailAddress: ana, historyId: String(t.google.gmail.historyId(ana) + 1000n) };
    const before = await runsOf(t);
    const other = signingKeyOf(await makeKeyPair());
    const now = Math.floor(t.clock.now().getTime() / 1000);
    const { audience, serviceAccount } = t.app.config.google.pubsub;
    const claims = { aud: audience!, email: serviceAccount!, email_verified: true };
    const signed = (kid: string | undefined, more = {}) =>
      new SignJWT({ iss: t.google.url, ...claims, iat: now, exp: now + 3600, ...more })
        .setProtectedHeader({ alg: "RS256", ...(kid ? { kid } : {}) })
        .sign(other.privateKey);
    const none = `${Buffer.from('{"alg":"none"}').toString("base64url")}.${Buffer.from(JSON.stringify({ iss: t.google.url, ...claims, iat: now, exp: now + 3600 })).toString("base64url")}.`;
    const forged: [why: string, token: string | null][] = [
      ["no token", null],
      ["no JWT", "x.y.z"],
      ["no signature", none],
      ["another's key", await signed(other.kid)],
      ["another's key under Google's name", await signed(t.google.state.keys[0]!.kid)],
      ["another audience", await goodToken(t, { aud: "https://example.org" })],
      ["another account", await goodToken(t, { email: "gmail-api-push@example.com" })],
      ["an address that is not verified", await goodToken(t, { email_verified: false })],
      ["no address", await goodToken(t, { email: undefined })],
      ["another issuer", await goodToken(t, { iss: "https://example.org" })],
      [
        "a person's own token",
        await signIdToken(t.google.state, {
          aud: t.google.client.id,
          email: ana,
          email_verified: true,
        }),
      ],
    ];
    for (const [why, token] of forged) assert.equal((await push(t, token, news)).status, 401, why);
    const old = await goodToken(t);
    t.clock.advance(2 * 3_600_000);
    assert.equal((await push(t, old, news)).status, 401, "an hour too old");
    const service = t.app.config.serviceKey.reveal();
    assert.equal((await push(t, service, news)).status, 401, "the service key");
    assert.equal(await runsOf(t), before);
    assert.equal((await push(t, await goodToken(t), news)).status, 204);
  });

  test("that is old, doubled, for a stranger or without sense is taken, and starts nothing", async () => {
    await using story = await anasMail({ push: true });
    const { t } = story;
    await readMail(t);
    const before = await runsOf(t);
    const token = await goodToken(t);
    const current = t.google.gmail.historyId(ana);
    const harmless: unknown[] = [
      { emailAddress: ana, historyId: String(current) },
      { emailAddress: ana, historyId: 7 },
      { emailAddress: "nobody@example.com", historyId: "99999999999" },
      { emailAddress: ana, historyId: "-1" },
      { emailAddress: ana, historyId: "1e99" },
      { emailAddress: ana },
      { emailAddress: `${ana}' or 1=1 --`, historyId: "99999999999" },
      "no JSON",
      "",
      "[]",
      "null",
    ];
    for (const content of harmless)
      assert.equal((await push(t, token, content)).status, 204, JSON.stringify(content));
    await t.idle();
    assert.equal(await runsOf(t), before);
    t.google.pubsub.settings.doubleShare = 1;
    await t.google.gmail.send(mail);
    await t.idle();
    const { delivered } = await t.app.db
      .selectFrom("watches")
      .innerJoin("feeds", "feeds.id", "watches.feed_id")
      .select("delivered")
      .where("feeds.kind", "=", "gmail")
      .executeTakeFirstOrThrow();
    // The first message of the watch, those that were harmless by their id, and the doubled one once.
    assert.ok(Number(delivered) >= 2);
    assert.ok((await runsOf(t)) - before <= 2);
  });

  test("that is no message is refused as malformed, to who may push; others learn nothing", async () => {
    await using story = await anasMail({ push: true });
    const { t } = story;
    const statusOf = async (body: string, token?: string) => {
      const authorization = token ? { authorization: `Bearer ${token}` } : {};
      const headers = { "content-type": "application/json", ...authorization };
      return (await fetch(t.url + path, { method: "POST", headers, body })).status;
    };
    for (const body of ["{}", "[]", '{"message":7}']) {
      assert.equal(await statusOf(body, await goodToken(t)), 400, body);
      assert.equal(await statusOf(body), 401, body);
    }
  });

  test("that is lost, or out of order, costs time and never a mail", async () => {
    await using story = await anasMail({ push: true });
    const { t, visitor } = story;
    t.google.pubsub.settings.dropNext = 1;
    await t.google.gmail.send(mail);
    await t.idle();
    assert.deepEqual(await documentsOf(visitor), []);
    t.google.pubsub.settings.jitterMs = 100;
    for (let count = 0; count < 3; count += 1)
      await t.google.gmail.send({ ...mail, subject: `${count}` });
    await t.idle();
    assert.equal((await documentsOf(visitor)).length, 4);
  });

  test("tells at most once a second, and what it does not tell is found a second later", async () => {
    await using story = await anasMail({ push: true });
    const { t, visitor } = story;
    t.google.gmail.notices.mostPerSecond = 1;
    for (let count = 0; count < 5; count += 1) {
      await t.google.gmail.send({ ...mail, subject: `${count}` });
      await t.idle();
    }
    t.clock.advance(1_000);
    await t.idle();
    assert.equal((await documentsOf(visitor)).length, 5);
  });

  test("is renewed daily without a gap, and its history id is no cursor", async () => {
    await using story = await anasMail({ push: true });
    const { t, visitor } = story;
    t.google.gmail.notices.isOn = false;
    await t.google.gmail.send(mail);
    const [first] = t.google.gmail.watches(ana);
    t.clock.advance(dayMs + 3_600_000);
    await t.asService("POST", "/api/v1/cron/renew-gmail-watches");
    await t.idle();
    const [second] = t.google.gmail.watches(ana);
    assert.ok(second!.expiresAt > first!.expiresAt);
    await readMail(t);
    await onlyDocument(visitor);
  });

  test("that the topic does not allow is told to the operator, and polling goes on", async () => {
    await using story = await anasMail({ push: true });
    const { t, visitor } = story;
    t.google.pubsub.topics.get(usualTopic)!.letsGmailPublish = false;
    t.clock.advance(2 * dayMs);
    await t.asService("POST", "/api/v1/cron/renew-gmail-watches");
    await sleep(200);
    await t.google.gmail.send(mail);
    await t.asService("POST", `/api/v1/sync/gmail/${visitor.userId}`, { force: true });
    assert.equal((await visitor.call("GET", "/api/v1/email/watch")).status, 200);
    for (
      const deadline = Date.now() + 30_000;
      (await documentsOf(visitor)).length === 0;
      await sleep(20)
    )
      assert.ok(Date.now() < deadline);
  });

  test("watches a mailbox that another topic of the project stands in the way of", async () => {
    await using story = await anasMail({ push: true });
    const { t, visitor } = story;
    assert.equal((await visitor.call("DELETE", "/api/v1/email/watch")).status, 204);
    await t.idle();
    assert.deepEqual(t.google.gmail.watches(ana), []);
    const other = "projects/sandbox-project/topics/other";
    t.google.gmail.store.mailboxes
      .get(t.google.state.people[0]!.sub)!
      .watches.set("sandbox-project", {
        projectId: "sandbox-project",
        topic: other,
        expiresAt: new Date(Date.now() + dayMs),
      });
    const { status, body } = await visitor.call("POST", "/api/v1/email/watch");
    assert.equal(status, 200, JSON.stringify(body));
    await t.idle();
    assert.deepEqual(
      t.google.gmail.watches(ana).map(({ topic }) => topic),
      [usualTopic],
    );
  });

  test("ends with the connection, before its grant is given back", async () => {
    await using story = await anasMail({ push: true });
    const { t, visitor } = story;
    const { body } = await visitor.call("GET", "/api/v1/me");
    const connection_id = body.connections[0].id;
    const path = "/api/v1/auth/google/token/revoke";
    assert.equal((await visitor.call("POST", path, { connection_id })).status, 200);
    await t.idle();
    assert.deepEqual(t.google.gmail.watches(ana), []);
    assert.ok(
      t.google.state.requests.some(
        ({ endpoint, status }) => endpoint === "gmail.stop" && status === 204,
      ),
    );
  });
});

test("turned off and on again stays on, however late Gmail hears that it was turned off", async () => {
  await using story = await anasMail({ push: true });
  const { t, visitor } = story;
  addFault(t.google.state, { endpoint: "gmail.stop", status: 503 });
  assert.equal((await visitor.call("DELETE", "/api/v1/email/watch")).status, 204);
  await t.idle();
  assert.equal((await visitor.call("POST", "/api/v1/email/watch")).status, 200);
  t.clock.advance(3 * 60_000);
  const closing = () =>
    t.app.db.selectFrom("watches").select("id").where("state", "=", "closing").execute();
  await until(async () => (await closing()).length === 0);
  assert.equal(t.google.gmail.watches(ana).length, 1);
});

describe("where nothing can reach us", () => {
  test("the subscription is pulled from, and a message acknowledged once it is committed", async () => {
    await using story = await anasMail({ pull: true });
    const { t, visitor } = story;
    assert.equal(t.google.gmail.watches(ana).length, 1);
    const ms = await fastestMs(t, 3_000, {
      act: () => t.google.gmail.send(mail),
      hasArrived: async (count) => (await documentsOf(visitor)).length === count,
    });
    assert.ok(ms < 3_000, `${ms} ms`);
    await t.idle();
    const calls = t.google.state.requests.map(({ endpoint }) => endpoint);
    assert.ok(calls.includes("pubsub.subscriptions.acknowledge"));
  });

  test("and without a topic, polling alone finds everything", async () => {
    await using story = await anasMail();
    const { t, visitor } = story;
    assert.deepEqual(t.google.gmail.watches(ana), []);
    await t.google.gmail.send(mail);
    t.clock.advance(3_600_000);
    await t.asService("POST", "/api/v1/cron/gmail-polling");
    await t.idle();
    await onlyDocument(visitor);
  });
});
