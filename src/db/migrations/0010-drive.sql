-- Files and folders of Google Drive that are followed, and what is known of each.
create table watched_files (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references users (id) on delete cascade,
  -- Whose log of changes tells of it.
  feed_id uuid not null references feeds (id) on delete cascade,
  file_id text not null,
  document_id uuid references documents (id) on delete cascade,
  origin text not null check (origin in ('subscribed', 'folder', 'shared')),
  -- The watched folder that brought it, and how far below the one that was asked for.
  folder_id uuid references watched_files (id) on delete set null,
  depth integer not null default 0,
  is_folder boolean not null default false,
  state text not null default 'active' check (state in ('active', 'trashed', 'removed', 'lost', 'stopped')),
  state_reason text,
  name text not null,
  mimetype text not null,
  url text,
  size bigint,
  owner text,
  is_own boolean not null default false,
  parents text[] not null default '{}',
  version bigint,
  modified_at timestamptz,
  -- What tells that the content is another, and of which content we have the text.
  content_key text,
  read_key text,
  read_at timestamptz,
  read_failures integer not null default 0,
  read_retry_at timestamptz,
  read_error text,
  generation integer not null default 0,
  last_changed_at timestamptz,
  last_checked_at timestamptz,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  unique (user_id, file_id)
);
create index watched_files_feed on watched_files (feed_id, file_id);
create index watched_files_user on watched_files (user_id, created_at desc, id desc);
create index watched_files_document on watched_files (document_id);
create index watched_files_folder on watched_files (folder_id);

-- Several users may follow the same file.
drop index if exists idx_drive_file_watches_file_id_unique;
create unique index drive_file_watches_once on drive_file_watches (document_id, file_id) where is_active;
