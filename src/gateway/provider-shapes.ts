import type { App } from "../app.ts";
import { AppError } from "../lib/errors.ts";
import type { OwnBot } from "../meetings/bot-actions.ts";
import { type BotRequest, sendBot } from "../meetings/bot-sending.ts";
import {
  listBotEvents,
  listKeptMessages,
  listKeptParticipantEvents,
} from "../meetings/bot-view.ts";

// The old addresses answered with whole lists, and none that a meeting makes is longer.
const mostEntries = 20_000;

const wholeListFrom = (since: Date | null) => ({
  after: since && { at: since, id: "" },
  limit: mostEntries,
});

/** Sends a bot. @throws as {@link sendBot} does, and where the provider refused it: the old addresses failed then. */
export async function sendOrFail(
  app: Parameters<typeof sendBot>[0],
  userId: string,
  wish: BotRequest,
): Promise<OwnBot> {
  const { bot } = await sendBot(app, userId, wish);
  const isRefused = bot.is_over && bot.provider_bot_id === null && bot.earlier_bot_ids.length === 0;
  if (isRefused) throw new AppError("conflict", bot.notice?.text ?? "No bot could be sent");
  return bot;
}

/** What callers name a bot by: the provider's id, and ours until it has one. Both open it at every address. */
export function nameOf({ provider_bot_id, id }: OwnBot): string {
  return provider_bot_id ?? id;
}

/** A bot in the provider's shape, as we know it. */
export async function providerViewOf(app: App, bot: OwnBot) {
  const events = await listBotEvents(app, bot.id);
  return {
    id: nameOf(bot),
    meeting_url: bot.meeting_url,
    state: bot.state,
    recording_state: bot.recording_state,
    transcription_state: bot.transcription_state,
    join_at: bot.sent?.join_at ?? null,
    events: events
      .filter(({ provider_bot_id }) => provider_bot_id)
      .map(({ type, sub_type, happened_at }) => ({
        type,
        ...(sub_type ? { sub_type } : {}),
        created_at: happened_at,
      })),
  };
}

/** The chat of a bot's meeting in the provider's shape, from a moment on. */
export async function chatOf(app: App, bot: OwnBot, since: Date | null = null) {
  const messages = await listKeptMessages(app, bot.id, wholeListFrom(since));
  return onePage(
    messages.map(({ message_id, sent_to, sent_at, ...message }) => ({
      id: message_id,
      to: sent_to,
      timestamp_ms: sent_at.getTime(),
      timestamp: Math.floor(sent_at.getTime() / 1000),
      ...message,
    })),
  );
}

/** Who came and went, in the provider's shape, from a moment on. */
export async function participantEventsOf(app: App, bot: OwnBot, since: Date | null = null) {
  const events = await listKeptParticipantEvents(app, bot.id, wholeListFrom(since));
  return onePage(
    events.map(({ event_id, type, happened_at, is_host, ...event }) => ({
      id: event_id,
      event_type: type,
      participant_is_host: is_host,
      timestamp_ms: happened_at.getTime(),
      ...event,
    })),
  );
}

/** A list in the provider's shape that is whole. */
export function onePage<Item>(results: Item[]) {
  return { next: null, previous: null, results };
}
