import { grantsOf } from "./control.ts";
import { html, page } from "./pages.ts";
import { shortName } from "./scopes.ts";
import type { State } from "./state.ts";

const shownRequests = 25;

/** Another page of the sandbox. */
export type Neighbour = { name: string; url: string };

/** The sandbox at a glance, for whoever opens it in a browser. */
export function indexPage(state: State, neighbours: Neighbour[]): string {
  const base = state.baseUrl();
  const people = state.people.map(
    ({ name, email, emailVerified, hd, isDisabled }) =>
      html`<tr><td>${name}</td><td>${email}</td><td>${hd ?? "private account"}${emailVerified ? "" : ", address not verified"}${isDisabled ? ", disabled" : ""}</td></tr>`,
  );
  const grants = grantsOf(state).map(
    ({ person, projectId, scopes, consentedAt, refreshTokens }) =>
      html`<tr><td>${person}</td><td>${projectId}<br><span class="soft small">${timeOf(consentedAt)}, ${refreshTokens} refresh tokens</span></td>
<td>${scopes.map((scope) => html`<code>${shortName(scope)}</code><br>`)}</td></tr>`,
  );
  const faults = state.faults.map(
    ({ id, endpoint, status, reset, delayMs, holdMs, times, hits }) =>
      html`<tr><td><code>${endpoint}</code></td><td>${status ?? reset ?? `${delayMs ?? holdMs} ms late`}</td>
<td>${hits} of ${times ?? "any number"}</td><td><code>${id}</code></td></tr>`,
  );
  const requests = state.requests
    .slice(-shownRequests)
    .reverse()
    .map(
      ({ at, method, path, endpoint, person, status }) =>
        html`<tr><td>${timeOf(at)}</td><td><code>${method} ${path}</code><br><span class="soft small">${endpoint}</span></td>
<td>${person}</td><td>${status ?? "cut off"}</td></tr>`,
    );
  return page(
    "Sandbox Google",
    html`<h1>Sandbox Google</h1>
<p class="soft">A stand-in that speaks Google's protocols. Its time is ${timeOf(state.clock.now())}.</p>
${table("People", ["Name", "Address", "Account"], people)}
${table("Grants", ["Person", "Project", "Scopes"], grants)}
${table("Faults", ["Endpoint", "What happens", "Hits", "Id"], faults)}
${table("Last requests", ["Time", "Request", "Person", "Status"], requests)}
<h2>Links</h2>
<p><a href="${base}/calendar">Calendars</a> · <a href="${base}/mail">Mail</a> ·
<a href="${base}/drive">Drive</a> · ${neighbours.map(({ name, url }) => html`<a href="${url}">${name}</a> · `)}
<a href="${base}/.well-known/openid-configuration">Discovery document</a> ·
<a href="${base}/oauth2/v3/certs">Keys</a> · <a href="${base}/_control/requests">All requests</a></p>`,
    "wide",
  );
}

function table(title: string, columns: string[], rows: ReturnType<typeof html>[]) {
  if (rows.length === 0) return html`<h2>${title}</h2><p class="soft">None.</p>`;
  const head = columns.map((column) => html`<th scope="col">${column}</th>`);
  return html`<h2>${title}</h2><div class="scroll"><table><thead><tr>${head}</tr></thead><tbody>${rows}</tbody></table></div>`;
}

function timeOf(date: Date): string {
  return `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}
