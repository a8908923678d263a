import { GoogleError } from "../errors.ts";
import { type File, isEditorType, isInTrash, md5Of, type Store, sees } from "./store.ts";

const usualFields = "kind,id,name,mimeType";

/** A file as the API gives it to an account, whole; `fields` decides what of it is sent. */
export function resourceOf(store: Store, account: string, file: File): Record<string, unknown> {
  const isEditor = isEditorType(file.mimeType);
  const isOwn = file.owner === account;
  const target = file.targetId ? store.files.get(file.targetId) : undefined;
  const person = (email: string) => ({
    kind: "drive#user",
    emailAddress: email,
    displayName: email,
  });
  const mayShare = isOwn || file.permissions.get(account) === "writer";
  return {
    kind: "drive#file",
    id: file.id,
    name: file.name,
    mimeType: file.mimeType,
    version: String(file.version),
    createdTime: file.createdAt.toISOString(),
    modifiedTime: file.modifiedAt.toISOString(),
    trashed: isInTrash(store, file),
    explicitlyTrashed: file.isTrashed,
    webViewLink: `https://drive.example.com/file/d/${file.id}/view`,
    lastModifyingUser: person(file.modifiedBy),
    capabilities: { canDownload: file.canDownload, canEdit: mayShare },
    ...(file.parentId ? { parents: [file.parentId] } : {}),
    ...(file.driveId
      ? { driveId: file.driveId }
      : { ownedByMe: isOwn, shared: file.permissions.size > 0 }),
    ...(file.owner ? { owners: [person(file.owner)] } : {}),
    ...(mayShare ? { permissions: permissionsOf(file) } : {}),
    ...(isOwn || file.driveId || !sees(store, account, file)
      ? {}
      : { sharedWithMeTime: file.modifiedAt.toISOString() }),
    ...(isEditor
      ? {}
      : {
          size: String(file.content.length),
          md5Checksum: md5Of(file.content),
          headRevisionId: file.revision,
        }),
    ...(file.targetId
      ? { shortcutDetails: { targetId: file.targetId, targetMimeType: target?.mimeType } }
      : {}),
  };
}

/** Whom a file is shared with, as the API lists it. */
export function permissionsOf(file: File) {
  const owner = file.owner ? [[file.owner, "owner"] as const] : [];
  return [...owner, ...file.permissions].map(([email, role]) => ({
    kind: "drive#permission",
    id: Buffer.from(email).toString("hex").slice(0, 20),
    type: "user",
    emailAddress: email,
    role,
    deleted: false,
  }));
}

type Mask = Map<string, Mask | null>;

/** What a `fields` parameter leaves of an answer. @throws {GoogleError} 400 for a mask that cannot be read. */
export function masked(answer: unknown, fields: string | undefined): unknown {
  return project(answer, maskOf(fields ?? usualFields));
}

function project(value: unknown, mask: Mask | null): unknown {
  if (mask === null || mask.has("*")) return value;
  if (Array.isArray(value)) return value.map((one) => project(one, mask));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, inner]) =>
      mask.has(key) ? [[key, project(inner, mask.get(key) ?? null)]] : [],
    ),
  );
}

function maskOf(fields: string): Mask {
  const tokens = fields.match(/[A-Za-z0-9*]+|[(),/]/g) ?? [];
  if (tokens.join("") !== fields.replace(/\s/g, "")) throw invalid(fields);
  const read = (): Mask => {
    const mask: Mask = new Map();
    for (;;) {
      const name = tokens.shift();
      if (!name || !/^[A-Za-z0-9*]+$/.test(name)) throw invalid(fields);
      let inner: Mask | null = null;
      if (tokens[0] === "/") {
        tokens.shift();
        inner = new Map([[tokens.shift() ?? "", null]]);
      } else if (tokens[0] === "(") {
        tokens.shift();
        inner = read();
        if (tokens.shift() !== ")") throw invalid(fields);
      }
      mask.set(name, inner);
      if (tokens[0] !== ",") return mask;
      tokens.shift();
    }
  };
  const mask = read();
  if (tokens.length > 0) throw invalid(fields);
  return mask;
}

function invalid(fields: string): GoogleError {
  return new GoogleError(400, "invalidParameter", `Invalid field selection ${fields}`, {
    location: { type: "parameter", name: "fields" },
  });
}
