import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { openBrowser } from "../sandbox/google/browser.ts";
import { temporaryFolder } from "./harness.ts";

// The README's first command as a newcomer meets it: started, signed in to, sent bad input, and stopped by Ctrl-C.
// `node test/sandbox-run.ts` says what it saw.

const email = "ana@example.com";
using folder = temporaryFolder();

// The usual port is taken on purpose: the sandbox must say so and go elsewhere.
const squatter = createServer().listen(0, "127.0.0.1");
await once(squatter, "listening");
const address = squatter.address();
const port = typeof address === "object" && address ? address.port : 0;

const startedAt = performance.now();
const sandbox = spawn(
  "npx",
  ["daybook", "sandbox", "--port", String(port), "--data-dir", folder.path],
  {
    stdio: ["ignore", "pipe", "inherit"],
    detached: true,
  },
);
let output = "";
let seen = 0;
sandbox.stdout.on("data", (text) => {
  output += String(text);
});
const exited = once(sandbox, "exit");
while (!output.includes("Ctrl-C")) {
  assert.equal(sandbox.exitCode, null, `the sandbox ended:\n${output}`);
  assert.ok(performance.now() - startedAt < 30_000, `the sandbox is not ready:\n${output}`);
  await sleep(20);
}
const readyAfter = performance.now() - startedAt;
saw(`ready after ${(readyAfter / 1000).toFixed(1)} s`);
assert.match(output, new RegExp(`Port ${port} is taken`));
const url = /Console +(\S+)/.exec(output)?.[1] ?? "";

try {
  assert.equal(output.match(/PostgreSQL is starting/g)?.length, 1, output);
  const health = await fetch(`${url}/health`);
  assert.equal(health.status, 200);
  saw("healthy");

  const cookies = await signIn();
  const me = await call("GET", "/api/v1/me", cookies);
  assert.equal(me.body.user.email, email);
  saw("signed in at the sandbox Google");

  const eventsOf = async () =>
    (await list(`/api/v1/calendar/events?limit=200`, cookies)).map(({ title }) => title);
  await until(async () => (await eventsOf()).includes("Stand-up"));
  saw("the week is there");
  const form = { person: email, summary: "Quick call", minutes: "30" };
  const addedAt = performance.now();
  await fetch(`${url}/sandbox/google/calendar/add`, {
    method: "POST",
    body: new URLSearchParams({ ...form, start: soon() }),
    redirect: "manual",
  });
  await until(async () => (await eventsOf()).includes("Quick call"));
  const ms = Math.round(performance.now() - addedAt);
  assert.ok(ms < 2_000, `${ms} ms`);
  saw(`an event added at the sandbox Google is here after ${ms} ms, by push`);
  await fetch(`${url}/sandbox/google/calendar/push`, {
    method: "POST",
    body: new URLSearchParams({ person: email, wish: "off" }),
    redirect: "manual",
  });
  await fetch(`${url}/sandbox/google/calendar/add`, {
    method: "POST",
    body: new URLSearchParams({ ...form, summary: "Found by polling", start: soon() }),
    redirect: "manual",
  });
  await call("POST", `/api/v1/calendar/sync/${me.body.user.id}?wait=true`, cookies);
  assert.ok((await eventsOf()).includes("Found by polling"));
  saw("with push off, a look finds it");

  await call("POST", "/api/v1/user/username", cookies, JSON.stringify({ username: "ana" }));
  const project = await call("POST", "/api/v1/projects", cookies, '{"name":"New"}');
  const summary = {
    project_name: "Landing page",
    overview: "What a client sees first.",
    keywords: ["Landing page"],
  };
  const onboarded = await call(
    "POST",
    "/api/v1/ai/project-onboarding?wait=true",
    cookies,
    JSON.stringify({ project_id: project.body.id, summary }),
  );
  assert.equal(onboarded.status, 200);
  saw("a project was described in a form, and its metadata drafted");
  const sentAt = performance.now();
  await fetch(`${url}/sandbox/google/mail/send`, {
    method: "POST",
    body: new URLSearchParams({
      person: email,
      from: "client@example.net",
      to: `${email}, ai+ana@example.com`,
      subject: "Notes on the launch",
      text: "The landing page comes first.",
    }),
    redirect: "manual",
  });
  const filed = async () =>
    (await list("/api/v1/documents", cookies)).find(
      ({ project_name }) => project_name === "Landing page",
    );
  await until(async () => (await filed()) !== undefined);
  const mailMs = Math.round(performance.now() - sentAt);
  assert.ok(mailMs < 3_000, `${mailMs} ms`);
  assert.equal((await filed())?.title, "Notes on the launch");
  saw(`a mail to the assistant is a document in its project after ${mailMs} ms`);

  await fetch(`${url}/sandbox/attendee/_control/settings`, {
    method: "PATCH",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ speed: 5 }),
  });
  const invitedAt = performance.now();
  await fetch(`${url}/sandbox/google/_control/calendar/events`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      person: email,
      event: {
        summary: "Stand-up",
        location: "https://meet.google.com/abc-defg-hij",
        start: { dateTime: new Date().toISOString() },
        end: { dateTime: new Date(Date.now() + 600_000).toISOString() },
        attendees: [{ email }, { email: "ai+ana@example.com" }],
      },
    }),
  });
  const transcript = async () =>
    (await list("/api/v1/documents?type=meeting_transcript", cookies)).find(
      ({ title }) => title === "Stand-up",
    );
  await call("POST", `/api/v1/calendar/sync/${me.body.user.id}?wait=true`, cookies);
  await until(async () => (await transcript()) !== undefined, 60_000);
  const meetingMs = Math.round(performance.now() - invitedAt);
  saw(
    `a meeting at five times its speed that the assistant was invited to is a transcript after ${meetingMs} ms`,
  );

  const files = await (
    await fetch(`${url}/sandbox/google/_control/drive/files?person=${email}`)
  ).json();
  const plan = (files as { files: { id: string; name: string }[] }).files.find(
    ({ name }) => name === "Plan of the launch",
  );
  await call("POST", "/api/v1/drive/subscribe", cookies, JSON.stringify({ file_id: plan?.id }));
  const planNow = async () =>
    (await list("/api/v1/documents?source=drive", cookies)).find(
      ({ title }) => title === "Plan of the launch",
    );
  await until(async () => (await planNow())?.summary != null);
  const editedAt = performance.now();
  await fetch(`${url}/sandbox/google/drive/edit`, {
    method: "POST",
    body: new URLSearchParams({
      person: email,
      id: plan?.id ?? "",
      text: "# The film comes first",
    }),
    redirect: "manual",
  });
  await until(async () => (await planNow())?.summary === "# The film comes first");
  const fileMs = Math.round(performance.now() - editedAt);
  assert.ok(fileMs < 3_000, `${fileMs} ms`);
  saw(`an edit of a file of Drive is in its document after ${fileMs} ms`);

  for (const [path, body, status] of [
    ["/api/v1/auth/google/token/exchange", "{broken", 400],
    ["/api/v1/auth/google/token/refresh", JSON.stringify({ user_id: 7 }), 422],
    ["/api/v1/auth/google/token/exchange", JSON.stringify({ code: "x".repeat(2_000_000) }), 413],
  ] as const) {
    const answer = await call("POST", path, cookies, body);
    assert.equal(answer.status, status);
    assert.equal(answer.body.status, status);
  }
  saw("three kinds of bad input refused");
} finally {
  const stoppingAt = performance.now();
  process.kill(-(sandbox.pid ?? 0), "SIGINT");
  await exited;
  saw(`closed after ${((performance.now() - stoppingAt) / 1000).toFixed(1)} s`);
  assert.ok(performance.now() - stoppingAt < 5_000);
  squatter.close();
}
process.stdout.write(`sandbox: ${seen} passed, 0 failed\n`);

async function signIn(): Promise<string> {
  const begun = await fetch(`${url}/api/v1/auth/google/login`, { redirect: "manual" });
  const browser = begun.headers.getSetCookie()[0]?.split(";")[0] ?? "";
  const back = await openBrowser().consent(begun.headers.get("location") ?? "", { person: email });
  const answer = await fetch(back, { redirect: "manual", headers: { cookie: browser } });
  return answer.headers.getSetCookie()[0]?.split(";")[0] ?? "";
}

async function call(method: string, path: string, cookie: string, body?: string) {
  const answer = await fetch(url + path, {
    method,
    headers: { cookie, origin: url, ...(body ? { "content-type": "application/json" } : {}) },
    ...(body ? { body } : {}),
  });
  const answered = (await answer.json()) as {
    id?: string;
    status?: number;
    user?: { id: string; email: string };
  };
  return {
    status: answer.status,
    body: {
      id: answered.id,
      status: answered.status,
      user: answered.user ?? { id: "", email: "" },
    },
  };
}

/** In an hour, on the clocks of the sandbox's people. */
function soon(): string {
  const text = new Date(Date.now() + 3_600_000).toLocaleString("sv-SE", {
    timeZone: "Europe/Berlin",
  });
  return text.slice(0, 16).replace(" ", "T");
}

type Item = { title: string; project_name?: string; summary?: string | null };

async function list(path: string, cookie: string): Promise<Item[]> {
  const answer = await fetch(url + path, { headers: { cookie } });
  return ((await answer.json()) as { items: Item[] }).items;
}

async function until(condition: () => Promise<boolean>, patienceMs = 15_000): Promise<void> {
  for (const deadline = Date.now() + patienceMs; !(await condition()); await sleep(50)) {
    assert.ok(Date.now() < deadline, `it did not come true within ${patienceMs / 1000} seconds`);
  }
}

function saw(what: string): void {
  seen += 1;
  process.stdout.write(`✔ ${what}\n`);
}
