begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(1);

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

select pg_temp.tell('one', '{"pushes": [{"repository": "github:1", "ref": "refs/heads/main", "before": "a", "after": "b", "pushed_at": null, "forced": false}]}');
select pg_temp.tell('two', '{"pushes": [{"repository": "github:1", "ref": "refs/heads/main", "before": "a", "after": "b", "pusher": "ann"}]}');
select pg_temp.tell('three', '{"pushes": [{"repository": "github:1", "ref": "refs/heads/main", "before": "a", "after": "b", "pushed_at": "2026-11-02T10:00:00Z"}]}');
select results_eq(
  'select pushed_at, forced, pusher from metrics.pushes order by pushed_at nulls first',
  $$values (null::timestamptz, false, 'ann'), ('2026-11-02T10:00:00Z', null, null)$$,
  'nothing equals nothing; a known time is another push'
);

select * from finish();
rollback;
