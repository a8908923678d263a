import type { ColumnType, Generated, JSONColumnType } from "kysely";

// The tables as the migrations leave them, column by column. A table that only a later feature uses comes with it.

type Json = JSONColumnType<Record<string, unknown>, string, string>;
type Text = string | null;
type Time = Date | null;
type Count = Generated<number | null>;
/** Written by default with the time of the transaction. */
type Stamp = ColumnType<Date, Date | undefined, Date>;

export type Tables = {
  users: {
    id: Generated<string>;
    email: string;
    name: Text;
    role: Text;
    created_at: ColumnType<Time, Date | undefined, Date>;
    username: Text;
    username_set_at: Time;
    picture: Text;
    time_zone: Text;
    last_active_at: Time;
    updated_at: Time;
  };
  google_credentials: {
    user_id: string;
    access_token: Text;
    refresh_token: Text;
    expires_at: Time;
    scope: Text;
  };
  connections: {
    id: Generated<string>;
    user_id: string;
    provider: Generated<string>;
    subject: Text;
    email: Text;
    name: Text;
    picture: Text;
    is_sign_in: Generated<boolean>;
    state: Generated<"active" | "reconnect_needed">;
    state_reason: Text;
    state_changed_at: Stamp;
    scopes: Generated<string[]>;
    requested_scopes: Generated<string[]>;
    access_token: Text;
    access_expires_at: Time;
    refresh_token: Text;
    token_version: Generated<number>;
    refresh_lease_owner: Text;
    refresh_lease_until: Time;
    refresh_failures: Generated<number>;
    next_refresh_at: Time;
    last_refreshed_at: Time;
    consented_at: Time;
    created_at: Stamp;
    updated_at: Stamp;
  };
  sessions: {
    id: Generated<string>;
    user_id: string;
    token_hash: Buffer;
    created_at: Date;
    last_used_at: Date;
    expires_at: Date;
    revoked_at: Time;
  };
  sign_in_attempts: {
    state_hash: Buffer;
    browser_hash: Buffer;
    purpose: "sign_in" | "connect";
    user_id: Text;
    nonce: string;
    verifier: string;
    requested_scopes: string[];
    return_to: Text;
    forced_consent: Generated<boolean>;
    created_at: Date;
    expires_at: Date;
    used_at: Time;
  };
  grant_deaths: {
    id: Generated<string>;
    connection_id: string;
    died_at: Date;
    consented_at: Time;
    had_lived_days: number | null;
  };
  idempotency_keys: {
    principal: string;
    key: string;
    request_hash: Buffer;
    state: "running" | "done";
    status: number | null;
    headers: JSONColumnType<Record<string, string>, string | null, string | null> | null;
    body: Text;
    lease_until: Date;
    created_at: Stamp;
    expires_at: Date;
  };
  schedule_runs: {
    id: Generated<string>;
    name: string;
    started_at: Date;
    finished_at: Time;
    duration_ms: number | null;
    counts: Json | null;
    error: Text;
  };
  audit_trail: {
    id: Generated<string>;
    at: Stamp;
    user_id: string;
    action: string;
    details: Json;
  };
  user_events: {
    id: Generated<string>;
    user_id: string;
    type: string;
    payload: Json;
    created_at: Stamp;
  };
  user_activity_logs: {
    id: Generated<string>;
    user_id: string;
    activity_type: string;
    timestamp: ColumnType<Time, Date | undefined, Date>;
  };
  user_sync_states: {
    id: Generated<string>;
    user_id: string;
    change_frequency: ColumnType<Text, string | undefined, string>;
    last_sync_at: Time;
    virtual_email_activity: Generated<boolean | null>;
    auto_scheduled_meetings: Count;
    updated_at: ColumnType<Time, Date | undefined, Date>;
  };
};
