import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { type MovableClock, openClock } from "../google/clock.ts";
import { type AttendeeSetup, openSandboxAttendee, type SandboxAttendee } from "./attendee.ts";

export const meet = "https://meet.google.com/abc-defg-hij";
export const teams = "https://teams.microsoft.com/meet/123?p=abc";

export type Answer = {
  status: number;
  headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: what is answered is what a test asserts.
  body: any;
};

/** One webhook as it came: the bytes, and who signed them. */
export type Hook = {
  path: string;
  headers: IncomingHttpHeaders;
  text: string;
  signature: string;
  // biome-ignore lint/suspicious/noExplicitAny: what is told is what a test asserts.
  body: any;
};

export type TestClient = {
  attendee: SandboxAttendee;
  clock: MovableClock;
  site: string;
  hooks: Hook[];
  /** What webhooks are answered with. */
  listening: { status: number };
  call(method: string, path: string, body?: unknown): Promise<Answer>;
  /** Makes a bot and returns what was answered; `more` goes into its body. */
  create(more?: Record<string, unknown>): Promise<Answer>;
  /** A bot as the API shows it. */
  // biome-ignore lint/suspicious/noExplicitAny: what is answered is what a test asserts.
  bot(id: string): Promise<any>;
  /** Lets time pass in steps of a quarter of a second. */
  pass(seconds: number): void;
  [Symbol.asyncDispose](): Promise<void>;
};

/** The stand-in, mounted below a path as the sandbox mounts it, on a clock that stands still, with two receivers of webhooks. */
export async function openTestClient(): Promise<TestClient> {
  const clock = openClock({ now: () => new Date("2027-03-01T10:00:00.250Z") });
  const hooks: Hook[] = [];
  const listening = { status: 204 };
  const receiver = createServer(async (request, response) => {
    let text = "";
    for await (const chunk of request) text += chunk;
    const signature = String(request.headers["x-webhook-signature"]);
    const { url: path = "", headers } = request;
    hooks.push({ path, headers, text, signature, body: JSON.parse(text) });
    response.writeHead(listening.status, { location: "/elsewhere" }).end();
  });
  const receiverUrl = await listen(receiver);
  const triggers = [
    "bot.state_change",
    "transcript.update",
    "chat_messages.update",
    "participant_events.join_leave",
  ];
  const webhooks = ["/one", "/two"].map((path) => ({ url: receiverUrl + path, triggers }));
  let attendee: SandboxAttendee | null = null;
  const front = createServer((request, response) => attendee?.handler(request, response));
  const site = `${await listen(front)}/sandbox/attendee`;
  const setup: AttendeeSetup = { baseUrl: `${site}/api/v1`, clock, webhooks };
  const opened = await openSandboxAttendee(setup);
  attendee = opened;
  opened.settings.retryMs = 5;
  opened.settings.mostDelayMs = 2;

  const call = async (method: string, path: string, body?: unknown): Promise<Answer> => {
    const answer = await fetch(path.startsWith("http") ? path : opened.url + path, {
      method,
      headers: { authorization: `Token ${opened.key}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    const isJson = answer.headers.get("content-type")?.includes("json");
    return {
      status: answer.status,
      headers: answer.headers,
      body: isJson ? JSON.parse(text) : text,
    };
  };
  return {
    attendee: opened,
    clock,
    site,
    hooks,
    listening,
    call,
    create: (more = {}) =>
      call("POST", "/bots", { meeting_url: meet, bot_name: "Minutes", ...more }),
    bot: async (id) => (await call("GET", `/bots/${id}`)).body,
    pass: (seconds) => {
      for (let quarter = 0; quarter < seconds * 4; quarter += 1) {
        clock.advance(250);
        opened.run();
      }
    },
    [Symbol.asyncDispose]: async () => {
      await opened.settled();
      await opened[Symbol.asyncDispose]();
      for (const server of [front, receiver]) {
        server.closeAllConnections();
        server.close();
      }
    },
  };
}

async function listen(server: Server): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", resolve);
  await promise;
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
