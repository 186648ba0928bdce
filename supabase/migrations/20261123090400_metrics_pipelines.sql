-- What CI did: pipeline runs and their jobs.

set lock_timeout = '2s';
set statement_timeout = '60s';

create table if not exists metrics.pipeline_runs (
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
  queued_at timestamptz,
  started_at timestamptz,
  finished_at timestamptz,
  queue_seconds double precision generated always as (
    case when started_at >= queued_at then extract(epoch from started_at - queued_at) end
  ) stored,
  duration_seconds double precision generated always as (
    case when finished_at >= started_at then extract(epoch from finished_at - started_at) end
  ) stored,
  ended_at timestamptz generated always as (
    case when outcome is not null then coalesce(finished_at, started_at, queued_at) end
  ) stored,
  url text,
  is_first_try boolean not null default true,
  is_last_try boolean not null default true,
  clocks jsonb not null default '{}',
  updated_at timestamptz not null default now(),
  constraint pipeline_runs_pkey primary key (reference_id, external_id, attempt),
  constraint attempt_is_counted_from_one check (attempt >= 1),
  constraint status_is_known check (status in ('queued', 'running', 'finished')),
  constraint outcome_is_known check (
    outcome in ('success', 'failure', 'timed_out', 'error', 'cancelled', 'skipped', 'neutral', 'unknown')
  ),
  constraint outcome_waits_for_the_end check ((status = 'finished') or (outcome is null and finished_at is null)),
  constraint finished_has_an_outcome check (status is distinct from 'finished' or outcome is not null)
);

create index if not exists pipeline_runs_unknown_outcome_idx
  on metrics.pipeline_runs (reference_id)
  where outcome = 'unknown';

create index if not exists pipeline_runs_rerun_group_idx
  on metrics.pipeline_runs (reference_id, rerun_group)
  where rerun_group is not null;

create index if not exists pipeline_runs_ended_at_idx
  on metrics.pipeline_runs (reference_id, ended_at)
  where ended_at is not null;

comment on table metrics.pipeline_runs is 'One attempt of a workflow or pipeline each. Clocks compare by rank of the state, then time.';
comment on column metrics.pipeline_runs.external_id is 'The sender''s id of the run.';
comment on column metrics.pipeline_runs.attempt is 'The provider''s own number of the attempt, else 1.';
comment on column metrics.pipeline_runs.rerun_group is 'Runs with the same text are tries of the same thing. Merge: latest.';
comment on column metrics.pipeline_runs.pipeline is 'Name of the workflow or pipeline. Merge: latest.';
comment on column metrics.pipeline_runs.number is 'The provider''s running number. Merge: latest.';
comment on column metrics.pipeline_runs.trigger is 'What started it, in the provider''s word. Merge: latest.';
comment on column metrics.pipeline_runs.branch is 'Head branch. Merge: latest.';
comment on column metrics.pipeline_runs.on_default_branch is 'Whether it ran on the default branch, where the sender says. Merge: latest.';
comment on column metrics.pipeline_runs.commit_sha is 'Commit that it ran for. Merge: latest.';
comment on column metrics.pipeline_runs.pull_request_numbers is 'Pull requests that it ran for; providers leave forks out. Merge: latest.';
comment on column metrics.pipeline_runs.actor is 'Login of who started it. Merge: latest.';
comment on column metrics.pipeline_runs.actor_is_bot is 'Whether the actor is a bot. Merge: latest, with actor.';
comment on column metrics.pipeline_runs.status is 'queued, running or finished. Merge: latest.';
comment on column metrics.pipeline_runs.outcome is 'How it ended; NULL until finished. Merge: latest, with status.';
comment on column metrics.pipeline_runs.provider_outcome is 'The provider''s own word for it. Merge: latest, with status.';
comment on column metrics.pipeline_runs.queued_at is 'When it was asked for. Merge: earliest.';
comment on column metrics.pipeline_runs.started_at is 'When it started. Merge: earliest.';
comment on column metrics.pipeline_runs.finished_at is 'When it ended. Merge: latest, with status.';
comment on column metrics.pipeline_runs.queue_seconds is 'Seconds from queued to started; NULL when either is missing or the clock runs backwards.';
comment on column metrics.pipeline_runs.duration_seconds is 'Seconds from started to finished, without the queue; NULL when either is missing or the clock runs backwards.';
comment on column metrics.pipeline_runs.ended_at is 'When it ended, for counting: finished_at, else started_at, else queued_at; NULL until finished. A column, because under row level security an index on an expression is not used.';
comment on column metrics.pipeline_runs.url is 'Link to the provider. Merge: latest.';
comment on column metrics.pipeline_runs.is_first_try is 'Derived: whether it is the first of the finished runs of its rerun_group, by queued_at, started_at or finished_at, then attempt, then external_id. True until finished, and without a group.';
comment on column metrics.pipeline_runs.is_last_try is 'Derived: whether it is the last of the finished runs of its rerun_group, in the same order. True until finished, and without a group.';

create table if not exists metrics.jobs (
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
  queued_at timestamptz,
  started_at timestamptz,
  finished_at timestamptz,
  queue_seconds double precision generated always as (
    case when started_at >= queued_at then extract(epoch from started_at - queued_at) end
  ) stored,
  duration_seconds double precision generated always as (
    case when finished_at >= started_at then extract(epoch from finished_at - started_at) end
  ) stored,
  ended_at timestamptz generated always as (
    case when outcome is not null then coalesce(finished_at, started_at, queued_at) end
  ) stored,
  flaky_key bigint generated always as (
    case
      when outcome in ('success', 'failure', 'timed_out') and commit_sha is not null
        then hashtextextended(commit_sha || ' ' || coalesce(pipeline, '') || ' ' || coalesce(name, ''), 0)
    end
  ) stored,
  steps jsonb,
  url text,
  clocks jsonb not null default '{}',
  updated_at timestamptz not null default now(),
  constraint jobs_pkey primary key (reference_id, external_id),
  constraint attempt_is_counted_from_one check (attempt >= 1),
  constraint status_is_known check (status in ('queued', 'running', 'finished')),
  constraint outcome_is_known check (
    outcome in ('success', 'failure', 'timed_out', 'error', 'cancelled', 'skipped', 'neutral', 'unknown')
  ),
  constraint outcome_waits_for_the_end check ((status = 'finished') or (outcome is null and finished_at is null)),
  constraint finished_has_an_outcome check (status is distinct from 'finished' or outcome is not null),
  constraint steps_are_a_list check (jsonb_typeof(steps) = 'array')
);

create index if not exists jobs_unknown_outcome_idx
  on metrics.jobs (reference_id)
  where outcome = 'unknown';

create index if not exists jobs_ended_at_idx
  on metrics.jobs (reference_id, ended_at)
  where ended_at is not null;

-- What is flaky failed and passed for one commit: from the few that failed to those that passed.
create index if not exists jobs_failed_idx
  on metrics.jobs (reference_id, ended_at)
  where outcome in ('failure', 'timed_out');

create index if not exists jobs_passed_idx
  on metrics.jobs (reference_id, flaky_key)
  where outcome = 'success';

-- For retention: jobs arrive nearly in the order of their time, so block ranges are enough and cost next to nothing.
create index if not exists jobs_time_idx
  on metrics.jobs
  using brin ((coalesce(finished_at, started_at, queued_at, updated_at)));

comment on table metrics.jobs is 'One attempt of a job within a run each. Clocks compare by rank of the state, then time.';
comment on column metrics.jobs.external_id is 'The sender''s id of the job.';
comment on column metrics.jobs.run_external_id is 'The sender''s id of its run. Merge: latest.';
comment on column metrics.jobs.attempt is 'Attempt of the run that it belongs to. Merge: latest.';
comment on column metrics.jobs.pipeline is 'Name of its workflow or pipeline, where the job itself says it. Merge: latest.';
comment on column metrics.jobs.name is 'Name with its matrix values. Merge: latest.';
comment on column metrics.jobs.branch is 'Head branch. Merge: latest.';
comment on column metrics.jobs.commit_sha is 'Commit that it ran for. Merge: latest.';
comment on column metrics.jobs.runner_labels is 'Labels of the runner that it asked for. Merge: latest.';
comment on column metrics.jobs.status is 'queued, running or finished. Merge: latest.';
comment on column metrics.jobs.outcome is 'How it ended; NULL until finished. Merge: latest, with status.';
comment on column metrics.jobs.provider_outcome is 'The provider''s own word for it. Merge: latest, with status.';
comment on column metrics.jobs.queued_at is 'When it was asked for. Merge: earliest.';
comment on column metrics.jobs.started_at is 'When it started. Merge: earliest.';
comment on column metrics.jobs.finished_at is 'When it ended. Merge: latest, with status.';
comment on column metrics.jobs.queue_seconds is 'Seconds from queued to started; NULL when either is missing or the clock runs backwards.';
comment on column metrics.jobs.duration_seconds is 'Seconds from started to finished, without the queue; NULL when either is missing or the clock runs backwards.';
comment on column metrics.jobs.ended_at is 'When it ended, for counting: finished_at, else started_at, else queued_at; NULL until finished. A column, because under row level security an index on an expression is not used.';
comment on column metrics.jobs.flaky_key is 'The same number for jobs of one commit, pipeline and name that passed or failed: one of them is found by another.';
comment on column metrics.jobs.steps is 'Its steps in order: number, name, status, outcome, started_at, finished_at. Merge: latest.';
comment on column metrics.jobs.url is 'Link to the provider. Merge: latest.';
