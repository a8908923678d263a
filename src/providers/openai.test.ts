import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { serve } from "../../test/serve.ts";
import { secretText } from "../lib/secrets.ts";
import { askModel, type ModelAccess } from "./openai.ts";

const question = {
  instructions: "Draft.",
  data: "{}",
  form: { name: "form", schema: {} },
  maxOutputTokens: 100,
};

/** Asks a server that answers every question with the same. */
async function ask(t: TestContext, style: ModelAccess["style"], answer: unknown) {
  const body = typeof answer === "string" ? answer : JSON.stringify(answer);
  const baseUrl = await serve(t, (_request, response) =>
    response.writeHead(200, { "content-type": "application/json" }).end(body),
  );
  const access = { baseUrl, apiKey: secretText("a key"), model: "ours", timeoutMs: 5_000 };
  const { signal } = new AbortController();
  return askModel({ ...access, style, structured: "none" }, question, { signal });
}

const message = (content: unknown) => ({ type: "message", role: "assistant", content });
const empty: [style: ModelAccess["style"], answers: unknown[]][] = [
  [
    "responses",
    [
      null,
      {},
      '{"output": [{"type": "mess',
      { error: { message: "overloaded" } },
      { status: "failed", output: null },
      { output: [message(null)] },
      { output: [message([{ type: "output_text", text: null }])] },
    ],
  ],
  [
    "chat",
    [
      null,
      {},
      { choices: null },
      { choices: [] },
      { choices: [{ index: 0 }] },
      { choices: [{ message: null }] },
      { choices: [{ message: { content: 7 } }] },
    ],
  ],
];
for (const [style, answers] of empty) {
  for (const answer of answers) {
    test(`an answer by ${style} that holds none is asked for again: ${JSON.stringify(answer)}`, async (t) => {
      await assert.rejects(ask(t, style, answer), { name: "ProviderError", failure: "retry" });
    });
  }
}

test("an answer counts without its model and its usage, and in parts", async (t) => {
  const parts = [
    { type: "text", text: '{"a"' },
    { type: "text", text: ":1}" },
  ];
  const told = { content: { a: 1 }, model: "ours", inputTokens: 0, outputTokens: 0 };
  assert.deepEqual(await ask(t, "chat", { choices: [{ message: { content: parts } }] }), told);
  const output = [message([{ type: "output_text", text: '{"a":1}' }])];
  assert.deepEqual(await ask(t, "responses", { output, usage: null }), told);
});
