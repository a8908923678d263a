import { type RawBuilder, sql } from "kysely";
import type { Db, Tx } from "../db/connection.ts";

/** One table with rows of a user, and the condition that selects them. */
type Owned = { table: string; mine: RawBuilder<boolean> };

type Reference = {
  table: string;
  column: string;
  target: string;
  targetColumn: string;
  isNullable: boolean;
};

const ownerColumns = ["user_id", "created_by"];

// They belong to no export: values that open something, sealed or not, and in whose mailbox a mail lay.
const withheldColumns = [
  "access_token",
  "refresh_token",
  "api_key",
  "client_secret",
  "token_hash",
  "secret_hash",
  "session_id",
  "state_hash",
  "browser_hash",
  "verifier",
  "nonce",
  "left_user_id",
  "left_subject",
];

/** Whether no other transaction, of any process, exports this user; from now on none does until this one ends. */
export async function isOnlyExport(tx: Tx, userId: string): Promise<boolean> {
  const { rows } = await sql<{ isOnly: boolean }>`
    select pg_try_advisory_xact_lock(hashtextextended(${`export:${userId}`}, 0)) as "isOnly"
  `.execute(tx);
  return rows[0]?.isOnly ?? false;
}

/**
 * All rows of a user, table by table, as one consistent picture. Read in portions through a cursor, so that a large
 * mailbox needs no large memory. Tokens and other secrets are left out, and who else had a mail.
 */
export async function* exportUserRows(
  tx: Tx,
  userId: string,
): AsyncGenerator<{ table: string; row: Record<string, unknown> }> {
  const [user] = (
    await sql<{ row: Record<string, unknown> }>`
    select to_jsonb(u) as row from users u where id = ${userId}`.execute(tx)
  ).rows;
  if (user) yield { table: "users", row: user.row };
  for (const { table, mine } of await ownedTables(tx, userId)) {
    await sql`declare user_rows no scroll cursor for
      select to_jsonb(${sql.id(table)}.*) - ${withheldColumns}::text[] as row
      from ${sql.table(table)} where ${mine}`.execute(tx);
    for (;;) {
      const portion = await sql<{ row: Record<string, unknown> }>`fetch 100 from user_rows`.execute(
        tx,
      );
      for (const { row } of portion.rows) yield { table, row };
      if (portion.rows.length < 100) break;
    }
    await sql`close user_rows`.execute(tx);
  }
}

/**
 * Deletes every row of a user, and the user. Rows of others that point at one of theirs (a document in a project that
 * goes) stay, pointing nowhere.
 */
export async function deleteUserRows(
  tx: Tx,
  userId: string,
): Promise<{ tables: number; rows: number }> {
  const references = await listReferences(tx);
  const owned = await ownedTables(tx, userId, references);
  let rows = 0;
  for (const { table, mine } of owned) {
    for (const reference of references) {
      if (reference.target !== table || !isOwnedItself(references, reference.table)) continue;
      await release(tx, reference, mine);
    }
    const deleted = await sql`delete from ${sql.table(table)} where ${mine}`.execute(tx);
    rows += Number(deleted.numAffectedRows ?? 0n);
  }
  await tx.deleteFrom("users").where("id", "=", userId).execute();
  return { tables: owned.length + 1, rows: rows + 1 };
}

async function release(tx: Tx, reference: Reference, theirs: RawBuilder<boolean>): Promise<void> {
  const pointing = sql`${sql.ref(reference.column)} in (
    select ${sql.ref(reference.targetColumn)} from ${sql.table(reference.target)} where ${theirs})`;
  await (reference.isNullable
    ? sql`update ${sql.table(reference.table)} set ${sql.ref(reference.column)} = null where ${pointing}`
    : sql`delete from ${sql.table(reference.table)} where ${pointing}`
  ).execute(tx);
}

// The foreign keys know what belongs to whom, also in tables of older deployments that this program has never heard
// of. A table with an owner column belongs to that owner; one without belongs to what it points at.
async function ownedTables(db: Db | Tx, userId: string, known?: Reference[]): Promise<Owned[]> {
  const references = known ?? (await listReferences(db));
  const conditions = new Map<string, RawBuilder<boolean>>();
  const visiting = new Set<string>();

  const conditionOf = (table: string): RawBuilder<boolean> | null => {
    const found = conditions.get(table);
    if (found) return found;
    if (visiting.has(table)) return null;
    visiting.add(table);
    const parts = ownershipsOf(references, table).flatMap((reference) => {
      if (reference.target === "users") {
        return [sql<boolean>`${sql.ref(reference.column)} = ${userId}::uuid`];
      }
      const target = conditionOf(reference.target);
      if (!target) return [];
      return [
        sql<boolean>`${sql.ref(reference.column)} in (
          select ${sql.ref(reference.targetColumn)} from ${sql.table(reference.target)} where ${target})`,
      ];
    });
    visiting.delete(table);
    if (parts.length === 0) return null;
    const condition = sql<boolean>`(${sql.join(parts, sql` or `)})`;
    conditions.set(table, condition);
    return condition;
  };

  const tables = [...new Set(references.map(({ table }) => table))].filter(
    (table) => table !== "users",
  );
  for (const table of tables) conditionOf(table);
  const ordered = childrenFirst([...conditions.keys()], references);
  return [
    ...tablesWithoutKey(userId),
    ...ordered.flatMap((table) => {
      const mine = conditions.get(table);
      return mine ? [{ table, mine }] : [];
    }),
  ];
}

function ownershipsOf(references: Reference[], table: string): Reference[] {
  const own = references.filter((one) => one.table === table && one.target !== table);
  const owners = own.filter((one) => one.target === "users" && ownerColumns.includes(one.column));
  return owners.length > 0 ? owners : own;
}

function isOwnedItself(references: Reference[], table: string): boolean {
  return references.some(
    (one) => one.table === table && one.target === "users" && ownerColumns.includes(one.column),
  );
}

// Rows that name a user without a foreign key.
function tablesWithoutKey(userId: string): Owned[] {
  const addresses = sql`select lower(email) from users where id = ${userId} and is_email_proven
    union select lower(email) from connections where user_id = ${userId} and email is not null`;
  return [
    { table: "gmail_watches", mine: sql<boolean>`lower(user_email) in (${addresses})` },
    { table: "idempotency_keys", mine: sql<boolean>`principal = ${`user:${userId}`}` },
  ];
}

function childrenFirst(tables: string[], references: Reference[]): string[] {
  const ordered: string[] = [];
  const visit = (table: string, path: Set<string>): void => {
    if (ordered.includes(table) || path.has(table)) return;
    const children = references.filter(({ target }) => target === table).map((one) => one.table);
    for (const child of children)
      if (tables.includes(child)) visit(child, new Set([...path, table]));
    ordered.push(table);
  };
  for (const table of tables) visit(table, new Set());
  return ordered;
}

async function listReferences(db: Db | Tx): Promise<Reference[]> {
  const { rows } = await sql<Reference>`
    select source.relname as "table", source_column.attname as "column",
           target.relname as "target", target_column.attname as "targetColumn",
           not source_column.attnotnull as "isNullable"
    from pg_constraint as key
    join pg_class as source on source.oid = key.conrelid
    join pg_class as target on target.oid = key.confrelid
    join pg_attribute as source_column on source_column.attrelid = source.oid and source_column.attnum = key.conkey[1]
    join pg_attribute as target_column on target_column.attrelid = target.oid and target_column.attnum = key.confkey[1]
    where key.contype = 'f' and cardinality(key.conkey) = 1
      and source.relnamespace = 'public'::regnamespace and target.relnamespace = 'public'::regnamespace
    order by 1, 2`.execute(db);
  return rows;
}
