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

select metrics.add_member('  Eve@Example.COM ');
select is((select role from metrics.members where email = 'eve@example.com'), 'viewer', 'without the spaces around it');
select metrics.add_member('EVE@example.com', 'admin');
select is((select role from metrics.members where email = 'eve@example.com'), 'admin', 'adding again changes the role');
select throws_ok($$select metrics.add_member('eve')$$, '23514', null, 'what is no address is refused');
select throws_ok($$select metrics.add_member('x@example.com', 'owner')$$, '22023', 'role is viewer or admin, not owner', 'so is an unknown role');
select throws_ok($$select metrics.add_member('x@example.com', null)$$, '22023', null, 'and no role');

select * from finish();
rollback;
