import { createHash, randomUUID } from "node:crypto";
import { sql } from "kysely";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import { AppError } from "../lib/errors.ts";
import { type HandedOn, postToWorkflow } from "../providers/n8n.ts";
import { takeBackDeadLetters } from "../queue/dead-letters.ts";
import { enqueue, hasJob, type NewJob } from "../queue/queue.ts";

export type DeliveryKind = "classification" | "drive_sync";

type Part = Pick<App, "db" | "clock" | "config" | "queue">;

const secondMs = 1_000;
const minuteMs = 60 * secondMs;
const hourMs = 60 * minuteMs;
/** The waits between tries; after the last of them a delivery lies among the dead letters. */
export const waitsMs = [
  5 * secondMs,
  5 * minuteMs,
  30 * minuteMs,
  2 * hourMs,
  5 * hourMs,
  10 * hourMs,
  10 * hourMs,
];
// Longer than a try may take; one whose process died is made again after this.
const leaseSeconds = 30;

/** Where a kind of delivery goes; null where nothing is configured. */
export function targetOf({ n8n }: App["config"], kind: DeliveryKind): string | null {
  return kind === "classification" ? n8n.classificationUrl : n8n.driveSyncUrl;
}

/** A fact about a document that a workflow is to hear of. */
export type Fact = {
  kind: DeliveryKind;
  userId: string;
  documentId: string;
  /** What happened, so that the same words mean the same fact. */
  fact: string;
  details?: Record<string, unknown>;
};

/**
 * Puts facts on their way to their workflows, in the transaction that makes them facts. The same fact twice is one
 * delivery. Returns the jobs that send them; none where no workflow is configured.
 */
export async function startDeliveries(
  app: Pick<App, "clock" | "config">,
  tx: Tx,
  facts: Fact[],
): Promise<NewJob[]> {
  const sent = facts.filter(({ kind }) => targetOf(app.config, kind) !== null);
  if (sent.length === 0) return [];
  const now = app.clock.now();
  const made = await tx
    .insertInto("deliveries")
    .values(
      sent.map((fact) => ({
        user_id: fact.userId,
        document_id: fact.documentId,
        kind: fact.kind,
        event_id: eventIdOf(fact),
        details: JSON.stringify(fact.details ?? {}),
        occurred_at: now,
        next_try_at: now,
      })),
    )
    .onConflict((conflict) => conflict.column("event_id").doNothing())
    .returning("id")
    .execute();
  return made.map(({ id }) => sendJob(id));
}

function eventIdOf({ kind, documentId, fact }: { kind: string; documentId: string; fact: string }) {
  const hash = createHash("sha256").update(`${kind}\n${documentId}\n${fact}`).digest("base64url");
  return `evt_${hash.slice(0, 32)}`;
}

/** A delivery, as what makes its body is given it. */
export type Delivery = {
  id: string;
  user_id: string;
  document_id: string;
  kind: DeliveryKind;
  event_id: string;
  details: Record<string, unknown>;
  occurred_at: Date;
  tries: number;
  tries_before: number;
};

/** Makes what is sent; null when there is nothing left to send. */
export type Payload = (app: Part, delivery: Delivery) => Promise<Record<string, unknown> | null>;

/** What else a delivery's end means, in the transaction that records it. */
export type Ended = (
  tx: Tx,
  delivery: Delivery,
  result: HandedOn & { isOver: boolean },
) => Promise<void>;

/** What each kind of delivery carries, and what its end means. */
export type DeliveryContents = Record<DeliveryKind, { payload: Payload; ended: Ended }>;

/**
 * One try of a delivery that is due. One process at a time makes it, and only once the document's earlier deliveries of
 * that kind have ended: their order is kept. A try that dies with its process is made again, with the same id.
 */
export async function sendDelivery(
  app: Part & Pick<App, "log">,
  { deliveryId }: { deliveryId: string },
  { signal, contents }: { signal: AbortSignal; contents: DeliveryContents },
): Promise<{ tries: number }> {
  const owner = randomUUID();
  const delivery = await claim(app, deliveryId, owner);
  if (!delivery) {
    await comeBack(app, deliveryId);
    return { tries: 0 };
  }
  const { payload, ended } = contents[delivery.kind];
  const startedAt = app.clock.now();
  const startedMs = performance.now();
  const url = targetOf(app.config, delivery.kind);
  const result = await attempt(app, delivery, { url, signal, payload }).catch(async (error) => {
    await release(app, deliveryId, owner);
    throw error;
  });
  const durationMs = Math.round(performance.now() - startedMs);
  await app.db.transaction().execute(async (tx) => {
    const index = delivery.tries - delivery.tries_before;
    const waitMs = result.outcome === "retried" ? waitsMs[index] : undefined;
    const isOver = waitMs === undefined;
    const outcome = result.outcome === "retried" && isOver ? "given_up" : result.outcome;
    const state = outcome === "accepted" ? "delivered" : isOver ? "dead" : "waiting";
    const nextTryAt = isOver ? null : new Date(app.clock.now().getTime() + waitMs);
    const kept = await tx
      .updateTable("deliveries")
      .set({
        state,
        tries: delivery.tries + 1,
        next_try_at: nextTryAt,
        last_error: result.error,
        finished_at: isOver ? app.clock.now() : null,
        lease_owner: null,
        lease_until: null,
      })
      .where("id", "=", deliveryId)
      .where("lease_owner", "=", owner)
      .executeTakeFirst();
    if (kept.numUpdatedRows === 0n) return;
    await tx
      .insertInto("delivery_tries")
      .values({
        delivery_id: deliveryId,
        number: delivery.tries + 1,
        host: url ? new URL(url).host : "(none)",
        started_at: startedAt,
        duration_ms: durationMs,
        status: result.status,
        outcome,
        error: result.error,
      })
      .execute();
    await ended(tx, delivery, { ...result, outcome, isOver });
    await enqueue(
      app,
      tx,
      nextTryAt ? [sendJob(deliveryId, nextTryAt)] : await following(tx, delivery),
    );
  });
  if (result.outcome !== "accepted") {
    app.log.warn(
      { delivery_id: deliveryId, status: result.status, error: result.error },
      "delivery failed",
    );
  }
  return { tries: 1 };
}

async function attempt(
  app: Part,
  delivery: Delivery,
  { url, signal, payload }: { url: string | null; signal: AbortSignal; payload: Payload },
): Promise<HandedOn> {
  if (!url)
    return { outcome: "given_up", status: null, error: "No workflow is configured any more" };
  const content = await payload(app, delivery);
  if (!content)
    return { outcome: "given_up", status: null, error: "The document is no longer there" };
  const at = app.clock.now();
  const body = JSON.stringify({
    ...content,
    event_id: delivery.event_id,
    occurred_at: delivery.occurred_at.toISOString(),
    attempt: delivery.tries + 1,
  });
  const { secret, allowPrivate } = app.config.n8n;
  return postToWorkflow({ url, secret, allowPrivate }, { id: delivery.event_id, body, at, signal });
}

async function claim(app: Part, id: string, owner: string): Promise<Delivery | null> {
  const { rows } = await sql<Delivery>`
    update deliveries set lease_owner = ${owner}::uuid, lease_until = now() + make_interval(secs => ${leaseSeconds})
    where id = ${id} and state = 'waiting' and next_try_at <= ${app.clock.now()}
      and (lease_until is null or lease_until < now())
      and not exists (select from deliveries as earlier where earlier.document_id = deliveries.document_id
        and earlier.kind = deliveries.kind and earlier.state = 'waiting' and earlier.sequence < deliveries.sequence)
    returning id, user_id, document_id, kind, event_id, details, occurred_at, tries, tries_before
  `.execute(app.db);
  return rows[0] ?? null;
}

// It is not due yet, or another process is at it: should that one die, this one takes over. Whatever stood in the way may
// be gone by now, and then it is tried at once.
async function comeBack(app: Part, id: string): Promise<void> {
  if (await isCalled(app, id)) return;
  const waiting = await app.db
    .selectFrom("deliveries")
    .select(["next_try_at", "lease_until"])
    .where("id", "=", id)
    .where("state", "=", "waiting")
    .executeTakeFirst();
  if (!waiting) return;
  const now = app.clock.now().getTime();
  const leased = waiting.lease_until ? leaseSeconds * secondMs : 0;
  const at = Math.max(waiting.next_try_at?.getTime() ?? 0, now + leased);
  await enqueue(app, app.db, sendJob(id, new Date(at)));
}

// What waits for an earlier delivery of its document is called by the end of that. One that is about to end may have
// looked already for what comes next: the lock waits for it.
async function isCalled(app: Part, id: string): Promise<boolean> {
  const { rows } = await sql`
    select from deliveries
    join deliveries as earlier on earlier.document_id = deliveries.document_id and earlier.kind = deliveries.kind
      and earlier.state = 'waiting' and earlier.sequence < deliveries.sequence
    where deliveries.id = ${id} for share of earlier
  `.execute(app.db);
  return rows.length > 0;
}

async function release(app: Part, id: string, owner: string): Promise<void> {
  await app.db
    .updateTable("deliveries")
    .set({ lease_owner: null, lease_until: null })
    .where("id", "=", id)
    .where("lease_owner", "=", owner)
    .execute();
}

async function following(tx: Tx, { document_id, kind }: Delivery): Promise<NewJob[]> {
  const next = await tx
    .selectFrom("deliveries")
    .select(["id", "next_try_at"])
    .where("document_id", "=", document_id)
    .where("kind", "=", kind)
    .where("state", "=", "waiting")
    .orderBy("sequence")
    .executeTakeFirst();
  return next ? [sendJob(next.id, next.next_try_at ?? undefined)] : [];
}

function sendJob(deliveryId: string, startAfter?: Date): NewJob {
  return {
    name: "deliveries.send",
    payload: { deliveryId },
    key: deliveryId,
    ...(startAfter ? { startAfter } : {}),
  };
}

/**
 * Calls for those that are due and nobody took up: their job was given up, or lost with the queue's tables. One that is
 * given up each time lies among the dead letters once.
 */
export async function callLostDeliveries(app: Part): Promise<number> {
  const { rows } = await sql<{ id: string }>`
    select id from deliveries
    where state = 'waiting' and next_try_at < ${new Date(app.clock.now().getTime() - minuteMs)}
      and (lease_until is null or lease_until < now())
      and not exists (select from deliveries as earlier where earlier.document_id = deliveries.document_id
        and earlier.kind = deliveries.kind and earlier.state = 'waiting' and earlier.sequence < deliveries.sequence)
      and not ${hasJob("deliveries.send", "deliveries.id")}
    order by next_try_at limit 1000
  `.execute(app.db);
  const ids = rows.map(({ id }) => id);
  if (ids.length === 0) return 0;
  await app.db.transaction().execute(async (tx) => {
    await takeBackDeadLetters(tx, "deliveries.send", ids);
    await enqueue(
      app,
      tx,
      ids.map((id) => sendJob(id)),
    );
  });
  return ids.length;
}

/** Sends a delivery once more, from the beginning of its waits. One that waits is tried now. @throws {AppError} */
export async function resendDelivery(app: Part, userId: string, id: string): Promise<void> {
  await app.db.transaction().execute(async (tx) => {
    const now = app.clock.now();
    const delivery = await tx
      .updateTable("deliveries")
      .set((row) => ({
        state: "waiting" as const,
        tries_before: row.ref("tries"),
        next_try_at: now,
        finished_at: null,
      }))
      .where("id", "=", id)
      .where("user_id", "=", userId)
      .returning(["id", "kind"])
      .executeTakeFirst();
    if (!delivery) throw new AppError("not_found", `No delivery ${id}`);
    if (targetOf(app.config, delivery.kind) === null) {
      throw new AppError("conflict", "No workflow is configured to send it to");
    }
    await enqueue(app, tx, sendJob(id));
  });
}

/** A user's deliveries, latest first, each with its tries. */
export async function listDeliveries(
  app: Pick<App, "db">,
  userId: string,
  filter: {
    state?: "waiting" | "delivered" | "dead" | undefined;
    documentId?: string | undefined;
    id?: string | undefined;
    before?: string | undefined;
    limit: number;
  },
) {
  let query = app.db
    .selectFrom("deliveries")
    .leftJoin("documents", "documents.id", "deliveries.document_id")
    .selectAll("deliveries")
    .select("documents.title")
    .select((row) =>
      row
        .selectFrom("delivery_tries")
        .whereRef("delivery_id", "=", "deliveries.id")
        .select(
          sql<
            TryRow[]
          >`coalesce(jsonb_agg(jsonb_build_object('number', number, 'host', host, 'started_at', started_at,
            'duration_ms', duration_ms, 'status', status, 'outcome', outcome, 'error', error) order by number), '[]')`.as(
            "log",
          ),
        )
        .as("log"),
    )
    .where("deliveries.user_id", "=", userId);
  if (filter.id) query = query.where("deliveries.id", "=", filter.id);
  if (filter.state) query = query.where("deliveries.state", "=", filter.state);
  if (filter.documentId) query = query.where("deliveries.document_id", "=", filter.documentId);
  if (filter.before) query = query.where("deliveries.sequence", "<", filter.before);
  return query.orderBy("deliveries.sequence", "desc").limit(filter.limit).execute();
}

export type TryRow = {
  number: number;
  host: string;
  started_at: string;
  duration_ms: number;
  status: number | null;
  outcome: HandedOn["outcome"];
  error: string | null;
};
