import { z } from "zod";
import { listOf, orNull, text as Text, textOrNull } from "./lenient.ts";

/** One part of a mail's tree, as Gmail has parsed it. */
export type MailPart = {
  /** In lower case; `multipart/*` has parts, `message/rfc822` another mail. */
  mimeType: string;
  filename: string;
  charset: string | null;
  isAttached: boolean;
  size: number;
  /** The bytes, with their transfer encoding undone. Null where they have to be fetched by `attachmentId`. */
  data: Buffer | null;
  attachmentId: string | null;
  parts: MailPart[];
};

// Nobody nests or counts further than this but to be of trouble.
const deepest = 30;
const mostParts = 500;

/** Reads Gmail's tree of parts; what lies deeper or further than anybody would put it is left out. */
export function readPart(payload: unknown): MailPart {
  let left = mostParts;
  const read = (value: unknown, depth: number): MailPart => {
    left -= 1;
    const part = Part.parse(value);
    const type = headerOf(part.headers, "content-type");
    const disposition = headerOf(part.headers, "content-disposition");
    return {
      mimeType: (part.mimeType ?? "text/plain").toLowerCase(),
      filename: part.filename ?? "",
      charset: /charset\s*=\s*"?([\w.:-]{1,60})/i.exec(type)?.[1] ?? null,
      isAttached: /^\s*attachment/i.test(disposition),
      size: part.body?.size ?? 0,
      data: part.body?.data == null ? null : Buffer.from(part.body.data, "base64"),
      attachmentId: part.body?.attachmentId ?? null,
      parts:
        depth >= deepest
          ? []
          : part.parts.slice(0, Math.max(left, 0)).map((one) => read(one, depth + 1)),
    };
  };
  return read(payload, 0);
}

const Part = z
  .looseObject({
    mimeType: textOrNull,
    filename: textOrNull,
    headers: listOf(z.object({ name: Text, value: Text })),
    body: orNull(
      z.object({
        size: orNull(z.number().int().min(0)),
        // Base64 in the alphabet of URLs; Node reads both, with padding or without.
        data: orNull(z.string()),
        attachmentId: orNull(z.string()),
      }),
    ),
    parts: z.array(z.unknown()).default([]).catch([]),
  })
  .catch({ mimeType: null, filename: null, headers: [], body: null, parts: [] });

function headerOf(headers: { name: string; value: string }[], name: string): string {
  return headers.find((one) => one.name.toLowerCase() === name)?.value ?? "";
}
