import { setTimeout as sleep } from "node:timers/promises";
import type { App } from "../app.ts";
import { dispatchDueFeeds } from "./feeds.ts";
import { adjustPrices } from "./prices.ts";
import { learnPriors } from "./priors.ts";
import { dispatchDueWatches } from "./watches.ts";

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
      await dispatchDueFeeds(app);
      await dispatchDueWatches(app);
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
