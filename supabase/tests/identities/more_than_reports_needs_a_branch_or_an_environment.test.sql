begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(31);

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
select throws_ok(
  format('select pg_temp.issuer(%L, %L)', c.provider, c.claims),
  '23514', null, format('claims of %s that nearly any branch fits: %s', c.provider, c.claims)
)
from (
  values
    ('github', '{"repository_id": "1", "ref": "*"}'),
    ('github', '{"repository_id": "1", "ref": "r*"}'),
    ('github', '{"repository_id": "1", "ref": "refs/*"}'),
    ('github', '{"repository_id": "1", "ref": "refs/heads*"}'),
    ('github', '{"repository_id": "1", "ref": "refs/heads/*"}'),
    ('github', '{"repository_id": "1", "ref": "refs/tags/*"}'),
    ('github', '{"repository_id": "1", "ref": "refs/pull/1/merge"}'),
    ('github', '{"repository_id": "1", "ref": "main"}'),
    ('github', '{"repository_id": "1", "environment": "p*"}'),
    ('github', '{"repository_id": "1", "build_branch": "main"}'),
    ('gitlab', '{"project_id": "1", "ref": "r*"}'),
    ('gitlab', '{"project_id": "1", "ref_path": "refs/*"}'),
    ('gitlab', '{"project_id": "1", "ref_path": "refs/heads/*"}'),
    ('gitlab', '{"project_id": "1", "environment": "prod*"}'),
    ('circleci', '{"oidc.circleci.com/project-id": "1", "oidc.circleci.com/vcs-ref": "refs/heads/*"}'),
    ('circleci', '{"oidc.circleci.com/project-id": "1", "ref": "refs/heads/main"}'),
    ('buildkite', '{"organization_slug": "acme", "environment": "production"}'),
    ('buildkite', '{"organization_slug": "acme", "ref": "refs/heads/main"}')
) as c (provider, claims);
select throws_ok(
  $$insert into metrics.identities (name, kind, provider, issuer, claims, sources, fact_kinds)
    values ('jobs', 'oidc', 'github', 'https://token.example.com', '{"repository_id": "1"}', '{github}', '{deployments}')$$,
  '23514',
  'new row for relation "identities" violates check constraint "more_than_reports_needs_a_ref_or_an_environment"',
  'the table holds the line'
);
select lives_ok($$select pg_temp.issuer('github', '{"repository_id": "1"}', array['test_runs', 'test_cases', 'rule_checks', 'measurements'])$$, 'reports need none');
select lives_ok($$select pg_temp.issuer('github', '{"repository_id": "1", "ref": "refs/heads/main"}')$$, 'a branch of GitHub');
select lives_ok($$select pg_temp.issuer('github', '{"repository_id": "1", "ref": "refs/tags/v*"}')$$, 'tags of GitHub');
select lives_ok($$select pg_temp.issuer('github', '{"repository_id": "1", "environment": "production"}')$$, 'an environment of GitHub');
select lives_ok(
  $$select pg_temp.issuer('github', '{"repository_id": "1", "environment": "production", "ref": "refs/*"}')$$,
  'an environment, whatever else is said'
);
select lives_ok($$select pg_temp.issuer('gitlab', '{"project_id": "1", "ref": "main"}')$$, 'a branch of GitLab, by its name');
select lives_ok($$select pg_temp.issuer('gitlab', '{"project_id": "1", "environment": "production"}')$$, 'an environment of GitLab');
select lives_ok($$select pg_temp.issuer('gitlab', '{"project_id": "1", "ref_path": "refs/heads/release/*"}')$$, 'branches of GitLab');
select lives_ok(
  $$select pg_temp.issuer('circleci', '{"oidc.circleci.com/project-id": "1", "oidc.circleci.com/vcs-ref": "refs/heads/main"}')$$,
  'a branch of CircleCI'
);
select lives_ok($$select pg_temp.issuer('buildkite', '{"organization_slug": "acme", "build_branch": "main"}')$$, 'a branch of Buildkite');

select * from finish();
rollback;
