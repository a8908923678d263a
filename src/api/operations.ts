import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { sql } from "kysely";
import { z } from "zod";
import packageJson from "../../package.json" with { type: "json" };
import type { App } from "../app.ts";
import { countBots } from "../meetings/bots.ts";
import { queueHealth } from "../queue/queue.ts";
import { countFollowed } from "../sync/feeds.ts";
import type { Metrics } from "./metrics.ts";
import { Time } from "./times.ts";

const Service = z.object({
  status: z
    .enum(["ok", "failing", "not_configured"])
    .describe("`not_configured` also where nothing is followed yet"),
  latency_ms: z.int().nullable(),
  detail: z.string().describe("More of it, in words"),
});

type Service = z.infer<typeof Service>;

/** What operators and their machines look at. Nothing here names a person or a secret. */
export const operationsRoutes: FastifyPluginAsyncZod<{ app: App; metrics: Metrics }> = async (
  server,
  { app, metrics },
) => {
  const Health = z.object({
    status: z.enum(["ok", "failing"]).describe("`failing` where Daybook cannot serve"),
    time: Time.describe("When this was answered, by Daybook's clock"),
    services: z.record(z.string(), Service).describe("How each part stands, by its name"),
  });

  server.get(
    "/health",
    {
      config: { who: "public", anonymous: true },
      schema: {
        summary: "One line per service; 503 when Daybook cannot serve",
        tags: ["operations"],
        response: { 200: Health, 503: Health },
      },
    },
    async (_request, reply) => {
      const [database, queue, followed, attendee] = await Promise.all([
        databaseHealth(app),
        queueState(app),
        followedState(app),
        botsState(app),
      ]);
      const isServing = database.status === "ok" && queue.status === "ok";
      const services = { database, queue, ...followed, attendee, ...configured(app) };
      const status = isServing ? ("ok" as const) : ("failing" as const);
      return reply
        .code(isServing ? 200 : 503)
        .send({ status, time: app.clock.now().toISOString(), services });
    },
  );

  server.get(
    "/ready",
    {
      config: { who: "public", anonymous: true },
      schema: {
        summary: "Whether requests can be served now",
        tags: ["operations"],
        response: {
          200: z.object({ ready: z.literal(true) }),
          503: z.object({ ready: z.literal(false) }),
        },
      },
    },
    async (_request, reply) => {
      const { status } = await databaseHealth(app);
      return status === "ok"
        ? { ready: true as const }
        : reply.code(503).send({ ready: false as const });
    },
  );

  server.get(
    "/live",
    {
      config: { who: "public", anonymous: true },
      schema: {
        summary: "Whether the process runs",
        tags: ["operations"],
        response: { 200: z.object({ live: z.literal(true) }) },
      },
    },
    async () => ({ live: true as const }),
  );

  server.get(
    "/version",
    {
      config: { who: "public", anonymous: true },
      schema: {
        summary: "Which Daybook this is",
        tags: ["operations"],
        response: {
          200: z.object({
            name: z.string().describe("The name of the program"),
            version: z.string().describe("The version of Daybook"),
            node: z.string(),
          }),
        },
      },
    },
    async () => ({
      name: packageJson.name,
      version: packageJson.version,
      node: process.versions.node,
    }),
  );

  server.get(
    "/metrics",
    {
      config: { who: "public", anonymous: true },
      schema: {
        summary: "Prometheus metrics",
        tags: ["operations"],
        response: {
          200: {
            description: "The text format",
            content: { "text/plain": { schema: z.string() } },
          },
        },
      },
    },
    async (_request, reply) => reply.type(metrics.contentType).send(await metrics.render()),
  );
};

// A server that was cut off may keep a query waiting for ever. A probe does not.
const patienceMs = 3_000;

async function databaseHealth(app: App): Promise<Service> {
  const startedAt = performance.now();
  try {
    await withinPatience(sql`select 1`.execute(app.db));
    return {
      status: "ok",
      latency_ms: Math.round(performance.now() - startedAt),
      detail: "answers",
    };
  } catch {
    return { status: "failing", latency_ms: null, detail: "does not answer" };
  }
}

async function queueState(app: App): Promise<Service> {
  const startedAt = performance.now();
  try {
    const { waiting, running, dead, oldestWaitingSeconds } = await withinPatience(
      queueHealth(app.queue),
    );
    const oldest =
      oldestWaitingSeconds > 0 ? `, the oldest for ${Math.round(oldestWaitingSeconds)} s` : "";
    const detail = `${waiting} waiting${oldest}, ${running} running, ${dead} given up`;
    return { status: "ok", latency_ms: Math.round(performance.now() - startedAt), detail };
  } catch {
    return { status: "failing", latency_ms: null, detail: "does not answer" };
  }
}

// What is followed, by service. One feed in trouble is its owner's; all of them are the operator's.
async function followedState(app: App): Promise<Record<"calendar" | "drive" | "gmail", Service>> {
  const rows = await withinPatience(countFollowed(app)).catch(() => null);
  const service = (name: string): Service => {
    if (!rows) return { status: "failing", latency_ms: null, detail: "not known" };
    const { active, failing } = rows.find((row) => row.service === name) ?? {
      active: 0,
      failing: 0,
    };
    if (active === 0) {
      return { status: "not_configured", latency_ms: null, detail: "nothing is followed" };
    }
    const status = failing === active ? "failing" : "ok";
    return { status, latency_ms: null, detail: `${active} followed, ${failing} in trouble` };
  };
  return { calendar: service("calendar"), drive: service("drive"), gmail: service("gmail") };
}

// One bot in trouble is its meeting's; all of them are the operator's.
async function botsState(app: App): Promise<Service> {
  if (!app.config.attendee.apiKey) {
    return { status: "not_configured", latency_ms: null, detail: "not configured" };
  }
  const counts = await withinPatience(countBots(app)).catch(() => null);
  if (!counts) return { status: "failing", latency_ms: null, detail: "not known" };
  const { live, failing } = counts;
  const status = live > 0 && failing === live ? "failing" : "ok";
  return {
    status,
    latency_ms: null,
    detail: `${live} bots to come or under way, ${failing} in trouble`,
  };
}

async function withinPatience<Result>(answer: Promise<Result>): Promise<Result> {
  const { promise: tooLong, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error("No answer in time")), patienceMs);
  try {
    return await Promise.race([answer, tooLong]);
  } finally {
    clearTimeout(timer);
  }
}

// Providers are not called here: a probe every few seconds must not spend their quota.
function configured({ config }: App): Record<string, Service> {
  const service = (isConfigured: boolean): Service => ({
    status: isConfigured ? "ok" : "not_configured",
    latency_ms: null,
    detail: isConfigured ? "configured" : "not configured",
  });
  return {
    google_sign_in: service(true),
    openai: service(config.openai.apiKey !== null),
    n8n: service(config.n8n.classificationUrl !== null),
  };
}
