begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(8);

create function pg_temp.tell(id text, identity jsonb)
returns text
language sql
return metrics.ingest(
  jsonb_build_object(
    'source', 'github', 'delivery_id', id, 'sha256', encode(sha256(convert_to(id, 'UTF8')), 'hex'), 'result', 'stored', 'identity', identity
  ),
  '{"deployments": [{"repository": "gitlab:1", "external_id": "1"}]}'
) ->> 'result';
select metrics.create_token('build', array['github'], calls_per_minute => 1);

select is(pg_temp.tell('one', null), 'stored', 'it may tell what no identity may');
select is(pg_temp.tell('one', 'null'), 'duplicate', 'as ever');
select is(pg_temp.tell('two', 'null'), 'stored', 'as often as it likes');
select is_empty('select * from metrics.deliveries where identity_id is not null', 'nobody''s name is on it');
select is((select last_used_at from metrics.list_identities()), null, 'and nobody''s calls are counted for it');
select throws_ok($$select pg_temp.tell('three', '7')$$, '22023', 'identity needs an id, and a reference or null', 'an identity that is none is no webhook');
select throws_ok($$select pg_temp.tell('three', '{}')$$, '22023', null, 'nor is one without an id');
select throws_ok($$select pg_temp.tell('three', '{"id": 1, "reference": 1}')$$, '22023', null, 'nor one with half a reference');

select * from finish();
rollback;
