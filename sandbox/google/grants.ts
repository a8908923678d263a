import { randomBytes } from "node:crypto";
import { days, minutes, seconds } from "./clock.ts";
import type { Person } from "./people.ts";
import { isBasic } from "./scopes.ts";
import type { Client, ServiceAccount, State } from "./state.ts";

/** What a person allowed a project. All its clients share it, and it ends for all of them at once. */
export type Grant = {
  id: string;
  sub: string;
  projectId: string;
  scopes: string[];
  consentedAt: Date;
};

export type Code = {
  code: string;
  clientId: string;
  redirectUri: string;
  grantId: string;
  sub: string;
  scopes: string[];
  nonce: string | null;
  challenge: { method: "S256" | "plain"; value: string } | null;
  isOffline: boolean;
  /** Whether the person saw the consent page on the way to this code. */
  wasConsentShown: boolean;
  expiresAt: Date;
  isUsed: boolean;
};

/** An access token: of a person through a client, or of a service account, alone or in a person's name. */
export type AccessToken = {
  token: string;
  sub: string | null;
  clientId: string;
  grantId: string | null;
  serviceAccount: string | null;
  scopes: string[];
  isOffline: boolean;
  expiresAt: Date;
};

export type RefreshToken = {
  token: string;
  sub: string;
  clientId: string;
  grantId: string;
  scopes: string[];
  consentedAt: Date;
  lastUsedAt: Date;
};

/** Google says 3599 for an hour. */
export const accessTokenSeconds = 3599;

const codeLifeMs = 10 * minutes;
const testingLifeMs = 7 * days;
const unusedLifeMs = 180 * days;
const refreshTokensPerClient = 100;
const tidyEvery = 1_000;

/** The grant of a person to a client's project, if there is one that has not died. */
export function findGrant(state: State, person: Person, client: Client): Grant | null {
  const grant = state.grants
    .values()
    .find(({ sub, projectId }) => sub === person.sub && projectId === client.projectId);
  return grant && !diedInTesting(state, client, grant) ? grant : null;
}

/** Records a decision at the consent page: what was ticked is added, what was left unticked is taken away. */
export function saveConsent(
  state: State,
  parties: { person: Person; client: Client },
  decision: { allowed: string[]; refused: string[] },
): Grant {
  const { person, client } = parties;
  const before = findGrant(state, person, client);
  // One that died in Testing makes room for the new one.
  if (!before) endGrantsOf(state, person, client.projectId);
  const kept = (before?.scopes ?? []).filter((scope) => !decision.refused.includes(scope));
  const grant = {
    id: before?.id ?? randomBytes(8).toString("hex"),
    sub: person.sub,
    projectId: client.projectId,
    scopes: [...new Set([...kept, ...decision.allowed])],
    consentedAt: state.clock.now(),
  };
  state.grants.set(grant.id, grant);
  return grant;
}

/** Ends a grant and with it every token of every client of the project. */
export function endGrant(state: State, grantId: string): void {
  state.grants.delete(grantId);
  dropTokens(state, (token) => token.grantId === grantId);
}

/** Ends everything that a person allowed, or allowed one project. Returns how many grants that were. */
export function endGrantsOf(state: State, person: Person, project?: string): number {
  const theirs = [...state.grants.values()].filter(
    ({ sub, projectId }) => sub === person.sub && (project ?? projectId) === projectId,
  );
  for (const { id } of theirs) endGrant(state, id);
  return theirs.length;
}

/** What a new password does: refresh tokens that can read mail die. */
export function changePassword(state: State, person: Person): void {
  for (const [key, { sub, scopes }] of state.refreshTokens) {
    if (sub === person.sub && scopes.some((scope) => /gmail|mail\.google/.test(scope)))
      state.refreshTokens.delete(key);
  }
}

/** A code that works once, for a few minutes. It contains a slash, as Google's do. */
export function issueCode(state: State, code: Omit<Code, "code" | "expiresAt" | "isUsed">): string {
  const text = `4/0A${randomBytes(42).toString("base64url")}`;
  tidy(state);
  state.codes.set(text, {
    ...code,
    code: text,
    expiresAt: after(state, codeLifeMs),
    isUsed: false,
  });
  return text;
}

export function issueAccessToken(
  state: State,
  token: Omit<AccessToken, "token" | "expiresAt">,
): AccessToken {
  const text = `ya29.a0A${randomBytes(120).toString("base64url")}`;
  const issued = { ...token, token: text, expiresAt: after(state, accessTokenSeconds * seconds) };
  tidy(state);
  state.accessTokens.set(text, issued);
  return issued;
}

/** Issues a refresh token. The 101st of an account at a client silently ends the oldest. */
export function issueRefreshToken(state: State, code: Code, grant: Grant): string {
  const text = `1//0${randomBytes(72).toString("base64url")}`;
  const { sub, clientId, grantId, scopes } = code;
  const [consentedAt, lastUsedAt] = [grant.consentedAt, state.clock.now()];
  state.refreshTokens.set(text, {
    token: text,
    sub,
    clientId,
    grantId,
    scopes,
    consentedAt,
    lastUsedAt,
  });
  const siblings = [...state.refreshTokens.values()].filter(
    (other) =>
      other.sub === sub && other.clientId === clientId && isRefreshTokenAlive(state, other),
  );
  // A Map keeps its entries in the order in which they came.
  for (const { token } of siblings.slice(0, -refreshTokensPerClient))
    state.refreshTokens.delete(token);
  return text;
}

/** Finds a code that can still be redeemed. */
export function findCode(state: State, text: string): Code | null {
  const code = state.codes.get(text);
  if (
    !code ||
    code.isUsed ||
    code.expiresAt <= state.clock.now() ||
    !state.grants.has(code.grantId)
  )
    return null;
  return code;
}

/** Finds an access token that is neither expired nor revoked. */
export function findAccessToken(state: State, text: string): AccessToken | null {
  const token = state.accessTokens.get(text);
  return token && isAccessTokenAlive(state, token) ? token : null;
}

/** Finds a refresh token that can still be used. */
export function findRefreshToken(state: State, text: string): RefreshToken | null {
  const token = state.refreshTokens.get(text);
  return token && isRefreshTokenAlive(state, token) ? token : null;
}

/** The scopes of a token that the person still allows: a later consent can have taken some away. */
export function scopesLeft(state: State, token: { grantId: string; scopes: string[] }): string[] {
  const allowed = state.grants.get(token.grantId)?.scopes ?? [];
  return token.scopes.filter((scope) => allowed.includes(scope));
}

/** Who a token speaks for: null when it is a service account's own, or the account is disabled. */
export function personOf(state: State, token: { sub: string | null }): Person | null {
  return state.people.find(({ sub, isDisabled }) => sub === token.sub && !isDisabled) ?? null;
}

/** The service account that a token was issued to. */
export function serviceAccountOf(state: State, token: AccessToken): ServiceAccount | null {
  return state.serviceAccounts.find(({ email }) => email === token.serviceAccount) ?? null;
}

function isAccessTokenAlive(state: State, token: AccessToken): boolean {
  if (token.expiresAt <= state.clock.now()) return false;
  if (token.grantId !== null && !state.grants.has(token.grantId)) return false;
  return token.sub === null || personOf(state, token) !== null;
}

function isRefreshTokenAlive(state: State, token: RefreshToken): boolean {
  const client = state.clients.find(({ id }) => id === token.clientId);
  if (!client || !state.grants.has(token.grantId) || !personOf(state, token)) return false;
  if (diedInTesting(state, client, token)) return false;
  return state.clock.now().getTime() - token.lastUsedAt.getTime() < unusedLifeMs;
}

// Use does not prolong it, and a grant of no more than name and address is exempt.
function diedInTesting(
  state: State,
  client: Client,
  consent: { scopes: string[]; consentedAt: Date },
): boolean {
  if (client.publishing === "production" || consent.scopes.every(isBasic)) return false;
  return state.clock.now().getTime() - consent.consentedAt.getTime() >= testingLifeMs;
}

function after(state: State, ms: number): Date {
  return new Date(state.clock.now().getTime() + ms);
}

// A sandbox that runs for weeks forgets what nobody can use any more.
function tidy(state: State): void {
  if ((state.accessTokens.size + state.codes.size) % tidyEvery !== tidyEvery - 1) return;
  for (const [key, token] of state.accessTokens)
    if (!isAccessTokenAlive(state, token)) state.accessTokens.delete(key);
  for (const key of state.codes.keys()) if (!findCode(state, key)) state.codes.delete(key);
}

function dropTokens(state: State, isGone: (token: { grantId: string | null }) => boolean): void {
  for (const tokens of [state.codes, state.accessTokens, state.refreshTokens]) {
    for (const [key, token] of tokens) if (isGone(token)) tokens.delete(key);
  }
}
