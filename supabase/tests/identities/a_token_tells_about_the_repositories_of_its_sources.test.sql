begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(13);

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

select metrics.create_token('build', array['github', 'github-acme']);

select is(pg_temp.report('build', 'one', pg_temp.measurement('github:1')), 'stored', 'one of the source');
select is(pg_temp.report('build', 'one', pg_temp.measurement('github:1')), 'duplicate', 'once more');
select is(pg_temp.report('build', 'two', pg_temp.measurement('github-acme:1'), source => 'github-acme'), 'stored', 'one of its other source');
select throws_ok(
  $$select pg_temp.report('build', 'three', pg_temp.measurement('gitlab:1'), source => 'gitlab')$$,
  '42501', 'this identity may not report to this source', 'a source that is not its own'
);
select throws_ok(
  $$select pg_temp.report('build', 'three', pg_temp.measurement('github-acme:1'))$$,
  '42501', 'this identity may not tell about this repository', 'a repository of another source than the one that it reports to'
);
select throws_ok(
  $$select pg_temp.report('build', 'three', pg_temp.measurement('//github.com/acme/app'))$$,
  '42501', 'this identity may not tell about this repository', 'one that is known by its address'
);
select throws_ok(
  $$select pg_temp.report('build', 'three', pg_temp.measurement('gitlab:1'), 'gitlab:1')$$,
  '42501', 'this identity may not tell about this repository', 'what is said beside a token does not widen it'
);
select throws_ok(
  $$select pg_temp.report(
    'build', 'three', '{"measurements": [
      {"repository": "github:1", "name": "size", "external_id": "2", "value": 1},
      {"repository": "gitlab:1", "name": "size", "external_id": "2", "value": 1}
    ]}'
  )$$,
  '42501', null, 'one such among others'
);
select throws_ok(
  $$select pg_temp.report('build', 'three', '{"measurements": [{"name": "size", "external_id": "2", "value": 1}]}')$$,
  '42501', 'this identity may not tell about this repository', 'none at all'
);

select results_eq(
  'select d.source, d.delivery_id, i.name from metrics.deliveries as d join metrics.identities as i on i.id = d.identity_id order by 1, 2',
  $$values ('github', 'one', 'build'), ('github-acme', 'two', 'build')$$,
  'a delivery says who reported it'
);
select is((select count(*) from metrics.deliveries), 2::bigint, 'of what was refused nothing is kept');
select is((select count(*) from metrics.measurements), 2::bigint, 'no fact');
select is((select count(*) from metrics.repository_references), 2::bigint, 'and no repository');

select * from finish();
rollback;
