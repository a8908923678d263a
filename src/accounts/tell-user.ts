import type { Tx } from "../db/connection.ts";

/** What open pages are told: a kind of news, and what it is about. */
export type News = { type: string; payload: Record<string, unknown> };

/** Remembers what a user's open pages are to be told. They hear of it when the transaction commits. */
export async function tellUser(tx: Tx, userId: string, events: News[]): Promise<void> {
  if (events.length === 0) return;
  const rows = events.map(({ type, payload }) => ({
    user_id: userId,
    type,
    payload: JSON.stringify(payload),
  }));
  await tx.insertInto("user_events").values(rows).execute();
}
