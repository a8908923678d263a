import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { after, before, beforeEach, test } from "node:test";
import { createLocalJWKSet, jwtVerify } from "jose";
import { jwksOf, rotateKeys } from "./keys.ts";
import { openSandboxGoogle, type SandboxGoogle } from "./server.ts";
import { clientOf, post, redirectUri, refresh, scope, signIn } from "./test-client.ts";

let google: SandboxGoogle;
before(async () => {
  google = await openSandboxGoogle({ redirectUris: [redirectUri] });
  await google.listen();
});
after(() => google[Symbol.asyncDispose]());
beforeEach(() => google.state.reset());

test("after a rotation new tokens carry the new key and old ones verify for a day", async () => {
  const { id_token: old } = await signIn(google);
  const kid = await rotateKeys(google.state);
  const { id_token: fresh } = await signIn(google);
  assert.equal((await verified(fresh)).protectedHeader.kid, kid);
  await verified(old);

  google.clock.advance(25 * 3_600_000);
  assert.deepEqual(
    (await jwksOf(google.state)).keys.map((key) => key.kid),
    [kid],
  );
});

test("a rotation that forgets leaves old tokens without a key", async () => {
  const { id_token: old } = await signIn(google);
  await rotateKeys(google.state, { forget: true });
  await assert.rejects(verified(old), /no applicable key/);
});

test("the certificates hold the same keys, and say how long to keep them", async () => {
  const answer = await fetch(`${google.url}/oauth2/v1/certs`);
  assert.match(answer.headers.get("cache-control") ?? "", /max-age=\d+/);
  const certificates = Object.entries<string>(JSON.parse(await answer.text()));
  const { keys } = await jwksOf(google.state);
  assert.deepEqual(
    certificates.map(([kid]) => kid),
    keys.map(({ kid }) => kid),
  );
  for (const [, pem] of certificates) {
    const certificate = new X509Certificate(pem);
    assert.ok(certificate.verify(certificate.publicKey));
  }
});

test("userinfo tells what the scopes allow, under the names of either version", async () => {
  const { access_token: token } = await signIn(google, { person: "sam@example.org" });
  const now = await get("/v1/userinfo", token);
  assert.equal(now.body.sub, "100836251947730582146");
  assert.equal(now.body.email_verified, false);
  assert.equal(now.body.family_name, undefined);
  const legacy = await get("/oauth2/v2/userinfo", token);
  assert.equal(legacy.body.id, now.body.sub);
  assert.equal(legacy.body.verified_email, false);
  assert.equal(legacy.body.sub, undefined);

  const { access_token: narrow } = await signIn(
    google,
    { person: "ana@example.com" },
    { scope: ["openid"] },
  );
  assert.deepEqual(Object.keys((await get("/v1/userinfo", narrow)).body), ["sub", "hd"]);
});

test("an API refuses a missing, unknown or expired token with 401, and a missing scope with 403", async () => {
  for (const token of [undefined, "ya29.nonsense"]) {
    const { status, body } = await get("/v1/userinfo", token);
    assert.equal(status, 401);
    assert.equal(body.error.errors[0].reason, "authError");
  }
  const { access_token: token } = await signIn(
    google,
    { person: "ana@example.com" },
    { scope: [scope.calendar] },
  );
  const { status, body } = await get("/v1/userinfo", token);
  assert.equal(status, 403);
  assert.equal(body.error.errors[0].reason, "insufficientPermissions");
  assert.equal(body.error.details[0].reason, "ACCESS_TOKEN_SCOPE_INSUFFICIENT");

  const { access_token: expiring } = await signIn(google);
  google.clock.advance(3_598_000);
  assert.equal((await get("/v1/userinfo", expiring)).status, 200);
  google.clock.advance(2_000);
  assert.equal((await get("/v1/userinfo", expiring)).status, 401);
});

test("Google's own library reads tokeninfo", async () => {
  const { access_token: token, id_token: idToken } = await signIn(google);
  const told = await clientOf(google).getTokenInfo(token ?? "");
  assert.equal(told.aud, google.client.id);
  assert.equal(told.email, "ana@example.com");
  assert.ok(told.scopes.includes(scope.gmail));
  const identity = JSON.parse(
    await (await fetch(`${google.url}/tokeninfo?id_token=${idToken}`)).text(),
  );
  assert.equal(identity.email_verified, "true");
  assert.equal(
    (await post(`${google.url}/tokeninfo`, { access_token: "ya29.nonsense" })).status,
    400,
  );
});

test("revoking any token of a grant ends all of them, once", async () => {
  const { access_token: token, refresh_token: lasting } = await signIn(google);
  const other = await signIn(google, { person: "priya@example.com" });
  assert.equal((await post(`${google.url}/revoke`, { token: token ?? "" })).status, 200);
  assert.deepEqual((await refresh(google, lasting)).body, {
    error: "invalid_grant",
    error_description: "Token has been expired or revoked.",
    id_token: "",
    scope: "",
  });
  assert.equal((await get("/v1/userinfo", token)).status, 401);
  assert.equal((await post(`${google.url}/revoke`, { token: token ?? "" })).status, 400);
  assert.equal((await refresh(google, other.refresh_token)).status, 200);
  assert.ok((await signIn(google)).refresh_token, "the consent page is shown again");
});

test("Google's own library revokes by the query", async () => {
  const { refresh_token: lasting } = await signIn(google);
  await clientOf(google).revokeToken(lasting ?? "");
  assert.equal((await refresh(google, lasting)).body.error, "invalid_grant");
});

test("every token of a disabled account is dead", async () => {
  const { access_token: token, refresh_token: lasting } = await signIn(google);
  google.state.people[0]!.isDisabled = true;
  assert.equal((await get("/v1/userinfo", token)).status, 401);
  assert.equal((await refresh(google, lasting)).body.error, "invalid_grant");
});

async function verified(token: string | null | undefined) {
  const jwks = createLocalJWKSet(await jwksOf(google.state));
  return jwtVerify(token ?? "", jwks, { issuer: google.url, currentDate: google.clock.now() });
}

async function get(path: string, token: string | null | undefined) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const answer = await fetch(`${google.url}${path}`, { headers });
  return { status: answer.status, body: JSON.parse(await answer.text()) };
}
