import type { News } from "../accounts/tell-user.ts";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import type { ProviderError } from "../lib/errors.ts";
import type { GoogleRequest } from "../providers/google/request.ts";
import type { NewJob } from "../queue/queue.ts";
import type { Feed } from "./feeds.ts";

/**
 * One pass over a part of a feed: all pages from where it begins. `full` and `delta` end with a cursor; a `part` reads
 * a bounded piece beside them, such as the coming days. `from` is the source's own, plain JSON: a reading that is
 * interrupted goes on from it.
 */
export type Reading = {
  mode: "full" | "delta" | "part";
  name: string;
  from: Record<string, string | null>;
};

/** Where a reading stands: its next page, how many entries it has seen, and the generation that marks them. */
export type Position = Reading & { pageToken: string | null; generation: number; seen: number };

/** What a provider answered: its changes, and either another page or the end, with the cursor that a read ends with. */
export type Page<Change> = {
  changes: Change[];
  nextPageToken: string | null;
  cursor: string | null;
  /** Of a calendar: by whose clocks its whole days begin. */
  timeZone?: string | null;
};

/** What a page did to our tables, and what else it calls for. */
export type Applied = {
  created: number;
  updated: number;
  deleted: number;
  skipped: number;
  /** Mails that name the assistant. */
  virtualMails: number;
  /** How many entries were looked at, where that is more than what was written. */
  examined: number;
  /** The provider's own times of what is new to us: what the cadence learns from. */
  changedAt: Date[];
  meetings: { created: number; updated: number; deleted: number; autoScheduled: number };
  jobs: NewJob[];
  /** What the user's open pages are told. */
  events: News[];
};

/** One kind of feed: how it is read, and what its changes mean to our tables. The engine does the rest. */
export type Source<Change> = {
  /** Names the parameters that a cursor is bound to. Another shape makes every kept cursor void. */
  cursorShape: string;
  /** What to read next, null when there is nothing left to do in this run. `finished` names the readings that it has ended. */
  nextReading(feed: Feed, run: { now: Date; finished: ReadonlySet<string> }): Reading | null;
  /** One page. @throws {ProviderError} */
  listPage(
    google: GoogleRequest,
    feed: Feed,
    position: Position,
    signal: AbortSignal,
  ): Promise<Page<Change>>;
  /**
   * Writes a page's changes. Repeating it changes nothing. What it `remembers` is merged into the feed's details. Where
   * a page leaves open what there is, or makes what is kept untrue, `isFullWanted` has the feed read in full after this
   * run.
   */
  apply(
    app: SourceApp,
    tx: Tx,
    feed: Feed,
    page: Pick<Page<Change>, "changes" | "timeZone"> & { position: Position },
  ): Promise<Applied & { remembers?: Record<string, unknown>; isFullWanted?: boolean }>;
  /** After the last page: sweeps what a full read did not see. What it `remembers` is merged into the feed's details. */
  finish(
    app: SourceApp,
    tx: Tx,
    feed: Feed,
    position: Position,
  ): Promise<Applied & { remembers: Record<string, unknown> }>;
  channel: ChannelSource;
  /** What makes sure whether a feed is gone that Google does not find, or ends it. */
  doubt?(tx: Tx, feed: Feed, now: Date): Promise<NewJob[]>;
  /** What this kind remembers of a failure, so that the next run does better. */
  learn?(feed: Feed, error: ProviderError): Record<string, unknown>;
};

/** How the provider is asked to tell of changes. */
export type ChannelSource = {
  /** Where notifications go, as the provider is told; null where this deployment cannot hear any. */
  targetOf(config: App["config"]): string | null;
  open(
    google: GoogleRequest,
    feed: Feed,
    channel: { channelId: string; token: string; target: string; expiresAt: Date },
  ): Promise<{ resourceId: string; expiresAt: Date | null }>;
  close(google: GoogleRequest, channel: { channelId: string; resourceId: string }): Promise<void>;
  lifeMs: number;
  /** After how long one is replaced; by default after half its life. */
  renewAfterMs?: number;
  /** The provider keeps one for each resource: another takes its place, and closing it closes both. */
  isSole?: boolean;
};

export type SourceApp = Pick<App, "config" | "clock" | "queue">;

/** Nothing was done. */
export const nothingApplied: Applied = {
  created: 0,
  updated: 0,
  deleted: 0,
  skipped: 0,
  virtualMails: 0,
  examined: 0,
  changedAt: [],
  meetings: { created: 0, updated: 0, deleted: 0, autoScheduled: 0 },
  jobs: [],
  events: [],
};

/** Both together. */
export function sumApplied(one: Applied, other: Applied): Applied {
  return {
    created: one.created + other.created,
    updated: one.updated + other.updated,
    deleted: one.deleted + other.deleted,
    skipped: one.skipped + other.skipped,
    virtualMails: one.virtualMails + other.virtualMails,
    examined: one.examined + other.examined,
    changedAt: [...one.changedAt, ...other.changedAt],
    meetings: {
      created: one.meetings.created + other.meetings.created,
      updated: one.meetings.updated + other.meetings.updated,
      deleted: one.meetings.deleted + other.meetings.deleted,
      autoScheduled: one.meetings.autoScheduled + other.meetings.autoScheduled,
    },
    jobs: [...one.jobs, ...other.jobs],
    events: [...one.events, ...other.events],
  };
}
