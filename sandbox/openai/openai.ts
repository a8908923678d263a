import type { IncomingMessage, ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import fastify, { type FastifyReply, type FastifyRequest } from "fastify";
import { z } from "zod";
import { draftOf } from "./draft.ts";
import { schemaProblem } from "./strict.ts";

const troubles = [
  "rate_limit",
  "insufficient_quota",
  "server_error",
  "overloaded",
  "refusal",
  "length",
  "content_filter",
  "bad_json",
  "fenced_json",
  "wrong_form",
  "cut_connection",
] as const;

/** What can happen to a question in the place of an answer. */
export type Trouble = (typeof troubles)[number];

export type OpenAISettings = {
  /** What happens to the next questions, the next first. */
  next: Trouble[];
  /** Real milliseconds before an answer. */
  delayMs: number;
  /** Seconds that a rate limit asks to wait for. */
  retryAfterSeconds: number;
  /** Servers that are compatible often know the older protocol only. */
  knowsResponses: boolean;
  /** Changes what is drafted: a model that does as it was told by the data. */
  twist: ((draft: Record<string, unknown>) => unknown) | null;
};

const usual: OpenAISettings = {
  next: [],
  delayMs: 0,
  retryAfterSeconds: 0.05,
  knowsResponses: true,
  twist: null,
};

const Change = z.strictObject({
  next: z.array(z.enum(troubles)).max(100).optional(),
  delayMs: z.number().int().min(0).max(120_000).optional(),
  retryAfterSeconds: z.number().min(0).optional(),
  knowsResponses: z.boolean().optional(),
});

export type Asked = { path: string; body: Record<string, unknown> };

/** A stand-in for the OpenAI API. Its answers are derived from the question by simple rules, and say so. */
export type SandboxOpenAI = {
  settings: OpenAISettings;
  /** Every question so far. */
  asked: Asked[];
  key: string;
  /** With the version, as OPENAI_BASE_URL has it. */
  readonly url: string;
  listen(): Promise<string>;
  handler(request: IncomingMessage, response: ServerResponse): void;
  reset(): void;
  [Symbol.asyncDispose](): Promise<void>;
};

/** Opens the stand-in. Source: OpenAI's OpenAPI document, `createResponse` and `createChatCompletion`. */
export async function openSandboxOpenAI(setup: { baseUrl?: string } = {}): Promise<SandboxOpenAI> {
  let baseUrl = setup.baseUrl?.replace(/\/+$/, "");
  const key = "sk-sandbox-0123456789";
  const settings = { ...usual };
  const asked: Asked[] = [];
  const base = () => {
    if (baseUrl === undefined) throw new Error("Give `baseUrl`, or let it listen");
    return baseUrl;
  };
  const server = fastify({
    forceCloseConnections: true,
    rewriteUrl: ({ url = "/" }) => {
      const prefix = new URL(base()).pathname.replace(/\/$/, "");
      return url.startsWith(prefix) ? url.slice(prefix.length) || "/" : url;
    },
  });
  server.setErrorHandler((error, _request, reply) => {
    const message = error instanceof Error ? error.message : "Bad request";
    return refuse(reply, 400, { type: "invalid_request_error", code: null, message });
  });

  server.addHook("onRequest", async (request, reply) => {
    const isKnown = request.headers.authorization === `Bearer ${key}`;
    if (isKnown || request.url.startsWith("/_control/")) return;
    const message = "Incorrect API key provided.";
    const error = { type: "invalid_request_error", code: "invalid_api_key", message };
    return refuse(reply, 401, error);
  });

  const question = (shape: Shape) => async (request: FastifyRequest, reply: FastifyReply) => {
    const body = z.looseObject({}).parse(request.body);
    asked.push({ path: request.url, body });
    const trouble = settings.next.shift() ?? null;
    await sleep(settings.delayMs);
    if (trouble === "cut_connection") return reply.hijack().raw.destroy();
    const refusal = refusalOf(trouble, settings);
    if (refusal) return refuse(reply, refusal.status, refusal.error, refusal.headers);
    const { model, data, schema } = shape.read(body);
    const problem = schema && schemaProblem(schema);
    if (problem) {
      const message = `Invalid schema: ${problem}`;
      return refuse(reply, 400, {
        type: "invalid_request_error",
        code: "invalid_json_schema",
        message,
      });
    }
    const draft = draftOf(data);
    const content = JSON.stringify(settings.twist ? settings.twist(draft) : draft);
    return reply.send(shape.write(model, content, trouble));
  };
  server.post("/chat/completions", question(chat));
  server.post("/responses", async (request, reply) => {
    if (settings.knowsResponses) return question(responses)(request, reply);
    return refuse(reply, 404, {
      type: "invalid_request_error",
      code: "not_found",
      message: "Unknown path",
    });
  });
  server.get("/models", () => ({
    object: "list",
    data: [{ id: "gpt-4o-mini", object: "model" }],
  }));
  server.patch("/_control/settings", ({ body }) => Object.assign(settings, Change.parse(body)));
  await server.ready();

  return {
    settings,
    asked,
    key,
    get url() {
      return base();
    },
    listen: async () => {
      baseUrl ??= `${await server.listen({ port: 0, host: "127.0.0.1" })}/v1`;
      return baseUrl;
    },
    handler: (request, response) => server.routing(request, response),
    reset: () => {
      Object.assign(settings, { ...usual, next: [] });
      asked.length = 0;
    },
    [Symbol.asyncDispose]: () => server.close(),
  };
}

type Question = { model: string; data: string; schema: Record<string, unknown> | null };

/** How one of the two protocols puts a question and an answer. */
type Shape = {
  read(body: unknown): Question;
  write(model: string, content: string, trouble: Trouble | null): unknown;
};

const Schema = z.looseObject({
  type: z.string(),
  name: z.string().optional(),
  strict: z.boolean().optional(),
  schema: z.record(z.string(), z.unknown()).optional(),
  json_schema: z
    .looseObject({
      name: z.string(),
      strict: z.boolean().optional(),
      schema: z.record(z.string(), z.unknown()),
    })
    .optional(),
});

const words = "I'm sorry, but I can't help with that (says the sandbox).";

const responses: Shape = {
  read: (body) => {
    const asked = z
      .looseObject({
        model: z.string().min(1),
        input: z.string().min(1),
        text: z.looseObject({ format: Schema.optional() }).optional(),
      })
      .parse(body);
    const format = asked.text?.format;
    const isHeld = format?.type === "json_schema" && format.strict === true;
    return { model: asked.model, data: asked.input, schema: isHeld ? (format.schema ?? {}) : null };
  },
  write: (model, content, trouble) => {
    const cut = trouble === "length" || trouble === "content_filter";
    const part =
      trouble === "refusal"
        ? { type: "refusal", refusal: words }
        : { type: "output_text", text: spoilt(content, trouble), annotations: [] };
    return {
      id: "resp_sandbox",
      object: "response",
      created_at: Math.floor(Date.now() / 1000),
      status: cut ? "incomplete" : "completed",
      incomplete_details: cut
        ? { reason: trouble === "length" ? "max_output_tokens" : "content_filter" }
        : null,
      error: null,
      model,
      output: [
        { type: "reasoning", id: "rs_sandbox", summary: [] },
        {
          type: "message",
          id: "msg_sandbox",
          role: "assistant",
          status: "completed",
          content: [part],
        },
      ],
      usage: { input_tokens: 400, output_tokens: 200, total_tokens: 600 },
    };
  },
};

const chat: Shape = {
  read: (body) => {
    const asked = z
      .looseObject({
        model: z.string().min(1),
        messages: z.array(z.looseObject({ role: z.string(), content: z.string() })).min(1),
        response_format: Schema.optional(),
      })
      .parse(body);
    const held = asked.response_format?.json_schema;
    return {
      model: asked.model,
      data: asked.messages.filter(({ role }) => role === "user").at(-1)?.content ?? "",
      schema: held?.strict ? held.schema : null,
    };
  },
  write: (model, content, trouble) => ({
    id: "chatcmpl-sandbox",
    object: "chat.completion",
    created: Math.floor(Date.now() / 1000),
    model,
    choices: [
      {
        index: 0,
        finish_reason:
          trouble === "length" || trouble === "content_filter" ? trouble : ("stop" as const),
        message: {
          role: "assistant",
          content: trouble === "refusal" ? null : spoilt(content, trouble),
          refusal: trouble === "refusal" ? words : null,
        },
      },
    ],
    usage: { prompt_tokens: 400, completion_tokens: 200, total_tokens: 600 },
  }),
};

function spoilt(content: string, trouble: Trouble | null): string {
  if (trouble === "length" || trouble === "bad_json") return content.slice(0, content.length / 2);
  if (trouble === "content_filter") return "";
  if (trouble === "fenced_json") return `\`\`\`json\n${content}\n\`\`\``;
  return trouble === "wrong_form" ? '{"name": "something else"}' : content;
}

type ApiError = { type: string; code: string | null; message: string };

// 429 has two meanings: wait, and there is no credit left.
function refusalOf(trouble: Trouble | null, { retryAfterSeconds }: OpenAISettings) {
  const refusals: Partial<
    Record<Trouble, { status: number; error: ApiError; headers?: Record<string, string> }>
  > = {
    rate_limit: {
      status: 429,
      error: { type: "requests", code: "rate_limit_exceeded", message: "Rate limit reached" },
      headers: { "retry-after": String(retryAfterSeconds), "x-ratelimit-remaining-requests": "0" },
    },
    insufficient_quota: {
      status: 429,
      error: {
        type: "insufficient_quota",
        code: "insufficient_quota",
        message: "You exceeded your current quota, please check your plan and billing details.",
      },
    },
    server_error: {
      status: 500,
      error: { type: "server_error", code: null, message: "The server had an error" },
    },
    overloaded: {
      status: 503,
      error: { type: "server_error", code: null, message: "The engine is overloaded" },
    },
  };
  return trouble === null ? undefined : refusals[trouble];
}

function refuse(
  reply: FastifyReply,
  status: number,
  error: ApiError,
  headers: Record<string, string> = {},
) {
  return reply
    .code(status)
    .headers(headers)
    .send({ error: { ...error, param: null } });
}
