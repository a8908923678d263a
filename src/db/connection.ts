import { Kysely, PostgresDialect, type Transaction } from "kysely";
import { DatabaseError, defaults, Pool, types } from "pg";
import type { Log } from "../lib/log.ts";
import type { Tables } from "./tables.ts";

export type Db = Kysely<Tables>;
export type Tx = Transaction<Tables>;

/** An open database: queries through `db`, and the pool below for what Kysely has no words for. */
export type Database = {
  db: Db;
  pool: Pool;
  url: string;
  [Symbol.asyncDispose](): Promise<void>;
};

/**
 * Opens a pool of connections. Nothing is connected before the first query, and a server that goes away and comes back
 * is found again: no query waits longer than the limits here.
 *
 * Times are read and written as UTC, whatever the zone of the machine. `bigint` arrives as text: not every one is a
 * number that JavaScript can hold.
 */
export function openDatabase(url: string): Database {
  // Columns typed `timestamp` hold UTC wall time. pg would write a Date there in the zone of the machine; it knows this
  // switch only for all of the process.
  defaults.parseInputDatesAsUTC = true;
  const pool = new Pool({
    connectionString: url,
    max: 10,
    connectionTimeoutMillis: 5_000,
    idleTimeoutMillis: 30_000,
    statement_timeout: 60_000,
    idle_in_transaction_session_timeout: 300_000,
    keepAlive: true,
    application_name: "daybook",
    // `now()` as the default of such a column is UTC only in a session that speaks it.
    options: "-c timezone=UTC",
    types: { getTypeParser: (oid, format) => parsers[oid] ?? types.getTypeParser(oid, format) },
  });
  // A connection that breaks fails the query that uses it, and an idle one is the pool's to replace: no reason to stop.
  pool.on("error", () => {});
  pool.on("connect", (client) => client.on("error", () => {}));
  const db: Db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });
  return { db, pool, url, [Symbol.asyncDispose]: () => close(db, pool) };
}

const mostBeginnings = 3;

/**
 * A transaction of a person that holds so much that not everybody can take it in one order. Where PostgreSQL ends it, since
 * it and another wait for each other, it begins anew, twice at most; `act` does nothing outside the database.
 * Source: PostgreSQL's documentation, 13.3.4.
 */
export async function transactAnew<Result>(
  { db, log }: { db: Db; log: Log },
  act: (tx: Tx) => Promise<Result>,
): Promise<Result> {
  for (let beginning = 1; ; beginning += 1) {
    try {
      return await db.transaction().execute(act);
    } catch (error) {
      const isDeadlock = error instanceof DatabaseError && error.code === "40P01";
      if (!isDeadlock || beginning === mostBeginnings) throw error;
      log.info({ beginning }, "a transaction was ended for a deadlock, and begins anew");
    }
  }
}

const parsers: Record<number, (value: string) => unknown> = {
  // A date is of no zone: it stays as it is written.
  [types.builtins.DATE]: (value) => value,
  [types.builtins.TIMESTAMP]: (value) =>
    parseWithZone(/\d/.test(value) ? value.replace(/( BC)?$/, "+00$1") : value),
};

function parseWithZone(value: string): unknown {
  return types.getTypeParser(types.builtins.TIMESTAMPTZ)(value);
}

async function close(db: Db, pool: Pool): Promise<void> {
  if (pool.ended) return;
  await db.destroy();
  // Kysely ends only a pool that it has used.
  if (!pool.ended) await pool.end();
}
