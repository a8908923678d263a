import libmime from "libmime";

export type Header = { name: string; value: string };

/** One part of a mail, its body with the transfer encoding undone. */
export type MimePart = {
  /** As Gmail counts: the root has none, its children `0`, `1`, theirs `0.0`. */
  partId: string;
  mimeType: string;
  filename: string;
  headers: Header[];
  body: Buffer;
  parts: MimePart[];
};

/** Reads a whole mail into the tree that Gmail shows of it. Never throws: what is broken is plain text. */
export function parseMime(raw: Buffer): MimePart {
  return readPart(raw, "");
}

/** The headers of a mail in their order, folded lines joined. */
export function parseHeaders(raw: Buffer): Header[] {
  const { head } = splitHead(raw);
  return head
    .toString("utf8")
    .replace(/\r?\n(?=[ \t])/g, "")
    .split(/\r?\n/)
    .flatMap((line) => {
      const colon = line.indexOf(":");
      return colon > 0
        ? [{ name: line.slice(0, colon).trim(), value: line.slice(colon + 1).trim() }]
        : [];
    });
}

export function headerOf(headers: readonly Header[], name: string): string {
  return headers.find((header) => header.name.toLowerCase() === name)?.value ?? "";
}

function readPart(raw: Buffer, partId: string): MimePart {
  const headers = parseHeaders(raw);
  const { body } = splitHead(raw);
  const type = libmime.parseHeaderValue(headerOf(headers, "content-type") || "text/plain");
  const disposition = libmime.parseHeaderValue(headerOf(headers, "content-disposition"));
  const mimeType = type.value.toLowerCase() || "text/plain";
  const name = disposition.params.filename ?? type.params.name ?? "";
  const part = { partId, mimeType, filename: decoded(name), headers };
  const child = (index: number) => (partId === "" ? String(index) : `${partId}.${index}`);
  if (mimeType.startsWith("multipart/") && type.params.boundary) {
    const parts = splitParts(body, type.params.boundary);
    return {
      ...part,
      body: Buffer.alloc(0),
      parts: parts.map((one, index) => readPart(one, child(index))),
    };
  }
  const content = decodeTransfer(body, headerOf(headers, "content-transfer-encoding"));
  const parts = mimeType === "message/rfc822" ? [readPart(content, child(0))] : [];
  return { ...part, body: content, parts };
}

function splitHead(raw: Buffer): { head: Buffer; body: Buffer } {
  const [crlf, lf] = [raw.indexOf("\r\n\r\n"), raw.indexOf("\n\n")];
  const isCrlf = crlf >= 0 && (lf < 0 || crlf < lf);
  const end = isCrlf ? crlf : lf;
  if (end < 0) return { head: raw, body: Buffer.alloc(0) };
  return { head: raw.subarray(0, end), body: raw.subarray(end + (isCrlf ? 4 : 2)) };
}

// RFC 2046, section 5.1: the line break before a delimiter belongs to the delimiter.
function splitParts(body: Buffer, boundary: string): Buffer[] {
  const delimiter = `--${boundary}`;
  const parts: Buffer[] = [];
  let start = -1;
  for (let at = body.indexOf(delimiter); at >= 0; at = body.indexOf(delimiter, at + 1)) {
    const isLineStart = at === 0 || body[at - 1] === 10;
    if (!isLineStart) continue;
    if (start >= 0) parts.push(body.subarray(start, at - (body[at - 2] === 13 ? 2 : 1)));
    const rest = body.subarray(at + delimiter.length, at + delimiter.length + 2);
    if (rest.toString() === "--") return parts;
    const lineEnd = body.indexOf(10, at);
    start = lineEnd < 0 ? body.length : lineEnd + 1;
  }
  if (start >= 0) parts.push(body.subarray(start));
  return parts;
}

function decodeTransfer(body: Buffer, encoding: string): Buffer {
  const name = encoding.trim().toLowerCase();
  if (name === "base64") return Buffer.from(body.toString("latin1"), "base64");
  if (name !== "quoted-printable") return body;
  const text = body
    .toString("latin1")
    .replace(/[ \t]+(?=\r?$)/gm, "")
    .replace(/=\r?\n/g, "")
    .replace(/=([0-9A-F]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(text, "latin1");
}

function decoded(text: string): string {
  try {
    return libmime.decodeWords(text);
  } catch {
    return text;
  }
}
