import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { userOf } from "../api/session.ts";
import type { App } from "../app.ts";
import { AppError } from "../lib/errors.ts";
import type { Feed } from "../sync/feeds.ts";
import { closePush, listOpenChannels, type OpenChannel } from "../sync/push.ts";
import { pushHealth } from "../sync/push-health.ts";
import { sourceOf } from "../sync/sources.ts";
import { calendarsOf, reopen } from "./calendar.ts";
import { oldAddress } from "./old-address.ts";

const Action = z.enum(["stop", "recreate", "verify", "test"]);

/**
 * The old address where people minded their calendar's channel: same actions, same shapes, for all of their calendars at
 * once. A new channel is opened before the old one is closed.
 */
export const calendarChannelGateway: FastifyPluginAsyncZod<{ app: App }> = async (
  server,
  { app },
) => {
  server.post(
    "/manage-calendar-webhook",
    {
      config: { who: "user" },
      schema: oldAddress("stop, recreate, verify or test the push channels", {
        body: z.looseObject({}).optional(),
        querystring: z.looseObject({
          action: z.string().optional().describe("stop, recreate, verify or test"),
        }),
      }),
    },
    async (request, reply) => {
      const action = Action.safeParse(request.query.action).data;
      if (!action) {
        const error = "Invalid action. Use stop, recreate, verify, or test";
        return reply.code(400).send({ error });
      }
      try {
        return { success: true, ...(await act(app, userOf(request), action)) };
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
        return reply.code(error.status).send({ success: false, error: error.message });
      }
    },
  );
};

async function act(app: App, userId: string, action: z.output<typeof Action>) {
  const feeds = await calendarsOf(app, userId);
  if (action === "recreate") {
    return { message: "Webhook recreated successfully", ...(await reopen(app, feeds)) };
  }
  const ids = feeds.map(({ id }) => id);
  const [channel] = await listOpenChannels(app, ids);
  if (!channel) throw new AppError("not_found", "No active webhook found");
  if (action === "verify") {
    return { message: "Webhook verified and refreshed", ...(await reopen(app, feeds)) };
  }
  if (action === "test") return tested(app, feeds, channel);
  await closePush(app, userId, ["calendar", "calendar_list"]);
  return { message: "Webhook stopped successfully", webhook_id: channel.channel_id };
}

// That Google's own word arrived proves more than a call of ours to ourselves would.
async function tested(app: App, feeds: Feed[], { feed_id, channel_id }: OpenChannel) {
  const feed = feeds.find(({ id }) => id === feed_id);
  if (!feed) throw new AppError("not_found", "No active webhook found");
  const push = (await pushHealth(app, feeds))(feed);
  if (push.state !== "open") {
    throw new AppError("malformed", `Webhook URL test failed: ${push.text}`);
  }
  return {
    message: "Webhook URL is accessible",
    webhook_url: sourceOf(feed.kind).channel.targetOf(app.config),
    webhook_id: channel_id,
    test_response: push.text,
  };
}
