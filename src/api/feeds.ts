import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { tellUser } from "../accounts/tell-user.ts";
import type { App } from "../app.ts";
import { AppError } from "../lib/errors.ts";
import { enqueue } from "../queue/queue.ts";
import { chooseCalendar } from "../sync/calendar-list.ts";
import { type Feed, getFeed, listFeeds } from "../sync/feeds.ts";
import { pushHealth } from "../sync/push-health.ts";
import { listRuns } from "../sync/runs.ts";
import { requestSync, waitForRuns } from "../sync/waiting.ts";
import { listOf, listQuery, pageOf, readCursor } from "./lists.ts";
import { JobsAnswer, Wait } from "./runs.ts";
import { userOf } from "./session.ts";
import { Time } from "./times.ts";

const Push = z.object({
  state: z
    .enum(["open", "unconfirmed", "none", "not_offered", "not_wanted", "not_configured"])
    .describe(
      "`unconfirmed`: a channel is open and has said nothing yet; `none`: no channel is open",
    ),
  text: z.string().describe("The state in words"),
  expires_at: Time.nullable().describe("When the open channel ends; null where none is open"),
  last_notified_at: Time.nullable(),
  delivered: z.int(),
  missed: z.int(),
});

const FeedAnswer = z.object({
  id: z.guid().describe("The feed"),
  connection_id: z.guid().describe("The Google account that it is of"),
  account: z.string().nullable(),
  kind: z
    .enum(["calendar_list", "calendar", "gmail", "drive"])
    .describe("What is followed; `calendar_list` tells which calendars there are"),
  resource: z.string(),
  title: z.string().nullable(),
  is_primary: z.boolean(),
  is_wanted: z.boolean().nullable(),
  state: z
    .enum(["active", "paused", "stopped"])
    .describe("`paused` goes on once its account is connected again; `stopped` is not followed"),
  state_reason: z
    .string()
    .nullable()
    .describe(
      "Why it is not active: reconnect_needed, scope_missing, no_mailbox, not_wanted, gone or no_member; null while it is",
    ),
  is_reading: z.boolean(),
  reading: z
    .object({
      name: z.string().describe("What is read, such as all events"),
      seen: z.int().describe("How many entries so far"),
    })
    .nullable(),
  last_full_count: z
    .int()
    .nullable()
    .describe("How many entries the latest whole reading found; null before one"),
  last_success_at: Time.nullable().describe("When it was last read to the end; null before that"),
  last_change_at: Time.nullable(),
  last_full_at: Time.nullable(),
  staleness_seconds: z.int().nullable(),
  next_at: Time.nullable(),
  why: z.string().describe("Why it is looked at then, or is not, in words"),
  failures: z.int().describe("How many runs have failed since one succeeded"),
  last_error: z.string().nullable(),
  push: Push,
});

const RunAnswer = z.object({
  id: z.guid().describe("The run"),
  reason: z
    .enum(["start", "poll", "push", "person"])
    .describe(
      "Why it began: `start` the first, `poll` it was due, `push` told of news, `person` asked",
    ),
  mode: z
    .enum(["full", "delta"])
    .nullable()
    .describe("`full` read everything, `delta` what was new; null where it did not come to either"),
  outcome: z
    .enum(["succeeded", "failed", "interrupted"])
    .nullable()
    .describe("How it ended; `interrupted` goes on with its next page"),
  started_at: Time,
  duration_ms: z.int().nullable(),
  processed: z.int(),
  created: z.int(),
  updated: z.int(),
  deleted: z.int().describe("How many are gone here"),
  skipped: z.int(),
  pages: z.int(),
  provider_calls: z.int(),
  error: z.string().nullable(),
});

const Id = z.strictObject({ id: z.guid().describe("The feed") });
const RunKey = z.tuple([z.string().regex(/^\d{1,18}$/)]);

/** Feeds: what is followed, how current it is, when it is looked at next, and why. */
export const feedRoutes: FastifyPluginAsyncZod<{ app: App }> = async (server, { app }) => {
  const answers = async (feeds: Feed[]) => {
    const push = await pushHealth(app, feeds);
    return feeds.map((feed) => answerOf(feed, push(feed), app.clock.now()));
  };

  server.get(
    "/sync/feeds",
    {
      config: { who: "user" },
      schema: {
        summary: "What is followed for the caller, with its state",
        tags: ["sync"],
        response: { 200: z.object({ items: z.array(FeedAnswer) }) },
      },
    },
    async (request) => ({ items: await answers(await listFeeds(app, userOf(request))) }),
  );

  server.patch(
    "/sync/feeds/:id",
    {
      config: { who: "user" },
      schema: {
        summary: "Follow a calendar, or no longer",
        description: "Null leaves it to what is ticked in Google Calendar.",
        tags: ["sync"],
        params: Id,
        body: z.strictObject({ is_wanted: z.boolean().nullable() }),
        response: { 200: FeedAnswer },
      },
    },
    async (request) => {
      const userId = userOf(request);
      const feed = await getFeed(app, userId, request.params.id);
      if (feed.kind !== "calendar") {
        throw new AppError("conflict", "Only calendars can be chosen");
      }
      await app.db.transaction().execute(async (tx) => {
        const { jobs, events } = await chooseCalendar(app, tx, feed, request.body.is_wanted);
        await enqueue(app, tx, jobs);
        await tellUser(tx, userId, events);
      });
      const [answer] = await answers([await getFeed(app, userId, feed.id)]);
      if (!answer) throw new AppError("not_found", `No feed ${feed.id}`);
      return answer;
    },
  );

  server.post(
    "/sync/feeds/:id/sync",
    {
      config: { who: "user" },
      schema: {
        summary: "Sync one feed now",
        description: "With `full`, everything is read again, and what is gone is deleted.",
        tags: ["sync"],
        params: Id,
        querystring: Wait,
        body: z.strictObject({ full: z.boolean().optional() }).optional(),
        response: { 200: FeedAnswer, 202: JobsAnswer },
      },
    },
    async (request, reply) => {
      const userId = userOf(request);
      const feed = await getFeed(app, userId, request.params.id);
      if (feed.state !== "active")
        throw new AppError("conflict", "This is not followed at the moment");
      const jobIds = await requestSync(app, [feed], { full: request.body?.full ?? false });
      if (!request.query.wait) {
        return reply.code(202).send({ job_id: jobIds[0] ?? null, job_ids: jobIds });
      }
      await waitForRuns(app, [feed]);
      const [answer] = await answers([await getFeed(app, userId, feed.id)]);
      if (!answer) throw new AppError("not_found", `No feed ${feed.id}`);
      return answer;
    },
  );

  server.get(
    "/sync/feeds/:id/why",
    {
      config: { who: "user" },
      schema: {
        summary: "When this feed is looked at next, and why then",
        tags: ["sync"],
        params: Id,
        response: {
          200: z.object({
            next_at: Time.nullable(),
            decision: z.string().describe("Whether it is looked at again, and when, in words"),
            rule: z.string(),
            reason: z.string().describe("Why then, in words"),
            inputs: z.looseObject({}),
            decided_at: Time.nullable().describe("When it was last looked at; null before that"),
            push: Push,
          }),
        },
      },
    },
    async (request) => {
      const feed = await getFeed(app, userOf(request), request.params.id);
      const push = (await pushHealth(app, [feed]))(feed);
      const { rule = feed.state, text: _text, ...inputs } = DueReason.parse(feed.due_reason ?? {});
      return {
        next_at: feed.due_at?.toISOString() ?? null,
        decision: feed.due_at ? `Looked at again at ${feed.due_at.toISOString()}` : "Not looked at",
        rule,
        reason: whyOf(feed),
        inputs,
        decided_at: feed.last_run_at?.toISOString() ?? null,
        push: pushAnswer(push),
      };
    },
  );

  server.get(
    "/sync/feeds/:id/runs",
    {
      config: { who: "user" },
      schema: {
        summary: "What the runs of a feed did, latest first",
        tags: ["sync"],
        params: Id,
        querystring: z.strictObject(listQuery),
        response: { 200: listOf(RunAnswer) },
      },
    },
    async (request) => {
      const { limit, cursor } = request.query;
      const feed = await getFeed(app, userOf(request), request.params.id);
      const [before] = readCursor(RunKey, cursor) ?? [];
      const runs = await listRuns(app, feed.id, { before, limit: limit + 1 });
      const page = pageOf(runs, limit, (run) => [run.run_number]);
      const items = page.items.map((run) => ({ ...run, started_at: run.started_at.toISOString() }));
      return { ...page, items };
    },
  );
};

const DueReason = z.looseObject({ rule: z.string().optional(), text: z.string().optional() });

const stateTexts: Record<string, string> = {
  reconnect_needed: "The Google account has to be connected again",
  scope_missing: "The Google account was connected without permission for this",
  no_mailbox: "The Google account has no mailbox",
  not_wanted: "It is not followed, by choice or because it is not ticked in Google Calendar",
  gone: "It is no longer in the account's list",
  no_member:
    "The account is no member of this shared drive; of what it sees there its own log tells",
};

function whyOf({ state, state_reason, due_reason }: Feed): string {
  if (state !== "active") return stateTexts[state_reason ?? ""] ?? "It is not followed";
  return DueReason.parse(due_reason ?? {}).text ?? "It was not read yet";
}

const ReadingNow = z.object({ name: z.string(), seen: z.int() });
const Counted = z.looseObject({ lastFullCount: z.int() });

type PushOf = ReturnType<Awaited<ReturnType<typeof pushHealth>>>;

function pushAnswer(push: PushOf): z.input<typeof Push> {
  return {
    ...push,
    expires_at: push.expires_at?.toISOString() ?? null,
    last_notified_at: push.last_notified_at?.toISOString() ?? null,
  };
}

function answerOf(feed: Feed, push: PushOf, now: Date): z.input<typeof FeedAnswer> {
  const success = feed.last_success_at;
  return {
    id: feed.id,
    connection_id: feed.connection_id,
    account: feed.account_email,
    kind: feed.kind,
    resource: feed.resource,
    title: feed.title,
    is_primary: feed.is_primary,
    is_wanted: feed.is_wanted,
    state: feed.state,
    state_reason: feed.state_reason,
    is_reading: feed.lease_until !== null,
    reading: ReadingNow.safeParse(feed.reading).data ?? null,
    last_full_count: Counted.safeParse(feed.details).data?.lastFullCount ?? null,
    last_success_at: success?.toISOString() ?? null,
    last_change_at: feed.last_change_at?.toISOString() ?? null,
    last_full_at: feed.last_full_at?.toISOString() ?? null,
    staleness_seconds: success
      ? Math.max(0, Math.round((now.getTime() - success.getTime()) / 1000))
      : null,
    next_at: feed.due_at?.toISOString() ?? null,
    why: whyOf(feed),
    failures: feed.failures,
    last_error: feed.last_error,
    push: pushAnswer(push),
  };
}
