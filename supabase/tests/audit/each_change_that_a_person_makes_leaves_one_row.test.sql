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

delete from metrics.audit where true;

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000a", "role": "authenticated"}', true);
set local role authenticated;

select metrics.add_member('new@example.com');
select metrics.add_team('three');
select metrics.add_team_member('three', 'new@example.com');
select metrics.add_team_repository('three', 'github:1');
select metrics.remove_team_repository('three', 'github:1');
select metrics.remove_team_member('three', 'new@example.com');
select metrics.remove_team('three');
select metrics.remove_member('new@example.com');
select metrics.set_setting('job_days', '100');
select metrics.read_body('github', 'first');
select metrics.forget_person('somebody');
select metrics.forget_repository('github:1');
select results_eq(
  'select action from metrics.audit order by id',
  array[
    'add_member', 'add_team', 'add_team_member', 'add_team_repository', 'remove_team_repository', 'remove_team_member', 'remove_team',
    'remove_member', 'set_setting', 'read_body', 'forget_person', 'forget_repository'
  ],
  'named after the function'
);
select is_empty($$select * from metrics.audit where actor <> '00000000-0000-4000-8000-00000000000a'$$, 'by whom it was');

select * from finish();
rollback;
