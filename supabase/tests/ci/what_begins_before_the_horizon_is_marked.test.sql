begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(9);

-- A delivery from GitHub; its bytes are its id.
create function pg_temp.tell(id text, facts jsonb)
returns jsonb
language sql
as $$
  select metrics.ingest(
    jsonb_build_object(
      'source', 'github',
      'delivery_id', id,
      'event', 'told',
      'sha256', encode(sha256(convert_to(id, 'UTF8')), 'hex'),
      'size', length(id),
      'content_type', 'application/json',
      'result', 'stored'
    ),
    facts,
    encode(convert_to(id, 'UTF8'), 'base64')
  )
$$;

create function pg_temp.job(id text, outcome text, at text)
returns jsonb
language sql
as $$
  select jsonb_build_object(
    'repository', 'github:1', 'external_id', id, 'pipeline', 'build', 'name', 'test', 'branch', 'main', 'commit_sha', repeat('a', 40),
    'status', 'finished', 'outcome', outcome, 'queued_at', at::timestamptz - interval '70 s', 'started_at', at::timestamptz - interval '60 s',
    'finished_at', at,
    'steps', jsonb_build_array(jsonb_build_object(
      'number', 1, 'name', 'make', 'outcome', outcome, 'started_at', at::timestamptz - interval '60 s', 'finished_at', at
    ))
  )
$$;

select pg_temp.tell('jobs', jsonb_build_object('jobs', jsonb_build_array(
  pg_temp.job('1', 'failure', '2026-06-24T12:00:00Z'),
  pg_temp.job('2', 'success', '2026-06-24T13:00:00Z'),
  pg_temp.job('3', 'success', '2026-07-08T12:00:00Z')
)));
select results_eq(
  $$select commits, is_frozen, reason from metrics.flaky_jobs('2026-06-22', '2026-07-13')$$,
  $$values (1::bigint, false, null)$$,
  'while all are kept, one is flaky'
);
select metrics.move_job_horizon('2026-07-06');
delete from metrics.jobs
where ended_at < '2026-07-06T00:00:00Z';

select results_eq(
  $$select runs, is_frozen, reason from metrics.job_health('2026-06-22', '2026-07-13')$$,
  $$values (3::bigint, true, null)$$,
  'of all branches the counts of the weeks before are there, marked'
);
select results_eq(
  $$select bucket_start, runs, is_frozen, reason from metrics.job_health('2026-06-22', '2026-07-13', 'month', branch => 'main')$$,
  $$values (date '2026-06-01', null::bigint, true, 'outside_retention'), ('2026-07-01', 1, true, null)$$,
  'of a branch nothing is left of them: July begins before the horizon'
);
select results_eq(
  $$select commits, is_frozen, reason from metrics.flaky_jobs('2026-06-22', '2026-07-13')$$,
  $$values (null::bigint, true, 'outside_retention')$$,
  'that none is flaky is not said of jobs that are gone'
);
select is_empty($$select * from metrics.flaky_jobs('2026-07-06', '2026-07-13')$$, 'only of those that are kept');
select pg_temp.tell('flaky', jsonb_build_object('jobs', jsonb_build_array(
  pg_temp.job('4', 'failure', '2026-07-09T12:00:00Z')
)));
select results_eq(
  $$select commits, is_frozen, reason from metrics.flaky_jobs('2026-06-22', '2026-07-13')$$,
  $$values (1::bigint, true, null)$$,
  'one that is flaky in the rest is, and marked'
);
select results_eq(
  $$select step, runs, is_frozen, reason from metrics.step_health('2026-06-22', '2026-07-13')$$,
  $$values ('make', 2::bigint, true, null)$$,
  'steps are those of the rest'
);
select results_eq(
  $$select runs, is_frozen, reason from metrics.slowest_jobs('2026-06-22', '2026-07-13')$$,
  $$values (4::bigint, true, null)$$,
  'the slowest are counted with those weeks'
);
select results_eq(
  $$select is_frozen from metrics.job_health('2026-07-06', '2026-07-13', branch => 'main')
    union all
    select is_frozen from metrics.step_health('2026-07-06', '2026-07-13')
    union all
    select is_frozen from metrics.flaky_jobs('2026-07-06', '2026-07-13')$$,
  $$values (false), (false), (false)$$,
  'from the horizon on nothing is cut'
);

select * from finish();
rollback;
