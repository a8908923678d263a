-- Bots: one row for each that is to come, made before the provider is asked for it.

alter table bots
  add column meeting_url text,
  add column starts_at timestamptz,
  add column ends_at timestamptz,
  -- The occurrence that it is for; nobody else's bot is while it holds this. Null: it was called off before it came.
  add column occurrence_key text unique,
  -- What is wanted of it. Null: a bot of the older product that is not followed any longer.
  add column wish text check (wish in ('attend', 'leave')),
  add column attempt integer not null default 1,
  -- When the provider was first asked for it in this attempt, whether or not we heard the answer.
  add column asked_at timestamptz,
  add column joins_at timestamptz,
  -- How often one that broke down was sent once more.
  add column retries integer not null default 0,
  -- What the provider was told last: where, when, by which name, and what cannot be changed later.
  add column sent jsonb,
  -- The provider's bots of earlier attempts.
  add column earlier_bot_ids text[] not null default '{}',
  add column state text,
  add column status text not null default 'pending'
    check (status in ('pending', 'bot_scheduled', 'bot_joined', 'transcribing', 'completed', 'failed')),
  add column recording_state text,
  add column transcription_state text,
  add column transcript_state text not null default 'none' check (transcript_state in ('none', 'growing', 'final')),
  add column event_count integer not null default 0,
  add column contents_read_at timestamptz,
  -- When the meetings' own columns were written last.
  add column transcript_written_at timestamptz,
  add column notice jsonb,
  add column is_over boolean not null default false,
  -- Its owner's account was deleted: what it heard goes too, once nobody else has it.
  add column is_orphaned boolean not null default false,
  add column over_at timestamptz,
  add column recording_url text,
  add column recording_url_at timestamptz,
  add column due_at timestamptz,
  add column lease_owner uuid,
  add column lease_until timestamptz,
  add column wanted_again boolean not null default false,
  add column failures integer not null default 0,
  add column last_error text,
  add column last_polled_at timestamptz;

-- Two people may share a bot: it outlives the one who was first.
alter table bots drop constraint if exists bots_user_id_fkey;
alter table bots add constraint bots_user_id_fkey foreign key (user_id) references users (id) on delete set null;

create index bots_due on bots (due_at) where due_at is not null;
create index bots_provider_id on bots (provider_bot_id) where provider_bot_id is not null;
create index bots_attending on bots (created_at) where wish = 'attend' and not is_over;
create index bots_orphaned on bots (id) where is_orphaned;
alter table bot_plans add column is_wanted boolean not null default false;
create index bot_plans_to_do on bot_plans (meeting_id) where decision <> 'none';

alter table meetings
  add column if not exists real_time_transcript jsonb,
  add column if not exists final_transcript_ready boolean default false,
  add column bot_id uuid references bots (id) on delete set null,
  -- The link that it was given its bot for: another one moves the bot.
  add column bot_link text;
create index meetings_bot on meetings (bot_id) where bot_id is not null;

-- In some of the older databases `attendee_bot_id` points at bots, as it was meant to: there it keeps saying the same.
-- In the later ones it holds the provider's id, of a bot that `meeting_bots` knows.
do $$
begin
  if (select data_type from information_schema.columns
      where table_schema = current_schema() and table_name = 'meetings' and column_name = 'attendee_bot_id') = 'uuid' then
    update meetings set bot_id = attendee_bot_id::text::uuid
    where exists (select from bots where bots.id = attendee_bot_id::text::uuid);
    create function daybook_mirror_bot() returns trigger language plpgsql as $mirror$
    begin
      new.attendee_bot_id := new.bot_id;
      return new;
    end
    $mirror$;
    create trigger daybook_mirror_bot before insert or update of bot_id on meetings
      for each row execute function daybook_mirror_bot();
  elsif to_regclass('meeting_bots') is not null then
    insert into bots (user_id, name, provider, provider_bot_id, created_at)
    select user_id, bot_name, 'attendee', bot_id, coalesce(created_at, now()) from meeting_bots
    where not exists (select from bots where bots.provider_bot_id = meeting_bots.bot_id);
    update meetings set bot_id = bots.id from bots where bots.provider_bot_id = meetings.attendee_bot_id::text;
  end if;
end
$$;

create table bot_events (
  id bigint generated always as identity primary key,
  bot_id uuid not null references bots (id) on delete cascade,
  -- The provider's bot that it happened to; a bot that is sent again has another.
  provider_bot_id text not null default '',
  type text not null,
  sub_type text not null default '',
  happened_at timestamptz not null,
  unique (bot_id, provider_bot_id, type, sub_type, happened_at)
);
-- What was said, as the provider told it last: a caption is written over as it grows.
create table bot_utterances (
  bot_id uuid not null references bots (id) on delete cascade,
  provider_bot_id text not null,
  key text not null,
  utterance jsonb not null,
  primary key (bot_id, provider_bot_id, key)
);
-- The meetings whose people had a bot there: each gets what it heard as a document, wherever the meeting has moved since.
create table bot_meetings (
  bot_id uuid not null references bots (id) on delete cascade,
  meeting_id uuid not null references meetings (id) on delete cascade,
  document_id uuid references documents (id) on delete set null,
  primary key (bot_id, meeting_id)
);
create index bot_meetings_meeting on bot_meetings (meeting_id);
create table bot_messages (
  bot_id uuid not null references bots (id) on delete cascade,
  message_id text not null,
  sender_name text,
  sender_uuid text,
  sent_to text not null,
  text text not null,
  sent_at timestamptz not null,
  primary key (bot_id, message_id)
);
create index bot_messages_time on bot_messages (bot_id, sent_at, message_id);
create table bot_participant_events (
  bot_id uuid not null references bots (id) on delete cascade,
  event_id text not null,
  type text not null,
  participant_name text,
  participant_uuid text not null,
  is_host boolean not null default false,
  happened_at timestamptz not null,
  primary key (bot_id, event_id)
);
create index bot_participant_events_time on bot_participant_events (bot_id, happened_at, event_id);

create table bot_notifications (
  idempotency_key text primary key,
  provider_bot_id text not null,
  trigger text not null,
  received_at timestamptz not null
);
create index bot_notifications_received on bot_notifications (received_at);

create table bot_preferences (
  user_id uuid primary key references users (id) on delete cascade,
  all_meetings boolean not null default false,
  bot_name text,
  greeting text,
  language text,
  recording text,
  updated_at timestamptz not null
);

-- What is to come and was never decided is decided at the first look for bots.
insert into bot_plans (meeting_id, decision, rule, reason, inputs, decided_at)
select id, 'send', 'undecided', 'Not decided yet', '{}', now() - interval '1 hour' from meetings
where end_time > now() and meeting_url is not null and cancelled_at is null
on conflict do nothing;

-- The older product's bots that are still under way, or ended without a transcript, are followed from here on. Its own
-- word for how they ended is not believed: it took what it did not know for a failure.
update bots set wish = 'attend', status = coalesce(meeting.bot_status, 'pending'), meeting_url = meeting.meeting_url,
  starts_at = meeting.start_time, ends_at = meeting.end_time, joins_at = meeting.start_time - interval '2 minutes',
  occurrence_key = 'older:' || bots.id, due_at = now(), asked_at = bots.created_at
from (
  select distinct on (bot_id) bot_id, meeting_url, start_time, end_time,
    case when bot_status in ('bot_scheduled', 'bot_joined', 'transcribing') then bot_status end as bot_status
  from meetings
  where bot_id is not null and end_time > now() - interval '7 days' and transcript_retrieved_at is null
  order by bot_id, start_time desc
) as meeting
where meeting.bot_id = bots.id and bots.provider = 'attendee' and bots.provider_bot_id is not null
  and not exists (select from bots as twin where twin.provider_bot_id = bots.provider_bot_id and twin.id < bots.id);

-- Whoever had a bot wanted it, however they had asked; and one that nobody can follow is none.
update meetings set wants_bot = true from bots
where bots.id = meetings.bot_id and bots.wish is not null and meetings.wants_bot is null;
update meetings set bot_id = null from bots
where bots.id = meetings.bot_id and bots.wish is null and meetings.end_time > now() and meetings.transcript_retrieved_at is null;

-- Those that were sent by a link alone had no meeting: they get one, whose link the provider tells.
with lone as (
  update bots set wish = 'attend', starts_at = created_at + interval '2 minutes', ends_at = created_at + interval '62 minutes',
    joins_at = created_at + interval '2 minutes', occurrence_key = 'older:' || id, due_at = now(), asked_at = created_at
  where provider = 'attendee' and provider_bot_id is not null and user_id is not null and wish is null
    and created_at > now() - interval '7 days' and not exists (select from meetings where bot_id = bots.id)
    and not exists (select from bots as twin where twin.provider_bot_id = bots.provider_bot_id and twin.id <> bots.id)
  returning id, user_id, name, starts_at, ends_at
)
insert into meetings (user_id, title, start_time, end_time, event_status, wants_bot, bot_id)
select user_id, coalesce(nullif(name, ''), 'Meeting'), starts_at, ends_at, 'accepted', true, id from lone;
