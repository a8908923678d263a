import { randomUUID } from "node:crypto";
import { type Selectable, sql } from "kysely";
import type { App } from "../app.ts";
import type { Db, Tx } from "../db/connection.ts";
import type { Tables } from "../db/tables.ts";
import { usualPrice } from "./best-wait.ts";
import { type Prior, personalPrior, priorOf, rememberedCadence, usualPrior } from "./cadence.ts";
import type { Feed, FeedKind } from "./feeds.ts";
import type { LearntKind } from "./intensity.ts";
import { apiOf } from "./prices.ts";

const kinds: readonly LearntKind[] = ["calendar", "gmail", "drive"];

// Enough to know by; a million need not be read for it.
const sample = 2_000;

type Terms = { price: number; prior: Prior };

/**
 * Asks what a look at a feed of these accounts may cost now, and what is assumed of it as far as it has not shown it. An
 * account's own feeds, its main calendar, mailbox and drive, are one person's, and say something of each other; other
 * calendars and shared drives keep the hours of whoever writes to them.
 */
export async function findTerms(
  db: Db | Tx,
  connectionIds: string[],
): Promise<(feed: Pick<Feed, "id" | "connection_id">, kind: LearntKind, at: Date) => Terms> {
  const { rows } = await sql<{
    prices: Record<string, number> | null;
    priors: Selectable<Tables["feed_priors"]>[] | null;
    own: { id: string; connection_id: string; kind: LearntKind; cadence: unknown }[] | null;
  }>`
    select (select jsonb_object_agg(api, price) from look_prices) as prices,
      (select jsonb_agg(known) from feed_priors as known) as priors,
      (select jsonb_agg(jsonb_build_object('id', id, 'connection_id', connection_id, 'kind', kind, 'cadence', cadence))
        from feeds where connection_id = any(${connectionIds}::uuid[]) and state = 'active'
          and (kind = 'calendar' and is_primary or kind in ('gmail', 'drive') and resource = '')) as own
  `.execute(db);
  const [{ prices, priors, own } = {}] = rows;
  const ofKinds = new Map(priors?.map((known) => [known.kind, asPrior(known)]));
  const priorOfKind = (kind: LearntKind) => ofKinds.get(kind) ?? usualPrior;
  const known = (own ?? []).map(({ cadence, ...feed }) => ({
    ...feed,
    state: cadence === null ? null : rememberedCadence(cadence),
    prior: priorOfKind(feed.kind),
  }));
  const siblingsOf = ({ id, connection_id }: Pick<Feed, "id" | "connection_id">) =>
    known.some((one) => one.id === id)
      ? known.filter((one) => one.connection_id === connection_id && one.id !== id)
      : [];
  return (feed, kind, at) => {
    const shown = siblingsOf(feed).flatMap(({ state, ...one }) => (state ? { ...one, state } : []));
    return {
      price: prices?.[apiOf[kind]] ?? usualPrice,
      prior: personalPrior(kind, priorOfKind(kind), shown, at),
    };
  };
}

function asPrior({
  loss,
  deaths_per_day: deathsPerDay,
  week,
  burst_speed: speed,
}: Selectable<Tables["feed_priors"]>): Prior {
  return { push: { loss, deathsPerDay }, week, speed };
}

/**
 * Learns from some two thousand feeds, whichever they are, what push is worth, which week people keep and how fast bursts
 * are; a person counts once for each kind. Once an hour, whichever process comes first. Returns for how many kinds it was time.
 */
export async function learnPriors(app: Pick<App, "db" | "clock">): Promise<number> {
  const now = app.clock.now();
  const { push: usualPush, week: usualWeek } = usualPrior;
  return app.db.transaction().execute(async (tx) => {
    const { rows: due } = await sql<{ kind: LearntKind }>`
      insert into feed_priors as known (kind, loss, deaths_per_day, week, feeds, learnt_at)
      select kind, ${usualPush.loss}, ${usualPush.deathsPerDay}, ${usualWeek}, 0, ${now}
      from unnest(${kinds}::text[]) as kind
      on conflict (kind) do update set learnt_at = excluded.learnt_at
        where known.learnt_at <= ${now}::timestamptz - interval '1 hour'
      returning kind
    `.execute(tx);
    if (due.length === 0) return 0;
    const from = randomUUID();
    const { rows } = await sql<{ kind: FeedKind; cadence: unknown }>`
      with some_feeds as (
        (select user_id, kind, cadence from feeds where id >= ${from} and cadence is not null order by id limit ${sample})
        union all
        (select user_id, kind, cadence from feeds where id < ${from} and cadence is not null order by id limit ${sample})
        limit ${sample}
      )
      select distinct on (user_id, kind) kind, cadence from some_feeds
    `.execute(tx);
    const ofKinds = Map.groupBy(rows, ({ kind }) => kind);
    for (const { kind } of due) {
      const feeds = ofKinds.get(kind)?.map(({ cadence }) => rememberedCadence(cadence));
      if (!feeds) continue;
      const { push, week, speed } = priorOf(kind, feeds);
      await tx
        .updateTable("feed_priors")
        .set({
          loss: push.loss,
          deaths_per_day: push.deathsPerDay,
          week: [...week],
          burst_speed: speed,
          feeds: feeds.length,
        })
        .where("kind", "=", kind)
        .execute();
    }
    return due.length;
  });
}
