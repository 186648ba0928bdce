begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(10);

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

select throws_ok(
  $$select pg_temp.tell('one', '{"jobs": [{"repository": "github:1", "external_id": "1"}, {"repository": "github:1", "external_id": "2", "status": "paused"}]}')$$,
  '23514', null, 'an unknown status'
);
select throws_ok($$select pg_temp.tell('one', '{"jobs": [{"external_id": "1"}]}')$$, '22023', 'facts without a repository: jobs', 'a fact about nothing');
select throws_ok($$select pg_temp.tell('one', '{"builds": [{"repository": "github:1"}]}')$$, '22023', 'unknown fact kind: builds', 'an unknown kind');
select throws_ok($$select pg_temp.tell('one', '{"jobs": [{"repository": "github:1"}]}')$$, '23502', null, 'no key');
select throws_ok($$select pg_temp.tell('one', '{"jobs": [{"repository": "somewhere", "external_id": "1"}]}')$$, '22023', null, 'a repository that is no reference');
select throws_ok($$select pg_temp.tell('one', '{"pushes": [{"repository": "github:1", "ref": "refs/heads/main", "before": "a", "after": "b", "pushed_at": "soon"}]}')$$, '22007', null, 'a time that is none');
select is_empty('select * from metrics.deliveries', 'no delivery');
select is_empty('select * from metrics.bodies', 'no body');
select is_empty('select * from metrics.jobs', 'no fact');
select is_empty('select * from metrics.repository_references', 'no repository');

select * from finish();
rollback;
