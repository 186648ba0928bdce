begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(7);

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

delete from metrics.members where true;

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000e", "role": "authenticated"}', true);
set local role authenticated;

select throws_ok($$select metrics.add_member('eve@example.com', 'admin')$$, '42501', null, 'a user of the app cannot, even while there is no admin');

select set_config('request.jwt.claims', '{"role": "service_role"}', true);
set local role service_role;

select throws_ok($$select metrics.add_member('eve@example.com', 'admin')$$, '42501', null, 'nor can the edge functions');

reset role;
select set_config('request.jwt.claims', '', true);

select lives_ok($$select metrics.add_member('ada@example.com', 'admin')$$, 'in SQL, as the owner');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000a", "role": "authenticated"}', true);
set local role authenticated;

select is(metrics.is_admin(), false, 'not before the admin has accepted');
select is(metrics.accept_membership(), 'admin', 'accepting tells the role');
select is(metrics.is_admin(), true, 'then it holds');
select lives_ok($$select metrics.add_member('vera@example.com')$$, 'and more members are added over the Data API');

select * from finish();
rollback;
