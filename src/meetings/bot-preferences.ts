import { sql } from "kysely";
import type { App } from "../app.ts";
import { enqueue } from "../queue/queue.ts";
import { decideBots, reconcileJob } from "./bot-plans.ts";
import type { BotPreferences } from "./bot-view.ts";

/** Keeps what a person wants of their bots. Every coming meeting is decided anew. */
export async function setBotPreferences(
  app: Pick<App, "db" | "clock" | "queue">,
  userId: string,
  wanted: BotPreferences,
): Promise<void> {
  await app.db.transaction().execute(async (tx) => {
    const now = app.clock.now();
    const { all_meetings, bot_name, greeting, language, recording } = wanted;
    await sql`
      insert into bot_preferences (user_id, all_meetings, bot_name, greeting, language, recording, updated_at)
      values (${userId}, ${all_meetings}, ${bot_name}, ${greeting}, ${language}, ${recording}, ${now})
      on conflict (user_id) do update set (all_meetings, bot_name, greeting, language, recording, updated_at)
        = (excluded.all_meetings, excluded.bot_name, excluded.greeting, excluded.language, excluded.recording,
          excluded.updated_at)
    `.execute(tx);
    const { rows } = await sql<{ id: string }>`
      select id from meetings where user_id = ${userId} and end_time > ${now} and meeting_url is not null
      order by id for update
    `.execute(tx);
    const plans = await decideBots(
      tx,
      rows.map(({ id }) => id),
      now,
    );
    // One that has its bot may want it by another name now.
    await enqueue(
      app,
      tx,
      plans
        .filter(({ decision, rule }) => decision !== "none" || rule === "served")
        .map(reconcileJob),
    );
  });
}
