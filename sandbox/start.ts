import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { Client } from "pg";
import { build } from "vite";
import { connectDelegatedMailbox, ensureAssistant } from "../src/accounts/assistant.ts";
import { loadConfig } from "../src/config.ts";
import { startEmbedded } from "../src/db/embedded.ts";
import { openLog } from "../src/lib/log.ts";
import { randomToken } from "../src/lib/secrets.ts";
import { serve } from "../src/serve.ts";
import { mailboxPushPath } from "../src/sync/mailbox-notifications.ts";
import { openSandboxAttendee } from "./attendee/attendee.ts";
import { seedCalendars } from "./google/calendar/seeds.ts";
import { seedDrive } from "./google/drive/seeds.ts";
import { seedMails } from "./google/gmail/seeds.ts";
import { usualTopic } from "./google/pubsub.ts";
import { openSandboxGoogle } from "./google/server.ts";
import { openSandboxN8n } from "./n8n/n8n.ts";
import { openSandboxOpenAI } from "./openai/openai.ts";

type Options = { port: number; dataDir: string; say: (line: string) => void };

const googlePath = "/sandbox/google";
const n8nPath = "/sandbox/n8n";
const openaiPath = "/sandbox/openai";
const attendeePath = "/sandbox/attendee";
// So that the steps of an onboarding can be seen.
const draftingMs = 700;
const pubsub = {
  subscription: "projects/sandbox-project/subscriptions/daybook",
  serviceAccount: "pubsub-push@sandbox-project.example.com",
};

/**
 * Runs all of Daybook on one port, against stand-ins of its providers beside it. All begin anew each time: what the sandbox
 * Google granted ends with it. Says what it does, and at last where to look.
 */
export async function startSandbox({
  port: wantedPort,
  dataDir,
  say,
}: Options): Promise<AsyncDisposable> {
  const startedAt = performance.now();
  await using opened = new AsyncDisposableStack();
  const log = openLog("warn");
  const port = await freePort(wantedPort);
  if (port !== wantedPort) say(`Port ${wantedPort} is taken; ${port} is used instead.`);
  const url = `http://localhost:${port}`;

  const onProgress = (step: string) => say(`… ${step}`);
  const onStarting = () => onProgress("PostgreSQL is starting");
  const embedded = opened.use(await startEmbedded(dataDir, log, { onStarting }));
  await beginAnew(embedded.url);
  onProgress("the sandbox Google is opening");
  const callback = `${url}/api/v1/auth/google/oauth/callback`;
  const google = opened.use(
    await openSandboxGoogle({
      baseUrl: url + googlePath,
      redirectUris: [callback],
      neighbours: [{ name: "Meetings", url: `${url}${attendeePath}/` }],
    }),
  );
  seedCalendars(google.calendar);
  await seedMails(google.gmail);
  seedDrive(google.drive);
  const endpoint = `${url}${mailboxPushPath}`;
  google.pubsub.subscribe({
    name: pubsub.subscription,
    topic: usualTopic,
    push: { endpoint, audience: url, serviceAccount: pubsub.serviceAccount },
  });
  const n8nSecret = randomToken();
  const n8n = opened.use(
    await openSandboxN8n({
      baseUrl: url + n8nPath,
      secret: n8nSecret,
      answerTo: `${url}/api/v1/webhooks/classification`,
      clock: google.clock,
    }),
  );
  const openai = opened.use(await openSandboxOpenAI({ baseUrl: url + openaiPath }));
  openai.settings.delayMs = draftingMs;
  const attendee = opened.use(
    await openSandboxAttendee({
      baseUrl: `${url}${attendeePath}/api/v1`,
      clock: google.clock,
      webhooks: [
        {
          url: `${url}/api/v1/webhooks/attendee`,
          triggers: [
            "bot.state_change",
            "transcript.update",
            "chat_messages.update",
            "participant_events.join_leave",
          ],
        },
      ],
    }),
  );
  await ensureConsole(onProgress);
  const config = loadConfig({
    GOOGLE_CLIENT_ID: google.client.id,
    GOOGLE_CLIENT_SECRET: google.client.secret,
    GOOGLE_API_URL: google.url,
    GOOGLE_SERVICE_ACCOUNT_EMAIL: google.serviceAccount.email,
    GOOGLE_SERVICE_ACCOUNT_PRIVATE_KEY: google.serviceAccount.privateKey,
    GOOGLE_SERVICE_ACCOUNT_KEY_ID: google.serviceAccount.keyId,
    GOOGLE_PUBSUB_TOPIC: usualTopic,
    GOOGLE_PUBSUB_AUDIENCE: url,
    GOOGLE_PUBSUB_SERVICE_ACCOUNT: pubsub.serviceAccount,
    VIRTUAL_EMAIL_ADDRESS: "ai@example.com",
    N8N_CLASSIFICATION_WEBHOOK_URL: n8n.webhookUrl,
    N8N_DRIVESYNC_WEBHOOK_URL: n8n.driveSyncUrl,
    N8N_WEBHOOK_SECRET: n8nSecret,
    N8N_ALLOW_PRIVATE: "true",
    MASTER_ATTENDEE_API_KEY: attendee.key,
    ATTENDEE_API_URL: attendee.url,
    ATTENDEE_WEBHOOK_SECRET: attendee.webhookSecret,
    OPENAI_API_KEY: openai.key,
    OPENAI_BASE_URL: openai.url,
    DATA_DIR: dataDir,
    PORT: String(port),
    PUBLIC_URL: url,
    LOG_LEVEL: "warn",
  });
  const mounts = [
    { path: googlePath, handler: google.handler },
    { path: n8nPath, handler: n8n.handler },
    { path: openaiPath, handler: openai.handler },
    { path: attendeePath, handler: attendee.handler },
  ];
  const { app } = opened.use(await serve(config, { log, clock: google.clock, onProgress, mounts }));
  const assistant = await ensureAssistant(app);
  await connectDelegatedMailbox(app, { userId: assistant.id, mailbox: assistant.email });

  say(
    [
      "",
      `Daybook is ready, after ${((performance.now() - startedAt) / 1000).toFixed(1)} s.`,
      "",
      `  Console          ${url}`,
      `  API              ${url}/docs`,
      `  Sandbox Google   ${google.url}/`,
      `  Its calendars    ${google.url}/calendar`,
      `  Its mail         ${google.url}/mail`,
      `  Its Drive        ${google.url}/drive`,
      `  Meetings         ${url}${attendeePath}/`,
      `  Database         ${embedded.psql}`,
      `  Service key      in ${join(dataDir, "secrets.json")}`,
      "",
      "Sign in as one of the made-up people. Ctrl-C stops everything.",
    ].join("\n"),
  );
  return opened.move();
}

// Another sandbox on the same folder keeps its data; the two then share it.
async function beginAnew(url: string): Promise<void> {
  const client = new Client({ connectionString: url.replace("/daybook?", "/postgres?") });
  await client.connect();
  try {
    const { rowCount } = await client.query(
      "select from pg_stat_activity where application_name = 'daybook presence'",
    );
    if (rowCount !== 1) return;
    await client.query("drop database daybook with (force)");
    await client.query("create database daybook");
  } finally {
    await client.end();
  }
}

// `npm ci` builds the console; an installation without scripts has left it out.
async function ensureConsole(onProgress: (step: string) => void): Promise<void> {
  const root = join(import.meta.dirname, "..", "console");
  if (existsSync(join(root, "dist", "index.html"))) return;
  onProgress("the console is being built");
  await build({ root, logLevel: "warn" });
}

async function freePort(wanted: number): Promise<number> {
  const tryPort = async (port: number): Promise<number | null> => {
    const { promise, resolve } = Promise.withResolvers<number | null>();
    const probe = createServer();
    probe.on("error", () => resolve(null));
    probe.listen(port, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === "object" && address ? address.port : null));
    });
    return promise;
  };
  const port = (await tryPort(wanted)) ?? (await tryPort(0));
  if (port === null) throw new Error("No port is free on 127.0.0.1");
  return port;
}
