import { z } from "zod";
import { tellUser } from "../accounts/tell-user.ts";
import { addressedIn } from "../documents/assistant-address.ts";
import { type AddressedMail, recordMails } from "../documents/mail.ts";
import { ProviderError } from "../lib/errors.ts";
import { inParallel } from "../lib/parallel.ts";
import {
  getHead,
  getProfile,
  hides,
  listHistory,
  type MailHead,
  searchMails,
  stopMailbox,
  watchMailbox,
} from "../providers/google/gmail.ts";
import type { GoogleRequest } from "../providers/google/request.ts";
import { type Feed, gmailShape } from "./feeds.ts";
import { recordSkipped } from "./skipped.ts";
import { type Applied, nothingApplied, type Reading, type Source } from "./source.ts";

/** A mail that was looked at: its headers, or why they could not be read. */
export type MailChange =
  | { type: "head"; head: MailHead }
  | { type: "malformed"; id: string; problem: string };

const dayMs = 86_400_000;
const pageSize = 100;
// A page may name any number of mails, each of which is a call. So many commit together: few of what a minute allows.
const portionSize = 20;
// Google allows a mailbox few calls at once.
const atOnce = 5;
// What came while a mailbox was being connected, or just before the last look, is looked at once more.
const marginMs = 10 * 60_000;

/**
 * A mailbox's history. Only headers are read, to see who is addressed; nothing of other mails is kept. Where Gmail has
 * forgotten the cursor, or there is none yet, the present one is pinned first, then what was missed is searched by date
 * and address, then history goes on from the pinned one.
 */
export const gmailSource: Source<MailChange> = {
  cursorShape: gmailShape,

  nextReading(feed, { finished }) {
    if (finished.has("changes")) return null;
    if (feed.cursor !== null) {
      return { mode: "delta", name: "changes", from: { cursor: feed.cursor } };
    }
    if (finished.has("missed mails")) return null;
    return { mode: "full", name: "missed mails", from: { since: missedSince(feed).toISOString() } };
  },

  async listPage(google, feed, position, signal) {
    const before = progressOf(position.pageToken);
    const page = before?.ids.length
      ? before
      : await listNext(google, feed, position, before, signal);
    const left = page.ids.slice(portionSize);
    const isEnd = left.length === 0 && page.token === null;
    return {
      changes: await readHeads(google, page.ids.slice(0, portionSize), signal),
      nextPageToken: isEnd ? null : JSON.stringify({ ...page, ids: left }),
      cursor: isEnd ? page.cursor : null,
    };
  },

  async apply(app, tx, feed, { changes, position }) {
    const assistant = app.config.virtualEmailAddress;
    const heads = changes.flatMap((change) => (change.type === "head" ? [change.head] : []));
    const received = heads.filter(({ labels }) => !hides(labels));
    const malformed = changes.flatMap((change) => (change.type === "malformed" ? [change] : []));
    await recordSkipped(tx, feed.id, malformed, app.clock.now());
    const addressed = received.flatMap((head): AddressedMail[] => {
      const to = assistant ? addressedIn(head.headers, assistant) : [];
      return to.length > 0 ? [{ head, to }] : [];
    });
    const { decided, jobs, told } = await recordMails(app, tx, mailboxOf(feed), addressed);
    for (const { userId, ids } of told) {
      // The mail's owner may be another than the mailbox's.
      const payload = { decision_ids: ids.slice(0, 50) };
      await tellUser(tx, userId, [{ type: "mail.changed", payload }]);
    }
    const applied: Applied = {
      ...nothingApplied,
      created: decided,
      skipped: malformed.length + heads.length - received.length,
      examined: changes.length,
      virtualMails: decided,
      changedAt: position.mode === "delta" ? received.map(({ receivedAt }) => receivedAt) : [],
      jobs,
    };
    return applied;
  },

  finish: async () => ({ ...nothingApplied, remembers: {} }),

  channel: {
    targetOf: ({ google, pushUrl }) =>
      pushUrl || google.pubsub.subscription ? google.pubsub.topic : null,
    lifeMs: 7 * dayMs,
    renewAfterMs: dayMs,
    isSole: true,
    open: async (google, _feed, { target }) => {
      // The history id of a renewal is no cursor: it would skip what was not read yet.
      const { expiresAt } = await watchMailbox(google, target);
      return { resourceId: "mailbox", expiresAt };
    },
    close: stopMailbox,
  },
};

// What is left of a page travels on with its ids, so that nothing is missed or read twice should Google's page be another
// when it is asked for again; with Google's next page; and with the cursor that the reading is to end with.
const Progress = z.object({
  ids: z.array(z.string()),
  token: z.string().nullable(),
  cursor: z.string(),
});
type Progress = z.infer<typeof Progress>;

// A token of an earlier version means that the reading begins anew, which only repeats.
function progressOf(pageToken: string | null): Progress | null {
  if (pageToken === null) return null;
  try {
    return Progress.parse(JSON.parse(pageToken));
  } catch {
    return null;
  }
}

function listNext(
  google: GoogleRequest,
  feed: Feed,
  { mode, from }: Reading,
  before: Progress | null,
  signal: AbortSignal,
): Promise<Progress> {
  return mode === "delta"
    ? listChanges(google, from.cursor ?? "", before, signal)
    : listMissed(google, feed, { since: from.since ?? "", before }, signal);
}

async function listChanges(
  google: GoogleRequest,
  since: string,
  before: Progress | null,
  signal: AbortSignal,
): Promise<Progress> {
  const page = await listHistory(google, {
    since,
    pageToken: before?.token ?? null,
    maxResults: pageSize,
    signal,
  });
  return {
    ids: page.mentions.flatMap(({ id, labels }) => (hides(labels) ? [] : [id])),
    token: page.nextPageToken,
    cursor: later(since, page.historyId),
  };
}

// The present id is pinned first, so that a search that is interrupted goes on under the same one.
async function listMissed(
  google: GoogleRequest,
  feed: Feed,
  { since, before }: { since: string; before: Progress | null },
  signal: AbortSignal,
): Promise<Progress> {
  const cursor = before?.cursor ?? (await getProfile(google, { signal })).historyId;
  const seconds = Math.floor(Date.parse(since) / 1000);
  const found = await searchMails(google, {
    q: [`after:${seconds}`, ...addressedTo(feed)].join(" "),
    pageToken: before?.token ?? null,
    maxResults: pageSize,
    signal,
  });
  return { ids: [...new Set(found.ids)], token: found.nextPageToken, cursor };
}

// Everything in the assistant's own mailbox is for it. In a person's, a search by the first part of its address finds
// all of its plus-addresses; whole addresses are compared afterwards.
function addressedTo(feed: Feed): string[] {
  const local = z.string().safeParse(feed.details.assistant).data;
  if (feed.user_role === "assistant" || !local) return [];
  // By a list or a forward, the address stands only where the mail was delivered to.
  return [`(to:${local} OR cc:${local} OR bcc:${local} OR deliveredto:${local})`];
}

async function readHeads(
  google: GoogleRequest,
  ids: string[],
  signal: AbortSignal,
): Promise<MailChange[]> {
  const changes = await inParallel(ids, atOnce, (id) => readHead(google, id, signal));
  return changes.flatMap((change) => change ?? []);
}

// A mail that cannot be understood must not keep all others waiting; an answer that was cut off on its way is asked again.
async function readHead(
  google: GoogleRequest,
  id: string,
  signal: AbortSignal,
): Promise<MailChange | null> {
  const read = async () => {
    const head = await getHead(google, id, { signal });
    return head && ({ type: "head", head } as const);
  };
  const isUnusable = (error: unknown): error is ProviderError =>
    error instanceof ProviderError && error.reason === "unusable_answer";
  try {
    return await read();
  } catch (error) {
    if (!isUnusable(error)) throw error;
  }
  try {
    return await read();
  } catch (error) {
    if (!isUnusable(error)) throw error;
    return { type: "malformed", id, problem: error.message };
  }
}

function missedSince({ details, last_success_at, created_at }: Feed): Date {
  const [currentAsOf, before] = [details.currentAsOf, details.missedSince].map(
    (time) => z.coerce.date().safeParse(time).data,
  );
  const since = currentAsOf ?? last_success_at ?? before ?? created_at;
  return new Date(since.getTime() - marginMs);
}

function later(one: string, other: string): string {
  return BigInt(other) > BigInt(one) ? other : one;
}

/** The mailbox that a feed follows. */
export function mailboxOf(feed: Feed) {
  return {
    feedId: feed.id,
    userId: feed.user_id,
    account: feed.account_email ?? feed.id,
    isAssistants: feed.user_role === "assistant",
  };
}
