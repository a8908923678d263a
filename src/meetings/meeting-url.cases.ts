import type { LinkSources } from "./meeting-url.ts";

const context = "?context=%7b%22Tid%22%3a%22t1%22%2c%22Oid%22%3a%22o1%22%7d";
const teams = `https://teams.microsoft.com/l/meetup-join/19%3ameeting_Mzk%40thread.v2/0${context}`;
const teamsKey = "teams:19:meeting_Mzk@thread.v2/0";
const teamsBuilt =
  "https://teams.microsoft.com/l/meetup-join/19%3Ameeting_Mzk%40thread.v2/0?context=%7B%22Tid%22%3A%22t1%22%2C%22Oid%22%3A%22o1%22%7D";
const zoom = "https://us02web.zoom.us/j/89012345678?pwd=abc123";
const zoomKey = "zoom:89012345678";
const meet = "https://meet.google.com/abc-defg-hij";
const meetKey = "google_meet:abc-defg-hij";

const wrap = {
  google: (link: string) =>
    `https://www.google.com/url?q=${encodeURIComponent(link)}&sa=D&usg=AOv1`,
  outlook: (link: string) =>
    `https://eur01.safelinks.protection.outlook.com/?url=${encodeURIComponent(link)}&data=05%7C01&reserved=0`,
};
const light = Buffer.from(
  JSON.stringify({
    conversationId: "19:meeting_Mzk@thread.v2",
    tenantId: "t1",
    organizerId: "o1",
    messageId: "0",
  }),
).toString("base64");

/** A link as people and programs write it, what it becomes, and the key of its meeting. */
export const links: [written: string, url: string | null, key?: string][] = [
  // Google Meet
  [meet, meet, meetKey],
  ["https://meet.google.com/abc-defg-hij?authuser=0&hs=122", meet, meetKey],
  ["http://meet.google.com/abc-defg-hij", meet, meetKey],
  ["HTTPS://MEET.GOOGLE.COM/ABC-DEFG-HIJ", meet, meetKey],
  ["meet.google.com/abc-defg-hij", meet, meetKey],
  ["https://meet.google.com/_meet/abc-defg-hij", meet, meetKey],
  ["https://meet.google.com/abcdefghij", meet, meetKey],
  ["https://meet.google.com/abc-defg-hij.", meet, meetKey],
  ["https://meet.google.com/abc-defg-hij#x", meet, meetKey],
  ["https://meet.google.com./abc-defg-hij", meet, meetKey],
  ["https://meet.google.com:443/abc-defg-hij", meet, meetKey],
  [
    "https://meet.google.com/lookup/abcdef",
    "https://meet.google.com/lookup/abcdef",
    "google_meet:lookup/abcdef",
  ],
  ["https://g.co/meet/standup", "https://g.co/meet/standup", "google_meet:g.co/standup"],
  ["https://meet.google.com/", null],
  ["https://meet.google.com/new", null],
  ["https://meet.google.com/landing", null],
  ["https://stream.meet.google.com/stream/0b1c", null],
  ["https://tel.meet/abc-defg-hij?pin=1234567890", null],
  ["https://g.co/calendar", null],
  ["https://hangouts.google.com/call/xyz", null],

  // Zoom
  [zoom, zoom, zoomKey],
  [`${zoom}#success`, zoom, zoomKey],
  [`${zoom}&utm_source=mail`, zoom, zoomKey],
  [`<${zoom}>`, zoom, zoomKey],
  [`(${zoom}),`, zoom, zoomKey],
  [zoom.replace("&", "&amp;"), zoom, zoomKey],
  ["https://zoom.us/j/89012345678", "https://zoom.us/j/89012345678", zoomKey],
  ["zoom.us/j/89012345678", "https://zoom.us/j/89012345678", zoomKey],
  ["https://zoom.us/j/89012345678;passcode", "https://zoom.us/j/89012345678", zoomKey],
  ["https://zoom.com/j/555", "https://zoom.com/j/555", "zoom:555"],
  ["https://acme.zoom.us/j/89012345678", "https://acme.zoom.us/j/89012345678", zoomKey],
  [
    "https://Us02Web.Zoom.US/j/89012345678?pwd=AbC",
    "https://us02web.zoom.us/j/89012345678?pwd=AbC",
    zoomKey,
  ],
  ["https://zoom.us/j/1?pwd=abc-def_g.1", "https://zoom.us/j/1?pwd=abc-def_g.1", "zoom:1"],
  ["https://zoom.us/w/123?tk=t.DQ&pwd=x", "https://zoom.us/w/123?tk=t.DQ&pwd=x", "zoom:123"],
  ["https://zoom.us/s/123", "https://zoom.us/s/123", "zoom:123"],
  ["https://zoom.us/wc/join/123?pwd=x", "https://zoom.us/wc/join/123?pwd=x", "zoom:123"],
  ["https://app.zoom.us/wc/123/join", "https://app.zoom.us/wc/123/join", "zoom:123"],
  [
    "https://acme.zoom.us/my/jane.doe",
    "https://acme.zoom.us/my/jane.doe",
    "zoom:acme.zoom.us/my/jane.doe",
  ],
  [
    "https://zoom.us/my/jane2024?pwd=x",
    "https://zoom.us/my/jane2024?pwd=x",
    "zoom:zoom.us/my/jane2024",
  ],
  [
    "https://events.zoom.us/ejl/Ah1",
    "https://events.zoom.us/ejl/Ah1",
    "zoom:events.zoom.us/ejl/Ah1",
  ],
  ["https://www.zoomgov.com/j/123", "https://www.zoomgov.com/j/123", "zoomgov:123"],
  ["https://acme.zoom-x.de/j/123", "https://acme.zoom-x.de/j/123", "zoom:123"],
  ["https://zoom.com.cn/j/123", "https://zoom.com.cn/j/123", "zoom:123"],
  [
    "zoommtg://zoom.us/join?action=join&confno=123&pwd=a%20b",
    "https://zoom.us/j/123?pwd=a%20b",
    "zoom:123",
  ],
  ["zoomus://zoom.us/join?confno=123", "https://zoom.us/j/123", "zoom:123"],
  ["https://zoom.us/webinar/register/WN_abc123", null],
  ["https://us02web.zoom.us/meeting/register/tZ0kd", null],
  ["https://zoom.us/download", null],
  ["https://zoom.us/rec/share/abc", null],
  ["https://zoom.us/u/abcd", null],
  ["https://zoom.us/j/", null],
  ["https://support.zoom.us/hc/articles/123", null],

  // Teams
  [teams, teams, teamsKey],
  [`${teams}&anon=true`, teams, teamsKey],
  [teams.replace("teams.microsoft.com", "TEAMS.Microsoft.com"), teams, teamsKey],
  [
    'https://teams.microsoft.com/l/meetup-join/19:meeting_Mzk@thread.v2/0?context={"Tid":"t1","Oid":"o1"}',
    "https://teams.microsoft.com/l/meetup-join/19:meeting_Mzk@thread.v2/0?context={%22Tid%22:%22t1%22,%22Oid%22:%22o1%22}",
    teamsKey,
  ],
  [teams.replace("/l/", "/v2/?meetingjoin=true#/l/"), teams, teamsKey],
  [teams.replace("/l/", "/_#/l/"), teams, teamsKey],
  [teams.replace("/l/", "/dl/launcher/launcher.html?url=/_#/l/"), teams, teamsKey],
  [
    `https://teams.microsoft.com/dl/launcher/launcher.html?url=${encodeURIComponent(teams.replace("https://teams.microsoft.com", "/_#"))}&type=meetup-join`,
    teams,
    teamsKey,
  ],
  [
    `https://teams.microsoft.com/light-meetings/launch?agent=web&coords=${encodeURIComponent(light)}`,
    teamsBuilt,
    teamsKey,
  ],
  [teams.replace("https://teams.microsoft.com", "msteams:"), teams, teamsKey],
  [teams.replace(context, ""), teams.replace(context, ""), teamsKey],
  [
    "https://teams.microsoft.com/meet/3451234567?p=AbC",
    "https://teams.microsoft.com/meet/3451234567?p=AbC",
    "teams:3451234567",
  ],
  [
    "https://teams.live.com/meet/9321234567890?p=x",
    "https://teams.live.com/meet/9321234567890?p=x",
    "teams:9321234567890",
  ],
  [
    "https://teams.live.com/meet/9321234567890",
    "https://teams.live.com/meet/9321234567890",
    "teams:9321234567890",
  ],
  [
    "https://teams.cloud.microsoft/meet/3451234567?p=x",
    "https://teams.cloud.microsoft/meet/3451234567?p=x",
    "teams:3451234567",
  ],
  [
    teams.replace("teams.microsoft.com", "gov.teams.microsoft.us"),
    teams.replace("teams.microsoft.com", "gov.teams.microsoft.us"),
    teamsKey,
  ],
  ["https://teams.microsoft.com/meetingOptions/?organizerId=o1", null],
  ["https://aka.ms/JoinTeamsMeeting", null],
  ["https://dialin.teams.microsoft.com/8551?id=123", null],
  ["https://teams.microsoft.com/light-meetings/launch?coords=bm9wZQ", null],
  ["https://teams.microsoft.com/v2/?meetingjoin=true#//evil.example/l/meetup-join/a/0", null],
  ["https://teams.microsoft.com/l/channel/19%3aabc/General", null],

  // Webex and others
  [
    "https://acme.webex.com/meet/jane",
    "https://acme.webex.com/meet/jane",
    "webex:acme.webex.com/meet/jane",
  ],
  [
    "https://acme.webex.com/acme/j.php?MTID=m123&utm_medium=x",
    "https://acme.webex.com/acme/j.php?MTID=m123",
    "webex:acme.webex.com/m123",
  ],
  [
    "https://acme.webex.com/webappng/sites/acme/meeting/info/77",
    "https://acme.webex.com/webappng/sites/acme/meeting/info/77",
  ],
  ["https://acme.webex.com/acme/globalcallin.php?MTID=m123", null],
  ["https://www.webex.com/downloads.html", null],
  ["https://webex.com/meet/jane", null],
  [
    "https://meet.jit.si/TeamStandup",
    "https://meet.jit.si/TeamStandup",
    "jitsi:meet.jit.si/TeamStandup",
  ],
  ["https://meet.jit.si/", null],
  ["https://whereby.com/acme", "https://whereby.com/acme"],
  ["https://app.whereby.com/acme", "https://app.whereby.com/acme"],
  ["https://whereby.com/information/tos", null],
  [
    "https://global.gotomeeting.com/join/123456789",
    "https://global.gotomeeting.com/join/123456789",
  ],
  ["https://meet.goto.com/123456789", "https://meet.goto.com/123456789"],
  ["https://chime.aws/1234567890", "https://chime.aws/1234567890"],
  ["https://v.ringcentral.com/join/123456", "https://v.ringcentral.com/join/123456"],
  ["https://8x8.vc/acme/standup", "https://8x8.vc/acme/standup"],
  ["https://meet.lync.com/acme/jane/ABC123", "https://meet.lync.com/acme/jane/ABC123"],
  ["https://vc.larksuite.com/j/123456789", "https://vc.larksuite.com/j/123456789"],
  ["https://vc.feishu.cn/j/123456789", "https://vc.feishu.cn/j/123456789"],
  ["https://app.slack.com/huddle/T01/C01", "https://app.slack.com/huddle/T01/C01"],
  ["https://app.cal.com/video/abc123", "https://app.cal.com/video/abc123"],
  [
    "https://facetime.apple.com/join#v=1&p=abc&k=def",
    "https://facetime.apple.com/join#v=1&p=abc&k=def",
  ],
  ["https://discord.gg/abcDEF", "https://discord.gg/abcDEF"],
  ["https://discord.com/invite/abcDEF", "https://discord.com/invite/abcDEF"],
  ["https://discord.com/nitro", null],
  ["https://meet.around.co/r/abc", "https://meet.around.co/r/abc"],
  ["https://riverside.fm/studio/show?t=x", "https://riverside.fm/studio/show?t=x"],
  ["https://app.gather.town/app/x1/acme", "https://app.gather.town/app/x1/acme"],
  ["https://streamyard.com/abcd1234ef", "https://streamyard.com/abcd1234ef"],
  ["https://acme.bluejeans.com/123", null],
  ["https://join.skype.com/abc", null],

  // Look-alikes and what is no link
  ["https://zoom.us.evil.example/j/123", null],
  ["https://notzoom.us/j/123", null],
  ["https://zoom.us@evil.example/j/123", null],
  ["https://evil.example@zoom.us/j/123", null],
  ["https://user:word@zoom.us/j/123", null],
  ["https://evil.example/https://zoom.us/j/123", null],
  ["https://evil.example/?next=https%3A%2F%2Fzoom.us%2Fj%2F123", null],
  ["https://evil.example\\@zoom.us/j/123", null],
  ["https://evil.example#@zoom.us/j/123", null],
  ["https://zооm.us/j/123", null],
  ["https://xn--zm-emb.us/j/123", null],
  ["https://zoom.us:8443/j/123", null],
  ["https://mymeet.google.com/abc-defg-hij", null],
  ["https://teams.microsoft.com.evil.example/meet/3451234567?p=x", null],
  ["ftp://zoom.us/j/123", null],
  ["javascript:alert('https://zoom.us/j/123')", null],
  ["tel:+493056795800,,89012345678#", null],
  ["sip:89012345678@zoomcrc.com", null],
  ["", null],
  ["https://", null],
  ["Room 4.12", null],

  // Wrapped
  [wrap.google(zoom), zoom, zoomKey],
  [
    wrap.google("https://zoom.us/j/123?a=1&amp;pwd=x."),
    "https://zoom.us/j/123?a=1&pwd=x",
    "zoom:123",
  ],
  [`https://google.com/url?url=${encodeURIComponent(meet)}`, meet, meetKey],
  [wrap.outlook(teams), teams, teamsKey],
  [wrap.outlook(zoom).replaceAll("&", "&amp;"), zoom, zoomKey],
  [wrap.outlook(wrap.google(wrap.outlook(zoom))), zoom, zoomKey],
  [wrap.google(wrap.outlook(wrap.google(wrap.outlook(zoom)))), null],
  [
    "https://urldefense.proofpoint.com/v1/url?u=https%3A%2F%2Fzoom.us%2Fj%2F123&k=x",
    "https://zoom.us/j/123",
    "zoom:123",
  ],
  [
    "https://urldefense.proofpoint.com/v2/url?u=https-3A__zoom.us_j_123-3Fpwd-3Dabc&d=DwMFAg&c=x",
    "https://zoom.us/j/123?pwd=abc",
    "zoom:123",
  ],
  [
    "https://urldefense.com/v3/__https://us02web.zoom.us/j/89012345678?pwd=abc123__;!!Abc!x$",
    zoom,
    zoomKey,
  ],
  [
    `https://urldefense.com/v3/__${teams.replaceAll("%", "*")}__;${Buffer.from("%".repeat(teams.split("%").length - 1)).toString("base64url")}!!Abc!x$`,
    teams,
    teamsKey,
  ],
  [
    "https://urldefense.com/v3/__https:/zoom.us/j/123*A**Bx__;Izx5eg!!A!x$",
    "https://zoom.us/j/123",
    "zoom:123",
  ],
  ["https://www.google.com/url?q=https%3A%2F%2Fevil.example%2F", null],
  ["https://www.google.com/url?sa=D", null],
  ["https://www.google.evil.example/url?q=https%3A%2F%2Fzoom.us%2Fj%2F123", null],
  [
    "https://safelinks.protection.outlook.com.evil.example/?url=https%3A%2F%2Fzoom.us%2Fj%2F123",
    null,
  ],
];

const video = (uri: string) => ({ entryPointType: "video", uri });
const phone = { entryPointType: "phone", uri: "tel:+493056795800" };

/** Where a link stands in an event, the one that is found, and the one that lost against it. */
export const events: [what: string, event: LinkSources, url: string | null, rival?: string][] = [
  ["nothing", {}, null],
  ["only nulls", { entryPoints: null, hangoutLink: null, location: null, description: null }, null],
  ["the video entry point", { entryPoints: [phone, video(zoom)], location: meet }, zoom],
  ["a telephone number alone", { entryPoints: [phone], location: "tel:+493056795800" }, null],
  [
    "an entry point of a host unknown to us",
    { entryPoints: [video("https://video.example.com/1")], location: zoom },
    zoom,
  ],
  ["the Meet link", { hangoutLink: meet }, meet],
  ["conference data before the Meet link", { entryPoints: [video(zoom)], hangoutLink: meet }, zoom],
  [
    "the Meet link before a room in the text",
    { hangoutLink: meet, location: "https://meet.jit.si/Room" },
    meet,
  ],
  [
    "a Meet link that Google added to a Zoom invitation",
    { hangoutLink: meet, location: zoom },
    meet,
    zoom,
  ],
  [
    "a Meet link in conference data beside a Teams invitation",
    { entryPoints: [video(meet)], description: teams },
    meet,
    teams,
  ],
  ["two Meet links", { hangoutLink: meet, location: "https://meet.google.com/zzz-zzzz-zzz" }, meet],
  ["the location before the description", { location: zoom, description: teams }, zoom],
  [
    "several links in a location",
    { location: `Room 4; https://meet.jit.si/Room;${zoom},${meet}` },
    zoom,
  ],
  ["a link without a scheme", { location: "Zoom: us02web.zoom.us/j/89012345678?pwd=abc123" }, zoom],
  ["a mail address that looks like a link", { location: "jane@zoom.us/j/123" }, null],
  ["a name that ends like a host", { location: "my-zoom.us/j/123" }, null],
  ["a homograph", { description: "Join https://zооm.us/j/123" }, null],
  ["a link in angle brackets", { description: `Join Zoom Meeting\n<${zoom}>\n` }, zoom],
  ["a link at the end of a sentence", { description: `Join at ${zoom}. Passcode: 1` }, zoom],
  ["a link in Markdown", { description: `[join](${zoom}), **${meet}**` }, zoom],
  ["a link between CJK punctuation", { description: `会議：${zoom}。よろしく` }, zoom],
  ["a link in curly quotes", { description: `“${zoom}”` }, zoom],
  [
    "HTML",
    { description: `<p>Hi</p><a href="${zoom.replace("?", "?a=1&amp;")}">Join</a>` },
    zoom.replace("?", "?a=1&"),
  ],
  [
    "where a link leads, before what it shows",
    { description: `<a href="${zoom}">${meet}</a>` },
    zoom,
  ],
  [
    "what a link shows, where it leads nowhere",
    { description: `<a href="https://t.example.com/x">${meet}</a>` },
    meet,
  ],
  ["single quotes and capitals", { description: `<A HREF='${zoom}'>x</A>` }, zoom],
  ["no quotes", { description: `<a href=${zoom}>x</a>` }, zoom],
  [
    "escaped slashes",
    { description: "https:&#x2F;&#x2F;zoom.us&#47;j&#47;123" },
    "https://zoom.us/j/123",
  ],
  ["a line break in HTML", { description: `Join:<br>${zoom}<br/>Meeting ID` }, zoom],
  [
    "a wrapped link in HTML",
    { description: `<a href="${wrap.outlook(teams).replaceAll("&", "&amp;")}">Join</a>` },
    teams,
  ],
  [
    "an invitation of Teams, whose options come first",
    {
      description: `<a href="https://teams.microsoft.com/meetingOptions/?x=1">Options</a> | <a href="${teams}">Join</a>`,
    },
    teams,
  ],
  [
    "a registration page beside the room",
    { description: `Register: https://zoom.us/meeting/register/tZ1\nRoom: ${zoom}` },
    zoom,
  ],
  [
    "a joinable link after one that no bot can join",
    { description: `https://acme.webex.com/meet/jane or ${zoom}` },
    zoom,
  ],
  [
    "the first, where no bot can join any",
    { description: "https://acme.webex.com/meet/jane https://meet.jit.si/Room" },
    "https://acme.webex.com/meet/jane",
  ],
  [
    "a Teams link with its context unescaped",
    {
      description:
        'https://teams.microsoft.com/l/meetup-join/19:meeting_Mzk@thread.v2/0?context={"Tid":"t1","Oid":"o1"}.',
    },
    "https://teams.microsoft.com/l/meetup-join/19:meeting_Mzk@thread.v2/0?context={%22Tid%22:%22t1%22,%22Oid%22:%22o1%22}",
  ],
];

/** Links as they stand, and whether a bot of Attendee's gets to the right meeting by them. */
export const joinable: [link: string, isJoinable: boolean][] = [
  [meet, true],
  ["https://meet.google.com/abc-defg-hij?authuser=0", true],
  ["meet.google.com/abc-defg-hij", true],
  ["https://meet.google.com/lookup/abcdef", false],
  ["https://meet.google.com/_meet/abc-defg-hij", false],
  ["https://g.co/meet/x", false],
  [`${zoom}#success`, true],
  ["https://zoom.com/j/555", true],
  ["https://zoom.us/w/123?tk=x", true],
  ["https://zoom.us/wc/join/123", true],
  ["https://zoom.us/s/123", true],
  ["https://zoom.us/j/1?pwd=abc.1", true],
  ["https://zoom.us/j/1?pwd=abc-def_g", false],
  ["https://acme.zoom.us/my/jane.doe", false],
  ["https://acme.zoom.us/my/jane2024", false],
  ["https://events.zoom.us/ejl/Ah1", false],
  ["https://www.zoomgov.com/j/123", false],
  ["https://acme.zoom-x.de/j/123", false],
  ["https://zoom.com.cn/j/123", false],
  [teams, true],
  [decodeURIComponent(teams), true],
  [teams.replace(context, ""), false],
  ["https://teams.microsoft.com/meet/3451234567?p=x", true],
  ["https://teams.live.com/meet/9321234567890?p=x", true],
  ["https://teams.live.com/meet/9321234567890", false],
  [teams.replace("teams.microsoft.com", "gov.teams.microsoft.us"), false],
  ["https://acme.webex.com/meet/jane", false],
  ["https://zoom.us.evil.example/j/123", false],
  ["https://someone@zoom.us/j/123", false],
  ["https://zoom.us:8443/j/123", false],
  ["ftp://zoom.us/j/123", false],
  ["zoommtg://zoom.us/join?confno=123", false],
  [wrap.google(zoom), false],
  [wrap.outlook(teams), false],
  [`${zoom}&u=https%3A%2F%2Fexample.com`, false],
  [`${zoom}&u=https%253A%252F%252Fexample.com`, false],
  [`${zoom}&u=${Buffer.from("https://example.com").toString("base64")}`, false],
  [`<${zoom}>`, false],
  [`https://zoom.us/j/123?x=${"a".repeat(2048)}`, false],
];
