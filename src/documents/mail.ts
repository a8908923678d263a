import { createHash } from "node:crypto";
import { sql } from "kysely";
import { audit } from "../accounts/audit-trail.ts";
import { openGoogleAccess } from "../accounts/google-access.ts";
import { tellUser } from "../accounts/tell-user.ts";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import { comparable, decodeHeader, parseAddresses } from "../lib/addresses.ts";
import { AppError } from "../lib/errors.ts";
import { inParallel } from "../lib/parallel.ts";
import { beginningOf } from "../lib/text.ts";
import { getAttachment, getMail, type Mail, type MailHead } from "../providers/google/gmail.ts";
import type { GoogleRequest } from "../providers/google/request.ts";
import { enqueue, type NewJob } from "../queue/queue.ts";
import type { AddressedTo } from "./assistant-address.ts";
import { startClassification, tellOwner } from "./classification.ts";
import { keepLinks } from "./mail-links.ts";
import { readMailTextApart } from "./mail-reading.ts";
import { type MailText, missingBodies } from "./mail-text.ts";
import {
  decideMail,
  type MailFacts,
  type Place,
  proofOf,
  senderOf,
  type Trust,
  valuesOf,
} from "./mail-trust.ts";

/** A mail that names the assistant, by its headers. */
export type AddressedMail = { head: MailHead; to: AddressedTo[] };

/** The mailbox that mails were found in. */
export type Mailbox = { feedId: string; userId: string; account: string; isAssistants: boolean };

/** What came of a page of mails. */
export type Recorded = {
  decided: number;
  jobs: NewJob[];
  told: { userId: string; ids: string[] }[];
};

type TakeApp = Pick<
  App,
  "db" | "clock" | "config" | "googleOAuth" | "queue" | "log" | "providerLimits"
>;

/**
 * Decides about mails that name the assistant, once for each user and mail, however many mailboxes show it: a decision
 * with its reason, a log line, a detection, and for those that are taken the job that reads them. A mail that was held
 * is taken when it turns up in its owner's own mailbox as well; what was found in another user's mailbox gives way to the
 * same mail in its owner's or the assistant's. Names that nobody has are logged, and nothing else.
 */
export async function recordMails(
  app: Pick<App, "clock">,
  tx: Tx,
  mailbox: Mailbox,
  mails: AddressedMail[],
): Promise<Recorded> {
  const entries = mails.flatMap(({ head, to }) => to.map((named) => ({ head, named })));
  if (entries.length === 0) return { decided: 0, jobs: [], told: [] };
  const owners = await findOwners(
    tx,
    entries.map(({ named }) => named.username),
  );
  const rows = entries.map(({ head, named }) => rowOf(app, mailbox, head, named, owners));
  await logMails(tx, rows);
  const decided = rows.filter((row) => row.user_id !== null);
  const kept = decided.length > 0 ? await keepDecisions(tx, decided) : [];
  await keepDetections(tx, kept);
  const taken = kept.filter(({ decision }) => decision === "taken");
  await noteActivity(
    app,
    tx,
    kept.filter(({ is_new }) => is_new).map(({ user_id }) => user_id),
  );
  return {
    decided: kept.filter(({ is_new }) => is_new).length,
    jobs: taken.map(({ id }) => takeJob(id)),
    told: [...Map.groupBy(kept, ({ user_id }) => user_id)].map(([userId, ones]) => ({
      userId,
      ids: ones.map(({ id }) => id),
    })),
  };
}

type Owner = { id: string; username: string; addresses: string[]; trust: Trust };

async function findOwners(tx: Tx, usernames: string[]): Promise<Map<string, Owner>> {
  const { rows } = await sql<Owner & Trust>`
    select users.id, usernames.username,
      array(select lower(email) from connections where user_id = users.id and email is not null
        union select lower(users.email)) as addresses,
      coalesce(mail_trust.mode, 'only_me') as mode, coalesce(mail_trust.senders, '{}') as senders
    from usernames join users on users.id = usernames.user_id
    left join mail_trust on mail_trust.user_id = users.id
    where usernames.username = any(${[...new Set(usernames)]})
  `.execute(tx);
  return new Map(
    rows.map(({ mode, senders, ...owner }) => [
      owner.username,
      { ...owner, trust: { mode, senders } },
    ]),
  );
}

type Row = ReturnType<typeof rowOf>;

function rowOf(
  app: Pick<App, "clock">,
  mailbox: Mailbox,
  head: MailHead,
  named: AddressedTo,
  owners: Map<string, Owner>,
) {
  const owner = owners.get(named.username) ?? null;
  const sender = senderOf(head.headers);
  const place = placeOf(mailbox, owner);
  const facts: MailFacts = {
    mailbox: place,
    sender,
    proof: proofOf(place, head.headers, sender),
    ownAddresses: owner?.addresses ?? [],
    trust: owner?.trust ?? { mode: "only_me", senders: [] },
  };
  return {
    user_id: owner?.id ?? null,
    message_key: messageKeyOf(mailbox, head),
    feed_id: mailbox.feedId,
    gmail_message_id: head.id,
    virtual_email: named.address,
    username: named.username,
    email_type: named.type,
    ...decideMail(facts),
    inputs: {
      sender: sender && comparable(sender),
      proof: facts.proof.text,
      trust: facts.trust.mode,
      mailbox: place,
    },
    subject: titleOf(head),
    sender: fromOf(head),
    received_at: head.receivedAt,
    decided_at: app.clock.now(),
  };
}

function placeOf(mailbox: Mailbox, owner: Owner | null): Place {
  if (mailbox.isAssistants) return "assistant";
  return owner?.id === mailbox.userId ? "own" : "other";
}

/** What is the same of a mail in every mailbox. Message-IDs alone are not: some senders use one for all. */
export function messageKeyOf({ account }: Mailbox, head: MailHead): string {
  const [messageId] = valuesOf(head.headers, "message-id");
  const parts = messageId?.trim()
    ? [
        messageId.trim(),
        valuesOf(head.headers, "from")[0] ?? "",
        valuesOf(head.headers, "date")[0] ?? "",
      ]
    : [account.toLowerCase(), head.id];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}

// Of the copies of a mail in one page the first that came counts, among those that are taken.
const beforeItsCopies = sql`decision = 'taken' desc, received_at, gmail_message_id`;

async function logMails(tx: Tx, rows: Row[]): Promise<void> {
  await sql`
    insert into email_processing_logs (user_id, message_key, gmail_message_id, inbound_address, extracted_username,
      subject, sender, received_at, processed_at, status, error_message)
    select user_id, message_key, gmail_message_id, virtual_email, username, subject, sender, received_at,
      case when user_id is null then decided_at end,
      case when user_id is null then 'user_not_found' else 'pending' end,
      case when user_id is null then 'Nobody has this username' when decision = 'held' then reason end
    from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) as mail (user_id uuid, message_key text,
      gmail_message_id text, virtual_email text, username text, subject text, sender text, received_at timestamptz,
      decided_at timestamptz, decision text, reason text)
    -- Two mailboxes that show the same mails come to them in the same order.
    order by message_key, virtual_email, ${beforeItsCopies}
    on conflict (message_key, inbound_address) do nothing
  `.execute(tx);
}

type Kept = {
  id: string;
  user_id: string;
  decision: "taken" | "held" | "refused";
  gmail_message_id: string;
  virtual_email: string;
  email_type: string;
  decided_at: Date;
  is_new: boolean;
};

// One row for each user and mail: whoever comes second changes nothing, but takes what was held, or says where a mail can
// be read that could not be read yet. A copy in another user's mailbox may say anything under the same Message-ID. So it
// gives way, with its document and the owner's refusal, to one that counts by itself; while it is held, to any other; and
// where the owner took it, to one whose sender is proven.
async function keepDecisions(tx: Tx, rows: Row[]): Promise<Kept[]> {
  const { rows: kept } = await sql<Kept>`
    insert into mail_decisions as kept (user_id, message_key, feed_id, gmail_message_id, virtual_email, email_type,
      decision, rule, reason, inputs, subject, sender, received_at, decided_at)
    select distinct on (user_id, message_key) *
    from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) as mail (user_id uuid, message_key text, feed_id uuid,
      gmail_message_id text, virtual_email text, email_type text, decision text, rule text, reason text, inputs jsonb,
      subject text, sender text, received_at timestamptz, decided_at timestamptz)
    order by user_id, message_key, ${beforeItsCopies}
    on conflict (user_id, message_key) do update
    set (decision, rule, reason, decided_at) = (
        select kept.decision, kept.rule, kept.reason, kept.decided_at
        where kept.decision = 'taken' and excluded.decision = 'held'
        union all
        select excluded.decision, excluded.rule, excluded.reason, excluded.decided_at
        where not (kept.decision = 'taken' and excluded.decision = 'held')
      ),
      inputs = excluded.inputs, feed_id = excluded.feed_id, gmail_message_id = excluded.gmail_message_id,
      subject = excluded.subject, sender = excluded.sender, received_at = excluded.received_at
    where excluded.decision = 'taken' and kept.document_id is null and (kept.decision = 'held'
        or kept.decision = 'taken' and kept.gmail_message_id <> excluded.gmail_message_id)
      or kept.inputs ->> 'mailbox' = 'other' and excluded.inputs ->> 'mailbox' <> 'other'
        and (excluded.decision = 'taken' or kept.decision = 'held'
          or kept.decision = 'taken' and excluded.rule = 'not_let')
    returning id, user_id, decision, gmail_message_id, virtual_email, email_type, decided_at,
      xmax = 0 as is_new
  `.execute(tx);
  return kept;
}

async function keepDetections(tx: Tx, kept: Kept[]): Promise<void> {
  const rows = kept.filter(({ is_new }) => is_new);
  if (rows.length === 0) return;
  await sql`
    insert into virtual_email_detections (user_id, virtual_email, username, email_type, gmail_message_id, detected_at)
    select user_id, virtual_email, (select username from usernames where usernames.user_id = mail.user_id), email_type,
      gmail_message_id, decided_at
    from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) as mail (user_id uuid, virtual_email text, email_type text,
      gmail_message_id text, decided_at timestamptz)
    on conflict (gmail_message_id, virtual_email) do nothing
  `.execute(tx);
}

// A mail to the assistant says that its owner is at work: what they may see next is looked at more often.
async function noteActivity(app: Pick<App, "clock">, tx: Tx, userIds: string[]): Promise<void> {
  if (userIds.length === 0) return;
  const now = app.clock.now();
  const unique = [...new Set(userIds)].sort();
  await tx
    .insertInto("user_activity_logs")
    .values(
      userIds.map((user_id) => ({
        user_id,
        activity_type: "virtual_email_detected",
        timestamp: now,
      })),
    )
    .execute();
  await tx
    .updateTable("users")
    .set({ last_virtual_mail_at: now })
    .where("id", "in", unique)
    .execute();
}

/**
 * Reads a mail that was taken and makes its document: body, attachments by name, the files it links to, and the way on to
 * classification. One document for each decision, however often this runs; where it was read in another user's mailbox,
 * and now in one that is to be believed, it is written over. A mail that was deleted before it could be read is logged, as
 * is one whose mailbox was disconnected.
 *
 * @throws {ProviderError} to be tried again
 */
export async function takeMail(
  app: TakeApp,
  { decisionId }: { decisionId: string },
  { signal }: { signal: AbortSignal },
): Promise<{ documents: number }> {
  const decision = await app.db
    .selectFrom("mail_decisions")
    .leftJoin("feeds", "feeds.id", "mail_decisions.feed_id")
    .leftJoin("connections", "connections.id", "feeds.connection_id")
    .leftJoin("documents", "documents.id", "mail_decisions.document_id")
    .select(["gmail_message_id", "connection_id", "connections.email"])
    .where("mail_decisions.id", "=", decisionId)
    .where("decision", "=", "taken")
    .where(isUnread)
    .executeTakeFirst();
  if (!decision) return { documents: 0 };
  if (decision.connection_id === null) {
    await logUnread(app, decisionId, "The mailbox was disconnected before it could be read");
    return { documents: 0 };
  }
  const google = openGoogleAccess(app, decision.connection_id).request;
  const mail = await getMail(google, decision.gmail_message_id, { signal });
  if (!mail) {
    await logUnread(app, decisionId, "The mail was deleted before it could be read");
    return { documents: 0 };
  }
  const bodies = await fetchBodies(google, mail, signal);
  const text = await readMailTextApart(mail.root, bodies, { signal });
  const url = linkTo(mail, decision.email);
  const documents = await app.db
    .transaction()
    .execute((tx) => keepDocument(app, tx, { decisionId, mail, text, url }));
  return { documents };
}

// The document of a mail keeps the id of the copy that it was made from.
const isUnread = sql<boolean>`(mail_decisions.document_id is null
  or documents.source = 'gmail' and documents.source_id <> mail_decisions.gmail_message_id)`;

async function fetchBodies(google: GoogleRequest, mail: Mail, signal: AbortSignal) {
  const missing = missingBodies(mail.root).slice(0, 5);
  const bodies = await inParallel(missing, 2, async ({ attachmentId, part }) => {
    return [
      part,
      await getAttachment(google, { messageId: mail.id, attachmentId }, { signal }),
    ] as const;
  });
  return new Map(bodies);
}

async function keepDocument(
  app: Pick<App, "clock" | "config" | "queue">,
  tx: Tx,
  taken: { decisionId: string; mail: Mail; text: MailText; url: string },
): Promise<number> {
  const { decisionId, mail, text, url } = taken;
  const decision = await tx
    .selectFrom("mail_decisions")
    .leftJoin("documents", "documents.id", "mail_decisions.document_id")
    .selectAll("mail_decisions")
    .where("mail_decisions.id", "=", decisionId)
    // Another copy may count since this one was asked for: its own job reads it.
    .where("gmail_message_id", "=", mail.id)
    .where(isUnread)
    .forUpdate("mail_decisions")
    .executeTakeFirst();
  if (!decision) return 0;
  const now = app.clock.now();
  const userId = decision.user_id;
  const documentId = await writeDocument(app, tx, decision, { mail, text, url });
  await tx
    .updateTable("mail_decisions")
    .set({ document_id: documentId })
    .where("id", "=", decisionId)
    .execute();
  await tx
    .updateTable("virtual_email_detections")
    .set({ document_id: documentId })
    .where("user_id", "=", userId)
    .where("virtual_email", "=", decision.virtual_email)
    .where("document_id", "is", null)
    // It may have been seen first in another mailbox, under another id.
    .where("gmail_message_id", "in", (query) =>
      query
        .selectFrom("email_processing_logs")
        .select("gmail_message_id")
        .where("message_key", "=", decision.message_key)
        .where("inbound_address", "=", decision.virtual_email),
    )
    .execute();
  const fact = decision.document_id === null ? "taken" : `taken anew as ${mail.id}`;
  const jobs = await startClassification(app, tx, { documentId, userId, fact });
  const isOver = app.config.n8n.classificationUrl === null;
  await tx
    .updateTable("email_processing_logs")
    .set({
      document_id: documentId,
      user_id: userId,
      error_message: null,
      ...(isOver ? { status: "processed" as const, processed_at: now } : {}),
    })
    .where("message_key", "=", decision.message_key)
    .where("inbound_address", "=", decision.virtual_email)
    .execute();
  jobs.push(...(await keepLinks(app, tx, { documentId, userId, fileIds: text.fileIds })));
  await enqueue(app, tx, jobs);
  await tellOwner(tx, userId, documentId);
  return 1;
}

// Makes the document, or writes over what was made of a copy that counts no more. Its project stays until it is decided anew.
async function writeDocument(
  app: Pick<App, "clock">,
  tx: Tx,
  decision: { user_id: string; document_id: string | null },
  { mail, text, url }: { mail: Mail; text: MailText; url: string },
): Promise<string> {
  const now = app.clock.now();
  const contents = {
    source_id: mail.id,
    source_url: url,
    title: titleOf(mail),
    summary: beginningOf(mail.snippet, 1_000),
    author: fromOf(mail),
    recipients: JSON.stringify(recipientsOf(mail)),
    attachments: JSON.stringify(text.attachments),
    thread_id: mail.threadId,
    received_at: mail.receivedAt,
    file_size: String(mail.sizeEstimate),
    updated_at: now,
  };
  const texts = {
    text: text.text,
    quoted: text.quoted,
    signature: text.signature,
    cut: text.cut,
    hash: createHash("sha256").update(text.text).digest("hex"),
  };
  if (decision.document_id !== null) {
    const id = decision.document_id;
    await tx.updateTable("documents").set(contents).where("id", "=", id).execute();
    await tx.updateTable("document_texts").set(texts).where("document_id", "=", id).execute();
    return id;
  }
  const { id } = await tx
    .insertInto("documents")
    .values({
      ...contents,
      created_by: decision.user_id,
      type: "email",
      source: "gmail",
      mimetype: "message/rfc822",
      classification_source: "system",
      created_at: now,
    })
    .returning("id")
    .executeTakeFirstOrThrow();
  await tx
    .insertInto("document_texts")
    .values({ document_id: id, ...texts })
    .execute();
  return id;
}

async function logUnread(
  app: Pick<App, "db" | "clock">,
  decisionId: string,
  reason: string,
): Promise<void> {
  await sql`
    update email_processing_logs as log
    set status = 'failed', processed_at = ${app.clock.now()}, error_message = ${reason}
    from mail_decisions as decision
    where decision.id = ${decisionId} and log.message_key = decision.message_key
      and log.inbound_address = decision.virtual_email and log.document_id is null
  `.execute(app.db);
}

/** The owner takes a held mail, or refuses it. The second click finds it done. @throws {AppError} `not_found`, `conflict` */
export async function decideHeld(
  app: Pick<App, "db" | "clock" | "queue">,
  userId: string,
  decisionId: string,
  decision: "taken" | "refused",
): Promise<void> {
  await app.db.transaction().execute(async (tx) => {
    const held = await tx
      .selectFrom("mail_decisions")
      .select(["decision", "message_key", "virtual_email", "feed_id"])
      .where("id", "=", decisionId)
      .where("user_id", "=", userId)
      .forUpdate()
      .executeTakeFirst();
    if (!held) throw new AppError("not_found", `No mail ${decisionId}`);
    if (held.decision === decision) return;
    if (held.decision !== "held") {
      throw new AppError("conflict", `This mail was ${held.decision} already`);
    }
    if (decision === "taken" && held.feed_id === null) {
      const text = "It cannot be taken: the mailbox that it was found in is no longer connected";
      throw new AppError("conflict", text);
    }
    const now = app.clock.now();
    const reason = decision === "taken" ? "The owner took it" : "The owner refused it";
    await tx
      .updateTable("mail_decisions")
      .set({ decision, rule: "owner", reason, decided_at: now })
      .where("id", "=", decisionId)
      .execute();
    if (decision === "taken") {
      await enqueue(app, tx, takeJob(decisionId));
    } else {
      await tx
        .updateTable("email_processing_logs")
        .set({ status: "failed", error_message: reason, processed_at: now })
        .where("message_key", "=", held.message_key)
        .where("inbound_address", "=", held.virtual_email)
        .execute();
    }
    const details = { decision_id: decisionId, decision };
    await audit(tx, userId, "mail.decided", details);
    await tellUser(tx, userId, [{ type: "mail.changed", payload: details }]);
  });
}

/** Holds the mails that an account's mailbox left behind when the same user disconnected it. Returns their ids. */
export async function lockLeftMails(
  tx: Tx,
  { user_id, subject }: { user_id: string; subject: string | null },
): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select id from mail_decisions
    where left_user_id = ${user_id} and left_subject = ${subject} and feed_id is null
    order by user_id, message_key for update
  `.execute(tx);
  return rows.map(({ id }) => id);
}

/** Has mails found in a connection's mailbox from now on. */
export async function moveMails(tx: Tx, ids: string[], connectionId: string): Promise<void> {
  if (ids.length === 0) return;
  await sql`
    update mail_decisions set feed_id = feeds.id, left_user_id = null, left_subject = null
    from feeds
    where mail_decisions.id = any(${ids}) and connection_id = ${connectionId} and kind = 'gmail'
  `.execute(tx);
}

/** The jobs for mails of a connection's mailbox that were taken, and could not be read while its grant was dead. */
export async function unreadMails(tx: Tx, connectionId: string): Promise<NewJob[]> {
  const unread = await tx
    .selectFrom("mail_decisions")
    .innerJoin("feeds", "feeds.id", "mail_decisions.feed_id")
    .leftJoin("documents", "documents.id", "mail_decisions.document_id")
    .select("mail_decisions.id")
    .where("feeds.connection_id", "=", connectionId)
    .where("decision", "=", "taken")
    .where(isUnread)
    .orderBy("decided_at", "desc")
    .limit(1_000)
    .execute();
  return unread.map(({ id }) => takeJob(id));
}

function takeJob(decisionId: string): NewJob {
  return { name: "mail.take", payload: { decisionId }, key: decisionId, priority: 1 };
}

function titleOf({ headers }: Pick<MailHead, "headers">): string {
  return decodeHeader(valuesOf(headers, "subject")[0] ?? "") || "No Subject";
}

function fromOf({ headers }: Pick<MailHead, "headers">): string {
  return beginningOf(decodeHeader(valuesOf(headers, "from")[0] ?? ""), 500) || "Unknown Sender";
}

function recipientsOf({ headers }: Pick<MailHead, "headers">) {
  return (["to", "cc"] as const)
    .flatMap((type) =>
      valuesOf(headers, type)
        .flatMap(parseAddresses)
        .map(({ name, local, domain }) => ({ type, name, address: `${local}@${domain}` })),
    )
    .slice(0, 200);
}

function linkTo({ id }: Pick<MailHead, "id">, account: string | null): string {
  return `https://mail.google.com/mail/?authuser=${encodeURIComponent(account ?? "")}#all/${id}`;
}
