import { Redis } from "ioredis";
import { RateLimiterMemory, RateLimiterRedis, type RateLimiterRes } from "rate-limiter-flexible";
import type { Log } from "./log.ts";

/** What is left of a budget after a call, or how long to wait for one that is used up. Times in seconds. */
export type Allowance = {
  allowed: boolean;
  limit: number;
  remaining: number;
  resetSeconds: number;
};

/** Budgets of calls per minute, shared by all processes through Redis where there is one. */
export type Limits = {
  take(budget: Budget, key: string): Promise<Allowance>;
  [Symbol.asyncDispose](): Promise<void>;
};

/** Calls a minute: of a signed-in user, of an address, of an address that signs in, of a provider's notifications. */
export const usualLimits = { user: 600, address: 1200, signIn: 60, webhook: 6000 };

export type Budget = keyof typeof usualLimits;

/** Without Redis, or while it does not answer, each process keeps its own count. */
export function openLimits(redisUrl: string | null, log: Log, perMinute = usualLimits): Limits {
  const redis = redisUrl ? connect(redisUrl, log) : null;
  const limiters = Object.fromEntries(
    Object.entries(perMinute).map(([budget, points]) => {
      const options = { keyPrefix: `daybook:${budget}`, points, duration: 60 };
      const memory = new RateLimiterMemory(options);
      const limiter = redis
        ? new RateLimiterRedis({ ...options, storeClient: redis, insuranceLimiter: memory })
        : memory;
      return [budget, limiter];
    }),
  ) as Record<Budget, RateLimiterMemory | RateLimiterRedis>;
  return {
    take: async (budget, key) => {
      try {
        return allowanceOf(perMinute[budget], true, await limiters[budget].consume(key));
      } catch (refused) {
        if (refused instanceof Error) throw refused;
        return allowanceOf(perMinute[budget], false, refused as RateLimiterRes);
      }
    },
    [Symbol.asyncDispose]: async () => redis?.disconnect(),
  };
}

function connect(url: string, log: Log): Redis {
  const redis = new Redis(url, {
    maxRetriesPerRequest: 1,
    enableOfflineQueue: false,
    connectTimeout: 2_000,
    // One that is reached but does not answer must not hold up every request.
    commandTimeout: 500,
  });
  let isDown = false;
  const warn = (reason: string) => {
    if (!isDown) log.warn({ reason }, "Redis does not answer; limits are kept in each process");
    isDown = true;
  };
  redis.on("error", (error) => warn(error.message));
  redis.on("reconnecting", () => warn("the connection ended"));
  redis.on("ready", () => {
    isDown = false;
  });
  return redis;
}

function allowanceOf(limit: number, allowed: boolean, result: RateLimiterRes): Allowance {
  return {
    allowed,
    limit,
    remaining: Math.max(0, result.remainingPoints),
    resetSeconds: Math.max(1, Math.ceil(result.msBeforeNext / 1000)),
  };
}
