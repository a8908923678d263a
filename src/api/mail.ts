import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import {
  isUsernameFree,
  ownersOf,
  setUsername,
  usernameProblem,
  virtualAddress,
} from "../accounts/users.ts";
import type { App } from "../app.ts";
import { addressedIn } from "../documents/assistant-address.ts";
import { decideHeld } from "../documents/mail.ts";
import {
  getDecision,
  getTrust,
  listDecisions,
  listDetections,
  setTrust,
} from "../documents/mail-list.ts";
import { comparable, parseAddresses } from "../lib/addresses.ts";
import { AppError } from "../lib/errors.ts";
import { type Feed, listFeeds } from "../sync/feeds.ts";
import { applyMail, findMailboxes } from "../sync/mailboxes.ts";
import { pollIfDue } from "../sync/polling.ts";
import { closePush, openPush } from "../sync/push.ts";
import { pushHealth } from "../sync/push-health.ts";
import { waitForRuns } from "../sync/waiting.ts";
import { listOf, listQuery, pageOf, readCursor } from "./lists.ts";
import { feedsAnswer, SyncAnswer, WaitsAnyway } from "./runs.ts";
import { userOf, userOrNull } from "./session.ts";
import { Time, TimeKey } from "./times.ts";

const Header = z.strictObject({
  name: z.string().max(200).describe("The header's name"),
  value: z.string().max(100_000).describe("What it says, raw"),
});
const Values = z.array(z.string().max(100_000)).max(100);
const Mailbox = z.object({
  name: z.string().nullable().describe("The name beside the address; null without one"),
  address: z.string(),
});

const DecisionWord = z
  .enum(["taken", "held", "refused"])
  .describe("`taken` becomes a document, `held` waits for the owner, who `refused` it otherwise");

const Decision = z.object({
  id: z.guid().describe("The decision"),
  message_id: z.string(),
  virtual_email: z.string(),
  email_type: z.enum(["to", "cc", "bcc"]),
  decision: DecisionWord,
  reason: z.string().describe("The decision in words"),
  subject: z.string().nullable(),
  sender: z.string().nullable(),
  received_at: Time.nullable().describe("When Gmail got the mail"),
  decided_at: Time,
  document_id: z.guid().nullable(),
});

const TrustBody = z.strictObject({
  mode: z
    .enum(["only_me", "my_domain", "list", "anyone"])
    .describe(
      "Whose mail is taken besides that in one's own mailbox: one's own, one's domain's, that of `senders`, anybody's",
    ),
  senders: z.array(z.string().min(3).max(320)).max(500).default([]),
});

const DecisionId = z.strictObject({ id: z.guid().describe("The held mail") });

/** Mail to the assistant: the username that makes its address, mailboxes, what was found in them, and whose mail counts. */
export const mailRoutes: FastifyPluginAsyncZod<{ app: App }> = async (server, { app }) => {
  server.post(
    "/user/username",
    {
      config: { who: "user", idempotent: true },
      schema: {
        summary: "Choose the caller's username, once, and with it their assistant's address",
        tags: ["mail"],
        body: z.strictObject({
          username: z
            .string()
            .max(200)
            .describe("3 to 30 letters and digits, a letter first; it cannot be changed"),
        }),
        response: {
          200: z.object({
            username: z.string().describe("The username that was chosen"),
            virtual_address: z.string().nullable(),
            email_address: z.string().nullable(),
          }),
        },
      },
    },
    async (request) => {
      const username = await setUsername(app, userOf(request), request.body.username);
      const address = virtualAddress(app, username);
      return { username, virtual_address: address, email_address: address };
    },
  );

  server.get(
    "/user/username/available",
    {
      config: { who: "user" },
      schema: {
        summary: "Whether a username can be chosen",
        tags: ["mail"],
        querystring: z.strictObject({ username: z.string().max(200).describe("The wished name") }),
        response: {
          200: z.object({
            available: z.boolean(),
            reason: z
              .string()
              .nullable()
              .describe("Why it is not available, in words; null if it is"),
          }),
        },
      },
    },
    async (request) => {
      const username = request.query.username.trim();
      const problem = usernameProblem(username);
      if (problem) return { available: false, reason: problem };
      const available = await isUsernameFree(app, username);
      return { available, reason: available ? null : "Username is already taken" };
    },
  );

  server.post(
    "/email/poll-gmail/:user_email",
    {
      config: { who: "user_or_service" },
      schema: {
        summary: "Poll a mailbox, unless push is healthy and recent",
        tags: ["mail"],
        params: z.strictObject({ user_email: z.string().max(320).describe("The mailbox") }),
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
      const userId = userOrNull(request);
      const feeds = await findMailboxes(app, request.params.user_email, userId);
      const { polled, reason } = await pollIfDue(app, feeds);
      const result = await waitForRuns(app, polled);
      const answer = await feedsAnswer(app, "gmail", feeds, result);
      return { ...answer, polled: polled.length > 0, reason };
    },
  );

  server.post(
    "/email/process-virtual-email",
    {
      config: { who: "service", idempotent: true },
      schema: {
        summary: "Read one message of a mailbox, and handle any assistant's address in it",
        tags: ["mail"],
        body: z.strictObject({
          user_email: z.string().max(320),
          message_id: z.string().min(1).max(200),
        }),
        response: { 200: z.object({ detected: z.int(), message_id: z.string() }) },
      },
    },
    async (request) => {
      const { user_email, message_id } = request.body;
      const [mailbox] = await findMailboxes(app, user_email, null);
      if (!mailbox) throw new AppError("not_found", `No mailbox ${user_email}`);
      const { detected } = await applyMail(app, mailbox, message_id);
      return { detected, message_id };
    },
  );

  server.post(
    "/email/detect-virtual-emails",
    {
      config: { who: "user" },
      schema: {
        summary: "Which assistants' addresses raw header values name",
        tags: ["mail"],
        body: z.strictObject({
          to: Values.default([]).describe("Raw values of To headers"),
          cc: Values.default([]),
          bcc: Values.default([]),
        }),
        response: {
          200: z.object({
            detections: z.array(
              z.object({
                virtual_email: z.string(),
                username: z.string().describe("The name in that address"),
                email_type: z.enum(["to", "cc", "bcc"]),
                known: z.boolean().describe("Whether that is somebody's username here"),
                is_you: z.boolean(),
              }),
            ),
          }),
        },
      },
    },
    async (request) => {
      const assistant = requireAssistant(app);
      const headers = Object.entries(request.body).flatMap(([name, values]) =>
        values.map((value) => ({ name, value })),
      );
      const found = addressedIn(headers, assistant);
      const names = found.map(({ username }) => username);
      const owners = await ownersOf(app, names);
      const userId = userOf(request);
      return {
        detections: found.map(({ address, username, type }) => ({
          virtual_email: address,
          username,
          email_type: type,
          known: owners.has(username),
          is_you: owners.get(username) === userId,
        })),
      };
    },
  );

  server.post(
    "/email/extract-addresses",
    {
      config: { who: "user" },
      schema: {
        summary: "The mailboxes of a header, parsed",
        tags: ["mail"],
        body: z.strictObject({
          headers: z.array(Header).max(500),
          header_name: z.string().min(1).max(200),
        }),
        response: {
          200: z.object({
            addresses: z.array(z.string()),
            mailboxes: z.array(Mailbox),
          }),
        },
      },
    },
    async (request) => {
      const wanted = request.body.header_name.toLowerCase();
      // Header by header: what lies beyond the limit is not parsed.
      const mailboxes = request.body.headers
        .values()
        .filter(({ name }) => name.toLowerCase() === wanted)
        .flatMap(({ value }) => parseAddresses(value))
        .take(1_000)
        .toArray();
      return {
        addresses: mailboxes.map(comparable),
        mailboxes: mailboxes.map(({ name, local, domain }) => ({
          name,
          address: `${local}@${domain}`,
        })),
      };
    },
  );

  addWatchRoutes(server, app);

  server.get(
    "/email/detections",
    {
      config: { who: "user" },
      schema: {
        summary: "Where the caller's assistant was addressed, latest first",
        tags: ["mail"],
        querystring: z.strictObject(listQuery),
        response: {
          200: listOf(
            z.object({
              id: z.guid().describe("The detection"),
              virtual_email: z.string(),
              username: z.string().describe("The name in that address"),
              email_type: z.string(),
              gmail_message_id: z.string(),
              detected_at: Time.nullable(),
              document_id: z.guid().nullable(),
            }),
          ),
        },
      },
    },
    async (request) => {
      const { limit, cursor } = request.query;
      const rows = await listDetections(app, userOf(request), {
        before: beforeOf(cursor),
        limit: limit + 1,
      });
      const page = pageOf(rows, limit, (row) => [row.place.toISOString(), row.id]);
      const items = page.items.map(({ user_id: _, place: __, detected_at, ...row }) => ({
        ...row,
        detected_at: detected_at?.toISOString() ?? null,
      }));
      return { ...page, items };
    },
  );

  for (const [url, only] of [
    ["/email/held", "held"],
    ["/email/messages", undefined],
  ] as const) {
    server.get(
      url,
      {
        config: { who: "user" },
        schema: {
          summary: only
            ? "Mails that wait for the caller to take or refuse them, latest first"
            : "What was decided about mails to the caller's assistant, latest first",
          tags: ["mail"],
          querystring: z.strictObject(listQuery),
          response: { 200: listOf(Decision) },
        },
      },
      async (request) => {
        const { limit, cursor } = request.query;
        const rows = await listDecisions(app, userOf(request), {
          decision: only,
          before: beforeOf(cursor),
          limit: limit + 1,
        });
        return pageOf(rows.map(decisionAnswer), limit, (row) => [row.decided_at, row.id]);
      },
    );
  }

  for (const [wish, decision] of [
    ["accept", "taken"],
    ["refuse", "refused"],
  ] as const) {
    server.post(
      `/email/held/:id/${wish}`,
      {
        config: { who: "user", idempotent: true },
        schema: {
          summary: wish === "accept" ? "Take a held mail" : "Refuse a held mail",
          tags: ["mail"],
          params: DecisionId,
          response: { 200: Decision },
        },
      },
      async (request) => {
        const userId = userOf(request);
        await decideHeld(app, userId, request.params.id, decision);
        return decisionAnswer(await getDecision(app, userId, request.params.id));
      },
    );
  }

  server.get(
    "/email/messages/:message_id/why",
    {
      config: { who: "user" },
      schema: {
        summary: "Why a mail was taken, is held, or was refused",
        tags: ["mail"],
        params: z.strictObject({
          message_id: z
            .string()
            .max(200)
            .describe("Gmail's id of the mail, or ours of the decision"),
        }),
        response: {
          200: z.object({
            decision: DecisionWord,
            rule: z.string(),
            reason: z.string().describe("The decision in words"),
            inputs: z.looseObject({}),
            decided_at: Time,
          }),
        },
      },
    },
    async (request) => {
      const found = await getDecision(app, userOf(request), request.params.message_id);
      const { decision, rule, reason, inputs, decided_at } = found;
      return { decision, rule, reason, inputs, decided_at: decided_at.toISOString() };
    },
  );

  const TrustAnswer = z.object({ mode: TrustBody.shape.mode, senders: z.array(z.string()) });
  server.get(
    "/email/trust",
    {
      config: { who: "user" },
      schema: {
        summary: "Whose mail the caller's assistant takes",
        tags: ["mail"],
        response: { 200: TrustAnswer },
      },
    },
    async (request) => {
      const { mode, senders } = await getTrust(app, userOf(request));
      return { mode, senders: [...senders] };
    },
  );
  server.put(
    "/email/trust",
    {
      config: { who: "user" },
      schema: {
        summary: "Set whose mail the caller's assistant takes",
        tags: ["mail"],
        body: TrustBody,
        response: { 200: TrustAnswer },
      },
    },
    async (request) => {
      const { mode, senders } = await setTrust(app, userOf(request), request.body);
      return { mode, senders: [...senders] };
    },
  );
};

const WatchAnswer = z.object({
  mailbox: z.string().nullable(),
  state: z
    .string()
    .describe(
      "open, unconfirmed (nothing came yet), none, not_offered, not_wanted or not_configured",
    ),
  text: z.string().describe("The state in words"),
  history_id: z.string().nullable(),
  expires_at: Time.nullable().describe("When push ends, if not renewed; null where it is not on"),
  last_notified_at: Time.nullable(),
});

const addWatchRoutes = (server: Parameters<typeof mailRoutes>[0], app: App) => {
  const answerOf = async (feeds: Feed[]) => {
    const push = await pushHealth(app, feeds);
    return {
      items: feeds.map((feed) => {
        const { state, text, expires_at, last_notified_at } = push(feed);
        return {
          mailbox: feed.account_email,
          state,
          text,
          history_id: feed.cursor,
          expires_at: expires_at?.toISOString() ?? null,
          last_notified_at: last_notified_at?.toISOString() ?? null,
        };
      }),
    };
  };
  const response = { 200: z.object({ items: z.array(WatchAnswer) }) };
  const mailboxesOf = (userId: string) => listFeeds(app, userId, ["gmail"]);

  server.get(
    "/email/watch",
    {
      config: { who: "user" },
      schema: { summary: "Push for the caller's mailboxes", tags: ["mail"], response },
    },
    async (request) => answerOf(await mailboxesOf(userOf(request))),
  );
  server.post(
    "/email/watch",
    {
      config: { who: "user", idempotent: true },
      schema: { summary: "Turn push on for the caller's mailboxes", tags: ["mail"], response },
    },
    async (request) => {
      const userId = userOf(request);
      await openPush(app, await mailboxesOf(userId));
      return answerOf(await mailboxesOf(userId));
    },
  );
  server.delete(
    "/email/watch",
    {
      config: { who: "user" },
      schema: {
        summary: "Turn push off for the caller's mailboxes; they are polled",
        tags: ["mail"],
        response: { 204: z.undefined() },
      },
    },
    async (request, reply) => {
      await closePush(app, userOf(request), ["gmail"]);
      return reply.code(204).send();
    },
  );
};

function requireAssistant(app: App): string {
  const address = app.config.virtualEmailAddress;
  if (!address)
    throw new AppError("conflict", "The assistant has no address (VIRTUAL_EMAIL_ADDRESS)");
  return address;
}

function beforeOf(cursor: string | undefined) {
  const key = readCursor(TimeKey, cursor);
  return key ? { at: new Date(key[0]), id: key[1] } : undefined;
}

type DecisionRow = Awaited<ReturnType<typeof listDecisions>>[number];

function decisionAnswer(row: DecisionRow): z.input<typeof Decision> {
  return {
    id: row.id,
    message_id: row.gmail_message_id,
    virtual_email: row.virtual_email,
    email_type: row.email_type,
    decision: row.decision,
    reason: row.reason,
    subject: row.subject,
    sender: row.sender,
    received_at: row.received_at?.toISOString() ?? null,
    decided_at: row.decided_at.toISOString(),
    document_id: row.document_id,
  };
}
