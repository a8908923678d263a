import { Piscina } from "piscina";
import type { MailPart } from "../providers/google/mail-part.ts";
import { catalog } from "../queue/catalog.ts";
import type { MailToRead } from "./mail-reader.ts";
import { attachmentsOf, type MailText } from "./mail-text.ts";

// Started by the first mail, and ended half a minute after the last. As many as mails are taken at once in a process, so
// that none waits behind a slow one.
const threads = new Piscina<MailToRead, MailText>({
  filename: new URL("mail-reader.ts", import.meta.url).href,
  minThreads: 0,
  maxThreads: catalog["mail.take"].settings.concurrency,
  idleTimeout: 30_000,
  resourceLimits: { maxOldGenerationSizeMb: 256 },
});

/**
 * Reads a mail's text in a thread of its own, with a limit of time and memory: quotes are found by expressions that a few
 * hundred characters can keep busy for minutes, and deeply nested HTML takes as long. Without quotes and signature told
 * apart, and at last without a text, rather than not at all. Each of the two tries has `seconds`.
 */
export async function readMailTextApart(
  root: MailPart,
  fetched: ReadonlyMap<MailPart, Buffer>,
  { signal, seconds = 5 }: { signal: AbortSignal; seconds?: number },
): Promise<MailText> {
  const whole = withBodies(root, fetched);
  const text =
    (await readApart({ root: whole, isParted: true }, { signal, seconds })) ??
    (await readApart({ root: whole, isParted: false }, { signal, seconds }));
  if (text) return text;
  const cut = `the text could not be read within ${seconds} seconds`;
  const attachments = attachmentsOf(root);
  return { text: "", quoted: null, signature: null, cut, attachments, fileIds: [] };
}

function withBodies(part: MailPart, fetched: ReadonlyMap<MailPart, Buffer>): MailPart {
  const parts = part.parts.map((one) => withBodies(one, fetched));
  return { ...part, data: fetched.get(part) ?? part.data, parts };
}

async function readApart(
  mail: MailToRead,
  { signal, seconds }: { signal: AbortSignal; seconds: number },
): Promise<MailText | null> {
  const tooSlow = AbortSignal.timeout(seconds * 1_000);
  try {
    return await threads.run(mail, {
      name: "readMail",
      signal: AbortSignal.any([signal, tooSlow]),
    });
  } catch {
    signal.throwIfAborted();
    return null;
  }
}
