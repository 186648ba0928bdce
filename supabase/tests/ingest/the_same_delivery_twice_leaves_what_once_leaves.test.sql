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

select is(pg_temp.tell('one', '{"jobs": [{"repository": "github:1", "external_id": "1", "name": "test"}]}') ->> 'result', 'stored', 'the first time');
create temporary table earlier on commit drop as
select j.*, j.xmin as written_by
from metrics.jobs as j;
select is(pg_temp.tell('one', '{"jobs": [{"repository": "github:1", "external_id": "1", "name": "other"}]}') ->> 'result', 'duplicate', 'the second time');
select results_eq('select j.*, j.xmin from metrics.jobs as j', 'select * from earlier', 'the fact is what it was, and was not written again');
select is((select count(*) from metrics.deliveries), 1::bigint, 'one delivery');
select is((select count(*) from metrics.bodies), 1::bigint, 'one body');
select is(pg_temp.tell('two', '{"jobs": [{"repository": "github:1", "external_id": "1", "name": "test"}]}') ->> 'result', 'stored', 'the same fact told by another delivery');
select is((select count(*) from metrics.jobs), 1::bigint, 'is the same fact');

select * from finish();
rollback;
