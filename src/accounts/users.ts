import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import type { App } from "../app.ts";
import type { Db, Tx } from "../db/connection.ts";
import { AppError } from "../lib/errors.ts";
import { enqueue } from "../queue/queue.ts";
import { audit } from "./audit-trail.ts";

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
 * Who has an e-mail address, whatever its case, and whether they have proven that it is theirs. The table's uniqueness minds
 * the case, so two old rows may differ by it alone: then only the exact spelling counts.
 */
export async function findUserByEmail(
  db: Db | Tx,
  email: string,
): Promise<{ id: string; is_email_proven: boolean } | null> {
  const rows = await db
    .selectFrom("users")
    .select(["id", "email", "is_email_proven"])
    .where(sql<string>`lower(email)`, "=", email.toLowerCase())
    .limit(3)
    .execute();
  return rows.find((row) => row.email === email) ?? (rows.length === 1 ? (rows[0] ?? null) : null);
}

/** @throws {AppError} `conflict` when somebody else has that address. */
export async function createUser(
  tx: Tx,
  user: { email: string; name: string | null; picture?: string | null },
): Promise<string> {
  const row = await tx
    .insertInto("users")
    .values({
      id: randomUUID(),
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
 * already belongs to somebody else here: a token that only names an address proves nothing about it, until its bearer
 * connects the Google account of that address.
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
      .values({
        id: token.sub,
        email,
        name: email.split("@")[0] ?? null,
        role: "user",
        is_email_proven: false,
      })
      .onConflict((conflict) => conflict.doNothing())
      .returning("id")
      .executeTakeFirst();
    const twin =
      made ??
      (await tx.selectFrom("users").select("id").where("id", "=", token.sub).executeTakeFirst());
    return twin?.id ?? null;
  });
}

/** Notes that an address is proven to be its user's, where it is the one that they have here. */
export async function proveEmail(tx: Tx, userId: string, email: string): Promise<void> {
  await tx
    .updateTable("users")
    .set({ is_email_proven: true })
    .where("id", "=", userId)
    .where(sql<string>`lower(email)`, "=", email.toLowerCase())
    .execute();
}

// Names that people would take for somebody in charge, or that programs write from.
const reserved = new Set(
  [
    "admin administrator root system sysadmin postmaster hostmaster webmaster abuse security support help",
    "helpdesk info contact sales billing team staff office noreply donotreply mailer mailerdaemon daemon",
    "bounce bounces newsletter notifications alerts news marketing legal privacy compliance hr jobs press",
    "api www mail email smtp imap pop ftp calendar drive gmail google meet daybook assistant ai bot me you",
    "everyone everybody anyone anybody all nobody null undefined user users account accounts",
  ]
    .join(" ")
    .split(" "),
);

/** What is wrong with a wished username, in words; null when nothing is. */
export function usernameProblem(username: string): string | null {
  if (username === "") return "Username is required";
  if (username.length < 3) return "Username must be at least 3 characters long";
  if (username.length > 30) return "Username must be no more than 30 characters long";
  if (!/^[a-zA-Z0-9]+$/.test(username)) return "Username can only contain letters and numbers";
  if (/^[0-9]/.test(username)) return "Username cannot start with a number";
  return reserved.has(username.toLowerCase()) ? "This username is reserved" : null;
}

/** Whether nobody has a username, whatever its case. */
export async function isUsernameFree(app: Pick<App, "db">, username: string): Promise<boolean> {
  const taken = await app.db
    .selectFrom("usernames")
    .select("user_id")
    .where("username", "=", username.toLowerCase())
    .executeTakeFirst();
  return !taken;
}

/** Whose these usernames are, which are in lower case; those that nobody has are left out. */
export async function ownersOf(
  app: Pick<App, "db">,
  usernames: string[],
): Promise<Map<string, string>> {
  if (usernames.length === 0) return new Map();
  const taken = await app.db
    .selectFrom("usernames")
    .selectAll()
    .where("username", "in", usernames)
    .execute();
  return new Map(taken.map(({ username, user_id }) => [username, user_id]));
}

/**
 * Gives a user their username, once. Of two who want the same at once the database lets one have it. Meetings to which
 * their assistant was invited by it already are looked at anew.
 *
 * @throws {AppError} `invalid` for a name that breaks the rules, `conflict` when it is taken or the user has one.
 */
export async function setUsername(
  app: Pick<App, "db" | "clock" | "queue">,
  userId: string,
  wished: string,
): Promise<string> {
  const username = wished.trim();
  const problem = usernameProblem(username);
  if (problem) {
    throw new AppError("invalid", problem, { fields: [{ path: "username", message: problem }] });
  }
  return app.db.transaction().execute(async (tx) => {
    const user = await tx
      .selectFrom("users")
      .select("username")
      .where("id", "=", userId)
      .forUpdate()
      .executeTakeFirst();
    if (!user) throw new AppError("not_found", `No user ${userId}`);
    if (user.username) {
      throw new AppError("conflict", "Username has already been set and cannot be changed");
    }
    const kept = await tx
      .insertInto("usernames")
      .values({ username: username.toLowerCase(), user_id: userId })
      .onConflict((conflict) => conflict.doNothing())
      .returning("user_id")
      .executeTakeFirst();
    if (!kept) throw new AppError("conflict", "Username is already taken");
    const now = app.clock.now();
    await tx
      .updateTable("users")
      .set({ username, username_set_at: now, updated_at: now })
      .where("id", "=", userId)
      .execute();
    await audit(tx, userId, "username.set", { username });
    await enqueue(app, tx, { name: "meetings.derive_named", payload: { userId }, key: userId });
    return username;
  });
}

/** The address by which the assistant takes part for this user: `ai+name@domain`. Null without a username. */
export function virtualAddress(app: Pick<App, "config">, username: string | null): string | null {
  const [local, domain] = app.config.virtualEmailAddress?.split("@") ?? [];
  return local && domain && username ? `${local}+${username.toLowerCase()}@${domain}` : null;
}
