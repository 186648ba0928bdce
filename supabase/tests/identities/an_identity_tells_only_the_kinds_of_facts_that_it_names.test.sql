begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(6);

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

select metrics.create_token('build', array['github'], fact_kinds => array['test_runs', 'measurements']);
select metrics.create_token('deploy', array['github'], fact_kinds => array['deployments']);

select is(
  pg_temp.report('build', 'one', '{
    "test_runs": [{"repository": "github:1", "external_id": "1"}],
    "measurements": [{"repository": "github:1", "name": "size", "external_id": "1", "value": 1}]
  }'),
  'stored', 'those that it names'
);
select is(
  pg_temp.report('deploy', 'two', '{"deployments": [{"repository": "github:1", "external_id": "1", "environment": "production"}]}'),
  'stored', 'a deployment where it is named'
);
select throws_ok(
  $$select pg_temp.report('build', 'three', '{"deployments": [{"repository": "github:1", "external_id": "1", "environment": "production"}]}')$$,
  '42501', 'this identity may not tell facts of this kind', 'and nowhere else'
);
select throws_ok(
  $$select pg_temp.report('build', 'three', '{
    "test_runs": [{"repository": "github:1", "external_id": "1"}],
    "rule_checks": [{"repository": "github:1", "external_id": "1"}]
  }')$$,
  '42501', 'this identity may not tell facts of this kind', 'one such among others'
);
select throws_ok(
  $$select pg_temp.report('build', 'three', '{"pass words": [{"repository": "github:1"}]}')$$,
  '42501', 'this identity may not tell facts of this kind', 'a kind that is none, without saying its name'
);
select is((select count(*) from metrics.deliveries), 2::bigint, 'of what was refused nothing is kept');

select * from finish();
rollback;
