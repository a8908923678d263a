import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import type { App } from "../app.ts";
import { ProjectSummary, projectTexts } from "../projects/metadata.ts";
import { findOnboarding, type Onboarding } from "../projects/onboarding.ts";
import {
  changeProject,
  createProject,
  deleteProject,
  getProject,
  listProjects,
  type Project,
} from "../projects/projects.ts";
import { listOf, listQuery, pageOf, readCursor } from "./lists.ts";
import { userOf } from "./session.ts";
import { Time } from "./times.ts";

const Words = z.array(z.string().trim().min(1).max(200)).max(200);
const Json = z.looseObject({}).nullable();

/** A project, in every answer. */
export const ProjectAnswer = z.object({
  id: z.guid().describe("The project"),
  name: z.string().describe(projectTexts.name),
  description: z.string().nullable().describe(projectTexts.description),
  status: z.string().nullable().describe(projectTexts.status),
  notes: z.string().nullable().describe(projectTexts.notes),
  normalized_tags: z.array(z.string()),
  categories: z.array(z.string()),
  reference_keywords: z.array(z.string()),
  entity_patterns: Json,
  classification_signals: Json,
  created_at: Time.nullable(),
  updated_at: Time.nullable(),
  last_classification_at: Time.nullable(),
});

const Stage = z.enum(["waiting", "drafting", "checking", "stored", "failed"]);

/** How far an onboarding is, and what it took. */
export const OnboardingAnswer = z.object({
  id: z.guid().describe("The onboarding"),
  project_id: z.guid().describe("The project whose metadata is drafted"),
  state: Stage.describe(
    "How far it is; `stored` in the project, or `failed`, and `error` says why",
  ),
  summary: ProjectSummary.describe("The form as it was sent"),
  corrections: z.array(z.string()),
  error: z.string().nullable(),
  model: z.string().nullable(),
  input_tokens: z.int(),
  output_tokens: z.int(),
  model_calls: z.int(),
  duration_ms: z
    .int()
    .nullable()
    .describe("How long the draft that was stored took, in milliseconds; null before one was"),
  created_at: Time,
  updated_at: Time,
});

const WholeProject = ProjectAnswer.extend({ onboarding: OnboardingAnswer.nullable() });

const ProjectBody = z.strictObject({
  name: z.string().trim().min(1).max(200).describe(projectTexts.name),
  description: z.string().max(10_000).nullable().optional().describe(projectTexts.description),
  status: z
    .enum(["active", "in_progress", "archived"])
    .optional()
    .describe(`${projectTexts.status}; a new one is \`active\` by itself`),
  notes: z.string().max(20_000).nullable().optional().describe(projectTexts.notes),
  normalized_tags: Words.optional(),
  categories: Words.optional(),
  reference_keywords: Words.optional(),
});

const Id = z.strictObject({ id: z.guid().describe("The project") });

/** Projects, which documents and meetings are put into. */
export const projectRoutes: FastifyPluginAsyncZod<{ app: App }> = async (server, { app }) => {
  server.get(
    "/projects",
    {
      config: { who: "user" },
      schema: {
        summary: "The caller's projects, by name",
        tags: ["projects"],
        querystring: z.strictObject({
          ...listQuery,
          status: z
            .enum(["active", "in_progress", "archived"])
            .optional()
            .describe("Only those; without it all but the archived"),
        }),
        response: { 200: listOf(ProjectAnswer) },
      },
    },
    async (request) => {
      const { limit, cursor, status } = request.query;
      const after = readCursor(z.tuple([z.string(), z.guid()]), cursor) ?? undefined;
      const rows = await listProjects(app, userOf(request), { status, after, limit: limit + 1 });
      return pageOf(rows.map(projectAnswer), limit, ({ name, id }) => [name, id]);
    },
  );

  server.post(
    "/projects",
    {
      config: { who: "user", idempotent: true },
      schema: {
        summary: "Create a project",
        tags: ["projects"],
        body: ProjectBody,
        response: { 201: ProjectAnswer },
      },
    },
    async (request, reply) =>
      reply.code(201).send(projectAnswer(await createProject(app, userOf(request), request.body))),
  );

  server.get(
    "/projects/:id",
    {
      config: { who: "user" },
      schema: {
        summary: "One project, with its latest onboarding",
        tags: ["projects"],
        params: Id,
        response: { 200: WholeProject },
      },
    },
    async (request) => {
      const userId = userOf(request);
      const project = projectAnswer(await getProject(app, userId, request.params.id));
      const onboarding = await findOnboarding(app, userId, request.params.id);
      return { ...project, onboarding: onboarding && onboardingAnswer(onboarding) };
    },
  );

  server.patch(
    "/projects/:id",
    {
      config: { who: "user" },
      schema: {
        summary: "Change or archive a project",
        tags: ["projects"],
        params: Id,
        body: ProjectBody.partial().refine(
          (body) => Object.keys(body).length > 0,
          "names nothing to change",
        ),
        response: { 200: ProjectAnswer },
      },
    },
    async (request) =>
      projectAnswer(await changeProject(app, userOf(request), request.params.id, request.body)),
  );

  server.delete(
    "/projects/:id",
    {
      config: { who: "user" },
      schema: {
        summary: "Delete a project; its documents and meetings stay, in none",
        tags: ["projects"],
        params: Id,
        response: { 204: z.undefined() },
      },
    },
    async (request, reply) => {
      await deleteProject(app, userOf(request), request.params.id);
      return reply.code(204).send();
    },
  );
};

export function projectAnswer(project: Project): z.input<typeof ProjectAnswer> {
  return {
    ...project,
    normalized_tags: project.normalized_tags ?? [],
    categories: project.categories ?? [],
    reference_keywords: project.reference_keywords ?? [],
    created_at: project.created_at?.toISOString() ?? null,
    updated_at: project.updated_at?.toISOString() ?? null,
    last_classification_at: project.last_classification_at?.toISOString() ?? null,
  };
}

export function onboardingAnswer(onboarding: Onboarding): z.output<typeof OnboardingAnswer> {
  const { error_code: _, retry_after_seconds: __, created_at, updated_at, ...rest } = onboarding;
  return { ...rest, created_at: created_at.toISOString(), updated_at: updated_at.toISOString() };
}
