import { convert } from "html-to-text";
import mammoth from "mammoth";
import { extractText, getDocumentProxy } from "unpdf";
import { fromBufferPromise } from "yauzl";
import { decoded, type Extracted, type Kind } from "./file-text.ts";

// A process of its own (file-text.ts starts and ends it): what is read here may be made to harm its reader.

const mostUnpacked = 200_000_000;

const readers: Record<Kind, (content: Buffer) => Promise<string>> = {
  plain: async (content) => content.toString("utf8"),
  html: async (content) =>
    convert(htmlOf(content), {
      wordwrap: false,
      limits: { maxInputLength: 5_000_000, maxDepth: 200, maxBaseElements: 1_000 },
      selectors: [
        { selector: "a", options: { ignoreHref: true } },
        { selector: "img", format: "skip" },
      ],
    }),
  pdf: async (content) => {
    const document = await getDocumentProxy(new Uint8Array(content));
    const { text } = await extractText(document, { mergePages: false });
    return text.join("\n\n");
  },
  docx: async (content) => {
    await requireModest(content);
    return (await mammoth.extractRawText({ buffer: content })).value;
  },
};

// Source: HTML, "Determining the character encoding": what the page itself says, within its first 1024 bytes.
function htmlOf(content: Buffer): string {
  const head = content.subarray(0, 1_024).toString("latin1");
  const charset = /<meta\b[^>]{0,200}\bcharset\s{0,9}=\s{0,9}["']?([\w.:-]{1,60})/i.exec(head)?.[1];
  try {
    return charset ? new TextDecoder(charset).decode(content) : decoded(content);
  } catch {
    return decoded(content);
  }
}

// What an archive says of itself may be a lie; then the limit of memory holds.
async function requireModest(content: Buffer): Promise<void> {
  const archive = await fromBufferPromise(content);
  let unpacked = 0;
  for await (const { uncompressedSize } of archive.eachEntry()) {
    unpacked += uncompressedSize;
    if (unpacked > mostUnpacked) throw new Error("It unpacks to more than can be read");
  }
}

process.on("message", async (message) => {
  const { content, kind } = message as { content: Uint8Array; kind: Kind };
  let answer: Extracted;
  try {
    answer = { text: await readers[kind](Buffer.from(content)) };
  } catch (error) {
    const isKnown = error instanceof Error && error.message.startsWith("It unpacks");
    answer = { problem: isKnown ? error.message : "It is damaged, or protected by a password" };
  }
  process.send?.(answer);
});
