import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import { AppError } from "../lib/errors.ts";

/** A person as the API shows them. */
export type User = {
  id: string;
  email: string;
  name: string | null;
  username: string | null;
  createdAt: Date | null;
};

/** @throws {AppError} `not_found` */
export async function getUser(app: Pick<App, "db">, id: string): Promise<User> {
  const user = await app.db
    .selectFrom("users")
    .select(["id", "email", "name", "username", "created_at"])
    .where("id", "=", id)
    .executeTakeFirst();
  if (!user) throw new AppError("not_found", `No user ${id}`);
  return {
    id: user.id,
    email: user.email,
    name: user.name,
    username: user.username,
    createdAt: user.created_at,
  };
}

/**
 * The user of a verified e-mail address, whatever its case. The table's uniqueness minds the case, so two old rows
 * may differ by it alone: then only the exact spelling counts.
 */
export async function findUserByEmail(tx: Tx, email: string): Promise<{ id: string } | null> {
  const rows = await tx
    .selectFrom("users")
    .select(["id", "email"])
    .where(sql<string>`lower(email)`, "=", email.toLowerCase())
    .limit(3)
    .execute();
  return rows.find((row) => row.email === email) ?? (rows.length === 1 ? (rows[0] ?? null) : null);
}

/** @throws {AppError} `conflict` when somebody else has that address. */
export async function createUser(
  tx: Tx,
  user: { id?: string; email: string; name: string | null; picture?: string | null },
): Promise<string> {
  const row = await tx
    .insertInto("users")
    .values({
      id: user.id ?? randomUUID(),
      email: user.email,
      name: user.name ?? user.email.split("@")[0] ?? null,
      picture: user.picture ?? null,
      role: "user",
    })
    .onConflict((conflict) => conflict.doNothing())
    .returning("id")
    .executeTakeFirst();
  if (!row) throw new AppError("conflict", "This e-mail address belongs to another account");
  return row.id;
}

/**
 * The user behind a token of the old sign-in, whose `sub` is the user's id; made on first sight. Null when the address
 * already belongs to somebody else here: a token that only names an address proves nothing about it.
 */
export async function ensureSupabaseUser(
  app: Pick<App, "db">,
  token: { sub: string; email: string | undefined },
): Promise<string | null> {
  const known = await app.db
    .selectFrom("users")
    .select("id")
    .where("id", "=", token.sub)
    .executeTakeFirst();
  if (known) return known.id;
  const email = token.email;
  if (!email) return null;
  return app.db.transaction().execute(async (tx) => {
    const owner = await findUserByEmail(tx, email);
    if (owner && owner.id !== token.sub) return null;
    const made = await tx
      .insertInto("users")
      .values({ id: token.sub, email, name: email.split("@")[0] ?? null, role: "user" })
      .onConflict((conflict) => conflict.doNothing())
      .returning("id")
      .executeTakeFirst();
    const twin =
      made ??
      (await tx.selectFrom("users").select("id").where("id", "=", token.sub).executeTakeFirst());
    return twin?.id ?? null;
  });
}

/** The address by which the assistant takes part for this user: `ai+name@domain`. Null without a username. */
export function virtualAddress(app: Pick<App, "config">, username: string | null): string | null {
  const [local, domain] = app.config.virtualEmailAddress?.split("@") ?? [];
  return local && domain && username ? `${local}+${username.toLowerCase()}@${domain}` : null;
}
