import { createHash } from "node:crypto";
import { sql } from "kysely";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import { startClassification, tellOwner } from "../documents/classification.ts";
import { enqueue } from "../queue/queue.ts";
import { settingsOf } from "./bot-settings.ts";
import { keepMeetings } from "./bot-states.ts";
import { emptyTranscript, type Notice, removed } from "./bot-words.ts";
import type { BotRow } from "./bots.ts";
import type { Transcript } from "./transcript.ts";

type Heard = { transcript: Transcript; isFinal: boolean; now: Date };

/** Writes what was said so far into the columns of every meeting that has the bot. */
export async function writeTranscript(
  tx: Tx,
  bot: BotRow,
  { transcript, isFinal, now }: Heard,
): Promise<void> {
  const { segments, speakers } = transcript;
  const participants = await participantsOf(tx, bot.id, transcript);
  const metadata = metadataOf(bot, transcript, { participants, now });
  const live = { timestamp: now.toISOString(), text: transcript.text, is_final: isFinal };
  await sql`update bots set transcript_written_at = ${now} where id = ${bot.id}`.execute(tx);
  await sql`
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
}

/** Who spoke, in the order of their first words, then who was there besides. */
export async function participantsOf(
  db: App["db"] | Tx,
  botId: string,
  { speakers }: Transcript,
): Promise<string[]> {
  const { rows } = await sql<{ name: string }>`
    select participant_name as name from bot_participant_events
    where bot_id = ${botId} and participant_name is not null group by participant_name order by min(happened_at)
  `.execute(db);
  return [...new Set([...speakers, ...rows.map(({ name }) => name)])];
}

function metadataOf(
  bot: BotRow,
  transcript: Transcript,
  { participants, now }: { participants: string[]; now: Date },
) {
  return {
    bot_id: bot.provider_bot_id,
    retrieved_at: now.toISOString(),
    word_count: transcript.wordCount,
    character_count: transcript.characterCount,
    duration_seconds: transcript.durationSeconds,
    speaking_seconds: transcript.speakingSeconds,
    participants,
    entry_count: transcript.segments.length,
    is_empty: transcript.segments.length === 0,
  };
}

/** Says how it ended, and gives everybody who had the bot in their meeting what it heard, as a document. */
export async function conclude(
  app: Pick<App, "clock" | "config" | "queue">,
  tx: Tx,
  bot: BotRow,
  transcript: Transcript,
): Promise<void> {
  const isEmpty = transcript.segments.length === 0;
  const notice = await noticeAtTheEnd(tx, bot, { isEmpty, now: app.clock.now() });
  if (notice) {
    await sql`
      update bots set notice = coalesce(notice, ${JSON.stringify(notice)}::jsonb) where id = ${bot.id}
    `.execute(tx);
  }
  await keepMeetings(tx, bot.id);
  if (!isEmpty) await makeDocuments(app, tx, bot, transcript);
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

// One document for each meeting that had the bot. The older product made one without a text; it is completed, not doubled.
// A bot that was sent once more after all that adds to it, and what it adds is handed on again.
async function makeDocuments(
  app: Pick<App, "clock" | "config" | "queue">,
  tx: Tx,
  bot: BotRow,
  transcript: Transcript,
): Promise<void> {
  const now = app.clock.now();
  const { rows: meetings } = await sql<{
    id: string;
    user_id: string;
    project_id: string | null;
    title: string | null;
    document_id: string | null;
    is_new: boolean;
  }>`
    select meetings.id, user_id, meetings.project_id, meetings.title, had.document_id is null as is_new,
      coalesce(had.document_id, (select documents.id from documents where documents.meeting_id = meetings.id
        and documents.type = 'meeting_transcript'
        and not exists (select from bot_meetings as other where other.document_id = documents.id)
        order by created_at limit 1)) as document_id
    from bot_meetings as had join meetings on meetings.id = had.meeting_id
    where had.bot_id = ${bot.id}
  `.execute(tx);
  const textHash = createHash("sha256").update(transcript.text).digest("hex");
  const participants = await participantsOf(tx, bot.id, transcript);
  const values = {
    summary: transcript.summary,
    transcript_duration_seconds: transcript.durationSeconds,
    transcript_metadata: JSON.stringify(metadataOf(bot, transcript, { participants, now })),
    updated_at: now,
  };
  for (const meeting of meetings) {
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
    const text = { text: transcript.text, hash: textHash };
    const changed = await tx
      .insertInto("document_texts")
      .values({ document_id: documentId, ...text, quoted: null, signature: null, cut: null })
      .onConflict((conflict) =>
        conflict
          .column("document_id")
          .doUpdateSet(text)
          .where("document_texts.hash", "is distinct from", textHash),
      )
      .returning("document_id")
      .executeTakeFirst();
    const { user_id: userId } = meeting;
    if (!meeting.is_new) {
      // What was said since it was handed on is another fact.
      if (changed) await handOn(app, tx, { documentId, userId, fact: `transcribed:${textHash}` });
      continue;
    }
    await sql`
      update bot_meetings set document_id = ${documentId} where bot_id = ${bot.id} and meeting_id = ${meeting.id}
    `.execute(tx);
    // Whoever put the meeting into a project has chosen it for what was said there.
    await sql`
      update documents set project_chosen_at = ${now}, classification_source = 'user', classification_status = 'classified'
      where id = ${documentId} and project_id is not null and project_chosen_at is null
    `.execute(tx);
    await handOn(app, tx, { documentId, userId, fact: "transcribed" });
  }
}

async function handOn(
  app: Pick<App, "clock" | "config" | "queue">,
  tx: Tx,
  document: { documentId: string; userId: string; fact: string },
): Promise<void> {
  await enqueue(app, tx, await startClassification(app, tx, document));
  await tellOwner(tx, document.userId, document.documentId);
}
