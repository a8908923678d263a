/** What can go wrong in a way we expect, with the HTTP status that says so. */
const statusOf = {
  malformed: 400,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  conflict: 409,
  too_large: 413,
  unsupported_media_type: 415,
  invalid: 422,
  too_many_requests: 429,
  internal: 500,
  provider_failed: 502,
  unavailable: 503,
  provider_timeout: 504,
} as const;

export type ErrorCode = keyof typeof statusOf;

/** One thing that is wrong with an input: `path` is the field in dotted form, empty for the whole. */
export type FieldError = { path: string; message: string };

type Details = ErrorOptions & {
  /** Seconds after which trying again makes sense; becomes `Retry-After`. */
  retryAfterSeconds?: number | undefined;
  fields?: FieldError[];
};

/** A failure that we expect. Its message is shown to the caller; anything else is shown as "Internal error". */
export class AppError extends Error {
  override readonly name = "AppError";
  readonly code: ErrorCode;
  readonly retryAfterSeconds: number | undefined;
  readonly fields: FieldError[];

  constructor(code: ErrorCode, message: string, details: Details = {}) {
    super(message, details);
    this.code = code;
    this.retryAfterSeconds = details.retryAfterSeconds;
    this.fields = details.fields ?? [];
  }

  get status(): number {
    return statusOf[this.code];
  }
}

/** What to do next after a provider failed: the only thing that callers branch on. */
export type ProviderFailure =
  | "retry" // transient: the same call may work in a moment
  | "wait" // a quota is used up: not before `retryAfterSeconds`
  | "reauthorise" // the grant is dead: only the person can help
  | "scope_missing" // the grant lives but does not cover this call
  | "start_over" // the cursor is forgotten: read again without one
  | "not_found" // the thing is gone, or was never visible to us
  | "give_up"; // wrong request or wrong set-up: trying again cannot help

/** A provider did not do what it was asked. `reason` is the provider's own word, safe to log. */
export class ProviderError extends Error {
  override readonly name = "ProviderError";
  readonly failure: ProviderFailure;
  readonly status: number | null;
  readonly reason: string;
  readonly retryAfterSeconds: number | undefined;

  constructor(
    failure: ProviderFailure,
    message: string,
    details: ErrorOptions & {
      status?: number;
      reason?: string;
      retryAfterSeconds?: number | undefined;
    } = {},
  ) {
    super(message, details);
    this.failure = failure;
    this.status = details.status ?? null;
    this.reason = details.reason ?? failure;
    this.retryAfterSeconds = details.retryAfterSeconds;
  }
}
