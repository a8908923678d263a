import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { hours } from "../google/clock.ts";
import { type EndingEvent, type Fate, type Scene, subTypes } from "./play.ts";
import { openTestClient, type TestClient, teams } from "./test-client.ts";

describe("a bot in the sandbox's meetings", () => {
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
    Object.assign(t.attendee.settings, usual, { fates: [] });
  });
  const create = async (more = {}) => (await t.create(more)).body.id as string;
  const send = async (fate: Fate, more = {}) => {
    t.attendee.settings.fates = [["", fate]];
    return create(more);
  };
  const historyOf = async (id: string) =>
    (await t.bot(id)).events.map(({ type, sub_type }: { type: string; sub_type?: string }) =>
      sub_type ? `${type}/${sub_type}` : type,
    );
  const post = (id: string, path: string, body: unknown = {}) =>
    t.call("POST", `/bots/${id}/${path}`, body);
  const get = async (id: string, path: string) => (await t.call("GET", `/bots/${id}/${path}`)).body;
  const changes = async (id: string) => {
    await t.attendee.settled();
    return t.hooks.filter(
      ({ path, body }) =>
        path === "/one" && body.bot_id === id && body.trigger === "bot.state_change",
    );
  };
  const into = async (id: string, state: string) =>
    (await changes(id)).find(({ body }) => body.data.new_state === state)?.body.data;

  test("goes through its states, the transcript being final at the end", async () => {
    const id = await create();
    t.pass(3);
    const during = await t.bot(id);
    assert.deepEqual([during.state, during.recording_state], ["joined_recording", "in_progress"]);
    assert.equal(during.transcription_state, "not_started");
    t.pass(40);
    const { state, recording_state, transcription_state } = await t.bot(id);
    assert.deepEqual(
      [state, recording_state, transcription_state],
      ["ended", "complete", "complete"],
    );
    assert.deepEqual(await historyOf(id), [
      "join_requested",
      "joined_meeting",
      "recording_permission_granted",
      "leave_requested/auto_leave_only_participant_in_meeting",
      "left_meeting",
      "post_processing_completed",
    ]);
  });

  test("ends with transcription not_started where nobody spoke, and with failed but text where it failed", async () => {
    const silent = await send("silent");
    t.pass(40);
    const { recording_state, transcription_state } = await t.bot(silent);
    assert.deepEqual([recording_state, transcription_state], ["complete", "not_started"]);
    assert.deepEqual(await get(silent, "transcript"), []);
    t.attendee.settings.transcriptionFails = true;
    const failed = await send("plays");
    t.pass(40);
    assert.equal((await t.bot(failed)).transcription_state, "failed");
    assert.equal((await get(failed, "transcript")).length, 5);
    assert.ok(Array.isArray((await into(failed, "ended")).event_metadata.transcription_errors));
  });

  test("ends in every way that has a name, by its event and sub type", async () => {
    const endOf = {
      could_not_join_meeting: "fatal_error",
      leave_requested: "ended",
      recording_permission_denied: "joined_recording_permission_denied",
      fatal_error: "fatal_error",
    };
    for (const type of Object.keys(subTypes) as EndingEvent[]) {
      for (const sub_type of subTypes[type]) {
        const id = await send({ type, sub_type });
        t.pass(12);
        assert.equal((await t.bot(id)).state, endOf[type], sub_type);
        assert.ok((await historyOf(id)).includes(`${type}/${sub_type}`));
      }
    }
  });

  test("waits to be let in, is refused by a named person on Teams, or is given up after 15 minutes", async () => {
    const waiting = await send("waits");
    t.pass(2);
    assert.equal((await t.bot(waiting)).state, "waiting_room");
    t.pass(6);
    assert.equal((await t.bot(waiting)).state, "joined_recording");
    const denied = await send("denied", { meeting_url: teams });
    t.pass(6);
    const refusal = await into(denied, "fatal_error");
    assert.equal(refusal.event_sub_type, "request_to_join_denied");
    assert.equal(refusal.event_metadata.remover_name, "Robin Miller");
    const ignored = await send("ignored");
    t.pass(899);
    assert.equal((await t.bot(ignored)).state, "waiting_room");
    t.pass(2);
    assert.deepEqual(
      (await historyOf(ignored)).at(-1),
      "could_not_join_meeting/waiting_room_timeout_exceeded",
    );
  });

  test("that somebody removes sees nobody else leave; where the host ends it for all, everybody leaves", async () => {
    const removed = await send("removed", { meeting_url: teams });
    const ended = await send("ends");
    t.pass(30);
    const leaves = async (id: string) =>
      (await get(id, "participant_events")).results.filter(
        ({ event_type }: { event_type: string }) => event_type === "leave",
      ).length;
    assert.deepEqual([await leaves(removed), await leaves(ended)], [0, 3]);
    for (const id of [removed, ended]) {
      assert.deepEqual((await historyOf(id)).slice(-2), [
        "meeting_ended",
        "post_processing_completed",
      ]);
    }
    assert.deepEqual((await into(removed, "post_processing")).event_metadata, {
      remover_name: "Robin Miller",
      remover_uuid: "device-robin",
      remover_user_uuid: null,
      remover_is_host: true,
    });
    assert.deepEqual((await into(ended, "post_processing")).event_metadata, {});
  });

  test("goes into a breakout room and back to the state that its recording implies, hearing nothing on the way", async () => {
    const id = await send("breakout");
    t.pass(7.5);
    assert.equal((await t.bot(id)).state, "joining_breakout_room");
    assert.equal((await post(id, "pause_recording")).status, 400);
    assert.equal((await post(id, "send_chat_message", { message: "x" })).status, 400);
    t.pass(2);
    assert.equal((await t.bot(id)).state, "joined_recording");
    await post(id, "pause_recording");
    t.pass(6);
    const { state, recording_state } = await t.bot(id);
    assert.deepEqual([state, recording_state], ["joined_recording_paused", "paused"]);
    assert.deepEqual((await historyOf(id)).slice(3), [
      "began_joining_breakout_room",
      "joined_breakout_room",
      "recording_paused",
      "began_leaving_breakout_room",
      "left_breakout_room",
    ]);
    assert.deepEqual((await post(id, "leave")).body.state, "leaving");
  });

  test("pauses and resumes where it can, or refuses and does it a moment later", async () => {
    const id = await create();
    const early = await post(id, "pause_recording");
    assert.deepEqual(early.body, { error: "Bot is in state joining and cannot pause recording" });
    t.pass(3);
    assert.equal((await post(id, "pause_recording")).body.state, "joined_recording_paused");
    const again = await post(id, "pause_recording");
    assert.match(again.body.error, /^Bot is in state joined_recording_paused and cannot pause/);
    t.pass(3);
    assert.deepEqual(await get(id, "transcript"), [], "nothing is heard meanwhile");
    assert.equal((await post(id, "resume_recording")).body.state, "joined_recording");
    t.attendee.settings.stubbornNext = 1;
    const stubborn = await post(id, "pause_recording");
    assert.deepEqual(stubborn.body, { error: "Unable to pause recording" });
    assert.equal((await t.bot(id)).state, "joined_recording");
    t.pass(2);
    assert.equal((await t.bot(id)).state, "joined_recording_paused");
  });

  test("hears captions that are rewritten in place, in order and without empty ones", async () => {
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

  test("reads the chat only while it records or pauses, greets by its own name, and tells an edited message again", async () => {
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

  test("writes into the chat what it is given, checked field by field, and delivers it a moment later", async () => {
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

  test("lists who is there but itself, and who came and went by when it was noted", async () => {
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

  test("has a recording that opens by its link for 30 minutes, once it is uploaded", async () => {
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

  test("loses its data for good when that is deleted, which only the end allows", async () => {
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
});
