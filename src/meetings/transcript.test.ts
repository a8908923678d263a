import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { Utterance } from "../providers/attendee.ts";
import { toSrt, toVtt, transcriptOf } from "./transcript.ts";

const begin = Date.parse("2026-11-24T10:00:00Z");
const said = (speaker: string, atSeconds: number, text: string, more: Partial<Utterance> = {}) => ({
  speaker_name: speaker,
  speaker_uuid: `uuid of ${speaker}`,
  timestamp_ms: begin + atSeconds * 1000,
  duration_ms: 2_000,
  transcription: { transcript: text, language: null },
  ...more,
});

describe("a transcript", () => {
  test("is in the order of speech, whatever the order of arrival, and a caption that was rewritten counts once", () => {
    const { segments, speakers, text, wordCount, durationSeconds, speakingSeconds } = transcriptOf([
      said("Kim", 5, "No."),
      said("Robin", 0, "Shall we"),
      said("Robin", 0, "Shall we begin?"),
    ]);
    assert.deepEqual(
      segments.map(({ speaker, start, end, text: words }) => [speaker, start, end, words]),
      [
        ["Robin", 0, 2, "Shall we begin?"],
        ["Kim", 5, 7, "No."],
      ],
    );
    assert.deepEqual(speakers, ["Robin", "Kim"]);
    assert.equal(
      text,
      "[2026-11-24T10:00:00.000Z] Robin: Shall we begin?\n[2026-11-24T10:00:05.000Z] Kim: No.\n",
    );
    assert.deepEqual([wordCount, durationSeconds, speakingSeconds], [4, 7, 4]);
  });

  test("leaves out silence, and takes speech without a name or a time", () => {
    const { segments, text } = transcriptOf([
      said("Kim", 0, "  "),
      said("Kim", 1, "Yes."),
      said("", 2, "Who is this?", { speaker_name: null }),
      said("Lee", 0, "Late", { timestamp_ms: null, duration_ms: null }),
      { ...said("Kim", 9, ""), transcription: null },
    ]);
    assert.deepEqual(segments.map(({ speaker }) => speaker).sort(), [
      "Kim",
      "Lee",
      "Unknown Speaker",
    ]);
    assert.match(text, /\[\] Lee: Late/);
  });

  test("without a word is empty in every form", () => {
    const { segments, text, summary, durationSeconds } = transcriptOf([]);
    assert.deepEqual([segments, text, summary, durationSeconds], [[], "", "", 0]);
    assert.equal(toVtt([]), "WEBVTT\n");
    assert.equal(toSrt([]), "");
  });

  test("has a summary of its first three utterances, cut after 200 characters", () => {
    const short = transcriptOf([
      said("A", 0, "One."),
      said("B", 1, "Two."),
      said("A", 2, "Three."),
      said("A", 3, "Four."),
    ]);
    assert.equal(short.summary, "A: One. B: Two. A: Three.");
    const long = transcriptOf([said("A", 0, "word ".repeat(100))]);
    assert.deepEqual([long.summary.length, long.summary.slice(-3)], [203, "..."]);
  });

  test("of the largest answer that is taken is made without running out of anything", () => {
    const many = Array.from({ length: 200_000 }, (_, index) => said("A", index, "word"));
    assert.equal(transcriptOf(many).durationSeconds, 200_001);
  });

  test("is a week long at most, however wrong a clock was", () => {
    const { segments, durationSeconds } = transcriptOf([
      said("A", 0, "Now"),
      said("B", 5e9, "Then", { duration_ms: 1e300 }),
    ]);
    assert.deepEqual([segments.length, durationSeconds], [2, 604_800]);
  });

  test("as captions never breaks a cue: no empty line, no end before its beginning, no markup of its own", () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            speaker: fc.string({ unit: fc.constantFrom("a", "<", ">", "&", "\n", "\r", " ", "-") }),
            text: fc.string({ unit: fc.constantFrom("a", "<", ">", "&", "\n", "\r", "-->", " ") }),
            start: fc.double({ min: 0, max: 90_000, noNaN: true }),
            seconds: fc.double({ min: 0, max: 60, noNaN: true }),
          }),
          { maxLength: 5 },
        ),
        (lines) => {
          const { segments } = transcriptOf(
            lines.map(({ speaker, text, start, seconds }) =>
              said(speaker, start, `.${text}`, { duration_ms: seconds * 1000 }),
            ),
          );
          for (const cue of toVtt(segments)
            .split(/\n\n|\r/)
            .slice(1)) {
            const [times = "", ...rest] = cue.trimEnd().split("\n");
            const [from = "", to = ""] = times.split(" --> ");
            assert.match(times, /^\d\d:\d\d:\d\d\.\d{3} --> \d\d:\d\d:\d\d\.\d{3}$/);
            assert.ok(from < to, times);
            assert.equal(rest.length, 1, cue);
            assert.match(rest[0] ?? "", /^<v [^<>&]*>[^<>]*<\/v>$/);
          }
          const blocks = toSrt(segments)
            .split(/\n\n|\r/)
            .filter((block) => block !== "");
          assert.equal(blocks.length, segments.length);
        },
      ),
    );
  });
});
