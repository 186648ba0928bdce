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

-- The Monday before which test cases are dropped, by the settings.
create function pg_temp.horizon()
returns date
language sql
as $$
  select date_trunc('week', ((now() - make_interval(days => test_case_days)) at time zone 'UTC'))::date
  from metrics.settings
$$;

-- Of one commit a test fails, an hour later it passes.
create function pg_temp.uploads(commit_sha text, at timestamptz)
returns jsonb
language sql
as $$
  select jsonb_build_object(
    'test_runs', jsonb_build_array(
      jsonb_build_object(
        'repository', 'github:1', 'external_id', commit_sha || '1', 'suite', 'unit', 'commit_sha', commit_sha, 'started_at', at,
        'passed', '[]'::jsonb, 'passed_count', 0, 'failed_count', 1, 'error_count', 0, 'skipped_count', 0
      ),
      jsonb_build_object(
        'repository', 'github:1', 'external_id', commit_sha || '2', 'suite', 'unit', 'commit_sha', commit_sha, 'started_at', at + interval '1 hour',
        'passed', '["wavers"]'::jsonb, 'passed_count', 1, 'failed_count', 0, 'error_count', 0, 'skipped_count', 0
      )
    ),
    'test_cases', jsonb_build_array(jsonb_build_object(
      'repository', 'github:1', 'test_run_external_id', commit_sha || '1', 'suite', 'unit', 'name', 'wavers', 'outcome', 'failed'
    ))
  )
$$;

select pg_temp.tell('old', pg_temp.uploads('a', pg_temp.horizon() at time zone 'UTC' - interval '3 days'));
update metrics.test_cases
set updated_at = pg_temp.horizon() at time zone 'UTC' - interval '2 days';
select pg_temp.tell('kept', pg_temp.uploads('b', pg_temp.horizon() at time zone 'UTC' + interval '8 days'));

select is((select before from metrics.horizons where fact = 'test_cases'), null, 'all are kept at first');
select results_eq(
  $$select test, commits, is_frozen, reason from metrics.flaky_tests(pg_temp.horizon() - 7, pg_temp.horizon())$$,
  $$values ('wavers', 1::bigint, false, null)$$,
  'and show what is flaky'
);
select is(metrics.maintain() #>> '{deleted,test_cases}', '1', 'the old one is dropped');
select is((select before from metrics.horizons where fact = 'test_cases'), pg_temp.horizon(), 'up to the horizon');
select results_eq(
  $$select test, commits, is_frozen, reason from metrics.flaky_tests(pg_temp.horizon() - 7, pg_temp.horizon())$$,
  $$values (null, null::bigint, true, 'outside_retention')$$,
  'of that time nobody knows any more'
);
select results_eq(
  $$select test, commits, is_frozen, reason from metrics.flaky_tests(pg_temp.horizon() - 7, pg_temp.horizon() + 14)$$,
  $$values ('wavers', 1::bigint, true, null)$$,
  'a period that begins before is marked'
);
select results_eq(
  $$select test, commits, is_frozen, reason from metrics.flaky_tests(pg_temp.horizon() - 7, pg_temp.horizon() + 7)$$,
  $$values (null, null::bigint, true, 'outside_retention')$$,
  'nor is anything said of it where nothing is left that is flaky'
);
select results_eq(
  $$select test, commits, is_frozen, reason from metrics.flaky_tests(pg_temp.horizon(), pg_temp.horizon() + 14)$$,
  $$values ('wavers', 1::bigint, false, null)$$,
  'one that begins at the horizon is whole'
);

update metrics.settings
set test_case_days = test_case_days + 70;
select metrics.maintain();
select is(
  (select before from metrics.horizons where fact = 'test_cases'),
  pg_temp.horizon() + 70,
  'the horizon never moves back'
);

select * from finish();
rollback;
