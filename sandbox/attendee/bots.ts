import { asPerson, presentIn, type SandboxBot, type Tell } from "./bot.ts";
import { openHearing } from "./heard.ts";
import { type Fate, type Person, people, type Scene, usualPlay } from "./play.ts";
import { Float } from "./python-json.ts";
import { finalStates, leavableStates, stateAfter } from "./states.ts";
import { apiTime, pythonTime } from "./times.ts";

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
  /** Whether some of the transcription fails; what was understood stays. */
  transcriptionFails: boolean;
  /** Seconds after the end until the recording is uploaded. */
  uploadAfter: number;
  /** How often the scheduler looks; the real one each minute, 0 at every chance. */
  schedulerEverySeconds: number;
  hasCredits: boolean;
};

export const usualPlaySettings: PlaySettings = {
  speed: 1,
  fates: [],
  play: usualPlay,
  admitAfter: 5,
  transcriptLate: 0,
  transcriptionFails: false,
  uploadAfter: 1,
  schedulerEverySeconds: 0,
  hasCredits: true,
};

/** Something that takes a bot to another state. */
export type Happening = { type: string; subType?: string; metadata?: Record<string, unknown> };

/** Bots that live through their meetings by themselves, as `run` brings them up to a time. */
export function openBots(settings: PlaySettings, tell: Tell) {
  const bots = new Map<string, SandboxBot>();
  const hearing = openHearing(tell);

  /** Moves a bot by an event. @returns false where the event is not allowed in its state. */
  const happen = (bot: SandboxBot, now: Date, { type, subType, metadata }: Happening): boolean => {
    const next = stateAfter(bot, type);
    if (next === null) return false;
    const before = bot.state;
    bot.state = next;
    bot.events.push({
      type,
      ...(subType ? { sub_type: subType } : {}),
      created_at: apiTime(now),
    });
    followRecording(bot, now);
    const isEnd = next === "ended" || next === "fatal_error";
    tell(
      bot,
      "bot.state_change",
      new Map<string, unknown>([
        ["new_state", next],
        ["old_state", before],
        ["created_at", pythonTime(now)],
        ["event_type", type],
        ["event_sub_type", subType ?? null],
        ["event_metadata", { ...metadata, ...(isEnd ? accountOf(bot, now) : {}) }],
      ]),
    );
    return true;
  };

  const followRecording = (bot: SandboxBot, now: Date): void => {
    if (bot.state === "joining") bot.joinedAt = now;
    if (bot.state === "joined_recording") {
      bot.recordingState = "in_progress";
      bot.recordingStartedAt ??= now;
    }
    const isStarted = bot.recordingStartedAt !== null;
    const isHalted = /paused$|permission_denied$/.test(bot.state);
    if (isHalted && isStarted) bot.recordingState = "paused";
    if (bot.state !== "ended" && bot.state !== "fatal_error") return;
    bot.plan = [];
    if (bot.transcriptionState === "in_progress") {
      bot.transcriptionState = settings.transcriptionFails ? "failed" : "complete";
    }
    if (!isStarted) return;
    bot.recordingState = "complete";
    if (bot.recordingFormat === "none") return;
    later(bot, now, settings.uploadAfter, (at) => {
      bot.recordingUploadedAt = at;
    });
  };

  // Whole credits are a float too: `1.0` on the wire, which JavaScript would print as 1.
  const accountOf = (bot: SandboxBot, now: Date) => ({
    bot_duration_seconds: Math.round((now.getTime() - (bot.joinedAt ?? now).getTime()) / 1000),
    ...(bot.state === "ended" ? { credits_consumed: new Float(1) } : {}),
    ...(bot.transcriptionState === "failed"
      ? { transcription_errors: ["transcription_request_failed"] }
      : {}),
  });

  /** Plans what happens to a bot so many seconds of its meeting later. */
  const later = (bot: SandboxBot, now: Date, seconds: number, act: (now: Date) => void): void => {
    bot.plan.push({ at: now.getTime() + (seconds * 1000) / settings.speed, act });
    bot.plan.sort((one, other) => one.at - other.at);
  };
  const happenLater = (bot: SandboxBot, now: Date, seconds: number, what: Happening): void =>
    later(bot, now, seconds, (at) => void happen(bot, at, what));

  const join = (bot: SandboxBot, now: Date, source: string): void => {
    if (!happen(bot, now, { type: "join_requested", metadata: { source } })) return;
    const fate = settings.fates.find(([part]) => bot.meetingUrl.includes(part))?.[1] ?? "plays";
    const failure = failureToJoin(fate);
    if (failure) happenLater(bot, now, 1, failure);
    else if (fate === "waits" || fate === "denied" || fate === "ignored") wait(bot, now, fate);
    else later(bot, now, 1.5, (at) => enter(bot, at, fate));
  };

  const wait = (bot: SandboxBot, now: Date, fate: "waits" | "denied" | "ignored"): void => {
    happenLater(bot, now, 1, { type: "put_in_waiting_room" });
    if (fate === "waits") later(bot, now, 1 + settings.admitAfter, (at) => admit(bot, at));
    else if (fate === "denied") later(bot, now, 5, (at) => void refuse(bot, at));
    else {
      const subType = "waiting_room_timeout_exceeded";
      happenLater(bot, now, 900, { type: "could_not_join_meeting", subType });
    }
  };

  const enter = (bot: SandboxBot, now: Date, fate: Fate): void => {
    if (!happen(bot, now, { type: "joined_meeting" })) return;
    const own = typeof fate === "object" ? fate : null;
    const denial =
      own?.type === "recording_permission_denied"
        ? own.sub_type
        : fate === "no_recording" && "host_denied_permission";
    if (denial) {
      happenLater(bot, now, 1, { type: "recording_permission_denied", subType: denial });
    } else happenLater(bot, now, 0.2, { type: "recording_permission_granted" });
    if (fate === "crashes" || own?.type === "fatal_error") {
      const subType = own?.sub_type ?? "heartbeat_timeout";
      happenLater(bot, now, 5, { type: "fatal_error", subType });
    }
    if (own?.type === "leave_requested") {
      later(bot, now, 5, (at) => void leave(bot, at, own.sub_type));
    }
    if (fate === "removed") later(bot, now, 11, (at) => void remove(bot, at));
    if (fate === "ends") later(bot, now, 21, (at) => void end(bot, at));
    if (fate === "breakout") visitBreakoutRoom(bot, now);
    if (bot.greeting) {
      const text = bot.greeting;
      later(bot, now, 0.4, (at) => hearing.write(bot, at, { by: asPerson(bot), text }));
    }
    for (const scene of settings.play) {
      const isHeard = fate !== "silent" || scene.does === "join" || scene.does === "leave";
      if (isHeard) later(bot, now, scene.after, (at) => perform(bot, at, scene));
    }
    const after = Math.max(0, ...settings.play.map((scene) => scene.after)) + 1;
    later(bot, now, after, (at) => void leave(bot, at, "auto_leave_only_participant_in_meeting"));
  };

  const visitBreakoutRoom = (bot: SandboxBot, now: Date): void => {
    happenLater(bot, now, 5, { type: "began_joining_breakout_room" });
    happenLater(bot, now, 7, { type: "joined_breakout_room" });
    happenLater(bot, now, 11, { type: "began_leaving_breakout_room" });
    happenLater(bot, now, 13, { type: "left_breakout_room" });
  };

  const perform = (bot: SandboxBot, now: Date, scene: Scene): void => {
    const person = people.find(({ name }) => name === scene.who);
    if (!person || !leavableStates.includes(bot.state)) return;
    if (scene.does === "say") say(bot, now, { ...scene, person });
    else if (scene.does === "chat") hearing.write(bot, now, { ...scene, by: person });
    else if (scene.does === "edit") hearing.edit(bot, person, scene.text);
    else hearing.move(bot, now, person, scene.does);
  };

  /** Has somebody speak: the caption grows where it stands. */
  const say = (
    bot: SandboxBot,
    now: Date,
    { person, text, seconds }: { person: Person; text: string; seconds: number },
  ): void => {
    const caption = hearing.caption(bot, now, person, text.split(" ").slice(0, 3).join(" "));
    later(bot, now, seconds, (at) => caption?.rewrite(at, text, seconds * 1000));
  };

  /** Lets in a bot that waits, into a meeting that then plays. */
  const admit = (bot: SandboxBot, now: Date): void => {
    if (bot.state !== "waiting_room") return;
    bot.plan = [];
    enter(bot, now, "plays");
  };

  /** Refuses a bot that asks to be let in. */
  const refuse = (bot: SandboxBot, now: Date): boolean =>
    closing(bot, () =>
      happen(bot, now, {
        type: "could_not_join_meeting",
        subType: "request_to_join_denied",
        metadata: removerIn(bot),
      }),
    );

  const leave = (bot: SandboxBot, now: Date, subType: string): boolean =>
    closing(bot, () => {
      if (!happen(bot, now, { type: "leave_requested", subType })) return false;
      later(bot, now, 0.3, (at) => {
        if (happen(bot, at, { type: "left_meeting" })) completeLater(bot, at);
      });
      return true;
    });

  /** Somebody throws the bot out: of those who stay it sees nobody leave. */
  const remove = (bot: SandboxBot, now: Date): boolean =>
    closing(bot, () => {
      if (!happen(bot, now, { type: "meeting_ended", metadata: removerIn(bot) })) return false;
      completeLater(bot, now);
      return true;
    });

  /** The host ends the meeting for all. */
  const end = (bot: SandboxBot, now: Date): boolean =>
    closing(bot, () => {
      if (stateAfter(bot, "meeting_ended") === null) return false;
      for (const person of presentIn(bot)) hearing.move(bot, now, person, "leave");
      happen(bot, now, { type: "meeting_ended" });
      completeLater(bot, now);
      return true;
    });

  // What else was to happen in the meeting does not happen any more.
  const closing = (bot: SandboxBot, act: () => boolean): boolean => {
    const { plan } = bot;
    bot.plan = [];
    const isDone = act();
    if (!isDone) bot.plan = plan;
    return isDone;
  };

  const completeLater = (bot: SandboxBot, now: Date): void =>
    later(bot, now, 0.5, (at) => complete(bot, at));

  const complete = (bot: SandboxBot, now: Date): void => {
    const isLate = settings.transcriptLate > 0 && bot.utterances.length > 0;
    const kept = isLate ? bot.utterances.splice(1) : [];
    happen(bot, now, { type: "post_processing_completed" });
    if (!isLate) return;
    bot.transcriptionState = "in_progress";
    later(bot, now, settings.transcriptLate, (at) => {
      for (const utterance of kept) hearing.understand(bot, at, utterance);
      bot.transcriptionState = "complete";
    });
  };

  let lookedAt = Number.NEGATIVE_INFINITY;
  const schedule = (now: Date): void => {
    const sinceMs = now.getTime() - lookedAt;
    if (sinceMs >= 0 && sinceMs < settings.schedulerEverySeconds * 1000) return;
    lookedAt = now.getTime();
    for (const bot of bots.values()) {
      if (bot.state === "scheduled" && bot.joinAt) launch(bot, now, bot.joinAt);
    }
  };

  // Five minutes early it is put into a machine, and can be neither moved nor deleted from then on. Missed by more than
  // that it stays, until it is given up after an hour.
  const launch = (bot: SandboxBot, now: Date, joinAt: Date): void => {
    const aheadMs = joinAt.getTime() - now.getTime();
    if (aheadMs < -3_600_000) {
      happen(bot, now, { type: "fatal_error", subType: "bot_not_launched" });
      return;
    }
    if (Math.abs(aheadMs) > 300_000) return;
    if (!settings.hasCredits) {
      happen(bot, now, { type: "fatal_error", subType: "out_of_credits" });
      return;
    }
    happen(bot, now, { type: "staged", metadata: { join_at: pythonTime(joinAt) } });
    const at = Math.max(now.getTime(), joinAt.getTime());
    bot.plan = [{ at, act: (then) => join(bot, then, "scheduler") }];
  };

  /** Launches what is due, and lets everything happen that is to have happened by now, in its order. */
  const run = (now: Date): void => {
    schedule(now);
    for (const bot of bots.values()) {
      while (bot.plan[0] && bot.plan[0].at <= now.getTime()) {
        const next = bot.plan.shift();
        next?.act(new Date(next.at));
      }
    }
  };

  return {
    bots,
    run,
    happen,
    happenLater,
    later,
    join,
    admit,
    refuse,
    leave,
    remove,
    end,
    say,
    write: hearing.write,
    isOver: (bot: SandboxBot) => finalStates.includes(bot.state),
  };
}

export type Bots = ReturnType<typeof openBots>;

function failureToJoin(fate: Fate): Happening | null {
  if (fate === "not_found") {
    return { type: "could_not_join_meeting", subType: "meeting_not_found" };
  }
  if (fate === "crashes_joining") return { type: "fatal_error", subType: "process_terminated" };
  const isOwn = typeof fate === "object" && fate.type === "could_not_join_meeting";
  return isOwn ? { type: fate.type, subType: fate.sub_type } : null;
}

// Only Teams says who it was.
function removerIn(bot: SandboxBot): Record<string, unknown> {
  const [remover] = presentIn(bot).concat(people);
  if (!remover || !bot.meetingUrl.includes("teams")) return {};
  return {
    remover_name: remover.name,
    remover_uuid: remover.uuid,
    remover_user_uuid: null,
    remover_is_host: remover.isHost,
  };
}
