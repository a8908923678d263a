import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";
import type { Log } from "../lib/log.ts";
import { EmbeddedError, type Place } from "./embedded-folder.ts";
import { stopServer, urlOf } from "./embedded-server.ts";

// Any number that nothing else in this server locks.
const presenceLock = 4_400_4400;
const longestPauseMs = 30_000;

/**
 * Makes this process one of those that use the server. Each holds a shared lock for as long as it lives, which the
 * server itself takes back from one that dies. Who leaves and then gets the lock alone was the last, and stops the
 * server. A server that ends under us is started again by `ensureRunning`.
 */
export async function announcePresence(
  place: Place,
  { ensureRunning, log }: { ensureRunning: () => Promise<void>; log: Log },
): Promise<{ leave(): Promise<void> }> {
  const leaving = new AbortController();
  let present = enter();
  await present;

  async function enter(): Promise<Client> {
    for (let attempt = 1; ; attempt += 1) {
      await ensureRunning();
      try {
        const client = await join(place);
        client.on("end", () => {
          if (!leaving.signal.aborted) present = enterAgain();
        });
        return client;
      } catch (cause) {
        // The last of the others was just stopping it.
        if (attempt === 20)
          throw new EmbeddedError(`The server in ${place.cluster} could not be joined`, { cause });
        await sleep(100);
      }
    }
  }

  async function enterAgain(): Promise<Client> {
    log.warn("our PostgreSQL stopped and is started again");
    for (let pauseMs = 1_000; ; pauseMs = Math.min(2 * pauseMs, longestPauseMs)) {
      try {
        return await enter();
      } catch (error) {
        log.error({ error, retryMs: pauseMs }, "our PostgreSQL could not be started again");
      }
      await sleep(pauseMs, undefined, { signal: leaving.signal });
    }
  }

  async function leave(): Promise<void> {
    if (leaving.signal.aborted) return;
    leaving.abort();
    const client = await present.catch(() => null);
    if (!client) return;
    try {
      if (await isLastToLeave(client)) await stopServer(place);
    } catch (error) {
      log.warn({ error }, "our PostgreSQL was gone before we left it");
    } finally {
      await client.end().catch(() => {});
    }
  }

  return { leave };
}

async function join(place: Place): Promise<Client> {
  const client = new Client({
    connectionString: urlOf(place, "postgres"),
    application_name: "daybook presence",
    connectionTimeoutMillis: 5_000,
    keepAlive: true,
  });
  client.on("error", () => {});
  try {
    await client.connect();
    // Waits while the last of the others is stopping the server, and then fails with it.
    await client.query("select pg_advisory_lock_shared($1)", [presenceLock]);
    return client;
  } catch (error) {
    await client.end().catch(() => {});
    throw error;
  }
}

async function isLastToLeave(client: Client): Promise<boolean> {
  await client.query("select pg_advisory_unlock_shared($1)", [presenceLock]);
  const { rows } = await client.query<{ alone: boolean }>(
    "select pg_try_advisory_lock($1) as alone",
    [presenceLock],
  );
  return rows[0]?.alone === true;
}
