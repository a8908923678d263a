-- A grant that died is gone, and with it its token: kept, it would pass for a living one at the next sign-in.
update connections set refresh_token = null where state_reason = 'grant_dead';

-- Whether a user has shown that their address is theirs. A token of the older sign-in only names one.
alter table users add column is_email_proven boolean not null default true;
