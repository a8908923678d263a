import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { openTestClient, type TestClient } from "./test-client.ts";

describe("the page of the sandbox's meetings", () => {
  let t: TestClient;
  before(async () => {
    t = await openTestClient();
  });
  after(() => t[Symbol.asyncDispose]());
  beforeEach(() => {
    t.attendee.bots.clear();
    Object.assign(t.attendee.settings, { fates: [], loseNext: 0, times: 1 });
  });
  const look = async (query = "") => {
    const answer = await fetch(`${t.site}/${query}`);
    return { headers: answer.headers, text: await answer.text() };
  };
  const press = async (path: string, form: Record<string, string>, headers = {}) => {
    const body = new URLSearchParams(form);
    const init = { method: "POST", body, headers, redirect: "manual" as const };
    const answer = await fetch(`${t.site}/page/${path}`, init);
    if (answer.status === 303) assert.equal(answer.headers.get("location"), `${t.site}/`);
    return answer.status;
  };
  const send = async (fate: string) => {
    assert.equal(await press("fate", { fate }), 303);
    const { body } = await t.create({ bot_name: "<b>Minutes" });
    return body.id as string;
  };

  test("shows each bot with what was said, escaped, and follows it when asked to", async () => {
    const id = await send("plays");
    t.pass(15);
    const { text, headers } = await look();
    assert.match(text, /&lt;b&gt;Minutes <span class="soft small">joined recording</);
    assert.match(text, /Robin Miller<\/b><span>Good morning, shall we look at the launch\?</);
    assert.match(headers.get("content-security-policy") ?? "", /default-src 'none'/);
    assert.equal(headers.get("refresh"), null);
    assert.equal((await look("?live=1")).headers.get("refresh"), "3");
    const without = await fetch(t.site);
    assert.equal(without.status, 200, "without the slash, too");
    assert.match(text, new RegExp(id));
  });

  test("lets a waiting bot in, or refuses it", async () => {
    const first = await send("ignored");
    const second = await send("ignored");
    t.pass(2);
    assert.match((await look()).text, /Let it in.*Refuse it/s);
    assert.equal(await press("admit", { id: first }), 303);
    assert.equal(await press("refuse", { id: second }), 303);
    t.pass(1);
    assert.equal((await t.bot(first)).state, "joined_recording");
    assert.equal((await t.bot(second)).events.at(-1).sub_type, "request_to_join_denied");
  });

  test("has somebody say and write something, removes a bot, and ends a meeting", async () => {
    const removed = await send("plays");
    const ended = await send("plays");
    t.pass(3);
    const who = "device-kim";
    for (const how of ["say", "write"]) {
      assert.equal(await press("speak", { id: removed, who, how, text: `I ${how} it` }), 303);
    }
    const [{ transcription }] = (await t.call("GET", `/bots/${removed}/transcript`)).body;
    assert.deepEqual(transcription, { transcript: "I say it" });
    const messages = (await t.call("GET", `/bots/${removed}/chat_messages`)).body.results;
    assert.deepEqual([messages[0].sender_name, messages[0].text], ["Kim Sørensen", "I write it"]);
    await press("remove", { id: removed });
    await press("end", { id: ended });
    t.pass(1);
    for (const id of [removed, ended]) assert.equal((await t.bot(id)).state, "ended");
  });

  test("chooses what becomes of the next bots, by name or by sub type, and what becomes of webhooks", async () => {
    const id = await send("could_not_join_meeting/login_required");
    t.pass(2);
    assert.equal((await t.bot(id)).events.at(-1).sub_type, "login_required");
    assert.match((await look()).text, /login_required" selected/);
    await press("webhooks", { wish: "lose" });
    await press("webhooks", { wish: "twice" });
    assert.deepEqual([t.attendee.settings.loseNext, t.attendee.settings.times], [5, 2]);
    await press("fate", { fate: "plays" });
    assert.deepEqual(t.attendee.settings.fates, []);
    assert.equal(await press("fate", { fate: "explodes" }), 400);
  });

  test("takes nothing from the pages of other sites", async () => {
    const elsewhere = { "sec-fetch-site": "cross-site" };
    assert.equal(await press("fate", { fate: "denied" }, elsewhere), 403);
    assert.deepEqual(t.attendee.settings.fates, []);
  });
});

test("the sandbox's Attendee is steered by requests under /_control, which refuse what they do not know", async () => {
  await using t = await openTestClient();
  const change = (body: unknown) => t.call("PATCH", `${t.site}/_control/settings`, body);
  const fates = [["abc", { type: "fatal_error", sub_type: "out_of_credits" }]];
  const { status, body } = await change({ speed: 2, fates, stubbornNext: 1 });
  assert.deepEqual([status, body.speed, body.stubbornNext, body.fates], [200, 2, 1, fates]);
  assert.equal(
    (await change({ fates: [["", { type: "fatal_error", sub_type: "x" }]] })).status,
    400,
  );
  assert.equal((await change({ mood: "bad" })).status, 400);
  const { body: bot } = await t.create();
  const { body: bots } = await t.call("GET", `${t.site}/_control/bots`);
  assert.deepEqual([bots[0].id, bots[0].state], [bot.id, "joining"]);
});
