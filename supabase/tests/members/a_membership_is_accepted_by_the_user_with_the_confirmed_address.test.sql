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

select metrics.add_member('eve@example.com');
insert into auth.users (id, email)
values ('00000000-0000-4000-8000-0000000000ff', 'new@example.com');
select metrics.add_member('new@example.com', 'admin');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000e", "role": "authenticated"}', true);
set local role authenticated;

select is(metrics.accept_membership(), 'viewer', 'the user with the address becomes the member');
select is(metrics.accept_membership(), 'viewer', 'again is nothing new');
select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-0000000000ff", "role": "authenticated"}', true);
select throws_ok('select metrics.accept_membership()', '42501', null, 'an address that nobody confirmed is nobody''s');

reset role;
select set_config('request.jwt.claims', '', true);

select is((select count(*) from metrics.audit where action = 'accept_membership'), 1::bigint, 'one row in the audit trail');
select is((select user_id from metrics.members where email = 'new@example.com'), null::uuid, 'the other membership still waits');

select * from finish();
rollback;
