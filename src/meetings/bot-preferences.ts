import { sql } from "kysely";
import type { App } from "../app.ts";
import { enqueue } from "../queue/queue.ts";
import { planBots } from "./bot-plans.ts";

/** What a person wants of the bots of all of their meetings. */
export type BotPreferences = {
  all_meetings: boolean;
  bot_name: string | null;
  greeting: string | null;
  language: string | null;
  recording: "video" | "audio" | "none" | null;
};

/** What a person wants; the usual where they said nothing. */
export async function getBotPreferences(
  app: Pick<App, "db">,
  userId: string,
): Promise<BotPreferences> {
  const said = await app.db
    .selectFrom("bot_preferences")
    .select(["all_meetings", "bot_name", "greeting", "language", "recording"])
    .where("user_id", "=", userId)
    .executeTakeFirst();
  return (
    said ?? { all_meetings: false, bot_name: null, greeting: null, language: null, recording: null }
  );
}

/** Keeps what a person wants of their bots. Every coming meeting is decided anew. */
export async function setBotPreferences(
  app: Pick<App, "db" | "clock" | "queue">,
  userId: string,
  wanted: BotPreferences,
): Promise<void> {
  await app.db.transaction().execute(async (tx) => {
    const now = app.clock.now();
    const { all_meetings, bot_name, greeting, language, recording } = wanted;
    const values = { all_meetings, bot_name, greeting, language, recording, updated_at: now };
    await tx
      .insertInto("bot_preferences")
      .values({ user_id: userId, ...values })
      .onConflict((conflict) => conflict.column("user_id").doUpdateSet(values))
      .execute();
    const { rows } = await sql<{ id: string }>`
      select id from meetings where user_id = ${userId} and end_time > ${now} and meeting_url is not null
      order by id for update
    `.execute(tx);
    const ids = rows.map(({ id }) => id);
    await enqueue(app, tx, await planBots(tx, ids, now));
  });
}
