import type { FastifyInstance, FastifyReply } from "fastify";
import { z } from "zod";
import { html, isFromHere, page, pageHeaders } from "../pages.ts";
import { findPerson } from "../people.ts";
import type { SandboxGmail } from "./gmail.ts";
import { headerOf } from "./mime.ts";
import { headersOf } from "./store.ts";

const shownMails = 25;

const line = z.string().trim().max(2_000).default("");
const Writing = z.object({
  person: z.string(),
  from: z.string().trim().min(3).max(998),
  to: line,
  cc: line,
  bcc: line,
  subject: z.string().max(1_000).default(""),
  text: z.string().max(100_000).default(""),
  proof: z.enum(["pass", "fail", "none"]).default("pass"),
});

/** The page on which a person writes mails and sees what arrived. Plain forms, no scripts. */
export function addGmailPage(server: FastifyInstance, gmail: SandboxGmail): void {
  const { state } = gmail.store;
  const act = (path: string, run: (body: unknown) => Promise<string>) =>
    server.post(`/mail/${path}`, async (request, reply) => {
      if (!isFromHere(request))
        return reply.code(403).send("Only pages of the sandbox may do this");
      const person = await run(request.body);
      return reply.redirect(`${state.baseUrl()}/mail?person=${encodeURIComponent(person)}`, 303);
    });

  server.get("/mail", (request, reply: FastifyReply) => {
    const { person } = z.object({ person: z.string().optional() }).parse(request.query);
    return reply.headers(pageHeaders).send(render(gmail, person));
  });
  act("send", async (body) => {
    const { person, proof, ...mail } = Writing.parse(body);
    await gmail.send({ ...mail, authentication: proof });
    return person;
  });
  act("delete", async (body) => {
    const { person, id } = z.object({ person: z.string(), id: z.string() }).parse(body);
    gmail.label(person, id, { add: ["TRASH"], remove: ["INBOX"] });
    return person;
  });
  act("push", async (body) => {
    const { person, wish } = z.object({ person: z.string(), wish: z.string() }).parse(body);
    gmail.notices.isOn = wish === "on";
    return person;
  });
}

function render(gmail: SandboxGmail, wanted: string | undefined): string {
  const { state } = gmail.store;
  const base = state.baseUrl();
  const person = findPerson(state, wanted ?? "") ?? state.people[0];
  if (!person) return page("Mail", html`<h1>Nobody is here</h1>`);
  const { email } = person;
  const who = html`<input type="hidden" name="person" value="${email}">`;
  const people = state.people.map(
    (one) => html`<a href="${base}/mail?person=${one.email}">${one.name}</a> `,
  );
  const mails = gmail.messages(email).slice(-shownMails).reverse();
  const { isOn } = gmail.notices;
  const rows = mails.map((message) => {
    const headers = headersOf(message);
    const isGone = message.labels.has("TRASH");
    return html`<tr><td>${new Date(message.internalDate).toISOString().slice(0, 16).replace("T", " ")}</td>
<td>${headerOf(headers, "subject")}<br><span class="soft small">${headerOf(headers, "from")} to ${headerOf(headers, "to")} ${headerOf(headers, "cc")}</span></td>
<td><span class="soft small">${[...message.labels].join(" ")}</span></td>
<td>${isGone ? null : html`<form method="post" action="${base}/mail/delete">${who}<input type="hidden" name="id" value="${message.id}"><button>Delete</button></form>`}</td></tr>`;
  });
  return page(
    `${person.name}'s mail`,
    html`<h1>${person.name}’s mail</h1>
<p class="soft">The sandbox’s Gmail. Copy the assistant on a mail, and watch it become a document. ${people}</p>
<h2>Write a mail</h2>
<form method="post" action="${base}/mail/send" class="choice">${who}
<label>From<br><input name="from" required value="${email}"></label>
<label>To<br><input name="to" value="client@example.net"></label>
<label>Cc<br><input name="cc" placeholder="ai+name@example.com"></label>
<label>Bcc<br><input name="bcc"></label>
<label>Subject<br><input name="subject" value="Notes on the launch"></label>
<label>Text<br><textarea name="text" rows="4" cols="40">Let us begin with the landing page.</textarea></label>
<label>The sender is<br><select name="proof"><option value="pass">proven</option><option value="fail">not who they say</option>
<option value="none">not checked</option></select></label>
<button class="main">Send</button></form>
<h2>Push</h2>
<form method="post" action="${base}/mail/push" class="choice">${who}
<span>Push is ${isOn ? "on" : "off"}; this mailbox is watched for ${gmail.watches(email).length} projects.</span>
<button name="wish" value="${isOn ? "off" : "on"}">Turn it ${isOn ? "off" : "on"}</button></form>
<h2>The last mails</h2>
<div class="scroll"><table><thead><tr><th scope="col">When</th><th scope="col">What</th><th scope="col">Labels</th><th scope="col">Do</th></tr></thead>
<tbody>${rows}</tbody></table></div>`,
    "wide",
  );
}
