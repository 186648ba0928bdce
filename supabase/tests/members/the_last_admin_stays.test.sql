begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(5);

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

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000a", "role": "authenticated"}', true);
set local role authenticated;

select throws_ok($$select metrics.remove_member('ada@example.com')$$, '22023', null, 'she cannot remove herself');
select throws_ok($$select metrics.add_member('ada@example.com', 'viewer')$$, '22023', null, 'nor become a viewer');
select metrics.add_member('vera@example.com', 'admin');
select metrics.add_member('late@example.com', 'admin');
select lives_ok($$select metrics.remove_member('ada@example.com')$$, 'once another has accepted, she can');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-000000000001", "role": "authenticated"}', true);
set local role authenticated;

select throws_ok($$select metrics.remove_member('vera@example.com')$$, '22023', null, 'an admin who has not accepted is none yet');

reset role;
select set_config('request.jwt.claims', '', true);

select lives_ok($$select metrics.remove_member('vera@example.com')$$, 'the owner of the schema may remove the last');

select * from finish();
rollback;
