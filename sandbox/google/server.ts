import { type KeyObject, randomBytes } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import formbody from "@fastify/formbody";
import fastify, { type FastifyInstance } from "fastify";
import type { z } from "zod";
import type { Clock } from "../../src/lib/clock.ts";
import { type Log, openLog } from "../../src/lib/log.ts";
import { openCalendar, type SandboxCalendar } from "./calendar/calendar.ts";
import { addCalendarPage } from "./calendar/page.ts";
import { type MovableClock, openClock } from "./clock.ts";
import { addConsent } from "./consent.ts";
import { addControl, ClientSettings } from "./control.ts";
import { openDrive, type SandboxDrive } from "./drive/drive.ts";
import { addDrivePage } from "./drive/page.ts";
import { addNotFound } from "./endpoints.ts";
import { apiErrorBody, GoogleError } from "./errors.ts";
import { openGmail, type SandboxGmail } from "./gmail/gmail.ts";
import { addGmailPage } from "./gmail/page.ts";
import { addIdentity } from "./identity.ts";
import { indexPage, type Neighbour } from "./index-page.ts";
import { type KeyPair, makeKeyPair, signingKeyOf } from "./keys.ts";
import { pageHeaders } from "./pages.ts";
import { madeUpPeople, type Person } from "./people.ts";
import { openPubSub, type PubSub } from "./pubsub.ts";
import { openState, type ServiceAccount, type State } from "./state.ts";
import { addToken } from "./token.ts";

export type Setup = {
  /** Where the sandbox is reached, path included, when something else listens for it; otherwise `listen` finds out. */
  baseUrl?: string;
  /** The `iss` of its ID tokens; by default the base URL. */
  issuer?: string;
  /** What the sandbox's own clock follows. */
  clock?: Clock;
  clients?: z.input<typeof ClientSettings>[];
  /** Where the default client may send people back to. Without effect where `clients` are given. */
  redirectUris?: string[];
  people?: Person[];
  serviceAccounts?: ServiceAccount[];
  /** For its ID tokens and for its own service account, by default new ones. Sandboxes that share them start sooner. */
  keyPairs?: { signing: KeyPair; account: KeyPair };
  /** Other pages that its own first page leads to. */
  neighbours?: Neighbour[];
  log?: Log;
};

/** A running stand-in for Google. Everything it knows is in `state`, and ends with it. */
export type SandboxGoogle = {
  state: State;
  clock: MovableClock;
  calendar: SandboxCalendar;
  drive: SandboxDrive;
  gmail: SandboxGmail;
  pubsub: PubSub;
  /** Where it is reached. @throws before it listens, where no `baseUrl` was given. */
  readonly url: string;
  /** The first of its OAuth clients. */
  client: { id: string; secret: string };
  /** The service account that is there besides any given ones, with the key that only its owner has. */
  serviceAccount: { email: string; clientId: string; keyId: string; privateKey: string };
  /** Listens on a port of its own, by default a free one. Returns the base URL. */
  listen(port?: number, host?: string): Promise<string>;
  /** Answers one request of a server that is mounted under the path of `baseUrl`. */
  handler(request: IncomingMessage, response: ServerResponse): void;
  [Symbol.asyncDispose](): Promise<void>;
};

const defaultClient = { id: "sandbox-client.apps.example.com", secret: "sandbox-secret" };

/** Opens a sandbox in which nobody has consented to anything yet. */
export async function openSandboxGoogle(setup: Setup = {}): Promise<SandboxGoogle> {
  let baseUrl = setup.baseUrl?.replace(/\/+$/, "");
  const { signing, account } = setup.keyPairs ?? (await makeKeyPairs());
  const serviceAccount = ownServiceAccount(account.publicKey);
  const base = () => {
    if (baseUrl === undefined)
      throw new Error("The sandbox has no address yet: give `baseUrl`, or let it listen");
    return baseUrl;
  };
  const clients = setup.clients ?? [{ ...defaultClient, redirectUris: setup.redirectUris ?? [] }];
  const state = openState({
    clock: openClock(setup.clock),
    baseUrl: base,
    issuer: () => setup.issuer ?? base(),
    keys: [signingKeyOf(signing)],
    people: setup.people ?? [...madeUpPeople],
    clients: clients.map((client) => ClientSettings.parse(client)),
    serviceAccounts: [serviceAccount, ...(setup.serviceAccounts ?? [])],
  });
  const [first = defaultClient] = state.clients;
  const { server, calendar, drive, gmail, pubsub } = await openServer(state, setup);
  const { email, clientId, keyId } = serviceAccount;
  const privateKey = account.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  return {
    state,
    clock: state.clock,
    calendar,
    drive,
    gmail,
    pubsub,
    get url() {
      return base();
    },
    client: { id: first.id, secret: first.secret },
    serviceAccount: { email, clientId, keyId, privateKey },
    listen: async (port = 0, host = "127.0.0.1") => {
      const origin = await server.listen({ port, host });
      baseUrl ??= origin;
      return baseUrl;
    },
    handler: (request, response) => server.routing(request, response),
    [Symbol.asyncDispose]: async () => {
      calendar.close();
      drive.close();
      pubsub.close();
      await server.close();
    },
  };
}

/** What `keyPairs` of a setup takes. */
export async function makeKeyPairs(): Promise<{ signing: KeyPair; account: KeyPair }> {
  const [signing, account] = await Promise.all([makeKeyPair(), makeKeyPair()]);
  return { signing, account };
}

function ownServiceAccount(publicKey: KeyObject): ServiceAccount {
  const names = ["calendar.readonly", "gmail.readonly", "drive.readonly"];
  return {
    email: "daybook@sandbox-project.example.com",
    clientId: "104857600215993347181",
    keyId: randomBytes(20).toString("hex"),
    publicKey,
    delegatedScopes: names.map((name) => `https://www.googleapis.com/auth/${name}`),
  };
}

async function openServer(
  state: State,
  { log = openLog("silent"), neighbours = [] }: Pick<Setup, "log" | "neighbours">,
): Promise<
  { server: FastifyInstance } & Pick<SandboxGoogle, "calendar" | "drive" | "gmail" | "pubsub">
> {
  const server = fastify({
    forceCloseConnections: true,
    bodyLimit: 16 * 1024 * 1024,
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: 1024 },
    // Mounted or not, the routes are the same: the path of the base URL is taken off first.
    rewriteUrl: ({ url = "/" }) => withoutPrefix(state, url),
  });
  await server.register(formbody);
  server.addContentTypeParser("*", { parseAs: "buffer" }, (_request, body, done) =>
    done(null, body),
  );
  server.setErrorHandler((error, request, reply) => {
    const status = statusOf(error);
    if (status >= 500) log.error({ error, path: request.routeOptions.url }, "the sandbox failed");
    const message = error instanceof Error && status < 500 ? error.message : "Internal error";
    const refusal = new GoogleError(status, status < 500 ? "badRequest" : "backendError", message);
    return reply.code(status).send(apiErrorBody(refusal));
  });
  server.get("/", (_request, reply) =>
    reply.headers(pageHeaders).send(indexPage(state, neighbours)),
  );
  addConsent(server, state);
  addToken(server, state);
  addIdentity(server, state);
  const calendar = openCalendar(server, state);
  addCalendarPage(server, calendar);
  const drive = openDrive(server, state);
  addDrivePage(server, drive);
  const pubsub = openPubSub(server, state);
  const gmail = openGmail(server, state, pubsub);
  addGmailPage(server, gmail);
  addControl(server, state, { calendar, drive, gmail, pubsub });
  addNotFound(server, state);
  await server.ready();
  return { server, calendar, drive, gmail, pubsub };
}

function withoutPrefix(state: State, url: string): string {
  const prefix = new URL(state.baseUrl()).pathname.replace(/\/$/, "");
  const rest = url.startsWith(prefix) ? url.slice(prefix.length) : url;
  return rest.startsWith("/") ? rest : `/${rest}`;
}

function statusOf(error: unknown): number {
  const status = error instanceof Error && "statusCode" in error ? Number(error.statusCode) : 500;
  return status >= 400 && status < 600 ? status : 500;
}
