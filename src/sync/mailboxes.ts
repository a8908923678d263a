import { openGoogleAccess } from "../accounts/google-access.ts";
import { addressedIn } from "../documents/assistant-address.ts";
import { messageKeyOf, recordMails } from "../documents/mail.ts";
import { AppError, ProviderError } from "../lib/errors.ts";
import { getHead, hides } from "../providers/google/gmail.ts";
import { enqueue } from "../queue/queue.ts";
import { type Feed, listFeedsOfAccount } from "./feeds.ts";
import { mailboxOf } from "./gmail.ts";
import type { SyncApp } from "./sync.ts";

/** The feeds that follow a mailbox, those of one user or everybody's. @throws {AppError} `not_found` */
export async function findMailboxes(
  app: Pick<SyncApp, "db">,
  email: string,
  userId: string | null,
): Promise<Feed[]> {
  const feeds = await listFeedsOfAccount(app, "gmail", email);
  const found = userId === null ? feeds : feeds.filter(({ user_id }) => user_id === userId);
  if (found.length === 0) throw new AppError("not_found", `No mailbox ${email}`);
  return found;
}

/** How many assistants a mail names, and what is the same of it in every mailbox; null where it names none. */
export type AppliedMail = { detected: number; messageKey: string | null };

const namesNone: AppliedMail = { detected: 0, messageKey: null };

/** Applies one mail as a sync would, by its headers. @throws {AppError} `not_found`; `provider_failed` */
export async function applyMail(app: SyncApp, feed: Feed, messageId: string): Promise<AppliedMail> {
  const assistant = app.config.virtualEmailAddress;
  if (!assistant) return namesNone;
  const google = openGoogleAccess(app, feed.connection_id).request;
  const head = await getHead(google, messageId).catch((error: unknown) => {
    if (error instanceof ProviderError) throw new AppError("provider_failed", error.message);
    throw error;
  });
  if (!head) throw new AppError("not_found", `No mail ${messageId} in this mailbox`);
  const to = hides(head.labels) ? [] : addressedIn(head.headers, assistant);
  if (to.length === 0) return namesNone;
  const mailbox = mailboxOf(feed);
  return app.db.transaction().execute(async (tx) => {
    const { jobs } = await recordMails(app, tx, mailbox, [{ head, to }]);
    await enqueue(app, tx, jobs);
    return { detected: to.length, messageKey: messageKeyOf(mailbox, head) };
  });
}

/** Handles a mail in the first of some mailboxes that has it; one in trouble hides no other. @throws as {@link applyMail} does. */
export async function applyMailIn(
  app: SyncApp,
  feeds: Feed[],
  messageId: string,
): Promise<AppliedMail> {
  let failure = new AppError("not_found", `No mail ${messageId} in a mailbox that is followed`);
  for (const feed of feeds) {
    try {
      return await applyMail(app, feed, messageId);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      if (error.code !== "not_found") failure = error;
    }
  }
  throw failure;
}
