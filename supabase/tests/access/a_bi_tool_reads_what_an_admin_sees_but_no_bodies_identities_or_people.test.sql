begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(9);

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

create role metrics_bi_tool in role metrics_reader;
grant metrics_bi_tool to current_user;
-- Where the assertions lie.
grant usage on schema extensions to metrics_bi_tool;
set local role metrics_bi_tool;
select set_eq('select name from metrics.jobs', array['first', 'second'], 'facts of all repositories');
select isnt_empty('select * from metrics.deliveries', 'deliveries');
select isnt_empty('select * from metrics.ingest_health()', 'numbers');
select throws_ok('select * from metrics.bodies', '42501', null, 'no bodies');
select throws_ok('select * from metrics.identities', '42501', null, 'no identities');
select throws_ok('select * from metrics.members', '42501', null, 'no members');
select throws_ok('select * from metrics.team_members', '42501', null, 'nor who is in which team');
select throws_ok('select * from metrics.audit', '42501', null, 'nor what they did');
select throws_ok($$select metrics.set_setting('body_days', '1')$$, '42501', null, 'it changes nothing');

select * from finish();
rollback;
