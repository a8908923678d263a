import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { prettifyError, z } from "zod";
import { redirectUriProblem } from "./authorization.ts";
import type { SandboxCalendar } from "./calendar/calendar.ts";
import { addCalendarControl } from "./calendar/control.ts";
import { addDriveControl } from "./drive/control.ts";
import type { SandboxDrive } from "./drive/drive.ts";
import { addFault, clearFaults, FaultSettings } from "./faults.ts";
import { addGmailControl } from "./gmail/control.ts";
import type { SandboxGmail } from "./gmail/gmail.ts";
import { changePassword, endGrantsOf } from "./grants.ts";
import { publishedKeys, rotateKeys } from "./keys.ts";
import { findPerson, type Person } from "./people.ts";
import type { PubSub } from "./pubsub.ts";
import { QuotaSettings, setQuota } from "./quotas.ts";
import type { Client, State } from "./state.ts";

/** What the control API refuses, with the status it answers. */
class ControlError extends Error {
  override readonly name = "ControlError";
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const ClockMove = z.union([
  z.strictObject({ set: z.coerce.date() }),
  z.strictObject({ advanceMs: z.number().int() }),
  z.strictObject({ reset: z.literal(true) }),
]);

const PersonChange = z.strictObject({
  email: z.email().optional(),
  emailVerified: z.boolean().optional(),
  name: z.string().min(1).optional(),
  hd: z.string().nullable().optional(),
  isDisabled: z.boolean().optional(),
});

const redirectUri = z.string().superRefine((uri, context) => {
  const problem = redirectUriProblem(uri);
  if (problem !== null) context.addIssue(`redirect URI ${uri} ${problem}`);
});

/** An OAuth client as a caller describes it. @see {Client} */
export const ClientSettings = z.strictObject({
  id: z.string().min(1),
  secret: z.string().min(1),
  projectId: z.string().min(1).default("sandbox-project"),
  name: z.string().min(1).default("Daybook"),
  redirectUris: z.array(redirectUri).default([]),
  publishing: z.enum(["testing", "production"]).default("production"),
}) satisfies z.ZodType<Client>;

/**
 * The control API, under `/_control`: what goes wrong, what time it is, who allowed what. Tokens and secrets never show.
 * It is not part of what Google offers, so faults do not hit it and it is not in the request log.
 */
export function addControl(
  server: FastifyInstance,
  state: State,
  parts: {
    calendar: SandboxCalendar;
    drive: SandboxDrive;
    gmail: SandboxGmail;
    pubsub: PubSub;
  },
): void {
  server.register(
    async (control) => {
      control.addHook("onRequest", refuseOtherSites);
      control.setErrorHandler(explain);
      addFaults(control, state);
      addClockAndKeys(control, state);
      addPeople(control, state);
      addClients(control, state);
      addCalendarControl(control, parts.calendar);
      addDriveControl(control, parts.drive);
      addGmailControl(control, parts);
      control.get("/requests", ({ query }) => requestsOf(state, query));
      control.delete("/requests", () => {
        state.requests.length = 0;
        return { cleared: true };
      });
      control.post("/reset", () => {
        state.reset();
        return { reset: true };
      });
    },
    { prefix: "/_control" },
  );
}

function addFaults(control: FastifyInstance, state: State): void {
  control.get("/faults", () => ({ faults: state.faults }));
  control.post("/faults", ({ body }, reply) => {
    reply.code(201);
    return addFault(state, FaultSettings.parse(body));
  });
  control.delete("/faults", () => ({ cleared: clearFaults(state) }));
  control.delete("/faults/:id", ({ params }) => {
    const { id } = z.object({ id: z.string() }).parse(params);
    if (clearFaults(state, id) === 0) throw new ControlError(404, `No fault ${id}`);
    return { cleared: 1 };
  });
  control.get("/quotas", () => ({ quotas: state.quotas.map(({ uses, ...settings }) => settings) }));
  control.post("/quotas", ({ body }, reply) => {
    reply.code(201);
    const { uses, ...settings } = setQuota(state, QuotaSettings.parse(body));
    return settings;
  });
  control.delete("/quotas", () => {
    state.quotas = [];
    return { cleared: true };
  });
}

function addClockAndKeys(control: FastifyInstance, state: State): void {
  control.get("/clock", () => ({ now: state.clock.now() }));
  control.post("/clock", ({ body }) => {
    const move = ClockMove.parse(body);
    if ("set" in move) state.clock.set(move.set);
    else if ("advanceMs" in move) state.clock.advance(move.advanceMs);
    else state.clock.reset();
    return { now: state.clock.now() };
  });
  control.get("/keys", () => ({
    keys: publishedKeys(state).map(({ kid, retiredAt }) => ({ kid, retiredAt })),
  }));
  control.post("/keys/rotate", async ({ body }) => {
    const { forget } = z.strictObject({ forget: z.boolean().default(false) }).parse(body ?? {});
    return { kid: await rotateKeys(state, { forget }) };
  });
}

function addPeople(control: FastifyInstance, state: State): void {
  control.get("/people", () => ({ people: state.people }));
  control.patch("/people/:person", ({ params, body }) => {
    return Object.assign(getPerson(state, params), PersonChange.parse(body));
  });
  control.post("/people/:person/revoke", ({ params }) => ({
    ended: endGrantsOf(state, getPerson(state, params)),
  }));
  control.post("/people/:person/password", ({ params }) => {
    changePassword(state, getPerson(state, params));
    return { changed: true };
  });
  control.get("/grants", () => ({ grants: grantsOf(state) }));
}

function addClients(control: FastifyInstance, state: State): void {
  control.get("/clients", () => ({ clients: state.clients.map(({ secret, ...shown }) => shown) }));
  control.put("/clients/:id", ({ params, body }) => {
    const { id } = z.object({ id: z.string() }).parse(params);
    const before = state.clients.find((client) => client.id === id);
    const changes = z.record(z.string(), z.unknown()).parse(body);
    const client = ClientSettings.parse({ ...before, ...changes, id });
    state.clients = [...state.clients.filter((one) => one !== before), client];
    const { secret, ...shown } = client;
    return shown;
  });
  control.get("/service-accounts", () => ({
    serviceAccounts: state.serviceAccounts.map(({ publicKey, ...shown }) => shown),
  }));
  control.patch("/service-accounts/:email", ({ params, body }) => {
    const { email } = z.object({ email: z.string() }).parse(params);
    const account = state.serviceAccounts.find((one) => one.email === email);
    if (!account) throw new ControlError(404, `No service account ${email}`);
    Object.assign(account, z.strictObject({ delegatedScopes: z.array(z.string()) }).parse(body));
    const { publicKey, ...shown } = account;
    return shown;
  });
}

/** Who allowed what to which project, and how many tokens came of it. */
export function grantsOf(state: State) {
  return [...state.grants.values()].map((grant) => ({
    ...grant,
    person: findPerson(state, grant.sub)?.email ?? null,
    accessTokens: state.accessTokens
      .values()
      .filter(({ grantId }) => grantId === grant.id)
      .toArray().length,
    refreshTokens: state.refreshTokens
      .values()
      .filter(({ grantId }) => grantId === grant.id)
      .toArray().length,
  }));
}

function requestsOf(state: State, query: unknown) {
  const { endpoint, limit } = z
    .strictObject({
      endpoint: z.string().optional(),
      limit: z.coerce.number().int().min(1).default(100),
    })
    .parse(query);
  const found = state.requests.filter(
    (request) => endpoint === undefined || request.endpoint === endpoint,
  );
  return { requests: found.slice(-limit) };
}

function getPerson(state: State, params: unknown): Person {
  const { person: wanted } = z.object({ person: z.string() }).parse(params);
  const person = findPerson(state, wanted);
  if (!person) throw new ControlError(404, `No person ${wanted}`);
  return person;
}

// A page elsewhere must not be able to steer a sandbox on somebody's own machine.
async function refuseOtherSites(request: FastifyRequest): Promise<void> {
  const site = request.headers["sec-fetch-site"];
  if (site !== undefined && site !== "same-origin" && site !== "none") {
    throw new ControlError(403, "The control API is not for other sites");
  }
}

function explain(error: Error, _request: FastifyRequest, reply: FastifyReply) {
  if (error instanceof z.ZodError) return reply.code(400).send({ error: prettifyError(error) });
  if (error instanceof ControlError) return reply.code(error.status).send({ error: error.message });
  throw error;
}
