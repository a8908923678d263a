-- What a notification is looked up by: the mailbox that Gmail names, and the calendar of a channel that we do not know.
create index connections_email on connections (lower(email));
create index gmail_watches_email on gmail_watches (lower(user_email));
create index feeds_calendar on feeds (resource) where kind = 'calendar';
