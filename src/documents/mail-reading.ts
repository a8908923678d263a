import { Worker } from "node:worker_threads";
import type { MailPart } from "../providers/google/mail-part.ts";
import { attachmentsOf, type MailText } from "./mail-text.ts";

const secondsAllowed = 5;
const megabytesAllowed = 256;

/**
 * Reads a mail's text in a thread of its own, with a limit of time and memory: quotes are found by expressions that a few
 * hundred characters can keep busy for minutes, and deeply nested HTML takes as long. Without quotes and signature told
 * apart, and at last without a text, rather than not at all.
 */
export async function readMailTextApart(
  root: MailPart,
  fetched: ReadonlyMap<MailPart, Buffer>,
  { signal }: { signal: AbortSignal },
): Promise<MailText> {
  const whole = withBodies(root, fetched);
  const text =
    (await readApart(whole, { isParted: true, signal })) ??
    (await readApart(whole, { isParted: false, signal }));
  if (text) return text;
  const cut = `the text could not be read within ${secondsAllowed} seconds`;
  return { text: "", quoted: null, signature: null, cut, attachments: attachmentsOf(root) };
}

function withBodies(part: MailPart, fetched: ReadonlyMap<MailPart, Buffer>): MailPart {
  const parts = part.parts.map((one) => withBodies(one, fetched));
  return { ...part, data: fetched.get(part) ?? part.data, parts };
}

async function readApart(
  root: MailPart,
  { isParted, signal }: { isParted: boolean; signal: AbortSignal },
): Promise<MailText | null> {
  signal.throwIfAborted();
  const worker = new Worker(new URL("mail-reader.ts", import.meta.url), {
    workerData: { root, isParted },
    resourceLimits: { maxOldGenerationSizeMb: megabytesAllowed },
  });
  const { promise, resolve } = Promise.withResolvers<MailText | null>();
  const giveUp = () => resolve(null);
  const tooSlow = setTimeout(giveUp, secondsAllowed * 1_000);
  signal.addEventListener("abort", giveUp);
  worker.on("message", resolve).on("error", giveUp).on("exit", giveUp);
  try {
    const text = await promise;
    signal.throwIfAborted();
    return text;
  } finally {
    clearTimeout(tooSlow);
    signal.removeEventListener("abort", giveUp);
    await worker.terminate();
  }
}
