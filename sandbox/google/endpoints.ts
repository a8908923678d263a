import { Readable } from "node:stream";
import { setTimeout as wait } from "node:timers/promises";
import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from "fastify";
import { prettifyError, ZodError } from "zod";
import { findAccess } from "./access.ts";
import {
  apiErrorBody,
  type ErrorShape,
  GoogleError,
  oauthErrorBody,
  usualReason,
} from "./errors.ts";
import { type Fault, takeFault } from "./faults.ts";
import { errorPage, pageHeaders } from "./pages.ts";
import type { Person } from "./people.ts";
import { spendQuotas } from "./quotas.ts";
import { noteRequest, type RequestEntry } from "./request-log.ts";
import type { State } from "./state.ts";

/** What an endpoint answers: an object becomes JSON, text and bytes go as they are. */
export type Answer = {
  status?: number;
  headers?: Record<string, string | string[]>;
  body?: unknown;
};

/** One address of Google's. Faults, quotas and the request log know it by its name. */
export type Endpoint = {
  /** Such as `calendar.events.list`. May depend on the request where one address does several things. */
  name: string | ((request: FastifyRequest) => string);
  method: HTTPMethods | HTTPMethods[];
  paths: string[];
  errors: ErrorShape;
  /** How many units of a quota a call takes; one by default. */
  cost?: number;
  /** Who a request concerns; by default whoever its bearer token speaks for. */
  person?: (request: FastifyRequest) => Person | null;
  /** @throws {GoogleError} for what Google refuses. */
  answer: (request: FastifyRequest) => Answer | Promise<Answer>;
};

/** Serves an endpoint, so that faults, quotas and the request log hold for it. */
export function addEndpoint(server: FastifyInstance, state: State, endpoint: Endpoint): void {
  for (const url of endpoint.paths) {
    server.route({
      method: endpoint.method,
      url,
      handler: (request, reply) => serve(state, endpoint, request, reply),
    });
  }
}

/** Answers what no endpoint serves, through the same faults and log. */
export function addNotFound(server: FastifyInstance, state: State): void {
  const answer = () => {
    throw new GoogleError(404, "notFound");
  };
  const endpoint: Endpoint = { name: "unknown", method: "GET", paths: [], errors: "api", answer };
  server.setNotFoundHandler((request, reply) => serve(state, endpoint, request, reply));
}

async function serve(
  state: State,
  endpoint: Endpoint,
  request: FastifyRequest,
  reply: FastifyReply,
) {
  const name = typeof endpoint.name === "string" ? endpoint.name : endpoint.name(request);
  const access = findAccess(state, request);
  const person = endpoint.person ? endpoint.person(request) : (access?.person ?? null);
  const path = request.url.split("?")[0] ?? "";
  const entry = noteRequest(state, {
    method: request.method,
    path,
    endpoint: name,
    parameters: Object.keys(request.query ?? {}),
    person: person?.email ?? access?.serviceAccount?.email ?? null,
  });
  const fault = takeFault(state, { endpoint: name, path, person });
  if (fault?.delayMs) await wait(fault.delayMs, undefined, { ref: false });
  if (fault?.reset === "before") return cut(reply);
  // A service account counts as one user, in whoever's name it calls.
  const user = access?.serviceAccount?.email ?? person?.sub ?? null;
  const answer =
    fault?.status === undefined
      ? await answering(endpoint, request, () =>
          spendQuotas(state, { endpoint: name, user, cost: endpoint.cost ?? 1 }),
        )
      : failing(endpoint.errors, fault.status, fault);
  if (fault?.holdMs) await wait(fault.holdMs, undefined, { ref: false });
  if (fault?.reset === "after") return cut(reply);
  const { reset, paddingBytes = 0 } = fault ?? {};
  return send(reply, answer, { entry, isCutMidway: reset === "mid-body", paddingBytes });
}

async function answering(
  endpoint: Endpoint,
  request: FastifyRequest,
  guard: () => void,
): Promise<Answer> {
  try {
    guard();
    return await endpoint.answer(request);
  } catch (error) {
    if (error instanceof GoogleError) return refusal(endpoint.errors, error);
    if (!(error instanceof ZodError)) throw error;
    const reason = endpoint.errors === "api" ? "badRequest" : "invalid_request";
    return refusal(endpoint.errors, new GoogleError(400, reason, prettifyError(error)));
  }
}

function failing(shape: ErrorShape, status: number, fault: Fault): Answer {
  const headers = fault.retryAfter === undefined ? {} : { "retry-after": String(fault.retryAfter) };
  const error = new GoogleError(status, fault.reason ?? usualReason(shape, status), fault.message, {
    headers,
  });
  // What fails in front of Google's servers says so in HTML, whoever asked.
  const isPage = fault.html ?? status === 502;
  return refusal(isPage ? "page" : shape, error);
}

function refusal(shape: ErrorShape, error: GoogleError): Answer {
  const { status } = error;
  const headers = error.details.headers ?? {};
  const bodies = {
    oauth: () => ({ headers, body: oauthErrorBody(error) }),
    api: () => ({ headers, body: apiErrorBody(error) }),
    page: () => ({ headers: { ...pageHeaders, ...headers }, body: errorPage(error) }),
  } satisfies Record<ErrorShape, () => Answer>;
  return { status, ...bodies[shape]() };
}

function send(
  reply: FastifyReply,
  answer: Answer,
  how: { entry: RequestEntry; isCutMidway: boolean; paddingBytes: number },
) {
  const { status = 200, body = "" } = answer;
  const isRaw = typeof body === "string" || Buffer.isBuffer(body);
  const headers = {
    "cache-control": "no-cache, no-store, max-age=0, must-revalidate",
    ...(isRaw ? {} : { "content-type": "application/json; charset=UTF-8" }),
    ...answer.headers,
  };
  const bytes = Buffer.from(isRaw ? body : JSON.stringify(body));
  if (how.isCutMidway) return cutMidway(reply, { status, headers, bytes });
  how.entry.status = status;
  const sent = how.paddingBytes === 0 ? bytes : Readable.from(padded(bytes, how.paddingBytes));
  return reply.code(status).headers(headers).send(sent);
}

/** Piece by piece, so that whoever shares the process goes on meanwhile. */
function* padded(bytes: Buffer, paddingBytes: number) {
  const piece = Buffer.alloc(1_000_000, " ");
  for (let left = paddingBytes; left > 0; left -= piece.length) yield piece.subarray(0, left);
  yield bytes;
}

function cut(reply: FastifyReply): void {
  reply.hijack();
  reply.request.raw.socket.resetAndDestroy();
}

// The headers promise the whole body; the connection ends after the first half of it.
function cutMidway(
  reply: FastifyReply,
  whole: { status: number; headers: Answer["headers"]; bytes: Buffer },
): void {
  const { status, headers, bytes } = whole;
  reply.hijack();
  reply.raw.writeHead(status, { ...headers, "content-length": bytes.length });
  reply.raw.write(bytes.subarray(0, bytes.length / 2), () => reply.raw.socket?.destroy());
}
