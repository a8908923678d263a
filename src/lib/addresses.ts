import { domainToASCII } from "node:url";
import libmime from "libmime";
import { beginningOf } from "./text.ts";

/** One mailbox of an address header. */
export type Mailbox = {
  /** What stands before the address, decoded, on one line. Says nothing about who it is. */
  name: string | null;
  /** As it was written, without quotes and comments. */
  local: string;
  /** In lower case, in its ASCII form. A literal keeps its brackets. */
  domain: string;
};

// Whoever writes a mail decides how long its headers are.
const longestHeader = 100_000;
const mostMailboxes = 1_000;
const longestLocal = 64;
const longestName = 5_000;
const longestAddress = 254;

/**
 * The mailboxes of an address header's raw value, in order: RFC 5322 with groups, comments, quoted strings and folded
 * lines, RFC 6532 with other scripts, and what mailers send besides (empty members, unquoted commas, semicolons in the
 * place of commas). Encoded words are decoded in names only, after everything else, so that a name is never taken for an
 * address. Where a quote, a comment or an angle is not closed, nothing behind it counts. Never throws.
 */
export function parseAddresses(value: string): Mailbox[] {
  const reader = { text: beginningOf(value, longestHeader).replace(/\r\n?|\n/g, " "), at: 0 };
  const mailboxes: Mailbox[] = [];
  while (reader.at < reader.text.length && mailboxes.length < mostMailboxes) {
    mailboxes.push(...readMember(reader));
  }
  return mailboxes.slice(0, mostMailboxes);
}

/** An address in the form that two of them are compared in: in lower case, composed, its domain in ASCII. */
export function comparable({ local, domain }: Pick<Mailbox, "local" | "domain">): string {
  return `${local.normalize("NFC").toLowerCase()}@${domain}`;
}

/** The only mailbox of a text, null where it holds none or several. */
export function soleAddress(text: string): Mailbox | null {
  const [first, ...others] = parseAddresses(text);
  return first && others.length === 0 ? first : null;
}

/** A text of a header for people: encoded words decoded, on one line, without control characters. */
export function decodeHeader(value: string): string {
  return oneLine(decodeWords(beginningOf(value, longestHeader)));
}

type Reader = { text: string; at: number };
/** A piece of a member: a quoted string is told apart, since nothing in it is syntax. */
type Piece = { text: string; isQuoted: boolean };

// Reads up to the comma or semicolon that ends a member; a colon begins a group, whose name is forgotten.
function readMember(reader: Reader): Mailbox[] {
  const pieces: Piece[] = [];
  const angles: Piece[][] = [];
  let hasAt = false;
  while (reader.at < reader.text.length) {
    const sign = reader.text[reader.at];
    if (sign === "," || sign === ";") {
      reader.at += 1;
      return mailboxesOf(pieces, angles);
    }
    if (sign === ":" && angles.length === 0 && !hasAt) {
      reader.at += 1;
      pieces.length = 0;
    } else if (sign === "<") {
      const angle = readAngle(reader);
      if (!angle) return nothingBehind(reader);
      angles.push(angle);
    } else {
      const piece = readPiece(reader);
      if (!piece) return nothingBehind(reader);
      add(pieces, piece);
      hasAt ||= isAt(piece);
    }
  }
  return mailboxesOf(pieces, angles);
}

function nothingBehind(reader: Reader): Mailbox[] {
  reader.at = reader.text.length;
  return [];
}

const encodedWord = /=\?[^?\s]{1,60}\?[bq]\?[^?\r\n]{0,2000}\?=/iy;
const plainText = /[^\s"(<>,;:[\]@\\]+/y;
const whiteSpace = /\s+/y;

// Null where something that was opened is not closed.
function readPiece(reader: Reader): Piece | null {
  const sign = reader.text[reader.at];
  if (sign === '"') return readQuoted(reader);
  if (sign === "(") return skipComment(reader) ? { text: " ", isQuoted: false } : null;
  if (sign === "[") return readLiteral(reader);
  if (take(reader, whiteSpace)) return { text: " ", isQuoted: false };
  const text = take(reader, encodedWord) ?? take(reader, plainText) ?? skipOne(reader);
  return { text, isQuoted: false };
}

function take(reader: Reader, pattern: RegExp): string | null {
  pattern.lastIndex = reader.at;
  const found = pattern.exec(reader.text)?.[0] ?? null;
  reader.at += found?.length ?? 0;
  return found;
}

function skipOne(reader: Reader): string {
  reader.at += 1;
  return reader.text[reader.at - 1] ?? "";
}

function readQuoted(reader: Reader): Piece | null {
  let text = "";
  for (reader.at += 1; reader.at < reader.text.length; reader.at += 1) {
    const sign = reader.text[reader.at];
    if (sign === '"') {
      reader.at += 1;
      return { text, isQuoted: true };
    }
    if (sign === "\\") reader.at += 1;
    text += reader.text[reader.at] ?? "";
  }
  return null;
}

function skipComment(reader: Reader): boolean {
  let depth = 0;
  for (; reader.at < reader.text.length; reader.at += 1) {
    const sign = reader.text[reader.at];
    if (sign === "\\") reader.at += 1;
    else if (sign === "(") depth += 1;
    else if (sign === ")") {
      depth -= 1;
      if (depth === 0) {
        reader.at += 1;
        return true;
      }
    }
  }
  return false;
}

const literal = /\[[^\][\\]{0,255}\]/y;

function readLiteral(reader: Reader): Piece {
  return { text: take(reader, literal) ?? skipOne(reader), isQuoted: false };
}

// What stands between angles, without the route that an old mailer may have put before the address.
function readAngle(reader: Reader): Piece[] | null {
  const pieces: Piece[] = [];
  for (reader.at += 1; reader.at < reader.text.length; ) {
    const sign = reader.text[reader.at];
    if (sign === ">") {
      reader.at += 1;
      return pieces;
    }
    if (sign === "<") return null;
    const piece = readPiece(reader);
    if (!piece) return null;
    const isRouteEnd = piece.text === ":" && pieces[0] !== undefined && isAt(pieces[0]);
    if (isRouteEnd) pieces.length = 0;
    else add(pieces, piece);
  }
  return null;
}

// White space in a row, comments among it, is one.
function add(pieces: Piece[], piece: Piece): void {
  if (!(isSpace(piece) && isSpace(pieces.at(-1)))) pieces.push(piece);
}

function isSpace(piece: Piece | undefined): boolean {
  return piece?.isQuoted === false && piece.text === " ";
}

function isAt({ text, isQuoted }: Piece): boolean {
  return !isQuoted && text === "@";
}

function mailboxesOf(pieces: Piece[], angles: Piece[][]): Mailbox[] {
  if (angles.length > 0) {
    const name = nameOf(pieces);
    return angles.flatMap((angle) => addressOf(trimmed(angle), name) ?? []);
  }
  const words = wordsOf(pieces);
  const addressed = words.filter((word) => word.some(isAt));
  const [word] = addressed;
  // An address may follow a name without angles; anywhere else it is part of a sentence.
  if (!word || addressed.length > 1 || word !== words.at(-1)) return [];
  const found = addressOf(word, nameOf(words.filter((one) => one !== word).flatMap(spaced)));
  return found ? [found] : [];
}

const spaced = (word: Piece[]): Piece[] => [...word, { text: " ", isQuoted: false }];

// White space parts words, but not around the dots and the at-sign of an address.
function wordsOf(pieces: Piece[]): Piece[][] {
  const words: Piece[][] = [[]];
  for (const [index, piece] of pieces.entries()) {
    if (!isSpace(piece)) words.at(-1)?.push(piece);
    else if (!isTight(pieces[index - 1], pieces[index + 1])) words.push([]);
  }
  return words.filter((word) => word.length > 0);
}

function isTight(before: Piece | undefined, after: Piece | undefined): boolean {
  const fits = (piece: Piece | undefined, pattern: RegExp) =>
    piece !== undefined && !piece.isQuoted && pattern.test(piece.text);
  return fits(before, /^@$|\.$/) || fits(after, /^@$|^\./);
}

function trimmed(pieces: Piece[]): Piece[] {
  const words = wordsOf(pieces);
  return words.length === 1 ? (words[0] ?? []) : [];
}

function addressOf(word: Piece[], name: string | null): Mailbox | null {
  const at = word.findLastIndex(isAt);
  if (at < 1) return null;
  const local = localOf(word.slice(0, at));
  const domain = domainOf(
    word
      .slice(at + 1)
      .map(({ text }) => text)
      .join(""),
  );
  if (!local || !domain || Buffer.byteLength(local) > longestLocal) return null;
  return local.length + 1 + domain.length > longestAddress ? null : { name, local, domain };
}

const atoms = /^[^\s\p{Cc}"(),:;<>@[\\\]]+$/u;

function localOf(pieces: Piece[]): string | null {
  const isWhole = pieces.every(({ text, isQuoted }) =>
    isQuoted ? !/\p{Cc}/u.test(text) : atoms.test(text),
  );
  return isWhole ? pieces.map(({ text }) => text).join("") : null;
}

const label = /^[\p{L}\p{N}\p{M}_-]+$/u;

function domainOf(text: string): string | null {
  if (/^\[[^\][\\\s]{1,250}\]$/.test(text)) return text.toLowerCase();
  // The dots of other scripts count as dots.
  const labels = text
    .normalize("NFC")
    .replace(/[。．｡]/g, ".")
    .replace(/\.$/, "")
    .split(".");
  if (!labels.every((one) => label.test(one)) || /^\d+$/.test(labels.at(-1) ?? "")) return null;
  return domainToASCII(labels.join(".")) || null;
}

function nameOf(pieces: Piece[]): string | null {
  const text = oneLine(
    decodeWords(
      pieces
        .map((piece) => piece.text)
        .join("")
        .slice(0, longestName),
    ),
  );
  return text === "" ? null : text;
}

function decodeWords(text: string): string {
  if (!text.includes("=?")) return text;
  try {
    return libmime.decodeWords(text);
  } catch {
    // A charset that nobody knows: as it was written it is of more use than nothing.
    return text;
  }
}

function oneLine(text: string): string {
  const line = text
    .toWellFormed()
    .replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, " ")
    .replace(/\s+/g, " ")
    .trim();
  return beginningOf(line, 1_000);
}
