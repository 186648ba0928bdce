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

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000a", "role": "authenticated"}', true);
set local role authenticated;

select metrics.add_team_repository('one', 'acme/two');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-000000000001", "role": "authenticated"}', true);
set local role authenticated;

select set_eq('select name from metrics.jobs', array['first', 'second'], 'given');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000a", "role": "authenticated"}', true);
set local role authenticated;

select metrics.remove_team_repository('one', 'github:2');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-000000000001", "role": "authenticated"}', true);
set local role authenticated;

select set_eq('select name from metrics.jobs', array['first'], 'taken');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000a", "role": "authenticated"}', true);
set local role authenticated;

select metrics.remove_team_member('one', 'vera@example.com');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-000000000001", "role": "authenticated"}', true);
set local role authenticated;

select is_empty('select name from metrics.jobs', 'who leaves the team reads nothing of it');
select is(metrics.is_member(), true, 'and is still a member');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000a", "role": "authenticated"}', true);
set local role authenticated;

select metrics.add_team_member('one', 'Vera@example.com'), metrics.remove_team('one');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-000000000001", "role": "authenticated"}', true);
set local role authenticated;

select is_empty('select name from metrics.jobs', 'nor is anything read when the team is gone');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000a", "role": "authenticated"}', true);
set local role authenticated;

select throws_ok($$select metrics.remove_team_member('two', 'vera@example.com')$$, 'P0002', 'vera@example.com is not in the team two', 'who is not in a team is not taken out of it');
select throws_ok($$select metrics.remove_team_repository('two', 'github:1')$$, 'P0002', 'the team two has no repository github:1', 'what a team was not given is not taken');
select throws_ok($$select metrics.add_team_member('two', 'nobody@example.com')$$, 'P0002', 'nobody@example.com is no member', 'only members join');
select throws_ok($$select metrics.add_team_repository('two', 'acme/three')$$, 'P0002', 'no repository is called acme/three', 'only repositories that are known are given');
select throws_ok($$select metrics.add_team_repository('three', 'acme/two')$$, 'P0002', 'no team is called three', 'only teams that are there');

select * from finish();
rollback;
