import { sql } from "kysely";
import { grantNotices } from "./accounts/grant-health.ts";
import { countSealed } from "./accounts/reseal.ts";
import { type App, openApp } from "./app.ts";
import { type Config, ConfigError, loadConfig } from "./config.ts";
import { ProviderError } from "./lib/errors.ts";
import { openRedis } from "./lib/limits.ts";
import { openLog } from "./lib/log.ts";
import { attendeeAccess } from "./meetings/bot-tending.ts";
import { findBots } from "./providers/attendee.ts";
import { examineClient } from "./providers/google/oauth.ts";
import { queueHealth } from "./queue/queue.ts";

/** One thing looked at: whether it is well, and if not, what is wrong and how to mend it. */
export type Finding = { ok: boolean; subject: string; text: string };

/** Looks at everything that Daybook needs, as far as what it finds lets it. Changes nothing but the tables' version. */
export async function examine(environment: NodeJS.ProcessEnv): Promise<Finding[]> {
  const findings: Finding[] = [];
  const config = examineConfig(environment, findings);
  if (!config) return findings;
  await examineDatabase(config, findings);
  await examineRedis(config, findings);
  await examineGoogle(config, findings);
  examineWorkflow(config, findings);
  await examineModel(config, findings);
  await examineAttendee(config, findings);
  await examinePublicUrl(config, findings);
  return findings;
}

function examineConfig(environment: NodeJS.ProcessEnv, findings: Finding[]): Config | null {
  try {
    const config = loadConfig(environment);
    findings.push({ ok: true, subject: "configuration", text: "every value can be used" });
    return config;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const text = `${error.message}\n  Each variable is explained in .env.example.`;
    findings.push({ ok: false, subject: "configuration", text });
    return null;
  }
}

async function examineDatabase(config: Config, findings: Finding[]): Promise<void> {
  try {
    await using app = await openApp(config, { log: openLog("silent") });
    const { rows } = await sql<{ server_version: string }>`show server_version`.execute(app.db);
    const where = app.embedded
      ? `our own, in ${config.dataDir}; while Daybook runs, look inside with: ${app.embedded.psql}`
      : "yours";
    findings.push({
      ok: true,
      subject: "database",
      text: `PostgreSQL ${rows[0]?.server_version}, ${where}`,
    });
    await examineQueue(app, findings);
    await examineSeals(app, findings);
    await examineMail(app, findings);
    for (const { text } of await grantNotices(app))
      findings.push({ ok: false, subject: "Google", text });
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    findings.push({ ok: false, subject: "database", text });
  }
}

// Without Redis limits are kept in each process; that one was named and is not there, its operator wants to know.
async function examineRedis({ redisUrl }: Config, findings: Finding[]): Promise<void> {
  if (!redisUrl) return;
  const redis = await openRedis(redisUrl, openLog("silent"));
  const ok = await redis.ping().then(
    () => true,
    () => false,
  );
  redis.disconnect();
  const text = ok
    ? "it lets all processes share their limits"
    : "it does not answer, so that each process keeps limits of its own: check REDIS_URL";
  findings.push({ ok, subject: "Redis", text });
}

// Without a workflow the rules here decide; without its secret neither side can tell who speaks.
function examineWorkflow({ n8n }: Config, findings: Finding[]): void {
  const isSet = n8n.classificationUrl !== null || n8n.driveSyncUrl !== null;
  const isSigned = n8n.secret !== null;
  if (!isSet) return;
  const text = isSigned
    ? "what passes between Daybook and n8n is signed"
    : "N8N_WEBHOOK_SECRET is missing: what is sent is not signed, and what n8n answers is refused";
  findings.push({ ok: isSigned, subject: "workflow", text });
}

async function examineQueue(app: App, findings: Finding[]): Promise<void> {
  const { waiting, oldestWaitingSeconds, dead } = await queueHealth(app.queue);
  const isLate = oldestWaitingSeconds > 300;
  const text = isLate
    ? `a job has waited for ${Math.round(oldestWaitingSeconds)} s: is a worker running (\`npx daybook worker\`)?`
    : `${waiting} jobs waiting, ${dead} given up`;
  findings.push({ ok: !isLate, subject: "queue", text });
}

async function examineSeals(app: App, findings: Finding[]): Promise<void> {
  const { total, old, unknown } = await countSealed(app);
  if (unknown > 0) {
    const text = `${unknown} of ${total} connections are sealed with another ENCRYPTION_KEY: set ENCRYPTION_KEY_PREVIOUS to it, or have these people sign in again`;
    findings.push({ ok: false, subject: "tokens", text });
    return;
  }
  const done = app.config.keyring.previous.length > 0 ? "; ENCRYPTION_KEY_PREVIOUS can go" : "";
  const progress = old > 0 ? `; ${old} still carry the previous key and are being resealed` : done;
  findings.push({ ok: true, subject: "tokens", text: `${total} connections, sealed${progress}` });
}

// Mail works without any of this, only later or from fewer people; what is half set up works not at all.
async function examineMail({ db, config }: App, findings: Finding[]): Promise<void> {
  const subject = "mail";
  const say = (ok: boolean, text: string) => findings.push({ ok, subject, text });
  const address = config.virtualEmailAddress;
  if (!address) {
    say(true, "no VIRTUAL_EMAIL_ADDRESS: the assistant has no address, and no mailbox is read");
    return;
  }
  const mailbox = await db
    .selectFrom("feeds")
    .innerJoin("users", "users.id", "feeds.user_id")
    .select(["feeds.failures", "feeds.last_error"])
    .where("feeds.kind", "=", "gmail")
    .where("feeds.state", "=", "active")
    .where("users.role", "=", "assistant")
    .executeTakeFirst();
  if (mailbox?.last_error) say(false, `the assistant's mailbox ${address}: ${mailbox.last_error}`);
  else if (mailbox) say(true, `the assistant's mailbox ${address} is connected`);
  else {
    const text = `the assistant's own mailbox is not connected: its mail counts only where people's own mailboxes show it. \`npx daybook connect-mailbox\` connects ${address}`;
    say(true, text);
  }
  const problem = pubsubProblem(config);
  if (problem) say(false, problem);
  else say(true, config.google.pubsub.topic ? "push is set up" : "no Pub/Sub topic: it is polled");
}

function pubsubProblem({ google, publicUrl, pushUrl }: Config): string | null {
  const { topic, serviceAccount, subscription } = google.pubsub;
  if (!topic) {
    return serviceAccount || subscription
      ? "GOOGLE_PUBSUB_TOPIC is missing: Gmail is not told to publish anything"
      : null;
  }
  const project = topic.split("/")[1];
  if (google.projectId && project !== google.projectId) {
    return `GOOGLE_PUBSUB_TOPIC is in ${project}, the OAuth client in ${google.projectId}: Gmail publishes only within one project`;
  }
  if (subscription) {
    return google.serviceAccount
      ? null
      : "GOOGLE_PUBSUB_SUBSCRIPTION is pulled by a service account: set GOOGLE_SERVICE_ACCOUNT_EMAIL and its key";
  }
  if (!pushUrl) {
    return `nothing can reach ${publicUrl ?? "this Daybook"} by https: set PUBLIC_URL, or GOOGLE_PUBSUB_SUBSCRIPTION to pull`;
  }
  return serviceAccount
    ? null
    : "GOOGLE_PUBSUB_SERVICE_ACCOUNT is missing: every push is refused. Set it to the account that the push subscription signs with";
}

// Without a model everything works but drafting.
async function examineModel({ openai }: Config, findings: Finding[]): Promise<void> {
  const say = (ok: boolean, text: string) => findings.push({ ok, subject: "model", text });
  const { apiKey, ...rest } = openai;
  if (!apiKey) {
    say(true, "no OPENAI_API_KEY: metadata of projects is written by hand");
    return;
  }
  try {
    const { listModels } = await import("./providers/openai.ts");
    const models = await listModels({ apiKey, ...rest });
    const isThere = models === null || models.includes(rest.model);
    if (isThere) say(true, `${rest.model} drafts metadata`);
    else say(false, `the provider does not list ${rest.model} for this key: check OPENAI_MODEL`);
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    say(false, `${error.message}: check OPENAI_API_KEY, and OPENAI_BASE_URL if it is set`);
  }
}

// Without bots everything works but meetings' transcripts.
async function examineAttendee(
  { attendee, publicUrl }: Config,
  findings: Finding[],
): Promise<void> {
  const say = (ok: boolean, text: string) => findings.push({ ok, subject: "bots", text });
  const access = attendeeAccess({ attendee });
  if (!access) {
    say(true, "no MASTER_ATTENDEE_API_KEY: no bots are sent to meetings");
    return;
  }
  try {
    await findBots(access, "daybook-doctor");
    const isHeard = attendee.webhookSecret !== null && publicUrl?.startsWith("https://");
    const how = isHeard ? "its webhooks are heard" : "it is polled";
    say(true, `Attendee answers, and ${how}`);
    if (!attendee.webhookSecret) {
      say(
        true,
        "no ATTENDEE_WEBHOOK_SECRET: bots are followed by polling alone, up to two minutes late",
      );
    }
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    say(
      false,
      `${error.message}: check MASTER_ATTENDEE_API_KEY, and ATTENDEE_API_URL if it is set`,
    );
  }
}

async function examineGoogle(config: Config, findings: Finding[]): Promise<void> {
  try {
    await examineClient(config.google);
    findings.push({
      ok: true,
      subject: "Google",
      text: "the OAuth client is known and its secret is right",
    });
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    const isRefused = error.reason === "invalid_client" || error.reason === "unauthorized_client";
    const text = isRefused
      ? "Google refuses GOOGLE_CLIENT_ID or GOOGLE_CLIENT_SECRET: copy both anew from the Google Cloud console, Clients"
      : `Google could not be asked (${error.reason}): check the network, and GOOGLE_API_URL if it is set`;
    findings.push({ ok: false, subject: "Google", text });
  }
}

async function examinePublicUrl(config: Config, findings: Finding[]): Promise<void> {
  const subject = "public URL";
  if (!config.publicUrl?.startsWith("https://")) {
    const text =
      "no https PUBLIC_URL: push stays off and polling carries all, which is slower but complete";
    findings.push({ ok: true, subject, text });
    return;
  }
  const answer = await fetch(`${config.publicUrl}/live`, {
    signal: AbortSignal.timeout(5_000),
  }).catch(() => null);
  findings.push(
    answer?.ok
      ? { ok: true, subject, text: `${config.publicUrl} answers` }
      : {
          ok: false,
          subject,
          text: `${config.publicUrl}/live does not answer (${answer?.status ?? "no connection"}): is the server running, and does the proxy pass it on?`,
        },
  );
}
