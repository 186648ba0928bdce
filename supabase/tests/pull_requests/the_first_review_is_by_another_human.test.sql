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

select pg_temp.tell('all', '{
  "reviews": [
    {"repository": "github:1", "external_id": "1", "pull_request_number": 1, "reviewer": "ann", "state": "commented", "submitted_at": "2026-11-02T10:01:00Z"},
    {"repository": "github:1", "external_id": "2", "pull_request_number": 1, "reviewer": "robot", "reviewer_is_bot": true, "state": "approved", "submitted_at": "2026-11-02T10:02:00Z"},
    {"repository": "github:1", "external_id": "3", "pull_request_number": 2, "reviewer": "bob", "state": "approved", "submitted_at": "2026-11-02T10:03:00Z"},
    {"repository": "github:1", "external_id": "4", "pull_request_number": 1, "reviewer": "bob", "state": "commented", "submitted_at": "2026-11-02T10:04:00Z"},
    {"repository": "github:1", "external_id": "5", "pull_request_number": 1, "reviewer": "cid", "state": "approved", "submitted_at": "2026-11-02T10:05:00Z"}
  ],
  "pull_requests": [{"repository": "github:1", "number": 1, "author": "ann", "opened_at": "2026-11-02T10:00:00Z"}]
}');
select is((select first_review_at from metrics.pull_requests), '2026-11-02T10:04:00Z'::timestamptz, 'neither the author''s, nor a bot''s, nor another pull request''s');
select is((select approved_at from metrics.pull_requests), '2026-11-02T10:05:00Z'::timestamptz, 'approved later');
select pg_temp.tell('late', '{"reviews": [{"repository": "github:1", "external_id": "6", "pull_request_number": 1, "reviewer": "dan", "state": "approved", "submitted_at": "2026-11-02T10:03:30Z"}]}');
select is((select first_review_at from metrics.pull_requests), '2026-11-02T10:03:30Z'::timestamptz, 'an earlier one that comes late is the first');

select * from finish();
rollback;
