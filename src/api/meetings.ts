import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import type { App } from "../app.ts";
import { BotConfiguration, meetingText } from "../meetings/bot-settings.ts";
import { whyBot } from "../meetings/bot-view.ts";
import { BotNotice, botStatuses } from "../meetings/bot-words.ts";
import { editMeeting, getMeeting, listMeetings, type Meeting } from "../meetings/meeting-list.ts";
import { listOf, listQuery, pageOf, readCursor } from "./lists.ts";
import { userOf } from "./session.ts";
import { Moment, Time, TimeKey } from "./times.ts";

const Attendees = z.array(z.looseObject({}));

const MeetingAnswer = z.object({
  id: z.guid().describe("The meeting"),
  title: z.string(),
  description: z
    .string()
    .nullable()
    .describe("The event's description as plain text; null for none"),
  meeting_url: z.string().nullable(),
  meeting_provider: z.string().nullable(),
  start_time: Time,
  end_time: Time,
  time_zone: z.string().nullable(),
  all_day: z.boolean(),
  status: z
    .enum(["upcoming", "running", "over", "cancelled"])
    .describe("How it stands now, by its times and its event"),
  event_status: z.enum(["accepted", "declined", "tentative", "needsAction"]).nullable(),
  google_calendar_event_id: z.string().nullable(),
  html_link: z.string().nullable(),
  organiser: z.looseObject({}).nullable(),
  attendees: Attendees,
  project_id: z.guid().nullable(),
  wants_bot: z.boolean().nullable(),
  has_bot: z.boolean(),
  bot_id: z.guid().nullable(),
  bot_status: z
    .string()
    .nullable()
    .describe("How far its bot is, `pending` without one; one of the statuses of a bot"),
  bot_name: z.string().nullable(),
  bot_chat_message: z.string().nullable(),
  bot_configuration: z.looseObject({}).nullable(),
  bot_deployment_method: z.string().nullable(),
  auto_scheduled_via_email: z.boolean(),
  virtual_email_attendee: z.string().nullable(),
  has_transcript: z.boolean(),
  cancelled_at: Time.nullable(),
  created_at: Time.nullable(),
  updated_at: Time.nullable(),
});

const Id = z.strictObject({ id: z.guid().describe("The meeting") });

/** Meetings: events with a link, and what their owner says about them. */
export const meetingRoutes: FastifyPluginAsyncZod<{ app: App }> = async (server, { app }) => {
  server.get(
    "/meetings",
    {
      config: { who: "user" },
      schema: {
        summary: "The caller's meetings, by start",
        tags: ["calendar"],
        querystring: z.strictObject({
          ...listQuery,
          from: Moment.optional().describe("Only what ends after this"),
          to: Moment.optional().describe("Only what begins before this"),
          status: z
            .enum(["upcoming", "running", "over", "cancelled"])
            .optional()
            .describe("Only those that are so now"),
          has_bot: z.stringbool().optional().describe("Only those with, or without, a bot"),
          project_id: z.guid().optional().describe("Only those of this project"),
          order: z
            .enum(["asc", "desc"])
            .default("asc")
            .describe("By start: `asc` the earliest first, `desc` the latest first"),
        }),
        response: { 200: listOf(MeetingAnswer) },
      },
    },
    async (request) => {
      const { limit, cursor, has_bot, project_id, ...filter } = request.query;
      const after = readCursor(TimeKey, cursor);
      const meetings = await listMeetings(app, userOf(request), {
        ...filter,
        hasBot: has_bot,
        projectId: project_id,
        after: after ? { startTime: new Date(after[0]), id: after[1] } : undefined,
        limit: limit + 1,
      });
      const now = app.clock.now();
      return pageOf(
        meetings.map((meeting) => answerOf(meeting, now)),
        limit,
        (meeting) => [meeting.start_time, meeting.id],
      );
    },
  );

  server.get(
    "/meetings/:id",
    {
      config: { who: "user" },
      schema: {
        summary: "One meeting",
        tags: ["calendar"],
        params: Id,
        response: { 200: MeetingAnswer },
      },
    },
    async (request) =>
      answerOf(await getMeeting(app, userOf(request), request.params.id), app.clock.now()),
  );

  server.patch(
    "/meetings/:id",
    {
      config: { who: "user" },
      schema: {
        summary: "Set a meeting's project, its bot's configuration, and whether it is to have one",
        description: "No sync overwrites what is set here. What is left out stays.",
        tags: ["calendar"],
        params: Id,
        body: z
          .strictObject({
            project_id: z.guid().nullable().optional(),
            wants_bot: z.boolean().nullable().optional(),
            bot_name: meetingText(200).min(1).optional(),
            bot_chat_message: meetingText(2000).optional(),
            bot_configuration: BotConfiguration.nullable()
              .optional()
              .refine((value) => JSON.stringify(value ?? {}).length <= 20_000, "is too large"),
          })
          .refine((body) => Object.keys(body).length > 0, "names nothing to change"),
        response: { 200: MeetingAnswer },
      },
    },
    async (request) => {
      const { id } = request.params;
      const meeting = await editMeeting(app, userOf(request), id, request.body);
      return answerOf(meeting, app.clock.now());
    },
  );

  server.get(
    "/meetings/:id/why",
    {
      config: { who: "user" },
      schema: {
        summary: "Why this meeting has a bot, or has none",
        tags: ["calendar"],
        params: Id,
        response: {
          200: z.object({
            decision: z
              .enum(["none", "send", "move", "cancel"])
              .describe("What is done about a bot; `none` leaves things as they are"),
            rule: z.string(),
            reason: z.string().describe("The decision in words"),
            inputs: z.looseObject({}),
            decided_at: Time,
            bot_id: z.guid().nullable().describe("The bot that it has, or had; null for none"),
            bot_status: z
              .enum(botStatuses)
              .nullable()
              .describe("How far that bot is; null for none"),
            notice: BotNotice.nullable().describe(
              "What became of that bot; null where there is nothing that one should know",
            ),
          }),
        },
      },
    },
    async (request) => {
      const why = await whyBot(app, userOf(request), request.params.id);
      return {
        ...why,
        decided_at: why.decided_at.toISOString(),
        notice: BotNotice.nullable().catch(null).parse(why.notice),
      };
    },
  );
};

function answerOf(meeting: Meeting, now: Date): z.input<typeof MeetingAnswer> {
  return {
    ...meeting,
    status: statusOf(meeting, now),
    attendees: Attendees.catch([]).parse(meeting.attendees),
    start_time: meeting.start_time.toISOString(),
    end_time: meeting.end_time.toISOString(),
    cancelled_at: meeting.cancelled_at?.toISOString() ?? null,
    created_at: meeting.created_at?.toISOString() ?? null,
    updated_at: meeting.updated_at?.toISOString() ?? null,
  };
}

function statusOf({ cancelled_at, start_time, end_time }: Meeting, now: Date) {
  if (cancelled_at) return "cancelled";
  if (end_time <= now) return "over";
  return start_time <= now ? "running" : "upcoming";
}
