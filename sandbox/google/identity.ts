import type { FastifyInstance, FastifyRequest } from "fastify";
import { createLocalJWKSet, decodeProtectedHeader, errors, jwtVerify } from "jose";
import { z } from "zod";
import { bearerOf, requireAccess } from "./access.ts";
import { type Answer, addEndpoint } from "./endpoints.ts";
import { GoogleError } from "./errors.ts";
import {
  type AccessToken,
  endGrant,
  findAccessToken,
  findRefreshToken,
  personOf,
} from "./grants.ts";
import { certificatesOf, jwksOf } from "./keys.ts";
import { html } from "./pages.ts";
import { claimsOf, findPerson, type Person } from "./people.ts";
import { formatScopes, parseScopes } from "./scopes.ts";
import type { State } from "./state.ts";

const identityScopes = parseScopes("openid email profile");
const certificateHeaders = {
  "cache-control": "public, max-age=3600, must-revalidate, no-transform",
};

/** What tells who somebody is, and ends what they allowed: discovery, keys, userinfo, tokeninfo, revoke. */
export function addIdentity(server: FastifyInstance, state: State): void {
  const read = { method: "GET", errors: "api" } as const;
  addEndpoint(server, state, {
    ...read,
    name: "oauth.discovery",
    paths: ["/.well-known/openid-configuration"],
    answer: () => ({ headers: certificateHeaders, body: discoveryDocument(state) }),
  });
  addEndpoint(server, state, {
    ...read,
    name: "oauth.certs",
    paths: ["/oauth2/v3/certs"],
    answer: async () => ({ headers: certificateHeaders, body: await jwksOf(state) }),
  });
  addEndpoint(server, state, {
    ...read,
    name: "oauth.certs",
    paths: ["/oauth2/v1/certs"],
    answer: () => ({ headers: certificateHeaders, body: certificatesOf(state) }),
  });
  addEndpoint(server, state, {
    name: "oauth.userinfo",
    method: ["GET", "POST"],
    paths: ["/v1/userinfo", "/oauth2/v3/userinfo"],
    errors: "api",
    answer: (request) => ({ body: userinfo(state, request) }),
  });
  addEndpoint(server, state, {
    ...read,
    name: "oauth.userinfo",
    paths: ["/oauth2/v2/userinfo", "/oauth2/v1/userinfo"],
    answer: (request) => ({ body: legacyUserinfo(userinfo(state, request)) }),
  });
  addEndpoint(server, state, {
    name: "oauth.tokeninfo",
    method: ["GET", "POST"],
    paths: ["/tokeninfo", "/oauth2/v3/tokeninfo"],
    errors: "oauth",
    answer: (request) => tokeninfo(state, request),
  });
  addEndpoint(server, state, {
    name: "oauth.revoke",
    method: "POST",
    paths: ["/revoke", "/o/oauth2/revoke"],
    errors: "oauth",
    person: (request) => personOfToken(state, parameter(request, "token")),
    answer: (request) => revoke(state, request),
  });
  addEndpoint(server, state, {
    ...read,
    name: "avatar",
    paths: ["/avatars/:sub"],
    answer: ({ params }) => avatar(state, z.object({ sub: z.string() }).parse(params).sub),
  });
}

function discoveryDocument(state: State) {
  const base = state.baseUrl();
  return {
    issuer: state.issuer(),
    authorization_endpoint: `${base}/o/oauth2/v2/auth`,
    token_endpoint: `${base}/token`,
    userinfo_endpoint: `${base}/v1/userinfo`,
    revocation_endpoint: `${base}/revoke`,
    jwks_uri: `${base}/oauth2/v3/certs`,
    response_types_supported: ["code"],
    response_modes_supported: ["query"],
    subject_types_supported: ["public"],
    id_token_signing_alg_values_supported: ["RS256"],
    scopes_supported: ["openid", "email", "profile"],
    token_endpoint_auth_methods_supported: ["client_secret_post", "client_secret_basic"],
    claims_supported: [
      "aud",
      "email",
      "email_verified",
      "exp",
      "family_name",
      "given_name",
      "iat",
      "iss",
      "name",
      "picture",
      "sub",
    ],
    code_challenge_methods_supported: ["plain", "S256"],
    grant_types_supported: [
      "authorization_code",
      "refresh_token",
      "urn:ietf:params:oauth:grant-type:jwt-bearer",
    ],
  };
}

function userinfo(state: State, request: FastifyRequest) {
  const { person, serviceAccount, scopes } = requireAccess(state, request, {
    anyOf: identityScopes,
  });
  if (person) return claimsOf(state, person, scopes);
  return {
    sub: serviceAccount?.clientId ?? "",
    email: serviceAccount?.email,
    email_verified: true,
  };
}

// The older version has other names for two of the fields.
function legacyUserinfo({ sub, email_verified, ...rest }: ReturnType<typeof userinfo>) {
  return {
    id: sub,
    ...rest,
    ...(email_verified === undefined ? {} : { verified_email: email_verified }),
  };
}

async function tokeninfo(state: State, request: FastifyRequest): Promise<Answer> {
  const idToken = parameter(request, "id_token");
  if (idToken !== null) return { body: await describeIdToken(state, idToken) };
  const token = findAccessToken(
    state,
    parameter(request, "access_token") ?? bearerOf(request) ?? "",
  );
  if (!token) throw new GoogleError(400, "invalid_token", "Invalid Value");
  return { body: describeAccessToken(state, token) };
}

// Every value is text here, numbers and booleans too.
function describeAccessToken(state: State, token: AccessToken) {
  const { clientId, scopes, expiresAt, isOffline } = token;
  const person = personOf(state, token);
  const { email, email_verified } = person ? claimsOf(state, person, scopes) : {};
  return {
    azp: clientId,
    aud: clientId,
    sub: token.sub ?? clientId,
    scope: formatScopes(scopes),
    exp: String(Math.floor(expiresAt.getTime() / 1000)),
    expires_in: String(Math.floor((expiresAt.getTime() - state.clock.now().getTime()) / 1000)),
    ...(email === undefined ? {} : { email, email_verified: String(email_verified) }),
    access_type: isOffline ? "offline" : "online",
  };
}

async function describeIdToken(state: State, idToken: string) {
  try {
    const keys = createLocalJWKSet(await jwksOf(state));
    const { payload } = await jwtVerify(idToken, keys, {
      currentDate: state.clock.now(),
      algorithms: ["RS256"],
    });
    const { alg, kid, typ } = decodeProtectedHeader(idToken);
    return Object.fromEntries(
      Object.entries({ ...payload, alg, kid, typ }).map(([name, value]) => [name, String(value)]),
    );
  } catch (error) {
    if (!(error instanceof errors.JOSEError)) throw error;
    throw new GoogleError(400, "invalid_token", "Invalid Value", { cause: error });
  }
}

// One token of a grant ends all of it; a service account has no grant, only the token.
function revoke(state: State, request: FastifyRequest): Answer {
  const text = parameter(request, "token");
  if (!text) throw new GoogleError(400, "invalid_request", "Missing required parameter: token");
  const token = findRefreshToken(state, text) ?? findAccessToken(state, text);
  if (!token) throw new GoogleError(400, "invalid_token", "Token expired or revoked");
  if (token.grantId === null) state.accessTokens.delete(text);
  else endGrant(state, token.grantId);
  return { body: {} };
}

function avatar(state: State, sub: string): Answer {
  const person = findPerson(state, sub);
  if (!person) throw new GoogleError(404, "notFound");
  const { markup } =
    html`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96" width="96" height="96">
<rect width="96" height="96" fill="#3d5a80"/><text x="48" y="64" fill="#fff" font-family="sans-serif"
font-size="44" text-anchor="middle">${person.givenName.slice(0, 1)}</text></svg>`;
  return {
    headers: { "content-type": "image/svg+xml", "cache-control": "public, max-age=86400" },
    body: markup,
  };
}

function personOfToken(state: State, text: string | null): Person | null {
  const token = findRefreshToken(state, text ?? "") ?? findAccessToken(state, text ?? "");
  return token && personOf(state, token);
}

// Google takes these in the query as well as in a form.
function parameter(request: FastifyRequest, name: string): string | null {
  const Fields = z.record(z.string(), z.unknown()).catch({});
  const value = Fields.parse(request.body)[name] ?? Fields.parse(request.query)[name];
  return typeof value === "string" ? value : null;
}
