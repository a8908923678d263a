import { sql } from "kysely";
import type { Tx } from "../db/connection.ts";
import type { NewJob } from "../queue/queue.ts";
import { type BotPlan, botPlan } from "./bot-plan.ts";
import { isAttendeeJoinable } from "./meeting-url.ts";

/** A meeting that begins this soon has the bot that is there, if need be at another time than its own. */
export const nearMs = 10 * 60_000;

/** Decides anew about the bots of some meetings. Returns the jobs that act on what calls for something. */
export async function planBots(tx: Tx, meetingIds: string[], now: Date): Promise<NewJob[]> {
  const plans = await decideBots(tx, meetingIds, now);
  // One that has its bot may last longer now, or want it to be otherwise, or by another name.
  return plans
    .filter(({ decision, rule }) => decision !== "none" || rule === "served")
    .map(reconcileJob);
}

/** Has one meeting's bot brought in line with what was decided about it. */
export function reconcileJob({ meeting_id }: { meeting_id: string }): NewJob {
  return { name: "bots.reconcile", payload: { meetingId: meeting_id }, key: meeting_id };
}

/** What its owner said of a `meeting`'s bot. The older product's pages mark one that is to have a bot as `scheduled`. */
export const wantsBot = sql<boolean | null>`coalesce(meeting.wants_bot,
  case when meeting.bot_deployment_method = 'scheduled' and meeting.auto_scheduled_via_email is not true then true end)`;

/** Decides whether these meetings get a bot, and keeps each decision with its reason. */
export async function decideBots(
  tx: Tx,
  meetingIds: string[],
  now: Date,
): Promise<(BotPlan & { meeting_id: string })[]> {
  if (meetingIds.length === 0) return [];
  const { rows } = await sql<MeetingToPlan>`
    select meeting.id, meeting.meeting_url, meeting.start_time, meeting.end_time, meeting.event_status,
      meeting.cancelled_at, ${wantsBot} as wants_bot, meeting.auto_scheduled_via_email, bots.id as bot_id,
      coalesce(meeting.bot_link, meeting.meeting_url) as bot_meeting_url,
      coalesce(bots.is_over or bots.wish is null, false) as bot_is_over,
      coalesce(bots.wish = 'leave', false) as bot_is_leaving,
      -- One that is on its way or there need not be moved by a few minutes: it is where it should be, also once time is up.
      -- And one that was there while the meeting ran was this meeting's, by whosever time it came; one that never set out
      -- was not.
      case when bots.starts_at is null or (bots.state <> 'scheduled' and bots.wish = 'attend' and not bots.is_over
          and meeting.start_time < ${new Date(now.getTime() + nearMs)}
          and meeting.end_time > least(${now}::timestamptz, bots.starts_at))
          or (bots.state <> 'scheduled' and bots.is_over and meeting.start_time < bots.over_at
            and meeting.end_time > bots.starts_at)
        then meeting.start_time else bots.starts_at end as bot_starts_at,
      coalesce(bot_preferences.all_meetings, false) as all_meetings,
      coalesce(event.is_own, meeting.google_calendar_event_id is null) as is_own,
      coalesce(event.has_others, false) as has_others, coalesce(event.is_private, false) as is_private
    from meetings as meeting
    left join bots on bots.id = meeting.bot_id
    left join bot_preferences on bot_preferences.user_id = meeting.user_id
    left join lateral (
      select bool_or(feeds.is_primary) as is_own,
        bool_or((
          select count(*) from jsonb_array_elements(coalesce(attendees, '[]')) as guest
          where (guest ->> 'self')::boolean is not true and (guest ->> 'resource')::boolean is not true
        ) > cardinality(virtual_usernames)) as has_others,
        bool_or(visibility in ('private', 'confidential')) as is_private
      from calendar_events left join feeds on feeds.id = calendar_events.feed_id
      where calendar_events.user_id = meeting.user_id
        and calendar_events.event_id = meeting.google_calendar_event_id
    ) as event on true
    where meeting.id = any(${meetingIds}::uuid[])
  `.execute(tx);
  const plans = rows.map((row) => ({ meeting_id: row.id, ...decide(row, now) }));
  await sql`
    insert into bot_plans as kept (meeting_id, decision, rule, reason, is_wanted, inputs, decided_at)
    select meeting_id, decision, rule, reason, "isWanted", inputs, ${now}::timestamptz
    from jsonb_to_recordset(${JSON.stringify(plans)}::jsonb)
      as plan (meeting_id uuid, decision text, rule text, reason text, "isWanted" boolean, inputs jsonb)
    -- Two at once lock them in the same order.
    order by meeting_id
    on conflict (meeting_id) do update
    set decision = excluded.decision, rule = excluded.rule, reason = excluded.reason, is_wanted = excluded.is_wanted,
      inputs = excluded.inputs, decided_at = excluded.decided_at
    where (kept.decision, kept.rule, kept.is_wanted, kept.inputs)
      is distinct from (excluded.decision, excluded.rule, excluded.is_wanted, excluded.inputs)
  `.execute(tx);
  return plans;
}

/** The meetings that have a bot and want one. */
export async function sharersOf(tx: Tx, botId: string): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select meetings.id from meetings join bot_plans on bot_plans.meeting_id = meetings.id
    where meetings.bot_id = ${botId} and bot_plans.is_wanted
  `.execute(tx);
  return rows.map(({ id }) => id);
}

type MeetingToPlan = {
  id: string;
  meeting_url: string | null;
  start_time: Date;
  end_time: Date;
  event_status: string | null;
  cancelled_at: Date | null;
  wants_bot: boolean | null;
  auto_scheduled_via_email: boolean | null;
  bot_id: string | null;
  bot_meeting_url: string | null;
  bot_starts_at: Date;
  bot_is_over: boolean;
  bot_is_leaving: boolean;
  all_meetings: boolean;
  is_own: boolean;
  has_others: boolean;
  is_private: boolean;
};

function decide(row: MeetingToPlan, now: Date) {
  const inputs = {
    meetingUrl: row.meeting_url,
    isJoinable: row.meeting_url !== null && isAttendeeJoinable(row.meeting_url),
    startTime: row.start_time,
    endTime: row.end_time,
    eventStatus: row.event_status,
    isCancelled: row.cancelled_at !== null,
    isAssistantInvited: row.auto_scheduled_via_email === true,
    wantsBot: row.wants_bot,
    isOwn: row.is_own,
    hasOthers: row.has_others,
    isPrivate: row.is_private,
    bot: row.bot_id && {
      meetingUrl: row.bot_meeting_url,
      startTime: row.bot_starts_at,
      isOver: row.bot_is_over,
      isLeaving: row.bot_is_leaving,
    },
  };
  const preference = { allMeetings: row.all_meetings };
  const planned = { ...inputs, bot: inputs.bot || null };
  return { ...botPlan(planned, preference, now), inputs: { ...planned, ...preference } };
}
