import { GaxiosError } from "gaxios";
import { CodeChallengeMethod, type Credentials, OAuth2Client } from "google-auth-library";
import {
  createRemoteJWKSet,
  importPKCS8,
  type JWTVerifyGetKey,
  errors as joseErrors,
  jwtVerify,
  SignJWT,
} from "jose";
import { z } from "zod";
import type { Clock } from "../../lib/clock.ts";
import { ProviderError, type ProviderFailure } from "../../lib/errors.ts";
import type { Secret } from "../../lib/secrets.ts";
import { textOrNull } from "./lenient.ts";
import { parseScopes } from "./scopes.ts";

/** Google's sign-in, as one OAuth client of ours sees it. */
export type GoogleOAuth = {
  clientId: string;
  clientSecret: Secret;
  endpoints: Endpoints;
  jwks: JWTVerifyGetKey;
  clock: Clock;
};

type Endpoints = {
  consent: string;
  token: string;
  revoke: string;
  jwks: string;
  userinfo: string;
  issuers: string[];
};

/** Tokens as the token endpoint gave them. Google sends a refresh token only after a consent. */
export type Grant = {
  accessToken: string;
  accessExpiresAt: Date;
  refreshToken: string | null;
  scopes: string[];
  idToken: string | null;
};

/** Who signed in. Only `subject` identifies an account: an address can change, and can be unverified. */
export type Identity = {
  subject: string;
  email: string;
  emailVerified: boolean;
  name: string | null;
  picture: string | null;
};

const timeoutMs = 10_000;

/** Binds an OAuth client to Google's own hosts, or to `apiUrl` in place of all of them. */
export function openGoogleOAuth(
  client: { clientId: string; clientSecret: Secret; apiUrl: string | null },
  clock: Clock,
): GoogleOAuth {
  const endpoints = endpointsAt(client.apiUrl);
  const jwks = createRemoteJWKSet(new URL(endpoints.jwks), { timeoutDuration: timeoutMs });
  return { clientId: client.clientId, clientSecret: client.clientSecret, endpoints, jwks, clock };
}

function endpointsAt(apiUrl: string | null): Endpoints {
  const google = ["https://accounts.google.com", "accounts.google.com"];
  return {
    consent: `${apiUrl ?? "https://accounts.google.com"}/o/oauth2/v2/auth`,
    token: `${apiUrl ?? "https://oauth2.googleapis.com"}/token`,
    revoke: `${apiUrl ?? "https://oauth2.googleapis.com"}/revoke`,
    jwks: `${apiUrl ?? "https://www.googleapis.com"}/oauth2/v3/certs`,
    userinfo: `${apiUrl ?? "https://openidconnect.googleapis.com"}/v1/userinfo`,
    issuers: apiUrl ? [...google, apiUrl] : google,
  };
}

/** Where to send the browser. PKCE with S256: without the method Google would assume `plain`. */
export function consentUrl(
  oauth: GoogleOAuth,
  request: {
    redirectUri: string;
    scopes: readonly string[];
    state: string;
    nonce: string;
    codeChallenge: string;
    prompt?: string;
    loginHint?: string;
  },
): string {
  return clientOf(oauth).generateAuthUrl({
    redirect_uri: request.redirectUri,
    scope: [...request.scopes],
    state: request.state,
    nonce: request.nonce,
    code_challenge: request.codeChallenge,
    code_challenge_method: CodeChallengeMethod.S256,
    access_type: "offline",
    include_granted_scopes: true,
    ...(request.prompt ? { prompt: request.prompt } : {}),
    ...(request.loginHint ? { login_hint: request.loginHint } : {}),
  });
}

/**
 * Redeems an authorization code.
 *
 * @throws {ProviderError} `reauthorise` when the code is used, expired or was not ours: sign-in must begin again.
 */
export async function exchangeCode(
  oauth: GoogleOAuth,
  request: { code: string; redirectUri: string; codeVerifier?: string },
): Promise<Grant> {
  const { code, redirectUri, codeVerifier } = request;
  const options = { code, redirect_uri: redirectUri, ...(codeVerifier ? { codeVerifier } : {}) };
  return requestGrant(oauth, "redeem the code", async (client) => {
    const { tokens } = await client.getToken(options);
    return tokens;
  });
}

/**
 * Gets a new access token. The grant's refresh token stays valid; Google rarely sends a new one.
 *
 * @throws {ProviderError} `reauthorise` only for a 400 with `invalid_grant`: the grant is dead.
 */
export async function refreshGrant(oauth: GoogleOAuth, refreshToken: string): Promise<Grant> {
  return requestGrant(oauth, "refresh the access token", async (client) => {
    client.setCredentials({ refresh_token: refreshToken });
    return (await client.refreshAccessToken()).credentials;
  });
}

/**
 * Who a grant is of, by its ID token: signature, issuer, audience, expiry and, for a sign-in, the nonce are checked. An
 * address is not among what such a token always has; it is asked for then.
 *
 * @throws {ProviderError}
 */
export async function identify(
  oauth: GoogleOAuth,
  { idToken, accessToken }: Pick<Grant, "idToken" | "accessToken">,
  nonce: string | null,
): Promise<Identity> {
  if (!idToken) {
    throw new ProviderError("give_up", "Google sent no ID token", { reason: "no_id_token" });
  }
  const claims = await verifyIdToken(oauth, idToken, nonce);
  const told = claims.email ? claims : await readUserinfo(oauth, accessToken);
  if (!told.email || told.sub !== claims.sub) {
    throw new ProviderError("give_up", "Google names no address of this account", {
      reason: "no_address",
    });
  }
  return {
    subject: claims.sub,
    email: told.email,
    emailVerified: told.email_verified,
    name: told.name,
    picture: told.picture ?? null,
  };
}

async function readUserinfo(oauth: GoogleOAuth, accessToken: string): Promise<IdClaims> {
  const purpose = "say whose account this is";
  const answer = await fetch(oauth.endpoints.userinfo, {
    headers: { authorization: `Bearer ${accessToken}` },
    redirect: "error",
    signal: AbortSignal.timeout(timeoutMs),
  }).catch((cause: unknown) => {
    throw new ProviderError("retry", `Google could not be reached to ${purpose}`, { cause });
  });
  const body = await bodyOf(answer);
  if (!answer.ok) throw tokenError(purpose, answer.status, body);
  const told = IdClaims.safeParse(body);
  if (told.success) return told.data;
  throw new ProviderError("retry", `Google's answer to ${purpose} has another shape`, {
    reason: "unusable_answer",
  });
}

async function verifyIdToken(
  oauth: GoogleOAuth,
  idToken: string,
  nonce: string | null,
): Promise<IdClaims> {
  try {
    const { payload } = await jwtVerify(idToken, oauth.jwks, {
      issuer: oauth.endpoints.issuers,
      audience: oauth.clientId,
      algorithms: ["RS256"],
      currentDate: oauth.clock.now(),
      clockTolerance: 10,
      requiredClaims: ["sub", "exp", "iat"],
    });
    const claims = IdClaims.parse(payload);
    if (nonce !== null && claims.nonce !== nonce) throw new Error("the nonce is not the one sent");
    if (claims.azp !== undefined && claims.azp !== oauth.clientId)
      throw new Error("issued to another client");
    return claims;
  } catch (cause) {
    const isLate = areKeysMissing(cause);
    throw new ProviderError(
      isLate ? "retry" : "give_up",
      "Google's ID token could not be verified",
      {
        cause,
        reason: isLate ? "certificates_unavailable" : "invalid_id_token",
      },
    );
  }
}

/** Whether Google's keys could not be had, which says nothing about the token that they were to judge. */
export function areKeysMissing(cause: unknown): boolean {
  // `fetch` throws a TypeError where nobody answers; an answer that is none has no code of its own.
  return (
    cause instanceof TypeError ||
    cause instanceof joseErrors.JWKSTimeout ||
    cause instanceof joseErrors.JWKSInvalid ||
    (cause instanceof joseErrors.JOSEError && cause.code === "ERR_JOSE_GENERIC")
  );
}

// `email_verified` is a string in Google's own sample.
const IdClaims = z.object({
  sub: z.string().min(1).max(255),
  // Accounts are made with addresses of other providers too, which may have any sign and any domain.
  email: z.email({ pattern: z.regexes.unicodeEmail }).optional(),
  email_verified: z.union([z.boolean(), z.stringbool()]).default(false),
  // Who may be signed in does not depend on what they are called.
  name: textOrNull.transform((name) => name?.slice(0, 500) ?? null),
  picture: z.url().max(2000).optional().catch(undefined),
  nonce: z.string().optional(),
  azp: z.string().optional(),
});
type IdClaims = z.infer<typeof IdClaims>;

/**
 * Ends a grant at Google: every token of it, for every client of the project. A grant that is already dead
 * counts as done. The token travels in the body, not in a URL that proxies log.
 */
export async function revokeGrant(oauth: GoogleOAuth, token: string): Promise<void> {
  const answer = await post(oauth.endpoints.revoke, { token });
  if (answer.ok || answer.status === 400) return;
  throw tokenError("revoke the grant", answer.status, await bodyOf(answer));
}

/**
 * Asks Google whether it knows this OAuth client, by a refresh that cannot succeed: a good client is told that the grant
 * is not valid, a wrong one that it is not a client.
 *
 * @throws {ProviderError} when the client is refused, or Google cannot be reached.
 */
export async function examineClient(client: {
  clientId: string;
  clientSecret: Secret;
  apiUrl: string | null;
}): Promise<void> {
  const answer = await post(endpointsAt(client.apiUrl).token, {
    grant_type: "refresh_token",
    refresh_token: "1//daybook-doctor",
    client_id: client.clientId,
    client_secret: client.clientSecret.reveal(),
  });
  const error = tokenError("recognise the OAuth client", answer.status, await bodyOf(answer));
  if (error.failure !== "reauthorise") throw error;
}

/**
 * An access token of a service account; with `subject`, in the name of that person (domain-wide delegation).
 *
 * @throws {ProviderError} `give_up` when key, delegation or scopes are wrong: the operator's to mend.
 */
export async function serviceAccountGrant(
  oauth: GoogleOAuth,
  account: { email: string; privateKey: Secret; keyId: string | null },
  request: { scopes: readonly string[]; subject?: string },
): Promise<Grant> {
  const issuedAt = Math.floor(oauth.clock.now().getTime() / 1000);
  const key = await importPKCS8(account.privateKey.reveal(), "RS256").catch((cause: unknown) => {
    throw new ProviderError("give_up", "GOOGLE_SERVICE_ACCOUNT_PRIVATE_KEY is not a PKCS#8 key", {
      cause,
    });
  });
  const assertion = await new SignJWT({
    scope: request.scopes.join(" "),
    ...(request.subject ? { sub: request.subject } : {}),
  })
    .setProtectedHeader({
      alg: "RS256",
      typ: "JWT",
      ...(account.keyId ? { kid: account.keyId } : {}),
    })
    .setIssuer(account.email)
    // The audience is this name even where another host stands in for Google.
    .setAudience("https://oauth2.googleapis.com/token")
    .setIssuedAt(issuedAt)
    .setExpirationTime(issuedAt + 3600)
    .sign(key);
  const grantType = "urn:ietf:params:oauth:grant-type:jwt-bearer";
  const answer = await post(oauth.endpoints.token, { grant_type: grantType, assertion });
  const body = await bodyOf(answer);
  const failed = (status: number) => {
    const error = tokenError("get a token for the service account", status, body);
    // A refused assertion says nothing about any person's grant.
    return error.failure === "reauthorise"
      ? new ProviderError("give_up", error.message, { status, reason: error.reason })
      : error;
  };
  if (!answer.ok) throw failed(answer.status);
  const token = ServiceToken.safeParse(body);
  // Google answers 200 with an ID token alone when a scope is not one that it knows.
  if (!token.success) {
    throw new ProviderError("give_up", "Google knows none of these scopes", {
      reason: "unknown_scope",
    });
  }
  return {
    accessToken: token.data.access_token,
    accessExpiresAt: new Date((issuedAt + token.data.expires_in) * 1000),
    refreshToken: null,
    scopes: [...request.scopes],
    idToken: null,
  };
}

const ServiceToken = z.object({
  access_token: z.string().min(1),
  expires_in: z.number().positive(),
});

function clientOf(oauth: GoogleOAuth): OAuth2Client {
  return new OAuth2Client({
    clientId: oauth.clientId,
    clientSecret: oauth.clientSecret.reveal(),
    endpoints: {
      oauth2AuthBaseUrl: oauth.endpoints.consent,
      oauth2TokenUrl: oauth.endpoints.token,
    },
    transporterOptions: { timeout: timeoutMs, maxContentLength: 1_000_000 },
  });
}

async function requestGrant(
  oauth: GoogleOAuth,
  purpose: string,
  request: (client: OAuth2Client) => Promise<Credentials>,
): Promise<Grant> {
  // The client stamps the expiry with the machine's time; ours may be another.
  const startedAt = { ours: oauth.clock.now().getTime(), real: Date.now() };
  const tokens = await request(clientOf(oauth)).catch((cause: unknown) => {
    throw failureOf(purpose, cause);
  });
  if (!tokens.access_token) {
    throw new ProviderError("retry", `Google sent no access token to ${purpose}`, {
      reason: "no_access_token",
    });
  }
  const livesMs = (tokens.expiry_date ?? startedAt.real) - startedAt.real;
  return {
    accessToken: tokens.access_token,
    accessExpiresAt: new Date(startedAt.ours + livesMs),
    refreshToken: tokens.refresh_token ?? null,
    scopes: parseScopes(tokens.scope),
    idToken: tokens.id_token ?? null,
  };
}

function failureOf(purpose: string, cause: unknown): ProviderError {
  if (cause instanceof GaxiosError && cause.response) {
    return tokenError(purpose, cause.response.status, cause.response.data);
  }
  // The cause may carry the request, and with it the refresh token: only its name goes on.
  const reason = cause instanceof Error && "code" in cause ? String(cause.code) : "network";
  return new ProviderError("retry", `Google could not be reached to ${purpose}`, { reason });
}

// RFC 6749 errors; the texts beside them are not documented and decide nothing.
const ends: Record<string, ProviderFailure> = {
  invalid_client: "give_up",
  unauthorized_client: "give_up",
  invalid_scope: "give_up",
  invalid_request: "give_up",
  unsupported_grant_type: "give_up",
};

const TokenFailure = z.object({ error: z.string() });

function tokenError(purpose: string, status: number, body: unknown): ProviderError {
  const reason = TokenFailure.safeParse(body).data?.error.slice(0, 100) ?? `http_${status}`;
  const isDead = status === 400 && reason === "invalid_grant";
  const failure = isDead
    ? "reauthorise"
    : status === 429
      ? "wait"
      : status >= 500
        ? "retry"
        : (ends[reason] ?? "retry");
  return new ProviderError(failure, `Google refused to ${purpose} (${reason})`, { status, reason });
}

async function post(url: string, form: Record<string, string>): Promise<Response> {
  const request = {
    method: "POST",
    body: new URLSearchParams(form),
    signal: AbortSignal.timeout(timeoutMs),
  };
  return fetch(url, { ...request, redirect: "error" }).catch((cause: unknown) => {
    throw new ProviderError("retry", `Google could not be reached at ${new URL(url).pathname}`, {
      cause,
    });
  });
}

async function bodyOf(answer: Response): Promise<unknown> {
  const text = await answer.text().catch(() => "");
  try {
    return JSON.parse(text.slice(0, 100_000));
  } catch {
    return null;
  }
}
