import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { requireAccess } from "../access.ts";
import type { Channels } from "../channels.ts";
import { type Answer, addEndpoint } from "../endpoints.ts";
import { GoogleError } from "../errors.ts";
import { listChanges, listFiles, type Pages, sequenceOf } from "./listing.ts";
import {
  type File,
  findDrive,
  findFile,
  isEditorType,
  logOf,
  notFound,
  type Store,
  sees,
} from "./store.ts";
import { masked, permissionsOf, resourceOf } from "./view.ts";

/** What of a Drive can be watched: one file, or the log of an account or of a shared drive. */
export type DriveWatched = { file: File } | { log: string };

type Parts = { store: Store; pages: Pages; channels: Channels<DriveWatched> };
type Call = { request: FastifyRequest; account: string; fileId: string };

const scopes = ["drive", "drive.readonly"].map((name) => `https://www.googleapis.com/auth/${name}`);
// Units of the quota. Source: Drive API, "Usage limits", 2026.
const costs = { read: 5, list: 100, download: 200 };
const largestExport = 10 * 1024 * 1024;
const editor = "application/vnd.google-apps";
const exportsOf: Record<string, string[]> = {
  [`${editor}.document`]: ["text/plain", "text/markdown", "text/html"],
  [`${editor}.spreadsheet`]: ["text/csv", "text/tab-separated-values"],
  [`${editor}.presentation`]: ["text/plain"],
};

const Params = z.object({ fileId: z.string().default("") });
const Query = z.looseObject({
  fields: z.string().optional(),
  alt: z.string().optional(),
  mimeType: z.string().optional(),
  pageToken: z.string().optional(),
  supportsAllDrives: z.string().optional(),
  driveId: z.string().optional(),
});

/** Serves Drive v3: files, their content, permissions, the log of changes, and both kinds of channels. */
export function addDriveApi(server: FastifyInstance, { store, pages, channels }: Parts): void {
  const { state } = store;
  const endpoint = (
    name: string | ((request: FastifyRequest) => string),
    method: "GET" | "POST",
    path: string,
    { cost, answer }: { cost: number; answer: (call: Call) => Answer | Promise<Answer> },
  ) =>
    addEndpoint(server, state, {
      name: typeof name === "string" ? `drive.${name}` : (request) => `drive.${name(request)}`,
      method,
      paths: [`/drive/v3/${path}`],
      errors: "api",
      cost,
      answer: (request) => {
        const { person, serviceAccount } = requireAccess(state, request, { anyOf: scopes });
        const account = person?.email ?? serviceAccount?.email ?? "";
        return answer({ request, account, fileId: Params.parse(request.params).fileId });
      },
    });
  const seen = ({ request, account, fileId }: Call): File => {
    const file = findFile(store, fileId);
    const hidden = file.driveId && Query.parse(request.query).supportsAllDrives !== "true";
    if (hidden || !(file.isOpenByLink || sees(store, account, file))) throw notFound(fileId);
    return file;
  };
  const fieldsOf = ({ request }: Call) => Query.parse(request.query).fields;

  endpoint("files.list", "GET", "files", {
    cost: costs.list,
    answer: (call) => {
      const page = listFiles(store, pages, call.account, call.request.query);
      const usual = "kind,incompleteSearch,nextPageToken,files(kind,id,name,mimeType)";
      return { body: masked(page, fieldsOf(call) ?? usual) };
    },
  });
  endpoint(
    (request) => (Query.parse(request.query).alt === "media" ? "files.download" : "files.get"),
    "GET",
    "files/:fileId",
    {
      cost: costs.read,
      answer: (call) => {
        const file = seen(call);
        if (Query.parse(call.request.query).alt === "media") return download(file);
        if (file.malformed !== undefined) return { body: file.malformed };
        return { body: masked(resourceOf(store, call.account, file), fieldsOf(call)) };
      },
    },
  );
  endpoint("files.export", "GET", "files/:fileId/export", {
    cost: costs.download,
    answer: (call) => exported(seen(call), Query.parse(call.request.query).mimeType),
  });
  endpoint("permissions.list", "GET", "files/:fileId/permissions", {
    cost: costs.read,
    answer: (call) => ({
      body: { kind: "drive#permissionList", permissions: permissionsOf(seen(call)) },
    }),
  });
  endpoint("files.watch", "POST", "files/:fileId/watch", {
    cost: costs.read,
    answer: async (call) => ({
      body: await channels.open(call.account, { file: seen(call) }, call.request.body),
    }),
  });
  endpoint("drives.get", "GET", "drives/:driveId", {
    cost: costs.read,
    answer: (call) => {
      const { driveId } = z.object({ driveId: z.string() }).parse(call.request.params);
      const { id, name } = findDrive(store, call.account, driveId);
      return { body: masked({ kind: "drive#drive", id, name }, fieldsOf(call) ?? "kind,id,name") };
    },
  });
  endpoint("changes.getStartPageToken", "GET", "changes/startPageToken", {
    cost: costs.read,
    answer: ({ request, account }) => {
      logOf(store, account, Query.parse(request.query).driveId);
      return { body: { kind: "drive#startPageToken", startPageToken: String(store.sequence) } };
    },
  });
  endpoint("changes.list", "GET", "changes", {
    cost: costs.list,
    answer: (call) => {
      const page = listChanges(store, pages, call.account, call.request.query);
      const usual =
        "kind,nextPageToken,newStartPageToken,changes(kind,changeType,time,removed,fileId,file(kind,id,name,mimeType))";
      return { body: masked(page, fieldsOf(call) ?? usual) };
    },
  });
  endpoint("changes.watch", "POST", "changes/watch", {
    cost: costs.read,
    answer: async ({ request, account }) => {
      const { pageToken, driveId } = Query.parse(request.query);
      const log = logOf(store, account, driveId);
      sequenceOf(store, pageToken ?? "");
      return { body: await channels.open(account, { log }, request.body) };
    },
  });
  endpoint("channels.stop", "POST", "channels/stop", {
    cost: costs.read,
    answer: ({ request, account }) => {
      channels.stop(account, request.body);
      return { status: 204 };
    },
  });
}

function download(file: File): Answer {
  if (isEditorType(file.mimeType)) {
    throw new GoogleError(
      403,
      "fileNotDownloadable",
      "Only files with binary content can be downloaded. Use Export with Docs Editors files.",
    );
  }
  if (!file.canDownload) {
    throw new GoogleError(403, "cannotDownloadFile", "This file cannot be downloaded by the user.");
  }
  return { headers: { "content-type": file.mimeType }, body: file.content };
}

function exported(file: File, mimeType: string | undefined): Answer {
  const types = exportsOf[file.mimeType];
  if (!types) {
    throw new GoogleError(403, "fileNotExportable", "Export only supports Docs Editors files.");
  }
  if (!mimeType || !types.includes(mimeType)) {
    throw new GoogleError(400, "badRequest", "The requested conversion is not supported.");
  }
  if (!file.canDownload) {
    throw new GoogleError(403, "cannotExportFile", "This file cannot be exported by the user.");
  }
  if (file.content.length > largestExport) {
    throw new GoogleError(403, "exportSizeLimitExceeded", "This file is too large to be exported.");
  }
  return { headers: { "content-type": `${mimeType}; charset=utf-8` }, body: file.content };
}
