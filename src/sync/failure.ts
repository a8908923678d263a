import { ProviderError, type ProviderFailure } from "../lib/errors.ts";
import type { Feed, FeedPatch } from "./feeds.ts";

const minuteMs = 60_000;

/** The first wait after a failure, and the longest: doubled each time in between. */
const waits: Record<ProviderFailure, { firstMs: number; longestMs: number }> = {
  retry: { firstMs: 10_000, longestMs: 30 * minuteMs },
  wait: { firstMs: 15_000, longestMs: 60 * minuteMs },
  start_over: { firstMs: 10 * minuteMs, longestMs: 6 * 60 * minuteMs },
  not_found: { firstMs: 5 * minuteMs, longestMs: 6 * 60 * minuteMs },
  give_up: { firstMs: 15 * minuteMs, longestMs: 6 * 60 * minuteMs },
  // Nothing but the person helps: the feed rests until its account is connected again.
  reauthorise: { firstMs: 0, longestMs: 0 },
  scope_missing: { firstMs: 0, longestMs: 0 },
};

const words: Record<ProviderFailure, string> = {
  retry: "Google did not answer as it should; it is asked again by itself",
  wait: "Google asked for a pause, because of too many calls",
  start_over: "Google forgot how far it was read; everything is read again soon",
  not_found: "Google says that this is gone, or no longer shared with this account",
  give_up: "Google refuses this; the operator has to look at it",
  reauthorise: "The account has to be connected again",
  scope_missing: "The account was connected without permission for this",
};

const rests: Partial<Record<ProviderFailure, string>> = {
  reauthorise: "reconnect_needed",
  scope_missing: "scope_missing",
};

/** When a feed that failed is looked at next, and what its owner is told. The first wait is never over at once. */
export function afterFailure(
  feed: Feed,
  error: unknown,
  now: Date,
  random: () => number = Math.random,
): { patch: FeedPatch; text: string } {
  const isKnown = error instanceof ProviderError;
  const failure = isKnown ? error.failure : "retry";
  const { text, restsFor } = explain(feed, error);
  const base = {
    failures: feed.failures + 1,
    last_error: text,
    last_error_reason: isKnown ? error.reason : "internal",
  };
  if (restsFor) {
    return {
      patch: { ...base, state: "paused", state_reason: restsFor, due_at: null, retry_at: null },
      text,
    };
  }
  const { firstMs, longestMs } = waits[failure];
  const backoffMs =
    Math.min(firstMs * 2 ** Math.min(feed.failures, 20), longestMs) * (0.75 + random() / 2);
  const askedMs = isKnown ? (error.retryAfterSeconds ?? 0) * 1000 : 0;
  const waitMs = Math.max(backoffMs, askedMs);
  const retryAt = new Date(now.getTime() + waitMs);
  const due_reason = {
    rule: "failure",
    text: `${text} (after ${base.failures === 1 ? "1 failure" : `${base.failures} failures in a row`})`,
  };
  return {
    patch: {
      ...base,
      due_at: retryAt,
      retry_at: retryAt,
      due_reason,
      ...(failure === "start_over" ? { cursor: null, reading: null } : {}),
    },
    text,
  };
}

function explain(feed: Feed, error: unknown): { text: string; restsFor?: string | undefined } {
  if (!(error instanceof ProviderError)) {
    return { text: "Something went wrong here; it is tried again by itself" };
  }
  if (feed.kind === "gmail" && error.reason === "failedPrecondition") {
    const text = "This Google account has no mailbox";
    // One that was read before may be away for a time only, as where its organisation has turned Gmail off.
    return feed.last_success_at ? { text } : { text, restsFor: "no_mailbox" };
  }
  return { text: words[error.failure], restsFor: rests[error.failure] };
}
