import { base, call, change, type List, type Meeting } from "./api.ts";
import type { Segment } from "./spoken.ts";

/** A meeting bot with its history, oldest first. */
export type Bot = {
  id: string;
  name: string;
  status: "pending" | "bot_scheduled" | "bot_joined" | "transcribing" | "completed" | "failed";
  /** The provider's own word. */
  state: string | null;
  wish: "attend" | "leave" | null;
  join_at: string | null;
  is_over: boolean;
  is_recording_paused: boolean;
  notice: BotNotice | null;
  last_error: string | null;
  next_poll_at: string | null;
  events: BotEvent[];
};

/** What a person should know, can do, and whose turn it is. */
export type BotNotice = {
  code: string;
  text: string;
  cure: string | null;
  fault: "nobody" | "host" | "organiser" | "settings" | "operator" | "attendee";
};

export type BotEvent = { type: string; sub_type: string | null; at: string };

export type Transcript = {
  final: boolean;
  is_empty: boolean;
  segments: Segment[];
  word_count: number;
  duration_seconds: number;
  recording_url: string | null;
  document_id: string | null;
};

export type ChatMessage = {
  id: string;
  sender_name: string | null;
  to: string;
  text: string;
  at: string;
};

export type ParticipantEvent = {
  id: string;
  type: string;
  participant_name: string | null;
  participant_uuid: string;
  is_host: boolean;
  at: string;
};

/** Why a meeting has a bot or none, and what that was decided by. */
export type Why = {
  decision: "none" | "send" | "move" | "cancel";
  rule: string;
  reason: string;
  inputs: Partial<{
    meetingUrl: string | null;
    isJoinable: boolean;
    startTime: string;
    endTime: string;
    eventStatus: string | null;
    isCancelled: boolean;
    isAssistantInvited: boolean;
    wantsBot: boolean | null;
    isOwn: boolean;
    hasOthers: boolean;
    isPrivate: boolean;
    allMeetings: boolean;
  }>;
  decided_at: string;
  bot_status: Bot["status"] | null;
};

export const recordings = ["video", "audio", "none"] as const;
export type Recording = (typeof recordings)[number];

/** What bots are like in all meetings of a person; null for the usual, an empty greeting for none. */
export type BotPreferences = {
  all_meetings: boolean;
  bot_name: string | null;
  greeting: string | null;
  language: string | null;
  recording: Recording | null;
};

export const fetchBot = (id: string) => call<Bot>("GET", `/attendee/bot-status/${id}`);
export const fetchTranscript = (id: string) =>
  call<Transcript>("GET", `/attendee/transcript/${id}`);
export const fetchChat = (id: string) => fetchAll<ChatMessage>(`/attendee/chat-messages/${id}`);
export const fetchPeople = (id: string) =>
  fetchAll<ParticipantEvent>(`/attendee/participant-events/${id}`);
export const fetchWhy = (meetingId: string) => call<Why>("GET", `/meetings/${meetingId}/why`);

export const sendBot = (meetingId: string) =>
  change("POST", "/attendee/send-bot", { meeting_id: meetingId });
/** Sends a bot that is over once more, while its meeting goes on. @throws {ApiError} */
export const sendBotAgain = (meetingId: string) =>
  change("POST", "/attendee/send-bot", { meeting_id: meetingId, again: true });
/** Sends a bot at a time, or moves the one that is to come. @throws {ApiError} */
export const sendBotAt = (meetingId: string, joinAt: Date) =>
  change("POST", "/attendee/send-bot", { meeting_id: meetingId, join_at: joinAt.toISOString() });
export const callOffBot = (id: string) => change("POST", "/attendee/leave", { bot_id: id });
export const pauseRecording = (id: string) =>
  change("POST", "/attendee/pause-recording", { bot_id: id });
export const resumeRecording = (id: string) =>
  change("POST", "/attendee/resume-recording", { bot_id: id });
/** Writes to `everyone`, `everyone_but_host`, `host`, or a participant by uuid. @throws {ApiError} */
export const sendChat = (id: string, { message, to }: { message: string; to: string }) =>
  change("POST", "/attendee/send-chat", { bot_id: id, message, to });
export const configureBot = (meetingId: string, configuration: Meeting["bot_configuration"]) =>
  call<Meeting>("PATCH", `/meetings/${meetingId}`, { bot_configuration: configuration });

export const fetchBotPreferences = () => call<BotPreferences>("GET", "/attendee/preferences");
export const setBotPreferences = (wanted: BotPreferences) =>
  call<BotPreferences>("PUT", "/attendee/preferences", wanted);

/** Where a transcript can be downloaded. */
export const transcriptUrl = (id: string, format: "text" | "json" | "vtt" | "srt") =>
  `${base}/attendee/transcript/${id}?format=${format}`;

const mostPages = 50;

async function fetchAll<Item>(path: string): Promise<Item[]> {
  const items: Item[] = [];
  let cursor: string | null = "";
  for (let page = 0; cursor !== null && page < mostPages; page += 1) {
    const query = new URLSearchParams({ limit: "200", ...(cursor ? { cursor } : {}) });
    const found: List<Item> = await call("GET", `${path}?${query}`);
    items.push(...found.items);
    cursor = found.next_cursor;
  }
  return items;
}
