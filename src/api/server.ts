import { randomUUID } from "node:crypto";
import { createServer, type RequestListener } from "node:http";
import cookie from "@fastify/cookie";
import cors from "@fastify/cors";
import helmet from "@fastify/helmet";
import {
  type FastifyBaseLogger,
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  fastify,
  LogController,
} from "fastify";
import { serializerCompiler } from "fastify-type-provider-zod";
import type { App } from "../app.ts";
import { attendeeGateway } from "../gateway/attendee.ts";
import { attendeeProxyGateway } from "../gateway/attendee-proxy.ts";
import { calendarGateway } from "../gateway/calendar.ts";
import { calendarChannelGateway } from "../gateway/calendar-channel.ts";
import { driveGateway } from "../gateway/drive.ts";
import { googleCalendarGateway } from "../gateway/google-calendar.ts";
import { inboundMailGateway } from "../gateway/inbound-mail.ts";
import { mailGateway } from "../gateway/mail.ts";
import { oldRouteOf } from "../gateway/old-address.ts";
import { projectGateway } from "../gateway/projects.ts";
import { signInGateway } from "../gateway/sign-in.ts";
import { syncGateway } from "../gateway/sync.ts";
import { AppError } from "../lib/errors.ts";
import type { Schedules } from "../queue/schedule-runs.ts";
import { aiRoutes } from "./ai.ts";
import { attendeeRoutes } from "./attendee.ts";
import { authRoutes } from "./auth.ts";
import { calendarRoutes } from "./calendar.ts";
import { serveConsole } from "./console.ts";
import { documentRoutes } from "./documents.ts";
import { driveRoutes } from "./drive.ts";
import { eventRoutes } from "./events.ts";
import { feedRoutes } from "./feeds.ts";
import { honourIdempotencyKeys } from "./idempotency.ts";
import { acceptAnyLabel, acceptInput } from "./input.ts";
import { jobRoutes } from "./jobs.ts";
import { limitRates, rateHeaders } from "./limits.ts";
import { mailRoutes } from "./mail.ts";
import { meRoutes } from "./me.ts";
import { meetingRoutes } from "./meetings.ts";
import { measure } from "./metrics.ts";
import { describeApi } from "./openapi.ts";
import { operationsRoutes } from "./operations.ts";
import { answerProblems, sendProblem } from "./problems.ts";
import { projectRoutes } from "./projects.ts";
import { checkCallers } from "./session.ts";
import { syncRoutes } from "./sync.ts";
import { transcriptRoutes } from "./transcripts.ts";
import { webhookRoutes } from "./webhooks.ts";

const megabyte = 1_048_576;

/** Something else that answers on the same port, below a path of its own. */
export type Mount = { path: string; handler: RequestListener };

/**
 * The HTTP server, not listening yet: API, old addresses, console. Closing it finishes what is being answered, and cuts
 * off what takes longer than three seconds.
 */
export async function openServer(
  app: App,
  { schedules, mounts = [] }: { schedules: Schedules<App>; mounts?: Mount[] | undefined },
): Promise<FastifyInstance> {
  const logger: FastifyBaseLogger = app.log;
  const server = fastify({
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: requestId,
    // One proxy. What stands further left in X-Forwarded-For is whatever the caller wrote there.
    trustProxy: app.config.trustProxy && ((_address, hop) => hop === 0),
    bodyLimit: megabyte,
    requestTimeout: 30_000,
    // A silence longer than that of the slowest answer, a schedule run by hand, is a lost caller.
    connectionTimeout: 330_000,
    keepAliveTimeout: 15_000,
    forceCloseConnections: "idle",
    routerOptions: { maxParamLength: 300 },
    rewriteUrl: ({ url = "/" }) => oldRouteOf(url),
    frameworkErrors: answerUnroutable,
    ...(mounts.length > 0
      ? { serverFactory: (handler: RequestListener) => createServer(besides(mounts, handler)) }
      : {}),
  });
  server.setSerializerCompiler(serializerCompiler);
  answerProblems(server);
  logRequests(server);
  closePromptly(server);
  await secure(server, app);
  acceptInput(server);
  limitRates(server, app);
  checkCallers(server, app);
  honourIdempotencyKeys(server, app);
  const metrics = measure(server, app);
  await describeApi(server);

  await server.register(
    async (api) => {
      await api.register(authRoutes, { app });
      await api.register(meRoutes, { app });
      await api.register(calendarRoutes, { app });
      await api.register(meetingRoutes, { app });
      await api.register(attendeeRoutes, { app });
      await api.register(transcriptRoutes, { app });
      await api.register(feedRoutes, { app });
      await api.register(syncRoutes, { app });
      await api.register(eventRoutes, { app });
      await api.register(mailRoutes, { app });
      await api.register(driveRoutes, { app });
      await api.register(documentRoutes, { app });
      await api.register(projectRoutes, { app });
      await api.register(aiRoutes, { app });
      await api.register(webhookRoutes, { app });
      await api.register(jobRoutes, { app, schedules });
    },
    { prefix: "/api/v1" },
  );
  // Probes and reverse proxies look for these at the root.
  for (const prefix of ["/api/v1", ""])
    await server.register(operationsRoutes, { app, metrics, prefix });
  for (const url of ["/openapi.json", "/api/v1/openapi.json"]) {
    server.get(url, { config: { who: "public" }, schema: { hide: true } }, () => server.swagger());
  }
  await server.register(
    async (old) => {
      acceptAnyLabel(old);
      await old.register(signInGateway, { app });
      await old.register(attendeeGateway, { app });
      await old.register(attendeeProxyGateway, { app });
      await old.register(calendarGateway, { app });
      await old.register(calendarChannelGateway, { app });
      await old.register(googleCalendarGateway, { app });
      await old.register(mailGateway, { app });
      await old.register(inboundMailGateway, { app });
      await old.register(driveGateway, { app });
      await old.register(syncGateway, { app });
      await old.register(projectGateway, { app });
    },
    { prefix: "/functions/v1" },
  );
  await serveConsole(server);
  return server;
}

function besides(mounts: Mount[], ours: RequestListener): RequestListener {
  return (request, response) => {
    const mount = mounts.find(({ path }) => request.url?.startsWith(path));
    return (mount?.handler ?? ours)(request, response);
  };
}

function requestId(request: { headers: Record<string, string | string[] | undefined> }): string {
  const given = request.headers["x-request-id"];
  return typeof given === "string" && /^[\w.-]{8,100}$/.test(given) ? given : randomUUID();
}

/** An address that no route can be looked for; no hook has seen it. */
function answerUnroutable(error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  const code = error.code === "FST_ERR_ASYNC_CONSTRAINT" ? "internal" : "malformed";
  reply.header("x-request-id", request.id);
  sendProblem(request, reply, new AppError(code, "This address is too long or not well encoded"));
}

// One line for each finished request: its route, not its address, and nothing of what it carried.
function logRequests(server: FastifyInstance): void {
  server.addHook("onSend", async (request, reply) => {
    reply.header("x-request-id", request.id);
  });
  server.addHook("onResponse", async (request, reply) => {
    const { who, failure } = request;
    server.log.info(
      {
        request_id: request.id,
        method: request.method,
        route: request.routeOptions.url ?? "unknown",
        status: reply.statusCode,
        ms: Math.round(reply.elapsedTime),
        ...(who?.type === "user" ? { user_id: who.userId } : {}),
        ...(failure ? { failure } : {}),
      },
      "request",
    );
  });
}

const closeWithinMs = 3_000;

// A connection whose request was being answered when closing began would be kept open for the next one; and an export to
// somebody who does not read it would never end.
function closePromptly(server: FastifyInstance): void {
  let isClosing = false;
  server.addHook("preClose", async () => {
    isClosing = true;
    setTimeout(() => server.server.closeAllConnections(), closeWithinMs).unref();
  });
  server.addHook("onResponse", async () => {
    if (isClosing) setImmediate(() => server.server.closeIdleConnections());
  });
}

async function secure(server: FastifyInstance, app: App): Promise<void> {
  const isHttps = app.config.publicUrl?.startsWith("https://") ?? false;
  await server.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'none'"],
        scriptSrc: ["'self'"],
        styleSrc: ["'self'"],
        imgSrc: ["'self'", "data:"],
        fontSrc: ["'self'"],
        connectSrc: ["'self'"],
        manifestSrc: ["'self'"],
        baseUri: ["'none'"],
        formAction: ["'self'"],
        frameAncestors: ["'none'"],
      },
    },
    strictTransportSecurity: isHttps ? { maxAge: 31_536_000, includeSubDomains: false } : false,
    referrerPolicy: { policy: "same-origin" },
  });
  const own = {
    origin: app.config.corsOrigins,
    credentials: true,
    methods: ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
    exposedHeaders: ["x-request-id", "retry-after", ...rateHeaders],
    maxAge: 600,
    strictPreflight: false,
  };
  // The old addresses were open to pages of any origin, which name their user by a token and never by a cookie.
  const old = {
    origin: "*",
    methods: ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
    allowedHeaders: ["authorization", "x-client-info", "apikey", "content-type"],
    optionsSuccessStatus: 200,
    strictPreflight: false,
  };
  await server.register(cors, {
    delegator: ({ url = "" }, done) => done(null, url.startsWith("/functions/") ? old : own),
  });
  await server.register(cookie);
  // Files, the only answers worth keeping, say so themselves.
  server.addHook("onRequest", async (_request, reply) => {
    reply.header("cache-control", "no-store");
  });
}
