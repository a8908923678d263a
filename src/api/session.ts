import type { FastifyInstance, FastifyRequest } from "fastify";
import {
  createRemoteJWKSet,
  decodeProtectedHeader,
  errors,
  type JWTPayload,
  type JWTVerifyGetKey,
  jwtVerify,
} from "jose";
import { z } from "zod";
import { findSession } from "../accounts/sessions.ts";
import { ensureSupabaseUser } from "../accounts/users.ts";
import type { App } from "../app.ts";
import { AppError } from "../lib/errors.ts";
import { sameSecret } from "../lib/secrets.ts";
import { sessionCookieName } from "./cookies.ts";

/** Who calls: a person, by what they showed, or the operator's own programs. */
export type Who =
  | { type: "user"; userId: string; via: "cookie" | "bearer" | "supabase"; sessionId?: string }
  | { type: "service" };

/** Who may call a route. Every route says so. */
export type Audience = "public" | "user" | "service" | "user_or_service";

declare module "fastify" {
  interface FastifyRequest {
    who: Who | null;
    /** The code of the failure that the request ended with, for its log line. */
    failure: string | null;
  }
  interface FastifyInstance {
    /** Whether what a caller showed still holds, for an answer that goes on. */
    isStillProven(request: FastifyRequest): Promise<boolean>;
  }
  interface FastifyContextConfig {
    who?: Audience;
    /** Nobody is asked who they are, so that this answers also while the database does not. */
    anonymous?: boolean;
    /** Honours `Idempotency-Key`: the same key and body get the same answer for 24 hours. */
    idempotent?: boolean;
  }
}

/** Finds out who calls, and refuses those whom a route is not for. */
export function checkCallers(server: FastifyInstance, app: App): void {
  const supabase = supabaseVerifier(app);
  server.decorateRequest("who", null);
  server.decorateRequest("failure", null);
  server.decorate(
    "isStillProven",
    async (request: FastifyRequest) => (await whoCalls(app, request, supabase)) !== null,
  );

  server.addHook("onRoute", (route) => {
    // Files of the console and of the API's own pages are nobody's secret; their libraries hide them from the description.
    const isFile = route.schema?.hide === true || route.url.includes("*");
    if (!isFile && route.method !== "HEAD" && !route.config?.who)
      throw new Error(`Route ${route.method} ${route.url} does not say who may call it`);
  });

  server.addHook("onRequest", async (request) => {
    const { who: audience, anonymous } = request.routeOptions.config;
    if (!audience || anonymous) return;
    request.who = await whoCalls(app, request, supabase);
    if (audience === "public") return;
    if (!request.who) throw new AppError("unauthenticated", "Sign in, or send a bearer token");
    if (audience === "service" && request.who.type !== "service") {
      throw new AppError("forbidden", "Only the service key may do this");
    }
    if (audience === "user" && request.who.type !== "user") {
      throw new AppError("forbidden", "Only a signed-in user may do this");
    }
    refuseForeignPages(app, request);
  });
}

/** The signed-in user. @throws {AppError} `unauthenticated` */
export function userOf(request: FastifyRequest): string {
  if (request.who?.type !== "user")
    throw new AppError("unauthenticated", "Sign in, or send a bearer token");
  return request.who.userId;
}

/** The signed-in user; null for the service, which may ask about anybody. */
export function userOrNull(request: FastifyRequest): string | null {
  return request.who?.type === "user" ? request.who.userId : null;
}

/** The user a call is about: the caller, or whom the service names. Others are as if absent. @throws {AppError} */
export function targetUser(request: FastifyRequest, named: string | undefined): string {
  const userId = named?.toLowerCase();
  if (request.who?.type === "service") {
    if (userId) return userId;
    throw new AppError("invalid", "user_id is required with the service key", {
      fields: [{ path: "body.user_id", message: "is required with the service key" }],
    });
  }
  const own = userOf(request);
  if (userId !== undefined && userId !== own) throw new AppError("not_found", `No user ${userId}`);
  return own;
}

async function whoCalls(
  app: App,
  request: FastifyRequest,
  supabase: Supabase,
): Promise<Who | null> {
  const bearer = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? "")?.[1];
  if (bearer) return whoBears(app, bearer, supabase);
  const cookie = request.cookies[sessionCookieName(app)];
  const session = cookie ? await findSession(app, cookie) : null;
  return session
    ? { type: "user", userId: session.userId, via: "cookie", sessionId: session.id }
    : null;
}

async function whoBears(app: App, token: string, supabase: Supabase): Promise<Who | null> {
  if (sameSecret(token, app.config.serviceKey.reveal())) return { type: "service" };
  if (token.split(".").length === 3) {
    const userId = await supabase(token);
    return userId ? { type: "user", userId, via: "supabase" } : null;
  }
  const session = await findSession(app, token);
  return session
    ? { type: "user", userId: session.userId, via: "bearer", sessionId: session.id }
    : null;
}

type Supabase = (token: string) => Promise<string | null>;

// Tokens of the old sign-in: signature, expiry and audience are checked, and only the algorithms that it uses count.
function supabaseVerifier(app: App): Supabase {
  const { jwtSecret, jwksUrl } = app.config.supabase;
  const secret = jwtSecret ? new TextEncoder().encode(jwtSecret.reveal()) : null;
  const keys = jwksUrl ? remoteKeys(new URL(jwksUrl)) : null;
  const verify = async (token: string): Promise<JWTPayload | null> => {
    const options = {
      audience: "authenticated",
      currentDate: app.clock.now(),
      requiredClaims: ["sub", "exp"],
    };
    const isShared = decodeProtectedHeader(token).alg === "HS256";
    if (isShared)
      return secret
        ? (await jwtVerify(token, secret, { ...options, algorithms: ["HS256"] })).payload
        : null;
    return keys
      ? (await jwtVerify(token, keys, { ...options, algorithms: ["ES256", "RS256"] })).payload
      : null;
  };
  return async (token) => {
    const payload = await verify(token).catch((error) => {
      if (error instanceof AppError) throw error;
      return null;
    });
    const claims = SupabaseClaims.safeParse(payload);
    return claims.success ? ensureSupabaseUser(app, claims.data) : null;
  };
}

const SupabaseClaims = z
  .object({ sub: z.guid(), email: z.string().optional().catch(undefined) })
  .transform(({ sub, email }) => ({ sub, email }));

// Keys that cannot be fetched say nothing about the token: nobody is signed out for it.
function remoteKeys(url: URL): JWTVerifyGetKey {
  const keys = createRemoteJWKSet(url, { timeoutDuration: 5_000 });
  const isTokensFault = (error: unknown) =>
    error instanceof errors.JWKSNoMatchingKey ||
    error instanceof errors.JWKSMultipleMatchingKeys ||
    error instanceof errors.JOSENotSupported;
  return async (header, token) => {
    try {
      return await keys(header, token);
    } catch (cause) {
      if (isTokensFault(cause)) throw cause;
      const message = "The keys that this token is signed with cannot be fetched";
      throw new AppError("unavailable", message, { cause, retryAfterSeconds: 5 });
    }
  };
}

// A cookie goes wherever the browser is told to go. What changes something must come from a page of ours.
function refuseForeignPages(app: App, request: FastifyRequest): void {
  const isHarmless = ["GET", "HEAD", "OPTIONS"].includes(request.method);
  if (isHarmless || request.who?.type !== "user" || request.who.via !== "cookie") return;
  const { origin, "sec-fetch-site": site } = request.headers;
  const own = [
    app.config.publicUrl,
    `${request.protocol}://${request.host}`,
    ...app.config.corsOrigins,
  ];
  if (origin ? own.includes(origin) : site === "same-origin") return;
  throw new AppError("forbidden", "This request does not come from a page of Daybook");
}
