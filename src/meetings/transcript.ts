import type { Utterance } from "../providers/attendee.ts";

/** One stretch of one person's speech. `start` and `end` are seconds since the transcript's beginning. */
export type Segment = {
  speaker: string;
  start: number;
  end: number;
  text: string;
  /** When it began, ISO 8601; null where the provider did not say. */
  at: string | null;
};

/** What was said in a meeting, oldest first. */
export type Transcript = {
  segments: Segment[];
  /** Who spoke, in the order of their first words. */
  speakers: string[];
  text: string;
  summary: string;
  wordCount: number;
  characterCount: number;
  /** From the first word to the last, a week at most. */
  durationSeconds: number;
  /** All speech added up: silence does not count, and two at once count twice. */
  speakingSeconds: number;
  language: string | null;
};

// What lies further apart was told by a clock that was wrong.
const longestSeconds = 7 * 86_400;
const unknownSpeaker = "Unknown Speaker";

/**
 * Makes a transcript of utterances. Of two by the same speaker from the same time the later in the list counts: captions
 * are rewritten while somebody speaks.
 */
export function transcriptOf(utterances: Utterance[]): Transcript {
  const latest = new Map<string, Utterance>();
  for (const [index, utterance] of utterances.entries()) {
    latest.set(keyOfUtterance(utterance, index), utterance);
  }
  const spoken = [...latest.values()]
    .filter((one) => (one.transcription?.transcript ?? "").trim() !== "")
    .sort((one, other) => (one.timestamp_ms ?? 0) - (other.timestamp_ms ?? 0));
  const times = spoken.flatMap(({ timestamp_ms }) => timestamp_ms ?? []);
  const beginMs = times[0] ?? 0;
  const segments = spoken.map((utterance): Segment => {
    const { timestamp_ms, duration_ms, speaker_name, transcription } = utterance;
    const start = Math.max(0, ((timestamp_ms ?? beginMs) - beginMs) / 1000);
    return {
      speaker: speaker_name?.trim() || unknownSpeaker,
      start,
      end: start + Math.max(0, duration_ms ?? 0) / 1000,
      text: (transcription?.transcript ?? "").trim(),
      at: isoOf(timestamp_ms),
    };
  });
  const all = segments.map(({ text }) => text).join(" ");
  const opening = segments
    .slice(0, 3)
    .map(({ speaker, text }) => `${speaker}: ${text}`)
    .join(" ");
  return {
    segments,
    speakers: [...new Set(segments.map(({ speaker }) => speaker))],
    text: segments.map(({ at, speaker, text }) => `[${at ?? ""}] ${speaker}: ${text}\n`).join(""),
    summary: opening.length > 200 ? `${opening.slice(0, 200)}...` : opening,
    wordCount: all.split(/\s+/).filter((word) => word !== "").length,
    characterCount: all.length,
    durationSeconds: Math.round(
      segments.reduce((last, { end }) => Math.max(last, Math.min(end, longestSeconds)), 0),
    ),
    speakingSeconds: Math.round(segments.reduce((total, { start, end }) => total + end - start, 0)),
    language:
      spoken.find(({ transcription }) => transcription?.language)?.transcription?.language ?? null,
  };
}

/** What an utterance is told apart by: its speaker and time, or its place in the list where it has no time. */
export function keyOfUtterance({ speaker_uuid, timestamp_ms }: Utterance, index: number): string {
  return timestamp_ms == null ? `#${index}` : `${speaker_uuid} ${timestamp_ms}`;
}

/** As WebVTT, with each speaker named. Source: W3C, "WebVTT: The Web Video Text Tracks Format". */
export function toVtt(segments: Segment[]): string {
  const cues = segments.map(({ speaker, start, end, text }) => {
    const voice = speaker.replace(/[<>&\r\n]/g, " ");
    return `${clock(start, ".")} --> ${clock(lasting(start, end), ".")}\n<v ${voice}>${escaped(text)}</v>\n`;
  });
  return ["WEBVTT\n", ...cues].join("\n");
}

/** As SubRip, with the speaker before the words. */
export function toSrt(segments: Segment[]): string {
  return segments
    .map(
      ({ speaker, start, end, text }, index) =>
        `${index + 1}\n${clock(start, ",")} --> ${clock(lasting(start, end), ",")}\n${oneLine(`${speaker}: ${text}`)}\n`,
    )
    .join("\n");
}

// A cue that ends when it begins is never shown.
const lasting = (start: number, end: number) => Math.max(end, start + 0.5);

// An empty line ends a cue.
const oneLine = (text: string) => text.replace(/\s*[\r\n]\s*/g, " ");

const escaped = (text: string) =>
  oneLine(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function clock(seconds: number, point: "." | ","): string {
  const ms = Math.round(seconds * 1000);
  const part = (unit: number, size: number, digits: number) =>
    String(Math.floor(ms / unit) % size).padStart(digits, "0");
  const hours = String(Math.floor(ms / 3_600_000)).padStart(2, "0");
  return `${hours}:${part(60_000, 60, 2)}:${part(1000, 60, 2)}${point}${part(1, 1000, 3)}`;
}

function isoOf(timestampMs: number | null | undefined): string | null {
  if (timestampMs == null || Math.abs(timestampMs) > 8.64e15) return null;
  return new Date(timestampMs).toISOString();
}
