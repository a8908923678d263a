import { z } from "zod";
import { virtualAttendees } from "../accounts/virtual-address.ts";
import type { Tx } from "../db/connection.ts";
import { type CalendarEventRow, calendarEventRow } from "../meetings/calendar-event.ts";
import {
  deleteEvents,
  keepsAnyOf,
  type SavedEvent,
  saveEvents,
  sweepEvents,
} from "../meetings/events.ts";
import { deriveMeetings } from "../meetings/meetings.ts";
import { listEvents, stopChannel, watch } from "../providers/google/calendar.ts";
import type { EventChange } from "../providers/google/calendar-events.ts";
import { type Feed, lockFeed, syncJob } from "./feeds.ts";
import { markSeen, recordSkipped } from "./skipped.ts";
import {
  type Applied,
  nothingApplied,
  type Position,
  type Source,
  type SourceApp,
} from "./source.ts";

const dayMs = 86_400_000;
/** How far back a full read goes. */
const pastMs = 7 * dayMs;
/** What is read before everything else, so that today is there at once. */
const comingMs = 8 * dayMs;
/** Occurrences of series are kept this far ahead; single events at any distance. */
const horizonMs = 120 * dayMs;
/** The horizon moves on in steps of this. */
const horizonStepMs = dayMs;

const pushPath = "/api/v1/webhooks/calendar";

/**
 * A calendar's events, occurrences in place of their series, as Google expands them. A full read has no upper bound, so
 * that its sync token covers events however far off; of a series without end only what lies before the horizon is kept,
 * and the horizon is moved on by reading the days in between. `timeMax` would bind the token to a window that stands
 * still.
 */
export const calendarSource: Source<EventChange> = {
  cursorShape: "events single=true v1",

  nextReading(feed, { now, finished }) {
    const { comingReadAt, instancesUntil } = detailsOf(feed);
    const at = now.getTime();
    const iso = (ms: number) => new Date(ms).toISOString();
    if (feed.cursor === null) {
      if (!comingReadAt && feed.last_success_at === null && !finished.has("coming days")) {
        const from = { since: iso(at - dayMs), until: iso(at + comingMs) };
        return { mode: "part", name: "coming days", from };
      }
      if (finished.has("all events")) return null;
      const from = { since: iso(at - pastMs), instancesUntil: iso(at + horizonMs) };
      return { mode: "full", name: "all events", from };
    }
    if (
      instancesUntil &&
      Date.parse(instancesUntil) < at + horizonMs - horizonStepMs &&
      !finished.has("horizon")
    ) {
      return {
        mode: "part",
        name: "horizon",
        from: { since: instancesUntil, until: iso(at + horizonMs) },
      };
    }
    if (finished.has("all events") || finished.has("changes")) return null;
    return { mode: "delta", name: "changes", from: { cursor: feed.cursor } };
  },

  async listPage(google, feed, { from, pageToken, mode }, signal) {
    const { cursor, since, until } = from;
    const page = await listEvents(google, {
      calendarId: feed.resource,
      from: cursor
        ? { syncToken: cursor }
        : {
            ...(since ? { timeMin: new Date(since) } : {}),
            ...(until ? { timeMax: new Date(until) } : {}),
          },
      pageToken: pageToken ?? undefined,
      maxResults: detailsOf(feed).pageSize ?? 2500,
      signal,
    });
    return {
      changes: page.changes,
      nextPageToken: page.nextPageToken,
      cursor: mode === "part" ? null : page.nextSyncToken,
      timeZone: page.timeZone,
    };
  },

  async apply(app, tx, feed, { changes, position, timeZone }) {
    // As whoever unticks the calendar does: the feed, then its events, then the person's meetings.
    await lockFeed(tx, feed.id);
    const until = horizonOf(feed, position);
    const { upserts, deletes, malformed, outdated, doubtful } = sort(changes, until);
    const zone = timeZone ?? zoneOf(feed);
    const rows = upserts.map((event) => rowOf(app, feed, { event, zone }));
    const deleted = await deleteEvents(tx, ownerOf(feed), {
      ids: [...deletes, ...outdated.ids],
      seriesIds: outdated.seriesIds,
    });
    const saved = await saveEvents(tx, ownerOf(feed), rows, position.generation);
    const since = new Date(app.clock.now().getTime() - pastMs);
    const isDoubtful =
      position.mode === "delta" && (await keepsAnyOf(tx, ownerOf(feed), { ...doubtful, since }));
    const isFullWanted = isDoubtful || (zone !== zoneOf(feed) && !isReadWhole(feed, position));
    await recordSkipped(tx, feed.id, malformed, app.clock.now());
    await markSeen(
      tx,
      feed.id,
      malformed.flatMap(({ id }) => id ?? []),
      position.generation,
    );
    const written = new Set([...saved.created, ...saved.updated]);
    const changedAt = [
      ...rows.flatMap((row) =>
        written.has(row.event_id) && row.updated_at_provider ? [row.updated_at_provider] : [],
      ),
      ...deleted.map(() => app.clock.now()),
    ];
    const touched = [...written, ...deletes, ...deleted];
    const applied = await settle(app, tx, feed, touched, {
      created: saved.created.length,
      updated: saved.updated.length,
      deleted: deleted.length,
      skipped: malformed.length,
      changedAt,
    });
    return { ...applied, remembers: timeZone ? { readInZone: timeZone } : {}, isFullWanted };
  },

  async finish(app, tx, feed, position) {
    if (position.name === "coming days") {
      return { ...nothingApplied, remembers: { comingReadAt: app.clock.now().toISOString() } };
    }
    if (position.name === "horizon") {
      return { ...nothingApplied, remembers: { instancesUntil: position.from.until } };
    }
    if (position.mode !== "full") return { ...nothingApplied, remembers: {} };
    const since = new Date(position.from.since ?? 0);
    const swept = await sweepEvents(tx, ownerOf(feed), { generation: position.generation, since });
    const orphans = feed.is_primary ? await listOrphans(tx, feed.user_id, since) : [];
    const counts = { created: 0, updated: 0, deleted: swept.length, skipped: 0, changedAt: [] };
    const applied = await settle(app, tx, feed, [...swept, ...orphans], counts);
    return { ...applied, remembers: { instancesUntil: position.from.instancesUntil } };
  },

  channel: {
    targetOf: ({ pushUrl }) => pushUrl && pushUrl + pushPath,
    lifeMs: 7 * dayMs,
    open: (google, feed, { target, ...channel }) =>
      watch(google, { calendarId: feed.resource }, { ...channel, address: target }),
    close: stopChannel,
  },

  // That rights were taken away is in no increment of the list: read whole, it no longer has the calendar.
  async doubt(tx, feed) {
    const lists = await tx
      .updateTable("feeds")
      .set({ is_full_wanted: true })
      .where("connection_id", "=", feed.connection_id)
      .where("kind", "=", "calendar_list")
      .where("state", "=", "active")
      .returning("id")
      .execute();
    return lists.map(({ id }) => syncJob(id, "poll"));
  },

  // A page that is too large for us is asked for again in smaller pieces.
  learn(feed, error) {
    if (error.reason !== "answer_too_large") return {};
    return { pageSize: Math.max(50, Math.floor((detailsOf(feed).pageSize ?? 2500) / 4)) };
  },
};

/** What we know of a calendar, and what its reading remembers. */
const CalendarDetails = z.looseObject({
  timeZone: z.string().nullish(),
  /** Where the days of its events begin, as they were read. The list, which says it too, may be ahead of them. */
  readInZone: z.string().optional(),
  accessRole: z.string().optional(),
  selected: z.boolean().optional(),
  hidden: z.boolean().optional(),
  pageSize: z.number().int().optional(),
  comingReadAt: z.string().optional(),
  instancesUntil: z.string().optional(),
});

function detailsOf(feed: Pick<Feed, "details">): z.infer<typeof CalendarDetails> {
  return CalendarDetails.parse(feed.details);
}

function zoneOf(feed: Feed): string {
  const { readInZone, timeZone } = detailsOf(feed);
  return readInZone ?? timeZone ?? feed.user_zone ?? "UTC";
}

// Whether all that is kept is being read again from here on, by this reading or after it.
function isReadWhole(feed: Feed, { mode, pageToken }: Position): boolean {
  return mode === "full" ? pageToken === null : feed.cursor === null;
}

// What lies beyond the horizon is brought by the horizon itself, once it gets there.
function horizonOf(feed: Feed, { from }: Position): number {
  const text = from.instancesUntil ?? from.until ?? detailsOf(feed).instancesUntil;
  return text ? Date.parse(text) : Number.POSITIVE_INFINITY;
}

type Upsert = Extract<EventChange, { type: "upsert" }>["event"];

// The last entry for an event is the one that counts.
function sort(changes: EventChange[], until: number) {
  const byId = new Map<string, EventChange>();
  const malformed: { id: string | null; problem: string }[] = [];
  for (const change of changes) {
    if (change.type === "malformed") malformed.push({ id: change.id, problem: change.problem });
    else byId.set(change.type === "upsert" ? change.event.id : change.id, change);
  }
  const upserts: Upsert[] = [];
  const deletes: string[] = [];
  for (const [id, change] of byId) {
    if (change.type === "upsert" && !isBeyond(change.event, until)) upserts.push(change.event);
    else deletes.push(id);
  }
  return { upserts, deletes, malformed, ...turned([...byId.values()]) };
}

/**
 * An event keeps its id when it is made recurring, and when it is made single again; Google does not say what it was
 * before. What takes place as the one is no longer kept as the other (`outdated`). An end does not tell which of them has
 * ended: what is kept as the other may be new, from a page before, or left over (`doubtful`).
 */
function turned(changes: EventChange[]) {
  const singles = new Set<string>();
  const series = new Set<string>();
  for (const change of changes) {
    if (change.type !== "upsert") continue;
    if (change.event.recurringEventId === null) singles.add(change.event.id);
    else series.add(change.event.recurringEventId);
  }
  const ends = changes.flatMap((change) => (change.type === "delete" ? [change] : []));
  const endedSeries = ends.flatMap((end) => end.recurringEventId ?? []);
  const ended = ends.flatMap((end) => (end.recurringEventId === null ? [end.id] : []));
  return {
    outdated: { ids: [...series], seriesIds: [...singles] },
    doubtful: {
      ids: [...new Set(endedSeries)].filter((id) => !singles.has(id)),
      seriesIds: ended.filter((id) => !series.has(id)),
    },
  };
}

function isBeyond({ recurringEventId, start }: Upsert, until: number): boolean {
  if (recurringEventId === null) return false;
  return ("date" in start ? Date.parse(`${start.date}T00:00:00Z`) : start.at.getTime()) >= until;
}

function rowOf(
  app: SourceApp,
  feed: Feed,
  { event, zone }: { event: Upsert; zone: string },
): SavedEvent {
  const { accessRole } = detailsOf(feed);
  const calendar = {
    id: feed.resource,
    timeZone: zone,
    accessRole: accessRole ?? "reader",
    accountEmail: feed.account_email ?? "",
  };
  const row: CalendarEventRow = calendarEventRow(event, calendar, app.config.preferredLink);
  const address = app.config.virtualEmailAddress;
  return { ...row, virtual_usernames: address ? virtualAttendees(event.attendees, address) : [] };
}

async function settle(
  app: SourceApp,
  tx: Tx,
  feed: Feed,
  eventIds: string[],
  counts: Pick<Applied, "created" | "updated" | "deleted" | "skipped" | "changedAt">,
): Promise<Applied> {
  const derived = await deriveMeetings(tx, {
    userId: feed.user_id,
    eventIds: [...new Set(eventIds)],
    virtualAddress: app.config.virtualEmailAddress,
    now: app.clock.now(),
  });
  const { jobs, meetingIds, ...meetings } = derived;
  const { created, updated, deleted } = counts;
  const isQuiet = created + updated + deleted + meetings.deleted + meetingIds.length === 0;
  const payload = {
    feed_id: feed.id,
    created,
    updated,
    deleted,
    meeting_ids: meetingIds.slice(0, 50),
  };
  return {
    ...nothingApplied,
    ...counts,
    meetings,
    jobs,
    events: isQuiet ? [] : [{ type: "calendar.changed", payload }],
  };
}

// Meetings of the older product whose events were deleted while nobody looked.
async function listOrphans(tx: Tx, userId: string, since: Date): Promise<string[]> {
  const rows = await tx
    .selectFrom("meetings")
    .select("google_calendar_event_id")
    .where("user_id", "=", userId)
    .where("google_calendar_event_id", "is not", null)
    .where("start_time", ">=", since)
    .where("cancelled_at", "is", null)
    .where((row) =>
      row.not(
        row.exists(
          row
            .selectFrom("calendar_events")
            .select("calendar_events.id")
            .whereRef("calendar_events.user_id", "=", "meetings.user_id")
            .whereRef("calendar_events.event_id", "=", "meetings.google_calendar_event_id"),
        ),
      ),
    )
    .execute();
  return rows.flatMap((row) => row.google_calendar_event_id ?? []);
}

function ownerOf(feed: Feed) {
  return { id: feed.id, userId: feed.user_id };
}
