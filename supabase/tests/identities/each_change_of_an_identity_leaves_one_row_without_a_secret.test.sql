begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(5);

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

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000a", "role": "authenticated"}', true);
set local role authenticated;

select metrics.create_token('build', array['github'], array['github:1'], calls_per_minute => 5);
select metrics.add_issuer('jobs', 'github', 'https://token.example.com', '{"repository_id": "1"}', array['github']);
select metrics.expire_identity('build', '2040-01-01T00:00:00Z');
select metrics.revoke_identity('build');

select results_eq(
  'select actor, action, before ->> ''name'', after ->> ''name'' from metrics.audit order by id',
  $$values
    ('00000000-0000-4000-8000-00000000000a', 'create_token', null, 'build'),
    ('00000000-0000-4000-8000-00000000000a', 'add_issuer', null, 'jobs'),
    ('00000000-0000-4000-8000-00000000000a', 'expire_identity', 'build', 'build'),
    ('00000000-0000-4000-8000-00000000000a', 'revoke_identity', 'build', 'build')$$,
  'who, what, before and after'
);
select is(
  (select after - '{id, created_at}'::text[] from metrics.audit where action = 'create_token'),
  '{
    "name": "build", "kind": "token", "provider": null, "issuer": null, "audience": null, "claims": {}, "sources": ["github"],
    "repositories": ["github:1"], "fact_kinds": ["test_runs", "test_cases", "rule_checks", "measurements"], "calls_per_minute": 5,
    "expires_at": null, "revoked_at": null
  }'::jsonb,
  'all that it may, and no hash'
);
select is((select (after ->> 'expires_at')::timestamptz from metrics.audit where action = 'expire_identity'), '2040-01-01T00:00:00Z', 'when it ends');
select is((select before -> 'revoked_at' from metrics.audit where action = 'revoke_identity'), 'null', 'that it was not revoked');
select isnt((select after ->> 'revoked_at' from metrics.audit where action = 'revoke_identity'), null, 'and when it was');

select * from finish();
rollback;
