import { AppError, type ErrorCode, ProviderError, type ProviderFailure } from "../lib/errors.ts";
import type { JobSettings } from "./catalog.ts";

// Whether the same job may work later. What is not an AppError or a ProviderError is a bug or a broken connection: an
// outage is worth waiting for, and a bug reaches the dead letters with its error all the same.
const mayWorkLater = {
  retry: true,
  wait: true,
  start_over: true,
  reauthorise: false,
  scope_missing: false,
  give_up: false,
  malformed: false,
  unauthenticated: false,
  forbidden: false,
  not_found: false,
  conflict: true,
  too_large: false,
  unsupported_media_type: false,
  invalid: false,
  too_many_requests: true,
  internal: true,
  provider_failed: true,
  unavailable: true,
  provider_timeout: true,
} satisfies Record<ErrorCode | ProviderFailure, boolean>;

/**
 * How long a job waits after its `attempt`th failure (counted from 1), or null when it is given up. The wait doubles
 * from attempt to attempt, less up to half of it by chance, and is never shorter than what the provider asked for.
 */
export function secondsUntilRetry(
  error: unknown,
  attempt: number,
  settings: Pick<JobSettings, "retryLimit" | "retryDelaySeconds" | "retryDelayMaxSeconds">,
): number | null {
  if (attempt > settings.retryLimit || !isWorthRetrying(error)) return null;
  const longest = Math.min(
    settings.retryDelayMaxSeconds,
    settings.retryDelaySeconds * 2 ** (attempt - 1),
  );
  const jittered = longest * (0.5 + 0.5 * Math.random());
  return Math.max(jittered, floorOf(error));
}

/** An error as a dead letter keeps it: what an operator needs to decide, without the stack, which is in the log. */
export function keptError(error: unknown): Record<string, string> {
  if (!(error instanceof Error)) return { message: String(error).slice(0, 2_000) };
  const kept = { name: error.name, message: error.message.slice(0, 2_000) };
  if (error instanceof ProviderError)
    return { ...kept, failure: error.failure, reason: error.reason };
  return error instanceof AppError ? { ...kept, code: error.code } : kept;
}

function isWorthRetrying(error: unknown): boolean {
  if (error instanceof ProviderError) return mayWorkLater[error.failure];
  return error instanceof AppError ? mayWorkLater[error.code] : true;
}

function floorOf(error: unknown): number {
  const isTyped = error instanceof ProviderError || error instanceof AppError;
  return isTyped ? (error.retryAfterSeconds ?? 0) : 0;
}
