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

select pg_temp.tell('pushes', '{
  "commits": [
    {"repository": "github:1", "sha": "a1", "authored_at": "2026-11-01T08:00:00Z"},
    {"repository": "github:1", "sha": "b1", "authored_at": "2026-11-02T08:00:00Z"},
    {"repository": "github:1", "sha": "b2", "authored_at": "2026-11-02T07:00:00Z"}
  ],
  "pushes": [
    {"repository": "github:1", "ref": "refs/heads/work", "before": "0", "after": "a1", "pushed_at": "2026-11-01T09:00:00Z", "commits": ["a1"]},
    {"repository": "github:1", "ref": "refs/heads/work", "before": "a1", "after": "b2", "pushed_at": "2026-11-02T09:00:00Z", "commits": ["b1", "b2"]}
  ]
}');
select pg_temp.tell('second', '{"pull_requests": [{"repository": "github:1", "number": 2, "head_branch": "work", "head_sha": "b2", "is_fork": false}]}');
select is((select first_commit_at from metrics.pull_requests where number = 2), '2026-11-01T08:00:00Z'::timestamptz, 'as long as no other pull request is known, all of the branch');
select pg_temp.tell('first', '{"pull_requests": [{"repository": "github:1", "number": 1, "head_branch": "work", "head_sha": "a1", "is_fork": false, "state": "closed", "closed_at": "2026-11-01T10:00:00Z"}]}');
select is((select first_commit_at from metrics.pull_requests where number = 2), '2026-11-02T07:00:00Z'::timestamptz, 'then what was pushed since, by when it was written');
select is((select first_commit_at from metrics.pull_requests where number = 1), '2026-11-01T08:00:00Z'::timestamptz, 'and the other has its own');
select pg_temp.tell('fork', '{"pull_requests": [{"repository": "github:1", "number": 3, "head_branch": "work", "head_sha": "b2", "is_fork": true}]}');
select is((select first_commit_at from metrics.pull_requests where number = 3), null::timestamptz, 'of a fork nothing is known');

select * from finish();
rollback;
