#!/usr/bin/env node
// Starts Daybook on the Node that it is installed with: the one on the machine may be older, and cannot run TypeScript.
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const main = join(dirname(fileURLToPath(import.meta.url)), "..", "src", "main.ts");
const node = join(
  dirname(createRequire(import.meta.url).resolve("node/package.json")),
  "bin",
  "node",
);
// What the environment has already is stronger than the file.
const words = ["--env-file-if-exists=.env", main, ...process.argv.slice(2)];
const child = spawn(node, words, { stdio: "inherit" });

// Ctrl-C in a terminal reaches both processes, other signals only this one; a second one does no harm.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => child.kill(signal));
}
// npx puts a shell in between, which dies of a signal without passing it on. That it is gone is all that we hear of it.
if (process.env.npm_command === "exec") {
  const shell = process.ppid;
  setInterval(() => process.ppid !== shell && child.kill("SIGTERM"), 250).unref();
}
child.on("error", (error) => {
  console.error(`Node could not be started (${error.message}). Run \`npm ci\` first.`);
  process.exit(1);
});
child.on("exit", (code, signal) => process.exit(signal ? 1 : (code ?? 1)));
