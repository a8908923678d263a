import { randomBytes } from "node:crypto";
import { z } from "zod";
import type { State } from "./state.ts";

/** What can be asked to go wrong. At least one of `status`, `delayMs`, `holdMs`, `reset` and `paddingBytes`. */
export const FaultSettings = z
  .strictObject({
    /** A name such as `oauth.token.refresh` or `calendar.*`, or a path such as `/calendar/v3/*`. */
    endpoint: z.string().min(1),
    /** Only requests in this person's name, by address or account id. */
    person: z.string().min(1).optional(),
    status: z.number().int().min(400).max(599).optional(),
    /** What clients branch on, such as `rateLimitExceeded` or `invalid_grant`; by default the usual one. */
    reason: z.string().min(1).optional(),
    message: z.string().optional(),
    /** The body is a page, as from a front end that failed; the default for 502. */
    html: z.boolean().optional(),
    /** Seconds, or a date as HTTP writes it. */
    retryAfter: z.union([z.number().int().min(0), z.string().min(1)]).optional(),
    /** Real milliseconds before anything happens. */
    delayMs: z.number().int().min(0).max(600_000).optional(),
    /** Real milliseconds after it happened, before the answer. */
    holdMs: z.number().int().min(0).max(600_000).optional(),
    /** Cut the connection: before anything happened, after it happened, or in the middle of the answer. */
    reset: z.enum(["before", "after", "mid-body"]).optional(),
    /** White space before the body, as JSON allows it: an answer that is larger than its reader takes. */
    paddingBytes: z.number().int().min(1).max(1_000_000_000).optional(),
    /** How many requests it hits; null for every one until it is cleared. */
    times: z.number().int().min(1).nullable().default(1),
    /** How many matching requests go through before it begins. */
    skip: z.number().int().min(0).default(0),
  })
  .refine(
    ({ status, delayMs, holdMs, reset, paddingBytes }) =>
      [status, delayMs, holdMs, reset, paddingBytes].some((what) => what !== undefined),
    { error: "says nothing to do: give status, delayMs, holdMs, reset or paddingBytes" },
  );

export type Fault = z.infer<typeof FaultSettings> & {
  id: string;
  /** How many requests it has hit. */
  hits: number;
};

/** Makes requests fail from now on. Of several faults that match a request, the oldest hits it. */
export function addFault(state: State, settings: z.input<typeof FaultSettings>): Fault {
  const fault = { ...FaultSettings.parse(settings), id: randomBytes(4).toString("hex"), hits: 0 };
  state.faults.push(fault);
  return fault;
}

/** Clears one fault, or all. Returns how many that were. */
export function clearFaults(state: State, id?: string): number {
  const before = state.faults.length;
  state.faults = id === undefined ? [] : state.faults.filter((fault) => fault.id !== id);
  return before - state.faults.length;
}

/** The fault that hits this request, if any; one that has hit as often as it should is gone afterwards. */
export function takeFault(
  state: State,
  call: { endpoint: string; path: string; person: { sub: string; email: string } | null },
): Fault | null {
  for (const fault of state.faults.filter((one) => concerns(one, call))) {
    if (fault.skip > 0) {
      fault.skip -= 1;
      continue;
    }
    fault.hits += 1;
    if (fault.times !== null && fault.hits >= fault.times) clearFaults(state, fault.id);
    return fault;
  }
  return null;
}

function concerns(fault: Fault, call: Parameters<typeof takeFault>[1]): boolean {
  const { endpoint, person } = fault;
  const names = [call.person?.sub, call.person?.email.toLowerCase()];
  if (person !== undefined && !names.includes(person.toLowerCase())) return false;
  return matchesName(endpoint, endpoint.startsWith("/") ? call.path : call.endpoint);
}

/** Whether a pattern, in which `*` stands for anything, names this endpoint or path. */
export function matchesName(pattern: string, name: string): boolean {
  const parts = pattern.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${parts.join(".*")}$`).test(name);
}
