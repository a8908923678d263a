-- What all feeds of a kind show together: what their push is worth and, now, which week people keep, in 24 hours of a
-- weekday and 24 of a weekend day. What is there is learnt anew within the hour.
alter table push_priors rename to feed_priors;
delete from feed_priors;
alter table feed_priors add column week double precision[] not null check (array_length(week, 1) = 48);
