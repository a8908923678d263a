-- What push is worth, by kind of feed, as the channels of all feeds show together: what is assumed of a new one.
create table push_priors (
  kind text primary key,
  loss double precision not null check (loss between 0 and 1),
  deaths_per_day double precision not null check (deaths_per_day >= 0),
  feeds integer not null,
  learnt_at timestamptz not null
);
