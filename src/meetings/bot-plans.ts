import { sql } from "kysely";
import type { Tx } from "../db/connection.ts";
import type { NewJob } from "../queue/queue.ts";
import { type BotPlan, botPlan } from "./bot-plan.ts";

/** Decides anew about the bots of some meetings. Returns the jobs that act on what calls for something. */
export async function planBots(tx: Tx, meetingIds: string[], now: Date): Promise<NewJob[]> {
  const plans = await decideBots(tx, meetingIds, now);
  return plans.filter(({ decision }) => decision !== "none").map(reconcileJob);
}

/** Has one meeting's bot brought in line with what was decided about it. */
export function reconcileJob({ meeting_id }: { meeting_id: string }): NewJob {
  return { name: "bots.reconcile", payload: { meetingId: meeting_id }, key: meeting_id };
}

/** Decides whether these meetings get a bot, and keeps each decision with its reason. */
export async function decideBots(
  tx: Tx,
  meetingIds: string[],
  now: Date,
): Promise<(BotPlan & { meeting_id: string })[]> {
  if (meetingIds.length === 0) return [];
  const { rows } = await sql<MeetingToPlan>`
    select meeting.id, meeting.meeting_url, meeting.start_time, meeting.end_time, meeting.event_status,
      meeting.cancelled_at, meeting.wants_bot, meeting.auto_scheduled_via_email, bots.id as bot_id,
      coalesce(bots.meeting_url, meeting.meeting_url) as bot_meeting_url,
      coalesce(bots.starts_at, meeting.start_time) as bot_starts_at, coalesce(bots.is_over or bots.wish is null, false) as bot_is_over,
      coalesce(bot_preferences.all_meetings, false) as all_meetings,
      coalesce(event.is_own, meeting.google_calendar_event_id is null) as is_own,
      coalesce(event.has_others, false) as has_others, coalesce(event.is_private, false) as is_private
    from meetings as meeting
    left join bots on bots.id = meeting.bot_id
    left join bot_preferences on bot_preferences.user_id = meeting.user_id
    left join lateral (
      select bool_or(feeds.is_primary) as is_own,
        bool_or(jsonb_array_length(coalesce(attendees, '[]')) > 1) as has_others,
        bool_or(visibility in ('private', 'confidential')) as is_private
      from calendar_events left join feeds on feeds.id = calendar_events.feed_id
      where calendar_events.user_id = meeting.user_id
        and calendar_events.event_id = meeting.google_calendar_event_id
    ) as event on true
    where meeting.id = any(${meetingIds}::uuid[])
  `.execute(tx);
  const plans = rows.map((row) => ({ meeting_id: row.id, ...decide(row, now) }));
  await sql`
    insert into bot_plans as kept (meeting_id, decision, rule, reason, inputs, decided_at)
    select meeting_id, decision, rule, reason, inputs, ${now}::timestamptz
    from jsonb_to_recordset(${JSON.stringify(plans)}::jsonb)
      as plan (meeting_id uuid, decision text, rule text, reason text, inputs jsonb)
    on conflict (meeting_id) do update
    set decision = excluded.decision, rule = excluded.rule, reason = excluded.reason, inputs = excluded.inputs,
      decided_at = excluded.decided_at
    where (kept.decision, kept.rule, kept.inputs) is distinct from (excluded.decision, excluded.rule, excluded.inputs)
  `.execute(tx);
  return plans;
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
  all_meetings: boolean;
  is_own: boolean;
  has_others: boolean;
  is_private: boolean;
};

function decide(row: MeetingToPlan, now: Date) {
  const inputs = {
    meetingUrl: row.meeting_url,
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
    },
  };
  const preference = { allMeetings: row.all_meetings };
  const planned = { ...inputs, bot: inputs.bot || null };
  return { ...botPlan(planned, preference, now), inputs: { ...planned, ...preference } };
}
