begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(3);

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

-- A fact that ended so many seconds after it began.
create function pg_temp.took(id text, seconds integer, named jsonb)
returns jsonb
language sql
as $$
  select named || jsonb_build_object(
    'repository', 'github:1', 'external_id', id, 'status', 'finished', 'outcome', 'success', 'queued_at', '2026-03-03T10:00:00Z',
    'started_at', '2026-03-03T10:00:00Z', 'finished_at', timestamptz '2026-03-03T10:00:00Z' + make_interval(secs => seconds)
  )
$$;

select pg_temp.tell('jobs', jsonb_build_object(
  'repositories', '[{"repository": "github:1", "full_name": "acme/app"}, {"repository": "github:2", "full_name": "acme/app / ci"}]'::jsonb,
  'jobs', jsonb_build_array(
    pg_temp.took('1', 10, '{"pipeline": "ci", "name": "call / test"}'),
    pg_temp.took('2', 2, '{"pipeline": "ci / call", "name": "test"}'),
    pg_temp.took('3', 20, '{"pipeline": "ci / call", "name": "test"}')
  ),
  'pipeline_runs', jsonb_build_array(
    pg_temp.took('1', 10, '{"pipeline": "ci / call"}'),
    pg_temp.took('2', 20, '{"pipeline": "ci / call"}'),
    pg_temp.took('3', 90, '{"pipeline": "call"}') || '{"repository": "github:2"}'
  )
));
select results_eq(
  $$select name, runs, duration_p50_seconds, duration_p75_seconds, duration_p95_seconds, total
    from metrics.job_health('2026-03-02', '2026-03-09', by => 'job')$$,
  $$values ('acme/app / ci / call / test', 3::bigint, 10::float8, 20::float8, 20::float8, 1::bigint)$$,
  'jobs of one name are one row, with the percentiles of all'
);
select results_eq(
  $$select name, runs, duration_p50_seconds, duration_p95_seconds from metrics.job_health('2026-03-02', '2026-03-09', by => 'pipeline')$$,
  $$values ('acme/app / ci', 1::bigint, 10::float8, 10::float8), ('acme/app / ci / call', 2, 2, 20)$$,
  'where their pipelines have two names they are two'
);
select results_eq(
  $$select name, runs, duration_p50_seconds, duration_p75_seconds, duration_p95_seconds, total
    from metrics.pipeline_health('2026-03-02', '2026-03-09', by => 'pipeline')$$,
  $$values ('acme/app / ci / call', 3::bigint, 20::float8, 90::float8, 90::float8, 1::bigint)$$,
  'pipelines likewise'
);

select * from finish();
rollback;
