import { randomInt } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { FastifyInstance } from "fastify";
import { sql } from "kysely";
import { openSandboxAttendee, type SandboxAttendee } from "../sandbox/attendee/attendee.ts";
import { type Browser, type Choices, openBrowser } from "../sandbox/google/browser.ts";
import { type MovableClock, openClock } from "../sandbox/google/clock.ts";
import { usualTopic } from "../sandbox/google/pubsub.ts";
import { makeKeyPairs, openSandboxGoogle, type SandboxGoogle } from "../sandbox/google/server.ts";
import { openSandboxN8n, type SandboxN8n } from "../sandbox/n8n/n8n.ts";
import { openSandboxOpenAI, type SandboxOpenAI } from "../sandbox/openai/openai.ts";
import { connectDelegatedMailbox, ensureAssistant } from "../src/accounts/assistant.ts";
import { openServer } from "../src/api/server.ts";
import { type App, openApp } from "../src/app.ts";
import { type Config, loadConfig } from "../src/config.ts";
import type { Database } from "../src/db/connection.ts";
import { handlers, schedules } from "../src/jobs.ts";
import { openLog } from "../src/lib/log.ts";
import type { JobName } from "../src/queue/catalog.ts";
import { channel } from "../src/queue/insert.ts";
import { startWorkers } from "../src/queue/workers.ts";
import { startDispatcher } from "../src/sync/dispatcher.ts";
import { isFeedDue } from "../src/sync/feeds.ts";
import { mailboxPushPath, startMailboxPull } from "../src/sync/mailbox-notifications.ts";
import { isClosingDue, isOpeningDue } from "../src/sync/watches.ts";
import { createTestDatabase } from "./database.ts";

/** Daybook on a database of its own, listening, beside a sandbox Google; both on one clock that tests move. */
export type TestApp = {
  app: App;
  server: FastifyInstance;
  url: string;
  database: Database;
  google: SandboxGoogle;
  n8n: SandboxN8n;
  openai: SandboxOpenAI;
  attendee: SandboxAttendee;
  clock: MovableClock;
  /** Every line that was logged, as text. */
  logged: string[];
  /** Walks the whole sign-in of one of the made-up people, as a browser would. */
  signIn(person: string, choices?: Omit<Choices, "person">): Promise<Visitor>;
  /** What this Daybook was set up with besides the defaults; for other processes of the same one. */
  environment: Record<string, string>;
  /** Connects the assistant's own mailbox, as an operator would by delegation. Returns its user's id. */
  connectAssistant(): Promise<string>;
  /** A call with the service key. */
  asService(method: string, path: string, body?: unknown): Promise<Answer>;
  /** The queue's own times are the database's: what waits there for a later time is due now. */
  hurry(...names: JobName[]): Promise<void>;
  /** Resolves when nothing is on its way: no push, no job that is due, no feed that is due or being read, no channel to close. */
  idle(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
};

// biome-ignore lint/suspicious/noExplicitAny: what a route answers is what its test asserts.
export type Answer = { status: number; body: any; headers: Headers };

/** A browser with Daybook's cookies in it. */
export type Visitor = {
  userId: string;
  cookie: string;
  /** Where the sign-in ended. */
  landedAt: string;
  call(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<Answer>;
  /** Connects a further account, or reconnects one. */
  connect(person: string, query?: string, choices?: Omit<Choices, "person">): Promise<string>;
};

/** A page of whatever changed, as a source is given it. */
export const delta = {
  mode: "delta" as const,
  name: "changes",
  from: { cursor: "any" },
  pageToken: null,
  generation: 1,
  seen: 0,
};

// Tests call faster than people; the one about limits brings its own.
const generous = { user: 100_000, address: 100_000, signIn: 100_000, webhook: 100_000 };

type Options = {
  callsPerMinute?: typeof generous;
  environment?: Record<string, string>;
  workers?: boolean;
  /** Google's stand-in tells us of changes. */
  push?: boolean;
  /** Gmail's changes wait in a subscription, since nothing can reach us. */
  pull?: boolean;
  /** Documents are handed to n8n's stand-in. */
  workflow?: boolean;
  /** OpenAI's stand-in drafts metadata. */
  model?: boolean;
  /** Attendee's stand-in sends bots: it tells us of what happens to them, or leaves us to look. */
  bots?: "told" | "polled";
  database?: Database;
};

// Shared by all of a process: making them takes as long as the rest.
const keyPairs = makeKeyPairs();

export async function openTestApp(options: Options = {}): Promise<TestApp> {
  await using opened = new AsyncDisposableStack();
  const database = options.database ?? opened.use(await createTestDatabase());
  const clock = openClock();
  const callsPerMinute = options.callsPerMinute ?? generous;
  const port = await reservePort();
  const url = `http://127.0.0.1:${port}`;
  const callback = `${url}/api/v1/auth/google/oauth/callback`;
  const google = opened.use(
    await openSandboxGoogle({ clock, redirectUris: [callback], keyPairs: await keyPairs }),
  );
  await google.listen();
  google.gmail.notices.mostPerSecond = 1_000;
  if (options.push || options.pull) subscribe(google, options.push ? url : null);
  const answerTo = `${url}/api/v1/webhooks/classification`;
  const n8n = opened.use(await openSandboxN8n({ secret: n8nSecret, answerTo, clock }));
  await n8n.listen();
  const openai = opened.use(await openSandboxOpenAI());
  await openai.listen();
  const told =
    options.bots === "told"
      ? [{ url: `${url}/api/v1/webhooks/attendee`, triggers: botTriggers }]
      : [];
  const attendee = opened.use(await openSandboxAttendee({ clock, webhooks: told }));
  await attendee.listen();
  const environment = {
    ...environmentOf(options, url, { n8n, openai, attendee }),
    ...options.environment,
  };
  const logged: string[] = [];
  const log = openLog("debug", { write: (line: string) => void logged.push(line) });
  const app = opened.use(
    await openApp(
      testConfig(google, {
        url,
        port,
        database,
        environment,
      }),
      { clock, log, callsPerMinute },
    ),
  );
  if (options.workers ?? true) {
    opened.use(await startWorkers(app, handlers));
    opened.use(startDispatcher(app, 100));
    opened.use(startMailboxPull(app, 20));
  }
  const server = await openServer(app, { schedules });
  opened.defer(() => server.close());
  await server.listen({ host: "127.0.0.1", port });

  const call = async (path: string, init: RequestInit): Promise<Answer> => {
    const answer = await fetch(path.startsWith("http") ? path : url + path, {
      redirect: "manual",
      ...init,
    });
    const text = await answer.text();
    const isJson =
      answer.headers.get("content-type")?.includes("json") &&
      !answer.headers.get("content-type")?.includes("ndjson");
    return {
      status: answer.status,
      body: isJson ? JSON.parse(text) : text,
      headers: answer.headers,
    };
  };
  const requestOf = (
    method: string,
    body: unknown,
    headers: Record<string, string>,
  ): RequestInit => ({
    method,
    headers: { ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });

  const kept = opened.move();
  return {
    app,
    server,
    url,
    database,
    google,
    n8n,
    openai,
    attendee,
    clock,
    logged,
    environment,
    signIn: (person, choices) => signIn(url, call, requestOf, { person, ...choices }),
    connectAssistant: async () => {
      const { id, email } = await ensureAssistant(app);
      await connectDelegatedMailbox(app, { userId: id, mailbox: email });
      return id;
    },
    asService: (method, path, body) =>
      call(
        path,
        requestOf(method, body, { authorization: `Bearer ${app.config.serviceKey.reveal()}` }),
      ),
    hurry: async (...names) => void (await hurry(app, names)),
    idle: () => idle(app, { google, n8n, attendee }),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

const botTriggers = [
  "bot.state_change",
  "transcript.update",
  "chat_messages.update",
  "participant_events.join_leave",
];
const n8nSecret = "a-secret-between-daybook-and-n8n";
const subscription = "projects/sandbox-project/subscriptions/daybook";
const pushAccount = "pubsub-push@sandbox-project.example.com";

function subscribe({ pubsub }: SandboxGoogle, url: string | null): void {
  pubsub.settings.pullWaitMs = 200;
  const push = url && {
    endpoint: `${url}${mailboxPushPath}`,
    audience: url,
    serviceAccount: pushAccount,
  };
  pubsub.subscribe({ name: subscription, topic: usualTopic, push: push || null });
}

function environmentOf(
  options: Options,
  url: string,
  standIns: { n8n: SandboxN8n; openai: SandboxOpenAI; attendee: SandboxAttendee },
): Record<string, string> {
  const { n8n, openai, attendee } = standIns;
  const bots = {
    MASTER_ATTENDEE_API_KEY: attendee.key,
    ATTENDEE_API_URL: attendee.url,
    ATTENDEE_WEBHOOK_SECRET: attendee.webhookSecret,
  };
  const topic = options.push || options.pull ? { GOOGLE_PUBSUB_TOPIC: usualTopic } : {};
  const push = { GOOGLE_PUBSUB_AUDIENCE: url, GOOGLE_PUBSUB_SERVICE_ACCOUNT: pushAccount };
  const workflow = {
    N8N_CLASSIFICATION_WEBHOOK_URL: n8n.webhookUrl,
    N8N_DRIVESYNC_WEBHOOK_URL: n8n.driveSyncUrl,
    N8N_WEBHOOK_SECRET: n8nSecret,
    N8N_ALLOW_PRIVATE: "true",
  };
  return {
    ...topic,
    ...(options.push ? { PUBLIC_URL: url, ...push } : {}),
    ...(options.pull ? { GOOGLE_PUBSUB_SUBSCRIPTION: subscription } : {}),
    ...(options.workflow ? workflow : {}),
    ...(options.bots ? bots : {}),
    ...(options.model
      ? { OPENAI_API_KEY: openai.key, OPENAI_BASE_URL: openai.url, OPENAI_API_STYLE: "responses" }
      : {}),
  };
}

type Busy = { google: SandboxGoogle; n8n: SandboxN8n; attendee: SandboxAttendee };

async function idle(app: App, { google, n8n, attendee }: Busy): Promise<void> {
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; await sleep(20)) {
    await google.calendar.settled();
    await google.drive.settled();
    await google.gmail.settled();
    await n8n.settled();
    await attendee.settled();
    const { rows } = await sql<{ busy: boolean }>`
      select exists (select from feeds where ${isFeedDue(app)} or ${isOpeningDue(app)} or lease_until is not null and state = 'active')
        or exists (select from watches where ${isClosingDue(app)})
        or exists (select from pgboss.job_common where name <> 'dead-letters' and
          (state = 'active' or (state < 'active' and start_after <= now() + interval '1 second'))) as busy
    `.execute(app.db);
    if (rows[0]?.busy === false && !(await hurry(app, ["feeds.sync"], isTold))) return;
  }
  throw new Error("Something is on its way for more than 60 seconds");
}

/** What push told of may wait some seconds for more, and there is no more. */
const isTold = sql<boolean>`data ->> 'reason' = 'push' and start_after <= now() + interval '6 seconds'`;

async function hurry({ db }: App, names: JobName[], which = sql<boolean>`true`): Promise<number> {
  const { rows } = await sql`
    with due as (
      update pgboss.job_common set start_after = now()
      where name = any(${names}) and state < 'active' and ${which}
      returning name
    )
    select pg_notify(${channel}, name) from due
  `.execute(db);
  return rows.length;
}

type Place = {
  url: string;
  port: number;
  database: Database;
  environment?: Record<string, string>;
};

type Google = Pick<SandboxGoogle, "url" | "client" | "serviceAccount">;

/** A configuration for one test database and one sandbox Google. */
export function testConfig(google: Google, place: Place): Config {
  return loadConfig(testEnvironment(google, place));
}

/** The same as the variables that a process of its own would be given. */
export function testEnvironment(google: Google, { url, port, database, environment }: Place) {
  return {
    DATABASE_URL: database.url,
    SERVICE_KEY: "a-service-key-for-tests",
    ENCRYPTION_KEY: "an-encryption-key-for-tests",
    SESSION_SECRET: "a-session-secret-for-tests",
    GOOGLE_CLIENT_ID: google.client.id,
    GOOGLE_CLIENT_SECRET: google.client.secret,
    GOOGLE_API_URL: google.url,
    GOOGLE_LOGIN_REDIRECT_URI: `${url}/api/v1/auth/google/oauth/callback`,
    GOOGLE_SERVICE_ACCOUNT_EMAIL: google.serviceAccount.email,
    GOOGLE_SERVICE_ACCOUNT_PRIVATE_KEY: google.serviceAccount.privateKey,
    VIRTUAL_EMAIL_ADDRESS: "ai@example.com",
    PORT: String(port),
    LOG_LEVEL: "debug",
    ...(process.env.TEST_REDIS_URL ? { REDIS_URL: process.env.TEST_REDIS_URL } : {}),
    ...(process.env.NODE_COMPILE_CACHE
      ? { NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE }
      : {}),
    ...environment,
  };
}

/** A folder of its own, deleted when closed. */
export function temporaryFolder(): { path: string; [Symbol.dispose](): void } {
  const path = mkdtempSync(join(tmpdir(), "daybook-test-"));
  return {
    path,
    [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true, maxRetries: 5 }),
  };
}

type Call = (path: string, init: RequestInit) => Promise<Answer>;
type RequestOf = (method: string, body: unknown, headers: Record<string, string>) => RequestInit;

async function signIn(
  url: string,
  call: Call,
  requestOf: RequestOf,
  choices: Choices,
): Promise<Visitor> {
  const cookies = new Map<string, string>();
  const browser = openBrowser();
  const landedAt = await visitGoogle(
    url,
    call,
    cookies,
    browser,
    "/api/v1/auth/google/login?return_to=/connections",
    choices,
  );
  const cookie = () => cookieHeader(cookies);
  const send: Visitor["call"] = (method, path, body, headers = {}) =>
    call(path, requestOf(method, body, { cookie: cookie(), origin: url, ...headers }));
  const session = await send("GET", "/api/v1/auth/session");
  return {
    userId: session.body.user_id ?? "",
    get cookie() {
      return cookie();
    },
    landedAt,
    call: send,
    connect: (person, query = "", more = {}) =>
      visitGoogle(
        url,
        call,
        cookies,
        browser,
        `/api/v1/auth/google/login?purpose=connect&return_to=/connections${query}`,
        {
          person,
          ...more,
        },
      ),
  };
}

// Follows redirects between Daybook and the sandbox's consent page until Daybook shows a page of its own.
async function visitGoogle(
  url: string,
  call: Call,
  cookies: Map<string, string>,
  browser: Browser,
  start: string,
  choices: Choices,
): Promise<string> {
  let next = start;
  for (let hop = 0; hop < 8; hop += 1) {
    const answer = await call(next, { headers: { cookie: cookieHeader(cookies) } });
    for (const cookie of answer.headers.getSetCookie()) {
      const [name = "", value = ""] = (cookie.split(";")[0] ?? "").split(/=(.*)/s);
      cookies.set(name, value);
    }
    const location = answer.headers.get("location");
    if (answer.status !== 302 || !location)
      throw new Error(`No redirect: ${answer.status} ${JSON.stringify(answer.body)}`);
    if (location.startsWith("/")) return location;
    next = String(await browser.consent(location, choices));
    if (!next.startsWith(url)) throw new Error(`Google sent the browser to ${next}`);
  }
  throw new Error("Sign-in went in circles");
}

function cookieHeader(cookies: Map<string, string>): string {
  return [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");
}

// Below those that the system hands to outgoing connections (Linux: 32768 and up), any of which might take it first.
async function reservePort(): Promise<number> {
  for (;;) {
    const port = randomInt(16_000, 32_000);
    const probe = createServer().listen(port, "127.0.0.1");
    const isFree = await once(probe, "listening").then(
      () => true,
      () => false,
    );
    probe.close();
    if (isFree) return port;
  }
}
