import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { minutes } from "../google/clock.ts";
import { openTestClient, type TestClient } from "./test-client.ts";

describe("the gate of the sandbox's Attendee", () => {
  let t: TestClient;
  before(async () => {
    t = await openTestClient();
  });
  after(() => t[Symbol.asyncDispose]());
  beforeEach(() => {
    t.attendee.bots.clear();
    t.clock.advance(2 * minutes);
  });
  const refusalOf = async (method: string, path: string, body?: unknown) => {
    const answer = await t.call(method, path, body);
    return [answer.status, answer.body];
  };

  test("fails and loses answers as it is told to: before anything happens, and after all of it has", async () => {
    t.attendee.settings.failNext = [503, 409];
    const broken = await t.create();
    assert.deepEqual([broken.status, broken.body], [503, "<h1>Server Error</h1>"]);
    assert.equal((await t.create()).status, 409);
    assert.equal(t.attendee.bots.size, 0);
    t.attendee.settings.cutNext = 1;
    await assert.rejects(t.create());
    assert.equal(t.attendee.bots.size, 1);
    const { asked } = t.attendee;
    assert.deepEqual(
      asked.slice(-3).map(({ method, path, status }) => [method, path, status]),
      [503, 409, 201].map((status) => ["POST", "/bots", status]),
    );
  });

  test("says what is wrong with a key in three sentences, and names its scheme", async () => {
    const ask = async (authorization?: string) => {
      const headers = authorization === undefined ? {} : { authorization };
      const answer = await fetch(`${t.attendee.url}/bots`, { headers });
      assert.equal(answer.headers.get("www-authenticate"), answer.ok ? null : "Token");
      return [answer.status, ((await answer.json()) as { detail?: string }).detail];
    };
    const form = "Invalid Authorization header. Should have this format: Token <api_key>";
    assert.deepEqual(await ask(), [401, "Missing Authorization header"]);
    assert.deepEqual(await ask(`Bearer ${t.attendee.key}`), [401, form]);
    assert.deepEqual(await ask(`Token ${t.attendee.key} more`), [401, form]);
    assert.deepEqual(await ask("Token wrong"), [401, "Invalid or disabled API key"]);
    assert.deepEqual(await ask(`tOKEN ${t.attendee.key}`), [200, undefined]);
  });

  test("knows which paths, methods and bodies are none of its own", async () => {
    assert.deepEqual(await refusalOf("GET", "/robots"), [404, { error: "Not found" }]);
    assert.deepEqual(await refusalOf("GET", "/bots/"), [404, { error: "Not found" }]);
    const unknown = [404, { error: "Bot not found" }];
    for (const [method, path] of [
      ["GET", ""],
      ["PATCH", ""],
      ["DELETE", ""],
      ["POST", "/leave"],
      ["GET", "/transcript"],
      ["GET", "/recording"],
    ] as const) {
      const body = method === "GET" ? undefined : {};
      assert.deepEqual(await refusalOf(method, `/bots/bot_none${path}`, body), unknown);
    }
    const detail = (method: string) => ({ detail: `Method "${method}" not allowed.` });
    assert.deepEqual(await refusalOf("PUT", "/bots", {}), [405, detail("PUT")]);
    assert.deepEqual(await refusalOf("DELETE", "/bots/x/leave"), [405, detail("DELETE")]);
    const send = (body: string, type = "application/json") =>
      fetch(`${t.attendee.url}/bots`, {
        method: "POST",
        headers: { authorization: `Token ${t.attendee.key}`, "content-type": type },
        body,
      });
    const broken = await send("{broken");
    assert.equal(broken.status, 400);
    assert.match(((await broken.json()) as { detail: string }).detail, /^JSON parse error - /);
    const list = await send("[]");
    assert.deepEqual(await list.json(), {
      non_field_errors: ["Invalid data. Expected a dictionary, but got list."],
    });
    assert.equal((await send("bot_name=x", "application/x-www-form-urlencoded")).status, 415);
    const health = await fetch(`${t.site}/health/`);
    assert.deepEqual([health.status, await health.text()], [200, ""]);
    assert.equal(typeof (await t.call("GET", `${t.site}/version/`)).body.version, "string");
  });

  test("counts what makes and steers, and asks with Retry-After for a pause; all else goes on", async () => {
    t.attendee.settings.postsPerMinute = 2;
    const { body } = await t.create();
    t.pass(20);
    await t.call("POST", `/bots/${body.id}/pause_recording`, {});
    const refused = await t.call("POST", `/bots/${body.id}/resume_recording`, {});
    assert.deepEqual(
      [refused.status, refused.headers.get("retry-after"), refused.body],
      [429, "40", { detail: "Request was throttled. Expected available in 40 seconds." }],
    );
    assert.equal((await t.create({ bot_name: "" })).status, 429, "before anything is read");
    assert.equal((await t.call("PATCH", `/bots/${body.id}`, {})).status, 200);
    assert.equal((await t.call("GET", `/bots/${body.id}`)).status, 200);
    assert.equal((await t.call("POST", `/bots/${body.id}/leave`, {})).status, 200);
    t.pass(40);
    assert.equal((await t.create()).status, 201);
  });
});
