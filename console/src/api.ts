/** What the console knows of the API: the calls it makes, and the shapes it reads. */
export type Me = {
  user: { id: string; email: string; name: string | null; virtual_address: string | null };
  connections: Connection[];
  notices: { code: string; text: string }[];
};

export type Connection = {
  id: string;
  email: string | null;
  name: string | null;
  is_sign_in: boolean;
  state: "active" | "reconnect_needed";
  state_reason: "grant_dead" | "disconnected" | "no_refresh_token" | null;
  state_text: string;
  capabilities: {
    name: "calendar" | "gmail" | "drive";
    granted: boolean;
    missing_scopes: string[];
  }[];
  last_refreshed_at: string | null;
  connected_at: string;
};

/** A refusal of the API, in its own words. Status 0: it could not be reached. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }

  /** Whether the same call may well succeed a moment later. */
  get isPassing(): boolean {
    return this.status === 0 || this.status >= 500;
  }
}

const base = "/api/v1";
const timeoutMs = 30_000;

/** Who is signed in, or null. @throws {ApiError} */
export async function fetchMe(): Promise<Me | null> {
  try {
    return await call<Me>("GET", "/me");
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return null;
    throw error;
  }
}

export const signOut = () => change("DELETE", "/auth/session");
export const deleteEverything = () => change("DELETE", "/me");
export const disconnect = (connectionId: string) =>
  change("POST", "/auth/google/token/revoke", { connection_id: connectionId });

/** Where to go to sign in, to connect a further account, or to reconnect one. */
export function googleUrl(connect?: { connectionId?: string }): string {
  const query = new URLSearchParams({ return_to: connect ? "/connections" : "/" });
  if (connect) query.set("purpose", "connect");
  if (connect?.connectionId) query.set("connection_id", connect.connectionId);
  return `${base}/auth/google/login?${query}`;
}

export const exportUrl = `${base}/me/export`;

const underWay = new Map<string, Promise<void>>();

// The second half of a double click comes before the button looks disabled: it shares the first one's answer.
function change(method: string, path: string, body?: object): Promise<void> {
  const key = JSON.stringify([method, path, body]);
  const begun = underWay.get(key) ?? call<void>(method, path, body);
  underWay.set(key, begun);
  return begun.finally(() => underWay.delete(key));
}

async function call<Answer>(method: string, path: string, body?: object): Promise<Answer> {
  const request = body
    ? { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }
    : {};
  const signal = AbortSignal.timeout(timeoutMs);
  const answer = await fetch(base + path, { method, signal, ...request }).catch(() => {
    throw new ApiError(0, "Daybook cannot be reached. Check your network, then try again.");
  });
  if (answer.ok) return answer.status === 204 ? (undefined as Answer) : answer.json();
  const problem: { detail?: string } = await answer.json().catch(() => ({}));
  throw new ApiError(answer.status, problem.detail ?? `Daybook answered ${answer.status}.`);
}
