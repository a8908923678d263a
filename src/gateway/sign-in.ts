import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { getConnection, listConnections } from "../accounts/connections.ts";
import { disconnect } from "../accounts/disconnect.ts";
import { completeGoogleConsent, connectWithCode } from "../accounts/google-login.ts";
import { refreshDueTokens } from "../accounts/google-tokens.ts";
import { getUser } from "../accounts/users.ts";
import { setSessionCookie, signInBrowser } from "../api/cookies.ts";
import { userOf } from "../api/session.ts";
import type { App } from "../app.ts";
import { AppError, ProviderError } from "../lib/errors.ts";
import { oldAddress } from "./old-address.ts";

const Code = z
  .looseObject({
    code: z.unknown().describe("What Google gave, to be redeemed once"),
    state: z.unknown().describe("What the consent began with"),
  })
  .partial();

/**
 * The old addresses of sign-in: same fields, same shapes of success and failure. What they left open is closed: a code
 * counts only with the `state` of a consent that began here, in the same browser.
 */
export const signInGateway: FastifyPluginAsyncZod<{ app: App }> = async (server, { app }) => {
  server.post(
    "/google-oauth-login",
    {
      config: { who: "public" },
      schema: oldAddress("sign in with Google", { body: Code }),
    },
    async (request, reply) => {
      const failed = (error: string) =>
        reply
          .code(400)
          .send({ success: false, error, message: "Failed to authenticate with Google" });
      const { code, state } = request.body;
      if (typeof code !== "string" || code === "")
        return failed("Missing or invalid authorization code");
      if (typeof state !== "string") return failed("Missing or invalid state");
      try {
        const done = await completeGoogleConsent(app, {
          code,
          state,
          browser: signInBrowser(request) ?? "",
        });
        if (done.outcome === "consent_needed") return failed("Google consent is needed once more");
        const { id, email, name } = await getUser(app, done.userId);
        const { picture } = await getConnection(app, done.userId);
        const session = done.outcome === "signed_in" ? done.session : null;
        if (session) setSessionCookie(app, reply, session);
        return {
          success: true,
          user: { id, email, ...named({ name, picture }) },
          session: session && {
            access_token: session.token,
            token_type: "bearer",
            expires_at: Math.floor(session.expiresAt.getTime() / 1000),
          },
          message: "Successfully authenticated with Google",
        };
      } catch (error) {
        return failed(oldTextOf(error));
      }
    },
  );

  server.post(
    "/exchange-google-token",
    {
      config: { who: "user" },
      schema: oldAddress("connect a Google account", { body: Code }),
    },
    async (request, reply) => {
      const failed = (error: string) =>
        reply
          .code(400)
          .send({ success: false, error, message: "Failed to connect Google account" });
      const { code, state } = request.body;
      if (typeof code !== "string" || code === "")
        return failed("Missing or invalid authorization code");
      if (
        request.who?.type === "user" &&
        request.who.via === "cookie" &&
        typeof state !== "string"
      ) {
        return failed("Missing or invalid state");
      }
      try {
        const userId = userOf(request);
        const attempt = typeof state === "string" ? { state, browser: signInBrowser(request) } : {};
        const connectionId = await connectWithCode(app, userId, { code, ...attempt });
        const connection = await getConnection(app, userId, connectionId);
        return {
          success: true,
          email: connection.email,
          ...named(connection),
          expires_at: connection.accessExpiresAt?.toISOString() ?? null,
          message: "Google account connected successfully",
        };
      } catch (error) {
        return failed(oldTextOf(error));
      }
    },
  );

  server.post(
    "/refresh-google-token",
    {
      config: { who: "service" },
      schema: oldAddress("refresh all tokens about to expire", {}),
    },
    async () => {
      const results = await refreshDueTokens(app);
      if (results.length === 0) return { refreshed: 0, message: "No tokens need refresh." };
      const failed = results.filter(({ error }) => error !== null).length;
      return {
        refreshed: results.length - failed,
        failed,
        results: results.map(({ userId: user_id, error }) =>
          error === null ? { user_id, refreshed: true } : { user_id, error },
        ),
      };
    },
  );

  server.post(
    "/disconnect-google",
    {
      config: { who: "user" },
      schema: oldAddress("disconnect Google", {}),
    },
    async (request) => {
      const userId = userOf(request);
      const connected = (await listConnections(app, userId)).filter(
        ({ stateReason }) => stateReason !== "disconnected",
      );
      for (const { id } of connected) await disconnect(app, userId, id);
      const first = connected[0];
      return first
        ? {
            success: true,
            message: "Successfully disconnected from Google",
            email: first.email ?? "",
          }
        : { success: true, message: "No Google credentials found to disconnect" };
    },
  );
};

// As Google tells it: what it does not tell is left out.
function named({ name, picture }: { name: string | null; picture: string | null }) {
  return { ...(name ? { name } : {}), ...(picture ? { picture } : {}) };
}

// The old callers show these texts. A provider's own words stay out of them.
function oldTextOf(error: unknown): string {
  if (error instanceof ProviderError) return `Token exchange failed: ${error.status ?? 502}`;
  if (error instanceof AppError) return error.message;
  throw error;
}
