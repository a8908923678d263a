import assert from "node:assert/strict";
import { test } from "node:test";
import { virtualAttendees } from "./virtual-address.ts";

const assistant = "ai@assistant.example.com";

test("an attendee at the assistant's address stands for the user it names", () => {
  const cases: [email: string | null, names: string[]][] = [
    ["ai+ana@assistant.example.com", ["ana"]],
    ["AI+Ana@Assistant.Example.COM", ["ana"]],
    ["  ai+ana@assistant.example.com ", ["ana"]],
    ['"Bot, for ana" <ai+ana@assistant.example.com>', ["ana"]],
    ["ai+j.doe_2-x@assistant.example.com", ["j.doe_2-x"]],
    // All behind the first plus is the name, and no username has one.
    ["ai+ana+work@assistant.example.com", []],
    ["ai@assistant.example.com", []],
    ["ai+@assistant.example.com", []],
    ["mail+ai+ana@assistant.example.com", []],
    ["xai+ana@assistant.example.com", []],
    ["ai+ana@assistant.example.com.example.org", []],
    ["ai+ana@sub.assistant.example.com", []],
    ["ai+ana@example.com", []],
    ["ai+%@assistant.example.com", []],
    ["ai+ana@assistant.example.com, eve@example.org", []],
    ['"ai+ana@assistant.example.com" <eve@example.org>', []],
    ["", []],
    [null, []],
  ];
  for (const [email, names] of cases) {
    assert.deepEqual(virtualAttendees([{ email }], assistant), names, String(email));
  }
});

test("a user is named once, however often it is invited", () => {
  const emails = [
    "ai+ana@assistant.example.com",
    "ai+bob@assistant.example.com",
    "AI+ANA@assistant.example.com",
  ];
  assert.deepEqual(
    virtualAttendees(
      emails.map((email) => ({ email })),
      assistant.toUpperCase(),
    ),
    ["ana", "bob"],
  );
});

test("domains are compared as they are sent", () => {
  assert.deepEqual(
    virtualAttendees([{ email: "ai+ana@xn--bcher-kva.example.com" }], "ai@bücher.example.com"),
    ["ana"],
  );
});

test("without a usable address of the assistant nobody is named", () => {
  assert.deepEqual(virtualAttendees([{ email: "ai+ana@assistant.example.com" }], "assistant"), []);
});
