/** What a person does at the consent page. */
export type Choices = {
  /** Who they are, by address. */
  person: string;
  /** Scopes that they leave unticked. */
  untick?: string[];
  refuse?: boolean;
};

/** A browser at the consent page: it keeps its cookies from one visit to the next. */
export type Browser = {
  /**
   * Walks the pages over HTTP, as `choices` say, until it is sent elsewhere. Returns where to; nothing is fetched there.
   *
   * @throws when a page says no, or offers neither the person nor the box that was named.
   */
  consent(authUrl: string | URL, choices: Choices): Promise<URL>;
};

const mostPages = 6;

export function openBrowser(): Browser {
  const cookies = new Map<string, string>();
  return { consent: (authUrl, choices) => walk(new URL(authUrl), choices, cookies) };
}

/** A single visit, in a browser that nobody used before. {@link Browser.consent} */
export function consent(authUrl: string | URL, choices: Choices): Promise<URL> {
  return openBrowser().consent(authUrl, choices);
}

async function walk(authUrl: URL, choices: Choices, cookies: Map<string, string>): Promise<URL> {
  let [url, init]: [URL, RequestInit] = [authUrl, {}];
  for (let visited = 0; visited < mostPages; visited += 1) {
    const cookie = cookies
      .entries()
      .map((pair) => pair.join("="))
      .toArray()
      .join("; ");
    const answer = await fetch(url, { ...init, redirect: "manual", headers: { cookie } });
    remember(cookies, answer);
    const text = await answer.text();
    const location = answer.headers.get("location");
    if (location !== null) {
      const next = new URL(location, url);
      if (next.origin !== authUrl.origin || next.pathname !== authUrl.pathname) return next;
      [url, init] = [next, {}];
      continue;
    }
    if (!answer.ok) throw new Error(`The consent page says ${answer.status}: ${titleOf(text)}`);
    [url, init] = submit(url, text, choices);
  }
  throw new Error(`The consent page was still asking after ${mostPages} pages`);
}

function submit(page: URL, markup: string, choices: Choices): [URL, RequestInit] {
  const form = tags(markup, "form")[0];
  if (!form) throw new Error(`No form on the page "${titleOf(markup)}"`);
  const target = new URL(form.action ?? "", page);
  if (form.method !== "post") {
    const person = tags(markup, "button").find((button) => button["data-email"] === choices.person);
    if (!person) throw new Error(`The page does not offer ${choices.person}`);
    const fields = [...tags(markup, "input").map(pairOf), pairOf(person)];
    target.search = String(new URLSearchParams(fields));
    return [target, {}];
  }
  const boxes = tags(markup, "input");
  for (const scope of choices.untick ?? []) {
    if (!boxes.some(({ type, value }) => type === "checkbox" && value === scope))
      throw new Error(`No box for ${scope}`);
  }
  const ticked = boxes.filter(({ value }) => !choices.untick?.includes(value ?? ""));
  const body = new URLSearchParams(ticked.map(pairOf));
  body.set("decision", choices.refuse ? "refuse" : "allow");
  return [target, { method: "POST", body }];
}

function pairOf(tag: Record<string, string>): [string, string] {
  return [tag.name ?? "", tag.value ?? ""];
}

// The sandbox's own markup, in which every attribute is quoted.
function tags(markup: string, name: string): Record<string, string>[] {
  return [...markup.matchAll(new RegExp(`<${name}\\b([^>]*)>`, "g"))].map(([, attributes = ""]) =>
    Object.fromEntries(
      [...attributes.matchAll(/([\w-]+)="([^"]*)"/g)].map(([, key = "", value = ""]) => [
        key,
        plain(value),
      ]),
    ),
  );
}

function plain(text: string): string {
  const signs: Record<string, string> = {
    "&lt;": "<",
    "&gt;": ">",
    "&quot;": '"',
    "&#39;": "'",
    "&amp;": "&",
  };
  return text.replace(/&(lt|gt|quot|#39|amp);/g, (entity) => signs[entity] ?? entity);
}

function titleOf(markup: string): string {
  return plain(/<title>([^<]*)</.exec(markup)?.[1] ?? "");
}

function remember(cookies: Map<string, string>, answer: Response): void {
  for (const cookie of answer.headers.getSetCookie()) {
    const pair = cookie.split(";")[0] ?? "";
    const end = pair.indexOf("=");
    cookies.set(pair.slice(0, end), pair.slice(end + 1));
  }
}
