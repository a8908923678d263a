-- Answers kept for repeated requests with the same Idempotency-Key.
create table idempotency_keys (
  principal text not null,
  key text not null,
  request_hash bytea not null,
  state text not null check (state in ('running', 'done')),
  status integer,
  headers jsonb,
  body text,
  lease_until timestamptz not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  primary key (principal, key)
);
create index idempotency_keys_expiry on idempotency_keys (expires_at);

create table schedule_runs (
  id uuid primary key default gen_random_uuid(),
  name text not null,
  started_at timestamptz not null,
  finished_at timestamptz,
  duration_ms integer,
  counts jsonb,
  error text
);
create index schedule_runs_name on schedule_runs (name, started_at desc);

create table audit_trail (
  id bigint generated always as identity primary key,
  at timestamptz not null default now(),
  user_id uuid not null references users (id) on delete cascade,
  action text not null,
  details jsonb not null default '{}'
);
create index audit_trail_user on audit_trail (user_id, id);

-- What the console is told about, in order, for those who were away for a moment as well.
create table user_events (
  id bigint generated always as identity primary key,
  user_id uuid not null references users (id) on delete cascade,
  type text not null,
  payload jsonb not null default '{}',
  created_at timestamptz not null default now()
);
create index user_events_user on user_events (user_id, id);
create index user_events_time on user_events (created_at);

create function notify_user_event() returns trigger language plpgsql as $$
begin
  perform pg_notify('daybook_events', new.user_id || ' ' || new.id);
  return null;
end
$$;
create trigger user_events_notify after insert on user_events for each row execute function notify_user_event();
