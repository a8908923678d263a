import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { userOf } from "../api/session.ts";
import type { App } from "../app.ts";
import { AppError } from "../lib/errors.ts";
import { ProjectSummary } from "../projects/metadata.ts";
import { failureOf, startOnboarding, waitForOnboarding } from "../projects/onboarding.ts";
import { getProject } from "../projects/projects.ts";
import { oldPost } from "./old-address.ts";

// The old function was given texts of any kind, null among them.
const text = z
  .string()
  .nullish()
  .transform((value) => value ?? "");
const OldSummary = z.looseObject({
  project_name: z.string(),
  overview: z.string(),
  keywords: z.array(z.string()).nullish(),
  deliverables: text,
  contacts: z.looseObject({ internal_lead: text, agency_lead: text, client_lead: text }).nullish(),
  shoot_date: text,
  location: text,
  references: text,
});

// As long as three tries of a model may take.
const waitMs = 190_000;

/** The old address of onboarding: same fields, same shapes; the project has to be the caller's own. */
export const projectGateway: FastifyPluginAsyncZod<{ app: App }> = async (server, { app }) => {
  server.post(
    "/project-onboarding-ai",
    {
      config: { who: "user" },
      schema: oldPost("draft a project's metadata, and store it"),
    },
    async (request, reply) => {
      const userId = userOf(request);
      const failed = (message: string) =>
        reply.code(400).send({ success: false, message, error: message });
      const body = z
        .looseObject({ project_id: z.guid(), summary: OldSummary })
        .safeParse(request.body);
      if (!body.success) return failed("Missing required fields: project_id, user_id, summary");
      const { project_id, user_id, summary } = body.data;
      const isForeign = user_id !== undefined && String(user_id).toLowerCase() !== userId;
      if (isForeign) return failed("Project not found");
      const checked = ProjectSummary.safeParse(summaryOf(summary));
      if (!checked.success) {
        const [issue] = checked.error.issues;
        return failed(`summary.${issue?.path.join(".")}: ${issue?.message}`);
      }
      try {
        const begun = await startOnboarding(app, userId, project_id, checked.data);
        const onboarding = await waitForOnboarding(app, userId, begun.id, waitMs);
        if (onboarding.state !== "stored") throw failureOf(onboarding);
        const metadata = await metadataOf(app, userId, project_id);
        return { success: true, message: "Project metadata processed successfully", metadata };
      } catch (error) {
        if (error instanceof AppError) return failed(error.message);
        throw error;
      }
    },
  );
};

function summaryOf({ keywords, contacts, ...rest }: z.output<typeof OldSummary>) {
  const { project_name, overview, deliverables, shoot_date, location, references } = rest;
  const { internal_lead = "", agency_lead = "", client_lead = "" } = contacts ?? {};
  return {
    ...{ project_name, overview, deliverables, shoot_date, location, references },
    keywords: (keywords ?? []).filter((word) => word.trim() !== ""),
    contacts: { internal_lead, agency_lead, client_lead },
  };
}

async function metadataOf(app: App, userId: string, projectId: string) {
  const project = await getProject(app, userId, projectId);
  const learnt = await app.db
    .selectFrom("projects")
    .select(["pinecone_document_count", "classification_feedback"])
    .where("id", "=", projectId)
    .executeTakeFirstOrThrow();
  return {
    ...project,
    created_by: userId,
    pinecone_document_count: learnt.pinecone_document_count ?? 0,
    classification_feedback: learnt.classification_feedback,
  };
}
