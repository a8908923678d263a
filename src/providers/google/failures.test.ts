import assert from "node:assert/strict";
import { test } from "node:test";
import type { ProviderFailure } from "../../lib/errors.ts";
import { failureOf, type Refusal } from "./failures.ts";

const now = new Date("2026-09-21T08:00:00Z");

function failure(refusal: Partial<Refusal>) {
  return failureOf({
    purpose: "list events",
    status: 400,
    body: null,
    retryAfter: null,
    startOverOn: [],
    now,
    ...refusal,
  });
}

const api = (code: number, reason: string, more: object = {}) => ({
  error: {
    code,
    message: "Words that decide nothing",
    errors: [{ domain: "global", reason, message: "" }],
    ...more,
  },
});
const html = null;

const scopeMissing = api(403, "insufficientPermissions", {
  status: "PERMISSION_DENIED",
  details: [
    {
      "@type": "type.googleapis.com/google.rpc.ErrorInfo",
      reason: "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
    },
  ],
});
const disabled = { error: { code: 403, details: [{ reason: "SERVICE_DISABLED" }] } };
const newDetail = api(403, "rateLimitExceeded", {
  details: [{ reason: "SOMETHING_NEW" }, "not an object"],
});

test("an answer says what to do next by its status and Google's reason", () => {
  const cases: [status: number, body: unknown, failure: ProviderFailure, reason: string][] = [
    [400, api(400, "badRequest"), "give_up", "badRequest"],
    [400, api(400, "timeRangeEmpty"), "give_up", "timeRangeEmpty"],
    [
      400,
      api(400, "pushNotSupportedForRequestedResource"),
      "give_up",
      "pushNotSupportedForRequestedResource",
    ],
    [400, api(400, "channelIdNotUnique"), "give_up", "channelIdNotUnique"],
    [400, api(400, "failedPrecondition"), "give_up", "failedPrecondition"],
    [400, { error: "invalid_grant", error_description: "x" }, "give_up", "invalid_grant"],
    [401, api(401, "authError"), "retry", "authError"],
    [401, api(401, "push.webhookUrlUnauthorized"), "give_up", "push.webhookUrlUnauthorized"],
    [403, api(403, "insufficientPermissions"), "scope_missing", "insufficientPermissions"],
    [403, scopeMissing, "scope_missing", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"],
    [403, api(403, "rateLimitExceeded"), "wait", "rateLimitExceeded"],
    [403, newDetail, "wait", "rateLimitExceeded"],
    [403, api(403, "userRateLimitExceeded"), "wait", "userRateLimitExceeded"],
    [403, api(403, "sharingRateLimitExceeded"), "wait", "sharingRateLimitExceeded"],
    [429, api(429, "rateLimitExceeded"), "wait", "rateLimitExceeded"],
    [429, html, "wait", "http_429"],
    [403, api(403, "quotaExceeded"), "wait", "quotaExceeded"],
    [403, api(403, "dailyLimitExceeded"), "wait", "dailyLimitExceeded"],
    [403, api(403, "downloadQuotaExceeded"), "wait", "downloadQuotaExceeded"],
    [403, api(403, "accessNotConfigured"), "give_up", "accessNotConfigured"],
    [403, disabled, "give_up", "SERVICE_DISABLED"],
    [403, api(403, "forbidden"), "give_up", "forbidden"],
    [403, api(403, "domainPolicy"), "give_up", "domainPolicy"],
    [403, api(403, "insufficientFilePermissions"), "give_up", "insufficientFilePermissions"],
    [403, api(403, "appNotAuthorizedToFile"), "give_up", "appNotAuthorizedToFile"],
    [403, api(403, "exportSizeLimitExceeded"), "give_up", "exportSizeLimitExceeded"],
    [403, api(403, "aReasonOfTheFuture"), "give_up", "aReasonOfTheFuture"],
    [404, api(404, "notFound"), "not_found", "notFound"],
    [409, api(409, "duplicate"), "give_up", "duplicate"],
    [409, api(409, "conflict"), "retry", "conflict"],
    [410, api(410, "fullSyncRequired"), "start_over", "fullSyncRequired"],
    [410, api(410, "updatedMinTooLongAgo"), "start_over", "updatedMinTooLongAgo"],
    [410, api(410, "deleted"), "not_found", "deleted"],
    [412, api(412, "conditionNotMet"), "give_up", "conditionNotMet"],
    [500, api(500, "backendError"), "retry", "backendError"],
    [502, html, "retry", "http_502"],
    [503, api(503, "aReasonOfTheFuture"), "retry", "aReasonOfTheFuture"],
    [504, "Gateway timeout", "retry", "http_504"],
    [302, html, "give_up", "http_302"],
    // Somebody between us and Google has answered.
    [403, html, "retry", "http_403"],
    [404, html, "retry", "http_404"],
    // Envelopes with parts missing, or of another kind.
    [404, { error: { code: 404 } }, "not_found", "http_404"],
    [404, { error: { errors: "none", details: null } }, "not_found", "http_404"],
    [400, { error: { errors: [{ reason: "a reason\nwith a line" }] } }, "give_up", "http_400"],
  ];
  for (const [status, body, expected, reason] of cases) {
    const error = failure({ status, body });
    assert.deepEqual(
      [error.failure, error.reason, error.status],
      [expected, reason, status],
      `${status} ${reason}`,
    );
  }
});

test("a refused cursor means to start over, where the call says that it carried one", () => {
  const cases: [status: number, body: unknown, startOverOn: number[], failure: ProviderFailure][] =
    [
      [400, api(400, "badRequest"), [400, 410], "start_over"],
      [410, html, [400, 410], "start_over"],
      [404, api(404, "notFound"), [400, 410], "not_found"],
      [404, api(404, "notFound"), [404], "start_over"],
      [403, api(403, "rateLimitExceeded"), [403], "wait"],
    ];
  for (const [status, body, startOverOn, expected] of cases) {
    assert.equal(
      failure({ status, body, startOverOn }).failure,
      expected,
      `${status} ${startOverOn}`,
    );
  }
});

test("the time that Google asks for is kept, in whatever form it comes", () => {
  const quota = api(403, "quotaExceeded");
  const gmail = api(429, "rateLimitExceeded", {
    message: "User-rate limit exceeded.  Retry after 2026-09-21T11:00:00.500Z",
  });
  const cases: [refusal: Partial<Refusal>, seconds: number | undefined][] = [
    [{ status: 429, retryAfter: "17" }, 17],
    [{ status: 503, retryAfter: "Mon, 21 Sep 2026 08:01:30 GMT" }, 90],
    [{ status: 429, retryAfter: "Mon, 21 Sep 2026 07:00:00 GMT" }, 0],
    [{ status: 429, retryAfter: "999999999" }, 24 * 3600],
    [{ status: 429, retryAfter: "soon" }, undefined],
    [{ status: 429, body: gmail }, 10_801],
    [{ status: 403, body: quota }, 3600],
    [{ status: 403, body: quota, retryAfter: "60" }, 60],
    [{ status: 403, body: api(403, "rateLimitExceeded") }, undefined],
    [{ status: 404, body: api(404, "notFound"), retryAfter: "60" }, undefined],
  ];
  for (const [refusal, seconds] of cases) {
    assert.equal(failure(refusal).retryAfterSeconds, seconds, JSON.stringify(refusal));
  }
});

test("the message holds the purpose and the reason, and none of Google's words", () => {
  const error = failure({ status: 404, body: api(404, "notFound") });
  assert.equal(error.message, "Google refused to list events (404 notFound)");
});
