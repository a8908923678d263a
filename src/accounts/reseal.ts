import { type RawBuilder, sql } from "kysely";
import type { App } from "../app.ts";
import { type SealingKey, seal, unseal } from "../lib/secrets.ts";
import { boundTo } from "./connections.ts";

type Part = Pick<App, "db" | "config">;

const columns = ["access_token", "refresh_token"] as const;

/** How many connections there are, how many still carry a value of an earlier key, and how many of a key that is not known. */
export async function countSealed(
  app: Part,
): Promise<{ total: number; old: number; unknown: number }> {
  const { current, previous } = app.config.keyring;
  const row = await app.db
    .selectFrom("connections")
    .select([
      sql<number>`count(*)::int`.as("total"),
      sql<number>`(count(*) filter (where ${isSealedOtherwise([current])}))::int`.as("old"),
      sql<number>`(count(*) filter (where ${isSealedOtherwise([current, ...previous])}))::int`.as(
        "unknown",
      ),
    ])
    .executeTakeFirstOrThrow();
  return row;
}

/**
 * Seals anew, with the current key, what an earlier key sealed. Runs beside everything else: a token that is refreshed
 * meanwhile is sealed with the current key anyway and is left as it is, and so is what does not open, which hinders no
 * other. Safe to stop and repeat.
 */
export async function resealTokens(
  app: Part,
  onProgress: (progress: { done: number; total: number }) => void = () => {},
  signal?: AbortSignal,
): Promise<{ resealed: number; unreadable: number }> {
  const { old: total } = await countSealed(app);
  let [done, unreadable] = [0, 0];
  let after = "00000000-0000-0000-0000-000000000000";
  while (!signal?.aborted) {
    const rows = await app.db
      .selectFrom("connections")
      .select(["id", "access_token", "refresh_token"])
      .where(isSealedOtherwise([app.config.keyring.current]))
      .where("id", ">", after)
      .orderBy("id")
      .limit(500)
      .execute();
    const last = rows.at(-1);
    if (!last) break;
    after = last.id;
    unreadable += await storeResealed(app, rows);
    done += rows.length;
    onProgress({ done, total: Math.max(total, done) });
  }
  return { resealed: done - unreadable, unreadable };
}

type Row = { id: string; access_token: string | null; refresh_token: string | null };

// One statement for the whole portion; each value is replaced only while it is still the one that was read. Returns how
// many rows have a value that does not open.
async function storeResealed(app: Part, rows: Row[]): Promise<number> {
  const unreadable = new Set<string>();
  const changes = rows.flatMap((row) =>
    columns.flatMap((column) => {
      const before = row[column];
      if (before === null) return [];
      const after = resealed(app, before, boundTo(row.id, column));
      if (after === null) unreadable.add(row.id);
      return after === null ? [] : [{ id: row.id, column, before, after }];
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
  return unreadable.size;
}

function resealed(app: Part, before: string, bound: string): string | null {
  try {
    return seal(app.config.keyring, unseal(app.config.keyring, before, bound), bound);
  } catch {
    return null;
  }
}

// By none of these keys.
function isSealedOtherwise(keys: SealingKey[]): RawBuilder<boolean> {
  const forms = keys.map(({ id }) => `v1.${id}.%`);
  return sql<boolean>`(access_token not like all(${forms}) or refresh_token not like all(${forms}))`;
}
