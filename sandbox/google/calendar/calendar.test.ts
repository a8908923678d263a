import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import { type calendar_v3, calendar as officialClient } from "@googleapis/calendar";
import { OAuth2Client } from "google-auth-library";
import { openSandboxGoogle, type SandboxGoogle } from "../server.ts";
import { redirectUri, signIn } from "../test-client.ts";

const ana = "ana@example.com";
const jonas = "jonas.weber@example.com";
const scopes = ["openid", "email", "https://www.googleapis.com/auth/calendar"];

describe("the sandbox's Calendar", () => {
  let google: SandboxGoogle;
  let anas: calendar_v3.Calendar;
  let jonass: calendar_v3.Calendar;
  before(async () => {
    google = await openSandboxGoogle({ redirectUris: [redirectUri] });
    await google.listen();
    [anas, jonass] = await Promise.all([clientOf(ana), clientOf(jonas)]);
  });
  after(() => google[Symbol.asyncDispose]());

  async function clientOf(person: string): Promise<calendar_v3.Calendar> {
    const auth = new OAuth2Client();
    auth.setCredentials(await signIn(google, { person }, { scope: scopes }));
    return officialClient({ version: "v3", auth, rootUrl: `${google.url}/`, retry: false });
  }

  const at = (hours: number) => ({
    dateTime: new Date(Math.floor(Date.now() / 60_000 + hours * 60) * 60_000).toISOString(),
    timeZone: "Europe/Berlin",
  });
  const event = (hours: number, more: calendar_v3.Schema$Event = {}) => ({
    calendarId: "primary",
    requestBody: { summary: "Event", start: at(hours), end: at(hours + 1), ...more },
  });
  const reasonOf = (call: Promise<unknown>) =>
    call.then(
      () => assert.fail("it was not refused"),
      ({ response }) => [response.status, response.data.error.errors[0].reason],
    );
  const list = async (query: calendar_v3.Params$Resource$Events$List = {}) =>
    (await anas.events.list({ calendarId: "primary", ...query })).data;
  /** Everything until now, and a token to go on from. */
  const tokenOf = async (query: calendar_v3.Params$Resource$Events$List = {}) =>
    String((await list({ maxResults: 2500, ...query })).nextSyncToken);

  test("tells of what changed since a token: new, changed, and deleted with little more than an id", async () => {
    const syncToken = await tokenOf({ singleEvents: true });
    const one = await anas.events.insert(event(1));
    const two = await anas.events.insert(event(2));
    await anas.events.delete({ calendarId: "primary", eventId: two.data.id! });
    await anas.events.patch({
      calendarId: "primary",
      eventId: one.data.id!,
      requestBody: { summary: "Renamed" },
    });
    const { items = [], nextSyncToken } = await list({ singleEvents: true, syncToken });
    assert.deepEqual(
      items.map(({ id, status, summary }) => [id, status, summary]).sort(),
      [
        [one.data.id, "confirmed", "Renamed"],
        [two.data.id, "cancelled", undefined],
      ].sort(),
    );
    assert.ok(nextSyncToken && nextSyncToken !== syncToken);
    assert.deepEqual((await list({ singleEvents: true, syncToken: nextSyncToken })).items, []);
  });

  test("pins a read to its beginning: what changes between two pages comes with the next token", async () => {
    google.calendar.addEvents(
      ana,
      Array.from({ length: 5 }, (_, index) => event(index).requestBody as never),
    );
    const first = await list({ maxResults: 2 });
    assert.ok(first.nextPageToken && !first.nextSyncToken);
    const meanwhile = await anas.events.insert(event(9, { summary: "Meanwhile" }));
    let page = first;
    const seen: unknown[] = [...(first.items ?? [])];
    while (page.nextPageToken) {
      page = await list({ maxResults: 2, pageToken: page.nextPageToken });
      seen.push(...(page.items ?? []));
    }
    const { items } = await list({ syncToken: String(page.nextSyncToken) });
    assert.deepEqual(
      items?.map(({ id }) => id),
      [meanwhile.data.id],
    );
  });

  test("refuses what Google refuses: parameters beside a token, foreign tokens, empty ranges, orders that need more", async () => {
    const syncToken = await tokenOf();
    for (const wrong of [
      { timeMin: at(0).dateTime },
      { q: "x" },
      { orderBy: "updated" },
      { iCalUID: "x" },
      { showDeleted: false },
    ]) {
      assert.deepEqual(
        await reasonOf(list({ syncToken, ...wrong })),
        [400, "invalid"],
        Object.keys(wrong)[0],
      );
    }
    assert.deepEqual(await reasonOf(list({ syncToken: "nonsense" })), [410, "fullSyncRequired"]);
    assert.deepEqual(await reasonOf(list({ syncToken, singleEvents: true })), [
      410,
      "fullSyncRequired",
    ]);
    assert.deepEqual(await reasonOf(list({ pageToken: "nonsense" })), [400, "invalid"]);
    assert.deepEqual(await reasonOf(list({ orderBy: "startTime" })), [400, "badRequest"]);
    assert.deepEqual(await reasonOf(list({ timeMin: at(2).dateTime, timeMax: at(1).dateTime })), [
      400,
      "timeRangeEmpty",
    ]);
    assert.equal((await list({ orderBy: "updated" })).nextSyncToken, undefined);
    google.calendar.expireSyncTokens();
    assert.deepEqual(await reasonOf(list({ syncToken })), [410, "fullSyncRequired"]);
  });

  test("bounds a read by when events end and begin, both exclusive", async () => {
    const { data } = await anas.events.insert(event(500, { summary: "Bounded" }));
    const titles = async (timeMin: number, timeMax: number) =>
      (await list({ timeMin: at(timeMin).dateTime, timeMax: at(timeMax).dateTime })).items?.map(
        ({ id }) => id,
      );
    assert.deepEqual(await titles(499, 502), [data.id]);
    assert.deepEqual(await titles(500.5, 500.6), [data.id]);
    assert.deepEqual(await titles(501, 502), []);
    assert.deepEqual(await titles(499, 500), []);
  });

  test("expands series on their own clocks: ten o'clock stays ten o'clock when the clocks change", async () => {
    const { data: series } = await anas.events.insert({
      calendarId: "primary",
      requestBody: {
        summary: "Ten",
        start: { dateTime: "2027-03-22T10:00:00", timeZone: "Europe/Berlin" },
        end: { dateTime: "2027-03-22T10:30:00", timeZone: "Europe/Berlin" },
        recurrence: ["RRULE:FREQ=WEEKLY;COUNT=3"],
      },
    });
    const { data } = await anas.events.instances({ calendarId: "primary", eventId: series.id! });
    assert.deepEqual(
      data.items?.map(({ start }) => start?.dateTime),
      ["2027-03-22T10:00:00+01:00", "2027-03-29T10:00:00+02:00", "2027-04-05T10:00:00+02:00"],
    );
    assert.equal(data.items?.[1]?.id, `${series.id}_20270329T080000Z`);
    assert.equal(data.items?.[1]?.recurringEventId, series.id);
  });

  test("tells that an event was moved away, whatever becomes of it there", async () => {
    const there = google.calendar.addCalendar(ana, { title: "There" });
    const { id } = (await anas.events.insert(event(3))).data;
    const syncToken = await tokenOf({ singleEvents: true });
    google.calendar.moveEvent(ana, id!, { to: there });
    const change = { recurrence: ["RRULE:FREQ=DAILY;COUNT=3"] };
    google.calendar.patchEvent(ana, id!, change, { calendarId: there });
    const { items = [] } = await list({ singleEvents: true, syncToken });
    assert.deepEqual(
      items.map((one) => [one.id, one.status]),
      [[id, "cancelled"]],
    );
    google.calendar.removeCalendar(ana, there);
  });

  test("keeps exceptions: one moved, one cancelled, and the hole is told of with the series", async () => {
    const { data: series } = await anas.events.insert(
      event(3, { recurrence: ["RRULE:FREQ=DAILY;COUNT=4"] }),
    );
    const instances = async () =>
      (await anas.events.instances({ calendarId: "primary", eventId: series.id! })).data.items ??
      [];
    const [, second, third] = await instances();
    const syncToken = await tokenOf({ singleEvents: true });
    await anas.events.patch({
      calendarId: "primary",
      eventId: second!.id!,
      requestBody: { start: at(60), end: at(61) },
    });
    await anas.events.delete({ calendarId: "primary", eventId: third!.id! });
    assert.equal((await instances()).length, 3);
    const changed = (await list({ singleEvents: true, syncToken })).items ?? [];
    assert.deepEqual(
      changed.map(({ id, status }) => [id, status]).sort(),
      [
        [second!.id, "confirmed"],
        [third!.id, "cancelled"],
      ].sort(),
    );
    const whole = (await list({ singleEvents: false, maxResults: 2500 })).items ?? [];
    const hole = whole.find(({ id }) => id === third!.id);
    assert.deepEqual([hole?.status, hole?.recurringEventId], ["cancelled", series.id]);
  });

  test("tells of the occurrences that a deleted series had, for half a year", async () => {
    const { data: series } = await anas.events.insert(
      event(4, { recurrence: ["RRULE:FREQ=MONTHLY;COUNT=24"] }),
    );
    const syncToken = await tokenOf({ singleEvents: true });
    await anas.events.delete({ calendarId: "primary", eventId: series.id! });
    const gone = (await list({ singleEvents: true, syncToken })).items ?? [];
    assert.ok(gone.length >= 6 && gone.length <= 7, `${gone.length} occurrences`);
    assert.ok(
      gone.every(
        ({ status, recurringEventId }) => status === "cancelled" && recurringEventId === series.id,
      ),
    );
  });

  test("gives the invited a copy that follows the organiser's, and back their answer", async () => {
    const { data } = await anas.events.insert(
      event(5, { attendees: [{ email: ana }, { email: jonas }] }),
    );
    const eventId = data.id!;
    const copy = async () => (await jonass.events.get({ calendarId: "primary", eventId })).data;
    assert.equal((await copy()).iCalUID, data.iCalUID);
    await anas.events.patch({ calendarId: "primary", eventId, requestBody: { summary: "Moved" } });
    assert.equal((await copy()).summary, "Moved");
    const refused = jonass.events.patch({
      calendarId: "primary",
      eventId,
      requestBody: { summary: "Mine" },
    });
    assert.deepEqual(await reasonOf(refused), [403, "forbiddenForNonOrganizer"]);
    const attendees = [{ email: jonas, responseStatus: "accepted" }];
    await jonass.events.patch({ calendarId: "primary", eventId, requestBody: { attendees } });
    const seen = (await anas.events.get({ calendarId: "primary", eventId })).data.attendees ?? [];
    assert.equal(seen.find(({ email }) => email === jonas)?.responseStatus, "accepted");
    await anas.events.delete({ calendarId: "primary", eventId });
    assert.equal((await copy()).status, "cancelled");
    assert.deepEqual(await reasonOf(anas.events.delete({ calendarId: "primary", eventId })), [
      410,
      "deleted",
    ]);
  });

  test("minds ids and etags", async () => {
    const { data } = await anas.events.insert(event(6, { id: "chosenid1" }));
    assert.deepEqual(await reasonOf(anas.events.insert(event(6, { id: "chosenid1" }))), [
      409,
      "duplicate",
    ]);
    const patch = (etag: string) =>
      anas.events.patch(
        { calendarId: "primary", eventId: "chosenid1", requestBody: { summary: "New" } },
        { headers: { "If-Match": etag } },
      );
    await patch(data.etag!);
    assert.deepEqual(await reasonOf(patch(data.etag!)), [412, "conditionNotMet"]);
    assert.deepEqual(
      await reasonOf(anas.events.get({ calendarId: "primary", eventId: "nothere" })),
      [404, "notFound"],
    );
    assert.deepEqual(await reasonOf(anas.events.list({ calendarId: jonas })), [404, "notFound"]);
  });

  test("opens channels as Google does, and tells them: first sync, then numbers that rise with gaps", async () => {
    const heard: Record<string, unknown>[] = [];
    let status = 204;
    const ear = createServer((request, response) => {
      heard.push({ ...request.headers, method: request.method });
      response.writeHead(status).end();
    }).listen(0, "127.0.0.1");
    await new Promise((resolve) => ear.once("listening", resolve));
    const { port } = ear.address() as { port: number };
    const channel = {
      id: crypto.randomUUID(),
      type: "web_hook",
      address: `http://127.0.0.1:${port}/ear`,
      token: "secret",
    };
    const watch = (more: object = {}) =>
      anas.events.watch({ calendarId: "primary", requestBody: { ...channel, ...more } });
    const { data } = await watch({ expiration: String(Date.now() + 90 * 86_400_000) });
    assert.ok(Number(data.expiration) < Date.now() + 31 * 86_400_000, "a month at most");
    assert.deepEqual(await reasonOf(watch()), [400, "channelIdNotUnique"]);
    assert.deepEqual(await reasonOf(watch({ id: "not an id!" })), [400, "badRequest"]);
    google.calendar.push.allowHttp = false;
    assert.deepEqual(await reasonOf(watch({ id: crypto.randomUUID() })), [
      400,
      "push.webhookUrlNotHttps",
    ]);
    google.calendar.push.allowHttp = true;
    await google.calendar.settled();
    status = 503;
    await anas.events.insert(event(7));
    setTimeout(() => {
      status = 204;
    }, 300);
    await google.calendar.settled();
    const [first, ...rest] = heard;
    assert.deepEqual(
      [
        first?.["x-goog-resource-state"],
        first?.["x-goog-message-number"],
        first?.["x-goog-channel-token"],
        first?.method,
      ],
      ["sync", "1", "secret", "POST"],
    );
    assert.ok(rest.length >= 2, "what was answered with 503 comes again");
    assert.equal(new Set(rest.map((headers) => headers["x-goog-message-number"])).size, 1);
    assert.equal(rest[0]?.["x-goog-resource-id"], data.resourceId);
    const stop = (client: calendar_v3.Calendar) =>
      client.channels.stop({ requestBody: { id: channel.id, resourceId: data.resourceId! } });
    assert.deepEqual(await reasonOf(stop(jonass)), [404, "notFound"]);
    await stop(anas);
    assert.deepEqual(await reasonOf(stop(anas)), [404, "notFound"]);
    ear.close();
  });

  test("lists calendars, hidden ones when asked, and what changed since a token", async () => {
    const team = google.calendar.addCalendar(ana, { title: "Team" });
    const all = (await anas.calendarList.list({})).data;
    assert.deepEqual(
      all.items?.map(({ summary, primary, accessRole }) => [summary, primary, accessRole]),
      [
        [ana, true, "owner"],
        ["Team", undefined, "owner"],
      ],
    );
    google.calendar.changeCalendar(ana, team, { hidden: true });
    assert.equal((await anas.calendarList.list({})).data.items?.length, 1);
    google.calendar.removeCalendar(ana, team);
    const { data } = await anas.calendarList.list({ syncToken: all.nextSyncToken! });
    assert.deepEqual(
      data.items?.map(({ id, deleted }) => [id, deleted]),
      [[team, true]],
    );
    const holidays = google.calendar.addCalendar(ana, { title: "Holidays", kind: "holiday" });
    const watched = anas.events.watch({
      calendarId: holidays,
      requestBody: { id: crypto.randomUUID(), type: "web_hook", address: "https://example.com/" },
    });
    assert.deepEqual(await reasonOf(watched), [400, "pushNotSupportedForRequestedResource"]);
  });

  test("gives 20,000 events quickly", async () => {
    const many = google.calendar.addCalendar(ana, { title: "Many" });
    const startedAt = performance.now();
    google.calendar.addEvents(
      ana,
      Array.from({ length: 20_000 }, (_, index) => event(index).requestBody as never),
      { calendarId: many },
    );
    let pages = 0;
    for (let pageToken: string | undefined, more = true; more; pages += 1) {
      const page = await list({
        calendarId: many,
        maxResults: 2500,
        ...(pageToken ? { pageToken } : {}),
      });
      pageToken = page.nextPageToken ?? undefined;
      more = pageToken !== undefined;
    }
    assert.equal(pages, 8);
    assert.ok(performance.now() - startedAt < 20_000);
  });
});
