import { sql } from "kysely";
import type { App } from "../app.ts";
import { soleAddress } from "../lib/addresses.ts";
import { AppError } from "../lib/errors.ts";
import { isOpenDomain, type Trust } from "./mail-trust.ts";

type Before = { at: Date; id: string } | undefined;

/** What was decided about a user's mails, the latest first. */
export async function listDecisions(
  app: Pick<App, "db">,
  userId: string,
  filter: { decision?: "taken" | "held" | "refused" | undefined; before?: Before; limit: number },
) {
  let query = app.db.selectFrom("mail_decisions").selectAll().where("user_id", "=", userId);
  if (filter.decision) query = query.where("decision", "=", filter.decision);
  const { before } = filter;
  if (before) {
    query = query.where(sql<boolean>`(decided_at, id) < (${before.at}, ${before.id}::uuid)`);
  }
  return query.orderBy("decided_at", "desc").orderBy("id", "desc").limit(filter.limit).execute();
}

/** What was decided about one mail, by its id in the mailbox or by the decision's. @throws {AppError} `not_found` */
export async function getDecision(app: Pick<App, "db">, userId: string, id: string) {
  const decision = await app.db
    .selectFrom("mail_decisions")
    .selectAll()
    .where("user_id", "=", userId)
    .where((row) =>
      row.or([row("gmail_message_id", "=", id), row(sql<string>`id::text`, "=", id.toLowerCase())]),
    )
    .executeTakeFirst();
  if (!decision) throw new AppError("not_found", `No mail ${id} names your assistant`);
  return decision;
}

// Old rows may lack the time: they come last. The API's cursors know milliseconds only.
const detectedAt = sql<Date>`coalesce(date_trunc('milliseconds', detected_at), 'epoch')`;

/** Where the assistant's address was seen for a user, the latest first; `place` is where each stands in time. */
export async function listDetections(
  app: Pick<App, "db">,
  userId: string,
  filter: { before?: Before; limit: number },
) {
  let query = app.db
    .selectFrom("virtual_email_detections")
    .selectAll()
    .select(detectedAt.as("place"))
    .where("user_id", "=", userId);
  const { before } = filter;
  if (before) {
    query = query.where(sql<boolean>`(${detectedAt}, id) < (${before.at}, ${before.id}::uuid)`);
  }
  return query.orderBy("place", "desc").orderBy("id", "desc").limit(filter.limit).execute();
}

/** Whom a user lets write to their assistant. */
export async function getTrust(app: Pick<App, "db">, userId: string): Promise<Trust> {
  const trust = await app.db
    .selectFrom("mail_trust")
    .select(["mode", "senders"])
    .where("user_id", "=", userId)
    .executeTakeFirst();
  return trust ?? { mode: "only_me", senders: [] };
}

/**
 * Sets whom a user lets write to their assistant: what counts from now on. What is held stays held.
 *
 * @throws {AppError} `invalid` for a sender that is neither an address nor a domain, or a domain that is everybody's.
 */
export async function setTrust(
  app: Pick<App, "db" | "clock">,
  userId: string,
  wished: { mode: Trust["mode"]; senders: string[] },
): Promise<Trust> {
  const refuse = (path: string, message: string) =>
    new AppError("invalid", `${path} ${message}`, { fields: [{ path, message }] });
  const senders = wished.senders.map((text, index) => {
    const isDomain = text.trim().startsWith("@");
    const mailbox = soleAddress(isDomain ? `x${text.trim()}` : text);
    if (!mailbox) throw refuse(`body.senders.${index}`, "is neither an address nor @ and a domain");
    if (!isDomain) return `${mailbox.local}@${mailbox.domain}`.toLowerCase();
    if (isOpenDomain(mailbox.domain)) {
      throw refuse(`body.senders.${index}`, "is a domain where anybody can have an address");
    }
    return `@${mailbox.domain}`;
  });
  if (wished.mode === "my_domain") {
    const user = await app.db
      .selectFrom("users")
      .select("email")
      .where("id", "=", userId)
      .executeTakeFirst();
    const domain = user?.email.split("@").at(-1)?.toLowerCase() ?? "";
    if (isOpenDomain(domain)) {
      throw refuse("body.mode", `cannot be my_domain: anybody can have an address at ${domain}`);
    }
  }
  const values = { mode: wished.mode, senders: [...new Set(senders)], updated_at: app.clock.now() };
  await app.db
    .insertInto("mail_trust")
    .values({ user_id: userId, ...values })
    .onConflict((conflict) => conflict.column("user_id").doUpdateSet(values))
    .execute();
  return { mode: values.mode, senders: values.senders };
}
