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
  /** It is in the person's own calendar, other people are invited too, and nothing marks it as private. */
  isOwn: boolean;
  hasOthers: boolean;
  isPrivate: boolean;
  /** What the bot that was sent was sent to; null while there is none. */
  bot: { meetingUrl: string | null; startTime: Date; isOver: boolean } | null;
};

/** What a person wants of all of their meetings. */
export type BotPreference = { allMeetings: boolean };

/** `send` and `move` say when and where by the meeting itself; `none` leaves things as they are. */
export type BotPlan = {
  decision: "none" | "send" | "move" | "cancel";
  rule: string;
  reason: string;
};

/** Decides whether a meeting gets a bot, and what becomes of one that it has. */
export function botPlan(meeting: PlannedMeeting, preference: BotPreference, now: Date): BotPlan {
  const { bot, meetingUrl, startTime } = meeting;
  const isMoved =
    bot !== null &&
    (bot.meetingUrl !== meetingUrl || bot.startTime.getTime() !== startTime.getTime());
  // Whatever became of it: an occurrence has one bot, and the next is for another.
  if (bot?.isOver && (!isMoved || meeting.endTime <= now)) {
    return { decision: "none", rule: "had_bot", reason: "The meeting has had its bot" };
  }
  const wanted = wish(meeting, preference, now);
  if (!wanted.isWanted) {
    return { decision: bot && !bot.isOver ? "cancel" : "none", ...wanted.why };
  }
  if (!bot) return { decision: "send", ...wanted.why };
  if (isMoved) {
    return { decision: "move", rule: "moved", reason: "The meeting has another time or link now" };
  }
  return { decision: "none", rule: "served", reason: "The meeting has its bot" };
}

type Wish = { isWanted: boolean; why: { rule: string; reason: string } };

function wish(meeting: PlannedMeeting, { allMeetings }: BotPreference, now: Date): Wish {
  const no = (rule: string, reason: string): Wish => ({ isWanted: false, why: { rule, reason } });
  const yes = (rule: string, reason: string): Wish => ({ isWanted: true, why: { rule, reason } });
  // A bot that is in a meeting which runs over its time stays: the provider says when it is over.
  if (meeting.endTime <= now && !meeting.bot) return no("over", "The meeting is over");
  if (meeting.isCancelled) return no("cancelled", "The event was cancelled");
  if (meeting.meetingUrl === null) return no("no_link", "The event has no meeting link");
  if (meeting.wantsBot === false) return no("refused", "A bot was turned off for this meeting");
  if (meeting.eventStatus === "declined") return no("declined", "The invitation was declined");
  if (meeting.wantsBot) return yes("asked", "A bot was asked for in Daybook");
  if (meeting.isAssistantInvited) return yes("invited", "The assistant's address is invited");
  if (!allMeetings) return no("not_asked", "Nobody asked for a bot");
  if (!meeting.isOwn) return no("not_own", "The meeting is in somebody else's calendar");
  if (meeting.isPrivate) return no("private", "The event is private");
  if (!meeting.hasOthers) return no("alone", "Nobody else is invited");
  return yes("all_meetings", "A bot is wanted for all meetings");
}
