begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(8);

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

select metrics.create_token('pager', array['pagerduty'], fact_kinds => array['incidents']);
select metrics.create_token('build', array['pagerduty'], array['github:1'], array['incidents']);
select metrics.ingest(
  jsonb_build_object('source', 'pagerduty', 'delivery_id', 'hook', 'sha256', repeat('0', 64), 'result', 'stored'),
  '{"incidents": [
    {"source": "pagerduty", "external_id": "other", "repository": "github:2", "status": "open", "observed_at": "2026-01-01T00:00:00Z"},
    {"source": "pagerduty", "external_id": "bare", "status": "open", "observed_at": "2026-01-01T00:00:00Z"}
  ]}'
);
create function pg_temp.incident(identity_name text, external_id text, said jsonb)
returns text
language sql
return pg_temp.report(
  identity_name,
  external_id,
  jsonb_build_object('incidents', jsonb_build_array(
    jsonb_build_object('source', 'pagerduty', 'external_id', external_id, 'status', 'resolved', 'observed_at', '2026-02-02T00:00:00Z') || said
  )),
  source => 'pagerduty'
);

select is(pg_temp.incident('pager', 'bare', '{}'), 'stored', 'one about no repository, by who may tell about all');
select is(pg_temp.incident('build', 'new', '{"repository": "github:1"}'), 'stored', 'one about the repository that an identity names');
select throws_ok(
  $$select pg_temp.incident('build', 'none', '{}')$$,
  '42501', 'this identity may not tell about this repository', 'but not one about none'
);
select throws_ok(
  $$select pg_temp.incident('build', 'other', '{"repository": "github:1"}')$$,
  '42501', 'this identity may not tell about this incident', 'nor one that is known to be about another, by calling it its own'
);
select throws_ok(
  $$select pg_temp.incident('build', 'bare', '{"repository": "github:1"}')$$,
  '42501', 'this identity may not tell about this incident', 'nor one that is known to be about none'
);
select throws_ok(
  $$select pg_temp.incident('pager', 'elsewhere', '{"source": "github"}')$$,
  '42501', 'this identity may not tell about this incident', 'nor one of another source'
);
select throws_ok(
  $$select pg_temp.incident('pager', 'elsewhere', '{"repository": "github:1"}')$$,
  '42501', 'this identity may not tell about this repository', 'nor one about a repository of another source that it does not name'
);
select is((select status from metrics.incidents where external_id = 'other'), 'open', 'what was refused changed nothing');

select * from finish();
rollback;
