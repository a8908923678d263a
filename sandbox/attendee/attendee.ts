import { randomBytes } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import fastify, { type FastifyReply, type FastifyRequest } from "fastify";
import { z } from "zod";
import { type Clock, systemClock } from "../../src/lib/clock.ts";
import { addRoutes } from "./api.ts";
import { type Bots, openBots, type PlaySettings, usualPlaySettings } from "./bots.ts";
import { fates } from "./play.ts";
import {
  type Delivered,
  openWebhooks,
  usualWebhooks,
  type Webhook,
  type WebhookSettings,
} from "./webhooks.ts";

export type AttendeeSetup = {
  /** Where it is reached, path included, when something else listens for it. */
  baseUrl?: string;
  clock?: Clock;
  /** The project's own webhooks, as its dashboard keeps them: used by every bot that brings none. */
  webhooks?: Webhook[];
};

/** What goes wrong, and how much the project is allowed. */
export type AttendeeSettings = PlaySettings &
  WebhookSettings & {
    /** Answered in the place of what it would answer, the next first: nothing happens then. */
    failNext: number[];
    /** The next so many answers are lost on the way, after what was asked has happened. */
    cutNext: number;
    postsPerMinute: number;
    mostConcurrent: number;
    hasCredits: boolean;
  };

/** One request, with what was answered. */
export type Asked = { method: string; path: string; status: number; body: unknown };

/** A stand-in for Attendee with one project. Its meetings play themselves, on the clock that it is given. */
export type SandboxAttendee = {
  settings: AttendeeSettings;
  bots: Bots["bots"];
  /** Every request so far. */
  asked: Asked[];
  /** Every attempt at a webhook. */
  delivered: Delivered[];
  key: string;
  /** What the project's webhooks are signed with, in base64. */
  webhookSecret: string;
  /** With the version, as ATTENDEE_API_URL has it. */
  readonly url: string;
  /** Lets everything happen that is due by the clock; it happens by itself too, a moment later. */
  run(): void;
  /** Resolves when no webhook is under way. */
  settled(): Promise<void>;
  listen(): Promise<string>;
  handler(request: IncomingMessage, response: ServerResponse): void;
  [Symbol.asyncDispose](): Promise<void>;
};

const tickMs = 50;

const Change = z.strictObject({
  speed: z.number().min(0.1).max(1_000).optional(),
  fates: z
    .array(z.tuple([z.string().max(200), z.enum(fates)]))
    .max(100)
    .optional(),
  transcriptLate: z.number().min(0).optional(),
  uploadAfter: z.number().min(0).optional(),
  admitAfter: z.number().min(0).optional(),
  failNext: z.array(z.number().int().min(400).max(599)).max(100).optional(),
  cutNext: z.number().int().min(0).optional(),
  loseNext: z.number().int().min(0).optional(),
  times: z.number().int().min(0).max(5).optional(),
  mostDelayMs: z.number().min(0).max(60_000).optional(),
  postsPerMinute: z.number().int().min(1).optional(),
  mostConcurrent: z.number().int().min(1).optional(),
  hasCredits: z.boolean().optional(),
});

/** Opens the stand-in. Source: `spec/attendee.md`, which was read from Attendee's own code. */
export async function openSandboxAttendee(setup: AttendeeSetup = {}): Promise<SandboxAttendee> {
  let baseUrl = setup.baseUrl?.replace(/\/+$/, "");
  const clock = setup.clock ?? systemClock;
  const key = "sandbox-attendee-key";
  const secret = randomBytes(32);
  const settings: AttendeeSettings = {
    ...usualPlaySettings,
    ...usualWebhooks,
    failNext: [],
    cutNext: 0,
    postsPerMinute: 3_000,
    mostConcurrent: 2_500,
    hasCredits: true,
  };
  const webhooks = openWebhooks(settings, secret);
  const engine = openBots(settings, (bot, trigger, data) => {
    const payload = new Map<string, unknown>([
      ["bot_id", bot.id],
      ["bot_metadata", bot.metadata],
      ["trigger", trigger],
      ["data", data],
    ]);
    const listening = bot.webhooks.length > 0 ? bot.webhooks : (setup.webhooks ?? []);
    for (const webhook of listening) {
      if (webhook.triggers.includes(trigger)) webhooks.send(webhook, trigger, payload);
    }
  });
  const base = () => {
    if (baseUrl === undefined) throw new Error("Give `baseUrl`, or let it listen");
    return baseUrl;
  };
  const asked: Asked[] = [];
  const server = fastify({
    forceCloseConnections: true,
    rewriteUrl: ({ url = "/" }) => {
      const prefix = new URL(base()).pathname.replace(/\/$/, "");
      return url.startsWith(prefix) ? url.slice(prefix.length) || "/" : url;
    },
  });
  server.removeContentTypeParser("application/json");
  server.addContentTypeParser("application/json", { parseAs: "string" }, (_request, text, done) => {
    try {
      done(null, text === "" ? {} : JSON.parse(String(text)));
    } catch (error) {
      done(Object.assign(error as Error, { statusCode: 400 }), undefined);
    }
  });
  server.setErrorHandler((error, _request, reply) =>
    reply.code(400).send({ detail: `JSON parse error - ${(error as Error).message}` }),
  );
  server.setNotFoundHandler((_request, reply) => reply.code(404).send({ error: "Not found" }));
  server.addHook("onRequest", async (request, reply) => {
    engine.run(clock.now());
    if (request.url.startsWith("/_control/")) return;
    const refusal = authProblem(request, key);
    if (refusal) {
      return reply.code(401).header("www-authenticate", "Token").send({ detail: refusal });
    }
    const failure = settings.failNext.shift();
    if (failure)
      return reply.code(failure).send(failure === 500 ? "<h1>Server Error (500)</h1>" : {});
    return throttle(request, reply) ?? undefined;
  });
  server.addHook("onSend", async (request, reply, payload) => {
    if (request.url.startsWith("/_control/")) return payload;
    asked.push({
      method: request.method,
      path: request.url,
      status: reply.statusCode,
      body: request.body,
    });
    if (settings.cutNext > 0 && reply.statusCode < 400) {
      settings.cutNext -= 1;
      request.raw.socket.destroy();
    }
    return payload;
  });

  const posts: number[] = [];
  // Only what makes and steers is counted: leaving is not.
  const throttle = (request: FastifyRequest, reply: FastifyReply) => {
    const isCounted =
      request.method === "POST" && !/\/(leave|delete_data|transcript)$/.test(request.url);
    if (!isCounted) return null;
    const now = clock.now().getTime();
    while (posts[0] !== undefined && posts[0] <= now - 60_000) posts.shift();
    if (posts.length >= settings.postsPerMinute) {
      const seconds = Math.ceil(((posts[0] ?? now) + 60_000 - now) / 1000);
      const detail = `Request was throttled. Expected available in ${seconds} seconds.`;
      return reply.code(429).header("retry-after", String(seconds)).send({ detail });
    }
    posts.push(now);
    return null;
  };

  addRoutes(server, { engine, settings, clock, base });
  server.patch("/_control/settings", ({ body }) => {
    Object.assign(settings, Change.parse(body));
    return { ...settings, play: undefined };
  });
  server.get("/_control/bots", () =>
    [...engine.bots.values()].map(({ id, state, meetingUrl, joinAt, metadata }) => {
      return { id, state, meeting_url: meetingUrl, join_at: joinAt, metadata };
    }),
  );
  await server.ready();
  const ticking = setInterval(() => engine.run(clock.now()), tickMs);
  ticking.unref();

  return {
    settings,
    bots: engine.bots,
    asked,
    delivered: webhooks.delivered,
    key,
    webhookSecret: secret.toString("base64"),
    get url() {
      return base();
    },
    run: () => engine.run(clock.now()),
    settled: webhooks.settled,
    listen: async () => {
      baseUrl ??= `${await server.listen({ port: 0, host: "127.0.0.1" })}/api/v1`;
      return baseUrl;
    },
    handler: (request, response) => server.routing(request, response),
    [Symbol.asyncDispose]: async () => {
      clearInterval(ticking);
      await server.close();
    },
  };
}

function authProblem({ headers }: FastifyRequest, key: string): string | null {
  if (!headers.authorization) return "Missing Authorization header";
  const [scheme = "", given, ...rest] = headers.authorization.split(" ");
  if (scheme.toLowerCase() !== "token" || !given || rest.length > 0) {
    return "Invalid Authorization header. Should have this format: Token <api_key>";
  }
  return given === key ? null : "Invalid or disabled API key";
}
