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

select pg_temp.tell('first', '{
  "repositories": [{"repository": "github:1", "full_name": "acme/one"}],
  "jobs": [{"repository": "github:1", "external_id": "1", "name": "first"}]
}');
select pg_temp.tell('second', '{
  "repositories": [{"repository": "github:2", "full_name": "acme/two"}],
  "jobs": [{"repository": "github:2", "external_id": "2", "name": "second"}]
}');
select metrics.add_team('one'), metrics.add_team_member('one', 'vera@example.com'), metrics.add_team_repository('one', 'github:1');
select metrics.add_team('two'), metrics.add_team_member('two', 'otto@example.com'), metrics.add_team_repository('two', 'acme/two');

select pg_temp.tell('url', '{"repositories": [{"repository": "github:1", "url": "https://github.com/acme/one"}], "test_runs": [{"repository": "//github.com/acme/one", "external_id": "1", "suite": "unit", "passed": ["a"]}]}');
select metrics.ingest('{"source": "github", "delivery_id": "odd", "result": "quarantined", "reason": "odd", "sha256": "0000000000000000000000000000000000000000000000000000000000000001"}', '{}', encode('{"name": "acme/one"}', 'base64'));

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000a", "role": "authenticated"}', true);
set local role authenticated;

select is(metrics.forget_repository('acme/one') ->> 'done', 'true', 'an admin forgets it');

reset role;
select set_config('request.jwt.claims', '', true);

select results_eq('select name from metrics.jobs', array['second'], 'its facts are gone, others are not');
select is_empty('select * from metrics.test_runs', 'those told under its address, too');
select is_empty('select * from metrics.tests', 'and names of its tests');
select results_eq('select full_name from metrics.repositories', array['acme/two'], 'the repository is gone');
select results_eq('select reference from metrics.repository_references', array['github:2'], 'and all its names');
select results_eq('select delivery_id from metrics.bodies', array['second'], 'no body tells of it, in quarantine neither');
select is((select count(*) from metrics.deliveries), 4::bigint, 'that something came is still known, so that it is not stored again');
select is((select count(*) from metrics.team_repositories), 1::bigint, 'no team is given it');
select is((select count(*) from metrics.audit where action = 'forget_repository'), 1::bigint, 'and it was noted');

select * from finish();
rollback;
