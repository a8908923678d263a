import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { type EndingEvent, type Fate, subTypes } from "./play.ts";
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
});
