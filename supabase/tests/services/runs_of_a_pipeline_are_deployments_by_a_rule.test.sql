begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(2);

-- A delivery that tells these facts.
create function pg_temp.tell(id text, facts jsonb)
returns jsonb
language sql
as $$
  select metrics.ingest(
    jsonb_build_object('source', 'github', 'delivery_id', id, 'sha256', repeat('00', 32), 'size', 2, 'result', 'stored'),
    facts
  )
$$;

select pg_temp.tell('runs', '{"pipeline_runs": [
  {"repository": "github:1", "external_id": "1", "attempt": 1, "pipeline": "Deploy", "on_default_branch": true, "status": "finished", "outcome": "failure", "finished_at": "2026-03-02T08:00:00Z"},
  {"repository": "github:1", "external_id": "1", "attempt": 2, "pipeline": "Deploy", "on_default_branch": true, "status": "finished", "outcome": "success", "finished_at": "2026-03-02T09:00:00Z"},
  {"repository": "github:1", "external_id": "2", "attempt": 1, "pipeline": "Deploy", "on_default_branch": false, "status": "finished", "outcome": "success", "finished_at": "2026-03-02T10:00:00Z"},
  {"repository": "github:1", "external_id": "3", "attempt": 1, "pipeline": "Test", "on_default_branch": true, "status": "finished", "outcome": "success", "finished_at": "2026-03-02T11:00:00Z"}
]}');
select is((select deployments from metrics.deployment_frequency(since => '2026-03-02', until => '2026-03-09')), null, 'runs are no deployments by themselves');
select metrics.add_service('shop', 'github:1', source => 'pipeline', pipeline => 'Deploy');
select results_eq(
  $$select name, deployments, failed_attempts from metrics.deployment_frequency(since => '2026-03-02', until => '2026-03-09', by => 'service')$$,
  $$values ('shop', 1::bigint, 1::bigint)$$,
  'those of the pipeline on the default branch, each attempt by itself'
);

select * from finish();
rollback;
