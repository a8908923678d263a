import type { FastifyInstance } from "fastify";
import { z } from "zod";
import type { SandboxDrive } from "./drive.ts";

const share = z.number().min(0).max(1);
const PushChange = z.strictObject({
  isOn: z.boolean().optional(),
  delayMs: z.number().int().min(0).optional(),
  dropShare: share.optional(),
  dropNext: z.number().int().min(0).optional(),
  doubleShare: share.optional(),
  jitterMs: z.number().int().min(0).optional(),
  isSyncFirst: z.boolean().optional(),
  allowHttp: z.boolean().optional(),
});
const PageChange = z.strictObject({
  pageSizeCap: z.number().int().min(1).optional(),
  emptyPages: z.boolean().optional(),
});
const NewFile = z.strictObject({
  owner: z.string().min(3),
  name: z.string().min(1).max(1_000),
  mimeType: z.string().default("text/plain"),
  content: z.string().max(10_000_000).default(""),
  parentId: z.string().exactOptional(),
  driveId: z.string().exactOptional(),
});
const Members = z.array(z.string().min(3)).max(1_000);
const FileChange = z.strictObject({
  name: z.string().min(1).max(1_000).optional(),
  content: z.string().max(10_000_000).optional(),
  parentId: z.string().nullable().optional(),
  trashed: z.boolean().optional(),
  share: z.string().optional(),
  unshare: z.string().optional(),
  owner: z.string().optional(),
});
const Id = z.object({ id: z.string() });

/** Drive's part of the control API, under `/_control/drive`: files, changes by hand, and what goes wrong. */
export function addDriveControl(control: FastifyInstance, drive: SandboxDrive): void {
  control.post("/drive/files", ({ body }, reply) => {
    const { owner, ...file } = NewFile.parse(body);
    return reply.code(201).send({ id: drive.addFile(owner, file) });
  });
  control.patch("/drive/files/:id", ({ params, body }) => {
    const { id } = Id.parse(params);
    const change = FileChange.parse(body);
    if (change.name !== undefined) drive.rename(id, change.name);
    if (change.content !== undefined) drive.edit(id, change.content);
    if (change.parentId !== undefined) drive.move(id, change.parentId);
    if (change.trashed !== undefined) change.trashed ? drive.trash(id) : drive.restore(id);
    if (change.share !== undefined) drive.share(id, change.share);
    if (change.unshare !== undefined) drive.unshare(id, change.unshare);
    if (change.owner !== undefined) drive.transfer(id, change.owner);
    return { changed: true };
  });
  control.delete("/drive/files/:id", ({ params }) => {
    drive.remove(Id.parse(params).id);
    return { deleted: true };
  });
  control.get("/drive/files", ({ query }) => {
    const { person } = z.object({ person: z.string() }).parse(query);
    return {
      files: drive.files(person).map(({ id, name, mimeType, owner, version, isTrashed }) => ({
        ...{ id, name, mimeType, owner, version, isTrashed },
      })),
    };
  });
  control.post("/drive/drives", ({ body }, reply) => {
    const { name, members } = z
      .strictObject({ name: z.string().min(1), members: Members })
      .parse(body);
    return reply.code(201).send({ id: drive.addSharedDrive(name, members) });
  });
  control.patch("/drive/drives/:id", ({ params, body }) => {
    const { members } = z.strictObject({ members: Members }).parse(body);
    drive.changeMembers(Id.parse(params).id, members);
    return { changed: true };
  });
  control.get("/drive/channels", () => ({
    channels: drive.channels().map(({ id, address, expiresAt, messageNumber, answers }) => ({
      ...{ id, address, expiresAt, messageNumber, answers },
    })),
  }));
  control.patch("/drive/push", ({ body }) => Object.assign(drive.push, PushChange.parse(body)));
  control.patch("/drive/pages", ({ body }) => Object.assign(drive.pages, PageChange.parse(body)));
  control.post("/drive/expire-page-tokens", () => {
    drive.expirePageTokens();
    return { expired: true };
  });
}
