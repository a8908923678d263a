import type { App } from "../app.ts";
import type { GoogleRequest } from "../providers/google/request.ts";
import { ensureAssistant } from "./assistant.ts";
import { openServiceRequest } from "./google-access.ts";

const scopes = ["https://www.googleapis.com/auth/drive.readonly"];

/** Calls in the service account's own name. Null without one, or without an assistant that could have its connection. */
export function openServiceDrive(
  app: Pick<App, "config" | "clock" | "googleOAuth">,
): GoogleRequest | null {
  if (!app.config.google.serviceAccount || !app.config.virtualEmailAddress) return null;
  return openServiceRequest(app, scopes);
}

/**
 * The connection by which the service account reads what is shared with itself; made when it is first needed, and the
 * assistant's. Null without a service account, or without an assistant that could have it.
 */
export async function connectServiceDrive(
  app: Pick<App, "db" | "clock" | "config" | "queue">,
): Promise<{ id: string; userId: string; email: string; isNew: boolean } | null> {
  const account = app.config.google.serviceAccount;
  if (!account || !app.config.virtualEmailAddress) return null;
  const { id: userId } = await ensureAssistant(app);
  const subject = account.email.toLowerCase();
  const find = () =>
    app.db
      .selectFrom("connections")
      .select("id")
      .where("user_id", "=", userId)
      .where("provider", "=", "google_delegation")
      .where("subject", "=", subject)
      .executeTakeFirst();
  const known = await find();
  if (known) return { id: known.id, userId, email: account.email, isNew: false };
  // Without an address it acts in nobody's name but its own.
  const made = await app.db
    .insertInto("connections")
    .values({
      user_id: userId,
      provider: "google_delegation",
      subject,
      name: "Service account",
      scopes,
      requested_scopes: scopes,
      state: "active",
      updated_at: app.clock.now(),
    })
    .onConflict((conflict) => conflict.columns(["user_id", "provider", "subject"]).doNothing())
    .returning("id")
    .executeTakeFirst();
  const id = made?.id ?? (await find())?.id;
  return id ? { id, userId, email: account.email, isNew: true } : null;
}
