/** In which of Google's three ways an endpoint says no: RFC 6749, the APIs' envelope, or a page for people. */
export type ErrorShape = "oauth" | "api" | "page";

type Details = ErrorOptions & {
  /** Response headers, such as `Retry-After`. */
  headers?: Record<string, string>;
  /** Which parameter or header was wrong, in the APIs' envelope. */
  location?: { type: "parameter" | "header"; name: string };
  /** Which method lacked a scope, such as `calendar.v3.Events.List`. */
  method?: string;
};

/** A refusal as Google words it: `reason` is what clients branch on, the message is for people. */
export class GoogleError extends Error {
  override readonly name = "GoogleError";
  readonly status: number;
  readonly reason: string;
  readonly details: Details;

  constructor(status: number, reason: string, message?: string, details: Details = {}) {
    super(message ?? usualMessages[reason] ?? reason, details);
    this.status = status;
    this.reason = reason;
    this.details = details;
  }
}

const usualMessages: Record<string, string> = {
  invalid_grant: "Token has been expired or revoked.",
  invalid_client: "The OAuth client was not found.",
  unauthorized_client: "Unauthorized",
  authError: "Request had invalid authentication credentials.",
  insufficientPermissions: "Request had insufficient authentication scopes.",
  rateLimitExceeded: "Rate Limit Exceeded",
  userRateLimitExceeded: "User Rate Limit Exceeded",
  dailyLimitExceeded: "Daily Limit Exceeded",
  quotaExceeded: "Calendar usage limits exceeded.",
  accessNotConfigured: "Access Not Configured",
  fullSyncRequired: "Sync token is no longer valid, a full sync is required.",
  conditionNotMet: "Precondition Failed",
  notFound: "Not Found",
  deleted: "Resource has been deleted",
  duplicate: "The requested identifier already exists.",
  backendError: "Backend Error",
  badRequest: "Bad Request",
};

/** The reason that Google most often gives with a status. */
export function usualReason(shape: ErrorShape, status: number): string {
  if (shape === "api") return apiReasons[status] ?? (status >= 500 ? "backendError" : "badRequest");
  return oauthReasons[status] ?? (status >= 500 ? "internal_failure" : "invalid_request");
}

const apiReasons: Record<number, string> = {
  401: "authError",
  403: "rateLimitExceeded",
  404: "notFound",
  409: "duplicate",
  410: "fullSyncRequired",
  412: "conditionNotMet",
  429: "rateLimitExceeded",
};

const oauthReasons: Record<number, string> = {
  400: "invalid_grant",
  401: "invalid_client",
  403: "rate_limit_exceeded",
  429: "rate_limit_exceeded",
};

/** The body of a refusal by the token endpoint and its neighbours. */
export function oauthErrorBody(error: GoogleError) {
  return { error: error.reason, error_description: error.message };
}

/** The body of a refusal by an API: the envelope with `errors`, and the newer fields where Google sends them. */
export function apiErrorBody(error: GoogleError) {
  const { status, reason, message, details } = error;
  const { location, method } = details;
  const first = {
    // Google words this one differently inside.
    message: reason === "insufficientPermissions" ? "Insufficient Permission" : message,
    domain: domainOf(reason),
    reason,
    ...(location ? { locationType: location.type, location: location.name } : {}),
  };
  return { error: { code: status, message, errors: [first], ...newerFields(reason, method) } };
}

function domainOf(reason: string): string {
  if (/limitexceeded$|quotaexceeded$|^accessnotconfigured$/i.test(reason)) return "usageLimits";
  return reason === "fullSyncRequired" || reason === "updatedMinTooLongAgo" ? "calendar" : "global";
}

function newerFields(reason: string, method: string | undefined) {
  if (reason === "authError") return { status: "UNAUTHENTICATED" };
  if (reason !== "insufficientPermissions") return {};
  const metadata = method ? { metadata: { service: serviceOf(method), method } } : {};
  const detail = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    reason: "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
    domain: "googleapis.com",
    ...metadata,
  };
  return { status: "PERMISSION_DENIED", details: [detail] };
}

// "calendar.v3.Events.List" is served by "calendar-json.googleapis.com", Gmail and Drive by names without "-json".
function serviceOf(method: string): string {
  const api = method.split(".")[0] ?? "";
  return api === "calendar" ? "calendar-json.googleapis.com" : `${api}.googleapis.com`;
}
