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

select pg_temp.tell('many', (
  select jsonb_build_object('jobs', jsonb_agg(jsonb_build_object('repository', 'github:1', 'external_id', n)))
  from generate_series(1, 15) as n
));
select is(metrics.forget_repository('github:1', 10), '{"erased": 10, "done": false}'::jsonb, 'ten rows');
select is((select count(*) from metrics.jobs), 5::bigint, 'the others wait');
select is(metrics.forget_repository('github:1', 10) ->> 'done', 'true', 'until the next call');
select is_empty('select * from metrics.repositories', 'then the repository goes, too');
select throws_ok($$select metrics.forget_repository('github:1')$$, 'P0002', null, 'and is unknown');
select throws_ok($$select metrics.forget_repository('github:1', 0)$$, '22023', 'step is between 1 and 100000, not 0', 'a step that erases nothing is refused');
select throws_ok($$select metrics.forget_person('a')$$, '22023', null, 'so is a login that would be found everywhere');

select * from finish();
rollback;
