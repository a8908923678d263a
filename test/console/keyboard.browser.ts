import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { sql } from "kysely";
import type { Page } from "playwright-core";
import { ana } from "../mails.ts";
import { openConsole, signIn } from "./chromium.ts";

const { t, visit } = await openConsole({ push: true });

const press = (page: Page, name: string) =>
  page.getByRole("button", { name, exact: true }).first().press("Enter");
const focused = (page: Page, name: string) =>
  page.locator("button:focus", { hasText: new RegExp(`^${name}$`) }).waitFor();

describe("the console by keyboard", () => {
  test("a button keeps the focus while it works; where it goes away, the page has it", () =>
    visit(async (page) => {
      t.google.calendar.addCalendar(ana, { title: "Team" });
      await signIn(page, ana);
      await t.idle();
      await page.getByText(/calendars are followed/).click();
      const read = page.waitForResponse("**/sync?wait=true");
      await press(page, "Sync now");
      await read;
      await focused(page, "Sync now");
      await press(page, "Do not follow");
      await focused(page, "Follow");
      await page.getByRole("link", { name: "Assistant" }).click();
      await page.getByRole("textbox", { name: "Username" }).fill("ana");
      await page.getByText("It is free.").waitFor();
      await press(page, "Choose it");
      await page.getByRole("heading", { name: "Who may use it" }).waitFor();
      await page.locator("main:focus").waitFor();
      await page.getByLabel("Anybody").check();
      await press(page, "Save");
      await page.getByText("Saved. Who may use it: Anybody.").waitFor();
      await focused(page, "Save");
      await press(page, "Dismiss");
      await page.locator("main:focus").waitFor();
    }));

  test("a form that opens has the focus in its first field, and the button that opened it has it afterwards", () =>
    visit(async (page) => {
      await signIn(page, ana);
      await page.evaluate(`fetch("/api/v1/projects", { method: "POST",
        headers: { "content-type": "application/json" }, body: '{"name":"Harbour"}' })`);
      await page.getByRole("link", { name: "Projects" }).click();
      await page.getByRole("link", { name: "Harbour" }).click();
      await press(page, "Edit");
      await page.locator("[name=name]:focus").waitFor();
      await press(page, "Cancel");
      await focused(page, "Edit");
      await press(page, "Describe it");
      await page.locator("[name=project_name]:focus").waitFor();
      await press(page, "Cancel");
      await focused(page, "Edit");
      await press(page, "Edit");
      await press(page, "Save");
      await page.getByText("Saved.").waitFor();
      await focused(page, "Edit");
      await press(page, "Archive");
      await focused(page, "Take it back");
      await press(page, "Take it back");
      await focused(page, "Archive");
    }));

  test("a form that is sent by Enter is not sent again while that is under way", () =>
    visit(async (page) => {
      await signIn(page, ana);
      await page.evaluate(`fetch("/api/v1/projects", { method: "POST",
        headers: { "content-type": "application/json" }, body: '{"name":"Canal"}' })`);
      await page.getByRole("link", { name: "Projects" }).click();
      await page.getByRole("link", { name: "Canal" }).click();
      await press(page, "Edit");
      const held = Promise.withResolvers<void>();
      const names: string[] = [];
      await page.route("**/ai/update-metadata/*", async (route) => {
        names.push(route.request().postDataJSON().metadata.name);
        await held.promise;
        await route.continue();
      });
      const name = page.locator("[name=name]");
      for (const written of ["Canal at night", "Canal by day"]) {
        await name.fill(written);
        await name.press("Enter");
        await page.getByRole("button", { name: "Saving …" }).waitFor();
      }
      held.resolve();
      await page.getByText("Saved.").waitFor();
      assert.deepEqual(names, ["Canal at night"]);
    }));

  test("with more of a list, its first new row has the focus", () =>
    visit(async (page) => {
      await signIn(page, ana);
      await sql`
        insert into projects (created_by, name)
        select id, 'Number ' || lpad(number::text, 3, '0')
        from users, generate_series(1, 120) as number where email = ${ana}`.execute(t.app.db);
      await page.getByRole("link", { name: "Projects" }).click();
      for (const shown of [50, 100]) {
        const rows = page.getByRole("listitem");
        await rows.nth(shown - 1).waitFor();
        await press(page, "Show more");
        await rows.nth(shown).locator("a:focus").waitFor();
      }
    }));
});
