-- What pipelines report about a commit: test runs and cases, rule checks, and any number.

set lock_timeout = '2s';
set statement_timeout = '60s';

create table if not exists metrics.tests (
  id bigint generated always as identity primary key,
  reference_id bigint not null,
  suite text not null,
  name text not null,
  constraint test_is_unique unique (reference_id, suite, name)
);

comment on table metrics.tests is 'A number per test, so that a passed test costs eight bytes a run.';
comment on column metrics.tests.id is 'Key.';
comment on column metrics.tests.reference_id is 'Repository reference.';
comment on column metrics.tests.suite is 'Suite, empty where the report has none.';
comment on column metrics.tests.name is 'Full name of the test.';

create table if not exists metrics.test_runs (
  reference_id bigint not null,
  external_id text not null,
  suite text,
  commit_sha text,
  branch text,
  pipeline text,
  job text,
  passed_count integer,
  failed_count integer,
  skipped_count integer,
  error_count integer,
  duration_seconds double precision,
  started_at timestamptz,
  passed bigint[],
  skipped bigint[],
  is_inconclusive boolean not null generated always as (
    coalesce(passed_count, 0) + coalesce(failed_count, 0) + coalesce(error_count, 0) >= 20
    and coalesce(failed_count, 0) + coalesce(error_count, 0)
      >= 0.8 * (coalesce(passed_count, 0) + coalesce(failed_count, 0) + coalesce(error_count, 0))
  ) stored,
  url text,
  clocks jsonb not null default '{}',
  updated_at timestamptz not null default now(),
  constraint test_runs_pkey primary key (reference_id, external_id),
  constraint counts_are_not_negative check (least(passed_count, failed_count, skipped_count, error_count) >= 0)
);

create index if not exists test_runs_started_at_idx on metrics.test_runs (reference_id, started_at);

comment on table metrics.test_runs is 'One suite''s result for a commit each. Clocks compare by time.';
comment on column metrics.test_runs.external_id is 'The sender''s id of the test run.';
comment on column metrics.test_runs.suite is 'Suite. Merge: latest.';
comment on column metrics.test_runs.commit_sha is 'Commit that was tested. Merge: latest.';
comment on column metrics.test_runs.branch is 'Branch. Merge: latest.';
comment on column metrics.test_runs.pipeline is 'Name of the pipeline. Merge: latest.';
comment on column metrics.test_runs.job is 'Name of the job. Merge: latest.';
comment on column metrics.test_runs.passed_count is 'Tests that passed. Merge: latest.';
comment on column metrics.test_runs.failed_count is 'Tests that failed. Merge: latest, with passed_count.';
comment on column metrics.test_runs.skipped_count is 'Tests that were skipped. Merge: latest, with passed_count.';
comment on column metrics.test_runs.error_count is 'Tests that ended in an error of their machinery. Merge: latest, with passed_count.';
comment on column metrics.test_runs.duration_seconds is 'Seconds, as reported. Merge: latest.';
comment on column metrics.test_runs.started_at is 'When it started. Merge: earliest.';
comment on column metrics.test_runs.passed is 'Numbers of the tests that passed, ascending. Merge: latest.';
comment on column metrics.test_runs.skipped is 'Numbers of the tests that were skipped, ascending. Merge: latest.';
comment on column metrics.test_runs.is_inconclusive is 'Whether four fifths or more of at least twenty tests failed: that tells of the machine, and nothing of the tests.';
comment on column metrics.test_runs.url is 'Link to the provider. Merge: latest.';

create table if not exists metrics.test_cases (
  reference_id bigint not null,
  test_run_external_id text not null,
  test_id bigint not null,
  outcome text,
  message text,
  duration_seconds double precision,
  retries integer,
  clocks jsonb not null default '{}',
  updated_at timestamptz not null default now(),
  constraint test_cases_pkey primary key (reference_id, test_run_external_id, test_id),
  constraint outcome_is_known check (outcome in ('passed', 'failed', 'error', 'skipped')),
  constraint retries_are_not_negative check (retries >= 0)
);

create index if not exists test_cases_test_id_idx on metrics.test_cases (test_id);
create index if not exists test_cases_retried_idx
  on metrics.test_cases (reference_id, test_run_external_id)
  where outcome = 'passed' and retries > 0;
create index if not exists test_cases_time_idx on metrics.test_cases using brin (updated_at);

comment on table metrics.test_cases is 'Test cases that need words: failures, retries, slow ones. Clocks compare by time.';
comment on column metrics.test_cases.test_run_external_id is 'The sender''s id of the test run.';
comment on column metrics.test_cases.test_id is 'The test.';
comment on column metrics.test_cases.outcome is 'passed, failed, error or skipped. Merge: latest.';
comment on column metrics.test_cases.message is 'What it said. Merge: latest, with outcome.';
comment on column metrics.test_cases.duration_seconds is 'Seconds, as reported. Merge: latest, with outcome.';
comment on column metrics.test_cases.retries is 'How often it was tried again. Merge: latest, with outcome.';

create table if not exists metrics.rule_checks (
  reference_id bigint not null,
  external_id text not null,
  rule text,
  category text,
  status text,
  commit_sha text,
  pull_request_number integer,
  run_external_id text,
  detail text,
  checked_at timestamptz,
  url text,
  clocks jsonb not null default '{}',
  updated_at timestamptz not null default now(),
  constraint rule_checks_pkey primary key (reference_id, external_id),
  constraint status_is_known check (status in ('compliant', 'violation', 'warning'))
);

create index if not exists rule_checks_checked_at_idx on metrics.rule_checks (reference_id, checked_at);

comment on table metrics.rule_checks is 'One rule''s outcome for a commit, pull request or run each. Clocks compare by time.';
comment on column metrics.rule_checks.external_id is 'The sender''s id of the check.';
comment on column metrics.rule_checks.rule is 'Name of the rule. Merge: latest.';
comment on column metrics.rule_checks.category is 'Category of the rule. Merge: latest.';
comment on column metrics.rule_checks.status is 'compliant, violation or warning. Merge: latest.';
comment on column metrics.rule_checks.commit_sha is 'Commit that was checked. Merge: latest.';
comment on column metrics.rule_checks.pull_request_number is 'Pull request that was checked. Merge: latest.';
comment on column metrics.rule_checks.run_external_id is 'Run that was checked. Merge: latest.';
comment on column metrics.rule_checks.detail is 'What was found. Merge: latest.';
comment on column metrics.rule_checks.checked_at is 'When. Merge: latest.';
comment on column metrics.rule_checks.url is 'Link to the provider. Merge: latest.';

create table if not exists metrics.measurements (
  reference_id bigint not null,
  name text not null,
  external_id text not null,
  value double precision,
  unit text,
  attributes jsonb,
  measured_at timestamptz,
  clocks jsonb not null default '{}',
  updated_at timestamptz not null default now(),
  constraint measurements_pkey primary key (reference_id, name, external_id),
  constraint attributes_are_an_object check (jsonb_typeof(attributes) = 'object')
);

create index if not exists measurements_measured_at_idx on metrics.measurements (reference_id, name, measured_at);

comment on table metrics.measurements is 'Named numbers. Clocks compare by time.';
comment on column metrics.measurements.name is 'Name of the number.';
comment on column metrics.measurements.external_id is 'The sender''s id of the measurement.';
comment on column metrics.measurements.value is 'The number. Merge: latest.';
comment on column metrics.measurements.unit is 'Its unit. Merge: latest, with value.';
comment on column metrics.measurements.attributes is 'What it is about, by name. Merge: latest, with value.';
comment on column metrics.measurements.measured_at is 'When. Merge: latest, with value.';
