import type { FastifyRequest } from "fastify";
import { GoogleError } from "./errors.ts";
import { findAccessToken, personOf, serviceAccountOf } from "./grants.ts";
import type { Person } from "./people.ts";
import type { ServiceAccount, State } from "./state.ts";

/** On whose behalf a request comes. Both are set when a service account acts in a person's name. */
export type Access = {
  person: Person | null;
  serviceAccount: ServiceAccount | null;
  clientId: string;
  scopes: string[];
};

/** Whoever the bearer token of a request speaks for, or null: no token, or not a live one. */
export function findAccess(state: State, request: FastifyRequest): Access | null {
  const token = findAccessToken(state, bearerOf(request) ?? "");
  if (!token) return null;
  return {
    person: personOf(state, token),
    serviceAccount: serviceAccountOf(state, token),
    clientId: token.clientId,
    scopes: token.scopes,
  };
}

/**
 * Asks for a bearer token with any one of these scopes. `method` is the API's name for what is called, such as
 * `calendar.v3.Events.List`, and shows in the refusal.
 *
 * @throws {GoogleError} 401 `authError` without a live token, 403 `insufficientPermissions` without a scope.
 */
export function requireAccess(
  state: State,
  request: FastifyRequest,
  need: { anyOf: readonly string[]; method?: string },
): Access {
  const access = findAccess(state, request);
  if (!access) {
    throw new GoogleError(401, "authError", undefined, {
      headers: {
        "www-authenticate": 'Bearer realm="https://accounts.google.com/", error="invalid_token"',
      },
      location: { type: "header", name: "Authorization" },
    });
  }
  if (!need.anyOf.some((scope) => access.scopes.includes(scope))) {
    throw new GoogleError(
      403,
      "insufficientPermissions",
      undefined,
      need.method ? { method: need.method } : {},
    );
  }
  return access;
}

export function bearerOf(request: FastifyRequest): string | null {
  return /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? "")?.[1] ?? null;
}
