begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(8);

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

select set_config('request.jwt.claims', '{"role": "anon"}', true);
set local role anon;

select throws_ok('select * from metrics.jobs', '42501', null, 'a table of facts is refused');
select throws_ok('select * from metrics.repositories', '42501', null, 'repositories are refused');
select throws_ok('select * from metrics.settings', '42501', null, 'settings are refused');
select throws_ok('select metrics.is_member()', '42501', null, 'a helper of policies is refused');
select throws_ok('select metrics.ingest_health()', '42501', null, 'a reading function is refused');
select throws_ok('select metrics.accept_membership()', '42501', null, 'accepting is refused');
select throws_ok('select metrics.ingest(''{}'')', '42501', null, 'telling is refused');

reset role;
select set_config('request.jwt.claims', '', true);

select schema_privs_are('metrics', 'anon', array[]::text[], 'anon has nothing on the schema');

select * from finish();
rollback;
