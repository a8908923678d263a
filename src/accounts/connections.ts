import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import type { App } from "../app.ts";
import type { Tx } from "../db/connection.ts";
import { AppError } from "../lib/errors.ts";
import { isKeyKnown, seal } from "../lib/secrets.ts";
import type { Grant, Identity } from "../providers/google/oauth.ts";
import { type Capability, capabilities, missingScopes } from "../providers/google/scopes.ts";
import { enqueue, type NewJob } from "../queue/queue.ts";
import { audit } from "./audit-trail.ts";

/** One authorised Google account, as the API shows it. Never with a token. */
export type Connection = {
  id: string;
  email: string | null;
  name: string | null;
  picture: string | null;
  subject: string | null;
  isSignIn: boolean;
  state: ConnectionState;
  /** Why reconnecting is needed; null while all is well. */
  stateReason: ReconnectReason | null;
  scopes: string[];
  missingScopes: string[];
  capabilities: { name: Capability; granted: boolean; missingScopes: string[] }[];
  accessExpiresAt: Date | null;
  lastRefreshedAt: Date | null;
  connectedAt: Date;
};

export type ConnectionState = "active" | "reconnect_needed";

/** `grant_dead`: Google said `invalid_grant`; `disconnected`: the user asked; `no_refresh_token`: it never had one. */
export type ReconnectReason = "grant_dead" | "disconnected" | "no_refresh_token";

/** What a connection's token is sealed to: moved to another row or column it does not open. */
export function boundTo(connectionId: string, column: "access_token" | "refresh_token"): string {
  return `connections:${connectionId}:${column}`;
}

/** A wish to follow what a connection allows, no more and no less. */
export function startFeedsJob(connectionId: string): NewJob {
  return { name: "feeds.start", payload: { connectionId }, key: connectionId };
}

/** A user's connections, the one that they sign in with first. */
export async function listConnections(app: Pick<App, "db">, userId: string): Promise<Connection[]> {
  const rows = await app.db
    .selectFrom("connections")
    .select([
      "id",
      "email",
      "name",
      "picture",
      "subject",
      "is_sign_in",
      "state",
      "state_reason",
      "scopes",
      "access_expires_at",
      "last_refreshed_at",
      "created_at",
    ])
    .where("user_id", "=", userId)
    .orderBy("is_sign_in", "desc")
    .orderBy("created_at")
    .orderBy("id")
    .execute();
  return rows.map((row) => ({
    id: row.id,
    email: row.email,
    name: row.name,
    picture: row.picture,
    subject: row.subject,
    isSignIn: row.is_sign_in,
    state: row.state,
    stateReason: row.state_reason as ReconnectReason | null,
    scopes: row.scopes,
    missingScopes: missingScopes(row.scopes),
    capabilities: capabilities(row.scopes),
    accessExpiresAt: row.access_expires_at,
    lastRefreshedAt: row.last_refreshed_at,
    connectedAt: row.created_at,
  }));
}

/** One connection of this user; without an id, the one they sign in with. @throws {AppError} `not_found` */
export async function getConnection(
  app: Pick<App, "db">,
  userId: string,
  connectionId?: string,
): Promise<Connection> {
  const connections = await listConnections(app, userId);
  const found = connectionId
    ? connections.find(({ id }) => id === connectionId)
    : (connections.find(({ isSignIn }) => isSignIn) ?? connections[0]);
  if (!found)
    throw new AppError(
      "not_found",
      connectionId ? `No connection ${connectionId}` : "No Google account connected",
    );
  return found;
}

/**
 * Keeps what Google granted. The stored refresh token stays when none came for the same account and it opens; its feeds start
 * by a job of the same transaction. Signing in again after a dead grant re-arms everything by itself.
 */
export async function saveGrant(
  app: Pick<App, "config" | "clock" | "queue">,
  tx: Tx,
  request: {
    userId: string;
    identity: Identity;
    grant: Grant;
    requestedScopes: string[];
    isSignIn: boolean;
  },
): Promise<{ connectionId: string; hasRefreshToken: boolean }> {
  const { userId, identity, grant } = request;
  const existing = await findOwn(tx, userId, identity);
  const id = existing?.id ?? randomUUID();
  const now = app.clock.now();
  const kept = existing?.refresh_token ?? null;
  const opensKept = kept !== null && isKeyKnown(app.config.keyring, kept);
  const hasRefreshToken = grant.refreshToken !== null || opensKept;
  const values = {
    subject: identity.subject,
    email: identity.email,
    name: identity.name,
    picture: identity.picture,
    scopes: grant.scopes,
    requested_scopes: request.requestedScopes,
    access_token: seal(app.config.keyring, grant.accessToken, boundTo(id, "access_token")),
    access_expires_at: grant.accessExpiresAt,
    state: hasRefreshToken ? ("active" as const) : ("reconnect_needed" as const),
    state_reason: hasRefreshToken ? null : ("no_refresh_token" satisfies ReconnectReason),
    state_changed_at: now,
    refresh_failures: 0,
    next_refresh_at: null,
    refresh_lease_owner: null,
    refresh_lease_until: null,
    updated_at: now,
    ...(grant.refreshToken
      ? {
          refresh_token: seal(app.config.keyring, grant.refreshToken, boundTo(id, "refresh_token")),
          consented_at: now,
        }
      : opensKept
        ? {}
        : { refresh_token: null }),
  };
  await tx
    .insertInto("connections")
    .values({ id, user_id: userId, ...values, is_sign_in: request.isSignIn, token_version: 1 })
    .onConflict((conflict) =>
      conflict.column("id").doUpdateSet((row) => ({
        ...values,
        token_version: sql<number>`connections.token_version + 1`,
        is_sign_in: sql<boolean>`connections.is_sign_in or ${row.ref("excluded.is_sign_in")}`,
      })),
    )
    .execute();
  await audit(tx, userId, "connection.granted", { connection_id: id, scopes: grant.scopes });
  await enqueue(app, tx, startFeedsJob(id));
  return { connectionId: id, hasRefreshToken };
}

// A row taken over from the old tables may know its account by address alone.
async function findOwn(tx: Tx, userId: string, identity: Identity) {
  const rows = await tx
    .selectFrom("connections")
    .select(["id", "subject", "email", "refresh_token"])
    .where("user_id", "=", userId)
    .forUpdate()
    .execute();
  const bySubject = rows.find(({ subject }) => subject === identity.subject);
  const byEmail = rows.find(
    ({ subject, email }) =>
      subject === null && email?.toLowerCase() === identity.email.toLowerCase(),
  );
  return bySubject ?? byEmail;
}
