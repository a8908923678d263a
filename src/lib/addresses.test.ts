import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { computingMs } from "../../test/timing.ts";
import { cases } from "./addresses.cases.ts";
import { comparable, decodeHeader, parseAddresses, soleAddress } from "./addresses.ts";

const shown = (value: string) =>
  parseAddresses(value).map(({ local, domain }) => `${local}@${domain}`);

for (const [name, table] of Object.entries(cases)) {
  test(`addresses: ${name}`, () => {
    for (const [value, addresses, names] of table) {
      assert.deepEqual(shown(value), addresses, value);
      if (names)
        assert.deepEqual(
          parseAddresses(value).map((one) => one.name),
          names,
          value,
        );
    }
  });
}

test("the table has at least 150 cases", () => {
  assert.ok(Object.values(cases).flat().length >= 150);
});

test("addresses are compared whatever their case, composition and script", () => {
  const same = (one: string, other: string) => {
    const [left, right] = [soleAddress(one), soleAddress(other)];
    assert.ok(left && right);
    assert.equal(comparable(left), comparable(right));
  };
  same("AI+Ana@Example.COM", "ai+ana@example.com");
  same("jo\u0308rg@example.com", "JÖRG@example.com");
  same("a@bücher.example", "a@XN--BCHER-KVA.example");
});

test("whatever a header holds, parsing neither throws nor takes long, and every address is one", () => {
  const pieces = fc.constantFrom(
    ...[
      '"',
      "\\",
      "(",
      ")",
      "<",
      ">",
      ",",
      ";",
      ":",
      "@",
      ".",
      "[",
      "]",
      " ",
      "\r\n ",
      "=?utf-8?q?",
    ],
    ...["?=", "a", "ai+bob", "example.com", "é", "\u0000", "\ud800", "=2C", "\t", "x@y.example"],
  );
  const anyHeader = fc.oneof(
    fc.array(pieces, { maxLength: 200 }).map((parts) => parts.join("")),
    fc.string({ unit: "binary", maxLength: 300 }),
  );
  fc.assert(
    fc.property(anyHeader, (value) => {
      for (const { local, domain, name } of parseAddresses(value)) {
        assert.ok(local.length > 0 && domain.length > 0);
        assert.ok(!/\p{Cc}/u.test(local + domain + (name ?? "")));
      }
      assert.ok(!/\p{Cc}/u.test(decodeHeader(value)));
    }),
    { numRuns: 2_000 },
  );
});

test("an address that was put into quotes, comments or encoded words is never found", () => {
  const hidden = fc
    .tuple(fc.constantFrom("quote", "comment", "word"), fc.string({ maxLength: 20 }))
    .map(([how, noise]) => {
      const inner = `${noise} ai+bob@example.com, `.replace(/["\\()?=_\r\n]/g, "");
      if (how === "quote") return `"${inner}" <c@example.org>`;
      if (how === "comment") return `(${inner}) c@example.org`;
      return `=?utf-8?b?${Buffer.from(inner).toString("base64")}?= <c@example.org>`;
    });
  fc.assert(fc.property(hidden, (value) => assert.deepEqual(shown(value), ["c@example.org"])));
});

test("headers made to be slow are read in a moment", async () => {
  for (const piece of [
    "(",
    "()",
    "<",
    "a ",
    "a: ",
    '"',
    "\\",
    "=?",
    "<a@b> ",
    ". ",
    "@ : ",
    "a@b c ",
  ]) {
    const ms = await computingMs(() => parseAddresses(piece.repeat(100_000)));
    assert.ok(ms < 1_000, JSON.stringify(piece));
  }
});
