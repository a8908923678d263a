import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createTestDatabase } from "../../test/database.ts";
import { openTestApp, type TestApp } from "../../test/harness.ts";
import { openWire, serverOf, type Wire } from "../../test/wire.ts";
import type { Database } from "../db/connection.ts";

describe("what operators look at", () => {
  let database: Database;
  let wire: Wire;
  let t: TestApp;
  before(async () => {
    database = await createTestDatabase();
    wire = await openWire(serverOf(database.url));
    const url = new URL(database.url);
    url.host = `127.0.0.1:${wire.port}`;
    url.search = "?sslmode=disable";
    t = await openTestApp({ database: { ...database, url: url.href }, workers: false });
  });
  beforeEach(() => wire.restore());
  after(async () => {
    wire.restore();
    await t[Symbol.asyncDispose]();
    await wire[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
  });

  const get = async (path: string, headers: Record<string, string> = {}) => {
    const startedAt = performance.now();
    const answer = await fetch(t.url + path, { headers });
    const text = await answer.text();
    const isJson = answer.headers.get("content-type")?.includes("json");
    const ms = performance.now() - startedAt;
    return { status: answer.status, body: isJson ? JSON.parse(text) : text, answer, ms };
  };
  const until = async (status: number, path: string) => {
    for (let tries = 0; (await get(path)).status !== status; tries += 1) {
      assert.ok(tries < 100, `${path} never answered ${status}`);
      await sleep(50);
    }
  };

  test("each answers at the root and under the base path", async () => {
    for (const prefix of ["", "/api/v1"]) {
      for (const path of ["/health", "/ready", "/live", "/version", "/metrics", "/openapi.json"]) {
        const { status, answer } = await get(prefix + path);
        assert.equal(status, 200, prefix + path);
        assert.equal(answer.headers.get("cache-control"), "no-store", prefix + path);
      }
    }
  });

  test("health has a line for each service, and no address or secret", async () => {
    const { body } = await get("/health");
    assert.equal(body.status, "ok");
    assert.match(body.time, /^\d{4}-.*Z$/);
    assert.equal(body.services.database.status, "ok");
    assert.equal(typeof body.services.database.latency_ms, "number");
    assert.match(body.services.queue.detail, /^0 waiting, 0 running, 0 given up$/);
    assert.equal(body.services.openai.status, "not_configured");
    for (const name of ["calendar", "drive", "gmail"])
      assert.equal(body.services[name].detail, "nothing is followed");
    assert.doesNotMatch(JSON.stringify(body), /@|for-tests|127\.0\.0\.1|postgres/);
  });

  test("metrics are in Prometheus's text format, by route and not by address", async () => {
    await get("/api/v1/cron/runs?name=somebody@example.com");
    const { body, answer } = await get("/metrics");
    assert.match(answer.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/);
    assert.match(
      body,
      /^daybook_http_request_seconds_count\{method="GET",route="\/api\/v1\/cron\/runs",status="401"\} 1$/m,
    );
    assert.match(body, /^daybook_jobs\{state="waiting"\} 0$/m);
    assert.doesNotMatch(body, /example\.com/);
  });

  test("while the database is gone, health and ready say 503, live and version still answer, and all comes back by itself", async () => {
    const ana = await t.signIn("ana@example.com");
    wire.cut();
    const health = await get("/health");
    assert.equal(health.status, 503);
    assert.equal(health.body.status, "failing");
    assert.equal(health.body.services.database.status, "failing");
    assert.deepEqual((await get("/ready")).body, { ready: false });
    for (const path of ["/live", "/version"]) {
      // Whoever asks: a session would have to be looked up in the database.
      const { status, ms } = await get(path, { cookie: ana.cookie });
      assert.equal(status, 200, path);
      assert.ok(ms < 1_000, `${path} took ${ms} ms`);
    }
    const metrics = await get("/metrics");
    assert.equal(metrics.status, 200);
    assert.doesNotMatch(metrics.body, /daybook_jobs\{/);

    const refused = await get("/api/v1/me", { cookie: ana.cookie });
    assert.equal(refused.status, 503);
    assert.equal(refused.answer.headers.get("content-type"), "application/problem+json");
    assert.equal(refused.answer.headers.get("retry-after"), "2");
    assert.doesNotMatch(JSON.stringify(refused.body), /ECONN|terminated|stack/i);

    wire.restore();
    await until(200, "/ready");
    await until(200, "/health");
    assert.equal((await get("/api/v1/me", { cookie: ana.cookie })).status, 200);
  });

  test("a database that takes connections and says nothing is found out within seconds", async () => {
    wire.stall();
    const { status, body, ms } = await get("/health");
    assert.equal(status, 503);
    assert.equal(body.services.queue.status, "failing");
    assert.ok(ms < 5_000, `health took ${ms} ms`);
    wire.restore();
    await until(200, "/ready");
  });
});
