import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { sql } from "kysely";
import type { App } from "../../src/app.ts";
import { waitsMs } from "../../src/documents/deliveries.ts";
import { handlers } from "../../src/jobs.ts";
import { secretText } from "../../src/lib/secrets.ts";
import { isSigned } from "../../src/providers/n8n.ts";
import { listDeadLetters } from "../../src/queue/dead-letters.ts";
import { untilItWaits } from "../database.ts";
import type { TestApp, Visitor } from "../harness.ts";
import {
  ana,
  anasAssistant,
  anasMail,
  itemsOf,
  jonas,
  onlyDocument,
  sendAndRead,
} from "../mails.ts";
import { until } from "../timing.ts";

const mail = { from: jonas, to: [ana, anasAssistant], text: "The launch of the landing page" };

async function project(visitor: Visitor, name: string, more = {}): Promise<string> {
  const { status, body } = await visitor.call("POST", "/api/v1/projects", { name, ...more });
  assert.equal(status, 201, JSON.stringify(body));
  return body.id;
}

async function onlyDelivery(visitor: Visitor) {
  const deliveries = await itemsOf(visitor, "deliveries");
  assert.equal(deliveries.length, 1);
  return deliveries[0];
}

const send = (app: App, deliveryId: string) => {
  const { signal } = new AbortController();
  const job = { id: "", attempt: 1, signal, isGivenUpBy: () => false };
  return handlers["deliveries.send"](app, { deliveryId }, job);
};

describe("a document on its way to the workflow", () => {
  test("carries the old fields, its text and the user's projects, signed, and comes back with a project", async () => {
    await using story = await anasMail({ workflow: true });
    const { t, visitor } = story;
    const launch = await project(visitor, "Launch", { normalized_tags: ["landing"] });
    await project(visitor, "Budget");
    const { ids } = await sendAndRead(t, { ...mail, subject: "Notes" });
    const [{ headers, body, id }] = t.n8n.received as [(typeof t.n8n.received)[0]];
    const document = await onlyDocument(visitor);
    assert.partialDeepStrictEqual(body, {
      document_id: document.id,
      user_id: visitor.userId,
      type: "email",
      source: "gmail",
      title: "Notes",
      author: jonas,
      content: "The launch of the landing page",
      virtual_email: anasAssistant,
      username: "ana",
      email_type: "to",
      message_id: ids[ana],
      metadata: { gmail_message_id: ids[ana], filename: "Notes" },
      event_id: id,
      attempt: 1,
    });
    assert.deepEqual(body.project_metadata.map(({ name }: { name: string }) => name).sort(), [
      "Budget",
      "Launch",
    ]);
    assert.equal(headers["idempotency-key"], id);
    assert.match(String(headers["webhook-signature"]), /^v1,/);
    assert.partialDeepStrictEqual(document, {
      project_id: launch,
      classification_status: "classified",
      tags: ["launch", "landing"],
    });
    const why = await visitor.call("GET", `/api/v1/documents/${document.id}/why`);
    assert.match(why.body.project.decision, /Launch/);
    const delivery = await onlyDelivery(visitor);
    assert.partialDeepStrictEqual(delivery, { state: "delivered", tries: 1, event_id: id });
    const log = await t.app.db
      .selectFrom("email_processing_logs")
      .selectAll()
      .executeTakeFirstOrThrow();
    assert.deepEqual([log.status, log.n8n_webhook_sent], ["processed", true]);
  });

  test("is tried again after the waits, with the same id, then given up, and sent again by a person", async () => {
    await using story = await anasMail({ workflow: true });
    const { t, visitor } = story;
    t.n8n.settings.failNext = [500, 503, 429, 404, 502, 504, 408, 500];
    await sendAndRead(t, { ...mail, subject: "Notes" });
    const minutes = waitsMs.map((ms) => ms / 60_000);
    assert.deepEqual(minutes, [5 / 60, 5, 30, 120, 300, 600, 600]);
    for (const [index, waitMs] of waitsMs.entries()) {
      const delivery = await onlyDelivery(visitor);
      assert.deepEqual([delivery.state, delivery.tries], ["waiting", index + 1]);
      const { started_at, duration_ms } = delivery.log.at(-1);
      const dueInMs = Date.parse(delivery.next_try_at) - Date.parse(started_at) - duration_ms;
      assert.ok(Math.abs(dueInMs - waitMs) < 3_000, `${dueInMs} ms instead of ${waitMs}`);
      await passTime(t, waitMs);
    }
    const dead = await onlyDelivery(visitor);
    assert.deepEqual([dead.state, dead.tries, dead.next_try_at], ["dead", 8, null]);
    assert.equal(new Set(t.n8n.received.map(({ id }) => id)).size, 1);
    assert.deepEqual(
      t.n8n.received.map(({ body }) => body.attempt),
      [1, 2, 3, 4, 5, 6, 7, 8],
    );
    assert.deepEqual(t.n8n.runs, []);
    assert.equal((await onlyDocument(visitor)).classification_status, "failed");
    const why = await visitor.call("GET", `/api/v1/deliveries/${dead.id}/why`);
    assert.equal(why.status, 200);
    assert.equal(dead.log.length, 8);
    const other = await t.signIn(jonas);
    assert.equal((await other.call("POST", `/api/v1/deliveries/${dead.id}/resend`)).status, 404);
    const again = await visitor.call("POST", `/api/v1/deliveries/${dead.id}/resend`);
    assert.ok(again.status < 300, JSON.stringify(again.body));
    await t.idle();
    assert.partialDeepStrictEqual(await onlyDelivery(visitor), { state: "delivered", tries: 9 });
    assert.equal(t.n8n.runs.length, 1);
  });

  for (const [status, text] of [
    [401, /does not let us in/],
    [403, /does not let us in/],
    [400, /refuses what is sent/],
    [413, /refuses what is sent/],
    [302, /redirects/],
  ] as const) {
    test(`that is answered with ${status} is given up at once, with what to do`, async () => {
      await using story = await anasMail({ workflow: true });
      const { t, visitor } = story;
      t.n8n.settings.failNext = [status];
      await sendAndRead(t, { ...mail, subject: "Notes" });
      const delivery = await onlyDelivery(visitor);
      assert.deepEqual([delivery.state, delivery.tries], ["dead", 1]);
      assert.match(delivery.last_error, text);
    });
  }

  test("is not forgotten where what it waits for ends just as it looks", async () => {
    await using story = await anasMail({ workflow: true });
    const { t, visitor } = story;
    t.n8n.settings.failNext = [500];
    await sendAndRead(t, { ...mail, subject: "Notes" });
    const earlier = await onlyDelivery(visitor);
    const { id } = await onlyDocument(visitor);
    await visitor.call("POST", `/api/v1/documents/${id}/classify`);
    await t.idle();
    const [later] = await itemsOf(visitor, "deliveries");
    assert.deepEqual([later.state, later.tries], ["waiting", 0]);
    const tx = await t.app.db.startTransaction().execute();
    await sql`update deliveries set state = 'delivered' where id = ${earlier.id}`.execute(tx);
    const looks = send(t.app, later.id);
    await untilItWaits(t.app.db, looks);
    await tx.commit().execute();
    await looks;
    await t.idle();
    const [now] = await itemsOf(visitor, "deliveries");
    assert.deepEqual([now.id, now.state, now.tries], [later.id, "delivered", 1]);
  });

  test("is not forgotten where it becomes due just as it looks", async () => {
    await using story = await anasMail({ workflow: true });
    const { t, visitor } = story;
    t.n8n.settings.failNext = [500];
    await sendAndRead(t, { ...mail, subject: "Notes" });
    const { id, next_try_at } = await onlyDelivery(visitor);
    t.clock.advance(waitsMs[0]! + 1_000);
    const times = [new Date(Date.parse(next_try_at) - 1)];
    const clock = { now: () => times.shift() ?? t.clock.now() };
    await send({ ...t.app, clock }, id);
    await t.idle();
    assert.partialDeepStrictEqual(await onlyDelivery(visitor), { state: "delivered", tries: 2 });
  });

  test("is sent though its job was lost, by the next sweep", async () => {
    await using story = await anasMail({ workflow: true });
    const { t, visitor } = story;
    t.n8n.settings.failNext = [500, 500];
    await sendAndRead(t, { ...mail, subject: "Notes" });
    const sweep = async () => {
      const { body } = await t.asService("POST", "/api/v1/cron/lost-work");
      await t.idle();
      return body.counts.deliveries;
    };
    t.clock.advance(waitsMs[0]! + 61_000);
    assert.equal(await sweep(), 0, "its job waits");
    await sql`delete from pgboss.job_common where name = 'deliveries.send'`.execute(t.app.db);
    assert.equal(await sweep(), 1);
    assert.partialDeepStrictEqual(await onlyDelivery(visitor), { state: "waiting", tries: 2 });
    await sql`delete from pgboss.job_common where name = 'deliveries.send'`.execute(t.app.db);
    assert.equal(await sweep(), 0, "it is not due");
    t.clock.advance(waitsMs[1]! + 61_000);
    assert.equal(await sweep(), 1);
    assert.partialDeepStrictEqual(await onlyDelivery(visitor), { state: "delivered", tries: 3 });
  });

  test("is called for again where its job was given up, and lies among the dead letters once", async () => {
    await using story = await anasMail({ workflow: true });
    const { t, visitor } = story;
    t.n8n.settings.failNext = [500];
    await sendAndRead(t, { ...mail, subject: "Notes" });
    await sql`delete from pgboss.job_common where name = 'deliveries.send'`.execute(t.app.db);
    await sql`update pgboss.queue set retry_limit = 0 where name = 'deliveries.send'`.execute(
      t.app.db,
    );
    await sql`alter table document_texts rename to texts_away`.execute(t.app.db);
    t.clock.advance(waitsMs[0]! + 61_000);
    for (let sweeps = 0; sweeps < 3; sweeps += 1) {
      const { body } = await t.asService("POST", "/api/v1/cron/lost-work");
      assert.equal(body.counts.deliveries, 1);
      await t.idle();
      assert.equal((await listDeadLetters(t.app.queue, 10)).length, 1);
    }
    await sql`alter table texts_away rename to document_texts`.execute(t.app.db);
    await t.asService("POST", "/api/v1/cron/lost-work");
    await t.idle();
    assert.equal((await onlyDelivery(visitor)).state, "delivered");
    assert.equal((await listDeadLetters(t.app.queue, 10)).length, 0);
  });

  test("is run once by a workflow that answers too late", async () => {
    await using story = await anasMail({ workflow: true });
    const { t, visitor } = story;
    await project(visitor, "Launch");
    t.n8n.settings.answerDelayMs = 16_000;
    await t.google.gmail.send({ ...mail, subject: "Notes" });
    await t.asService("POST", `/api/v1/sync/gmail/${visitor.userId}`, { force: true });
    await until(async () => (await itemsOf(visitor, "deliveries"))[0]?.tries === 1, 25_000);
    const waiting = await onlyDelivery(visitor);
    assert.match(waiting.last_error, /15 seconds/);
    t.n8n.settings.answerDelayMs = 0;
    await passTime(t, 5_000);
    assert.partialDeepStrictEqual(await onlyDelivery(visitor), { state: "delivered", tries: 2 });
    assert.equal(t.n8n.runs.length, 1);
    assert.equal((await onlyDocument(visitor)).classification_status, "classified");
  });

  test("keeps its turn: what is asked later goes later", async () => {
    await using story = await anasMail({ workflow: true });
    const { t, visitor } = story;
    t.n8n.settings.failNext = [500];
    await sendAndRead(t, { ...mail, subject: "Notes" });
    const document = await onlyDocument(visitor);
    const again = await visitor.call("POST", `/api/v1/documents/${document.id}/classify`);
    assert.equal(again.status, 202);
    await t.idle();
    assert.equal(t.n8n.received.length, 1);
    await passTime(t, 5_000);
    const [first, second, third] = t.n8n.received.map(({ id }) => id);
    assert.equal(first, second);
    assert.notEqual(second, third);
    assert.equal(t.n8n.received.length, 3);
  });

  test("is not sent to a private address, nor to one that a name leads to, unless that is allowed", async () => {
    for (const url of [
      "http://127.0.0.1:9/webhook/x",
      "http://localhost:9/webhook/x",
      "http://[::ffff:10.0.0.1]/x",
      "http://169.254.169.254/x",
    ]) {
      await using story = await anasMail({ environment: { N8N_CLASSIFICATION_WEBHOOK_URL: url } });
      const { t, visitor } = story;
      await sendAndRead(t, { ...mail, subject: "Notes" });
      const delivery = await onlyDelivery(visitor);
      assert.equal(delivery.state, "dead", url);
      assert.match(delivery.last_error, /N8N_ALLOW_PRIVATE/);
    }
  });

  test("is classified here where no workflow is configured", async () => {
    await using story = await anasMail();
    const { t, visitor } = story;
    await sendAndRead(t, { ...mail, subject: "Notes" });
    assert.deepEqual(await itemsOf(visitor, "deliveries"), []);
    assert.equal((await onlyDocument(visitor)).classification_status, "unclassified");
    const log = await t.app.db
      .selectFrom("email_processing_logs")
      .selectAll()
      .executeTakeFirstOrThrow();
    assert.equal(log.status, "processed");
  });
});

describe("a workflow's result", () => {
  let story: Awaited<ReturnType<typeof anasMail>>;
  let t: TestApp;
  let visitor: Visitor;
  let document: { id: string };
  let [launch, budget] = ["", ""];
  before(async () => {
    story = await anasMail({ workflow: true });
    ({ t, visitor } = story);
    t.n8n.settings.answers = false;
    [launch, budget] = [await project(visitor, "Launch"), await project(visitor, "Budget")];
    await sendAndRead(t, { ...mail, subject: "Notes" });
    document = await onlyDocument(visitor);
  });
  after(() => story[Symbol.asyncDispose]());

  const send = (body: object) =>
    t.asService("POST", "/api/v1/webhooks/classification", { document_id: document.id, ...body });
  const at = (minutes: number) =>
    new Date(t.clock.now().getTime() + minutes * 60_000).toISOString();
  const projectNow = async () => (await onlyDocument(visitor)).project_id;

  test("is refused without proof, for an unknown document, and for a project of somebody else", async () => {
    const answer = await fetch(`${t.url}/api/v1/webhooks/classification`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        "webhook-id": "1",
        "webhook-timestamp": "1",
        "webhook-signature": "v1,x",
      },
      body: JSON.stringify({ document_id: document.id, project_id: launch }),
    });
    assert.equal(answer.status, 401);
    const anything = await fetch(`${t.url}/api/v1/webhooks/classification`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: "{}",
    });
    assert.equal(anything.status, 401, "who proves nothing is not told what is wrong");
    assert.equal((await send({ document_id: crypto.randomUUID() })).status, 404);
    const other = await t.signIn(jonas);
    const theirs = await project(other, "Theirs");
    assert.equal((await send({ project_id: theirs })).status, 422);
    assert.equal((await send({ project_id: launch, confidence: 7 })).status, 400);
    assert.equal(await projectNow(), null);
  });

  test("counts once, and a later one counts instead of an earlier one, in whatever order they come", async () => {
    t.clock.advance(3 * 60_000);
    const first = { project_id: launch, confidence: 0.7, tags: ["a"], classified_at: at(-2) };
    assert.deepEqual((await send(first)).body, { outcome: "applied" });
    assert.deepEqual((await send(first)).body, { outcome: "duplicate" });
    const later = { project_id: budget, confidence: 0.9, tags: ["b"], classified_at: at(0) };
    assert.deepEqual((await send(later)).body, { outcome: "applied" });
    assert.deepEqual((await send({ ...first, classified_at: at(-1) })).body, { outcome: "late" });
    assert.equal(await projectNow(), budget);
    const why = await visitor.call("GET", `/api/v1/documents/${document.id}/why`);
    assert.deepEqual(why.body.results.map(({ outcome }: { outcome: string }) => outcome).sort(), [
      "applied",
      "applied",
      "late",
    ]);
  });

  test("never overwrites what a person chose, until the person asks again", async () => {
    const move = (project_id: string | null) =>
      visitor.call("PATCH", `/api/v1/documents/${document.id}`, { project_id });
    assert.equal((await move(launch)).status, 200);
    assert.deepEqual((await send({ project_id: budget, classified_at: at(5) })).body, {
      outcome: "person_decided",
    });
    assert.equal(await projectNow(), launch);
    assert.equal((await move(crypto.randomUUID())).status, 422);
    assert.equal((await move(null)).status, 200);
    assert.deepEqual((await send({ project_id: budget, classified_at: at(6) })).body, {
      outcome: "person_decided",
    });
    assert.equal(await projectNow(), null);
    assert.equal(
      (await visitor.call("POST", `/api/v1/documents/${document.id}/classify`)).status,
      202,
    );
    assert.deepEqual((await send({ project_id: budget, classified_at: at(7) })).body, {
      outcome: "applied",
    });
    assert.equal(await projectNow(), budget);
  });

  test("without a time of its own counts once for each time that it is asked for", async () => {
    const same = { project_id: launch, confidence: 0.5, tags: ["same"] };
    t.clock.advance(8 * 60_000);
    assert.deepEqual((await send(same)).body, { outcome: "applied" });
    assert.deepEqual((await send(same)).body, { outcome: "duplicate" });
    await visitor.call("PATCH", `/api/v1/documents/${document.id}`, { project_id: budget });
    await visitor.call("POST", `/api/v1/documents/${document.id}/classify`);
    await t.idle();
    assert.deepEqual((await send(same)).body, { outcome: "applied" });
    assert.deepEqual((await send(same)).body, { outcome: "duplicate" });
    assert.partialDeepStrictEqual(await onlyDocument(visitor), {
      project_id: launch,
      classification_status: "classified",
    });
  });

  test("of a clock that is ahead counts as of when it came, and stands in the way of none that follows", async () => {
    const ahead = { project_id: budget, confidence: 0.9, classified_at: "2099-01-01T00:00:00Z" };
    assert.deepEqual((await send(ahead)).body, { outcome: "applied" });
    const { classified_at } = await onlyDocument(visitor);
    assert.ok(Date.parse(classified_at) <= t.clock.now().getTime(), classified_at);
    assert.deepEqual((await send(ahead)).body, { outcome: "duplicate" });
    t.clock.advance(60_000);
    const right = { project_id: launch, confidence: 0.8, classified_at: at(0) };
    assert.deepEqual((await send(right)).body, { outcome: "applied" });
    assert.equal(await projectNow(), launch);
  });

  test("is measured by none from before it was asked for", async () => {
    // What was kept while nothing was known of clocks that are ahead.
    await t.app.db
      .updateTable("documents")
      .set({ classified_at: new Date("2099-01-01") })
      .where("id", "=", document.id)
      .execute();
    assert.deepEqual((await send({ project_id: budget, classified_at: at(0) })).body, {
      outcome: "late",
    });
    await visitor.call("POST", `/api/v1/documents/${document.id}/classify`);
    await t.idle();
    assert.partialDeepStrictEqual(await onlyDocument(visitor), {
      classification_status: "sent_to_n8n",
      classified_at: null,
    });
    assert.deepEqual((await send({ project_id: budget, classified_at: at(-1) })).body, {
      outcome: "applied",
    });
    assert.equal(await projectNow(), budget);
  });

  test("that says that it belongs to none is kept as that", async () => {
    assert.deepEqual((await send({ project_id: null, classified_at: at(9) })).body, {
      outcome: "applied",
    });
    assert.equal((await onlyDocument(visitor)).classification_status, "unclassified");
  });

  test("counts as well in the words of a workflow that knows texts and nulls alone", async () => {
    const texts = {
      project_id: launch,
      confidence: " 0.75",
      tags: ["", "a "],
      classified_at: at(10),
    };
    const reason = "long ".repeat(1_000);
    assert.deepEqual((await send({ ...texts, reason })).body, { outcome: "applied" });
    assert.partialDeepStrictEqual(await onlyDocument(visitor), {
      project_id: launch,
      classification_confidence: 0.75,
      tags: ["a"],
    });
    const nothing = { project_id: "", confidence: "", tags: null, reason: null };
    const later = { ...nothing, classified_at: at(10.5) };
    assert.deepEqual((await send(later)).body, { outcome: "applied" });
    assert.equal((await onlyDocument(visitor)).classification_status, "unclassified");
    for (const confidence of ["87", "87%", "high", 87]) {
      assert.equal((await send({ ...texts, confidence })).status, 400, String(confidence));
    }
  });

  test("may be signed as n8n's own nodes can: an HMAC of the body", async () => {
    const body = JSON.stringify({
      document_id: document.id,
      project_id: launch,
      classified_at: at(11),
    });
    const signature = createHmac("sha256", t.app.config.n8n.secret!.reveal())
      .update(body)
      .digest("hex");
    const post = (sent: string) =>
      fetch(`${t.url}/api/v1/webhooks/classification`, {
        method: "POST",
        headers: { "content-type": "application/json", "x-signature": `sha256=${signature}` },
        body: sent,
      });
    assert.equal((await post(body.replace(launch, budget))).status, 401);
    assert.equal((await post(body)).status, 200);
    assert.equal(await projectNow(), launch);
  });
});

test("Standard Webhooks' own example is verified, and nothing near it", () => {
  const secret = secretText("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
  const body = '{"test": 2432232314}';
  const headers = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
  };
  const now = new Date(1_614_265_330_000);
  assert.equal(isSigned(secret, headers, body, now), true);
  assert.equal(isSigned(secret, headers, `${body} `, now), false);
  assert.equal(isSigned(secret, { ...headers, "webhook-id": "msg_other" }, body, now), false);
  assert.equal(isSigned(secret, headers, body, new Date(now.getTime() + 6 * 60_000)), false);
  assert.equal(isSigned(secret, { ...headers, "webhook-signature": "v1," }, body, now), false);
  assert.equal(isSigned(secret, {}, body, now), false);
});

async function passTime(t: TestApp, ms: number): Promise<void> {
  t.clock.advance(ms + 1_000);
  await t.hurry("deliveries.send");
  await t.idle();
}
