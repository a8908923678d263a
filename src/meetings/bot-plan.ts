/** What the decision about a bot looks at. */
export type PlannedMeeting = {
  meetingUrl: string | null;
  startTime: Date;
  endTime: Date;
  /** The person's own answer. */
  eventStatus: string | null;
  isCancelled: boolean;
  /** The assistant's address of this person is among the attendees. */
  isAssistantInvited: boolean;
  /** What the person said in Daybook; null when nothing. */
  wantsBot: boolean | null;
  /** What the bot that was sent was sent to; null while there is none. */
  bot: { meetingUrl: string | null; startTime: Date } | null;
};

/** `send` and `move` say when and where by the meeting itself; `none` leaves things as they are. */
export type BotPlan = {
  decision: "none" | "send" | "move" | "cancel";
  rule: string;
  reason: string;
};

/** Decides whether a meeting gets a bot, and what becomes of one that it has. */
export function botPlan(meeting: PlannedMeeting, now: Date): BotPlan {
  const wanted = wish(meeting, now);
  const { bot, meetingUrl, startTime } = meeting;
  if (!wanted.isWanted) return { decision: bot ? "cancel" : "none", ...wanted.why };
  if (!bot) return { decision: "send", ...wanted.why };
  if (bot.meetingUrl !== meetingUrl || bot.startTime.getTime() !== startTime.getTime()) {
    return { decision: "move", rule: "moved", reason: "The meeting has another time or link now" };
  }
  return { decision: "none", rule: "served", reason: "The meeting has its bot" };
}

type Wish = { isWanted: boolean; why: { rule: string; reason: string } };

function wish(meeting: PlannedMeeting, now: Date): Wish {
  const no = (rule: string, reason: string): Wish => ({ isWanted: false, why: { rule, reason } });
  const yes = (rule: string, reason: string): Wish => ({ isWanted: true, why: { rule, reason } });
  if (meeting.endTime <= now) return no("over", "The meeting is over");
  if (meeting.isCancelled) return no("cancelled", "The event was cancelled");
  if (meeting.meetingUrl === null) return no("no_link", "The event has no meeting link");
  if (meeting.wantsBot === false) return no("refused", "A bot was turned off for this meeting");
  if (meeting.eventStatus === "declined") return no("declined", "The invitation was declined");
  if (meeting.wantsBot) return yes("asked", "A bot was asked for in Daybook");
  if (meeting.isAssistantInvited) return yes("invited", "The assistant's address is invited");
  return no("not_asked", "Nobody asked for a bot");
}
