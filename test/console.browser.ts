import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { minutes } from "../sandbox/google/clock.ts";
import { endGrantsOf } from "../sandbox/google/grants.ts";
import { findPerson } from "../sandbox/google/people.ts";
import { refreshDueTokens } from "../src/accounts/google-tokens.ts";
import { openTestApp, type TestApp } from "./harness.ts";

// The console in a real Chromium: `npm run test:console`. With SCREENSHOTS set to a folder, it leaves pictures there.

const program =
  process.env.CHROMIUM_PATH ??
  ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) =>
    existsSync(path),
  );
const quiet = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

describe("the console", () => {
  let t: TestApp;
  let browser: Browser;
  before(async () => {
    assert.ok(program, "no Chromium: install it, or set CHROMIUM_PATH");
    t = await openTestApp();
    browser = await chromium.launch({ executablePath: program, args: quiet });
  });
  after(async () => {
    await browser?.close();
    await t?.[Symbol.asyncDispose]();
  });

  // A visitor in a browser of their own. What the browser complains about fails the test.
  const visit = async (
    act: (page: Page, context: BrowserContext) => Promise<void>,
    options: { width?: number; dark?: boolean } = {},
  ) => {
    const context = await browser.newContext({
      viewport: { width: options.width ?? 1200, height: 800 },
      colorScheme: options.dark ? "dark" : "light",
      acceptDownloads: true,
    });
    const page = await context.newPage();
    const complaints: string[] = [];
    page.on("console", (message) => {
      // Before signing in, /me answers 401 by design, and the browser says so.
      if (message.type() === "error" && !message.text().includes("401"))
        complaints.push(message.text());
    });
    page.on("pageerror", (error) => complaints.push(error.message));
    await page.goto(t.url);
    await act(page, context);
    assert.deepEqual(complaints, []);
    await context.close();
  };
  const picture = async (page: Page, name: string) => {
    const folder = process.env.SCREENSHOTS;
    if (!folder) return;
    mkdirSync(folder, { recursive: true });
    await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
  };
  const signIn = async (page: Page, person: string, untick?: string) => {
    await page.getByRole("link", { name: "Sign in with Google" }).click();
    await page.locator(`button[data-email="${person}"]`).click();
    await page.waitForLoadState();
    if (untick)
      await page
        .locator(`input[type=checkbox][value="https://www.googleapis.com/auth/${untick}"]`)
        .uncheck();
    const allow = page.getByRole("button", { name: /allow|continue/i });
    if (await allow.count()) await allow.click();
    await page.getByRole("heading", { name: "Connections" }).waitFor();
  };
  const noSidewaysScroll = async (page: Page) => {
    const [content, window] = (await page.evaluate(
      "[document.documentElement.scrollWidth, innerWidth]",
    )) as [number, number];
    assert.ok(content <= window, `${content} px wide in a window of ${window}`);
  };

  test("somebody signs in at the sandbox Google and sees their account", () =>
    visit(async (page) => {
      await picture(page, "signed-out-light");
      await signIn(page, "ana@example.com");
      await page.getByRole("article", { name: "ana@example.com" }).waitFor();
      assert.ok(await page.getByText("Connected.").isVisible());
      await picture(page, "connections-light");
      await page.reload();
      await page.getByRole("heading", { name: "Connections" }).waitFor();
    }));

  test("an unticked scope is shown as missing, with the way to allow it", () =>
    visit(
      async (page) => {
        await signIn(page, "jonas.weber@example.com", "gmail.readonly");
        await page.getByText("not allowed: gmail.readonly").waitFor();
        assert.ok(await page.getByRole("link", { name: "Reconnect" }).isVisible());
        await noSidewaysScroll(page);
        await picture(page, "missing-scope-dark-360");
      },
      { width: 360, dark: true },
    ));

  test("a refusal at Google is explained", () =>
    visit(
      async (page) => {
        await page.goto(`${t.url}/?sign_in_error=access_denied`);
        await page.getByRole("alert").waitFor();
        assert.match((await page.getByRole("alert").textContent()) ?? "", /did not allow/);
        assert.ok(!page.url().includes("sign_in_error"));
        await noSidewaysScroll(page);
        await picture(page, "refused-360");
      },
      { width: 360 },
    ));

  test("a dead grant says what to do, and reconnecting mends it", () =>
    visit(
      async (page) => {
        await signIn(page, "priya@example.com");
        endGrantsOf(t.google.state, findPerson(t.google.state, "priya@example.com")!);
        t.clock.advance(55 * minutes);
        await refreshDueTokens(t.app);
        await page.reload();
        await page.getByText("Google has ended this connection").waitFor();
        await picture(page, "dead-grant-dark");
        await page.getByRole("link", { name: "Reconnect" }).click();
        const person = page.locator('button[data-email="priya@example.com"]');
        if (await person.count()) await person.click();
        await page.getByRole("button", { name: /allow|continue/i }).click();
        await page.getByText("Connected.").waitFor();
      },
      { dark: true },
    ));

  test("the data can be exported, and the file is what it says", () =>
    visit(async (page) => {
      await signIn(page, "ana@example.com");
      const [download] = await Promise.all([
        page.waitForEvent("download"),
        page.getByRole("link", { name: "Export my data" }).click(),
      ]);
      assert.equal(download.suggestedFilename(), "daybook-export.ndjson");
      const lines = readFileSync(await download.path(), "utf8")
        .trimEnd()
        .split("\n");
      assert.ok(lines.map((line) => JSON.parse(line).table).includes("connections"));
    }));

  test("by keyboard alone: disconnect, change one's mind, disconnect", () =>
    visit(async (page) => {
      await signIn(page, "ana@example.com");
      const open = page.getByRole("button", { name: "Disconnect" }).first();
      await open.focus();
      await page.keyboard.press("Enter");
      await page.getByRole("dialog").waitFor();
      await picture(page, "disconnect-dialog");
      await page.keyboard.press("Escape");
      assert.equal(await page.evaluate("document.activeElement.textContent"), "Disconnect");
      await page.keyboard.press("Enter");
      await page.getByRole("dialog").getByRole("button", { name: "Disconnect" }).press("Enter");
      await page.getByText("Disconnected at your wish").waitFor();
    }));

  test("everything is deleted after the address was typed, and not before", () =>
    visit(async (page) => {
      await signIn(page, "zoe.lindqvist@example.org");
      await page.getByRole("button", { name: "Delete everything" }).click();
      const confirm = page.getByRole("dialog").getByRole("button", { name: "Delete everything" });
      assert.ok(await confirm.isDisabled());
      await page.getByLabel(/to confirm/).fill("zoe.lindqvist@example.org");
      await confirm.click();
      await page.getByRole("link", { name: "Sign in with Google" }).waitFor();
      const left = await t.app.db
        .selectFrom("users")
        .select("id")
        .where("email", "=", "zoe.lindqvist@example.org")
        .execute();
      assert.deepEqual(left, []);
    }));

  test("signing out shows the door, and the appearance chosen stays", () =>
    visit(async (page) => {
      await signIn(page, "priya@example.com");
      await page.getByLabel("Appearance").selectOption("dark");
      await page.reload();
      assert.equal(await page.locator("html").getAttribute("data-theme"), "dark");
      await page.getByRole("button", { name: "Sign out" }).click();
      await page.getByRole("link", { name: "Sign in with Google" }).waitFor();
    }));
});
