import { once } from "node:events";
import { finished, Readable } from "node:stream";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { type Connection, listConnections } from "../accounts/connections.ts";
import { deleteUser } from "../accounts/disconnect.ts";
import { grantNotices } from "../accounts/grant-health.ts";
import { exportUserRows, isOnlyExport } from "../accounts/user-data.ts";
import { getUser, virtualAddress } from "../accounts/users.ts";
import type { App } from "../app.ts";
import { AppError } from "../lib/errors.ts";
import { lastEventIdOf } from "../sync/user-events.ts";
import { clearSessionCookie } from "./cookies.ts";
import { userOf } from "./session.ts";
import { Time } from "./times.ts";

const Scopes = z.array(z.string());

const ConnectionAnswer = z.object({
  id: z.guid().describe("The connection"),
  provider: z.literal("google"),
  email: z.string().nullable().describe("The account's address; null where Google did not say"),
  name: z.string().nullable().describe("Whose account it is; null where Google did not say"),
  is_sign_in: z.boolean(),
  state: z
    .enum(["active", "reconnect_needed"])
    .describe("`reconnect_needed`: nothing of it is followed until it is connected again"),
  state_reason: z
    .enum(["grant_dead", "disconnected", "no_refresh_token"])
    .nullable()
    .describe(
      "Why: Google ended the grant, the user did, or it was never lasting; null while active",
    ),
  state_text: z.string(),
  scopes: Scopes,
  missing_scopes: Scopes,
  capabilities: z.array(
    z.object({
      name: z.enum(["calendar", "gmail", "drive"]).describe("What could be followed"),
      granted: z.boolean(),
      missing_scopes: Scopes,
    }),
  ),
  last_refreshed_at: Time.nullable(),
  connected_at: Time,
});

/**
 * What exports may take. Each keeps a connection to the database for as long as its caller reads, so that all of them
 * together get few of those that a process has, and nobody keeps one by not reading. A silence may be a little longer
 * than the longest statement.
 */
export const exportLimits = { atOnce: 2, silenceMs: 75_000, longestMs: 30 * 60_000 };

/** The signed-in person: profile, connections, all of their data, and the way out. */
export const meRoutes: FastifyPluginAsyncZod<{ app: App }> = async (server, { app }) => {
  server.get(
    "/me",
    {
      config: { who: "user" },
      schema: {
        summary: "Profile and connection state",
        tags: ["me"],
        response: {
          200: z.object({
            user: z.object({
              id: z.guid().describe("The user"),
              email: z.string().describe("The user's address"),
              name: z.string().nullable().describe("The user's name; null where it is not known"),
              username: z
                .string()
                .nullable()
                .describe("The name in the assistant's address; null until it is chosen"),
              virtual_address: z.string().nullable(),
              created_at: Time.nullable(),
            }),
            connections: z.array(ConnectionAnswer).describe("The user's Google accounts"),
            notices: z.array(
              z.object({
                code: z.string().describe("testing_client or many_grants_ended"),
                text: z.string().describe("What is wrong, and what to do"),
              }),
            ),
            last_event_id: z
              .string()
              .describe(
                "The user's last event: `after` for `GET /events`, which then tells of all that this answer and later ones may miss",
              ),
          }),
        },
      },
    },
    async (request) => {
      const userId = userOf(request);
      // Before all else: what changes meanwhile is told of afterwards.
      const lastEventId = await lastEventIdOf(app, userId);
      const [user, connections, notices] = await Promise.all([
        getUser(app, userId),
        listConnections(app, userId),
        grantNotices(app),
      ]);
      return {
        user: {
          id: user.id,
          email: user.email,
          name: user.name,
          username: user.username,
          virtual_address: virtualAddress(app, user.username),
          created_at: user.createdAt?.toISOString() ?? null,
        },
        connections: connections.map(connectionAnswer),
        notices,
        last_event_id: lastEventId,
      };
    },
  );

  server.delete(
    "/me",
    {
      config: { who: "user" },
      schema: {
        summary: "Delete everything of this user, and revoke their grants at Google",
        tags: ["me"],
        response: { 204: z.undefined() },
      },
    },
    async (request, reply) => {
      const userId = userOf(request);
      const deleted = await deleteUser(app, userId);
      request.log.info({ user_id: userId, ...deleted }, "user deleted");
      clearSessionCookie(app, reply);
      return reply.code(204).send();
    },
  );

  const exporting = new Set<string>();
  server.get(
    "/me/export",
    {
      config: { who: "user" },
      schema: {
        summary: "All data of this user, one JSON object a line: {table, row}",
        description:
          "One at a time for each user, and few for all of a process together; others are asked to wait by `Retry-After`. Whoever does not read, or not within half an hour, is cut off.",
        tags: ["me"],
        response: {
          200: {
            description: "One JSON object a line: the table, and the row without its secrets",
            content: { "application/x-ndjson": { schema: z.any() } },
          },
        },
      },
    },
    async (request, reply) => {
      const userId = userOf(request);
      refuseFurtherExport(exporting, userId);
      exporting.add(userId);
      const lines = Readable.from(exportLines(app, userId), { objectMode: false });
      const tooLong = new AppError("unavailable", "The export took too long to be read");
      const deadline = setTimeout(() => lines.destroy(tooLong), exportLimits.longestMs);
      // Closed only after the transaction has ended: until then its connection counts.
      lines.once("close", () => {
        clearTimeout(deadline);
        exporting.delete(userId);
      });
      finished(reply.raw, () => lines.destroy());
      // Whether it is the only one of its user is known once it has begun. Who leaves meanwhile ends it.
      await Promise.race([once(lines, "readable"), once(lines, "close")]);
      // Node then closes the connection.
      reply.raw.setTimeout(exportLimits.silenceMs);
      return reply
        .header("content-type", "application/x-ndjson; charset=utf-8")
        .header("content-disposition", 'attachment; filename="daybook-export.ndjson"')
        .send(lines);
    },
  );
};

const wait = { retryAfterSeconds: 30 };

function refuseFurtherExport(exporting: Set<string>, userId: string): void {
  if (exporting.has(userId)) throw oneAtATime();
  if (exporting.size >= exportLimits.atOnce)
    throw new AppError("unavailable", "Others are being exported. Try again in a moment.", wait);
}

function oneAtATime(): AppError {
  return new AppError("too_many_requests", "One export at a time a user", wait);
}

async function* exportLines(app: App, userId: string): AsyncGenerator<string> {
  const tx = await app.db
    .startTransaction()
    .setIsolationLevel("repeatable read")
    .setAccessMode("read only")
    .execute();
  try {
    if (!(await isOnlyExport(tx, userId))) throw oneAtATime();
    for await (const line of exportUserRows(tx, userId)) yield `${JSON.stringify(line)}\n`;
  } finally {
    await tx.rollback().execute();
  }
}

function connectionAnswer(connection: Connection): z.input<typeof ConnectionAnswer> {
  return {
    id: connection.id,
    provider: "google",
    email: connection.email,
    name: connection.name,
    is_sign_in: connection.isSignIn,
    state: connection.state,
    state_reason: connection.stateReason,
    state_text: stateText(connection),
    scopes: connection.scopes,
    missing_scopes: connection.missingScopes,
    capabilities: connection.capabilities.map(({ name, granted, missingScopes }) => ({
      name,
      granted,
      missing_scopes: missingScopes,
    })),
    last_refreshed_at: connection.lastRefreshedAt?.toISOString() ?? null,
    connected_at: connection.connectedAt.toISOString(),
  };
}

const reconnectTexts = {
  grant_dead: "Google has ended this connection. Reconnect to go on; nothing was lost.",
  disconnected:
    "Disconnected at your wish. You can still sign in with it; connect it to follow it again.",
  no_refresh_token: "Google gave no lasting permission. Reconnect and allow access.",
};

function stateText({ state, stateReason, missingScopes }: Connection): string {
  if (state === "reconnect_needed") return reconnectTexts[stateReason ?? "grant_dead"];
  return missingScopes.length === 0
    ? "Connected."
    : "Connected, but not for everything that Daybook can follow.";
}
