import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";
import { secretText } from "../lib/secrets.ts";
import { canonicalJson, isSignedByAttendee } from "./attendee-signature.ts";

// What Python's json.dumps(sort_keys=True, ensure_ascii=False, separators=(",", ":")) makes of it.
const cases: [name: string, sent: string, canonical: string][] = [
  ["whole floats", '{"b": 1.0, "a": [1, 2.50]}', '{"a":[1,2.50],"b":1.0}'],
  [
    "exponents and large integers",
    "[1e-07, 1e+16, 9007199254740993]",
    "[1e-07,1e+16,9007199254740993]",
  ],
  ["keys that look like numbers", '{"10": 1, "9": 2}', '{"10":1,"9":2}'],
  ["keys outside the basic plane", '{"\\ud83d\\ude00": 1, "\\uff5e": 2}', '{"～":2,"😀":1}'],
  ["escapes", '{"a": "\\u00e9\\u2028\\/\\u0001\\n\\u007f"}', '{"a":"é\u2028/\\u0001\\n\u007f"}'],
  ["the last of two keys", '{"a": 1, "a": {"c": null, "b": true}}', '{"a":{"b":true,"c":null}}'],
  ["nothing in it", '{"a": {}, "b": [ ]}', '{"a":{},"b":[]}'],
];

for (const [name, sent, canonical] of cases) {
  test(`the canonical form keeps ${name} as Python does`, () => {
    assert.equal(canonicalJson(sent), canonical);
  });
}

test("what is no JSON has no canonical form", () => {
  for (const text of [
    "",
    "{",
    '{"a" 1}',
    "[1,]",
    '{"a":1}}',
    "[1 2]",
    "{1:2}",
    '"a',
    "[".repeat(100),
  ]) {
    assert.equal(canonicalJson(text), null, text.slice(0, 10));
  }
});

test("a signature holds for the secret's bytes, and for nothing else", () => {
  const key = Buffer.alloc(32, 7);
  const secret = secretText(key.toString("base64"));
  const body = '{"trigger": "bot.state_change", "credits_consumed": 1.0}';
  const signature = createHmac("sha256", key)
    .update(canonicalJson(body) ?? "")
    .digest("base64");
  assert.ok(isSignedByAttendee(secret, signature, body));
  assert.ok(!isSignedByAttendee(secret, signature, body.replace("1.0", "1")));
  assert.ok(!isSignedByAttendee(secretText("b3RoZXI="), signature, body));
});
