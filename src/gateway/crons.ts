import type { FastifyInstance } from "fastify";
import { oldAddress } from "./old-address.ts";

/**
 * Answers at a schedule's old address, for the service alone. It looked neither at the method nor at the body, and whoever
 * starts it by another than POST goes on doing so; POST is what is described.
 */
export function answerCron(
  server: FastifyInstance,
  { name, summary }: { name: string; summary: string },
  run: () => Promise<Record<string, unknown>>,
): void {
  const config = { who: "service" as const };
  server.post(`/${name}`, { config, schema: oldAddress(summary, {}) }, run);
  const others = { config, schema: { hide: true }, handler: run };
  server.route({ method: ["GET", "PUT", "PATCH", "DELETE"], url: `/${name}`, ...others });
}
