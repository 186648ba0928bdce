begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(2);

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

-- Somebody else has confirmed Vera's address after she left the app.
delete from auth.users where id = '00000000-0000-4000-8000-000000000001';
insert into auth.users (id, email, email_confirmed_at)
values ('00000000-0000-4000-8000-0000000000ff', 'vera@example.com', now());
select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-0000000000ff", "role": "authenticated"}', true);
set local role authenticated;
select throws_ok('select metrics.accept_membership()', '42501', null, 'what she accepted is not given to another');
select is(metrics.is_member(), false, 'who is no member');

select * from finish();
rollback;
