import assert from "node:assert/strict";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { after } from "node:test";
import { type BrowserContext, chromium, type Page } from "playwright-core";
import { openTestApp, type TestApp } from "../harness.ts";

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

type Visit = (
  act: (page: Page, context: BrowserContext) => Promise<void>,
  options?: { width?: number; dark?: boolean },
) => Promise<void>;

/**
 * Daybook and a real Chromium, for all tests of a file. Each visit opens the console as somebody new; what the browser
 * complains about fails the test.
 */
export async function openConsole(
  options?: Parameters<typeof openTestApp>[0],
): Promise<{ t: TestApp; visit: Visit }> {
  await using opened = new AsyncDisposableStack();
  const t = opened.use(await openTestApp(options));
  const { visit } = opened.use(await openChromium(t.url));
  const kept = opened.move();
  after(() => kept.disposeAsync());
  return { t, visit };
}

/** Signs in on the sandbox's consent page, if wanted without one of the scopes, and opens Connections. */
export async function signIn(page: Page, person: string, untick?: string): Promise<void> {
  await page.getByRole("link", { name: "Sign in with Google" }).click();
  await consent(page, person, untick);
  await page.getByRole("link", { name: "Connections" }).click();
  await page.getByRole("heading", { name: "Connections" }).waitFor();
}

/** Walks the sandbox's consent page, which the browser has been sent to. */
export async function consent(page: Page, person: string, untick?: string): Promise<void> {
  await page.locator(`button[data-email="${person}"]`).click();
  await page.waitForLoadState();
  if (untick)
    await page
      .locator(`input[type=checkbox][value="https://www.googleapis.com/auth/${untick}"]`)
      .uncheck();
  const allow = page.getByRole("button", { name: /allow|continue/i });
  if (await allow.count()) await allow.click();
}

export async function assertNoSidewaysScroll(page: Page): Promise<void> {
  const overhang = await page.evaluate("document.documentElement.scrollWidth - innerWidth");
  assert.ok(Number(overhang) <= 0, `${overhang} px wider than the window`);
}

/** Leaves a picture in the folder SCREENSHOTS, where that is set. */
export async function picture(page: Page, name: string): Promise<void> {
  const folder = process.env.SCREENSHOTS;
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
}

async function openChromium(url: string): Promise<AsyncDisposable & { visit: Visit }> {
  assert.ok(program, "no Chromium: install it, or set CHROMIUM_PATH");
  const browser = await chromium.launch({ executablePath: program, args: quiet });
  return {
    visit: async (act, { width = 1200, dark = false } = {}) => {
      const context = await browser.newContext({
        viewport: { width, height: 800 },
        colorScheme: dark ? "dark" : "light",
        reducedMotion: "reduce",
        acceptDownloads: true,
      });
      const page = await context.newPage();
      const complaints: string[] = [];
      page.on("console", (message) => {
        // The browser reports every answer that is an error, the 401 before signing in among them; tests ask for some.
        const isAnswer = message.text().startsWith("Failed to load resource");
        if (message.type() === "error" && !isAnswer) complaints.push(message.text());
      });
      page.on("pageerror", (error) => complaints.push(error.message));
      await page.goto(url);
      await act(page, context);
      assert.deepEqual(complaints, []);
      await context.close();
    },
    [Symbol.asyncDispose]: () => browser.close(),
  };
}
