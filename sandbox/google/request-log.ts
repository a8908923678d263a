import type { State } from "./state.ts";

/** One request as the control API shows it. Values of parameters are left out: some are tokens. */
export type RequestEntry = {
  at: Date;
  method: string;
  /** Without the query. */
  path: string;
  endpoint: string;
  /** The names in the query. */
  parameters: string[];
  /** The address of the person whose token came with it. */
  person: string | null;
  /** Null while it is being answered, and where the connection was cut instead. */
  status: number | null;
};

const mostRequestsKept = 10_000;

/** Notes a request; its status is filled in when it is answered. */
export function noteRequest(
  state: State,
  entry: Omit<RequestEntry, "at" | "status">,
): RequestEntry {
  const noted = { at: state.clock.now(), ...entry, status: null };
  state.requests.push(noted);
  if (state.requests.length > mostRequestsKept * 1.1)
    state.requests.splice(0, state.requests.length - mostRequestsKept);
  return noted;
}
