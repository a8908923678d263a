import { decodeEntities, hrefsIn, plainText } from "./html.ts";
import { unwrapLink } from "./link-wrappers.ts";
import { type MeetingLink, readMeetingLink } from "./meeting-providers.ts";

/** Where an event can carry the link to its meeting. */
export type LinkSources = {
  entryPoints?: readonly { entryPointType: string; uri: string }[] | null;
  hangoutLink?: string | null;
  location?: string | null;
  description?: string | null;
};

export type FoundLink = MeetingLink & {
  /** The link that lost against `url`, where an event has a Meet link and in its text another one that works. */
  rival: string | null;
};

/** Which link counts where two compete: the one that Google keeps of itself, or the one that people have written. */
export type PreferredLink = "structured" | "text";

// Longer than anything that leads to a meeting, wrapped three times.
const longestLink = 8192;
const mostLinks = 1000;

/**
 * Finds the meeting that an event leads to: in its conference data, its Meet link, its location, its description. Within
 * one text a link that a bot can join comes before others. Google adds Meet links by itself, so where the text has a link
 * of another provider, `prefer` decides.
 */
export function findMeetingUrl(event: LinkSources, prefer: PreferredLink): FoundLink | null {
  const structured = structuredLink(event);
  if (structured && structured.provider !== "google_meet") return { ...structured, rival: null };
  const written = linkIn(event.location) ?? linkIn(event.description);
  const link = structured ?? written;
  if (!link || !written) return link && { ...link, rival: null };
  const isRival = written.provider !== link.provider && isAttendeeJoinable(written.url);
  if (!isRival) return { ...link, rival: null };
  return prefer === "text" ? { ...written, rival: link.url } : { ...link, rival: written.url };
}

/** Reads one link, wrapped, escaped or without a scheme as people write them. Null when it leads to no meeting we know. */
export function normaliseMeetingUrl(link: string): MeetingLink | null {
  if (link.length > longestLink) return null;
  const written = parseNative(bareLink(link));
  const url = written && unwrapLink(written);
  if (!url || !isPlainWeb(url)) return null;
  url.hostname = url.hostname.replace(/\.$/, "");
  const meeting = readMeetingLink(url);
  // What was wrapped can itself be escaped or end in punctuation, and every form of a link must come to the same.
  if (!meeting || bareLink(meeting.url) === meeting.url) return meeting;
  return normaliseMeetingUrl(bareLink(meeting.url));
}

/** Whether two links lead to the same meeting, however they are written. */
export function isSameMeeting(one: string, other: string): boolean {
  if (one === other) return true;
  const [first, second] = [normaliseMeetingUrl(one), normaliseMeetingUrl(other)];
  return first !== null && first.provider === second?.provider && first.key === second.key;
}

/** The same text for every link that leads to the same meeting. */
export function placeOf(link: string): string {
  const found = normaliseMeetingUrl(link);
  return found ? `${found.provider}:${found.key}` : link;
}

/**
 * Whether Attendee sends its bot to the right meeting by this URL, as it stands. Stricter than Attendee, which also takes
 * some that it then cuts to something else.
 */
export function isAttendeeJoinable(link: string): boolean {
  const url = link.length <= 2048 ? parse(link) : null;
  if (!url || !isPlainWeb(url) || leadsElsewhere(link)) return false;
  const { hostname: host, pathname: path, searchParams: query } = url;
  if (/^(?:[\w-]+\.)*zoom\.(?:us|com)$/.test(host)) {
    const isNumbered = /^\/(?:(?:[jws]|wc\/join)\/\d+|wc\/\d+\/(?:join|start))\/?$/.test(path);
    // Of a password it keeps letters, digits and one suffix; the rest is cut off.
    return isNumbered && /^(?:[a-z0-9]+(?:\.\d+)?)?$/i.test(query.get("pwd") ?? "");
  }
  if (host === "meet.google.com") return /^\/[a-z]+(?:-[a-z]+)+\/?$/i.test(path);
  if (host !== "teams.microsoft.com" && host !== "teams.live.com") return false;
  if (/^\/meet\/\d+$/.test(path)) return Boolean(query.get("p"));
  const context = query.get("context") ?? "";
  return (
    /^\/l\/meetup-join\/[^/]+\/[^/]+$/.test(path) && /"Tid":"[^"]+".*"Oid":"[^"]+"/.test(context)
  );
}

function structuredLink({ entryPoints, hangoutLink }: LinkSources): MeetingLink | null {
  for (const { entryPointType, uri } of entryPoints ?? []) {
    const link = entryPointType === "video" ? normaliseMeetingUrl(uri) : null;
    if (link) return link;
  }
  return hangoutLink ? normaliseMeetingUrl(hangoutLink) : null;
}

function linkIn(text: string | null | undefined): MeetingLink | null {
  if (!text) return null;
  let first: MeetingLink | null = null;
  for (const candidate of candidatesIn(text)) {
    const link = normaliseMeetingUrl(candidate);
    if (link && isAttendeeJoinable(link.url)) return link;
    first ??= link;
  }
  return first;
}

// What a link is shown as can be shortened or another address altogether, so where it leads comes first.
function* candidatesIn(text: string): Generator<string> {
  let left = mostLinks;
  for (const href of hrefsIn(text)) {
    if (left-- === 0) return;
    yield href;
  }
  for (const [match] of plainText(text).matchAll(linkInText)) {
    for (const candidate of match.split(betweenLinks)) {
      if (left-- <= 0) return;
      yield candidate;
    }
  }
}

// A link ends at white space, quotes, brackets and the punctuation of other scripts; in Teams' links braces hold quotes.
// Without a scheme it must be a whole name followed by a path. No two parts can match the same text in two ways, and all
// that repeats before a decision is limited, so the time is linear whatever the text.
const body = String.raw`(?:[^\s<>"${"`"}{}|\\^\u00ab\u00bb\u2000-\u206f\u3000-\u303f\uff00-\uffef]|\{[^\s<>{}]{0,300}\})+`;
const scheme = String.raw`(?:https?|zoommtg|zoomus|msteams):\/{0,2}`;
const bareHost = String.raw`(?<![\p{L}\p{N}_@.\-\/%=&?#])(?:[a-z0-9-]{1,63}\.){1,6}[a-z]{2,24}\/`;
const linkInText = new RegExp(`(?:${scheme}|${bareHost})${body}`, "giu");
const betweenLinks = /[,;|)\]](?=(?:https?|zoommtg|zoomus|msteams):)/i;

// The schemes that start the providers' own apps say the same as their web addresses.
function parseNative(link: string): URL | null {
  const web = link
    .replace(/^(?:zoommtg|zoomus):\/\//i, "https://")
    .replace(/^msteams:(?:\/\/teams\.microsoft\.com)?(?=\/)/i, "https://teams.microsoft.com");
  return parse(web);
}

function parse(link: string): URL | null {
  return URL.parse(/^[a-z][a-z0-9+-]*:/i.test(link) ? link : `https://${link}`);
}

// A meeting is where its provider says: not behind a name and password, nor on another port.
function isPlainWeb({ protocol, username, password, port }: URL): boolean {
  const isWeb = protocol === "https:" || protocol === "http:";
  return isWeb && username === "" && password === "" && (port === "" || port === "443");
}

// Without the entities of HTML, and without what encloses a link or ends its sentence.
function bareLink(link: string): string {
  const text = decodeEntities(link).trim();
  let [start, end] = [0, text.length];
  while (start < end && `<([{"'*`.includes(text[start] ?? " ")) start++;
  while (end > start && `.,;:!?)>]}"'*`.includes(text[end - 1] ?? " ")) {
    // The brace that closes what a link of Teams holds belongs to it.
    if (text[end - 1] === "}" && text.indexOf("{", start) !== -1) break;
    end--;
  }
  return text.slice(start, end);
}

// Attendee refuses a link that holds another one, plain, escaped once or twice, or as base64.
function leadsElsewhere(link: string): boolean {
  let inner = link.replace(/^https?:\/\//i, "");
  for (let step = 0; step < 3; step++) {
    if (/https?:\/\/|aHR0c(?:DovL|HM6Ly)/.test(inner)) return true;
    inner = inner.replace(/%([0-9a-f]{2})/gi, (_, code: string) =>
      String.fromCharCode(Number.parseInt(code, 16)),
    );
  }
  return false;
}
