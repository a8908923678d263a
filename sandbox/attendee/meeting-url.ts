/** The URL that Attendee keeps of a meeting's: null for what it sends no bot to. */
export function normalised(link: string): string | null {
  let url: URL;
  try {
    url = new URL(link);
  } catch {
    return null;
  }
  const host = url.hostname.toLowerCase();
  if (host === "meet.google.com") {
    const code = /^\/([a-z]{3}-[a-z]{4}-[a-z]{3})\/?$/i.exec(url.pathname)?.[1];
    return code ? `https://meet.google.com/${code.toLowerCase()}` : null;
  }
  if (/(^|\.)zoom\.(us|com)$/.test(host)) {
    if (!/^\/(j|w|wc|my|s)\//.test(url.pathname)) return null;
    const kept = ["pwd", "tk"].flatMap((name) => {
      const value = url.searchParams.get(name);
      return value === null ? [] : [`${name}=${value}`];
    });
    const query = kept.length > 0 ? `?${kept.join("&")}` : "";
    return `https://${host.replace(/zoom\.com$/, "zoom.us")}${url.pathname}${query}`;
  }
  if (host === "teams.microsoft.com" || host === "teams.live.com") {
    return /^\/(l\/meetup-join|meet)\//.test(url.pathname) ? url.href : null;
  }
  return null;
}
