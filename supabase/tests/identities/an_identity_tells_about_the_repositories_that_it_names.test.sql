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

create function pg_temp.measurement(repository text)
returns jsonb
language sql
return jsonb_build_object(
  'measurements', jsonb_build_array(jsonb_build_object('repository', repository, 'name', 'size', 'external_id', '1', 'value', 1))
);

select metrics.create_token('build', array['github'], array['github:1', 'https://GitHub.com/acme/App.git']);
select metrics.add_issuer(
  'jobs', 'github', 'https://token.example.com', '{"repository_owner_id": "9"}', array['github'], repositories => array['github:1']
);
select results_eq(
  'select name, repositories from metrics.list_identities()',
  $$values ('build', array['github:1', '//github.com/acme/app']), ('jobs', array['github:1'])$$,
  'named as facts name them'
);
select is(pg_temp.report('build', 'one', pg_temp.measurement('github:1')), 'stored', 'one by its id');
select is(pg_temp.report('build', 'two', pg_temp.measurement('//github.com/acme/app')), 'stored', 'one by its address');
select is(pg_temp.report('jobs', 'three', pg_temp.measurement('github:1'), 'github:1'), 'stored', 'a job, too');
select throws_ok(
  $$select pg_temp.report('build', 'four', pg_temp.measurement('github:2'))$$,
  '42501', 'this identity may not tell about this repository', 'another of the source'
);
select throws_ok(
  $$select pg_temp.report('build', 'four', pg_temp.measurement('github:11'))$$,
  '42501', 'this identity may not tell about this repository', 'one whose id begins alike'
);
select throws_ok(
  $$select pg_temp.report('jobs', 'four', pg_temp.measurement('github:2'), 'github:2')$$,
  '42501', 'this identity may not tell about this repository', 'a job of another repository of the owner'
);

select * from finish();
rollback;
