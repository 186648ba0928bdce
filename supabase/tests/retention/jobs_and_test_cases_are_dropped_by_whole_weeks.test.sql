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

create function pg_temp.horizon()
returns timestamptz
language sql
as $$
  select date_trunc('week', (now() - make_interval(days => job_days)) at time zone 'UTC') at time zone 'UTC'
  from metrics.settings
$$;
select pg_temp.tell('jobs', jsonb_build_object('jobs', jsonb_build_array(
  jsonb_build_object('repository', 'github:1', 'external_id', 'kept', 'queued_at', pg_temp.horizon()),
  jsonb_build_object('repository', 'github:1', 'external_id', 'dropped', 'queued_at', pg_temp.horizon() - interval '1 second'),
  jsonb_build_object(
    'repository', 'github:1', 'external_id', 'finished later', 'queued_at', pg_temp.horizon() - interval '1 second',
    'status', 'finished', 'outcome', 'success', 'finished_at', pg_temp.horizon()
  )
)));
select pg_temp.tell('tests', '{"test_cases": [{"repository": "github:1", "test_run_external_id": "1", "suite": "", "name": "old", "outcome": "failed"}, {"repository": "github:1", "test_run_external_id": "1", "suite": "", "name": "new", "outcome": "failed"}]}');
update metrics.test_cases
set updated_at = pg_temp.horizon() - interval '1 second'
where test_id = (select id from metrics.tests where name = 'old');
select is(metrics.maintain() #>> '{deleted,jobs}', '1', 'one job');
select set_eq('select external_id from metrics.jobs', array['kept', 'finished later'], 'the one of the week before, by its last time');
select is((select count(*) from metrics.test_cases), 1::bigint, 'and one test case');

select * from finish();
rollback;
