import { sql } from "kysely";
import type { App } from "../app.ts";
import { type Db, type Tx, transactAnew } from "../db/connection.ts";
import { AppError } from "../lib/errors.ts";

/** A project as its owner sees it. */
export type Project = {
  id: string;
  name: string;
  description: string | null;
  status: string | null;
  notes: string | null;
  normalized_tags: string[] | null;
  categories: string[] | null;
  reference_keywords: string[] | null;
  entity_patterns: Record<string, unknown> | null;
  classification_signals: Record<string, unknown> | null;
  created_at: Date | null;
  updated_at: Date | null;
  last_classification_at: Date | null;
};

type Part = Pick<App, "db" | "clock">;

const columns = [
  "id",
  "name",
  "description",
  "status",
  "notes",
  "normalized_tags",
  "categories",
  "reference_keywords",
  "entity_patterns",
  "classification_signals",
  "created_at",
  "updated_at",
  "last_classification_at",
] as const;

/** A user's projects by name, those that are archived only where they are asked for. */
export async function listProjects(
  app: Part,
  userId: string,
  filter: { status?: string | undefined; after?: [string, string] | undefined; limit: number },
): Promise<Project[]> {
  let query = app.db.selectFrom("projects").select(columns).where("created_by", "=", userId);
  query = filter.status
    ? query.where("status", "=", filter.status)
    : query.where((row) => row.or([row("status", "is", null), row("status", "!=", "archived")]));
  if (filter.after) {
    const [name, id] = filter.after;
    query = query.where((row) =>
      row.or([row("name", ">", name), row.and([row("name", "=", name), row("id", ">", id)])]),
    );
  }
  return query.orderBy("name").orderBy("id").limit(filter.limit).execute();
}

/** @throws {AppError} `not_found` */
export async function getProject(app: Part, userId: string, id: string): Promise<Project> {
  const project = await app.db
    .selectFrom("projects")
    .select(columns)
    .where("id", "=", id)
    .where("created_by", "=", userId)
    .executeTakeFirst();
  if (!project) throw new AppError("not_found", `No project ${id}`);
  return project;
}

/** What a person may set themselves; the rest is drafted, or learnt. */
export type ProjectInput = {
  name: string;
  description?: string | null | undefined;
  status?: "active" | "in_progress" | "archived" | undefined;
  notes?: string | null | undefined;
  normalized_tags?: string[] | undefined;
  categories?: string[] | undefined;
  reference_keywords?: string[] | undefined;
};

export async function createProject(
  app: Part,
  userId: string,
  input: ProjectInput,
): Promise<Project> {
  const now = app.clock.now();
  return app.db
    .insertInto("projects")
    .values({ status: "active", ...input, created_by: userId, created_at: now, updated_at: now })
    .returning(columns)
    .executeTakeFirstOrThrow();
}

/** Changes what is named, and nothing else. @throws {AppError} `not_found` */
export async function changeProject(
  app: Part,
  userId: string,
  id: string,
  change: { [Field in keyof ProjectInput]?: ProjectInput[Field] | undefined },
): Promise<Project> {
  return app.db.transaction().execute(async (tx) => {
    const project = await tx
      .updateTable("projects")
      .set({ ...change, updated_at: app.clock.now() })
      .where("id", "=", id)
      .where("created_by", "=", userId)
      .returning(columns)
      .executeTakeFirst();
    if (!project) throw new AppError("not_found", `No project ${id}`);
    // The copy that the older product's pages read, where there is one.
    const { normalized_tags, categories, reference_keywords, notes } = project;
    await tx
      .updateTable("project_metadata")
      .set({ normalized_tags, categories, reference_keywords, notes })
      .where("project_id", "=", id)
      .execute();
    return project;
  });
}

/** Deletes a project. Its documents and meetings stay, in none. @throws {AppError} `not_found` */
export async function deleteProject(
  app: Pick<App, "db" | "log">,
  userId: string,
  id: string,
): Promise<void> {
  // A meeting may come into it after those that are in it were locked.
  await transactAnew(app, async (tx) => {
    await sql`
      select from meetings where project_id = ${id} and user_id = ${userId} order by id for update
    `.execute(tx);
    await lockProject(tx, userId, id);
    // Whatever else points at it goes with it.
    await tx
      .updateTable("documents")
      .set({ project_id: null })
      .where("project_id", "=", id)
      .execute();
    await tx
      .updateTable("meetings")
      .set({ project_id: null })
      .where("project_id", "=", id)
      .execute();
    await tx.deleteFrom("projects").where("id", "=", id).execute();
  });
}

/** Whether there is such a project and it is this user's. Within a transaction it stays until that ends. */
export async function ownsProject(db: Db | Tx, userId: string, id: string): Promise<boolean> {
  const project = await db
    .selectFrom("projects")
    .select("id")
    .where("id", "=", id)
    .where("created_by", "=", userId)
    .$if(db.isTransaction, (query) => query.forKeyShare())
    .executeTakeFirst();
  return project !== undefined;
}

/** @throws {AppError} `not_found` for a project that is not this user's. */
export async function requireProject(db: Db | Tx, userId: string, id: string): Promise<void> {
  if (!(await ownsProject(db, userId, id))) throw new AppError("not_found", `No project ${id}`);
}

/** Holds a project's row until the transaction ends. @throws {AppError} `not_found` */
export async function lockProject(tx: Tx, userId: string, id: string): Promise<void> {
  const project = await tx
    .selectFrom("projects")
    .select("id")
    .where("id", "=", id)
    .where("created_by", "=", userId)
    .forUpdate()
    .executeTakeFirst();
  if (!project) throw new AppError("not_found", `No project ${id}`);
}
