import { settingsOf } from "./bot-settings.ts";
import type { BotRow } from "./bots.ts";

const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

/** Transcripts and recordings are waited for this long after the end. */
export const patienceMs = 6 * hour;
const recordingPatienceMs = 2 * hour;
const busyMs = 3 * minute;

/**
 * When a bot is looked at next, should no webhook tell of it: 30 seconds apart around the start, 2 minutes while it is in
 * the meeting, 15 minutes before all that and an hour more than a day ahead, a minute after the end until everything is
 * there. Null: never again.
 */
export function nextLook(bot: BotRow, now: Date): Date | null {
  const after = (ms: number) => new Date(now.getTime() + ms);
  if (bot.is_over) {
    const sinceEnd = now.getTime() - (bot.over_at ?? now).getTime();
    if (bot.transcript_state !== "final") return after(sinceEnd < hour ? minute : 5 * minute);
    const isMissing =
      bot.recording_url === null &&
      bot.recording_state === "complete" &&
      settingsOf(bot.settings?.configuration).recording !== "none";
    return isMissing && sinceEnd < recordingPatienceMs ? after(minute) : null;
  }
  if (bot.state?.startsWith("joined_")) return after(2 * minute);
  if (bot.state === "scheduled" || bot.state === null) {
    const closeAt = (bot.joins_at ?? now).getTime() - busyMs;
    const aheadMs = closeAt - now.getTime();
    if (aheadMs > 0) return after(Math.min(aheadMs, aheadMs > day ? hour : 15 * minute));
  }
  return after(30 * second);
}
