import { type Selectable, sql } from "kysely";
import type { Db, Tx } from "../db/connection.ts";
import type { Tables } from "../db/tables.ts";
import type { NewJob } from "../queue/queue.ts";
import type { Notice } from "./bot-words.ts";

/**
 * A bot of ours: what is wanted of it, and what we know of the provider's. Its `settings` hold `configuration`, and what
 * else the older product kept, by its names.
 */
export type BotRow = Omit<Selectable<Tables["bots"]>, "sent" | "notice"> & {
  sent: Sent | null;
  notice: Notice | null;
};

/** What the provider was told last. `name` and `made` (what cannot be changed later) are null where nobody knows. */
export type Sent = {
  meeting_url: string;
  join_at: string | null;
  name: string | null;
  made: string | null;
};

/** Has what is wanted of a bot made so, and what became of it noted. */
export function tendJob(botId: string): NewJob {
  return { name: "bots.tend", payload: { botId }, key: botId, priority: 1 };
}

/** Whether a bot's meeting has not ended by plan. */
export const isStillOn = (bot: BotRow, now: Date) => bot.ends_at !== null && now < bot.ends_at;

/** Whether a bot has not asked to be let in yet. */
export const isYetToJoin = ({ state }: Pick<BotRow, "state">) =>
  state === null || state === "scheduled" || state === "staged";

/** Tells the open pages of everybody who shares a bot that something about it changed. */
export async function tellSharers(
  tx: Tx,
  botId: string,
  news: Record<string, unknown>,
): Promise<void> {
  await sql`
    insert into user_events (user_id, type, payload)
    select user_id, 'bot.changed', ${JSON.stringify({ bot_id: botId, ...news })}::jsonb
      || jsonb_build_object('meeting_ids', jsonb_agg(id))
    from meetings where bot_id = ${botId} group by user_id order by user_id
  `.execute(tx);
}

/** Locks the meetings of a bot, and then, as everybody does, the bot itself. Null where there is none. */
export async function lockWithMeetings(
  tx: Tx,
  botId: string,
): Promise<{ bot: BotRow; meetingIds: string[] } | null> {
  await sql`savepoint before_meetings`.execute(tx);
  for (;;) {
    const { rows } = await sql<{ id: string }>`
      select id from meetings where bot_id = ${botId} order by id for update
    `.execute(tx);
    const meetingIds = rows.map(({ id }) => id);
    const bot = await lockBot(tx, botId);
    if (!bot) return null;
    const { rows: others } = await sql`
      select from meetings where bot_id = ${botId} and id <> all(${meetingIds}::uuid[]) limit 1
    `.execute(tx);
    if (others.length === 0) return { bot, meetingIds };
    // One came to the bot while we waited for it, and is to be locked before it too: all are let go.
    await sql`rollback to savepoint before_meetings`.execute(tx);
  }
}

/** Locks a bot, after its meetings. Not its key: what others note of it meanwhile points at it, and waits for no lock of ours. */
export async function lockBot(tx: Tx, id: string): Promise<BotRow | null> {
  const bot = await tx
    .selectFrom("bots")
    .selectAll()
    .where("id", "=", id)
    .forNoKeyUpdate()
    .$castTo<BotRow>()
    .executeTakeFirst();
  return bot ?? null;
}

/** Keeps what we did ourselves among a bot's events. */
export async function noteEvent(tx: Tx, botId: string, type: string, at: Date): Promise<void> {
  await sql`
    insert into bot_events (bot_id, type, happened_at) values (${botId}, ${type}, ${at}) on conflict do nothing
  `.execute(tx);
}

/** How many bots are to come or under way, and how many of them could not be looked at several times in a row. */
export async function countBots(app: { db: Db }): Promise<{ live: number; failing: number }> {
  const { rows } = await sql<{ live: number; failing: number }>`
    select count(*)::int as live, (count(*) filter (where failures > 2))::int as failing
    from bots where wish is not null and not is_over
  `.execute(app.db);
  return rows[0] ?? { live: 0, failing: 0 };
}
