begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(6);

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

select results_eq(
  $$select value, reason, band from metrics.dora(since => '2026-03-02', until => '2026-03-09')$$,
  $$values
    (null::float8, 'no_deployments', null::text),
    (null, 'no_deployments', null),
    (null, 'no_deployments', null),
    (null, 'no_incident_source', null),
    (null, 'no_deployments', null)$$,
  'where nothing was told'
);
select results_eq(
  $$select distinct value, reason, band from metrics.dora(since => '2026-03-02', until => '2026-03-09', service => 'shop')$$,
  $$values (null::float8, 'unknown_service', null::text)$$,
  'of a service that nobody knows'
);
select results_eq(
  $$select success_rate, duration_p50_seconds, reason from metrics.pipeline_health(since => '2026-03-02', until => '2026-03-09')$$,
  $$values (null::float8, null::float8, 'too_few')$$,
  'where nothing ran'
);
select pg_temp.deploy('1', '1', '2026-03-03T08:00Z');
select is((select reason from metrics.change_lead_time(since => '2026-03-02', until => '2026-03-09')), 'only_first_deployment', 'the first deployment ships what nobody waited for');
select pg_temp.deploy('2', '2', '2026-03-04T08:00Z');
select is((select reason from metrics.change_lead_time(since => '2026-03-02', until => '2026-03-09')), 'no_changes_seen', 'where no push was told');
select results_eq(
  $$select rate, reason from metrics.change_fail_rate(since => '2026-03-02', until => '2026-03-09')$$,
  $$values (null::float8, 'no_incident_source')$$,
  'where nobody could have told of a failure'
);

select * from finish();
rollback;
