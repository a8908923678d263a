const mostFiles = 10;

/**
 * The ids of the files and folders of Google Drive that a text links to, be it plain or the source of HTML: each once,
 * the first ten. What is published or shown as a picture is no link to a file, and forms have no text to be read.
 */
export function fileIdsIn(text: string): string[] {
  const links = unescaped(text.replace(pictures, "")).matchAll(addresses);
  const ids = new Set<string>();
  for (const [address] of links) {
    const id = fileIdOf(new URL(`https://${address}`));
    if (id !== null) ids.add(id);
    if (ids.size === mostFiles) break;
  }
  return [...ids];
}

// All of these take a time that grows with the text alone: whoever writes a mail may mean it to be slow.
const pictures = /<img\b[^<>]*>/gi;
const addresses =
  /(?<![\w.@-])(?:docs|drive|drive\.usercontent)\.google\.com\/[^\s"'<>()[\]{}|\\^`]{1,2000}/gi;

// HTML escapes signs of an address. A redirect carries a whole one within itself, escaped as often as it was redirected.
function unescaped(text: string): string {
  const sign = (base: number) => (_: string, code: string) =>
    String.fromCharCode(Number.parseInt(code, base));
  return text
    .replace(/&#(\d\d);/g, sign(10))
    .replace(/&#x([\da-f]{2});/gi, sign(16))
    .replace(/&amp;/gi, "&")
    .replace(/%(?:25)*(3a|2f|3f|3d|26)/gi, sign(16));
}

const account = /\/(?:u\/\d+|a\/[\w.-]+)(?=\/)/g;
// A published file has `e` where the id would be.
const path =
  /^\/(?:(?:document|spreadsheets|presentation|drawings|file|folder)\/d|drive(?:\/mobile)?\/folders)\/([\w-]{10,200})(?![\w-])/;
const query = /^\/(?:open|uc|folderview|download)$/;

function fileIdOf({ pathname, searchParams }: URL): string | null {
  // Which of the reader's accounts, and whose domain, makes no difference.
  const place = pathname.replace(account, "");
  if (query.test(place)) return /^[\w-]{10,200}/.exec(searchParams.get("id") ?? "")?.[0] ?? null;
  return path.exec(place)?.[1] ?? null;
}
