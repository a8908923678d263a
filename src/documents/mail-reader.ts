import { parentPort, workerData } from "node:worker_threads";
import type { MailPart } from "../providers/google/mail-part.ts";
import { readMailText } from "./mail-text.ts";

// A thread of its own, which mail-reading.ts starts and ends.

const { root, isParted } = workerData as { root: MailPart; isParted: boolean };

// On its way here a buffer becomes plain bytes.
function withBuffers(part: MailPart): MailPart {
  const data = part.data && Buffer.from(part.data);
  return { ...part, data, parts: part.parts.map(withBuffers) };
}

parentPort?.postMessage(readMailText(withBuffers(root), { isParted }));
