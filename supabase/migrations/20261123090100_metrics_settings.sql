-- What an installation may choose. One row; changed by metrics.set_setting, which leaves an audit row.

set lock_timeout = '2s';
set statement_timeout = '60s';

create table if not exists metrics.settings (
  is_single boolean primary key default true,
  time_zone text not null default 'UTC',
  body_days integer not null default 30,
  quarantined_body_days integer not null default 90,
  delivery_days integer not null default 35,
  job_days integer not null default 400,
  test_case_days integer not null default 400,
  incident_window_seconds integer not null default 86400,
  rollout_seconds integer not null default 3600,
  hotfix_labels text[] not null default array['hotfix'],
  band_year integer not null default 2023,
  constraint settings_are_one_row check (is_single),
  -- A partition a week is made ahead for the longest time that a body may live.
  constraint body_days_is_a_day_to_400 check (body_days between 1 and 400),
  constraint quarantined_body_days_is_a_day_to_400 check (quarantined_body_days between 1 and 400),
  -- GitHub can redeliver for 30 days: an id that is forgotten earlier would be stored twice.
  constraint delivery_days_outlasts_redelivery check (delivery_days between 31 and 36500),
  constraint job_days_is_at_least_a_week check (job_days between 7 and 36500),
  constraint test_case_days_is_at_least_a_week check (test_case_days between 7 and 36500),
  constraint incident_window_is_a_minute_to_90_days check (incident_window_seconds between 60 and 7776000),
  constraint rollout_is_a_minute_to_a_week check (rollout_seconds between 60 and 604800)
);

comment on table metrics.settings is 'What this installation chose. One row, changed by metrics.set_setting.';
comment on column metrics.settings.is_single is 'Always true: the key that keeps this table at one row.';
comment on column metrics.settings.time_zone is 'IANA name of the zone in which days and ISO weeks are cut.';
comment on column metrics.settings.body_days is 'Days that the body of a stored delivery is kept.';
comment on column metrics.settings.quarantined_body_days is 'Days that the body of a quarantined delivery is kept.';
comment on column metrics.settings.delivery_days is 'Days that a delivery is remembered, so that its id is known when it comes again.';
comment on column metrics.settings.job_days is 'Days that jobs are kept; the horizon moves by whole ISO weeks.';
comment on column metrics.settings.test_case_days is 'Days that test cases are kept; the horizon moves by whole ISO weeks.';
comment on column metrics.settings.incident_window_seconds is 'An incident that names no deployment belongs to the last one that began at most so many seconds before it.';
comment on column metrics.settings.rollout_seconds is 'Deployments of one commit to the environments of a rollout group within so many seconds are one.';
comment on column metrics.settings.hotfix_labels is 'A merged pull request with one of these labels mends what was deployed before it. Compared in lower case.';
comment on column metrics.settings.band_year is 'Year of the DORA report whose bands numbers are put into.';

insert into metrics.settings (is_single)
values (true)
on conflict do nothing;
