begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(5);

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

select pg_temp.deploy('1', 'a', '2026-03-02T08:00Z', null, 'blue');
select pg_temp.deploy('2', 'b', '2026-03-03T08:00Z', null, 'prod-eu');
select pg_temp.deploy('3', 'c', '2026-03-04T08:00Z', null, 'preprod');
select is((select deployments from metrics.deployment_frequency(since => '2026-03-02', until => '2026-03-09')), 1::bigint, 'prod-eu is production by its name, preprod and blue are not');
select metrics.set_environment_tier('^blue$', 'production');
select is((select deployments from metrics.deployment_frequency(since => '2026-03-02', until => '2026-03-09')), 2::bigint, 'blue by a pattern');
select metrics.set_environment_tier('^prod-', 'staging');
select is((select deployments from metrics.deployment_frequency(since => '2026-03-02', until => '2026-03-09')), 1::bigint, 'a pattern counts before the name');
select metrics.set_environment_tier('^blue$', null);
select is((select deployments from metrics.deployment_frequency(since => '2026-03-02', until => '2026-03-09')), null, 'a pattern is taken back, and nothing was ever deployed');
select throws_ok($$select metrics.set_environment_tier('^blue$', null)$$, 'P0002', 'no rule for environments has the pattern ^blue$', 'one that is not there');

select * from finish();
rollback;
