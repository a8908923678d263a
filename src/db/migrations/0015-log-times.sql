-- What cleaning up finds old rows by.
create index calendar_sync_logs_time on calendar_sync_logs (created_at);
