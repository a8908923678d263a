import { setTimeout as sleep } from "node:timers/promises";
import type { Redis } from "ioredis";
import {
  RateLimiterMemory,
  RateLimiterPostgres,
  RateLimiterRedis,
  type RateLimiterRes,
} from "rate-limiter-flexible";
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
};

/** Calls a minute: of a signed-in user, of an address, of an address that signs in, of a provider's notifications. */
export const usualLimits = { user: 600, address: 1200, signIn: 60, webhook: 6000 };

export type Budget = keyof typeof usualLimits;

/** Without Redis, or while it does not answer, each process keeps its own count. */
export function openLimits(redis: Redis | null, perMinute = usualLimits): Limits {
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
  };
}

/** What one provider API allows in a minute, in its own units: of one account, and of all of them together. */
export type Quota = { perUser: number; perProject: number };

/** Calls to providers, counted by all processes together. */
export type ProviderLimits = {
  /** Seconds to wait before `userKey` may call `api` again; 0 when it may now, and the call's cost is counted. */
  take(api: string, userKey: string, cost?: number): Promise<number>;
  /** The provider itself asked for a pause. */
  pause(api: string, userKey: string, seconds: number): Promise<void>;
};

/**
 * Counts in Redis where there is one, otherwise in the table `provider_limits` of the database: either way all processes
 * share one count. Four fifths of a quota are given out, so that a burst of ours never meets the provider's own limit.
 */
export function openProviderLimits(
  quotas: Record<string, Quota>,
  { redis, pool }: { redis: Redis | null; pool: object },
): ProviderLimits {
  const limiterOf = (keyPrefix: string, quota: number) => {
    const points = Math.max(1, Math.floor(quota * 0.8));
    const options = { keyPrefix, points, duration: 60, inMemoryBlockOnConsumed: points };
    return redis
      ? new RateLimiterRedis({
          ...options,
          storeClient: redis,
          insuranceLimiter: new RateLimiterMemory(options),
        })
      : new RateLimiterPostgres({
          ...options,
          storeClient: pool,
          storeType: "pool",
          tableName: "provider_limits",
          tableCreated: true,
          clearExpiredByTimeout: false,
        });
  };
  const limiters = new Map(
    Object.entries(quotas).map(([api, { perUser, perProject }]) => [
      api,
      { user: limiterOf(`${api}:user`, perUser), project: limiterOf(`${api}:project`, perProject) },
    ]),
  );
  const limiterFor = (api: string) => {
    const found = limiters.get(api);
    if (!found) throw new Error(`No quota is set for ${api}`);
    return found;
  };
  return {
    take: async (api, userKey, cost = 1) => {
      const { user, project } = limiterFor(api);
      return (
        (await secondsToWait(user, userKey, cost)) || (await secondsToWait(project, "all", cost))
      );
    },
    pause: async (api, userKey, seconds) => {
      if (seconds > 0) await limiterFor(api).user.block(userKey, Math.ceil(seconds));
    },
  };
}

async function secondsToWait(
  limiter: RateLimiterRedis | RateLimiterPostgres,
  key: string,
  cost: number,
): Promise<number> {
  try {
    await limiter.consume(key, cost);
    return 0;
  } catch (refused) {
    if (refused instanceof Error) throw refused;
    return Math.max(1, Math.ceil((refused as RateLimiterRes).msBeforeNext / 1000));
  }
}

/** The Redis that all counts share, or is to share once it answers: it is waited for a moment only. */
export async function openRedis(url: string, log: Log): Promise<Redis> {
  const { Redis } = await import("ioredis");
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
  const { promise: hasAnswered, resolve } = Promise.withResolvers<void>();
  for (const event of ["ready", "error"]) redis.once(event, () => resolve());
  await Promise.race([hasAnswered, sleep(firstAnswerMs, undefined, { ref: false })]);
  return redis;
}

const firstAnswerMs = 1_000;

function allowanceOf(limit: number, allowed: boolean, result: RateLimiterRes): Allowance {
  return {
    allowed,
    limit,
    remaining: Math.max(0, result.remainingPoints),
    resetSeconds: Math.max(1, Math.ceil(result.msBeforeNext / 1000)),
  };
}
