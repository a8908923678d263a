import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import type { TestApp } from "../harness.ts";
import { openTestApp } from "../harness.ts";
import { ana, anasAssistant, bodiesRead, chooseName, jonas } from "../mails.ts";
import { killWorker, startWorker } from "../workers.ts";

const kills = 20;

test("two workers killed at 20 instants of a storm of mails make one document of each, and one run of the workflow", {
  timeout: 180_000,
}, async (context) => {
  // More mails in half a minute than Gmail's quota lets anybody read.
  const environment = { GOOGLE_GMAIL_USER_QUOTA: "1000000" };
  await using t = await openTestApp({ workers: false, push: true, workflow: true, environment });
  const visitor = await t.signIn(ana);
  await chooseName(visitor, "ana");
  await t.connectAssistant();
  Object.assign(t.google.pubsub.settings, { doubleShare: 0.3, dropShare: 0.3, jitterMs: 50 });
  const workers = [startWorker(t, t.environment), startWorker(t, t.environment)];
  context.after(() => Promise.all(workers.map(killWorker)));

  let isOver = false;
  let sent = 0;
  const addressed = new Set<string>();
  const storm = (async () => {
    while (!isOver) {
      const { ids } = await t.google.gmail.send({
        from: ana,
        to: [jonas, anasAssistant],
        subject: `${sent}`,
        text: "x",
      });
      for (const id of Object.values(ids)) addressed.add(id);
      await t.google.gmail.send({
        from: jonas,
        to: ana,
        subject: "Private",
        text: "none of yours",
      });
      sent += 1;
      await sleep(Math.random() * 60);
    }
  })();
  for (let count = 0; count < kills; count += 1) {
    await sleep(150 + Math.random() * 350);
    const [victim] = workers.splice(count % 2, 1);
    await killWorker(victim!);
    workers.push(startWorker(t, t.environment));
  }
  isOver = true;
  await storm;
  await settled(t, sent);

  const documents = await t.app.db.selectFrom("documents").select("title").execute();
  assert.deepEqual(
    documents.map(({ title }) => Number(title)).sort((a, b) => a - b),
    Array.from({ length: sent }, (_, index) => index),
  );
  assert.equal(t.n8n.runs.length, sent);
  for (const id of bodiesRead(t)) assert.ok(addressed.has(id));
});

// A lost message costs time until the next look, and the last to die may hold something for a moment yet.
async function settled(t: TestApp, expected: number): Promise<void> {
  for (const deadline = Date.now() + 100_000; Date.now() < deadline; await sleep(300)) {
    await t.asService("POST", "/api/v1/cron/gmail-polling");
    const { rows } = await sql<{ done: number }>`
      select count(*)::int as done from deliveries where state = 'delivered'`.execute(t.app.db);
    if (rows[0]?.done === expected) return;
  }
}
