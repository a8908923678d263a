import { randomBytes } from "node:crypto";
import { type Fate, people, type Scene, usualPlay } from "./play.ts";
import { Float } from "./python-json.ts";
import type { Webhook } from "./webhooks.ts";

export type SandboxBot = {
  id: string;
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
  recordingStartedAt: Date | null;
  recordingUploadedAt: Date | null;
  utterances: (UtteranceView & { updatedAt: Date })[];
  messages: MessageView[];
  participants: Map<string, { id: string; name: string; uuid: string; isHost: boolean }>;
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

export type PlaySettings = {
  /** How much faster than life meetings run. */
  speed: number;
  /** What becomes of bots by a part of their meeting's URL; of others the first fate. */
  fates: [part: string, fate: Fate][];
  play: Scene[];
  /** Seconds of a meeting until the host admits the bot, where it waits. */
  admitAfter: number;
  /** Seconds after the end of a meeting until the last utterances are there. */
  transcriptLate: number;
  /** Seconds after the end until the recording is uploaded. */
  uploadAfter: number;
};

export const usualPlaySettings: PlaySettings = {
  speed: 1,
  fates: [],
  play: usualPlay,
  admitAfter: 5,
  transcriptLate: 0,
  uploadAfter: 1,
};

const joined = [
  "joined_not_recording",
  "joined_recording",
  "joined_recording_paused",
  "joined_recording_permission_denied",
];
const breakout = ["joining_breakout_room", "leaving_breakout_room"];
export const leavable = ["joining", "waiting_room", ...joined, ...breakout];
const over = ["ended", "fatal_error", "data_deleted"];

// Source: Attendee, `bots/models.py`: which event takes a bot from where to where.
const transitions: Record<string, { from: string[]; to: string }> = {
  staged: { from: ["scheduled"], to: "staged" },
  join_requested: { from: ["ready", "staged"], to: "joining" },
  put_in_waiting_room: { from: ["joining"], to: "waiting_room" },
  joined_meeting: { from: ["joining", "waiting_room"], to: "joined_not_recording" },
  recording_permission_granted: {
    from: ["joined_not_recording", "joined_recording_permission_denied"],
    to: "joined_recording",
  },
  recording_permission_denied: { from: joined, to: "joined_recording_permission_denied" },
  recording_paused: { from: ["joined_recording"], to: "joined_recording_paused" },
  recording_resumed: { from: ["joined_recording_paused"], to: "joined_recording" },
  could_not_join_meeting: { from: ["joining", "waiting_room"], to: "fatal_error" },
  leave_requested: { from: leavable, to: "leaving" },
  left_meeting: { from: ["leaving"], to: "post_processing" },
  meeting_ended: { from: [...leavable, "leaving"], to: "post_processing" },
  post_processing_completed: { from: ["post_processing"], to: "ended" },
  fatal_error: {
    from: ["scheduled", "staged", ...leavable, "leaving", "post_processing"],
    to: "fatal_error",
  },
  data_deleted: { from: ["ended", "fatal_error"], to: "data_deleted" },
};

export type Tell = (
  bot: SandboxBot,
  trigger: string,
  data: Map<string, unknown> | Record<string, unknown>,
) => void;

/** Bots that live through their meetings by themselves, as `run` brings them up to a time. */
export function openBots(settings: PlaySettings, tell: Tell) {
  const bots = new Map<string, SandboxBot>();

  /** Moves a bot by an event. @returns false where the event is not allowed in its state. */
  const happen = (
    bot: SandboxBot,
    now: Date,
    type: string,
    subType?: string,
    metadata: Record<string, unknown> = {},
  ): boolean => {
    const transition = transitions[type];
    if (!transition?.from.includes(bot.state)) return false;
    const before = bot.state;
    bot.state = transition.to;
    bot.events.push({
      type,
      ...(subType ? { sub_type: subType } : {}),
      created_at: `${now.toISOString().slice(0, -1)}000Z`,
    });
    if (bot.state === "joined_recording") {
      bot.recordingState = "in_progress";
      bot.recordingStartedAt ??= now;
    }
    if (bot.state === "joined_recording_paused") bot.recordingState = "paused";
    tell(
      bot,
      "bot.state_change",
      new Map<string, unknown>([
        ["new_state", bot.state],
        ["old_state", before],
        ["created_at", `${now.toISOString().slice(0, -1)}000+00:00`],
        ["event_type", type],
        ["event_sub_type", subType ?? null],
        ["event_metadata", metadata],
      ]),
    );
    return true;
  };

  const later = (bot: SandboxBot, now: Date, seconds: number, act: (now: Date) => void) => {
    bot.plan.push({ at: now.getTime() + (seconds * 1000) / settings.speed, act });
    bot.plan.sort((one, other) => one.at - other.at);
  };

  const join = (bot: SandboxBot, now: Date, source: string): void => {
    if (!happen(bot, now, "join_requested", undefined, { source })) return;
    const fate = settings.fates.find(([part]) => bot.meetingUrl.includes(part))?.[1] ?? "plays";
    const fail = (after: number, type: string, subType: string) =>
      later(bot, now, after, (at) => {
        if (happen(bot, at, type, subType)) finishRecording(bot, at);
      });
    if (fate === "not_found") {
      fail(1, "could_not_join_meeting", "meeting_not_found");
      return;
    }
    if (fate === "crashes_joining") {
      fail(1, "fatal_error", "process_terminated");
      return;
    }
    if (fate === "waits" || fate === "denied" || fate === "ignored") {
      later(bot, now, 1, (at) => {
        happen(bot, at, "put_in_waiting_room");
        if (fate === "waits")
          later(bot, at, settings.admitAfter, (then) => enter(bot, then, "plays"));
      });
      if (fate === "denied") fail(5, "could_not_join_meeting", "request_to_join_denied");
      if (fate === "ignored") fail(900, "could_not_join_meeting", "waiting_room_timeout_exceeded");
      return;
    }
    later(bot, now, 1.5, (at) => enter(bot, at, fate));
  };

  const enter = (bot: SandboxBot, now: Date, fate: Fate): void => {
    if (!happen(bot, now, "joined_meeting")) return;
    if (fate === "no_recording") {
      later(bot, now, 1, (at) => {
        happen(bot, at, "recording_permission_denied", "host_denied_permission");
      });
    } else later(bot, now, 0.2, (at) => void happen(bot, at, "recording_permission_granted"));
    if (fate === "crashes") {
      later(bot, now, 5, (at) => {
        if (happen(bot, at, "fatal_error", "heartbeat_timeout")) finishRecording(bot, at);
      });
    }
    const scenes = settings.play.filter(
      ({ does }) => fate !== "silent" || does === "join" || does === "leave",
    );
    for (const scene of scenes) later(bot, now, scene.after, (at) => perform(bot, at, scene));
    if (bot.greeting) {
      later(bot, now, 0.4, (at) =>
        say(bot, at, { who: bot.name, uuid: bot.id }, bot.greeting ?? ""),
      );
    }
    const end = Math.max(0, ...settings.play.map(({ after }) => after));
    later(bot, now, end + 1, (at) => leave(bot, at, "auto_leave_only_participant_in_meeting"));
  };

  const leave = (bot: SandboxBot, now: Date, subType: string): boolean => {
    if (!happen(bot, now, "leave_requested", subType)) return false;
    bot.plan = [];
    later(bot, now, 0.3, (at) => {
      happen(bot, at, "left_meeting");
      later(bot, at, 0.5, (then) => complete(bot, then));
    });
    return true;
  };

  const complete = (bot: SandboxBot, now: Date): void => {
    const isLate = settings.transcriptLate > 0 && bot.utterances.length > 0;
    const kept = isLate ? bot.utterances.splice(1) : [];
    bot.transcriptionState =
      bot.utterances.length === 0 ? "not_started" : isLate ? "in_progress" : "complete";
    happen(bot, now, "post_processing_completed", undefined, {
      bot_duration_seconds: 30,
      credits_consumed: new Float(1),
    });
    if (isLate) {
      later(bot, now, settings.transcriptLate, () => {
        bot.utterances.push(...kept);
        bot.transcriptionState = "complete";
      });
    }
    finishRecording(bot, now);
  };

  const finishRecording = (bot: SandboxBot, now: Date): void => {
    if (bot.recordingStartedAt === null) return;
    bot.recordingState = "complete";
    if (bot.recordingFormat === "none") return;
    later(bot, now, settings.uploadAfter, (at) => {
      bot.recordingUploadedAt = at;
    });
  };

  const perform = (bot: SandboxBot, now: Date, scene: Scene): void => {
    const person = people.find(({ name }) => name === scene.who);
    if (!person || !leavable.includes(bot.state)) return;
    if (!("text" in scene)) {
      move(bot, now, person, scene.does);
      return;
    }
    if (scene.does === "chat") {
      say(bot, now, { who: person.name, uuid: person.uuid }, scene.text);
      return;
    }
    if (bot.state !== "joined_recording") return;
    const words = scene.text.split(" ");
    const utterance = {
      speaker_name: person.name,
      speaker_uuid: person.uuid,
      speaker_user_uuid: null,
      speaker_is_host: person.isHost,
      timestamp_ms: now.getTime(),
      duration_ms: 500,
      transcription: { transcript: words.slice(0, 3).join(" ") },
      updatedAt: now,
    };
    bot.utterances.push(utterance);
    bot.transcriptionState = "in_progress";
    const told = ({ updatedAt: _, ...view }: typeof utterance) =>
      tell(bot, "transcript.update", structuredClone(view));
    told(utterance);
    // The caption grows where it stands.
    later(bot, now, scene.seconds, (at) => {
      utterance.transcription = { transcript: scene.text };
      utterance.duration_ms = scene.seconds * 1000;
      utterance.updatedAt = at;
      told(utterance);
    });
  };

  const move = (
    bot: SandboxBot,
    now: Date,
    person: (typeof people)[number],
    type: "join" | "leave",
  ): void => {
    bot.participants.set(person.uuid, { id: idOf("par"), ...person });
    const event = {
      id: idOf("pe"),
      participant_name: person.name,
      participant_uuid: person.uuid,
      participant_user_uuid: null,
      participant_is_host: person.isHost,
      event_type: type,
      event_data: {},
      timestamp_ms: now.getTime(),
    };
    bot.participantEvents.push({ ...event, createdAt: now });
    tell(bot, "participant_events.join_leave", event);
  };

  const say = (
    bot: SandboxBot,
    now: Date,
    sender: { who: string; uuid: string },
    text: string,
  ): void => {
    if (!["joined_recording", "joined_recording_paused"].includes(bot.state)) return;
    const message = {
      id: idOf("msg"),
      text,
      timestamp_ms: now.getTime(),
      timestamp: Math.floor(now.getTime() / 1000),
      to: "everyone",
      sender_name: sender.who,
      sender_uuid: sender.uuid,
      sender_user_uuid: null,
      additional_data: {},
    };
    bot.messages.push(message);
    tell(bot, "chat_messages.update", message);
  };

  /** Launches what is due, and lets everything happen that is to have happened by now, in its order. */
  const run = (now: Date): void => {
    for (const bot of bots.values()) {
      if (bot.state === "scheduled" && bot.joinAt) launch(bot, now, bot.joinAt);
      if (bot.state === "staged" && bot.joinAt && bot.joinAt <= now) {
        join(bot, bot.joinAt, "scheduler");
      }
      while (bot.plan[0] && bot.plan[0].at <= now.getTime()) {
        const next = bot.plan.shift();
        next?.act(new Date(next.at));
      }
    }
  };
  // Five minutes early it is put into a machine, and can be neither moved nor deleted from then on. Missed by more than
  // that it stays, until it is given up after an hour.
  const launch = (bot: SandboxBot, now: Date, joinAt: Date): void => {
    const aheadMs = joinAt.getTime() - now.getTime();
    if (Math.abs(aheadMs) <= 300_000) {
      happen(bot, now, "staged", undefined, { join_at: joinAt.toISOString() });
    } else if (aheadMs < -3_600_000) happen(bot, now, "fatal_error", "bot_not_launched");
  };

  return {
    bots,
    run,
    happen,
    join,
    leave,
    say,
    isOver: (bot: SandboxBot) => over.includes(bot.state),
    isInMeeting: (bot: SandboxBot) => joined.includes(bot.state),
  };
}

export type Bots = ReturnType<typeof openBots>;

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

export function idOf(prefix: string): string {
  return `${prefix}_${[...randomBytes(16)].map((byte) => letters[byte % letters.length]).join("")}`;
}
