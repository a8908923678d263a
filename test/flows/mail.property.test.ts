import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { addFault } from "../../sandbox/google/faults.ts";
import type { TestApp } from "../harness.ts";
import { ana, anasAssistant, anasMail, chooseName, jonas } from "../mails.ts";

/** Anything that can happen to mailboxes, to Google, or to us. Numbers choose among what is there. */
const Happening = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant("send" as const), to: fc.integer({ min: 1, max: 7 }) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("send other" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("draft" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("trash" as const), which: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("forget" as const), whose: fc.nat(2) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("lose" as const),
      messages: fc.integer({ min: 1, max: 4 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("double" as const), share: fc.constantFrom(0, 1) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("lag" as const), ms: fc.constantFrom(0, 80) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("fail" as const),
      endpoint: fc.constantFrom("gmail.history.list", "gmail.messages.get.*", "gmail.*"),
      fault: fc.constantFrom(
        { status: 500 },
        { status: 403 },
        { status: 429 },
        { reset: "before" as const },
        { reset: "after" as const },
        { reset: "mid-body" as const },
      ),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("refuse delivery" as const),
      status: fc.constantFrom(500, 404),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("wait" as const),
      minutes: fc.integer({ min: 1, max: 300 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("poll" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("settle" as const) }) },
);

type Happening = typeof Happening extends fc.Arbitrary<infer One> ? One : never;

const runs = Number(process.env.PROPERTY_RUNS ?? 12);

test("whatever happens, each mail to the assistant is one document of each of its users, and nothing else is read", {
  timeout: runs * 20_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(Happening, { minLength: 5, maxLength: 20 }), async (happenings) => {
      await using story = await anasMail({ push: true, workflow: true, withAssistant: true });
      const { t, visitor } = story;
      t.google.gmail.pages.pageSizeCap = 3;
      const other = await t.signIn(jonas);
      await chooseName(other, "jonas");
      await t.idle();
      const expected: string[] = [];
      const addressed = new Set<string>();
      for (const happening of happenings) {
        await happen(t, happening, async (to) => {
          const names = [
            to & 1 ? [anasAssistant, visitor.userId] : [],
            to & 2 ? ["ai+jonas@example.com", other.userId] : [],
          ];
          const subject = `${expected.length} ${addressed.size}`;
          const { ids } = await t.google.gmail.send({
            // Each of them lets the other: their own mailboxes show it.
            from: ana,
            to: [jonas, ...names.flatMap(([address]) => address ?? [])],
            ...(to & 4 ? { cc: [anasAssistant, "ai+nobody@example.com"] } : {}),
            subject,
            text: "x",
          });
          const owners = new Set([
            ...names.flatMap(([, userId]) => userId ?? []),
            ...(to & 4 ? [visitor.userId] : []),
          ]);
          for (const owner of owners) expected.push(`${owner} ${subject}`);
          if (owners.size > 0 || to & 4) for (const id of Object.values(ids)) addressed.add(id);
          return ids;
        });
      }
      await fetch(`${t.google.url}/_control/faults`, { method: "DELETE" });
      t.google.gmail.pages.historyLagMs = 0;
      // Whoever failed tries again within hours; whoever was not told looks within hours.
      for (let time = 0; time < 3; time += 1) {
        t.clock.advance(7 * 3_600_000);
        await t.hurry("mail.take", "deliveries.send");
        await t.idle();
      }
      const documents = await t.app.db
        .selectFrom("documents")
        .select(["created_by", "title"])
        .where("source", "=", "gmail")
        .execute();
      assert.deepEqual(
        documents.map(({ created_by, title }) => `${created_by} ${title}`).sort(),
        expected.sort(),
      );
      assert.equal(new Set(t.n8n.runs).size, t.n8n.runs.length);
      const read = t.google.state.requests.filter(({ endpoint }) =>
        /get\.(full|raw)$/.test(endpoint),
      );
      for (const { path } of read)
        assert.ok(addressed.has(path.split("/").at(-1)!), "a body of an unaddressed mail was read");
    }),
    { numRuns: runs, endOnFailure: true },
  );
});

async function happen(
  t: TestApp,
  one: Happening,
  send: (to: number) => Promise<Record<string, string>>,
): Promise<void> {
  const { gmail } = t.google;
  switch (one.do) {
    case "send":
      await send(one.to);
      return;
    case "send other":
      await gmail.send({ from: jonas, to: ana, subject: "Private", text: "none of yours" });
      return;
    case "draft":
      gmail.saveDraft(ana, `From: ${ana}\nTo: ${anasAssistant}\nSubject: Draft\n\nx`);
      return;
    case "trash": {
      // Only what does not concern the assistant: whether that was read in time is a matter of luck.
      const mails = gmail.messages(ana).filter(({ raw }) => !raw.includes("ai+"));
      const mail = mails[one.which % Math.max(1, mails.length)];
      if (mail) gmail.label(ana, mail.id, { add: ["TRASH"] });
      return;
    }
    case "forget":
      gmail.forgetHistory([ana, jonas, "ai@example.com"][one.whose]!);
      return;
    case "lose":
      t.google.pubsub.settings.dropNext += one.messages;
      return;
    case "double":
      t.google.pubsub.settings.doubleShare = one.share;
      return;
    case "lag":
      gmail.pages.historyLagMs = one.ms;
      return;
    case "fail":
      addFault(t.google.state, { endpoint: one.endpoint, ...one.fault });
      return;
    case "refuse delivery":
      t.n8n.settings.failNext.push(one.status);
      return;
    case "wait":
      // What a listing does not show yet, it shows long before an hour is over.
      await sleep(gmail.pages.historyLagMs);
      t.clock.advance(one.minutes * 60_000);
      return;
    case "poll":
      await t.asService("POST", "/api/v1/cron/gmail-polling");
      return;
    case "settle":
      await t.idle();
  }
}
