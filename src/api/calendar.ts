import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import type { App } from "../app.ts";
import { AppError } from "../lib/errors.ts";
import { listEvents } from "../meetings/event-list.ts";
import { applyDeletion, applyEvent } from "../sync/apply-one.ts";
import { type Feed, listFeeds } from "../sync/feeds.ts";
import { pollIfDue } from "../sync/polling.ts";
import { closePush, openPush } from "../sync/push.ts";
import { requestSync, waitForRuns } from "../sync/waiting.ts";
import { listOf, listQuery, pageOf, readCursor } from "./lists.ts";
import { feedsAnswer, JobsAnswer, SyncAnswer, UserId, Wait, WaitsAnyway } from "./runs.ts";
import { targetUser, userOf } from "./session.ts";
import { Moment, Time, TimeKey } from "./times.ts";

const Person = z.looseObject({});

const EventAnswer = z.object({
  id: z.guid().describe("Our id of the event"),
  event_id: z.string().describe("Google's id of the event"),
  calendar_id: z.string(),
  calendar_title: z.string().nullable(),
  feed_id: z.guid().nullable(),
  recurring_event_id: z.string().nullable(),
  title: z.string(),
  description: z
    .string()
    .nullable()
    .describe("As Google gives it, which may be HTML; null for none"),
  location: z.string().nullable().describe("Where it is, in any words; null where nothing is said"),
  start_time: Time,
  end_time: Time,
  all_day: z.boolean(),
  start_date: z.string().nullable(),
  end_date: z.string().nullable(),
  time_zone: z.string().nullable(),
  status: z.string().nullable().describe("Google's word: confirmed or tentative"),
  event_type: z.string(),
  visibility: z.string(),
  transparency: z.string().nullable(),
  response_status: z.string().nullable(),
  organiser: Person.nullable(),
  attendees: z.array(Person),
  meeting_url: z.string().nullable(),
  meeting_provider: z.string().nullable(),
  html_link: z.string().nullable(),
  meeting_id: z.guid().nullable(),
});

/** Calendars: reading them, pushing them, and what is in them. */
export const calendarRoutes: FastifyPluginAsyncZod<{ app: App }> = async (server, { app }) => {
  server.post(
    "/calendar/poll/:user_id",
    {
      config: { who: "user_or_service" },
      schema: {
        summary: "Poll a user's calendars, unless push is healthy and recent",
        tags: ["calendar"],
        params: UserId,
        querystring: WaitsAnyway,
        response: {
          200: SyncAnswer.extend({
            polled: z.boolean(),
            reason: z.string().describe("Why it was polled or not, in words"),
          }),
        },
      },
    },
    async (request) => {
      const feeds = await calendarsOf(app, targetUser(request, request.params.user_id));
      const { polled, reason } = await pollIfDue(app, feeds);
      const result = await waitForRuns(app, polled);
      return {
        ...(await feedsAnswer(app, "calendar", feeds, result)),
        polled: polled.length > 0,
        reason,
      };
    },
  );

  server.post(
    "/calendar/sync/:user_id",
    {
      config: { who: "user_or_service" },
      schema: {
        summary: "Sync a user's calendars now",
        description: "With `full`, everything is read again, and what is gone is deleted.",
        tags: ["calendar"],
        params: UserId,
        querystring: Wait,
        body: z.strictObject({ full: z.boolean().optional() }).optional(),
        response: { 200: SyncAnswer, 202: JobsAnswer },
      },
    },
    async (request, reply) => {
      const feeds = await calendarsOf(app, targetUser(request, request.params.user_id));
      const jobIds = await requestSync(app, feeds, { full: request.body?.full ?? false });
      if (!request.query.wait) {
        return reply.code(202).send({ job_id: jobIds[0] ?? null, job_ids: jobIds });
      }
      return feedsAnswer(app, "calendar", feeds, await waitForRuns(app, feeds));
    },
  );

  const Outcome = z.object({
    action: z
      .enum(["created", "updated", "deleted", "none"])
      .describe("What became of the event here; `none` where nothing changed"),
    meeting_ids: z.array(z.string()),
  });

  server.post(
    "/calendar/process-event",
    {
      config: { who: "service", idempotent: true },
      schema: {
        summary: "Apply one of Google's events as a sync would",
        tags: ["calendar"],
        body: z.strictObject({
          user_id: z.guid().describe("Whose calendar"),
          event: z
            .looseObject({ id: z.string().min(1).max(1024).describe("Google's id of the event") })
            .describe("As Google sends it"),
        }),
        response: { 200: Outcome },
      },
    },
    async (request) => {
      const { action, meetingIds } = await applyEvent(
        app,
        request.body.user_id,
        request.body.event,
      );
      return { action, meeting_ids: meetingIds };
    },
  );

  server.post(
    "/calendar/handle-deletion",
    {
      config: { who: "service", idempotent: true },
      schema: {
        summary: "Treat an event as deleted",
        tags: ["calendar"],
        body: z.strictObject({
          user_id: z.guid().describe("Whose calendars"),
          event_id: z.string().min(1).max(1024).describe("Google's id of the event"),
        }),
        response: { 200: Outcome },
      },
    },
    async (request) => {
      const { user_id, event_id } = request.body;
      const { action, meetingIds } = await applyDeletion(app, user_id, event_id);
      return { action, meeting_ids: meetingIds };
    },
  );

  const Watches = z.object({
    watches: z.array(
      z.object({
        feed_id: z.guid(),
        calendar_id: z.string(),
        channel_id: z.guid(),
        resource_id: z.string().nullable(),
        expires_at: Time.describe("When the channel ends; it is replaced before"),
      }),
    ),
  });

  server.post(
    "/calendar/watch",
    {
      config: { who: "user", idempotent: true },
      schema: {
        summary: "Open the push channels of the caller's calendars",
        description: "Those that are open stay. 409 without a public https address.",
        tags: ["calendar"],
        response: { 200: Watches },
      },
    },
    async (request) => {
      const open = await openPush(app, await calendarsOf(app, userOf(request)));
      const watches = open.map(({ expires_at, ...watch }) => ({
        ...watch,
        expires_at: expires_at.toISOString(),
      }));
      return { watches };
    },
  );

  server.delete(
    "/calendar/watch",
    {
      config: { who: "user" },
      schema: {
        summary: "Close the push channels; polling goes on",
        tags: ["calendar"],
        response: { 204: z.undefined() },
      },
    },
    async (request, reply) => {
      await closePush(app, userOf(request), ["calendar", "calendar_list"]);
      return reply.code(204).send();
    },
  );

  server.get(
    "/calendar/events",
    {
      config: { who: "user" },
      schema: {
        summary: "The events of the caller's calendars, by start",
        tags: ["calendar"],
        querystring: z.strictObject({
          ...listQuery,
          from: Moment.optional().describe("Only what ends after this"),
          to: Moment.optional().describe("Only what begins before this"),
          status: z
            .enum(["confirmed", "tentative"])
            .optional()
            .describe("Only those that Google calls so"),
          has_bot: z.stringbool().optional().describe("Only those with, or without, a bot"),
          calendar_id: z.string().max(1000).optional().describe("Only those of this calendar"),
        }),
        response: { 200: listOf(EventAnswer) },
      },
    },
    async (request) => {
      const { limit, cursor, has_bot, calendar_id, ...filter } = request.query;
      const after = readCursor(TimeKey, cursor);
      const events = await listEvents(app, userOf(request), {
        ...filter,
        hasBot: has_bot,
        calendarId: calendar_id,
        after: after ? { startTime: new Date(after[0]), id: after[1] } : undefined,
        limit: limit + 1,
      });
      const items = events.map((event) => ({
        ...event,
        attendees: z.array(Person).catch([]).parse(event.attendees),
        start_time: event.start_time.toISOString(),
        end_time: event.end_time.toISOString(),
      }));
      return pageOf(items, limit, (event) => [event.start_time, event.id]);
    },
  );
};

async function calendarsOf(app: App, userId: string): Promise<Feed[]> {
  const feeds = await listFeeds(app, userId, ["calendar_list", "calendar"]);
  if (feeds.length === 0) {
    throw new AppError(
      "conflict",
      "No calendar is connected: connect a Google account that allows it",
    );
  }
  return feeds;
}
