import { comparable, type Mailbox, soleAddress } from "../lib/addresses.ts";

const namePattern = /^[a-z0-9._-]{1,64}$/;

/**
 * The username, in lower case, for whom a mailbox is the assistant's address `ai+name@domain`; null for every other
 * mailbox. Whole addresses are compared, whatever their case. The name is all that follows the first plus.
 */
export function usernameIn(mailbox: Mailbox, assistant: Mailbox): string | null {
  const [wanted, given] = [comparable(assistant), comparable(mailbox)];
  const at = wanted.lastIndexOf("@");
  const prefix = `${wanted.slice(0, at)}+`;
  const domain = wanted.slice(at);
  if (!given.startsWith(prefix) || !given.endsWith(domain)) return null;
  const name = given.slice(prefix.length, -domain.length);
  return namePattern.test(name) ? name : null;
}

/** The usernames, each once, whom attendees at the assistant's address stand for. */
export function virtualAttendees(
  attendees: readonly { email: string | null }[],
  virtualAddress: string,
): string[] {
  const assistant = soleAddress(virtualAddress);
  if (!assistant) return [];
  const names = attendees.flatMap(({ email }) => {
    const mailbox = soleAddress(email ?? "");
    return (mailbox && usernameIn(mailbox, assistant)) ?? [];
  });
  return [...new Set(names)];
}
