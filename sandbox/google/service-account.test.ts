import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { JWT } from "google-auth-library";
import { importPKCS8, type JWTPayload, SignJWT } from "jose";
import { openSandboxGoogle, type SandboxGoogle } from "./server.ts";
import { post, scope } from "./test-client.ts";

let google: SandboxGoogle;
before(async () => {
  google = await openSandboxGoogle();
  await google.listen();
});
after(() => google[Symbol.asyncDispose]());
beforeEach(() => google.state.reset());

const bearer = "urn:ietf:params:oauth:grant-type:jwt-bearer";

test("Google's own library gets a token for a service account, alone and in a person's name", async () => {
  for (const subject of [undefined, "priya@example.com"]) {
    const { email, privateKey: key, keyId } = google.serviceAccount;
    const client = new JWT({
      email,
      key,
      keyId,
      scopes: [scope.drive],
      ...(subject ? { subject } : {}),
    });
    redirect(client);
    const { token } = await client.getAccessToken();
    assert.match(token ?? "", /^ya29\./);
    const tokeninfo = await fetch(`${google.url}/tokeninfo?access_token=${token}`);
    const { sub } = JSON.parse(await tokeninfo.text());
    assert.equal(sub, subject ? "102771930485562019387" : google.serviceAccount.clientId);
  }
});

test("a good assertion is answered with an access token and nothing that lasts", async () => {
  const { status, body } = await send({ scope: scope.drive });
  assert.equal(status, 200);
  assert.deepEqual(
    Object.keys(body).filter((name) => body[name] !== ""),
    ["access_token", "expires_in", "token_type"],
  );
});

test("a clock five minutes off is forgiven, one two hours off is not", async () => {
  const now = google.clock.now().getTime() / 1000;
  assert.equal((await send({ scope: scope.drive, iat: now + 290, exp: now + 3600 })).status, 200);
  const wrong: JWTPayload[] = [
    { iat: now + 7200, exp: now + 10_800 },
    { iat: now - 7200, exp: now - 3600 },
    { iat: now, exp: now + 7200 },
  ];
  for (const times of wrong) {
    const { status, body } = await send({ scope: scope.drive, ...times });
    assert.deepEqual([status, body.error], [400, "invalid_grant"]);
    assert.match(body.error_description ?? "", /short-lived token/);
  }
});

test("a scope that is not known yields an ID token and no access token", async () => {
  const { status, body } = await send({
    scope: `${scope.drive} https://www.googleapis.com/auth/nonsense`,
  });
  assert.equal(status, 200);
  assert.equal(body.access_token, undefined);
  assert.notEqual(body.id_token, "");
});

test("delegation reaches the people of a Workspace domain, for the delegated scopes", async () => {
  const cases: [JWTPayload, number, string | undefined][] = [
    [{ scope: scope.gmail, sub: "ana@example.com" }, 200, undefined],
    [
      { scope: "https://www.googleapis.com/auth/drive", sub: "ana@example.com" },
      401,
      "unauthorized_client",
    ],
    [{ scope: scope.gmail, sub: "sam@example.org" }, 401, "unauthorized_client"],
    [{ scope: scope.gmail, sub: "nobody@example.com" }, 400, "invalid_grant"],
  ];
  for (const [claims, status, error] of cases) {
    const answer = await send(claims);
    assert.deepEqual([answer.status, answer.body.error], [status, error], JSON.stringify(claims));
  }
});

test("a bad assertion is refused with the error that Google gives", async () => {
  const other = await openSandboxGoogle();
  const forged = await signed({ scope: scope.drive }, other.serviceAccount.privateKey);
  await other[Symbol.asyncDispose]();
  const cases: [string, string, RegExp][] = [
    [forged, "invalid_grant", /Signature/],
    [
      await signed({ scope: scope.drive, iss: "nobody@example.com" }),
      "invalid_grant",
      /account not found/,
    ],
    [
      await signed({ scope: scope.drive, aud: "https://example.com/token" }),
      "invalid_grant",
      /audience/,
    ],
    [await signed({}), "invalid_scope", /scope/],
    ["not a token", "invalid_request", /Bad Request/],
  ];
  for (const [assertion, error, text] of cases) {
    const { status, body } = await post(`${google.url}/token`, { grant_type: bearer, assertion });
    assert.deepEqual([status, body.error], [400, error]);
    assert.match(body.error_description ?? "", text);
  }
});

async function send(claims: JWTPayload) {
  return post(`${google.url}/token`, { grant_type: bearer, assertion: await signed(claims) });
}

async function signed(
  claims: JWTPayload,
  privateKey = google.serviceAccount.privateKey,
): Promise<string> {
  const { email, keyId } = google.serviceAccount;
  const now = Math.floor(google.clock.now().getTime() / 1000);
  const usual = {
    iss: email,
    aud: "https://oauth2.googleapis.com/token",
    iat: now,
    exp: now + 3600,
  };
  return new SignJWT({ ...usual, ...claims })
    .setProtectedHeader({ alg: "RS256", typ: "JWT", kid: keyId })
    .sign(await importPKCS8(privateKey, "RS256"));
}

// The library posts to Google's own host, whatever its options say.
function redirect(client: JWT): void {
  client.transporter.interceptors.request.add({
    resolved: async (request) => {
      request.url = new URL(`${google.url}${new URL(request.url).pathname}`);
      return request;
    },
  });
}
