/**
 * The body of an answer, null where it is larger than `maxBytes`: the rest is then not read. A length header can be missing
 * and says nothing about what it unpacks to, so the bytes themselves are counted.
 */
export async function readAtMost(answer: Response, maxBytes: number): Promise<Buffer | null> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of answer.body ?? []) {
    size += chunk.byteLength;
    if (size > maxBytes) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The seconds until a moment that a header names: their number, or a date. Undefined where it names none. Source: RFC 9110, 10.2.3. */
export function secondsUntil(moment: string | null | undefined, now: Date): number | undefined {
  const given = moment?.trim() ?? "";
  if (/^\d{1,9}(\.\d+)?$/.test(given)) return Number(given);
  // What else is a number, such as -1, is no date.
  const at = Number.isNaN(Number(given)) ? Date.parse(given) : Number.NaN;
  return Number.isNaN(at) ? undefined : (at - now.getTime()) / 1000;
}
