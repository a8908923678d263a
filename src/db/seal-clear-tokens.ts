import type { PoolClient } from "pg";
import { type Keyring, seal, unseal } from "../lib/secrets.ts";

type Clear = {
  user_id: string;
  connection_id: string;
  access_token: string | null;
  refresh_token: string | null;
  expires_at: Date | null;
  scope: string | null;
  is_disconnected: boolean;
};

const tokenColumns = ["access_token", "refresh_token"] as const;

// Google names these two by either form. Ours is the one that its token endpoint answers with.
const longForm: Record<string, string> = {
  email: "https://www.googleapis.com/auth/userinfo.email",
  profile: "https://www.googleapis.com/auth/userinfo.profile",
};

/**
 * Takes the rows of `google_credentials` over into `connections`: their tokens move from clear text, sealed, and the old
 * columns are emptied once the copy was read back and opened. A hundred rows at a time, each lot in one transaction, so
 * that it may be stopped and repeated. Returns how many rows had tokens.
 */
export async function sealClearTokens(client: PoolClient, keyring: Keyring): Promise<number> {
  await inTransaction(client, () => ensureConnections(client));
  for (let moved = 0; ; ) {
    const lot = await inTransaction(client, () => moveLot(client, keyring));
    if (lot === 0) return moved;
    moved += lot;
  }
}

// Of several people whom the old rows let sign in with one Google account, who did so last may go on. A row without
// tokens matters only as a way to sign in.
async function ensureConnections(client: PoolClient): Promise<void> {
  await client.query(`
    insert into connections (user_id, subject, email, name, picture, is_sign_in, state, state_reason, consented_at)
    select user_id, subject, google_email, google_name, google_picture,
           signs_in and seniority = 1
             and not exists (select from connections as other where other.is_sign_in
                             and (other.user_id = old.user_id or other.subject = old.subject)),
           'reconnect_needed', 'no_refresh_token', login_created_at
    from (
      select *, nullif(google_user_id, '') as subject, login_provider is true and coalesce(google_user_id, '') <> '' as signs_in,
             row_number() over (
               partition by google_user_id
               order by login_provider desc nulls last, login_created_at desc nulls last, user_id
             ) as seniority
      from google_credentials
    ) as old
    where (access_token <> '' or refresh_token <> '' or signs_in)
      and not exists (select from connections as known where known.user_id = old.user_id
                      and (known.subject = old.subject or old.subject is null))`);
}

async function moveLot(client: PoolClient, keyring: Keyring): Promise<number> {
  // Later set-ups have a column `status`, which earlier ones lack.
  const { rows } = await client.query<Clear>(`
    select old.user_id, connection.id as connection_id, nullif(access_token, '') as access_token,
           nullif(refresh_token, '') as refresh_token, expires_at, scope,
           coalesce(to_jsonb(old) ->> 'status' = 'disconnected', false) as is_disconnected
    from google_credentials as old
    cross join lateral (
      select id from connections
      where connections.user_id = old.user_id
        and (connections.subject = old.google_user_id or nullif(old.google_user_id, '') is null)
      order by connections.subject nulls first, connections.created_at
      limit 1
    ) as connection
    where access_token <> '' or refresh_token <> ''
    order by old.user_id
    limit 100
    for update of old`);
  for (const old of rows) {
    await storeSealed(client, keyring, old);
    await requireSameTokens(client, keyring, old);
  }
  await client.query(
    "update google_credentials set access_token = null, refresh_token = null where user_id = any($1)",
    [rows.map(({ user_id }) => user_id)],
  );
  return rows.length;
}

async function storeSealed(client: PoolClient, keyring: Keyring, old: Clear): Promise<void> {
  const [accessToken, refreshToken] = tokenColumns.map((column) => {
    const token = old[column];
    return token === null ? null : seal(keyring, token, boundTo(old.connection_id, column));
  });
  const scopes = (old.scope ?? "").split(/\s+/).filter(Boolean);
  await client.query(
    `update connections set
       access_token = coalesce($2, access_token),
       access_expires_at = case when $2::text is null then access_expires_at else $3 end,
       refresh_token = coalesce($4, refresh_token),
       scopes = $5,
       state = case when $6 then 'reconnect_needed' when $4::text is not null then 'active' else state end,
       state_reason = case when $6 then 'disconnected' when $4::text is not null then null else state_reason end,
       state_changed_at = now(),
       token_version = token_version + 1,
       updated_at = now()
     where id = $1`,
    [
      old.connection_id,
      accessToken,
      old.expires_at,
      refreshToken,
      [...new Set(scopes.map((scope) => longForm[scope] ?? scope))].sort(),
      old.is_disconnected,
    ],
  );
}

async function requireSameTokens(client: PoolClient, keyring: Keyring, old: Clear): Promise<void> {
  const { rows } = await client.query<{
    access_token: string | null;
    refresh_token: string | null;
  }>("select access_token, refresh_token from connections where id = $1", [old.connection_id]);
  for (const column of tokenColumns) {
    const copy = rows[0]?.[column];
    if (old[column] === null) continue;
    if (!copy || unseal(keyring, copy, boundTo(old.connection_id, column)) !== old[column]) {
      throw new Error(`The sealed copy of a Google token of user ${old.user_id} does not open`);
    }
  }
}

function boundTo(connectionId: string, column: string): string {
  return `connections:${connectionId}:${column}`;
}

async function inTransaction<Result>(
  client: PoolClient,
  act: () => Promise<Result>,
): Promise<Result> {
  try {
    await client.query("begin");
    const result = await act();
    await client.query("commit");
    return result;
  } catch (error) {
    await client.query("rollback").catch(() => {});
    throw error;
  }
}
