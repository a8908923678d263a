import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { type RawBuilder, sql } from "kysely";
import { z } from "zod";
import { userOf } from "../api/session.ts";
import type { App } from "../app.ts";
import { type ListedEvent, listEvents } from "../meetings/event-list.ts";
import { putIntoProject } from "../meetings/meeting-list.ts";
import { getProject } from "../projects/projects.ts";
import { requestSync, waitForRuns } from "../sync/waiting.ts";
import { calendarsOf } from "./calendar.ts";
import { oldAddress } from "./old-address.ts";

// These answered with whole lists, and none that people make is longer.
const mostEvents = 10_000;
const mostMeetings = 2_000;
const dayMs = 86_400_000;

// What was sent empty counted as not sent.
const unset = z.literal("").transform(() => undefined);
const days = (usual: number) =>
  z
    .union([unset, z.coerce.number().int().min(0).max(3_660)])
    .default(usual)
    .transform((given) => given ?? usual);
const Project = z.looseObject({
  project_id: z.union([unset, z.guid()]).optional().describe("The project of the meetings"),
});
const spanOfDays = (past: number, future: number) => ({
  days_past: days(past).describe("How many days back"),
  days_future: days(future).describe("How many days ahead"),
});

type Span = { from: Date; to: Date };

/**
 * The old address of the calendar function: same fields, same shapes, of the caller's own calendars. It syncs as every
 * other call does, so that asking twice changes nothing, and what it lists is what is kept here.
 */
export const googleCalendarGateway: FastifyPluginAsyncZod<{ app: App }> = async (
  server,
  { app },
) => {
  const config = { who: "user" as const };

  server.get(
    "/google-calendar/events",
    {
      config,
      schema: oldAddress("sync the calendars, and list the meetings of some days", {
        querystring: Project.extend(spanOfDays(30, 60)),
      }),
    },
    async (request, reply) => {
      const userId = userOf(request);
      const { project_id } = request.query;
      if (project_id) await getProject(app, userId, project_id);
      const { from, to, sync_range } = spanOf(app, request.query);
      const before = await listSynced(app, userId, { from, to });
      const feeds = await calendarsOf(app, userId);
      await requestSync(app, feeds);
      const { error, isComplete } = await waitForRuns(app, feeds);
      if (error || !isComplete) {
        return reply.code(502).send({ ok: false, error: error ?? "It is still going on" });
      }
      const after = await listSynced(app, userId, { from, to });
      const known = new Map(before.map(({ id, updated_at }) => [id, updated_at?.getTime()]));
      const created = after.filter(({ id }) => !known.has(id));
      if (project_id) {
        const ids = created.map(({ id }) => id);
        await putIntoProject(app, userId, { ids, projectId: project_id });
      }
      const meetings = project_id ? await listSynced(app, userId, { from, to }) : after;
      const kept = after.filter(({ id }) => known.has(id));
      const events = await listEvents(app, userId, { from, to, limit: mostEvents });
      const skipped = events.filter(({ meeting_id }) => meeting_id === null);
      return {
        ok: true,
        meetings,
        total_events: events.length,
        meetings_with_urls: meetings.length,
        new_meetings: created.length,
        updated_meetings: kept.filter((one) => one.updated_at?.getTime() !== known.get(one.id))
          .length,
        deleted_meetings: before.length - kept.length,
        skipped_meetings: skipped.length,
        skipped_reasons: skipped.map(({ title }) => `${title}: no video link`),
        sync_range,
      };
    },
  );

  server.get(
    "/google-calendar/meetings",
    { config, schema: oldAddress("list the coming meetings", { querystring: Project }) },
    async (request) => {
      const userId = userOf(request);
      const { project_id: projectId } = request.query;
      if (projectId) await getProject(app, userId, projectId);
      const coming = sql`start_time >= ${app.clock.now()}`;
      const ofProject = sql`${coming} and project_id = ${projectId ?? null}`;
      return { ok: true, meetings: await listRows(app, userId, projectId ? ofProject : coming) };
    },
  );

  server.get(
    "/google-calendar/raw-events",
    {
      config,
      schema: oldAddress("list the events of some days, with or without a link", {
        querystring: z.looseObject(spanOfDays(7, 60)),
      }),
    },
    async (request) => {
      const { from, to, sync_range } = spanOf(app, request.query);
      const found = await listEvents(app, userOf(request), { from, to, limit: mostEvents });
      const events = found.map(googleShapeOf);
      const linked = events.filter(({ meeting_url }) => meeting_url !== null);
      return {
        ok: true,
        total_events: events.length,
        events_with_urls: linked.length,
        events,
        events_with_urls_only: linked.map(
          ({ attendees: _, description: __, ...shorter }) => shorter,
        ),
        sync_range,
      };
    },
  );
};

function spanOf(app: App, { days_past, days_future }: { days_past: number; days_future: number }) {
  const now = app.clock.now().getTime();
  const from = new Date(now - days_past * dayMs);
  const to = new Date(now + days_future * dayMs);
  const sync_range = { start_date: from, end_date: to, days_past, days_future };
  return { from, to, sync_range };
}

type Row = Record<string, unknown> & { id: string; updated_at: Date | null };

function listSynced(app: App, userId: string, { from, to }: Span): Promise<Row[]> {
  const isSynced = sql`google_calendar_event_id is not null and cancelled_at is null`;
  return listRows(app, userId, sql`${isSynced} and start_time >= ${from} and start_time < ${to}`);
}

async function listRows(app: App, userId: string, condition: RawBuilder<unknown>): Promise<Row[]> {
  const { rows } = await sql<Row>`
    select * from meetings where user_id = ${userId} and ${condition}
    order by start_time, id limit ${mostMeetings}
  `.execute(app.db);
  return rows;
}

// As Google writes it: a whole day by its dates, everything else by instants.
function googleShapeOf(event: ListedEvent) {
  const { start_date, end_date, start_time, end_time, time_zone: timeZone } = event;
  const at = (date: string | null, time: Date) => (date ? { date } : { dateTime: time, timeZone });
  return {
    id: event.event_id,
    summary: event.title,
    start: at(start_date, start_time),
    end: at(end_date, end_time),
    description: event.description,
    attendees: event.attendees,
    meeting_url: event.meeting_url,
    htmlLink: event.html_link,
  };
}
