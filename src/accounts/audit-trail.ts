import type { Tx } from "../db/connection.ts";

/** Keeps that something was done in a person's name that somebody may ask about later. Never a token or a secret. */
export async function audit(
  tx: Tx,
  userId: string,
  action: string,
  details: Record<string, unknown>,
): Promise<void> {
  await tx
    .insertInto("audit_trail")
    .values({ user_id: userId, action, details: JSON.stringify(details) })
    .execute();
}
