begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(16);

-- A report of an identity to the source github; its bytes are its id.
create function pg_temp.report(identity_name text, id text, facts jsonb, reference text default null, source text default 'github')
returns text
language sql
as $$
  select metrics.ingest(
    jsonb_build_object(
      'source', source,
      'delivery_id', id,
      'event', 'report.facts',
      'sha256', encode(sha256(convert_to(id, 'UTF8')), 'hex'),
      'result', 'stored',
      'identity', jsonb_build_object(
        'id', (select max(i.id) from metrics.identities as i where i.name = identity_name),
        'reference', reference
      )
    ),
    facts
  ) ->> 'result'
$$;

select metrics.create_token('build', array['github'], array['github:1'], array['repositories']);
select metrics.create_token('site', array['github'], array['github:1', '//github.com/acme/site'], array['repositories']);
select metrics.create_token('import', array['github'], fact_kinds => array['repositories']);
select metrics.add_issuer(
  'jobs', 'github', 'https://token.example.com', '{"repository_id": "1", "ref": "refs/heads/main"}', array['github'],
  fact_kinds => array['repositories']
);
select metrics.ingest(
  jsonb_build_object('source', 'circleci', 'delivery_id', 'hook', 'sha256', repeat('0', 64), 'result', 'stored'),
  '{
    "repositories": [
      {"repository": "github:1", "url": "https://github.com/acme/one", "observed_at": "2026-01-01T00:00:00Z"},
      {"repository": "github:2", "url": "https://github.com/acme/two", "observed_at": "2026-01-01T00:00:00Z"},
      {"repository": "gitlab:3", "url": "https://gitlab.com/acme/three", "observed_at": "2026-01-01T00:00:00Z"}
    ],
    "jobs": [{"repository": "//github.com/acme/four", "external_id": "1"}, {"repository": "//github.com/acme/site", "external_id": "1"}]
  }'
);
create function pg_temp.claim(identity_name text, id text, url text, repository text default 'github:1')
returns text
language sql
return pg_temp.report(
  identity_name,
  id,
  jsonb_build_object('repositories', jsonb_build_array(
    jsonb_build_object('repository', repository, 'url', url, 'observed_at', '2026-02-02T00:00:00Z')
  )),
  'github:1'
);

select is(pg_temp.claim('build', 'one', 'https://github.com/acme/one'), 'stored', 'its own again');
select is(pg_temp.claim('build', 'two', null), 'stored', 'none');
select throws_ok(
  $$select pg_temp.claim('build', 'three', 'https://github.com/acme/new')$$,
  '42501', 'this identity may not claim this URL', 'one that nobody told yet: whose it is shows later'
);
select throws_ok(
  $$select pg_temp.claim('jobs', 'three', 'https://github.com/acme/new')$$,
  '42501', 'this identity may not claim this URL', 'nor by the claims of a job'
);
select throws_ok(
  $$select pg_temp.claim('build', 'three', 'https://github.com/acme/two')$$,
  '42501', 'this identity may not claim this URL', 'another''s: its facts and their readers would come with it'
);
select throws_ok(
  $$select pg_temp.claim('build', 'three', 'git@GitHub.com:acme/four.git')$$,
  '42501', 'this identity may not claim this URL', 'one that facts are told about, however it is written'
);
select is(pg_temp.claim('site', 'three', 'https://github.com/acme/site'), 'stored', 'one that it names among its repositories');
select results_eq(
  $$select n.reference from metrics.repository_references as r join metrics.repository_references as n using (repository_id) where r.reference = 'github:1' order by 1$$,
  array['//github.com/acme/one', '//github.com/acme/site', 'github:1'],
  'what was refused moved nothing'
);
select throws_ok(
  $$select pg_temp.claim('import', 'four', 'https://gitlab.com/acme/three')$$,
  '42501', 'this identity may not claim this URL', 'one of another source'
);
select is(pg_temp.claim('import', 'four', 'https://github.com/acme/two'), 'stored', 'who tells about all of a source moves its addresses');
select is(pg_temp.claim('import', 'five', 'https://github.com/acme/four'), 'stored', 'and gives one that nobody claimed its repository');
select is(pg_temp.claim('import', 'six', 'https://github.com/acme/six', 'github:6'), 'stored', 'and one that nobody told yet, of a repository that is new');
select throws_ok(
  $$select pg_temp.report(
    'build', 'ahead', '{"repositories": [{"repository": "github:1", "url": "https://github.com/acme/one", "observed_at": "9999-01-01T00:00:00Z"}]}'
  )$$,
  '22008', 'observed_at is more than 5 minutes ahead of this server', 'what is observed in the future would hold for ever'
);
create function pg_temp.ahead(id text, far interval)
returns text
language sql
return pg_temp.report(
  'import', id, jsonb_build_object('repositories', jsonb_build_array(
    jsonb_build_object('repository', 'github:1', 'full_name', 'acme/one'),
    jsonb_build_object('repository', 'github:1', 'full_name', 'acme/one', 'observed_at', now() + far)
  ))
);
select throws_ok($$select pg_temp.ahead('ahead', '5 minutes 1 second')$$, '22008', null, 'whoever says so');
select throws_ok($$select pg_temp.ahead('ahead', 'infinity')$$, '22008', null, 'and however far');
select is(pg_temp.ahead('near', '5 minutes'), 'stored', 'but clocks may be some minutes apart');

select * from finish();
rollback;
