import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { computingMs } from "../../test/timing.ts";
import { events, joinable, links } from "./meeting-url.cases.ts";
import { findMeetingUrl, isAttendeeJoinable, normaliseMeetingUrl } from "./meeting-url.ts";

test("a link is read as the meeting it leads to, in whatever form it is written", () => {
  for (const [written, url, key] of links) {
    const link = normaliseMeetingUrl(written);
    assert.equal(link?.url ?? null, url, written);
    if (key) assert.equal(link?.key, key, written);
  }
});

test("what was read is read again as the same", () => {
  for (const [written] of links) {
    const link = normaliseMeetingUrl(written);
    if (link) assert.deepEqual(normaliseMeetingUrl(link.url), link);
  }
});

test("a link that stands in a text is found as it is found alone", () => {
  for (const [written, url] of links) {
    if (url === null || written.includes('"') || /^[<(]/.test(written)) continue;
    assert.equal(
      findMeetingUrl({ location: `Room 4, ${written} at 10` }, "structured")?.url,
      url,
      written,
    );
  }
});

test("an event's link is looked for in conference data, the Meet link, location and description", () => {
  for (const [what, event, url, rival] of events) {
    const found = findMeetingUrl(event, "structured");
    assert.equal(found?.url ?? null, url, what);
    if (found) assert.equal(found.rival, rival ?? null, what);
  }
});

test("where Google's own link and one in the text compete, the caller decides", () => {
  for (const [what, event, url, rival] of events) {
    const found = findMeetingUrl(event, "text");
    assert.equal(found?.url ?? null, rival ?? url, what);
    if (rival) assert.equal(found?.rival, url, what);
  }
});

test("only what Attendee joins rightly counts as joinable", () => {
  for (const [link, isJoinable] of joinable)
    assert.equal(isAttendeeJoinable(link), isJoinable, link);
});

const pieces = fc.constantFrom(
  ...[
    "https://",
    "zoom.us",
    "meet.google.com",
    "/abc-defg-hij",
    "/j/123",
    "@",
    "<a href=",
    '"',
    "'",
    ">",
    "<",
  ],
  ...[
    "&amp;",
    "%2F",
    "{",
    "}",
    "?pwd=",
    "#",
    ":",
    " ",
    "\0",
    "\ud800",
    "teams.microsoft.com",
    "/l/meetup-join/a/0",
  ],
  ...[
    "https://www.google.com/url?q=",
    "https://urldefense.com/v3/__",
    "__;",
    "*",
    "**A",
    "coords=",
    "webex.com",
  ],
);
const soup = fc
  .array(fc.oneof(pieces, fc.string({ unit: "binary", maxLength: 8 })), { maxLength: 40 })
  .map((all) => all.join(""));

test("whatever the text, what is found is an https address of a known host", () => {
  fc.assert(
    fc.property(soup, soup, (location, description) => {
      const found = findMeetingUrl({ location, description, hangoutLink: location }, "structured");
      if (!found) return;
      const { protocol, username, port } = new URL(found.url);
      assert.deepEqual(
        { protocol, username, port },
        { protocol: "https:", username: "", port: "" },
      );
      assert.deepEqual(normaliseMeetingUrl(found.url)?.key, found.key);
      isAttendeeJoinable(location);
    }),
    { numRuns: 3000 },
  );
});

test("a description of a million characters takes no longer than reading it", async () => {
  const units = [
    "<",
    "<a ",
    "<!--",
    'href="',
    "href=",
    "href   ",
    ".",
    "a.",
    "a-",
    "zoom.us/",
    "https://",
    "http://a ",
  ];
  const braces = [
    "http://x{",
    "&amp",
    "https://zoom.us/,",
    "{}",
    "(",
    "%25",
    "https://zoom.us/j/123)]",
  ];
  for (const unit of [...units, ...braces]) {
    const description = unit.repeat(1_000_000 / unit.length);
    const tookMs = await computingMs(() =>
      findMeetingUrl({ location: description, description }, "structured"),
    );
    assert.ok(tookMs < 1500, `${unit}: ${tookMs} ms`);
  }
});
