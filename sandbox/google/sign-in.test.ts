import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, beforeEach, test } from "node:test";
import { createRemoteJWKSet, jwtVerify } from "jose";
import { openBrowser } from "./browser.ts";
import { openSandboxGoogle, type SandboxGoogle } from "./server.ts";
import {
  allScopes,
  clientOf,
  getCode,
  post,
  redirectUri,
  refresh,
  scope,
  signIn,
} from "./test-client.ts";

let google: SandboxGoogle;
before(async () => {
  google = await openSandboxGoogle({ redirectUris: [redirectUri] });
  await google.listen();
});
after(() => google[Symbol.asyncDispose]());
beforeEach(() => google.state.reset());

const ana = { person: "ana@example.com" };

test("a sign-in with PKCE gives tokens, long scopes, and an ID token with the nonce", async () => {
  const { code, codeVerifier, answer } = await getCode(google, ana, { nonce: "n1" });
  assert.match(code, /^4\/0A/);
  assert.equal(answer.get("state"), "a state with spaces & signs");
  assert.equal(answer.get("hd"), "example.com");

  const { tokens } = await clientOf(google).getToken({ code, codeVerifier });
  assert.match(tokens.access_token ?? "", /^ya29\./);
  assert.match(tokens.refresh_token ?? "", /^1\/\/0/);
  const granted = ["openid", ...Object.values(scope)];
  assert.deepEqual(new Set(tokens.scope?.split(" ")), new Set(granted));

  const jwks = createRemoteJWKSet(new URL(`${google.url}/oauth2/v3/certs`));
  const { payload } = await jwtVerify(tokens.id_token ?? "", jwks, {
    issuer: google.url,
    audience: google.client.id,
  });
  assert.equal(payload.nonce, "n1");
  assert.equal(payload.email, "ana@example.com");
  assert.equal(payload.email_verified, true);
  assert.equal(payload.hd, "example.com");
  assert.equal(payload.name, "Ana Moreno");
});

test("Google's own library accepts the ID token by the certificates", async () => {
  const { id_token: idToken } = await signIn(google);
  const ticket = await clientOf(google).verifyIdToken({
    idToken: idToken ?? "",
    audience: google.client.id,
  });
  assert.equal(ticket.getPayload()?.email, "ana@example.com");
});

test("a wrong or missing verifier is refused, and the right one still works", async () => {
  const { code, codeVerifier } = await getCode(google, ana);
  for (const wrong of ["w".repeat(43), "short", ""]) {
    const { status, body } = await redeem({ code, code_verifier: wrong });
    assert.equal(status, 400);
    assert.equal(body.error, "invalid_grant");
  }
  assert.equal((await redeem({ code, code_verifier: codeVerifier })).status, 200);
});

test("without a method the challenge is the verifier itself", async () => {
  const verifier = "v".repeat(43);
  const url = authUrl({ code_challenge: verifier });
  const code = (await openBrowser().consent(url, ana)).searchParams.get("code") ?? "";
  assert.equal((await redeem({ code, code_verifier: verifier })).status, 200);
});

test("a code works once, for ten minutes, with its own redirect URI and client", async () => {
  const used = await getCode(google, ana);
  const good = { code: used.code, code_verifier: used.codeVerifier };
  assert.equal(
    (await redeem({ ...good, redirect_uri: `${redirectUri}/` })).body.error,
    "invalid_grant",
  );
  assert.equal((await redeem(good)).status, 200);
  assert.deepEqual(
    [(await redeem(good)).status, (await redeem(good)).body.error],
    [400, "invalid_grant"],
  );

  const late = await getCode(google, ana);
  google.clock.advance(10 * 60_000);
  assert.equal(
    (await redeem({ code: late.code, code_verifier: late.codeVerifier })).body.error,
    "invalid_grant",
  );
});

test("a refresh token comes only offline and only when the consent page was shown", async () => {
  assert.equal((await signIn(google, ana, { access_type: "online" })).refresh_token, undefined);
  google.state.reset();
  assert.ok((await signIn(google, ana)).refresh_token);
  assert.equal((await signIn(google, ana)).refresh_token, undefined);
  assert.ok((await signIn(google, ana, { prompt: "consent" })).refresh_token);
});

test("a refresh gives a new access token, an ID token without nonce, and no refresh token", async () => {
  const first = await signIn(google, ana, { nonce: "n1" });
  const { status, body } = await refresh(google, first.refresh_token);
  assert.equal(status, 200);
  assert.equal(body.expires_in, 3599);
  assert.notEqual(body.access_token, first.access_token);
  assert.equal(body.refresh_token, undefined);
  const claims = JSON.parse(Buffer.from(body.id_token.split(".")[1] ?? "", "base64url").toString());
  assert.equal(claims.nonce, undefined);
});

test("a scope that was left unticked is not granted, and a later consent can take one away", async () => {
  const first = await signIn(google, { ...ana, untick: [scope.drive] });
  assert.ok(!first.scope?.includes(scope.drive));
  assert.ok(first.scope?.includes(scope.calendar));
  await signIn(google, { ...ana, untick: [scope.calendar] }, { prompt: "consent" });
  const { body } = await refresh(google, first.refresh_token);
  assert.ok(!body.scope.includes(scope.calendar));
});

test("whoever refuses comes back with access_denied and the state", async () => {
  const { answer } = await getCode(google, { ...ana, refuse: true });
  assert.equal(answer.get("error"), "access_denied");
  assert.equal(answer.get("state"), "a state with spaces & signs");
  assert.equal(google.state.grants.size, 0);
});

test("include_granted_scopes brings back what was granted before", async () => {
  await signIn(google, ana, { scope: ["openid", scope.calendar] });
  const without = await signIn(google, ana, { scope: ["openid", scope.drive] });
  assert.ok(!without.scope?.includes(scope.calendar));
  const together = await signIn(google, ana, {
    scope: ["openid", scope.gmail],
    include_granted_scopes: true,
  });
  assert.deepEqual(together.scope?.split(" "), [
    scope.calendar,
    scope.drive,
    scope.gmail,
    "openid",
  ]);
});

test("prompt=none answers without a page, or says which one it would need", async () => {
  const browser = openBrowser();
  const silently = async (more: Record<string, string> = {}) => {
    const url = authUrl({ prompt: "none", scope: `openid ${scope.calendar}`, ...more });
    return (await browser.consent(url, ana)).searchParams;
  };
  assert.equal((await silently()).get("error"), "login_required");
  await browser.consent(authUrl({ scope: "openid" }), ana);
  assert.equal((await silently()).get("error"), "consent_required");
  await browser.consent(authUrl({ scope: `openid ${scope.calendar}` }), ana);
  assert.ok((await silently()).get("code"));
  await browser.consent(authUrl({ scope: "openid" }), { person: "priya@example.com" });
  assert.equal((await silently()).get("error"), "account_selection_required");
  assert.ok((await silently({ login_hint: "ana@example.com" })).get("code"));
});

test("a login hint for somebody signed in skips the choice of an account", async () => {
  const browser = openBrowser();
  await browser.consent(authUrl(), ana);
  const hinted = authUrl({ login_hint: google.state.people[0]!.sub });
  // Nobody of that name is offered anywhere, so no account can have been chosen.
  assert.ok(
    (await browser.consent(hinted, { person: "nobody@example.com" })).searchParams.get("code"),
  );
  await assert.rejects(
    browser.consent(authUrl(), { person: "nobody@example.com" }),
    /does not offer/,
  );
});

test("what is wrong with a request is shown on Google's page and not sent to the app", async () => {
  const cases: [Record<string, string | null>, number, RegExp][] = [
    [{ client_id: null }, 400, /invalid_request/],
    [{ client_id: "nobody" }, 401, /invalid_client/],
    [{ redirect_uri: null }, 400, /invalid_request/],
    [{ redirect_uri: `${redirectUri}/` }, 400, /redirect_uri_mismatch/],
    [{ redirect_uri: redirectUri.toUpperCase() }, 400, /redirect_uri_mismatch/],
    [{ response_type: null }, 400, /Missing required parameter: response_type/],
    [{ response_type: "token" }, 400, /invalid_request/],
    [{ scope: null }, 400, /Missing required parameter: scope/],
    [{ scope: "openid https://www.googleapis.com/auth/nonsense" }, 400, /invalid_scope/],
    [{ prompt: "none consent" }, 400, /prompt/],
    [{ access_type: "sometimes" }, 400, /access_type/],
    [{ code_challenge: "short" }, 400, /code_challenge/],
    [{ code_challenge: "c".repeat(64), code_challenge_method: "S256" }, 400, /code_challenge/],
    [{ code_challenge_method: "S256" }, 400, /code_challenge/],
  ];
  for (const [change, status, text] of cases) {
    const answer = await fetch(authUrl(change), { redirect: "manual" });
    assert.equal(answer.status, status, JSON.stringify(change));
    assert.match(await answer.text(), text);
  }
  const twice = await fetch(`${authUrl()}&state=1&state=2`, { redirect: "manual" });
  assert.match(await twice.text(), /single value: state/);
});

test("the pages escape what they are sent", async () => {
  const answer = await fetch(authUrl({ state: `"><script>alert(1)</script>` }));
  assert.ok(!(await answer.text()).includes("<script>"));
  assert.match(answer.headers.get("content-security-policy") ?? "", /default-src 'none'/);
});

test("the token endpoint names what is wrong with the client or the request", async () => {
  const { refresh_token: token } = await signIn(google);
  const { id, secret } = google.client;
  const good = {
    grant_type: "refresh_token",
    refresh_token: token ?? "",
    client_id: id,
    client_secret: secret,
  };
  const cases: [Record<string, string>, number, string][] = [
    [{ client_id: "nobody" }, 401, "invalid_client"],
    [{ client_secret: "wrong" }, 401, "invalid_client"],
    [{ client_secret: "" }, 400, "invalid_request"],
    [{ refresh_token: "1//0nonsense" }, 400, "invalid_grant"],
    [{ refresh_token: "" }, 400, "invalid_request"],
    [{ grant_type: "password" }, 400, "unsupported_grant_type"],
    [{ grant_type: "" }, 400, "invalid_request"],
    [{ scope: "https://www.googleapis.com/auth/drive" }, 400, "invalid_scope"],
  ];
  for (const [change, status, error] of cases) {
    const answer = await post(`${google.url}/token`, { ...good, ...change });
    assert.deepEqual([answer.status, answer.body.error], [status, error], JSON.stringify(change));
  }
});

test("a client may say who it is by HTTP Basic", async () => {
  const { refresh_token: token } = await signIn(google);
  const answer = await fetch(`${google.url}/token`, {
    method: "POST",
    headers: { authorization: `Basic ${btoa(`${google.client.id}:${google.client.secret}`)}` },
    body: new URLSearchParams({ grant_type: "refresh_token", refresh_token: token ?? "" }),
  });
  assert.equal(answer.status, 200);
});

test("of more than 100 refresh tokens of an account at a client the oldest dies silently", async () => {
  const browser = openBrowser();
  const again = { prompt: "consent", login_hint: ana.person };
  const first = await signIn(google, ana, again, browser);
  const second = await signIn(google, ana, again, browser);
  for (let count = 2; count <= 100; count += 1) await signIn(google, ana, again, browser);
  assert.equal((await refresh(google, first.refresh_token)).body.error, "invalid_grant");
  assert.equal((await refresh(google, second.refresh_token)).status, 200);
});

test("in Testing a grant dies seven days after consent, however often it is used", async () => {
  google.state.clients[0]!.publishing = "testing";
  const wide = await signIn(google);
  const narrow = await signIn(
    google,
    { person: "sam@example.org" },
    { scope: ["openid", "email"] },
  );
  google.clock.advance(6.9 * 86_400_000);
  assert.equal((await refresh(google, wide.refresh_token)).status, 200);
  google.clock.advance(0.2 * 86_400_000);
  assert.equal((await refresh(google, wide.refresh_token)).body.error, "invalid_grant");
  assert.equal((await refresh(google, narrow.refresh_token)).status, 200);
  assert.ok((await signIn(google)).refresh_token, "the consent page is shown again");
  assert.equal((await signIn(google)).refresh_token, undefined, "and then no more");
});

test("a refresh token that nobody uses for half a year dies", async () => {
  const { refresh_token: token } = await signIn(google);
  google.clock.advance(181 * 86_400_000);
  assert.equal((await refresh(google, token)).body.error, "invalid_grant");
});

test("mounted under a path of another server, it prints addresses below that path", async () => {
  const outer = createServer();
  await new Promise<void>((resolve) => outer.listen(0, "127.0.0.1", resolve));
  const address = outer.address();
  const port = typeof address === "object" ? address?.port : 0;
  const baseUrl = `http://127.0.0.1:${port}/sandbox/google`;
  const mounted = await openSandboxGoogle({ baseUrl, redirectUris: [redirectUri] });
  outer.on("request", mounted.handler);
  try {
    const discovery = await (await fetch(`${baseUrl}/.well-known/openid-configuration`)).text();
    assert.ok(discovery.includes(`"issuer":"${baseUrl}"`));
    assert.ok(discovery.includes(`"token_endpoint":"${baseUrl}/token"`));
    const { tokens } = await getCode(mounted, ana).then((given) =>
      clientOf(mounted).getToken(given),
    );
    assert.equal((await refresh(mounted, tokens.refresh_token)).status, 200);
  } finally {
    await mounted[Symbol.asyncDispose]();
    outer.closeAllConnections();
    outer.close();
  }
});

function authUrl(changes: Record<string, string | null> = {}): string {
  const usual = {
    client_id: google.client.id,
    redirect_uri: redirectUri,
    response_type: "code",
    scope: allScopes.join(" "),
  };
  const fields = Object.entries({ ...usual, ...changes }).filter(
    (field): field is [string, string] => field[1] !== null,
  );
  return `${google.url}/o/oauth2/v2/auth?${new URLSearchParams(fields)}`;
}

function redeem(form: Record<string, string>) {
  const { id, secret } = google.client;
  const usual = {
    grant_type: "authorization_code",
    redirect_uri: redirectUri,
    client_id: id,
    client_secret: secret,
  };
  return post(`${google.url}/token`, { ...usual, ...form });
}
