import { execFileSync } from "node:child_process";
import autocannon from "autocannon";
import { fastify } from "fastify";
import { signIdToken } from "../sandbox/google/keys.ts";
import { startFeeds } from "../src/sync/feeds.ts";
import { openTestApp, type TestApp } from "../test/harness.ts";
import { ana, anasAssistant, chooseName } from "../test/mails.ts";

// `npm run bench:mail`: a mailbox of 50,000 messages at its first connect, an hour of its history, and the notifications
// that are taken in a second, as a ratio to a bare route of the same run.

const size = Number(process.env.BENCH_MAILS ?? 50_000);
const seconds = Number(process.env.BENCH_SECONDS ?? 5);
const perHour = 300;
const minuteMs = 60_000;
// Of Gmail's quota: what each call costs, and what a mailbox may use in a minute.
const units: Record<string, number> = { profile: 1, list: 5, history: 2, get: 20, watch: 100 };
const unitsPerMinute = 6_000 * 0.8;

await mailbox();
await notifications();
process.exit();

async function mailbox(): Promise<void> {
  const environment = { GOOGLE_GMAIL_USER_QUOTA: "10000000" };
  await using t = await openTestApp({ environment });
  const now = t.clock.now().getTime();
  t.google.gmail.injectAll(
    ana,
    Array.from({ length: size }, (_, index) => ({
      raw: mailOf(index, index % 1_000 === 0),
      // The last of them this minute, the first of them years ago.
      receivedAt: new Date(now - (size - index) * 12 * minuteMs),
    })),
  );
  await measure(t, `first connect of ${size} messages`, async () => {
    const visitor = await t.signIn(ana);
    await chooseName(visitor, "ana");
    await t.idle();
  });
  t.google.gmail.injectAll(
    ana,
    Array.from({ length: perHour }, (_, index) => ({
      raw: mailOf(size + index, index % 60 === 0),
    })),
  );
  t.clock.advance(60 * minuteMs);
  await measure(t, `an hour of ${perHour} messages, five of them for the assistant`, async () => {
    await t.asService("POST", "/api/v1/cron/gmail-polling");
    await t.idle();
  });
  const { count } = await t.app.db
    .selectFrom("documents")
    .select((row) => row.fn.countAll<string>().as("count"))
    .executeTakeFirstOrThrow();
  say("documents made", count, "what was there before the mailbox was connected is left alone");
}

async function measure(t: TestApp, what: string, act: () => Promise<unknown>): Promise<void> {
  t.google.state.requests.length = 0;
  const before = residentMiB();
  const startedAt = performance.now();
  await act();
  const ms = performance.now() - startedAt;
  const calls = t.google.state.requests.flatMap(({ endpoint }) =>
    endpoint.startsWith("gmail.") ? [endpoint.replace(/^gmail\.(messages\.)?/, "")] : [],
  );
  const spent = calls.reduce((sum, name) => sum + unitsOf(name), 0);
  const atLeast = Math.max(0, spent / unitsPerMinute - 1) * 60;
  const grown = Math.max(0, residentMiB() - before);
  say(
    what,
    `${calls.length} calls, ${(ms / 1000).toFixed(1)} s`,
    `${spent} units: ${atLeast > 0 ? `Google's limit makes it ${Math.round(atLeast)} s` : "within what Google allows at once"}; ${grown} MiB more, the sandbox included`,
  );
}

function unitsOf(name: string): number {
  const [, cost = 0] =
    Object.entries(units).find(([part]) => name.toLowerCase().includes(part)) ?? [];
  return cost;
}

/** Pushes proven, recorded, compared with the cursor, enqueued and committed before they are answered. */
async function notifications(): Promise<void> {
  await using t = await openTestApp({ push: true, workers: false });
  await t.signIn(ana);
  const { id } = await t.app.db.selectFrom("connections").select("id").executeTakeFirstOrThrow();
  await startFeeds(t.app, id);
  const { audience, serviceAccount } = t.app.config.google.pubsub;
  const token = await signIdToken(t.google.state, {
    ...{ aud: audience ?? "", email: serviceAccount ?? "", email_verified: true, sub: "1" },
  });
  const bare = fastify();
  bare.post("/", async (_request, reply) => reply.code(204).send());
  const bareUrl = await bare.listen({ host: "127.0.0.1", port: 0 });
  let sent = 0;
  const bodyOf = () => {
    sent += 1;
    const news = JSON.stringify({ emailAddress: ana, historyId: String(10_000_000 + sent) });
    const data = Buffer.from(news).toString("base64");
    return JSON.stringify({ message: { data, messageId: String(sent) }, subscription: "s" });
  };
  const headers = { "content-type": "application/json", authorization: `Bearer ${token}` };
  const load = { connections: 20, duration: seconds, method: "POST" as const, headers };
  const base = await autocannon({ url: bareUrl, ...load, body: bodyOf() });
  const heard = await autocannon({
    url: `${t.url}/api/v1/webhooks/gmail`,
    ...load,
    requests: [{ setupRequest: (request) => ({ ...request, body: bodyOf() }) }],
  });
  const { p50, p99 } = heard.latency;
  const ratio = (heard.requests.average / base.requests.average).toFixed(3);
  say(
    "notifications taken",
    `${Math.round(heard.requests.average)} a second`,
    `p50 ${p50} ms, p99 ${p99} ms, ${heard.non2xx} refused, ${ratio} of a bare route; all for one mailbox, the worst case`,
  );
  await bare.close();
}

function mailOf(index: number, isForAssistant: boolean): string {
  return [
    "From: Client <client@example.net>",
    `To: ${ana}`,
    ...(isForAssistant ? [`Cc: ${anasAssistant}`] : []),
    `Subject: Mail ${index}`,
    `Message-ID: <${index}@example.net>`,
    "Content-Type: text/plain; charset=utf-8",
    "",
    "A text of some length. ".repeat(20),
  ].join("\r\n");
}

function residentMiB(): number {
  const kibibytes = execFileSync("ps", ["-o", "rss=", "-p", String(process.pid)]).toString();
  return Math.round(Number(kibibytes) / 1024);
}

function say(what: string, figure: string, details: string): void {
  process.stdout.write(`| ${what} | ${figure} | ${details} |\n`);
}
