import { sql } from "kysely";
import { openGoogleAccess } from "../accounts/google-access.ts";
import { connectServiceDrive, openServiceDrive } from "../accounts/service-drive.ts";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import type { WatchedFile } from "../documents/file-news.ts";
import { type DriveReader, type FileWish, subscribeFile } from "../documents/file-subscriptions.ts";
import { AppError, ProviderError } from "../lib/errors.ts";
import { inParallel } from "../lib/parallel.ts";
import { getDriveName, getFile } from "../providers/google/drive.ts";
import type { GoogleRequest } from "../providers/google/request.ts";
import type { JobPayload } from "../queue/catalog.ts";
import { enqueue } from "../queue/queue.ts";
import { endWatchesOf } from "./closing.ts";
import { driveAccountOf, drivesFolder } from "./drive.ts";
import { type Feed, findFeed, listFeeds, startFeeds, syncJob } from "./feeds.ts";

type Part = Pick<App, "db" | "clock" | "queue" | "config">;

/** Follows a file of this user, through their own accounts or the service account. @throws {AppError} */
export async function followFile(app: App, userId: string, wish: FileWish): Promise<WatchedFile> {
  const through = (readers: DriveReader[]) =>
    subscribeFile(
      app,
      userId,
      { readers, followAlone: (tx, owner, file) => followAlone(app, tx, owner, file) },
      wish,
    );
  try {
    return await through(await listDriveReaders(app, userId));
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== "not_found") throw error;
    const service = await serviceDriveReader(app, wish.fileId);
    if (!service) throw error;
    return through([service]);
  }
}

/** The accounts of a user whose Drive is followed, the one that signs in first. */
async function listDriveReaders(app: Part, userId: string): Promise<DriveReader[]> {
  const feeds = await listFeeds(app, userId, ["drive"]);
  return feeds.flatMap((feed) => (isLog(feed) ? [readerOf(feed)] : []));
}

const isLog = ({ state, resource }: Feed) => state === "active" && resource === "";
const readerOf = (feed: Feed): DriveReader => ({
  ...driveAccountOf(feed),
  connectionId: feed.connection_id,
  isService: false,
});

/** The feeds that tell of a file: the one that it hangs on, and that of the shared drive that it lies in. */
export async function listTelling(app: Pick<App, "db">, file: WatchedFile): Promise<Feed[]> {
  const feed = await findFeed(app, file.feed_id);
  if (!feed) throw new AppError("not_found", "This file is not followed");
  if (file.drive_id === null) return [feed];
  const resource = drivesFolder + file.drive_id;
  const drives = await listFeeds(app, feed.user_id, ["drive"]);
  return [
    feed,
    ...drives.filter(
      (one) => one.connection_id === feed.connection_id && one.resource === resource,
    ),
  ];
}

/** The service account's own Drive, which is followed from now on. Null where it does not see the file. */
async function serviceDriveReader(
  app: Part & Pick<App, "googleOAuth">,
  fileId: string,
): Promise<DriveReader | null> {
  const google = openServiceDrive(app);
  if (!google || !(await sees(google, fileId))) return null;
  const connection = await connectServiceDrive(app);
  if (!connection) return null;
  if (connection.isNew) await startFeeds(app, connection.id);
  const feeds = await listFeeds(app, connection.userId, ["drive"]);
  const feed = feeds.find((one) => isLog(one) && one.connection_id === connection.id);
  return feed ? { ...readerOf(feed), account: connection.email, isService: true } : null;
}

async function sees(google: GoogleRequest, fileId: string): Promise<boolean> {
  try {
    await getFile(google, fileId);
    return true;
  } catch (error) {
    if (error instanceof ProviderError) return false;
    throw error;
  }
}

/** A feed for one file alone, with a watch of its own where push reaches us. Returns its id. */
async function followAlone(
  app: Part,
  tx: Tx,
  owner: { userId: string; connectionId: string },
  { fileId, name }: { fileId: string; name: string },
): Promise<string> {
  const now = app.clock.now();
  const awake = { state: "active" as const, state_reason: null, due_at: now, watch_due_at: now };
  const { id } = await tx
    .insertInto("feeds")
    .values({
      user_id: owner.userId,
      connection_id: owner.connectionId,
      kind: "drive",
      resource: fileId,
      title: name,
      ...awake,
    })
    .onConflict((conflict) =>
      conflict
        .columns(["connection_id", "kind", "resource"])
        .doUpdateSet({ title: name, ...awake }),
    )
    .returning("id")
    .executeTakeFirstOrThrow();
  await enqueue(app, tx, syncJob(id, "start"));
  return id;
}

const followedStates = sql`('active', 'trashed', 'lost')`;

/**
 * Has each shared drive followed in which an account's own feed follows files, and no other: the wishes to follow a file, to
 * stop, and what a log tells of one that moved end here. A drive that was stopped, or `told` of, begins anew.
 */
export async function followDrives(
  app: App,
  { feedId, told }: JobPayload<"feeds.follow_drives">,
): Promise<{ followed: number; ended: number }> {
  const now = app.clock.now();
  const { followed, ended } = await app.db.transaction().execute(async (tx) => {
    const { rows: followed } = await sql<Pick<Feed, "id" | "connection_id" | "resource">>`
      insert into feeds as kept (user_id, connection_id, kind, resource, title, due_at, watch_due_at)
      select distinct log.user_id, log.connection_id, 'drive', ${drivesFolder} || file.drive_id,
        'Shared drive ' || file.drive_id, ${now}::timestamptz, ${now}::timestamptz
      from feeds as log join watched_files as file on file.feed_id = log.id
      where log.id = ${feedId} and log.state <> 'stopped' and file.drive_id is not null and file.state in ${followedStates}
      order by 4
      on conflict (connection_id, kind, resource) do update
      set state = 'active', state_reason = null, is_full_wanted = true, retry_at = null, due_at = excluded.due_at,
        watch_due_at = excluded.watch_due_at
      where kept.state = 'stopped' or kept.resource = any(${told.map((id) => drivesFolder + id)})
      returning id, connection_id, resource
    `.execute(tx);
    const { rows: ended } = await sql<{ id: string }>`
      update feeds set state = 'stopped', state_reason = 'not_wanted', due_at = null, watch_due_at = null,
        lease_owner = null, lease_until = null
      from feeds as log
      where log.id = ${feedId} and feeds.connection_id = log.connection_id and feeds.kind = 'drive'
        and starts_with(feeds.resource, ${drivesFolder}) and feeds.state <> 'stopped'
        and not exists (select from watched_files as file where file.feed_id = log.id
          and ${drivesFolder} || file.drive_id = feeds.resource and file.state in ${followedStates})
      returning feeds.id
    `.execute(tx);
    await enqueue(app, tx, [
      ...followed.map(({ id }) => syncJob(id, "start")),
      ...(await endWatchesOf(
        tx,
        ended.map(({ id }) => id),
        { reason: "person", now },
      )),
    ]);
    return { followed, ended };
  });
  await inParallel(followed, 4, (feed) => nameDrive(app, feed));
  return { followed: followed.length, ended: ended.length };
}

// For people alone: without an answer it goes by its id.
async function nameDrive(
  app: App,
  { id, connection_id, resource }: Pick<Feed, "id" | "connection_id" | "resource">,
): Promise<void> {
  try {
    const { request } = openGoogleAccess(app, connection_id);
    const title = await getDriveName(request, resource.slice(drivesFolder.length));
    await app.db.updateTable("feeds").set({ title }).where("id", "=", id).execute();
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
  }
}

/** Ends the feeds that follow one file alone and that nobody needs any more, and closes their watches. */
export async function endLoneFeeds(app: Part, fileId: string): Promise<void> {
  await app.db.transaction().execute(async (tx) => {
    const ended = await tx
      .updateTable("feeds")
      .set({
        state: "stopped",
        state_reason: "not_wanted",
        due_at: null,
        watch_due_at: null,
        lease_owner: null,
        lease_until: null,
      })
      .where("kind", "=", "drive")
      .where("resource", "=", fileId)
      .where("state", "!=", "stopped")
      .where((row) =>
        row.not(
          row.exists(
            row
              .selectFrom("watched_files")
              .select("watched_files.id")
              .whereRef("watched_files.feed_id", "=", "feeds.id")
              .where("watched_files.state", "!=", "stopped"),
          ),
        ),
      )
      .returning("id")
      .execute();
    const ids = ended.map(({ id }) => id);
    const end = { reason: "person", now: app.clock.now() };
    await enqueue(app, tx, await endWatchesOf(tx, ids, end));
  });
}
