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

select pg_temp.tell('one', '{"pull_requests": [{"repository": "github:1", "number": 1, "ready_times": ["2026-11-02T12:00:00Z"]}]}');
select pg_temp.tell('two', '{"pull_requests": [{"repository": "github:1", "number": 1, "ready_times": ["2026-11-02T10:00:00Z", "2026-11-02T12:00:00Z"]}]}');
select pg_temp.tell('three', '{"pull_requests": [{"repository": "github:1", "number": 1, "ready_times": []}]}');
select is(
  (select ready_times from metrics.pull_requests),
  array['2026-11-02T10:00:00Z', '2026-11-02T12:00:00Z']::timestamptz[],
  'each once, in order'
);

select * from finish();
rollback;
