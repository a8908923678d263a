import { setTimeout as sleep } from "node:timers/promises";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { connectDelegatedMailbox, getMailboxOwner } from "../accounts/assistant.ts";
import { setUsername, usernameProblem, virtualAddress } from "../accounts/users.ts";
import { userOf, userOrNull } from "../api/session.ts";
import { acceptPush, PushEnvelope } from "../api/webhooks.ts";
import type { App } from "../app.ts";
import { AppError } from "../lib/errors.ts";
import { findFeed, listFeedsOf } from "../sync/feeds.ts";
import { findMailboxes } from "../sync/mailboxes.ts";
import { pollIfDue } from "../sync/polling.ts";
import { openPush } from "../sync/push.ts";
import { waitForRuns } from "../sync/waiting.ts";
import { answerCron } from "./crons.ts";
import { oldAddress, oldPost } from "./old-address.ts";

const Mailbox = z.looseObject({ userEmail: z.string().min(3).max(320) });

/** The old addresses of the mail functions: same fields, same shapes; whose mailbox it is is checked now. */
export const mailGateway: FastifyPluginAsyncZod<{ app: App }> = async (server, { app }) => {
  server.post(
    "/gmail-polling-service",
    { config: { who: "user_or_service" }, schema: oldPost("poll a mailbox") },
    async (request, reply) => {
      const named = Mailbox.safeParse(request.body);
      if (!named.success) return reply.code(400).send({ error: "userEmail is required" });
      const userId = userOrNull(request);
      const feeds = await findMailboxes(app, named.data.userEmail, userId);
      const { polled } = await pollIfDue(app, feeds);
      const result = await waitForRuns(app, polled);
      return {
        success: true,
        processed: result.processed,
        detections: result.virtualEmails,
        skipped: polled.length === 0,
      };
    },
  );

  answerCron(server, { name: "gmail-polling-cron", summary: "poll every mailbox" }, async () => {
    const feeds = await listFeedsOf(app, ["gmail"]);
    if (feeds.length === 0) {
      const message = "No active Gmail watches found";
      return { success: true, message, total_processed: 0, total_detections: 0 };
    }
    const { polled } = await pollIfDue(app, feeds);
    await waitForRuns(app, polled, { timeoutMs: 120_000 });
    const results = await Promise.all(
      feeds.map(async (feed) => {
        const user_email = feed.account_email;
        const isPolled = polled.some(({ id }) => id === feed.id);
        if (!isPolled) return { user_email, processed: 0, detections: 0, skipped: true };
        const { processed, virtualEmails, error } = await waitForRuns(app, [feed], {
          timeoutMs: 0,
        });
        if (error) return { user_email, error };
        return { user_email, processed, detections: virtualEmails, skipped: false };
      }),
    );
    const sum = (name: "processed" | "detections") =>
      results.reduce((total, one) => total + (name in one ? Number(one[name]) : 0), 0);
    return {
      success: true,
      message: `Gmail polling completed for ${feeds.length} users`,
      total_processed: sum("processed"),
      total_detections: sum("detections"),
      total_skipped: feeds.length - polled.length,
      results,
    };
  });

  server.post(
    "/gmail-notification-handler",
    {
      config: { who: "public", anonymous: true },
      schema: oldAddress("Pub/Sub says that a mailbox has news", { body: z.unknown().optional() }),
    },
    async (request) => {
      const envelope = PushEnvelope.safeParse(request.body);
      await acceptPush(app, request, envelope.data ?? { message: {} });
      return { success: true };
    },
  );

  server.post(
    "/setup-gmail-watch",
    { config: { who: "user_or_service" }, schema: oldPost("watch a mailbox") },
    async (request, reply) => {
      const named = Mailbox.safeParse(request.body);
      if (!named.success) return reply.code(400).send({ error: "userEmail is required" });
      const userId = userOrNull(request);
      const feeds = await mailboxesToWatch(app, named.data.userEmail, userId);
      // Where push is not set up the mailbox is polled; that is no failure.
      const [channel] = await openPush(app, feeds).catch((error: unknown) => {
        if (error instanceof AppError) return [];
        throw error;
      });
      const feed = feeds[0] && (await findFeed(app, feeds[0].id));
      const weekMs = 7 * 86_400_000;
      const expiration = channel?.expires_at ?? new Date(app.clock.now().getTime() + weekMs);
      return {
        success: true,
        historyId: feed?.cursor ?? null,
        expiration: expiration.toISOString(),
        watch_type: channel ? "push" : "polling",
      };
    },
  );

  server.post(
    "/set-username",
    { config: { who: "user" }, schema: oldPost("choose a username") },
    async (request, reply) => {
      const wished = z.looseObject({ username: z.string() }).safeParse(request.body);
      const failed = (message: string) => reply.code(400).send({ success: false, message });
      if (!wished.success) return failed("Username is required");
      const problem = usernameProblem(wished.data.username.trim());
      if (problem) return failed(problem);
      try {
        const username = await setUsername(app, userOf(request), wished.data.username);
        return {
          success: true,
          message: "Username set successfully",
          username,
          email_address: virtualAddress(app, username),
        };
      } catch (error) {
        if (error instanceof AppError) return failed(error.message);
        throw error;
      }
    },
  );
};

// A mailbox that nobody has connected can be reached by delegation, if an operator asks for it and the user is known.
async function mailboxesToWatch(app: App, email: string, userId: string | null) {
  try {
    const feeds = await findMailboxes(app, email, userId);
    await waitForFirst(app, feeds[0]?.id ?? "");
    return feeds;
  } catch (error) {
    const isUnknown = error instanceof AppError && error.code === "not_found";
    if (!isUnknown || userId !== null || !app.config.google.serviceAccount) throw error;
  }
  const owner = await getMailboxOwner(app, email);
  await connectDelegatedMailbox(app, { userId: owner.id, mailbox: email });
  for (let tries = 0; tries < 50; tries += 1) {
    const feeds = await findMailboxes(app, email, owner.id).catch(() => []);
    if (feeds[0]) {
      await waitForFirst(app, feeds[0].id);
      return feeds;
    }
    await sleep(100);
  }
  throw new AppError("unavailable", "The mailbox is being connected", { retryAfterSeconds: 5 });
}

// The answer names how far the mailbox is read, which its first look finds out.
async function waitForFirst(app: App, feedId: string): Promise<void> {
  for (let tries = 0; tries < 50; tries += 1) {
    const feed = await findFeed(app, feedId);
    if (!feed || feed.cursor !== null || feed.state !== "active") return;
    await sleep(100);
  }
}
