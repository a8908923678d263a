import { decodeHTMLStrict } from "entities";
import { z } from "zod";
import { ProviderError } from "../../lib/errors.ts";
import { id as Id, listOf, orNull, text as Text, textOrNull } from "./lenient.ts";
import { type MailPart, readPart } from "./mail-part.ts";
import { expectAnswer, type GoogleRequest } from "./request.ts";

/** A mail without its body: what `format=metadata` gives. */
export type MailHead = {
  id: string;
  threadId: string;
  labels: string[];
  snippet: string;
  /** When Gmail accepted it. */
  receivedAt: Date;
  /** In the order in which they stand, as they are written; of some names there are several. */
  headers: Header[];
};

export type Header = { name: string; value: string };

/** A mail with its parts. Attachments, and bodies that are large, are only named. */
export type Mail = MailHead & { root: MailPart; sizeEstimate: number };

/** A message that history tells of, and the labels that it had then. */
export type MailMention = { id: string; labels: string[] };

export type HistoryPage = {
  /** Added, or no longer in the draft, spam or trash that it was in. */
  mentions: MailMention[];
  nextPageToken: string | null;
  historyId: string;
};

type Signal = { signal?: AbortSignal | undefined };

// Units of Gmail's quota. Source: Gmail API, "Usage limits", as of May 2026.
const costs = { get: 20, history: 2, list: 5, profile: 1, watch: 100, stop: 50 };

/** What decides whether the assistant is addressed, by whom, and whether that was them. */
const headerNames = [
  "From",
  "To",
  "Cc",
  "Bcc",
  "Resent-To",
  "Resent-Cc",
  "Delivered-To",
  "X-Original-To",
  "Envelope-To",
  "X-Forwarded-To",
  "X-Forwarded-For",
  "Received",
  "Subject",
  "Date",
  "Message-ID",
  "Authentication-Results",
];

// Seen as a string in the guide and as a number in reality.
const HistoryId = z
  .union([z.string(), z.number().int().transform(String)])
  .pipe(z.string().regex(/^\d{1,20}$/));

/** Which mailbox this is, and how far its history reaches now. */
export async function getProfile(
  google: GoogleRequest,
  { signal }: Signal = {},
): Promise<{ email: string; historyId: string }> {
  const purpose = "read the mailbox's profile";
  const answer = await google({
    purpose,
    api: "gmail",
    path: "/gmail/v1/users/me/profile",
    cost: costs.profile,
    signal,
  });
  const { emailAddress, historyId } = expectAnswer(Profile, answer, purpose);
  return { email: emailAddress, historyId };
}

const Profile = z.object({ emailAddress: z.string(), historyId: HistoryId });

/**
 * A page of what happened to a mailbox since an id.
 *
 * @throws {ProviderError} `start_over` when Gmail has forgotten that far back (404), or refuses the page token (400).
 */
export async function listHistory(
  google: GoogleRequest,
  query: { since: string; pageToken: string | null; maxResults: number } & Signal,
): Promise<HistoryPage> {
  const purpose = "list the mailbox's history";
  const answer = await google({
    purpose,
    api: "gmail",
    path: "/gmail/v1/users/me/history",
    query: {
      startHistoryId: query.since,
      historyTypes: ["messageAdded", "labelAdded", "labelRemoved"],
      maxResults: String(query.maxResults),
      pageToken: query.pageToken ?? undefined,
    },
    startOverOn: query.pageToken === null ? [404] : [400, 404],
    cost: costs.history,
    signal: query.signal,
  });
  const page = expectAnswer(History, answer, purpose);
  const mentions = new Map<string, MailMention>();
  for (const record of page.history) {
    const freed = record.labelsRemoved.filter(({ labelIds }) => hides(labelIds));
    const sent = record.labelsAdded.filter(({ labelIds }) => labelIds.includes("SENT"));
    for (const { message } of [...record.messagesAdded, ...freed, ...sent]) {
      mentions.set(message.id, { id: message.id, labels: message.labelIds });
    }
  }
  return {
    mentions: [...mentions.values()],
    nextPageToken: page.nextPageToken,
    historyId: page.historyId,
  };
}

const Message = z.object({ id: Id, labelIds: listOf(z.string()) });
const Added = listOf(z.object({ message: Message }));
const Labelled = listOf(z.object({ message: Message, labelIds: listOf(z.string()) }));
const History = z.object({
  // Absent where nothing changed, and on some pages besides.
  history: listOf(
    z.object({ messagesAdded: Added, labelsAdded: Labelled, labelsRemoved: Labelled }),
  ),
  nextPageToken: textOrNull,
  historyId: HistoryId,
});

const hidden = ["DRAFT", "SPAM", "TRASH", "CHAT"];

/** Whether a message with these labels is none that its owner has received or sent. */
export function hides(labels: readonly string[]): boolean {
  return labels.some((label) => hidden.includes(label));
}

/**
 * The ids of the mails that a search finds, newest first. Spam and trash are not searched.
 *
 * @throws {ProviderError} `start_over` when Gmail refuses the page token.
 */
export async function searchMails(
  google: GoogleRequest,
  query: { q: string; pageToken: string | null; maxResults: number } & Signal,
): Promise<{ ids: string[]; nextPageToken: string | null }> {
  const purpose = "search the mailbox";
  const answer = await google({
    purpose,
    api: "gmail",
    path: "/gmail/v1/users/me/messages",
    query: {
      q: query.q,
      maxResults: String(query.maxResults),
      pageToken: query.pageToken ?? undefined,
    },
    startOverOn: query.pageToken === null ? [] : [400],
    cost: costs.list,
    signal: query.signal,
  });
  const { messages, nextPageToken } = expectAnswer(Found, answer, purpose);
  return { ids: messages.map((message) => message.id), nextPageToken };
}

const Found = z.object({ messages: listOf(z.object({ id: Id })), nextPageToken: textOrNull });

/** A mail's headers; null when it was deleted meanwhile. Its body is not asked for. */
export async function getHead(
  google: GoogleRequest,
  id: string,
  { signal }: Signal = {},
): Promise<MailHead | null> {
  const answer = await getMessage(google, id, {
    purpose: "read a mail's headers",
    query: { format: "metadata", metadataHeaders: headerNames },
    signal,
  });
  return answer && headOf(answer);
}

/** A mail with its texts; null when it was deleted meanwhile. */
export async function getMail(
  google: GoogleRequest,
  id: string,
  { signal }: Signal = {},
): Promise<Mail | null> {
  const answer = await getMessage(google, id, {
    purpose: "read a mail",
    query: { format: "full" },
    signal,
  });
  if (!answer) return null;
  const { sizeEstimate, payload } = answer;
  return { ...headOf(answer), root: readPart(payload), sizeEstimate: sizeEstimate ?? 0 };
}

/** The bytes of a part that a mail only names. @throws {ProviderError} */
export async function getAttachment(
  google: GoogleRequest,
  { messageId, attachmentId }: { messageId: string; attachmentId: string },
  { signal }: Signal = {},
): Promise<Buffer> {
  const purpose = "read a part of a mail";
  const path = `/gmail/v1/users/me/messages/${encodeURIComponent(messageId)}/attachments/${encodeURIComponent(attachmentId)}`;
  const answer = await google({ purpose, api: "gmail", path, cost: costs.get, signal });
  return Buffer.from(expectAnswer(z.object({ data: z.string() }), answer, purpose).data, "base64");
}

/**
 * Asks Gmail to publish the mailbox's changes to a topic for seven days; asking again prolongs it. A mailbox is watched
 * for one topic of a project: where another one stands in the way it is stopped first.
 */
export async function watchMailbox(
  google: GoogleRequest,
  topic: string,
): Promise<{ historyId: string; expiresAt: Date }> {
  const purpose = "watch the mailbox";
  const ask = () =>
    google({
      purpose,
      api: "gmail",
      method: "POST",
      path: "/gmail/v1/users/me/watch",
      // Without labels it tells of everything: mail that is archived on arrival, and what is sent.
      body: { topicName: topic },
      cost: costs.watch,
    });
  const answer = await ask().catch(async (error: unknown) => {
    if (!(error instanceof ProviderError) || error.status !== 400) throw error;
    await stopMailbox(google);
    return ask();
  });
  const { historyId, expiration } = expectAnswer(Watch, answer, purpose);
  return { historyId, expiresAt: new Date(Number(expiration)) };
}

const Watch = z.object({
  historyId: HistoryId,
  expiration: z.union([z.string().regex(/^\d{1,15}$/), z.number()]),
});

/** Gmail tells of this mailbox no longer. */
export async function stopMailbox(google: GoogleRequest): Promise<void> {
  await google({
    purpose: "stop watching the mailbox",
    api: "gmail",
    method: "POST",
    path: "/gmail/v1/users/me/stop",
    cost: costs.stop,
  });
}

async function getMessage(
  google: GoogleRequest,
  id: string,
  call: { purpose: string; query: Record<string, string | string[]> } & Signal,
): Promise<z.output<typeof Answer> | null> {
  const path = `/gmail/v1/users/me/messages/${encodeURIComponent(id)}`;
  try {
    const answer = await google({ ...call, api: "gmail", path, cost: costs.get });
    return expectAnswer(Answer, answer, call.purpose);
  } catch (error) {
    if (error instanceof ProviderError && error.failure === "not_found") return null;
    throw error;
  }
}

const Answer = z.object({
  id: Id,
  threadId: Text.catch(""),
  labelIds: listOf(z.string()),
  // The only text that Gmail escapes for a page: `Don&#39;t`.
  snippet: Text.transform(decodeHTMLStrict).catch(""),
  internalDate: orNull(z.coerce.number().int().min(0).max(8_640_000_000_000_000)),
  sizeEstimate: orNull(z.number()),
  payload: z.looseObject({ headers: listOf(z.object({ name: Text, value: Text })) }),
});

function headOf(answer: z.output<typeof Answer>): MailHead {
  const { headers } = answer.payload;
  const written = headers.find(({ name }) => name.toLowerCase() === "date")?.value;
  const receivedAt = answer.internalDate ?? Date.parse(written ?? "");
  if (Number.isNaN(receivedAt)) {
    throw new ProviderError("retry", "Google's answer names no time of the mail", {
      reason: "unusable_answer",
    });
  }
  return {
    id: answer.id,
    threadId: answer.threadId,
    labels: answer.labelIds,
    snippet: answer.snippet,
    receivedAt: new Date(receivedAt),
    headers,
  };
}
