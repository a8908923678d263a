import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import type { Locator, Page } from "playwright-core";
import { usualPlay } from "../../sandbox/attendee/play.ts";
import { minutes, seconds } from "../../sandbox/google/clock.ts";
import { eventIn } from "../calendars.ts";
import { ana } from "../mails.ts";
import { assertNoSidewaysScroll, openConsole, picture, signIn } from "./chromium.ts";

const { t, visit } = await openConsole({ push: true, bots: "told" });

const botOf = (page: Page) => page.getByRole("region", { name: "Bot", exact: true });
// Nobody leaves by themselves, however slow the machine is that looks on.
const lastingPlay = usualPlay.map((scene) =>
  scene.does === "leave" ? { ...scene, after: scene.after + 600 } : scene,
);
const guests = [{ email: ana }, { email: "ai+ana@example.com" }];

describe("the console's meeting bots", () => {
  before(async () => {
    const visitor = await t.signIn(ana);
    await visitor.call("POST", "/api/v1/user/username", { username: "ana" });
    await t.idle();
  });
  const add = (inMinutes: number, summary: string, code: string) => {
    const location = `https://meet.google.com/${code}`;
    const event = eventIn(t, inMinutes / 60, { summary, location, attendees: guests });
    t.google.calendar.addEvent(ana, event);
    return new Date(event.start.dateTime);
  };

  const open = async (page: Page, title: string) => {
    await page.getByRole("link", { name: "Meetings" }).click();
    await page.getByRole("link", { name: title, exact: true }).click();
    await page.getByRole("heading", { name: title, exact: true }).waitFor();
  };

  test("an invited assistant's transcript grows on the page by itself, is searched, and the chat is written to", () =>
    visit(
      async (page) => {
        t.attendee.settings.play = lastingPlay;
        const said = page.getByRole("list", { name: "What was said" });
        const messages = page.getByRole("list", { name: "Messages" });
        await signIn(page, ana);
        add(0, "Launch", "abc-defg-hij");
        await open(page, "Launch");
        await botOf(page).getByText("transcribing", { exact: true }).waitFor();
        await page.getByText("growing", { exact: true }).waitFor();
        t.clock.advance(12 * seconds);
        await said.getByText("Good morning, shall we look at the launch?").waitFor();
        await messages.getByText("The storyboard").waitFor();
        await messages
          .getByRole("listitem")
          .filter({ hasText: "transcribe this meeting" })
          .getByText("bot", { exact: true })
          .waitFor();
        const there = page.getByRole("list", { name: "There now (3)" });
        await there
          .getByRole("listitem")
          .filter({ hasText: "Robin Miller" })
          .getByText("host")
          .waitFor();

        await page.getByRole("button", { name: "Pause recording" }).click();
        await botOf(page).getByText("recording paused", { exact: true }).waitFor();
        await page.getByRole("button", { name: "Resume recording" }).click();
        await page.getByText("Recording goes on.").waitFor();

        await page.getByLabel("To", { exact: true }).selectOption("The host");
        await page.getByLabel("Message", { exact: true }).fill("Hello from the console");
        await page.keyboard.press("Enter");
        await messages.getByText("Hello from the console").waitFor();
        await page.locator("[name=message]:focus").waitFor();
        const { body } = t.attendee.asked.find(({ path }) => path.endsWith("send_chat_message"))!;
        assert.equal((body as { to_user_uuid: string }).to_user_uuid, "device-robin");
        await page.getByLabel("To", { exact: true }).selectOption("Ada Okafor");
        await assertNoSidewaysScroll(page);
        await picture(page, "meeting-running-dark-360");

        t.clock.advance(10 * minutes + 30 * seconds);
        await page.getByText("final", { exact: true }).waitFor();
        await botOf(page).getByText("done", { exact: true }).waitFor();
        await page.getByRole("heading", { name: "Who was there (3)" }).waitFor();
        await said.getByText("I will write to them").waitFor();
        assert.ok(await isAtEnd(said), "whoever reads at the end stays there");
        await page.getByRole("searchbox", { name: "Search in the transcript" }).fill("THE FILM");
        await page.getByText("Found twice in 2 places.").waitFor();
        assert.deepEqual(await said.locator("mark").allTextContents(), ["the film", "The film"]);
        await picture(page, "meeting-searched-dark-360");
        await page.keyboard.press("Escape");
        await said.getByText("I will write to them").waitFor();
        assert.equal(await said.locator("mark").count(), 0);
        await page.getByRole("link", { name: "VTT" }).waitFor();
        await page.getByText("What happened so far").click();
        await page.getByText("It was to leave: everybody else had left").waitFor();
        await assertNoSidewaysScroll(page);
        await picture(page, "meeting-dark-360");
        await page.getByRole("link", { name: "Its document" }).click();
        await page.getByRole("heading", { name: "Launch" }).waitFor();
      },
      { width: 360, dark: true },
    ));

  test("a bot that is to come is told how to be, moved, called off, and sent again; the page says why", () =>
    visit(async (page) => {
      const start = add(180, "Review", "abc-defg-xyz");
      await signIn(page, ana);
      await open(page, "Review");
      await botOf(page).getByText("on its way", { exact: true }).waitFor();
      await page.getByText("The assistant's address is invited; it has its bot.").waitFor();
      await page.getByText("What that was decided by").click();
      await page.getByText("Assistant invited", { exact: true }).waitFor();

      await page.getByText("How it is in this meeting").click();
      const form = page.locator("form", { has: page.getByLabel("Minutes before the start") });
      await form.getByLabel("Name").fill("Nora");
      await form.getByLabel("Language").fill("English!");
      await form.getByLabel("What it writes").selectOption("My own words");
      await form.getByLabel("Greeting").fill("Hello all");
      await form.getByRole("button", { name: "Save" }).click();
      await form.getByText("It must look like en-US.").waitFor();
      assert.equal(await form.locator("[aria-invalid]:focus").getAttribute("name"), "language");
      await picture(page, "meeting-settings-refused");
      await form.getByLabel("Language").fill("en-GB");
      await page.keyboard.press("Enter");
      await page.getByText("that is how the bot is to be").waitFor();
      await page.getByRole("status").getByText("Nora").waitFor();
      const kept = await t.app.db
        .selectFrom("meetings")
        .select("bot_configuration")
        .where("title", "=", "Review")
        .executeTakeFirstOrThrow();
      assert.deepEqual(kept.bot_configuration, {
        bot_name: "Nora",
        bot_chat_message: "Hello all",
        language: "en-GB",
      });

      const earlier = new Date(start.getTime() - 30 * minutes);
      await page.getByText(/^When it joins/).click();
      await page.getByLabel("Joins at").fill(earlier.toTimeString().slice(0, 5));
      await page.getByRole("button", { name: "Move it" }).click();
      await page.getByText("The bot is moved.").waitFor();
      await t.idle();
      assert.equal([...t.attendee.bots.values()].at(-1)?.joinAt?.getTime(), earlier.getTime());
      await picture(page, "meeting-scheduled");
      await page.getByRole("button", { name: "Call it off" }).click();
      await page.getByText("The bot is called off.").waitFor();
      await page.getByText("A bot was turned off for this meeting.").waitFor();
      await picture(page, "meeting-without-bot");
      await page.getByRole("button", { name: "Send a bot" }).dblclick();
      await botOf(page).getByText("on its way", { exact: true }).waitFor();
    }));

  test("a bot that was refused says whose turn it is, and is sent again", () =>
    visit(
      async (page) => {
        t.attendee.settings.fates = [["abc-refu-sed", "denied"]];
        add(0, "Refused", "abc-refu-sed");
        await signIn(page, ana);
        await open(page, "Refused");
        await botOf(page).getByText("waiting to be let in", { exact: true }).waitFor();
        await page
          .getByRole("alert")
          .getByText("Ask somebody in the meeting to admit it")
          .waitFor();
        await picture(page, "meeting-waiting-dark-360");
        t.clock.advance(10 * seconds);
        await page
          .getByRole("alert")
          .getByText("Somebody in the meeting refused the bot")
          .waitFor();
        await page.getByText("It is the host’s turn.").waitFor();
        await assertNoSidewaysScroll(page);
        await picture(page, "meeting-refused-dark-360");
        t.attendee.settings.fates = [];
        await page.getByRole("button", { name: "Send it again" }).click();
        await page.getByText("The bot is sent again.").waitFor();
        await botOf(page).getByText("transcribing", { exact: true }).waitFor();
        await page.getByRole("button", { name: "Send it away" }).click();
        await page.getByText("The bot is leaving.").waitFor();
        await page.getByRole("button", { name: "Send it again" }).waitFor();
      },
      { width: 360, dark: true },
    ));

  test("bots for all meetings are a preference, and the list shows who has one", () =>
    visit(async (page) => {
      t.google.calendar.addEvent(
        ana,
        eventIn(t, 5, {
          summary: "Planning",
          location: "https://meet.google.com/abc-plan-ing",
          attendees: [{ email: ana }, { email: "kim@example.com" }],
        }),
      );
      await signIn(page, ana);
      await page.getByRole("link", { name: "Assistant" }).click();
      const form = page.getByRole("region", { name: "Bots in your meetings" });
      await page.getByLabel("Send a bot to all my meetings").check();
      await form.getByLabel("Name").fill("Minutes");
      await form.getByLabel("Language").fill("D");
      await form.getByRole("button", { name: "Save" }).click();
      await page.getByText("It must look like en-US.").waitFor();
      await form.getByLabel("Language").fill("de");
      await form.getByLabel("Recording").selectOption("Sound only");
      await picture(page, "preferences");
      await form.getByRole("button", { name: "Save" }).click();
      await page.getByText("Every coming meeting is decided anew.").waitFor();
      await page.getByRole("link", { name: "Meetings" }).click();
      await page.getByLabel("With or without a bot").selectOption("With a bot");
      await page.getByRole("link", { name: "Planning", exact: true }).click();
      await botOf(page).getByText("on its way", { exact: true }).waitFor();
      await page.getByRole("status").getByText("Minutes").waitFor();
      await page.getByText("A bot is wanted for all meetings; it has its bot.").waitFor();
    }));

  test("all of it can be done by keyboard", () =>
    visit(async (page) => {
      await signIn(page, ana);
      await open(page, "Review");
      await tabTo(page, page.locator("summary", { hasText: "When it joins" }));
      await page.keyboard.press("Enter");
      await tabTo(page, page.getByLabel("Joins at"));
      await page.keyboard.press("ArrowDown");
      await page.keyboard.press("Enter");
      await page.getByText("It lies outside of the meeting").waitFor();
      await page.locator("[name=join_at]:focus").waitFor();
      await page.keyboard.press("ArrowUp");
      await page.keyboard.press("Enter");
      await page.getByText("The bot is moved.").waitFor();
      await page.locator("[name=join_at]:focus").waitFor();
      await tabTo(page, page.getByRole("button", { name: "Call it off" }), "Shift+Tab");
      await page.keyboard.press("Enter");
      await page.getByText("The bot is called off.").waitFor();
      await page.locator("main:focus").waitFor();
      await tabTo(page, page.getByRole("button", { name: "Send a bot" }));
      await page.keyboard.press("Enter");
      await botOf(page).getByText("on its way", { exact: true }).waitFor();
    }));

  test("a long transcript stays quick, and a recording's link is asked for anew", () =>
    visit(async (page) => {
      await page.route("**/attendee/transcript/**", async (route) => {
        const answer = await route.fetch();
        const json = {
          ...(await answer.json()),
          segments: Array.from({ length: 10_000 }, sentence),
        };
        await route.fulfill({ response: answer, json });
      });
      await page.clock.install();
      await signIn(page, ana);
      await open(page, "Launch");
      const said = page.getByRole("list", { name: "What was said" });
      await said.getByText("Sentence number 0,").waitFor();
      await tabTo(page, page.getByRole("searchbox", { name: "Search in the transcript" }));
      await page.keyboard.type("number 9999");
      await page.getByText("Found once in one place.").waitFor();
      await page.keyboard.press("Escape");
      await said.getByText("Sentence number 0,").waitFor();
      await page.keyboard.press("Tab");
      await page.keyboard.press("End");
      await page.getByRole("button", { name: "Show more (9600)" }).click();
      await said.getByText("Sentence number 700,").waitFor();
      await picture(page, "meeting-long");
      await page.clock.fastForward("05:00");
      const asked = page.waitForRequest("**/attendee/transcript/**");
      const tab = page.waitForEvent("popup");
      await page.getByRole("link", { name: "Recording" }).click();
      await asked;
      await (await tab).waitForURL(/\/recordings\//);
    }));
});

const sentence = (_: unknown, index: number) => ({
  speaker: `Speaker ${Math.floor(index / 3) % 5}`,
  start: index * 3,
  end: index * 3 + 2,
  text: `Sentence number ${index}, as it was spoken.`,
  at: null,
});

const isAtEnd = (list: Locator) =>
  list.evaluate(
    ({ scrollHeight, scrollTop, clientHeight }) => scrollHeight - scrollTop - clientHeight < 40,
  );

async function tabTo(page: Page, wanted: Locator, key = "Tab"): Promise<void> {
  for (let count = 0; count < 60; count += 1) {
    await page.keyboard.press(key);
    if (await wanted.evaluate((element) => element === element.ownerDocument.activeElement)) return;
  }
  assert.fail(`${key} does not lead to ${wanted}`);
}
