import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, test } from "node:test";
import { sql } from "kysely";
import { assertNoSidewaysScroll, consent, openConsole, picture, signIn } from "./chromium.ts";

const { t, visit } = await openConsole();

describe("the console, when things go otherwise", () => {
  test("a second account is connected; let go of, it leaves, and the focus is not lost", () =>
    visit(
      async (page) => {
        await signIn(page, "ana@example.com");
        await page.getByRole("link", { name: "Connect another account" }).click();
        await consent(page, "jonas.weber@example.com");
        const second = page.getByRole("article", { name: "jonas.weber@example.com" });
        await second.waitFor();
        await assertNoSidewaysScroll(page);
        await picture(page, "two-accounts-360");
        await page.getByRole("button", { name: "Disconnect jonas.weber@example.com" }).click();
        await page.getByRole("dialog").getByRole("button", { name: "Disconnect" }).click();
        await page.getByText("let go of jonas.weber@example.com").waitFor();
        await second.waitFor({ state: "detached" });
        await page.locator("main:focus").waitFor();
      },
      { width: 360 },
    ));

  test("a double click on a confirmation asks the server once", () =>
    visit(async (page) => {
      await signIn(page, "priya@example.com");
      const asked: string[] = [];
      page.on("request", (request) => {
        if (request.url().endsWith("/token/revoke")) asked.push(request.method());
      });
      await page.getByRole("button", { name: "Disconnect" }).click();
      await page.getByRole("dialog").getByRole("button", { name: "Disconnect" }).dblclick();
      await page.getByText("Disconnected at your wish").waitFor();
      assert.deepEqual(asked, ["POST"]);
    }));

  test("offline is said, and what was wished meanwhile is not carried out later", () =>
    visit(async (page, context) => {
      await signIn(page, "jonas.weber@example.com");
      await context.setOffline(true);
      await page.getByText("You are offline").waitFor();
      await page.getByRole("button", { name: "Disconnect" }).click();
      await page.getByRole("dialog").getByRole("button", { name: "Disconnect" }).click();
      await page.getByRole("dialog").getByText("cannot be reached").waitFor();
      await page.keyboard.press("Escape");
      await picture(page, "offline");
      const answered = page.waitForResponse("**/api/v1/me");
      await context.setOffline(false);
      await answered;
      await page.getByText("You are offline").waitFor({ state: "detached" });
      assert.ok(await page.getByText("Connected.", { exact: true }).isVisible());
    }));

  test("an error is shown in words, and trying again mends it", () =>
    visit(async (page) => {
      await signIn(page, "ana@example.com");
      await page.route("**/api/v1/me", (route) => route.fulfill({ status: 503, body: "" }));
      await page.reload();
      await page.getByRole("alert").waitFor();
      await page.unroute("**/api/v1/me");
      await page.getByRole("button", { name: "Try again" }).click();
      await page.getByRole("article", { name: "ana@example.com" }).waitFor();
    }));

  test("a double click makes one project, and what is half written outlives a failure in the background", () =>
    visit(async (page) => {
      await signIn(page, "ana@example.com");
      await page.goto(`${t.url}/projects?new`);
      await page.getByLabel("Name").fill("Harbour");
      await page.getByLabel("What it is about").fill("A film about harbours.");
      await page.getByRole("button", { name: "Only create it" }).dblclick();
      await page.getByRole("button", { name: "Edit" }).click();
      const { rows } = await sql`select from projects where name = 'Harbour'`.execute(t.app.db);
      assert.equal(rows.length, 1);
      await page.getByLabel("Tags").fill("half_written");
      await page.route("**/api/v1/projects/*", (route) => route.fulfill({ status: 503, body: "" }));
      // An answer of the last five seconds is not asked for again.
      await page.waitForTimeout(5_100);
      await page.evaluate("window.dispatchEvent(new Event('visibilitychange'))");
      await page.getByRole("button", { name: "Try again" }).waitFor();
      assert.equal(await page.getByLabel("Tags").inputValue(), "half_written");
    }));

  test("calendars that cannot be had are said to be so, and trying again brings them", () =>
    visit(async (page) => {
      await signIn(page, "ana@example.com");
      await page.route("**/api/v1/sync/feeds", (route) => route.fulfill({ status: 503, body: "" }));
      await page.reload();
      await page.getByRole("article").getByRole("alert").waitFor();
      await page.unroute("**/api/v1/sync/feeds");
      await page.getByRole("button", { name: "Try again" }).click();
      await page.getByText(/calendars are followed/).waitFor();
    }));

  test("whoever goes elsewhere while a project is being made is not called back", () =>
    visit(async (page) => {
      await signIn(page, "ana@example.com");
      await page.goto(`${t.url}/projects?new`);
      await page.route("**/api/v1/projects", async (route) => {
        await new Promise((done) => setTimeout(done, 1_000));
        await route.continue();
      });
      await page.getByLabel("Name").fill("Slow boat");
      await page.getByLabel("What it is about").fill("A film about canals.");
      const made = page.waitForResponse("**/api/v1/projects");
      await page.getByRole("button", { name: "Only create it" }).click();
      await page.getByRole("link", { name: "Assistant" }).click();
      await made;
      await page.waitForTimeout(500);
      assert.equal(page.url(), `${t.url}/assistant`);
    }));

  test("an address that leads to nothing says so, and offers no second try", () =>
    visit(async (page) => {
      await signIn(page, "ana@example.com");
      for (const path of [
        "projects?id=abc",
        "documents?id=abc",
        "documents?id=",
        "meetings?id=abc",
      ]) {
        await page.goto(`${t.url}/${path}`);
        await page.getByText("There is nothing at this address").waitFor();
      }
      await page.goto(`${t.url}/projects?id=${randomUUID()}`);
      await page.getByText(/No project/).waitFor();
      assert.equal(await page.getByRole("button", { name: "Try again" }).count(), 0);
    }));

  test("an address without a page says so, and the first Tab leads past the navigation", () =>
    visit(async (page) => {
      await signIn(page, "priya@example.com");
      await page.goto(`${t.url}/nowhere`);
      await page.getByRole("heading", { name: "No such page" }).waitFor();
      await page.keyboard.press("Tab");
      await page.keyboard.press("Enter");
      await page.locator("main:focus").waitFor();
      await page.keyboard.press("Tab");
      await page.keyboard.press("Enter");
      await page.getByRole("heading", { name: /^Today/ }).waitFor();
    }));
});
