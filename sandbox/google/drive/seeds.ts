import type { SandboxDrive } from "./drive.ts";

const docType = "application/vnd.google-apps.document";

/** A few files of the made-up people, for the sandbox run. */
export function seedDrive(drive: SandboxDrive): void {
  const ana = "ana@example.com";
  const folder = drive.addFolder(ana, "Spring launch");
  drive.addFile(ana, {
    name: "Plan of the launch",
    mimeType: docType,
    parentId: folder,
    content: "# Plan of the launch\n\nThe landing page comes first, then the film.",
  });
  drive.addFile(ana, {
    name: "Budget.csv",
    mimeType: "text/csv",
    parentId: folder,
    content: "what,euro\nfilm,12000\nlanding page,8000\n",
  });
  const minutes = drive.addFile("jonas.weber@example.com", {
    name: "Minutes",
    mimeType: docType,
    content: "# Minutes\n\nWe agreed on May.",
  });
  drive.share(minutes, ana);
}
