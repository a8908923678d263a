import assert from "node:assert/strict";
import { request as httpRequest } from "node:http";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Validator } from "@seriousme/openapi-schema-validator";
import { sql } from "kysely";
import { glossary } from "../src/api/glossary.ts";
import { openTestApp, type TestApp } from "./harness.ts";
import { until } from "./timing.ts";

const friend = "https://app.example.com";

describe("the API over HTTP", () => {
  let t: TestApp;
  before(async () => {
    t = await openTestApp({ workers: false, environment: { CORS_ORIGINS: friend } });
  });
  after(() => t[Symbol.asyncDispose]());

  const get = async (path: string, init: RequestInit = {}) => {
    const answer = await fetch(t.url + path, { redirect: "manual", ...init });
    return { status: answer.status, headers: answer.headers, text: await answer.text() };
  };
  const post = (path: string, type: string, body: string) =>
    get(path, {
      method: "POST",
      headers: { "content-type": type, authorization: "Bearer a-service-key-for-tests" },
      body,
    });

  describe("its description", () => {
    test("is valid OpenAPI 3.1, the same at both addresses", async () => {
      const { text } = await get("/openapi.json");
      const document = JSON.parse(text);
      assert.equal(document.openapi, "3.1.0");
      const { valid, errors } = await new Validator().validate(document);
      assert.ok(valid, JSON.stringify(errors));
      assert.equal((await get("/api/v1/openapi.json")).text, text);
    });

    test("says of every operation what it is called, what it does, who may call it and how it fails", async () => {
      const { paths, tags } = JSON.parse((await get("/openapi.json")).text);
      const known = tags.map(({ name }: { name: string }) => name);
      const ids = new Set<string>();
      for (const [path, methods] of Object.entries<Record<string, Described>>(paths)) {
        for (const [method, operation] of Object.entries(methods)) {
          const at = `${method} ${path}`;
          assert.ok(operation.summary, at);
          assert.ok(operation.security, at);
          assert.ok(
            operation.tags?.every((tag) => known.includes(tag)),
            `${at}: ${operation.tags}`,
          );
          assert.ok(operation.operationId && !ids.has(operation.operationId), at);
          ids.add(operation.operationId);
          const codes = Object.keys(operation.responses);
          assert.ok(
            codes.some((code) => /^[23]/.test(code)),
            at,
          );
          const problem = operation.responses["5XX"]?.content["application/problem+json"];
          assert.equal(problem?.schema.$ref, "#/components/schemas/Problem", at);
          assert.ok(codes.includes("4XX"), at);
        }
      }
    });

    test("says of every property and parameter what it is, by its own sentence or the glossary's", async () => {
      const document = JSON.parse((await get("/openapi.json")).text);
      const described = [...propertiesOf(document), ...parametersOf(document)];
      const nameless = described.filter(({ description }) => !description).map(({ at }) => at);
      assert.deepEqual(nameless, []);
      const isUsed = ([name, sentence]: [string, string]) =>
        described.some((one) => one.name === name && one.description === sentence);
      const unused = Object.entries(glossary).filter((entry) => !isUsed(entry));
      assert.deepEqual(unused, []);
    });

    test("says what is plain text, and what has no body", async () => {
      const { paths } = JSON.parse((await get("/openapi.json")).text);
      for (const path of ["/api/v1/webhooks/calendar", "/functions/v1/google-calendar-webhook"]) {
        const { content } = paths[`${path}/verify`].get.responses["200"];
        assert.deepEqual(Object.keys(content), ["text/plain"], path);
      }
      const answers = Object.values<Record<string, Described>>(paths)
        .flatMap((methods) => Object.values(methods))
        .flatMap(({ responses }) => [responses["204"], responses["302"]])
        .filter((answer) => answer !== undefined);
      assert.ok(answers.length > 10);
      assert.ok(answers.every((answer) => !("content" in answer)));
    });

    test("says which body may be left out, and which calls may be repeated safely", async () => {
      const { paths } = JSON.parse((await get("/openapi.json")).text);
      const { requestBody, parameters } = paths["/api/v1/jobs/dead-letters/resend"].post;
      assert.equal(requestBody.required, false);
      assert.ok(parameters.some(({ name }: { name: string }) => name === "idempotency-key"));
      assert.equal(paths["/api/v1/auth/google/oauth/callback"].post.requestBody.required, true);
      assert.equal(paths["/api/v1/auth/google/session"].post.requestBody, undefined);
    });

    test("says of every call that creates or sends something that it may be repeated safely", async () => {
      const { paths } = JSON.parse((await get("/openapi.json")).text);
      const isRepeatable = (path: string) =>
        paths[`/api/v1${path}`].post.parameters?.some(
          ({ name }: { name: string }) => name === "idempotency-key",
        ) ?? false;
      const making = [
        ...["/attendee/send-bot", "/attendee/send-chat", "/attendee/auto-schedule"],
        ...["/auth/google/session", "/auth/google/token/exchange", "/email/watch"],
        ...["/calendar/watch", "/drive/subscribe", "/drive/n8n-webhook", "/projects"],
        ...["/ai/project-onboarding", "/documents/{id}/classify", "/deliveries/{id}/resend"],
      ];
      assert.deepEqual(
        making.filter((path) => !isRepeatable(path)),
        [],
      );
    });

    test("can be browsed at /docs, with nothing that its own policy forbids", async () => {
      const { status, headers, text } = await get("/docs/");
      assert.equal(status, 200);
      const policy = headers.get("content-security-policy") ?? "";
      assert.match(policy, /script-src 'self' ?;/);
      assert.doesNotMatch(policy, /upgrade-insecure-requests/);
      // Neither scripts nor styles in the page itself: they would need an exception.
      assert.doesNotMatch(text, /<script(?![^>]*\bsrc=)[^>]*>\s*\S|<style|\sstyle=|\son\w+=/);
      const assets = [...text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path]) => path ?? "");
      assert.ok(assets.length >= 4);
      for (const asset of assets) {
        const url = new URL(asset, `${t.url}/docs/`);
        assert.equal(url.origin, t.url, asset);
        assert.equal((await get(url.pathname)).status, 200, asset);
      }
    });
  });

  describe("its refusals", () => {
    const refusals: [string, () => ReturnType<typeof get>, number][] = [
      ["an unknown route", () => get("/api/v1/nowhere"), 404],
      [
        "an unknown route that a browser asks for",
        () => get("/api/v1/nowhere", { headers: { accept: "text/html" } }),
        404,
      ],
      ["a known route by another method", () => get("/api/v1/me", { method: "PUT" }), 404],
      ["a caller without a session", () => get("/api/v1/me"), 401],
      ["an address that is badly encoded", () => get("/api/v1/%zz"), 400],
      ["an address with a NUL", () => get("/api/v1/auth/google/login?return_to=/%00"), 400],
      [
        "a path that is too long",
        () => post(`/api/v1/cron/${"x".repeat(400)}`, "application/json", "{}"),
        400,
      ],
      ["broken JSON", () => post("/api/v1/jobs/dead-letters/resend", "application/json", "{"), 400],
      [
        "a body in another format",
        () => post("/api/v1/jobs/dead-letters/resend", "text/xml", "<a/>"),
        415,
      ],
      [
        "a body over 1 MiB",
        () =>
          post(
            "/api/v1/jobs/dead-letters/resend",
            "application/json",
            `"${"x".repeat(1_048_576)}"`,
          ),
        413,
      ],
      [
        "invalid values",
        () => post("/api/v1/jobs/dead-letters/resend", "application/json", '{"ids":["~"]}'),
        422,
      ],
    ];
    for (const [what, call, status] of refusals) {
      test(`${what} is answered with a ${status} problem document`, async () => {
        const answer = await call();
        assert.equal(answer.status, status, answer.text);
        assert.equal(answer.headers.get("content-type"), "application/problem+json");
        const { request_id, ...problem } = JSON.parse(answer.text);
        assert.equal(request_id, answer.headers.get("x-request-id"));
        assert.equal(problem.status, status);
        assert.match(problem.type, /^https:\/\/daybook\.example\/problems\/[a-z-]+$/);
        assert.ok(problem.title && problem.detail);
        assert.doesNotMatch(answer.text, /node_modules|\.ts:|at \w+ \(/);
      });
    }

    test("invalid values are named one by one, by their path", async () => {
      const body = '{"ids":["~","8a4f0fd5-8a4c-4c2b-9d5a-0b9f0f6f4a11",7]}';
      const { text } = await post("/api/v1/jobs/dead-letters/resend", "application/json", body);
      const paths = JSON.parse(text).errors.map(({ path }: { path: string }) => path);
      assert.deepEqual(paths, ["body.ids.0", "body.ids.2"]);
    });
  });

  describe("its headers", () => {
    test("a request keeps the id that it came with, where that is a plain word, and gets one otherwise", async () => {
      const idOf = async (given: string) =>
        (await get("/live", { headers: { "x-request-id": given } })).headers.get("x-request-id");
      assert.equal(await idOf("trace-1234.abc"), "trace-1234.abc");
      const made = /^[0-9a-f]{8}-[0-9a-f]{4}-4/;
      for (const given of ["short", "with space here", "x".repeat(101), '{"a":"12345"}'])
        assert.match((await idOf(given)) ?? "", made);
    });

    test("an origin on the list may call with credentials and every method, and read our headers", async () => {
      const { headers } = await get("/live", { headers: { origin: friend } });
      assert.equal(headers.get("access-control-allow-origin"), friend);
      assert.equal(headers.get("access-control-allow-credentials"), "true");
      assert.match(headers.get("access-control-expose-headers") ?? "", /x-request-id.*retry-after/);
      assert.match(headers.get("vary") ?? "", /origin/i);
      const preflight = await get("/api/v1/me", {
        method: "OPTIONS",
        headers: {
          origin: friend,
          "access-control-request-method": "DELETE",
          "access-control-request-headers": "content-type,idempotency-key",
        },
      });
      assert.equal(preflight.status, 204);
      assert.match(
        preflight.headers.get("access-control-allow-methods") ?? "",
        /PUT.*PATCH.*DELETE/,
      );
      assert.match(preflight.headers.get("access-control-allow-headers") ?? "", /idempotency-key/);
    });

    test("another origin is allowed nothing, on answers and refusals alike", async () => {
      for (const origin of ["https://elsewhere.example.net", `${friend}.example.net`, "null"]) {
        for (const [path, method] of [
          ["/live", "GET"],
          ["/api/v1/me", "GET"],
          ["/api/v1/me", "OPTIONS"],
        ] as const) {
          const asked = { origin, "access-control-request-method": "DELETE" };
          const { headers } = await get(path, { method, headers: asked });
          assert.equal(headers.get("access-control-allow-origin"), null, `${method} ${path}`);
        }
      }
    });

    test("every answer carries the usual armour, and none of the API may be stored", async () => {
      for (const path of ["/live", "/api/v1/me", "/api/v1/nowhere", "/openapi.json", "/"]) {
        const { headers } = await get(path);
        assert.equal(headers.get("x-content-type-options"), "nosniff", path);
        assert.equal(headers.get("referrer-policy"), "same-origin", path);
        const policy = headers.get("content-security-policy") ?? "";
        assert.match(policy, /default-src 'none'.*frame-ancestors 'none'/, path);
        assert.doesNotMatch(policy, /unsafe/, path);
        assert.equal(headers.get("strict-transport-security"), null, path);
        assert.equal(headers.get("x-powered-by"), null, path);
        if (path !== "/") assert.equal(headers.get("cache-control"), "no-store", path);
      }
    });

    test("where people reach us by https, browsers are told to stay there", async () => {
      const environment = { PUBLIC_URL: "https://daybook.example.com" };
      await using secure = await openTestApp({ workers: false, environment });
      const answer = await fetch(`${secure.url}/api/v1/auth/google/login`, { redirect: "manual" });
      assert.match(answer.headers.get("strict-transport-security") ?? "", /max-age=31536000/);
      assert.match(answer.headers.getSetCookie()[0] ?? "", /; HttpOnly; Secure; SameSite=Lax/);
    });
  });

  describe("a list", () => {
    const page = async (query: string) =>
      (await t.asService("GET", `/api/v1/cron/runs?${query}`)).body as {
        items: { id: string; name: string }[];
        next_cursor: string | null;
      };
    const addRuns = (name: string, count: number, at: string) =>
      sql`insert into schedule_runs (name, started_at) select ${name}, ${at}::timestamptz from generate_series(1, ${count}::int)`.execute(
        t.app.db,
      );

    test("is walked page by page without gap or repeat, while rows come in at its head", async () => {
      // All at one instant: only the id tells them apart.
      await addRuns("walked", 7, "2026-01-01T00:00:00Z");
      const seen: string[] = [];
      let cursor = "";
      do {
        const { items, next_cursor } = await page(`name=walked&limit=2${cursor}`);
        seen.push(...items.map(({ id }) => id));
        cursor = next_cursor === null ? "" : `&cursor=${next_cursor}`;
        await addRuns("walked", 1, "2026-01-02T00:00:00Z");
      } while (cursor !== "");
      assert.equal(seen.length, 7);
      assert.equal(new Set(seen).size, 7);
    });

    test("ends with a page that says so, also where it is full", async () => {
      await addRuns("full", 2, "2026-01-01T00:00:00Z");
      const { items, next_cursor } = await page("name=full&limit=2");
      assert.deepEqual([items.length, next_cursor], [2, null]);
      assert.deepEqual(await page("name=absent"), { items: [], next_cursor: null });
    });

    test("refuses a cursor that is not its own, and a limit out of bounds", async () => {
      const cursors = ["~", "e30", of([]), of(["2026-01-01T00:00:00Z", "~"]), of({}), of(null)];
      const yearZero = of(["0000-01-01T00:00:00Z", "8a4f0fd5-8a4c-4c2b-9d5a-0b9f0f6f4a11"]);
      for (const cursor of [...cursors, yearZero]) {
        const { status, body } = await t.asService("GET", `/api/v1/cron/runs?cursor=${cursor}`);
        assert.deepEqual([status, body.errors[0].path], [400, "querystring.cursor"], cursor);
      }
      for (const limit of ["0", "201", "-1", "1.5", "many"]) {
        const { status } = await t.asService("GET", `/api/v1/cron/runs?limit=${limit}`);
        assert.equal(status, 422, limit);
      }
    });
  });

  test("a schedule runs by its own name only", async () => {
    for (const name of ["nothing", "constructor", "toString", "__proto__"]) {
      const { status } = await t.asService("POST", `/api/v1/cron/${name}`);
      assert.equal(status, 404, name);
    }
    const { status, body } = await t.asService("POST", "/api/v1/cron/cleanup", {});
    assert.deepEqual([status, body.name], [200, "cleanup"]);
  });

  test("each request leaves one line: its route and how it ended, nothing of what it carried", async () => {
    const ana = await t.signIn("ana@example.com");
    t.logged.length = 0;
    await ana.call("GET", "/api/v1/auth/google/user-info?connection_id=not-an-id-at-all");
    await ana.call("GET", "/api/v1/me");
    await get("/api/v1/nowhere/secret-place?q=secret-query", {
      headers: { authorization: "Bearer secret-bearer", "user-agent": "secret-agent" },
    });
    // A line is written once its answer is on its way.
    await until(() => t.logged.length >= 3);
    await sleep(20);
    const lines = t.logged.map((line) => JSON.parse(line));
    assert.deepEqual(
      lines.map(({ msg, method, route, status, failure }) => [msg, method, route, status, failure]),
      [
        ["request", "GET", "/api/v1/auth/google/user-info", 422, "invalid"],
        ["request", "GET", "/api/v1/me", 200, undefined],
        ["request", "GET", "unknown", 404, "not_found"],
      ],
    );
    for (const line of lines) {
      assert.match(line.request_id, /^[0-9a-f-]{36}$/);
      assert.equal(typeof line.ms, "number");
    }
    assert.equal(lines[1].user_id, ana.userId);
    assert.doesNotMatch(t.logged.join(""), /127\.0\.0\.1|secret-|not-an-id|example\.com|cookie/);
  });
});

test("closing finishes the request that is being answered, and takes no other", async () => {
  await using t = await openTestApp({ workers: false });
  const tx = await t.app.db.startTransaction().execute();
  await sql`lock table schedule_runs in access exclusive mode`.execute(tx);
  const running = t.asService("GET", "/api/v1/cron/runs");
  await sleep(100);
  let isClosed = false;
  const closing = t.server.close().then(() => {
    isClosed = true;
  });
  await sleep(100);
  assert.equal(isClosed, false);
  await assert.rejects(connectTo(t.url));
  await tx.rollback().execute();
  assert.equal((await running).status, 200);
  const answeredAt = performance.now();
  await closing;
  assert.ok(performance.now() - answeredAt < 1_000, "the connection was kept open");
});

test("closing cuts off what does not end", async () => {
  await using t = await openTestApp({ workers: false });
  const tx = await t.app.db.startTransaction().execute();
  await sql`lock table schedule_runs in access exclusive mode`.execute(tx);
  const cutOff = assert.rejects(t.asService("GET", "/api/v1/cron/runs"));
  await sleep(100);
  const startedAt = performance.now();
  await t.server.close();
  assert.ok(performance.now() - startedAt < 4_000);
  await cutOff;
  await tx.rollback().execute();
});

type Described = {
  operationId?: string;
  summary?: string;
  security?: unknown[];
  tags?: string[];
  parameters?: { name: string; description?: string }[];
  responses: Record<string, { content: Record<string, { schema: { $ref?: string } }> }>;
};

type Named = { at: string; name: string; description?: string };

/** Every property of every schema in a document, with the way that leads to it. */
function propertiesOf(part: unknown, at = ""): Named[] {
  if (typeof part !== "object" || part === null) return [];
  const { properties = {} } = part as { properties?: Record<string, { description?: string }> };
  const own = Object.entries(properties).map(([name, { description }]) => ({
    at: `${at}.${name}`,
    name,
    ...(description ? { description } : {}),
  }));
  const inner = Object.entries(part).flatMap(([key, value]) => propertiesOf(value, `${at}.${key}`));
  return [...own, ...inner];
}

function parametersOf({ paths }: { paths: Record<string, Record<string, Described>> }): Named[] {
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, { parameters = [] }]) =>
      parameters.map((one) => ({ ...one, at: `${method} ${path} ${one.name}` })),
    ),
  );
}

/** A cursor as ours are made, of whatever it should not be made of. */
function of(key: unknown): string {
  return Buffer.from(JSON.stringify(key)).toString("base64url");
}

// On a connection of its own: `fetch` would use one that is open.
async function connectTo(url: string): Promise<number | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<number | undefined>();
  const request = httpRequest(`${url}/live`, { agent: false }, (answer) => {
    answer.resume();
    resolve(answer.statusCode);
  });
  request.on("error", reject).end();
  return promise;
}
