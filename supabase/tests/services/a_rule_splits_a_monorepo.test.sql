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

-- A push of one commit to the default branch; commits are single letters or digits.
create function pg_temp.push(before text, after text, at timestamptz, more jsonb default '{}', paths text[] default null)
returns jsonb
language sql
as $$
  select pg_temp.tell(format('push %s %s %s', before, after, at), jsonb_build_object(
    'pushes', jsonb_build_array(jsonb_build_object(
      'repository', 'github:1', 'ref', 'refs/heads/main', 'before', repeat(before, 40), 'after', repeat(after, 40), 'pushed_at', at,
      'on_default_branch', true, 'commits', jsonb_build_array(repeat(after, 40))
    ) || more),
    'commits', jsonb_build_array(jsonb_build_object(
      'repository', 'github:1', 'sha', repeat(after, 40), 'authored_at', at, 'changed_paths', paths
    ))
  ))
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

select pg_temp.push('0', 'a', '2026-03-02T08:00Z', '{}', array['api/a.ts']);
select pg_temp.push('a', 'b', '2026-03-02T09:00Z', '{}', array['web/b.ts']);
select pg_temp.push('b', 'c', '2026-03-02T10:00Z', '{}', array['README.md']);
select pg_temp.deploy('1', '0', '2026-03-02T07:00Z', 'api');
select pg_temp.deploy('2', '0', '2026-03-02T07:00Z', 'web');
select pg_temp.deploy('3', 'c', '2026-03-02T11:00Z', 'api');
select pg_temp.deploy('4', 'c', '2026-03-02T12:00Z', 'web');
select is((select count(*) from metrics.deployment_frequency(since => '2026-03-02', until => '2026-03-09', by => 'service')), 1::bigint, 'a repository is one service');
select metrics.add_service('api', 'github:1', deployment_pattern => '^api$', path_globs => array['api/**']);
select metrics.add_service('web', 'github:1', deployment_pattern => '^web$', path_globs => array['web/**', '*.md']);
select results_eq(
  $$select name, deployments from metrics.deployment_frequency(since => '2026-03-02', until => '2026-03-09', by => 'service')$$,
  $$values ('api', 2::bigint), ('web', 2)$$,
  'each deployment is of one service'
);
select results_eq(
  $$select name, changes, p50_seconds from metrics.change_lead_time(since => '2026-03-02', until => '2026-03-09', by => 'service')$$,
  $$values ('api', 1::bigint, 10800::float8), ('web', 2, 7200)$$,
  'each change is of the services whose paths it touches'
);
select metrics.remove_service('api');
select metrics.remove_service('web');
select is((select deployments from metrics.deployment_frequency(since => '2026-03-02', until => '2026-03-09', by => 'service')), 4::bigint, 'without rules it is one service again');

select * from finish();
rollback;
