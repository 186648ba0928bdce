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

-- An incident of the repository that was resolved an hour later.
create function pg_temp.incident(id text, at timestamptz)
returns jsonb
language sql
as $$
  select pg_temp.tell('incident ' || id, jsonb_build_object('incidents', jsonb_build_array(jsonb_build_object(
    'source', 'pagerduty', 'repository', 'github:1', 'external_id', id, 'status', 'resolved', 'opened_at', at, 'resolved_at', at + interval '1 hour'
  ))))
$$;

select pg_temp.deploy('1', '1', '2026-03-03T08:00Z');
select pg_temp.deploy('2', '2', '2026-03-03T10:00Z');
select pg_temp.incident('near', '2026-03-04T09:59Z');
select is(
  (select external_id from metrics.service_deployments where causes = array['incident']),
  '2',
  'one within a day belongs to the last deployment'
);
select pg_temp.incident('far', '2026-03-05T10:01Z');
select results_eq(
  $$select deployments, failed_changes, rate, causes, unlinked_incidents from metrics.change_fail_rate(since => '2026-03-02', until => '2026-03-09')$$,
  $$values (2::bigint, 1::bigint, 0.5::float8, '{"incident": 1}'::jsonb, 1::bigint)$$,
  'a later one is counted as unlinked'
);
select is((select p50_seconds from metrics.failed_deployment_recovery_time(since => '2026-03-02', until => '2026-03-09')), (25 * 3600 - 60)::float8, 'until it was resolved');
select metrics.set_setting('incident_window_seconds', '3600');
select results_eq(
  $$select failed_changes, unlinked_incidents from metrics.change_fail_rate(since => '2026-03-02', until => '2026-03-09')$$,
  $$values (0::bigint, 2::bigint)$$,
  'how long is a setting'
);

select * from finish();
rollback;
