import { ApiError } from "./api.ts";
import { Button } from "./button.tsx";
import { Notice } from "./message.tsx";

type Query = { error: Error | null; isFetching: boolean; refetch(): unknown };

/** What stands in for an answer that is not there: that it is looked for, or why it cannot be had. */
export function Waiting({ query }: { query: Query }) {
  if (query.error === null) return <div className="skeleton card" aria-busy="true" />;
  return <Failure query={query} />;
}

/** Why an answer cannot be had, or not the latest, and a way to ask once more; nothing where it can. */
export function Failure({ query }: { query: Query }) {
  const { error } = query;
  if (error === null) return null;
  // An address that somebody has typed, or that leads to what is gone: trying again does not help.
  if (error instanceof ApiError && error.status === 422)
    return <p className="empty">There is nothing at this address.</p>;
  if (error instanceof ApiError && error.status === 404)
    return <p className="empty">{error.message}</p>;
  return (
    <Notice tone="warn">
      <span>{error.message}</span>
      <Button className="quiet" isOff={query.isFetching} onClick={() => query.refetch()}>
        Try again
      </Button>
    </Notice>
  );
}
