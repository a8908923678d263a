import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { type Document, type DocumentFilter, fetchDocuments, fetchProjects } from "./api.ts";
import { DocumentPage } from "./document.tsx";
import { Files } from "./files.tsx";
import { Moment } from "./moment.tsx";
import { Paged } from "./paged.tsx";
import { Place } from "./place.tsx";
import { Link, show, useQueryString } from "./router.tsx";
import { Failure } from "./waiting.tsx";

/** Mails and files that became documents: found by words and project, each with its text and the way that it went. */
export function Documents() {
  const query = useQueryString();
  const id = query.get("id");
  if (id !== null) return <DocumentPage id={id} />;
  if (query.has("files")) return <Files />;
  const filter: DocumentFilter = {
    q: query.get("q") ?? "",
    project: query.get("project") ?? "",
    classification: query.get("state") ?? "",
  };
  return (
    <>
      <div className="title">
        <h1>Documents</h1>
        <Link className="button" href="/documents?files">
          Files of Drive
        </Link>
      </div>
      <Filter filter={filter} />
      <DocumentList filter={filter}>
        {Object.values(filter).some((value) => value !== "") ? (
          "There are none like that."
        ) : (
          <>
            None yet. Copy <Link href="/assistant">your assistant’s address</Link> on a mail, and
            the mail appears here.
          </>
        )}
      </DocumentList>
    </>
  );
}

const states = [
  { value: "", name: "In any state" },
  { value: "classified", name: "Classified" },
  { value: "unclassified", name: "Belonging to none" },
  { value: "sent_to_n8n", name: "With the workflow" },
  { value: "pending", name: "On their way" },
  { value: "failed", name: "Not delivered" },
];

function Filter({ filter }: { filter: DocumentFilter }) {
  const projects = useQuery({ queryKey: ["projects"], queryFn: fetchProjects });
  const [words, setWords] = useState(filter.q);
  const [known, setKnown] = useState(filter.q);
  if (known !== filter.q) {
    // The address has changed, such as by the browser's own button: what is written here follows it.
    setKnown(filter.q);
    setWords(filter.q);
  }
  const apply = (change: Partial<DocumentFilter>) => {
    const { q, project, classification } = { ...filter, q: words.trim(), ...change };
    const given = Object.entries({ q, project, state: classification }).filter(
      ([, value]) => value,
    );
    const query = new URLSearchParams(given).toString();
    show(query ? `/documents?${query}` : "/documents");
  };
  return (
    <search>
      <form
        className="filter"
        onSubmit={(event) => {
          event.preventDefault();
          apply({});
        }}
      >
        <input
          type="search"
          aria-label="Words of the title or author"
          placeholder="Search"
          maxLength={200}
          value={words}
          onChange={({ target }) => setWords(target.value)}
        />
        <select
          aria-label="Project"
          value={filter.project}
          onChange={({ target }) => apply({ project: target.value })}
        >
          <option value="">In any project</option>
          <option value="none">In no project</option>
          {projects.data?.map(({ id, name }) => (
            <option key={id} value={id}>
              {name}
            </option>
          ))}
        </select>
        <select
          aria-label="State"
          value={filter.classification}
          onChange={({ target }) => apply({ classification: target.value })}
        >
          {states.map(({ value, name }) => (
            <option key={value} value={value}>
              {name}
            </option>
          ))}
        </select>
        <button type="submit">Search</button>
      </form>
    </search>
  );
}

/** The documents that a filter lets through, page by page. Where there are none, the children say so. */
export function DocumentList({
  filter,
  children,
}: {
  filter: DocumentFilter;
  children: ReactNode;
}) {
  const documents = useInfiniteQuery({
    queryKey: ["documents", "list", filter],
    queryFn: ({ pageParam }) => fetchDocuments(filter, pageParam),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });
  const found = (documents.data?.pages ?? []).flatMap(({ items }) => items);
  if (documents.isPending) return <div className="skeleton card" aria-busy="true" />;
  return (
    <>
      <Failure query={documents} />
      {documents.isSuccess && found.length === 0 && <p className="empty">{children}</p>}
      <Paged query={documents}>
        <ul className="agenda documents">
          {found.map((document) => (
            <Row key={document.id} document={document} />
          ))}
        </ul>
      </Paged>
    </>
  );
}

function Row({ document }: { document: Document }) {
  const at = document.received_at ?? document.created_at;
  return (
    <li>
      <div>
        <h2>
          <Link href={`/documents?id=${document.id}`}>{document.title || "Without a title"}</Link>
        </h2>
        <p className="faint">
          {document.author && <span>{document.author}</span>}
          {at && <Moment at={at} />}
        </p>
        {document.summary && <p className="summary">{document.summary}</p>}
      </div>
      <Place document={document} />
    </li>
  );
}
