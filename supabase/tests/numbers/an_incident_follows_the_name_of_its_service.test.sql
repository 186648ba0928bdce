begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(4);

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

-- A successful deployment of a commit.
create function pg_temp.deploy(id text, commit text, at timestamptz, name text default null, environment text default 'production')
returns jsonb
language sql
as $$
  select pg_temp.tell('deployment ' || id, jsonb_build_object('deployments', jsonb_build_array(jsonb_build_object(
    'repository', 'github:1', 'external_id', id, 'name', name, 'environment', environment, 'commit_sha', repeat(commit, 40),
    'status', 'finished', 'outcome', 'success', 'started_at', at, 'finished_at', at
  ))))
$$;

select pg_temp.tell('one', '{"repositories": [{"repository": "github:1", "full_name": "acme/shop", "observed_at": "2026-03-02T08:00:00Z"}]}');
select pg_temp.tell('two', '{"repositories": [{"repository": "github:2", "full_name": "acme/other", "observed_at": "2026-03-02T08:00:00Z"}]}');
select pg_temp.deploy('1', '1', '2026-03-03T08:00Z');
select pg_temp.tell('down', '{"incidents": [{"source": "pagerduty", "external_id": "1", "service": "ACME/Shop", "status": "open", "opened_at": "2026-03-03T09:00:00Z"}]}');
create temporary view told as
select r.full_name, f.failed_id is not null as is_linked
from metrics.deployment_failures as f
left join metrics.repositories as r
  on r.id = f.repository_id
where f.generation = metrics.current_generation();
select results_eq('select * from told', $$values ('acme/shop', true)$$, 'it names the service, in any letters');
select pg_temp.tell('renamed', '{"repositories": [{"repository": "github:1", "full_name": "acme/store", "observed_at": "2026-03-04T08:00:00Z"}]}');
select results_eq('select * from told', 'values (null::text, false)', 'nothing is called so any more');
select pg_temp.tell('taken', '{"repositories": [{"repository": "github:2", "full_name": "acme/shop", "observed_at": "2026-03-04T08:00:00Z"}]}');
select results_eq('select * from told', $$values ('acme/shop', false)$$, 'another is called so now');
select metrics.forget_repository('github:2');
select results_eq('select * from told', 'values (null::text, false)', 'and was forgotten: the incident is told of still');

select * from finish();
rollback;
