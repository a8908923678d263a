import { z } from "zod";

/** Those who host meetings, by the name that we store. */
export type MeetingProvider =
  | "google_meet"
  | "zoom"
  | "teams"
  | "webex"
  | "jitsi"
  | "whereby"
  | "goto"
  | "chime"
  | "ringcentral"
  | "8x8"
  | "skype_for_business"
  | "lark"
  | "slack"
  | "cal"
  | "facetime"
  | "discord"
  | "around"
  | "riverside"
  | "gather"
  | "streamyard";

export type MeetingLink = {
  /** Opens the meeting: https, with passwords and tokens, without tracking. */
  url: string;
  provider: MeetingProvider;
  /** The same for all links that lead to one meeting, whatever their host, form or password. */
  key: string;
};

type Host = { provider: MeetingProvider; read: (url: URL) => Omit<MeetingLink, "provider"> | null };

/** Reads the address of a meeting. Null for other addresses of the same hosts: registration, options, help, recordings. */
export function readMeetingLink(url: URL): MeetingLink | null {
  const host = findHost(url.hostname);
  const link = host?.read(url) ?? null;
  return host && link ? { provider: host.provider, ...link } : null;
}

// Whole labels are compared, from the whole name upwards: `notzoom.us` and `zoom.us.example.com` are not zoom.us.
function findHost(hostname: string): Host | undefined {
  const exact = hosts.get(hostname);
  if (exact) return exact;
  for (let dot = hostname.indexOf("."); dot !== -1; dot = hostname.indexOf(".", dot + 1)) {
    const host = hosts.get(`*${hostname.slice(dot)}`);
    if (host) return host;
  }
  return undefined;
}

function readMeet({ pathname }: URL) {
  const [, alias] = /^\/lookup\/([\w-]+)/.exec(pathname) ?? [];
  if (alias)
    return { url: `https://meet.google.com/lookup/${alias}`, key: `google_meet:lookup/${alias}` };
  const [, written] =
    /^\/(?:_meet\/)?([a-z]{10}|[a-z]+(?:-[a-z]+)+)(?![\w-])/i.exec(pathname) ?? [];
  if (!written) return null;
  const code = written.toLowerCase().replace(/^([a-z]{3})([a-z]{4})([a-z]{3})$/, "$1-$2-$3");
  return { url: `https://meet.google.com/${code}`, key: `google_meet:${code}` };
}

function readMeetAlias({ pathname }: URL) {
  const [, alias] = /^\/meet\/([\w-]+)/.exec(pathname) ?? [];
  return alias ? { url: `https://g.co/meet/${alias}`, key: `google_meet:g.co/${alias}` } : null;
}

function readZoom(url: URL) {
  const { hostname, pathname, searchParams } = url;
  // The government's cloud counts its meetings by itself.
  const cloud = hostname.endsWith("zoomgov.com") ? "zoomgov" : "zoom";
  const rest = searchOf(url);
  const [path, digits] = /^\/(?:[jws]|wc\/join)\/(\d{1,19})(?!\d)/.exec(pathname) ?? [];
  if (path && digits)
    return { url: `https://${hostname}${path}${rest}`, key: `${cloud}:${digits}` };
  const [client, inClient] = /^\/wc\/(\d{1,19})\/(?:join|start)/.exec(pathname) ?? [];
  if (client && inClient)
    return { url: `https://${hostname}${client}${rest}`, key: `${cloud}:${inClient}` };
  // The form that Zoom's own app is started with.
  const number = /^\d{1,19}$/.exec(searchParams.get("confno") ?? "")?.[0];
  if (pathname === "/join" && number) {
    const password = searchParams.get("pwd");
    const query = password ? `?pwd=${encodeURIComponent(password)}` : "";
    return { url: `https://${hostname}/j/${number}${query}`, key: `${cloud}:${number}` };
  }
  const [room] = /^\/my\/[\w.-]+/.exec(pathname) ?? [];
  if (room)
    return {
      url: `https://${hostname}${room}${rest}`,
      key: `${cloud}:${hostname}${room.toLowerCase()}`,
    };
  const isEvent = hostname === "events.zoom.us" && /^\/e(?:jl|v)\/./.test(pathname);
  return isEvent
    ? { url: `https://${hostname}${pathname}${rest}`, key: `zoom:${hostname}${pathname}` }
    : null;
}

function readTeams(url: URL): Omit<MeetingLink, "provider"> | null {
  const { hostname } = url;
  const light = url.pathname.startsWith("/light-meetings/")
    ? joinPathOf(url.searchParams.get("coords"))
    : null;
  // The web client has the address of the meeting in its fragment, the launcher in a parameter or in both.
  const launched = /^\/?_?#(\/.*)$/.exec(url.searchParams.get("url") ?? "")?.[1];
  const inner = light ?? launched ?? (url.hash.startsWith("#/") ? url.hash.slice(1) : null);
  const meeting = inner === null ? url : URL.parse(inner, url.origin);
  if (!meeting || meeting.host !== url.host) return null;
  const [path, thread, message] =
    /^\/l\/meetup-join\/([^/]+)\/([\w%-]+)/.exec(meeting.pathname) ?? [];
  if (path && thread && message) {
    const context = parameter(meeting, "context");
    const key = `teams:${decoded(thread)}/${decoded(message)}`;
    return { url: `https://${hostname}${path}${context ? `?context=${context}` : ""}`, key };
  }
  const [short, digits] = /^\/meet\/(\d{4,25})(?!\d)/.exec(meeting.pathname) ?? [];
  if (!short || !digits) return null;
  const passcode = parameter(meeting, "p");
  return {
    url: `https://${hostname}${short}${passcode ? `?p=${passcode}` : ""}`,
    key: `teams:${digits}`,
  };
}

// The light client carries the coordinates of its meeting as JSON in base64.
function joinPathOf(coordinates: string | null): string | null {
  const json = Buffer.from(coordinates ?? "", "base64").toString("utf8");
  const meeting = Coordinates.safeParse(json).data;
  if (!meeting) return null;
  const { conversationId, messageId, tenantId, organizerId } = meeting;
  const context = encodeURIComponent(JSON.stringify({ Tid: tenantId, Oid: organizerId }));
  const [thread, message] = [conversationId, messageId].map((part) =>
    encodeURIComponent(part.toWellFormed()),
  );
  return `/l/meetup-join/${thread}/${message}?context=${context}`;
}

const Coordinates = z
  .string()
  .transform((json, context) => {
    try {
      return JSON.parse(json);
    } catch {
      context.addIssue("not JSON");
      return z.NEVER;
    }
  })
  .pipe(
    z.object({
      conversationId: z.string().min(1),
      messageId: z.coerce.string().min(1).default("0"),
      tenantId: z.string().min(1),
      organizerId: z.string().min(1),
    }),
  );

function readWebex(url: URL) {
  const { hostname, pathname } = url;
  const [room] = /^\/(?:meet|join)\/[^/]+/.exec(pathname) ?? [];
  if (room)
    return {
      url: `https://${hostname}${room}${searchOf(url)}`,
      key: `webex:${hostname}${room.toLowerCase()}`,
    };
  // Of the pages that carry a meeting's id, `globalcallin.php` lists telephone numbers.
  const meeting = parameter(url, "MTID");
  const joins =
    /\/[jeg]\.php$/.test(pathname) ||
    /^\/(?:webappng|wbxmjs)\/.*(?:meeting|joinservice)/.test(pathname);
  if (!joins) return null;
  const key = meeting ? `webex:${hostname}/${meeting}` : `webex:${hostname}${pathname}`;
  return { url: `https://${hostname}${pathname}${searchOf(url)}`, key };
}

/** A host whose meetings are told by their path alone; the part that matches is kept. */
function plain(provider: MeetingProvider, path: RegExp, keepsFragment = false): Host {
  const read = (url: URL) => {
    const [matched] = path.exec(url.pathname) ?? [];
    if (!matched) return null;
    const fragment = keepsFragment ? url.hash : "";
    const page = `${url.hostname}${matched}`;
    return {
      url: `https://${page}${searchOf(url)}${fragment}`,
      key: `${provider}:${page}${fragment}`,
    };
  };
  return { provider, read };
}

// `*.` stands for any number of labels before the name, and does not include the name itself.
const meet: Host = { provider: "google_meet", read: readMeet };
const meetAlias: Host = { provider: "google_meet", read: readMeetAlias };
const zoom: Host = { provider: "zoom", read: readZoom };
const teams: Host = { provider: "teams", read: readTeams };
const webex: Host = { provider: "webex", read: readWebex };
const whereby = plain(
  "whereby",
  /^\/(?!(?:information|user|blog|org|pricing|login|signup)(?:\/|$))[^/]+/,
);
const discord = /^\/(?:invite\/[\w-]+|channels\/\d+\/\d+)/;
const around = plain("around", /^\/(?:r|meet)\/[^/]+/);
const hosts = new Map<string, Host>([
  ["meet.google.com", meet],
  ["g.co", meetAlias],
  ...["zoom.us", "zoom.com", "zoom.com.cn", "zoom-x.de", "zoomgov.com"].flatMap(
    (name): [string, Host][] => [
      [name, zoom],
      [`*.${name}`, zoom],
    ],
  ),
  ["teams.microsoft.com", teams],
  ["teams.live.com", teams],
  ["teams.cloud.microsoft", teams],
  ["gov.teams.microsoft.us", teams],
  ["dod.teams.microsoft.us", teams],
  ["*.webex.com", webex],
  ["meet.jit.si", plain("jitsi", /^\/[^/]+(?:\/[^/]+)?/)],
  ["meet.jitsi.net", plain("jitsi", /^\/[^/]+(?:\/[^/]+)?/)],
  ["whereby.com", whereby],
  ["*.whereby.com", whereby],
  ["*.gotomeeting.com", plain("goto", /^\/(?:join\/)?[\w.-]+/)],
  ["gotomeet.me", plain("goto", /^\/[\w.-]+/)],
  ["meet.goto.com", plain("goto", /^\/[\w.-]+(?:\/[\w.-]+)?/)],
  ["chime.aws", plain("chime", /^\/\d{4,}/)],
  ["*.chime.aws", plain("chime", /^\/(?:meetings\/)?\d{4,}/)],
  [
    "*.ringcentral.com",
    plain("ringcentral", /^\/(?:j|join|conf|m|meetings?|rooms?|welcome\/meetings)\/.+/),
  ],
  ["8x8.vc", plain("8x8", /^\/[^/]+(?:\/[^/]+)?/)],
  ["meet.lync.com", plain("skype_for_business", /^\/[^/]+\/[^/]+\/[^/]+/)],
  ["vc.larksuite.com", plain("lark", /^\/j\/\d+/)],
  ["vc.feishu.cn", plain("lark", /^\/j\/\d+/)],
  ["app.slack.com", plain("slack", /^\/huddle\/\w+\/\w+/)],
  ["app.cal.com", plain("cal", /^\/video\/[\w-]+/)],
  // Its fragment is the key of the call.
  ["facetime.apple.com", plain("facetime", /^\/join/, true)],
  ["discord.gg", plain("discord", /^\/[\w-]+/)],
  ["discord.com", plain("discord", discord)],
  ["*.discord.com", plain("discord", discord)],
  ["around.co", around],
  ["*.around.co", around],
  ["riverside.fm", plain("riverside", /^\/studio\/[^/]+/)],
  ["riverside.com", plain("riverside", /^\/studio\/[^/]+/)],
  ["app.gather.town", plain("gather", /^\/(?:app|invite)(?:\/.+)?/)],
  ["streamyard.com", plain("streamyard", /^\/(?:guest\/)?[a-z0-9]{8,13}$/i)],
]);

const tracking = /^(?:utm_\w+|fbclid|gclid|mc_[ce]id|authuser)$/i;

// Cut from the text, not built anew: what a provider reads must stay as the provider wrote it.
function searchOf(url: URL): string {
  const kept = url.search
    .slice(1)
    .split("&")
    .filter((pair) => pair && !tracking.test(nameOf(pair)));
  return kept.length > 0 ? `?${kept.join("&")}` : "";
}

function parameter(url: URL, name: string): string | undefined {
  return url.search
    .slice(1)
    .split("&")
    .find((pair) => nameOf(pair) === name)
    ?.slice(name.length + 1);
}

function nameOf(pair: string): string {
  return pair.split("=", 1)[0] ?? "";
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
