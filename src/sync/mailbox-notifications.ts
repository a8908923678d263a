import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import { openServiceRequest } from "../accounts/google-access.ts";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import { AppError, ProviderError } from "../lib/errors.ts";
import {
  acknowledge,
  type MailboxMessage,
  pubsubScopes,
  pullMessages,
  readMailboxMessage,
  verifyPushToken,
} from "../providers/google/pubsub.ts";
import { enqueue, type NewJob } from "../queue/queue.ts";
import { afterSilence } from "./look.ts";
import { noticedJob } from "./noticed.ts";

type Part = Pick<App, "db" | "clock" | "queue" | "config">;

export const mailboxPushPath = "/api/v1/webhooks/gmail";

/**
 * Checks that a push comes from our subscription, by the token that Google signs for it.
 *
 * @throws {AppError} `unauthenticated` without a good token, `forbidden` where none can be good, `unavailable` when
 *   Google's keys cannot be fetched.
 */
export async function provePush(
  app: Pick<App, "config" | "googleOAuth">,
  authorization: string | undefined,
  url: string,
): Promise<void> {
  const { serviceAccount, audience } = app.config.google.pubsub;
  if (!serviceAccount) {
    throw new AppError("forbidden", "Set GOOGLE_PUBSUB_SERVICE_ACCOUNT to accept Pub/Sub's pushes");
  }
  const token = /^Bearer +(\S+)$/i.exec(authorization ?? "")?.[1];
  if (!token) throw new AppError("unauthenticated", "A push needs Pub/Sub's token");
  try {
    // Without a configured audience Pub/Sub names the address that it pushes to.
    const expected = { audience: audience ?? url, serviceAccount };
    await verifyPushToken(app.googleOAuth, token, expected);
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    if (error.failure === "retry") {
      throw new AppError("unavailable", "Google's keys cannot be fetched", {
        retryAfterSeconds: 5,
      });
    }
    throw new AppError("unauthenticated", "This is not a token of our subscription");
  }
}

/**
 * Takes what Gmail says of a mailbox: every feed that follows it and is not as far yet is asked for, in one transaction.
 * What comes twice, late, or for a mailbox that nobody follows is taken and changes nothing. The id is no cursor.
 */
export async function acceptMailboxMessage(app: Part, message: MailboxMessage): Promise<number> {
  return app.db.transaction().execute(async (tx) => {
    const feeds = await tx
      .selectFrom("feeds")
      .innerJoin("connections", "connections.id", "feeds.connection_id")
      .select(["feeds.id", "feeds.user_id", "feeds.connection_id", "feeds.kind"])
      .select(["feeds.cursor", "feeds.cadence"])
      .where("feeds.kind", "=", "gmail")
      .where("feeds.state", "=", "active")
      .where(sql<string>`lower(connections.email)`, "=", message.email.toLowerCase())
      .orderBy("feeds.id")
      .forUpdate("feeds")
      .execute();
    const now = app.clock.now();
    const jobs: NewJob[] = [];
    for (const feed of feeds) {
      await hear(tx, feed, message, now);
      const isNews = feed.cursor === null || isBehind(feed.cursor, message);
      const job = isNews ? await noticedJob(app, tx, feed) : null;
      if (job) jobs.push(job);
      await remember(tx, feed.id, message, { now, lookAt: job?.startAfter ?? now });
    }
    await enqueue(app, tx, jobs);
    return jobs.length;
  });
}

// What Gmail leaves out is found by one more look, or by the first, should that be later.
async function remember(
  tx: Tx,
  feedId: string,
  { historyId }: MailboxMessage,
  { now, lookAt }: { now: Date; lookAt: Date },
): Promise<void> {
  const told = JSON.stringify({ told: { historyId, at: now.getTime() } });
  const silence = afterSilence(now);
  const dueAt = lookAt > silence ? lookAt : silence;
  await sql`
    update feeds set details = details || ${told}::jsonb,
      due_at = case when retry_at > ${now} then due_at else least(due_at, ${dueAt}) end
    where id = ${feedId} and coalesce((details->'told'->>'historyId')::numeric, 0) < ${historyId}::numeric
  `.execute(tx);
}

function isBehind(cursor: string, { historyId }: MailboxMessage): boolean {
  return BigInt(cursor) < BigInt(historyId);
}

// What push is worth is known by what it told, each message counted once.
async function hear(
  tx: Tx,
  feed: { id: string; user_id: string },
  { messageId, email }: MailboxMessage,
  now: Date,
): Promise<void> {
  await sql`
    with watch as (
      select id from watches where feed_id = ${feed.id} and state in ('open', 'opening')
      order by requested_at desc limit 1
    ),
    kept as (
      insert into notifications (watch_id, message_number, resource_state, received_at)
      select id, ${numberOf(messageId)}::bigint, 'history', ${now} from watch
      on conflict do nothing
      returning watch_id
    ),
    heard as (
      update watches set delivered = delivered + 1, last_notified_at = ${now}, confirmed_at = coalesce(confirmed_at, ${now})
      from kept where watches.id = kept.watch_id
    ),
    mirrored as (
      update gmail_watches set last_webhook_received = ${now}, webhook_failures = 0
      where lower(user_email) = ${email.toLowerCase()} and exists (select from kept)
    ),
    tracked as (
      update webhook_activity_tracking
      set last_webhook_received = ${now}, webhook_failures = 0, is_active = true, updated_at = ${now}
      where id in (
        select id from webhook_activity_tracking
        where user_id = ${feed.user_id} and service = 'gmail' and webhook_type = 'push' for update skip locked)
    )
    insert into webhook_activity_tracking (user_id, service, webhook_type, last_webhook_received, is_active, created_at,
      updated_at)
    select ${feed.user_id}::uuid, 'gmail', 'push', ${now}::timestamptz, true, ${now}::timestamptz, ${now}::timestamptz
    from kept where not exists (
      select from webhook_activity_tracking
      where user_id = ${feed.user_id} and service = 'gmail' and webhook_type = 'push')
  `.execute(tx);
}

// Pub/Sub's ids are numbers in practice, and not by promise.
function numberOf(messageId: string): string {
  if (/^\d{1,18}$/.test(messageId)) return messageId;
  const hash = createHash("sha256").update(messageId).digest();
  return String(hash.readBigUInt64BE() >> 2n);
}

/**
 * Where nothing can reach us, pulls from a subscription instead: the same messages, acknowledged after they are
 * committed. Any number of processes may; Pub/Sub gives each message to one. Closing it ends the pull that waits.
 */
export function startMailboxPull(
  app: Part & Pick<App, "log" | "googleOAuth">,
  pauseMs = 1_000,
): AsyncDisposable {
  const { subscription } = app.config.google.pubsub;
  const closing = new AbortController();
  const ended = subscription ? keepPulling(app, subscription, closing.signal, pauseMs) : null;
  return {
    [Symbol.asyncDispose]: async () => {
      closing.abort();
      await ended;
    },
  };
}

const longestPauseMs = 60_000;

async function keepPulling(
  app: Part & Pick<App, "log" | "googleOAuth">,
  subscription: string,
  closing: AbortSignal,
  pauseMs: number,
): Promise<void> {
  // The call waits for a message, up to a minute and a half.
  const google = openServiceRequest(app, pubsubScopes, { timeoutMs: 100_000 });
  let failures = 0;
  while (!closing.aborted) {
    try {
      const received = await pullMessages(google, subscription, { signal: closing });
      for (const { message } of received) {
        const told = readMailboxMessage(message);
        if (told) await acceptMailboxMessage(app, told);
      }
      if (received.length > 0) {
        await acknowledge(
          google,
          subscription,
          received.map(({ ackId }) => ackId),
        );
      }
      failures = 0;
    } catch (error) {
      if (closing.aborted) return;
      failures += 1;
      const reason = error instanceof ProviderError ? error.reason : "internal";
      // Polling finds the mails meanwhile.
      if (failures === 1) app.log.warn({ reason }, "nothing can be pulled from the subscription");
    }
    const waitMs = Math.min(pauseMs * 2 ** Math.min(failures, 10), longestPauseMs);
    await sleep(waitMs, undefined, { signal: closing }).catch(() => {});
  }
}
