begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(3);

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

create function pg_temp.measurement(repository text)
returns jsonb
language sql
return jsonb_build_object(
  'measurements', jsonb_build_array(jsonb_build_object('repository', repository, 'name', 'size', 'external_id', '1', 'value', 1))
);

select metrics.create_token('build', array['github']);
select pg_temp.report('build', 'one', pg_temp.measurement('github:1'));

select throws_ok(
  $$select metrics.ingest(
    jsonb_build_object(
      'source', 'github', 'delivery_id', 'one', 'sha256', repeat('0', 64), 'result', 'stored',
      'identity', jsonb_build_object('id', (select id from metrics.identities))
    ),
    pg_temp.measurement('github:2')
  )$$,
  'PT422', 'the delivery id came before with other bytes', 'its sender reads the answer: no quarantine is needed'
);
select results_eq('select delivery_id from metrics.deliveries', array['one'], 'no delivery');
select is_empty($$select * from metrics.repository_references where reference = 'github:2'$$, 'no repository');

select * from finish();
rollback;
