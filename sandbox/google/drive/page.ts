import type { FastifyInstance, FastifyReply } from "fastify";
import { z } from "zod";
import { html, isFromHere, page, pageHeaders } from "../pages.ts";
import { findPerson } from "../people.ts";
import type { SandboxDrive } from "./drive.ts";
import { type File, folderType, isEditorType, isInTrash } from "./store.ts";

const Who = z.looseObject({ person: z.string() });
const Which = Who.extend({ id: z.string() });

/** The page on which a person makes and changes files. Plain forms, no scripts. */
export function addDrivePage(server: FastifyInstance, drive: SandboxDrive): void {
  const { state } = drive.store;
  const act = (path: string, run: (body: unknown) => void) =>
    server.post(`/drive/${path}`, (request, reply) => {
      if (!isFromHere(request))
        return reply.code(403).send("Only pages of the sandbox may do this");
      const { person } = Who.parse(request.body);
      run(request.body);
      return reply.redirect(`${state.baseUrl()}/drive?person=${encodeURIComponent(person)}`, 303);
    });

  server.get("/drive", (request, reply: FastifyReply) => {
    const { person } = z.object({ person: z.string().optional() }).parse(request.query);
    return reply.headers(pageHeaders).send(render(drive, person));
  });
  act("add", (body) => {
    const { person, name, kind, text } = Who.extend({
      name: z.string().trim().min(1).max(500),
      kind: z.enum(["document", "text", "folder"]),
      text: z.string().max(100_000).default(""),
    }).parse(body);
    const types = {
      document: "application/vnd.google-apps.document",
      text: "text/plain",
      folder: folderType,
    };
    drive.addFile(person, { name, mimeType: types[kind], content: text });
  });
  act("edit", (body) => {
    const { id, text } = Which.extend({ text: z.string().max(100_000) }).parse(body);
    drive.edit(id, text);
  });
  act("rename", (body) => {
    const { id, name } = Which.extend({ name: z.string().trim().min(1).max(500) }).parse(body);
    drive.rename(id, name);
  });
  act("share", (body) => {
    const { id, account } = Which.extend({ account: z.string().trim().min(3) }).parse(body);
    drive.share(id, account);
  });
  act("trash", (body) => drive.trash(Which.parse(body).id));
  act("restore", (body) => drive.restore(Which.parse(body).id));
  act("remove", (body) => drive.remove(Which.parse(body).id));
  act("push", (body) => {
    const { wish } = Who.extend({ wish: z.string() }).parse(body);
    drive.push.isOn = wish === "on";
  });
}

function render(drive: SandboxDrive, wanted: string | undefined): string {
  const { state } = drive.store;
  const base = state.baseUrl();
  const person = findPerson(state, wanted ?? "") ?? state.people[0];
  if (!person) return page("Drive", html`<h1>Nobody is here</h1>`);
  const { email } = person;
  const who = html`<input type="hidden" name="person" value="${email}">`;
  const people = state.people.map(
    (one) => html`<a href="${base}/drive?person=${one.email}">${one.name}</a> `,
  );
  const { isOn } = drive.push;
  const files = drive.files(email).slice(-40).reverse();
  return page(
    `${person.name}'s Drive`,
    html`<h1>${person.name}’s Drive</h1>
<p class="soft">The sandbox’s Google Drive. Follow a file in Daybook by its id, change it here, and watch the document follow. ${people}</p>
<h2>Make a file</h2>
<form method="post" action="${base}/drive/add" class="choice">${who}
<label>Name<br><input name="name" required value="Plan"></label>
<label>Kind<br><select name="kind"><option value="document">Google Doc</option><option value="text">Text file</option><option value="folder">Folder</option></select></label>
<label>Text<br><textarea name="text" rows="3" cols="40"># The plan</textarea></label>
<button class="main">Make it</button></form>
<h2>Push</h2>
<form method="post" action="${base}/drive/push" class="choice">${who}
<span>Push is ${isOn ? "on" : "off"}; ${drive.channels().length} channels are open.</span>
<button name="wish" value="${isOn ? "off" : "on"}">Turn it ${isOn ? "off" : "on"}</button></form>
<h2>Files</h2>
<div class="scroll"><table><thead><tr><th scope="col">What</th><th scope="col">Text</th><th scope="col">Do</th></tr></thead>
<tbody>${files.map((file) => row(drive, file, { base, who, email }))}</tbody></table></div>`,
    "wide",
  );
}

type Html = ReturnType<typeof html>;

function row(
  drive: SandboxDrive,
  file: File,
  { base, who, email }: { base: string; who: Html; email: string },
): Html {
  const which = html`${who}<input type="hidden" name="id" value="${file.id}">`;
  const button = (path: string, name: string) =>
    html`<form method="post" action="${base}/drive/${path}">${which}<button>${name}</button></form>`;
  const isTrashed = isInTrash(drive.store, file);
  const hasText = isEditorType(file.mimeType) || file.mimeType.startsWith("text/");
  const text =
    hasText && file.mimeType !== folderType
      ? html`<form method="post" action="${base}/drive/edit">${which}<textarea name="text" rows="2" cols="30" aria-label="Text of ${file.name}">${file.content.toString().slice(0, 5_000)}</textarea><button>Save</button></form>`
      : null;
  const isOwn = file.owner === email;
  return html`<tr><td>${file.name}<br><code>${file.id}</code><br><span class="soft small">${file.mimeType}, of ${file.owner ?? "a shared drive"}${isTrashed ? ", in the trash" : ""}</span></td>
<td>${text}</td>
<td>${isTrashed ? button("restore", "Restore") : button("trash", "Trash")}${isOwn ? button("remove", "Delete for good") : null}
<form method="post" action="${base}/drive/rename">${which}<input name="name" value="${file.name}" aria-label="New name of ${file.name}"><button>Rename</button></form>
<form method="post" action="${base}/drive/share">${which}<input name="account" value="ai+name@example.com" aria-label="Share ${file.name} with"><button>Share</button></form></td></tr>`;
}
