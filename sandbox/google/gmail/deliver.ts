import MailComposer, { type MailComposerOptions } from "nodemailer/lib/mail-composer";
import { parseAddresses } from "../../../src/lib/addresses.ts";
import { headerOf, parseHeaders } from "./mime.ts";
import {
  addMessage,
  findMailbox,
  type Mailbox,
  type Message,
  relabel,
  type Store,
} from "./store.ts";

/** A mail as somebody writes it, and what becomes of it on its way. */
export type Outgoing = MailComposerOptions & {
  /** What the receiving server finds of the sender: by default it passes. A text stands in the header as it is. */
  authentication?: "pass" | "fail" | "none" | (string & {});
  /** Delivered to these besides, as by a group or a forwarder that no header names. */
  alsoTo?: string[];
};

/** A mail that was sent: its Message-ID, and its id in each mailbox that has it, by address. */
export type Sent = { messageId: string; ids: Record<string, string> };

/** Builds the mail, keeps it among the sender's sent ones, and delivers it to whoever has a mailbox here. */
export async function sendMail(store: Store, mail: Outgoing): Promise<Sent> {
  const { authentication = "pass", alsoTo = [], ...content } = mail;
  const date = store.state.clock.now();
  const composed = new MailComposer({ date, ...content }).compile();
  const recipients = [content.to, content.cc, content.bcc].flatMap(addressesIn);
  composed.keepBcc = true;
  const own = await composed.build();
  const visible = Buffer.from(
    own.toString("latin1").replace(/^Bcc:.*\r\n([ \t].*\r\n)*/im, ""),
    "latin1",
  );
  const [from = ""] = addressesIn(content.from);
  const ids: Record<string, string> = {};
  const sender = findMailbox(store, from);
  // Only who writes from their own account has the mail among what they sent.
  const sent =
    sender && authentication === "pass"
      ? addMessage(store, sender, { raw: own, labels: ["SENT"] })
      : null;
  if (sender && sent) ids[sender.owner.email] = sent.id;
  const delivered = new Set<Mailbox>();
  for (const address of [...recipients, ...alsoTo]) {
    const mailbox = findMailbox(store, address);
    if (!mailbox || delivered.has(mailbox)) continue;
    delivered.add(mailbox);
    // What somebody sends to themselves is one message, sent and received.
    if (mailbox === sender && sent) relabel(store, mailbox, sent, { add: ["INBOX", "UNREAD"] });
    else
      ids[mailbox.owner.email] = receive(store, mailbox, {
        raw: visible,
        address,
        from,
        authentication,
      }).id;
  }
  return { messageId: headerOf(parseHeaders(own), "message-id"), ids };
}

function receive(
  store: Store,
  mailbox: Mailbox,
  mail: { raw: Buffer; address: string; from: string; authentication: string },
): Message {
  const date = store.state.clock.now().toUTCString();
  const results = resultsOf(mail.authentication, mail.from);
  const head = [
    `Delivered-To: ${mail.address}`,
    `Received: by 2002:a05:6a10:1234 with SMTP id sandbox;\r\n        ${date}`,
    ...(results ? [`Authentication-Results: mx.google.com;\r\n       ${results}`] : []),
    `Return-Path: <${mail.from}>`,
    `Received: from mail.example.net (mail.example.net. [192.0.2.7])\r\n        by mx.google.com with ESMTPS id sandbox\r\n        for <${mail.address}>;\r\n        ${date}`,
  ];
  const raw = Buffer.concat([Buffer.from(`${head.join("\r\n")}\r\n`), mail.raw]);
  return addMessage(store, mailbox, { raw, labels: ["INBOX", "UNREAD", "CATEGORY_PERSONAL"] });
}

function resultsOf(authentication: string, from: string): string | null {
  const domain = from.slice(from.lastIndexOf("@") + 1);
  if (authentication === "none") return null;
  if (authentication !== "pass" && authentication !== "fail") return authentication;
  return [
    `dkim=${authentication} header.i=@${domain} header.s=key1`,
    `spf=${authentication} (mx.google.com: domain of ${from}) smtp.mailfrom=${from}`,
    `dmarc=${authentication} (p=QUARANTINE sp=QUARANTINE dis=NONE) header.from=${domain}`,
  ].join(";\r\n       ");
}

function addressesIn(field: unknown): string[] {
  if (Array.isArray(field)) return field.flatMap(addressesIn);
  if (field && typeof field === "object" && "address" in field) return [String(field.address)];
  if (typeof field !== "string") return [];
  return parseAddresses(field).map(({ local, domain }) => `${local}@${domain}`);
}
