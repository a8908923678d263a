import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";
import { openTestApp, type TestApp, testEnvironment } from "./harness.ts";

describe("doctor", () => {
  let t: TestApp;
  before(async () => {
    t = await openTestApp({ workers: false });
  });
  after(() => t[Symbol.asyncDispose]());

  const doctor = async (more: Record<string, string>) => {
    const place = { url: t.url, port: 4400, database: t.database, environment: more };
    const child = spawn(process.execPath, ["src/main.ts", "doctor"], {
      env: { PATH: process.env.PATH, ...testEnvironment(t.google, place) },
    });
    let text = "";
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (chunk) => {
        text += String(chunk);
      });
    const [code] = await once(child, "exit");
    return { code, text };
  };

  test("finds nothing wrong with a healthy set-up", async () => {
    const { code, text } = await doctor({});
    assert.equal(code, 0, text);
    for (const subject of ["configuration", "database", "queue", "mail", "Google", "public URL"]) {
      assert.ok(text.includes(subject), `${subject} is looked at`);
    }
    assert.match(text, /database: PostgreSQL \d\d/);
  });

  test("says in plain words what is wrong with three things at once, and how to mend each", async () => {
    const { code, text } = await doctor({
      GOOGLE_CLIENT_SECRET: "not-the-secret",
      DATABASE_URL: "postgresql://daybook@127.0.0.1:1/daybook",
      PUBLIC_URL: "https://127.0.0.1:1",
    });
    assert.equal(code, 1);
    assert.match(text, /Google refuses GOOGLE_CLIENT_ID or GOOGLE_CLIENT_SECRET: copy both anew/);
    assert.match(text, /Check DATABASE_URL/);
    assert.match(text, /https:\/\/127\.0\.0\.1:1\/live does not answer.*is the server running/);
    assert.ok(!text.includes("not-the-secret"));
  });

  test("asks the model's provider whether the key and the model are good", async () => {
    const base = { OPENAI_API_KEY: t.openai.key, OPENAI_BASE_URL: t.openai.url };
    assert.match((await doctor(base)).text, /gpt-4o-mini drafts metadata/);
    const unknown = await doctor({ ...base, OPENAI_MODEL: "gpt-0" });
    assert.deepEqual([unknown.code, /check OPENAI_MODEL/.test(unknown.text)], [1, true]);
    const refused = await doctor({ ...base, OPENAI_API_KEY: "sk-wrong" });
    assert.deepEqual([refused.code, /refuses OPENAI_API_KEY/.test(refused.text)], [1, true]);
    assert.ok(!refused.text.includes("sk-wrong"));
  });

  test("says what of the workflow is missing, and that Redis is not there", async () => {
    const { code, text } = await doctor({
      N8N_CLASSIFICATION_WEBHOOK_URL: "https://n8n.example.com/webhook/1",
      N8N_WEBHOOK_SECRET: "",
      REDIS_URL: "redis://127.0.0.1:1",
    });
    assert.equal(code, 1);
    assert.match(text, /BAD {2}workflow: N8N_WEBHOOK_SECRET is missing/);
    assert.match(text, /BAD {2}Redis: .*check REDIS_URL/);
  });

  test("names every variable that is wrong, in one message", async () => {
    const { code, text } = await doctor({
      PORT: "many",
      SERVICE_KEY: "short",
      GOOGLE_CLIENT_ID: "",
    });
    assert.equal(code, 1);
    for (const name of ["PORT", "SERVICE_KEY", "GOOGLE_CLIENT_ID", ".env.example"]) {
      assert.ok(text.includes(name), `${name} is named`);
    }
  });

  test("says what of Pub/Sub is only half set up", async () => {
    const topic = { GOOGLE_PUBSUB_TOPIC: "projects/one/topics/gmail" };
    const cases: [Record<string, string>, RegExp][] = [
      [{ GOOGLE_PUBSUB_SERVICE_ACCOUNT: "push@one.example.com" }, /GOOGLE_PUBSUB_TOPIC is missing/],
      [{ ...topic, GOOGLE_PROJECT_ID: "two" }, /is in one, the OAuth client in two/],
      [topic, /set PUBLIC_URL, or GOOGLE_PUBSUB_SUBSCRIPTION/],
      [{ ...topic, PUBLIC_URL: t.url }, /GOOGLE_PUBSUB_SERVICE_ACCOUNT is missing/],
    ];
    for (const [environment, expected] of cases) {
      const { code, text } = await doctor(environment);
      assert.equal(code, 1, text);
      assert.match(text, expected);
    }
  });

  test("names the cause of grants that die after a week, and the cure", async () => {
    const died = t.clock.now();
    const rows = [1, 2, 3, 4, 5].map(() => ({
      connection_id: crypto.randomUUID(),
      died_at: died,
      consented_at: new Date(died.getTime() - 7 * 86_400_000),
      had_lived_days: 7,
    }));
    await t.app.db.insertInto("grant_deaths").values(rows).execute();
    const { code, text } = await doctor({});
    assert.equal(code, 1);
    assert.match(text, /Testing/);
  });
});
