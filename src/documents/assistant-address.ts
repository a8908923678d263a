import { usernameIn } from "../accounts/virtual-address.ts";
import { type Mailbox, parseAddresses, soleAddress } from "../lib/addresses.ts";
import type { Header } from "../providers/google/gmail.ts";
import { valuesOf } from "./mail-trust.ts";

/** An address of the assistant that a mail names, and where. */
export type AddressedTo = { username: string; address: string; type: "to" | "cc" | "bcc" };

// Where the recipient can stand. A blind copy, and what came through a group, shows only where it was delivered to.
const places: [header: string, type: AddressedTo["type"]][] = [
  ["to", "to"],
  ["resent-to", "to"],
  ["cc", "cc"],
  ["resent-cc", "cc"],
  ["bcc", "bcc"],
  ["delivered-to", "bcc"],
  ["x-original-to", "bcc"],
  ["envelope-to", "bcc"],
  ["x-forwarded-to", "bcc"],
  ["x-forwarded-for", "bcc"],
];

// More names than this in one mail are a way to make work, not to write to people.
const mostNames = 50;

/** Whom a mail names as owners of the assistant, each once: in To rather than Cc rather than elsewhere. */
export function addressedIn(headers: readonly Header[], assistant: string): AddressedTo[] {
  const own = soleAddress(assistant);
  if (!own) return [];
  const found = new Map<string, AddressedTo>();
  const add = (mailbox: Mailbox, type: AddressedTo["type"]) => {
    const username = usernameIn(mailbox, own);
    if (username === null || found.has(username) || found.size >= mostNames) return;
    found.set(username, {
      username,
      address: `${mailbox.local}@${mailbox.domain}`.toLowerCase(),
      type,
    });
  };
  for (const [header, type] of places) {
    for (const value of valuesOf(headers, header)) {
      // Forwarders separate by blanks.
      const texts = header.startsWith("x-forwarded") ? value.split(/\s+/) : [value];
      for (const mailbox of texts.flatMap(parseAddresses)) add(mailbox, type);
    }
  }
  for (const value of valuesOf(headers, "received")) {
    const receivedFor = /\sfor\s+(<[^<>\s]{1,320}>)/i.exec(value)?.[1];
    for (const mailbox of parseAddresses(receivedFor ?? "")) add(mailbox, "bcc");
  }
  return [...found.values()];
}
