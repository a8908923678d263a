import { z } from "zod";
import type { App } from "../app.ts";
import { usualThresholds } from "../projects/metadata.ts";
import { applyClassification } from "./classification.ts";
import { classifyByRules, type ProjectFacts } from "./classification-rules.ts";

/**
 * Classifies a document here, where no workflow does: by rules over the metadata of its owner's projects. What a person
 * chose, or a workflow has decided since, stays.
 */
export async function classifyHere(
  app: Pick<App, "db" | "clock" | "config">,
  { documentId }: { documentId: string },
): Promise<{ classified: number }> {
  if (app.config.n8n.classificationUrl !== null) return { classified: 0 };
  const document = await app.db
    .selectFrom("documents")
    .leftJoin("document_texts", "document_texts.document_id", "documents.id")
    .select(["documents.created_by", "source", "title", "author", "recipients", "summary"])
    .select(["received_at", "documents.created_at", "document_texts.text"])
    .where("documents.id", "=", documentId)
    .executeTakeFirst();
  if (!document?.created_by) return { classified: 0 };
  const { recipients, author, text, summary, received_at, created_at } = document;
  const facts = {
    source: document.source ?? "",
    title: document.title ?? "",
    text: text ?? summary ?? "",
    people: [author ?? "", ...Recipients.parse(recipients)],
    at: received_at ?? created_at,
  };
  const ruling = classifyByRules(facts, await projectFacts(app, document.created_by));
  const outcome = await applyClassification(app, {
    documentId,
    projectId: ruling.projectId,
    confidence: ruling.confidence,
    tags: ruling.because.flatMap(({ kind, value }) => (kind === "tag" ? [value] : [])),
    reason: ruling.reason,
    classifiedAt: app.clock.now(),
    source: "auto",
  });
  return { classified: outcome === "applied" ? 1 : 0 };
}

const Recipients = z
  .array(
    z
      .looseObject({ name: z.string().nullish(), address: z.string().nullish() })
      .transform(({ name, address }) => `${name ?? ""} <${address ?? ""}>`),
  )
  .catch([]);

async function projectFacts(app: Pick<App, "db">, userId: string): Promise<ProjectFacts[]> {
  const projects = await app.db
    .selectFrom("projects")
    .select(["id", "name", "normalized_tags", "reference_keywords"])
    .select(["entity_patterns", "classification_signals"])
    .where("created_by", "=", userId)
    .where("status", "in", ["active", "in_progress"])
    .orderBy("id")
    .limit(1_000)
    .execute();
  return projects.map((project) => {
    const entities = Entities.parse(project.entity_patterns ?? {});
    const signals = Signals.parse(project.classification_signals ?? {});
    return {
      id: project.id,
      name: project.name,
      tags: project.normalized_tags ?? [],
      keywords: project.reference_keywords ?? [],
      people: Object.keys(entities.people),
      locations: entities.locations,
      domains: entities.domains,
      codes: entities.project_codes,
      activePeriod: signals.temporal_relevance.active_period,
      thresholds: signals.confidence_thresholds,
    };
  });
}

// Metadata of years: whatever of it has another form than ours counts as missing.
const words = z.array(z.string()).catch([]);
const share = (usual: number) => z.number().min(0).max(1).catch(usual);
const Entities = z
  .looseObject({
    people: z.record(z.string(), z.unknown()).catch({}),
    locations: words,
    domains: words,
    project_codes: words,
  })
  .catch({ people: {}, locations: [], domains: [], project_codes: [] });
const { email, gdrive } = usualThresholds;
const Email = z
  .looseObject({
    subject_match: share(email.subject_match),
    content_match: share(email.content_match),
  })
  .catch(email);
const Files = z
  .looseObject({
    filename_match: share(gdrive.filename_match),
    content_match: share(gdrive.content_match),
  })
  .catch(gdrive);
const Thresholds = z.looseObject({ email: Email, gdrive: Files }).catch(usualThresholds);
const Signals = z
  .looseObject({
    temporal_relevance: z
      .looseObject({ active_period: z.tuple([z.string(), z.string()]).nullable().catch(null) })
      .catch({ active_period: null }),
    confidence_thresholds: Thresholds,
  })
  .catch({
    temporal_relevance: { active_period: null },
    confidence_thresholds: usualThresholds,
  });
