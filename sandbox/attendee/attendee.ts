import { randomBytes } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import fastify, { type FastifyInstance } from "fastify";
import { z } from "zod";
import { type Clock, systemClock } from "../../src/lib/clock.ts";
import { addBotRoutes } from "./api.ts";
import { type Bots, openBots, type PlaySettings, usualPlaySettings } from "./bots.ts";
import { addContentRoutes } from "./contents-api.ts";
import { addControl } from "./control.ts";
import { addGate, addWithOthersRefused } from "./gate.ts";
import { addAttendeePage } from "./page.ts";
import { openRecordings } from "./recordings.ts";
import { addSteeringRoutes } from "./steering-api.ts";
import {
  type Delivered,
  openWebhooks,
  usualWebhooks,
  type Webhook,
  type WebhookSettings,
} from "./webhooks.ts";

export type AttendeeSetup = {
  /**
   * Where the API is reached, `/api/v1` included, when something else listens for it. Recordings are then kept beside it;
   * otherwise at an address that leads nowhere.
   */
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
    /** So many times the next pausing or resuming is refused, and happens a moment later all the same. */
    stubbornNext: number;
    postsPerMinute: number;
    mostConcurrent: number;
    hasZoomCredentials: boolean;
  };

/** One request, with what was answered. */
export type Asked = { method: string; path: string; status: number; body: unknown };

/** A stand-in for Attendee with one project. Its meetings play themselves, on the clock that it is given. */
export type SandboxAttendee = {
  settings: AttendeeSettings;
  bots: Bots["bots"];
  /** Every request to the API so far. */
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
const version = "/api/v1";

/** Opens the stand-in. Source: the code of Attendee itself, where it differs from what is documented. */
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
    stubbornNext: 0,
    postsPerMinute: 3_000,
    mostConcurrent: 2_500,
    hasZoomCredentials: true,
  };
  const webhooks = openWebhooks(settings, secret);
  const engine = openBots(settings, (bot, trigger, data) => {
    const payload = new Map<string, unknown>([
      ["bot_id", bot.id],
      ["bot_metadata", bot.metadata],
      ["trigger", trigger],
      ["data", data],
    ]);
    // One of its own, and the project's are not used.
    const listening = bot.webhooks.length > 0 ? bot.webhooks : (setup.webhooks ?? []);
    for (const webhook of listening) {
      if (webhook.triggers.includes(trigger)) webhooks.send(webhook, trigger, payload);
    }
  });
  const api = () => {
    if (baseUrl === undefined) throw new Error("Give `baseUrl`, or let it listen");
    return baseUrl;
  };
  const site = () => api().replace(/\/api\/v1$/, "");
  const asked: Asked[] = [];
  const server = await openServer({ engine, settings, clock, key, asked, api, site });
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
      return api();
    },
    run: () => engine.run(clock.now()),
    settled: webhooks.settled,
    listen: async () => {
      const origin = await server.listen({ port: 0, host: "127.0.0.1" });
      baseUrl ??= origin + version;
      return baseUrl;
    },
    handler: (request, response) => server.routing(request, response),
    [Symbol.asyncDispose]: async () => {
      clearInterval(ticking);
      await server.close();
    },
  };
}

type Served = {
  engine: Bots;
  settings: AttendeeSettings;
  clock: Clock;
  key: string;
  asked: Asked[];
  api: () => string;
  /** Where all of it is reached, the API, the page and the rest, and where its recordings are. */
  site: () => string;
};

async function openServer(served: Served): Promise<FastifyInstance> {
  const { engine, clock, site } = served;
  const server = fastify({
    forceCloseConnections: true,
    // Mounted or not, the routes are the same: the path of the site is taken off first.
    rewriteUrl: ({ url = "/" }) => {
      const prefix = new URL(site()).pathname.replace(/\/$/, "");
      const rest = url.startsWith(prefix) ? url.slice(prefix.length) : url;
      return rest.startsWith("/") ? rest : `/${rest}`;
    },
  });
  server.setErrorHandler((error, _request, reply) => {
    if (!(error instanceof z.ZodError)) throw error;
    return reply.code(400).send({ error: z.prettifyError(error) });
  });
  server.addHook("onRequest", async () => engine.run(clock.now()));
  server.get("/health/", (_request, reply) => reply.send());
  server.get("/version/", () => ({ version: "sandbox" }));
  const recordings = openRecordings(server, served);
  addControl(server, served);
  await server.register(async (part) => addAttendeePage(part, served));
  await server.register(
    async (part) => {
      addGate(part, served);
      addWithOthersRefused(part, () => {
        addBotRoutes(part, served);
        addContentRoutes(part, { ...served, recordings });
        addSteeringRoutes(part, served);
      });
    },
    { prefix: version },
  );
  await server.ready();
  return server;
}
