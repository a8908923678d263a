import { sql } from "kysely";
import type { App } from "../app.ts";
import { type Db, type Tx, transactAnew } from "../db/connection.ts";
import { AppError, ProviderError } from "../lib/errors.ts";
import { unseal } from "../lib/secrets.ts";
import { stopChannel } from "../providers/google/calendar.ts";
import { stopDriveChannel } from "../providers/google/drive.ts";
import { stopMailbox } from "../providers/google/gmail.ts";
import { refreshGrant, revokeGrant } from "../providers/google/oauth.ts";
import { openGoogleRequest } from "../providers/google/request.ts";
import type { JobPayload } from "../queue/catalog.ts";
import { enqueue, type NewJob } from "../queue/queue.ts";
import { audit } from "./audit-trail.ts";
import { boundTo, type ReconnectReason } from "./connections.ts";
import { endOlderWatches } from "./older-watches.ts";
import { tellUser } from "./tell-user.ts";
import { deleteUserRows } from "./user-data.ts";

type Part = Pick<App, "db" | "clock" | "queue" | "log">;

/** Whoever has been opening a watch for longer than this has died. */
export const openingMs = 2 * 60_000;

/**
 * Disconnects a Google account: its tokens are gone from here at once, and a job of the same transaction stops its
 * channels and revokes the grant at Google. The account that the user signs in with stays as a name to sign in by.
 *
 * @throws {AppError} `not_found` when the connection is not this user's.
 */
export async function disconnect(app: Part, userId: string, connectionId: string): Promise<void> {
  await transactAnew(app, async (tx) => {
    const connection = await tx
      .selectFrom("connections")
      .select(["id", "subject", "is_sign_in", "refresh_token", "access_token"])
      .where("id", "=", connectionId)
      .where("user_id", "=", userId)
      // Not its key: a reading of the calendars may make feeds of it meanwhile, with others in its hands.
      .forNoKeyUpdate()
      .executeTakeFirst();
    if (!connection) throw new AppError("not_found", `No connection ${connectionId}`);
    await lockFeedsOf(tx, "connection_id", connectionId);
    await revokeLater(app, tx, connection);
    await forgetFeeds(app, tx, userId, connection);
    await (connection.is_sign_in
      ? stripTokens(app, tx, connectionId)
      : tx.deleteFrom("connections").where("id", "=", connectionId).execute());
    const details = { connection_id: connectionId };
    await audit(tx, userId, "connection.disconnected", details);
    await tellUser(tx, userId, [{ type: "connection.changed", payload: details }]);
  });
}

/** Deletes a user with every row that is theirs, and revokes their grants at Google. */
export async function deleteUser(
  app: Part,
  userId: string,
): Promise<{ tables: number; rows: number }> {
  return transactAnew(app, async (tx) => {
    const connections = await tx
      .selectFrom("connections")
      .select(["id", "subject", "refresh_token", "access_token"])
      .where("user_id", "=", userId)
      .forNoKeyUpdate()
      .execute();
    await lockFeedsOf(tx, "user_id", userId);
    await sql`
      update mail_decisions set left_user_id = null, left_subject = null where left_user_id = ${userId}
    `.execute(tx);
    for (const connection of connections) await revokeLater(app, tx, connection);
    // Their bots may be on their way, or somebody else's too: the rows end when the bots do, and what they heard is deleted
    // at the provider. Meetings are locked first, as everybody does.
    await sql`select from meetings where user_id = ${userId} order by id for update`.execute(tx);
    await sql`
      update bots set user_id = null, is_orphaned = true, wish = coalesce(wish, 'leave'), due_at = ${app.clock.now()}
      where user_id = ${userId}
    `.execute(tx);
    await deriveForNamed(app, tx, userId);
    // A project before its documents, as for whoever puts one into it.
    await sql`select from projects where created_by = ${userId} order by id for update`.execute(tx);
    return deleteUserRows(tx, userId);
  });
}

type Tokens = {
  id: string;
  subject: string | null;
  refresh_token: string | null;
  access_token: string | null;
};

/** A grant of a connection, sealed, by which something can be stopped when the connection is gone. */
export type SealedGrant = Pick<
  JobPayload<"grants.revoke">,
  "sealedToken" | "boundTo" | "isRefreshToken" | "subject"
>;

/** Null where the connection has no grant, or is gone. */
export async function findGrant(db: Db, connectionId: string): Promise<SealedGrant | null> {
  const tokens = await db
    .selectFrom("connections")
    .select(["id", "subject", "refresh_token", "access_token"])
    .where("id", "=", connectionId)
    .executeTakeFirst();
  return tokens ? grantOf(tokens) : null;
}

function grantOf({ id, subject, refresh_token, access_token }: Tokens): SealedGrant | null {
  const sealedToken = refresh_token ?? access_token;
  if (!sealedToken) return null;
  const column = refresh_token ? "refresh_token" : "access_token";
  return {
    sealedToken,
    boundTo: boundTo(id, column),
    isRefreshToken: refresh_token !== null,
    subject,
  };
}

/** A wish to stop what was opened by a grant whose connection is gone: channels, or the watch of its mailbox. */
export function stopJob(
  grant: SealedGrant,
  what: Partial<Pick<JobPayload<"grants.revoke">, "channels" | "stopsMailbox">>,
): NewJob {
  const nothing = { channels: [], stopsMailbox: false };
  return { name: "grants.revoke", payload: { ...grant, ...nothing, ...what, keepsGrant: true } };
}

// Within the locks of its feeds: what is being opened, or was just now, is to be seen.
async function revokeLater(app: Part, tx: Tx, connection: Tokens): Promise<void> {
  const grant = grantOf(connection);
  if (!grant) return;
  const payload = {
    ...grant,
    channels: await listChannels(tx, connection.id),
    stopsMailbox: await isMailboxWatched(tx, connection.id),
  };
  // Whoever is opening a channel has to stop it, which only a grant that lives allows.
  const now = app.clock.now().getTime();
  const isOpening = await isWatchOpening(tx, connection.id, new Date(now - openingMs));
  const startAfter = new Date(now + (isOpening ? openingMs : 0));
  await enqueue(app, tx, { name: "grants.revoke", payload, startAfter });
}

async function isWatchOpening(tx: Tx, connectionId: string, since: Date): Promise<boolean> {
  const opening = await tx
    .selectFrom("watches")
    .innerJoin("feeds", "feeds.id", "watches.feed_id")
    .select("watches.id")
    .where("feeds.connection_id", "=", connectionId)
    .where("watches.state", "in", ["opening", "closing"])
    .where("watches.opened_at", "is", null)
    .where("watches.requested_at", ">", since)
    .executeTakeFirst();
  return opening !== undefined;
}

async function listChannels(tx: Tx, connectionId: string) {
  const open = await tx
    .selectFrom("watches")
    .innerJoin("feeds", "feeds.id", "watches.feed_id")
    .select(["watches.id", "watches.resource_id", "feeds.kind"])
    .where("feeds.connection_id", "=", connectionId)
    .where("feeds.kind", "in", ["calendar", "calendar_list", "drive"])
    .where("watches.state", "in", ["opening", "open", "closing"])
    .where("watches.resource_id", "is not", null)
    .execute();
  return open.flatMap(({ id, resource_id, kind }) =>
    resource_id === null
      ? []
      : [{ channelId: id, resourceId: resource_id, isDrives: kind === "drive" }],
  );
}

async function isMailboxWatched(tx: Tx, connectionId: string): Promise<boolean> {
  const open = await tx
    .selectFrom("watches")
    .innerJoin("feeds", "feeds.id", "watches.feed_id")
    .select("watches.id")
    .where("feeds.connection_id", "=", connectionId)
    .where("feeds.kind", "=", "gmail")
    .where("watches.state", "in", ["opening", "open"])
    .executeTakeFirst();
  return open !== undefined;
}

// As those do who read and ask: calendars, which come before their events; the files and mails that hang on other feeds; then
// those feeds, the list of calendars last. In any other order one of them and we could wait for each other for ever.
async function lockFeedsOf(tx: Tx, column: "user_id" | "connection_id", id: string): Promise<void> {
  const own = sql<boolean>`${sql.ref(`feeds.${column}`)} = ${id}`;
  const hanging = sql`feed_id in (select id from feeds where ${own})`;
  await sql`select from feeds where ${own} and kind = 'calendar' order by id for update`.execute(
    tx,
  );
  await sql`select from watched_files where ${hanging} order by id for update`.execute(tx);
  await sql`
    select from mail_decisions where ${hanging} order by user_id, message_key for update
  `.execute(tx);
  await sql`
    select from feeds where ${own} and kind <> 'calendar' order by kind = 'calendar_list', id for update
  `.execute(tx);
}

// What was read through an account goes with it; meetings that came of it are looked at again. Its feeds are locked.
async function forgetFeeds(
  app: Part,
  tx: Tx,
  userId: string,
  { id: connectionId, subject }: Pick<Tokens, "id" | "subject">,
): Promise<void> {
  const events = await tx
    .deleteFrom("calendar_events")
    .where(
      "feed_id",
      "in",
      tx.selectFrom("feeds").select("id").where("connection_id", "=", connectionId),
    )
    .returning(["event_id", "is_meeting", "virtual_usernames"])
    .execute();
  // The row of the older product stays: where the account comes back, its files are followed again.
  await tx
    .updateTable("documents")
    .set({ watch_active: false, updated_at: app.clock.now() })
    .where("id", "in", (query) =>
      query
        .selectFrom("watched_files")
        .innerJoin("feeds", "feeds.id", "watched_files.feed_id")
        .select("watched_files.document_id")
        .where("feeds.connection_id", "=", connectionId)
        .$narrowType<{ document_id: string }>(),
    )
    .execute();
  await sql`
    update mail_decisions set feed_id = null, left_user_id = ${userId}, left_subject = ${subject}
    from feeds where feeds.id = feed_id and connection_id = ${connectionId}
  `.execute(tx);
  const feeds = await tx
    .selectFrom("feeds")
    .select("id")
    .where("connection_id", "=", connectionId)
    .execute();
  const feedIds = feeds.map(({ id }) => id);
  await endOlderWatches(tx, feedIds, app.clock.now());
  await tx.deleteFrom("feeds").where("connection_id", "=", connectionId).execute();
  // Where one named somebody's assistant, that somebody's meetings are looked at through it.
  const counted = events.filter((one) => one.is_meeting || one.virtual_usernames.length > 0);
  await deriveLater(app, tx, userId, [...new Set(counted.map(({ event_id }) => event_id))]);
}

// Others may have a bot only because this user's calendar named their assistant.
async function deriveForNamed(app: Part, tx: Tx, userId: string): Promise<void> {
  const { rows } = await sql<{ user_id: string; event_ids: string[] }>`
    select usernames.user_id, array_agg(distinct event.event_id) as event_ids
    from calendar_events as event join usernames on usernames.username = any(event.virtual_usernames)
    where event.user_id = ${userId} and event.virtual_usernames <> '{}' and usernames.user_id <> ${userId}
      and exists (select from calendar_events as own where own.user_id = usernames.user_id and own.event_id = event.event_id)
    group by usernames.user_id
  `.execute(tx);
  for (const { user_id, event_ids } of rows) await deriveLater(app, tx, user_id, event_ids);
}

async function deriveLater(app: Part, tx: Tx, userId: string, eventIds: string[]): Promise<void> {
  const portions = Array.from({ length: Math.ceil(eventIds.length / 1000) }, (_, index) =>
    eventIds.slice(index * 1000, (index + 1) * 1000),
  );
  await enqueue(
    app,
    tx,
    portions.map((portion) => ({
      name: "meetings.derive" as const,
      payload: { userId, eventIds: portion },
    })),
  );
}

async function stripTokens(app: Part, tx: Tx, connectionId: string): Promise<void> {
  await tx
    .updateTable("connections")
    .set((row) => ({
      access_token: null,
      access_expires_at: null,
      refresh_token: null,
      scopes: [],
      state: "reconnect_needed" as const,
      state_reason: "disconnected" satisfies ReconnectReason,
      state_changed_at: app.clock.now(),
      refresh_lease_owner: null,
      refresh_lease_until: null,
      token_version: row("token_version", "+", 1),
      updated_at: app.clock.now(),
    }))
    .where("id", "=", connectionId)
    .execute();
}

/**
 * The job behind both: stops the channels while the token still opens something, then ends the grant at Google. Revoking one
 * token of an account ends all grants that it gave this project: not while another connection lives on one, be it another
 * user's or one that was made since. Repeating it is harmless.
 *
 * @throws {ProviderError} to be tried again
 */
export async function revokeSealedGrant(
  app: Pick<App, "db" | "config" | "googleOAuth" | "clock">,
  payload: JobPayload<"grants.revoke">,
): Promise<void> {
  const { sealedToken, boundTo, subject, keepsGrant, channels } = payload;
  const token = unseal(app.config.keyring, sealedToken, boundTo);
  const stopsMailbox = payload.stopsMailbox && !(await isLivedOn(app, subject));
  if (channels.length > 0 || stopsMailbox) await stopPush(app, { ...payload, stopsMailbox, token });
  if (keepsGrant || (await isLivedOn(app, subject))) return;
  await revokeGrant(app.googleOAuth, token);
}

async function isLivedOn({ db }: Pick<App, "db">, subject: string | null): Promise<boolean> {
  const living = await db
    .selectFrom("connections")
    .select("id")
    .where("subject", "=", subject)
    .where("refresh_token", "is not", null)
    .executeTakeFirst();
  return living !== undefined;
}

// A channel that cannot be stopped ends by itself, and what it says until then is answered with "unknown".
async function stopPush(
  app: Pick<App, "config" | "googleOAuth" | "clock">,
  {
    token,
    isRefreshToken,
    channels,
    stopsMailbox,
  }: Pick<JobPayload<"grants.revoke">, "isRefreshToken" | "channels" | "stopsMailbox"> & {
    token: string;
  },
): Promise<void> {
  let opened: Promise<string> | undefined;
  const accessToken = () => {
    opened ??= isRefreshToken
      ? refreshGrant(app.googleOAuth, token).then((grant) => grant.accessToken)
      : Promise.resolve(token);
    return opened;
  };
  const google = openGoogleRequest({
    apiUrl: app.config.google.apiUrl,
    accessToken,
    renewAccessToken: accessToken,
    clock: app.clock,
  });
  const stops = [
    ...channels.map(
      (channel) => () => (channel.isDrives ? stopDriveChannel : stopChannel)(google, channel),
    ),
    ...(stopsMailbox ? [() => stopMailbox(google)] : []),
  ];
  for (const stop of stops) {
    try {
      await stop();
    } catch (error) {
      if (!(error instanceof ProviderError)) throw error;
      if (error.failure === "reauthorise") return;
    }
  }
}
