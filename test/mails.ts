import assert from "node:assert/strict";
import type { Outgoing } from "../sandbox/google/gmail/deliver.ts";
import { openTestApp, type TestApp, type Visitor } from "./harness.ts";

export const ana = "ana@example.com";
export const jonas = "jonas.weber@example.com";
export const anasAssistant = "ai+ana@example.com";

/** Ana has signed in and chosen her username; her mailbox, and the assistant's if wished, are read. */
export async function anasMail(
  options: Parameters<typeof openTestApp>[0] & { withAssistant?: boolean } = {},
) {
  await using opened = new AsyncDisposableStack();
  const t = opened.use(await openTestApp(options));
  const visitor = await t.signIn(ana);
  await chooseName(visitor, "ana");
  if (options.withAssistant) await t.connectAssistant();
  await t.idle();
  const kept = opened.move();
  return { t, visitor, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

export async function chooseName(visitor: Visitor, username: string): Promise<void> {
  const { status, body } = await visitor.call("POST", "/api/v1/user/username", { username });
  assert.equal(status, 200, JSON.stringify(body));
}

/** Looks at all mailboxes, and waits until everything that follows is done. */
export async function readMail(t: TestApp): Promise<void> {
  const feeds = await t.app.db
    .selectFrom("feeds")
    .select("user_id")
    .distinct()
    .where("kind", "=", "gmail")
    .execute();
  for (const { user_id } of feeds) {
    const { status, body } = await t.asService("POST", `/api/v1/sync/gmail/${user_id}`, {
      force: true,
    });
    assert.equal(status, 200, JSON.stringify(body));
  }
  await t.idle();
}

/** Sends a mail and looks at all mailboxes. Returns its id in each. */
export async function sendAndRead(t: TestApp, mail: Outgoing) {
  const sent = await t.google.gmail.send(mail);
  await readMail(t);
  return sent;
}

/** What the API lists. */
// biome-ignore lint/suspicious/noExplicitAny: what a route answers is what its test asserts.
export async function itemsOf(visitor: Visitor, path: string): Promise<any[]> {
  const { status, body } = await visitor.call("GET", `/api/v1/${path}`);
  assert.equal(status, 200, JSON.stringify(body));
  return body.items;
}

export const documentsOf = (visitor: Visitor) => itemsOf(visitor, "documents");

/** The only document of somebody, whole. */
// biome-ignore lint/suspicious/noExplicitAny: what a route answers is what its test asserts.
export async function onlyDocument(visitor: Visitor): Promise<any> {
  const documents = await documentsOf(visitor);
  assert.equal(documents.length, 1, JSON.stringify(documents));
  return (await visitor.call("GET", `/api/v1/documents/${documents[0].id}`)).body;
}

/** The requests for whole messages and their parts so far, by the ids that they were for. */
export function bodiesRead(t: TestApp): string[] {
  return t.google.state.requests
    .filter(({ endpoint }) => /^gmail\.messages\.(get\.(full|raw)|attachments)/.test(endpoint))
    .map(({ path }) => path.split("/")[6] ?? "");
}
