import { z } from "zod";
import { normalised } from "./meeting-url.ts";
import { parseTime } from "./times.ts";

/** Sentences by field, sometimes one level deeper. */
export type FieldErrors = Record<string, string[] | Record<string, string[]>>;

type Problem = string | Record<string, string[]> | null;
type Check = (value: unknown, now: Date) => Problem;

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const required = "This field is required.";
const tooLong = (most: number) => `Ensure this field has no more than ${most} characters.`;
const isRare = (text: string) => /[\u{10000}-\u{10ffff}]/u.test(text);

const textProblem = (value: unknown, most: number): string | null => {
  if (typeof value !== "string" && typeof value !== "number") return "Not a valid string.";
  if (String(value) === "") return "This field may not be blank.";
  return String(value).length > most ? tooLong(most) : null;
};

const chatTargets = ["everyone", "specific_user", "everyone_but_host"];

/** What is wrong with a chat message, by field. */
export function chatProblems(body: Record<string, unknown>): Record<string, string[]> | null {
  const { to = "everyone", to_user_uuid: uuid, message } = body;
  const problems: Record<string, string[]> = {};
  const text = message === undefined ? required : textProblem(message, Number.POSITIVE_INFINITY);
  if (text) problems.message = [text];
  else if (String(message).length > 10_000) {
    problems.message = ["Message must be less than 10000 characters"];
  } else if (isRare(String(message))) {
    problems.message = ["Message cannot contain emojis or rare script characters."];
  }
  if (!chatTargets.includes(String(to))) problems.to = [`"${to}" is not a valid choice.`];
  else if (to === "specific_user" && !uuid) {
    problems.to_user_uuid = ["This field is required when the 'to' value is 'specific_user'."];
  } else if (to !== "specific_user" && uuid) {
    problems.to_user_uuid = [
      "This field should only be provided when the 'to' value is 'specific_user'.",
    ];
  }
  return Object.keys(problems).length > 0 ? problems : null;
}

const url: Check = (value) => {
  const problem = textProblem(value, 2_048);
  return problem ?? (normalised(String(value)) === null ? "Invalid meeting URL" : null);
};

const name: Check = (value) => {
  const problem = textProblem(value, 255);
  if (problem) return problem;
  return isRare(String(value)) ? "Bot name cannot contain emojis or rare script characters." : null;
};

const threeYearsMs = 3 * 365 * 86_400_000;
const joinAt: Check = (value, now) => {
  const at = parseTime(value);
  if (!at) {
    return "Datetime has wrong format. Use one of these formats instead: YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z].";
  }
  if (at < now) return "join_at cannot be in the past";
  const isFar = at.getTime() > now.getTime() + threeYearsMs;
  return isFar ? "join_at cannot be more than 3 years in the future" : null;
};

// Python counts the escapes, and the blanks after commas and colons.
const dumpedLength = (value: Record<string, unknown>) => {
  const escaped = JSON.stringify(value).replace(/[^\x20-\x7e]/g, "\\u0000");
  return escaped.length + 2 * Object.keys(value).length - 1;
};
const metadata: Check = (value) => {
  if (!isObject(value)) return "Metadata must be an object not an array or other type";
  const keys = Object.keys(value);
  if (keys.length === 0) return "Metadata must have at least one key";
  const wrong = keys.find((key) => typeof value[key] !== "string");
  if (wrong !== undefined) return `Value for key '${wrong}' must be a string`;
  return dumpedLength(value) > 1_000 ? "Metadata must be less than 1000 characters" : null;
};

const triggers = [
  "bot.state_change",
  "transcript.update",
  "chat_messages.update",
  "participant_events.join_leave",
  "participant_events.speech_start_stop",
  "calendar.events_update",
  "calendar.state_change",
  "async_transcription.state_change",
  "zoom_oauth_connection.state_change",
  "bot_logs.update",
];
const webhooks: Check = (value) => {
  const form = z.array(
    z.strictObject({
      url: z.url({ protocol: /^https$/ }),
      triggers: z.array(z.enum(triggers)).min(1),
    }),
  );
  const { data, error } = form.safeParse(value);
  if (!data) return `Invalid webhook subscription: ${error.issues[0]?.message}`;
  if (data.length > 2) return "You can have at most 2 webhooks for a bot";
  const urls = new Set(data.map((webhook) => webhook.url));
  return urls.size < data.length ? "Webhook URLs must be distinct" : null;
};

const key: Check = (value) => textProblem(value, 1_024);

const image: Check = (value) => {
  if (!isObject(value)) return "Invalid data. Expected a dictionary.";
  const { type, data } = value;
  if (type !== "image/png" && type !== "image/jpeg") {
    return { type: [`"${type}" is not a valid choice.`] };
  }
  const bytes = Buffer.from(String(data ?? ""), "base64");
  const magic = type === "image/png" ? "89504e47" : "ffd8ff";
  if (bytes.toString("hex").startsWith(magic)) return null;
  return { non_field_errors: [`Data is not a valid ${type.slice(6)} image.`] };
};

const chat: Check = (value) =>
  isObject(value) ? chatProblems(value) : "Invalid data. Expected a dictionary.";

const unexpected = (value: Record<string, unknown>, known: string[]): string | null => {
  const extra = Object.keys(value).find((one) => !known.includes(one));
  return extra === undefined
    ? null
    : `Additional properties are not allowed ('${extra}' was unexpected)`;
};

const settings: Check = (value) => (isObject(value) ? null : `${value} is not of type 'object'`);

const providers =
  "deepgram gladia assembly_ai openai sarvam elevenlabs kyutai meeting_closed_captions custom_async".split(
    " ",
  );
const transcription: Check = (value, now) => {
  if (!isObject(value)) return settings(value, now);
  const names = Object.keys(value);
  if (names.length !== 1) return "Exactly one transcription provider must be given";
  const isKnown = providers.some((provider) => names[0]?.startsWith(provider));
  return isKnown ? null : unexpected(value, providers);
};

const recordingChoices: Record<string, [choices: unknown[], sentence: string]> = {
  format: [["mp4", "mp3", "none"], "Format must be mp4 or mp3 or 'none'"],
  view: [
    ["speaker_view", "gallery_view", "speaker_view_no_sidebar"],
    "View must be speaker_view or gallery_view or speaker_view_no_sidebar",
  ],
  resolution: [["1080p", "720p"], "Resolution must be 1080p or 720p"],
};
const recording: Check = (value, now) => {
  if (!isObject(value)) return settings(value, now);
  for (const [field, [choices, sentence]] of Object.entries(recordingChoices)) {
    const given = value[field];
    if (given !== undefined && !choices.includes(given)) return { [field]: [sentence] };
  }
  return unexpected(value, [
    ...Object.keys(recordingChoices),
    "record_chat_messages_when_paused",
    "record_async_transcription_audio_chunks",
    "record_participant_speech_start_stop_events",
    "reserve_additional_storage",
  ]);
};

const timeouts = [
  "silence_timeout_seconds",
  "silence_activate_after_seconds",
  "only_participant_in_meeting_timeout_seconds",
  "wait_for_host_to_start_meeting_timeout_seconds",
  "waiting_room_timeout_seconds",
  "max_uptime_seconds",
  "enable_closed_captions_timeout_seconds",
  "authorized_user_not_in_meeting_timeout_seconds",
];
const leaving: Check = (value, now) => {
  if (!isObject(value)) return settings(value, now);
  const wrong = timeouts.find((one) => {
    const seconds = value[one];
    return seconds != null && !(Number.isInteger(seconds) && Number(seconds) > 0);
  });
  if (wrong) return `${wrong} must be a positive integer`;
  return unexpected(value, [...timeouts, "bot_keywords"]);
};

/** Every field that a bot can be made with, and what it must be. */
const creationFields: Record<string, Check> = {
  meeting_url: url,
  bot_name: name,
  bot_image: image,
  metadata,
  bot_chat_message: chat,
  transcription_settings: transcription,
  recording_settings: recording,
  automatic_leave_settings: leaving,
  join_at: joinAt,
  deduplication_key: key,
  webhooks,
  calendar_event_id: key,
  google_meet_settings: settings,
  teams_settings: settings,
  zoom_settings: settings,
  rtmp_settings: settings,
  websocket_settings: settings,
  callback_settings: settings,
  external_media_storage_settings: settings,
  voice_agent_settings: settings,
  debug_settings: settings,
  kubernetes_settings: settings,
};

/** Those that can be changed afterwards. */
export const changeable = ["join_at", "meeting_url", "bot_name", "bot_image", "recording_settings"];

/** What is wrong with a bot to be made; strict, a field too many is refused. */
export function creationProblems(body: Record<string, unknown>, now: Date): FieldErrors | null {
  const known = Object.keys(creationFields);
  const missing = ["meeting_url", "bot_name"].filter((field) => body[field] === undefined);
  const extra = Object.keys(body).filter((field) => !known.includes(field));
  const problems: FieldErrors = {
    ...Object.fromEntries(missing.map((field) => [field, [required]])),
    ...problemsOf(body, known, now),
  };
  // The whole is looked at only when each of its fields is right.
  if (extra.length > 0 && Object.keys(problems).length === 0) {
    problems.non_field_errors = [
      `Unexpected field(s): ${extra.sort().join(", ")}. Allowed fields are: ${known.join(", ")}`,
    ];
  }
  return Object.keys(problems).length > 0 ? problems : null;
}

/** What is wrong with a change; lenient, other fields are passed over. */
export function changeProblems(body: Record<string, unknown>, now: Date): FieldErrors | null {
  const problems = problemsOf(body, [...changeable, "metadata"], now);
  return Object.keys(problems).length > 0 ? problems : null;
}

function problemsOf(body: Record<string, unknown>, fields: string[], now: Date): FieldErrors {
  const problems: FieldErrors = {};
  for (const field of fields) {
    const value = body[field];
    if (value === undefined) continue;
    const isNeeded = field === "meeting_url" || field === "bot_name";
    const problem =
      value === null
        ? isNeeded && "This field may not be null."
        : creationFields[field]?.(value, now);
    if (problem) problems[field] = typeof problem === "string" ? [problem] : problem;
  }
  return problems;
}
