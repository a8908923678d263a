import { createHash } from "node:crypto";
import { sql } from "kysely";
import { tellUser } from "../accounts/tell-user.ts";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import { AppError } from "../lib/errors.ts";
import { ownsProject } from "../projects/projects.ts";
import type { NewJob } from "../queue/queue.ts";
import { type Delivery, type Ended, type Payload, startDeliveries } from "./deliveries.ts";

/** What a workflow says of a document. */
export type Classification = {
  documentId: string;
  /** Null: it belongs to none of them. */
  projectId: string | null;
  confidence: number | null;
  tags: string[];
  reason: string | null;
  /** When it was decided; of two results the later counts. */
  classifiedAt: Date | null;
  /** A workflow, or the rules here. */
  source?: "ai" | "auto";
};

export type ClassificationOutcome = "applied" | "late" | "person_decided" | "duplicate";

/** Hands a document to the classification workflow, or to the rules where there is none. The same fact twice is one delivery. */
export async function startClassification(
  app: Pick<App, "clock" | "config">,
  tx: Tx,
  document: { documentId: string; userId: string; fact: string },
): Promise<NewJob[]> {
  if (app.config.n8n.classificationUrl !== null) {
    return startDeliveries(app, tx, [{ kind: "classification", ...document }]);
  }
  const { documentId } = document;
  return [{ name: "documents.classify", payload: { documentId }, key: documentId, priority: 1 }];
}

/** The body that the old functions sent, with the document's text and the mail's address besides. */
export const classificationPayload: Payload = async (app, delivery) => {
  const document = await app.db
    .selectFrom("documents")
    .leftJoin("document_texts", "document_texts.document_id", "documents.id")
    .leftJoin("mail_decisions", "mail_decisions.document_id", "documents.id")
    .select([
      "documents.id",
      "documents.source",
      "documents.title",
      "documents.author",
      "documents.type",
    ])
    .select([
      "documents.received_at",
      "documents.summary",
      "documents.mimetype",
      "documents.source_id",
    ])
    .select([
      "documents.attachments",
      "documents.recipients",
      "documents.source_url",
      "documents.created_by",
    ])
    .select(["document_texts.text", "document_texts.cut"])
    .select(["mail_decisions.virtual_email", "mail_decisions.email_type"])
    .where("documents.id", "=", delivery.document_id)
    .executeTakeFirst();
  if (!document) return null;
  const isMail = document.source === "gmail";
  const username = document.virtual_email?.replace(/^[^+]*\+|@.*$/g, "");
  return {
    document_id: document.id,
    user_id: delivery.user_id,
    type: isMail ? "email" : document.type,
    source: document.source,
    title: document.title,
    author: document.author,
    received_at: document.received_at?.toISOString() ?? null,
    content: document.text ?? document.summary ?? "",
    content_cut: document.cut,
    source_url: document.source_url,
    recipients: document.recipients ?? [],
    attachments: document.attachments ?? [],
    metadata: {
      ...(isMail ? { gmail_message_id: document.source_id } : {}),
      filename: document.title,
      mimetype: document.mimetype,
    },
    ...(isMail && document.virtual_email
      ? {
          virtual_email: document.virtual_email,
          username,
          email_type: document.email_type,
          message_id: document.source_id,
        }
      : {}),
    timestamp: app.clock.now().toISOString(),
    project_metadata: await projectsOf(app, delivery),
  };
};

// What may be chosen from: the user's projects that are under way, those that were chosen lately first.
async function projectsOf(app: Pick<App, "db">, { user_id }: Delivery) {
  const projects = await app.db
    .selectFrom("projects")
    .select(["id as project_id", "name", "description", "normalized_tags", "categories"])
    .select(["reference_keywords", "notes", "classification_signals", "entity_patterns"])
    .where("created_by", "=", user_id)
    .where("status", "in", ["active", "in_progress"])
    .orderBy(sql`last_classification_at desc nulls last`)
    .limit(500)
    .execute();
  return projects;
}

/** What the end of a delivery means to the document and to the mail's log. */
export const classificationEnded: Ended = async (tx, delivery, { outcome, isOver, error }) => {
  if (!isOver) return;
  const isAccepted = outcome === "accepted";
  // The workflow may have answered before we noted that it took the document.
  await tx
    .updateTable("documents")
    .set({ classification_status: isAccepted ? "sent_to_n8n" : "failed" })
    .where("id", "=", delivery.document_id)
    .where("classification_status", "in", ["pending", "failed"])
    .execute();
  await sql`
    update email_processing_logs set n8n_webhook_sent = ${isAccepted},
      n8n_webhook_response = ${isAccepted ? "success" : "failed"}, error_message = ${error},
      status = ${isAccepted ? "processed" : "failed"}, processed_at = now()
    where document_id = ${delivery.document_id}
  `.execute(tx);
  await tellOwner(tx, delivery.user_id, delivery.document_id);
};

/**
 * Takes a workflow's result. The same result again changes nothing; one that was decided before the one that counts is
 * late; a project that a person chose stays. By a clock that is ahead it was decided when it came. Every result is kept
 * with what became of it.
 *
 * @throws {AppError} `not_found` for an unknown document; `invalid` for a project that is not its owner's.
 */
export async function applyClassification(
  app: Pick<App, "db" | "clock">,
  result: Classification,
): Promise<ClassificationOutcome> {
  const now = app.clock.now();
  const said = result.classifiedAt;
  const classifiedAt = said && said < now ? said : now;
  return app.db.transaction().execute(async (tx) => {
    // A project before its documents, as for whoever deletes it.
    await tx
      .selectFrom("projects")
      .select("id")
      .where("id", "=", result.projectId)
      .forNoKeyUpdate()
      .execute();
    const document = await tx
      .selectFrom("documents")
      .select(["id", "created_by", "project_chosen_at", "classified_at"])
      .where("id", "=", result.documentId)
      .forUpdate()
      .executeTakeFirst();
    if (!document?.created_by) throw new AppError("not_found", `No document ${result.documentId}`);
    if (result.projectId) await checkProjectField(tx, document.created_by, result.projectId);
    const outcome = outcomeOf(document, classifiedAt);
    const moment = result.classifiedAt?.toISOString() ?? (await questionOf(tx, document.id));
    const kept = await tx
      .insertInto("classification_results")
      .values({
        document_id: document.id,
        result_key: keyOf(result, moment),
        project_id: result.projectId,
        confidence: result.confidence,
        tags: result.tags,
        classified_at: classifiedAt,
        received_at: now,
        outcome,
      })
      .onConflict((conflict) => conflict.columns(["document_id", "result_key"]).doNothing())
      .returning("id")
      .executeTakeFirst();
    if (!kept) return "duplicate";
    if (outcome !== "applied") return outcome;
    await tx
      .updateTable("documents")
      .set({
        project_id: result.projectId,
        classification_source: result.source ?? "ai",
        classification_status: result.projectId ? "classified" : "unclassified",
        classification_confidence: result.confidence,
        classification_reason: result.reason,
        tags: result.tags,
        classified_at: classifiedAt,
        updated_at: now,
      })
      .where("id", "=", document.id)
      .execute();
    if (result.projectId) {
      await tx
        .updateTable("projects")
        .set({ last_classification_at: now })
        .where("id", "=", result.projectId)
        .execute();
    }
    await tellOwner(tx, document.created_by, document.id);
    return "applied";
  });
}

function outcomeOf(
  document: { project_chosen_at: Date | null; classified_at: Date | null },
  classifiedAt: Date,
): "applied" | "late" | "person_decided" {
  if (document.project_chosen_at) return "person_decided";
  const isLate = document.classified_at !== null && classifiedAt < document.classified_at;
  return isLate ? "late" : "applied";
}

// A result without a time of its own is the same as another that says the same, until it is asked for once more.
function keyOf(
  { projectId, confidence, tags, reason }: Classification,
  moment: string | null,
): string {
  const parts = [projectId, confidence, tags, reason, moment];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}

// Which of the times that the workflow was asked about a document was the last.
async function questionOf(tx: Tx, documentId: string): Promise<string | null> {
  const last = await tx
    .selectFrom("deliveries")
    .select("event_id")
    .where("document_id", "=", documentId)
    .where("kind", "=", "classification")
    .orderBy("sequence", "desc")
    .executeTakeFirst();
  return last?.event_id ?? null;
}

/** @throws {AppError} `invalid` for a project that is not the document's owner's. */
export async function checkProjectField(tx: Tx, ownerId: string, projectId: string): Promise<void> {
  if (await ownsProject(tx, ownerId, projectId)) return;
  throw new AppError("invalid", "No such project", {
    fields: [{ path: "project_id", message: "is no project of the document's owner" }],
  });
}

/** Tells a document's owner that something about it changed. */
export async function tellOwner(tx: Tx, userId: string, documentId: string): Promise<void> {
  const payload = { document_ids: [documentId] };
  await tellUser(tx, userId, [{ type: "documents.changed", payload }]);
}
