import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import type { App } from "../app.ts";
import type { WatchedFile } from "../documents/file-news.ts";
import { checkFile } from "../documents/file-reading.ts";
import {
  getWatchedFile,
  listWatchedFiles,
  resendFile,
  unsubscribeFile,
} from "../documents/file-subscriptions.ts";
import { AppError, ProviderError } from "../lib/errors.ts";
import { endLoneFeeds, followFile, listTelling } from "../sync/drive-feeds.ts";
import { pollIfDue } from "../sync/polling.ts";
import { waitForRuns } from "../sync/waiting.ts";
import { listOf, listQuery, pageOf, readCursor } from "./lists.ts";
import { userOf, userOrNull } from "./session.ts";
import { Time, TimeKey } from "./times.ts";

const FileId = z
  .string()
  .regex(/^[\w-]{1,200}$/, "is no id of a file")
  .describe("Google's id of the file");
const State = z.enum(["active", "trashed", "removed", "lost", "stopped"]);

const File = z.object({
  id: z.guid().describe("Our id of what is followed"),
  file_id: z.string(),
  document_id: z.guid().nullable(),
  project_id: z.guid().nullable(),
  name: z.string().describe("The file's name at Google"),
  mimetype: z.string(),
  url: z.string().nullable().describe("Where it opens at Google; null where Google does not say"),
  size: z.int().nullable(),
  owner: z.string().nullable(),
  account: z.string().nullable(),
  origin: z.enum(["subscribed", "folder", "shared", "linked"]),
  is_folder: z.boolean(),
  state: State.describe(
    "`trashed`, `removed` for good, `lost` (Google finds it no longer), or `stopped` by a person",
  ),
  state_reason: z.string().nullable().describe("More about the state, in words; null for nothing"),
  is_pushed: z.boolean(),
  version: z.string().nullable().describe("Google's number of it, which rises with any change"),
  modified_at: Time.nullable(),
  last_changed_at: Time.nullable(),
  last_checked_at: Time.nullable(),
  read_at: Time.nullable(),
  read_failures: z.int(),
  read_retry_at: Time.nullable(),
  read_error: z.string().nullable(),
  created_at: Time,
});

const Metadata = File.pick({
  name: true,
  mimetype: true,
  url: true,
  size: true,
  owner: true,
  version: true,
  modified_at: true,
  state: true,
  state_reason: true,
});
const actions = ["updated", "deleted", "restored", "none"] as const;
const Checked = z.object({
  changed: z.boolean(),
  action: z
    .enum(actions)
    .describe("What was found; `updated` is another text, name, owner or folder"),
  metadata: Metadata.describe("The file as it is now"),
});
const Named = z.strictObject({ document_id: z.guid(), file_id: FileId });

/** Files of Google Drive that are followed: which, how they stand, and what their workflow is told. */
export const driveRoutes: FastifyPluginAsyncZod<{ app: App }> = async (server, { app }) => {
  server.post(
    "/drive/subscribe",
    {
      config: { who: "user", idempotent: true },
      schema: {
        summary: "Follow a file, or a folder with what is in it",
        description:
          "The file becomes the document's; without a document it gets its own. 404 where none of the caller's accounts sees it, 409 where it is followed already.",
        tags: ["drive"],
        body: z.strictObject({
          document_id: z
            .guid()
            .optional()
            .describe("A document of the caller's that becomes the file's"),
          file_id: FileId,
          own_channel: z
            .boolean()
            .optional()
            .describe("Watch this file by itself, besides the account's log of changes"),
        }),
        response: { 201: File },
      },
    },
    async (request, reply) => {
      const userId = userOf(request);
      const { file_id, document_id, own_channel } = request.body;
      const { id } = await followFile(app, userId, {
        fileId: file_id,
        documentId: document_id ?? null,
        isAlone: own_channel ?? false,
      });
      return reply.code(201).send(await fileAnswer(app, userId, id));
    },
  );

  server.delete(
    "/drive/subscribe/:file_id",
    {
      config: { who: "user" },
      schema: {
        summary: "Stop following a file, or a folder with all that it brought; documents stay",
        tags: ["drive"],
        params: z.strictObject({ file_id: FileId }),
        response: { 204: z.undefined() },
      },
    },
    async (request, reply) => {
      await unsubscribeFile(app, userOf(request), request.params.file_id);
      await endLoneFeeds(app, request.params.file_id);
      return reply.code(204).send();
    },
  );

  server.post(
    "/drive/poll/:file_id",
    {
      config: { who: "user_or_service" },
      schema: {
        summary: "Look for changes of a file, unless push is healthy and recent",
        tags: ["drive"],
        params: z.strictObject({ file_id: FileId }),
        response: {
          200: Checked.extend({
            polled: z.boolean(),
            reason: z.string().describe("Why it was polled or not, in words"),
          }),
        },
      },
    },
    async (request) => {
      const userId = userOrNull(request);
      const file = await getWatchedFile(app, userId, { fileId: request.params.file_id });
      const { polled, reason } = await pollFile(app, file);
      return { ...(await outcomeSince(app, file)), polled, reason };
    },
  );

  server.post(
    "/drive/check-changes/:file_id",
    {
      config: { who: "user_or_service" },
      schema: {
        summary: "Look at a file now",
        tags: ["drive"],
        params: z.strictObject({ file_id: FileId }),
        response: { 200: Checked },
      },
    },
    async (request) => {
      const userId = userOrNull(request);
      const file = await getWatchedFile(app, userId, { fileId: request.params.file_id });
      await lookAt(app, file);
      return outcomeSince(app, file);
    },
  );

  server.post(
    "/drive/handle-deletion",
    {
      config: { who: "service" },
      schema: {
        summary: "Say that a file was deleted: it is looked at, and what is found counts",
        tags: ["drive"],
        body: Named,
        response: {
          200: z.object({
            deleted: z.boolean().describe("Whether it is in the trash, or gone for good"),
            metadata: Metadata.describe("The file as it is now"),
          }),
        },
      },
    },
    async (request) => {
      const { document_id: documentId, file_id: fileId } = request.body;
      const file = await getWatchedFile(app, null, { fileId, documentId });
      await lookAt(app, file);
      const { metadata } = await outcomeSince(app, file);
      return { deleted: metadata.state === "trashed" || metadata.state === "removed", metadata };
    },
  );

  server.post(
    "/drive/n8n-webhook",
    {
      config: { who: "user_or_service", idempotent: true },
      schema: {
        summary: "Hand a file to the workflow again",
        tags: ["drive"],
        body: Named.extend({
          action: z
            .enum(["updated", "deleted", "restored", "sync"])
            .default("sync")
            .describe("What the workflow is told of the file; `sync`: as it is"),
        }),
        response: {
          202: z.object({ queued: z.int().describe("How many deliveries are on their way") }),
        },
      },
    },
    async (request, reply) => {
      const userId = userOrNull(request);
      const { document_id: documentId, file_id: fileId, action } = request.body;
      return reply.code(202).send(await resendFile(app, userId, { documentId, fileId, action }));
    },
  );

  server.get(
    "/drive/files",
    {
      config: { who: "user" },
      schema: {
        summary: "The files that are followed, with their state, the latest first",
        tags: ["drive"],
        querystring: z.strictObject({
          ...listQuery,
          state: State.optional().describe("Only those; without it all but the stopped"),
        }),
        response: { 200: listOf(File) },
      },
    },
    async (request) => {
      const { limit, cursor, state } = request.query;
      const after = readCursor(TimeKey, cursor);
      const files = await listWatchedFiles(app, userOf(request), {
        state,
        before: after ? { at: after[0], id: after[1] } : undefined,
        limit: limit + 1,
      });
      const keys = new Map(files.map(({ id, cursor_at }) => [id, cursor_at]));
      return pageOf(files.map(answerOf), limit, ({ id }) => [keys.get(id) ?? "", id]);
    },
  );
};

/** Looks for changes through the logs that tell of a file, if that is due. */
export async function pollFile(
  app: App,
  file: WatchedFile,
): Promise<{ polled: boolean; reason: string }> {
  const { polled, reason } = await pollIfDue(app, await listTelling(app, file));
  await waitForRuns(app, polled);
  return { polled: polled.length > 0, reason };
}

/** Looks at a file by itself. @throws {AppError} `unavailable` where Google does not answer */
export async function lookAt(app: App, file: WatchedFile): Promise<void> {
  await checkFile(app, { watchedFileId: file.id }, { isMissing: false }).catch((error: unknown) => {
    if (!(error instanceof ProviderError)) throw error;
    throw new AppError("unavailable", "Google does not answer for this file at the moment", {
      retryAfterSeconds: error.retryAfterSeconds ?? 10,
      cause: error,
    });
  });
}

/** What has become of a file since it was read before. */
export async function outcomeSince(
  app: App,
  before: WatchedFile,
): Promise<z.input<typeof Checked>> {
  const now = await getWatchedFile(app, null, { id: before.id });
  const isGone = ({ state }: WatchedFile) => state === "trashed" || state === "removed";
  const isAnother =
    now.content_key !== before.content_key ||
    now.name !== before.name ||
    now.owner !== before.owner ||
    now.parents.join() !== before.parents.join();
  const action = actionOf({
    isDeleted: isGone(now) && !isGone(before),
    isRestored: now.state === "active" && before.state !== "active",
    isAnother,
  });
  const { name, mimetype, url, owner, version, state, state_reason } = now;
  const metadata = {
    ...{ name, mimetype, url, owner, version, state, state_reason },
    size: now.size === null ? null : Number(now.size),
    modified_at: now.modified_at?.toISOString() ?? null,
  };
  return { changed: action !== "none" || now.state !== before.state, action, metadata };
}

function actionOf(what: { isDeleted: boolean; isRestored: boolean; isAnother: boolean }) {
  if (what.isDeleted) return "deleted" as const;
  if (what.isRestored) return "restored" as const;
  return what.isAnother ? ("updated" as const) : ("none" as const);
}

type Row = Awaited<ReturnType<typeof listWatchedFiles>>[number];

async function fileAnswer(app: App, userId: string, id: string) {
  const [file] = await listWatchedFiles(app, userId, { id, limit: 1 });
  if (!file) throw new AppError("not_found", "This file is not followed");
  return answerOf(file);
}

function answerOf(file: Row): z.input<typeof File> {
  const time = (at: Date | null) => at?.toISOString() ?? null;
  return {
    id: file.id,
    file_id: file.file_id,
    document_id: file.document_id,
    project_id: file.project_id,
    name: file.name,
    mimetype: file.mimetype,
    url: file.url,
    size: file.size === null ? null : Number(file.size),
    owner: file.owner,
    account: file.account,
    origin: file.origin,
    is_folder: file.is_folder,
    state: file.state,
    state_reason: file.state_reason,
    is_pushed: Boolean(file.is_pushed),
    version: file.version,
    modified_at: time(file.modified_at),
    last_changed_at: time(file.last_changed_at),
    last_checked_at: time(file.last_checked_at),
    read_at: time(file.read_at),
    read_failures: file.read_failures,
    read_retry_at: time(file.read_retry_at),
    read_error: file.read_error,
    created_at: file.created_at.toISOString(),
  };
}
