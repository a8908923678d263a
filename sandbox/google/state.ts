import type { KeyObject } from "node:crypto";
import type { MovableClock } from "./clock.ts";
import type { Fault } from "./faults.ts";
import type { AccessToken, Code, Grant, RefreshToken } from "./grants.ts";
import type { SigningKey } from "./keys.ts";
import type { Person } from "./people.ts";
import type { Quota } from "./quotas.ts";
import type { RequestEntry } from "./request-log.ts";

/** An OAuth client of type "Web application". Consent is given to its project, which may have several clients. */
export type Client = {
  id: string;
  secret: string;
  projectId: string;
  /** The app's name on the consent page. */
  name: string;
  redirectUris: string[];
  /** In "testing", grants of more than a name and an address die seven days after consent. */
  publishing: "testing" | "production";
};

export type ServiceAccount = {
  email: string;
  /** The numeric id that an administrator names when delegating. */
  clientId: string;
  keyId: string;
  publicKey: KeyObject;
  /** What it may do in the name of anybody in a Workspace domain. */
  delegatedScopes: string[];
};

/** Everything that the sandbox remembers, in memory. */
export type State = {
  clock: MovableClock;
  /** Where the sandbox is reached; everything that it prints begins with it. */
  baseUrl(): string;
  /** The `iss` of ID tokens. */
  issuer(): string;
  keys: SigningKey[];
  people: Person[];
  clients: Client[];
  serviceAccounts: ServiceAccount[];
  grants: Map<string, Grant>;
  codes: Map<string, Code>;
  accessTokens: Map<string, AccessToken>;
  refreshTokens: Map<string, RefreshToken>;
  faults: Fault[];
  quotas: Quota[];
  requests: RequestEntry[];
  /** What other parts of the sandbox do when everything goes back to the beginning. */
  onReset: (() => void)[];
  /** Forgets what happened: grants, tokens, changed people and clients, faults, quotas, requests, the moved clock. */
  reset(): void;
};

type Beginning = Pick<
  State,
  "clock" | "baseUrl" | "issuer" | "keys" | "people" | "clients" | "serviceAccounts"
>;

/** A sandbox in which nobody has consented to anything yet. */
export function openState(beginning: Beginning): State {
  const state: State = {
    ...beginning,
    ...belongings(beginning),
    ...nothingYet(),
    onReset: [],
    reset: () => {
      state.clock.reset();
      Object.assign(state, belongings(beginning), nothingYet());
      for (const reset of state.onReset) reset();
    },
  };
  return state;
}

// Copies, because people and clients can be changed while the sandbox runs.
function belongings({ people, clients, serviceAccounts }: Beginning) {
  return {
    people: people.map((person) => ({ ...person })),
    clients: clients.map((client) => ({ ...client, redirectUris: [...client.redirectUris] })),
    serviceAccounts: serviceAccounts.map((account) => ({
      ...account,
      delegatedScopes: [...account.delegatedScopes],
    })),
  };
}

function nothingYet() {
  return {
    grants: new Map<string, Grant>(),
    codes: new Map<string, Code>(),
    accessTokens: new Map<string, AccessToken>(),
    refreshTokens: new Map<string, RefreshToken>(),
    faults: [] as Fault[],
    quotas: [] as Quota[],
    requests: [] as RequestEntry[],
  };
}
