import { connectServiceDrive, openServiceDrive } from "../accounts/service-drive.ts";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import type { WatchedFile } from "../documents/file-news.ts";
import { type DriveReader, type FileWish, subscribeFile } from "../documents/file-subscriptions.ts";
import { AppError, ProviderError } from "../lib/errors.ts";
import { getFile } from "../providers/google/drive.ts";
import type { GoogleRequest } from "../providers/google/request.ts";
import { enqueue } from "../queue/queue.ts";
import { endWatchesOf } from "./closing.ts";
import { driveAccountOf } from "./drive.ts";
import { type Feed, listFeeds, startFeeds, syncJob } from "./feeds.ts";

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
