/** Something that happens in a meeting, so many seconds after the bot has come in. `edit` is of their last message. */
export type Scene =
  | { after: number; does: "join" | "leave"; who: string }
  | { after: number; does: "say"; who: string; text: string; seconds: number }
  | { after: number; does: "chat"; who: string; text: string; to?: "everyone" | "only_bot" }
  | { after: number; does: "edit"; who: string; text: string };

/** What becomes of a bot. */
export const fates = [
  "plays",
  "silent",
  "waits",
  "denied",
  "ignored",
  "not_found",
  "no_recording",
  "breakout",
  "removed",
  "ends",
  "crashes",
  "crashes_joining",
] as const;

/** By name, or by the event that ends it or keeps it from recording. */
export type Fate = (typeof fates)[number] | { type: EndingEvent; sub_type: string };

/** Which sub types come with which event. Source: Attendee, `bots/models.py`. */
export const subTypes = {
  could_not_join_meeting: [
    "request_to_join_denied",
    "waiting_room_timeout_exceeded",
    "meeting_not_started_waiting_for_host",
    "meeting_not_found",
    "unable_to_connect_to_meeting",
    "login_required",
    "bot_login_attempt_failed",
    "blocked_by_captcha",
    "zoom_authorization_failed",
    "zoom_meeting_status_failed",
    "unpublished_zoom_app",
    "zoom_sdk_internal_error",
    "zoom_app_cannot_join_anonymously",
    "authorized_user_not_in_meeting_timeout_exceeded",
  ],
  leave_requested: [
    "auto_leave_silence",
    "auto_leave_only_participant_in_meeting",
    "auto_leave_max_uptime_exceeded",
    "auto_leave_could_not_enable_closed_captions",
  ],
  recording_permission_denied: [
    "host_denied_permission",
    "request_timed_out",
    "host_client_cannot_grant_permission",
    "webinar_attendee_needs_panelist_promotion",
  ],
  fatal_error: [
    "process_terminated",
    "attendee_internal_error",
    "heartbeat_timeout",
    "bot_not_launched",
    "global_runtime_timeout",
    "ui_element_not_found",
    "rtmp_connection_failed",
    "out_of_credits",
  ],
};
export type EndingEvent = keyof typeof subTypes;

/** Somebody in a meeting. */
export type Person = { name: string; uuid: string; isHost: boolean };

export const people: Person[] = [
  { name: "Robin Miller", uuid: "device-robin", isHost: true },
  { name: "Kim Sørensen", uuid: "device-kim", isHost: false },
  { name: "Ada Okafor", uuid: "device-ada", isHost: false },
];

/** A short meeting of three, which ends when everybody has left. */
export const usualPlay: Scene[] = [
  { after: 0.5, does: "join", who: "Robin Miller" },
  { after: 1, does: "join", who: "Kim Sørensen" },
  {
    after: 2,
    does: "say",
    who: "Robin Miller",
    text: "Good morning, shall we look at the launch?",
    seconds: 3,
  },
  {
    after: 6,
    does: "say",
    who: "Kim Sørensen",
    text: "Yes. The landing page is ready, the film is not.",
    seconds: 3,
  },
  { after: 8, does: "join", who: "Ada Okafor" },
  {
    after: 10,
    does: "say",
    who: "Ada Okafor",
    text: "Sorry I am late. The film comes on Thursday, I was told.",
    seconds: 4,
  },
  {
    after: 12,
    does: "chat",
    who: "Ada Okafor",
    text: "The storyboard: https://drive.example.com/storyboard",
  },
  {
    after: 15,
    does: "say",
    who: "Robin Miller",
    text: "Then we move the launch to Friday. Kim, will you tell the client?",
    seconds: 4,
  },
  {
    after: 20,
    does: "say",
    who: "Kim Sørensen",
    text: "I will write to them this afternoon.",
    seconds: 2,
  },
  { after: 23, does: "leave", who: "Ada Okafor" },
  { after: 24, does: "leave", who: "Robin Miller" },
  { after: 25, does: "leave", who: "Kim Sørensen" },
];
