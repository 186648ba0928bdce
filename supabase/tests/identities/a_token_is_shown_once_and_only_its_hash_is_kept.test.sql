begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(9);

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

create temporary table made as
select metrics.create_token('build', array['github']) as token, metrics.create_token('nightly', array['github']) as other;

select matches((select token from made), '^mtr_[1-9][0-9]{0,18}_[A-Za-z0-9_-]{43}$', 'its id, and 32 random bytes');
select isnt((select split_part(token, '_', 3) from made), (select split_part(other, '_', 3) from made), 'another each time');
select results_eq(
  $$select name, kind, sources, repositories, fact_kinds, calls_per_minute, expires_at from metrics.list_identities() order by name$$,
  $$values
    ('build', 'token', array['github'], null::text[], array['test_runs', 'test_cases', 'rule_checks', 'measurements'], 60, null::timestamptz),
    ('nightly', 'token', array['github'], null, array['test_runs', 'test_cases', 'rule_checks', 'measurements'], 60, null)$$,
  'it may tell reports of its sources, unless more is said'
);
select throws_ok('select * from metrics.identities', '42501', null, 'an admin reads no hash, either');

reset role;
select set_config('request.jwt.claims', '', true);

select results_eq(
  'select encode(token_sha256, ''hex'') from metrics.identities where name = ''build''',
  'select encode(sha256(convert_to(token, ''UTF8'')), ''hex'') from made',
  'its hash is kept'
);
select is(
  (select split_part(token, '_', 2) from made),
  (select id::text from metrics.identities where name = 'build'),
  'under the id that it names'
);
select is_empty(
  $$select 1 from metrics.identities as i, made as m where position(split_part(m.token, '_', 3) in i::text) > 0$$,
  'the token itself is not in the table'
);
select is_empty(
  $$select 1 from metrics.audit as a, made as m where position(split_part(m.token, '_', 3) in a::text) > 0$$,
  'nor in the audit trail'
);
select is_empty(
  $$
    select 1
    from metrics.audit as a
    join metrics.identities as i
      on position(encode(i.token_sha256, 'hex') in a::text) > 0 or position('sha256' in a::text) > 0
  $$,
  'which does not even hold its hash'
);

select * from finish();
rollback;
