import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import type { App } from "../app.ts";
import { ProviderError } from "../lib/errors.ts";
import { draftMetadata, explainModelFailure, requireModel } from "../projects/drafting.ts";
import { metadataErrors, ProjectMetadata, ProjectSummary } from "../projects/metadata.ts";
import {
  failureOf,
  getOnboarding,
  startOnboarding,
  storeMetadata,
  waitForOnboarding,
} from "../projects/onboarding.ts";
import { getProject } from "../projects/projects.ts";
import { OnboardingAnswer, onboardingAnswer, ProjectAnswer, projectAnswer } from "./projects.ts";
import { Wait } from "./runs.ts";
import { userOf } from "./session.ts";

const waitMs = 30_000;

const Form = ProjectSummary.describe("What a person says of the project");
const Begun = OnboardingAnswer.describe("How far it is");

/** Metadata of projects, drafted by a model and checked here. */
export const aiRoutes: FastifyPluginAsyncZod<{ app: App }> = async (server, { app }) => {
  server.post(
    "/ai/project-onboarding",
    {
      config: { who: "user", idempotent: true },
      schema: {
        summary: "Draft a project's metadata from a form, check it, and store it",
        description:
          "Goes on in the background; `onboarding.changed` of `GET /events` tells how far it is. The same form twice is one onboarding.",
        tags: ["projects"],
        querystring: Wait,
        body: z.strictObject({
          project_id: z.guid().describe("The project to draft metadata for"),
          summary: Form,
        }),
        response: {
          200: z.object({ onboarding: Begun, project: ProjectAnswer }),
          202: z.object({
            job_id: z.guid().describe("The same as the onboarding's id"),
            onboarding: Begun,
          }),
        },
      },
    },
    async (request, reply) => {
      const userId = userOf(request);
      const { project_id, summary } = request.body;
      const begun = await startOnboarding(app, userId, project_id, summary);
      const onboarding = request.query.wait
        ? await waitForOnboarding(app, userId, begun.id, waitMs)
        : begun;
      if (onboarding.state === "failed") throw failureOf(onboarding);
      if (onboarding.state !== "stored") {
        const answer = onboardingAnswer(onboarding);
        return reply.code(202).send({ job_id: answer.id, onboarding: answer });
      }
      const project = projectAnswer(await getProject(app, userId, project_id));
      return { onboarding: onboardingAnswer(onboarding), project };
    },
  );

  server.get(
    "/ai/onboardings/:id",
    {
      config: { who: "user" },
      schema: {
        summary: "How far an onboarding is",
        tags: ["projects"],
        params: z.strictObject({ id: z.guid().describe("The onboarding, or the job of it") }),
        response: { 200: OnboardingAnswer },
      },
    },
    async (request) =>
      onboardingAnswer(await getOnboarding(app, userOf(request), request.params.id)),
  );

  server.post(
    "/ai/generate-metadata",
    {
      config: { who: "user" },
      schema: {
        summary: "Draft a project's metadata from a form, and store nothing",
        tags: ["projects"],
        body: z.strictObject({ summary: Form }),
        response: {
          200: z.object({
            metadata: ProjectMetadata.describe("The draft, checked"),
            corrections: z.array(z.string()),
            usage: z.object({
              model: z.string(),
              input_tokens: z.int(),
              output_tokens: z.int(),
              model_calls: z.int(),
              duration_ms: z.int(),
            }),
          }),
        },
      },
    },
    async (request) => {
      requireModel(app);
      const leaving = new AbortController();
      // Whoever has gone away needs no answer, and the model costs money.
      request.raw.socket.once("close", () => leaving.abort());
      const { summary } = request.body;
      const drafted = await draftMetadata(app, userOf(request), summary, {
        signal: leaving.signal,
      }).catch((error: unknown) => {
        throw error instanceof ProviderError ? explainModelFailure(error) : error;
      });
      const { model, inputTokens, outputTokens, modelCalls, durationMs } = drafted.usage;
      return {
        metadata: drafted.metadata,
        corrections: drafted.corrections,
        usage: {
          model,
          input_tokens: inputTokens,
          output_tokens: outputTokens,
          model_calls: modelCalls,
          duration_ms: durationMs,
        },
      };
    },
  );

  server.post(
    "/ai/validate-metadata",
    {
      config: { who: "user" },
      schema: {
        summary: "What is wrong with metadata, field by field",
        tags: ["projects"],
        body: z.strictObject({
          metadata: z.looseObject({}).describe("What to check, whatever it holds"),
        }),
        response: {
          200: z.object({
            valid: z.boolean().describe("Whether it could be stored"),
            errors: z
              .array(
                z.object({
                  path: z.string(),
                  message: z.string().describe("What is wrong with it, in words"),
                }),
              )
              .describe("What is wrong, field by field, 100 at most"),
          }),
        },
      },
    },
    async (request) => {
      const errors = metadataErrors(request.body.metadata).slice(0, 100);
      return { valid: errors.length === 0, errors };
    },
  );

  server.put(
    "/ai/update-metadata/:project_id",
    {
      config: { who: "user" },
      schema: {
        summary: "Check metadata, and store it for a project",
        tags: ["projects"],
        params: z.strictObject({ project_id: z.guid().describe("The project") }),
        body: z.strictObject({
          metadata: ProjectMetadata.describe("What to store, in place of what is there"),
        }),
        response: { 200: ProjectAnswer },
      },
    },
    async (request) => {
      const userId = userOf(request);
      const { project_id } = request.params;
      const { metadata } = request.body;
      await app.db
        .transaction()
        .execute((tx) => storeMetadata(app, tx, userId, project_id, metadata));
      return projectAnswer(await getProject(app, userId, project_id));
    },
  );
};
