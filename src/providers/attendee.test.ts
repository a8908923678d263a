import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { type TestContext, test } from "node:test";
import { type Respond, serve } from "../../test/serve.ts";
import { ProviderError } from "../lib/errors.ts";
import { secretText } from "../lib/secrets.ts";
import {
  createBot,
  deleteBot,
  getBot,
  getRecording,
  getTranscript,
  listChatMessages,
  listLiveBots,
  listParticipantEvents,
  type Page,
} from "./attendee.ts";

async function open(t: TestContext, respond: Respond) {
  return { apiUrl: `${await serve(t, respond)}/api/v1/`, apiKey: secretText("a key") };
}

const bot = { id: "bot_1", state: "scheduled", events: [], join_at: null, metadata: null };
const all = async <Item>(pages: AsyncIterable<Page<Item>>) =>
  (await Array.fromAsync(pages)).flatMap(({ items }) => items);
const json = (response: ServerResponse, value: unknown, status = 200) =>
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));

test("every call bears the key, and names its bot by an escaped path below the API's own", async (t) => {
  const seen: unknown[] = [];
  const access = await open(t, (request, response) => {
    seen.push([request.method, request.url, request.headers.authorization]);
    json(response, bot);
  });
  await getBot(access, "../secrets?x=1");
  assert.deepEqual(seen, [["GET", "/api/v1/bots/..%2Fsecrets%3Fx%3D1", "Token a key"]]);
});

const failures: [what: string, status: number, body: string, failure: string, reason: string][] = [
  ["a wrong key", 401, '{"detail": "Invalid or disabled API key"}', "give_up", "unauthorised"],
  ["a bot that is gone", 404, '{"error": "Bot not found"}', "not_found", "not_found"],
  ["a wrong path", 404, '{"error": "Not found"}', "retry", "wrong_address"],
  ["a page of something in between", 404, "<h1>404</h1>", "retry", "wrong_address"],
  ["a pause", 429, '{"detail": "Request was throttled."}', "wait", "throttled"],
  ["trouble there", 500, "<h1>Server Error (500)</h1>", "retry", "server_error"],
  ["a field", 400, '{"meeting_url": ["Invalid meeting URL"]}', "give_up", "refused"],
  ["a rule", 400, '{"error": "Zoom App credentials are required"}', "give_up", "refused"],
  [
    "a key in use",
    400,
    '{"error": "Deduplication key already in use. A bot"}',
    "retry",
    "duplicate_key",
  ],
  ["a state", 400, '{"error": "Bot is in state staged but can only be deleted"}', "retry", "state"],
  [
    "an event",
    400,
    '{"error": "Event leave_requested not allowed when bot is in state staged."}',
    "retry",
    "state",
  ],
  ["disobedience", 400, '{"error": "Unable to pause recording"}', "retry", "state"],
  [
    "a crowd",
    400,
    '{"error": "You have exceeded the maximum number of concurrent bots (1)"}',
    "wait",
    "crowded",
  ],
  ["no credits", 400, '{"error": "Organization has run out of credits."}', "wait", "no_credits"],
  ["something that is no answer", 200, "<html>", "retry", "retry"],
  ["an answer without an id", 200, '{"state": "scheduled"}', "retry", "bad_answer"],
];
for (const [what, status, body, failure, reason] of failures) {
  test(`a refusal for ${what} says what to do next: ${failure}`, async (t) => {
    const access = await open(t, (_request, response) => response.writeHead(status).end(body));
    await assert.rejects(getBot(access, "bot_1"), (error: unknown) => {
      assert.ok(error instanceof ProviderError, String(error));
      assert.deepEqual([error.failure, error.reason], [failure, reason]);
      assert.doesNotMatch(error.message, /[<>]/);
      return true;
    });
  });
}

test("a pause is as long as asked for, but not so long that meetings are missed", async (t) => {
  const asked = ["7", "86400", "soon", "-1"];
  const access = await open(t, (_request, response) =>
    response.writeHead(429, { "retry-after": asked.shift() ?? "" }).end("{}"),
  );
  for (const seconds of [7, 600, 30, 30]) {
    await assert.rejects(getBot(access, "bot_1"), { retryAfterSeconds: seconds });
  }
  asked.push(new Date(Date.now() + 120_000).toUTCString());
  await assert.rejects(getBot(access, "bot_1"), (error: ProviderError) => {
    const seconds = error.retryAfterSeconds ?? 0;
    return seconds > 110 && seconds <= 120;
  });
});

test("what cannot be reached, and who sends us elsewhere with our key, is tried again", async (t) => {
  const access = await open(t, (_request, response) =>
    response.writeHead(302, { location: "https://example.com/" }).end(),
  );
  await assert.rejects(getBot(access, "bot_1"), { failure: "retry", reason: "network" });
  await assert.rejects(getBot({ ...access, apiUrl: "http://127.0.0.1:1" }, "bot_1"), {
    failure: "retry",
    reason: "network",
  });
});

test("a list is read to its end by its cursors, whatever name the server has for itself", async (t) => {
  const urls: string[] = [];
  const access = await open(t, (request, response) => {
    urls.push(request.url ?? "");
    const next =
      urls.length < 3 ? `https://elsewhere.example.com/api/v1/bots?cursor=${urls.length}%3D` : null;
    json(response, { next, previous: null, results: [{ ...bot, id: `bot_${urls.length}` }] });
  });
  const bots = await listLiveBots(access);
  assert.deepEqual(
    bots.map(({ id }) => id),
    ["bot_1", "bot_2", "bot_3"],
  );
  assert.match(urls[0] ?? "", /^\/api\/v1\/bots\?states=scheduled&states=staged&/);
  assert.match(urls[2] ?? "", /states=scheduled&.*cursor=2%3D$/);
});

test("an empty body is a success where nothing is to be said", async (t) => {
  const access = await open(t, (_request, response) => response.writeHead(200).end());
  assert.equal(await deleteBot(access, "bot_1"), null);
});

test("what is missing or new in an answer hides nothing of the rest", async (t) => {
  const access = await open(t, (request, response) => {
    const { url = "" } = request;
    if (url.endsWith("/transcript")) {
      const spoken = {
        speaker_name: null,
        speaker_uuid: "a",
        timestamp_ms: null,
        duration_ms: null,
      };
      json(response, [
        { ...spoken, transcription: { transcript: "Hello\u0000 \ud83d", words: [{}] } },
        { ...spoken, timestamp_ms: 9e18, duration_ms: 9e18, transcription: null, mood: "good" },
      ]);
    } else if (url.includes("/chat_messages")) {
      const message = { id: "m", text: "Hi", timestamp_ms: 1.5, to: null };
      json(response, { next: null, results: [null, { ...message, text: 7 }, message] });
    } else if (url.includes("/participant_events")) {
      const event = { id: "e", participant_uuid: "u", event_type: "join", timestamp_ms: 1 };
      json(response, { next: null, results: [{ ...event, participant_uuid: null }, event] });
    } else {
      json(response, { ...bot, state: "dancing", events: null, colour: "red" });
    }
  });
  const { state, events } = await getBot(access, "bot_1");
  assert.deepEqual([state, events], ["dancing", []]);
  const [first, second] = await getTranscript(access, "bot_1");
  assert.equal(first?.transcription?.transcript, "Hello \ufffd");
  assert.equal(new Date(second?.timestamp_ms ?? 0).getUTCFullYear(), 9999);
  assert.equal(second?.duration_ms, 108_000_000);
  const [message, ...others] = await all(listChatMessages(access, "bot_1"));
  assert.deepEqual(others, []);
  assert.equal((await all(listParticipantEvents(access, "bot_1"))).length, 1);
  assert.deepEqual([message?.to, message?.timestamp_ms], ["everyone", 2]);
});

test("a recording that is not uploaded yet is none, and no failure", async (t) => {
  const access = await open(t, (_request, response) =>
    json(response, { error: "No recording file found for bot" }, 404),
  );
  assert.equal(await getRecording(access, "bot_1"), null);
});

test("a call ends when its caller does", async (t) => {
  const access = await open(t, () => {});
  const leaving = new AbortController();
  const asking = createBot(
    access,
    {
      meeting_url: "https://meet.google.com/abc-defg-hij",
      bot_name: "A",
      deduplication_key: "k",
      metadata: { a: "b" },
    },
    leaving.signal,
  );
  leaving.abort(new Error("the worker stops"));
  await assert.rejects(asking, /the worker stops/);
});
