import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { sql } from "kysely";
import { addFault } from "../../sandbox/google/faults.ts";
import { openTestApp, type TestApp } from "../harness.ts";
import { until } from "../timing.ts";

describe("a person's own data", () => {
  let t: TestApp;
  before(async () => {
    t = await openTestApp();
  });
  after(() => t[Symbol.asyncDispose]());

  const grantsOf = (email: string) => {
    const { sub } = t.google.state.people.find((person) => person.email === email)!;
    return [...t.google.state.grants.values()].filter((grant) => grant.sub === sub).length;
  };
  const revocations = async (...states: string[]) => {
    const { rows } = await sql`
      select from pgboss.job_common where name = 'grants.revoke' and state::text = any(${states})
    `.execute(t.app.db);
    return rows.length;
  };
  const insertDay = async (userId: string) => {
    const { rows } = await sql<{ project: string }>`
      insert into projects (name, created_by) values ('Harbour', ${userId}) returning id as project`.execute(
      t.app.db,
    );
    const project = rows[0]!.project;
    await sql`insert into documents (title, project_id, created_by, status) values ('Plan', ${project}, ${userId}, 'active')`.execute(
      t.app.db,
    );
    await sql`insert into meetings (user_id, title, start_time, end_time, project_id) values (${userId}, 'Talk', now(), now(), ${project})`.execute(
      t.app.db,
    );
    return project;
  };

  test("the export is all rows of the user, one a line, and no secret", async () => {
    const ana = await t.signIn("ana@example.com");
    const priya = await t.signIn("priya@example.com");
    await insertDay(ana.userId);
    await insertDay(priya.userId);
    const { status, body, headers } = await ana.call("GET", "/api/v1/me/export");
    assert.equal(status, 200);
    assert.match(headers.get("content-type") ?? "", /ndjson/);
    const lines = String(body)
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    const tables = new Set(lines.map(({ table }) => table));
    for (const table of [
      "users",
      "connections",
      "sessions",
      "projects",
      "documents",
      "meetings",
      "audit_trail",
    ]) {
      assert.ok(tables.has(table), table);
    }
    assert.equal(lines.filter(({ table }) => table === "meetings").length, 1);
    assert.doesNotMatch(
      String(body),
      new RegExp(`${priya.userId}|v1\\.[0-9a-f]{8}\\.|token_hash|refresh_token"`),
    );
  });

  test("disconnecting revokes the grant at Google and takes the tokens, but not the way to sign in", async () => {
    const jonas = await t.signIn("jonas.weber@example.com");
    assert.equal(grantsOf("jonas.weber@example.com"), 1);
    const { status } = await jonas.call("POST", "/api/v1/auth/google/token/revoke", {});
    assert.equal(status, 200);
    await until(() => grantsOf("jonas.weber@example.com") === 0);
    const { body } = await jonas.call("GET", "/api/v1/me");
    assert.equal(body.connections[0].state_reason, "disconnected");
    const row = await t.app.db
      .selectFrom("connections")
      .selectAll()
      .where("user_id", "=", jonas.userId)
      .executeTakeFirstOrThrow();
    assert.deepEqual([row.access_token, row.refresh_token], [null, null]);
    const again = await t.signIn("jonas.weber@example.com");
    assert.equal(again.userId, jonas.userId);
    assert.equal((await again.call("GET", "/api/v1/me")).body.connections[0].state, "active");
  });

  test("revoking is tried again when Google is away", async () => {
    const zoe = await t.signIn("zoe.lindqvist@example.org");
    addFault(t.google.state, { endpoint: "oauth.revoke", status: 503 });
    await zoe.call("POST", "/api/v1/auth/google/token/revoke", {});
    await until(async () => (await revocations("retry")) === 1);
    assert.equal(grantsOf("zoe.lindqvist@example.org"), 1);
    await sql`update pgboss.job_common set start_after = now() where state = 'retry'`.execute(
      t.app.db,
    );
    await until(() => grantsOf("zoe.lindqvist@example.org") === 0);
  });

  test("revoking that comes late leaves alone what the person has granted since", async () => {
    const zoe = await t.signIn("zoe.lindqvist@example.org");
    addFault(t.google.state, { endpoint: "oauth.revoke", status: 503 });
    await zoe.call("POST", "/api/v1/auth/google/token/revoke", {});
    await until(async () => (await revocations("retry")) === 1);
    await zoe.connect("zoe.lindqvist@example.org");
    await sql`update pgboss.job_common set start_after = now() where state = 'retry'`.execute(
      t.app.db,
    );
    await until(async () => (await revocations("created", "active", "retry")) === 0);
    assert.equal(grantsOf("zoe.lindqvist@example.org"), 1);
    const { body } = await zoe.call("POST", "/api/v1/auth/google/token/refresh", {});
    assert.ok(body.expires_in > 3_000, JSON.stringify(body));
  });

  test("somebody else's connection cannot be disconnected", async () => {
    const ana = await t.signIn("ana@example.com");
    const priya = await t.signIn("priya@example.com");
    const { body } = await priya.call("GET", "/api/v1/me");
    const { status } = await ana.call("POST", "/api/v1/auth/google/token/revoke", {
      connection_id: body.connections[0].id,
    });
    assert.equal(status, 404);
    assert.equal(grantsOf("priya@example.com"), 1);
  });

  test("deleting removes every row of the user in every table, revokes at Google, and touches nobody else", async () => {
    const ana = await t.signIn("ana@example.com");
    const priya = await t.signIn("priya@example.com");
    await t.idle();
    const project = await insertDay(ana.userId);
    await sql`insert into documents (title, project_id, created_by) values ('Guest', ${project}, ${priya.userId})`.execute(
      t.app.db,
    );
    const priyasBefore = String((await priya.call("GET", "/api/v1/me/export")).body).split(
      "\n",
    ).length;
    assert.equal((await ana.call("DELETE", "/api/v1/me")).status, 204);
    assert.equal((await ana.call("GET", "/api/v1/me")).status, 401);
    await until(() => grantsOf("ana@example.com") === 0);
    const { rows } = await sql<{ table: string; column: string }>`
      select table_name as table, column_name as column from information_schema.columns join information_schema.tables using (table_schema, table_name)
      where table_schema = 'public' and table_type = 'BASE TABLE' and data_type in ('uuid', 'text')`.execute(
      t.app.db,
    );
    for (const { table, column } of rows) {
      const found =
        await sql`select from ${sql.table(table)} where ${sql.ref(column)}::text = ${ana.userId}`.execute(
          t.app.db,
        );
      assert.equal(found.rows.length, 0, `${table}.${column} still names the user`);
    }
    const priyasAfter = String((await priya.call("GET", "/api/v1/me/export")).body).split(
      "\n",
    ).length;
    assert.equal(priyasAfter, priyasBefore);
    const { rows: guests } = await sql<{
      project_id: string | null;
    }>`select project_id from documents where title = 'Guest'`.execute(t.app.db);
    assert.deepEqual(guests, [{ project_id: null }]);
  });

  test("a whole run leaves no token, key, address or cookie in the log", async () => {
    const log = t.logged.join("");
    assert.ok(t.logged.length > 20);
    assert.doesNotMatch(
      log,
      /ya29|1\/\/0|eyJ[A-Za-z0-9_-]{10}|@example\.(com|org)|daybook_session=|for-tests/,
    );
    const { rows } = await sql<{
      payload: string;
    }>`select data::text as payload from pgboss.job_common`.execute(t.app.db);
    assert.doesNotMatch(JSON.stringify(rows), /ya29|"1\/\/0/);
  });
});
