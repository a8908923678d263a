-- What is followed at a provider, how far it is read, and what each look found.

create table feeds (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references users (id) on delete cascade,
  connection_id uuid not null references connections (id) on delete cascade,
  kind text not null check (kind in ('calendar_list', 'calendar', 'gmail', 'drive')),
  -- The provider's own id: of a calendar, a mailbox, a drive. Empty where an account has one only.
  resource text not null,
  title text,
  is_primary boolean not null default false,
  -- What the provider says of it (time zone, access role, whether it is selected there) and what its source remembers.
  details jsonb not null default '{}',
  -- Null follows the provider's own choice.
  is_wanted boolean,
  state text not null default 'active' check (state in ('active', 'paused', 'stopped')),
  state_reason text,
  -- The cursor counts only together with the parameters it was issued for.
  cursor text,
  cursor_shape text,
  -- A reading that is not at its end yet: where it began, and the next page.
  reading jsonb,
  -- Rises with each full read. What carries an older one after it was not seen.
  generation integer not null default 0,
  due_at timestamptz,
  due_reason jsonb,
  lease_owner uuid,
  lease_until timestamptz,
  wanted_again boolean not null default false,
  is_full_wanted boolean not null default false,
  -- It had to let others of its account go first, since then.
  crowded_out_at timestamptz,
  runs_started bigint not null default 0,
  runs_finished bigint not null default 0,
  failures integer not null default 0,
  -- Until then only a person may ask again.
  retry_at timestamptz,
  last_error text,
  last_error_reason text,
  last_run_at timestamptz,
  last_success_at timestamptz,
  last_change_at timestamptz,
  last_full_at timestamptz,
  cadence jsonb,
  -- The provider offers none for it; and whether the person wants it.
  is_push_refused boolean not null default false,
  is_push_wanted boolean not null default true,
  watch_failures integer not null default 0,
  watch_due_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (connection_id, kind, resource)
);
create index feeds_due on feeds (due_at) where state = 'active';
create index feeds_watch_due on feeds (watch_due_at) where state = 'active';
create index feeds_user on feeds (user_id, kind);

-- One push channel each. The row is older than the channel: the first notification can be faster than the answer.
create table watches (
  id uuid primary key default gen_random_uuid(),
  feed_id uuid not null references feeds (id) on delete cascade,
  user_id uuid not null references users (id) on delete cascade,
  -- The secret that its notifications bring, as a keyed digest.
  secret_hash bytea not null,
  resource_id text,
  state text not null default 'opening' check (state in ('opening', 'open', 'closing', 'closed', 'failed')),
  requested_at timestamptz not null,
  opened_at timestamptz,
  confirmed_at timestamptz,
  expires_at timestamptz not null,
  renew_at timestamptz,
  last_notified_at timestamptz,
  last_message_number bigint not null default 0,
  delivered integer not null default 0,
  missed integer not null default 0,
  close_reason text,
  close_failures integer not null default 0,
  close_due_at timestamptz,
  created_at timestamptz not null default now()
);
create index watches_feed on watches (feed_id, state);
create index watches_closing on watches (close_due_at) where state = 'closing';
create index watches_expiry on watches (expires_at);
create index watches_user on watches (user_id);

-- What channels told us. A number comes twice when its first delivery seemed to fail.
create table notifications (
  watch_id uuid not null references watches (id) on delete cascade,
  message_number bigint not null,
  resource_state text not null,
  received_at timestamptz not null,
  primary key (watch_id, message_number)
);
create index notifications_time on notifications (received_at);

create table sync_runs (
  id uuid primary key default gen_random_uuid(),
  feed_id uuid not null references feeds (id) on delete cascade,
  user_id uuid not null references users (id) on delete cascade,
  run_number bigint not null,
  reason text not null check (reason in ('start', 'poll', 'push', 'person')),
  mode text check (mode in ('full', 'delta')),
  started_at timestamptz not null,
  finished_at timestamptz,
  duration_ms integer,
  outcome text check (outcome in ('succeeded', 'failed', 'interrupted')),
  processed integer not null default 0,
  created integer not null default 0,
  updated integer not null default 0,
  deleted integer not null default 0,
  skipped integer not null default 0,
  pages integer not null default 0,
  auto_scheduled integer not null default 0,
  provider_calls integer not null default 0,
  error text
);
create index sync_runs_feed on sync_runs (feed_id, run_number desc);
create index sync_runs_time on sync_runs (started_at);
create index sync_runs_user on sync_runs (user_id);

-- Entries of a feed that could not be read. They cost only themselves.
create table skipped_changes (
  feed_id uuid not null references feeds (id) on delete cascade,
  item text not null,
  problem text not null,
  first_seen_at timestamptz not null,
  last_seen_at timestamptz not null,
  primary key (feed_id, item)
);

-- Calls to a provider in the current minute, by account and by project. Kept by the library that counts them.
create unlogged table provider_limits (
  key varchar(255) primary key,
  points integer not null default 0,
  expire bigint
);

-- Who has seen an event has seen all before it: a user's ids are given one transaction after the other.
create function number_user_event() returns trigger language plpgsql as $$
begin
  perform pg_advisory_xact_lock(hashtextextended('user_events:' || new.user_id, 0));
  new.id := nextval(pg_get_serial_sequence('user_events', 'id'));
  return new;
end
$$;
create trigger user_events_number before insert on user_events for each row execute function number_user_event();
