import { useInfiniteQuery, useMutation, useQueryClient } from "@tanstack/react-query";
import { useContext, useId, useState } from "react";
import { checkFile, fetchFiles, followFile, stopFile, type WatchedFile } from "./api.ts";
import { Button } from "./button.tsx";
import { Say } from "./message.tsx";
import { Moment } from "./moment.tsx";
import { Paged } from "./paged.tsx";
import { Link } from "./router.tsx";
import { Failure } from "./waiting.tsx";

/** Files and folders of Google Drive that are followed: how each stands, and the way to follow more, or fewer. */
export function Files() {
  const files = useInfiniteQuery({
    queryKey: ["files"],
    queryFn: ({ pageParam }) => fetchFiles(pageParam),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });
  const found = (files.data?.pages ?? []).flatMap(({ items }) => items);
  return (
    <>
      <p className="back">
        <Link href="/documents">All documents</Link>
      </p>
      <div className="title">
        <h1>Files of Drive</h1>
      </div>
      <Follow />
      {files.isPending && <div className="skeleton card" aria-busy="true" />}
      <Failure query={files} />
      {files.isSuccess && found.length === 0 && (
        <p className="empty">
          None is followed yet. Follow one by its link, or share it with{" "}
          <Link href="/assistant">your assistant’s address</Link>.
        </p>
      )}
      <Paged query={files}>
        <ul className="agenda documents">
          {found.map((file) => (
            <Row key={file.id} file={file} />
          ))}
        </ul>
      </Paged>
    </>
  );
}

/** The id that a link of Google's names; what is no link is an id itself. */
function idOf(text: string): string {
  return /\/(?:d|folders)\/([\w-]+)/.exec(text)?.[1] ?? /[?&]id=([\w-]+)/.exec(text)?.[1] ?? text;
}

function Follow() {
  const queries = useQueryClient();
  const say = useContext(Say);
  const id = useId();
  const [link, setLink] = useState("");
  const following = useMutation({
    mutationFn: () => followFile(idOf(link.trim())),
    onSuccess: async () => {
      setLink("");
      await queries.invalidateQueries({ queryKey: ["files"] });
      say({ tone: "good", text: "It is followed. Its text comes in a moment." });
    },
  });
  return (
    <section className="stacked follow" aria-labelledby={`${id}-title`}>
      <h2 id={`${id}-title`}>Follow a file or a folder</h2>
      <form
        className="filter"
        onSubmit={(event) => {
          event.preventDefault();
          if (link.trim()) following.mutate();
        }}
      >
        <input
          aria-label="Its link, or its id"
          placeholder="https://docs.google.com/document/d/…"
          required
          maxLength={2_000}
          autoComplete="off"
          spellCheck={false}
          value={link}
          onChange={({ target }) => setLink(target.value)}
        />
        <Button type="submit" className="primary" isOff={following.isPending}>
          {following.isPending ? "One moment …" : "Follow"}
        </Button>
      </form>
      {following.isError && (
        <p className="notice warn" role="alert">
          {following.error.message}
        </p>
      )}
    </section>
  );
}

const states: Record<WatchedFile["state"], string> = {
  active: "followed",
  trashed: "in the trash",
  removed: "deleted",
  lost: "not shared any more",
  stopped: "stopped",
};

function Row({ file }: { file: WatchedFile }) {
  const { name, document_id, url, state, state_reason, read_error, is_folder } = file;
  return (
    <li>
      <div>
        <h2>{document_id ? <Link href={`/documents?id=${document_id}`}>{name}</Link> : name}</h2>
        <p className="faint">
          {is_folder && <span>Folder</span>}
          {file.last_changed_at ? (
            <span>
              Changed <Moment at={file.last_changed_at} />
            </span>
          ) : (
            <span>
              Followed <Moment at={file.created_at} />
            </span>
          )}
          <span>{file.is_pushed ? "Push is on" : "Polled"}</span>
          {file.account && <span>through {file.account}</span>}
        </p>
        {state_reason && <p className="faint">{state_reason}.</p>}
        {read_error && <p className="state warn">{read_error}. It is tried again by itself.</p>}
        <div className="bot">
          {url && (
            <a className="button quiet" href={url} target="_blank" rel="noreferrer">
              Open in Drive
            </a>
          )}
          <Actions file={file} />
        </div>
      </div>
      <span className={state === "active" ? "badge good" : "badge warn"}>{states[state]}</span>
    </li>
  );
}

const outcomes = {
  updated: "It changed, and is read again.",
  deleted: "It was deleted, or is in the trash.",
  restored: "It is back.",
  none: "Nothing has changed.",
};

function Actions({ file }: { file: WatchedFile }) {
  const queries = useQueryClient();
  const say = useContext(Say);
  const refresh = () => queries.invalidateQueries({ queryKey: ["files"] });
  const onError = (error: Error) => say({ tone: "warn", text: `${file.name}: ${error.message}` });
  const checking = useMutation({
    mutationFn: () => checkFile(file.file_id),
    onSuccess: async ({ action }) => {
      await refresh();
      say({ tone: "good", text: `${file.name}: ${outcomes[action]}` });
    },
    onError,
  });
  const stopping = useMutation({
    mutationFn: () => stopFile(file.file_id),
    onSuccess: async () => {
      await refresh();
      say({ tone: "good", text: `${file.name} is no longer followed. Its documents stay.` });
    },
    onError,
  });
  return (
    <>
      {!file.is_folder && (
        <Button
          className="quiet"
          aria-label={`Look at ${file.name} now`}
          isOff={checking.isPending}
          onClick={() => checking.mutate()}
        >
          {checking.isPending ? "Looking …" : "Look now"}
        </Button>
      )}
      <Button
        className="quiet"
        aria-label={`Stop following ${file.name}`}
        isOff={stopping.isPending}
        onClick={() => stopping.mutate()}
      >
        Stop
      </Button>
    </>
  );
}
