import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { ownersOf } from "../accounts/users.ts";
import type { App } from "../app.ts";
import { type AddressedTo, addressedIn } from "../documents/assistant-address.ts";
import { AppError } from "../lib/errors.ts";
import { inParallel } from "../lib/parallel.ts";
import { listFeeds, listFeedsOfAccount } from "../sync/feeds.ts";
import { applyMailIn } from "../sync/mailboxes.ts";
import { oldAddress } from "./old-address.ts";

const Message = z.looseObject({
  id: z.string().min(1).max(200),
  payload: z
    .looseObject({
      headers: z.array(z.looseObject({ name: z.string(), value: z.string() })).nullish(),
    })
    .nullish(),
});
const Inbound = z.looseObject({ messages: z.array(Message).max(200) });

type Result = {
  success: boolean;
  message: string;
  user_id?: string;
  document_id?: string;
  decision?: "taken" | "held" | "refused";
};

/**
 * The old address of inbound mail: same fields, same shapes, for the service alone. What it is given counts only as a hint
 * where to look: the mail itself is read in the mailbox that has it, and handled as a sync would.
 */
export const inboundMailGateway: FastifyPluginAsyncZod<{ app: App }> = async (server, { app }) => {
  server.post(
    "/process-inbound-emails",
    {
      config: { who: "service" },
      schema: oldAddress("handle mails of the mailboxes that are followed", {
        body: z.unknown().optional(),
      }),
    },
    async (request, reply) => {
      const failed = (error: string) =>
        reply
          .code(400)
          .send({ success: false, error, message: "Failed to process inbound emails" });
      const inbound = Inbound.safeParse(request.body);
      if (!inbound.success) return failed("Missing or invalid messages array");
      const assistant = app.config.virtualEmailAddress;
      if (!assistant) return failed("The assistant has no address (VIRTUAL_EMAIL_ADDRESS)");
      const results = await inParallel(inbound.data.messages, 4, (message) =>
        resultOf(app, assistant, message),
      );
      const total = results.length;
      const successful = results.filter(({ success }) => success).length;
      const summary = { total, successful, failed: total - successful };
      const message = `Processed ${total} messages: ${successful} successful, ${summary.failed} failed`;
      return { success: true, message, results, summary };
    },
  );
};

async function resultOf(
  app: App,
  assistant: string,
  { id, payload }: z.output<typeof Message>,
): Promise<Result> {
  const headers = payload?.headers ?? [];
  const failed = (message: string) => ({ success: false, message });
  const [named] = addressedIn(headers, assistant);
  if (!named) {
    const hasTo = headers.some(({ name }) => name.toLowerCase() === "to");
    return failed(
      hasTo ? "No valid username found in email address" : 'No "To" header found in email',
    );
  }
  try {
    return await take(app, { assistant, id, named });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return failed(`Error processing email: ${error.message}`);
  }
}

// Of a mail to several people the first that it names is answered for; all of them are served.
async function take(
  app: App,
  { assistant, id, named }: { assistant: string; id: string; named: AddressedTo },
): Promise<Result> {
  const { username } = named;
  const ownerId = (await ownersOf(app, [username])).get(username);
  const { messageKey } = await applyMailIn(
    app,
    [
      ...(await listFeedsOfAccount(app, "gmail", assistant)),
      ...(ownerId ? await listFeeds(app, ownerId, ["gmail"]) : []),
    ],
    id,
  );
  if (!ownerId) return { success: false, message: `User not found for username: ${username}` };
  // Another mailbox may have shown it first, under another id.
  const decided = await app.db
    .selectFrom("mail_decisions")
    .select(["decision", "document_id", "reason"])
    .where("user_id", "=", ownerId)
    .where("message_key", "=", messageKey)
    .executeTakeFirst();
  if (!decided) return { success: false, message: "No valid username found in email address" };
  const { decision, document_id } = decided;
  return {
    success: true,
    message:
      decision === "taken"
        ? `Email processed successfully for user: ${username}`
        : `Email ${decision} for user: ${username}: ${decided.reason}`,
    user_id: ownerId,
    decision,
    ...(document_id ? { document_id } : {}),
  };
}
