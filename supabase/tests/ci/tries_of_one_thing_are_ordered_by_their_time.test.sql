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

create function pg_temp.run(id text, queued_at text, outcome text, rerun_group text default 'deploy', observed_at text default '2026-03-03T12:00:00Z')
returns jsonb
language sql
as $$
  select pg_temp.tell(id || coalesce(rerun_group, '') || outcome, jsonb_build_object('pipeline_runs', jsonb_build_array(jsonb_build_object(
    'repository', 'github:1', 'external_id', id, 'observed_at', observed_at, 'rerun_group', rerun_group, 'pipeline', 'build',
    'status', 'finished', 'outcome', outcome, 'queued_at', queued_at, 'started_at', queued_at, 'finished_at', '2026-03-03T12:00:00Z'
  ))))
$$;

create function pg_temp.tries()
returns table (external_id text, is_first_try boolean, is_last_try boolean)
language sql
as $$
  select external_id, is_first_try, is_last_try
  from metrics.pipeline_runs
  order by external_id
$$;

select pg_temp.run('2', '2026-03-03T10:00:00Z', 'failure');
select results_eq('select * from pg_temp.tries()', $$values ('2', true, true)$$, 'one try is the first and the last');
select pg_temp.run('3', '2026-03-03T11:00:00Z', 'success');
select results_eq('select * from pg_temp.tries()', $$values ('2', true, false), ('3', false, true)$$, 'a later one is the last');
select pg_temp.run('1', '2026-03-03T09:00:00Z', 'timed_out');
select results_eq(
  'select * from pg_temp.tries()',
  $$values ('1', true, false), ('2', false, false), ('3', false, true)$$,
  'one that began before takes the place of the first, whenever it arrives'
);
select is(
  (
    select array[h.success_rate, h.first_try_success_rate, h.final_success_rate, h.rerun_rate]
    from metrics.pipeline_health('2026-03-02', '2026-03-09') as h
  ),
  array[1 / 3::float8, 0, 1, 2 / 3::float8],
  'a third of the attempts, no first try and the last one succeeded; two of three were tried again'
);
select pg_temp.tell('queued', '{"pipeline_runs": [{"repository": "github:1", "external_id": "4", "rerun_group": "deploy", "status": "queued", "queued_at": "2026-03-03T13:00:00Z"}]}');
select is((select is_last_try from metrics.pipeline_runs where external_id = '3'), true, 'one that has not ended takes no place');
select pg_temp.run('3', '2026-03-03T11:00:00Z', 'success', null, '2026-03-03T12:00:01Z');
select results_eq(
  $$select * from pg_temp.tries() where external_id <> '4'$$,
  $$values ('1', true, false), ('2', false, true), ('3', true, true)$$,
  'one that turns out to be no try of it is alone'
);
select is(
  (
    select array[sum(w.first_success), sum(w.last_success), sum(w.last_decided), sum(w.reruns)]
    from metrics.pipeline_spans as w
    where w.days = 7
      and not w.only_default_branch
      and not w.only_humans
  ),
  array[1, 1, 2, 1]::bigint[],
  'and is counted so'
);

select * from finish();
rollback;
