import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { systemClock } from "../../lib/clock.ts";
import { ProviderError } from "../../lib/errors.ts";
import { secretText } from "../../lib/secrets.ts";
import { openGoogleOAuth, verifyIdToken } from "./oauth.ts";
import { verifyPushToken } from "./pubsub.ts";

/** Google as far as it signs tokens. `broken` is answered in place of its keys. */
async function signing(context: TestContext) {
  const { publicKey, privateKey } = await generateKeyPair("RS256");
  const keys = JSON.stringify({
    keys: [{ ...(await exportJWK(publicKey)), kid: "k", alg: "RS256" }],
  });
  const google = { broken: null as { status: number; body: string } | null };
  const server = createServer((_request, response) => {
    response.statusCode = google.broken?.status ?? 200;
    response.end(google.broken?.body ?? keys);
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
  return { google, sign, open: () => openGoogleOAuth(client, systemClock) };
}

test("what somebody is called, or that they are not, keeps nobody out", async (context) => {
  const { sign, open } = await signing(context);
  const named = async (name: unknown) =>
    (await verifyIdToken(open(), await sign({ name }), null)).name;
  assert.equal(await named("Ana"), "Ana");
  assert.equal(await named(undefined), null);
  assert.equal(await named(null), null);
  assert.equal((await named("x".repeat(2000)))?.length, 500);
});

test("an address of any form that Google knows lets its person in", async (context) => {
  const { sign, open } = await signing(context);
  const addressed = async (email: string) =>
    (await verifyIdToken(open(), await sign({ email }), null)).email;
  for (const email of ["r&d/ana#1@example.com", "ana@xn--mnchen-3ya.xn--p1ai", "zoë@example.com"])
    assert.equal(await addressed(email), email);
  for (const none of ["ana", "ana@", "ana bob@example.com"])
    await assert.rejects(addressed(none), ProviderError);
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
    await assert.rejects(verifyIdToken(open(), token, null), failureIs("retry"));
    await assert.rejects(verifyPushToken(open(), token, expected), failureIs("retry"));
  }
  google.broken = null;
  await verifyPushToken(open(), token, expected);
  const forged = `${token.slice(0, -9)}${token.at(-9) === "A" ? "B" : "A"}${token.slice(-8)}`;
  await assert.rejects(verifyPushToken(open(), forged, expected), failureIs("give_up"));
});
