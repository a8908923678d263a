import { tellUser } from "../accounts/tell-user.ts";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import { AppError } from "../lib/errors.ts";
import { type EventChange, eventChangeOf } from "../providers/google/calendar-events.ts";
import { enqueue } from "../queue/queue.ts";
import { calendarSource } from "./calendar.ts";
import { type Feed, listFeeds } from "./feeds.ts";
import { type Applied, nothingApplied, sumApplied } from "./source.ts";

type Part = Pick<App, "db" | "clock" | "config" | "queue">;

/** What one event did to our tables. */
export type EventOutcome = {
  action: "created" | "updated" | "deleted" | "none";
  meetingIds: string[];
};

/**
 * Applies one event of Google's to a person's main calendar, as a sync would.
 *
 * @throws {AppError} `invalid` for what is no event, `conflict` when no calendar of theirs is followed.
 */
export async function applyEvent(app: Part, userId: string, event: unknown): Promise<EventOutcome> {
  const change = eventChangeOf(event);
  if (change.type === "malformed") {
    const fields = [{ path: "body.event", message: change.problem }];
    throw new AppError("invalid", "This is not an event of Google Calendar", { fields });
  }
  const [main] = await listCalendars(app, userId);
  if (!main) throw new AppError("conflict", "No calendar of this user is followed");
  return apply(app, [main], change);
}

/** Treats an event as deleted, in whichever calendars of this person have it. @throws {AppError} `conflict` */
export async function applyDeletion(
  app: Part,
  userId: string,
  eventId: string,
): Promise<EventOutcome> {
  const calendars = await listCalendars(app, userId);
  if (calendars.length === 0)
    throw new AppError("conflict", "No calendar of this user is followed");
  return apply(app, calendars, { type: "delete", id: eventId, recurringEventId: null });
}

async function listCalendars(app: Part, userId: string): Promise<Feed[]> {
  const feeds = await listFeeds(app, userId, ["calendar"]);
  return feeds.filter(({ state }) => state !== "stopped");
}

async function apply(app: Part, feeds: Feed[], change: EventChange): Promise<EventOutcome> {
  return app.db.transaction().execute(async (tx) => {
    let total = nothingApplied;
    for (const feed of feeds) total = sumApplied(total, await applyTo(app, tx, feed, change));
    await enqueue(app, tx, total.jobs);
    const [first] = feeds;
    if (first && total.events.length > 0) await tellUser(tx, first.user_id, total.events);
    return { action: actionOf(total), meetingIds: meetingIdsOf(total) };
  });
}

function applyTo(app: Part, tx: Tx, feed: Feed, change: EventChange): Promise<Applied> {
  const { generation } = feed;
  const position = {
    mode: "delta" as const,
    name: "changes",
    from: {},
    pageToken: null,
    generation,
    seen: 0,
  };
  return calendarSource.apply(app, tx, feed, { changes: [change], position });
}

function actionOf({ created, updated, deleted, meetings }: Applied): EventOutcome["action"] {
  if (created > 0) return "created";
  if (updated > 0) return "updated";
  return deleted + meetings.deleted > 0 ? "deleted" : "none";
}

function meetingIdsOf({ events }: Applied): string[] {
  return events.flatMap(({ payload }) =>
    Array.isArray(payload.meeting_ids) ? payload.meeting_ids : [],
  );
}
