import { z } from "zod";

/** How a bot behaves in its meeting. */
export type BotSettings = {
  name: string;
  /** What it writes into the chat when it comes; null for nothing. */
  greeting: string | null;
  /** What is spoken, as a BCP 47 tag; null leaves it to the meeting. */
  language: string | null;
  recording: "video" | "audio" | "none";
  /** One bot serves everybody here who is in the meeting. */
  isShared: boolean;
  /** How long before the meeting begins it comes; negative for later. */
  minutesEarly: number;
};

/** Text that a meeting takes: Attendee refuses what is outside the basic plane, which is emoji, mostly. */
export const meetingText = (longest: number) =>
  z
    .string()
    .trim()
    .max(longest)
    .refine((text) => !/[\u{10000}-\u{10ffff}]/u.test(text), "may not hold emoji");

const Greeting = meetingText(10_000);
export const Language = z
  .string()
  .regex(/^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,2}$/, "must look like en-US");
export const Recording = z.enum(["video", "audio", "none"]);

const fields = {
  bot_name: meetingText(255).min(1).nullish(),
  bot_chat_message: z
    .union([Greeting, z.looseObject({ message: Greeting.describe("What it writes") })])
    .nullish(),
  language: Language.nullish().describe(
    "What is spoken, as a tag such as en-US; null for what holds for all meetings",
  ),
  recording: Recording.nullish().describe("What is recorded; null for what holds for all meetings"),
  share: z
    .boolean()
    .nullish()
    .describe("False asks for a bot of one's own; otherwise one serves all who are in the meeting"),
  minutes_early: z
    .number()
    .min(-720)
    .max(60)
    .nullish()
    .describe("How many minutes before the start the bot comes: 2 by itself; negative for later"),
  // The older product's words for the same.
  transcription_language: Language.nullish(),
  recording_enabled: z.boolean().nullish(),
};

/** What may be said about one meeting's bot. Other fields are kept as they are. */
export const BotConfiguration = z.looseObject(fields);
export type BotConfiguration = z.output<typeof BotConfiguration>;

// What was kept before it was checked may be anything: what cannot be read counts as not said.
const Lenient = z
  .looseObject({
    bot_name: fields.bot_name.catch(undefined),
    bot_chat_message: fields.bot_chat_message.catch(undefined),
    language: fields.language.catch(undefined),
    recording: fields.recording.catch(undefined),
    share: fields.share.catch(undefined),
    minutes_early: fields.minutes_early.catch(undefined),
    transcription_language: fields.transcription_language.catch(undefined),
    recording_enabled: fields.recording_enabled.catch(undefined),
  })
  .catch({});

/** What people said of a bot besides its meeting's configuration, the nearest first in each pair. */
export type BotWishes = {
  bot_name: string | null;
  bot_chat_message: string | null;
  preferred_name: string | null;
  preferred_greeting: string | null;
  preferred_language: string | null;
  preferred_recording: string | null;
};

const usualName = "AI Assistant";
const usualEarly = 2;
// What the columns say where nobody said anything.
const columnName = "Kirit Notetaker";
const columnGreeting = "Hi, I'm here to transcribe this meeting!";
const nothing: BotWishes = {
  bot_name: null,
  bot_chat_message: null,
  preferred_name: null,
  preferred_greeting: null,
  preferred_language: null,
  preferred_recording: null,
};

/** What a bot is to be like: by its meeting's configuration, then its columns, then its user's preferences. */
export function settingsOf(configuration: unknown, wishes: BotWishes = nothing): BotSettings {
  const said = Lenient.parse(configuration ?? {});
  const own = (value: string | null, column: string) => (value === column ? null : value);
  const written = said.bot_chat_message;
  const greeting =
    (typeof written === "object" ? written?.message : written) ??
    own(wishes.bot_chat_message, columnGreeting) ??
    wishes.preferred_greeting ??
    columnGreeting;
  const name = said.bot_name ?? own(wishes.bot_name, columnName) ?? wishes.preferred_name ?? "";
  const refused = said.recording_enabled === false ? ("none" as const) : null;
  return {
    name: basicText(name, 255) || usualName,
    greeting: basicText(greeting, 10_000) || null,
    language: said.language ?? said.transcription_language ?? wishes.preferred_language,
    recording:
      said.recording ??
      refused ??
      Recording.catch("video").parse(wishes.preferred_recording ?? "video"),
    isShared: said.share !== false,
    minutesEarly: said.minutes_early ?? usualEarly,
  };
}

/** The same in the words of a configuration, from which {@link settingsOf} makes the same again. */
export function configurationOf(settings: BotSettings): BotConfiguration {
  return {
    bot_name: settings.name,
    bot_chat_message: { to: "everyone", message: settings.greeting ?? "" },
    language: settings.language,
    recording: settings.recording,
    share: settings.isShared,
    minutes_early: settings.minutesEarly,
    recording_enabled: settings.recording !== "none",
  };
}

function basicText(text: string, longest: number): string {
  return text
    .replace(/[\u{10000}-\u{10ffff}]/gu, "")
    .trim()
    .slice(0, longest);
}
