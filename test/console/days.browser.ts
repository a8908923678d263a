import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { sql } from "kysely";
import { eventIn } from "../calendars.ts";
import { fastestMs } from "../timing.ts";
import { assertNoSidewaysScroll, openConsole, picture, signIn } from "./chromium.ts";

const { t, visit } = await openConsole({ push: true });

const ana = "ana@example.com";
const meet = { location: "https://meet.google.com/abc-defg-hij" };

describe("the console's days", () => {
  test("an event added at Google is there without a reload; a moved one moves, a cancelled one goes", () =>
    visit(async (page) => {
      await signIn(page, ana);
      await page.getByRole("link", { name: "Today" }).click();
      await page.getByText("Nothing is in your calendars on this day.").waitFor();
      // Close to midnight there is little left of today.
      const event = t.google.calendar.addEvent(
        ana,
        eventIn(t, -0.1, { summary: "Quick call", ...meet }),
      );
      await page.getByText("Quick call").waitFor();
      assert.ok(await page.getByRole("link", { name: "Join Google Meet: Quick call" }).isVisible());
      await picture(page, "today-light");
      t.google.calendar.patchEvent(ana, event.id, { summary: "Longer call" });
      await page.getByText("Longer call").waitFor();
      t.google.calendar.deleteEvent(ana, event.id);
      await page.getByText("Longer call").waitFor({ state: "detached" });
    }));

  test("a page whose stream was refused is live again by itself, with what it has missed", () =>
    visit(async (page) => {
      await signIn(page, ana);
      await page.route("**/api/v1/events?*", (route) => route.fulfill({ status: 502, body: "" }));
      const refused = page.waitForResponse("**/api/v1/events?*");
      await page.goto(`${t.url}/today`);
      await page.getByText("Nothing is in your calendars on this day.").waitFor();
      await refused;
      const event = t.google.calendar.addEvent(ana, eventIn(t, -0.1, { summary: "Unheard of" }));
      await t.idle();
      await page.unroute("**/api/v1/events?*");
      await page.getByText("Unheard of").waitFor();
      t.google.calendar.deleteEvent(ana, event.id);
      await page.getByText("Unheard of").waitFor({ state: "detached" });
    }));

  test("what changes before a page's stream is open is on it by itself", () =>
    visit(async (page) => {
      await signIn(page, ana);
      const { promise: isChanged, resolve: letThrough } = Promise.withResolvers<void>();
      await page.route("**/api/v1/events?*", async (route) => {
        await isChanged;
        await route.continue();
      });
      await page.goto(`${t.url}/today`);
      await page.getByText("Nothing is in your calendars on this day.").waitFor();
      const event = t.google.calendar.addEvent(ana, eventIn(t, -0.1, { summary: "In between" }));
      await t.idle();
      letThrough();
      await page.getByText("In between").waitFor();
      t.google.calendar.deleteEvent(ana, event.id);
      await page.getByText("In between").waitFor({ state: "detached" });
    }));

  test("a day shows all of its events, however many, and past meetings begin with the latest", () =>
    visit(async (page) => {
      await signIn(page, ana);
      await t.idle();
      await sql`
        insert into calendar_events (event_id, user_id, calendar_id, feed_id, title, start_time, end_time)
        select 'many' || number, user_id, resource, id, 'Number ' || number, at, at + interval '1 minute'
        from feeds, generate_series(1, 201) as number,
          lateral (select '2030-05-06T12:00:00Z'::timestamptz + number * interval '1 minute' as at) as start
        where resource = ${ana} and kind = 'calendar'`.execute(t.app.db);
      await sql`
        insert into meetings (user_id, title, start_time, end_time)
        select user_id, 'Past ' || number, at, at + interval '1 minute'
        from feeds, generate_series(1, 60) as number,
          lateral (select '2020-05-06T12:00:00Z'::timestamptz + number * interval '1 day' as at) as start
        where resource = ${ana} and kind = 'calendar'`.execute(t.app.db);
      await page.goto(`${t.url}/today?day=2030-05-06`);
      await page.getByRole("heading", { name: "Number 201", exact: true }).waitFor();
      await page.goto(`${t.url}/meetings?show=over`);
      await page.getByRole("link", { name: "Past 60", exact: true }).waitFor();
      const titles = await page.getByRole("link", { name: /^Past / }).allTextContents();
      assert.deepEqual(titles.slice(0, 2), ["Past 60", "Past 59"]);
      await sql`delete from meetings where title like 'Past %'`.execute(t.app.db);
      await sql`delete from calendar_events where event_id like 'many%'`.execute(t.app.db);
    }));

  test("whoever leafs through the days comes back by the browser's own button", () =>
    visit(
      async (page) => {
        t.google.calendar.addEvent(ana, eventIn(t, 24, { summary: "Tomorrow's review" }));
        await signIn(page, ana);
        await page.getByRole("link", { name: "Today" }).click();
        await page.getByRole("link", { name: "Day after" }).click();
        await page.getByText("Tomorrow's review").waitFor();
        await assertNoSidewaysScroll(page);
        await picture(page, "tomorrow-dark-360");
        await page.goBack();
        await page.getByRole("heading", { name: /^Today/ }).waitFor();
      },
      { width: 360, dark: true },
    ));

  test("a long word in an event of a whole day does not push the page sideways", () =>
    visit(
      async (page) => {
        const [start, end] = [{ date: "2030-05-07" }, { date: "2030-05-08" }];
        t.google.calendar.addEvent(ana, { summary: "Donaudampf".repeat(20), start, end });
        await signIn(page, ana);
        await t.idle();
        await page.goto(`${t.url}/today?day=2030-05-07`);
        await page.getByText(/^(Donaudampf)+/).waitFor();
        await assertNoSidewaysScroll(page);
      },
      { width: 360 },
    ));

  test("whoever filters by keyboard stays at the filter", () =>
    visit(async (page) => {
      await signIn(page, ana);
      await page.goto(`${t.url}/meetings`);
      await page.getByLabel("With or without a bot").focus();
      await page.keyboard.press("ArrowDown");
      await page.waitForURL("**/meetings?bot=true");
      await page.keyboard.press("ArrowDown");
      await page.waitForURL("**/meetings?bot=false");
      await page.locator("select:focus").waitFor();
      await page.goto(`${t.url}/documents`);
      await page.getByLabel("State").focus();
      await page.keyboard.press("ArrowDown");
      await page.waitForURL("**/documents?state=classified");
      await page.locator("select:focus").waitFor();
    }));

  test("a meeting says who is invited and why it has a bot or none, and takes its owner's wish", () =>
    visit(async (page) => {
      t.google.calendar.addEvent(
        ana,
        eventIn(t, 30, {
          summary: "Planning",
          ...meet,
          attendees: [{ email: ana }, { email: "jonas.weber@example.com" }],
        }),
      );
      await t.idle();
      await signIn(page, ana);
      await page.getByRole("link", { name: "Meetings" }).click();
      const row = page.getByRole("listitem").filter({ hasText: "Planning" });
      await row.getByText("jonas.weber@example.com").waitFor();
      await row.getByRole("button", { name: "Why?" }).click();
      await row.getByText("Nobody asked for a bot").waitFor();
      await row.getByLabel("Bot for Planning").selectOption("With a bot");
      await row.getByText("A bot was asked for in Daybook").waitFor();
      await picture(page, "meetings-light");
      await page.getByRole("button", { name: "Cancelled" }).click();
      await page.getByText("There are none.").waitFor();
    }));

  test("a feed says how current it is and why, and is read again, or no longer, at a click", () =>
    visit(async (page) => {
      t.google.calendar.addCalendar(ana, { title: "Team" });
      await t.idle();
      await signIn(page, ana);
      await page.getByText(/calendars are followed/).click();
      const team = page.getByRole("listitem", { name: "Team" });
      await team.getByText(/Push is on/).waitFor();
      await team.getByRole("button", { name: "Sync now" }).click();
      await team.getByRole("button", { name: "Sync now" }).waitFor();
      await picture(page, "feeds-light");
      await team.getByRole("button", { name: "Do not follow" }).click();
      await team.getByRole("button", { name: "Follow", exact: true }).click();
      await team.getByRole("button", { name: "Do not follow" }).waitFor();
    }));

  test("an event added at Google is there within two seconds", () =>
    visit(async (page) => {
      await signIn(page, ana);
      const ids: string[] = [];
      await page.getByRole("link", { name: "Today" }).click();
      const act = () => {
        const summary = `Call ${ids.length + 1}`;
        ids.push(t.google.calendar.addEvent(ana, eventIn(t, -0.1, { summary })).id);
      };
      const hasArrived = (count: number) =>
        page.getByText(`Call ${count}`, { exact: true }).isVisible();
      const ms = await fastestMs(t, 2_000, { act, hasArrived });
      assert.ok(ms < 2_000, `${Math.round(ms)} ms`);
    }));
});
