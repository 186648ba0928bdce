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

create temporary table report on commit drop as
select jsonb_build_object('test_runs', jsonb_build_array(jsonb_build_object('repository', 'github:1', 'external_id', '1', 'suite', 'all', 'passed', jsonb_agg('tests.module.TestClass.test_' || n)))) as facts
from generate_series(1, 10000) as n;

-- Tables that were never analysed: what is planned for a few rows must not take seconds for many.
set local statement_timeout = '4s';
select lives_ok($$select pg_temp.tell('one', (select facts from pg_temp.report))$$, 'ten thousand tests that are new are stored in half of the time that there is');
select lives_ok($$select pg_temp.tell('two', (select facts from pg_temp.report))$$, 'so are those that are known');
select is((select cardinality(passed) from metrics.test_runs), 10000, 'and each is told');

select * from finish();
rollback;
