import type { z } from "zod";
import type { Clock } from "../../lib/clock.ts";
import { ProviderError } from "../../lib/errors.ts";
import { readAtMost } from "../../lib/http.ts";
import { failureOf } from "./failures.ts";

const hosts = {
  calendar: "https://www.googleapis.com",
  drive: "https://www.googleapis.com",
  gmail: "https://gmail.googleapis.com",
  pubsub: "https://pubsub.googleapis.com",
};

export type GoogleCall = {
  /** What is attempted, as it reads after "refused to": `list events`. */
  purpose: string;
  api: keyof typeof hosts;
  method?: "GET" | "POST";
  /** With every id in it percent-encoded. */
  path: string;
  query?: Record<string, string | string[] | undefined>;
  /** Sent as JSON. */
  body?: unknown;
  /** Statuses by which Google refuses the cursor that this call carries: they become `start_over`. */
  startOverOn?: readonly number[];
  signal?: AbortSignal | undefined;
  /** Units of the API's quota; one by default. */
  cost?: number;
  /** The answer is a file's content: it is returned as a Buffer, as it comes. */
  isContent?: boolean;
  /** An answer that is larger is refused with the reason `answer_too_large`; 64 MB by default. */
  maxBytes?: number;
};

/**
 * Makes one call in the name of one account and returns the parsed answer, null where there is none. A refused access
 * token is renewed once; nothing else is repeated, since waiting is the caller's to plan.
 *
 * @throws {ProviderError} that says what to do next; the reason of `signal` when that was what ended the call.
 */
export type GoogleRequest = (call: GoogleCall) => Promise<unknown>;

type Access = {
  /** One address that answers all of Google's paths in place of its hosts; may have a path of its own. */
  apiUrl: string | null;
  accessToken: () => Promise<string>;
  /** Gets another token than the `refused` one. */
  renewAccessToken: (refused: string) => Promise<string>;
  clock: Clock;
  /** For a whole call, the body of its answer included. */
  timeoutMs?: number;
  maxBytes?: number;
};

/** Binds calls to an account's tokens, and to Google's own hosts or what stands in for all of them. */
export function openGoogleRequest(access: Access): GoogleRequest {
  return async (call) => {
    const url = urlOf(access.apiUrl ?? hosts[call.api], call);
    const token = await access.accessToken();
    const first = await send(access, call, { url, token });
    if (first.status !== 401) return bodyOrFailure(access, call, first);
    const renewed = await access.renewAccessToken(token);
    return bodyOrFailure(access, call, await send(access, call, { url, token: renewed }));
  };
}

/** Parses an answer. @throws {ProviderError} `retry` when it has another shape; the message names fields, never values. */
export function expectAnswer<Schema extends z.ZodType>(
  schema: Schema,
  answer: unknown,
  purpose: string,
): z.infer<Schema> {
  const parsed = schema.safeParse(answer);
  if (parsed.success) return parsed.data;
  const fields = parsed.error.issues.map((issue) => issue.path.join(".")).join(", ");
  throw unusable(`Google's answer to ${purpose} has another shape in: ${fields.slice(0, 200)}`);
}

function urlOf(base: string, { path, query = {}, purpose }: GoogleCall): URL {
  const url = new URL(base);
  url.pathname = url.pathname.replace(/\/$/, "") + path;
  // An id such as ".." would lead to another resource than the one that was meant.
  if (!url.pathname.endsWith(path)) {
    throw new ProviderError("give_up", `An id in the request to ${purpose} cannot be sent`, {
      reason: "unusable_id",
    });
  }
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value ?? []].flat()) url.searchParams.append(name, one);
  }
  return url;
}

type Answer = { status: number; retryAfter: string | null; bytes: Buffer };

async function send(
  access: Access,
  call: GoogleCall,
  to: { url: URL; token: string },
): Promise<Answer> {
  const timeout = AbortSignal.timeout(access.timeoutMs ?? 30_000);
  const signal = call.signal ? AbortSignal.any([call.signal, timeout]) : timeout;
  try {
    const answer = await fetch(to.url, {
      method: call.method ?? "GET",
      headers: {
        authorization: `Bearer ${to.token}`,
        // Google compresses only for those who also say so in their name.
        "user-agent": "Daybook (gzip)",
        ...(call.body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
      // The token must not follow a redirect.
      redirect: "manual",
      signal,
    });
    const maxBytes = call.maxBytes ?? access.maxBytes ?? 64_000_000;
    const bytes = await readAtMost(answer, maxBytes);
    if (!bytes) throw tooLarge(call.purpose, maxBytes);
    return { status: answer.status, retryAfter: answer.headers.get("retry-after"), bytes };
  } catch (cause) {
    if (cause instanceof ProviderError) throw cause;
    call.signal?.throwIfAborted();
    const reason = timeout.aborted ? "timeout" : networkReason(cause);
    throw new ProviderError("retry", `Google could not be reached to ${call.purpose} (${reason})`, {
      cause,
      reason,
    });
  }
}

function networkReason(cause: unknown): string {
  const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
  return inner instanceof Error && "code" in inner ? String(inner.code) : "network";
}

function bodyOrFailure(access: Access, call: GoogleCall, answer: Answer): unknown {
  const isSuccess = answer.status >= 200 && answer.status < 300;
  if (isSuccess && call.isContent) return answer.bytes;
  const text = answer.bytes.toString("utf8");
  const body = parseJson(text);
  if (!isSuccess) {
    const { status, retryAfter } = answer;
    const { purpose, startOverOn = [] } = call;
    throw failureOf({ purpose, status, body, retryAfter, startOverOn, now: access.clock.now() });
  }
  if (body === null && text.trim() !== "")
    throw unusable(`Google's answer to ${call.purpose} is not JSON`);
  return body;
}

function tooLarge(purpose: string, maxBytes: number): ProviderError {
  const message = `Google's answer to ${purpose} is larger than ${maxBytes} bytes`;
  return new ProviderError("give_up", message, { reason: "answer_too_large" });
}

function unusable(message: string): ProviderError {
  return new ProviderError("retry", message, { reason: "unusable_answer" });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
