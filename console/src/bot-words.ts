import type { Bot, BotEvent, BotNotice } from "./bots.ts";

/** What a bot is doing, in people's words. */
export const botWords: Record<string, string> = {
  pending: "to be sent",
  bot_scheduled: "on its way",
  bot_joined: "in the meeting",
  transcribing: "transcribing",
  completed: "done",
  failed: "failed",
} satisfies Record<Bot["status"], string>;

// Where the provider's own word says more.
const stateWords: Record<string, string> = {
  staged: "being started",
  joining: "joining",
  waiting_room: "waiting to be let in",
  joined_recording_paused: "in the meeting",
  joined_recording_permission_denied: "in the meeting, but may not record",
  joining_breakout_room: "moving to a breakout room",
  leaving_breakout_room: "coming back from a breakout room",
  leaving: "leaving",
  post_processing: "finishing",
};

/** The same of one bot, as exactly as is known. */
export function wordsOf({ wish, is_over, state, status }: Bot): string {
  if (is_over) return botWords[status] ?? status;
  if (wish === "leave") return "leaving";
  return stateWords[state ?? ""] ?? botWords[status] ?? status;
}

/** Whose turn it is when something went wrong. */
export const turnWords: Record<BotNotice["fault"], string | null> = {
  nobody: null,
  host: "It is the host’s turn",
  organiser: "It is the organiser’s turn",
  settings: "It is your turn: the settings",
  operator: "It is the turn of whoever runs this Daybook",
  attendee: "It is Attendee’s fault, and nobody’s turn here",
};

const sentences: Record<string, string> = {
  planned: "It was decided that a bot comes",
  moved: "It was moved, or is to be otherwise",
  called_off: "It was called off",
  asked_to_leave: "Somebody sent it away",
  replaced: "Another bot took its place",
  sent_again: "It was sent once more",
  wrote_into_chat: "Somebody wrote into the chat through it",
  ended_before_it_came: "It ended before it came",
  too_late: "The meeting was over before it could be sent",
  gone: "Somebody deleted it at Attendee",
  unreachable: "Attendee said no more of it",
  unexpected: "Daybook could not follow it any longer",
  refused: "Attendee refused it",
  staged: "It is being started",
  join_requested: "It asked to join",
  put_in_waiting_room: "It was put into the waiting room",
  joined_meeting: "It joined",
  recording_permission_granted: "It began to record",
  recording_permission_denied: "It may not record",
  recording_paused: "Recording was paused",
  recording_resumed: "Recording went on",
  joined_breakout_room: "It moved to a breakout room",
  left_breakout_room: "It came back from a breakout room",
  could_not_join_meeting: "It could not join",
  leave_requested: "It was to leave",
  left_meeting: "It left",
  meeting_ended: "The meeting ended, or the host removed it",
  post_processing_completed: "Everything was worked up",
  fatal_error: "It broke down",
  data_deleted: "Its recordings were deleted at Attendee",
};

const causes: Record<string, string> = {
  user_requested: "as was asked in Daybook",
  auto_leave_only_participant_in_meeting: "everybody else had left",
  auto_leave_silence: "nobody had spoken for long",
  auto_leave_max_uptime: "it had been there for as long as it may",
  auto_leave_could_not_enable_closed_captions: "captions could not be turned on",
  request_to_join_denied: "somebody in the meeting refused it",
  waiting_room_timeout_exceeded: "nobody let it in for 15 minutes",
  meeting_not_started_waiting_for_host: "the host did not start the meeting in time",
  meeting_not_found: "there is no meeting at the link",
  unable_to_connect_to_meeting: "the meeting could not be entered by the link",
  login_required: "only people who are signed in are admitted",
  bot_login_attempt_failed: "it could not sign in",
  blocked_by_captcha: "it was asked to prove that it is human",
  host_denied_permission: "the host did not allow it",
  request_timed_out: "nobody answered its question",
  host_client_cannot_grant_permission: "the host’s Zoom cannot allow it",
  webinar_attendee_needs_panelist_promotion: "only panellists may in a webinar",
  out_of_credits: "the Attendee account has no credits left",
  bot_not_launched: "it was never started on Attendee’s side",
  process_terminated: "its process ended on Attendee’s side",
  heartbeat_timeout: "it was heard of no more on Attendee’s side",
  attendee_internal_error: "an error of Attendee’s own",
  ui_element_not_found: "it did not find its way around the meeting’s page",
  global_runtime_timeout: "it had run for 30 hours",
};

/** One thing that happened to a bot, in a sentence. What we have no words for is quoted. */
export function sentenceOf({ type, sub_type }: BotEvent): string {
  const plain = (code: string) => code.replaceAll("_", " ");
  const cause = sub_type && (causes[sub_type] ?? plain(sub_type));
  return `${sentences[type] ?? plain(type)}${cause ? `: ${cause}` : ""}`;
}
