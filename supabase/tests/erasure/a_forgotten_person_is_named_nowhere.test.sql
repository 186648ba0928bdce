begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(7);

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

-- Ada is an admin; Vera and Otto are viewers, each of a team with a repository; Eve uses the app and is no member.
insert into auth.users (id, email, email_confirmed_at)
values
  ('00000000-0000-4000-8000-00000000000a', 'ada@example.com', now()),
  ('00000000-0000-4000-8000-000000000001', 'vera@example.com', now()),
  ('00000000-0000-4000-8000-000000000002', 'otto@example.com', now()),
  ('00000000-0000-4000-8000-00000000000e', 'eve@example.com', now());
insert into metrics.members (email, role, user_id, accepted_at)
values
  ('ada@example.com', 'admin', '00000000-0000-4000-8000-00000000000a', now()),
  ('vera@example.com', 'viewer', '00000000-0000-4000-8000-000000000001', now()),
  ('otto@example.com', 'viewer', '00000000-0000-4000-8000-000000000002', now());

select pg_temp.tell('ann was here', '{
  "pipeline_runs": [{"repository": "github:1", "external_id": "1", "actor": "ann", "actor_is_bot": false}],
  "pull_requests": [{"repository": "github:1", "number": 1, "author": "ann"}],
  "reviews": [{"repository": "github:1", "external_id": "1", "reviewer": "ann"}],
  "pushes": [{"repository": "github:1", "ref": "r", "before": "a", "after": "b", "pusher": "ann"}],
  "commits": [{"repository": "github:1", "sha": "a", "author": "ann"}, {"repository": "github:1", "sha": "b", "author": "anna"}],
  "deployments": [{"repository": "github:1", "external_id": "1", "actor": "ann"}],
  "measurements": [{"repository": "github:1", "name": "n", "external_id": "1", "value": 1, "attributes": {"who": "ann", "what": "x"}}]
}');
select pg_temp.tell('bob was here', '{}');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000a", "role": "authenticated"}', true);
set local role authenticated;

select is(metrics.forget_person('ann') ->> 'done', 'true', 'an admin forgets her');

reset role;
select set_config('request.jwt.claims', '', true);

select is_empty($$
  select 1 from metrics.pipeline_runs where actor = 'ann'
  union all select 1 from metrics.pull_requests where author = 'ann'
  union all select 1 from metrics.reviews where reviewer = 'ann'
  union all select 1 from metrics.pushes where pusher = 'ann'
  union all select 1 from metrics.commits where author = 'ann'
  union all select 1 from metrics.deployments where actor = 'ann'
$$, 'no fact names her');
select is((select attributes from metrics.measurements), '{"what": "x"}'::jsonb, 'nor does a measurement');
select is((select author from metrics.commits where sha = 'b'), 'anna', 'others are left alone');
select results_eq('select delivery_id from metrics.bodies', array['bob was here'], 'no body holds her name');
select is_empty($$select * from metrics.audit where coalesce(before::text, '') || coalesce(after::text, '') like '%ann%'$$, 'not even the note of it');
select is((select count(*) from metrics.audit where action = 'forget_person'), 1::bigint, 'which is there');

select * from finish();
rollback;
