import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { systemClock } from "../../lib/clock.ts";
import { ProviderError } from "../../lib/errors.ts";
import { secretText } from "../../lib/secrets.ts";
import { identify, openGoogleOAuth } from "./oauth.ts";
import { verifyPushToken } from "./pubsub.ts";

/** Google as far as it signs tokens. `broken` is answered in place of its keys. */
async function signing(context: TestContext) {
  const { publicKey, privateKey } = await generateKeyPair("RS256");
  const keys = JSON.stringify({
    keys: [{ ...(await exportJWK(publicKey)), kid: "k", alg: "RS256" }],
  });
  const google = { broken: null as { status: number; body: string } | null, userinfo: {} };
  const server = createServer(({ url, headers }, response) => {
    const isAllowed = url !== "/v1/userinfo" || headers.authorization === "Bearer access";
    response.statusCode = google.broken?.status ?? (isAllowed ? 200 : 401);
    const answer = url === "/v1/userinfo" ? JSON.stringify(google.userinfo) : keys;
    response.end(google.broken?.body ?? answer);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  context.after(() => server.close());
  const apiUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const client = { clientId: "client", clientSecret: secretText("secret"), apiUrl };
  const sign = (claims: object) =>
    new SignJWT({ sub: "1", email: "ana@example.com", email_verified: true, ...claims })
      .setProtectedHeader({ alg: "RS256", kid: "k" })
      .setIssuer(apiUrl)
      .setAudience("client")
      .setIssuedAt()
      .setExpirationTime("1h")
      .sign(privateKey);
  const grantOf = async (claims: object) => ({
    idToken: await sign(claims),
    accessToken: "access",
  });
  return { google, sign, grantOf, open: () => openGoogleOAuth(client, systemClock) };
}

test("what somebody is called, or that they are not, keeps nobody out", async (context) => {
  const { grantOf, open } = await signing(context);
  const named = async (name: unknown) =>
    (await identify(open(), await grantOf({ name }), null)).name;
  assert.equal(await named("Ana"), "Ana");
  assert.equal(await named(undefined), null);
  assert.equal(await named(null), null);
  assert.equal((await named("x".repeat(2000)))?.length, 500);
});

test("an address of any form that Google knows lets its person in", async (context) => {
  const { grantOf, open } = await signing(context);
  const addressed = async (email: string) =>
    (await identify(open(), await grantOf({ email }), null)).email;
  for (const email of ["r&d/ana#1@example.com", "ana@xn--mnchen-3ya.xn--p1ai", "zoë@example.com"])
    assert.equal(await addressed(email), email);
  for (const none of ["ana", "ana@", "ana bob@example.com"])
    await assert.rejects(addressed(none), ProviderError);
});

test("an address that the token does not name is asked for, and is that of the same account", async (context) => {
  const { google, grantOf, open } = await signing(context);
  const grant = await grantOf({ email: undefined, email_verified: undefined });
  google.userinfo = { sub: "1", email: "ana@example.com", email_verified: true, name: "Ana" };
  const { subject, email, emailVerified, name } = await identify(open(), grant, null);
  assert.deepEqual([subject, email, emailVerified, name], ["1", "ana@example.com", true, "Ana"]);
  for (const other of [{ sub: "2", email: "ana@example.com" }, { sub: "1" }, {}]) {
    google.userinfo = other;
    await assert.rejects(identify(open(), grant, null), ProviderError);
  }
});

test("where Google's keys cannot be had, a token is not called false", async (context) => {
  const { google, sign, open } = await signing(context);
  const token = await sign({});
  const expected = { audience: "client", serviceAccount: "ana@example.com" };
  const failureIs = (failure: string) => (error: unknown) =>
    error instanceof ProviderError && error.failure === failure;
  for (const broken of [
    { status: 503, body: "<html>" },
    { status: 200, body: "<html>" },
    { status: 200, body: "{}" },
  ]) {
    google.broken = broken;
    await assert.rejects(
      identify(open(), { idToken: token, accessToken: "a" }, null),
      failureIs("retry"),
    );
    await assert.rejects(verifyPushToken(open(), token, expected), failureIs("retry"));
  }
  google.broken = null;
  await verifyPushToken(open(), token, expected);
  const forged = `${token.slice(0, -9)}${token.at(-9) === "A" ? "B" : "A"}${token.slice(-8)}`;
  await assert.rejects(verifyPushToken(open(), forged, expected), failureIs("give_up"));
});
