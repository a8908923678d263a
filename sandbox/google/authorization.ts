import { z } from "zod";
import { GoogleError } from "./errors.ts";
import { isKnown, parseScopes } from "./scopes.ts";
import type { Client, State } from "./state.ts";

/** What an app asks of a person, checked. */
export type Authorization = {
  client: Client;
  redirectUri: string;
  scopes: string[];
  state: string | null;
  nonce: string | null;
  isOffline: boolean;
  includesGranted: boolean;
  prompt: Set<string>;
  loginHint: string | null;
  hd: string | null;
  challenge: { method: "S256" | "plain"; value: string } | null;
};

const Parameters = z.object({
  client_id: z.string(),
  redirect_uri: z.string(),
  response_type: z.literal("code"),
  response_mode: z.literal("query").optional(),
  scope: z.string().regex(/\S/),
  access_type: z.enum(["online", "offline"]).default("online"),
  prompt: z
    .string()
    .regex(/^(none|(consent|select_account)( (consent|select_account))*)?$/)
    .optional(),
  include_granted_scopes: z.enum(["true", "false"]).default("false"),
  state: z.string().max(4096).optional(),
  nonce: z.string().max(4096).optional(),
  login_hint: z.string().optional(),
  hd: z.string().optional(),
  code_challenge: z
    .string()
    .regex(/^[A-Za-z0-9\-._~]{43,128}$/)
    .optional(),
  code_challenge_method: z.enum(["S256", "plain"]).optional(),
});

/**
 * Checks an authorization request. Whatever is wrong is shown to the person on Google's page; the app hears nothing,
 * since an address that was not checked is no place to send anybody.
 *
 * @throws {GoogleError}
 */
export function parseAuthorization(state: State, query: unknown): Authorization {
  const given = singleValues(query);
  const { client, redirectUri } = checkedTarget(state, given);
  const parsed = Parameters.safeParse(given);
  if (!parsed.success)
    throw new GoogleError(400, "invalid_request", problemOf(parsed.error, given));
  const asked = parsed.data;
  const scopes = parseScopes(asked.scope);
  const unknown = scopes.filter((scope) => !isKnown(scope));
  if (unknown.length > 0) {
    throw new GoogleError(
      400,
      "invalid_scope",
      `Some requested scopes were invalid: ${unknown.join(", ")}`,
    );
  }
  return {
    client,
    redirectUri,
    scopes,
    state: asked.state ?? null,
    nonce: asked.nonce ?? null,
    isOffline: asked.access_type === "offline",
    includesGranted: asked.include_granted_scopes === "true",
    prompt: new Set(asked.prompt?.split(" ").filter((word) => word !== "")),
    loginHint: asked.login_hint ?? null,
    hd: asked.hd ?? null,
    challenge: challengeOf(asked),
  };
}

/**
 * What is wrong with an address to send people back to, by the rules for registering one; null if nothing is. The rule
 * about public top-level domains is left out, so that names reserved for tests can be used.
 */
export function redirectUriProblem(uri: string): string | null {
  const url = URL.parse(uri);
  if (!url) return "is not a URL";
  const isLocal = ["localhost", "127.0.0.1", "[::1]"].includes(url.hostname);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && isLocal))
    return "must be https, except on localhost";
  if (!isLocal && /^[\d.]+$|^\[/.test(url.hostname))
    return "must not be an IP address, except localhost";
  if (uri.includes("#")) return "must not have a fragment";
  if (url.username !== "" || url.password !== "") return "must not carry a user";
  if (uri.includes("*")) return "must not have a wildcard";
  return /(^|[/\\])\.\.([/\\]|$)/.test(uri) ? "must not walk up the path" : null;
}

function singleValues(query: unknown): Record<string, string> {
  const values = z.record(z.string(), z.union([z.string(), z.array(z.string())])).parse(query);
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => {
      if (typeof value === "string") return [name, value];
      throw new GoogleError(
        400,
        "invalid_request",
        `OAuth 2 parameters can only have a single value: ${name}`,
      );
    }),
  );
}

// First of all whose request it is and where the answer may go: the other checks speak in the client's name.
function checkedTarget(
  state: State,
  given: Record<string, string>,
): { client: Client; redirectUri: string } {
  if (!given.client_id)
    throw new GoogleError(400, "invalid_request", "Missing required parameter: client_id");
  const client = state.clients.find(({ id }) => id === given.client_id);
  if (!client) throw new GoogleError(401, "invalid_client", "The OAuth client was not found.");
  const redirectUri = given.redirect_uri;
  if (!redirectUri)
    throw new GoogleError(400, "invalid_request", "Missing required parameter: redirect_uri");
  if (!client.redirectUris.includes(redirectUri)) {
    const message = `${client.name} sent a redirect URI that is not registered for this client: ${redirectUri}`;
    throw new GoogleError(400, "redirect_uri_mismatch", message);
  }
  return { client, redirectUri };
}

function problemOf(error: z.ZodError, given: Record<string, string>): string {
  const name = String(error.issues[0]?.path[0]);
  return given[name]
    ? `Invalid parameter value for ${name}: ${given[name]}`
    : `Missing required parameter: ${name}`;
}

function challengeOf(asked: z.infer<typeof Parameters>): Authorization["challenge"] {
  const { code_challenge: value, code_challenge_method: given } = asked;
  if (value === undefined) {
    if (given === undefined) return null;
    throw new GoogleError(400, "invalid_request", "Missing required parameter: code_challenge");
  }
  const method = given ?? "plain";
  // The digest of SHA-256 always has this length.
  if (method === "S256" && value.length !== 43) {
    throw new GoogleError(
      400,
      "invalid_request",
      "Invalid parameter value for code_challenge: not an S256 challenge",
    );
  }
  return { method, value };
}
