import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { inspect } from "node:util";
import { ConfigError, loadConfig } from "./config.ts";

const google = { GOOGLE_CLIENT_ID: "client", GOOGLE_CLIENT_SECRET: "a-client-secret" };
const own = {
  DATABASE_URL: "postgresql://db.example.com/daybook",
  SERVICE_KEY: "service-key-0123456789",
  ENCRYPTION_KEY: "encryption-key-0123456789",
  SESSION_SECRET: "session-secret-0123456789",
};

function folder(): { path: string; [Symbol.dispose](): void } {
  const path = mkdtempSync(join(tmpdir(), "daybook-config-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
}

function problemsOf(environment: NodeJS.ProcessEnv): string {
  try {
    loadConfig(environment);
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.message;
  }
  return "";
}

test("one message lists everything that is wrong, by name", () => {
  const problems = problemsOf({
    DATABASE_URL: "mysql://db.example.com",
    PORT: "seventy",
    SERVICE_KEY: "short",
    PUBLIC_URL: "daybook.example.com",
    TRUST_PROXY: "perhaps",
    GOOGLE_PUBSUB_TOPIC: "mail",
    GOOGLE_SERVICE_ACCOUNT_EMAIL: "robot@example.com",
  });
  const names = [
    "GOOGLE_CLIENT_ID is missing",
    "GOOGLE_CLIENT_SECRET is missing",
    "DATABASE_URL must",
    "PORT",
    "SERVICE_KEY must",
    "PUBLIC_URL must",
    "TRUST_PROXY",
    "GOOGLE_PUBSUB_TOPIC must",
    "ENCRYPTION_KEY is required with DATABASE_URL",
    "SESSION_SECRET is required with DATABASE_URL",
    "GOOGLE_SERVICE_ACCOUNT_PRIVATE_KEY go together",
  ];
  for (const name of names) assert.ok(problems.includes(name), `${name} in:\n${problems}`);
  assert.ok(!problems.includes("short"), "a secret's value is never repeated");
});

test("origins are taken as browsers name them, and nothing else is", () => {
  const { publicUrl, corsOrigins } = loadConfig({
    ...google,
    ...own,
    PUBLIC_URL: "https://Daybook.Example.com:443/",
    CORS_ORIGINS: "https://x.example.com/, http://localhost:5173",
  });
  assert.equal(publicUrl, "https://daybook.example.com");
  assert.deepEqual(corsOrigins, ["https://x.example.com", "http://localhost:5173"]);
  const problems = problemsOf({
    ...google,
    ...own,
    PUBLIC_URL: "https://example.com/daybook",
    CORS_ORIGINS: "foo",
  });
  assert.match(problems, /PUBLIC_URL must be an origin/);
  assert.match(problems, /CORS_ORIGINS/);
});

test("with DATABASE_URL the secrets are required, and an empty one is none", () => {
  assert.match(problemsOf({ ...google, ...own, SESSION_SECRET: "" }), /SESSION_SECRET is required/);
  assert.equal(problemsOf({ ...google, ...own }), "");
});

test("on a first embedded run secrets are made, kept with mode 600, and the same ever after", () => {
  using data = folder();
  const first = loadConfig({ ...google, DATA_DIR: data.path });
  const file = join(data.path, "secrets.json");
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const again = loadConfig({ ...google, DATA_DIR: data.path });
  assert.equal(again.serviceKey.reveal(), first.serviceKey.reveal());
  assert.equal(again.keyring.current.id, first.keyring.current.id);
  assert.equal(JSON.parse(readFileSync(file, "utf8")).SERVICE_KEY, first.serviceKey.reveal());
  const given = loadConfig({ ...google, DATA_DIR: data.path, SERVICE_KEY: own.SERVICE_KEY });
  assert.equal(given.serviceKey.reveal(), own.SERVICE_KEY);
});

test("a damaged secrets file stops the start, since new secrets would lose all tokens", () => {
  using data = folder();
  for (const text of ["{}", '{"SERVICE_KEY": "cut o', ""]) {
    writeFileSync(join(data.path, "secrets.json"), text);
    assert.match(problemsOf({ ...google, DATA_DIR: data.path }), /secrets.json is damaged/);
  }
});

test("secrets print as stars, however they are printed", () => {
  const config = loadConfig({
    ...google,
    ...own,
    MASTER_ATTENDEE_API_KEY: "attendee-key",
    OPENAI_API_KEY: "openai-key",
  });
  const printed = [
    inspect(config, { depth: 9, showHidden: true }),
    JSON.stringify(config),
    `${config.serviceKey}`,
  ].join();
  assert.ok(printed.includes("***"));
  for (const secret of [
    ...Object.values(own).slice(1),
    "a-client-secret",
    "attendee-key",
    "openai-key",
  ]) {
    assert.ok(!printed.includes(secret), secret);
  }
});

test("line ends of a private key may be written as two characters, and nothing else is taken for one", () => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const key = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  const load = (text: string) =>
    loadConfig({
      ...google,
      ...own,
      GOOGLE_SERVICE_ACCOUNT_EMAIL: "robot@example.com",
      GOOGLE_SERVICE_ACCOUNT_PRIVATE_KEY: text,
    });
  const config = load(key.replaceAll("\n", "\\n"));
  assert.equal(config.google.serviceAccount?.privateKey.reveal(), key);
  assert.throws(() => load("the key"), /GOOGLE_SERVICE_ACCOUNT_PRIVATE_KEY must be a private key/);
});

test("a DATA_DIR that is no folder is named", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "daybook-config-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "file");
  writeFileSync(file, "");
  const load = () => loadConfig({ ...google, DATA_DIR: file });
  assert.throws(load, { name: "ConfigError", message: /DATA_DIR cannot be used: .*file/ });
});
