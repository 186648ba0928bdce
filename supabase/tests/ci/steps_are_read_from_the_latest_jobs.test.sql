begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(5);

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

select pg_temp.tell('repository', '{"repositories": [{"repository": "github:1", "full_name": "acme/app"}]}');
select pg_temp.tell('jobs', jsonb_build_object('jobs', jsonb_agg(jsonb_build_object(
  'repository', 'github:1', 'external_id', n::text, 'pipeline', 'build', 'name', 'test', 'status', 'finished', 'outcome', 'success',
  'finished_at', '2026-03-03T10:00:00Z'::timestamptz + make_interval(mins => n),
  'steps', case when n <= 4 then jsonb_build_array(
    jsonb_build_object(
      'number', 1, 'name', 'install', 'status', 'finished', 'outcome', case n when 1 then 'failure' else 'success' end,
      'started_at', '2026-03-03T10:00:00Z', 'finished_at', '2026-03-03T10:00:00Z'::timestamptz + make_interval(secs => n)
    ),
    jsonb_build_object('number', 2, 'name', 'run', 'status', 'finished', 'outcome', 'skipped')
  ) end
))))
from generate_series(1, 5) as n;

select results_eq(
  $$select repository, pipeline, job, step, runs, success, failure, skipped, success_rate, duration_p50_seconds, duration_p75_seconds,
      duration_p95_seconds, jobs, sampled_jobs, reason, total
    from metrics.step_health('2026-03-02', '2026-03-09')$$,
  $$values
    ('acme/app', 'build', 'test', 'install', 4::bigint, 3::bigint, 1::bigint, 0::bigint, 0.75::float8, 2::float8, 3::float8, 4::float8, 5::bigint,
      4::bigint, null::text, 2::bigint),
    ('acme/app', 'build', 'test', 'run', 4, 0, 0, 4, null, null, null, null, 5, 4, 'too_few', 2)$$,
  'each step in its place, of the jobs that tell their steps'
);
select results_eq(
  $$select s.step from metrics.step_health('2026-03-02', '2026-03-09', page_size => 1) as f
    cross join lateral metrics.step_health('2026-03-02', '2026-03-09', page_after => f.page_key) as s$$,
  array['run'],
  'page by page'
);
select results_eq(
  $$select external_id, value from metrics.step_health_evidence('2026-03-02', '2026-03-09', step => 'install')$$,
  $$values ('1', 1::float8), ('2', 2), ('3', 3), ('4', 4)$$,
  'the evidence is each job with the seconds of the step'
);
select results_eq(
  $$select runs, reason from metrics.step_health('2026-04-06', '2026-04-13')$$,
  $$values (null::bigint, 'too_few')$$,
  'nothing gives one row that says so'
);
select throws_ok(
  $$select metrics.step_health(page_after => '["acme/app"]')$$,
  '22023',
  '["acme/app"] is no key of a page',
  'a key of something else is refused'
);

select * from finish();
rollback;
