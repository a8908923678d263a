import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, beforeEach, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { sql } from "kysely";
import { Client } from "pg";
import { systemClock } from "../lib/clock.ts";
import { ProviderError } from "../lib/errors.ts";
import { listDeadLetters } from "./dead-letters.ts";
import { enqueue, openQueue } from "./queue.ts";
import {
  findJobState,
  handlersOf,
  inAnHour,
  letLeasesRunOut,
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

describe("workers", () => {
  it("start a job within 50 ms of the commit", async () => {
    const startedAt = new Map<string, number>();
    await using _workers = await startWorkers(
      app,
      handlersOf(async (name) => void startedAt.set(name, performance.now())),
    );
    await delay(200);
    const waits: number[] = [];
    for (const name of ["a", "b", "c", "d", "e", "f", "g"]) {
      await app.database.db.transaction().execute((tx) => enqueue(app, tx, run(name)));
      const committedAt = performance.now();
      await until(() => startedAt.has(name), 1);
      waits.push(startedAt.get(name)! - committedAt);
    }
    // The median, for a machine that is busy with other tests.
    assert.ok(waits.toSorted((a, b) => a - b)[3]! < 50, `${waits} ms`);
  });

  it("are woken one at a time, so that a job costs few looks for it", async (t) => {
    const done: string[] = [];
    await using _workers = await startWorkers(
      app,
      handlersOf(async (name) => void done.push(name)),
    );
    await delay(200);
    const asked = t.mock.method(Client.prototype, "query");
    for (let count = 1; count <= 20; count += 1) {
      await enqueue(app, app.database.db, run(`${count}`));
      await until(() => done.length === count);
    }
    const looks = asked.mock.calls.filter(({ arguments: [query] }) =>
      /j.name = 'schedule.run'/.test(String(query)),
    ).length;
    // The one that finds it, and the next worker's: not one for each of the workers.
    assert.ok(looks >= 20 && looks < 3 * 20, `${looks} looks`);
  });

  it("let the next job of a key wait while one runs, and miss no signal", async () => {
    const gate = Promise.withResolvers<void>();
    const seen: string[] = [];
    await using _workers = await startWorkers(
      app,
      handlersOf(async (name) => {
        seen.push(name);
        if (name === "first") await gate.promise;
      }),
    );
    await enqueue(app, app.database.db, run("first", "k"));
    await until(() => seen.length === 1);
    assert.ok(
      await enqueue(app, app.database.db, { ...run("second", "k"), startAfter: inAnHour() }),
    );
    assert.equal(await enqueue(app, app.database.db, run("third", "k")), null);
    gate.resolve();
    await until(() => seen.length === 2);
    assert.deepEqual(seen, ["first", "third"]);
  });

  it("work through a backlog without a rest, the highest priority first", async () => {
    const seen: string[] = [];
    const backlog = Array.from({ length: 200 }, (_, index) => run(`${index}`));
    await enqueue(app, app.database.db, [...backlog, { ...run("urgent"), priority: 9 }]);
    const startedAt = performance.now();
    await using _workers = await startWorkers(
      app,
      handlersOf(async (name) => void seen.push(name)),
    );
    await until(() => seen.length === 201);
    assert.ok(performance.now() - startedAt < 5_000);
    assert.ok(seen.indexOf("urgent") < 4, `${seen.slice(0, 8)}`);
  });

  it("find a job that becomes due later, although nobody announces it", async () => {
    const seen: string[] = [];
    await using _workers = await startWorkers(
      app,
      handlersOf(async (name) => void seen.push(name)),
    );
    await enqueue(app, app.database.db, { ...run("soon"), startAfter: new Date(Date.now() + 500) });
    await delay(200);
    assert.deepEqual(seen, []);
    await until(() => seen.length === 1);
  });

  it("lose no signal when processes race, jobs fail and keys are few", async () => {
    const { db } = app.database;
    await sql`create table signals (key text primary key, wanted int not null default 0, seen int not null default 0)`.execute(
      db,
    );
    await sql`insert into signals (key) select unnest(array['a', 'b', 'c'])`.execute(db);
    let attempts = 0;
    const handlers = handlersOf(async (key) => {
      const { rows } = await sql<{
        wanted: number;
      }>`select wanted from signals where key = ${key}`.execute(db);
      attempts += 1;
      if (attempts % 4 === 0) throw new ProviderError("wait", "Busy");
      await sql`update signals set seen = greatest(seen, ${rows[0]!.wanted}) where key = ${key}`.execute(
        db,
      );
    });
    await using queue = await openQueue({ ...app, clock: systemClock });
    await using _here = await startWorkers(app, handlers);
    await using _there = await startWorkers({ queue, log: app.log }, handlers);
    const signal = async (index: number) => {
      const key = "abc"[index % 3]!;
      await db.transaction().execute(async (tx) => {
        await sql`update signals set wanted = wanted + 1 where key = ${key}`.execute(tx);
        await enqueue(index % 2 ? app : { queue }, tx, run(key, key));
      });
    };
    for (let index = 0; index < 300; index += 6) {
      await Promise.all([0, 1, 2, 3, 4, 5].map((step) => signal(index + step)));
    }
    await until(async () => {
      await skipWaiting(app);
      return (await listJobs(app)).length === 0;
    });
    const { rows } = await sql`select key, wanted, seen from signals order by key`.execute(db);
    assert.deepEqual(
      rows,
      [..."abc"].map((key) => ({ key, wanted: 100, seen: 100 })),
    );
    assert.deepEqual(await listDeadLetters(app.queue, 1), []);
  });

  it("log one line for each finished job, with counts and without the payload", async () => {
    await using _workers = await startWorkers(
      app,
      handlersOf(async () => {}, { mails: 3 }),
    );
    const id = await enqueue(app, app.database.db, run("not for the log"));
    await until(async () => (await findJobState(app.queue, "schedule.run", id!))?.state === "done");
    const [line, ...others] = app.lines;
    assert.deepEqual(others, []);
    const { job, attempt, outcome, counts } = line!;
    assert.deepEqual(
      { job, id: line!.id, attempt, outcome, counts },
      { job: "schedule.run", id, attempt: 1, outcome: "done", counts: { mails: 3 } },
    );
    assert.equal(typeof line!.ms, "number");
    assert.doesNotMatch(JSON.stringify(line), /not for the log/);
  });
});

describe("closing the workers", () => {
  it("lets a short job finish", async () => {
    const begun = Promise.withResolvers<void>();
    const handlers = handlersOf(async () => {
      begun.resolve();
      await delay(300);
    });
    const workers = await startWorkers(app, handlers);
    const id = await enqueue(app, app.database.db, run("short"));
    await begun.promise;
    await workers[Symbol.asyncDispose]();
    assert.equal((await findJobState(app.queue, "schedule.run", id!))?.state, "done");
  });

  it("hands back a long job, whether it listens or not, and does not count that as a failure", async () => {
    const workers = await startWorkers(
      app,
      handlersOf((name, { signal }) => {
        const { promise, reject } = Promise.withResolvers<void>();
        if (name === "listens") signal.addEventListener("abort", () => reject(signal.reason));
        return promise;
      }),
      { stopWithinMs: 1_000 },
    );
    await enqueue(app, app.database.db, [run("listens"), run("deaf")]);
    await until(async () => (await listJobs(app)).every(({ state }) => state === "active"));
    const startedAt = performance.now();
    await workers[Symbol.asyncDispose]();
    assert.ok(performance.now() - startedAt < 1_500);
    const jobs = await listJobs(app);
    assert.deepEqual(
      jobs.map(({ state, inSeconds }) => [state, inSeconds <= 0]),
      [
        ["retry", true],
        ["retry", true],
      ],
    );
    const { rows } = await sql<{ retries: number }>`
      select retry_limit as retries from pgboss.job_common`.execute(app.database.db);
    assert.deepEqual(rows, [{ retries: 3 }, { retries: 3 }]);

    const attempts: number[] = [];
    await using _others = await startWorkers(
      app,
      handlersOf(async (_, { attempt }) => void attempts.push(attempt)),
    );
    await until(() => attempts.length === 2);
    assert.deepEqual(attempts, [2, 2]);
  });
});

describe("a worker process that is killed", () => {
  it("loses no job: another process takes it over when the lease has run out", async () => {
    const id = await enqueue(app, app.database.db, run("long"));
    const child = spawn(
      process.execPath,
      ["--input-type=module", "--eval", workerProgram, app.database.url],
      {
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    await once(child.stdout, "data");
    child.kill("SIGKILL");
    await once(child, "exit");
    assert.equal((await findJobState(app.queue, "schedule.run", id!))?.state, "running");

    const seen: string[] = [];
    await using _workers = await startWorkers(
      app,
      handlersOf(async (name) => void seen.push(name)),
    );
    await letLeasesRunOut(app);
    await until(async () => (await listJobs(app))[0]?.state === "retry");
    await skipWaiting(app);
    await until(() => seen.length === 1);
    await until(async () => (await findJobState(app.queue, "schedule.run", id!))?.state === "done");
    assert.equal((await findJobState(app.queue, "schedule.run", id!))?.attempts, 2);
  });
});

const workerProgram = `
  const { openDatabase } = await import("${import.meta.resolve("../db/connection.ts")}");
  const { openLog } = await import("${import.meta.resolve("../lib/log.ts")}");
  const { openQueue } = await import("${import.meta.resolve("./queue.ts")}");
  const { startWorkers } = await import("${import.meta.resolve("./workers.ts")}");
  const log = openLog("silent");
  const database = openDatabase(process.argv[1]);
  const queue = await openQueue({ database, log, clock: { now: () => new Date() } });
  await startWorkers({ queue, log }, {
    "schedule.run": () => new Promise(() => console.log("running")),
  });
`;
