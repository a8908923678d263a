import assert from "node:assert/strict";
import { test } from "node:test";
import { nextLook } from "./bot-pace.ts";
import type { BotRow } from "./bots.ts";

const now = new Date("2026-11-24T10:00:00Z");
const at = (minutes: number) => new Date(now.getTime() + minutes * 60_000);
const nothing = { joins_at: null, state: null, is_over: false, over_at: null, settings: null };
const heard = { transcript_state: "final", recording_state: "complete", recording_url: null };

const table: [what: string, bot: object, minutes: number | null][] = [
  ["days ahead", { state: "scheduled", joins_at: at(3 * 24 * 60) }, 60],
  ["hours ahead", { state: "scheduled", joins_at: at(300) }, 15],
  ["close to its start", { state: "scheduled", joins_at: at(10) }, 7],
  ["around its start", { state: "scheduled", joins_at: at(2) }, 0.5],
  ["not yet asked for, and late", { joins_at: at(-5) }, 0.5],
  ["being started", { state: "staged", joins_at: at(4) }, 0.5],
  ["joining", { state: "joining" }, 0.5],
  ["waiting to be let in", { state: "waiting_room" }, 0.5],
  ["in the meeting", { state: "joined_recording" }, 2],
  ["paused", { state: "joined_recording_paused" }, 2],
  ["working up what it heard", { state: "post_processing" }, 0.5],
  [
    "over, its transcript not final",
    { is_over: true, over_at: at(-5), transcript_state: "growing" },
    1,
  ],
  [
    "over for hours, its transcript not final",
    { is_over: true, over_at: at(-90), transcript_state: "growing" },
    5,
  ],
  ["over, its recording not uploaded", { is_over: true, over_at: at(-5), ...heard }, 1],
  ["over, its recording never uploaded", { is_over: true, over_at: at(-180), ...heard }, null],
  [
    "over, without a recording by wish",
    {
      is_over: true,
      over_at: at(-5),
      ...heard,
      settings: { configuration: { recording: "none" } },
    },
    null,
  ],
  [
    "over and heard",
    { is_over: true, over_at: at(-5), ...heard, recording_url: "https://example.com" },
    null,
  ],
];

for (const [what, bot, minutes] of table) {
  test(`a bot that is ${what} is looked at ${minutes === null ? "no more" : `after ${minutes} minutes`}`, () => {
    const next = nextLook({ ...nothing, transcript_state: "none", ...bot } as BotRow, now);
    assert.equal(next && (next.getTime() - now.getTime()) / 60_000, minutes);
  });
}
