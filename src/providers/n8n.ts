import { createHmac } from "node:crypto";
import { lookup } from "node:dns";
import { type ClientRequest, request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { isIP, type LookupFunction } from "node:net";
import ipaddr from "ipaddr.js";
import { type Secret, sameSecret } from "../lib/secrets.ts";

/** What became of one try to hand something to a workflow. */
export type HandedOn = {
  outcome: "accepted" | "retried" | "given_up";
  status: number | null;
  /** In words, with what to do; null when it was accepted. */
  error: string | null;
};

// n8n takes 16 MiB, and answers more with a 500 that would be tried again for nothing.
const largestBody = 16 * 1024 * 1024;
const timeoutMs = 15_000;

/**
 * Posts JSON to a workflow's address, signed by the Standard Webhooks specification: `webhook-id` is the same on every
 * try. Redirects are not followed. An address in a private network, or on this machine, is refused unless allowed, by
 * what the name resolves to when the connection is made.
 */
export async function postToWorkflow(
  target: { url: string; secret: Secret | null; allowPrivate: boolean },
  message: { id: string; body: string; at: Date; signal: AbortSignal },
): Promise<HandedOn> {
  if (Buffer.byteLength(message.body) > largestBody) {
    return {
      outcome: "given_up",
      status: null,
      error: "It is larger than the 16 MiB that n8n takes",
    };
  }
  try {
    return resultOf(await post(target, message));
  } catch (error) {
    message.signal.throwIfAborted();
    if (error instanceof PrivateAddressError) {
      return { outcome: "given_up", status: null, error: error.message };
    }
    const code = error instanceof Error && "code" in error ? String(error.code) : "network";
    const text =
      error instanceof TimeoutError
        ? "did not answer within 15 seconds"
        : `could not be reached (${code})`;
    return { outcome: "retried", status: null, error: `The workflow ${text}` };
  }
}

/** The headers that prove who sent a body, and when. Source: Standard Webhooks, "Signature scheme". */
export function signatureOf(
  secret: Secret,
  id: string,
  at: Date,
  body: string,
): Record<string, string> {
  const timestamp = String(Math.floor(at.getTime() / 1000));
  return {
    "webhook-timestamp": timestamp,
    "webhook-signature": `v1,${hmac(secret, `${id}.${timestamp}.${body}`, "base64")}`,
  };
}

const toleranceMs = 5 * 60_000;

/**
 * Whether headers prove that whoever knows the secret sent this body: by Standard Webhooks, within five minutes, or by
 * the plain form that n8n's Crypto node makes, `x-signature: sha256=` and the HMAC of the body in hexadecimal.
 */
export function isSigned(
  secret: Secret,
  headers: Record<string, string | string[] | undefined>,
  body: string,
  now: Date,
): boolean {
  const one = (name: string) => [headers[name] ?? []].flat()[0];
  const [id, timestamp, signatures] = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(
    one,
  );
  if (id && timestamp && signatures) {
    const isRecent = Math.abs(Number(timestamp) * 1000 - now.getTime()) <= toleranceMs;
    const expected = `v1,${hmac(secret, `${id}.${timestamp}.${body}`, "base64")}`;
    return (
      isRecent &&
      signatures
        .split(" ")
        .slice(0, 10)
        .some((given) => sameSecret(given, expected))
    );
  }
  const plain = one("x-signature");
  return (
    plain !== undefined && sameSecret(plain.replace(/^sha256=/, ""), hmac(secret, body, "hex"))
  );
}

// A secret in the specification's own form is base64; any other is its own bytes.
function hmac(secret: Secret, text: string, encoding: "base64" | "hex"): string {
  const key = secret.reveal();
  const bytes = key.startsWith("whsec_") ? Buffer.from(key.slice(6), "base64") : Buffer.from(key);
  return createHmac("sha256", bytes).update(text).digest(encoding);
}

class TimeoutError extends Error {
  override readonly name = "TimeoutError";
}

class PrivateAddressError extends Error {
  override readonly name = "PrivateAddressError";
  constructor() {
    super("Its address is in a private network; N8N_ALLOW_PRIVATE=true allows that");
  }
}

async function post(
  { url, secret, allowPrivate }: { url: string; secret: Secret | null; allowPrivate: boolean },
  { id, body, at, signal }: { id: string; body: string; at: Date; signal: AbortSignal },
): Promise<number> {
  const to = new URL(url);
  const host = to.hostname.replace(/^\[|\]$/g, "");
  if (!allowPrivate && isIP(host) && !isPublic(host)) throw new PrivateAddressError();
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const send = to.protocol === "https:" ? requestHttps : requestHttp;
  const request: ClientRequest = send(
    to,
    {
      method: "POST",
      headers: {
        "content-type": "application/json",
        "content-length": Buffer.byteLength(body),
        "user-agent": "Daybook",
        "webhook-id": id,
        "idempotency-key": id,
        ...(secret ? signatureOf(secret, id, at, body) : {}),
      },
      signal,
      ...(allowPrivate ? {} : { lookup: lookupPublic }),
    },
    (answer) => {
      // What it says is of no use; it is read so that the connection can end.
      answer.on("error", reject).on("end", () => resolve(answer.statusCode ?? 0));
      let size = 0;
      answer.on("data", (chunk: Buffer) => {
        size += chunk.length;
        if (size > 1_000_000) answer.destroy();
      });
      answer.on("close", () => resolve(answer.statusCode ?? 0));
    },
  );
  const timer = setTimeout(() => request.destroy(new TimeoutError()), timeoutMs);
  request.on("error", reject);
  request.end(body);
  return promise.finally(() => clearTimeout(timer));
}

const lookupPublic: LookupFunction = (hostname, options, callback) => {
  lookup(hostname, { ...options, all: true }, (error, addresses) => {
    const safe = addresses?.filter(({ address }) => isPublic(address)) ?? [];
    const [first] = safe;
    if (error || !first) {
      return callback(error ?? new PrivateAddressError(), "");
    }
    return options.all ? callback(null, safe) : callback(null, first.address, first.family);
  });
};

function isPublic(address: string): boolean {
  return ipaddr.isValid(address) && ipaddr.process(address).range() === "unicast";
}

const retried = new Set([408, 425, 429, 500, 502, 503, 504, 522, 524]);

function resultOf(status: number): HandedOn {
  if (status >= 200 && status < 300) return { outcome: "accepted", status, error: null };
  const give = (outcome: HandedOn["outcome"], text: string): HandedOn => ({
    outcome,
    status,
    error: `The workflow answered ${status}: ${text}`,
  });
  if (status >= 300 && status < 400) return give("given_up", "it redirects, which is not followed");
  if (status === 401 || status === 403)
    return give("given_up", "it does not let us in; check its authentication");
  // An inactive workflow answers so, and one that was published anew is there again.
  if (status === 404)
    return give("retried", "it is not there; check that the workflow is active and takes POST");
  if (retried.has(status) || status >= 500) return give("retried", "it is in trouble");
  return give("given_up", "it refuses what is sent");
}
