import { describe, test } from "node:test";
import { ana } from "../mails.ts";
import { assertNoSidewaysScroll, openConsole, picture, signIn } from "./chromium.ts";

const { t, visit } = await openConsole({ push: true, workflow: true });

describe("the console's files of Drive", () => {
  test("a file is followed by its link, its document follows each edit without a reload, and it is stopped", () =>
    visit(
      async (page) => {
        const mimeType = "application/vnd.google-apps.document";
        const fileId = t.google.drive.addFile(ana, { name: "Plan", mimeType, content: "# One" });
        await signIn(page, ana);
        await page.getByRole("link", { name: "Documents" }).click();
        await page.getByRole("link", { name: "Files of Drive" }).click();
        await page.getByText("None is followed yet.").waitFor();
        await page
          .getByLabel("Its link, or its id")
          .fill("https://docs.google.com/document/d/none/edit");
        await page.keyboard.press("Enter");
        await page
          .getByRole("alert")
          .getByText(/None of your accounts sees this file/)
          .waitFor();
        await page
          .getByLabel("Its link, or its id")
          .fill(`https://docs.google.com/document/d/${fileId}/edit`);
        await page.keyboard.press("Enter");
        const row = page.getByRole("listitem").filter({ hasText: "Plan" });
        await row.getByText("followed", { exact: true }).waitFor();
        await row.getByText("Push is on").waitFor();
        t.google.drive.rename(fileId, "The plan");
        await page.getByRole("link", { name: "The plan" }).waitFor();
        await assertNoSidewaysScroll(page);
        await picture(page, "files-dark-360");
        await page.getByRole("button", { name: "Look at The plan now" }).click();
        await page.getByText("Nothing has changed.").waitFor();
        await page.getByRole("link", { name: "The plan" }).click();
        await page.getByText("# One").waitFor();
        t.google.drive.edit(fileId, "# Two");
        await page.getByText("# Two").waitFor();
        await page.getByRole("link", { name: "Open in Drive" }).waitFor();
        await picture(page, "file-dark-360");
        await page.goBack();
        t.google.drive.trash(fileId);
        await page.getByText("in the trash", { exact: true }).waitFor();
        await page.getByRole("button", { name: "Stop following The plan" }).click();
        await page.getByText("The plan is no longer followed.").waitFor();
        await page.getByText("None is followed yet.").waitFor();
      },
      { width: 360, dark: true },
    ));
});
