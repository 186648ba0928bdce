begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(3);

-- A job whose outcome no mapping knows, told by a source of this repository.
create function pg_temp.tell(source text, repository text, id text, word text)
returns jsonb
language sql
as $$
  select metrics.ingest(
    jsonb_build_object('source', source, 'delivery_id', id || ' ' || word, 'sha256', repeat('00', 32), 'size', 2, 'result', 'stored'),
    jsonb_build_object('jobs', jsonb_build_array(jsonb_build_object(
      'repository', repository, 'external_id', id, 'status', 'finished', 'outcome', 'unknown', 'provider_outcome', word
    )))
  )
$$;

select pg_temp.tell('github', 'github:1', 'old', 'stale');
select pg_temp.tell('circleci', '//github.com/acme/one', 'old', 'unheard');
update metrics.jobs set updated_at = now() - interval '8 days';
update metrics.deliveries set received_at = now() - interval '8 days';
select pg_temp.tell('github', 'github:1', 'new', 'odd');
select pg_temp.tell('circleci', '//github.com/acme/one', 'new', 'strange');

select results_eq(
  'select source, unknown_words from metrics.ingest_health()',
  $$values ('circleci', '{"strange": 1}'::jsonb), ('github', '{"odd": 1}')$$,
  'those of the last days, whether their sender knows its repository by an id or by a URL'
);
select results_eq(
  'select source, unknown_words from metrics.ingest_health(9)',
  $$values ('circleci', '{"strange": 1, "unheard": 1}'::jsonb), ('github', '{"odd": 1, "stale": 1}')$$,
  'of more days more'
);
select pg_temp.tell('github', 'github:1', 'old', 'zany');
select results_eq(
  $$select unknown_words from metrics.ingest_health() where source = 'github'$$,
  $$values ('{"odd": 1, "zany": 1}'::jsonb)$$,
  'an old one that changed is of these days'
);

select * from finish();
rollback;
