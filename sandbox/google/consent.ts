import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { type Authorization, parseAuthorization } from "./authorization.ts";
import { type Answer, addEndpoint } from "./endpoints.ts";
import { findGrant, type Grant, issueCode, saveConsent } from "./grants.ts";
import { chooserPage, consentPage, pageHeaders } from "./pages.ts";
import { findPerson, type Person } from "./people.ts";
import { formatScopes, isBasic } from "./scopes.ts";
import type { State } from "./state.ts";

const cookieName = "sandbox_google_people";

/**
 * The consent page, `/o/oauth2/v2/auth`: a person chooses an account, sees what is asked unless it was allowed before,
 * and goes back to the app. The request travels along in the address, so that nothing is kept until the decision.
 */
export function addConsent(server: FastifyInstance, state: State): void {
  const paths = ["/o/oauth2/v2/auth", "/o/oauth2/auth"];
  const person = (request: FastifyRequest) => chosenPerson(state, request.query);
  const shared = { name: "oauth.consent", paths, errors: "page", person } as const;
  addEndpoint(server, state, {
    ...shared,
    method: "GET",
    answer: (request) => ask(state, request),
  });
  addEndpoint(server, state, {
    ...shared,
    method: "POST",
    answer: (request) => decide(state, request),
  });
}

function ask(state: State, request: FastifyRequest): Answer {
  const asked = parseAuthorization(state, request.query);
  const signedIn = signedInPeople(state, request);
  if (asked.prompt.has("none")) return answerSilently(state, asked, signedIn);
  const person = chosenPerson(state, request.query) ?? expectedPerson(state, asked, signedIn);
  if (!person) return showChooser(state, request, asked);
  const grant = findGrant(state, person, asked.client);
  if (grant && !asked.prompt.has("consent") && covers(grant, asked)) {
    return remembering(
      state,
      [...signedIn, person],
      sendBack(state, { asked, person, grant, wasConsentShown: false }),
    );
  }
  const { client, scopes } = asked;
  const action = addressOf(state, request, [["authuser", person.sub]]);
  return { headers: pageHeaders, body: consentPage({ client, person, scopes, action }) };
}

const Decision = z.object({
  decision: z.enum(["allow", "refuse"]),
  scope: z
    .union([z.string(), z.array(z.string())])
    .default([])
    .transform((scope) => [scope].flat()),
});

function decide(state: State, request: FastifyRequest): Answer {
  const asked = parseAuthorization(state, request.query);
  const person = chosenPerson(state, request.query);
  if (!person) return showChooser(state, request, asked);
  const decision = Decision.parse(request.body);
  const allowed = asked.scopes.filter((scope) => isBasic(scope) || decision.scope.includes(scope));
  if (decision.decision === "refuse" || allowed.length === 0) return refuse(asked, "access_denied");
  const refused = asked.scopes.filter((scope) => !allowed.includes(scope));
  const grant = saveConsent(state, { person, client: asked.client }, { allowed, refused });
  const signedIn = [...signedInPeople(state, request), person];
  return remembering(
    state,
    signedIn,
    sendBack(state, { asked, person, grant, wasConsentShown: true }),
  );
}

// `prompt=none`: an answer without a page, or the reason why there would have to be one.
function answerSilently(state: State, asked: Authorization, signedIn: Person[]): Answer {
  const hinted = asked.loginHint ? findPerson(state, asked.loginHint) : null;
  const candidates = asked.loginHint ? signedIn.filter((person) => person === hinted) : signedIn;
  const [person, other] = candidates;
  if (!person) return refuse(asked, "login_required");
  if (other) return refuse(asked, "account_selection_required");
  const grant = findGrant(state, person, asked.client);
  if (!grant || !covers(grant, asked)) return refuse(asked, "consent_required");
  return sendBack(state, { asked, person, grant, wasConsentShown: false });
}

function showChooser(state: State, request: FastifyRequest, asked: Authorization): Answer {
  const able = state.people.filter(({ isDisabled }) => !isDisabled);
  // The domain is no more than a hint.
  const inDomain = able.filter(({ hd }) => hd !== null && (asked.hd === "*" || hd === asked.hd));
  const hinted = asked.loginHint ? findPerson(state, asked.loginHint) : null;
  const people = (inDomain.length > 0 ? inDomain : able).toSorted(
    (a, b) => Number(b === hinted) - Number(a === hinted),
  );
  const fields = [...parametersOf(request)];
  return {
    headers: pageHeaders,
    body: chooserPage({ client: asked.client, people, action: pathOf(state, request), fields }),
  };
}

function sendBack(
  state: State,
  outcome: { asked: Authorization; person: Person; grant: Grant; wasConsentShown: boolean },
): Answer {
  const { asked, person, grant, wasConsentShown } = outcome;
  const scopes = grant.scopes.filter(
    (scope) => asked.includesGranted || asked.scopes.includes(scope),
  );
  const code = issueCode(state, {
    clientId: asked.client.id,
    redirectUri: asked.redirectUri,
    grantId: grant.id,
    sub: person.sub,
    scopes,
    nonce: asked.nonce,
    challenge: asked.challenge,
    isOffline: asked.isOffline,
    wasConsentShown,
  });
  const domain: [string, string][] = person.hd ? [["hd", person.hd]] : [];
  return redirectTo(asked, [
    ["code", code],
    ["scope", formatScopes(scopes)],
    ["authuser", "0"],
    ...domain,
    ["prompt", wasConsentShown ? "consent" : "none"],
  ]);
}

function refuse(asked: Authorization, error: string): Answer {
  return redirectTo(asked, [["error", error]]);
}

function redirectTo(asked: Authorization, parameters: [string, string][]): Answer {
  const url = new URL(asked.redirectUri);
  const state: [string, string][] = asked.state === null ? [] : [["state", asked.state]];
  for (const [name, value] of [...state, ...parameters]) url.searchParams.append(name, value);
  return { status: 302, headers: { location: url.href } };
}

function covers(grant: Grant, asked: Authorization): boolean {
  return asked.scopes.every((scope) => grant.scopes.includes(scope));
}

// Whoever was clicked on. An app that sends an `authuser` of its own names nobody by it.
function chosenPerson(state: State, query: unknown): Person | null {
  const { authuser } = z.object({ authuser: z.string().optional() }).catch({}).parse(query);
  return state.people.find(({ sub, isDisabled }) => sub === authuser && !isDisabled) ?? null;
}

function expectedPerson(state: State, asked: Authorization, signedIn: Person[]): Person | null {
  if (asked.loginHint === null || asked.prompt.has("select_account")) return null;
  const hinted = findPerson(state, asked.loginHint);
  return signedIn.find((person) => person === hinted) ?? null;
}

function signedInPeople(state: State, request: FastifyRequest): Person[] {
  const cookie =
    new RegExp(`(?:^|;\\s*)${cookieName}=([^;]+)`).exec(request.headers.cookie ?? "")?.[1] ?? "";
  const subs = new URLSearchParams(cookie).getAll("sub");
  return state.people.filter(({ sub, isDisabled }) => subs.includes(sub) && !isDisabled);
}

function remembering(state: State, people: Person[], answer: Answer): Answer {
  const subs = new URLSearchParams(
    [...new Set(people)].map(({ sub }): [string, string] => ["sub", sub]),
  );
  const path = new URL(state.baseUrl()).pathname;
  const cookie = `${cookieName}=${subs}; Path=${path}; HttpOnly; SameSite=Lax; Max-Age=2592000`;
  return { ...answer, headers: { ...answer.headers, "set-cookie": cookie } };
}

function addressOf(state: State, request: FastifyRequest, added: [string, string][]): string {
  const parameters = new URLSearchParams([...parametersOf(request), ...added]);
  return `${pathOf(state, request)}?${parameters}`;
}

function pathOf(state: State, request: FastifyRequest): string {
  return new URL(state.baseUrl()).pathname.replace(/\/$/, "") + request.url.split("?")[0];
}

function parametersOf(request: FastifyRequest): URLSearchParams {
  const parameters = new URLSearchParams(request.url.split("?")[1] ?? "");
  parameters.delete("authuser");
  return parameters;
}
