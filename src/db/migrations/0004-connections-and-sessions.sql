-- One authorised Google account of a user. Tokens are sealed, each bound to this row and its column.
create table connections (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references users (id) on delete cascade,
  provider text not null default 'google' check (provider in ('google')),
  -- Google's own id of the account. Null only in rows taken over that never recorded it.
  subject text,
  email text,
  name text,
  picture text,
  is_sign_in boolean not null default false,
  state text not null default 'active' check (state in ('active', 'reconnect_needed')),
  state_reason text check (state_reason in ('grant_dead', 'disconnected', 'no_refresh_token')),
  state_changed_at timestamptz not null default now(),
  scopes text[] not null default '{}',
  requested_scopes text[] not null default '{}',
  access_token text,
  access_expires_at timestamptz,
  refresh_token text,
  -- Rises with every new token: who acts on an older one has lost.
  token_version integer not null default 1,
  refresh_lease_owner uuid,
  refresh_lease_until timestamptz,
  refresh_failures integer not null default 0,
  next_refresh_at timestamptz,
  last_refreshed_at timestamptz,
  consented_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (user_id, provider, subject)
);
-- An account signs in one person, and a person by one account.
create unique index connections_sign_in_subject on connections (provider, subject) where is_sign_in;
create unique index connections_sign_in_user on connections (user_id) where is_sign_in;
create index connections_due on connections (access_expires_at) where state = 'active' and refresh_token is not null;
create index connections_subject on connections (subject);

create table sessions (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references users (id) on delete cascade,
  token_hash bytea not null unique,
  created_at timestamptz not null,
  last_used_at timestamptz not null,
  expires_at timestamptz not null,
  revoked_at timestamptz
);
create index sessions_user on sessions (user_id);
create index sessions_expiry on sessions (expires_at);

-- A way to Google and back that somebody has begun.
create table sign_in_attempts (
  state_hash bytea primary key,
  browser_hash bytea not null,
  purpose text not null check (purpose in ('sign_in', 'connect')),
  user_id uuid references users (id) on delete cascade,
  nonce text not null,
  verifier text not null,
  requested_scopes text[] not null,
  return_to text,
  forced_consent boolean not null default false,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  used_at timestamptz,
  check ((purpose = 'connect') = (user_id is not null))
);
create index sign_in_attempts_expiry on sign_in_attempts (expires_at);
create index sign_in_attempts_user on sign_in_attempts (user_id);

-- What ended grants tell about the OAuth client. Names nobody.
create table grant_deaths (
  id uuid primary key default gen_random_uuid(),
  connection_id uuid not null,
  died_at timestamptz not null,
  consented_at timestamptz,
  had_lived_days double precision
);
create index grant_deaths_time on grant_deaths (died_at);
