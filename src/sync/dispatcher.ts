import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import type { App } from "../app.ts";
import { dispatchDueFeeds, isFeedDue } from "./feeds.ts";
import { adjustPrices } from "./prices.ts";
import { learnPriors } from "./priors.ts";
import { dispatchDueWatches, isClosingDue, isOpeningDue } from "./watches.ts";

// Whichever process asks first in a minute sets them.
const pricesEveryMs = 20_000;

type Part = Pick<App, "db" | "clock" | "queue" | "config" | "log">;

/**
 * Asks every second for what is due by its row: feeds to look at, watches to open, renew or close. Any number of
 * processes may do so at once; each due row is claimed by one of them. Closing it waits for the round that runs.
 */
export function startDispatcher(app: Part, everyMs = 1000): AsyncDisposable {
  const closing = new AbortController();
  const ended = keepAsking(app, everyMs, closing.signal);
  return {
    [Symbol.asyncDispose]: async () => {
      closing.abort();
      await ended;
    },
  };
}

async function keepAsking(app: Part, everyMs: number, closing: AbortSignal): Promise<void> {
  let isDown = false;
  let pricesAt = 0;
  while (!closing.aborted) {
    try {
      const due = await findDue(app);
      if (due.feeds) await dispatchDueFeeds(app);
      if (due.watches) await dispatchDueWatches(app);
      if (performance.now() >= pricesAt) {
        await adjustPrices(app);
        await learnPriors(app);
        pricesAt = performance.now() + pricesEveryMs;
      }
      isDown = false;
    } catch (error) {
      // While the database is away each round fails alike.
      if (!isDown) app.log.warn({ error }, "due feeds could not be asked for");
      isDown = true;
    }
    await sleep(everyMs, undefined, { signal: closing }).catch(() => {});
  }
}

// Most rounds find nothing, and cost this one statement.
async function findDue(app: Part): Promise<{ feeds: boolean; watches: boolean }> {
  const { rows } = await sql<{ feeds: boolean; watches: boolean }>`
    select exists (select from feeds where ${isFeedDue(app)}) as feeds,
      exists (select from feeds where ${isOpeningDue(app)})
        or exists (select from watches where ${isClosingDue(app)}) as watches
  `.execute(app.db);
  return rows[0] ?? { feeds: true, watches: true };
}
