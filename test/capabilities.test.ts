import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { handlers } from "../src/jobs.ts";
import { openTestApp } from "./harness.ts";

test("docs/capabilities.md names further old addresses that answer", async () => {
  await using t = await openTestApp({ workers: false });
  const page = await readFile(new URL("../docs/capabilities.md", import.meta.url), "utf8");
  const names = [...page.matchAll(/^- `([a-z-]+)`:/gm)].map(([, name]) => name);
  assert.ok(names.length > 0);
  const routes = t.server.printRoutes({ commonPrefix: false });
  for (const name of names) {
    assert.match(routes, new RegExp(`functions/v1/${name}[/ ]`), `no route of ${name}`);
  }
});

test("docs/capabilities.md names 24 functions, and only routes, jobs, files and tests that exist", async () => {
  await using t = await openTestApp();
  const page = await readFile(new URL("../docs/capabilities.md", import.meta.url), "utf8");
  const rows = page
    .split("\n")
    .filter((line) => /^\| [a-z]/.test(line) && !line.startsWith("| function"));
  assert.equal(rows.length, 24);
  for (const row of rows) {
    const [, name, route = "", job = "", file = "", proof = ""] = row
      .split("|")
      .map((cell) => cell.trim());
    if (route === "_open_") continue;
    const quoted = (cell: string) => [...cell.matchAll(/`([^`]+)`/g)].map(([, text]) => text ?? "");
    for (const one of quoted(route)) {
      const [method = "", url = ""] = one.split(" ");
      assert.ok(t.server.hasRoute({ method, url } as never), `${name}: no route ${one}`);
    }
    assert.ok(quoted(route).length > 0, `${name} has no route`);
    for (const one of quoted(job)) assert.ok(one in handlers, `${name}: no job ${one}`);
    for (const one of [...quoted(file), ...quoted(proof)])
      assert.ok(existsSync(one), `${name}: no file ${one}`);
    assert.ok(
      quoted(file).length > 0 && quoted(proof).length > 0,
      `${name} has no file or no test`,
    );
  }
});
