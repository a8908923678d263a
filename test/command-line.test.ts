import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import packageJson from "../package.json" with { type: "json" };

const daybook = resolve("bin/daybook.js");
const { PATH } = process.env;

test("the .env of the folder that it is started in is read, and the environment is stronger", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "daybook-env-"));
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, ".env"), "GOOGLE_CLIENT_ID=from-file\nPORT=many\nROLE=none\n");
  const start = packageJson.scripts.start.split(" ").slice(1, -2);
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
