import { sql } from "kysely";
import type { App } from "../app.ts";
import { AppError } from "../lib/errors.ts";
import { enqueue } from "../queue/queue.ts";
import { checkProjectField, startClassification, tellOwner } from "./classification.ts";
import { listLinks } from "./mail-links.ts";

type Part = Pick<App, "db" | "clock" | "config" | "queue">;

/** A document as its owner sees it in a list. */
export type Document = Awaited<ReturnType<typeof listDocuments>>[number];

/** Which documents. `before` is the sort key of the row before. */
export type DocumentFilter = {
  id?: string | undefined;
  projectId?: string | null | undefined;
  type?: string | undefined;
  source?: string | undefined;
  status?: string | undefined;
  classification?: string | undefined;
  search?: string | undefined;
  before?: { at: string; id: string } | undefined;
  limit: number;
};

/** A user's documents, the latest first. */
export async function listDocuments(app: Pick<App, "db">, userId: string, filter: DocumentFilter) {
  const { id, projectId, type, source, status, classification, search, before } = filter;
  let query = app.db
    .selectFrom("documents")
    .leftJoin("projects", "projects.id", "documents.project_id")
    .select(["documents.id", "documents.title", "documents.author", "documents.summary"])
    .select(["documents.type", "documents.source", "documents.source_id", "documents.source_url"])
    .select([
      "documents.status",
      "documents.mimetype",
      "documents.received_at",
      "documents.created_at",
    ])
    .select(["documents.updated_at", "documents.file_id", "documents.meeting_id", "documents.tags"])
    .select([
      "documents.project_id",
      "projects.name as project_name",
      "documents.project_chosen_at",
    ])
    .select(["documents.classification_status", "documents.classification_source"])
    .select(["documents.classification_confidence", "documents.classified_at"])
    .select(
      sql<string>`to_char(documents.created_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`.as("cursor_at"),
    )
    .where("documents.created_by", "=", userId);
  if (id) query = query.where("documents.id", "=", id);
  if (projectId === null) query = query.where("documents.project_id", "is", null);
  else if (projectId) query = query.where("documents.project_id", "=", projectId);
  if (type) query = query.where("documents.type", "=", type);
  if (source) query = query.where("documents.source", "=", source);
  if (status) query = query.where("documents.status", "=", status as "active");
  if (classification) query = query.where("documents.classification_status", "=", classification);
  if (search) {
    const pattern = `%${search.replace(/[\\%_]/g, "\\$&")}%`;
    query = query.where((row) =>
      row.or([row("documents.title", "ilike", pattern), row("documents.author", "ilike", pattern)]),
    );
  }
  if (before) {
    query = query.where(
      sql<boolean>`(documents.created_at, documents.id) < (${before.at}::timestamp, ${before.id}::uuid)`,
    );
  }
  return query
    .orderBy("documents.created_at", "desc")
    .orderBy("documents.id", "desc")
    .limit(filter.limit)
    .execute();
}

/** One document with its text, and what it links to. @throws {AppError} `not_found` */
export async function getDocument(app: Pick<App, "db">, userId: string, id: string) {
  const [document] = await listDocuments(app, userId, { id, limit: 1 });
  if (!document) throw new AppError("not_found", `No document ${id}`);
  const more = await app.db
    .selectFrom("documents")
    .leftJoin("document_texts", "document_texts.document_id", "documents.id")
    .select(["documents.recipients", "documents.attachments", "documents.thread_id"])
    .select("documents.classification_reason")
    .select(["text", "quoted", "signature", "cut"])
    .where("documents.id", "=", id)
    .executeTakeFirstOrThrow();
  return { ...document, ...more, links: await listLinks(app, id) };
}

/** A person puts a document into a project, or into none: no workflow overwrites that. @throws {AppError} */
export async function moveDocument(
  app: Part,
  userId: string,
  id: string,
  projectId: string | null,
): Promise<void> {
  await app.db.transaction().execute(async (tx) => {
    if (projectId) await checkProjectField(tx, userId, projectId);
    const now = app.clock.now();
    const moved = await tx
      .updateTable("documents")
      .set({
        project_id: projectId,
        project_chosen_at: now,
        classification_source: "user",
        classification_status: projectId ? "classified" : "unclassified",
        updated_at: now,
      })
      .where("id", "=", id)
      .where("created_by", "=", userId)
      .executeTakeFirst();
    if (moved.numUpdatedRows === 0n) throw new AppError("not_found", `No document ${id}`);
    await tellOwner(tx, userId, id);
  });
}

/** Has a document classified once more, whatever was chosen before. @throws {AppError} `not_found` */
export async function classifyAgain(app: Part, userId: string, id: string): Promise<void> {
  await app.db.transaction().execute(async (tx) => {
    const now = app.clock.now();
    const asked = await tx
      .updateTable("documents")
      .set({
        project_chosen_at: null,
        classification_status: "pending",
        // What was decided before is no measure for what is asked now.
        classified_at: null,
        updated_at: now,
      })
      .where("id", "=", id)
      .where("created_by", "=", userId)
      .executeTakeFirst();
    if (asked.numUpdatedRows === 0n) throw new AppError("not_found", `No document ${id}`);
    const jobs = await startClassification(app, tx, {
      documentId: id,
      userId,
      fact: `asked at ${now.toISOString()}`,
    });
    await enqueue(app, tx, jobs);
    await tellOwner(tx, userId, id);
  });
}

/** Why a document is here, and why in its project. @throws {AppError} `not_found` */
export async function whyDocument(app: Pick<App, "db">, userId: string, id: string) {
  const document = await getDocument(app, userId, id);
  const taken = await app.db
    .selectFrom("mail_decisions")
    .select(["rule", "reason", "inputs", "decided_at"])
    .where("document_id", "=", id)
    .executeTakeFirst();
  const results = await app.db
    .selectFrom("classification_results")
    .select(["project_id", "confidence", "tags", "classified_at", "received_at", "outcome"])
    .where("document_id", "=", id)
    .orderBy("received_at", "desc")
    .limit(20)
    .execute();
  return { document, taken: taken ?? null, results, reason: document.classification_reason };
}
