import { createPrivateKey } from "node:crypto";
import { existsSync, linkSync, mkdirSync, readFileSync, unlinkSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { z } from "zod";
import { type Keyring, randomToken, type Secret, sealingKey, secretText } from "./lib/secrets.ts";

const quota = z.coerce.number().int().min(1).max(10_000_000);
const text = z.string().trim().min(1);
const secret = text.min(16, "must have at least 16 characters");
// Environment files often carry the key on one line, with line ends written as two characters.
const privateKey = text
  .transform((key) => key.replaceAll("\\n", "\n"))
  .refine(isPrivateKey, "must be a private key in PEM, as Google's JSON file has it");
const address = z.url({ protocol: /^https?$/, error: "must be an http(s) URL" });
// As a browser names it: lower case, without the port that goes without saying.
const origin = address
  .refine(isOrigin, "must be an origin such as https://daybook.example.com, without a path")
  .transform((url) => new URL(url).origin);
const origins = z
  .string()
  .transform((value) => value.split(",").flatMap((item) => item.trim() || []))
  .pipe(z.array(origin));
const yesNo = z
  .enum(["true", "false", "1", "0", "yes", "no"])
  .transform((value) => value === "true" || value === "1" || value === "yes");

/** Every variable that Daybook reads, each with the sentence that `.env.example` repeats. */
export const variables = z.object({
  GOOGLE_CLIENT_ID: text.describe("The OAuth client that people sign in through."),
  GOOGLE_CLIENT_SECRET: text.describe("The secret of that OAuth client."),
  GOOGLE_LOGIN_REDIRECT_URI: address
    .optional()
    .describe(
      "Where Google sends people back to; by default PUBLIC_URL (or http://localhost:PORT) with /api/v1/auth/google/oauth/callback.",
    ),
  GOOGLE_API_URL: address
    .optional()
    .describe(
      "One origin that answers all of Google's paths in place of Google's own hosts, such as the sandbox.",
    ),
  GOOGLE_SERVICE_ACCOUNT_EMAIL: z
    .email()
    .optional()
    .describe(
      "Optional service account, for files shared with it and for mailboxes by domain-wide delegation.",
    ),
  GOOGLE_SERVICE_ACCOUNT_PRIVATE_KEY: privateKey
    .optional()
    .describe("Its PKCS#8 private key; line ends may be written as \\n."),
  GOOGLE_SERVICE_ACCOUNT_KEY_ID: text.optional().describe("The id of that key."),
  GOOGLE_PROJECT_ID: text
    .optional()
    .describe("The Google Cloud project of the OAuth client and the Pub/Sub topic."),
  GOOGLE_CALENDAR_USER_QUOTA: quota
    .default(600)
    .describe("Calls a minute that Google Calendar allows each account; Daybook uses four fifths."),
  GOOGLE_CALENDAR_PROJECT_QUOTA: quota
    .default(10_000)
    .describe("Calls a minute that Google Calendar allows the whole project."),
  GOOGLE_GMAIL_USER_QUOTA: quota
    .default(6_000)
    .describe("Quota units a minute that Gmail allows each mailbox; Daybook uses four fifths."),
  GOOGLE_GMAIL_PROJECT_QUOTA: quota
    .default(1_200_000)
    .describe("Quota units a minute that Gmail allows the whole project."),
  GOOGLE_DRIVE_USER_QUOTA: quota
    .default(325_000)
    .describe(
      "Quota units a minute that Google Drive allows each account; Daybook uses four fifths.",
    ),
  GOOGLE_DRIVE_PROJECT_QUOTA: quota
    .default(1_000_000)
    .describe("Quota units a minute that Google Drive allows the whole project."),
  GOOGLE_PUBSUB_TOPIC: text
    .regex(/^projects\/[^/]+\/topics\/[^/]+$/, "must look like projects/NAME/topics/NAME")
    .optional()
    .describe("The topic that Gmail publishes to; without it mail is found by polling."),
  GOOGLE_PUBSUB_AUDIENCE: text
    .optional()
    .describe("The audience that Pub/Sub's push tokens must carry."),
  GOOGLE_PUBSUB_SERVICE_ACCOUNT: z
    .email()
    .optional()
    .describe("The service account that signs Pub/Sub's push tokens."),
  GOOGLE_PUBSUB_SUBSCRIPTION: text
    .regex(
      /^projects\/[^/]+\/subscriptions\/[^/]+$/,
      "must look like projects/NAME/subscriptions/NAME",
    )
    .optional()
    .describe("A subscription to pull from, where Pub/Sub cannot reach us."),
  VIRTUAL_EMAIL_ADDRESS: z
    .email()
    .optional()
    .describe("The assistant's address, such as ai@example.com; people get ai+name@example.com."),
  PREFERRED_MEETING_LINK: z
    .enum(["structured", "text"])
    .default("structured")
    .describe(
      "Which link counts where Google has added Meet and the text leads elsewhere: structured (Google's) or text.",
    ),
  MASTER_ATTENDEE_API_KEY: text
    .optional()
    .describe("The key of the Attendee API, which sends bots to meetings."),
  ATTENDEE_API_URL: address
    .optional()
    .describe("Where the Attendee API is, if not at its own address."),
  ATTENDEE_WEBHOOK_SECRET: text
    .optional()
    .describe("The secret that Attendee signs its webhooks with."),
  OPENAI_API_KEY: text
    .optional()
    .describe("The key of the OpenAI API, which drafts a project's metadata."),
  OPENAI_BASE_URL: address.optional().describe("Another server that speaks the same protocol."),
  OPENAI_MODEL: text
    .default("gpt-4o-mini")
    .describe("The model that drafts; it should know structured outputs."),
  OPENAI_API_STYLE: z
    .enum(["responses", "chat"])
    .optional()
    .describe(
      "Which of OpenAI's two protocols is spoken; by default responses, and chat where OPENAI_BASE_URL is set.",
    ),
  OPENAI_STRUCTURED: z
    .enum(["json_schema", "json_object", "none"])
    .default("json_schema")
    .describe(
      "How the model is held to the form of its answer; servers that know no schema need less.",
    ),
  OPENAI_TIMEOUT_SECONDS: z.coerce
    .number()
    .int()
    .min(1)
    .max(600)
    .default(60)
    .describe("How long one answer of the model may take."),
  OPENAI_USER_QUOTA: quota
    .default(25)
    .describe("Questions a minute that one user may cause; Daybook uses four fifths."),
  OPENAI_PROJECT_QUOTA: quota
    .default(500)
    .describe("Questions a minute that all users may cause together."),
  N8N_CLASSIFICATION_WEBHOOK_URL: address
    .optional()
    .describe("The n8n workflow that classifies documents."),
  N8N_DRIVESYNC_WEBHOOK_URL: address
    .optional()
    .describe("The n8n workflow that takes changed files."),
  N8N_ALLOW_PRIVATE: yesNo
    .default(false)
    .describe("Whether the n8n addresses may be in a private network, or on this machine."),
  N8N_WEBHOOK_SECRET: text
    .optional()
    .describe("The secret that signs what passes between Daybook and n8n."),
  REDIS_URL: z
    .url({ protocol: /^rediss?$/, error: "must be a redis:// URL" })
    .optional()
    .describe("Optional Redis, which shares rate limits between processes."),
  CELERY_BROKER_URL: text
    .optional()
    .describe("Of older set-ups; not used, the queue lives in PostgreSQL."),
  CELERY_RESULT_BACKEND: text
    .optional()
    .describe("Of older set-ups; not used, the queue lives in PostgreSQL."),
  DATABASE_URL: z
    .url({ protocol: /^postgres(ql)?$/, error: "must be a postgresql:// URL" })
    .optional()
    .describe("Your PostgreSQL (15 or newer); without it Daybook starts its own in DATA_DIR."),
  DATA_DIR: text
    .default(".daybook")
    .describe("The folder of the embedded PostgreSQL and of the secrets made for it."),
  PUBLIC_URL: origin
    .optional()
    .describe(
      "Where providers and people reach us; without an https one push stays off and polling carries all.",
    ),
  SERVICE_KEY: secret
    .optional()
    .describe(
      "The bearer token of schedulers and operators; made on a first embedded run, required with DATABASE_URL.",
    ),
  ENCRYPTION_KEY: secret
    .optional()
    .describe(
      "Seals Google's tokens in the database; made on a first embedded run, required with DATABASE_URL.",
    ),
  ENCRYPTION_KEY_PREVIOUS: secret
    .optional()
    .describe(
      "The key before ENCRYPTION_KEY, until `daybook reseal` or the background job has resealed all rows.",
    ),
  SESSION_SECRET: secret
    .optional()
    .describe(
      "Keys the digests of session tokens; made on a first embedded run, required with DATABASE_URL.",
    ),
  SUPABASE_JWT_SECRET: secret
    .optional()
    .describe("Accepts user tokens that an existing Supabase project signs with HS256."),
  SUPABASE_JWKS_URL: address
    .optional()
    .describe("Accepts user tokens that an existing Supabase project signs with its own keys."),
  PORT: z.coerce
    .number()
    .int()
    .min(0)
    .max(65535)
    .default(4400)
    .describe("The port of API and console."),
  HOST: text.default("127.0.0.1").describe("The address to listen on; 0.0.0.0 for all."),
  ROLE: z
    .enum(["all", "api", "worker"])
    .default("all")
    .describe("What this process does: all, api or worker."),
  LOG_LEVEL: z
    .enum(["trace", "debug", "info", "warn", "error", "fatal", "silent"])
    .default("info")
    .describe("The least severe log line that is written."),
  CORS_ORIGINS: origins
    .default([])
    .describe("Origins of other web apps that may call the API, separated by commas."),
  TRUST_PROXY: yesNo
    .default(false)
    .describe("Whether a proxy in front sets X-Forwarded-For and X-Forwarded-Proto."),
});

type Variables = z.infer<typeof variables>;

/** Everything that can be set, parsed and checked. Read once, at the start, and passed on from there. */
export type Config = ReturnType<typeof configOf>;

/** Says everything that is wrong with the environment, by name, in one message. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/**
 * Parses the environment. Without `DATABASE_URL`, missing secrets are made and kept in `DATA_DIR` (mode 600).
 *
 * @throws {ConfigError} listing every value that is missing or malformed.
 */
export function loadConfig(environment: NodeJS.ProcessEnv): Config {
  // An empty value in an .env file means "not set".
  const given = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ""));
  const parsed = variables.safeParse(given);
  const problems = parsed.success ? [] : parsed.error.issues.map(problemOf);
  if (given.DATABASE_URL) {
    for (const name of ownSecrets)
      if (!given[name]) problems.push(`${name} is required with DATABASE_URL`);
  }
  if (
    Boolean(given.GOOGLE_SERVICE_ACCOUNT_EMAIL) !==
    Boolean(given.GOOGLE_SERVICE_ACCOUNT_PRIVATE_KEY)
  ) {
    problems.push(
      "GOOGLE_SERVICE_ACCOUNT_EMAIL and GOOGLE_SERVICE_ACCOUNT_PRIVATE_KEY go together",
    );
  }
  if (!parsed.success || problems.length > 0) {
    throw new ConfigError(
      `The configuration is not usable:\n${problems.map((line) => `  ${line}`).join("\n")}`,
    );
  }
  return configOf(parsed.data);
}

const ownSecrets = ["SERVICE_KEY", "ENCRYPTION_KEY", "SESSION_SECRET"] as const;
const OwnSecrets = z.object({
  SERVICE_KEY: secret,
  ENCRYPTION_KEY: secret,
  SESSION_SECRET: secret,
});
type OwnSecrets = z.infer<typeof OwnSecrets>;

function problemOf(issue: z.core.$ZodIssue): string {
  const name = issue.path.join(".");
  const isMissing = issue.code === "invalid_type" && issue.message.endsWith("received undefined");
  return isMissing ? `${name} is missing` : `${name} ${issue.message}`;
}

// The secrets of an embedded run live beside the data that they protect, and like it belong to one person.
function ensureSecretsFile(dataDir: string): OwnSecrets {
  const file = join(dataDir, "secrets.json");
  const kept = z.preprocess(jsonOf, OwnSecrets).safeParse(readOrMake(file));
  if (!kept.success)
    throw new ConfigError(`${file} is damaged: restore it, or its sealed tokens are lost`);
  return kept.data;
}

function readOrMake(file: string): string {
  try {
    if (!existsSync(file)) makeSecretsFile(file);
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new ConfigError(`DATA_DIR cannot be used: ${(error as Error).message}`, { cause: error });
  }
}

function makeSecretsFile(file: string): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const made = Object.fromEntries(ownSecrets.map((name) => [name, randomToken()]));
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, `${JSON.stringify(made, null, 2)}\n`, { mode: 0o600 });
  // A link never replaces: of two processes that start at once, one makes the secrets and both use them.
  try {
    linkSync(draft, file);
  } catch (error) {
    if (!existsSync(file)) throw error;
  } finally {
    unlinkSync(draft);
  }
}

function jsonOf(text: unknown): unknown {
  try {
    return JSON.parse(String(text));
  } catch {
    return null;
  }
}

function configOf(given: Variables) {
  const dataDir = resolve(given.DATA_DIR);
  const kept = given.DATABASE_URL ? undefined : ensureSecretsFile(dataDir);
  const { SERVICE_KEY, ENCRYPTION_KEY, SESSION_SECRET } = OwnSecrets.parse({
    ...kept,
    ...Object.fromEntries(ownSecrets.flatMap((name) => (given[name] ? [[name, given[name]]] : []))),
  });
  const keyring: Keyring = {
    current: sealingKey(ENCRYPTION_KEY),
    previous: given.ENCRYPTION_KEY_PREVIOUS ? [sealingKey(given.ENCRYPTION_KEY_PREVIOUS)] : [],
  };
  const publicUrl = given.PUBLIC_URL ?? null;
  return {
    role: given.ROLE,
    host: given.HOST,
    port: given.PORT,
    publicUrl,
    pushUrl: pushUrlOf(publicUrl, given.GOOGLE_API_URL),
    corsOrigins: given.CORS_ORIGINS,
    trustProxy: given.TRUST_PROXY,
    logLevel: given.LOG_LEVEL,
    databaseUrl: given.DATABASE_URL ?? null,
    dataDir,
    redisUrl: given.REDIS_URL ?? null,
    usesCeleryVariables: Boolean(given.CELERY_BROKER_URL ?? given.CELERY_RESULT_BACKEND),
    serviceKey: secretText(SERVICE_KEY),
    sessionSecret: secretText(SESSION_SECRET),
    keyring,
    supabase: {
      jwtSecret: hidden(given.SUPABASE_JWT_SECRET),
      jwksUrl: given.SUPABASE_JWKS_URL ?? null,
    },
    google: {
      clientId: given.GOOGLE_CLIENT_ID,
      clientSecret: secretText(given.GOOGLE_CLIENT_SECRET),
      redirectUri:
        given.GOOGLE_LOGIN_REDIRECT_URI ??
        `${publicUrl ?? `http://localhost:${given.PORT}`}/api/v1/auth/google/oauth/callback`,
      apiUrl: given.GOOGLE_API_URL?.replace(/\/+$/, "") ?? null,
      projectId: given.GOOGLE_PROJECT_ID ?? null,
      serviceAccount: serviceAccountOf(given),
      calendarQuota: {
        perUser: given.GOOGLE_CALENDAR_USER_QUOTA,
        perProject: given.GOOGLE_CALENDAR_PROJECT_QUOTA,
      },
      gmailQuota: {
        perUser: given.GOOGLE_GMAIL_USER_QUOTA,
        perProject: given.GOOGLE_GMAIL_PROJECT_QUOTA,
      },
      driveQuota: {
        perUser: given.GOOGLE_DRIVE_USER_QUOTA,
        perProject: given.GOOGLE_DRIVE_PROJECT_QUOTA,
      },
      pubsub: {
        topic: given.GOOGLE_PUBSUB_TOPIC ?? null,
        audience: given.GOOGLE_PUBSUB_AUDIENCE ?? null,
        serviceAccount: given.GOOGLE_PUBSUB_SERVICE_ACCOUNT ?? null,
        subscription: given.GOOGLE_PUBSUB_SUBSCRIPTION ?? null,
      },
    },
    virtualEmailAddress: given.VIRTUAL_EMAIL_ADDRESS?.toLowerCase() ?? null,
    preferredLink: given.PREFERRED_MEETING_LINK,
    attendee: {
      apiKey: hidden(given.MASTER_ATTENDEE_API_KEY),
      apiUrl: given.ATTENDEE_API_URL ?? null,
      webhookSecret: hidden(given.ATTENDEE_WEBHOOK_SECRET),
    },
    openai: {
      apiKey: hidden(given.OPENAI_API_KEY),
      baseUrl: given.OPENAI_BASE_URL ?? null,
      model: given.OPENAI_MODEL,
      style: given.OPENAI_API_STYLE ?? (given.OPENAI_BASE_URL ? "chat" : "responses"),
      structured: given.OPENAI_STRUCTURED,
      timeoutMs: given.OPENAI_TIMEOUT_SECONDS * 1000,
    },
    openaiQuota: {
      perUser: given.OPENAI_USER_QUOTA,
      perProject: given.OPENAI_PROJECT_QUOTA,
    },
    n8n: {
      classificationUrl: given.N8N_CLASSIFICATION_WEBHOOK_URL ?? null,
      driveSyncUrl: given.N8N_DRIVESYNC_WEBHOOK_URL ?? null,
      secret: hidden(given.N8N_WEBHOOK_SECRET),
      allowPrivate: given.N8N_ALLOW_PRIVATE,
    },
  };
}

// Google tells only https addresses of changes. What stands in for it on this machine reaches us without.
function pushUrlOf(publicUrl: string | null, googleApiUrl: string | undefined): string | null {
  if (!publicUrl) return null;
  const { protocol, hostname } = new URL(publicUrl);
  const isLocalStandIn =
    googleApiUrl !== undefined && ["localhost", "127.0.0.1", "[::1]"].includes(hostname);
  return protocol === "https:" || isLocalStandIn ? publicUrl : null;
}

function hidden(text: string | undefined): Secret | null {
  return text === undefined ? null : secretText(text);
}

function isOrigin(url: string): boolean {
  const { pathname, search, hash, username } = URL.parse(url) ?? {};
  return pathname === "/" && `${search}${hash}${username}` === "";
}

function isPrivateKey(pem: string): boolean {
  try {
    return createPrivateKey(pem).type === "private";
  } catch {
    return false;
  }
}

function serviceAccountOf(given: Variables) {
  const email = given.GOOGLE_SERVICE_ACCOUNT_EMAIL;
  const key = given.GOOGLE_SERVICE_ACCOUNT_PRIVATE_KEY;
  if (!email || !key) return null;
  return { email, privateKey: secretText(key), keyId: given.GOOGLE_SERVICE_ACCOUNT_KEY_ID ?? null };
}
