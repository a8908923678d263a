import { type RawBuilder, sql } from "kysely";
import type { App } from "../app.ts";
import { seal, unseal } from "../lib/secrets.ts";
import { boundTo } from "./connections.ts";

type Part = Pick<App, "db" | "config">;

const columns = ["access_token", "refresh_token"] as const;

/** How many connections there are, and how many still carry a value of an earlier key. */
export async function countSealed(app: Part): Promise<{ total: number; old: number }> {
  const row = await app.db
    .selectFrom("connections")
    .select([
      sql<number>`count(*)::int`.as("total"),
      sql<number>`(count(*) filter (where ${isOld(app)}))::int`.as("old"),
    ])
    .executeTakeFirstOrThrow();
  return row;
}

/**
 * Seals anew, with the current key, what an earlier key sealed. Runs beside everything else: a token that is refreshed
 * meanwhile is sealed with the current key anyway and is left as it is. Safe to stop and repeat.
 */
export async function resealTokens(
  app: Part,
  onProgress: (progress: { done: number; total: number }) => void = () => {},
  signal?: AbortSignal,
): Promise<{ resealed: number }> {
  const { old: total } = await countSealed(app);
  let done = 0;
  let after = "00000000-0000-0000-0000-000000000000";
  while (!signal?.aborted) {
    const rows = await app.db
      .selectFrom("connections")
      .select(["id", "access_token", "refresh_token"])
      .where(isOld(app))
      .where("id", ">", after)
      .orderBy("id")
      .limit(500)
      .execute();
    const last = rows.at(-1);
    if (!last) break;
    after = last.id;
    await storeResealed(app, rows);
    done += rows.length;
    onProgress({ done, total: Math.max(total, done) });
  }
  return { resealed: done };
}

type Row = { id: string; access_token: string | null; refresh_token: string | null };

// One statement for the whole portion; each value is replaced only while it is still the one that was read.
async function storeResealed(app: Part, rows: Row[]): Promise<void> {
  const changes = rows.flatMap((row) =>
    columns.flatMap((column) => {
      const before = row[column];
      if (before === null) return [];
      const bound = boundTo(row.id, column);
      const after = seal(app.config.keyring, unseal(app.config.keyring, before, bound), bound);
      return [{ id: row.id, column, before, after }];
    }),
  );
  for (const column of columns) {
    await sql`update connections set ${sql.ref(column)} = change.after
      from jsonb_to_recordset(${JSON.stringify(changes.filter((change) => change.column === column))}::jsonb)
        as change(id uuid, before text, after text)
      where connections.id = change.id and connections.${sql.ref(column)} = change.before`.execute(
      app.db,
    );
  }
}

function isOld(app: Part): RawBuilder<boolean> {
  const current = `v1.${app.config.keyring.current.id}.%`;
  return sql<boolean>`(access_token not like ${current} or refresh_token not like ${current})`;
}
