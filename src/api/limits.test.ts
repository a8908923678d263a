import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { openTestApp, type TestApp, type Visitor } from "../../test/harness.ts";
import { openWire } from "../../test/wire.ts";

const generous = { user: 1_000, address: 1_000, signIn: 1_000, webhook: 1_000 };
const redisUrl = process.env.TEST_REDIS_URL;

const open = (limits: Partial<typeof generous>, environment: Record<string, string> = {}) =>
  openTestApp({
    workers: false,
    callsPerMinute: { ...generous, ...limits },
    environment: { REDIS_URL: "", ...environment },
  });
const live = async (t: TestApp, forwardedFor?: string) => {
  const headers = forwardedFor ? { "x-forwarded-for": forwardedFor } : {};
  const answer = await fetch(`${t.url}/live`, { headers });
  return { status: answer.status, body: JSON.parse(await answer.text()), headers: answer.headers };
};
const statuses = async (times: number, call: () => Promise<{ status: number }>) => {
  const seen: number[] = [];
  for (let time = 0; time < times; time += 1) seen.push((await call()).status);
  return seen;
};

describe("limits in one process", () => {
  test("an address that has used up its minute is told when to come back", async () => {
    await using t = await open({ address: 3 });
    const first = await live(t);
    assert.equal(first.headers.get("ratelimit-limit"), "3");
    assert.equal(first.headers.get("ratelimit-remaining"), "2");
    assert.deepEqual(await statuses(3, () => live(t)), [200, 200, 429]);
    const { body, headers } = await live(t);
    assert.equal(headers.get("content-type"), "application/problem+json");
    assert.equal(body.title, "Too many requests");
    const wait = Number(headers.get("retry-after"));
    assert.ok(wait >= 1 && wait <= 60, `${wait}`);
    assert.equal(headers.get("ratelimit-remaining"), "0");
    assert.equal(headers.get("ratelimit-reset"), String(wait));
  });

  test("a person has a budget of their own, wherever they call from", async () => {
    await using t = await open({ user: 4 });
    // The sign-in itself asked once who is there.
    const ana: Visitor = await t.signIn("ana@example.com");
    const me = () => ana.call("GET", "/api/v1/me");
    assert.deepEqual(await statuses(4, me), [200, 200, 200, 429]);
    const priya = await t.signIn("priya@example.com");
    assert.equal((await priya.call("GET", "/api/v1/me")).status, 200);
    assert.equal((await live(t)).status, 200);
  });

  test("guesses at tokens are counted before anybody looks them up", async () => {
    await using t = await open({ address: 2 });
    const guess = () =>
      fetch(`${t.url}/api/v1/me`, { headers: { authorization: "Bearer guessed" } });
    assert.deepEqual(await statuses(3, guess), [401, 401, 429]);
  });

  test("sign-ins have the smallest budget, old address included, and it leaves the others alone", async () => {
    await using t = await open({ signIn: 2 });
    const begin = () => fetch(`${t.url}/api/v1/auth/google/login`, { redirect: "manual" });
    assert.deepEqual(await statuses(2, begin), [302, 302]);
    const old = await fetch(`${t.url}/functions/v1/google-oauth-login`, { method: "POST" });
    assert.equal(old.status, 429);
    assert.equal((await live(t)).status, 200);
  });

  test("without a proxy nobody is believed who names another address", async () => {
    await using t = await open({ address: 2 });
    const call = () => live(t, randomAddress());
    assert.deepEqual(await statuses(3, call), [200, 200, 429]);
  });

  test("behind a proxy the address counts that the proxy saw, not what the caller wrote before it", async () => {
    await using t = await open({ address: 2 }, { TRUST_PROXY: "true" });
    const seen = "192.0.2.7";
    const call = () => live(t, `${randomAddress()}, ${seen}`);
    assert.deepEqual(await statuses(3, call), [200, 200, 429]);
    assert.equal((await live(t, `${seen}, 192.0.2.8`)).status, 200);
  });

  test("the many addresses of one IPv6 network count as one", async () => {
    await using t = await open({ address: 2 }, { TRUST_PROXY: "true" });
    const network = ["2001:db8:0:7::1", "2001:db8:0:7:a:b:c:d", "2001:db8::7:9:9:9:9"];
    const seen: number[] = [];
    for (const address of network) seen.push((await live(t, address)).status);
    assert.deepEqual(seen, [200, 200, 429]);
    for (const other of ["2001:db8:0:8::1", "2001:db8::1", "::1"])
      assert.equal((await live(t, other)).status, 200, other);
  });
});

describe("limits shared through Redis", { skip: !redisUrl && "TEST_REDIS_URL is not set" }, () => {
  // Each test calls from an address of its own: what lies in that Redis, from a run before or from others, is left alone.
  const openShared = (redis: string | URL) =>
    open({ address: 4 }, { REDIS_URL: String(redis), TRUST_PROXY: "true" });

  test("two processes count together", async () => {
    const address = randomAddress();
    await using one = await openShared(redisUrl ?? "");
    await using other = await openShared(redisUrl ?? "");
    assert.deepEqual(await statuses(2, () => live(one, address)), [200, 200]);
    assert.deepEqual(await statuses(3, () => live(other, address)), [200, 200, 429]);
    assert.equal((await live(one, address)).status, 429);
  });

  test("a Redis that goes away, falls silent and comes back stops nobody", async () => {
    const address = randomAddress();
    const url = new URL(redisUrl ?? "");
    await using wire = await openWire({ host: url.hostname, port: Number(url.port || 6379) });
    url.host = `127.0.0.1:${wire.port}`;
    await using t = await openShared(url);
    assert.equal((await live(t, address)).status, 200);
    wire.cut();
    // The count goes on in the process: no limit would be an invitation to cut Redis off.
    assert.deepEqual(await statuses(5, () => live(t, address)), [200, 200, 200, 200, 429]);
    assert.equal(t.logged.filter((line) => line.includes("Redis does not answer")).length, 1);
    wire.restore();
    const waitedSince = performance.now();
    while ((await live(t, address)).status === 429) {
      assert.ok(performance.now() - waitedSince < 10_000, "Redis was not found again");
      await sleep(50);
    }
    wire.stall();
    const startedAt = performance.now();
    assert.notEqual((await live(t, address)).status, 500);
    assert.ok(performance.now() - startedAt < 2_000);
    wire.restore();
  });
});

/** An address that nobody has, of the range kept for documentation. */
function randomAddress(): string {
  return `2001:db8:${randomBytes(4)
    .toString("hex")
    .replace(/^(.{4})/, "$1:")}::1`;
}
