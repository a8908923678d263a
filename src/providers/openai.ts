import OpenAI, { APIConnectionError, APIConnectionTimeoutError, APIError } from "openai";
import { ProviderError } from "../lib/errors.ts";
import { secondsUntil } from "../lib/http.ts";
import type { Secret } from "../lib/secrets.ts";

export type ModelAccess = {
  apiKey: Secret;
  baseUrl: string | null;
  model: string;
  /** Which protocol is spoken: servers that are compatible often know the older one only. */
  style: "responses" | "chat";
  structured: "json_schema" | "json_object" | "none";
  timeoutMs: number;
};

/** What a model is asked: our words, somebody's data, and the form that the answer is to have. */
export type Question = {
  instructions: string;
  /** Never instructions, whatever it says. */
  data: string;
  /** As strict structured outputs want it: all properties required, no others allowed. */
  form: { name: string; schema: Record<string, unknown> };
  maxOutputTokens: number;
};

export type ModelAnswer = {
  /** Parsed JSON, not checked yet. */
  content: unknown;
  model: string;
  inputTokens: number;
  outputTokens: number;
};

/** An answer longer than this is none to the question. */
const longestAnswer = 200_000;

/**
 * Asks a model once, without trying again.
 *
 * @throws {ProviderError} `retry` where the same question may be answered in a moment, `give_up` where it will not; the
 *   message says in words what happened and what to do.
 */
export async function askModel(
  access: ModelAccess,
  question: Question,
  { signal }: { signal: AbortSignal },
): Promise<ModelAnswer> {
  // Tries and waits are ours: the client would also try again what cannot help, and what has taken its time already.
  const client = new OpenAI({
    apiKey: access.apiKey.reveal(),
    baseURL: access.baseUrl,
    maxRetries: 0,
    timeout: access.timeoutMs,
  });
  const ask = access.style === "responses" ? askResponses : askChat;
  const { text, ...usage } = await ask(client, access, question, signal).catch((error: unknown) => {
    signal.throwIfAborted();
    throw failureOf(error, access);
  });
  if (text.length > longestAnswer) throw refused("too_long", "The model's answer was too long");
  return { ...usage, content: parse(text) };
}

/**
 * The names of the models that a key may use; null from a server that does not say. Source: OpenAI, "List models".
 *
 * @throws {ProviderError} as {@link askModel} does.
 */
export async function listModels(access: ModelAccess): Promise<string[] | null> {
  const { apiKey, baseUrl, timeoutMs } = access;
  const client = new OpenAI({
    apiKey: apiKey.reveal(),
    baseURL: baseUrl,
    maxRetries: 0,
    timeout: Math.min(timeoutMs, 10_000),
  });
  try {
    const { data } = await client.models.list();
    return data.map(({ id }) => id);
  } catch (error) {
    if (error instanceof APIError && error.status === 404) return null;
    throw failureOf(error, access);
  }
}

type Told = Omit<ModelAnswer, "content"> & { text: string };

// Source: OpenAI, "Create a model response". `output` may hold reasoning besides the message.
async function askResponses(
  client: OpenAI,
  { model, structured }: ModelAccess,
  question: Question,
  signal: AbortSignal,
): Promise<Told> {
  const { name, schema } = question.form;
  const formats = {
    json_schema: { format: { type: "json_schema" as const, name, schema, strict: true } },
    json_object: { format: { type: "json_object" as const } },
    none: {},
  };
  const answer = await client.responses.create(
    {
      model,
      instructions: instructionsOf(question, structured),
      input: question.data,
      text: formats[structured],
      max_output_tokens: question.maxOutputTokens,
      store: false,
    },
    { signal },
  );
  if (answer?.status === "failed") {
    const code = answer.error?.code ?? "server_error";
    const isPassing = code === "server_error" || code === "rate_limit_exceeded";
    throw isPassing ? passing(code) : refused(code, `The model failed (${code})`);
  }
  // A compatible server may leave out anything: what is not there is no answer, and is asked for again.
  const parts = (answer?.output ?? []).flatMap((item) =>
    item.type === "message" ? (item.content ?? []) : [],
  );
  const refusal = parts.find((part) => part.type === "refusal");
  if (refusal?.type === "refusal") throw refusedByModel(refusal.refusal);
  if (answer?.status === "incomplete") throw cutOff(answer.incomplete_details?.reason);
  return {
    text: parts.map((part) => (part.type === "output_text" ? part.text : "")).join(""),
    model: answer?.model ?? model,
    inputTokens: answer?.usage?.input_tokens ?? 0,
    outputTokens: answer?.usage?.output_tokens ?? 0,
  };
}

// Source: OpenAI, "Create chat completion".
async function askChat(
  client: OpenAI,
  { model, structured }: ModelAccess,
  question: Question,
  signal: AbortSignal,
): Promise<Told> {
  const { name, schema } = question.form;
  const formats = {
    json_schema: {
      response_format: {
        type: "json_schema" as const,
        json_schema: { name, schema, strict: true },
      },
    },
    json_object: { response_format: { type: "json_object" as const } },
    none: {},
  };
  const messages = [
    { role: "system" as const, content: instructionsOf(question, structured) },
    { role: "user" as const, content: question.data },
  ];
  const limit = question.maxOutputTokens;
  const answer = await withNameOfLimit(`${client.baseURL} ${model}`, (name) =>
    client.chat.completions.create(
      {
        model,
        messages,
        ...formats[structured],
        ...(name === "max_tokens" ? { max_tokens: limit } : { max_completion_tokens: limit }),
      },
      { signal },
    ),
  );
  const [choice] = answer?.choices ?? [];
  if (choice?.message?.refusal) throw refusedByModel(choice.message.refusal);
  if (choice?.finish_reason === "length") throw cutOff("max_output_tokens");
  if (choice?.finish_reason === "content_filter") throw cutOff("content_filter");
  return {
    text: wordsOf(choice?.message?.content),
    model: answer?.model ?? model,
    inputTokens: answer?.usage?.prompt_tokens ?? 0,
    outputTokens: answer?.usage?.completion_tokens ?? 0,
  };
}

const knowOldNameOnly = new Set<string>();

// Compatible servers may refuse the present name of the limit; which do is found out once.
async function withNameOfLimit<Answer>(
  server: string,
  ask: (name: "max_completion_tokens" | "max_tokens") => Promise<Answer>,
): Promise<Answer> {
  if (knowOldNameOnly.has(server)) return ask("max_tokens");
  try {
    return await ask("max_completion_tokens");
  } catch (error) {
    if (!isRefusedName(error)) throw error;
    const answer = await ask("max_tokens");
    knowOldNameOnly.add(server);
    return answer;
  }
}

function isRefusedName(error: unknown): boolean {
  if (!(error instanceof APIError) || (error.status !== 400 && error.status !== 422)) return false;
  return `${error.param} ${error.message}`.includes("max_completion_tokens");
}

// Some servers answer in parts, as questions may be asked.
function wordsOf(content: unknown): string {
  const parts = Array.isArray(content) ? content.map((part) => part?.text) : [content];
  return parts.filter((part) => typeof part === "string").join("");
}

// A server that knows no schema is told it in words.
function instructionsOf({ instructions, form }: Question, structured: ModelAccess["structured"]) {
  if (structured === "json_schema") return instructions;
  return `${instructions}\n\nAnswer with one JSON object and nothing else. Its JSON schema: ${JSON.stringify(form.schema)}`;
}

function parse(text: string): unknown {
  for (const json of readingsOf(text)) {
    try {
      return JSON.parse(json);
    } catch {
      // The next reading may be it.
    }
  }
  throw passing("bad_json", "The model's answer was no JSON");
}

// Servers without structured outputs like to think aloud before it, to put a fence around it, and to say a word about it.
function* readingsOf(text: string): Generator<string> {
  const said = text.replace(/^\s*<think>[\s\S]*?<\/think>/i, "").trim();
  yield said;
  const fenced = /```(?:json)?([\s\S]*?)```/i.exec(said)?.[1];
  if (fenced !== undefined) yield fenced;
  yield said.slice(said.indexOf("{"), said.lastIndexOf("}") + 1);
}

function passing(reason: string, message = "The model is in trouble at the moment"): ProviderError {
  return new ProviderError("retry", message, { reason });
}

function refused(reason: string, message: string): ProviderError {
  return new ProviderError("give_up", message, { reason });
}

function refusedByModel(words: string): ProviderError {
  return refused("refusal", `The model refused: ${words.replace(/\s+/g, " ").slice(0, 300)}`);
}

function cutOff(reason: string | undefined): ProviderError {
  return reason === "content_filter"
    ? refused("content_filter", "The provider's content filter stopped the model's answer")
    : refused("length", "The model's answer was cut off; shorten what describes the project");
}

function failureOf(error: unknown, { timeoutMs, model }: ModelAccess): unknown {
  if (error instanceof APIConnectionTimeoutError) {
    return passing("timeout", `The model did not answer within ${timeoutMs / 1000} seconds`);
  }
  if (error instanceof APIConnectionError) {
    return passing("network", "The model's provider cannot be reached");
  }
  // The client itself stumbles over an answer that has not the form, or is cut off.
  if (error instanceof TypeError || error instanceof SyntaxError) {
    const message = "The model's provider answered in another form than it documents";
    return new ProviderError("retry", message, { reason: "bad_answer", cause: error });
  }
  if (!(error instanceof APIError)) return error;
  const { status = 0, code, type } = error;
  const reason = String(code ?? type ?? status);
  const give = (message: string) => new ProviderError("give_up", message, { status, reason });
  if (reason === "insufficient_quota") {
    return give("The OpenAI account has no credit left: its owner has to look at plan and billing");
  }
  if (status === 429 || status === 408 || status === 409 || status >= 500) {
    const message =
      status === 429
        ? "The model's provider asks for a pause"
        : "The model's provider is in trouble";
    return new ProviderError("retry", message, {
      status,
      reason,
      retryAfterSeconds: pauseOf(error),
    });
  }
  if (status === 401) return give("The provider refuses OPENAI_API_KEY");
  if (status === 403) return give("The provider does not let this key use the model");
  if (status === 404) return give(`The provider has no model ${model}: check OPENAI_MODEL`);
  return give(`The provider refused the question (${status} ${reason})`);
}

function pauseOf({ headers }: APIError): number | undefined {
  const ms = Number(headers?.get("retry-after-ms") ?? Number.NaN);
  const seconds = Number.isFinite(ms)
    ? ms / 1000
    : secondsUntil(headers?.get("retry-after"), new Date());
  return seconds !== undefined && seconds >= 0 ? seconds : undefined;
}
