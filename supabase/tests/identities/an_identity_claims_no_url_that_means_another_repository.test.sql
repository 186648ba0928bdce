begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(7);

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
select metrics.create_token('import', array['github'], fact_kinds => array['repositories']);
select metrics.ingest(
  jsonb_build_object('source', 'circleci', 'delivery_id', 'hook', 'sha256', repeat('0', 64), 'result', 'stored'),
  '{
    "repositories": [
      {"repository": "github:2", "url": "https://github.com/acme/two", "observed_at": "2026-01-01T00:00:00Z"},
      {"repository": "gitlab:3", "url": "https://gitlab.com/acme/three", "observed_at": "2026-01-01T00:00:00Z"}
    ],
    "jobs": [{"repository": "//github.com/acme/four", "external_id": "1"}]
  }'
);
create function pg_temp.claim(identity_name text, id text, url text)
returns text
language sql
return pg_temp.report(
  identity_name,
  id,
  jsonb_build_object('repositories', jsonb_build_array(
    jsonb_build_object('repository', 'github:1', 'url', url, 'observed_at', '2026-02-02T00:00:00Z')
  ))
);

select is(pg_temp.claim('build', 'one', 'https://github.com/acme/one'), 'stored', 'one that is new');
select is(pg_temp.claim('build', 'two', 'https://github.com/acme/one'), 'stored', 'its own again');
select throws_ok(
  $$select pg_temp.claim('build', 'three', 'https://github.com/acme/two')$$,
  '42501', 'this identity may not claim this URL', 'another''s: its facts and their readers would come with it'
);
select throws_ok(
  $$select pg_temp.claim('build', 'three', 'git@GitHub.com:acme/four.git')$$,
  '42501', 'this identity may not claim this URL', 'one that facts are told about, however it is written'
);
select throws_ok(
  $$select pg_temp.claim('import', 'three', 'https://gitlab.com/acme/three')$$,
  '42501', 'this identity may not claim this URL', 'one of another source'
);
select is(pg_temp.claim('import', 'three', 'https://github.com/acme/two'), 'stored', 'who tells about all of a source moves its addresses');
select is(pg_temp.claim('import', 'four', 'https://github.com/acme/four'), 'stored', 'and gives one that nobody claimed its repository');

select * from finish();
rollback;
