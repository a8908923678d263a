import { useQuery } from "@tanstack/react-query";
import type { Meeting } from "./api.ts";
import { BotChoice } from "./bot-choice.tsx";
import { botWords } from "./bot-words.ts";
import { fetchWhy, type Why } from "./bots.ts";
import { dayOf, nameOf, timeOf } from "./days.ts";
import { Moment } from "./moment.tsx";

const whyOf = (meetingId: string) => ({
  queryKey: ["meetings", "why", meetingId],
  queryFn: () => fetchWhy(meetingId),
});

/** Why a meeting has a bot or none, in one sentence. */
export function ShortWhy({ meetingId }: { meetingId: string }) {
  const why = useQuery(whyOf(meetingId));
  if (!why.data) return <p className="faint">{why.error?.message ?? "Looking …"}</p>;
  return (
    <p className="faint" role="status">
      {verdictOf(why.data)}
    </p>
  );
}

/** The same with what it was decided by. */
export function WhySection({ meeting }: { meeting: Meeting }) {
  const why = useQuery(whyOf(meeting.id));
  const isOpen = meeting.status === "upcoming" || meeting.status === "running";
  return (
    <section className="stacked" aria-labelledby="why">
      <h2 id="why">Why</h2>
      {why.data ? (
        <Reason why={why.data} />
      ) : (
        <p className="faint">{why.error?.message ?? "Looking …"}</p>
      )}
      {isOpen && (
        <div className="bot">
          <BotChoice meeting={meeting} />
        </div>
      )}
    </section>
  );
}

function Reason({ why }: { why: Why }) {
  return (
    <>
      <p>
        {verdictOf(why)}
        {why.bot_status === "failed" && " It failed."}{" "}
        <span className="faint">
          Decided <Moment at={why.decided_at} />.
        </span>
      </p>
      <details>
        <summary>What that was decided by</summary>
        <dl className="facts">
          {factsOf(why).map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ))}
        </dl>
      </details>
    </>
  );
}

// These say by themselves that there is one, or was.
const ofItsBot = ["served", "had_bot", "shared", "moved"];
const verdicts = {
  send: "A bot is to come",
  move: "The bot is to move",
  cancel: "The bot is called off",
  none: "No bot",
};

function verdictOf({ decision, rule, reason }: Why): string {
  return ofItsBot.includes(rule) ? `${reason}.` : `${verdicts[decision]}: ${reason}.`;
}

const answers: Record<string, string> = {
  accepted: "yes",
  tentative: "maybe",
  declined: "no",
  needsAction: "none yet",
};

function factsOf({ rule, inputs, bot_status }: Why): [name: string, value: string][] {
  const yes = (claim: boolean | undefined) => (claim ? "yes" : "no");
  const asked = { true: "yes, with a bot", false: "yes, without one" }[String(inputs.wantsBot)];
  return [
    ["Link", inputs.meetingUrl ?? "none"],
    ["Bots can join by it", yes(inputs.isJoinable)],
    ["Starts", momentOf(inputs.startTime)],
    ["Ends", momentOf(inputs.endTime)],
    ["Cancelled", yes(inputs.isCancelled)],
    ["Your answer", answers[inputs.eventStatus ?? ""] ?? inputs.eventStatus ?? "none"],
    ["Asked in Daybook", asked ?? "no"],
    ["Assistant invited", yes(inputs.isAssistantInvited)],
    ["A bot for all meetings", yes(inputs.allMeetings)],
    ["In your own calendar", yes(inputs.isOwn)],
    ["Others are invited", yes(inputs.hasOthers)],
    ["Marked as private", yes(inputs.isPrivate)],
    ["Its bot", bot_status ? (botWords[bot_status] ?? bot_status) : "none"],
    ["Rule", rule],
  ];
}

function momentOf(moment: string | undefined): string {
  return moment ? `${nameOf(dayOf(moment))}, ${timeOf(moment)}` : "unknown";
}
