-- What all feeds of a kind show together: what their push is worth, which week people keep, in 24 hours of a weekday and 24 of
-- a weekend day, and how much faster than usual changes follow each other. It takes the place of push_priors, which processes
-- of the version before still use.
create table feed_priors (
  kind text primary key,
  loss double precision not null check (loss between 0 and 1),
  deaths_per_day double precision not null check (deaths_per_day >= 0),
  week double precision[] not null check (array_length(week, 1) = 48),
  burst_speed double precision not null default 1 check (burst_speed > 0),
  feeds integer not null,
  learnt_at timestamptz not null
);
