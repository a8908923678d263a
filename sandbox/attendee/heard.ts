import { idOf, type SandboxBot, type Tell } from "./bot.ts";
import type { Person } from "./play.ts";

/** What reaches a bot's ears and eyes: each is kept and told, where a recording keeps it. */
export function openHearing(tell: Tell) {
  const tellUtterance = (bot: SandboxBot, { updatedAt: _, ...view }: SandboxBot["utterances"][0]) =>
    tell(bot, "transcript.update", structuredClone(view));

  /** Begins a caption; `rewrite` puts more in its place. Null where nothing is recorded. */
  const caption = (bot: SandboxBot, now: Date, person: Person, text: string) => {
    if (bot.state !== "joined_recording") return null;
    const utterance = {
      speaker_name: person.name,
      speaker_uuid: person.uuid,
      speaker_user_uuid: null,
      speaker_is_host: person.isHost,
      timestamp_ms: now.getTime(),
      duration_ms: 500,
      transcription: { transcript: text },
      updatedAt: now,
    };
    bot.utterances.push(utterance);
    bot.transcriptionState = "in_progress";
    tellUtterance(bot, utterance);
    return {
      rewrite: (at: Date, whole: string, durationMs: number) => {
        utterance.transcription = { transcript: whole };
        utterance.duration_ms = durationMs;
        utterance.updatedAt = at;
        tellUtterance(bot, utterance);
      },
    };
  };

  /** Adds what was understood only after the end. */
  const understand = (bot: SandboxBot, now: Date, utterance: SandboxBot["utterances"][0]): void => {
    const late = { ...utterance, updatedAt: now };
    bot.utterances.push(late);
    tellUtterance(bot, late);
  };

  /** Notes a message, unless nothing is recorded or paused; what is written then is lost. */
  const write = (
    bot: SandboxBot,
    now: Date,
    message: { by: Pick<Person, "name" | "uuid">; text: string; to?: "everyone" | "only_bot" },
  ): void => {
    if (!["joined_recording", "joined_recording_paused"].includes(bot.state)) return;
    const view = {
      id: idOf("msg"),
      text: message.text,
      timestamp_ms: now.getTime(),
      timestamp: Math.floor(now.getTime() / 1000),
      to: message.to ?? "everyone",
      sender_name: message.by.name,
      sender_uuid: message.by.uuid,
      sender_user_uuid: null,
      additional_data: {},
    };
    bot.messages.push(view);
    tell(bot, "chat_messages.update", structuredClone(view));
  };

  /** Puts a text in the place of somebody's last message: it keeps its id, and is told again. */
  const edit = (bot: SandboxBot, person: Person, text: string): void => {
    const message = bot.messages.findLast(({ sender_uuid }) => sender_uuid === person.uuid);
    if (!message) return;
    message.text = text;
    tell(bot, "chat_messages.update", structuredClone(message));
  };

  const move = (bot: SandboxBot, now: Date, person: Person, type: "join" | "leave"): void => {
    if (!bot.participants.has(person.uuid)) {
      bot.participants.set(person.uuid, { id: idOf("par"), ...person });
    }
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

  return { caption, understand, write, edit, move };
}
