import { createHmac } from "node:crypto";
import { type Secret, sameSecret } from "../lib/secrets.ts";

/**
 * Whether Attendee signed a body: HMAC-SHA256, by the project's base64 secret, over the body's canonical JSON. The body as
 * it was sent is another serialisation, and never matches. Source: Attendee's `webhook_utils.py`.
 */
export function isSignedByAttendee(secret: Secret, signature: string, body: string): boolean {
  const canonical = canonicalJson(body);
  if (canonical === null) return false;
  const key = Buffer.from(secret.reveal(), "base64");
  const expected = createHmac("sha256", key).update(canonical).digest("base64");
  return sameSecret(signature, expected);
}

const deepest = 64;
const token = /\s*([{}[\],:]|"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|NaN|-?Infinity)/y;

/**
 * The same JSON as Python prints it with sorted keys and no spaces: keys by code point, each number as it was spelled,
 * strings with the fewest escapes. Null for what is no JSON.
 *
 * Parsing and printing again would not do: JavaScript prints 1.0 as 1, and puts keys that look like numbers first.
 */
export function canonicalJson(text: string): string | null {
  const tokens = tokensOf(text);
  if (!tokens) return null;
  let at = 0;
  const value = (depth: number): string => {
    const first = tokens[at++];
    if (first === undefined || depth > deepest) throw new SyntaxError();
    if (first === "{") return `{${members(depth)}}`;
    if (first === "[") return `[${items(depth)}]`;
    if ("}],:".includes(first)) throw new SyntaxError();
    return first.startsWith('"') ? JSON.stringify(JSON.parse(first)) : first;
  };
  // Reads what is separated by commas, up to `end`.
  const each = (end: string, read: () => void): void => {
    if (tokens[at] === end) {
      at += 1;
      return;
    }
    for (;;) {
      read();
      const next = tokens[at++];
      if (next === end) return;
      if (next !== ",") throw new SyntaxError();
    }
  };
  const items = (depth: number): string => {
    const all: string[] = [];
    each("]", () => all.push(value(depth + 1)));
    return all.join(",");
  };
  const members = (depth: number): string => {
    // Of a key that comes twice Python keeps the last.
    const all = new Map<string, string>();
    each("}", () => {
      const key = tokens[at++];
      if (!key?.startsWith('"') || tokens[at++] !== ":") throw new SyntaxError();
      all.set(JSON.parse(key), value(depth + 1));
    });
    return [...all]
      .sort(([one], [other]) => byCodePoint(one, other))
      .map(([key, content]) => `${JSON.stringify(key)}:${content}`)
      .join(",");
  };
  try {
    const canonical = value(0);
    return at === tokens.length ? canonical : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

function tokensOf(text: string): string[] | null {
  const tokens: string[] = [];
  const whole = text.trimEnd();
  token.lastIndex = 0;
  while (token.lastIndex < whole.length) {
    const found = token.exec(whole)?.[1];
    if (found === undefined) return null;
    tokens.push(found);
  }
  return tokens;
}

// By UTF-16 units, as strings compare here, what is outside the basic plane would come before U+E000 to U+FFFF.
function byCodePoint(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other));
}
