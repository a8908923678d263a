import type { IncomingMessage, ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import { z } from "zod";
import { type Clock, systemClock } from "../../src/lib/clock.ts";
import { secretText } from "../../src/lib/secrets.ts";
import { isSigned, signatureOf } from "../../src/providers/n8n.ts";

export type N8nSetup = {
  /** Where it is reached, path included, when something else listens for it. */
  baseUrl?: string;
  /** What Daybook signs with, and the workflow's answers are signed with. */
  secret: string;
  /** Where the workflow posts its result. */
  answerTo: string;
  clock?: Clock;
};

/** What goes wrong, and how the workflow behaves. */
export type N8nSettings = {
  /** Real milliseconds from taking a document to its result. */
  delayMs: number;
  /** Real milliseconds before the webhook answers; the workflow starts all the same. */
  answerDelayMs: number;
  /** Answered in the place of what it would answer, the next first; such a request starts nothing. */
  failNext: number[];
  isActive: boolean;
  /** Whether the workflow posts a result. */
  answers: boolean;
  /** How often each result is posted. */
  times: number;
};

const usual: N8nSettings = {
  delayMs: 50,
  answerDelayMs: 0,
  failNext: [],
  isActive: true,
  answers: true,
  times: 1,
};

/** One request to a webhook. */
export type Received = {
  path: string;
  id: string | null;
  headers: Record<string, string | string[] | undefined>;
  // biome-ignore lint/suspicious/noExplicitAny: what was sent is what a test asserts.
  body: any;
  status: number;
};

/** A stand-in for n8n with one published workflow, which sorts documents into projects. */
export type SandboxN8n = {
  settings: N8nSettings;
  received: Received[];
  /** The ids of the events that a run was started for: one each, however often they came. */
  runs: string[];
  /** How the posted results were answered. */
  answered: { status: number; body: unknown }[];
  readonly url: string;
  /** The workflow's production address. */
  readonly webhookUrl: string;
  /** That of another workflow, which is told of changed files and answers nothing. */
  readonly driveSyncUrl: string;
  listen(): Promise<string>;
  handler(request: IncomingMessage, response: ServerResponse): void;
  reset(): void;
  /** Resolves when no run is under way. */
  settled(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
};

const path = "/webhook/classify-document";
const driveSyncPath = "/webhook/drive-sync";

/** Opens the stand-in. Source: n8n's documentation of the Webhook node, in the mode "Immediately". */
export async function openSandboxN8n(setup: N8nSetup): Promise<SandboxN8n> {
  let baseUrl = setup.baseUrl?.replace(/\/+$/, "");
  const clock = setup.clock ?? systemClock;
  const secret = secretText(setup.secret);
  const settings = { ...usual };
  const [received, runs, answered] = [[], [], []] as [Received[], string[], SandboxN8n["answered"]];
  const closing = new AbortController();
  const underWay = new Set<Promise<void>>();
  const base = () => {
    if (baseUrl === undefined) throw new Error("Give `baseUrl`, or let it listen");
    return baseUrl;
  };
  const server = fastify({
    forceCloseConnections: true,
    // N8N_PAYLOAD_SIZE_MAX.
    bodyLimit: 16 * 1024 * 1024,
    rewriteUrl: ({ url = "/" }) => withoutPrefix(new URL(base()).pathname, url),
  });
  // The signature is of the bytes.
  server.addContentTypeParser("application/json", { parseAs: "string" }, (_request, body, done) =>
    done(null, body),
  );

  const run = async (document: Document): Promise<void> => {
    await sleep(settings.delayMs, undefined, { signal: closing.signal }).catch(() => {});
    if (closing.signal.aborted || !settings.answers) return;
    const body = JSON.stringify(classify(document, clock.now()));
    for (let time = 0; time < settings.times; time += 1) {
      answered.push(await post(body, `msg_${document.event_id}`));
    }
  };
  const post = async (body: string, id: string): Promise<{ status: number; body: unknown }> => {
    const headers = { "content-type": "application/json", "webhook-id": id };
    const signed = { ...headers, ...signatureOf(secret, id, clock.now(), body) };
    const init = { method: "POST", headers: signed, body, signal: AbortSignal.timeout(10_000) };
    const answer = await fetch(setup.answerTo, init).catch(() => null);
    if (!answer) return { status: 0, body: null };
    return { status: answer.status, body: await answer.json().catch(() => null) };
  };

  // What a workflow makes of what it is sent: null where it cannot be read.
  const workflows: Record<string, (content: unknown) => { id: string; start: () => void } | null> =
    {
      [path]: (content) => {
        const document = Document.safeParse(content).data;
        if (!document) return null;
        const start = () => {
          const running = run(document).finally(() => underWay.delete(running));
          underWay.add(running);
        };
        return { id: document.event_id, start };
      },
      [driveSyncPath]: (content) => {
        const change = FileChange.safeParse(content).data;
        return change ? { id: change.event_id, start: () => {} } : null;
      },
    };
  const receive = async (request: FastifyRequest, reply: FastifyReply) => {
    const text = String(request.body);
    const id = [request.headers["webhook-id"] ?? []].flat()[0] ?? null;
    const answerWith = (status: number, body: unknown) => {
      const { headers, url } = request;
      received.push({ path: url, id, headers, body: parsed(text), status });
      return reply.code(status).send(body);
    };
    const failing = settings.failNext.shift();
    if (failing !== undefined) return answerWith(failing, { message: "Error in workflow" });
    if (!settings.isActive) {
      const message = `The requested webhook "POST ${request.url.slice(9)}" is not registered.`;
      return answerWith(404, { code: 404, message });
    }
    if (!isSigned(secret, request.headers, text, clock.now())) {
      return answerWith(403, { message: "Authorization data is wrong!" });
    }
    const asked = workflows[request.url.split("?")[0] ?? ""]?.(parsed(text));
    if (!asked) return answerWith(422, { message: "Failed to parse request body" });
    // The workflow's own memory: what comes twice starts nothing.
    if (!runs.includes(asked.id)) {
      runs.push(asked.id);
      asked.start();
    }
    if (settings.answerDelayMs > 0) {
      await sleep(settings.answerDelayMs, undefined, { signal: closing.signal }).catch(() => {});
    }
    return answerWith(200, { message: "Workflow was started" });
  };
  for (const one of Object.keys(workflows)) server.post(one, receive);
  addControl(server, { settings, received, runs });
  await server.ready();

  return {
    settings,
    received,
    runs,
    answered,
    get url() {
      return base();
    },
    get webhookUrl() {
      return base() + path;
    },
    get driveSyncUrl() {
      return base() + driveSyncPath;
    },
    listen: async () => {
      const origin = await server.listen({ port: 0, host: "127.0.0.1" });
      baseUrl ??= origin;
      return baseUrl;
    },
    handler: (request, response) => server.routing(request, response),
    reset: () => {
      Object.assign(settings, { ...usual, failNext: [] });
      for (const list of [received, runs, answered]) list.length = 0;
    },
    settled: async () => {
      while (underWay.size > 0) await Promise.all(underWay);
    },
    [Symbol.asyncDispose]: async () => {
      closing.abort();
      await server.close();
    },
  };
}

const texts = z.array(z.string()).nullish();
const Project = z.looseObject({
  project_id: z.string(),
  name: z.string(),
  normalized_tags: texts,
  reference_keywords: texts,
});
const Document = z.looseObject({
  event_id: z.string(),
  document_id: z.string(),
  title: z.string().nullable(),
  content: z.string(),
  project_metadata: z.array(Project),
});
type Document = z.infer<typeof Document>;
const FileChange = z.looseObject({
  event_id: z.string(),
  document_id: z.string(),
  file_id: z.string(),
  action: z.enum(["updated", "deleted", "restored", "sync"]),
});

/** Chooses the project whose name, tags and keywords the document names most often. */
function classify(document: Document, now: Date) {
  const text = `${document.title} ${document.content}`.toLowerCase();
  const wordsOf = (project: z.infer<typeof Project>) => [
    ...project.name.toLowerCase().split(/\s+/),
    ...(project.normalized_tags ?? []),
    ...(project.reference_keywords ?? []),
  ];
  const scored = document.project_metadata.map((project) => {
    const found = wordsOf(project).filter(
      (word) => word !== "" && text.includes(word.toLowerCase()),
    );
    return { project, found: [...new Set(found)] };
  });
  const [best] = scored.toSorted((one, other) => other.found.length - one.found.length);
  const isFound = best !== undefined && best.found.length > 0;
  return {
    document_id: document.document_id,
    project_id: isFound ? best.project.project_id : null,
    confidence: isFound ? Math.min(0.95, 0.5 + best.found.length / 10) : 0.2,
    tags: isFound ? best.found : [],
    reason: isFound ? `It names ${best.found.join(", ")}` : "It names nothing of any project",
    classified_at: now.toISOString(),
  };
}

const Change = z.strictObject({
  delayMs: z.number().int().min(0).optional(),
  answerDelayMs: z.number().int().min(0).optional(),
  failNext: z.array(z.number().int().min(300).max(599)).optional(),
  isActive: z.boolean().optional(),
  answers: z.boolean().optional(),
  times: z.number().int().min(0).max(10).optional(),
});

function addControl(
  server: FastifyInstance,
  { settings, received, runs }: Pick<SandboxN8n, "settings" | "received" | "runs">,
): void {
  server.get("/", () => ({ workflow: path, runs: runs.length, requests: received.length }));
  server.get("/_control/requests", () => ({
    requests: received.slice(-100).map(({ headers, ...shown }) => shown),
  }));
  server.patch("/_control/settings", ({ body }) =>
    Object.assign(settings, Change.parse(parsed(String(body)))),
  );
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function withoutPrefix(prefix: string, url: string): string {
  const rest = url.startsWith(prefix) ? url.slice(prefix.length) : url;
  return rest.startsWith("/") ? rest : `/${rest}`;
}
