import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { z } from "zod";
import { serve } from "../../../test/serve.ts";
import { systemClock } from "../../lib/clock.ts";
import { ProviderError } from "../../lib/errors.ts";
import { expectAnswer, type GoogleCall, openGoogleRequest } from "./request.ts";

const call: GoogleCall = { purpose: "list events", api: "calendar", path: "/calendar/v3/x" };

function open(apiUrl: string, more: Partial<Parameters<typeof openGoogleRequest>[0]> = {}) {
  return openGoogleRequest({
    apiUrl,
    accessToken: async () => "first",
    renewAccessToken: async () => assert.fail("no token was refused"),
    clock: systemClock,
    ...more,
  });
}

const failsWith = (failure: string, reason: string) => (error: unknown) => {
  assert.ok(error instanceof ProviderError, String(error));
  assert.deepEqual([error.failure, error.reason], [failure, reason]);
  return true;
};

test("every API is asked at the address that stands in for Google, below its path", async (t) => {
  const seen: unknown[] = [];
  const origin = await serve(t, (request, response, body) => {
    const { authorization, "content-type": type } = request.headers;
    seen.push([request.method, request.url, authorization, type, body]);
    response.end("{}");
  });
  const google = open(`${origin}/sandbox/google`);
  for (const api of ["calendar", "drive", "gmail", "pubsub"] as const) {
    await google({ purpose: "look", api, path: `/${api}/v1` });
  }
  const query = { q: "a b&c", labelIds: ["A", "B"], none: undefined };
  await google({
    purpose: "write",
    api: "gmail",
    method: "POST",
    path: "/x/a%2Fb",
    query,
    body: { id: 1 },
  });
  const bearer = "Bearer first";
  assert.deepEqual(seen, [
    ...["calendar", "drive", "gmail", "pubsub"].map((api) => [
      "GET",
      `/sandbox/google/${api}/v1`,
      bearer,
      undefined,
      "",
    ]),
    [
      "POST",
      "/sandbox/google/x/a%2Fb?q=a+b%26c&labelIds=A&labelIds=B",
      bearer,
      "application/json",
      '{"id":1}',
    ],
  ]);
});

test("without such an address each API is asked at Google's own host", async (t) => {
  const urls: string[] = [];
  t.mock.method(globalThis, "fetch", async (url: URL) => {
    urls.push(url.href);
    return new Response("{}");
  });
  const google = openGoogleRequest({
    ...{ apiUrl: null, clock: systemClock },
    accessToken: async () => "t",
    renewAccessToken: async () => "t",
  });
  for (const api of ["calendar", "drive", "gmail", "pubsub"] as const)
    await google({ purpose: "look", api, path: "/x" });
  const hosts = ["www", "www", "gmail", "pubsub"];
  assert.deepEqual(
    urls,
    hosts.map((host) => `https://${host}.googleapis.com/x`),
  );
});

test("an id that would lead elsewhere is not sent", async () => {
  for (const path of [
    "/calendars/../events",
    "/calendars/./events",
    "/calendars/a?b/events",
    "/calendars/a#b",
  ]) {
    await assert.rejects(
      open("http://127.0.0.1:9")({ ...call, path }),
      failsWith("give_up", "unusable_id"),
      path,
    );
  }
});

test("a refused token is renewed once and the call repeated", async (t) => {
  const tokens: unknown[] = [];
  const origin = await serve(t, (request, response) => {
    tokens.push(request.headers.authorization);
    response.statusCode = request.headers.authorization === "Bearer first" ? 401 : 200;
    response.end('{"ok":true}');
  });
  const renewed: string[] = [];
  const renewAccessToken = async (refused: string) => {
    renewed.push(refused);
    return "second";
  };
  assert.deepEqual(await open(origin, { renewAccessToken })(call), { ok: true });
  assert.deepEqual([tokens, renewed], [["Bearer first", "Bearer second"], ["first"]]);
});

test("a token that is refused after its renewal says nothing about the grant", async (t) => {
  let calls = 0;
  const origin = await serve(t, (_, response) => {
    calls++;
    response.writeHead(401).end('{"error":{"code":401,"errors":[{"reason":"authError"}]}}');
  });
  await assert.rejects(
    open(origin, { renewAccessToken: async () => "second" })(call),
    failsWith("retry", "authError"),
  );
  assert.equal(calls, 2);
});

test("nothing else is repeated, and a failed renewal is the call's own failure", async (t) => {
  let calls = 0;
  const origin = await serve(t, (_, response) => {
    calls++;
    response.writeHead(503, { "retry-after": "7" }).end("<html>Service unavailable</html>");
  });
  const error: unknown = await open(origin)(call).catch((thrown: unknown) => thrown);
  assert.ok(error instanceof ProviderError);
  assert.deepEqual([error.failure, error.retryAfterSeconds, calls], ["retry", 7, 1]);
  const accessToken = async () =>
    Promise.reject(new ProviderError("reauthorise", "Connection c1 needs the person"));
  await assert.rejects(
    open(origin, { accessToken })(call),
    failsWith("reauthorise", "reauthorise"),
  );
});

test("a redirect is not followed: the token would travel with it", async (t) => {
  const origin = await serve(t, (_, response) =>
    response.writeHead(302, { location: "https://example.com/" }).end(),
  );
  await assert.rejects(open(origin)(call), failsWith("give_up", "http_302"));
});

test("an answer may be compressed, and empty where there is none to give", async (t) => {
  const origin = await serve(t, (request, response) => {
    if (request.method === "POST") return response.writeHead(204).end();
    return response
      .writeHead(200, { "content-encoding": "gzip" })
      .end(gzipSync('{"title":"Grüße"}'));
  });
  assert.deepEqual(await open(origin)(call), { title: "Grüße" });
  assert.equal(await open(origin)({ ...call, method: "POST" }), null);
});

test("an answer that is not JSON is a failure that passes", async (t) => {
  const origin = await serve(t, (_, response) =>
    response.end("<html>Sign in to the network</html>"),
  );
  await assert.rejects(open(origin)(call), failsWith("retry", "unusable_answer"));
});

test("an answer is limited by what it unpacks to", async (t) => {
  const packed = gzipSync(JSON.stringify("a".repeat(1_000_000)));
  const origin = await serve(t, (_, response) =>
    response.writeHead(200, { "content-encoding": "gzip" }).end(packed),
  );
  await assert.rejects(
    open(origin, { maxBytes: 10_000 })(call),
    failsWith("give_up", "answer_too_large"),
  );
});

test("a call ends in time, also when the answer has begun", async (t) => {
  const origin = await serve(t, (_, response) => response.write("{"));
  await assert.rejects(open(origin, { timeoutMs: 50 })(call), failsWith("retry", "timeout"));
});

test("a call that the caller ends throws the caller's reason", async (t) => {
  const origin = await serve(t, (_, response) => response.write("{"));
  const stop = new AbortController();
  const pending = open(origin)({ ...call, signal: stop.signal });
  setTimeout(() => stop.abort(new Error("Stopping")), 20);
  await assert.rejects(pending, /^Error: Stopping$/);
});

test("a server that cannot be reached is a failure that passes", async () => {
  await assert.rejects(open("http://127.0.0.1:1")(call), (error: unknown) => {
    assert.ok(error instanceof ProviderError);
    assert.equal(error.failure, "retry");
    assert.ok(!JSON.stringify(error).includes("first"), "the token is not in the error");
    return true;
  });
});

test("an answer of another shape is told by its fields, not by its values", () => {
  const shape = z.object({ items: z.array(z.object({ id: z.string() })) });
  const error = (() => {
    try {
      return expectAnswer(shape, { items: [{ id: { secret: "words" } }] }, "list events");
    } catch (thrown) {
      return thrown;
    }
  })();
  assert.ok(error instanceof ProviderError);
  assert.equal(error.message, "Google's answer to list events has another shape in: items.0.id");
});
