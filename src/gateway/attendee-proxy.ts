import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { userOf } from "../api/session.ts";
import type { App } from "../app.ts";
import { AppError, ProviderError } from "../lib/errors.ts";
import { inParallel } from "../lib/parallel.ts";
import {
  deleteHeard,
  getOwnBot,
  leave,
  listOwnBots,
  present,
  recordingLink,
  requireAccess,
  sendChat,
  setRecording,
} from "../meetings/bot-actions.ts";
import { listUtterances } from "../meetings/bot-contents.ts";
import { findBots } from "../providers/attendee.ts";
import { oldAddress, oldPost } from "./old-address.ts";
import {
  chatOf,
  onePage,
  participantEventsOf,
  providerViewOf,
  sendOrFail,
} from "./provider-shapes.ts";

const text = z.string().min(1).max(10_000);
const moment = z.iso
  .datetime({ offset: true })
  .transform((at) => new Date(at))
  .optional();
const Greeting = z.union([text, z.object({ message: text }).transform(({ message }) => message)]);
const Named = z.object({ bot_id: z.string().min(1).max(200) });
const Media = Named.extend({ type: z.string().min(1).max(100), data: z.string().min(1) });
const named = { input: Named, missing: "bot_id" };
const media = { input: Media, missing: "bot_id, type, or data" };

type Call<Input extends z.ZodType> = { input: Input; missing: string; status?: number };

/**
 * The old addresses that passed a page's calls on to the bot provider: same fields, same shapes. Nothing is passed on
 * any more: each call does what its owner may do to their own bot, and of a body only what is named here is read.
 */
export const attendeeProxyGateway: FastifyPluginAsyncZod<{ app: App }> = async (
  server,
  { app },
) => {
  const answer = <Input extends z.ZodType>(
    address: `${"GET" | "POST" | "PATCH" | "DELETE"} ${string}`,
    { input, missing, status = 200 }: Call<Input>,
    act: (userId: string, given: z.output<Input>) => Promise<unknown>,
  ) => {
    const [method = "", path = ""] = address.split(" ");
    server.route({
      method,
      url: `/attendee-proxy/${path}`,
      config: { who: "user" },
      schema: oldAddress(
        path.replaceAll("-", " "),
        method === "GET"
          ? { querystring: z.looseObject({}) }
          : { body: z.looseObject({}).optional() },
      ),
      handler: async (request, reply) => {
        const sent = Object((method === "GET" ? request.query : request.body) ?? {});
        const given = input.safeParse(sent);
        if (!given.success) {
          const [{ path: [field = ""] = [], message } = {}] = given.error.issues;
          const isSent = Object.hasOwn(sent, field);
          const error = isSent ? `${String(field)}: ${message}` : `Missing ${missing}`;
          return reply.code(400).send({ ok: false, error });
        }
        try {
          const data = await act(userOf(request), given.data);
          return reply.code(status).send({ ok: true, status, data });
        } catch (error) {
          if (!(error instanceof AppError)) throw error;
          const { message } = error;
          // The provider, whose status was passed on, knows but one for what is wrong or comes at the wrong time.
          const isRefusal = error.code === "conflict" || error.code === "invalid";
          const status = isRefusal ? 400 : error.status;
          return reply
            .code(status)
            .send({ ok: false, status, error: message, data: { error: message } });
        }
      },
    });
  };
  const viewOf = async (userId: string, botId: string) =>
    providerViewOf(app, await getOwnBot(app, userId, botId));

  answer(
    "POST send-bot",
    {
      input: z.object({
        meeting_url: z.string().min(1).max(2048),
        bot_name: z.string().trim().min(1).max(255).optional(),
        bot_chat_message: Greeting.optional(),
        join_at: moment,
      }),
      missing: "meeting_url",
      status: 201,
    },
    async (userId, { meeting_url: meetingUrl, bot_name: name, bot_chat_message, join_at }) => {
      const wish = { meetingUrl, name, greeting: bot_chat_message, joinAt: join_at };
      return providerViewOf(app, await sendOrFail(app, userId, wish));
    },
  );
  answer("GET transcript", named, async (userId, { bot_id }) =>
    listUtterances(app.db, (await getOwnBot(app, userId, bot_id)).id),
  );
  answer("GET bot-details", named, (userId, { bot_id }) => viewOf(userId, bot_id));
  answer(
    "PATCH update-bot",
    {
      input: Named.extend({
        updates: z.object({
          bot_name: z.string().trim().min(1).max(255).optional(),
          join_at: moment,
          meeting_url: z.never("is what its meeting says").optional(),
        }),
      }),
      missing: "bot_id or updates",
    },
    async (userId, { bot_id, updates: { bot_name: name, join_at: joinAt } }) => {
      const { meeting_id: meetingId, is_over } = await getOwnBot(app, userId, bot_id);
      if (is_over) throw new AppError("conflict", "The bot is over");
      return providerViewOf(app, await sendOrFail(app, userId, { meetingId, name, joinAt }));
    },
  );
  answer("DELETE delete-bot", named, async (userId, { bot_id }) => {
    await leave(app, userId, bot_id);
    return null;
  });
  answer("POST leave-meeting", named, async (userId, { bot_id }) => {
    const bot = await leave(app, userId, bot_id);
    return bot && providerViewOf(app, bot);
  });
  answer(
    "GET chat-messages",
    { input: Named.extend({ updated_after: moment }), missing: "bot_id" },
    async (userId, { bot_id, updated_after }) =>
      chatOf(app, await getOwnBot(app, userId, bot_id), updated_after),
  );
  answer(
    "GET participant-events",
    { input: Named.extend({ after: moment, before: moment }), missing: "bot_id" },
    async (userId, { bot_id, after, before }) => {
      const { results } = await participantEventsOf(
        app,
        await getOwnBot(app, userId, bot_id),
        after,
      );
      const end = before?.getTime() ?? Number.POSITIVE_INFINITY;
      return onePage(results.filter(({ timestamp_ms }) => timestamp_ms < end));
    },
  );
  answer(
    "POST send-chat",
    {
      input: Named.extend({
        message: text,
        to: z.string().min(1).max(500).default("everyone"),
        to_user_uuid: z.string().max(500).nullish(),
      }),
      missing: "bot_id or message",
    },
    async (userId, { bot_id, message, to, to_user_uuid }) => {
      await sendChat(app, userId, bot_id, { message, to: to_user_uuid ?? to });
      return null;
    },
  );
  answer(
    "POST speech",
    {
      input: Named.extend({ text, text_to_speech_settings: z.looseObject({}).optional() }),
      missing: "bot_id or text",
    },
    async (userId, { bot_id, ...body }) => present(app, userId, bot_id, { kind: "speech", body }),
  );
  answer("POST output-audio", media, async (userId, { bot_id, ...body }) =>
    present(app, userId, bot_id, { kind: "output_audio", body }),
  );
  answer("POST output-image", media, async (userId, { bot_id, ...body }) =>
    present(app, userId, bot_id, { kind: "output_image", body }),
  );
  answer(
    "POST output-video",
    {
      input: Named.extend({ url: z.url({ protocol: /^https$/ }).max(2048) }),
      missing: "bot_id or url",
    },
    async (userId, { bot_id, ...body }) =>
      present(app, userId, bot_id, { kind: "output_video", body }),
  );
  for (const [path, wish] of [
    ["pause-recording", "paused"],
    ["resume-recording", "running"],
  ] as const) {
    answer(`POST ${path}`, named, async (userId, { bot_id }) =>
      providerViewOf(app, await setRecording(app, userId, bot_id, wish)),
    );
  }
  answer("GET recording", named, async (userId, { bot_id }) => {
    const url = await recordingLink(app, await getOwnBot(app, userId, bot_id));
    if (!url) throw new AppError("not_found", "No recording file found for bot");
    return { url };
  });
  answer("POST delete-data", named, async (userId, { bot_id }) =>
    providerViewOf(app, await deleteHeard(app, userId, bot_id)),
  );

  server.get(
    "/attendee-proxy/list-bots",
    {
      config: { who: "user" },
      schema: oldAddress("the caller's bots", {}),
    },
    async (request) => {
      const bots = await listOwnBots(app, userOf(request));
      return {
        ok: true,
        data: onePage(await inParallel(bots, 8, (bot) => providerViewOf(app, bot))),
      };
    },
  );

  // The key is tried by a question that makes nothing, and costs nothing.
  server.post(
    "/attendee-proxy/test-key",
    {
      config: { who: "user" },
      schema: oldPost("whether the provider takes the key"),
    },
    async () => {
      try {
        await findBots(requireAccess(app), "daybook-test-key");
        return { ok: true, status: 200, body: "" };
      } catch (error) {
        if (!(error instanceof ProviderError)) throw error;
        const isRefused = error.reason === "unauthorised";
        const status = error.status ?? 502;
        return isRefused
          ? { ok: false, error: "Invalid API key", status, body: error.message }
          : { ok: true, status, body: error.message };
      }
    },
  );
};
