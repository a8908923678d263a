import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { addFault, clearFaults } from "../../sandbox/google/faults.ts";
import { type AddressedMail, recordMails } from "../../src/documents/mail.ts";
import { untilItWaits } from "../database.ts";
import {
  ana,
  anasAssistant,
  anasMail,
  bodiesRead,
  chooseName,
  documentsOf,
  itemsOf,
  jonas,
  onlyDocument,
  readMail,
  sendAndRead,
} from "../mails.ts";
import { until } from "../timing.ts";

describe("a mail to the assistant", () => {
  test("becomes a document with its subject, people, text and files, and nothing else is read", async () => {
    await using story = await anasMail();
    const { t, visitor } = story;
    await t.google.gmail.send({ from: jonas, to: ana, subject: "Private", text: "none of yours" });
    const { ids } = await sendAndRead(t, {
      from: "Jonas Weber <jonas.weber@example.com>",
      to: "Ana Moreno <ana@example.com>",
      cc: `"Helper, the" <${anasAssistant}>`,
      subject: "Grüße aus Köln",
      text: "Let us meet.\n\n-- \nJonas\n\nOn Monday Ana wrote:\n> Shall we?",
      attachments: [{ filename: "plan.pdf", content: "%PDF" }],
    });
    const document = await onlyDocument(visitor);
    assert.partialDeepStrictEqual(document, {
      title: "Grüße aus Köln",
      author: "Jonas Weber <jonas.weber@example.com>",
      type: "email",
      source: "gmail",
      source_id: ids[ana],
      project_id: null,
    });
    assert.equal(document.text, "Let us meet.");
    assert.match(document.signature, /Jonas/);
    assert.match(document.quoted, /Shall we\?/);
    assert.equal(document.attachments[0].name, "plan.pdf");
    assert.equal(document.attachments[0].type, "application/pdf");
    assert.deepEqual(
      document.recipients.map(({ type, address }: { type: string; address: string }) => [
        type,
        address,
      ]),
      [
        ["to", ana],
        ["cc", anasAssistant],
      ],
    );
    assert.match(document.source_url, new RegExp(`#all/${ids[ana]}$`));
    assert.deepEqual(bodiesRead(t), [ids[ana]]);
    const [detection] = await itemsOf(visitor, "email/detections");
    assert.partialDeepStrictEqual(detection, {
      virtual_email: anasAssistant,
      email_type: "cc",
      gmail_message_id: ids[ana],
      document_id: document.id,
    });
    const why = await visitor.call("GET", `/api/v1/email/messages/${ids[ana]}/why`);
    assert.equal(why.body.rule, "own_mailbox");
  });

  test("counts when its owner writes it, and not while it is a draft, in spam or in the trash", async () => {
    await using story = await anasMail();
    const { t, visitor } = story;
    const raw = `From: ${ana}\nTo: client@example.net\nCc: ${anasAssistant}\nSubject: Draft\nMessage-ID: <d1@example.com>\n\nhello`;
    const first = t.google.gmail.saveDraft(ana, raw);
    t.google.gmail.saveDraft(ana, `${raw} again`, first);
    const spam = t.google.gmail.inject(ana, {
      raw: raw.replaceAll("Draft", "Spam").replace("d1@", "d2@"),
      labels: ["SPAM"],
    });
    const trashed = t.google.gmail.inject(ana, {
      raw: raw.replaceAll("Draft", "Gone").replace("d1@", "d3@"),
    });
    t.google.gmail.label(ana, trashed, { add: ["TRASH"], remove: ["INBOX"] });
    await readMail(t);
    assert.deepEqual(await documentsOf(visitor), []);
    assert.deepEqual(bodiesRead(t), []);
    await sendAndRead(t, {
      from: ana,
      to: "client@example.net",
      bcc: anasAssistant,
      subject: "Sent",
      text: "x",
    });
    assert.deepEqual(
      (await documentsOf(visitor)).map(({ title }) => title),
      ["Sent"],
    );
    t.google.gmail.label(ana, spam, { remove: ["SPAM"], add: ["INBOX"] });
    await readMail(t);
    assert.deepEqual((await documentsOf(visitor)).map(({ title }) => title).sort(), [
      "Sent",
      "Spam",
    ]);
  });

  test("and others in two mailboxes, in another order, are written by both at once", async () => {
    await using story = await anasMail({ withAssistant: true });
    const { t } = story;
    const feeds = await t.app.db
      .selectFrom("feeds")
      .select(["id", "user_id"])
      .where("kind", "=", "gmail")
      .execute();
    const to = [{ username: "ana", address: anasAssistant, type: "to" as const }];
    const [one, middle, other] = ["one", "middle", "other"].map((id) => {
      const headers = [{ name: "Message-ID", value: `<${id}@example.com>` }];
      const receivedAt = t.clock.now();
      return { head: { id, threadId: id, labels: [], snippet: "", receivedAt, headers }, to };
    });
    assert.ok(one && middle && other && feeds[0] && feeds[1]);
    const write = ({ id, user_id }: { id: string; user_id: string }, mails: AddressedMail[]) => {
      const mailbox = { feedId: id, userId: user_id, account: id, isAssistants: false };
      return t.app.db.transaction().execute((tx) => recordMails(t.app, tx, mailbox, mails));
    };
    const [first, second] = feeds;
    const { writing } = await t.app.db.transaction().execute(async (tx) => {
      const mailbox = { feedId: first.id, userId: first.user_id, account: "", isAssistants: false };
      await recordMails(t.app, tx, mailbox, [middle]);
      const writing = Promise.all([
        write(first, [one, middle, other]),
        write(second, [other, middle, one]),
      ]);
      await untilItWaits(t.app.db, writing, 2);
      return { writing };
    });
    await writing;
  });

  test("in two mailboxes is one document for each user that it names, and unknown names are logged", async () => {
    await using story = await anasMail({ withAssistant: true });
    const { t, visitor } = story;
    const other = await t.signIn(jonas);
    await chooseName(other, "jonas");
    await t.idle();
    await sendAndRead(t, {
      from: ana,
      to: [jonas, "AI+Jonas@EXAMPLE.com"],
      cc: [anasAssistant, "ai+nobody@example.com"],
      subject: "For both",
      text: "Hello",
    });
    const anas = await onlyDocument(visitor);
    const jonass = await onlyDocument(other);
    assert.notEqual(anas.id, jonass.id);
    for (const [who, document] of [
      [visitor, anas],
      [other, jonass],
    ] as const) {
      const seen = await itemsOf(who, "email/detections");
      assert.deepEqual(
        seen.map(({ document_id }) => document_id),
        [document.id],
      );
    }
    for (let time = 0; time < 2; time += 1) await readMail(t);
    await onlyDocument(visitor);
    const logs = await t.app.db
      .selectFrom("email_processing_logs")
      .selectAll()
      .orderBy("inbound_address")
      .execute();
    assert.deepEqual(
      logs.map(({ inbound_address, status }) => [inbound_address, status]),
      [
        [anasAssistant, "processed"],
        ["ai+jonas@example.com", "processed"],
        ["ai+nobody@example.com", "user_not_found"],
      ],
    );
    assert.equal(
      (await itemsOf(other, "email/detections"))[0].virtual_email,
      "ai+jonas@example.com",
    );
  });

  test("is found in the assistant's mailbox alone, as from people who use no Google", async () => {
    await using story = await anasMail({ withAssistant: true });
    const { t, visitor } = story;
    await visitor.call("PUT", "/api/v1/email/trust", {
      mode: "list",
      senders: ["client@example.net"],
    });
    await sendAndRead(t, {
      from: "client@example.net",
      to: "x@example.org",
      bcc: anasAssistant,
      subject: "Offer",
      text: "1",
    });
    const document = await onlyDocument(visitor);
    assert.equal(document.title, "Offer");
    assert.equal((await itemsOf(visitor, "email/detections"))[0].email_type, "bcc");
    const why = await visitor.call("GET", `/api/v1/documents/${document.id}/why`);
    assert.equal(why.body.taken.rule, "listed");
  });

  test("that is deleted before it is read leaves a log line, and delays nothing", async () => {
    await using story = await anasMail();
    const { t, visitor } = story;
    const mail = { from: jonas, to: [ana, anasAssistant], text: "x" };
    const { ids } = await t.google.gmail.send({ ...mail, subject: "Gone" });
    t.google.gmail.remove(ana, ids[ana]!);
    await sendAndRead(t, { ...mail, subject: "Here" });
    assert.deepEqual(
      (await documentsOf(visitor)).map(({ title }) => title),
      ["Here"],
    );
  });

  test("that cannot be understood is recorded, and the others go on", async () => {
    await using story = await anasMail();
    const { t, visitor } = story;
    const mail = { from: jonas, to: [ana, anasAssistant], text: "x" };
    const { ids } = await t.google.gmail.send({ ...mail, subject: "Odd" });
    t.google.gmail.makeMalformed(ana, ids[ana]!, { id: ids[ana], internalDate: "never" });
    await sendAndRead(t, { ...mail, subject: "Even" });
    assert.deepEqual(
      (await documentsOf(visitor)).map(({ title }) => title),
      ["Even"],
    );
    const skipped = await t.app.db.selectFrom("skipped_changes").selectAll().execute();
    assert.equal(skipped.length, 1);
  });
});

describe("a mailbox's history", () => {
  test("is read in all its pages, empty ones too, and ids are numbers of any size", async () => {
    await using story = await anasMail();
    const { t, visitor } = story;
    t.google.gmail.pages.emptyPages = true;
    t.google.gmail.pages.pageSizeCap = 2;
    // 999… becomes 1000…: as a text it would be older.
    t.google.gmail.setHistoryId(ana, 999_999_999_999_999_990n);
    for (let mail = 0; mail < 7; mail += 1) {
      await t.google.gmail.send({
        from: jonas,
        to: [ana, anasAssistant],
        subject: `${mail}`,
        text: "x",
      });
    }
    await readMail(t);
    assert.equal((await documentsOf(visitor)).length, 7);
    const feed = await t.app.db
      .selectFrom("feeds")
      .selectAll()
      .where("kind", "=", "gmail")
      .executeTakeFirstOrThrow();
    assert.equal(feed.cursor, String(t.google.gmail.historyId(ana)));
    t.google.state.requests.length = 0;
    await readMail(t);
    assert.deepEqual(
      t.google.state.requests.flatMap(({ endpoint }) =>
        endpoint.startsWith("gmail") ? [endpoint] : [],
      ),
      ["gmail.history.list"],
    );
  });

  test("that Gmail has forgotten is made up for by a search, once, and what came meanwhile is there", async () => {
    await using story = await anasMail();
    const { t, visitor } = story;
    await readMail(t);
    for (let mail = 0; mail < 3; mail += 1) {
      await t.google.gmail.send({
        from: jonas,
        to: [ana, anasAssistant],
        subject: `${mail}`,
        text: "x",
      });
      await t.google.gmail.send({ from: jonas, to: ana, subject: "other", text: "x" });
    }
    t.google.gmail.forgetHistory(ana);
    t.google.gmail.pages.pageSizeCap = 2;
    t.google.state.requests.length = 0;
    // Until then nothing is due, and nobody looks halfway.
    t.clock.advance(11 * 60_000);
    await readMail(t);
    assert.equal((await documentsOf(visitor)).length, 3);
    const calls = Map.groupBy(t.google.state.requests, ({ endpoint }) => endpoint);
    // Only what names the assistant is found, and nothing else is looked at.
    assert.equal(calls.get("gmail.messages.get.metadata")?.length, 3);
    assert.equal(calls.get("gmail.getProfile")?.length, 1);
    t.google.state.requests.length = 0;
    await readMail(t);
    assert.equal(
      t.google.state.requests.some(({ endpoint }) => endpoint === "gmail.messages.list"),
      false,
    );
  });

  test("that came while a long look went on is found where Gmail has forgotten it before the next", async () => {
    await using story = await anasMail();
    const { t, visitor } = story;
    await readMail(t);
    t.google.state.requests.length = 0;
    addFault(t.google.state, { endpoint: "gmail.history.list", holdMs: 1_000 });
    const looking = readMail(t);
    await until(() =>
      t.google.state.requests.some(({ endpoint }) => endpoint.endsWith("history.list")),
    );
    await sleep(300);
    t.clock.advance(60 * 60_000);
    await t.google.gmail.send({
      from: jonas,
      to: [ana, anasAssistant],
      subject: "Late",
      text: "x",
    });
    t.google.gmail.forgetHistory(ana);
    t.clock.advance(60 * 60_000);
    await looking;
    await readMail(t);
    assert.equal((await onlyDocument(visitor)).title, "Late");
  });

  test("that lies twice in one page is the copy that came first", async () => {
    await using story = await anasMail();
    const { t, visitor } = story;
    await readMail(t);
    const mail = { messageId: "<twice@example.net>", date: t.clock.now(), from: jonas, text: "x" };
    const ids: (string | undefined)[] = [];
    for (let copy = 0; copy < 3; copy += 1) {
      const sent = await t.google.gmail.send({ ...mail, to: [ana, anasAssistant] });
      ids.push(sent.ids[ana]);
      t.clock.advance(60_000);
    }
    // A search brings the latest first.
    t.google.gmail.forgetHistory(ana);
    t.clock.advance(11 * 60_000);
    await readMail(t);
    const { id, source_id } = await onlyDocument(visitor);
    assert.equal(source_id, ids[0]);
    const seen = await itemsOf(visitor, "email/detections");
    assert.deepEqual(
      seen.map(({ document_id }) => document_id),
      [id],
    );
  });

  test("that lies twice in one page is the copy that is taken, whichever came first", async () => {
    await using story = await anasMail({ withAssistant: true });
    const { t, visitor } = story;
    await readMail(t);
    const mail = { messageId: "<twice@example.net>", date: t.clock.now(), from: ana, text: "x" };
    for (const authentication of ["fail", "pass"] as const) {
      await t.google.gmail.send({ ...mail, to: anasAssistant, authentication });
    }
    await readMail(t);
    await onlyDocument(visitor);
    assert.deepEqual(await itemsOf(visitor, "email/held"), []);
  });

  test("that Gmail has forgotten also has what came by a list, which names the assistant only in its delivery", async () => {
    await using story = await anasMail();
    const { t, visitor } = story;
    await readMail(t);
    await t.google.gmail.send({
      from: ana,
      to: "list@example.net",
      alsoTo: [ana],
      headers: { "Delivered-To": anasAssistant },
      subject: "By a list",
      text: "x",
    });
    t.google.gmail.forgetHistory(ana);
    await readMail(t);
    assert.deepEqual(
      (await documentsOf(visitor)).map(({ title }) => title),
      ["By a list"],
    );
  });

  test("that is refused every time does not make it search in circles", async () => {
    await using story = await anasMail();
    const { t } = story;
    await readMail(t);
    t.google.state.requests.length = 0;
    const faults = { endpoint: "gmail.history.list", status: 404, times: null };
    addFault(t.google.state, faults);
    const feed = await t.app.db
      .selectFrom("feeds")
      .select(["user_id"])
      .where("kind", "=", "gmail")
      .executeTakeFirstOrThrow();
    await t.asService("POST", `/api/v1/sync/gmail/${feed.user_id}`);
    const searches = t.google.state.requests.filter(
      ({ endpoint }) => endpoint === "gmail.messages.list",
    );
    assert.ok(searches.length <= 2, `${searches.length} searches`);
    clearFaults(t.google.state);
    t.clock.advance(3_600_000);
    await readMail(t);
  });

  test("of a large mailbox comes as fast as the quota allows: a pause after progress is no longer than the first", async () => {
    await using story = await anasMail();
    const { t } = story;
    t.google.gmail.pages.pageSizeCap = 1;
    for (let index = 0; index < 8; index += 1)
      await t.google.gmail.send({ from: jonas, to: [ana], subject: `${index}`, text: "x" });
    const waits = [];
    for (let time = 0; time < 6; time += 1) {
      addFault(t.google.state, { endpoint: "gmail.history.list", status: 429, skip: 1 });
      t.clock.advance(time === 0 ? 3_600_000 : 30_000);
      await t.idle();
      const { failures, retry_at } = await t.app.db
        .selectFrom("feeds")
        .select(["failures", "retry_at"])
        .where("kind", "=", "gmail")
        .executeTakeFirstOrThrow();
      assert.equal(failures, 1);
      waits.push((retry_at?.getTime() ?? 0) - t.clock.now().getTime());
    }
    assert.ok(Math.max(...waits) < 20_000, waits.join(", "));
  });

  test("of which one page names more than a minute's quota reads comes in portions, each mail once", async () => {
    for (const how of ["history", "search"]) {
      const environment = { GOOGLE_GMAIL_USER_QUOTA: "1000000" };
      await using story = await anasMail({ environment });
      const { t, visitor } = story;
      t.google.gmail.pages.changesPerRecord = 1_000;
      const send = (subject: string) =>
        t.google.gmail.send({ from: ana, to: [jonas, anasAssistant], subject, text: "x" });
      const sent = [];
      for (let mail = 0; mail < 60; mail += 1) sent.push((await send(`${mail}`)).ids[ana]!);
      if (how === "search") t.google.gmail.forgetHistory(ana);
      t.google.state.requests.length = 0;
      for (let minute = 0; minute < 6; minute += 1) {
        const heads = { endpoint: "gmail.messages.get.metadata", status: 429, times: null };
        addFault(t.google.state, { ...heads, skip: 30 });
        t.clock.advance(minute === 0 ? 3_600_000 : 60_000);
        await t.idle();
        clearFaults(t.google.state);
        if (minute > 0) continue;
        // Google's page would be another by now.
        for (const id of sent.slice(0, 3).concat(sent.slice(-3))) t.google.gmail.remove(ana, id);
        await send("meanwhile");
      }
      const documents = await itemsOf(visitor, "documents?limit=100");
      const subjects = documents.map(({ title }) => title);
      assert.equal(new Set(subjects).size, subjects.length);
      for (const subject of [...Array.from(sent.keys()).slice(3, -3), "meanwhile"])
        assert.ok(subjects.includes(String(subject)), `${how}: ${subject}`);
      const answered = t.google.state.requests.filter(
        ({ endpoint, status }) => endpoint === "gmail.messages.get.metadata" && status === 200,
      );
      assert.ok(answered.length <= 61 + 4 * 20, `${answered.length} heads were read`);
    }
  });

  test("that lags behind what Gmail told of it is asked again shortly", async () => {
    await using story = await anasMail({ push: true });
    const { t, visitor } = story;
    t.google.gmail.pages.historyLagMs = 3_600_000;
    const mail = { from: jonas, to: [ana, anasAssistant], subject: "Late", text: "x" };
    await t.google.gmail.send(mail);
    await t.idle();
    assert.deepEqual(await documentsOf(visitor), []);
    const feed = await t.app.db
      .selectFrom("feeds")
      .selectAll()
      .where("kind", "=", "gmail")
      .executeTakeFirstOrThrow();
    assert.partialDeepStrictEqual(feed.due_reason, { rule: "told" });
    t.google.gmail.pages.historyLagMs = 0;
    t.clock.advance(2_000);
    await t.idle();
    assert.equal((await documentsOf(visitor)).length, 1);
  });
});
