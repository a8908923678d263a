import { z } from "zod";
import { ProviderError } from "../lib/errors.ts";
import { readAtMost, secondsUntil } from "../lib/http.ts";
import type { Secret } from "../lib/secrets.ts";

/** Where the Attendee API is, and the key of the project that all of our bots belong to. */
export type AttendeeAccess = { apiUrl: string; apiKey: Secret };

/** Source: Attendee, "Bots", and the code behind it where the two differ. */
export const botStates = [
  "ready",
  "scheduled",
  "staged",
  "joining",
  "waiting_room",
  "joined_not_recording",
  "joined_recording",
  "joined_recording_paused",
  "joined_recording_permission_denied",
  "joining_breakout_room",
  "leaving_breakout_room",
  "leaving",
  "post_processing",
  "ended",
  "fatal_error",
  "data_deleted",
] as const;
export type BotState = (typeof botStates)[number];

/** The states of a bot that is still to do something. */
export const liveStates = botStates.filter(
  (state) => !["ready", "ended", "fatal_error", "data_deleted"].includes(state),
);

const optional = <Type extends z.ZodType>(type: Type) =>
  type.nullish().transform((value) => value ?? null);
// Whatever people are called or say must fit into a database: no NUL, no half of a pair.
const said = (longest: number) =>
  z
    .string()
    .max(longest)
    .transform((words) => words.replaceAll("\0", "").toWellFormed());
const text = said(20_000);
// A time outside of the years that people write is no reason to lose what was said at it.
const momentMs = z
  .number()
  .transform((ms) => Math.min(Math.max(Math.round(ms), 0), 253_402_300_799_000));
// Bots are put out after 30 hours; whatever claims to have been said for longer is wrong.
const lengthMs = z.number().transform((ms) => Math.min(Math.max(ms, 0), 30 * 3_600_000));
const instant = z.iso.datetime({ offset: true }).transform((at) => new Date(at));

const Bot = z.looseObject({
  id: z.string().min(1).max(200),
  // A state of a later version is no state that we can act on; it must not hide the rest.
  state: z.string().max(100),
  meeting_url: optional(text),
  join_at: optional(instant),
  deduplication_key: optional(text),
  metadata: optional(z.record(z.string(), z.unknown())),
  recording_state: optional(z.string()),
  transcription_state: optional(z.string()),
  events: z
    .array(
      z.looseObject({
        type: z.string().max(100),
        sub_type: optional(z.string().max(200)),
        created_at: instant,
      }),
    )
    .max(5_000)
    .nullish()
    .transform((events) => events ?? []),
});
/** A bot as the provider has it, with its whole history, oldest first. */
export type ProviderBot = z.output<typeof Bot>;

const Utterance = z.object({
  speaker_name: optional(said(1_000)),
  speaker_uuid: optional(said(500)),
  timestamp_ms: momentMs.nullish(),
  duration_ms: lengthMs.nullish(),
  transcription: optional(
    z.object({ transcript: optional(said(1_000_000)), language: optional(said(50)) }),
  ),
});
/** One stretch of speech. Speaker and time together are the nearest to a key: captions are rewritten in place. */
export type Utterance = z.output<typeof Utterance>;

const ChatMessage = z.looseObject({
  id: z.string().min(1).max(200),
  text: said(50_000),
  timestamp_ms: momentMs,
  to: optional(z.string().max(50)).transform((to) => to ?? "everyone"),
  sender_name: optional(said(1_000)),
  sender_uuid: optional(said(500)),
});
export type ChatMessage = z.output<typeof ChatMessage>;

const Participant = z.looseObject({
  name: optional(said(1_000)),
  uuid: z.string().max(500),
  is_host: z.boolean().nullish(),
});
export type Participant = z.output<typeof Participant>;

const ParticipantEvent = z.looseObject({
  id: z.string().min(1).max(200),
  participant_name: optional(said(1_000)),
  participant_uuid: said(500),
  participant_is_host: z.boolean().nullish(),
  event_type: z.string().max(50),
  timestamp_ms: momentMs,
});
export type ParticipantEvent = z.output<typeof ParticipantEvent>;

const Recording = z.looseObject({
  url: z.url().max(5_000),
  start_timestamp_ms: z.number().nullish(),
});
export type Recording = z.output<typeof Recording>;

/** To everybody, to everybody but the hosts, or to one participant by `uuid`. */
export type ChatTo =
  | { to: "everyone" | "everyone_but_host" }
  | { to: "specific_user"; to_user_uuid: string };

/** A bot to be made. Without `join_at` it joins at once. */
export type NewBot = {
  meeting_url: string;
  bot_name: string;
  join_at?: string;
  deduplication_key: string;
  /** Strings only, at least one, together 1000 characters at most. */
  metadata: Record<string, string>;
  bot_chat_message?: { to: "everyone"; message: string };
  webhooks?: { url: string; triggers: string[] }[];
  transcription_settings?: Record<string, unknown>;
  recording_settings?: Record<string, unknown>;
};

/** What webhooks of a bot tell of. */
export const webhookTriggers = [
  "bot.state_change",
  "transcript.update",
  "chat_messages.update",
  "participant_events.join_leave",
];

/** @throws {ProviderError} `duplicate_key` is its reason where another bot that is not over has the same key. */
export const createBot = (access: AttendeeAccess, bot: NewBot, signal?: AbortSignal) =>
  call(access, "POST", "/bots", { body: bot, answer: Bot, signal });

export const getBot = (access: AttendeeAccess, id: string, signal?: AbortSignal) =>
  call(access, "GET", botPath(id), { answer: Bot, signal });

/** Moves a bot. @throws {ProviderError} `state` is its reason where it is past being scheduled. */
export const moveBot = (
  access: AttendeeAccess,
  id: string,
  change: { join_at: string; meeting_url: string; bot_name: string },
  signal?: AbortSignal,
) => call(access, "PATCH", botPath(id), { body: change, answer: Bot, signal });

/** Deletes a scheduled bot; the provider says nothing more about it. @throws as {@link moveBot} does. */
export const deleteBot = (access: AttendeeAccess, id: string, signal?: AbortSignal) =>
  call(access, "DELETE", botPath(id), { answer: z.unknown(), signal });

/** Asks a bot to leave. @throws {ProviderError} `state` is its reason while it cannot, scheduled or staged. */
export const leaveMeeting = (access: AttendeeAccess, id: string, signal?: AbortSignal) =>
  call(access, "POST", botPath(id, "/leave"), { body: {}, answer: Bot, signal });

/** Only what is newer than `since`. */
type Span = { since?: Date | null; signal?: AbortSignal | undefined };

/** A piece of a list. With `next`, an opaque place in it, the same list is read on from there. */
export type Page<Item> = { items: Item[]; next: string | null };
type PageSpan = Span & { from?: string | null };

/**
 * What was said, oldest first; with `since`, what was said or written over since then. Empty also before anything is
 * transcribed: the bot's state says which.
 */
export const getTranscript = (access: AttendeeAccess, id: string, { since, signal }: Span = {}) =>
  call(access, "GET", botPath(id, "/transcript") + after("updated_after", since), {
    answer: z.array(Utterance).max(200_000),
    signal,
  });

/** A link that opens for 30 minutes; null until the recording is uploaded. */
export async function getRecording(
  access: AttendeeAccess,
  id: string,
  signal?: AbortSignal,
): Promise<Recording | null> {
  return call(access, "GET", botPath(id, "/recording"), { answer: Recording, signal }).catch(
    (error: unknown) => {
      if (error instanceof ProviderError && error.failure === "not_found") return null;
      throw error;
    },
  );
}

/** The chat, oldest first, page by page. By `since` it goes by when a message was made: one that was edited is only in the whole. */
export const listChatMessages = (
  access: AttendeeAccess,
  id: string,
  { since, ...span }: PageSpan = {},
) =>
  listPages(access, botPath(id, "/chat_messages") + after("updated_after", since), {
    results: readable(ChatMessage),
    ...span,
  });

/** Who came and went, oldest first, page by page. */
export const listParticipantEvents = (
  access: AttendeeAccess,
  id: string,
  { since, ...span }: PageSpan = {},
) =>
  listPages(access, botPath(id, "/participant_events") + after("after", since), {
    results: readable(ParticipantEvent),
    ...span,
  });

/** Everybody who was there, but for the bot itself. */
export const listParticipants = (access: AttendeeAccess, id: string) =>
  listAll(access, botPath(id, "/participants"), readable(Participant));

/** Sends a message into the meeting; accepted means that it is on its way. */
export const sendChatMessage = (
  access: AttendeeAccess,
  id: string,
  message: ChatTo & { message: string },
) =>
  call(access, "POST", botPath(id, "/send_chat_message"), { body: message, answer: z.unknown() });

/** What a bot can say or show, by the name of the call. */
export type Output =
  | {
      kind: "speech";
      body: { text: string; text_to_speech_settings?: Record<string, unknown> | undefined };
    }
  | { kind: "output_audio" | "output_image"; body: { type: string; data: string } }
  | { kind: "output_video"; body: { url: string } };

/** Has a bot say or show something; accepted means that it is about to. */
export const presentOutput = (access: AttendeeAccess, id: string, { kind, body }: Output) =>
  call(access, "POST", botPath(id, `/${kind}`), { body, answer: z.unknown() });

/** The provider waits a second for the bot to obey. It may refuse, and obey a moment later all the same. */
export const pauseRecording = (access: AttendeeAccess, id: string) =>
  call(access, "POST", botPath(id, "/pause_recording"), { body: {}, answer: Bot });

export const resumeRecording = (access: AttendeeAccess, id: string) =>
  call(access, "POST", botPath(id, "/resume_recording"), { body: {}, answer: Bot });

/** Deletes all that a bot that is over has heard and recorded. @throws {ProviderError} `state` is its reason where it is not over, or has none any longer. */
export const deleteBotData = (access: AttendeeAccess, id: string, signal?: AbortSignal) =>
  call(access, "POST", botPath(id, "/delete_data"), { body: {}, answer: Bot, signal });

/** The bots with a deduplication key, over ones too: at most one of them is not. */
export const findBots = (access: AttendeeAccess, deduplicationKey: string, signal?: AbortSignal) =>
  listAll(
    access,
    `/bots?deduplication_key=${encodeURIComponent(deduplicationKey)}`,
    z.array(Bot),
    signal,
  );

/** Every bot of the project that is not over: one call for each 25. */
export const listLiveBots = (access: AttendeeAccess, signal?: AbortSignal) =>
  listAll(
    access,
    `/bots?${liveStates.map((state) => `states=${state}`).join("&")}`,
    z.array(Bot),
    signal,
  );

const timeoutMs = 20_000;
// Whatever it asks for: a meeting does not wait for a day.
const longestPause = 600;
const largestAnswer = 50_000_000;
const mostPages = 2_000;

const after = (name: string, since: Date | null | undefined) =>
  since ? `?${name}=${since.toISOString()}` : "";

const botPath = (id: string, rest = "") => `/bots/${encodeURIComponent(id)}${rest}`;

// One that cannot be read must not cost the others, nor what else is read with them.
const readable = <Item extends z.ZodType>(item: Item) =>
  z
    .array(z.unknown())
    .transform((all) =>
      all
        .map((one) => item.safeParse(one))
        .flatMap(({ data }) => (data === undefined ? [] : [data])),
    );

async function listAll<Item>(
  access: AttendeeAccess,
  path: string,
  results: z.ZodType<Item[]>,
  signal?: AbortSignal,
): Promise<Item[]> {
  const found: Item[] = [];
  for await (const { items } of listPages(access, path, { results, signal })) found.push(...items);
  return found;
}

async function* listPages<Item>(
  access: AttendeeAccess,
  path: string,
  { results, from = null, signal }: PageSpan & { results: z.ZodType<Item[]> },
): AsyncGenerator<Page<Item>> {
  const page = z.looseObject({ next: optional(z.string().max(5_000)), results });
  let next: string | null = from;
  for (let count = 0; count === 0 || next !== null; count += 1) {
    if (count === mostPages) throw new ProviderError("retry", "The list of Attendee does not end");
    const at: string = next === null ? path : withCursor(path, next);
    const answer: z.output<typeof page> = await call(access, "GET", at, { answer: page, signal });
    // The link is absolute, by the name that the server knows itself by; of it only the cursor is taken.
    next = answer.next && cursorOf(answer.next);
    yield { items: answer.results, next };
  }
}

function cursorOf(link: string): string | null {
  return new URL(link, "http://attendee.invalid").searchParams.get("cursor");
}

function withCursor(path: string, cursor: string): string {
  const [base = "", query = ""] = path.split("?");
  const parameters = new URLSearchParams(query);
  parameters.set("cursor", cursor);
  return `${base}?${parameters}`;
}

type Request<Answer extends z.ZodType> = {
  body?: unknown;
  answer: Answer;
  signal?: AbortSignal | undefined;
};

async function call<Answer extends z.ZodType>(
  { apiUrl, apiKey }: AttendeeAccess,
  method: string,
  path: string,
  { body, answer, signal }: Request<Answer>,
): Promise<z.output<Answer>> {
  const timeout = AbortSignal.timeout(timeoutMs);
  try {
    const response = await fetch(`${apiUrl.replace(/\/+$/, "")}${path}`, {
      method,
      redirect: "error",
      headers: {
        authorization: `Token ${apiKey.reveal()}`,
        accept: "application/json",
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    });
    const content = await readBody(response);
    if (!response.ok) throw failureOf(response, content);
    return answer.parse(content);
  } catch (error) {
    signal?.throwIfAborted();
    throw wordsFor(error);
  }
}

// An empty body is what some calls answer; one that is no JSON is the page of something in between.
async function readBody(response: Response): Promise<unknown> {
  const bytes = await readAtMost(response, largestAnswer);
  if (!bytes) {
    throw new ProviderError("give_up", "Attendee's answer is too large", { reason: "too_large" });
  }
  const content = bytes.toString();
  if (content === "") return null;
  try {
    return JSON.parse(content);
  } catch {
    if (response.ok) throw new ProviderError("retry", "Attendee's answer was no JSON");
    return null;
  }
}

// Refusals have two shapes: a sentence in `error` or `detail`, and lists of sentences by field.
function sentenceOf(content: unknown): string {
  const { error, detail, ...fields } = z.looseObject({}).catch({}).parse(content);
  const plain = error ?? detail;
  const sentence =
    typeof plain === "string"
      ? plain
      : Object.entries(fields)
          .map(([field, words]) => `${field}: ${[words].flat().map(String).join(" ")}`)
          .join("; ");
  return sentence.replace(/\s+/g, " ").slice(0, 500);
}

function failureOf(response: Response, content: unknown): ProviderError {
  const { status } = response;
  const sentence = sentenceOf(content);
  const fail = (
    failure: ProviderError["failure"],
    reason: string,
    message: string,
    retryAfterSeconds?: number,
  ) => new ProviderError(failure, message, { status, reason, retryAfterSeconds });
  if (status === 429) {
    const seconds = secondsUntil(response.headers.get("retry-after"), new Date()) ?? 0;
    const pause = seconds > 0 ? Math.min(seconds, longestPause) : 30;
    return fail("wait", "throttled", "Attendee asks for a pause", pause);
  }
  if (status >= 500 || status === 408) {
    return fail("retry", "server_error", `Attendee is in trouble (${status})`);
  }
  if (status === 401 || status === 403) {
    return fail("give_up", "unauthorised", "Attendee refuses MASTER_ATTENDEE_API_KEY");
  }
  if (status === 404) {
    // Another 404 comes from something in between, or from a wrong address, and says nothing of the bot.
    return /^(bot not found|no recording)/i.test(sentence)
      ? fail("not_found", "not_found", sentence)
      : fail("retry", "wrong_address", "Attendee does not answer at this address (404)");
  }
  const told = `Attendee refused: ${sentence || status}`;
  if (/deduplication key already in use/i.test(sentence))
    return fail("retry", "duplicate_key", told);
  if (/maximum number of concurrent bots/i.test(sentence)) return fail("wait", "crowded", told, 60);
  if (/run out of credits/i.test(sentence)) return fail("wait", "no_credits", told, 600);
  if (/in state|not allowed when|^Unable to (pause|resume)/i.test(sentence)) {
    return fail("retry", "state", told);
  }
  return fail("give_up", "refused", told);
}

function wordsFor(error: unknown): unknown {
  if (error instanceof ProviderError) return error;
  if (error instanceof z.ZodError) {
    return new ProviderError("retry", "Attendee's answer is not what it documents", {
      reason: "bad_answer",
      cause: error,
    });
  }
  const isTimeout = error instanceof Error && error.name === "TimeoutError";
  const message = isTimeout
    ? `Attendee did not answer within ${timeoutMs / 1000} seconds`
    : "Attendee cannot be reached";
  return new ProviderError("retry", message, {
    reason: isTimeout ? "timeout" : "network",
    cause: error,
  });
}
