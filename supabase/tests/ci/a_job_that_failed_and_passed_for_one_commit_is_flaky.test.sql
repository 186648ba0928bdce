begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(7);

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

create function pg_temp.job(id text, sha text, outcome text, at text, name text default 'test')
returns jsonb
language sql
as $$
  select jsonb_build_object(
    'repository', 'github:1', 'external_id', id, 'pipeline', 'build', 'name', name, 'commit_sha', repeat(sha, 40), 'status', 'finished',
    'outcome', outcome, 'finished_at', at
  )
$$;

select pg_temp.tell('repository', '{"repositories": [{"repository": "github:1", "full_name": "acme/app"}]}');
select pg_temp.tell('jobs', jsonb_build_object('jobs', jsonb_build_array(
  pg_temp.job('1', 'a', 'failure', '2026-03-03T10:00:00Z'),
  pg_temp.job('2', 'a', 'success', '2026-03-03T11:00:00Z'),
  pg_temp.job('3', 'b', 'success', '2026-03-01T09:00:00Z'),
  pg_temp.job('4', 'b', 'timed_out', '2026-03-04T09:00:00Z'),
  pg_temp.job('5', 'c', 'failure', '2026-03-04T10:00:00Z'),
  pg_temp.job('6', 'c', 'success', '2026-03-11T10:00:01Z'),
  pg_temp.job('7', 'd', 'failure', '2026-03-05T10:00:00Z'),
  pg_temp.job('8', 'd', 'success', '2026-03-05T11:00:00Z', 'lint'),
  pg_temp.job('9', 'e', 'error', '2026-03-05T10:00:00Z'),
  pg_temp.job('10', 'e', 'success', '2026-03-05T11:00:00Z')
)));
select results_eq(
  $$select repository, pipeline, job, commits, failures, first_at, last_at, total from metrics.flaky_jobs('2026-03-02', '2026-03-09')$$,
  $$values ('acme/app', 'build', 'test', 2::bigint, 2::bigint, timestamptz '2026-03-03T10:00:00Z', timestamptz '2026-03-04T09:00:00Z', 1::bigint)$$,
  'for two commits: not more than a week apart, not by another job, and not where the machinery failed'
);
select results_eq(
  $$select external_id from metrics.flaky_jobs_evidence('2026-03-02', '2026-03-09')$$,
  array['3', '1', '2', '4'],
  'the evidence is what failed and what passed, also before the period'
);
select is_empty($$select * from metrics.flaky_jobs('2026-03-05', '2026-03-09')$$, 'where jobs ran and none is flaky, there is no row');
select results_eq(
  $$select commits, reason from metrics.flaky_jobs('2026-04-06', '2026-04-13')$$,
  $$values (null::bigint, 'too_few')$$,
  'where none ran, one that says so'
);
select results_eq(
  $$select commits, reason from metrics.flaky_jobs('2026-03-02', '2026-03-09', repository => 'acme/other')$$,
  $$values (null::bigint, 'unknown_service')$$,
  'and where the repository is not known'
);
select is(
  (select count(*) from metrics.flaky_jobs('2026-03-02', '2026-03-09', job => 'lint')),
  0::bigint,
  'of one job'
);
select results_eq(
  $$select 'job', commits, reason from metrics.flaky_jobs('2026-03-02', '2026-03-09', job => 'deploy')
    union all
    select 'pipeline', commits, reason from metrics.flaky_jobs('2026-03-02', '2026-03-09', pipeline => 'nightly')
    union all
    select 'branch', commits, reason from metrics.flaky_jobs('2026-03-02', '2026-03-09', branch => 'gone')$$,
  $$values ('job', null::bigint, 'too_few'), ('pipeline', null, 'too_few'), ('branch', null, 'too_few')$$,
  'of what did not run it is not said that it is not flaky'
);

select * from finish();
rollback;
