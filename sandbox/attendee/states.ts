/** Every state of a bot, in the order of its life. */
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
];

/** In the meeting, in whatever room. */
export const joinedStates = botStates.filter((state) => state.startsWith("joined_"));
/** Where a bot can be told to leave. */
export const leavableStates = ["joining", "waiting_room", ...joinedStates].concat(
  botStates.filter((state) => state.endsWith("_breakout_room")),
);
/** After these nothing happens but that the data is deleted. */
export const finalStates = ["ended", "fatal_error", "data_deleted"];
/** What does not count against the number of bots at once. */
export const restingStates = ["ready", "scheduled", "staged", ...finalStates];

type Bot = { state: string; recordingState: string };

const afterBreakout = ({ recordingState }: Bot) =>
  recordingState === "in_progress"
    ? "joined_recording"
    : recordingState === "paused"
      ? "joined_recording_paused"
      : "joined_not_recording";

// Source: Attendee, `bots/models.py`: which event takes a bot from where to where.
const transitions: Record<string, { from: string[]; to: string | ((bot: Bot) => string) }> = {
  staged: { from: ["scheduled"], to: "staged" },
  join_requested: { from: ["ready", "staged"], to: "joining" },
  put_in_waiting_room: { from: ["joining"], to: "waiting_room" },
  joined_meeting: { from: ["joining", "waiting_room"], to: "joined_not_recording" },
  recording_permission_granted: {
    from: ["joined_not_recording", "joined_recording_permission_denied"],
    to: "joined_recording",
  },
  recording_permission_denied: { from: joinedStates, to: "joined_recording_permission_denied" },
  recording_paused: { from: ["joined_recording"], to: "joined_recording_paused" },
  recording_resumed: { from: ["joined_recording_paused"], to: "joined_recording" },
  began_joining_breakout_room: { from: joinedStates, to: "joining_breakout_room" },
  joined_breakout_room: { from: ["joining_breakout_room"], to: afterBreakout },
  began_leaving_breakout_room: { from: joinedStates, to: "leaving_breakout_room" },
  left_breakout_room: { from: ["leaving_breakout_room"], to: afterBreakout },
  could_not_join_meeting: { from: ["joining", "waiting_room"], to: "fatal_error" },
  leave_requested: { from: leavableStates, to: "leaving" },
  left_meeting: { from: ["leaving"], to: "post_processing" },
  meeting_ended: { from: [...leavableStates, "leaving"], to: "post_processing" },
  post_processing_completed: { from: ["post_processing"], to: "ended" },
  fatal_error: {
    from: botStates.filter((state) => state !== "ready" && !finalStates.includes(state)),
    to: "fatal_error",
  },
  data_deleted: { from: ["ended", "fatal_error"], to: "data_deleted" },
};

/** The state that an event takes a bot to; null where it is not allowed. */
export function stateAfter(bot: Bot, event: string): string | null {
  const transition = transitions[event];
  if (!transition?.from.includes(bot.state)) return null;
  return typeof transition.to === "string" ? transition.to : transition.to(bot);
}

/** The refusal of an event in a bot's state, in Attendee's words. */
export function notAllowed(bot: Bot, event: string): string {
  const from = transitions[event]?.from.join(", ");
  return `Event ${event} not allowed when bot is in state ${bot.state}. It is only allowed in these states: ${from}`;
}
