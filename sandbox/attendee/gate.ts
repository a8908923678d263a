import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Clock } from "../../src/lib/clock.ts";
import { Refusal } from "./answers.ts";
import type { Asked, AttendeeSettings } from "./attendee.ts";

type Gate = { settings: AttendeeSettings; clock: Clock; key: string; asked: Asked[] };

/** Everything that a request to the API passes before and after its route, in the order of REST framework. */
export function addGate(server: FastifyInstance, { settings, clock, key, asked }: Gate): void {
  const throttle = openThrottle(settings, clock);
  server.removeAllContentTypeParsers();
  server.addContentTypeParser("application/json", { parseAs: "string" }, (_request, text, done) => {
    try {
      done(null, text === "" ? {} : JSON.parse(String(text)));
    } catch (error) {
      done(new Refusal(400, { detail: `JSON parse error - ${(error as Error).message}` }));
    }
  });
  server.setErrorHandler((error, request, reply) => {
    if (error instanceof Refusal) return reply.code(error.status).send(error.body);
    if ((error as { statusCode?: number }).statusCode !== 415) throw error;
    const type = request.headers["content-type"];
    return reply.code(415).send({ detail: `Unsupported media type "${type}" in request.` });
  });
  server.setNotFoundHandler((_request, reply) => reply.code(404).send({ error: "Not found" }));
  server.addHook("onRequest", async (request, reply) => {
    if (request.is404) return;
    const refusal = keyProblem(request, key);
    if (refusal) {
      return reply.code(401).header("www-authenticate", "Token").send({ detail: refusal });
    }
    const failure = settings.failNext.shift();
    if (failure !== undefined) {
      const answer = reply.code(failure);
      return failure < 500
        ? answer.send({})
        : answer.type("text/html").send("<h1>Server Error</h1>");
    }
    const seconds = throttle(request);
    if (seconds !== null) return tooMany(reply, seconds);
  });
  server.addHook("onSend", async (request, reply, payload) => {
    const { method, url, body } = request;
    const path = url.slice(server.prefix.length);
    asked.push({ method, path, status: reply.statusCode, body });
    if (settings.cutNext > 0 && reply.statusCode < 400) {
      settings.cutNext -= 1;
      request.raw.socket.destroy();
    }
    return payload;
  });
}

const methods = ["GET", "POST", "PUT", "PATCH", "DELETE"] as const;

/** Adds routes, and refuses on their paths the methods that they do not serve. */
export function addWithOthersRefused(server: FastifyInstance, addRoutes: () => void): void {
  const served = new Map<string, Set<string>>();
  let isAdding = true;
  server.addHook("onRoute", ({ routePath, method }) => {
    if (!isAdding) return;
    const before = served.get(routePath) ?? [];
    served.set(routePath, new Set([...before, ...[method].flat()]));
  });
  addRoutes();
  isAdding = false;
  for (const [url, allowed] of served) {
    const refuse = async (request: FastifyRequest, reply: FastifyReply) =>
      reply
        .code(405)
        .header("allow", [...allowed, "OPTIONS"].join(", "))
        .send({ detail: `Method "${request.method}" not allowed.` });
    const method = methods.filter((one) => !allowed.has(one));
    // Before the body is read: it may be none.
    server.route({ method, url, onRequest: refuse, handler: refuse });
  }
}

function keyProblem({ headers }: FastifyRequest, key: string): string | null {
  if (!headers.authorization) return "Missing Authorization header";
  const [scheme, given, ...rest] = headers.authorization.trim().split(/\s+/);
  if (scheme?.toLowerCase() !== "token" || !given || rest.length > 0) {
    return "Invalid Authorization header. Should have this format: Token <api_key>";
  }
  return given === key ? null : "Invalid or disabled API key";
}

// What makes and steers; leaving, changing and reading are not counted.
const counted =
  /\/bots(\/[^/]+\/(speech|output_\w+|send_chat_message|pause_recording|resume_recording))?$/;

/** Counts the requests of the last minute. Of one too many it says in how many seconds it may come again. */
function openThrottle(settings: AttendeeSettings, clock: Clock) {
  const times: number[] = [];
  return ({ method, url }: FastifyRequest): number | null => {
    if (method !== "POST" || !counted.test(url.split("?")[0] ?? "")) return null;
    const now = clock.now().getTime();
    while (times[0] !== undefined && times[0] <= now - 60_000) times.shift();
    if (times.length >= settings.postsPerMinute) {
      return Math.ceil(((times[0] ?? now) + 60_000 - now) / 1000);
    }
    times.push(now);
    return null;
  };
}

function tooMany(reply: FastifyReply, seconds: number): FastifyReply {
  const detail = `Request was throttled. Expected available in ${seconds} second${seconds === 1 ? "" : "s"}.`;
  return reply.code(429).header("retry-after", String(seconds)).send({ detail });
}
