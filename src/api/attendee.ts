import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import type { App } from "../app.ts";
import { getOwnBot, leave, type OwnBot, sendChat, setRecording } from "../meetings/bot-actions.ts";
import { pollBots } from "../meetings/bot-polling.ts";
import { getBotPreferences, setBotPreferences } from "../meetings/bot-preferences.ts";
import { autoSchedule, sendBot } from "../meetings/bot-sending.ts";
import { Language, meetingText, Recording } from "../meetings/bot-settings.ts";
import { listBotEvents } from "../meetings/bot-view.ts";
import { BotNotice, botStatuses } from "../meetings/bot-words.ts";
import { userOf } from "./session.ts";
import { Moment, Time } from "./times.ts";

export const BotId = z.string().min(1).max(200).describe("Our id of the bot, or the provider's");
const BotAnswer = z.object({
  id: z.guid().describe("Our id of the bot"),
  meeting_id: z.guid(),
  provider_bot_id: z.string().nullable(),
  name: z.string().describe("What it is called in the meeting"),
  meeting_url: z.string().nullable(),
  status: z
    .enum(botStatuses)
    .describe(
      "How far it is: `pending` until sent, `bot_joined` in the meeting, `transcribing` as it records",
    ),
  state: z.string().nullable().describe("The provider's own word; null before it has said one"),
  sub_state: z
    .string()
    .nullable()
    .describe("The reason of the last event, in the provider's word; null where it gave none"),
  wish: z.enum(["attend", "leave"]).nullable(),
  join_at: Time.nullable(),
  attempt: z.number(),
  is_over: z.boolean(),
  is_recording_paused: z.boolean(),
  recording_state: z.string().nullable(),
  notice: BotNotice.nullable().describe("What a person should know, and can do; null for nothing"),
  last_error: z.string().nullable(),
  next_poll_at: Time.nullable(),
});

const Preferences = z.strictObject({
  all_meetings: z
    .boolean()
    .describe(
      "Whether bots come to all own meetings with others, but for private and declined ones",
    ),
  bot_name: meetingText(100).min(1).nullable(),
  greeting: meetingText(2_000)
    .nullable()
    .describe(
      "What they write into the chat when they come; empty for nothing, null for the usual",
    ),
  language: Language.nullable().describe(
    "What is spoken, as a tag such as en-US; null leaves it to the meeting",
  ),
  recording: Recording.nullable().describe("What is recorded; null for the usual, which is video"),
});

/** Meeting bots: sent, steered and followed. */
export const attendeeRoutes: FastifyPluginAsyncZod<{ app: App }> = async (server, { app }) => {
  server.post(
    "/attendee/poll-all",
    {
      config: { who: "service" },
      schema: {
        summary: "Look at every bot that is due",
        tags: ["bots"],
        response: {
          200: z.object({
            results: z
              .array(
                z.object({
                  bot_id: z.guid(),
                  meeting_ids: z.array(z.guid()),
                  status: z.enum(botStatuses).describe("How far it is"),
                  state: z.string().nullable().describe("The provider's own word; null before one"),
                  has_transcript: z
                    .boolean()
                    .describe("Whether its transcript is final, also where nothing was heard"),
                  changed: z.boolean(),
                  error: z.string().nullable(),
                }),
              )
              .describe("The bots that were due, one by one"),
          }),
        },
      },
    },
    async () => ({ results: await pollBots(app) }),
  );

  server.post(
    "/attendee/send-bot",
    {
      config: { who: "user", idempotent: true },
      schema: {
        summary: "Send a bot into a meeting, now or at a time",
        description:
          "A second call for the same meeting answers 200 with the same bot. Where the provider does not answer, the bot is kept and sent as soon as it does: `last_error` says so.",
        tags: ["bots"],
        body: z
          .strictObject({
            meeting_url: z
              .string()
              .trim()
              .min(1)
              .max(2048)
              .optional()
              .describe(
                "The link to send it to; beside a `meeting_id` it has to be that meeting's",
              ),
            meeting_id: z
              .guid()
              .optional()
              .describe("A meeting of the caller's, in place of its link"),
            bot_name: meetingText(255).min(1).optional(),
            bot_chat_message: meetingText(10_000).optional(),
            join_at: Moment.optional().describe(
              "Two minutes before the start by itself; for a bot that is to come already, it is moved",
            ),
            again: z
              .boolean()
              .optional()
              .describe("Once more, where the meeting's bot is over and the meeting is not"),
          })
          .refine(
            ({ meeting_url, meeting_id }) => meeting_url !== undefined || meeting_id !== undefined,
            { message: "is required, or meeting_id", path: ["meeting_url"] },
          ),
        response: { 200: BotAnswer, 201: BotAnswer },
      },
    },
    async (request, reply) => {
      const { meeting_url, meeting_id, bot_name, bot_chat_message, join_at, again } = request.body;
      const { bot, isNew } = await sendBot(app, userOf(request), {
        meetingUrl: meeting_url,
        meetingId: meeting_id,
        name: bot_name,
        greeting: bot_chat_message,
        joinAt: join_at,
        isAgain: again,
      });
      return reply.code(isNew ? 201 : 200).send(await answerOf(app, bot));
    },
  );

  server.get(
    "/attendee/bot-status/:bot_id",
    {
      config: { who: "user" },
      schema: {
        summary: "How a bot is doing, and all that happened to it",
        tags: ["bots"],
        params: z.strictObject({ bot_id: BotId }),
        response: {
          200: BotAnswer.extend({
            events: z
              .array(
                z.object({
                  type: z.string().describe("What happened, in Attendee's word or ours"),
                  sub_type: z.string().nullable(),
                  by: z
                    .enum(["attendee", "daybook"])
                    .describe("Who tells of it: its provider, or we"),
                  at: Time,
                }),
              )
              .describe("All that happened to it, oldest first"),
          }),
        },
      },
    },
    async (request) => {
      const bot = await getOwnBot(app, userOf(request), request.params.bot_id);
      const events = await listBotEvents(app, bot.id);
      return {
        ...(await answerOf(app, bot)),
        events: events.map(({ type, sub_type, provider_bot_id, happened_at }) => ({
          type,
          sub_type,
          by: provider_bot_id ? ("attendee" as const) : ("daybook" as const),
          at: happened_at.toISOString(),
        })),
      };
    },
  );

  server.post(
    "/attendee/auto-schedule",
    {
      config: { who: "user", idempotent: true },
      schema: {
        summary: "Give every coming meeting the bot that it should have",
        tags: ["bots"],
        response: {
          200: z.object({
            results: z
              .array(
                z.object({
                  meeting_id: z.guid(),
                  title: z.string().describe("The meeting's title"),
                  bot_id: z.guid(),
                  join_at: Time.nullable(),
                  success: z.boolean().describe("Whether nothing has gone wrong with it so far"),
                  error: z.string().nullable(),
                }),
              )
              .describe("The meetings that got a bot, one by one"),
          }),
        },
      },
    },
    async (request) => {
      const results = await autoSchedule(app, userOf(request));
      return {
        results: results.map(({ meetingId, title, botId, joinAt, error }) => ({
          meeting_id: meetingId,
          title,
          bot_id: botId,
          join_at: joinAt?.toISOString() ?? null,
          success: error === null,
          error,
        })),
      };
    },
  );

  server.post(
    "/attendee/send-chat",
    {
      config: { who: "user", idempotent: true },
      schema: {
        summary: "Write into the chat of a bot's meeting",
        tags: ["bots"],
        body: z.strictObject({
          bot_id: BotId,
          message: meetingText(10_000).min(1).describe("What to write; emoji are refused"),
          to: z
            .string()
            .min(1)
            .max(500)
            .default("everyone")
            .describe("`everyone`, `everyone_but_host`, `host`, or a participant's uuid"),
        }),
        response: {
          202: z.object({
            queued: z.literal(true).describe("Always true: the provider took it"),
          }),
        },
      },
    },
    async (request, reply) => {
      const { bot_id, message, to } = request.body;
      await sendChat(app, userOf(request), bot_id, { message, to });
      return reply.code(202).send({ queued: true as const });
    },
  );

  for (const [name, wish] of [
    ["pause", "paused"],
    ["resume", "running"],
  ] as const) {
    server.post(
      `/attendee/${name}-recording`,
      {
        config: { who: "user" },
        schema: {
          summary: name === "pause" ? "Pause a bot's recording" : "Resume a bot's recording",
          tags: ["bots"],
          body: z.strictObject({ bot_id: BotId }),
          response: { 200: BotAnswer },
        },
      },
      async (request) =>
        answerOf(app, await setRecording(app, userOf(request), request.body.bot_id, wish)),
    );
  }

  server.post(
    "/attendee/leave",
    {
      config: { who: "user" },
      schema: {
        summary: "Have a bot leave its meeting, or not come at all",
        description: "Others who share the bot keep it.",
        tags: ["bots"],
        body: z.strictObject({ bot_id: BotId }),
        response: {
          200: z.object({
            left: z.literal(true).describe("Always true: it leaves, or does not come"),
            bot: BotAnswer.nullable(),
          }),
        },
      },
    },
    async (request) => {
      const bot = await leave(app, userOf(request), request.body.bot_id);
      return { left: true as const, bot: bot && (await answerOf(app, bot)) };
    },
  );

  server.get(
    "/attendee/preferences",
    {
      config: { who: "user" },
      schema: {
        summary: "What the caller wants of bots in all of their meetings",
        tags: ["bots"],
        response: { 200: Preferences },
      },
    },
    async (request) => getBotPreferences(app, userOf(request)),
  );

  server.put(
    "/attendee/preferences",
    {
      config: { who: "user" },
      schema: {
        summary: "Say what bots in all of the caller's meetings are to be like",
        description: "Every coming meeting is decided anew.",
        tags: ["bots"],
        body: Preferences,
        response: { 200: Preferences },
      },
    },
    async (request) => {
      await setBotPreferences(app, userOf(request), request.body);
      return getBotPreferences(app, userOf(request));
    },
  );
};

async function answerOf(app: App, bot: OwnBot): Promise<z.input<typeof BotAnswer>> {
  const last = (await listBotEvents(app, bot.id)).findLast(
    ({ provider_bot_id }) => provider_bot_id,
  );
  return {
    id: bot.id,
    meeting_id: bot.meeting_id,
    provider_bot_id: bot.provider_bot_id,
    name: bot.name,
    meeting_url: bot.meeting_url,
    status: bot.status,
    state: bot.state,
    sub_state: last?.sub_type ?? null,
    wish: bot.wish,
    join_at: bot.joins_at?.toISOString() ?? null,
    attempt: bot.attempt,
    is_over: bot.is_over,
    is_recording_paused: bot.state === "joined_recording_paused",
    recording_state: bot.recording_state,
    notice: BotNotice.nullable().catch(null).parse(bot.notice),
    last_error: bot.last_error,
    next_poll_at: bot.due_at?.toISOString() ?? null,
  };
}
