import type { App } from "../app.ts";
import { digest, randomToken } from "../lib/secrets.ts";

export type Session = { id: string; userId: string; expiresAt: Date };

/** How long a session lives after its last use. */
export const sessionDays = 30;

const dayMs = 86_400_000;
// Using a session moves its end, but not with a write for every request.
const renewAfterMs = dayMs;

type Part = Pick<App, "db" | "clock" | "config">;

/** Opens a session. The token is shown this once; we keep a keyed digest of it. */
export async function openSession(app: Part, userId: string): Promise<Session & { token: string }> {
  const token = randomToken();
  const now = app.clock.now();
  const expiresAt = new Date(now.getTime() + sessionDays * dayMs);
  const { id } = await app.db
    .insertInto("sessions")
    .values({
      user_id: userId,
      token_hash: digest(app.config.sessionSecret, token),
      created_at: now,
      last_used_at: now,
      expires_at: expiresAt,
    })
    .returning("id")
    .executeTakeFirstOrThrow();
  return { id, userId, expiresAt, token };
}

/** The session of a token, or null when it is unknown, expired or revoked. Its use prolongs it. */
export async function findSession(app: Part, token: string): Promise<Session | null> {
  if (token.length > 200) return null;
  const now = app.clock.now();
  const session = await app.db
    .selectFrom("sessions")
    .select(["id", "user_id", "expires_at", "last_used_at"])
    .where("token_hash", "=", digest(app.config.sessionSecret, token))
    .where("revoked_at", "is", null)
    .where("expires_at", ">", now)
    .executeTakeFirst();
  if (!session) return null;
  const isFresh = now.getTime() - session.last_used_at.getTime() < renewAfterMs;
  const expiresAt = isFresh ? session.expires_at : await prolong(app, session.id, now);
  return { id: session.id, userId: session.user_id, expiresAt };
}

async function prolong(app: Part, id: string, now: Date): Promise<Date> {
  const expiresAt = new Date(now.getTime() + sessionDays * dayMs);
  await app.db
    .updateTable("sessions")
    .set({ last_used_at: now, expires_at: expiresAt })
    .where("id", "=", id)
    .where("revoked_at", "is", null)
    .execute();
  return expiresAt;
}

/** Ends a session at once. Ending it again does nothing. */
export async function revokeSession(app: Part, id: string): Promise<void> {
  await app.db
    .updateTable("sessions")
    .set({ revoked_at: app.clock.now() })
    .where("id", "=", id)
    .where("revoked_at", "is", null)
    .execute();
}
