import { verify } from "node:crypto";
import { z } from "zod";
import type { Answer } from "./endpoints.ts";
import { GoogleError } from "./errors.ts";
import { accessTokenSeconds, issueAccessToken } from "./grants.ts";
import { signIdToken } from "./keys.ts";
import { findPerson, type Person } from "./people.ts";
import { isKnown, parseScopes } from "./scopes.ts";
import type { ServiceAccount, State } from "./state.ts";

const Header = z.object({ alg: z.string(), kid: z.string().optional() });

const Claims = z.object({
  iss: z.string(),
  aud: z.string(),
  scope: z.string().default(""),
  sub: z.string().optional(),
  iat: z.number(),
  exp: z.number(),
});
type Claims = z.infer<typeof Claims>;

const skewSeconds = 300;
const longestSeconds = 3600;

/**
 * Gives a service account its access token for a JWT that it signed; with `sub` in the name of a person, where an
 * administrator delegated that. As at Google, a scope that is not known yields an ID token and no access token.
 *
 * @throws {GoogleError}
 */
export async function answerAssertion(state: State, assertion: string): Promise<Answer> {
  const { header, claims, signed, signature } = decode(assertion);
  const account = state.serviceAccounts.find(({ email }) => email === claims.iss);
  if (!account) throw new GoogleError(400, "invalid_grant", "Invalid grant: account not found");
  const isSigned =
    header.alg === "RS256" &&
    (header.kid ?? account.keyId) === account.keyId &&
    verify("sha256", Buffer.from(signed), account.publicKey, signature);
  if (!isSigned) throw new GoogleError(400, "invalid_grant", "Invalid JWT Signature.");
  checkTimes(state, claims);
  checkAudience(state, claims);
  const scopes = parseScopes(claims.scope);
  if (scopes.length === 0) {
    throw new GoogleError(
      400,
      "invalid_scope",
      "Invalid OAuth scope or ID token audience provided.",
    );
  }
  const person = delegator(state, account, claims, scopes);
  if (!scopes.every(isKnown))
    return { body: { id_token: await idTokenOf(state, account, scopes) } };
  const { token } = issueAccessToken(state, {
    sub: person?.sub ?? null,
    clientId: account.clientId,
    grantId: null,
    serviceAccount: account.email,
    scopes,
    isOffline: false,
  });
  return { body: { access_token: token, expires_in: accessTokenSeconds, token_type: "Bearer" } };
}

function decode(assertion: string) {
  const [header = "", claims = "", signature = ""] = assertion.split(".");
  try {
    return {
      header: Header.parse(JSON.parse(Buffer.from(header, "base64url").toString())),
      claims: Claims.parse(JSON.parse(Buffer.from(claims, "base64url").toString())),
      signed: `${header}.${claims}`,
      signature: Buffer.from(signature, "base64url"),
    };
  } catch {
    throw new GoogleError(400, "invalid_request", "Bad Request");
  }
}

function checkTimes(state: State, { iat, exp }: Claims): void {
  const now = state.clock.now().getTime() / 1000;
  if (iat <= now + skewSeconds && exp > now && exp > iat && exp - iat <= longestSeconds) return;
  throw new GoogleError(
    400,
    "invalid_grant",
    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. " +
      "Check your iat and exp values in the JWT claim.",
  );
}

// Clients name Google's own endpoint even where the sandbox stands in for it.
function checkAudience(state: State, { aud }: Claims): void {
  const accepted = [
    "https://oauth2.googleapis.com/token",
    "https://www.googleapis.com/oauth2/v4/token",
  ];
  if (![...accepted, `${state.baseUrl()}/token`].includes(aud)) {
    throw new GoogleError(
      400,
      "invalid_grant",
      "Invalid JWT: the audience is not the token endpoint.",
    );
  }
}

// Who the account wants to act for: it reaches the people of a Workspace domain, and no private account.
function delegator(
  state: State,
  account: ServiceAccount,
  claims: Claims,
  scopes: string[],
): Person | null {
  if (!claims.sub || claims.sub === account.email) return null;
  const person = findPerson(state, claims.sub);
  if (!person || person.isDisabled)
    throw new GoogleError(400, "invalid_grant", "Invalid email or User ID");
  const isDelegated = scopes.every(
    (scope) => account.delegatedScopes.includes(scope) || !isKnown(scope),
  );
  if (person.hd !== null && isDelegated) return person;
  throw new GoogleError(
    401,
    "unauthorized_client",
    "Client is unauthorized to retrieve access tokens using this method, " +
      "or client not authorized for any of the scopes requested.",
  );
}

function idTokenOf(state: State, account: ServiceAccount, scopes: string[]): Promise<string> {
  const { email, clientId } = account;
  return signIdToken(state, {
    aud: scopes.join(" "),
    azp: email,
    email,
    email_verified: true,
    sub: clientId,
  });
}
