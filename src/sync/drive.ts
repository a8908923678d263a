import { sql } from "kysely";
import { z } from "zod";
import { tellUser } from "../accounts/tell-user.ts";
import type { Tx } from "../db/connection.ts";
import {
  checkJob,
  type DriveAccount,
  drivesJob,
  recordFileChanges,
} from "../documents/watched-files.ts";
import { ProviderError } from "../lib/errors.ts";
import {
  type Change,
  type FileChange,
  getFile,
  getStartPageToken,
  listChanges,
  listFiles,
  stopDriveChannel,
  watchDrive,
} from "../providers/google/drive.ts";
import type { GoogleRequest } from "../providers/google/request.ts";
import type { NewJob } from "../queue/queue.ts";
import { endWatchesOf } from "./closing.ts";
import type { Feed } from "./feeds.ts";
import { recordSkipped } from "./skipped.ts";
import { type Applied, nothingApplied, type Page, type Source } from "./source.ts";

const dayMs = 86_400_000;
const pageSize = 1_000;
const pushPath = "/api/v1/webhooks/drive";

/**
 * Everything that changes for an account in Google Drive, of which only what is followed is kept. Without a token, or
 * where Google refuses it, the present one is pinned first, then all files are listed, then the log goes on from the
 * pinned one. A followed file that is not in the list is looked at by itself before it counts as gone.
 *
 * What happens in a shared drive is told by a log of its own, to its members. A feed with a drive as its resource reads it
 * for the files that the account's feed follows there; to begin with, and where its token is refused, it looks at each of
 * them once. Who is no member, but sees a file, is told by the account's log.
 *
 * A feed with a file as its resource follows that one alone: what no log of the account tells of, or what somebody wants
 * a channel of its own for. Google keeps such a channel for a day at most.
 */
export const driveSource: Source<Change> = {
  cursorShape: "changes v1",

  nextReading(feed, { finished }) {
    const { fileId, driveId } = subjectOf(feed);
    if (fileId !== null) {
      return finished.size > 0 ? null : { mode: "delta", name: "file", from: {} };
    }
    if (finished.has("changes")) return null;
    if (feed.cursor !== null) {
      return { mode: "delta", name: "changes", from: { cursor: feed.cursor } };
    }
    const name = driveId === null ? "all files" : "followed files";
    return finished.has(name) ? null : { mode: "full", name, from: {} };
  },

  async listPage(google, feed, position, signal) {
    const { fileId, driveId } = subjectOf(feed);
    if (fileId !== null) return lookAtFile(google, fileId, signal);
    if (position.mode === "full") {
      if (driveId === null) return listAll(google, position.pageToken, signal);
      const cursor = await getStartPageToken(google, { driveId, signal });
      return { changes: [], nextPageToken: null, cursor };
    }
    const page = await listChanges(google, {
      driveId,
      pageToken: position.pageToken ?? position.from.cursor ?? "",
      pageSize,
      signal,
    });
    const { changes, nextPageToken, newStartPageToken } = page;
    return { changes, nextPageToken, cursor: newStartPageToken };
  },

  async apply(app, tx, feed, { changes, position }) {
    const malformed = changes.flatMap((change) => (change.type === "malformed" ? [change] : []));
    await recordSkipped(tx, feed.id, malformed, app.clock.now());
    const account = await accountOf(tx, feed);
    const moved = await listMoved(tx, account.feedId, changes);
    const drives = changes.flatMap((change) => (change.type === "drive" ? [change.driveId] : []));
    const { driveId } = subjectOf(feed);
    const told = changes.flatMap((change): FileChange[] => {
      if (change.type === "file") return [change];
      // What leaves a drive may lie elsewhere now.
      const isGone = change.type === "removed" && driveId === null && !moved.has(change.fileId);
      return isGone ? [change] : [];
    });
    const generation = position.mode === "full" ? position.generation : 0;
    const recorded = await recordFileChanges(app, tx, account, told, generation);
    const others = [...recorded.told].filter(([userId]) => userId !== feed.user_id);
    for (const [userId, ids] of others) {
      const payload = { document_ids: ids.slice(0, 50) };
      await tellUser(tx, userId, [{ type: "documents.changed", payload }]);
    }
    const own = recorded.told.get(feed.user_id) ?? [];
    const applied: Applied = {
      ...nothingApplied,
      created: recorded.created,
      updated: recorded.updated,
      deleted: recorded.deleted,
      skipped: malformed.length,
      examined: changes.length,
      changedAt: recorded.changedAt,
      jobs: [
        ...recorded.jobs,
        ...[...moved.values()].map(checkJob),
        ...(drives.length > 0 ? [drivesJob(account.feedId, drives)] : []),
      ],
      events:
        own.length > 0
          ? [{ type: "documents.changed", payload: { document_ids: own.slice(0, 50) } }]
          : [],
    };
    return applied;
  },

  async finish(app, tx, feed, { mode, generation }) {
    const { fileId, driveId } = subjectOf(feed);
    if (fileId !== null) {
      const jobs = await endIfGone(app.clock.now(), tx, feed);
      return { ...nothingApplied, jobs, remembers: {} };
    }
    if (mode !== "full") return { ...nothingApplied, remembers: {} };
    if (driveId !== null) {
      return { ...nothingApplied, jobs: await checksIn(tx, feed, driveId), remembers: {} };
    }
    const { rows } = await sql<{ id: string }>`
      select id from watched_files
      where feed_id = ${feed.id} and generation < ${generation}
        and (state in ('active', 'trashed') or (state = 'lost' and is_own))
    `.execute(tx);
    return { ...nothingApplied, jobs: rows.map(({ id }) => checkJob(id)), remembers: {} };
  },

  channel: {
    targetOf: ({ pushUrl }) => pushUrl && pushUrl + pushPath,
    lifeMs: 7 * dayMs,
    open: async (google, feed, { target, ...channel }) => {
      const { fileId, driveId } = subjectOf(feed);
      if (fileId !== null) return watchDrive(google, { fileId }, { ...channel, address: target });
      const pageToken = feed.cursor ?? (await getStartPageToken(google, { driveId }));
      return watchDrive(google, { pageToken, driveId }, { ...channel, address: target });
    },
    close: stopDriveChannel,
  },

  // The account is no member of the drive, or no longer: what it still sees there is told by its own log.
  async doubt(tx, feed, now) {
    const { driveId } = subjectOf(feed);
    if (driveId === null) return [];
    await tx
      .updateTable("feeds")
      .set({ state: "stopped", state_reason: "no_member", due_at: null, watch_due_at: null })
      .where("id", "=", feed.id)
      .execute();
    const closings = await endWatchesOf(tx, [feed.id], { reason: "no_member", now });
    return [...closings, ...(await checksIn(tx, feed, driveId))];
  },
};

/** How the resource of a feed that follows a shared drive begins. */
export const drivesFolder = "drives/";

/** What a feed follows: one file alone, what happens in a shared drive, or else all that its account is told of. */
function subjectOf({ resource }: Feed): { fileId: string | null; driveId: string | null } {
  if (resource.startsWith(drivesFolder))
    return { fileId: null, driveId: resource.slice(drivesFolder.length) };
  return { fileId: resource === "" ? null : resource, driveId: null };
}

// What is followed in a shared drive hangs on the account's own feed.
async function accountOf(tx: Tx, feed: Feed): Promise<DriveAccount> {
  const own = driveAccountOf(feed);
  if (subjectOf(feed).driveId === null) return own;
  const { id } = await tx
    .selectFrom("feeds")
    .select("id")
    .where("connection_id", "=", feed.connection_id)
    .where("kind", "=", "drive")
    .where("resource", "=", "")
    .executeTakeFirstOrThrow();
  return { ...own, feedId: id };
}

// The files, with their rows, that a log says are gone from where they lay, a shared drive: they are looked at by themselves.
async function listMoved(tx: Tx, feedId: string, changes: Change[]): Promise<Map<string, string>> {
  const removed = changes.flatMap((change) => (change.type === "removed" ? [change.fileId] : []));
  if (removed.length === 0) return new Map();
  const rows = await tx
    .selectFrom("watched_files")
    .select(["id", "file_id"])
    .where("feed_id", "=", feedId)
    .where("file_id", "in", removed)
    .where("drive_id", "is not", null)
    .where("state", "!=", "stopped")
    .execute();
  return new Map(rows.map(({ id, file_id }) => [file_id, id]));
}

async function checksIn(tx: Tx, feed: Feed, driveId: string): Promise<NewJob[]> {
  const { feedId } = await accountOf(tx, feed);
  const rows = await tx
    .selectFrom("watched_files")
    .select("id")
    .where("feed_id", "=", feedId)
    .where("drive_id", "=", driveId)
    .where("state", "in", ["active", "trashed", "lost"])
    .execute();
  return rows.map(({ id }) => checkJob(id));
}

// The pinned token travels with the page's, so that a list that is interrupted goes on under the same one.
async function listAll(
  google: GoogleRequest,
  pageToken: string | null,
  signal: AbortSignal,
): Promise<Page<Change>> {
  const { pinned, token } = pageToken
    ? Progress.parse(JSON.parse(pageToken))
    : { pinned: await getStartPageToken(google, { signal }), token: null };
  const page = await listFiles(google, { pageToken: token, pageSize, signal });
  const next = page.nextPageToken;
  return {
    changes: page.changes,
    nextPageToken: next === null ? null : JSON.stringify({ pinned, token: next }),
    cursor: next === null ? pinned : null,
  };
}

// A file that was deleted for good does not come back: its feed ends with it, and its channel is closed.
async function endIfGone(now: Date, tx: Tx, { id }: Feed): Promise<NewJob[]> {
  const { rows: ended } = await sql`
    update feeds set state = 'stopped', state_reason = 'gone', watch_due_at = null
    where id = ${id} and not exists (
      select from watched_files where feed_id = ${id} and state not in ('removed', 'stopped'))
    returning id
  `.execute(tx);
  return ended.length > 0 ? endWatchesOf(tx, [id], { reason: "gone", now }) : [];
}

// Found or gone, as a change of one file. Its version stands in for a cursor: there is none to go on from.
async function lookAtFile(
  google: GoogleRequest,
  fileId: string,
  signal: AbortSignal,
): Promise<Page<Change>> {
  try {
    const file = await getFile(google, fileId, { signal });
    const cursor = file.version ?? "none";
    return { changes: [{ type: "file", file, at: null }], nextPageToken: null, cursor };
  } catch (error) {
    if (!(error instanceof ProviderError) || error.failure !== "not_found") throw error;
    return {
      changes: [{ type: "removed", fileId, at: null, isCertain: false }],
      nextPageToken: null,
      cursor: "none",
    };
  }
}

const Progress = z.object({ pinned: z.string(), token: z.string().nullable() });

/** The account that a feed is read through, as the rules about files know it. */
export function driveAccountOf(feed: Feed): DriveAccount {
  return { feedId: feed.id, userId: feed.user_id, account: feed.account_email ?? "this account" };
}
