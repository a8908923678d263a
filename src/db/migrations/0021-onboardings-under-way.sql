-- Those that may have lost their job.
create index onboardings_under_way on onboardings (updated_at) where state in ('waiting', 'drafting', 'checking');
