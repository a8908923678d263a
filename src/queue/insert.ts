import { createHash } from "node:crypto";
import { sql } from "kysely";
import type { Db, Tx } from "../db/connection.ts";

/** A job as it is written: payload checked, start as seconds from now. */
export type JobRow = {
  id: string;
  name: string;
  data: unknown;
  key: string | null;
  priority: number;
  delaySeconds: number;
};

/** A job that is due once in each period, counted from 1970. */
export type DueRow = Omit<JobRow, "key" | "delaySeconds"> & { key: string; everySeconds: number };

// pg-boss has no insert that does what follows. Its own either leaves a waiting job unlocked, which could then start
// before the caller's changes are visible, or takes one job at a time. The indexes, the flag they need and the channel
// are pg-boss's; the tests notice when a new version changes them.
const columns = sql`
  id, name, data, priority, start_after, keep_until, singleton_key, upsert_by_key, singleton_on, policy, dead_letter,
  retry_limit, retry_delay, retry_backoff, retry_delay_max, expire_seconds, deletion_seconds, heartbeat_seconds`;

// A name without a queue violates "not null" here, and so is an error and not a job lost.
const values = sql`
  given.id, given.name, given.data, given.priority, given.start_after,
  given.start_after + make_interval(secs => queue.retention_seconds), given.key, given.key is not null, given.slot,
  queue.policy, queue.dead_letter, queue.retry_limit, queue.retry_delay, queue.retry_backoff, queue.retry_delay_max,
  queue.expire_seconds, queue.deletion_seconds, queue.heartbeat_seconds
  from given left join pgboss.queue on queue.name = given.name`;

/** On which pg-boss tells the name of each job that may begin. */
export const channel = `pgboss_${createHash("sha224").update("pgboss").digest("hex").slice(0, 24)}`;

/**
 * Adds jobs, or merges them into those that wait under the same name and key. The rows merged into stay locked until
 * the caller's transaction ends, so that no worker starts one before.
 *
 * @returns the ids that were added.
 */
export async function insertOrMerge(tx: Db | Tx, rows: JobRow[]): Promise<Set<string>> {
  if (rows.length === 0) return new Set();
  const result = await sql<{ ids: string[] }>`
    with given as materialized (
      select *, now() + make_interval(secs => "delaySeconds") as start_after, null::timestamp as slot
      from json_to_recordset(${JSON.stringify(mergeEqual(rows))}::text::json)
        as row (id uuid, name text, data jsonb, key text, priority integer, "delaySeconds" double precision)
    ),
    -- A job that failed and waits for its next attempt takes the new payload, but keeps its distance.
    retrying as (
      update pgboss.job_common as job
      set data = given.data, priority = greatest(job.priority, given.priority)
      from given
      where job.name = given.name and job.singleton_key = given.key and job.state = 'retry'
      returning given.id
    ),
    added as (
      insert into pgboss.job_common as job (${columns})
      select ${values}
      where not exists (select from retrying where retrying.id = given.id)
      order by given.name, given.key
      on conflict (name, singleton_key) where state = 'created' and upsert_by_key do update
      set data = excluded.data,
        priority = greatest(job.priority, excluded.priority),
        start_after = least(job.start_after, excluded.start_after)
      -- Where nothing changes nothing is written, but the row is locked all the same.
      where (job.data, job.priority, job.start_after) is distinct from
        (excluded.data, greatest(job.priority, excluded.priority), least(job.start_after, excluded.start_after))
      returning job.id
    ),
    heard as (
      select pg_notify(${channel}, name)
      from (select distinct name from given where start_after <= now()) as due
    )
    select array(select id::text from added) as ids, (select count(*) from heard) as heard
  `.execute(tx);
  return new Set(result.rows[0]?.ids);
}

/**
 * Adds those jobs that were not added in the current period yet, unless one still waits under the same key. The period
 * is the database's and its row is unique, so that any number of processes may try at once.
 */
export async function insertDue(db: Db, rows: DueRow[]): Promise<void> {
  await sql`
    with given as materialized (
      select *, now() as start_after,
        to_timestamp(floor(extract(epoch from now()) / "everySeconds") * "everySeconds") at time zone 'utc' as slot
      from json_to_recordset(${JSON.stringify(rows)}::text::json)
        as row (id uuid, name text, data jsonb, key text, priority integer, "everySeconds" integer)
    ),
    added as (
      insert into pgboss.job_common (${columns})
      select ${values}
      where not exists (
        select from pgboss.job_common as waiting
        where waiting.name = given.name and waiting.singleton_key = given.key and waiting.state < 'active'
      )
      on conflict do nothing
      returning name
    ),
    heard as (select pg_notify(${channel}, name) from (select distinct name from added) as due)
    select count(*) from heard
  `.execute(db);
}

// One statement cannot merge into the same row twice.
function mergeEqual(rows: JobRow[]): JobRow[] {
  const merged = new Map<string, JobRow>();
  for (const row of rows) {
    const identity = row.key === null ? row.id : JSON.stringify([row.name, row.key]);
    const earlier = merged.get(identity);
    merged.set(identity, earlier ? mergeTwo(earlier, row) : row);
  }
  return [...merged.values()];
}

function mergeTwo(earlier: JobRow, later: JobRow): JobRow {
  return {
    ...later,
    id: earlier.id,
    priority: Math.max(earlier.priority, later.priority),
    delaySeconds: Math.min(earlier.delaySeconds, later.delaySeconds),
  };
}
