import { type UseQueryResult, useQuery } from "@tanstack/react-query";
import { type MouseEvent, memo, useDeferredValue, useMemo, useState } from "react";
import { type Bot, fetchTranscript, type Transcript, transcriptUrl } from "./bots.ts";
import { Link } from "./router.tsx";
import { clockOf, piecesOf, type Run, runsOf, searched } from "./spoken.ts";
import { Tail } from "./tail.tsx";
import { Waiting } from "./waiting.tsx";

/** What is said in a meeting, as it grows: by speaker, searched, and to be taken along. */
export function TranscriptSection({ bot }: { bot: Bot }) {
  const query = useQuery({
    queryKey: ["bots", bot.id, "transcript"],
    queryFn: () => fetchTranscript(bot.id),
  });
  if (!query.data) return <Waiting query={query} />;
  const { segments, final, is_empty, word_count, duration_seconds } = query.data;
  return (
    <section className="stacked" aria-labelledby="transcript">
      <h2 id="transcript">Transcript</h2>
      <p className="faint">
        <span className={`badge ${final ? "good" : ""}`}>{final ? "final" : "growing"}</span>
        {segments.length > 0 &&
          ` ${word_count} words in ${Math.max(1, Math.round(duration_seconds / 60))} min`}
        {!final && bot.is_over && " The meeting is over; the last words are still being worked up."}
      </p>
      {is_empty && <p className="empty">Nobody spoke, or nothing of it could be understood.</p>}
      {!final && segments.length === 0 && <p className="empty">Nobody has said anything yet.</p>}
      {segments.length > 0 && <Words transcript={query.data} />}
      <Downloads botId={bot.id} query={query} />
    </section>
  );
}

function Words({ transcript: { segments, final } }: { transcript: Transcript }) {
  const [typed, setTyped] = useState("");
  // Typing stays quick, however much is searched.
  const wanted = useDeferredValue(typed);
  // Once it has grown before one's eyes it stays as it is shown, also when it is final.
  const [isFollowed, setFollowed] = useState(!final);
  if (!final && !isFollowed) setFollowed(true);
  const { found, hits } = useMemo(() => searched(segments, wanted), [segments, wanted]);
  const isSearching = wanted.trim() !== "";
  const places = found.length === 1 ? "one place" : `${found.length} places`;
  const times = ["never", "once", "twice"][hits] ?? `${hits} times`;
  return (
    <>
      <div className="search">
        <input
          type="search"
          aria-label="Search in the transcript"
          placeholder="Search in the transcript"
          value={typed}
          onChange={({ target }) => setTyped(target.value)}
          onKeyDown={({ key }) => key === "Escape" && setTyped("")}
        />
        <p className="faint" role="status">
          {isSearching &&
            (found.length === 0 ? "Nothing of that was said." : `Found ${times} in ${places}.`)}
        </p>
      </div>
      <Tail
        label="What was said"
        items={found}
        most={400}
        isFollowed={isFollowed && !isSearching}
        show={(shown) =>
          runsOf(shown).map((run) => (
            <RunRow key={`${run.start} ${run.speaker}`} run={run} wanted={wanted} />
          ))
        }
      />
    </>
  );
}

function RunRow({ run, wanted }: { run: Run; wanted: string }) {
  return (
    <li>
      <p>
        <strong>
          <Marked text={run.speaker} wanted={wanted} />
        </strong>{" "}
        <span className="faint">{clockOf(run.start)}</span>
      </p>
      {run.segments.map(({ start, text }, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: two things may be said at once, and a run only grows.
        <p key={`${start} ${index}`}>
          <Marked text={text} wanted={wanted} />
        </p>
      ))}
    </li>
  );
}

const Marked = memo(({ text, wanted }: { text: string; wanted: string }) =>
  piecesOf(text, wanted).map((piece, index) =>
    // biome-ignore lint/suspicious/noArrayIndexKey: the pieces of one text stay where they are.
    piece.isHit ? <mark key={index}>{piece.text}</mark> : piece.text,
  ),
);

const formats = [
  ["text", "Text"],
  ["json", "JSON"],
  ["vtt", "VTT"],
  ["srt", "SRT"],
] as const;

// Links to recordings open for half an hour, and may be 25 minutes old when we are given them.
const freshMs = 4 * 60_000;

type DownloadsProps = { botId: string; query: UseQueryResult<Transcript> };

function Downloads({ botId, query }: DownloadsProps) {
  if (!query.data) return null;
  const { segments, recording_url, document_id } = query.data;
  const open = async (event: MouseEvent) => {
    if (Date.now() - query.dataUpdatedAt < freshMs) return;
    event.preventDefault();
    // A tab that is opened later than the click is taken for an advertisement.
    const tab = window.open("about:blank", "_blank");
    const { data: fresh } = await query.refetch();
    if (tab && fresh?.recording_url) {
      tab.opener = null;
      tab.location.replace(fresh.recording_url);
    } else tab?.close();
  };
  return (
    <p className="actions">
      {segments.length > 0 &&
        formats.map(([format, name]) => (
          <a key={format} className="button quiet" href={transcriptUrl(botId, format)} download>
            {name}
          </a>
        ))}
      {recording_url && (
        <a
          className="button quiet"
          href={recording_url}
          target="_blank"
          rel="noreferrer"
          onClick={open}
        >
          Recording
        </a>
      )}
      {document_id && <Link href={`/documents?id=${document_id}`}>Its document</Link>}
    </p>
  );
}
