import { headerOf } from "./mime.ts";
import { headersOf, type Message, treeOf } from "./store.ts";

type Matches = (message: Message) => boolean;
type Reader = { tokens: string[]; at: number };

/**
 * Reads a search as the search box has it: operators, words, quoted phrases, `-`, `OR`, parentheses and braces. Words
 * match whole, as Gmail's do: `to:ai` finds ai+name@example.com, `to:na` does not.
 */
export function readSearch(q: string, now: number): Matches {
  const tokens = q.match(/-?\w+:(?:"[^"]*"|[^\s(){}]+)|-?"[^"]*"|[(){}]|-(?=[({])|[^\s(){}]+/g);
  return readAll({ tokens: tokens ?? [], at: 0 }, null, now);
}

// What stands side by side must all hold; OR binds more closely.
function readAll(reader: Reader, end: string | null, now: number): Matches {
  const all: Matches[] = [];
  while (reader.at < reader.tokens.length && reader.tokens[reader.at] !== end) {
    const any = [readOne(reader, now)];
    while (reader.tokens[reader.at] === "OR") {
      reader.at += 1;
      any.push(readOne(reader, now));
    }
    all.push((message) => any.some((matches) => matches(message)));
  }
  reader.at += 1;
  return (message) => all.every((matches) => matches(message));
}

function readOne(reader: Reader, now: number): Matches {
  const token = reader.tokens[reader.at] ?? "";
  reader.at += 1;
  if (token === "(") return readAll(reader, ")", now);
  if (token === "{") return readAny(reader, now);
  if (token === "-" || (token.startsWith("-") && token.length > 1)) {
    if (token !== "-") {
      reader.at -= 1;
      reader.tokens[reader.at] = token.slice(1);
    }
    const matches = readOne(reader, now);
    return (message) => !matches(message);
  }
  return termOf(token, now);
}

function readAny(reader: Reader, now: number): Matches {
  const any: Matches[] = [];
  while (reader.at < reader.tokens.length && reader.tokens[reader.at] !== "}")
    any.push(readOne(reader, now));
  reader.at += 1;
  return (message) => any.some((matches) => matches(message));
}

function termOf(token: string, now: number): Matches {
  const [, operator = "", rest = token] = /^(\w+):(.*)$/s.exec(token) ?? [];
  const value = rest.replaceAll('"', "");
  const inHeader =
    (...names: string[]): Matches =>
    (message) =>
      headersOf(message).some(
        (header) => names.includes(header.name.toLowerCase()) && hasWords(header.value, value),
      );
  const operators: Record<string, () => Matches> = {
    from: () => inHeader("from"),
    to: () => inHeader("to", "cc", "bcc"),
    cc: () => inHeader("cc"),
    bcc: () => inHeader("bcc"),
    subject: () => inHeader("subject"),
    deliveredto: () => inHeader("delivered-to"),
    list: () => inHeader("list-id"),
    rfc822msgid: () => (message) =>
      headerOf(headersOf(message), "message-id").replace(/[<>]/g, "") ===
      value.replace(/[<>]/g, ""),
    after: () => (message) => message.internalDate >= timeOf(value),
    before: () => (message) => message.internalDate < timeOf(value),
    newer_than: () => (message) => message.internalDate >= now - spanOf(value),
    older_than: () => (message) => message.internalDate < now - spanOf(value),
    in: () => (message) => value === "anywhere" || message.labels.has(value.toUpperCase()),
    is: () => (message) => message.labels.has(value.toUpperCase()) !== (value === "read"),
    label: () => (message) =>
      [...message.labels].some((label) => label.toLowerCase() === value.toLowerCase()),
    has: () => (message) => treeOf(message).parts.some(({ filename }) => filename !== ""),
  };
  return operators[operator.toLowerCase()]?.() ?? ((message) => hasWords(textOf(message), value));
}

/** Whether a search names mail in spam or trash, which is left out otherwise. */
export function asksForHidden(q: string): boolean {
  return /\bin:(spam|trash|anywhere)\b/.test(q);
}

function hasWords(text: string, wanted: string): boolean {
  const words = (value: string) =>
    ` ${
      value
        .toLowerCase()
        .match(/[\p{L}\p{N}_]+/gu)
        ?.join(" ") ?? ""
    } `;
  return words(text).includes(words(wanted));
}

function textOf(message: Message): string {
  const root = treeOf(message);
  const body = (root.parts[0] ?? root).body.toString("utf8");
  return `${headersOf(message)
    .map(({ value }) => value)
    .join(" ")} ${body}`;
}

// A date is midnight in California; seconds are exact. Source: Gmail API guide, "Filtering messages".
function timeOf(value: string): number {
  if (/^\d{9,}$/.test(value)) return Number(value) * 1000;
  return Date.parse(`${value.replaceAll("/", "-")}T00:00:00-08:00`);
}

const spans: Record<string, number> = { d: 86_400_000, m: 30 * 86_400_000, y: 365 * 86_400_000 };

function spanOf(value: string): number {
  const [, amount = "0", unit = "d"] = /^(\d+)([dmy])$/.exec(value) ?? [];
  return Number(amount) * (spans[unit] ?? 0);
}
