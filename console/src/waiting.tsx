import { Notice } from "./message.tsx";

type Query = { error: Error | null; isFetching: boolean; refetch(): unknown };

/** What stands in for an answer that is not there: that it is looked for, or why it cannot be had. */
export function Waiting({ query }: { query: Query }) {
  if (query.error === null) return <div className="skeleton card" aria-busy="true" />;
  return <Failure query={query} />;
}

/** Why an answer cannot be had, or not the latest, and a way to ask once more; nothing where it can. */
export function Failure({ query }: { query: Query }) {
  if (query.error === null) return null;
  return (
    <Notice tone="warn">
      <span>{query.error.message}</span>
      <button
        type="button"
        className="quiet"
        disabled={query.isFetching}
        onClick={() => query.refetch()}
      >
        Try again
      </button>
    </Notice>
  );
}
