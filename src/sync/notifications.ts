import { createHash, timingSafeEqual } from "node:crypto";
import { sql } from "kysely";
import { z } from "zod";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import { AppError } from "../lib/errors.ts";
import { digest } from "../lib/secrets.ts";
import { enqueue } from "../queue/queue.ts";
import { noticedJob } from "./noticed.ts";

/** What the headers of a channel's message say. Source: Google's guide to push notifications. */
export type ChannelMessage = {
  channelId: string;
  token: string;
  state: string;
  /** Without one it cannot be told from another: it counts each time. */
  messageNumber: string | null;
  resourceId: string | null;
  resourceUri: string | null;
};

type Part = Pick<App, "db" | "clock" | "queue" | "config">;

// A message that was on its way when its channel ended.
const graceMs = 10 * 60_000;

/**
 * Takes a notification: proves it, remembers it, and asks for a sync, in one transaction. The same message again does
 * nothing. A channel that was replaced is heard until it expires.
 *
 * @throws {AppError} `not_found` for a channel that we do not know, which is then stopped; `unauthenticated` for a
 *   wrong secret, or for another resource than the channel's.
 */
export async function acceptNotification(
  app: Part,
  message: ChannelMessage,
  service: "calendar" | "drive",
): Promise<void> {
  const watch = await findWatch(app, message.channelId);
  const isTheirs = watch && (service === "drive") === (watch.kind === "drive");
  if (!isTheirs) {
    await stopLater(app, message);
    throw new AppError("not_found", "Unknown channel");
  }
  const given = digest(app.config.sessionSecret, message.token);
  if (!timingSafeEqual(given, watch.secret_hash)) {
    throw new AppError("unauthenticated", "This is not the channel's secret");
  }
  const [told, watched] = [message.resourceId, watch.resource_id];
  if (told !== null && watched !== null && told !== watched) {
    throw new AppError("unauthenticated", "This is not what the channel watches");
  }
  const now = app.clock.now();
  if (message.state === "sync") return confirm(app, watch.id, message, now);
  await app.db.transaction().execute(async (tx) => {
    const isNew = await record(tx, { ...watch, service }, message, now);
    if (!isNew || watch.feed_state !== "active") return;
    await enqueue(app, tx, await noticedJob(app, tx, { ...watch, id: watch.feed_id }));
  });
}

async function findWatch(app: Part, channelId: string) {
  if (!z.guid().safeParse(channelId).success) return undefined;
  return app.db
    .selectFrom("watches")
    .innerJoin("feeds", "feeds.id", "watches.feed_id")
    .select(["watches.id", "watches.secret_hash", "watches.resource_id"])
    .select(["watches.feed_id", "watches.user_id"])
    .select(["feeds.state as feed_state", "feeds.connection_id", "feeds.kind", "feeds.cadence"])
    .where("watches.id", "=", channelId)
    .where("watches.expires_at", ">", new Date(app.clock.now().getTime() - graceMs))
    .executeTakeFirst();
}

// The first message of a channel says that it works. It may come before the answer that opened it.
async function confirm(
  app: Part,
  watchId: string,
  message: ChannelMessage,
  now: Date,
): Promise<void> {
  await app.db
    .updateTable("watches")
    .set((row) => ({
      confirmed_at: row.fn.coalesce("confirmed_at", row.val(now)),
      resource_id: row.fn.coalesce("resource_id", row.val(message.resourceId)),
    }))
    .where("id", "=", watchId)
    .execute();
}

// One statement remembers the message and when push was last alive. Answers whether the message is new.
async function record(
  tx: Tx,
  watch: { id: string; user_id: string; service: string },
  message: ChannelMessage,
  now: Date,
): Promise<boolean> {
  const { rows } = await sql<{ is_new: boolean }>`
    with numbered as (
      insert into notifications (watch_id, message_number, resource_state, received_at)
      select ${watch.id}::uuid, number, ${message.state}, ${now}::timestamptz
      from (select ${message.messageNumber}::bigint as number) as given where number is not null
      on conflict do nothing
      returning watch_id
    ),
    kept as (
      select watch_id from numbered
      union all select ${watch.id}::uuid where ${message.messageNumber}::bigint is null
    ),
    heard as (
      update watches set delivered = delivered + 1, last_notified_at = ${now},
        confirmed_at = coalesce(confirmed_at, ${now}), resource_id = coalesce(resource_id, ${message.resourceId}),
        last_message_number = greatest(last_message_number, ${message.messageNumber}::bigint)
      from kept where watches.id = kept.watch_id
    ),
    mirrored as (
      update calendar_webhooks set last_webhook_received = ${now}, webhook_failures = 0
      where id in (select id from calendar_webhooks where webhook_id = ${watch.id} for update skip locked)
        and exists (select from kept)
    ),
    -- Of a burst one says it for all; to wait for each other here could be for ever.
    tracked as (
      update webhook_activity_tracking
      set last_webhook_received = ${now}, webhook_failures = 0, is_active = true, updated_at = ${now}
      where id in (
          select id from webhook_activity_tracking
          where user_id = ${watch.user_id} and service = ${watch.service} and webhook_type = 'push' for update skip locked)
        and exists (select from kept)
    ),
    begun as (
      insert into webhook_activity_tracking (user_id, service, webhook_type, last_webhook_received, is_active,
        created_at, updated_at)
      select ${watch.user_id}::uuid, ${watch.service}, 'push', ${now}::timestamptz, true, ${now}::timestamptz,
        ${now}::timestamptz
      from kept where not exists (
        select from webhook_activity_tracking
        where user_id = ${watch.user_id} and service = ${watch.service} and webhook_type = 'push')
    )
    select exists (select from kept) as is_new
  `.execute(tx);
  return rows[0]?.is_new === true;
}

// Without the row that made it, a channel can only be stopped by what it says of itself. Anybody can say so: it costs a
// calendar that we follow one try a minute at most, and nothing else.
const stopEveryMs = 60_000;

async function stopLater(app: Part, message: ChannelMessage): Promise<void> {
  const { channelId, resourceId } = message;
  const resource = calendarOf(message.resourceUri ?? "");
  if (!resourceId || !resource || channelId.length > 64 || resourceId.length > 200) return;
  const followed = await app.db
    .selectFrom("feeds")
    .select("id")
    .where("kind", "=", "calendar")
    .where("resource", "=", resource)
    .executeTakeFirst();
  if (!followed) return;
  await enqueue(app, app.db, {
    name: "watches.stop_unknown",
    payload: { channelId, resourceId, resource },
    key: createHash("sha256").update(resource).digest("hex"),
    startAfter: new Date(app.clock.now().getTime() + stopEveryMs),
  });
}

function calendarOf(resourceUri: string): string | null {
  const encoded = /\/calendars\/([^/?]{1,900})\/events/.exec(resourceUri)?.[1];
  try {
    return encoded ? decodeURIComponent(encoded) : null;
  } catch {
    return null;
  }
}
