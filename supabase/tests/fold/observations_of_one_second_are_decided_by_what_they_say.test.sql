begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(2);

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

create function pg_temp.both_orders(one jsonb, two jsonb)
returns setof text
language sql
as $$
  select pg_temp.tell('a' || one::text || two::text, jsonb_build_object('pull_requests', jsonb_build_array(one || '{"repository": "github:1", "number": 1}', two || '{"repository": "github:1", "number": 1}')));
  select pg_temp.tell('b' || one::text || two::text, jsonb_build_object('pull_requests', jsonb_build_array(two || '{"repository": "github:2", "number": 1}', one || '{"repository": "github:2", "number": 1}')));
  select distinct concat_ws(' ', state, title, is_draft, coalesce(base_branch, 'null')) from metrics.pull_requests
$$;
select results_eq(
  $$select * from pg_temp.both_orders(
    '{"observed_at": "2026-11-02T10:00:00Z", "state": "closed", "title": "Z", "is_draft": false, "base_branch": null}',
    '{"observed_at": "2026-11-02T10:00:00Z", "state": "merged", "title": "a", "is_draft": true, "base_branch": "main"}'
  )$$,
  array['merged a t main'],
  'by the rank of the state in either order: all that the higher one says'
);
select results_eq(
  $$select * from pg_temp.both_orders(
    '{"observed_at": "2026-11-02T11:00:00Z", "state": "open", "title": "Z", "is_draft": false, "base_branch": null}',
    '{"observed_at": "2026-11-02T11:00:00Z", "state": "open", "title": "a", "is_draft": true, "base_branch": "main"}'
  )$$,
  array['open a t main'],
  'and with equal ranks by the value: bytes of a text, true over false, anything over nothing'
);

select * from finish();
rollback;
