-- Files of Google Drive that a mail links to, and what came of each.
create table document_links (
  document_id uuid not null references documents (id) on delete cascade,
  user_id uuid not null references users (id) on delete cascade,
  file_id text not null,
  -- The file that is followed for it: for a shortcut another.
  target_id text,
  state text not null default 'waiting' check (state in ('waiting', 'found', 'unseen')),
  reason text,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  primary key (document_id, file_id)
);
create index document_links_sought on document_links (user_id, file_id) where state <> 'found';

alter table watched_files drop constraint if exists watched_files_origin_check;
alter table watched_files add constraint watched_files_origin_check
  check (origin in ('subscribed', 'folder', 'shared', 'linked'));
