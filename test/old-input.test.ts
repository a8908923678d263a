import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { openTestApp, type TestApp, type Visitor } from "./harness.ts";

// What `fetch` with a text, `curl -d`, a form, a guess, and programs that say nothing send along.
const labels = [
  "application/json",
  "text/plain;charset=UTF-8",
  "application/x-www-form-urlencoded",
  "multipart/form-data; boundary=x",
  "json",
  null,
];

describe("a body at an old address", () => {
  let t: TestApp;
  let ana: Visitor;
  before(async () => {
    t = await openTestApp({ workers: false });
    ana = await t.signIn("ana@example.com");
  });
  after(() => t[Symbol.asyncDispose]());

  type Sending = { label: string | null; text: string; headers: Record<string, string> };
  const send = async (path: string, { label, text, headers }: Sending, method = "POST") => {
    const answer = await fetch(`${t.url}${path}`, {
      method,
      headers: { ...headers, ...(label === null ? {} : { "content-type": label }) },
      // Bytes, to which `fetch` gives no label of its own.
      body: Buffer.from(text),
    });
    return { status: answer.status, text: await answer.text() };
  };
  const byCookie = (origin: string) => ({ cookie: ana.cookie, origin });
  const byService = () => ({ authorization: `Bearer ${t.app.config.serviceKey.reveal()}` });

  for (const label of labels) {
    test(`is read as JSON where it is called ${label ?? "nothing"}`, async () => {
      const path = "/functions/v1/google-calendar-webhook/notify";
      const headers = byService();
      const text = JSON.stringify({ state: "test", userId: ana.userId });
      const read = await send(path, { label, text, headers });
      assert.equal(read.status, 200, read.text);
      // A page of ours may send it by cookie as well: the code was read, and only the state is missing.
      const byPage = await send("/functions/v1/exchange-google-token", {
        ...{ label, headers: byCookie(t.url) },
        text: JSON.stringify({ code: "a-code" }),
      });
      assert.equal(JSON.parse(byPage.text).error, "Missing or invalid state");
      for (const broken of ["username=ana", '{"username":', '{"__proto__":{}}']) {
        const { status, text } = await send(path, { label, text: broken, headers });
        assert.deepEqual([status, JSON.parse(text).error], [400, "The body is not valid JSON"]);
      }
      const large = await send(path, { label, text: `"${"x".repeat(1_048_576)}"`, headers });
      assert.equal(large.status, 413);
    });

    test(`is not looked at by what the clock starts, where it is called ${label ?? "nothing"}`, async () => {
      const crons = ["attendee", "calendar", "drive", "gmail"].map(
        (name) => `${name}-polling-cron`,
      );
      const others = [
        ...["refresh-google-token", "renew-calendar-watches", "renew-calendar-webhooks/auto-renew"],
        ...["attendee-service/poll-all", "attendee-polling-service"],
      ];
      for (const name of [...crons, ...crons.map((name) => `${name}/now`), ...others]) {
        for (const text of ["", "{}", "a=b", '{"', "[1]"]) {
          const sending = { label, text, headers: byService() };
          const answer = await send(`/functions/v1/${name}`, sending);
          assert.equal(answer.status, 200, `${name} with ${text}: ${answer.text}`);
        }
      }
    });
  }

  test("is taken at every path where the old function took it", async () => {
    const post = async (path: string, body: object = {}) => {
      const text = JSON.stringify(body);
      const sending = { label: "application/json", text, headers: byCookie(t.url) };
      return (await send(`/functions/v1/${path}`, sending)).text;
    };
    for (const path of ["set-username", "set-username/", "set-username/a/b?c=/d"])
      assert.match(await post(path), /"Username is required"/, path);
    const wish = { userId: ana.userId, service: "none" };
    for (const path of ["", "/", "/all"])
      assert.match(
        await post(`enhanced-adaptive-sync-service${path}`, wish),
        /"success":true/,
        path,
      );
    for (const path of ["send-chat", "bots/send-chat"])
      assert.match(await post(`attendee-proxy/${path}`), /Missing bot_id or message/, path);
    for (const path of ["attendee-proxy/send-chat/", "attendee-proxy/a/b", "unknown/send-chat"])
      assert.match(await post(path), /"status":404/, path);
  });

  test("of a page of somebody else is refused under every label, by every address that a cookie opens", async () => {
    type Description = { paths: Record<string, Record<string, { security: object[] }>> };
    const answer = await fetch(`${t.url}/openapi.json`);
    const addresses = Object.entries(((await answer.json()) as Description).paths)
      .filter(([path]) => path.startsWith("/functions/v1/"))
      .flatMap(([path, methods]) =>
        Object.entries(methods).map(([method, { security }]) => ({
          path: path.replace(/\{\w+\}/g, "x"),
          method: method.toUpperCase(),
          isForUsers: security.some((way) => "session" in way),
        })),
      )
      .filter(({ method, isForUsers }) => method !== "GET" && isForUsers);
    assert.ok(addresses.length > 20);
    const { cookie } = ana;
    const elsewhere = [
      { cookie, origin: "https://elsewhere.example.net" },
      { cookie, origin: "null" },
      { cookie, "sec-fetch-site": "cross-site" },
      { cookie, "sec-fetch-site": "same-site" },
      { cookie },
    ];
    for (const { method, path } of addresses) {
      for (const label of labels) {
        for (const headers of elsewhere) {
          const { status } = await send(path, { label, text: "{}", headers }, method);
          assert.equal(status, 403, `${method} ${path} ${label} ${JSON.stringify(headers)}`);
        }
      }
    }
  });

  test("of a page of somebody else neither signs in nor wishes for anything where all may call", async () => {
    for (const label of labels) {
      const headers = byCookie("https://elsewhere.example.net");
      const consent = { code: "a-code", state: "a-state" };
      const signIn = await send("/functions/v1/google-oauth-login", {
        ...{ label, headers },
        text: JSON.stringify(consent),
      });
      assert.equal(signIn.status, 400, signIn.text);
      const wish = await send("/functions/v1/google-calendar-webhook/notify", {
        ...{ label, headers },
        text: JSON.stringify({ userId: ana.userId, state: "sync", resourceId: "primary" }),
      });
      assert.equal(wish.status, 401, wish.text);
    }
  });

  test("elsewhere has to be called JSON still", async () => {
    const text = JSON.stringify({ name: "New" });
    for (const label of labels.slice(1)) {
      const { status } = await send("/api/v1/projects", { label, text, headers: byCookie(t.url) });
      assert.equal(status, 415, String(label));
    }
  });
});
