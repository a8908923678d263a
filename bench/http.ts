import { createServer } from "node:http";
import autocannon from "autocannon";
import { fastify } from "fastify";
import { openSandboxGoogle } from "../sandbox/google/server.ts";
import { openSession } from "../src/accounts/sessions.ts";
import { openServer } from "../src/api/server.ts";
import { openApp } from "../src/app.ts";
import { openDatabase } from "../src/db/connection.ts";
import { startEmbedded } from "../src/db/embedded.ts";
import { schedules } from "../src/jobs.ts";
import { openLog } from "../src/lib/log.ts";
import { enqueue } from "../src/queue/queue.ts";
import { temporaryFolder, testConfig } from "../test/harness.ts";

// `npm run bench`: requests a second and latency of `GET /me`, and of a webhook-like insert and enqueue in one
// transaction, on the embedded server, as a ratio to a bare Fastify route of the same run.

const seconds = Number(process.env.BENCH_SECONDS ?? 5);
const unlimited = { user: 1e9, address: 1e9, signIn: 1e9, webhook: 1e9 };

using folder = temporaryFolder();
const log = openLog("silent");
await using embedded = await startEmbedded(folder.path, log);
await using database = openDatabase(embedded.url);
await using google = await openSandboxGoogle();
await google.listen();
const port = await freePort();
const config = testConfig(google, { url: `http://127.0.0.1:${port}`, port, database });
await using app = await openApp(config, { log, callsPerMinute: unlimited });

const { id: userId } = await app.db
  .insertInto("users")
  .values({ email: "bench@example.com", name: "Bench" })
  .returning("id")
  .executeTakeFirstOrThrow();
const { token } = await openSession(app, userId);

const server = await openServer(app, { schedules });
// What a webhook does: prove, record, enqueue, commit, answer. The key keeps one job waiting, as a feed's does.
server.post("/bench/webhook", { config: { who: "public" } }, async (_request, reply) => {
  await app.db.transaction().execute(async (tx) => {
    await tx
      .insertInto("user_activity_logs")
      .values({ user_id: userId, activity_type: "general" })
      .execute();
    await enqueue(app, tx, {
      name: "schedule.run",
      payload: { name: "cleanup" },
      key: `bench-${Math.floor(Math.random() * 200)}`,
    });
  });
  return reply.code(204).send();
});
await server.listen({ host: "127.0.0.1", port });

const bare = fastify();
bare.get("/", async () => ({ hello: "world" }));
const bareUrl = await bare.listen({ host: "127.0.0.1", port: 0 });

const rows = [
  ["bare Fastify route", await measure({ url: bareUrl })],
  [
    "GET /api/v1/me",
    await measure({
      url: `${config.google.redirectUri.split("/api")[0]}/api/v1/me`,
      headers: { authorization: `Bearer ${token}` },
    }),
  ],
  [
    "insert + enqueue",
    await measure({ url: `http://127.0.0.1:${port}/bench/webhook`, method: "POST" }),
  ],
] as const;

const base = rows[0][1].requests.average;
process.stdout.write(
  "\n| route | requests/s | ratio to bare | p50 ms | p99 ms | errors |\n| --- | --- | --- | --- | --- | --- |\n",
);
for (const [name, { requests, latency, errors, non2xx }] of rows) {
  const ratio = (requests.average / base).toFixed(3);
  process.stdout.write(
    `| ${name} | ${Math.round(requests.average)} | ${ratio} | ${latency.p50} | ${latency.p99} | ${errors + non2xx} |\n`,
  );
}
await Promise.all([bare.close(), server.close()]);

async function measure(options: {
  url: string;
  method?: "POST";
  headers?: Record<string, string>;
}) {
  await autocannon({ ...options, connections: 16, duration: 1 });
  return autocannon({ ...options, connections: 16, duration: seconds });
}

async function freePort(): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  const probe = createServer().listen(0, "127.0.0.1", () => {
    const address = probe.address();
    probe.close(() => resolve(typeof address === "object" && address ? address.port : 0));
  });
  return promise;
}
