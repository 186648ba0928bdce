begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(4);

-- Nobody has named it, and nothing that would be joined was told of it.
select metrics.ingest(
  '{"source": "circleci", "delivery_id": "one", "result": "stored", "size": 1, "sha256": "0000000000000000000000000000000000000000000000000000000000000001"}',
  '{"jobs": [{"repository": "//git.example/acme/one", "external_id": "1", "name": "test", "status": "finished", "outcome": "success", "finished_at": "2026-03-03T10:01:00Z"}]}'
);
create function pg_temp.told()
returns table (name text, reason text)
language sql
as $$
  select f.name, f.reason
  from metrics.deployment_frequency('2026-03-02', '2026-03-09', by => 'service') as f
$$;

select results_eq('select name, reason from pg_temp.told()', $$values ('//git.example/acme/one', 'no_deployments')$$, 'it was never deployed');
select is(
  (select reason from metrics.deployment_frequency('2026-03-02', '2026-03-09', service => '//git.example/acme/one')),
  'no_deployments',
  'and is known by its reference'
);
-- A rebuild derives all again, and changes nothing.
select metrics.begin_rebuild();
do $$ begin while not (metrics.rebuild(1) ->> 'done')::boolean loop end loop; end $$;
select is(metrics.rebuild(0) ->> 'done', 'true', 'built again');
select results_eq('select name, reason from pg_temp.told()', $$values ('//git.example/acme/one', 'no_deployments')$$, 'it is the same then');

select * from finish();
rollback;
