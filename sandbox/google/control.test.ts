import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { openSandboxGoogle, type SandboxGoogle } from "./server.ts";
import { post, redirectUri, refresh, signIn } from "./test-client.ts";

let google: SandboxGoogle;
before(async () => {
  google = await openSandboxGoogle({ redirectUris: [redirectUri] });
  await google.listen();
});
after(() => google[Symbol.asyncDispose]());
beforeEach(() => google.state.reset());

test("a fault hits once, n times, or until it is cleared", async () => {
  const { refresh_token: token } = await signIn(google);
  const statuses = async (count: number) => {
    const seen: number[] = [];
    for (let done = 0; done < count; done += 1) seen.push((await refresh(google, token)).status);
    return seen;
  };
  await control("POST", "/faults", { endpoint: "oauth.token.refresh", status: 503 });
  assert.deepEqual(await statuses(2), [503, 200]);
  await control("POST", "/faults", { endpoint: "oauth.*", status: 429, times: 2, skip: 1 });
  assert.deepEqual(await statuses(4), [200, 429, 429, 200]);
  const { body } = await control("POST", "/faults", {
    endpoint: "/token",
    status: 500,
    times: null,
  });
  assert.deepEqual(await statuses(3), [500, 500, 500]);
  await control("DELETE", `/faults/${body.id}`);
  assert.deepEqual(await statuses(1), [200]);
  assert.equal((await control("DELETE", `/faults/${body.id}`)).status, 404);
});

test("a fault answers in the shape of its endpoint, with Retry-After", async () => {
  const { access_token: access, refresh_token: token } = await signIn(google);
  await control("POST", "/faults", {
    endpoint: "oauth.token.*",
    status: 400,
    reason: "invalid_grant",
    retryAfter: 7,
  });
  const refused = await refresh(google, token);
  assert.equal(refused.body.error, "invalid_grant");
  assert.equal(refused.headers.get("retry-after"), "7");

  await control("POST", "/faults", {
    endpoint: "oauth.userinfo",
    status: 403,
    reason: "rateLimitExceeded",
  });
  const headers = { authorization: `Bearer ${access}` };
  const api = await fetch(`${google.url}/v1/userinfo`, { headers });
  assert.deepEqual(JSON.parse(await api.text()), {
    error: {
      code: 403,
      message: "Rate Limit Exceeded",
      errors: [
        { domain: "usageLimits", reason: "rateLimitExceeded", message: "Rate Limit Exceeded" },
      ],
    },
  });

  await control("POST", "/faults", { endpoint: "oauth.token.*", status: 502 });
  const front = await fetch(`${google.url}/token`, {
    method: "POST",
    body: new URLSearchParams({ a: "b" }),
  });
  assert.equal(front.status, 502);
  assert.match(front.headers.get("content-type") ?? "", /html/);
});

test("a connection can be cut before anything happened, after it happened, or in the middle of the answer", async () => {
  const { access_token: access } = await signIn(google);
  for (const [reset, isRevoked] of [
    ["before", false],
    ["mid-body", true],
    ["after", true],
  ] as const) {
    const { access_token: token } = await signIn(google, { person: "priya@example.com" });
    await control("POST", "/faults", { endpoint: "oauth.revoke", reset });
    await assert.rejects(post(`${google.url}/revoke`, { token: token ?? "" }), TypeError);
    const headers = { authorization: `Bearer ${token}` };
    assert.equal(
      (await fetch(`${google.url}/v1/userinfo`, { headers })).status,
      isRevoked ? 401 : 200,
      reset,
    );
  }
  assert.ok(access);
});

test("a fault can make an answer late, or be for one person only", async () => {
  const ana = await signIn(google);
  const priya = await signIn(google, { person: "priya@example.com" });
  await control("POST", "/faults", { endpoint: "oauth.token.refresh", delayMs: 150 });
  const startedAt = performance.now();
  assert.equal((await refresh(google, ana.refresh_token)).status, 200);
  assert.ok(performance.now() - startedAt >= 140);

  await control("POST", "/faults", {
    endpoint: "oauth.*",
    status: 503,
    times: null,
    person: "Priya@example.com",
  });
  assert.equal((await refresh(google, ana.refresh_token)).status, 200);
  assert.equal((await refresh(google, priya.refresh_token)).status, 503);
});

test("a quota refuses what is over it, per person, until the minute has passed", async () => {
  const ana = await signIn(google);
  const priya = await signIn(google, { person: "priya@example.com" });
  await control("POST", "/quotas", { endpoint: "oauth.userinfo", perMinute: 2, status: 429 });
  const call = async ({ access_token: token }: typeof ana) =>
    (await fetch(`${google.url}/v1/userinfo`, { headers: { authorization: `Bearer ${token}` } }))
      .status;
  assert.deepEqual(
    [await call(ana), await call(ana), await call(ana), await call(priya)],
    [200, 200, 429, 200],
  );
  google.clock.advance(60_000);
  assert.equal(await call(ana), 200);
});

test("the clock can be set, moved and put back", async () => {
  const set = await control("POST", "/clock", { set: "2030-01-01T00:00:00Z" });
  assert.equal(set.body.now.slice(0, 16), "2030-01-01T00:00");
  const moved = await control("POST", "/clock", { advanceMs: 86_400_000 });
  assert.equal(moved.body.now.slice(0, 10), "2030-01-02");
  const back = await control("POST", "/clock", { reset: true });
  assert.ok(Math.abs(Date.parse(back.body.now) - Date.now()) < 5_000);
});

test("the operator can revoke a person's grant, change a password, and change a person", async () => {
  const first = await signIn(google);
  await control("POST", "/people/ana@example.com/password");
  assert.equal((await refresh(google, first.refresh_token)).body.error, "invalid_grant");
  const second = await signIn(google, { person: "ana@example.com" }, { prompt: "consent" });
  assert.deepEqual((await control("POST", "/people/ana@example.com/revoke")).body, { ended: 1 });
  assert.equal((await refresh(google, second.refresh_token)).body.error, "invalid_grant");
  const changed = await control("PATCH", "/people/ana@example.com", {
    email: "ana.moreno@example.com",
  });
  assert.equal(changed.body.email, "ana.moreno@example.com");
  assert.equal((await control("POST", "/people/ana@example.com/revoke")).status, 404);
});

test("neither requests nor grants nor the page for people show a token", async () => {
  const { access_token: token, refresh_token: lasting } = await signIn(google);
  await fetch(`${google.url}/tokeninfo?access_token=${token}`);
  await fetch(`${google.url}/v1/userinfo`, { headers: { authorization: `Bearer ${token}` } });
  const { body } = await control("GET", "/requests");
  const last = body.requests.at(-1);
  assert.deepEqual([last.path, last.person, last.status], ["/v1/userinfo", "ana@example.com", 200]);
  for (const path of ["/_control/requests", "/_control/grants", "/_control/clients", "/"]) {
    const text = await (await fetch(`${google.url}${path}`)).text();
    for (const secret of [token, lasting, google.client.secret])
      assert.ok(!text.includes(secret ?? ""), path);
  }
});

test("another client can be registered, with addresses that Google would allow", async () => {
  const good = {
    secret: "s",
    redirectUris: ["https://other.example.test/back", "http://localhost:3000/back"],
  };
  assert.equal((await control("PUT", "/clients/other.apps.example.com", good)).status, 200);
  for (const uri of [
    "http://app.example.test/",
    "https://a.example.test/#x",
    "https://u:p@a.example.test/",
    "https://10.0.0.1/",
    "no",
  ]) {
    const { status, body } = await control("PUT", "/clients/other.apps.example.com", {
      redirectUris: [uri],
    });
    assert.equal(status, 400, uri);
    assert.match(body.error, /redirect URI/);
  }
});

test("the control API explains what it does not understand, and does not serve other sites", async () => {
  const { status, body } = await control("POST", "/faults", { endpoint: "oauth.*", stauts: 500 });
  assert.equal(status, 400);
  assert.match(body.error, /stauts/);
  const headers = { "sec-fetch-site": "cross-site" };
  assert.equal(
    (await fetch(`${google.url}/_control/reset`, { method: "POST", headers })).status,
    403,
  );
});

test("a reset forgets everything, the moved clock too", async () => {
  await signIn(google);
  google.clock.advance(86_400_000);
  await control("POST", "/reset");
  assert.equal(
    google.state.grants.size + google.state.refreshTokens.size + google.state.requests.length,
    0,
  );
  assert.ok(Math.abs(google.clock.now().getTime() - Date.now()) < 5_000);
});

async function control(method: string, path: string, body?: unknown) {
  const sent =
    body === undefined
      ? {}
      : { body: JSON.stringify(body), headers: { "content-type": "application/json" } };
  const answer = await fetch(`${google.url}/_control${path}`, { method, ...sent });
  return { status: answer.status, body: JSON.parse(await answer.text()) };
}
