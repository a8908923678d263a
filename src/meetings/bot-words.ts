import { z } from "zod";
import type { BotState } from "../providers/attendee.ts";

/** What a bot is doing, in the older product's words. */
export const botStatuses = [
  "pending",
  "bot_scheduled",
  "bot_joined",
  "transcribing",
  "completed",
  "failed",
] as const;
export type BotStatus = (typeof botStatuses)[number];

const statusOfState: Record<BotState, BotStatus | null> = {
  ready: "pending",
  scheduled: "bot_scheduled",
  staged: "bot_scheduled",
  joining: "bot_scheduled",
  waiting_room: "bot_scheduled",
  joined_not_recording: "bot_joined",
  joined_recording_permission_denied: "bot_joined",
  joining_breakout_room: "bot_joined",
  leaving_breakout_room: "bot_joined",
  joined_recording: "transcribing",
  joined_recording_paused: "transcribing",
  leaving: "transcribing",
  post_processing: "transcribing",
  ended: "completed",
  fatal_error: "failed",
  // What it was before its data went still holds.
  data_deleted: null,
};

/** The status that a provider's state comes to, never one before `current`. A state that we do not know changes nothing. */
export function statusAfter(current: BotStatus, state: string): BotStatus {
  const next = Object.hasOwn(statusOfState, state) ? statusOfState[state as BotState] : null;
  if (!next) return current;
  return botStatuses.indexOf(next) > botStatuses.indexOf(current) ? next : current;
}

/** Something that a person should know about a bot: what happened, what they can do, and whose turn it is. */
export const BotNotice = z.object({
  code: z.string().describe("What happened, as one word for programs"),
  text: z.string().describe("What happened, in words"),
  cure: z.string().nullable(),
  fault: z.enum(["nobody", "host", "organiser", "settings", "operator", "attendee"]),
});
export type Notice = z.output<typeof BotNotice>;

const notice = (text: string, cure: string | null, fault: Notice["fault"]) => ({
  text,
  cure,
  fault,
});

const operatorsZoom = notice(
  "Zoom did not let the bot in: the Zoom app is not set up for it",
  "Ask whoever runs Daybook to look at the Zoom app in Attendee's settings.",
  "operator",
);
const broke = notice(
  "The bot broke down on Attendee's side",
  "Send another one if the meeting still runs.",
  "attendee",
);

// Source: Attendee, "Bot events" and the sub types in its code.
const notices: Record<string, Omit<Notice, "code">> = {
  request_to_join_denied: notice(
    "Somebody in the meeting refused the bot",
    "Ask the host to admit it, and send it again.",
    "host",
  ),
  waiting_room_timeout_exceeded: notice(
    "Nobody let the bot in for 15 minutes",
    "Ask the host to admit it from the waiting room, and send it again.",
    "host",
  ),
  meeting_not_started_waiting_for_host: notice(
    "The host did not start the meeting in time",
    "Send the bot again once the host is there.",
    "host",
  ),
  meeting_not_found: notice(
    "There is no meeting at this link",
    "Ask the organiser for the right link, and put it into the event.",
    "organiser",
  ),
  unable_to_connect_to_meeting: notice(
    "The meeting could not be entered by this link; often its password is missing",
    "Ask the organiser for the whole link, with its password.",
    "organiser",
  ),
  login_required: notice(
    "The meeting admits only people who are signed in",
    "Ask the host to admit guests, or whoever runs Daybook to set up a signed-in bot.",
    "operator",
  ),
  bot_login_attempt_failed: notice(
    "The bot could not sign in",
    "Ask whoever runs Daybook to look at the bot's sign-in in Attendee's settings.",
    "operator",
  ),
  blocked_by_captcha: notice(
    "The meeting asked the bot to prove that it is human",
    "Ask whoever runs Daybook to set up a signed-in bot.",
    "operator",
  ),
  zoom_authorization_failed: operatorsZoom,
  zoom_meeting_status_failed: operatorsZoom,
  unpublished_zoom_app: operatorsZoom,
  zoom_sdk_internal_error: operatorsZoom,
  zoom_app_cannot_join_anonymously: operatorsZoom,
  authorized_user_not_in_meeting_timeout_exceeded: operatorsZoom,
  host_denied_permission: notice(
    "The host did not allow the bot to record",
    "Ask the host to allow recording: the bot is in the meeting and waits for it.",
    "host",
  ),
  request_timed_out: notice(
    "Nobody answered the bot's question whether it may record",
    "Ask the host to allow recording: the bot is in the meeting and waits for it.",
    "host",
  ),
  host_client_cannot_grant_permission: notice(
    "The host's Zoom cannot allow the bot to record",
    "The host can allow it from the Zoom app on a computer.",
    "host",
  ),
  webinar_attendee_needs_panelist_promotion: notice(
    "In a webinar only panellists may record",
    "Ask the host to make the bot a panellist.",
    "host",
  ),
  auto_leave_could_not_enable_closed_captions: notice(
    "The bot left, since captions could not be turned on",
    "Allow captions in the meeting, or choose another way to transcribe in Attendee.",
    "settings",
  ),
  out_of_credits: notice(
    "The Attendee account has no credits left",
    "Ask whoever runs Daybook to add credits.",
    "operator",
  ),
  bot_not_launched: notice(
    "The bot was never started on Attendee's side",
    "Send another one if the meeting still runs.",
    "attendee",
  ),
  gone: notice(
    "Somebody deleted the bot at Attendee",
    "Send another one if the meeting still runs.",
    "operator",
  ),
  process_terminated: broke,
  attendee_internal_error: broke,
  heartbeat_timeout: broke,
  ui_element_not_found: broke,
  rtmp_connection_failed: broke,
  global_runtime_timeout: notice("The bot was ended after 30 hours", null, "nobody"),
};

/** What to say about how things went wrong; a code that we do not know is quoted. */
export function noticeOf(type: string, subType: string | null): Notice {
  const code = subType || type;
  const known = Object.hasOwn(notices, code) ? notices[code] : undefined;
  if (known) return { code, ...known };
  const text =
    type === "could_not_join_meeting"
      ? `The bot could not join the meeting (${code})`
      : `The bot failed (${code})`;
  return { code, ...broke, text };
}

/** Whether a new bot may do better: after failures on Attendee's side, none of which is a person's answer. */
export function isWorthRetrying(subType: string | null): boolean {
  return [
    "process_terminated",
    "attendee_internal_error",
    "heartbeat_timeout",
    "bot_not_launched",
    "ui_element_not_found",
    "meeting_not_started_waiting_for_host",
    "zoom_sdk_internal_error",
  ].includes(subType ?? "");
}

/** Joins that work take less than this. */
export const usualJoinMs = 60_000;

export const waitingToBeLetIn: Notice = {
  code: "waiting_to_be_let_in",
  text: "The bot is probably waiting to be let in",
  cure: "Ask somebody in the meeting to admit it. After 15 minutes it gives up.",
  fault: "host",
};

/** Attendee does not say who ended it; that people were still there is what one can know. */
export const removed = (there: number): Notice => ({
  code: "removed",
  text: `Somebody removed the bot, or ended the meeting for everybody, while ${there === 1 ? "one person was" : `${there} people were`} still there`,
  cure: "Ask the host before you send it again.",
  fault: "host",
});

export const emptyTranscript: Notice = {
  code: "empty",
  text: "Nobody spoke, or nothing of it could be understood",
  cure: null,
  fault: "nobody",
};
