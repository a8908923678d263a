import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";
import { openBrowser } from "../../sandbox/google/browser.ts";
import { mailboxTicket } from "../../src/accounts/assistant.ts";
import { openTestApp, type TestApp, testEnvironment } from "../harness.ts";
import { ana, chooseName, documentsOf, jonas, readMail } from "../mails.ts";

const assistant = "ai@example.com";

describe("a mailbox", () => {
  let t: TestApp;
  before(async () => {
    t = await openTestApp();
  });
  after(() => t[Symbol.asyncDispose]());

  const mailboxes = () =>
    t.app.db
      .selectFrom("feeds")
      .innerJoin("users", "users.id", "feeds.user_id")
      .innerJoin("connections", "connections.id", "feeds.connection_id")
      .select(["connections.email", "connections.provider", "users.role"])
      .where("feeds.kind", "=", "gmail")
      .execute();
  const connect = async (...words: string[]) => {
    const place = { url: t.url, port: 4400, database: t.database, environment: t.environment };
    const child = spawn(process.execPath, ["src/main.ts", "connect-mailbox", ...words], {
      env: { PATH: process.env.PATH, ...testEnvironment(t.google, place), LOG_LEVEL: "silent" },
    });
    let text = "";
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (chunk) => {
        text += String(chunk);
      });
    const [code] = await once(child, "exit");
    await t.idle();
    return { code, text };
  };
  const open = async (ticket: string, person: string) => {
    const path = `/api/v1/auth/google/mailbox?${new URLSearchParams({ ticket })}`;
    const begun = await fetch(t.url + path, { redirect: "manual" });
    if (begun.status !== 302) return begun;
    const cookie = begun.headers.getSetCookie()[0]?.split(";")[0] ?? "";
    const back = await openBrowser().consent(begun.headers.get("location") ?? "", { person });
    return fetch(back, { redirect: "manual", headers: { cookie } });
  };

  test("of the assistant is connected by an operator's link, with the assistant's own account and no other", async () => {
    const { code, text } = await connect();
    assert.equal(code, 0, text);
    const ticket = new URL(/http\S+/.exec(text)?.[0] ?? "").searchParams.get("ticket") ?? "";
    // Nobody here, and somebody who signs in here, such as the operator.
    await t.signIn(ana, { untick: ["https://www.googleapis.com/auth/gmail.readonly"] });
    for (const person of [jonas, ana]) {
      const refused = await open(ticket, person);
      assert.equal(refused.headers.get("location"), "/?sign_in_error=not_the_mailbox", person);
    }
    assert.deepEqual(await mailboxes(), []);
    const done = await open(ticket, assistant);
    assert.equal(done.headers.get("location"), "/?mailbox_connected=1");
    await t.idle();
    assert.deepEqual(await mailboxes(), [
      { email: assistant, provider: "google", role: "assistant" },
    ]);
  });

  test("is not connected by a link that is old, changed or made up", async () => {
    const ticket = mailboxTicket(t.app);
    const later = `${Number(ticket.split(".")[0]) + 9_000}.${ticket.split(".")[1]}`;
    for (const wrong of [later, "x", "99999999999.x", ""])
      assert.equal((await open(wrong, assistant)).status, 403, wrong);
    t.clock.advance(31 * 60_000);
    assert.equal((await open(ticket, assistant)).status, 403);
  });

  test("of a user is read by delegation, without their consent screen, and mail in it is their own", async () => {
    const visitor = await t.signIn(jonas, {
      untick: ["https://www.googleapis.com/auth/gmail.readonly"],
    });
    await chooseName(visitor, "jonas");
    const { code, text } = await connect("--delegate", "--user", jonas);
    assert.equal(code, 0, text);
    assert.match(text, /jonas\.weber@example\.com is connected/);
    await t.google.gmail.send({
      from: "client@example.net",
      to: [jonas, "ai+jonas@example.com"],
      subject: "Hello",
      text: "x",
    });
    await readMail(t);
    assert.deepEqual(
      (await documentsOf(visitor)).map(({ title }) => title),
      ["Hello"],
    );
    const again = await connect("--delegate", "--user", jonas);
    assert.equal(again.code, 0);
    assert.equal((await mailboxes()).filter(({ email }) => email === jonas).length, 1);
  });

  test("that the service account is not let into is refused in words that help", async () => {
    const refused: [words: string[], expected: RegExp][] = [
      [
        ["--delegate", "--mailbox", "zoe.lindqvist@example.org"],
        /does not let the service account into zoe.*delegate/,
      ],
      [["--delegate", "--user", "nobody@example.com"], /No user nobody@example\.com/],
      [["--user", jonas], /--delegate/],
    ];
    for (const [words, expected] of refused) {
      const { code, text } = await connect(...words);
      assert.equal(code, 1);
      assert.match(text, expected);
      assert.doesNotMatch(text, / {4}at /);
    }
  });

  test("is connected at the old address by the service key, once its owner has signed in", async () => {
    const priya = "priya@example.com";
    await t.signIn(priya, { untick: ["https://www.googleapis.com/auth/gmail.readonly"] });
    const { status, body } = await t.asService("POST", "/functions/v1/setup-gmail-watch", {
      userEmail: priya,
    });
    assert.equal(status, 200, JSON.stringify(body));
    assert.deepEqual([body.success, body.watch_type], [true, "polling"]);
    assert.ok(body.historyId);
  });
});
