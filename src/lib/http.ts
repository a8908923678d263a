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
