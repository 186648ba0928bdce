begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(2);

select metrics.create_token('build', array['github'], array['github:1'], array['test_runs'], 5, '2040-01-01T00:00:00Z');
select metrics.add_issuer(
  'jobs', 'gitlab', 'https://gitlab.example.com', '{"project_id": "1", "ref": "main"}', array['gitlab'], 'https://metrics.example.com',
  null, array['test_runs', 'deployments']
);
select metrics.create_token('old', array['github']), metrics.revoke_identity('old');
select metrics.create_token('late', array['github']), metrics.expire_identity('late', now());
create temporary table expected as
select i.name, i.id, encode(i.token_sha256, 'hex') as hash from metrics.identities as i;
grant select on expected to service_role;

select set_config('request.jwt.claims', '{"role": "service_role"}', true);
set local role service_role;

select is(
  metrics.live_identities(),
  (
    select jsonb_build_array(
      jsonb_build_object('id', b.id, 'token_sha256', b.hash) || '{
        "kind": "token", "provider": null, "issuer": null, "audience": null, "claims": {}, "sources": ["github"],
        "repositories": ["github:1"], "fact_kinds": ["test_runs"], "calls_per_minute": 5, "expires_at": "2040-01-01T00:00:00+00:00"
      }',
      jsonb_build_object('id', j.id) || '{
        "kind": "oidc", "provider": "gitlab", "issuer": "https://gitlab.example.com", "audience": "https://metrics.example.com",
        "claims": {"project_id": "1", "ref": "main"}, "sources": ["gitlab"], "repositories": null,
        "fact_kinds": ["test_runs", "deployments"], "calls_per_minute": 60, "expires_at": null, "token_sha256": null
      }'
    )
    from expected as b, expected as j
    where b.name = 'build'
      and j.name = 'jobs'
  ),
  'all that it needs to prove who reports, of those neither revoked nor expired'
);
select throws_ok('select * from metrics.identities', '42501', null, 'and it reads no more of them');

select * from finish();
rollback;
