import { decodeHTMLStrict } from "entities";

// Each expression stops at the next character that could begin another match, so that none looks at a text twice.
// A tag needs a name that ends: `<https://...>` in plain text is an address, not a tag.
const tag = /<(?:\/?[a-z][a-z0-9-]*(?:[\s/][^<>]*)?|!--[^<>]*)>/gi;
const href = /\bhref\s{0,9}=\s{0,9}(?:"([^"]*)"|'([^']*)'|([^\s"'<>]+))/gi;

/** What a person reads of a text that may be HTML: without tags, entities decoded, white space collapsed. */
export function plainText(html: string): string {
  return decodeEntities(html.replace(tag, " ")).replace(/\s+/g, " ").trim();
}

/** Where the links of a text lead that may be HTML, in order. */
export function* hrefsIn(html: string): Generator<string> {
  for (const [, quoted, single, bare] of html.matchAll(href)) {
    yield quoted ?? single ?? bare ?? "";
  }
}

/** Only references that end in a semicolon: `?a=1&copy=2` is a query, not a copyright sign. */
export function decodeEntities(text: string): string {
  return text.includes("&") ? decodeHTMLStrict(text) : text;
}
