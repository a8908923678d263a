import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import type { App } from "../app.ts";
import { getOwnBot, recordingLink } from "../meetings/bot-actions.ts";
import {
  getTranscriptOf,
  listKeptMessages,
  listKeptParticipantEvents,
} from "../meetings/bot-view.ts";
import { toSrt, toVtt } from "../meetings/transcript.ts";
import { BotId } from "./attendee.ts";
import { listOf, listQuery, pageOf, readCursor } from "./lists.ts";
import { userOf } from "./session.ts";
import { Time } from "./times.ts";

const Params = z.strictObject({ bot_id: BotId });
const TranscriptAnswer = z.object({
  bot_id: z.guid(),
  meeting_id: z.guid(),
  final: z.boolean(),
  is_empty: z.boolean(),
  text: z.string().describe("All of it, a line each: `[time] speaker: words`"),
  summary: z.string().nullable().describe("Its first words; null where nothing was said yet"),
  segments: z.array(
    z.object({
      speaker: z.string(),
      start: z.number().describe("Seconds since the first word"),
      end: z.number().describe("Seconds since the first word"),
      text: z.string().describe("The words"),
      at: z.string().nullable().describe("When it began; null where the provider does not say"),
    }),
  ),
  participants: z.array(z.string()),
  speakers: z.array(z.string()),
  word_count: z.number(),
  duration_seconds: z.number(),
  speaking_seconds: z.number(),
  language: z.string().nullable().describe("What was spoken, or set; null where not known"),
  recording_url: z
    .string()
    .nullable()
    .describe("Opens for 20 minutes at least; ask again for another; null without a recording"),
  retrieved_at: Time.nullable(),
  document_id: z.guid().nullable(),
});

const Place = z.tuple([Time, z.string().max(300)]);

function placeIn(cursor: string | undefined) {
  const place = readCursor(Place, cursor);
  return place && { at: new Date(place[0]), id: place[1] };
}

/** What bots heard in their meetings: what was said and written, and who was there. */
export const transcriptRoutes: FastifyPluginAsyncZod<{ app: App }> = async (server, { app }) => {
  server.get(
    "/attendee/transcript/:bot_id",
    {
      config: { who: "user" },
      schema: {
        summary: "What was said in a bot's meeting",
        description: "Grows while the meeting runs; `final` says whether more can come.",
        tags: ["bots"],
        params: Params,
        querystring: z.strictObject({
          format: z
            .enum(["json", "text", "vtt", "srt"])
            .default("json")
            .describe("`text`: a line each; `vtt` and `srt`: subtitles"),
        }),
        response: {
          200: {
            description: "As JSON, or in the format that was asked for",
            content: {
              "application/json": { schema: TranscriptAnswer },
              "text/plain": { schema: z.string() },
              "text/vtt": { schema: z.string() },
              "application/x-subrip": { schema: z.string() },
            },
          },
        },
      },
    },
    async (request, reply) => {
      const bot = await getOwnBot(app, userOf(request), request.params.bot_id);
      const { format } = request.query;
      const kept = await getTranscriptOf(app, bot);
      const segments = kept.segments ?? [];
      if (format !== "json") {
        const [type, text] = {
          text: ["text/plain", kept.text ?? ""] as const,
          vtt: ["text/vtt", toVtt(segments)] as const,
          srt: ["application/x-subrip", toSrt(segments)] as const,
        }[format];
        reply.header(
          "content-disposition",
          `attachment; filename="transcript-${kept.start_time.toISOString().slice(0, 10)}.${format === "text" ? "txt" : format}"`,
        );
        return reply.type(`${type}; charset=utf-8`).send(text);
      }
      const isFinal = bot.transcript_state === "final";
      return reply.type("application/json; charset=utf-8").send({
        bot_id: bot.id,
        meeting_id: bot.meeting_id,
        final: isFinal,
        is_empty: isFinal && segments.length === 0,
        text: kept.text ?? "",
        summary: kept.summary,
        segments,
        participants: kept.participants ?? [],
        speakers: kept.speakers ?? [],
        word_count: Number(kept.metadata?.word_count ?? 0),
        duration_seconds: kept.duration_seconds ?? 0,
        speaking_seconds: Number(kept.metadata?.speaking_seconds ?? 0),
        language: kept.language,
        recording_url: await recordingLink(app, bot),
        retrieved_at: kept.retrieved_at?.toISOString() ?? null,
        document_id: kept.document_id,
      });
    },
  );

  server.get(
    "/attendee/chat-messages/:bot_id",
    {
      config: { who: "user" },
      schema: {
        summary: "The chat of a bot's meeting, oldest first",
        tags: ["bots"],
        params: Params,
        querystring: z.strictObject(listQuery),
        response: {
          200: listOf(
            z.object({
              id: z.string().describe("The provider's id of the message"),
              sender_name: z.string().nullable(),
              sender_uuid: z.string().nullable(),
              to: z.string().describe("To whom, in the provider's word, such as everyone"),
              text: z.string().describe("What was written"),
              at: Time,
            }),
          ),
        },
      },
    },
    async (request) => {
      const bot = await getOwnBot(app, userOf(request), request.params.bot_id);
      const { limit, cursor } = request.query;
      const messages = await listKeptMessages(app, bot.id, {
        after: placeIn(cursor),
        limit: limit + 1,
      });
      const items = messages.map(({ message_id, sent_to, sent_at, ...message }) => {
        return { id: message_id, to: sent_to, at: sent_at.toISOString(), ...message };
      });
      return pageOf(items, limit, ({ at, id }) => [at, id]);
    },
  );

  server.get(
    "/attendee/participant-events/:bot_id",
    {
      config: { who: "user" },
      schema: {
        summary: "Who joined a bot's meeting and who left, oldest first",
        tags: ["bots"],
        params: Params,
        querystring: z.strictObject(listQuery),
        response: {
          200: listOf(
            z.object({
              id: z.string().describe("The provider's id of the event"),
              type: z
                .string()
                .describe("What happened, in the provider's word, such as join or leave"),
              participant_name: z.string().nullable(),
              participant_uuid: z.string(),
              is_host: z.boolean(),
              at: Time,
            }),
          ),
        },
      },
    },
    async (request) => {
      const bot = await getOwnBot(app, userOf(request), request.params.bot_id);
      const { limit, cursor } = request.query;
      const events = await listKeptParticipantEvents(app, bot.id, {
        after: placeIn(cursor),
        limit: limit + 1,
      });
      const items = events.map(({ event_id, happened_at, ...event }) => {
        return { id: event_id, at: happened_at.toISOString(), ...event };
      });
      return pageOf(items, limit, ({ at, id }) => [at, id]);
    },
  );
};
