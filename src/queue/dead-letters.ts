import { sql } from "kysely";
import type { Db, Tx } from "../db/connection.ts";
import { catalog, isJobName, type JobName } from "./catalog.ts";
import { insertOrMerge } from "./insert.ts";
import { deadLetters, type Queue } from "./queue.ts";

/** A job that was given up, as it was stored, with the message of its last error. */
export type DeadLetter = {
  id: string;
  name: string;
  key: string | null;
  payload: unknown;
  error: string;
  attempts: number;
  createdAt: Date;
  failedAt: Date;
};

// How many are sent again in one transaction.
const batchSize = 500;

/** Lists what was given up, the latest first. */
export async function listDeadLetters(queue: Queue, limit: number): Promise<DeadLetter[]> {
  // What pg-boss says itself, when a worker died or did not end, lies one level deeper.
  const { rows } = await sql<DeadLetter>`
    select id, source_name as name, singleton_key as key, data as payload,
      coalesce(source_output->>'message', source_output->'value'->>'message', '') as error,
      source_retry_count + 1 as attempts, source_created_on as "createdAt", created_on as "failedAt"
    from pgboss.job_common
    where name = ${deadLetters} and state = 'created'
    order by created_on desc, id
    limit ${limit}
  `.execute(queue.db);
  return rows;
}

/**
 * Sends dead letters again, all or the named ones: each becomes a new job with all its attempts, or is merged into the
 * one that waits under its key. Those that this version cannot do stay where they are.
 *
 * @returns how many were sent.
 */
export async function resendDeadLetters(queue: Queue, ids?: string[]): Promise<number> {
  const { rows } = await sql<{ id: string; name: string; data: unknown }>`
    select id, source_name as name, data from pgboss.job_common
    where name = ${deadLetters} and state = 'created'
      and (${ids ?? null}::uuid[] is null or id = any(${ids ?? null}))
    order by created_on
  `.execute(queue.db);
  const doable = rows.filter(({ name, data }) => isDoable(name, data)).map(({ id }) => id);
  let sent = 0;
  for (let from = 0; from < doable.length; from += batchSize) {
    sent += await resend(queue, doable.slice(from, from + batchSize));
  }
  return sent;
}

/** Takes back the dead letters of jobs that are called for anew by whoever keeps what they are to do. */
export async function takeBackDeadLetters(
  db: Db | Tx,
  name: JobName,
  keys: string[],
): Promise<void> {
  await sql`
    delete from pgboss.job_common
    where name = ${deadLetters} and state = 'created' and source_name = ${name} and singleton_key = any(${keys})
  `.execute(db);
}

// By our own insert: pg-boss's redrive would put a second waiting job beside one of the same key.
async function resend(queue: Queue, ids: string[]): Promise<number> {
  return queue.db.transaction().execute(async (tx) => {
    const { rows } = await sql<{
      id: string;
      name: string;
      data: unknown;
      key: string | null;
      priority: number;
    }>`
      delete from pgboss.job_common
      where name = ${deadLetters} and state = 'created' and id = any(${ids}::uuid[])
      returning gen_random_uuid() as id, source_name as name, data, singleton_key as key, priority
    `.execute(tx);
    await insertOrMerge(
      tx,
      rows.map((row) => ({ ...row, delaySeconds: 0 })),
    );
    return rows.length;
  });
}

function isDoable(name: string, payload: unknown): boolean {
  return isJobName(name) && catalog[name].payload.safeParse(payload).success;
}
