import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT, UnsecuredJWT } from "jose";
import { openTestApp, type TestApp } from "../../test/harness.ts";
import { getMailboxOwner } from "../accounts/assistant.ts";

const secret = "a-secret-of-the-old-sign-in";

describe("who calls", () => {
  let t: TestApp;
  let keys: Awaited<ReturnType<typeof openKeyServer>>;
  before(async () => {
    keys = await openKeyServer();
    const environment = { SUPABASE_JWT_SECRET: secret, SUPABASE_JWKS_URL: keys.url };
    t = await openTestApp({ workers: false, environment });
  });
  after(async () => {
    await t[Symbol.asyncDispose]();
    await keys[Symbol.asyncDispose]();
  });

  const claims = (more: JWTPayload = {}): JWTPayload => {
    const now = Math.floor(t.clock.now().getTime() / 1000);
    const sub = randomUUID();
    const email = `${sub}@example.com`;
    return { sub, email, aud: "authenticated", iat: now, exp: now + 3600, ...more };
  };
  const signed = (payload: JWTPayload, key = secret) =>
    new SignJWT(payload).setProtectedHeader({ alg: "HS256" }).sign(new TextEncoder().encode(key));
  const get = async (path: string, headers: Record<string, string>) => {
    const answer = await fetch(`${t.url}/api/v1${path}`, { headers });
    return { status: answer.status, body: JSON.parse(await answer.text()), answer };
  };
  const me = (token: string) => get("/me", { authorization: `Bearer ${token}` });
  const usersWith = (email: string) =>
    t.app.db.selectFrom("users").select("id").where("email", "=", email).execute();

  describe("with a token of the old sign-in", () => {
    test("somebody new is made a user under the token's own id, once", async () => {
      const payload = claims();
      const token = await signed(payload);
      for (const { status, body } of await Promise.all([1, 2, 3, 4].map(() => me(token))))
        assert.deepEqual(
          [status, body.user?.id, body.user?.email],
          [200, payload.sub, payload.email],
        );
      assert.equal((await usersWith(String(payload.email))).length, 1);
      const { body } = await get("/auth/session", { authorization: `Bearer ${token}` });
      assert.equal(body.via, "supabase");
    });

    test("a user of the old sign-in is known by id, whatever address the token names", async () => {
      const { userId } = await t.signIn("ana@example.com");
      const { status, body } = await me(await signed(claims({ sub: userId })));
      assert.deepEqual([status, body.user.email], [200, "ana@example.com"]);
    });

    test("an address that a token only names does not open the day of the one who has it", async () => {
      const email = "jonas.weber@example.com";
      const token = await signed(claims({ email }));
      assert.equal((await me(token)).status, 200);
      const jonas = await t.signIn(email);
      assert.match(jonas.landedAt, /account_taken/);
      assert.equal(jonas.userId, "");
      await assert.rejects(getMailboxOwner(t.app, email), { code: "not_found" });
    });

    test("a new id with somebody else's address is refused, and makes nobody", async () => {
      await t.signIn("priya@example.com");
      const { status } = await me(await signed(claims({ email: "Priya@Example.com" })));
      assert.equal(status, 401);
      assert.equal((await usersWith("Priya@Example.com")).length, 0);
    });

    test("what is not good in every respect is refused, and makes nobody", async () => {
      const now = Math.floor(t.clock.now().getTime() / 1000);
      const { exp: _exp, ...endless } = claims();
      const { aud: _aud, ...unaddressed } = claims();
      const { sub: _sub, ...nameless } = claims();
      const { email: _email, ...withoutAddress } = claims();
      const before = await t.app.db.selectFrom("users").select("id").execute();
      const bad: Record<string, string> = {
        "another secret": await signed(claims(), "a-secret-of-somebody-else"),
        expired: await signed(claims({ exp: now - 60 })),
        "no expiry": await signed(endless),
        "not yet valid": await signed(claims({ nbf: now + 600 })),
        "another audience": await signed(claims({ aud: "anon" })),
        "no audience": await signed(unaddressed),
        "no subject": await signed(nameless),
        "a subject that is no id": await signed(claims({ sub: "-".repeat(36) })),
        "no address, and nobody known": await signed(withoutAddress),
        "no signature": new UnsecuredJWT(claims()).encode(),
        "the key server's public key as a shared secret": await signed(claims(), keys.publicText),
        "another key's id": await keys.sign(claims(), "unheard-of"),
        garbled: "gar.bled.token",
      };
      for (const [what, token] of Object.entries(bad)) {
        const { status, answer } = await me(token);
        assert.equal(status, 401, what);
        assert.equal(answer.headers.get("www-authenticate"), "Bearer", what);
      }
      assert.deepEqual(await t.app.db.selectFrom("users").select("id").execute(), before);
    });

    test("a token signed with the project's own key is accepted", async () => {
      const payload = claims();
      const { status, body } = await me(await keys.sign(payload));
      assert.deepEqual([status, body.user?.id], [200, payload.sub]);
    });

    test("keys that cannot be fetched are a failure of ours, not of the token", async () => {
      await using broken = await openKeyServer({ isBroken: true });
      const environment = { SUPABASE_JWKS_URL: broken.url };
      await using other = await openTestApp({ workers: false, environment });
      const authorization = `Bearer ${await broken.sign(claims())}`;
      const answer = await fetch(`${other.url}/api/v1/me`, { headers: { authorization } });
      assert.equal(answer.status, 503);
      assert.ok(answer.headers.get("retry-after"));
    });

    test("where it is not configured no such token counts", async () => {
      await using other = await openTestApp({ workers: false });
      const authorization = `Bearer ${await signed(claims())}`;
      const answer = await fetch(`${other.url}/api/v1/me`, { headers: { authorization } });
      assert.equal(answer.status, 401);
    });
  });

  test("the service key opens what is for operators, and no person's account", async () => {
    assert.equal((await t.asService("GET", "/api/v1/cron/runs")).status, 200);
    assert.equal((await t.asService("GET", "/api/v1/me")).status, 403);
    const unnamed = await t.asService("POST", "/api/v1/auth/google/token/refresh", {});
    assert.equal(unnamed.status, 422);
    assert.deepEqual(unnamed.body.errors[0].path, "body.user_id");
  });

  test("a person may not do what is for operators", async () => {
    const ana = await t.signIn("ana@example.com");
    assert.equal((await ana.call("GET", "/api/v1/cron/runs")).status, 403);
  });

  test("a bearer that is not good is not made up for by a good cookie", async () => {
    const ana = await t.signIn("ana@example.com");
    const { status } = await get("/me", { authorization: "Bearer stale", cookie: ana.cookie });
    assert.equal(status, 401);
  });

  test("a cookie changes things only from a page of ours, a bearer from anywhere", async () => {
    const ana = await t.signIn("ana@example.com");
    const post = async (headers: Record<string, string>) => {
      const url = `${t.url}/api/v1/auth/google/session`;
      const answer = await fetch(url, { method: "POST", headers });
      return { status: answer.status, body: JSON.parse(await answer.text()) };
    };
    const { cookie } = ana;
    const good = await post({ cookie, origin: t.url });
    assert.equal(good.status, 200);
    assert.equal((await post({ cookie, "sec-fetch-site": "same-origin" })).status, 200);
    for (const origin of ["https://elsewhere.example.net", "null", `${t.url}.example.net`])
      assert.equal((await post({ cookie, origin })).status, 403, origin);
    for (const site of ["cross-site", "same-site", "none"])
      assert.equal((await post({ cookie, "sec-fetch-site": site })).status, 403, site);
    assert.equal((await post({ cookie })).status, 403);
    const authorization = `Bearer ${good.body.token}`;
    assert.equal(
      (await post({ authorization, origin: "https://elsewhere.example.net" })).status,
      200,
    );
  });
});

/** What publishes the public key of an existing project, and the private one that it signs with. */
async function openKeyServer({ isBroken = false } = {}) {
  const { publicKey, privateKey } = await generateKeyPair("ES256");
  const key = { ...(await exportJWK(publicKey)), kid: "project", alg: "ES256", use: "sig" };
  const server = createServer((_request, response) => {
    response.writeHead(isBroken ? 500 : 200, { "content-type": "application/json" });
    response.end(JSON.stringify({ keys: [key] }));
  });
  const { promise, resolve } = Promise.withResolvers<string>();
  server.listen(0, "127.0.0.1", () => {
    const address = server.address();
    const port = typeof address === "object" && address ? address.port : 0;
    resolve(`http://127.0.0.1:${port}/auth/v1/.well-known/jwks.json`);
  });
  return {
    url: await promise,
    publicText: JSON.stringify(key),
    sign: (payload: JWTPayload, kid = key.kid) =>
      new SignJWT(payload).setProtectedHeader({ alg: "ES256", kid }).sign(privateKey),
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
