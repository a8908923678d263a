import { domainToASCII } from "node:url";

/**
 * The usernames, in lower case and each once, whom attendees at the assistant's address `ai+name@domain` stand for. Whole
 * addresses are compared, whatever their case; what a display name says counts for nothing.
 */
export function virtualAttendees(
  attendees: readonly { email: string | null }[],
  virtualAddress: string,
): string[] {
  const assistant = addressIn(virtualAddress);
  if (!assistant) return [];
  const names = attendees.flatMap(({ email }) => {
    const address = email === null ? null : addressIn(email);
    if (address?.domain !== assistant.domain) return [];
    const [mailbox, name] = splitOnce(address.local, "+");
    return mailbox === assistant.local && /^[a-z0-9._-]{1,64}$/.test(name) ? [name] : [];
  });
  return [...new Set(names)];
}

// Attendees have a bare address each, sometimes one in angle brackets behind a name.
function addressIn(text: string): { local: string; domain: string } | null {
  if (text.length > 1000) return null;
  const bare = /<([^<>]*)>\s*$/.exec(text)?.[1] ?? text;
  const [, local, domain] =
    /^\s*([^\s@<>"(),:;]{1,64})@([^\s@<>"(),:;]{1,253})\s*$/.exec(bare) ?? [];
  if (!local || !domain) return null;
  const ascii = domainToASCII(domain);
  return ascii ? { local: local.toLowerCase(), domain: ascii } : null;
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at === -1 ? [text, ""] : [text.slice(0, at), text.slice(at + separator.length)];
}
