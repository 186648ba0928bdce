begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(6);

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

create function pg_temp.job(id text, at text)
returns jsonb
language sql
as $$
  select jsonb_build_object(
    'repository', 'github:1', 'external_id', id, 'pipeline', 'build', 'name', 'test', 'status', 'finished', 'outcome', 'success',
    'started_at', at::timestamptz - interval '60 s', 'finished_at', at
  )
$$;

-- The week of 29 June 2026 has two working days in June and three in July; that of 22 June lies in June.
select pg_temp.tell('jobs', jsonb_build_object('jobs', jsonb_build_array(
  pg_temp.job('1', '2026-06-23T12:00:00Z'),
  pg_temp.job('2', '2026-06-29T12:00:00Z'),
  pg_temp.job('3', '2026-06-30T12:00:00Z'),
  pg_temp.job('4', '2026-07-01T12:00:00Z'),
  pg_temp.job('5', '2026-07-06T12:00:00Z')
)));
select metrics.move_job_horizon('2026-07-06');
delete from metrics.jobs
where ended_at < '2026-07-06T00:00:00Z';

select results_eq(
  $$select bucket_start, runs, is_frozen from metrics.job_health('2026-06-01', '2026-08-01', 'month')$$,
  $$values (date '2026-06-01', 1::bigint, true), ('2026-07-01', 4, true)$$,
  'the days that lie in June are counted with the week'
);
select results_eq(
  $$select bucket_start, jobs, minutes, is_frozen from metrics.pipeline_cost('2026-06-01', '2026-08-01', 'month')$$,
  $$values (date '2026-06-01', 1::bigint, 1::float8, true), ('2026-07-01', 4, 4, true)$$,
  'and what they cost'
);
select results_eq(
  $$select runs, is_frozen from metrics.slowest_jobs('2026-07-01', '2026-08-01')$$,
  $$values (4::bigint, true)$$,
  'and how long they took'
);
select results_eq(
  $$select runs, is_frozen from metrics.job_health('2026-06-24', '2026-07-06')$$,
  $$values (4::bigint, true)$$,
  'a period that begins on Wednesday has the whole week'
);
select results_eq(
  $$select runs, is_frozen from metrics.job_health('2026-06-25', '2026-07-06')$$,
  $$values (3::bigint, true)$$,
  'and one that begins on Thursday has none of it'
);
select results_eq(
  $$select runs, reason from metrics.job_health('2026-06-29', '2026-07-01')$$,
  $$values (null::bigint, 'outside_retention')$$,
  'nothing is known of two working days'
);

select * from finish();
rollback;
