import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { PoolClient } from "pg";
import type { Log } from "../lib/log.ts";
import type { Keyring } from "../lib/secrets.ts";
import type { Database } from "./connection.ts";
import { sealClearTokens } from "./seal-clear-tokens.ts";

/** The database is not one that this version can bring up to date. The message says why, and what to do. */
export class MigrationError extends Error {
  override readonly name = "MigrationError";
}

export type Migration = { name: string; sql: string; checksum: string };

// Any number that no other program of this database locks.
const migrationLock = 4_400_1000;

/**
 * Brings the tables up to date: each migration once, in order, in a transaction of its own, while other processes that
 * start at the same time wait. Then moves Google tokens that still lie in clear text. Running it again does nothing.
 *
 * @throws {MigrationError} when a migration that ran was edited since, or the database is newer than this program.
 */
export async function migrate(
  database: Database,
  { keyring, log, migrations }: { keyring: Keyring; log: Log; migrations?: Migration[] },
): Promise<{ ran: string[] }> {
  const known = migrations ?? (await readMigrations());
  const client = await database.pool.connect();
  try {
    // Waiting for another process, or for a large table, may take its time.
    await client.query("set statement_timeout = 0");
    await client.query("select pg_advisory_lock($1)", [migrationLock]);
    const startedAt = performance.now();
    await requireVersion(client);
    const ran = await runMissing(client, known);
    const sealed = await sealClearTokens(client, keyring);
    if (ran.length > 0 || sealed > 0) {
      log.info(
        { migrations: ran.length, sealed, ms: Math.round(performance.now() - startedAt) },
        "migrated",
      );
    }
    return { ran };
  } finally {
    // The lock belongs to the session: a process that dies lets go of it too.
    await client.query("select pg_advisory_unlock($1)", [migrationLock]).catch(() => {});
    await client.query("reset statement_timeout").catch(() => {});
    client.release();
  }
}

/** The numbered SQL files beside this one, in order. */
export async function readMigrations(): Promise<Migration[]> {
  const folder = join(import.meta.dirname, "migrations");
  const names = (await readdir(folder)).filter((name) => name.endsWith(".sql")).sort();
  return Promise.all(
    names.map(async (name) => {
      const sql = await readFile(join(folder, name), "utf8");
      return { name, sql, checksum: createHash("sha256").update(sql).digest("hex") };
    }),
  );
}

async function requireVersion(client: PoolClient): Promise<void> {
  const { rows } = await client.query<{ version: string }>(
    "select current_setting('server_version_num') as version",
  );
  if (Number(rows[0]?.version) < 150_000)
    throw new MigrationError("Daybook needs PostgreSQL 15 or newer");
}

async function runMissing(client: PoolClient, known: Migration[]): Promise<string[]> {
  await closingNewTables(client, () =>
    client.query(`create table if not exists daybook_migrations (
      name text primary key, checksum text not null, ran_at timestamptz not null default now())`),
  );
  const { rows } = await client.query<{ name: string; checksum: string }>(
    "select name, checksum from daybook_migrations",
  );
  const done = new Map(rows.map(({ name, checksum }) => [name, checksum]));
  refuseStrangers(known, done);
  const missing = known.filter(({ name }) => !done.has(name));
  for (const migration of missing) await runOne(client, migration);
  return missing.map(({ name }) => name);
}

function refuseStrangers(known: Migration[], done: Map<string, string>): void {
  for (const { name, checksum } of known) {
    const before = done.get(name);
    if (before !== undefined && before !== checksum) {
      throw new MigrationError(
        `Migration ${name} was edited after it ran here: restore it, and add a new one instead`,
      );
    }
  }
  const unknown = [...done.keys()].filter((name) => !known.some((one) => one.name === name));
  if (unknown.length > 0) {
    throw new MigrationError(
      `This database was migrated by a newer Daybook (${unknown.join(", ")}): install that version`,
    );
  }
}

async function runOne(client: PoolClient, { name, sql, checksum }: Migration): Promise<void> {
  try {
    await client.query("begin");
    await closingNewTables(client, () => client.query(sql));
    await client.query("insert into daybook_migrations (name, checksum) values ($1, $2)", [
      name,
      checksum,
    ]);
    await client.query("commit");
  } catch (cause) {
    await client.query("rollback").catch(() => {});
    throw new MigrationError(
      `Migration ${name} failed: ${cause instanceof Error ? cause.message : cause}`,
      { cause },
    );
  }
}

// Where PostgREST serves the schema, as at Supabase, every new table is open to the world until row-level security
// closes it. It does not concern us, who own the tables.
async function closingNewTables(client: PoolClient, act: () => Promise<unknown>): Promise<void> {
  const before = await listTables(client);
  await act();
  const made = (await listTables(client)).filter((table) => !before.includes(table));
  for (const table of made) await client.query(`alter table ${table} enable row level security`);
}

async function listTables(client: PoolClient): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    "select oid::regclass::text as name from pg_class where relkind = 'r' and relnamespace = current_schema()::regnamespace",
  );
  return rows.map(({ name }) => name);
}
