import type { MailPart } from "../providers/google/mail-part.ts";
import { type MailText, readMailText } from "./mail-text.ts";

// What a thread of mail-reading.ts does.

export type MailToRead = { root: MailPart; isParted: boolean };

export function readMail({ root, isParted }: MailToRead): MailText {
  return readMailText(withBuffers(root), { isParted });
}

// On its way here a buffer becomes plain bytes.
function withBuffers(part: MailPart): MailPart {
  const data = part.data && Buffer.from(part.data);
  return { ...part, data, parts: part.parts.map(withBuffers) };
}
