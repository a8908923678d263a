import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { variables } from "../src/config.ts";

test(".env.example has every variable of config.ts, with the same sentence, in the same order", async () => {
  const example = await readFile(new URL("../.env.example", import.meta.url), "utf8");
  const written = [...example.matchAll(/^# (.+)\n(?:# )?([A-Z_0-9]+)=/gm)].map(
    ([, sentence, name]) => ({ name, sentence }),
  );
  const read = Object.entries(variables.shape).map(([name, schema]) => ({
    name,
    sentence: schema.description,
  }));
  assert.deepEqual(written, read);
});
