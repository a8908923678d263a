import { createHash } from "node:crypto";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { type Answer, addEndpoint } from "./endpoints.ts";
import { GoogleError } from "./errors.ts";
import {
  accessTokenSeconds,
  type Code,
  findCode,
  findRefreshToken,
  issueAccessToken,
  issueRefreshToken,
  personOf,
  scopesLeft,
} from "./grants.ts";
import { signIdToken } from "./keys.ts";
import { claimsOf, type Person } from "./people.ts";
import { formatScopes, parseScopes } from "./scopes.ts";
import { answerAssertion } from "./service-account.ts";
import type { Client, State } from "./state.ts";

const jwtBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const grantNames = new Map([
  ["authorization_code", "code"],
  ["refresh_token", "refresh"],
  [jwtBearer, "jwt"],
]);

// Parameters that come twice, or empty, count as wrong or missing.
const Form = z.record(z.string(), z.string());
type Form = z.infer<typeof Form>;

/** The token endpoint. To faults it is three: `oauth.token.code`, `oauth.token.refresh` and `oauth.token.jwt`. */
export function addToken(server: FastifyInstance, state: State): void {
  addEndpoint(server, state, {
    name: (request) =>
      `oauth.token.${grantNames.get(formOf(request).grant_type ?? "") ?? "unknown"}`,
    method: "POST",
    paths: ["/token", "/oauth2/v4/token", "/o/oauth2/token"],
    errors: "oauth",
    person: (request) => personOfForm(state, formOf(request)),
    answer: (request) => answerGrant(state, request),
  });
}

function answerGrant(state: State, request: FastifyRequest): Answer | Promise<Answer> {
  const form = Form.parse(request.body ?? {});
  const grantType = required(form, "grant_type");
  if (grantType === jwtBearer) return answerAssertion(state, required(form, "assertion"));
  if (grantType !== "authorization_code" && grantType !== "refresh_token") {
    throw new GoogleError(400, "unsupported_grant_type", `Invalid grant_type: ${grantType}`);
  }
  const client = authenticatedClient(state, request, form);
  return grantType === "refresh_token" ? refresh(state, client, form) : redeem(state, client, form);
}

async function redeem(state: State, client: Client, form: Form): Promise<Answer> {
  const code = findCode(state, required(form, "code"));
  const grant = code && state.grants.get(code.grantId);
  const person = code && personOf(state, code);
  if (!grant || !person || code.clientId !== client.id) {
    throw new GoogleError(400, "invalid_grant", "Malformed auth code.");
  }
  if (form.redirect_uri !== code.redirectUri) {
    throw new GoogleError(
      400,
      "invalid_grant",
      "The redirect URI is not the one that the code was sent to.",
    );
  }
  checkVerifier(code, form.code_verifier);
  code.isUsed = true;
  const { scopes, isOffline, nonce } = code;
  const body = await issue(state, { client, person, grantId: grant.id, scopes, isOffline, nonce });
  // Only who saw the consent page on the way here gives a lasting token.
  if (!isOffline || !code.wasConsentShown) return { body };
  return { body: { ...body, refresh_token: issueRefreshToken(state, code, grant) } };
}

async function refresh(state: State, client: Client, form: Form): Promise<Answer> {
  const token = findRefreshToken(state, required(form, "refresh_token"));
  const person = token && personOf(state, token);
  if (!person) throw new GoogleError(400, "invalid_grant");
  if (token.clientId !== client.id) throw new GoogleError(401, "unauthorized_client");
  const left = scopesLeft(state, token);
  const scopes = form.scope ? parseScopes(form.scope) : left;
  if (scopes.some((scope) => !left.includes(scope))) {
    throw new GoogleError(
      400,
      "invalid_scope",
      "The refresh token does not cover all of these scopes.",
    );
  }
  token.lastUsedAt = state.clock.now();
  const { grantId } = token;
  return {
    body: await issue(state, { client, person, grantId, scopes, isOffline: true, nonce: null }),
  };
}

type Issue = {
  client: Client;
  person: Person;
  grantId: string;
  scopes: string[];
  isOffline: boolean;
  nonce: string | null;
};

// Everything but a refresh token. There is an ID token where `openid` was granted.
async function issue(state: State, { client, person, grantId, scopes, isOffline, nonce }: Issue) {
  const owner = { sub: person.sub, clientId: client.id, grantId, serviceAccount: null };
  const { token } = issueAccessToken(state, { ...owner, scopes, isOffline });
  const body = {
    access_token: token,
    expires_in: accessTokenSeconds,
    scope: formatScopes(scopes),
    token_type: "Bearer",
  };
  if (!scopes.includes("openid")) return body;
  const binding = {
    azp: client.id,
    aud: client.id,
    at_hash: halfHash(token),
    ...(nonce === null ? {} : { nonce }),
  };
  return {
    ...body,
    id_token: await signIdToken(state, { ...binding, ...claimsOf(state, person, scopes) }),
  };
}

// The client says who it is in the form, or by HTTP Basic.
function authenticatedClient(state: State, request: FastifyRequest, form: Form): Client {
  const basic = basicCredentials(request.headers.authorization);
  const id = basic?.id ?? required(form, "client_id");
  const secret = basic?.secret ?? form.client_secret;
  const client = state.clients.find((one) => one.id === id);
  if (!client) throw new GoogleError(401, "invalid_client", "The OAuth client was not found.");
  if (!secret) throw new GoogleError(400, "invalid_request", "client_secret is missing.");
  if (secret !== client.secret)
    throw new GoogleError(401, "invalid_client", "The provided client secret is invalid.");
  return client;
}

function basicCredentials(header: string | undefined): { id: string; secret: string } | null {
  const encoded = /^Basic +(\S+)$/i.exec(header ?? "")?.[1];
  if (encoded === undefined) return null;
  const [id = "", secret = ""] = Buffer.from(encoded, "base64").toString().split(":");
  try {
    return { id: decodeURIComponent(id), secret: decodeURIComponent(secret) };
  } catch {
    throw new GoogleError(401, "invalid_client", "The Authorization header is malformed.");
  }
}

function checkVerifier(code: Code, verifier: string | undefined): void {
  if (code.challenge === null) {
    if (verifier === undefined) return;
    throw new GoogleError(400, "invalid_grant", "code_verifier or verifier is not needed.");
  }
  if (!verifier) throw new GoogleError(400, "invalid_grant", "Missing code verifier.");
  const answer =
    code.challenge.method === "plain"
      ? verifier
      : createHash("sha256").update(verifier).digest("base64url");
  const isWellFormed = /^[A-Za-z0-9\-._~]{43,128}$/.test(verifier);
  if (!isWellFormed || answer !== code.challenge.value) {
    throw new GoogleError(400, "invalid_grant", "Invalid code verifier.");
  }
}

// OpenID Connect's `at_hash`: the left half of the digest.
function halfHash(token: string): string {
  return createHash("sha256").update(token).digest().subarray(0, 16).toString("base64url");
}

function required(form: Form, name: string): string {
  const value = form[name];
  if (!value) throw new GoogleError(400, "invalid_request", `Missing required parameter: ${name}`);
  return value;
}

function formOf(request: FastifyRequest): Form {
  return Form.catch({}).parse(request.body);
}

function personOfForm(state: State, form: Form): Person | null {
  const token =
    findCode(state, form.code ?? "") ?? findRefreshToken(state, form.refresh_token ?? "");
  return token && personOf(state, token);
}
