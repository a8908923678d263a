-- People belong to `users`, and no longer to the schema of the old sign-in: ours can then make people, while tokens of
-- the old one stay valid, whose `sub` is the same id.

do $$
declare
  found record;
begin
  if to_regclass('auth.users') is not null then
    -- Of several with one address the oldest keeps it; the others, and who has none, get one that reaches nobody.
    insert into users (id, email, name, role, created_at)
    select id,
           case when address is null or seniority > 1 or exists (select from users where users.email = address)
                then id || '@users.invalid' else address end,
           coalesce(details ->> 'full_name', details ->> 'name', split_part(address, '@', 1)),
           'user',
           coalesce(created_at, now()) at time zone 'utc'
    from (
      select id, nullif(email, '') as address, raw_user_meta_data as details, created_at,
             row_number() over (partition by email order by created_at nulls last, id) as seniority
      from auth.users
      where not exists (select from users where users.id = auth.users.id)
    ) as missing;

    -- Each key keeps its name and what it does on delete.
    for found in
      select conrelid::regclass as source, conname as name,
             replace(pg_get_constraintdef(pg_constraint.oid), 'REFERENCES auth.users(', 'REFERENCES users(') as definition
      from pg_constraint
      join pg_class as source on source.oid = conrelid
      where contype = 'f' and conparentid = 0 and confrelid = 'auth.users'::regclass
        and source.relnamespace = current_schema()::regnamespace
    loop
      execute format('alter table %s drop constraint %I', found.source, found.name);
      execute format('alter table %s add constraint %I %s', found.source, found.name, found.definition);
    end loop;
  end if;

  -- Several tables left it to the writer to invent an id.
  for found in
    select owner.oid::regclass as name
    from pg_class as owner
    join pg_attribute as id on id.attrelid = owner.oid and id.attname = 'id' and id.atttypid = 'uuid'::regtype
    where owner.relkind = 'r' and owner.relnamespace = current_schema()::regnamespace and not id.atthasdef
  loop
    execute format('alter table %s alter column id set default gen_random_uuid()', found.name);
  end loop;

  -- A trigger of record stamps `username_set_at` on every update of the row, whatever it changes.
  for found in
    select tgname as name
    from pg_trigger
    join pg_proc on pg_proc.oid = tgfoid
    where tgrelid = 'users'::regclass and not tgisinternal and prosrc like '%username_set_at%'
  loop
    execute format('drop trigger %I on users', found.name);
  end loop;
end
$$;

alter table users
  add column if not exists picture text,
  add column if not exists time_zone text,
  add column if not exists last_active_at timestamptz,
  add column if not exists updated_at timestamptz;

-- Sign-in looks people up by address whatever its case.
create index users_lower_email on users (lower(email));

-- Whose a username is, whatever its case. A unique index over `users` could not say so: there, names that differ in
-- case alone may stand already. Of such names the oldest user's counts, and all stay as they were written.
create table usernames (
  username text primary key check (username = lower(username)),
  user_id uuid not null unique references users (id) on delete cascade
);
insert into usernames (username, user_id)
select distinct on (lower(username)) lower(username), id
from users
where username <> ''
order by lower(username), created_at nulls last, id;
