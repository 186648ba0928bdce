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

select pg_temp.tell('one', '{"test_runs": [{"repository": "github:1", "external_id": "1", "suite": "unit", "passed": ["b", "a"], "skipped": ["c"]}], "test_cases": [{"repository": "github:1", "test_run_external_id": "1", "suite": "unit", "name": "d", "outcome": "failed", "message": "no"}]}');
select pg_temp.tell('two', '{"test_runs": [{"repository": "github:1", "external_id": "2", "suite": "unit", "passed": ["a", "d"]}]}');
select is((select count(*) from metrics.tests), 4::bigint, 'four tests, each told once or twice');
select results_eq(
  $$select r.external_id, array(select t.name from metrics.tests as t where t.id = any(r.passed) order by t.name) from metrics.test_runs as r order by 1$$,
  $$values ('1', array['a', 'b']), ('2', array['a', 'd'])$$,
  'runs name them by number'
);
select is((select t.name from metrics.test_cases as c join metrics.tests as t on t.id = c.test_id), 'd', 'so do cases');
select is((select passed = array(select unnest(passed) order by 1) from metrics.test_runs where external_id = '1'), true, 'in ascending order');

select * from finish();
rollback;
