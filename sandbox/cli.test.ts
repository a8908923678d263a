import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { Command } from "commander";
import { addSandboxCommands } from "./cli.ts";
import { openSandboxGoogle, type SandboxGoogle } from "./google/server.ts";

let google: SandboxGoogle;
before(async () => {
  google = await openSandboxGoogle();
  await google.listen();
});
after(() => google[Symbol.asyncDispose]());
beforeEach(() => google.state.reset());

test("faults are added, listed and cleared from the command line", async () => {
  await run("fault", "oauth.token.*", "--status", "503", "--retry-after", "3", "--until-cleared");
  assert.partialDeepStrictEqual(google.state.faults, [
    { endpoint: "oauth.token.*", status: 503, retryAfter: 3, times: null },
  ]);
  assert.match(await run("faults"), /oauth\.token/);
  await run("clear-faults");
  assert.deepEqual(google.state.faults, []);
});

test("the clock is moved by a duration in words of the command line", async () => {
  await run("clock", "--advance", "7d");
  const daysAhead = (google.clock.now().getTime() - Date.now()) / 86_400_000;
  assert.ok(Math.abs(daysAhead - 7) < 0.01);
  await assert.rejects(run("clock", "--advance", "soon"), /such as 15m/);
});

test("a mail is sent from the command line", async () => {
  const words = [
    "--from",
    "ana@example.com",
    "--to",
    "priya@example.com",
    "--to",
    "ai+ana@example.com",
  ];
  const { ids } = JSON.parse(await run("mail", ...words, "--subject", "Hello"));
  assert.deepEqual(Object.keys(ids).sort(), [
    "ai@example.com",
    "ana@example.com",
    "priya@example.com",
  ]);
  await assert.rejects(run("mail"), /--from/);
});

test("what the sandbox refuses, or where there is none, the command says and fails", async () => {
  await assert.rejects(run("revoke", "nobody@example.com"), /No person nobody@example.com/);
  await assert.rejects(
    run("people", "--url", "http://127.0.0.1:1"),
    /No sandbox answers at http:\/\/127.0.0.1:1/,
  );
});

async function run(...words: string[]): Promise<string> {
  const lines: string[] = [];
  const sandbox = new Command("sandbox");
  sandbox.exitOverride().configureOutput({ writeErr: () => {} });
  addSandboxCommands(sandbox, (line) => lines.push(line));
  await sandbox.parseAsync([...words.slice(0, 1), "--url", google.url, ...words.slice(1)], {
    from: "user",
  });
  return lines.join("\n");
}
