import type { FastifyReply, FastifyRequest } from "fastify";
import { attemptMinutes } from "../accounts/google-login.ts";
import { sessionDays } from "../accounts/sessions.ts";
import type { App } from "../app.ts";

type Part = Pick<App, "config">;

/** The session's cookie. Its `__Host-` form cannot be set by a neighbouring host, but needs https. */
export function sessionCookieName(app: Part): string {
  return isSecure(app) ? "__Host-daybook_session" : "daybook_session";
}

export function setSessionCookie(app: Part, reply: FastifyReply, session: { token: string }): void {
  reply.setCookie(sessionCookieName(app), session.token, {
    ...attributes(app),
    maxAge: sessionDays * 86_400,
  });
}

export function clearSessionCookie(app: Part, reply: FastifyReply): void {
  reply.clearCookie(sessionCookieName(app), attributes(app));
}

// A browser that begins a sign-in gets a secret of its own, so that a code can only be redeemed where it was asked for.
const browserCookie = "daybook_sign_in";

/** The secret of the browser that began a sign-in, if this is one. */
export function signInBrowser(request: FastifyRequest): string | undefined {
  return request.cookies[browserCookie];
}

export function setSignInBrowser(app: Part, reply: FastifyReply, browser: string): void {
  reply.setCookie(browserCookie, browser, { ...attributes(app), maxAge: attemptMinutes * 60 });
}

function attributes(app: Part) {
  return { path: "/", httpOnly: true, secure: isSecure(app), sameSite: "lax" as const };
}

function isSecure(app: Part): boolean {
  return app.config.publicUrl?.startsWith("https://") ?? false;
}
