import { sql } from "kysely";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import { AppError, ProviderError } from "../lib/errors.ts";
import { digest, sameSecret } from "../lib/secrets.ts";
import { getProfile } from "../providers/google/gmail.ts";
import { enqueue } from "../queue/queue.ts";
import { audit } from "./audit-trail.ts";
import { startFeedsJob } from "./connections.ts";
import { openServiceRequest } from "./google-access.ts";
import { createUser, findUserByEmail } from "./users.ts";

type Part = Pick<App, "db" | "clock" | "config" | "queue">;

/** What a mailbox is read with. */
const mailScopes = ["https://www.googleapis.com/auth/gmail.readonly"];

/**
 * The user that the assistant itself is: its mailbox is a connection of theirs. Made when it is first needed.
 *
 * @throws {AppError} `conflict` without VIRTUAL_EMAIL_ADDRESS
 */
export async function ensureAssistant(app: Part): Promise<{ id: string; email: string }> {
  const email = app.config.virtualEmailAddress;
  if (!email)
    throw new AppError("conflict", "Set VIRTUAL_EMAIL_ADDRESS, the assistant's address, first");
  return app.db.transaction().execute(async (tx) => {
    await sql`select pg_advisory_xact_lock(hashtextextended('assistant', 0))`.execute(tx);
    const known = await findUserByEmail(tx, email);
    if (known?.is_email_proven === false)
      throw new AppError("conflict", `${email} is a user of the older sign-in: delete them first`);
    const id = known?.id ?? (await createUser(tx, { email, name: "Assistant" }));
    await tx.updateTable("users").set({ role: "assistant" }).where("id", "=", id).execute();
    return { id, email };
  });
}

/** The user whose own mailbox it is, by the address they sign in with. @throws {AppError} `not_found` */
export async function getMailboxOwner(
  app: Part,
  address: string,
): Promise<{ id: string; email: string }> {
  const owner = await findUserByEmail(app.db, address);
  if (!owner?.is_email_proven)
    throw new AppError("not_found", `No user ${address}: they sign in with Google first`);
  return { id: owner.id, email: address };
}

/** Whether a user is the assistant. */
export async function isAssistant(tx: Tx, userId: string): Promise<boolean> {
  const user = await tx
    .selectFrom("users")
    .select("role")
    .where("id", "=", userId)
    .executeTakeFirst();
  return user?.role === "assistant";
}

/**
 * Connects a mailbox through the service account's domain-wide delegation, after it was reached that way once.
 *
 * @throws {AppError} `provider_failed` when Google does not let the service account in: the operator's to mend.
 */
export async function connectDelegatedMailbox(
  app: Part & Pick<App, "googleOAuth">,
  { userId, mailbox }: { userId: string; mailbox: string },
): Promise<{ connectionId: string; email: string }> {
  const google = openServiceRequest(app, mailScopes, { subject: mailbox });
  const { email } = await getProfile(google).catch((error: unknown) => {
    if (!(error instanceof ProviderError)) throw error;
    throw new AppError(
      "provider_failed",
      `Google does not let the service account into ${mailbox} (${error.reason}): delegate ${mailScopes[0]} to it in the domain's Admin console, Security, API controls`,
      { cause: error },
    );
  });
  const now = app.clock.now();
  return app.db.transaction().execute(async (tx) => {
    const values = {
      email,
      scopes: mailScopes,
      state: "active" as const,
      state_reason: null,
      updated_at: now,
    };
    const { id } = await tx
      .insertInto("connections")
      .values({
        user_id: userId,
        provider: "google_delegation",
        subject: email.toLowerCase(),
        requested_scopes: mailScopes,
        ...values,
      })
      .onConflict((conflict) =>
        conflict.columns(["user_id", "provider", "subject"]).doUpdateSet(values),
      )
      .returning("id")
      .executeTakeFirstOrThrow();
    await enqueue(app, tx, startFeedsJob(id));
    await audit(tx, userId, "mailbox.delegated", { connection_id: id, email });
    return { connectionId: id, email };
  });
}

const linkMinutes = 30;

/** What proves, for half an hour, that an operator of this deployment began to connect the assistant's mailbox. */
export function mailboxTicket(app: Pick<App, "clock" | "config">): string {
  const until = Math.floor(app.clock.now().getTime() / 1000) + linkMinutes * 60;
  return `${until}.${proofOf(app, until)}`;
}

/** @throws {AppError} `forbidden` for a ticket that is not ours, or too old. */
export function checkMailboxTicket(app: Pick<App, "clock" | "config">, ticket: string): void {
  const [until = "", proof = ""] = ticket.split(".");
  const isOurs = sameSecret(proof, proofOf(app, Number(until)));
  if (!isOurs || Number(until) * 1000 < app.clock.now().getTime()) {
    throw new AppError(
      "forbidden",
      "This link is too old; `daybook connect-mailbox` makes another",
    );
  }
}

function proofOf({ config }: Pick<App, "config">, until: number): string {
  return digest(config.sessionSecret, `connect-mailbox ${until}`).toString("base64url");
}
