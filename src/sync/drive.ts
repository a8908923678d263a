import { sql } from "kysely";
import { z } from "zod";
import { tellUser } from "../accounts/tell-user.ts";
import type { Tx } from "../db/connection.ts";
import { checkJob, recordFileChanges } from "../documents/watched-files.ts";
import { ProviderError } from "../lib/errors.ts";
import {
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
 * A feed with a file as its resource follows that one alone: what no log of the account tells of, or what somebody wants
 * a channel of its own for. Google keeps such a channel for a day at most.
 */
export const driveSource: Source<FileChange> = {
  cursorShape: "changes v1",

  nextReading(feed, { finished }) {
    if (feed.resource !== "") {
      return finished.size > 0 ? null : { mode: "delta", name: "file", from: {} };
    }
    if (finished.has("changes")) return null;
    if (feed.cursor !== null) {
      return { mode: "delta", name: "changes", from: { cursor: feed.cursor } };
    }
    return finished.has("all files") ? null : { mode: "full", name: "all files", from: {} };
  },

  async listPage(google, feed, position, signal) {
    if (feed.resource !== "") return lookAtFile(google, feed.resource, signal);
    if (position.mode === "full") return listAll(google, position.pageToken, signal);
    const page = await listChanges(google, {
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
    const recorded = await recordFileChanges(
      app,
      tx,
      driveAccountOf(feed),
      changes,
      position.mode === "full" ? position.generation : 0,
    );
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
      jobs: recorded.jobs,
      events:
        own.length > 0
          ? [{ type: "documents.changed", payload: { document_ids: own.slice(0, 50) } }]
          : [],
    };
    return applied;
  },

  async finish(app, tx, feed, { mode, generation }) {
    if (feed.resource !== "") {
      const jobs = await endIfGone(app.clock.now(), tx, feed);
      return { ...nothingApplied, jobs, remembers: {} };
    }
    if (mode !== "full") return { ...nothingApplied, remembers: {} };
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
      if (feed.resource !== "") {
        return watchDrive(google, { fileId: feed.resource }, { ...channel, address: target });
      }
      const pageToken = feed.cursor ?? (await getStartPageToken(google));
      return watchDrive(google, { pageToken }, { ...channel, address: target });
    },
    close: stopDriveChannel,
  },
};

// The pinned token travels with the page's, so that a list that is interrupted goes on under the same one.
async function listAll(
  google: GoogleRequest,
  pageToken: string | null,
  signal: AbortSignal,
): Promise<Page<FileChange>> {
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
): Promise<Page<FileChange>> {
  try {
    const file = await getFile(google, fileId, { signal });
    const cursor = file.version ?? "none";
    return { changes: [{ type: "file", file, at: null }], nextPageToken: null, cursor };
  } catch (error) {
    if (!(error instanceof ProviderError) || error.failure !== "not_found") throw error;
    // Nothing else would tell of it later.
    return {
      changes: [{ type: "removed", fileId, at: null, isCertain: true }],
      nextPageToken: null,
      cursor: "none",
    };
  }
}

const Progress = z.object({ pinned: z.string(), token: z.string().nullable() });

/** The account that a feed is read through, as the rules about files know it. */
export function driveAccountOf(feed: Feed) {
  return { feedId: feed.id, userId: feed.user_id, account: feed.account_email ?? "this account" };
}
