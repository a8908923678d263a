-- The tables that the older product has. On its database they are there already and stay as they are; on an empty one
-- they are made in the same shape, so that both go on alike. Columns typed `timestamp` hold UTC wall time.

create table if not exists users (
  id uuid not null default gen_random_uuid(),
  email text not null,
  name text,
  role text,
  created_at timestamp default now(),
  username text,
  username_set_at timestamptz,
  constraint users_pkey primary key (id),
  constraint users_email_key unique (email),
  constraint users_username_key unique (username)
);

create table if not exists google_credentials (
  user_id uuid not null,
  access_token text,
  refresh_token text,
  token_type text,
  expires_at timestamp,
  scope text,
  created_at timestamp default now(),
  login_provider boolean default false,
  google_user_id text,
  google_name text,
  google_picture text,
  login_created_at timestamptz default now(),
  google_email text,
  constraint google_credentials_pkey primary key (user_id)
);

create table if not exists projects (
  id uuid not null default gen_random_uuid(),
  name text not null,
  description text,
  status text,
  created_by uuid,
  created_at timestamp default now(),
  normalized_tags text[],
  categories text[],
  reference_keywords text[],
  notes text,
  classification_signals jsonb,
  entity_patterns jsonb,
  pinecone_document_count integer default 0,
  last_classification_at timestamp,
  classification_feedback jsonb,
  updated_at timestamp default now(),
  constraint projects_pkey primary key (id)
);

create table if not exists project_metadata (
  project_id uuid not null,
  normalized_tags text[],
  categories text[],
  reference_keywords text[],
  notes text,
  created_at timestamp default now(),
  constraint project_metadata_pkey primary key (project_id)
);

create table if not exists knowledge_spaces (
  id uuid not null default gen_random_uuid(),
  project_id uuid,
  name text not null,
  description text,
  created_at timestamp default now(),
  constraint knowledge_spaces_pkey primary key (id)
);

create table if not exists tags (
  id uuid not null default gen_random_uuid(),
  name text,
  type text,
  created_at timestamp default now(),
  created_by uuid,
  constraint tags_pkey primary key (id)
);

create table if not exists bots (
  id uuid not null default gen_random_uuid(),
  user_id uuid,
  name text not null,
  description text,
  avatar_url text,
  provider text not null,
  provider_bot_id text,
  settings jsonb,
  is_active boolean default true,
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  constraint bots_pkey primary key (id)
);

create table if not exists meetings (
  id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  project_id uuid,
  google_calendar_event_id text,
  title text not null,
  description text,
  meeting_url text,
  start_time timestamptz not null,
  end_time timestamptz not null,
  attendee_bot_id uuid,
  bot_name text default 'Kirit Notetaker',
  bot_chat_message text default 'Hi, I''m here to transcribe this meeting!',
  transcript text,
  transcript_url text,
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  event_status text default 'needsAction',
  bot_status text default 'pending',
  last_polled_at timestamptz,
  transcript_metadata jsonb,
  bot_configuration jsonb,
  bot_deployment_method text default 'manual',
  auto_scheduled_via_email boolean default false,
  virtual_email_attendee text,
  auto_bot_notification_sent boolean default false,
  transcript_duration_seconds integer,
  transcript_retrieved_at timestamptz,
  transcript_summary text,
  next_poll_time timestamptz,
  transcript_participants jsonb,
  transcript_speakers jsonb,
  transcript_segments jsonb,
  transcript_audio_url text,
  transcript_recording_url text,
  transcript_language text default 'en-US',
  constraint meetings_pkey primary key (id),
  constraint unique_google_calendar_event_per_user unique (google_calendar_event_id, user_id),
  constraint meetings_bot_status_check check (bot_status in ('pending', 'bot_scheduled', 'bot_joined', 'transcribing', 'completed', 'failed')),
  constraint meetings_event_status_check check (event_status in ('accepted', 'declined', 'tentative', 'needsAction'))
);

create table if not exists documents (
  id uuid not null default gen_random_uuid(),
  project_id uuid,
  knowledge_space_id uuid,
  source text,
  source_id text,
  title text,
  summary text,
  author text,
  received_at timestamp,
  created_at timestamp default now(),
  created_by uuid,
  status text default 'active',
  file_id text,
  last_synced_at timestamptz,
  watch_active boolean default false,
  type text default 'document',
  file_size text,
  transcript_duration_seconds integer,
  transcript_metadata jsonb,
  meeting_id uuid,
  classification_source text default 'manual',
  constraint documents_pkey primary key (id),
  constraint documents_classification_source_check check (classification_source in ('ai', 'auto', 'system', 'manual', 'user')),
  constraint documents_status_check check (status in ('active', 'updated', 'deleted', 'error')),
  constraint documents_type_check check (type in ('email', 'document', 'spreadsheet', 'presentation', 'image', 'folder', 'meeting_transcript'))
);

create table if not exists document_chunks (
  id uuid not null default gen_random_uuid(),
  document_id uuid,
  project_id uuid,
  chunk_index integer,
  "text" text,
  embedding_id text,
  metadata jsonb,
  created_at timestamp default now(),
  constraint document_chunks_pkey primary key (id)
);

create table if not exists document_tags (
  id uuid not null default gen_random_uuid(),
  document_id uuid,
  tag_id uuid,
  applied_by uuid,
  created_at timestamp default now(),
  constraint document_tags_pkey primary key (id)
);

create table if not exists calendar_webhooks (
  id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  google_calendar_id text not null default 'primary',
  webhook_id text,
  resource_id text,
  expiration_time timestamptz,
  sync_token text,
  is_active boolean default true,
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  last_poll_at timestamptz,
  last_webhook_received timestamptz,
  constraint calendar_webhooks_pkey primary key (id),
  constraint calendar_webhooks_user_id_google_calendar_id_key unique (user_id, google_calendar_id),
  constraint calendar_webhooks_webhook_id_key unique (webhook_id)
);

create table if not exists calendar_sync_logs (
  id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  sync_type text not null,
  status text not null,
  events_processed integer default 0,
  meetings_created integer default 0,
  meetings_updated integer default 0,
  meetings_deleted integer default 0,
  error_message text,
  sync_range_start timestamptz,
  sync_range_end timestamptz,
  duration_ms integer,
  created_at timestamptz default now(),
  constraint calendar_sync_logs_pkey primary key (id),
  constraint calendar_sync_logs_status_check check (status in ('started', 'completed', 'failed')),
  constraint calendar_sync_logs_sync_type_check check (sync_type in ('initial', 'incremental', 'webhook', 'manual'))
);

create table if not exists calendar_events (
  id uuid not null default gen_random_uuid(),
  event_id text not null,
  user_id uuid not null,
  calendar_id text not null,
  title text not null,
  description text,
  start_time timestamptz,
  end_time timestamptz,
  location text,
  meeting_url text,
  is_meeting boolean default false,
  attendees jsonb default '[]',
  status text default 'confirmed',
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  constraint calendar_events_pkey primary key (id),
  constraint calendar_events_event_id_user_id_key unique (event_id, user_id)
);

create table if not exists drive_file_watches (
  id uuid not null default gen_random_uuid(),
  document_id uuid,
  project_id uuid,
  file_id text not null,
  channel_id text not null,
  resource_id text not null,
  expiration timestamptz not null,
  is_active boolean default true,
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  last_webhook_received timestamptz,
  last_poll_at timestamptz,
  webhook_failures integer default 0,
  constraint drive_file_watches_pkey primary key (id)
);

create table if not exists drive_webhook_logs (
  id uuid not null default gen_random_uuid(),
  document_id uuid,
  project_id uuid,
  file_id text not null,
  channel_id text not null,
  resource_id text not null,
  resource_state text not null,
  webhook_received_at timestamptz default now(),
  n8n_webhook_sent boolean default false,
  n8n_webhook_response text,
  n8n_webhook_sent_at timestamptz,
  error_message text,
  created_at timestamptz default now(),
  constraint drive_webhook_logs_pkey primary key (id)
);

create table if not exists gmail_watches (
  id uuid not null default gen_random_uuid(),
  user_email text not null,
  history_id text not null,
  expiration timestamptz not null,
  is_active boolean default true,
  watch_type text default 'polling',
  last_webhook_received timestamptz,
  last_poll_at timestamptz,
  webhook_failures integer default 0,
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  constraint gmail_watches_pkey primary key (id),
  constraint gmail_watches_user_email_key unique (user_email),
  constraint gmail_watches_watch_type_check check (watch_type in ('push', 'polling', 'hybrid'))
);

create table if not exists email_processing_logs (
  id uuid not null default gen_random_uuid(),
  user_id uuid,
  gmail_message_id text not null,
  inbound_address text not null,
  extracted_username text,
  subject text,
  sender text,
  received_at timestamptz default now(),
  processed_at timestamptz,
  status text default 'pending',
  error_message text,
  document_id uuid,
  n8n_webhook_sent boolean default false,
  n8n_webhook_response text,
  created_at timestamptz default now(),
  constraint email_processing_logs_pkey primary key (id),
  constraint email_processing_logs_status_check check (status in ('pending', 'processed', 'failed', 'user_not_found'))
);

create table if not exists virtual_email_detections (
  id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  virtual_email text not null,
  username text not null,
  email_type text not null,
  gmail_message_id text not null,
  document_id uuid,
  detected_at timestamptz default now(),
  constraint virtual_email_detections_pkey primary key (id),
  constraint virtual_email_detections_gmail_message_id_virtual_email_key unique (gmail_message_id, virtual_email),
  constraint virtual_email_detections_email_type_check check (email_type in ('to', 'cc'))
);

create table if not exists user_activity_logs (
  id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  activity_type text not null,
  "timestamp" timestamptz default now(),
  created_at timestamptz default now(),
  constraint user_activity_logs_pkey primary key (id),
  constraint user_activity_logs_activity_type_check check (activity_type in ('app_load', 'calendar_view', 'meeting_create', 'general'))
);

create table if not exists user_sync_states (
  id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  last_sync_time timestamptz,
  change_frequency text default 'low',
  last_activity_time timestamptz default now(),
  sync_interval_ms integer default 300000,
  is_active boolean default true,
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  constraint user_sync_states_pkey primary key (id),
  constraint user_sync_states_user_id_key unique (user_id),
  constraint user_sync_states_change_frequency_check check (change_frequency in ('high', 'medium', 'low'))
);

create table if not exists sync_performance_metrics (
  id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  service_type text not null,
  sync_type text not null,
  processed_count integer default 0,
  created_count integer default 0,
  updated_count integer default 0,
  deleted_count integer default 0,
  skipped boolean default false,
  duration_ms integer,
  success boolean default true,
  error_message text,
  "timestamp" timestamptz default now(),
  constraint sync_performance_metrics_pkey primary key (id),
  constraint sync_performance_metrics_service_type_check check (service_type in ('calendar', 'drive', 'gmail', 'attendee')),
  constraint sync_performance_metrics_sync_type_check check (sync_type in ('immediate', 'fast', 'normal', 'slow', 'background'))
);

create table if not exists webhook_activity_tracking (
  id uuid not null default gen_random_uuid(),
  user_id uuid,
  service text not null,
  webhook_type text not null,
  last_webhook_received timestamptz,
  webhook_failures integer default 0,
  is_active boolean default true,
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  constraint webhook_activity_tracking_pkey primary key (id),
  constraint webhook_activity_tracking_service_check check (service in ('calendar', 'drive', 'gmail', 'attendee')),
  constraint webhook_activity_tracking_webhook_type_check check (webhook_type in ('push', 'polling', 'hybrid'))
);

-- A foreign key that is there already keeps its name, and so is not made twice.
do $$
declare
  wanted record;
begin
  for wanted in
    select * from (values
      ('document_chunks', 'document_chunks_document_id_fkey', 'document_id', 'documents', 'id', ''),
      ('document_chunks', 'document_chunks_project_id_fkey', 'project_id', 'projects', 'id', 'on delete cascade'),
      ('document_tags', 'document_tags_applied_by_fkey', 'applied_by', 'users', 'id', ''),
      ('document_tags', 'document_tags_document_id_fkey', 'document_id', 'documents', 'id', ''),
      ('document_tags', 'document_tags_tag_id_fkey', 'tag_id', 'tags', 'id', ''),
      ('documents', 'documents_created_by_fkey', 'created_by', 'users', 'id', ''),
      ('documents', 'documents_knowledge_space_id_fkey', 'knowledge_space_id', 'knowledge_spaces', 'id', ''),
      ('documents', 'documents_meeting_id_fkey', 'meeting_id', 'meetings', 'id', 'on delete set null'),
      ('documents', 'documents_project_id_fkey', 'project_id', 'projects', 'id', 'on delete cascade'),
      ('drive_file_watches', 'drive_file_watches_document_id_fkey', 'document_id', 'documents', 'id', 'on delete cascade'),
      ('drive_file_watches', 'drive_file_watches_project_id_fkey', 'project_id', 'projects', 'id', 'on delete cascade'),
      ('drive_webhook_logs', 'drive_webhook_logs_document_id_fkey', 'document_id', 'documents', 'id', 'on delete cascade'),
      ('drive_webhook_logs', 'drive_webhook_logs_project_id_fkey', 'project_id', 'projects', 'id', 'on delete cascade'),
      ('email_processing_logs', 'email_processing_logs_document_id_fkey', 'document_id', 'documents', 'id', 'on delete set null'),
      ('email_processing_logs', 'email_processing_logs_user_id_fkey', 'user_id', 'users', 'id', 'on delete cascade'),
      ('google_credentials', 'google_credentials_user_id_fkey', 'user_id', 'users', 'id', ''),
      ('knowledge_spaces', 'knowledge_spaces_project_id_fkey', 'project_id', 'projects', 'id', 'on delete cascade'),
      ('meetings', 'meetings_attendee_bot_id_fkey', 'attendee_bot_id', 'bots', 'id', ''),
      ('meetings', 'meetings_project_id_fkey', 'project_id', 'projects', 'id', 'on delete cascade'),
      ('project_metadata', 'project_metadata_project_id_fkey', 'project_id', 'projects', 'id', 'on delete cascade'),
      ('projects', 'projects_created_by_fkey', 'created_by', 'users', 'id', ''),
      ('tags', 'tags_created_by_fkey', 'created_by', 'users', 'id', ''),
      ('virtual_email_detections', 'virtual_email_detections_document_id_fkey', 'document_id', 'documents', 'id', 'on delete cascade'),
      ('bots', 'bots_user_id_fkey', 'user_id', 'users', 'id', 'on delete cascade'),
      ('calendar_sync_logs', 'calendar_sync_logs_user_id_fkey', 'user_id', 'users', 'id', 'on delete cascade'),
      ('calendar_webhooks', 'calendar_webhooks_user_id_fkey', 'user_id', 'users', 'id', 'on delete cascade'),
      ('meetings', 'meetings_user_id_fkey', 'user_id', 'users', 'id', 'on delete cascade'),
      ('virtual_email_detections', 'virtual_email_detections_user_id_fkey', 'user_id', 'users', 'id', 'on delete cascade'),
      ('user_activity_logs', 'user_activity_logs_user_id_fkey', 'user_id', 'users', 'id', 'on delete cascade'),
      ('user_sync_states', 'user_sync_states_user_id_fkey', 'user_id', 'users', 'id', 'on delete cascade'),
      ('sync_performance_metrics', 'sync_performance_metrics_user_id_fkey', 'user_id', 'users', 'id', 'on delete cascade'),
      ('calendar_events', 'calendar_events_user_id_fkey', 'user_id', 'users', 'id', 'on delete cascade'),
      ('webhook_activity_tracking', 'webhook_activity_tracking_user_id_fkey', 'user_id', 'users', 'id', 'on delete cascade')
    ) as key (source, name, source_column, target, target_column, action)
  loop
    if not exists (
      select from pg_constraint where conrelid = wanted.source::regclass and conname = wanted.name
    ) then
      execute format('alter table %I add constraint %I foreign key (%I) references %I (%I) %s',
        wanted.source, wanted.name, wanted.source_column, wanted.target, wanted.target_column, wanted.action);
    end if;
  end loop;
end
$$;

create index if not exists idx_documents_created_by on documents (created_by);
create index if not exists idx_documents_file_id on documents (file_id);
create index if not exists idx_documents_meeting_id on documents (meeting_id);
create index if not exists idx_documents_project_created on documents (project_id, created_at);
create index if not exists idx_document_chunks_document_created on document_chunks (document_id, created_at);
create index if not exists idx_document_tags_document_id on document_tags (document_id);
create index if not exists idx_meetings_project_id on meetings (project_id);
create index if not exists idx_meetings_start_time on meetings (start_time);
create index if not exists idx_meetings_user_created on meetings (user_id, created_at);
create index if not exists idx_projects_created_by on projects (created_by);
create index if not exists idx_bots_user_id on bots (user_id);
create index if not exists idx_calendar_sync_logs_user_id on calendar_sync_logs (user_id);
create index if not exists idx_drive_file_watches_document_id on drive_file_watches (document_id);
create index if not exists idx_drive_file_watches_channel_id on drive_file_watches (channel_id);
create index if not exists idx_drive_webhook_logs_document_id on drive_webhook_logs (document_id);
create index if not exists idx_email_processing_logs_user_id on email_processing_logs (user_id);
create index if not exists idx_email_processing_logs_gmail_message_id on email_processing_logs (gmail_message_id);
create index if not exists idx_virtual_email_detections_user_id on virtual_email_detections (user_id);
create index if not exists idx_user_activity_logs_user_id on user_activity_logs (user_id);
create index if not exists idx_user_activity_logs_timestamp on user_activity_logs ("timestamp");
create index if not exists idx_sync_performance_metrics_user_id on sync_performance_metrics (user_id);
create index if not exists idx_sync_performance_metrics_timestamp on sync_performance_metrics ("timestamp");
create index if not exists idx_webhook_activity_tracking_user_id on webhook_activity_tracking (user_id);
create index if not exists idx_google_credentials_google_user_id on google_credentials (google_user_id);
create unique index if not exists idx_drive_file_watches_file_id_unique on drive_file_watches (file_id) where (is_active = true);
