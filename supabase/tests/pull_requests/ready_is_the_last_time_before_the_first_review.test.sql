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

select pg_temp.tell('one', '{"pull_requests": [{"repository": "github:1", "number": 1, "author": "ann", "is_draft": true, "opened_at": "2026-11-02T10:00:00Z"}]}');
select is((select ready_at from metrics.pull_requests), null::timestamptz, 'a draft is not ready');
select pg_temp.tell('two', '{"pull_requests": [{"repository": "github:1", "number": 1, "observed_at": "2026-11-02T11:00:00Z", "is_draft": false, "ready_times": ["2026-11-02T11:00:00Z"]}]}');
select is((select ready_at from metrics.pull_requests), '2026-11-02T11:00:00Z'::timestamptz, 'it is when it was marked so');
select pg_temp.tell('three', '{"reviews": [{"repository": "github:1", "external_id": "1", "pull_request_number": 1, "reviewer": "bob", "state": "commented", "submitted_at": "2026-11-02T12:00:00Z"}]}');
select pg_temp.tell('four', '{"pull_requests": [{"repository": "github:1", "number": 1, "observed_at": "2026-11-02T13:00:00Z", "ready_times": ["2026-11-02T13:00:00Z"]}]}');
select is((select ready_at from metrics.pull_requests), '2026-11-02T11:00:00Z'::timestamptz, 'again after a review changes nothing');
select pg_temp.tell('five', '{"pull_requests": [{"repository": "github:1", "number": 2, "author": "ann", "is_draft": false, "opened_at": "2026-11-02T10:00:00Z"}]}');
select is((select ready_at from metrics.pull_requests where number = 2), '2026-11-02T10:00:00Z'::timestamptz, 'what was never a draft was ready when it was opened');

select * from finish();
rollback;
