import { z } from "zod";
import { type GoogleAccess, openGoogleAccess } from "../accounts/google-access.ts";
import { tellUser } from "../accounts/tell-user.ts";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import { ProviderError } from "../lib/errors.ts";
import type { Counts, JobPayload } from "../queue/catalog.ts";
import { enqueue } from "../queue/queue.ts";
import { afterFailure } from "./failure.ts";
import {
  type Feed,
  type FeedPatch,
  keepLease,
  LeaseLostError,
  lockFeed,
  nextInLine,
  patched,
  syncJob,
  takeLease,
  updateUnderLease,
} from "./feeds.ts";
import { lookAgain } from "./look.ts";
import { recordRun } from "./runs.ts";
import {
  type Applied,
  nothingApplied,
  type Page,
  type Position,
  type Source,
  sumApplied,
} from "./source.ts";
import { sourceOf } from "./sources.ts";
import { judgeWatch, watchJobs } from "./watches.ts";

export type SyncApp = Pick<
  App,
  "db" | "clock" | "config" | "queue" | "log" | "googleOAuth" | "providerLimits"
>;

/** One run over a feed, and what it has done so far. */
export type Run = {
  feed: Feed;
  owner: string;
  reason: JobPayload<"feeds.sync">["reason"];
  startedAt: Date;
  /** Whether everything was read, or only what is new. */
  mode: "full" | "delta" | null;
  /** The days that were read, of series at least; null where only what is new was. */
  range: { since: string; until: string | null } | null;
  /** The names of the readings that came to their end. */
  finished: ReadonlySet<string>;
  pages: number;
  total: Applied;
  /** When the changes happened that an incremental read found: those that push should have told of. */
  newsAt: Date[];
};

type Reader = {
  source: Source<unknown>;
  google: GoogleAccess;
  signal: AbortSignal;
  startedMs: number;
};

/** How a run ends: how long it took, how many calls it made. */
export type RunEnd = { durationMs: number; providerCalls: number };

// A cursor that is refused again and again must not make us read everything again and again.
const fullReadEveryMs = 10 * 60_000;

/**
 * Brings our tables up to one feed. Safe at any time and any number of times: a poll, a notification and a button all
 * end here. One run at a time holds a feed; who comes meanwhile causes exactly one more. What a provider refuses is kept
 * in the feed's row, with the time of the next try.
 */
export async function syncFeed(
  app: SyncApp,
  { feedId, reason }: JobPayload<"feeds.sync">,
  { signal }: { signal: AbortSignal },
): Promise<Counts> {
  const isUrgent = reason === "person" || reason === "start";
  const lease = await takeLease(app, feedId, isUrgent ? null : app.clock.now());
  if (lease.outcome === "idle") return { idle: 1 };
  if (lease.outcome !== "taken") {
    // Should the run that holds the feed die, this one takes its place.
    const startAfter = new Date(app.clock.now().getTime() + lease.waitMs);
    await enqueue(app, app.db, { ...syncJob(feedId, reason), startAfter });
    return { [lease.outcome]: 1 };
  }
  const { owner } = lease;
  using _alive = keepLease(app, { feedId, owner });
  const source = sourceOf(lease.feed.kind);
  const isVoid = lease.feed.cursor_shape !== source.cursorShape || lease.feed.is_full_wanted;
  const feed = isVoid
    ? { ...lease.feed, cursor: null, reading: null, is_full_wanted: false }
    : lease.feed;
  const reader = {
    source,
    google: openGoogleAccess(app, feed.connection_id),
    signal,
    startedMs: performance.now(),
  };
  let run: Run = {
    feed,
    owner,
    reason,
    startedAt: app.clock.now(),
    mode: null,
    range: null,
    finished: new Set(),
    pages: 0,
    total: nothingApplied,
    newsAt: [],
  };
  try {
    for await (const step of readAll(app, reader, run)) run = step;
  } catch (error) {
    const isOvertaken =
      error instanceof LeaseLostError || !(await endInFailure(app, reader, run, error));
    if (isOvertaken) return { overtaken: 1 };
    if (!(error instanceof ProviderError) && !signal.aborted) throw error;
  }
  const { created, updated, deleted, skipped } = run.total;
  return { created, updated, deleted, skipped, pages: run.pages, calls: reader.google.calls };
}

// Reads until nothing is left to read, and yields the run as it stands after each page.
async function* readAll(app: SyncApp, reader: Reader, start: Run): AsyncGenerator<Run> {
  let run = start;
  let hasStartedOver = false;
  const kept = run.feed.reading as Position | null;
  let position = kept ? { ...kept, seen: kept.seen ?? 0 } : nextPosition(app, reader, run);
  while (position !== null) {
    reader.signal.throwIfAborted();
    try {
      const { source, google, signal } = reader;
      const page = await source.listPage(google.request, run.feed, position, signal);
      ({ run, position } = await commitPage(app, reader, run, { page, position }));
    } catch (error) {
      if (hasStartedOver || !mayStartOver(app, run.feed, error)) throw error;
      hasStartedOver = true;
      const cursor = isPageRefused(position, error) ? run.feed.cursor : null;
      const patch = { cursor, reading: null, details: startedOver(app.clock.now()) };
      await app.db.transaction().execute(async (tx) => {
        await updateUnderLease(tx, { feedId: run.feed.id, owner: run.owner }, patch, "hold");
      });
      run = { ...run, feed: patched(run.feed, patch), finished: new Set() };
      position = nextPosition(app, reader, run);
    }
    yield run;
  }
}

function mayStartOver(app: SyncApp, feed: Feed, error: unknown): boolean {
  if (!(error instanceof ProviderError) || error.failure !== "start_over") return false;
  const last = z.coerce.date().safeParse(feed.details.startedOverAt ?? undefined).data;
  return app.clock.now().getTime() - (last?.getTime() ?? 0) >= fullReadEveryMs;
}

// A first refusal may follow close on the first reading, and is no reason to wait; the next one is.
function startedOver(at: Date): { startedOverAt: string } {
  return { startedOverAt: at.toISOString() };
}

// A later page's token lives for hours only. That it is refused says nothing against the cursor that the reading began with.
function isPageRefused(position: Position | null, error: unknown): boolean {
  return (
    typeof position?.pageToken === "string" &&
    error instanceof ProviderError &&
    error.status === 400
  );
}

function nextPosition(app: SyncApp, { source }: Reader, { feed, finished }: Run): Position | null {
  const reading = source.nextReading(feed, { now: app.clock.now(), finished });
  if (!reading) return null;
  const generation = feed.generation + (reading.mode === "full" ? 1 : 0);
  return { ...reading, pageToken: null, generation, seen: 0 };
}

/**
 * A page's rows, the jobs they call for, and how far the feed is read: together or not at all. Dying between two pages
 * repeats a page. The page that leaves nothing to read also ends the run.
 */
async function commitPage(
  app: SyncApp,
  reader: Reader,
  before: Run,
  { page, position }: { page: Page<unknown>; position: Position },
): Promise<{ run: Run; position: Position | null }> {
  return app.db.transaction().execute(async (tx) => {
    const { source, google, startedMs } = reader;
    const applied = await source.apply(app, tx, before.feed, { ...page, position });
    const isEnd = page.nextPageToken === null;
    const seen = position.seen + page.changes.length;
    const end = isEnd ? await source.finish(app, tx, before.feed, position) : null;
    // Before what is told, which points at the user: whoever deletes one takes the feeds first.
    await lockFeed(tx, before.feed.id);
    const all = end ? sumApplied(applied, end) : applied;
    const progress: FeedPatch = end
      ? {
          reading: null,
          details: {
            ...applied.remembers,
            ...end.remembers,
            ...(position.mode === "full" ? { lastFullCount: seen } : {}),
          },
          ...begun(reader, position),
          ...cursorAfter(app, reader, position, page),
        }
      : {
          details: applied.remembers ?? {},
          reading: { ...position, pageToken: page.nextPageToken, seen },
          ...begun(reader, position),
        };
    const patch = applied.isFullWanted ? { ...progress, is_full_wanted: true } : progress;
    const run: Run = {
      ...before,
      feed: patched(before.feed, patch),
      finished: end ? new Set([...before.finished, position.name]) : before.finished,
      mode: position.mode === "part" ? before.mode : position.mode,
      range: rangeOf(position) ?? before.range,
      pages: before.pages + 1,
      total: sumApplied(before.total, all),
      newsAt: position.mode === "delta" ? [...before.newsAt, ...all.changedAt] : before.newsAt,
    };
    const next = end
      ? nextPosition(app, reader, run)
      : { ...position, pageToken: page.nextPageToken, seen };
    await enqueue(app, tx, all.jobs);
    const news = { type: "feeds.changed", payload: { feed_id: before.feed.id } };
    const isOnItsWay = !isEnd && position.mode === "full";
    await tellUser(tx, before.feed.user_id, [...all.events, ...(isOnItsWay ? [news] : [])]);
    const lease = { feedId: before.feed.id, owner: before.owner };
    if (next) {
      await updateUnderLease(tx, lease, patch, "hold");
    } else {
      const durationMs = Math.round(performance.now() - startedMs);
      await endInSuccess(app, tx, run, patch, { durationMs, providerCalls: google.calls });
    }
    return { run, position: next };
  });
}

function rangeOf({ from: { since, until, instancesUntil } }: Position): Run["range"] {
  return since ? { since, until: until ?? instancesUntil ?? null } : null;
}

// A whole reading serves the wish for one with its first page; a wish that comes later is for another.
// A whole reading that has begun goes on where it is interrupted, whatever made it begin; what was there before is void.
// Its generation is used up: one that begins anew must not take what only this one has seen for seen.
function begun({ source }: Reader, { mode, pageToken, generation }: Position): FeedPatch {
  if (mode !== "full" || pageToken !== null) return {};
  return { cursor: null, cursor_shape: source.cursorShape, is_full_wanted: false, generation };
}

function cursorAfter(
  app: SyncApp,
  { source }: Reader,
  { mode, generation, from }: Position,
  page: Page<unknown>,
): FeedPatch {
  if (mode === "part") return {};
  return {
    // A read that ends without a cursor says nothing against the one that it began with.
    cursor: page.cursor ?? (mode === "delta" ? from.cursor : null) ?? null,
    cursor_shape: source.cursorShape,
    generation,
    ...(mode === "full" ? { last_full_at: app.clock.now() } : {}),
  };
}

async function endInSuccess(
  app: SyncApp,
  tx: Tx,
  run: Run,
  progress: FeedPatch,
  end: RunEnd,
): Promise<void> {
  const now = app.clock.now();
  const watch = await judgeWatch(app, tx, run);
  const look = await lookAgain(app, tx, run, watch);
  const { created, updated, deleted } = run.total;
  const { isWantedAgain } = await updateUnderLease(
    tx,
    { feedId: run.feed.id, owner: run.owner },
    {
      ...progress,
      ...look,
      // What came while it was read may not be here yet.
      details: { ...progress.details, currentAsOf: run.startedAt.toISOString() },
      failures: 0,
      retry_at: null,
      last_error: null,
      last_error_reason: null,
      last_run_at: now,
      last_success_at: now,
      ...(created + updated + deleted > 0 ? { last_change_at: now } : {}),
    },
    "release",
  );
  await recordRun(tx, run, { ...end, finishedAt: now, outcome: "succeeded", error: null });
  await enqueue(app, tx, [
    ...watchJobs(app, run.feed, watch, look.cadence ?? run.feed.cadence),
    ...(await nextInLine(tx, run.feed.connection_id)),
    ...(isWantedAgain ? [syncJob(run.feed.id, "push")] : []),
    ...(run.feed.is_full_wanted ? [syncJob(run.feed.id, "poll")] : []),
  ]);
}

// What the last page that was written left behind stays; the next run goes on from there. False when another run has
// taken over meanwhile, or the feed is no longer followed.
async function endInFailure(
  app: SyncApp,
  { source, google, signal, startedMs }: Reader,
  run: Run,
  error: unknown,
): Promise<boolean> {
  const now = app.clock.now();
  const isInterrupted = signal.aborted && !(error instanceof ProviderError);
  // Who came forward has not failed in a row: a large mailbox takes many minutes' quota, and must not wait for ever longer.
  const { patch, text } = isInterrupted
    ? { patch: { due_at: now }, text: "The process was stopped" }
    : afterFailure(run.pages === 0 ? run.feed : { ...run.feed, failures: 0 }, error, now);
  const isRefused = error instanceof ProviderError && error.failure === "start_over";
  const details = {
    ...(error instanceof ProviderError ? source.learn?.(run.feed, error) : {}),
    ...(isRefused ? startedOver(patch.retry_at ?? now) : {}),
  };
  const durationMs = Math.round(performance.now() - startedMs);
  const lease = { feedId: run.feed.id, owner: run.owner };
  const news = { type: "feeds.changed", payload: { feed_id: run.feed.id } };
  try {
    await app.db.transaction().execute(async (tx) => {
      // Who asked meanwhile is served by the next try.
      await updateUnderLease(tx, lease, { ...patch, details, last_run_at: now }, "release");
      const outcome = isInterrupted ? ("interrupted" as const) : ("failed" as const);
      const providerCalls = google.calls;
      await recordRun(tx, run, {
        durationMs,
        providerCalls,
        finishedAt: now,
        outcome,
        error: text,
      });
      if (isInterrupted) await enqueue(app, tx, syncJob(run.feed.id, run.reason));
      else await tellUser(tx, run.feed.user_id, [news]);
      const isMissing = error instanceof ProviderError && error.failure === "not_found";
      const doubts = isMissing ? ((await source.doubt?.(tx, run.feed, now)) ?? []) : [];
      await enqueue(app, tx, [...doubts, ...(await nextInLine(tx, run.feed.connection_id))]);
    });
  } catch (failure) {
    if (failure instanceof LeaseLostError) return false;
    throw failure;
  }
  if (!isInterrupted) {
    const { last_error_reason: failure, failures } = patch;
    app.log.warn({ feed_id: run.feed.id, failure, failures }, "feed failed");
  }
  return true;
}
