begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(35);

create function pg_temp.issuer(
  provider text,
  claims jsonb,
  issuer text default 'https://token.example.com',
  sources text[] default array['github'],
  repositories text[] default null
)
returns bigint
language sql
return metrics.add_issuer(provider || claims || issuer, provider, issuer, claims, sources, repositories => repositories);

select throws_ok($$select pg_temp.issuer('github', '{"repository": "acme/app"}')$$, '23514', null, 'a name can be registered again');
select throws_ok($$select pg_temp.issuer('github', '{"ref": "refs/heads/main"}')$$, '23514', null, 'everybody has a main branch');
select throws_ok($$select pg_temp.issuer('gitlab', '{"namespace_path": "acme"}')$$, '23514', null, 'a group''s name, too');
select throws_ok($$select pg_temp.issuer('buildkite', '{"pipeline_slug": "app"}', repositories => array['github:1'])$$, '23514', null, 'each organisation names its pipelines');
select throws_ok($$select pg_temp.issuer('github', '{"repository_id": "1*"}')$$, '23514', null, 'other ids begin alike');
select throws_ok($$select pg_temp.issuer('github', '{}')$$, '23514', null, 'no claims');
select throws_ok($$select pg_temp.issuer('github', '[]')$$, '23514', null, 'claims that are none');
select throws_ok($$select pg_temp.issuer('github', '{"repository_id": 1}')$$, '23514', null, 'a number');
select throws_ok($$select pg_temp.issuer('github', '{"repository_id": ["1"]}')$$, '23514', null, 'a list');
select throws_ok($$select pg_temp.issuer('github', '{"repository_id": "1", "ref": "refs/*/main"}')$$, '23514', null, 'a star in the middle');
select throws_ok($$select pg_temp.issuer('buildkite', '{"organization_slug": "acme"}')$$, '23514', null, 'claims that name no repository, and none named');
select throws_ok($$select pg_temp.issuer('jenkins', '{"repository_id": "1"}')$$, '23514', null, 'a provider that is not known');
select throws_ok($$select pg_temp.issuer('github', '{"repository_id": "1"}', 'http://token.example.com')$$, '23514', null, 'keys over an open line');
select throws_ok($$select pg_temp.issuer('github', '{"repository_id": "1"}', 'http://127.0.0.1.example.com')$$, '23514', null, 'a host that only looks near');
select throws_ok($$select pg_temp.issuer('github', '{"repository_id": "1"}', 'http://localhost@example.com')$$, '23514', null, 'or hides behind a user');
select throws_ok($$select pg_temp.issuer('github', '{"repository_id": "1"}', 'https://user@example.com')$$, '23514', null, 'a user');
select throws_ok($$select pg_temp.issuer('github', '{"repository_id": "1"}', 'https://example.com?a=b')$$, '23514', null, 'a query');
select throws_ok($$select pg_temp.issuer('github', '{"repository_id": "1"}', 'file:///etc/keys')$$, '23514', null, 'a file');
select throws_ok($$select pg_temp.issuer('github', '{"repository_id": "1"}', sources => '{}')$$, '23514', null, 'no source');
select throws_ok($$select pg_temp.issuer('github', '{"repository_id": "1"}', sources => array['GitHub'])$$, '23514', null, 'a source that is none');
select throws_ok($$select pg_temp.issuer('github', '{"repository_id": "1"}', sources => array['github', null])$$, '23514', null, 'a source too few');
select throws_ok($$select pg_temp.issuer('github', '{"repository_id": "1"}', repositories => '{}')$$, '23514', null, 'no repository');
select throws_ok($$select pg_temp.issuer('github', '{"repository_id": "1"}', repositories => array['acme/app'])$$, '23514', null, 'a repository''s name');
select throws_ok(
  $$select metrics.add_issuer('jobs', 'github', 'https://token.example.com', null, array['github'])$$,
  '23502', 'claims is missing', 'nothing'
);
select throws_ok($$select metrics.create_token('', array['github'])$$, '23514', null, 'a token without a name');
select throws_ok($$select metrics.create_token('build', array['github'], fact_kinds => array['secrets'])$$, '23514', null, 'a kind that is none');
select throws_ok($$select metrics.create_token('build', array['github'], calls_per_minute => 0)$$, '23514', null, 'no call');
select throws_ok(
  $$insert into metrics.identities (name, kind, token_sha256, sources, claims)
    values ('build', 'token', sha256('a'), '{github}', '{"repository_id": "1"}')$$,
  '23514', null, 'a token with claims, which nobody would look at'
);
select is_empty('select * from metrics.list_identities()', 'none of them is kept');
select is_empty('select * from metrics.audit', 'nothing was changed, nothing is noted');

select lives_ok($$select pg_temp.issuer('github', '{"repository_owner_id": "1", "job_workflow_ref": "acme/app/.github/workflows/*"}')$$, 'an owner''s id');
select lives_ok($$select pg_temp.issuer('gitlab', '{"project_id": "1"}', 'https://gitlab.example.com:8443/ci')$$, 'an instance of one''s own');
select lives_ok($$select pg_temp.issuer('circleci', '{"sub": "org/1/project/*"}', 'https://oidc.circleci.com/org/1')$$, 'the issuer of one organisation');
select lives_ok($$select pg_temp.issuer('github', '{"repository_id": "1"}', 'http://localhost:8080/issuer')$$, 'one on this machine');
select lives_ok($$select pg_temp.issuer('github', '{"repository_id": "1"}', 'http://[::1]:8080')$$, 'by its other address');

select * from finish();
rollback;
