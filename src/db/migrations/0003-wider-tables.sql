-- The older shapes of some tables lack columns that the API names, and refuse values that the old functions wrote in vain.

alter table user_sync_states
  add column if not exists last_sync_at timestamptz,
  add column if not exists virtual_email_activity boolean default false,
  add column if not exists auto_scheduled_meetings integer default 0;

alter table sync_performance_metrics
  add column if not exists total_processed integer default 0,
  add column if not exists total_created integer default 0,
  add column if not exists total_updated integer default 0,
  add column if not exists total_deleted integer default 0,
  add column if not exists virtual_emails_detected integer default 0,
  add column if not exists auto_scheduled_meetings integer default 0,
  add column if not exists sync_duration_ms integer,
  alter column service_type drop not null;
alter table sync_performance_metrics drop constraint if exists sync_performance_metrics_sync_type_check;
alter table sync_performance_metrics drop constraint if exists sync_performance_metrics_service_type_check;
alter table sync_performance_metrics add constraint sync_performance_metrics_service_type_check
  check (service_type in ('calendar', 'drive', 'gmail', 'attendee', 'user', 'auth'));

alter table user_activity_logs drop constraint if exists user_activity_logs_activity_type_check;
alter table user_activity_logs add constraint user_activity_logs_activity_type_check
  check (activity_type in ('app_load', 'calendar_view', 'meeting_create', 'virtual_email_detected', 'general'));

alter table calendar_sync_logs drop constraint if exists calendar_sync_logs_sync_type_check;
alter table calendar_sync_logs add constraint calendar_sync_logs_sync_type_check
  check (sync_type in ('initial', 'incremental', 'webhook', 'manual', 'webhook_test', 'auto_bot_scheduling', 'manual_bot_deployment'));

alter table meetings drop constraint if exists meetings_bot_status_check;
alter table meetings add constraint meetings_bot_status_check
  check (bot_status in ('pending', 'bot_scheduled', 'bot_joined', 'transcribing', 'post_processing', 'completed', 'failed'));

alter table calendar_webhooks add column if not exists webhook_failures integer default 0;
