import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { days, hours, minutes } from "../google/clock.ts";
import { normalised } from "./meeting-url.ts";
import { meet, openTestClient, type TestClient, teams } from "./test-client.ts";

describe("the sandbox's Attendee", () => {
  let t: TestClient;
  let usual: TestClient["attendee"]["settings"];
  before(async () => {
    t = await openTestClient();
    usual = { ...t.attendee.settings };
  });
  after(() => t[Symbol.asyncDispose]());
  beforeEach(() => {
    t.attendee.bots.clear();
    Object.assign(t.attendee.settings, usual, { fates: [], failNext: [] });
    t.clock.advance(2 * minutes);
  });
  const inMs = (ms: number) => new Date(t.clock.now().getTime() + ms).toISOString();
  const scheduled = async (ms = 3 * hours, more = {}) =>
    (await t.create({ join_at: inMs(ms), ...more })).body.id as string;
  const refusalOf = async (method: string, path: string, body?: unknown) => {
    const answer = await t.call(method, path, body);
    return [answer.status, answer.body];
  };

  test("makes a bot that joins at once, or at its time", async () => {
    const now = await t.create({ metadata: { meeting: "1" } });
    assert.equal(now.status, 201);
    assert.match(now.body.id, /^bot_[A-Za-z0-9]{16}$/);
    const { events, ...rest } = now.body;
    assert.deepEqual(rest, {
      id: now.body.id,
      metadata: { meeting: "1" },
      meeting_url: meet,
      state: "joining",
      transcription_state: "not_started",
      recording_state: "not_started",
      join_at: null,
      deduplication_key: null,
    });
    const at = t.clock.now().toISOString().replace("250Z", "250000Z");
    assert.deepEqual(events, [{ type: "join_requested", created_at: at }]);
    const { body } = await t.create({ join_at: "2027-04-01T12:00:00+02:00" });
    assert.deepEqual(
      [body.state, body.events, body.join_at, body.metadata],
      ["scheduled", [], "2027-04-01T10:00:00Z", null],
    );
  });

  test("keeps the meeting's URL in its own form, and refuses what it cannot send a bot to", () => {
    const context = `?context=${encodeURIComponent('{"Tid":"t1","Oid":"o1"}')}`;
    const thread = "19%3ameeting_x%40thread.v2";
    const wrapped = encodeURIComponent("https://zoom.us/j/1");
    for (const [link, url] of [
      [`${meet}?authuser=0`, meet],
      ["meet.google.com/abc-defg-hij", meet],
      ["https://meet.google.com/lookup/abcdef", "https://meet.google.com/lookup"],
      ["https://meet.google.com/_meet/abc-defg-hij", null],
      ["https://g.co/meet/x", null],
      [
        "https://us02web.zoom.us/j/89?pwd=abc123&utm=1#success",
        "https://us02web.zoom.us/j/89?pwd=abc123",
      ],
      ["https://zoom.com/j/555", "https://zoom.us/j/555"],
      ["https://zoom.us/w/123?tk=t1", "https://zoom.us/w/123?tk=t1"],
      ["https://acme.zoom.us/my/jane.doe", null],
      ["https://acme.zoom.us/my/jane2024", "https://acme.zoom.us/my/jane2024"],
      ["https://zoom.us/j/1?pwd=abc-def", "https://zoom.us/j/1?pwd=abc"],
      ["https://zoom.us/j/1>", "https://zoom.us/j/1"],
      ["<https://zoom.us/j/1>", null],
      ["https://www.zoomgov.com/j/1", null],
      [
        `https://teams.microsoft.com/l/meetup-join/${thread}/0${context}`,
        'https://teams.microsoft.com/l/meetup-join/19:meeting_x@thread.v2/0?context={"Tid":"t1","Oid":"o1"}',
      ],
      [`https://teams.microsoft.com/l/meetup-join/${thread}/0`, null],
      [teams, teams],
      ["https://teams.live.com/meet/9?p=abc&x=1", "https://teams.live.com/meet/9?p=abc"],
      ["https://teams.microsoft.com/meet/123", null],
      ["https://example.webex.com/meet/x", null],
      [`https://www.google.com/url?q=${wrapped}`, null],
      [`https://zoom.us/j/1?tk=${wrapped}`, null],
      [`https://zoom.us/j/1?tk=${encodeURIComponent(wrapped)}`, null],
      [`https://zoom.us/j/1?tk=${Buffer.from("https://zoom.us/j/1").toString("base64")}`, null],
    ] as const) {
      assert.equal(normalised(link), url, link);
    }
  });

  test("is strict about what a bot is made of, and says it field by field", async () => {
    const hook = { url: "https://hooks.example.com/a", triggers: ["bot.state_change"] };
    const other = { ...hook, url: "https://hooks.example.com/b" };
    const refused: [field: string, value: unknown, sentence: RegExp][] = [
      ["meeting_url", "https://example.com/room", /^Invalid meeting URL$/],
      ["meeting_url", `${meet}?${"x".repeat(2_048)}`, /no more than 2048/],
      ["meeting_url", null, /may not be null/],
      ["bot_name", "", /may not be blank/],
      ["bot_name", "x".repeat(256), /no more than 255/],
      ["bot_name", "Notes 📝", /emojis/],
      ["join_at", "tomorrow", /wrong format/],
      ["join_at", inMs(-1_000), /^join_at cannot be in the past$/],
      ["join_at", inMs(3 * 366 * days), /3 years/],
      ["metadata", {}, /at least one key/],
      ["metadata", [], /must be an object/],
      ["metadata", { n: 1 }, /'n' must be a string/],
      ["metadata", { n: "é".repeat(167) }, /less than 1000/],
      ["deduplication_key", "x".repeat(1_025), /no more than 1024/],
      ["webhooks", [hook, other, { ...hook, url: "https://c.example.com" }], /at most 2/],
      ["webhooks", [hook, hook], /distinct/],
      ["webhooks", [{ ...hook, url: "http://hooks.example.com" }], /./],
      ["webhooks", [{ ...hook, triggers: [] }], /./],
      ["webhooks", [{ ...hook, triggers: ["bot.unknown"] }], /./],
      ["webhooks", [{ ...hook, secret: "x" }], /./],
      ["automatic_leave_settings", { silence_timeout_seconds: 0 }, /positive integer/],
      ["automatic_leave_settings", { patience: 1 }, /unexpected/],
      ["transcription_settings", { deepgram: {}, openai: {} }, /one transcription provider/],
      ["transcription_settings", { scribe: {} }, /unexpected/],
      ["recording_settings", { quality: 1 }, /unexpected/],
      ["google_meet_settings", "yes", /not of type 'object'/],
    ];
    for (const [field, value, sentence] of refused) {
      const { status, body } = await t.create({ [field]: value });
      assert.equal(status, 400, field);
      assert.deepEqual(Object.keys(body), [field]);
      assert.match(body[field][0], sentence);
    }
    const deeper = await t.create({ recording_settings: { format: "avi" } });
    assert.deepEqual(deeper.body, {
      recording_settings: { format: ["Format must be mp4 or mp3 or 'none'"] },
    });
    const image = await t.create({ bot_image: { type: "image/gif", data: "" } });
    assert.deepEqual(Object.keys(image.body.bot_image), ["type"]);
    const empty = await t.call("POST", "/bots", {});
    const required = ["This field is required."];
    assert.deepEqual(empty.body, { meeting_url: required, bot_name: required });
    const extra = await t.create({ name: "x", also: 1 });
    assert.match(extra.body.non_field_errors[0], /^Unexpected field\(s\): also, name\. Allowed/);
    assert.equal(t.attendee.bots.size, 0);
    assert.equal((await t.create({ webhooks: [hook, other], join_at: inMs(hours) })).status, 201);
  });

  test("answers what breaks a rule with one sentence, in the order of its own checks", async () => {
    const sentenceFor = async (more = {}) => (await t.create(more)).body.error;
    t.attendee.settings.hasCredits = false;
    assert.match(await sentenceFor({ bot_name: "" }), /^Organization has run out of credits\./);
    t.attendee.settings.hasCredits = true;
    assert.match(await sentenceFor({ calendar_event_id: "evt_x", bot_name: "" }), /does not exist/);
    t.attendee.settings.hasZoomCredentials = false;
    assert.match(await sentenceFor({ meeting_url: "https://zoom.us/j/1" }), /^Zoom App credent/);
    const hello = { to: "specific_user", to_user_uuid: "device-kim", message: "Hello" };
    assert.match(await sentenceFor({ bot_chat_message: hello }), /^No participant found/);
    t.attendee.settings.mostConcurrent = 1;
    await scheduled(3 * hours, { deduplication_key: "k" });
    assert.equal((await t.create()).status, 201, "a scheduled one does not count");
    const crowded = await sentenceFor({ join_at: inMs(hours), deduplication_key: "k" });
    assert.match(crowded, /^You have exceeded the maximum number of concurrent bots \(1\)/);
  });

  test("gives one of two bots with the same key, made at once, and frees the key at the end or by deletion", async () => {
    const twin = { deduplication_key: "event-1", join_at: inMs(3 * hours) };
    const answers = await Promise.all([t.create(twin), t.create(twin)]);
    assert.deepEqual(answers.map(({ status }) => status).sort(), [201, 400]);
    const refused = answers.find(({ status }) => status === 400);
    assert.match(refused?.body.error, /^Deduplication key already in use\./);
    const found = (await t.call("GET", "/bots?deduplication_key=event-1")).body.results;
    assert.equal(found.length, 1);
    assert.deepEqual(await refusalOf("DELETE", `/bots/${found[0].id}`), [200, ""]);
    assert.equal((await t.call("GET", `/bots/${found[0].id}`)).status, 404);
    const { body: next } = await t.create({ deduplication_key: "event-1" });
    t.pass(3);
    await t.call("POST", `/bots/${next.id}/leave`, {});
    assert.equal((await t.create(twin)).status, 400, "still working on what it heard");
    t.pass(3);
    assert.equal((await t.bot(next.id)).state, "ended");
    assert.equal((await t.create(twin)).status, 201);
  });

  test("lists bots oldest first, 25 a page, by any filter, and loses none when others go between two pages", async () => {
    const ids: string[] = [];
    for (let n = 0; n < 30; n += 1) ids.push(await scheduled((n + 2) * hours));
    const list = async (path: string) => (await t.call("GET", path)).body;
    const idsOf = (page: { results: { id: string }[] }) => page.results.map(({ id }) => id);
    const first = await list("/bots?states=scheduled");
    assert.deepEqual(idsOf(first), ids.slice(0, 25));
    assert.equal(first.previous, null);
    assert.ok(first.next.startsWith(`${t.attendee.url}/bots?states=scheduled&cursor=`));
    await t.call("DELETE", `/bots/${ids[0]}`);
    const second = await list(first.next);
    assert.deepEqual([idsOf(second), second.next], [ids.slice(25), null]);
    assert.deepEqual(idsOf(await list(second.previous)), ids.slice(1, 25));
    assert.deepEqual(await refusalOf("GET", "/bots?cursor=bm9uZQ=="), [
      404,
      { detail: "Invalid cursor" },
    ]);
    const [third, fifth] = [t.attendee.bots.get(ids[2]!), t.attendee.bots.get(ids[4]!)];
    const window = new URLSearchParams({
      join_at_after: third!.joinAt!.toISOString(),
      join_at_before: fifth!.joinAt!.toISOString(),
    });
    assert.deepEqual(idsOf(await list(`/bots?${window}`)), [ids[3]]);
    const { body: elsewhere } = await t.create({ meeting_url: `${teams}&x=1` });
    const at = (url: string) => list(`/bots?meeting_url=${encodeURIComponent(url)}`);
    assert.deepEqual(idsOf(await at(teams)), [elsewhere.id]);
    assert.deepEqual(idsOf(await at(`${teams}&x=1`)), [], "only the URL as it was kept");
    assert.deepEqual(idsOf(await list("/bots?states=joining&states=ended")), [elsewhere.id]);
    assert.match((await list("/bots?states=asleep")).error, /^Invalid state: asleep\. Valid/);
    assert.match((await list("/bots?join_at_after=noon")).error, /^Invalid join_at_after format/);
  });

  test("lets a scheduled bot be changed leniently, and of one that has set out only its metadata", async () => {
    const id = await scheduled(20 * minutes, { deduplication_key: "k" });
    const patch = (body: unknown) => t.call("PATCH", `/bots/${id}`, body);
    const at = inMs(40 * minutes);
    const moved = await patch({ join_at: at, meeting_url: `${teams}&x=1`, bot_name: "N", x: 1 });
    assert.deepEqual([moved.status, moved.body.meeting_url], [200, teams]);
    assert.equal(Date.parse(moved.body.join_at), Date.parse(at));
    const kept = await patch({ deduplication_key: "other", webhooks: [] });
    assert.deepEqual([kept.status, kept.body.deduplication_key], [200, "k"]);
    assert.deepEqual((await patch({ meeting_url: "https://example.com" })).body, {
      meeting_url: ["Invalid meeting URL"],
    });
    assert.match((await patch({ bot_name: "📝" })).body.bot_name[0], /emojis/);
    assert.match((await patch({ metadata: {} })).body.metadata[0], /at least one/);
    t.pass(36 * 60);
    assert.equal((await t.bot(id)).state, "staged");
    const late = "Bot is in state staged but join_at, meeting_url, bot_name, bot_image, or";
    assert.ok((await patch({ join_at: inMs(hours) })).body.error.startsWith(late));
    assert.ok((await patch({ bot_name: "M" })).body.error.startsWith(late));
    assert.equal((await patch({ join_at: at })).status, 200, "the same time is no change");
    assert.deepEqual((await patch({ metadata: { a: "b" } })).body.metadata, { a: "b" });
    assert.match((await t.call("DELETE", `/bots/${id}`)).body.error, /^Bot is in state staged but/);
    assert.match(
      (await t.call("POST", `/bots/${id}/leave`, {})).body.error,
      /^Event leave_requested not allowed when bot is in state staged\. It is only allowed in these states: joining, waiting_room, /,
    );
    t.pass(5 * 60);
    const past = await patch({ join_at: at });
    assert.deepEqual(past.body, { join_at: ["join_at cannot be in the past"] });
  });

  test("stages five minutes ahead at the scheduler's next look, and gives up what it missed after an hour", async () => {
    t.attendee.settings.schedulerEverySeconds = 60;
    t.attendee.run();
    const id = await scheduled(5.5 * minutes);
    t.pass(45);
    assert.equal((await t.bot(id)).state, "scheduled", "due, but nobody has looked");
    t.pass(15);
    const joinAt = (await t.bot(id)).join_at;
    assert.equal((await t.bot(id)).state, "staged");
    t.pass(4.5 * 60);
    const { state, events } = await t.bot(id);
    assert.deepEqual(
      [state, events.at(-1)],
      ["joining", { type: "join_requested", created_at: joinAt }],
    );
    await t.attendee.settled();
    const told = t.hooks.filter(({ path, body }) => path === "/one" && body.bot_id === id);
    const metadataOf = (type: string) =>
      told.find(({ body }) => body.data.event_type === type)?.body.data.event_metadata;
    assert.deepEqual(metadataOf("staged"), { join_at: joinAt.replace("Z", "+00:00") });
    assert.deepEqual(metadataOf("join_requested"), { source: "scheduler" });
    const missed = await scheduled(10 * minutes);
    t.clock.advance(15.5 * minutes);
    t.pass(60);
    assert.equal((await t.bot(missed)).state, "scheduled");
    t.clock.advance(hours);
    t.attendee.run();
    const given = await t.bot(missed);
    assert.deepEqual(
      [given.state, given.events.at(-1).sub_type],
      ["fatal_error", "bot_not_launched"],
    );
  });

  test("goes to out_of_credits when a bot becomes due without any", async () => {
    const id = await scheduled(20 * minutes);
    t.attendee.settings.hasCredits = false;
    t.pass(16 * 60);
    const { state, events } = await t.bot(id);
    assert.deepEqual([state, events.at(-1).sub_type], ["fatal_error", "out_of_credits"]);
  });
});
