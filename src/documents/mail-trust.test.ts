import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { Header } from "../providers/google/gmail.ts";
import { addressedIn } from "./assistant-address.ts";
import {
  decideMail,
  isOpenDomain,
  type Place,
  proofOf,
  senderOf,
  type Trust,
} from "./mail-trust.ts";

const onlyMe: Trust = { mode: "only_me", senders: [] };
const passed = (domain: string) =>
  `mx.google.com; dkim=pass header.i=@${domain} header.s=k1; spf=pass smtp.mailfrom=x@${domain}; dmarc=pass header.from=${domain}`;

function decisionOn(
  headers: [string, string][],
  trust: Trust = onlyMe,
  mailbox: Place = "assistant",
) {
  const list: Header[] = headers.map(([name, value]) => ({ name, value }));
  const sender = senderOf(list);
  const ownAddresses = ["ana@example.com"];
  const proof = proofOf(mailbox, list, sender);
  return decideMail({ mailbox, sender, proof, ownAddresses, trust });
}

test("domains where anybody can have an address are known in all countries", () => {
  const open =
    "gmail.com t-online.de hotmail.co.uk gmx.at yahoo.co.uk orange.fr naver.com pm.me fastmail.com";
  assert.deepEqual(
    open.split(" ").filter((domain) => !isOpenDomain(domain)),
    [],
  );
  assert.deepEqual(["example.com", "stanford.edu", "google.com"].filter(isOpenDomain), []);
});

describe("a mail in the assistant's mailbox", () => {
  const from = (value: string): [string, string] => ["From", value];
  const results = (value: string): [string, string] => ["Authentication-Results", value];
  const owner = from("Ana <ana@example.com>");

  const believed: [why: string, headers: [string, string][], trust: Trust, rule: string][] = [
    ["its owner sent it", [results(passed("example.com")), owner], onlyMe, "from_owner"],
    [
      "DKIM alone passed",
      [results("mx.google.com; dkim=pass header.i=@example.com"), owner],
      onlyMe,
      "from_owner",
    ],
    [
      "DKIM names its domain by header.d",
      [results("mx.google.com; dkim=pass header.d=example.com"), owner],
      onlyMe,
      "from_owner",
    ],
    [
      "SPF alone passed",
      [results("mx.google.com; spf=pass smtp.mailfrom=bounce@example.com"), owner],
      onlyMe,
      "from_owner",
    ],
    [
      "the case differs",
      [results("MX.Google.com; DMARC=Pass header.from=EXAMPLE.com"), from("ANA@Example.COM")],
      onlyMe,
      "from_owner",
    ],
    [
      "a forger's header stands below",
      [results(passed("example.com")), results("mx.google.com; dmarc=fail"), owner],
      onlyMe,
      "from_owner",
    ],
    [
      "a colleague sent it, and the domain is let",
      [results(passed("example.com")), from("jonas@example.com")],
      { mode: "my_domain", senders: [] },
      "my_domain",
    ],
    [
      "the sender is listed",
      [results(passed("example.net")), from("C <client@example.net>")],
      { mode: "list", senders: ["client@example.net"] },
      "listed",
    ],
    [
      "the sender's domain is listed",
      [results(passed("example.net")), from("any@example.net")],
      { mode: "list", senders: ["@example.net"] },
      "listed",
    ],
    ["anyone is let", [from("who@example.org")], { mode: "anyone", senders: [] }, "anyone"],
  ];
  for (const [why, headers, trust, rule] of believed) {
    test(`is taken when ${why}`, () => {
      assert.deepEqual(
        [decisionOn(headers, trust).decision, decisionOn(headers, trust).rule],
        ["taken", rule],
      );
    });
  }

  const list: Trust = { mode: "list", senders: ["client@example.net", "@example.org"] };
  const hostile: [why: string, headers: [string, string][], trust?: Trust][] = [
    ["nothing proves the owner's address", [owner]],
    [
      "every check failed",
      [
        results(
          "mx.google.com; dkim=fail header.i=@example.com; spf=fail smtp.mailfrom=ana@example.com; dmarc=fail header.from=example.com",
        ),
        owner,
      ],
    ],
    [
      "the sender wrote the result below the real one",
      [
        results("mx.google.com; dmarc=fail header.from=example.com"),
        results(passed("example.com")),
        owner,
      ],
    ],
    [
      "another server's result is all there is",
      [results(passed("example.com").replace("mx.google.com", "mx.example.net")), owner],
    ],
    [
      "the server's name only begins like Google's",
      [results(passed("example.com").replace("mx.google.com", "mx.google.com.example.net")), owner],
    ],
    [
      "the server's name stands in a comment",
      [results(`mx.example.net (mx.google.com); dmarc=pass header.from=example.com`), owner],
    ],
    [
      "the pass stands in a comment",
      [results("mx.google.com; dmarc=fail (dmarc=pass header.from=example.com); spf=none"), owner],
    ],
    [
      "the pass stands in a quoted string",
      [results(`mx.google.com; dmarc=fail reason="; dmarc=pass header.from=example.com"`), owner],
    ],
    [
      "a comment is never closed",
      [results("mx.google.com (; dmarc=pass header.from=example.com"), owner],
    ],
    [
      "a comment holds an address whose brackets end it",
      [
        results(
          `mx.google.com; spf=pass (google.com: domain of "a);dkim=pass header.d=example.com;x=(b"@example.net designates 192.0.2.1 as permitted sender) smtp.mailfrom="a);dkim=pass header.d=example.com;x=(b"@example.net`,
        ),
        owner,
      ],
    ],
    ["another domain passed", [results(passed("example.net")), owner]],
    ["a domain passed that only ends like it", [results(passed("evilexample.com")), owner]],
    ["a domain below it passed", [results(passed("mail.example.com")), owner]],
    [
      "SPF passed for the envelope of another",
      [results("mx.google.com; spf=pass smtp.mailfrom=ana@example.com@example.net"), owner],
    ],
    [
      "DKIM passed for another, with two properties",
      [results("mx.google.com; dkim=pass header.d=example.net header.d=example.com"), owner],
    ],
    [
      "the policy passed for the wrong property",
      [results("mx.google.com; dmarc=pass smtp.mailfrom=ana@example.com"), owner],
    ],
    [
      "the result is none, softfail or temperror",
      [
        results(
          "mx.google.com; dmarc=none header.from=example.com; spf=softfail smtp.mailfrom=a@example.com; dkim=temperror header.i=@example.com",
        ),
        owner,
      ],
    ],
    [
      "there are two From headers",
      [results(passed("example.com")), owner, from("evil@example.net")],
    ],
    [
      "From names two people",
      [results(passed("example.com")), from("ana@example.com, evil@example.net")],
    ],
    ["From names nobody", [results(passed("example.com")), from("undisclosed:;")]],
    ["there is no From", [results(passed("example.com"))]],
    [
      "the owner's address is only the name",
      [results(passed("example.net")), from('"ana@example.com" <evil@example.net>')],
    ],
    [
      "the owner's address is only a comment",
      [results(passed("example.net")), from("evil@example.net (ana@example.com)")],
    ],
    [
      "the owner's address is an encoded name",
      [results(passed("example.net")), from("=?utf-8?q?ana=40example.com?= <evil@example.net>")],
    ],
    [
      "a plus is added to the owner's address",
      [results(passed("example.com")), from("ana+x@example.com")],
    ],
    [
      "a colleague sent it, and only the owner is let",
      [results(passed("example.com")), from("jonas@example.com")],
    ],
    [
      "the domain looks the same in other letters",
      [results(passed("example.com")), from("ana@exаmple.com")],
    ],
    [
      "the owner's domain is let, but it comes from below it",
      [results(passed("sub.example.com")), from("a@sub.example.com")],
      { mode: "my_domain", senders: [] },
    ],
    ["a listed sender is not proven", [from("client@example.net")], list],
    [
      "a listed address has another domain",
      [results(passed("example.com")), from("client@example.com")],
      list,
    ],
    [
      "a listed domain is only the end of another",
      [results(passed("notexample.org")), from("x@notexample.org")],
      list,
    ],
  ];
  for (const [why, headers, trust] of hostile) {
    test(`is held when ${why}`, () => {
      const decision = decisionOn(headers, trust);
      assert.equal(decision.decision, "held", decision.reason);
      assert.ok(decision.reason.length > 10);
    });
  }

  test("counts in its owner's own mailbox whoever sent it, and never in another user's", () => {
    const anyone: Trust = { mode: "anyone", senders: [] };
    for (const [why, headers, trust] of [...believed, ...hostile]) {
      assert.equal(decisionOn(headers, trust, "own").rule, "own_mailbox", why);
      assert.equal(decisionOn(headers, trust, "other").decision, "held", why);
      assert.equal(decisionOn(headers, anyone, "other").decision, "held", why);
    }
  });

  test("is never taken for what a sender can write below what the server wrote", () => {
    const word = fc.constantFrom(
      "mx.google.com",
      ";",
      "dmarc=pass",
      "header.from=example.com",
      "(",
      ")",
      '"',
      "\\",
      " ",
      "spf=pass",
      "smtp.mailfrom=ana@example.com",
    );
    fc.assert(
      fc.property(fc.array(fc.array(word, { maxLength: 12 }), { maxLength: 4 }), (written) => {
        const forged = written.map((words) => results(words.join(" ")));
        const headers = [
          results("mx.google.com; dmarc=fail header.from=example.com"),
          ...forged,
          owner,
        ];
        assert.equal(decisionOn(headers).decision, "held");
      }),
    );
  });
});

describe("who is addressed", () => {
  const named = (...headers: [string, string][]) =>
    addressedIn(
      headers.map(([name, value]) => ({ name, value })),
      "ai@example.com",
    ).map(({ username, type }) => `${type} ${username}`);

  const cases: [why: string, headers: [string, string][], expected: string[]][] = [
    ["To", [["To", "ai+ana@example.com"]], ["to ana"]],
    ["any case", [["TO", "AI+Ana@EXAMPLE.com"]], ["to ana"]],
    [
      "Cc among others",
      [["Cc", '"Smith, J" <j@example.net>, AI <ai+ana@example.com>']],
      ["cc ana"],
    ],
    [
      "several, each once",
      [
        ["To", "ai+ana@example.com, ai+ben@example.com"],
        ["Cc", "ai+ana@example.com"],
      ],
      ["to ana", "to ben"],
    ],
    [
      "several To headers",
      [
        ["To", "x@example.net"],
        ["To", "ai+ana@example.com"],
      ],
      ["to ana"],
    ],
    ["the owner's own copy of a blind copy", [["Bcc", "ai+ana@example.com"]], ["bcc ana"]],
    [
      "where it was delivered",
      [
        ["Delivered-To", "ai+ana@example.com"],
        ["To", "list@example.net"],
      ],
      ["bcc ana"],
    ],
    ["where it was sent first", [["X-Original-To", "ai+ana@example.com"]], ["bcc ana"]],
    [
      "where a forwarder sent it",
      [["X-Forwarded-For", "ana@example.com ai+ana@example.com"]],
      ["bcc ana"],
    ],
    [
      "whom the server received it for",
      [["Received", "from a by b with SMTP id 1 for <ai+ana@example.com>; Mon"]],
      ["bcc ana"],
    ],
    ["a group", [["To", "Team: ai+ana@example.com, x@example.net;"]], ["to ana"]],
    ["not a name", [["To", '"ai+ana@example.com" <x@example.net>']], []],
    ["not an encoded name", [["To", "=?utf-8?q?ai+ana=40example.com?= <x@example.net>"]], []],
    ["not a comment", [["To", "x@example.net (ai+ana@example.com)"]], []],
    ["not another domain", [["To", "ai+ana@example.com.example.net"]], []],
    ["not another name before the plus", [["To", "pai+ana@example.com"]], []],
    ["not without a plus", [["To", "ai@example.com"]], []],
    ["not an empty name", [["To", "ai+@example.com"]], []],
    [
      "not a header that no server reads",
      [
        ["X-To", "ai+ana@example.com"],
        ["Subject", "ai+ana@example.com"],
      ],
      [],
    ],
  ];
  for (const [why, headers, expected] of cases) {
    test(`is read by ${why}`, () => assert.deepEqual(named(...headers), expected));
  }

  test("is bounded, whatever a mail names", () => {
    const many = Array.from({ length: 5_000 }, (_, index) => `ai+u${index}@example.com`).join(",");
    assert.equal(named(["To", many]).length, 50);
  });
});
