-- The schema metrics as the migrations leave it, to be read and compared; it is never applied.
-- Made by "deno task schema" with the query tools/deploy/catalog.sql: change a migration, then run that.

-- schema metrics
create schema metrics authorization postgres;
grant usage on schema metrics to authenticated;
grant usage on schema metrics to metrics_reader;
grant usage on schema metrics to service_role;
comment on schema metrics is 'CI/CD and delivery metrics. Nothing outside this schema belongs to it, and the app beside it depends on none of it.';

-- type metrics.claim
create type metrics.claim as (
  url text,
  claimant text,
  claimant_repository_id bigint,
  clock text,
  present_repository_id bigint
);

-- type metrics.counted_check
create type metrics.counted_check as (
  times integer,
  reference_id bigint,
  at timestamp with time zone,
  status text
);

-- type metrics.counted_job
create type metrics.counted_job as (
  times integer,
  reference_id bigint,
  pipeline text,
  job text,
  runner text,
  at timestamp with time zone,
  outcome text,
  duration_seconds double precision,
  queue_seconds double precision
);

-- type metrics.counted_run
create type metrics.counted_run as (
  times integer,
  reference_id bigint,
  pipeline text,
  on_default_branch boolean,
  is_bot boolean,
  at timestamp with time zone,
  outcome text,
  is_first_try boolean,
  is_last_try boolean,
  duration_seconds double precision,
  queue_seconds double precision
);

-- type metrics.counted_test_run
create type metrics.counted_test_run as (
  times integer,
  reference_id bigint,
  at timestamp with time zone,
  passed integer,
  failed integer,
  skipped integer
);

-- type metrics.delivery_counts
create type metrics.delivery_counts as (
  name text,
  is_asked boolean,
  bucket_start date,
  is_unknown boolean,
  days integer,
  deployments bigint,
  redeploys bigint,
  firsts bigint,
  unknown_commits bigint,
  failed_attempts bigint,
  failed_changes bigint,
  open_failures bigint,
  rolled_back bigint,
  incidents bigint,
  fixed_forward bigint,
  rework bigint,
  unlinked_incidents bigint,
  days_per_week double precision,
  has_deployed boolean,
  has_ever_deployed boolean,
  has_changes boolean,
  has_incidents boolean,
  lead_p50 double precision,
  lead_p75 double precision,
  lead_p95 double precision,
  changes bigint,
  basis jsonb,
  excluded jsonb,
  truncated_pushes bigint,
  is_lead_exact boolean,
  recovery_p50 double precision,
  recovery_p75 double precision,
  recovery_p95 double precision,
  recovered bigint,
  is_recovery_exact boolean
);

-- type metrics.evidence
create type metrics.evidence as (
  happened_at timestamp with time zone,
  repository text,
  service text,
  kind text,
  external_id text,
  commit_sha text,
  title text,
  value double precision,
  unit text,
  reason text,
  url text,
  detail jsonb,
  page_key text,
  total bigint
);
comment on composite type column metrics.evidence.commit_sha is 'The commit that it is about.';
comment on composite type column metrics.evidence.detail is 'What else the number depends on: an object, its keys told by the function.';
comment on composite type column metrics.evidence.external_id is 'The sender''s id of the fact; the sha of a change.';
comment on composite type column metrics.evidence.happened_at is 'The moment that decides the period to which the row belongs.';
comment on composite type column metrics.evidence.kind is 'Kind of the fact, in the singular: deployment, change, incident, pipeline_run, job, pull_request, test_run, test_case, rule_check, measurement or delivery.';
comment on composite type column metrics.evidence.page_key is 'Key of the row: as page_after it asks for the rows after it.';
comment on composite type column metrics.evidence.reason is 'Why it is left out of the number, or what it is counted as.';
comment on composite type column metrics.evidence.repository is 'Full name of the repository, else its first reference; NULL where it is about none.';
comment on composite type column metrics.evidence.service is 'Name of the service, where the number is about services.';
comment on composite type column metrics.evidence.title is 'What a reader knows it by: a title, a pipeline, a rule, an event.';
comment on composite type column metrics.evidence.total is 'Rows of all pages.';
comment on composite type column metrics.evidence.unit is 'Unit of value: seconds, ratio, minutes, or what was measured in.';
comment on composite type column metrics.evidence.url is 'Where the provider shows it; https, or NULL.';
comment on composite type column metrics.evidence.value is 'Its part in the number; NULL where it has none, and reason says why.';

-- type metrics.evidence_key
create type metrics.evidence_key as (
  happened_at timestamp with time zone,
  repository text,
  kind text,
  external_id text
);

-- type metrics.flaky_job
create type metrics.flaky_job as (
  repository text,
  pipeline text,
  job text,
  commits bigint,
  failures bigint,
  first_at timestamp with time zone,
  last_at timestamp with time zone,
  reason text,
  is_frozen boolean,
  page_key text,
  total bigint
);
comment on composite type column metrics.flaky_job.commits is 'Commits for which it failed and passed within seven days.';
comment on composite type column metrics.flaky_job.failures is 'How often it failed for them.';
comment on composite type column metrics.flaky_job.first_at is 'When the first of these failures was.';
comment on composite type column metrics.flaky_job.is_frozen is 'Whether the period begins before the horizon: jobs of that time are dropped, and what they showed is missing.';
comment on composite type column metrics.flaky_job.job is 'Name of the job, with its matrix.';
comment on composite type column metrics.flaky_job.last_at is 'When the last of these failures was.';
comment on composite type column metrics.flaky_job.page_key is 'Key of the row: as page_after it asks for the rows after it.';
comment on composite type column metrics.flaky_job.pipeline is 'Name of the pipeline.';
comment on composite type column metrics.flaky_job.reason is 'Why there is no flaky job.';
comment on composite type column metrics.flaky_job.repository is 'Full name of the repository, else its first reference; NULL in the one row that says why there is none.';
comment on composite type column metrics.flaky_job.total is 'Rows of all pages.';

-- type metrics.flaky_test
create type metrics.flaky_test as (
  repository text,
  suite text,
  test text,
  commits bigint,
  failures bigint,
  retried bigint,
  first_at timestamp with time zone,
  last_at timestamp with time zone,
  reason text,
  is_frozen boolean,
  page_key text,
  total bigint
);
comment on composite type column metrics.flaky_test.commits is 'Commits for which it failed and passed, or passed only when tried again.';
comment on composite type column metrics.flaky_test.failures is 'How often it failed for a commit for which it also passed.';
comment on composite type column metrics.flaky_test.first_at is 'Start of the first upload that shows it.';
comment on composite type column metrics.flaky_test.is_frozen is 'Whether the period begins before the horizon of test cases: of that time some or all are dropped, and what they showed is missing.';
comment on composite type column metrics.flaky_test.last_at is 'Start of the last upload that shows it.';
comment on composite type column metrics.flaky_test.page_key is 'Key of the row: as page_after it asks for the rows after it.';
comment on composite type column metrics.flaky_test.reason is 'Why there is no flaky test.';
comment on composite type column metrics.flaky_test.repository is 'Full name of the repository, else its first reference; NULL in the one row that says why there is none.';
comment on composite type column metrics.flaky_test.retried is 'How often it passed only when tried again within one report.';
comment on composite type column metrics.flaky_test.suite is 'Name of the suite.';
comment on composite type column metrics.flaky_test.test is 'Name of the test.';
comment on composite type column metrics.flaky_test.total is 'Rows of all pages.';

-- type metrics.health_line
create type metrics.health_line as (
  name text,
  bucket_start date,
  success bigint,
  failure bigint,
  timed_out bigint,
  error bigint,
  cancelled bigint,
  skipped bigint,
  neutral bigint,
  unknown bigint,
  reruns bigint,
  first_decided bigint,
  first_success bigint,
  last_decided bigint,
  last_success bigint,
  durations double precision[],
  queues double precision[],
  measured_durations bigint,
  measured_queues bigint
);

-- type metrics.period
create type metrics.period as (
  generation integer,
  time_zone text,
  since date,
  until date,
  bucket text,
  after jsonb,
  page_size integer
);

-- type metrics.phase_sample
create type metrics.phase_sample as (
  name text,
  bucket_start date,
  part text,
  sample_size bigint,
  percentiles double precision[]
);

-- type metrics.series_point
create type metrics.series_point as (
  bucket_start date,
  name text,
  unit text,
  sample_size bigint,
  min double precision,
  avg double precision,
  p50 double precision,
  p95 double precision,
  last double precision,
  reason text,
  page_key text,
  total bigint
);
comment on composite type column metrics.series_point.avg is 'Their mean.';
comment on composite type column metrics.series_point.bucket_start is 'First day of the bucket in the installation''s time zone; NULL for none.';
comment on composite type column metrics.series_point.last is 'The latest of them.';
comment on composite type column metrics.series_point.min is 'Least of them.';
comment on composite type column metrics.series_point.name is 'The repository, where rows are by repository.';
comment on composite type column metrics.series_point.p50 is 'Their median.';
comment on composite type column metrics.series_point.p95 is 'Their 95th percentile.';
comment on composite type column metrics.series_point.page_key is 'Key of the row: as page_after it asks for the rows after it.';
comment on composite type column metrics.series_point.reason is 'Why there is no value.';
comment on composite type column metrics.series_point.sample_size is 'Values in the bucket.';
comment on composite type column metrics.series_point.total is 'Rows of all pages.';
comment on composite type column metrics.series_point.unit is 'Unit of the values; NULL where they were sent without one. Values of two units are two rows.';

-- type metrics.slow_job
create type metrics.slow_job as (
  repository text,
  pipeline text,
  job text,
  runs bigint,
  minutes double precision,
  duration_p50_seconds double precision,
  duration_p75_seconds double precision,
  duration_p95_seconds double precision,
  reason text,
  is_exact boolean,
  is_frozen boolean,
  page_key text,
  total bigint
);
comment on composite type column metrics.slow_job.duration_p50_seconds is 'Median of their seconds, without the queue.';
comment on composite type column metrics.slow_job.duration_p75_seconds is '75th percentile of their seconds.';
comment on composite type column metrics.slow_job.duration_p95_seconds is '95th percentile of their seconds.';
comment on composite type column metrics.slow_job.is_exact is 'Whether the percentiles are exact; else at most 4.9 % off.';
comment on composite type column metrics.slow_job.is_frozen is 'Whether the period begins before the horizon, where jobs are dropped: of that time only what was counted by week is in it.';
comment on composite type column metrics.slow_job.job is 'Name of the job, with its matrix.';
comment on composite type column metrics.slow_job.minutes is 'Minutes that all of them took together, without the queue.';
comment on composite type column metrics.slow_job.page_key is 'Key of the row: as page_after it asks for the rows after it.';
comment on composite type column metrics.slow_job.pipeline is 'Name of the pipeline.';
comment on composite type column metrics.slow_job.reason is 'Why a number beside it is NULL.';
comment on composite type column metrics.slow_job.repository is 'Full name of the repository, else its first reference; NULL in the one row that says why there is none.';
comment on composite type column metrics.slow_job.runs is 'Finished runs of the job in the period.';
comment on composite type column metrics.slow_job.total is 'Rows of all pages.';

-- type metrics.step_numbers
create type metrics.step_numbers as (
  repository text,
  pipeline text,
  job text,
  step text,
  runs bigint,
  success bigint,
  failure bigint,
  timed_out bigint,
  error bigint,
  cancelled bigint,
  skipped bigint,
  neutral bigint,
  unknown bigint,
  success_rate double precision,
  duration_p50_seconds double precision,
  duration_p75_seconds double precision,
  duration_p95_seconds double precision,
  jobs bigint,
  sampled_jobs bigint,
  reason text,
  is_frozen boolean,
  page_key text,
  total bigint
);
comment on composite type column metrics.step_numbers.cancelled is 'How many were cancelled.';
comment on composite type column metrics.step_numbers.duration_p50_seconds is 'Median of their seconds.';
comment on composite type column metrics.step_numbers.duration_p75_seconds is '75th percentile of their seconds.';
comment on composite type column metrics.step_numbers.duration_p95_seconds is '95th percentile of their seconds.';
comment on composite type column metrics.step_numbers.error is 'How many ended because the machinery failed.';
comment on composite type column metrics.step_numbers.failure is 'How many failed.';
comment on composite type column metrics.step_numbers.is_frozen is 'Whether the period begins before the horizon: jobs of that time are dropped with their steps, and missing.';
comment on composite type column metrics.step_numbers.job is 'Name of the job, with its matrix.';
comment on composite type column metrics.step_numbers.jobs is 'Finished jobs of the selection, whether they tell their steps or not.';
comment on composite type column metrics.step_numbers.neutral is 'How many ended neither well nor badly.';
comment on composite type column metrics.step_numbers.page_key is 'Key of the row: as page_after it asks for the rows after it.';
comment on composite type column metrics.step_numbers.pipeline is 'Name of the pipeline.';
comment on composite type column metrics.step_numbers.reason is 'Why a number beside it is NULL.';
comment on composite type column metrics.step_numbers.repository is 'Full name of the repository, else its first reference; NULL in the one row that says why there is none.';
comment on composite type column metrics.step_numbers.runs is 'Finished runs of the step.';
comment on composite type column metrics.step_numbers.sampled_jobs is 'How many of these jobs were looked at: the latest that tell their steps.';
comment on composite type column metrics.step_numbers.skipped is 'How many were skipped.';
comment on composite type column metrics.step_numbers.step is 'Name of the step.';
comment on composite type column metrics.step_numbers.success is 'How many succeeded.';
comment on composite type column metrics.step_numbers.success_rate is 'Success / (success + failure + timed_out + error), 0 to 1.';
comment on composite type column metrics.step_numbers.timed_out is 'How many took too long.';
comment on composite type column metrics.step_numbers.total is 'Rows of all pages.';
comment on composite type column metrics.step_numbers.unknown is 'How many ended with a word that no mapping knows.';

-- type metrics.test_counts
create type metrics.test_counts as (
  runs bigint,
  passed bigint,
  failed bigint,
  skipped bigint
);

-- type metrics.touched
create type metrics.touched as (
  is_whole boolean,
  pushed_since timestamp with time zone,
  untimed_pushes bigint[],
  shas text[],
  deployed_shas text[],
  pull_request_references bigint[],
  pull_request_numbers integer[],
  deployment_ids text[],
  is_renamed boolean
);

-- table metrics.audit
create table metrics.audit (
  id bigint generated always as identity not null,
  happened_at timestamp with time zone default now() not null,
  actor text not null,
  action text not null,
  before jsonb,
  after jsonb
);
alter table metrics.audit add constraint audit_pkey PRIMARY KEY (id);
alter table metrics.audit enable row level security;
create policy members_read on metrics.audit
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND ( SELECT metrics.is_admin() AS is_admin)));
grant select on table metrics.audit to authenticated;
comment on column metrics.audit.action is 'The function that was called.';
comment on column metrics.audit.actor is 'Who: the user''s id, or the database role.';
comment on column metrics.audit.after is 'What is there now.';
comment on column metrics.audit.before is 'What was there before.';
comment on column metrics.audit.happened_at is 'When.';
comment on column metrics.audit.id is 'Key.';
comment on table metrics.audit is 'One row for each change that a person made; never a secret.';

-- table metrics.bands
create table metrics.bands (
  report_year integer not null,
  metric text not null,
  band text not null,
  rank integer not null,
  at_most double precision,
  below double precision,
  at_least double precision,
  source text not null
);
alter table metrics.bands add constraint band_is_known CHECK ((band = ANY (ARRAY['elite'::text, 'high'::text, 'medium'::text, 'low'::text])));
alter table metrics.bands add constraint bands_pkey PRIMARY KEY (report_year, metric, rank);
alter table metrics.bands enable row level security;
create policy members_read on metrics.bands
  as permissive
  for select
  to authenticated
  using ((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)));
create policy readers_read on metrics.bands
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.bands to authenticated;
grant select on table metrics.bands to metrics_reader;
comment on column metrics.bands.at_least is 'Holds from this value on.';
comment on column metrics.bands.at_most is 'Holds up to and with this value.';
comment on column metrics.bands.band is 'elite, high, medium or low.';
comment on column metrics.bands.below is 'Holds below this value.';
comment on column metrics.bands.metric is 'The number: seconds, a share from 0 to 1, deployment days a week; deployments in 30 days where those say nothing.';
comment on column metrics.bands.rank is 'Order in which bounds are tried.';
comment on column metrics.bands.report_year is 'Year of the report.';
comment on column metrics.bands.source is 'Where it is said.';
comment on table metrics.bands is 'How the reports of DORA put a number into words. The first band, by rank, whose bound holds.';

-- table metrics.bodies
create table metrics.bodies (
  source text not null,
  delivery_id text not null,
  expires_on date not null,
  body bytea not null
) partition by RANGE (expires_on);
alter table metrics.bodies add constraint bodies_pkey PRIMARY KEY (source, delivery_id, expires_on);
alter table metrics.bodies enable row level security;
comment on column metrics.bodies.body is 'The signed bytes themselves, or, where the source had to remove secrets, the body without them.';
comment on column metrics.bodies.delivery_id is 'The delivery''s id.';
comment on column metrics.bodies.expires_on is 'The day from which this row may be dropped: the partition key.';
comment on column metrics.bodies.source is 'The delivery''s source.';
comment on table metrics.bodies is 'Bodies of deliveries, one partition per week of expiry. Read through metrics.read_body alone.';

-- table metrics.bodies_<YYYYMMDD>
create table metrics.bodies_<YYYYMMDD> partition of metrics.bodies FOR VALUES FROM (<that Monday>) TO (<the Monday after>) (
  source text not null,
  delivery_id text not null,
  expires_on date not null,
  body bytea not null
);
alter table metrics.bodies_<YYYYMMDD> add constraint bodies_<YYYYMMDD>_pkey PRIMARY KEY (source, delivery_id, expires_on);
alter table metrics.bodies_<YYYYMMDD> enable row level security;
comment on table metrics.bodies_<YYYYMMDD> is 'Bodies that expire in the week of this Monday.';

-- table metrics.bodies_default
create table metrics.bodies_default partition of metrics.bodies DEFAULT (
  source text not null,
  delivery_id text not null,
  expires_on date not null,
  body bytea not null
);
alter table metrics.bodies_default add constraint bodies_default_pkey PRIMARY KEY (source, delivery_id, expires_on);
alter table metrics.bodies_default enable row level security;
comment on column metrics.bodies_default.body is 'The body.';
comment on column metrics.bodies_default.delivery_id is 'The delivery''s id.';
comment on column metrics.bodies_default.expires_on is 'The day from which this row may be dropped.';
comment on column metrics.bodies_default.source is 'The delivery''s source.';
comment on table metrics.bodies_default is 'Bodies whose week has no partition yet.';

-- table metrics.branch_moves
create table metrics.branch_moves (
  generation integer not null,
  repository_id bigint not null,
  line integer not null,
  ordinal integer not null,
  push_id bigint not null,
  pushed_at timestamp with time zone,
  is_forced boolean not null,
  is_truncated boolean not null
);
alter table metrics.branch_moves add constraint branch_moves_pkey PRIMARY KEY (generation, repository_id, line, ordinal);
CREATE INDEX branch_moves_first_idx ON metrics.branch_moves USING btree (generation, repository_id) WHERE (ordinal = 1);
CREATE INDEX branch_moves_push_id_idx ON metrics.branch_moves USING btree (push_id);
CREATE INDEX branch_moves_truncated_idx ON metrics.branch_moves USING btree (generation, repository_id, pushed_at) WHERE is_truncated;
alter table metrics.branch_moves enable row level security;
create policy members_read on metrics.branch_moves
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (repository_id IN ( SELECT metrics.readable_repositories() AS readable_repositories))));
create policy readers_read on metrics.branch_moves
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.branch_moves to authenticated;
grant select on table metrics.branch_moves to metrics_reader;
comment on column metrics.branch_moves.generation is 'The generation that it belongs to.';
comment on column metrics.branch_moves.is_forced is 'Whether it rewrote history.';
comment on column metrics.branch_moves.is_truncated is 'Whether the provider listed only some of its commits.';
comment on column metrics.branch_moves.line is 'Moves of one line have an order: 0 is that of all whose time is known, with what hangs on it.';
comment on column metrics.branch_moves.ordinal is 'Place in the line.';
comment on column metrics.branch_moves.push_id is 'The push, which says from which commit to which it moved the branch.';
comment on column metrics.branch_moves.pushed_at is 'When, where the provider says.';
comment on column metrics.branch_moves.repository_id is 'Repository.';
comment on table metrics.branch_moves is 'Derived: the moves of a default branch in their order. The order between lines is unknown.';

-- table metrics.changes
create table metrics.changes (
  generation integer not null,
  repository_id bigint not null,
  service_id bigint not null,
  sha text not null,
  line integer not null,
  "position" bigint not null,
  is_listed boolean not null,
  gone_position bigint,
  gone_reason text,
  reference_id bigint,
  started_at timestamp with time zone,
  basis text,
  is_bot boolean default false not null,
  is_merge_commit boolean default false not null,
  is_hotfix boolean default false not null,
  reverts text[],
  pull_request_reference_id bigint,
  pull_request_number integer,
  pull_request_is_bot boolean,
  merged_at timestamp with time zone,
  shipped_by bigint,
  shipped_at timestamp with time zone,
  is_first_shipped boolean default false not null,
  is_order_unknown boolean default false not null,
  exclusion text generated always as (
CASE
    WHEN ((NOT is_listed) OR (service_id = 0)) THEN 'no_change'::text
    WHEN is_merge_commit THEN 'merge_commit'::text
    WHEN ((shipped_at IS NULL) AND (gone_position IS NOT NULL)) THEN gone_reason
    WHEN ((shipped_at IS NULL) AND is_order_unknown) THEN 'order_unknown'::text
    WHEN (shipped_at IS NULL) THEN 'waiting'::text
    WHEN is_first_shipped THEN 'first_deployment'::text
    WHEN (started_at IS NULL) THEN 'start_unknown'::text
    WHEN (started_at > shipped_at) THEN 'start_after_shipping'::text
    ELSE NULL::text
END) stored,
  lead_seconds double precision generated always as (
CASE
    WHEN (shipped_at >= started_at) THEN EXTRACT(epoch FROM (shipped_at - started_at))
    ELSE NULL::numeric
END) stored
);
alter table metrics.changes add constraint basis_is_known CHECK ((basis = ANY (ARRAY['commit'::text, 'first_commit'::text, 'pull_request_opened'::text])));
alter table metrics.changes add constraint changes_pkey PRIMARY KEY (generation, repository_id, line, "position", service_id);
alter table metrics.changes add constraint gone_reason_is_known CHECK ((gone_reason = ANY (ARRAY['taken_off'::text, 'rewritten'::text])));
CREATE INDEX changes_gone_idx ON metrics.changes USING btree (generation, repository_id, line, gone_position, "position") WHERE (gone_position IS NOT NULL);
CREATE INDEX changes_mending_idx ON metrics.changes USING btree (shipped_by) WHERE ((shipped_by IS NOT NULL) AND ((reverts IS NOT NULL) OR is_hotfix));
CREATE INDEX changes_merged_at_idx ON metrics.changes USING btree (generation, repository_id, merged_at) WHERE (merged_at IS NOT NULL);
CREATE INDEX changes_pull_request_idx ON metrics.changes USING btree (pull_request_reference_id, pull_request_number) WHERE (pull_request_number IS NOT NULL);
CREATE INDEX changes_sha_idx ON metrics.changes USING hash (sha);
CREATE INDEX changes_shipped_at_idx ON metrics.changes USING btree (generation, service_id, shipped_at);
CREATE INDEX changes_unshipped_idx ON metrics.changes USING btree (generation, service_id, started_at) WHERE (exclusion = ANY (ARRAY['rewritten'::text, 'order_unknown'::text]));
CREATE TRIGGER count_deleted AFTER DELETE ON metrics.changes REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION metrics.changes_changed();
CREATE TRIGGER count_deploys_of_deleted AFTER DELETE ON metrics.changes REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION metrics.count_changed_deploys();
CREATE TRIGGER count_deploys_of_inserted AFTER INSERT ON metrics.changes REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION metrics.count_changed_deploys();
CREATE TRIGGER count_deploys_of_updated AFTER UPDATE ON metrics.changes REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION metrics.count_changed_deploys();
CREATE TRIGGER count_inserted AFTER INSERT ON metrics.changes REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION metrics.changes_changed();
CREATE TRIGGER count_updated AFTER UPDATE ON metrics.changes REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION metrics.changes_changed();
alter table metrics.changes enable row level security;
create policy members_read on metrics.changes
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (repository_id IN ( SELECT metrics.readable_repositories() AS readable_repositories))));
create policy readers_read on metrics.changes
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.changes to authenticated;
grant select on table metrics.changes to metrics_reader;
comment on column metrics.changes."position" is 'Place in the line: ordinal of the move times 2^20, and the place within it.';
comment on column metrics.changes.basis is 'commit: when it was authored; first_commit: of the pull request that was squashed into it; pull_request_opened: where that is unknown.';
comment on column metrics.changes.exclusion is 'Why it counts in no lead time; NULL when it counts.';
comment on column metrics.changes.generation is 'The generation that it belongs to.';
comment on column metrics.changes.gone_position is 'Place of the forced push that took it off the branch.';
comment on column metrics.changes.gone_reason is 'taken_off: the branch went back to an earlier commit. rewritten: to one that was not on it.';
comment on column metrics.changes.is_bot is 'Whether a bot made it.';
comment on column metrics.changes.is_first_shipped is 'Whether that is the first of the service.';
comment on column metrics.changes.is_hotfix is 'Whether its pull request has a label of a hotfix.';
comment on column metrics.changes.is_listed is 'False where a move ends on a commit that it did not list.';
comment on column metrics.changes.is_merge_commit is 'Whether it only joins commits that are on the branch themselves: no change, followed for its pull request.';
comment on column metrics.changes.is_order_unknown is 'Whether something was deployed since that may or may not contain it.';
comment on column metrics.changes.lead_seconds is 'Seconds from its start to its shipping.';
comment on column metrics.changes.line is 'The line of moves that it stands on.';
comment on column metrics.changes.merged_at is 'When that pull request was merged.';
comment on column metrics.changes.pull_request_is_bot is 'Whether a bot is that pull request''s author.';
comment on column metrics.changes.pull_request_number is 'Number of that pull request.';
comment on column metrics.changes.pull_request_reference_id is 'Repository reference of the pull request that was merged as this commit.';
comment on column metrics.changes.reference_id is 'Repository reference that told of the commit.';
comment on column metrics.changes.repository_id is 'Repository.';
comment on column metrics.changes.reverts is 'Commits that it says it reverts.';
comment on column metrics.changes.service_id is 'Service; 0 for none.';
comment on column metrics.changes.sha is 'The commit.';
comment on column metrics.changes.shipped_at is 'When that finished.';
comment on column metrics.changes.shipped_by is 'The first successful production deployment of the service that contains it.';
comment on column metrics.changes.started_at is 'When the change began, by its basis.';
comment on table metrics.changes is 'Derived: a commit of a default branch as a change of a service, and the deployment that shipped it first. Service 0 holds the place of commits that change no service.';

-- table metrics.commits
create table metrics.commits (
  reference_id bigint not null,
  sha text not null,
  authored_at timestamp with time zone,
  committed_at timestamp with time zone,
  author text,
  author_is_bot boolean,
  title text,
  reverts text[],
  changed_paths text[],
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.commits add constraint commits_pkey PRIMARY KEY (reference_id, sha);
alter table metrics.commits enable row level security;
create policy members_read on metrics.commits
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.commits
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.commits to authenticated;
grant select on table metrics.commits to metrics_reader;
comment on column metrics.commits.author is 'Login of the author, else the name; never an address. Merge: latest.';
comment on column metrics.commits.author_is_bot is 'Whether the author is a bot. Merge: latest, with author.';
comment on column metrics.commits.authored_at is 'When the change was written. Merge: earliest.';
comment on column metrics.commits.changed_paths is 'Paths added, changed or removed; NULL where the push does not list them. Merge: latest.';
comment on column metrics.commits.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.commits.committed_at is 'When this commit was made of it. Merge: earliest.';
comment on column metrics.commits.reference_id is 'Repository reference, as the sender named it.';
comment on column metrics.commits.reverts is 'Commits that it says it reverts. Merge: latest.';
comment on column metrics.commits.sha is 'The commit''s id.';
comment on column metrics.commits.title is 'First line of the message. Merge: latest.';
comment on column metrics.commits.updated_at is 'When this row last changed here. Never part of a fact.';
comment on table metrics.commits is 'Commits. Clocks compare by time.';

-- table metrics.deliveries
create table metrics.deliveries (
  source text not null,
  delivery_id text not null,
  event text,
  received_at timestamp with time zone default now() not null,
  result text not null,
  reason text,
  size integer,
  sha256 bytea not null,
  content_type text,
  fact_counts jsonb default '{}'::jsonb not null,
  notes text[] default '{}'::text[] not null,
  reference_ids bigint[] default '{}'::bigint[] not null,
  body_expires_on date,
  identity_id bigint
);
alter table metrics.deliveries add constraint deliveries_pkey PRIMARY KEY (source, delivery_id);
alter table metrics.deliveries add constraint delivery_id_is_short CHECK (((length(delivery_id) >= 1) AND (length(delivery_id) <= 300)));
alter table metrics.deliveries add constraint reason_stands_beside_what_was_not_stored CHECK (((result = 'stored'::text) = (reason IS NULL)));
alter table metrics.deliveries add constraint result_is_known CHECK ((result = ANY (ARRAY['stored'::text, 'ignored'::text, 'quarantined'::text])));
alter table metrics.deliveries add constraint sha256_is_32_bytes CHECK ((octet_length(sha256) = 32));
alter table metrics.deliveries add constraint source_is_a_source_name CHECK (((source ~ '^[a-z0-9]+(-[a-z0-9]+)*$'::text) AND (length(source) <= 100)));
CREATE INDEX deliveries_identity_id_received_at_idx ON metrics.deliveries USING btree (identity_id, received_at) WHERE (identity_id IS NOT NULL);
CREATE INDEX deliveries_not_stored_idx ON metrics.deliveries USING btree (received_at) WHERE (result <> 'stored'::text);
CREATE INDEX deliveries_source_received_at_idx ON metrics.deliveries USING btree (source, received_at);
alter table metrics.deliveries enable row level security;
create policy members_read on metrics.deliveries
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (source >= ( SELECT metrics.first_readable_text() AS first_readable_text)) AND ( SELECT metrics.is_admin() AS is_admin)));
create policy readers_read on metrics.deliveries
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.deliveries to authenticated;
grant select on table metrics.deliveries to metrics_reader;
comment on column metrics.deliveries.body_expires_on is 'The day on which its body may be dropped; NULL when none was kept.';
comment on column metrics.deliveries.content_type is 'Media type of the body as it is kept.';
comment on column metrics.deliveries.delivery_id is 'The sender''s id of the delivery. A conflict is kept under <id>#<first 12 hex of its SHA-256>.';
comment on column metrics.deliveries.event is 'The provider''s event and action, as event or event.action.';
comment on column metrics.deliveries.fact_counts is 'Observations by fact kind.';
comment on column metrics.deliveries.identity_id is 'The identity that reported it; NULL for a webhook.';
comment on column metrics.deliveries.notes is 'What normalisation changed in the facts: cut texts, replaced characters, numbers out of range.';
comment on column metrics.deliveries.reason is 'Why it was ignored or quarantined; NULL when stored.';
comment on column metrics.deliveries.received_at is 'When it was committed here first. Never part of a fact.';
comment on column metrics.deliveries.reference_ids is 'Repository references that its facts name, for erasing a repository.';
comment on column metrics.deliveries.result is 'stored, ignored or quarantined.';
comment on column metrics.deliveries.sha256 is 'SHA-256 of the bytes that were signed.';
comment on column metrics.deliveries.size is 'Bytes that were signed.';
comment on column metrics.deliveries.source is 'The configured sender.';
comment on table metrics.deliveries is 'One authenticated HTTP request each, with what became of it.';

-- table metrics.deployment_failures
create table metrics.deployment_failures (
  id bigint generated always as identity not null,
  generation integer not null,
  repository_id bigint,
  service_id bigint,
  failed_id bigint,
  cause text not null,
  mended_by bigint,
  incident_source text,
  incident_external_id text,
  at timestamp with time zone not null,
  ended_at timestamp with time zone
);
alter table metrics.deployment_failures add constraint an_incident_or_a_deployment_is_the_cause CHECK ((((cause = 'incident'::text) = ((incident_source IS NOT NULL) AND (incident_external_id IS NOT NULL))) AND ((cause = 'incident'::text) = (mended_by IS NULL))));
alter table metrics.deployment_failures add constraint cause_is_known CHECK ((cause = ANY (ARRAY['rolled_back'::text, 'incident'::text, 'fixed_forward'::text])));
alter table metrics.deployment_failures add constraint deployment_failure_is_unique UNIQUE NULLS NOT DISTINCT (generation, service_id, failed_id, cause, mended_by, incident_source, incident_external_id);
alter table metrics.deployment_failures add constraint deployment_failures_pkey PRIMARY KEY (id);
CREATE INDEX deployment_failures_at_idx ON metrics.deployment_failures USING btree (generation, service_id, at);
CREATE INDEX deployment_failures_failed_id_idx ON metrics.deployment_failures USING btree (failed_id);
CREATE INDEX deployment_failures_incident_idx ON metrics.deployment_failures USING btree (generation, incident_source, incident_external_id) WHERE (cause = 'incident'::text);
CREATE INDEX deployment_failures_mended_by_idx ON metrics.deployment_failures USING btree (mended_by);
CREATE INDEX deployment_failures_unlinked_idx ON metrics.deployment_failures USING btree (generation, at) WHERE (failed_id IS NULL);
alter table metrics.deployment_failures enable row level security;
create policy members_read on metrics.deployment_failures
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND ((repository_id IN ( SELECT metrics.readable_repositories() AS readable_repositories)) OR ( SELECT metrics.is_admin() AS is_admin))));
create policy readers_read on metrics.deployment_failures
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.deployment_failures to authenticated;
grant select on table metrics.deployment_failures to metrics_reader;
comment on column metrics.deployment_failures.at is 'When that deployment was done, or the incident was opened.';
comment on column metrics.deployment_failures.cause is 'rolled_back, incident or fixed_forward.';
comment on column metrics.deployment_failures.ended_at is 'When the failure ended by it; NULL while an incident lasts.';
comment on column metrics.deployment_failures.failed_id is 'The failed change; NULL for an incident that belongs to no deployment.';
comment on column metrics.deployment_failures.generation is 'The generation that it belongs to.';
comment on column metrics.deployment_failures.id is 'Key.';
comment on column metrics.deployment_failures.incident_external_id is 'The sender''s id of the incident.';
comment on column metrics.deployment_failures.incident_source is 'Source of the incident.';
comment on column metrics.deployment_failures.mended_by is 'The deployment that rolled it back or fixed it.';
comment on column metrics.deployment_failures.repository_id is 'Repository of the service, or that the incident is about.';
comment on column metrics.deployment_failures.service_id is 'Service; NULL for an incident that is about none.';
comment on table metrics.deployment_failures is 'Derived: why a deployment is a failed change, once for each cause; and incidents that belong to none.';

-- table metrics.deployments
create table metrics.deployments (
  reference_id bigint not null,
  external_id text not null,
  name text,
  environment text,
  environment_tier text,
  commit_sha text,
  ref text,
  status text,
  outcome text,
  provider_outcome text,
  created_at timestamp with time zone,
  started_at timestamp with time zone,
  finished_at timestamp with time zone,
  queue_seconds double precision generated always as (
CASE
    WHEN (started_at >= created_at) THEN EXTRACT(epoch FROM (started_at - created_at))
    ELSE NULL::numeric
END) stored,
  duration_seconds double precision generated always as (
CASE
    WHEN (finished_at >= started_at) THEN EXTRACT(epoch FROM (finished_at - started_at))
    ELSE NULL::numeric
END) stored,
  actor text,
  actor_is_bot boolean,
  url text,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.deployments add constraint deployments_pkey PRIMARY KEY (reference_id, external_id);
alter table metrics.deployments add constraint environment_tier_is_known CHECK ((environment_tier = ANY (ARRAY['production'::text, 'staging'::text, 'development'::text, 'other'::text])));
alter table metrics.deployments add constraint finished_has_an_outcome CHECK (((status IS DISTINCT FROM 'finished'::text) OR (outcome IS NOT NULL)));
alter table metrics.deployments add constraint outcome_is_known CHECK ((outcome = ANY (ARRAY['success'::text, 'failure'::text, 'timed_out'::text, 'error'::text, 'cancelled'::text, 'skipped'::text, 'neutral'::text, 'unknown'::text])));
alter table metrics.deployments add constraint outcome_waits_for_the_end CHECK (((status = 'finished'::text) OR ((outcome IS NULL) AND (finished_at IS NULL))));
alter table metrics.deployments add constraint status_is_known CHECK ((status = ANY (ARRAY['queued'::text, 'running'::text, 'finished'::text])));
CREATE INDEX deployments_commit_sha_idx ON metrics.deployments USING btree (reference_id, commit_sha);
CREATE INDEX deployments_unknown_outcome_idx ON metrics.deployments USING btree (reference_id) WHERE (outcome = 'unknown'::text);
alter table metrics.deployments enable row level security;
create policy members_read on metrics.deployments
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.deployments
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.deployments to authenticated;
grant select on table metrics.deployments to metrics_reader;
comment on column metrics.deployments.actor is 'Login of who deployed. Merge: latest.';
comment on column metrics.deployments.actor_is_bot is 'Whether the actor is a bot. Merge: latest, with actor.';
comment on column metrics.deployments.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.deployments.commit_sha is 'Commit that was deployed. Merge: latest.';
comment on column metrics.deployments.created_at is 'When it was asked for. Merge: earliest.';
comment on column metrics.deployments.duration_seconds is 'Seconds from started to finished; NULL when either is missing or the clock runs backwards.';
comment on column metrics.deployments.environment is 'Name of the environment. Merge: latest.';
comment on column metrics.deployments.environment_tier is 'production, staging, development or other, where the sender says. Merge: latest.';
comment on column metrics.deployments.external_id is 'The sender''s id of the deployment.';
comment on column metrics.deployments.finished_at is 'When it ended. Merge: latest, with status.';
comment on column metrics.deployments.name is 'What was deployed or how, in the sender''s word. Merge: latest.';
comment on column metrics.deployments.outcome is 'How it ended; NULL until finished. Merge: latest, with status.';
comment on column metrics.deployments.provider_outcome is 'The provider''s own word for it. Merge: latest, with status.';
comment on column metrics.deployments.queue_seconds is 'Seconds from created to started; NULL when either is missing or the clock runs backwards.';
comment on column metrics.deployments.ref is 'Branch, tag or commit that was asked for. Merge: latest.';
comment on column metrics.deployments.reference_id is 'Repository reference, as the sender named it.';
comment on column metrics.deployments.started_at is 'When it started. Merge: earliest.';
comment on column metrics.deployments.status is 'queued, running or finished. Merge: latest.';
comment on column metrics.deployments.updated_at is 'When this row last changed here. Never part of a fact.';
comment on column metrics.deployments.url is 'Link to the provider. Merge: latest.';
comment on table metrics.deployments is 'Attempts to put a commit into an environment. Clocks compare by rank of the state, then time, then the provider''s id of the status.';

-- table metrics.environment_rules
create table metrics.environment_rules (
  generation integer not null,
  "position" integer not null,
  pattern text not null,
  tier text not null
);
alter table metrics.environment_rules add constraint environment_rule_is_unique UNIQUE (generation, pattern);
alter table metrics.environment_rules add constraint environment_rules_pkey PRIMARY KEY (generation, "position");
alter table metrics.environment_rules add constraint tier_is_known CHECK ((tier = ANY (ARRAY['production'::text, 'staging'::text, 'development'::text, 'other'::text])));
alter table metrics.environment_rules enable row level security;
create policy members_read on metrics.environment_rules
  as permissive
  for select
  to authenticated
  using ((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)));
create policy readers_read on metrics.environment_rules
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.environment_rules to authenticated;
grant select on table metrics.environment_rules to metrics_reader;
comment on column metrics.environment_rules."position" is 'Order of the rules.';
comment on column metrics.environment_rules.generation is 'The generation that it belongs to.';
comment on column metrics.environment_rules.pattern is 'Regular expression for the environment''s name.';
comment on column metrics.environment_rules.tier is 'production, staging, development or other.';
comment on table metrics.environment_rules is 'Which tier an environment is of, by its name. The first pattern that matches counts, before what the sender says.';

-- table metrics.environments
create table metrics.environments (
  generation integer not null,
  name text not null,
  ruled_tier text,
  usual_tier text not null
);
alter table metrics.environments add constraint environments_pkey PRIMARY KEY (generation, name);
alter table metrics.environments enable row level security;
comment on column metrics.environments.generation is 'The generation that it belongs to.';
comment on column metrics.environments.name is 'Name of the environment.';
comment on column metrics.environments.ruled_tier is 'Tier by an admin''s rule; NULL where none matches.';
comment on column metrics.environments.usual_tier is 'Tier by what such a name usually means.';
comment on table metrics.environments is 'Names of environments that were seen, matched once with every pattern.';

-- table metrics.frozen_weeks
create table metrics.frozen_weeks (
  fact text not null,
  week date not null,
  time_zone text not null
);
alter table metrics.frozen_weeks add constraint frozen_week_is_a_monday CHECK ((EXTRACT(isodow FROM week) = (1)::numeric));
alter table metrics.frozen_weeks add constraint frozen_weeks_pkey PRIMARY KEY (fact, week);
alter table metrics.frozen_weeks enable row level security;
create policy members_read on metrics.frozen_weeks
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND ( SELECT metrics.is_admin() AS is_admin)));
create policy readers_read on metrics.frozen_weeks
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.frozen_weeks to authenticated;
grant select on table metrics.frozen_weeks to metrics_reader;
comment on column metrics.frozen_weeks.fact is 'Table of the facts.';
comment on column metrics.frozen_weeks.time_zone is 'IANA name of the zone in which the week was cut.';
comment on column metrics.frozen_weeks.week is 'Monday of the week.';
comment on table metrics.frozen_weeks is 'Weeks before the horizon: what was counted of them is never counted again. For admins, because a week stands here whichever repository it is of.';

-- table metrics.generations
create table metrics.generations (
  id integer generated always as identity not null,
  state text not null,
  time_zone text not null,
  counted_reference bigint default 0 not null,
  counted_up_to timestamp with time zone default '-infinity'::timestamp with time zone not null,
  repositories_up_to bigint default 0 not null,
  incident_window_seconds integer default 86400 not null,
  rollout_seconds integer default 3600 not null,
  hotfix_labels text[] default ARRAY['hotfix'::text] not null,
  created_at timestamp with time zone default now() not null,
  retired_at timestamp with time zone
);
alter table metrics.generations add constraint generation_state_is_known CHECK ((state = ANY (ARRAY['building'::text, 'current'::text, 'retired'::text])));
alter table metrics.generations add constraint generations_pkey PRIMARY KEY (id);
CREATE UNIQUE INDEX generations_one_building_idx ON metrics.generations USING btree (state) WHERE (state = 'building'::text);
CREATE UNIQUE INDEX generations_one_current_idx ON metrics.generations USING btree (state) WHERE (state = 'current'::text);
alter table metrics.generations enable row level security;
create policy members_read on metrics.generations
  as permissive
  for select
  to authenticated
  using ((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)));
create policy readers_read on metrics.generations
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.generations to authenticated;
grant select on table metrics.generations to metrics_reader;
comment on column metrics.generations.counted_reference is 'While it is built: facts of references below this are counted in its aggregates; of this one those up to counted_up_to.';
comment on column metrics.generations.counted_up_to is 'While it is built: up to when facts of that reference are counted, this moment with them.';
comment on column metrics.generations.created_at is 'When it was begun.';
comment on column metrics.generations.hotfix_labels is 'The setting when it was begun.';
comment on column metrics.generations.id is 'Key.';
comment on column metrics.generations.incident_window_seconds is 'The setting when it was begun: one generation is never derived by two values.';
comment on column metrics.generations.repositories_up_to is 'While it is built: repositories up to this id are derived.';
comment on column metrics.generations.retired_at is 'When another became the current one. It is deleted a while later, so that who is reading it can end.';
comment on column metrics.generations.rollout_seconds is 'The setting when it was begun.';
comment on column metrics.generations.state is 'building, current or retired. A retired one is deleted by metrics.maintain.';
comment on column metrics.generations.time_zone is 'IANA name of the zone in which its days and ISO weeks are cut.';
comment on table metrics.generations is 'One set of rules and a time zone each, with all that is derived from facts by them. Numbers are read from the current one.';

-- table metrics.horizons
create table metrics.horizons (
  fact text not null,
  before date
);
alter table metrics.horizons add constraint horizon_is_a_monday CHECK ((EXTRACT(isodow FROM before) = (1)::numeric));
alter table metrics.horizons add constraint horizons_pkey PRIMARY KEY (fact);
alter table metrics.horizons enable row level security;
create policy members_read on metrics.horizons
  as permissive
  for select
  to authenticated
  using ((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)));
create policy readers_read on metrics.horizons
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.horizons to authenticated;
grant select on table metrics.horizons to metrics_reader;
comment on column metrics.horizons.before is 'Facts of weeks before this Monday may be gone, and what was counted of them stays as it is. NULL while nothing was dropped.';
comment on column metrics.horizons.fact is 'Table of the facts.';
comment on table metrics.horizons is 'How far back the facts of a kind go: it moves by whole ISO weeks, and never back.';

-- table metrics.identities
create table metrics.identities (
  id bigint generated always as identity not null,
  name text not null,
  kind text not null,
  provider text,
  issuer text,
  audience text,
  claims jsonb default '{}'::jsonb not null,
  token_sha256 bytea,
  sources text[] not null,
  repositories text[],
  fact_kinds text[] default ARRAY['test_runs'::text, 'test_cases'::text, 'rule_checks'::text, 'measurements'::text] not null,
  calls_per_minute integer default 60 not null,
  created_at timestamp with time zone default now() not null,
  expires_at timestamp with time zone,
  revoked_at timestamp with time zone
);
alter table metrics.identities add constraint audience_is_not_empty CHECK ((audience <> ''::text));
alter table metrics.identities add constraint calls_per_minute_is_positive CHECK ((calls_per_minute > 0));
alter table metrics.identities add constraint claims_are_an_object CHECK ((jsonb_typeof(claims) = 'object'::text));
alter table metrics.identities add constraint claims_are_texts_with_a_star_only_at_the_end CHECK ((NOT jsonb_path_exists(claims, 'strict $.*?(((@.type() != "string" || @ == "") || @ == "*") || @ like_regex "[*].")'::jsonpath)));
alter table metrics.identities add constraint claims_name_their_owner_by_id CHECK (
CASE provider
    WHEN 'github'::text THEN (claims ?| ARRAY['repository_id'::text, 'repository_owner_id'::text])
    WHEN 'gitlab'::text THEN (claims ?| ARRAY['project_id'::text, 'namespace_id'::text])
    WHEN 'buildkite'::text THEN (claims ?| ARRAY['organization_id'::text, 'organization_slug'::text, 'pipeline_id'::text])
    WHEN 'circleci'::text THEN true
    ELSE NULL::boolean
END);
alter table metrics.identities add constraint fact_kinds_are_known CHECK (((cardinality(fact_kinds) > 0) AND (array_position(fact_kinds, NULL::text) IS NULL) AND (fact_kinds <@ ARRAY['repositories'::text, 'pipeline_runs'::text, 'jobs'::text, 'pull_requests'::text, 'reviews'::text, 'pushes'::text, 'commits'::text, 'deployments'::text, 'releases'::text, 'incidents'::text, 'test_runs'::text, 'test_cases'::text, 'rule_checks'::text, 'measurements'::text])));
alter table metrics.identities add constraint identities_pkey PRIMARY KEY (id);
alter table metrics.identities add constraint identity_name_is_not_empty CHECK (((btrim(name) <> ''::text) AND (length(name) <= 200)));
alter table metrics.identities add constraint ids_in_claims_are_exact CHECK ((NOT jsonb_path_exists(claims, '$.keyvalue()?(@."key" like_regex "(_id|_slug|/project-id)$" && @."value" like_regex "[*]$")'::jsonpath)));
alter table metrics.identities add constraint issuer_is_https_or_on_this_machine CHECK (((issuer ~ '^https://[^/?#@[:space:]]+(/[^?#[:space:]]*)?$'::text) OR (issuer ~ '^http://(127[.]0[.]0[.]1|\[::1\]|localhost)(:[0-9]+)?(/[^?#[:space:]]*)?$'::text)));
alter table metrics.identities add constraint kind_is_known CHECK ((kind = ANY (ARRAY['oidc'::text, 'token'::text])));
alter table metrics.identities add constraint more_than_reports_needs_a_ref_or_an_environment CHECK (((kind <> 'oidc'::text) OR (fact_kinds <@ ARRAY['test_runs'::text, 'test_cases'::text, 'rule_checks'::text, 'measurements'::text]) OR (
CASE provider
    WHEN 'github'::text THEN num_nonnulls("substring"((claims ->> 'ref'::text), '^refs/(?:heads|tags)/[^*]'::text), "substring"((claims ->> 'environment'::text), '[^*]$'::text))
    WHEN 'gitlab'::text THEN num_nonnulls("substring"((claims ->> 'ref_path'::text), '^refs/(?:heads|tags)/[^*]'::text), "substring"((claims ->> 'ref'::text), '[^*]$'::text), "substring"((claims ->> 'environment'::text), '[^*]$'::text))
    WHEN 'circleci'::text THEN num_nonnulls("substring"((claims ->> 'oidc.circleci.com/vcs-ref'::text), '^refs/(?:heads|tags)/[^*]'::text))
    WHEN 'buildkite'::text THEN num_nonnulls("substring"((claims ->> 'build_branch'::text), '^[^*]'::text))
    ELSE 0
END > 0)));
alter table metrics.identities add constraint oidc_has_a_provider_an_issuer_and_claims CHECK (((kind <> 'oidc'::text) OR ((num_nulls(provider, issuer) = 0) AND (claims <> '{}'::jsonb) AND (token_sha256 IS NULL))));
alter table metrics.identities add constraint provider_is_known CHECK ((provider = ANY (ARRAY['github'::text, 'gitlab'::text, 'circleci'::text, 'buildkite'::text])));
alter table metrics.identities add constraint repositories_are_references CHECK (((cardinality(repositories) > 0) AND (NOT jsonb_path_exists(to_jsonb(repositories), '$[*]?(@.type() != "string" || !(@ like_regex "^([a-z0-9]+(-[a-z0-9]+)*:[^[:cntrl:]]+|//[^[:cntrl:][:space:][:upper:]]+)$"))'::jsonpath))));
alter table metrics.identities add constraint sources_are_source_names CHECK (((cardinality(sources) > 0) AND (NOT jsonb_path_exists(to_jsonb(sources), '$[*]?(@.type() != "string" || !(@ like_regex "^[a-z0-9]+(-[a-z0-9]+)*$"))'::jsonpath))));
alter table metrics.identities add constraint token_has_its_hash_and_nothing_of_an_issuer CHECK (((kind <> 'token'::text) OR ((octet_length(token_sha256) = 32) AND (num_nonnulls(provider, issuer, audience) = 0) AND (claims = '{}'::jsonb))));
alter table metrics.identities add constraint tokens_of_buildkite_name_no_repository CHECK (((provider <> 'buildkite'::text) OR (repositories IS NOT NULL)));
CREATE UNIQUE INDEX identities_name_idx ON metrics.identities USING btree (name) WHERE (revoked_at IS NULL);
alter table metrics.identities enable row level security;
comment on column metrics.identities.audience is 'Audience that the token must name; NULL means the function''s own URL.';
comment on column metrics.identities.calls_per_minute is 'Deliveries that it may commit within 60 seconds.';
comment on column metrics.identities.claims is 'Claims that must match: exact, or with a trailing *.';
comment on column metrics.identities.created_at is 'When it was made.';
comment on column metrics.identities.expires_at is 'When it ends by itself.';
comment on column metrics.identities.fact_kinds is 'Fact kinds that it may tell.';
comment on column metrics.identities.id is 'Key.';
comment on column metrics.identities.issuer is 'Exact issuer of OIDC tokens.';
comment on column metrics.identities.kind is 'oidc or token.';
comment on column metrics.identities.name is 'Name, for people. Unique among what is not revoked.';
comment on column metrics.identities.provider is 'Whose claims the tokens of the issuer carry: github, gitlab, circleci or buildkite; NULL for a token.';
comment on column metrics.identities.repositories is 'Repository references that it may tell about. NULL means those of the source for a token, and the one in its claims for OIDC.';
comment on column metrics.identities.revoked_at is 'When it was revoked.';
comment on column metrics.identities.sources is 'Sources that it may report to.';
comment on column metrics.identities.token_sha256 is 'SHA-256 of the token; the token itself is never stored.';
comment on table metrics.identities is 'Machines that may report: OIDC issuers with the claims that must match, and tokens. Never deleted, so that deliveries can be traced.';

-- table metrics.incidents
create table metrics.incidents (
  source text not null,
  external_id text not null,
  reference_id bigint,
  service text,
  title text,
  severity text,
  status text,
  opened_at timestamp with time zone,
  acknowledged_at timestamp with time zone,
  resolved_at timestamp with time zone,
  is_withdrawn boolean,
  deployment_external_id text,
  commit_sha text,
  url text,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.incidents add constraint incidents_pkey PRIMARY KEY (source, external_id);
alter table metrics.incidents add constraint only_a_resolved_incident_has_an_end CHECK (((status = 'resolved'::text) OR (resolved_at IS NULL)));
alter table metrics.incidents add constraint status_is_known CHECK ((status = ANY (ARRAY['open'::text, 'acknowledged'::text, 'resolved'::text])));
CREATE INDEX incidents_deployment_idx ON metrics.incidents USING btree (reference_id, deployment_external_id) WHERE (deployment_external_id IS NOT NULL);
CREATE INDEX incidents_opened_at_idx ON metrics.incidents USING btree (reference_id, opened_at);
CREATE INDEX incidents_reference_id_idx ON metrics.incidents USING btree (reference_id);
CREATE INDEX incidents_service_idx ON metrics.incidents USING btree (lower(service), opened_at) WHERE (reference_id IS NULL);
alter table metrics.incidents enable row level security;
create policy members_read on metrics.incidents
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (source >= ( SELECT metrics.first_readable_text() AS first_readable_text)) AND ((reference_id IN ( SELECT metrics.readable_references() AS readable_references)) OR ( SELECT metrics.is_admin() AS is_admin) OR ((reference_id IS NULL) AND (lower(service) IN ( SELECT metrics.readable_service_names() AS readable_service_names))))));
create policy readers_read on metrics.incidents
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.incidents to authenticated;
grant select on table metrics.incidents to metrics_reader;
comment on column metrics.incidents.acknowledged_at is 'When somebody took it. Merge: earliest.';
comment on column metrics.incidents.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.incidents.commit_sha is 'Commit that it names as its cause. Merge: latest.';
comment on column metrics.incidents.deployment_external_id is 'Deployment that it names as its cause. Merge: latest.';
comment on column metrics.incidents.external_id is 'The sender''s id of the incident.';
comment on column metrics.incidents.is_withdrawn is 'Whether the sender took it back: it was no incident. Merge: latest.';
comment on column metrics.incidents.opened_at is 'When it began. Merge: earliest.';
comment on column metrics.incidents.reference_id is 'Repository that it is about, where the sender says. Merge: latest.';
comment on column metrics.incidents.resolved_at is 'When it ended; NULL while it lasts. Merge: latest, with status.';
comment on column metrics.incidents.service is 'Service that it is about, in the sender''s word. Merge: latest.';
comment on column metrics.incidents.severity is 'Severity, in the sender''s word. Merge: latest.';
comment on column metrics.incidents.source is 'The configured sender.';
comment on column metrics.incidents.status is 'open, acknowledged or resolved. Merge: latest.';
comment on column metrics.incidents.title is 'Title. Merge: latest.';
comment on column metrics.incidents.updated_at is 'When this row last changed here. Never part of a fact.';
comment on column metrics.incidents.url is 'Link to the provider. Merge: latest.';
comment on table metrics.incidents is 'Outages and degradations. Clocks compare by time, then rank of the state.';

-- table metrics.job_weeks
create table metrics.job_weeks (
  generation integer not null,
  reference_id bigint not null,
  week date not null,
  pipeline text not null,
  job text not null,
  runner text not null,
  success integer not null,
  failure integer not null,
  timed_out integer not null,
  error integer not null,
  cancelled integer not null,
  skipped integer not null,
  neutral integer not null,
  unknown integer not null,
  seconds numeric(24,6) not null,
  rounded_minutes bigint not null,
  duration_tally numeric not null,
  queue_tally numeric not null
) with (fillfactor=90);
alter table metrics.job_weeks add constraint job_weeks_pkey PRIMARY KEY (generation, reference_id, week, pipeline, job, runner);
alter table metrics.job_weeks enable row level security;
create policy members_read on metrics.job_weeks
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (generation >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.job_weeks
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.job_weeks to authenticated;
grant select on table metrics.job_weeks to metrics_reader;
comment on column metrics.job_weeks.cancelled is 'Jobs that were cancelled.';
comment on column metrics.job_weeks.duration_tally is 'How long they took: a tally of their seconds, see metrics.tally_of.';
comment on column metrics.job_weeks.error is 'Jobs in which the machinery failed.';
comment on column metrics.job_weeks.failure is 'Jobs that failed.';
comment on column metrics.job_weeks.generation is 'Generation in whose time zone the week is cut.';
comment on column metrics.job_weeks.job is 'Name of the job; empty where it has none.';
comment on column metrics.job_weeks.neutral is 'Jobs that ended neither way.';
comment on column metrics.job_weeks.pipeline is 'Name of its pipeline; empty where it has none.';
comment on column metrics.job_weeks.queue_tally is 'How long they waited: a tally of their seconds.';
comment on column metrics.job_weeks.reference_id is 'Repository reference.';
comment on column metrics.job_weeks.rounded_minutes is 'Minutes of all of them, each job''s rounded up by itself, as hosted runners are paid.';
comment on column metrics.job_weeks.runner is 'Labels of the runner that it asked for, sorted, with commas between; empty where it named none.';
comment on column metrics.job_weeks.seconds is 'Seconds from started to finished of all of them. Exact, so that what is added can be taken away again.';
comment on column metrics.job_weeks.skipped is 'Jobs that were skipped.';
comment on column metrics.job_weeks.success is 'Jobs that succeeded.';
comment on column metrics.job_weeks.timed_out is 'Jobs that took too long.';
comment on column metrics.job_weeks.unknown is 'Jobs whose outcome no mapping knows.';
comment on column metrics.job_weeks.week is 'Monday of the week in which the job finished; else started, else was queued.';
comment on table metrics.job_weeks is 'Finished jobs by ISO week. A row that counts nothing is not there.';

-- table metrics.jobs
create table metrics.jobs (
  reference_id bigint not null,
  external_id text not null,
  run_external_id text,
  attempt integer,
  pipeline text,
  name text,
  branch text,
  commit_sha text,
  runner_labels text[],
  status text,
  outcome text,
  provider_outcome text,
  queued_at timestamp with time zone,
  started_at timestamp with time zone,
  finished_at timestamp with time zone,
  queue_seconds double precision generated always as (
CASE
    WHEN (started_at >= queued_at) THEN EXTRACT(epoch FROM (started_at - queued_at))
    ELSE NULL::numeric
END) stored,
  duration_seconds double precision generated always as (
CASE
    WHEN (finished_at >= started_at) THEN EXTRACT(epoch FROM (finished_at - started_at))
    ELSE NULL::numeric
END) stored,
  ended_at timestamp with time zone generated always as (
CASE
    WHEN (outcome IS NOT NULL) THEN COALESCE(finished_at, started_at, queued_at)
    ELSE NULL::timestamp with time zone
END) stored,
  flaky_key bigint generated always as (
CASE
    WHEN ((outcome = ANY (ARRAY['success'::text, 'failure'::text, 'timed_out'::text])) AND (commit_sha IS NOT NULL)) THEN hashtextextended(((((commit_sha || ' '::text) || COALESCE(pipeline, ''::text)) || ' '::text) || COALESCE(name, ''::text)), (0)::bigint)
    ELSE NULL::bigint
END) stored,
  steps jsonb,
  url text,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.jobs add constraint attempt_is_counted_from_one CHECK ((attempt >= 1));
alter table metrics.jobs add constraint finished_has_an_outcome CHECK (((status IS DISTINCT FROM 'finished'::text) OR (outcome IS NOT NULL)));
alter table metrics.jobs add constraint jobs_pkey PRIMARY KEY (reference_id, external_id);
alter table metrics.jobs add constraint outcome_is_known CHECK ((outcome = ANY (ARRAY['success'::text, 'failure'::text, 'timed_out'::text, 'error'::text, 'cancelled'::text, 'skipped'::text, 'neutral'::text, 'unknown'::text])));
alter table metrics.jobs add constraint outcome_waits_for_the_end CHECK (((status = 'finished'::text) OR ((outcome IS NULL) AND (finished_at IS NULL))));
alter table metrics.jobs add constraint status_is_known CHECK ((status = ANY (ARRAY['queued'::text, 'running'::text, 'finished'::text])));
alter table metrics.jobs add constraint steps_are_a_list CHECK ((jsonb_typeof(steps) = 'array'::text));
CREATE INDEX jobs_ended_at_idx ON metrics.jobs USING btree (reference_id, ended_at) WHERE (ended_at IS NOT NULL);
CREATE INDEX jobs_failed_idx ON metrics.jobs USING btree (reference_id, ended_at) WHERE (outcome = ANY (ARRAY['failure'::text, 'timed_out'::text]));
CREATE INDEX jobs_passed_idx ON metrics.jobs USING btree (reference_id, flaky_key) WHERE (outcome = 'success'::text);
CREATE INDEX jobs_time_idx ON metrics.jobs USING brin (COALESCE(finished_at, started_at, queued_at, updated_at));
CREATE INDEX jobs_unknown_outcome_idx ON metrics.jobs USING btree (reference_id) WHERE (outcome = 'unknown'::text);
CREATE TRIGGER jobs_deleted AFTER DELETE ON metrics.jobs REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION metrics.count_changed_jobs();
CREATE TRIGGER jobs_inserted AFTER INSERT ON metrics.jobs REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION metrics.count_changed_jobs();
CREATE TRIGGER jobs_updated AFTER UPDATE ON metrics.jobs REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION metrics.count_changed_jobs();
alter table metrics.jobs enable row level security;
create policy members_read on metrics.jobs
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.jobs
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.jobs to authenticated;
grant select on table metrics.jobs to metrics_reader;
comment on column metrics.jobs.attempt is 'Attempt of the run that it belongs to. Merge: latest.';
comment on column metrics.jobs.branch is 'Head branch. Merge: latest.';
comment on column metrics.jobs.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.jobs.commit_sha is 'Commit that it ran for. Merge: latest.';
comment on column metrics.jobs.duration_seconds is 'Seconds from started to finished, without the queue; NULL when either is missing or the clock runs backwards.';
comment on column metrics.jobs.ended_at is 'When it ended, for counting: finished_at, else started_at, else queued_at; NULL until finished. A column, because under row level security an index on an expression is not used.';
comment on column metrics.jobs.external_id is 'The sender''s id of the job.';
comment on column metrics.jobs.finished_at is 'When it ended. Merge: latest, with status.';
comment on column metrics.jobs.flaky_key is 'The same number for jobs of one commit, pipeline and name that passed or failed: one of them is found by another.';
comment on column metrics.jobs.name is 'Name with its matrix values. Merge: latest.';
comment on column metrics.jobs.outcome is 'How it ended; NULL until finished. Merge: latest, with status.';
comment on column metrics.jobs.pipeline is 'Name of its workflow or pipeline, where the job itself says it. Merge: latest.';
comment on column metrics.jobs.provider_outcome is 'The provider''s own word for it. Merge: latest, with status.';
comment on column metrics.jobs.queue_seconds is 'Seconds from queued to started; NULL when either is missing or the clock runs backwards.';
comment on column metrics.jobs.queued_at is 'When it was asked for. Merge: earliest.';
comment on column metrics.jobs.reference_id is 'Repository reference, as the sender named it.';
comment on column metrics.jobs.run_external_id is 'The sender''s id of its run. Merge: latest.';
comment on column metrics.jobs.runner_labels is 'Labels of the runner that it asked for. Merge: latest.';
comment on column metrics.jobs.started_at is 'When it started. Merge: earliest.';
comment on column metrics.jobs.status is 'queued, running or finished. Merge: latest.';
comment on column metrics.jobs.steps is 'Its steps in order: number, name, status, outcome, started_at, finished_at. Merge: latest.';
comment on column metrics.jobs.updated_at is 'When this row last changed here. Never part of a fact.';
comment on column metrics.jobs.url is 'Link to the provider. Merge: latest.';
comment on table metrics.jobs is 'One attempt of a job within a run each. Clocks compare by rank of the state, then time.';

-- table metrics.lead_time_weeks
create table metrics.lead_time_weeks (
  generation integer not null,
  service_id bigint not null,
  week date not null,
  is_bot boolean not null,
  repository_id bigint not null,
  from_commit integer not null,
  from_first_commit integer not null,
  from_pull_request_opened integer not null,
  first_deployment integer not null,
  rewritten integer not null,
  order_unknown integer not null,
  start_unknown integer not null,
  start_after_shipping integer not null,
  lead_tally numeric not null
);
alter table metrics.lead_time_weeks add constraint lead_time_weeks_pkey PRIMARY KEY (generation, service_id, week, is_bot);
alter table metrics.lead_time_weeks enable row level security;
create policy members_read on metrics.lead_time_weeks
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (repository_id IN ( SELECT metrics.readable_repositories() AS readable_repositories))));
create policy readers_read on metrics.lead_time_weeks
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.lead_time_weeks to authenticated;
grant select on table metrics.lead_time_weeks to metrics_reader;
comment on column metrics.lead_time_weeks.first_deployment is 'Left out: shipped by the first deployment of the service.';
comment on column metrics.lead_time_weeks.from_commit is 'Changes that began with their own commit.';
comment on column metrics.lead_time_weeks.from_first_commit is 'Changes that began with the first commit of their pull request.';
comment on column metrics.lead_time_weeks.from_pull_request_opened is 'Changes that began as their pull request was opened.';
comment on column metrics.lead_time_weeks.generation is 'The generation that it belongs to.';
comment on column metrics.lead_time_weeks.is_bot is 'Whether by bots or by humans.';
comment on column metrics.lead_time_weeks.lead_tally is 'How long those took that count: a tally of their seconds, see metrics.tally_of.';
comment on column metrics.lead_time_weeks.order_unknown is 'Left out: nobody knows whether they were shipped.';
comment on column metrics.lead_time_weeks.repository_id is 'Repository of the service.';
comment on column metrics.lead_time_weeks.rewritten is 'Left out: taken off the branch by force before they were shipped.';
comment on column metrics.lead_time_weeks.service_id is 'Service.';
comment on column metrics.lead_time_weeks.start_after_shipping is 'Left out: begun after they were shipped, by the clocks of those who say so.';
comment on column metrics.lead_time_weeks.start_unknown is 'Left out: nobody knows when they began.';
comment on column metrics.lead_time_weeks.week is 'Monday of the week in which they were shipped, or, of those that were not, begun.';
comment on table metrics.lead_time_weeks is 'Changes of services by ISO week: those that count by their basis, others by why they do not. Equals its recomputation from changes.';

-- table metrics.measurements
create table metrics.measurements (
  reference_id bigint not null,
  name text not null,
  external_id text not null,
  value double precision,
  unit text,
  attributes jsonb,
  measured_at timestamp with time zone,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.measurements add constraint attributes_are_an_object CHECK ((jsonb_typeof(attributes) = 'object'::text));
alter table metrics.measurements add constraint measurements_pkey PRIMARY KEY (reference_id, name, external_id);
CREATE INDEX measurements_measured_at_idx ON metrics.measurements USING btree (reference_id, name, measured_at);
alter table metrics.measurements enable row level security;
create policy members_read on metrics.measurements
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.measurements
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.measurements to authenticated;
grant select on table metrics.measurements to metrics_reader;
comment on column metrics.measurements.attributes is 'What it is about, by name. Merge: latest, with value.';
comment on column metrics.measurements.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.measurements.external_id is 'The sender''s id of the measurement.';
comment on column metrics.measurements.measured_at is 'When. Merge: latest, with value.';
comment on column metrics.measurements.name is 'Name of the number.';
comment on column metrics.measurements.reference_id is 'Repository reference, as the sender named it.';
comment on column metrics.measurements.unit is 'Its unit. Merge: latest, with value.';
comment on column metrics.measurements.updated_at is 'When this row last changed here. Never part of a fact.';
comment on column metrics.measurements.value is 'The number. Merge: latest.';
comment on table metrics.measurements is 'Named numbers. Clocks compare by time.';

-- table metrics.members
create table metrics.members (
  email text not null,
  role text not null,
  user_id uuid,
  added_at timestamp with time zone default now() not null,
  accepted_at timestamp with time zone
);
alter table metrics.members add constraint accepted_when_tied_to_a_user CHECK (((user_id IS NULL) = (accepted_at IS NULL)));
alter table metrics.members add constraint email_is_lower_case CHECK (((email = lower(email)) AND (email ~ '^[^@[:space:]]+@[^@[:space:]]+$'::text)));
alter table metrics.members add constraint member_is_one_user UNIQUE (user_id);
alter table metrics.members add constraint members_pkey PRIMARY KEY (email);
alter table metrics.members add constraint role_is_known CHECK ((role = ANY (ARRAY['viewer'::text, 'admin'::text])));
alter table metrics.members enable row level security;
create policy members_read on metrics.members
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (( SELECT metrics.is_admin() AS is_admin) OR (user_id = ( SELECT auth.uid() AS uid)))));
grant select on table metrics.members to authenticated;
comment on column metrics.members.accepted_at is 'When the signed-in user accepted.';
comment on column metrics.members.added_at is 'When the member was added.';
comment on column metrics.members.email is 'Address, in lower case, by which the member was added.';
comment on column metrics.members.role is 'viewer reads the repositories of its teams; admin reads everything and changes settings.';
comment on column metrics.members.user_id is 'The user''s id in auth.users once the membership was accepted.';
comment on table metrics.members is 'Who may read metrics. A member is tied to a user of the app on accepting; no foreign key, so deleting a user never waits for metrics.';

-- table metrics.pipeline_runs
create table metrics.pipeline_runs (
  reference_id bigint not null,
  external_id text not null,
  attempt integer not null,
  rerun_group text,
  pipeline text,
  number bigint,
  trigger text,
  branch text,
  on_default_branch boolean,
  commit_sha text,
  pull_request_numbers integer[],
  actor text,
  actor_is_bot boolean,
  status text,
  outcome text,
  provider_outcome text,
  queued_at timestamp with time zone,
  started_at timestamp with time zone,
  finished_at timestamp with time zone,
  queue_seconds double precision generated always as (
CASE
    WHEN (started_at >= queued_at) THEN EXTRACT(epoch FROM (started_at - queued_at))
    ELSE NULL::numeric
END) stored,
  duration_seconds double precision generated always as (
CASE
    WHEN (finished_at >= started_at) THEN EXTRACT(epoch FROM (finished_at - started_at))
    ELSE NULL::numeric
END) stored,
  ended_at timestamp with time zone generated always as (
CASE
    WHEN (outcome IS NOT NULL) THEN COALESCE(finished_at, started_at, queued_at)
    ELSE NULL::timestamp with time zone
END) stored,
  url text,
  is_first_try boolean default true not null,
  is_last_try boolean default true not null,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.pipeline_runs add constraint attempt_is_counted_from_one CHECK ((attempt >= 1));
alter table metrics.pipeline_runs add constraint finished_has_an_outcome CHECK (((status IS DISTINCT FROM 'finished'::text) OR (outcome IS NOT NULL)));
alter table metrics.pipeline_runs add constraint outcome_is_known CHECK ((outcome = ANY (ARRAY['success'::text, 'failure'::text, 'timed_out'::text, 'error'::text, 'cancelled'::text, 'skipped'::text, 'neutral'::text, 'unknown'::text])));
alter table metrics.pipeline_runs add constraint outcome_waits_for_the_end CHECK (((status = 'finished'::text) OR ((outcome IS NULL) AND (finished_at IS NULL))));
alter table metrics.pipeline_runs add constraint pipeline_runs_pkey PRIMARY KEY (reference_id, external_id, attempt);
alter table metrics.pipeline_runs add constraint status_is_known CHECK ((status = ANY (ARRAY['queued'::text, 'running'::text, 'finished'::text])));
CREATE INDEX pipeline_runs_ended_at_idx ON metrics.pipeline_runs USING btree (reference_id, ended_at) WHERE (ended_at IS NOT NULL);
CREATE INDEX pipeline_runs_rerun_group_idx ON metrics.pipeline_runs USING btree (reference_id, rerun_group) WHERE (rerun_group IS NOT NULL);
CREATE INDEX pipeline_runs_unknown_outcome_idx ON metrics.pipeline_runs USING btree (reference_id) WHERE (outcome = 'unknown'::text);
CREATE TRIGGER pipeline_runs_deleted AFTER DELETE ON metrics.pipeline_runs REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT WHEN ((pg_trigger_depth() = 0)) EXECUTE FUNCTION metrics.count_changed_runs();
CREATE TRIGGER pipeline_runs_inserted AFTER INSERT ON metrics.pipeline_runs REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN ((pg_trigger_depth() = 0)) EXECUTE FUNCTION metrics.count_changed_runs();
CREATE TRIGGER pipeline_runs_updated AFTER UPDATE ON metrics.pipeline_runs REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT WHEN ((pg_trigger_depth() = 0)) EXECUTE FUNCTION metrics.count_changed_runs();
alter table metrics.pipeline_runs enable row level security;
create policy members_read on metrics.pipeline_runs
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.pipeline_runs
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.pipeline_runs to authenticated;
grant select on table metrics.pipeline_runs to metrics_reader;
comment on column metrics.pipeline_runs.actor is 'Login of who started it. Merge: latest.';
comment on column metrics.pipeline_runs.actor_is_bot is 'Whether the actor is a bot. Merge: latest, with actor.';
comment on column metrics.pipeline_runs.attempt is 'The provider''s own number of the attempt, else 1.';
comment on column metrics.pipeline_runs.branch is 'Head branch. Merge: latest.';
comment on column metrics.pipeline_runs.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.pipeline_runs.commit_sha is 'Commit that it ran for. Merge: latest.';
comment on column metrics.pipeline_runs.duration_seconds is 'Seconds from started to finished, without the queue; NULL when either is missing or the clock runs backwards.';
comment on column metrics.pipeline_runs.ended_at is 'When it ended, for counting: finished_at, else started_at, else queued_at; NULL until finished. A column, because under row level security an index on an expression is not used.';
comment on column metrics.pipeline_runs.external_id is 'The sender''s id of the run.';
comment on column metrics.pipeline_runs.finished_at is 'When it ended. Merge: latest, with status.';
comment on column metrics.pipeline_runs.is_first_try is 'Derived: whether it is the first of the finished runs of its rerun_group, by queued_at, started_at or finished_at, then attempt, then external_id. True until finished, and without a group.';
comment on column metrics.pipeline_runs.is_last_try is 'Derived: whether it is the last of the finished runs of its rerun_group, in the same order. True until finished, and without a group.';
comment on column metrics.pipeline_runs.number is 'The provider''s running number. Merge: latest.';
comment on column metrics.pipeline_runs.on_default_branch is 'Whether it ran on the default branch, where the sender says. Merge: latest.';
comment on column metrics.pipeline_runs.outcome is 'How it ended; NULL until finished. Merge: latest, with status.';
comment on column metrics.pipeline_runs.pipeline is 'Name of the workflow or pipeline. Merge: latest.';
comment on column metrics.pipeline_runs.provider_outcome is 'The provider''s own word for it. Merge: latest, with status.';
comment on column metrics.pipeline_runs.pull_request_numbers is 'Pull requests that it ran for; providers leave forks out. Merge: latest.';
comment on column metrics.pipeline_runs.queue_seconds is 'Seconds from queued to started; NULL when either is missing or the clock runs backwards.';
comment on column metrics.pipeline_runs.queued_at is 'When it was asked for. Merge: earliest.';
comment on column metrics.pipeline_runs.reference_id is 'Repository reference, as the sender named it.';
comment on column metrics.pipeline_runs.rerun_group is 'Runs with the same text are tries of the same thing. Merge: latest.';
comment on column metrics.pipeline_runs.started_at is 'When it started. Merge: earliest.';
comment on column metrics.pipeline_runs.status is 'queued, running or finished. Merge: latest.';
comment on column metrics.pipeline_runs.trigger is 'What started it, in the provider''s word. Merge: latest.';
comment on column metrics.pipeline_runs.updated_at is 'When this row last changed here. Never part of a fact.';
comment on column metrics.pipeline_runs.url is 'Link to the provider. Merge: latest.';
comment on table metrics.pipeline_runs is 'One attempt of a workflow or pipeline each. Clocks compare by rank of the state, then time.';

-- table metrics.pipeline_weeks
create table metrics.pipeline_weeks (
  generation integer not null,
  only_default_branch boolean not null,
  only_humans boolean not null,
  reference_id bigint not null,
  week date not null,
  pipeline text not null,
  success integer not null,
  failure integer not null,
  timed_out integer not null,
  error integer not null,
  cancelled integer not null,
  skipped integer not null,
  neutral integer not null,
  unknown integer not null,
  reruns integer not null,
  first_decided integer not null,
  first_success integer not null,
  last_decided integer not null,
  last_success integer not null,
  duration_tally numeric not null,
  queue_tally numeric not null
) with (fillfactor=90);
alter table metrics.pipeline_weeks add constraint pipeline_weeks_pkey PRIMARY KEY (generation, only_default_branch, only_humans, reference_id, week, pipeline);
alter table metrics.pipeline_weeks enable row level security;
create policy members_read on metrics.pipeline_weeks
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (generation >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.pipeline_weeks
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.pipeline_weeks to authenticated;
grant select on table metrics.pipeline_weeks to metrics_reader;
comment on column metrics.pipeline_weeks.cancelled is 'Runs that were cancelled.';
comment on column metrics.pipeline_weeks.duration_tally is 'How long they took: a tally of their seconds, see metrics.tally_of.';
comment on column metrics.pipeline_weeks.error is 'Runs in which the machinery failed.';
comment on column metrics.pipeline_weeks.failure is 'Runs that failed.';
comment on column metrics.pipeline_weeks.first_decided is 'First tries with success, failure, timed_out or error.';
comment on column metrics.pipeline_weeks.first_success is 'First tries that succeeded.';
comment on column metrics.pipeline_weeks.generation is 'Generation in whose time zone the week is cut.';
comment on column metrics.pipeline_weeks.last_decided is 'Last tries with success, failure, timed_out or error.';
comment on column metrics.pipeline_weeks.last_success is 'Last tries that succeeded.';
comment on column metrics.pipeline_weeks.neutral is 'Runs that ended neither way.';
comment on column metrics.pipeline_weeks.only_default_branch is 'Whether only runs are counted of which the sender said that they ran on the default branch; else all.';
comment on column metrics.pipeline_weeks.only_humans is 'Whether runs are left out of which the sender said that a bot started them.';
comment on column metrics.pipeline_weeks.pipeline is 'Name of the pipeline; empty where it has none.';
comment on column metrics.pipeline_weeks.queue_tally is 'How long they waited: a tally of their seconds.';
comment on column metrics.pipeline_weeks.reference_id is 'Repository reference.';
comment on column metrics.pipeline_weeks.reruns is 'Runs that are not the first try of their rerun_group.';
comment on column metrics.pipeline_weeks.skipped is 'Runs that were skipped.';
comment on column metrics.pipeline_weeks.success is 'Runs that succeeded.';
comment on column metrics.pipeline_weeks.timed_out is 'Runs that took too long.';
comment on column metrics.pipeline_weeks.unknown is 'Runs whose outcome no mapping knows.';
comment on column metrics.pipeline_weeks.week is 'Monday of the week in which the run finished; else started, else was queued.';
comment on table metrics.pipeline_weeks is 'Finished pipeline runs by ISO week: all of them, and again those of the selections that numbers ask for, so that each is read from few rows. A row that counts nothing is not there.';

-- table metrics.postponed
create table metrics.postponed (
  id bigint generated always as identity not null,
  generation integer not null,
  repository_id bigint not null,
  told metrics.touched not null
);
alter table metrics.postponed add constraint postponed_pkey PRIMARY KEY (id);
CREATE INDEX postponed_repository_id_idx ON metrics.postponed USING btree (generation, repository_id, id);
alter table metrics.postponed enable row level security;
comment on column metrics.postponed.generation is 'The generation.';
comment on column metrics.postponed.id is 'Key.';
comment on column metrics.postponed.repository_id is 'The repository.';
comment on column metrics.postponed.told is 'What was told.';
comment on table metrics.postponed is 'What was told of a repository while it was being derived in slices: it is derived after them.';

-- table metrics.prices
create table metrics.prices (
  label text not null,
  valid_from date not null,
  price_per_minute numeric not null,
  currency text not null,
  is_hosted boolean not null,
  source text not null
);
alter table metrics.prices add constraint currency_has_three_letters CHECK ((currency ~ '^[A-Z]{3}$'::text));
alter table metrics.prices add constraint label_is_not_empty CHECK (((btrim(label) <> ''::text) AND (length(label) <= 200) AND (strpos(label, ','::text) = 0)));
alter table metrics.prices add constraint price_is_not_negative CHECK (((price_per_minute >= (0)::numeric) AND (price_per_minute <= (1000000)::numeric)));
alter table metrics.prices add constraint prices_pkey PRIMARY KEY (label, valid_from);
alter table metrics.prices add constraint source_is_not_empty CHECK (((btrim(source) <> ''::text) AND (length(source) <= 1000)));
alter table metrics.prices add constraint valid_from_is_a_monday CHECK ((EXTRACT(isodow FROM valid_from) = (1)::numeric));
alter table metrics.prices enable row level security;
create policy members_read on metrics.prices
  as permissive
  for select
  to authenticated
  using ((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)));
create policy readers_read on metrics.prices
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.prices to authenticated;
grant select on table metrics.prices to metrics_reader;
comment on column metrics.prices.currency is 'Three letters, as in ISO 4217.';
comment on column metrics.prices.is_hosted is 'Whether each job''s minutes are rounded up, as hosted runners are paid.';
comment on column metrics.prices.label is 'Label of a runner, as jobs name it.';
comment on column metrics.prices.price_per_minute is 'Price of a minute.';
comment on column metrics.prices.source is 'Where the price was read.';
comment on column metrics.prices.valid_from is 'Monday of the first week that it holds for, until the next price of the label.';
comment on table metrics.prices is 'Prices of runners by label and date, changed by metrics.set_price and metrics.remove_price. All in one currency.';

-- table metrics.pull_request_weeks
create table metrics.pull_request_weeks (
  generation integer not null,
  reference_id bigint not null,
  week date not null,
  is_bot boolean not null,
  pull_requests integer not null,
  coding numeric not null,
  pickup numeric not null,
  review numeric not null,
  merge numeric not null,
  deploy numeric not null,
  total numeric not null
) with (fillfactor=80);
alter table metrics.pull_request_weeks add constraint pull_request_weeks_pkey PRIMARY KEY (generation, reference_id, week, is_bot);
alter table metrics.pull_request_weeks enable row level security;
create policy members_read on metrics.pull_request_weeks
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (generation >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.pull_request_weeks
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.pull_request_weeks to authenticated;
grant select on table metrics.pull_request_weeks to metrics_reader;
comment on column metrics.pull_request_weeks.coding is 'Tally of the time from the first commit until they were opened.';
comment on column metrics.pull_request_weeks.deploy is 'Tally of the time from then until what they became was in production.';
comment on column metrics.pull_request_weeks.generation is 'Generation in whose time zone the week is cut.';
comment on column metrics.pull_request_weeks.is_bot is 'Whether these are those of bots, or those of humans.';
comment on column metrics.pull_request_weeks.merge is 'Tally of the time from then until they were merged.';
comment on column metrics.pull_request_weeks.pickup is 'Tally of the time until the first review.';
comment on column metrics.pull_request_weeks.pull_requests is 'How many were merged.';
comment on column metrics.pull_request_weeks.reference_id is 'Repository reference.';
comment on column metrics.pull_request_weeks.review is 'Tally of the time from then until they were approved.';
comment on column metrics.pull_request_weeks.total is 'Tally of the time from the first commit until they were merged.';
comment on column metrics.pull_request_weeks.week is 'Monday of the week in which they were merged.';
comment on table metrics.pull_request_weeks is 'Merged pull requests by ISO week, and how long each phase of them took, as tallies of their seconds: see metrics.tally_of. A row that counts nothing is not there.';

-- table metrics.pull_requests
create table metrics.pull_requests (
  reference_id bigint not null,
  number integer not null,
  title text,
  author text,
  author_is_bot boolean,
  head_branch text,
  base_branch text,
  is_fork boolean,
  head_sha text,
  merge_sha text,
  state text,
  is_draft boolean,
  labels text[],
  additions integer,
  deletions integer,
  changed_files integer,
  opened_at timestamp with time zone,
  ready_times timestamp with time zone[],
  merged_at timestamp with time zone,
  closed_at timestamp with time zone,
  url text,
  ready_at timestamp with time zone,
  first_commit_at timestamp with time zone,
  first_review_at timestamp with time zone,
  approved_at timestamp with time zone,
  coding_seconds double precision generated always as (
CASE
    WHEN (opened_at >= first_commit_at) THEN EXTRACT(epoch FROM (opened_at - first_commit_at))
    ELSE NULL::numeric
END) stored,
  pickup_seconds double precision generated always as (
CASE
    WHEN (first_review_at >= ready_at) THEN EXTRACT(epoch FROM (first_review_at - ready_at))
    ELSE NULL::numeric
END) stored,
  review_seconds double precision generated always as (
CASE
    WHEN (approved_at >= first_review_at) THEN EXTRACT(epoch FROM (approved_at - first_review_at))
    ELSE NULL::numeric
END) stored,
  merge_seconds double precision generated always as (
CASE
    WHEN (merged_at >= approved_at) THEN EXTRACT(epoch FROM (merged_at - approved_at))
    ELSE NULL::numeric
END) stored,
  total_seconds double precision generated always as (
CASE
    WHEN (merged_at >= COALESCE(first_commit_at, opened_at)) THEN EXTRACT(epoch FROM (merged_at - COALESCE(first_commit_at, opened_at)))
    ELSE NULL::numeric
END) stored,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.pull_requests add constraint only_a_merged_pull_request_has_a_merge_commit CHECK (((state = 'merged'::text) OR ((merge_sha IS NULL) AND (merged_at IS NULL))));
alter table metrics.pull_requests add constraint pull_requests_pkey PRIMARY KEY (reference_id, number);
alter table metrics.pull_requests add constraint state_is_known CHECK ((state = ANY (ARRAY['open'::text, 'closed'::text, 'merged'::text])));
CREATE INDEX pull_requests_head_branch_idx ON metrics.pull_requests USING btree (reference_id, head_branch);
CREATE INDEX pull_requests_head_sha_idx ON metrics.pull_requests USING btree (reference_id, head_sha);
CREATE INDEX pull_requests_merge_sha_idx ON metrics.pull_requests USING btree (reference_id, merge_sha) WHERE (merge_sha IS NOT NULL);
CREATE INDEX pull_requests_merged_at_idx ON metrics.pull_requests USING btree (reference_id, merged_at) WHERE (merged_at IS NOT NULL);
CREATE TRIGGER count_deleted AFTER DELETE ON metrics.pull_requests REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION metrics.count_changed_pull_requests();
CREATE TRIGGER count_inserted AFTER INSERT ON metrics.pull_requests REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION metrics.count_changed_pull_requests();
CREATE TRIGGER count_updated AFTER UPDATE ON metrics.pull_requests REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION metrics.count_changed_pull_requests();
alter table metrics.pull_requests enable row level security;
create policy members_read on metrics.pull_requests
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.pull_requests
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.pull_requests to authenticated;
grant select on table metrics.pull_requests to metrics_reader;
comment on column metrics.pull_requests.additions is 'Lines added. Merge: latest.';
comment on column metrics.pull_requests.approved_at is 'Derived: the first approval by another human.';
comment on column metrics.pull_requests.author is 'Login of the author. Merge: latest.';
comment on column metrics.pull_requests.author_is_bot is 'Whether the author is a bot. Merge: latest, with author.';
comment on column metrics.pull_requests.base_branch is 'Branch that it goes to. Merge: latest.';
comment on column metrics.pull_requests.changed_files is 'Files changed. Merge: latest, with additions.';
comment on column metrics.pull_requests.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.pull_requests.closed_at is 'When it was closed, merged or not; NULL while open. Merge: latest, with state.';
comment on column metrics.pull_requests.coding_seconds is 'Seconds from the first commit to opened; NULL when either is missing or the clock runs backwards.';
comment on column metrics.pull_requests.deletions is 'Lines removed. Merge: latest, with additions.';
comment on column metrics.pull_requests.first_commit_at is 'Derived: the earliest authored_at among its own commits; NULL for forks.';
comment on column metrics.pull_requests.first_review_at is 'Derived: the first review by another human.';
comment on column metrics.pull_requests.head_branch is 'Branch that it comes from. Merge: latest.';
comment on column metrics.pull_requests.head_sha is 'Last commit of its branch. Merge: latest.';
comment on column metrics.pull_requests.is_draft is 'Whether it is a draft. Merge: latest.';
comment on column metrics.pull_requests.is_fork is 'Whether it comes from another repository. Merge: latest.';
comment on column metrics.pull_requests.labels is 'Labels. Merge: latest.';
comment on column metrics.pull_requests.merge_seconds is 'Seconds from the approval to the merge; NULL when either is missing or the clock runs backwards.';
comment on column metrics.pull_requests.merge_sha is 'Commit that it became on the base branch; only when merged. Merge: latest, with state.';
comment on column metrics.pull_requests.merged_at is 'When it was merged. Merge: latest, with state.';
comment on column metrics.pull_requests.number is 'Number within the repository.';
comment on column metrics.pull_requests.opened_at is 'When it was opened. Merge: earliest.';
comment on column metrics.pull_requests.pickup_seconds is 'Seconds from ready to the first review; NULL when either is missing or the clock runs backwards.';
comment on column metrics.pull_requests.ready_at is 'Derived: the latest of ready_times, or opened_at, before the first review.';
comment on column metrics.pull_requests.ready_times is 'Each time it was marked ready for review. Merge: union.';
comment on column metrics.pull_requests.reference_id is 'Repository reference, as the sender named it.';
comment on column metrics.pull_requests.review_seconds is 'Seconds from the first review to the approval; NULL when either is missing or the clock runs backwards.';
comment on column metrics.pull_requests.state is 'open, closed or merged. Merge: latest.';
comment on column metrics.pull_requests.title is 'Title. Merge: latest.';
comment on column metrics.pull_requests.total_seconds is 'Seconds from the first commit, or from opened where that is unknown, to the merge; NULL when either is missing or the clock runs backwards.';
comment on column metrics.pull_requests.updated_at is 'When this row last changed here. Never part of a fact.';
comment on column metrics.pull_requests.url is 'Link to the provider. Merge: latest.';
comment on table metrics.pull_requests is 'Pull requests and merge requests, with the moments that phases are cut from. Clocks compare by time, then rank of the state.';

-- table metrics.pushes
create table metrics.pushes (
  id bigint generated always as identity not null,
  reference_id bigint not null,
  ref text not null,
  before text not null,
  after text not null,
  pushed_at timestamp with time zone,
  forced boolean,
  created boolean,
  deleted boolean,
  on_default_branch boolean,
  commits text[],
  truncated boolean,
  pusher text,
  pusher_is_bot boolean,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.pushes add constraint push_is_unique UNIQUE NULLS NOT DISTINCT (reference_id, ref, before, after, pushed_at);
alter table metrics.pushes add constraint pushes_pkey PRIMARY KEY (id);
CREATE INDEX pushes_after_idx ON metrics.pushes USING btree (reference_id, after);
CREATE INDEX pushes_commits_idx ON metrics.pushes USING gin (commits);
CREATE INDEX pushes_default_branch_idx ON metrics.pushes USING btree (reference_id, pushed_at) WHERE (on_default_branch IS NOT FALSE);
alter table metrics.pushes enable row level security;
create policy members_read on metrics.pushes
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.pushes
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.pushes to authenticated;
grant select on table metrics.pushes to metrics_reader;
comment on column metrics.pushes.after is 'Commit after the move; zeros when the ref is gone.';
comment on column metrics.pushes.before is 'Commit before the move; zeros when the ref is new.';
comment on column metrics.pushes.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.pushes.commits is 'Its commits in the provider''s order. Merge: latest.';
comment on column metrics.pushes.created is 'Whether the ref is new. Merge: latest.';
comment on column metrics.pushes.deleted is 'Whether the ref is gone. Merge: latest.';
comment on column metrics.pushes.forced is 'Whether history was rewritten. Merge: latest.';
comment on column metrics.pushes.id is 'Key, because pushed_at may be unknown.';
comment on column metrics.pushes.on_default_branch is 'Whether the ref was the default branch, as the push itself said. Merge: latest.';
comment on column metrics.pushes.pushed_at is 'When, by the provider''s clock; NULL where it does not say.';
comment on column metrics.pushes.pusher is 'Login of who pushed. Merge: latest.';
comment on column metrics.pushes.pusher_is_bot is 'Whether the pusher is a bot. Merge: latest, with pusher.';
comment on column metrics.pushes.ref is 'The full ref, for example refs/heads/main.';
comment on column metrics.pushes.reference_id is 'Repository reference, as the sender named it.';
comment on column metrics.pushes.truncated is 'Whether the provider listed only some of them. Merge: latest, with commits.';
comment on column metrics.pushes.updated_at is 'When this row last changed here. Never part of a fact.';
comment on table metrics.pushes is 'Moves of a branch or tag. Clocks compare by time.';

-- table metrics.releases
create table metrics.releases (
  reference_id bigint not null,
  external_id text not null,
  tag text,
  commit_sha text,
  name text,
  is_draft boolean,
  is_prerelease boolean,
  is_withdrawn boolean,
  created_at timestamp with time zone,
  published_at timestamp with time zone,
  url text,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.releases add constraint releases_pkey PRIMARY KEY (reference_id, external_id);
alter table metrics.releases enable row level security;
create policy members_read on metrics.releases
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.releases
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.releases to authenticated;
grant select on table metrics.releases to metrics_reader;
comment on column metrics.releases.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.releases.commit_sha is 'Commit of the tag, where the sender says. Merge: latest.';
comment on column metrics.releases.created_at is 'When it was made. Merge: earliest.';
comment on column metrics.releases.external_id is 'The sender''s id of the release.';
comment on column metrics.releases.is_draft is 'Whether it is a draft. Merge: latest.';
comment on column metrics.releases.is_prerelease is 'Whether it is a pre-release. Merge: latest.';
comment on column metrics.releases.is_withdrawn is 'Whether it was deleted or unpublished. Merge: latest.';
comment on column metrics.releases.name is 'Name. Merge: latest.';
comment on column metrics.releases.published_at is 'When it was published. Merge: latest.';
comment on column metrics.releases.reference_id is 'Repository reference, as the sender named it.';
comment on column metrics.releases.tag is 'Tag. Merge: latest.';
comment on column metrics.releases.updated_at is 'When this row last changed here. Never part of a fact.';
comment on column metrics.releases.url is 'Link to the provider. Merge: latest.';
comment on table metrics.releases is 'Published versions. Clocks compare by time.';

-- table metrics.remembered_sources
create table metrics.remembered_sources (
  source text not null,
  last_received_at timestamp with time zone not null
);
alter table metrics.remembered_sources add constraint remembered_sources_pkey PRIMARY KEY (source);
alter table metrics.remembered_sources enable row level security;
create policy members_read on metrics.remembered_sources
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND ( SELECT metrics.is_admin() AS is_admin)));
create policy readers_read on metrics.remembered_sources
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.remembered_sources to authenticated;
grant select on table metrics.remembered_sources to metrics_reader;
comment on column metrics.remembered_sources.last_received_at is 'When the last of the deliveries that are gone was received.';
comment on column metrics.remembered_sources.source is 'The configured sender.';
comment on table metrics.remembered_sources is 'Sources of which deliveries have been removed because they were old. Those of which all are still kept are not here.';

-- table metrics.repositories
create table metrics.repositories (
  id bigint generated always as identity not null,
  full_name text,
  default_branch text,
  url text,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.repositories add constraint repositories_pkey PRIMARY KEY (id);
CREATE INDEX repositories_full_name_idx ON metrics.repositories USING btree (lower(full_name));
alter table metrics.repositories enable row level security;
create policy members_read on metrics.repositories
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (id IN ( SELECT metrics.readable_repositories() AS readable_repositories))));
create policy readers_read on metrics.repositories
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.repositories to authenticated;
grant select on table metrics.repositories to metrics_reader;
comment on column metrics.repositories.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.repositories.default_branch is 'Name of the default branch. Merge: latest.';
comment on column metrics.repositories.full_name is 'Owner and name as the provider shows them. Merge: latest.';
comment on column metrics.repositories.id is 'Key.';
comment on column metrics.repositories.updated_at is 'When this row last changed here. Never part of a fact.';
comment on column metrics.repositories.url is 'Link to the repository as the provider shows it. Merge: latest.';
comment on table metrics.repositories is 'Where code lives. One row per (source, external_id), and one per URL that no such repository claims.';

-- table metrics.repository_references
create table metrics.repository_references (
  id bigint generated always as identity not null,
  reference text not null,
  source text,
  external_id text,
  url text,
  repository_id bigint not null,
  claim_clock text collate pg_catalog."C",
  claimed_by text collate pg_catalog."C"
);
alter table metrics.repository_references add constraint only_a_url_is_claimed CHECK (((claimed_by IS NULL) OR (url IS NOT NULL)));
alter table metrics.repository_references add constraint reference_is_an_external_id_or_a_url CHECK ((((url IS NULL) AND (source IS NOT NULL) AND (external_id IS NOT NULL) AND (reference = ((source || ':'::text) || external_id))) OR ((url IS NOT NULL) AND (source IS NULL) AND (external_id IS NULL) AND (reference = ('//'::text || url)))));
alter table metrics.repository_references add constraint repository_reference_belongs_to_a_repository FOREIGN KEY (repository_id) REFERENCES metrics.repositories(id);
alter table metrics.repository_references add constraint repository_reference_is_unique UNIQUE (reference);
alter table metrics.repository_references add constraint repository_references_pkey PRIMARY KEY (id);
CREATE INDEX repository_references_repository_id_idx ON metrics.repository_references USING btree (repository_id);
alter table metrics.repository_references enable row level security;
create policy members_read on metrics.repository_references
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (repository_id IN ( SELECT metrics.readable_repositories() AS readable_repositories))));
create policy readers_read on metrics.repository_references
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.repository_references to authenticated;
grant select on table metrics.repository_references to metrics_reader;
comment on column metrics.repository_references.claim_clock is 'Clock of the observation by which a repository last said that this URL is its own. Merge: latest.';
comment on column metrics.repository_references.claimed_by is 'Reference of the repository that said so. Merge: latest, with claim_clock.';
comment on column metrics.repository_references.external_id is 'The sender''s own id of the repository; NULL for a URL.';
comment on column metrics.repository_references.id is 'Key, kept by facts.';
comment on column metrics.repository_references.reference is 'The reference as text: source:external_id, or //host/path.';
comment on column metrics.repository_references.repository_id is 'The repository that this reference means now.';
comment on column metrics.repository_references.source is 'The sender that uses this id; NULL for a URL.';
comment on column metrics.repository_references.url is 'Normalised URL host/path; NULL for an external id.';
comment on table metrics.repository_references is 'How senders name repositories, and which repository each name means. Facts keep the reference, so a rename moves no fact.';

-- table metrics.reviews
create table metrics.reviews (
  reference_id bigint not null,
  external_id text not null,
  pull_request_number integer,
  reviewer text,
  reviewer_is_bot boolean,
  state text,
  submitted_at timestamp with time zone,
  url text,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.reviews add constraint reviews_pkey PRIMARY KEY (reference_id, external_id);
CREATE INDEX reviews_pull_request_idx ON metrics.reviews USING btree (reference_id, pull_request_number);
alter table metrics.reviews enable row level security;
create policy members_read on metrics.reviews
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.reviews
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.reviews to authenticated;
grant select on table metrics.reviews to metrics_reader;
comment on column metrics.reviews.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.reviews.external_id is 'The sender''s id of the review.';
comment on column metrics.reviews.pull_request_number is 'The pull request that it is about. Merge: latest.';
comment on column metrics.reviews.reference_id is 'Repository reference, as the sender named it.';
comment on column metrics.reviews.reviewer is 'Login of the reviewer. Merge: latest.';
comment on column metrics.reviews.reviewer_is_bot is 'Whether the reviewer is a bot. Merge: latest, with reviewer.';
comment on column metrics.reviews.state is 'approved, changes_requested, commented, dismissed or pending. Merge: latest.';
comment on column metrics.reviews.submitted_at is 'When it was given. Merge: earliest.';
comment on column metrics.reviews.updated_at is 'When this row last changed here. Never part of a fact.';
comment on column metrics.reviews.url is 'Link to the provider. Merge: latest.';
comment on table metrics.reviews is 'Reviews of pull requests. Clocks compare by time, then rank: a dismissed review ranks above any other state.';

-- table metrics.rule_checks
create table metrics.rule_checks (
  reference_id bigint not null,
  external_id text not null,
  rule text,
  category text,
  status text,
  commit_sha text,
  pull_request_number integer,
  run_external_id text,
  detail text,
  checked_at timestamp with time zone,
  url text,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.rule_checks add constraint rule_checks_pkey PRIMARY KEY (reference_id, external_id);
alter table metrics.rule_checks add constraint status_is_known CHECK ((status = ANY (ARRAY['compliant'::text, 'violation'::text, 'warning'::text])));
CREATE INDEX rule_checks_checked_at_idx ON metrics.rule_checks USING btree (reference_id, checked_at);
CREATE TRIGGER count_deleted AFTER DELETE ON metrics.rule_checks REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION metrics.count_changed_checks();
CREATE TRIGGER count_inserted AFTER INSERT ON metrics.rule_checks REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION metrics.count_changed_checks();
CREATE TRIGGER count_updated AFTER UPDATE ON metrics.rule_checks REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION metrics.count_changed_checks();
alter table metrics.rule_checks enable row level security;
create policy members_read on metrics.rule_checks
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.rule_checks
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.rule_checks to authenticated;
grant select on table metrics.rule_checks to metrics_reader;
comment on column metrics.rule_checks.category is 'Category of the rule. Merge: latest.';
comment on column metrics.rule_checks.checked_at is 'When. Merge: latest.';
comment on column metrics.rule_checks.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.rule_checks.commit_sha is 'Commit that was checked. Merge: latest.';
comment on column metrics.rule_checks.detail is 'What was found. Merge: latest.';
comment on column metrics.rule_checks.external_id is 'The sender''s id of the check.';
comment on column metrics.rule_checks.pull_request_number is 'Pull request that was checked. Merge: latest.';
comment on column metrics.rule_checks.reference_id is 'Repository reference, as the sender named it.';
comment on column metrics.rule_checks.rule is 'Name of the rule. Merge: latest.';
comment on column metrics.rule_checks.run_external_id is 'Run that was checked. Merge: latest.';
comment on column metrics.rule_checks.status is 'compliant, violation or warning. Merge: latest.';
comment on column metrics.rule_checks.updated_at is 'When this row last changed here. Never part of a fact.';
comment on column metrics.rule_checks.url is 'Link to the provider. Merge: latest.';
comment on table metrics.rule_checks is 'One rule''s outcome for a commit, pull request or run each. Clocks compare by time.';

-- table metrics.rule_weeks
create table metrics.rule_weeks (
  generation integer not null,
  reference_id bigint not null,
  week date not null,
  compliant integer not null,
  violation integer not null,
  warning integer not null
) with (fillfactor=80);
alter table metrics.rule_weeks add constraint rule_weeks_pkey PRIMARY KEY (generation, reference_id, week);
alter table metrics.rule_weeks enable row level security;
create policy members_read on metrics.rule_weeks
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (generation >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.rule_weeks
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.rule_weeks to authenticated;
grant select on table metrics.rule_weeks to metrics_reader;
comment on column metrics.rule_weeks.compliant is 'Checks that found the rule kept.';
comment on column metrics.rule_weeks.generation is 'Generation in whose time zone the week is cut.';
comment on column metrics.rule_weeks.reference_id is 'Repository reference.';
comment on column metrics.rule_weeks.violation is 'Checks that found it broken.';
comment on column metrics.rule_weeks.warning is 'Checks that warned.';
comment on column metrics.rule_weeks.week is 'Monday of the week in which they were made.';
comment on table metrics.rule_weeks is 'Checks of rules by ISO week. A row that counts nothing is not there.';

-- table metrics.service_deployments
create table metrics.service_deployments (
  id bigint generated always as identity not null,
  generation integer not null,
  repository_id bigint not null,
  service_id bigint not null,
  kind text not null,
  reference_id bigint not null,
  external_id text not null,
  reference text not null,
  environment text not null,
  commit_sha text,
  outcome text not null,
  began_at timestamp with time zone,
  at timestamp with time zone,
  member_ids text[],
  line integer,
  "position" bigint,
  is_first boolean default false not null,
  is_redeploy boolean default false not null,
  is_rework boolean default false not null,
  causes text[],
  recovered_at timestamp with time zone,
  recovery_seconds double precision generated always as (
CASE
    WHEN (recovered_at >= at) THEN EXTRACT(epoch FROM (recovered_at - at))
    ELSE NULL::numeric
END) stored
);
alter table metrics.service_deployments add constraint service_deployment_is_unique UNIQUE (reference_id, external_id, generation, service_id);
alter table metrics.service_deployments add constraint service_deployment_kind_is_known CHECK ((kind = ANY (ARRAY['deployment'::text, 'pipeline_run'::text, 'release'::text])));
alter table metrics.service_deployments add constraint service_deployment_outcome_is_known CHECK ((outcome = ANY (ARRAY['success'::text, 'failure'::text])));
alter table metrics.service_deployments add constraint service_deployments_pkey PRIMARY KEY (id);
CREATE INDEX service_deployments_at_idx ON metrics.service_deployments USING btree (generation, service_id, at);
CREATE INDEX service_deployments_began_at_idx ON metrics.service_deployments USING btree (generation, service_id, began_at) WHERE (outcome = 'success'::text);
CREATE INDEX service_deployments_commit_sha_idx ON metrics.service_deployments USING hash (commit_sha);
CREATE INDEX service_deployments_member_ids_idx ON metrics.service_deployments USING gin (member_ids) WHERE (member_ids IS NOT NULL);
CREATE INDEX service_deployments_position_idx ON metrics.service_deployments USING btree (generation, service_id, line, "position") WHERE ((outcome = 'success'::text) AND ("position" IS NOT NULL));
CREATE INDEX service_deployments_recovered_at_idx ON metrics.service_deployments USING btree (generation, service_id, recovered_at) WHERE (causes IS NOT NULL);
CREATE TRIGGER count_deleted AFTER DELETE ON metrics.service_deployments REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION metrics.service_deployments_changed();
CREATE TRIGGER count_inserted AFTER INSERT ON metrics.service_deployments REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION metrics.service_deployments_changed();
CREATE TRIGGER count_updated AFTER UPDATE ON metrics.service_deployments REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION metrics.service_deployments_changed();
alter table metrics.service_deployments enable row level security;
create policy members_read on metrics.service_deployments
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (repository_id IN ( SELECT metrics.readable_repositories() AS readable_repositories))));
create policy readers_read on metrics.service_deployments
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.service_deployments to authenticated;
grant select on table metrics.service_deployments to metrics_reader;
comment on column metrics.service_deployments."position" is 'Place of its commit in the line.';
comment on column metrics.service_deployments.at is 'When it was done; of a rollout, the last of it.';
comment on column metrics.service_deployments.began_at is 'When it began; of a rollout, the first of it.';
comment on column metrics.service_deployments.causes is 'Why it is a failed change: rolled_back, incident, fixed_forward; NULL when it is none.';
comment on column metrics.service_deployments.commit_sha is 'Commit that was deployed.';
comment on column metrics.service_deployments.environment is 'Name of the environment; of a rollout, of its first.';
comment on column metrics.service_deployments.external_id is 'The sender''s id of the fact; of a run with #attempt; of a rollout, of its first.';
comment on column metrics.service_deployments.generation is 'The generation that it belongs to.';
comment on column metrics.service_deployments.id is 'Key.';
comment on column metrics.service_deployments.is_first is 'Whether it is the first successful one of its service.';
comment on column metrics.service_deployments.is_redeploy is 'Whether the one before it in its environment put the same commit there.';
comment on column metrics.service_deployments.is_rework is 'Whether it rolled back or fixed another one.';
comment on column metrics.service_deployments.kind is 'What told of it: deployment, pipeline_run or release.';
comment on column metrics.service_deployments.line is 'Line of moves that its commit stands on; NULL when the commit is not on the default branch.';
comment on column metrics.service_deployments.member_ids is 'External ids of all deployments of the rollout; NULL for one alone.';
comment on column metrics.service_deployments.outcome is 'success, or failure when it did not reach the environment.';
comment on column metrics.service_deployments.recovered_at is 'When the first of what ended the failure was there.';
comment on column metrics.service_deployments.recovery_seconds is 'Seconds from its end to that.';
comment on column metrics.service_deployments.reference is 'That reference as text, which decides between equal ids.';
comment on column metrics.service_deployments.reference_id is 'Repository reference of the fact; of a rollout, of its first.';
comment on column metrics.service_deployments.repository_id is 'Repository of the service.';
comment on column metrics.service_deployments.service_id is 'Service.';
comment on table metrics.service_deployments is 'Derived: production deployments of services, those of one rollout as one. Times are known of all.';

-- table metrics.service_weeks
create table metrics.service_weeks (
  generation integer not null,
  service_id bigint not null,
  week date not null,
  environment text not null,
  repository_id bigint not null,
  deployments integer default 0 not null,
  redeploys integer default 0 not null,
  firsts integer default 0 not null,
  unknown_commits integer default 0 not null,
  failed_attempts integer default 0 not null,
  failed_changes integer default 0 not null,
  open_failures integer default 0 not null,
  rolled_back integer default 0 not null,
  incidents integer default 0 not null,
  fixed_forward integer default 0 not null,
  rework integer default 0 not null,
  by_day integer[] default '{0,0,0,0,0,0,0}'::integer[] not null,
  recovered integer default 0 not null,
  recovery_tally numeric default 0 not null
);
alter table metrics.service_weeks add constraint service_weeks_pkey PRIMARY KEY (generation, service_id, week, environment);
alter table metrics.service_weeks enable row level security;
create policy members_read on metrics.service_weeks
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (repository_id IN ( SELECT metrics.readable_repositories() AS readable_repositories))));
create policy readers_read on metrics.service_weeks
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.service_weeks to authenticated;
grant select on table metrics.service_weeks to metrics_reader;
comment on column metrics.service_weeks.by_day is 'Successful ones by day, Monday first.';
comment on column metrics.service_weeks.deployments is 'Successful ones.';
comment on column metrics.service_weeks.environment is 'Environment.';
comment on column metrics.service_weeks.failed_attempts is 'Those that did not reach the environment.';
comment on column metrics.service_weeks.failed_changes is 'Successful ones that failed afterwards.';
comment on column metrics.service_weeks.firsts is 'Whether the service''s first is among them.';
comment on column metrics.service_weeks.fixed_forward is 'Failed ones that were fixed forward.';
comment on column metrics.service_weeks.generation is 'The generation that it belongs to.';
comment on column metrics.service_weeks.incidents is 'Failed ones with an incident.';
comment on column metrics.service_weeks.open_failures is 'Those of them that nothing has ended yet.';
comment on column metrics.service_weeks.recovered is 'Failures that ended in this week, whenever they were deployed.';
comment on column metrics.service_weeks.recovery_tally is 'How long those took to end: a tally of their seconds, see metrics.tally_of.';
comment on column metrics.service_weeks.redeploys is 'Successful ones of the commit that was there.';
comment on column metrics.service_weeks.repository_id is 'Repository of the service.';
comment on column metrics.service_weeks.rework is 'Successful ones that rolled back or fixed another.';
comment on column metrics.service_weeks.rolled_back is 'Failed ones that were rolled back.';
comment on column metrics.service_weeks.service_id is 'Service.';
comment on column metrics.service_weeks.unknown_commits is 'Successful ones of a commit that is not on the default branch.';
comment on column metrics.service_weeks.week is 'Monday of the week in which they were done, or ended.';
comment on table metrics.service_weeks is 'Production deployments of services by ISO week and environment. Equals its recomputation from service_deployments.';

-- table metrics.services
create table metrics.services (
  id bigint generated always as identity not null,
  generation integer not null,
  repository_id bigint not null,
  name text,
  "position" integer default 0 not null,
  deployment_pattern text,
  environment_pattern text,
  path_globs text[],
  source text default 'deployments'::text not null,
  pipeline text,
  rollout_pattern text
);
alter table metrics.services add constraint a_service_without_a_name_has_no_rules CHECK (((name IS NOT NULL) OR ((num_nonnulls(deployment_pattern, environment_pattern, path_globs, rollout_pattern) = 0) AND (source = 'deployments'::text))));
alter table metrics.services add constraint only_a_service_of_runs_names_a_pipeline CHECK (((source = 'pipeline'::text) = (pipeline IS NOT NULL)));
alter table metrics.services add constraint service_name_is_not_empty CHECK (((btrim(name) <> ''::text) AND (length(name) <= 200)));
alter table metrics.services add constraint service_source_is_known CHECK ((source = ANY (ARRAY['deployments'::text, 'pipeline'::text, 'releases'::text])));
alter table metrics.services add constraint services_pkey PRIMARY KEY (id);
CREATE UNIQUE INDEX services_default_idx ON metrics.services USING btree (generation, repository_id) WHERE (name IS NULL);
CREATE INDEX services_lower_name_idx ON metrics.services USING btree (generation, lower(name)) WHERE (name IS NOT NULL);
CREATE UNIQUE INDEX services_name_idx ON metrics.services USING btree (generation, name) WHERE (name IS NOT NULL);
CREATE INDEX services_repository_id_idx ON metrics.services USING btree (generation, repository_id, "position");
alter table metrics.services enable row level security;
create policy members_read on metrics.services
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (repository_id IN ( SELECT metrics.readable_repositories() AS readable_repositories))));
create policy readers_read on metrics.services
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.services to authenticated;
grant select on table metrics.services to metrics_reader;
comment on column metrics.services."position" is 'A deployment belongs to the first service of its repository that it matches, by this.';
comment on column metrics.services.deployment_pattern is 'Regular expression for the names of its deployments; NULL for any.';
comment on column metrics.services.environment_pattern is 'Regular expression for the environments of its deployments; NULL for any.';
comment on column metrics.services.generation is 'The generation that it belongs to.';
comment on column metrics.services.id is 'Key.';
comment on column metrics.services.name is 'Name; NULL for the one that goes by its repository''s.';
comment on column metrics.services.path_globs is 'Paths whose change is a change of it; NULL for all.';
comment on column metrics.services.pipeline is 'The pipeline whose finished runs on the default branch are its deployments.';
comment on column metrics.services.repository_id is 'Where its code lives.';
comment on column metrics.services.rollout_pattern is 'Regular expression for the environments that one rollout goes to.';
comment on column metrics.services.source is 'What its deployments are told by: deployments, runs of a pipeline on the default branch, or releases.';
comment on table metrics.services is 'What is deployed. A repository is one service of its own name, or has the services that admins named.';

-- table metrics.settings
create table metrics.settings (
  is_single boolean default true not null,
  time_zone text default 'UTC'::text not null,
  body_days integer default 30 not null,
  quarantined_body_days integer default 90 not null,
  delivery_days integer default 35 not null,
  job_days integer default 400 not null,
  test_case_days integer default 400 not null,
  incident_window_seconds integer default 86400 not null,
  rollout_seconds integer default 3600 not null,
  hotfix_labels text[] default ARRAY['hotfix'::text] not null,
  band_year integer default 2023 not null
);
alter table metrics.settings add constraint body_days_is_a_day_to_400 CHECK (((body_days >= 1) AND (body_days <= 400)));
alter table metrics.settings add constraint delivery_days_outlasts_redelivery CHECK (((delivery_days >= 31) AND (delivery_days <= 36500)));
alter table metrics.settings add constraint incident_window_is_a_minute_to_90_days CHECK (((incident_window_seconds >= 60) AND (incident_window_seconds <= 7776000)));
alter table metrics.settings add constraint job_days_is_at_least_a_week CHECK (((job_days >= 7) AND (job_days <= 36500)));
alter table metrics.settings add constraint quarantined_body_days_is_a_day_to_400 CHECK (((quarantined_body_days >= 1) AND (quarantined_body_days <= 400)));
alter table metrics.settings add constraint rollout_is_a_minute_to_a_week CHECK (((rollout_seconds >= 60) AND (rollout_seconds <= 604800)));
alter table metrics.settings add constraint settings_are_one_row CHECK (is_single);
alter table metrics.settings add constraint settings_pkey PRIMARY KEY (is_single);
alter table metrics.settings add constraint test_case_days_is_at_least_a_week CHECK (((test_case_days >= 7) AND (test_case_days <= 36500)));
alter table metrics.settings enable row level security;
create policy members_read on metrics.settings
  as permissive
  for select
  to authenticated
  using ((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)));
create policy readers_read on metrics.settings
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.settings to authenticated;
grant select on table metrics.settings to metrics_reader;
comment on column metrics.settings.band_year is 'Year of the DORA report whose bands numbers are put into.';
comment on column metrics.settings.body_days is 'Days that the body of a stored delivery is kept.';
comment on column metrics.settings.delivery_days is 'Days that a delivery is remembered, so that its id is known when it comes again.';
comment on column metrics.settings.hotfix_labels is 'A merged pull request with one of these labels mends what was deployed before it. Compared in lower case.';
comment on column metrics.settings.incident_window_seconds is 'An incident that names no deployment belongs to the last one that began at most so many seconds before it.';
comment on column metrics.settings.is_single is 'Always true: the key that keeps this table at one row.';
comment on column metrics.settings.job_days is 'Days that jobs are kept; the horizon moves by whole ISO weeks.';
comment on column metrics.settings.quarantined_body_days is 'Days that the body of a quarantined delivery is kept.';
comment on column metrics.settings.rollout_seconds is 'Deployments of one commit to the environments of a rollout group within so many seconds are one.';
comment on column metrics.settings.test_case_days is 'Days that test cases are kept; the horizon moves by whole ISO weeks.';
comment on column metrics.settings.time_zone is 'IANA name of the zone in which days and ISO weeks are cut.';
comment on table metrics.settings is 'What this installation chose. One row, changed by metrics.set_setting.';

-- table metrics.team_members
create table metrics.team_members (
  team_id bigint not null,
  email text not null
);
alter table metrics.team_members add constraint team_member_is_a_member FOREIGN KEY (email) REFERENCES metrics.members(email) ON DELETE CASCADE;
alter table metrics.team_members add constraint team_member_is_of_a_team FOREIGN KEY (team_id) REFERENCES metrics.teams(id) ON DELETE CASCADE;
alter table metrics.team_members add constraint team_members_pkey PRIMARY KEY (team_id, email);
CREATE INDEX team_members_email_idx ON metrics.team_members USING btree (email);
alter table metrics.team_members enable row level security;
create policy members_read on metrics.team_members
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND ( SELECT metrics.is_admin() AS is_admin)));
grant select on table metrics.team_members to authenticated;
comment on column metrics.team_members.email is 'Member.';
comment on column metrics.team_members.team_id is 'Team.';
comment on table metrics.team_members is 'Which members are in which teams.';

-- table metrics.team_repositories
create table metrics.team_repositories (
  team_id bigint not null,
  repository_id bigint not null
);
alter table metrics.team_repositories add constraint team_repositories_pkey PRIMARY KEY (team_id, repository_id);
alter table metrics.team_repositories add constraint team_repository_is_a_repository FOREIGN KEY (repository_id) REFERENCES metrics.repositories(id) ON DELETE CASCADE;
alter table metrics.team_repositories add constraint team_repository_is_of_a_team FOREIGN KEY (team_id) REFERENCES metrics.teams(id) ON DELETE CASCADE;
CREATE INDEX team_repositories_repository_id_idx ON metrics.team_repositories USING btree (repository_id);
alter table metrics.team_repositories enable row level security;
create policy members_read on metrics.team_repositories
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (repository_id IN ( SELECT metrics.readable_repositories() AS readable_repositories))));
create policy readers_read on metrics.team_repositories
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.team_repositories to authenticated;
grant select on table metrics.team_repositories to metrics_reader;
comment on column metrics.team_repositories.repository_id is 'Repository.';
comment on column metrics.team_repositories.team_id is 'Team.';
comment on table metrics.team_repositories is 'Which repositories the viewers of a team may read.';

-- table metrics.teams
create table metrics.teams (
  id bigint generated always as identity not null,
  name text not null
);
alter table metrics.teams add constraint team_name_is_not_empty CHECK (((btrim(name) <> ''::text) AND (length(name) <= 200)));
alter table metrics.teams add constraint team_name_is_unique UNIQUE (name);
alter table metrics.teams add constraint teams_pkey PRIMARY KEY (id);
alter table metrics.teams enable row level security;
create policy members_read on metrics.teams
  as permissive
  for select
  to authenticated
  using ((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)));
create policy readers_read on metrics.teams
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.teams to authenticated;
grant select on table metrics.teams to metrics_reader;
comment on column metrics.teams.id is 'Key.';
comment on column metrics.teams.name is 'Name.';
comment on table metrics.teams is 'Teams, which share the reading of repositories.';

-- table metrics.test_cases
create table metrics.test_cases (
  reference_id bigint not null,
  test_run_external_id text not null,
  test_id bigint not null,
  outcome text,
  message text,
  duration_seconds double precision,
  retries integer,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.test_cases add constraint outcome_is_known CHECK ((outcome = ANY (ARRAY['passed'::text, 'failed'::text, 'error'::text, 'skipped'::text])));
alter table metrics.test_cases add constraint retries_are_not_negative CHECK ((retries >= 0));
alter table metrics.test_cases add constraint test_cases_pkey PRIMARY KEY (reference_id, test_run_external_id, test_id);
CREATE INDEX test_cases_retried_idx ON metrics.test_cases USING btree (reference_id, test_run_external_id) WHERE ((outcome = 'passed'::text) AND (retries > 0));
CREATE INDEX test_cases_test_id_idx ON metrics.test_cases USING btree (test_id);
CREATE INDEX test_cases_time_idx ON metrics.test_cases USING brin (updated_at);
alter table metrics.test_cases enable row level security;
create policy members_read on metrics.test_cases
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (test_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.test_cases
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.test_cases to authenticated;
grant select on table metrics.test_cases to metrics_reader;
comment on column metrics.test_cases.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.test_cases.duration_seconds is 'Seconds, as reported. Merge: latest, with outcome.';
comment on column metrics.test_cases.message is 'What it said. Merge: latest, with outcome.';
comment on column metrics.test_cases.outcome is 'passed, failed, error or skipped. Merge: latest.';
comment on column metrics.test_cases.reference_id is 'Repository reference, as the sender named it.';
comment on column metrics.test_cases.retries is 'How often it was tried again. Merge: latest, with outcome.';
comment on column metrics.test_cases.test_id is 'The test.';
comment on column metrics.test_cases.test_run_external_id is 'The sender''s id of the test run.';
comment on column metrics.test_cases.updated_at is 'When this row last changed here. Never part of a fact.';
comment on table metrics.test_cases is 'Test cases that need words: failures, retries, slow ones. Clocks compare by time.';

-- table metrics.test_runs
create table metrics.test_runs (
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
  started_at timestamp with time zone,
  passed bigint[],
  skipped bigint[],
  is_inconclusive boolean generated always as (((((COALESCE(passed_count, 0) + COALESCE(failed_count, 0)) + COALESCE(error_count, 0)) >= 20) AND (((COALESCE(failed_count, 0) + COALESCE(error_count, 0)))::numeric >= (0.8 * (((COALESCE(passed_count, 0) + COALESCE(failed_count, 0)) + COALESCE(error_count, 0)))::numeric)))) stored not null,
  url text,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.test_runs add constraint counts_are_not_negative CHECK ((LEAST(passed_count, failed_count, skipped_count, error_count) >= 0));
alter table metrics.test_runs add constraint test_runs_pkey PRIMARY KEY (reference_id, external_id);
CREATE INDEX test_runs_started_at_idx ON metrics.test_runs USING btree (reference_id, started_at);
CREATE TRIGGER count_deleted AFTER DELETE ON metrics.test_runs REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION metrics.count_changed_test_runs();
CREATE TRIGGER count_inserted AFTER INSERT ON metrics.test_runs REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION metrics.count_changed_test_runs();
CREATE TRIGGER count_updated AFTER UPDATE ON metrics.test_runs REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION metrics.count_changed_test_runs();
alter table metrics.test_runs enable row level security;
create policy members_read on metrics.test_runs
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.test_runs
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.test_runs to authenticated;
grant select on table metrics.test_runs to metrics_reader;
comment on column metrics.test_runs.branch is 'Branch. Merge: latest.';
comment on column metrics.test_runs.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.test_runs.commit_sha is 'Commit that was tested. Merge: latest.';
comment on column metrics.test_runs.duration_seconds is 'Seconds, as reported. Merge: latest.';
comment on column metrics.test_runs.error_count is 'Tests that ended in an error of their machinery. Merge: latest, with passed_count.';
comment on column metrics.test_runs.external_id is 'The sender''s id of the test run.';
comment on column metrics.test_runs.failed_count is 'Tests that failed. Merge: latest, with passed_count.';
comment on column metrics.test_runs.is_inconclusive is 'Whether four fifths or more of at least twenty tests failed: that tells of the machine, and nothing of the tests.';
comment on column metrics.test_runs.job is 'Name of the job. Merge: latest.';
comment on column metrics.test_runs.passed is 'Numbers of the tests that passed, ascending. Merge: latest.';
comment on column metrics.test_runs.passed_count is 'Tests that passed. Merge: latest.';
comment on column metrics.test_runs.pipeline is 'Name of the pipeline. Merge: latest.';
comment on column metrics.test_runs.reference_id is 'Repository reference, as the sender named it.';
comment on column metrics.test_runs.skipped is 'Numbers of the tests that were skipped, ascending. Merge: latest.';
comment on column metrics.test_runs.skipped_count is 'Tests that were skipped. Merge: latest, with passed_count.';
comment on column metrics.test_runs.started_at is 'When it started. Merge: earliest.';
comment on column metrics.test_runs.suite is 'Suite. Merge: latest.';
comment on column metrics.test_runs.updated_at is 'When this row last changed here. Never part of a fact.';
comment on column metrics.test_runs.url is 'Link to the provider. Merge: latest.';
comment on table metrics.test_runs is 'One suite''s result for a commit each. Clocks compare by time.';

-- table metrics.test_weeks
create table metrics.test_weeks (
  generation integer not null,
  reference_id bigint not null,
  week date not null,
  runs integer not null,
  passed bigint not null,
  failed bigint not null,
  skipped bigint not null
) with (fillfactor=80);
alter table metrics.test_weeks add constraint test_weeks_pkey PRIMARY KEY (generation, reference_id, week);
alter table metrics.test_weeks enable row level security;
create policy members_read on metrics.test_weeks
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (generation >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.test_weeks
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.test_weeks to authenticated;
grant select on table metrics.test_weeks to metrics_reader;
comment on column metrics.test_weeks.failed is 'Tests that failed, those among them whose machinery did.';
comment on column metrics.test_weeks.generation is 'Generation in whose time zone the week is cut.';
comment on column metrics.test_weeks.passed is 'Tests that passed.';
comment on column metrics.test_weeks.reference_id is 'Repository reference.';
comment on column metrics.test_weeks.runs is 'Test runs.';
comment on column metrics.test_weeks.skipped is 'Tests that were skipped.';
comment on column metrics.test_weeks.week is 'Monday of the week in which they started.';
comment on table metrics.test_weeks is 'Test runs by ISO week, and what became of their tests. A row that counts nothing is not there.';

-- table metrics.tests
create table metrics.tests (
  id bigint generated always as identity not null,
  reference_id bigint not null,
  suite text not null,
  name text not null
);
alter table metrics.tests add constraint test_is_unique UNIQUE (reference_id, suite, name);
alter table metrics.tests add constraint tests_pkey PRIMARY KEY (id);
alter table metrics.tests enable row level security;
create policy members_read on metrics.tests
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.tests
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.tests to authenticated;
grant select on table metrics.tests to metrics_reader;
comment on column metrics.tests.id is 'Key.';
comment on column metrics.tests.name is 'Full name of the test.';
comment on column metrics.tests.reference_id is 'Repository reference.';
comment on column metrics.tests.suite is 'Suite, empty where the report has none.';
comment on table metrics.tests is 'A number per test, so that a passed test costs eight bytes a run.';

-- table metrics.under_way
create table metrics.under_way (
  generation integer not null,
  repository_id bigint not null,
  place jsonb
);
alter table metrics.under_way add constraint under_way_pkey PRIMARY KEY (generation);
alter table metrics.under_way enable row level security;
comment on column metrics.under_way.generation is 'The generation.';
comment on column metrics.under_way.place is 'Where to go on: see metrics.derive_slice. NULL once all is derived but what was told meanwhile.';
comment on column metrics.under_way.repository_id is 'The repository.';
comment on table metrics.under_way is 'The repository that is being derived in a generation that is built, and how far that is.';

-- view metrics.daily_development_metrics
create view metrics.daily_development_metrics with (security_invoker=true) as
 SELECT d.day,
    m.metric,
    m.value,
    m.unit,
    m.sample_size
   FROM (( SELECT g.id AS generation,
            (s.at)::date AS day,
            (s.at AT TIME ZONE g.time_zone) AS starts_at,
            ((s.at + '1 day'::interval) AT TIME ZONE g.time_zone) AS ends_at,
            f.first_deployed_at
           FROM ((metrics.generations g
             CROSS JOIN LATERAL ( SELECT min(e.at) AS first_deployed_at
                   FROM (metrics.services v
                     CROSS JOIN LATERAL ( SELECT t.at
                           FROM metrics.service_deployments t
                          WHERE ((t.generation = g.id) AND (t.service_id = v.id) AND (t.outcome = 'success'::text))
                          ORDER BY t.at
                         LIMIT 1) e)
                  WHERE (v.generation = g.id)) f)
             CROSS JOIN LATERAL generate_series((((now() AT TIME ZONE g.time_zone))::date - '399 days'::interval), (((now() AT TIME ZONE g.time_zone))::date)::timestamp without time zone, '1 day'::interval) s(at))
          WHERE (g.state = 'current'::text)) d
     CROSS JOIN LATERAL ( SELECT 'deployment_frequency'::text AS metric,
            (
                CASE
                    WHEN (d.first_deployed_at < d.ends_at) THEN count(e.at)
                    ELSE NULL::bigint
                END)::double precision AS value,
            'deployments'::text AS unit,
            count(e.at) AS sample_size
           FROM (metrics.services s
             CROSS JOIN LATERAL ( SELECT t.at
                   FROM metrics.service_deployments t
                  WHERE ((t.generation = d.generation) AND (t.service_id = s.id) AND (t.outcome = 'success'::text) AND (t.at >= d.starts_at) AND (t.at < d.ends_at))
                 OFFSET 0) e)
          WHERE (s.generation = d.generation)
        UNION ALL
         SELECT 'change_lead_time'::text,
            percentile_disc((0.5)::double precision) WITHIN GROUP (ORDER BY c.lead_seconds) AS percentile_disc,
            'seconds'::text,
            count(c.lead_seconds) AS count
           FROM (metrics.services s
             CROSS JOIN LATERAL ( SELECT t.lead_seconds
                   FROM metrics.changes t
                  WHERE ((t.generation = d.generation) AND (t.service_id = s.id) AND (t.shipped_at >= d.starts_at) AND (t.shipped_at < d.ends_at) AND (t.exclusion IS NULL))
                 OFFSET 0) c)
          WHERE (s.generation = d.generation)
        UNION ALL
         SELECT 'pull_request_cycle_time'::text,
            percentile_disc((0.5)::double precision) WITHIN GROUP (ORDER BY p.total_seconds) AS percentile_disc,
            'seconds'::text,
            count(p.total_seconds) AS count
           FROM (metrics.repository_references r
             CROSS JOIN LATERAL ( SELECT t.total_seconds
                   FROM metrics.pull_requests t
                  WHERE ((t.reference_id = r.id) AND (t.merged_at >= d.starts_at) AND (t.merged_at < d.ends_at))
                 OFFSET 0) p)
        UNION ALL
         SELECT v.metric,
            v.value,
            v.unit,
            v.sample_size
           FROM (( SELECT count(*) FILTER (WHERE (p.outcome = 'success'::text)) AS success,
                    count(*) FILTER (WHERE (p.outcome = ANY (ARRAY['success'::text, 'failure'::text, 'timed_out'::text, 'error'::text]))) AS decided,
                    percentile_disc((0.5)::double precision) WITHIN GROUP (ORDER BY p.duration_seconds) AS duration,
                    count(p.duration_seconds) AS durations
                   FROM (metrics.repository_references r
                     CROSS JOIN LATERAL ( SELECT t.outcome,
                            t.duration_seconds
                           FROM metrics.pipeline_runs t
                          WHERE ((t.reference_id = r.id) AND (t.ended_at >= d.starts_at) AND (t.ended_at < d.ends_at))
                         OFFSET 0) p)) o
             CROSS JOIN LATERAL ( VALUES ('pipeline_success_rate'::text,((o.success)::double precision / (NULLIF(o.decided, 0))::double precision),'ratio'::text,o.decided), ('pipeline_duration'::text,o.duration,'seconds'::text,o.durations)) v(metric, value, unit, sample_size))
        UNION ALL
         SELECT 'test_pass_rate'::text,
            ((sum(t.passed))::double precision / (NULLIF(sum((t.passed + t.failed)), 0))::double precision),
            'ratio'::text,
            COALESCE(sum((t.passed + t.failed)), (0)::bigint) AS "coalesce"
           FROM (metrics.repository_references r
             CROSS JOIN LATERAL ( SELECT COALESCE(u.passed_count, 0) AS passed,
                    (COALESCE(u.failed_count, 0) + COALESCE(u.error_count, 0)) AS failed
                   FROM metrics.test_runs u
                  WHERE ((u.reference_id = r.id) AND (u.started_at >= d.starts_at) AND (u.started_at < d.ends_at))
                 OFFSET 0) t)
        UNION ALL
         SELECT 'rule_compliance_rate'::text,
            ((count(*) FILTER (WHERE (k.status = 'compliant'::text)))::double precision / (NULLIF(count(k.status), 0))::double precision),
            'ratio'::text,
            count(k.status) AS count
           FROM (metrics.repository_references r
             CROSS JOIN LATERAL ( SELECT c.status
                   FROM metrics.rule_checks c
                  WHERE ((c.reference_id = r.id) AND (c.checked_at >= d.starts_at) AND (c.checked_at < d.ends_at))
                 OFFSET 0) k)) m);
grant select on table metrics.daily_development_metrics to authenticated;
grant select on table metrics.daily_development_metrics to metrics_reader;
comment on view column metrics.daily_development_metrics.day is 'The day, in the installation''s time zone.';
comment on view column metrics.daily_development_metrics.metric is 'deployment_frequency (successful production deployments), change_lead_time, pull_request_cycle_time, pipeline_duration (medians), pipeline_success_rate, test_pass_rate or rule_compliance_rate.';
comment on view column metrics.daily_development_metrics.sample_size is 'How many deployments, changes, pull requests, runs, tests or checks it is of.';
comment on view column metrics.daily_development_metrics.unit is 'deployments, seconds or ratio.';
comment on view column metrics.daily_development_metrics.value is 'The number; NULL where there is nothing to count.';
comment on view metrics.daily_development_metrics is 'A number for each of the last 400 days and each metric, of all repositories that the reader may read; NULL where there is nothing to count. The functions of the same names say more, and of any period.';

-- view metrics.deployment_events
create view metrics.deployment_events with (security_invoker=true) as
 SELECT r.repository_id,
    o.full_name AS repository,
    d.external_id,
    e.event,
    e.happened_at,
    d.name,
    d.environment,
    d.environment_tier,
    d.commit_sha,
    e.outcome,
    d.actor,
    d.actor_is_bot,
    d.url
   FROM (((metrics.deployments d
     JOIN metrics.repository_references r ON ((r.id = d.reference_id)))
     JOIN metrics.repositories o ON ((o.id = r.repository_id)))
     CROSS JOIN LATERAL ( VALUES ('created'::text,d.created_at,NULL::text), ('started'::text,d.started_at,NULL::text), ('finished'::text,
                CASE
                    WHEN (d.status = 'finished'::text) THEN d.finished_at
                    ELSE NULL::timestamp with time zone
                END,d.outcome)) e(event, happened_at, outcome))
  WHERE (e.happened_at IS NOT NULL);
grant select on table metrics.deployment_events to authenticated;
grant select on table metrics.deployment_events to metrics_reader;
comment on view column metrics.deployment_events.actor is 'Login of who deployed.';
comment on view column metrics.deployment_events.actor_is_bot is 'Whether that is a bot.';
comment on view column metrics.deployment_events.commit_sha is 'Commit that was deployed.';
comment on view column metrics.deployment_events.environment is 'Name of the environment.';
comment on view column metrics.deployment_events.environment_tier is 'production, staging, development or other, where the sender says.';
comment on view column metrics.deployment_events.event is 'created, started or finished.';
comment on view column metrics.deployment_events.external_id is 'The sender''s id of the deployment.';
comment on view column metrics.deployment_events.happened_at is 'When.';
comment on view column metrics.deployment_events.name is 'What was deployed or how, in the sender''s word.';
comment on view column metrics.deployment_events.outcome is 'How it ended, of finished.';
comment on view column metrics.deployment_events.repository is 'Owner and name; NULL where no sender said it.';
comment on view column metrics.deployment_events.repository_id is 'Repository.';
comment on view column metrics.deployment_events.url is 'Link to the provider.';
comment on view metrics.deployment_events is 'What happened to deployments: one row each time that one was created, started or finished.';

-- view metrics.pull_request_events
create view metrics.pull_request_events with (security_invoker=true) as
 SELECT r.repository_id,
    o.full_name AS repository,
    p.number,
    e.event,
    e.happened_at,
    e.actor,
    e.actor_is_bot,
    p.title,
    p.head_branch,
    p.base_branch,
    e.commit_sha,
    e.url
   FROM (((metrics.pull_requests p
     JOIN metrics.repository_references r ON ((r.id = p.reference_id)))
     JOIN metrics.repositories o ON ((o.id = r.repository_id)))
     CROSS JOIN LATERAL ( SELECT 'opened'::text AS event,
            p.opened_at AS happened_at,
            p.author AS actor,
            p.author_is_bot AS actor_is_bot,
            NULL::text AS commit_sha,
            p.url
        UNION ALL
         SELECT 'ready'::text,
            t.at,
            NULL::text,
            NULL::boolean,
            NULL::text,
            p.url
           FROM unnest(p.ready_times) t(at)
        UNION ALL
         SELECT COALESCE(('review_'::text || v.state), 'review'::text) AS "coalesce",
            v.submitted_at,
            v.reviewer,
            v.reviewer_is_bot,
            NULL::text,
            v.url
           FROM metrics.reviews v
          WHERE ((v.reference_id = p.reference_id) AND (v.pull_request_number = p.number))
        UNION ALL
         SELECT
                CASE p.state
                    WHEN 'merged'::text THEN 'merged'::text
                    ELSE 'closed'::text
                END AS "case",
            COALESCE(p.merged_at, p.closed_at) AS "coalesce",
            NULL::text,
            NULL::boolean,
            p.merge_sha,
            p.url
          WHERE (p.state = ANY (ARRAY['merged'::text, 'closed'::text]))) e)
  WHERE (e.happened_at IS NOT NULL);
grant select on table metrics.pull_request_events to authenticated;
grant select on table metrics.pull_request_events to metrics_reader;
comment on view column metrics.pull_request_events.actor is 'Login of the author or reviewer, where the sender says.';
comment on view column metrics.pull_request_events.actor_is_bot is 'Whether that is a bot.';
comment on view column metrics.pull_request_events.base_branch is 'Branch that it goes to.';
comment on view column metrics.pull_request_events.commit_sha is 'Commit that it became when merged.';
comment on view column metrics.pull_request_events.event is 'opened, ready, review_ with the state of the review, merged or closed.';
comment on view column metrics.pull_request_events.happened_at is 'When.';
comment on view column metrics.pull_request_events.head_branch is 'Branch that it comes from.';
comment on view column metrics.pull_request_events.number is 'Number of the pull request.';
comment on view column metrics.pull_request_events.repository is 'Owner and name; NULL where no sender said it.';
comment on view column metrics.pull_request_events.repository_id is 'Repository.';
comment on view column metrics.pull_request_events.title is 'Title of the pull request.';
comment on view column metrics.pull_request_events.url is 'Link to the provider.';
comment on view metrics.pull_request_events is 'What happened to pull requests: one row each time that one was opened, marked ready, reviewed, merged or closed.';

-- view metrics.rule_compliance_events
create view metrics.rule_compliance_events with (security_invoker=true) as
 SELECT r.repository_id,
    o.full_name AS repository,
    k.external_id,
    k.checked_at AS happened_at,
    k.rule,
    k.category,
    k.status,
    k.commit_sha,
    k.pull_request_number,
    k.run_external_id,
    k.detail,
    k.url
   FROM ((metrics.rule_checks k
     JOIN metrics.repository_references r ON ((r.id = k.reference_id)))
     JOIN metrics.repositories o ON ((o.id = r.repository_id)));
grant select on table metrics.rule_compliance_events to authenticated;
grant select on table metrics.rule_compliance_events to metrics_reader;
comment on view column metrics.rule_compliance_events.category is 'Category of the rule.';
comment on view column metrics.rule_compliance_events.commit_sha is 'Commit that was checked.';
comment on view column metrics.rule_compliance_events.detail is 'What was found.';
comment on view column metrics.rule_compliance_events.external_id is 'The sender''s id of the check.';
comment on view column metrics.rule_compliance_events.happened_at is 'When it was checked.';
comment on view column metrics.rule_compliance_events.pull_request_number is 'Pull request that was checked.';
comment on view column metrics.rule_compliance_events.repository is 'Owner and name; NULL where no sender said it.';
comment on view column metrics.rule_compliance_events.repository_id is 'Repository.';
comment on view column metrics.rule_compliance_events.rule is 'Name of the rule.';
comment on view column metrics.rule_compliance_events.run_external_id is 'Run that was checked.';
comment on view column metrics.rule_compliance_events.status is 'compliant, violation or warning.';
comment on view column metrics.rule_compliance_events.url is 'Link to the provider.';
comment on view metrics.rule_compliance_events is 'Outcomes of rules: one row for each check of one.';

-- function metrics.accept_membership()
CREATE OR REPLACE FUNCTION metrics.accept_membership()
 RETURNS text
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  caller_id constant uuid := (select auth.uid());
  accepted record;
begin
  select m.role
  into accepted
  from metrics.members as m
  where m.user_id = caller_id;
  if found then
    return accepted.role;
  end if;
  update metrics.members as m
  set
    user_id = caller_id,
    accepted_at = now()
  from auth.users as u
  where u.id = caller_id
    and u.email_confirmed_at is not null
    and lower(u.email) = m.email
    and m.user_id is null
  returning m.email, m.role
  into accepted;
  if not found then
    raise exception using
      errcode = '42501',
      message = 'no membership waits for this user',
      hint = 'An admin adds the address with metrics.add_member, and the address must be confirmed.';
  end if;
  perform metrics.note('accept_membership', null, jsonb_build_object('email', accepted.email, 'role', accepted.role));
  return accepted.role;
end
$function$;
grant execute on function metrics.accept_membership() to authenticated;
comment on function metrics.accept_membership() is 'Ties the signed-in user to the membership of its confirmed address, once; returns the role.';

-- function metrics.add_identity(identity metrics.identities)
CREATE OR REPLACE FUNCTION metrics.add_identity(identity metrics.identities)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  broken text;
begin
  if identity.expires_at <= now() then
    raise exception using
      errcode = '22023',
      message = 'expires_at is in the past';
  end if;
  insert into metrics.identities (
    id, name, kind, provider, issuer, audience, claims, token_sha256, sources, repositories, fact_kinds, calls_per_minute, expires_at
  )
  overriding system value
  values (
    identity.id,
    btrim(identity.name),
    identity.kind,
    identity.provider,
    identity.issuer,
    identity.audience,
    identity.claims,
    identity.token_sha256,
    identity.sources,
    -- As facts name them.
    case
      when identity.repositories is not null then array(
        select case when r.reference ~ '^(https?:)?//' then '//' || metrics.normalised_url(r.reference) else r.reference end
        from unnest(identity.repositories) with ordinality as r (reference, place)
        order by r.place
      )
    end,
    identity.fact_kinds,
    identity.calls_per_minute,
    identity.expires_at
  );
exception
  when not_null_violation then
    get stacked diagnostics broken = column_name;
    raise exception using
      errcode = '23502',
      message = format('%s is missing', broken);
  when check_violation then
    get stacked diagnostics broken = constraint_name;
    perform metrics.refuse_identity(broken);
end
$function$;
comment on function metrics.add_identity(identity metrics.identities) is 'Keeps a new identity, with its repositories named as facts name them. Raises 22023 for an end in the past, 23502 for what is missing, 23514 for what its constraints refuse.';

-- function metrics.add_issuer(name text, provider text, issuer text, claims jsonb, sources text[], audience text, repositories text[], fact_kinds text[], calls_per_minute integer, expires_at timestamp with time zone)
CREATE OR REPLACE FUNCTION metrics.add_issuer(name text, provider text, issuer text, claims jsonb, sources text[], audience text DEFAULT NULL::text, repositories text[] DEFAULT NULL::text[], fact_kinds text[] DEFAULT ARRAY['test_runs'::text, 'test_cases'::text, 'rule_checks'::text, 'measurements'::text], calls_per_minute integer DEFAULT 60, expires_at timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  made metrics.identities;
begin
  perform metrics.require_admin();
  made.id := metrics.next_identity_id();
  made.name := add_issuer.name;
  made.kind := 'oidc';
  made.provider := add_issuer.provider;
  made.issuer := add_issuer.issuer;
  made.audience := add_issuer.audience;
  made.claims := add_issuer.claims;
  made.sources := add_issuer.sources;
  made.repositories := add_issuer.repositories;
  made.fact_kinds := add_issuer.fact_kinds;
  made.calls_per_minute := add_issuer.calls_per_minute;
  made.expires_at := add_issuer.expires_at;
  perform metrics.add_identity(made);
  select i.*
  into made
  from metrics.identities as i
  where i.id = made.id;
  perform metrics.note('add_issuer', null, metrics.identity_without_hash(made));
  return made.id;
end
$function$;
grant execute on function metrics.add_issuer(name text, provider text, issuer text, claims jsonb, sources text[], audience text, repositories text[], fact_kinds text[], calls_per_minute integer, expires_at timestamp with time zone) to authenticated;
comment on function metrics.add_issuer(name text, provider text, issuer text, claims jsonb, sources text[], audience text, repositories text[], fact_kinds text[], calls_per_minute integer, expires_at timestamp with time zone) is 'Trusts the OIDC tokens of an issuer whose claims match; returns the id of the identity.';

-- function metrics.add_member(email text, role text)
CREATE OR REPLACE FUNCTION metrics.add_member(email text, role text DEFAULT 'viewer'::text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  address constant text := lower(btrim(email));
  earlier jsonb;
begin
  perform metrics.require_admin();
  if add_member.role is null or add_member.role not in ('viewer', 'admin') then
    raise exception using
      errcode = '22023',
      message = format('role is viewer or admin, not %s', add_member.role);
  end if;
  select jsonb_build_object('email', m.email, 'role', m.role)
  into earlier
  from metrics.members as m
  where m.email = address;
  if earlier ->> 'role' = 'admin' and add_member.role <> 'admin' then
    perform metrics.require_another_admin(address);
  end if;
  insert into metrics.members as m (email, role)
  values (address, add_member.role)
  on conflict on constraint members_pkey do update set role = excluded.role;
  perform metrics.note('add_member', earlier, jsonb_build_object('email', address, 'role', add_member.role));
end
$function$;
grant execute on function metrics.add_member(email text, role text) to authenticated;
comment on function metrics.add_member(email text, role text) is 'Adds a member by address, or changes its role: viewer or admin.';

-- function metrics.add_service(name text, repository text, deployment_pattern text, environment_pattern text, path_globs text[], source text, pipeline text, rollout_pattern text, may_match_nothing boolean)
CREATE OR REPLACE FUNCTION metrics.add_service(name text, repository text, deployment_pattern text DEFAULT NULL::text, environment_pattern text DEFAULT NULL::text, path_globs text[] DEFAULT NULL::text[], source text DEFAULT 'deployments'::text, pipeline text DEFAULT NULL::text, rollout_pattern text DEFAULT NULL::text, may_match_nothing boolean DEFAULT false)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
#variable_conflict use_variable
declare
  repository_id bigint;
  siblings bigint[];
  begun integer;
  also text;
  matched bigint;
begin
  perform metrics.require_admin();
  repository_id := metrics.repository_named(repository);
  siblings := array(select r.id from metrics.repository_references as r where r.repository_id = repository_id);
  if btrim(coalesce(name, '')) = '' or length(name) > 200 then
    raise exception using
      errcode = '22023',
      message = 'a service needs a name of at most 200 characters';
  end if;
  source := metrics.checked_word('source', source, array['deployments', 'pipeline', 'releases']);
  if (source = 'pipeline') <> (pipeline is not null) then
    raise exception using
      errcode = '22023',
      message = format('pipeline is named when source is pipeline, and only then; source is %s', source),
      hint = 'For example source => ''pipeline'', pipeline => ''Deploy''.';
  end if;
  deployment_pattern := metrics.checked_pattern('deployment_pattern', deployment_pattern);
  environment_pattern := metrics.checked_pattern('environment_pattern', environment_pattern);
  rollout_pattern := metrics.checked_pattern('rollout_pattern', rollout_pattern);
  if cardinality(path_globs) = 0 or array_position(path_globs, null) is not null or cardinality(path_globs) > 100
    or exists (select from unnest(path_globs) as g (glob) where length(g.glob) not between 1 and 200) then
    raise exception using
      errcode = '22023',
      message = 'path_globs are one to a hundred globs of at most 200 characters',
      hint = 'For example array[''services/api/**''].';
  end if;
  begun := metrics.begin_generation();
  if exists (
    select
    from metrics.services as s
    where s.generation = begun
      and s.name = name
  ) then
    raise exception using
      errcode = '22023',
      message = format('there is a service called %s already', name),
      hint = 'Remove it first with metrics.remove_service, or choose another name.';
  end if;

  if source = 'deployments' then
    select count(*)
    into matched
    from metrics.deployments as d
    where d.reference_id = any(siblings)
      and (deployment_pattern is null or d.name ~ deployment_pattern)
      and (environment_pattern is null or d.environment ~ environment_pattern);
    select format('%s, deployment %s (name %s, environment %s)', s.name, d.external_id, coalesce(d.name, '-'), coalesce(d.environment, '-'))
    into also
    from metrics.services as s
    join metrics.deployments as d
      on d.reference_id = any(siblings)
      and (s.deployment_pattern is null or d.name ~ s.deployment_pattern)
      and (s.environment_pattern is null or d.environment ~ s.environment_pattern)
      and (deployment_pattern is null or d.name ~ deployment_pattern)
      and (environment_pattern is null or d.environment ~ environment_pattern)
    where s.generation = begun
      and s.repository_id = repository_id
      and s.source = 'deployments'
    limit 1;
    if also is not null then
      raise exception using
        errcode = '22023',
        message = format('the rule of %s matches what another service has: %s', name, also),
        hint = 'Choose a deployment_pattern or environment_pattern that only the deployments of this service match.';
    end if;
  elsif source = 'pipeline' then
    select count(*)
    into matched
    from metrics.pipeline_runs as p
    where p.reference_id = any(siblings)
      and p.pipeline = pipeline;
  else
    select count(*)
    into matched
    from metrics.releases as l
    where l.reference_id = any(siblings);
  end if;
  if matched = 0 and may_match_nothing is not true then
    raise exception using
      errcode = '22023',
      message = format(
        'the rule of %s matches nothing: %s',
        name,
        concat_ws(
          ', ',
          'source ' || source,
          'pipeline ' || pipeline,
          'deployment_pattern ' || deployment_pattern,
          'environment_pattern ' || environment_pattern
        )
      ),
      hint = 'Mend the rule, or say may_match_nothing => true to make it before the first deployment comes.';
  end if;

  insert into metrics.services (
    generation, repository_id, name, position, deployment_pattern, environment_pattern, path_globs, source, pipeline, rollout_pattern
  )
  values (
    begun,
    repository_id,
    name,
    coalesce((select max(s.position) + 1 from metrics.services as s where s.generation = begun and s.repository_id = repository_id), 1),
    deployment_pattern,
    environment_pattern,
    path_globs,
    source,
    pipeline,
    rollout_pattern
  );
  perform metrics.note(
    'add_service',
    null,
    jsonb_strip_nulls(jsonb_build_object(
      'name', name, 'repository', repository, 'deployment_pattern', deployment_pattern, 'environment_pattern', environment_pattern,
      'path_globs', path_globs, 'source', source, 'pipeline', pipeline, 'rollout_pattern', rollout_pattern
    ))
  );
  return metrics.rebuild();
end
$function$;
grant execute on function metrics.add_service(name text, repository text, deployment_pattern text, environment_pattern text, path_globs text[], source text, pipeline text, rollout_pattern text, may_match_nothing boolean) to authenticated;
comment on function metrics.add_service(name text, repository text, deployment_pattern text, environment_pattern text, path_globs text[], source text, pipeline text, rollout_pattern text, may_match_nothing boolean) is 'Names a service of a repository by rules, in place of the one that goes by the repository''s name. Answers as metrics.rebuild does: numbers are by the new rules once it is done.';

-- function metrics.add_team(name text)
CREATE OR REPLACE FUNCTION metrics.add_team(name text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
begin
  perform metrics.require_admin();
  insert into metrics.teams (name)
  values (btrim(add_team.name));
  perform metrics.note('add_team', null, jsonb_build_object('team', btrim(add_team.name)));
end
$function$;
grant execute on function metrics.add_team(name text) to authenticated;
comment on function metrics.add_team(name text) is 'Makes a team.';

-- function metrics.add_team_member(team text, email text)
CREATE OR REPLACE FUNCTION metrics.add_team_member(team text, email text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
begin
  perform metrics.require_admin();
  insert into metrics.team_members (team_id, email)
  values (metrics.team_named(team), lower(btrim(add_team_member.email)))
  on conflict do nothing;
  perform metrics.note('add_team_member', null, jsonb_build_object('team', team, 'email', lower(btrim(add_team_member.email))));
exception
  when foreign_key_violation then
    raise exception using
      errcode = 'P0002',
      message = format('%s is no member', add_team_member.email),
      hint = 'Add the member first with metrics.add_member.';
end
$function$;
grant execute on function metrics.add_team_member(team text, email text) to authenticated;
comment on function metrics.add_team_member(team text, email text) is 'Puts a member into a team.';

-- function metrics.add_team_repository(team text, repository text)
CREATE OR REPLACE FUNCTION metrics.add_team_repository(team text, repository text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
begin
  perform metrics.require_admin();
  insert into metrics.team_repositories (team_id, repository_id)
  values (metrics.team_named(team), metrics.repository_named(repository))
  on conflict do nothing;
  perform metrics.note('add_team_repository', null, jsonb_build_object('team', team, 'repository', repository));
end
$function$;
grant execute on function metrics.add_team_repository(team text, repository text) to authenticated;
comment on function metrics.add_team_repository(team text, repository text) is 'Lets the viewers of a team read a repository, named by its full name or reference.';

-- function metrics.append_move(generation integer, repository bigint, push bigint, OUT first_line integer, OUT first_ordinal integer)
CREATE OR REPLACE FUNCTION metrics.append_move(generation integer, repository bigint, push bigint, OUT first_line integer, OUT first_ordinal integer)
 RETURNS record
 LANGUAGE plpgsql
 SET search_path TO ''
 SET enable_seqscan TO 'off'
AS $function$
declare
  siblings constant bigint[] := array(select r.id from metrics.repository_references as r where r.repository_id = repository);
begin
  insert into metrics.branch_moves (generation, repository_id, line, ordinal, push_id, pushed_at, is_forced, is_truncated)
  select append_move.generation, repository, m.line, m.ordinal + 1, p.id, null, false, p.truncated is true
  from metrics.pushes as p
  join metrics.pushes as e
    on e.reference_id = any(siblings)
    and e.after = p.before
  join metrics.branch_moves as m
    on m.push_id = e.id
    and m.generation = append_move.generation
    and m.repository_id = repository
  where p.id = append_move.push
    and p.pushed_at is null
    and p.forced is not true
    and p.on_default_branch
    and p.deleted is not true
    and p.after !~ '^0+$'
    and m.line > 0
    and not exists (
      select
      from metrics.branch_moves as o
      where o.generation = append_move.generation
        and o.repository_id = repository
        and o.line = m.line
        and o.ordinal > m.ordinal
    )
    -- Another move that ends or begins where this one does could have a claim on the place. One that begins where none ends is its line's first.
    and not exists (
      select
      from metrics.branch_moves as o
      where o.push_id = p.id
        and o.generation = append_move.generation
        and o.repository_id = repository
    )
    and not exists (
      select
      from metrics.pushes as q
      join metrics.branch_moves as o
        on o.push_id = q.id
        and o.generation = append_move.generation
        and o.repository_id = repository
      where q.reference_id = any(siblings)
        and q.after in (p.before, p.after)
        and (o.line, o.ordinal) <> (m.line, m.ordinal)
    )
    and not exists (
      select
      from metrics.branch_moves as o
      join metrics.pushes as q
        on q.id = o.push_id
      where o.generation = append_move.generation
        and o.repository_id = repository
        and o.ordinal = 1
        and q.before in (p.before, p.after)
    )
    and not exists (
      select
      from metrics.branch_moves as o
      where o.generation = append_move.generation
        and o.repository_id = repository
        and o.line = 0
    )
  returning line, ordinal
  into first_line, first_ordinal;
end
$function$;
comment on function metrics.append_move(generation integer, repository bigint, push bigint, OUT first_line integer, OUT first_ordinal integer) is 'Puts a push without a time at the end of the line that it goes on from. NULL when it is not that simple.';

-- function metrics.attempts_of(generation integer, repository bigint, commits text[], ids text[])
CREATE OR REPLACE FUNCTION metrics.attempts_of(generation integer, repository bigint, commits text[], ids text[])
 RETURNS TABLE(service_id bigint, kind text, reference_id bigint, external_id text, reference text, environment text, commit_sha text, outcome text, began_at timestamp with time zone, at timestamp with time zone, is_of_rollout boolean)
 LANGUAGE plpgsql
 SET search_path TO ''
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
AS $function$
#variable_conflict use_column
begin
  return query
  select
    s.id,
    a.kind,
    a.reference_id,
    a.external_id,
    a.reference,
    coalesce(a.environment, 'production'),
    a.commit_sha,
    case
      when a.outcome = 'success' then 'success'
      when a.outcome in ('failure', 'timed_out', 'error') then 'failure'
    end,
    a.began_at,
    a.at,
    coalesce(a.environment ~ s.rollout_pattern, false)
  from (
    select
      'deployment' as kind,
      d.reference_id,
      d.external_id,
      r.reference,
      d.name,
      d.environment,
      metrics.tier_of(attempts_of.generation, d.environment, d.environment_tier) as tier,
      d.commit_sha,
      d.outcome,
      coalesce(d.started_at, d.created_at, d.finished_at) as began_at,
      coalesce(d.finished_at, d.started_at, d.created_at) as at,
      null as pipeline
    from metrics.repository_references as r
    cross join lateral (
      select f.*
      from unnest(commits) as c (sha)
      join metrics.deployments as f
        on f.reference_id = r.id
        and f.commit_sha = c.sha
      union all
      select f.*
      from unnest(ids) as i (external_id)
      join metrics.deployments as f
        on f.reference_id = r.id
        and f.external_id = i.external_id
      where f.commit_sha is null
    ) as d
    where r.repository_id = repository
      and d.status = 'finished'
    union all
    select
      'pipeline_run',
      p.reference_id,
      p.external_id || '#' || p.attempt,
      r.reference,
      null,
      null,
      'production',
      p.commit_sha,
      p.outcome,
      coalesce(p.started_at, p.queued_at, p.finished_at),
      coalesce(p.finished_at, p.started_at, p.queued_at),
      p.pipeline
    from metrics.repository_references as r
    cross join unnest(ids) as i (external_id)
    join metrics.pipeline_runs as p
      on p.reference_id = r.id
      and p.external_id = i.external_id
    where r.repository_id = repository
      and p.status = 'finished'
      and p.on_default_branch
      and p.pipeline in (
        select s.pipeline
        from metrics.services as s
        where s.generation = attempts_of.generation
          and s.repository_id = repository
          and s.source = 'pipeline'
      )
    union all
    select
      'release',
      l.reference_id,
      l.external_id,
      r.reference,
      null,
      null,
      'production',
      l.commit_sha,
      'success',
      l.published_at,
      l.published_at,
      null
    from metrics.repository_references as r
    cross join unnest(ids) as i (external_id)
    join metrics.releases as l
      on l.reference_id = r.id
      and l.external_id = i.external_id
    where r.repository_id = repository
      and l.is_draft is not true
      and l.is_prerelease is not true
      and l.is_withdrawn is not true
  ) as a
  join lateral (
    select v.id, v.rollout_pattern
    from metrics.services as v
    where v.generation = attempts_of.generation
      and v.repository_id = repository
      and (
        (a.kind = 'deployment' and v.source = 'deployments')
        or (a.kind = 'pipeline_run' and v.source = 'pipeline' and v.pipeline = a.pipeline)
        or (a.kind = 'release' and v.source = 'releases')
      )
      and (v.deployment_pattern is null or a.kind <> 'deployment' or coalesce(a.name ~ v.deployment_pattern, false))
      and (v.environment_pattern is null or a.kind <> 'deployment' or coalesce(a.environment ~ v.environment_pattern, false))
    order by v.position, v.id
    limit case when a.kind = 'deployment' then 1 end
  ) as s
    on true
  where a.tier = 'production'
    and a.at is not null;
end
$function$;
comment on function metrics.attempts_of(generation integer, repository bigint, commits text[], ids text[]) is 'Finished production deployments of a repository''s services, before those of one rollout are put together: deployments of these commits, and of these ids where they have none; runs and releases of these ids.';

-- function metrics.begin_generation()
CREATE OR REPLACE FUNCTION metrics.begin_generation()
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  earlier integer;
  begun integer;
begin
  -- Whoever stores a delivery reads which generations there are: they wait, and are waited for.
  perform pg_advisory_xact_lock(hashtextextended('metrics.erasure', 0));
  select g.id
  into earlier
  from metrics.generations as g
  where g.state in ('building', 'current')
  order by g.state
  limit 1;
  -- One that is not ready yet is of no use any more.
  update metrics.generations as g
  set
    state = 'retired',
    retired_at = now()
  where g.state = 'building';
  insert into metrics.generations (state, time_zone, incident_window_seconds, rollout_seconds, hotfix_labels)
  select 'building', s.time_zone, s.incident_window_seconds, s.rollout_seconds, s.hotfix_labels
  from metrics.settings as s
  returning id
  into begun;
  insert into metrics.environment_rules (generation, position, pattern, tier)
  select begun, r.position, r.pattern, r.tier
  from metrics.environment_rules as r
  where r.generation = earlier;
  insert into metrics.services (
    generation, repository_id, name, position, deployment_pattern, environment_pattern, path_globs, source, pipeline, rollout_pattern
  )
  select
    begun, s.repository_id, s.name, s.position, s.deployment_pattern, s.environment_pattern, s.path_globs, s.source, s.pipeline,
    s.rollout_pattern
  from metrics.services as s
  where s.generation = earlier
    and s.name is not null;
  return begun;
end
$function$;
comment on function metrics.begin_generation() is 'Begins a generation with the present settings and the latest rules. Nothing is derived in it yet.';

-- function metrics.begin_rebuild()
CREATE OR REPLACE FUNCTION metrics.begin_rebuild()
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
begin
  perform metrics.require_admin();
  perform metrics.begin_generation();
  perform metrics.note('begin_rebuild', null, null);
end
$function$;
grant execute on function metrics.begin_rebuild() to authenticated;
comment on function metrics.begin_rebuild() is 'Begins to derive everything anew from the facts. metrics.rebuild goes on with it.';

-- function metrics.bucket_of(seconds double precision)
CREATE OR REPLACE FUNCTION metrics.bucket_of(seconds double precision)
 RETURNS smallint
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
begin
  return case
    when seconds > 0 then greatest(floor(ln(seconds) / ln(1.1::double precision)), -32767)::smallint
    when seconds = 0 then (-32768)::smallint
  end;
end
$function$;
grant execute on function metrics.bucket_of(seconds double precision) to authenticated;
grant execute on function metrics.bucket_of(seconds double precision) to metrics_reader;
comment on function metrics.bucket_of(seconds double precision) is 'The bucket of so many seconds; NULL for NULL and for less than none.';

-- function metrics.buckets_of(asked metrics.period)
CREATE OR REPLACE FUNCTION metrics.buckets_of(asked metrics.period)
 RETURNS TABLE(bucket_start date, first_day date, end_day date)
 LANGUAGE plpgsql
 IMMUTABLE ROWS 60
 SET search_path TO ''
AS $function$
#variable_conflict use_column
begin
  return query
  select null, asked.since, asked.until
  where asked.bucket = 'none'
    and asked.until - asked.since <= 3660
  union all
  select s.day::date, greatest(s.day::date, asked.since), least((s.day + ('1 ' || asked.bucket)::interval)::date, asked.until)
  from generate_series(
    case when asked.bucket <> 'none' and asked.until - asked.since <= 3660 then date_trunc(asked.bucket, asked.since::timestamp) end,
    (asked.until - 1)::timestamp,
    ('1 ' || nullif(asked.bucket, 'none'))::interval
  ) as s (day);
end
$function$;
grant execute on function metrics.buckets_of(asked metrics.period) to authenticated;
grant execute on function metrics.buckets_of(asked metrics.period) to metrics_reader;
comment on function metrics.buckets_of(asked metrics.period) is 'The buckets of a period: where each begins (NULL for none), its first day within the period and the day after its last.';

-- function metrics.caller()
CREATE OR REPLACE FUNCTION metrics.caller()
 RETURNS name
 LANGUAGE sql
 STABLE
 SET search_path TO ''
AS $function$
  select coalesce(nullif(current_setting('role', true), 'none'), session_user)::name
$function$;
grant execute on function metrics.caller() to authenticated;
grant execute on function metrics.caller() to metrics_reader;
comment on function metrics.caller() is 'The role that calls: the one set by the Data API, else the one that logged in. Not hidden by security definer.';

-- function metrics.change_fail_rate(since date, until date, bucket text, by text, service text, repository text, team text, environment text, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.change_fail_rate(since date DEFAULT NULL::date, until date DEFAULT NULL::date, bucket text DEFAULT 'none'::text, by text DEFAULT 'nothing'::text, service text DEFAULT NULL::text, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, environment text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100)
 RETURNS TABLE(bucket_start date, name text, deployments bigint, failed_changes bigint, rate double precision, causes jsonb, unlinked_incidents bigint, reason text, page_key text, total bigint)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
#variable_conflict use_column
declare
  asked metrics.period;
  grouped text;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, bucket, page_after, page_size);
  grouped := metrics.checked_word('by', by, array['nothing', 'service', 'repository']);
  return query
  select
    (p.counted).bucket_start,
    p.page_name,
    case when not (p.counted).is_unknown then (p.counted).deployments end,
    case when not (p.counted).is_unknown then (p.counted).failed_changes end,
    case
      when (p.counted).failed_changes > 0 or (p.counted).has_incidents
        then (p.counted).failed_changes / nullif((p.counted).deployments, 0)::double precision
    end,
    case
      when not (p.counted).is_unknown then jsonb_strip_nulls(jsonb_build_object(
        'rolled_back', nullif((p.counted).rolled_back, 0),
        'incident', nullif((p.counted).incidents, 0),
        'fixed_forward', nullif((p.counted).fixed_forward, 0)
      ))
    end,
    case when not (p.counted).is_unknown then (p.counted).unlinked_incidents end,
    case
      when (p.counted).is_unknown then 'unknown_service'
      when (p.counted).deployments = 0 then 'no_deployments'
      when (p.counted).failed_changes = 0 and not (p.counted).has_incidents then 'no_incident_source'
    end,
    p.page_key,
    p.total
  from metrics.delivery_page(asked, array['failures'], grouped, service, repository, team, environment, true) as p;
end
$function$;
grant execute on function metrics.change_fail_rate(since date, until date, bucket text, by text, service text, repository text, team text, environment text, page_after text, page_size integer) to authenticated;
grant execute on function metrics.change_fail_rate(since date, until date, bucket text, by text, service text, repository text, team text, environment text, page_after text, page_size integer) to metrics_reader;
comment on function metrics.change_fail_rate(since date, until date, bucket text, by text, service text, repository text, team text, environment text, page_after text, page_size integer) is 'Which share of successful production deployments failed afterwards: rolled back, with an incident, or fixed forward. NULL where nothing failed and no incident was ever told: then nobody could know.';

-- function metrics.change_fail_rate_evidence(since date, until date, service text, repository text, team text, environment text, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.change_fail_rate_evidence(since date DEFAULT NULL::date, until date DEFAULT NULL::date, service text DEFAULT NULL::text, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, environment text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100)
 RETURNS SETOF metrics.evidence
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
begin
  perform metrics.require_reader();
  return query
  select *
  from metrics.delivery_evidence(
    metrics.period_of(since, until, 'none', page_after, page_size), 'failures', service, repository, team, environment, true
  );
end
$function$;
grant execute on function metrics.change_fail_rate_evidence(since date, until date, service text, repository text, team text, environment text, page_after text, page_size integer) to authenticated;
grant execute on function metrics.change_fail_rate_evidence(since date, until date, service text, repository text, team text, environment text, page_after text, page_size integer) to metrics_reader;
comment on function metrics.change_fail_rate_evidence(since date, until date, service text, repository text, team text, environment text, page_after text, page_size integer) is 'The successful production deployments behind change_fail_rate: value 1 for a failed one, with its causes in detail; and the incidents that belong to none.';

-- function metrics.change_lead_time(since date, until date, bucket text, by text, service text, repository text, team text, environment text, bots boolean, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.change_lead_time(since date DEFAULT NULL::date, until date DEFAULT NULL::date, bucket text DEFAULT 'none'::text, by text DEFAULT 'nothing'::text, service text DEFAULT NULL::text, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, environment text DEFAULT NULL::text, bots boolean DEFAULT true, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100)
 RETURNS TABLE(bucket_start date, name text, p50_seconds double precision, p75_seconds double precision, p95_seconds double precision, changes bigint, reason text, is_exact boolean, basis jsonb, excluded jsonb, unknown_commits bigint, truncated_pushes bigint, page_key text, total bigint)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
#variable_conflict use_column
declare
  asked metrics.period;
  grouped text;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, bucket, page_after, page_size);
  grouped := metrics.checked_word('by', by, array['nothing', 'service', 'repository']);
  return query
  select
    (p.counted).bucket_start,
    p.page_name,
    (p.counted).lead_p50,
    (p.counted).lead_p75,
    (p.counted).lead_p95,
    case when not (p.counted).is_unknown then (p.counted).changes end,
    case
      when (p.counted).is_unknown then 'unknown_service'
      when (p.counted).changes > 0 then null
      when (p.counted).deployments = 0 then 'no_deployments'
      when (p.counted).firsts = (p.counted).deployments then 'only_first_deployment'
      when not (p.counted).has_changes then 'no_changes_seen'
      else 'too_few'
    end,
    case when not (p.counted).is_unknown then (p.counted).is_lead_exact end,
    case when not (p.counted).is_unknown then (p.counted).basis end,
    case when not (p.counted).is_unknown then (p.counted).excluded end,
    case when not (p.counted).is_unknown then (p.counted).unknown_commits end,
    case when not (p.counted).is_unknown then (p.counted).truncated_pushes end,
    p.page_key,
    p.total
  from metrics.delivery_page(asked, array['lead'], grouped, service, repository, team, environment, bots) as p;
end
$function$;
grant execute on function metrics.change_lead_time(since date, until date, bucket text, by text, service text, repository text, team text, environment text, bots boolean, page_after text, page_size integer) to authenticated;
grant execute on function metrics.change_lead_time(since date, until date, bucket text, by text, service text, repository text, team text, environment text, bots boolean, page_after text, page_size integer) to metrics_reader;
comment on function metrics.change_lead_time(since date, until date, bucket text, by text, service text, repository text, team text, environment text, bots boolean, page_after text, page_size integer) is 'How long changes took from their start to the first successful production deployment that contains them, in seconds, with what each time is based on and what was left out. A change counts where it was shipped.';

-- function metrics.change_lead_time_evidence(since date, until date, service text, repository text, team text, environment text, bots boolean, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.change_lead_time_evidence(since date DEFAULT NULL::date, until date DEFAULT NULL::date, service text DEFAULT NULL::text, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, environment text DEFAULT NULL::text, bots boolean DEFAULT true, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100)
 RETURNS SETOF metrics.evidence
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
begin
  perform metrics.require_reader();
  return query
  select *
  from metrics.delivery_evidence(
    metrics.period_of(since, until, 'none', page_after, page_size), 'changes', service, repository, team, environment, bots
  );
end
$function$;
grant execute on function metrics.change_lead_time_evidence(since date, until date, service text, repository text, team text, environment text, bots boolean, page_after text, page_size integer) to authenticated;
grant execute on function metrics.change_lead_time_evidence(since date, until date, service text, repository text, team text, environment text, bots boolean, page_after text, page_size integer) to metrics_reader;
comment on function metrics.change_lead_time_evidence(since date, until date, service text, repository text, team text, environment text, bots boolean, page_after text, page_size integer) is 'The changes behind change_lead_time: value is the lead time in seconds, reason why a change does not count, detail its basis, pull request and deployment.';

-- function metrics.changes_changed()
CREATE OR REPLACE FUNCTION metrics.changes_changed()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  gone metrics.changes[];
  come metrics.changes[];
begin
  -- What waits to be shipped is not counted yet.
  if tg_op <> 'INSERT' then
    gone := array(select o from old_rows as o where coalesce(o.exclusion, '') not in ('no_change', 'merge_commit', 'taken_off', 'waiting'));
  end if;
  if tg_op <> 'DELETE' then
    come := array(select n from new_rows as n where coalesce(n.exclusion, '') not in ('no_change', 'merge_commit', 'taken_off', 'waiting'));
  end if;
  if cardinality(gone) > 0 or cardinality(come) > 0 then
    perform metrics.count_changes(coalesce(gone, '{}'), coalesce(come, '{}'));
  end if;
  return null;
end
$function$;
comment on function metrics.changes_changed() is 'Counts changes by week as they change.';

-- function metrics.checked_pattern(argument text, pattern text)
CREATE OR REPLACE FUNCTION metrics.checked_pattern(argument text, pattern text)
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO ''
AS $function$
begin
  if length(pattern) > 200 then
    raise exception using
      errcode = '22023',
      message = format('%s is longer than 200 characters: %s…', argument, left(pattern, 50));
  end if;
  if pattern ~ '\\[1-9]' then
    raise exception using
      errcode = '22023',
      message = format('%s must not refer back to what it matched: %s', argument, pattern),
      hint = 'Write the expression without \1 to \9.';
  end if;
  begin
    perform '' ~ pattern;
  exception
    when others then
      raise exception using
        errcode = '22023',
        message = format('%s is no regular expression: %s', argument, pattern),
        detail = sqlerrm,
        hint = 'Use the syntax of POSIX regular expressions, for example ^prod-.';
  end;
  return nullif(pattern, '');
end
$function$;
comment on function metrics.checked_pattern(argument text, pattern text) is 'The regular expression, if it is one that cannot take long. Raises 22023 otherwise.';

-- function metrics.checked_word(argument text, word text, known text[])
CREATE OR REPLACE FUNCTION metrics.checked_word(argument text, word text, known text[])
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO ''
AS $function$
begin
  if coalesce(word, known[1]) <> all(known) then
    raise exception using
      errcode = '22023',
      message = format('%s cannot be %s', argument, word),
      hint = format('It is one of %s.', array_to_string(known, ', '));
  end if;
  return coalesce(word, known[1]);
end
$function$;
grant execute on function metrics.checked_word(argument text, word text, known text[]) to authenticated;
grant execute on function metrics.checked_word(argument text, word text, known text[]) to metrics_reader;
comment on function metrics.checked_word(argument text, word text, known text[]) is 'The word, or the first of the known ones for NULL. Raises 22023 for any other.';

-- function metrics.claim_url(claim metrics.claim)
CREATE OR REPLACE FUNCTION metrics.claim_url(claim metrics.claim)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
begin
  if claim.present_repository_id is null then
    insert into metrics.repository_references (reference, url, repository_id, claim_clock, claimed_by)
    values ('//' || claim.url, claim.url, claim.claimant_repository_id, claim.clock, claim.claimant)
    on conflict (reference) do nothing;
  else
    update metrics.repository_references as r
    set
      repository_id = claim.claimant_repository_id,
      claim_clock = claim.clock,
      claimed_by = claim.claimant
    where r.reference = '//' || claim.url
      and r.repository_id = claim.present_repository_id
      and (r.claimed_by is null or (claim.clock collate "C", claim.claimant collate "C") > (r.claim_clock, r.claimed_by));
  end if;
  return found;
end
$function$;
comment on function metrics.claim_url(claim metrics.claim) is 'Makes a URL mean the repository that claims it. The locks of both repositories must be held.';

-- function metrics.comparable(alias text, column_name text, type text)
CREATE OR REPLACE FUNCTION metrics.comparable(alias text, column_name text, type text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO ''
AS $function$
  select format(
    case
      when column_name = 'reference_id' then $f$coalesce('1' || metrics.reference_text(%1$s.%2$I), '0') collate "C"$f$
      when type = 'bigint[]' then $f$coalesce('1' || metrics.test_names(%1$s.%2$I), '0') collate "C"$f$
      when type in ('jsonb') or type like '%[]' then $f$coalesce('1' || to_jsonb(%1$s.%2$I)::text, '0') collate "C"$f$
      when type = 'text' then $f$coalesce('1' || %1$s.%2$I, '0') collate "C"$f$
      when type = 'boolean' then $f$coalesce(%1$s.%2$I::integer, -1)$f$
      when type in ('integer', 'bigint') then $f$coalesce(%1$s.%2$I::numeric, '-infinity')$f$
      when type in ('double precision', 'timestamp with time zone') then $f$coalesce(%1$s.%2$I, '-infinity')$f$
    end,
    alias,
    column_name
  )
$function$;
comment on function metrics.comparable(alias text, column_name text, type text) is 'SQL that compares a column''s values with NULL lowest, for compile_fold. NULL for a type that has no order here.';

-- function metrics.copy_frozen_weeks(to_generation integer, reference bigint, after timestamp with time zone, up_to timestamp with time zone)
CREATE OR REPLACE FUNCTION metrics.copy_frozen_weeks(to_generation integer, reference bigint, after timestamp with time zone, up_to timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
 SET enable_seqscan TO 'off'
AS $function$
begin
  insert into metrics.job_weeks (
    generation, reference_id, week, pipeline, job, runner, success, failure, timed_out, error, cancelled, skipped, neutral, unknown, seconds,
    rounded_minutes, duration_tally, queue_tally
  )
  select
    to_generation, w.reference_id, w.week, w.pipeline, w.job, w.runner, w.success, w.failure, w.timed_out, w.error, w.cancelled, w.skipped,
    w.neutral, w.unknown, w.seconds, w.rounded_minutes, w.duration_tally, w.queue_tally
  from metrics.generations as g
  join metrics.horizons as h
    on h.fact = 'jobs'
  join metrics.job_weeks as w
    on w.generation = metrics.current_generation()
    and w.reference_id = reference
    and w.week < h.before
    and w.week >= metrics.week_of(after, g.time_zone)
    and w.week <= metrics.week_of(up_to, g.time_zone)
  where g.id = to_generation
    and metrics.midnight(w.week, g.time_zone) > after
    and metrics.midnight(w.week, g.time_zone) <= up_to
  on conflict do nothing;
end
$function$;
comment on function metrics.copy_frozen_weeks(to_generation integer, reference bigint, after timestamp with time zone, up_to timestamp with time zone) is 'Copies what was counted of a reference in weeks before the horizon, that began after a moment and up to another, from the current generation to another, as it is. Again changes nothing.';

-- function metrics.count_changed_checks()
CREATE OR REPLACE FUNCTION metrics.count_changed_checks()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  counted metrics.counted_check[] := '{}';
  no_longer metrics.counted_check[] := '{}';
begin
  if tg_op <> 'DELETE' then
    counted := array(
      select row(1, n.reference_id, n.checked_at, n.status)::metrics.counted_check
      from new_rows as n
      where n.checked_at is not null
        and n.status is not null
    );
  end if;
  if tg_op <> 'INSERT' then
    no_longer := array(
      select row(-1, o.reference_id, o.checked_at, o.status)::metrics.counted_check
      from old_rows as o
      where o.checked_at is not null
        and o.status is not null
    );
  end if;
  if cardinality(counted) + cardinality(no_longer) > 0 then
    perform metrics.count_checks(counted || no_longer);
  end if;
  return null;
end
$function$;
comment on function metrics.count_changed_checks() is 'Trigger: counts what changed in checks of rules.';

-- function metrics.count_changed_deploys()
CREATE OR REPLACE FUNCTION metrics.count_changed_deploys()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  added metrics.changes[] := '{}';
  removed metrics.changes[] := '{}';
begin
  if tg_op <> 'DELETE' then
    added := array(
      select n
      from new_rows as n
      where n.merged_at is not null
        and n.shipped_at is not null
    );
  end if;
  if tg_op <> 'INSERT' then
    removed := array(
      select o
      from old_rows as o
      where o.merged_at is not null
        and o.shipped_at is not null
    );
  end if;
  if cardinality(added) + cardinality(removed) > 0 then
    perform metrics.count_deploys(added, removed);
  end if;
  return null;
end
$function$;
comment on function metrics.count_changed_deploys() is 'Keeps the phase deploy of pull requests: called once for each statement, with the rows as they really were and are.';

-- function metrics.count_changed_jobs()
CREATE OR REPLACE FUNCTION metrics.count_changed_jobs()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  counted metrics.counted_job[] := '{}';
  no_longer metrics.counted_job[] := '{}';
begin
  if tg_op <> 'DELETE' then
    counted := array(
      select row(
        1, n.reference_id, coalesce(n.pipeline, ''), coalesce(n.name, ''), metrics.runner_of(n.runner_labels),
        n.ended_at, n.outcome, n.duration_seconds, n.queue_seconds
      )::metrics.counted_job
      from new_rows as n
      where n.ended_at is not null
    );
  end if;
  if tg_op <> 'INSERT' then
    no_longer := array(
      select row(
        -1, o.reference_id, coalesce(o.pipeline, ''), coalesce(o.name, ''), metrics.runner_of(o.runner_labels),
        o.ended_at, o.outcome, o.duration_seconds, o.queue_seconds
      )::metrics.counted_job
      from old_rows as o
      where o.ended_at is not null
    );
  end if;
  if cardinality(counted) + cardinality(no_longer) > 0 then
    perform metrics.count_jobs(counted || no_longer, cardinality(no_longer) > 0);
  end if;
  return null;
end
$function$;
comment on function metrics.count_changed_jobs() is 'Trigger: counts what changed in jobs.';

-- function metrics.count_changed_pull_requests()
CREATE OR REPLACE FUNCTION metrics.count_changed_pull_requests()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  added metrics.pull_requests[] := '{}';
  removed metrics.pull_requests[] := '{}';
begin
  if tg_op <> 'DELETE' then
    added := array(
      select n
      from new_rows as n
      where n.merged_at is not null
    );
  end if;
  if tg_op <> 'INSERT' then
    removed := array(
      select o
      from old_rows as o
      where o.merged_at is not null
    );
  end if;
  if cardinality(added) + cardinality(removed) > 0 then
    perform metrics.count_pull_requests(added, removed, null);
  end if;
  return null;
end
$function$;
comment on function metrics.count_changed_pull_requests() is 'Keeps the aggregates of pull requests: called once for each statement, with the rows as they really were and are.';

-- function metrics.count_changed_runs()
CREATE OR REPLACE FUNCTION metrics.count_changed_runs()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  counted metrics.counted_run[] := '{}';
  no_longer metrics.counted_run[] := '{}';
  otherwise metrics.counted_run[] := '{}';
  reference_ids bigint[];
  rerun_groups text[];
begin
  if tg_op <> 'DELETE' then
    counted := array(
      select row(
        1, n.reference_id, coalesce(n.pipeline, ''), n.on_default_branch is true, n.actor_is_bot is true,
        n.ended_at, n.outcome, n.is_first_try, n.is_last_try, n.duration_seconds, n.queue_seconds
      )::metrics.counted_run
      from new_rows as n
      where n.ended_at is not null
    );
  end if;
  if tg_op <> 'INSERT' then
    no_longer := array(
      select row(
        -1, o.reference_id, coalesce(o.pipeline, ''), o.on_default_branch is true, o.actor_is_bot is true,
        o.ended_at, o.outcome, o.is_first_try, o.is_last_try, o.duration_seconds, o.queue_seconds
      )::metrics.counted_run
      from old_rows as o
      where o.ended_at is not null
    );
  end if;

  if tg_op = 'INSERT' then
    select array_agg(n.reference_id), array_agg(n.rerun_group)
    into reference_ids, rerun_groups
    from new_rows as n
    where n.rerun_group is not null
      and n.outcome is not null;
  elsif tg_op = 'DELETE' then
    select array_agg(o.reference_id), array_agg(o.rerun_group)
    into reference_ids, rerun_groups
    from old_rows as o
    where o.rerun_group is not null
      and o.outcome is not null;
  elsif exists (
    select
    from new_rows as n
    where n.outcome is not null
  ) then
    -- No join of the two: within metrics.ingest it would compare each row with each.
    select array_agg(c.reference_id), array_agg(c.rerun_group)
    into reference_ids, rerun_groups
    from (
      select a.reference_id, a.rerun_group
      from (
        select n.reference_id, n.external_id, n.attempt, n.rerun_group, coalesce(n.queued_at, n.started_at, n.finished_at)
        from new_rows as n
        where n.outcome is not null
        except
        select o.reference_id, o.external_id, o.attempt, o.rerun_group, coalesce(o.queued_at, o.started_at, o.finished_at)
        from old_rows as o
        where o.outcome is not null
      ) as a
      where a.rerun_group is not null
      union all
      select b.reference_id, b.rerun_group
      from (
        select o.reference_id, o.external_id, o.attempt, o.rerun_group, coalesce(o.queued_at, o.started_at, o.finished_at)
        from old_rows as o
        where o.outcome is not null
        except
        select n.reference_id, n.external_id, n.attempt, n.rerun_group, coalesce(n.queued_at, n.started_at, n.finished_at)
        from new_rows as n
        where n.outcome is not null
      ) as b
      where b.rerun_group is not null
      union all
      select n.reference_id, null
      from new_rows as n
      where n.rerun_group is null
        and not (n.is_first_try and n.is_last_try)
    ) as c;
  end if;
  if reference_ids is not null then
    otherwise := metrics.mark_tries(reference_ids, rerun_groups);
  end if;

  if cardinality(counted) + cardinality(no_longer) + cardinality(otherwise) > 0 then
    perform metrics.count_runs(counted || no_longer || otherwise, cardinality(no_longer) + cardinality(otherwise) > 0);
  end if;
  return null;
end
$function$;
comment on function metrics.count_changed_runs() is 'Trigger: counts what changed in pipeline runs.';

-- function metrics.count_changed_test_runs()
CREATE OR REPLACE FUNCTION metrics.count_changed_test_runs()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  counted metrics.counted_test_run[] := '{}';
  no_longer metrics.counted_test_run[] := '{}';
begin
  if tg_op <> 'DELETE' then
    counted := array(
      select row(
        1, n.reference_id, n.started_at, coalesce(n.passed_count, 0),
        coalesce(n.failed_count, 0) + coalesce(n.error_count, 0), coalesce(n.skipped_count, 0)
      )::metrics.counted_test_run
      from new_rows as n
      where n.started_at is not null
    );
  end if;
  if tg_op <> 'INSERT' then
    no_longer := array(
      select row(
        -1, o.reference_id, o.started_at, coalesce(o.passed_count, 0),
        coalesce(o.failed_count, 0) + coalesce(o.error_count, 0), coalesce(o.skipped_count, 0)
      )::metrics.counted_test_run
      from old_rows as o
      where o.started_at is not null
    );
  end if;
  if cardinality(counted) + cardinality(no_longer) > 0 then
    perform metrics.count_test_runs(counted || no_longer);
  end if;
  return null;
end
$function$;
comment on function metrics.count_changed_test_runs() is 'Trigger: counts what changed in test runs.';

-- function metrics.count_changes(gone metrics.changes[], come metrics.changes[])
CREATE OR REPLACE FUNCTION metrics.count_changes(gone metrics.changes[], come metrics.changes[])
 RETURNS void
 LANGUAGE sql
 SET search_path TO ''
 SET enable_hashjoin TO 'on'
AS $function$
  insert into metrics.lead_time_weeks as t (
    generation, service_id, week, is_bot, repository_id, from_commit, from_first_commit, from_pull_request_opened, first_deployment, rewritten, order_unknown,
    start_unknown, start_after_shipping, lead_tally
  )
  select *
  from (
    select
      c.generation,
      c.service_id,
      metrics.week_of(l.at, g.time_zone) as week,
      c.is_bot,
      min(c.repository_id) as repository_id,
      coalesce(sum(u.n) filter (where l.label = 'commit'), 0) as from_commit,
      coalesce(sum(u.n) filter (where l.label = 'first_commit'), 0) as from_first_commit,
      coalesce(sum(u.n) filter (where l.label = 'pull_request_opened'), 0) as from_pull_request_opened,
      coalesce(sum(u.n) filter (where l.label = 'first_deployment'), 0) as first_deployment,
      coalesce(sum(u.n) filter (where l.label = 'rewritten'), 0) as rewritten,
      coalesce(sum(u.n) filter (where l.label = 'order_unknown'), 0) as order_unknown,
      coalesce(sum(u.n) filter (where l.label = 'start_unknown'), 0) as start_unknown,
      coalesce(sum(u.n) filter (where l.label = 'start_after_shipping'), 0) as start_after_shipping,
      coalesce(sum(u.n * metrics.tally_of(metrics.bucket_of(c.lead_seconds))) filter (where c.exclusion is null), 0) as lead_tally
    from (
      select o as c, -1 as n
      from unnest(gone) as o
      union all
      select o, 1
      from unnest(come) as o
    ) as u
    cross join lateral (select (u.c).*) as c
    cross join lateral (
      select
        coalesce(c.exclusion, c.basis) as label,
        case when c.exclusion in ('rewritten', 'order_unknown') then c.started_at else c.shipped_at end as at
    ) as l
    join metrics.generations as g
      on g.id = c.generation
      and g.state <> 'retired'
    where l.at is not null
      and coalesce(c.exclusion, '') not in ('no_change', 'merge_commit', 'taken_off', 'waiting')
    group by c.generation, c.service_id, 3, c.is_bot
  ) as a
  where (
    a.from_commit, a.from_first_commit, a.from_pull_request_opened, a.first_deployment, a.rewritten, a.order_unknown, a.start_unknown, a.start_after_shipping,
    a.lead_tally
  ) <> (0, 0, 0, 0, 0, 0, 0, 0, 0)
  order by a.generation, a.service_id, a.week, a.is_bot
  on conflict on constraint lead_time_weeks_pkey do update set
    from_commit = t.from_commit + excluded.from_commit,
    from_first_commit = t.from_first_commit + excluded.from_first_commit,
    from_pull_request_opened = t.from_pull_request_opened + excluded.from_pull_request_opened,
    first_deployment = t.first_deployment + excluded.first_deployment,
    rewritten = t.rewritten + excluded.rewritten,
    order_unknown = t.order_unknown + excluded.order_unknown,
    start_unknown = t.start_unknown + excluded.start_unknown,
    start_after_shipping = t.start_after_shipping + excluded.start_after_shipping,
    lead_tally = t.lead_tally + excluded.lead_tally;

  -- A week in which nothing is left has no row.
  delete from metrics.lead_time_weeks as t
  using (
    select distinct o.generation, o.service_id, metrics.week_of(coalesce(o.shipped_at, o.started_at), g.time_zone) as week, o.is_bot
    from unnest(gone) as o
    join metrics.generations as g
      on g.id = o.generation
      and g.state <> 'retired'
    where coalesce(o.shipped_at, o.started_at) is not null
  ) as k
  where t.generation = k.generation
    and t.service_id = k.service_id
    and t.week = k.week
    and t.is_bot = k.is_bot
    and t.from_commit + t.from_first_commit + t.from_pull_request_opened + t.first_deployment + t.rewritten + t.order_unknown + t.start_unknown
      + t.start_after_shipping = 0
$function$;
comment on function metrics.count_changes(gone metrics.changes[], come metrics.changes[]) is 'Keeps lead_time_weeks equal to changes, of which these rows went and these came.';

-- function metrics.count_checks(counted metrics.counted_check[])
CREATE OR REPLACE FUNCTION metrics.count_checks(counted metrics.counted_check[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
 SET enable_seqscan TO 'off'
AS $function$
begin
  insert into metrics.rule_weeks as t (generation, reference_id, week, compliant, violation, warning)
  select *
  from (
    select
      g.id,
      c.reference_id,
      metrics.week_of(c.at, g.time_zone),
      coalesce(sum(c.times) filter (where c.status = 'compliant'), 0),
      coalesce(sum(c.times) filter (where c.status = 'violation'), 0),
      coalesce(sum(c.times) filter (where c.status = 'warning'), 0)
    from unnest(counted) as c
    join metrics.generations as g
      on g.state = 'current'
      or (g.state = 'building' and (c.reference_id, c.at) <= (g.counted_reference, g.counted_up_to))
    group by 1, 2, 3
  ) as n (generation, reference_id, week, compliant, violation, warning)
  where (n.compliant, n.violation, n.warning) <> (0, 0, 0)
  order by n.generation, n.reference_id, n.week
  on conflict on constraint rule_weeks_pkey do update set
    compliant = t.compliant + excluded.compliant,
    violation = t.violation + excluded.violation,
    warning = t.warning + excluded.warning;

  if exists (select from unnest(counted) as c where c.times < 0) then
    delete from metrics.rule_weeks as t
    using (
      select distinct g.id, c.reference_id, metrics.week_of(c.at, g.time_zone) as week
      from unnest(counted) as c
      cross join metrics.generations as g
      where c.times < 0
    ) as k
    where t.generation = k.id
      and t.reference_id = k.reference_id
      and t.week = k.week
      and (t.compliant, t.violation, t.warning) = (0, 0, 0);
  end if;
end
$function$;
comment on function metrics.count_checks(counted metrics.counted_check[]) is 'Adds what checks of rules count, in every generation that is kept.';

-- function metrics.count_deliveries(asked metrics.period, earlier metrics.period, wanted text[], by text, service text, repository text, team text, environment text, bots boolean, shown text[])
CREATE OR REPLACE FUNCTION metrics.count_deliveries(asked metrics.period, earlier metrics.period, wanted text[], by text, service text, repository text, team text, environment text, bots boolean, shown text[])
 RETURNS SETOF metrics.delivery_counts
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_tidscan TO 'off'
 SET jit TO 'off'
AS $function$
#variable_conflict use_variable
declare
  with_bots constant boolean := coalesce(bots, true);
  time_zone constant text := (asked).time_zone;
  today constant date := (now() at time zone (asked).time_zone)::date;
  first_day constant date := least((asked).since, (earlier).since);
  first_week constant date := date_trunc('week', first_day::timestamp)::date;
  first_at constant timestamptz := metrics.midnight(first_day, time_zone);
  ends_at constant timestamptz := metrics.midnight((asked).until, time_zone);
  is_restricted constant boolean := num_nonnulls(service, repository, team) > 0;
  service_ids bigint[];
  repository_ids bigint[];
  names text[];
  is_unknown boolean;
  has_incidents boolean := false;
begin
  select
    coalesce(array_agg(s.service_id order by s.service_id), '{}'),
    coalesce(array_agg(s.repository_id order by s.service_id), '{}'),
    coalesce(array_agg(case by when 'service' then s.label when 'repository' then s.repository_label else '' end order by s.service_id), '{}')
  into service_ids, repository_ids, names
  from metrics.selected_services((asked).generation, service, repository, team) as s;
  is_unknown := is_restricted and names = '{}';
  if wanted && array['failures', 'recovery'] then
    has_incidents := exists (select from metrics.incidents);
  end if;

  return query
  with periods as materialized (
    select true as is_asked, asked as period
    union all
    select false, earlier
    where (earlier).since is not null
  ),
  -- Whether percentiles are exact is a matter of the whole selection, whatever the page shows of it.
  selection as materialized (
    select c.service_id, c.repository_id, c.name, shown is null or c.name = any(shown) as is_shown
    from unnest(service_ids, repository_ids, names) as c (service_id, repository_id, name)
  ),
  chosen as materialized (
    select s.service_id, s.repository_id, s.name
    from selection as s
    where s.is_shown
  ),
  buckets as materialized (
    select p.is_asked, b.bucket_start, b.first_day, b.end_day
    from periods as p
    cross join lateral metrics.buckets_of(p.period) as b
  ),
  days as materialized (
    select b.is_asked, b.bucket_start, b.first_day + i.n as day
    from buckets as b
    cross join lateral generate_series(0, b.end_day - b.first_day - 1) as i (n)
  ),
  weeks as materialized (
    select p.is_asked, w.bucket_start, w.week, w.first_day, w.end_day, w.is_counted
    from periods as p
    cross join lateral metrics.nearest_weeks_of(p.period) as w
  ),
  -- The days by which the counted weeks of a bucket miss it.
  days_off as materialized (
    select w.is_asked, w.bucket_start, d.first_day + i.n as day, d.times
    from weeks as w
    cross join lateral (
      values
        (w.first_day, w.end_day, case when not w.is_counted then 1 end),
        (w.week, w.first_day, case when w.is_counted then -1 end),
        (w.end_day, w.week + 7, case when w.is_counted then -1 end)
    ) as d (first_day, end_day, times)
    cross join lateral generate_series(0, d.end_day - d.first_day - 1) as i (n)
    where d.times is not null
  ),
  stretches_off as materialized (
    select metrics.midnight(lower(r.days), time_zone) as starts_at, metrics.midnight(upper(r.days), time_zone) as ends_at
    from (
      select unnest(range_agg(daterange(d.day, d.day + 1))) as days
      from days_off as d
    ) as r
  ),
  grid as materialized (
    select
      g.name,
      b.is_asked,
      b.bucket_start,
      greatest(least(b.end_day, today + 1) - b.first_day, 0) as days,
      metrics.midnight(b.end_day, time_zone) as ends_at
    from (
      select distinct c.name from chosen as c
      union
      select '' where by = 'nothing' or is_unknown
    ) as g
    cross join buckets as b
  ),
  firsts as materialized (
    select c.name, min(f.at) as at
    from chosen as c
    cross join lateral (
      select t.at
      from metrics.service_deployments as t
      where t.generation = (asked).generation
        and t.service_id = c.service_id
        and t.outcome = 'success'
        and (environment is null or t.environment = environment)
      order by t.at
      limit 1
    ) as f
    group by c.name
  ),
  service_weeks as materialized (
    select
      c.name,
      c.is_shown,
      t.week,
      sum(t.deployments) as deployments,
      sum(t.redeploys) as redeploys,
      sum(t.firsts) as firsts,
      sum(t.unknown_commits) as unknown_commits,
      sum(t.failed_attempts) as failed_attempts,
      sum(t.failed_changes) as failed_changes,
      sum(t.open_failures) as open_failures,
      sum(t.rolled_back) as rolled_back,
      sum(t.incidents) as incidents,
      sum(t.fixed_forward) as fixed_forward,
      sum(t.rework) as rework,
      (sum(t.by_day[1]) > 0)::integer + (sum(t.by_day[2]) > 0)::integer + (sum(t.by_day[3]) > 0)::integer
        + (sum(t.by_day[4]) > 0)::integer + (sum(t.by_day[5]) > 0)::integer + (sum(t.by_day[6]) > 0)::integer
        + (sum(t.by_day[7]) > 0)::integer as days,
      sum(t.recovered) as recovered,
      sum(t.recovery_tally) as recovery_tally
    from selection as c
    cross join lateral (
      select *
      from metrics.service_weeks as o
      where o.generation = (asked).generation
        and o.service_id = c.service_id
        and o.week >= first_week
        and o.week < (asked).until
        and (environment is null or o.environment = environment)
      offset 0
    ) as t
    group by c.name, c.is_shown, t.week
  ),
  deployed as (
    select
      u.name,
      u.is_asked,
      u.bucket_start,
      sum(u.deployments) as deployments,
      sum(u.redeploys) as redeploys,
      sum(u.firsts) as firsts,
      sum(u.unknown_commits) as unknown_commits,
      sum(u.failed_attempts) as failed_attempts,
      sum(u.failed_changes) as failed_changes,
      sum(u.open_failures) as open_failures,
      sum(u.rolled_back) as rolled_back,
      sum(u.incidents) as incidents,
      sum(u.fixed_forward) as fixed_forward,
      sum(u.rework) as rework
    from (
      select
        r.name, w.is_asked, w.bucket_start, r.deployments, r.redeploys, r.firsts, r.unknown_commits, r.failed_attempts, r.failed_changes,
        r.open_failures, r.rolled_back, r.incidents, r.fixed_forward, r.rework
      from service_weeks as r
      join weeks as w
        on w.week = r.week
        and w.is_counted
      where r.is_shown
      union all
      select
        c.name,
        d.is_asked,
        d.bucket_start,
        d.times * (t.outcome = 'success')::integer,
        d.times * t.is_redeploy::integer,
        d.times * t.is_first::integer,
        d.times * (t.outcome = 'success' and t.position is null)::integer,
        d.times * (t.outcome = 'failure')::integer,
        d.times * (t.causes is not null)::integer,
        d.times * (t.causes is not null and t.recovered_at is null)::integer,
        d.times * coalesce('rolled_back' = any(t.causes), false)::integer,
        d.times * coalesce('incident' = any(t.causes), false)::integer,
        d.times * coalesce('fixed_forward' = any(t.causes), false)::integer,
        d.times * t.is_rework::integer
      from stretches_off as s
      cross join chosen as c
      cross join lateral (
        select o.*, (o.at at time zone time_zone)::date as day
        from metrics.service_deployments as o
        where o.generation = (asked).generation
          and o.service_id = c.service_id
          and o.at >= s.starts_at
          and o.at < s.ends_at
          and (environment is null or o.environment = environment)
        offset 0
      ) as t
      join days_off as d
        on d.day = t.day
    ) as u
    group by u.name, u.is_asked, u.bucket_start
  ),
  -- Days with a deployment, of each whole week since the group's first.
  weekly as (
    select
      f.name,
      w.is_asked,
      w.bucket_start,
      percentile_disc(0.5) within group (order by coalesce(r.days, 0)) as days_per_week
    from firsts as f
    join weeks as w
      on w.end_day = w.first_day + 7
      and w.week >= metrics.week_of(f.at, time_zone)
      and w.week + 7 <= today
    left join service_weeks as r
      on r.name = f.name
      and r.week = w.week
    where 'frequency' = any(wanted)
    group by f.name, w.is_asked, w.bucket_start
  ),
  -- Few are read one by one, so that their percentiles are exact; many by their weeks.
  recovery_sizes as materialized (
    select p.is_asked, coalesce(sum(r.recovered), 0) <= 2000 as is_small
    from periods as p
    left join weeks as w
      on w.is_asked = p.is_asked
    left join service_weeks as r
      on r.week = w.week
    where 'recovery' = any(wanted)
    group by p.is_asked
  ),
  recovery_days as materialized (
    select d.is_asked, d.bucket_start, d.day, 1 as times
    from recovery_sizes as z
    join days as d
      on d.is_asked = z.is_asked
    where z.is_small
    union all
    select d.is_asked, d.bucket_start, d.day, d.times
    from recovery_sizes as z
    join days_off as d
      on d.is_asked = z.is_asked
    where not z.is_small
  ),
  recovery_stretches as materialized (
    select metrics.midnight(lower(r.days), time_zone) as starts_at, metrics.midnight(upper(r.days), time_zone) as ends_at
    from (
      select unnest(range_agg(daterange(d.day, d.day + 1))) as days
      from recovery_days as d
    ) as r
  ),
  recovery_values as materialized (
    select u.name, u.is_asked, u.bucket_start, u.value, sum(u.n) as n
    from (
      select r.name, r.is_asked, r.bucket_start, metrics.seconds_of(k.bucket) as value, k.count as n
      from (
        select r.name, w.is_asked, w.bucket_start, sum(r.recovery_tally) as tally
        from recovery_sizes as z
        join weeks as w
          on w.is_asked = z.is_asked
          and w.is_counted
        join service_weeks as r
          on r.week = w.week
          and r.is_shown
        where not z.is_small
        group by r.name, w.is_asked, w.bucket_start
      ) as r
      cross join lateral metrics.counts_of(r.tally) as k
      union all
      select
        c.name,
        d.is_asked,
        d.bucket_start,
        case when z.is_small then t.recovery_seconds else metrics.seconds_of(metrics.bucket_of(t.recovery_seconds)) end,
        d.times
      from recovery_stretches as s
      cross join chosen as c
      cross join lateral (
        select o.recovery_seconds, (o.recovered_at at time zone time_zone)::date as day
        from metrics.service_deployments as o
        where o.generation = (asked).generation
          and o.service_id = c.service_id
          and o.causes is not null
          and o.recovered_at >= s.starts_at
          and o.recovered_at < s.ends_at
          and o.recovery_seconds is not null
          and (environment is null or o.environment = environment)
        offset 0
      ) as t
      join recovery_days as d
        on d.day = t.day
      join recovery_sizes as z
        on z.is_asked = d.is_asked
    ) as u
    group by u.name, u.is_asked, u.bucket_start, u.value
    having sum(u.n) > 0
  ),
  recoveries as (
    select
      v.name,
      v.is_asked,
      v.bucket_start,
      max(v.total) as recovered,
      min(v.value) filter (where v.up_to >= ceil(0.5 * v.total)) as p50,
      min(v.value) filter (where v.up_to >= ceil(0.75 * v.total)) as p75,
      min(v.value) filter (where v.up_to >= ceil(0.95 * v.total)) as p95
    from (
      select
        r.*,
        sum(r.n) over (partition by r.name, r.is_asked, r.bucket_start order by r.value) as up_to,
        sum(r.n) over (partition by r.name, r.is_asked, r.bucket_start) as total
      from recovery_values as r
    ) as v
    group by v.name, v.is_asked, v.bucket_start
  ),
  lead_weeks as materialized (
    select
      c.name,
      c.is_shown,
      t.week,
      sum(t.from_commit) as from_commit,
      sum(t.from_first_commit) as from_first_commit,
      sum(t.from_pull_request_opened) as from_pull_request_opened,
      sum(t.first_deployment) as first_deployment,
      sum(t.rewritten) as rewritten,
      sum(t.order_unknown) as order_unknown,
      sum(t.start_unknown) as start_unknown,
      sum(t.start_after_shipping) as start_after_shipping,
      sum(t.lead_tally) as lead_tally
    from selection as c
    cross join lateral (
      select *
      from metrics.lead_time_weeks as o
      where o.generation = (asked).generation
        and o.service_id = c.service_id
        and o.week >= first_week
        and o.week < (asked).until
        and (with_bots or not o.is_bot)
      offset 0
    ) as t
    where 'lead' = any(wanted)
      and environment is null
    group by c.name, c.is_shown, t.week
  ),
  -- Of one environment, which weeks do not tell apart, each is read.
  lead_sizes as materialized (
    select
      p.is_asked,
      environment is not null or coalesce(sum(r.from_commit + r.from_first_commit + r.from_pull_request_opened), 0) <= 2000 as is_small
    from periods as p
    left join weeks as w
      on w.is_asked = p.is_asked
    left join lead_weeks as r
      on r.week = w.week
    where 'lead' = any(wanted)
    group by p.is_asked
  ),
  lead_days as materialized (
    select d.is_asked, d.bucket_start, d.day, 1 as times
    from lead_sizes as z
    join days as d
      on d.is_asked = z.is_asked
    where z.is_small
    union all
    select d.is_asked, d.bucket_start, d.day, d.times
    from lead_sizes as z
    join days_off as d
      on d.is_asked = z.is_asked
    where not z.is_small
  ),
  lead_stretches as materialized (
    select metrics.midnight(lower(r.days), time_zone) as starts_at, metrics.midnight(upper(r.days), time_zone) as ends_at
    from (
      select unnest(range_agg(daterange(d.day, d.day + 1))) as days
      from lead_days as d
    ) as r
  ),
  lead_bucket_weeks as materialized (
    select
      r.name,
      w.is_asked,
      w.bucket_start,
      sum(r.from_commit) as from_commit,
      sum(r.from_first_commit) as from_first_commit,
      sum(r.from_pull_request_opened) as from_pull_request_opened,
      sum(r.first_deployment) as first_deployment,
      sum(r.rewritten) as rewritten,
      sum(r.order_unknown) as order_unknown,
      sum(r.start_unknown) as start_unknown,
      sum(r.start_after_shipping) as start_after_shipping,
      sum(r.lead_tally) as lead_tally
    from lead_sizes as z
    join weeks as w
      on w.is_asked = z.is_asked
      and w.is_counted
    join lead_weeks as r
      on r.week = w.week
      and r.is_shown
    where not z.is_small
    group by r.name, w.is_asked, w.bucket_start
  ),
  lead_rows as materialized (
    select c.name, d.is_asked, d.bucket_start, d.times, t.label, t.lead_seconds
    from lead_stretches as s
    cross join chosen as c
    cross join lateral (
      select
        coalesce(o.exclusion, o.basis) as label,
        case when o.exclusion is null then o.lead_seconds end as lead_seconds,
        (o.shipped_at at time zone time_zone)::date as day
      from metrics.changes as o
      where o.generation = (asked).generation
        and o.service_id = c.service_id
        and o.shipped_at >= s.starts_at
        and o.shipped_at < s.ends_at
        and coalesce(o.exclusion, '') not in ('no_change', 'merge_commit')
        and (with_bots or not o.is_bot)
        and (environment is null or exists (select from metrics.service_deployments as d where d.id = o.shipped_by and d.environment = environment))
      offset 0
    ) as t
    join lead_days as d
      on d.day = t.day
    union all
    -- What was not shipped counts in the days in which it began.
    select c.name, d.is_asked, d.bucket_start, d.times, t.exclusion, null
    from chosen as c
    cross join lateral (
      select o.exclusion, (o.started_at at time zone time_zone)::date as day
      from metrics.changes as o
      where o.generation = (asked).generation
        and o.service_id = c.service_id
        and o.exclusion in ('rewritten', 'order_unknown')
        and o.started_at >= first_at
        and o.started_at < ends_at
        and (with_bots or not o.is_bot)
      offset 0
    ) as t
    join lead_days as d
      on d.day = t.day
    where 'lead' = any(wanted)
  ),
  told as (
    select
      l.name,
      l.is_asked,
      l.bucket_start,
      coalesce(sum(l.n) filter (where l.label in ('commit', 'first_commit', 'pull_request_opened')), 0) as changes,
      coalesce(jsonb_object_agg(l.label, l.n) filter (where l.label in ('commit', 'first_commit', 'pull_request_opened')), '{}') as basis,
      coalesce(jsonb_object_agg(l.label, l.n) filter (where l.label not in ('commit', 'first_commit', 'pull_request_opened')), '{}') as excluded
    from (
      select u.name, u.is_asked, u.bucket_start, u.label, sum(u.n) as n
      from (
        select r.name, r.is_asked, r.bucket_start, v.label, v.n
        from lead_bucket_weeks as r
        cross join lateral (
          values
            ('commit', r.from_commit),
            ('first_commit', r.from_first_commit),
            ('pull_request_opened', r.from_pull_request_opened),
            ('first_deployment', r.first_deployment),
            ('rewritten', r.rewritten),
            ('order_unknown', r.order_unknown),
            ('start_unknown', r.start_unknown),
            ('start_after_shipping', r.start_after_shipping)
        ) as v (label, n)
        union all
        select r.name, r.is_asked, r.bucket_start, r.label, sum(r.times)
        from lead_rows as r
        group by r.name, r.is_asked, r.bucket_start, r.label
      ) as u
      group by u.name, u.is_asked, u.bucket_start, u.label
      having sum(u.n) > 0
    ) as l
    group by l.name, l.is_asked, l.bucket_start
  ),
  leads as (
    select
      v.name,
      v.is_asked,
      v.bucket_start,
      min(v.value) filter (where v.up_to >= ceil(0.5 * v.total)) as p50,
      min(v.value) filter (where v.up_to >= ceil(0.75 * v.total)) as p75,
      min(v.value) filter (where v.up_to >= ceil(0.95 * v.total)) as p95
    from (
      select
        l.*,
        sum(l.n) over (partition by l.name, l.is_asked, l.bucket_start order by l.value) as up_to,
        sum(l.n) over (partition by l.name, l.is_asked, l.bucket_start) as total
      from (
        select u.name, u.is_asked, u.bucket_start, u.value, sum(u.n) as n
        from (
          select r.name, r.is_asked, r.bucket_start, metrics.seconds_of(k.bucket) as value, k.count as n
          from lead_bucket_weeks as r
          cross join lateral metrics.counts_of(r.lead_tally) as k
          union all
          select
            r.name,
            r.is_asked,
            r.bucket_start,
            case when z.is_small then r.lead_seconds else metrics.seconds_of(metrics.bucket_of(r.lead_seconds)) end,
            r.times
          from lead_rows as r
          join lead_sizes as z
            on z.is_asked = r.is_asked
          where r.lead_seconds is not null
        ) as u
        group by u.name, u.is_asked, u.bucket_start, u.value
        having sum(u.n) > 0
      ) as l
    ) as v
    group by v.name, v.is_asked, v.bucket_start
  ),
  unlinked as (
    select u.name, u.is_asked, u.bucket_start, count(*) as n
    from (
      select
        case
          when f.service_id is not null then c.name
          when service is null and by <> 'service' then
            case
              when f.repository_id is not null then (select o.name from chosen as o where o.repository_id = f.repository_id limit 1)
              when not is_restricted and by = 'nothing' then ''
            end
        end as name,
        d.is_asked,
        d.bucket_start
      from metrics.deployment_failures as f
      join days as d
        on d.day = (f.at at time zone time_zone)::date
      left join chosen as c
        on c.service_id = f.service_id
      where 'failures' = any(wanted)
        and f.generation = (asked).generation
        and f.failed_id is null
        and f.at >= first_at
        and f.at < ends_at
    ) as u
    where u.name is not null
    group by u.name, u.is_asked, u.bucket_start
  ),
  truncated as (
    select c.name, d.is_asked, d.bucket_start, count(*) as n
    from (select distinct o.name, o.repository_id from chosen as o) as c
    cross join lateral (
      select (m.pushed_at at time zone time_zone)::date as day
      from metrics.branch_moves as m
      where m.generation = (asked).generation
        and m.repository_id = c.repository_id
        and m.is_truncated
        and m.pushed_at >= first_at
        and m.pushed_at < ends_at
      offset 0
    ) as m
    join days as d
      on d.day = m.day
    where 'lead' = any(wanted)
    group by c.name, d.is_asked, d.bucket_start
  ),
  -- Looked for only where no change was shipped.
  having_changes as materialized (
    select
      c.name,
      bool_or(
        exists (
          select
          from metrics.changes as t
          where t.generation = (asked).generation
            and t.service_id = c.service_id
            and t.is_listed
            and not t.is_merge_commit
            and (t.shipped_at is not null or t.gone_reason is distinct from 'taken_off')
            and (with_bots or not t.is_bot)
        )
      ) as has_changes
    from chosen as c
    group by c.name
  )
  select
    g.name,
    g.is_asked,
    g.bucket_start,
    is_unknown,
    g.days,
    coalesce(d.deployments, 0)::bigint,
    coalesce(d.redeploys, 0)::bigint,
    coalesce(d.firsts, 0)::bigint,
    coalesce(d.unknown_commits, 0)::bigint,
    coalesce(d.failed_attempts, 0)::bigint,
    coalesce(d.failed_changes, 0)::bigint,
    coalesce(d.open_failures, 0)::bigint,
    coalesce(d.rolled_back, 0)::bigint,
    coalesce(d.incidents, 0)::bigint,
    coalesce(d.fixed_forward, 0)::bigint,
    coalesce(d.rework, 0)::bigint,
    coalesce(n.n, 0)::bigint,
    w.days_per_week::double precision,
    coalesce(f.at < g.ends_at, false),
    f.at is not null,
    case
      when not 'lead' = any(wanted) then false
      when t.changes > 0 then true
      else coalesce((select h.has_changes from having_changes as h where h.name = g.name), false)
    end,
    has_incidents,
    l.p50,
    l.p75,
    l.p95,
    coalesce(t.changes, 0)::bigint,
    coalesce(t.basis, '{}'),
    coalesce(t.excluded, '{}'),
    coalesce(c.n, 0)::bigint,
    (select z.is_small from lead_sizes as z where z.is_asked = g.is_asked),
    r.p50,
    r.p75,
    r.p95,
    coalesce(r.recovered, 0)::bigint,
    (select z.is_small from recovery_sizes as z where z.is_asked = g.is_asked)
  from grid as g
  left join deployed as d
    on d.name = g.name
    and d.is_asked = g.is_asked
    and d.bucket_start is not distinct from g.bucket_start
  left join weekly as w
    on w.name = g.name
    and w.is_asked = g.is_asked
    and w.bucket_start is not distinct from g.bucket_start
  left join told as t
    on t.name = g.name
    and t.is_asked = g.is_asked
    and t.bucket_start is not distinct from g.bucket_start
  left join leads as l
    on l.name = g.name
    and l.is_asked = g.is_asked
    and l.bucket_start is not distinct from g.bucket_start
  left join recoveries as r
    on r.name = g.name
    and r.is_asked = g.is_asked
    and r.bucket_start is not distinct from g.bucket_start
  left join unlinked as n
    on n.name = g.name
    and n.is_asked = g.is_asked
    and n.bucket_start is not distinct from g.bucket_start
  left join truncated as c
    on c.name = g.name
    and c.is_asked = g.is_asked
    and c.bucket_start is not distinct from g.bucket_start
  left join firsts as f
    on f.name = g.name;
end
$function$;
grant execute on function metrics.count_deliveries(asked metrics.period, earlier metrics.period, wanted text[], by text, service text, repository text, team text, environment text, bots boolean, shown text[]) to authenticated;
grant execute on function metrics.count_deliveries(asked metrics.period, earlier metrics.period, wanted text[], by text, service text, repository text, team text, environment text, bots boolean, shown text[]) to metrics_reader;
comment on function metrics.count_deliveries(asked metrics.period, earlier metrics.period, wanted text[], by text, service text, repository text, team text, environment text, bots boolean, shown text[]) is 'Counts what numbers about deployments are made of, for each bucket and group of a period and of one before it, if any: from the weeks nearest to each bucket as they were counted, and from the facts of the days by which those miss it.';

-- function metrics.count_deploys(added metrics.changes[], removed metrics.changes[])
CREATE OR REPLACE FUNCTION metrics.count_deploys(added metrics.changes[], removed metrics.changes[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
 SET enable_seqscan TO 'off'
AS $function$
begin
  insert into metrics.pull_request_weeks as t (
    generation, reference_id, week, is_bot, pull_requests, coding, pickup, review, merge, deploy, total
  )
  select d.generation, d.reference_id, metrics.week_of(d.merged_at, g.time_zone), d.is_bot is true, 0, 0, 0, 0, 0, sum(d.tally), 0
  from (
    select
      c.generation,
      c.pull_request_reference_id as reference_id,
      c.merged_at,
      c.pull_request_is_bot as is_bot,
      c.sign * metrics.tally_of(metrics.bucket_of(extract(epoch from min(c.shipped_at) - c.merged_at)::double precision)) as tally
    from (
      select a.*, 1 as sign
      from unnest(added) as a
      union all
      select r.*, -1
      from unnest(removed) as r
      union all
      -- A commit may be a change of several services. What the others say was so before, and is so still.
      select o.*, s.sign
      from (
        select k.generation, k.repository_id, k.sha, array_agg(k.service_id) as service_ids
        from (
          select a.generation, a.repository_id, a.sha, a.service_id
          from unnest(added) as a
          union all
          select r.generation, r.repository_id, r.sha, r.service_id
          from unnest(removed) as r
        ) as k
        group by 1, 2, 3
      ) as k
      -- Looked up by the commit, whatever the planner knows of the table.
      cross join lateral (
        select c.*
        from metrics.changes as c
        where c.sha = k.sha
          and c.generation + 0 = k.generation
          and c.repository_id + 0 = k.repository_id
          and c.service_id <> all(k.service_ids)
        offset 0
      ) as o
      cross join (values (1), (-1)) as s (sign)
      where o.merged_at is not null
        and o.shipped_at is not null
    ) as c
    group by c.sign, c.generation, c.repository_id, c.sha, c.pull_request_reference_id, c.pull_request_number, c.merged_at, c.pull_request_is_bot
  ) as d
  join metrics.generations as g
    on g.id = d.generation
    -- What was counted of a generation that nobody reads any more is deleted as it is.
    and g.state <> 'retired'
  where d.tally is not null
  group by 1, 2, 3, 4
  having sum(d.tally) <> 0
  order by 1, 2, 3, 4
  on conflict on constraint pull_request_weeks_pkey do update set deploy = t.deploy + excluded.deploy;

  if cardinality(removed) = 0 then
    return;
  end if;
  delete from metrics.pull_request_weeks as t
  using (
    select distinct r.generation, r.pull_request_reference_id as reference_id, metrics.week_of(r.merged_at, g.time_zone) as week
    from unnest(removed) as r
    join metrics.generations as g
      on g.id = r.generation
  ) as k
  where t.generation = k.generation
    and t.reference_id = k.reference_id
    and t.week = k.week
    and (t.pull_requests, t.coding, t.pickup, t.review, t.merge, t.deploy, t.total) = (0, 0, 0, 0, 0, 0, 0);
end
$function$;
comment on function metrics.count_deploys(added metrics.changes[], removed metrics.changes[]) is 'Adds what became of pull requests to the phase deploy, and takes other out: of a commit that is a change of several services, the earliest shipping.';

-- function metrics.count_facts(generation integer, reference bigint, after timestamp with time zone, up_to timestamp with time zone)
CREATE OR REPLACE FUNCTION metrics.count_facts(generation integer, reference bigint, after timestamp with time zone, up_to timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'on'
AS $function$
#variable_conflict use_column
declare
  time_zone text;
  horizon timestamptz;
begin
  select g.time_zone, coalesce(metrics.midnight(h.before, g.time_zone), '-infinity')
  into time_zone, horizon
  from metrics.generations as g
  left join metrics.horizons as h
    on h.fact = 'jobs'
  where g.id = count_facts.generation;
  if not found then
    raise exception using
      errcode = '22023',
      message = format('there is no generation %s', count_facts.generation);
  end if;

  -- Right already wherever the triggers saw each run come.
  perform metrics.mark_tries(array_agg(p.reference_id), array_agg(p.rerun_group))
  from metrics.pipeline_runs as p
  where p.reference_id = count_facts.reference
    and p.ended_at > count_facts.after
    and p.ended_at <= count_facts.up_to
    and p.rerun_group is not null;

  insert into metrics.pipeline_weeks as t (
    generation, only_default_branch, only_humans, reference_id, week, pipeline, success, failure, timed_out, error, cancelled, skipped, neutral,
    unknown, reruns, first_decided, first_success, last_decided, last_success, duration_tally, queue_tally
  )
  with runs as materialized (
    select
      metrics.week_of(p.ended_at, time_zone) as week,
      coalesce(p.pipeline, '') as pipeline,
      p.on_default_branch is true as on_default_branch,
      p.actor_is_bot is true as is_bot,
      p.outcome,
      p.outcome in ('success', 'failure', 'timed_out', 'error') as is_decided,
      p.is_first_try,
      p.is_last_try,
      metrics.bucket_of(p.duration_seconds) as duration,
      metrics.bucket_of(p.queue_seconds) as queue
    from metrics.pipeline_runs as p
    where p.reference_id = count_facts.reference
      and p.ended_at > count_facts.after
      and p.ended_at <= count_facts.up_to
  ),
  selections as (
    select *
    from (values (false, false), (false, true), (true, false), (true, true)) as s (only_default_branch, only_humans)
  ),
  buckets as (
    select n.week, n.pipeline, n.on_default_branch, n.is_bot, m.measure, count(*) * metrics.tally_of(m.bucket) as tally
    from runs as n
    cross join lateral (values ('duration', n.duration), ('queue', n.queue)) as m (measure, bucket)
    where m.bucket is not null
    group by n.week, n.pipeline, n.on_default_branch, n.is_bot, m.measure, m.bucket
  ),
  tallies as (
    select
      b.week,
      b.pipeline,
      s.only_default_branch,
      s.only_humans,
      sum(b.tally) filter (where b.measure = 'duration') as duration,
      sum(b.tally) filter (where b.measure = 'queue') as queue
    from buckets as b
    join selections as s
      on (b.on_default_branch or not s.only_default_branch)
      and not (b.is_bot and s.only_humans)
    group by b.week, b.pipeline, s.only_default_branch, s.only_humans
  )
  select
    count_facts.generation,
    c.only_default_branch,
    c.only_humans,
    count_facts.reference,
    c.week,
    c.pipeline,
    c.success,
    c.failure,
    c.timed_out,
    c.error,
    c.cancelled,
    c.skipped,
    c.neutral,
    c.unknown,
    c.reruns,
    c.first_decided,
    c.first_success,
    c.last_decided,
    c.last_success,
    coalesce(l.duration, 0),
    coalesce(l.queue, 0)
  from (
    select
      n.week,
      n.pipeline,
      s.only_default_branch,
      s.only_humans,
      count(*) filter (where n.outcome = 'success') as success,
      count(*) filter (where n.outcome = 'failure') as failure,
      count(*) filter (where n.outcome = 'timed_out') as timed_out,
      count(*) filter (where n.outcome = 'error') as error,
      count(*) filter (where n.outcome = 'cancelled') as cancelled,
      count(*) filter (where n.outcome = 'skipped') as skipped,
      count(*) filter (where n.outcome = 'neutral') as neutral,
      count(*) filter (where n.outcome = 'unknown') as unknown,
      count(*) filter (where not n.is_first_try) as reruns,
      count(*) filter (where n.is_first_try and n.is_decided) as first_decided,
      count(*) filter (where n.is_first_try and n.outcome = 'success') as first_success,
      count(*) filter (where n.is_last_try and n.is_decided) as last_decided,
      count(*) filter (where n.is_last_try and n.outcome = 'success') as last_success
    from runs as n
    join selections as s
      on (n.on_default_branch or not s.only_default_branch)
      and not (n.is_bot and s.only_humans)
    group by n.week, n.pipeline, s.only_default_branch, s.only_humans
  ) as c
  left join tallies as l
    on l.week = c.week
    and l.pipeline = c.pipeline
    and l.only_default_branch = c.only_default_branch
    and l.only_humans = c.only_humans
  on conflict (generation, only_default_branch, only_humans, reference_id, week, pipeline) do update set
    success = t.success + excluded.success,
    failure = t.failure + excluded.failure,
    timed_out = t.timed_out + excluded.timed_out,
    error = t.error + excluded.error,
    cancelled = t.cancelled + excluded.cancelled,
    skipped = t.skipped + excluded.skipped,
    neutral = t.neutral + excluded.neutral,
    unknown = t.unknown + excluded.unknown,
    reruns = t.reruns + excluded.reruns,
    first_decided = t.first_decided + excluded.first_decided,
    first_success = t.first_success + excluded.first_success,
    last_decided = t.last_decided + excluded.last_decided,
    last_success = t.last_success + excluded.last_success,
    duration_tally = t.duration_tally + excluded.duration_tally,
    queue_tally = t.queue_tally + excluded.queue_tally;

  -- Jobs of weeks before the horizon may be gone: see metrics.copy_frozen_weeks.
  insert into metrics.job_weeks as t (
    generation, reference_id, week, pipeline, job, runner, success, failure, timed_out, error, cancelled, skipped, neutral, unknown, seconds,
    rounded_minutes, duration_tally, queue_tally
  )
  with jobs as materialized (
    select
      metrics.week_of(j.ended_at, time_zone) as week,
      coalesce(j.pipeline, '') as pipeline,
      coalesce(j.name, '') as job,
      metrics.runner_of(j.runner_labels) as runner,
      j.outcome,
      j.duration_seconds::numeric as seconds,
      metrics.bucket_of(j.duration_seconds) as duration,
      metrics.bucket_of(j.queue_seconds) as queue
    from metrics.jobs as j
    where j.reference_id = count_facts.reference
      and j.ended_at > count_facts.after
      and j.ended_at <= count_facts.up_to
      and j.ended_at >= horizon
  ),
  tallies as (
    select
      b.week,
      b.pipeline,
      b.job,
      b.runner,
      sum(b.jobs * metrics.tally_of(b.bucket)) filter (where b.measure = 'duration') as duration,
      sum(b.jobs * metrics.tally_of(b.bucket)) filter (where b.measure = 'queue') as queue
    from (
      select n.week, n.pipeline, n.job, n.runner, m.measure, m.bucket, count(*) as jobs
      from jobs as n
      cross join lateral (values ('duration', n.duration), ('queue', n.queue)) as m (measure, bucket)
      where m.bucket is not null
      group by n.week, n.pipeline, n.job, n.runner, m.measure, m.bucket
    ) as b
    group by b.week, b.pipeline, b.job, b.runner
  )
  select
    count_facts.generation,
    count_facts.reference,
    c.week,
    c.pipeline,
    c.job,
    c.runner,
    c.success,
    c.failure,
    c.timed_out,
    c.error,
    c.cancelled,
    c.skipped,
    c.neutral,
    c.unknown,
    c.seconds,
    c.rounded_minutes,
    coalesce(l.duration, 0),
    coalesce(l.queue, 0)
  from (
    select
      n.week,
      n.pipeline,
      n.job,
      n.runner,
      count(*) filter (where n.outcome = 'success') as success,
      count(*) filter (where n.outcome = 'failure') as failure,
      count(*) filter (where n.outcome = 'timed_out') as timed_out,
      count(*) filter (where n.outcome = 'error') as error,
      count(*) filter (where n.outcome = 'cancelled') as cancelled,
      count(*) filter (where n.outcome = 'skipped') as skipped,
      count(*) filter (where n.outcome = 'neutral') as neutral,
      count(*) filter (where n.outcome = 'unknown') as unknown,
      coalesce(sum(n.seconds), 0) as seconds,
      coalesce(sum(ceil(n.seconds / 60)), 0) as rounded_minutes
    from jobs as n
    group by n.week, n.pipeline, n.job, n.runner
  ) as c
  left join tallies as l
    on l.week = c.week
    and l.pipeline = c.pipeline
    and l.job = c.job
    and l.runner = c.runner
  on conflict (generation, reference_id, week, pipeline, job, runner) do update set
    success = t.success + excluded.success,
    failure = t.failure + excluded.failure,
    timed_out = t.timed_out + excluded.timed_out,
    error = t.error + excluded.error,
    cancelled = t.cancelled + excluded.cancelled,
    skipped = t.skipped + excluded.skipped,
    neutral = t.neutral + excluded.neutral,
    unknown = t.unknown + excluded.unknown,
    seconds = t.seconds + excluded.seconds,
    rounded_minutes = t.rounded_minutes + excluded.rounded_minutes,
    duration_tally = t.duration_tally + excluded.duration_tally,
    queue_tally = t.queue_tally + excluded.queue_tally;

  perform metrics.count_pull_requests(
    array(
      select p
      from metrics.pull_requests as p
      where p.reference_id = count_facts.reference
        and p.merged_at > count_facts.after
        and p.merged_at <= count_facts.up_to
    ),
    '{}',
    count_facts.generation
  );
  perform metrics.count_reports(count_facts.generation, count_facts.reference, count_facts.after, count_facts.up_to);
end
$function$;
comment on function metrics.count_facts(generation integer, reference bigint, after timestamp with time zone, up_to timestamp with time zone) is 'Adds the pipeline runs and jobs of a reference that ended, its pull requests that were merged and what was reported of tests and rules, after a moment and up to another, to a generation that has not counted them yet. Nothing may be stored meanwhile.';

-- function metrics.count_jobs(counted metrics.counted_job[], takes_away boolean)
CREATE OR REPLACE FUNCTION metrics.count_jobs(counted metrics.counted_job[], takes_away boolean)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  one metrics.counted_job;
  kept record;
begin
  -- Nearly always one job comes alone and ends: that needs no grouping, and a short statement.
  if cardinality(counted) = 1 and not takes_away then
    one := counted[1];
    for kept in
      select g.id, w.week
      from metrics.generations as g
      join metrics.horizons as h
        on h.fact = 'jobs'
      cross join lateral (select metrics.week_of(one.at, g.time_zone) as week offset 0) as w
      where w.week >= coalesce(h.before, '-infinity')
        and (
          g.state = 'current'
          or (g.state = 'building' and (one.reference_id, one.at) <= (g.counted_reference, g.counted_up_to))
        )
      order by g.id
    loop
      insert into metrics.job_weeks as t (
        generation, reference_id, week, pipeline, job, runner, success, failure, timed_out, error, cancelled, skipped, neutral, unknown, seconds,
        rounded_minutes, duration_tally, queue_tally
      )
      values (
        kept.id,
        one.reference_id,
        kept.week,
        one.pipeline,
        one.job,
        one.runner,
        (one.outcome = 'success')::integer,
        (one.outcome = 'failure')::integer,
        (one.outcome = 'timed_out')::integer,
        (one.outcome = 'error')::integer,
        (one.outcome = 'cancelled')::integer,
        (one.outcome = 'skipped')::integer,
        (one.outcome = 'neutral')::integer,
        (one.outcome = 'unknown')::integer,
        coalesce(one.duration_seconds::numeric, 0),
        coalesce(ceil(one.duration_seconds::numeric / 60), 0),
        case when one.duration_seconds is not null then metrics.tally_of(metrics.bucket_of(one.duration_seconds)) else 0 end,
        case when one.queue_seconds is not null then metrics.tally_of(metrics.bucket_of(one.queue_seconds)) else 0 end
      )
      on conflict (generation, reference_id, week, pipeline, job, runner) do update set
        success = t.success + excluded.success,
        failure = t.failure + excluded.failure,
        timed_out = t.timed_out + excluded.timed_out,
        error = t.error + excluded.error,
        cancelled = t.cancelled + excluded.cancelled,
        skipped = t.skipped + excluded.skipped,
        neutral = t.neutral + excluded.neutral,
        unknown = t.unknown + excluded.unknown,
        seconds = t.seconds + excluded.seconds,
        rounded_minutes = t.rounded_minutes + excluded.rounded_minutes,
        duration_tally = t.duration_tally + excluded.duration_tally,
        queue_tally = t.queue_tally + excluded.queue_tally;
    end loop;
    return;
  end if;

  insert into metrics.job_weeks as t (
    generation, reference_id, week, pipeline, job, runner, success, failure, timed_out, error, cancelled, skipped, neutral, unknown, seconds,
    rounded_minutes, duration_tally, queue_tally
  )
  select *
  from (
    select
      g.id,
      c.reference_id,
      w.week,
      c.pipeline,
      c.job,
      c.runner,
      coalesce(sum(c.times) filter (where c.outcome = 'success'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'failure'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'timed_out'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'error'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'cancelled'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'skipped'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'neutral'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'unknown'), 0),
      coalesce(sum(c.times * c.duration_seconds::numeric), 0),
      coalesce(sum(c.times * ceil(c.duration_seconds::numeric / 60)), 0),
      coalesce(sum(c.times * metrics.tally_of(metrics.bucket_of(c.duration_seconds))) filter (where c.duration_seconds is not null), 0),
      coalesce(sum(c.times * metrics.tally_of(metrics.bucket_of(c.queue_seconds))) filter (where c.queue_seconds is not null), 0)
    from unnest(counted) as c
    cross join metrics.generations as g
    join metrics.horizons as h
      on h.fact = 'jobs'
    cross join lateral (select metrics.week_of(c.at, g.time_zone) as week offset 0) as w
    -- What was counted of weeks before the horizon stays as it is, whether their jobs are dropped now or come late.
    where w.week >= coalesce(h.before, '-infinity')
      and (
        g.state = 'current'
        or (g.state = 'building' and (c.reference_id, c.at) <= (g.counted_reference, g.counted_up_to))
      )
    group by 1, 2, 3, 4, 5, 6
  ) as n (
    generation, reference_id, week, pipeline, job, runner, success, failure, timed_out, error, cancelled, skipped, neutral, unknown, seconds,
    rounded_minutes, duration_tally, queue_tally
  )
  where (
      n.success, n.failure, n.timed_out, n.error, n.cancelled, n.skipped, n.neutral, n.unknown, n.seconds, n.rounded_minutes, n.duration_tally,
      n.queue_tally
    ) <> (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
  order by n.generation, n.reference_id, n.week, n.pipeline collate "C", n.job collate "C", n.runner collate "C"
  on conflict (generation, reference_id, week, pipeline, job, runner) do update set
    success = t.success + excluded.success,
    failure = t.failure + excluded.failure,
    timed_out = t.timed_out + excluded.timed_out,
    error = t.error + excluded.error,
    cancelled = t.cancelled + excluded.cancelled,
    skipped = t.skipped + excluded.skipped,
    neutral = t.neutral + excluded.neutral,
    unknown = t.unknown + excluded.unknown,
    seconds = t.seconds + excluded.seconds,
    rounded_minutes = t.rounded_minutes + excluded.rounded_minutes,
    duration_tally = t.duration_tally + excluded.duration_tally,
    queue_tally = t.queue_tally + excluded.queue_tally;

  if takes_away then
    delete from metrics.job_weeks as t
    using (
      select distinct g.id, c.reference_id, metrics.week_of(c.at, g.time_zone) as week, c.pipeline, c.job
      from unnest(counted) as c
      cross join metrics.generations as g
      where c.times < 0
    ) as k
    where t.generation = k.id
      and t.reference_id = k.reference_id
      and t.week = k.week
      and t.pipeline = k.pipeline
      and t.job = k.job
      and (
        t.success, t.failure, t.timed_out, t.error, t.cancelled, t.skipped, t.neutral, t.unknown, t.seconds, t.rounded_minutes, t.duration_tally,
        t.queue_tally
      ) = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  end if;
end
$function$;
comment on function metrics.count_jobs(counted metrics.counted_job[], takes_away boolean) is 'Adds what jobs count, in every generation that is kept; takes_away says whether some of them no longer count it.';

-- function metrics.count_pull_requests(added metrics.pull_requests[], removed metrics.pull_requests[], generation_id integer)
CREATE OR REPLACE FUNCTION metrics.count_pull_requests(added metrics.pull_requests[], removed metrics.pull_requests[], generation_id integer)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
 SET enable_seqscan TO 'off'
AS $function$
begin
  -- In the order of the keys, so that no two callers wait for each other.
  insert into metrics.pull_request_weeks as t (
    generation, reference_id, week, is_bot, pull_requests, coding, pickup, review, merge, deploy, total
  )
  select n.generation, n.reference_id, n.week, n.is_bot, n.pull_requests, n.coding, n.pickup, n.review, n.merge, 0, n.total
  from (
    select
      g.id as generation,
      c.reference_id,
      metrics.week_of(c.merged_at, g.time_zone) as week,
      c.author_is_bot is true as is_bot,
      sum(c.sign) as pull_requests,
      coalesce(sum(c.sign * metrics.tally_of(metrics.bucket_of(c.coding_seconds))) filter (where c.coding_seconds is not null), 0) as coding,
      coalesce(sum(c.sign * metrics.tally_of(metrics.bucket_of(c.pickup_seconds))) filter (where c.pickup_seconds is not null), 0) as pickup,
      coalesce(sum(c.sign * metrics.tally_of(metrics.bucket_of(c.review_seconds))) filter (where c.review_seconds is not null), 0) as review,
      coalesce(sum(c.sign * metrics.tally_of(metrics.bucket_of(c.merge_seconds))) filter (where c.merge_seconds is not null), 0) as merge,
      coalesce(sum(c.sign * metrics.tally_of(metrics.bucket_of(c.total_seconds))) filter (where c.total_seconds is not null), 0) as total
    from (
      select a.*, 1 as sign
      from unnest(added) as a
      union all
      select r.*, -1
      from unnest(removed) as r
    ) as c
    join metrics.generations as g
      on case
        when generation_id is not null then g.id = generation_id
        else g.state = 'current' or (g.state = 'building' and (c.reference_id, c.merged_at) <= (g.counted_reference, g.counted_up_to))
      end
    where c.merged_at is not null
    group by 1, 2, 3, 4
  ) as n
  where (n.pull_requests, n.coding, n.pickup, n.review, n.merge, n.total) <> (0, 0, 0, 0, 0, 0)
  order by n.generation, n.reference_id, n.week, n.is_bot
  on conflict on constraint pull_request_weeks_pkey do update set
    pull_requests = t.pull_requests + excluded.pull_requests,
    coding = t.coding + excluded.coding,
    pickup = t.pickup + excluded.pickup,
    review = t.review + excluded.review,
    merge = t.merge + excluded.merge,
    total = t.total + excluded.total;

  if cardinality(removed) > 0 then
    delete from metrics.pull_request_weeks as t
    using (
      select distinct g.id, r.reference_id, metrics.week_of(r.merged_at, g.time_zone) as week
      from unnest(removed) as r
      cross join metrics.generations as g
    ) as k
    where t.generation = k.id
      and t.reference_id = k.reference_id
      and t.week = k.week
      and (t.pull_requests, t.coding, t.pickup, t.review, t.merge, t.deploy, t.total) = (0, 0, 0, 0, 0, 0, 0);
  end if;
end
$function$;
comment on function metrics.count_pull_requests(added metrics.pull_requests[], removed metrics.pull_requests[], generation_id integer) is 'Adds pull requests to the aggregates of a generation, or of each that is kept up to date, and takes others out.';

-- function metrics.count_reports(generation integer, reference bigint, after timestamp with time zone, up_to timestamp with time zone)
CREATE OR REPLACE FUNCTION metrics.count_reports(generation integer, reference bigint, after timestamp with time zone, up_to timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
 SET enable_seqscan TO 'off'
AS $function$
#variable_conflict use_column
begin
  insert into metrics.test_weeks as t (generation, reference_id, week, runs, passed, failed, skipped)
  select
    g.id,
    f.reference_id,
    metrics.week_of(f.started_at, g.time_zone) as week,
    count(*),
    sum(coalesce(f.passed_count, 0)),
    sum(coalesce(f.failed_count, 0) + coalesce(f.error_count, 0)),
    sum(coalesce(f.skipped_count, 0))
  from metrics.generations as g
  join metrics.test_runs as f
    on f.reference_id = count_reports.reference
    and f.started_at > count_reports.after
    and f.started_at <= count_reports.up_to
  where g.id = count_reports.generation
  group by g.id, f.reference_id, 3
  on conflict on constraint test_weeks_pkey do update set
    runs = t.runs + excluded.runs,
    passed = t.passed + excluded.passed,
    failed = t.failed + excluded.failed,
    skipped = t.skipped + excluded.skipped;

  insert into metrics.rule_weeks as t (generation, reference_id, week, compliant, violation, warning)
  select
    g.id,
    f.reference_id,
    metrics.week_of(f.checked_at, g.time_zone) as week,
    count(*) filter (where f.status = 'compliant'),
    count(*) filter (where f.status = 'violation'),
    count(*) filter (where f.status = 'warning')
  from metrics.generations as g
  join metrics.rule_checks as f
    on f.reference_id = count_reports.reference
    and f.checked_at > count_reports.after
    and f.checked_at <= count_reports.up_to
    and f.status is not null
  where g.id = count_reports.generation
  group by g.id, f.reference_id, 3
  on conflict on constraint rule_weeks_pkey do update set
    compliant = t.compliant + excluded.compliant,
    violation = t.violation + excluded.violation,
    warning = t.warning + excluded.warning;
end
$function$;
comment on function metrics.count_reports(generation integer, reference bigint, after timestamp with time zone, up_to timestamp with time zone) is 'Counts test runs and checks of rules of a reference, after a moment and up to another, for a generation. Nothing of them may be counted yet.';

-- function metrics.count_runs(counted metrics.counted_run[], takes_away boolean)
CREATE OR REPLACE FUNCTION metrics.count_runs(counted metrics.counted_run[], takes_away boolean)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  one metrics.counted_run;
  is_decided boolean;
  kept record;
begin
  -- Nearly always one run comes alone and ends: that needs no grouping, and a short statement.
  if cardinality(counted) = 1 and not takes_away then
    one := counted[1];
    is_decided := one.outcome in ('success', 'failure', 'timed_out', 'error');
    for kept in
      select g.id, w.week, s.only_default_branch, s.only_humans
      from metrics.generations as g
      cross join lateral (select metrics.week_of(one.at, g.time_zone) as week offset 0) as w
      cross join (values (false, false), (false, true), (true, false), (true, true)) as s (only_default_branch, only_humans)
      where (
          g.state = 'current'
          or (g.state = 'building' and (one.reference_id, one.at) <= (g.counted_reference, g.counted_up_to))
        )
        and (one.on_default_branch or not s.only_default_branch)
        and not (one.is_bot and s.only_humans)
      order by g.id, s.only_default_branch, s.only_humans
    loop
      insert into metrics.pipeline_weeks as t (
        generation, only_default_branch, only_humans, reference_id, week, pipeline, success, failure, timed_out, error, cancelled, skipped,
        neutral, unknown, reruns, first_decided, first_success, last_decided, last_success, duration_tally, queue_tally
      )
      values (
        kept.id,
        kept.only_default_branch,
        kept.only_humans,
        one.reference_id,
        kept.week,
        one.pipeline,
        (one.outcome = 'success')::integer,
        (one.outcome = 'failure')::integer,
        (one.outcome = 'timed_out')::integer,
        (one.outcome = 'error')::integer,
        (one.outcome = 'cancelled')::integer,
        (one.outcome = 'skipped')::integer,
        (one.outcome = 'neutral')::integer,
        (one.outcome = 'unknown')::integer,
        (not one.is_first_try)::integer,
        (one.is_first_try and is_decided)::integer,
        (one.is_first_try and one.outcome = 'success')::integer,
        (one.is_last_try and is_decided)::integer,
        (one.is_last_try and one.outcome = 'success')::integer,
        case when one.duration_seconds is not null then metrics.tally_of(metrics.bucket_of(one.duration_seconds)) else 0 end,
        case when one.queue_seconds is not null then metrics.tally_of(metrics.bucket_of(one.queue_seconds)) else 0 end
      )
      on conflict (generation, only_default_branch, only_humans, reference_id, week, pipeline) do update set
        success = t.success + excluded.success,
        failure = t.failure + excluded.failure,
        timed_out = t.timed_out + excluded.timed_out,
        error = t.error + excluded.error,
        cancelled = t.cancelled + excluded.cancelled,
        skipped = t.skipped + excluded.skipped,
        neutral = t.neutral + excluded.neutral,
        unknown = t.unknown + excluded.unknown,
        reruns = t.reruns + excluded.reruns,
        first_decided = t.first_decided + excluded.first_decided,
        first_success = t.first_success + excluded.first_success,
        last_decided = t.last_decided + excluded.last_decided,
        last_success = t.last_success + excluded.last_success,
        duration_tally = t.duration_tally + excluded.duration_tally,
        queue_tally = t.queue_tally + excluded.queue_tally;
    end loop;
    return;
  end if;

  insert into metrics.pipeline_weeks as t (
    generation, only_default_branch, only_humans, reference_id, week, pipeline, success, failure, timed_out, error, cancelled, skipped, neutral,
    unknown, reruns, first_decided, first_success, last_decided, last_success, duration_tally, queue_tally
  )
  select *
  from (
    select
      g.id,
      s.only_default_branch,
      s.only_humans,
      c.reference_id,
      w.week,
      c.pipeline,
      coalesce(sum(c.times) filter (where c.outcome = 'success'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'failure'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'timed_out'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'error'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'cancelled'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'skipped'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'neutral'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'unknown'), 0),
      coalesce(sum(c.times) filter (where not c.is_first_try), 0),
      coalesce(sum(c.times) filter (where c.is_first_try and d.is_decided), 0),
      coalesce(sum(c.times) filter (where c.is_first_try and c.outcome = 'success'), 0),
      coalesce(sum(c.times) filter (where c.is_last_try and d.is_decided), 0),
      coalesce(sum(c.times) filter (where c.is_last_try and c.outcome = 'success'), 0),
      coalesce(sum(c.times * metrics.tally_of(metrics.bucket_of(c.duration_seconds))) filter (where c.duration_seconds is not null), 0),
      coalesce(sum(c.times * metrics.tally_of(metrics.bucket_of(c.queue_seconds))) filter (where c.queue_seconds is not null), 0)
    from unnest(counted) as c
    join (values (false, false), (false, true), (true, false), (true, true)) as s (only_default_branch, only_humans)
      on (c.on_default_branch or not s.only_default_branch)
      and not (c.is_bot and s.only_humans)
    cross join metrics.generations as g
    cross join lateral (select metrics.week_of(c.at, g.time_zone) as week offset 0) as w
    cross join lateral (select c.outcome in ('success', 'failure', 'timed_out', 'error') as is_decided) as d
    where g.state = 'current'
      or (g.state = 'building' and (c.reference_id, c.at) <= (g.counted_reference, g.counted_up_to))
    group by 1, 2, 3, 4, 5, 6
  ) as n (
    generation, only_default_branch, only_humans, reference_id, week, pipeline, success, failure, timed_out, error, cancelled, skipped, neutral,
    unknown, reruns, first_decided, first_success, last_decided, last_success, duration_tally, queue_tally
  )
  where (
      n.success, n.failure, n.timed_out, n.error, n.cancelled, n.skipped, n.neutral, n.unknown, n.reruns, n.first_decided, n.first_success,
      n.last_decided, n.last_success, n.duration_tally, n.queue_tally
    ) <> (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
  order by n.generation, n.only_default_branch, n.only_humans, n.reference_id, n.week, n.pipeline collate "C"
  on conflict (generation, only_default_branch, only_humans, reference_id, week, pipeline) do update set
    success = t.success + excluded.success,
    failure = t.failure + excluded.failure,
    timed_out = t.timed_out + excluded.timed_out,
    error = t.error + excluded.error,
    cancelled = t.cancelled + excluded.cancelled,
    skipped = t.skipped + excluded.skipped,
    neutral = t.neutral + excluded.neutral,
    unknown = t.unknown + excluded.unknown,
    reruns = t.reruns + excluded.reruns,
    first_decided = t.first_decided + excluded.first_decided,
    first_success = t.first_success + excluded.first_success,
    last_decided = t.last_decided + excluded.last_decided,
    last_success = t.last_success + excluded.last_success,
    duration_tally = t.duration_tally + excluded.duration_tally,
    queue_tally = t.queue_tally + excluded.queue_tally;

  if takes_away then
    delete from metrics.pipeline_weeks as t
    using (
      select distinct g.id, c.reference_id, metrics.week_of(c.at, g.time_zone) as week, c.pipeline
      from unnest(counted) as c
      cross join metrics.generations as g
      where c.times < 0
    ) as k
    where t.generation = k.id
      and t.only_default_branch in (false, true)
      and t.only_humans in (false, true)
      and t.reference_id = k.reference_id
      and t.week = k.week
      and t.pipeline = k.pipeline
      and (
        t.success, t.failure, t.timed_out, t.error, t.cancelled, t.skipped, t.neutral, t.unknown, t.reruns, t.first_decided, t.first_success,
        t.last_decided, t.last_success, t.duration_tally, t.queue_tally
      ) = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  end if;
end
$function$;
comment on function metrics.count_runs(counted metrics.counted_run[], takes_away boolean) is 'Adds what pipeline runs count, in every generation that is kept; takes_away says whether some of them no longer count it.';

-- function metrics.count_service_deployments(gone metrics.service_deployments[], come metrics.service_deployments[])
CREATE OR REPLACE FUNCTION metrics.count_service_deployments(gone metrics.service_deployments[], come metrics.service_deployments[])
 RETURNS void
 LANGUAGE sql
 SET search_path TO ''
 SET enable_hashjoin TO 'on'
AS $function$
  with counted as (
    select
      c.generation,
      c.service_id,
      metrics.week_of(w.at, g.time_zone) as week,
      c.environment,
      c.repository_id,
      u.n,
      w.is_end,
      not w.is_end and c.outcome = 'success' as is_deployed,
      not w.is_end and c.outcome = 'failure' as is_failed_attempt,
      not w.is_end and c.causes is not null as is_failed_change,
      extract(isodow from c.at at time zone g.time_zone) as day,
      not w.is_end and c.is_redeploy as is_redeploy,
      not w.is_end and c.is_first as is_first,
      not w.is_end and c.is_rework as is_rework,
      c.position,
      c.causes,
      c.recovered_at,
      c.recovery_seconds
    from (
      select o as c, -1 as n
      from unnest(gone) as o
      union all
      select o, 1
      from unnest(come) as o
    ) as u
    cross join lateral (select (u.c).*) as c
    -- Once where it was done, and once where its failure ended.
    join lateral (values (c.at, false), (c.recovered_at, true)) as w (at, is_end)
      on not w.is_end
      or (c.causes is not null and c.recovery_seconds is not null)
    join metrics.generations as g
      on g.id = c.generation
      and g.state <> 'retired'
  ),
  added as (
    select
      c.generation,
      c.service_id,
      c.week,
      c.environment,
      min(c.repository_id) as repository_id,
      coalesce(sum(c.n) filter (where c.is_deployed), 0) as deployments,
      coalesce(sum(c.n) filter (where c.is_redeploy), 0) as redeploys,
      coalesce(sum(c.n) filter (where c.is_first), 0) as firsts,
      coalesce(sum(c.n) filter (where c.is_deployed and c.position is null), 0) as unknown_commits,
      coalesce(sum(c.n) filter (where c.is_failed_attempt), 0) as failed_attempts,
      coalesce(sum(c.n) filter (where c.is_failed_change), 0) as failed_changes,
      coalesce(sum(c.n) filter (where c.is_failed_change and c.recovered_at is null), 0) as open_failures,
      coalesce(sum(c.n) filter (where c.is_failed_change and 'rolled_back' = any(c.causes)), 0) as rolled_back,
      coalesce(sum(c.n) filter (where c.is_failed_change and 'incident' = any(c.causes)), 0) as incidents,
      coalesce(sum(c.n) filter (where c.is_failed_change and 'fixed_forward' = any(c.causes)), 0) as fixed_forward,
      coalesce(sum(c.n) filter (where c.is_rework), 0) as rework,
      array[
        coalesce(sum(c.n) filter (where c.is_deployed and c.day = 1), 0),
        coalesce(sum(c.n) filter (where c.is_deployed and c.day = 2), 0),
        coalesce(sum(c.n) filter (where c.is_deployed and c.day = 3), 0),
        coalesce(sum(c.n) filter (where c.is_deployed and c.day = 4), 0),
        coalesce(sum(c.n) filter (where c.is_deployed and c.day = 5), 0),
        coalesce(sum(c.n) filter (where c.is_deployed and c.day = 6), 0),
        coalesce(sum(c.n) filter (where c.is_deployed and c.day = 7), 0)
      ] as by_day,
      coalesce(sum(c.n) filter (where c.is_end), 0) as recovered,
      coalesce(sum(c.n * metrics.tally_of(metrics.bucket_of(c.recovery_seconds))) filter (where c.is_end), 0) as recovery_tally
    from counted as c
    group by c.generation, c.service_id, c.week, c.environment
  )
  insert into metrics.service_weeks as t (
    generation, service_id, week, environment, repository_id, deployments, redeploys, firsts, unknown_commits, failed_attempts,
    failed_changes, open_failures, rolled_back, incidents, fixed_forward, rework, by_day, recovered, recovery_tally
  )
  select
    a.generation, a.service_id, a.week, a.environment, a.repository_id, a.deployments, a.redeploys, a.firsts, a.unknown_commits,
    a.failed_attempts, a.failed_changes, a.open_failures, a.rolled_back, a.incidents, a.fixed_forward, a.rework, a.by_day, a.recovered,
    a.recovery_tally
  from added as a
  where (
    a.deployments, a.redeploys, a.firsts, a.unknown_commits, a.failed_attempts, a.failed_changes, a.open_failures, a.rolled_back, a.incidents,
    a.fixed_forward, a.rework, a.by_day, a.recovered, a.recovery_tally
  ) <> (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, array[0, 0, 0, 0, 0, 0, 0]::bigint[], 0, 0)
  order by 1, 2, 3, 4
  on conflict on constraint service_weeks_pkey do update set
    deployments = t.deployments + excluded.deployments,
    redeploys = t.redeploys + excluded.redeploys,
    firsts = t.firsts + excluded.firsts,
    unknown_commits = t.unknown_commits + excluded.unknown_commits,
    failed_attempts = t.failed_attempts + excluded.failed_attempts,
    failed_changes = t.failed_changes + excluded.failed_changes,
    open_failures = t.open_failures + excluded.open_failures,
    rolled_back = t.rolled_back + excluded.rolled_back,
    incidents = t.incidents + excluded.incidents,
    fixed_forward = t.fixed_forward + excluded.fixed_forward,
    rework = t.rework + excluded.rework,
    by_day = array[
      t.by_day[1] + excluded.by_day[1],
      t.by_day[2] + excluded.by_day[2],
      t.by_day[3] + excluded.by_day[3],
      t.by_day[4] + excluded.by_day[4],
      t.by_day[5] + excluded.by_day[5],
      t.by_day[6] + excluded.by_day[6],
      t.by_day[7] + excluded.by_day[7]
    ],
    recovered = t.recovered + excluded.recovered,
    recovery_tally = t.recovery_tally + excluded.recovery_tally;

  -- A week in which nothing is left has no row.
  delete from metrics.service_weeks as t
  using (
    select distinct o.generation, o.service_id, metrics.week_of(w.at, g.time_zone) as week, o.environment
    from unnest(gone) as o
    join lateral (values (o.at), (o.recovered_at)) as w (at)
      on w.at is not null
    join metrics.generations as g
      on g.id = o.generation
      and g.state <> 'retired'
  ) as k
  where t.generation = k.generation
    and t.service_id = k.service_id
    and t.week = k.week
    and t.environment = k.environment
    and t.deployments = 0
    and t.failed_attempts = 0
    and t.recovered = 0
$function$;
comment on function metrics.count_service_deployments(gone metrics.service_deployments[], come metrics.service_deployments[]) is 'Keeps service_weeks equal to service_deployments, of which these rows went and these came.';

-- function metrics.count_test_runs(counted metrics.counted_test_run[])
CREATE OR REPLACE FUNCTION metrics.count_test_runs(counted metrics.counted_test_run[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
 SET enable_seqscan TO 'off'
AS $function$
begin
  insert into metrics.test_weeks as t (generation, reference_id, week, runs, passed, failed, skipped)
  select *
  from (
    select
      g.id,
      c.reference_id,
      metrics.week_of(c.at, g.time_zone),
      sum(c.times),
      sum(c.times * c.passed),
      sum(c.times * c.failed),
      sum(c.times * c.skipped)
    from unnest(counted) as c
    join metrics.generations as g
      on g.state = 'current'
      or (g.state = 'building' and (c.reference_id, c.at) <= (g.counted_reference, g.counted_up_to))
    group by 1, 2, 3
  ) as n (generation, reference_id, week, runs, passed, failed, skipped)
  where (n.runs, n.passed, n.failed, n.skipped) <> (0, 0, 0, 0)
  order by n.generation, n.reference_id, n.week
  on conflict on constraint test_weeks_pkey do update set
    runs = t.runs + excluded.runs,
    passed = t.passed + excluded.passed,
    failed = t.failed + excluded.failed,
    skipped = t.skipped + excluded.skipped;

  if exists (select from unnest(counted) as c where c.times < 0) then
    delete from metrics.test_weeks as t
    using (
      select distinct g.id, c.reference_id, metrics.week_of(c.at, g.time_zone) as week
      from unnest(counted) as c
      cross join metrics.generations as g
      where c.times < 0
    ) as k
    where t.generation = k.id
      and t.reference_id = k.reference_id
      and t.week = k.week
      and (t.runs, t.passed, t.failed, t.skipped) = (0, 0, 0, 0);
  end if;
end
$function$;
comment on function metrics.count_test_runs(counted metrics.counted_test_run[]) is 'Adds what test runs count, in every generation that is kept.';

-- function metrics.counts_of(tally numeric)
CREATE OR REPLACE FUNCTION metrics.counts_of(tally numeric)
 RETURNS TABLE(bucket smallint, count integer)
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE ROWS 60
 SET search_path TO ''
AS $function$
#variable_conflict use_column
begin
  return query
  select
    (case when d.places = p.place then -32768 else d.places - p.place - 146 end)::smallint,
    convert_from(c.digits, 'UTF8')::integer
  from (
    -- As bytes: where a character may be several, each look for the n-th begins at the first. And once, not for each place.
    select convert_to(lpad(t.digits, 8 * t.places, '0'), 'UTF8') as digits, t.places, t.places - t.empty_places as last_place
    from (
      select
        o.digits,
        (length(o.digits) + 7) / 8 as places,
        (length(o.digits) - length(rtrim(o.digits, '0'))) / 8 as empty_places
      from (select tally::text as digits where tally > 0 offset 0) as o
      offset 0
    ) as t
    offset 0
  ) as d
  cross join lateral generate_series(1, d.last_place) as p (place)
  cross join lateral (select substr(d.digits, 8 * p.place - 7, 8) as digits offset 0) as c
  where c.digits <> '00000000'::bytea;
end
$function$;
grant execute on function metrics.counts_of(tally numeric) to authenticated;
grant execute on function metrics.counts_of(tally numeric) to metrics_reader;
comment on function metrics.counts_of(tally numeric) is 'The counts of a tally by bucket, without those that are 0.';

-- function metrics.create_token(name text, sources text[], repositories text[], fact_kinds text[], calls_per_minute integer, expires_at timestamp with time zone)
CREATE OR REPLACE FUNCTION metrics.create_token(name text, sources text[], repositories text[] DEFAULT NULL::text[], fact_kinds text[] DEFAULT ARRAY['test_runs'::text, 'test_cases'::text, 'rule_checks'::text, 'measurements'::text], calls_per_minute integer DEFAULT 60, expires_at timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS text
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  made metrics.identities;
  token text;
begin
  perform metrics.require_admin();
  made.id := metrics.next_identity_id();
  -- A version 4 UUID holds 122 bits of the server's strong random source: three hold more than the 256 that a SHA-256 passes on. So no
  -- extension is needed.
  token := format(
    'mtr_%s_%s',
    made.id,
    rtrim(
      translate(
        encode(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 'base64'),
        '+/',
        '-_'
      ),
      '='
    )
  );
  made.name := create_token.name;
  made.kind := 'token';
  made.claims := '{}';
  made.token_sha256 := sha256(convert_to(token, 'UTF8'));
  made.sources := create_token.sources;
  made.repositories := create_token.repositories;
  made.fact_kinds := create_token.fact_kinds;
  made.calls_per_minute := create_token.calls_per_minute;
  made.expires_at := create_token.expires_at;
  perform metrics.add_identity(made);
  select i.*
  into made
  from metrics.identities as i
  where i.id = made.id;
  perform metrics.note('create_token', null, metrics.identity_without_hash(made));
  return token;
end
$function$;
grant execute on function metrics.create_token(name text, sources text[], repositories text[], fact_kinds text[], calls_per_minute integer, expires_at timestamp with time zone) to authenticated;
comment on function metrics.create_token(name text, sources text[], repositories text[], fact_kinds text[], calls_per_minute integer, expires_at timestamp with time zone) is 'Makes a token and returns it, this once: only its SHA-256 is kept.';

-- function metrics.current_generation()
CREATE OR REPLACE FUNCTION metrics.current_generation()
 RETURNS integer
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
AS $function$
begin
  return (
    select g.id
    from metrics.generations as g
    where g.state = 'current'
  );
end
$function$;
grant execute on function metrics.current_generation() to authenticated;
grant execute on function metrics.current_generation() to metrics_reader;
comment on function metrics.current_generation() is 'The generation that numbers are read from.';

-- function metrics.days_off_weeks_of(asked metrics.period)
CREATE OR REPLACE FUNCTION metrics.days_off_weeks_of(asked metrics.period)
 RETURNS TABLE(bucket_start date, week date, starts_at timestamp with time zone, ends_at timestamp with time zone, times integer)
 LANGUAGE plpgsql
 IMMUTABLE ROWS 60
 SET search_path TO ''
AS $function$
#variable_conflict use_column
begin
  return query
  select w.bucket_start, w.week, metrics.midnight(d.first_day, asked.time_zone), metrics.midnight(d.end_day, asked.time_zone), d.times
  from metrics.nearest_weeks_of(asked) as w
  cross join lateral (
    values
      (w.first_day, w.end_day, case when not w.is_counted then 1 end),
      (w.week, w.first_day, case when w.is_counted then -1 end),
      (w.end_day, w.week + 7, case when w.is_counted then -1 end)
  ) as d (first_day, end_day, times)
  where d.times is not null
    and d.first_day < d.end_day;
end
$function$;
grant execute on function metrics.days_off_weeks_of(asked metrics.period) to authenticated;
grant execute on function metrics.days_off_weeks_of(asked metrics.period) to metrics_reader;
comment on function metrics.days_off_weeks_of(asked metrics.period) is 'The stretches by which the counted weeks of each bucket miss it, as moments: times is 1 for those to add, -1 for those to take away.';

-- function metrics.delete_retired(step integer)
CREATE OR REPLACE FUNCTION metrics.delete_retired(step integer)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  gone integer;
  name text;
  deleted integer := 0;
  rows integer;
begin
  select g.id
  into gone
  from metrics.generations as g
  where g.state = 'retired'
    and g.retired_at < now() - interval '10 minutes'
  order by g.id
  limit 1;
  if not found then
    return 0;
  end if;
  for name in
    select c.relname
    from pg_catalog.pg_class as c
    join pg_catalog.pg_attribute as a
      on a.attrelid = c.oid
      and a.attname = 'generation'
    where c.relnamespace = 'metrics'::regnamespace
      and c.relkind = 'r'
    order by c.relname in ('changes', 'service_deployments'), c.relname
  loop
    exit when deleted >= step;
    execute format(
      'delete from metrics.%1$I where ctid in (select t.ctid from metrics.%1$I as t where t.generation = $1 limit $2)',
      name
    )
    using gone, step - deleted;
    get diagnostics rows = row_count;
    deleted := deleted + rows;
  end loop;
  if deleted < step then
    delete from metrics.generations as g
    where g.id = gone;
  end if;
  return deleted;
end
$function$;
comment on function metrics.delete_retired(step integer) is 'Deletes up to so many rows of the oldest generation that nobody reads any more.';

-- function metrics.delivery_evidence(asked metrics.period, about text, service text, repository text, team text, environment text, bots boolean)
CREATE OR REPLACE FUNCTION metrics.delivery_evidence(asked metrics.period, about text, service text, repository text, team text, environment text, bots boolean)
 RETURNS SETOF metrics.evidence
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET plan_cache_mode TO 'force_custom_plan'
 SET enable_seqscan TO 'off'
 SET enable_tidscan TO 'off'
AS $function$
#variable_conflict use_variable
declare
  with_bots constant boolean := coalesce(bots, true);
  after constant metrics.evidence_key := metrics.evidence_after(asked);
  starts_at constant timestamptz := metrics.midnight((asked).since, (asked).time_zone);
  ends_at constant timestamptz := metrics.midnight((asked).until, (asked).time_zone);
  begins_at constant timestamptz := greatest(after.happened_at, starts_at);
  is_restricted constant boolean := num_nonnulls(service, repository, team) > 0;
  service_ids bigint[];
  repository_ids bigint[];
  labels text[];
  names text[];
  rows_in_all bigint;
begin
  select
    coalesce(array_agg(s.service_id), '{}'),
    coalesce(array_agg(s.repository_id), '{}'),
    coalesce(array_agg(s.label), '{}'),
    coalesce(array_agg(s.repository_label), '{}')
  into service_ids, repository_ids, labels, names
  from metrics.selected_services((asked).generation, service, repository, team) as s;

  if about = 'deployments' then
    rows_in_all := (
      select count(*)
      from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
      join metrics.service_deployments as t
        on t.generation = (asked).generation
        and t.service_id = c.service_id
        and t.at >= starts_at
        and t.at < ends_at
      where true
        and (environment is null or t.environment = environment)
    );
    return query
    select
      e.happened_at,
      e.repository,
      e.service,
      e.kind,
      e.external_id,
      e.commit_sha,
      e.title,
      e.value,
      e.unit,
      e.reason,
      coalesce(e.url, metrics.deployment_url(e.kind, e.reference_id, e.external_id)),
      e.detail,
      metrics.evidence_page_key(e.happened_at, e.repository, e.kind, e.place),
      rows_in_all
    from (
      select
        t.at as happened_at, c.name as repository, c.label as service, t.kind, t.external_id, t.commit_sha,
        t.environment as title, null::double precision as value, null as unit, case when t.outcome = 'failure' then 'failed_attempt' when t.is_first then 'first_deployment' when t.is_redeploy then 'redeploy' end as reason, t.reference_id, null::text as url, jsonb_strip_nulls(jsonb_build_object('began_at', t.began_at, 'outcome', t.outcome, 'rollout', t.member_ids, 'has_place', t.position is not null)) as detail, t.place
      from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
      cross join lateral (
        select t.*, (t.external_id || ' ' || c.label) as place
        from metrics.service_deployments as t
        where t.generation = (asked).generation
          and t.service_id = c.service_id
          and t.at >= begins_at
          and t.at < ends_at
          and true
          and (environment is null or t.environment = environment)
          and (
            after.happened_at is null
            or (t.at, c.name collate "C", t.kind collate "C", (t.external_id || ' ' || c.label) collate "C")
              > (after.happened_at, after.repository collate "C", after.kind collate "C", after.external_id collate "C")
          )
        order by t.at, t.external_id collate "C"
        limit (asked).page_size
      ) as t
    ) as e
    order by e.happened_at, e.repository collate "C", e.kind collate "C", e.place collate "C"
    limit (asked).page_size;
    return;
  end if;

  if about = 'failures' then
    rows_in_all := (
      select sum(u.n)
      from (
        select count(*) as n
        from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
        join metrics.service_deployments as t
          on t.generation = (asked).generation
          and t.service_id = c.service_id
          and t.at >= starts_at
          and t.at < ends_at
        where t.outcome = 'success'
          and (environment is null or t.environment = environment)
        union all
        select count(*)
        from metrics.deployment_failures as f
        where f.generation = (asked).generation
        and f.failed_id is null
        and f.at < ends_at
        and (
          f.service_id = any(service_ids)
          or (f.service_id is null and service is null and (f.repository_id = any(repository_ids) or (f.repository_id is null and not is_restricted)))
        )
          and f.at >= starts_at
      ) as u
    );
    return query
    select
      e.happened_at,
      e.repository,
      e.service,
      e.kind,
      e.external_id,
      e.commit_sha,
      e.title,
      e.value,
      e.unit,
      e.reason,
      coalesce(e.url, metrics.deployment_url(e.kind, e.reference_id, e.external_id)),
      e.detail,
      metrics.evidence_page_key(e.happened_at, e.repository, e.kind, e.place),
      rows_in_all
    from (
      select *
      from (
      select
        t.at as happened_at, c.name as repository, c.label as service, t.kind, t.external_id, t.commit_sha,
        t.environment as title, (t.causes is not null)::integer::double precision as value, 'failed' as unit, array_to_string(t.causes, ', ') as reason, t.reference_id, null::text as url, jsonb_strip_nulls(jsonb_build_object('failures', (
          select jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
            'cause', f.cause,
            'mended_by', m.external_id,
            'mended_by_url', metrics.deployment_url(m.kind, m.reference_id, m.external_id),
            'incident', f.incident_external_id,
            'incident_source', f.incident_source,
            'incident_url', i.url,
            'at', f.at,
            'ended_at', f.ended_at
          )) order by f.at, f.cause)
          from metrics.deployment_failures as f
          left join metrics.service_deployments as m
            on m.id = f.mended_by
          left join metrics.incidents as i
            on i.source = f.incident_source
            and i.external_id = f.incident_external_id
          where f.failed_id = t.id
        ))) as detail, t.place
      from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
      cross join lateral (
        select t.*, (t.external_id || ' ' || c.label) as place
        from metrics.service_deployments as t
        where t.generation = (asked).generation
          and t.service_id = c.service_id
          and t.at >= begins_at
          and t.at < ends_at
          and t.outcome = 'success'
          and (environment is null or t.environment = environment)
          and (
            after.happened_at is null
            or (t.at, c.name collate "C", t.kind collate "C", (t.external_id || ' ' || c.label) collate "C")
              > (after.happened_at, after.repository collate "C", after.kind collate "C", after.external_id collate "C")
          )
        order by t.at, t.external_id collate "C"
        limit (asked).page_size
      ) as t
        union all
        select
          f.at,
          coalesce(metrics.repository_label(f.repository_id), ''),
          metrics.service_label(f.service_id),
          'incident',
          f.incident_external_id,
          i.commit_sha,
          i.title,
          null,
          null,
          'unlinked',
          null,
          i.url,
          jsonb_strip_nulls(jsonb_build_object('source', f.incident_source, 'ended_at', f.ended_at)),
          f.incident_source || ' ' || f.incident_external_id
        from metrics.deployment_failures as f
        join metrics.incidents as i
          on i.source = f.incident_source
          and i.external_id = f.incident_external_id
        where f.generation = (asked).generation
        and f.failed_id is null
        and f.at < ends_at
        and (
          f.service_id = any(service_ids)
          or (f.service_id is null and service is null and (f.repository_id = any(repository_ids) or (f.repository_id is null and not is_restricted)))
        )
          and f.at >= begins_at
          and (
            after.happened_at is null
            or (f.at, coalesce(metrics.repository_label(f.repository_id), '') collate "C", 'incident' collate "C", (f.incident_source || ' ' || f.incident_external_id) collate "C")
              > (after.happened_at, after.repository collate "C", after.kind collate "C", after.external_id collate "C")
          )
      ) as u
    ) as e
    order by e.happened_at, e.repository collate "C", e.kind collate "C", e.place collate "C"
    limit (asked).page_size;
    return;
  end if;

  if about = 'recoveries' then
    rows_in_all := (
      select sum(u.n)
      from (
        select count(*) as n
        from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
        join metrics.service_deployments as t
          on t.generation = (asked).generation
          and t.service_id = c.service_id
          and t.recovered_at >= starts_at
          and t.recovered_at < ends_at
        where t.causes is not null and t.recovery_seconds is not null
          and (environment is null or t.environment = environment)
        union all
        select count(*)
        from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
        join metrics.service_deployments as t
          on t.generation = (asked).generation
          and t.service_id = c.service_id
          and t.at >= starts_at
          and t.at < ends_at
        where t.causes is not null and t.recovered_at is null
          and (environment is null or t.environment = environment)
      ) as u
    );
    return query
    select
      e.happened_at,
      e.repository,
      e.service,
      e.kind,
      e.external_id,
      e.commit_sha,
      e.title,
      e.value,
      e.unit,
      e.reason,
      coalesce(e.url, metrics.deployment_url(e.kind, e.reference_id, e.external_id)),
      e.detail,
      metrics.evidence_page_key(e.happened_at, e.repository, e.kind, e.place),
      rows_in_all
    from (
      select *
      from (
        select
          t.recovered_at as happened_at, c.name as repository, c.label as service, t.kind, t.external_id, t.commit_sha,
          t.environment as title, t.recovery_seconds as value, 'seconds' as unit, array_to_string(t.causes, ', ') as reason, t.reference_id, null::text as url, jsonb_strip_nulls(jsonb_build_object('deployed_at', t.at, 'failures', (
            select jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
              'cause', f.cause,
              'mended_by', m.external_id,
              'mended_by_url', metrics.deployment_url(m.kind, m.reference_id, m.external_id),
              'incident', f.incident_external_id,
              'incident_source', f.incident_source,
              'incident_url', i.url,
              'at', f.at,
              'ended_at', f.ended_at
            )) order by f.at, f.cause)
            from metrics.deployment_failures as f
            left join metrics.service_deployments as m
              on m.id = f.mended_by
            left join metrics.incidents as i
              on i.source = f.incident_source
              and i.external_id = f.incident_external_id
            where f.failed_id = t.id
          ))) as detail, t.place
        from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
        cross join lateral (
          select t.*, (t.external_id || ' ' || c.label) as place
          from metrics.service_deployments as t
          where t.generation = (asked).generation
            and t.service_id = c.service_id
            and t.recovered_at >= begins_at
            and t.recovered_at < ends_at
            and t.causes is not null and t.recovery_seconds is not null
            and (environment is null or t.environment = environment)
            and (
              after.happened_at is null
              or (t.recovered_at, c.name collate "C", t.kind collate "C", (t.external_id || ' ' || c.label) collate "C")
                > (after.happened_at, after.repository collate "C", after.kind collate "C", after.external_id collate "C")
            )
          order by t.recovered_at, t.external_id collate "C"
          limit (asked).page_size
        ) as t
        union all
        select
          t.at as happened_at, c.name as repository, c.label as service, t.kind, t.external_id, t.commit_sha,
          t.environment as title, null as value, 'seconds' as unit, 'open' as reason, t.reference_id, null::text as url, jsonb_strip_nulls(jsonb_build_object('deployed_at', t.at, 'failures', (
            select jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
              'cause', f.cause,
              'mended_by', m.external_id,
              'mended_by_url', metrics.deployment_url(m.kind, m.reference_id, m.external_id),
              'incident', f.incident_external_id,
              'incident_source', f.incident_source,
              'incident_url', i.url,
              'at', f.at,
              'ended_at', f.ended_at
            )) order by f.at, f.cause)
            from metrics.deployment_failures as f
            left join metrics.service_deployments as m
              on m.id = f.mended_by
            left join metrics.incidents as i
              on i.source = f.incident_source
              and i.external_id = f.incident_external_id
            where f.failed_id = t.id
          ))) as detail, t.place
        from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
        cross join lateral (
          select t.*, (t.external_id || ' ' || c.label) as place
          from metrics.service_deployments as t
          where t.generation = (asked).generation
            and t.service_id = c.service_id
            and t.at >= begins_at
            and t.at < ends_at
            and t.causes is not null and t.recovered_at is null
            and (environment is null or t.environment = environment)
            and (
              after.happened_at is null
              or (t.at, c.name collate "C", t.kind collate "C", (t.external_id || ' ' || c.label) collate "C")
                > (after.happened_at, after.repository collate "C", after.kind collate "C", after.external_id collate "C")
            )
          order by t.at, t.external_id collate "C"
          limit (asked).page_size
        ) as t
      ) as u
    ) as e
    order by e.happened_at, e.repository collate "C", e.kind collate "C", e.place collate "C"
    limit (asked).page_size;
    return;
  end if;

  if about = 'rework' then
    rows_in_all := (
      select count(*)
      from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
      join metrics.service_deployments as t
        on t.generation = (asked).generation
        and t.service_id = c.service_id
        and t.at >= starts_at
        and t.at < ends_at
      where t.outcome = 'success'
        and (environment is null or t.environment = environment)
    );
    return query
    select
      e.happened_at,
      e.repository,
      e.service,
      e.kind,
      e.external_id,
      e.commit_sha,
      e.title,
      e.value,
      e.unit,
      e.reason,
      coalesce(e.url, metrics.deployment_url(e.kind, e.reference_id, e.external_id)),
      e.detail,
      metrics.evidence_page_key(e.happened_at, e.repository, e.kind, e.place),
      rows_in_all
    from (
      select
        t.at as happened_at, c.name as repository, c.label as service, t.kind, t.external_id, t.commit_sha,
        t.environment as title, t.is_rework::integer::double precision as value, 'rework' as unit, case when t.is_rework then 'rework' end as reason, t.reference_id, null::text as url, jsonb_strip_nulls(jsonb_build_object('mended', (
          select jsonb_agg(jsonb_build_object('cause', f.cause, 'failed', o.external_id, 'failed_url', metrics.deployment_url(o.kind, o.reference_id, o.external_id)) order by o.at, f.cause)
          from metrics.deployment_failures as f
          join metrics.service_deployments as o
            on o.id = f.failed_id
          where f.mended_by = t.id
        ))) as detail, t.place
      from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
      cross join lateral (
        select t.*, (t.external_id || ' ' || c.label) as place
        from metrics.service_deployments as t
        where t.generation = (asked).generation
          and t.service_id = c.service_id
          and t.at >= begins_at
          and t.at < ends_at
          and t.outcome = 'success'
          and (environment is null or t.environment = environment)
          and (
            after.happened_at is null
            or (t.at, c.name collate "C", t.kind collate "C", (t.external_id || ' ' || c.label) collate "C")
              > (after.happened_at, after.repository collate "C", after.kind collate "C", after.external_id collate "C")
          )
        order by t.at, t.external_id collate "C"
        limit (asked).page_size
      ) as t
    ) as e
    order by e.happened_at, e.repository collate "C", e.kind collate "C", e.place collate "C"
    limit (asked).page_size;
    return;
  end if;

  if about = 'changes' then
    rows_in_all := (
      select sum(u.n)
      from (
        select count(*) as n
        from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
        join metrics.changes as t
          on t.generation = (asked).generation
          and t.service_id = c.service_id
          and t.shipped_at >= starts_at
          and t.shipped_at < ends_at
        where t.exclusion is distinct from 'no_change' and t.exclusion is distinct from 'merge_commit'
          and (with_bots or not t.is_bot)
          and (environment is null or exists (select from metrics.service_deployments as o where o.id = t.shipped_by and o.environment = environment))
        union all
        select count(*)
        from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
        join metrics.changes as t
          on t.generation = (asked).generation
          and t.service_id = c.service_id
          and t.shipped_at is null
          and t.started_at >= starts_at
          and t.started_at < ends_at
        where t.exclusion in ('rewritten', 'order_unknown')
          and (with_bots or not t.is_bot)
      ) as u
    );
    return query
    select
      e.happened_at,
      e.repository,
      e.service,
      e.kind,
      e.external_id,
      e.commit_sha,
      (
        select min(m.title collate "C")
        from metrics.repository_references as f
        join metrics.repository_references as r
          on r.repository_id = f.repository_id
        join metrics.commits as m
          on m.reference_id = r.id
          and m.sha = e.commit_sha
        where f.id = e.reference_id
      ),
      e.value,
      e.unit,
      e.reason,
      coalesce(e.url, d.url),
      e.detail || jsonb_strip_nulls(jsonb_build_object('deployment_url', d.url)),
      metrics.evidence_page_key(e.happened_at, e.repository, e.kind, e.place),
      rows_in_all
    from (
      select *
      from (
        select
          t.shipped_at as happened_at, c.name as repository, c.label as service, 'change' as kind, t.sha as external_id, t.sha as commit_sha, t.reference_id,
          case when t.exclusion is null then t.lead_seconds end as value, 'seconds' as unit, t.exclusion as reason,
          p.url,
          d.kind as deployment_kind,
          d.reference_id as deployment_reference_id,
          d.external_id as deployment_id,
          jsonb_strip_nulls(jsonb_build_object(
            'basis', t.basis,
            'started_at', t.started_at,
            'pull_request', t.pull_request_number,
            'deployment', d.external_id
          )) as detail,
          t.place
        from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
        cross join lateral (
          select t.*, (t.sha || ' ' || c.label) as place
          from metrics.changes as t
          where t.generation = (asked).generation
            and t.service_id = c.service_id
            and t.shipped_at >= begins_at and t.shipped_at < ends_at and t.exclusion is distinct from 'no_change' and t.exclusion is distinct from 'merge_commit' and (environment is null or exists (select from metrics.service_deployments as o where o.id = t.shipped_by and o.environment = environment))
            and (with_bots or not t.is_bot)
            and (
            after.happened_at is null
            or (t.shipped_at, c.name collate "C", 'change' collate "C", (t.sha || ' ' || c.label) collate "C")
              > (after.happened_at, after.repository collate "C", after.kind collate "C", after.external_id collate "C")
          )
          order by t.shipped_at, t.sha collate "C"
          limit (asked).page_size
        ) as t
        left join metrics.service_deployments as d
          on d.id = t.shipped_by
        left join metrics.pull_requests as p
          on p.reference_id = t.pull_request_reference_id
          and p.number = t.pull_request_number
        union all
        select
          t.started_at as happened_at, c.name as repository, c.label as service, 'change' as kind, t.sha as external_id, t.sha as commit_sha, t.reference_id,
          case when t.exclusion is null then t.lead_seconds end as value, 'seconds' as unit, t.exclusion as reason,
          p.url,
          d.kind as deployment_kind,
          d.reference_id as deployment_reference_id,
          d.external_id as deployment_id,
          jsonb_strip_nulls(jsonb_build_object(
            'basis', t.basis,
            'started_at', t.started_at,
            'pull_request', t.pull_request_number,
            'deployment', d.external_id
          )) as detail,
          t.place
        from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
        cross join lateral (
          select t.*, (t.sha || ' ' || c.label) as place
          from metrics.changes as t
          where t.generation = (asked).generation
            and t.service_id = c.service_id
            and t.shipped_at is null and t.started_at >= begins_at and t.started_at < ends_at and t.exclusion in ('rewritten', 'order_unknown')
            and (with_bots or not t.is_bot)
            and (
            after.happened_at is null
            or (t.started_at, c.name collate "C", 'change' collate "C", (t.sha || ' ' || c.label) collate "C")
              > (after.happened_at, after.repository collate "C", after.kind collate "C", after.external_id collate "C")
          )
          order by t.started_at, t.sha collate "C"
          limit (asked).page_size
        ) as t
        left join metrics.service_deployments as d
          on d.id = t.shipped_by
        left join metrics.pull_requests as p
          on p.reference_id = t.pull_request_reference_id
          and p.number = t.pull_request_number
      ) as u
      order by happened_at, repository collate "C", kind collate "C", place collate "C"
      limit (asked).page_size
    ) as e
    cross join lateral (
      select metrics.deployment_url(e.deployment_kind, e.deployment_reference_id, e.deployment_id) as url
      offset 0
    ) as d
    order by e.happened_at, e.repository collate "C", e.kind collate "C", e.place collate "C";
    return;
  end if;
end
$function$;
grant execute on function metrics.delivery_evidence(asked metrics.period, about text, service text, repository text, team text, environment text, bots boolean) to authenticated;
grant execute on function metrics.delivery_evidence(asked metrics.period, about text, service text, repository text, team text, environment text, bots boolean) to metrics_reader;
comment on function metrics.delivery_evidence(asked metrics.period, about text, service text, repository text, team text, environment text, bots boolean) is 'One page of the rows behind a number about deployments: deployments, changes, failures, recoveries or rework.';

-- function metrics.delivery_groups(asked metrics.period, by text, service text, repository text, team text)
CREATE OR REPLACE FUNCTION metrics.delivery_groups(asked metrics.period, by text, service text, repository text, team text)
 RETURNS text[]
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
AS $function$
#variable_conflict use_variable
declare
  groups text[];
begin
  if by = 'nothing' then
    return array[''];
  end if;
  groups := array(
    select distinct (case by when 'service' then s.label else s.repository_label end) collate "C"
    from metrics.selected_services((asked).generation, service, repository, team) as s
    order by 1
  );
  return case when groups = '{}' and num_nonnulls(service, repository, team) > 0 then array[''] else groups end;
end
$function$;
grant execute on function metrics.delivery_groups(asked metrics.period, by text, service text, repository text, team text) to authenticated;
grant execute on function metrics.delivery_groups(asked metrics.period, by text, service text, repository text, team text) to metrics_reader;
comment on function metrics.delivery_groups(asked metrics.period, by text, service text, repository text, team text) is 'Names of the groups of a number about deployments, in the order of their bytes: "" for all together, and for what is not known.';

-- function metrics.delivery_page(asked metrics.period, wanted text[], by text, service text, repository text, team text, environment text, bots boolean)
CREATE OR REPLACE FUNCTION metrics.delivery_page(asked metrics.period, wanted text[], by text, service text, repository text, team text, environment text, bots boolean)
 RETURNS TABLE(page_name text, counted metrics.delivery_counts, page_key text, total bigint)
 LANGUAGE plpgsql
 STABLE ROWS 100
 SET search_path TO ''
AS $function$
#variable_conflict use_variable
declare
  groups constant text[] := metrics.delivery_groups(asked, by, service, repository, team);
  shown constant text[] := array(select distinct coalesce(p.name, '') from metrics.page_of(asked, groups, array['']) as p);
begin
  return query
  select p.name, c, p.page_key, p.total
  from metrics.page_of(asked, groups, array['']) with ordinality as p (name, bucket_start, part, page_key, total, n)
  join metrics.count_deliveries(asked, null, wanted, by, service, repository, team, environment, bots, shown) as c
    on c.name = coalesce(p.name, '')
    and c.bucket_start is not distinct from p.bucket_start
  order by p.n;
end
$function$;
grant execute on function metrics.delivery_page(asked metrics.period, wanted text[], by text, service text, repository text, team text, environment text, bots boolean) to authenticated;
grant execute on function metrics.delivery_page(asked metrics.period, wanted text[], by text, service text, repository text, team text, environment text, bots boolean) to metrics_reader;
comment on function metrics.delivery_page(asked metrics.period, wanted text[], by text, service text, repository text, team text, environment text, bots boolean) is 'One page of what count_deliveries counts.';

-- function metrics.deployment_frequency(since date, until date, bucket text, by text, service text, repository text, team text, environment text, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.deployment_frequency(since date DEFAULT NULL::date, until date DEFAULT NULL::date, bucket text DEFAULT 'none'::text, by text DEFAULT 'nothing'::text, service text DEFAULT NULL::text, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, environment text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100)
 RETURNS TABLE(bucket_start date, name text, deployments bigint, deployments_per_day double precision, deployment_days_per_week double precision, redeploys bigint, failed_attempts bigint, deployment_failure_rate double precision, reason text, page_key text, total bigint)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
#variable_conflict use_column
declare
  asked metrics.period;
  grouped text;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, bucket, page_after, page_size);
  grouped := metrics.checked_word('by', by, array['nothing', 'service', 'repository']);
  return query
  select
    (p.counted).bucket_start,
    p.page_name,
    case when not (p.counted).is_unknown and (p.counted).has_deployed then (p.counted).deployments end,
    case when not (p.counted).is_unknown and (p.counted).has_deployed then (p.counted).deployments / nullif((p.counted).days, 0)::double precision end,
    (p.counted).days_per_week,
    case when not (p.counted).is_unknown and (p.counted).has_deployed then (p.counted).redeploys end,
    case when not (p.counted).is_unknown then (p.counted).failed_attempts end,
    (p.counted).failed_attempts / nullif((p.counted).failed_attempts + (p.counted).deployments, 0)::double precision,
    case
      when (p.counted).is_unknown then 'unknown_service'
      when not (p.counted).has_deployed then 'no_deployments'
      when (p.counted).days_per_week is null then 'too_few'
    end,
    p.page_key,
    p.total
  from metrics.delivery_page(asked, array['frequency'], grouped, service, repository, team, environment, true) as p;
end
$function$;
grant execute on function metrics.deployment_frequency(since date, until date, bucket text, by text, service text, repository text, team text, environment text, page_after text, page_size integer) to authenticated;
grant execute on function metrics.deployment_frequency(since date, until date, bucket text, by text, service text, repository text, team text, environment text, page_after text, page_size integer) to metrics_reader;
comment on function metrics.deployment_frequency(since date, until date, bucket text, by text, service text, repository text, team text, environment text, page_after text, page_size integer) is 'How often services were deployed to production: successful deployments, on how many days of a week (the median of whole weeks since the first), again of the same commit, and attempts that did not reach it. NULL, not 0, where nothing was ever deployed.';

-- function metrics.deployment_frequency_evidence(since date, until date, service text, repository text, team text, environment text, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.deployment_frequency_evidence(since date DEFAULT NULL::date, until date DEFAULT NULL::date, service text DEFAULT NULL::text, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, environment text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100)
 RETURNS SETOF metrics.evidence
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
begin
  perform metrics.require_reader();
  return query
  select *
  from metrics.delivery_evidence(
    metrics.period_of(since, until, 'none', page_after, page_size), 'deployments', service, repository, team, environment, true
  );
end
$function$;
grant execute on function metrics.deployment_frequency_evidence(since date, until date, service text, repository text, team text, environment text, page_after text, page_size integer) to authenticated;
grant execute on function metrics.deployment_frequency_evidence(since date, until date, service text, repository text, team text, environment text, page_after text, page_size integer) to metrics_reader;
comment on function metrics.deployment_frequency_evidence(since date, until date, service text, repository text, team text, environment text, page_after text, page_size integer) is 'The production deployments behind deployment_frequency, attempts that did not reach the environment included: reason says what is special about one.';

-- function metrics.deployment_rework_rate(since date, until date, bucket text, by text, service text, repository text, team text, environment text, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.deployment_rework_rate(since date DEFAULT NULL::date, until date DEFAULT NULL::date, bucket text DEFAULT 'none'::text, by text DEFAULT 'nothing'::text, service text DEFAULT NULL::text, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, environment text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100)
 RETURNS TABLE(bucket_start date, name text, deployments bigint, rework_deployments bigint, rate double precision, reason text, page_key text, total bigint)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
#variable_conflict use_column
declare
  asked metrics.period;
  grouped text;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, bucket, page_after, page_size);
  grouped := metrics.checked_word('by', by, array['nothing', 'service', 'repository']);
  return query
  select
    (p.counted).bucket_start,
    p.page_name,
    case when not (p.counted).is_unknown then (p.counted).deployments end,
    case when not (p.counted).is_unknown then (p.counted).rework end,
    (p.counted).rework / nullif((p.counted).deployments, 0)::double precision,
    case
      when (p.counted).is_unknown then 'unknown_service'
      when (p.counted).deployments = 0 then 'no_deployments'
    end,
    p.page_key,
    p.total
  from metrics.delivery_page(asked, array['rework'], grouped, service, repository, team, environment, true) as p;
end
$function$;
grant execute on function metrics.deployment_rework_rate(since date, until date, bucket text, by text, service text, repository text, team text, environment text, page_after text, page_size integer) to authenticated;
grant execute on function metrics.deployment_rework_rate(since date, until date, bucket text, by text, service text, repository text, team text, environment text, page_after text, page_size integer) to metrics_reader;
comment on function metrics.deployment_rework_rate(since date, until date, bucket text, by text, service text, repository text, team text, environment text, page_after text, page_size integer) is 'Which share of successful production deployments were made to roll back or to fix another.';

-- function metrics.deployment_rework_rate_evidence(since date, until date, service text, repository text, team text, environment text, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.deployment_rework_rate_evidence(since date DEFAULT NULL::date, until date DEFAULT NULL::date, service text DEFAULT NULL::text, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, environment text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100)
 RETURNS SETOF metrics.evidence
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
begin
  perform metrics.require_reader();
  return query
  select *
  from metrics.delivery_evidence(
    metrics.period_of(since, until, 'none', page_after, page_size), 'rework', service, repository, team, environment, true
  );
end
$function$;
grant execute on function metrics.deployment_rework_rate_evidence(since date, until date, service text, repository text, team text, environment text, page_after text, page_size integer) to authenticated;
grant execute on function metrics.deployment_rework_rate_evidence(since date, until date, service text, repository text, team text, environment text, page_after text, page_size integer) to metrics_reader;
comment on function metrics.deployment_rework_rate_evidence(since date, until date, service text, repository text, team text, environment text, page_after text, page_size integer) is 'The successful production deployments behind deployment_rework_rate: value 1 for one that rolled back or fixed another, named in detail.';

-- function metrics.deployment_url(kind text, reference bigint, id text)
CREATE OR REPLACE FUNCTION metrics.deployment_url(kind text, reference bigint, id text)
 RETURNS text
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
AS $function$
begin
  return case kind
    when 'deployment' then (
      select d.url
      from metrics.deployments as d
      where d.reference_id = reference
        and d.external_id = id
    )
    when 'release' then (
      select l.url
      from metrics.releases as l
      where l.reference_id = reference
        and l.external_id = id
    )
    when 'pipeline_run' then (
      select p.url
      from metrics.pipeline_runs as p
      where p.reference_id = reference
        and p.external_id = regexp_replace(id, '#[0-9]+$', '')
        and p.attempt = substring(id from '#([0-9]+)$')::integer
    )
  end;
end
$function$;
grant execute on function metrics.deployment_url(kind text, reference bigint, id text) to authenticated;
grant execute on function metrics.deployment_url(kind text, reference bigint, id text) to metrics_reader;
comment on function metrics.deployment_url(kind text, reference bigint, id text) is 'The provider''s link to a deployment of a service: what stands with the fact that told of it.';

-- function metrics.deployments_of(generation integer, repository bigint, commits text[], ids text[])
CREATE OR REPLACE FUNCTION metrics.deployments_of(generation integer, repository bigint, commits text[], ids text[])
 RETURNS TABLE(service_id bigint, kind text, reference_id bigint, external_id text, reference text, environment text, commit_sha text, outcome text, began_at timestamp with time zone, at timestamp with time zone, member_ids text[])
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
#variable_conflict use_column
declare
  rollout_time constant interval := (
    select make_interval(secs => g.rollout_seconds)
    from metrics.generations as g
    where g.id = deployments_of.generation
  );
  one record;
  first_of record;
  members text[];
  last_at timestamptz;
  least_began_at timestamptz;
  has_failed boolean;
  has_succeeded boolean;
  is_open boolean := false;
begin
  for one in
    select *
    from metrics.attempts_of(deployments_of.generation, repository, commits, ids) as a
    order by a.service_id, a.is_of_rollout, a.commit_sha, a.at, a.external_id collate "C", a.reference collate "C"
  loop
    if is_open then
      if (
        one.is_of_rollout
        and one.service_id = first_of.service_id
        and one.commit_sha = first_of.commit_sha
        and one.at <= first_of.at + rollout_time
      ) is not true then
        if has_failed or has_succeeded then
          return query select
            first_of.service_id, first_of.kind, first_of.reference_id, first_of.external_id, first_of.reference, first_of.environment,
            first_of.commit_sha, case when has_failed then 'failure' else 'success' end, least_began_at, last_at,
            case when cardinality(members) > 1 then members end;
        end if;
        is_open := false;
      end if;
    end if;
    if not one.is_of_rollout or one.commit_sha is null then
      if one.outcome is not null then
        return query select
          one.service_id, one.kind, one.reference_id, one.external_id, one.reference, one.environment, one.commit_sha, one.outcome,
          one.began_at, one.at, null::text[];
      end if;
    elsif is_open then
      members := members || one.external_id;
      last_at := one.at;
      least_began_at := least(least_began_at, one.began_at);
      has_failed := has_failed or coalesce(one.outcome = 'failure', false);
      has_succeeded := has_succeeded and coalesce(one.outcome = 'success', false);
    else
      first_of := one;
      members := array[one.external_id];
      last_at := one.at;
      least_began_at := one.began_at;
      has_failed := coalesce(one.outcome = 'failure', false);
      has_succeeded := coalesce(one.outcome = 'success', false);
      is_open := true;
    end if;
  end loop;
  if is_open and (has_failed or has_succeeded) then
    return query select
      first_of.service_id, first_of.kind, first_of.reference_id, first_of.external_id, first_of.reference, first_of.environment,
      first_of.commit_sha, case when has_failed then 'failure' else 'success' end, least_began_at, last_at,
      case when cardinality(members) > 1 then members end;
  end if;
end
$function$;
comment on function metrics.deployments_of(generation integer, repository bigint, commits text[], ids text[]) is 'Production deployments as they are counted: one row for all of a rollout, which failed if one of it failed and counts when all are successful.';

-- function metrics.derive_deliveries(facts jsonb, source text, concerned bigint[], moved bigint[], renamed bigint[], pull_request_references bigint[], pull_request_numbers integer[])
CREATE OR REPLACE FUNCTION metrics.derive_deliveries(facts jsonb, source text, concerned bigint[], moved bigint[], renamed bigint[], pull_request_references bigint[], pull_request_numbers integer[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
#variable_conflict use_column
declare
  generation metrics.generations;
  repository bigint;
  siblings bigint[];
  is_rebranched boolean;
  told metrics.touched;
begin
  for repository in
    select unnest(moved)
  loop
    perform metrics.forget_delivery(g.id, repository)
    from metrics.generations as g
    where g.state <> 'retired';
  end loop;
  for repository in
    select distinct r.id
    from unnest(concerned || moved) as u (id)
    join metrics.repositories as r
      on r.id = u.id
    order by r.id
  loop
    siblings := array(select r.id from metrics.repository_references as r where r.repository_id = repository);
    is_rebranched := repository = any(renamed) and exists (
      select
      from metrics.pushes as p
      where p.reference_id = any(siblings)
        and p.on_default_branch is null
    );
    told := null;
    told.is_whole := repository = any(moved) or is_rebranched;
    told.is_renamed := repository = any(renamed);
    if not told.is_whole then
      if facts ? 'pushes' then
        select
          min(p.pushed_at),
          coalesce(array_agg(p.id) filter (where p.pushed_at is null), '{}')
        into told.pushed_since, told.untimed_pushes
        from jsonb_array_elements(facts -> 'pushes') as f (said)
        join metrics.repository_references as r
          on r.reference = f.said ->> 'repository'
          and r.repository_id = repository
        join metrics.pushes as p
          on p.reference_id = r.id
          and p.ref = f.said ->> 'ref'
          and p.before = f.said ->> 'before'
          and p.after = f.said ->> 'after'
          and p.pushed_at is not distinct from (f.said ->> 'pushed_at')::timestamptz
        where p.on_default_branch is not false
          or exists (
            select
            from metrics.branch_moves as m
            where m.push_id = p.id
          );
      end if;
      told.shas := array(
        select f.said ->> 'sha'
        from jsonb_array_elements(facts -> 'commits') as f (said)
        join metrics.repository_references as r
          on r.reference = f.said ->> 'repository'
          and r.repository_id = repository
      );
      select
        coalesce(array_agg(t.reference_id), '{}'),
        coalesce(array_agg(t.number), '{}')
      into told.pull_request_references, told.pull_request_numbers
      from (
        select distinct u.reference_id, u.number
        from unnest(pull_request_references, pull_request_numbers) as u (reference_id, number)
        where u.reference_id = any(siblings)
      ) as t;
      if facts ?| array['deployments', 'releases', 'pipeline_runs'] then
        select
          coalesce(array_agg(distinct u.commit_sha) filter (where u.commit_sha is not null), '{}'),
          coalesce(array_agg(distinct u.external_id), '{}')
        into told.deployed_shas, told.deployment_ids
        from (
          select d.commit_sha, d.external_id
          from jsonb_array_elements(facts -> 'deployments') as f (said)
          join metrics.repository_references as r
            on r.reference = f.said ->> 'repository'
            and r.repository_id = repository
          join metrics.deployments as d
            on d.reference_id = r.id
            and d.external_id = f.said ->> 'external_id'
          union all
          select null, f.said ->> 'external_id'
          from jsonb_array_elements(facts -> 'releases') as f (said)
          join metrics.repository_references as r
            on r.reference = f.said ->> 'repository'
            and r.repository_id = repository
          union all
          select null, f.said ->> 'external_id'
          from jsonb_array_elements(facts -> 'pipeline_runs') as f (said)
          join metrics.repository_references as r
            on r.reference = f.said ->> 'repository'
            and r.repository_id = repository
          where exists (
            select
            from metrics.services as s
            where s.repository_id = repository
              and s.source = 'pipeline'
          )
        ) as u;
      end if;
    end if;
    for generation in
      select *
      from metrics.generations as g
      where g.state <> 'retired'
      order by g.id
    loop
      if repository <= generation.repositories_up_to then
        perform metrics.derive_delivery(generation.id, repository, told);
      elsif exists (
        select
        from metrics.under_way as w
        where w.generation = generation.id
          and w.repository_id = repository
      ) then
        -- What is being derived just now may have seen this, or not: it is looked at once that is done.
        insert into metrics.postponed (generation, repository_id, told)
        values (generation.id, repository, told);
      end if;
    end loop;
  end loop;
  for generation in
    select *
    from metrics.generations as g
    where g.state <> 'retired'
    order by g.id
  loop
    if cardinality(moved) > 0 then
      perform metrics.link_all_lost_incidents(generation.id);
    end if;
    -- Once for all repositories, those about nothing that is known among them. What a deployment of this call changes is found above.
    if facts ? 'incidents' then
      perform metrics.link_incidents(
        generation.id,
        null,
        'infinity',
        array(select coalesce(f.said ->> 'source', source) from jsonb_array_elements(facts -> 'incidents') as f (said)),
        array(select f.said ->> 'external_id' from jsonb_array_elements(facts -> 'incidents') as f (said))
      );
    end if;
  end loop;
end
$function$;
comment on function metrics.derive_deliveries(facts jsonb, source text, concerned bigint[], moved bigint[], renamed bigint[], pull_request_references bigint[], pull_request_numbers integer[]) is 'Derives what joins facts of these repositories, as far as these facts, a change of the map, or a new name touch it. Their locks must be held.';

-- function metrics.derive_delivery(generation integer, repository bigint, told metrics.touched)
CREATE OR REPLACE FUNCTION metrics.derive_delivery(generation integer, repository bigint, told metrics.touched)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
 SET enable_seqscan TO 'off'
AS $function$
declare
  siblings constant bigint[] := array(select r.id from metrics.repository_references as r where r.repository_id = repository);
  place jsonb;
  has_untimed boolean;
  has_fallen_back boolean;
  tail record;
  first_line integer;
  first_ordinal integer;
  placed text[];
  told_shas text[];
  deployed_shas text[];
  changed text[] := '{}';
  mended_since timestamptz;
  began_since timestamptz;
  sinces jsonb := '{}';
  one record;
begin
  if told.is_whole then
    perform metrics.forget_delivery(derive_delivery.generation, repository);
    loop
      place := metrics.derive_slice(derive_delivery.generation, repository, place, 1000);
      exit when place is null;
    end loop;
    perform metrics.link_all_lost_incidents(derive_delivery.generation);
    return;
  end if;
  perform metrics.ensure_service(derive_delivery.generation, repository);

  -- Commits of which something was told, those that pull requests became of which it was, and those that they were before.
  told_shas := array(
    select s.sha
    from (
      select unnest(told.shas) as sha
      union
      select p.merge_sha
      from unnest(told.pull_request_references, told.pull_request_numbers) as t (reference_id, number)
      join metrics.pull_requests as p
        on p.reference_id = t.reference_id
        and p.number = t.number
      union
      select c.sha
      from unnest(told.pull_request_references, told.pull_request_numbers) as t (reference_id, number)
      join metrics.changes as c
        on c.pull_request_reference_id = t.reference_id
        and c.pull_request_number = t.number
        and c.generation = derive_delivery.generation
        and c.repository_id = repository
    ) as s
    where exists (
      select
      from metrics.changes as c
      where c.sha = s.sha
        and c.generation + 0 = derive_delivery.generation
        and c.repository_id + 0 = repository
    )
  );

  -- Where commits stand.
  if told.pushed_since is not null or cardinality(told.untimed_pushes) > 0 then
    if told.pushed_since is null and cardinality(told.untimed_pushes) = 1 then
      select *
      into tail
      from metrics.append_move(derive_delivery.generation, repository, told.untimed_pushes[1]);
      first_line := tail.first_line;
      first_ordinal := tail.first_ordinal;
    end if;
    if first_ordinal is null then
      has_untimed := exists (
        select
        from metrics.pushes as p
        where p.reference_id = any(siblings)
          and p.on_default_branch is not false
          and p.pushed_at is null
      );
      select *
      into tail
      from metrics.order_moves(
        derive_delivery.generation,
        repository,
        case when cardinality(told.untimed_pushes) > 0 then '-infinity' else told.pushed_since end,
        'infinity',
        has_untimed
      );
      first_line := tail.first_line;
      first_ordinal := tail.first_ordinal;
    end if;
  end if;
  if first_ordinal is not null or cardinality(told_shas) > 0 then
    select p.written, p.fallen_back
    into placed, has_fallen_back
    from metrics.place_changes(derive_delivery.generation, repository, first_line, first_ordinal, 2147483647, told_shas) as p;
    if first_ordinal is not null then
      placed := placed || metrics.take_off_all(derive_delivery.generation, repository, first_line, first_ordinal, has_fallen_back);
      placed := array(select distinct p from unnest(placed) as p);
    end if;
    changed := array(select unnest(placed) union select unnest(told_shas));
    -- A part at a time, so that it takes as long for each whatever their number.
    for part in 0 .. (cardinality(changed) - 1) / 500 loop
      mended_since := least(
        mended_since,
        metrics.describe_changes(derive_delivery.generation, repository, changed[part * 500 + 1:part * 500 + 500])
      );
    end loop;
    if mended_since is not null then
      for one in
        select s.id
        from metrics.services as s
        where s.generation = derive_delivery.generation
          and s.repository_id = repository
      loop
        sinces := sinces || jsonb_build_object(one.id, mended_since);
      end loop;
    end if;
  end if;

  -- What was deployed. What was there under these ids before may have been of another commit.
  if cardinality(told.deployed_shas) > 0 or cardinality(told.deployment_ids) > 0 then
    deployed_shas := array(
      select unnest(told.deployed_shas)
      union
      select d.commit_sha
      from unnest(siblings) as r (id)
      cross join unnest(told.deployment_ids) as i (external_id)
      join metrics.service_deployments as d
        on d.generation + 0 = derive_delivery.generation
        and d.reference_id = r.id
        and d.external_id = i.external_id
      where d.commit_sha is not null
      union
      select d.commit_sha
      from metrics.service_deployments as d
      where d.generation + 0 = derive_delivery.generation
        and d.repository_id + 0 = repository
        and d.member_ids is not null
        and d.member_ids && told.deployment_ids
    );
    for one in
      select w.service_id, w.since, w.began_since
      from metrics.write_deployments(derive_delivery.generation, repository, deployed_shas, coalesce(told.deployment_ids, '{}')) as w
    loop
      sinces := sinces || jsonb_build_object(one.service_id, least(one.since, (sinces ->> one.service_id::text)::timestamptz));
      began_since := least(began_since, one.began_since);
    end loop;
  end if;

  -- A commit that stands elsewhere now: what was deployed of it, and whatever was deployed from there on.
  if cardinality(placed) > 0 then
    for one in
      with stands as materialized (
        select p.sha, c.line, c.position, c.service_id, c.shipped_at
        from unnest(placed) as p (sha)
        left join lateral (
          select v.line, v.position, v.service_id, v.shipped_at
          from metrics.changes as v
          where v.sha = p.sha
            and v.generation + 0 = derive_delivery.generation
            and v.repository_id + 0 = repository
          offset 0
        ) as c
          on true
      ),
      elsewhere as (
        update metrics.service_deployments as d
        set
          line = o.line,
          position = o.position
        from (
          select d.row_id, c.line, c.position
          from (select distinct s.sha, s.line, s.position from stands as s) as c
          cross join lateral (
            select t.ctid as row_id, t.line, t.position
            from metrics.service_deployments as t
            where t.commit_sha = c.sha
              and t.generation + 0 = derive_delivery.generation
              and t.repository_id + 0 = repository
            offset 0
          ) as d
          where (d.line, d.position) is distinct from (c.line, c.position)
        ) as o
        where d.ctid = o.row_id
        returning d.service_id, d.at
      ),
      least_place as (
        select s.line, min(s.position) as position
        from stands as s
        where s.line is not null
        group by s.line
      ),
      beyond as (
        select s.id as service_id, d.at
        from metrics.services as s
        cross join least_place as l
        cross join lateral (
          select min(t.at) as at
          from metrics.service_deployments as t
          where t.generation = derive_delivery.generation
            and t.service_id = s.id
            and t.outcome = 'success'
            and t.line = l.line
            and t.position >= l.position
        ) as d
        where s.generation = derive_delivery.generation
          and s.repository_id = repository
          and d.at is not null
      )
      select u.service_id, min(u.at) as since
      from (
        select e.service_id, e.at
        from elsewhere as e
        union all
        select b.service_id, b.at
        from beyond as b
        union all
        -- Its place was there before.
        select s.service_id, s.shipped_at
        from stands as s
        where s.shipped_at is not null
        union all
        -- Nothing of it is deployed, but whether it may be is to be asked.
        select s.id, 'infinity'
        from metrics.services as s
        where s.generation = derive_delivery.generation
          and s.repository_id = repository
      ) as u
      group by u.service_id
    loop
      sinces := sinces || jsonb_build_object(one.service_id, least(one.since, (sinces ->> one.service_id::text)::timestamptz));
    end loop;
  elsif cardinality(told_shas) > 0 then
    for one in
      select distinct c.service_id
      from unnest(told_shas) as t (sha)
      cross join lateral (
        select v.service_id, v.shipped_at
        from metrics.changes as v
        where v.sha = t.sha
          and v.generation + 0 = derive_delivery.generation
          and v.repository_id + 0 = repository
        offset 0
      ) as c
      where c.shipped_at is null
        and c.service_id > 0
        and exists (
          select
          from metrics.branch_moves as m
          where m.generation = derive_delivery.generation
            and m.repository_id = repository
            and m.line > 0
        )
    loop
      sinces := sinces || jsonb_build_object(one.service_id, coalesce((sinces ->> one.service_id::text)::timestamptz, 'infinity'));
    end loop;
  end if;

  for one in
    select s.key::bigint as service_id, s.value::timestamptz as since
    from jsonb_each_text(sinces) as s
    where s.key <> '0'
    order by s.key::bigint
  loop
    perform metrics.ship(derive_delivery.generation, repository, one.service_id, one.since, 'infinity', null);
    perform metrics.mark_unknown_order(derive_delivery.generation, repository, one.service_id, null);
  end loop;

  -- What went wrong.
  if told.is_renamed then
    perform metrics.link_incidents(derive_delivery.generation, repository, '-infinity', '{}', '{}');
  elsif began_since is not null then
    perform metrics.link_incidents(derive_delivery.generation, repository, began_since, '{}', '{}');
  end if;
end
$function$;
comment on function metrics.derive_delivery(generation integer, repository bigint, told metrics.touched) is 'Derives what joins facts of a repository in one generation: the order of its commits, what each deployment shipped, and what failed.';

-- function metrics.derive_postponed(generation integer, repository bigint, most integer)
CREATE OR REPLACE FUNCTION metrics.derive_postponed(generation integer, repository bigint, most integer)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
#variable_conflict use_column
declare
  ids bigint[];
  told metrics.touched;
begin
  ids := array(
    select p.id
    from metrics.postponed as p
    where p.generation = derive_postponed.generation
      and p.repository_id = repository
    order by p.id
    limit most
  );
  if cardinality(ids) = 0 then
    return false;
  end if;
  select
    false,
    min((p.told).pushed_since),
    array(select distinct u from metrics.postponed as o, unnest((o.told).untimed_pushes) as u where o.id = any(ids)),
    array(select distinct u from metrics.postponed as o, unnest((o.told).shas) as u where o.id = any(ids)),
    array(select distinct u from metrics.postponed as o, unnest((o.told).deployed_shas) as u where o.id = any(ids)),
    array(
      select u.reference_id
      from metrics.postponed as o
      cross join lateral unnest((o.told).pull_request_references, (o.told).pull_request_numbers) as u (reference_id, number)
      where o.id = any(ids)
      order by u.reference_id, u.number
    ),
    array(
      select u.number
      from metrics.postponed as o
      cross join lateral unnest((o.told).pull_request_references, (o.told).pull_request_numbers) as u (reference_id, number)
      where o.id = any(ids)
      order by u.reference_id, u.number
    ),
    array(select distinct u from metrics.postponed as o, unnest((o.told).deployment_ids) as u where o.id = any(ids)),
    bool_or((p.told).is_renamed)
  into told
  from metrics.postponed as p
  where p.id = any(ids);
  perform metrics.derive_delivery(derive_postponed.generation, repository, told);
  delete from metrics.postponed as p
  where p.id = any(ids);
  return true;
end
$function$;
comment on function metrics.derive_postponed(generation integer, repository bigint, most integer) is 'Derives what was told of a repository while it was derived in slices: what the first so many deliveries told. False when there is none.';

-- function metrics.derive_pull_requests(reference_ids bigint[], numbers integer[])
CREATE OR REPLACE FUNCTION metrics.derive_pull_requests(reference_ids bigint[], numbers integer[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
 SET enable_seqscan TO 'off'
AS $function$
#variable_conflict use_column
begin
  update metrics.pull_requests as t
  set
    ready_at = d.ready_at,
    first_commit_at = d.first_commit_at,
    first_review_at = d.first_review_at,
    approved_at = d.approved_at,
    updated_at = now()
  from (
    select
      p.reference_id,
      p.number,
      reviewed.first_review_at,
      reviewed.approved_at,
      (
        select max(m.at)
        from (
          select unnest(p.ready_times)
          union all
          -- A draft that nobody has marked ready or reviewed has not been ready yet.
          select p.opened_at
          where not (
            coalesce(p.is_draft, false)
            and coalesce(cardinality(p.ready_times), 0) = 0
            and reviewed.first_review_at is null
          )
        ) as m (at)
        where m.at <= coalesce(reviewed.first_review_at, 'infinity')
      ) as ready_at,
      own.first_commit_at
    from (
      select distinct u.reference_id, u.number
      from unnest(derive_pull_requests.reference_ids, derive_pull_requests.numbers) as u (reference_id, number)
    ) as touched
    join metrics.pull_requests as p
      on p.reference_id = touched.reference_id
      and p.number = touched.number
    join metrics.repository_references as here
      on here.id = p.reference_id
    cross join lateral (
      select array_agg(r.id) as list
      from metrics.repository_references as r
      where r.repository_id = here.repository_id
    ) as siblings
    cross join lateral (
      select
        min(v.submitted_at) as first_review_at,
        min(v.submitted_at) filter (where v.state = 'approved') as approved_at
      from metrics.reviews as v
      where v.reference_id = any(siblings.list)
        and v.pull_request_number = p.number
        and v.reviewer is distinct from p.author
        and v.reviewer_is_bot is not true
        and v.state is distinct from 'pending'
    ) as reviewed
    join metrics.own_commits_of(derive_pull_requests.reference_ids, derive_pull_requests.numbers) as mine
      on mine.reference_id = p.reference_id
      and mine.number = p.number
    cross join lateral (
      select min(c.authored_at) as first_commit_at
      from metrics.commits as c
      where c.reference_id = any(siblings.list)
        and c.sha = any(mine.shas)
        -- Of a fork's branch nothing but its end is known.
        and p.is_fork is not true
        and p.head_branch is not null
    ) as own
  ) as d
  where t.reference_id = d.reference_id
    and t.number = d.number
    and (t.ready_at, t.first_commit_at, t.first_review_at, t.approved_at)
      is distinct from (d.ready_at, d.first_commit_at, d.first_review_at, d.approved_at);
end
$function$;
comment on function metrics.derive_pull_requests(reference_ids bigint[], numbers integer[]) is 'Derives the moments of these pull requests again from the facts. The repository''s lock must be held.';

-- function metrics.derive_slice(generation integer, repository bigint, place jsonb, most integer)
CREATE OR REPLACE FUNCTION metrics.derive_slice(generation integer, repository bigint, place jsonb, most integer)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET enable_seqscan TO 'off'
AS $function$
#variable_conflict use_column
declare
  siblings constant bigint[] := array(select r.id from metrics.repository_references as r where r.repository_id = repository order by r.id);
  stage constant text := coalesce(place ->> 'stage', 'moves');
  -- The stage after this one. Services are gone through one after the other.
  service constant bigint := place ->> 'service';
  next_service bigint;
  since timestamptz;
  until timestamptz;
  this_line integer;
  first_ordinal integer;
  last_ordinal integer;
  this_reference bigint;
  last_id text;
  seen integer;
  reached jsonb;
  shas text[];
  ids text[];
  sources text[];
begin
  if stage in ('taken_off_shipped', 'shipped', 'unknown_order') then
    select min(s.id)
    into next_service
    from metrics.services as s
    where s.generation = derive_slice.generation
      and s.repository_id = repository
      and s.id > service;
  end if;

  case stage
    when 'moves' then
      perform metrics.ensure_service(derive_slice.generation, repository);
      if exists (
        select
        from metrics.pushes as p
        where p.reference_id = any(siblings)
          and p.on_default_branch is not false
          and p.pushed_at is null
      ) then
        -- Each may follow any other: all at once.
        perform metrics.order_moves(derive_slice.generation, repository, '-infinity', 'infinity', true);
        return '{"stage": "places", "line": -1, "ordinal": 0}';
      end if;
      since := coalesce(place ->> 'since', '-infinity');
      select min(u.pushed_at)
      into until
      from unnest(siblings) as r (id)
      cross join lateral (
        select p.pushed_at
        from metrics.pushes as p
        where p.reference_id = r.id
          and p.on_default_branch is not false
          and p.pushed_at > since
        order by p.pushed_at
        offset most
        limit 1
      ) as u;
      perform metrics.order_moves(derive_slice.generation, repository, since, coalesce(until, 'infinity'), false);
      return case
        when until is null then '{"stage": "places", "line": -1, "ordinal": 0}'::jsonb
        else jsonb_build_object('stage', 'moves', 'since', until)
      end;

    when 'places' then
      -- Moves with about so many commits, of one line.
      select m.line, m.ordinal
      into this_line, first_ordinal
      from metrics.branch_moves as m
      where m.generation = derive_slice.generation
        and m.repository_id = repository
        and (m.line, m.ordinal) > ((place ->> 'line')::integer, (place ->> 'ordinal')::integer)
      order by m.line, m.ordinal
      limit 1;
      if not found then
        return '{"stage": "taken_off", "line": -1, "ordinal": 0}';
      end if;
      select max(u.ordinal)
      into last_ordinal
      from (
        select m.ordinal, sum(coalesce(cardinality(p.commits), 0) + 1) over (order by m.ordinal) - coalesce(cardinality(p.commits), 0) as commits
        from (
          select o.ordinal, o.push_id
          from metrics.branch_moves as o
          where o.generation = derive_slice.generation
            and o.repository_id = repository
            and o.line = this_line
            and o.ordinal >= first_ordinal
          order by o.ordinal
          limit most
        ) as m
        join metrics.pushes as p
          on p.id = m.push_id
      ) as u
      where u.commits <= most
        or u.ordinal = first_ordinal;
      perform metrics.place_changes(derive_slice.generation, repository, this_line, first_ordinal, last_ordinal, '{}');
      return jsonb_build_object('stage', 'places', 'line', this_line, 'ordinal', last_ordinal);

    when 'taken_off' then
      select m.line, m.ordinal
      into this_line, first_ordinal
      from metrics.branch_moves as m
      where m.generation = derive_slice.generation
        and m.repository_id = repository
        and m.is_forced
        and (m.line, m.ordinal) > ((place ->> 'line')::integer, (place ->> 'ordinal')::integer)
      order by m.line, m.ordinal
      limit 1;
      if not found then
        return '{"stage": "described", "after": []}';
      end if;
      shas := metrics.take_off_changes(derive_slice.generation, repository, this_line, first_ordinal, most);
      return jsonb_build_object(
        'stage', 'taken_off',
        'line', this_line,
        'ordinal', case when cardinality(shas) < most then first_ordinal else first_ordinal - 1 end
      );

    when 'described' then
      select array_agg(distinct c.sha), (array_agg(jsonb_build_array(c.line, c.position) order by c.line desc, c.position desc))[1]
      into shas, reached
      from (
        select t.sha, t.line, t.position
        from metrics.changes as t
        where t.generation = derive_slice.generation
          and t.repository_id = repository
          and (t.line, t.position) > (coalesce((place -> 'after' ->> 0)::integer, -1), coalesce((place -> 'after' ->> 1)::bigint, -1))
        order by t.line, t.position
        limit most
      ) as c;
      if shas is null then
        return '{"stage": "deployments"}';
      end if;
      perform metrics.describe_changes(derive_slice.generation, repository, shas);
      return jsonb_build_object('stage', 'described', 'after', reached);

    when 'deployments', 'pipeline_runs', 'releases' then
      this_reference := coalesce((place ->> 'reference')::bigint, siblings[1]);
      -- From the last one on, which is written once more: there may be no other way to say where the first is.
      if stage = 'deployments' then
        select
          array_agg(distinct d.commit_sha) filter (where d.commit_sha is not null),
          array_agg(d.external_id) filter (where d.commit_sha is null),
          max(d.external_id),
          count(*)
        into shas, ids, last_id, seen
        from (
          select f.external_id, f.commit_sha
          from metrics.deployments as f
          where f.reference_id = this_reference
            and f.external_id >= coalesce(place ->> 'external_id', '')
          order by f.external_id
          limit most + 1
        ) as d;
      elsif stage = 'releases' then
        select array_agg(d.external_id), max(d.external_id), count(*)
        into ids, last_id, seen
        from (
          select f.external_id
          from metrics.releases as f
          where f.reference_id = this_reference
            and f.external_id >= coalesce(place ->> 'external_id', '')
          order by f.external_id
          limit most + 1
        ) as d;
      elsif exists (
        select
        from metrics.services as s
        where s.generation = derive_slice.generation
          and s.repository_id = repository
          and s.source = 'pipeline'
      ) then
        select array_agg(distinct d.external_id), max(d.external_id), count(distinct d.external_id)
        into ids, last_id, seen
        from (
          select f.external_id
          from metrics.pipeline_runs as f
          where f.reference_id = this_reference
            and f.external_id >= coalesce(place ->> 'external_id', '')
          order by f.external_id
          limit most + 1
        ) as d;
      end if;
      if cardinality(shas) > 0 or cardinality(ids) > 0 then
        perform metrics.write_deployments(derive_slice.generation, repository, coalesce(shas, '{}'), coalesce(ids, '{}'));
      end if;
      if seen > 1 and last_id is distinct from place ->> 'external_id' then
        return jsonb_build_object('stage', stage, 'reference', this_reference, 'external_id', last_id);
      end if;
      select min(u.id)
      into this_reference
      from unnest(siblings) as u (id)
      where u.id > coalesce((place ->> 'reference')::bigint, siblings[1]);
      if this_reference is not null then
        return jsonb_build_object('stage', stage, 'reference', this_reference);
      end if;
      if stage <> 'releases' then
        return jsonb_build_object('stage', case stage when 'deployments' then 'pipeline_runs' else 'releases' end);
      end if;
      select min(s.id)
      into next_service
      from metrics.services as s
      where s.generation = derive_slice.generation
        and s.repository_id = repository;
      return jsonb_build_object('stage', 'taken_off_shipped', 'service', next_service, 'after', '[]'::jsonb);

    when 'taken_off_shipped' then
      reached := metrics.ship_taken_off(derive_slice.generation, repository, service, place -> 'after', most);
      return case
        when reached is not null then jsonb_build_object('stage', 'taken_off_shipped', 'service', service, 'after', reached)
        else jsonb_build_object('stage', 'shipped', 'service', service)
      end;

    when 'shipped' then
      since := coalesce(place ->> 'since', '-infinity');
      select d.at
      into until
      from metrics.service_deployments as d
      where d.generation = derive_slice.generation
        and d.service_id = service
        and d.at > since
      order by d.at
      offset most / 2
      limit 1;
      -- No end of time: that would say that what follows from later ones is there.
      if not metrics.ship(derive_slice.generation, repository, service, since, coalesce(until, '294276-01-01'), most) then
        return place;
      end if;
      return case
        when until is not null then jsonb_build_object('stage', 'shipped', 'service', service, 'since', until)
        else jsonb_build_object('stage', 'unknown_order', 'service', service)
      end;

    when 'unknown_order' then
      if metrics.mark_unknown_order(derive_slice.generation, repository, service, most) >= most then
        return place;
      end if;
      return case
        when next_service is not null then jsonb_build_object('stage', 'taken_off_shipped', 'service', next_service, 'after', '[]'::jsonb)
        else '{"stage": "incidents", "after": []}'::jsonb
      end;

    when 'incidents' then
      select
        array_agg(i.source order by i.source, i.external_id),
        array_agg(i.external_id order by i.source, i.external_id)
      into sources, ids
      from (
        select o.source, o.external_id
        from (
          select f.source, f.external_id
          from metrics.incidents as f
          where f.reference_id = any(siblings)
          union
          select f.source, f.external_id
          from metrics.services as s
          cross join lateral (select lower(metrics.service_label(s.id)) as label offset 0) as l
          join metrics.incidents as f
            on lower(f.service) = l.label
            and f.reference_id is null
          where s.generation = derive_slice.generation
            and s.repository_id = repository
        ) as o
        where place -> 'after' = '[]'
          or (o.source, o.external_id) > (place -> 'after' ->> 0, place -> 'after' ->> 1)
        order by o.source, o.external_id
        limit most / 4 + 1
      ) as i;
      if sources is null then
        return null;
      end if;
      perform metrics.link_incidents(derive_slice.generation, null, 'infinity', sources, ids);
      return jsonb_build_object(
        'stage', 'incidents', 'after', jsonb_build_array(sources[cardinality(sources)], ids[cardinality(ids)])
      );
  end case;
end
$function$;
comment on function metrics.derive_slice(generation integer, repository bigint, place jsonb, most integer) is 'Derives the next so many facts of a repository of which nothing was derived before, from a place on (NULL: the beginning). Returns where to go on; NULL when nothing is left.';

-- function metrics.describe_changes(generation integer, repository bigint, shas text[])
CREATE OR REPLACE FUNCTION metrics.describe_changes(generation integer, repository bigint, shas text[])
 RETURNS timestamp with time zone
 LANGUAGE plpgsql
 SET search_path TO ''
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'on'
AS $function$
#variable_conflict use_column
declare
  since timestamptz;
begin
  with described as materialized (
    select *
    from metrics.described(describe_changes.generation, repository, shas)
  ),
  -- Each looked up by its commit, as above.
  present as materialized (
    select c.*
    from unnest(shas) as s (sha)
    cross join lateral (
      select
        t.ctid as row_id, t.generation, t.repository_id, t.sha, t.shipped_at, t.reference_id, t.started_at, t.basis, t.is_bot, t.is_merge_commit,
        t.is_hotfix, t.reverts, t.pull_request_reference_id, t.pull_request_number, t.pull_request_is_bot, t.merged_at
      from metrics.changes as t
      where t.sha = s.sha
        and t.generation + 0 = describe_changes.generation
        and t.repository_id + 0 = repository
      offset 0
    ) as c
  ),
  differing as materialized (
    select c.row_id, c.shipped_at, (c.reverts, c.is_hotfix) is distinct from (d.reverts, d.is_hotfix) as mends_otherwise, d.*
    from described as d
    join present as c
      on c.sha = d.sha
    where (
        c.reference_id, c.started_at, c.basis, c.is_bot, c.is_merge_commit, c.is_hotfix, c.reverts, c.pull_request_reference_id,
        c.pull_request_number, c.pull_request_is_bot, c.merged_at
      ) is distinct from (
        d.reference_id, d.started_at, d.basis, d.is_bot, d.is_merge_commit, d.is_hotfix, d.reverts, d.pull_request_reference_id,
        d.pull_request_number, d.pull_request_is_bot, d.merged_at
      )
  ),
  mending as (
    select min(d.shipped_at) as at
    from differing as d
    where d.mends_otherwise
  ),
  written as (
    update metrics.changes as c
    set
      reference_id = d.reference_id,
      started_at = d.started_at,
      basis = d.basis,
      is_bot = d.is_bot,
      is_merge_commit = d.is_merge_commit,
      is_hotfix = d.is_hotfix,
      reverts = d.reverts,
      pull_request_reference_id = d.pull_request_reference_id,
      pull_request_number = d.pull_request_number,
      pull_request_is_bot = d.pull_request_is_bot,
      merged_at = d.merged_at
    from differing as d
    where c.ctid = d.row_id
  )
  select m.at
  into since
  from mending as m;
  return since;
end
$function$;
comment on function metrics.describe_changes(generation integer, repository bigint, shas text[]) is 'Derives again when these changes began, on what basis, and by which pull request they came. Returns the first shipping of one that reverts or mends something else than before.';

-- function metrics.described(generation integer, repository bigint, shas text[])
CREATE OR REPLACE FUNCTION metrics.described(generation integer, repository bigint, shas text[])
 RETURNS TABLE(sha text, reference_id bigint, basis text, started_at timestamp with time zone, is_bot boolean, is_merge_commit boolean, is_hotfix boolean, reverts text[], pull_request_reference_id bigint, pull_request_number integer, pull_request_is_bot boolean, merged_at timestamp with time zone)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET enable_seqscan TO 'off'
AS $function$
#variable_conflict use_column
declare
  siblings constant bigint[] := array(select r.id from metrics.repository_references as r where r.repository_id = repository);
  hotfix_labels constant text[] := (
    select array(select lower(l) from unnest(g.hotfix_labels) as l)
    from metrics.generations as g
    where g.id = described.generation
  );
begin
  return query
  select
    s.sha,
    d.reference_id,
    b.basis,
    case b.basis
      when 'first_commit' then m.first_commit_at
      when 'pull_request_opened' then m.opened_at
      else d.authored_at
    end as started_at,
    coalesce(case when b.basis <> 'commit' then m.is_bot else d.is_bot end, false) as is_bot,
    coalesce(k.joins, false) as is_merge_commit,
    coalesce(m.is_hotfix, false) as is_hotfix,
    d.reverts,
    m.reference_id as pull_request_reference_id,
    m.number as pull_request_number,
    m.is_bot as pull_request_is_bot,
    m.merged_at
  from unnest(shas) as s (sha)
  -- Each looked up by its commit, however many there are.
  cross join lateral (
    select
      min(c.reference_id) as reference_id,
      min(c.authored_at) as authored_at,
      coalesce(bool_or(c.author_is_bot), false) as is_bot,
      min(c.reverts) filter (where cardinality(c.reverts) > 0) as reverts
    from metrics.commits as c
    where c.reference_id = any(siblings)
      and c.sha = s.sha
  ) as d
  left join lateral (
    select
      p.reference_id,
      p.number,
      p.author_is_bot is true as is_bot,
      p.merged_at,
      p.first_commit_at,
      p.opened_at,
      coalesce(array(select lower(l) from unnest(p.labels) as l) && hotfix_labels, false) as is_hotfix
    from metrics.pull_requests as p
    where p.reference_id = any(siblings)
      and p.merge_sha = s.sha
    order by p.number, p.reference_id
    limit 1
  ) as m
    on true
  left join lateral (
    select w.shas
    from metrics.own_commits_of(array[m.reference_id], array[m.number]) as w
    where m.number is not null
    offset 0
  ) as o
    on true
  left join lateral (
    select
      s.sha = any(o.shas)
      or exists (
        select
        from metrics.commits as c
        where c.reference_id = any(siblings)
          and c.sha = any(o.shas)
          and c.authored_at = d.authored_at
      ) as is_own,
      exists (
        select
        from unnest(o.shas) as h (sha)
        cross join lateral (
          select c.generation, c.repository_id
          from metrics.changes as c
          where c.sha = h.sha
          offset 0
        ) as c
        where c.generation = described.generation
          and c.repository_id = repository
      ) as is_there
    where m.number is not null
  ) as w
    on true
  cross join lateral (
    select
      m.number is not null and not w.is_own and w.is_there as joins,
      m.number is not null and not w.is_own and not w.is_there as squashes
  ) as k
  cross join lateral (
    select case
      when not k.squashes then 'commit'
      when m.first_commit_at is not null then 'first_commit'
      else 'pull_request_opened'
    end as basis
  ) as b;
end
$function$;
comment on function metrics.described(generation integer, repository bigint, shas text[]) is 'When these commits began as changes, on what basis, and by which pull request they came, as the facts and the places of commits say now.';

-- function metrics.dora(since date, until date, bucket text, by text, service text, repository text, team text, environment text, bots boolean, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.dora(since date DEFAULT NULL::date, until date DEFAULT NULL::date, bucket text DEFAULT 'none'::text, by text DEFAULT 'nothing'::text, service text DEFAULT NULL::text, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, environment text DEFAULT NULL::text, bots boolean DEFAULT true, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100)
 RETURNS TABLE(bucket_start date, name text, metric text, value double precision, unit text, reason text, band text, band_reason text, sample_size bigint, previous_value double precision, trend double precision, is_exact boolean, notes jsonb, page_key text, total bigint)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
#variable_conflict use_column
declare
  asked metrics.period;
  earlier metrics.period;
  grouped text;
  groups text[];
  shown text[];
  band_year constant integer := (select s.band_year from metrics.settings as s);
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, bucket, page_after, page_size);
  grouped := metrics.checked_word('by', by, array['nothing', 'service', 'repository']);
  groups := metrics.delivery_groups(asked, grouped, service, repository, team);
  shown := array(select distinct coalesce(p.name, '') from metrics.page_of(asked, groups, array['1', '2', '3', '4', '5']) as p);

  -- What the first bucket is compared with: the one before it, or as many days just before.
  earlier := asked;
  if asked.bucket = 'none' then
    earlier.until := asked.since;
    earlier.since := asked.since - (asked.until - asked.since);
  else
    earlier.until := date_trunc(asked.bucket, asked.since::timestamp)::date;
    earlier.since := (earlier.until - ('1 ' || asked.bucket)::interval)::date;
  end if;

  return query
  with counted as materialized (
    select *
    from metrics.count_deliveries(
      asked, earlier, array['frequency', 'lead', 'failures', 'recovery'], grouped, service, repository, team, environment, bots, shown
    )
  ),
  -- Read once: each look would ask for the caller's rights.
  bounds as materialized (
    select b.metric, b.band, b.rank, b.at_most, b.below, b.at_least
    from metrics.bands as b
    where b.report_year = band_year
  ),
  valued as (
    select
      c.name,
      c.bucket_start,
      c.is_asked,
      v.*,
      lag(v.value) over (partition by c.name, v.part order by c.is_asked, c.bucket_start) as previous_value
    from counted as c
    cross join lateral (
      values
        (
          '1',
          'deployment_frequency',
          'deployments per day',
          case when c.has_deployed then c.deployments / nullif(c.days, 0)::double precision end,
          case
            when not c.has_deployed then 'no_deployments'
            when c.days = 0 then 'too_few'
          end,
          c.days_per_week,
          case when c.days_per_week is not null then c.deployments * 30 / nullif(c.days, 0)::double precision end,
          case when c.has_deployed then c.deployments end,
          true,
          jsonb_build_object(
            'deployments', case when c.has_deployed then c.deployments end,
            'deployment_days_per_week', c.days_per_week,
            'redeploys', case when c.has_deployed then c.redeploys end,
            'failed_attempts', c.failed_attempts,
            'deployment_failure_rate', c.failed_attempts / nullif(c.failed_attempts + c.deployments, 0)::double precision
          )
        ),
        (
          '2',
          'change_lead_time',
          'seconds',
          c.lead_p50,
          case
            when c.changes > 0 then null
            when c.deployments = 0 then 'no_deployments'
            when c.firsts = c.deployments then 'only_first_deployment'
            when not c.has_changes then 'no_changes_seen'
            else 'too_few'
          end,
          c.lead_p50,
          null,
          c.changes,
          c.is_lead_exact,
          jsonb_build_object(
            'p75_seconds', c.lead_p75,
            'p95_seconds', c.lead_p95,
            'changes', c.changes,
            'basis', c.basis,
            'excluded', c.excluded,
            'unknown_commits', c.unknown_commits,
            'truncated_pushes', c.truncated_pushes
          )
        ),
        (
          '3',
          'change_fail_rate',
          'ratio',
          case when c.failed_changes > 0 or c.has_incidents then c.failed_changes / nullif(c.deployments, 0)::double precision end,
          case
            when c.deployments = 0 then 'no_deployments'
            when c.failed_changes = 0 and not c.has_incidents then 'no_incident_source'
          end,
          case when c.failed_changes > 0 or c.has_incidents then c.failed_changes / nullif(c.deployments, 0)::double precision end,
          null,
          c.deployments,
          true,
          jsonb_build_object(
            'deployments', c.deployments,
            'failed_changes', c.failed_changes,
            'causes', jsonb_strip_nulls(jsonb_build_object(
              'rolled_back', nullif(c.rolled_back, 0),
              'incident', nullif(c.incidents, 0),
              'fixed_forward', nullif(c.fixed_forward, 0)
            )),
            'unlinked_incidents', c.unlinked_incidents
          )
        ),
        (
          '4',
          'failed_deployment_recovery_time',
          'seconds',
          c.recovery_p50,
          case
            when c.recovered > 0 then null
            when c.failed_changes = 0 and not c.has_incidents then 'no_incident_source'
            when not c.has_ever_deployed then 'no_deployments'
            else 'too_few'
          end,
          c.recovery_p50,
          null,
          c.recovered,
          c.is_recovery_exact,
          jsonb_build_object('p75_seconds', c.recovery_p75, 'p95_seconds', c.recovery_p95, 'recovered', c.recovered, 'open_failures', c.open_failures)
        ),
        (
          '5',
          'deployment_rework_rate',
          'ratio',
          c.rework / nullif(c.deployments, 0)::double precision,
          case when c.deployments = 0 then 'no_deployments' end,
          null,
          null,
          c.deployments,
          true,
          jsonb_build_object('deployments', c.deployments, 'rework_deployments', c.rework)
        )
    ) as v (part, metric, unit, value, reason, banded, banded_a_month, sample_size, is_exact, notes)
  )
  select
    p.bucket_start,
    p.name,
    v.metric,
    v.value,
    v.unit,
    case when c.is_unknown then 'unknown_service' else v.reason end,
    b.band,
    case
      when b.band is not null then null
      when v.metric = 'deployment_rework_rate' then 'no_band'
      when c.is_unknown then 'unknown_service'
      else coalesce(v.reason, 'too_few')
    end,
    case when not c.is_unknown then v.sample_size end,
    v.previous_value,
    v.value - v.previous_value,
    case when not c.is_unknown then v.is_exact end,
    case when not c.is_unknown then v.notes end,
    p.page_key,
    p.total
  from metrics.page_of(asked, groups, array['1', '2', '3', '4', '5']) with ordinality as p (name, bucket_start, part, page_key, total, n)
  join valued as v
    on v.is_asked
    and v.name = coalesce(p.name, '')
    and v.bucket_start is not distinct from p.bucket_start
    and v.part = p.part
  join counted as c
    on c.is_asked
    and c.name = v.name
    and c.bucket_start is not distinct from v.bucket_start
  left join lateral (
    select o.band
    from bounds as o
    cross join lateral (
      select case o.metric when v.metric then v.banded when 'deployments_per_month' then v.banded_a_month end as value
    ) as u
    where u.value <= o.at_most
      or u.value < o.below
      or u.value >= o.at_least
    -- What a month holds says something only where weeks do not.
    order by o.metric = v.metric desc, o.rank
    limit 1
  ) as b
    on true
  order by p.n;
end
$function$;
grant execute on function metrics.dora(since date, until date, bucket text, by text, service text, repository text, team text, environment text, bots boolean, page_after text, page_size integer) to authenticated;
grant execute on function metrics.dora(since date, until date, bucket text, by text, service text, repository text, team text, environment text, bots boolean, page_after text, page_size integer) to metrics_reader;
comment on function metrics.dora(since date, until date, bucket text, by text, service text, repository text, team text, environment text, bots boolean, page_after text, page_size integer) is 'The five numbers of DORA for production deployments: a row for each bucket, group and number, with its band, sample size and trend.';

-- function metrics.dora_evidence(metric text, since date, until date, service text, repository text, team text, environment text, bots boolean, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.dora_evidence(metric text DEFAULT 'deployment_frequency'::text, since date DEFAULT NULL::date, until date DEFAULT NULL::date, service text DEFAULT NULL::text, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, environment text DEFAULT NULL::text, bots boolean DEFAULT true, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100)
 RETURNS SETOF metrics.evidence
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
begin
  perform metrics.require_reader();
  return query
  select *
  from metrics.delivery_evidence(
    metrics.period_of(since, until, 'none', page_after, page_size),
    case metrics.checked_word(
        'metric',
        metric,
        array[
          'deployment_frequency', 'change_lead_time', 'change_fail_rate', 'failed_deployment_recovery_time', 'deployment_rework_rate'
        ]
      )
      when 'deployment_frequency' then 'deployments'
      when 'change_lead_time' then 'changes'
      when 'change_fail_rate' then 'failures'
      when 'failed_deployment_recovery_time' then 'recoveries'
      else 'rework'
    end,
    service,
    repository,
    team,
    environment,
    bots
  );
end
$function$;
grant execute on function metrics.dora_evidence(metric text, since date, until date, service text, repository text, team text, environment text, bots boolean, page_after text, page_size integer) to authenticated;
grant execute on function metrics.dora_evidence(metric text, since date, until date, service text, repository text, team text, environment text, bots boolean, page_after text, page_size integer) to metrics_reader;
comment on function metrics.dora_evidence(metric text, since date, until date, service text, repository text, team text, environment text, bots boolean, page_after text, page_size integer) is 'The rows behind one of the five numbers of dora, as its own evidence shows them.';

-- function metrics.end_of_slice(generation integer, reference bigint, after timestamp with time zone, most integer)
CREATE OR REPLACE FUNCTION metrics.end_of_slice(generation integer, reference bigint, after timestamp with time zone, most integer)
 RETURNS timestamp with time zone
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET enable_seqscan TO 'off'
AS $function$
declare
  time_zone constant text := (
    select g.time_zone
    from metrics.generations as g
    where g.id = end_of_slice.generation
  );
  ends_at timestamptz;
  week_begins_at timestamptz;
begin
  ends_at := least(
    (
      select p.ended_at
      from metrics.pipeline_runs as p
      where p.reference_id = end_of_slice.reference
        and p.ended_at > end_of_slice.after
      order by p.ended_at
      offset most - 1
      limit 1
    ),
    (
      select j.ended_at
      from metrics.jobs as j
      where j.reference_id = end_of_slice.reference
        and j.ended_at > end_of_slice.after
      order by j.ended_at
      offset most - 1
      limit 1
    ),
    (
      select p.merged_at
      from metrics.pull_requests as p
      where p.reference_id = end_of_slice.reference
        and p.merged_at > end_of_slice.after
      order by p.merged_at
      offset most - 1
      limit 1
    ),
    (
      select t.started_at
      from metrics.test_runs as t
      where t.reference_id = end_of_slice.reference
        and t.started_at > end_of_slice.after
      order by t.started_at
      offset most - 1
      limit 1
    ),
    (
      select c.checked_at
      from metrics.rule_checks as c
      where c.reference_id = end_of_slice.reference
        and c.checked_at > end_of_slice.after
      order by c.checked_at
      offset most - 1
      limit 1
    ),
    (
      select metrics.midnight(w.week, time_zone)
      from metrics.job_weeks as w
      where w.generation = metrics.current_generation()
        and w.reference_id = end_of_slice.reference
        and w.week > metrics.week_of(end_of_slice.after, time_zone)
        and w.week < (select h.before from metrics.horizons as h where h.fact = 'jobs')
      order by w.week
      offset most - 1
      limit 1
    ),
    'infinity'
  );
  if isfinite(ends_at) then
    week_begins_at := metrics.midnight(metrics.week_of(ends_at, time_zone), time_zone);
    if week_begins_at - interval '1 microsecond' > end_of_slice.after then
      return week_begins_at - interval '1 microsecond';
    end if;
  end if;
  return ends_at;
end
$function$;
comment on function metrics.end_of_slice(generation integer, reference bigint, after timestamp with time zone, most integer) is 'Up to when a reference has no more than so many facts of a kind after a moment, and frozen rows of weeks: what metrics.count_facts is to count next. All of one moment, and all rows of one frozen week, belong together.';

-- function metrics.ended_runs(asked metrics.period, reference_ids bigint[], branch text, pipeline text, with_bots boolean)
CREATE OR REPLACE FUNCTION metrics.ended_runs(asked metrics.period, reference_ids bigint[], branch text, pipeline text, with_bots boolean)
 RETURNS bigint
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_tidscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET jit TO 'off'
AS $function$
declare
  from_weeks constant boolean := coalesce(ended_runs.branch, 'default') = 'default';
begin
  return (
    select coalesce(sum(c.runs), 0)
    from (
      select n.runs
      from unnest(ended_runs.reference_ids) as r (id)
      cross join metrics.nearest_weeks_of(asked) as w
      cross join lateral (
        select sum(f.success + f.failure + f.timed_out + f.error + f.cancelled + f.skipped + f.neutral + f.unknown) as runs
        from metrics.pipeline_weeks as f
        where f.generation = asked.generation
          and f.only_default_branch = (ended_runs.branch is not null)
          and f.only_humans = not with_bots
          and f.reference_id = r.id
          and f.week = w.week
          and (ended_runs.pipeline is null or f.pipeline = ended_runs.pipeline)
      ) as n
      where from_weeks
        and w.is_counted
      union all
      select d.times * n.runs
      from (
        select o.starts_at, o.ends_at, o.times
        from metrics.days_off_weeks_of(asked) as o
        where from_weeks
        union all
        select o.starts_at, o.ends_at, 1
        from metrics.stretches_of(asked) as o
        where not from_weeks
      ) as d
      cross join unnest(ended_runs.reference_ids) as r (id)
      cross join lateral (
        select count(*) as runs
        from metrics.pipeline_runs as f
        where f.reference_id = r.id
          and f.ended_at >= d.starts_at
          and f.ended_at < d.ends_at
          and (ended_runs.pipeline is null or coalesce(f.pipeline, '') = ended_runs.pipeline)
          and (
            ended_runs.branch is null
            or (ended_runs.branch = 'default' and f.on_default_branch)
            or (ended_runs.branch <> 'default' and f.branch = ended_runs.branch)
          )
          and (with_bots or f.actor_is_bot is not true)
      ) as n
    ) as c
  );
end
$function$;
grant execute on function metrics.ended_runs(asked metrics.period, reference_ids bigint[], branch text, pipeline text, with_bots boolean) to authenticated;
grant execute on function metrics.ended_runs(asked metrics.period, reference_ids bigint[], branch text, pipeline text, with_bots boolean) to metrics_reader;
comment on function metrics.ended_runs(asked metrics.period, reference_ids bigint[], branch text, pipeline text, with_bots boolean) is 'How many pipeline runs ended in a period, which is to have one bucket.';

-- function metrics.ensure_references(names text[])
CREATE OR REPLACE FUNCTION metrics.ensure_references(names text[])
 RETURNS bigint[]
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  name text;
  repository bigint;
begin
  for name in
    select distinct n collate "C"
    from unnest(names) as n
    order by 1
  loop
    if name !~ '^([a-z0-9]+(-[a-z0-9]+)*:[^[:cntrl:]]+|//[^[:cntrl:][:space:]]+)$' or length(name) > 1000 then
      raise exception using
        errcode = '22023',
        message = 'a repository reference is <source>:<external id> or //<host>/<path>';
    end if;
    insert into metrics.repositories default values
    returning id into repository;
    insert into metrics.repository_references (reference, source, external_id, url, repository_id)
    values (
      name,
      case when name not like '//%' then split_part(name, ':', 1) end,
      case when name not like '//%' then substr(name, strpos(name, ':') + 1) end,
      case when name like '//%' then substr(name, 3) end,
      repository
    )
    on conflict (reference) do nothing;
    if not found then
      delete from metrics.repositories as r
      where r.id = repository;
    else
      -- Whatever is told of it first: one that only has pipelines is a service too, which was never deployed.
      perform metrics.ensure_service(g.id, repository)
      from metrics.generations as g
      where g.state <> 'retired';
    end if;
  end loop;
  return array(
    select r.id
    from metrics.repository_references as r
    where r.reference = any(names)
  );
end
$function$;
comment on function metrics.ensure_references(names text[]) is 'Makes these repository references, each with a repository that is one service, and returns their ids. In sorted order, so that two callers cannot wait for each other.';

-- function metrics.ensure_service(generation integer, repository bigint)
CREATE OR REPLACE FUNCTION metrics.ensure_service(generation integer, repository bigint)
 RETURNS void
 LANGUAGE sql
 SET search_path TO ''
AS $function$
  insert into metrics.services (generation, repository_id)
  select ensure_service.generation, repository
  where not exists (
    select
    from metrics.services as s
    where s.generation = ensure_service.generation
      and s.repository_id = repository
  )
  on conflict do nothing
$function$;
comment on function metrics.ensure_service(generation integer, repository bigint) is 'Makes a repository a service, unless it has services by rules.';

-- function metrics.evidence_after(asked metrics.period)
CREATE OR REPLACE FUNCTION metrics.evidence_after(asked metrics.period)
 RETURNS metrics.evidence_key
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
AS $function$
declare
  after metrics.evidence_key;
begin
  if asked.after is null then
    return null;
  end if;
  if jsonb_array_length(asked.after) = 4 and not jsonb_path_exists(asked.after, '$[*] ? (@.type() != "string")') then
    begin
      after := (asked.after ->> 0, asked.after ->> 1, asked.after ->> 2, asked.after ->> 3);
    exception
      when data_exception then
        after := null;
    end;
  end if;
  if after.happened_at is null then
    raise exception using
      errcode = '22023',
      message = format('%s is no key of a page', left(asked.after::text, 100)),
      hint = 'Pass the page_key of the last row that was read, with the arguments that it was read with.';
  end if;
  return after;
end
$function$;
grant execute on function metrics.evidence_after(asked metrics.period) to authenticated;
grant execute on function metrics.evidence_after(asked metrics.period) to metrics_reader;
comment on function metrics.evidence_after(asked metrics.period) is 'The key after which a page of evidence begins; NULL for the first page. Raises 22023 for what is no such key.';

-- function metrics.evidence_page_key(happened_at timestamp with time zone, repository text, kind text, external_id text)
CREATE OR REPLACE FUNCTION metrics.evidence_page_key(happened_at timestamp with time zone, repository text, kind text, external_id text)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO ''
AS $function$
  select jsonb_build_array(
    to_char(happened_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    repository,
    kind,
    external_id
  )::text
$function$;
grant execute on function metrics.evidence_page_key(happened_at timestamp with time zone, repository text, kind text, external_id text) to authenticated;
grant execute on function metrics.evidence_page_key(happened_at timestamp with time zone, repository text, kind text, external_id text) to metrics_reader;
comment on function metrics.evidence_page_key(happened_at timestamp with time zone, repository text, kind text, external_id text) is 'The page_key of a row of evidence.';

-- function metrics.expire_identity(name text, at timestamp with time zone)
CREATE OR REPLACE FUNCTION metrics.expire_identity(name text, at timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  before metrics.identities;
  after metrics.identities;
begin
  perform metrics.require_admin();
  before := metrics.identity_named(name);
  update metrics.identities as i
  set expires_at = expire_identity.at
  where i.id = before.id
  returning i.*
  into after;
  perform metrics.note('expire_identity', metrics.identity_without_hash(before), metrics.identity_without_hash(after));
end
$function$;
grant execute on function metrics.expire_identity(name text, at timestamp with time zone) to authenticated;
comment on function metrics.expire_identity(name text, at timestamp with time zone) is 'Says when an identity ends by itself; NULL for never. A later time makes one that has ended live again.';

-- function metrics.failed_deployment_recovery_time(since date, until date, bucket text, by text, service text, repository text, team text, environment text, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.failed_deployment_recovery_time(since date DEFAULT NULL::date, until date DEFAULT NULL::date, bucket text DEFAULT 'none'::text, by text DEFAULT 'nothing'::text, service text DEFAULT NULL::text, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, environment text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100)
 RETURNS TABLE(bucket_start date, name text, p50_seconds double precision, p75_seconds double precision, p95_seconds double precision, recovered bigint, open_failures bigint, reason text, is_exact boolean, page_key text, total bigint)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
#variable_conflict use_column
declare
  asked metrics.period;
  grouped text;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, bucket, page_after, page_size);
  grouped := metrics.checked_word('by', by, array['nothing', 'service', 'repository']);
  return query
  select
    (p.counted).bucket_start,
    p.page_name,
    (p.counted).recovery_p50,
    (p.counted).recovery_p75,
    (p.counted).recovery_p95,
    case when not (p.counted).is_unknown then (p.counted).recovered end,
    case when not (p.counted).is_unknown then (p.counted).open_failures end,
    case
      when (p.counted).is_unknown then 'unknown_service'
      when (p.counted).recovered > 0 then null
      when (p.counted).failed_changes = 0 and not (p.counted).has_incidents then 'no_incident_source'
      when not (p.counted).has_ever_deployed then 'no_deployments'
      else 'too_few'
    end,
    case when not (p.counted).is_unknown then (p.counted).is_recovery_exact end,
    p.page_key,
    p.total
  from metrics.delivery_page(asked, array['recovery'], grouped, service, repository, team, environment, true) as p;
end
$function$;
grant execute on function metrics.failed_deployment_recovery_time(since date, until date, bucket text, by text, service text, repository text, team text, environment text, page_after text, page_size integer) to authenticated;
grant execute on function metrics.failed_deployment_recovery_time(since date, until date, bucket text, by text, service text, repository text, team text, environment text, page_after text, page_size integer) to metrics_reader;
comment on function metrics.failed_deployment_recovery_time(since date, until date, bucket text, by text, service text, repository text, team text, environment text, page_after text, page_size integer) is 'How long it took from a failed deployment to its rollback, its fix or the end of its incident, whichever came first, in seconds. It counts where it ended; failures that nothing has ended stand beside it.';

-- function metrics.failed_deployment_recovery_time_evidence(since date, until date, service text, repository text, team text, environment text, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.failed_deployment_recovery_time_evidence(since date DEFAULT NULL::date, until date DEFAULT NULL::date, service text DEFAULT NULL::text, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, environment text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100)
 RETURNS SETOF metrics.evidence
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
begin
  perform metrics.require_reader();
  return query
  select *
  from metrics.delivery_evidence(
    metrics.period_of(since, until, 'none', page_after, page_size), 'recoveries', service, repository, team, environment, true
  );
end
$function$;
grant execute on function metrics.failed_deployment_recovery_time_evidence(since date, until date, service text, repository text, team text, environment text, page_after text, page_size integer) to authenticated;
grant execute on function metrics.failed_deployment_recovery_time_evidence(since date, until date, service text, repository text, team text, environment text, page_after text, page_size integer) to metrics_reader;
comment on function metrics.failed_deployment_recovery_time_evidence(since date, until date, service text, repository text, team text, environment text, page_after text, page_size integer) is 'The failed deployments behind failed_deployment_recovery_time: those that ended in the period, with the seconds, and those deployed in it that nothing has ended.';

-- function metrics.first_readable_id()
CREATE OR REPLACE FUNCTION metrics.first_readable_id()
 RETURNS bigint
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO ''
AS $function$
begin
  return case when metrics.is_member() then -9223372036854775808 end;
end
$function$;
grant execute on function metrics.first_readable_id() to authenticated;
comment on function metrics.first_readable_id() is 'Where a scan in the order of an index that begins with a number may begin: at the first for members, nowhere for everyone else.';

-- function metrics.first_readable_row()
CREATE OR REPLACE FUNCTION metrics.first_readable_row()
 RETURNS tid
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO ''
AS $function$
begin
  return case when metrics.is_member() then '(0,0)'::tid else '(4294967295,65535)'::tid end;
end
$function$;
grant execute on function metrics.first_readable_row() to authenticated;
comment on function metrics.first_readable_row() is 'Where a scan may begin: at the first row for members, behind the last for everyone else. A policy that only says is_member() is evaluated once and then filters every row; this one ends the scan before it reads a page.';

-- function metrics.first_readable_text()
CREATE OR REPLACE FUNCTION metrics.first_readable_text()
 RETURNS text
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO ''
AS $function$
begin
  return case when metrics.is_member() then '' end;
end
$function$;
grant execute on function metrics.first_readable_text() to authenticated;
comment on function metrics.first_readable_text() is 'Where a scan in the order of an index that begins with a text may begin: at the first for members, nowhere for everyone else.';

-- function metrics.flaky_cases(reference_ids bigint[], starts_at timestamp with time zone, ends_at timestamp with time zone)
CREATE OR REPLACE FUNCTION metrics.flaky_cases(reference_ids bigint[], starts_at timestamp with time zone, ends_at timestamp with time zone)
 RETURNS TABLE(reference_id bigint, test_run_external_id text, test_id bigint, commit_sha text, started_at timestamp with time zone, outcome text, retries integer, message text, url text, passed_in text)
 LANGUAGE plpgsql
 STABLE ROWS 100
 SET search_path TO ''
 SET plan_cache_mode TO 'force_custom_plan'
 SET enable_seqscan TO 'off'
 SET enable_tidscan TO 'off'
AS $function$
#variable_conflict use_column
begin
  return query
  with uploads as materialized (
    select u.*
    from unnest(reference_ids) as r (reference_id)
    cross join lateral (
      select t.reference_id, t.external_id, t.commit_sha, t.started_at, t.url, t.passed
      from metrics.test_runs as t
      where t.reference_id = r.reference_id
        and t.started_at >= flaky_cases.starts_at - interval '168 hours'
        and t.started_at < flaky_cases.ends_at + interval '168 hours'
        and t.commit_sha is not null
        and not t.is_inconclusive
      offset 0
    ) as u
  ),
  -- Only where the commit was tested again can anything have passed: seldom, and so asked first.
  others as materialized (
    select u.reference_id, u.external_id, u.commit_sha, u.started_at, u.url, o.external_id as other_id, o.passed
    from uploads as u
    join uploads as o
      on o.reference_id = u.reference_id
      and o.commit_sha = u.commit_sha
      and o.external_id <> u.external_id
      and o.started_at between u.started_at - interval '168 hours' and u.started_at + interval '168 hours'
    where u.started_at >= flaky_cases.starts_at
      and u.started_at < flaky_cases.ends_at
  )
  select distinct on (f.reference_id, f.external_id, f.test_id)
    f.reference_id,
    f.external_id,
    f.test_id,
    f.commit_sha,
    f.started_at,
    f.outcome,
    f.retries,
    f.message,
    f.url,
    f.other_id
  from (
    select o.reference_id, o.external_id, c.test_id, o.commit_sha, o.started_at, c.outcome, c.retries, c.message, o.url, o.other_id
    from others as o
    cross join lateral (
      select t.test_id, t.outcome, t.retries, t.message
      from metrics.test_cases as t
      where t.reference_id = o.reference_id
        and t.test_run_external_id = o.external_id
        and t.outcome in ('failed', 'error')
      offset 0
    ) as c
    where c.test_id = any(o.passed)
      or exists (
        select
        from metrics.test_cases as t
        where t.reference_id = o.reference_id
          and t.test_run_external_id = o.other_id
          and t.test_id = c.test_id
          and t.outcome = 'passed'
      )
  ) as f
  order by f.reference_id, f.external_id, f.test_id, f.other_id collate "C";

  return query
  select c.reference_id, c.test_run_external_id, c.test_id, u.commit_sha, u.started_at, c.outcome, c.retries, c.message, u.url, c.test_run_external_id
  from unnest(reference_ids) as r (reference_id)
  cross join lateral (
    select t.*
    from metrics.test_cases as t
    where t.reference_id = r.reference_id
      and t.outcome = 'passed'
      and t.retries > 0
    offset 0
  ) as c
  cross join lateral (
    select t.commit_sha, t.started_at, t.url
    from metrics.test_runs as t
    where t.reference_id = c.reference_id
      and t.external_id = c.test_run_external_id
      and t.started_at >= flaky_cases.starts_at
      and t.started_at < flaky_cases.ends_at
      and not t.is_inconclusive
    offset 0
  ) as u;
end
$function$;
grant execute on function metrics.flaky_cases(reference_ids bigint[], starts_at timestamp with time zone, ends_at timestamp with time zone) to authenticated;
grant execute on function metrics.flaky_cases(reference_ids bigint[], starts_at timestamp with time zone, ends_at timestamp with time zone) to metrics_reader;
comment on function metrics.flaky_cases(reference_ids bigint[], starts_at timestamp with time zone, ends_at timestamp with time zone) is 'Test cases of uploads that started in the period and show that a test is flaky: those that failed where another upload of the commit, passed_in, says that they passed, and those that passed when tried again.';

-- function metrics.flaky_jobs(since date, until date, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text)
CREATE OR REPLACE FUNCTION metrics.flaky_jobs(since date DEFAULT NULL::date, until date DEFAULT NULL::date, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, branch text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100, pipeline text DEFAULT NULL::text, job text DEFAULT NULL::text)
 RETURNS SETOF metrics.flaky_job
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
#variable_conflict use_column
declare
  asked metrics.period;
  after jsonb;
  horizon date;
  reference_ids bigint[];
  labels text[];
begin
  perform metrics.require_reader();
  asked := metrics.period_of(flaky_jobs.since, flaky_jobs.until, 'none', page_after, page_size);
  after := metrics.key_of_page(asked, array['number', 'string', 'string', 'string']);
  select coalesce(array_agg(r.reference_id), '{}'), coalesce(array_agg(r.label), '{}')
  into reference_ids, labels
  from metrics.selected_references(flaky_jobs.repository, flaky_jobs.team) as r;
  horizon := metrics.job_horizon();

  return query
  select l.label, l.pipeline, l.job, l.commits, l.failures, l.first_at, l.last_at, null::text, asked.since < horizon, l.page_key, l.total
  from (
    select
      r.label,
      f.pipeline,
      f.job,
      count(distinct (f.reference_id, f.commit_sha)) as commits,
      count(*) as failures,
      min(f.at) as first_at,
      max(f.at) as last_at,
      jsonb_build_array(count(distinct (f.reference_id, f.commit_sha)), r.label, f.pipeline, f.job)::text as page_key,
      count(*) over () as total
    from metrics.flaky_pairs(asked, reference_ids, flaky_jobs.branch, flaky_jobs.pipeline, flaky_jobs.job) as f
    join unnest(reference_ids, labels) as r (reference_id, label)
      on r.reference_id = f.reference_id
    group by r.label, f.pipeline, f.job
  ) as l
  where after is null
    or l.commits < (after ->> 0)::numeric
    or (
      l.commits = (after ->> 0)::numeric
      and (l.label, l.pipeline, l.job) > ((after ->> 1) collate "C", (after ->> 2) collate "C", (after ->> 3) collate "C")
    )
  order by l.commits desc, l.label collate "C", l.pipeline collate "C", l.job collate "C"
  limit asked.page_size;

  -- None is an answer where there are jobs that could be flaky, and all of them are kept. That none is of this pipeline or name is told by
  -- the weeks, without a look at each job.
  if not found and after is null and (
    asked.since < horizon
    or not exists (
      select
      from (
        select k.id as reference_id, t.default_branch
        from metrics.repository_references as k
        join metrics.repositories as t
          on t.id = k.repository_id
        where k.id = any(reference_ids)
          and (
            num_nonnulls(flaky_jobs.pipeline, flaky_jobs.job) = 0
            or exists (
              select
              from metrics.job_weeks as w
              where w.generation = asked.generation
                and w.reference_id = k.id
                and w.week > asked.since - 7
                and w.week < asked.until
                and (flaky_jobs.pipeline is null or w.pipeline = flaky_jobs.pipeline)
                and (flaky_jobs.job is null or w.job = flaky_jobs.job)
            )
          )
        offset 0
      ) as r
      cross join lateral (
        select
        from metrics.jobs as e
        where e.reference_id = r.reference_id
          and e.ended_at >= metrics.midnight(asked.since, asked.time_zone)
          and e.ended_at < metrics.midnight(asked.until, asked.time_zone)
          and e.outcome in ('success', 'failure', 'timed_out')
          and (flaky_jobs.pipeline is null or coalesce(e.pipeline, '') = flaky_jobs.pipeline)
          and (flaky_jobs.job is null or coalesce(e.name, '') = flaky_jobs.job)
          and (
            flaky_jobs.branch is null
            or e.branch = case when flaky_jobs.branch = 'default' then r.default_branch else flaky_jobs.branch end
          )
        limit 1
      ) as e
    )
  ) then
    return query
    select
      null::text, null::text, null::text, null::bigint, null::bigint, null::timestamptz, null::timestamptz,
      case
        when reference_ids = '{}' and (flaky_jobs.repository is not null or flaky_jobs.team is not null) then 'unknown_service'
        when asked.since < horizon then 'outside_retention'
        else 'too_few'
      end,
      case when reference_ids <> '{}' or num_nonnulls(flaky_jobs.repository, flaky_jobs.team) = 0 then asked.since < horizon end,
      null::text, 1::bigint;
  end if;
end
$function$;
grant execute on function metrics.flaky_jobs(since date, until date, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text) to authenticated;
grant execute on function metrics.flaky_jobs(since date, until date, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text) to metrics_reader;
comment on function metrics.flaky_jobs(since date, until date, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text) is 'Jobs that failed in the period and passed for the same commit within seven days, those of the most commits first. No row where none is flaky; one row that says why where no job of what is asked for could be, or where the period begins before the horizon and none is in what is left. is_frozen: the period begins before the horizon.';

-- function metrics.flaky_jobs_evidence(since date, until date, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text)
CREATE OR REPLACE FUNCTION metrics.flaky_jobs_evidence(since date DEFAULT NULL::date, until date DEFAULT NULL::date, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, branch text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100, pipeline text DEFAULT NULL::text, job text DEFAULT NULL::text)
 RETURNS SETOF metrics.evidence
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
#variable_conflict use_column
declare
  asked metrics.period;
  after metrics.evidence_key;
  reference_ids bigint[];
  labels text[];
begin
  perform metrics.require_reader();
  asked := metrics.period_of(flaky_jobs_evidence.since, flaky_jobs_evidence.until, 'none', page_after, page_size);
  after := metrics.evidence_after(asked);
  select coalesce(array_agg(r.reference_id), '{}'), coalesce(array_agg(r.label), '{}')
  into reference_ids, labels
  from metrics.selected_references(flaky_jobs_evidence.repository, flaky_jobs_evidence.team) as r;

  return query
  with pairs as materialized (
    select *
    from metrics.flaky_pairs(asked, reference_ids, flaky_jobs_evidence.branch, flaky_jobs_evidence.pipeline, flaky_jobs_evidence.job)
  ),
  shown as materialized (
    select p.reference_id, p.external_id
    from pairs as p
    union
    select p.reference_id, unnest(p.passed_ids)
    from pairs as p
  ),
  lines as materialized (
    select r.label, e.ended_at as at, s.reference_id, s.external_id, count(*) over () as total
    from shown as s
    join unnest(reference_ids, labels) as r (reference_id, label)
      on r.reference_id = s.reference_id
    cross join lateral (
      select *
      from metrics.jobs as j
      where j.reference_id = s.reference_id
        and j.external_id = s.external_id
      offset 0
    ) as e
  ),
  page as materialized (
    select *
    from lines as l
    where after.happened_at is null
      or (l.at, l.label, l.external_id) > (after.happened_at, after.repository collate "C", after.external_id collate "C")
    order by l.at, l.label collate "C", l.external_id collate "C"
    limit asked.page_size
  )
  select
    l.at,
    l.label,
    null::text,
    'job',
    e.external_id,
    e.commit_sha,
    e.name,
    e.duration_seconds,
    'seconds',
    case when e.duration_seconds is null then 'too_few' end,
    e.url,
    jsonb_build_object(
      'pipeline', e.pipeline,
      'run_external_id', e.run_external_id,
      'attempt', e.attempt,
      'branch', e.branch,
      'outcome', e.outcome,
      'provider_outcome', e.provider_outcome,
      'runner', metrics.runner_of(e.runner_labels)
    ),
    metrics.evidence_page_key(l.at, l.label, 'job', e.external_id),
    l.total
  from page as l
  join metrics.jobs as e
    on e.reference_id = l.reference_id
    and e.external_id = l.external_id
  order by l.at, l.label collate "C", l.external_id collate "C";
end
$function$;
grant execute on function metrics.flaky_jobs_evidence(since date, until date, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text) to authenticated;
grant execute on function metrics.flaky_jobs_evidence(since date, until date, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text) to metrics_reader;
comment on function metrics.flaky_jobs_evidence(since date, until date, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text) is 'The jobs behind flaky_jobs, those that failed and those that passed, by the time at which they ended.';

-- function metrics.flaky_pairs(asked metrics.period, reference_ids bigint[], only_branch text, only_pipeline text, only_job text)
CREATE OR REPLACE FUNCTION metrics.flaky_pairs(asked metrics.period, reference_ids bigint[], only_branch text, only_pipeline text, only_job text)
 RETURNS TABLE(reference_id bigint, external_id text, pipeline text, job text, commit_sha text, at timestamp with time zone, passed_ids text[])
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
AS $function$
#variable_conflict use_column
begin
  return query
  with failed as materialized (
    select f.reference_id, f.external_id, coalesce(f.pipeline, '') as pipeline, coalesce(f.name, '') as job, f.commit_sha, f.flaky_key, f.at
    from unnest(flaky_pairs.reference_ids) as r (id)
    cross join lateral (
      select e.*, e.ended_at as at
      from metrics.jobs as e
      where e.reference_id = r.id
        and e.outcome in ('failure', 'timed_out')
        and e.ended_at >= metrics.midnight(asked.since, asked.time_zone)
        and e.ended_at < metrics.midnight(asked.until, asked.time_zone)
        and e.commit_sha is not null
      offset 0
    ) as f
    where (only_pipeline is null or coalesce(f.pipeline, '') = only_pipeline)
      and (only_job is null or coalesce(f.name, '') = only_job)
      and (
        only_branch is null
        or f.branch = case
          when only_branch = 'default' then (
            select t.default_branch
            from metrics.repository_references as k
            join metrics.repositories as t
              on t.id = k.repository_id
            where k.id = f.reference_id
          )
          else only_branch
        end
      )
  ),
  passed as materialized (
    select s.reference_id, s.external_id, coalesce(s.pipeline, '') as pipeline, coalesce(s.name, '') as job, s.commit_sha, s.flaky_key, s.at
    from (
      select distinct f.reference_id, f.flaky_key
      from failed as f
    ) as k
    cross join lateral (
      select e.reference_id, e.external_id, e.pipeline, e.name, e.commit_sha, e.flaky_key, e.ended_at as at
      from metrics.jobs as e
      where e.reference_id = k.reference_id
        and e.flaky_key = k.flaky_key
        and e.outcome = 'success'
      offset 0
    ) as s
  )
  select f.reference_id, f.external_id, f.pipeline, f.job, f.commit_sha, f.at, array_agg(s.external_id)
  from failed as f
  join passed as s
    on s.reference_id = f.reference_id
    and s.flaky_key = f.flaky_key
    and s.commit_sha = f.commit_sha
    and s.pipeline = f.pipeline
    and s.job = f.job
    and s.at between f.at - interval '168 hours' and f.at + interval '168 hours'
  group by f.reference_id, f.external_id, f.pipeline, f.job, f.commit_sha, f.at;
end
$function$;
grant execute on function metrics.flaky_pairs(asked metrics.period, reference_ids bigint[], only_branch text, only_pipeline text, only_job text) to authenticated;
grant execute on function metrics.flaky_pairs(asked metrics.period, reference_ids bigint[], only_branch text, only_pipeline text, only_job text) to metrics_reader;
comment on function metrics.flaky_pairs(asked metrics.period, reference_ids bigint[], only_branch text, only_pipeline text, only_job text) is 'Jobs that failed in a period, each with those of the same commit, pipeline and name that passed within seven days of it.';

-- function metrics.flaky_tests(since date, until date, repository text, team text, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.flaky_tests(since date DEFAULT NULL::date, until date DEFAULT NULL::date, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100)
 RETURNS SETOF metrics.flaky_test
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
 SET plan_cache_mode TO 'force_custom_plan'
 SET enable_seqscan TO 'off'
 SET enable_tidscan TO 'off'
AS $function$
#variable_conflict use_column
declare
  asked metrics.period;
  starts_at timestamptz;
  ends_at timestamptz;
  references_read bigint[];
  names text[];
  absent text;
  is_frozen boolean;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, 'none', page_after, page_size);
  if asked.after is not null and (
    jsonb_array_length(asked.after) <> 4
    or jsonb_path_exists(asked.after, '$[*] ? (@.type() != "string")')
    or asked.after ->> 0 !~ '^[0-9]{1,18}$'
  ) then
    raise exception using
      errcode = '22023',
      message = format('%s is no key of a page', left(asked.after::text, 100)),
      hint = 'Pass the page_key of the last row that was read, with the arguments that it was read with.';
  end if;
  starts_at := metrics.midnight(asked.since, asked.time_zone);
  ends_at := metrics.midnight(asked.until, asked.time_zone);
  select coalesce(array_agg(s.reference_id), '{}'), coalesce(array_agg(s.label), '{}')
  into references_read, names
  from metrics.selected_references(repository, team) as s;

  is_frozen := exists (
    select
    from metrics.horizons as h
    where h.fact = 'test_cases'
      and h.before > asked.since
  );

  -- That no test is flaky can be said only of tests that ran.
  absent := case
    when names = '{}' and num_nonnulls(repository, team) > 0 then 'unknown_service'
    when not exists (
      select
      from unnest(references_read) as r (reference_id)
      cross join lateral (
        select
        from metrics.test_runs as t
        where t.reference_id = r.reference_id
          and t.started_at >= starts_at
          and t.started_at < ends_at
        limit 1
      ) as t
    ) then 'too_few'
  end;
  if absent is not null then
    return query
    select
      null::text, null::text, null::text, null::bigint, null::bigint, null::bigint, null::timestamptz, null::timestamptz, absent,
      case when absent <> 'unknown_service' then is_frozen end, null::text, 1::bigint;
    return;
  end if;

  return query
  select
    f.repository,
    f.suite,
    f.test,
    f.commits,
    f.failures,
    f.retried,
    f.first_at,
    f.last_at,
    null::text,
    is_frozen,
    jsonb_build_array(f.commits::text, f.repository, f.suite, f.test)::text,
    f.total
  from (
    select
      r.label as repository,
      n.suite,
      n.name as test,
      count(distinct c.commit_sha) as commits,
      count(*) filter (where c.outcome <> 'passed') as failures,
      count(*) filter (where c.outcome = 'passed') as retried,
      min(c.started_at) as first_at,
      max(c.started_at) as last_at,
      count(*) over () as total
    from metrics.flaky_cases(references_read, starts_at, ends_at) as c
    join unnest(references_read, names) as r (reference_id, label)
      on r.reference_id = c.reference_id
    cross join lateral (
      select t.suite, t.name
      from metrics.tests as t
      where t.id = c.test_id
    ) as n
    group by r.label, n.suite, n.name
  ) as f
  where asked.after is null
    or f.commits < (asked.after ->> 0)::bigint
    or (
      f.commits = (asked.after ->> 0)::bigint
      and (f.repository collate "C", f.suite collate "C", f.test collate "C") > (asked.after ->> 1, asked.after ->> 2, asked.after ->> 3)
    )
  order by f.commits desc, f.repository collate "C", f.suite collate "C", f.test collate "C"
  limit asked.page_size;

  -- Nor of those whose cases are dropped.
  if not found and asked.after is null and is_frozen then
    return query
    select
      null::text, null::text, null::text, null::bigint, null::bigint, null::bigint, null::timestamptz, null::timestamptz, 'outside_retention',
      true, null::text, 1::bigint;
  end if;
end
$function$;
grant execute on function metrics.flaky_tests(since date, until date, repository text, team text, page_after text, page_size integer) to authenticated;
grant execute on function metrics.flaky_tests(since date, until date, repository text, team text, page_after text, page_size integer) to metrics_reader;
comment on function metrics.flaky_tests(since date, until date, repository text, team text, page_after text, page_size integer) is 'Tests that failed and passed for one commit within 7 days, or passed only when tried again; the flaky for most commits first. No row says that tests ran and none was flaky; a row of nothing but a reason that none ran (too_few), that the period begins before the horizon and nothing is left that shows one (outside_retention), or unknown_service. is_frozen: the period begins before the horizon. Raises 22023 for what cannot be asked.';

-- function metrics.flaky_tests_evidence(since date, until date, repository text, team text, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.flaky_tests_evidence(since date DEFAULT NULL::date, until date DEFAULT NULL::date, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100)
 RETURNS SETOF metrics.evidence
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
 SET plan_cache_mode TO 'force_custom_plan'
 SET enable_seqscan TO 'off'
 SET enable_tidscan TO 'off'
AS $function$
#variable_conflict use_column
declare
  asked metrics.period;
  after metrics.evidence_key;
  references_read bigint[];
  names text[];
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, 'none', page_after, page_size);
  after := metrics.evidence_after(asked);
  select coalesce(array_agg(s.reference_id), '{}'), coalesce(array_agg(s.label), '{}')
  into references_read, names
  from metrics.selected_references(repository, team) as s;

  return query
  select
    e.started_at,
    e.label,
    null::text,
    'test_case',
    e.external_id,
    e.commit_sha,
    e.name,
    case when e.outcome = 'passed' then e.retries else 1 end::double precision,
    case when e.outcome = 'passed' then 'retries' else 'failures' end,
    null::text,
    e.url,
    jsonb_build_object(
      'suite', e.suite,
      'test_run', e.test_run_external_id,
      'outcome', e.outcome,
      'retries', e.retries,
      'passed_in', e.passed_in,
      'message', e.message
    ),
    metrics.evidence_page_key(e.started_at, e.label, 'test_case', e.external_id),
    e.total
  from (
    select
      r.label,
      n.suite,
      n.name,
      c.test_run_external_id || ' ' || n.suite || ' ' || n.name as external_id,
      c.*,
      count(*) over () as total
    from metrics.flaky_cases(
      references_read,
      metrics.midnight(asked.since, asked.time_zone),
      metrics.midnight(asked.until, asked.time_zone)
    ) as c
    join unnest(references_read, names) as r (reference_id, label)
      on r.reference_id = c.reference_id
    cross join lateral (
      select t.suite, t.name
      from metrics.tests as t
      where t.id = c.test_id
    ) as n
  ) as e
  where after.happened_at is null
    or (e.started_at, e.label collate "C", 'test_case' collate "C", e.external_id collate "C")
      > (after.happened_at, after.repository, after.kind, after.external_id)
  order by e.started_at, e.label collate "C", e.external_id collate "C"
  limit asked.page_size;
end
$function$;
grant execute on function metrics.flaky_tests_evidence(since date, until date, repository text, team text, page_after text, page_size integer) to authenticated;
grant execute on function metrics.flaky_tests_evidence(since date, until date, repository text, team text, page_after text, page_size integer) to metrics_reader;
comment on function metrics.flaky_tests_evidence(since date, until date, repository text, team text, page_after text, page_size integer) is 'The test cases behind flaky_tests, in the order of their uploads: each that failed where another upload of the commit (passed_in) says that it passed, and each that passed only when tried again.';

-- function metrics.fold_columns(relation regclass)
CREATE OR REPLACE FUNCTION metrics.fold_columns(relation regclass)
 RETURNS TABLE(name text, place integer, type text, rule text, lead text, later text)
 LANGUAGE sql
 STABLE
 SET search_path TO ''
AS $function$
  with columns as (
    select
      a.attname::text as name,
      a.attnum::integer as place,
      format_type(a.atttypid, null) as type,
      (regexp_match(d.comment, 'Merge: (latest|earliest|union)(?:, with [a-z_]+)?\.$'))[1] as rule,
      coalesce((regexp_match(d.comment, 'Merge: latest, with ([a-z_]+)\.$'))[1], a.attname::text) as lead
    from pg_catalog.pg_attribute as a
    cross join lateral (select col_description(a.attrelid, a.attnum) as comment) as d
    where a.attrelid = relation
      and a.attnum > 0
      and not a.attisdropped
  )
  select
    c.name,
    c.place,
    c.type,
    c.rule,
    c.lead,
    (
      select format(
        $f$(excluded.clocks ->> %1$L) collate "C" > coalesce(t.clocks ->> %1$L, '')
        or (excluded.clocks ->> %1$L = t.clocks ->> %1$L and row(%2$s) > row(%3$s))$f$,
        c.lead,
        string_agg(metrics.comparable('excluded', m.name, m.type), ', ' order by m.name <> c.lead, m.place),
        string_agg(metrics.comparable('t', m.name, m.type), ', ' order by m.name <> c.lead, m.place)
      )
      from columns as m
      where m.lead = c.lead
        and m.rule = 'latest'
    )
  from columns as c
$function$;
comment on function metrics.fold_columns(relation regclass) is 'The columns of a fact table with their merge rules, read from their comments; later is SQL that says whether what is said now (excluded) is later than what is kept (t).';

-- function metrics.fold_commits(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_commits(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.commits := jsonb_populate_record(null::metrics.commits, said);
      clock constant text := coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.commits as t (reference_id, sha, authored_at, committed_at, author, author_is_bot, title, reverts, changed_paths, clocks)
      values (
        r.id, o.sha,
        o.authored_at,
        o.committed_at,
        o.author,
        case when said ? 'author' then o.author_is_bot end,
        o.title,
        o.reverts,
        o.changed_paths,
        jsonb_strip_nulls(jsonb_build_object(
          'author', case when said ? 'author' then clock end,
          'title', case when said ? 'title' then clock end,
          'reverts', case when said ? 'reverts' then clock end,
          'changed_paths', case when said ? 'changed_paths' then clock end
        ))
      )
      on conflict (reference_id, sha) do update set
          authored_at = least(t.authored_at, excluded.authored_at),
          committed_at = least(t.committed_at, excluded.committed_at),
          author = case when excluded.clocks ? 'author' then excluded.author else t.author end,
          author_is_bot = case when excluded.clocks ? 'author' then excluded.author_is_bot else t.author_is_bot end,
          title = case when excluded.clocks ? 'title' then excluded.title else t.title end,
          reverts = case when excluded.clocks ? 'reverts' then excluded.reverts else t.reverts end,
          changed_paths = case when excluded.clocks ? 'changed_paths' then excluded.changed_paths else t.changed_paths end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'author') collate "C", (t.clocks ->> 'title') collate "C", (t.clocks ->> 'reverts') collate "C", (t.clocks ->> 'changed_paths') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.id, o.sha) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (sha text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.id, o.sha) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (sha text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.commits as t (reference_id, sha, authored_at, committed_at, author, author_is_bot, title, reverts, changed_paths, clocks)
    select
        r.id, o.sha,
        o.authored_at,
        o.committed_at,
        o.author,
        case when said ? 'author' then o.author_is_bot end,
        o.title,
        o.reverts,
        o.changed_paths,
        jsonb_strip_nulls(jsonb_build_object(
          'author', case when said ? 'author' then c.clock end,
          'title', case when said ? 'title' then c.clock end,
          'reverts', case when said ? 'reverts' then c.clock end,
          'changed_paths', case when said ? 'changed_paths' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.commits, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2
    on conflict (reference_id, sha) do update set
        authored_at = least(t.authored_at, excluded.authored_at),
        committed_at = least(t.committed_at, excluded.committed_at),
        author = case when (excluded.clocks ->> 'author') collate "C" > coalesce(t.clocks ->> 'author', '')
        or (excluded.clocks ->> 'author' = t.clocks ->> 'author' and row(coalesce('1' || excluded.author, '0') collate "C", coalesce(excluded.author_is_bot::integer, -1)) > row(coalesce('1' || t.author, '0') collate "C", coalesce(t.author_is_bot::integer, -1))) then excluded.author else t.author end,
        author_is_bot = case when (excluded.clocks ->> 'author') collate "C" > coalesce(t.clocks ->> 'author', '')
        or (excluded.clocks ->> 'author' = t.clocks ->> 'author' and row(coalesce('1' || excluded.author, '0') collate "C", coalesce(excluded.author_is_bot::integer, -1)) > row(coalesce('1' || t.author, '0') collate "C", coalesce(t.author_is_bot::integer, -1))) then excluded.author_is_bot else t.author_is_bot end,
        title = case when (excluded.clocks ->> 'title') collate "C" > coalesce(t.clocks ->> 'title', '')
        or (excluded.clocks ->> 'title' = t.clocks ->> 'title' and row(coalesce('1' || excluded.title, '0') collate "C") > row(coalesce('1' || t.title, '0') collate "C")) then excluded.title else t.title end,
        reverts = case when (excluded.clocks ->> 'reverts') collate "C" > coalesce(t.clocks ->> 'reverts', '')
        or (excluded.clocks ->> 'reverts' = t.clocks ->> 'reverts' and row(coalesce('1' || to_jsonb(excluded.reverts)::text, '0') collate "C") > row(coalesce('1' || to_jsonb(t.reverts)::text, '0') collate "C")) then excluded.reverts else t.reverts end,
        changed_paths = case when (excluded.clocks ->> 'changed_paths') collate "C" > coalesce(t.clocks ->> 'changed_paths', '')
        or (excluded.clocks ->> 'changed_paths' = t.clocks ->> 'changed_paths' and row(coalesce('1' || to_jsonb(excluded.changed_paths)::text, '0') collate "C") > row(coalesce('1' || to_jsonb(t.changed_paths)::text, '0') collate "C")) then excluded.changed_paths else t.changed_paths end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'author', greatest((excluded.clocks ->> 'author') collate "C", t.clocks ->> 'author'),
          'title', greatest((excluded.clocks ->> 'title') collate "C", t.clocks ->> 'title'),
          'reverts', greatest((excluded.clocks ->> 'reverts') collate "C", t.clocks ->> 'reverts'),
          'changed_paths', greatest((excluded.clocks ->> 'changed_paths') collate "C", t.clocks ->> 'changed_paths')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.authored_at, excluded.committed_at, excluded.author, excluded.author_is_bot, excluded.title, excluded.reverts, excluded.changed_paths) is distinct from (t.authored_at, t.committed_at, t.author, t.author_is_bot, t.title, t.reverts, t.changed_paths);
  end loop;
end
$function$;
comment on function metrics.fold_commits(observations jsonb) is 'Folds a list of observations into metrics.commits. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_deployments(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_deployments(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.deployments := jsonb_populate_record(null::metrics.deployments, said);
      clock constant text := (case said ->> 'status' when 'finished' then 3 when 'running' then 2 when 'queued' then 1 else 0 end)::text || ' ' || coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.deployments as t (reference_id, external_id, name, environment, environment_tier, commit_sha, ref, status, outcome, provider_outcome, created_at, started_at, finished_at, actor, actor_is_bot, url, clocks)
      values (
        r.id, o.external_id,
        o.name,
        o.environment,
        o.environment_tier,
        o.commit_sha,
        o.ref,
        o.status,
        case when said ? 'status' then o.outcome end,
        case when said ? 'status' then o.provider_outcome end,
        o.created_at,
        o.started_at,
        case when said ? 'status' then o.finished_at end,
        o.actor,
        case when said ? 'actor' then o.actor_is_bot end,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'name', case when said ? 'name' then clock end,
          'environment', case when said ? 'environment' then clock end,
          'environment_tier', case when said ? 'environment_tier' then clock end,
          'commit_sha', case when said ? 'commit_sha' then clock end,
          'ref', case when said ? 'ref' then clock end,
          'status', case when said ? 'status' then clock end,
          'actor', case when said ? 'actor' then clock end,
          'url', case when said ? 'url' then clock end
        ))
      )
      on conflict (reference_id, external_id) do update set
          name = case when excluded.clocks ? 'name' then excluded.name else t.name end,
          environment = case when excluded.clocks ? 'environment' then excluded.environment else t.environment end,
          environment_tier = case when excluded.clocks ? 'environment_tier' then excluded.environment_tier else t.environment_tier end,
          commit_sha = case when excluded.clocks ? 'commit_sha' then excluded.commit_sha else t.commit_sha end,
          ref = case when excluded.clocks ? 'ref' then excluded.ref else t.ref end,
          status = case when excluded.clocks ? 'status' then excluded.status else t.status end,
          outcome = case when excluded.clocks ? 'status' then excluded.outcome else t.outcome end,
          provider_outcome = case when excluded.clocks ? 'status' then excluded.provider_outcome else t.provider_outcome end,
          created_at = least(t.created_at, excluded.created_at),
          started_at = least(t.started_at, excluded.started_at),
          finished_at = case when excluded.clocks ? 'status' then excluded.finished_at else t.finished_at end,
          actor = case when excluded.clocks ? 'actor' then excluded.actor else t.actor end,
          actor_is_bot = case when excluded.clocks ? 'actor' then excluded.actor_is_bot else t.actor_is_bot end,
          url = case when excluded.clocks ? 'url' then excluded.url else t.url end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'name') collate "C", (t.clocks ->> 'environment') collate "C", (t.clocks ->> 'environment_tier') collate "C", (t.clocks ->> 'commit_sha') collate "C", (t.clocks ->> 'ref') collate "C", (t.clocks ->> 'status') collate "C", (t.clocks ->> 'actor') collate "C", (t.clocks ->> 'url') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.id, o.external_id) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.id, o.external_id) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.deployments as t (reference_id, external_id, name, environment, environment_tier, commit_sha, ref, status, outcome, provider_outcome, created_at, started_at, finished_at, actor, actor_is_bot, url, clocks)
    select
        r.id, o.external_id,
        o.name,
        o.environment,
        o.environment_tier,
        o.commit_sha,
        o.ref,
        o.status,
        case when said ? 'status' then o.outcome end,
        case when said ? 'status' then o.provider_outcome end,
        o.created_at,
        o.started_at,
        case when said ? 'status' then o.finished_at end,
        o.actor,
        case when said ? 'actor' then o.actor_is_bot end,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'name', case when said ? 'name' then c.clock end,
          'environment', case when said ? 'environment' then c.clock end,
          'environment_tier', case when said ? 'environment_tier' then c.clock end,
          'commit_sha', case when said ? 'commit_sha' then c.clock end,
          'ref', case when said ? 'ref' then c.clock end,
          'status', case when said ? 'status' then c.clock end,
          'actor', case when said ? 'actor' then c.clock end,
          'url', case when said ? 'url' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.deployments, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select (case said ->> 'status' when 'finished' then 3 when 'running' then 2 when 'queued' then 1 else 0 end)::text || ' ' || coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2
    on conflict (reference_id, external_id) do update set
        name = case when (excluded.clocks ->> 'name') collate "C" > coalesce(t.clocks ->> 'name', '')
        or (excluded.clocks ->> 'name' = t.clocks ->> 'name' and row(coalesce('1' || excluded.name, '0') collate "C") > row(coalesce('1' || t.name, '0') collate "C")) then excluded.name else t.name end,
        environment = case when (excluded.clocks ->> 'environment') collate "C" > coalesce(t.clocks ->> 'environment', '')
        or (excluded.clocks ->> 'environment' = t.clocks ->> 'environment' and row(coalesce('1' || excluded.environment, '0') collate "C") > row(coalesce('1' || t.environment, '0') collate "C")) then excluded.environment else t.environment end,
        environment_tier = case when (excluded.clocks ->> 'environment_tier') collate "C" > coalesce(t.clocks ->> 'environment_tier', '')
        or (excluded.clocks ->> 'environment_tier' = t.clocks ->> 'environment_tier' and row(coalesce('1' || excluded.environment_tier, '0') collate "C") > row(coalesce('1' || t.environment_tier, '0') collate "C")) then excluded.environment_tier else t.environment_tier end,
        commit_sha = case when (excluded.clocks ->> 'commit_sha') collate "C" > coalesce(t.clocks ->> 'commit_sha', '')
        or (excluded.clocks ->> 'commit_sha' = t.clocks ->> 'commit_sha' and row(coalesce('1' || excluded.commit_sha, '0') collate "C") > row(coalesce('1' || t.commit_sha, '0') collate "C")) then excluded.commit_sha else t.commit_sha end,
        ref = case when (excluded.clocks ->> 'ref') collate "C" > coalesce(t.clocks ->> 'ref', '')
        or (excluded.clocks ->> 'ref' = t.clocks ->> 'ref' and row(coalesce('1' || excluded.ref, '0') collate "C") > row(coalesce('1' || t.ref, '0') collate "C")) then excluded.ref else t.ref end,
        status = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.provider_outcome, '0') collate "C", coalesce(excluded.finished_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.provider_outcome, '0') collate "C", coalesce(t.finished_at, '-infinity'))) then excluded.status else t.status end,
        outcome = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.provider_outcome, '0') collate "C", coalesce(excluded.finished_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.provider_outcome, '0') collate "C", coalesce(t.finished_at, '-infinity'))) then excluded.outcome else t.outcome end,
        provider_outcome = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.provider_outcome, '0') collate "C", coalesce(excluded.finished_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.provider_outcome, '0') collate "C", coalesce(t.finished_at, '-infinity'))) then excluded.provider_outcome else t.provider_outcome end,
        created_at = least(t.created_at, excluded.created_at),
        started_at = least(t.started_at, excluded.started_at),
        finished_at = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.provider_outcome, '0') collate "C", coalesce(excluded.finished_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.provider_outcome, '0') collate "C", coalesce(t.finished_at, '-infinity'))) then excluded.finished_at else t.finished_at end,
        actor = case when (excluded.clocks ->> 'actor') collate "C" > coalesce(t.clocks ->> 'actor', '')
        or (excluded.clocks ->> 'actor' = t.clocks ->> 'actor' and row(coalesce('1' || excluded.actor, '0') collate "C", coalesce(excluded.actor_is_bot::integer, -1)) > row(coalesce('1' || t.actor, '0') collate "C", coalesce(t.actor_is_bot::integer, -1))) then excluded.actor else t.actor end,
        actor_is_bot = case when (excluded.clocks ->> 'actor') collate "C" > coalesce(t.clocks ->> 'actor', '')
        or (excluded.clocks ->> 'actor' = t.clocks ->> 'actor' and row(coalesce('1' || excluded.actor, '0') collate "C", coalesce(excluded.actor_is_bot::integer, -1)) > row(coalesce('1' || t.actor, '0') collate "C", coalesce(t.actor_is_bot::integer, -1))) then excluded.actor_is_bot else t.actor_is_bot end,
        url = case when (excluded.clocks ->> 'url') collate "C" > coalesce(t.clocks ->> 'url', '')
        or (excluded.clocks ->> 'url' = t.clocks ->> 'url' and row(coalesce('1' || excluded.url, '0') collate "C") > row(coalesce('1' || t.url, '0') collate "C")) then excluded.url else t.url end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'name', greatest((excluded.clocks ->> 'name') collate "C", t.clocks ->> 'name'),
          'environment', greatest((excluded.clocks ->> 'environment') collate "C", t.clocks ->> 'environment'),
          'environment_tier', greatest((excluded.clocks ->> 'environment_tier') collate "C", t.clocks ->> 'environment_tier'),
          'commit_sha', greatest((excluded.clocks ->> 'commit_sha') collate "C", t.clocks ->> 'commit_sha'),
          'ref', greatest((excluded.clocks ->> 'ref') collate "C", t.clocks ->> 'ref'),
          'status', greatest((excluded.clocks ->> 'status') collate "C", t.clocks ->> 'status'),
          'actor', greatest((excluded.clocks ->> 'actor') collate "C", t.clocks ->> 'actor'),
          'url', greatest((excluded.clocks ->> 'url') collate "C", t.clocks ->> 'url')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.name, excluded.environment, excluded.environment_tier, excluded.commit_sha, excluded.ref, excluded.status, excluded.outcome, excluded.provider_outcome, excluded.created_at, excluded.started_at, excluded.finished_at, excluded.actor, excluded.actor_is_bot, excluded.url) is distinct from (t.name, t.environment, t.environment_tier, t.commit_sha, t.ref, t.status, t.outcome, t.provider_outcome, t.created_at, t.started_at, t.finished_at, t.actor, t.actor_is_bot, t.url);
  end loop;
end
$function$;
comment on function metrics.fold_deployments(observations jsonb) is 'Folds a list of observations into metrics.deployments. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_facts(facts jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_facts(facts jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
begin
  if facts -> 'repositories' <> '[]' then
    perform metrics.fold_repositories(facts -> 'repositories');
  end if;
  if facts ? 'pipeline_runs' then
    perform metrics.fold_pipeline_runs(facts -> 'pipeline_runs');
  end if;
  if facts ? 'jobs' then
    perform metrics.fold_jobs(facts -> 'jobs');
  end if;
  if facts ? 'pull_requests' then
    perform metrics.fold_pull_requests(facts -> 'pull_requests');
  end if;
  if facts ? 'reviews' then
    perform metrics.fold_reviews(facts -> 'reviews');
  end if;
  if facts ? 'pushes' then
    perform metrics.fold_pushes(facts -> 'pushes');
  end if;
  if facts ? 'commits' then
    perform metrics.fold_commits(facts -> 'commits');
  end if;
  if facts ? 'deployments' then
    perform metrics.fold_deployments(facts -> 'deployments');
  end if;
  if facts ? 'releases' then
    perform metrics.fold_releases(facts -> 'releases');
  end if;
  if facts ? 'incidents' then
    perform metrics.fold_incidents(facts -> 'incidents');
  end if;
  if facts ? 'test_runs' then
    perform metrics.fold_test_runs(facts -> 'test_runs');
  end if;
  if facts ? 'test_cases' then
    perform metrics.fold_test_cases(facts -> 'test_cases');
  end if;
  if facts ? 'rule_checks' then
    perform metrics.fold_rule_checks(facts -> 'rule_checks');
  end if;
  if facts ? 'measurements' then
    perform metrics.fold_measurements(facts -> 'measurements');
  end if;
end
$function$;
comment on function metrics.fold_facts(facts jsonb) is 'Folds the facts of a call into their tables.';

-- function metrics.fold_incidents(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_incidents(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.incidents := jsonb_populate_record(null::metrics.incidents, said);
      clock constant text := coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (case said ->> 'status' when 'resolved' then 3 when 'acknowledged' then 2 when 'open' then 1 else 0 end)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.incidents as t (source, external_id, reference_id, service, title, severity, status, opened_at, acknowledged_at, resolved_at, is_withdrawn, deployment_external_id, commit_sha, url, clocks)
      values (
        o.source, o.external_id,
        r.id,
        o.service,
        o.title,
        o.severity,
        o.status,
        o.opened_at,
        o.acknowledged_at,
        case when said ? 'status' then o.resolved_at end,
        o.is_withdrawn,
        o.deployment_external_id,
        o.commit_sha,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'reference_id', case when said ? 'repository' then clock end,
          'service', case when said ? 'service' then clock end,
          'title', case when said ? 'title' then clock end,
          'severity', case when said ? 'severity' then clock end,
          'status', case when said ? 'status' then clock end,
          'is_withdrawn', case when said ? 'is_withdrawn' then clock end,
          'deployment_external_id', case when said ? 'deployment_external_id' then clock end,
          'commit_sha', case when said ? 'commit_sha' then clock end,
          'url', case when said ? 'url' then clock end
        ))
      )
      on conflict (source, external_id) do update set
          reference_id = case when excluded.clocks ? 'reference_id' then excluded.reference_id else t.reference_id end,
          service = case when excluded.clocks ? 'service' then excluded.service else t.service end,
          title = case when excluded.clocks ? 'title' then excluded.title else t.title end,
          severity = case when excluded.clocks ? 'severity' then excluded.severity else t.severity end,
          status = case when excluded.clocks ? 'status' then excluded.status else t.status end,
          opened_at = least(t.opened_at, excluded.opened_at),
          acknowledged_at = least(t.acknowledged_at, excluded.acknowledged_at),
          resolved_at = case when excluded.clocks ? 'status' then excluded.resolved_at else t.resolved_at end,
          is_withdrawn = case when excluded.clocks ? 'is_withdrawn' then excluded.is_withdrawn else t.is_withdrawn end,
          deployment_external_id = case when excluded.clocks ? 'deployment_external_id' then excluded.deployment_external_id else t.deployment_external_id end,
          commit_sha = case when excluded.clocks ? 'commit_sha' then excluded.commit_sha else t.commit_sha end,
          url = case when excluded.clocks ? 'url' then excluded.url else t.url end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'reference_id') collate "C", (t.clocks ->> 'service') collate "C", (t.clocks ->> 'title') collate "C", (t.clocks ->> 'severity') collate "C", (t.clocks ->> 'status') collate "C", (t.clocks ->> 'is_withdrawn') collate "C", (t.clocks ->> 'deployment_external_id') collate "C", (t.clocks ->> 'commit_sha') collate "C", (t.clocks ->> 'url') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by o.source, o.external_id) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (source text, external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by o.source, o.external_id) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (source text, external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.incidents as t (source, external_id, reference_id, service, title, severity, status, opened_at, acknowledged_at, resolved_at, is_withdrawn, deployment_external_id, commit_sha, url, clocks)
    select
        o.source, o.external_id,
        r.id,
        o.service,
        o.title,
        o.severity,
        o.status,
        o.opened_at,
        o.acknowledged_at,
        case when said ? 'status' then o.resolved_at end,
        o.is_withdrawn,
        o.deployment_external_id,
        o.commit_sha,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'reference_id', case when said ? 'repository' then c.clock end,
          'service', case when said ? 'service' then c.clock end,
          'title', case when said ? 'title' then c.clock end,
          'severity', case when said ? 'severity' then c.clock end,
          'status', case when said ? 'status' then c.clock end,
          'is_withdrawn', case when said ? 'is_withdrawn' then c.clock end,
          'deployment_external_id', case when said ? 'deployment_external_id' then c.clock end,
          'commit_sha', case when said ? 'commit_sha' then c.clock end,
          'url', case when said ? 'url' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.incidents, said) as o
      left join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (case said ->> 'status' when 'resolved' then 3 when 'acknowledged' then 2 when 'open' then 1 else 0 end)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2
    on conflict (source, external_id) do update set
        reference_id = case when (excluded.clocks ->> 'reference_id') collate "C" > coalesce(t.clocks ->> 'reference_id', '')
        or (excluded.clocks ->> 'reference_id' = t.clocks ->> 'reference_id' and row(coalesce('1' || metrics.reference_text(excluded.reference_id), '0') collate "C") > row(coalesce('1' || metrics.reference_text(t.reference_id), '0') collate "C")) then excluded.reference_id else t.reference_id end,
        service = case when (excluded.clocks ->> 'service') collate "C" > coalesce(t.clocks ->> 'service', '')
        or (excluded.clocks ->> 'service' = t.clocks ->> 'service' and row(coalesce('1' || excluded.service, '0') collate "C") > row(coalesce('1' || t.service, '0') collate "C")) then excluded.service else t.service end,
        title = case when (excluded.clocks ->> 'title') collate "C" > coalesce(t.clocks ->> 'title', '')
        or (excluded.clocks ->> 'title' = t.clocks ->> 'title' and row(coalesce('1' || excluded.title, '0') collate "C") > row(coalesce('1' || t.title, '0') collate "C")) then excluded.title else t.title end,
        severity = case when (excluded.clocks ->> 'severity') collate "C" > coalesce(t.clocks ->> 'severity', '')
        or (excluded.clocks ->> 'severity' = t.clocks ->> 'severity' and row(coalesce('1' || excluded.severity, '0') collate "C") > row(coalesce('1' || t.severity, '0') collate "C")) then excluded.severity else t.severity end,
        status = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce(excluded.resolved_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce(t.resolved_at, '-infinity'))) then excluded.status else t.status end,
        opened_at = least(t.opened_at, excluded.opened_at),
        acknowledged_at = least(t.acknowledged_at, excluded.acknowledged_at),
        resolved_at = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce(excluded.resolved_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce(t.resolved_at, '-infinity'))) then excluded.resolved_at else t.resolved_at end,
        is_withdrawn = case when (excluded.clocks ->> 'is_withdrawn') collate "C" > coalesce(t.clocks ->> 'is_withdrawn', '')
        or (excluded.clocks ->> 'is_withdrawn' = t.clocks ->> 'is_withdrawn' and row(coalesce(excluded.is_withdrawn::integer, -1)) > row(coalesce(t.is_withdrawn::integer, -1))) then excluded.is_withdrawn else t.is_withdrawn end,
        deployment_external_id = case when (excluded.clocks ->> 'deployment_external_id') collate "C" > coalesce(t.clocks ->> 'deployment_external_id', '')
        or (excluded.clocks ->> 'deployment_external_id' = t.clocks ->> 'deployment_external_id' and row(coalesce('1' || excluded.deployment_external_id, '0') collate "C") > row(coalesce('1' || t.deployment_external_id, '0') collate "C")) then excluded.deployment_external_id else t.deployment_external_id end,
        commit_sha = case when (excluded.clocks ->> 'commit_sha') collate "C" > coalesce(t.clocks ->> 'commit_sha', '')
        or (excluded.clocks ->> 'commit_sha' = t.clocks ->> 'commit_sha' and row(coalesce('1' || excluded.commit_sha, '0') collate "C") > row(coalesce('1' || t.commit_sha, '0') collate "C")) then excluded.commit_sha else t.commit_sha end,
        url = case when (excluded.clocks ->> 'url') collate "C" > coalesce(t.clocks ->> 'url', '')
        or (excluded.clocks ->> 'url' = t.clocks ->> 'url' and row(coalesce('1' || excluded.url, '0') collate "C") > row(coalesce('1' || t.url, '0') collate "C")) then excluded.url else t.url end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'reference_id', greatest((excluded.clocks ->> 'reference_id') collate "C", t.clocks ->> 'reference_id'),
          'service', greatest((excluded.clocks ->> 'service') collate "C", t.clocks ->> 'service'),
          'title', greatest((excluded.clocks ->> 'title') collate "C", t.clocks ->> 'title'),
          'severity', greatest((excluded.clocks ->> 'severity') collate "C", t.clocks ->> 'severity'),
          'status', greatest((excluded.clocks ->> 'status') collate "C", t.clocks ->> 'status'),
          'is_withdrawn', greatest((excluded.clocks ->> 'is_withdrawn') collate "C", t.clocks ->> 'is_withdrawn'),
          'deployment_external_id', greatest((excluded.clocks ->> 'deployment_external_id') collate "C", t.clocks ->> 'deployment_external_id'),
          'commit_sha', greatest((excluded.clocks ->> 'commit_sha') collate "C", t.clocks ->> 'commit_sha'),
          'url', greatest((excluded.clocks ->> 'url') collate "C", t.clocks ->> 'url')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.reference_id, excluded.service, excluded.title, excluded.severity, excluded.status, excluded.opened_at, excluded.acknowledged_at, excluded.resolved_at, excluded.is_withdrawn, excluded.deployment_external_id, excluded.commit_sha, excluded.url) is distinct from (t.reference_id, t.service, t.title, t.severity, t.status, t.opened_at, t.acknowledged_at, t.resolved_at, t.is_withdrawn, t.deployment_external_id, t.commit_sha, t.url);
  end loop;
end
$function$;
comment on function metrics.fold_incidents(observations jsonb) is 'Folds a list of observations into metrics.incidents. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_jobs(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_jobs(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.jobs := jsonb_populate_record(null::metrics.jobs, said);
      clock constant text := (case said ->> 'status' when 'finished' then 3 when 'running' then 2 when 'queued' then 1 else 0 end)::text || ' ' || coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.jobs as t (reference_id, external_id, run_external_id, attempt, pipeline, name, branch, commit_sha, runner_labels, status, outcome, provider_outcome, queued_at, started_at, finished_at, steps, url, clocks)
      values (
        r.id, o.external_id,
        o.run_external_id,
        o.attempt,
        o.pipeline,
        o.name,
        o.branch,
        o.commit_sha,
        o.runner_labels,
        o.status,
        case when said ? 'status' then o.outcome end,
        case when said ? 'status' then o.provider_outcome end,
        o.queued_at,
        o.started_at,
        case when said ? 'status' then o.finished_at end,
        o.steps,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'run_external_id', case when said ? 'run_external_id' then clock end,
          'attempt', case when said ? 'attempt' then clock end,
          'pipeline', case when said ? 'pipeline' then clock end,
          'name', case when said ? 'name' then clock end,
          'branch', case when said ? 'branch' then clock end,
          'commit_sha', case when said ? 'commit_sha' then clock end,
          'runner_labels', case when said ? 'runner_labels' then clock end,
          'status', case when said ? 'status' then clock end,
          'steps', case when said ? 'steps' then clock end,
          'url', case when said ? 'url' then clock end
        ))
      )
      on conflict (reference_id, external_id) do update set
          run_external_id = case when excluded.clocks ? 'run_external_id' then excluded.run_external_id else t.run_external_id end,
          attempt = case when excluded.clocks ? 'attempt' then excluded.attempt else t.attempt end,
          pipeline = case when excluded.clocks ? 'pipeline' then excluded.pipeline else t.pipeline end,
          name = case when excluded.clocks ? 'name' then excluded.name else t.name end,
          branch = case when excluded.clocks ? 'branch' then excluded.branch else t.branch end,
          commit_sha = case when excluded.clocks ? 'commit_sha' then excluded.commit_sha else t.commit_sha end,
          runner_labels = case when excluded.clocks ? 'runner_labels' then excluded.runner_labels else t.runner_labels end,
          status = case when excluded.clocks ? 'status' then excluded.status else t.status end,
          outcome = case when excluded.clocks ? 'status' then excluded.outcome else t.outcome end,
          provider_outcome = case when excluded.clocks ? 'status' then excluded.provider_outcome else t.provider_outcome end,
          queued_at = least(t.queued_at, excluded.queued_at),
          started_at = least(t.started_at, excluded.started_at),
          finished_at = case when excluded.clocks ? 'status' then excluded.finished_at else t.finished_at end,
          steps = case when excluded.clocks ? 'steps' then excluded.steps else t.steps end,
          url = case when excluded.clocks ? 'url' then excluded.url else t.url end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'run_external_id') collate "C", (t.clocks ->> 'attempt') collate "C", (t.clocks ->> 'pipeline') collate "C", (t.clocks ->> 'name') collate "C", (t.clocks ->> 'branch') collate "C", (t.clocks ->> 'commit_sha') collate "C", (t.clocks ->> 'runner_labels') collate "C", (t.clocks ->> 'status') collate "C", (t.clocks ->> 'steps') collate "C", (t.clocks ->> 'url') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.id, o.external_id) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.id, o.external_id) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.jobs as t (reference_id, external_id, run_external_id, attempt, pipeline, name, branch, commit_sha, runner_labels, status, outcome, provider_outcome, queued_at, started_at, finished_at, steps, url, clocks)
    select
        r.id, o.external_id,
        o.run_external_id,
        o.attempt,
        o.pipeline,
        o.name,
        o.branch,
        o.commit_sha,
        o.runner_labels,
        o.status,
        case when said ? 'status' then o.outcome end,
        case when said ? 'status' then o.provider_outcome end,
        o.queued_at,
        o.started_at,
        case when said ? 'status' then o.finished_at end,
        o.steps,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'run_external_id', case when said ? 'run_external_id' then c.clock end,
          'attempt', case when said ? 'attempt' then c.clock end,
          'pipeline', case when said ? 'pipeline' then c.clock end,
          'name', case when said ? 'name' then c.clock end,
          'branch', case when said ? 'branch' then c.clock end,
          'commit_sha', case when said ? 'commit_sha' then c.clock end,
          'runner_labels', case when said ? 'runner_labels' then c.clock end,
          'status', case when said ? 'status' then c.clock end,
          'steps', case when said ? 'steps' then c.clock end,
          'url', case when said ? 'url' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.jobs, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select (case said ->> 'status' when 'finished' then 3 when 'running' then 2 when 'queued' then 1 else 0 end)::text || ' ' || coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2
    on conflict (reference_id, external_id) do update set
        run_external_id = case when (excluded.clocks ->> 'run_external_id') collate "C" > coalesce(t.clocks ->> 'run_external_id', '')
        or (excluded.clocks ->> 'run_external_id' = t.clocks ->> 'run_external_id' and row(coalesce('1' || excluded.run_external_id, '0') collate "C") > row(coalesce('1' || t.run_external_id, '0') collate "C")) then excluded.run_external_id else t.run_external_id end,
        attempt = case when (excluded.clocks ->> 'attempt') collate "C" > coalesce(t.clocks ->> 'attempt', '')
        or (excluded.clocks ->> 'attempt' = t.clocks ->> 'attempt' and row(coalesce(excluded.attempt::numeric, '-infinity')) > row(coalesce(t.attempt::numeric, '-infinity'))) then excluded.attempt else t.attempt end,
        pipeline = case when (excluded.clocks ->> 'pipeline') collate "C" > coalesce(t.clocks ->> 'pipeline', '')
        or (excluded.clocks ->> 'pipeline' = t.clocks ->> 'pipeline' and row(coalesce('1' || excluded.pipeline, '0') collate "C") > row(coalesce('1' || t.pipeline, '0') collate "C")) then excluded.pipeline else t.pipeline end,
        name = case when (excluded.clocks ->> 'name') collate "C" > coalesce(t.clocks ->> 'name', '')
        or (excluded.clocks ->> 'name' = t.clocks ->> 'name' and row(coalesce('1' || excluded.name, '0') collate "C") > row(coalesce('1' || t.name, '0') collate "C")) then excluded.name else t.name end,
        branch = case when (excluded.clocks ->> 'branch') collate "C" > coalesce(t.clocks ->> 'branch', '')
        or (excluded.clocks ->> 'branch' = t.clocks ->> 'branch' and row(coalesce('1' || excluded.branch, '0') collate "C") > row(coalesce('1' || t.branch, '0') collate "C")) then excluded.branch else t.branch end,
        commit_sha = case when (excluded.clocks ->> 'commit_sha') collate "C" > coalesce(t.clocks ->> 'commit_sha', '')
        or (excluded.clocks ->> 'commit_sha' = t.clocks ->> 'commit_sha' and row(coalesce('1' || excluded.commit_sha, '0') collate "C") > row(coalesce('1' || t.commit_sha, '0') collate "C")) then excluded.commit_sha else t.commit_sha end,
        runner_labels = case when (excluded.clocks ->> 'runner_labels') collate "C" > coalesce(t.clocks ->> 'runner_labels', '')
        or (excluded.clocks ->> 'runner_labels' = t.clocks ->> 'runner_labels' and row(coalesce('1' || to_jsonb(excluded.runner_labels)::text, '0') collate "C") > row(coalesce('1' || to_jsonb(t.runner_labels)::text, '0') collate "C")) then excluded.runner_labels else t.runner_labels end,
        status = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.provider_outcome, '0') collate "C", coalesce(excluded.finished_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.provider_outcome, '0') collate "C", coalesce(t.finished_at, '-infinity'))) then excluded.status else t.status end,
        outcome = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.provider_outcome, '0') collate "C", coalesce(excluded.finished_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.provider_outcome, '0') collate "C", coalesce(t.finished_at, '-infinity'))) then excluded.outcome else t.outcome end,
        provider_outcome = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.provider_outcome, '0') collate "C", coalesce(excluded.finished_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.provider_outcome, '0') collate "C", coalesce(t.finished_at, '-infinity'))) then excluded.provider_outcome else t.provider_outcome end,
        queued_at = least(t.queued_at, excluded.queued_at),
        started_at = least(t.started_at, excluded.started_at),
        finished_at = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.provider_outcome, '0') collate "C", coalesce(excluded.finished_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.provider_outcome, '0') collate "C", coalesce(t.finished_at, '-infinity'))) then excluded.finished_at else t.finished_at end,
        steps = case when (excluded.clocks ->> 'steps') collate "C" > coalesce(t.clocks ->> 'steps', '')
        or (excluded.clocks ->> 'steps' = t.clocks ->> 'steps' and row(coalesce('1' || to_jsonb(excluded.steps)::text, '0') collate "C") > row(coalesce('1' || to_jsonb(t.steps)::text, '0') collate "C")) then excluded.steps else t.steps end,
        url = case when (excluded.clocks ->> 'url') collate "C" > coalesce(t.clocks ->> 'url', '')
        or (excluded.clocks ->> 'url' = t.clocks ->> 'url' and row(coalesce('1' || excluded.url, '0') collate "C") > row(coalesce('1' || t.url, '0') collate "C")) then excluded.url else t.url end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'run_external_id', greatest((excluded.clocks ->> 'run_external_id') collate "C", t.clocks ->> 'run_external_id'),
          'attempt', greatest((excluded.clocks ->> 'attempt') collate "C", t.clocks ->> 'attempt'),
          'pipeline', greatest((excluded.clocks ->> 'pipeline') collate "C", t.clocks ->> 'pipeline'),
          'name', greatest((excluded.clocks ->> 'name') collate "C", t.clocks ->> 'name'),
          'branch', greatest((excluded.clocks ->> 'branch') collate "C", t.clocks ->> 'branch'),
          'commit_sha', greatest((excluded.clocks ->> 'commit_sha') collate "C", t.clocks ->> 'commit_sha'),
          'runner_labels', greatest((excluded.clocks ->> 'runner_labels') collate "C", t.clocks ->> 'runner_labels'),
          'status', greatest((excluded.clocks ->> 'status') collate "C", t.clocks ->> 'status'),
          'steps', greatest((excluded.clocks ->> 'steps') collate "C", t.clocks ->> 'steps'),
          'url', greatest((excluded.clocks ->> 'url') collate "C", t.clocks ->> 'url')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.run_external_id, excluded.attempt, excluded.pipeline, excluded.name, excluded.branch, excluded.commit_sha, excluded.runner_labels, excluded.status, excluded.outcome, excluded.provider_outcome, excluded.queued_at, excluded.started_at, excluded.finished_at, excluded.steps, excluded.url) is distinct from (t.run_external_id, t.attempt, t.pipeline, t.name, t.branch, t.commit_sha, t.runner_labels, t.status, t.outcome, t.provider_outcome, t.queued_at, t.started_at, t.finished_at, t.steps, t.url);
  end loop;
end
$function$;
comment on function metrics.fold_jobs(observations jsonb) is 'Folds a list of observations into metrics.jobs. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_measurements(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_measurements(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.measurements := jsonb_populate_record(null::metrics.measurements, said);
      clock constant text := coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.measurements as t (reference_id, name, external_id, value, unit, attributes, measured_at, clocks)
      values (
        r.id, o.name, o.external_id,
        o.value,
        case when said ? 'value' then o.unit end,
        case when said ? 'value' then o.attributes end,
        case when said ? 'value' then o.measured_at end,
        jsonb_strip_nulls(jsonb_build_object(
          'value', case when said ? 'value' then clock end
        ))
      )
      on conflict (reference_id, name, external_id) do update set
          value = case when excluded.clocks ? 'value' then excluded.value else t.value end,
          unit = case when excluded.clocks ? 'value' then excluded.unit else t.unit end,
          attributes = case when excluded.clocks ? 'value' then excluded.attributes else t.attributes end,
          measured_at = case when excluded.clocks ? 'value' then excluded.measured_at else t.measured_at end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'value') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.id, o.name, o.external_id) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (name text, external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.id, o.name, o.external_id) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (name text, external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.measurements as t (reference_id, name, external_id, value, unit, attributes, measured_at, clocks)
    select
        r.id, o.name, o.external_id,
        o.value,
        case when said ? 'value' then o.unit end,
        case when said ? 'value' then o.attributes end,
        case when said ? 'value' then o.measured_at end,
        jsonb_strip_nulls(jsonb_build_object(
          'value', case when said ? 'value' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.measurements, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2, 3
    on conflict (reference_id, name, external_id) do update set
        value = case when (excluded.clocks ->> 'value') collate "C" > coalesce(t.clocks ->> 'value', '')
        or (excluded.clocks ->> 'value' = t.clocks ->> 'value' and row(coalesce(excluded.value, '-infinity'), coalesce('1' || excluded.unit, '0') collate "C", coalesce('1' || to_jsonb(excluded.attributes)::text, '0') collate "C", coalesce(excluded.measured_at, '-infinity')) > row(coalesce(t.value, '-infinity'), coalesce('1' || t.unit, '0') collate "C", coalesce('1' || to_jsonb(t.attributes)::text, '0') collate "C", coalesce(t.measured_at, '-infinity'))) then excluded.value else t.value end,
        unit = case when (excluded.clocks ->> 'value') collate "C" > coalesce(t.clocks ->> 'value', '')
        or (excluded.clocks ->> 'value' = t.clocks ->> 'value' and row(coalesce(excluded.value, '-infinity'), coalesce('1' || excluded.unit, '0') collate "C", coalesce('1' || to_jsonb(excluded.attributes)::text, '0') collate "C", coalesce(excluded.measured_at, '-infinity')) > row(coalesce(t.value, '-infinity'), coalesce('1' || t.unit, '0') collate "C", coalesce('1' || to_jsonb(t.attributes)::text, '0') collate "C", coalesce(t.measured_at, '-infinity'))) then excluded.unit else t.unit end,
        attributes = case when (excluded.clocks ->> 'value') collate "C" > coalesce(t.clocks ->> 'value', '')
        or (excluded.clocks ->> 'value' = t.clocks ->> 'value' and row(coalesce(excluded.value, '-infinity'), coalesce('1' || excluded.unit, '0') collate "C", coalesce('1' || to_jsonb(excluded.attributes)::text, '0') collate "C", coalesce(excluded.measured_at, '-infinity')) > row(coalesce(t.value, '-infinity'), coalesce('1' || t.unit, '0') collate "C", coalesce('1' || to_jsonb(t.attributes)::text, '0') collate "C", coalesce(t.measured_at, '-infinity'))) then excluded.attributes else t.attributes end,
        measured_at = case when (excluded.clocks ->> 'value') collate "C" > coalesce(t.clocks ->> 'value', '')
        or (excluded.clocks ->> 'value' = t.clocks ->> 'value' and row(coalesce(excluded.value, '-infinity'), coalesce('1' || excluded.unit, '0') collate "C", coalesce('1' || to_jsonb(excluded.attributes)::text, '0') collate "C", coalesce(excluded.measured_at, '-infinity')) > row(coalesce(t.value, '-infinity'), coalesce('1' || t.unit, '0') collate "C", coalesce('1' || to_jsonb(t.attributes)::text, '0') collate "C", coalesce(t.measured_at, '-infinity'))) then excluded.measured_at else t.measured_at end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'value', greatest((excluded.clocks ->> 'value') collate "C", t.clocks ->> 'value')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.value, excluded.unit, excluded.attributes, excluded.measured_at) is distinct from (t.value, t.unit, t.attributes, t.measured_at);
  end loop;
end
$function$;
comment on function metrics.fold_measurements(observations jsonb) is 'Folds a list of observations into metrics.measurements. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_pipeline_runs(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_pipeline_runs(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.pipeline_runs := jsonb_populate_record(null::metrics.pipeline_runs, said);
      clock constant text := (case said ->> 'status' when 'finished' then 3 when 'running' then 2 when 'queued' then 1 else 0 end)::text || ' ' || coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.pipeline_runs as t (reference_id, external_id, attempt, rerun_group, pipeline, number, trigger, branch, on_default_branch, commit_sha, pull_request_numbers, actor, actor_is_bot, status, outcome, provider_outcome, queued_at, started_at, finished_at, url, clocks)
      values (
        r.id, o.external_id, coalesce(o.attempt, 1),
        o.rerun_group,
        o.pipeline,
        o.number,
        o.trigger,
        o.branch,
        o.on_default_branch,
        o.commit_sha,
        o.pull_request_numbers,
        o.actor,
        case when said ? 'actor' then o.actor_is_bot end,
        o.status,
        case when said ? 'status' then o.outcome end,
        case when said ? 'status' then o.provider_outcome end,
        o.queued_at,
        o.started_at,
        case when said ? 'status' then o.finished_at end,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'rerun_group', case when said ? 'rerun_group' then clock end,
          'pipeline', case when said ? 'pipeline' then clock end,
          'number', case when said ? 'number' then clock end,
          'trigger', case when said ? 'trigger' then clock end,
          'branch', case when said ? 'branch' then clock end,
          'on_default_branch', case when said ? 'on_default_branch' then clock end,
          'commit_sha', case when said ? 'commit_sha' then clock end,
          'pull_request_numbers', case when said ? 'pull_request_numbers' then clock end,
          'actor', case when said ? 'actor' then clock end,
          'status', case when said ? 'status' then clock end,
          'url', case when said ? 'url' then clock end
        ))
      )
      on conflict (reference_id, external_id, attempt) do update set
          rerun_group = case when excluded.clocks ? 'rerun_group' then excluded.rerun_group else t.rerun_group end,
          pipeline = case when excluded.clocks ? 'pipeline' then excluded.pipeline else t.pipeline end,
          number = case when excluded.clocks ? 'number' then excluded.number else t.number end,
          trigger = case when excluded.clocks ? 'trigger' then excluded.trigger else t.trigger end,
          branch = case when excluded.clocks ? 'branch' then excluded.branch else t.branch end,
          on_default_branch = case when excluded.clocks ? 'on_default_branch' then excluded.on_default_branch else t.on_default_branch end,
          commit_sha = case when excluded.clocks ? 'commit_sha' then excluded.commit_sha else t.commit_sha end,
          pull_request_numbers = case when excluded.clocks ? 'pull_request_numbers' then excluded.pull_request_numbers else t.pull_request_numbers end,
          actor = case when excluded.clocks ? 'actor' then excluded.actor else t.actor end,
          actor_is_bot = case when excluded.clocks ? 'actor' then excluded.actor_is_bot else t.actor_is_bot end,
          status = case when excluded.clocks ? 'status' then excluded.status else t.status end,
          outcome = case when excluded.clocks ? 'status' then excluded.outcome else t.outcome end,
          provider_outcome = case when excluded.clocks ? 'status' then excluded.provider_outcome else t.provider_outcome end,
          queued_at = least(t.queued_at, excluded.queued_at),
          started_at = least(t.started_at, excluded.started_at),
          finished_at = case when excluded.clocks ? 'status' then excluded.finished_at else t.finished_at end,
          url = case when excluded.clocks ? 'url' then excluded.url else t.url end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'rerun_group') collate "C", (t.clocks ->> 'pipeline') collate "C", (t.clocks ->> 'number') collate "C", (t.clocks ->> 'trigger') collate "C", (t.clocks ->> 'branch') collate "C", (t.clocks ->> 'on_default_branch') collate "C", (t.clocks ->> 'commit_sha') collate "C", (t.clocks ->> 'pull_request_numbers') collate "C", (t.clocks ->> 'actor') collate "C", (t.clocks ->> 'status') collate "C", (t.clocks ->> 'url') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.id, o.external_id, coalesce(o.attempt, 1)) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text, attempt integer)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.id, o.external_id, coalesce(o.attempt, 1)) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text, attempt integer)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.pipeline_runs as t (reference_id, external_id, attempt, rerun_group, pipeline, number, trigger, branch, on_default_branch, commit_sha, pull_request_numbers, actor, actor_is_bot, status, outcome, provider_outcome, queued_at, started_at, finished_at, url, clocks)
    select
        r.id, o.external_id, coalesce(o.attempt, 1),
        o.rerun_group,
        o.pipeline,
        o.number,
        o.trigger,
        o.branch,
        o.on_default_branch,
        o.commit_sha,
        o.pull_request_numbers,
        o.actor,
        case when said ? 'actor' then o.actor_is_bot end,
        o.status,
        case when said ? 'status' then o.outcome end,
        case when said ? 'status' then o.provider_outcome end,
        o.queued_at,
        o.started_at,
        case when said ? 'status' then o.finished_at end,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'rerun_group', case when said ? 'rerun_group' then c.clock end,
          'pipeline', case when said ? 'pipeline' then c.clock end,
          'number', case when said ? 'number' then c.clock end,
          'trigger', case when said ? 'trigger' then c.clock end,
          'branch', case when said ? 'branch' then c.clock end,
          'on_default_branch', case when said ? 'on_default_branch' then c.clock end,
          'commit_sha', case when said ? 'commit_sha' then c.clock end,
          'pull_request_numbers', case when said ? 'pull_request_numbers' then c.clock end,
          'actor', case when said ? 'actor' then c.clock end,
          'status', case when said ? 'status' then c.clock end,
          'url', case when said ? 'url' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.pipeline_runs, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select (case said ->> 'status' when 'finished' then 3 when 'running' then 2 when 'queued' then 1 else 0 end)::text || ' ' || coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2, 3
    on conflict (reference_id, external_id, attempt) do update set
        rerun_group = case when (excluded.clocks ->> 'rerun_group') collate "C" > coalesce(t.clocks ->> 'rerun_group', '')
        or (excluded.clocks ->> 'rerun_group' = t.clocks ->> 'rerun_group' and row(coalesce('1' || excluded.rerun_group, '0') collate "C") > row(coalesce('1' || t.rerun_group, '0') collate "C")) then excluded.rerun_group else t.rerun_group end,
        pipeline = case when (excluded.clocks ->> 'pipeline') collate "C" > coalesce(t.clocks ->> 'pipeline', '')
        or (excluded.clocks ->> 'pipeline' = t.clocks ->> 'pipeline' and row(coalesce('1' || excluded.pipeline, '0') collate "C") > row(coalesce('1' || t.pipeline, '0') collate "C")) then excluded.pipeline else t.pipeline end,
        number = case when (excluded.clocks ->> 'number') collate "C" > coalesce(t.clocks ->> 'number', '')
        or (excluded.clocks ->> 'number' = t.clocks ->> 'number' and row(coalesce(excluded.number::numeric, '-infinity')) > row(coalesce(t.number::numeric, '-infinity'))) then excluded.number else t.number end,
        trigger = case when (excluded.clocks ->> 'trigger') collate "C" > coalesce(t.clocks ->> 'trigger', '')
        or (excluded.clocks ->> 'trigger' = t.clocks ->> 'trigger' and row(coalesce('1' || excluded.trigger, '0') collate "C") > row(coalesce('1' || t.trigger, '0') collate "C")) then excluded.trigger else t.trigger end,
        branch = case when (excluded.clocks ->> 'branch') collate "C" > coalesce(t.clocks ->> 'branch', '')
        or (excluded.clocks ->> 'branch' = t.clocks ->> 'branch' and row(coalesce('1' || excluded.branch, '0') collate "C") > row(coalesce('1' || t.branch, '0') collate "C")) then excluded.branch else t.branch end,
        on_default_branch = case when (excluded.clocks ->> 'on_default_branch') collate "C" > coalesce(t.clocks ->> 'on_default_branch', '')
        or (excluded.clocks ->> 'on_default_branch' = t.clocks ->> 'on_default_branch' and row(coalesce(excluded.on_default_branch::integer, -1)) > row(coalesce(t.on_default_branch::integer, -1))) then excluded.on_default_branch else t.on_default_branch end,
        commit_sha = case when (excluded.clocks ->> 'commit_sha') collate "C" > coalesce(t.clocks ->> 'commit_sha', '')
        or (excluded.clocks ->> 'commit_sha' = t.clocks ->> 'commit_sha' and row(coalesce('1' || excluded.commit_sha, '0') collate "C") > row(coalesce('1' || t.commit_sha, '0') collate "C")) then excluded.commit_sha else t.commit_sha end,
        pull_request_numbers = case when (excluded.clocks ->> 'pull_request_numbers') collate "C" > coalesce(t.clocks ->> 'pull_request_numbers', '')
        or (excluded.clocks ->> 'pull_request_numbers' = t.clocks ->> 'pull_request_numbers' and row(coalesce('1' || to_jsonb(excluded.pull_request_numbers)::text, '0') collate "C") > row(coalesce('1' || to_jsonb(t.pull_request_numbers)::text, '0') collate "C")) then excluded.pull_request_numbers else t.pull_request_numbers end,
        actor = case when (excluded.clocks ->> 'actor') collate "C" > coalesce(t.clocks ->> 'actor', '')
        or (excluded.clocks ->> 'actor' = t.clocks ->> 'actor' and row(coalesce('1' || excluded.actor, '0') collate "C", coalesce(excluded.actor_is_bot::integer, -1)) > row(coalesce('1' || t.actor, '0') collate "C", coalesce(t.actor_is_bot::integer, -1))) then excluded.actor else t.actor end,
        actor_is_bot = case when (excluded.clocks ->> 'actor') collate "C" > coalesce(t.clocks ->> 'actor', '')
        or (excluded.clocks ->> 'actor' = t.clocks ->> 'actor' and row(coalesce('1' || excluded.actor, '0') collate "C", coalesce(excluded.actor_is_bot::integer, -1)) > row(coalesce('1' || t.actor, '0') collate "C", coalesce(t.actor_is_bot::integer, -1))) then excluded.actor_is_bot else t.actor_is_bot end,
        status = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.provider_outcome, '0') collate "C", coalesce(excluded.finished_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.provider_outcome, '0') collate "C", coalesce(t.finished_at, '-infinity'))) then excluded.status else t.status end,
        outcome = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.provider_outcome, '0') collate "C", coalesce(excluded.finished_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.provider_outcome, '0') collate "C", coalesce(t.finished_at, '-infinity'))) then excluded.outcome else t.outcome end,
        provider_outcome = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.provider_outcome, '0') collate "C", coalesce(excluded.finished_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.provider_outcome, '0') collate "C", coalesce(t.finished_at, '-infinity'))) then excluded.provider_outcome else t.provider_outcome end,
        queued_at = least(t.queued_at, excluded.queued_at),
        started_at = least(t.started_at, excluded.started_at),
        finished_at = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.provider_outcome, '0') collate "C", coalesce(excluded.finished_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.provider_outcome, '0') collate "C", coalesce(t.finished_at, '-infinity'))) then excluded.finished_at else t.finished_at end,
        url = case when (excluded.clocks ->> 'url') collate "C" > coalesce(t.clocks ->> 'url', '')
        or (excluded.clocks ->> 'url' = t.clocks ->> 'url' and row(coalesce('1' || excluded.url, '0') collate "C") > row(coalesce('1' || t.url, '0') collate "C")) then excluded.url else t.url end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'rerun_group', greatest((excluded.clocks ->> 'rerun_group') collate "C", t.clocks ->> 'rerun_group'),
          'pipeline', greatest((excluded.clocks ->> 'pipeline') collate "C", t.clocks ->> 'pipeline'),
          'number', greatest((excluded.clocks ->> 'number') collate "C", t.clocks ->> 'number'),
          'trigger', greatest((excluded.clocks ->> 'trigger') collate "C", t.clocks ->> 'trigger'),
          'branch', greatest((excluded.clocks ->> 'branch') collate "C", t.clocks ->> 'branch'),
          'on_default_branch', greatest((excluded.clocks ->> 'on_default_branch') collate "C", t.clocks ->> 'on_default_branch'),
          'commit_sha', greatest((excluded.clocks ->> 'commit_sha') collate "C", t.clocks ->> 'commit_sha'),
          'pull_request_numbers', greatest((excluded.clocks ->> 'pull_request_numbers') collate "C", t.clocks ->> 'pull_request_numbers'),
          'actor', greatest((excluded.clocks ->> 'actor') collate "C", t.clocks ->> 'actor'),
          'status', greatest((excluded.clocks ->> 'status') collate "C", t.clocks ->> 'status'),
          'url', greatest((excluded.clocks ->> 'url') collate "C", t.clocks ->> 'url')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.rerun_group, excluded.pipeline, excluded.number, excluded.trigger, excluded.branch, excluded.on_default_branch, excluded.commit_sha, excluded.pull_request_numbers, excluded.actor, excluded.actor_is_bot, excluded.status, excluded.outcome, excluded.provider_outcome, excluded.queued_at, excluded.started_at, excluded.finished_at, excluded.url) is distinct from (t.rerun_group, t.pipeline, t.number, t.trigger, t.branch, t.on_default_branch, t.commit_sha, t.pull_request_numbers, t.actor, t.actor_is_bot, t.status, t.outcome, t.provider_outcome, t.queued_at, t.started_at, t.finished_at, t.url);
  end loop;
end
$function$;
comment on function metrics.fold_pipeline_runs(observations jsonb) is 'Folds a list of observations into metrics.pipeline_runs. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_pull_requests(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_pull_requests(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.pull_requests := jsonb_populate_record(null::metrics.pull_requests, said);
      clock constant text := coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (case said ->> 'state' when 'merged' then 3 when 'closed' then 2 when 'open' then 1 else 0 end)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.pull_requests as t (reference_id, number, title, author, author_is_bot, head_branch, base_branch, is_fork, head_sha, merge_sha, state, is_draft, labels, additions, deletions, changed_files, opened_at, ready_times, merged_at, closed_at, url, clocks)
      values (
        r.id, o.number,
        o.title,
        o.author,
        case when said ? 'author' then o.author_is_bot end,
        o.head_branch,
        o.base_branch,
        o.is_fork,
        o.head_sha,
        case when said ? 'state' then o.merge_sha end,
        o.state,
        o.is_draft,
        o.labels,
        o.additions,
        case when said ? 'additions' then o.deletions end,
        case when said ? 'additions' then o.changed_files end,
        o.opened_at,
        (select array_agg(distinct u order by u) from unnest(o.ready_times) as u),
        case when said ? 'state' then o.merged_at end,
        case when said ? 'state' then o.closed_at end,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'title', case when said ? 'title' then clock end,
          'author', case when said ? 'author' then clock end,
          'head_branch', case when said ? 'head_branch' then clock end,
          'base_branch', case when said ? 'base_branch' then clock end,
          'is_fork', case when said ? 'is_fork' then clock end,
          'head_sha', case when said ? 'head_sha' then clock end,
          'state', case when said ? 'state' then clock end,
          'is_draft', case when said ? 'is_draft' then clock end,
          'labels', case when said ? 'labels' then clock end,
          'additions', case when said ? 'additions' then clock end,
          'url', case when said ? 'url' then clock end
        ))
      )
      on conflict (reference_id, number) do update set
          title = case when excluded.clocks ? 'title' then excluded.title else t.title end,
          author = case when excluded.clocks ? 'author' then excluded.author else t.author end,
          author_is_bot = case when excluded.clocks ? 'author' then excluded.author_is_bot else t.author_is_bot end,
          head_branch = case when excluded.clocks ? 'head_branch' then excluded.head_branch else t.head_branch end,
          base_branch = case when excluded.clocks ? 'base_branch' then excluded.base_branch else t.base_branch end,
          is_fork = case when excluded.clocks ? 'is_fork' then excluded.is_fork else t.is_fork end,
          head_sha = case when excluded.clocks ? 'head_sha' then excluded.head_sha else t.head_sha end,
          merge_sha = case when excluded.clocks ? 'state' then excluded.merge_sha else t.merge_sha end,
          state = case when excluded.clocks ? 'state' then excluded.state else t.state end,
          is_draft = case when excluded.clocks ? 'is_draft' then excluded.is_draft else t.is_draft end,
          labels = case when excluded.clocks ? 'labels' then excluded.labels else t.labels end,
          additions = case when excluded.clocks ? 'additions' then excluded.additions else t.additions end,
          deletions = case when excluded.clocks ? 'additions' then excluded.deletions else t.deletions end,
          changed_files = case when excluded.clocks ? 'additions' then excluded.changed_files else t.changed_files end,
          opened_at = least(t.opened_at, excluded.opened_at),
          ready_times = (select array_agg(distinct u order by u) from unnest(coalesce(t.ready_times, '{}') || coalesce(excluded.ready_times, '{}')) as u),
          merged_at = case when excluded.clocks ? 'state' then excluded.merged_at else t.merged_at end,
          closed_at = case when excluded.clocks ? 'state' then excluded.closed_at else t.closed_at end,
          url = case when excluded.clocks ? 'url' then excluded.url else t.url end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'title') collate "C", (t.clocks ->> 'author') collate "C", (t.clocks ->> 'head_branch') collate "C", (t.clocks ->> 'base_branch') collate "C", (t.clocks ->> 'is_fork') collate "C", (t.clocks ->> 'head_sha') collate "C", (t.clocks ->> 'state') collate "C", (t.clocks ->> 'is_draft') collate "C", (t.clocks ->> 'labels') collate "C", (t.clocks ->> 'additions') collate "C", (t.clocks ->> 'url') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.id, o.number) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (number integer)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.id, o.number) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (number integer)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.pull_requests as t (reference_id, number, title, author, author_is_bot, head_branch, base_branch, is_fork, head_sha, merge_sha, state, is_draft, labels, additions, deletions, changed_files, opened_at, ready_times, merged_at, closed_at, url, clocks)
    select
        r.id, o.number,
        o.title,
        o.author,
        case when said ? 'author' then o.author_is_bot end,
        o.head_branch,
        o.base_branch,
        o.is_fork,
        o.head_sha,
        case when said ? 'state' then o.merge_sha end,
        o.state,
        o.is_draft,
        o.labels,
        o.additions,
        case when said ? 'additions' then o.deletions end,
        case when said ? 'additions' then o.changed_files end,
        o.opened_at,
        (select array_agg(distinct u order by u) from unnest(o.ready_times) as u),
        case when said ? 'state' then o.merged_at end,
        case when said ? 'state' then o.closed_at end,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'title', case when said ? 'title' then c.clock end,
          'author', case when said ? 'author' then c.clock end,
          'head_branch', case when said ? 'head_branch' then c.clock end,
          'base_branch', case when said ? 'base_branch' then c.clock end,
          'is_fork', case when said ? 'is_fork' then c.clock end,
          'head_sha', case when said ? 'head_sha' then c.clock end,
          'state', case when said ? 'state' then c.clock end,
          'is_draft', case when said ? 'is_draft' then c.clock end,
          'labels', case when said ? 'labels' then c.clock end,
          'additions', case when said ? 'additions' then c.clock end,
          'url', case when said ? 'url' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.pull_requests, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (case said ->> 'state' when 'merged' then 3 when 'closed' then 2 when 'open' then 1 else 0 end)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2
    on conflict (reference_id, number) do update set
        title = case when (excluded.clocks ->> 'title') collate "C" > coalesce(t.clocks ->> 'title', '')
        or (excluded.clocks ->> 'title' = t.clocks ->> 'title' and row(coalesce('1' || excluded.title, '0') collate "C") > row(coalesce('1' || t.title, '0') collate "C")) then excluded.title else t.title end,
        author = case when (excluded.clocks ->> 'author') collate "C" > coalesce(t.clocks ->> 'author', '')
        or (excluded.clocks ->> 'author' = t.clocks ->> 'author' and row(coalesce('1' || excluded.author, '0') collate "C", coalesce(excluded.author_is_bot::integer, -1)) > row(coalesce('1' || t.author, '0') collate "C", coalesce(t.author_is_bot::integer, -1))) then excluded.author else t.author end,
        author_is_bot = case when (excluded.clocks ->> 'author') collate "C" > coalesce(t.clocks ->> 'author', '')
        or (excluded.clocks ->> 'author' = t.clocks ->> 'author' and row(coalesce('1' || excluded.author, '0') collate "C", coalesce(excluded.author_is_bot::integer, -1)) > row(coalesce('1' || t.author, '0') collate "C", coalesce(t.author_is_bot::integer, -1))) then excluded.author_is_bot else t.author_is_bot end,
        head_branch = case when (excluded.clocks ->> 'head_branch') collate "C" > coalesce(t.clocks ->> 'head_branch', '')
        or (excluded.clocks ->> 'head_branch' = t.clocks ->> 'head_branch' and row(coalesce('1' || excluded.head_branch, '0') collate "C") > row(coalesce('1' || t.head_branch, '0') collate "C")) then excluded.head_branch else t.head_branch end,
        base_branch = case when (excluded.clocks ->> 'base_branch') collate "C" > coalesce(t.clocks ->> 'base_branch', '')
        or (excluded.clocks ->> 'base_branch' = t.clocks ->> 'base_branch' and row(coalesce('1' || excluded.base_branch, '0') collate "C") > row(coalesce('1' || t.base_branch, '0') collate "C")) then excluded.base_branch else t.base_branch end,
        is_fork = case when (excluded.clocks ->> 'is_fork') collate "C" > coalesce(t.clocks ->> 'is_fork', '')
        or (excluded.clocks ->> 'is_fork' = t.clocks ->> 'is_fork' and row(coalesce(excluded.is_fork::integer, -1)) > row(coalesce(t.is_fork::integer, -1))) then excluded.is_fork else t.is_fork end,
        head_sha = case when (excluded.clocks ->> 'head_sha') collate "C" > coalesce(t.clocks ->> 'head_sha', '')
        or (excluded.clocks ->> 'head_sha' = t.clocks ->> 'head_sha' and row(coalesce('1' || excluded.head_sha, '0') collate "C") > row(coalesce('1' || t.head_sha, '0') collate "C")) then excluded.head_sha else t.head_sha end,
        merge_sha = case when (excluded.clocks ->> 'state') collate "C" > coalesce(t.clocks ->> 'state', '')
        or (excluded.clocks ->> 'state' = t.clocks ->> 'state' and row(coalesce('1' || excluded.state, '0') collate "C", coalesce('1' || excluded.merge_sha, '0') collate "C", coalesce(excluded.merged_at, '-infinity'), coalesce(excluded.closed_at, '-infinity')) > row(coalesce('1' || t.state, '0') collate "C", coalesce('1' || t.merge_sha, '0') collate "C", coalesce(t.merged_at, '-infinity'), coalesce(t.closed_at, '-infinity'))) then excluded.merge_sha else t.merge_sha end,
        state = case when (excluded.clocks ->> 'state') collate "C" > coalesce(t.clocks ->> 'state', '')
        or (excluded.clocks ->> 'state' = t.clocks ->> 'state' and row(coalesce('1' || excluded.state, '0') collate "C", coalesce('1' || excluded.merge_sha, '0') collate "C", coalesce(excluded.merged_at, '-infinity'), coalesce(excluded.closed_at, '-infinity')) > row(coalesce('1' || t.state, '0') collate "C", coalesce('1' || t.merge_sha, '0') collate "C", coalesce(t.merged_at, '-infinity'), coalesce(t.closed_at, '-infinity'))) then excluded.state else t.state end,
        is_draft = case when (excluded.clocks ->> 'is_draft') collate "C" > coalesce(t.clocks ->> 'is_draft', '')
        or (excluded.clocks ->> 'is_draft' = t.clocks ->> 'is_draft' and row(coalesce(excluded.is_draft::integer, -1)) > row(coalesce(t.is_draft::integer, -1))) then excluded.is_draft else t.is_draft end,
        labels = case when (excluded.clocks ->> 'labels') collate "C" > coalesce(t.clocks ->> 'labels', '')
        or (excluded.clocks ->> 'labels' = t.clocks ->> 'labels' and row(coalesce('1' || to_jsonb(excluded.labels)::text, '0') collate "C") > row(coalesce('1' || to_jsonb(t.labels)::text, '0') collate "C")) then excluded.labels else t.labels end,
        additions = case when (excluded.clocks ->> 'additions') collate "C" > coalesce(t.clocks ->> 'additions', '')
        or (excluded.clocks ->> 'additions' = t.clocks ->> 'additions' and row(coalesce(excluded.additions::numeric, '-infinity'), coalesce(excluded.deletions::numeric, '-infinity'), coalesce(excluded.changed_files::numeric, '-infinity')) > row(coalesce(t.additions::numeric, '-infinity'), coalesce(t.deletions::numeric, '-infinity'), coalesce(t.changed_files::numeric, '-infinity'))) then excluded.additions else t.additions end,
        deletions = case when (excluded.clocks ->> 'additions') collate "C" > coalesce(t.clocks ->> 'additions', '')
        or (excluded.clocks ->> 'additions' = t.clocks ->> 'additions' and row(coalesce(excluded.additions::numeric, '-infinity'), coalesce(excluded.deletions::numeric, '-infinity'), coalesce(excluded.changed_files::numeric, '-infinity')) > row(coalesce(t.additions::numeric, '-infinity'), coalesce(t.deletions::numeric, '-infinity'), coalesce(t.changed_files::numeric, '-infinity'))) then excluded.deletions else t.deletions end,
        changed_files = case when (excluded.clocks ->> 'additions') collate "C" > coalesce(t.clocks ->> 'additions', '')
        or (excluded.clocks ->> 'additions' = t.clocks ->> 'additions' and row(coalesce(excluded.additions::numeric, '-infinity'), coalesce(excluded.deletions::numeric, '-infinity'), coalesce(excluded.changed_files::numeric, '-infinity')) > row(coalesce(t.additions::numeric, '-infinity'), coalesce(t.deletions::numeric, '-infinity'), coalesce(t.changed_files::numeric, '-infinity'))) then excluded.changed_files else t.changed_files end,
        opened_at = least(t.opened_at, excluded.opened_at),
        ready_times = (select array_agg(distinct u order by u) from unnest(coalesce(t.ready_times, '{}') || coalesce(excluded.ready_times, '{}')) as u),
        merged_at = case when (excluded.clocks ->> 'state') collate "C" > coalesce(t.clocks ->> 'state', '')
        or (excluded.clocks ->> 'state' = t.clocks ->> 'state' and row(coalesce('1' || excluded.state, '0') collate "C", coalesce('1' || excluded.merge_sha, '0') collate "C", coalesce(excluded.merged_at, '-infinity'), coalesce(excluded.closed_at, '-infinity')) > row(coalesce('1' || t.state, '0') collate "C", coalesce('1' || t.merge_sha, '0') collate "C", coalesce(t.merged_at, '-infinity'), coalesce(t.closed_at, '-infinity'))) then excluded.merged_at else t.merged_at end,
        closed_at = case when (excluded.clocks ->> 'state') collate "C" > coalesce(t.clocks ->> 'state', '')
        or (excluded.clocks ->> 'state' = t.clocks ->> 'state' and row(coalesce('1' || excluded.state, '0') collate "C", coalesce('1' || excluded.merge_sha, '0') collate "C", coalesce(excluded.merged_at, '-infinity'), coalesce(excluded.closed_at, '-infinity')) > row(coalesce('1' || t.state, '0') collate "C", coalesce('1' || t.merge_sha, '0') collate "C", coalesce(t.merged_at, '-infinity'), coalesce(t.closed_at, '-infinity'))) then excluded.closed_at else t.closed_at end,
        url = case when (excluded.clocks ->> 'url') collate "C" > coalesce(t.clocks ->> 'url', '')
        or (excluded.clocks ->> 'url' = t.clocks ->> 'url' and row(coalesce('1' || excluded.url, '0') collate "C") > row(coalesce('1' || t.url, '0') collate "C")) then excluded.url else t.url end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'title', greatest((excluded.clocks ->> 'title') collate "C", t.clocks ->> 'title'),
          'author', greatest((excluded.clocks ->> 'author') collate "C", t.clocks ->> 'author'),
          'head_branch', greatest((excluded.clocks ->> 'head_branch') collate "C", t.clocks ->> 'head_branch'),
          'base_branch', greatest((excluded.clocks ->> 'base_branch') collate "C", t.clocks ->> 'base_branch'),
          'is_fork', greatest((excluded.clocks ->> 'is_fork') collate "C", t.clocks ->> 'is_fork'),
          'head_sha', greatest((excluded.clocks ->> 'head_sha') collate "C", t.clocks ->> 'head_sha'),
          'state', greatest((excluded.clocks ->> 'state') collate "C", t.clocks ->> 'state'),
          'is_draft', greatest((excluded.clocks ->> 'is_draft') collate "C", t.clocks ->> 'is_draft'),
          'labels', greatest((excluded.clocks ->> 'labels') collate "C", t.clocks ->> 'labels'),
          'additions', greatest((excluded.clocks ->> 'additions') collate "C", t.clocks ->> 'additions'),
          'url', greatest((excluded.clocks ->> 'url') collate "C", t.clocks ->> 'url')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.title, excluded.author, excluded.author_is_bot, excluded.head_branch, excluded.base_branch, excluded.is_fork, excluded.head_sha, excluded.merge_sha, excluded.state, excluded.is_draft, excluded.labels, excluded.additions, excluded.deletions, excluded.changed_files, excluded.opened_at, excluded.ready_times, excluded.merged_at, excluded.closed_at, excluded.url) is distinct from (t.title, t.author, t.author_is_bot, t.head_branch, t.base_branch, t.is_fork, t.head_sha, t.merge_sha, t.state, t.is_draft, t.labels, t.additions, t.deletions, t.changed_files, t.opened_at, t.ready_times, t.merged_at, t.closed_at, t.url);
  end loop;
end
$function$;
comment on function metrics.fold_pull_requests(observations jsonb) is 'Folds a list of observations into metrics.pull_requests. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_pushes(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_pushes(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.pushes := jsonb_populate_record(null::metrics.pushes, said);
      clock constant text := coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.pushes as t (reference_id, ref, before, after, pushed_at, forced, created, deleted, on_default_branch, commits, truncated, pusher, pusher_is_bot, clocks)
      values (
        r.id, o.ref, o.before, o.after, o.pushed_at,
        o.forced,
        o.created,
        o.deleted,
        o.on_default_branch,
        o.commits,
        case when said ? 'commits' then o.truncated end,
        o.pusher,
        case when said ? 'pusher' then o.pusher_is_bot end,
        jsonb_strip_nulls(jsonb_build_object(
          'forced', case when said ? 'forced' then clock end,
          'created', case when said ? 'created' then clock end,
          'deleted', case when said ? 'deleted' then clock end,
          'on_default_branch', case when said ? 'on_default_branch' then clock end,
          'commits', case when said ? 'commits' then clock end,
          'pusher', case when said ? 'pusher' then clock end
        ))
      )
      on conflict (reference_id, ref, before, after, pushed_at) do update set
          forced = case when excluded.clocks ? 'forced' then excluded.forced else t.forced end,
          created = case when excluded.clocks ? 'created' then excluded.created else t.created end,
          deleted = case when excluded.clocks ? 'deleted' then excluded.deleted else t.deleted end,
          on_default_branch = case when excluded.clocks ? 'on_default_branch' then excluded.on_default_branch else t.on_default_branch end,
          commits = case when excluded.clocks ? 'commits' then excluded.commits else t.commits end,
          truncated = case when excluded.clocks ? 'commits' then excluded.truncated else t.truncated end,
          pusher = case when excluded.clocks ? 'pusher' then excluded.pusher else t.pusher end,
          pusher_is_bot = case when excluded.clocks ? 'pusher' then excluded.pusher_is_bot else t.pusher_is_bot end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'forced') collate "C", (t.clocks ->> 'created') collate "C", (t.clocks ->> 'deleted') collate "C", (t.clocks ->> 'on_default_branch') collate "C", (t.clocks ->> 'commits') collate "C", (t.clocks ->> 'pusher') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.id, o.ref, o.before, o.after, o.pushed_at) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (ref text, before text, after text, pushed_at timestamp with time zone)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.id, o.ref, o.before, o.after, o.pushed_at) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (ref text, before text, after text, pushed_at timestamp with time zone)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.pushes as t (reference_id, ref, before, after, pushed_at, forced, created, deleted, on_default_branch, commits, truncated, pusher, pusher_is_bot, clocks)
    select
        r.id, o.ref, o.before, o.after, o.pushed_at,
        o.forced,
        o.created,
        o.deleted,
        o.on_default_branch,
        o.commits,
        case when said ? 'commits' then o.truncated end,
        o.pusher,
        case when said ? 'pusher' then o.pusher_is_bot end,
        jsonb_strip_nulls(jsonb_build_object(
          'forced', case when said ? 'forced' then c.clock end,
          'created', case when said ? 'created' then c.clock end,
          'deleted', case when said ? 'deleted' then c.clock end,
          'on_default_branch', case when said ? 'on_default_branch' then c.clock end,
          'commits', case when said ? 'commits' then c.clock end,
          'pusher', case when said ? 'pusher' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.pushes, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2, 3, 4, 5
    on conflict (reference_id, ref, before, after, pushed_at) do update set
        forced = case when (excluded.clocks ->> 'forced') collate "C" > coalesce(t.clocks ->> 'forced', '')
        or (excluded.clocks ->> 'forced' = t.clocks ->> 'forced' and row(coalesce(excluded.forced::integer, -1)) > row(coalesce(t.forced::integer, -1))) then excluded.forced else t.forced end,
        created = case when (excluded.clocks ->> 'created') collate "C" > coalesce(t.clocks ->> 'created', '')
        or (excluded.clocks ->> 'created' = t.clocks ->> 'created' and row(coalesce(excluded.created::integer, -1)) > row(coalesce(t.created::integer, -1))) then excluded.created else t.created end,
        deleted = case when (excluded.clocks ->> 'deleted') collate "C" > coalesce(t.clocks ->> 'deleted', '')
        or (excluded.clocks ->> 'deleted' = t.clocks ->> 'deleted' and row(coalesce(excluded.deleted::integer, -1)) > row(coalesce(t.deleted::integer, -1))) then excluded.deleted else t.deleted end,
        on_default_branch = case when (excluded.clocks ->> 'on_default_branch') collate "C" > coalesce(t.clocks ->> 'on_default_branch', '')
        or (excluded.clocks ->> 'on_default_branch' = t.clocks ->> 'on_default_branch' and row(coalesce(excluded.on_default_branch::integer, -1)) > row(coalesce(t.on_default_branch::integer, -1))) then excluded.on_default_branch else t.on_default_branch end,
        commits = case when (excluded.clocks ->> 'commits') collate "C" > coalesce(t.clocks ->> 'commits', '')
        or (excluded.clocks ->> 'commits' = t.clocks ->> 'commits' and row(coalesce('1' || to_jsonb(excluded.commits)::text, '0') collate "C", coalesce(excluded.truncated::integer, -1)) > row(coalesce('1' || to_jsonb(t.commits)::text, '0') collate "C", coalesce(t.truncated::integer, -1))) then excluded.commits else t.commits end,
        truncated = case when (excluded.clocks ->> 'commits') collate "C" > coalesce(t.clocks ->> 'commits', '')
        or (excluded.clocks ->> 'commits' = t.clocks ->> 'commits' and row(coalesce('1' || to_jsonb(excluded.commits)::text, '0') collate "C", coalesce(excluded.truncated::integer, -1)) > row(coalesce('1' || to_jsonb(t.commits)::text, '0') collate "C", coalesce(t.truncated::integer, -1))) then excluded.truncated else t.truncated end,
        pusher = case when (excluded.clocks ->> 'pusher') collate "C" > coalesce(t.clocks ->> 'pusher', '')
        or (excluded.clocks ->> 'pusher' = t.clocks ->> 'pusher' and row(coalesce('1' || excluded.pusher, '0') collate "C", coalesce(excluded.pusher_is_bot::integer, -1)) > row(coalesce('1' || t.pusher, '0') collate "C", coalesce(t.pusher_is_bot::integer, -1))) then excluded.pusher else t.pusher end,
        pusher_is_bot = case when (excluded.clocks ->> 'pusher') collate "C" > coalesce(t.clocks ->> 'pusher', '')
        or (excluded.clocks ->> 'pusher' = t.clocks ->> 'pusher' and row(coalesce('1' || excluded.pusher, '0') collate "C", coalesce(excluded.pusher_is_bot::integer, -1)) > row(coalesce('1' || t.pusher, '0') collate "C", coalesce(t.pusher_is_bot::integer, -1))) then excluded.pusher_is_bot else t.pusher_is_bot end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'forced', greatest((excluded.clocks ->> 'forced') collate "C", t.clocks ->> 'forced'),
          'created', greatest((excluded.clocks ->> 'created') collate "C", t.clocks ->> 'created'),
          'deleted', greatest((excluded.clocks ->> 'deleted') collate "C", t.clocks ->> 'deleted'),
          'on_default_branch', greatest((excluded.clocks ->> 'on_default_branch') collate "C", t.clocks ->> 'on_default_branch'),
          'commits', greatest((excluded.clocks ->> 'commits') collate "C", t.clocks ->> 'commits'),
          'pusher', greatest((excluded.clocks ->> 'pusher') collate "C", t.clocks ->> 'pusher')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.forced, excluded.created, excluded.deleted, excluded.on_default_branch, excluded.commits, excluded.truncated, excluded.pusher, excluded.pusher_is_bot) is distinct from (t.forced, t.created, t.deleted, t.on_default_branch, t.commits, t.truncated, t.pusher, t.pusher_is_bot);
  end loop;
end
$function$;
comment on function metrics.fold_pushes(observations jsonb) is 'Folds a list of observations into metrics.pushes. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_releases(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_releases(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.releases := jsonb_populate_record(null::metrics.releases, said);
      clock constant text := coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.releases as t (reference_id, external_id, tag, commit_sha, name, is_draft, is_prerelease, is_withdrawn, created_at, published_at, url, clocks)
      values (
        r.id, o.external_id,
        o.tag,
        o.commit_sha,
        o.name,
        o.is_draft,
        o.is_prerelease,
        o.is_withdrawn,
        o.created_at,
        o.published_at,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'tag', case when said ? 'tag' then clock end,
          'commit_sha', case when said ? 'commit_sha' then clock end,
          'name', case when said ? 'name' then clock end,
          'is_draft', case when said ? 'is_draft' then clock end,
          'is_prerelease', case when said ? 'is_prerelease' then clock end,
          'is_withdrawn', case when said ? 'is_withdrawn' then clock end,
          'published_at', case when said ? 'published_at' then clock end,
          'url', case when said ? 'url' then clock end
        ))
      )
      on conflict (reference_id, external_id) do update set
          tag = case when excluded.clocks ? 'tag' then excluded.tag else t.tag end,
          commit_sha = case when excluded.clocks ? 'commit_sha' then excluded.commit_sha else t.commit_sha end,
          name = case when excluded.clocks ? 'name' then excluded.name else t.name end,
          is_draft = case when excluded.clocks ? 'is_draft' then excluded.is_draft else t.is_draft end,
          is_prerelease = case when excluded.clocks ? 'is_prerelease' then excluded.is_prerelease else t.is_prerelease end,
          is_withdrawn = case when excluded.clocks ? 'is_withdrawn' then excluded.is_withdrawn else t.is_withdrawn end,
          created_at = least(t.created_at, excluded.created_at),
          published_at = case when excluded.clocks ? 'published_at' then excluded.published_at else t.published_at end,
          url = case when excluded.clocks ? 'url' then excluded.url else t.url end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'tag') collate "C", (t.clocks ->> 'commit_sha') collate "C", (t.clocks ->> 'name') collate "C", (t.clocks ->> 'is_draft') collate "C", (t.clocks ->> 'is_prerelease') collate "C", (t.clocks ->> 'is_withdrawn') collate "C", (t.clocks ->> 'published_at') collate "C", (t.clocks ->> 'url') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.id, o.external_id) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.id, o.external_id) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.releases as t (reference_id, external_id, tag, commit_sha, name, is_draft, is_prerelease, is_withdrawn, created_at, published_at, url, clocks)
    select
        r.id, o.external_id,
        o.tag,
        o.commit_sha,
        o.name,
        o.is_draft,
        o.is_prerelease,
        o.is_withdrawn,
        o.created_at,
        o.published_at,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'tag', case when said ? 'tag' then c.clock end,
          'commit_sha', case when said ? 'commit_sha' then c.clock end,
          'name', case when said ? 'name' then c.clock end,
          'is_draft', case when said ? 'is_draft' then c.clock end,
          'is_prerelease', case when said ? 'is_prerelease' then c.clock end,
          'is_withdrawn', case when said ? 'is_withdrawn' then c.clock end,
          'published_at', case when said ? 'published_at' then c.clock end,
          'url', case when said ? 'url' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.releases, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2
    on conflict (reference_id, external_id) do update set
        tag = case when (excluded.clocks ->> 'tag') collate "C" > coalesce(t.clocks ->> 'tag', '')
        or (excluded.clocks ->> 'tag' = t.clocks ->> 'tag' and row(coalesce('1' || excluded.tag, '0') collate "C") > row(coalesce('1' || t.tag, '0') collate "C")) then excluded.tag else t.tag end,
        commit_sha = case when (excluded.clocks ->> 'commit_sha') collate "C" > coalesce(t.clocks ->> 'commit_sha', '')
        or (excluded.clocks ->> 'commit_sha' = t.clocks ->> 'commit_sha' and row(coalesce('1' || excluded.commit_sha, '0') collate "C") > row(coalesce('1' || t.commit_sha, '0') collate "C")) then excluded.commit_sha else t.commit_sha end,
        name = case when (excluded.clocks ->> 'name') collate "C" > coalesce(t.clocks ->> 'name', '')
        or (excluded.clocks ->> 'name' = t.clocks ->> 'name' and row(coalesce('1' || excluded.name, '0') collate "C") > row(coalesce('1' || t.name, '0') collate "C")) then excluded.name else t.name end,
        is_draft = case when (excluded.clocks ->> 'is_draft') collate "C" > coalesce(t.clocks ->> 'is_draft', '')
        or (excluded.clocks ->> 'is_draft' = t.clocks ->> 'is_draft' and row(coalesce(excluded.is_draft::integer, -1)) > row(coalesce(t.is_draft::integer, -1))) then excluded.is_draft else t.is_draft end,
        is_prerelease = case when (excluded.clocks ->> 'is_prerelease') collate "C" > coalesce(t.clocks ->> 'is_prerelease', '')
        or (excluded.clocks ->> 'is_prerelease' = t.clocks ->> 'is_prerelease' and row(coalesce(excluded.is_prerelease::integer, -1)) > row(coalesce(t.is_prerelease::integer, -1))) then excluded.is_prerelease else t.is_prerelease end,
        is_withdrawn = case when (excluded.clocks ->> 'is_withdrawn') collate "C" > coalesce(t.clocks ->> 'is_withdrawn', '')
        or (excluded.clocks ->> 'is_withdrawn' = t.clocks ->> 'is_withdrawn' and row(coalesce(excluded.is_withdrawn::integer, -1)) > row(coalesce(t.is_withdrawn::integer, -1))) then excluded.is_withdrawn else t.is_withdrawn end,
        created_at = least(t.created_at, excluded.created_at),
        published_at = case when (excluded.clocks ->> 'published_at') collate "C" > coalesce(t.clocks ->> 'published_at', '')
        or (excluded.clocks ->> 'published_at' = t.clocks ->> 'published_at' and row(coalesce(excluded.published_at, '-infinity')) > row(coalesce(t.published_at, '-infinity'))) then excluded.published_at else t.published_at end,
        url = case when (excluded.clocks ->> 'url') collate "C" > coalesce(t.clocks ->> 'url', '')
        or (excluded.clocks ->> 'url' = t.clocks ->> 'url' and row(coalesce('1' || excluded.url, '0') collate "C") > row(coalesce('1' || t.url, '0') collate "C")) then excluded.url else t.url end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'tag', greatest((excluded.clocks ->> 'tag') collate "C", t.clocks ->> 'tag'),
          'commit_sha', greatest((excluded.clocks ->> 'commit_sha') collate "C", t.clocks ->> 'commit_sha'),
          'name', greatest((excluded.clocks ->> 'name') collate "C", t.clocks ->> 'name'),
          'is_draft', greatest((excluded.clocks ->> 'is_draft') collate "C", t.clocks ->> 'is_draft'),
          'is_prerelease', greatest((excluded.clocks ->> 'is_prerelease') collate "C", t.clocks ->> 'is_prerelease'),
          'is_withdrawn', greatest((excluded.clocks ->> 'is_withdrawn') collate "C", t.clocks ->> 'is_withdrawn'),
          'published_at', greatest((excluded.clocks ->> 'published_at') collate "C", t.clocks ->> 'published_at'),
          'url', greatest((excluded.clocks ->> 'url') collate "C", t.clocks ->> 'url')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.tag, excluded.commit_sha, excluded.name, excluded.is_draft, excluded.is_prerelease, excluded.is_withdrawn, excluded.created_at, excluded.published_at, excluded.url) is distinct from (t.tag, t.commit_sha, t.name, t.is_draft, t.is_prerelease, t.is_withdrawn, t.created_at, t.published_at, t.url);
  end loop;
end
$function$;
comment on function metrics.fold_releases(observations jsonb) is 'Folds a list of observations into metrics.releases. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_repositories(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_repositories(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.repository_id) as n
      from jsonb_array_elements(observations) as e (said)
        
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.repository_id) as n
        from jsonb_array_elements(observations) as e (said)
        
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    update metrics.repositories as t
    set
        full_name = case when (excluded.clocks ->> 'full_name') collate "C" > coalesce(t.clocks ->> 'full_name', '')
        or (excluded.clocks ->> 'full_name' = t.clocks ->> 'full_name' and row(coalesce('1' || excluded.full_name, '0') collate "C") > row(coalesce('1' || t.full_name, '0') collate "C")) then excluded.full_name else t.full_name end,
        default_branch = case when (excluded.clocks ->> 'default_branch') collate "C" > coalesce(t.clocks ->> 'default_branch', '')
        or (excluded.clocks ->> 'default_branch' = t.clocks ->> 'default_branch' and row(coalesce('1' || excluded.default_branch, '0') collate "C") > row(coalesce('1' || t.default_branch, '0') collate "C")) then excluded.default_branch else t.default_branch end,
        url = case when (excluded.clocks ->> 'url') collate "C" > coalesce(t.clocks ->> 'url', '')
        or (excluded.clocks ->> 'url' = t.clocks ->> 'url' and row(coalesce('1' || excluded.url, '0') collate "C") > row(coalesce('1' || t.url, '0') collate "C")) then excluded.url else t.url end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'full_name', greatest((excluded.clocks ->> 'full_name') collate "C", t.clocks ->> 'full_name'),
          'default_branch', greatest((excluded.clocks ->> 'default_branch') collate "C", t.clocks ->> 'default_branch'),
          'url', greatest((excluded.clocks ->> 'url') collate "C", t.clocks ->> 'url')
        )),
        updated_at = now()
    from (
      select
        r.repository_id as id,
        case when said ? 'full_name' then o.full_name end as full_name,
        case when said ? 'default_branch' then o.default_branch end as default_branch,
        case when said ? 'url' then o.url end as url,
        jsonb_strip_nulls(jsonb_build_object(
          'full_name', case when said ? 'full_name' then c.clock end,
          'default_branch', case when said ? 'default_branch' then c.clock end,
          'url', case when said ? 'url' then c.clock end
        )) as clocks
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.repositories, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    ) as excluded
    where t.id = excluded.id
      and (
        ((excluded.clocks ->> 'full_name') collate "C" > coalesce(t.clocks ->> 'full_name', '')
        or (excluded.clocks ->> 'full_name' = t.clocks ->> 'full_name' and row(coalesce('1' || excluded.full_name, '0') collate "C") > row(coalesce('1' || t.full_name, '0') collate "C")))
      or ((excluded.clocks ->> 'default_branch') collate "C" > coalesce(t.clocks ->> 'default_branch', '')
        or (excluded.clocks ->> 'default_branch' = t.clocks ->> 'default_branch' and row(coalesce('1' || excluded.default_branch, '0') collate "C") > row(coalesce('1' || t.default_branch, '0') collate "C")))
      or ((excluded.clocks ->> 'url') collate "C" > coalesce(t.clocks ->> 'url', '')
        or (excluded.clocks ->> 'url' = t.clocks ->> 'url' and row(coalesce('1' || excluded.url, '0') collate "C") > row(coalesce('1' || t.url, '0') collate "C")))
      );
  end loop;
end
$function$;
comment on function metrics.fold_repositories(observations jsonb) is 'Folds a list of observations into metrics.repositories. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_reviews(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_reviews(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.reviews := jsonb_populate_record(null::metrics.reviews, said);
      clock constant text := coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (case when said ->> 'state' = 'dismissed' then 2 when said ->> 'state' is not null then 1 else 0 end)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.reviews as t (reference_id, external_id, pull_request_number, reviewer, reviewer_is_bot, state, submitted_at, url, clocks)
      values (
        r.id, o.external_id,
        o.pull_request_number,
        o.reviewer,
        case when said ? 'reviewer' then o.reviewer_is_bot end,
        o.state,
        o.submitted_at,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'pull_request_number', case when said ? 'pull_request_number' then clock end,
          'reviewer', case when said ? 'reviewer' then clock end,
          'state', case when said ? 'state' then clock end,
          'url', case when said ? 'url' then clock end
        ))
      )
      on conflict (reference_id, external_id) do update set
          pull_request_number = case when excluded.clocks ? 'pull_request_number' then excluded.pull_request_number else t.pull_request_number end,
          reviewer = case when excluded.clocks ? 'reviewer' then excluded.reviewer else t.reviewer end,
          reviewer_is_bot = case when excluded.clocks ? 'reviewer' then excluded.reviewer_is_bot else t.reviewer_is_bot end,
          state = case when excluded.clocks ? 'state' then excluded.state else t.state end,
          submitted_at = least(t.submitted_at, excluded.submitted_at),
          url = case when excluded.clocks ? 'url' then excluded.url else t.url end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'pull_request_number') collate "C", (t.clocks ->> 'reviewer') collate "C", (t.clocks ->> 'state') collate "C", (t.clocks ->> 'url') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.id, o.external_id) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.id, o.external_id) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.reviews as t (reference_id, external_id, pull_request_number, reviewer, reviewer_is_bot, state, submitted_at, url, clocks)
    select
        r.id, o.external_id,
        o.pull_request_number,
        o.reviewer,
        case when said ? 'reviewer' then o.reviewer_is_bot end,
        o.state,
        o.submitted_at,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'pull_request_number', case when said ? 'pull_request_number' then c.clock end,
          'reviewer', case when said ? 'reviewer' then c.clock end,
          'state', case when said ? 'state' then c.clock end,
          'url', case when said ? 'url' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.reviews, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (case when said ->> 'state' = 'dismissed' then 2 when said ->> 'state' is not null then 1 else 0 end)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2
    on conflict (reference_id, external_id) do update set
        pull_request_number = case when (excluded.clocks ->> 'pull_request_number') collate "C" > coalesce(t.clocks ->> 'pull_request_number', '')
        or (excluded.clocks ->> 'pull_request_number' = t.clocks ->> 'pull_request_number' and row(coalesce(excluded.pull_request_number::numeric, '-infinity')) > row(coalesce(t.pull_request_number::numeric, '-infinity'))) then excluded.pull_request_number else t.pull_request_number end,
        reviewer = case when (excluded.clocks ->> 'reviewer') collate "C" > coalesce(t.clocks ->> 'reviewer', '')
        or (excluded.clocks ->> 'reviewer' = t.clocks ->> 'reviewer' and row(coalesce('1' || excluded.reviewer, '0') collate "C", coalesce(excluded.reviewer_is_bot::integer, -1)) > row(coalesce('1' || t.reviewer, '0') collate "C", coalesce(t.reviewer_is_bot::integer, -1))) then excluded.reviewer else t.reviewer end,
        reviewer_is_bot = case when (excluded.clocks ->> 'reviewer') collate "C" > coalesce(t.clocks ->> 'reviewer', '')
        or (excluded.clocks ->> 'reviewer' = t.clocks ->> 'reviewer' and row(coalesce('1' || excluded.reviewer, '0') collate "C", coalesce(excluded.reviewer_is_bot::integer, -1)) > row(coalesce('1' || t.reviewer, '0') collate "C", coalesce(t.reviewer_is_bot::integer, -1))) then excluded.reviewer_is_bot else t.reviewer_is_bot end,
        state = case when (excluded.clocks ->> 'state') collate "C" > coalesce(t.clocks ->> 'state', '')
        or (excluded.clocks ->> 'state' = t.clocks ->> 'state' and row(coalesce('1' || excluded.state, '0') collate "C") > row(coalesce('1' || t.state, '0') collate "C")) then excluded.state else t.state end,
        submitted_at = least(t.submitted_at, excluded.submitted_at),
        url = case when (excluded.clocks ->> 'url') collate "C" > coalesce(t.clocks ->> 'url', '')
        or (excluded.clocks ->> 'url' = t.clocks ->> 'url' and row(coalesce('1' || excluded.url, '0') collate "C") > row(coalesce('1' || t.url, '0') collate "C")) then excluded.url else t.url end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'pull_request_number', greatest((excluded.clocks ->> 'pull_request_number') collate "C", t.clocks ->> 'pull_request_number'),
          'reviewer', greatest((excluded.clocks ->> 'reviewer') collate "C", t.clocks ->> 'reviewer'),
          'state', greatest((excluded.clocks ->> 'state') collate "C", t.clocks ->> 'state'),
          'url', greatest((excluded.clocks ->> 'url') collate "C", t.clocks ->> 'url')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.pull_request_number, excluded.reviewer, excluded.reviewer_is_bot, excluded.state, excluded.submitted_at, excluded.url) is distinct from (t.pull_request_number, t.reviewer, t.reviewer_is_bot, t.state, t.submitted_at, t.url);
  end loop;
end
$function$;
comment on function metrics.fold_reviews(observations jsonb) is 'Folds a list of observations into metrics.reviews. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_rule_checks(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_rule_checks(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.rule_checks := jsonb_populate_record(null::metrics.rule_checks, said);
      clock constant text := coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.rule_checks as t (reference_id, external_id, rule, category, status, commit_sha, pull_request_number, run_external_id, detail, checked_at, url, clocks)
      values (
        r.id, o.external_id,
        o.rule,
        o.category,
        o.status,
        o.commit_sha,
        o.pull_request_number,
        o.run_external_id,
        o.detail,
        o.checked_at,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'rule', case when said ? 'rule' then clock end,
          'category', case when said ? 'category' then clock end,
          'status', case when said ? 'status' then clock end,
          'commit_sha', case when said ? 'commit_sha' then clock end,
          'pull_request_number', case when said ? 'pull_request_number' then clock end,
          'run_external_id', case when said ? 'run_external_id' then clock end,
          'detail', case when said ? 'detail' then clock end,
          'checked_at', case when said ? 'checked_at' then clock end,
          'url', case when said ? 'url' then clock end
        ))
      )
      on conflict (reference_id, external_id) do update set
          rule = case when excluded.clocks ? 'rule' then excluded.rule else t.rule end,
          category = case when excluded.clocks ? 'category' then excluded.category else t.category end,
          status = case when excluded.clocks ? 'status' then excluded.status else t.status end,
          commit_sha = case when excluded.clocks ? 'commit_sha' then excluded.commit_sha else t.commit_sha end,
          pull_request_number = case when excluded.clocks ? 'pull_request_number' then excluded.pull_request_number else t.pull_request_number end,
          run_external_id = case when excluded.clocks ? 'run_external_id' then excluded.run_external_id else t.run_external_id end,
          detail = case when excluded.clocks ? 'detail' then excluded.detail else t.detail end,
          checked_at = case when excluded.clocks ? 'checked_at' then excluded.checked_at else t.checked_at end,
          url = case when excluded.clocks ? 'url' then excluded.url else t.url end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'rule') collate "C", (t.clocks ->> 'category') collate "C", (t.clocks ->> 'status') collate "C", (t.clocks ->> 'commit_sha') collate "C", (t.clocks ->> 'pull_request_number') collate "C", (t.clocks ->> 'run_external_id') collate "C", (t.clocks ->> 'detail') collate "C", (t.clocks ->> 'checked_at') collate "C", (t.clocks ->> 'url') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.id, o.external_id) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.id, o.external_id) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.rule_checks as t (reference_id, external_id, rule, category, status, commit_sha, pull_request_number, run_external_id, detail, checked_at, url, clocks)
    select
        r.id, o.external_id,
        o.rule,
        o.category,
        o.status,
        o.commit_sha,
        o.pull_request_number,
        o.run_external_id,
        o.detail,
        o.checked_at,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'rule', case when said ? 'rule' then c.clock end,
          'category', case when said ? 'category' then c.clock end,
          'status', case when said ? 'status' then c.clock end,
          'commit_sha', case when said ? 'commit_sha' then c.clock end,
          'pull_request_number', case when said ? 'pull_request_number' then c.clock end,
          'run_external_id', case when said ? 'run_external_id' then c.clock end,
          'detail', case when said ? 'detail' then c.clock end,
          'checked_at', case when said ? 'checked_at' then c.clock end,
          'url', case when said ? 'url' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.rule_checks, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2
    on conflict (reference_id, external_id) do update set
        rule = case when (excluded.clocks ->> 'rule') collate "C" > coalesce(t.clocks ->> 'rule', '')
        or (excluded.clocks ->> 'rule' = t.clocks ->> 'rule' and row(coalesce('1' || excluded.rule, '0') collate "C") > row(coalesce('1' || t.rule, '0') collate "C")) then excluded.rule else t.rule end,
        category = case when (excluded.clocks ->> 'category') collate "C" > coalesce(t.clocks ->> 'category', '')
        or (excluded.clocks ->> 'category' = t.clocks ->> 'category' and row(coalesce('1' || excluded.category, '0') collate "C") > row(coalesce('1' || t.category, '0') collate "C")) then excluded.category else t.category end,
        status = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C") > row(coalesce('1' || t.status, '0') collate "C")) then excluded.status else t.status end,
        commit_sha = case when (excluded.clocks ->> 'commit_sha') collate "C" > coalesce(t.clocks ->> 'commit_sha', '')
        or (excluded.clocks ->> 'commit_sha' = t.clocks ->> 'commit_sha' and row(coalesce('1' || excluded.commit_sha, '0') collate "C") > row(coalesce('1' || t.commit_sha, '0') collate "C")) then excluded.commit_sha else t.commit_sha end,
        pull_request_number = case when (excluded.clocks ->> 'pull_request_number') collate "C" > coalesce(t.clocks ->> 'pull_request_number', '')
        or (excluded.clocks ->> 'pull_request_number' = t.clocks ->> 'pull_request_number' and row(coalesce(excluded.pull_request_number::numeric, '-infinity')) > row(coalesce(t.pull_request_number::numeric, '-infinity'))) then excluded.pull_request_number else t.pull_request_number end,
        run_external_id = case when (excluded.clocks ->> 'run_external_id') collate "C" > coalesce(t.clocks ->> 'run_external_id', '')
        or (excluded.clocks ->> 'run_external_id' = t.clocks ->> 'run_external_id' and row(coalesce('1' || excluded.run_external_id, '0') collate "C") > row(coalesce('1' || t.run_external_id, '0') collate "C")) then excluded.run_external_id else t.run_external_id end,
        detail = case when (excluded.clocks ->> 'detail') collate "C" > coalesce(t.clocks ->> 'detail', '')
        or (excluded.clocks ->> 'detail' = t.clocks ->> 'detail' and row(coalesce('1' || excluded.detail, '0') collate "C") > row(coalesce('1' || t.detail, '0') collate "C")) then excluded.detail else t.detail end,
        checked_at = case when (excluded.clocks ->> 'checked_at') collate "C" > coalesce(t.clocks ->> 'checked_at', '')
        or (excluded.clocks ->> 'checked_at' = t.clocks ->> 'checked_at' and row(coalesce(excluded.checked_at, '-infinity')) > row(coalesce(t.checked_at, '-infinity'))) then excluded.checked_at else t.checked_at end,
        url = case when (excluded.clocks ->> 'url') collate "C" > coalesce(t.clocks ->> 'url', '')
        or (excluded.clocks ->> 'url' = t.clocks ->> 'url' and row(coalesce('1' || excluded.url, '0') collate "C") > row(coalesce('1' || t.url, '0') collate "C")) then excluded.url else t.url end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'rule', greatest((excluded.clocks ->> 'rule') collate "C", t.clocks ->> 'rule'),
          'category', greatest((excluded.clocks ->> 'category') collate "C", t.clocks ->> 'category'),
          'status', greatest((excluded.clocks ->> 'status') collate "C", t.clocks ->> 'status'),
          'commit_sha', greatest((excluded.clocks ->> 'commit_sha') collate "C", t.clocks ->> 'commit_sha'),
          'pull_request_number', greatest((excluded.clocks ->> 'pull_request_number') collate "C", t.clocks ->> 'pull_request_number'),
          'run_external_id', greatest((excluded.clocks ->> 'run_external_id') collate "C", t.clocks ->> 'run_external_id'),
          'detail', greatest((excluded.clocks ->> 'detail') collate "C", t.clocks ->> 'detail'),
          'checked_at', greatest((excluded.clocks ->> 'checked_at') collate "C", t.clocks ->> 'checked_at'),
          'url', greatest((excluded.clocks ->> 'url') collate "C", t.clocks ->> 'url')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.rule, excluded.category, excluded.status, excluded.commit_sha, excluded.pull_request_number, excluded.run_external_id, excluded.detail, excluded.checked_at, excluded.url) is distinct from (t.rule, t.category, t.status, t.commit_sha, t.pull_request_number, t.run_external_id, t.detail, t.checked_at, t.url);
  end loop;
end
$function$;
comment on function metrics.fold_rule_checks(observations jsonb) is 'Folds a list of observations into metrics.rule_checks. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_test_cases(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_test_cases(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.test_cases := jsonb_populate_record(null::metrics.test_cases, said);
      clock constant text := coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.test_cases as t (reference_id, test_run_external_id, test_id, outcome, message, duration_seconds, retries, clocks)
      values (
        r.id, o.test_run_external_id, o.test_id,
        o.outcome,
        case when said ? 'outcome' then o.message end,
        case when said ? 'outcome' then o.duration_seconds end,
        case when said ? 'outcome' then o.retries end,
        jsonb_strip_nulls(jsonb_build_object(
          'outcome', case when said ? 'outcome' then clock end
        ))
      )
      on conflict (reference_id, test_run_external_id, test_id) do update set
          outcome = case when excluded.clocks ? 'outcome' then excluded.outcome else t.outcome end,
          message = case when excluded.clocks ? 'outcome' then excluded.message else t.message end,
          duration_seconds = case when excluded.clocks ? 'outcome' then excluded.duration_seconds else t.duration_seconds end,
          retries = case when excluded.clocks ? 'outcome' then excluded.retries else t.retries end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'outcome') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.id, o.test_run_external_id, o.test_id) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (test_run_external_id text, test_id bigint)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.id, o.test_run_external_id, o.test_id) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (test_run_external_id text, test_id bigint)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.test_cases as t (reference_id, test_run_external_id, test_id, outcome, message, duration_seconds, retries, clocks)
    select
        r.id, o.test_run_external_id, o.test_id,
        o.outcome,
        case when said ? 'outcome' then o.message end,
        case when said ? 'outcome' then o.duration_seconds end,
        case when said ? 'outcome' then o.retries end,
        jsonb_strip_nulls(jsonb_build_object(
          'outcome', case when said ? 'outcome' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.test_cases, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2, 3
    on conflict (reference_id, test_run_external_id, test_id) do update set
        outcome = case when (excluded.clocks ->> 'outcome') collate "C" > coalesce(t.clocks ->> 'outcome', '')
        or (excluded.clocks ->> 'outcome' = t.clocks ->> 'outcome' and row(coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.message, '0') collate "C", coalesce(excluded.duration_seconds, '-infinity'), coalesce(excluded.retries::numeric, '-infinity')) > row(coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.message, '0') collate "C", coalesce(t.duration_seconds, '-infinity'), coalesce(t.retries::numeric, '-infinity'))) then excluded.outcome else t.outcome end,
        message = case when (excluded.clocks ->> 'outcome') collate "C" > coalesce(t.clocks ->> 'outcome', '')
        or (excluded.clocks ->> 'outcome' = t.clocks ->> 'outcome' and row(coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.message, '0') collate "C", coalesce(excluded.duration_seconds, '-infinity'), coalesce(excluded.retries::numeric, '-infinity')) > row(coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.message, '0') collate "C", coalesce(t.duration_seconds, '-infinity'), coalesce(t.retries::numeric, '-infinity'))) then excluded.message else t.message end,
        duration_seconds = case when (excluded.clocks ->> 'outcome') collate "C" > coalesce(t.clocks ->> 'outcome', '')
        or (excluded.clocks ->> 'outcome' = t.clocks ->> 'outcome' and row(coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.message, '0') collate "C", coalesce(excluded.duration_seconds, '-infinity'), coalesce(excluded.retries::numeric, '-infinity')) > row(coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.message, '0') collate "C", coalesce(t.duration_seconds, '-infinity'), coalesce(t.retries::numeric, '-infinity'))) then excluded.duration_seconds else t.duration_seconds end,
        retries = case when (excluded.clocks ->> 'outcome') collate "C" > coalesce(t.clocks ->> 'outcome', '')
        or (excluded.clocks ->> 'outcome' = t.clocks ->> 'outcome' and row(coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.message, '0') collate "C", coalesce(excluded.duration_seconds, '-infinity'), coalesce(excluded.retries::numeric, '-infinity')) > row(coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.message, '0') collate "C", coalesce(t.duration_seconds, '-infinity'), coalesce(t.retries::numeric, '-infinity'))) then excluded.retries else t.retries end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'outcome', greatest((excluded.clocks ->> 'outcome') collate "C", t.clocks ->> 'outcome')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.outcome, excluded.message, excluded.duration_seconds, excluded.retries) is distinct from (t.outcome, t.message, t.duration_seconds, t.retries);
  end loop;
end
$function$;
comment on function metrics.fold_test_cases(observations jsonb) is 'Folds a list of observations into metrics.test_cases. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_test_runs(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_test_runs(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.test_runs := jsonb_populate_record(null::metrics.test_runs, said);
      clock constant text := coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.test_runs as t (reference_id, external_id, suite, commit_sha, branch, pipeline, job, passed_count, failed_count, skipped_count, error_count, duration_seconds, started_at, passed, skipped, url, clocks)
      values (
        r.id, o.external_id,
        o.suite,
        o.commit_sha,
        o.branch,
        o.pipeline,
        o.job,
        o.passed_count,
        case when said ? 'passed_count' then o.failed_count end,
        case when said ? 'passed_count' then o.skipped_count end,
        case when said ? 'passed_count' then o.error_count end,
        o.duration_seconds,
        o.started_at,
        o.passed,
        o.skipped,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'suite', case when said ? 'suite' then clock end,
          'commit_sha', case when said ? 'commit_sha' then clock end,
          'branch', case when said ? 'branch' then clock end,
          'pipeline', case when said ? 'pipeline' then clock end,
          'job', case when said ? 'job' then clock end,
          'passed_count', case when said ? 'passed_count' then clock end,
          'duration_seconds', case when said ? 'duration_seconds' then clock end,
          'passed', case when said ? 'passed' then clock end,
          'skipped', case when said ? 'skipped' then clock end,
          'url', case when said ? 'url' then clock end
        ))
      )
      on conflict (reference_id, external_id) do update set
          suite = case when excluded.clocks ? 'suite' then excluded.suite else t.suite end,
          commit_sha = case when excluded.clocks ? 'commit_sha' then excluded.commit_sha else t.commit_sha end,
          branch = case when excluded.clocks ? 'branch' then excluded.branch else t.branch end,
          pipeline = case when excluded.clocks ? 'pipeline' then excluded.pipeline else t.pipeline end,
          job = case when excluded.clocks ? 'job' then excluded.job else t.job end,
          passed_count = case when excluded.clocks ? 'passed_count' then excluded.passed_count else t.passed_count end,
          failed_count = case when excluded.clocks ? 'passed_count' then excluded.failed_count else t.failed_count end,
          skipped_count = case when excluded.clocks ? 'passed_count' then excluded.skipped_count else t.skipped_count end,
          error_count = case when excluded.clocks ? 'passed_count' then excluded.error_count else t.error_count end,
          duration_seconds = case when excluded.clocks ? 'duration_seconds' then excluded.duration_seconds else t.duration_seconds end,
          started_at = least(t.started_at, excluded.started_at),
          passed = case when excluded.clocks ? 'passed' then excluded.passed else t.passed end,
          skipped = case when excluded.clocks ? 'skipped' then excluded.skipped else t.skipped end,
          url = case when excluded.clocks ? 'url' then excluded.url else t.url end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'suite') collate "C", (t.clocks ->> 'commit_sha') collate "C", (t.clocks ->> 'branch') collate "C", (t.clocks ->> 'pipeline') collate "C", (t.clocks ->> 'job') collate "C", (t.clocks ->> 'passed_count') collate "C", (t.clocks ->> 'duration_seconds') collate "C", (t.clocks ->> 'passed') collate "C", (t.clocks ->> 'skipped') collate "C", (t.clocks ->> 'url') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.id, o.external_id) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.id, o.external_id) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.test_runs as t (reference_id, external_id, suite, commit_sha, branch, pipeline, job, passed_count, failed_count, skipped_count, error_count, duration_seconds, started_at, passed, skipped, url, clocks)
    select
        r.id, o.external_id,
        o.suite,
        o.commit_sha,
        o.branch,
        o.pipeline,
        o.job,
        o.passed_count,
        case when said ? 'passed_count' then o.failed_count end,
        case when said ? 'passed_count' then o.skipped_count end,
        case when said ? 'passed_count' then o.error_count end,
        o.duration_seconds,
        o.started_at,
        o.passed,
        o.skipped,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'suite', case when said ? 'suite' then c.clock end,
          'commit_sha', case when said ? 'commit_sha' then c.clock end,
          'branch', case when said ? 'branch' then c.clock end,
          'pipeline', case when said ? 'pipeline' then c.clock end,
          'job', case when said ? 'job' then c.clock end,
          'passed_count', case when said ? 'passed_count' then c.clock end,
          'duration_seconds', case when said ? 'duration_seconds' then c.clock end,
          'passed', case when said ? 'passed' then c.clock end,
          'skipped', case when said ? 'skipped' then c.clock end,
          'url', case when said ? 'url' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.test_runs, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2
    on conflict (reference_id, external_id) do update set
        suite = case when (excluded.clocks ->> 'suite') collate "C" > coalesce(t.clocks ->> 'suite', '')
        or (excluded.clocks ->> 'suite' = t.clocks ->> 'suite' and row(coalesce('1' || excluded.suite, '0') collate "C") > row(coalesce('1' || t.suite, '0') collate "C")) then excluded.suite else t.suite end,
        commit_sha = case when (excluded.clocks ->> 'commit_sha') collate "C" > coalesce(t.clocks ->> 'commit_sha', '')
        or (excluded.clocks ->> 'commit_sha' = t.clocks ->> 'commit_sha' and row(coalesce('1' || excluded.commit_sha, '0') collate "C") > row(coalesce('1' || t.commit_sha, '0') collate "C")) then excluded.commit_sha else t.commit_sha end,
        branch = case when (excluded.clocks ->> 'branch') collate "C" > coalesce(t.clocks ->> 'branch', '')
        or (excluded.clocks ->> 'branch' = t.clocks ->> 'branch' and row(coalesce('1' || excluded.branch, '0') collate "C") > row(coalesce('1' || t.branch, '0') collate "C")) then excluded.branch else t.branch end,
        pipeline = case when (excluded.clocks ->> 'pipeline') collate "C" > coalesce(t.clocks ->> 'pipeline', '')
        or (excluded.clocks ->> 'pipeline' = t.clocks ->> 'pipeline' and row(coalesce('1' || excluded.pipeline, '0') collate "C") > row(coalesce('1' || t.pipeline, '0') collate "C")) then excluded.pipeline else t.pipeline end,
        job = case when (excluded.clocks ->> 'job') collate "C" > coalesce(t.clocks ->> 'job', '')
        or (excluded.clocks ->> 'job' = t.clocks ->> 'job' and row(coalesce('1' || excluded.job, '0') collate "C") > row(coalesce('1' || t.job, '0') collate "C")) then excluded.job else t.job end,
        passed_count = case when (excluded.clocks ->> 'passed_count') collate "C" > coalesce(t.clocks ->> 'passed_count', '')
        or (excluded.clocks ->> 'passed_count' = t.clocks ->> 'passed_count' and row(coalesce(excluded.passed_count::numeric, '-infinity'), coalesce(excluded.failed_count::numeric, '-infinity'), coalesce(excluded.skipped_count::numeric, '-infinity'), coalesce(excluded.error_count::numeric, '-infinity')) > row(coalesce(t.passed_count::numeric, '-infinity'), coalesce(t.failed_count::numeric, '-infinity'), coalesce(t.skipped_count::numeric, '-infinity'), coalesce(t.error_count::numeric, '-infinity'))) then excluded.passed_count else t.passed_count end,
        failed_count = case when (excluded.clocks ->> 'passed_count') collate "C" > coalesce(t.clocks ->> 'passed_count', '')
        or (excluded.clocks ->> 'passed_count' = t.clocks ->> 'passed_count' and row(coalesce(excluded.passed_count::numeric, '-infinity'), coalesce(excluded.failed_count::numeric, '-infinity'), coalesce(excluded.skipped_count::numeric, '-infinity'), coalesce(excluded.error_count::numeric, '-infinity')) > row(coalesce(t.passed_count::numeric, '-infinity'), coalesce(t.failed_count::numeric, '-infinity'), coalesce(t.skipped_count::numeric, '-infinity'), coalesce(t.error_count::numeric, '-infinity'))) then excluded.failed_count else t.failed_count end,
        skipped_count = case when (excluded.clocks ->> 'passed_count') collate "C" > coalesce(t.clocks ->> 'passed_count', '')
        or (excluded.clocks ->> 'passed_count' = t.clocks ->> 'passed_count' and row(coalesce(excluded.passed_count::numeric, '-infinity'), coalesce(excluded.failed_count::numeric, '-infinity'), coalesce(excluded.skipped_count::numeric, '-infinity'), coalesce(excluded.error_count::numeric, '-infinity')) > row(coalesce(t.passed_count::numeric, '-infinity'), coalesce(t.failed_count::numeric, '-infinity'), coalesce(t.skipped_count::numeric, '-infinity'), coalesce(t.error_count::numeric, '-infinity'))) then excluded.skipped_count else t.skipped_count end,
        error_count = case when (excluded.clocks ->> 'passed_count') collate "C" > coalesce(t.clocks ->> 'passed_count', '')
        or (excluded.clocks ->> 'passed_count' = t.clocks ->> 'passed_count' and row(coalesce(excluded.passed_count::numeric, '-infinity'), coalesce(excluded.failed_count::numeric, '-infinity'), coalesce(excluded.skipped_count::numeric, '-infinity'), coalesce(excluded.error_count::numeric, '-infinity')) > row(coalesce(t.passed_count::numeric, '-infinity'), coalesce(t.failed_count::numeric, '-infinity'), coalesce(t.skipped_count::numeric, '-infinity'), coalesce(t.error_count::numeric, '-infinity'))) then excluded.error_count else t.error_count end,
        duration_seconds = case when (excluded.clocks ->> 'duration_seconds') collate "C" > coalesce(t.clocks ->> 'duration_seconds', '')
        or (excluded.clocks ->> 'duration_seconds' = t.clocks ->> 'duration_seconds' and row(coalesce(excluded.duration_seconds, '-infinity')) > row(coalesce(t.duration_seconds, '-infinity'))) then excluded.duration_seconds else t.duration_seconds end,
        started_at = least(t.started_at, excluded.started_at),
        passed = case when (excluded.clocks ->> 'passed') collate "C" > coalesce(t.clocks ->> 'passed', '')
        or (excluded.clocks ->> 'passed' = t.clocks ->> 'passed' and row(coalesce('1' || metrics.test_names(excluded.passed), '0') collate "C") > row(coalesce('1' || metrics.test_names(t.passed), '0') collate "C")) then excluded.passed else t.passed end,
        skipped = case when (excluded.clocks ->> 'skipped') collate "C" > coalesce(t.clocks ->> 'skipped', '')
        or (excluded.clocks ->> 'skipped' = t.clocks ->> 'skipped' and row(coalesce('1' || metrics.test_names(excluded.skipped), '0') collate "C") > row(coalesce('1' || metrics.test_names(t.skipped), '0') collate "C")) then excluded.skipped else t.skipped end,
        url = case when (excluded.clocks ->> 'url') collate "C" > coalesce(t.clocks ->> 'url', '')
        or (excluded.clocks ->> 'url' = t.clocks ->> 'url' and row(coalesce('1' || excluded.url, '0') collate "C") > row(coalesce('1' || t.url, '0') collate "C")) then excluded.url else t.url end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'suite', greatest((excluded.clocks ->> 'suite') collate "C", t.clocks ->> 'suite'),
          'commit_sha', greatest((excluded.clocks ->> 'commit_sha') collate "C", t.clocks ->> 'commit_sha'),
          'branch', greatest((excluded.clocks ->> 'branch') collate "C", t.clocks ->> 'branch'),
          'pipeline', greatest((excluded.clocks ->> 'pipeline') collate "C", t.clocks ->> 'pipeline'),
          'job', greatest((excluded.clocks ->> 'job') collate "C", t.clocks ->> 'job'),
          'passed_count', greatest((excluded.clocks ->> 'passed_count') collate "C", t.clocks ->> 'passed_count'),
          'duration_seconds', greatest((excluded.clocks ->> 'duration_seconds') collate "C", t.clocks ->> 'duration_seconds'),
          'passed', greatest((excluded.clocks ->> 'passed') collate "C", t.clocks ->> 'passed'),
          'skipped', greatest((excluded.clocks ->> 'skipped') collate "C", t.clocks ->> 'skipped'),
          'url', greatest((excluded.clocks ->> 'url') collate "C", t.clocks ->> 'url')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.suite, excluded.commit_sha, excluded.branch, excluded.pipeline, excluded.job, excluded.passed_count, excluded.failed_count, excluded.skipped_count, excluded.error_count, excluded.duration_seconds, excluded.started_at, excluded.passed, excluded.skipped, excluded.url) is distinct from (t.suite, t.commit_sha, t.branch, t.pipeline, t.job, t.passed_count, t.failed_count, t.skipped_count, t.error_count, t.duration_seconds, t.started_at, t.passed, t.skipped, t.url);
  end loop;
end
$function$;
comment on function metrics.fold_test_runs(observations jsonb) is 'Folds a list of observations into metrics.test_runs. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.forget_delivery(generation integer, repository bigint)
CREATE OR REPLACE FUNCTION metrics.forget_delivery(generation integer, repository bigint)
 RETURNS void
 LANGUAGE sql
 SET search_path TO ''
AS $function$
  delete from metrics.deployment_failures as t
  where t.generation = forget_delivery.generation
    and t.repository_id = repository;
  delete from metrics.service_deployments as t
  where t.generation = forget_delivery.generation
    and t.repository_id = repository;
  delete from metrics.changes as t
  where t.generation = forget_delivery.generation
    and t.repository_id = repository;
  delete from metrics.branch_moves as t
  where t.generation = forget_delivery.generation
    and t.repository_id = repository
$function$;
comment on function metrics.forget_delivery(generation integer, repository bigint) is 'Deletes what was derived for a repository, and with it what was counted of it.';

-- function metrics.forget_person(login text, step integer, continue_after jsonb)
CREATE OR REPLACE FUNCTION metrics.forget_person(login text, step integer DEFAULT 10000, continue_after jsonb DEFAULT NULL::jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  place record;
  erased integer := 0;
  rows integer;
  looked integer := 0;
  last_body jsonb;
begin
  perform metrics.require_admin();
  if login is null or length(btrim(login)) < 2 then
    raise exception using
      errcode = '22023',
      message = 'login needs at least two characters';
  end if;
  if step is null or step not between 1 and 100000 then
    raise exception using
      errcode = '22023',
      message = format('step is between 1 and 100000, not %s', step);
  end if;

  for place in
    select *
    from (
      values
        ('pipeline_runs', 'actor'), ('pull_requests', 'author'), ('reviews', 'reviewer'), ('pushes', 'pusher'), ('commits', 'author'),
        ('deployments', 'actor')
    ) as p (fact_table, fact_column)
  loop
    exit when erased >= step;
    execute format(
      'update metrics.%1$I set %2$I = null, updated_at = now()
       where ctid in (select t.ctid from metrics.%1$I as t where lower(t.%2$I) = lower($1) limit $2)',
      place.fact_table,
      place.fact_column
    )
    using login, step - erased;
    get diagnostics rows = row_count;
    erased := erased + rows;
  end loop;

  if erased < step then
    update metrics.measurements as m
    set
      attributes = (
        select coalesce(jsonb_object_agg(a.key, a.value), '{}')
        from jsonb_each(m.attributes) as a
        where lower(a.value #>> '{}') is distinct from lower(login)
      ),
      updated_at = now()
    where m.ctid in (
      select t.ctid
      from metrics.measurements as t
      cross join lateral jsonb_each(t.attributes) as a
      where lower(a.value #>> '{}') = lower(login)
      limit step - erased
    );
    get diagnostics rows = row_count;
    erased := erased + rows;
  end if;
  if erased >= step then
    return jsonb_build_object('erased', erased, 'done', false, 'continue_after', null);
  end if;

  -- Bodies are searched a page at a time, in the order of their key: a whole look would outlast any time-out.
  with page as (
    select b.source, b.delivery_id, b.expires_on, metrics.holds_any(b.body, metrics.spellings(login)) as names_them
    from metrics.bodies as b
    where continue_after is null
      or (b.source, b.delivery_id) > (continue_after ->> 'source', continue_after ->> 'delivery_id')
    order by b.source, b.delivery_id
    limit least(step, 2000)
  ),
  gone as (
    delete from metrics.bodies as b
    using page as p
    where p.names_them
      and b.source = p.source
      and b.delivery_id = p.delivery_id
      and b.expires_on = p.expires_on
    returning b.source, b.delivery_id
  ),
  marked as (
    update metrics.deliveries as d
    set body_expires_on = null
    from gone as g
    where d.source = g.source
      and d.delivery_id = g.delivery_id
    returning 1
  )
  select count(*), (select count(*) from marked), (array_agg(jsonb_build_object('source', p.source, 'delivery_id', p.delivery_id)
    order by p.source desc, p.delivery_id desc))[1]
  into looked, rows, last_body
  from page as p;

  if looked < least(step, 2000) then
    perform metrics.note('forget_person', null, null);
  end if;
  return jsonb_build_object(
    'erased', erased + rows,
    'done', looked < least(step, 2000),
    'continue_after', case when looked >= least(step, 2000) then last_body end
  );
end
$function$;
grant execute on function metrics.forget_person(login text, step integer, continue_after jsonb) to authenticated;
comment on function metrics.forget_person(login text, step integer, continue_after jsonb) is 'Erases a login from facts, and the bodies that hold it. Call again with continue_after of the answer until done is true. The audit row holds no name.';

-- function metrics.forget_repository(repository text, step integer)
CREATE OR REPLACE FUNCTION metrics.forget_repository(repository text, step integer DEFAULT 10000)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  gone bigint;
  gone_references bigint[];
  gone_spellings text[];
  fact_table text;
  erased integer := 0;
  rows integer;
begin
  perform metrics.require_admin();
  if step is null or step not between 1 and 100000 then
    raise exception using
      errcode = '22023',
      message = format('step is between 1 and 100000, not %s', step);
  end if;
  -- Deliveries that are being stored are waited for, and the next ones wait: until this step is done.
  perform pg_advisory_xact_lock(hashtextextended('metrics.erasure', 0));
  gone := metrics.repository_named(repository);
  perform metrics.lock_repositories(array[gone]);
  gone_references := array(
    select r.id
    from metrics.repository_references as r
    where r.repository_id = gone
  );
  gone_spellings := (
    select array_agg(distinct s)
    from (
      select r.full_name
      from metrics.repositories as r
      where r.id = gone
        and r.full_name is not null
      union
      -- Names that it had before stand in the URLs that it claimed.
      select regexp_replace(r.url, '^[^/]*/', '')
      from metrics.repository_references as r
      where r.repository_id = gone
        and r.url like '%/%'
    ) as n (name)
    cross join unnest(metrics.spellings(n.name)) as s
  );

  foreach fact_table in array array[
    'test_cases', 'test_runs', 'tests', 'rule_checks', 'measurements', 'incidents', 'releases', 'deployments', 'commits', 'pushes',
    'reviews', 'pull_requests', 'jobs', 'pipeline_runs'
  ] loop
    exit when erased >= step;
    execute format(
      'delete from metrics.%1$I where ctid in (select t.ctid from metrics.%1$I as t where t.reference_id = any($1) limit $2)',
      fact_table
    )
    using gone_references, step - erased;
    get diagnostics rows = row_count;
    erased := erased + rows;
  end loop;

  -- What was derived of it. Changes and deployments last: as they go, so does what was counted of them.
  foreach fact_table in array array['postponed', 'deployment_failures', 'branch_moves', 'changes', 'service_deployments', 'lead_time_weeks',
    'service_weeks', 'services'
  ] loop
    exit when erased >= step;
    execute format(
      'delete from metrics.%1$I where ctid in (select t.ctid from metrics.%1$I as t where t.repository_id = $1 limit $2)',
      fact_table
    )
    using gone, step - erased;
    get diagnostics rows = row_count;
    erased := erased + rows;
  end loop;

  -- What was counted of facts that were dropped before, or in a generation that nobody reads any more.
  foreach fact_table in array array['pipeline_weeks', 'job_weeks', 'pull_request_weeks', 'test_weeks', 'rule_weeks'] loop
    exit when erased >= step;
    execute format(
      'delete from metrics.%1$I where ctid in (
         select t.ctid
         from metrics.generations as g
         join metrics.%1$I as t
           on t.generation = g.id
         where t.reference_id = any($1)
         limit $2
       )',
      fact_table
    )
    using gone_references, step - erased;
    get diagnostics rows = row_count;
    erased := erased + rows;
  end loop;

  if erased < step then
    with theirs as (
      select d.source, d.delivery_id
      from metrics.deliveries as d
      where d.reference_ids && gone_references
      limit step - erased
    ),
    bodies as (
      delete from metrics.bodies as b
      using theirs as t
      where b.source = t.source
        and b.delivery_id = t.delivery_id
    )
    update metrics.deliveries as d
    set
      reference_ids = '{}',
      body_expires_on = null
    from theirs as t
    where d.source = t.source
      and d.delivery_id = t.delivery_id;
    get diagnostics rows = row_count;
    erased := erased + rows;
  end if;

  -- What was not understood has no references: there the name in the bytes decides.
  if erased < step and gone_spellings is not null then
    with theirs as (
      select d.source, d.delivery_id
      from metrics.deliveries as d
      join metrics.bodies as b
        on b.source = d.source
        and b.delivery_id = d.delivery_id
        and b.expires_on = d.body_expires_on
      where d.result = 'quarantined'
        and metrics.holds_any(b.body, gone_spellings)
      limit step - erased
    ),
    bodies as (
      delete from metrics.bodies as b
      using theirs as t
      where b.source = t.source
        and b.delivery_id = t.delivery_id
    )
    update metrics.deliveries as d
    set body_expires_on = null
    from theirs as t
    where d.source = t.source
      and d.delivery_id = t.delivery_id;
    get diagnostics rows = row_count;
    erased := erased + rows;
  end if;

  if erased < step then
    perform metrics.link_all_lost_incidents(g.id)
    from metrics.generations as g
    where g.state <> 'retired';
    delete from metrics.repository_references as r
    where r.repository_id = gone;
    delete from metrics.repositories as r
    where r.id = gone;
    perform metrics.note('forget_repository', jsonb_build_object('repository', repository), null);
  end if;
  return jsonb_build_object('erased', erased, 'done', erased < step);
end
$function$;
grant execute on function metrics.forget_repository(repository text, step integer) to authenticated;
comment on function metrics.forget_repository(repository text, step integer) is 'Erases a repository: facts, bodies, references. Erases about step rows a call; call again until done is true.';

-- function metrics.glob_pattern(glob text)
CREATE OR REPLACE FUNCTION metrics.glob_pattern(glob text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO ''
AS $function$
  -- What stands for ** holds the signs that * and ? are replaced by, so it is put in last.
  select '^' || replace(
    replace(
      replace(
        replace(
          replace(
            replace(regexp_replace(glob, '([.+^$()\[\]{}|\\])', '\\\1', 'g'), '**/', chr(1)),
            '**',
            chr(2)
          ),
          '*',
          '[^/]*'
        ),
        '?',
        '[^/]'
      ),
      chr(1),
      '(.*/)?'
    ),
    chr(2),
    '.*'
  ) || '$'
$function$;
comment on function metrics.glob_pattern(glob text) is 'A glob as a regular expression: * and ? within a folder, ** over folders.';

-- function metrics.has_many_jobs(asked metrics.period, reference_ids bigint[], pipeline text, job text)
CREATE OR REPLACE FUNCTION metrics.has_many_jobs(asked metrics.period, reference_ids bigint[], pipeline text, job text)
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_tidscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET jit TO 'off'
AS $function$
declare
  first_week constant date := date_trunc('week', asked.since::timestamp)::date;
  has_more boolean;
  are_many boolean;
  rows_looked_at integer;
begin
  foreach rows_looked_at in array array[1000, 5000, 1000000] loop
    select count(*) = rows_looked_at, sum(c.runs) > 2000
    into has_more, are_many
    from (
      select w.success + w.failure + w.timed_out + w.error + w.cancelled + w.skipped + w.neutral + w.unknown as runs
      from unnest(has_many_jobs.reference_ids) as r (reference_id)
      cross join lateral (
        select *
        from metrics.job_weeks as f
        where f.generation = asked.generation
          and f.reference_id = r.reference_id
          and f.week >= first_week
          and f.week < asked.until
          and (has_many_jobs.pipeline is null or f.pipeline = has_many_jobs.pipeline)
          and (has_many_jobs.job is null or f.job = has_many_jobs.job)
        offset 0
      ) as w
      limit rows_looked_at
    ) as c;
    exit when are_many or not has_more;
  end loop;
  return coalesce(are_many, false);
end
$function$;
grant execute on function metrics.has_many_jobs(asked metrics.period, reference_ids bigint[], pipeline text, job text) to authenticated;
grant execute on function metrics.has_many_jobs(asked metrics.period, reference_ids bigint[], pipeline text, job text) to metrics_reader;
comment on function metrics.has_many_jobs(asked metrics.period, reference_ids bigint[], pipeline text, job text) is 'Whether so many jobs ended in the weeks of a period that they are not looked at one by one.';

-- function metrics.health()
CREATE OR REPLACE FUNCTION metrics.health()
 RETURNS boolean
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO ''
AS $function$
  select s.is_single
  from metrics.settings as s
$function$;
grant execute on function metrics.health() to service_role;
comment on function metrics.health() is 'True when the database answers. Read by the function''s health route.';

-- function metrics.holds_any(body bytea, spellings text[])
CREATE OR REPLACE FUNCTION metrics.holds_any(body bytea, spellings text[])
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO ''
AS $function$
  select exists (
    select
    from (select lower(encode(body, 'escape')) as text) as b
    cross join unnest(spellings) as s (spelling)
    where position(s.spelling in b.text) > 0
  )
$function$;
comment on function metrics.holds_any(body bytea, spellings text[]) is 'Whether a body holds one of these spellings, in upper or lower case.';

-- function metrics.identity_named(name text)
CREATE OR REPLACE FUNCTION metrics.identity_named(name text)
 RETURNS metrics.identities
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  named metrics.identities;
begin
  select i.*
  into named
  from metrics.identities as i
  where i.name = btrim(identity_named.name)
    and i.revoked_at is null
  for update;
  if not found then
    raise exception using
      errcode = 'P0002',
      message = format('no identity is called %s, or it was revoked', identity_named.name),
      hint = 'metrics.list_identities() tells all.';
  end if;
  return named;
end
$function$;
comment on function metrics.identity_named(name text) is 'The identity of this name that was not revoked, locked. Raises P0002 for none.';

-- function metrics.identity_without_hash(identity metrics.identities)
CREATE OR REPLACE FUNCTION metrics.identity_without_hash(identity metrics.identities)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
 SET search_path TO ''
AS $function$
  select to_jsonb(identity) - 'token_sha256'
$function$;
comment on function metrics.identity_without_hash(identity metrics.identities) is 'An identity as the audit trail shows it: without the hash of its token.';

-- function metrics.ingest(delivery jsonb, facts jsonb, body text)
CREATE OR REPLACE FUNCTION metrics.ingest(delivery jsonb, facts jsonb DEFAULT '{}'::jsonb, body text DEFAULT NULL::text)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET lock_timeout TO '3s'
AS $function$
declare
  fact_kinds constant text[] := array[
    'repositories', 'pipeline_runs', 'jobs', 'pull_requests', 'reviews', 'pushes', 'commits', 'deployments', 'releases', 'incidents',
    'test_runs', 'test_cases', 'rule_checks', 'measurements'
  ];
  -- Runs are deployments where a rule says so.
  joined_kinds constant text[] := array['pull_requests', 'reviews', 'pushes', 'commits', 'deployments', 'releases', 'incidents']
    || case
      when facts ? 'pipeline_runs' and exists (select from metrics.services as s where s.source = 'pipeline') then array['pipeline_runs']
      else '{}'
    end;
  source_name constant text := delivery ->> 'source';
  hash constant bytea := decode(delivery ->> 'sha256', 'hex');
  id text := delivery ->> 'delivery_id';
  verdict text := delivery ->> 'result';
  why text := delivery ->> 'reason';
  earlier record;
  is_retry boolean := false;
  counts jsonb := '{}';
  names jsonb;
  unknown_kinds text;
  nameless_kinds text;
  new_names text[];
  repositories jsonb := '[]';
  joined_names text[] := '{}';
  named bigint[];
  locked bigint[] := '{}';
  moved bigint[] := '{}';
  touched_references bigint[] := '{}';
  touched_numbers integer[] := '{}';
  renamed bigint[] := '{}';
  concerned bigint[] := '{}';
  claim metrics.claim;
  claims metrics.claim[] := '{}';
  expires_on date;
  identity_id bigint;
begin
  if jsonb_typeof(delivery) = 'array' then
    return metrics.ingest_together(delivery);
  end if;
  if source_name is null or id is null or hash is null or verdict is null then
    raise exception using
      errcode = '22023',
      message = 'delivery needs source, delivery_id, sha256 and result';
  end if;

  if delivery ->> 'identity' is not null then
    identity_id := metrics.require_scope(delivery, facts);
  end if;

  if verdict = 'stored' then
    -- Erasing a repository waits for those who are adding to it, so that it leaves nothing behind that no reference leads to.
    perform pg_advisory_xact_lock_shared(hashtextextended('metrics.erasure', 0));
    select
      coalesce(jsonb_object_agg(e.kind, n.count) filter (where n.count > 0), '{}'),
      jsonb_object_agg(e.kind, n.names) filter (where n.names is not null),
      string_agg(e.kind, ', ') filter (where e.kind <> all(fact_kinds)),
      string_agg(e.kind, ', ') filter (where n.is_nameless and e.kind <> 'incidents')
    into counts, names, unknown_kinds, nameless_kinds
    from jsonb_each(facts) as e (kind, list)
    cross join lateral (
      select
        count(*) as count,
        jsonb_agg(distinct f.said ->> 'repository') filter (where f.said ->> 'repository' is not null) as names,
        bool_or(f.said ->> 'repository' is null) as is_nameless
      from jsonb_array_elements(e.list) as f (said)
    ) as n;
    select
      coalesce(array_agg(distinct r.id) filter (where r.id is not null), '{}'),
      array_agg(distinct n.name) filter (where r.id is null)
    into named, new_names
    from jsonb_array_elements_text(jsonb_path_query_array(names, '$.*[*]')) as n (name)
    left join metrics.repository_references as r
      on r.reference = n.name;
  end if;

  -- Nearly every delivery is new, and of repositories that are known: it is put in at once, and only else looked for.
  loop
    if unknown_kinds is null and nameless_kinds is null and new_names is null then
      insert into metrics.deliveries as d (
        source, delivery_id, event, result, reason, size, sha256, content_type, fact_counts, notes, reference_ids, body_expires_on,
        identity_id
      )
      values (
        source_name,
        id,
        delivery ->> 'event',
        verdict,
        why,
        (delivery ->> 'size')::integer,
        hash,
        delivery ->> 'content_type',
        counts,
        coalesce(array(select jsonb_array_elements_text(delivery -> 'notes')), '{}'),
        coalesce(named, '{}'),
        case
          when body is not null then (
            select (now() at time zone 'UTC')::date + case when verdict = 'quarantined' then s.quarantined_body_days else s.body_days end
            from metrics.settings as s
          )
        end,
        identity_id
      )
      on conflict do nothing
      returning d.body_expires_on
      into expires_on;
      exit when found;
    end if;

    select d.result, d.reason, d.sha256
    into earlier
    from metrics.deliveries as d
    where d.source = source_name
      and d.delivery_id = id;

    if found and earlier.sha256 <> hash then
      if identity_id is not null then
        raise exception using
          errcode = 'PT422',
          message = 'the delivery id came before with other bytes';
      end if;
      id := id || '#' || left(encode(hash, 'hex'), 12);
      verdict := 'quarantined';
      why := 'conflict: the delivery id came before with other bytes';
      facts := '{}';
      counts := '{}';
      named := null;
      new_names := null;
      unknown_kinds := null;
      nameless_kinds := null;
      continue;
    end if;

    if found then
      if earlier.result <> 'quarantined' then
        return jsonb_build_object('result', 'duplicate', 'reason', null, 'delivery_id', id, 'facts', '{}'::jsonb);
      end if;
      if verdict = 'quarantined' then
        return jsonb_build_object('result', 'quarantined', 'reason', earlier.reason, 'delivery_id', id, 'facts', '{}'::jsonb);
      end if;
      -- It was not understood then. Whoever tries the same one at the same time waits here, and then finds it done.
      perform
      from metrics.deliveries as d
      where d.source = source_name
        and d.delivery_id = id
        and d.result = 'quarantined'
      for update;
      if not found then
        return jsonb_build_object('result', 'duplicate', 'reason', null, 'delivery_id', id, 'facts', '{}'::jsonb);
      end if;
      is_retry := true;
    end if;

    if unknown_kinds is not null then
      raise exception using
        errcode = '22023',
        message = format('unknown fact kind: %s', unknown_kinds),
        hint = format('Fact kinds are %s.', array_to_string(fact_kinds, ', '));
    end if;
    if nameless_kinds is not null then
      raise exception using
        errcode = '22023',
        message = format('facts without a repository: %s', nameless_kinds);
    end if;
    if new_names is not null then
      named := named || metrics.ensure_references(new_names);
      new_names := null;
    end if;
    exit when is_retry;
  end loop;

  if is_retry then
    update metrics.deliveries as d
    set
      result = verdict,
      reason = why,
      event = coalesce(delivery ->> 'event', d.event),
      fact_counts = counts,
      notes = coalesce(array(select jsonb_array_elements_text(delivery -> 'notes')), '{}'),
      reference_ids = coalesce(named, '{}'),
      body_expires_on = case when verdict = 'ignored' then null else d.body_expires_on end
    where d.source = source_name
      and d.delivery_id = id;
    if verdict = 'ignored' then
      delete from metrics.bodies as b
      where b.source = source_name
        and b.delivery_id = id;
    end if;
  elsif body is not null then
    insert into metrics.bodies (source, delivery_id, expires_on, body)
    values (source_name, id, expires_on, decode(body, 'base64'));
  end if;

  if verdict <> 'stored' then
    return jsonb_build_object('result', verdict, 'reason', why, 'delivery_id', id, 'facts', '{}'::jsonb);
  end if;

  if facts ?| joined_kinds then
    joined_names := array(
      select distinct n.name
      from unnest(joined_kinds) as k (kind)
      cross join lateral jsonb_array_elements_text(names -> k.kind) as n (name)
    );
  end if;

  -- What joins facts, and a change of the map, happens under the locks of the repositories concerned.
  if facts ? 'repositories' then
    repositories := metrics.repositories_said_anew(facts -> 'repositories');
    if repositories <> '[]' then
      claims := array(
        select c
        from metrics.new_claims(repositories) as c
      );
    end if;
  end if;
  if repositories <> '[]' then
    renamed := array(
      select r.repository_id
      from jsonb_array_elements(repositories) as f (said)
      join metrics.repository_references as r
        on r.reference = f.said ->> 'repository'
      join metrics.repositories as t
        on t.id = r.repository_id
      where (f.said ? 'full_name' and f.said ->> 'full_name' is distinct from t.full_name)
        or (f.said ? 'default_branch' and f.said ->> 'default_branch' is distinct from t.default_branch)
    );
  end if;
  if cardinality(renamed) > 0 or cardinality(claims) > 0 or exists (
    select
    from jsonb_array_elements(facts -> 'incidents') as f (said)
    where f.said ->> 'repository' is null
  ) then
    -- An incident that names a service by its name, and that name, must not miss each other. Before the repositories, always.
    perform pg_advisory_xact_lock(hashtextextended('metrics.names', 0));
  end if;
  if facts ? 'incidents' then
    concerned := metrics.repositories_of_incidents(facts -> 'incidents');
  end if;
  if cardinality(joined_names) > 0 or cardinality(claims) > 0 or cardinality(renamed) > 0 or cardinality(concerned) > 0 then
    concerned := array(
      select r.repository_id
      from metrics.repository_references as r
      where r.reference = any(joined_names)
      union
      select unnest(concerned)
      union
      select unnest(renamed)
    );
    locked := array(
      select unnest(concerned)
      union
      select unnest(array[c.claimant_repository_id, c.present_repository_id])
      from unnest(claims) as c
      where c.present_repository_id <> c.claimant_repository_id
    );
    perform metrics.lock_repositories(locked);
    if exists (
      select
      from metrics.repository_references as r
      where r.reference = any(joined_names)
        and r.repository_id <> all(locked)
    ) then
      raise exception using
        errcode = '40001',
        message = 'a repository reference came to mean another repository: try again';
    end if;
    if cardinality(joined_names) > 0 then
      select coalesce(array_agg(p.reference_id), '{}'), coalesce(array_agg(p.number), '{}')
      into touched_references, touched_numbers
      from metrics.pull_requests_touched_by(facts) as p;
    end if;
    foreach claim in array claims loop
      if not metrics.claim_url(claim) then
        raise exception using
          errcode = '40001',
          message = 'a URL came to mean another repository: try again';
      end if;
      if claim.present_repository_id <> claim.claimant_repository_id then
        moved := moved || array[claim.present_repository_id, claim.claimant_repository_id];
      end if;
    end loop;
  end if;

  if facts ?| array['test_runs', 'test_cases'] then
    facts := metrics.with_test_ids(facts);
  end if;

  if facts ? 'repositories' then
    facts := jsonb_set(facts, '{repositories}', repositories);
  end if;
  perform metrics.lock_counted(facts);
  perform metrics.fold_facts(facts);

  if cardinality(moved) > 0 then
    perform metrics.settle_moved_repositories(moved);
  end if;
  if cardinality(joined_names) > 0 or cardinality(moved) > 0 then
    select coalesce(array_agg(p.reference_id), '{}') || touched_references, coalesce(array_agg(p.number), '{}') || touched_numbers
    into touched_references, touched_numbers
    from (
      select t.reference_id, t.number
      from metrics.pull_requests_touched_by(facts) as t
      union
      select q.reference_id, q.number
      from metrics.repository_references as r
      join metrics.pull_requests as q
        on q.reference_id = r.id
      where r.repository_id = any(moved)
    ) as p;
    perform metrics.derive_pull_requests(touched_references, touched_numbers);
  end if;
  if cardinality(concerned) > 0 or cardinality(moved) > 0 or facts ? 'incidents' then
    perform metrics.derive_deliveries(facts, source_name, concerned, moved, renamed, touched_references, touched_numbers);
  end if;

  return jsonb_build_object('result', 'stored', 'reason', null, 'delivery_id', id, 'facts', counts);
end
$function$;
grant execute on function metrics.ingest(delivery jsonb, facts jsonb, body text) to service_role;
comment on function metrics.ingest(delivery jsonb, facts jsonb, body text) is 'Stores a delivery, its facts and all that follows from them in one transaction. The only writer of facts. With an identity, only what that may tell: 28000, 42501, 22008, PT429, and PT422 for an id that came before with other bytes. In place of a delivery it takes a list of calls, {delivery, facts, body} each, and returns a list of what became of them in their order, with null for each that must be made by itself.';

-- function metrics.ingest_health(days integer, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.ingest_health(days integer DEFAULT 7, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100)
 RETURNS TABLE(source text, last_received_at timestamp with time zone, seconds_since_last double precision, stored bigint, ignored bigint, quarantined bigint, unknown_words jsonb, last_stored_at timestamp with time zone, ignored_reasons jsonb, quarantined_reasons jsonb, unknown_services jsonb, reason text, page_key text, total bigint)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
#variable_conflict use_column
declare
  asked metrics.period;
  begins_at timestamptz;
begin
  perform metrics.require_reader();
  if days is null or days not between 1 and 400 then
    raise exception using
      errcode = '22023',
      message = format('days is between 1 and 400, not %s', days);
  end if;
  asked := metrics.period_of(null, null, 'none', page_after, page_size);
  if asked.after is not null and (jsonb_array_length(asked.after) <> 1 or jsonb_typeof(asked.after -> 0) <> 'string') then
    raise exception using
      errcode = '22023',
      message = format('%s is no key of a page', left(asked.after::text, 100)),
      hint = 'Pass the page_key of the last row that was read, with the arguments that it was read with.';
  end if;
  begins_at := now() - make_interval(days => days);
  return query
  -- Whoever was ever heard, from one source to the next: there are few, however many deliveries there are.
  with recursive heard (source) as (
    (
      select d.source
      from metrics.deliveries as d
      order by d.source
      limit 1
    )
    union all
    select n.source
    from heard as h
    cross join lateral (
      select d.source
      from metrics.deliveries as d
      where d.source > h.source
      order by d.source
      limit 1
    ) as n
  ),
  known as materialized (
    select h.source
    from heard as h
    union
    select r.source
    from metrics.remembered_sources as r
  ),
  senders as materialized (
    select
      k.source,
      greatest(l.received_at, r.last_received_at) as last_at,
      -- Some of what would have to be counted is no longer kept.
      coalesce(r.last_received_at >= begins_at, false) as is_cut,
      (select count(*) from known) as senders_in_all
    from known as k
    left join metrics.remembered_sources as r
      on r.source = k.source
    left join lateral (
      select d.received_at
      from metrics.deliveries as d
      where d.source = k.source
      order by d.received_at desc
      limit 1
    ) as l
      on true
    where asked.after is null
      or k.source collate "C" > asked.after ->> 0
    order by k.source collate "C"
    limit asked.page_size
  ),
  received as materialized (
    select s.source, d.result, d.reason, count(*) as deliveries
    from senders as s
    join metrics.deliveries as d
      on d.source = s.source
      and d.received_at >= begins_at
    group by s.source, d.result, d.reason
  ),
  words as materialized (
    select o.reference_id, o.provider_outcome, count(*) as times
    from (
      select p.reference_id, p.provider_outcome
      from metrics.pipeline_runs as p
      where p.outcome = 'unknown'
      union all
      select j.reference_id, j.provider_outcome
      from metrics.jobs as j
      where j.outcome = 'unknown'
      union all
      select e.reference_id, e.provider_outcome
      from metrics.deployments as e
      where e.outcome = 'unknown'
    ) as o
    where o.provider_outcome is not null
    group by o.reference_id, o.provider_outcome
  ),
  said as materialized (
    select s.source, w.provider_outcome, sum(w.times) as times
    from words as w
    join metrics.repository_references as r
      on r.id = w.reference_id
    join senders as s
      on case
        when r.source is not null then s.source = r.source
        -- A URL is no sender's own: whoever told about it may have said the word.
        else exists (
          select
          from metrics.deliveries as d
          where d.source = s.source
            and d.received_at >= begins_at
            and d.reference_ids @> array[w.reference_id]
        )
      end
    group by s.source, w.provider_outcome
  ),
  meant as materialized (
    select i.source, i.service, count(*) as times
    from metrics.incidents as i
    where i.reference_id is null
      and i.service is not null
      and i.is_withdrawn is not true
    group by i.source, i.service
  )
  select
    s.source,
    s.last_at,
    extract(epoch from now() - s.last_at)::double precision,
    case
      when not s.is_cut then coalesce((select sum(r.deliveries) from received as r where r.source = s.source and r.result = 'stored'), 0)
    end::bigint,
    case
      when not s.is_cut then coalesce((select sum(r.deliveries) from received as r where r.source = s.source and r.result = 'ignored'), 0)
    end::bigint,
    case
      when not s.is_cut then coalesce((select sum(r.deliveries) from received as r where r.source = s.source and r.result = 'quarantined'), 0)
    end::bigint,
    (
      select coalesce(jsonb_object_agg(w.provider_outcome, w.times), '{}')
      from said as w
      where w.source = s.source
    ),
    (
      select d.received_at
      from metrics.deliveries as d
      where d.source = s.source
        and d.result = 'stored'
      order by d.received_at desc
      limit 1
    ),
    case
      when not s.is_cut then (
        select coalesce(jsonb_object_agg(r.reason, r.deliveries), '{}')
        from received as r
        where r.source = s.source
          and r.result = 'ignored'
      )
    end,
    case
      when not s.is_cut then (
        select coalesce(jsonb_object_agg(r.reason, r.deliveries), '{}')
        from received as r
        where r.source = s.source
          and r.result = 'quarantined'
      )
    end,
    (
      select coalesce(jsonb_object_agg(m.service, m.times), '{}')
      from meant as m
      where m.source = s.source
        and not exists (
          select
          from metrics.services as v
          left join metrics.repositories as o
            on o.id = v.repository_id
          where v.generation = metrics.current_generation()
            and lower(coalesce(v.name, o.full_name)) = lower(m.service)
        )
    ),
    case when s.is_cut then 'outside_retention' end,
    jsonb_build_array(s.source)::text,
    s.senders_in_all
  from senders as s
  order by s.source collate "C";
end
$function$;
grant execute on function metrics.ingest_health(days integer, page_after text, page_size integer) to authenticated;
grant execute on function metrics.ingest_health(days integer, page_after text, page_size integer) to metrics_reader;
comment on function metrics.ingest_health(days integer, page_after text, page_size integer) is 'Each source that was ever heard, by name, the silent ones too: the last delivery and how many seconds ago it came; the last one that is still kept and was stored; of the last days what became of all, and why those that were not stored were not; the outcomes that no mapping knows, and the services that incidents name and nobody has. Reason: outside_retention where some deliveries of those days are no longer kept, and the counts NULL. Deliveries are read by admins and BI roles; a viewer sees none. Raises 22023 for what cannot be asked.';

-- function metrics.ingest_health_evidence(days integer, source text, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.ingest_health_evidence(days integer DEFAULT 7, source text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100)
 RETURNS SETOF metrics.evidence
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
#variable_conflict use_column
declare
  asked metrics.period;
  after metrics.evidence_key;
  rows_in_all bigint;
begin
  perform metrics.require_reader();
  if days is null or days not between 1 and 400 then
    raise exception using
      errcode = '22023',
      message = format('days is between 1 and 400, not %s', days);
  end if;
  asked := metrics.period_of(null, null, 'none', page_after, page_size);
  after := metrics.evidence_after(asked);
  select count(*)
  into rows_in_all
  from metrics.deliveries as d
  where d.result <> 'stored'
    and d.received_at >= now() - make_interval(days => days)
    and (ingest_health_evidence.source is null or d.source = ingest_health_evidence.source);

  return query
  select
    d.received_at,
    null::text,
    null::text,
    'delivery',
    d.delivery_id,
    null::text,
    d.event,
    null::double precision,
    null::text,
    d.reason,
    null::text,
    jsonb_build_object('source', d.source, 'result', d.result, 'size', d.size, 'notes', d.notes, 'body_expires_on', d.body_expires_on),
    -- Two sources may have given one id.
    metrics.evidence_page_key(d.received_at, d.source, 'delivery', d.delivery_id),
    rows_in_all
  from metrics.deliveries as d
  where d.result <> 'stored'
    and d.received_at >= greatest(after.happened_at, now() - make_interval(days => days))
    and (ingest_health_evidence.source is null or d.source = ingest_health_evidence.source)
    and (
      after.happened_at is null
      or (d.received_at, d.source collate "C", 'delivery' collate "C", d.delivery_id collate "C")
        > (after.happened_at, after.repository, after.kind, after.external_id)
    )
  order by d.received_at, d.source collate "C", d.delivery_id collate "C"
  limit asked.page_size;
end
$function$;
grant execute on function metrics.ingest_health_evidence(days integer, source text, page_after text, page_size integer) to authenticated;
grant execute on function metrics.ingest_health_evidence(days integer, source text, page_after text, page_size integer) to metrics_reader;
comment on function metrics.ingest_health_evidence(days integer, source text, page_after text, page_size integer) is 'The deliveries of the last days that were ignored or quarantined, in the order in which they came, each with its reason. Read by admins and BI roles; a viewer sees none.';

-- function metrics.ingest_together(calls jsonb)
CREATE OR REPLACE FUNCTION metrics.ingest_together(calls jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  -- What depends on one row alone, and so on no lock but the row's.
  row_kinds constant text[] := array['repositories', 'jobs', 'rule_checks', 'measurements']
    || case
      when exists (select from metrics.services as s where s.source = 'pipeline') then '{}'
      else array['pipeline_runs']
    end;
  body_days integer;
  taken bigint[];
  answers jsonb;
  facts jsonb;
begin
  perform pg_advisory_xact_lock_shared(hashtextextended('metrics.erasure', 0));
  select s.body_days
  into body_days
  from metrics.settings as s;

  with call as materialized (
    select
      c.n,
      c.said -> 'delivery' as delivery,
      c.said -> 'facts' as facts,
      jsonb_typeof(c.said -> 'body') = 'string' as has_body
    from jsonb_array_elements(calls) with ordinality as c (said, n)
  ),
  plain as materialized (
    -- The same delivery may have come twice.
    select distinct on (c.delivery ->> 'source', c.delivery ->> 'delivery_id') c.*, k.counts, r.reference_ids
    from call as c
    cross join lateral (
      select
        coalesce(jsonb_object_agg(e.kind, jsonb_array_length(e.list)) filter (where e.list <> '[]'), '{}') as counts,
        bool_and(e.kind = any(row_kinds)) is not false as is_plain
      from jsonb_each(c.facts) as e (kind, list)
    ) as k
    cross join lateral (
      select
        coalesce(array_agg(distinct r.id) filter (where r.id is not null), '{}') as reference_ids,
        bool_and(r.id is not null) is not false as are_known
      from jsonb_path_query(c.facts, '$.*[*]') as f (said)
      left join metrics.repository_references as r
        on r.reference = f.said ->> 'repository'
    ) as r
    where c.delivery ->> 'result' in ('stored', 'ignored')
      and not c.delivery ? 'identity'
      and k.is_plain
      and r.are_known
      and metrics.repositories_said_anew(coalesce(c.facts -> 'repositories', '[]')) = '[]'
    order by c.delivery ->> 'source', c.delivery ->> 'delivery_id', c.n
  ),
  put as (
    insert into metrics.deliveries as d (
      source, delivery_id, event, result, reason, size, sha256, content_type, fact_counts, notes, reference_ids, body_expires_on
    )
    select
      p.delivery ->> 'source',
      p.delivery ->> 'delivery_id',
      p.delivery ->> 'event',
      p.delivery ->> 'result',
      p.delivery ->> 'reason',
      (p.delivery ->> 'size')::integer,
      decode(p.delivery ->> 'sha256', 'hex'),
      p.delivery ->> 'content_type',
      p.counts,
      coalesce(array(select jsonb_array_elements_text(p.delivery -> 'notes')), '{}'),
      p.reference_ids,
      case when p.has_body then (now() at time zone 'UTC')::date + body_days end
    from plain as p
    order by 1, 2
    on conflict do nothing
    returning d.source, d.delivery_id, d.result, d.reason
  )
  select
    coalesce(array_agg(p.n order by p.n), '{}'),
    jsonb_object_agg(p.n, jsonb_build_object('result', i.result, 'reason', i.reason, 'delivery_id', i.delivery_id, 'facts', p.counts))
  into taken, answers
  from put as i
  join plain as p
    on p.delivery ->> 'source' = i.source
    and p.delivery ->> 'delivery_id' = i.delivery_id;

  insert into metrics.bodies (source, delivery_id, expires_on, body)
  select
    c.said -> 'delivery' ->> 'source',
    c.said -> 'delivery' ->> 'delivery_id',
    (now() at time zone 'UTC')::date + body_days,
    decode(c.said ->> 'body', 'base64')
  from jsonb_array_elements(calls) with ordinality as c (said, n)
  where c.n = any(taken)
    and c.said ->> 'body' is not null;

  select jsonb_object_agg(k.kind, k.list)
  into facts
  from (
    select e.kind, jsonb_agg(f.said order by c.n) as list
    from jsonb_array_elements(calls) with ordinality as c (said, n)
    cross join lateral jsonb_each(c.said -> 'facts') as e (kind, list)
    cross join lateral jsonb_array_elements(e.list) as f (said)
    where c.n = any(taken)
      and e.kind <> 'repositories'
    group by e.kind
  ) as k;
  if facts is not null then
    perform metrics.lock_counted(facts);
    perform metrics.fold_facts(facts);
  end if;

  -- What was there before, or came twice in this list.
  return (
    select jsonb_agg(
      coalesce(
        answers -> c.n::text,
        case
          when d.result <> 'quarantined' then jsonb_build_object('result', 'duplicate', 'reason', null, 'delivery_id', d.delivery_id, 'facts', '{}'::jsonb)
        end
      )
      order by c.n
    )
    from jsonb_array_elements(calls) with ordinality as c (said, n)
    left join metrics.deliveries as d
      on d.source = c.said -> 'delivery' ->> 'source'
      and d.delivery_id = c.said -> 'delivery' ->> 'delivery_id'
      and d.sha256 = decode(c.said -> 'delivery' ->> 'sha256', 'hex')
      and not (c.said -> 'delivery') ? 'identity'
  );
end
$function$;
comment on function metrics.ingest_together(calls jsonb) is 'Stores those of several calls that are plain in one transaction: new deliveries that carry no fact, or facts of known repositories that depend on one row alone. Null stands for a call that was left alone.';

-- function metrics.is_admin()
CREATE OR REPLACE FUNCTION metrics.is_admin()
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO ''
AS $function$
begin
  return exists (
    select
    from metrics.members as m
    where m.user_id = (select auth.uid())
      and m.role = 'admin'
  );
end
$function$;
grant execute on function metrics.is_admin() to authenticated;
grant execute on function metrics.is_admin() to metrics_reader;
comment on function metrics.is_admin() is 'Whether the signed-in user is an admin.';

-- function metrics.is_member()
CREATE OR REPLACE FUNCTION metrics.is_member()
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO ''
AS $function$
begin
  return exists (
    select
    from metrics.members as m
    where m.user_id = (select auth.uid())
  );
end
$function$;
grant execute on function metrics.is_member() to authenticated;
grant execute on function metrics.is_member() to metrics_reader;
comment on function metrics.is_member() is 'Whether the signed-in user is a member.';

-- function metrics.is_operator()
CREATE OR REPLACE FUNCTION metrics.is_operator()
 RETURNS boolean
 LANGUAGE sql
 STABLE
 SET search_path TO ''
AS $function$
  select pg_has_role(metrics.caller(), n.nspowner, 'member')
  from pg_catalog.pg_namespace as n
  where n.nspname = 'metrics'
$function$;
comment on function metrics.is_operator() is 'Whether the caller owns the schema: postgres, in SQL, not through the Data API.';

-- function metrics.is_within(reference text, permitted text[], source text)
CREATE OR REPLACE FUNCTION metrics.is_within(reference text, permitted text[], source text)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
begin
  return coalesce(case when permitted is null then starts_with(reference, source || ':') else reference = any(permitted) end, false);
end
$function$;
comment on function metrics.is_within(reference text, permitted text[], source text) is 'Whether a repository reference is among those permitted; NULL permits all of the source. False for no reference.';

-- function metrics.job_health(since date, until date, bucket text, by text, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text)
CREATE OR REPLACE FUNCTION metrics.job_health(since date DEFAULT NULL::date, until date DEFAULT NULL::date, bucket text DEFAULT 'none'::text, by text DEFAULT 'nothing'::text, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, branch text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100, pipeline text DEFAULT NULL::text, job text DEFAULT NULL::text)
 RETURNS TABLE(bucket_start date, name text, runs bigint, success bigint, failure bigint, timed_out bigint, error bigint, cancelled bigint, skipped bigint, neutral bigint, unknown bigint, success_rate double precision, duration_p50_seconds double precision, duration_p75_seconds double precision, duration_p95_seconds double precision, queue_p50_seconds double precision, queue_p75_seconds double precision, queue_p95_seconds double precision, duration_sample_size bigint, queue_sample_size bigint, reason text, is_exact boolean, is_frozen boolean, page_key text, total bigint)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_tidscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_nestloop TO 'off'
 SET enable_sort TO 'off'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
declare
  fractions constant double precision[] := array[0.5, 0.75, 0.95];
  asked metrics.period;
  grouping text;
  horizon date;
  reference_ids bigint[];
  default_branches text[];
  labels text[];
  places integer[];
  is_unknown boolean;
  by_pipeline boolean;
  by_job boolean;
  first_week date;
  end_week date;
  from_weeks boolean;
  kept_weeks date[];
  kept_buckets date[];
  is_exact boolean;
  all_jobs bigint;
  groups text[];
  groups_shown text[];
  first_bucket date;
  last_bucket date;
  lines metrics.health_line[];
begin
  perform metrics.require_reader();
  asked := metrics.period_of(job_health.since, job_health.until, job_health.bucket, page_after, page_size);
  grouping := metrics.checked_word('by', job_health.by, array['nothing', 'repository', 'pipeline', 'job']);
  select
    coalesce(array_agg(r.reference_id), '{}'),
    coalesce(array_agg(r.default_branch), '{}'),
    coalesce(array_agg(r.place), '{}'),
    coalesce(array_agg(distinct r.label) filter (where grouping <> 'nothing'), array[''])
  into reference_ids, default_branches, places, labels
  from (
    select
      s.reference_id,
      s.default_branch,
      s.label,
      case when grouping = 'nothing' then 1 else dense_rank() over (order by s.label) end as place
    from (
      select o.reference_id, t.default_branch, o.label collate "C" as label
      from metrics.selected_references(job_health.repository, job_health.team) as o
      join metrics.repositories as t
        on t.id = o.repository_id
    ) as s
  ) as r;
  is_unknown := reference_ids = '{}' and (job_health.repository is not null or job_health.team is not null);
  if is_unknown then
    grouping := 'nothing';
    labels := array[''];
  end if;
  by_pipeline := grouping in ('pipeline', 'job');
  by_job := grouping = 'job';
  horizon := metrics.job_horizon();
  first_week := date_trunc('week', asked.since::timestamp)::date;
  end_week := date_trunc('week', (asked.until + 6)::timestamp)::date;

  -- Few jobs are read one by one, and their percentiles are exact. Branches are not counted by weeks.
  from_weeks := job_health.branch is null and metrics.has_many_jobs(asked, reference_ids, job_health.pipeline, job_health.job);

  select coalesce(array_agg(w.week), '{}'), coalesce(array_agg(w.bucket_start), '{}')
  into kept_weeks, kept_buckets
  from metrics.kept_weeks_of(asked, from_weeks, reference_ids) as w
  where job_health.branch is null;

  is_exact := kept_weeks = '{}' and not from_weeks;

  -- What ran in the period, whatever its weeks and the days beside them say by themselves.
  if by_pipeline or (is_exact and job_health.branch is not null) then
    select coalesce(array_agg(distinct n.name collate "C"), '{}'), coalesce(sum(n.jobs), 0)
    into groups, all_jobs
    from (
      select labels[k.place] || ' / ' || k.pipeline || case when by_job then ' / ' || k.job else '' end as name, sum(k.jobs) as jobs
      from (
        select r.place, n.pipeline, case when by_job then n.job end as job, n.jobs
        from unnest(reference_ids, places) as r (reference_id, place)
        cross join lateral (
          select
            f.week,
            f.pipeline,
            f.job,
            f.success + f.failure + f.timed_out + f.error + f.cancelled + f.skipped + f.neutral + f.unknown as jobs
          from metrics.job_weeks as f
          where f.generation = asked.generation
            and f.reference_id = r.reference_id
            and f.week >= first_week
            and f.week < end_week
            and (from_weeks or f.week < horizon)
            and (job_health.pipeline is null or f.pipeline = job_health.pipeline)
            and (job_health.job is null or f.job = job_health.job)
          offset 0
        ) as n
        where n.week in (
          select w.week
          from unnest(kept_weeks) as w (week)
        )
        union all
        select r.place, j.pipeline, case when by_job then j.job end, s.times * j.jobs
        from metrics.kept_days_of(asked, from_weeks) as s
        cross join unnest(reference_ids, places, default_branches) as r (reference_id, place, default_branch)
        cross join lateral (
          select coalesce(f.pipeline, '') as pipeline, coalesce(f.name, '') as job, count(*) as jobs
          from metrics.jobs as f
          where f.reference_id = r.reference_id
            and f.ended_at >= s.starts_at
            and f.ended_at < s.ends_at
            and (job_health.pipeline is null or coalesce(f.pipeline, '') = job_health.pipeline)
            and (job_health.job is null or coalesce(f.name, '') = job_health.job)
            and (
              job_health.branch is null
              or f.branch = case when job_health.branch = 'default' then r.default_branch else job_health.branch end
            )
          group by 1, 2
          offset 0
        ) as j
      ) as k
      group by k.place, k.pipeline, k.job
      having sum(k.jobs) > 0
    ) as n;
    is_exact := is_exact and all_jobs <= 2000;
  end if;
  if not by_pipeline then
    groups := labels;
  end if;

  -- Only what stands on the page is read.
  select array_agg(distinct coalesce(g.name, '')), min(g.bucket_start), max(g.bucket_start)
  into groups_shown, first_bucket, last_bucket
  from metrics.page_of(asked, groups, array['']) as g;
  if grouping <> 'nothing' then
    select coalesce(array_agg(r.reference_id), '{}'), coalesce(array_agg(r.place), '{}'), coalesce(array_agg(r.default_branch), '{}')
    into reference_ids, places, default_branches
    from unnest(reference_ids, places, default_branches) as r (reference_id, place, default_branch)
    where exists (
      select
      from unnest(groups_shown) as g (name)
      where case when by_pipeline then starts_with(g.name, labels[r.place] || ' / ') else g.name = labels[r.place] end
    );
  end if;

  lines := array(
    with weeks as materialized (
      select w.week, w.bucket_start
      from unnest(kept_weeks, kept_buckets) as w (week, bucket_start)
      where (w.bucket_start between first_bucket and last_bucket) is not false
    ),
    stretches as materialized (
      select d.bucket_start, d.starts_at, d.ends_at, d.times
      from metrics.kept_days_of(asked, from_weeks) as d
      where (d.bucket_start between first_bucket and last_bucket) is not false
    ),
    counted as (
      select
        labels[n.place] || case when by_pipeline then ' / ' || n.pipeline else '' end || case when by_job then ' / ' || n.job else '' end as name,
        n.*
      from (
        select
          r.place,
          case when by_pipeline then n.pipeline end as pipeline,
          case when by_job then n.job end as job,
          w.bucket_start,
          sum(n.success) as success,
          sum(n.failure) as failure,
          sum(n.timed_out) as timed_out,
          sum(n.error) as error,
          sum(n.cancelled) as cancelled,
          sum(n.skipped) as skipped,
          sum(n.neutral) as neutral,
          sum(n.unknown) as unknown,
          sum(n.duration_tally) as duration_tally,
          sum(n.queue_tally) as queue_tally,
          null::double precision[] as durations,
          null::double precision[] as queues,
          null::bigint as measured_durations,
          null::bigint as measured_queues
        from unnest(reference_ids, places) as r (reference_id, place)
        cross join lateral (
          select
            f.week, f.pipeline, f.job, f.success, f.failure, f.timed_out, f.error, f.cancelled, f.skipped, f.neutral, f.unknown,
            f.duration_tally, f.queue_tally
          from metrics.job_weeks as f
          where f.generation = asked.generation
            and f.reference_id = r.reference_id
            and f.week >= first_week
            and f.week < end_week
            and (from_weeks or f.week < horizon)
            and (job_health.pipeline is null or f.pipeline = job_health.pipeline)
            and (job_health.job is null or f.job = job_health.job)
          offset 0
        ) as n
        join weeks as w
          on w.week = n.week
        group by 1, 2, 3, 4
      ) as n
      union all
      select
        coalesce(
          p.name,
          labels[p.place] || case when by_pipeline then ' / ' || p.pipeline else '' end || case when by_job then ' / ' || p.job else '' end
        ),
        p.place,
        p.pipeline,
        p.job,
        p.bucket_start,
        p.times * p.success,
        p.times * p.failure,
        p.times * p.timed_out,
        p.times * p.error,
        p.times * p.cancelled,
        p.times * p.skipped,
        p.times * p.neutral,
        p.times * p.unknown,
        case when not is_exact then p.times * metrics.tally_of_all(p.durations) end,
        case when not is_exact then p.times * metrics.tally_of_all(p.queues) end,
        case
          when is_exact then (
            select percentile_disc(fractions) within group (order by v.seconds)
            from unnest(p.durations) as v (seconds)
          )
        end,
        case
          when is_exact then (
            select percentile_disc(fractions) within group (order by v.seconds)
            from unnest(p.queues) as v (seconds)
          )
        end,
        p.measured_durations,
        p.measured_queues
      -- Two jobs may have one name together with their pipelines. Tallies can be added; for exact percentiles all values of a row are needed.
      from (
        select
          case
            when is_exact
              then labels[r.place] || case when by_pipeline then ' / ' || n.pipeline else '' end || case when by_job then ' / ' || n.job else '' end
          end as name,
          case when not is_exact then r.place end as place,
          case when by_pipeline and not is_exact then n.pipeline end as pipeline,
          case when by_job and not is_exact then n.job end as job,
          s.bucket_start,
          s.times,
          count(*) filter (where n.outcome = 'success') as success,
          count(*) filter (where n.outcome = 'failure') as failure,
          count(*) filter (where n.outcome = 'timed_out') as timed_out,
          count(*) filter (where n.outcome = 'error') as error,
          count(*) filter (where n.outcome = 'cancelled') as cancelled,
          count(*) filter (where n.outcome = 'skipped') as skipped,
          count(*) filter (where n.outcome = 'neutral') as neutral,
          count(*) filter (where n.outcome = 'unknown') as unknown,
          array_agg(n.duration_seconds) as durations,
          array_agg(n.queue_seconds) as queues,
          count(n.duration_seconds) as measured_durations,
          count(n.queue_seconds) as measured_queues
        from stretches as s
        cross join unnest(reference_ids, places, default_branches) as r (reference_id, place, default_branch)
        cross join lateral (
          select coalesce(f.pipeline, '') as pipeline, coalesce(f.name, '') as job, f.outcome, f.duration_seconds, f.queue_seconds
          from metrics.jobs as f
          where f.reference_id = r.reference_id
            and f.ended_at >= s.starts_at
            and f.ended_at < s.ends_at
            and (job_health.pipeline is null or coalesce(f.pipeline, '') = job_health.pipeline)
            and (job_health.job is null or coalesce(f.name, '') = job_health.job)
            and (
              job_health.branch is null
              or f.branch = case when job_health.branch = 'default' then r.default_branch else job_health.branch end
            )
          offset 0
        ) as n
        group by 1, 2, 3, 4, 5, 6
      ) as p
    )
    select
      row(
        c.name, c.bucket_start, c.success, c.failure, c.timed_out, c.error, c.cancelled, c.skipped, c.neutral, c.unknown, null, null, null, null,
        null,
        case when is_exact then c.durations else d.percentiles end,
        case when is_exact then c.queues else q.percentiles end,
        case when is_exact then c.measured_durations else d.sample_size end,
        case when is_exact then c.measured_queues else q.sample_size end
      )::metrics.health_line
    from (
      select
        c.name,
        c.bucket_start,
        sum(c.success)::bigint as success,
        sum(c.failure)::bigint as failure,
        sum(c.timed_out)::bigint as timed_out,
        sum(c.error)::bigint as error,
        sum(c.cancelled)::bigint as cancelled,
        sum(c.skipped)::bigint as skipped,
        sum(c.neutral)::bigint as neutral,
        sum(c.unknown)::bigint as unknown,
        sum(c.duration_tally) as duration_tally,
        sum(c.queue_tally) as queue_tally,
        max(c.durations) as durations,
        max(c.queues) as queues,
        sum(c.measured_durations)::bigint as measured_durations,
        sum(c.measured_queues)::bigint as measured_queues
      from counted as c
      group by c.name, c.bucket_start
    ) as c
    -- Each by itself (offset 0), so that none is called where percentiles are exact.
    left join lateral (
      select p.sample_size, p.percentiles
      from metrics.percentiles_of(c.duration_tally, fractions) as p
      where not is_exact
      offset 0
    ) as d
      on true
    left join lateral (
      select p.sample_size, p.percentiles
      from metrics.percentiles_of(c.queue_tally, fractions) as p
      where not is_exact
      offset 0
    ) as q
      on true
    where c.name = any(groups_shown)
  );

  return query
  select
    g.bucket_start,
    g.name,
    case when h.has_numbers then n.jobs end,
    case when h.has_numbers then coalesce(l.success, 0) end,
    case when h.has_numbers then coalesce(l.failure, 0) end,
    case when h.has_numbers then coalesce(l.timed_out, 0) end,
    case when h.has_numbers then coalesce(l.error, 0) end,
    case when h.has_numbers then coalesce(l.cancelled, 0) end,
    case when h.has_numbers then coalesce(l.skipped, 0) end,
    case when h.has_numbers then coalesce(l.neutral, 0) end,
    case when h.has_numbers then coalesce(l.unknown, 0) end,
    n.success_rate,
    l.durations[1],
    l.durations[2],
    l.durations[3],
    l.queues[1],
    l.queues[2],
    l.queues[3],
    case when h.has_numbers then coalesce(l.measured_durations, 0) end,
    case when h.has_numbers then coalesce(l.measured_queues, 0) end,
    case
      when is_unknown then 'unknown_service'
      when not h.has_numbers then 'outside_retention'
      when num_nulls(n.success_rate, l.durations[1], l.queues[1]) > 0 then 'too_few'
    end,
    case when not is_unknown then is_exact end,
    case when not is_unknown then b.first_day < horizon end,
    g.page_key,
    g.total
  from metrics.page_of(asked, groups, array['']) as g
  join metrics.buckets_of(asked) as b
    on b.bucket_start is not distinct from g.bucket_start
  left join unnest(lines) as l
    on l.name = coalesce(g.name, '')
    and l.bucket_start is not distinct from g.bucket_start
  cross join lateral (
    select
      coalesce(l.success + l.failure + l.timed_out + l.error + l.cancelled + l.skipped + l.neutral + l.unknown, 0) as jobs,
      l.success::double precision / nullif(l.success + l.failure + l.timed_out + l.error, 0) as success_rate
  ) as n
  -- Else nothing is known of it: neither its jobs are left nor what was counted of them.
  cross join lateral (
    select
      not is_unknown
        and (
          b.end_day > horizon
          or exists (
            select
            from unnest(kept_buckets) as k (bucket_start)
            where k.bucket_start is not distinct from g.bucket_start
          )
        ) as has_numbers
  ) as h
  order by g.name collate "C" nulls first, g.bucket_start;
end
$function$;
grant execute on function metrics.job_health(since date, until date, bucket text, by text, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text) to authenticated;
grant execute on function metrics.job_health(since date, until date, bucket text, by text, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text) to metrics_reader;
comment on function metrics.job_health(since date, until date, bucket text, by text, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text) is 'Finished jobs by outcome; success rate from 0 to 1; seconds that they took and waited, each with how many it is of. By nothing, repository, pipeline or job; branch is a name, default for the repository''s default branch, or NULL for all. is_frozen: it begins before the horizon, where jobs are dropped: of that time only what was counted by week is in it, and of a branch nothing. reason is too_few where a number beside it is NULL, outside_retention where nothing of the time is left.';

-- function metrics.job_health_evidence(since date, until date, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text)
CREATE OR REPLACE FUNCTION metrics.job_health_evidence(since date DEFAULT NULL::date, until date DEFAULT NULL::date, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, branch text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100, pipeline text DEFAULT NULL::text, job text DEFAULT NULL::text)
 RETURNS SETOF metrics.evidence
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
 SET enable_bitmapscan TO 'off'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
declare
  asked metrics.period;
  after metrics.evidence_key;
  horizon date;
  begins_at timestamptz;
  ends_at timestamptz;
  all_rows bigint;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(job_health_evidence.since, job_health_evidence.until, 'none', page_after, page_size);
  after := metrics.evidence_after(asked);
  horizon := metrics.job_horizon();
  asked.since := greatest(asked.since, horizon);
  if asked.since >= asked.until then
    return;
  end if;
  begins_at := greatest(after.happened_at, metrics.midnight(asked.since, asked.time_zone));
  ends_at := metrics.midnight(asked.until, asked.time_zone);
  all_rows := metrics.kept_jobs(
    asked,
    array(
      select r.reference_id
      from metrics.selected_references(job_health_evidence.repository, job_health_evidence.team) as r
    ),
    job_health_evidence.branch,
    job_health_evidence.pipeline,
    job_health_evidence.job
  );

  return query
  select
    p.at,
    p.label,
    null::text,
    'job',
    p.external_id,
    p.commit_sha,
    p.name,
    p.duration_seconds,
    'seconds',
    case when p.duration_seconds is null then 'too_few' end,
    p.url,
    jsonb_build_object(
      'pipeline', p.pipeline,
      'run_external_id', p.run_external_id,
      'attempt', p.attempt,
      'branch', p.branch,
      'outcome', p.outcome,
      'provider_outcome', p.provider_outcome,
      'runner', metrics.runner_of(p.runner_labels),
      'queue_seconds', p.queue_seconds
    ),
    metrics.evidence_page_key(p.at, p.label, 'job', p.external_id),
    all_rows
  from (
    select r.label, f.*
    from metrics.selected_references(job_health_evidence.repository, job_health_evidence.team) as r
    join metrics.repositories as t
      on t.id = r.repository_id
    cross join lateral (
      select e.ended_at as at, e.*
      from metrics.jobs as e
      where e.reference_id = r.reference_id
        and e.ended_at >= begins_at
        and e.ended_at < ends_at
        and (job_health_evidence.pipeline is null or coalesce(e.pipeline, '') = job_health_evidence.pipeline)
        and (job_health_evidence.job is null or coalesce(e.name, '') = job_health_evidence.job)
        and (
          job_health_evidence.branch is null
          or e.branch = case when job_health_evidence.branch = 'default' then t.default_branch else job_health_evidence.branch end
        )
        and (
          after.happened_at is null
          or (e.ended_at, r.label, e.external_id)
            > (after.happened_at, after.repository collate "C", after.external_id collate "C")
        )
      order by e.ended_at, e.external_id collate "C"
      limit asked.page_size
    ) as f
    order by f.at, r.label collate "C", f.external_id collate "C"
    limit asked.page_size
  ) as p
  order by p.at, p.label collate "C", p.external_id collate "C";
end
$function$;
grant execute on function metrics.job_health_evidence(since date, until date, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text) to authenticated;
grant execute on function metrics.job_health_evidence(since date, until date, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text) to metrics_reader;
comment on function metrics.job_health_evidence(since date, until date, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text) is 'The jobs behind job_health that are still kept, by the time at which they ended; value is the seconds that each took.';

-- function metrics.job_horizon()
CREATE OR REPLACE FUNCTION metrics.job_horizon()
 RETURNS date
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
AS $function$
begin
  return coalesce(
    (
      select h.before
      from metrics.horizons as h
      where h.fact = 'jobs'
    ),
    '-infinity'
  );
end
$function$;
grant execute on function metrics.job_horizon() to authenticated;
grant execute on function metrics.job_horizon() to metrics_reader;
comment on function metrics.job_horizon() is 'Jobs of weeks before this Monday may be gone; -infinity while all are kept.';

-- function metrics.kept_days_of(asked metrics.period, from_weeks boolean)
CREATE OR REPLACE FUNCTION metrics.kept_days_of(asked metrics.period, from_weeks boolean)
 RETURNS TABLE(bucket_start date, week date, starts_at timestamp with time zone, ends_at timestamp with time zone, times integer)
 LANGUAGE plpgsql
 STABLE ROWS 60
 SET search_path TO ''
AS $function$
#variable_conflict use_column
declare
  horizon constant date := metrics.job_horizon();
  begins_at constant timestamptz := metrics.midnight(horizon, asked.time_zone);
begin
  return query
  select d.bucket_start, d.week, d.starts_at, d.ends_at, d.times
  from metrics.days_off_weeks_of(asked) as d
  where from_weeks
    and d.week >= horizon
  union all
  select s.bucket_start, null, greatest(s.starts_at, begins_at), s.ends_at, 1
  from metrics.stretches_of(asked) as s
  where not from_weeks
    and s.ends_at > begins_at;
end
$function$;
grant execute on function metrics.kept_days_of(asked metrics.period, from_weeks boolean) to authenticated;
grant execute on function metrics.kept_days_of(asked metrics.period, from_weeks boolean) to metrics_reader;
comment on function metrics.kept_days_of(asked metrics.period, from_weeks boolean) is 'The stretches whose jobs are read one by one: beside the weeks of a period with many (from_weeks), else all of it from the horizon on.';

-- function metrics.kept_jobs(asked metrics.period, reference_ids bigint[], branch text, pipeline text, job text)
CREATE OR REPLACE FUNCTION metrics.kept_jobs(asked metrics.period, reference_ids bigint[], branch text, pipeline text, job text)
 RETURNS bigint
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET enable_sort TO 'off'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
declare
  horizon constant date := metrics.job_horizon();
  from_weeks constant boolean := kept_jobs.branch is null;
begin
  asked.since := greatest(asked.since, horizon);
  if asked.since >= asked.until then
    return 0;
  end if;
  return coalesce(sum(c.jobs), 0)
  from (
    select sum(w.success + w.failure + w.timed_out + w.error + w.cancelled + w.skipped + w.neutral + w.unknown) as jobs
    from unnest(kept_jobs.reference_ids) as r (id)
    cross join lateral (
      select *
      from metrics.job_weeks as f
      where from_weeks
        and f.generation = asked.generation
        and f.reference_id = r.id
        and f.week >= date_trunc('week', asked.since::timestamp)::date
        and f.week < asked.until
        and (kept_jobs.pipeline is null or f.pipeline = kept_jobs.pipeline)
        and (kept_jobs.job is null or f.job = kept_jobs.job)
      offset 0
    ) as w
    where w.week in (
      select n.week
      from metrics.nearest_weeks_of(asked) as n
      where n.is_counted
    )
    union all
    select sum(d.times * e.jobs)
    from unnest(kept_jobs.reference_ids) as r (id)
    cross join (
      select o.starts_at, o.ends_at, o.times
      from metrics.days_off_weeks_of(asked) as o
      where from_weeks
      union all
      select o.starts_at, o.ends_at, 1
      from metrics.stretches_of(asked) as o
      where not from_weeks
    ) as d
    cross join lateral (
      select count(*) as jobs
      from metrics.jobs as f
      where f.reference_id = r.id
        and f.ended_at >= d.starts_at
        and f.ended_at < d.ends_at
        and (kept_jobs.pipeline is null or coalesce(f.pipeline, '') = kept_jobs.pipeline)
        and (kept_jobs.job is null or coalesce(f.name, '') = kept_jobs.job)
        and (
          from_weeks
          or f.branch = case
            when kept_jobs.branch = 'default' then (
              select t.default_branch
              from metrics.repository_references as k
              join metrics.repositories as t
                on t.id = k.repository_id
              where k.id = r.id
            )
            else kept_jobs.branch
          end
        )
    ) as e
  ) as c;
end
$function$;
grant execute on function metrics.kept_jobs(asked metrics.period, reference_ids bigint[], branch text, pipeline text, job text) to authenticated;
grant execute on function metrics.kept_jobs(asked metrics.period, reference_ids bigint[], branch text, pipeline text, job text) to metrics_reader;
comment on function metrics.kept_jobs(asked metrics.period, reference_ids bigint[], branch text, pipeline text, job text) is 'How many finished jobs of a period are still kept.';

-- function metrics.kept_weeks_of(asked metrics.period, from_weeks boolean, reference_ids bigint[])
CREATE OR REPLACE FUNCTION metrics.kept_weeks_of(asked metrics.period, from_weeks boolean, reference_ids bigint[])
 RETURNS TABLE(bucket_start date, week date)
 LANGUAGE plpgsql
 STABLE ROWS 60
 SET search_path TO ''
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
AS $function$
#variable_conflict use_column
declare
  horizon constant date := metrics.job_horizon();
begin
  return query
  select w.bucket_start, w.week
  from metrics.nearest_weeks_of(asked) as w
  -- Of a frozen week no day can be taken away any more: it stands whole where most of its working days lie. Which weeks were counted is told
  -- by what was asked for alone, so that nobody learns in which weeks something else ran.
  where w.is_counted
    and case
      when w.week >= horizon then from_weeks
      else exists (
        select
        from unnest(kept_weeks_of.reference_ids) as r (id)
        cross join lateral (
          select
          from metrics.job_weeks as f
          where f.generation = asked.generation
            and f.reference_id = r.id
            and f.week = w.week
          limit 1
        ) as f
      )
    end;
end
$function$;
grant execute on function metrics.kept_weeks_of(asked metrics.period, from_weeks boolean, reference_ids bigint[]) to authenticated;
grant execute on function metrics.kept_weeks_of(asked metrics.period, from_weeks boolean, reference_ids bigint[]) to metrics_reader;
comment on function metrics.kept_weeks_of(asked metrics.period, from_weeks boolean, reference_ids bigint[]) is 'The weeks whose jobs are read as they were counted: those of a period with many (from_weeks), and those before the horizon in which something was counted of these references, and of which nothing else is left.';

-- function metrics.key_of_page(asked metrics.period, kinds text[])
CREATE OR REPLACE FUNCTION metrics.key_of_page(asked metrics.period, kinds text[])
 RETURNS jsonb
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO ''
AS $function$
begin
  if asked.after is not null
    and (
      array(
        select jsonb_typeof(k.value)
        from jsonb_array_elements(asked.after) with ordinality as k (value, place)
        order by k.place
      ) <> kinds
      -- No number of a row is outside what a column holds.
      or exists (
        select
        from jsonb_array_elements(asked.after) as k (value)
        where jsonb_typeof(k.value) = 'number'
          and not pg_input_is_valid(k.value::text, 'double precision')
      )
    ) then
    raise exception using
      errcode = '22023',
      message = format('%s is no key of a page', left(asked.after::text, 100)),
      hint = 'Pass the page_key of the last row that was read, with the arguments that it was read with.';
  end if;
  return asked.after;
end
$function$;
grant execute on function metrics.key_of_page(asked metrics.period, kinds text[]) to authenticated;
grant execute on function metrics.key_of_page(asked metrics.period, kinds text[]) to metrics_reader;
comment on function metrics.key_of_page(asked metrics.period, kinds text[]) is 'The key after which a page begins, once it is known to be of these kinds of JSON; NULL for the first page. Raises 22023 for what is no such key.';

-- function metrics.latest_jobs_with_steps(asked metrics.period, reference_ids bigint[], branch text, pipeline text, job text)
CREATE OR REPLACE FUNCTION metrics.latest_jobs_with_steps(asked metrics.period, reference_ids bigint[], branch text, pipeline text, job text)
 RETURNS TABLE(reference_id bigint, external_id text, at timestamp with time zone)
 LANGUAGE plpgsql
 STABLE ROWS 5000
 SET search_path TO ''
AS $function$
#variable_conflict use_column
declare
  most constant integer := 5000;
  begins_at constant timestamptz := metrics.midnight(
    greatest(
      asked.since,
      (
        select h.before
        from metrics.horizons as h
        where h.fact = 'jobs'
      )
    ),
    asked.time_zone
  );
  ends_at constant timestamptz := metrics.midnight(asked.until, asked.time_zone);
  looks_back interval := interval '1 day';
  branches text[];
  names text[];
  many bigint;
begin
  select
    array_agg(case when latest_jobs_with_steps.branch = 'default' then t.default_branch else latest_jobs_with_steps.branch end order by r.place),
    array_agg(k.reference order by r.place)
  into branches, names
  from unnest(latest_jobs_with_steps.reference_ids) with ordinality as r (id, place)
  join metrics.repository_references as k
    on k.id = r.id
  join metrics.repositories as t
    on t.id = k.repository_id;
  -- Of many repositories each would give its latest 5000: a stretch is looked for that has so many of all.
  loop
    exit when cardinality(latest_jobs_with_steps.reference_ids) <= 2;
    exit when ends_at - looks_back <= begins_at;
    select count(*)
    into many
    from (
      select
      from unnest(latest_jobs_with_steps.reference_ids, branches) as r (id, branch)
      cross join lateral (
        select
        from metrics.jobs as e
        where e.reference_id = r.id
          and e.ended_at >= ends_at - looks_back
          and e.ended_at < ends_at
          and e.steps is not null
          and (latest_jobs_with_steps.branch is null or e.branch = r.branch)
          and (latest_jobs_with_steps.pipeline is null or coalesce(e.pipeline, '') = latest_jobs_with_steps.pipeline)
          and (latest_jobs_with_steps.job is null or coalesce(e.name, '') = latest_jobs_with_steps.job)
        offset 0
      ) as e
      limit most
    ) as n;
    exit when many = most;
    looks_back := looks_back * 2;
  end loop;
  return query
  select f.reference_id, f.external_id, f.at
  from unnest(latest_jobs_with_steps.reference_ids, branches, names) as r (id, branch, name)
  cross join lateral (
    select e.reference_id, e.external_id, e.ended_at as at
    from metrics.jobs as e
    where e.reference_id = r.id
      and e.ended_at >= greatest(
        begins_at,
        case when cardinality(latest_jobs_with_steps.reference_ids) > 2 then ends_at - looks_back end
      )
      and e.ended_at < ends_at
      and e.steps is not null
      and (latest_jobs_with_steps.branch is null or e.branch = r.branch)
      and (latest_jobs_with_steps.pipeline is null or coalesce(e.pipeline, '') = latest_jobs_with_steps.pipeline)
      and (latest_jobs_with_steps.job is null or coalesce(e.name, '') = latest_jobs_with_steps.job)
    order by e.ended_at desc, e.external_id collate "C" desc
    limit most
  ) as f
  order by f.at desc, r.name collate "C" desc, f.external_id collate "C" desc
  limit most;
end
$function$;
grant execute on function metrics.latest_jobs_with_steps(asked metrics.period, reference_ids bigint[], branch text, pipeline text, job text) to authenticated;
grant execute on function metrics.latest_jobs_with_steps(asked metrics.period, reference_ids bigint[], branch text, pipeline text, job text) to metrics_reader;
comment on function metrics.latest_jobs_with_steps(asked metrics.period, reference_ids bigint[], branch text, pipeline text, job text) is 'The latest 5000 finished jobs of a period that tell their steps.';

-- function metrics.link_all_lost_incidents(generation integer)
CREATE OR REPLACE FUNCTION metrics.link_all_lost_incidents(generation integer)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  reached jsonb := '[]';
begin
  while reached is not null loop
    reached := metrics.link_lost_incidents(link_all_lost_incidents.generation, reached ->> 0, reached ->> 1, 1000);
  end loop;
end
$function$;
comment on function metrics.link_all_lost_incidents(generation integer) is 'The same, all of them.';

-- function metrics.link_incidents(generation integer, repository bigint, since timestamp with time zone, sources text[], external_ids text[])
CREATE OR REPLACE FUNCTION metrics.link_incidents(generation integer, repository bigint, since timestamp with time zone, sources text[], external_ids text[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
 SET enable_hashjoin TO 'on'
AS $function$
#variable_conflict use_column
declare
  siblings constant bigint[] := array(select r.id from metrics.repository_references as r where r.repository_id = repository);
  incident_window constant interval := (
    select make_interval(secs => g.incident_window_seconds)
    from metrics.generations as g
    where g.id = link_incidents.generation
  );
  marked record;
begin
  for marked in
    with concerned as materialized (
      select i.source, i.external_id
      from metrics.incidents as i
      where i.reference_id = any(siblings)
        and (i.opened_at >= since or i.deployment_external_id is not null or i.commit_sha is not null)
      union
      select i.source, i.external_id
      from metrics.services as s
      cross join lateral (select lower(metrics.service_label(s.id)) as label offset 0) as l
      join metrics.incidents as i
        on lower(i.service) = l.label
        and i.reference_id is null
        and (i.opened_at >= since or i.deployment_external_id is not null or i.commit_sha is not null)
      where s.generation = link_incidents.generation
        and s.repository_id = repository
      union
      -- Those of a name that it had before.
      select t.incident_source, t.incident_external_id
      from metrics.deployment_failures as t
      where t.generation = link_incidents.generation
        and t.repository_id = repository
        and t.cause = 'incident'
        and since = '-infinity'
      union
      select u.source, u.external_id
      from unnest(sources, external_ids) as u (source, external_id)
    ),
    incident as materialized (
      select i.*, r.repository_id as about_repository
      from concerned as c
      join metrics.incidents as i
        on i.source = c.source
        and i.external_id = c.external_id
      left join metrics.repository_references as r
        on r.id = i.reference_id
      where i.is_withdrawn is not true
        and i.opened_at is not null
    ),
    placed as (
      select
        i.source,
        i.external_id,
        i.opened_at,
        i.resolved_at,
        coalesce(n.repository_id, a.repository_id, i.about_repository) as repository_id,
        coalesce(n.service_id, a.service_id) as service_id,
        coalesce(n.id, w.id) as failed_id
      from incident as i
      left join lateral (
        -- The service that it is about, if that is certain.
        select c.service_id, c.repository_id
        from (
          select s.service_id, s.repository_id
          from (
            select v.id as service_id, v.repository_id, count(*) over () as services, v.name
            from metrics.services as v
            where v.generation = link_incidents.generation
              and v.repository_id = i.about_repository
          ) as s
          where s.services = 1
            or lower(s.name) = lower(i.service)
          union all
          select s.service_id, s.repository_id
          from metrics.services_called(link_incidents.generation, i.service) as s
          where i.reference_id is null
        ) as c
        -- Ids differ from one generation to the next: what is called alike is told apart by what senders say.
        order by
          metrics.service_label(c.service_id) collate "C",
          (
            select min(f.reference collate "C")
            from metrics.repository_references as f
            where f.repository_id = c.repository_id
              and f.source is not null
          ),
          c.service_id
        limit 1
      ) as a
        on true
      left join lateral (
        -- The deployment that it names, or the last of the commit that it names.
        select d.id, d.service_id, d.repository_id
        from (
          select o.*
          from metrics.repository_references as f
          join metrics.service_deployments as o
            on o.generation + 0 = link_incidents.generation
            and o.reference_id = f.id
            and o.external_id = i.deployment_external_id
          where f.repository_id in (i.about_repository, a.repository_id)
          union
          select o.*
          from metrics.service_deployments as o
          where o.member_ids is not null
            and o.member_ids @> array[i.deployment_external_id]
            and o.generation + 0 = link_incidents.generation
            and i.deployment_external_id is not null
          union
          select o.*
          from metrics.service_deployments as o
          where o.commit_sha = i.commit_sha
            and o.generation + 0 = link_incidents.generation
        ) as d
        where d.outcome = 'success'
          and (d.repository_id = i.about_repository or d.service_id = a.service_id)
        order by
          (d.external_id = i.deployment_external_id or d.member_ids @> array[i.deployment_external_id]) is true desc,
          (d.began_at <= i.opened_at) desc,
          case when d.began_at <= i.opened_at then d.began_at end desc,
          case when d.began_at <= i.opened_at then d.at end desc,
          case when d.began_at <= i.opened_at then d.external_id end collate "C" desc,
          d.began_at,
          d.at,
          d.external_id collate "C",
          d.reference collate "C"
        limit 1
      ) as n
        on i.deployment_external_id is not null or i.commit_sha is not null
      left join lateral (
        -- The last that began before it, not too long before.
        select d.id
        from metrics.service_deployments as d
        where d.generation = link_incidents.generation
          and d.service_id = a.service_id
          and d.outcome = 'success'
          and d.began_at < i.opened_at
          and d.began_at >= i.opened_at - incident_window
        order by d.began_at desc, d.at desc, d.external_id collate "C" desc, d.reference collate "C" desc
        limit 1
      ) as w
        on n.id is null
    ),
    put as (
      insert into metrics.deployment_failures as t (
        generation, repository_id, service_id, failed_id, cause, incident_source, incident_external_id, at, ended_at
      )
      select
        link_incidents.generation, p.repository_id, p.service_id, p.failed_id, 'incident', p.source, p.external_id, p.opened_at, p.resolved_at
      from placed as p
      on conflict on constraint deployment_failure_is_unique do update set
        repository_id = excluded.repository_id,
        at = excluded.at,
        ended_at = excluded.ended_at
      where (t.repository_id, t.at, t.ended_at) is distinct from (excluded.repository_id, excluded.at, excluded.ended_at)
      returning t.service_id, t.failed_id
    ),
    gone as (
      delete from metrics.deployment_failures as t
      using concerned as c
      where t.generation = link_incidents.generation
        and t.cause = 'incident'
        and t.incident_source = c.source
        and t.incident_external_id = c.external_id
        and not exists (
          select
          from placed as p
          where p.source = c.source
            and p.external_id = c.external_id
            and p.service_id is not distinct from t.service_id
            and p.failed_id is not distinct from t.failed_id
        )
      returning t.service_id, t.failed_id
    )
    select m.service_id, array_agg(m.failed_id) as ids
    from (select * from put union select * from gone) as m
    where m.failed_id is not null
    group by m.service_id
  loop
    perform metrics.mark_failures(link_incidents.generation, marked.service_id, 'infinity', 'infinity', marked.ids);
  end loop;
end
$function$;
comment on function metrics.link_incidents(generation integer, repository bigint, since timestamp with time zone, sources text[], external_ids text[]) is 'Finds again what incidents belong to: those of a repository opened since a moment or naming something, and these.';

-- function metrics.link_lost_incidents(generation integer, after_source text, after_external_id text, most integer)
CREATE OR REPLACE FUNCTION metrics.link_lost_incidents(generation integer, after_source text, after_external_id text, most integer)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  sources text[];
  external_ids text[];
begin
  select
    array_agg(p.source order by p.source, p.external_id),
    array_agg(p.external_id order by p.source, p.external_id)
  into sources, external_ids
  from (
    select i.source, i.external_id
    from metrics.incidents as i
    where i.reference_id is null
      and (after_source is null or (i.source, i.external_id) > (after_source, after_external_id))
      and not exists (
        select
        from metrics.deployment_failures as t
        where t.generation = link_lost_incidents.generation
          and t.cause = 'incident'
          and t.incident_source = i.source
          and t.incident_external_id = i.external_id
      )
    order by i.source, i.external_id
    limit most
  ) as p;
  if sources is null then
    return null;
  end if;
  perform metrics.link_incidents(link_lost_incidents.generation, null, 'infinity', sources, external_ids);
  return jsonb_build_array(sources[cardinality(sources)], external_ids[cardinality(external_ids)]);
end
$function$;
comment on function metrics.link_lost_incidents(generation integer, after_source text, after_external_id text, most integer) is 'Finds what incidents belong to that name no repository and were linked to nothing, not even to that: so many after one. Returns the last, to go on after; NULL when there is none.';

-- function metrics.list_identities()
CREATE OR REPLACE FUNCTION metrics.list_identities()
 RETURNS TABLE(id bigint, name text, kind text, provider text, issuer text, audience text, claims jsonb, sources text[], repositories text[], fact_kinds text[], calls_per_minute integer, created_at timestamp with time zone, expires_at timestamp with time zone, revoked_at timestamp with time zone, last_used_at timestamp with time zone)
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
begin
  perform metrics.require_admin();
  return query
  select
    i.id,
    i.name,
    i.kind,
    i.provider,
    i.issuer,
    i.audience,
    i.claims,
    i.sources,
    i.repositories,
    i.fact_kinds,
    i.calls_per_minute,
    i.created_at,
    i.expires_at,
    i.revoked_at,
    (
      select max(d.received_at)
      from metrics.deliveries as d
      where d.identity_id = i.id
    )
  from metrics.identities as i
  order by i.id;
end
$function$;
grant execute on function metrics.list_identities() to authenticated;
comment on function metrics.list_identities() is 'Every identity that there ever was, with its last delivery that is still remembered. No token, and no hash of one.';

-- function metrics.live_identities()
CREATE OR REPLACE FUNCTION metrics.live_identities()
 RETURNS jsonb
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO ''
AS $function$
  select coalesce(
    jsonb_agg(
      jsonb_build_object(
        'id', i.id,
        'kind', i.kind,
        'provider', i.provider,
        'issuer', i.issuer,
        'audience', i.audience,
        'claims', i.claims,
        'token_sha256', encode(i.token_sha256, 'hex'),
        'sources', i.sources,
        'repositories', i.repositories,
        'fact_kinds', i.fact_kinds,
        'calls_per_minute', i.calls_per_minute,
        'expires_at', i.expires_at
      )
      order by i.id
    ),
    '[]'
  )
  from metrics.identities as i
  where i.revoked_at is null
    and (i.expires_at is null or i.expires_at > now())
$function$;
grant execute on function metrics.live_identities() to service_role;
comment on function metrics.live_identities() is 'The identities that are neither revoked nor expired, for the function that proves who reports.';

-- function metrics.lock_counted(facts jsonb)
CREATE OR REPLACE FUNCTION metrics.lock_counted(facts jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  runs constant jsonb := coalesce(facts -> 'pipeline_runs', '[]');
  jobs constant jsonb := coalesce(facts -> 'jobs', '[]');
  is_alone constant boolean := jsonb_array_length(runs) > 1 or jsonb_array_length(jobs) > 1;
  place bigint;
begin
  for place in
    -- 1024 places, because a call may bring thousands of repositories and the server has room for a few thousand locks.
    select distinct hashtextextended('metrics.counted', hashtextextended(f.said ->> 'repository', 0) & 1023)
    from jsonb_array_elements(runs || jobs) as f (said)
    order by 1
  loop
    if is_alone then
      perform pg_advisory_xact_lock(place);
    else
      perform pg_advisory_xact_lock_shared(place);
    end if;
  end loop;
  if runs <> '[]' and not is_alone then
    perform metrics.lock_tries(g.reference_id, g.rerun_group)
    from (
      select distinct r.id as reference_id, u.rerun_group collate "C" as rerun_group
      from jsonb_array_elements(runs) as f (said)
      join metrics.repository_references as r
        on r.reference = f.said ->> 'repository'
      left join metrics.pipeline_runs as p
        on p.reference_id = r.id
        and p.external_id = f.said ->> 'external_id'
        and p.attempt = coalesce((f.said ->> 'attempt')::integer, 1)
      cross join lateral (values (f.said ->> 'rerun_group'), (p.rerun_group)) as u (rerun_group)
      where u.rerun_group is not null
      order by 1, 2
    ) as g;
  end if;
end
$function$;
comment on function metrics.lock_counted(facts jsonb) is 'Takes the locks that counting these observations of pipeline runs and jobs needs, in one order, until the end of the transaction.';

-- function metrics.lock_repositories(repositories bigint[])
CREATE OR REPLACE FUNCTION metrics.lock_repositories(repositories bigint[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  repository bigint;
begin
  for repository in
    select distinct r
    from unnest(repositories) as r
    order by r
  loop
    perform pg_advisory_xact_lock(hashtextextended('metrics.repositories ' || repository, 0));
  end loop;
end
$function$;
comment on function metrics.lock_repositories(repositories bigint[]) is 'Takes the locks of repositories until the end of the transaction, in ascending order, so that no two callers wait for each other.';

-- function metrics.lock_tries(reference_id bigint, rerun_group text)
CREATE OR REPLACE FUNCTION metrics.lock_tries(reference_id bigint, rerun_group text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
begin
  perform pg_advisory_xact_lock(hashtextextended('metrics.tries ' || reference_id || ' ' || rerun_group, 0));
end
$function$;
comment on function metrics.lock_tries(reference_id bigint, rerun_group text) is 'Takes the lock of the tries of one thing until the end of the transaction.';

-- function metrics.maintain(step integer)
CREATE OR REPLACE FUNCTION metrics.maintain(step integer DEFAULT 10000)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET lock_timeout TO '1s'
AS $function$
declare
  today constant date := (now() at time zone 'UTC')::date;
  chosen metrics.settings;
  partition_name text;
  ahead record;
  dropped integer := 0;
  waiting integer := 0;
  deleted jsonb := '{}';
  horizon timestamptz;
  rows integer;
begin
  select *
  into chosen
  from metrics.settings;

  delete from metrics.bodies_default as b
  where b.ctid in (
    select d.ctid
    from metrics.bodies_default as d
    where d.expires_on <= today
    limit step
  );
  get diagnostics rows = row_count;
  deleted := deleted || jsonb_build_object('bodies_default', rows);

  with gone as (
    delete from metrics.deliveries as d
    where (d.source, d.delivery_id) in (
      select o.source, o.delivery_id
      from (select distinct s.source from metrics.deliveries as s) as s
      cross join lateral (
        select p.source, p.delivery_id
        from metrics.deliveries as p
        where p.source = s.source
          and p.received_at < now() - make_interval(days => chosen.delivery_days)
          -- While its body may still be there, the delivery is what replaying and erasing find it by.
          and (p.body_expires_on is null or p.body_expires_on + 7 <= today)
        order by p.received_at
        limit step
      ) as o
      limit step
    )
    returning d.source, d.received_at
  ),
  remembered as (
    insert into metrics.remembered_sources as r (source, last_received_at)
    select g.source, max(g.received_at)
    from gone as g
    group by g.source
    order by g.source
    on conflict (source) do update
    set last_received_at = greatest(r.last_received_at, excluded.last_received_at)
  )
  select count(*)
  into rows
  from gone;
  deleted := deleted || jsonb_build_object('deliveries', rows);

  -- What was counted of weeks before the horizon is frozen before their jobs go.
  select metrics.midnight(metrics.move_job_horizon(metrics.week_of(now() - make_interval(days => chosen.job_days), g.time_zone)), g.time_zone)
  into horizon
  from metrics.generations as g
  where g.state = 'current';
  delete from metrics.jobs as j
  where j.ctid in (
    select o.ctid
    from metrics.jobs as o
    where coalesce(o.finished_at, o.started_at, o.queued_at, o.updated_at) < horizon
    limit step
  );
  get diagnostics rows = row_count;
  deleted := deleted || jsonb_build_object('jobs', rows);

  -- A test case has no time of its own. It is never stored before its test run began, so those of test runs from the horizon on are all there.
  update metrics.horizons as h
  set before = w.week
  from (select metrics.week_of(now() - make_interval(days => chosen.test_case_days), chosen.time_zone) as week) as w
  where h.fact = 'test_cases'
    and coalesce(h.before, '-infinity') < w.week;
  select metrics.midnight(h.before, chosen.time_zone)
  into horizon
  from metrics.horizons as h
  where h.fact = 'test_cases';
  delete from metrics.test_cases as t
  where t.ctid in (
    select o.ctid
    from metrics.test_cases as o
    where o.updated_at < horizon
    limit step
  );
  get diagnostics rows = row_count;
  deleted := deleted || jsonb_build_object('test_cases', rows);

  deleted := deleted || jsonb_build_object('retired', metrics.delete_retired(step));

  -- Late, because each takes a lock that every delivery with a body waits for until this ends.
  for partition_name in
    select c.relname
    from pg_catalog.pg_inherits as i
    join pg_catalog.pg_class as c
      on c.oid = i.inhrelid
    where i.inhparent = 'metrics.bodies'::regclass
      and c.relname ~ '^bodies_[0-9]{8}$'
      and to_date(right(c.relname, 8), 'YYYYMMDD') + 7 <= today
    order by c.relname
  loop
    begin
      execute format('drop table metrics.%I', partition_name);
      dropped := dropped + 1;
    exception
      when lock_not_available then
        -- Tried again at the next call.
        waiting := waiting + 1;
    end;
  end loop;

  select *
  into ahead
  from metrics.make_body_partitions();

  -- The very last, because deliveries wait for it.
  begin
    perform metrics.rebuild();
  exception
    when lock_not_available then
      -- Deliveries come first: tried again at the next call.
      null;
  end;

  return jsonb_build_object(
    'partitions_made', ahead.made,
    'partitions_dropped', dropped,
    'partitions_waiting', waiting + ahead.waiting,
    'deleted', deleted,
    'done', waiting + ahead.waiting = 0 and not exists (select from jsonb_each(deleted) as d where d.value >= to_jsonb(step))
  );
end
$function$;
comment on function metrics.maintain(step integer) is 'Makes the partitions of the next weeks, drops what is older than the settings say, at most step rows of a table a call, remembers the sources of deliveries that it drops, and goes on with a rebuild.';

-- function metrics.make_body_partitions(OUT made integer, OUT waiting integer)
CREATE OR REPLACE FUNCTION metrics.make_body_partitions(OUT made integer, OUT waiting integer)
 RETURNS record
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  today constant date := (now() at time zone 'UTC')::date;
  chosen metrics.settings;
  week date;
  partition_name text;
begin
  made := 0;
  waiting := 0;
  select *
  into chosen
  from metrics.settings;
  for week in
    select generate_series(
      date_trunc('week', today)::date,
      date_trunc('week', today + greatest(chosen.body_days, chosen.quarantined_body_days) + 14)::date,
      interval '7 days'
    )::date
  loop
    partition_name := 'bodies_' || to_char(week, 'YYYYMMDD');
    if to_regclass('metrics.' || partition_name) is null then
      begin
        execute format(
          'create table metrics.%I partition of metrics.bodies for values from (%L) to (%L)',
          partition_name,
          week,
          week + 7
        );
        execute format('alter table metrics.%I enable row level security', partition_name);
        execute format('comment on table metrics.%I is %L', partition_name, 'Bodies that expire in the week of this Monday.');
        made := made + 1;
      exception
        when lock_not_available or check_violation or duplicate_table then
          -- Busy, or made by somebody else just now, or the default partition already holds rows of this week: they stay there, and the week is served by it.
          waiting := waiting + 1;
      end;
    end if;
  end loop;
end
$function$;
comment on function metrics.make_body_partitions(OUT made integer, OUT waiting integer) is 'Makes the partitions of bodies for as long as one that comes in the next weeks may live.';

-- function metrics.mark_failures(generation integer, service bigint, since timestamp with time zone, until timestamp with time zone, ids bigint[])
CREATE OR REPLACE FUNCTION metrics.mark_failures(generation integer, service bigint, since timestamp with time zone, until timestamp with time zone, ids bigint[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
 SET enable_seqscan TO 'off'
AS $function$
#variable_conflict use_column
begin
  with causing as materialized (
    select f.failed_id, array_agg(distinct f.cause) as causes, min(f.ended_at) as recovered_at
    from (
      select d.id
      from metrics.service_deployments as d
      where d.generation = mark_failures.generation
        and d.service_id = service
        and d.at >= since
        and d.at < until
      union
      select unnest(ids)
    ) as o
    cross join lateral (
      select t.failed_id, t.cause, t.ended_at
      from metrics.deployment_failures as t
      where t.failed_id = o.id
      offset 0
    ) as f
    group by f.failed_id
  )
  update metrics.service_deployments as d
  set
    causes = m.causes,
    recovered_at = m.recovered_at,
    is_rework = m.is_rework
  from (
    select
      o.id,
      c.causes,
      c.recovered_at,
      exists (
        select
        from metrics.deployment_failures as f
        where f.mended_by = o.id
      ) as is_rework
    from (
      select e.id
      from metrics.service_deployments as e
      where e.generation = mark_failures.generation
        and e.service_id = service
        and e.at >= since
        and e.at < until
      union
      select unnest(ids)
    ) as o
    left join causing as c
      on c.failed_id = o.id
  ) as m
  where d.id = m.id
    and (d.causes, d.recovered_at, d.is_rework) is distinct from (m.causes, m.recovered_at, m.is_rework);
end
$function$;
comment on function metrics.mark_failures(generation integer, service bigint, since timestamp with time zone, until timestamp with time zone, ids bigint[]) is 'Writes into deployments whether and by what they failed, when that ended, and whether they mended another: those since a moment and before another, and these.';

-- function metrics.mark_tries(reference_ids bigint[], rerun_groups text[])
CREATE OR REPLACE FUNCTION metrics.mark_tries(reference_ids bigint[], rerun_groups text[])
 RETURNS metrics.counted_run[]
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
#variable_conflict use_column
declare
  counted metrics.counted_run[];
begin
  -- Held already, unless the group changed since it was looked up. A call that brings many has the whole repository.
  if cardinality(mark_tries.reference_ids) <= 4 then
    perform metrics.lock_tries(g.reference_id, g.rerun_group)
    from (
      select distinct u.reference_id, u.rerun_group collate "C" as rerun_group
      from unnest(mark_tries.reference_ids, mark_tries.rerun_groups) as u (reference_id, rerun_group)
      where u.rerun_group is not null
      order by 1, 2
    ) as g;
  end if;

  -- Nearly always it is the only try.
  if cardinality(mark_tries.reference_ids) = 1 and mark_tries.rerun_groups[1] is not null and (
    select count(*) = 1 and bool_and(p.is_first_try and p.is_last_try)
    from metrics.pipeline_runs as p
    where p.reference_id = mark_tries.reference_ids[1]
      and p.rerun_group = mark_tries.rerun_groups[1]
      and p.outcome is not null
  ) then
    return '{}';
  end if;

  with touched as (
    select distinct u.reference_id, u.rerun_group
    from unnest(mark_tries.reference_ids, mark_tries.rerun_groups) as u (reference_id, rerun_group)
  ),
  tries as (
    select
      p.reference_id,
      p.external_id,
      p.attempt,
      p.is_first_try,
      p.is_last_try,
      row_number() over tries_in_order = 1 as is_first,
      row_number() over tries_in_order = count(*) over (partition by p.reference_id, p.rerun_group) as is_last
    from touched as g
    join metrics.pipeline_runs as p
      on p.reference_id = g.reference_id
      and p.rerun_group = g.rerun_group
    where p.outcome is not null
    window tries_in_order as (
      partition by p.reference_id, p.rerun_group
      order by coalesce(p.queued_at, p.started_at, p.finished_at), p.attempt, p.external_id collate "C"
    )
  ),
  judged as (
    select *
    from tries
    union all
    -- What has left its group is alone.
    select p.reference_id, p.external_id, p.attempt, p.is_first_try, p.is_last_try, true, true
    from touched as g
    join metrics.pipeline_runs as p
      on p.reference_id = g.reference_id
    where g.rerun_group is null
      and p.rerun_group is null
      and p.outcome is not null
  ),
  marked as (
    update metrics.pipeline_runs as t
    set
      is_first_try = s.is_first,
      is_last_try = s.is_last,
      updated_at = now()
    from judged as s
    where t.reference_id = s.reference_id
      and t.external_id = s.external_id
      and t.attempt = s.attempt
      and (s.is_first_try, s.is_last_try) <> (s.is_first, s.is_last)
    returning
      t.reference_id,
      coalesce(t.pipeline, '') as pipeline,
      t.on_default_branch is true as on_default_branch,
      t.actor_is_bot is true as is_bot,
      t.ended_at as at,
      t.outcome,
      t.duration_seconds,
      t.queue_seconds,
      s.is_first_try as was_first,
      s.is_last_try as was_last,
      s.is_first,
      s.is_last
  )
  select array_agg(row(
    v.times, m.reference_id, m.pipeline, m.on_default_branch, m.is_bot, m.at, m.outcome, v.is_first_try, v.is_last_try, m.duration_seconds,
    m.queue_seconds
  )::metrics.counted_run)
  into counted
  from marked as m
  cross join lateral (values (-1, m.was_first, m.was_last), (1, m.is_first, m.is_last)) as v (times, is_first_try, is_last_try)
  where m.at is not null;
  return coalesce(counted, '{}');
end
$function$;
comment on function metrics.mark_tries(reference_ids bigint[], rerun_groups text[]) is 'Says again of each finished try of these things whether it is the first or the last; returns what that changes in what is counted.';

-- function metrics.mark_unknown_order(generation integer, repository bigint, service bigint, most integer)
CREATE OR REPLACE FUNCTION metrics.mark_unknown_order(generation integer, repository bigint, service bigint, most integer)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO ''
 SET enable_seqscan TO 'off'
AS $function$
#variable_conflict use_column
declare
  -- There is something that nothing else is known to stand before or after.
  has_lines constant boolean := exists (
    select
    from metrics.branch_moves as m
    where m.generation = mark_unknown_order.generation
      and m.repository_id = repository
      and m.line > 1
  ) or exists (
    select
    from metrics.branch_moves as m
    where m.generation = mark_unknown_order.generation
      and m.repository_id = repository
      and m.line = 1
  ) and exists (
    select
    from metrics.branch_moves as m
    where m.generation = mark_unknown_order.generation
      and m.repository_id = repository
      and m.line = 0
  );
  changed integer;
begin
  update metrics.changes as c
  set is_order_unknown = not c.is_order_unknown
  where c.ctid in (
    select t.ctid
    from metrics.changes as t
    where t.generation = mark_unknown_order.generation
      and t.service_id = service
      and t.shipped_at is null
      and t.is_order_unknown <> (
        has_lines
        and exists (
          select
          from metrics.service_deployments as d
          where d.generation = mark_unknown_order.generation
            and d.service_id = service
            and d.outcome = 'success'
            and d.line <> t.line
            and d.position is not null
            and d.at >= coalesce(t.started_at, '-infinity')
        )
      )
    limit most
  );
  get diagnostics changed = row_count;
  return changed;
end
$function$;
comment on function metrics.mark_unknown_order(generation integer, repository bigint, service bigint, most integer) is 'Marks what may or may not have been deployed since, because the order of two lines is unknown; at most so many changes, and how many that were.';

-- function metrics.measurement_series(name text, attributes jsonb, since date, until date, bucket text, by text, repository text, team text, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.measurement_series(name text, attributes jsonb DEFAULT NULL::jsonb, since date DEFAULT NULL::date, until date DEFAULT NULL::date, bucket text DEFAULT 'none'::text, by text DEFAULT 'nothing'::text, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100)
 RETURNS SETOF metrics.series_point
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
 SET plan_cache_mode TO 'force_custom_plan'
 SET enable_seqscan TO 'off'
 SET enable_tidscan TO 'off'
AS $function$
#variable_conflict use_column
declare
  asked metrics.period;
  grouped text;
  starts_at timestamptz;
  ends_at timestamptz;
  references_read bigint[];
  names text[];
  is_unknown boolean;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, bucket, page_after, page_size);
  grouped := metrics.checked_word('by', by, array['nothing', 'repository']);
  perform metrics.require_measurement(measurement_series.name, measurement_series.attributes);
  starts_at := metrics.midnight(asked.since, asked.time_zone);
  ends_at := metrics.midnight(asked.until, asked.time_zone);
  select coalesce(array_agg(s.reference_id), '{}'), coalesce(array_agg(s.label), '{}')
  into references_read, names
  from metrics.selected_references(repository, team) as s;
  is_unknown := names = '{}' and num_nonnulls(repository, team) > 0;

  return query
  with measured as materialized (
    select
      f.name,
      f.unit,
      f.bucket_start,
      count(*) as sample_size,
      min(f.value) as min,
      avg(f.value) as avg,
      percentile_disc(array[0.5, 0.95]) within group (order by f.value) as percentiles,
      (array_agg(f.value order by f.measured_at desc, f.external_id collate "C" desc, f.reference_id desc))[1] as last
    from (
      select
        case when grouped = 'repository' then r.label else '' end as name,
        case
          when asked.bucket <> 'none' then date_trunc(asked.bucket, m.measured_at at time zone asked.time_zone)::date
        end as bucket_start,
        coalesce(m.unit, '') as unit,
        m.value,
        m.measured_at,
        m.external_id,
        m.reference_id
      from unnest(references_read, names) as r (reference_id, label)
      cross join lateral (
        select k.*
        from metrics.measurements as k
        where k.reference_id = r.reference_id
          and k.name = measurement_series.name
          and k.measured_at >= starts_at
          and k.measured_at < ends_at
          and k.value is not null
          and (measurement_series.attributes is null or k.attributes @> measurement_series.attributes)
        offset 0
      ) as m
    ) as f
    group by f.name, f.unit, f.bucket_start
  )
  select
    g.bucket_start,
    g.name,
    nullif(g.part, ''),
    case when not is_unknown then coalesce(m.sample_size, 0) end,
    m.min,
    m.avg,
    m.percentiles[1],
    m.percentiles[2],
    m.last,
    case
      when is_unknown then 'unknown_service'
      when m.sample_size > 0 then null
      else 'too_few'
    end,
    g.page_key,
    g.total
  from metrics.page_of(
    asked,
    case
      when is_unknown or grouped = 'nothing' then array['']
      else array(select distinct n collate "C" from unnest(names) as n order by 1)
    end,
    coalesce(nullif(array(select distinct o.unit collate "C" from measured as o order by 1), '{}'), array[''])
  ) as g
  left join measured as m
    on m.name = coalesce(g.name, '')
    and m.unit = g.part
    and m.bucket_start is not distinct from g.bucket_start
  order by g.name collate "C" nulls first, g.bucket_start, g.part collate "C";
end
$function$;
grant execute on function metrics.measurement_series(name text, attributes jsonb, since date, until date, bucket text, by text, repository text, team text, page_after text, page_size integer) to authenticated;
grant execute on function metrics.measurement_series(name text, attributes jsonb, since date, until date, bucket text, by text, repository text, team text, page_after text, page_size integer) to metrics_reader;
comment on function metrics.measurement_series(name text, attributes jsonb, since date, until date, bucket text, by text, repository text, team text, page_after text, page_size integer) is 'What was measured under a name in the period, where the measurement has these attributes; by bucket and by nothing or repository. A row for each unit that occurs. last is the latest value. Reasons: unknown_service, too_few. Raises 22023 for what cannot be asked.';

-- function metrics.measurement_series_evidence(name text, attributes jsonb, since date, until date, repository text, team text, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.measurement_series_evidence(name text, attributes jsonb DEFAULT NULL::jsonb, since date DEFAULT NULL::date, until date DEFAULT NULL::date, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100)
 RETURNS SETOF metrics.evidence
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
 SET plan_cache_mode TO 'force_custom_plan'
 SET enable_seqscan TO 'off'
 SET enable_tidscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_sort TO 'off'
AS $function$
#variable_conflict use_column
declare
  asked metrics.period;
  after metrics.evidence_key;
  starts_at timestamptz;
  ends_at timestamptz;
  references_read bigint[];
  names text[];
  rows_in_all bigint;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, 'none', page_after, page_size);
  after := metrics.evidence_after(asked);
  perform metrics.require_measurement(measurement_series_evidence.name, measurement_series_evidence.attributes);
  starts_at := metrics.midnight(asked.since, asked.time_zone);
  ends_at := metrics.midnight(asked.until, asked.time_zone);
  select coalesce(array_agg(s.reference_id), '{}'), coalesce(array_agg(s.label), '{}')
  into references_read, names
  from metrics.selected_references(repository, team) as s;

  select coalesce(sum(m.measurements), 0)
  into rows_in_all
  from unnest(references_read) as r (reference_id)
  cross join lateral (
    select count(*) as measurements
    from metrics.measurements as k
    where k.reference_id = r.reference_id
      and k.name = measurement_series_evidence.name
      and k.measured_at >= starts_at
      and k.measured_at < ends_at
      and k.value is not null
      and (measurement_series_evidence.attributes is null or k.attributes @> measurement_series_evidence.attributes)
  ) as m;

  return query
  select
    e.measured_at,
    e.label,
    null::text,
    'measurement',
    e.external_id,
    null::text,
    e.name,
    e.value,
    e.unit,
    null::text,
    null::text,
    e.attributes,
    metrics.evidence_page_key(e.measured_at, e.label, 'measurement', e.external_id),
    rows_in_all
  from (
    select r.label, m.*
    from unnest(references_read, names) as r (reference_id, label)
    -- A page of each reference, in the order of its index: the page of all is among them.
    cross join lateral (
      select k.*
      from metrics.measurements as k
      where k.reference_id = r.reference_id
        and k.name = measurement_series_evidence.name
        and k.measured_at >= greatest(after.happened_at, starts_at)
        and k.measured_at < ends_at
        and k.value is not null
        and (measurement_series_evidence.attributes is null or k.attributes @> measurement_series_evidence.attributes)
        and (
          after.happened_at is null
          or (k.measured_at, r.label collate "C", 'measurement' collate "C", k.external_id collate "C")
            > (after.happened_at, after.repository, after.kind, after.external_id)
        )
      order by k.measured_at, k.external_id collate "C"
      limit asked.page_size
    ) as m
    order by m.measured_at, r.label collate "C", m.external_id collate "C"
    limit asked.page_size
  ) as e
  order by e.measured_at, e.label collate "C", e.external_id collate "C";
end
$function$;
grant execute on function metrics.measurement_series_evidence(name text, attributes jsonb, since date, until date, repository text, team text, page_after text, page_size integer) to authenticated;
grant execute on function metrics.measurement_series_evidence(name text, attributes jsonb, since date, until date, repository text, team text, page_after text, page_size integer) to metrics_reader;
comment on function metrics.measurement_series_evidence(name text, attributes jsonb, since date, until date, repository text, team text, page_after text, page_size integer) is 'The measurements behind measurement_series, in their order in time.';

-- function metrics.merged_pull_requests(asked metrics.period, reference_ids bigint[], with_bots boolean)
CREATE OR REPLACE FUNCTION metrics.merged_pull_requests(asked metrics.period, reference_ids bigint[], with_bots boolean)
 RETURNS bigint
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_tidscan TO 'off'
AS $function$
begin
  return (
    select coalesce(sum(n.pull_requests), 0)
    from (
      select c.pull_requests
      from unnest(merged_pull_requests.reference_ids) as r (reference_id)
      cross join metrics.nearest_weeks_of(asked) as w
      cross join lateral (
        select sum(o.pull_requests) as pull_requests
        from metrics.pull_request_weeks as o
        where o.generation = asked.generation
          and o.reference_id = r.reference_id
          and o.week = w.week
          and (with_bots or not o.is_bot)
      ) as c
      where w.is_counted
      union all
      select d.times * p.pull_requests
      from metrics.days_off_weeks_of(asked) as d
      cross join unnest(merged_pull_requests.reference_ids) as r (reference_id)
      cross join lateral (
        select count(*) as pull_requests
        from metrics.pull_requests as o
        where o.reference_id = r.reference_id
          and o.merged_at >= d.starts_at
          and o.merged_at < d.ends_at
          and (with_bots or o.author_is_bot is not true)
      ) as p
    ) as n
  );
end
$function$;
grant execute on function metrics.merged_pull_requests(asked metrics.period, reference_ids bigint[], with_bots boolean) to authenticated;
grant execute on function metrics.merged_pull_requests(asked metrics.period, reference_ids bigint[], with_bots boolean) to metrics_reader;
comment on function metrics.merged_pull_requests(asked metrics.period, reference_ids bigint[], with_bots boolean) is 'How many pull requests were merged in a period, which is to have one bucket.';

-- function metrics.midnight(day date, time_zone text)
CREATE OR REPLACE FUNCTION metrics.midnight(day date, time_zone text)
 RETURNS timestamp with time zone
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
begin
  return day::timestamp at time zone time_zone;
end
$function$;
grant execute on function metrics.midnight(day date, time_zone text) to authenticated;
grant execute on function metrics.midnight(day date, time_zone text) to metrics_reader;
comment on function metrics.midnight(day date, time_zone text) is 'The moment at which a day begins in a time zone.';

-- function metrics.move_job_horizon(before date)
CREATE OR REPLACE FUNCTION metrics.move_job_horizon(before date)
 RETURNS date
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  reached date;
begin
  -- Weeks that are being counted anew are frozen once that is done.
  if not exists (
    select
    from metrics.generations as g
    where g.state = 'building'
  ) then
    update metrics.horizons as h
    set before = move_job_horizon.before
    where h.fact = 'jobs'
      and coalesce(h.before, '-infinity') < move_job_horizon.before;
    if found then
      insert into metrics.frozen_weeks (fact, week, time_zone)
      select distinct 'jobs', w.week, g.time_zone
      from metrics.generations as g
      join metrics.job_weeks as w
        on w.generation = g.id
      where g.state = 'current'
        and w.week < move_job_horizon.before
      on conflict do nothing;
    end if;
  end if;
  select h.before
  into reached
  from metrics.horizons as h
  where h.fact = 'jobs';
  return reached;
end
$function$;
comment on function metrics.move_job_horizon(before date) is 'Moves the horizon of jobs forward to this Monday and freezes the weeks before it; returns where it is now. Stands still while a generation is built.';

-- function metrics.moves_of(repository bigint, since timestamp with time zone, until timestamp with time zone)
CREATE OR REPLACE FUNCTION metrics.moves_of(repository bigint, since timestamp with time zone, until timestamp with time zone)
 RETURNS TABLE(push_id bigint, before text, after text, pushed_at timestamp with time zone, is_forced boolean, is_truncated boolean)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
AS $function$
#variable_conflict use_column
begin
  return query
  with moves as materialized (
    select p.id, p.before, p.after, p.pushed_at, p.forced, p.created, p.truncated, p.commits
    from metrics.repository_references as r
    cross join lateral (
      select f.*
      from metrics.pushes as f
      where f.reference_id = r.id
        and f.on_default_branch is not false
        and f.pushed_at >= since
        and f.pushed_at < until
      union all
      select f.*
      from metrics.pushes as f
      where f.reference_id = r.id
        and f.on_default_branch is not false
        and f.pushed_at is null
    ) as p
    where r.repository_id = repository
      and p.deleted is not true
      and (
        p.on_default_branch
        or p.ref = 'refs/heads/' || (select o.default_branch from metrics.repositories as o where o.id = repository)
      )
  )
  select distinct on (m.before collate "C", m.after collate "C", m.pushed_at)
    m.id,
    m.before,
    m.after,
    m.pushed_at,
    bool_or(m.forced is true) over of_move and not bool_or(m.created is true) over of_move and m.before !~ '^0*$',
    m.truncated is true
  from moves as m
  where m.pushed_at is not null
    or not exists (
      select
      from moves as o
      where o.before = m.before
        and o.after = m.after
        and o.pushed_at is not null
    )
  window of_move as (partition by m.before, m.after, m.pushed_at)
  order by m.before collate "C", m.after collate "C", m.pushed_at, m.truncated is true, coalesce(cardinality(m.commits), 0) desc, m.commits::text collate "C", m.id;
end
$function$;
comment on function metrics.moves_of(repository bigint, since timestamp with time zone, until timestamp with time zone) is 'Pushes that moved the default branch since a moment and before another, and all whose time is unknown.';

-- function metrics.nearest_weeks_of(asked metrics.period)
CREATE OR REPLACE FUNCTION metrics.nearest_weeks_of(asked metrics.period)
 RETURNS TABLE(bucket_start date, week date, first_day date, end_day date, is_counted boolean)
 LANGUAGE plpgsql
 IMMUTABLE ROWS 60
 SET search_path TO ''
AS $function$
#variable_conflict use_column
begin
  return query
  select b.bucket_start, w.week::date, d.first_day, d.end_day, least(d.end_day - w.week::date, 5) - least(d.first_day - w.week::date, 5) >= 3
  from metrics.buckets_of(asked) as b
  cross join lateral generate_series(
    date_trunc('week', b.first_day::timestamp),
    (b.end_day - 1)::timestamp,
    interval '7 days'
  ) as w (week)
  cross join lateral (select greatest(w.week::date, b.first_day) as first_day, least(w.week::date + 7, b.end_day) as end_day) as d;
end
$function$;
grant execute on function metrics.nearest_weeks_of(asked metrics.period) to authenticated;
grant execute on function metrics.nearest_weeks_of(asked metrics.period) to metrics_reader;
comment on function metrics.nearest_weeks_of(asked metrics.period) is 'The ISO weeks of each bucket of the period, with the days of them that lie in it, and whether the week is counted whole.';

-- function metrics.new_claims(repositories jsonb)
CREATE OR REPLACE FUNCTION metrics.new_claims(repositories jsonb)
 RETURNS SETOF metrics.claim
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
AS $function$
#variable_conflict use_column
begin
  return query
  select distinct on (c.url)
    c.url,
    c.claimant,
    c.repository_id,
    c.clock,
    u.repository_id
  from (
    select
      metrics.normalised_url(f.said ->> 'url') as url,
      (f.said ->> 'repository') collate "C" as claimant,
      r.repository_id,
      (
        coalesce(to_char((f.said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-')
        || coalesce(' ' || lpad(f.said ->> 'sequence', 19, '0'), '')
      ) collate "C" as clock
    from jsonb_array_elements(new_claims.repositories) as f (said)
    join metrics.repository_references as r
      on r.reference = f.said ->> 'repository'
    where f.said ->> 'url' is not null
  ) as c
  left join metrics.repository_references as u
    on u.reference = '//' || c.url
  where c.url is not null
    and (u.claimed_by is null or (c.clock, c.claimant) > (u.claim_clock, u.claimed_by))
  order by c.url, c.clock desc, c.claimant desc;
end
$function$;
comment on function metrics.new_claims(repositories jsonb) is 'URLs that these observations of repositories claim later than the present claim, with the repository that each means now.';

-- function metrics.next_identity_id()
CREATE OR REPLACE FUNCTION metrics.next_identity_id()
 RETURNS bigint
 LANGUAGE sql
 SET search_path TO ''
AS $function$
  select nextval(pg_get_serial_sequence('metrics.identities', 'id'))
$function$;
comment on function metrics.next_identity_id() is 'The id of the identity that is made next: a token holds it before its row is there.';

-- function metrics.normalised_url(url text)
CREATE OR REPLACE FUNCTION metrics.normalised_url(url text)
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
declare
  text constant text := regexp_replace(
    regexp_replace(lower(btrim(url)), '[?#].*$', ''),
    '^(?:(?:[a-z][a-z0-9+.-]*:)?//)?(?:[^/@]*@)?',
    ''
  );
begin
  -- host:owner/name is how git writes ssh://host/owner/name; host:8443/owner/name is a port.
  return nullif(regexp_replace(regexp_replace(text, '^([^/:]+):(?![0-9]+(?:/|$))', '\1/'), '/*(?:\.git)?/*$', ''), '');
end
$function$;
comment on function metrics.normalised_url(url text) is 'A repository''s URL as host/path in lower case: no scheme, user, .git, query, or trailing slash. NULL for nothing.';

-- function metrics.note(action text, before jsonb, after jsonb)
CREATE OR REPLACE FUNCTION metrics.note(action text, before jsonb, after jsonb)
 RETURNS void
 LANGUAGE sql
 SET search_path TO ''
AS $function$
  insert into metrics.audit (actor, action, before, after)
  values (coalesce((select auth.uid())::text, metrics.caller()), action, before, after)
$function$;
comment on function metrics.note(action text, before jsonb, after jsonb) is 'Leaves one row in the audit trail.';

-- function metrics.order_moves(generation integer, repository bigint, since timestamp with time zone, until timestamp with time zone, has_untimed boolean, OUT first_line integer, OUT first_ordinal integer)
CREATE OR REPLACE FUNCTION metrics.order_moves(generation integer, repository bigint, since timestamp with time zone, until timestamp with time zone, has_untimed boolean, OUT first_line integer, OUT first_ordinal integer)
 RETURNS record
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  ids bigint[];
  befores text[] collate "C";
  afters text[] collate "C";
  times timestamptz[];
  are_forced boolean[];
  is_taken boolean[];
  timed integer;
  total integer;
  tip text collate "C";
  next_ordinal integer;
  current_line integer := 0;
  made_ids bigint[] := '{}';
  made_lines integer[] := '{}';
  made_ordinals integer[] := '{}';
  made_forced boolean[] := '{}';
  i integer := 1;
  j integer;
  k integer;
  pick integer;
  low integer;
  high integer;
  left_of_group integer;
  left_untimed integer;
  is_root boolean;
begin
  if has_untimed then
    since := '-infinity';
    until := 'infinity';
  end if;
  if isfinite(since) then
    -- Those of line 0 stand in the order of their times.
    select p.after, m.ordinal + 1
    into tip, next_ordinal
    from metrics.branch_moves as m
    join metrics.pushes as p
      on p.id = m.push_id
    where m.generation = order_moves.generation
      and m.repository_id = repository
      and m.line = 0
      and m.pushed_at < since
    order by m.ordinal desc
    limit 1;
  end if;
  if next_ordinal is null then
    delete from metrics.branch_moves as m
    where m.generation = order_moves.generation
      and m.repository_id = repository;
  else
    delete from metrics.branch_moves as m
    where m.generation = order_moves.generation
      and m.repository_id = repository
      and m.line = 0
      and m.ordinal >= next_ordinal;
  end if;
  next_ordinal := coalesce(next_ordinal, 1);
  first_ordinal := next_ordinal;

  -- Those with a time first, by it; then the others, in the order in which they are looked for.
  select
    coalesce(array_agg(m.push_id order by m.pushed_at, m.before collate "C", m.after collate "C"), '{}'),
    array_agg(m.before order by m.pushed_at, m.before collate "C", m.after collate "C"),
    array_agg(m.after order by m.pushed_at, m.before collate "C", m.after collate "C"),
    array_agg(m.pushed_at order by m.pushed_at, m.before collate "C", m.after collate "C"),
    array_agg(m.is_forced order by m.pushed_at, m.before collate "C", m.after collate "C"),
    count(m.pushed_at),
    count(*)
  into ids, befores, afters, times, are_forced, timed, total
  from metrics.moves_of(repository, since, until) as m
  where m.pushed_at is not null
    or has_untimed;
  is_taken := array_fill(false, array[total]);
  left_untimed := total - timed;

  loop
    pick := null;
    if i <= timed then
      if is_taken[i] then
        i := i + 1;
        continue;
      end if;
      -- Of those of one moment, the one that goes on from here.
      j := i;
      left_of_group := 0;
      while j <= timed and times[j] = times[i] loop
        if not is_taken[j] then
          left_of_group := left_of_group + 1;
          if befores[j] = tip and (pick is null or afters[j] < afters[pick]) then
            pick := j;
          end if;
        end if;
        j := j + 1;
      end loop;
    end if;

    if pick is null and left_untimed > 0 and tip is not null then
      -- The first of the others whose before is this, among those sorted by it.
      low := timed + 1;
      high := total + 1;
      while low < high loop
        k := (low + high) / 2;
        if befores[k] < tip then
          low := k + 1;
        else
          high := k;
        end if;
      end loop;
      while low <= total and befores[low] = tip loop
        if not is_taken[low] then
          pick := low;
          exit;
        end if;
        low := low + 1;
      end loop;
    end if;

    if pick is null and i <= timed then
      if left_of_group = 1 then
        pick := i;
      else
        -- One that follows none of the others; of several, and of a circle, the least.
        for k in i .. j - 1 loop
          if not is_taken[k] then
            is_root := true;
            for low in i .. j - 1 loop
              if low <> k and not is_taken[low] and afters[low] = befores[k] then
                is_root := false;
                exit;
              end if;
            end loop;
            if is_root then
              pick := k;
              exit;
            end if;
          end if;
        end loop;
        pick := coalesce(pick, i);
      end if;
    end if;

    if pick is null then
      exit when left_untimed = 0;
      -- A line of its own begins.
      current_line := current_line + 1;
      next_ordinal := 1;
      select coalesce(min(u.n) filter (where not u.follows), min(u.n))
      into pick
      from (
        select
          a.n,
          befores[a.n] = any(array(select afters[o.n] from generate_series(timed + 1, total) as o (n) where not is_taken[o.n])) as follows
        from generate_series(timed + 1, total) as a (n)
        where not is_taken[a.n]
      ) as u;
    end if;

    is_taken[pick] := true;
    if pick > timed then
      left_untimed := left_untimed - 1;
    end if;
    made_ids := made_ids || ids[pick];
    made_lines := made_lines || current_line;
    made_ordinals := made_ordinals || next_ordinal;
    made_forced := made_forced || are_forced[pick];
    next_ordinal := next_ordinal + 1;
    tip := afters[pick];
  end loop;

  insert into metrics.branch_moves (generation, repository_id, line, ordinal, push_id, pushed_at, is_forced, is_truncated)
  select
    order_moves.generation,
    repository,
    u.line,
    u.ordinal,
    p.id,
    p.pushed_at,
    u.is_forced,
    p.truncated is true
  from unnest(made_ids, made_lines, made_ordinals, made_forced) as u (push_id, line, ordinal, is_forced)
  join metrics.pushes as p
    on p.id = u.push_id;
  first_line := 0;
  if has_untimed or since = '-infinity' then
    first_ordinal := 0;
  end if;
end
$function$;
comment on function metrics.order_moves(generation integer, repository bigint, since timestamp with time zone, until timestamp with time zone, has_untimed boolean, OUT first_line integer, OUT first_ordinal integer) is 'Orders the moves of a default branch again from a moment on, or all; with an end, those before it, where none is ordered yet. Returns from where on they may stand elsewhere: ordinal 0 when all may.';

-- function metrics.overview(since date, until date, repository text, team text, bots boolean)
CREATE OR REPLACE FUNCTION metrics.overview(since date DEFAULT NULL::date, until date DEFAULT NULL::date, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, bots boolean DEFAULT true)
 RETURNS TABLE(section text, metric text, value double precision, unit text, reason text, band text, sample_size bigint, previous_value double precision, trend double precision, detail jsonb, total bigint)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
#variable_conflict use_column
declare
  asked metrics.period;
  reference_ids bigint[];
  is_unknown boolean;
  tests metrics.test_counts;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, 'none', null, 500);
  -- Of tests only counts are shown, which need no look at each report.
  reference_ids := array(
    select s.reference_id
    from metrics.selected_references(repository, team) as s
  );
  is_unknown := reference_ids = '{}' and num_nonnulls(repository, team) > 0;
  if not is_unknown then
    tests := metrics.tests_of(asked, reference_ids);
  end if;
  -- Few rows, but more than an API may give at once: who reads them sees how many there are.
  return query
  select o.section, o.metric, o.value, o.unit, o.reason, o.band, o.sample_size, o.previous_value, o.trend, o.detail, count(*) over ()
  from (
    select 'dora', d.metric, d.value, d.unit, d.reason, d.band, d.sample_size, d.previous_value, d.trend, d.notes, 1, row_number() over ()
    from metrics.dora(asked.since, asked.until, repository => repository, team => team, bots => bots) as d
    union all
    select
      'pull_requests',
      p.phase,
      p.p50_seconds,
      'seconds',
      p.reason,
      null::text,
      p.sample_size,
      null::double precision,
      null::double precision,
      jsonb_build_object('p75_seconds', p.p75_seconds, 'p95_seconds', p.p95_seconds, 'pull_requests', p.pull_requests),
      2,
      row_number() over ()
    from metrics.pull_request_cycle_time(asked.since, asked.until, repository => repository, team => team, bots => bots) as p
    union all
    select
      'pipelines',
      v.metric,
      v.value,
      v.unit,
      case when v.value is null then coalesce(h.reason, 'too_few') end,
      null::text,
      v.sample_size,
      null::double precision,
      null::double precision,
      v.detail,
      3,
      row_number() over ()
    from metrics.pipeline_health(asked.since, asked.until, repository => repository, team => team, bots => bots) as h
    cross join lateral (
      values
        (
          'success_rate',
          h.success_rate,
          'ratio',
          h.success + h.failure + h.timed_out + h.error,
          jsonb_build_object('first_try_success_rate', h.first_try_success_rate, 'final_success_rate', h.final_success_rate, 'rerun_rate', h.rerun_rate)
        ),
        (
          'duration',
          h.duration_p50_seconds,
          'seconds',
          h.duration_sample_size,
          jsonb_build_object('p75_seconds', h.duration_p75_seconds, 'p95_seconds', h.duration_p95_seconds)
        ),
        (
          'queue',
          h.queue_p50_seconds,
          'seconds',
          h.queue_sample_size,
          jsonb_build_object('p75_seconds', h.queue_p75_seconds, 'p95_seconds', h.queue_p95_seconds)
        )
    ) as v (metric, value, unit, sample_size, detail)
    union all
    select
      'tests',
      'pass_rate',
      tests.passed::double precision / nullif(tests.passed + tests.failed, 0),
      'ratio',
      case
        when is_unknown then 'unknown_service'
        when tests.passed + tests.failed = 0 then 'too_few'
      end,
      null::text,
      tests.passed + tests.failed,
      null::double precision,
      null::double precision,
      jsonb_build_object('runs', tests.runs, 'passed', tests.passed, 'failed', tests.failed, 'skipped', tests.skipped),
      4,
      1
    union all
    select
      'rules',
      'compliance',
      r.rate,
      'ratio',
      r.reason,
      null::text,
      r.checks,
      null::double precision,
      null::double precision,
      jsonb_build_object('compliant', r.compliant, 'violation', r.violation, 'warning', r.warning),
      5,
      row_number() over ()
    from metrics.rule_compliance(asked.since, asked.until, repository => repository, team => team) as r
  ) as o (section, metric, value, unit, reason, band, sample_size, previous_value, trend, detail, part, place)
  order by o.part, o.place;
end
$function$;
grant execute on function metrics.overview(since date, until date, repository text, team text, bots boolean) to authenticated;
grant execute on function metrics.overview(since date, until date, repository text, team text, bots boolean) to metrics_reader;
comment on function metrics.overview(since date, until date, repository text, team text, bots boolean) is 'What a first screen needs, in one call: the five numbers of DORA with their trend, the phases of pull requests, how pipelines run, which share of tests pass and of rules is kept.';

-- function metrics.overview_evidence(section text, metric text, since date, until date, repository text, team text, bots boolean, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.overview_evidence(section text DEFAULT 'dora'::text, metric text DEFAULT NULL::text, since date DEFAULT NULL::date, until date DEFAULT NULL::date, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, bots boolean DEFAULT true, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100)
 RETURNS SETOF metrics.evidence
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  part constant text := metrics.checked_word('section', section, array['dora', 'pull_requests', 'pipelines', 'tests', 'rules']);
begin
  perform metrics.require_reader();
  case part
    when 'dora' then
      return query
      select *
      from metrics.dora_evidence(
        metric, since, until, repository => repository, team => team, bots => bots, page_after => page_after, page_size => page_size
      );
    when 'pull_requests' then
      return query
      select *
      from metrics.pull_request_cycle_time_evidence(
        since, until, repository => repository, team => team, bots => bots, page_after => page_after, page_size => page_size
      );
    when 'pipelines' then
      return query
      select *
      from metrics.pipeline_health_evidence(
        since, until, repository => repository, team => team, bots => bots, page_after => page_after, page_size => page_size
      );
    when 'tests' then
      return query
      select *
      from metrics.test_health_evidence(
        since, until, repository => repository, team => team, page_after => page_after, page_size => page_size
      );
    else
      return query
      select *
      from metrics.rule_compliance_evidence(
        since, until, repository => repository, team => team, page_after => page_after, page_size => page_size
      );
  end case;
end
$function$;
grant execute on function metrics.overview_evidence(section text, metric text, since date, until date, repository text, team text, bots boolean, page_after text, page_size integer) to authenticated;
grant execute on function metrics.overview_evidence(section text, metric text, since date, until date, repository text, team text, bots boolean, page_after text, page_size integer) to metrics_reader;
comment on function metrics.overview_evidence(section text, metric text, since date, until date, repository text, team text, bots boolean, page_after text, page_size integer) is 'The rows behind one section of overview, as the number''s own evidence shows them; metric names one of the five of dora.';

-- function metrics.own_commits_of(reference_ids bigint[], numbers integer[])
CREATE OR REPLACE FUNCTION metrics.own_commits_of(reference_ids bigint[], numbers integer[])
 RETURNS TABLE(reference_id bigint, number integer, shas text[])
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET enable_seqscan TO 'off'
AS $function$
#variable_conflict use_column
begin
  return query
  select p.reference_id, p.number, own.shas
  from (
    select distinct u.reference_id, u.number
    from unnest(own_commits_of.reference_ids, own_commits_of.numbers) as u (reference_id, number)
  ) as touched
  join metrics.pull_requests as p
    on p.reference_id = touched.reference_id
    and p.number = touched.number
  join metrics.repository_references as here
    on here.id = p.reference_id
  cross join lateral (
    select array_agg(r.id) as list
    from metrics.repository_references as r
    where r.repository_id = here.repository_id
  ) as siblings
  cross join lateral (
    -- A branch name is used again and again: what was pushed before the previous pull request from it was closed is not ours.
    select max(b.closed_at) as closed_at
    from metrics.pull_requests as b
    where b.reference_id = any(siblings.list)
      and b.head_branch = p.head_branch
      and b.is_fork is not true
      and b.number < p.number
  ) as previous
  cross join lateral (
    -- Looked up by the commit: however many pushes a repository has, few of them hold it.
    select coalesce(
      (
        select min(m.pushed_at)
        from (
          select q.reference_id, q.on_default_branch, q.pushed_at
          from metrics.pushes as q
          where q.commits @> array[p.merge_sha]
          union all
          select q.reference_id, q.on_default_branch, q.pushed_at
          from unnest(siblings.list) as r (id)
          join metrics.pushes as q
            on q.reference_id = r.id
            and q.after = p.merge_sha
          offset 0
        ) as m
        where m.reference_id = any(siblings.list)
          and m.on_default_branch
          and p.merge_sha is not null
      ),
      p.merged_at,
      'infinity'
    ) as at
  ) as merge
  cross join lateral (
    select coalesce(array_agg(o.sha), '{}') as shas
    from (
      select unnest(h.commits)
      from metrics.pushes as h
      where h.reference_id = any(siblings.list)
        and h.ref = 'refs/heads/' || p.head_branch
        and p.is_fork is not true
        and h.deleted is not true
        and h.on_default_branch is not true
        and (previous.closed_at is null or h.pushed_at > previous.closed_at)
      union
      select p.head_sha
    ) as o (sha)
    where o.sha is not null
      and not exists (
        select
        from (
          select q.reference_id, q.on_default_branch, q.pushed_at
          from metrics.pushes as q
          where q.commits @> array[o.sha]
          offset 0
        ) as e
        where e.reference_id = any(siblings.list)
          and e.on_default_branch
          and e.pushed_at < merge.at
      )
  ) as own;
end
$function$;
comment on function metrics.own_commits_of(reference_ids bigint[], numbers integer[]) is 'The own commits of pull requests; of one from a fork, only the last is known.';

-- function metrics.page_of(asked metrics.period, groups text[], parts text[])
CREATE OR REPLACE FUNCTION metrics.page_of(asked metrics.period, groups text[], parts text[])
 RETURNS TABLE(name text, bucket_start date, part text, page_key text, total bigint)
 LANGUAGE plpgsql
 STABLE ROWS 100
 SET search_path TO ''
AS $function$
#variable_conflict use_column
declare
  starts date[];
  start_texts text[];
  begin_at bigint := 0;
  total_rows bigint;
begin
  select array_agg(b.bucket_start order by b.bucket_start), array_agg(coalesce(to_char(b.bucket_start, 'YYYY-MM-DD'), '') order by b.bucket_start)
  into starts, start_texts
  from metrics.buckets_of(asked) as b;
  total_rows := cardinality(groups)::bigint * cardinality(starts) * cardinality(parts);
  if asked.after is not null then
    if jsonb_array_length(asked.after) <> 3
      or jsonb_path_exists(asked.after, '$[*] ? (@.type() != "string")')
      or asked.after ->> 1 !~ '^([0-9]{4}-[0-9]{2}-[0-9]{2})?$' then
      raise exception using
        errcode = '22023',
        message = format('%s is no key of a page', left(asked.after::text, 100)),
        hint = 'Pass the page_key of the last row that was read, with the arguments that it was read with.';
    end if;
    -- How many rows stand up to the key; what it names may be gone by now.
    select
      count(*) filter (where g.name collate "C" < asked.after ->> 0) * cardinality(starts) * cardinality(parts)
      + count(*) filter (where g.name = asked.after ->> 0) * (
        (select count(*) from unnest(start_texts) as s (text) where s.text collate "C" < asked.after ->> 1) * cardinality(parts)
        + (select count(*) from unnest(start_texts) as s (text) where s.text = asked.after ->> 1)
          * (select count(*) from unnest(parts) as p (part) where p.part collate "C" <= asked.after ->> 2)
      )
    into begin_at
    from unnest(groups) as g (name);
  end if;
  return query
  select
    nullif(groups[g.place], ''),
    starts[g.start_place],
    parts[g.part_place],
    jsonb_build_array(groups[g.place], start_texts[g.start_place], parts[g.part_place])::text,
    total_rows
  -- Everybody who is signed in can ask for a page, so a page is no larger than period_of lets it be.
  from generate_series(begin_at, least(begin_at + least(asked.page_size, 500), total_rows) - 1) as i (n)
  cross join lateral (
    select
      i.n / (cardinality(starts) * cardinality(parts)) + 1 as place,
      i.n / cardinality(parts) % cardinality(starts) + 1 as start_place,
      i.n % cardinality(parts) + 1 as part_place
  ) as g;
end
$function$;
grant execute on function metrics.page_of(asked metrics.period, groups text[], parts text[]) to authenticated;
grant execute on function metrics.page_of(asked metrics.period, groups text[], parts text[]) to metrics_reader;
comment on function metrics.page_of(asked metrics.period, groups text[], parts text[]) is 'One page of the rows of a number: each group (by name, "" for all together) with each bucket of the period and each part. Groups and parts come in the order of their bytes, without any twice.';

-- function metrics.percentiles_of(tally numeric, fractions double precision[])
CREATE OR REPLACE FUNCTION metrics.percentiles_of(tally numeric, fractions double precision[])
 RETURNS TABLE(sample_size bigint, percentiles double precision[])
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE ROWS 1
 SET search_path TO ''
AS $function$
#variable_conflict use_column
begin
  return query
  with cumulated as (
    select
      c.bucket,
      sum(c.count) over (order by c.bucket) as up_to,
      sum(c.count) over () as total
    from metrics.counts_of(tally) as c
  )
  select
    max(c.total),
    array(
      select metrics.seconds_of(
        (
          select min(e.bucket)
          from cumulated as e
          where e.up_to >= ceil(f.fraction * e.total::double precision)
        )
      )
      from unnest(fractions) with ordinality as f (fraction, place)
      order by f.place
    )
  from cumulated as c;
end
$function$;
grant execute on function metrics.percentiles_of(tally numeric, fractions double precision[]) to authenticated;
grant execute on function metrics.percentiles_of(tally numeric, fractions double precision[]) to metrics_reader;
comment on function metrics.percentiles_of(tally numeric, fractions double precision[]) is 'How many values a tally counts, and their percentiles in seconds by the nearest rank, each at most 4.9 % off; NULL for none.';

-- function metrics.period_of(since date, until date, bucket text, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.period_of(since date, until date, bucket text, page_after text, page_size integer)
 RETURNS metrics.period
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
AS $function$
declare
  asked metrics.period;
begin
  select g.id, g.time_zone
  into asked.generation, asked.time_zone
  from metrics.generations as g
  where g.state = 'current';
  asked.until := coalesce(period_of.until, (now() at time zone asked.time_zone)::date + 1);
  asked.since := coalesce(period_of.since, asked.until - 90);
  asked.bucket := coalesce(period_of.bucket, 'none');
  asked.page_size := coalesce(period_of.page_size, 100);
  if not (isfinite(asked.since) and isfinite(asked.until)) or asked.since >= asked.until then
    raise exception using
      errcode = '22023',
      message = format('since %s is not before until %s', asked.since, asked.until),
      hint = 'The period holds the days from since to the day before until.';
  end if;
  if asked.until - asked.since > 3660 then
    raise exception using
      errcode = '22023',
      message = format('the period from %s until %s is longer than 3660 days', asked.since, asked.until),
      hint = 'Ask for ten years at most.';
  end if;
  if asked.bucket not in ('day', 'week', 'month', 'none') then
    raise exception using
      errcode = '22023',
      message = format('no bucket is called %s', asked.bucket),
      hint = 'Buckets are day, week, month and none.';
  end if;
  if asked.page_size not between 1 and 500 then
    raise exception using
      errcode = '22023',
      message = format('page_size is between 1 and 500, not %s', asked.page_size);
  end if;
  if page_after is not null then
    begin
      asked.after := page_after::jsonb;
    exception
      when others then
        asked.after := null;
    end;
    if asked.after is null or jsonb_typeof(asked.after) <> 'array' then
      raise exception using
        errcode = '22023',
        message = format('%s is no key of a page', left(page_after, 100)),
        hint = 'Pass the page_key of the last row that was read.';
    end if;
  end if;
  return asked;
end
$function$;
grant execute on function metrics.period_of(since date, until date, bucket text, page_after text, page_size integer) to authenticated;
grant execute on function metrics.period_of(since date, until date, bucket text, page_after text, page_size integer) to metrics_reader;
comment on function metrics.period_of(since date, until date, bucket text, page_after text, page_size integer) is 'Checks what a reading function was asked for and fills in the defaults: the last 90 days, today included. Raises 22023 with the value that does not fit.';

-- function metrics.pipeline_cost(since date, until date, bucket text, by text, repository text, team text, page_after text, page_size integer, pipeline text, job text, runner text)
CREATE OR REPLACE FUNCTION metrics.pipeline_cost(since date DEFAULT NULL::date, until date DEFAULT NULL::date, bucket text DEFAULT 'none'::text, by text DEFAULT 'nothing'::text, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100, pipeline text DEFAULT NULL::text, job text DEFAULT NULL::text, runner text DEFAULT NULL::text)
 RETURNS TABLE(bucket_start date, name text, jobs bigint, minutes double precision, billed_minutes double precision, unpriced_minutes double precision, cost double precision, currency text, reason text, is_frozen boolean, page_key text, total bigint)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
 SET enable_sort TO 'off'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
declare
  asked metrics.period;
  after jsonb;
  grouping text;
  horizon date;
  reference_ids bigint[];
  labels text[];
  first_week date;
  end_week date;
  is_unknown boolean;
  one_currency constant text := (
    select min(p.currency)
    from metrics.prices as p
  );
begin
  perform metrics.require_reader();
  asked := metrics.period_of(pipeline_cost.since, pipeline_cost.until, pipeline_cost.bucket, page_after, page_size);
  after := metrics.key_of_page(asked, array['string', 'string']);
  grouping := metrics.checked_word('by', pipeline_cost.by, array['nothing', 'repository', 'pipeline', 'job', 'runner']);
  select coalesce(array_agg(r.reference_id), '{}'), coalesce(array_agg(r.label), '{}')
  into reference_ids, labels
  from metrics.selected_references(pipeline_cost.repository, pipeline_cost.team) as r;
  is_unknown := reference_ids = '{}' and (pipeline_cost.repository is not null or pipeline_cost.team is not null);
  if is_unknown then
    grouping := 'nothing';
  end if;
  horizon := metrics.job_horizon();
  first_week := date_trunc('week', asked.since::timestamp)::date;
  end_week := date_trunc('week', (asked.until + 6)::timestamp)::date;

  return query
  with repositories as materialized (
    select r.reference_id, r.label
    from unnest(reference_ids, labels) as r (reference_id, label)
  ),
  weeks as materialized (
    select w.week, w.bucket_start
    from metrics.kept_weeks_of(asked, true, reference_ids) as w
  ),
  used as materialized (
    select
      u.reference_id,
      u.pipeline,
      u.job,
      u.runner,
      u.week,
      u.bucket_start,
      sum(u.jobs) as jobs,
      sum(u.seconds) / 60 as minutes,
      sum(u.rounded_minutes) as rounded_minutes
    from (
      select k.reference_id, k.pipeline, k.job, k.runner, k.week, w.bucket_start, k.jobs, k.seconds, k.rounded_minutes
      from (
        select
          case when grouping in ('repository', 'pipeline', 'job') then r.reference_id else 0 end as reference_id,
          case when grouping in ('pipeline', 'job') then n.pipeline else '' end as pipeline,
          case when grouping = 'job' then n.job else '' end as job,
          n.runner,
          n.week,
          sum(n.success + n.failure + n.timed_out + n.error + n.cancelled + n.skipped + n.neutral + n.unknown) as jobs,
          sum(n.seconds) as seconds,
          sum(n.rounded_minutes) as rounded_minutes
        from repositories as r
        cross join lateral (
          select *
          from metrics.job_weeks as f
          where f.generation = asked.generation
            and f.reference_id = r.reference_id
            and f.week >= first_week
            and f.week < end_week
            and (pipeline_cost.pipeline is null or f.pipeline = pipeline_cost.pipeline)
            and (pipeline_cost.job is null or f.job = pipeline_cost.job)
            and (pipeline_cost.runner is null or f.runner = pipeline_cost.runner)
          offset 0
        ) as n
        group by 1, 2, 3, 4, 5
      ) as k
      join weeks as w
        on w.week = k.week
      union all
      select e.reference_id, e.pipeline, e.job, x.runner, e.week, e.bucket_start, e.jobs, e.seconds, e.rounded_minutes
      from (
        select
          case when grouping in ('repository', 'pipeline', 'job') then r.reference_id else 0 end as reference_id,
          case when grouping in ('pipeline', 'job') then coalesce(j.pipeline, '') else '' end as pipeline,
          case when grouping = 'job' then coalesce(j.name, '') else '' end as job,
          j.runner_labels,
          d.week,
          d.bucket_start,
          sum(d.times) as jobs,
          coalesce(sum(d.times * j.duration_seconds::numeric), 0) as seconds,
          coalesce(sum(d.times * ceil(j.duration_seconds / 60)::numeric), 0) as rounded_minutes
        from repositories as r
        cross join metrics.kept_days_of(asked, true) as d
        cross join lateral (
          select f.pipeline, f.name, f.runner_labels, f.duration_seconds
          from metrics.jobs as f
          where f.reference_id = r.reference_id
            and f.ended_at >= d.starts_at
            and f.ended_at < d.ends_at
            and (pipeline_cost.pipeline is null or coalesce(f.pipeline, '') = pipeline_cost.pipeline)
            and (pipeline_cost.job is null or coalesce(f.name, '') = pipeline_cost.job)
          offset 0
        ) as j
        group by 1, 2, 3, 4, 5, 6
      ) as e
      cross join lateral (select metrics.runner_of(e.runner_labels) as runner) as x
      where pipeline_cost.runner is null
        or x.runner = pipeline_cost.runner
    ) as u
    group by 1, 2, 3, 4, 5, 6
    having sum(u.jobs) > 0
  ),
  rates as materialized (
    select u.runner, u.week, p.price_per_minute, p.is_hosted
    from (
      select distinct d.runner, d.week
      from used as d
    ) as u
    cross join lateral metrics.price_of(u.runner, u.week) as p
  ),
  sums as materialized (
    select
      u.reference_id,
      u.pipeline,
      u.job,
      case when grouping = 'runner' then u.runner else '' end as runner,
      u.bucket_start,
      sum(u.jobs) as jobs,
      sum(u.minutes) as minutes,
      sum(b.minutes) as billed_minutes,
      coalesce(sum(u.minutes) filter (where p.price_per_minute is null), 0) as unpriced_minutes,
      sum(b.minutes * p.price_per_minute) as cost
    from used as u
    left join rates as p
      on p.runner = u.runner
      and p.week = u.week
    cross join lateral (select case when p.is_hosted then u.rounded_minutes when p.price_per_minute is not null then u.minutes end as minutes) as b
    group by 1, 2, 3, 4, 5
  ),
  named as materialized (
    select 0::bigint as reference_id, '' as pipeline, '' as job, '' as runner, null::text as name
    where grouping = 'nothing'
    union all
    select r.reference_id, '', '', '', r.label
    from repositories as r
    where grouping = 'repository'
    union all
    select
      s.reference_id,
      s.pipeline,
      s.job,
      s.runner,
      case
        when grouping = 'runner' then s.runner
        else r.label || ' / ' || s.pipeline || case when grouping = 'job' then ' / ' || s.job else '' end
      end
    from (
      select distinct d.reference_id, d.pipeline, d.job, d.runner
      from sums as d
    ) as s
    left join repositories as r
      on r.reference_id = s.reference_id
    where grouping in ('pipeline', 'job', 'runner')
  ),
  lines as materialized (
    select
      coalesce(n.name, '') collate "C" as sort_name,
      coalesce(b.bucket_start::text, '') collate "C" as sort_bucket,
      n.name,
      b.bucket_start,
      b.first_day,
      b.end_day,
      count(*) over () as total
    from (select distinct d.name from named as d) as n
    cross join metrics.buckets_of(asked) as b
  ),
  page as materialized (
    select *
    from lines as l
    where after is null
      or (l.sort_name, l.sort_bucket) > ((after ->> 0) collate "C", (after ->> 1) collate "C")
    order by l.sort_name, l.sort_bucket
    limit asked.page_size
  ),
  costs as materialized (
    select
      n.name,
      s.bucket_start,
      sum(s.jobs) as jobs,
      sum(s.minutes) as minutes,
      sum(s.billed_minutes) as billed_minutes,
      sum(s.unpriced_minutes) as unpriced_minutes,
      sum(s.cost) as cost
    from named as n
    join sums as s
      on s.reference_id = n.reference_id
      and s.pipeline = n.pipeline
      and s.job = n.job
      and s.runner = n.runner
    group by n.name, s.bucket_start
  )
  select
    l.bucket_start,
    l.name,
    case when f.has_numbers then coalesce(c.jobs, 0)::bigint end,
    c.minutes::double precision,
    c.billed_minutes::double precision,
    c.unpriced_minutes::double precision,
    c.cost::double precision,
    case when c.cost is not null then one_currency end,
    case
      when is_unknown then 'unknown_service'
      when f.is_outside then 'outside_retention'
      when c.jobs is null then 'too_few'
      when c.cost is null then 'no_price'
    end,
    case when not is_unknown then l.first_day < horizon end,
    jsonb_build_array(l.sort_name, l.sort_bucket)::text,
    l.total
  from page as l
  left join costs as c
    on c.name is not distinct from l.name
    and c.bucket_start is not distinct from l.bucket_start
  cross join lateral (
    select not k.is_known as is_outside, not is_unknown and k.is_known as has_numbers
    from (
      select
        l.end_day > horizon
          or exists (
            select
            from weeks as w
            where w.bucket_start is not distinct from l.bucket_start
          ) as is_known
    ) as k
  ) as f
  order by l.sort_name, l.sort_bucket;
end
$function$;
grant execute on function metrics.pipeline_cost(since date, until date, bucket text, by text, repository text, team text, page_after text, page_size integer, pipeline text, job text, runner text) to authenticated;
grant execute on function metrics.pipeline_cost(since date, until date, bucket text, by text, repository text, team text, page_after text, page_size integer, pipeline text, job text, runner text) to metrics_reader;
comment on function metrics.pipeline_cost(since date, until date, bucket text, by text, repository text, team text, page_after text, page_size integer, pipeline text, job text, runner text) is 'Minutes of finished jobs and what they cost by metrics.prices. By nothing, repository, pipeline, job or runner. billed_minutes are those with a price, each job''s rounded up where the runner is hosted; unpriced_minutes the others. is_frozen: it begins before the horizon, where jobs are dropped: of that time only what was counted by week is in it. reason is no_price where minutes are there and none has a price.';

-- function metrics.pipeline_cost_evidence(since date, until date, repository text, team text, page_after text, page_size integer, pipeline text, job text, runner text)
CREATE OR REPLACE FUNCTION metrics.pipeline_cost_evidence(since date DEFAULT NULL::date, until date DEFAULT NULL::date, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100, pipeline text DEFAULT NULL::text, job text DEFAULT NULL::text, runner text DEFAULT NULL::text)
 RETURNS SETOF metrics.evidence
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
 SET enable_bitmapscan TO 'off'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
declare
  asked metrics.period;
  after metrics.evidence_key;
  horizon date;
  begins_at timestamptz;
  ends_at timestamptz;
  all_rows bigint;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(pipeline_cost_evidence.since, pipeline_cost_evidence.until, 'none', page_after, page_size);
  after := metrics.evidence_after(asked);
  horizon := metrics.job_horizon();
  asked.since := greatest(asked.since, horizon);
  if asked.since >= asked.until then
    return;
  end if;
  begins_at := greatest(after.happened_at, metrics.midnight(asked.since, asked.time_zone));
  ends_at := metrics.midnight(asked.until, asked.time_zone);
  select c.jobs
  into all_rows
  from metrics.pipeline_cost(
    asked.since, asked.until, 'none', 'nothing', pipeline_cost_evidence.repository, pipeline_cost_evidence.team, null, 1,
    pipeline_cost_evidence.pipeline, pipeline_cost_evidence.job, pipeline_cost_evidence.runner
  ) as c;

  return query
  select
    p.at,
    p.label,
    null::text,
    'job',
    p.external_id,
    p.commit_sha,
    p.name,
    (c.billed_minutes * c.price_per_minute)::double precision,
    c.currency,
    case when p.duration_seconds is null then 'too_few' when c.price_per_minute is null then 'no_price' end,
    p.url,
    jsonb_build_object(
      'pipeline', p.pipeline,
      'run_external_id', p.run_external_id,
      'attempt', p.attempt,
      'runner', c.runner,
      'minutes', p.duration_seconds / 60,
      'billed_minutes', c.billed_minutes,
      'price_per_minute', c.price_per_minute,
      'price_label', c.label
    ),
    metrics.evidence_page_key(p.at, p.label, 'job', p.external_id),
    coalesce(all_rows, 0)
  from (
    select r.label, f.*
    from metrics.selected_references(pipeline_cost_evidence.repository, pipeline_cost_evidence.team) as r
    cross join lateral (
      select e.ended_at as at, e.*
      from metrics.jobs as e
      where e.reference_id = r.reference_id
        and e.ended_at >= begins_at
        and e.ended_at < ends_at
        and (pipeline_cost_evidence.pipeline is null or coalesce(e.pipeline, '') = pipeline_cost_evidence.pipeline)
        and (pipeline_cost_evidence.job is null or coalesce(e.name, '') = pipeline_cost_evidence.job)
        and (pipeline_cost_evidence.runner is null or metrics.runner_of(e.runner_labels) = pipeline_cost_evidence.runner)
        and (
          after.happened_at is null
          or (e.ended_at, r.label, e.external_id)
            > (after.happened_at, after.repository collate "C", after.external_id collate "C")
        )
      order by e.ended_at, e.external_id collate "C"
      limit asked.page_size
    ) as f
    order by f.at, r.label collate "C", f.external_id collate "C"
    limit asked.page_size
  ) as p
  cross join lateral (
    select
      u.runner,
      q.label,
      q.price_per_minute,
      q.currency,
      case when q.is_hosted then ceil(p.duration_seconds::numeric / 60) when q.price_per_minute is not null then p.duration_seconds::numeric / 60 end
        as billed_minutes
    from (select metrics.runner_of(p.runner_labels) as runner) as u
    left join lateral metrics.price_of(u.runner, metrics.week_of(p.at, asked.time_zone)) as q
      on true
  ) as c
  order by p.at, p.label collate "C", p.external_id collate "C";
end
$function$;
grant execute on function metrics.pipeline_cost_evidence(since date, until date, repository text, team text, page_after text, page_size integer, pipeline text, job text, runner text) to authenticated;
grant execute on function metrics.pipeline_cost_evidence(since date, until date, repository text, team text, page_after text, page_size integer, pipeline text, job text, runner text) to metrics_reader;
comment on function metrics.pipeline_cost_evidence(since date, until date, repository text, team text, page_after text, page_size integer, pipeline text, job text, runner text) is 'The jobs behind pipeline_cost that are still kept, by the time at which they ended; value is what each cost.';

-- function metrics.pipeline_health(since date, until date, bucket text, by text, repository text, team text, branch text, bots boolean, page_after text, page_size integer, pipeline text)
CREATE OR REPLACE FUNCTION metrics.pipeline_health(since date DEFAULT NULL::date, until date DEFAULT NULL::date, bucket text DEFAULT 'none'::text, by text DEFAULT 'nothing'::text, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, branch text DEFAULT NULL::text, bots boolean DEFAULT true, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100, pipeline text DEFAULT NULL::text)
 RETURNS TABLE(bucket_start date, name text, runs bigint, success bigint, failure bigint, timed_out bigint, error bigint, cancelled bigint, skipped bigint, neutral bigint, unknown bigint, success_rate double precision, first_try_success_rate double precision, final_success_rate double precision, rerun_rate double precision, duration_p50_seconds double precision, duration_p75_seconds double precision, duration_p95_seconds double precision, queue_p50_seconds double precision, queue_p75_seconds double precision, queue_p95_seconds double precision, duration_sample_size bigint, queue_sample_size bigint, reason text, is_exact boolean, page_key text, total bigint)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_tidscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_nestloop TO 'off'
 SET enable_sort TO 'off'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
declare
  fractions constant double precision[] := array[0.5, 0.75, 0.95];
  wants_bots constant boolean := coalesce(pipeline_health.bots, true);
  only_default constant boolean := pipeline_health.branch is not null;
  asked metrics.period;
  grouping text;
  reference_ids bigint[];
  labels text[];
  places integer[];
  is_unknown boolean;
  by_pipeline boolean;
  first_week date;
  end_week date;
  bucket_starts date[];
  from_weeks boolean;
  has_more boolean;
  rows_looked_at integer;
  is_exact boolean;
  all_runs bigint;
  groups text[];
  groups_shown text[];
  first_bucket date;
  last_bucket date;
  lines metrics.health_line[];
begin
  perform metrics.require_reader();
  asked := metrics.period_of(pipeline_health.since, pipeline_health.until, pipeline_health.bucket, page_after, page_size);
  grouping := metrics.checked_word('by', pipeline_health.by, array['nothing', 'repository', 'pipeline']);
  select
    coalesce(array_agg(r.reference_id), '{}'),
    coalesce(array_agg(r.place), '{}'),
    coalesce(array_agg(distinct r.label) filter (where grouping <> 'nothing'), array[''])
  into reference_ids, places, labels
  from (
    select s.reference_id, s.label, case when grouping = 'nothing' then 1 else dense_rank() over (order by s.label) end as place
    from (
      select o.reference_id, o.label collate "C" as label
      from metrics.selected_references(pipeline_health.repository, pipeline_health.team) as o
    ) as s
  ) as r;
  is_unknown := reference_ids = '{}' and (pipeline_health.repository is not null or pipeline_health.team is not null);
  if is_unknown then
    grouping := 'nothing';
    labels := array[''];
  end if;
  by_pipeline := grouping = 'pipeline';
  first_week := date_trunc('week', asked.since::timestamp)::date;
  end_week := date_trunc('week', (asked.until + 6)::timestamp)::date;

  -- Few runs are read one by one, and their percentiles are exact. A branch other than the default one is not counted by weeks.
  foreach rows_looked_at in array array[1000, 5000, 1000000] loop
    select count(*) = rows_looked_at, sum(c.runs) > 2000
    into has_more, from_weeks
    from (
      select w.success + w.failure + w.timed_out + w.error + w.cancelled + w.skipped + w.neutral + w.unknown as runs
      from unnest(reference_ids) as r (reference_id)
      cross join lateral (
        select *
        from metrics.pipeline_weeks as w
        where w.generation = asked.generation
          and w.only_default_branch = only_default
          and w.only_humans = not wants_bots
          and w.reference_id = r.reference_id
          and w.week >= first_week
          and w.week < end_week
          and (pipeline_health.pipeline is null or w.pipeline = pipeline_health.pipeline)
        offset 0
      ) as w
      limit rows_looked_at
    ) as c;
    exit when from_weeks or not has_more;
  end loop;
  from_weeks := coalesce(from_weeks and coalesce(pipeline_health.branch, 'default') = 'default', false);
  is_exact := not from_weeks;

  -- What ran in the period, whatever its weeks and the days beside them say by themselves.
  if by_pipeline or (is_exact and pipeline_health.branch <> 'default') then
    select coalesce(array_agg(distinct n.name collate "C"), '{}'), coalesce(sum(n.runs), 0)
    into groups, all_runs
    from (
      select labels[k.place] || ' / ' || k.pipeline as name, sum(k.runs) as runs
      from (
        select r.place, n.pipeline, n.runs
        from unnest(reference_ids, places) as r (reference_id, place)
        cross join lateral (
          select
            f.pipeline,
            f.week,
            f.success + f.failure + f.timed_out + f.error + f.cancelled + f.skipped + f.neutral + f.unknown as runs
          from metrics.pipeline_weeks as f
          where from_weeks
            and f.generation = asked.generation
            and f.only_default_branch = only_default
            and f.only_humans = not wants_bots
            and f.reference_id = r.reference_id
            and f.week >= first_week
            and f.week < end_week
            and (pipeline_health.pipeline is null or f.pipeline = pipeline_health.pipeline)
          offset 0
        ) as n
        where n.week in (
          select w.week
          from metrics.nearest_weeks_of(asked) as w
          where w.is_counted
        )
        union all
        select r.place, p.pipeline, s.times * p.runs
        from (
          select d.starts_at, d.ends_at, d.times
          from metrics.days_off_weeks_of(asked) as d
          where from_weeks
          union all
          select d.starts_at, d.ends_at, 1
          from metrics.stretches_of(asked) as d
          where not from_weeks
        ) as s
        cross join unnest(reference_ids, places) as r (reference_id, place)
        cross join lateral (
          select coalesce(f.pipeline, '') as pipeline, count(*) as runs
          from metrics.pipeline_runs as f
          where f.reference_id = r.reference_id
            and f.ended_at >= s.starts_at
            and f.ended_at < s.ends_at
            and (pipeline_health.pipeline is null or coalesce(f.pipeline, '') = pipeline_health.pipeline)
            and (
              pipeline_health.branch is null
              or (pipeline_health.branch = 'default' and f.on_default_branch)
              or (pipeline_health.branch <> 'default' and f.branch = pipeline_health.branch)
            )
            and (wants_bots or f.actor_is_bot is not true)
          group by 1
          offset 0
        ) as p
      ) as k
      group by k.place, k.pipeline
      having sum(k.runs) > 0
    ) as n;
    is_exact := is_exact and all_runs <= 2000;
  end if;
  if not by_pipeline then
    groups := labels;
  end if;

  -- Only what stands on the page is read.
  select array_agg(distinct coalesce(g.name, '')), min(g.bucket_start), max(g.bucket_start)
  into groups_shown, first_bucket, last_bucket
  from metrics.page_of(asked, groups, array['']) as g;
  if grouping <> 'nothing' then
    select coalesce(array_agg(r.reference_id), '{}'), coalesce(array_agg(r.place), '{}')
    into reference_ids, places
    from unnest(reference_ids, places) as r (reference_id, place)
    where exists (
      select
      from unnest(groups_shown) as g (name)
      where case when by_pipeline then starts_with(g.name, labels[r.place] || ' / ') else g.name = labels[r.place] end
    );
  end if;
  -- The bucket of each week that is counted.
  select min(w.week), max(w.week) + 7, array_agg(w.bucket_start order by w.week)
  into first_week, end_week, bucket_starts
  from metrics.nearest_weeks_of(asked) as w
  where w.is_counted
    and (w.bucket_start between first_bucket and last_bucket) is not false;

  lines := array(
    with stretches as materialized (
      select d.bucket_start, d.starts_at, d.ends_at, d.times
      from metrics.days_off_weeks_of(asked) as d
      where from_weeks
        and (d.bucket_start between first_bucket and last_bucket) is not false
      union all
      select s.bucket_start, s.starts_at, s.ends_at, 1
      from metrics.stretches_of(asked) as s
      where not from_weeks
        and (s.bucket_start between first_bucket and last_bucket) is not false
    ),
    counted as (
      select case when by_pipeline then labels[n.place] || ' / ' || n.pipeline else labels[n.place] end as name, n.*
      from (
        select
          r.place,
          case when by_pipeline then n.pipeline end as pipeline,
          bucket_starts[(n.week - first_week) / 7 + 1] as bucket_start,
          sum(n.success) as success,
          sum(n.failure) as failure,
          sum(n.timed_out) as timed_out,
          sum(n.error) as error,
          sum(n.cancelled) as cancelled,
          sum(n.skipped) as skipped,
          sum(n.neutral) as neutral,
          sum(n.unknown) as unknown,
          sum(n.reruns) as reruns,
          sum(n.first_decided) as first_decided,
          sum(n.first_success) as first_success,
          sum(n.last_decided) as last_decided,
          sum(n.last_success) as last_success,
          sum(n.duration_tally) as duration_tally,
          sum(n.queue_tally) as queue_tally,
          null::double precision[] as durations,
          null::double precision[] as queues,
          null::bigint as measured_durations,
          null::bigint as measured_queues
        from unnest(reference_ids, places) as r (reference_id, place)
        cross join lateral (
          select
            f.week, f.pipeline, f.success, f.failure, f.timed_out, f.error, f.cancelled, f.skipped, f.neutral, f.unknown, f.reruns,
            f.first_decided, f.first_success, f.last_decided, f.last_success, f.duration_tally, f.queue_tally
          from metrics.pipeline_weeks as f
          where from_weeks
            and f.generation = asked.generation
            and f.only_default_branch = only_default
            and f.only_humans = not wants_bots
            and f.reference_id = r.reference_id
            and f.week >= first_week
            and f.week < end_week
            and (pipeline_health.pipeline is null or f.pipeline = pipeline_health.pipeline)
          offset 0
        ) as n
        group by 1, 2, 3
      ) as n
      union all
      select
        coalesce(p.name, labels[p.place] || case when by_pipeline then ' / ' || p.pipeline else '' end),
        p.place,
        p.pipeline,
        p.bucket_start,
        p.times * p.success,
        p.times * p.failure,
        p.times * p.timed_out,
        p.times * p.error,
        p.times * p.cancelled,
        p.times * p.skipped,
        p.times * p.neutral,
        p.times * p.unknown,
        p.times * p.reruns,
        p.times * p.first_decided,
        p.times * p.first_success,
        p.times * p.last_decided,
        p.times * p.last_success,
        case when not is_exact then p.times * metrics.tally_of_all(p.durations) end,
        case when not is_exact then p.times * metrics.tally_of_all(p.queues) end,
        case
          when is_exact then (
            select percentile_disc(fractions) within group (order by v.seconds)
            from unnest(p.durations) as v (seconds)
          )
        end,
        case
          when is_exact then (
            select percentile_disc(fractions) within group (order by v.seconds)
            from unnest(p.queues) as v (seconds)
          )
        end,
        p.measured_durations,
        p.measured_queues
      -- Two pipelines may have one name together with their repositories. Tallies can be added; for exact percentiles all values of a row are
      -- needed.
      from (
        select
          case when is_exact then labels[r.place] || case when by_pipeline then ' / ' || n.pipeline else '' end end as name,
          case when not is_exact then r.place end as place,
          case when by_pipeline and not is_exact then n.pipeline end as pipeline,
          s.bucket_start,
          s.times,
          count(*) filter (where n.outcome = 'success') as success,
          count(*) filter (where n.outcome = 'failure') as failure,
          count(*) filter (where n.outcome = 'timed_out') as timed_out,
          count(*) filter (where n.outcome = 'error') as error,
          count(*) filter (where n.outcome = 'cancelled') as cancelled,
          count(*) filter (where n.outcome = 'skipped') as skipped,
          count(*) filter (where n.outcome = 'neutral') as neutral,
          count(*) filter (where n.outcome = 'unknown') as unknown,
          count(*) filter (where not n.is_first_try) as reruns,
          count(*) filter (where n.is_first_try and n.is_decided) as first_decided,
          count(*) filter (where n.is_first_try and n.outcome = 'success') as first_success,
          count(*) filter (where n.is_last_try and n.is_decided) as last_decided,
          count(*) filter (where n.is_last_try and n.outcome = 'success') as last_success,
          array_agg(n.duration_seconds) as durations,
          array_agg(n.queue_seconds) as queues,
          count(n.duration_seconds) as measured_durations,
          count(n.queue_seconds) as measured_queues
        from stretches as s
        cross join unnest(reference_ids, places) as r (reference_id, place)
        cross join lateral (
          select
            coalesce(f.pipeline, '') as pipeline, f.outcome, f.is_first_try, f.is_last_try, f.duration_seconds, f.queue_seconds,
            f.outcome in ('success', 'failure', 'timed_out', 'error') as is_decided
          from metrics.pipeline_runs as f
          where f.reference_id = r.reference_id
            and f.ended_at >= s.starts_at
            and f.ended_at < s.ends_at
            and (pipeline_health.pipeline is null or coalesce(f.pipeline, '') = pipeline_health.pipeline)
            and (
              pipeline_health.branch is null
              or (pipeline_health.branch = 'default' and f.on_default_branch)
              or (pipeline_health.branch <> 'default' and f.branch = pipeline_health.branch)
            )
            and (wants_bots or f.actor_is_bot is not true)
          offset 0
        ) as n
        group by 1, 2, 3, 4, 5
      ) as p
    )
    select
      row(
        c.name, c.bucket_start, c.success, c.failure, c.timed_out, c.error, c.cancelled, c.skipped, c.neutral, c.unknown, c.reruns, c.first_decided,
        c.first_success, c.last_decided, c.last_success,
        case when is_exact then c.durations else d.percentiles end,
        case when is_exact then c.queues else q.percentiles end,
        case when is_exact then c.measured_durations else d.sample_size end,
        case when is_exact then c.measured_queues else q.sample_size end
      )::metrics.health_line
    from (
      select
        c.name,
        c.bucket_start,
        sum(c.success)::bigint as success,
        sum(c.failure)::bigint as failure,
        sum(c.timed_out)::bigint as timed_out,
        sum(c.error)::bigint as error,
        sum(c.cancelled)::bigint as cancelled,
        sum(c.skipped)::bigint as skipped,
        sum(c.neutral)::bigint as neutral,
        sum(c.unknown)::bigint as unknown,
        sum(c.reruns)::bigint as reruns,
        sum(c.first_decided)::bigint as first_decided,
        sum(c.first_success)::bigint as first_success,
        sum(c.last_decided)::bigint as last_decided,
        sum(c.last_success)::bigint as last_success,
        sum(c.duration_tally) as duration_tally,
        sum(c.queue_tally) as queue_tally,
        max(c.durations) as durations,
        max(c.queues) as queues,
        sum(c.measured_durations)::bigint as measured_durations,
        sum(c.measured_queues)::bigint as measured_queues
      from counted as c
      group by c.name, c.bucket_start
    ) as c
    -- Each by itself (offset 0), so that none is called where percentiles are exact.
    left join lateral (
      select p.sample_size, p.percentiles
      from metrics.percentiles_of(c.duration_tally, fractions) as p
      where not is_exact
      offset 0
    ) as d
      on true
    left join lateral (
      select p.sample_size, p.percentiles
      from metrics.percentiles_of(c.queue_tally, fractions) as p
      where not is_exact
      offset 0
    ) as q
      on true
    where c.name = any(groups_shown)
  );

  return query
  select
    g.bucket_start,
    g.name,
    case when not is_unknown then n.runs end,
    case when not is_unknown then coalesce(l.success, 0) end,
    case when not is_unknown then coalesce(l.failure, 0) end,
    case when not is_unknown then coalesce(l.timed_out, 0) end,
    case when not is_unknown then coalesce(l.error, 0) end,
    case when not is_unknown then coalesce(l.cancelled, 0) end,
    case when not is_unknown then coalesce(l.skipped, 0) end,
    case when not is_unknown then coalesce(l.neutral, 0) end,
    case when not is_unknown then coalesce(l.unknown, 0) end,
    r.success_rate,
    r.first_try_success_rate,
    r.final_success_rate,
    r.rerun_rate,
    l.durations[1],
    l.durations[2],
    l.durations[3],
    l.queues[1],
    l.queues[2],
    l.queues[3],
    case when not is_unknown then coalesce(l.measured_durations, 0) end,
    case when not is_unknown then coalesce(l.measured_queues, 0) end,
    case
      when is_unknown then 'unknown_service'
      when num_nulls(
        r.success_rate, r.first_try_success_rate, r.final_success_rate, r.rerun_rate, l.durations[1], l.queues[1]
      ) > 0 then 'too_few'
    end,
    case when not is_unknown then is_exact end,
    g.page_key,
    g.total
  from metrics.page_of(asked, groups, array['']) as g
  left join unnest(lines) as l
    on l.name = coalesce(g.name, '')
    and l.bucket_start is not distinct from g.bucket_start
  cross join lateral (
    select
      coalesce(l.success + l.failure + l.timed_out + l.error, 0) as decided,
      coalesce(l.success + l.failure + l.timed_out + l.error + l.cancelled + l.skipped + l.neutral + l.unknown, 0) as runs
  ) as n
  cross join lateral (
    select
      l.success::double precision / nullif(n.decided, 0) as success_rate,
      l.first_success::double precision / nullif(l.first_decided, 0) as first_try_success_rate,
      l.last_success::double precision / nullif(l.last_decided, 0) as final_success_rate,
      l.reruns::double precision / nullif(n.runs, 0) as rerun_rate
  ) as r
  order by g.name collate "C" nulls first, g.bucket_start;
end
$function$;
grant execute on function metrics.pipeline_health(since date, until date, bucket text, by text, repository text, team text, branch text, bots boolean, page_after text, page_size integer, pipeline text) to authenticated;
grant execute on function metrics.pipeline_health(since date, until date, bucket text, by text, repository text, team text, branch text, bots boolean, page_after text, page_size integer, pipeline text) to metrics_reader;
comment on function metrics.pipeline_health(since date, until date, bucket text, by text, repository text, team text, branch text, bots boolean, page_after text, page_size integer, pipeline text) is 'Finished pipeline runs by outcome; rates from 0 to 1 of all attempts, first tries and last tries; seconds that they took and waited, each with how many it is of. By nothing, repository or pipeline; branch is a name, default, or NULL for all. reason is too_few where a number beside it is NULL.';

-- function metrics.pipeline_health_evidence(since date, until date, repository text, team text, branch text, bots boolean, page_after text, page_size integer, pipeline text)
CREATE OR REPLACE FUNCTION metrics.pipeline_health_evidence(since date DEFAULT NULL::date, until date DEFAULT NULL::date, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, branch text DEFAULT NULL::text, bots boolean DEFAULT true, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100, pipeline text DEFAULT NULL::text)
 RETURNS SETOF metrics.evidence
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
 SET enable_bitmapscan TO 'off'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
declare
  asked metrics.period;
  after metrics.evidence_key;
  begins_at timestamptz;
  ends_at timestamptz;
  all_rows bigint;
  wants_bots constant boolean := coalesce(pipeline_health_evidence.bots, true);
begin
  perform metrics.require_reader();
  asked := metrics.period_of(pipeline_health_evidence.since, pipeline_health_evidence.until, 'none', page_after, page_size);
  after := metrics.evidence_after(asked);
  begins_at := greatest(after.happened_at, metrics.midnight(asked.since, asked.time_zone));
  ends_at := metrics.midnight(asked.until, asked.time_zone);
  all_rows := metrics.ended_runs(
    asked,
    array(
      select r.reference_id
      from metrics.selected_references(pipeline_health_evidence.repository, pipeline_health_evidence.team) as r
    ),
    pipeline_health_evidence.branch,
    pipeline_health_evidence.pipeline,
    wants_bots
  );

  return query
  select
    p.at,
    p.label,
    null::text,
    'pipeline_run',
    p.external_id,
    p.commit_sha,
    p.pipeline,
    p.duration_seconds,
    'seconds',
    case when p.duration_seconds is null then 'too_few' end,
    p.url,
    jsonb_build_object(
      'attempt', p.attempt,
      'number', p.number,
      'branch', p.branch,
      'on_default_branch', p.on_default_branch,
      'outcome', p.outcome,
      'provider_outcome', p.provider_outcome,
      'is_first_try', p.is_first_try,
      'is_last_try', p.is_last_try,
      'is_bot', p.actor_is_bot is true,
      'queue_seconds', p.queue_seconds
    ),
    metrics.evidence_page_key(p.at, p.label, 'pipeline_run', p.sort_id),
    all_rows
  from (
    select r.label, f.*
    from metrics.selected_references(pipeline_health_evidence.repository, pipeline_health_evidence.team) as r
    cross join lateral (
      select
        e.ended_at as at,
        (e.external_id || '#' || lpad(e.attempt::text, 10, '0')) collate "C" as sort_id,
        e.*
      from metrics.pipeline_runs as e
      where e.reference_id = r.reference_id
        and e.ended_at >= begins_at
        and e.ended_at < ends_at
        and (pipeline_health_evidence.pipeline is null or coalesce(e.pipeline, '') = pipeline_health_evidence.pipeline)
        and (
          pipeline_health_evidence.branch is null
          or (pipeline_health_evidence.branch = 'default' and e.on_default_branch)
          or (pipeline_health_evidence.branch <> 'default' and e.branch = pipeline_health_evidence.branch)
        )
        and (wants_bots or e.actor_is_bot is not true)
        and (
          after.happened_at is null
          or (e.ended_at, r.label, e.external_id || '#' || lpad(e.attempt::text, 10, '0'))
            > (after.happened_at, after.repository collate "C", after.external_id collate "C")
        )
      order by e.ended_at, (e.external_id || '#' || lpad(e.attempt::text, 10, '0')) collate "C"
      limit asked.page_size
    ) as f
    order by f.at, r.label collate "C", f.sort_id
    limit asked.page_size
  ) as p
  order by p.at, p.label collate "C", p.sort_id;
end
$function$;
grant execute on function metrics.pipeline_health_evidence(since date, until date, repository text, team text, branch text, bots boolean, page_after text, page_size integer, pipeline text) to authenticated;
grant execute on function metrics.pipeline_health_evidence(since date, until date, repository text, team text, branch text, bots boolean, page_after text, page_size integer, pipeline text) to metrics_reader;
comment on function metrics.pipeline_health_evidence(since date, until date, repository text, team text, branch text, bots boolean, page_after text, page_size integer, pipeline text) is 'The pipeline runs behind pipeline_health, by the time at which they ended; value is the seconds that each took.';

-- function metrics.place_changes(generation integer, repository bigint, first_line integer, first_ordinal integer, last_ordinal integer, touched text[], OUT written text[], OUT fallen_back boolean)
CREATE OR REPLACE FUNCTION metrics.place_changes(generation integer, repository bigint, first_line integer, first_ordinal integer, last_ordinal integer, touched text[], OUT written text[], OUT fallen_back boolean)
 RETURNS record
 LANGUAGE plpgsql
 SET search_path TO ''
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'on'
AS $function$
#variable_conflict use_column
declare
  first_position constant bigint := place_changes.first_ordinal::bigint << 20;
  -- Bounds that an index is read between, whatever they are.
  least_line constant integer := case when place_changes.first_ordinal = 0 then 0 else first_line end;
  last_line constant integer := case when place_changes.first_ordinal = 0 then 2147483647 else first_line end;
  siblings constant bigint[] := array(select r.id from metrics.repository_references as r where r.repository_id = repository);
  has_globs constant boolean := exists (
    select
    from metrics.services as s
    where s.generation = place_changes.generation
      and s.repository_id = repository
      and s.path_globs is not null
  );
  moved text[] := '{}';
  elsewhere text[] := '{}';
  ends text[] := '{}';
  new_places jsonb;
  taken metrics.changes[];
  told text[];
begin
  if place_changes.first_ordinal is not null then
    -- What stood there, and stands there no more, is looked for in what was before.
    select
      coalesce(array_agg(distinct u.sha) filter (where u.is_there), '{}'),
      coalesce(array_agg(distinct u.sha), '{}')
    into moved, elsewhere
    from (
      select c.sha, false as is_there
      from metrics.changes as c
      where c.generation = place_changes.generation
        and c.repository_id = repository
        and (c.line, c.position) between (least_line, first_position) and (last_line, 9223372036854775807)
      union all
      select l.sha, true
      from metrics.branch_moves as m
      join metrics.pushes as p
        on p.id = m.push_id
      cross join lateral unnest(p.commits || p.after) as l (sha)
      where m.generation = place_changes.generation
        and m.repository_id = repository
        and (m.line, m.ordinal) between (least_line, place_changes.first_ordinal) and (last_line, place_changes.last_ordinal)
        and l.sha !~ '^0+$'
    ) as u;
    elsewhere := array(select unnest(elsewhere) except select unnest(moved));
    -- Where a move ends on a commit that it does not list, all places of that commit matter.
    ends := array(
      select distinct p.after
      from metrics.branch_moves as m
      join metrics.pushes as p
        on p.id = m.push_id
      where m.generation = place_changes.generation
        and m.repository_id = repository
        and (m.line, m.ordinal) between (least_line, place_changes.first_ordinal) and (last_line, place_changes.last_ordinal)
        and not coalesce(p.commits @> array[p.after], false)
        and p.after !~ '^0+$'
    );
    -- As they do of one that stands on an earlier line.
    if first_line > 0 then
      ends := array(
        select unnest(ends)
        union
        select s.sha
        from unnest(moved) as s (sha)
        cross join lateral (
          select c.generation, c.repository_id
          from metrics.changes as c
          where c.sha = s.sha
          offset 0
        ) as c
        where c.generation = place_changes.generation
          and c.repository_id = repository
      );
    end if;
  end if;
  told := array(
    select unnest(moved)
    union
    select unnest(elsewhere)
    union
    select unnest(touched)
  );

  -- Each looked up by its commit, whatever the planner knows of the table: + 0 keeps it from reading all of the repository.
  with present as materialized (
    select c.*
    from unnest(told) as s (sha)
    cross join lateral (
      select t.ctid as row_id, t.generation, t.repository_id, t.service_id, t.sha, t.line, t.position, t.is_listed, t.gone_position, t.gone_reason
      from metrics.changes as t
      where t.sha = s.sha
        and t.generation + 0 = place_changes.generation
        and t.repository_id + 0 = repository
      offset 0
    ) as c
  ),
  places as (
    select l.sha, m.line, (m.ordinal::bigint << 20) + l.n as place, true as is_listed, null::bigint as gone_position, null as gone_reason
    from metrics.branch_moves as m
    join metrics.pushes as p
      on p.id = m.push_id
    cross join lateral unnest(p.commits) with ordinality as l (sha, n)
    where m.generation = place_changes.generation
      and m.repository_id = repository
      and (m.line, m.ordinal) between (least_line, place_changes.first_ordinal) and (last_line, place_changes.last_ordinal)
    union all
    select o.sha, o.line, o.place, o.is_listed, null, null
    from metrics.places_of(place_changes.generation, repository, elsewhere || ends) as o
    union all
    select c.sha, c.line, c.position, c.is_listed, c.gone_position, c.gone_reason
    from (
      select unnest(touched)
      except
      select unnest(moved)
      except
      select unnest(elsewhere)
    ) as s (sha)
    join present as c
      on c.sha = s.sha
  ),
  latest as (
    select distinct on (p.sha)
      p.sha, p.line, p.place, bool_or(p.is_listed) over (partition by p.sha) as is_listed, p.gone_position, p.gone_reason
    from places as p
    order by p.sha, p.line, p.place desc
  ),
  wanted as materialized (
    select l.*, coalesce(s.id, 0) as service_id
    from latest as l
    left join lateral (
      select v.id
      from metrics.services as v
      where v.generation = place_changes.generation
        and v.repository_id = repository
        and l.is_listed
        and (
          v.path_globs is null
          or not exists (
            select
            from metrics.commits as c
            where has_globs
              and c.reference_id = any(siblings)
              and c.sha = l.sha
              and c.changed_paths is not null
          )
          or exists (
            select
            from metrics.commits as c
            cross join lateral unnest(c.changed_paths) as f (path)
            join unnest(v.path_globs) as g (glob)
              on f.path ~ metrics.glob_pattern(g.glob)
            where c.reference_id = any(siblings)
              and c.sha = l.sha
          )
        )
    ) as s
      on true
  ),
  taken_away as (
    delete from metrics.changes as c
    using (
      select p.row_id
      from present as p
      left join wanted as w
        on w.sha = p.sha
        and w.service_id = p.service_id
        and w.line = p.line
        and w.place = p.position
        and w.is_listed = p.is_listed
      where w.sha is null
    ) as g
    where c.ctid = g.row_id
    returning c.*
  )
  select
    (select array_agg(t::metrics.changes) from taken_away as t),
    (
      select jsonb_agg(jsonb_build_array(w.sha, w.service_id, w.line, w.place, w.is_listed, w.gone_position, w.gone_reason))
      from wanted as w
      left join present as p
        on p.sha = w.sha
        and p.service_id = w.service_id
        and p.line = w.line
        and p.position = w.place
        and p.is_listed = w.is_listed
      where p.sha is null
    )
  into taken, new_places;

  -- What stands elsewhere keeps what is known of it.
  with put as (
    insert into metrics.changes (
      generation, repository_id, service_id, sha, line, position, is_listed, gone_position, gone_reason, reference_id, started_at, basis, is_bot,
      is_merge_commit, is_hotfix, reverts, pull_request_reference_id, pull_request_number, pull_request_is_bot, merged_at, shipped_by, shipped_at,
      is_first_shipped, is_order_unknown
    )
    select
      place_changes.generation, repository, w.service_id, w.sha, w.line, w.place, w.is_listed, coalesce(o.gone_position, w.gone_position),
      coalesce(o.gone_reason, w.gone_reason), coalesce(o.reference_id, d.reference_id), coalesce(o.started_at, d.started_at),
      coalesce(o.basis, d.basis), coalesce(o.is_bot, d.is_bot, false), coalesce(o.is_merge_commit, d.is_merge_commit, false),
      coalesce(o.is_hotfix, d.is_hotfix, false), coalesce(o.reverts, d.reverts),
      coalesce(o.pull_request_reference_id, d.pull_request_reference_id), coalesce(o.pull_request_number, d.pull_request_number),
      coalesce(o.pull_request_is_bot, d.pull_request_is_bot), coalesce(o.merged_at, d.merged_at), o.shipped_by, o.shipped_at, coalesce(o.is_first_shipped, false), coalesce(o.is_order_unknown, false)
    from (
      select
        a.said ->> 0 as sha,
        (a.said ->> 1)::bigint as service_id,
        (a.said ->> 2)::integer as line,
        (a.said ->> 3)::bigint as place,
        (a.said ->> 4)::boolean as is_listed,
        (a.said ->> 5)::bigint as gone_position,
        a.said ->> 6 as gone_reason
      from jsonb_array_elements(new_places) as a (said)
    ) as w
    left join unnest(taken) as o
      on o.sha = w.sha
      and o.service_id = w.service_id
    -- All are described afterwards. Where many are placed, what is known of them already is written at once, so that few rows change again.
    left join (
      select *
      from metrics.described(place_changes.generation, repository, moved)
      where place_changes.last_ordinal < 2147483647
    ) as d
      on d.sha = w.sha
    returning sha
  )
  select coalesce(array_agg(u.sha), '{}')
  into written
  from (
    select t.sha
    from unnest(taken) as t
    union
    select p.sha
    from put as p
  ) as u;

  -- What stands at an earlier place again may have been taken off by an earlier forced push.
  fallen_back := place_changes.first_ordinal > 0 and exists (
    select
    from unnest(elsewhere || ends) as s (sha)
    cross join lateral (
      select c.generation, c.repository_id, c.line, c.position
      from metrics.changes as c
      where c.sha = s.sha
      offset 0
    ) as c
    where c.generation = place_changes.generation
      and c.repository_id = repository
      and c.line = first_line
      and c.position < first_position
  );
end
$function$;
comment on function metrics.place_changes(generation integer, repository bigint, first_line integer, first_ordinal integer, last_ordinal integer, touched text[], OUT written text[], OUT fallen_back boolean) is 'Places commits on the default branch, as changes of services. first_ordinal is what order_moves returned; NULL when no move changed. fallen_back tells that something stands before that place again.';

-- function metrics.places_of(generation integer, repository bigint, shas text[])
CREATE OR REPLACE FUNCTION metrics.places_of(generation integer, repository bigint, shas text[])
 RETURNS TABLE(sha text, line integer, place bigint, is_listed boolean)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET enable_seqscan TO 'off'
AS $function$
#variable_conflict use_column
declare
  siblings constant bigint[] := array(select r.id from metrics.repository_references as r where r.repository_id = repository);
begin
  return query
  select p.sha, p.line, p.place, p.is_listed
  from (
    select u.*, min(u.place) over (partition by u.sha, u.line) as first_place
    from (
      select c.sha, m.line, (m.ordinal::bigint << 20) + c.n as place, true as is_listed, false as is_forced
      from unnest(shas) as s (sha)
      cross join lateral (
        select q.id, q.commits
        from metrics.pushes as q
        where q.commits @> array[s.sha]
        offset 0
      ) as p
      join metrics.branch_moves as m
        on m.push_id = p.id
        and m.generation = places_of.generation
        and m.repository_id = repository
      cross join lateral unnest(p.commits) with ordinality as c (sha, n)
      where c.sha = s.sha
      union all
      select p.after, m.line, (m.ordinal::bigint << 20) + 1048575, false, m.is_forced
      from unnest(shas) as s (sha)
      cross join lateral (
        select q.id, q.after, q.commits
        from metrics.pushes as q
        where q.reference_id = any(siblings)
          and q.after = s.sha
        offset 0
      ) as p
      join metrics.branch_moves as m
        on m.push_id = p.id
        and m.generation = places_of.generation
        and m.repository_id = repository
      where not coalesce(p.commits @> array[p.after], false)
        and p.after !~ '^0+$'
    ) as u
  ) as p
  -- A branch that is forced back to a commit does not bring it: the commit stays where it was.
  where not p.is_forced
    or p.place = p.first_place;
end
$function$;
comment on function metrics.places_of(generation integer, repository bigint, shas text[]) is 'Every place of these commits on the default branch.';

-- function metrics.price_of(runner text, week date)
CREATE OR REPLACE FUNCTION metrics.price_of(runner text, week date)
 RETURNS TABLE(label text, price_per_minute numeric, currency text, is_hosted boolean)
 LANGUAGE plpgsql
 STABLE ROWS 1
 SET search_path TO ''
AS $function$
#variable_conflict use_column
begin
  return query
  select p.label, p.price_per_minute, p.currency, p.is_hosted
  from unnest(string_to_array(price_of.runner, ',')) as l (label)
  cross join lateral (
    select q.label, q.price_per_minute, q.currency, q.is_hosted
    from metrics.prices as q
    where q.label = l.label
      and q.valid_from <= price_of.week
    order by q.valid_from desc
    limit 1
  ) as p
  order by p.price_per_minute desc, p.is_hosted desc, p.label collate "C"
  limit 1;
end
$function$;
grant execute on function metrics.price_of(runner text, week date) to authenticated;
grant execute on function metrics.price_of(runner text, week date) to metrics_reader;
comment on function metrics.price_of(runner text, week date) is 'The dearest price that the labels of a runner have in a week; no row for none.';

-- function metrics.pull_request_cycle_time(since date, until date, bucket text, by text, repository text, team text, bots boolean, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.pull_request_cycle_time(since date DEFAULT NULL::date, until date DEFAULT NULL::date, bucket text DEFAULT 'none'::text, by text DEFAULT 'nothing'::text, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, bots boolean DEFAULT true, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100)
 RETURNS TABLE(bucket_start date, name text, phase text, p50_seconds double precision, p75_seconds double precision, p95_seconds double precision, sample_size bigint, pull_requests bigint, reason text, is_exact boolean, page_key text, total bigint)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_tidscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_nestloop TO 'off'
 SET enable_sort TO 'off'
 SET enable_memoize TO 'off'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
declare
  phases constant text[] := array['coding', 'pickup', 'review', 'merge', 'deploy', 'total'];
  parts constant text[] := array['1', '2', '3', '4', '5', '6'];
  fractions constant double precision[] := array[0.5, 0.75, 0.95];
  with_bots constant boolean := coalesce(bots, true);
  asked metrics.period;
  whole metrics.period;
  grouped text;
  is_unknown boolean;
  references_read bigint[];
  repositories_read bigint[];
  names text[];
  groups text[];
  groups_shown text[];
  page_since date;
  page_until date;
  begins_at timestamptz;
  ends_at timestamptz;
  first_bucket date;
  last_bucket date;
  counted bigint;
  counted_at_most bigint;
  is_small boolean;
  samples metrics.phase_sample[];
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, bucket, page_after, page_size);
  grouped := metrics.checked_word('by', by, array['nothing', 'repository']);
  select
    coalesce(array_agg(s.reference_id), '{}'),
    coalesce(array_agg(s.repository_id), '{}'),
    coalesce(array_agg(case when grouped = 'repository' then s.label else '' end), '{}')
  into references_read, repositories_read, names
  from metrics.selected_references(repository, team) as s (reference_id, repository_id, label);
  is_unknown := names = '{}' and num_nonnulls(repository, team) > 0;
  groups := case
    when is_unknown or grouped = 'nothing' then array['']
    else array(
      select distinct n collate "C"
      from unnest(names) as n
      order by 1
    )
  end;

  -- The whole period decides whether percentiles are exact, whatever the page shows of it: whether there are at most 2,000. The weeks
  -- within it and those that it touches nearly always say so.
  whole := asked;
  whole.bucket := 'none';
  select
    coalesce(sum(c.pull_requests) filter (where c.week >= asked.since and c.week + 7 <= asked.until), 0),
    coalesce(sum(c.pull_requests), 0)
  into counted, counted_at_most
  from unnest(references_read) as r (reference_id)
  cross join lateral (
    select w.week, w.pull_requests
    from metrics.pull_request_weeks as w
    where w.generation = asked.generation
      and w.reference_id = r.reference_id
      and w.week > asked.since - 7
      and w.week < asked.until
      and (with_bots or not w.is_bot)
    offset 0
  ) as c;
  if counted <= 2000 and counted_at_most > 2000 then
    counted := metrics.merged_pull_requests(whole, references_read, with_bots);
  end if;
  is_small := counted <= 2000;

  -- Facts are read of what stands on the page alone.
  select min(b.first_day), max(b.end_day), min(b.bucket_start), max(b.bucket_start), array_agg(distinct coalesce(g.name, ''))
  into page_since, page_until, first_bucket, last_bucket, groups_shown
  from metrics.page_of(asked, groups, parts) as g
  join metrics.buckets_of(asked) as b
    on b.bucket_start is not distinct from g.bucket_start;
  select coalesce(array_agg(r.reference_id), '{}'), coalesce(array_agg(r.repository_id), '{}'), coalesce(array_agg(r.name), '{}')
  into references_read, repositories_read, names
  from unnest(references_read, repositories_read, names) as r (reference_id, repository_id, name)
  where r.name = any(groups_shown);
  begins_at := metrics.midnight(page_since, asked.time_zone);
  ends_at := metrics.midnight(page_until, asked.time_zone);

  if is_small then
    -- Each by itself. What deploying took stands with the commit that a pull request became.
    samples := array(
      with shipped as (
        select c.pull_request_reference_id as reference_id, c.pull_request_number as number, min(c.shipped_at) as at
        from (select distinct o.repository_id from unnest(repositories_read) as o (repository_id)) as r
        cross join lateral (
          select o.pull_request_reference_id, o.pull_request_number, o.shipped_at
          from metrics.changes as o
          where o.generation = asked.generation
            and o.repository_id = r.repository_id
            and o.merged_at >= begins_at
            and o.merged_at < ends_at
          offset 0
        ) as c
        group by 1, 2
      ),
      merged as (
        select
          r.place,
          case
            when asked.bucket <> 'none' then date_trunc(asked.bucket, p.merged_at at time zone asked.time_zone)::date
          end as bucket_start,
          p.coding_seconds,
          p.pickup_seconds,
          p.review_seconds,
          p.merge_seconds,
          p.total_seconds,
          p.merged_at,
          case
            when s.number is not null then s.at
            -- A commit tells of one pull request, that of the least number; another may have become the same commit.
            when p.merge_sha is not null then (
              select min(c.shipped_at)
              from metrics.changes as c
              where c.generation = asked.generation
                and c.repository_id = r.repository_id
                and c.sha = p.merge_sha
            )
          end as deployed_at
        from (
          select o.reference_id, o.repository_id, array_position(groups_shown, o.name) as place
          from unnest(references_read, repositories_read, names) as o (reference_id, repository_id, name)
        ) as r
        cross join lateral (
          select *
          from metrics.pull_requests as q
          where q.reference_id = r.reference_id
            and q.merged_at >= begins_at
            and q.merged_at < ends_at
            and (with_bots or q.author_is_bot is not true)
          offset 0
        ) as p
        left join shipped as s
          on s.reference_id = p.reference_id
          and s.number = p.number
        offset 0
      )
      select row(groups_shown[m.place], m.bucket_start, v.part, v.sample_size, v.percentiles)::metrics.phase_sample
      from (
        select
          d.place,
          d.bucket_start,
          count(*) as pull_requests,
          count(d.coding_seconds) as coding,
          percentile_disc(fractions) within group (order by d.coding_seconds) as codings,
          count(d.pickup_seconds) as pickup,
          percentile_disc(fractions) within group (order by d.pickup_seconds) as pickups,
          count(d.review_seconds) as review,
          percentile_disc(fractions) within group (order by d.review_seconds) as reviews,
          count(d.merge_seconds) as merge,
          percentile_disc(fractions) within group (order by d.merge_seconds) as merges,
          count(d.deploy_seconds) as deploy,
          percentile_disc(fractions) within group (order by d.deploy_seconds) as deploys,
          count(d.total_seconds) as total,
          percentile_disc(fractions) within group (order by d.total_seconds) as totals
        from (
          select
            n.*,
            case when n.deployed_at >= n.merged_at then extract(epoch from n.deployed_at - n.merged_at)::double precision end as deploy_seconds
          from merged as n
        ) as d
        group by d.place, d.bucket_start
      ) as m
      cross join lateral (
        values
          ('0', m.pull_requests, null),
          ('1', m.coding, m.codings),
          ('2', m.pickup, m.pickups),
          ('3', m.review, m.reviews),
          ('4', m.merge, m.merges),
          ('5', m.deploy, m.deploys),
          ('6', m.total, m.totals)
      ) as v (part, sample_size, percentiles)
    );
  else
    -- Weeks as they were counted, and the days by which those miss the period.
    samples := array(
      with chosen as materialized (
        select r.reference_id, r.repository_id, array_position(groups_shown, r.name) as place
        from unnest(references_read, repositories_read, names) as r (reference_id, repository_id, name)
      ),
      weeks as materialized (
        select w.week, w.bucket_start
        from metrics.nearest_weeks_of(asked) as w
        where w.is_counted
          and w.first_day >= page_since
          and w.end_day <= page_until
      ),
      days as materialized (
        select d.bucket_start, d.starts_at, d.ends_at, d.times
        from metrics.days_off_weeks_of(asked) as d
        where (d.bucket_start between first_bucket and last_bucket) is not false
      ),
      tallies as (
        select
          r.place,
          w.bucket_start,
          sum(t.pull_requests) as pull_requests,
          sum(t.coding) as coding,
          sum(t.pickup) as pickup,
          sum(t.review) as review,
          sum(t.merge) as merge,
          sum(t.deploy) as deploy,
          sum(t.total) as total
        from chosen as r
        cross join lateral (
          select c.week, c.pull_requests, c.coding, c.pickup, c.review, c.merge, c.deploy, c.total
          from metrics.pull_request_weeks as c
          where c.generation = asked.generation
            and c.reference_id = r.reference_id
            and c.week > page_since - 7
            and c.week < page_until
            and (with_bots or not c.is_bot)
          offset 0
        ) as t
        join weeks as w
          on w.week = t.week
        group by 1, 2
        union all
        select
          e.place,
          e.bucket_start,
          e.times * e.pull_requests,
          e.times * metrics.tally_of_all(e.codings),
          e.times * metrics.tally_of_all(e.pickups),
          e.times * metrics.tally_of_all(e.reviews),
          e.times * metrics.tally_of_all(e.merges),
          0,
          e.times * metrics.tally_of_all(e.totals)
        from (
          select
            r.place,
            d.bucket_start,
            d.times,
            count(*) as pull_requests,
            array_agg(p.coding_seconds) as codings,
            array_agg(p.pickup_seconds) as pickups,
            array_agg(p.review_seconds) as reviews,
            array_agg(p.merge_seconds) as merges,
            array_agg(p.total_seconds) as totals
          from days as d
          cross join chosen as r
          cross join lateral (
            select q.coding_seconds, q.pickup_seconds, q.review_seconds, q.merge_seconds, q.total_seconds
            from metrics.pull_requests as q
            where q.reference_id = r.reference_id
              and q.merged_at >= d.starts_at
              and q.merged_at < d.ends_at
              and (with_bots or q.author_is_bot is not true)
            offset 0
          ) as p
          group by 1, 2, 3
        ) as e
        union all
        select e.place, e.bucket_start, 0, 0, 0, 0, 0, e.times * metrics.tally_of_all(e.deploys), 0
        from (
          select
            r.place,
            d.bucket_start,
            d.times,
            array_agg(extract(epoch from c.at - c.merged_at)::double precision) filter (where c.at >= c.merged_at) as deploys
          from days as d
          cross join (
            select distinct o.repository_id, o.place
            from chosen as o
          ) as r
          cross join lateral (
            select o.merged_at, min(o.shipped_at) as at
            from metrics.changes as o
            where o.generation = asked.generation
              and o.repository_id = r.repository_id
              and o.merged_at >= d.starts_at
              and o.merged_at < d.ends_at
              and (with_bots or o.pull_request_is_bot is not true)
            group by o.pull_request_reference_id, o.pull_request_number, o.merged_at
            offset 0
          ) as c
          group by 1, 2, 3
        ) as e
      )
      select row(groups_shown[t.place], t.bucket_start, p.part, p.sample_size, p.percentiles)::metrics.phase_sample
      from (
        select
          t.place,
          t.bucket_start,
          sum(t.pull_requests)::bigint as pull_requests,
          sum(t.coding) as coding,
          sum(t.pickup) as pickup,
          sum(t.review) as review,
          sum(t.merge) as merge,
          sum(t.deploy) as deploy,
          sum(t.total) as total
        from tallies as t
        group by 1, 2
      ) as t
      cross join lateral (
        select '0' as part, t.pull_requests as sample_size, null::double precision[] as percentiles
        union all
        select v.part, q.sample_size, q.percentiles
        from (
          values ('1', t.coding), ('2', t.pickup), ('3', t.review), ('4', t.merge), ('5', t.deploy), ('6', t.total)
        ) as v (part, tally)
        cross join lateral metrics.percentiles_of(v.tally, fractions) as q
      ) as p
    );
  end if;

  return query
  select
    g.bucket_start,
    g.name,
    phases[g.part::integer],
    s.percentiles[1],
    s.percentiles[2],
    s.percentiles[3],
    case when not is_unknown then coalesce(s.sample_size, 0) end,
    case when not is_unknown then coalesce(n.sample_size, 0) end,
    case
      when is_unknown then 'unknown_service'
      when s.sample_size > 0 then null
      when g.part = '5' and not exists (
        select
        from unnest(repositories_read, names) as r (repository_id, name)
        cross join lateral (
          select
          from metrics.service_deployments as o
          where o.generation = asked.generation
            and o.repository_id = r.repository_id
            and o.outcome = 'success'
          limit 1
        ) as d
        where r.name = coalesce(g.name, '')
      ) then 'no_deployments'
      else 'too_few'
    end,
    case when not is_unknown then is_small end,
    g.page_key,
    g.total
  from metrics.page_of(asked, groups, parts) as g
  left join unnest(samples) as s
    on s.name = coalesce(g.name, '')
    and s.bucket_start is not distinct from g.bucket_start
    and s.part = g.part
  left join unnest(samples) as n
    on n.name = coalesce(g.name, '')
    and n.bucket_start is not distinct from g.bucket_start
    and n.part = '0'
  order by g.name collate "C" nulls first, g.bucket_start, g.part;
end
$function$;
grant execute on function metrics.pull_request_cycle_time(since date, until date, bucket text, by text, repository text, team text, bots boolean, page_after text, page_size integer) to authenticated;
grant execute on function metrics.pull_request_cycle_time(since date, until date, bucket text, by text, repository text, team text, bots boolean, page_after text, page_size integer) to metrics_reader;
comment on function metrics.pull_request_cycle_time(since date, until date, bucket text, by text, repository text, team text, bots boolean, page_after text, page_size integer) is 'How long merged pull requests took: the median, p75 and p95 of each phase in seconds, of those merged in the period, by bucket (day, week, month, none) and by nothing or repository. A phase with a missing end is not in the sample. Exact up to 2,000 pull requests, else at most 4.9 % off. Reasons: unknown_service, no_deployments (of the phase deploy), too_few. Raises 22023 for what cannot be asked.';

-- function metrics.pull_request_cycle_time_evidence(since date, until date, repository text, team text, bots boolean, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.pull_request_cycle_time_evidence(since date DEFAULT NULL::date, until date DEFAULT NULL::date, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, bots boolean DEFAULT true, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100)
 RETURNS SETOF metrics.evidence
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
 SET plan_cache_mode TO 'force_custom_plan'
 SET enable_seqscan TO 'off'
 SET enable_tidscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_sort TO 'off'
AS $function$
#variable_conflict use_column
declare
  with_bots constant boolean := coalesce(bots, true);
  asked metrics.period;
  after metrics.evidence_key;
  begins_at timestamptz;
  references_read bigint[];
  repositories_read bigint[];
  names text[];
  rows_in_all bigint;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, 'none', page_after, page_size);
  after := metrics.evidence_after(asked);
  begins_at := greatest(after.happened_at, metrics.midnight(asked.since, asked.time_zone));
  select coalesce(array_agg(s.reference_id), '{}'), coalesce(array_agg(s.repository_id), '{}'), coalesce(array_agg(s.label), '{}')
  into references_read, repositories_read, names
  from metrics.selected_references(repository, team) as s (reference_id, repository_id, label);

  rows_in_all := metrics.merged_pull_requests(asked, references_read, with_bots);

  return query
  select
    e.merged_at,
    e.name,
    null::text,
    'pull_request',
    e.number::text,
    e.merge_sha,
    e.title,
    e.total_seconds,
    'seconds',
    case when e.total_seconds is null then 'too_few' end,
    e.url,
    jsonb_build_object(
      'coding', e.coding_seconds,
      'pickup', e.pickup_seconds,
      'review', e.review_seconds,
      'merge', e.merge_seconds,
      'deploy', (
        select case when min(c.shipped_at) >= e.merged_at then extract(epoch from min(c.shipped_at) - e.merged_at)::double precision end
        from metrics.changes as c
        where c.generation = asked.generation
          and c.repository_id = e.repository_id
          and c.sha = e.merge_sha
      ),
      'total', e.total_seconds
    ),
    metrics.evidence_page_key(e.merged_at, e.name, 'pull_request', e.number::text),
    rows_in_all
  from (
    select r.name, r.repository_id, p.*
    from unnest(references_read, repositories_read, names) as r (reference_id, repository_id, name)
    -- A page of each reference, in the order of its index: the page of all is among them.
    cross join lateral (
      select q.*
      from metrics.pull_requests as q
      where q.reference_id = r.reference_id
        and q.merged_at >= begins_at
        and q.merged_at < metrics.midnight(asked.until, asked.time_zone)
        and (with_bots or q.author_is_bot is not true)
        and (
          after.happened_at is null
          or (q.merged_at, r.name collate "C", 'pull_request' collate "C", q.number::text collate "C")
            > (after.happened_at, after.repository, after.kind, after.external_id)
        )
      order by q.merged_at, q.number::text collate "C"
      limit asked.page_size
    ) as p
    order by p.merged_at, r.name collate "C", p.number::text collate "C"
    limit asked.page_size
  ) as e
  order by e.merged_at, e.name collate "C", e.number::text collate "C";
end
$function$;
grant execute on function metrics.pull_request_cycle_time_evidence(since date, until date, repository text, team text, bots boolean, page_after text, page_size integer) to authenticated;
grant execute on function metrics.pull_request_cycle_time_evidence(since date, until date, repository text, team text, bots boolean, page_after text, page_size integer) to metrics_reader;
comment on function metrics.pull_request_cycle_time_evidence(since date, until date, repository text, team text, bots boolean, page_after text, page_size integer) is 'The merged pull requests behind pull_request_cycle_time, in the order of merging: value is the total in seconds, detail the seconds of each phase.';

-- function metrics.pull_requests_touched_by(facts jsonb)
CREATE OR REPLACE FUNCTION metrics.pull_requests_touched_by(facts jsonb)
 RETURNS TABLE(reference_id bigint, number integer)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET enable_seqscan TO 'off'
AS $function$
#variable_conflict use_column
begin
  return query
  with said as materialized (
    select k.kind, r.id as reference_id, r.repository_id, f.fact
    from (values ('pull_requests'), ('reviews'), ('pushes'), ('commits')) as k (kind)
    cross join lateral jsonb_array_elements(facts -> k.kind) as f (fact)
    join metrics.repository_references as r
      on r.reference = f.fact ->> 'repository'
  ),
  stored_pushes as materialized (
    select s.repository_id, p.ref, p.commits
    from said as s
    join metrics.pushes as p
      on p.reference_id = s.reference_id
      and p.ref = s.fact ->> 'ref'
      and p.before = s.fact ->> 'before'
      and p.after = s.fact ->> 'after'
    where s.kind = 'pushes'
  ),
  shas as materialized (
    select s.repository_id, s.fact ->> 'sha' as sha
    from said as s
    where s.kind = 'commits'
    union
    select s.repository_id, s.fact ->> 'after'
    from said as s
    where s.kind = 'pushes'
    union
    select s.repository_id, c.sha
    from said as s
    cross join lateral jsonb_array_elements_text(nullif(s.fact -> 'commits', 'null')) as c (sha)
    where s.kind = 'pushes'
    union
    select p.repository_id, c.sha
    from stored_pushes as p
    cross join lateral unnest(p.commits) as c (sha)
  ),
  branches as materialized (
    select s.repository_id, substr(s.fact ->> 'ref', 12) as branch
    from said as s
    where s.kind = 'pushes'
      and s.fact ->> 'ref' like 'refs/heads/%'
    union
    select s.repository_id, p.head_branch
    from said as s
    join metrics.pull_requests as p
      on p.reference_id = s.reference_id
      and p.number = (s.fact ->> 'number')::integer
    where s.kind = 'pull_requests'
    union
    -- Looked up for each commit: however many pushes a repository has, few of them hold it.
    select s.repository_id, substr(p.ref, 12)
    from shas as s
    cross join lateral (
      select q.reference_id, q.ref
      from metrics.pushes as q
      where q.commits @> array[s.sha]
      offset 0
    ) as p
    join metrics.repository_references as r
      on r.id = p.reference_id
      and r.repository_id = s.repository_id
    where p.ref like 'refs/heads/%'
  )
  select p.reference_id, p.number
  from branches as b
  join metrics.repository_references as r
    on r.repository_id = b.repository_id
  join metrics.pull_requests as p
    on p.reference_id = r.id
    and p.head_branch = b.branch
  union
  select p.reference_id, p.number
  from shas as s
  join metrics.repository_references as r
    on r.repository_id = s.repository_id
  join metrics.pull_requests as p
    on p.reference_id = r.id
    and p.head_sha = s.sha
  union
  select p.reference_id, p.number
  from shas as s
  join metrics.repository_references as r
    on r.repository_id = s.repository_id
  join metrics.pull_requests as p
    on p.reference_id = r.id
    and p.merge_sha = s.sha
  union
  select s.reference_id, (s.fact ->> 'number')::integer
  from said as s
  where s.kind = 'pull_requests'
  union
  select r.id, n.number
  from said as s
  left join metrics.reviews as v
    on v.reference_id = s.reference_id
    and v.external_id = s.fact ->> 'external_id'
  cross join lateral (
    values ((s.fact ->> 'pull_request_number')::integer), (v.pull_request_number)
  ) as n (number)
  join metrics.repository_references as r
    on r.repository_id = s.repository_id
  where s.kind = 'reviews'
    and n.number is not null;
end
$function$;
comment on function metrics.pull_requests_touched_by(facts jsonb) is 'Pull requests whose derived columns may depend on these observations, as the facts stand now.';

-- function metrics.read_body(source text, delivery_id text)
CREATE OR REPLACE FUNCTION metrics.read_body(source text, delivery_id text)
 RETURNS bytea
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  bytes bytea;
begin
  perform metrics.require_admin();
  select b.body
  into bytes
  from metrics.bodies as b
  where b.source = read_body.source
    and b.delivery_id = read_body.delivery_id;
  if not found then
    raise exception using
      errcode = 'P0002',
      message = 'no body is kept for this delivery';
  end if;
  perform metrics.note('read_body', null, jsonb_build_object('source', read_body.source, 'delivery_id', read_body.delivery_id));
  return bytes;
end
$function$;
grant execute on function metrics.read_body(source text, delivery_id text) to authenticated;
comment on function metrics.read_body(source text, delivery_id text) is 'The body of a delivery, for admins; each reading leaves an audit row.';

-- function metrics.readable_references()
CREATE OR REPLACE FUNCTION metrics.readable_references()
 RETURNS SETOF bigint
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER ROWS 400
 SET search_path TO ''
AS $function$
begin
  return query
  select r.id
  from metrics.repository_references as r
  where r.repository_id in (select metrics.readable_repositories());
end
$function$;
grant execute on function metrics.readable_references() to authenticated;
comment on function metrics.readable_references() is 'Repository references whose repository the signed-in member may read.';

-- function metrics.readable_repositories()
CREATE OR REPLACE FUNCTION metrics.readable_repositories()
 RETURNS SETOF bigint
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER ROWS 200
 SET search_path TO ''
AS $function$
begin
  if metrics.is_admin() then
    return query
    select r.id
    from metrics.repositories as r;
  else
    return query
    select g.repository_id
    from metrics.members as m
    join metrics.team_members as t
      on t.email = m.email
    join metrics.team_repositories as g
      on g.team_id = t.team_id
    where m.user_id = (select auth.uid());
  end if;
end
$function$;
grant execute on function metrics.readable_repositories() to authenticated;
comment on function metrics.readable_repositories() is 'Repositories that the signed-in member may read; one that several teams were given comes as often.';

-- function metrics.readable_service_names()
CREATE OR REPLACE FUNCTION metrics.readable_service_names()
 RETURNS SETOF text
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER ROWS 200
 SET search_path TO ''
AS $function$
begin
  return query
  select lower(coalesce(s.name, r.full_name, f.reference))
  from metrics.services as s
  join metrics.repositories as r
    on r.id = s.repository_id
  left join lateral (
    select n.reference
    from metrics.repository_references as n
    where n.repository_id = r.id
    order by n.source is null, n.reference collate "C"
    limit 1
  ) as f
    on s.name is null
    and r.full_name is null
  where s.generation = (select metrics.current_generation())
    and s.repository_id in (select metrics.readable_repositories());
end
$function$;
grant execute on function metrics.readable_service_names() to authenticated;
comment on function metrics.readable_service_names() is 'Names, in lower case, of the services whose repository the signed-in member may read.';

-- function metrics.rebuild(seconds double precision)
CREATE OR REPLACE FUNCTION metrics.rebuild(seconds double precision DEFAULT 0.5)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
AS $function$
declare
  began constant timestamptz := clock_timestamp();
begin
  perform metrics.require_admin();
  if seconds is null or seconds not between 0 and 60 then
    raise exception using
      errcode = '22023',
      message = format('seconds is between 0 and 60, not %s', seconds);
  end if;
  loop
    if not metrics.rebuild_slice(1000) then
      return jsonb_build_object('done', true, 'references_left', 0, 'repositories_left', 0);
    end if;
    exit when clock_timestamp() >= began + make_interval(secs => seconds);
  end loop;
  return (
    select jsonb_build_object(
      'done', false,
      'references_left', (
        select count(*)
        from metrics.repository_references as r
        where r.id > g.counted_reference
          or (r.id = g.counted_reference and g.counted_up_to < 'infinity')
      ),
      'repositories_left', (select count(*) from metrics.repositories as r where r.id > g.repositories_up_to)
    )
    from metrics.generations as g
    where g.state = 'building'
  );
end
$function$;
grant execute on function metrics.rebuild(seconds double precision) to authenticated;
comment on function metrics.rebuild(seconds double precision) is 'Goes on building the next generation, for about so many seconds: call again until done is true. Numbers are read from the present one until then. Deliveries wait while it runs: for that time and one slice more, however large a repository is.';

-- function metrics.rebuild_slice(most integer)
CREATE OR REPLACE FUNCTION metrics.rebuild_slice(most integer)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO ''
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
AS $function$
#variable_conflict use_column
declare
  built metrics.generations;
  one metrics.under_way;
  ends_at timestamptz;
  next_id bigint;
  name text;
begin
  -- Deliveries are waited for, and wait, so that each is counted once: here or where it is stored.
  perform pg_advisory_xact_lock(hashtextextended('metrics.erasure', 0));
  select *
  into built
  from metrics.generations as g
  where g.state = 'building';
  if not found then
    return false;
  end if;

  -- First what each row counts by itself, reference by reference.
  if built.counted_reference < 9223372036854775807 then
    if built.counted_up_to = 'infinity' or built.counted_reference = 0 then
      select min(r.id)
      into next_id
      from metrics.repository_references as r
      where r.id > built.counted_reference;
      built.counted_reference := coalesce(next_id, 9223372036854775807);
      built.counted_up_to := case when next_id is null then 'infinity' else '-infinity' end;
    end if;
    if built.counted_up_to < 'infinity' then
      ends_at := metrics.end_of_slice(built.id, built.counted_reference, built.counted_up_to, 2 * most);
      perform metrics.copy_frozen_weeks(built.id, built.counted_reference, built.counted_up_to, ends_at);
      perform metrics.count_facts(built.id, built.counted_reference, built.counted_up_to, ends_at);
    end if;
    update metrics.generations as g
    set
      counted_reference = built.counted_reference,
      counted_up_to = coalesce(ends_at, built.counted_up_to)
    where g.id = built.id;
    return true;
  end if;

  -- Then what joins facts, repository by repository.
  select *
  into one
  from metrics.under_way as u
  where u.generation = built.id;
  if found and one.repository_id = 0 then
    -- All repositories are derived. Incidents that name something else, what the planner is to know of all this, and then it is read.
    if one.place ? 'after' then
      one.place := metrics.link_lost_incidents(built.id, one.place -> 'after' ->> 0, one.place -> 'after' ->> 1, most);
      update metrics.under_way as u
      set place = case when one.place is null then '{"analysed": ""}'::jsonb else jsonb_build_object('after', one.place) end
      where u.generation = built.id;
      return true;
    end if;
    select min(c.relname)
    into name
    from pg_catalog.pg_class as c
    join pg_catalog.pg_attribute as a
      on a.attrelid = c.oid
      and a.attname = 'generation'
    where c.relnamespace = 'metrics'::regnamespace
      and c.relkind = 'r'
      and c.relname > one.place ->> 'analysed';
    if name is not null then
      execute format('analyze metrics.%I', name);
      update metrics.under_way as u
      set place = jsonb_build_object('analysed', name)
      where u.generation = built.id;
      return true;
    end if;
    delete from metrics.under_way as u
    where u.generation = built.id;
    update metrics.generations as g
    set
      state = 'retired',
      retired_at = now()
    where g.state = 'current';
    update metrics.generations as g
    set state = 'current'
    where g.id = built.id;
    return false;
  end if;
  if not found then
    select min(r.id)
    into next_id
    from metrics.repositories as r
    where r.id > built.repositories_up_to;
    insert into metrics.under_way (generation, repository_id, place)
    values (built.id, coalesce(next_id, 0), case when next_id is null then '{"after": []}' else '{}' end::jsonb);
    if next_id is null then
      -- One that comes from now on is derived as its deliveries come.
      update metrics.generations as g
      set repositories_up_to = 9223372036854775807
      where g.id = built.id;
    end if;
    return true;
  end if;

  if exists (
    select
    from metrics.postponed as p
    where p.generation = built.id
      and p.repository_id = one.repository_id
      and (p.told).is_whole
  ) then
    -- All of it may be another's now: from the beginning, when that is done.
    perform metrics.forget_delivery(built.id, one.repository_id);
    delete from metrics.postponed as p
    where p.generation = built.id
      and p.repository_id = one.repository_id;
    update metrics.under_way as u
    set place = '{}'
    where u.generation = built.id;
    return true;
  end if;
  if not exists (
    select
    from metrics.repositories as r
    where r.id = one.repository_id
  ) then
    -- It became part of another, or was forgotten.
    perform metrics.forget_delivery(built.id, one.repository_id);
    delete from metrics.postponed as p
    where p.generation = built.id
      and p.repository_id = one.repository_id;
    one.place := null;
  elsif one.place is not null then
    one.place := metrics.derive_slice(built.id, one.repository_id, one.place, most);
    update metrics.under_way as u
    set place = one.place
    where u.generation = built.id;
    return true;
  elsif metrics.derive_postponed(built.id, one.repository_id, 100) then
    return true;
  end if;
  update metrics.generations as g
  set repositories_up_to = one.repository_id
  where g.id = built.id;
  delete from metrics.under_way as u
  where u.generation = built.id;
  return true;
end
$function$;
comment on function metrics.rebuild_slice(most integer) is 'Goes on building the next generation by about so many facts. False when there is nothing to build any more.';

-- function metrics.reference_text(reference_id bigint)
CREATE OR REPLACE FUNCTION metrics.reference_text(reference_id bigint)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO ''
AS $function$
  select r.reference
  from metrics.repository_references as r
  where r.id = reference_id
$function$;
comment on function metrics.reference_text(reference_id bigint) is 'A reference as text, because ids depend on the order of arrival and must not decide a tie.';

-- function metrics.refuse_identity(constraint_name text)
CREATE OR REPLACE FUNCTION metrics.refuse_identity(constraint_name text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
begin
  raise exception using
    errcode = '23514',
    constraint = constraint_name,
    message = format('this identity is refused, because it must hold that %s', replace(constraint_name, '_', ' ')),
    hint = case constraint_name
      when 'identity_name_is_not_empty' then 'A name has 1 to 200 characters.'
      when 'provider_is_known' then 'Providers are github, gitlab, circleci, buildkite.'
      when 'issuer_is_https_or_on_this_machine' then 'For example https://token.actions.githubusercontent.com.'
      when 'audience_is_not_empty' then 'NULL means the address of the function itself.'
      when 'calls_per_minute_is_positive' then 'At least 1.'
      when 'claims_are_texts_with_a_star_only_at_the_end' then 'For example {"repository_id": "123", "ref": "refs/heads/release/*"}.'
      when 'claims_name_their_owner_by_id' then
        'github: repository_id or repository_owner_id; gitlab: project_id or namespace_id; '
        || 'buildkite: organization_id, organization_slug or pipeline_id.'
      when 'ids_in_claims_are_exact' then 'A * in an id would let others in whose id begins alike.'
      when 'tokens_of_buildkite_name_no_repository' then 'Say in repositories which ones its pipelines may tell about.'
      when 'sources_are_source_names' then 'For example {github,gitlab-acme}.'
      when 'repositories_are_references' then
        'For example {github:123,//github.com/acme/app}; NULL for those of the source, and for OIDC the one in its claims.'
      when 'fact_kinds_are_known' then
        'Fact kinds are repositories, pipeline_runs, jobs, pull_requests, reviews, pushes, commits, deployments, releases, incidents, '
        || 'test_runs, test_cases, rule_checks, measurements.'
      when 'more_than_reports_needs_a_ref_or_an_environment' then
        'Add a claim that says where its jobs run: an environment without a * (github, gitlab), or a branch such as refs/heads/main or '
        || 'refs/heads/release/* in ref (github), ref_path (gitlab) or oidc.circleci.com/vcs-ref, release/* in build_branch (buildkite).'
      else 'For example claims {"repository_id": "123"} of the provider github.'
    end;
end
$function$;
comment on function metrics.refuse_identity(constraint_name text) is 'Raises 23514 with a sentence about the constraint of metrics.identities that does not hold, and without the row.';

-- function metrics.remove_member(email text)
CREATE OR REPLACE FUNCTION metrics.remove_member(email text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  address constant text := lower(btrim(email));
  earlier jsonb;
begin
  perform metrics.require_admin();
  select jsonb_build_object('email', m.email, 'role', m.role)
  into earlier
  from metrics.members as m
  where m.email = address;
  if not found then
    raise exception using
      errcode = 'P0002',
      message = format('%s is no member', address);
  end if;
  if earlier ->> 'role' = 'admin' then
    perform metrics.require_another_admin(address);
  end if;
  delete from metrics.members as m
  where m.email = address;
  perform metrics.note('remove_member', earlier, null);
end
$function$;
grant execute on function metrics.remove_member(email text) to authenticated;
comment on function metrics.remove_member(email text) is 'Removes a member, and with it its places in teams.';

-- function metrics.remove_price(label text, valid_from date)
CREATE OR REPLACE FUNCTION metrics.remove_price(label text, valid_from date DEFAULT NULL::date)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  earlier jsonb;
begin
  perform metrics.require_admin();
  with gone as (
    delete from metrics.prices as p
    where p.label = remove_price.label
      and (remove_price.valid_from is null or p.valid_from = remove_price.valid_from)
    returning to_jsonb(p) as price
  )
  select jsonb_agg(g.price order by g.price ->> 'valid_from')
  into earlier
  from gone as g;
  if earlier is null then
    raise exception using
      errcode = 'P0002',
      message = format('no price of %s%s', remove_price.label, coalesce(' from ' || remove_price.valid_from, '')),
      hint = 'Prices stand in metrics.prices.';
  end if;
  perform metrics.note('remove_price', earlier, null);
end
$function$;
grant execute on function metrics.remove_price(label text, valid_from date) to authenticated;
comment on function metrics.remove_price(label text, valid_from date) is 'Removes the price of a label that holds from this Monday on, or all prices of the label.';

-- function metrics.remove_service(name text)
CREATE OR REPLACE FUNCTION metrics.remove_service(name text)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  begun integer;
begin
  perform metrics.require_admin();
  begun := metrics.begin_generation();
  delete from metrics.services as s
  where s.generation = begun
    and s.name = remove_service.name;
  if not found then
    raise exception using
      errcode = 'P0002',
      message = format('no service by a rule is called %s', remove_service.name),
      hint = 'A repository without rules is a service by itself: that one cannot be removed.';
  end if;
  perform metrics.note('remove_service', jsonb_build_object('name', remove_service.name), null);
  return metrics.rebuild();
end
$function$;
grant execute on function metrics.remove_service(name text) to authenticated;
comment on function metrics.remove_service(name text) is 'Removes the rules of a service. Answers as metrics.rebuild does.';

-- function metrics.remove_team(team text)
CREATE OR REPLACE FUNCTION metrics.remove_team(team text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  gone bigint;
begin
  perform metrics.require_admin();
  gone := metrics.team_named(team);
  delete from metrics.teams as t
  where t.id = gone;
  perform metrics.note('remove_team', jsonb_build_object('team', team), null);
end
$function$;
grant execute on function metrics.remove_team(team text) to authenticated;
comment on function metrics.remove_team(team text) is 'Removes a team; its members and repositories stay.';

-- function metrics.remove_team_member(team text, email text)
CREATE OR REPLACE FUNCTION metrics.remove_team_member(team text, email text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  their_team bigint;
begin
  perform metrics.require_admin();
  their_team := metrics.team_named(team);
  delete from metrics.team_members as m
  where m.team_id = their_team
    and m.email = lower(btrim(remove_team_member.email));
  if not found then
    raise exception using
      errcode = 'P0002',
      message = format('%s is not in the team %s', remove_team_member.email, team);
  end if;
  perform metrics.note('remove_team_member', jsonb_build_object('team', team, 'email', lower(btrim(remove_team_member.email))), null);
end
$function$;
grant execute on function metrics.remove_team_member(team text, email text) to authenticated;
comment on function metrics.remove_team_member(team text, email text) is 'Takes a member out of a team.';

-- function metrics.remove_team_repository(team text, repository text)
CREATE OR REPLACE FUNCTION metrics.remove_team_repository(team text, repository text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  their_team bigint;
  gone bigint;
begin
  perform metrics.require_admin();
  their_team := metrics.team_named(team);
  gone := metrics.repository_named(repository);
  delete from metrics.team_repositories as g
  where g.team_id = their_team
    and g.repository_id = gone;
  if not found then
    raise exception using
      errcode = 'P0002',
      message = format('the team %s has no repository %s', team, repository);
  end if;
  perform metrics.note('remove_team_repository', jsonb_build_object('team', team, 'repository', repository), null);
end
$function$;
grant execute on function metrics.remove_team_repository(team text, repository text) to authenticated;
comment on function metrics.remove_team_repository(team text, repository text) is 'Takes a repository from a team.';

-- function metrics.repositories_of_incidents(incidents jsonb)
CREATE OR REPLACE FUNCTION metrics.repositories_of_incidents(incidents jsonb)
 RETURNS bigint[]
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
AS $function$
begin
  return array(
    select n.repository_id
    from jsonb_array_elements(incidents) as f (said)
    join metrics.incidents as i
      on i.source = f.said ->> 'source'
      and i.external_id = f.said ->> 'external_id'
    cross join lateral (
      select r.repository_id
      from metrics.repository_references as r
      where r.id = i.reference_id
      union
      select t.repository_id
      from metrics.deployment_failures as t
      where t.generation in (select g.id from metrics.generations as g where g.state <> 'retired')
        and t.cause = 'incident'
        and t.incident_source = i.source
        and t.incident_external_id = i.external_id
        and t.repository_id is not null
    ) as n
    union
    select s.repository_id
    from jsonb_array_elements(incidents) as f (said)
    left join metrics.incidents as i
      on i.source = f.said ->> 'source'
      and i.external_id = f.said ->> 'external_id'
    cross join lateral (values (f.said ->> 'service'), (i.service)) as c (called)
    cross join metrics.generations as g
    cross join lateral metrics.services_called(g.id, c.called) as s
    where g.state <> 'retired'
  );
end
$function$;
comment on function metrics.repositories_of_incidents(incidents jsonb) is 'Repositories that these incidents are about besides those that they name, now or before.';

-- function metrics.repositories_said_anew(repositories jsonb)
CREATE OR REPLACE FUNCTION metrics.repositories_said_anew(repositories jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
AS $function$
declare
  said jsonb;
  clock text;
  anew jsonb[] := '{}';
begin
  for said in
    select jsonb_array_elements(repositories)
  loop
    clock := to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS') || ' 0';
    if not exists (
      select
      from metrics.repository_references as r
      join metrics.repositories as t
        on t.id = r.repository_id
      where r.reference = said ->> 'repository'
        and t.full_name = said ->> 'full_name'
        and t.default_branch = said ->> 'default_branch'
        and t.url = said ->> 'url'
        and t.clocks = jsonb_build_object('full_name', clock, 'default_branch', clock, 'url', clock)
        and not said ? 'sequence'
    ) then
      anew := anew || said;
    end if;
  end loop;
  if cardinality(anew) < 2 then
    return to_jsonb(anew);
  end if;
  -- Sorted, so that two callers cannot wait for each other.
  return (
    select jsonb_agg(f.said order by r.repository_id)
    from unnest(anew) as f (said)
    join metrics.repository_references as r
      on r.reference = f.said ->> 'repository'
  );
end
$function$;
comment on function metrics.repositories_said_anew(repositories jsonb) is 'The observations of repositories that are not exactly what is kept already.';

-- function metrics.repository_label(repository_id bigint)
CREATE OR REPLACE FUNCTION metrics.repository_label(repository_id bigint)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO ''
AS $function$
  select coalesce(
    (
      select r.full_name
      from metrics.repositories as r
      where r.id = repository_label.repository_id
    ),
    (
      select f.reference
      from metrics.repository_references as f
      where f.repository_id = repository_label.repository_id
      order by f.source is null, f.reference collate "C"
      limit 1
    )
  )
$function$;
grant execute on function metrics.repository_label(repository_id bigint) to authenticated;
grant execute on function metrics.repository_label(repository_id bigint) to metrics_reader;
comment on function metrics.repository_label(repository_id bigint) is 'What a repository is called: its full name, else its first reference.';

-- function metrics.repository_named(repository text)
CREATE OR REPLACE FUNCTION metrics.repository_named(repository text)
 RETURNS bigint
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
AS $function$
declare
  found_ids bigint[];
begin
  select array_agg(distinct n.id)
  into found_ids
  from (
    select r.id
    from metrics.repositories as r
    where r.full_name = repository
    union all
    select r.repository_id
    from metrics.repository_references as r
    where r.reference = repository
  ) as n (id);
  if found_ids is null then
    raise exception using
      errcode = 'P0002',
      message = format('no repository is called %s', repository),
      hint = 'Name it as owner/name, or by its reference, for example github:123 or //github.com/acme/app.';
  end if;
  if cardinality(found_ids) > 1 then
    raise exception using
      errcode = '21000',
      message = format('several repositories are called %s', repository),
      hint = 'Name it by its reference, for example github:123 or //github.com/acme/app.';
  end if;
  return found_ids[1];
end
$function$;
comment on function metrics.repository_named(repository text) is 'The repository of this full name or reference. Raises P0002 for none, 21000 for several.';

-- function metrics.require_admin()
CREATE OR REPLACE FUNCTION metrics.require_admin()
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
AS $function$
begin
  if not (metrics.is_admin() or metrics.is_operator()) then
    raise exception using
      errcode = '42501',
      message = 'only admins of metrics may call this',
      hint = 'The first admin is made in SQL, as postgres: select metrics.add_member(''ann@example.com'', ''admin'')';
  end if;
end
$function$;
comment on function metrics.require_admin() is 'Raises 42501 unless the caller is an admin or owns the schema.';

-- function metrics.require_another_admin(address text)
CREATE OR REPLACE FUNCTION metrics.require_another_admin(address text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
begin
  -- Two admins who remove each other at the same moment must not both succeed.
  perform
  from metrics.members as m
  where m.role = 'admin'
  order by m.email
  for update;
  if not metrics.is_operator() and not exists (
    select
    from metrics.members as m
    where m.role = 'admin'
      and m.user_id is not null
      and m.email <> address
  ) then
    raise exception using
      errcode = '22023',
      message = 'the last admin stays: add another one first, and let them accept';
  end if;
end
$function$;
comment on function metrics.require_another_admin(address text) is 'Raises 22023 when this address is the last admin who has accepted.';

-- function metrics.require_measurement(name text, attributes jsonb)
CREATE OR REPLACE FUNCTION metrics.require_measurement(name text, attributes jsonb)
 RETURNS void
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO ''
AS $function$
begin
  if name is null then
    raise exception using
      errcode = '22023',
      message = 'name is missing',
      hint = 'Name what was measured, as its measurements do.';
  end if;
  if jsonb_typeof(attributes) <> 'object' then
    raise exception using
      errcode = '22023',
      message = format('attributes cannot be %s', left(attributes::text, 100)),
      hint = 'They are an object, for example {"browser": "firefox"}.';
  end if;
end
$function$;
grant execute on function metrics.require_measurement(name text, attributes jsonb) to authenticated;
grant execute on function metrics.require_measurement(name text, attributes jsonb) to metrics_reader;
comment on function metrics.require_measurement(name text, attributes jsonb) is 'Raises 22023 unless a measurement is named, and what it is about is an object or NULL.';

-- function metrics.require_reader()
CREATE OR REPLACE FUNCTION metrics.require_reader()
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
AS $function$
begin
  if not (metrics.is_member() or pg_has_role(metrics.caller(), 'metrics_reader', 'member')) then
    raise exception using
      errcode = '42501',
      message = 'only members of metrics may call this',
      hint = 'An admin adds a member with metrics.add_member; the member then calls metrics.accept_membership once.';
  end if;
end
$function$;
grant execute on function metrics.require_reader() to authenticated;
grant execute on function metrics.require_reader() to metrics_reader;
comment on function metrics.require_reader() is 'Raises 42501 unless the caller is a member or a role in metrics_reader.';

-- function metrics.require_scope(delivery jsonb, facts jsonb)
CREATE OR REPLACE FUNCTION metrics.require_scope(delivery jsonb, facts jsonb)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  identity constant jsonb := delivery -> 'identity';
  source_name constant text := delivery ->> 'source';
  permit metrics.identities;
  -- What it may tell about; NULL for every repository of the source.
  permitted text[];
  full_since timestamptz;
begin
  if jsonb_typeof(identity -> 'id') is distinct from 'number'
    or coalesce(jsonb_typeof(identity -> 'reference'), 'null') not in ('string', 'null')
  then
    raise exception using
      errcode = '22023',
      message = 'identity needs an id, and a reference or null';
  end if;
  -- One call of an identity at a time, so that none slips past the count. Taken before every other lock, so nobody waits in a circle.
  perform pg_advisory_xact_lock(hashtextextended('metrics.identity ' || (identity ->> 'id'), 0));

  select i.*
  into permit
  from metrics.identities as i
  where i.id = (identity ->> 'id')::bigint
    and i.revoked_at is null
    and (i.expires_at is null or i.expires_at > now());
  if not found then
    raise exception using
      errcode = '28000',
      message = 'this identity is unknown, revoked or expired';
  end if;

  if source_name <> all(permit.sources) then
    raise exception using
      errcode = '42501',
      message = 'this identity may not report to this source';
  end if;
  if exists (
    select
    from jsonb_object_keys(facts) as k (kind)
    where k.kind <> all(permit.fact_kinds)
  ) then
    raise exception using
      errcode = '42501',
      message = 'this identity may not tell facts of this kind';
  end if;

  permitted := case
    when permit.repositories is not null then permit.repositories
    when permit.kind = 'oidc' then array[identity ->> 'reference']
  end;
  if exists (
    select
    from (
      select distinct e.kind, f.said ->> 'repository' as reference
      from jsonb_each(facts) as e (kind, list)
      cross join lateral jsonb_array_elements(e.list) as f (said)
    ) as n
    where not metrics.is_within(n.reference, permitted, source_name)
      -- An incident may be about no repository; who may tell about some only may not tell about all.
      and not (n.kind = 'incidents' and permitted is null and n.reference is null)
  ) then
    raise exception using
      errcode = '42501',
      message = 'this identity may not tell about this repository';
  end if;
  if facts ? 'incidents' and exists (
    select
    from jsonb_array_elements(facts -> 'incidents') as f (said)
    left join metrics.incidents as i
      on i.source = f.said ->> 'source'
      and i.external_id = f.said ->> 'external_id'
    left join metrics.repository_references as r
      on r.id = i.reference_id
    where f.said ->> 'source' is distinct from source_name
      -- Its key names no repository: one that is kept about another repository would be moved.
      or (permitted is not null and i.source is not null and not metrics.is_within(r.reference, permitted, source_name))
  ) then
    raise exception using
      errcode = '42501',
      message = 'this identity may not tell about this incident';
  end if;
  -- A claim takes the facts that were told by the URL, and their readers, from whoever has it or will have it. So who may tell about some
  -- repositories claims what is theirs already, or what an admin named; who may tell about all of a source, what no other source's has.
  if facts ? 'repositories' and exists (
    select
    from jsonb_array_elements(facts -> 'repositories') as f (said)
    cross join lateral (
      select '//' || metrics.normalised_url(f.said ->> 'url') as reference
    ) as n
    left join metrics.repository_references as u
      on u.reference = n.reference
    left join metrics.repository_references as r
      on r.reference = f.said ->> 'repository'
    where n.reference is not null
      and (u.repository_id = r.repository_id) is not true
      and not metrics.is_within(n.reference, permitted, source_name)
      and not (permitted is null and (u.claimed_by is null or metrics.is_within(u.claimed_by, null, source_name)))
  ) then
    raise exception using
      errcode = '42501',
      message = 'this identity may not claim this URL';
  end if;
  -- The latest observation wins: one of the future would win over all that others observe until then.
  if exists (
    select
    from jsonb_each(facts) as e (kind, list)
    cross join lateral jsonb_array_elements(e.list) as f (said)
    where (f.said ->> 'observed_at')::timestamptz > now() + interval '5 minutes'
  ) then
    raise exception using
      errcode = '22008',
      message = 'observed_at is more than 5 minutes ahead of this server';
  end if;

  select d.received_at
  into full_since
  from metrics.deliveries as d
  where d.identity_id = permit.id
    and d.received_at > now() - interval '60 seconds'
  order by d.received_at desc
  offset permit.calls_per_minute - 1
  limit 1;
  -- What is there already adds nothing, and is told so whatever the rate.
  if found and not exists (
    select
    from metrics.deliveries as d
    where d.source = source_name
      and d.delivery_id = delivery ->> 'delivery_id'
      and d.result <> 'quarantined'
  ) then
    raise exception using
      errcode = 'PT429',
      message = 'this identity made its calls of this minute',
      detail = greatest(1, ceil(extract(epoch from full_since + interval '60 seconds' - now())))::integer::text;
  end if;
  return permit.id;
end
$function$;
comment on function metrics.require_scope(delivery jsonb, facts jsonb) is 'The id of a delivery''s identity when that may tell these facts to its source now. Raises 28000 when it does not live, 42501 when it may not, 22008 for what is observed in the future, PT429 with the seconds to wait when it made its calls of the minute: deliveries that were committed count, and one that came before is let through.';

-- function metrics.revoke_identity(name text)
CREATE OR REPLACE FUNCTION metrics.revoke_identity(name text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  before metrics.identities;
  after metrics.identities;
begin
  perform metrics.require_admin();
  before := metrics.identity_named(name);
  update metrics.identities as i
  set revoked_at = now()
  where i.id = before.id
  returning i.*
  into after;
  perform metrics.note('revoke_identity', metrics.identity_without_hash(before), metrics.identity_without_hash(after));
end
$function$;
grant execute on function metrics.revoke_identity(name text) to authenticated;
comment on function metrics.revoke_identity(name text) is 'Ends an identity at once and for ever. Its name is free for another.';

-- function metrics.rule_compliance(since date, until date, bucket text, by text, repository text, team text, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.rule_compliance(since date DEFAULT NULL::date, until date DEFAULT NULL::date, bucket text DEFAULT 'none'::text, by text DEFAULT 'nothing'::text, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100)
 RETURNS TABLE(bucket_start date, name text, compliant bigint, violation bigint, warning bigint, checks bigint, rate double precision, reason text, page_key text, total bigint)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_tidscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_nestloop TO 'off'
 SET enable_sort TO 'off'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
declare
  asked metrics.period;
  grouped text;
  by_week boolean;
  references_read bigint[];
  names text[];
  is_unknown boolean;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, bucket, page_after, page_size);
  grouped := metrics.checked_word('by', by, array['nothing', 'repository', 'category', 'rule']);
  -- Weeks are counted of all rules together.
  by_week := grouped in ('nothing', 'repository');
  select coalesce(array_agg(s.reference_id), '{}'), coalesce(array_agg(s.label), '{}')
  into references_read, names
  from metrics.selected_references(repository, team) as s;
  is_unknown := names = '{}' and num_nonnulls(repository, team) > 0;

  return query
  with weeks as materialized (
    select w.week, w.bucket_start
    from metrics.nearest_weeks_of(asked) as w
    where by_week
      and w.is_counted
  ),
  stretches as materialized (
    select d.bucket_start, d.starts_at, d.ends_at, d.times
    from metrics.days_off_weeks_of(asked) as d
    where by_week
    union all
    select s.bucket_start, s.starts_at, s.ends_at, 1
    from metrics.stretches_of(asked) as s
    where not by_week
  ),
  counted as materialized (
    select
      f.name,
      f.bucket_start,
      sum(f.compliant)::bigint as compliant,
      sum(f.violation)::bigint as violation,
      sum(f.warning)::bigint as warning,
      sum(f.compliant + f.violation + f.warning)::bigint as checks
    from (
      select
        case when grouped = 'nothing' then '' else r.label end as name,
        w.bucket_start,
        sum(c.compliant) as compliant,
        sum(c.violation) as violation,
        sum(c.warning) as warning
      from unnest(references_read, names) as r (reference_id, label)
      cross join lateral (
        select k.week, k.compliant, k.violation, k.warning
        from metrics.rule_weeks as k
        where by_week
          and k.generation = asked.generation
          and k.reference_id = r.reference_id
          and k.week > asked.since - 7
          and k.week < asked.until
        offset 0
      ) as c
      join weeks as w
        on w.week = c.week
      group by 1, 2
      union all
      select
        case grouped
          when 'nothing' then ''
          when 'repository' then r.label
          when 'category' then coalesce(c.category, '')
          else coalesce(c.rule, '')
        end,
        s.bucket_start,
        sum(s.times) filter (where c.status = 'compliant'),
        sum(s.times) filter (where c.status = 'violation'),
        sum(s.times) filter (where c.status = 'warning')
      from stretches as s
      cross join unnest(references_read, names) as r (reference_id, label)
      cross join lateral (
        select k.rule, k.category, k.status
        from metrics.rule_checks as k
        where k.reference_id = r.reference_id
          and k.checked_at >= s.starts_at
          and k.checked_at < s.ends_at
        offset 0
      ) as c
      group by 1, 2
    ) as n (name, bucket_start, compliant, violation, warning)
    cross join lateral (
      select n.name, n.bucket_start, coalesce(n.compliant, 0) as compliant, coalesce(n.violation, 0) as violation, coalesce(n.warning, 0) as warning
    ) as f
    group by f.name, f.bucket_start
  )
  select
    g.bucket_start,
    -- Checks without a category or a rule are together under an empty name.
    case when grouped in ('category', 'rule') and not is_unknown then coalesce(g.name, '') else g.name end,
    case when not is_unknown then coalesce(c.compliant, 0) end,
    case when not is_unknown then coalesce(c.violation, 0) end,
    case when not is_unknown then coalesce(c.warning, 0) end,
    case when not is_unknown then coalesce(c.checks, 0) end,
    c.compliant::double precision / nullif(c.checks, 0),
    case
      when is_unknown then 'unknown_service'
      when c.checks > 0 then null
      else 'too_few'
    end,
    g.page_key,
    g.total
  from metrics.page_of(
    asked,
    case
      when is_unknown or grouped = 'nothing' then array['']
      when grouped = 'repository' then array(select distinct n collate "C" from unnest(names) as n order by 1)
      else array(select distinct o.name collate "C" from counted as o order by 1)
    end,
    array['']
  ) as g
  left join counted as c
    on c.name = coalesce(g.name, '')
    and c.bucket_start is not distinct from g.bucket_start
  order by g.name collate "C" nulls first, g.bucket_start;
end
$function$;
grant execute on function metrics.rule_compliance(since date, until date, bucket text, by text, repository text, team text, page_after text, page_size integer) to authenticated;
grant execute on function metrics.rule_compliance(since date, until date, bucket text, by text, repository text, team text, page_after text, page_size integer) to metrics_reader;
comment on function metrics.rule_compliance(since date, until date, bucket text, by text, repository text, team text, page_after text, page_size integer) is 'How many checks of rules that were made in the period were compliant, of all of them; by bucket and by nothing, repository, category or rule. Reasons: unknown_service, too_few. Raises 22023 for what cannot be asked.';

-- function metrics.rule_compliance_evidence(since date, until date, repository text, team text, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.rule_compliance_evidence(since date DEFAULT NULL::date, until date DEFAULT NULL::date, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100)
 RETURNS SETOF metrics.evidence
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
 SET plan_cache_mode TO 'force_custom_plan'
 SET enable_seqscan TO 'off'
 SET enable_tidscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_sort TO 'off'
AS $function$
#variable_conflict use_column
declare
  asked metrics.period;
  after metrics.evidence_key;
  starts_at timestamptz;
  ends_at timestamptz;
  references_read bigint[];
  names text[];
  rows_in_all bigint;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, 'none', page_after, page_size);
  after := metrics.evidence_after(asked);
  starts_at := metrics.midnight(asked.since, asked.time_zone);
  ends_at := metrics.midnight(asked.until, asked.time_zone);
  select coalesce(array_agg(s.reference_id), '{}'), coalesce(array_agg(s.label), '{}')
  into references_read, names
  from metrics.selected_references(repository, team) as s;

  select coalesce(sum(c.checks), 0)
  into rows_in_all
  from unnest(references_read) as r (reference_id)
  cross join lateral (
    select count(*) as checks
    from metrics.rule_checks as k
    where k.reference_id = r.reference_id
      and k.checked_at >= starts_at
      and k.checked_at < ends_at
      and k.status is not null
  ) as c;

  return query
  select
    e.checked_at,
    e.label,
    null::text,
    'rule_check',
    e.external_id,
    e.commit_sha,
    e.rule,
    (e.status = 'compliant')::integer::double precision,
    'ratio',
    null::text,
    e.url,
    jsonb_build_object(
      'category', e.category,
      'status', e.status,
      'pull_request_number', e.pull_request_number,
      'run_external_id', e.run_external_id,
      'detail', e.detail
    ),
    metrics.evidence_page_key(e.checked_at, e.label, 'rule_check', e.external_id),
    rows_in_all
  from (
    select r.label, c.*
    from unnest(references_read, names) as r (reference_id, label)
    -- A page of each reference, in the order of its index: the page of all is among them.
    cross join lateral (
      select k.*
      from metrics.rule_checks as k
      where k.reference_id = r.reference_id
        and k.checked_at >= greatest(after.happened_at, starts_at)
        and k.checked_at < ends_at
        and k.status is not null
        and (
          after.happened_at is null
          or (k.checked_at, r.label collate "C", 'rule_check' collate "C", k.external_id collate "C")
            > (after.happened_at, after.repository, after.kind, after.external_id)
        )
      order by k.checked_at, k.external_id collate "C"
      limit asked.page_size
    ) as c
    order by c.checked_at, r.label collate "C", c.external_id collate "C"
    limit asked.page_size
  ) as e
  order by e.checked_at, e.label collate "C", e.external_id collate "C";
end
$function$;
grant execute on function metrics.rule_compliance_evidence(since date, until date, repository text, team text, page_after text, page_size integer) to authenticated;
grant execute on function metrics.rule_compliance_evidence(since date, until date, repository text, team text, page_after text, page_size integer) to metrics_reader;
comment on function metrics.rule_compliance_evidence(since date, until date, repository text, team text, page_after text, page_size integer) is 'The checks behind rule_compliance, in their order in time: value is 1 for a compliant one, else 0.';

-- function metrics.runner_of(labels text[])
CREATE OR REPLACE FUNCTION metrics.runner_of(labels text[])
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
begin
  if coalesce(cardinality(labels), 0) < 2 then
    return coalesce(labels[1], '');
  end if;
  return coalesce(
    (
      select string_agg(l, ',' order by l collate "C")
      from unnest(labels) as l
    ),
    ''
  );
end
$function$;
grant execute on function metrics.runner_of(labels text[]) to authenticated;
grant execute on function metrics.runner_of(labels text[]) to metrics_reader;
comment on function metrics.runner_of(labels text[]) is 'The labels of a runner as one text: sorted, with commas between; empty for none.';

-- function metrics.seconds_of(bucket smallint)
CREATE OR REPLACE FUNCTION metrics.seconds_of(bucket smallint)
 RETURNS double precision
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
begin
  return case when bucket = -32768 then 0 else power(1.1::double precision, bucket + 0.5::double precision) end;
end
$function$;
grant execute on function metrics.seconds_of(bucket smallint) to authenticated;
grant execute on function metrics.seconds_of(bucket smallint) to metrics_reader;
comment on function metrics.seconds_of(bucket smallint) is 'The seconds that a bucket stands for: at most 4.9 % from any value in it.';

-- function metrics.selected_references(repository text, team text)
CREATE OR REPLACE FUNCTION metrics.selected_references(repository text, team text)
 RETURNS TABLE(reference_id bigint, repository_id bigint, label text)
 LANGUAGE plpgsql
 STABLE ROWS 400
 SET search_path TO ''
AS $function$
#variable_conflict use_column
begin
  -- All at once: what a repository is called, asked of each by itself, would look up the caller's rights for each.
  return query
  select
    f.id,
    r.id,
    coalesce(
      r.full_name,
      first_value(f.reference) over (partition by r.id order by f.source is null, f.reference collate "C")
    )
  from metrics.repositories as r
  join metrics.repository_references as f
    on f.repository_id = r.id
  where (
      selected_references.repository is null
      or r.full_name = selected_references.repository
      or r.id in (
        select n.repository_id
        from metrics.repository_references as n
        where n.reference = selected_references.repository
      )
    )
    and (
      selected_references.team is null
      or r.id in (
        select g.repository_id
        from metrics.team_repositories as g
        join metrics.teams as t
          on t.id = g.team_id
        where t.name = selected_references.team
      )
    );
end
$function$;
grant execute on function metrics.selected_references(repository text, team text) to authenticated;
grant execute on function metrics.selected_references(repository text, team text) to metrics_reader;
comment on function metrics.selected_references(repository text, team text) is 'References of the repositories that the caller may read, of this name or reference and this team; with what each repository is called.';

-- function metrics.selected_services(generation integer, service text, repository text, team text)
CREATE OR REPLACE FUNCTION metrics.selected_services(generation integer, service text, repository text, team text)
 RETURNS TABLE(service_id bigint, repository_id bigint, label text, repository_label text)
 LANGUAGE plpgsql
 STABLE ROWS 200
 SET search_path TO ''
AS $function$
#variable_conflict use_column
begin
  return query
  select s.id, s.repository_id, coalesce(s.name, r.label), r.label
  from (select distinct o.repository_id, o.label from metrics.selected_references(repository, team) as o) as r
  join metrics.services as s
    on s.generation = selected_services.generation
    and s.repository_id = r.repository_id
  where service is null
    or coalesce(s.name, r.label) = service;
end
$function$;
grant execute on function metrics.selected_services(generation integer, service text, repository text, team text) to authenticated;
grant execute on function metrics.selected_services(generation integer, service text, repository text, team text) to metrics_reader;
comment on function metrics.selected_services(generation integer, service text, repository text, team text) is 'Services that the caller may read, of this name, repository and team.';

-- function metrics.service_deployments_changed()
CREATE OR REPLACE FUNCTION metrics.service_deployments_changed()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  gone metrics.service_deployments[];
  come metrics.service_deployments[];
begin
  if tg_op <> 'INSERT' then
    gone := array(select o from old_rows as o);
  end if;
  if tg_op <> 'DELETE' then
    come := array(select n from new_rows as n);
  end if;
  if cardinality(gone) > 0 or cardinality(come) > 0 then
    perform metrics.count_service_deployments(coalesce(gone, '{}'), coalesce(come, '{}'));
  end if;
  return null;
end
$function$;
comment on function metrics.service_deployments_changed() is 'Counts deployments by week as they change.';

-- function metrics.service_label(service bigint)
CREATE OR REPLACE FUNCTION metrics.service_label(service bigint)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO ''
AS $function$
  select coalesce(s.name, metrics.repository_label(s.repository_id))
  from metrics.services as s
  where s.id = service
$function$;
grant execute on function metrics.service_label(service bigint) to authenticated;
grant execute on function metrics.service_label(service bigint) to metrics_reader;
comment on function metrics.service_label(service bigint) is 'What a service is called: its name, else its repository''s.';

-- function metrics.services_called(generation integer, called text)
CREATE OR REPLACE FUNCTION metrics.services_called(generation integer, called text)
 RETURNS TABLE(service_id bigint, repository_id bigint)
 LANGUAGE sql
 STABLE
 SET search_path TO ''
AS $function$
  select s.id, s.repository_id
  from metrics.services as s
  where s.generation = services_called.generation
    and lower(s.name) = lower(called)
  union
  select s.id, s.repository_id
  from metrics.repositories as r
  join metrics.services as s
    on s.generation = services_called.generation
    and s.repository_id = r.id
    and s.name is null
  where lower(r.full_name) = lower(called)
  union
  -- One that has no name yet goes by its reference.
  select s.id, s.repository_id
  from metrics.repository_references as f
  join metrics.repositories as r
    on r.id = f.repository_id
    and r.full_name is null
  join metrics.services as s
    on s.generation = services_called.generation
    and s.repository_id = f.repository_id
    and s.name is null
  where f.reference = called
    and metrics.repository_label(r.id) = called
$function$;
comment on function metrics.services_called(generation integer, called text) is 'Services of this name, in any letter case.';

-- function metrics.set_environment_tier(pattern text, tier text)
CREATE OR REPLACE FUNCTION metrics.set_environment_tier(pattern text, tier text)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  begun integer;
  earlier text;
begin
  perform metrics.require_admin();
  if nullif(set_environment_tier.pattern, '') is null then
    raise exception using
      errcode = '22023',
      message = 'a rule for environments needs a pattern',
      hint = 'For example ^live-.';
  end if;
  perform metrics.checked_pattern('pattern', set_environment_tier.pattern);
  perform metrics.checked_word('tier', set_environment_tier.tier, array['production', 'staging', 'development', 'other']);
  begun := metrics.begin_generation();
  select r.tier
  into earlier
  from metrics.environment_rules as r
  where r.generation = begun
    and r.pattern = set_environment_tier.pattern;
  delete from metrics.environment_rules as r
  where r.generation = begun
    and r.pattern = set_environment_tier.pattern;
  if set_environment_tier.tier is not null then
    insert into metrics.environment_rules (generation, position, pattern, tier)
    select begun, coalesce(max(r.position), 0) + 1, set_environment_tier.pattern, set_environment_tier.tier
    from metrics.environment_rules as r
    where r.generation = begun;
  elsif earlier is null then
    raise exception using
      errcode = 'P0002',
      message = format('no rule for environments has the pattern %s', set_environment_tier.pattern);
  end if;
  perform metrics.note(
    'set_environment_tier',
    case when earlier is not null then jsonb_build_object('pattern', set_environment_tier.pattern, 'tier', earlier) end,
    case when set_environment_tier.tier is not null then jsonb_build_object('pattern', set_environment_tier.pattern, 'tier', set_environment_tier.tier) end
  );
  return metrics.rebuild();
end
$function$;
grant execute on function metrics.set_environment_tier(pattern text, tier text) to authenticated;
comment on function metrics.set_environment_tier(pattern text, tier text) is 'Says which tier environments are of whose name matches a regular expression; NULL takes the rule back. The first rule counts. Answers as metrics.rebuild does.';

-- function metrics.set_price(label text, price_per_minute numeric, valid_from date, currency text, is_hosted boolean, source text)
CREATE OR REPLACE FUNCTION metrics.set_price(label text, price_per_minute numeric, valid_from date DEFAULT NULL::date, currency text DEFAULT 'USD'::text, is_hosted boolean DEFAULT false, source text DEFAULT 'set by an admin'::text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
#variable_conflict use_variable
declare
  week constant date := coalesce(valid_from, metrics.week_of(now(), (select g.time_zone from metrics.generations as g where g.state = 'current')));
  other text;
  earlier jsonb;
begin
  perform metrics.require_admin();
  if label is null or btrim(label) = '' or length(label) > 200 or strpos(label, ',') > 0 then
    raise exception using
      errcode = '22023',
      message = format('label is the name of a runner without commas, not %s', coalesce(left(label, 100), 'null'));
  end if;
  if extract(isodow from week) is distinct from 1 then
    raise exception using
      errcode = '22023',
      message = format('valid_from is a Monday, not %s', week),
      hint = format('The Monday of that week is %s.', date_trunc('week', week::timestamp)::date);
  end if;
  if price_per_minute is null or not price_per_minute between 0 and 1000000 then
    raise exception using
      errcode = '22023',
      message = format('price_per_minute is between 0 and 1000000, not %s', coalesce(price_per_minute::text, 'null'));
  end if;
  if currency is null or currency !~ '^[A-Z]{3}$' then
    raise exception using
      errcode = '22023',
      message = format('currency is three capital letters, not %s', coalesce(left(currency, 100), 'null')),
      hint = 'For example USD or EUR.';
  end if;
  if source is null or btrim(source) = '' or length(source) > 1000 then
    raise exception using
      errcode = '22023',
      message = 'source says where the price was read, in at most 1000 characters';
  end if;
  -- Two admins who set prices in two currencies at the same moment must not both succeed.
  perform pg_advisory_xact_lock(hashtextextended('metrics.prices', 0));
  select p.currency
  into other
  from metrics.prices as p
  where p.currency <> set_price.currency
    and (p.label, p.valid_from) <> (set_price.label, week)
  limit 1;
  if found then
    raise exception using
      errcode = '22023',
      message = format('prices are in %s, and cannot be in %s as well', other, currency),
      hint = 'Remove those first with metrics.remove_price.';
  end if;
  select to_jsonb(p)
  into earlier
  from metrics.prices as p
  where p.label = set_price.label
    and p.valid_from = week;
  insert into metrics.prices as p (label, valid_from, price_per_minute, currency, is_hosted, source)
  values (label, week, price_per_minute, currency, coalesce(is_hosted, false), source)
  on conflict on constraint prices_pkey do update set
    price_per_minute = excluded.price_per_minute,
    currency = excluded.currency,
    is_hosted = excluded.is_hosted,
    source = excluded.source;
  perform metrics.note('set_price', earlier, (
    select to_jsonb(p)
    from metrics.prices as p
    where p.label = set_price.label
      and p.valid_from = week
  ));
end
$function$;
grant execute on function metrics.set_price(label text, price_per_minute numeric, valid_from date, currency text, is_hosted boolean, source text) to authenticated;
comment on function metrics.set_price(label text, price_per_minute numeric, valid_from date, currency text, is_hosted boolean, source text) is 'Sets what a minute of the runners with this label costs from a Monday on; by default from this week''s. is_hosted: each job''s minutes are rounded up.';

-- function metrics.set_setting(name text, value text)
CREATE OR REPLACE FUNCTION metrics.set_setting(name text, value text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  earlier text;
begin
  perform metrics.require_admin();
  if set_setting.name = 'time_zone' then
    if not exists (select from pg_catalog.pg_timezone_names as z where z.name = value) then
      raise exception using
        errcode = '22023',
        message = format('no time zone is called %s', value),
        hint = 'Use an IANA name, for example Europe/Berlin.';
    end if;
    update metrics.settings as s
    set time_zone = value
    from metrics.settings as o
    where s.is_single
    returning o.time_zone
    into earlier;
  elsif set_setting.name in (
    'body_days', 'quarantined_body_days', 'delivery_days', 'job_days', 'test_case_days', 'incident_window_seconds', 'rollout_seconds', 'band_year'
  ) then
    if set_setting.name = 'band_year' and not exists (select from metrics.bands as b where b.report_year::text = value) then
      raise exception using
        errcode = '22023',
        message = format('no bands are known for the year %s', value),
        hint = format('There are those of %s.', (select string_agg(distinct b.report_year::text, ', ') from metrics.bands as b));
    end if;
    begin
      execute format(
        'update metrics.settings as s set %1$I = $1::integer from metrics.settings as o where s.is_single returning o.%1$I::text',
        set_setting.name
      )
      using value
      into earlier;
    exception
      when check_violation or not_null_violation or invalid_text_representation or numeric_value_out_of_range then
        raise exception using
          errcode = '22023',
          message = format('%s cannot be %s', set_setting.name, coalesce(value, 'null')),
          detail = sqlerrm,
          hint = col_description('metrics.settings'::regclass, (
            select a.attnum
            from pg_catalog.pg_attribute as a
            where a.attrelid = 'metrics.settings'::regclass
              and a.attname = set_setting.name
          ));
    end;
  elsif set_setting.name = 'hotfix_labels' then
    update metrics.settings as s
    set hotfix_labels = array(select btrim(l) from unnest(string_to_array(btrim(value, '{}'), ',')) as l where btrim(l) <> '')
    from metrics.settings as o
    where s.is_single
    returning array_to_string(o.hotfix_labels, ',')
    into earlier;
  else
    raise exception using
      errcode = '22023',
      message = format('no setting is called %s', set_setting.name),
      hint = 'Settings are time_zone, body_days, quarantined_body_days, delivery_days, job_days, test_case_days, incident_window_seconds, rollout_seconds, hotfix_labels, band_year.';
  end if;
  perform metrics.note('set_setting', jsonb_build_object(set_setting.name, earlier), jsonb_build_object(set_setting.name, value));
  -- What numbers are derived by.
  if set_setting.name in ('time_zone', 'incident_window_seconds', 'rollout_seconds', 'hotfix_labels') and earlier is distinct from value then
    perform metrics.begin_generation();
    perform metrics.rebuild();
  end if;
end
$function$;
grant execute on function metrics.set_setting(name text, value text) to authenticated;
comment on function metrics.set_setting(name text, value text) is 'Changes one setting by name. Days of bodies hold for bodies that come from now on. A time zone and what failures are found by hold for all numbers, once metrics.rebuild is done.';

-- function metrics.settle_moved_repositories(moved bigint[])
CREATE OR REPLACE FUNCTION metrics.settle_moved_repositories(moved bigint[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  i integer;
begin
  -- Pairs: the repository that the URL meant before, and the one that it means now.
  for i in 1 .. cardinality(moved) by 2 loop
    if not exists (
      select
      from metrics.repository_references as r
      where r.repository_id = moved[i]
    ) then
      insert into metrics.team_repositories (team_id, repository_id)
      select g.team_id, moved[i + 1]
      from metrics.team_repositories as g
      where g.repository_id = moved[i]
      on conflict do nothing;
      -- Services that admins named go with the code.
      update metrics.services as s
      set repository_id = moved[i + 1]
      where s.repository_id = moved[i]
        and s.name is not null;
      delete from metrics.services as s
      where s.name is null
        and (
          s.repository_id = moved[i]
          or (
            s.repository_id = moved[i + 1]
            and exists (
              select
              from metrics.services as o
              where o.generation = s.generation
                and o.repository_id = s.repository_id
                and o.name is not null
            )
          )
        );
      delete from metrics.repositories as r
      where r.id = moved[i];
    end if;
  end loop;
end
$function$;
comment on function metrics.settle_moved_repositories(moved bigint[]) is 'Removes repositories that no reference means any more, and hands the teams'' reading on to the one that took the URL.';

-- function metrics.ship(generation integer, repository bigint, service bigint, since timestamp with time zone, until timestamp with time zone, most integer)
CREATE OR REPLACE FUNCTION metrics.ship(generation integer, repository bigint, service bigint, since timestamp with time zone, until timestamp with time zone, most integer)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO ''
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'on'
AS $function$
#variable_conflict use_column
declare
  marked bigint[];
  shipped integer;
begin
  -- Shipping. A deployment that stands further on than all before it ships what lies between.
  with tail as materialized (
    select
      d.id,
      d.line,
      d.position,
      d.at,
      d.external_id,
      d.reference,
      row_number() over (order by d.at, d.external_id collate "C", d.reference collate "C") = 1 and not exists (
        select
        from metrics.service_deployments as e
        where e.generation = ship.generation
          and e.service_id = service
          and e.outcome = 'success'
          and e.at < ship.since
      ) as is_first
    from metrics.service_deployments as d
    where d.generation = ship.generation
      and d.service_id = service
      and d.outcome = 'success'
      and d.at >= ship.since
      and d.at < ship.until
  ),
  placed as materialized (
    select *
    from tail as t
    where t.position is not null
  ),
  reached as (
    select l.line, m.position
    from (select distinct t.line from placed as t) as l
    cross join lateral (
      select d.position
      from metrics.service_deployments as d
      where d.generation = ship.generation
        and d.service_id = service
        and d.outcome = 'success'
        and d.line = l.line
        and d.position is not null
        and d.at < ship.since
      order by d.position desc
      limit 1
    ) as m
  ),
  advancing as (
    select
      t.id,
      t.line,
      t.at,
      t.is_first,
      t.position,
      greatest(
        max(t.position) over (
          partition by t.line
          order by t.at, t.external_id collate "C", t.reference collate "C"
          rows between unbounded preceding and 1 preceding
        ),
        r.position,
        -1
      ) as reached
    from placed as t
    left join reached as r
      on r.line = t.line
  ),
  assigned as materialized (
    select
      c.row_id,
      a.id,
      a.at,
      a.is_first,
      (c.shipped_by, c.shipped_at, c.is_first_shipped, c.is_order_unknown) is distinct from (a.id, a.at, a.is_first, false) as is_new
    from advancing as a
    -- Looked up for each: what lies between is little, however much there is.
    cross join lateral (
      select o.ctid as row_id, o.gone_position, o.shipped_by, o.shipped_at, o.is_first_shipped, o.is_order_unknown
      from metrics.changes as o
      where o.generation = ship.generation
        and o.repository_id = repository
        and o.line = a.line
        and o.position > a.reached
        and o.position <= a.position
        and o.service_id + 0 = service
      offset 0
    ) as c
    where a.position > a.reached
      and c.gone_position is null
    union all
    -- What was taken off the branch is only in what was deployed from before. With an end, see metrics.ship_taken_off.
    select
      c.row_id,
      f.id,
      f.at,
      f.is_first,
      (c.shipped_by, c.shipped_at, c.is_first_shipped, c.is_order_unknown) is distinct from (f.id, f.at, f.is_first, false)
    from (
      select o.ctid as row_id, o.line, o.position, o.gone_position, o.shipped_by, o.shipped_at, o.is_first_shipped, o.is_order_unknown
      from metrics.changes as o
      where ship.until = 'infinity'
        and o.generation = ship.generation
        and o.repository_id = repository
        and o.gone_position is not null
        and o.service_id + 0 = service
        and (o.shipped_at is null or o.shipped_at >= ship.since)
      offset 0
    ) as c
    cross join lateral (
      select d.id
      from metrics.service_deployments as d
      where d.generation = ship.generation
        and d.service_id = service
        and d.outcome = 'success'
        and d.line = c.line
        and d.position >= c.position
        and d.position < c.gone_position
      order by d.at, d.external_id collate "C", d.reference collate "C"
      limit 1
    ) as s
    join tail as f
      on f.id = s.id
  ),
  freed as (
    update metrics.changes as c
    set
      shipped_by = null,
      shipped_at = null,
      is_first_shipped = false
    where ship.until = 'infinity'
      and c.generation = ship.generation
      and c.service_id = service
      and c.shipped_at >= ship.since
      and c.ctid not in (select a.row_id from assigned as a)
  ),
  put as (
    update metrics.changes as c
    set
      shipped_by = a.id,
      shipped_at = a.at,
      is_first_shipped = a.is_first,
      is_order_unknown = false
    from (
      select *
      from assigned as a
      where a.is_new
      limit most
    ) as a
    where c.ctid = a.row_id
    returning 1
  )
  select count(*)
  into shipped
  from put;
  if shipped >= most then
    return false;
  end if;

  -- Which are the first, and which put the same commit there again.
  with tail as (
    select
      d.id,
      d.environment,
      d.commit_sha,
      d.is_first,
      d.is_redeploy,
      row_number() over of_environment as place,
      lag(d.commit_sha) over of_environment as earlier_sha,
      row_number() over (order by d.at, d.external_id collate "C", d.reference collate "C") as place_of_all
    from metrics.service_deployments as d
    where d.generation = ship.generation
      and d.service_id = service
      and d.outcome = 'success'
      and d.at >= ship.since
      and d.at < ship.until
    window of_environment as (
      partition by d.environment
      order by d.at, d.external_id collate "C", d.reference collate "C"
    )
  ),
  kept as (
    select e.environment, k.commit_sha
    from (select distinct t.environment from tail as t) as e
    cross join lateral (
      select d.commit_sha
      from metrics.service_deployments as d
      where d.generation = ship.generation
        and d.service_id = service
        and d.environment = e.environment
        and d.outcome = 'success'
        and d.at < ship.since
      order by d.at desc, d.external_id collate "C" desc, d.reference collate "C" desc
      limit 1
    ) as k
  ),
  ordered as (
    select
      t.id,
      t.is_first as was_first,
      t.is_redeploy as was_redeploy,
      t.place_of_all = 1 and not exists (
        select
        from metrics.service_deployments as d
        where d.generation = ship.generation
          and d.service_id = service
          and d.outcome = 'success'
          and d.at < ship.since
      ) as is_first,
      coalesce(case when t.place = 1 then k.commit_sha else t.earlier_sha end = t.commit_sha, false) as is_redeploy
    from tail as t
    left join kept as k
      on k.environment = t.environment
  )
  update metrics.service_deployments as d
  set
    is_first = o.is_first,
    is_redeploy = o.is_redeploy
  from ordered as o
  where d.id = o.id
    and (o.was_first, o.was_redeploy) <> (o.is_first, o.is_redeploy);

  -- What rolled back or fixed another.
  with tail as materialized (
    select
      d.id,
      d.environment,
      d.line,
      d.position,
      d.commit_sha,
      d.at,
      d.external_id,
      d.reference,
      lag(d.id) over (
        partition by d.environment
        order by d.at, d.external_id collate "C", d.reference collate "C"
      ) as earlier_id
    from metrics.service_deployments as d
    where d.generation = ship.generation
      and d.service_id = service
      and d.outcome = 'success'
      and d.at >= ship.since
      and d.at < ship.until
  ),
  -- Each with the one just before it in its environment.
  following as materialized (
    select
      k.*,
      coalesce(
        k.earlier_id,
        (
          select d.id
          from metrics.service_deployments as d
          where d.generation = ship.generation
            and d.service_id = service
            and d.environment = k.environment
            and d.outcome = 'success'
            and d.at < ship.since
          order by d.at desc, d.external_id collate "C" desc, d.reference collate "C" desc
          limit 1
        )
      ) as before_id
    from tail as k
  ),
  found as materialized (
    select distinct f.failed_id, f.cause, f.mended_by, f.at
    from (
      -- Rolled back: the first one after the last deployment of a commit at or before this one's. Nearly always the one just before is that last one, and nothing lies between.
      select v.id as failed_id, 'rolled_back' as cause, k.id as mended_by, k.at
      from following as k
      join metrics.service_deployments as e
        on e.id = k.before_id
        and case when e.line = k.line then e.position > k.position else (e.commit_sha = k.commit_sha) is not true end
      left join lateral (
        select u.*
        from (
          (
            select j.at, j.external_id, j.reference
            from metrics.service_deployments as j
            where k.position is not null
              and j.generation = ship.generation
              and j.service_id = service
              and j.outcome = 'success'
              and j.environment = k.environment
              and j.at <= k.at
              and (j.at, j.external_id collate "C", j.reference collate "C") < (k.at, k.external_id collate "C", k.reference collate "C")
              and j.line = k.line
              and j.position <= k.position
            order by j.at desc, j.external_id collate "C" desc, j.reference collate "C" desc
            limit 1
          )
          union all
          (
            select j.at, j.external_id, j.reference
            from metrics.service_deployments as j
            where j.commit_sha = k.commit_sha
              and j.generation + 0 = ship.generation
              and j.service_id + 0 = service
              and j.outcome = 'success'
              and j.environment = k.environment
              and (j.at, j.external_id collate "C", j.reference collate "C") < (k.at, k.external_id collate "C", k.reference collate "C")
              and (k.position is null or j.line is distinct from k.line)
            order by j.at desc, j.external_id collate "C" desc, j.reference collate "C" desc
            limit 1
          )
        ) as u
        order by u.at desc, u.external_id collate "C" desc, u.reference collate "C" desc
        limit 1
      ) as l
        on true
      cross join lateral (
        select j.id
        from metrics.service_deployments as j
        where j.generation = ship.generation
          and j.service_id = service
          and j.outcome = 'success'
          and j.environment = k.environment
          and j.at >= coalesce(l.at, '-infinity')
          and j.at <= k.at
          and (l.at is null or (j.at, j.external_id collate "C", j.reference collate "C") > (l.at, l.external_id collate "C", l.reference collate "C"))
          and (j.at, j.external_id collate "C", j.reference collate "C") < (k.at, k.external_id collate "C", k.reference collate "C")
          and (
            (j.line = k.line and j.position > k.position)
            or (
              (j.line = k.line) is not true
              and exists (
                select
                from metrics.service_deployments as i
                where i.commit_sha = k.commit_sha
                  and i.generation + 0 = ship.generation
                  and i.service_id + 0 = service
                  and i.outcome = 'success'
                  and i.environment = k.environment
                  and (i.at, i.external_id collate "C", i.reference collate "C") < (j.at, j.external_id collate "C", j.reference collate "C")
              )
            )
          )
        order by j.at, j.external_id collate "C", j.reference collate "C"
        limit 1
      ) as v
      union all
      -- Fixed forward: this one first ships what reverts a change that an earlier one first shipped.
      select o.id, 'fixed_forward', k.id, k.at
      from tail as k
      join metrics.changes as r
        on r.shipped_by = k.id
        and (r.reverts is not null or r.is_hotfix)
      cross join lateral unnest(r.reverts) as v (sha)
      cross join lateral (
        select c.shipped_by
        from metrics.changes as c
        where c.sha = v.sha
          and c.generation + 0 = ship.generation
          and c.service_id + 0 = service
        union all
        select c.shipped_by
        from metrics.changes as c
        where length(v.sha) between 7 and 39
          and c.generation = ship.generation
          and c.repository_id = repository
          and c.service_id = service
          and starts_with(c.sha, v.sha)
      ) as c
      join metrics.service_deployments as o
        on o.id = c.shipped_by
      where (o.at, o.external_id collate "C", o.reference collate "C") < (k.at, k.external_id collate "C", k.reference collate "C")
      union all
      -- Or a hotfix: what was there just before needed it.
      select k.before_id, 'fixed_forward', k.id, k.at
      from following as k
      join metrics.changes as r
        on r.shipped_by = k.id
        and (r.reverts is not null or r.is_hotfix)
      where r.is_hotfix
        and k.before_id is not null
    ) as f
  ),
  put as (
    insert into metrics.deployment_failures as t (generation, repository_id, service_id, failed_id, cause, mended_by, at, ended_at)
    select ship.generation, repository, service, f.failed_id, f.cause, f.mended_by, f.at, f.at
    from found as f
    on conflict on constraint deployment_failure_is_unique do update set
      at = excluded.at,
      ended_at = excluded.ended_at
    where (t.at, t.ended_at) is distinct from (excluded.at, excluded.ended_at)
    returning t.failed_id
  ),
  gone as (
    delete from metrics.deployment_failures as t
    where ship.until = 'infinity'
      and t.generation = ship.generation
      and t.service_id = service
      and t.mended_by is not null
      and t.at >= ship.since
      and (t.failed_id, t.cause, t.mended_by) not in (select f.failed_id, f.cause, f.mended_by from found as f)
    returning t.failed_id
  )
  select coalesce(array_agg(u.failed_id), '{}')
  into marked
  from (select p.failed_id from put as p union select g.failed_id from gone as g) as u;
  perform metrics.mark_failures(ship.generation, service, ship.since, ship.until, marked);
  return true;
end
$function$;
comment on function metrics.ship(generation integer, repository bigint, service bigint, since timestamp with time zone, until timestamp with time zone, most integer) is 'Derives again what follows from the deployments of a service since a moment: all since then is done again, and nothing before but what these mark. With an end, before which nothing follows from later ones, and a bound, so many changes are shipped at a time: false when there are more.';

-- function metrics.ship_taken_off(generation integer, repository bigint, service bigint, after jsonb, most integer)
CREATE OR REPLACE FUNCTION metrics.ship_taken_off(generation integer, repository bigint, service bigint, after jsonb, most integer)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET enable_seqscan TO 'off'
AS $function$
#variable_conflict use_column
declare
  reached jsonb;
  first_id bigint;
begin
  select d.id
  into first_id
  from metrics.service_deployments as d
  where d.generation = ship_taken_off.generation
    and d.service_id = service
    and d.outcome = 'success'
  order by d.at, d.external_id collate "C", d.reference collate "C"
  limit 1;
  with part as materialized (
    select t.ctid as row_id, t.line, t.position, t.gone_position
    from metrics.changes as t
    where t.generation = ship_taken_off.generation
      and t.repository_id = repository
      and t.gone_position is not null
      and t.service_id + 0 = service
      and (t.line, t.gone_position, t.position)
        > (coalesce((after ->> 0)::integer, -1), coalesce((after ->> 1)::bigint, -1), coalesce((after ->> 2)::bigint, -1))
    order by t.line, t.gone_position, t.position
    limit most
  ),
  put as (
    update metrics.changes as c
    set
      shipped_by = f.id,
      shipped_at = f.at,
      is_first_shipped = f.id = first_id
    from part as p
    cross join lateral (
      select d.id, d.at
      from metrics.service_deployments as d
      where d.generation = ship_taken_off.generation
        and d.service_id = service
        and d.outcome = 'success'
        and d.line = p.line
        and d.position >= p.position
        and d.position < p.gone_position
      order by d.at, d.external_id collate "C", d.reference collate "C"
      limit 1
    ) as f
    where c.ctid = p.row_id
  )
  select jsonb_build_array(p.line, p.gone_position, p.position)
  into reached
  from part as p
  order by p.line desc, p.gone_position desc, p.position desc
  limit 1;
  return reached;
end
$function$;
comment on function metrics.ship_taken_off(generation integer, repository bigint, service bigint, after jsonb, most integer) is 'Says of so many changes that forced pushes took off what shipped them first, where nothing was said yet. Returns the place of the last, to go on after; NULL when there is none.';

-- function metrics.slowest_jobs(since date, until date, by text, repository text, team text, page_after text, page_size integer, pipeline text)
CREATE OR REPLACE FUNCTION metrics.slowest_jobs(since date DEFAULT NULL::date, until date DEFAULT NULL::date, by text DEFAULT 'duration'::text, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100, pipeline text DEFAULT NULL::text)
 RETURNS SETOF metrics.slow_job
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_tidscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_nestloop TO 'off'
 SET enable_sort TO 'off'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
declare
  fractions constant double precision[] := array[0.5, 0.75, 0.95];
  asked metrics.period;
  after jsonb;
  sorting text;
  horizon date;
  reference_ids bigint[];
  labels text[];
  first_week date;
  end_week date;
  from_weeks boolean;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(slowest_jobs.since, slowest_jobs.until, 'none', page_after, page_size);
  after := metrics.key_of_page(asked, array['number', 'string', 'string', 'string']);
  sorting := metrics.checked_word('by', slowest_jobs.by, array['duration', 'minutes']);
  select coalesce(array_agg(r.reference_id), '{}'), coalesce(array_agg(r.label), '{}')
  into reference_ids, labels
  from metrics.selected_references(slowest_jobs.repository, slowest_jobs.team) as r;
  horizon := metrics.job_horizon();
  first_week := date_trunc('week', asked.since::timestamp)::date;
  end_week := date_trunc('week', (asked.until + 6)::timestamp)::date;
  from_weeks := metrics.has_many_jobs(asked, reference_ids, slowest_jobs.pipeline, null);

  return query
  -- Several senders may tell of one repository, each by a reference of its own: a job is the same by all of them.
  with repositories as materialized (
    select r.reference_id, r.label, n.first_id
    from unnest(reference_ids, labels) as r (reference_id, label)
    join (
      select o.label, min(o.reference_id) as first_id
      from unnest(reference_ids, labels) as o (reference_id, label)
      group by o.label
    ) as n
      on n.label = r.label
  ),
  weeks as materialized (
    select w.week
    from metrics.kept_weeks_of(asked, from_weeks, reference_ids) as w
  ),
  stretches as materialized (
    select d.starts_at, d.ends_at, d.times
    from metrics.kept_days_of(asked, from_weeks) as d
  ),
  exactness as materialized (
    select
      not from_weeks
        and not exists (
          select
          from weeks as w
        ) as is_exact
  ),
  counted as materialized (
    select
      c.reference_id,
      c.pipeline,
      c.job,
      sum(c.runs) as runs,
      sum(c.seconds) as seconds,
      sum(c.duration_tally) as duration_tally,
      max(c.durations) as durations
    from (
      select
        r.first_id as reference_id,
        n.pipeline,
        n.job,
        sum(n.success + n.failure + n.timed_out + n.error + n.cancelled + n.skipped + n.neutral + n.unknown) as runs,
        sum(n.seconds) as seconds,
        sum(n.duration_tally) as duration_tally,
        null::double precision[] as durations
      from repositories as r
      cross join lateral (
        select
          f.week, f.pipeline, f.job, f.success, f.failure, f.timed_out, f.error, f.cancelled, f.skipped, f.neutral, f.unknown,
          f.seconds, f.duration_tally
        from metrics.job_weeks as f
        where f.generation = asked.generation
          and f.reference_id = r.reference_id
          and f.week >= first_week
          and f.week < end_week
          and (from_weeks or f.week < horizon)
          and (slowest_jobs.pipeline is null or f.pipeline = slowest_jobs.pipeline)
        offset 0
      ) as n
      where n.week in (select w.week from weeks as w)
      group by 1, 2, 3
      union all
      select
        p.reference_id,
        p.pipeline,
        p.job,
        p.times * p.runs,
        p.times * p.seconds,
        case when not x.is_exact then p.times * metrics.tally_of_all(p.durations) end,
        case
          when x.is_exact then (
            select percentile_disc(fractions) within group (order by v.seconds)
            from unnest(p.durations) as v (seconds)
          )
        end
      from exactness as x
      cross join (
        select
          r.first_id as reference_id,
          j.pipeline,
          j.job,
          s.times,
          count(*) as runs,
          coalesce(sum(j.duration_seconds::numeric), 0) as seconds,
          array_agg(j.duration_seconds) as durations
        from stretches as s
        cross join repositories as r
        cross join lateral (
          select coalesce(f.pipeline, '') as pipeline, coalesce(f.name, '') as job, f.duration_seconds
          from metrics.jobs as f
          where f.reference_id = r.reference_id
            and f.ended_at >= s.starts_at
            and f.ended_at < s.ends_at
            and (slowest_jobs.pipeline is null or coalesce(f.pipeline, '') = slowest_jobs.pipeline)
          offset 0
        ) as j
        group by 1, 2, 3, 4
      ) as p
    ) as c
    group by c.reference_id, c.pipeline, c.job
    having sum(c.runs) > 0
  ),
  lines as materialized (
    select
      r.label,
      c.pipeline,
      c.job,
      c.runs::bigint as runs,
      (c.seconds / 60)::double precision as minutes,
      q.lengths[1] as p50,
      q.lengths[2] as p75,
      q.lengths[3] as p95,
      coalesce(case when sorting = 'duration' then q.lengths[3] else (c.seconds / 60)::double precision end, -1) as size,
      count(*) over () as total
    from counted as c
    join repositories as r
      on r.reference_id = c.reference_id
    cross join exactness as x
    cross join lateral (
      select
        case
          when x.is_exact then c.durations
          else (
            select o.percentiles
            from metrics.percentiles_of(c.duration_tally, fractions) as o
          )
        end as lengths
      offset 0
    ) as q
  )
  select
    l.label,
    l.pipeline,
    l.job,
    l.runs,
    l.minutes,
    l.p50,
    l.p75,
    l.p95,
    case when l.p95 is null then 'too_few' end,
    x.is_exact,
    asked.since < horizon,
    jsonb_build_array(l.size, l.label, l.pipeline, l.job)::text,
    l.total
  from lines as l
  cross join exactness as x
  where after is null
    or l.size < (after ->> 0)::double precision
    or (
      l.size = (after ->> 0)::double precision
      and (l.label, l.pipeline, l.job) > ((after ->> 1) collate "C", (after ->> 2) collate "C", (after ->> 3) collate "C")
    )
  order by l.size desc, l.label collate "C", l.pipeline collate "C", l.job collate "C"
  limit asked.page_size;

  if not found and after is null then
    return query
    select
      null::text, null::text, null::text, null::bigint, null::double precision, null::double precision, null::double precision,
      null::double precision,
      case
        when reference_ids = '{}' and (slowest_jobs.repository is not null or slowest_jobs.team is not null) then 'unknown_service'
        when asked.until <= horizon then 'outside_retention'
        else 'too_few'
      end,
      null::boolean,
      case when reference_ids <> '{}' or num_nonnulls(slowest_jobs.repository, slowest_jobs.team) = 0 then asked.since < horizon end,
      null::text, 1::bigint;
  end if;
end
$function$;
grant execute on function metrics.slowest_jobs(since date, until date, by text, repository text, team text, page_after text, page_size integer, pipeline text) to authenticated;
grant execute on function metrics.slowest_jobs(since date, until date, by text, repository text, team text, page_after text, page_size integer, pipeline text) to metrics_reader;
comment on function metrics.slowest_jobs(since date, until date, by text, repository text, team text, page_after text, page_size integer, pipeline text) is 'Jobs, the slowest first: by duration, which is the 95th percentile of their seconds, or by minutes, which is all their time together. Without any job one row that says why.';

-- function metrics.slowest_jobs_evidence(since date, until date, repository text, team text, page_after text, page_size integer, pipeline text, job text)
CREATE OR REPLACE FUNCTION metrics.slowest_jobs_evidence(since date DEFAULT NULL::date, until date DEFAULT NULL::date, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100, pipeline text DEFAULT NULL::text, job text DEFAULT NULL::text)
 RETURNS SETOF metrics.evidence
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
begin
  return query
  select *
  from metrics.job_health_evidence(since, until, repository, team, null, page_after, page_size, pipeline, job);
end
$function$;
grant execute on function metrics.slowest_jobs_evidence(since date, until date, repository text, team text, page_after text, page_size integer, pipeline text, job text) to authenticated;
grant execute on function metrics.slowest_jobs_evidence(since date, until date, repository text, team text, page_after text, page_size integer, pipeline text, job text) to metrics_reader;
comment on function metrics.slowest_jobs_evidence(since date, until date, repository text, team text, page_after text, page_size integer, pipeline text, job text) is 'The jobs behind slowest_jobs that are still kept, by the time at which they ended; value is the seconds that each took.';

-- function metrics.spellings(name text)
CREATE OR REPLACE FUNCTION metrics.spellings(name text)
 RETURNS text[]
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO ''
AS $function$
  select array_agg(distinct lower(encode(convert_to(s.spelling, 'UTF8'), 'escape')))
  from (
    select name
    union all
    select replace(name, '/', '\/')
    union all
    select string_agg(
      case
        when b.byte = 32 then '+'
        when chr(b.byte) ~ '^[A-Za-z0-9_.~-]$' then chr(b.byte)
        else '%' || lpad(to_hex(b.byte), 2, '0')
      end,
      '' order by b.place
    )
    from (
      select get_byte(convert_to(name, 'UTF8'), p.place) as byte, p.place
      from generate_series(0, octet_length(convert_to(name, 'UTF8')) - 1) as p (place)
    ) as b
  ) as s (spelling)
$function$;
comment on function metrics.spellings(name text) is 'How a name may stand in a body, in lower case and with bytes that are no ASCII escaped.';

-- function metrics.step_health(since date, until date, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text)
CREATE OR REPLACE FUNCTION metrics.step_health(since date DEFAULT NULL::date, until date DEFAULT NULL::date, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, branch text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100, pipeline text DEFAULT NULL::text, job text DEFAULT NULL::text)
 RETURNS SETOF metrics.step_numbers
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
 SET enable_bitmapscan TO 'off'
 SET enable_sort TO 'off'
 SET enable_memoize TO 'off'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
declare
  asked metrics.period;
  after jsonb;
  horizon date;
  reference_ids bigint[];
  labels text[];
  all_jobs bigint;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(step_health.since, step_health.until, 'none', page_after, page_size);
  after := metrics.key_of_page(asked, array['string', 'string', 'string', 'number', 'string']);
  select coalesce(array_agg(r.reference_id), '{}'), coalesce(array_agg(r.label), '{}')
  into reference_ids, labels
  from metrics.selected_references(step_health.repository, step_health.team) as r;
  horizon := metrics.job_horizon();
  if asked.until > horizon then
    all_jobs := metrics.kept_jobs(asked, reference_ids, step_health.branch, step_health.pipeline, step_health.job);
  end if;

  return query
  with sample as materialized (
    select *
    from metrics.latest_jobs_with_steps(asked, reference_ids, step_health.branch, step_health.pipeline, step_health.job)
  ),
  -- Several senders may tell of one repository, each by a reference of its own: a job is the same by all of them.
  repositories as materialized (
    select r.reference_id, n.first_id
    from unnest(reference_ids, labels) as r (reference_id, label)
    join (
      select o.label, min(o.reference_id) as first_id
      from unnest(reference_ids, labels) as o (reference_id, label)
      group by o.label
    ) as n
      on n.label = r.label
  ),
  -- How long each took is collected beside the counts, and put in order only for the page.
  numbers as materialized (
    select
      g.first_id as reference_id,
      coalesce(j.pipeline, '') collate "C" as pipeline,
      coalesce(j.name, '') collate "C" as job,
      coalesce(s.name, '') collate "C" as step,
      coalesce(min(s.number), 0) as place,
      count(*) as runs,
      count(*) filter (where s.outcome = 'success') as success,
      count(*) filter (where s.outcome = 'failure') as failure,
      count(*) filter (where s.outcome = 'timed_out') as timed_out,
      count(*) filter (where s.outcome = 'error') as error,
      count(*) filter (where s.outcome = 'cancelled') as cancelled,
      count(*) filter (where s.outcome = 'skipped') as skipped,
      count(*) filter (where s.outcome = 'neutral') as neutral,
      count(*) filter (where s.outcome = 'unknown') as unknown,
      array_agg(s.finished_at - s.started_at) filter (where s.finished_at >= s.started_at) as lengths
    from sample as l
    join repositories as g
      on g.reference_id = l.reference_id
    cross join lateral (
      select *
      from metrics.jobs as e
      where e.reference_id = l.reference_id
        and e.external_id = l.external_id
      offset 0
    ) as j
    cross join lateral jsonb_to_recordset(j.steps) as s (
      number integer, name text, outcome text, started_at timestamptz, finished_at timestamptz
    )
    where s.outcome is not null
    group by 1, 2, 3, 4
  )
  select
    l.label,
    l.pipeline,
    l.job,
    l.step,
    l.runs,
    l.success,
    l.failure,
    l.timed_out,
    l.error,
    l.cancelled,
    l.skipped,
    l.neutral,
    l.unknown,
    l.success_rate,
    extract(epoch from p.lengths[1])::double precision,
    extract(epoch from p.lengths[2])::double precision,
    extract(epoch from p.lengths[3])::double precision,
    all_jobs,
    (
      select count(*)
      from sample as s
    ),
    case when num_nulls(l.success_rate, p.lengths[1]) > 0 then 'too_few' end,
    asked.since < horizon,
    jsonb_build_array(l.label, l.pipeline, l.job, l.place, l.step)::text,
    l.total
  from (
    select *
    from (
      select
        r.label,
        n.*,
        n.success::double precision / nullif(n.success + n.failure + n.timed_out + n.error, 0) as success_rate,
        count(*) over () as total
      from numbers as n
      join unnest(reference_ids, labels) as r (reference_id, label)
        on r.reference_id = n.reference_id
    ) as l
    where after is null
      or (l.label, l.pipeline, l.job, l.place, l.step)
        > ((after ->> 0) collate "C", (after ->> 1) collate "C", (after ->> 2) collate "C", (after ->> 3)::numeric, (after ->> 4) collate "C")
    order by l.label collate "C", l.pipeline collate "C", l.job collate "C", l.place, l.step collate "C"
    limit asked.page_size
  ) as l
  cross join lateral (
    select percentile_disc(array[0.5, 0.75, 0.95]) within group (order by u.length) as lengths
    from unnest(l.lengths) as u (length)
  ) as p
  order by l.label collate "C", l.pipeline collate "C", l.job collate "C", l.place, l.step collate "C";

  if not found and after is null then
    return query
    select
      null::text, null::text, null::text, null::text, null::bigint, null::bigint, null::bigint, null::bigint, null::bigint, null::bigint,
      null::bigint, null::bigint, null::bigint, null::double precision, null::double precision, null::double precision, null::double precision,
      case when reference_ids <> '{}' then all_jobs end,
      null::bigint,
      case
        when reference_ids = '{}' and (step_health.repository is not null or step_health.team is not null) then 'unknown_service'
        when asked.until <= horizon then 'outside_retention'
        else 'too_few'
      end,
      case when reference_ids <> '{}' or num_nonnulls(step_health.repository, step_health.team) = 0 then asked.since < horizon end,
      null::text, 1::bigint;
  end if;
end
$function$;
grant execute on function metrics.step_health(since date, until date, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text) to authenticated;
grant execute on function metrics.step_health(since date, until date, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text) to metrics_reader;
comment on function metrics.step_health(since date, until date, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text) is 'Finished steps by outcome, with success rate and exact percentiles of their seconds: of the latest 5000 jobs of the selection that tell their steps (sampled_jobs, of jobs). is_frozen: the period begins before the horizon, and jobs of that time are missing. Without any step one row that says why.';

-- function metrics.step_health_evidence(since date, until date, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text, step text)
CREATE OR REPLACE FUNCTION metrics.step_health_evidence(since date DEFAULT NULL::date, until date DEFAULT NULL::date, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, branch text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100, pipeline text DEFAULT NULL::text, job text DEFAULT NULL::text, step text DEFAULT NULL::text)
 RETURNS SETOF metrics.evidence
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
 SET enable_bitmapscan TO 'off'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
declare
  asked metrics.period;
  after metrics.evidence_key;
  reference_ids bigint[];
  labels text[];
begin
  perform metrics.require_reader();
  asked := metrics.period_of(step_health_evidence.since, step_health_evidence.until, 'none', page_after, page_size);
  after := metrics.evidence_after(asked);
  select coalesce(array_agg(r.reference_id), '{}'), coalesce(array_agg(r.label), '{}')
  into reference_ids, labels
  from metrics.selected_references(step_health_evidence.repository, step_health_evidence.team) as r;

  return query
  with sample as materialized (
    select l.reference_id, l.external_id, l.at, r.label
    from metrics.latest_jobs_with_steps(
      asked, reference_ids, step_health_evidence.branch, step_health_evidence.pipeline, step_health_evidence.job
    ) as l
    join unnest(reference_ids, labels) as r (reference_id, label)
      on r.reference_id = l.reference_id
  ),
  lines as materialized (
    select l.*, count(*) over () as total
    from sample as l
    where step_health_evidence.step is null
      or (
        select j.steps @> jsonb_build_array(jsonb_build_object('name', step_health_evidence.step))
        from metrics.jobs as j
        where j.reference_id = l.reference_id
          and j.external_id = l.external_id
      )
  ),
  page as materialized (
    select *
    from lines as l
    where after.happened_at is null
      or (l.at, l.label, l.external_id) > (after.happened_at, after.repository collate "C", after.external_id collate "C")
    order by l.at, l.label collate "C", l.external_id collate "C"
    limit asked.page_size
  )
  select
    l.at,
    l.label,
    null::text,
    'job',
    e.external_id,
    e.commit_sha,
    e.name,
    v.seconds,
    'seconds',
    case when v.seconds is null then 'too_few' end,
    e.url,
    jsonb_build_object(
      'pipeline', e.pipeline,
      'run_external_id', e.run_external_id,
      'attempt', e.attempt,
      'branch', e.branch,
      'outcome', e.outcome,
      'steps', e.steps
    ),
    metrics.evidence_page_key(l.at, l.label, 'job', e.external_id),
    l.total
  from page as l
  join metrics.jobs as e
    on e.reference_id = l.reference_id
    and e.external_id = l.external_id
  cross join lateral (
    select
      case
        when step_health_evidence.step is null then e.duration_seconds
        else (
          select sum(extract(epoch from s.finished_at - s.started_at)) filter (where s.finished_at >= s.started_at)
          from jsonb_to_recordset(e.steps) as s (name text, started_at timestamptz, finished_at timestamptz)
          where s.name = step_health_evidence.step
        )::double precision
      end as seconds
  ) as v
  order by l.at, l.label collate "C", l.external_id collate "C";
end
$function$;
grant execute on function metrics.step_health_evidence(since date, until date, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text, step text) to authenticated;
grant execute on function metrics.step_health_evidence(since date, until date, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text, step text) to metrics_reader;
comment on function metrics.step_health_evidence(since date, until date, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text, step text) is 'The jobs that step_health looked at, by the time at which they ended, with their steps; value is the seconds of the step, or of the job where none is named.';

-- function metrics.stretches_of(asked metrics.period)
CREATE OR REPLACE FUNCTION metrics.stretches_of(asked metrics.period)
 RETURNS TABLE(bucket_start date, starts_at timestamp with time zone, ends_at timestamp with time zone)
 LANGUAGE plpgsql
 IMMUTABLE ROWS 60
 SET search_path TO ''
AS $function$
#variable_conflict use_column
begin
  return query
  select
    b.bucket_start,
    b.first_day::timestamp at time zone asked.time_zone,
    b.end_day::timestamp at time zone asked.time_zone
  from metrics.buckets_of(asked) as b;
end
$function$;
grant execute on function metrics.stretches_of(asked metrics.period) to authenticated;
grant execute on function metrics.stretches_of(asked metrics.period) to metrics_reader;
comment on function metrics.stretches_of(asked metrics.period) is 'Each bucket of a period as moments.';

-- function metrics.take_off_all(generation integer, repository bigint, first_line integer, first_ordinal integer, fallen_back boolean)
CREATE OR REPLACE FUNCTION metrics.take_off_all(generation integer, repository bigint, first_line integer, first_ordinal integer, fallen_back boolean)
 RETURNS text[]
 LANGUAGE plpgsql
 SET search_path TO ''
 SET enable_seqscan TO 'off'
AS $function$
#variable_conflict use_column
declare
  first_position constant bigint := take_off_all.first_ordinal::bigint << 20;
  written text[];
  forced record;
begin
  with back as (
    update metrics.changes as c
    set
      gone_position = null,
      gone_reason = null
    where c.generation = take_off_all.generation
      and c.repository_id = repository
      and c.gone_position is not null
      and (take_off_all.first_ordinal = 0 or (c.line = first_line and (c.gone_position >= first_position or c.position >= first_position)))
    returning c.sha
  )
  select coalesce(array_agg(b.sha), '{}')
  into written
  from back as b;
  for forced in
    select m.line, m.ordinal
    from metrics.branch_moves as m
    where m.generation = take_off_all.generation
      and m.repository_id = repository
      and m.is_forced
      and (m.line, m.ordinal) >= (
        case when take_off_all.first_ordinal = 0 then 0 else first_line end,
        case when fallen_back then 0 else take_off_all.first_ordinal end
      )
      and m.line <= case when take_off_all.first_ordinal = 0 then 2147483647 else first_line end
    order by m.line, m.ordinal
  loop
    written := written || metrics.take_off_changes(take_off_all.generation, repository, forced.line, forced.ordinal, null);
  end loop;
  return written;
end
$function$;
comment on function metrics.take_off_all(generation integer, repository bigint, first_line integer, first_ordinal integer, fallen_back boolean) is 'Marks again what forced pushes took off the branch, from a place of a line on (ordinal 0: all). Returns what is marked otherwise.';

-- function metrics.take_off_changes(generation integer, repository bigint, line integer, ordinal integer, most integer)
CREATE OR REPLACE FUNCTION metrics.take_off_changes(generation integer, repository bigint, line integer, ordinal integer, most integer)
 RETURNS text[]
 LANGUAGE plpgsql
 SET search_path TO ''
 SET enable_seqscan TO 'off'
AS $function$
#variable_conflict use_column
declare
  taken_off_at constant bigint := take_off_changes.ordinal::bigint << 20;
  came_back_to bigint;
  written text[];
begin
  select max(o.place)
  into came_back_to
  from metrics.branch_moves as m
  join metrics.pushes as p
    on p.id = m.push_id
  cross join lateral metrics.places_of(take_off_changes.generation, repository, array[p.after]) as o
  where m.generation = take_off_changes.generation
    and m.repository_id = repository
    and m.line = take_off_changes.line
    and m.ordinal = take_off_changes.ordinal
    and o.line = take_off_changes.line
    and o.place < taken_off_at;
  with lost_now as (
    update metrics.changes as c
    set
      gone_position = taken_off_at,
      gone_reason = case when came_back_to is null then 'rewritten' else 'taken_off' end
    where c.ctid in (
      select t.ctid
      from metrics.changes as t
      where t.generation = take_off_changes.generation
        and t.repository_id = repository
        and t.line = take_off_changes.line
        and t.position < taken_off_at
        and t.position > coalesce(came_back_to, -1)
        and t.gone_position is null
      limit most
    )
    returning c.sha
  )
  select coalesce(array_agg(l.sha), '{}')
  into written
  from lost_now as l;
  return written;
end
$function$;
comment on function metrics.take_off_changes(generation integer, repository bigint, line integer, ordinal integer, most integer) is 'Marks what a forced push took off the branch, at most so many of them. Forced pushes are looked at in their order.';

-- function metrics.tally_of(bucket smallint)
CREATE OR REPLACE FUNCTION metrics.tally_of(bucket smallint)
 RETURNS numeric
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
begin
  -- The shortest time that two moments can lie apart, a microsecond, is in bucket -145.
  return ('1e' || 8 * greatest(bucket + 146, 0))::numeric;
end
$function$;
grant execute on function metrics.tally_of(bucket smallint) to authenticated;
grant execute on function metrics.tally_of(bucket smallint) to metrics_reader;
comment on function metrics.tally_of(bucket smallint) is 'A tally of one value in this bucket. A tally is a number each eight decimal digits of which are the count of one bucket: the last eight that of no time at all, the eight before them that of bucket -145, and so on.';

-- function metrics.tally_of_all(seconds double precision[])
CREATE OR REPLACE FUNCTION metrics.tally_of_all(seconds double precision[])
 RETURNS numeric
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
#variable_conflict use_column
begin
  return (
    select coalesce(sum(b.values * metrics.tally_of(b.bucket)), 0)
    from (
      select u.bucket, count(*) as values
      from (
        select
          case
            when v.seconds > 0 then greatest(floor(ln(v.seconds) / ln(1.1::double precision)), -32767)::smallint
            when v.seconds = 0 then (-32768)::smallint
          end as bucket
        from unnest(tally_of_all.seconds) as v (seconds)
      ) as u
      where u.bucket is not null
      group by u.bucket
    ) as b
  );
end
$function$;
grant execute on function metrics.tally_of_all(seconds double precision[]) to authenticated;
grant execute on function metrics.tally_of_all(seconds double precision[]) to metrics_reader;
comment on function metrics.tally_of_all(seconds double precision[]) is 'The tally of many values, each in its metrics.bucket_of; 0 for none.';

-- function metrics.team_named(team text)
CREATE OR REPLACE FUNCTION metrics.team_named(team text)
 RETURNS bigint
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
AS $function$
declare
  team_id bigint;
begin
  select t.id
  into team_id
  from metrics.teams as t
  where t.name = team;
  if not found then
    raise exception using
      errcode = 'P0002',
      message = format('no team is called %s', team),
      hint = 'Make it with metrics.add_team.';
  end if;
  return team_id;
end
$function$;
comment on function metrics.team_named(team text) is 'The team of this name. Raises P0002 for none.';

-- function metrics.test_health(since date, until date, bucket text, by text, repository text, team text, branch text, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.test_health(since date DEFAULT NULL::date, until date DEFAULT NULL::date, bucket text DEFAULT 'none'::text, by text DEFAULT 'nothing'::text, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, branch text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100)
 RETURNS TABLE(bucket_start date, name text, runs bigint, passed bigint, failed bigint, skipped bigint, pass_rate double precision, duration_p50_seconds double precision, duration_p95_seconds double precision, reason text, page_key text, total bigint)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_tidscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
declare
  asked metrics.period;
  grouped text;
  starts_at timestamptz;
  ends_at timestamptz;
  references_read bigint[];
  names text[];
  branches text[];
  is_unknown boolean;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, bucket, page_after, page_size);
  grouped := metrics.checked_word('by', by, array['nothing', 'repository', 'suite']);
  starts_at := metrics.midnight(asked.since, asked.time_zone);
  ends_at := metrics.midnight(asked.until, asked.time_zone);
  select
    coalesce(array_agg(s.reference_id), '{}'),
    coalesce(array_agg(s.label), '{}'),
    coalesce(array_agg(case when branch = 'default' then o.default_branch else branch end), '{}')
  into references_read, names, branches
  from metrics.selected_references(repository, team) as s
  join metrics.repositories as o
    on o.id = s.repository_id;
  is_unknown := names = '{}' and num_nonnulls(repository, team) > 0;

  return query
  with counted as materialized (
    select
      f.name,
      f.bucket_start,
      count(*) as runs,
      coalesce(sum(f.passed_count), 0) as passed,
      coalesce(sum(f.failed_count), 0) + coalesce(sum(f.error_count), 0) as failed,
      coalesce(sum(f.skipped_count), 0) as skipped,
      percentile_disc(array[0.5, 0.95]) within group (order by f.duration_seconds) as durations
    from (
      select
        case grouped
          when 'nothing' then ''
          when 'repository' then r.label
          else r.label || ' / ' || coalesce(t.suite, '')
        end as name,
        case
          when asked.bucket <> 'none' then date_trunc(asked.bucket, t.started_at at time zone asked.time_zone)::date
        end as bucket_start,
        t.*
      from unnest(references_read, names, branches) as r (reference_id, label, branch)
      cross join lateral (
        select u.suite, u.started_at, u.passed_count, u.failed_count, u.error_count, u.skipped_count, u.duration_seconds
        from metrics.test_runs as u
        where u.reference_id = r.reference_id
          and u.started_at >= starts_at
          and u.started_at < ends_at
          and (test_health.branch is null or u.branch = r.branch)
        offset 0
      ) as t
    ) as f
    group by f.name, f.bucket_start
  )
  select
    g.bucket_start,
    g.name,
    case when not is_unknown then coalesce(c.runs, 0) end,
    case when not is_unknown then coalesce(c.passed, 0) end,
    case when not is_unknown then coalesce(c.failed, 0) end,
    case when not is_unknown then coalesce(c.skipped, 0) end,
    c.passed::double precision / nullif(c.passed + c.failed, 0),
    c.durations[1],
    c.durations[2],
    case
      when is_unknown then 'unknown_service'
      when c.passed + c.failed > 0 and c.durations[1] is not null then null
      else 'too_few'
    end,
    g.page_key,
    g.total
  from metrics.page_of(
    asked,
    case
      when is_unknown or grouped = 'nothing' then array['']
      when grouped = 'repository' then array(select distinct n collate "C" from unnest(names) as n order by 1)
      else array(select distinct o.name collate "C" from counted as o order by 1)
    end,
    array['']
  ) as g
  left join counted as c
    on c.name = coalesce(g.name, '')
    and c.bucket_start is not distinct from g.bucket_start
  order by g.name collate "C" nulls first, g.bucket_start;
end
$function$;
grant execute on function metrics.test_health(since date, until date, bucket text, by text, repository text, team text, branch text, page_after text, page_size integer) to authenticated;
grant execute on function metrics.test_health(since date, until date, bucket text, by text, repository text, team text, branch text, page_after text, page_size integer) to metrics_reader;
comment on function metrics.test_health(since date, until date, bucket text, by text, repository text, team text, branch text, page_after text, page_size integer) is 'How tests went: uploads that started in the period, what became of their tests, the share that passed of those that passed or failed (errors among them), and the median and p95 of their duration in seconds; by bucket and by nothing, repository or suite. branch is a name, or default. Reasons: unknown_service, too_few. Raises 22023 for what cannot be asked.';

-- function metrics.test_health_evidence(since date, until date, repository text, team text, branch text, page_after text, page_size integer)
CREATE OR REPLACE FUNCTION metrics.test_health_evidence(since date DEFAULT NULL::date, until date DEFAULT NULL::date, repository text DEFAULT NULL::text, team text DEFAULT NULL::text, branch text DEFAULT NULL::text, page_after text DEFAULT NULL::text, page_size integer DEFAULT 100)
 RETURNS SETOF metrics.evidence
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
 SET plan_cache_mode TO 'force_custom_plan'
 SET enable_seqscan TO 'off'
 SET enable_tidscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_sort TO 'off'
AS $function$
#variable_conflict use_column
declare
  asked metrics.period;
  after metrics.evidence_key;
  starts_at timestamptz;
  ends_at timestamptz;
  references_read bigint[];
  names text[];
  branches text[];
  rows_in_all bigint;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, 'none', page_after, page_size);
  after := metrics.evidence_after(asked);
  starts_at := metrics.midnight(asked.since, asked.time_zone);
  ends_at := metrics.midnight(asked.until, asked.time_zone);
  select
    coalesce(array_agg(s.reference_id), '{}'),
    coalesce(array_agg(s.label), '{}'),
    coalesce(array_agg(case when branch = 'default' then o.default_branch else branch end), '{}')
  into references_read, names, branches
  from metrics.selected_references(repository, team) as s
  join metrics.repositories as o
    on o.id = s.repository_id;

  select coalesce(sum(t.runs), 0)
  into rows_in_all
  from unnest(references_read, branches) as r (reference_id, branch)
  cross join lateral (
    select count(*) as runs
    from metrics.test_runs as u
    where u.reference_id = r.reference_id
      and u.started_at >= starts_at
      and u.started_at < ends_at
      and (test_health_evidence.branch is null or u.branch = r.branch)
  ) as t;

  return query
  select
    e.started_at,
    e.label,
    null::text,
    'test_run',
    e.external_id,
    e.commit_sha,
    e.suite,
    e.passed::double precision / nullif(e.passed + e.failed, 0),
    'ratio',
    case when e.passed + e.failed > 0 then null else 'too_few' end,
    e.url,
    jsonb_build_object(
      'passed', e.passed,
      'failed', e.failed,
      'skipped', coalesce(e.skipped_count, 0),
      'duration_seconds', e.duration_seconds,
      'branch', e.branch,
      'pipeline', e.pipeline,
      'job', e.job
    ),
    metrics.evidence_page_key(e.started_at, e.label, 'test_run', e.external_id),
    rows_in_all
  from (
    select
      r.label,
      coalesce(t.passed_count, 0) as passed,
      coalesce(t.failed_count, 0) + coalesce(t.error_count, 0) as failed,
      t.*
    from unnest(references_read, names, branches) as r (reference_id, label, branch)
    -- A page of each reference, in the order of its index: the page of all is among them.
    cross join lateral (
      select
        u.external_id, u.suite, u.commit_sha, u.branch, u.pipeline, u.job, u.passed_count, u.failed_count, u.error_count, u.skipped_count,
        u.duration_seconds, u.started_at, u.url
      from metrics.test_runs as u
      where u.reference_id = r.reference_id
        and u.started_at >= greatest(after.happened_at, starts_at)
        and u.started_at < ends_at
        and (test_health_evidence.branch is null or u.branch = r.branch)
        and (
          after.happened_at is null
          or (u.started_at, r.label collate "C", 'test_run' collate "C", u.external_id collate "C")
            > (after.happened_at, after.repository, after.kind, after.external_id)
        )
      order by u.started_at, u.external_id collate "C"
      limit asked.page_size
    ) as t
    order by t.started_at, r.label collate "C", t.external_id collate "C"
    limit asked.page_size
  ) as e
  order by e.started_at, e.label collate "C", e.external_id collate "C";
end
$function$;
grant execute on function metrics.test_health_evidence(since date, until date, repository text, team text, branch text, page_after text, page_size integer) to authenticated;
grant execute on function metrics.test_health_evidence(since date, until date, repository text, team text, branch text, page_after text, page_size integer) to metrics_reader;
comment on function metrics.test_health_evidence(since date, until date, repository text, team text, branch text, page_after text, page_size integer) is 'The test runs behind test_health, in the order of their start: value is the share that passed, detail what became of the others.';

-- function metrics.test_names(ids bigint[])
CREATE OR REPLACE FUNCTION metrics.test_names(ids bigint[])
 RETURNS text
 LANGUAGE sql
 STABLE STRICT
 SET search_path TO ''
AS $function$
  select coalesce(
    jsonb_agg(jsonb_build_array(t.suite, t.name) order by t.suite collate "C", t.name collate "C"),
    '[]'
  )::text
  from metrics.tests as t
  where t.id = any(ids)
$function$;
comment on function metrics.test_names(ids bigint[]) is 'Names of tests as text, because ids depend on the order of arrival and must not decide a tie.';

-- function metrics.tests_of(asked metrics.period, reference_ids bigint[])
CREATE OR REPLACE FUNCTION metrics.tests_of(asked metrics.period, reference_ids bigint[])
 RETURNS metrics.test_counts
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_tidscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_nestloop TO 'off'
 SET jit TO 'off'
AS $function$
declare
  counts metrics.test_counts;
begin
  select
    coalesce(sum(n.times * n.runs), 0),
    coalesce(sum(n.times * n.passed), 0),
    coalesce(sum(n.times * n.failed), 0),
    coalesce(sum(n.times * n.skipped), 0)
  into counts
  from (
    select 1 as times, t.runs, t.passed, t.failed, t.skipped
    from unnest(tests_of.reference_ids) as r (reference_id)
    cross join lateral (
      select *
      from metrics.test_weeks as k
      where k.generation = asked.generation
        and k.reference_id = r.reference_id
        and k.week > asked.since - 7
        and k.week < asked.until
      offset 0
    ) as t
    where t.week in (
      select w.week
      from metrics.nearest_weeks_of(asked) as w
      where w.is_counted
    )
    union all
    select d.times, t.runs, t.passed, t.failed, t.skipped
    from metrics.days_off_weeks_of(asked) as d
    cross join unnest(tests_of.reference_ids) as r (reference_id)
    cross join lateral (
      select
        count(*) as runs,
        sum(coalesce(k.passed_count, 0)) as passed,
        sum(coalesce(k.failed_count, 0) + coalesce(k.error_count, 0)) as failed,
        sum(coalesce(k.skipped_count, 0)) as skipped
      from metrics.test_runs as k
      where k.reference_id = r.reference_id
        and k.started_at >= d.starts_at
        and k.started_at < d.ends_at
    ) as t
  ) as n;
  return counts;
end
$function$;
grant execute on function metrics.tests_of(asked metrics.period, reference_ids bigint[]) to authenticated;
grant execute on function metrics.tests_of(asked metrics.period, reference_ids bigint[]) to metrics_reader;
comment on function metrics.tests_of(asked metrics.period, reference_ids bigint[]) is 'What became of tests in a period, which is to have one bucket.';

-- function metrics.tier_of(generation integer, environment text, said text)
CREATE OR REPLACE FUNCTION metrics.tier_of(generation integer, environment text, said text)
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  seen record;
begin
  if environment is null then
    return coalesce(said, 'other');
  end if;
  select e.ruled_tier, e.usual_tier
  into seen
  from metrics.environments as e
  where e.generation = tier_of.generation
    and e.name = environment;
  if not found then
    select
      (
        select r.tier
        from metrics.environment_rules as r
        where r.generation = tier_of.generation
          and environment ~ r.pattern
        order by r.position
        limit 1
      ) as ruled_tier,
      case
        when n.name ~ '(^|[^a-z])(stag|staging|stage|stg|preprod|pre-prod|uat)([^a-z]|$)' then 'staging'
        when n.name ~ '(^|[^a-z])(prod|production|live|prd)([^a-z]|$)' then 'production'
        when n.name ~ '(^|[^a-z])(dev|development|test|testing|qa|preview|review|sandbox|local)([^a-z]|$)' then 'development'
        else 'other'
      end as usual_tier
    into seen
    from (select lower(environment) as name) as n;
    insert into metrics.environments (generation, name, ruled_tier, usual_tier)
    values (tier_of.generation, environment, seen.ruled_tier, seen.usual_tier)
    on conflict do nothing;
  end if;
  return coalesce(seen.ruled_tier, said, seen.usual_tier);
end
$function$;
comment on function metrics.tier_of(generation integer, environment text, said text) is 'The tier of an environment: by an admin''s rule, else what the sender said, else what such a name usually means. Matched once for each name.';

-- function metrics.week_of(at timestamp with time zone, time_zone text)
CREATE OR REPLACE FUNCTION metrics.week_of(at timestamp with time zone, time_zone text)
 RETURNS date
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
begin
  return date_trunc('week', at at time zone time_zone)::date;
end
$function$;
grant execute on function metrics.week_of(at timestamp with time zone, time_zone text) to authenticated;
grant execute on function metrics.week_of(at timestamp with time zone, time_zone text) to metrics_reader;
comment on function metrics.week_of(at timestamp with time zone, time_zone text) is 'The Monday of the ISO week that this moment lies in, in a time zone.';

-- function metrics.with_test_ids(facts jsonb)
CREATE OR REPLACE FUNCTION metrics.with_test_ids(facts jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
begin
  -- One look-up for each name, here and below, as a query that the planner cannot turn round: while it believes the table to be empty, as it
  -- does until it is analysed, it would read the table first and compare each test with each name.
  insert into metrics.tests (reference_id, suite, name)
  -- In the order of bytes, which is found faster than that of a language: any order will do that all callers keep.
  select distinct n.reference_id, n.suite collate "C", n.name collate "C"
  from (
    select r.id as reference_id, coalesce(f.said ->> 'suite', '') as suite, t.name
    from jsonb_array_elements(facts -> 'test_runs') as f (said)
    cross join lateral (
      select q.id
      from metrics.repository_references as q
      where q.reference = f.said ->> 'repository'
      offset 0
    ) as r
    cross join lateral (
      select jsonb_array_elements_text(nullif(f.said -> 'passed', 'null'))
      union all
      select jsonb_array_elements_text(nullif(f.said -> 'skipped', 'null'))
    ) as t (name)
    union all
    select r.id, coalesce(f.said ->> 'suite', ''), f.said ->> 'name'
    from jsonb_array_elements(facts -> 'test_cases') as f (said)
    cross join lateral (
      select q.id
      from metrics.repository_references as q
      where q.reference = f.said ->> 'repository'
      offset 0
    ) as r
  ) as n
  where (
    select t.id
    from metrics.tests as t
    where t.reference_id = n.reference_id
      and t.suite = n.suite
      and t.name = n.name
  ) is null
  order by 1, 2, 3
  on conflict do nothing;

  return facts
    || case
      when facts ? 'test_cases' then jsonb_build_object(
        'test_cases',
        (
          select coalesce(jsonb_agg(f.said || jsonb_build_object('test_id', i.id)), '[]')
          from jsonb_array_elements(facts -> 'test_cases') as f (said)
          cross join lateral (
            select t.id
            from metrics.tests as t
            where t.reference_id = (
                select r.id
                from metrics.repository_references as r
                where r.reference = f.said ->> 'repository'
              )
              and t.suite = coalesce(f.said ->> 'suite', '')
              and t.name = f.said ->> 'name'
            offset 0
          ) as i
        )
      )
      else '{}'
    end
    || case
      when facts ? 'test_runs' then jsonb_build_object(
        'test_runs',
        (
          select coalesce(jsonb_agg(f.said || ids.list), '[]')
          from jsonb_array_elements(facts -> 'test_runs') as f (said)
          cross join lateral (
            select q.id
            from metrics.repository_references as q
            where q.reference = f.said ->> 'repository'
            offset 0
          ) as r
          cross join lateral (
            select coalesce(jsonb_object_agg(k.key, (
              select jsonb_agg(distinct i.id order by i.id)
              from jsonb_array_elements_text(f.said -> k.key) as n (name)
              cross join lateral (
                select t.id
                from metrics.tests as t
                where t.reference_id = r.id
                  and t.suite = coalesce(f.said ->> 'suite', '')
                  and t.name = n.name
                offset 0
              ) as i
            )), '{}') as list
            from (values ('passed'), ('skipped')) as k (key)
            where jsonb_typeof(f.said -> k.key) = 'array'
              and f.said -> k.key <> '[]'
          ) as ids
        )
      )
      else '{}'
    end;
end
$function$;
comment on function metrics.with_test_ids(facts jsonb) is 'Facts with the numbers of tests in place of their names; tests that are new get a number.';

-- function metrics.write_deployments(generation integer, repository bigint, commits text[], ids text[])
CREATE OR REPLACE FUNCTION metrics.write_deployments(generation integer, repository bigint, commits text[], ids text[])
 RETURNS TABLE(service_id bigint, since timestamp with time zone, began_since timestamp with time zone)
 LANGUAGE plpgsql
 SET search_path TO ''
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'on'
AS $function$
#variable_conflict use_column
declare
  siblings constant bigint[] := array(select r.id from metrics.repository_references as r where r.repository_id = repository);
begin
  return query
  with wanted as materialized (
    select w.*, p.line, p.position
    from metrics.deployments_of(write_deployments.generation, repository, commits, ids) as w
    left join lateral (
      select c.line, c.position
      from metrics.changes as c
      where c.sha = w.commit_sha
        and c.generation + 0 = write_deployments.generation
        and c.repository_id + 0 = repository
      limit 1
    ) as p
      on true
  ),
  present as materialized (
    select d.id, d.service_id, d.reference_id, d.external_id, d.at, d.began_at
    from unnest(commits) as s (sha)
    cross join lateral (
      select o.id, o.service_id, o.reference_id, o.external_id, o.at, o.began_at
      from metrics.service_deployments as o
      where o.commit_sha = s.sha
        and o.generation + 0 = write_deployments.generation
        and o.repository_id + 0 = repository
        and o.kind = 'deployment'
      offset 0
    ) as d
    union
    select d.id, d.service_id, d.reference_id, d.external_id, d.at, d.began_at
    from unnest(siblings) as r (id)
    cross join unnest(ids) as i (external_id)
    cross join lateral (
      select o.id, o.service_id, o.reference_id, o.external_id, o.at, o.began_at
      from metrics.service_deployments as o
      where o.generation + 0 = write_deployments.generation
        and o.reference_id = r.id
        and o.external_id = i.external_id
        and (o.kind = 'release' or (o.kind = 'deployment' and o.commit_sha is null))
      offset 0
    ) as d
    union
    select d.id, d.service_id, d.reference_id, d.external_id, d.at, d.began_at
    from unnest(siblings) as r (id)
    cross join unnest(ids) as i (external_id)
    join metrics.pipeline_runs as p
      on p.reference_id = r.id
      and p.external_id = i.external_id
    cross join lateral (
      select o.id, o.service_id, o.reference_id, o.external_id, o.at, o.began_at
      from metrics.service_deployments as o
      where o.generation + 0 = write_deployments.generation
        and o.reference_id = r.id
        and o.external_id = p.external_id || '#' || p.attempt
        and o.kind = 'pipeline_run'
      offset 0
    ) as d
    union
    select d.id, d.service_id, d.reference_id, d.external_id, d.at, d.began_at
    from wanted as w
    cross join lateral (
      select o.id, o.service_id, o.reference_id, o.external_id, o.at, o.began_at
      from metrics.service_deployments as o
      where o.generation + 0 = write_deployments.generation
        and o.reference_id = w.reference_id
        and o.external_id = w.external_id
        and o.service_id + 0 = w.service_id
      offset 0
    ) as d
  ),
  stale as materialized (
    select p.*
    from present as p
    left join wanted as w
      on w.service_id = p.service_id
      and w.reference_id = p.reference_id
      and w.external_id = p.external_id
    where w.service_id is null
  ),
  unmarked as (
    delete from metrics.deployment_failures as f
    using stale as s
    where f.failed_id = s.id
      or f.mended_by = s.id
    returning f.service_id, f.failed_id
  ),
  gone as (
    delete from metrics.service_deployments as d
    using stale as s
    where d.id = s.id
    returning d.service_id, d.at, d.began_at
  ),
  put as (
    insert into metrics.service_deployments as t (
      generation, repository_id, service_id, kind, reference_id, external_id, reference, environment, commit_sha, outcome, began_at, at,
      member_ids, line, position
    )
    select
      write_deployments.generation, repository, w.service_id, w.kind, w.reference_id, w.external_id, w.reference, w.environment, w.commit_sha,
      w.outcome, w.began_at, w.at, w.member_ids, w.line, w.position
    from wanted as w
    on conflict on constraint service_deployment_is_unique do update set
      kind = excluded.kind,
      environment = excluded.environment,
      commit_sha = excluded.commit_sha,
      outcome = excluded.outcome,
      began_at = excluded.began_at,
      at = excluded.at,
      member_ids = excluded.member_ids,
      line = excluded.line,
      position = excluded.position,
      is_first = false,
      is_redeploy = false
    where (t.kind, t.environment, t.commit_sha, t.outcome, t.began_at, t.at, t.member_ids, t.line, t.position)
      is distinct from (
        excluded.kind, excluded.environment, excluded.commit_sha, excluded.outcome, excluded.began_at, excluded.at, excluded.member_ids,
        excluded.line, excluded.position
      )
    returning t.id, t.service_id, t.at, t.began_at
  ),
  -- A deployment that was marked by one that is gone is looked at again, too.
  marked as (
    select u.service_id, d.at, d.began_at
    from unmarked as u
    join metrics.service_deployments as d
      on d.id = u.failed_id
  )
  select c.service_id, min(c.at), min(c.began_at)
  from (
    select g.service_id, g.at, g.began_at
    from gone as g
    union all
    select p.service_id, p.at, p.began_at
    from put as p
    union all
    select p.service_id, o.at, o.began_at
    from put as p
    join present as o
      on o.id = p.id
    union all
    select m.service_id, m.at, m.began_at
    from marked as m
  ) as c
  group by c.service_id;
end
$function$;
comment on function metrics.write_deployments(generation integer, repository bigint, commits text[], ids text[]) is 'Writes the production deployments of these commits, and of these ids where they have none, and runs and releases of these ids. Returns from when on each service changed.';

-- procedure metrics.compile_fold(IN kind text, IN key_columns text[], IN rank text, IN rank_first boolean)
CREATE OR REPLACE PROCEDURE metrics.compile_fold(IN kind text, IN key_columns text[], IN rank text DEFAULT '0'::text, IN rank_first boolean DEFAULT false)
 LANGUAGE plpgsql
 SET search_path TO ''
AS $procedure$
declare
  relation constant regclass := format('metrics.%I', kind)::regclass;
  is_update constant boolean := kind = 'repositories';
  time_text constant text := $$coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-')$$;
  sequence_text constant text := $$coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '')$$;
  clock text;
  names text;
  said_values text;
  said_clocks text;
  assignments text;
  kept_clocks text;
  later_assignments text;
  latest_kept text;
  change text;
  keys text;
  key_values text;
  from_clause text;
  keyed_clause text;
  at_once text := '';
  bad text;
begin
  select string_agg(c.name, ', ')
  into bad
  from metrics.fold_columns(relation) as c
  where c.rule = 'latest'
    and metrics.comparable('x', c.name, c.type) is null;
  if bad is not null then
    raise exception 'metrics.%: no order is known for the type of %', kind, bad;
  end if;

  select
    string_agg(format('%I', c.name), ', ' order by c.place),
    string_agg(
      case
        when c.name = 'reference_id' then 'r.id'
        -- A lead that was not said is NULL anyway; its mates count only when it was.
        when c.rule = 'latest' and c.lead <> c.name then format('case when said ? %L then o.%I end', c.lead, c.name)
        when c.rule = 'union' then format('(select array_agg(distinct u order by u) from unnest(o.%I) as u)', c.name)
        else format('o.%I', c.name)
      end,
      E',\n        ' order by c.place
    ),
    string_agg(
      format(
        case c.rule
          when 'earliest' then '%1$I = least(t.%1$I, excluded.%1$I)'
          when 'union' then
            '%1$I = (select array_agg(distinct u order by u) from unnest(coalesce(t.%1$I, ''{}'') || coalesce(excluded.%1$I, ''{}'')) as u)'
          else '%1$I = case when %2$s then excluded.%1$I else t.%1$I end'
        end,
        c.name,
        c.later
      ),
      E',\n        ' order by c.place
    ),
    string_agg(
      case c.rule
        when 'earliest' then format('excluded.%1$I < coalesce(t.%1$I, ''infinity'')', c.name)
        when 'union' then format('not (coalesce(excluded.%1$I, ''{}'') <@ coalesce(t.%1$I, ''{}''))', c.name)
        else case when c.lead = c.name then format('(%s)', c.later) end
      end,
      E'\n      or ' order by c.place
    ),
    string_agg(
      format('%1$L, case when said ? %1$L then c.clock end', case when c.name = 'reference_id' then 'repository' else c.name end),
      E',\n          ' order by c.place
    ) filter (where c.rule = 'latest' and c.lead = c.name),
    string_agg(
      format('%1$L, greatest((excluded.clocks ->> %1$L) collate "C", t.clocks ->> %1$L)', c.name),
      E',\n          ' order by c.place
    ) filter (where c.rule = 'latest' and c.lead = c.name),
    string_agg(
      format(
        case c.rule
          when 'earliest' then '%1$I = least(t.%1$I, excluded.%1$I)'
          when 'union' then
            '%1$I = (select array_agg(distinct u order by u) from unnest(coalesce(t.%1$I, ''{}'') || coalesce(excluded.%1$I, ''{}'')) as u)'
          else '%1$I = case when excluded.clocks ? %2$L then excluded.%1$I else t.%1$I end'
        end,
        c.name,
        c.lead
      ),
      E',\n          ' order by c.place
    ),
    string_agg(format('(t.clocks ->> %L) collate "C"', c.name), ', ' order by c.place) filter (where c.rule = 'latest' and c.lead = c.name)
  into names, said_values, assignments, change, said_clocks, kept_clocks, later_assignments, latest_kept
  from metrics.fold_columns(relation) as c
  where c.rule is not null;

  -- The observation says "repository", the table keeps reference_id: one name for the clock of both.
  said_clocks := replace(said_clocks, '''repository'', case', '''reference_id'', case');
  said_values := replace(said_values, 'said ? ''reference_id''', 'said ? ''repository''');

  clock := case
    when rank_first then format($$(%s)::text || ' ' || %s || %s$$, rank, time_text, sequence_text)
    else format($$%s || ' ' || (%s)::text || %s$$, time_text, rank, sequence_text)
  end;

  select
    string_agg(format('%I', k), ', ' order by n),
    string_agg(
      case k
        when 'reference_id' then 'r.id'
        when 'id' then 'r.repository_id'
        when 'attempt' then 'coalesce(o.attempt, 1)'
        else format('o.%I', k)
      end,
      ', ' order by n
    )
  into keys, key_values
  from unnest(key_columns) with ordinality as u (k, n);

  from_clause := format(
    $f$from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.%I, said) as o
      %s join metrics.repository_references as r
        on r.reference = said ->> 'repository'$f$,
    kind,
    case when 'reference_id' = any(key_columns) or is_update then 'inner' else 'left' end
  );

  -- Only what makes the key is read to find out which observations share one.
  select format(
    $f$from jsonb_array_elements(observations) as e (said)
        %s
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'$f$,
    'cross join lateral jsonb_to_record(said) as o (' || string_agg(format('%I %s', c.name, c.type), ', ' order by c.place) || ')'
  )
  into keyed_clause
  from metrics.fold_columns(relation) as c
  where c.name = any(key_columns)
    and c.name not in ('reference_id', 'id');

  if not is_update then
    at_once := format(
      $body$
  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.%1$I := jsonb_populate_record(null::metrics.%1$I, said);
      clock constant text := %2$s;
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.%1$I as t (%3$s, %4$s, clocks)
      values (
        %5$s,
        %6$s,
        jsonb_strip_nulls(jsonb_build_object(
          %7$s
        ))
      )
      on conflict (%3$s) do update set
          %8$s,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest(%9$s), '');
      if found then
        return;
      end if;
    end;
  end if;
$body$,
      kind,
      clock,
      keys,
      names,
      key_values,
      said_values,
      replace(said_clocks, 'c.clock', 'clock'),
      later_assignments,
      latest_kept
    );
  end if;

  execute format('drop function if exists metrics.%I(jsonb)', 'fold_' || kind);
  execute format(
    $create$
create function metrics.%1$I(observations jsonb)
returns void
language plpgsql
set search_path = ''
as $fold$
declare
  batch jsonb;
  batches jsonb[];
begin
%5$s
  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by %2$s) as n
      %3$s
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by %2$s) as n
        %3$s
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop
%4$s
  end loop;
end
$fold$
    $create$,
    'fold_' || kind,
    key_values,
    keyed_clause,
    case
      when is_update then format(
        $body$
    update metrics.%1$I as t
    set
        %2$s,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          %3$s
        )),
        updated_at = now()
    from (
      select
        %4$s as %5$s,
        %6$s,
        jsonb_strip_nulls(jsonb_build_object(
          %7$s
        )) as clocks
      %8$s
      cross join lateral (select %9$s as clock offset 0) as c
    ) as excluded
    where t.%5$s = excluded.%5$s
      and (
        %10$s
      );$body$,
        kind,
        assignments,
        kept_clocks,
        key_values,
        keys,
        -- A derived table needs its columns named.
        (
          select string_agg(format('case when said ? %L then o.%I end as %I', c.lead, c.name, c.name), E',\n        ' order by c.place)
          from metrics.fold_columns(relation) as c
          where c.rule = 'latest'
        ),
        said_clocks,
        from_clause,
        clock,
        change
      )
      else format(
        $body$
    insert into metrics.%1$I as t (%2$s, %3$s, clocks)
    select
        %4$s,
        %5$s,
        jsonb_strip_nulls(jsonb_build_object(
          %6$s
        ))
      %7$s
      cross join lateral (select %8$s as clock offset 0) as c
    order by %9$s
    on conflict (%2$s) do update set
        %10$s,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          %11$s
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (%12$s) is distinct from (%13$s);$body$,
        kind,
        keys,
        names,
        key_values,
        said_values,
        said_clocks,
        from_clause,
        clock,
        (select string_agg(n::text, ', ') from generate_series(1, cardinality(key_columns)) as n),
        assignments,
        kept_clocks,
        (select string_agg(format('excluded.%I', c.name), ', ' order by c.place) from metrics.fold_columns(relation) as c where c.rule is not null),
        (select string_agg(format('t.%I', c.name), ', ' order by c.place) from metrics.fold_columns(relation) as c where c.rule is not null)
      )
    end,
    at_once
  );
  execute format('revoke execute on function metrics.%I(jsonb) from public', 'fold_' || kind);
  execute format(
    'comment on function metrics.%I(jsonb) is %L',
    'fold_' || kind,
    format('Folds a list of observations into metrics.%s. Written by metrics.compile_fold from the rules in its columns'' comments.', kind)
  );
  execute format('comment on column metrics.%I.clocks is %L', kind, 'Clock of the observation that each latest column, or group by its first column, comes from.');
  execute format('comment on column metrics.%I.updated_at is %L', kind, 'When this row last changed here. Never part of a fact.');
  if 'reference_id' = any(key_columns) then
    execute format('comment on column metrics.%I.reference_id is %L', kind, 'Repository reference, as the sender named it.');
  end if;
end
$procedure$;
comment on procedure metrics.compile_fold(IN kind text, IN key_columns text[], IN rank text, IN rank_first boolean) is 'Writes the function that folds observations into a fact table, from the merge rules in the table''s comments.';
