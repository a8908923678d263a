import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useContext, useState } from "react";
import {
  type Bot,
  callOffBot,
  fetchBot,
  fetchBotChat,
  fetchBotPeople,
  fetchBotTranscript,
  fetchMeeting,
  fetchMeetingWhy,
  type Meeting,
  pauseRecording,
  resumeRecording,
  type Segment,
  sendBot,
  sendBotChat,
  transcriptUrl,
} from "./api.ts";
import { dayOf, nameOf, timeOf } from "./days.ts";
import { Join } from "./join.tsx";
import { Notice, Say } from "./message.tsx";
import { Moment } from "./moment.tsx";
import { Link } from "./router.tsx";

/** One meeting: its bot with all that happened to it, what is said, written and who is there. */
export function MeetingPage({ id }: { id: string }) {
  const meeting = useQuery({ queryKey: ["meetings", id], queryFn: () => fetchMeeting(id) });
  const back = (
    <p className="back">
      <Link href="/meetings">All meetings</Link>
    </p>
  );
  if (meeting.isPending) return <div className="skeleton card" aria-busy="true" />;
  if (meeting.isError) {
    return (
      <>
        {back}
        <Notice tone="warn">{meeting.error.message}</Notice>
      </>
    );
  }
  const { title, start_time, end_time, status, meeting_url, meeting_provider, bot_id } =
    meeting.data;
  const isOpen = status === "upcoming" || status === "running";
  return (
    <>
      {back}
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
        {nameOf(dayOf(start_time))}, {timeOf(start_time)} to {timeOf(end_time)}
      </p>
      {bot_id ? <BotParts id={bot_id} meeting={meeting.data} /> : <NoBot meeting={meeting.data} />}
    </>
  );
}

function NoBot({ meeting }: { meeting: Meeting }) {
  const why = useQuery({
    queryKey: ["meetings", "why", meeting.id],
    queryFn: () => fetchMeetingWhy(meeting.id),
  });
  const sending = useWish(() => sendBot(meeting.id), "The bot is on its way.");
  const isOpen = meeting.status === "upcoming" || meeting.status === "running";
  return (
    <section className="stacked" aria-labelledby="bot">
      <h2 id="bot">Bot</h2>
      <p className="empty">
        No bot.{why.isSuccess && ` ${why.data.reason}.`}
        {why.isSuccess && why.data.decision === "send" && " One is wanted, and will be sent."}
      </p>
      {isOpen && (
        <button
          type="button"
          className="primary"
          disabled={sending.isPending}
          onClick={() => sending.mutate()}
        >
          {meeting.status === "running" ? "Send a bot now" : "Send a bot"}
        </button>
      )}
    </section>
  );
}

/** What a bot is doing, in people's words. */
export const botWords: Record<string, string> = {
  pending: "to be sent",
  bot_scheduled: "on its way",
  bot_joined: "in the meeting",
  transcribing: "transcribing",
  completed: "done",
  failed: "failed",
};

function BotParts({ id, meeting }: { id: string; meeting: Meeting }) {
  const bot = useQuery({ queryKey: ["bots", id], queryFn: () => fetchBot(id) });
  if (bot.isPending) return <div className="skeleton card" aria-busy="true" />;
  if (bot.isError) return <Notice tone="warn">{bot.error.message}</Notice>;
  const hasCome = ["bot_joined", "transcribing", "completed"].includes(bot.data.status);
  return (
    <>
      <BotState bot={bot.data} meeting={meeting} />
      {hasCome && <Transcript bot={bot.data} />}
      {hasCome && <Chat bot={bot.data} />}
      {hasCome && <People id={id} />}
    </>
  );
}

function BotState({ bot, meeting }: { bot: Bot; meeting: Meeting }) {
  const { status, is_over, notice, last_error, is_recording_paused } = bot;
  const isThere = !is_over && (status === "bot_joined" || status === "transcribing");
  const leaving = useWish(
    () => callOffBot(bot.id),
    isThere ? "The bot is leaving." : "The bot is called off.",
  );
  const pausing = useWish(
    () => (is_recording_paused ? resumeRecording(bot.id) : pauseRecording(bot.id)),
    is_recording_paused ? "Recording goes on." : "Recording is paused.",
  );
  const isAway = bot.wish === "leave" || is_over;
  return (
    <section className="stacked" aria-labelledby="bot">
      <h2 id="bot">Bot</h2>
      <p role="status">
        <strong>{bot.name}</strong>{" "}
        <span
          className={`badge ${status === "failed" ? "warn" : status === "completed" ? "good" : ""}`}
        >
          {bot.wish === "leave" && !is_over ? "leaving" : botWords[status]}
        </span>
        {is_recording_paused && <span className="badge warn">recording paused</span>}
        {!is_over && !isThere && bot.join_at && (
          <span className="faint"> joins at {timeOf(bot.join_at)}</span>
        )}
      </p>
      {notice && (
        <p className={`state ${status === "failed" || !is_over ? "warn" : ""}`}>
          {notice.text}.{notice.cure && ` ${notice.cure}`}
        </p>
      )}
      {last_error && !is_over && <p className="state warn">{last_error}. It is tried again.</p>}
      {!isAway && (
        <div className="actions">
          {isThere && (
            <button type="button" disabled={pausing.isPending} onClick={() => pausing.mutate()}>
              {is_recording_paused ? "Resume recording" : "Pause recording"}
            </button>
          )}
          <button
            type="button"
            className="danger"
            disabled={leaving.isPending}
            onClick={() => leaving.mutate()}
          >
            {isThere ? "Send it away" : "Call it off"}
          </button>
        </div>
      )}
      {!isThere && !isAway && (
        <p className="faint">
          It moves with the event: change its time or link in your calendar
          {meeting.status === "upcoming" ? "." : " and it follows."}
        </p>
      )}
      <details>
        <summary>What happened so far</summary>
        <ol className="plain">
          {bot.events.map(({ type, sub_type, at }) => (
            <li key={`${type} ${at}`}>
              <span>
                {sentenceOf(type)}
                {sub_type && <span className="faint"> ({sub_type.replaceAll("_", " ")})</span>}{" "}
                <span className="faint">
                  <Moment at={at} />
                </span>
              </span>
            </li>
          ))}
        </ol>
      </details>
    </section>
  );
}

const sentences: Record<string, string> = {
  planned: "It was decided that a bot comes",
  moved: "The bot was moved",
  called_off: "The bot was called off",
  asked_to_leave: "Somebody sent it away",
  replaced: "Another bot took its place",
  sent_again: "It was sent once more",
  wrote_into_chat: "You wrote into the chat through it",
  ended_before_it_came: "It ended before it came",
  staged: "It is being started",
  join_requested: "It asked to join",
  put_in_waiting_room: "It was put into the waiting room",
  joined_meeting: "It joined",
  recording_permission_granted: "It began to record",
  recording_permission_denied: "It may not record",
  recording_paused: "Recording was paused",
  recording_resumed: "Recording went on",
  could_not_join_meeting: "It could not join",
  leave_requested: "It was to leave",
  left_meeting: "It left",
  meeting_ended: "The meeting ended, or the host removed it",
  post_processing_completed: "Everything was worked up",
  fatal_error: "It broke down",
};

function sentenceOf(type: string): string {
  return sentences[type] ?? type.replaceAll("_", " ");
}

function Transcript({ bot }: { bot: Bot }) {
  const [wanted, setWanted] = useState("");
  const transcript = useQuery({
    queryKey: ["bots", bot.id, "transcript"],
    queryFn: () => fetchBotTranscript(bot.id),
  });
  if (transcript.isPending) return <div className="skeleton card" aria-busy="true" />;
  if (transcript.isError) return <Notice tone="warn">{transcript.error.message}</Notice>;
  const { segments, final, is_empty, recording_url, document_id, duration_seconds } =
    transcript.data;
  const found = matching(segments, wanted);
  return (
    <section className="stacked" aria-labelledby="transcript">
      <h2 id="transcript">Transcript</h2>
      <p className="faint">
        <span className={`badge ${final ? "good" : ""}`}>{final ? "final" : "growing"}</span>
        {segments.length > 0 &&
          ` ${transcript.data.word_count} words in ${Math.max(1, Math.round(duration_seconds / 60))} min`}
      </p>
      {is_empty && <p className="empty">Nobody spoke, or nothing of it could be understood.</p>}
      {!final && segments.length === 0 && <p className="empty">Nobody has said anything yet.</p>}
      {segments.length > 0 && (
        <>
          <label className="filter">
            <span className="visually-hidden">Search in the transcript</span>
            <input
              type="search"
              placeholder="Search in the transcript"
              value={wanted}
              onChange={({ target }) => setWanted(target.value)}
            />
          </label>
          {found.length === 0 && <p className="empty">Nothing of that was said.</p>}
          <ul className="plain" aria-label="What was said" aria-live={final ? "off" : "polite"}>
            {found.map(({ speaker, text, start }) => (
              <li key={`${speaker} ${start}`}>
                <span>
                  <strong>{speaker}</strong> <span className="faint">{clock(start)}</span>
                </span>
                <span>{text}</span>
              </li>
            ))}
          </ul>
          <p className="actions">
            {(["text", "json", "vtt", "srt"] as const).map((format) => (
              <a
                key={format}
                className="button quiet"
                href={transcriptUrl(bot.id, format)}
                download
              >
                {format === "text" ? "Text" : format.toUpperCase()}
              </a>
            ))}
            {recording_url && (
              <a className="button quiet" href={recording_url} target="_blank" rel="noreferrer">
                Recording
              </a>
            )}
            {document_id && <Link href={`/documents?id=${document_id}`}>Its document</Link>}
          </p>
        </>
      )}
    </section>
  );
}

function matching(segments: Segment[], wanted: string): Segment[] {
  const word = wanted.trim().toLowerCase();
  if (word === "") return segments;
  return segments.filter(({ speaker, text }) => `${speaker} ${text}`.toLowerCase().includes(word));
}

function clock(seconds: number): string {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

function Chat({ bot }: { bot: Bot }) {
  const [text, setText] = useState("");
  const chat = useQuery({
    queryKey: ["bots", bot.id, "chat"],
    queryFn: () => fetchBotChat(bot.id),
  });
  const sending = useWish(async () => {
    await sendBotChat(bot.id, text.trim());
    setText("");
  }, "Your message is on its way.");
  const isThere = !bot.is_over && bot.state?.startsWith("joined_");
  const messages = chat.data ?? [];
  if (!isThere && messages.length === 0) return null;
  return (
    <section className="stacked" aria-labelledby="chat">
      <h2 id="chat">Chat</h2>
      {messages.length === 0 && <p className="empty">Nobody has written anything yet.</p>}
      <ul className="plain" aria-label="Messages">
        {messages.map((message) => (
          <li key={message.id}>
            <span>
              <strong>{message.sender_name ?? "Somebody"}</strong>{" "}
              <span className="faint">{timeOf(message.at)}</span>
            </span>
            <span>{message.text}</span>
          </li>
        ))}
      </ul>
      {isThere && (
        <form
          className="actions"
          onSubmit={(event) => {
            event.preventDefault();
            if (text.trim() !== "") sending.mutate();
          }}
        >
          <label className="visually-hidden" htmlFor="message">
            Write to everyone
          </label>
          <input
            id="message"
            maxLength={2000}
            placeholder="Write to everyone"
            value={text}
            onChange={({ target }) => setText(target.value)}
          />
          <button type="submit" disabled={sending.isPending || text.trim() === ""}>
            Send
          </button>
        </form>
      )}
    </section>
  );
}

function People({ id }: { id: string }) {
  const people = useQuery({
    queryKey: ["bots", id, "people"],
    queryFn: () => fetchBotPeople(id),
  });
  if (!people.data || people.data.length === 0) return null;
  return (
    <section className="stacked" aria-labelledby="people">
      <h2 id="people">Who came and went</h2>
      <ul className="plain">
        {people.data.map(({ id: key, participant_name, type, is_host, at }) => (
          <li key={key}>
            <span>
              <strong>{participant_name ?? "Somebody"}</strong>
              {is_host && <span className="badge">host</span>} {type === "join" ? "joined" : "left"}{" "}
              at {timeOf(at)}
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}

// Does something with a bot, says how it went, and has everything about it asked for again.
function useWish(act: () => Promise<unknown>, done: string) {
  const queries = useQueryClient();
  const say = useContext(Say);
  return useMutation({
    mutationFn: act,
    onSuccess: () => {
      say({ tone: "good", text: done });
      void queries.invalidateQueries({ queryKey: ["bots"] });
      return queries.invalidateQueries({ queryKey: ["meetings"] });
    },
    onError: (error) => say({ tone: "warn", text: error.message }),
  });
}
