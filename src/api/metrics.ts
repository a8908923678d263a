import type { FastifyInstance } from "fastify";
import { Gauge, Histogram, Registry } from "prom-client";
import type { App } from "../app.ts";
import { queueHealth } from "../queue/queue.ts";

export type Metrics = { contentType: string; render(): Promise<string> };

/** Measures every request by its route pattern, and the queue when somebody looks. */
export function measure(server: FastifyInstance, app: App): Metrics {
  const registry = new Registry();
  const durations = new Histogram({
    name: "daybook_http_request_seconds",
    help: "Seconds that requests took, by route and status",
    labelNames: ["method", "route", "status"],
    buckets: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30],
    registers: [registry],
  });
  new Gauge({
    name: "daybook_jobs",
    help: "Jobs by state",
    labelNames: ["state"],
    registers: [registry],
    async collect() {
      // While the database is away, what was measured here is all the more of interest.
      const health = await queueHealth(app.queue).catch(() => null);
      this.reset();
      if (!health) return;
      const { waiting, running, dead } = health;
      this.set({ state: "waiting" }, waiting);
      this.set({ state: "running" }, running);
      this.set({ state: "dead" }, dead);
    },
  });
  server.addHook("onResponse", async (request, reply) => {
    const labels = {
      method: request.method,
      route: request.routeOptions.url ?? "unknown",
      status: reply.statusCode,
    };
    durations.observe(labels, reply.elapsedTime / 1000);
  });
  return { contentType: registry.contentType, render: () => registry.metrics() };
}
