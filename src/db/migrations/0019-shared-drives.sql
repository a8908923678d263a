-- The shared drive that a file lies in. It has a log of changes of its own; that of an account leaves out what happens there.
alter table watched_files add column drive_id text;

-- Which files lie in one is told by Google's list.
update feeds set is_full_wanted = true
where kind = 'drive' and resource = '' and exists (select from watched_files where feed_id = feeds.id and state <> 'stopped');
