begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(4);

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

-- Five runs: three are in the success rate, two tell how long they took, and one how long it waited.
select pg_temp.tell('runs', '{"pipeline_runs": [
  {"repository": "github:1", "external_id": "1", "status": "finished", "outcome": "success", "queued_at": "2026-03-03T10:00:00Z", "started_at": "2026-03-03T10:00:10Z", "finished_at": "2026-03-03T10:01:00Z"},
  {"repository": "github:1", "external_id": "2", "status": "finished", "outcome": "failure", "started_at": "2026-03-03T11:00:00Z", "finished_at": "2026-03-03T11:01:00Z"},
  {"repository": "github:1", "external_id": "3", "status": "finished", "outcome": "timed_out", "finished_at": "2026-03-03T12:00:00Z"},
  {"repository": "github:1", "external_id": "4", "status": "finished", "outcome": "skipped", "finished_at": "2026-03-03T13:00:00Z"},
  {"repository": "github:1", "external_id": "5", "status": "finished", "outcome": "cancelled", "finished_at": "2026-03-03T14:00:00Z"}
]}');
select results_eq(
  $$select metric, sample_size from metrics.overview('2026-03-02', '2026-03-09') where section = 'pipelines'$$,
  $$values ('success_rate', 3::bigint), ('duration', 2), ('queue', 1)$$,
  'each number of the first screen says how many it is of'
);
select results_eq(
  $$select runs, duration_sample_size, queue_sample_size from metrics.pipeline_health('2026-03-02', '2026-03-09')$$,
  $$values (5::bigint, 2::bigint, 1::bigint)$$,
  'as the number itself does'
);
select results_eq(
  $$select metric, sample_size from metrics.overview('2026-03-09', '2026-03-16') where section = 'pipelines'$$,
  $$values ('success_rate', 0::bigint), ('duration', 0), ('queue', 0)$$,
  'of none'
);

-- So many that they are counted by week.
select pg_temp.tell('many', jsonb_build_object('pipeline_runs', (
  select jsonb_agg(jsonb_build_object(
    'repository', 'github:1', 'external_id', 'many ' || n, 'status', 'finished',
    'outcome', case when n % 2 = 0 then 'success' else 'skipped' end,
    'started_at', case when n % 2 = 0 then '2026-03-04T10:00:00Z' end, 'finished_at', '2026-03-04T10:01:00Z'
  ))
  from generate_series(1, 3000) as s (n)
)));
select results_eq(
  $$select runs, is_exact, duration_sample_size, queue_sample_size from metrics.pipeline_health('2026-03-02', '2026-03-09')$$,
  $$values (3005::bigint, false, 1502::bigint, 1::bigint)$$,
  'also where runs are counted by week'
);

select * from finish();
rollback;
