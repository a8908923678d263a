import { sql } from "kysely";
import { z } from "zod";
import type { App } from "../app.ts";
import { AppError } from "../lib/errors.ts";
import { isSignedByAttendee } from "../providers/attendee-signature.ts";
import { enqueue } from "../queue/queue.ts";
import { tendJob } from "./bots.ts";

/** What a webhook of Attendee's says; what happened is asked of the API. */
export const BotNotification = z.looseObject({
  idempotency_key: z.string().min(1).max(200),
  bot_id: z.string().max(200).nullish(),
  trigger: z.string().min(1).max(100),
});
export type BotNotification = z.output<typeof BotNotification>;

// Captions grow word by word: several are fetched together.
const togetherMs = 4_000;

/** @throws {AppError} `unauthenticated` where the signature is wrong, or none can be checked. */
export function proveBotNotification(
  app: Pick<App, "config">,
  signature: string | undefined,
  body: string,
): void {
  const { webhookSecret } = app.config.attendee;
  if (webhookSecret && signature && isSignedByAttendee(webhookSecret, signature, body)) return;
  throw new AppError("unauthenticated", "The signature is missing or wrong");
}

/** Notes that something happened to a bot, and has it looked at. The same notification again does nothing. */
export async function acceptBotNotification(
  app: Pick<App, "db" | "clock" | "queue">,
  { idempotency_key, bot_id, trigger }: BotNotification,
): Promise<void> {
  if (!bot_id) return;
  await app.db.transaction().execute(async (tx) => {
    const now = app.clock.now();
    const { numAffectedRows } = await sql`
      insert into bot_notifications (idempotency_key, provider_bot_id, trigger, received_at)
      values (${idempotency_key}, ${bot_id}, ${trigger}, ${now}) on conflict do nothing
    `.execute(tx);
    if (numAffectedRows === 0n) return;
    // Others may send bots by the same project: what is not ours is none of our business.
    const { rows } = await sql<{ id: string }>`
      select id from bots where provider_bot_id = ${bot_id} and wish is not null
    `.execute(tx);
    const startAfter =
      trigger === "bot.state_change" ? {} : { startAfter: new Date(now.getTime() + togetherMs) };
    await enqueue(
      app,
      tx,
      rows.map(({ id }) => ({ ...tendJob(id), ...startAfter })),
    );
  });
}
