import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import { ProviderError } from "../lib/errors.ts";
import { inParallel } from "../lib/parallel.ts";
import { seal, unseal } from "../lib/secrets.ts";
import { type Grant, refreshGrant, serviceAccountGrant } from "../providers/google/oauth.ts";
import { enqueue } from "../queue/queue.ts";
import { audit } from "./audit-trail.ts";
import { boundTo, type ReconnectReason, startFeedsJob } from "./connections.ts";
import { tellUser } from "./tell-user.ts";

type Part = Pick<App, "db" | "clock" | "config" | "googleOAuth" | "queue" | "log">;

/** A token with less than this left is refreshed before use. */
const refreshAheadMs = 5 * 60_000;

const leaseSeconds = 30;
const waitForOthersMs = 25_000;

/**
 * A Google access token good for at least five minutes. Refreshing is single-flight across processes: whoever gets the
 * lease in the row refreshes, the others wait and read the row again. No lock is held while Google answers.
 *
 * @throws {ProviderError} `reauthorise` when the connection needs the person; else as the refresh failed.
 */
export async function accessToken(app: Part, connectionId: string): Promise<string> {
  return freshTokenThat(app, connectionId, { serves: () => true });
}

/**
 * Another token than the `refused` one; without it, another than there is now. Whoever else asks for the same waits for it.
 *
 * @throws {ProviderError} as {@link accessToken}
 */
export async function renewAccessToken(
  app: Part,
  connectionId: string,
  refused?: string,
): Promise<string> {
  if (refused !== undefined) {
    return freshTokenThat(app, connectionId, { serves: (token) => token !== refused, refused });
  }
  const { token_version: before } = await readTokens(app, connectionId);
  const serves = (_token: string, version: number) => version > before;
  return freshTokenThat(app, connectionId, { serves });
}

type Wanted = {
  serves: (token: string, version: number) => boolean;
  refused?: string | undefined;
};

async function freshTokenThat(
  app: Part,
  connectionId: string,
  { serves, refused }: Wanted,
): Promise<string> {
  const deadline = performance.now() + waitForOthersMs;
  for (;;) {
    const connection = await readTokens(app, connectionId);
    if (connection.provider === "google_delegation")
      return delegatedToken(app, connection, refused);
    const kept = freshToken(app, connection);
    if (kept !== null && serves(kept, connection.token_version)) return kept;
    const lease = await takeLease(app, connection);
    if (lease) return refreshUnderLease(app, lease);
    if (performance.now() > deadline) {
      throw new ProviderError(
        "retry",
        `Connection ${connectionId} is being refreshed for too long`,
      );
    }
    // Waiters of many processes must not look in step.
    await sleep(40 + Math.random() * 80);
  }
}

type Tokens = Awaited<ReturnType<typeof readTokens>>;

async function readTokens(app: Part, connectionId: string) {
  const connection = await app.db
    .selectFrom("connections")
    .select([
      "id",
      "user_id",
      "provider",
      "email",
      "state",
      "access_token",
      "access_expires_at",
      "refresh_token",
      "token_version",
      "refresh_failures",
      "scopes",
    ])
    .where("id", "=", connectionId)
    .executeTakeFirst();
  if (!connection) throw new ProviderError("give_up", `No connection ${connectionId}`);
  const isDelegated = connection.provider === "google_delegation";
  if (connection.state !== "active" || (connection.refresh_token === null && !isDelegated)) {
    throw new ProviderError(
      "reauthorise",
      `Connection ${connectionId} needs the person to reconnect`,
    );
  }
  return { ...connection, refresh_token: connection.refresh_token ?? "" };
}

// A mailbox that the service account reaches by delegation needs no tokens of its own.
function delegatedToken(app: Part, { scopes, email }: Tokens, refused?: string): Promise<string> {
  return serviceAccessToken(app, scopes, { subject: email ?? undefined, refused });
}

function freshToken(app: Part, { id, access_token, access_expires_at }: Tokens): string | null {
  const left = (access_expires_at?.getTime() ?? 0) - app.clock.now().getTime();
  if (access_token === null || left <= refreshAheadMs) return null;
  return opened(app, access_token, boundTo(id, "access_token"));
}

function opened(app: Part, sealed: string, bound: string): string {
  try {
    return unseal(app.config.keyring, sealed, bound);
  } catch (cause) {
    const message =
      "A token does not open: set ENCRYPTION_KEY_PREVIOUS to the key that sealed it, or have the person sign in again";
    throw new ProviderError("give_up", message, { cause, reason: "unknown_key" });
  }
}

// The lease runs on the database's clock, the one that all processes share.
async function takeLease(
  app: Part,
  connection: Tokens,
): Promise<(Tokens & { owner: string }) | null> {
  const owner = randomUUID();
  const taken = await app.db
    .updateTable("connections")
    .set({
      refresh_lease_owner: owner,
      refresh_lease_until: sql<Date>`now() + make_interval(secs => ${leaseSeconds})`,
    })
    .where("id", "=", connection.id)
    .where("state", "=", "active")
    .where("token_version", "=", connection.token_version)
    .where((where) =>
      where.or([
        where("refresh_lease_until", "is", null),
        where("refresh_lease_until", "<", sql<Date>`now()`),
      ]),
    )
    .executeTakeFirst();
  return taken.numUpdatedRows > 0n ? { ...connection, owner } : null;
}

async function refreshUnderLease(app: Part, lease: Tokens & { owner: string }): Promise<string> {
  try {
    const refreshToken = opened(app, lease.refresh_token, boundTo(lease.id, "refresh_token"));
    const grant = await refreshGrant(app.googleOAuth, refreshToken);
    await keepRefreshed(app, lease, grant);
    return grant.accessToken;
  } catch (error) {
    const isDead = error instanceof ProviderError && error.failure === "reauthorise";
    if (!isDead) await releaseLease(app, lease);
    // What was refused is no longer the connection's: a sign-in that came meanwhile has brought another grant.
    else if (!(await markDead(app, lease))) return accessToken(app, lease.id);
    throw error;
  }
}

async function keepRefreshed(
  app: Part,
  lease: Tokens & { owner: string },
  grant: Grant,
): Promise<void> {
  const now = app.clock.now();
  const isUnknown = grant.scopes.length === 0;
  const isOther = !isUnknown && grant.scopes.toString() !== [...lease.scopes].sort().toString();
  await app.db.transaction().execute(async (tx) => {
    const kept = await tx
      .updateTable("connections")
      .set({
        access_token: seal(
          app.config.keyring,
          grant.accessToken,
          boundTo(lease.id, "access_token"),
        ),
        access_expires_at: grant.accessExpiresAt,
        // Scopes can shrink between refreshes; an answer without them says nothing.
        ...(isUnknown ? {} : { scopes: grant.scopes }),
        ...(grant.refreshToken
          ? {
              refresh_token: seal(
                app.config.keyring,
                grant.refreshToken,
                boundTo(lease.id, "refresh_token"),
              ),
            }
          : {}),
        token_version: lease.token_version + 1,
        last_refreshed_at: now,
        refresh_failures: 0,
        next_refresh_at: null,
        refresh_lease_owner: null,
        refresh_lease_until: null,
        updated_at: now,
      })
      .where("id", "=", lease.id)
      .where("refresh_lease_owner", "=", lease.owner)
      .where("token_version", "=", lease.token_version)
      .executeTakeFirst();
    if (isOther && kept.numUpdatedRows > 0n) await enqueue(app, tx, startFeedsJob(lease.id));
  });
}

// A transient failure slows this connection down, and no other.
async function releaseLease(app: Part, lease: Tokens & { owner: string }): Promise<void> {
  const delayMs =
    Math.min(30_000 * 2 ** lease.refresh_failures, 600_000) * (0.75 + Math.random() / 2);
  await app.db
    .updateTable("connections")
    .set({
      refresh_lease_owner: null,
      refresh_lease_until: null,
      refresh_failures: lease.refresh_failures + 1,
      next_refresh_at: new Date(app.clock.now().getTime() + delayMs),
    })
    .where("id", "=", lease.id)
    .where("refresh_lease_owner", "=", lease.owner)
    .execute();
}

// Conditional on the version that failed: a sign-in that came meanwhile has brought a living grant. Returns whether it was.
async function markDead(app: Part, lease: Tokens & { owner: string }): Promise<boolean> {
  return app.db.transaction().execute(async (tx) => {
    const now = app.clock.now();
    const dead = await tx
      .updateTable("connections")
      .set({
        state: "reconnect_needed",
        state_reason: "grant_dead" satisfies ReconnectReason,
        state_changed_at: now,
        access_token: null,
        access_expires_at: null,
        // Kept, it would pass for a living one when the person signs in and Google sends no other.
        refresh_token: null,
        refresh_lease_owner: null,
        refresh_lease_until: null,
        updated_at: now,
      })
      .where("id", "=", lease.id)
      .where("token_version", "=", lease.token_version)
      .returning("consented_at")
      .executeTakeFirst();
    if (!dead) return false;
    await recordDeath(app, tx, lease, dead.consented_at);
    await enqueue(app, tx, startFeedsJob(lease.id));
    return true;
  });
}

async function recordDeath(
  app: Part,
  tx: Tx,
  lease: Tokens,
  consentedAt: Date | null,
): Promise<void> {
  const now = app.clock.now();
  const livedDays = consentedAt ? (now.getTime() - consentedAt.getTime()) / 86_400_000 : null;
  await tx
    .insertInto("grant_deaths")
    .values({
      connection_id: lease.id,
      died_at: now,
      consented_at: consentedAt,
      had_lived_days: livedDays,
    })
    .execute();
  const details = { connection_id: lease.id };
  await audit(tx, lease.user_id, "connection.grant_dead", details);
  await tellUser(tx, lease.user_id, [{ type: "connection.changed", payload: details }]);
}

// So that a run every two minutes comes before the first use that would have to wait.
const dueAheadMs = 10 * 60_000;

type RefreshResult = { userId: string; connectionId: string; error: string | null };

/** Refreshes what expires soon, a limited number at once; one failure never hides the others' results. */
export async function refreshDueTokens(
  app: Part,
  { signal }: { signal?: AbortSignal } = {},
): Promise<RefreshResult[]> {
  const results: RefreshResult[] = [];
  let after = "00000000-0000-0000-0000-000000000000";
  while (!signal?.aborted) {
    const due = await listDue(app, after);
    const last = due.at(-1);
    if (!last) break;
    after = last.id;
    results.push(...(await inParallel(due, 10, (one) => refreshOne(app, one))));
  }
  return results;
}

async function listDue(app: Part, after: string) {
  const now = app.clock.now();
  return app.db
    .selectFrom("connections")
    .select(["id", "user_id"])
    .where("state", "=", "active")
    .where("refresh_token", "is not", null)
    .where("access_expires_at", "<", new Date(now.getTime() + dueAheadMs))
    .where((where) =>
      where.or([where("next_refresh_at", "is", null), where("next_refresh_at", "<=", now)]),
    )
    .where("id", ">", after)
    .orderBy("id")
    .limit(200)
    .execute();
}

async function refreshOne(app: Part, due: { id: string; user_id: string }): Promise<RefreshResult> {
  const base = { userId: due.user_id, connectionId: due.id };
  try {
    await renewAccessToken(app, due.id);
    return { ...base, error: null };
  } catch (error) {
    if (error instanceof ProviderError) return { ...base, error: error.reason };
    app.log.error({ error, connection_id: due.id }, "a token could not be refreshed");
    return { ...base, error: "unexpected" };
  }
}

const serviceTokens = new WeakMap<object, Map<string, Grant>>();

/**
 * An access token of the service account, by `subject` in the name of a person of its domain. Kept in this process until
 * five minutes before its end, or until Google has `refused` it: signing another one is cheap, and no other process needs it.
 *
 * @throws {ProviderError} `give_up` when there is no service account, or Google refuses it.
 */
export async function serviceAccessToken(
  app: Pick<App, "config" | "googleOAuth" | "clock">,
  scopes: readonly string[],
  { subject, refused }: { subject?: string | undefined; refused?: string | undefined } = {},
): Promise<string> {
  const account = app.config.google.serviceAccount;
  if (!account) throw new ProviderError("give_up", "No service account is configured");
  const cache = serviceTokens.get(app.googleOAuth) ?? new Map<string, Grant>();
  serviceTokens.set(app.googleOAuth, cache);
  const key = JSON.stringify([account.email, subject, [...scopes].sort()]);
  const kept = cache.get(key);
  const isFresh =
    kept && kept.accessExpiresAt.getTime() - app.clock.now().getTime() > refreshAheadMs;
  if (isFresh && kept.accessToken !== refused) return kept.accessToken;
  const grant = await serviceAccountGrant(app.googleOAuth, account, {
    scopes,
    ...(subject ? { subject } : {}),
  });
  cache.set(key, grant);
  return grant.accessToken;
}
