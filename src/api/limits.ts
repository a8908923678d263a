import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import ipaddr from "ipaddr.js";
import type { App } from "../app.ts";
import { AppError } from "../lib/errors.ts";
import type { Budget } from "../lib/limits.ts";

/** What tells callers how much of their minute is left; on every answer that counts. */
export const rateHeaders = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"] as const;

/** Counts calls of each address, before anybody is asked who they are, so that guesses at tokens count; and of each user. */
export function limitRates(server: FastifyInstance, app: App): void {
  const take = async (reply: FastifyReply, budget: Budget, key: string) => {
    const { allowed, limit, remaining, resetSeconds } = await app.limits.take(budget, key);
    const values = [limit, remaining, resetSeconds];
    for (const [index, name] of rateHeaders.entries()) reply.header(name, values[index]);
    if (allowed) return;
    throw new AppError("too_many_requests", `At most ${limit} calls a minute`, {
      retryAfterSeconds: resetSeconds,
    });
  };
  server.addHook("onRequest", async (request, reply) => {
    const budget = budgetOf(request);
    if (budget) await take(reply, budget, networkOf(request.ip));
  });
  server.addHook("preHandler", async (request, reply) => {
    if (request.who?.type === "user") await take(reply, "user", request.who.userId);
  });
}

const signInPaths = ["/auth/google/login", "/oauth/callback", "/google-oauth-login"];

function budgetOf({ routeOptions: { url = "", config } }: FastifyRequest): Budget | null {
  if (url.includes("/webhooks/")) return "webhook";
  if (signInPaths.some((path) => url.endsWith(path))) return "signIn";
  return config.who ? "address" : null;
}

// Whoever has one IPv6 address usually has the whole /64 around it.
function networkOf(ip: string): string {
  if (!ipaddr.isValid(ip)) return ip;
  const address = ipaddr.process(ip);
  return address instanceof ipaddr.IPv6 ? address.parts.slice(0, 4).join(":") : String(address);
}
