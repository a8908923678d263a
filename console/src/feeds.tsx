import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useContext } from "react";
import { type Feed, fetchFeeds, followFeed, syncFeed } from "./api.ts";
import { Button } from "./button.tsx";
import { counted } from "./counted.ts";
import { Say } from "./message.tsx";
import { Moment } from "./moment.tsx";
import { Failure } from "./waiting.tsx";

/** What is followed through one account: how current each feed is, when it is looked at next, and why then. */
export function Feeds({ connectionId }: { connectionId: string }) {
  const feeds = useQuery({ queryKey: ["feeds"], queryFn: fetchFeeds });
  const own = (feeds.data ?? []).filter((feed) => feed.connection_id === connectionId);
  if (feeds.data === undefined) return <Failure query={feeds} />;
  if (own.length === 0) return null;
  const calendars = own.filter(({ kind }) => kind === "calendar");
  const followed = calendars.filter(({ state }) => state !== "stopped").length;
  return (
    <details className="feeds">
      <summary>
        {followed} of {calendars.length} calendars are followed
        {own.some(({ kind }) => kind === "gmail") && ", and the mailbox"}
        <Trouble feeds={own} />
      </summary>
      <ul>
        {own.map((feed) => (
          <FeedRow key={feed.id} feed={feed} />
        ))}
      </ul>
    </details>
  );
}

function Trouble({ feeds }: { feeds: Feed[] }) {
  const failing = feeds.filter(({ failures, state }) => failures > 0 && state === "active").length;
  return failing > 0 ? <span className="badge warn">{failing} with trouble</span> : null;
}

function FeedRow({ feed }: { feed: Feed }) {
  const queries = useQueryClient();
  const say = useContext(Say);
  const title = titleOf(feed);
  const outcome = {
    onSuccess: () => queries.invalidateQueries({ queryKey: ["feeds"] }),
    onError: (error: Error) => say({ tone: "warn" as const, text: `${title}: ${error.message}` }),
  };
  const syncing = useMutation({
    mutationFn: (full: boolean) => syncFeed(feed.id, full),
    ...outcome,
  });
  const choosing = useMutation({
    mutationFn: (wish: boolean) => followFeed(feed.id, wish),
    ...outcome,
  });
  const isFollowed = feed.state === "active";
  return (
    <li aria-label={title}>
      <div className="feed-title">
        <strong>{title}</strong>
        {feed.is_primary && <span className="badge">primary</span>}
      </div>
      {feed.reading && (
        <p role="status">
          Reading {feed.reading.name}: {feed.reading.seen.toLocaleString()} so far …
        </p>
      )}
      <p className="faint">
        {feed.last_full_count !== null &&
          `${counted(feed.last_full_count, "entry", "entries")} at the latest whole reading. `}
        {isFollowed && feed.last_success_at && (
          <>
            Read <Moment at={feed.last_success_at} />.{" "}
          </>
        )}
        {isFollowed && feed.next_at && (
          <>
            Next <Moment at={feed.next_at} />.{" "}
          </>
        )}
        {feed.why}. {isFollowed && `${feed.push.text}.`}
        {feed.push.missed > 0 && ` It missed ${counted(feed.push.missed, "change", "changes")}.`}
      </p>
      {feed.last_error && <p className="state warn">{feed.last_error}</p>}
      <div className="actions">
        {isFollowed && (
          <>
            <Button
              className="quiet"
              isOff={syncing.isPending}
              onClick={() => syncing.mutate(false)}
            >
              {syncing.isPending ? "Reading …" : "Sync now"}
            </Button>
            <Button
              className="quiet"
              isOff={syncing.isPending}
              onClick={() => syncing.mutate(true)}
            >
              Resync
            </Button>
          </>
        )}
        {feed.kind === "calendar" && feed.state !== "paused" && (
          <Button
            className="quiet"
            isOff={choosing.isPending}
            onClick={() => choosing.mutate(!isFollowed)}
          >
            {isFollowed ? "Do not follow" : "Follow"}
          </Button>
        )}
      </div>
    </li>
  );
}

function titleOf({ kind, title, resource }: Feed): string {
  if (kind === "calendar_list") return "List of calendars";
  if (kind === "drive" && resource === "") return "Files of Drive";
  return kind === "gmail" ? "Mailbox" : (title ?? resource);
}
