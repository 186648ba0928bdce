begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(10);

create function pg_temp.issuer(provider text, claims jsonb, fact_kinds text[] default array['deployments'])
returns bigint
language sql
return metrics.add_issuer(provider || claims, provider, 'https://token.example.com', claims, array['github'],
  repositories => array['github:1'], fact_kinds => fact_kinds);

select throws_ok(
  $$select pg_temp.issuer('github', '{"repository_id": "1"}')$$,
  '23514', 'this identity is refused, because it must hold that more than reports needs a ref or an environment', 'a deployment from any branch'
);
select throws_ok($$select pg_temp.issuer('github', '{"repository_id": "1"}', array['test_runs', 'incidents'])$$, '23514', null, 'an incident, too');
select throws_ok($$select pg_temp.issuer('github', '{"repository_id": "1", "ref": "*"}')$$, '23514', null, 'a branch that may be any');
select throws_ok(
  $$insert into metrics.identities (name, kind, provider, issuer, claims, sources, fact_kinds)
    values ('jobs', 'oidc', 'github', 'https://token.example.com', '{"repository_id": "1"}', '{github}', '{deployments}')$$,
  '23514',
  'new row for relation "identities" violates check constraint "more_than_reports_needs_a_ref_or_an_environment"',
  'the table holds the line'
);
select lives_ok($$select pg_temp.issuer('github', '{"repository_id": "1"}', array['test_runs', 'test_cases', 'rule_checks', 'measurements'])$$, 'reports need none');
select lives_ok($$select pg_temp.issuer('github', '{"repository_id": "1", "ref": "refs/heads/main"}')$$, 'a branch of GitHub');
select lives_ok($$select pg_temp.issuer('github', '{"repository_id": "1", "environment": "production"}')$$, 'an environment of GitHub');
select lives_ok($$select pg_temp.issuer('gitlab', '{"project_id": "1", "ref_path": "refs/heads/release/*"}')$$, 'branches of GitLab');
select lives_ok(
  $$select pg_temp.issuer('circleci', '{"oidc.circleci.com/project-id": "1", "oidc.circleci.com/vcs-ref": "refs/heads/main"}')$$,
  'a branch of CircleCI'
);
select lives_ok($$select pg_temp.issuer('buildkite', '{"organization_slug": "acme", "build_branch": "main"}')$$, 'a branch of Buildkite');

select * from finish();
rollback;
