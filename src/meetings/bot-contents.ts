import { sql } from "kysely";
import { z } from "zod";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import { ProviderError } from "../lib/errors.ts";
import {
  type AttendeeAccess,
  type ChatMessage,
  getRecording,
  getTranscript,
  listChatMessages,
  listParticipantEvents,
  type Page,
  type ParticipantEvent,
  type Recording,
  type Utterance,
} from "../providers/attendee.ts";
import { patienceMs } from "./bot-pace.ts";
import { conclude, writeTranscript } from "./bot-transcripts.ts";
import { type BotRow, lockWithMeetings, tellSharers } from "./bots.ts";
import { keyOfUtterance, transcriptOf } from "./transcript.ts";

/**
 * What was said, written and recorded, as far as it is new. `spoken` is by provider's bot: of several attempts each has its
 * own, and one that the provider no longer has is not among them.
 */
export type Contents = {
  readAt: Date;
  spoken: Map<string, Utterance[]>;
  /** Everything that was said, not only what came since the last reading. */
  isWhole: boolean;
  /** Whether the chat, and who came and went, were added to. Both are kept already. */
  hasMessages: boolean;
  hasPeople: boolean;
  recording: Recording | null;
  isFinal: boolean;
};

// Clocks differ, and what is written while one reads is in the next reading: it is kept once all the same.
const overlapMs = 60_000;

type Reading = {
  app: Pick<App, "db" | "clock">;
  access: AttendeeAccess;
  signal: AbortSignal | undefined;
};

/**
 * Fetches what a bot has heard; null where it cannot have heard anything yet. The chat and who came are kept page by page:
 * whoever is interrupted goes on there the next time.
 */
export async function fetchContents(reading: Reading, bot: BotRow): Promise<Contents | null> {
  const { app, access, signal } = reading;
  const now = app.clock.now();
  const id = bot.provider_bot_id;
  // Whoever deleted the data at the provider wanted it gone there; what we have stays, and is all there will be.
  if (bot.state === "data_deleted") return nothingMore(now);
  const isIn = /^joined_|breakout|leaving|post_processing/.test(bot.state ?? "");
  if (!bot.is_over && !isIn) return null;
  const readAt = bot.contents_read_at;
  const since = readAt && new Date(readAt.getTime() - overlapMs);
  const isWhole = bot.is_over || !since;
  const idsOf = (isAll: boolean) => [...(isAll ? bot.earlier_bot_ids : []), ...(id ? [id] : [])];
  const sinceOrWhole = isWhole ? null : since;
  // Edited messages are among the whole alone; who came does not change.
  const chat = { name: "chat", list: listChatMessages, keep: keepMessages };
  const people = { name: "people", list: listParticipantEvents, keep: keepPeople };
  const hasMessages = await keepList(reading, bot, {
    ...chat,
    ids: idsOf(isWhole),
    since: sinceOrWhole,
  });
  const hasPeople = await keepList(reading, bot, { ...people, ids: idsOf(!since), since });
  const [utterances, recording] = await Promise.all([
    Promise.all(
      idsOf(isWhole).map(async (one) => {
        const said = getTranscript(access, one, { since: sinceOrWhole, signal });
        return [one, await said.catch(goneIsNull)] as const;
      }),
    ),
    bot.is_over && id ? getRecording(access, id, signal) : null,
  ]);
  const waitedMs = now.getTime() - (bot.over_at ?? now).getTime();
  // Of one that the provider no longer has nothing more will come.
  const isComplete = !id || bot.transcription_state !== "in_progress" || waitedMs > patienceMs;
  return {
    readAt: now,
    spoken: new Map(utterances.flatMap(([one, list]) => (list ? [[one, list]] : []))),
    isWhole,
    hasMessages,
    hasPeople,
    recording,
    isFinal: bot.is_over && isComplete,
  };
}

/** Nothing more will come: what was kept is all. */
export function nothingMore(now: Date): Contents {
  return {
    readAt: now,
    spoken: new Map(),
    isWhole: false,
    hasMessages: false,
    hasPeople: false,
    recording: null,
    isFinal: true,
  };
}

type List<Item> = {
  name: string;
  ids: string[];
  since: Date | null;
  list: (
    access: AttendeeAccess,
    id: string,
    span: { since: Date | null; from: string | null; signal: AbortSignal | undefined },
  ) => AsyncGenerator<Page<Item>>;
  keep: (tx: Tx, bot: BotRow, items: Item[]) => Promise<boolean>;
};

// How far a long list was read is kept with its pages, until all of a reading is kept. The last page is read again by
// whoever goes on: more may have come.
async function keepList<Item>(
  { app, access, signal }: Reading,
  bot: BotRow,
  { name, ids, since, list, keep }: List<Item>,
): Promise<boolean> {
  const places = Places.parse(bot.settings?.reading);
  let hasNews = false;
  for (const id of ids) {
    const key = [name, id, since?.toISOString() ?? ""].join(" ");
    const from = places[key] ?? null;
    // What an earlier look kept of it is news all the same.
    hasNews ||= from !== null;
    try {
      for await (const { items, next } of list(access, id, { since, from, signal })) {
        if (items.length === 0) continue;
        const isNew = await app.db.transaction().execute(async (tx) => {
          if (next !== null) await keepPlace(tx, bot.id, { [key]: next });
          return keep(tx, bot, items);
        });
        hasNews ||= isNew;
      }
    } catch (error) {
      // A place that the provider knows no longer must not be the end of it.
      const isRefused = error instanceof ProviderError && [400, 404].includes(error.status ?? 0);
      if (from !== null && isRefused) await forgetPlaces(app.db, bot.id);
      goneIsNull(error);
    }
  }
  return hasNews;
}

// Where to go on in a list.
const Places = z.record(z.string(), z.string()).catch({});

async function keepPlace(tx: Tx, botId: string, place: Record<string, string>): Promise<void> {
  await sql`
    update bots set settings = coalesce(settings, '{}')
      || jsonb_build_object('reading', coalesce(settings -> 'reading', '{}') || ${JSON.stringify(place)}::jsonb)
    where id = ${botId}
  `.execute(tx);
}

async function forgetPlaces(db: App["db"] | Tx, botId: string): Promise<void> {
  await sql`update bots set settings = settings - 'reading' where id = ${botId}`.execute(db);
}

function goneIsNull(error: unknown): null {
  if (error instanceof ProviderError && error.failure === "not_found") return null;
  throw error;
}

// The columns of a meeting hold the whole transcript: while it grows they are written this often at most.
const writeEveryMs = 60_000;
const shortTranscript = 200;

/** Keeps it, for everybody who shares the bot; a final transcript becomes a document of each. Repeating it changes nothing. */
export async function keepContents(
  app: Pick<App, "db" | "clock" | "queue" | "config">,
  bot: BotRow,
  contents: Contents,
): Promise<void> {
  const now = app.clock.now();
  const { isFinal, recording, hasMessages, hasPeople } = contents;
  await app.db.transaction().execute(async (tx) => {
    await lockWithMeetings(tx, bot.id);
    const { count, hasWords } = await keepUtterances(tx, bot, contents);
    await sql`
      update bots set transcript_state = ${isFinal ? "final" : count > 0 ? "growing" : "none"},
        contents_read_at = ${contents.readAt}, settings = settings - 'reading',
        recording_url = coalesce(${recording?.url ?? null}, recording_url),
        recording_url_at = case when ${recording !== null} then ${now} else recording_url_at end
      where id = ${bot.id}
    `.execute(tx);
    if (recording) {
      await sql`
        update meetings set transcript_recording_url = ${recording.url} where bot_id = ${bot.id}
      `.execute(tx);
    }
    const isWritten =
      bot.transcript_written_at !== null &&
      now.getTime() - bot.transcript_written_at.getTime() < writeEveryMs;
    if (isFinal || ((hasWords || hasPeople) && (count <= shortTranscript || !isWritten))) {
      const transcript = transcriptOf(await listUtterances(tx, bot.id));
      await writeTranscript(tx, bot, { transcript, isFinal, now });
      if (isFinal) await conclude(app, tx, bot, transcript);
    }
    if (isFinal || hasMessages || hasPeople || hasWords) {
      await tellSharers(tx, bot.id, { state: bot.state, status: bot.status, transcript: true });
    }
  });
}

/** Everything that a bot heard, of all its attempts, oldest first. */
export async function listUtterances(db: App["db"] | Tx, botId: string): Promise<Utterance[]> {
  const { rows } = await sql<{ utterance: Utterance }>`
    select utterance from bot_utterances where bot_id = ${botId}
    order by (utterance ->> 'timestamp_ms')::numeric nulls last, provider_bot_id, key
  `.execute(db);
  return rows.map(({ utterance }) => utterance);
}

// Each reading writes over what it brings again; a whole one replaces what that bot said, but never by nothing.
async function keepUtterances(
  tx: Tx,
  bot: BotRow,
  { spoken, isWhole }: Contents,
): Promise<{ count: number; hasWords: boolean }> {
  let changed = 0n;
  for (const [providerId, utterances] of spoken) {
    const rows = Object.fromEntries(
      utterances.map((utterance, index) => [keyOfUtterance(utterance, index), utterance]),
    );
    if (utterances.length === 0) continue;
    const { numAffectedRows: kept } = await sql`
      insert into bot_utterances as kept (bot_id, provider_bot_id, key, utterance)
      select ${bot.id}::uuid, ${providerId}::text, key, value from jsonb_each(${JSON.stringify(rows)}::jsonb)
      on conflict (bot_id, provider_bot_id, key) do update set utterance = excluded.utterance
      where kept.utterance <> excluded.utterance
    `.execute(tx);
    changed += kept ?? 0n;
    if (!isWhole) continue;
    const { numAffectedRows: gone } = await sql`
      delete from bot_utterances where bot_id = ${bot.id} and provider_bot_id = ${providerId}
        and key <> all(${Object.keys(rows)}::text[])
    `.execute(tx);
    changed += gone ?? 0n;
  }
  const { rows } = await sql<{ count: number }>`
    select count(*)::int as count from bot_utterances where bot_id = ${bot.id}
  `.execute(tx);
  return { count: rows[0]?.count ?? 0, hasWords: changed > 0n };
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
