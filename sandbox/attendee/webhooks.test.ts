import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, beforeEach, describe, test } from "node:test";
import { secretText } from "../../src/lib/secrets.ts";
import { isSignedByAttendee } from "../../src/providers/attendee-signature.ts";
import { canonical, dumps, Float } from "./python-json.ts";
import { type Hook, openTestClient, type TestClient } from "./test-client.ts";

describe("the webhooks of the sandbox's Attendee", () => {
  let t: TestClient;
  before(async () => {
    t = await openTestClient();
  });
  after(() => t[Symbol.asyncDispose]());
  beforeEach(async () => {
    await t.attendee.settled();
    t.attendee.bots.clear();
    t.attendee.delivered.length = 0;
    t.hooks.length = 0;
    t.listening.status = 204;
    Object.assign(t.attendee.settings, { loseNext: 0, times: 1, fates: [] });
  });

  const secret = () => Buffer.from(t.attendee.webhookSecret, "base64");
  const hmac = (text: string) => createHmac("sha256", secret()).update(text).digest("base64");
  const settled = async () => {
    await t.attendee.settled();
    return t.hooks;
  };

  test("are signed over Python's canonical JSON, which is not what is sent", async () => {
    const metadata = { "10": "ten", "9": "nüne", "\u{1f600}": "beyond", "\uffee": "within" };
    await t.create({ metadata, bot_name: "Protokoll" });
    t.pass(45);
    const hooks = await settled();
    assert.ok(hooks.length > 20);
    for (const { text, signature, headers } of hooks) {
      assert.equal(headers["user-agent"], "Attendee-Webhook/1.0");
      assert.equal(headers["content-type"], "application/json");
      assert.equal(hmac(canonicalOf(text)), signature);
      assert.equal(isSignedByAttendee(secretText(t.attendee.webhookSecret), signature, text), true);
      assert.equal(isSignedByAttendee(secretText("b3RoZXI="), signature, text), false);
      assert.notEqual(hmac(text), signature);
      assert.match(text, /^[\x20-\x7e]+$/, "all but ASCII is escaped on the wire");
    }
    const ended = hooks.find(({ body }) => body.data.new_state === "ended");
    assert.match(ended?.text ?? "", /"credits_consumed": 1\.0[,}]/);
    assert.match(canonicalOf(ended?.text ?? ""), /^\{"bot_id":.*"credits_consumed":1\.0[,}]/);
    assert.notEqual(hmac(JSON.stringify(ended?.body)), ended?.signature);
    assert.ok(Number.isInteger(ended?.body.data.event_metadata.bot_duration_seconds));
  });

  test("print numbers, keys and signs as Python does", () => {
    const value = new Map<string, unknown>([
      ["b", [new Float(1), new Float(0.25), 3, null, true]],
      ["10", "é\u2028/\u007f"],
      ["9", '"\\\n'],
    ]);
    assert.equal(
      canonical(value),
      '{"10":"é\u2028/\u007f","9":"\\"\\\\\\n","b":[1.0,0.25,3,null,true]}',
    );
    assert.equal(
      dumps(value),
      '{"b": [1.0, 0.25, 3, null, true], "10": "\\u00e9\\u2028/\\u007f", "9": "\\"\\\\\\n"}',
    );
  });

  test("tell each change with its own key for each address, and where the states lie", async () => {
    const { body } = await t.create({ metadata: { a: "b" } });
    const [one, two] = (await settled()).toSorted((a, b) => a.path.localeCompare(b.path));
    const { idempotency_key: key, ...told } = one?.body ?? {};
    assert.deepEqual(told, {
      bot_id: body.id,
      bot_metadata: { a: "b" },
      trigger: "bot.state_change",
      data: {
        new_state: "joining",
        old_state: "ready",
        created_at: told.data.created_at,
        event_type: "join_requested",
        event_sub_type: null,
        event_metadata: { source: "api" },
      },
    });
    assert.match(told.data.created_at, /^2027-03-01T10:\d\d:\d\d\.\d{6}\+00:00$/);
    assert.notEqual(key, two?.body.idempotency_key);
    assert.deepEqual(two?.body.data, told.data);
  });

  test("tell of speech without words, of messages, and of who came", async () => {
    await t.create();
    t.pass(20);
    const hooks = await settled();
    const first = (trigger: string): Hook["body"] =>
      hooks.find(({ body }) => body.trigger === trigger)?.body.data;
    assert.deepEqual(Object.keys(first("transcript.update").transcription), ["transcript"]);
    assert.equal(first("chat_messages.update").sender_name, "Ada Okafor");
    assert.equal(first("participant_events.join_leave").event_type, "join");
  });

  test("are tried three times with the same key, redirects not being followed, and then lost for good", async () => {
    for (const status of [500, 302]) {
      t.hooks.length = 0;
      t.attendee.bots.clear();
      t.listening.status = status;
      await t.create();
      const hooks = (await settled()).filter(({ path }) => path !== "/two");
      assert.deepEqual(new Set(hooks.map(({ path }) => path)), new Set(["/one"]));
      assert.deepEqual([hooks.length, new Set(hooks.map(({ text }) => text)).size], [3, 1]);
      t.listening.status = 204;
      t.pass(1);
      assert.equal((await settled()).filter(({ path }) => path === "/one").length, 3);
    }
  });

  test("tell what was understood only after the end, which is found by its update time", async () => {
    t.attendee.settings.transcriptLate = 60;
    const { body } = await t.create();
    t.pass(45);
    const bot = await t.bot(body.id);
    assert.deepEqual([bot.state, bot.transcription_state], ["ended", "in_progress"]);
    const before = (await settled()).length;
    const ended = t.clock.now().toISOString();
    t.pass(60);
    t.attendee.settings.transcriptLate = 0;
    const since = await t.call("GET", `/bots/${body.id}/transcript?updated_after=${ended}`);
    assert.equal(since.body.length, 4);
    assert.equal((await settled()).length - before, 8, "four of them, at two addresses");
    assert.equal((await t.bot(body.id)).transcription_state, "complete");
  });

  test("go to the bot's own addresses in the place of the project's, for what these are to hear", async () => {
    // Nothing listens there: three tries each are seen from here.
    const own = { url: "https://127.0.0.1:1/own", triggers: ["bot.state_change"] };
    await t.create({ webhooks: [own] });
    t.pass(45);
    assert.deepEqual(await settled(), []);
    const { delivered } = t.attendee;
    assert.deepEqual([...new Set(delivered.map(({ url }) => url))], [own.url]);
    assert.deepEqual([...new Set(delivered.map(({ trigger }) => trigger))], own.triggers);
    const keys = Map.groupBy(delivered, ({ key }) => key);
    assert.deepEqual(
      [...keys.values()].map((tries) => tries.length),
      [3, 3, 3, 3, 3, 3],
    );
    assert.ok(delivered.every(({ status }) => status === 0));
  });

  test("can be lost before they are sent, or come twice", async () => {
    t.attendee.settings.loseNext = 1;
    t.attendee.settings.times = 2;
    await t.create();
    const hooks = await settled();
    assert.deepEqual(
      hooks.map(({ path }) => path),
      ["/two", "/two"],
    );
    assert.equal(hooks[0]?.text, hooks[1]?.text);
  });

  test("are not sent of what is deleted", async () => {
    const joinAt = new Date(t.clock.now().getTime() + 3_600_000).toISOString();
    const { body } = await t.create({ join_at: joinAt });
    await t.call("DELETE", `/bots/${body.id}`);
    assert.deepEqual(await settled(), []);
  });
});

/**
 * Python's `json.dumps(json.loads(text), sort_keys=True, ensure_ascii=False, separators=(",", ":"))`, written anew and unlike
 * the one under test: numbers are hidden in strings while JavaScript parses, and keys keep out of its order in pairs.
 */
function canonicalOf(text: string): string {
  const guarded = text.replace(/"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g, (token) =>
    token.startsWith('"') ? `"s${token.slice(1)}` : `"n${token}"`,
  );
  const print = (value: unknown): string => {
    if (typeof value === "string") {
      return value.startsWith("n") ? value.slice(1) : JSON.stringify(value.slice(1));
    }
    if (Array.isArray(value)) return `[${value.map(print).join(",")}]`;
    if (value === null || typeof value !== "object") return String(value);
    const points = (key: string) => [...key].map((sign) => sign.codePointAt(0) ?? 0);
    const entries = Object.entries(value).sort(([one], [other]) => {
      const [left, right] = [points(one), points(other)];
      const at = left.findIndex((point, index) => point !== right[index]);
      return at < 0 ? left.length - right.length : (left[at] ?? 0) - (right[at] ?? -1);
    });
    return `{${entries.map(([key, item]) => `${print(key)}:${print(item)}`).join(",")}}`;
  };
  return print(JSON.parse(guarded));
}
