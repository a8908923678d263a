import emailProviders from "email-providers/all.json" with { type: "json" };
import { comparable, type Mailbox, parseAddresses } from "../lib/addresses.ts";
import type { Header } from "../providers/google/gmail.ts";

/** Whose mail the assistant takes for a user, besides what is found in the user's own mailbox. */
export type Trust = {
  mode: "only_me" | "my_domain" | "list" | "anyone";
  /** Addresses, and domains with an at-sign before them, in lower case. */
  senders: readonly string[];
};

/** Whose mailbox a mail was found in: that of the user whom it names, the assistant's, or another user's. */
export type Place = "own" | "assistant" | "other";

/** What is taken into account. */
export type MailFacts = {
  mailbox: Place;
  sender: Mailbox | null;
  proof: SenderProof;
  /** The addresses that the owner is known to have, in lower case. */
  ownAddresses: readonly string[];
  trust: Trust;
};

export type MailDecision = { decision: "taken" | "held"; rule: string; reason: string };

/**
 * Whether a mail to somebody's assistant counts. To and Cc are written by the sender and can name anybody: what counts is
 * in whose mailbox it is found, or who sent it, where the receiving server has proved that.
 */
export function decideMail(facts: MailFacts): MailDecision {
  const { sender, proof, trust } = facts;
  if (facts.mailbox === "own") {
    return taken("own_mailbox", "It was found in the owner's own mailbox");
  }
  if (!sender) return held("no_sender", "It names no sender, or several");
  const address = comparable(sender);
  if (trust.mode === "anyone" && facts.mailbox === "assistant") {
    return taken("anyone", "The owner lets anybody write to the assistant");
  }
  if (!proof.isProven) {
    return held(
      "not_proven",
      `It says that it comes from ${address}, which is not proven: ${proof.text}`,
    );
  }
  if (facts.ownAddresses.includes(address)) {
    return taken("from_owner", `It comes from the owner, ${address} (${proof.text})`);
  }
  if (
    trust.mode === "my_domain" &&
    !isOpenDomain(sender.domain) &&
    facts.ownAddresses.some((own) => domainOf(own) === sender.domain)
  ) {
    return taken("my_domain", `It comes from ${address}, of the owner's domain (${proof.text})`);
  }
  const isListed = trust.senders.includes(address) || trust.senders.includes(`@${sender.domain}`);
  if (trust.mode === "list" && isListed) {
    return taken("listed", `It comes from ${address}, whom the owner lets (${proof.text})`);
  }
  return held(
    "not_let",
    `It comes from ${address}, whom the owner has not let write to the assistant`,
  );
}

const taken = (rule: string, reason: string): MailDecision => ({ decision: "taken", rule, reason });
const held = (rule: string, reason: string): MailDecision => ({ decision: "held", rule, reason });

export type SenderProof = { isProven: boolean; text: string };

/** The only mailbox of a mail's only From header, null for any other number. */
export function senderOf(headers: readonly Header[]): Mailbox | null {
  const values = valuesOf(headers, "from");
  const mailboxes = values.length === 1 ? parseAddresses(values[0] ?? "") : [];
  return mailboxes.length === 1 ? (mailboxes[0] ?? null) : null;
}

// Gmail writes its own result above whatever a sender put there. Source: RFC 8601, section 5.
const receiver = "mx.google.com";

/**
 * Whether the receiving server found that a mail comes from the domain that it says it comes from. Who has a mailbox can
 * put any mail into it, with any headers: another user's mailbox proves nothing.
 */
export function proofOf(
  mailbox: Place,
  headers: readonly Header[],
  sender: Mailbox | null,
): SenderProof {
  const no = (text: string) => ({ isProven: false, text });
  if (mailbox === "other") return no("it was found in another user's mailbox");
  const [first] = valuesOf(headers, "authentication-results");
  if (!sender) return no("there is no single sender");
  if (first === undefined) return no("the receiving server checked nothing");
  const [server = "", ...results] = splitResults(first);
  if (server.trim().split(/\s/)[0]?.toLowerCase() !== receiver) {
    return no("the receiving server checked nothing");
  }
  const passed = results.map(readResult).filter(({ result }) => result === "pass");
  const isSame = (value: string | undefined) =>
    value
      ?.slice(value.lastIndexOf("@") + 1)
      .replace(/\.$/, "")
      .toLowerCase() === sender.domain;
  const proven = passed.find(
    ({ method, properties }) =>
      (method === "dmarc" && isSame(properties.get("header.from"))) ||
      (method === "dkim" && isSame(properties.get("header.d") ?? properties.get("header.i"))) ||
      (method === "spf" && isSame(properties.get("smtp.mailfrom"))),
  );
  return proven
    ? { isProven: true, text: `${proven.method} passed for ${sender.domain}` }
    : no(`neither DMARC, DKIM nor SPF passed for ${sender.domain}`);
}

type Result = { method: string; result: string; properties: Map<string, string> };

// Comments may hold what the sender wrote, and semicolons: they go first, as does what stands between quotes. Where a
// comment holds a quote (an envelope address with brackets in it), nobody can say where it ends: nothing is believed.
function splitResults(value: string): string[] {
  let [depth, isQuoted] = [0, false];
  const parts = [""];
  const text = value.slice(0, 20_000);
  for (let at = 0; at < text.length; at += 1) {
    const sign = text[at] ?? "";
    if (sign === "\\") {
      at += 1;
    } else if (depth > 0 && sign === '"') {
      return [];
    } else if (isQuoted || (sign === '"' && depth === 0)) {
      if (sign === '"') isQuoted = !isQuoted;
    } else if (sign === "(") depth += 1;
    else if (sign === ")") depth = Math.max(0, depth - 1);
    else if (depth === 0 && sign === ";") parts.push("");
    else if (depth === 0) parts[parts.length - 1] += sign;
  }
  return parts;
}

function readResult(part: string): Result {
  const [head = "", ...rest] = part
    .replace(/\s*=\s*/g, "=")
    .trim()
    .split(/\s+/);
  const [method = "", result = ""] = head.toLowerCase().split("=");
  const properties = new Map<string, string>();
  for (const one of rest) {
    const at = one.indexOf("=");
    // Of two that say the same thing neither can be believed more; the first is what the server found.
    const name = one.slice(0, at).toLowerCase();
    if (at > 0 && !properties.has(name)) properties.set(name, one.slice(at + 1));
  }
  return { method: method.split("/")[0] ?? "", result, properties };
}

// The list of the package, and what it lacks. A domain that is reserved for examples has no mailboxes.
const openDomains = new Set([
  ...emailProviders,
  ..."duck.com fastmail.com mozmail.com posteo.de tuta.com tutanota.com tutanota.de".split(" "),
]);
openDomains.delete("example.com");

/** Whether anybody can have an address at a domain: to let it in is to let everybody in. */
export function isOpenDomain(domain: string): boolean {
  return openDomains.has(domain);
}

function domainOf(address: string): string {
  return address.slice(address.lastIndexOf("@") + 1);
}

/** The values of a header, top to bottom. */
export function valuesOf(headers: readonly Header[], name: string): string[] {
  return headers.flatMap((header) => (header.name.toLowerCase() === name ? [header.value] : []));
}
