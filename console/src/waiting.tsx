import type { UseQueryResult } from "@tanstack/react-query";
import { Notice } from "./message.tsx";

/** What stands in for an answer that is not there: that it is looked for, or why it cannot be had. */
export function Waiting({ query }: { query: UseQueryResult<unknown> }) {
  if (query.error === null) return <div className="skeleton card" aria-busy="true" />;
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
