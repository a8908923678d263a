import type { App } from "../app.ts";
import { ProviderError } from "../lib/errors.ts";
import { type GoogleRequest, openGoogleRequest } from "../providers/google/request.ts";
import { accessToken, renewAccessToken, serviceAccessToken } from "./google-tokens.ts";

type Part = Pick<
  App,
  "db" | "clock" | "config" | "googleOAuth" | "queue" | "log" | "providerLimits"
>;

/** Calls in the name of one connection, and how many there were. */
export type GoogleAccess = { request: GoogleRequest; calls: number };

/**
 * Binds Google's APIs to a connection: its tokens, and what the quotas of its account and of the project still allow.
 * Each call is counted before it is made; where Google asks for a pause, all processes keep it.
 *
 * @throws {ProviderError} from each call; `wait` also where our own count says so.
 */
export function openGoogleAccess(app: Part, connectionId: string): GoogleAccess {
  const request = openGoogleRequest({
    apiUrl: app.config.google.apiUrl,
    accessToken: () => accessToken(app, connectionId),
    renewAccessToken: (refused) => renewAccessToken(app, connectionId, refused),
    clock: app.clock,
  });
  const access: GoogleAccess = {
    calls: 0,
    request: async (call) => {
      const seconds = await app.providerLimits.take(call.api, connectionId, call.cost);
      if (seconds > 0) {
        throw new ProviderError("wait", `The quota to ${call.purpose} is used up for this minute`, {
          reason: "own_quota",
          retryAfterSeconds: seconds,
        });
      }
      access.calls += 1;
      try {
        return await request(call);
      } catch (error) {
        if (error instanceof ProviderError && error.failure === "wait") {
          await app.providerLimits.pause(call.api, connectionId, error.retryAfterSeconds ?? 0);
        }
        throw error;
      }
    },
  };
  return access;
}

/** Calls in the service account's own name, or by `subject` in that of a person of its domain. Nobody's quota counts them. */
export function openServiceRequest(
  app: Pick<App, "config" | "googleOAuth" | "clock">,
  scopes: readonly string[],
  { subject, ...limits }: { subject?: string; timeoutMs?: number } = {},
): GoogleRequest {
  const token = (refused?: string) => serviceAccessToken(app, scopes, { subject, refused });
  return openGoogleRequest({
    apiUrl: app.config.google.apiUrl,
    accessToken: () => token(),
    renewAccessToken: token,
    clock: app.clock,
    ...limits,
  });
}
