import { z } from "zod";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import { offsetOf } from "../meetings/start-of-day.ts";
import {
  afterLook,
  type Circumstances,
  initialCadence,
  nextLook,
  rememberedCadence,
} from "./cadence.ts";
import type { Feed, FeedPatch } from "./feeds.ts";
import type { LearntKind } from "./intensity.ts";
import { findTerms } from "./priors.ts";
import type { Run } from "./sync.ts";
import type { WatchJudgement } from "./watches.ts";

const activeMs = 10 * 60_000;
// One mail to the assistant is often followed by another.
const pressingMs = 10 * 60_000;
// A meeting about to start may still be moved, or get another link.
const soonMs = 15 * 60_000;
const hourMs = 3_600_000;
// A calendar that gives no cursor can only be read whole.
const wholeAgainMs = 30 * 60_000;

/** What a run that succeeded teaches about its feed, and when the next one is due, with the reason. */
export async function lookAgain(
  app: Pick<App, "clock">,
  tx: Tx,
  run: Run,
  watch: WatchJudgement,
): Promise<FeedPatch> {
  const { feed, newsAt } = run;
  const now = app.clock.now();
  if (feed.kind === "calendar_list") return lookAtList(now, watch);
  if (feed.cursor === null) return lookWhole(now);
  const kind = feed.kind;
  const circumstances = await circumstancesOf(tx, feed, kind, now);
  const earlier = feed.cadence ? rememberedCadence(feed.cadence) : initialCadence(now);
  const state = afterLook(
    kind,
    earlier,
    {
      at: now,
      changedAt: newsAt,
      hasSpoken: watch.hasSpoken,
      announced: watch.announced,
      missed: watch.missed,
      channel: watch.watch,
    },
    circumstances,
  );
  const look = lookForTold(feed, now) ?? nextLook(kind, state, circumstances);
  return {
    cadence: state,
    due_at: look.dueAt,
    due_reason: { ...look.reason, intervalMs: look.intervalMs },
  };
}

const Told = z.object({ historyId: z.string().regex(/^\d+$/), at: z.number() });
const toldWaitMs = 2_000;
const toldPatienceMs = 120_000;
const silenceMs = 1_000;

/**
 * When what Gmail left out after a notification can be found. Source: the Gmail API's push guide: a mailbox is told of
 * once a second at most, and what is more is dropped.
 */
export function afterSilence(toldAt: Date): Date {
  return new Date(toldAt.getTime() + silenceMs);
}

// Gmail's history may lag behind what Gmail tells of it: an empty answer to fresh news is asked for again shortly. And
// what came within the same second as the news was not told of.
function lookForTold(
  feed: Run["feed"],
  now: Date,
): { dueAt: Date; intervalMs: number; reason: { rule: string; text: string } } | null {
  const told = Told.safeParse(feed.details.told).data;
  if (!told) return null;
  const sinceMs = now.getTime() - told.at;
  const isBehind = BigInt(told.historyId) > BigInt(feed.cursor ?? 0);
  if (isBehind ? sinceMs > toldPatienceMs : sinceMs >= silenceMs) return null;
  const dueAt = isBehind
    ? new Date(now.getTime() + Math.max(toldWaitMs, sinceMs))
    : afterSilence(new Date(told.at));
  const text = isBehind
    ? "Gmail told of more than its history shows yet"
    : "Gmail tells of a mailbox once a second at most; this look finds what it left out";
  return {
    dueAt,
    intervalMs: dueAt.getTime() - now.getTime(),
    reason: { rule: "told", text },
  };
}

/** What weighs for a feed now, besides what it does. */
export async function circumstancesOf(
  tx: Tx,
  feed: Pick<Feed, "id" | "user_id" | "connection_id">,
  kind: LearntKind,
  now: Date,
): Promise<Circumstances> {
  const termsOf = await findTerms(tx, [feed.connection_id]);
  const user = await tx
    .selectFrom("users")
    .select(["time_zone", "last_active_at", "last_virtual_mail_at"])
    .select((row) =>
      row
        .exists(
          row
            .selectFrom("meetings")
            .select("meetings.id")
            .whereRef("meetings.user_id", "=", "users.id")
            .where("meetings.cancelled_at", "is", null)
            .where("meetings.start_time", ">", now)
            .where("meetings.start_time", "<=", new Date(now.getTime() + soonMs)),
        )
        .as("has_meeting_soon"),
    )
    .where("users.id", "=", feed.user_id)
    .executeTakeFirst();
  const activeAt = user?.last_active_at?.getTime() ?? 0;
  const mailAt = user?.last_virtual_mail_at?.getTime() ?? 0;
  return {
    offsetMs: offsetOf(user?.time_zone ?? "UTC", now),
    ...termsOf(feed, kind, now),
    isActive: now.getTime() - activeAt < activeMs,
    isPressing:
      kind === "gmail"
        ? now.getTime() - mailAt < pressingMs
        : kind === "calendar" && Boolean(user?.has_meeting_soon),
  };
}

// Which calendars there are changes once in a while; nothing is to be learnt of it.
function lookAtList(now: Date, { watch }: WatchJudgement): FeedPatch {
  const isOpen = watch !== null;
  const intervalMs = (isOpen ? 6 : 1) * hourMs * (0.85 + 0.15 * Math.random());
  const text = isOpen
    ? "Push tells of new calendars; this look makes sure"
    : "Without push, the list of calendars is looked at every hour";
  return {
    due_at: new Date(now.getTime() + intervalMs),
    due_reason: { rule: isOpen ? "push_trusted" : "upper_bound", text, intervalMs },
  };
}

function lookWhole(now: Date): FeedPatch {
  const text = "Google gave no cursor for this calendar: it is read whole each time";
  return {
    due_at: new Date(now.getTime() + wholeAgainMs),
    due_reason: { rule: "no_cursor", text, intervalMs: wholeAgainMs },
  };
}
