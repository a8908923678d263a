import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import { Pool } from "pg";
import { type Database, type Db, openDatabase } from "../src/db/connection.ts";
import { systemClock } from "../src/lib/clock.ts";
import type { Log } from "../src/lib/log.ts";
import { openQueue } from "../src/queue/queue.ts";

/** The migrated database that every test file clones. */
export const templateName = "daybook_test_template";

/** A migrated database of its own, dropped when closed. Run tests with `npm test`, which starts the server. */
export async function createTestDatabase(): Promise<Database> {
  return createFrom(templateName);
}

/** An empty database of its own, dropped when closed. */
export async function createEmptyDatabase(): Promise<Database> {
  return createFrom("template0");
}

/** Makes the queue's tables without keeping it open. */
export async function installQueue(database: Database, log: Log): Promise<void> {
  await using _queue = await openQueue({ database, log, clock: systemClock });
}

/** The address of another database on the same server. */
export function urlOfDatabase(server: string, name: string): string {
  return server.replace(/^(postgres(?:ql)?:\/\/[^/]*\/)[^?]*/, `$1${name}`);
}

async function createFrom(template: string): Promise<Database> {
  const server = process.env.TEST_SERVER_URL;
  if (!server)
    throw new Error(
      "Run tests with `npm test` (or `node test/run.ts FILE`): it starts the database",
    );
  const name = `daybook_test_${randomBytes(6).toString("hex")}`;
  // Half the work of the usual strategy, which writes every page to the log as well.
  await onServer(server, `create database ${name} template ${template} strategy file_copy`);
  const database = openDatabase(urlOfDatabase(server, name));
  return {
    ...database,
    [Symbol.asyncDispose]: async () => {
      await database[Symbol.asyncDispose]();
      await onServer(server, `drop database if exists ${name} with (force)`);
    },
  };
}

// One connection to a server serves a whole test file, which it does not keep from ending.
const servers = new Map<string, Pool>();

// Two files may clone at the same moment, which PostgreSQL refuses while the template is in use.
async function onServer(url: string, statement: string): Promise<void> {
  const server =
    servers.get(url) ?? new Pool({ connectionString: url, max: 1, allowExitOnIdle: true });
  servers.set(url, server);
  for (let attempt = 1; ; attempt += 1) {
    try {
      await server.query(statement);
      return;
    } catch (error) {
      if (attempt === 1_000 || !String(error).includes("being accessed")) throw error;
      await sleep(20 + Math.random() * 50);
    }
  }
}

/** Resolves once somebody waits for what another transaction holds, or `count` do; or `work` is over without. */
export async function untilItWaits(db: Db, work: Promise<unknown>, count = 1): Promise<void> {
  let isOver = false;
  const end = () => {
    isOver = true;
  };
  work.then(end, end);
  const isWaiting = async () => {
    const { rows } = await sql`
      select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
    `.execute(db);
    return rows.length >= count;
  };
  while (!isOver && !(await isWaiting())) await sleep(5);
}
