import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { lookAt, outcomeSince, pollFile } from "../api/drive.ts";
import { userOrNull } from "../api/session.ts";
import { ChannelHeaders, messageOf } from "../api/webhooks.ts";
import type { App } from "../app.ts";
import { getWatchedFile } from "../documents/file-subscriptions.ts";
import { AppError } from "../lib/errors.ts";
import { drivesFolder } from "../sync/drive.ts";
import { followFile } from "../sync/drive-feeds.ts";
import { listFeedsOf } from "../sync/feeds.ts";
import { acceptNotification } from "../sync/notifications.ts";
import { pollIfDue } from "../sync/polling.ts";
import { openPush } from "../sync/push.ts";
import { waitForRuns } from "../sync/waiting.ts";
import { answerCron } from "./crons.ts";
import { oldPost } from "./old-address.ts";

const text = z.string().min(1).max(200);
const Polling = z.looseObject({ fileId: text, documentId: z.guid() });
// Both spellings were in use.
const Subscription = z
  .looseObject({
    document_id: z.guid().optional(),
    documentId: z.guid().optional(),
    file_id: text.optional(),
    fileId: text.optional(),
    user_id: z.guid().optional(),
    userId: z.guid().optional(),
  })
  .transform((body) => ({
    documentId: body.document_id ?? body.documentId,
    fileId: body.file_id ?? body.fileId,
    userId: body.user_id ?? body.userId,
  }));

/** The old addresses of the Drive functions: same fields, same shapes; whose file it is is checked now. */
export const driveGateway: FastifyPluginAsyncZod<{ app: App }> = async (server, { app }) => {
  server.post(
    "/drive-polling-service",
    { config: { who: "user_or_service" }, schema: oldPost("look for changes of a file") },
    async (request, reply) => {
      const named = Polling.safeParse(request.body);
      if (!named.success) return reply.code(400).send({ error: "Missing fileId or documentId" });
      const { fileId, documentId } = named.data;
      const file = await getWatchedFile(app, userOrNull(request), { fileId, documentId });
      const message = `Drive polling completed for file ${fileId}`;
      const { polled } = await pollFile(app, file);
      if (!polled) return { success: true, message, processed: false, skipped: true };
      try {
        await lookAt(app, file);
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
        return { success: true, message, processed: false, skipped: false, error: error.message };
      }
      const { action } = await outcomeSince(app, file);
      return {
        success: true,
        message,
        processed: true,
        skipped: false,
        ...(action === "none" ? {} : { action: action === "restored" ? "updated" : action }),
      };
    },
  );

  answerCron(
    server,
    { name: "drive-polling-cron", summary: "look for changes of every file" },
    async () => {
      const files = await followedFiles(app);
      if (files.length === 0) {
        const message = "No active drive file watches found";
        return {
          success: true,
          message,
          total_processed: 0,
          total_actions: 0,
          total_skipped: 0,
        };
      }
      const { polled } = await pollIfDue(app, await listFeedsOf(app, ["drive"]));
      await waitForRuns(app, polled, { timeoutMs: 120_000 });
      const feeds = new Set(polled.flatMap(({ id, resource }) => [id, resource]));
      const now = new Map((await followedFiles(app)).map((file) => [file.id, file]));
      const results = files.map((file) => {
        const { file_id, document_id } = file;
        const skipped = ![file.feed_id, drivesFolder + file.drive_id].some((one) => feeds.has(one));
        const after = now.get(file.id);
        const action = !after
          ? "deleted"
          : after.content_key === file.content_key && after.name === file.name
            ? undefined
            : "updated";
        return {
          file_id,
          document_id,
          processed: !skipped,
          ...(action ? { action } : {}),
          skipped,
        };
      });
      return {
        success: true,
        message: `Drive polling completed for ${files.length} files`,
        total_processed: results.filter(({ processed }) => processed).length,
        total_actions: results.filter((one) => "action" in one).length,
        total_skipped: results.filter(({ skipped }) => skipped).length,
        results: results.slice(0, 1_000),
      };
    },
  );

  server.post(
    "/drive-webhook-handler",
    {
      config: { who: "public", anonymous: true },
      schema: {
        summary: "Old address: a notification of Google Drive",
        tags: ["gateway"],
        body: z.unknown().optional(),
        querystring: z.looseObject({}),
        response: { "2xx": z.looseObject({}), "4xx": z.looseObject({}) },
      },
    },
    async (request, reply) => {
      const headers = ChannelHeaders.safeParse(request.headers);
      if (!headers.success) {
        const message = "Missing required headers: X-Goog-Channel-ID, X-Goog-Resource-State";
        return { success: false, message };
      }
      try {
        await acceptNotification(app, messageOf(headers.data), "drive");
        return { success: true, message: "File update handled" };
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
        const isUnknown = error.code === "not_found";
        const message = isUnknown
          ? `Document not found for channel ID: ${headers.data["x-goog-channel-id"]}`
          : error.message;
        return reply.code(isUnknown ? 404 : 401).send({ success: false, message });
      }
    },
  );

  server.post(
    "/subscribe-to-drive-file",
    { config: { who: "user_or_service" }, schema: oldPost("follow a file") },
    async (request, reply) => {
      const refuse = (message: string) => reply.code(400).send({ success: false, message });
      const named = Subscription.safeParse(request.body ?? {});
      const { documentId, fileId, userId } = named.data ?? {};
      if (!documentId || !fileId) {
        return refuse("Missing required parameters: document_id, file_id");
      }
      const caller = userOrNull(request);
      const owner = caller ?? userId?.toLowerCase() ?? (await ownerOf(app, documentId));
      const isForeign = caller !== null && userId !== undefined && userId.toLowerCase() !== caller;
      if (!owner || isForeign) return refuse("Document not found");
      try {
        const file = await followFile(app, owner, { fileId, documentId });
        const feeds = (await listFeedsOf(app, ["drive"])).filter(({ id }) => id === file.feed_id);
        const [channel] = await openPush(app, feeds).catch(withoutPush);
        return {
          success: true,
          message: "Successfully subscribed to Google Drive file changes",
          watch_id: file.id,
          resource_id: channel?.resource_id ?? "",
          expiration: String(channel?.expires_at.getTime() ?? ""),
        };
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
        if (error.code === "conflict") return refuse("Watch already exists for this file");
        if (error.code === "not_found" && /document/i.test(error.message)) {
          return refuse("Document not found");
        }
        return refuse(`Failed to subscribe to drive file: ${error.message}`);
      }
    },
  );
};

// Where nothing can reach us, or Google opens no channel now, the file is followed all the same.
function withoutPush(error: unknown): never[] {
  if (error instanceof AppError) return [];
  throw error;
}

async function ownerOf(app: App, documentId: string): Promise<string | null> {
  const document = await app.db
    .selectFrom("documents")
    .select("created_by")
    .where("id", "=", documentId)
    .executeTakeFirst();
  return document?.created_by ?? null;
}

function followedFiles(app: App) {
  return app.db
    .selectFrom("watched_files")
    .select(["id", "feed_id", "drive_id", "file_id", "document_id", "name", "content_key"])
    .where("state", "=", "active")
    .where("is_folder", "=", false)
    .orderBy("id")
    .limit(10_000)
    .execute();
}
