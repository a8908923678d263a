import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { sql } from "kysely";
import { eventIn } from "../calendars.ts";
import { ana, anasAssistant } from "../mails.ts";
import { assertNoSidewaysScroll, openConsole, picture, signIn } from "./chromium.ts";

const { t, visit } = await openConsole({ push: true, model: true });

describe("the console's projects", () => {
  test("a project is described in a form, drafted while one looks on, and mail and meetings find their way into it", () =>
    visit(async (page) => {
      await signIn(page, ana);
      await page.evaluate(`fetch("/api/v1/user/username", { method: "POST",
        headers: { "content-type": "application/json" }, body: '{"username":"ana"}' })`);
      await page.getByRole("link", { name: "Projects" }).click();
      await page.getByText("None yet. Describe one").waitFor();
      await page.getByRole("link", { name: "New project" }).click();
      await page.getByRole("button", { name: "Draft what it is known by" }).click();
      // The browser itself asks for what is missing.
      assert.equal(t.openai.asked.length, 0);
      await page.getByLabel("Name").fill("Autumn Film");
      await page
        .getByLabel("What it is about")
        .fill("A film for the launch of the new bikes, for Acme (acme.example). Code AF-2027.");
      await page.getByLabel("Keywords").fill("Product Launch, bikes");
      await page.getByLabel("Deliverables").fill("one launch film, three social cutdowns");
      await page.getByLabel("At the client").fill("Mira Okafor");
      await page.getByLabel("When").fill("2027-03-01 to 2027-03-05");
      await page.getByLabel("Where").fill("Lisbon");
      await picture(page, "project-form-light");
      t.openai.settings.delayMs = 1_500;
      await page.getByRole("button", { name: "Draft what it is known by" }).click();
      await page.getByRole("listitem").filter({ hasText: "A model drafts it" }).waitFor();
      await page.locator("[aria-current=step]", { hasText: "A model drafts it" }).waitFor();
      await picture(page, "project-drafting-light");
      await page.getByText("product_launch", { exact: true }).waitFor();
      await page.getByText("leads it at the client").waitFor();
      await page.getByText("None yet. A mail to your assistant").waitFor();

      await t.google.gmail.send({
        from: "Mira Okafor <mira@acme.example>",
        to: [ana, anasAssistant],
        subject: "Budget of AF-2027",
        text: "Here it is.",
      });
      await page.getByRole("link", { name: "Budget of AF-2027" }).waitFor();
      await picture(page, "project-light");
      await page.getByRole("link", { name: "Budget of AF-2027" }).click();
      await page.getByText(/Because: project code AF-2027, domain acme\.example/).waitFor();

      t.google.calendar.addEvent(
        ana,
        eventIn(t, 2, { summary: "Kick-off", location: "https://meet.google.com/abc-defg-hij" }),
      );
      await page.getByRole("link", { name: "Meetings" }).click();
      await page.getByLabel("Project of Kick-off").selectOption("Autumn Film");
      await t.idle();
      await page.getByRole("link", { name: "Projects" }).click();
      await page.getByRole("link", { name: "Autumn Film" }).click();
      await page.getByRole("heading", { name: "Kick-off" }).waitFor();
    }));

  test("what it is known by is edited, a mistake explained, and a project archived, taken back and deleted", () =>
    visit(
      async (page) => {
        await signIn(page, ana);
        await page.getByRole("link", { name: "Projects" }).click();
        await page.getByRole("link", { name: "Autumn Film" }).click();
        await assertNoSidewaysScroll(page);
        await picture(page, "project-dark-360");
        await page.getByRole("button", { name: "Edit" }).click();
        await page.getByLabel("Tags").fill("product_launch, Not A Tag");
        await page.getByRole("button", { name: "Save" }).click();
        await page
          .getByRole("alert")
          .getByText(/normalized_tags.*snake_case/)
          .waitFor();
        await assertNoSidewaysScroll(page);
        await picture(page, "project-edit-dark-360");
        await page.getByLabel("Tags").fill("product_launch, autumn");
        await page.getByLabel("People").fill("Mira Okafor: client_lead\nTom Berg");
        await page.getByRole("button", { name: "Save" }).click();
        await page.getByText("Saved.").waitFor();
        await page.getByText("autumn", { exact: true }).waitFor();
        await page.getByText("Tom Berg").waitFor();
        await page.getByRole("button", { name: "Archive" }).click();
        await page.getByText("Autumn Film is archived.").waitFor();
        await page.getByRole("link", { name: "All projects" }).click();
        await page.getByText("None yet. Describe one").waitFor();
        await page.getByRole("button", { name: "Archived" }).click();
        await page.getByRole("link", { name: "Autumn Film" }).click();
        await page.getByRole("button", { name: "Take it back" }).click();
        await page.getByText("Autumn Film is back.").waitFor();
        await page.getByRole("button", { name: "Delete" }).click();
        await page.keyboard.press("Escape");
        await page.getByRole("button", { name: "Delete" }).click();
        await page.getByRole("button", { name: "Delete it" }).click();
        await page.getByText("Autumn Film was deleted.").waitFor();
        await page.getByText("None yet. Describe one").waitFor();
        await page.getByRole("link", { name: "Documents" }).click();
        await page.getByRole("listitem").getByText("in no project").waitFor();
      },
      { width: 360, dark: true },
    ));

  test("a model that refuses is quoted, nothing is lost, and it is asked anew at a click", () =>
    visit(async (page) => {
      t.openai.reset();
      t.openai.settings.next = ["refusal"];
      await signIn(page, ana);
      await page.getByRole("link", { name: "Projects" }).click();
      await page.getByRole("link", { name: "New project" }).click();
      await page.getByLabel("Name").fill("Refused at first");
      await page.getByLabel("What it is about").fill("A film about harbours.");
      await page.getByLabel("Keywords").fill("harbour");
      await page.getByRole("button", { name: "Draft what it is known by" }).click();
      await page
        .getByRole("alert")
        .getByText(/nothing was changed.*model refused/)
        .waitFor();
      await picture(page, "project-refused-light");
      await page.getByRole("button", { name: "Describe it anew" }).click();
      assert.equal(
        await page.getByLabel("What it is about").inputValue(),
        "A film about harbours.",
      );
      await page.getByRole("button", { name: "Draft what it is known by" }).click();
      await page.getByText("harbour", { exact: true }).waitFor();
      await page.getByText("How it was drafted").click();
      await page.getByText(/By .*tokens to .* in .* s\./).waitFor();
    }));

  test("a draft that nothing is heard of is said so, and is asked for anew at a click", () =>
    visit(async (page) => {
      t.openai.reset();
      await signIn(page, ana);
      await page.getByRole("link", { name: "Projects" }).click();
      await page.getByRole("link", { name: "New project" }).click();
      await page.getByLabel("Name").fill("Left behind");
      await page.getByLabel("What it is about").fill("A film about lighthouses.");
      await page.getByRole("button", { name: "Draft what it is known by" }).click();
      await page.getByText("How it was drafted").waitFor();
      // As a killed process leaves it.
      await sql`
        update onboardings set state = 'drafting', updated_at = ${new Date(Date.now() - 36 * 60_000)}
        where summary ->> 'project_name' = 'Left behind'
      `.execute(t.app.db);
      await page.reload();
      await page
        .getByRole("alert")
        .getByText(/Nothing was heard of the draft/)
        .waitFor();
      await page.getByRole("button", { name: "Describe it anew" }).click();
      await page.getByRole("button", { name: "Draft what it is known by" }).click();
      await page.getByText("How it was drafted").waitFor();
    }));

  test("a draft that falls silent while one looks on is said so too", () =>
    visit(async (page) => {
      await signIn(page, ana);
      await sql`
        update onboardings set state = 'drafting', updated_at = ${new Date()}
        where summary ->> 'project_name' = 'Left behind'
      `.execute(t.app.db);
      await page.clock.install();
      await page.getByRole("link", { name: "Projects" }).click();
      await page.getByRole("link", { name: "Left behind" }).click();
      await page.locator("[aria-current=step]", { hasText: "A model drafts it" }).waitFor();
      await page.clock.fastForward("36:00");
      await page
        .getByRole("alert")
        .getByText(/Nothing was heard of the draft/)
        .waitFor();
    }));

  test("the longest name of a project pushes no page sideways", () =>
    visit(
      async (page) => {
        await signIn(page, ana);
        await page.evaluate(`fetch("/api/v1/projects", { method: "POST",
          headers: { "content-type": "application/json" }, body: JSON.stringify({ name: "Donaudampf".repeat(20) }) })`);
        t.google.calendar.addEvent(
          ana,
          eventIn(t, 3, {
            summary: "Long ahead",
            location: "https://meet.google.com/abc-defg-hij",
          }),
        );
        await t.idle();
        for (const name of ["Documents", "Meetings", "Projects"]) {
          await page.getByRole("link", { name, exact: true }).click();
          await page
            .getByText(/^(Donaudampf)+$/)
            .first()
            .waitFor({ state: "attached" });
          await assertNoSidewaysScroll(page);
        }
      },
      { width: 360 },
    ));
});
