import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { consent } from "../../sandbox/google/browser.ts";
import { days, minutes } from "../../sandbox/google/clock.ts";
import { openTestApp, type TestApp } from "../harness.ts";

const scope = (name: string) => `https://www.googleapis.com/auth/${name}`;

describe("signing in with Google", () => {
  let t: TestApp;
  before(async () => {
    t = await openTestApp();
  });
  after(() => t[Symbol.asyncDispose]());

  const begin = async (query = "") => {
    const answer = await fetch(`${t.url}/api/v1/auth/google/login${query}`, { redirect: "manual" });
    const cookie = answer.headers.getSetCookie()[0]?.split(";")[0] ?? "";
    return { google: answer.headers.get("location") ?? "", cookie };
  };
  const callback = async (url: URL, cookie: string) => {
    const answer = await fetch(url, { redirect: "manual", headers: { cookie } });
    return answer.headers.get("location") ?? "";
  };

  test("a new person is signed in, sees their account, and no answer carries a token", async () => {
    const ana = await t.signIn("ana@example.com");
    assert.equal(ana.landedAt, "/connections");
    const { status, body } = await ana.call("GET", "/api/v1/me");
    assert.equal(status, 200);
    assert.equal(body.user.email, "ana@example.com");
    assert.equal(body.connections.length, 1);
    assert.equal(body.connections[0].state, "active");
    assert.equal(body.connections[0].is_sign_in, true);
    assert.deepEqual(body.connections[0].missing_scopes, []);
    assert.doesNotMatch(JSON.stringify(body), /ya29|1\/\//);
  });

  test("tokens lie sealed in the database, each bound to its row", async () => {
    await t.signIn("ana@example.com");
    const rows = await t.app.db
      .selectFrom("connections")
      .select(["access_token", "refresh_token"])
      .execute();
    for (const { access_token, refresh_token } of rows) {
      assert.match(access_token ?? "", /^v1\.[0-9a-f]{8}\./);
      assert.match(refresh_token ?? "", /^v1\.[0-9a-f]{8}\./);
    }
  });

  test("signing in again is the same person, and keeps the refresh token that Google does not repeat", async () => {
    const first = await t.signIn("priya@example.com");
    const sealed = () =>
      t.app.db
        .selectFrom("connections")
        .select("refresh_token")
        .where("user_id", "=", first.userId)
        .executeTakeFirstOrThrow();
    const before = await sealed();
    const second = await t.signIn("priya@example.com");
    assert.equal(second.userId, first.userId);
    assert.deepEqual(await sealed(), before);
  });

  test("where Google repeats no refresh token and we have none, consent is asked once more", async () => {
    const { userId } = await t.signIn("jonas.weber@example.com");
    await t.app.db
      .updateTable("connections")
      .set({ refresh_token: null })
      .where("user_id", "=", userId)
      .execute();
    const again = await t.signIn("jonas.weber@example.com");
    const { body } = await again.call("GET", "/api/v1/me");
    assert.equal(again.userId, userId);
    assert.equal(body.connections[0].state, "active");
  });

  test("an unticked scope is recorded as missing, and signing in works all the same", async () => {
    const visitor = await t.signIn("zoe.lindqvist@example.org", {
      untick: [scope("gmail.readonly")],
    });
    const { body } = await visitor.call("GET", "/api/v1/me");
    assert.deepEqual(body.connections[0].missing_scopes, [scope("gmail.readonly")]);
    const mail = body.connections[0].capabilities.find(
      (one: { name: string }) => one.name === "gmail",
    );
    assert.equal(mail.granted, false);
  });

  test("who refuses at Google is told so, and nothing is kept", async () => {
    const { people } = t.google.state;
    people.push({ ...people[0]!, sub: "199000000000000000009", email: "wary@example.com" });
    const { google, cookie } = await begin();
    const back = await consent(google, { person: "wary@example.com", refuse: true });
    assert.equal(await callback(back, cookie), "/?sign_in_error=access_denied");
    const users = await t.app.db
      .selectFrom("users")
      .select("id")
      .where("email", "=", "wary@example.com")
      .execute();
    assert.deepEqual(users, []);
  });

  test("people who follow a link that cannot work are led back to a page that says why; programs get a problem", async () => {
    const go = (path: string, accept: string) =>
      fetch(`${t.url}/api/v1/auth/google/${path}`, { headers: { accept }, redirect: "manual" });
    const page = "text/html,application/xhtml+xml";
    for (const [path, reason, status] of [
      ["login?purpose=connect", "unauthenticated", 401],
      [`login?connection_id=${crypto.randomUUID()}`, "incomplete", 422],
      ["oauth/callback?state=short&code=x", "incomplete", 422],
      ["login?return_to=https://elsewhere.example.net", "incomplete", 422],
    ] as const) {
      const led = await go(path, page);
      assert.deepEqual(
        [led.status, led.headers.get("location")],
        [302, `/?sign_in_error=${reason}`],
        path,
      );
      if (path.startsWith("login"))
        assert.equal((await go(path, "application/json")).status, status);
    }
  });

  test("an account with an address that Google has not verified is not let in", async () => {
    const unverified = t.google.state.people.find(({ emailVerified }) => !emailVerified);
    assert.ok(unverified);
    const { google, cookie } = await begin();
    const back = await consent(google, { person: unverified.email });
    assert.equal(await callback(back, cookie), "/?sign_in_error=email_unverified");
  });

  test("a state that is tampered with, used, late, or of another browser is refused", async () => {
    const fresh = async () => {
      const { google, cookie } = await begin();
      return { back: await consent(google, { person: "ana@example.com" }), cookie };
    };
    const refused = "/?sign_in_error=not_begun_here";

    const tampered = await fresh();
    tampered.back.searchParams.set(
      "state",
      `${tampered.back.searchParams.get("state")?.slice(0, -2)}xx`,
    );
    assert.equal(await callback(tampered.back, tampered.cookie), refused);

    const foreign = await fresh();
    assert.equal(await callback(foreign.back, "daybook_sign_in=somebody-elses-browser"), refused);
    assert.equal(await callback(foreign.back, ""), refused);

    const used = await fresh();
    assert.equal(await callback(used.back, used.cookie), "/");
    assert.equal(await callback(used.back, used.cookie), refused);

    const late = await fresh();
    t.clock.advance(16 * minutes);
    assert.equal(await callback(late.back, late.cookie), refused);
  });

  test("a code that Google has seen before is refused with words", async () => {
    const { google, cookie } = await begin();
    const back = await consent(google, { person: "ana@example.com" });
    const first = await begin();
    await callback(back, cookie);
    const replay = new URL(first.google);
    const url = new URL(back);
    url.searchParams.set("state", replay.searchParams.get("state") ?? "");
    assert.equal(await callback(url, first.cookie), "/?sign_in_error=code_refused");
  });

  test("return_to leads nowhere but to a page of ours", async () => {
    for (const path of [
      "https://evil.example.net",
      "//evil.example.net",
      "/\\evil.example.net",
      "javascript:alert(1)",
    ]) {
      const answer = await fetch(
        `${t.url}/api/v1/auth/google/login?return_to=${encodeURIComponent(path)}`,
      );
      assert.equal(answer.status, 422, path);
    }
  });

  test("a verified address links to the user of the older product who has it", async () => {
    const { id } = await t.app.db
      .insertInto("users")
      .values({ email: "Lena.Fischer@Example.com", name: "Lena" })
      .returning("id")
      .executeTakeFirstOrThrow();
    t.google.state.people.push({
      sub: "199000000000000000001",
      email: "lena.fischer@example.com",
      emailVerified: true,
      name: "Lena Fischer",
      givenName: "Lena",
      familyName: "Fischer",
      hd: "example.com",
      isDisabled: false,
    });
    const lena = await t.signIn("lena.fischer@example.com");
    assert.equal(lena.userId, id);
  });

  test("an address that was given to a new person does not inherit the old one's account", async () => {
    const lena = t.google.state.people.find(({ email }) => email === "lena.fischer@example.com");
    assert.ok(lena);
    lena.sub = "199000000000000000002";
    const { google, cookie } = await begin();
    const back = await consent(google, { person: lena.email });
    assert.equal(await callback(back, cookie), "/?sign_in_error=account_taken");
  });

  test("a further account is connected beside the first, and an account that signs in somebody else is not", async () => {
    const ana = await t.signIn("ana@example.com");
    const { people } = t.google.state;
    people.push({
      ...people[0]!,
      sub: "199000000000000000003",
      email: "ana.private@example.org",
      hd: null,
    });
    assert.equal(await ana.connect("ana.private@example.org"), "/connections");
    const { body } = await ana.call("GET", "/api/v1/me");
    assert.deepEqual(
      body.connections.map(({ email, is_sign_in }: { email: string; is_sign_in: boolean }) => [
        email,
        is_sign_in,
      ]),
      [
        ["ana@example.com", true],
        ["ana.private@example.org", false],
      ],
    );
    assert.equal(await ana.connect("priya@example.com"), "/?sign_in_error=account_taken");
  });

  test("a bearer session may bring a code of its own consent, a cookie session may not", async () => {
    const sam = await t.signIn("ana@example.com");
    const session = await sam.call("POST", "/api/v1/auth/google/session");
    const codeFor = async () => {
      const url = new URL(`${t.google.url}/o/oauth2/v2/auth`);
      url.search = String(
        new URLSearchParams({
          client_id: t.google.client.id,
          redirect_uri: t.app.config.google.redirectUri,
          response_type: "code",
          scope: `openid email ${scope("calendar.readonly")}`,
          access_type: "offline",
          prompt: "consent",
        }),
      );
      return (await consent(url, { person: "ana@example.com" })).searchParams.get("code");
    };
    const exchange = (headers: Record<string, string>, code: string | null) =>
      fetch(`${t.url}/api/v1/auth/google/token/exchange`, {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: JSON.stringify({ code }),
      });
    const bearer = await exchange(
      { authorization: `Bearer ${session.body.token}` },
      await codeFor(),
    );
    assert.equal(bearer.status, 200);
    const cookie = await exchange({ cookie: sam.cookie, origin: t.url }, await codeFor());
    assert.equal(cookie.status, 403);
  });

  test("the old addresses answer in their old shapes, and hold to the browser that began", async () => {
    const { google, cookie } = await begin();
    const back = await consent(google, { person: "ana@example.com" });
    const login = (body: object, headers: Record<string, string> = {}) =>
      fetch(`${t.url}/functions/v1/google-oauth-login`, {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: JSON.stringify(body),
      });
    const code = back.searchParams.get("code");
    const bare = await login({ code });
    assert.equal(bare.status, 400);
    assert.deepEqual(await bare.json(), {
      success: false,
      error: "Missing or invalid state",
      message: "Failed to authenticate with Google",
    });
    const whole = await login({ code, state: back.searchParams.get("state") }, { cookie });
    const body = (await whole.json()) as Record<string, Record<string, string>> & {
      success: boolean;
    };
    assert.equal(body.success, true);
    assert.deepEqual([body.user?.email, body.user?.name], ["ana@example.com", "Ana Moreno"]);
    assert.match(String(body.user?.picture), /\/avatars\/\d+$/);
    const me = await fetch(`${t.url}/api/v1/me`, {
      headers: { authorization: `Bearer ${body.session?.access_token}` },
    });
    assert.equal(me.status, 200);
  });

  test("a session slides while it is used, ends when it is not, and at once when it is revoked", async () => {
    const ana = await t.signIn("ana@example.com");
    t.clock.advance(20 * days);
    assert.equal((await ana.call("GET", "/api/v1/auth/session")).status, 200);
    t.clock.advance(20 * days);
    assert.equal((await ana.call("GET", "/api/v1/auth/session")).status, 200);
    t.clock.advance(31 * days);
    assert.equal((await ana.call("GET", "/api/v1/auth/session")).status, 401);
    const again = await t.signIn("ana@example.com");
    assert.equal((await again.call("DELETE", "/api/v1/auth/session")).status, 204);
    assert.equal((await again.call("GET", "/api/v1/auth/session")).status, 401);
  });

  test("a cookie from a page of others changes nothing", async () => {
    const ana = await t.signIn("ana@example.com");
    const revoke = (headers: Record<string, string>) =>
      ana.call("POST", "/api/v1/auth/google/session", undefined, headers);
    assert.equal((await revoke({ origin: "https://evil.example.net" })).status, 403);
    assert.equal((await revoke({ origin: "null" })).status, 403);
    assert.equal((await revoke({})).status, 200);
  });
});
