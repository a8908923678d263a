-- What a look may cost at the moment, by API: it rises while the project's quota runs short.
create table look_prices (
  api text primary key check (api in ('calendar', 'gmail', 'drive')),
  price double precision not null,
  -- Calls in the minute before it was set, and how many there may be.
  calls integer not null,
  budget integer not null,
  adjusted_at timestamptz not null
);
