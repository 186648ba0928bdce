begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(26);

-- Ada is an admin; Vera is a viewer of a team with a repository; Eve uses the app and is no member.
insert into auth.users (id, email, email_confirmed_at)
values
  ('00000000-0000-4000-8000-00000000000a', 'ada@example.com', now()),
  ('00000000-0000-4000-8000-000000000001', 'vera@example.com', now()),
  ('00000000-0000-4000-8000-00000000000e', 'eve@example.com', now());
insert into metrics.members (email, role, user_id, accepted_at)
values
  ('ada@example.com', 'admin', '00000000-0000-4000-8000-00000000000a', now()),
  ('vera@example.com', 'viewer', '00000000-0000-4000-8000-000000000001', now());

select metrics.create_token('build', array['github']);

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-000000000001", "role": "authenticated"}', true);
set local role authenticated;

select throws_ok($$select metrics.create_token('mine', array['github'])$$, '42501', 'only admins of metrics may call this', 'a viewer makes no token');
select throws_ok(
  $$select metrics.add_issuer('mine', 'github', 'https://token.example.com', '{"repository_id": "1"}', array['github'])$$,
  '42501', 'only admins of metrics may call this', 'a viewer trusts no issuer'
);
select throws_ok('select * from metrics.list_identities()', '42501', 'only admins of metrics may call this', 'a viewer lists none');
select throws_ok($$select metrics.revoke_identity('build')$$, '42501', 'only admins of metrics may call this', 'a viewer revokes none');
select throws_ok($$select metrics.expire_identity('build', now())$$, '42501', 'only admins of metrics may call this', 'a viewer ends none');
select throws_ok('select metrics.live_identities()', '42501', null, 'a viewer reads none');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000e", "role": "authenticated"}', true);
set local role authenticated;

select throws_ok($$select metrics.create_token('mine', array['github'])$$, '42501', 'only admins of metrics may call this', 'a stranger makes no token');
select throws_ok(
  $$select metrics.add_issuer('mine', 'github', 'https://token.example.com', '{"repository_id": "1"}', array['github'])$$,
  '42501', 'only admins of metrics may call this', 'a stranger trusts no issuer'
);
select throws_ok('select * from metrics.list_identities()', '42501', 'only admins of metrics may call this', 'a stranger lists none');
select throws_ok($$select metrics.revoke_identity('build')$$, '42501', 'only admins of metrics may call this', 'a stranger revokes none');
select throws_ok($$select metrics.expire_identity('build', now())$$, '42501', 'only admins of metrics may call this', 'a stranger ends none');
select throws_ok('select metrics.live_identities()', '42501', null, 'a stranger reads none');

select set_config('request.jwt.claims', '{"role": "anon"}', true);
set local role anon;

select throws_ok($$select metrics.create_token('mine', array['github'])$$, '42501', null, 'anon makes no token');
select throws_ok(
  $$select metrics.add_issuer('mine', 'github', 'https://token.example.com', '{"repository_id": "1"}', array['github'])$$,
  '42501', null, 'anon trusts no issuer'
);
select throws_ok('select * from metrics.list_identities()', '42501', null, 'anon lists none');
select throws_ok($$select metrics.revoke_identity('build')$$, '42501', null, 'anon revokes none');
select throws_ok($$select metrics.expire_identity('build', now())$$, '42501', null, 'anon ends none');
select throws_ok('select metrics.live_identities()', '42501', null, 'anon reads none');

select set_config('request.jwt.claims', '{"role": "service_role"}', true);
set local role service_role;

select throws_ok($$select metrics.create_token('mine', array['github'])$$, '42501', null, 'the edge function makes no token');
select throws_ok('select * from metrics.list_identities()', '42501', null, 'and lists none by this');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000a", "role": "authenticated"}', true);
set local role authenticated;

select throws_ok('select metrics.live_identities()', '42501', null, 'what the edge function reads is not for an admin');
select lives_ok($$select metrics.create_token('mine', array['github'])$$, 'an admin makes a token');
select lives_ok(
  $$select metrics.add_issuer('jobs', 'github', 'https://token.example.com', '{"repository_id": "1"}', array['github'])$$,
  'trusts an issuer'
);
select set_eq('select name from metrics.list_identities()', array['build', 'mine', 'jobs'], 'lists all');
select lives_ok($$select metrics.expire_identity('mine', now() + interval '1 day')$$, 'says when one ends');
select lives_ok($$select metrics.revoke_identity('mine')$$, 'and revokes it');

select * from finish();
rollback;
