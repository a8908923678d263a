import type { FastifyRequest } from "fastify";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import type { App } from "../app.ts";
import { applyClassification } from "../documents/classification.ts";
import { AppError } from "../lib/errors.ts";
import {
  acceptBotNotification,
  BotNotification,
  proveBotNotification,
} from "../meetings/bot-notifications.ts";
import { PubSubMessage, readMailboxMessage } from "../providers/google/pubsub.ts";
import { isSigned } from "../providers/n8n.ts";
import { acceptMailboxMessage, provePush } from "../sync/mailbox-notifications.ts";
import { acceptNotification, type ChannelMessage } from "../sync/notifications.ts";
import { answerProblems } from "./problems.ts";

/** The headers of a channel's message. Source: Google's guide to push notifications. */
export const ChannelHeaders = z.looseObject({
  "x-goog-channel-id": z.string().min(1).max(200).describe("The channel's id"),
  "x-goog-channel-token": z.string().max(300).default("").describe("The channel's secret"),
  "x-goog-resource-state": z
    .string()
    .regex(/^[a-z_]{1,50}$/)
    .describe("`sync` for a channel's first message, then what happened"),
  "x-goog-message-number": z
    .string()
    .regex(/^\d{1,18}$/)
    .optional()
    .describe("Rises with each message, with gaps"),
  "x-goog-resource-id": z.string().max(300).optional().describe("Google's id of what is watched"),
  "x-goog-resource-uri": z.string().max(2000).optional().describe("Google's address of that"),
});

/** Where providers tell us that something changed. Each proves itself, and is committed before it is answered. */
export const webhookRoutes: FastifyPluginAsyncZod<{ app: App }> = async (server, { app }) => {
  // Providers know one word for a message that is not what it says.
  answerProblems(server, "malformed");
  const hearChannel = (
    url: string,
    service: "calendar" | "drive",
    says: { summary: string; description: string },
  ) =>
    server.post(
      url,
      {
        config: { who: "public", anonymous: true },
        schema: {
          ...says,
          tags: ["webhooks"],
          headers: ChannelHeaders,
          querystring: z.looseObject({}),
          body: z.unknown().optional(),
          response: { 204: z.undefined() },
        },
      },
      async (request, reply) => {
        await acceptNotification(app, messageOf(request.headers), service);
        return reply.code(204).send();
      },
    );
  for (const url of ["/webhooks/calendar", "/webhooks/google-calendar"]) {
    hearChannel(url, "calendar", {
      summary: "Google Calendar says that a calendar changed",
      description: "Proven by the channel's id and secret. The same message again does nothing.",
    });
  }
  hearChannel("/webhooks/drive", "drive", {
    summary: "Google Drive says that files changed",
    description:
      "Proven by the channel's id and secret. Whatever state it names, the log of changes is read; the same message again does nothing.",
  });

  server.post(
    "/webhooks/gmail",
    {
      config: { who: "public", anonymous: true },
      attachValidation: true,
      schema: {
        summary: "Pub/Sub says that a mailbox has news",
        description:
          "Proven by the token that Google signs for the subscription. What is old, doubled or about a mailbox that nobody follows is taken, and does nothing.",
        tags: ["webhooks"],
        querystring: z.looseObject({}),
        body: PushEnvelope,
        response: { 204: z.undefined() },
      },
    },
    async (request, reply) => {
      await acceptPush(app, request, request.validationError ? null : request.body);
      return reply.code(204).send();
    },
  );

  server.post(
    "/webhooks/attendee",
    {
      config: { who: "public", anonymous: true },
      schema: {
        summary: "Attendee says that something happened to a bot",
        description:
          "Proven by `X-Webhook-Signature`: HMAC-SHA256 of the body's canonical JSON, in base64. What happened is then asked of Attendee; the same message again does nothing.",
        tags: ["webhooks"],
        querystring: z.looseObject({}),
        body: z.unknown().describe("`idempotency_key`, `bot_id`, `trigger` and `data`"),
        response: { 204: z.undefined() },
      },
    },
    async (request, reply) => {
      const signature = [request.headers["x-webhook-signature"] ?? []].flat()[0];
      proveBotNotification(app, signature, request.sentText);
      const notification = BotNotification.safeParse(request.body);
      if (!notification.success)
        throw new AppError("malformed", "Attendee's webhooks look otherwise");
      await acceptBotNotification(app, notification.data);
      return reply.code(204).send();
    },
  );

  server.post(
    "/webhooks/classification",
    {
      config: { who: "public" },
      attachValidation: true,
      schema: {
        summary: "A workflow says which project a document belongs to",
        description:
          "Proven by the service key, or signed with N8N_WEBHOOK_SECRET: by Standard Webhooks, or `x-signature: sha256=` and the body's HMAC in hexadecimal. The same result again does nothing; a person's choice stays.",
        tags: ["webhooks"],
        body: ClassificationBody,
        response: {
          200: z.object({
            outcome: z
              .enum(["applied", "late", "person_decided", "duplicate"])
              .describe("`late`: a newer result counts; `person_decided`: a person's choice does"),
          }),
        },
      },
    },
    async (request) => {
      const { secret } = app.config.n8n;
      const isProven =
        request.who?.type === "service" ||
        (secret !== null && isSigned(secret, request.headers, request.sentText, app.clock.now()));
      if (!isProven) throw new AppError("unauthenticated", "Sign it, or send the service key");
      if (request.validationError) throw request.validationError;
      const { body } = request;
      const outcome = await applyClassification(app, {
        documentId: body.document_id,
        projectId: body.project_id,
        confidence: body.confidence,
        tags: body.tags,
        reason: body.reason,
        classifiedAt: body.classified_at,
      });
      return { outcome };
    },
  );

  server.get(
    "/webhooks/calendar/verify",
    {
      config: { who: "public", anonymous: true },
      schema: {
        summary: "Echo a challenge as plain text",
        tags: ["webhooks"],
        querystring: z.strictObject({ challenge: Challenge }),
        response: { 200: PlainText },
      },
    },
    async (request, reply) => reply.type("text/plain; charset=utf-8").send(request.query.challenge),
  );
};

/** An answer that is the challenge, or a sentence, and no JSON. */
export const PlainText = {
  description: "The challenge",
  content: { "text/plain": { schema: z.string() } },
};

/** What Pub/Sub posts. Source: Pub/Sub's guide to push subscriptions. */
export const PushEnvelope = z.looseObject({
  message: PubSubMessage.describe("The message itself"),
  subscription: z
    .string()
    .max(500)
    .optional()
    .describe("The Pub/Sub subscription that it came through"),
});

/** Proves a push, and takes what it says. Taken is also what cannot be read: it would come again for days. */
export async function acceptPush(
  app: App,
  request: FastifyRequest,
  envelope: z.output<typeof PushEnvelope> | null,
): Promise<void> {
  const origin = app.config.publicUrl ?? `${request.protocol}://${request.host}`;
  await provePush(app, request.headers.authorization, `${origin}${request.url.split("?")[0]}`);
  if (!envelope) throw new AppError("malformed", "Pub/Sub's pushes look otherwise");
  const message = readMailboxMessage(envelope.message);
  if (message) await acceptMailboxMessage(app, message);
}

// An expression of n8n's that finds nothing is an empty text, and one that finds a number often a text that holds it.
function emptyIsNull(value: unknown): unknown {
  return typeof value === "string" && value.trim() === "" ? null : value;
}

function numberOf(value: unknown): unknown {
  const given = emptyIsNull(value);
  return typeof given === "string" && /^\d*\.?\d+$/.test(given.trim()) ? Number(given) : given;
}

// n8n's own words differ from workflow to workflow: what is not needed is ignored.
const ClassificationBody = z.looseObject({
  document_id: z.guid().describe("The document that it is about, as it was sent"),
  project_id: z
    .preprocess(emptyIsNull, z.guid().nullish())
    .transform((id) => id ?? null)
    .describe("The project that was found; null, empty or left out for none"),
  confidence: z
    .preprocess(numberOf, z.number().min(0).max(1).nullish())
    .transform((value) => value ?? null),
  tags: z
    .array(z.string().trim().max(200))
    .max(100)
    .nullish()
    .transform((tags) => (tags ?? []).filter((tag) => tag !== "")),
  reason: z
    .string()
    .nullish()
    .transform((text) => text?.slice(0, 2_000).toWellFormed() ?? null)
    .describe("Why, in words; it is shown to the document's owner"),
  classified_at: z.iso
    .datetime({ offset: true })
    .nullish()
    .transform((at) => (at ? new Date(at) : null))
    .describe("When it was decided; without it, when it comes"),
});

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
    messageNumber: headers["x-goog-message-number"] ?? null,
    resourceId: headers["x-goog-resource-id"] ?? null,
    resourceUri: headers["x-goog-resource-uri"] ?? null,
  };
}
