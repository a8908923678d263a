import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, beforeEach, describe, test } from "node:test";
import { type gmail_v1, gmail as officialClient } from "@googleapis/gmail";
import { OAuth2Client } from "google-auth-library";
import { createRemoteJWKSet, importPKCS8, jwtVerify, SignJWT } from "jose";
import { usualTopic } from "../pubsub.ts";
import { openSandboxGoogle, type SandboxGoogle } from "../server.ts";
import { redirectUri, scope, signIn } from "../test-client.ts";
import { headersOf } from "./store.ts";

const ana = "ana@example.com";
const jonas = "jonas.weber@example.com";
const subscription = "projects/sandbox-project/subscriptions/daybook";

describe("the sandbox's Gmail", () => {
  let google: SandboxGoogle;
  let anas: gmail_v1.Gmail;
  before(async () => {
    google = await openSandboxGoogle({ redirectUris: [redirectUri] });
    await google.listen();
  });
  after(() => google[Symbol.asyncDispose]());
  beforeEach(async () => {
    google.state.reset();
    anas = await clientOf(scope.gmail);
  });

  async function clientOf(...scopes: string[]): Promise<gmail_v1.Gmail> {
    const auth = new OAuth2Client();
    auth.setCredentials(await signIn(google, { person: ana }, { scope: ["openid", ...scopes] }));
    return officialClient({ version: "v1", auth, rootUrl: `${google.url}/`, retry: false });
  }

  const me = { userId: "me" };
  const refusalOf = (call: Promise<unknown>) =>
    call.then(
      () => assert.fail("it was not refused"),
      ({ response }) => [response.status, response.data.error.errors[0].reason],
    );
  const profile = async () => (await anas.users.getProfile(me)).data;
  const history = async (startHistoryId: string, more = {}) =>
    (await anas.users.history.list({ ...me, startHistoryId, ...more })).data;
  const found = async (q: string) =>
    ((await anas.users.messages.list({ ...me, q })).data.messages ?? []).map(({ id }) => id);

  test("delivers a mail to who has a mailbox, whatever stands behind a plus, and keeps it with the sender", async () => {
    const mail = {
      from: jonas,
      to: "Ana <ana+news@example.com>, who@example.net",
      bcc: "ai+jonas@example.com",
    };
    const { ids } = await google.gmail.send({ ...mail, subject: "Grüße", text: "Hallo" });
    assert.deepEqual(Object.keys(ids).sort(), ["ai@example.com", ana, jonas]);
    const { data } = await anas.users.messages.get({ ...me, id: ids[ana]!, format: "full" });
    const header = (name: string) => data.payload?.headers?.find((one) => one.name === name)?.value;
    assert.deepEqual(data.labelIds, ["INBOX", "UNREAD", "CATEGORY_PERSONAL"]);
    assert.equal(header("Delivered-To"), "ana+news@example.com");
    assert.match(header("Authentication-Results") ?? "", /^mx\.google\.com;.*dmarc=pass/s);
    assert.equal(header("Bcc"), undefined);
    assert.equal(
      Buffer.from(data.payload?.body?.data ?? "", "base64url")
        .toString()
        .trim(),
      "Hallo",
    );
    const sent = google.gmail.messages(jonas).at(-1)!;
    assert.deepEqual([...sent.labels], ["SENT"]);
    assert.ok(headersOf(sent).some(({ name }) => name === "Bcc"));
  });

  test("shows a mail in four formats, its files by ids that change, and no body in two of them", async () => {
    const attachments = [{ filename: "a.txt", content: "one\r\ntwo" }];
    const mail = {
      from: jonas,
      to: ana,
      subject: "Both",
      text: "plain",
      html: "<b>rich</b>",
      attachments,
    };
    const id = (await google.gmail.send(mail)).ids[ana]!;
    const get = async (format: string, more = {}) =>
      (await anas.users.messages.get({ ...me, id, format, ...more })).data;
    const full = await get("full");
    assert.equal(full.payload?.mimeType, "multipart/mixed");
    const [body, file] = full.payload?.parts ?? [];
    assert.deepEqual(
      body?.parts?.map(({ partId, mimeType }) => [partId, mimeType]),
      [
        ["0.0", "text/plain"],
        ["0.1", "text/html"],
      ],
    );
    assert.equal(file?.filename, "a.txt");
    assert.equal(file?.body?.data, undefined);
    const again = (await get("full")).payload?.parts?.[1]?.body?.attachmentId;
    assert.notEqual(again, file?.body?.attachmentId);
    const bytes = await anas.users.messages.attachments.get({ ...me, messageId: id, id: again! });
    assert.equal(Buffer.from(bytes.data.data ?? "", "base64url").toString(), "one\r\ntwo");
    const head = await get("metadata", { metadataHeaders: ["subject"] });
    assert.deepEqual(head.payload?.headers, [{ name: "Subject", value: "Both" }]);
    assert.equal(JSON.stringify(head).includes("rich"), false);
    assert.equal((await get("minimal")).payload, undefined);
    assert.match(Buffer.from((await get("raw")).raw ?? "", "base64url").toString(), /<b>rich<\/b>/);
    assert.deepEqual(
      google.state.requests.slice(-3).map(({ endpoint }) => endpoint),
      ["metadata", "minimal", "raw"].map((format) => `gmail.messages.get.${format}`),
    );
    assert.deepEqual(await refusalOf(anas.users.messages.get({ ...me, id: "none" })), [
      404,
      "notFound",
    ]);
  });

  test("tells what happened since an id: added, labelled, deleted, by type and in pages", async () => {
    const { historyId } = await profile();
    const start = String(historyId);
    assert.deepEqual(await history(start), { historyId });
    const id = (await google.gmail.send({ from: jonas, to: ana, subject: "One" })).ids[ana]!;
    google.gmail.label(ana, id, { add: ["TRASH"], remove: ["INBOX"] });
    google.gmail.remove(ana, id);
    const all = await history(start);
    const kinds = all.history?.map((record) =>
      Object.keys(record).filter((key) => !/^(id|messages)$/.test(key)),
    );
    assert.deepEqual(kinds?.flat(), [
      "messagesAdded",
      "labelsAdded",
      "labelsRemoved",
      "messagesDeleted",
    ]);
    assert.equal(all.historyId, String(google.gmail.historyId(ana)));
    const added = await history(start, { historyTypes: ["messageAdded"] });
    assert.equal(added.history?.length, 1);
    google.gmail.pages.pageSizeCap = 3;
    google.gmail.pages.emptyPages = true;
    const seen: unknown[] = [];
    let pageToken: string | undefined;
    do {
      const page = await history(start, pageToken ? { pageToken } : {});
      seen.push(page.history?.length ?? null);
      pageToken = page.nextPageToken ?? undefined;
    } while (pageToken);
    assert.deepEqual(seen, [null, 3, 1]);
    google.gmail.forgetHistory(ana);
    assert.deepEqual(await refusalOf(history(start)), [404, "notFound"]);
    assert.deepEqual(await history(String((await profile()).historyId)), {
      historyId: (await profile()).historyId,
    });
  });

  test("searches by addresses as words, by time to the second, and leaves out spam and trash", async () => {
    const send = async (mail: object) =>
      (await google.gmail.send({ from: jonas, to: ana, ...mail })).ids[ana]!;
    const one = await send({ subject: "Alpha plan", cc: "ai+ana@example.com" });
    google.clock.advance(60_000);
    const from = Math.floor(google.clock.now().getTime() / 1000);
    const two = await send({ subject: "Beta", text: "the plan" });
    google.gmail.label(ana, await send({ subject: "Gamma plan" }), { add: ["SPAM"] });
    assert.deepEqual(await found("cc:ai"), [one]);
    assert.deepEqual(await found("cc:a"), []);
    assert.deepEqual(await found(`after:${from} (cc:ai OR from:jonas)`), [two]);
    assert.deepEqual(await found("subject:plan -cc:ai"), []);
    assert.deepEqual(await found('"the plan"'), [two]);
    assert.deepEqual(await found("{subject:beta subject:alpha}"), [two, one]);
    assert.equal((await found("plan in:anywhere")).length, 3);
    google.gmail.pages.pageSizeCap = 1;
    const first = (await anas.users.messages.list({ ...me, q: "from:jonas" })).data;
    assert.equal(first.messages?.[0]?.id, two);
    const rest = await anas.users.messages.list({
      ...me,
      q: "from:jonas",
      pageToken: first.nextPageToken!,
    });
    assert.deepEqual(
      rest.data.messages?.map(({ id }) => id),
      [one],
    );
    assert.equal(rest.data.nextPageToken, undefined);
  });

  test("lets who may read headers read neither bodies nor search, and nobody read another's mail", async () => {
    const id = (await google.gmail.send({ from: jonas, to: ana, text: "secret" })).ids[ana]!;
    const heads = await clientOf("https://www.googleapis.com/auth/gmail.metadata");
    assert.ok((await heads.users.messages.get({ ...me, id, format: "metadata" })).data.payload);
    const refused = [403, "insufficientPermissions"];
    assert.deepEqual(await refusalOf(heads.users.messages.get({ ...me, id })), refused);
    assert.deepEqual(await refusalOf(heads.users.messages.list({ ...me, q: "x" })), refused);
    assert.deepEqual(await refusalOf(anas.users.messages.list({ userId: jonas })), [
      403,
      "forbidden",
    ]);
    const calendar = await clientOf(scope.calendar);
    assert.deepEqual(await refusalOf(calendar.users.getProfile(me)), refused);
  });

  test("watches a mailbox for one topic of its own project, and says at once how far it is", async () => {
    const watch = (topicName: string) => anas.users.watch({ ...me, requestBody: { topicName } });
    const inbox: unknown[] = [];
    google.pubsub.publish = ((publish) => (topic, content) => {
      inbox.push(content);
      publish(topic, content);
    })(google.pubsub.publish);
    const { historyId, expiration } = (await watch(usualTopic)).data;
    assert.equal(historyId, String(google.gmail.historyId(ana)));
    const days = (Number(expiration) - google.clock.now().getTime()) / 86_400_000;
    assert.ok(Math.abs(days - 7) < 0.01);
    assert.deepEqual(await refusalOf(watch("projects/other/topics/x")), [400, "invalidArgument"]);
    assert.deepEqual(await refusalOf(watch("projects/sandbox-project/topics/none")), [
      404,
      "notFound",
    ]);
    const other = "projects/sandbox-project/topics/other";
    google.pubsub.topics.set(other, { name: other, letsGmailPublish: true });
    assert.deepEqual(await refusalOf(watch(other)), [400, "failedPrecondition"]);
    await anas.users.stop(me);
    await watch(other);
    google.pubsub.topics.set(other, { name: other, letsGmailPublish: false });
    assert.deepEqual(await refusalOf(watch(other)), [403, "forbidden"]);
  });

  test("pushes with a token for the endpoint, drops more than one a second, and comes back until it is taken", async () => {
    const received: { authorization: string; body: string }[] = [];
    const statuses = [500, 204];
    const hook = createServer((request, response) => {
      let body = "";
      request.on("data", (part) => {
        body += part;
      });
      request.on("end", () => {
        received.push({ authorization: request.headers.authorization ?? "", body });
        response.writeHead(statuses.shift() ?? 204).end();
      });
    }).listen(0, "127.0.0.1");
    await new Promise((resolve) => hook.once("listening", resolve));
    const port = (hook.address() as { port: number }).port;
    const serviceAccount = "push@sandbox-project.example.com";
    const endpoint = `http://127.0.0.1:${port}/hook`;
    google.pubsub.subscribe({
      name: subscription,
      topic: usualTopic,
      push: { endpoint, serviceAccount },
    });
    await anas.users.watch({ ...me, requestBody: { topicName: usualTopic } });
    await google.gmail.settled();
    assert.equal(received.length, 2);
    const { message, subscription: named } = JSON.parse(received[1]?.body ?? "");
    assert.equal(named, subscription);
    assert.equal(message.messageId, message.message_id);
    assert.deepEqual(JSON.parse(Buffer.from(message.data, "base64").toString()), {
      emailAddress: ana,
      historyId: Number(google.gmail.historyId(ana)),
    });
    const keys = createRemoteJWKSet(new URL(`${google.url}/oauth2/v3/certs`));
    const token = received[1]?.authorization.replace("Bearer ", "") ?? "";
    const { payload } = await jwtVerify(token, keys, { audience: endpoint, issuer: google.url });
    assert.deepEqual([payload.email, payload.email_verified], [serviceAccount, true]);
    for (let mail = 0; mail < 5; mail += 1) {
      await google.gmail.send({ from: jonas, to: ana, text: String(mail) });
      await google.gmail.settled();
    }
    assert.equal(received.length, 3);
    hook.close();
  });

  test("holds messages for a subscriber that pulls, until they are acknowledged", async () => {
    google.pubsub.subscribe({ name: subscription, topic: usualTopic, push: null });
    Object.assign(google.pubsub.settings, { ackDeadlineMs: 100, pullWaitMs: 300 });
    await anas.users.watch({ ...me, requestBody: { topicName: usualTopic } });
    await google.gmail.settled();
    const token = await serviceToken();
    const call = async (verb: string, body: object) => {
      const answer = await fetch(`${google.url}/v1/${subscription}:${verb}`, {
        method: "POST",
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
        body: JSON.stringify(body),
      });
      return (await answer.json()) as {
        receivedMessages?: { ackId: string; message: { messageId: string } }[];
      };
    };
    const [first] = (await call("pull", { maxMessages: 10 })).receivedMessages ?? [];
    const [again] = (await call("pull", { maxMessages: 10 })).receivedMessages ?? [];
    assert.equal(again?.message.messageId, first?.message.messageId);
    assert.deepEqual(await call("acknowledge", { ackIds: [again?.ackId] }), {});
    assert.deepEqual(await call("pull", { maxMessages: 10 }), {});
  });

  async function serviceToken(): Promise<string> {
    const { email, privateKey, keyId } = google.serviceAccount;
    const now = Math.floor(google.clock.now().getTime() / 1000);
    const assertion = await new SignJWT({ scope: "https://www.googleapis.com/auth/pubsub" })
      .setProtectedHeader({ alg: "RS256", kid: keyId })
      .setIssuer(email)
      .setAudience("https://oauth2.googleapis.com/token")
      .setIssuedAt(now)
      .setExpirationTime(now + 3600)
      .sign(await importPKCS8(privateKey, "RS256"));
    const answer = await fetch(`${google.url}/token`, {
      method: "POST",
      body: new URLSearchParams({
        grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer",
        assertion,
      }),
    });
    return ((await answer.json()) as { access_token: string }).access_token;
  }
});
