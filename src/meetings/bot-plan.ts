/** What the decision about a bot looks at. */
export type PlannedMeeting = {
  meetingUrl: string | null;
  /** Bots can join by this link. */
  isJoinable: boolean;
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
  bot: {
    meetingUrl: string | null;
    startTime: Date;
    isOver: boolean;
    /** It was sent away, and has not left yet. */
    isLeaving: boolean;
  } | null;
};

/** What a person wants of all of their meetings. */
export type BotPreference = { allMeetings: boolean };

/** `send` and `move` say when and where by the meeting itself; `none` leaves things as they are. */
export type BotPlan = {
  decision: "none" | "send" | "move" | "cancel";
  rule: string;
  reason: string;
  /** Whether this person wants a bot there, whatever becomes of that. */
  isWanted: boolean;
};

/** Decides whether a meeting gets a bot, and what becomes of one that it has. */
export function botPlan(meeting: PlannedMeeting, preference: BotPreference, now: Date): BotPlan {
  const { bot, meetingUrl, startTime } = meeting;
  const isMoved =
    bot !== null &&
    (bot.meetingUrl !== meetingUrl || bot.startTime.getTime() !== startTime.getTime());
  const { isWanted, ...why } = wish(meeting, preference, now);
  const plan = (decision: BotPlan["decision"], rule: string, reason: string): BotPlan => {
    return { decision, rule, reason, isWanted };
  };
  // Whatever became of it: an occurrence has one bot, and the next is for another.
  if (bot?.isOver && (!isMoved || meeting.endTime <= now)) {
    return plan("none", "had_bot", "The meeting has had its bot");
  }
  if (!isWanted) return plan(bot && !bot.isOver ? "cancel" : "none", why.rule, why.reason);
  if (!bot) return plan("send", why.rule, why.reason);
  if (isMoved) return plan("move", "moved", `${why.reason}; it has another time or link now`);
  if (bot.isLeaving) return plan("none", "leaving", `${why.reason}; but its bot is leaving`);
  return plan("none", "served", `${why.reason}; it has its bot`);
}

type Wish = { isWanted: boolean; rule: string; reason: string };

function wish(meeting: PlannedMeeting, { allMeetings }: BotPreference, now: Date): Wish {
  const no = (rule: string, reason: string): Wish => ({ isWanted: false, rule, reason });
  const yes = (rule: string, reason: string): Wish => ({ isWanted: true, rule, reason });
  // A bot that is in a meeting which runs over its time stays: the provider says when it is over.
  if (meeting.endTime <= now && !meeting.bot) return no("over", "The meeting is over");
  if (meeting.isCancelled) return no("cancelled", "The event was cancelled");
  if (meeting.meetingUrl === null) return no("no_link", "The event has no meeting link");
  if (!meeting.isJoinable) return no("not_joinable", "Bots cannot join by this link");
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
