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

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-000000000001", "role": "authenticated"}', true);
set local role authenticated;

select throws_ok($$select metrics.set_setting('body_days', '7')$$, '42501', null, 'a viewer may not');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000a", "role": "authenticated"}', true);
set local role authenticated;

select lives_ok($$select metrics.set_setting('body_days', '7')$$, 'an admin may');
select lives_ok($$select metrics.set_setting('time_zone', 'Europe/Berlin')$$, 'the time zone, too');

reset role;
select set_config('request.jwt.claims', '', true);

select results_eq('select body_days, time_zone from metrics.settings', $$values (7, 'Europe/Berlin')$$, 'both hold');
select results_eq(
  'select actor, action, before, after from metrics.audit order by id',
  $$values
    ('00000000-0000-4000-8000-00000000000a', 'set_setting', '{"body_days": "30"}'::jsonb, '{"body_days": "7"}'::jsonb),
    ('00000000-0000-4000-8000-00000000000a', 'set_setting', '{"time_zone": "UTC"}', '{"time_zone": "Europe/Berlin"}')$$,
  'who, what, before and after'
);

select * from finish();
rollback;
