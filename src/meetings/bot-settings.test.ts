import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BotConfiguration, configurationOf, settingsOf } from "./bot-settings.ts";

const wishes = {
  bot_name: "Kirit Notetaker",
  bot_chat_message: "Hi, I'm here to transcribe this meeting!",
  preferred_name: null,
  preferred_greeting: null,
  preferred_language: null,
  preferred_recording: null,
};

test("a bot is as its meeting says, then as its columns say, then as its user likes all bots", () => {
  assert.deepEqual(settingsOf(null, wishes), {
    name: "AI Assistant",
    greeting: "Hi, I'm here to transcribe this meeting!",
    language: null,
    recording: "video",
    isShared: true,
    minutesEarly: 2,
  });
  const liked = {
    ...wishes,
    preferred_name: "Minutes",
    preferred_greeting: "",
    preferred_recording: "audio",
  };
  assert.deepEqual(
    [settingsOf({}, liked).name, settingsOf({}, liked).greeting, settingsOf({}, liked).recording],
    ["Minutes", null, "audio"],
  );
  assert.equal(settingsOf({}, { ...liked, bot_name: "Notes" }).name, "Notes");
  const said = settingsOf({ bot_name: "Own", recording: "none" }, { ...liked, bot_name: "Notes" });
  assert.deepEqual([said.name, said.recording], ["Own", "none"]);
});

test("the older product's words for a bot are understood", () => {
  const older = {
    bot_name: "Sunny AI Assistant",
    bot_chat_message: { to: "everyone", message: "Hello" },
    transcription_language: "en-US",
    auto_join: true,
    recording_enabled: false,
  };
  assert.ok(BotConfiguration.safeParse(older).success);
  const { name, greeting, language, recording } = settingsOf(older);
  assert.deepEqual(
    [name, greeting, language, recording],
    ["Sunny AI Assistant", "Hello", "en-US", "none"],
  );
});

test("whatever was kept makes a bot that can be sent, and comes to the same again", () => {
  fc.assert(
    fc.property(fc.object({ key: fc.constantFrom(...fields), maxDepth: 1 }), (kept) => {
      const settings = settingsOf(kept);
      assert.ok(settings.name.length >= 1 && settings.name.length <= 255);
      assert.ok(!/[\u{10000}-\u{10ffff}]/u.test(settings.name + settings.greeting));
      const again = configurationOf(settings);
      assert.ok(BotConfiguration.safeParse(again).success, JSON.stringify(again));
      assert.deepEqual(settingsOf(again), settings);
    }),
  );
});

const fields = [
  "bot_name",
  "bot_chat_message",
  "message",
  "language",
  "recording",
  "share",
  "minutes_early",
  "recording_enabled",
];
