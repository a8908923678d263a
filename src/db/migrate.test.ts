import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { createEmptyDatabase } from "../../test/database.ts";
import { openLog } from "../lib/log.ts";
import { sealingKey, unseal } from "../lib/secrets.ts";
import { type Database, openDatabase } from "./connection.ts";
import { type Migration, MigrationError, migrate, readMigrations } from "./migrate.ts";

const log = openLog("silent");
const keyring = { current: sealingKey("a key for tests of migrations"), previous: [] };
const legacy = readFileSync(new URL("../../test/legacy-schema.sql", import.meta.url), "utf8");
const [first = "", second = "", third = ""] = legacy.split(/^-- === PART [23]$/m);

/** What stood in the older product's database at three stages of its life. */
const stages = {
  "as it stood first": first,
  "with the tables that came later": first + second,
  "with what was changed by hand": first + second + third.replaceAll(/^--later /gm, ""),
};

type Row = Record<string, unknown>;

describe("migrations", () => {
  for (const [stage, schema] of Object.entries(stages)) {
    test(`bring an existing database up to date, ${stage}: no row is lost, and no value changes`, async () => {
      await using database = await createEmptyDatabase();
      await database.pool.query(schema);
      const tables = await fillEveryTable(database);
      assert.ok(tables.length >= 28, `${tables.length} tables`);
      const before = await readAll(database, tables);
      await migrate(database, { keyring, log });
      const after = await readAll(database, tables);
      for (const table of tables) {
        for (const [index, row] of (before.get(table) ?? []).entries()) {
          const expected = table === "google_credentials" ? withoutTokens(row) : row;
          const kept = pick(after.get(table)?.[index] ?? {}, Object.keys(row));
          assert.deepEqual(kept, expected, `${table}, row ${index}`);
        }
      }
      await assertTokensMoved(database, before.get("google_credentials") ?? []);
      assert.deepEqual(
        (await migrate(database, { keyring, log })).ran,
        [],
        "again, it does nothing",
      );
      assert.deepEqual(await readAll(database, tables), after);
    });
  }

  test("let our own sign-in make people in a database of the older product", async () => {
    await using database = await createEmptyDatabase();
    await database.pool.query(first);
    await migrate(database, { keyring, log });
    const { rows } = await database.pool.query(
      "insert into users (email) values ('new@example.com') returning id",
    );
    await database.pool.query("insert into calendar_webhooks (user_id) values ($1)", [rows[0].id]);
    const { rows: keys } = await database.pool.query(
      "select count(*)::int as count from pg_constraint where confrelid = 'auth.users'::regclass and contype = 'f'",
    );
    assert.equal(keys[0].count, 0);
  });

  test("run once, however many processes start at once", async () => {
    await using database = await createEmptyDatabase();
    await using other = openDatabase(database.url);
    const results = await Promise.all(
      [database, other, database].map((one) => migrate(one, { keyring, log })),
    );
    const known = await readMigrations();
    assert.deepEqual(
      results.map(({ ran }) => ran.length).sort((one, two) => one - two),
      [0, 0, known.length],
    );
  });

  test("that were edited after they ran are refused, and so is a database of a newer program", async () => {
    await using database = await createEmptyDatabase();
    const made = (name: string, sql: string): Migration => ({ name, sql, checksum: sql });
    const known = await readMigrations();
    await migrate(database, { keyring, log });
    const [one, ...rest] = known;
    const edited = [made(one!.name, "select 1"), ...rest];
    await assert.rejects(
      migrate(database, { keyring, log, migrations: edited }),
      /was edited after it ran/,
    );
    const older = known.slice(0, -1);
    await assert.rejects(migrate(database, { keyring, log, migrations: older }), /newer Daybook/);
  });

  test("that fail leave nothing of themselves, and what ran before", async () => {
    await using database = await createEmptyDatabase();
    const known = await readMigrations();
    const broken = {
      name: "9999-broken.sql",
      sql: "create table half (); select 1 / 0",
      checksum: "x",
    };
    await assert.rejects(
      migrate(database, { keyring, log, migrations: [...known, broken] }),
      MigrationError,
    );
    const { rows } = await database.pool.query(
      "select to_regclass('half') as half, to_regclass('feeds')::text as feeds",
    );
    assert.deepEqual(rows, [{ half: null, feeds: "feeds" }]);
  });

  test("killed at any moment are whole after the next start", async () => {
    await using database = await createEmptyDatabase();
    await database.pool.query(first);
    await fillEveryTable(database);
    for (let afterMs = 0; ; afterMs += 25) {
      const process = fork(new URL("./migrate.process.ts", import.meta.url), [database.url], {
        stdio: ["ignore", "ignore", "inherit", "ipc"],
      });
      const ended = once(process, "exit");
      await once(process, "message");
      await new Promise((resolve) => setTimeout(resolve, afterMs));
      process.kill("SIGKILL");
      const [code] = await ended;
      if (code === 0) break;
    }
    assert.deepEqual((await migrate(database, { keyring, log })).ran, []);
    const { rows } = await database.pool.query(
      "select count(*)::int as count from daybook_migrations",
    );
    assert.equal(rows[0].count, (await readMigrations()).length);
  });
});

function withoutTokens(row: Row): Row {
  return { ...row, access_token: null, refresh_token: null };
}

function pick(row: Row, names: string[]): Row {
  return Object.fromEntries(names.map((name) => [name, row[name]]));
}

async function assertTokensMoved(database: Database, old: Row[]): Promise<void> {
  for (const { user_id, access_token, refresh_token } of old) {
    const { rows } = await database.pool.query("select * from connections where user_id = $1", [
      user_id,
    ]);
    const [connection] = rows;
    for (const [column, token] of Object.entries({ access_token, refresh_token })) {
      assert.notEqual(connection[column], token);
      assert.equal(
        unseal(keyring, connection[column], `connections:${connection.id}:${column}`),
        token,
      );
    }
  }
}

// Rows in the order of their own text without what a migration may add, which is the same before and after.
async function readAll(database: Database, tables: string[]): Promise<Map<string, Row[]>> {
  const all = new Map<string, Row[]>();
  for (const table of tables) {
    const key =
      table === "google_credentials"
        ? "user_id"
        : table === "project_metadata"
          ? "project_id"
          : "id";
    const { rows } = await database.pool.query(
      `select to_jsonb(t) as row from ${table} as t order by to_jsonb(t) ->> '${key}'`,
    );
    all.set(
      table,
      rows.map(({ row }) => row),
    );
  }
  return all;
}

type Column = {
  table: string;
  name: string;
  type: string;
  target: string | null;
  target_column: string | null;
  choices: string | null;
};

const rowsEach = 3;

/** Puts rows with a value in every column into every table, as its keys and checks allow. */
async function fillEveryTable(database: Database): Promise<string[]> {
  const { rows: columns } = await database.pool.query<Column>(`
    select c.oid::regclass::text as table, a.attname as name, format_type(a.atttypid, null) as type,
      (select k.confrelid::regclass::text from pg_constraint k
        where k.conrelid = c.oid and k.contype = 'f' and k.conkey = array[a.attnum] limit 1) as target,
      (select t.attname from pg_constraint k join pg_attribute t on t.attrelid = k.confrelid and t.attnum = k.confkey[1]
        where k.conrelid = c.oid and k.contype = 'f' and k.conkey = array[a.attnum] limit 1) as target_column,
      (select pg_get_constraintdef(k.oid) from pg_constraint k
        where k.conrelid = c.oid and k.contype = 'c' and k.conkey = array[a.attnum] limit 1) as choices
    from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relkind = 'r' and c.relnamespace in ('public'::regnamespace, 'auth'::regnamespace) and a.attgenerated = ''
    order by c.oid, a.attnum`);
  const tables = Map.groupBy(columns, ({ table }) => table);
  const ids = new Map<string, string[]>();
  const left = new Set(tables.keys());
  while (left.size > 0) {
    const ready = [...left].filter((table) =>
      (tables.get(table) ?? []).every(
        ({ target }) => target === null || target === table || !left.has(target),
      ),
    );
    assert.ok(ready.length > 0, `tables point at each other: ${[...left]}`);
    for (const table of ready) {
      await fill(database, table, tables.get(table) ?? [], ids);
      left.delete(table);
    }
  }
  return [...tables.keys()].filter((table) => !table.startsWith("auth."));
}

async function fill(
  database: Database,
  table: string,
  columns: Column[],
  ids: Map<string, string[]>,
): Promise<void> {
  const own: string[] = [];
  for (let index = 0; index < rowsEach; index += 1) {
    const id = table === "users" ? (ids.get("auth.users")?.[index] ?? randomUUID()) : randomUUID();
    own.push(id);
    const values = columns.map((column) => {
      if (column.name === "id" && column.type === "uuid") return id;
      const users = ids.get("auth.users")?.[index];
      if (column.target && column.target_column && !/^(id|user_id)$/.test(column.target_column)) {
        return fillingOf({ ...column, name: column.target_column, choices: null }, index);
      }
      if (column.target && column.target !== table) return ids.get(column.target)?.[index] ?? null;
      if (column.target === table) return null;
      if (column.type === "uuid" && /user_id|created_by/.test(column.name)) return users;
      return fillingOf(column, index);
    });
    const names = columns.map(({ name }) => `"${name}"`).join(", ");
    const places = columns.map((_, at) => `$${at + 1}`).join(", ");
    await database.pool.query(`insert into ${table} (${names}) values (${places})`, values);
  }
  const key = columns.find(({ name }) => name === "id") ? own : (ids.get("users") ?? own);
  ids.set(table, key);
}

function fillingOf({ name, type, choices }: Column, index: number): unknown {
  const allowed = [...(choices ?? "").matchAll(/'([^']+)'::/g)].map(([, word]) => word);
  if (allowed.length > 0) return allowed[index % allowed.length];
  if (type === "uuid") return randomUUID();
  if (type === "boolean") return index % 2 === 0;
  if (/^(integer|bigint|numeric|double precision|smallint|real)/.test(type)) return index + 1;
  if (type === "jsonb" || type === "json") return JSON.stringify({ of: name, index });
  if (type.endsWith("[]")) return [`${name} ${index}`, "ä"];
  if (type.startsWith("timestamp")) return `2025-0${index + 1}-03T04:05:06.789Z`;
  if (type === "date") return `2025-0${index + 1}-03`;
  if (type === "inet") return "192.0.2.1";
  if (/email/.test(name)) return `person${index}@example.com`;
  return `${name} ${index}`;
}
