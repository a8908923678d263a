import { createHash } from "node:crypto";
import { sql } from "kysely";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import { startClassification, tellOwner } from "../documents/classification.ts";
import { ProviderError } from "../lib/errors.ts";
import {
  type AttendeeAccess,
  type ChatMessage,
  getRecording,
  getTranscript,
  listChatMessages,
  listParticipantEvents,
  type ParticipantEvent,
  type Recording,
  type Utterance,
} from "../providers/attendee.ts";
import { enqueue } from "../queue/queue.ts";
import { patienceMs } from "./bot-pace.ts";
import { emptyTranscript } from "./bot-words.ts";
import { type BotRow, lockMeetings, tellSharers } from "./bots.ts";
import { type Transcript, transcriptOf } from "./transcript.ts";

/** What was said, written and recorded so far. */
export type Contents = {
  utterances: Utterance[];
  messages: ChatMessage[];
  people: ParticipantEvent[];
  recording: Recording | null;
  isFinal: boolean;
};

/** Fetches what a bot has heard; null where it cannot have heard anything yet. */
export async function fetchContents(
  access: AttendeeAccess,
  bot: BotRow,
  now: Date,
  signal: AbortSignal | undefined,
): Promise<Contents | null> {
  const id = bot.provider_bot_id ?? "";
  const isIn = /^joined_|breakout|leaving|post_processing/.test(bot.state ?? "");
  if (!bot.is_over && !isIn) return null;
  const ids = [...bot.earlier_bot_ids, id];
  const [utterances, messages, people, recording] = await Promise.all([
    Promise.all(ids.map((one) => getTranscript(access, one, signal).catch(withoutData))),
    Promise.all(ids.map((one) => listChatMessages(access, one).catch(withoutData))),
    Promise.all(ids.map((one) => listParticipantEvents(access, one).catch(withoutData))),
    bot.is_over ? getRecording(access, id, signal) : null,
  ]);
  const waitedMs = now.getTime() - (bot.over_at ?? now).getTime();
  const isComplete = bot.transcription_state !== "in_progress" || waitedMs > patienceMs;
  return {
    utterances: utterances.flat(),
    messages: messages.flat(),
    people: people.flat(),
    recording,
    isFinal: bot.is_over && isComplete,
  };
}

// Whoever deleted the data at the provider wanted it gone there; what we have stays.
function withoutData(error: unknown): never[] {
  if (error instanceof ProviderError && error.failure === "not_found") return [];
  throw error;
}

/** Keeps it, for everybody who shares the bot; a final transcript becomes a document of each. Repeating it changes nothing. */
export async function keepContents(
  app: Pick<App, "db" | "clock" | "queue" | "config">,
  bot: BotRow,
  contents: Contents,
): Promise<void> {
  const now = app.clock.now();
  const transcript = transcriptOf(contents.utterances);
  await app.db.transaction().execute(async (tx) => {
    await lockMeetings(tx, bot.id);
    const news = [
      await keepMessages(tx, bot, contents.messages),
      await keepPeople(tx, bot, contents.people),
      await keepTranscript(tx, bot, {
        transcript,
        people: contents.people,
        isFinal: contents.isFinal,
        now,
      }),
    ];
    const { recording } = contents;
    await sql`
      update bots set transcript_state = ${contents.isFinal ? "final" : transcript.segments.length > 0 ? "growing" : "none"},
        recording_url = coalesce(${recording?.url ?? null}, recording_url),
        recording_url_at = case when ${recording !== null} then ${now} else recording_url_at end,
        notice = case when ${contents.isFinal && transcript.segments.length === 0} and notice is null
          then ${JSON.stringify(emptyTranscript)}::jsonb else notice end
      where id = ${bot.id}
    `.execute(tx);
    if (recording) {
      await sql`
        update meetings set transcript_recording_url = ${recording.url} where bot_id = ${bot.id}
      `.execute(tx);
    }
    if (contents.isFinal) await makeDocuments(app, tx, bot, transcript);
    if (contents.isFinal || news.includes(true)) {
      await tellSharers(tx, bot.id, { state: bot.state, status: bot.status, transcript: true });
    }
  });
}

async function keepMessages(tx: Tx, bot: BotRow, messages: ChatMessage[]): Promise<boolean> {
  const rows = [...new Map(messages.map((one) => [one.id, one])).values()].map((message) => ({
    message_id: message.id,
    sender_name: message.sender_name,
    sender_uuid: message.sender_uuid,
    sent_to: message.to,
    text: message.text.replaceAll("\0", ""),
    sent_at: new Date(message.timestamp_ms),
  }));
  const { numAffectedRows } = await sql`
    insert into bot_messages as kept (bot_id, message_id, sender_name, sender_uuid, sent_to, text, sent_at)
    select ${bot.id}::uuid, message.* from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) as message (message_id text,
      sender_name text, sender_uuid text, sent_to text, text text, sent_at timestamptz)
    -- An edited message keeps its id.
    on conflict (bot_id, message_id) do update set text = excluded.text where kept.text <> excluded.text
  `.execute(tx);
  return (numAffectedRows ?? 0n) > 0n;
}

async function keepPeople(tx: Tx, bot: BotRow, people: ParticipantEvent[]): Promise<boolean> {
  const rows = people.map((one) => ({
    event_id: one.id,
    type: one.event_type,
    participant_name: one.participant_name,
    participant_uuid: one.participant_uuid,
    is_host: one.participant_is_host ?? false,
    happened_at: new Date(one.timestamp_ms),
  }));
  const { numAffectedRows } = await sql`
    insert into bot_participant_events (bot_id, event_id, type, participant_name, participant_uuid, is_host, happened_at)
    select ${bot.id}::uuid, event.* from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) as event (event_id text,
      type text, participant_name text, participant_uuid text, is_host boolean, happened_at timestamptz)
    on conflict do nothing
  `.execute(tx);
  return (numAffectedRows ?? 0n) > 0n;
}

type Heard = { transcript: Transcript; people: ParticipantEvent[]; isFinal: boolean; now: Date };

async function keepTranscript(
  tx: Tx,
  bot: BotRow,
  { transcript, people, isFinal, now }: Heard,
): Promise<boolean> {
  const { segments, speakers } = transcript;
  const participants = [
    ...new Set([...speakers, ...people.flatMap(({ participant_name }) => participant_name ?? [])]),
  ];
  const metadata = {
    bot_id: bot.provider_bot_id,
    retrieved_at: now.toISOString(),
    word_count: transcript.wordCount,
    character_count: transcript.characterCount,
    duration_seconds: transcript.durationSeconds,
    speaking_seconds: transcript.speakingSeconds,
    participants,
    entry_count: segments.length,
    is_empty: segments.length === 0,
  };
  const live = { timestamp: now.toISOString(), text: transcript.text, is_final: isFinal };
  const { numAffectedRows } = await sql`
    update meetings set
      real_time_transcript = ${JSON.stringify(live)}::jsonb, transcript_segments = ${JSON.stringify(segments)}::jsonb,
      transcript_participants = ${JSON.stringify(participants)}::jsonb,
      transcript_speakers = ${JSON.stringify(speakers)}::jsonb,
      transcript_metadata = ${JSON.stringify(metadata)}::jsonb,
      transcript_duration_seconds = ${transcript.durationSeconds},
      transcript_language = coalesce(${transcript.language}, ${bot.settings?.language ?? null}, transcript_language),
      transcript = case when ${isFinal} then ${transcript.text} else transcript end,
      transcript_summary = case when ${isFinal}
        then ${transcript.summary || emptyTranscript.text} else transcript_summary end,
      transcript_url = case when ${isFinal} then ${`/api/v1/attendee/transcript/${bot.id}`} else transcript_url end,
      transcript_retrieved_at = case when ${isFinal} then coalesce(transcript_retrieved_at, ${now}) else null end,
      final_transcript_ready = ${isFinal}, updated_at = ${now}
    where bot_id = ${bot.id} and (transcript_segments is distinct from ${JSON.stringify(segments)}::jsonb
      or final_transcript_ready is distinct from ${isFinal} or transcript_participants is distinct from ${JSON.stringify(participants)}::jsonb)
  `.execute(tx);
  return (numAffectedRows ?? 0n) > 0n;
}

// One document for each meeting. The older product made one without a text; it is completed, not doubled.
async function makeDocuments(
  app: Pick<App, "clock" | "config" | "queue">,
  tx: Tx,
  bot: BotRow,
  transcript: Transcript,
): Promise<void> {
  if (transcript.segments.length === 0) return;
  const now = app.clock.now();
  const { rows: meetings } = await sql<{
    id: string;
    user_id: string;
    project_id: string | null;
    title: string | null;
    document_id: string | null;
    transcript_metadata: Record<string, unknown> | null;
  }>`
    select meetings.id, user_id, meetings.project_id, meetings.title, transcript_metadata,
      (select documents.id from documents where documents.meeting_id = meetings.id
        and documents.type = 'meeting_transcript' order by created_at limit 1) as document_id
    from meetings where bot_id = ${bot.id} and transcript_document_id is null
  `.execute(tx);
  const textHash = createHash("sha256").update(transcript.text).digest("hex");
  for (const meeting of meetings) {
    const values = {
      summary: transcript.summary,
      transcript_duration_seconds: transcript.durationSeconds,
      transcript_metadata: JSON.stringify(meeting.transcript_metadata ?? {}),
      updated_at: now,
    };
    const { id: documentId } = meeting.document_id
      ? await tx
          .updateTable("documents")
          .set(values)
          .where("id", "=", meeting.document_id)
          .returning("id")
          .executeTakeFirstOrThrow()
      : await tx
          .insertInto("documents")
          .values({
            ...values,
            created_by: meeting.user_id,
            project_id: meeting.project_id,
            type: "meeting_transcript",
            source: "attendee_bot",
            source_id: meeting.id,
            meeting_id: meeting.id,
            title: meeting.title ?? "Meeting Transcript",
            author: "Meeting Attendee Bot",
            received_at: now,
            classification_source: "system",
            created_at: now,
          })
          .returning("id")
          .executeTakeFirstOrThrow();
    await tx
      .insertInto("document_texts")
      .values({
        document_id: documentId,
        text: transcript.text,
        quoted: null,
        signature: null,
        cut: null,
        hash: textHash,
      })
      .onConflict((conflict) => conflict.column("document_id").doNothing())
      .execute();
    await sql`
      update meetings set transcript_document_id = ${documentId} where id = ${meeting.id}
    `.execute(tx);
    const { user_id: userId } = meeting;
    await enqueue(
      app,
      tx,
      await startClassification(app, tx, { documentId, userId, fact: "transcribed" }),
    );
    await tellOwner(tx, userId, documentId);
  }
}
