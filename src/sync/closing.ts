import { endOlderPush } from "../accounts/older-watches.ts";
import type { Tx } from "../db/connection.ts";
import type { NewJob } from "../queue/queue.ts";

/** Ends the watches of some feeds, which nobody listens to any longer. Returns the jobs that close them at Google. */
export async function endWatchesOf(
  tx: Tx,
  feedIds: string[],
  { reason, now }: { reason: string; now: Date },
): Promise<NewJob[]> {
  if (feedIds.length === 0) return [];
  await endOlderPush(tx, feedIds, now);
  const ended = await tx
    .updateTable("watches")
    .set({ state: "closing", close_reason: reason, close_due_at: now })
    .where("feed_id", "in", feedIds)
    .where("state", "in", ["opening", "open"])
    .returning("id")
    .execute();
  return ended.map(({ id }) => closeJob(id));
}

/** A wish to close a watch at Google. */
export function closeJob(watchId: string): NewJob {
  return { name: "watches.close", payload: { watchId }, key: watchId };
}
