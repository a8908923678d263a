import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import { AppError } from "../lib/errors.ts";
import { unseal } from "../lib/secrets.ts";
import { revokeGrant } from "../providers/google/oauth.ts";
import type { JobPayload } from "../queue/catalog.ts";
import { enqueue } from "../queue/queue.ts";
import { boundTo, type ReconnectReason } from "./connections.ts";
import { deleteUserRows } from "./user-data.ts";

type Part = Pick<App, "db" | "clock" | "queue">;

/**
 * Disconnects a Google account: its tokens are gone from here at once, and a job of the same transaction stops its
 * channels and revokes the grant at Google. The account that the user signs in with stays as a name to sign in by.
 *
 * @throws {AppError} `not_found` when the connection is not this user's.
 */
export async function disconnect(app: Part, userId: string, connectionId: string): Promise<void> {
  await app.db.transaction().execute(async (tx) => {
    const connection = await tx
      .selectFrom("connections")
      .select(["id", "subject", "is_sign_in", "refresh_token", "access_token"])
      .where("id", "=", connectionId)
      .where("user_id", "=", userId)
      .forUpdate()
      .executeTakeFirst();
    if (!connection) throw new AppError("not_found", `No connection ${connectionId}`);
    await revokeLater(app, tx, connection);
    await (connection.is_sign_in
      ? stripTokens(app, tx, connectionId)
      : tx.deleteFrom("connections").where("id", "=", connectionId).execute());
    const details = JSON.stringify({ connection_id: connectionId });
    await tx
      .insertInto("audit_trail")
      .values({ user_id: userId, action: "connection.disconnected", details })
      .execute();
    await tx
      .insertInto("user_events")
      .values({ user_id: userId, type: "connection.changed", payload: details })
      .execute();
  });
}

/** Deletes a user with every row that is theirs, and revokes their grants at Google. */
export async function deleteUser(
  app: Part,
  userId: string,
): Promise<{ tables: number; rows: number }> {
  return app.db.transaction().execute(async (tx) => {
    const connections = await tx
      .selectFrom("connections")
      .select(["id", "subject", "refresh_token", "access_token"])
      .where("user_id", "=", userId)
      .forUpdate()
      .execute();
    for (const connection of connections) await revokeLater(app, tx, connection);
    return deleteUserRows(tx, userId);
  });
}

// Revoking one token of an account ends all grants that it gave this project: not while another user, or another
// connection, still lives on one.
async function revokeLater(
  app: Part,
  tx: Tx,
  connection: {
    id: string;
    subject: string | null;
    refresh_token: string | null;
    access_token: string | null;
  },
): Promise<void> {
  const { id, subject, refresh_token, access_token } = connection;
  const sealedToken = refresh_token ?? access_token;
  if (!sealedToken) return;
  const sharing = await tx
    .selectFrom("connections")
    .select("id")
    .where("subject", "=", subject)
    .where("id", "!=", id)
    .where("refresh_token", "is not", null)
    .executeTakeFirst();
  if (sharing) return;
  const column = refresh_token ? "refresh_token" : "access_token";
  await enqueue(app, tx, {
    name: "grants.revoke",
    payload: { sealedToken, boundTo: boundTo(id, column) },
  });
}

async function stripTokens(app: Part, tx: Tx, connectionId: string): Promise<void> {
  await tx
    .updateTable("connections")
    .set((row) => ({
      access_token: null,
      access_expires_at: null,
      refresh_token: null,
      scopes: [],
      state: "reconnect_needed" as const,
      state_reason: "disconnected" satisfies ReconnectReason,
      state_changed_at: app.clock.now(),
      refresh_lease_owner: null,
      refresh_lease_until: null,
      token_version: row("token_version", "+", 1),
      updated_at: app.clock.now(),
    }))
    .where("id", "=", connectionId)
    .execute();
}

/** The job behind both: ends the grant at Google. Repeating it is harmless. @throws {ProviderError} to be tried again */
export async function revokeSealedGrant(
  app: Pick<App, "config" | "googleOAuth">,
  { sealedToken, boundTo }: JobPayload<"grants.revoke">,
): Promise<void> {
  await revokeGrant(app.googleOAuth, unseal(app.config.keyring, sealedToken, boundTo));
}
