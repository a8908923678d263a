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
  return askServer(baseUrl, style);
}

function askServer(baseUrl: string, style: ModelAccess["style"]) {
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

const wrapped = [
  '```json\n{"a":1}\n```',
  '```JSON\r\n{"a":1}\r\n```',
  'Here is the metadata:\n\n```json\n{"a":1}\n```\nLet me know {if} it helps!',
  'Here you are: {"a":1}. Anything else?',
  '<think>Perhaps {"a":2}?</think>\n{"a":1}',
];
for (const content of wrapped) {
  test(`an answer is found among what is said around it: ${JSON.stringify(content)}`, async (t) => {
    const { content: found } = await ask(t, "chat", { choices: [{ message: { content } }] });
    assert.deepEqual(found, { a: 1 });
  });
}

const unknownNames: [status: number, problem: object][] = [
  [400, { error: { message: "Unknown parameter", param: "max_completion_tokens" } }],
  [400, { object: "error", message: "Extra inputs: ('body', 'max_completion_tokens')" }],
  [422, { detail: [{ type: "extra_forbidden", loc: ["body", "max_completion_tokens"] }] }],
];
for (const [status, problem] of unknownNames) {
  test(`a server that knows only the limit's older name is asked by it from then on: ${JSON.stringify(problem)}`, async (t) => {
    const limits: unknown[] = [];
    const baseUrl = await serve(t, (_request, response, body) => {
      const { max_completion_tokens, max_tokens } = JSON.parse(body);
      limits.push({ max_completion_tokens, max_tokens });
      const isKnown = max_completion_tokens === undefined;
      const answer = isKnown ? { choices: [{ message: { content: '{"a":1}' } }] } : problem;
      response.writeHead(isKnown ? 200 : status, { "content-type": "application/json" });
      response.end(JSON.stringify(answer));
    });
    const [newer, older] = [
      { max_completion_tokens: 100, max_tokens: undefined },
      { max_completion_tokens: undefined, max_tokens: 100 },
    ];
    for (const asked of [
      [newer, older],
      [newer, older, older],
    ]) {
      assert.deepEqual((await askServer(baseUrl, "chat")).content, { a: 1 });
      assert.deepEqual(limits, asked);
    }
  });
}

test("what a server refuses for another reason is not asked for by the limit's older name", async (t) => {
  let asked = 0;
  const baseUrl = await serve(t, (_request, response) => {
    asked += 1;
    response.writeHead(400, { "content-type": "application/json" });
    response.end(JSON.stringify({ error: { message: "Unknown parameter", param: "store" } }));
  });
  await assert.rejects(askServer(baseUrl, "chat"), { failure: "give_up" });
  assert.equal(asked, 1);
});

test("an answer that was cut off is none, whatever else stands in it", async (t) => {
  for (const content of ['{"a": {"b": 1}, "c": "', '```json\n{"a": {"b": 1},', "no", ""]) {
    const answer = { choices: [{ message: { content } }] };
    await assert.rejects(ask(t, "chat", answer), { reason: "bad_json" });
  }
});
