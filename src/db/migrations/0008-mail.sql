-- Mail that is addressed to the assistant, the documents that come of it, and how they are handed on.

alter table documents
  add column if not exists source_url text,
  add column if not exists mimetype text,
  add column if not exists classification_status text default 'pending',
  add column if not exists updated_at timestamptz,
  add column if not exists recipients jsonb,
  add column if not exists attachments jsonb,
  add column if not exists thread_id text,
  add column if not exists tags text[],
  add column if not exists classification_confidence double precision,
  add column if not exists classification_reason text,
  add column if not exists classified_at timestamptz,
  -- Since when the project is a person's own choice, which no workflow overwrites.
  add column if not exists project_chosen_at timestamptz;
create index documents_owner_time on documents (created_by, created_at desc, id desc);
create index documents_source on documents (source, source_id);

-- What a document says. Apart from it, so that lists stay light.
create table document_texts (
  document_id uuid primary key references documents (id) on delete cascade,
  text text not null,
  -- Of a mail: what it quotes of earlier ones, and how its writer signs.
  quoted text,
  signature text,
  -- What was left out, in words; null when nothing was.
  cut text,
  hash text not null
);

-- A mail that names the assistant: once for each user whom it names, whichever mailboxes it is seen in.
create table mail_decisions (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references users (id) on delete cascade,
  message_key text not null,
  -- Where it was seen: the mailbox's feed, and the mail's id in it.
  feed_id uuid references feeds (id) on delete set null,
  gmail_message_id text not null,
  virtual_email text not null,
  email_type text not null check (email_type in ('to', 'cc', 'bcc')),
  decision text not null check (decision in ('taken', 'held', 'refused')),
  rule text not null,
  reason text not null,
  inputs jsonb not null,
  subject text,
  sender text,
  received_at timestamptz,
  document_id uuid references documents (id) on delete set null,
  decided_at timestamptz not null,
  unique (user_id, message_key)
);
create index mail_decisions_user on mail_decisions (user_id, decided_at desc, id desc);
create index mail_decisions_held on mail_decisions (user_id, decided_at desc, id desc) where decision = 'held';
create index mail_decisions_message on mail_decisions (gmail_message_id);
create index mail_decisions_feed on mail_decisions (feed_id);
create index mail_decisions_document on mail_decisions (document_id);

-- Whose mail the assistant takes for a user, besides what is found in the user's own mailbox.
create table mail_trust (
  user_id uuid primary key references users (id) on delete cascade,
  mode text not null default 'only_me' check (mode in ('only_me', 'my_domain', 'list', 'anyone')),
  -- Addresses, and domains with an at-sign before them.
  senders text[] not null default '{}',
  updated_at timestamptz not null
);

alter table virtual_email_detections drop constraint if exists virtual_email_detections_email_type_check;
alter table virtual_email_detections add constraint virtual_email_detections_email_type_check
  check (email_type in ('to', 'cc', 'bcc'));
create index virtual_email_detections_user on virtual_email_detections (user_id, detected_at desc, id desc);
create index virtual_email_detections_document on virtual_email_detections (document_id);

-- The same mail is logged once for each address, however often it is seen. Older rows have no key.
alter table email_processing_logs add column if not exists message_key text;
create unique index email_processing_logs_once on email_processing_logs (message_key, inbound_address);
create index email_processing_logs_document on email_processing_logs (document_id);

-- What is handed to a workflow outside, until it is accepted. The order of a document's deliveries is kept.
create table deliveries (
  id uuid primary key default gen_random_uuid(),
  sequence bigint generated always as identity,
  user_id uuid not null references users (id) on delete cascade,
  document_id uuid references documents (id) on delete cascade,
  kind text not null check (kind in ('classification', 'drive_sync')),
  -- Derived from the fact: the same for every try, and the same fact is never handed on twice.
  event_id text not null unique,
  details jsonb not null default '{}',
  occurred_at timestamptz not null,
  state text not null default 'waiting' check (state in ('waiting', 'delivered', 'dead')),
  tries integer not null default 0,
  -- How many of them were made before it was sent again by hand.
  tries_before integer not null default 0,
  next_try_at timestamptz,
  lease_owner uuid,
  lease_until timestamptz,
  last_error text,
  finished_at timestamptz
);
create index deliveries_user on deliveries (user_id, sequence desc);
create index deliveries_document on deliveries (document_id, kind, sequence);
create index deliveries_waiting on deliveries (next_try_at) where state = 'waiting';

-- Every try, with where it went. Outlives the configuration; the path of an address may be a secret, and is not here.
create table delivery_tries (
  delivery_id uuid not null references deliveries (id) on delete cascade,
  number integer not null,
  host text not null,
  started_at timestamptz not null,
  duration_ms integer not null,
  status integer,
  outcome text not null check (outcome in ('accepted', 'retried', 'given_up')),
  error text,
  primary key (delivery_id, number)
);

-- What workflows answered, and what became of each answer.
create table classification_results (
  id uuid primary key default gen_random_uuid(),
  document_id uuid not null references documents (id) on delete cascade,
  result_key text not null,
  project_id uuid,
  confidence double precision,
  tags text[],
  classified_at timestamptz not null,
  received_at timestamptz not null,
  outcome text not null check (outcome in ('applied', 'late', 'person_decided')),
  unique (document_id, result_key)
);

-- An account reached by the service account's delegation has no tokens of its own.
alter table connections drop constraint if exists connections_provider_check;
alter table connections add constraint connections_provider_check check (provider in ('google', 'google_delegation'));

alter table users add column if not exists last_virtual_mail_at timestamptz;
create index projects_owner on projects (created_by, created_at desc, id desc);

alter table sync_runs add column virtual_mails integer not null default 0;
