-- What a person described, and what a model made of it. One row for each description of a project, however often it is sent.
create table onboardings (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references users (id) on delete cascade,
  project_id uuid not null references projects (id) on delete cascade,
  summary_hash bytea not null,
  summary jsonb not null,
  state text not null default 'waiting' check (state in ('waiting', 'drafting', 'checking', 'stored', 'failed')),
  corrections text[] not null default '{}',
  error text,
  error_code text,
  retry_after_seconds int,
  model text,
  input_tokens int not null default 0,
  output_tokens int not null default 0,
  model_calls int not null default 0,
  duration_ms int,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  unique (project_id, summary_hash)
);

create index onboardings_user on onboardings (user_id, created_at desc);
