import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, beforeEach, describe, it } from "node:test";
import { sql } from "kysely";
import { AppError, ProviderError } from "../lib/errors.ts";
import { catalog, type JobContext } from "./catalog.ts";
import { listDeadLetters, resendDeadLetters } from "./dead-letters.ts";
import { enqueue, queueHealth } from "./queue.ts";
import {
  findJobState,
  handlersOf,
  inAnHour,
  listJobs,
  openTestQueue,
  run,
  skipWaiting,
  type TestQueue,
  until,
} from "./test-queue.ts";
import { startWorkers } from "./workers.ts";

let app: TestQueue;

before(async () => {
  app = await openTestQueue();
});

beforeEach(async () => {
  app.lines.length = 0;
  await sql`delete from pgboss.job_common`.execute(app.database.db);
});

after(() => app[Symbol.asyncDispose]());

describe("a failed job", () => {
  it("waits longer each time, lies among the dead letters in the end, and can be sent again from there", async () => {
    const attempts: number[] = [];
    let isBroken = true;
    await using _workers = await startWorkers(
      app,
      handlersOf(async (_name, { attempt }) => {
        attempts.push(attempt);
        if (isBroken) throw new Error("out of order");
      }),
    );
    const id = await enqueue(app, app.database.db, run("a", "k"));
    await untilRetry(1);
    assert.ok((await listJobs(app))[0]!.inSeconds > 2);
    await skipWaiting(app);
    await untilRetry(2);
    assert.ok((await listJobs(app))[0]!.inSeconds > 4);
    await skipWaiting(app);
    await until(async () => (await listDeadLetters(app.queue, 10)).length === 1);

    const { createdAt: _, failedAt, ...letter } = (await listDeadLetters(app.queue, 10))[0]!;
    assert.deepEqual(letter, {
      id: letter.id,
      name: "schedule.run",
      key: "k",
      payload: { name: "a" },
      error: "out of order",
      attempts: 3,
    });
    assert.ok(failedAt instanceof Date);
    assert.equal((await findJobState(app.queue, "schedule.run", id!))?.state, "failed");
    assert.equal((await queueHealth(app.queue)).dead, 1);

    isBroken = false;
    assert.equal(await resendDeadLetters(app.queue, [letter.id]), 1);
    await until(() => attempts.length === 4);
    assert.deepEqual(attempts, [1, 2, 3, 1]);
    assert.equal((await queueHealth(app.queue)).dead, 0);

    async function untilRetry(attempt: number) {
      await until(
        async () => attempts.length === attempt && (await listJobs(app))[0]?.state === "retry",
      );
    }
  });

  it("is the waiting one of its key: a new signal brings its payload, and the distance stays", async () => {
    await using _workers = await startWorkers(
      app,
      handlersOf(() => Promise.reject(new Error("no"))),
    );
    await enqueue(app, app.database.db, run("old", "k"));
    await until(async () => (await listJobs(app))[0]?.state === "retry");
    assert.equal(await enqueue(app, app.database.db, run("new", "k")), null);
    const [job, ...others] = await listJobs(app);
    assert.deepEqual(others, []);
    assert.deepEqual([job!.state, job!.data], ["retry", { name: "new" }]);
    assert.ok(job!.inSeconds > 2);
  });

  it("takes the place of the one that was added while it ran, with that one's payload and priority", async () => {
    const gate = Promise.withResolvers<void>();
    await using _workers = await startWorkers(
      app,
      handlersOf(() => gate.promise),
    );
    const id = await enqueue(app, app.database.db, run("old", "k"));
    await until(async () => (await listJobs(app))[0]?.state === "active");
    await enqueue(app, app.database.db, {
      ...run("new", "k"),
      startAfter: inAnHour(),
      priority: 4,
    });
    gate.reject(new Error("no"));
    await until(async () => (await listJobs(app)).length === 1);
    const [job] = await listJobs(app);
    assert.deepEqual(
      { ...job, inSeconds: 0 },
      { id, state: "retry", data: { name: "new" }, priority: 4, inSeconds: 0 },
    );
    assert.ok(job!.inSeconds < 10);
  });

  it("leaves the one that was added while it ran alone when it is given up", async () => {
    const gate = Promise.withResolvers<void>();
    const seen: string[] = [];
    await using _workers = await startWorkers(
      app,
      handlersOf(async (name) => {
        seen.push(name);
        if (name === "old") await gate.promise;
      }),
    );
    await enqueue(app, app.database.db, run("old", "k"));
    await until(() => seen.length === 1);
    await enqueue(app, app.database.db, { ...run("new", "k"), startAfter: inAnHour() });
    gate.reject(new AppError("not_found", "No such thing"));
    await until(async () => (await listDeadLetters(app.queue, 1)).length === 1);
    await skipWaiting(app);
    await until(() => seen.length === 2);
    assert.deepEqual(seen, ["old", "new"]);
  });

  it("does not come back before the provider wants it, and never when that cannot help", async () => {
    const errors = new Map<string, Error>([
      ["quota", new ProviderError("wait", "Quota", { retryAfterSeconds: 1_000 })],
      ["grant", new ProviderError("reauthorise", "The grant is dead")],
      ["gone", new AppError("not_found", "No connection c1")],
    ]);
    await using _workers = await startWorkers(
      app,
      handlersOf((name) => Promise.reject(errors.get(name))),
    );
    await enqueue(
      app,
      app.database.db,
      [...errors.keys()].map((name) => run(name)),
    );
    await until(async () => (await listDeadLetters(app.queue, 10)).length === 2);
    await until(async () => (await listJobs(app))[0]?.state === "retry");
    assert.ok((await listJobs(app))[0]!.inSeconds > 900);
    const messages = (await listDeadLetters(app.queue, 10)).map(({ error }) => error);
    assert.deepEqual(messages.sort(), ["No connection c1", "The grant is dead"]);
  });

  it("knows in its last attempt that no other follows", async () => {
    const seen: [attempt: number, isGivenUp: boolean][] = [];
    const error = new Error("out of order");
    const act = async (_name: string, { attempt, isGivenUpBy }: JobContext) => {
      seen.push([attempt, isGivenUpBy(error)]);
      throw error;
    };
    await using _workers = await startWorkers(app, handlersOf(act));
    await enqueue(app, app.database.db, run("a"));
    await until(async () => {
      await skipWaiting(app);
      return (await listDeadLetters(app.queue, 1)).length === 1;
    });
    assert.deepEqual(seen, [
      [1, false],
      [2, false],
      [3, true],
    ]);
  });

  it("is not given up where its last attempt is interrupted", async () => {
    let isGivenUp: boolean | undefined;
    const wait = async (_name: string, { signal, isGivenUpBy }: JobContext) => {
      await once(signal, "abort");
      isGivenUp = isGivenUpBy(signal.reason);
      throw signal.reason;
    };
    const workers = await startWorkers(app, handlersOf(wait), { stopWithinMs: 600 });
    await enqueue(app, app.database.db, { ...run("a"), startAfter: inAnHour() });
    await sql`update pgboss.job_common set retry_limit = 0`.execute(app.database.db);
    await skipWaiting(app);
    await until(async () => (await listJobs(app))[0]?.state === "active");
    await workers[Symbol.asyncDispose]();
    assert.equal(isGivenUp, false);
    assert.equal((await listJobs(app))[0]?.state, "retry");
  });

  it("counts as failed when its time is up", async (test) => {
    const { settings } = catalog["schedule.run"];
    const { expireSeconds } = settings;
    test.after(() => Object.assign(settings, { expireSeconds }));
    Object.assign(settings, { expireSeconds: 0.2 });
    await using _workers = await startWorkers(
      app,
      handlersOf((_name, { signal }) => once(signal, "abort").then(() => signal.throwIfAborted())),
    );
    const id = await enqueue(app, app.database.db, run("endless"));
    await until(async () => (await listJobs(app))[0]?.state === "retry");
    const job = await findJobState(app.queue, "schedule.run", id!);
    assert.deepEqual(job?.output, {
      name: "AppError",
      message: "Not finished within 0.2 s",
      code: "internal",
    });
  });

  it("is given up at once when its stored payload is malformed, and then not sent again", async () => {
    let isCalled = false;
    await enqueue(app, app.database.db, { ...run("a"), startAfter: inAnHour() });
    await sql`update pgboss.job_common set data = '{"nome": 1}'`.execute(app.database.db);
    await skipWaiting(app);
    await using _workers = await startWorkers(
      app,
      handlersOf(async () => {
        isCalled = true;
      }),
    );
    await until(async () => (await listDeadLetters(app.queue, 1)).length === 1);
    assert.match((await listDeadLetters(app.queue, 1))[0]!.error, /Malformed payload/);
    assert.equal(await resendDeadLetters(app.queue), 0);
    assert.equal(isCalled, false);
  });
});
