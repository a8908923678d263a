import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import type { App } from "../app.ts";
import { AppError } from "../lib/errors.ts";
import { openUserEvents } from "../sync/user-events.ts";
import { userOf } from "./session.ts";

const heartbeatMs = 15_000;
// A page that stays open longer comes back by itself, with its session looked at again.
const longestMs = 60 * 60_000;
const streamsPerUser = 10;

const EventId = z.string().regex(/^\d{1,18}$/);

/** Tells open pages of changes as they are committed: server-sent events, for their own user only. */
export const eventRoutes: FastifyPluginAsyncZod<{ app: App }> = async (server, { app }) => {
  const userEvents = openUserEvents(app);
  const streams = new Map<string, Set<() => void>>();
  server.addHook("preClose", async () => {
    for (const end of [...streams.values()].flatMap((ends) => [...ends])) end();
  });
  server.addHook("onClose", () => userEvents[Symbol.asyncDispose]());

  server.get(
    "/events",
    {
      config: { who: "user" },
      // A stream has no end, and without a body not even a beginning.
      exposeHeadRoute: false,
      schema: {
        summary: "The caller's own changes as server-sent events",
        description:
          "With `Last-Event-ID`, or else `after`, begins with what came after it. An event may come twice.",
        tags: ["me"],
        querystring: z.strictObject({
          after: EventId.optional().describe(
            "Like `Last-Event-ID`, for the first time: `last_event_id` of `GET /me`",
          ),
        }),
        headers: z.looseObject({
          "last-event-id": EventId.optional().describe("The last event that the caller has seen"),
        }),
        response: {
          200: {
            description: "A stream of `id`, `event` and `data` (JSON)",
            content: { "text/event-stream": { schema: z.string() } },
          },
        },
      },
    },
    async (request, reply) => {
      const userId = userOf(request);
      const own = streams.get(userId) ?? new Set();
      if (own.size >= streamsPerUser) {
        throw new AppError("too_many_requests", `At most ${streamsPerUser} open streams a user`, {
          retryAfterSeconds: 30,
        });
      }
      reply.hijack();
      const { raw } = reply;
      raw.writeHead(200, {
        ...headersOf(reply.getHeaders()),
        "content-type": "text/event-stream; charset=utf-8",
        "x-accel-buffering": "no",
      });
      raw.write("retry: 2000\n\n");
      const subscription = userEvents.subscribe(
        userId,
        request.headers["last-event-id"] ?? request.query.after ?? null,
        (event) => {
          // Who does not read is let go, and catches up by Last-Event-ID.
          if (raw.writableLength > 1_000_000) return end();
          raw.write(
            `id: ${event.id}\nevent: ${event.type}\ndata: ${JSON.stringify(event.payload)}\n\n`,
          );
        },
      );
      const beat = async () => {
        // Who has signed out is told nothing more. A database that does not answer signs nobody out.
        const isProven = await server.isStillProven(request).catch(() => true);
        if (!isProven) end();
        if (!raw.writableEnded) raw.write(": still here\n\n");
      };
      const heartbeat = setInterval(beat, heartbeatMs);
      const lifetime = setTimeout(() => end(), longestMs);
      const end = () => {
        clearInterval(heartbeat);
        clearTimeout(lifetime);
        subscription.unsubscribe();
        own.delete(end);
        if (own.size === 0) streams.delete(userId);
        raw.end();
      };
      own.add(end);
      streams.set(userId, own);
      raw.on("close", end);
    },
  );
};

function headersOf(headers: Record<string, unknown>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, String(value)]],
    ),
  );
}
