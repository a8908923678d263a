import { z } from "zod";
import { ProviderError, type ProviderFailure } from "../../lib/errors.ts";
import { secondsUntil } from "../../lib/http.ts";

/** An answer of Google that is not a success. `body` is parsed JSON, or null where it was none. */
export type Refusal = {
  purpose: string;
  status: number;
  body: unknown;
  retryAfter: string | null;
  /** Statuses by which Google refuses the cursor that the request carried. */
  startOverOn: readonly number[];
  now: Date;
};

// Reasons that decide whatever the status: Google uses 403 and 429 for quotas interchangeably.
const failureByReason: Record<string, ProviderFailure> = {
  ACCESS_TOKEN_SCOPE_INSUFFICIENT: "scope_missing",
  insufficientPermissions: "scope_missing",
  rateLimitExceeded: "wait",
  userRateLimitExceeded: "wait",
  sharingRateLimitExceeded: "wait",
  RATE_LIMIT_EXCEEDED: "wait",
  quotaExceeded: "wait",
  dailyLimitExceeded: "wait",
  downloadQuotaExceeded: "wait",
  fullSyncRequired: "start_over",
  updatedMinTooLongAgo: "start_over",
  backendError: "retry",
  internalError: "retry",
  conflict: "retry",
  // Comes with a 401, and is about the address that a channel should tell, not about the token.
  "push.webhookUrlUnauthorized": "give_up",
};

// These quotas come back after hours; asking again every minute only prolongs the ban.
const hoursLong = new Set(["quotaExceeded", "dailyLimitExceeded", "downloadQuotaExceeded"]);

const longestWaitSeconds = 24 * 3600;

/** Says what to do next about an answer that is not a success: by status and Google's reason, never by its text. */
export function failureOf(refusal: Refusal): ProviderError {
  const { purpose, status } = refusal;
  const envelope = Envelope.safeParse(refusal.body).data?.error;
  const reason = reasonOf(envelope) ?? `http_${status}`;
  const failure = classify(refusal, reason, envelope !== undefined);
  const retryAfterSeconds =
    failure === "wait" || failure === "retry" ? waitOf(refusal, reason, envelope) : undefined;
  return new ProviderError(failure, `Google refused to ${purpose} (${status} ${reason})`, {
    status,
    reason,
    retryAfterSeconds,
  });
}

function classify(
  { status, startOverOn }: Refusal,
  reason: string,
  isGoogles: boolean,
): ProviderFailure {
  const known = failureByReason[reason];
  if (known) return known;
  if (startOverOn.includes(status)) return "start_over";
  if (status === 429) return "wait";
  // A token that was just renewed is refused as well: says nothing about the grant, which the token endpoint judges.
  if (status === 401 || status === 408 || status >= 500) return "retry";
  // Without Google's envelope somebody in between has answered; to believe it would delete what is still there.
  if ((status === 403 || status === 404 || status === 410) && !isGoogles) return "retry";
  if (status === 404 || status === 410) return "not_found";
  return "give_up";
}

// Every part may be missing, and an answer of the token endpoint has a bare word in the place of the object.
const Envelope = z.object({
  error: z.union([
    z.object({
      message: z.string().catch(""),
      errors: z.array(z.object({ reason: z.string().optional() })).catch([]),
      details: z.array(z.object({ reason: z.string().optional() })).catch([]),
    }),
    z.string().transform((word) => ({ message: "", errors: [{ reason: word }], details: [] })),
  ]),
});

type Envelope = z.infer<typeof Envelope>["error"];

function reasonOf(envelope: Envelope | undefined): string | undefined {
  const given = [...(envelope?.details ?? []), ...(envelope?.errors ?? [])];
  const reasons = given.flatMap(({ reason }) =>
    reason && /^[\w.-]{1,100}$/.test(reason) ? [reason] : [],
  );
  return reasons.find((reason) => reason in failureByReason) ?? reasons[0];
}

// Google documents no Retry-After; Gmail writes the time into its message instead.
function waitOf(
  { retryAfter, now }: Refusal,
  reason: string,
  envelope: Envelope | undefined,
): number | undefined {
  const inMessage = /retry after (\d{4}-\d\d-\d\dT[\d:.]{5,15}Z)/i.exec(
    envelope?.message ?? "",
  )?.[1];
  const given = secondsUntil(retryAfter, now) ?? secondsUntil(inMessage ?? null, now);
  if (given !== undefined) return Math.min(Math.max(Math.ceil(given), 0), longestWaitSeconds);
  return hoursLong.has(reason) ? 3600 : undefined;
}
