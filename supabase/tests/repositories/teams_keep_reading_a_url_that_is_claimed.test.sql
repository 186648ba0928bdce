begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(1);

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

select pg_temp.tell('ci', '{"jobs": [{"repository": "//github.com/acme/app", "external_id": "1", "name": "build"}]}');
select metrics.add_team('one'), metrics.add_team_member('one', 'vera@example.com'), metrics.add_team_repository('one', '//github.com/acme/app');
select pg_temp.tell('one', '{"repositories": [{"repository": "github:1", "url": "https://github.com/acme/app"}], "jobs": [{"repository": "github:1", "external_id": "1", "name": "test"}]}');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-000000000001", "role": "authenticated"}', true);
set local role authenticated;

select set_eq('select name from metrics.jobs', array['build', 'test'], 'what was given for the address is given for the repository');

select * from finish();
rollback;
