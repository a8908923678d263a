import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import { Client } from "pg";
import type { App } from "../app.ts";

/** One thing that a user's pages are told. */
export type UserEvent = { id: string; type: string; payload: Record<string, unknown> };

type Listener = {
  userId: string;
  lastId: string;
  tell: (event: UserEvent) => void;
  isGone: boolean;
};

/** Events of users as they are committed, in any process. */
export type UserEvents = {
  /** Tells of what came after `lastId`, and of what comes; null begins with now. */
  subscribe(
    userId: string,
    lastId: string | null,
    tell: (event: UserEvent) => void,
  ): { unsubscribe(): void };
  [Symbol.asyncDispose](): Promise<void>;
};

const longestPauseMs = 10_000;
const portion = 500;

/**
 * Listens for as long as somebody is subscribed. PostgreSQL tells when a transaction commits; should the connection
 * break, everybody is told what they missed once it is back.
 */
export function openUserEvents(app: Pick<App, "db" | "database" | "log">): UserEvents {
  const listeners = new Set<Listener>();
  const closing = new AbortController();
  let listening: Promise<void> | null = null;

  const tellAll = async (userId?: string): Promise<void> => {
    const waiting = [...listeners].filter((one) => userId === undefined || one.userId === userId);
    await Promise.all(waiting.map((listener) => catchUp(app, listener)));
  };

  const listen = async (): Promise<void> => {
    for (
      let pauseMs = 250;
      !closing.signal.aborted;
      pauseMs = Math.min(pauseMs * 2, longestPauseMs)
    ) {
      const client = new Client({
        connectionString: app.database.url,
        application_name: "daybook events",
        keepAlive: true,
      });
      const { promise: ended, resolve: onEnd } = Promise.withResolvers<void>();
      client.on("error", () => onEnd());
      client.on("end", () => onEnd());
      closing.signal.addEventListener("abort", () => onEnd());
      try {
        await client.connect();
        client.on("notification", ({ payload = "" }) => {
          tellAll(payload.split(" ")[0]).catch((error) =>
            app.log.warn({ error }, "pages could not be told"),
          );
        });
        await client.query("listen daybook_events");
        pauseMs = 250;
        await tellAll();
        await ended;
      } catch (error) {
        app.log.warn({ error }, "changes cannot be listened for");
      } finally {
        await client.end().catch(() => {});
      }
      await sleep(pauseMs, undefined, { signal: closing.signal }).catch(() => {});
    }
  };

  return {
    subscribe: (userId, lastId, tell) => {
      const listener: Listener = { userId, lastId: lastId ?? "", tell, isGone: false };
      listeners.add(listener);
      listening ??= listen();
      void catchUp(app, listener).catch((error) =>
        app.log.warn({ error }, "pages could not be told"),
      );
      return {
        unsubscribe: () => {
          listener.isGone = true;
          listeners.delete(listener);
        },
      };
    },
    [Symbol.asyncDispose]: async () => {
      closing.abort();
      await listening;
    },
  };
}

/** The last event of a user's: all that is committed later comes after it. */
export async function lastEventIdOf({ db }: Pick<App, "db">, userId: string): Promise<string> {
  const { rows } = await sql<{ id: string }>`
    select coalesce(max(id), 0)::text as id from user_events where user_id = ${userId}
  `.execute(db);
  return rows[0]?.id ?? "0";
}

async function catchUp(app: Pick<App, "db">, listener: Listener): Promise<void> {
  if (listener.lastId === "") {
    const lastId = await lastEventIdOf(app, listener.userId);
    if (listener.lastId === "") listener.lastId = lastId;
    return;
  }
  for (let isMore = true; isMore; ) {
    const { rows } = await sql<UserEvent>`
      select id::text, type, payload from user_events
      where user_id = ${listener.userId} and id > ${listener.lastId}::bigint
      order by user_events.id limit ${portion}
    `.execute(app.db);
    for (const event of rows) {
      // Its stream may have ended at the event before, and takes no more.
      if (listener.isGone) return;
      if (BigInt(event.id) <= BigInt(listener.lastId)) continue;
      listener.lastId = event.id;
      listener.tell(event);
    }
    isMore = rows.length === portion;
  }
}
