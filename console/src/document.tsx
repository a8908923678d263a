import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useContext } from "react";
import {
  classifyDocument,
  type Delivery,
  type FileLink,
  fetchDeliveries,
  fetchDocument,
  fetchDocumentWhy,
  fetchProjects,
  moveDocument,
  resendDelivery,
  type WholeDocument,
} from "./api.ts";
import { Button } from "./button.tsx";
import { counted } from "./counted.ts";
import { Say } from "./message.tsx";
import { Moment } from "./moment.tsx";
import { Place } from "./place.tsx";
import { Link } from "./router.tsx";
import { Failure } from "./waiting.tsx";

/** One document: its text, why it is here and in its project, and how it was handed on. */
export function DocumentPage({ id }: { id: string }) {
  const document = useQuery({ queryKey: ["documents", id], queryFn: () => fetchDocument(id) });
  const back = (
    <p className="back">
      <Link href="/documents">All documents</Link>
    </p>
  );
  if (document.isPending) return <div className="skeleton card" aria-busy="true" />;
  if (document.data === undefined) {
    return (
      <>
        {back}
        <Failure query={document} />
      </>
    );
  }
  const { title, author, received_at, source, source_url, recipients, links } = document.data;
  return (
    <>
      {back}
      <Failure query={document} />
      <div className="title">
        <h1>{title || "Without a title"}</h1>
        <Place document={document.data} />
      </div>
      <article aria-label="What it says">
        <p className="faint">
          {author && (
            <>
              From <bdi>{author}</bdi>
            </>
          )}
          {recipients.length > 0 && (
            <>
              {" "}
              to <bdi>{recipients.map(nameOf).join(", ")}</bdi>
            </>
          )}
          {received_at && (
            <>
              , <Moment at={received_at} />
            </>
          )}
          {source_url && (
            <>
              {". "}
              <a href={source_url} target="_blank" rel="noreferrer">
                Open in {source === "drive" ? "Drive" : "Gmail"}
              </a>
            </>
          )}
        </p>
        <Text document={document.data} />
      </article>
      {links.length > 0 && <Links links={links} />}
      <section className="stacked" aria-labelledby="place">
        <h2 id="place">Project</h2>
        <Move document={document.data} />
        <Why id={id} isFile={source === "drive"} />
      </section>
      <Deliveries id={id} />
    </>
  );
}

function Text({ document }: { document: WholeDocument }) {
  const { text, quoted, signature, cut, attachments } = document;
  return (
    <>
      {text ? <p className="text">{text}</p> : <p className="empty">It has no text.</p>}
      {cut && <p className="state warn">{text ? `Not everything is shown: ${cut}.` : `${cut}.`}</p>}
      {attachments.length > 0 && (
        <ul className="files" aria-label="Files">
          {attachments.map(({ name, type, size }, index) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: files of one mail may have the same name, and never move.
            <li key={index} className="badge" title={type}>
              {name} {size !== undefined && <span>{sizeOf(size)}</span>}
            </li>
          ))}
        </ul>
      )}
      <Folded title="Signature" text={signature} />
      <Folded title="Quoted from earlier mails" text={quoted} />
    </>
  );
}

function Folded({ title, text }: { title: string; text: string | null }) {
  if (!text) return null;
  return (
    <details>
      <summary>{title}</summary>
      <p className="text faint">{text}</p>
    </details>
  );
}

const linkStates: Record<FileLink["state"], string> = {
  waiting: "looking for it",
  followed: "followed",
  unseen: "not seen",
  stopped: "no longer followed",
};

function Links({ links }: { links: FileLink[] }) {
  return (
    <section className="stacked" aria-labelledby="links">
      <h2 id="links">Files it links to</h2>
      <ul className="plain">
        {links.map(({ file_id, state, reason, document_id, title }) => {
          const name = title ?? "A file of Drive";
          return (
            <li key={file_id} className="row">
              <div>
                <p>
                  {document_id ? <Link href={`/documents?id=${document_id}`}>{name}</Link> : name}
                </p>
                {reason && <p className="faint">{reason}.</p>}
              </div>
              <span className={state === "unseen" ? "badge warn" : "badge"}>
                {linkStates[state]}
              </span>
            </li>
          );
        })}
      </ul>
    </section>
  );
}

function Move({ document }: { document: WholeDocument }) {
  const queries = useQueryClient();
  const say = useContext(Say);
  const projects = useQuery({ queryKey: ["projects"], queryFn: fetchProjects });
  const done = {
    onSuccess: () => queries.invalidateQueries({ queryKey: ["documents"] }),
    onError: (error: Error) =>
      say({ tone: "warn" as const, text: `Nothing was changed. ${error.message}` }),
  };
  const moving = useMutation({
    mutationFn: (projectId: string | null) => moveDocument(document.id, projectId),
    ...done,
  });
  const asking = useMutation({ mutationFn: () => classifyDocument(document.id), ...done });
  const current = moving.isPending ? moving.variables : document.project_id;
  return (
    <div className="actions">
      <select
        aria-label="Move to project"
        value={current ?? ""}
        disabled={!projects.data}
        aria-disabled={moving.isPending}
        onChange={({ target }) => !moving.isPending && moving.mutate(target.value || null)}
      >
        <option value="">In no project</option>
        {document.project_id && !projects.data?.some(({ id }) => id === document.project_id) && (
          <option value={document.project_id}>{document.project_name}</option>
        )}
        {projects.data?.map(({ id, name }) => (
          <option key={id} value={id}>
            {name}
          </option>
        ))}
      </select>
      <Button isOff={asking.isPending} onClick={() => asking.mutate()}>
        {asking.isPending ? "Asking …" : "Classify again"}
      </Button>
    </div>
  );
}

function Why({ id, isFile }: { id: string; isFile: boolean }) {
  const why = useQuery({
    queryKey: ["documents", id, "why"],
    queryFn: () => fetchDocumentWhy(id),
  });
  if (!why.data) return <p className="faint">{why.error?.message ?? "Looking …"}</p>;
  const { taken, project } = why.data;
  const untaken = isFile
    ? "Its file is followed in Drive."
    : "It was not a mail to your assistant.";
  const confidence =
    project.confidence === null ? "" : ` (${Math.round(project.confidence * 100)} % sure)`;
  return (
    <dl className="why">
      <dt>Why it is here</dt>
      <dd>{taken ? `${taken.reason}.` : untaken}</dd>
      <dt>{project.decision}</dt>
      <dd>
        {project.reason}
        {confidence}.
      </dd>
    </dl>
  );
}

function Deliveries({ id }: { id: string }) {
  const deliveries = useQuery({
    queryKey: ["documents", id, "deliveries"],
    queryFn: () => fetchDeliveries(id),
  });
  return (
    <section className="stacked" aria-labelledby="deliveries">
      <h2 id="deliveries">Handed on</h2>
      <Failure query={deliveries} />
      {deliveries.data?.length === 0 && (
        <p className="empty">It was not handed to a workflow: none is configured.</p>
      )}
      <ul className="plain">
        {deliveries.data?.map((delivery) => (
          <DeliveryRow key={delivery.id} delivery={delivery} />
        ))}
      </ul>
    </section>
  );
}

function DeliveryRow({ delivery }: { delivery: Delivery }) {
  const queries = useQueryClient();
  const say = useContext(Say);
  const sending = useMutation({
    mutationFn: () => resendDelivery(delivery.id),
    onSuccess: () => queries.invalidateQueries({ queryKey: ["documents"] }),
    onError: (error) => say({ tone: "warn", text: `It was not sent. ${error.message}` }),
  });
  const { state, tries, next_try_at, last_error, log } = delivery;
  return (
    <li>
      <p className={`state ${{ delivered: "good", waiting: "ended", dead: "warn" }[state]}`}>
        {state === "delivered" && `Delivered at try ${tries}.`}
        {state === "dead" && `Given up after ${counted(tries, "try", "tries")}.`}
        {state === "waiting" && (
          <span>
            {tries === 0 ? "On its way." : `Tried ${counted(tries, "time", "times")}.`}
            {next_try_at && tries > 0 && (
              <>
                {" "}
                Next try <Moment at={next_try_at} />.
              </>
            )}
          </span>
        )}
      </p>
      {state !== "delivered" && last_error && <p className="faint">{last_error}.</p>}
      {log.length > 0 && (
        <details>
          <summary>Every try</summary>
          <ol className="tries">
            {log.map((one) => (
              <li key={one.number} className="faint">
                <Moment at={one.started_at} />: {one.error ?? `answered ${one.status}`}
              </li>
            ))}
          </ol>
        </details>
      )}
      {state !== "delivered" && (
        <Button className="quiet" isOff={sending.isPending} onClick={() => sending.mutate()}>
          {state === "dead" ? "Send again" : "Send now"}
        </Button>
      )}
    </li>
  );
}

function nameOf({ name, address }: WholeDocument["recipients"][number]): string {
  return name || address || "somebody";
}

function sizeOf(bytes: number): string {
  if (bytes < 1_000) return `${bytes} B`;
  return bytes < 1_000_000
    ? `${Math.round(bytes / 1_000)} kB`
    : `${(bytes / 1_000_000).toFixed(1)} MB`;
}
