import { sql } from "kysely";
import type { App } from "../app.ts";
import { usualPrice } from "./best-wait.ts";
import { nextPrice } from "./cadence.ts";
import type { FeedKind } from "./feeds.ts";

const apis = ["calendar", "gmail", "drive"] as const;
type Api = (typeof apis)[number];
/** Whose quota a kind of feed is read by. */
export const apiOf: Record<FeedKind, Api> = {
  calendar_list: "calendar",
  calendar: "calendar",
  gmail: "gmail",
  drive: "drive",
};
// What a call of a look costs of its quota, about. Source: Google's usage limits, 2026.
const unitsPerCall: Record<Api, number> = { calendar: 1, gmail: 10, drive: 100 };
// The rest is kept for people who wait.
const sharedOut = 0.8;

/**
 * Sets each API's price for the next minute by what runs that ended in the last one took of the project's quota. Once a
 * minute, whichever process comes first. Returns how many were set.
 */
export async function adjustPrices(app: Pick<App, "db" | "clock" | "config">): Promise<number> {
  const now = app.clock.now();
  const { calendarQuota, gmailQuota, driveQuota } = app.config.google;
  const quotas = { calendar: calendarQuota, gmail: gmailQuota, drive: driveQuota };
  return app.db.transaction().execute(async (tx) => {
    await sql`
      insert into look_prices (api, price, calls, budget, adjusted_at)
      select api, ${usualPrice}, 0, 0, 'epoch' from unnest(${[...apis]}::text[]) as api on conflict do nothing
    `.execute(tx);
    const { rows } = await sql<{ api: Api; price: number; calls: number }>`
      with due as (
        select api, price from look_prices where adjusted_at <= ${now}::timestamptz - interval '1 minute'
        for update skip locked
      ),
      made as (
        select feeds.kind, sum(sync_runs.provider_calls)::int as calls
        from sync_runs join feeds on feeds.id = sync_runs.feed_id
        -- A run is known once it has ended. None lasts an hour, so that the index on their starts serves.
        where sync_runs.finished_at > ${now}::timestamptz - interval '1 minute'
          and sync_runs.started_at > ${now}::timestamptz - interval '1 hour' and exists (select from due)
        group by feeds.kind
      )
      select due.api, due.price, coalesce((select sum(made.calls) from made
        where case made.kind when 'calendar_list' then 'calendar' else made.kind end = due.api), 0)::int as calls
      from due
    `.execute(tx);
    for (const { api, price, calls } of rows) {
      const budget = Math.floor((quotas[api].perProject * sharedOut) / unitsPerCall[api]);
      await tx
        .updateTable("look_prices")
        .set({
          price: nextPrice(price, calls, budget),
          calls,
          budget,
          adjusted_at: now,
        })
        .where("api", "=", api)
        .execute();
    }
    return rows.length;
  });
}
