import type { FastifyError, FastifyReply, FastifyRequest } from "fastify";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { checkMailboxTicket, ensureAssistant } from "../accounts/assistant.ts";
import { getConnection, listConnections } from "../accounts/connections.ts";
import { disconnect } from "../accounts/disconnect.ts";
import {
  beginGoogleConsent,
  completeGoogleConsent,
  connectWithCode,
  ForeignMailboxError,
} from "../accounts/google-login.ts";
import { renewAccessToken } from "../accounts/google-tokens.ts";
import { openSession, revokeSession } from "../accounts/sessions.ts";
import { getUser } from "../accounts/users.ts";
import type { App } from "../app.ts";
import { AppError, type ErrorCode, ProviderError } from "../lib/errors.ts";
import { randomToken } from "../lib/secrets.ts";
import {
  clearSessionCookie,
  setSessionCookie,
  setSignInBrowser,
  signInBrowser,
} from "./cookies.ts";
import { answerProblem } from "./problems.ts";
import { targetUser, userOf } from "./session.ts";
import { Time } from "./times.ts";

const Code = z.string().min(1).max(2000);
const State = z.string().min(20).max(200);
// A path of our own and nothing else: an open redirect would lend our name to strangers.
const ReturnTo = z
  .string()
  .max(500)
  .regex(/^\/(?![/\\])[^\s\\]*$/, "must be a path on this server");

const SessionAnswer = z.object({
  token: z.string(),
  expires_at: Time.describe("When the session ends unless it is used before"),
});
const TokenState = z.object({
  connection_id: z.guid().describe("The account whose token it is"),
  expires_in: z.number().int(),
  scopes: z.array(z.string()),
});
const connectionChoice = z
  .guid()
  .optional()
  .describe("Which account; without it the one to sign in with, or else the first");
const ConnectionChoice = z.strictObject({ connection_id: connectionChoice });

/** Signing in with Google, sessions, and the Google accounts of the signed-in user. No answer carries a Google token. */
export const authRoutes: FastifyPluginAsyncZod<{ app: App }> = async (server, { app }) => {
  server.get(
    "/auth/google/login",
    {
      config: { who: "public" },
      schema: {
        summary: "Go to Google to sign in, or to connect an account",
        tags: ["auth"],
        querystring: z.strictObject({
          purpose: z
            .enum(["sign_in", "connect"])
            .default("sign_in")
            .describe("`connect` adds an account to the signed-in user, or reconnects one"),
          connection_id: z
            .guid()
            .optional()
            .describe("The connection to reconnect; only with `purpose=connect`"),
          return_to: ReturnTo.optional().describe("A path of the console to come back to"),
        }),
        response: { 302: z.undefined() },
      },
      errorHandler: leadBackToConsole,
    },
    async (request, reply) => {
      const { purpose, connection_id, return_to } = request.query;
      if (connection_id && purpose !== "connect") {
        const message = "counts only with purpose=connect";
        throw new AppError("invalid", `connection_id ${message}`, {
          fields: [{ path: "querystring.connection_id", message }],
        });
      }
      const browser = signInBrowser(request) ?? randomToken();
      const url = await beginGoogleConsent(app, {
        purpose:
          purpose === "connect"
            ? { kind: "connect", userId: userOf(request), connectionId: connection_id }
            : { kind: "sign_in" },
        browser,
        returnTo: return_to,
      });
      setSignInBrowser(app, reply, browser);
      return reply.redirect(url, 302);
    },
  );

  server.get(
    "/auth/google/mailbox",
    {
      config: { who: "public" },
      schema: {
        summary:
          "Connect the assistant's own mailbox, by the link that `daybook connect-mailbox` makes",
        tags: ["auth"],
        querystring: z.strictObject({
          ticket: z.string().max(200).describe("What the link brings"),
        }),
        response: { 302: z.undefined() },
      },
    },
    async (request, reply) => {
      checkMailboxTicket(app, request.query.ticket);
      const { id, email } = await ensureAssistant(app);
      const browser = signInBrowser(request) ?? randomToken();
      const url = await beginGoogleConsent(app, {
        purpose: { kind: "connect", userId: id },
        browser,
        returnTo: "/?mailbox_connected=1",
        loginHint: email,
      });
      setSignInBrowser(app, reply, browser);
      return reply.redirect(url, 302);
    },
  );

  server.get(
    "/auth/google/oauth/callback",
    {
      config: { who: "public" },
      schema: {
        summary: "Where Google sends the browser back to",
        tags: ["auth"],
        // Google adds parameters of its own, and may add more.
        querystring: z.looseObject({
          code: Code.optional().describe("What Google gave, to be redeemed once"),
          state: State.optional().describe("What the sign-in began with"),
          error: z.string().max(200).optional().describe("Why Google gave no code"),
        }),
        response: { 302: z.undefined() },
      },
      errorHandler: leadBackToConsole,
    },
    async (request, reply) => {
      const { code, state, error } = request.query;
      try {
        if (error)
          throw new SignInError(error === "access_denied" ? "access_denied" : "refused_by_google");
        if (!code || !state) throw new SignInError("incomplete");
        const done = await completeGoogleConsent(app, {
          code,
          state,
          browser: signInBrowser(request) ?? "",
        });
        if (done.outcome === "consent_needed") return reply.redirect(done.url, 302);
        if (done.outcome === "signed_in") setSessionCookie(app, reply, done.session);
        return reply.redirect(done.returnTo ?? "/", 302);
      } catch (failure) {
        const reason = reasonOf(failure);
        if (reason === null) throw failure;
        request.log.warn({ reason }, "sign-in failed");
        return reply.redirect(`/?sign_in_error=${reason}`, 302);
      }
    },
  );

  server.post(
    "/auth/google/oauth/callback",
    {
      config: { who: "public" },
      schema: {
        summary: "Redeem the code that Google gave to a web app of yours",
        tags: ["auth"],
        body: z.strictObject({
          code: Code.describe("What Google gave, to be redeemed once"),
          state: State.describe("What the sign-in began with"),
        }),
        response: {
          200: z.object({
            user: z.object({
              id: z.guid().describe("The user"),
              email: z.string().describe("The user's address"),
              name: z.string().nullable().describe("The user's name; null where it is not known"),
            }),
            session: SessionAnswer.nullable(),
          }),
          409: z
            .object({ consent_url: z.url() })
            .meta({ description: "Google wants to be asked once more, at this address" }),
        },
      },
    },
    async (request, reply) => {
      const done = await completeGoogleConsent(app, {
        ...request.body,
        browser: signInBrowser(request) ?? "",
      });
      if (done.outcome === "consent_needed") return reply.code(409).send({ consent_url: done.url });
      const { id, email, name } = await getUser(app, done.userId);
      if (done.outcome === "connected") return { user: { id, email, name }, session: null };
      setSessionCookie(app, reply, done.session);
      return { user: { id, email, name }, session: sessionAnswer(done.session) };
    },
  );

  server.post(
    "/auth/google/oauth/refresh",
    {
      config: { who: "user" },
      schema: {
        summary: "Refresh the stored Google access token now",
        tags: ["auth"],
        body: ConnectionChoice.optional(),
        response: { 200: TokenState },
      },
    },
    (request) => refreshNow(app, userOf(request), request.body?.connection_id),
  );

  server.post(
    "/auth/google/token/refresh",
    {
      config: { who: "user_or_service" },
      schema: {
        summary: "Refresh the stored Google access token of a user now",
        tags: ["auth"],
        body: z
          .strictObject({
            user_id: z
              .guid()
              .optional()
              .describe("Whose token; without it the caller's. The service has to name one"),
            connection_id: connectionChoice,
          })
          .optional(),
        response: { 200: TokenState },
      },
    },
    (request) =>
      refreshNow(app, targetUser(request, request.body?.user_id), request.body?.connection_id),
  );

  server.get(
    "/auth/google/user-info",
    {
      config: { who: "user" },
      schema: {
        summary: "The Google profile on file",
        tags: ["auth"],
        querystring: ConnectionChoice,
        response: {
          200: z.object({
            connection_id: z.guid().describe("The account that this is of"),
            sub: z.string().nullable(),
            email: z.string().nullable().describe("The account's address; null where not known"),
            name: z.string().nullable().describe("Whose account it is; null where not known"),
          }),
        },
      },
    },
    async (request) => {
      const { id, subject, email, name } = await getConnection(
        app,
        userOf(request),
        request.query.connection_id,
      );
      return { connection_id: id, sub: subject, email, name };
    },
  );

  server.post(
    "/auth/google/token/exchange",
    {
      config: { who: "user", idempotent: true },
      schema: {
        summary: "Connect a Google account with an authorization code",
        description:
          "With a cookie session, `state` of a consent begun at `/auth/google/login?purpose=connect` is required; a bearer " +
          "session may bring a code of a consent that it began itself.",
        tags: ["auth"],
        body: z.strictObject({
          code: Code.describe("What Google gave, to be redeemed once"),
          redirect_uri: z
            .url({ protocol: /^https?$/ })
            .max(2000)
            .optional(),
          state: State.optional().describe("What the consent began with, where it began here"),
        }),
        response: {
          200: z.object({
            connection_id: z.guid().describe("The account that was connected"),
            email: z.string().nullable().describe("The account's address; null where not known"),
            missing_scopes: z.array(z.string()),
          }),
        },
      },
    },
    async (request) => {
      const { code, redirect_uri, state } = request.body;
      const isCookie = request.who?.type === "user" && request.who.via === "cookie";
      if (isCookie && !state)
        throw new AppError("forbidden", "A consent must have begun here: send its `state`");
      const userId = userOf(request);
      const browser = isCookie ? (signInBrowser(request) ?? "") : undefined;
      const connectionId = await connectWithCode(app, userId, {
        code,
        redirectUri: redirect_uri,
        state,
        browser,
      });
      const { id, email, missingScopes } = await getConnection(app, userId, connectionId);
      return { connection_id: id, email, missing_scopes: missingScopes };
    },
  );

  server.post(
    "/auth/google/token/validate",
    {
      config: { who: "user" },
      schema: {
        summary: "Whether the stored Google token is good, and for what",
        tags: ["auth"],
        body: ConnectionChoice.optional(),
        response: {
          200: z.object({
            valid: z
              .boolean()
              .describe("Whether the account is connected, and its token has not ended"),
            expires_in: z.number().int(),
            scopes: z.array(z.string()),
            missing_scopes: z.array(z.string()),
          }),
        },
      },
    },
    async (request) => {
      const connection = await getConnection(app, userOf(request), request.body?.connection_id);
      const expires_in = secondsLeft(app, connection.accessExpiresAt);
      const { scopes, missingScopes: missing_scopes, state } = connection;
      return { valid: state === "active" && expires_in > 0, expires_in, scopes, missing_scopes };
    },
  );

  server.post(
    "/auth/google/token/revoke",
    {
      config: { who: "user" },
      schema: {
        summary:
          "Disconnect a Google account: revoke the grant, close its channels, delete its tokens",
        tags: ["auth"],
        body: ConnectionChoice.optional(),
        response: {
          200: z.object({
            disconnected: z.literal(true),
            connection_id: z.guid().describe("The account that was disconnected"),
          }),
        },
      },
    },
    async (request) => {
      const userId = userOf(request);
      const { id } = await getConnection(app, userId, request.body?.connection_id);
      await disconnect(app, userId, id);
      return { disconnected: true as const, connection_id: id };
    },
  );

  server.post(
    "/auth/google/session",
    {
      config: { who: "user", idempotent: true },
      schema: {
        summary: "Open another session, for a program of yours",
        tags: ["auth"],
        response: { 200: SessionAnswer },
      },
    },
    async (request) => sessionAnswer(await openSession(app, userOf(request))),
  );

  server.get(
    "/auth/session",
    {
      config: { who: "user" },
      schema: {
        summary: "The session of this call",
        tags: ["auth"],
        response: {
          200: z.object({
            user_id: z.guid().describe("The signed-in user"),
            via: z.enum(["cookie", "bearer", "supabase"]),
            connections: z.number().int().describe("How many Google accounts the user has here"),
          }),
        },
      },
    },
    async (request) => {
      const userId = userOf(request);
      const connections = await listConnections(app, userId);
      const via = request.who?.type === "user" ? request.who.via : "bearer";
      return { user_id: userId, via, connections: connections.length };
    },
  );

  server.delete(
    "/auth/session",
    {
      config: { who: "user" },
      schema: { summary: "Sign out", tags: ["auth"], response: { 204: z.undefined() } },
    },
    async (request, reply) => {
      if (request.who?.type === "user" && request.who.sessionId)
        await revokeSession(app, request.who.sessionId);
      clearSessionCookie(app, reply);
      return reply.code(204).send();
    },
  );
};

async function refreshNow(app: App, userId: string, connectionId: string | undefined) {
  const { id } = await getConnection(app, userId, connectionId);
  await renewAccessToken(app, id);
  const connection = await getConnection(app, userId, id);
  return {
    connection_id: id,
    expires_in: secondsLeft(app, connection.accessExpiresAt),
    scopes: connection.scopes,
  };
}

function secondsLeft(app: App, expiresAt: Date | null): number {
  return Math.max(0, Math.floor(((expiresAt?.getTime() ?? 0) - app.clock.now().getTime()) / 1000));
}

function sessionAnswer({ token, expiresAt }: { token: string; expiresAt: Date }) {
  return { token, expires_at: expiresAt.toISOString() };
}

class SignInError extends Error {
  override readonly name = "SignInError";
}

const signInErrors: Partial<Record<ErrorCode, string>> = {
  forbidden: "not_begun_here",
  conflict: "account_taken",
  invalid: "email_unverified",
};

// What the console explains, by the word in `sign_in_error`; null for what nobody expected.
function reasonOf(failure: unknown): string | null {
  if (failure instanceof SignInError) return failure.message;
  if (failure instanceof ForeignMailboxError) return "not_the_mailbox";
  if (failure instanceof AppError) {
    return signInErrors[failure.code] ?? failure.code;
  }
  if (failure instanceof ProviderError) {
    return failure.failure === "reauthorise" ? "code_refused" : "google_unavailable";
  }
  return null;
}

// People come to these two by following links: a page that explains serves them better than a problem document.
function leadBackToConsole(error: FastifyError, request: FastifyRequest, reply: FastifyReply) {
  const wantsPage = (request.headers.accept ?? "").includes("text/html");
  if (!wantsPage) return answerProblem(error, request, reply);
  const isMisspelt =
    error.validation !== undefined || (error instanceof AppError && error.fields.length > 0);
  const reason = isMisspelt ? "incomplete" : (reasonOf(error) ?? "unexpected");
  request.log.warn({ reason }, "sign-in failed");
  return reply.redirect(`/?sign_in_error=${reason}`, 302);
}
