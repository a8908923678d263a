import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { ana, anasAssistant, jonas } from "../mails.ts";
import { fastestMs } from "../timing.ts";
import { assertNoSidewaysScroll, openConsole, picture, signIn } from "./chromium.ts";

const { t, visit } = await openConsole({ push: true, workflow: true });

describe("the console's mail", () => {
  before(async () => {
    await t.connectAssistant();
  });
  test("a username is chosen, its address copied, and a wrong one explained while it is typed", () =>
    visit(async (page, context) => {
      await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: t.url });
      await signIn(page, ana);
      await page.getByRole("link", { name: "Documents" }).click();
      await page.getByText("None yet.").waitFor();
      await page.getByRole("link", { name: "your assistant’s address" }).click();
      await page.getByRole("textbox", { name: "Username" }).fill("admin");
      await page.getByText(/reserved/).waitFor();
      assert.ok(await page.getByRole("button", { name: "Choose it" }).isDisabled());
      await page.getByRole("textbox", { name: "Username" }).fill("ana");
      await page.getByText("It is free.").waitFor();
      await picture(page, "username-light");
      await page.keyboard.press("Enter");
      await page.getByText(anasAssistant, { exact: true }).waitFor();
      await page.getByRole("button", { name: "Copy" }).click();
      await page.getByText(`${anasAssistant} is on your clipboard.`).waitFor();
      assert.equal(await page.evaluate("navigator.clipboard.readText()"), anasAssistant);
    }));

  test("a mail sent at Google is a document with its project, without a reload", () =>
    visit(async (page) => {
      await signIn(page, ana);
      const fileId = t.google.drive.addFile(ana, { name: "Outline.txt", content: "Page one" });
      const hiddenId = t.google.drive.addFile(jonas, { name: "Figures.txt" });
      await page.evaluate(`fetch("/api/v1/projects", { method: "POST",
        headers: { "content-type": "application/json" }, body: '{"name":"Launch"}' })`);
      await page.getByRole("link", { name: "Documents" }).click();
      await page.getByText("None yet.").waitFor();
      await t.google.gmail.send({
        from: "Jonas Weber <jonas.weber@example.com>",
        to: ana,
        cc: anasAssistant,
        subject: "Notes on the launch",
        text: `Let us begin with the landing page.
https://drive.google.com/file/d/${fileId}/view
https://drive.google.com/open?id=${hiddenId}

-- \nJonas`,
        attachments: [{ filename: "plan.pdf", content: "%PDF" }],
      });
      const row = page.getByRole("listitem").filter({ hasText: "Notes on the launch" });
      await row.getByText("Launch", { exact: true }).waitFor();
      await picture(page, "documents-light");
      await row.getByRole("link").click();
      await page.getByText("Let us begin with the landing page.").waitFor();
      await page.getByText("It was found in the owner's own mailbox.").waitFor();
      await page.getByText("Delivered at try 1.").waitFor();
      await page.getByText("plan.pdf").waitFor();
      const links = page.getByRole("region", { name: "Files it links to" });
      await links.getByText("followed", { exact: true }).waitFor();
      await links.getByText("not seen", { exact: true }).waitFor();
      await picture(page, "document-light");
      await links.getByRole("link", { name: "Outline.txt" }).click();
      await page.getByText("Page one").waitFor();
      await page.goBack();
      await page.getByLabel("Move to project").selectOption("In no project");
      await page.getByText("in no project", { exact: true }).waitFor();
      await page.goBack();
      await page.getByLabel("Project").selectOption("Launch");
      await page.getByText("There are none like that.").waitFor();
      await page.getByLabel("Project").selectOption("In no project");
      await page.getByLabel("Words of the title or author").fill("launch");
      await page.keyboard.press("Enter");
      await page.getByRole("link", { name: "Notes on the launch" }).waitFor();
    }));

  test("words that are searched for follow the browser's own button", () =>
    visit(async (page) => {
      await signIn(page, ana);
      await page.getByRole("link", { name: "Documents" }).click();
      const words = page.getByLabel("Words of the title or author");
      await words.fill("nothing of the kind");
      await page.keyboard.press("Enter");
      await page.getByText("There are none like that.").waitFor();
      await page.goBack();
      await page.getByRole("link", { name: "Notes on the launch" }).waitFor();
      assert.equal(await words.inputValue(), "");
      await page.getByLabel("State").selectOption("Belonging to none");
      assert.equal(new URL(page.url()).search, "?state=unclassified");
    }));

  test("a document in an archived project says so where it is moved", () =>
    visit(async (page) => {
      await signIn(page, ana);
      await page.evaluate(`(async () => {
        const send = async (method, path, body) => (await fetch("/api/v1" + path, { method,
          headers: { "content-type": "application/json" }, body: JSON.stringify(body) })).json();
        const { id } = await send("POST", "/projects", { name: "Old film" });
        const { items } = await (await fetch("/api/v1/documents?q=launch")).json();
        await send("PATCH", "/documents/" + items[0].id, { project_id: id });
        await send("PATCH", "/projects/" + id, { status: "archived" });
      })()`);
      await page.getByRole("link", { name: "Documents" }).click();
      await page.getByRole("link", { name: "Notes on the launch" }).click();
      const choice = page.getByLabel("Move to project");
      await page.locator("select:enabled", { hasText: "In no project" }).waitFor();
      assert.equal(await choice.locator("option:checked").textContent(), "Old film");
    }));

  test("a delivery that was given up says why, and is sent again at a click", () =>
    visit(
      async (page) => {
        t.n8n.settings.failNext = [403];
        await t.google.gmail.send({
          from: jonas,
          to: [ana, anasAssistant],
          subject: "Refused",
          text: "x",
        });
        await t.idle();
        await signIn(page, ana);
        await page.getByRole("link", { name: "Documents" }).click();
        await page.getByRole("listitem").getByText("not delivered").waitFor();
        await page.getByRole("link", { name: "Refused" }).click();
        await page.getByText("Given up after 1 try.").waitFor();
        await assertNoSidewaysScroll(page);
        await picture(page, "delivery-dark-360");
        await page.getByRole("button", { name: "Send again" }).click();
        await page.getByText("Delivered at try 2.").waitFor();
      },
      { width: 360, dark: true },
    ));

  test("a held mail waits with its reason until its owner takes or refuses it, and trust is set", () =>
    visit(
      async (page) => {
        for (const subject of ["Offer one", "Offer two"])
          await t.google.gmail.send({
            from: "stranger@example.net",
            to: anasAssistant,
            subject,
            text: "Buy",
          });
        await t.idle();
        await signIn(page, ana);
        await page.getByRole("link", { name: "Assistant" }).click();
        const one = page.getByRole("listitem", { name: "Offer one" });
        await one.getByText(/stranger@example\.net, whom the owner has not let/).waitFor();
        await assertNoSidewaysScroll(page);
        await picture(page, "assistant-dark-360");
        await one.getByRole("button", { name: "Take" }).click();
        await page.getByText("“Offer one” becomes a document.").waitFor();
        await page
          .getByRole("listitem", { name: "Offer two" })
          .getByRole("button", { name: "Refuse" })
          .click();
        await page.getByText("“Offer two” was refused.").waitFor();
        await one.waitFor({ state: "detached" });
        await page.getByLabel("Me, and those I name").check();
        await page.getByLabel("Addresses, or @ and a domain, one a line").fill("not an address");
        await page
          .getByRole("region", { name: "Who may use it" })
          .getByRole("button", { name: "Save" })
          .click();
        await page.getByRole("alert").waitFor();
        await page.getByLabel("Addresses, or @ and a domain, one a line").fill("@example.net");
        await page
          .getByRole("region", { name: "Who may use it" })
          .getByRole("button", { name: "Save" })
          .click();
        await page.getByText("Saved. Who may use it: Me, and those I name.").waitFor();
        await t.idle();
        await page.getByRole("link", { name: "Document", exact: true }).first().waitFor();
      },
      { width: 360, dark: true },
    ));

  test("a mail sent at Google is a document with its project within three seconds", () =>
    visit(async (page) => {
      await signIn(page, ana);
      await page.getByRole("link", { name: "Documents" }).click();
      let sent = 0;
      const act = () => {
        sent += 1;
        const to = [ana, anasAssistant];
        return t.google.gmail.send({ from: jonas, to, subject: `Launch ${sent}`, text: "Launch" });
      };
      const hasArrived = (count: number) =>
        page
          .getByRole("listitem")
          .filter({ hasText: `Launch ${count}` })
          .getByText("Launch", { exact: true })
          .isVisible();
      const ms = await fastestMs(t, 3_000, { act, hasArrived });
      assert.ok(ms < 3_000, `${Math.round(ms)} ms`);
    }));
});
