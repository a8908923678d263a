import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import { type Answer, openTestApp, type TestApp } from "../../test/harness.ts";

describe("Idempotency-Key", () => {
  let t: TestApp;
  before(async () => {
    t = await openTestApp({ workers: false });
  });
  after(() => t[Symbol.asyncDispose]());

  // Each sending takes the letters that are there, so that doing it twice shows.
  const addLetter = async () => {
    const { rows } = await sql<{ id: string }>`
      insert into pgboss.job (name, data, source_name) values ('dead-letters', '{}', 'tokens.reseal') returning id`.execute(
      t.app.db,
    );
    return rows[0]!.id;
  };
  const resend = async (key: string, body: unknown = {}): Promise<Answer> => {
    const answer = await fetch(`${t.url}/api/v1/jobs/dead-letters/resend`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${t.app.config.serviceKey.reveal()}`,
        "content-type": "application/json",
        "idempotency-key": key,
      },
      body: JSON.stringify(body),
    });
    return { status: answer.status, body: await answer.json(), headers: answer.headers };
  };
  const rowOf = (key: string) =>
    t.app.db
      .selectFrom("idempotency_keys")
      .selectAll()
      .where("key", "=", key)
      .executeTakeFirstOrThrow();
  const change = (key: string, column: "lease_until" | "expires_at", interval: string) =>
    sql`update idempotency_keys set ${sql.ref(column)} = now() + ${interval}::interval where key = ${key}`.execute(
      t.app.db,
    );

  /** Holds on to all dead letters, so that a call that wants them is still running. */
  const holdLetters = async () => {
    const tx = await t.app.db.startTransaction().execute();
    await sql`select from pgboss.job where name = 'dead-letters' for update`.execute(tx);
    return { release: () => tx.rollback().execute() };
  };
  const started = async (key: string) => {
    while (
      (await sql`select from idempotency_keys where key = ${key}`.execute(t.app.db)).rows.length ===
      0
    )
      await sleep(10);
  };

  test("a repeat gets the same answer, and nothing is done again", async () => {
    await addLetter();
    const first = await resend("same");
    assert.deepEqual([first.status, first.body], [200, { resent: 1 }]);
    await addLetter();
    const repeat = await resend("same");
    assert.deepEqual([repeat.status, repeat.body], [200, { resent: 1 }]);
    assert.equal(repeat.headers.get("content-type"), first.headers.get("content-type"));
    assert.deepEqual((await resend("another")).body, { resent: 1 });
  });

  test("the same key with another body is refused", async () => {
    await resend("other body");
    const { status, body, headers } = await resend("other-body");
    assert.equal(status, 200);
    const other = await resend("other-body", { ids: [randomUUID()] });
    assert.equal(other.status, 409);
    assert.equal(other.headers.get("content-type"), "application/problem+json");
    assert.match(other.body.detail, /another request/);
    assert.deepEqual(
      [body, headers.get("content-type")],
      [{ resent: 0 }, "application/json; charset=utf-8"],
    );
  });

  test("a key that is no plain word is refused", async () => {
    for (const key of ["with space", "x".repeat(201)])
      assert.equal((await resend(key)).status, 400);
  });

  test("a twin of a call that still runs is asked to wait, and then gets its answer", async () => {
    await addLetter();
    const letters = await holdLetters();
    const first = resend("twin");
    await started("twin");
    const twin = await resend("twin");
    assert.equal(twin.status, 409);
    assert.equal(twin.headers.get("retry-after"), "1");
    await letters.release();
    assert.deepEqual((await first).body, { resent: 1 });
    assert.deepEqual((await resend("twin")).body, { resent: 1 });
  });

  test("of many twins at once, one acts", async () => {
    await addLetter();
    const answers = await Promise.all(Array.from({ length: 8 }, () => resend("many")));
    for (const { status, body } of answers)
      assert.ok(status === 409 || body.resent === 1, `${status} ${JSON.stringify(body)}`);
    assert.deepEqual((await resend("many")).body, { resent: 1 });
  });

  test("a first that died with its process gives way after a minute", async () => {
    await sql`
      insert into idempotency_keys (principal, key, request_hash, state, lease_until, expires_at)
      values ('service', 'dead', '', 'running', now() - interval '1 second', now() + interval '1 day')`.execute(
      t.app.db,
    );
    await addLetter();
    assert.deepEqual((await resend("dead")).body, { resent: 1 });
    assert.equal((await rowOf("dead")).state, "done");
  });

  test("a first that outlived its lease does not overwrite the answer of the one that took its place", async () => {
    await addLetter();
    const letters = await holdLetters();
    const first = resend("slow");
    await started("slow");
    await change("slow", "lease_until", "-1 second");
    const second = { ids: [randomUUID()] };
    assert.deepEqual((await resend("slow", second)).body, { resent: 0 });
    await letters.release();
    assert.deepEqual((await first).body, { resent: 1 });
    assert.deepEqual((await resend("slow", second)).body, { resent: 0 });
  });

  test("a failure of ours is not kept: trying again succeeds", async () => {
    await addLetter();
    await sql`alter table pgboss.job_common rename to job_away`.execute(t.app.db);
    const failed = await resend("broken");
    await sql`alter table pgboss.job_away rename to job_common`.execute(t.app.db);
    assert.equal(failed.status, 500);
    assert.equal(failed.body.detail, "Internal error");
    assert.deepEqual((await resend("broken")).body, { resent: 1 });
  });

  test("an answer that cannot be kept goes out all the same", async () => {
    await addLetter();
    await sql`alter table idempotency_keys add constraint never check (state = 'running') not valid`.execute(
      t.app.db,
    );
    const first = await resend("unkept");
    await sql`alter table idempotency_keys drop constraint never`.execute(t.app.db);
    assert.deepEqual([first.status, first.body], [200, { resent: 1 }]);
    assert.equal((await resend("unkept")).status, 409);
  });

  test("after a day the key is free again", async () => {
    await resend("day");
    await change("day", "expires_at", "-1 second");
    await addLetter();
    assert.deepEqual((await resend("day")).body, { resent: 1 });
  });

  test("an answer is kept sealed, and opens nowhere but under its own key", async () => {
    await addLetter();
    await resend("sealed");
    const { body } = await rowOf("sealed");
    assert.match(body ?? "", /^v1\./);
    await sql`insert into idempotency_keys select principal, 'moved', request_hash, state, status, headers, body,
      lease_until, created_at, expires_at from idempotency_keys where key = 'sealed'`.execute(
      t.app.db,
    );
    await addLetter();
    const moved = await resend("moved");
    assert.deepEqual(
      [moved.status, moved.body.detail],
      [409, "This was done, but its answer can no longer be read"],
    );
    assert.deepEqual((await resend("another-letter")).body, { resent: 1 });
  });

  test("a refusal before the call began is not kept", async () => {
    assert.equal((await resend("refused", { ids: ["~"] })).status, 422);
    assert.equal((await resend("refused")).status, 200);
  });
});
