import type { FastifyRequest } from "fastify";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { sql } from "kysely";
import { z } from "zod";
import { userOf, userOrNull } from "../api/session.ts";
import type { App } from "../app.ts";
import { AppError } from "../lib/errors.ts";
import {
  getOwnBot,
  type OwnBot,
  recordingLink,
  sendChat,
  setRecording,
} from "../meetings/bot-actions.ts";
import { pollBots } from "../meetings/bot-polling.ts";
import { autoSchedule } from "../meetings/bot-sending.ts";
import { tendBotNow } from "../meetings/bot-tending.ts";
import { getTranscriptOf } from "../meetings/bot-view.ts";
import { answerCron } from "./crons.ts";
import { oldAddress, oldPost } from "./old-address.ts";
import {
  chatOf,
  nameOf,
  participantEventsOf,
  providerViewOf,
  sendOrFail,
} from "./provider-shapes.ts";

const Query = z.looseObject({
  bot_id: z
    .string()
    .min(1)
    .max(200)
    .optional()
    .catch(undefined)
    .describe("Our id of the bot, or the provider's"),
});
const BotBody = z.looseObject({ bot_id: z.string().min(1).max(200) });
const Sending = z.looseObject({
  meeting_url: z.string().min(1).max(2048),
  bot_name: z.string().trim().min(1).max(255).optional().catch(undefined),
  bot_chat_message: z.string().max(10_000).optional().catch(undefined),
});
const ChatBody = BotBody.extend({
  message: z.string().min(1).max(10_000),
  to: z.string().min(1).max(500).default("everyone"),
});

/** The old addresses of the bot functions: same fields, same shapes; a bot is its meeting's owner's now. */
export const attendeeGateway: FastifyPluginAsyncZod<{ app: App }> = async (server, { app }) => {
  const byService = { config: { who: "service" as const } };
  const byUser = { config: { who: "user" as const } };
  const byEither = { config: { who: "user_or_service" as const } };

  server.post(
    "/attendee-service/poll-all",
    { ...byService, schema: oldAddress("look at every bot that is due", {}) },
    async () => {
      const polled = await pollBots(app);
      return {
        success: true,
        result: polled.flatMap(({ meeting_ids, status, has_transcript, error }) =>
          meeting_ids.map((meetingId) => {
            if (error) return { meetingId, error };
            const isDone = status === "completed";
            return {
              meetingId,
              status,
              ...(isDone ? { transcriptRetrieved: has_transcript } : {}),
            };
          }),
        ),
      };
    },
  );

  server.post(
    "/attendee-service/send-bot",
    { ...byUser, schema: oldPost("send a bot into a meeting") },
    async (request, reply) => {
      const body = Sending.safeParse(request.body);
      if (!body.success) return reply.code(400).send({ error: "Missing meeting_url" });
      const { meeting_url, bot_name, bot_chat_message } = body.data;
      const bot = await sendOrFail(app, userOf(request), {
        meetingUrl: meeting_url,
        name: bot_name,
        greeting: bot_chat_message,
      });
      return { success: true, result: { botId: bot.id, attendeeBotId: nameOf(bot) } };
    },
  );

  const ask = (path: string, summary: string, answer: (bot: OwnBot) => Promise<unknown>) =>
    server.get(
      `/attendee-service/${path}`,
      { ...byUser, schema: oldAddress(summary, { querystring: Query }) },
      async (request, reply) => {
        const { bot_id } = request.query;
        if (!bot_id) return reply.code(400).send({ error: "Missing bot_id" });
        return {
          success: true,
          result: await answer(await getOwnBot(app, userOf(request), bot_id)),
        };
      },
    );
  ask("bot-status", "a bot's state", async (bot) => ({
    status: bot.status,
    data: await providerViewOf(app, bot),
  }));
  ask("transcript", "what was said", async (bot) => {
    const kept = await getTranscriptOf(app, bot);
    return {
      text: kept.text ?? "",
      metadata: {
        word_count: Number(kept.metadata?.word_count ?? 0),
        character_count: Number(kept.metadata?.character_count ?? 0),
        retrieved_at: (kept.retrieved_at ?? app.clock.now()).toISOString(),
      },
      participants: kept.participants ?? [],
      speakers: kept.speakers ?? [],
      segments: (kept.segments ?? []).map(({ start, end, speaker, text }) => {
        return { start, end, speaker, text };
      }),
      audio_url: null,
      recording_url: await recordingLink(app, bot),
    };
  });
  ask("chat-messages", "the chat", (bot) => chatOf(app, bot));
  ask("participant-events", "who came and went", (bot) => participantEventsOf(app, bot));

  server.post(
    "/attendee-service/auto-schedule",
    { ...byUser, schema: oldPost("give coming meetings their bots") },
    async (request) => {
      const results = await autoSchedule(app, userOf(request));
      return {
        success: true,
        result: results.map(({ meetingId, error }) =>
          error ? { meetingId, success: false, error } : { meetingId, success: true },
        ),
      };
    },
  );

  server.post(
    "/attendee-service/send-chat",
    { ...byUser, schema: oldPost("write into a meeting's chat") },
    async (request, reply) => {
      const body = ChatBody.safeParse(request.body);
      if (!body.success) return reply.code(400).send({ error: "Missing bot_id or message" });
      await sendChat(app, userOf(request), body.data.bot_id, body.data);
      return { success: true, result: {} };
    },
  );

  for (const [path, wish] of [
    ["pause-recording", "paused"],
    ["resume-recording", "running"],
  ] as const) {
    server.post(
      `/attendee-service/${path}`,
      { ...byUser, schema: oldPost(path.replace("-", " a ")) },
      async (request, reply) => {
        const body = BotBody.safeParse(request.body);
        if (!body.success) return reply.code(400).send({ error: "Missing bot_id" });
        const bot = await setRecording(app, userOf(request), body.data.bot_id, wish);
        return { success: true, result: await providerViewOf(app, bot) };
      },
    );
  }

  const pollAll = async (userId?: string) => {
    const polled = await pollBots(app, userId ? { userId } : {});
    return Promise.all(
      polled.flatMap(({ meeting_ids }) => meeting_ids.map((id) => pollResult(app, id))),
    );
  };
  server.post(
    "/attendee-polling-service",
    { ...byService, schema: oldAddress("look at every bot that is due", {}) },
    async () => ({ success: true, result: await pollAll() }),
  );
  server.post(
    "/attendee-polling-service/poll-now",
    { ...byEither, schema: oldPost("look at the caller's bots that are due") },
    async (request) => ({
      success: true,
      result: await pollAll(userOrNull(request) ?? undefined),
    }),
  );
  server.get(
    "/attendee-polling-service/get-pending",
    { ...byEither, schema: oldAddress("the meetings whose bots are under way", {}) },
    async (request) => {
      const userId = userOrNull(request);
      const { rows } = await sql<Record<string, unknown>>`
        select meetings.id, meetings.user_id, project_id, google_calendar_event_id, title, meetings.meeting_url,
          start_time, end_time, attendee_bot_id, meetings.bot_name, bot_chat_message, bot_status, bot_deployment_method,
          bot_configuration, auto_scheduled_via_email, event_status, meetings.last_polled_at, next_poll_time,
          meetings.created_at, meetings.updated_at
        from meetings join bots on bots.id = meetings.bot_id
        where (${userId}::uuid is null or meetings.user_id = ${userId}::uuid) and bots.due_at is not null
        order by meetings.updated_at desc limit 500
      `.execute(app.db);
      return { meetings: rows };
    },
  );
  server.post(
    "/attendee-polling-service/poll-meeting",
    { ...byEither, schema: oldPost("look at one meeting's bot") },
    async (request, reply) => {
      const body = z.looseObject({ meetingId: z.guid() }).safeParse(request.body);
      if (!body.success) return reply.code(400).send({ error: "Missing meetingId" });
      const { meetingId } = body.data;
      const userId = userOrNull(request);
      const { rows } = await sql<{ bot_id: string | null }>`
        select bot_id from meetings
        where id = ${meetingId} and (${userId}::uuid is null or user_id = ${userId}::uuid)
      `.execute(app.db);
      if (!rows[0]) throw new AppError("not_found", "Meeting not found");
      if (!rows[0].bot_id) throw new AppError("not_found", "No bot ID associated with meeting");
      await tendBotNow(app, rows[0].bot_id);
      const { meetingId: _, ...result } = await pollResult(app, meetingId);
      return { success: true, result };
    },
  );

  answerCron(
    server,
    { name: "attendee-polling-cron", summary: "look at every bot that is due" },
    async () => {
      const results = await pollAll();
      if (results.length === 0) return { message: "No meetings need polling", count: 0 };
      return { success: true, message: `Polled ${results.length} meetings`, results };
    },
  );

  server.post(
    "/auto-schedule-bots/schedule",
    { ...byEither, schema: oldPost("send bots ahead of coming meetings") },
    async (request) => {
      const userId = namedUser(request);
      const results = await autoSchedule(app, userId);
      const failed = results.filter(({ error }) => error !== null).length;
      const { rows } = await sql<{ id: string; type: string }>`
        select id, case when auto_scheduled_via_email then 'automatic' else 'manual' end as type
        from meetings where id = any(${results.map(({ meetingId }) => meetingId)}::uuid[])
      `.execute(app.db);
      const types = new Map(rows.map(({ id, type }) => [id, type]));
      return {
        success: true,
        result: {
          totalMeetings: results.length,
          successfulDeployments: results.length - failed,
          failedDeployments: failed,
          results: results.map(({ meetingId, title, botId, joinAt, error }) =>
            error
              ? { meetingId, title, success: false, error }
              : {
                  meetingId,
                  title,
                  botId,
                  success: true,
                  deploymentType: types.get(meetingId),
                  joinAt,
                },
          ),
        },
      };
    },
  );
  server.get(
    "/auto-schedule-bots/pending",
    { ...byEither, schema: oldAddress("the meetings that wait for a bot", {}) },
    async (request) => {
      const { rows } = await sql<Record<string, unknown>>`
        select * from meetings where user_id = ${namedUser(request)} and bot_deployment_method = 'scheduled'
          and bot_status = 'pending' and auto_scheduled_via_email and meeting_url is not null
          and start_time >= ${app.clock.now()} and bot_id is null
        order by start_time limit 500
      `.execute(app.db);
      return { success: true, meetings: rows };
    },
  );
};

// The service key may name anybody.
function namedUser(request: FastifyRequest): string {
  if (request.who?.type === "user") return request.who.userId;
  const Named = z
    .looseObject({ user_id: z.guid().optional(), userId: z.guid().optional() })
    .catch({});
  const given = { ...Named.parse(request.query ?? {}), ...Named.parse(request.body ?? {}) };
  const userId = given.user_id ?? given.userId;
  if (userId) return userId;
  throw new AppError("malformed", "Name a user_id");
}

async function pollResult(app: App, meetingId: string) {
  const { rows } = await sql<{
    status: string;
    is_final: boolean;
    summary: string | null;
    error: string | null;
  }>`
    select bots.status, bots.transcript_state = 'final' as is_final, meetings.transcript_summary as summary,
      bots.last_error as error
    from meetings join bots on bots.id = meetings.bot_id where meetings.id = ${meetingId}
  `.execute(app.db);
  const { status = "pending", is_final = false, summary = null, error = null } = rows[0] ?? {};
  if (status !== "completed") {
    return { meetingId, ...(error ? { error } : { status, transcript_retrieved: false }) };
  }
  return is_final
    ? { meetingId, status, transcript_retrieved: true, transcript_summary: summary ?? "" }
    : {
        meetingId,
        status,
        transcript_retrieved: false,
        error: error ?? "The transcript is not final yet",
      };
}
