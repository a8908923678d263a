import { randomBytes } from "node:crypto";
import { type Person, people } from "./play.ts";
import type { Webhook } from "./webhooks.ts";

export type SandboxBot = {
  id: string;
  /** In the order of their making. */
  position: number;
  name: string;
  meetingUrl: string;
  joinAt: Date | null;
  key: string | null;
  metadata: Record<string, unknown> | null;
  webhooks: Webhook[];
  greeting: string | null;
  recordingFormat: string;
  state: string;
  events: { type: string; sub_type?: string; created_at: string }[];
  recordingState: string;
  transcriptionState: string;
  joinedAt: Date | null;
  recordingStartedAt: Date | null;
  recordingUploadedAt: Date | null;
  utterances: (UtteranceView & { updatedAt: Date })[];
  messages: MessageView[];
  participants: Map<string, Person & { id: string }>;
  participantEvents: (ParticipantEventView & { createdAt: Date })[];
  /** What is to happen by itself, earliest first. */
  plan: { at: number; act: (now: Date) => void }[];
};

type UtteranceView = {
  speaker_name: string;
  speaker_uuid: string;
  speaker_user_uuid: null;
  speaker_is_host: boolean;
  timestamp_ms: number;
  duration_ms: number;
  transcription: { transcript: string };
};

type MessageView = {
  id: string;
  text: string;
  timestamp_ms: number;
  timestamp: number;
  to: string;
  sender_name: string;
  sender_uuid: string;
  sender_user_uuid: null;
  additional_data: Record<string, never>;
};

type ParticipantEventView = {
  id: string;
  participant_name: string;
  participant_uuid: string;
  participant_user_uuid: null;
  participant_is_host: boolean;
  event_type: string;
  event_data: Record<string, never>;
  timestamp_ms: number;
};

/** Says to whoever listens what happened to a bot. */
export type Tell = (
  bot: SandboxBot,
  trigger: string,
  data: Map<string, unknown> | Record<string, unknown>,
) => void;

/** The bot as others in the meeting see it. */
export function asPerson({ id, name }: SandboxBot): Pick<Person, "name" | "uuid"> {
  return { name, uuid: id };
}

/** Who is in a bot's meeting. */
export function presentIn({ participantEvents }: SandboxBot): Person[] {
  return people.filter(
    ({ uuid }) =>
      participantEvents.findLast(({ participant_uuid }) => participant_uuid === uuid)
        ?.event_type === "join",
  );
}

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

export function idOf(prefix: string): string {
  return `${prefix}_${[...randomBytes(16)].map((byte) => letters[byte % letters.length]).join("")}`;
}
