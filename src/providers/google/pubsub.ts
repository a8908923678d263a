import { jwtVerify } from "jose";
import { z } from "zod";
import { ProviderError } from "../../lib/errors.ts";
import { areKeysMissing, type GoogleOAuth } from "./oauth.ts";
import { expectAnswer, type GoogleRequest } from "./request.ts";

/** What Gmail publishes: a mailbox has history up to this id. */
export type MailboxMessage = { messageId: string; email: string; historyId: string };

/** A Pub/Sub message, pushed or pulled. Source: Pub/Sub v1, `PubsubMessage`. */
export const PubSubMessage = z.looseObject({
  data: z
    .string()
    .max(100_000)
    .optional()
    .describe("What Gmail says, as base64 of JSON: `emailAddress` and `historyId`"),
  messageId: z.string().max(200).optional(),
  message_id: z.string().max(200).optional().describe("The same as `messageId`"),
});

const Data = z.object({
  emailAddress: z.string().min(3).max(320),
  // As a number it may be larger than JavaScript counts exactly. It is no cursor, and says enough all the same.
  historyId: z
    .union([
      z.string(),
      z
        .number()
        .refine(Number.isInteger)
        .transform((id) => String(BigInt(id))),
    ])
    .pipe(z.string().regex(/^\d{1,20}$/)),
});

/** Reads a message of Gmail's; null when it is none. */
export function readMailboxMessage(message: z.output<typeof PubSubMessage>): MailboxMessage | null {
  try {
    const data = Data.parse(JSON.parse(Buffer.from(message.data ?? "", "base64").toString("utf8")));
    const messageId = message.messageId ?? message.message_id ?? "";
    return { messageId, email: data.emailAddress, historyId: data.historyId };
  } catch {
    return null;
  }
}

/**
 * Checks the token of a push: signed by Google, for our audience, in the name of our service account.
 *
 * @throws {ProviderError} `give_up` when it is none of ours, `retry` when Google's keys cannot be fetched.
 */
export async function verifyPushToken(
  oauth: GoogleOAuth,
  token: string,
  expected: { audience: string; serviceAccount: string },
): Promise<void> {
  try {
    const { payload } = await jwtVerify(token, oauth.jwks, {
      issuer: oauth.endpoints.issuers,
      audience: expected.audience,
      algorithms: ["RS256"],
      currentDate: oauth.clock.now(),
      clockTolerance: 30,
      requiredClaims: ["exp", "iat"],
    });
    const claims = Claims.parse(payload);
    if (!claims.email_verified || claims.email !== expected.serviceAccount) {
      throw new Error("it is another account's");
    }
  } catch (cause) {
    const isLate = areKeysMissing(cause);
    throw new ProviderError(isLate ? "retry" : "give_up", "The push token could not be verified", {
      cause,
      reason: isLate ? "certificates_unavailable" : "invalid_push_token",
    });
  }
}

const Claims = z.object({
  email: z.string(),
  email_verified: z.union([z.boolean(), z.stringbool()]).default(false),
});

/** What is called in the name of the service account. */
export const pubsubScopes = ["https://www.googleapis.com/auth/pubsub"];

/** Messages that wait in a subscription; the call itself waits for the first of them for a while. */
export async function pullMessages(
  google: GoogleRequest,
  subscription: string,
  { signal }: { signal: AbortSignal },
): Promise<{ ackId: string; message: z.output<typeof PubSubMessage> }[]> {
  const purpose = "pull from the subscription";
  const answer = await google({
    purpose,
    api: "pubsub",
    method: "POST",
    path: `/v1/${subscription}:pull`,
    body: { maxMessages: 100 },
    signal,
  });
  return expectAnswer(Pulled, answer, purpose).receivedMessages;
}

const Pulled = z.object({
  receivedMessages: z
    .array(z.object({ ackId: z.string(), message: PubSubMessage.default({}) }))
    .default([]),
});

/** Says that messages were taken; they come again otherwise. */
export async function acknowledge(
  google: GoogleRequest,
  subscription: string,
  ackIds: string[],
): Promise<void> {
  await google({
    purpose: "acknowledge what was pulled",
    api: "pubsub",
    method: "POST",
    path: `/v1/${subscription}:acknowledge`,
    body: { ackIds },
  });
}
