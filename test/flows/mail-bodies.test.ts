import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { TestApp, Visitor } from "../harness.ts";
import { ana, anasAssistant, anasMail, bodiesRead, documentsOf, readMail } from "../mails.ts";

let number = 0;

/** A whole mail to Ana's assistant; `body` begins with its own headers. */
function mailOf(subject: string, body: string | Buffer): Buffer {
  number += 1;
  const head = [
    "From: Client <client@example.net>",
    `To: ${ana}`,
    `Cc: ${anasAssistant}`,
    `Subject: ${subject}`,
    `Message-ID: <body-${number}@example.net>`,
    "Date: Mon, 23 Nov 2026 10:00:00 +0000",
    "MIME-Version: 1.0",
  ].join("\r\n");
  const text = typeof body === "string" ? Buffer.from(body.replace(/\r?\n/g, "\r\n")) : body;
  return Buffer.concat([Buffer.from(`${head}\r\n`), text]);
}

const quoted = (text: string) =>
  [...Buffer.from(text, "latin1")]
    .map((byte) =>
      byte > 126 || byte === 61
        ? `=${byte.toString(16).toUpperCase().padStart(2, "0")}`
        : String.fromCharCode(byte),
    )
    .join("");

const invitation = `BEGIN:VCALENDAR\nMETHOD:REQUEST\nBEGIN:VEVENT\nUID:1\nDTSTART:20261124T100000Z\nSUMMARY:Kick-off\\, part one\nLOCATION:Room 5\nEND:VEVENT\nEND:VCALENDAR`;

const cases: [name: string, body: string | Buffer, expected: RegExp | string][] = [
  ["plain text, no charset named", "\nHello there", "Hello there"],
  [
    "UTF-8 as it is",
    "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGrüße, 日本語, 🙂",
    "Grüße, 日本語, 🙂",
  ],
  [
    "Latin-1, quoted-printable",
    `Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\n${quoted("Müller & Söhne kosten 5=")}`,
    "Müller & Söhne kosten 5=",
  ],
  [
    "soft line breaks",
    "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nOne long=\n line",
    "One long line",
  ],
  [
    "Windows-1252",
    `Content-Type: text/plain; charset="windows-1252"\nContent-Transfer-Encoding: quoted-printable\n\n=93Quoted=94 costs =80 5`,
    "“Quoted” costs € 5",
  ],
  [
    "Shift-JIS in base64",
    `Content-Type: text/plain; charset=shift_jis\nContent-Transfer-Encoding: base64\n\n${Buffer.from([0x93, 0xfa, 0x96, 0x7b]).toString("base64")}`,
    "日本",
  ],
  [
    "ISO-2022-JP",
    Buffer.concat([
      Buffer.from(
        "Content-Type: text/plain; charset=iso-2022-jp\r\nContent-Transfer-Encoding: 7bit\r\n\r\n",
      ),
      Buffer.from([0x1b, 0x24, 0x42, 0x46, 0x7c, 0x4b, 0x5c, 0x1b, 0x28, 0x42]),
    ]),
    "日本",
  ],
  [
    "GB18030",
    `Content-Type: text/plain; charset=gb18030\nContent-Transfer-Encoding: base64\n\n${Buffer.from([0xc4, 0xe3, 0xba, 0xc3]).toString("base64")}`,
    "你好",
  ],
  [
    "KOI8-R",
    `Content-Type: text/plain; charset=koi8-r\nContent-Transfer-Encoding: base64\n\n${Buffer.from([0xf0, 0xd2, 0xc9, 0xd7, 0xc5, 0xd4]).toString("base64")}`,
    "Привет",
  ],
  [
    "UTF-16",
    `Content-Type: text/plain; charset=utf-16le\nContent-Transfer-Encoding: base64\n\n${Buffer.from("Hej då", "utf16le").toString("base64")}`,
    "Hej då",
  ],
  [
    "a charset that nobody knows",
    "Content-Type: text/plain; charset=x-unheard-of\n\nstill readable",
    "still readable",
  ],
  [
    "Latin-1 that claims nothing",
    Buffer.concat([
      Buffer.from("Content-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\r\nM"),
      Buffer.from([0xfc]),
      Buffer.from("ller"),
    ]),
    "Müller",
  ],
  [
    "base64 in lines with rubbish between",
    `Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: BASE64\n\nSGVs\n bG8g\n\ndGhlcmU=\n`,
    "Hello there",
  ],
  [
    "HTML alone",
    "Content-Type: text/html; charset=utf-8\n\n<html><head><style>p{color:red}</style><script>alert(1)</script></head><body><p>Hello&nbsp;<b>there</b></p><ul><li>one</li><li>two</li></ul></body></html>",
    /^Hello.there[\s\S]*one[\s\S]*two$/,
  ],
  [
    "both, the plain one read",
    "Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/plain\n\nthe plain one\n--b\nContent-Type: text/html\n\n<b>the rich one</b>\n--b--\n",
    "the plain one",
  ],
  [
    "both, the plain one empty",
    "Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/plain\n\n   \n--b\nContent-Type: text/html\n\n<b>the rich one</b>\n--b--\n",
    "the rich one",
  ],
  [
    "nested: mixed, related, alternative",
    `Content-Type: multipart/mixed; boundary="m m"\n\npreamble\n--m m\nContent-Type: multipart/related; boundary=r\n\n--r\nContent-Type: multipart/alternative; boundary=a\n\n--a\nContent-Type: text/plain\n\ndeep\n--a\nContent-Type: text/html\n\n<p>deep</p>\n--a--\n--r\nContent-Type: image/png; name=logo.png\nContent-ID: <1>\n\nPNG\n--r--\n--m m\nContent-Type: application/pdf; name="=?utf-8?q?Gr=C3=B6=C3=9Fe.pdf?="\nContent-Disposition: attachment\n\nPDF\n--m m--\nepilogue`,
    "deep",
  ],
  [
    "two texts, as some mailers split them",
    "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nabove\n--b\nContent-Type: text/plain\n\nbelow\n--b--\n",
    /^above\s+below$/,
  ],
  [
    "an invitation",
    `Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/plain\n\nPlease come\n--b\nContent-Type: text/calendar; method=REQUEST\n\n${invitation}\n--b--\n`,
    "Please come",
  ],
  [
    "an invitation and nothing else",
    `Content-Type: text/calendar; method=REQUEST\n\n${invitation}`,
    /Summary: Kick-off, part one/,
  ],
  [
    "a forwarded mail as a file",
    "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nsee below\n--b\nContent-Type: message/rfc822\n\nFrom: x@example.org\nSubject: Inner\nContent-Type: text/plain\n\nthe inner text\n--b--\n",
    "see below",
  ],
  [
    "a boundary that is never closed",
    "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\ncut off",
    "cut off",
  ],
  ["a type that is none", "Content-Type: nonsense\n\nraw", ""],
  ["no body at all", "\n", ""],
  [
    "control characters and NULs",
    "Content-Type: text/plain; charset=utf-8\n\nbefore\u0000after",
    "beforeafter",
  ],
];

describe("the text of a mail", () => {
  let story: Awaited<ReturnType<typeof anasMail>>;
  let t: TestApp;
  let visitor: Visitor;
  const texts = new Map<
    string,
    {
      text: string;
      attachments: { name: string; type: string; size: number }[];
      cut: string | null;
    }
  >();
  before(async () => {
    story = await anasMail();
    ({ t, visitor } = story);
    for (const [name, body] of cases) t.google.gmail.inject(ana, { raw: mailOf(name, body) });
    await readMail(t);
    for (const { id, title } of (await visitor.call("GET", "/api/v1/documents?limit=100")).body
      .items)
      texts.set(title, (await visitor.call("GET", `/api/v1/documents/${id}`)).body);
  });
  after(() => story[Symbol.asyncDispose]());

  for (const [name, , expected] of cases) {
    test(`is read from ${name}`, () => {
      const found = texts.get(name);
      assert.ok(found, "there is no such document");
      if (typeof expected === "string") assert.equal(found.text, expected);
      else assert.match(found.text, expected);
    });
  }

  test("goes with a list of the files, by name, type and size, and no file is fetched", () => {
    const names = (name: string) =>
      texts.get(name)?.attachments.map((one) => `${one.name} ${one.type}`);
    assert.deepEqual(names("nested: mixed, related, alternative"), [
      "logo.png image/png",
      "Größe.pdf application/pdf",
    ]);
    assert.deepEqual(names("an invitation"), ["invite.ics text/calendar"]);
    assert.deepEqual(names("a forwarded mail as a file"), ["(no name) message/rfc822"]);
    assert.equal(
      t.google.state.requests.some(({ endpoint }) => endpoint === "gmail.messages.attachments.get"),
      false,
    );
  });

  test("is read in a mail of 25 MB within bounds, and says what was cut", async () => {
    const file = Buffer.alloc(17_000_000, "x").toString("base64").replace(/.{76}/g, "$&\r\n");
    const long = "All work and no play. ".repeat(60_000);
    const body = `Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n${long}\r\n--b\r\nContent-Type: application/zip; name=big.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n${file}\r\n--b--\r\n`;
    const raw = mailOf("A big one", Buffer.from(body));
    assert.ok(raw.length > 24_000_000);
    t.google.gmail.inject(ana, { raw });
    const before = process.memoryUsage().rss;
    await readMail(t);
    const grown = (process.memoryUsage().rss - before) / 1_000_000;
    const [document] = await documentsOf(visitor);
    const whole = (await visitor.call("GET", `/api/v1/documents/${document.id}`)).body;
    assert.equal(whole.title, "A big one");
    assert.equal(whole.text.length, 200_000);
    assert.match(whole.cut, /cut after 200,000 characters/);
    assert.deepEqual(whole.attachments, [
      { name: "big.zip", type: "application/zip", size: 17_000_000 },
    ]);
    assert.ok(grown < 300, `${grown} MB`);
  });

  test("is fetched by itself where Gmail only names it, and left out above two megabytes", async () => {
    const part = (size: number) => `Content-Type: text/plain\r\n\r\n${"word ".repeat(size / 5)}`;
    const id = t.google.gmail.inject(ana, {
      raw: mailOf("A huge text", part(2_500_000).replace(/\r\n/g, "\n")),
    });
    await readMail(t);
    const [document] = await documentsOf(visitor);
    const whole = (await visitor.call("GET", `/api/v1/documents/${document.id}`)).body;
    assert.match(whole.cut, /2\.5 MB was left out/);
    assert.ok(bodiesRead(t).includes(id));
  });
});
