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

select pg_temp.tell('one', '{"repositories": [{"repository": "github:1", "full_name": "acme/app"}, {"repository": "gitlab:1", "full_name": "acme/app"}, {"repository": "github:2", "full_name": "acme/other"}]}');
select is(metrics.repository_named('acme/other'), metrics.repository_named('github:2'), 'by either');
select throws_ok($$select metrics.repository_named('acme/app')$$, '21000', 'several repositories are called acme/app', 'a name that two have is refused');
select isnt(metrics.repository_named('github:1'), metrics.repository_named('gitlab:1'), 'their references tell them apart');
select throws_ok($$select metrics.repository_named('acme/none')$$, 'P0002', 'no repository is called acme/none', 'a name that none has');

select * from finish();
rollback;
