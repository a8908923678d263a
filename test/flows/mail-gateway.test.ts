import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { sql } from "kysely";
import { signIdToken } from "../../sandbox/google/keys.ts";
import { type Answer, openTestApp, type TestApp, type Visitor } from "../harness.ts";
import { ana, anasAssistant, documentsOf, jonas } from "../mails.ts";
import { computingMs } from "../timing.ts";

describe("the old addresses of the mail functions", () => {
  let t: TestApp;
  let visitor: Visitor;
  let other: Visitor;
  before(async () => {
    t = await openTestApp({ push: true });
    [visitor, other] = [await t.signIn(ana), await t.signIn(jonas)];
    await t.idle();
  });
  after(() => t[Symbol.asyncDispose]());

  const call = (who: Visitor, name: string, body?: unknown): Promise<Answer> =>
    who.call("POST", `/functions/v1/${name}`, body);
  const mail = { from: jonas, to: [ana, anasAssistant], subject: "Old", text: "x" };

  test("set-username sets it once, and says in the old shape what is wrong", async () => {
    const wrong = await call(visitor, "set-username", { username: "a" });
    assert.deepEqual([wrong.status, wrong.body.success], [400, false]);
    const set = await call(visitor, "set-username", { username: "ana" });
    assert.equal(set.status, 200, JSON.stringify(set.body));
    assert.equal(set.body.success, true);
    const again = await call(visitor, "set-username", { username: "other" });
    assert.deepEqual([again.status, again.body.success], [400, false]);
    const nobody = await fetch(`${t.url}/functions/v1/set-username`, { method: "POST" });
    const { message } = (await nobody.json()) as { message: string };
    assert.deepEqual([nobody.status, message], [401, "Sign in, or send a bearer token"]);
  });

  test("setup-gmail-watch watches the caller's own mailbox, and nobody else's", async () => {
    const { status, body } = await call(visitor, "setup-gmail-watch", { userEmail: ana });
    assert.equal(status, 200, JSON.stringify(body));
    assert.deepEqual([body.success, body.watch_type], [true, "push"]);
    assert.ok(Date.parse(body.expiration) > t.clock.now().getTime());
    assert.equal((await call(other, "setup-gmail-watch", { userEmail: ana })).status, 404);
    assert.equal((await call(visitor, "setup-gmail-watch", {})).status, 400);
  });

  test("gmail-notification-handler hears Pub/Sub's proven word and nobody else's", async () => {
    t.google.gmail.notices.isOn = false;
    await t.google.gmail.send(mail);
    const news = { emailAddress: ana, historyId: String(t.google.gmail.historyId(ana)) };
    const data = Buffer.from(JSON.stringify(news)).toString("base64");
    const post = (token: string | null) =>
      fetch(`${t.url}/functions/v1/gmail-notification-handler`, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          ...(token ? { authorization: `Bearer ${token}` } : {}),
        },
        body: JSON.stringify({ message: { data, messageId: "77" }, subscription: "s" }),
      });
    assert.equal((await post(null)).status, 401);
    const { audience, serviceAccount } = t.app.config.google.pubsub;
    const token = await signIdToken(t.google.state, {
      aud: audience!,
      email: serviceAccount!,
      email_verified: true,
      sub: "1",
    });
    assert.equal((await post(token)).status, 200);
    await t.idle();
    assert.equal((await documentsOf(visitor)).length, 1);
  });

  test("gmail-polling-service polls a mailbox of the caller, and says what it found", async () => {
    await t.google.gmail.send({ ...mail, subject: "Polled" });
    t.clock.advance(3_600_000);
    const { status, body } = await call(visitor, "gmail-polling-service", { userEmail: ana });
    assert.equal(status, 200, JSON.stringify(body));
    assert.equal(body.success, true);
    assert.equal((await call(other, "gmail-polling-service", { userEmail: ana })).status, 404);
    assert.equal((await call(visitor, "gmail-polling-service", {})).status, 400);
    await t.idle();
    assert.equal((await documentsOf(visitor)).length, 2);
  });

  test("gmail-polling-cron polls everybody, for the service alone", async () => {
    await t.google.gmail.send({ ...mail, subject: "By the clock" });
    t.clock.advance(3_600_000);
    assert.equal((await call(visitor, "gmail-polling-cron")).status, 403);
    const { status, body } = await t.asService("POST", "/functions/v1/gmail-polling-cron");
    assert.equal(status, 200, JSON.stringify(body));
    assert.equal(body.success, true);
    await t.idle();
    assert.equal((await documentsOf(visitor)).length, 3);
  });

  test("process-inbound-emails believes the mailbox, not what it is given, and the service alone", async () => {
    t.google.gmail.notices.isOn = false;
    const { ids } = await t.google.gmail.send({ ...mail, subject: "Inbound" });
    const message = (id: string, to: string) => ({
      id,
      snippet: "invented",
      payload: { headers: [{ name: "To", value: to }] },
    });
    const messages = [
      message(ids[ana]!, `Ana <${anasAssistant}>`),
      message("made-up", anasAssistant),
      message(ids[ana]!, "someone@example.com"),
      { id: "bare", payload: null },
    ];
    const path = "process-inbound-emails";
    assert.equal((await call(visitor, path, { messages })).status, 403);
    const forged = await fetch(`${t.url}/functions/v1/${path}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ messages }),
    });
    assert.equal(forged.status, 401);
    const post = (body: unknown) => t.asService("POST", `/functions/v1/${path}`, body);
    for (const _ of ["first", "repeat"]) {
      const { status, body } = await post({ messages });
      assert.equal(status, 200);
      assert.deepEqual(body.summary, { total: 4, successful: 1, failed: 3 });
      assert.equal(body.message, "Processed 4 messages: 1 successful, 3 failed");
      const [taken, ...others] = body.results;
      assert.deepEqual(
        [taken.success, taken.message, taken.user_id],
        [true, "Email processed successfully for user: ana", visitor.userId],
      );
      assert.deepEqual(
        others.map((one: { message: string }) => one.message),
        [
          "Error processing email: No mail made-up in a mailbox that is followed",
          "No valid username found in email address",
          'No "To" header found in email',
        ],
      );
      await t.idle();
      const documents = await documentsOf(visitor);
      assert.equal(documents.length, 4);
      assert.ok(documents.some(({ title }: { title: string }) => title === "Inbound"));
    }
    const { body } = await post({ messages });
    assert.match(body.results[0].document_id, /^[0-9a-f-]{36}$/);
    const wrong = await post({ messages: "x" });
    assert.deepEqual(wrong, {
      ...wrong,
      status: 400,
      body: {
        success: false,
        error: "Missing or invalid messages array",
        message: "Failed to process inbound emails",
      },
    });
  });

  test("process-inbound-emails answers alike for every mailbox that shows a mail", async () => {
    await t.connectAssistant();
    await t.idle();
    t.google.gmail.notices.isOn = true;
    const { ids } = await t.google.gmail.send({ ...mail, from: ana, subject: "Twice" });
    await t.idle();
    const headers = [{ name: "To", value: anasAssistant }];
    const messages = Object.values(ids).map((id) => ({ id, payload: { headers } }));
    const { body } = await t.asService("POST", "/functions/v1/process-inbound-emails", {
      messages,
    });
    assert.deepEqual(body.summary, { total: 2, successful: 2, failed: 0 });
    await t.idle();
    const documents = await documentsOf(visitor);
    assert.equal(documents.filter(({ title }) => title === "Twice").length, 1);
  });
});

describe("the mail routes", () => {
  let t: TestApp;
  let visitor: Visitor;
  before(async () => {
    t = await openTestApp();
    visitor = await t.signIn(ana);
    await visitor.call("POST", "/api/v1/user/username", { username: "ana" });
    await t.idle();
  });
  after(() => t[Symbol.asyncDispose]());

  test("tell which raw header values name whose assistant", async () => {
    const { body } = await visitor.call("POST", "/api/v1/email/detect-virtual-emails", {
      to: ["Ai <AI+Ana@example.com>, x@example.net"],
      cc: ['"ai+ana@example.com" <y@example.net>', "ai+who@example.com"],
    });
    assert.deepEqual(body.detections, [
      {
        virtual_email: anasAssistant,
        username: "ana",
        email_type: "to",
        known: true,
        is_you: true,
      },
      {
        virtual_email: "ai+who@example.com",
        username: "who",
        email_type: "cc",
        known: false,
        is_you: false,
      },
    ]);
  });

  test("take a header apart", async () => {
    const { body } = await visitor.call("POST", "/api/v1/email/extract-addresses", {
      headers: [
        { name: "TO", value: '"Doe, Jane" <J+Tag@Example.COM>, Team: a@example.net;' },
        { name: "Cc", value: "z@example.net" },
      ],
      header_name: "to",
    });
    assert.deepEqual(body.addresses, ["j+tag@example.com", "a@example.net"]);
    assert.deepEqual(body.mailboxes[0], { name: "Doe, Jane", address: "J+Tag@example.com" });
  });

  test("take no more of a list apart than is answered", async () => {
    const value = "a@b.test,".repeat(1_000);
    const headers = Array.from({ length: 100 }, () => ({ name: "to", value }));
    const path = "/api/v1/email/extract-addresses";
    const ms = await computingMs(async () => {
      const { body } = await visitor.call("POST", path, { headers, header_name: "to" });
      assert.equal(body.addresses.length, 1_000);
    });
    assert.ok(ms < 1_000, `${ms} ms`);
  });

  test("list detections page by page, those without a time last", async () => {
    const row = { user_id: visitor.userId, virtual_email: anasAssistant, username: "ana" };
    for (const [id, at] of [
      ["old-1", null],
      ["new", "2026-01-01T10:00:00.000Z"],
      ["old-2", null],
    ]) {
      await sql`
        insert into virtual_email_detections (user_id, virtual_email, username, email_type, gmail_message_id, detected_at)
        values (${row.user_id}, ${row.virtual_email}, ${row.username}, 'to', ${id}, ${at}::timestamptz)
      `.execute(t.app.db);
    }
    const seen: [string, string | null][] = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const query: string = cursor && `&cursor=${cursor}`;
      const { status, body } = await visitor.call(
        "GET",
        `/api/v1/email/detections?limit=1${query}`,
      );
      assert.equal(status, 200, JSON.stringify(body));
      for (const one of body.items) seen.push([one.gmail_message_id, one.detected_at]);
      cursor = body.next_cursor;
    }
    assert.deepEqual(seen[0], ["new", "2026-01-01T10:00:00.000Z"]);
    assert.deepEqual(seen.slice(1).sort(), [
      ["old-1", null],
      ["old-2", null],
    ]);
    await t.app.db.deleteFrom("virtual_email_detections").execute();
  });

  test("handle one message of a mailbox by its id, for the service alone", async () => {
    t.google.gmail.notices.isOn = false;
    const { ids } = await t.google.gmail.send({
      from: jonas,
      to: [ana, anasAssistant],
      subject: "One",
      text: "x",
    });
    const path = "/api/v1/email/process-virtual-email";
    const body = { user_email: ana, message_id: ids[ana] };
    assert.equal((await visitor.call("POST", path, body)).status, 403);
    assert.deepEqual((await t.asService("POST", path, body)).body, {
      detected: 1,
      message_id: ids[ana],
    });
    assert.equal((await t.asService("POST", path, { ...body, message_id: "none" })).status, 404);
    assert.equal(
      (await t.asService("POST", path, { ...body, user_email: "x@example.com" })).status,
      404,
    );
    await t.idle();
    assert.equal((await documentsOf(visitor)).length, 1);
    const filtered = async (query: string) =>
      (await visitor.call("GET", `/api/v1/documents?${query}`)).body.items.length;
    assert.deepEqual(
      await Promise.all(
        ["q=one", "q=two", "source=gmail", "type=email", "project_id=none", "source=drive"].map(
          filtered,
        ),
      ),
      [1, 0, 1, 1, 1, 0],
    );
  });

  test("poll a mailbox, and say that it was not due", async () => {
    const poll = () => visitor.call("POST", `/api/v1/email/poll-gmail/${ana}`);
    const { status, body } = await poll();
    assert.equal(status, 200);
    assert.equal(typeof body.polled, "boolean");
    const other = await t.signIn("priya@example.com");
    assert.equal((await other.call("POST", `/api/v1/email/poll-gmail/${ana}`)).status, 404);
  });
});
