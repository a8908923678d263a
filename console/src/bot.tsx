import type { Meeting } from "./api.ts";
import { BotSettings } from "./bot-settings.tsx";
import { sentenceOf, turnWords, wordsOf } from "./bot-words.ts";
import {
  type Bot,
  callOffBot,
  pauseRecording,
  resumeRecording,
  sendBot,
  sendBotAgain,
} from "./bots.ts";
import { timeOf } from "./days.ts";
import { JoinTime } from "./join-time.tsx";
import { Notice } from "./message.tsx";
import { Moment } from "./moment.tsx";
import { WishButton } from "./wish.tsx";

/** A meeting's bot: how it is doing, what went wrong and whose turn it is, what can be done, and all that happened. */
export function BotSection({ bot, meeting }: { bot: Bot; meeting: Meeting }) {
  const isOpen = isOpenFor(meeting);
  const isEarly = bot.state === null || bot.state === "scheduled";
  const isToCome = isEarly && !bot.is_over && bot.wish === "attend";
  return (
    <section className="stacked" aria-labelledby="bot">
      <h2 id="bot">Bot</h2>
      <State bot={bot} isToCome={isToCome} />
      <Trouble bot={bot} />
      <Actions bot={bot} meeting={meeting} />
      {isOpen && isToCome && <JoinTime meeting={meeting} joinAt={bot.join_at} />}
      {isOpen && (isToCome || bot.is_over) && <BotSettings meeting={meeting} />}
      <History bot={bot} />
    </section>
  );
}

/** Where a meeting has no bot: one can be sent, now or at a time, and be told how to be. */
export function NoBot({ meeting }: { meeting: Meeting }) {
  const canHaveOne = isOpenFor(meeting) && meeting.meeting_url !== null;
  return (
    <section className="stacked" aria-labelledby="bot">
      <h2 id="bot">Bot</h2>
      <p className="empty">This meeting has no bot.</p>
      {canHaveOne && (
        <>
          <div className="actions">
            <WishButton
              className="primary"
              act={() => sendBot(meeting.id)}
              done="The bot is on its way."
            >
              {meeting.status === "running" ? "Send a bot now" : "Send a bot"}
            </WishButton>
          </div>
          <JoinTime meeting={meeting} joinAt={null} />
          <BotSettings meeting={meeting} />
        </>
      )}
    </section>
  );
}

function isOpenFor({ status }: Meeting): boolean {
  return status === "upcoming" || status === "running";
}

function State({ bot, isToCome }: { bot: Bot; isToCome: boolean }) {
  const { status, is_over } = bot;
  const tone = is_over ? { completed: "good", failed: "warn" }[status as string] : "";
  return (
    <p role="status">
      <strong>{bot.name}</strong> <span className={`badge ${tone ?? ""}`}>{wordsOf(bot)}</span>
      {bot.is_recording_paused && <span className="badge warn">recording paused</span>}
      {isToCome && bot.join_at && (
        <span className="faint">
          {" "}
          joins at {timeOf(bot.join_at)}, <Moment at={bot.join_at} />
        </span>
      )}
    </p>
  );
}

function Trouble({ bot }: { bot: Bot }) {
  const { notice, status, is_over, last_error, next_poll_at } = bot;
  const isSentAgain = !is_over && notice?.fault === "attendee";
  const isGrave = status === "failed" || !is_over || notice?.fault === "host";
  const turn = notice && turnWords[notice.fault];
  return (
    <>
      {notice && isSentAgain && (
        <p className="state warn">{notice.text}. Another one takes its place by itself.</p>
      )}
      {notice && !isGrave && <p className="empty">{notice.text}.</p>}
      {notice && isGrave && !isSentAgain && (
        <Notice tone="warn">
          <span>
            <strong>{notice.text}.</strong> {notice.cure}
          </span>
          {turn && <span className="turn">{turn}.</span>}
        </Notice>
      )}
      {last_error && !is_over && (
        <p className="state warn">
          {last_error}. It is tried again
          {next_poll_at ? ` around ${timeOf(next_poll_at)}` : ""}.
        </p>
      )}
    </>
  );
}

function Actions({ bot, meeting }: { bot: Bot; meeting: Meeting }) {
  if (bot.is_over) {
    if (!isOpenFor(meeting)) return null;
    return (
      <div className="actions">
        <WishButton
          className={bot.status === "failed" ? "primary" : ""}
          act={() => sendBotAgain(meeting.id)}
          done="The bot is sent again."
        >
          Send it again
        </WishButton>
      </div>
    );
  }
  if (bot.wish === "leave") {
    return <p className="faint">Once it has left, it can be sent again while the meeting runs.</p>;
  }
  const isPaused = bot.is_recording_paused;
  const isThere = bot.state?.startsWith("joined_") ?? false;
  const hasSetOut = bot.state !== null && bot.state !== "scheduled";
  if (bot.state === "leaving" || bot.state === "post_processing") return null;
  return (
    <div className="actions">
      {(isPaused || bot.state === "joined_recording") && (
        <WishButton
          act={() => (isPaused ? resumeRecording(bot.id) : pauseRecording(bot.id))}
          done={isPaused ? "Recording goes on." : "Recording is paused."}
        >
          {isPaused ? "Resume recording" : "Pause recording"}
        </WishButton>
      )}
      <WishButton
        className="danger"
        act={() => callOffBot(bot.id)}
        done={hasSetOut ? "The bot is leaving." : "The bot is called off."}
      >
        {isThere ? "Send it away" : "Call it off"}
      </WishButton>
    </div>
  );
}

function History({ bot }: { bot: Bot }) {
  return (
    <details>
      <summary>What happened so far</summary>
      <ol className="history">
        {bot.events.map((event, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: what happened is only ever added to.
          <li key={index}>
            {sentenceOf(event)}
            <span className="faint">
              {" "}
              {timeOf(event.at)}, <Moment at={event.at} />
            </span>
          </li>
        ))}
      </ol>
    </details>
  );
}
