import { sql } from "kysely";
import type { App } from "../app.ts";
import { pollBots } from "../meetings/bot-polling.ts";
import { changeFrequency, rememberedCadence } from "./cadence.ts";
import { type Feed, type FeedKind, listFeeds } from "./feeds.ts";
import { pollIfDue } from "./polling.ts";
import { requestSync, type SyncResult, waitForRuns } from "./waiting.ts";

/** What the API calls a service: the feeds of some kinds together. */
export const services = ["calendar", "drive", "gmail", "attendee"] as const;
export type ServiceName = (typeof services)[number];

const kindsOf: Record<ServiceName, FeedKind[]> = {
  calendar: ["calendar_list", "calendar"],
  drive: ["drive"],
  gmail: ["gmail"],
  // Bots have due times of their own, and no feed.
  attendee: [],
};

type Part = Pick<App, "db" | "clock" | "queue" | "config" | "log">;

/** What a sync of one service came to. A service that is not connected was skipped, and says so. */
export type ServiceResult = SyncResult & {
  service: ServiceName;
  isSkipped: boolean;
  nextSyncInMs: number | null;
};

/** The feeds behind a service of a user. */
export async function feedsOf(app: Part, userId: string, service: ServiceName): Promise<Feed[]> {
  const kinds = kindsOf[service];
  return kinds.length === 0 ? [] : listFeeds(app, userId, kinds);
}

/**
 * Syncs one service of a user and waits for it, 30 seconds at most. Without `force`, what push keeps current is left
 * alone. Never throws for what one service failed at: the result says it.
 */
export async function syncService(
  app: Part,
  userId: string,
  service: ServiceName,
  { force }: { force: boolean },
): Promise<ServiceResult> {
  if (service === "attendee") return syncBots(app, userId);
  const feeds = await feedsOf(app, userId, service);
  const active = feeds.filter(({ state }) => state === "active");
  if (active.length === 0) {
    return { service, ...nothing, error: "Not connected", isSkipped: true, nextSyncInMs: null };
  }
  const polled = force ? active : (await pollIfDue(app, active)).polled;
  if (force) await requestSync(app, active);
  const result = await waitForRuns(app, polled);
  const nextSyncInMs = await nextSyncIn(app, userId, service);
  return { service, ...result, isSkipped: polled.length === 0, nextSyncInMs };
}

// Nobody waits longer for a provider that hangs; what is not looked at by then is due again.
const patienceMs = 25_000;

// Bots are followed by their own due times: all of the user's that are due are looked at.
async function syncBots(app: Part, userId: string): Promise<ServiceResult> {
  if (!app.config.attendee.apiKey) {
    const error = "Not connected";
    return { service: "attendee", ...nothing, error, isSkipped: true, nextSyncInMs: null };
  }
  const startedAt = performance.now();
  const polled = await pollBots(app, { userId, signal: AbortSignal.timeout(patienceMs) });
  const { rows } = await sql<{ live: number; due_at: Date | null }>`
    select count(distinct bots.id)::int as live, min(bots.due_at) as due_at
    from meetings join bots on bots.id = meetings.bot_id
    where meetings.user_id = ${userId} and bots.due_at is not null
  `.execute(app.db);
  const { live = 0, due_at = null } = rows[0] ?? {};
  return {
    service: "attendee",
    ...nothing,
    processed: polled.length,
    updated: polled.filter(({ changed }) => changed).length,
    error: polled.find(({ error }) => error !== null)?.error ?? null,
    durationMs: Math.round(performance.now() - startedAt),
    isSkipped: polled.length === 0 && live === 0,
    nextSyncInMs: due_at && Math.max(0, due_at.getTime() - app.clock.now().getTime()),
  };
}

/** Syncs every service of a user at once, and remembers how lively the user's feeds are. */
export async function syncAll(
  app: Part,
  userId: string,
  options: { force: boolean },
): Promise<ServiceResult[]> {
  const results = await Promise.all(
    services.map((service) => syncService(app, userId, service, options)),
  );
  await keepSyncState(app, userId, results);
  return results;
}

const nothing: SyncResult = {
  processed: 0,
  created: 0,
  updated: 0,
  deleted: 0,
  skipped: 0,
  autoScheduledMeetings: 0,
  virtualEmails: 0,
  durationMs: 0,
  error: null,
  isComplete: true,
};

/** In how many milliseconds a service of a user is looked at next; null where nothing of it is due. */
export async function nextSyncIn(
  app: Part,
  userId: string,
  service: ServiceName,
): Promise<number | null> {
  const due = (await feedsOf(app, userId, service)).flatMap(({ due_at, state }) =>
    due_at && state === "active" ? [due_at.getTime()] : [],
  );
  return due.length === 0 ? null : Math.max(0, Math.min(...due) - app.clock.now().getTime());
}

async function keepSyncState(app: Part, userId: string, results: ServiceResult[]): Promise<void> {
  const feeds = await listFeeds(app, userId);
  const values = {
    last_sync_at: app.clock.now(),
    change_frequency: liveliest(feeds),
    auto_scheduled_meetings: results.reduce((total, one) => total + one.autoScheduledMeetings, 0),
    virtual_email_activity: results.some(({ virtualEmails }) => virtualEmails > 0),
    updated_at: app.clock.now(),
  };
  await app.db
    .insertInto("user_sync_states")
    .values({ user_id: userId, ...values })
    .onConflict((conflict) => conflict.column("user_id").doUpdateSet(values))
    .execute();
}

const frequencies = ["low", "medium", "high"] as const;

function liveliest(feeds: Feed[]): (typeof frequencies)[number] {
  const found = feeds.flatMap(({ kind, cadence }) =>
    cadence && kind !== "calendar_list"
      ? [frequencies.indexOf(changeFrequency(kind, rememberedCadence(cadence)))]
      : [],
  );
  return frequencies[Math.max(0, ...found)] ?? "low";
}
