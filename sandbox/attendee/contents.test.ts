import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { hours } from "../google/clock.ts";
import type { Scene } from "./play.ts";
import { openTestClient, type TestClient } from "./test-client.ts";

describe("what a bot of the sandbox hears", () => {
  let t: TestClient;
  let usual: TestClient["attendee"]["settings"];
  before(async () => {
    t = await openTestClient();
    usual = { ...t.attendee.settings };
  });
  after(() => t[Symbol.asyncDispose]());
  beforeEach(async () => {
    await t.attendee.settled();
    t.attendee.bots.clear();
    t.hooks.length = 0;
    Object.assign(t.attendee.settings, usual);
  });
  const create = async (more = {}) => (await t.create(more)).body.id as string;
  const post = (id: string, path: string, body: unknown = {}) =>
    t.call("POST", `/bots/${id}/${path}`, body);
  const get = async (id: string, path: string) => (await t.call("GET", `/bots/${id}/${path}`)).body;

  test("is captions that are rewritten in place, in order and without empty ones", async () => {
    const say = (after: number, text: string): Scene => {
      return { after, does: "say", who: "Kim Sørensen", text, seconds: 2 };
    };
    t.attendee.settings.play = [
      say(3.25, "Later than it looks"),
      say(1, "One two three four"),
      say(5, ""),
    ];
    const id = await create();
    t.pass(3);
    const [begun, ...none] = await get(id, "transcript");
    assert.deepEqual([begun.transcription, none], [{ transcript: "One two three" }, []]);
    assert.equal(begun.timestamp_ms, t.clock.now().getTime() - 500);
    t.pass(1);
    const between = t.clock.now();
    t.pass(1);
    const since = async (time: Date) =>
      (await get(id, `transcript?updated_after=${time.toISOString()}`)).map(
        ({ transcription }: { transcription: { transcript: string } }) => transcription.transcript,
      );
    assert.deepEqual(await since(between), ["One two three four", "Later than it"]);
    const [{ timestamp_ms }] = await get(id, "transcript");
    assert.equal(timestamp_ms, begun.timestamp_ms);
    assert.deepEqual(await since(new Date(timestamp_ms + 2_000)), ["Later than it"]);
    t.pass(10);
    const whole = await get(id, "transcript");
    assert.deepEqual(
      whole.map((one: typeof begun) => [one.transcription.transcript, one.duration_ms]),
      [
        ["One two three four", 2_000],
        ["Later than it looks", 2_000],
      ],
    );
    assert.match((await get(id, "transcript?updated_after=noon")).error, /^Invalid updated_after/);
    assert.equal((await t.call("DELETE", `/bots/${id}/transcript`)).status, 200);
    assert.deepEqual(await get(id, "transcript"), []);
  });

  test("includes the chat while it records or pauses, its own greeting, and an edited message once more", async () => {
    const chat = (after: number, text: string, to?: "only_bot"): Scene => {
      return { after, does: "chat", who: "Kim Sørensen", text, ...(to ? { to } : {}) };
    };
    t.attendee.settings.play = [
      chat(0.1, "Before the recording"),
      chat(2, "Frist", "only_bot"),
      { after: 3, does: "edit", who: "Kim Sørensen", text: "First" },
      chat(6, "While paused"),
      chat(20, "The end"),
    ];
    const id = await create({ bot_chat_message: { message: "Hello" } });
    t.pass(5);
    await post(id, "pause_recording");
    t.pass(4);
    const messages = (await get(id, "chat_messages")).results;
    assert.deepEqual(
      messages.map((one: Record<string, unknown>) => [one.sender_name, one.text, one.to]),
      [
        ["Minutes", "Hello", "everyone"],
        ["Kim Sørensen", "First", "only_bot"],
        ["Kim Sørensen", "While paused", "everyone"],
      ],
    );
    const { timestamp, timestamp_ms, id: messageId } = messages[1];
    assert.equal(timestamp, Math.floor(timestamp_ms / 1000));
    await t.attendee.settled();
    const told = t.hooks.filter(({ path, body }) => path === "/one" && body.data.id === messageId);
    assert.deepEqual(told.map(({ body }) => body.data.text).sort(), ["First", "Frist"]);
    assert.notEqual(told[0]?.body.idempotency_key, told[1]?.body.idempotency_key);
    const after = new Date(timestamp_ms).toISOString();
    assert.equal((await get(id, `chat_messages?updated_after=${after}`)).results.length, 1);
  });

  test("includes what it writes itself, checked field by field, a moment later", async () => {
    const id = await create();
    const write = async (body: unknown) => {
      const { status, body: answer } = await post(id, "send_chat_message", body);
      return [status, Object.keys(answer)];
    };
    assert.deepEqual(await write({ message: "x" }), [400, ["error"]]);
    t.pass(4);
    assert.deepEqual(await write({}), [400, ["message"]]);
    assert.deepEqual(await write({ message: "x".repeat(10_001) }), [400, ["message"]]);
    assert.deepEqual(await write({ message: "👋" }), [400, ["message"]]);
    assert.deepEqual(await write({ message: "x", to: "host" }), [400, ["to"]]);
    assert.deepEqual(await write({ message: "x", to: "specific_user" }), [400, ["to_user_uuid"]]);
    assert.deepEqual(await write({ message: "x", to_user_uuid: "y" }), [400, ["to_user_uuid"]]);
    const unknown = { message: "x", to: "specific_user", to_user_uuid: "nobody" };
    assert.deepEqual(await write(unknown), [400, ["error"]]);
    assert.deepEqual(await write({ ...unknown, to_user_uuid: "device-kim" }), [200, []]);
    assert.deepEqual((await get(id, "chat_messages")).results, []);
    t.pass(1);
    assert.equal((await get(id, "chat_messages")).results.length, 1);
  });

  test("names everybody but the bot, and who came and went by when it was noted", async () => {
    const id = await create();
    t.pass(12);
    const { results } = await get(id, "participants");
    assert.deepEqual(Object.keys(results[0]), ["id", "name", "uuid", "user_uuid", "is_host"]);
    const names = async (query: string) =>
      (await get(id, `participants?${query}`)).results.map(({ name }: { name: string }) => name);
    assert.deepEqual(await names("is_host=true"), ["Robin Miller"]);
    assert.deepEqual(await names("is_host=false"), ["Kim Sørensen", "Ada Okafor"]);
    assert.deepEqual(await names(`id=${results[2].id}`), ["Ada Okafor"]);
    assert.match((await get(id, "participants?is_host=maybe")).error, /^Invalid is_host value/);
    const [first, second, third] = (await get(id, "participant_events")).results;
    const at = (ms: number) => new Date(ms).toISOString();
    const between = `after=${at(first.timestamp_ms)}&before=${at(third.timestamp_ms)}`;
    assert.deepEqual((await get(id, `participant_events?${between}`)).results, [second]);
    assert.deepEqual(second.event_data, {});
    t.pass(40);
    const still = (await get(id, "participants")).results;
    assert.deepEqual(still, results, "leaving makes nobody another");
  });

  test("is a recording that opens by its link for 30 minutes, once it is uploaded", async () => {
    t.attendee.settings.uploadAfter = 60;
    const id = await create();
    t.pass(40);
    const missing = await t.call("GET", `/bots/${id}/recording`);
    assert.deepEqual(
      [missing.status, missing.body],
      [404, { error: "No recording file found for bot" }],
    );
    t.pass(60);
    const { url, start_timestamp_ms } = await get(id, "recording");
    assert.ok(url.startsWith(`${t.site}/recordings/${id}.wav?expires=`));
    const sound = await fetch(url);
    assert.deepEqual([sound.status, sound.headers.get("content-type")], [200, "audio/wav"]);
    const bytes = Buffer.from(await sound.arrayBuffer());
    assert.equal(bytes.toString("latin1", 0, 4) + bytes.toString("latin1", 8, 12), "RIFFWAVE");
    assert.ok(bytes.length > 50_000 && bytes.length < 200_000);
    // As loud as somebody speaks, and silent where nobody does.
    const [firstWords] = await get(id, "transcript");
    const loudest = (fromMs: number, toMs: number) =>
      Math.max(
        ...bytes.subarray(44 + fromMs * 4, 44 + toMs * 4).map((sample) => Math.abs(sample - 128)),
      );
    const begin = firstWords.timestamp_ms - start_timestamp_ms;
    assert.equal(loudest(0, begin), 0);
    assert.equal(loudest(begin, begin + 1_000), 10);
    assert.equal((await fetch(url.replace(/.$/, "_"))).status, 403);
    assert.equal((await fetch(url.replace(/expires=\d/, "expires=9"))).status, 403);
    t.clock.advance(hours / 2);
    const late = await fetch(url);
    assert.equal(late.status, 403);
    assert.match(await late.text(), /Request has expired/);
    assert.equal((await fetch((await get(id, "recording")).url)).status, 200);
    const unrecorded = await create({ recording_settings: { format: "none" } });
    t.pass(100);
    assert.equal((await t.call("GET", `/bots/${unrecorded}/recording`)).status, 404);
  });

  test("is gone for good when its data is deleted, which only the end allows", async () => {
    const id = await create();
    t.pass(10);
    const early = await post(id, "delete_data");
    assert.match(early.body.error, /^Event data_deleted not allowed when bot is in state joined_/);
    t.pass(30);
    assert.equal((await post(id, "delete_data")).body.state, "data_deleted");
    t.pass(10);
    assert.deepEqual(await get(id, "transcript"), []);
    for (const path of ["chat_messages", "participants", "participant_events"]) {
      assert.deepEqual((await get(id, path)).results, [], path);
    }
    assert.equal((await t.call("GET", `/bots/${id}/recording`)).status, 404);
    assert.equal((await post(id, "delete_data")).status, 400);
  });

  test("comes 25 at a time, but for the transcript, which comes whole", async () => {
    const who = "Kim Sørensen";
    t.attendee.settings.play = Array.from({ length: 30 }, (_, n): Scene[] => [
      { after: 1 + n / 10, does: n % 2 === 0 ? "join" : "leave", who },
      { after: 1 + n / 10, does: "chat", who, text: `Message ${n}` },
      { after: 1 + n / 10, does: "say", who, text: `Sentence ${n}`, seconds: 1 },
    ]).flat();
    const id = await create();
    t.pass(10);
    for (const path of ["chat_messages", "participant_events"]) {
      const first = await get(id, path);
      const second = (await t.call("GET", first.next)).body;
      assert.deepEqual([first.results.length, second.results.length], [25, 5], path);
      const all = [...first.results, ...second.results];
      assert.equal(new Set(all.map((one: { id: string }) => one.id)).size, 30);
      assert.equal(second.next, null);
    }
    assert.equal((await get(id, "transcript")).length, 30);
  });
});
