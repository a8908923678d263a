import { escapeUTF8 } from "entities";
import type { Header, MimePart } from "./mime.ts";
import { headersOf, type Message, treeOf } from "./store.ts";

export type Format = "minimal" | "metadata" | "full" | "raw";

/** A mail as `messages.get` shows it. */
export function messageOf(message: Message, format: Format, metadataHeaders: string[]): unknown {
  if (message.malformed !== undefined) return message.malformed;
  const minimal = {
    id: message.id,
    threadId: message.threadId,
    // Absent where a message has none.
    ...(message.labels.size > 0 ? { labelIds: [...message.labels] } : {}),
    snippet: snippetOf(message),
    sizeEstimate: message.raw.length,
    historyId: String(message.historyId),
    internalDate: String(message.internalDate),
  };
  const shapes: Record<Format, () => unknown> = {
    minimal: () => minimal,
    metadata: () => ({
      ...minimal,
      payload: {
        mimeType: treeOf(message).mimeType,
        headers: chosen(headersOf(message), metadataHeaders),
      },
    }),
    full: () => ({ ...minimal, payload: payloadOf(message.id, treeOf(message)) }),
    raw: () => ({ ...minimal, raw: message.raw.toString("base64url") }),
  };
  return shapes[format]();
}

/** The bytes behind an attachment's id; null for an id that names none. */
export function attachmentOf(message: Message, attachmentId: string): Buffer | null {
  const [, partId = ""] = Buffer.from(attachmentId, "base64url").toString().split("/");
  return findPart(treeOf(message), partId)?.body ?? null;
}

function chosen(headers: Header[], names: string[]): Header[] {
  if (names.length === 0) return headers;
  const wanted = names.map((name) => name.toLowerCase());
  return headers.filter(({ name }) => wanted.includes(name.toLowerCase()));
}

// Whatever has a file's name, and a text that is too large, has to be fetched by itself.
const largestInline = 2_000_000;

function payloadOf(messageId: string, part: MimePart): unknown {
  const { partId, mimeType, filename, headers, parts } = part;
  return {
    partId,
    mimeType,
    filename,
    headers,
    body: parts.length > 0 && part.body.length === 0 ? { size: 0 } : bodyOf(messageId, part),
    ...(parts.length > 0 ? { parts: parts.map((one) => payloadOf(messageId, one)) } : {}),
  };
}

function bodyOf(messageId: string, { partId, filename, body }: MimePart) {
  if (filename === "" && body.length <= largestInline) {
    return { size: body.length, data: body.toString("base64url") };
  }
  // The ids are others in every answer.
  const id = Buffer.from(`${messageId}/${partId}/${Math.random()}`).toString("base64url");
  return { attachmentId: id, size: body.length };
}

function findPart(part: MimePart, partId: string): MimePart | null {
  if (part.partId === partId) return part;
  return part.parts.map((one) => findPart(one, partId)).find((found) => found) ?? null;
}

function snippetOf(message: Message): string {
  const root = treeOf(message);
  const texts = (part: MimePart): MimePart[] =>
    part.mimeType === "text/plain" && part.filename === "" ? [part] : part.parts.flatMap(texts);
  const text = texts(root)[0]?.body.subarray(0, 1_000).toString("utf8") ?? "";
  return escapeUTF8(text.replace(/\s+/g, " ").trim().slice(0, 200));
}
