import assert from "node:assert/strict";
import { test } from "node:test";
import { capabilities, missingScopes, parseScopes, wantedScopes } from "./scopes.ts";

const scope = (name: string) => `https://www.googleapis.com/auth/${name}`;
const granted = (names: string[]) =>
  capabilities(names).flatMap((one) => (one.granted ? [one.name] : []));

test("short scopes and their long forms are the same", () => {
  const long = `openid ${scope("userinfo.profile")} ${scope("userinfo.email")}`;
  assert.deepEqual(parseScopes("openid  email profile"), parseScopes(long));
  assert.deepEqual(parseScopes(undefined), []);
});

test("a capability is granted by any of the sets that Google accepts, compared as whole words", () => {
  const cases: [string[], string[]][] = [
    [[], []],
    [[scope("calendar.readonly")], ["calendar"]],
    [[scope("calendar")], ["calendar"]],
    [[scope("calendar.events.readonly")], []],
    [[scope("calendar.events"), scope("calendar.calendarlist.readonly")], ["calendar"]],
    [[scope("gmail.metadata")], []],
    [[scope("gmail.modify"), scope("drive.file")], ["gmail"]],
    [
      [scope("drive.readonly"), scope("gmail.readonly")],
      ["gmail", "drive"],
    ],
  ];
  for (const [scopes, names] of cases) assert.deepEqual(granted(scopes), names, scopes.join(" "));
});

test("what was unticked is missing, what a broader scope covers is not", () => {
  assert.deepEqual(missingScopes(wantedScopes), []);
  const broad = wantedScopes.map((name) => name.replace("calendar.readonly", "calendar"));
  assert.deepEqual(missingScopes(broad), []);
  const unticked = wantedScopes.filter((name) => !name.includes("gmail"));
  assert.deepEqual(missingScopes(unticked), [scope("gmail.readonly")]);
});
