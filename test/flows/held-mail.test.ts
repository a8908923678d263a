import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { TestApp } from "../harness.ts";
import {
  ana,
  anasAssistant,
  anasMail,
  bodiesRead,
  documentsOf,
  itemsOf,
  jonas,
  onlyDocument,
  readMail,
  sendAndRead,
} from "../mails.ts";

const stranger = "stranger@example.net";
const zoe = "zoe.lindqvist@example.org";

describe("a mail from somebody whom its owner has not let", () => {
  test("is held with its reason, unread, until its owner takes it, once", async () => {
    await using story = await anasMail({ withAssistant: true });
    const { t, visitor } = story;
    await sendAndRead(t, { from: stranger, to: anasAssistant, subject: "Offer", text: "Buy!" });
    assert.deepEqual(await documentsOf(visitor), []);
    assert.deepEqual(bodiesRead(t), []);
    const [held] = await itemsOf(visitor, "email/held");
    assert.partialDeepStrictEqual(held, { subject: "Offer", decision: "held", document_id: null });
    assert.match(held.reason, /stranger@example\.net/);
    const other = await t.signIn(jonas);
    for (const wish of ["accept", "refuse"])
      assert.equal((await other.call("POST", `/api/v1/email/held/${held.id}/${wish}`)).status, 404);
    assert.deepEqual(await itemsOf(other, "email/held"), []);
    const accept = () => visitor.call("POST", `/api/v1/email/held/${held.id}/accept`);
    const answers = await Promise.all([accept(), accept()]);
    assert.deepEqual(
      answers.map(({ status }) => status),
      [200, 200],
    );
    await t.idle();
    const document = await onlyDocument(visitor);
    assert.equal(document.text, "Buy!");
    assert.deepEqual(await itemsOf(visitor, "email/held"), []);
    assert.equal((await visitor.call("POST", `/api/v1/email/held/${held.id}/refuse`)).status, 409);
    const why = await visitor.call("GET", `/api/v1/documents/${document.id}/why`);
    assert.equal(why.body.taken.rule, "owner");
    await readMail(t);
    await onlyDocument(visitor);
  });

  test("that its owner refuses is never read, and stays refused when it is seen again", async () => {
    await using story = await anasMail({ withAssistant: true });
    const { t, visitor } = story;
    await sendAndRead(t, { from: stranger, to: anasAssistant, subject: "Offer", text: "Buy!" });
    const [held] = await itemsOf(visitor, "email/held");
    assert.equal((await visitor.call("POST", `/api/v1/email/held/${held.id}/refuse`)).status, 200);
    t.clock.advance(11 * 60_000);
    t.google.gmail.forgetHistory("ai@example.com");
    await readMail(t);
    assert.deepEqual(await documentsOf(visitor), []);
    assert.deepEqual(await itemsOf(visitor, "email/held"), []);
    assert.deepEqual(bodiesRead(t), []);
    const log = await t.app.db
      .selectFrom("email_processing_logs")
      .selectAll()
      .executeTakeFirstOrThrow();
    assert.equal(log.status, "failed");
    assert.match(log.error_message ?? "", /refused/);
  });

  test("is taken as soon as it is found in its owner's own mailbox", async () => {
    await using story = await anasMail({ withAssistant: true });
    const { t, visitor } = story;
    const mail = { from: stranger, to: anasAssistant, cc: ana, subject: "To both", text: "Hi" };
    await t.google.gmail.send(mail);
    const feed = await t.app.db
      .selectFrom("feeds")
      .innerJoin("users", "users.id", "feeds.user_id")
      .select("users.id")
      .where("feeds.kind", "=", "gmail")
      .where("users.role", "=", "assistant")
      .executeTakeFirstOrThrow();
    await t.asService("POST", `/api/v1/sync/gmail/${feed.id}`, { force: true });
    await t.idle();
    assert.equal((await itemsOf(visitor, "email/held")).length, 1);
    await readMail(t);
    await onlyDocument(visitor);
    assert.deepEqual(await itemsOf(visitor, "email/held"), []);
    assert.equal((await itemsOf(visitor, "email/detections")).length, 1);
  });

  test("cannot be taken once the mailbox that it was found in is disconnected, and can be refused", async () => {
    await using story = await anasMail();
    const { t, visitor } = story;
    const other = await t.signIn(jonas);
    await t.idle();
    await sendAndRead(t, { from: stranger, to: [jonas, anasAssistant], text: "Buy!" });
    const [held] = await itemsOf(visitor, "email/held");
    await other.call("POST", "/api/v1/auth/google/token/revoke", {});
    const decide = (wish: string) => visitor.call("POST", `/api/v1/email/held/${held.id}/${wish}`);
    const refusal = await decide("accept");
    assert.equal(refusal.status, 409);
    assert.match(refusal.body.detail, /no longer connected/);
    assert.equal((await itemsOf(visitor, "email/held")).length, 1);
    assert.equal((await decide("refuse")).status, 200);
  });

  test("who says to be the owner without proof, is held; the owner is not", async () => {
    await using story = await anasMail({ withAssistant: true });
    const { t, visitor } = story;
    const mail = { from: ana, to: anasAssistant, text: "x" };
    await sendAndRead(t, { ...mail, subject: "Forged", authentication: "fail" });
    await sendAndRead(t, { ...mail, subject: "Unchecked", authentication: "none" });
    assert.deepEqual(await documentsOf(visitor), []);
    const held = await itemsOf(visitor, "email/held");
    assert.deepEqual(held.map(({ subject }) => subject).sort(), ["Forged", "Unchecked"]);
    assert.match(held[0].reason, /not proven/);
    await sendAndRead(t, { ...mail, subject: "Real" });
    assert.deepEqual(
      (await documentsOf(visitor)).map(({ title }) => title),
      ["Real"],
    );
  });

  test("counts from when the owner lets them: a colleague, a list, a domain, anyone", async () => {
    await using story = await anasMail({ withAssistant: true });
    const { t, visitor } = story;
    const trust = (body: object) => visitor.call("PUT", "/api/v1/email/trust", body);
    assert.deepEqual((await visitor.call("GET", "/api/v1/email/trust")).body, {
      mode: "only_me",
      senders: [],
    });
    for (const wrong of [
      { mode: "list", senders: ["not an address"] },
      { mode: "everyone" },
      { mode: "list", senders: ["a@example.com, b@example.com"] },
    ])
      assert.equal((await trust(wrong)).status, 422, JSON.stringify(wrong));
    const steps: [body: object, from: string][] = [
      [{ mode: "my_domain" }, jonas],
      [{ mode: "list", senders: [" Client@Example.NET "] }, "client@example.net"],
      [{ mode: "list", senders: ["@example.net"] }, "other@example.net"],
      [{ mode: "anyone" }, "who@example.org"],
    ];
    for (const [index, [body, from]] of steps.entries()) {
      assert.equal((await trust(body)).status, 200);
      await sendAndRead(t, { from, to: anasAssistant, subject: `${index}`, text: "x" });
      assert.equal((await documentsOf(visitor)).length, index + 1, from);
    }
  });
});

const fileOf = (text: string) => text.padEnd(30, "0");

/** A mail as its reader's server would have kept it, and as anybody can put it into a mailbox of their own. */
function mailAs(t: TestApp, text: string, from = ana): { raw: string } {
  const head = [
    `Authentication-Results: mx.google.com; dmarc=pass header.from=${from.split("@")[1]}`,
    `From: ${from}`,
    `To: ${anasAssistant}`,
    `Subject: ${text}`,
    `Date: ${new Date(t.clock.now().setMilliseconds(0)).toUTCString()}`,
    "Message-ID: <same@example.com>",
  ];
  return {
    raw: [...head, "", `${text} https://docs.google.com/document/d/${fileOf(text)}/edit`].join(
      "\n",
    ),
  };
}

/** Ana, and another user, who has put a mail to Ana's assistant into her own mailbox. */
async function anaAndPlanted(options: Parameters<typeof anasMail>[0], from = ana) {
  const story = await anasMail(options);
  await story.t.signIn(zoe);
  await story.t.idle();
  const genuine = mailAs(story.t, "Genuine", from);
  story.t.google.gmail.inject(zoe, mailAs(story.t, "Planted", from));
  await readMail(story.t);
  return { ...story, genuine };
}

describe("a mail in the mailbox of another user, who can put anything there", () => {
  for (const mode of ["only_me", "my_domain", "list", "anyone"])
    test(`waits for the owner who lets ${mode}, whatever it says to have proved`, async () => {
      await using story = await anasMail({ withAssistant: true });
      const { t, visitor } = story;
      const trust = { mode, ...(mode === "list" ? { senders: [ana] } : {}) };
      assert.equal((await visitor.call("PUT", "/api/v1/email/trust", trust)).status, 200);
      await t.signIn(zoe);
      await t.idle();
      t.google.gmail.inject(zoe, mailAs(t, "Planted"));
      await readMail(t);
      assert.deepEqual(await documentsOf(visitor), []);
      assert.deepEqual(bodiesRead(t), []);
      const [held] = await itemsOf(visitor, "email/held");
      assert.match(held.reason, /not proven: it was found in another user's mailbox/);
      await visitor.call("POST", `/api/v1/email/held/${held.id}/accept`);
      await t.idle();
      assert.equal((await onlyDocument(visitor)).title, "Planted");
    });

  const places = [ana, "ai@example.com"] as const;
  for (const place of places) {
    test(`gives way to the same mail in ${place}: held, refused or taken, it is one document of that`, async () => {
      for (const wish of [null, "refuse", "accept"]) {
        await using story = await anaAndPlanted({ withAssistant: true, workflow: true });
        const { t, visitor, genuine } = story;
        const [held] = await itemsOf(visitor, "email/held");
        if (wish) await visitor.call("POST", `/api/v1/email/held/${held.id}/${wish}`);
        await t.idle();
        t.google.gmail.inject(place, genuine);
        await readMail(t);
        for (let time = 0; time < 2; time += 1) await readMail(t);
        const document = await onlyDocument(visitor);
        assert.equal(document.title, "Genuine");
        assert.match(document.text, /^Genuine/);
        assert.deepEqual(
          document.links.map(({ file_id }: { file_id: string }) => file_id),
          [fileOf("Genuine")],
        );
        assert.deepEqual(await itemsOf(visitor, "email/held"), []);
        const told = t.n8n.received.map(({ body }) => body.title);
        assert.deepEqual(told, wish === "accept" ? ["Planted", "Genuine"] : ["Genuine"]);
      }
    });
  }

  test("changes nothing about what was found in its owner's own mailbox or the assistant's", async () => {
    for (const place of places) {
      await using story = await anasMail({ withAssistant: true });
      const { t, visitor } = story;
      await t.signIn(zoe);
      t.google.gmail.inject(place, mailAs(t, "Genuine"));
      await readMail(t);
      t.google.gmail.inject(zoe, mailAs(t, "Planted"));
      await readMail(t);
      assert.match((await onlyDocument(visitor)).text, /^Genuine/);
    }
  });

  test("gives way to a mail that the assistant's mailbox holds, and where it was taken, to one of a proven sender", async () => {
    for (const wish of [null, "accept"]) {
      await using story = await anaAndPlanted({ withAssistant: true }, stranger);
      const { t, visitor, genuine } = story;
      const [held] = await itemsOf(visitor, "email/held");
      const decide = (one: string) => visitor.call("POST", `/api/v1/email/held/${held.id}/${one}`);
      if (wish) await decide(wish);
      await t.idle();
      t.google.gmail.inject("ai@example.com", genuine);
      await readMail(t);
      if (!wish) {
        assert.partialDeepStrictEqual(await itemsOf(visitor, "email/held"), [
          { subject: "Genuine" },
        ]);
        await decide("accept");
        await t.idle();
      }
      const document = await onlyDocument(visitor);
      assert.match(document.text, /^Genuine/);
      const why = await visitor.call("GET", `/api/v1/documents/${document.id}/why`);
      assert.partialDeepStrictEqual(why.body.taken, {
        rule: "owner",
        inputs: { mailbox: "assistant" },
      });
    }
  });

  test("that its owner took is not written over by one that nothing proves", async () => {
    await using story = await anaAndPlanted({ withAssistant: true }, stranger);
    const { t, visitor } = story;
    const [held] = await itemsOf(visitor, "email/held");
    await visitor.call("POST", `/api/v1/email/held/${held.id}/accept`);
    await t.idle();
    const { raw } = mailAs(t, "Forged", stranger);
    t.google.gmail.inject("ai@example.com", { raw: raw.replace("dmarc=pass", "dmarc=fail") });
    await readMail(t);
    assert.match((await onlyDocument(visitor)).text, /^Planted/);
  });
});
