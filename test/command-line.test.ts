import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import packageJson from "../package.json" with { type: "json" };
import { openTestApp, testEnvironment } from "./harness.ts";
import { until } from "./timing.ts";

const daybook = resolve("bin/daybook.js");
const { PATH } = process.env;

test("the .env of the folder that it is started in is read, and the environment is stronger", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "daybook-env-"));
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, ".env"), "GOOGLE_CLIENT_ID=from-file\nPORT=many\nROLE=none\n");
  const start = packageJson.scripts.start.split(" ").slice(2, -2);
  for (const words of [[daybook], [...start, resolve("src/main.ts")]]) {
    const child = spawn(process.execPath, [...words, "doctor"], {
      cwd: folder,
      env: { PATH, ROLE: "api" },
    });
    const said = await text(child.stdout);
    assert.match(said, /GOOGLE_CLIENT_SECRET is missing/);
    assert.match(said, /PORT /);
    assert.doesNotMatch(said, /GOOGLE_CLIENT_ID|ROLE/);
  }
});

for (const command of ["npm start", "npx daybook serve"]) {
  test(`\`${command}\` stops with the process that was started, and leaves nothing running`, async () => {
    await using t = await openTestApp({ workers: false });
    await t.server.close();
    const { port } = new URL(t.url);
    const place = { url: t.url, port: Number(port), database: t.database, environment: {} };
    const [name = "", ...words] = command.split(" ");
    const child = spawn(name, words, {
      env: { ...process.env, ...testEnvironment(t.google, place), ROLE: "api", LOG_LEVEL: "error" },
      stdio: "ignore",
    });
    const isLive = async () => (await fetch(`${t.url}/live`).catch(() => null))?.ok ?? false;
    await until(isLive, 120_000);
    child.kill("SIGTERM");
    await until(async () => !(await isLive()), 10_000);
  });
}

test("a start that cannot be says why in a line or two, and begins no work", async () => {
  await using t = await openTestApp({ workers: false });
  const { port } = new URL(t.url);
  // A server that is none, and hangs up.
  const deaf = createServer((socket) => socket.end()).listen(0, "127.0.0.1");
  await once(deaf, "listening");
  const { port: deafPort } = deaf.address() as AddressInfo;
  const cases: [string, Record<string, string>, RegExp][] = [
    ["serve", {}, /address already in use .*Check HOST and PORT/],
    ["serve", { HOST: "192.0.2.1" }, /192\.0\.2\.1.*Check HOST and PORT/],
    ["serve", { DATABASE_URL: "postgresql://127.0.0.1:1/x" }, /ECONNREFUSED.*Check DATABASE_URL/],
    [
      "serve",
      { DATABASE_URL: `postgresql://127.0.0.1:${deafPort}/x` },
      /terminated.*Check DATABASE_URL/,
    ],
    ["sandbox --port abc", {}, /A port is a number from 0 to 65535/],
  ];
  for (const [command, environment, expected] of cases) {
    const place = { url: t.url, port: Number(port), database: t.database, environment };
    const child = spawn(process.execPath, ["src/main.ts", ...command.split(" ")], {
      env: { PATH, ...testEnvironment(t.google, place) },
    });
    const [said, logged] = await Promise.all([text(child.stderr), text(child.stdout)]);
    assert.match(said, expected);
    assert.doesNotMatch(said + logged, /\n {4}at |"job"/);
  }
  deaf.close();
});
