import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { minutes } from "../../sandbox/google/clock.ts";
import { endGrantsOf } from "../../sandbox/google/grants.ts";
import { findPerson } from "../../sandbox/google/people.ts";
import { refreshDueTokens } from "../../src/accounts/google-tokens.ts";
import { assertNoSidewaysScroll, consent, openConsole, picture, signIn } from "./chromium.ts";

// The console in a real Chromium: `npm run test:console`. With SCREENSHOTS set to a folder, it leaves pictures there.

const { t, visit } = await openConsole();

describe("the console", () => {
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
        await assertNoSidewaysScroll(page);
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
        await assertNoSidewaysScroll(page);
        await picture(page, "refused-360");
      },
      { width: 360 },
    ));

  test("who chose another account than the assistant's for its mailbox is told to choose that", () =>
    visit(async (page) => {
      await page.goto(`${t.url}/?sign_in_error=not_the_mailbox`);
      await page
        .getByRole("alert")
        .getByText(/choose the assistant’s own account/)
        .waitFor();
    }));

  test("whoever is known by the older sign-in alone is told to connect their account there", () =>
    visit(async (page) => {
      const id = randomUUID();
      const email = "zoe.lindqvist@example.org";
      await t.app.db.insertInto("users").values({ id, email, is_email_proven: false }).execute();
      await page.goto(t.url);
      await page.getByRole("link", { name: "Sign in with Google" }).click();
      await consent(page, email);
      await page.getByText("sign in there and connect this account").waitFor();
      await t.app.db.deleteFrom("users").where("id", "=", id).execute();
    }));

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
