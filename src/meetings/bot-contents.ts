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
import { settingsOf } from "./bot-settings.ts";
import { emptyTranscript, type Notice, removed } from "./bot-words.ts";
import { type BotRow, lockMeetings, tellSharers } from "./bots.ts";
import { type Transcript, transcriptOf } from "./transcript.ts";

/** What was said, written and recorded. While a meeting runs it is what came since the last reading; once it is over, all. */
export type Contents = {
  readAt: Date;
  isWhole: boolean;
  utterances: Utterance[];
  messages: ChatMessage[];
  people: ParticipantEvent[];
  recording: Recording | null;
  isFinal: boolean;
};

// Clocks differ, and what is written while one reads is in the next reading: it is kept once all the same.
const overlapMs = 60_000;

/** Fetches what a bot has heard; null where it cannot have heard anything yet. */
export async function fetchContents(
  access: AttendeeAccess,
  bot: BotRow,
  now: Date,
  signal: AbortSignal | undefined,
): Promise<Contents | null> {
  const id = bot.provider_bot_id ?? "";
  // Whoever deleted the data at the provider wanted it gone there; what we have stays, and is all there will be.
  if (bot.state === "data_deleted") return { ...nothingNew, readAt: now, isFinal: true };
  const isIn = /^joined_|breakout|leaving|post_processing/.test(bot.state ?? "");
  if (!bot.is_over && !isIn) return null;
  const readAt = bot.contents_read_at;
  const since = bot.is_over || !readAt ? null : new Date(readAt.getTime() - overlapMs);
  const ids = since ? [id] : [...bot.earlier_bot_ids, id];
  const ofAll = async <Item>(list: (one: string) => Promise<Item[]>) =>
    (await Promise.all(ids.map((one) => list(one).catch(withoutData)))).flat();
  const [utterances, messages, people, recording] = await Promise.all([
    ofAll((one) => getTranscript(access, one, { since, signal })),
    ofAll((one) => listChatMessages(access, one, { since, signal })),
    ofAll((one) => listParticipantEvents(access, one, { since, signal })),
    bot.is_over ? getRecording(access, id, signal) : null,
  ]);
  const waitedMs = now.getTime() - (bot.over_at ?? now).getTime();
  const isComplete = bot.transcription_state !== "in_progress" || waitedMs > patienceMs;
  return {
    readAt: now,
    isWhole: since === null,
    utterances,
    messages,
    people,
    recording,
    isFinal: bot.is_over && isComplete,
  };
}

const nothingNew = { isWhole: false, utterances: [], messages: [], people: [], recording: null };

// A bot of an earlier attempt may be gone with all that it had.
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
  const { isFinal, recording } = contents;
  await app.db.transaction().execute(async (tx) => {
    await lockMeetings(tx, bot.id);
    const hasMessages = await keepMessages(tx, bot, contents.messages);
    const hasPeople = await keepPeople(tx, bot, contents.people);
    const transcript = transcriptOf(await keepUtterances(tx, bot, contents));
    const hasWords = await keepTranscript(tx, bot, { transcript, isFinal, now });
    const isEmpty = transcript.segments.length === 0;
    const notice = bot.notice ?? (isFinal ? await noticeAtTheEnd(tx, bot, { isEmpty, now }) : null);
    await sql`
      update bots set transcript_state = ${isFinal ? "final" : isEmpty ? "none" : "growing"},
        contents_read_at = ${contents.readAt},
        recording_url = coalesce(${recording?.url ?? null}, recording_url),
        recording_url_at = case when ${recording !== null} then ${now} else recording_url_at end,
        notice = ${notice === null ? null : JSON.stringify(notice)}::jsonb
      where id = ${bot.id}
    `.execute(tx);
    if (recording) {
      await sql`
        update meetings set transcript_recording_url = ${recording.url} where bot_id = ${bot.id}
      `.execute(tx);
    }
    if (isFinal) await makeDocuments(app, tx, bot, transcript);
    if (isFinal || hasMessages || hasPeople || hasWords) {
      await tellSharers(tx, bot.id, { state: bot.state, status: bot.status, transcript: true });
    }
  });
}

// While the meeting runs, each reading brings a part, and writes over what it brings again. The last one brings all.
async function keepUtterances(
  tx: Tx,
  bot: BotRow,
  { utterances, isWhole, isFinal }: Contents,
): Promise<Utterance[]> {
  if (isWhole && isFinal) {
    await sql`delete from bot_utterances where bot_id = ${bot.id}`.execute(tx);
    return utterances;
  }
  const rows = new Map(
    utterances.map((utterance, index) => [
      utterance.timestamp_ms == null
        ? `#${index}`
        : `${utterance.speaker_uuid} ${utterance.timestamp_ms}`,
      utterance,
    ]),
  );
  await sql`
    insert into bot_utterances as kept (bot_id, key, utterance)
    select ${bot.id}::uuid, key, value from jsonb_each(${JSON.stringify(Object.fromEntries(rows))}::jsonb)
    on conflict (bot_id, key) do update set utterance = excluded.utterance where kept.utterance <> excluded.utterance
  `.execute(tx);
  const { rows: kept } = await sql<{ utterance: Utterance }>`
    select utterance from bot_utterances where bot_id = ${bot.id}
    order by (utterance ->> 'timestamp_ms')::numeric nulls last, key
  `.execute(tx);
  return kept.map(({ utterance }) => utterance);
}

// What nobody said before: that it was empty, or that the bot was put out while people were still there.
async function noticeAtTheEnd(
  tx: Tx,
  bot: BotRow,
  { isEmpty, now }: { isEmpty: boolean; now: Date },
): Promise<Notice | null> {
  const isEarly = bot.ends_at !== null && (bot.over_at ?? now) < bot.ends_at;
  if (bot.status === "completed" && isEarly) {
    const { rows } = await sql<{ there: number }>`
      select count(*)::int as there from (
        select distinct on (participant_uuid) type from bot_participant_events
        where bot_id = ${bot.id} and type in ('join', 'leave')
        order by participant_uuid, happened_at desc, type desc
      ) as last
      where type = 'join' and exists (select from bot_events where bot_id = ${bot.id}
        and provider_bot_id = ${bot.provider_bot_id} and type = 'meeting_ended')
    `.execute(tx);
    const there = rows[0]?.there ?? 0;
    if (there > 0) return removed(there);
  }
  return isEmpty ? emptyTranscript : null;
}

async function keepMessages(tx: Tx, bot: BotRow, messages: ChatMessage[]): Promise<boolean> {
  const rows = [...new Map(messages.map((one) => [one.id, one])).values()].map((message) => ({
    message_id: message.id,
    sender_name: message.sender_name,
    sender_uuid: message.sender_uuid,
    sent_to: message.to,
    text: message.text,
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

type Heard = { transcript: Transcript; isFinal: boolean; now: Date };

async function keepTranscript(
  tx: Tx,
  bot: BotRow,
  { transcript, isFinal, now }: Heard,
): Promise<boolean> {
  const { segments, speakers } = transcript;
  const { rows: people } = await sql<{ name: string }>`
    select participant_name as name from bot_participant_events
    where bot_id = ${bot.id} and participant_name is not null group by participant_name order by min(happened_at)
  `.execute(tx);
  const participants = [...new Set([...speakers, ...people.map(({ name }) => name)])];
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
      transcript_language = coalesce(${transcript.language}, ${settingsOf(bot.settings?.configuration).language}, transcript_language),
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

// One document for each meeting. The older product made one without a text; it is completed, not doubled. A bot that was
// sent once more after all that adds to it.
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
    is_new: boolean;
    transcript_metadata: Record<string, unknown> | null;
  }>`
    select meetings.id, user_id, meetings.project_id, meetings.title, transcript_metadata,
      transcript_document_id is null as is_new,
      coalesce(transcript_document_id, (select documents.id from documents where documents.meeting_id = meetings.id
        and documents.type = 'meeting_transcript' order by created_at limit 1)) as document_id
    from meetings where bot_id = ${bot.id}
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
      .onConflict((conflict) =>
        conflict.column("document_id").doUpdateSet({ text: transcript.text, hash: textHash }),
      )
      .execute();
    if (!meeting.is_new) continue;
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
