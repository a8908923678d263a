/** The URL that Attendee keeps of a meeting's: null for what it sends no bot to. Source: Attendee, `bots/meeting_url_utils.py`. */
export function normalised(link: string): string | null {
  let text = link.trim().replace(/>+$/, "");
  // What is percent-encoded as a whole, or in what matters, is read after decoding.
  for (let round = 0; round < 3; round += 1) {
    const url = zoom(text) ?? meet(text) ?? teams(text);
    if (url && !holdsSecondUrl(url)) return url;
    text = decoded(text);
  }
  return null;
}

function meet(text: string): string | null {
  if (hostOf(text) !== "meet.google.com") return null;
  const code = /meet\.google\.com\/([a-z0-9-]+)/i.exec(text)?.[1];
  return code ? `https://meet.google.com/${code}` : null;
}

// Only the password's letters and digits are taken, and a token for whoever registered.
function zoom(text: string): string | null {
  const host = hostOf(text);
  const url = urlOf(text);
  if (!host || !url || !/(^|\.)zoom\.(us|com)$/.test(host)) return null;
  const path = (/^[\w/-]*/.exec(url.pathname)?.[0] ?? "").replace(/\/+/g, "/");
  if (!/\d/.test(path)) return null;
  const password = /^[a-zA-Z0-9]+(\.\d+)?/.exec(url.searchParams.get("pwd") ?? "")?.[0];
  const token = url.searchParams.get("tk")?.trim();
  const query = [password && `pwd=${password}`, token && `tk=${token}`].filter(Boolean).join("&");
  return `https://${host.replace(/zoom\.com$/, "zoom.us")}${path}${query ? `?${query}` : ""}`;
}

function teams(text: string): string | null {
  const host = hostOf(text);
  if (host !== "teams.microsoft.com" && host !== "teams.live.com") return null;
  const [, thread, message, context = ""] =
    /\/l\/meetup-join\/([^/]+)\/([^?]+)\?context=(.*)/.exec(text) ?? [];
  const [tenant, organiser] = ["Tid", "Oid"].map(
    (name) => new RegExp(`"${name}":"([^"]+)"`).exec(context)?.[1],
  );
  if (thread && tenant && organiser) {
    return `https://teams.microsoft.com/l/meetup-join/${thread}/${message}?context={"Tid":"${tenant}","Oid":"${organiser}"}`;
  }
  const [, id, passcode] = /\/meet\/([^?]+)\?p=([^&\s]+)/.exec(text) ?? [];
  return id ? `https://${host}/meet/${id}?p=${passcode}` : null;
}

// A link inside a link, plain, encoded once or twice, or in base64.
function holdsSecondUrl(url: string): boolean {
  const rest = url.slice("https://".length);
  const readings = [rest, decoded(rest), decoded(decoded(rest))];
  const encoded = rest.split(/[/?&=]/).filter((part) => part.length >= 12);
  return [...readings, ...encoded.map((part) => Buffer.from(part, "base64").toString("utf8"))].some(
    (text) => /https?:\/\/[^\s<>"']/.test(text),
  );
}

function hostOf(text: string): string | null {
  return urlOf(text)?.hostname.toLowerCase() ?? null;
}

function urlOf(text: string): URL | null {
  return URL.parse(/^https?:\/\//i.test(text) ? text : `https://${text}`);
}

function decoded(text: string): string {
  return text.replace(/(%[0-9a-f]{2})+/gi, (part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
}
