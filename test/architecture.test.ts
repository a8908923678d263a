import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { test } from "node:test";

// A file imports from its own folder and from folders before its own, never from later ones.
const order = [
  "lib",
  "providers",
  "db",
  "queue",
  "accounts",
  "projects",
  "documents",
  "meetings",
  "sync",
];
const doors = ["gateway", "api"];
const root = "src";

type Import = { file: string; target: string; text: string };

const sources = globSync(`${root}/**/*.ts`).filter((file) => !file.endsWith(".test.ts"));
const imports: Import[] = sources.flatMap((file) =>
  [...readFileSync(file, "utf8").matchAll(/^(?:import|export)[^;]*? from "(\.[^"]+)";/gms)].map(
    ([text, path]) => ({
      file,
      target: normalize(join(dirname(file), path ?? "")),
      text,
    }),
  ),
);

const folderOf = (path: string) => path.split("/")[1] ?? "";
const rankOf = (path: string): number => {
  const folder = folderOf(path);
  if (doors.includes(folder)) return order.length;
  return order.includes(folder) ? order.indexOf(folder) : order.length + 1;
};

test("every import points to an earlier folder, its own, or the App type", () => {
  assert.ok(imports.length > 50);
  const wrong = imports.filter(({ file, target, text }) => {
    const isAppType = target === "src/app.ts" && text.startsWith("import type");
    const isConfigType = target === "src/config.ts" && text.startsWith("import type");
    return (
      !isAppType && !isConfigType && target.startsWith("src/") && rankOf(target) > rankOf(file)
    );
  });
  assert.deepEqual(
    wrong.map(({ file, target }) => `${file} imports ${target}`),
    [],
  );
});

test("providers and db know only lib", () => {
  const wrong = imports.filter(
    ({ file, target }) =>
      ["providers", "db"].includes(folderOf(file)) &&
      ![folderOf(file), "lib"].includes(folderOf(target)),
  );
  assert.deepEqual(
    wrong.map(({ file, target }) => `${file} imports ${target}`),
    [],
  );
});

test("only config.ts and the command line read the environment", () => {
  const readers = sources.filter((file) => readFileSync(file, "utf8").includes("process.env"));
  assert.deepEqual(readers.sort(), ["src/main.ts"]);
});

test("nothing but the command line knows the sandbox", () => {
  const knowing = sources.filter((file) =>
    /from "[^"]*sandbox|import\("[^"]*sandbox/.test(readFileSync(file, "utf8")),
  );
  assert.deepEqual(knowing, ["src/main.ts"]);
});

test("fixtures name only domains that are reserved for it", () => {
  const real = /@(gmail|googlemail|outlook|hotmail|yahoo)\.com/i;
  const files = globSync("{src,sandbox,test,console/src}/**/*.{ts,tsx}");
  const wrong = files.filter(
    (file) => real.test(readFileSync(file, "utf8")) && !file.endsWith("architecture.test.ts"),
  );
  assert.deepEqual(wrong, []);
});

test("no left-overs lie in the tree", () => {
  const files = globSync("{src,sandbox,test,console/src,docs}/**/*");
  assert.deepEqual(
    files.filter((file) => /(\.(bak|backup|orig|rej|old)$|_old\.|copy\.)/.test(file)),
    [],
  );
});

test("below src, what is tested against a database lies where test/run.ts looks for it", () => {
  const asking = globSync(["src/**/*.test.ts", "sandbox/**/*.test.ts"]).filter((file) =>
    /test\/(harness|database|flows\/[\w-]+)\.ts"/.test(readFileSync(file, "utf8")),
  );
  assert.ok(asking.length > 0);
  assert.deepEqual(
    asking.filter((file) => !/^src\/(api|db|queue)\//.test(file)),
    [],
  );
});
