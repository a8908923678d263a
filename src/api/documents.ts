import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import type { App } from "../app.ts";
import { listDeliveries, resendDelivery } from "../documents/deliveries.ts";
import {
  classifyAgain,
  type Document,
  getDocument,
  listDocuments,
  moveDocument,
  whyDocument,
} from "../documents/documents.ts";
import { AppError } from "../lib/errors.ts";
import { listOf, listQuery, pageOf, readCursor } from "./lists.ts";
import { userOf } from "./session.ts";
import { Time, TimeKey } from "./times.ts";

const DocumentStatus = z.enum(["active", "updated", "deleted", "error"]);

const DocumentAnswer = z.object({
  id: z.guid().describe("The document"),
  title: z.string().nullable(),
  author: z.string().nullable(),
  summary: z.string().nullable().describe("How it begins; null where nothing could be read"),
  type: z
    .string()
    .nullable()
    .describe("email, meeting_transcript, or what a file is, such as document or spreadsheet"),
  source: z.string().nullable().describe("Where it comes from: gmail, drive or attendee_bot"),
  source_id: z.string().nullable(),
  source_url: z.string().nullable(),
  mimetype: z.string().nullable(),
  status: DocumentStatus.nullable().describe(
    "`deleted` at its source; `error`: its file is found no longer",
  ),
  file_id: z.string().nullable(),
  meeting_id: z.guid().nullable(),
  project_id: z.guid().nullable(),
  project_name: z.string().nullable(),
  tags: z.array(z.string()),
  classification_status: z.string().nullable(),
  classification_source: z.enum(["ai", "auto", "user", "system", "manual"]).nullable(),
  classification_confidence: z.number().nullable(),
  is_project_chosen: z.boolean(),
  classified_at: Time.nullable().describe(
    "When the classification was made; null while none counts",
  ),
  received_at: Time.nullable().describe(
    "When a mail came, a file was last modified before it came here, a transcript was written",
  ),
  created_at: Time.nullable(),
  updated_at: Time.nullable(),
});

const WholeDocument = DocumentAnswer.extend({
  text: z.string().nullable().describe("What it says; null where that was not read"),
  quoted: z.string().nullable(),
  signature: z.string().nullable(),
  cut: z.string().nullable(),
  thread_id: z.string().nullable(),
  recipients: z.array(z.looseObject({})),
  attachments: z.array(z.looseObject({})),
  links: z
    .array(
      z.object({
        file_id: z.string().describe("Google's id of the file"),
        state: z
          .enum(["waiting", "followed", "unseen", "stopped"])
          .describe(
            "`waiting` to be looked for; `unseen` by the caller's accounts, and followed once it is shared",
          ),
        reason: z.string().nullable().describe("Why that is so, in words; null for nothing to say"),
        document_id: z.guid().nullable().describe("The file's own document; folders have none"),
        title: z.string().nullable().describe("The document's title; null while it is not known"),
      }),
    )
    .describe("The files of Google Drive that a mail links to"),
});

const Try = z.object({
  number: z.int().describe("Which try it was, from 1"),
  host: z.string().describe("Where it was sent to; `(none)` where no workflow was configured"),
  started_at: z.string(),
  duration_ms: z.int(),
  status: z.int().nullable().describe("The HTTP status of the workflow's answer; null for none"),
  outcome: z
    .enum(["accepted", "retried", "given_up"])
    .describe("What came of it; `retried`: later, by itself"),
  error: z.string().nullable(),
});

const DeliveryAnswer = z.object({
  id: z.guid().describe("The delivery"),
  document_id: z.guid().nullable(),
  title: z.string().nullable().describe("The document's title; null where it has none or is gone"),
  kind: z
    .enum(["classification", "drive_sync"])
    .describe("`classification` of a document, or `drive_sync`: news of a file"),
  event_id: z.string().describe("What the workflow knows it by: the same on every try"),
  state: z
    .enum(["waiting", "delivered", "dead"])
    .describe("`dead` was given up, and can be sent once more"),
  tries: z.int(),
  next_try_at: Time.nullable(),
  last_error: z.string().nullable(),
  occurred_at: Time,
  finished_at: Time.nullable(),
  log: z.array(Try),
});

const Id = z.strictObject({ id: z.guid().describe("The document") });
const DeliveryId = z.strictObject({ id: z.guid().describe("The delivery") });
const SequenceKey = z.tuple([z.string().regex(/^\d{1,18}$/)]);

/** Documents, why they are here and in their project, and how they were handed on. */
export const documentRoutes: FastifyPluginAsyncZod<{ app: App }> = async (server, { app }) => {
  server.get(
    "/documents",
    {
      config: { who: "user" },
      schema: {
        summary: "The caller's documents, latest first",
        tags: ["documents"],
        querystring: z.strictObject({
          ...listQuery,
          project_id: z
            .union([z.guid(), z.literal("none")])
            .optional()
            .describe("Only those of this project, or of `none`"),
          type: z
            .string()
            .max(50)
            .optional()
            .describe("Such as email, document, meeting_transcript"),
          source: z.string().max(50).optional().describe("Such as gmail, drive, attendee_bot"),
          status: DocumentStatus.optional().describe("Its state"),
          classification: z
            .string()
            .max(50)
            .optional()
            .describe("pending, sent_to_n8n, classified, unclassified or failed"),
          q: z.string().max(200).optional().describe("Words of its title or author"),
        }),
        response: { 200: listOf(DocumentAnswer) },
      },
    },
    async (request) => {
      const { limit, cursor, project_id, q, ...filter } = request.query;
      const before = readCursor(TimeKey, cursor);
      const rows = await listDocuments(app, userOf(request), {
        ...filter,
        projectId: project_id === "none" ? null : project_id,
        search: q,
        before: before ? { at: before[0], id: before[1] } : undefined,
        limit: limit + 1,
      });
      const page = pageOf(rows, limit, (row) => [row.cursor_at, row.id]);
      return { ...page, items: page.items.map(answerOf) };
    },
  );

  server.get(
    "/documents/:id",
    {
      config: { who: "user" },
      schema: {
        summary: "One document, with its text",
        tags: ["documents"],
        params: Id,
        response: { 200: WholeDocument },
      },
    },
    async (request) => wholeAnswer(await getDocument(app, userOf(request), request.params.id)),
  );

  server.patch(
    "/documents/:id",
    {
      config: { who: "user" },
      schema: {
        summary: "Put a document into a project, or into none",
        description: "A person's choice; no workflow overwrites it.",
        tags: ["documents"],
        params: Id,
        body: z.strictObject({
          project_id: z.guid().nullable().describe("The project to put it into; null for none"),
        }),
        response: { 200: WholeDocument },
      },
    },
    async (request) => {
      const userId = userOf(request);
      await moveDocument(app, userId, request.params.id, request.body.project_id);
      return wholeAnswer(await getDocument(app, userId, request.params.id));
    },
  );

  server.post(
    "/documents/:id/classify",
    {
      config: { who: "user", idempotent: true },
      schema: {
        summary: "Classify a document once more, by the workflow or, without one, by the rules",
        description: "It decides again, also about what a person chose.",
        tags: ["documents"],
        params: Id,
        response: { 202: WholeDocument },
      },
    },
    async (request, reply) => {
      const userId = userOf(request);
      await classifyAgain(app, userId, request.params.id);
      return reply.code(202).send(wholeAnswer(await getDocument(app, userId, request.params.id)));
    },
  );

  server.get(
    "/documents/:id/why",
    {
      config: { who: "user" },
      schema: {
        summary: "Why a document is here, and why in its project",
        tags: ["documents"],
        params: Id,
        response: {
          200: z.object({
            taken: z
              .object({
                rule: z.string(),
                reason: z.string().describe("The decision in words"),
                inputs: z.looseObject({}),
                decided_at: Time,
              })
              .nullable(),
            project: z
              .object({
                decision: z.string().describe("Which project it is in, in words"),
                reason: z.string().describe("Why, in words"),
                confidence: z.number().nullable(),
                tags: z.array(z.string()),
                decided_at: Time.nullable(),
              })
              .describe("Why it is in its project, or in none"),
            results: z
              .array(
                z.object({
                  project_id: z
                    .guid()
                    .nullable()
                    .describe("The project that it says; null where it found none"),
                  confidence: z.number().nullable(),
                  tags: z.array(z.string()),
                  outcome: z
                    .enum(["applied", "late", "person_decided"])
                    .describe("`late`: a newer one counts; `person_decided`: it stays so"),
                  classified_at: Time.describe("When it was decided"),
                  received_at: Time.describe("When it came here"),
                }),
              )
              .describe("The latest 20 results of classification, the last first"),
          }),
        },
      },
    },
    async (request) => {
      const { document, taken, results, reason } = await whyDocument(
        app,
        userOf(request),
        request.params.id,
      );
      return {
        taken: taken && { ...taken, decided_at: taken.decided_at.toISOString() },
        project: {
          decision: document.project_name ? `In ${document.project_name}` : "In no project",
          reason: reasonOf(document, reason),
          confidence: document.classification_confidence,
          tags: document.tags ?? [],
          decided_at: (document.project_chosen_at ?? document.classified_at)?.toISOString() ?? null,
        },
        results: results.map((result) => ({
          ...result,
          tags: result.tags ?? [],
          classified_at: result.classified_at.toISOString(),
          received_at: result.received_at.toISOString(),
        })),
      };
    },
  );

  server.get(
    "/deliveries",
    {
      config: { who: "user" },
      schema: {
        summary: "What was handed to workflows for the caller, latest first, with every try",
        tags: ["documents"],
        querystring: z.strictObject({
          ...listQuery,
          state: z.enum(["waiting", "delivered", "dead"]).optional().describe("Only those in it"),
          document_id: z.guid().optional().describe("Only those of this document"),
        }),
        response: { 200: listOf(DeliveryAnswer) },
      },
    },
    async (request) => {
      const { limit, cursor, state, document_id } = request.query;
      const before = readCursor(SequenceKey, cursor);
      if (document_id) await getDocument(app, userOf(request), document_id);
      const rows = await listDeliveries(app, userOf(request), {
        state,
        documentId: document_id,
        before: before?.[0],
        limit: limit + 1,
      });
      const page = pageOf(rows, limit, (row) => [row.sequence]);
      return { ...page, items: page.items.map(deliveryAnswer) };
    },
  );

  server.post(
    "/deliveries/:id/resend",
    {
      config: { who: "user", idempotent: true },
      schema: {
        summary: "Send a delivery once more",
        tags: ["documents"],
        params: DeliveryId,
        response: { 202: DeliveryAnswer },
      },
    },
    async (request, reply) => {
      const userId = userOf(request);
      await resendDelivery(app, userId, request.params.id);
      return reply
        .code(202)
        .send(deliveryAnswer(await oneDelivery(app, userId, request.params.id)));
    },
  );

  server.get(
    "/deliveries/:id/why",
    {
      config: { who: "user" },
      schema: {
        summary: "How a delivery stands, and why",
        tags: ["documents"],
        params: DeliveryId,
        response: {
          200: z.object({
            decision: z.string().describe("How it stands, in words"),
            reason: z.string().describe("What went wrong at the last try, in words"),
            next_try_at: Time.nullable(),
            decided_at: Time.describe("When it ended; before that, when it came to be"),
            log: z.array(Try),
          }),
        },
      },
    },
    async (request) => {
      const delivery = await oneDelivery(app, userOf(request), request.params.id);
      const { log, next_try_at, decided_at, ...rest } = {
        ...deliveryAnswer(delivery),
        decided_at: delivery.finished_at ?? delivery.occurred_at,
      };
      return {
        decision: deliveryTexts[rest.state],
        reason: rest.last_error ?? "Nothing went wrong",
        next_try_at,
        decided_at: decided_at.toISOString(),
        log,
      };
    },
  );
};

const deliveryTexts = {
  waiting: "It is tried again by itself",
  delivered: "The workflow took it",
  dead: "It was given up; it can be sent again by hand",
};

type DeliveryRow = Awaited<ReturnType<typeof listDeliveries>>[number];

async function oneDelivery(app: App, userId: string, id: string): Promise<DeliveryRow> {
  const [delivery] = await listDeliveries(app, userId, { id, limit: 1 });
  if (!delivery) throw new AppError("not_found", `No delivery ${id}`);
  return delivery;
}

function deliveryAnswer(row: DeliveryRow): z.input<typeof DeliveryAnswer> {
  return {
    id: row.id,
    document_id: row.document_id,
    title: row.title,
    kind: row.kind,
    event_id: row.event_id,
    state: row.state,
    tries: row.tries,
    next_try_at: row.next_try_at?.toISOString() ?? null,
    last_error: row.last_error,
    occurred_at: row.occurred_at.toISOString(),
    finished_at: row.finished_at?.toISOString() ?? null,
    log: row.log ?? [],
  };
}

const classificationTexts: Record<string, string> = {
  pending: "It has not been classified yet",
  sent_to_n8n: "The workflow has it, and has not answered yet",
  unclassified: "No project was found for it",
  failed: "It could not be handed to the workflow; it can be sent again",
};

function reasonOf(document: Document, reason: string | null): string {
  if (document.project_chosen_at) return "A person chose it";
  return (
    reason ?? classificationTexts[document.classification_status ?? ""] ?? "The workflow said so"
  );
}

function answerOf(document: Document): z.input<typeof DocumentAnswer> {
  const { cursor_at: _, project_chosen_at, ...rest } = document;
  return {
    ...rest,
    tags: document.tags ?? [],
    is_project_chosen: project_chosen_at !== null,
    classified_at: document.classified_at?.toISOString() ?? null,
    received_at: document.received_at?.toISOString() ?? null,
    created_at: document.created_at?.toISOString() ?? null,
    updated_at: document.updated_at?.toISOString() ?? null,
  };
}

const Objects = z.array(z.looseObject({})).catch([]);

function wholeAnswer(
  document: Awaited<ReturnType<typeof getDocument>>,
): z.input<typeof WholeDocument> {
  return {
    ...answerOf(document),
    text: document.text,
    quoted: document.quoted,
    signature: document.signature,
    cut: document.cut,
    thread_id: document.thread_id,
    recipients: Objects.parse(document.recipients),
    attachments: Objects.parse(document.attachments),
    links: document.links,
  };
}
