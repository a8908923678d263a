import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { minutes } from "../../sandbox/google/clock.ts";
import { eventIn } from "../calendars.ts";
import { openTestApp, type TestApp } from "../harness.ts";
import { ana } from "../mails.ts";
import { assertNoSidewaysScroll, openChromium, picture, signIn, type Visit } from "./chromium.ts";

const guests = [{ email: ana }, { email: "ai+ana@example.com" }];

describe("the console's meeting bots", () => {
  let t: TestApp;
  let chromium: Awaited<ReturnType<typeof openChromium>>;
  const visit: Visit = (act, options) => chromium.visit(act, options);
  before(async () => {
    t = await openTestApp({ push: true, bots: "told" });
    const visitor = await t.signIn(ana);
    await visitor.call("POST", "/api/v1/user/username", { username: "ana" });
    await t.idle();
    chromium = await openChromium(t.url);
  });
  after(async () => {
    await chromium?.[Symbol.asyncDispose]();
    await t?.[Symbol.asyncDispose]();
  });
  const add = (inMinutes: number, summary: string, code: string) =>
    t.google.calendar.addEvent(
      ana,
      eventIn(t, inMinutes / 60, {
        summary,
        location: `https://meet.google.com/${code}`,
        attendees: guests,
      }),
    );

  test("an invited assistant's transcript grows on the page by itself, and is searched", () =>
    visit(
      async (page) => {
        t.attendee.settings.speed = 1;
        await signIn(page, ana);
        await page.getByRole("link", { name: "Meetings" }).click();
        add(0, "Launch", "abc-defg-hij");
        await page.getByRole("link", { name: "Launch", exact: true }).click();
        await page.getByText("transcribing", { exact: true }).waitFor();
        await page.getByText("Good morning, shall we look at the launch?").waitFor();
        await page.getByText("growing", { exact: true }).waitFor();
        await page.getByRole("button", { name: "Pause recording" }).click();
        await page.getByText("Recording is paused.").waitFor();
        await page.getByRole("button", { name: "Resume recording" }).click();
        await page.getByText("Recording goes on.").waitFor();
        await page.getByLabel("Write to everyone").fill("Hello from the console");
        await page.keyboard.press("Enter");
        await page.getByText("Hello from the console").waitFor();
        await page.getByText("final", { exact: true }).waitFor();
        await page.getByText("done", { exact: true }).waitFor();
        await page.getByRole("searchbox", { name: "Search in the transcript" }).fill("THURSDAY");
        const said = page.getByRole("list", { name: "What was said" }).getByRole("listitem");
        for (let count = 0; (await said.count()) !== 1 && count < 100; count += 1) await sleep(50);
        assert.equal(await said.count(), 1);
        await page.getByRole("searchbox").fill("");
        await page.getByRole("link", { name: "VTT" }).waitFor();
        await page.getByText("Ada Okafor").first().waitFor();
        await assertNoSidewaysScroll(page);
        await picture(page, "meeting-dark-360");
        await page.getByRole("link", { name: "Its document" }).click();
        await page.getByRole("heading", { name: "Launch" }).waitFor();
      },
      { width: 360, dark: true },
    ));

  test("a bot that is to come is called off, says why there is none, and is sent again", () =>
    visit(async (page) => {
      add(180, "Review", "abc-defg-xyz");
      await signIn(page, ana);
      await page.getByRole("link", { name: "Meetings" }).click();
      await page.getByRole("link", { name: "Review", exact: true }).click();
      await page.getByText("on its way", { exact: true }).waitFor();
      await picture(page, "meeting-scheduled");
      await page.getByRole("button", { name: "Call it off" }).click();
      await page.getByText("The bot is called off.").waitFor();
      await page.getByText("A bot was turned off for this meeting.").waitFor();
      await page.getByRole("button", { name: "Send a bot" }).click();
      await page.getByText("on its way", { exact: true }).waitFor();
      t.clock.advance(minutes);
    }));
});
