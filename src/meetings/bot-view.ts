import { sql } from "kysely";
import type { App } from "../app.ts";
import { AppError } from "../lib/errors.ts";
import { listUtterances } from "./bot-contents.ts";
import { decideBots } from "./bot-plans.ts";
import { participantsOf } from "./bot-transcripts.ts";
import type { BotStatus } from "./bot-words.ts";
import { type Segment, transcriptOf } from "./transcript.ts";

/** One thing that happened to a bot. Those without a provider's bot are our own doing. */
export type BotEvent = {
  type: string;
  sub_type: string | null;
  provider_bot_id: string | null;
  happened_at: Date;
};

/** A bot's whole history, oldest first. */
export async function listBotEvents(app: Pick<App, "db">, botId: string): Promise<BotEvent[]> {
  const { rows } = await sql<BotEvent>`
    select type, nullif(sub_type, '') as sub_type, nullif(provider_bot_id, '') as provider_bot_id, happened_at
    from bot_events where bot_id = ${botId} order by happened_at, id limit 2000
  `.execute(app.db);
  return rows;
}

export type KeptMessage = {
  message_id: string;
  sender_name: string | null;
  sender_uuid: string | null;
  sent_to: string;
  text: string;
  sent_at: Date;
};

type Page = { after: { at: Date; id: string } | null; limit: number };

/** The chat of a bot's meeting, oldest first. */
export async function listKeptMessages(
  app: Pick<App, "db">,
  botId: string,
  { after, limit }: Page,
): Promise<KeptMessage[]> {
  const { rows } = await sql<KeptMessage>`
    select message_id, sender_name, sender_uuid, sent_to, text, sent_at from bot_messages
    where bot_id = ${botId} and (${after === null} or (sent_at, message_id) > (${after?.at ?? null}::timestamptz, ${after?.id ?? null}))
    order by sent_at, message_id limit ${limit}
  `.execute(app.db);
  return rows;
}

export type KeptParticipantEvent = {
  event_id: string;
  type: string;
  participant_name: string | null;
  participant_uuid: string;
  is_host: boolean;
  happened_at: Date;
};

/** Who came to a bot's meeting and who left, oldest first. */
export async function listKeptParticipantEvents(
  app: Pick<App, "db">,
  botId: string,
  { after, limit }: Page,
): Promise<KeptParticipantEvent[]> {
  const { rows } = await sql<KeptParticipantEvent>`
    select event_id, type, participant_name, participant_uuid, is_host, happened_at from bot_participant_events
    where bot_id = ${botId} and (${after === null} or (happened_at, event_id) > (${after?.at ?? null}::timestamptz, ${after?.id ?? null}))
    order by happened_at, event_id limit ${limit}
  `.execute(app.db);
  return rows;
}

/** What was said in a meeting, as its row keeps it. */
export type KeptTranscript = {
  title: string;
  start_time: Date;
  text: string | null;
  segments: Segment[] | null;
  participants: string[] | null;
  speakers: string[] | null;
  summary: string | null;
  duration_seconds: number | null;
  metadata: Record<string, unknown> | null;
  language: string | null;
  retrieved_at: Date | null;
  document_id: string | null;
};

/** What a bot heard up to the last reading; of one of the older product, what its meeting holds. */
export async function getTranscriptOf(
  app: Pick<App, "db">,
  bot: { id: string; meeting_id: string; wish: string | null },
): Promise<KeptTranscript> {
  const { rows } = await sql<KeptTranscript>`
    select title, start_time, coalesce(transcript, real_time_transcript ->> 'text') as text,
      transcript_segments as segments, transcript_participants as participants, transcript_speakers as speakers,
      transcript_summary as summary, transcript_duration_seconds as duration_seconds, transcript_metadata as metadata,
      transcript_language as language, transcript_retrieved_at as retrieved_at,
      (select document_id from bot_meetings where bot_id = ${bot.id} and meeting_id = meetings.id) as document_id
    from meetings where id = ${bot.meeting_id}
  `.execute(app.db);
  const [kept] = rows;
  if (!kept) throw new Error(`Meeting ${bot.meeting_id} was deleted`);
  // One that was never followed from here has only what the older product kept.
  if (bot.wish === null) return kept;
  const transcript = transcriptOf(await listUtterances(app.db, bot.id));
  const { text, segments, speakers, durationSeconds, speakingSeconds, wordCount } = transcript;
  return {
    ...kept,
    text,
    summary: transcript.summary || null,
    segments,
    speakers,
    participants: await participantsOf(app.db, bot.id, transcript),
    duration_seconds: durationSeconds,
    metadata: { ...kept.metadata, word_count: wordCount, speaking_seconds: speakingSeconds },
  };
}

/** Why a meeting has a bot or none: the decision as it was taken, and what became of the bot. */
export type BotReason = {
  decision: "none" | "send" | "move" | "cancel";
  rule: string;
  reason: string;
  inputs: Record<string, unknown>;
  decided_at: Date;
  bot_id: string | null;
  bot_status: BotStatus | null;
  notice: unknown;
};

/** @throws {AppError} `not_found` for a meeting that is not theirs. */
export async function whyBot(
  app: Pick<App, "db" | "clock" | "config">,
  userId: string,
  meetingId: string,
): Promise<BotReason> {
  const { rows } = await sql<BotReason | { decision: null }>`
    select plan.decision, plan.rule, plan.reason, plan.inputs, plan.decided_at, bots.id as bot_id,
      bots.status as bot_status, bots.notice
    from meetings left join bot_plans as plan on plan.meeting_id = meetings.id
    left join bots on bots.id = meetings.bot_id
    where meetings.id = ${meetingId} and meetings.user_id = ${userId}
  `.execute(app.db);
  const [why] = rows;
  if (!why) throw new AppError("not_found", `No meeting ${meetingId}`);
  if (why.decision === "send" && !app.config.attendee.apiKey) {
    const reason = `${why.reason}; but no bots can be sent: MASTER_ATTENDEE_API_KEY is not set`;
    return { ...why, reason };
  }
  if (why.decision !== null) return why;
  // One of the older product that has not changed since.
  await app.db.transaction().execute((tx) => decideBots(tx, [meetingId], app.clock.now()));
  return whyBot(app, userId, meetingId);
}
