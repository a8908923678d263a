import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import { tellUser } from "../accounts/tell-user.ts";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import { AppError, ProviderError } from "../lib/errors.ts";
import { catalog, type JobContext } from "../queue/catalog.ts";
import { enqueue, hasJob } from "../queue/queue.ts";
import { draftMetadata, explainModelFailure, requireModel, type Usage } from "./drafting.ts";
import { type ProjectMetadata, ProjectSummary } from "./metadata.ts";
import { lockProject } from "./projects.ts";

type Part = Pick<App, "db" | "clock" | "config" | "queue" | "providerLimits">;

/** How far the onboarding of a project is. */
export type Onboarding = Awaited<ReturnType<typeof getOnboarding>>;

// The second click of a double click, and whoever loads the page anew, means the first one.
const sameForMs = 10 * 60_000;
const underWay = ["waiting", "drafting", "checking"] as const;
// Every attempt says that it begins, and no attempt takes longer than this, with a minute for the queue to end it.
const silentForMs = (catalog["projects.onboard"].settings.expireSeconds + 60) * 1000;
// One that began just now may not have its job yet in what a sweep sees.
const jobWithinMs = 60_000;
// Nothing of an earlier draft is said of the next one.
const nothingYet = {
  state: "waiting" as const,
  corrections: [],
  error: null,
  error_code: null,
  retry_after_seconds: null,
  model: null,
  input_tokens: 0,
  output_tokens: 0,
  model_calls: 0,
  duration_ms: null,
};
// Why it failed is in the log, and not for the person.
const unfinished =
  "The draft could not be finished. Send the form again; if that fails too, whoever runs Daybook finds the reason in its log.";

/**
 * Begins to draft a project's metadata from what a person wrote of it. The same words again, while the first are under
 * way or just done, are the same onboarding; after a failure, or where nothing was heard of it for longer than an attempt
 * can take, they begin it anew. A job of it that still waits is the one that goes on.
 *
 * @throws {AppError} `not_found` for somebody else's project; `unavailable` without a model.
 */
export async function startOnboarding(
  app: Part,
  userId: string,
  projectId: string,
  summary: ProjectSummary,
): Promise<Onboarding> {
  const now = app.clock.now();
  const hash = createHash("sha256").update(JSON.stringify(summary)).digest();
  const id = await app.db.transaction().execute(async (tx) => {
    await lockProject(tx, userId, projectId);
    requireModel(app);
    const begun = await tx
      .insertInto("onboardings")
      .values({
        user_id: userId,
        project_id: projectId,
        summary_hash: hash,
        summary: JSON.stringify(summary),
        created_at: now,
        updated_at: now,
      })
      .onConflict((conflict) =>
        conflict
          .columns(["project_id", "summary_hash"])
          .doUpdateSet({ ...nothingYet, updated_at: now })
          .where((row) =>
            row.or([
              row("onboardings.state", "=", "failed"),
              row.and([
                row("onboardings.state", "in", underWay),
                row("onboardings.updated_at", "<", new Date(now.getTime() - silentForMs)),
              ]),
              row.and([
                row("onboardings.state", "=", "stored"),
                row("onboardings.updated_at", "<", new Date(now.getTime() - sameForMs)),
              ]),
            ]),
          ),
      )
      .returning("id")
      .executeTakeFirst();
    if (begun) {
      await enqueue(app, tx, {
        name: "projects.onboard",
        payload: { onboardingId: begun.id },
        key: begun.id,
      });
      await tell(tx, { userId, projectId, id: begun.id, state: "waiting" });
      return begun.id;
    }
    const known = await tx
      .selectFrom("onboardings")
      .select("id")
      .where("project_id", "=", projectId)
      .where("summary_hash", "=", hash)
      .executeTakeFirstOrThrow();
    return known.id;
  });
  return getOnboarding(app, userId, id);
}

/** @throws {AppError} `not_found` */
export async function getOnboarding(app: Pick<App, "db">, userId: string, id: string) {
  const onboarding = await app.db
    .selectFrom("onboardings")
    .select(["id", "project_id", "state", "summary", "corrections", "error", "error_code"])
    .select(["retry_after_seconds", "model", "input_tokens", "output_tokens", "model_calls"])
    .select(["duration_ms", "created_at", "updated_at"])
    .where("id", "=", id)
    .where("user_id", "=", userId)
    .executeTakeFirst();
  if (!onboarding) throw new AppError("not_found", `No onboarding ${id}`);
  return { ...onboarding, summary: ProjectSummary.parse(onboarding.summary) };
}

/** The latest onboarding of a project; null where there was none. */
export async function findOnboarding(app: Pick<App, "db">, userId: string, projectId: string) {
  const latest = await app.db
    .selectFrom("onboardings")
    .select("id")
    .where("project_id", "=", projectId)
    .where("user_id", "=", userId)
    .orderBy("updated_at", "desc")
    .executeTakeFirst();
  return latest ? getOnboarding(app, userId, latest.id) : null;
}

/** Waits until an onboarding has ended, or for so long. */
export async function waitForOnboarding(
  app: Pick<App, "db">,
  userId: string,
  id: string,
  waitMs: number,
): Promise<Onboarding> {
  for (const until = Date.now() + waitMs; ; await sleep(100)) {
    const onboarding = await getOnboarding(app, userId, id);
    const isOver = onboarding.state === "stored" || onboarding.state === "failed";
    if (isOver || Date.now() >= until) return onboarding;
  }
}

/** What a failed onboarding is to whoever waited for it. */
export function failureOf(onboarding: Onboarding): AppError {
  const code = onboarding.error_code as AppError["code"] | null;
  const { retry_after_seconds: seconds } = onboarding;
  return new AppError(code ?? "internal", onboarding.error ?? "It failed", {
    retryAfterSeconds: seconds ?? undefined,
  });
}

/**
 * Drafts, checks and stores, and says how far it is. What fails leaves the project as it was. A run that dies is begun
 * again; one that is over is left alone. A fault of ours is noted once nobody will try again.
 */
export async function runOnboarding(
  app: Part,
  { onboardingId }: { onboardingId: string },
  { signal, isGivenUpBy }: Pick<JobContext, "signal" | "isGivenUpBy">,
): Promise<{ stored: number }> {
  const onboarding = await app.db
    .selectFrom("onboardings")
    .selectAll()
    .where("id", "=", onboardingId)
    .where("state", "in", underWay)
    .executeTakeFirst();
  if (!onboarding) return { stored: 0 };
  const of = { id: onboardingId, userId: onboarding.user_id, projectId: onboarding.project_id };
  try {
    await advance(app, of, "drafting");
    const summary = ProjectSummary.parse(onboarding.summary);
    const onAnswer = () => advance(app, of, "checking");
    const drafted = await draftMetadata(app, of.userId, summary, { signal, onAnswer });
    await app.db.transaction().execute(async (tx) => {
      await storeMetadata(app, tx, of.userId, of.projectId, drafted.metadata);
      await end(app, tx, of, { state: "stored", ...drafted });
    });
    return { stored: 1 };
  } catch (thrown) {
    const error = signal.aborted ? signal.reason : thrown;
    const failure = error instanceof ProviderError ? explainModelFailure(error) : error;
    const isExpected = failure instanceof AppError && !signal.aborted;
    if (!isExpected && !isGivenUpBy(error)) throw error;
    const told = isExpected ? failure : new AppError("internal", unfinished);
    await app.db
      .transaction()
      .execute((tx) => end(app, tx, of, { state: "failed", failure: told }));
    if (!isExpected) throw error;
    return { stored: 0 };
  }
}

/** Says of those that no job is at any more, as where a process was killed in the last attempt, that they have failed. */
export async function endLostOnboardings(app: Part): Promise<number> {
  const { rows } = await sql<Of>`
    select id, user_id as "userId", project_id as "projectId" from onboardings
    where state in ('waiting', 'drafting', 'checking')
      and updated_at < ${new Date(app.clock.now().getTime() - jobWithinMs)}
      and not ${hasJob("projects.onboard", "onboardings.id")}
    order by updated_at limit 1000
  `.execute(app.db);
  const failure = new AppError("internal", unfinished);
  for (const of of rows) {
    await app.db.transaction().execute((tx) => end(app, tx, of, { state: "failed", failure }));
  }
  return rows.length;
}

type Of = { id: string; userId: string; projectId: string };

async function advance(app: Part, of: Of, state: "drafting" | "checking"): Promise<void> {
  await app.db.transaction().execute(async (tx) => {
    const { numUpdatedRows } = await tx
      .updateTable("onboardings")
      .set({ state, updated_at: app.clock.now() })
      .where("id", "=", of.id)
      .where("state", "in", underWay)
      .executeTakeFirst();
    if (numUpdatedRows > 0n) await tell(tx, { ...of, state });
  });
}

async function end(
  app: Part,
  tx: Tx,
  of: Of,
  ended:
    | { state: "stored"; corrections: string[]; usage: Usage }
    | { state: "failed"; failure: AppError },
): Promise<void> {
  const outcome =
    ended.state === "stored"
      ? { corrections: ended.corrections, error: null, error_code: null, ...usageOf(ended.usage) }
      : {
          error: ended.failure.message,
          error_code: ended.failure.code,
          retry_after_seconds: ended.failure.retryAfterSeconds ?? null,
        };
  const { numUpdatedRows } = await tx
    .updateTable("onboardings")
    .set({ state: ended.state, updated_at: app.clock.now(), ...outcome })
    .where("id", "=", of.id)
    // Where two runs have met, a draft that is stored counts, and no failure beside it.
    .$if(ended.state === "failed", (update) => update.where("state", "in", underWay))
    .executeTakeFirst();
  if (numUpdatedRows > 0n) await tell(tx, { ...of, state: ended.state });
}

function usageOf({ model, inputTokens, outputTokens, modelCalls, durationMs }: Usage) {
  return {
    model,
    input_tokens: sql<number>`input_tokens + ${inputTokens}`,
    output_tokens: sql<number>`output_tokens + ${outputTokens}`,
    model_calls: sql<number>`model_calls + ${modelCalls}`,
    duration_ms: durationMs,
  };
}

/**
 * Stores metadata in both tables that keep it. What is learnt besides (when it was last classified, feedback, counts)
 * stays.
 *
 * @throws {AppError} `not_found`
 */
export async function storeMetadata(
  app: Pick<App, "clock">,
  tx: Tx,
  userId: string,
  projectId: string,
  metadata: ProjectMetadata,
): Promise<void> {
  await lockProject(tx, userId, projectId);
  const { entity_patterns, classification_signals, ...plain } = metadata;
  await tx
    .updateTable("projects")
    .set({
      ...plain,
      entity_patterns: JSON.stringify(entity_patterns),
      classification_signals: JSON.stringify(classification_signals),
      updated_at: app.clock.now(),
    })
    .where("id", "=", projectId)
    .execute();
  const { normalized_tags, categories, reference_keywords, notes } = metadata;
  const copied = { normalized_tags, categories, reference_keywords, notes };
  await tx
    .insertInto("project_metadata")
    .values({ project_id: projectId, ...copied })
    .onConflict((conflict) => conflict.column("project_id").doUpdateSet(copied))
    .execute();
}

async function tell(tx: Tx, { userId, projectId, id, state }: Of & { state: string }) {
  const payload = { onboarding_id: id, project_id: projectId, state };
  await tellUser(tx, userId, [{ type: "onboarding.changed", payload }]);
}
