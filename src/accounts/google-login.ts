import { createHash } from "node:crypto";
import { sql } from "kysely";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import { AppError } from "../lib/errors.ts";
import { digest, randomToken, seal, unseal } from "../lib/secrets.ts";
import {
  consentUrl,
  exchangeCode,
  type Grant,
  type Identity,
  identify,
} from "../providers/google/oauth.ts";
import { wantedScopes } from "../providers/google/scopes.ts";
import { isAssistant } from "./assistant.ts";
import { getConnection, saveGrant } from "./connections.ts";
import { openSession, type Session } from "./sessions.ts";
import { createUser, findUserByEmail, proveEmail } from "./users.ts";

type Part = Pick<App, "db" | "clock" | "config" | "googleOAuth" | "queue">;

/** How long a person may take at Google's consent page. */
export const attemptMinutes = 15;

/** What somebody sets out to do at Google: sign in, or connect an account to the user that they are. */
export type Purpose =
  | { kind: "sign_in" }
  | { kind: "connect"; userId: string; connectionId?: string | undefined };

export type Begin = {
  purpose: Purpose;
  /** A random value that only the browser that began knows, in a cookie of its own. */
  browser: string;
  returnTo?: string | undefined;
  /** Ask for consent even where Google remembers one: the only way to a new refresh token. */
  forceConsent?: boolean;
  loginHint?: string | undefined;
};

/** Remembers the attempt (state, nonce, PKCE verifier) and answers where to send the browser. */
export async function beginGoogleConsent(app: Part, begin: Begin): Promise<string> {
  const { purpose } = begin;
  const [state, nonce, codeVerifier] = [randomToken(), randomToken(), randomToken()];
  const now = app.clock.now();
  const reconnected =
    purpose.kind === "connect" && purpose.connectionId
      ? await getConnection(app, purpose.userId, purpose.connectionId)
      : null;
  const stateHash = digest(app.config.sessionSecret, state);
  await app.db
    .insertInto("sign_in_attempts")
    .values({
      state_hash: stateHash,
      browser_hash: digest(app.config.sessionSecret, begin.browser),
      purpose: purpose.kind,
      user_id: purpose.kind === "connect" ? purpose.userId : null,
      nonce,
      verifier: seal(app.config.keyring, codeVerifier, verifierOf(stateHash)),
      requested_scopes: [...wantedScopes],
      return_to: begin.returnTo ?? null,
      forced_consent: begin.forceConsent ?? false,
      created_at: now,
      expires_at: new Date(now.getTime() + attemptMinutes * 60_000),
    })
    .execute();
  const loginHint = begin.loginHint ?? reconnected?.subject ?? reconnected?.email ?? undefined;
  const prompt = promptFor(begin, reconnected !== null);
  return consentUrl(app.googleOAuth, {
    redirectUri: app.config.google.redirectUri,
    scopes: wantedScopes,
    state,
    nonce,
    codeChallenge: createHash("sha256").update(codeVerifier).digest("base64url"),
    ...(prompt ? { prompt } : {}),
    ...(loginHint ? { loginHint } : {}),
  });
}

function promptFor(begin: Begin, isReconnect: boolean): string | undefined {
  if (begin.forceConsent || isReconnect) return "consent";
  // Connecting a further account must not silently pick the one that is signed in already.
  return begin.purpose.kind === "connect" ? "consent select_account" : undefined;
}

export type Completed =
  | {
      outcome: "signed_in";
      userId: string;
      session: Session & { token: string };
      returnTo: string | null;
    }
  | { outcome: "connected"; userId: string; connectionId: string; returnTo: string | null }
  /** Google remembered an old consent and sent no refresh token, and we have none: ask once more. */
  | { outcome: "consent_needed"; url: string };

/** The account that was chosen for the assistant's mailbox is another one. */
export class ForeignMailboxError extends AppError {
  constructor(message: string) {
    super("conflict", message);
  }
}

/**
 * Redeems what Google sent back. Each attempt counts once, within its time, in the browser that began it.
 *
 * @throws {AppError} `forbidden` for a state that is unknown, used, late or from another browser; `conflict` when the
 *   account belongs to somebody else; `invalid` when its address is not verified.
 * @throws {ProviderError} when Google refuses the code or cannot be reached.
 */
export async function completeGoogleConsent(
  app: Part,
  answer: { code: string; state: string; browser: string },
): Promise<Completed> {
  const attempt = await takeAttempt(app, answer);
  const grant = await exchangeCode(app.googleOAuth, {
    code: answer.code,
    redirectUri: app.config.google.redirectUri,
    codeVerifier: attempt.codeVerifier,
  });
  const identity = await identify(app.googleOAuth, grant, attempt.nonce);
  if (attempt.purpose === "connect" && attempt.userId !== null) {
    const connectionId = await connect(app, attempt.userId, identity, grant);
    return {
      outcome: "connected",
      userId: attempt.userId,
      connectionId,
      returnTo: attempt.returnTo,
    };
  }
  const { userId, hasRefreshToken } = await signIn(app, identity, grant);
  if (!hasRefreshToken && !attempt.forcedConsent) {
    const purpose: Purpose = { kind: "sign_in" };
    const returnTo = attempt.returnTo ?? undefined;
    const again = {
      purpose,
      browser: answer.browser,
      returnTo,
      forceConsent: true,
      loginHint: identity.subject,
    };
    return { outcome: "consent_needed", url: await beginGoogleConsent(app, again) };
  }
  const session = await openSession(app, userId);
  return { outcome: "signed_in", userId, session, returnTo: attempt.returnTo };
}

/**
 * Connects an account with a code that the caller got by a consent of their own making. With `state` it is held to the
 * attempt that began here; without, only a bearer caller may do it: a cookie would let a stranger's page plant a code.
 *
 * @throws {AppError} {@link completeGoogleConsent}
 */
export async function connectWithCode(
  app: Part,
  userId: string,
  request: {
    code: string;
    redirectUri?: string | undefined;
    state?: string | undefined;
    browser?: string | undefined;
  },
): Promise<string> {
  const { code, state, browser } = request;
  const attempt = state ? await takeAttempt(app, { state, browser: browser ?? null }) : null;
  if (attempt && attempt.userId !== userId)
    throw new AppError("forbidden", "This consent was begun by somebody else");
  const grant = await exchangeCode(app.googleOAuth, {
    code,
    redirectUri: request.redirectUri ?? app.config.google.redirectUri,
    ...(attempt ? { codeVerifier: attempt.codeVerifier } : {}),
  });
  return connect(
    app,
    userId,
    await identify(app.googleOAuth, grant, attempt?.nonce ?? null),
    grant,
  );
}

const verifierOf = (stateHash: Buffer) => `sign_in_attempts:${stateHash.toString("hex")}:verifier`;

// One statement takes the attempt, so that a state replayed a moment later finds it used.
async function takeAttempt(app: Part, answer: { state: string; browser: string | null }) {
  const stateHash = digest(app.config.sessionSecret, answer.state);
  const now = app.clock.now();
  let query = app.db
    .updateTable("sign_in_attempts")
    .set({ used_at: now })
    .where("state_hash", "=", stateHash)
    .where("used_at", "is", null)
    .where("expires_at", ">", now);
  if (answer.browser !== null) {
    query = query.where("browser_hash", "=", digest(app.config.sessionSecret, answer.browser));
  }
  const attempt = await query.returningAll().executeTakeFirst();
  if (!attempt) {
    throw new AppError(
      "forbidden",
      "This sign-in was not begun in this browser, took too long, or was used already",
    );
  }
  return {
    purpose: attempt.purpose,
    userId: attempt.user_id,
    nonce: attempt.nonce,
    codeVerifier: unseal(app.config.keyring, attempt.verifier, verifierOf(stateHash)),
    returnTo: attempt.return_to,
    forcedConsent: attempt.forced_consent,
  };
}

async function signIn(app: Part, identity: Identity, grant: Grant) {
  if (!identity.emailVerified) {
    throw new AppError("invalid", "Google has not verified this account's e-mail address");
  }
  return app.db.transaction().execute(async (tx) => {
    await oneAtATime(tx, identity);
    const userId = (await findUserBySubject(tx, identity)) ?? (await userByEmail(tx, identity));
    const request = { userId, identity, grant, requestedScopes: [...wantedScopes], isSignIn: true };
    const { hasRefreshToken } = await saveGrant(app, tx, request);
    return { userId, hasRefreshToken };
  });
}

async function connect(
  app: Part,
  userId: string,
  identity: Identity,
  grant: Grant,
): Promise<string> {
  return app.db.transaction().execute(async (tx) => {
    await oneAtATime(tx, identity);
    await refuseForeignMailbox(app, tx, userId, identity);
    const owner = await findUserBySubject(tx, identity);
    if (owner !== null && owner !== userId) {
      throw new AppError("conflict", "Somebody else signs in with this Google account");
    }
    const request = {
      userId,
      identity,
      grant,
      requestedScopes: [...wantedScopes],
      isSignIn: false,
    };
    const { connectionId } = await saveGrant(app, tx, request);
    // After the connections, which a reading that learns the user's time zone holds before the user.
    if (identity.emailVerified) await proveEmail(tx, userId, identity.email);
    return connectionId;
  });
}

// All mail in the assistant's mailbox counts as written to it: another mailbox must not be taken for it.
async function refuseForeignMailbox(app: Part, tx: Tx, userId: string, identity: Identity) {
  const address = app.config.virtualEmailAddress;
  if (identity.email.toLowerCase() === address || !(await isAssistant(tx, userId))) return;
  throw new ForeignMailboxError(`${identity.email} is not the assistant's mailbox, ${address}`);
}

// Two sign-ins of one new person at once must not both make a user.
async function oneAtATime(tx: Tx, identity: Identity): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtextextended(${`google:${identity.subject}`}, 0))`.execute(
    tx,
  );
}

async function findUserBySubject(tx: Tx, identity: Identity): Promise<string | null> {
  const row = await tx
    .selectFrom("connections")
    .select("user_id")
    .where("provider", "=", "google")
    .where("subject", "=", identity.subject)
    .where("is_sign_in", "=", true)
    .executeTakeFirst();
  return row?.user_id ?? null;
}

// A verified address links to the user who has it, unless they sign in with another Google account: addresses are
// given to new people, and the new one must not inherit the old one's day. Nor must somebody who only named the address
// share in the day of the one who has it.
async function userByEmail(tx: Tx, identity: Identity): Promise<string> {
  const user = await findUserByEmail(tx, identity.email);
  if (!user) return createUser(tx, identity);
  if (!user.is_email_proven) {
    throw new AppError(
      "conflict",
      "This address is known from the older sign-in only: sign in there, and connect this Google account",
    );
  }
  const signIn = await tx
    .selectFrom("connections")
    .select("subject")
    .where("user_id", "=", user.id)
    .where("is_sign_in", "=", true)
    .executeTakeFirst();
  if (signIn && signIn.subject !== null && signIn.subject !== identity.subject) {
    throw new AppError(
      "conflict",
      "The user with this e-mail address signs in with another Google account",
    );
  }
  return user.id;
}
