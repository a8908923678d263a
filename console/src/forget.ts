import type { QueryClient } from "@tanstack/react-query";

/** Forgets all that the API has told the person before: whoever is here next need not see it. */
export function forgetAll(queries: QueryClient): void {
  queries.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== "me" });
}
