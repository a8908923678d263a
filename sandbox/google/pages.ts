import { createHash } from "node:crypto";
import type { FastifyRequest } from "fastify";
import type { GoogleError } from "./errors.ts";
import type { Person } from "./people.ts";
import { isBasic, labelOf, shortName } from "./scopes.ts";
import type { Client } from "./state.ts";

const style = `
:root { color-scheme: light dark; --ink: #1f1f1f; --soft: #5f6368; --line: #dadce0; --paper: #fff; --ground: #f0f4f9;
  --accent: #0b57d0; --on-accent: #fff; --hover: #f5f8fd }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e3e3; --soft: #b0b5ba; --line: #444746; --paper: #131314;
  --ground: #1e1f20; --accent: #a8c7fa; --on-accent: #062e6f; --hover: #232527 } }
* { box-sizing: border-box }
body { margin: 0; min-height: 100vh; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
main { max-width: 34rem; margin: 0 auto; min-height: 100vh; padding: 2rem; background: var(--paper) }
main.wide { max-width: 68rem }
@media (min-width: 36rem) { main { min-height: 0; border-radius: 1.5rem; padding: 2.5rem } body { padding: 2.5rem 1rem } }
h1 { margin: 0 0 .25rem; font-size: 1.6rem; font-weight: 500; line-height: 1.25 }
h2 { margin: 2rem 0 .5rem; font-size: 1.1rem; font-weight: 600 }
p { margin: .25rem 0 1rem } .soft { color: var(--soft) } .small { font-size: .875rem }
a { color: var(--accent) }
ul { list-style: none; margin: 1rem 0; padding: 0; border-top: 1px solid var(--line) }
li { border-bottom: 1px solid var(--line) }
li label, li span.row { display: flex; gap: .75rem; align-items: flex-start; padding: .75rem .5rem }
li label { cursor: pointer } li label:hover { background: var(--hover) }
input[type=checkbox] { width: 1.15rem; height: 1.15rem; margin: .2rem 0 0; accent-color: var(--accent); flex: none }
button { font: inherit; border-radius: 2rem; border: 1px solid var(--line); padding: .55rem 1.4rem; background: none;
  color: var(--accent); cursor: pointer }
button.main { background: var(--accent); border-color: var(--accent); color: var(--on-accent) }
button.person { display: flex; gap: .9rem; align-items: center; width: 100%; border: 0; border-radius: 0; text-align: left;
  color: inherit; padding: .75rem .5rem } button.person:hover { background: var(--hover) }
.initial { display: inline-grid; place-items: center; width: 2.25rem; height: 2.25rem; border-radius: 50%; flex: none;
  background: var(--accent); color: var(--on-accent); font-weight: 600 }
.choice { display: flex; gap: .75rem; flex-wrap: wrap; margin-top: 1.5rem; align-items: end }
.choice > * { min-width: 0; max-width: 100% }
li span.row > span { overflow-wrap: anywhere }
section { border-top: 1px solid var(--line); padding: 1rem 0 } h3 { margin: 0; font-size: 1rem }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
table { border-collapse: collapse; width: 100% } .scroll { overflow-x: auto }
th, td { text-align: left; padding: .4rem .9rem .4rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
td .choice { margin: 0 } input, select, textarea { font: inherit; max-width: 100% }
code { font: .875em ui-monospace, monospace; overflow-wrap: anywhere }
`;

/** Nothing is loaded from anywhere, and no page may be framed. */
export const pageHeaders = {
  "content-type": "text/html; charset=UTF-8",
  "content-security-policy": [
    "default-src 'none'",
    `style-src 'sha256-${createHash("sha256").update(style).digest("base64")}'`,
    "img-src data:",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join("; "),
  "referrer-policy": "no-referrer",
};

/** Markup that is safe to insert into other markup. */
export type Html = { readonly markup: string };

type Inserted = string | number | Html | Html[] | null;

/** Builds markup; whatever is inserted is escaped unless it is markup itself. */
export function html(texts: TemplateStringsArray, ...inserted: Inserted[]): Html {
  return {
    markup: texts
      .map((text, index) => text + (index < inserted.length ? render(inserted[index]) : ""))
      .join(""),
  };
}

function render(value: Inserted | undefined): string {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.map(({ markup }) => markup).join("");
  if (typeof value === "object") return value.markup;
  const entities: Record<string, string> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&#39;",
  };
  return String(value).replace(/[&<>"']/g, (sign) => entities[sign] ?? sign);
}

/** A whole page of the sandbox. */
export function page(title: string, content: Html, width: "narrow" | "wide" = "narrow"): string {
  return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title><link rel="icon" href="data:,"><style>${{ markup: style }}</style></head>
<body><main class="${width}">${content}</main></body></html>
`.markup;
}

/** What Google shows to a person instead of sending them back. */
export function errorPage(error: GoogleError): string {
  const title = `Error ${error.status}: ${error.reason}`;
  return page(
    title,
    html`<h1>${error.status < 500 ? "Access blocked" : "That is an error"}</h1>
<p>${error.message}</p>
<p class="soft">${title}</p>
<p class="soft small">This is the sandbox's own Google. Nothing was sent back to the app.</p>`,
  );
}

/** Where a person says who they are. Nobody needs a password here. */
export function chooserPage(shown: {
  client: Client;
  people: Person[];
  action: string;
  fields: [string, string][];
}): string {
  const hidden = shown.fields.map(
    ([name, value]) => html`<input type="hidden" name="${name}" value="${value}">`,
  );
  const buttons = shown.people.map(
    (
      person,
    ) => html`<li><button class="person" name="authuser" value="${person.sub}" data-email="${person.email}">
<span class="initial" aria-hidden="true">${person.givenName.slice(0, 1)}</span>
<span>${person.name}<br><span class="soft small">${person.email}${noteOn(person)}</span></span></button></li>`,
  );
  return page(
    "Choose an account",
    html`<h1>Choose an account</h1>
<p>to continue to <strong>${shown.client.name}</strong></p>
<form method="get" action="${shown.action}">${hidden}<ul>${buttons}</ul></form>
<p class="soft small">This is the sandbox's own Google: these people are made up, and need no password.</p>`,
  );
}

function noteOn(person: Person): string {
  return person.emailVerified ? "" : " · address not verified";
}

/** Where a person allows or refuses. With several scopes each that is not basic has its box. */
export function consentPage(shown: {
  client: Client;
  person: Person;
  scopes: string[];
  action: string;
}): string {
  const { client, person, scopes, action } = shown;
  const optional = scopes.filter((scope) => !isBasic(scope));
  const rows = scopes.map((scope) => {
    const label = html`<span>${labelOf(scope)}<br><code class="soft">${shortName(scope)}</code></span>`;
    return optional.length > 1 && optional.includes(scope)
      ? html`<li><label><input type="checkbox" name="scope" value="${scope}" checked>${label}</label></li>`
      : html`<li><span class="row">${label}<input type="hidden" name="scope" value="${scope}"></span></li>`;
  });
  const warning =
    client.publishing === "testing"
      ? html`<p class="small">This app is in testing: what you allow ends after seven days.</p>`
      : null;
  return page(
    `${client.name} wants access`,
    html`<h1>${client.name} wants access to your account</h1>
<p class="soft">${person.name} · ${person.email}</p>${warning}
<form method="post" action="${action}">
<p>${optional.length > 1 ? "Select what it may do:" : "It will be able to:"}</p><ul>${rows}</ul>
<div class="choice"><button class="main" name="decision" value="allow">Continue</button>
<button name="decision" value="refuse">Cancel</button></div></form>`,
  );
}

/** Whether a form was sent by a page of the sandbox: another site's page could post there, too. */
export function isFromHere({ headers }: FastifyRequest): boolean {
  const site = headers["sec-fetch-site"];
  return site === undefined || site === "same-origin" || site === "none";
}
