import { createHash } from "node:crypto";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { sql } from "kysely";
import type { App } from "../app.ts";
import { AppError } from "../lib/errors.ts";
import { seal, unseal } from "../lib/secrets.ts";

const header = "idempotency-key";
const leaseSeconds = 60;

type Call = { principal: string; key: string };

// The lease tells a first that took too long from the one that took its place.
type First = Call & { leaseUntil: Date };

declare module "fastify" {
  interface FastifyRequest {
    /** The repeatable call that this request is the first of; its answer is kept. */
    firstOf: First | null;
  }
}

/**
 * Honours `Idempotency-Key` on the routes that say `idempotent`: a repeat with the same body gets the same answer for
 * 24 hours; with another body it is refused; while the first is still running it is asked to wait. A first that died with
 * its process is forgotten after a minute. Failures of ours (5xx) are not kept, so that trying again can succeed.
 *
 * Answers are kept sealed, as some carry a session token; cookies are not kept, so a route that sets one is not for this.
 */
export function honourIdempotencyKeys(server: FastifyInstance, app: App): void {
  server.decorateRequest("firstOf", null);

  server.addHook("preHandler", async (request, reply) => {
    const key = keyOf(request);
    const principal = principalOf(request);
    if (key === null || principal === null) return;
    const claimed = await claim(app, request, { principal, key });
    if ("leaseUntil" in claimed) {
      request.firstOf = claimed;
      return;
    }
    return reply
      .code(claimed.status ?? 200)
      .headers(claimed.headers ?? {})
      .serializer(String)
      .send(openBody(app, { principal, key }, claimed.body));
  });

  server.addHook("onSend", async (request, reply, body) => {
    if (!request.firstOf) return body;
    const isKept =
      reply.statusCode < 500 && (typeof body === "string" || body === null || body === undefined);
    try {
      await (isKept
        ? keep(app, request.firstOf, reply, typeof body === "string" ? body : null)
        : forget(app, request.firstOf));
    } catch (error) {
      // What was done is done: its answer goes out, and repeats wait until the lease ends.
      request.log.warn({ error }, "answer of a repeatable call not kept");
    }
    return body;
  });
}

function keyOf(request: FastifyRequest): string | null {
  const key = request.headers[header];
  if (!request.routeOptions.config.idempotent || key === undefined) return null;
  if (typeof key !== "string" || !/^[\x21-\x7e]{1,200}$/.test(key)) {
    throw new AppError("malformed", "Idempotency-Key must be 1 to 200 visible characters");
  }
  return key;
}

function principalOf({ who }: FastifyRequest): string | null {
  if (!who) return null;
  return who.type === "service" ? "service" : `user:${who.userId}`;
}

async function claim(app: App, request: FastifyRequest, call: Call) {
  const { principal, key } = call;
  const hash = createHash("sha256")
    .update(`${request.method} ${request.url}\n${JSON.stringify(request.body ?? null)}`)
    .digest();
  // Whole milliseconds, which a Date can hold: the lease is compared later.
  const until = (seconds: number) =>
    sql<Date>`date_trunc('milliseconds', now()) + make_interval(secs => ${seconds})`;
  const claimed = await app.db
    .insertInto("idempotency_keys")
    .values({
      principal,
      key,
      request_hash: hash,
      state: "running",
      lease_until: until(leaseSeconds),
      expires_at: until(86_400),
    })
    .onConflict((conflict) =>
      conflict
        .columns(["principal", "key"])
        .doUpdateSet({
          request_hash: hash,
          state: "running",
          lease_until: until(leaseSeconds),
          expires_at: until(86_400),
        })
        .where((row) =>
          row.or([
            row("idempotency_keys.expires_at", "<", sql<Date>`now()`),
            row.and([
              row("idempotency_keys.state", "=", "running"),
              row("idempotency_keys.lease_until", "<", sql<Date>`now()`),
            ]),
          ]),
        ),
    )
    .returning("lease_until")
    .executeTakeFirst();
  if (claimed) return { ...call, leaseUntil: claimed.lease_until };
  const first = await app.db
    .selectFrom("idempotency_keys")
    .select(["request_hash", "state", "status", "headers", "body"])
    .where("principal", "=", principal)
    .where("key", "=", key)
    .executeTakeFirst();
  if (first && !first.request_hash.equals(hash)) {
    throw new AppError("conflict", "This Idempotency-Key was used for another request");
  }
  if (first?.state === "done") return first;
  throw new AppError("conflict", "The first request with this Idempotency-Key is still running", {
    retryAfterSeconds: 1,
  });
}

async function keep(
  app: App,
  first: First,
  reply: { statusCode: number; getHeader(name: string): unknown },
  body: string | null,
): Promise<void> {
  const contentType = reply.getHeader("content-type");
  await app.db
    .updateTable("idempotency_keys")
    .set({
      state: "done",
      status: reply.statusCode,
      headers: JSON.stringify(contentType ? { "content-type": String(contentType) } : {}),
      body: body === null ? null : seal(app.config.keyring, body, boundTo(first)),
    })
    .where("principal", "=", first.principal)
    .where("key", "=", first.key)
    .where("lease_until", "=", first.leaseUntil)
    .execute();
}

async function forget(app: App, first: First): Promise<void> {
  await app.db
    .deleteFrom("idempotency_keys")
    .where("principal", "=", first.principal)
    .where("key", "=", first.key)
    .where("lease_until", "=", first.leaseUntil)
    .execute();
}

function openBody(app: App, call: Call, body: string | null): string | undefined {
  if (body === null) return undefined;
  try {
    return unseal(app.config.keyring, body, boundTo(call));
  } catch (cause) {
    // The key that sealed it is no longer configured. What was asked for was done, and is not done again.
    throw new AppError("conflict", "This was done, but its answer can no longer be read", {
      cause,
    });
  }
}

function boundTo({ principal, key }: Call): string {
  return `idempotency_keys:${principal}:${key}:body`;
}
