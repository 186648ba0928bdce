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

select pg_temp.deploy('1', 'a', '2026-03-02T08:00Z', 'api-web');
select throws_like(
  $$select metrics.add_service('none', 'github:1', deployment_pattern => '^mobile$')$$,
  '%none matches nothing%^mobile$%',
  'a rule that matches nothing'
);
select lives_ok(
  $$select metrics.add_service('api', 'github:1', deployment_pattern => '^api')$$,
  'a rule that matches'
);
select throws_like(
  $$select metrics.add_service('web', 'github:1', deployment_pattern => 'web$')$$,
  '%web matches what another service has: api, deployment 1%api-web%',
  'a rule that matches what another has'
);
select results_eq(
  'select name from metrics.services where generation = metrics.current_generation()',
  $$values ('api')$$,
  'what was refused left nothing'
);

select * from finish();
rollback;
