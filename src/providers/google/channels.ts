import { z } from "zod";
import { orNull } from "./lenient.ts";
import { expectAnswer, type GoogleCall, type GoogleRequest } from "./request.ts";

/** What Google has opened. Its `expiresAt` alone counts, whatever was asked for; null where it names none. */
export type Channel = { resourceId: string; expiresAt: Date | null };

export type NewChannel = {
  channelId: string;
  token: string;
  address: string;
  expiresAt: Date;
  signal?: AbortSignal | undefined;
};

/** What is watched: the address of the API, with what has to be told besides. */
type Watched = Pick<GoogleCall, "api" | "path" | "query" | "cost">;

/**
 * Opens a channel that tells `address` of changes. Its first notification can be faster than this answer, so `channelId`
 * and `token` must be known before. Nothing is renewed: open another under a new id, then stop this one.
 *
 * @throws {ProviderError}
 */
export async function openChannel(
  google: GoogleRequest,
  watched: Watched,
  { channelId, token, address, expiresAt, signal }: NewChannel,
): Promise<Channel> {
  const purpose = "open a channel";
  const expiration = String(expiresAt.getTime());
  const answer = await google({
    ...watched,
    purpose,
    method: "POST",
    // Without an expiration the life of a channel is anybody's guess; Drive's is an hour.
    body: { id: channelId, type: "web_hook", address, token, expiration },
    signal,
  });
  const opened = expectAnswer(Opened, answer, purpose);
  return { resourceId: opened.resourceId, expiresAt: opened.expiration };
}

/** Stops a channel of an API. @throws {ProviderError} `not_found` when it has ended already. */
export async function stopChannelOf(
  google: GoogleRequest,
  api: Pick<GoogleCall, "api" | "path" | "cost">,
  {
    channelId,
    resourceId,
    signal,
  }: { channelId: string; resourceId: string; signal?: AbortSignal | undefined },
): Promise<void> {
  const body = { id: channelId, resourceId };
  await google({ ...api, purpose: "stop a channel", method: "POST", body, signal });
}

const Opened = z.object({
  resourceId: z.string().min(1),
  // Milliseconds, as text like every 64-bit number of Google's.
  expiration: orNull(
    z.coerce
      .number()
      .int()
      .positive()
      .max(8.64e15)
      .transform((ms) => new Date(ms)),
  ),
});
