import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import type { App } from "../app.ts";
import type { Db, Tx } from "../db/connection.ts";
import { type PushPrior, pushPriorOf, usualPushPrior } from "./channel-trust.ts";
import type { FeedKind } from "./feeds.ts";

// Enough to know by; a million need not be read for it.
const sample = 5_000;

/** What is assumed of the push of this kind of feed, before its own channel has shown what it is worth. */
export async function findPushPrior(db: Db | Tx, kind: FeedKind): Promise<PushPrior> {
  const row = await db
    .selectFrom("push_priors")
    .select(["loss", "deaths_per_day"])
    .where("kind", "=", kind)
    .executeTakeFirst();
  return row ? { loss: row.loss, deathsPerDay: row.deaths_per_day } : usualPushPrior;
}

/**
 * Learns what push is worth from the channels of some thousand feeds, whichever they are. Once an hour, whichever process
 * comes first. Returns of how many kinds.
 */
export async function learnPushPriors(app: Pick<App, "db" | "clock">): Promise<number> {
  const now = app.clock.now();
  return app.db.transaction().execute(async (tx) => {
    const { rows: due } = await sql<{ kind: string }>`
      insert into push_priors as known (kind, loss, deaths_per_day, feeds, learnt_at)
      select kind, ${usualPushPrior.loss}, ${usualPushPrior.deathsPerDay}, 0, ${now}
      from unnest(array['calendar', 'gmail', 'drive']) as kind
      on conflict (kind) do update set learnt_at = excluded.learnt_at
        where known.learnt_at <= ${now}::timestamptz - interval '1 hour'
      returning kind
    `.execute(tx);
    if (due.length === 0) return 0;
    const from = randomUUID();
    const { rows } = await sql<Shown>`
      with some_feeds as (
        (select kind, cadence from feeds where id >= ${from} order by id limit ${sample})
        union all
        (select kind, cadence from feeds where id < ${from} order by id limit ${sample})
      )
      select kind, count(*)::int as feeds, sum((channel->>'told')::float8) as told,
        sum((channel->>'lost')::float8) as lost, sum((channel->>'deaths')::float8) as deaths,
        sum(lived) as days
      from some_feeds, lateral (select cadence->'channel' as channel) as kept,
        -- As daysLived says; an earlier version knew no silence.
        lateral (select (channel->>'days')::float8 + coalesce((channel->>'silent')::float8, 0)
          * (1 + (channel->>'alive')::float8) / 2 as lived) as listened
      where lived > 0 group by kind
    `.execute(tx);
    for (const { kind, feeds, ...shown } of rows) {
      const { loss, deathsPerDay } = pushPriorOf(shown);
      await tx
        .updateTable("push_priors")
        .set({ loss, deaths_per_day: deathsPerDay, feeds })
        .where("kind", "=", kind)
        .execute();
    }
    return rows.length;
  });
}

type Shown = { kind: string; feeds: number } & Parameters<typeof pushPriorOf>[0];
