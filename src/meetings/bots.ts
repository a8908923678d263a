import type { App } from "../app.ts";
import { planBots } from "./meetings.ts";

type Part = Pick<App, "db" | "clock" | "queue">;

/** Decides anew about one meeting's bot, by what the meeting is now. Repeating it changes nothing. */
export async function reconcileBot(app: Part, { meetingId }: { meetingId: string }): Promise<void> {
  await app.db.transaction().execute((tx) => planBots(tx, [meetingId], app.clock.now()));
}
