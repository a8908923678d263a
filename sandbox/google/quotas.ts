import { z } from "zod";
import { minutes } from "./clock.ts";
import { GoogleError } from "./errors.ts";
import { matchesName } from "./faults.ts";
import type { State } from "./state.ts";

export const QuotaSettings = z.strictObject({
  /** Which endpoints share it, such as `calendar.*`. */
  endpoint: z.string().min(1),
  /** Calls, or units where an endpoint costs more than one. */
  perMinute: z.number().int().min(0),
  per: z.enum(["person", "project"]).default("person"),
  status: z.union([z.literal(403), z.literal(429)]).default(403),
  reason: z.string().default("rateLimitExceeded"),
});

/** How much may be used of some endpoints in any minute, and what of it was used when. */
export type Quota = z.infer<typeof QuotaSettings> & {
  id: string;
  uses: Map<string, { at: number; cost: number }[]>;
};

/** Sets a quota; one for the same endpoints and the same `per` is replaced. */
export function setQuota(state: State, settings: z.input<typeof QuotaSettings>): Quota {
  const parsed = QuotaSettings.parse(settings);
  const quota = { ...parsed, id: `${parsed.endpoint}/${parsed.per}`, uses: new Map() };
  state.quotas = [...state.quotas.filter(({ id }) => id !== quota.id), quota];
  return quota;
}

/**
 * Takes the cost of a call out of every quota that it falls under. Refused calls cost nothing.
 *
 * @throws {GoogleError} when one of them is used up for this minute.
 */
export function spendQuotas(
  state: State,
  call: { endpoint: string; user: string | null; cost: number },
): void {
  const now = state.clock.now().getTime();
  const counters = state.quotas
    .filter((quota) => matchesName(quota.endpoint, call.endpoint))
    .map((quota) => ({
      quota,
      recent: recentUses(quota, quota.per === "person" ? (call.user ?? "") : "", now),
    }));
  for (const { quota, recent } of counters) {
    const used = recent.reduce((sum, { cost }) => sum + cost, 0);
    if (used + call.cost > quota.perMinute) throw new GoogleError(quota.status, quota.reason);
  }
  for (const { recent } of counters) recent.push({ at: now, cost: call.cost });
}

function recentUses(quota: Quota, user: string, now: number) {
  const uses = quota.uses.get(user) ?? [];
  // A clock put back must not leave uses in the future that count for ever.
  const recent = uses.filter(({ at }) => at > now - minutes && at <= now);
  quota.uses.set(user, recent);
  return recent;
}
