import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { BrowserContext, Page } from "playwright-core";
import { consent, openConsole, signIn } from "./chromium.ts";

const { t, visit } = await openConsole();

async function signOut(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByText("You are signed out").waitFor();
}

async function showProject(page: Page, name: string): Promise<void> {
  await page.evaluate(`fetch("/api/v1/projects", { method: "POST",
    headers: { "content-type": "application/json" }, body: '{"name":"${name}"}' })`);
  await page.getByRole("link", { name: "Projects" }).click();
  await page.getByRole("link", { name }).waitFor();
}

// What would be seen until they come is seen then.
async function letProjectsComeLate(page: Page): Promise<void> {
  await page.route("**/api/v1/projects?*", async (route) => {
    await new Promise((done) => setTimeout(done, 1_000));
    await route.continue();
  });
}

describe("the console, when a session ends", () => {
  test("of who signs in in another tab, nobody's day is seen but their own", () =>
    visit(async (page, context) => {
      await signIn(page, "ana@example.com");
      await showProject(page, "Harbour");
      const other = await context.newPage();
      await other.goto(t.url);
      await other.getByRole("button", { name: "Sign out" }).click();
      await signIn(other, "jonas.weber@example.com");
      await letProjectsComeLate(page);
      await page.evaluate("window.dispatchEvent(new Event('visibilitychange'))");
      await page.getByText("Jonas Weber").first().waitFor();
      assert.equal(await page.getByRole("link", { name: "Harbour" }).count(), 0);
    }));

  test("where a session ended, who signs in in another tab sees nothing of the one before", () =>
    visit(async (page, context) => {
      await signIn(page, "ana@example.com");
      await showProject(page, "Pier");
      await context.clearCookies();
      await page.getByRole("button", { name: "Archived" }).click();
      await page.getByText("Your session has ended").waitFor();
      await page.goBack();
      const other = await context.newPage();
      await other.goto(t.url);
      await signIn(other, "jonas.weber@example.com");
      await letProjectsComeLate(page);
      // An answer of the last five seconds is not asked for again.
      await page.waitForTimeout(5_100);
      await page.evaluate("window.dispatchEvent(new Event('visibilitychange'))");
      await page.getByText("Jonas Weber").first().waitFor();
      assert.equal(await page.getByRole("link", { name: "Pier" }).count(), 0);
    }));

  test("whose session ended elsewhere stands at the door again, and reads why", () =>
    visit(async (page, context) => {
      await signIn(page, "ana@example.com");
      await context.clearCookies();
      await page.getByRole("button", { name: "Disconnect" }).click();
      await page.getByRole("dialog").getByRole("button", { name: "Disconnect" }).click();
      await page.getByText("Your session has ended").waitFor();
      assert.ok(await page.getByRole("link", { name: "Sign in with Google" }).isVisible());
    }));

  const loseHalfWritten = async (page: Page, context: BrowserContext) => {
    await page.goto(`${t.url}/projects?new`);
    await page.getByLabel("Name").fill("Lighthouse");
    await page.getByLabel("What it is about").fill("A film about lighthouses.");
    await context.clearCookies();
    await page.getByRole("button", { name: "Only create it" }).click();
    await page.getByText("Your session has ended").waitFor();
  };

  test("what was written when the session ended is still there, signed in again", () =>
    visit(async (page, context) => {
      await signIn(page, "ana@example.com");
      await loseHalfWritten(page, context);
      await page.getByRole("link", { name: "Sign in with Google" }).click();
      await consent(page, "ana@example.com");
      await page.getByRole("button", { name: "Only create it" }).waitFor();
      assert.equal(await page.getByLabel("Name").inputValue(), "Lighthouse");
      await page.reload();
      await page.getByRole("button", { name: "Only create it" }).waitFor();
      assert.equal(await page.getByLabel("Name").inputValue(), "");
    }));

  test("what was half written when somebody signed out by their own wish is kept nowhere", () =>
    visit(async (page) => {
      await signIn(page, "ana@example.com");
      await page.goto(`${t.url}/projects?new`);
      await page.getByLabel("Name").fill("Lighthouse");
      await page.getByRole("button", { name: "Sign out" }).click();
      await page.getByText("You are signed out").waitFor();
      assert.equal(await page.evaluate("sessionStorage.length"), 0);
    }));

  for (const [what, leave] of [
    [
      "signs out by their own wish afterwards",
      (page: Page) => signIn(page, "ana@example.com").then(() => signOut(page)),
    ],
    ["leaves the screen to somebody else", (page: Page) => signIn(page, "jonas.weber@example.com")],
  ] as const) {
    test(`nothing is left of what was half written where its writer ${what}`, () =>
      visit(async (page, context) => {
        await signIn(page, "ana@example.com");
        await loseHalfWritten(page, context);
        assert.equal(await page.evaluate("sessionStorage.length"), 1);
        await page.goto(t.url);
        await leave(page);
        assert.equal(await page.evaluate("sessionStorage.length"), 0);
      }));
  }

  test("whoever signs in at a page comes back to it, and signing out leaves it", () =>
    visit(async (page) => {
      await page.goto(`${t.url}/projects?show=archived`);
      await page.getByRole("link", { name: "Sign in with Google" }).click();
      await consent(page, "ana@example.com");
      await page.getByRole("heading", { name: "Projects" }).waitFor();
      assert.equal(page.url(), `${t.url}/projects?show=archived`);
      await page.getByRole("button", { name: "Sign out" }).click();
      await page.getByText("You are signed out").waitFor();
      assert.ok(await page.getByRole("link", { name: "Sign in with Google" }).isVisible());
      assert.equal(page.url(), `${t.url}/`);
    }));

  test("who deleted everything is told that it is gone", () =>
    visit(async (page) => {
      await signIn(page, "zoe.lindqvist@example.org");
      await page.getByRole("button", { name: "Delete everything" }).click();
      await page.getByLabel(/to confirm/).fill("zoe.lindqvist@example.org");
      await page.keyboard.press("Enter");
      await page.getByText("Everything of yours was deleted").waitFor();
      assert.ok(await page.getByRole("link", { name: "Sign in with Google" }).isVisible());
    }));
});
