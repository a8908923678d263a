import EmailReplyParser from "email-reply-parser";
import { convert } from "html-to-text";
import { beginningOf } from "../lib/text.ts";
import type { MailPart } from "../providers/google/mail-part.ts";
import { fileIdsIn } from "./drive-links.ts";

/** What a mail says, and what came with it. */
export type MailText = {
  text: string;
  /** What it quotes of earlier mails. */
  quoted: string | null;
  signature: string | null;
  /** What was left out, in words. */
  cut: string | null;
  attachments: MailAttachment[];
  /** The files of Google Drive that it links to. */
  fileIds: string[];
};

export type MailAttachment = { name: string; type: string; size: number };

/** A body that has to be fetched before a mail's text can be read. */
export type MissingBody = { attachmentId: string; part: MailPart };

const longestText = 200_000;
const largestBody = 2_000_000;
// How much is searched for quotes and signatures, which takes its time.
const longestSearched = 20_000;

/** The bodies among a mail's texts that Gmail only names, up to two megabytes each. */
export function missingBodies(root: MailPart): MissingBody[] {
  return bodiesOf(root).flatMap((part) =>
    part.data === null && part.attachmentId !== null && part.size <= largestBody
      ? [{ attachmentId: part.attachmentId, part }]
      : [],
  );
}

/**
 * Puts together what a person would read: the plain text where there is one, else the HTML as text. `isParted` tells
 * quotes and signature apart from it. Never throws; a mail may be written to make it take for ever (mail-reading.ts).
 */
export function readMailText(root: MailPart, { isParted }: { isParted: boolean }): MailText {
  const cuts: string[] = [];
  const texts = bodiesOf(root).flatMap((part) => {
    const bytes = part.data;
    if (!bytes) {
      if (part.size > 0) cuts.push(`a text of ${megabytes(part.size)} MB was left out`);
      return [];
    }
    if (bytes.length > largestBody)
      cuts.push(`only the first ${megabytes(largestBody)} MB were read`);
    return [textOf(part, bytes.subarray(0, largestBody))];
  });
  const whole = tidy(texts.filter((text) => text.trim() !== "").join("\n\n"));
  if (whole.length > longestText) {
    cuts.push(`the text was cut after ${longestText.toLocaleString("en")} characters`);
  }
  const text = beginningOf(whole, longestText).toWellFormed();
  return {
    ...(isParted ? partText(text) : { text, quoted: null, signature: null }),
    cut: cuts.length > 0 ? `${cuts.join("; ")}` : null,
    attachments: attachmentsOf(root),
    fileIds: fileIdsIn(alternativesOf(root).map(sourceOf).join("\n")),
  };
}

// The parts that are the mail itself: of alternatives the plain one, of related ones the first, of others each text.
function bodiesOf(part: MailPart): MailPart[] {
  if (part.mimeType === "multipart/alternative") {
    const options = part.parts.map(bodiesOf).filter((bodies) => bodies.length > 0);
    const isPlain = (bodies: MailPart[]) =>
      bodies.every(({ mimeType }) => mimeType === "text/plain");
    const isInvitation = (bodies: MailPart[]) =>
      bodies.every(({ mimeType }) => mimeType === "text/calendar");
    const readable = options.filter((bodies) => !isInvitation(bodies));
    return (
      readable.find((bodies) => isPlain(bodies) && hasText(bodies)) ??
      readable.at(-1) ??
      options.at(-1) ??
      []
    );
  }
  if (part.mimeType === "multipart/related") return part.parts.slice(0, 1).flatMap(bodiesOf);
  if (part.mimeType.startsWith("multipart/")) return part.parts.flatMap(bodiesOf);
  const isText = ["text/plain", "text/html", "text/calendar", "text/enriched"].includes(
    part.mimeType,
  );
  return isText && isWritten(part) ? [part] : [];
}

// What was written, in each form that it was sent in: the plain text of some mailers has lost the links of their HTML.
function alternativesOf(part: MailPart): MailPart[] {
  if (part.mimeType.startsWith("multipart/")) return part.parts.flatMap(alternativesOf);
  const hasLinks = ["text/plain", "text/html"].includes(part.mimeType);
  return hasLinks && isWritten(part) ? [part] : [];
}

function isWritten({ isAttached, filename }: MailPart): boolean {
  return !isAttached && filename === "";
}

function sourceOf({ data, charset }: MailPart): string {
  return data ? decode(data.subarray(0, largestBody), charset) : "";
}

// Some mailers send an empty plain part beside the HTML that says it all.
function hasText(bodies: MailPart[]): boolean {
  return bodies.some(({ data, size }) => (data ? data.toString("latin1").trim() !== "" : size > 0));
}

/** What came with a mail, by name. */
export function attachmentsOf(root: MailPart): MailAttachment[] {
  const bodies = new Set(bodiesOf(root));
  const found: MailAttachment[] = [];
  const visit = (part: MailPart) => {
    const isLeaf = !part.mimeType.startsWith("multipart/");
    const isNamed = part.filename !== "" || part.isAttached || part.mimeType === "message/rfc822";
    const isInvitation = part.mimeType === "text/calendar";
    if (isLeaf && !bodies.has(part) && (isNamed || isInvitation)) {
      const name = part.filename || (isInvitation ? "invite.ics" : "(no name)");
      found.push({
        name: beginningOf(name, 300),
        type: beginningOf(part.mimeType, 200),
        size: part.size,
      });
    }
    // What is inside a forwarded mail belongs to that one.
    if (part.mimeType !== "message/rfc822") part.parts.forEach(visit);
  };
  visit(root);
  return found.slice(0, 100);
}

function textOf({ mimeType, charset }: MailPart, bytes: Buffer): string {
  const text = decode(bytes, charset).replaceAll("\0", "");
  if (mimeType === "text/html") return htmlToText(text);
  if (mimeType === "text/calendar") return invitationText(text);
  return text;
}

function decode(bytes: Buffer, charset: string | null): string {
  try {
    return new TextDecoder(charset ?? "utf-8", { fatal: charset === null }).decode(bytes);
  } catch {
    // Without a charset, or with one that nobody knows, western mailers meant this.
    return new TextDecoder("windows-1252").decode(bytes);
  }
}

/** What a person reads of HTML, quotes marked as in plain text. Bounded in time and depth. */
function htmlToText(html: string): string {
  try {
    return convert(html, {
      wordwrap: false,
      limits: { maxInputLength: largestBody, maxDepth: 100, maxChildNodes: 5_000 },
      selectors: [
        { selector: "img", format: "skip" },
        { selector: "a", options: { hideLinkHrefIfSameAsText: true, ignoreHref: false } },
        { selector: "table", format: "block" },
        ...["h1", "h2", "h3", "h4", "h5", "h6"].map((selector) => ({
          selector,
          options: { uppercase: false },
        })),
      ],
    });
  } catch {
    return "";
  }
}

const invitationLines =
  /^(SUMMARY|DTSTART|DTEND|LOCATION|ORGANIZER|DESCRIPTION)(?:;[^:\n]*)?:(.*)$/gm;

function invitationText(ics: string): string {
  const unfolded = ics.replace(/\r?\n[ \t]/g, "");
  return [...unfolded.matchAll(invitationLines)]
    .map(([, name = "", value = ""]) => {
      const text = value
        .replaceAll("\\n", " ")
        .replace(/\\([,;\\])/g, "$1")
        .trim();
      return `${name.charAt(0)}${name.slice(1).toLowerCase()}: ${text}`;
    })
    .join("\n");
}

function tidy(text: string): string {
  return text
    .replace(/\r\n?/g, "\n")
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n")
    .replace(/\n{4,}/g, "\n\n\n")
    .trim();
}

function partText(whole: string): Pick<MailText, "text" | "quoted" | "signature"> {
  const fragments = new EmailReplyParser().read(whole.slice(0, longestSearched)).getFragments();
  const kept: Record<"text" | "quoted" | "signature", string[]> = {
    text: [],
    quoted: [],
    signature: [],
  };
  for (const fragment of fragments) {
    const kind = fragment.isSignature()
      ? "signature"
      : fragment.isQuoted() && fragment.isHidden()
        ? "quoted"
        : "text";
    kept[kind].push(fragment.getContent());
  }
  // What was not searched goes on where the last piece ends.
  const last = fragments.at(-1);
  const pieces = kept[last?.isQuoted() && last.isHidden() ? "quoted" : "text"];
  pieces.push((pieces.pop() ?? "") + whole.slice(longestSearched));
  const joined = (parts: string[]) =>
    parts
      .map((part) => part.trim())
      .filter(Boolean)
      .join("\n\n");
  const [text, quoted, signature] = [
    joined(kept.text),
    joined(kept.quoted),
    joined(kept.signature),
  ];
  // A mail that only forwards says what it forwards.
  return text === ""
    ? { text: whole, quoted: null, signature: null }
    : { text, quoted: quoted || null, signature: signature || null };
}

function megabytes(bytes: number): string {
  return (bytes / 1_000_000).toFixed(1);
}
