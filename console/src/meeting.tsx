import { useQuery } from "@tanstack/react-query";
import { fetchMeeting, type Meeting } from "./api.ts";
import { BotSection, NoBot } from "./bot.tsx";
import { type Bot, fetchBot } from "./bots.ts";
import { Chat } from "./chat.tsx";
import { dayOf, nameOf, timeOf } from "./days.ts";
import { Join } from "./join.tsx";
import { People } from "./people.tsx";
import { Link } from "./router.tsx";
import { TranscriptSection } from "./transcript.tsx";
import { Waiting } from "./waiting.tsx";
import { WhySection } from "./why.tsx";

/** One meeting: its bot with all that happened to it, why, what is said and written, and who is there. */
export function MeetingPage({ id }: { id: string }) {
  const meeting = useQuery({
    queryKey: ["meetings", id],
    queryFn: () => fetchMeeting(id),
    // It begins and ends without anybody telling.
    refetchInterval: 60_000,
  });
  return (
    <>
      <p className="back">
        <Link href="/meetings">All meetings</Link>
      </p>
      {meeting.data ? (
        <>
          <Head meeting={meeting.data} />
          {meeting.data.bot_id ? (
            <WithBot id={meeting.data.bot_id} meeting={meeting.data} />
          ) : (
            <>
              <NoBot meeting={meeting.data} />
              <WhySection meeting={meeting.data} />
            </>
          )}
        </>
      ) : (
        <Waiting query={meeting} />
      )}
    </>
  );
}

function Head({ meeting }: { meeting: Meeting }) {
  const { title, start_time, end_time, status, meeting_url, meeting_provider } = meeting;
  const isOpen = status === "upcoming" || status === "running";
  return (
    <>
      <div className="title">
        <h1>{title}</h1>
        {isOpen && meeting_url && (
          <Join
            url={meeting_url}
            provider={meeting_provider}
            title={title}
            isPrimary={status === "running"}
          />
        )}
      </div>
      <p className="faint">
        {status === "running" && <strong className="now">now </strong>}
        {nameOf(dayOf(start_time))}, {timeOf(start_time)} to {timeOf(end_time)}{" "}
        {status === "cancelled" && <span className="badge">cancelled</span>}
        {status !== "cancelled" && meeting.event_status === "declined" && (
          <span className="badge">declined</span>
        )}
      </p>
    </>
  );
}

function WithBot({ id, meeting }: { id: string; meeting: Meeting }) {
  const bot = useQuery({ queryKey: ["bots", id], queryFn: () => fetchBot(id) });
  if (!bot.data) return <Waiting query={bot} />;
  return (
    <>
      <BotSection bot={bot.data} meeting={meeting} />
      <WhySection meeting={meeting} />
      {hasCome(bot.data) && <TranscriptSection bot={bot.data} />}
      {hasCome(bot.data) && <Chat bot={bot.data} />}
      {hasCome(bot.data) && <People bot={bot.data} />}
    </>
  );
}

// A bot that broke down, or is sent again, has heard something before.
function hasCome({ status, events }: Bot): boolean {
  return (
    ["bot_joined", "transcribing", "completed"].includes(status) ||
    events.some(({ type }) => type === "joined_meeting")
  );
}
