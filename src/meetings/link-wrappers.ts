const depth = 3;

/**
 * The address behind the redirects that mail systems and Google put around links, without asking any server. Follows at
 * most three of them; what is not wrapped comes back as it is.
 */
export function unwrapLink(url: URL): URL | null {
  let current = url;
  for (let step = 0; step <= depth; step++) {
    const target = targetOf(current);
    if (target === null) return current;
    const next = URL.parse(target);
    if (!next) return null;
    current = next;
  }
  return null;
}

/** The address that a redirect names, or null when `url` is none that we can read. */
function targetOf(url: URL): string | null {
  const { hostname: host, pathname: path, searchParams: query } = url;
  if (/^(?:www\.)?google\.[a-z.]{2,6}$/.test(host) && path === "/url")
    return query.get("q") ?? query.get("url");
  if (host.endsWith(".safelinks.protection.outlook.com")) return query.get("url");
  if (host === "urldefense.proofpoint.com" && path === "/v1/url") return query.get("u");
  if (host === "urldefense.proofpoint.com" && path === "/v2/url")
    return proofpoint2(query.get("u"));
  if (host === "urldefense.com" || host === "urldefense.us") return proofpoint3(url.href);
  return null;
}

// Version 2 writes `-` for `%` and `_` for `/`.
function proofpoint2(written: string | null): string | null {
  if (written === null) return null;
  try {
    return decodeURIComponent(written.replaceAll("-", "%").replaceAll("_", "/"));
  } catch {
    return null;
  }
}

// Version 3 puts `*` where it took a character out, `**` and a letter where it took several, and keeps what it took as
// base64 behind the address. The letters count from 2: A is two characters, B three.
const runLengths = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

function proofpoint3(href: string): string | null {
  const [, written, taken = ""] = /\/v3\/__(.+?)__;([\w-]*)/.exec(href) ?? [];
  if (written === undefined) return null;
  const characters = [...Buffer.from(taken, "base64url").toString("utf8")];
  const restored = written.replace(/\*(?:\*([\w-]))?/g, (_, run?: string) => {
    const count = run === undefined ? 1 : runLengths.indexOf(run) + 2;
    return characters.splice(0, count).join("") || "*";
  });
  // The address stands in a path, where a browser may have merged its slashes.
  return restored.replace(/^(https?):\/(?!\/)/, "$1://");
}
