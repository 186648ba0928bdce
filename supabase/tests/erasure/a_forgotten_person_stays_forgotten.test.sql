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

select pg_temp.tell('one', '{"pull_requests": [{"repository": "github:1", "number": 1, "observed_at": "2026-11-02T10:00:00Z", "author": "ann", "author_is_bot": false, "title": "A"}]}');
select metrics.forget_person('ann');
select is((select author from metrics.pull_requests), null, 'she is forgotten');
select is(pg_temp.tell('one', '{"pull_requests": [{"repository": "github:1", "number": 1, "observed_at": "2026-11-02T10:00:00Z", "author": "ann", "author_is_bot": false, "title": "A"}]}') ->> 'result', 'duplicate', 'the delivery comes again');
select is((select author from metrics.pull_requests), null, 'and does not bring her back');

select * from finish();
rollback;
