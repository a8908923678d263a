-- Events as the provider has them, each in its calendar; and what a meeting knows besides.

alter table calendar_events
  add column feed_id uuid references feeds (id) on delete cascade,
  add column recurring_event_id text,
  add column original_start text,
  add column ical_uid text,
  add column event_type text not null default 'default',
  add column visibility text not null default 'default',
  add column all_day boolean not null default false,
  add column start_date date,
  add column end_date date,
  add column time_zone text,
  add column organiser jsonb,
  add column response_status text,
  add column transparency text,
  add column conference jsonb,
  add column attachments jsonb not null default '[]',
  add column html_link text,
  add column meeting_provider text,
  add column meeting_key text,
  add column rival_meeting_url text,
  add column virtual_usernames text[] not null default '{}',
  add column etag text,
  add column sequence integer not null default 0,
  add column updated_at_provider timestamptz,
  add column content_hash text,
  add column generation integer not null default 0;

-- An event is in as many calendars of a person as show it.
alter table calendar_events drop constraint if exists calendar_events_event_id_user_id_key;
create unique index calendar_events_feed_event on calendar_events (feed_id, event_id);
create index calendar_events_series on calendar_events (feed_id, recurring_event_id) where recurring_event_id is not null;
create index calendar_events_user_event on calendar_events (user_id, event_id);
create index calendar_events_user_start on calendar_events (user_id, start_time, id);
create index calendar_events_event on calendar_events (event_id) where virtual_usernames <> '{}';

alter table meetings
  add column cancelled_at timestamptz,
  add column wants_bot boolean,
  add column time_zone text,
  add column all_day boolean not null default false;
create index meetings_user_start on meetings (user_id, start_time, id);

-- Whether a meeting gets a bot, as it was last decided.
create table bot_plans (
  meeting_id uuid primary key references meetings (id) on delete cascade,
  decision text not null check (decision in ('none', 'send', 'move', 'cancel')),
  rule text not null,
  reason text not null,
  inputs jsonb not null,
  decided_at timestamptz not null
);
