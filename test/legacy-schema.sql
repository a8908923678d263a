-- The database of the older product, as three stages of its life left it. Tests migrate each of them: the tables as they
-- stood first, those that came later, and (behind `--later`) changes that were made by hand.

create schema if not exists auth;
create table if not exists auth.users (
  id uuid primary key,
  email varchar(255),
  encrypted_password varchar(255),
  email_confirmed_at timestamp with time zone,
  last_sign_in_at timestamp with time zone,
  raw_app_meta_data jsonb,
  raw_user_meta_data jsonb,
  created_at timestamp with time zone,
  updated_at timestamp with time zone
);

-- === PART 1

create table public.users (
  id uuid not null,
  email text not null,
  name text,
  role text,
  created_at timestamp without time zone default now(),
  username text,
  username_set_at timestamp with time zone,
  constraint users_pkey primary key (id),
  constraint users_email_key unique (email),
  constraint users_username_key unique (username)
);

create table public.google_credentials (
  user_id uuid not null,
  access_token text,
  refresh_token text,
  token_type text,
  expires_at timestamp without time zone,
  scope text,
  created_at timestamp without time zone default now(),
  login_provider boolean default false,
  google_user_id text,
  google_name text,
  google_picture text,
  login_created_at timestamp with time zone default now(),
  google_email text,
  constraint google_credentials_pkey primary key (user_id)
);

create table public.user_api_keys (
  id uuid not null default gen_random_uuid(),
  user_id uuid,
  service text not null,
  api_key text not null,
  created_at timestamp without time zone default now(),
  updated_at timestamp without time zone default now(),
  constraint user_api_keys_pkey primary key (id),
  constraint user_api_keys_user_id_service_key unique (user_id, service)
);

create table public.subscriptions (
  id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  tier text not null default 'free'::text,
  sync_days_limit integer not null default 7,
  status text not null default 'active'::text,
  payment_provider text,
  external_subscription_id text,
  external_customer_id text,
  payment_method_id text,
  current_period_start timestamp without time zone,
  current_period_end timestamp without time zone,
  created_at timestamp without time zone default now(),
  updated_at timestamp without time zone default now(),
  constraint subscriptions_pkey primary key (id),
  constraint subscriptions_status_check check (status = ANY (ARRAY['active'::text, 'cancelled'::text, 'expired'::text])),
  constraint subscriptions_tier_check check (tier = ANY (ARRAY['free'::text, 'pro'::text, 'enterprise'::text]))
);

create table public.projects (
  id uuid not null,
  name text not null,
  description text,
  status text,
  created_by uuid,
  created_at timestamp without time zone default now(),
  normalized_tags text[],
  categories text[],
  reference_keywords text[],
  notes text,
  classification_signals jsonb,
  entity_patterns jsonb,
  pinecone_document_count integer default 0,
  last_classification_at timestamp without time zone,
  classification_feedback jsonb,
  updated_at timestamp without time zone default now(),
  constraint projects_pkey primary key (id)
);

create table public.project_metadata (
  project_id uuid not null,
  normalized_tags text[],
  categories text[],
  reference_keywords text[],
  notes text,
  created_at timestamp without time zone default now(),
  constraint project_metadata_pkey primary key (project_id)
);

create table public.knowledge_spaces (
  id uuid not null,
  project_id uuid,
  name text not null,
  description text,
  created_at timestamp without time zone default now(),
  constraint knowledge_spaces_pkey primary key (id)
);

create table public.tags (
  id uuid not null,
  name text,
  type text,
  created_at timestamp without time zone default now(),
  created_by uuid,
  constraint tags_pkey primary key (id)
);

create table public.bots (
  id uuid not null default gen_random_uuid(),
  user_id uuid,
  name text not null,
  description text,
  avatar_url text,
  provider text not null,
  provider_bot_id text,
  settings jsonb,
  is_active boolean default true,
  created_at timestamp with time zone default now(),
  updated_at timestamp with time zone default now(),
  constraint bots_pkey primary key (id)
);

create table public.meetings (
  id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  project_id uuid,
  google_calendar_event_id text,
  title text not null,
  description text,
  meeting_url text,
  start_time timestamp with time zone not null,
  end_time timestamp with time zone not null,
  attendee_bot_id uuid,
  bot_name text default 'Kirit Notetaker'::text,
  bot_chat_message text default 'Hi, I''m here to transcribe this meeting!'::text,
  transcript text,
  transcript_url text,
  created_at timestamp with time zone default now(),
  updated_at timestamp with time zone default now(),
  event_status text default 'needsAction'::text,
  bot_status text default 'pending'::text,
  last_polled_at timestamp with time zone,
  transcript_metadata jsonb,
  bot_configuration jsonb,
  bot_deployment_method text default 'manual'::text,
  auto_scheduled_via_email boolean default false,
  virtual_email_attendee text,
  auto_bot_notification_sent boolean default false,
  transcript_duration_seconds integer,
  transcript_retrieved_at timestamp with time zone,
  transcript_summary text,
  next_poll_time timestamp with time zone,
  transcript_participants jsonb,
  transcript_speakers jsonb,
  transcript_segments jsonb,
  transcript_audio_url text,
  transcript_recording_url text,
  transcript_language text default 'en-US'::text,
  constraint meetings_pkey primary key (id),
  constraint unique_google_calendar_event_per_user unique (google_calendar_event_id, user_id),
  constraint meetings_bot_status_check check (bot_status = ANY (ARRAY['pending'::text, 'bot_scheduled'::text, 'bot_joined'::text, 'transcribing'::text, 'completed'::text, 'failed'::text])),
  constraint meetings_event_status_check check (event_status = ANY (ARRAY['accepted'::text, 'declined'::text, 'tentative'::text, 'needsAction'::text]))
);

create table public.documents (
  id uuid not null,
  project_id uuid,
  knowledge_space_id uuid,
  source text,
  source_id text,
  title text,
  summary text,
  author text,
  received_at timestamp without time zone,
  created_at timestamp without time zone default now(),
  created_by uuid,
  status text default 'active'::text,
  file_id text,
  last_synced_at timestamp with time zone,
  watch_active boolean default false,
  type text default 'document'::text,
  file_size text,
  transcript_duration_seconds integer,
  transcript_metadata jsonb,
  meeting_id uuid,
  classification_source text default 'manual'::text,
  constraint documents_pkey primary key (id),
  constraint documents_classification_source_check check (classification_source = ANY (ARRAY['ai'::text, 'auto'::text, 'system'::text, 'manual'::text, 'user'::text])),
  constraint documents_status_check check (status = ANY (ARRAY['active'::text, 'updated'::text, 'deleted'::text, 'error'::text])),
  constraint documents_type_check check (type = ANY (ARRAY['email'::text, 'document'::text, 'spreadsheet'::text, 'presentation'::text, 'image'::text, 'folder'::text, 'meeting_transcript'::text]))
);

create table public.document_chunks (
  id uuid not null,
  document_id uuid,
  project_id uuid,
  chunk_index integer,
  "text" text,
  embedding_id text,
  metadata jsonb,
  created_at timestamp without time zone default now(),
  constraint document_chunks_pkey primary key (id)
);

create table public.document_tags (
  id uuid not null,
  document_id uuid,
  tag_id uuid,
  applied_by uuid,
  created_at timestamp without time zone default now(),
  constraint document_tags_pkey primary key (id)
);

create table public.summaries (
  id uuid not null,
  project_id uuid,
  "date" date,
  summary text,
  alerts jsonb,
  "references" text[],
  created_by uuid,
  created_at timestamp without time zone default now(),
  constraint summaries_pkey primary key (id)
);

create table public.receipts (
  id uuid not null,
  project_id uuid,
  vendor text,
  amount numeric(12,2),
  "date" date,
  category text,
  receipt_image_url text,
  document_id uuid,
  created_at timestamp without time zone default now(),
  constraint receipts_pkey primary key (id)
);

create table public.agent_logs (
  id uuid not null,
  agent_name text,
  input_id text,
  input_type text,
  output jsonb,
  confidence numeric,
  notes text,
  created_at timestamp without time zone default now(),
  constraint agent_logs_pkey primary key (id)
);

create table public.calendar_webhooks (
  id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  google_calendar_id text not null default 'primary'::text,
  webhook_id text,
  resource_id text,
  expiration_time timestamp with time zone,
  sync_token text,
  is_active boolean default true,
  created_at timestamp with time zone default now(),
  updated_at timestamp with time zone default now(),
  last_poll_at timestamp with time zone,
  last_webhook_received timestamp with time zone,
  constraint calendar_webhooks_pkey primary key (id),
  constraint calendar_webhooks_user_id_google_calendar_id_key unique (user_id, google_calendar_id),
  constraint calendar_webhooks_webhook_id_key unique (webhook_id)
);

create table public.calendar_sync_logs (
  id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  sync_type text not null,
  status text not null,
  events_processed integer default 0,
  meetings_created integer default 0,
  meetings_updated integer default 0,
  meetings_deleted integer default 0,
  error_message text,
  sync_range_start timestamp with time zone,
  sync_range_end timestamp with time zone,
  duration_ms integer,
  created_at timestamp with time zone default now(),
  constraint calendar_sync_logs_pkey primary key (id),
  constraint calendar_sync_logs_status_check check (status = ANY (ARRAY['started'::text, 'completed'::text, 'failed'::text])),
  constraint calendar_sync_logs_sync_type_check check (sync_type = ANY (ARRAY['initial'::text, 'incremental'::text, 'webhook'::text, 'manual'::text]))
);

create table public.sync_tracking (
  user_id uuid not null,
  last_sync_timestamp timestamp with time zone default now(),
  updated_at timestamp with time zone default now(),
  constraint sync_tracking_pkey primary key (user_id)
);

create table public.drive_file_watches (
  id uuid not null default gen_random_uuid(),
  document_id uuid,
  project_id uuid,
  file_id text not null,
  channel_id text not null,
  resource_id text not null,
  expiration timestamp with time zone not null,
  is_active boolean default true,
  created_at timestamp with time zone default now(),
  updated_at timestamp with time zone default now(),
  last_webhook_received timestamp with time zone,
  last_poll_at timestamp with time zone,
  webhook_failures integer default 0,
  constraint drive_file_watches_pkey primary key (id)
);

create table public.drive_webhook_logs (
  id uuid not null default gen_random_uuid(),
  document_id uuid,
  project_id uuid,
  file_id text not null,
  channel_id text not null,
  resource_id text not null,
  resource_state text not null,
  webhook_received_at timestamp with time zone default now(),
  n8n_webhook_sent boolean default false,
  n8n_webhook_response text,
  n8n_webhook_sent_at timestamp with time zone,
  error_message text,
  created_at timestamp with time zone default now(),
  constraint drive_webhook_logs_pkey primary key (id)
);

create table public.gmail_watches (
  id uuid not null default gen_random_uuid(),
  user_email text not null,
  history_id text not null,
  expiration timestamp with time zone not null,
  is_active boolean default true,
  watch_type text default 'polling'::text,
  last_webhook_received timestamp with time zone,
  last_poll_at timestamp with time zone,
  webhook_failures integer default 0,
  created_at timestamp with time zone default now(),
  updated_at timestamp with time zone default now(),
  constraint gmail_watches_pkey primary key (id),
  constraint gmail_watches_user_email_key unique (user_email),
  constraint gmail_watches_watch_type_check check (watch_type = ANY (ARRAY['push'::text, 'polling'::text, 'hybrid'::text]))
);

create table public.email_processing_logs (
  id uuid not null default gen_random_uuid(),
  user_id uuid,
  gmail_message_id text not null,
  inbound_address text not null,
  extracted_username text,
  subject text,
  sender text,
  received_at timestamp with time zone default now(),
  processed_at timestamp with time zone,
  status text default 'pending'::text,
  error_message text,
  document_id uuid,
  n8n_webhook_sent boolean default false,
  n8n_webhook_response text,
  created_at timestamp with time zone default now(),
  constraint email_processing_logs_pkey primary key (id),
  constraint email_processing_logs_status_check check (status = ANY (ARRAY['pending'::text, 'processed'::text, 'failed'::text, 'user_not_found'::text]))
);

create table public.virtual_email_detections (
  id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  virtual_email text not null,
  username text not null,
  email_type text not null,
  gmail_message_id text not null,
  document_id uuid,
  detected_at timestamp with time zone default now(),
  constraint virtual_email_detections_pkey primary key (id),
  constraint virtual_email_detections_gmail_message_id_virtual_email_key unique (gmail_message_id, virtual_email),
  constraint virtual_email_detections_email_type_check check (email_type = ANY (ARRAY['to'::text, 'cc'::text]))
);

create table public.chat_sessions (
  id uuid not null,
  user_id uuid,
  project_id uuid,
  started_at timestamp without time zone default now(),
  ended_at timestamp without time zone,
  name varchar(255),
  constraint chat_sessions_pkey primary key (id),
  constraint check_chat_session_dates check ((ended_at IS NULL) OR (ended_at >= started_at)),
  constraint check_chat_session_name check ((name IS NULL) OR (length(TRIM(BOTH FROM name)) > 0))
);

create table public.chat_messages (
  id uuid not null,
  session_id uuid,
  role text,
  message text,
  used_chunks text[],
  created_at timestamp without time zone default now(),
  constraint chat_messages_pkey primary key (id),
  constraint check_chat_message_chunks check ((used_chunks IS NULL) OR (array_length(used_chunks, 1) > 0)),
  constraint check_chat_message_content check ((message IS NULL) OR (length(TRIM(BOTH FROM message)) > 0)),
  constraint check_chat_message_role check (role = ANY (ARRAY['user'::text, 'assistant'::text, 'system'::text])),
  constraint check_chat_message_session check (session_id IS NOT NULL)
);

create table public.user_activity_logs (
  id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  activity_type text not null,
  "timestamp" timestamp with time zone default now(),
  created_at timestamp with time zone default now(),
  constraint user_activity_logs_pkey primary key (id),
  constraint user_activity_logs_activity_type_check check (activity_type = ANY (ARRAY['app_load'::text, 'calendar_view'::text, 'meeting_create'::text, 'general'::text]))
);

create table public.user_sync_states (
  id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  last_sync_time timestamp with time zone,
  change_frequency text default 'low'::text,
  last_activity_time timestamp with time zone default now(),
  sync_interval_ms integer default 300000,
  is_active boolean default true,
  created_at timestamp with time zone default now(),
  updated_at timestamp with time zone default now(),
  constraint user_sync_states_pkey primary key (id),
  constraint user_sync_states_user_id_key unique (user_id),
  constraint user_sync_states_change_frequency_check check (change_frequency = ANY (ARRAY['high'::text, 'medium'::text, 'low'::text]))
);

create table public.sync_performance_metrics (
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
  "timestamp" timestamp with time zone default now(),
  constraint sync_performance_metrics_pkey primary key (id),
  constraint sync_performance_metrics_service_type_check check (service_type = ANY (ARRAY['calendar'::text, 'drive'::text, 'gmail'::text, 'attendee'::text])),
  constraint sync_performance_metrics_sync_type_check check (sync_type = ANY (ARRAY['immediate'::text, 'fast'::text, 'normal'::text, 'slow'::text, 'background'::text]))
);

create table public.maintenance_logs (
  id uuid not null default gen_random_uuid(),
  maintenance_type text not null,
  started_at timestamp with time zone default now(),
  completed_at timestamp with time zone,
  status text not null,
  details jsonb,
  created_at timestamp with time zone default now(),
  constraint maintenance_logs_pkey primary key (id),
  constraint maintenance_logs_maintenance_type_check check (maintenance_type = ANY (ARRAY['daily'::text, 'weekly'::text, 'monthly'::text])),
  constraint maintenance_logs_status_check check (status = ANY (ARRAY['started'::text, 'completed'::text, 'failed'::text]))
);

alter table public.chat_messages add constraint chat_messages_session_id_fkey foreign key (session_id) references public.chat_sessions (id);
alter table public.chat_sessions add constraint chat_sessions_project_id_fkey foreign key (project_id) references public.projects (id) on delete set null;
alter table public.chat_sessions add constraint chat_sessions_user_id_fkey foreign key (user_id) references public.users (id);
alter table public.document_chunks add constraint document_chunks_document_id_fkey foreign key (document_id) references public.documents (id);
alter table public.document_chunks add constraint document_chunks_project_id_fkey foreign key (project_id) references public.projects (id) on delete cascade;
alter table public.document_tags add constraint document_tags_applied_by_fkey foreign key (applied_by) references public.users (id);
alter table public.document_tags add constraint document_tags_document_id_fkey foreign key (document_id) references public.documents (id);
alter table public.document_tags add constraint document_tags_tag_id_fkey foreign key (tag_id) references public.tags (id);
alter table public.documents add constraint documents_created_by_fkey foreign key (created_by) references public.users (id);
alter table public.documents add constraint documents_knowledge_space_id_fkey foreign key (knowledge_space_id) references public.knowledge_spaces (id);
alter table public.documents add constraint documents_meeting_id_fkey foreign key (meeting_id) references public.meetings (id) on delete set null;
alter table public.documents add constraint documents_project_id_fkey foreign key (project_id) references public.projects (id) on delete cascade;
alter table public.drive_file_watches add constraint drive_file_watches_document_id_fkey foreign key (document_id) references public.documents (id) on delete cascade;
alter table public.drive_file_watches add constraint drive_file_watches_project_id_fkey foreign key (project_id) references public.projects (id) on delete cascade;
alter table public.drive_webhook_logs add constraint drive_webhook_logs_document_id_fkey foreign key (document_id) references public.documents (id) on delete cascade;
alter table public.drive_webhook_logs add constraint drive_webhook_logs_project_id_fkey foreign key (project_id) references public.projects (id) on delete cascade;
alter table public.email_processing_logs add constraint email_processing_logs_document_id_fkey foreign key (document_id) references public.documents (id) on delete set null;
alter table public.email_processing_logs add constraint email_processing_logs_user_id_fkey foreign key (user_id) references public.users (id) on delete cascade;
alter table public.google_credentials add constraint google_credentials_user_id_fkey foreign key (user_id) references public.users (id);
alter table public.knowledge_spaces add constraint knowledge_spaces_project_id_fkey foreign key (project_id) references public.projects (id) on delete cascade;
alter table public.meetings add constraint meetings_attendee_bot_id_fkey foreign key (attendee_bot_id) references public.bots (id);
alter table public.meetings add constraint meetings_project_id_fkey foreign key (project_id) references public.projects (id) on delete cascade;
alter table public.project_metadata add constraint project_metadata_project_id_fkey foreign key (project_id) references public.projects (id) on delete cascade;
alter table public.projects add constraint projects_created_by_fkey foreign key (created_by) references public.users (id);
alter table public.receipts add constraint receipts_document_id_fkey foreign key (document_id) references public.documents (id);
alter table public.receipts add constraint receipts_project_id_fkey foreign key (project_id) references public.projects (id) on delete cascade;
alter table public.subscriptions add constraint fk_subscriptions_user_id foreign key (user_id) references public.google_credentials (user_id) on update cascade on delete cascade;
alter table public.subscriptions add constraint subscriptions_user_id_fkey foreign key (user_id) references public.users (id) on delete cascade;
alter table public.summaries add constraint summaries_created_by_fkey foreign key (created_by) references public.users (id);
alter table public.summaries add constraint summaries_project_id_fkey foreign key (project_id) references public.projects (id) on delete cascade;
alter table public.sync_tracking add constraint fk_sync_tracking_user_id foreign key (user_id) references public.google_credentials (user_id) on update cascade on delete cascade;
alter table public.tags add constraint tags_created_by_fkey foreign key (created_by) references public.users (id);
alter table public.user_api_keys add constraint user_api_keys_user_id_fkey foreign key (user_id) references public.users (id) on delete cascade;
alter table public.virtual_email_detections add constraint virtual_email_detections_document_id_fkey foreign key (document_id) references public.documents (id) on delete cascade;
alter table public.bots add constraint bots_user_id_fkey foreign key (user_id) references auth.users (id) on delete cascade;
alter table public.calendar_sync_logs add constraint calendar_sync_logs_user_id_fkey foreign key (user_id) references auth.users (id) on delete cascade;
alter table public.calendar_webhooks add constraint calendar_webhooks_user_id_fkey foreign key (user_id) references auth.users (id) on delete cascade;
alter table public.meetings add constraint meetings_user_id_fkey foreign key (user_id) references auth.users (id) on delete cascade;
alter table public.sync_tracking add constraint sync_tracking_user_id_fkey foreign key (user_id) references auth.users (id);
alter table public.virtual_email_detections add constraint virtual_email_detections_user_id_fkey foreign key (user_id) references auth.users (id) on delete cascade;
alter table public.user_activity_logs add constraint user_activity_logs_user_id_fkey foreign key (user_id) references auth.users (id) on delete cascade;
alter table public.user_sync_states add constraint user_sync_states_user_id_fkey foreign key (user_id) references auth.users (id) on delete cascade;
alter table public.sync_performance_metrics add constraint sync_performance_metrics_user_id_fkey foreign key (user_id) references auth.users (id) on delete cascade;

create index idx_bots_is_active on public.bots (is_active);
create index idx_bots_provider on public.bots (provider);
create index idx_bots_user_id on public.bots (user_id);
create index idx_calendar_sync_logs_created_at on public.calendar_sync_logs (created_at);
create index idx_calendar_sync_logs_user_id on public.calendar_sync_logs (user_id);
create index idx_calendar_webhooks_active on public.calendar_webhooks (is_active);
create index idx_calendar_webhooks_user_id on public.calendar_webhooks (user_id);
create index idx_chat_messages_has_chunks on public.chat_messages (session_id) where ((used_chunks is not null) and (array_length(used_chunks, 1) > 0));
create index idx_chat_messages_recent on public.chat_messages (created_at desc);
create index idx_chat_messages_role on public.chat_messages (role);
create index idx_chat_messages_session_created on public.chat_messages (session_id, created_at);
create index idx_chat_messages_session_role on public.chat_messages (session_id, role);
create index idx_chat_messages_session_role_date on public.chat_messages (session_id, role, created_at);
create index idx_chat_messages_session_user on public.chat_messages (session_id, created_at);
create index idx_chat_sessions_active on public.chat_sessions (started_at) where (ended_at is null);
create index idx_chat_sessions_date_range on public.chat_sessions (started_at, ended_at);
create index idx_chat_sessions_name on public.chat_sessions (name) where (name is not null);
create index idx_chat_sessions_started_at on public.chat_sessions (started_at);
create index idx_chat_sessions_user_id on public.chat_sessions (user_id);
create index idx_chat_sessions_user_project_date on public.chat_sessions (user_id, project_id, started_at);
create index idx_document_chunks_document_created on public.document_chunks (document_id, created_at);
create index idx_document_chunks_metadata_gin on public.document_chunks using gin (metadata);
create index idx_document_chunks_project_id on public.document_chunks (project_id);
create index idx_document_tags_document_id on public.document_tags (document_id);
create index idx_documents_classification_source on public.documents (classification_source);
create index idx_documents_created_by on public.documents (created_by);
create index idx_documents_file_id on public.documents (file_id);
create index idx_documents_last_synced_at on public.documents (last_synced_at);
create index idx_documents_meeting_id on public.documents (meeting_id);
create index idx_documents_project_created on public.documents (project_id, created_at);
create index idx_documents_project_id on public.documents (project_id);
create index idx_documents_status on public.documents (status);
create index idx_documents_type on public.documents (type);
create index idx_documents_watch_active on public.documents (watch_active);
create index idx_drive_file_watches_active on public.drive_file_watches (document_id) where is_active = true;
create index idx_drive_file_watches_channel_id on public.drive_file_watches (channel_id);
create index idx_drive_file_watches_created_at on public.drive_file_watches (created_at);
create index idx_drive_file_watches_document_id on public.drive_file_watches (document_id);
create index idx_drive_file_watches_expiration on public.drive_file_watches (expiration);
create index idx_drive_file_watches_file_id on public.drive_file_watches (file_id);
create unique index idx_drive_file_watches_file_id_unique on public.drive_file_watches (file_id) where (is_active = true);
create index idx_drive_file_watches_is_active on public.drive_file_watches (is_active);
create index idx_drive_file_watches_last_poll_at on public.drive_file_watches (last_poll_at);
create index idx_drive_file_watches_last_webhook_received on public.drive_file_watches (last_webhook_received);
create index idx_drive_file_watches_project_id on public.drive_file_watches (project_id);
create index idx_drive_file_watches_resource_id on public.drive_file_watches (resource_id);
create index idx_drive_file_watches_webhook_failures on public.drive_file_watches (webhook_failures);
create index idx_drive_webhook_logs_document_id on public.drive_webhook_logs (document_id);
create index idx_drive_webhook_logs_file_id on public.drive_webhook_logs (file_id);
create index idx_drive_webhook_logs_n8n_webhook_sent on public.drive_webhook_logs (n8n_webhook_sent);
create index idx_drive_webhook_logs_project_id on public.drive_webhook_logs (project_id);
create index idx_drive_webhook_logs_resource_state on public.drive_webhook_logs (resource_state);
create index idx_drive_webhook_logs_webhook_received_at on public.drive_webhook_logs (webhook_received_at);
create index idx_email_processing_logs_gmail_message_id on public.email_processing_logs (gmail_message_id);
create index idx_email_processing_logs_received_at on public.email_processing_logs (received_at);
create index idx_email_processing_logs_status on public.email_processing_logs (status);
create index idx_email_processing_logs_user_id on public.email_processing_logs (user_id);
create index idx_gmail_watches_active on public.gmail_watches (is_active);
create index idx_gmail_watches_user_email on public.gmail_watches (user_email);
create index idx_google_credentials_google_user_id on public.google_credentials (google_user_id);
create index idx_google_credentials_login_provider on public.google_credentials (login_provider);
create index idx_google_credentials_user_id on public.google_credentials (user_id);
create index idx_knowledge_spaces_project_id on public.knowledge_spaces (project_id);
create index idx_maintenance_logs_created_at on public.maintenance_logs (created_at);
create index idx_maintenance_logs_type_status on public.maintenance_logs (maintenance_type, status);
create index idx_meetings_bot_status on public.meetings (bot_status);
create index idx_meetings_event_status on public.meetings (event_status);
create index idx_meetings_google_event_id on public.meetings (google_calendar_event_id);
create index idx_meetings_google_event_user_unique on public.meetings (google_calendar_event_id, user_id);
create index idx_meetings_polling on public.meetings (attendee_bot_id, bot_status, updated_at) where attendee_bot_id is not null;
create index idx_meetings_project_id on public.meetings (project_id);
create index idx_meetings_start_time on public.meetings (start_time);
create index idx_meetings_transcript_retrieved_at on public.meetings (transcript_retrieved_at desc);
create index idx_meetings_user_created on public.meetings (user_id, created_at);
create index idx_meetings_user_id on public.meetings (user_id);
create index idx_projects_categories on public.projects using gin (categories);
create index idx_projects_classification_activity on public.projects (last_classification_at desc, pinecone_document_count desc);
create index idx_projects_classification_signals on public.projects using gin (classification_signals);
create index idx_projects_created_by on public.projects (created_by);
create index idx_projects_entity_patterns on public.projects using gin (entity_patterns);
create index idx_projects_normalized_tags on public.projects using gin (normalized_tags);
create index idx_projects_reference_keywords on public.projects using gin (reference_keywords);
create index idx_projects_user_active on public.projects (created_by, status) where status in ('active', 'in_progress');
create index idx_receipts_project_id on public.receipts (project_id);
create index idx_subscriptions_active on public.subscriptions (user_id) where status = 'active';
create index idx_subscriptions_created_at on public.subscriptions (created_at);
create index idx_subscriptions_expiring on public.subscriptions (current_period_end) where (status = 'active'::text);
create index idx_subscriptions_external_customer on public.subscriptions (external_customer_id) where (external_customer_id is not null);
create unique index idx_subscriptions_external_unique on public.subscriptions (payment_provider, external_subscription_id) where (external_subscription_id is not null);
create unique index idx_subscriptions_one_active_per_user on public.subscriptions (user_id) where (status = 'active'::text);
create index idx_subscriptions_payment_method on public.subscriptions (payment_method_id) where (payment_method_id is not null);
create index idx_subscriptions_period_dates on public.subscriptions (current_period_start, current_period_end);
create index idx_subscriptions_provider_external on public.subscriptions (payment_provider, external_subscription_id);
create index idx_subscriptions_status on public.subscriptions (status);
create index idx_subscriptions_tier on public.subscriptions (tier);
create index idx_subscriptions_user_id on public.subscriptions (user_id);
create index idx_subscriptions_user_status on public.subscriptions (user_id, status);
create index idx_summaries_project_id on public.summaries (project_id);
create index idx_sync_performance_metrics_service_type on public.sync_performance_metrics (service_type);
create index idx_sync_performance_metrics_timestamp on public.sync_performance_metrics ("timestamp");
create index idx_sync_performance_metrics_user_id on public.sync_performance_metrics (user_id);
create index idx_sync_tracking_user_id on public.sync_tracking (user_id);
create index idx_tags_created_by on public.tags (created_by);
create index idx_user_activity_logs_activity_type on public.user_activity_logs (activity_type);
create index idx_user_activity_logs_timestamp on public.user_activity_logs ("timestamp");
create index idx_user_activity_logs_user_id on public.user_activity_logs (user_id);
create index idx_user_api_keys_user_id on public.user_api_keys (user_id);
create index idx_user_sync_states_change_frequency on public.user_sync_states (change_frequency);
create index idx_user_sync_states_last_sync_time on public.user_sync_states (last_sync_time);
create index idx_user_sync_states_user_id on public.user_sync_states (user_id);
create index idx_users_id on public.users (id);
create index idx_users_username on public.users (username);
create index idx_virtual_email_detections_detected_at on public.virtual_email_detections (detected_at);
create index idx_virtual_email_detections_user_id on public.virtual_email_detections (user_id);
create index idx_virtual_email_detections_username on public.virtual_email_detections (username);

create view public.drive_watch_status as
  select w.id, w.document_id, w.project_id, w.file_id, w.channel_id, w.resource_id, w.expiration, w.is_active,
         w.last_webhook_received, w.last_poll_at, w.webhook_failures,
         d.title as document_title, d.status as document_status,
         case when w.last_webhook_received is null or w.last_webhook_received < now() - interval '6 hours'
              then 'ready_for_polling' else 'webhook_active' end as polling_status
  from public.drive_file_watches w join public.documents d on d.id = w.document_id
  where w.is_active;
create view public.meetings_for_polling as
  select id, user_id, attendee_bot_id, bot_status, title, meeting_url, updated_at
  from public.meetings
  where attendee_bot_id is not null and bot_status in ('bot_scheduled', 'bot_joined', 'transcribing')
  order by updated_at desc;
create view public.polling_status as
  select id, title, bot_status, updated_at,
         case when bot_status in ('bot_scheduled', 'bot_joined', 'transcribing') then 'active'
              when bot_status = 'completed' then 'completed' else 'inactive' end as polling_status
  from public.meetings
  where attendee_bot_id is not null and bot_status in ('bot_scheduled', 'bot_joined', 'transcribing', 'completed');
create view public.sync_analytics as
  select u.id as user_id, u.email, s.last_sync_time, s.change_frequency, s.sync_interval_ms, s.is_active,
         count(a.id) as activity_count_24h, count(m.id) as sync_count_24h, avg(m.duration_ms) as avg_sync_duration_ms,
         sum(case when m.success then 1 else 0 end) as successful_syncs,
         sum(case when not m.success then 1 else 0 end) as failed_syncs
  from auth.users u
  left join public.user_sync_states s on s.user_id = u.id
  left join public.user_activity_logs a on a.user_id = u.id and a."timestamp" > now() - interval '24 hours'
  left join public.sync_performance_metrics m on m.user_id = u.id and m."timestamp" > now() - interval '24 hours'
  group by u.id, u.email, s.last_sync_time, s.change_frequency, s.sync_interval_ms, s.is_active;

-- === PART 2

create table if not exists public.meeting_bots (
  id uuid not null default gen_random_uuid(),
  bot_id text not null,
  user_id uuid not null,
  meeting_url text not null,
  bot_name text not null,
  status text default 'created',
  deployment_method text default 'manual',
  metadata jsonb,
  is_recording boolean default false,
  is_paused boolean default false,
  last_state_change timestamp with time zone,
  event_type text,
  event_sub_type text,
  transcript text,
  project_id uuid,
  needs_manual_classification boolean default false,
  created_at timestamp with time zone default now(),
  updated_at timestamp with time zone default now(),
  constraint meeting_bots_pkey primary key (id),
  constraint meeting_bots_bot_id_key unique (bot_id),
  constraint meeting_bots_deployment_method_check check (deployment_method = any (array['manual', 'automatic'])),
  constraint meeting_bots_user_id_fkey foreign key (user_id) references public.users (id) on delete cascade,
  constraint meeting_bots_project_id_fkey foreign key (project_id) references public.projects (id) on delete set null
);
create index if not exists idx_meeting_bots_status on public.meeting_bots (status);
create index if not exists idx_meeting_bots_deployment_method on public.meeting_bots (deployment_method);
create index if not exists idx_meeting_bots_project_id on public.meeting_bots (project_id);
create index if not exists idx_meeting_bots_needs_manual_classification on public.meeting_bots (needs_manual_classification);

create table if not exists public.attendee_webhook_logs (
  id uuid not null default gen_random_uuid(),
  webhook_id text not null,
  user_id uuid not null,
  bot_id text,
  trigger text not null,
  webhook_data jsonb not null,
  received_at timestamp with time zone default now(),
  processed boolean default false,
  processed_at timestamp with time zone,
  created_at timestamp with time zone default now(),
  constraint attendee_webhook_logs_pkey primary key (id),
  constraint attendee_webhook_logs_user_id_fkey foreign key (user_id) references public.users (id) on delete cascade
);
create index if not exists idx_attendee_webhook_logs_user_id on public.attendee_webhook_logs (user_id);
create index if not exists idx_attendee_webhook_logs_webhook_id on public.attendee_webhook_logs (webhook_id);
create index if not exists idx_attendee_webhook_logs_bot_id on public.attendee_webhook_logs (bot_id);
create index if not exists idx_attendee_webhook_logs_processed on public.attendee_webhook_logs (processed);

create table if not exists public.calendar_events (
  id uuid not null default gen_random_uuid(),
  event_id text not null,
  user_id uuid not null,
  calendar_id text not null,
  title text not null,
  description text,
  start_time timestamp with time zone,
  end_time timestamp with time zone,
  location text,
  meeting_url text,
  is_meeting boolean default false,
  attendees jsonb default '[]',
  status text default 'confirmed',
  created_at timestamp with time zone default now(),
  updated_at timestamp with time zone default now(),
  constraint calendar_events_pkey primary key (id),
  constraint calendar_events_event_id_user_id_key unique (event_id, user_id),
  constraint calendar_events_user_id_fkey foreign key (user_id) references auth.users (id) on delete cascade
);
create index if not exists idx_calendar_events_user_id on public.calendar_events (user_id);
create index if not exists idx_calendar_events_event_id on public.calendar_events (event_id);
create index if not exists idx_calendar_events_start_time on public.calendar_events (start_time);
create index if not exists idx_calendar_events_is_meeting on public.calendar_events (is_meeting);

create table if not exists public.calendar_sync_states (
  id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  calendar_id text not null,
  last_sync_at timestamp with time zone,
  sync_token text,
  created_at timestamp with time zone default now(),
  updated_at timestamp with time zone default now(),
  constraint calendar_sync_states_pkey primary key (id),
  constraint calendar_sync_states_user_id_calendar_id_key unique (user_id, calendar_id),
  constraint calendar_sync_states_user_id_fkey foreign key (user_id) references auth.users (id) on delete cascade
);
create index if not exists idx_calendar_sync_states_user_id on public.calendar_sync_states (user_id);
create index if not exists idx_calendar_sync_states_calendar_id on public.calendar_sync_states (calendar_id);

create table if not exists public.calendar_polling_results (
  id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  calendar_id text not null,
  events_processed integer default 0,
  events_created integer default 0,
  events_updated integer default 0,
  events_deleted integer default 0,
  meetings_detected integer default 0,
  processing_time_ms integer default 0,
  success boolean default true,
  error_message text,
  "timestamp" timestamp with time zone default now(),
  created_at timestamp with time zone default now(),
  constraint calendar_polling_results_pkey primary key (id),
  constraint calendar_polling_results_user_id_fkey foreign key (user_id) references auth.users (id) on delete cascade
);
create index if not exists idx_calendar_polling_results_user_id on public.calendar_polling_results (user_id);
create index if not exists idx_calendar_polling_results_timestamp on public.calendar_polling_results ("timestamp");
create index if not exists idx_calendar_polling_results_success on public.calendar_polling_results (success);

create table if not exists public.calendar_webhook_logs (
  id uuid not null default gen_random_uuid(),
  webhook_id text not null,
  event_id text not null,
  resource_state text not null,
  resource_uri text,
  state text,
  expiration text,
  webhook_received_at timestamp with time zone default now(),
  n8n_webhook_sent boolean default false,
  n8n_webhook_sent_at timestamp with time zone,
  n8n_webhook_response text,
  error_message text,
  created_at timestamp with time zone default now(),
  constraint calendar_webhook_logs_pkey primary key (id)
);
create index if not exists idx_calendar_webhook_logs_webhook_id on public.calendar_webhook_logs (webhook_id);
create index if not exists idx_calendar_webhook_logs_event_id on public.calendar_webhook_logs (event_id);
create index if not exists idx_calendar_webhook_logs_created_at on public.calendar_webhook_logs (created_at);

create table if not exists public.webhook_activity_tracking (
  id uuid not null default gen_random_uuid(),
  user_id uuid,
  service text not null,
  webhook_type text not null,
  last_webhook_received timestamp with time zone,
  webhook_failures integer default 0,
  is_active boolean default true,
  created_at timestamp with time zone default now(),
  updated_at timestamp with time zone default now(),
  constraint webhook_activity_tracking_pkey primary key (id),
  constraint webhook_activity_tracking_service_check check (service = any (array['calendar', 'drive', 'gmail', 'attendee'])),
  constraint webhook_activity_tracking_webhook_type_check check (webhook_type = any (array['push', 'polling', 'hybrid'])),
  constraint webhook_activity_tracking_user_id_fkey foreign key (user_id) references public.users (id) on delete cascade
);
create index if not exists idx_webhook_activity_tracking_user_id on public.webhook_activity_tracking (user_id);
create index if not exists idx_webhook_activity_tracking_service on public.webhook_activity_tracking (service);
create index if not exists idx_webhook_activity_tracking_webhook_type on public.webhook_activity_tracking (webhook_type);
create index if not exists idx_webhook_activity_tracking_is_active on public.webhook_activity_tracking (is_active);
create index if not exists idx_webhook_activity_tracking_last_webhook_received on public.webhook_activity_tracking (last_webhook_received);

create table if not exists public.user_sessions (
  id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  session_id text not null,
  access_token text not null,
  refresh_token text,
  expires_at timestamp with time zone,
  is_active boolean default true,
  created_at timestamp with time zone default now(),
  updated_at timestamp with time zone default now(),
  constraint user_sessions_pkey primary key (id),
  constraint user_sessions_session_id_key unique (session_id),
  constraint user_sessions_user_id_fkey foreign key (user_id) references public.users (id) on delete cascade
);
create index if not exists idx_user_sessions_user_id on public.user_sessions (user_id);
create index if not exists idx_user_sessions_session_id on public.user_sessions (session_id);
create index if not exists idx_user_sessions_expires_at on public.user_sessions (expires_at);
create index if not exists idx_user_sessions_is_active on public.user_sessions (is_active);

create table if not exists public.google_credentials_audit (
  id serial,
  user_id uuid,
  action varchar(50) not null,
  previous_status varchar(20),
  disconnected_at timestamp without time zone,
  had_access_token boolean,
  had_refresh_token boolean,
  scope text,
  metadata jsonb,
  created_at timestamp without time zone default now(),
  constraint google_credentials_audit_pkey primary key (id),
  constraint google_credentials_audit_user_id_fkey foreign key (user_id) references auth.users (id)
);
create index if not exists idx_google_credentials_audit_user_id on public.google_credentials_audit (user_id);
create index if not exists idx_google_credentials_audit_action on public.google_credentials_audit (action);
create index if not exists idx_google_credentials_audit_created_at on public.google_credentials_audit (created_at);

create table if not exists public.email_processing_locks (
  id uuid not null default gen_random_uuid(),
  message_id text not null,
  status text not null default 'processing',
  created_at timestamp with time zone not null default now(),
  expires_at timestamp with time zone not null,
  updated_at timestamp with time zone not null default now(),
  constraint email_processing_locks_pkey primary key (id),
  constraint email_processing_locks_message_id_key unique (message_id)
);
create index if not exists idx_email_processing_locks_message_id on public.email_processing_locks (message_id);
create index if not exists idx_email_processing_locks_expires_at on public.email_processing_locks (expires_at);

-- === PART 3

--later alter table public.google_credentials add column if not exists expires_in integer, add column if not exists token_uri text, add column if not exists client_id text, add column if not exists client_secret text, add column if not exists updated_at timestamp without time zone default now();
--later alter table public.google_credentials add column if not exists status varchar(20) default 'connected', add column if not exists disconnected_at timestamp without time zone;
--later alter table public.meetings add column if not exists transcript_ready_for_classification boolean default false, add column if not exists transcript_ready_for_embedding boolean default false;
--later alter table public.meetings drop constraint meetings_bot_status_check;
--later alter table public.meetings add constraint meetings_bot_status_check check (bot_status = any (array['pending', 'bot_scheduled', 'bot_joined', 'transcribing', 'post_processing', 'completed', 'failed']));
--later drop view public.meetings_for_polling;
--later drop view public.polling_status;
--later alter table public.meetings drop constraint meetings_attendee_bot_id_fkey;
--later alter table public.meetings alter column attendee_bot_id type text using attendee_bot_id::text;
--later update public.meetings set attendee_bot_id = null;
--later alter table public.meetings add constraint meetings_attendee_bot_id_fkey foreign key (attendee_bot_id) references public.meeting_bots (bot_id) on delete set null;
--later create view public.meetings_for_polling as select id, user_id, title, meeting_url, attendee_bot_id, bot_status, start_time, end_time, created_at, updated_at from public.meetings where attendee_bot_id is not null and bot_status in ('bot_scheduled', 'bot_joined', 'transcribing');
--later drop table public.bots cascade;
