import { sql } from "kysely";
import type { Tx } from "../db/connection.ts";
import { adoptEvents } from "../meetings/events.ts";
import { deriveMeetings } from "../meetings/meetings.ts";
import {
  type Calendar,
  type CalendarsPage,
  listCalendars,
  watch,
} from "../providers/google/calendar.ts";
import { calendarSource } from "./calendar.ts";
import { endWatchesOf } from "./closing.ts";
import { type Feed, lockFeeds, syncJob } from "./feeds.ts";
import { type Applied, nothingApplied, type Source, type SourceApp, sumApplied } from "./source.ts";

const wholeEveryMs = 24 * 60 * 60_000;

type CalendarChange = CalendarsPage["changes"][number];

/** Which calendars an account has. Each that is followed becomes a feed of its own. */
export const calendarListSource: Source<CalendarChange> = {
  cursorShape: "calendar list v1",

  // An increment does not tell of new names, zones and rights.
  nextReading(feed, { now, finished }) {
    if (finished.size > 0) return null;
    const isStale = now.getTime() - (feed.last_full_at?.getTime() ?? 0) >= wholeEveryMs;
    return feed.cursor === null || isStale
      ? { mode: "full", name: "all calendars", from: {} }
      : { mode: "delta", name: "changes", from: { cursor: feed.cursor } };
  },

  async listPage(google, _feed, { from, pageToken }, signal) {
    const page = await listCalendars(google, {
      syncToken: from.cursor ?? undefined,
      pageToken: pageToken ?? undefined,
      signal,
    });
    return { changes: page.changes, nextPageToken: page.nextPageToken, cursor: page.nextSyncToken };
  },

  async apply(app, tx, feed, { changes, position }) {
    const there = changes.flatMap((change) => (change.type === "upsert" ? [change.calendar] : []));
    const gone = changes.flatMap((change) => (change.type === "delete" ? [change.id] : []));
    // Those that rest come after others whose meetings are looked at already: all are taken before, and the list with
    // them, since what is new points at the account and its user.
    if (changes.length > 0 || position.mode === "full") await lockWithCalendars(tx, feed);
    const saved = await saveCalendars(app, tx, feed, there, position.generation);
    const stopped = await rest(app, tx, feed, gone, "gone");
    return sumApplied(saved, stopped);
  },

  async finish(app, tx, feed, { mode, generation }) {
    if (mode !== "full") return { ...nothingApplied, remembers: {} };
    const { rows } = await sql<{ resource: string }>`
      select resource from feeds
      where connection_id = ${feed.connection_id} and kind = 'calendar' and state <> 'stopped'
        and coalesce((details ->> 'listGeneration')::integer, 0) < ${generation}
    `.execute(tx);
    const resources = rows.map(({ resource }) => resource);
    const stopped = await rest(app, tx, feed, resources, "gone");
    return { ...stopped, remembers: {} };
  },

  channel: {
    ...calendarSource.channel,
    open: (google, _feed, { target, ...channel }) =>
      watch(google, "calendar list", { ...channel, address: target }),
  },
};

async function lockWithCalendars(tx: Tx, feed: Feed): Promise<void> {
  const calendars = await tx
    .selectFrom("feeds")
    .select("id")
    .where("connection_id", "=", feed.connection_id)
    .where("kind", "=", "calendar")
    .execute();
  await lockFeeds(tx, [...calendars.map(({ id }) => id), feed.id]);
}

/** Whether a calendar is followed: by the person's choice, else when it is theirs or ticked in Google's own list. */
function isFollowed(calendar: {
  isWanted: boolean | null;
  isPrimary: boolean;
  isSelected: boolean;
}): boolean {
  return calendar.isWanted ?? (calendar.isPrimary || calendar.isSelected);
}

/** Follows a calendar or no longer does, as the person chose; null leaves it to Google's own list again. */
export async function chooseCalendar(
  app: SourceApp,
  tx: Tx,
  feed: Feed,
  isWanted: boolean | null,
): Promise<Applied> {
  await tx.updateTable("feeds").set({ is_wanted: isWanted }).where("id", "=", feed.id).execute();
  const isSelected = feed.details.selected === true;
  if (isFollowed({ isWanted, isPrimary: feed.is_primary, isSelected })) {
    const jobs = await wake(app, tx, feed, [feed.resource]);
    return { ...nothingApplied, jobs };
  }
  return rest(app, tx, feed, [feed.resource], "not_wanted");
}

async function saveCalendars(
  app: SourceApp,
  tx: Tx,
  feed: Feed,
  calendars: Calendar[],
  generation: number,
): Promise<Applied> {
  if (calendars.length === 0) return nothingApplied;
  const rows = calendars.map((calendar) => ({
    resource: calendar.id,
    title: calendar.title,
    is_primary: calendar.primary,
    details: {
      timeZone: calendar.timeZone,
      accessRole: calendar.accessRole,
      selected: calendar.selected,
      hidden: calendar.hidden,
      listGeneration: generation,
    },
  }));
  const { rows: kept } = await sql<{
    id: string;
    resource: string;
    is_primary: boolean;
    is_wanted: boolean | null;
    is_selected: boolean;
    state: Feed["state"];
    is_new: boolean;
  }>`
    insert into feeds as kept (user_id, connection_id, kind, resource, title, is_primary, details, state, state_reason)
    select ${feed.user_id}::uuid, ${feed.connection_id}::uuid, 'calendar', resource, title, is_primary, details, 'stopped', 'not_wanted'
    from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb)
      as calendar (resource text, title text, is_primary boolean, details jsonb)
    on conflict (connection_id, kind, resource) do update
    set title = excluded.title, is_primary = excluded.is_primary, details = kept.details || excluded.details
    returning id, resource, is_primary, is_wanted, (details ->> 'selected')::boolean as is_selected, state, xmax = 0 as is_new
  `.execute(tx);
  await learnTimeZone(tx, feed, calendars);
  const followed = kept.filter((row) =>
    isFollowed({ isWanted: row.is_wanted, isPrimary: row.is_primary, isSelected: row.is_selected }),
  );
  const resting = followed.filter(({ state }) => state === "stopped");
  for (const { id, is_primary, resource, is_new } of resting) {
    if (is_primary && is_new) {
      await adoptEvents(tx, { id, userId: feed.user_id }, ["primary", resource]);
    }
  }
  const jobs = await wake(
    app,
    tx,
    feed,
    resting.map(({ resource }) => resource),
  );
  const unfollowed = kept.filter((row) => row.state !== "stopped" && !followed.includes(row));
  const rested = await rest(
    app,
    tx,
    feed,
    unfollowed.map(({ resource }) => resource),
    "not_wanted",
  );
  return sumApplied(
    {
      ...nothingApplied,
      created: kept.filter(({ is_new }) => is_new).length,
      jobs,
      events:
        jobs.length > 0
          ? [{ type: "feeds.changed", payload: { connection_id: feed.connection_id } }]
          : [],
    },
    rested,
  );
}

// The clocks that a person lives by are those of their main calendar, unless they said otherwise.
async function learnTimeZone(tx: Tx, feed: Feed, calendars: Calendar[]): Promise<void> {
  const zone = calendars.find(({ primary }) => primary)?.timeZone;
  if (!zone) return;
  await tx
    .updateTable("users")
    .set({ time_zone: zone })
    .where("id", "=", feed.user_id)
    .where("time_zone", "is", null)
    .execute();
}

async function wake(app: SourceApp, tx: Tx, feed: Feed, resources: string[]) {
  if (resources.length === 0) return [];
  const woken = await tx
    .updateTable("feeds")
    .set({
      state: "active",
      state_reason: null,
      due_at: app.clock.now(),
      failures: 0,
      retry_at: null,
    })
    .where("connection_id", "=", feed.connection_id)
    .where("kind", "=", "calendar")
    .where("resource", "in", resources)
    .where("state", "!=", "active")
    .returning("id")
    .execute();
  return woken.map(({ id }) => syncJob(id, "start"));
}

// What is no longer followed is no longer shown. Its next reading, should it come, is a full one.
async function rest(
  app: SourceApp,
  tx: Tx,
  feed: Feed,
  resources: string[],
  reason: string,
): Promise<Applied> {
  if (resources.length === 0) return nothingApplied;
  const rested = await tx
    .updateTable("feeds")
    .set({
      state: "stopped",
      state_reason: reason,
      due_at: null,
      watch_due_at: app.clock.now(),
      cursor: null,
      reading: null,
      last_success_at: null,
      // A run that is on it must not write any more.
      lease_owner: null,
      lease_until: null,
    })
    .where("connection_id", "=", feed.connection_id)
    .where("kind", "=", "calendar")
    .where("resource", "in", resources)
    .where("state", "!=", "stopped")
    .returning("id")
    .execute();
  if (rested.length === 0) return nothingApplied;
  const ids = rested.map(({ id }) => id);
  const deleted = await tx
    .deleteFrom("calendar_events")
    .where("feed_id", "in", ids)
    .returning("event_id")
    .execute();
  const closing = await endWatchesOf(tx, ids, { reason, now: app.clock.now() });
  const {
    jobs,
    meetingIds: _ids,
    ...meetings
  } = await deriveMeetings(tx, {
    userId: feed.user_id,
    eventIds: [...new Set(deleted.map(({ event_id }) => event_id))],
    virtualAddress: app.config.virtualEmailAddress,
    now: app.clock.now(),
  });
  return {
    ...nothingApplied,
    deleted: rested.length,
    meetings,
    jobs: [...jobs, ...closing],
    events: [
      { type: "feeds.changed", payload: { connection_id: feed.connection_id } },
      {
        type: "calendar.changed",
        payload: { feed_id: null, created: 0, updated: 0, deleted: deleted.length },
      },
    ],
  };
}
