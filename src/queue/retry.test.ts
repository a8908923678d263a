import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { AppError, ProviderError } from "../lib/errors.ts";
import { keptError, secondsUntilRetry } from "./retry.ts";

const settings = { retryLimit: 5, retryDelaySeconds: 10, retryDelayMaxSeconds: 60 };

describe("secondsUntilRetry", () => {
  it("doubles from attempt to attempt up to the longest, and at least half of it is certain", () => {
    const longest = [10, 20, 40, 60, 60];
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), (attempt) => {
        const seconds = secondsUntilRetry(new Error("any"), attempt, settings);
        const most = longest[attempt - 1]!;
        assert.ok(seconds !== null && seconds >= most / 2 && seconds <= most);
      }),
    );
  });

  it("ends after the last attempt", () => {
    assert.equal(secondsUntilRetry(new Error("any"), 6, settings), null);
  });

  it("is never less than what the provider asked for, even beyond the longest", () => {
    const error = new ProviderError("wait", "Quota", { retryAfterSeconds: 3_600 });
    assert.equal(secondsUntilRetry(error, 1, settings), 3_600);
    const app = new AppError("unavailable", "Busy", { retryAfterSeconds: 3_600 });
    assert.equal(secondsUntilRetry(app, 1, settings), 3_600);
  });

  const failures: [Error, boolean][] = [
    [new ProviderError("retry", "x"), true],
    [new ProviderError("wait", "x"), true],
    [new ProviderError("start_over", "x"), true],
    [new ProviderError("reauthorise", "x"), false],
    [new ProviderError("scope_missing", "x"), false],
    [new ProviderError("not_found", "x"), false],
    [new ProviderError("give_up", "x"), false],
    [new AppError("conflict", "x"), true],
    [new AppError("unavailable", "x"), true],
    [new AppError("invalid", "x"), false],
    [new AppError("forbidden", "x"), false],
    [new TypeError("a bug"), true],
  ];
  for (const [error, isRetried] of failures) {
    const kind =
      error instanceof ProviderError
        ? error.failure
        : error instanceof AppError
          ? error.code
          : error.message;
    it(`${isRetried ? "waits" : "gives up"} after ${error.name} ${kind}`, () => {
      assert.equal(secondsUntilRetry(error, 1, settings) !== null, isRetried);
    });
  }
});

describe("keptError", () => {
  it("keeps what an operator needs, and not the stack", () => {
    const error = new ProviderError("give_up", "Calendar said no", { reason: "badRequest" });
    assert.deepEqual(keptError(error), {
      name: "ProviderError",
      message: "Calendar said no",
      failure: "give_up",
      reason: "badRequest",
    });
    assert.deepEqual(keptError("text"), { message: "text" });
  });
});
