import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import type { App } from "../app.ts";
import { acceptNotification, type ChannelMessage } from "../sync/notifications.ts";

/** The headers of a channel's message. Source: Google's guide to push notifications. */
export const ChannelHeaders = z.looseObject({
  "x-goog-channel-id": z.string().min(1).max(200).describe("The channel's id"),
  "x-goog-channel-token": z.string().max(300).default("").describe("The channel's secret"),
  "x-goog-resource-state": z
    .string()
    .regex(/^[a-z_]{1,50}$/)
    .describe("`sync` for a channel's first message, then `exists`"),
  "x-goog-message-number": z
    .string()
    .regex(/^\d{1,18}$/)
    .describe("Rises with each message, with gaps"),
  "x-goog-resource-id": z.string().max(300).optional(),
  "x-goog-resource-uri": z.string().max(2000).optional(),
});

/** Where providers tell us that something changed. Each proves itself, and is committed before it is answered. */
export const webhookRoutes: FastifyPluginAsyncZod<{ app: App }> = async (server, { app }) => {
  for (const url of ["/webhooks/calendar", "/webhooks/google-calendar"]) {
    server.post(
      url,
      {
        config: { who: "public", anonymous: true },
        schema: {
          summary: "Google Calendar says that a calendar changed",
          description:
            "Proven by the channel's id and secret. The same message again does nothing.",
          tags: ["webhooks"],
          headers: ChannelHeaders,
          querystring: z.looseObject({}),
          body: z.unknown().optional(),
          response: { 204: z.undefined() },
        },
      },
      async (request, reply) => {
        await acceptNotification(app, messageOf(request.headers));
        return reply.code(204).send();
      },
    );
  }

  server.get(
    "/webhooks/calendar/verify",
    {
      config: { who: "public", anonymous: true },
      schema: {
        summary: "Echo a challenge as plain text",
        tags: ["webhooks"],
        querystring: z.strictObject({ challenge: Challenge }),
        response: { 200: z.string() },
      },
    },
    async (request, reply) => reply.type("text/plain; charset=utf-8").send(request.query.challenge),
  );
};

/** What may be echoed: nothing that a browser could take for more than text. */
export const Challenge = z
  .string()
  .regex(/^[\w.~-]{1,200}$/, "may have up to 200 letters, digits, dots, dashes and underscores")
  .describe("The text to echo");

/** What the headers of a channel's message say. */
export function messageOf(headers: z.output<typeof ChannelHeaders>): ChannelMessage {
  return {
    channelId: headers["x-goog-channel-id"],
    token: headers["x-goog-channel-token"],
    state: headers["x-goog-resource-state"],
    messageNumber: headers["x-goog-message-number"],
    resourceId: headers["x-goog-resource-id"] ?? null,
    resourceUri: headers["x-goog-resource-uri"] ?? null,
  };
}
